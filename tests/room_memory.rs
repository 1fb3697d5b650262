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
    Card, Role, Room, Settings, UnixTime,
    room::{
        Entry, MAX_CARD, MAX_MESSAGE, MAX_TEXT, MAX_TREE, PublishedKeys, Setting,
        door::{Gate, Terms},
    },
    vault::VaultKey,
};
use party::{NOW, Party, guest};
use peak_memory::{Counting, MOST, USED};

/// The longest clip.
const MAX_CLIP: usize = 4 * 1024 * 1024;

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

/// Bytes of `length` after `front`, in the fills that parsers like least: zeros are empty vectors and first variants, ones
/// the largest counts, and 0x40 and 0x80 are vectors of two and of four bytes' length.
fn fills(front: &[u8], length: usize) -> Vec<Vec<u8>> {
    let fill = |byte: u8| [front, &vec![byte; length.saturating_sub(front.len())]].concat();
    let mut fills: Vec<Vec<u8>> = [0, 1, 0x20, 0x40, 0x7f, 0x80, 0xff].into_iter().map(fill).collect();
    // Counts and lengths that promise more than there is, in each of the first places.
    for at in 0..48 {
        for count in [u32::MAX, 0x7fff_ffff, 0xbfff_ffff, 0x00ff_ffff] {
            let mut bytes = fill(0);
            let Some(place) = bytes.get_mut(front.len() + at..front.len() + at + 4) else { continue };
            place.copy_from_slice(&count.to_be_bytes());
            bytes.truncate(front.len() + 4_096);
            fills.push(bytes);
        }
    }
    fills
}

/// The most that `read` takes for any of `inputs`.
fn worst(inputs: &[Vec<u8>], mut read: impl FnMut(&[u8])) -> usize {
    inputs.iter().map(|input| peak(|| read(input))).max().unwrap()
}

// One test, for the counter is the whole process's.
#[test]
fn the_worst_bytes_within_the_caps_take_no_more_than_32_mib() {
    let mut party = Party::new(&[("ana", Role::Host), ("ben", Role::Listener)]);
    let mut rows: Vec<(&str, usize, usize)> = Vec::new();

    // A welcome whose secrets are three empty vectors each.
    let mut welcome = vec![0, 1, 0, 3, 0, 3];
    welcome.extend(vector(&vec![0; MAX_MESSAGE - 20]));
    welcome.extend(vector(&[]));
    let mut eve = Some(guest("eve"));
    let inputs = [vec![welcome], fills(&[0, 1, 0, 3, 0, 3], MAX_MESSAGE)].concat();
    let took = worst(&inputs, |bytes| {
        let refused = eve.take().unwrap().enter(bytes).unwrap_err();
        eve = Some(*refused.guest);
    });
    rows.push(("welcome", MAX_MESSAGE, took));

    // Control messages of every wire format, with the longest vector of zeros in every early place.
    let mut inputs = Vec::new();
    for format in 0..=6 {
        for skip in [0, 1, 8, 9, 16, 24, 32, 40, 48, 64] {
            let mut message = vec![0, 1, 0, format];
            message.extend(vec![0; skip]);
            message.extend(vector(&vec![0; MAX_MESSAGE - skip - 8]));
            inputs.push(message);
        }
        inputs.extend(fills(&[0, 1, 0, format], MAX_MESSAGE));
    }
    let room = &mut party.rooms[1];
    rows.push(("commit or another message", MAX_MESSAGE, worst(&inputs, |bytes| drop(room.receive(bytes, NOW)))));

    let inputs = fills(&[0, 1, 0, 5], MAX_CARD);
    rows.push(("card", MAX_CARD, worst(&inputs, |bytes| drop(Card::from_bytes(bytes).unwrap_err()))));

    // A hostile host's welcome with a sealed tree of blank nodes.
    let zed = guest("zed");
    let (welcome, tree) = blank_tree(zed.card());
    assert_eq!(tree.len(), MAX_TREE);
    rows.push(("tree", MAX_TREE, peak(|| drop(zed.enter_with_tree(&welcome, &tree).unwrap_err()))));

    // What a member may say: texts, and whatever else is as long.
    let text = "\u{1f980}".repeat(MAX_TEXT / 4);
    let (_, said) = party.rooms[0].say(&text, None).unwrap();
    let took = peak(|| party.rooms.iter_mut().for_each(|room| drop(room.receive(&said, NOW).unwrap())));
    rows.push(("application message", MAX_MESSAGE, took));

    door(&mut rows);

    // The published media keys of somebody, and what only looks like them.
    let mut keys = [&[1][..], &[9; 32], &4_096_u16.to_be_bytes()].concat();
    (0..4_096_u32).for_each(|n| keys.extend([&n.to_be_bytes()[..], &[0; 28]].concat()));
    PublishedKeys::from_bytes(&keys).unwrap();
    let inputs = [vec![keys.clone()], fills(&keys[..35], keys.len()), fills(&[1], keys.len())].concat();
    let took = worst(&inputs, |bytes| {
        let _ = PublishedKeys::from_bytes(bytes);
        let _ = party.rooms[1].receive(bytes, NOW);
    });
    rows.push(("published keys", keys.len(), took));

    let mut inputs = fills(b"parlor clip 1\0", MAX_CLIP);
    inputs.extend(fills(&[], MAX_CLIP));
    inputs.extend(inputs.clone().iter().map(|body| signed(body)).collect::<Vec<_>>());
    rows.push(("clip", MAX_CLIP, worst(&inputs, |bytes| drop(parlor::Clip::verify_with_gaps(bytes)))));

    // Stored states: none takes more than a copy of itself, whatever its lengths promise.
    let key = VaultKey::generate().unwrap();
    let stored = party.rooms[0].snapshot(&key).unwrap();
    let mut inputs = fills(b"parlor\x01", 1 << 20);
    inputs.push([&stored[..], &(1_u32 << 20).to_be_bytes(), &vec![0; 1 << 20]].concat());
    inputs.extend((0..stored.len()).step_by(stored.len() / 64).map(|length| stored[..length].to_vec()));
    let took = worst(&inputs, |bytes| drop(Room::restore(party::identity("ana"), &key, bytes, NOW)));
    rows.push(("stored state, increment", 1 << 20, took));

    println!("| what | at most, bytes | peak, bytes |\n|---|---|---|");
    for (what, cap, bytes) in &rows {
        println!("| {what} | {cap} | {bytes} |");
    }
    for (what, _, bytes) in rows {
        assert!(bytes <= LIMIT, "{what}: {bytes} bytes");
    }
}

