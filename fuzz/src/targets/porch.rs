//! The door from outside, for whoever holds a link: everything that the formats of `src/room/door` are sealed and
//! signed with, derived once more by hand from what is documented there.

use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD as BASE64};
use chacha20poly1305::{
    ChaCha20Poly1305, KeyInit as _, Nonce,
    aead::{Aead as _, Payload},
};
use ed25519_dalek::{Signer as _, SigningKey};
use hkdf::Hkdf;
use openmls_rust_crypto::RustCrypto;
use openmls_traits::{
    crypto::OpenMlsCrypto as _,
    types::{HpkeAeadType, HpkeCiphertext, HpkeConfig, HpkeKdfType, HpkeKemType},
};
use parlor::{
    Guest, Identity, Link, Role, Room, Settings,
    room::{
        Entry, Setting,
        door::{KNOCK_LEN, Terms, UnixTime},
    },
};
use sha2::Sha256;

pub const WALL: UnixTime = UnixTime(1_800_000_000);
pub const NOW: Duration = Duration::from_secs(7);

const HOST: [u8; 32] = [5; 32];
const SLOT: usize = 32 + 32 + 16;
/// Bytes of a knock's body, and of a doorplate's plain text.
pub const BODY: usize = 1_344;
pub const PLAIN: usize = 2_048;

/// A host's room with a door, and the link to it.
pub struct Porch {
    pub room: Room,
    pub link: Link,
    secret: Vec<u8>,
}

/// Who signs for the host.
pub fn host() -> (Identity, SigningKey) {
    (Identity::from_secret("ana", &HOST).unwrap(), SigningKey::from_bytes(&HOST))
}

/// A guest whose key is known.
pub fn guest(name: &str, seed: u8) -> (Guest, SigningKey) {
    (Guest::new(Identity::from_secret(name, &[seed; 32]).unwrap()).unwrap(), SigningKey::from_bytes(&[seed; 32]))
}

impl Porch {
    pub fn new() -> Self {
        let settings =
            Settings::default().with_title("an evening").unwrap().with(Setting::Entry(Entry::Knock)).unwrap();
        let (mut room, _) = Room::create(host().0, settings).unwrap();
        let terms = Terms { role: Role::Listener, one_shot: false, expires: None };
        let (link, commit) = room.issue_link(terms).unwrap();
        room.receive(&commit, NOW).unwrap();
        let secret = BASE64.decode(link.reveal().split_once('#').unwrap().1).unwrap()[33..].to_vec();
        Self { room, link, secret }
    }

    fn derive(&self, label: &str) -> [u8; 32] {
        let mut out = [0; 32];
        Hkdf::<Sha256>::new(Some(b"parlor link 1"), &self.secret).expand(label.as_bytes(), &mut out).unwrap();
        out
    }

    pub fn sign(&self, label: &[u8], message: &[u8]) -> [u8; 64] {
        let key = SigningKey::from_bytes(&self.derive("parlor link 1 signing key"));
        key.sign(&[label, message].concat()).to_bytes()
    }

    fn plate_cipher(&self) -> (ChaCha20Poly1305, Vec<u8>) {
        let key = self.derive("parlor link 1 doorplate key");
        (ChaCha20Poly1305::new(&key.into()), [&[1][..], self.link.address().as_bytes()].concat())
    }

    /// The plain text of the room's own doorplate.
    pub fn plate(&self) -> Vec<u8> {
        let sealed = self.room.doorplate(&self.link).unwrap();
        let (cipher, aad) = self.plate_cipher();
        cipher.decrypt(Nonce::from_slice(&sealed[1..13]), Payload { msg: &sealed[13..], aad: &aad }).unwrap()
    }

    /// A doorplate of any plain text.
    pub fn seal_plate(&self, plain: &[u8]) -> Vec<u8> {
        let (cipher, aad) = self.plate_cipher();
        let sealed = cipher.encrypt(Nonce::from_slice(&[9; 12]), Payload { msg: plain, aad: &aad }).unwrap();
        [&[1][..], &[9; 12], &sealed].concat()
    }

    /// What the host signs of a doorplate, signed, and filled up with zeros.
    pub fn sign_plate(&self, signed: &[u8]) -> Vec<u8> {
        let message = [b"parlor doorplate 1\0", &self.link.id().as_bytes()[..], signed].concat();
        let signature = host().1.sign(&message).to_bytes();
        let mut plain = [signed, &signature].concat();
        plain.resize(PLAIN.max(plain.len()), 0);
        plain
    }

    /// A doorplate that names the host with another door key: whoever knows its secret half reads the knocks.
    pub fn plate_with(&self, door_key: &[u8; 32]) -> Vec<u8> {
        let plain = self.plate();
        let signed = signed_length(&plain);
        let mut signed = plain[..signed].to_vec();
        let end = signed.len();
        signed[end - 32..].copy_from_slice(door_key);
        self.seal_plate(&self.sign_plate(&signed))
    }

