//! A client of bare openmls, which asks no policy: a member with a patched app, and the stranger whom it helps.

use openmls::prelude::{tls_codec::DeserializeBytes as _, *};
use openmls_basic_credential::SignatureKeyPair;
use openmls_rust_crypto::OpenMlsRustCrypto;
use parlor::{Card, Role, Suite, media::BASE_KEY_LABEL};

use crate::stage_hands::{Kind, Outcome, Scene};

const SUITE: Ciphersuite = Ciphersuite::MLS_128_DHKEMX25519_CHACHA20POLY1305_SHA256_Ed25519;
/// What parlor puts into a room and its members' leaves.
const EXTENSIONS: [ExtensionType; 3] =
    [ExtensionType::Unknown(0xF0C1), ExtensionType::Unknown(0xF0C3), ExtensionType::Unknown(0xF0C4)];

struct Bare {
    provider: OpenMlsRustCrypto,
    signer: SignatureKeyPair,
    name: &'static str,
}

impl Bare {
    fn new(name: &'static str) -> Outcome<Self> {
        let signer = SignatureKeyPair::new(SUITE.signature_algorithm())?;
        Ok(Self { provider: OpenMlsRustCrypto::default(), signer, name })
    }

    fn credential(&self) -> CredentialWithKey {
        let credential = BasicCredential::new(self.name.as_bytes().to_vec()).into();
        CredentialWithKey { credential, signature_key: self.signer.public().into() }
    }

    fn key_package(&self) -> Outcome<KeyPackage> {
        let builder = KeyPackage::builder().leaf_node_capabilities(capabilities());
        Ok(builder.build(SUITE, &self.provider, &self.signer, self.credential())?.key_package().clone())
    }
}

fn capabilities() -> Capabilities {
    Capabilities::new(None, Some(&[SUITE]), Some(&EXTENSIONS), None, Some(&[CredentialType::Basic]))
}

fn config() -> MlsGroupJoinConfig {
    MlsGroupJoinConfig::builder().wire_format_policy(PURE_CIPHERTEXT_WIRE_FORMAT_POLICY).build()
}

/// A listener whose app is patched, and who works for the relay.
pub struct Patched {
    me: Bare,
    group: MlsGroup,
}

impl Patched {
    /// Comes into the room by a card, as a listener.
    pub fn enter(scene: &mut Scene, name: &'static str) -> Outcome<Self> {
        let me = Bare::new(name)?;
        let card = Card::from_bytes(&MlsMessageOut::from(me.key_package()?).to_bytes()?)?;
        let admission = scene.room("ana")?.admit(&card, Role::Listener)?;
        scene.spread(admission.commit)?;
        scene.relay.note(scene.now, Kind::Welcome, &admission.welcome);
        let MlsMessageBodyIn::Welcome(welcome) =
            MlsMessageIn::tls_deserialize_exact_bytes(&admission.welcome)?.extract()
        else {
            return Err("a welcome is an MLS welcome".into());
        };
        let group =
            StagedWelcome::new_from_welcome(&me.provider, &config(), welcome, None)?.into_group(&me.provider)?;
        Ok(Self { me, group })
    }

    /// What every member has: the key of the epoch that all frame keys come from.
    pub fn base_key(&self, suite: Suite) -> Outcome<Vec<u8>> {
        Ok(self.group.export_secret(self.me.provider.crypto(), BASE_KEY_LABEL, &[], suite.key_len())?)
    }

    /// A commit that adds a stranger.
    pub fn add_ghost(&mut self) -> Outcome<Vec<u8>> {
        let ghost = Bare::new("a ghost")?.key_package()?;
        let (commit, ..) = self.group.add_members(&self.me.provider, &self.me.signer, &[ghost])?;
        self.group.clear_pending_commit(self.me.provider.storage())?;
        Ok(commit.to_bytes()?)
    }

    /// The commit by which a stranger enters who was given all that the group makes public to its members.
    pub fn external_commit(&self) -> Outcome<Vec<u8>> {
        let ghost = Bare::new("a ghost")?;
        let info = self.group.export_group_info(self.me.provider.crypto(), &self.me.signer, true)?.to_bytes()?;
        let MlsMessageBodyIn::GroupInfo(info) = MlsMessageIn::tls_deserialize_exact_bytes(&info)?.extract() else {
            return Err("group info is group info".into());
        };
        let leaf = LeafNodeParameters::builder().with_capabilities(capabilities()).build();
        let (_, bundle) = MlsGroup::external_commit_builder()
            .with_config(config())
            .build_group(&ghost.provider, info, ghost.credential())?
            .leaf_node_parameters(leaf)
            .load_psks(ghost.provider.storage())?
            .build(ghost.provider.rand(), ghost.provider.crypto(), &ghost.signer, |_| true)?
            .finalize(&ghost.provider)?;
        Ok(bundle.into_contents().0.to_bytes()?)
    }
}
