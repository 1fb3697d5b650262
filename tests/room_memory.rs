//! What the worst bytes within the caps cost in memory: their elements are of a byte or two, and tens in memory.

mod party;
#[path = "common/peak.rs"]
mod peak_memory;
#[path = "common/raw.rs"]
mod raw;

use std::{
    sync::atomic::Ordering::SeqCst,
    time::{Duration, Instant},
};

use chacha20poly1305::{ChaCha20Poly1305, KeyInit as _, Nonce, aead::Aead as _, aead::Payload};
use openmls::prelude::{
    tls_codec::{DeserializeBytes as _, Serialize as _},
    *,
};
use openmls_traits::signatures::Signer as _;
use parlor::{
    Card, Event, Role, Room, Settings, UnixTime,
    room::{
        Entry, MAX_CARD, MAX_MESSAGE, MAX_TEXT, MAX_TREE, PublishedKeys, REQUEST_LEN, Setting, Ticket,
        door::{Gate, Link, Terms},
    },
    vault::VaultKey,
};
use party::{
    NOW, Party, guest,
    mal::{Bare, World},
};
use peak_memory::{Counting, MOST, USED};
use raw::{Raw, vector};

/// The longest clip.
const MAX_CLIP: usize = 4 * 1024 * 1024;

const LIMIT: usize = 32 * 1024 * 1024;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// What is read, how long it may be, and what that costs at most.
type Rows = Vec<(&'static str, usize, Cost)>;

#[derive(Clone, Copy, Default)]
struct Cost {
    /// The most in use at a time, above what was in use before.
    bytes: usize,
    time: Duration,
}

impl Cost {
    /// The most of both: of memory, and of time.
    fn max(self, other: Self) -> Self {
        Self { bytes: self.bytes.max(other.bytes), time: self.time.max(other.time) }
    }
}

fn cost(work: impl FnOnce()) -> Cost {
    let before = USED.load(SeqCst);
    MOST.store(before, SeqCst);
    let began = Instant::now();
    work();
    Cost { bytes: MOST.load(SeqCst) - before, time: began.elapsed() }
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
fn worst(inputs: &[Vec<u8>], mut read: impl FnMut(&[u8])) -> Cost {
    inputs.iter().map(|input| cost(|| read(input))).fold(Cost::default(), Cost::max)
}

// One test, for the counter is the whole process's.
#[test]
fn the_worst_bytes_within_the_caps_take_no_more_than_32_mib() {
    let mut party = Party::new(&[("ana", Role::Host), ("ben", Role::Listener)]);
    let mut rows = Rows::new();

    // A welcome whose secrets are three empty vectors each.
    let mut welcome = vec![0, 1, 0, 3, 0, 3];
    welcome.extend(vector(&vec![0; MAX_MESSAGE - 20]));
    welcome.extend(vector(&[]));
    let mut eve = Some(guest("eve"));
    // And no more of them than there may be.
    let mut few = vec![0, 1, 0, 3, 0, 3];
    few.extend(vector(&[0; 3 * 8_192]));
    few.extend(vector(&[0; 256 * 1024]));
    let inputs = [vec![welcome, few], fills(&[0, 1, 0, 3, 0, 3], MAX_MESSAGE)].concat();
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
    // Other kinds' elements: key packages and group infos of the smallest extensions, and a commit of references.
    let many = vector(&extensions(MAX_MESSAGE / 3 - 100));
    let leaf = [&[1, 9, 1, 9, 0, 1, 1, 9, 0, 0, 0, 0, 0, 2][..], &many].concat();
    inputs.push([&[0, 1, 0, 5, 0, 1, 0, 3, 1, 9][..], &leaf].concat());
    inputs.push([&[0, 1, 0, 4, 0, 1, 0, 3, 1, 9][..], &[0; 8], &[0, 0, 0], &many].concat());
    let references = vector(&[2, 0].repeat(MAX_MESSAGE / 2 - 100));
    inputs.push([&[0, 1, 0, 1, 1, 9][..], &[0; 8], &[1, 0, 0, 0, 0, 0, 3], &references, &[0, 0, 0, 0]].concat());
    let room = &mut party.rooms[1];
    let took = worst(&inputs, |bytes| drop(room.receive(bytes, NOW)));
    rows.push(("message that nobody authenticates", MAX_MESSAGE, took));

    let inputs = [fills(&[0, 1, 0, 5], MAX_CARD), vec![guest("zed").card().as_bytes().to_vec()]].concat();
    rows.push(("card", MAX_CARD, worst(&inputs, |bytes| drop(Card::from_bytes(bytes)))));

    trees(&mut rows);
    commits(&mut rows);

    // What a member may say: texts, and whatever else is as long.
    let text = "\u{1f980}".repeat(MAX_TEXT / 4);
    let (_, said) = party.rooms[0].say(&text, None).unwrap();
    let took = cost(|| party.rooms.iter_mut().for_each(|room| drop(room.receive(&said, NOW).unwrap())));
    rows.push(("application message", MAX_MESSAGE, took));

    // Signals, requests to come back and words, by the first byte of each and as long as they are.
    let kinds = [(2, 469), (3, REQUEST_LEN), (4, 4_262)];
    let inputs = kinds.iter().flat_map(|(kind, length)| {
        (0..=3).flat_map(|next| [fills(&[*kind, next], *length), fills(&[*kind, next], MAX_MESSAGE)].concat())
    });
    let inputs: Vec<Vec<u8>> = inputs.collect();
    let took = worst(&inputs, |bytes| drop(party.rooms[0].receive(bytes, NOW)));
    rows.push(("signal, request, word of nobody", MAX_MESSAGE, took));
    words(&mut rows);

    let inputs = fills(&[], 64 * 1024);
    let took = worst(&inputs, |bytes| {
        let text: String = bytes.iter().map(|byte| char::from(byte & 0x7f)).collect();
        let _ = Link::parse(&text);
        let _ = Link::parse(&format!("parlor:hint#{}", "A".repeat(bytes.len())));
    });
    rows.push(("link", 64 * 1024, took));
    let inputs = [fills(&[], 64 * 1024), fills(&[1], 64 * 1024)].concat();
    rows.push(("ticket", 64 * 1024, worst(&inputs, |bytes| drop(Ticket::from_bytes(bytes)))));

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

    println!("| what | at most, bytes | memory, at most, KiB | time, at most, ms |\n|---|---|---|---|");
    for (what, cap, Cost { bytes, time }) in &rows {
        println!("| {what} | {cap} | {} | {:.1} |", bytes.div_ceil(1024), time.as_secs_f64() * 1e3);
    }
    for (what, _, Cost { bytes, .. }) in rows {
        assert!(bytes <= LIMIT, "{what}: {bytes} bytes");
    }
}

/// What a member with a patched client may say, of every kind and as long as a word says anything.
fn words(rows: &mut Rows) {
    let mut world = World::new(Role::Listener);
    let mut worst = Cost::default();
    let mut number = 0;
    for kind in 0..=12 {
        for said in fills(&[kind], 4_097) {
            let word = party::words::say(&world.mal, number, &said);
            number += 1;
            let rooms = &mut world.party.rooms;
            worst = worst.max(cost(|| rooms.iter_mut().for_each(|room| drop(room.receive(&word, NOW)))));
        }
    }
    rows.push(("a member's word, in five rooms", 4_097, worst));
}

/// Everything at the door: doorplate, gate, knock and answer, each of one length.
fn door(rows: &mut Rows) {
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
        now += Duration::from_secs(1);
        drop(party.rooms[0].knocked(bytes, now, wall));
    });
    rows.push(("knock", knock.len(), took));

    let mut waiting = Some(waiting);
    // The largest answer has room for the largest welcome, in a power of two.
    let inputs = fills(&[1], 2 * MAX_MESSAGE);
    let took = worst(&inputs, |bytes| {
        let refused = waiting.take().unwrap().enter(bytes, Some(&[0; MAX_TREE])).unwrap_err();
        waiting = Some(*refused.waiting);
    });
    rows.push(("answer", 2 * MAX_MESSAGE, took));
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

/// A hostile host's welcomes: with a tree that travels apart, and with one inside.
fn trees(rows: &mut Rows) {
    let [mut apart, mut inside, mut extended] = [Cost::default(); 3];
    for (kind, few) in NODES.into_iter().flat_map(|kind| [(kind, false), (kind, true)]) {
        let zed = guest("zed");
        let (welcome, tree) = with_tree(zed.card(), |leaf| nodes(kind, leaf, MAX_TREE - 1 - 16 - 4, few));
        assert!(few || (MAX_TREE - 1_024..=MAX_TREE).contains(&tree.len()), "{kind:?}: {}", tree.len());
        let what = format!("tree apart, {kind:?}{}", if few { ", no more than are taken" } else { "" });
        apart = apart.max(told(&what, || drop(zed.enter_with_tree(&welcome, &tree).unwrap_err())));

        // As large as is taken, and larger.
        for size in [255 * 1024, MAX_MESSAGE - 2_048] {
            let zed = guest("zed");
            let welcome = welcome_with(zed.card(), |leaf| vec![(2, vector(&nodes(kind, leaf, size, few)))]).0;
            assert!(few || (size..=MAX_MESSAGE).contains(&(welcome.len() + 1_024)), "{kind:?}: {}", welcome.len());
            let what = what.replace("apart", "inside");
            inside = inside.max(told(&what, || drop(zed.enter(&welcome).unwrap_err())));
        }
    }
    for size in [84 * 1024 * 3, 3 * 60_000] {
        let zed = guest("zed");
        let extensions =
            (0..60_000).map(|n| (0x1000 + n, vec![0; if n == 0 { size - 3 * 60_000 } else { 0 }])).collect();
        let welcome = welcome_with(zed.card(), |_| extensions).0;
        extended = extended.max(told("welcome of extensions", || drop(zed.enter(&welcome).unwrap_err())));
    }
    rows.push(("tree", MAX_TREE, apart));
    rows.push(("tree inside a welcome", MAX_MESSAGE, inside));
    rows.push(("welcome of extensions", MAX_MESSAGE, extended));
}

/// What `work` costs, which is also printed.
fn told(what: &str, work: impl FnOnce()) -> Cost {
    let cost = cost(work);
    println!("{what}: {} KiB, {} ms", cost.bytes / 1024, cost.time.as_millis());
    cost
}

/// What a tree may be filled with, before a last leaf that is there.
#[derive(Clone, Copy, Debug)]
enum Nodes {
    Blank,
    /// One leaf with as many as there is room for.
    Extensions,
    Capabilities,
    /// As small as they can be.
    Parents,
    /// A parent with as many unmerged leaves as there is room for.
    Unmerged,
}

const NODES: [Nodes; 5] = [Nodes::Blank, Nodes::Extensions, Nodes::Capabilities, Nodes::Parents, Nodes::Unmerged];

/// An odd number of nodes in nearly `size` bytes, the last of them `leaf`; if they are `few`, no more than are taken.
fn nodes(kind: Nodes, leaf: &[u8], size: usize, few: bool) -> Vec<u8> {
    let room = size - leaf.len() - 2;
    let most = if few { 8_191 } else { room };
    let mut nodes = match kind {
        Nodes::Blank => [0, 0].repeat(most.min(room / 2)),
        Nodes::Parents => [0, 1, 2, 0, 0, 0].repeat(most.min(room / 6)),
        Nodes::Unmerged => {
            let leaves: Vec<u8> = (0..(room as u32 - 16) / 4).flat_map(u32::to_be_bytes).collect();
            [&[0, 1, 2, 0, 0][..], &vector(&leaves)].concat()
        }
        Nodes::Extensions => {
            let most = room / 3 - 100;
            signed_leaf(&[], &extensions(if few { most.min(65_000) } else { most }))
        }
        Nodes::Capabilities => signed_leaf(&vec![0; (room - 300) & !1], &[]),
    };
    nodes.extend([1, 1]);
    nodes.extend_from_slice(leaf);
    nodes
}

/// As many empty extensions as that, none of a kind that openmls knows; up to 65,280 all differ.
fn extensions(count: usize) -> Vec<u8> {
    (0..count).flat_map(|n| [(1 + ((n % 65_280) >> 8)) as u8, n as u8, 0]).collect()
}

/// A leaf node of a key package's that its owner has signed, whatever is in it, and a blank one after it.
fn signed_leaf(versions: &[u8], extensions: &[u8]) -> Vec<u8> {
    let owner = Bare::new("owner");
    let capabilities = [&vector(versions)[..], &[0; 4]].concat();
    let dates = [0_u64.to_be_bytes(), u64::MAX.to_be_bytes()].concat();
    let keys = [vector(&[9; 32]), vector(owner.signer.public()), vec![0, 1], vector(b"owner")].concat();
    let leaf = [&keys[..], &capabilities, &[1], &dates, &vector(extensions)].concat();
    let signature = owner.signer.sign(&[vector(b"MLS 1.0 LeafNodeTBS"), vector(&leaf)].concat()).unwrap();
    [&[1, 1][..], &leaf, &vector(&signature), &[0]].concat()
}

/// A welcome by a bare client, and a tree of these nodes, sealed for it.
fn with_tree(card: &Card, nodes: impl FnOnce(&[u8]) -> Vec<u8>) -> (Vec<u8>, Vec<u8>) {
    let key = [7; 32];
    let mut leaf = Vec::new();
    let (welcome, group) = welcome_with(card, |own| {
        leaf = own.to_vec();
        vec![(0xF0C2, key.to_vec())]
    });
    let aad = [&[1][..], &1_u64.to_be_bytes(), &group].concat();
    let cipher = ChaCha20Poly1305::new((&key).into());
    let sealed = cipher.encrypt(&Nonce::default(), Payload { msg: &vector(&nodes(&leaf)), aad: &aad }).unwrap();
    (welcome, [&[1][..], &sealed].concat())
}

/// A welcome by a bare client for the owner of `card`, whose leaf `extensions` is told, and the id of the group.
fn welcome_with(card: &Card, extensions: impl FnOnce(&[u8]) -> Vec<(u16, Vec<u8>)>) -> (Vec<u8>, Vec<u8>) {
    let mal = Bare::new("mal");
    let config = MlsGroupCreateConfig::builder().ciphersuite(party::mal::SUITE).build();
    let mut group = MlsGroup::new(&mal.provider, &mal.signer, &config, mal.credential("mal")).unwrap();
    let MlsMessageBodyIn::KeyPackage(package) =
        MlsMessageIn::tls_deserialize_exact_bytes(card.as_bytes()).unwrap().extract()
    else {
        panic!()
    };
    let package = package.validate(mal.provider.crypto(), ProtocolVersion::Mls10).unwrap();
    let leaf = package.leaf_node().tls_serialize_detached().unwrap();
    // openmls keeps those that it knows to itself, and does not know them by their numbers.
    let extensions =
        extensions(&leaf).into_iter().map(|(kind, bytes)| Extension::Unknown(kind, UnknownExtension(bytes)));
    let bundle = group
        .commit_builder()
        .propose_adds([package])
        .load_psks(mal.provider.storage())
        .unwrap()
        .use_ratchet_tree_extension(false)
        .create_group_info_with_extensions(extensions)
        .unwrap()
        .build(mal.provider.rand(), mal.provider.crypto(), &mal.signer, |_| true)
        .unwrap()
        .stage_commit(&mal.provider)
        .unwrap();
    let (_, welcome, _) = bundle.into_messages();
    (welcome.unwrap().to_bytes().unwrap(), group.group_id().as_slice().to_vec())
}

/// Nobody takes it, but it is hers: it was decrypted, and read.
fn refused(world: &mut World, message: &[u8]) {
    match world.party.named("ana").receive(message, NOW) {
        Ok(events) => assert!(matches!(events[..], [Event::Refused { .. }]), "{:?}", party::gists(&events)),
        Err(error) => {
            let read =
                ["content is malformed", "invalid type of leaf node"].iter().any(|why| error.to_string().contains(why));
            assert!(read, "{error}");
        }
    }
}

/// What a listener's client may put into a commit, where nobody sees it before it is decrypted.
fn commits(rows: &mut Rows) {
    let mut world = World::new(Role::Listener);
    let mut raw = Raw::of(&world);
    let room = MAX_MESSAGE - 512;
    let package = world.mal.client.key_package().tls_serialize_detached().unwrap();
    let bodies = [
        ("references", [2, 0].repeat(room / 2)),
        ("self-removals", [1, 0, 10].repeat(room / 3)),
        ("removals", [1, 0, 3, 0, 0, 0, 0].repeat(room / 7)),
        (
            "removals of one each",
            (0..room as u32 / 7).flat_map(|leaf| [&[1, 0, 3][..], &leaf.to_be_bytes()].concat()).collect(),
        ),
        ("unknown ones", [1, 0xf0, 0xff, 0].repeat(room / 4)),
        ("pre-shared keys", [1, 0, 4, 1, 0, 0].repeat(room / 6)),
        ("inits", [1, 0, 6, 0].repeat(room / 4)),
        ("settings", [1, 0, 7, 0].repeat(room / 4)),
        ("settings of many", [&[1, 0, 7][..], &vector(&extensions(65_000))].concat()),
        ("newcomers", [&[1, 0, 1][..], &package].concat().repeat(room / (package.len() + 3))),
    ];
    let mut worst = Cost::default();
    for (what, proposals) in bodies {
        let body = [&vector(&proposals)[..], &[0]].concat();
        let message = raw.commit(&world, &body);
        assert!(message.len() <= MAX_MESSAGE);
        worst = worst.max(told(&format!("a commit of {what}"), || refused(&mut world, &message)));
    }
    // A path of empty nodes, and of one node with empty ciphertexts.
    for (what, nodes) in [
        ("empty nodes", [0, 0].repeat(room / 2)),
        ("empty ciphertexts", [&[0][..], &vector(&[0, 0].repeat(room / 2 - 64))].concat()),
    ] {
        let leaf = world.mal.group.own_leaf_node().unwrap().tls_serialize_detached().unwrap();
        let body = [&[0, 1][..], &leaf, &vector(&nodes)].concat();
        let message = raw.commit(&world, &body[..body.len().min(MAX_MESSAGE - 256)]);
        worst = worst.max(told(&format!("a commit with a path of {what}"), || refused(&mut world, &message)));
    }
    rows.push(("a member's commit", MAX_MESSAGE, worst));
    world.go_on();
}