/// Everything at the door: doorplate, gate, knock and answer, each of one length.
fn door(rows: &mut Vec<(&str, usize, usize)>) {
    let settings = Settings::default().with(Setting::Entry(Entry::Knock)).unwrap();
    let mut party = Party::with(&[("ana", Role::Host)], settings);
    let (link, commit) =
        party.rooms[0].issue_link(Terms { role: Role::Listener, one_shot: false, expires: None }).unwrap();
    party.deliver(&commit);
    let wall = UnixTime(1_800_000_000);

    let plate = party.rooms[0].doorplate(&link).unwrap();
    let inputs = [vec![plate.clone()], fills(&[1], plate.len()), fills(&plate[..40], MAX_MESSAGE)].concat();
    rows.push(("doorplate", plate.len(), worst(&inputs, |bytes| drop(link.read_doorplate(bytes)))));

    let gate = link.gate().to_bytes();
    let inputs = [vec![gate.to_vec()], fills(&[1], gate.len()), fills(&gate[..1], MAX_MESSAGE)].concat();
    rows.push(("gate", gate.len(), worst(&inputs, |bytes| drop(Gate::from_bytes(bytes)))));

    let plate = link.read_doorplate(&plate).unwrap();
    let (waiting, knock) = guest("ben").knock(&link, &plate, "", wall).unwrap();
    let fronts = [1, 33, 40, knock.len() / 2, knock.len() - 64];
    let inputs = fronts.iter().flat_map(|front| fills(&knock[..*front], knock.len())).chain(fills(&[1], MAX_MESSAGE));
    let inputs: Vec<Vec<u8>> = inputs.chain([knock.clone()]).collect();
    let mut now = NOW;
    let took = worst(&inputs, |bytes| {
        // A second has time for so many.
        now += std::time::Duration::from_secs(1);
        drop(party.rooms[0].knocked(bytes, now, wall));
    });
    rows.push(("knock", knock.len(), took));

    let mut waiting = Some(waiting);
    let inputs = fills(&[1], MAX_MESSAGE);
    let took = worst(&inputs, |bytes| {
        let refused = waiting.take().unwrap().enter(bytes, Some(&[0; MAX_TREE])).unwrap_err();
        waiting = Some(*refused.waiting);
    });
    rows.push(("answer", MAX_MESSAGE, took));
}

/// A clip that its exporter has signed, whatever is in it.
fn signed(body: &[u8]) -> Vec<u8> {
    use ed25519_dalek::Signer as _;
    let key = ed25519_dalek::SigningKey::from_bytes(&[1; 32]);
    let front = &body[..body.len().min(MAX_CLIP - 96)];
    let all = [front, key.verifying_key().as_bytes()].concat();
    let signature = key.sign(&all).to_bytes();
    [all, signature.to_vec()].concat()
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
