//! What the worst bytes within the caps cost in memory: their elements are of a byte or two, and tens in memory.

mod party;
#[path = "common/peak.rs"]
mod peak_memory;

use std::sync::atomic::Ordering::SeqCst;

use chacha20poly1305::{ChaCha20Poly1305, KeyInit as _, Nonce, aead::Aead as _, aead::Payload};
use openmls::prelude::{
    tls_codec::{DeserializeBytes as _, Serialize as _},
    *,
};
use openmls_basic_credential::SignatureKeyPair;
use openmls_rust_crypto::OpenMlsRustCrypto;
use parlor::{
    Card, Role,
    room::{MAX_CARD, MAX_MESSAGE, MAX_TREE},
};
use party::{NOW, Party, guest};
use peak_memory::{Counting, MOST, USED};

const LIMIT: usize = 32 * 1024 * 1024;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// The most that `work` had in use at a time, above what was in use before.
fn peak(work: impl FnOnce()) -> usize {
    let before = USED.load(SeqCst);
    MOST.store(before, SeqCst);
    work();
    MOST.load(SeqCst) - before
}

/// `bytes` as a variable-length vector (RFC 9420 §2.1.2).
fn vector(bytes: &[u8]) -> Vec<u8> {
    let length = u32::try_from(bytes.len()).unwrap() | 0x8000_0000;
    [length.to_be_bytes().as_slice(), bytes].concat()
}

// One test, for the counter is the whole process's.
#[test]
fn the_worst_bytes_within_the_caps_take_no_more_than_32_mib() {
    let mut party = Party::new(&[("ana", Role::Host), ("ben", Role::Listener)]);
    let mut worst = Vec::new();

    // A welcome whose secrets are three empty vectors each.
    let mut welcome = vec![0, 1, 0, 3, 0, 3];
    welcome.extend(vector(&vec![0; MAX_MESSAGE - 20]));
    welcome.extend(vector(&[]));
    let eve = guest("eve");
    worst.push(("welcome", peak(|| drop(eve.enter(&welcome).unwrap_err()))));

    // Control messages of every wire format, with the longest vector of zeros in every early place.
    for format in 0..=6 {
        for skip in [0, 1, 8, 9, 16, 24, 32, 40, 48, 64] {
            let mut message = vec![0, 1, 0, format];
            message.extend(vec![0; skip]);
            message.extend(vector(&vec![0; MAX_MESSAGE - skip - 8]));
            worst.push(("message", peak(|| drop(party.rooms[1].receive(&message, NOW).unwrap_err()))));
        }
    }
    worst.push((
        "card",
        peak(|| drop(Card::from_bytes(&[&[0, 1, 0, 5][..], &[0; MAX_CARD - 4]].concat()).unwrap_err())),
    ));

    // A hostile host's welcome with a sealed tree of blank nodes.
    let zed = guest("zed");
    let (welcome, tree) = blank_tree(zed.card());
    assert_eq!(tree.len(), MAX_TREE);
    worst.push(("tree", peak(|| drop(zed.enter_with_tree(&welcome, &tree).unwrap_err()))));

    worst.sort_by_key(|(_, bytes)| std::cmp::Reverse(*bytes));
    println!("{:?}", &worst[..4]);
    for (what, bytes) in worst {
        assert!(bytes <= LIMIT, "{what}: {bytes} bytes");
    }
}

/// A welcome by a bare client, and the largest tree with the most nodes, sealed for it.
fn blank_tree(card: &Card) -> (Vec<u8>, Vec<u8>) {
    let suite = Ciphersuite::MLS_128_DHKEMX25519_CHACHA20POLY1305_SHA256_Ed25519;
    let provider = OpenMlsRustCrypto::default();
    let signer = SignatureKeyPair::new(suite.signature_algorithm()).unwrap();
    let credential = CredentialWithKey {
        credential: BasicCredential::new(b"mal".to_vec()).into(),
        signature_key: signer.public().into(),
    };
    let config = MlsGroupCreateConfig::builder().ciphersuite(suite).build();
    let mut group = MlsGroup::new(&provider, &signer, &config, credential).unwrap();
    let MlsMessageBodyIn::KeyPackage(package) =
        MlsMessageIn::tls_deserialize_exact_bytes(card.as_bytes()).unwrap().extract()
    else {
        panic!()
    };
    let package = package.validate(provider.crypto(), ProtocolVersion::Mls10).unwrap();
    let key = [7; 32];
    let bundle = group
        .commit_builder()
        .propose_adds([package])
        .load_psks(provider.storage())
        .unwrap()
        .use_ratchet_tree_extension(false)
        .create_group_info_with_extensions([Extension::Unknown(0xF0C2, UnknownExtension(key.to_vec()))])
        .unwrap()
        .build(provider.rand(), provider.crypto(), &signer, |_| true)
        .unwrap()
        .stage_commit(&provider)
        .unwrap();
    let (_, welcome, _) = bundle.into_messages();

    let nodes = vector(&vec![0; MAX_TREE - 1 - 16 - 4]);
    let aad = [&[1][..], &1_u64.to_be_bytes(), group.group_id().as_slice()].concat();
    let cipher = ChaCha20Poly1305::new((&key).into());
    let sealed = cipher.encrypt(&Nonce::default(), Payload { msg: &nodes, aad: &aad }).unwrap();
    (welcome.unwrap().tls_serialize_detached().unwrap(), [&[1][..], &sealed].concat())
}
