//! davey: Discord's DAVE, through its public session, in an MLS group of two that a voice gateway put together.

use std::{error::Error, num::NonZeroU16, time::Duration};

use davey::{Codec, DaveSession, MediaType, ProposalsOperationType};
use openmls::prelude::{
    BasicCredential, Ciphersuite, ExternalProposal, ExternalSender, GroupId, KeyPackageIn, OpenMlsProvider,
    ProtocolVersion, SenderExtensionIndex, VLBytes,
    tls_codec::{DeserializeBytes, Serialize},
};
use openmls_basic_credential::SignatureKeyPair;
use openmls_rust_crypto::OpenMlsRustCrypto;

use crate::peer::{BATCH, FRAME, Kind, Peer};

const CHANNEL: u64 = 0xC4A2;
const ANA: u64 = 1;
const BEN: u64 = 2;
/// The suite of DAVE's only version.
const SUITE: Ciphersuite = Ciphersuite::MLS_128_DHKEMP256_AES128GCM_SHA256_P256;
/// More than DAVE adds to any frame of this size.
const ROOM: usize = 64;

/// Both into buffers of the caller's: davey's fastest way.
pub struct Dave {
    ana: DaveSession,
    ben: DaveSession,
    packets: [Vec<u8>; BATCH],
    frame: [u8; FRAME + ROOM],
}

impl Dave {
    pub fn new() -> Result<Self, Box<dyn Error>> {
        let (ana, ben) = call()?;
        Ok(Self { ana, ben, packets: [const { Vec::new() }; BATCH], frame: [0; FRAME + ROOM] })
    }
}

impl Peer for Dave {
    const KIND: Kind = Kind::Peer;

    fn name(&self) -> String {
        "davey, AES-128-GCM".into()
    }

    fn includes(&self) -> &'static str {
        "DaveSession::encrypt_into and decrypt_into buffers that are used again, Opus: counter, copies, 8-byte tag, trailer; \
         parsing, the sender by user id, its list of missing frames, expiry of old keys, statistics. It reads the clock itself."
    }

    fn seal(&mut self, slot: usize, frame: &[u8]) {
        self.ana
            .encrypt_into(MediaType::AUDIO, Codec::OPUS, frame, &mut self.packets[slot])
            .expect("an established session encrypts");
    }

    fn open(&mut self, slot: usize, _now: Duration) -> &[u8] {
        let len = self
            .ben
            .decrypt_into(ANA, MediaType::AUDIO, &self.packets[slot], &mut self.frame)
            .expect("a fresh packet decrypts");
        &self.frame[..len]
    }

    fn packet(&self, slot: usize) -> &[u8] {
        &self.packets[slot]
    }
}

/// The way that gives vectors.
pub struct DaveAllocating {
    ana: DaveSession,
    ben: DaveSession,
    packets: [Vec<u8>; BATCH],
    frame: Vec<u8>,
}

impl DaveAllocating {
    pub fn new() -> Result<Self, Box<dyn Error>> {
        let (ana, ben) = call()?;
        Ok(Self { ana, ben, packets: [const { Vec::new() }; BATCH], frame: Vec::new() })
    }
}

impl Peer for DaveAllocating {
    const KIND: Kind = Kind::Peer;

    fn name(&self) -> String {
        "davey, AES-128-GCM, allocating".into()
    }

    fn includes(&self) -> &'static str {
        "DaveSession::encrypt_opus and decrypt: the row above with a vector for each packet and each frame."
    }

    fn seal(&mut self, slot: usize, frame: &[u8]) {
        self.packets[slot] = self.ana.encrypt_opus(frame).expect("an established session encrypts").into_owned();
    }

    fn open(&mut self, slot: usize, _now: Duration) -> &[u8] {
        self.frame = self.ben.decrypt(ANA, MediaType::AUDIO, &self.packets[slot]).expect("a fresh packet decrypts");
        &self.frame
    }

    fn packet(&self, slot: usize) -> &[u8] {
        &self.packets[slot]
    }
}

/// Two members in a call of their own, ready to speak. Ana has it to herself until the gateway proposes Ben.
fn call() -> Result<(DaveSession, DaveSession), Box<dyn Error>> {
    let version = NonZeroU16::new(davey::DAVE_PROTOCOL_VERSION).ok_or("DAVE has a version")?;
    let gateway = Gateway::new()?;
    let mut ana = DaveSession::new(version, ANA, CHANNEL, None)?;
    let mut ben = DaveSession::new(version, BEN, CHANNEL, None)?;
    for member in [&mut ana, &mut ben] {
        member.set_external_sender(&gateway.package()?)?;
    }

    let proposal = gateway.propose(&ben.create_key_package()?)?;
    let members = Some(&[ANA, BEN][..]);
    let answer = ana.process_proposals(ProposalsOperationType::APPEND, &proposal, members)?;
    let answer = answer.ok_or("no commit to the gateway's proposal")?;
    if !ana.process_commit(&answer.commit)? {
        return Err("the commit was ignored".into());
    }
    ben.process_welcome(&answer.welcome.ok_or("no welcome")?, members)?;
    for member in [&mut ana, &mut ben] {
        // Transition 0 is executed at once.
        member.prepare_transition(0, version.get())?;
    }
    Ok((ana, ben))
}

/// What DAVE needs of Discord's voice gateway: it alone proposes who joins.
struct Gateway {
    provider: OpenMlsRustCrypto,
    key: SignatureKeyPair,
}

impl Gateway {
    fn new() -> Result<Self, Box<dyn Error>> {
        Ok(Self { provider: OpenMlsRustCrypto::default(), key: SignatureKeyPair::new(SUITE.signature_algorithm())? })
    }

    /// `dave_mls_external_sender_package` (25): whom the members take proposals from.
    fn package(&self) -> Result<Vec<u8>, Box<dyn Error>> {
        let credential = BasicCredential::new(b"gateway".to_vec());
        Ok(ExternalSender::new(self.key.public().into(), credential.into()).tls_serialize_detached()?)
    }

    /// `dave_mls_proposals` (27) of one Add, in the first epoch.
    fn propose(&self, key_package: &[u8]) -> Result<Vec<u8>, Box<dyn Error>> {
        let joiner = KeyPackageIn::tls_deserialize_exact_bytes(key_package)?
            .validate(self.provider.crypto(), ProtocolVersion::Mls10)?;
        let add = ExternalProposal::new_add::<OpenMlsRustCrypto>(
            joiner,
            GroupId::from_slice(&CHANNEL.to_be_bytes()),
            0.into(),
            &self.key,
            SenderExtensionIndex::new(0),
        )?;
        Ok(VLBytes::new(add.tls_serialize_detached()?).tls_serialize_detached()?)
    }
}