    fn header(&self) -> Vec<u8> {
        [&[1][..], self.link.address().as_bytes(), self.link.id().as_bytes()].concat()
    }

    /// The room's door key, as its doorplate names it.
    pub fn door_key(&self) -> [u8; 32] {
        let plain = self.plate();
        plain[signed_length(&plain) - 32..][..32].try_into().unwrap()
    }

    /// What a guest signs of a knock's body.
    pub fn sign_body(&self, guest: &SigningKey, body: &[u8]) -> Vec<u8> {
        let message = [b"parlor knock by guest 1\0", &self.header()[..], body].concat();
        let mut body = [body, &guest.sign(&message).to_bytes()].concat();
        body.resize(BODY.max(body.len()), 0);
        body
    }

    /// A knock of any body, sealed to the room and signed with the link.
    pub fn seal_knock(&self, door_key: &[u8; 32], key: &[u8], body: &[u8]) -> Vec<u8> {
        let mut out = seal_slots(&[*door_key], KNOCK_SLOT, &self.header(), key, body);
        let signature = self.sign(b"parlor knock by link 1\0", &out);
        out.extend(signature);
        out
    }

    /// The body of a knock whose first slot is sealed to the key whose secret half this is.
    pub fn open_knock(&self, secret: &[u8], knock: &[u8]) -> Vec<u8> {
        assert_eq!(knock.len(), KNOCK_LEN);
        open_slots(secret, KNOCK_SLOT, &self.header(), &knock[..knock.len() - 64])
    }
}

const KNOCK_SLOT: &[u8] = b"parlor knock slot 1";

/// A body of any kind behind `header`, the first slots sealed to these keys (`src/room/slots.rs`).
pub fn seal_slots(door_keys: &[[u8; 32]], info: &[u8], header: &[u8], key: &[u8], body: &[u8]) -> Vec<u8> {
    let mut out = header.to_vec();
    door_keys.iter().for_each(|door_key| out.extend(seal(door_key, info, header, key).unwrap()));
    out.resize(header.len() + 8 * SLOT, 0x5A);
    let sealing = <[u8; 32]>::try_from(key).unwrap_or([0; 32]);
    let payload = Payload { msg: body, aad: &out };
    let sealed = ChaCha20Poly1305::new(&sealing.into()).encrypt(&Nonce::default(), payload).unwrap();
    out.extend(sealed);
    out
}

/// The body of what is sealed so, by the first slot's secret.
pub fn open_slots(secret: &[u8], info: &[u8], header: &[u8], sealed: &[u8]) -> Vec<u8> {
    let (front, body) = sealed.split_at(header.len() + 8 * SLOT);
    let (kem_output, ciphertext) = front[header.len()..][..SLOT].split_at(32);
    let slot = HpkeCiphertext { kem_output: kem_output.to_vec().into(), ciphertext: ciphertext.to_vec().into() };
    let key = RustCrypto::default().hpke_open(config(), &slot, secret, info, header).unwrap();
    let payload = Payload { msg: body, aad: front };
    ChaCha20Poly1305::new_from_slice(&key).unwrap().decrypt(&Nonce::default(), payload).unwrap()
}

/// How much of a doorplate's plain text its host has signed.
fn signed_length(plain: &[u8]) -> usize {
    let mut at = 1;
    at += 1 + usize::from(plain[at]);
    at += 1 + usize::from(plain[at]);
    at += 32;
    at += 1 + usize::from(plain[at]);
    at += 3 + 8;
    at + 1 + 64 * usize::from(plain[at])
}

/// HPKE to a key: encapsulated key, then ciphertext.
pub fn seal(key: &[u8; 32], info: &[u8], aad: &[u8], plain: &[u8]) -> Option<Vec<u8>> {
    let sealed = RustCrypto::default().hpke_seal(config(), key, info, aad, plain).ok()?;
    Some([sealed.kem_output.as_slice(), sealed.ciphertext.as_slice()].concat())
}

/// Opens what [`seal`] made.
pub fn open(secret: &[u8], info: &[u8], aad: &[u8], sealed: &[u8]) -> Option<Vec<u8>> {
    let (kem_output, ciphertext) = sealed.split_at_checked(32)?;
    let sealed = HpkeCiphertext { kem_output: kem_output.to_vec().into(), ciphertext: ciphertext.to_vec().into() };
    RustCrypto::default().hpke_open(config(), &sealed, secret, info, aad).ok()
}

/// A key pair for HPKE, secret half first.
pub fn key_pair(seed: u8) -> (Vec<u8>, [u8; 32]) {
    let pair = RustCrypto::default().derive_hpke_keypair(config(), &[seed; 32]).unwrap();
    (pair.private.to_vec(), pair.public.try_into().unwrap())
}

const fn config() -> HpkeConfig {
    HpkeConfig(HpkeKemType::DhKem25519, HpkeKdfType::HkdfSha256, HpkeAeadType::ChaCha20Poly1305)
}
