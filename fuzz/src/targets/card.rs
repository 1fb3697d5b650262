//! Cards: raw, and signed by their owner whatever they say.

use std::cell::RefCell;

use ed25519_dalek::{Signer as _, SigningKey};
use parlor::{Card, Error, Event, MAX_NAME, Role, Room};

use super::{input::Input, porch::guest, reach};
use crate::party::Party;

/// Where the parts of a card lie: MLS message, init key, leaf, signature (RFC 9420 §10).
const INIT_KEY: usize = 4 + 4 + 1;
const LEAF: usize = INIT_KEY + 32;
const SIGNATURE: usize = 2 + 64;
/// The extension with the word that one asks to be brought back.
const RETURN: u16 = 0xF0C6;
/// The extension of a leaf with its door key and date; how long that and the media keys are.
const DOOR_KEY: u16 = 0xF0C3;
const DOOR: usize = 2 + 1 + 32 + 8;

thread_local! {
    static KEPT: RefCell<Option<(Party, Vec<u8>)>> = const { RefCell::new(None) };
}

/// A card that is read is as it was signed, can be shown, and harms no room that lets its owner in.
pub fn card(data: &[u8]) {
    KEPT.with_borrow_mut(|kept| {
        let (party, genuine) = kept.get_or_insert_with(|| {
            let party = Party::new(&[("ana", Role::Host), ("mo", Role::Moderator), ("liv", Role::Listener)]);
            (party, guest("ben", 6).0.card().as_bytes().to_vec())
        });
        let mut input = Input::new(data);
        let way = input.below(4);
        let (bytes, by_owner) = match way {
            // Whoever's it is.
            0 => (input.rest().to_vec(), true),
            1 => {
                let bytes = input.mutate(genuine);
                let same = bytes == *genuine;
                (bytes, same)
            }
            2 => {
                let end = genuine.len() - SIGNATURE;
                let leaf_end = end - 1 - SIGNATURE;
                let front = input.mutate(&genuine[..LEAF]);
                let leaf = input.mutate(&genuine[LEAF..leaf_end]);
                let extensions = if input.flag() { input.run() } else { &[0] };
                (sign(&ben(), &front, &leaf, extensions), true)
            }
            _ => (write(&mut input, genuine), true),
        };
        let Ok(card) = Card::from_bytes(&bytes) else { return };
        assert!(by_owner, "a card that its owner did not sign is read");
        assert_eq!(card.as_bytes(), bytes);
        assert_eq!(Card::from_bytes(card.as_bytes()).unwrap(), card);
        assert!((1..=MAX_NAME).contains(&card.name().len()) && !card.name().chars().any(char::is_control));
        let ben = ben().verifying_key().to_bytes();
        assert!(way == 0 || *card.id().as_bytes() == ben, "{card:?} is signed by Ben");
        if !admit(party, &card, input.flag()) {
            return;
        }
        // A room in which many came and went has another tree than at first.
        if party.rooms[0].epoch() > 200 {
            *kept = None;
        }
    });
}

fn ben() -> SigningKey {
    SigningKey::from_bytes(&[6; 32])
}

/// The card of `owner`, who asks to be brought back by such a word, if there is one, out of a leaf that says `door`, if it
/// says one; `genuine` is a card of theirs without a word.
pub fn asking(owner: &SigningKey, genuine: &[u8], door: Option<&[u8]>, word: Option<&[u8]>) -> Vec<u8> {
    let leaf = &genuine[LEAF..genuine.len() - SIGNATURE - 1 - SIGNATURE];
    // The last of a leaf are its extensions, of which it has one.
    let front = &leaf[..leaf.len() - 1 - DOOR];
    // It has to list what its key package carries.
    let listed = [4, 0xf0, 0xc1, 0xf0, 0xc3];
    let at = front.windows(listed.len()).position(|list| list == listed).expect("what a leaf lists");
    let (list, end) = (&[6, 0xf0, 0xc1, 0xf0, 0xc3, 0xf0, 0xc6][..], at + listed.len());
    let front = [&front[..at], list, &front[end..]].concat();
    let door = door.map(|door| [&DOOR_KEY.to_be_bytes()[..], &vector(door)].concat());
    let extensions = door.unwrap_or_default();
    let word = word.map(|word| [&RETURN.to_be_bytes()[..], &vector(word)].concat());
    sign(owner, &genuine[..LEAF], &[&front[..], &vector(&extensions)].concat(), &vector(&word.unwrap_or_default()))
}

/// The door key in the leaf of such a card.
pub fn door_of(genuine: &[u8]) -> &[u8] {
    &genuine[genuine.len() - SIGNATURE - 1 - SIGNATURE - 40..][..32]
}

