//! After a key is dropped, no freed block of the heap holds it.
//!
//! What stays on stacks and in registers is out of reach for safe Rust and not tested.

mod common;
#[path = "common/memory.rs"]
mod memory;
mod sealed;

use std::time::Duration;

use common::Room;
use memory::freed_blocks_with;
use parlor::{
    LeafIndex,
    media::{
        Backend,
        seal::{MediaKey, Proof, SealRules},
        sframe::{Aead, Derivation, Opener, Sealer},
    },
};

#[global_allocator]
static ALLOCATOR: memory::Watched = memory::Watched;

/// Base key, secret, and the keys and salts of leaves 1 and 2.
fn secrets(room: &Room) -> Vec<Vec<u8>> {
    // The epoch and so the front of the test's base key is zeros, which is nothing to look for.
    let mut secrets = vec![room.base_key()];
    for leaf in [1, 2] {
        let kid = room.layout.key_id(0, LeafIndex(leaf), room.epoch).unwrap();
        let derived = Derivation::new(room.suite, &room.base_key(), kid).unwrap();
        secrets.extend([derived.key().to_vec(), derived.salt().to_vec(), derived.secret().to_vec()]);
    }
    secrets
}

fn found(room: &Room, run: impl FnOnce()) -> u64 {
    let secrets = secrets(room);
    let needles: Vec<&[u8]> = secrets.iter().map(Vec::as_slice).collect();
    freed_blocks_with(&needles, run)
}

fn rooms() -> Vec<Room> {
    let rooms = Room::each_kind(&[1, 2]);
    rooms.into_iter().map(|room| Room { epoch: 0x0123_4567_89ab_cdef, secret: 0xa5, ..room }).collect()
}

#[test]
fn a_dropped_voice_leaves_no_key_behind() {
    for room in rooms() {
        let (mut speaker, mut listener) = (room.voice(1), room.voice(9));
        let left = found(&room, || {
            let packet = speaker.seal(b"frame").unwrap();
            listener.open(&packet, Duration::ZERO).unwrap();
            drop((speaker, listener));
        });
        assert_eq!(left, 0, "{:?} {:?}", room.suite, room.backend);
    }
}

#[test]
fn making_keys_and_dropping_them_unused_leaves_none_behind() {
    for room in rooms() {
        let base_key = zeroize::Zeroizing::new(room.base_key());
        let stage = [1, 2].map(|leaf| parlor::media::Speaker { leaf: LeafIndex(leaf), id: common::id(leaf) }).to_vec();
        let left = found(&room, || {
            let keys = parlor::EpochKeys::new(
                room.suite,
                room.layout,
                room.epoch,
                base_key,
                LeafIndex(1),
                stage,
                Duration::ZERO,
            );
            drop(keys.unwrap().with_backend(room.backend).unwrap());
        });
        assert_eq!(left, 0, "{:?} {:?}", room.suite, room.backend);
    }
}

#[test]
fn a_past_epoch_and_a_removed_speaker_leave_no_key_behind() {
    for room in rooms() {
        let mut voice = room.voice(9);
        let mut next = room.clone();
        next.next(Duration::from_secs(1), &[1]);
        let keys = next.keys(9);
        let left = found(&room, || {
            voice.rekey(keys).unwrap();
            voice.expire(Duration::from_secs(4));
        });
        assert_eq!(left, 0, "{:?} {:?}", room.suite, room.backend);
    }
}

#[test]
fn an_epoch_gone_by_leaves_no_base_key_behind() {
    use parlor::{Event, Guest, Identity, Role, Settings};
    fn keys(events: Vec<Event>) -> parlor::EpochKeys {
        match events.into_iter().next() {
            Some(Event::Rekeyed(keys)) => keys,
            other => panic!("{other:?}"),
        }
    }
    let now = Duration::ZERO;
    let (mut ana, mut voice) = parlor::Room::create(Identity::generate("ana").unwrap(), Settings::default()).unwrap();
    let ben = Guest::new(Identity::generate("ben").unwrap()).unwrap();
    let admission = ana.admit(ben.card(), Role::Listener).unwrap();
    voice.rekey(keys(ana.receive(&admission.commit, now).unwrap())).unwrap();
    let (mut ben, _) = ben.enter(&admission.welcome).unwrap();
    for own in [true, false] {
        let first = if own { ana.refresh().unwrap() } else { ben.refresh().unwrap() };
        let base_key = keys(ben.receive(&first, now).unwrap()).into_base_key();
        let left = freed_blocks_with(&[&base_key], || {
            voice.rekey(keys(ana.receive(&first, now).unwrap())).unwrap();
            let next = ana.refresh().unwrap();
            voice.rekey(keys(ana.receive(&next, now).unwrap())).unwrap();
            ben.receive(&next, now).unwrap();
            voice.expire(Duration::from_secs(4));
        });
        assert_eq!(left, 0, "own commit: {own}");
    }
}

