//! Cards whose leaf has the key of a parent node of the room's ratchet tree: MLS has no tree hold a key twice.

use openmls::prelude::{tls_codec::Serialize as _, *};
use openmls_traits::signatures::Signer as _;

use super::mal::{Bare, Mal};

/// The public keys of the parent nodes, as far as there are.
pub fn parent_keys(mal: &Mal) -> Vec<[u8; 32]> {
    let tree = mal.group.export_ratchet_tree().tls_serialize_detached().unwrap();
    // A node that is there (1), a parent (2), a key of 32 bytes; a parent hash of none or 32.
    let is_parent = |at: &usize| tree[*at..].starts_with(&[1, 2, 32]) && matches!(tree[at + 35], 0 | 32);
    let starts = (0..tree.len().saturating_sub(70)).filter(is_parent);
    starts.map(|at| tree[at + 3..at + 35].try_into().unwrap()).collect()
}

/// What MLS makes of a card's bytes.
pub fn package(card: &[u8]) -> KeyPackage {
    let message = <MlsMessageIn as DeserializeBytes>::tls_deserialize_exact_bytes(card).unwrap();
    let MlsMessageBodyIn::KeyPackage(package) = message.extract() else { panic!("a card is a key package") };
    package.validate(&openmls_rust_crypto::RustCrypto::default(), ProtocolVersion::Mls10).unwrap()
}

/// A card of `client` whose leaf has that key, signed anew: nobody need hold the private half.
pub fn card_with(client: &Bare, key: [u8; 32]) -> Vec<u8> {
    const LEAF: usize = 4 + 4 + 1 + 32;
    const SIGNATURE: usize = 2 + 64;
    let sign = |label: &[u8], content: &[u8]| {
        let length = (0x4000 | content.len() as u16).to_be_bytes();
        client.signer.sign(&[&[label.len() as u8], label, &length, content].concat()).unwrap()
    };
    let mut card = MlsMessageOut::from(client.key_package()).to_bytes().unwrap();
    card[LEAF + 1..LEAF + 33].copy_from_slice(&key);
    let end = card.len() - SIGNATURE;
    let leaf_end = end - 1 - SIGNATURE;
    let signature = sign(b"MLS 1.0 LeafNodeTBS", &card[LEAF..leaf_end]);
    card[leaf_end + 2..leaf_end + SIGNATURE].copy_from_slice(&signature);
    let signature = sign(b"MLS 1.0 KeyPackageTBS", &card[4..end]);
    card[end + 2..].copy_from_slice(&signature);
    card
}