/// Lets the card's owner in and out again; gives whether they were.
fn admit(party: &mut Party, card: &Card, with_commit: bool) -> bool {
    let admission = match party.rooms[0].admit(card, Role::Listener) {
        Ok(admission) => admission,
        // By a word nobody is let in who is not in already.
        Err(Error::Denied(_) | Error::Unfit { .. }) => return false,
        Err(error) => panic!("{card:?} cannot be admitted: {error}"),
    };
    let agree = |party: &Party| assert!(party.rooms.windows(2).all(|two| two[0].code() == two[1].code()));
    for events in party.deliver(&admission.commit) {
        assert!(matches!(events[..], [Event::Rekeyed(_), Event::Joined { .. }]), "{events:?}");
    }
    agree(party);
    reach("admitted");
    if with_commit {
        // Somebody else encrypts to the new leaf.
        let refresh = party.rooms[2].refresh().unwrap();
        party.deliver(&refresh);
        agree(party);
    }
    let remove = party.rooms[1].remove(&card.id()).unwrap();
    party.deliver(&remove);
    agree(party);
    assert!(party.rooms.iter().map(Room::roster).all(|roster| roster.len() == 3));
    true
}

/// A card of these parts, both signatures made by `owner`.
fn sign(owner: &SigningKey, front: &[u8], leaf: &[u8], extensions: &[u8]) -> Vec<u8> {
    let sign = |label: &[u8], content: &[u8]| {
        let message = [&[label.len() as u8], label, &varint(content.len()), content].concat();
        owner.sign(&message).to_bytes()
    };
    let signature = sign(b"MLS 1.0 LeafNodeTBS", leaf);
    let content = [front, leaf, &varint(64), &signature, extensions].concat();
    let signature = sign(b"MLS 1.0 KeyPackageTBS", &content[4.min(content.len())..]);
    [&content, &varint(64)[..], &signature].concat()
}

/// A length (RFC 9420 §2.1.2).
fn varint(length: usize) -> Vec<u8> {
    match length {
        0..64 => vec![length as u8],
        64..16_384 => (length as u16 | 0x4000).to_be_bytes().to_vec(),
        _ => (length as u32 | 0x8000_0000).to_be_bytes().to_vec(),
    }
}

fn vector(bytes: &[u8]) -> Vec<u8> {
    [varint(bytes.len()), bytes.to_vec()].concat()
}

/// A card in the form of a key package, with what the fuzzer likes in each place.
fn write(input: &mut Input<'_>, genuine: &[u8]) -> Vec<u8> {
    let mut front = genuine[..LEAF].to_vec();
    if input.below(8) == 7 {
        front[INIT_KEY..].copy_from_slice(&[input.byte(); 32]);
    }
    let leaf = &genuine[LEAF..];
    let encryption = if input.below(8) == 7 { vector(input.run()) } else { leaf[..33].to_vec() };
    let key = if input.below(16) == 15 { vector(input.run()) } else { leaf[33..66].to_vec() };
    let name = if input.flag() { input.run().to_vec() } else { b"ben".to_vec() };
    let credential = [&[0, if input.below(16) == 15 { 2 } else { 1 }][..], &vector(&name)].concat();
    // Ben's own after his name: capabilities, source and lifetime, extensions.
    let rest = &leaf[66 + 2 + 4..leaf.len() - SIGNATURE - 1 - SIGNATURE];
    let rest = match input.below(4) {
        0 => input.mutate(rest),
        1 => {
            let types = |input: &mut Input<'_>, own: &[u16]| {
                let mut all: Vec<u16> = own.to_vec();
                for _ in 0..input.below(4) {
                    all.push(input.u16());
                }
                vector(&all.iter().flat_map(|kind| kind.to_be_bytes()).collect::<Vec<_>>())
            };
            let capabilities = [
                types(input, &[1]),
                types(input, &[3]),
                types(input, &[0xF0C1, 0xF0C3, 0xF0C4, 0xF0C5, 0xF0C6]),
                types(input, &[]),
                types(input, &[1]),
            ]
            .concat();
            let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
            let days = |input: &mut Input<'_>| 24 * 3_600 * u64::from(input.byte());
            let lifetime = [now - days(input), now + days(input)].map(u64::to_be_bytes).concat();
            let mut extensions = Vec::new();
            for _ in 0..input.below(4) {
                extensions.extend([0xF0C3_u16, 0xF0C5, 0xF0C4, 1, 10][input.below(5)].to_be_bytes());
                extensions.extend(vector(input.run()));
            }
            [capabilities, vec![1], lifetime, vector(&extensions)].concat()
        }
        _ => rest.to_vec(),
    };
    let mut extensions = Vec::new();
    for _ in 0..input.below(3) {
        extensions.extend([0xF0C4_u16, 10, 0xF0C3, RETURN][input.below(4)].to_be_bytes());
        extensions.extend(vector(input.run()));
    }
    sign(&ben(), &front, &[encryption, key, credential, rest].concat(), &vector(&extensions))
}
