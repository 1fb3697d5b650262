//! Rooms that are none of ours: groups on bare openmls whose host writes what the fuzzer likes, and invites Ben.

use chacha20poly1305::{
    ChaCha20Poly1305, KeyInit as _, Nonce,
    aead::{Aead as _, Payload},
};
use openmls::prelude::{
    CredentialType, Extension, ExtensionType, Extensions, GroupContext, KeyPackage, MlsGroup, MlsGroupCreateConfig,
    MlsMessageBodyIn, MlsMessageIn, OpenMlsProvider as _, ProtocolVersion, RequiredCapabilitiesExtension,
    UnknownExtension,
    tls_codec::{DeserializeBytes as _, Serialize as _},
};
use parlor::Card;

use crate::party::{
    charter::{Charter, HOST},
    mal::{Bare, CHARTER, SUITE, capabilities},
};

const TREE_KEY: u16 = 0xF0C2;
const KEY: [u8; 32] = [7; 32];

pub fn package(client: &Bare, card: &Card) -> KeyPackage {
    let message = MlsMessageIn::tls_deserialize_exact_bytes(card.as_bytes()).unwrap().extract();
    let MlsMessageBodyIn::KeyPackage(package) = message else { panic!("a card is a key package") };
    package.validate(client.provider.crypto(), ProtocolVersion::Mls10).unwrap()
}

/// A charter in order, whose host is `client`.
pub fn charter_of(client: &Bare) -> Charter {
    let mut charter = Charter::empty();
    charter.give(*client.id().as_bytes(), HOST, 0);
    charter
}

pub fn extensions(charter: Vec<u8>) -> Vec<Extension> {
    let required =
        RequiredCapabilitiesExtension::new(&[ExtensionType::Unknown(CHARTER)], &[], &[CredentialType::Basic]);
    vec![Extension::RequiredCapabilities(required), Extension::Unknown(CHARTER, UnknownExtension(charter))]
}

/// A welcome into a group with these extensions, if openmls makes one, and the tree if it goes apart.
pub fn invite(client: &Bare, extensions: Vec<Extension>, card: &Card, apart: bool) -> Option<Invitation> {
    let extensions: Extensions<GroupContext> = Extensions::from_vec(extensions).ok()?;
    let config = MlsGroupCreateConfig::builder()
        .ciphersuite(SUITE)
        .capabilities(capabilities())
        .use_ratchet_tree_extension(!apart)
        .with_group_context_extensions(extensions)
        .build();
    let provider = &client.provider;
    let mut group = MlsGroup::new(provider, &client.signer, &config, client.credential(&client.name)).ok()?;
    let mut builder = group
        .commit_builder()
        .propose_adds([package(client, card)])
        .load_psks(provider.storage())
        .ok()?
        .use_ratchet_tree_extension(!apart);
    if apart {
        let key = Extension::Unknown(TREE_KEY, UnknownExtension(KEY.to_vec()));
        builder = builder.create_group_info_with_extensions([key]).ok()?;
    }
    let bundle = builder
        .build(provider.rand(), provider.crypto(), &client.signer, |_| true)
        .ok()?
        .stage_commit(provider)
        .ok()?;
    let (_, welcome, _) = bundle.into_messages();
    group.merge_pending_commit(provider).ok()?;
    Some(Invitation {
        welcome: welcome?.tls_serialize_detached().ok()?,
        tree: group.export_ratchet_tree().tls_serialize_detached().ok()?,
        group: group.group_id().as_slice().to_vec(),
    })
}

/// What Ben needs to enter.
pub struct Invitation {
    pub welcome: Vec<u8>,
    pub tree: Vec<u8>,
    group: Vec<u8>,
}

impl Invitation {
    /// Any tree, sealed for this welcome.
    pub fn seal(&self, tree: &[u8]) -> Vec<u8> {
        let aad = [&[1][..], &1_u64.to_be_bytes(), &self.group].concat();
        let payload = Payload { msg: tree, aad: &aad };
        let sealed = ChaCha20Poly1305::new(&KEY.into()).encrypt(&Nonce::default(), payload).unwrap();
        [&[1][..], &sealed].concat()
    }
}