#[test]
fn a_dropped_voice_that_seals_leaves_no_media_key_behind_nor_what_seals_are_encrypted_with() {
    for (proof, backend) in [Proof::Deniable, Proof::Evidence]
        .into_iter()
        .flat_map(|proof| Backend::ALL.iter().map(move |backend| (proof, *backend)))
    {
        let mut rules = SealRules::default();
        (rules.every, rules.proof) = (5, proof);
        let mut room = sealed::Room { backend, ..sealed::Room::new(parlor::Suite::Aes128Gcm, rules, 3) };
        // Not 32 times one byte, which anything might hold.
        let seed: [u8; 32] = std::array::from_fn(|at| (at as u8).wrapping_mul(37) ^ 0xa5);
        room.media[0] = seed;
        let expand = |label: &[u8]| {
            let mut key = [0; 32];
            hkdf::Hkdf::<sha2::Sha256>::from_prk(&seed).unwrap().expand(label, &mut key).unwrap();
            key.to_vec()
        };
        let mut secrets =
            vec![seed.to_vec(), expand(b"parlor media key 1 deniable"), expand(b"parlor media key 1 evidence")];
        assert_eq!(secrets[1], MediaKey::from_seed(&seed).to_publish());
        for (stream, who) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
            let base_key = room.base_key(0);
            let derived = Derivation::new(room.suite, &base_key, room.key_id(stream, who, 0)).unwrap();
            secrets.push(derived.key().to_vec());
        }
        let needles: Vec<&[u8]> = secrets.iter().map(Vec::as_slice).collect();
        let left = freed_blocks_with(&needles, || {
            let (mut ana, mut ben) = (room.voice(0, 0), room.voice(1, 0));
            let mut verified = 0;
            for tick in 0..30 {
                let now = sealed::FRAME * tick;
                for packet in sealed::say(&mut ana, b"frame", now) {
                    sealed::hear(&mut ben, &packet, now);
                }
                verified = ben.stats().verified;
            }
            assert_eq!(verified, 30);
            // An epoch gone by, and a room left.
            ana.rekey(room.keys(0, 1, sealed::FRAME * 30)).unwrap();
            ana.expire(Duration::from_secs(9));
            drop(ben);
            ana.close();
            drop(ana);
            drop(MediaKey::from_seed(&seed));
        });
        assert_eq!(left, 0, "{proof:?} {backend:?}");
        for secret in &secrets {
            let unwiped = secret.clone();
            assert_eq!(freed_blocks_with(&needles, || drop(unwiped)), 1);
        }
    }
}

#[test]
fn low_level_sealers_and_openers_leave_no_key_behind() {
    for room in rooms() {
        let kid = room.layout.key_id(0, LeafIndex(1), room.epoch).unwrap();
        let base_key = room.base_key();
        let sealer = Box::new(Sealer::new(room.suite, room.backend, &base_key, kid, 0).unwrap());
        let opener = Box::new(Opener::new(room.suite, room.backend, &base_key, kid).unwrap());
        let derived = Box::new(Derivation::new(room.suite, &base_key, kid).unwrap());
        let left = found(&room, || drop((sealer, opener, derived)));
        assert_eq!(left, 0, "{:?} {:?}", room.suite, room.backend);
    }
}

#[test]
fn a_dropped_link_leaves_neither_its_secret_nor_what_comes_from_it_behind() {
    // The secret is 32 times `B`; the text ends in it.
    let text = "parlor:#Af1INDnjqjdjmUa0IS7dIgN8ZNh3nkp-BQZhO8S1SNwUQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkI";
    let secret = [0x42; 32];
    let derive = |label: &[u8]| {
        let mut key = [0; 32];
        hkdf::Hkdf::<sha2::Sha256>::new(Some(b"parlor link 1"), &secret).expand(label, &mut key).unwrap();
        key
    };
    let (seed, plate_key) = (derive(b"parlor link 1 signing key"), derive(b"parlor link 1 doorplate key"));
    let needles = [secret.as_slice(), &text.as_bytes()[60..], &seed, &plate_key];
    let left = freed_blocks_with(&needles, || {
        let link = parlor::Link::parse(text).unwrap().with_hint("relay.example").unwrap();
        assert!(link.reveal().ends_with(&text[60..]));
        // No doorplate, but the key is used on it.
        assert!(link.read_doorplate(&[1; parlor::room::door::PLATE_LEN]).is_err());
        assert_eq!(format!("{link}{link:?}").matches("QkJC").count(), 0);
        // Cut short within its secret.
        assert!(parlor::Link::parse(&text[..90]).is_err());
        drop(link);
    });
    assert_eq!(left, 0);
    let text = text.to_owned();
    assert_eq!(freed_blocks_with(&needles, || drop(text)), 1);
}

#[test]
fn the_search_does_find_what_is_not_wiped() {
    for room in rooms() {
        for secret in secrets(&room) {
            let mut block = vec![1; 7];
            block.extend_from_slice(&secret);
            assert_eq!(found(&room, || drop(block)), 1);
        }
    }
    // The libraries' own objects, by a key of the test's: each holds its key as it is, unless it is wiped.
    #[cfg(feature = "ring")]
    for algorithm in [&ring::aead::CHACHA20_POLY1305, &ring::aead::AES_128_GCM, &ring::aead::AES_256_GCM] {
        let key = [0x5a; 32];
        let key = &key[..algorithm.key_len()];
        let unwiped = Box::new(ring::aead::LessSafeKey::new(ring::aead::UnboundKey::new(algorithm, key).unwrap()));
        assert_eq!(freed_blocks_with(&[key], || drop(unwiped)), 1, "{algorithm:?}");
    }
    for room in rooms() {
        let key = vec![0x5a; room.suite.key_len()];
        let wiped = Box::new(Aead::new(room.suite, room.backend, &key).unwrap());
        assert_eq!(freed_blocks_with(&[&key], || drop(wiped)), 0);
    }
}
