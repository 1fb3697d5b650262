//! Attacks on the media plane, one a test, named as what must hold.
//!
//! `PARLOR_MUTATIONS=10000000 cargo test --release --test media_attacks a_mutated_frame -- --nocapture` runs the mutated
//! frames in full number, and tells how long it took and how much memory.

mod common;
#[path = "common/peak.rs"]
mod peak_memory;

use std::{
    collections::HashSet,
    sync::atomic::Ordering::SeqCst,
    time::{Duration, Instant},
};

use common::{Room, id, ms, quiet};
use parlor::{
    Error, KeyIdLayout, LeafIndex, MemberId, Suite, Voice,
    media::{
        Limits, OffStage,
        sframe::{Backend, Header, MAX_COUNTER, Opener, Sealer},
    },
};
use peak_memory::{Counting, MOST};
use rand::{RngExt, SeedableRng, rngs::StdRng};

const NOW: Duration = Duration::from_secs(1000);

/// The most memory that this whole process may take, whatever comes and however often.
const LIMIT: usize = 32 * 1024 * 1024;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Somebody who knows the room's base key, and so everybody's frame keys: any member, off stage or on it.
fn insider(room: &Room, stream: u64, leaf: u32, counter: u64) -> Sealer {
    let kid = room.layout.key_id(stream, LeafIndex(leaf), room.epoch).unwrap();
    Sealer::new(room.suite, room.backend, &room.base_key(), kid, counter).unwrap()
}

fn sealed(sealer: &mut Sealer, frame: &[u8]) -> Vec<u8> {
    let mut packet = vec![0; frame.len() + sealer.overhead()];
    sealer.seal_into(b"", frame, &mut packet).unwrap();
    packet
}

/// Refused, and the voice is as it was.
fn refused(voice: &mut Voice, packet: &[u8]) -> Error {
    let before = voice.state_digest();
    let error = voice.open(packet, NOW).expect_err("a packet that must be refused was accepted");
    if !matches!(error, Error::Parked { .. }) {
        assert_eq!(voice.state_digest(), before, "after {error:?}");
    }
    error
}

#[test]
fn a_frame_is_heard_as_it_was_said_by_whom_it_was_said() {
    for room in Room::each_kind(&[3, 5]) {
        let (mut ana, mut eve) = (room.voice(3), room.voice(5));
        let mut ben = room.voice(9);
        for counter in 0..600 {
            for (voice, leaf) in [(&mut ana, 3), (&mut eve, 5)] {
                let frame = vec![leaf as u8; counter as usize % 70];
                let heard = ben.open(&voice.seal(&frame).unwrap(), NOW).unwrap();
                assert_eq!((heard.speaker, heard.leaf, heard.epoch), (id(leaf), LeafIndex(leaf), 0));
                assert_eq!((heard.counter, &heard.frame), (counter, &frame));
            }
        }
    }
}

#[test]
fn both_backends_make_the_same_bytes_and_open_each_others() {
    for suite in Suite::ALL {
        for size in 0..300 {
            let mut packets = Vec::new();
            for backend in Backend::ALL {
                let room = Room { suite, backend: *backend, ..Room::new(&[1]) };
                packets.push(room.voice(1).seal(&vec![7; size]).unwrap());
            }
            for backend in Backend::ALL {
                let room = Room { suite, backend: *backend, ..Room::new(&[1]) };
                for packet in &packets {
                    assert_eq!(packet, &packets[0], "{suite:?}, {size} bytes");
                    assert_eq!(room.voice(2).open(packet, NOW).unwrap().frame, vec![7; size]);
                }
            }
        }
    }
}

#[test]
fn a_frame_carried_into_another_room_epoch_sender_stream_or_suite_is_refused() {
    for suite in Suite::ALL {
        let room = Room { suite, epoch: 300, ..Room::new(&[1, 2]) };
        let mut ana = room.voice(1);
        for _ in 0..20 {
            let packet = ana.seal(b"said here, and nowhere else").unwrap();
            let (header, header_len) = Header::decode(&packet).unwrap();
            // As it is, into rooms that differ in one thing.
            let mut others = vec![Room { secret: 2, ..room.clone() }];
            others.extend(
                [-256_i64, -1, 1, 256].map(|by| Room { epoch: room.epoch.strict_add_signed(by), ..room.clone() }),
            );
            others.extend(
                Suite::ALL.into_iter().filter(|other| *other != suite).map(|suite| Room { suite, ..room.clone() }),
            );
            for other in others {
                refused(&mut other.voice(9), &packet);
            }
            // Under a header that names another sender, stream, epoch, or counter.
            let layout = room.layout;
            let named = [
                (layout.key_id(0, LeafIndex(2), 300).unwrap(), header.counter),
                (layout.key_id(0, LeafIndex(3), 300).unwrap(), header.counter),
                (layout.key_id(1, LeafIndex(1), 300).unwrap(), header.counter),
                (layout.key_id(0, LeafIndex(1), 299).unwrap(), header.counter),
                (layout.key_id(0, LeafIndex(1), 301).unwrap(), header.counter),
                (header.kid, header.counter + 1),
            ];
            for (kid, counter) in named {
                let mut front = [0; 17];
                let len = Header { kid, counter }.encode_into(&mut front).unwrap();
                refused(&mut room.voice(9), &[&front[..len], &packet[header_len..]].concat());
            }
            // And of the same room, but sent back to who said it.
            assert!(matches!(refused(&mut ana, &packet), Error::Reflected { epoch: 300 }));
            assert!(room.voice(9).open(&packet, NOW).is_ok());
        }
    }
}

#[test]
fn a_mutated_frame_is_never_accepted_and_moves_nothing() {
    let mutations: u64 = std::env::var("PARLOR_MUTATIONS").map_or(200_000, |count| count.parse().unwrap());
    let kinds = Room::each_kind(&[1, 2, 700]);
    let each = mutations / kinds.len() as u64 + 1;
    let began = Instant::now();
    std::thread::scope(|scope| {
        for (seed, room) in kinds.iter().enumerate() {
            scope.spawn(move || mutate(room, seed as u64, each));
        }
    });
    // The other tests' share included, where they run beside it.
    let most = MOST.load(SeqCst);
    println!("{mutations} mutated frames: none taken, {most} in use at most, {:.1} s", began.elapsed().as_secs_f64());
    assert!(most <= LIMIT, "{most} bytes");
}

fn mutate(room: &Room, seed: u64, count: u64) {
    let mut random = StdRng::seed_from_u64(seed);
    let mut room = Room { epoch: 40, ..room.clone() };
    // One listener with a parking lot, one without: whatever comes, the state of the second may never move.
    let mut none = Limits::default();
    none.parked_packets = 0;
    let (mut ana, mut ben) = (room.voice(1), room.voice(9));
    let mut strict = Voice::with_limits(room.keys(9), none).unwrap();
    let earlier = ana.seal(b"of the epoch before").unwrap();
    room.next(NOW, &[1, 2, 700]);
    for (voice, leaf) in [(&mut ana, 1), (&mut ben, 9), (&mut strict, 9)] {
        voice.rekey(room.keys(leaf)).unwrap();
    }
    // Good packets of both epochs: some opened already, some still fresh.
    let mut packets = vec![earlier];
    for at in 0..40 {
        packets.push(ana.seal(&vec![at; usize::from(at)]).unwrap());
    }
    for packet in &packets[1..20] {
        ben.open(packet, NOW).unwrap();
        strict.open(packet, NOW).unwrap();
    }
    let before = strict.state_digest();
    assert_eq!(ben.state_digest(), before);

    let mut buffer = [0; 128];
    for step in 0..count {
        let packet = &packets[random.random_range(0..packets.len())];
        let len = mutated(&mut random, &room, packet, &mut buffer);
        if packets.iter().any(|good| good == &buffer[..len]) {
            continue;
        }
        let voice = if random.random() { &mut ben } else { &mut strict };
        if let Ok(heard) = voice.open_in_place(&mut buffer[..len], NOW) {
            panic!("seed {seed}, step {step}: accepted {heard:?}");
        }
        // A hash costs more than several packets.
        if step % 8 == 0 {
            assert_eq!(strict.state_digest(), before, "seed {seed}, step {step}");
            assert!(ben.parked().0 <= ben.limits().parked_packets && ben.parked().1 <= ben.limits().parked_bytes);
        }
    }
    assert_eq!(strict.state_digest(), before, "seed {seed}");
    assert!(ben.stats().parked > 0 && ben.stats().forged > 0 && ben.stats().not_on_stage > 0, "{:?}", ben.stats());
    let refusals = |voice: &Voice| {
        let stats = voice.stats();
        let by_bytes = stats.malformed + stats.forged;
        let by_moment = stats.replayed + stats.too_late + stats.reflected + stats.parked;
        by_bytes + by_moment + stats.not_on_stage
    };
    assert!(refusals(&ben) + refusals(&strict) > count / 10 * 9, "of {count}: {:?} {:?}", ben.stats(), strict.stats());
    // What was parked lies in the lot and nowhere else: once its time is up, no trace of anything is left.
    for (at, packet) in packets.iter().enumerate() {
        assert_eq!(ben.open(packet, NOW).is_ok(), !(1..20).contains(&at), "seed {seed}, packet {at}");
        assert_eq!(strict.open(packet, NOW).is_ok(), !(1..20).contains(&at), "seed {seed}, packet {at}");
    }
    let later = NOW + ben.limits().parked_for + ms(1);
    ben.expire(later);
    strict.expire(later);
    assert_eq!(ben.state_digest(), strict.state_digest(), "seed {seed}");
}

/// Writes a changed packet into `buffer`; gives its length.
fn mutated(random: &mut StdRng, room: &Room, packet: &[u8], buffer: &mut [u8; 128]) -> usize {
    let len = packet.len();
    buffer[..len].copy_from_slice(packet);
    match random.random_range(0..8) {
        0 => random.random_range(0..len),
        1 => {
            let longer = random.random_range(1..8);
            random.fill(&mut buffer[len..len + longer]);
            len + longer
        }
        2 => {
            random.fill(&mut buffer[..len]);
            len
        }
        3 => {
            // Another header over the same body.
            let kid = room.layout.key_id(0, LeafIndex(random.random_range(0..4096)), random.random()).unwrap();
            let (_, header_len) = Header::decode(packet).unwrap();
            let new_len = Header { kid, counter: random.random_range(0..1 << 20) }.encode_into(buffer).unwrap();
            let body = &packet[header_len..];
            buffer[new_len..new_len + body.len()].copy_from_slice(body);
            new_len + body.len()
        }
        flips => {
            for _ in 3..flips {
                buffer[random.random_range(0..len)] ^= 1 << random.random_range(0..8);
            }
            len
        }
    }
}

#[test]
fn over_six_hundred_epochs_no_frame_is_taken_for_another_epochs_or_senders() {
    for epoch_bits in 4..=8 {
        let layout = KeyIdLayout::new(12, epoch_bits).unwrap();
        // One packet of each epoch, sealed by either speaker.
        let at = |epoch| Room { layout, epoch, since: ms(100 * epoch), ..Room::new(&[1, 2]) };
        let packets: Vec<_> = (0..600)
            .map(|epoch| {
                let leaf = 1 + (epoch % 2) as u32;
                (leaf, at(epoch).voice(leaf).seal(&epoch.to_be_bytes()).unwrap())
            })
            .collect();
        let mut random = StdRng::seed_from_u64(u64::from(epoch_bits));
        let mut ben = at(0).voice(9);
        for epoch in 0..600 {
            if epoch > 0 {
                ben.rekey(at(epoch).keys(9)).unwrap();
            }
            let now = ms(100 * epoch);
            let mut heard = Vec::new();
            while let Some(unparked) = ben.unpark(now) {
                heard.extend(unparked.ok());
            }
            // Those around this epoch, and any others.
            for try_ in 0..60 {
                let other = if try_ < 30 { (epoch + try_).saturating_sub(15) } else { random.random_range(0..600) };
                if let Some((_, packet)) = packets.get(other as usize) {
                    heard.extend(ben.open(packet, now).ok());
                }
            }
            for heard in heard {
                assert_eq!(heard.frame, heard.epoch.to_be_bytes(), "E = {epoch_bits}, in epoch {epoch}");
                assert_eq!(heard.leaf.0, packets[heard.epoch as usize].0);
                assert_eq!(heard.speaker, id(heard.leaf.0));
            }
        }
        assert_eq!(ben.stats().opened, 600, "E = {epoch_bits}: each is heard once, {:?}", ben.stats());
    }
}

#[test]
fn a_listener_who_speaks_is_refused_though_the_frame_decrypts() {
    let room = Room::new(&[1]);
    let mut listener = room.voice(4);
    assert!(!listener.on_stage());
    assert!(matches!(
        listener.seal(b"let me"),
        Err(Error::NotOnStage { leaf: LeafIndex(4), epoch: 0, why: OffStage::Listener })
    ));

    let packet = sealed(&mut insider(&room, 0, 4, 0), b"let me");
    let kid = room.layout.key_id(0, LeafIndex(4), 0).unwrap();
    let opener = Opener::new(room.suite, room.backend, &room.base_key(), kid).unwrap();
    assert!(opener.open_in_place(b"", &mut packet.clone()).is_ok(), "the control: it does decrypt");
    let mut ben = Voice::new(room.keys(9).with_offstage(vec![quiet(4, OffStage::Listener)]));
    let error = refused(&mut ben, &packet);
    assert!(matches!(error, Error::NotOnStage { leaf: LeafIndex(4), epoch: 0, why: OffStage::Listener }), "{error:?}");
    // And where nobody said that there is such a listener.
    let error = refused(&mut room.voice(9), &packet);
    assert!(matches!(error, Error::NotOnStage { leaf: LeafIndex(4), epoch: 0, why: OffStage::NotInRoom }), "{error:?}");
}

#[test]
fn a_stream_other_than_the_microphone_is_refused_though_the_frame_decrypts() {
    let room = Room::new(&[1]);
    let packet = sealed(&mut insider(&room, 1, 1, 0), b"from a stream of its own");
    assert!(matches!(refused(&mut room.voice(9), &packet), Error::Malformed { .. }));
}

#[test]
fn a_replayed_frame_is_refused_in_any_order_and_after_any_delay() {
    let room = Room::new(&[1]);
    let (mut ana, mut ben) = (room.voice(1), room.voice(9));
    let packets: Vec<_> = (0..2000_u16).map(|at| ana.seal(&at.to_be_bytes()).unwrap()).collect();
    let mut random = StdRng::seed_from_u64(7);
    let mut heard = HashSet::new();
    for step in 0..20_000_usize {
        let at = (step / 10).saturating_sub(random.random_range(0..500)).min(packets.len() - 1);
        match ben.open(&packets[at], NOW) {
            Ok(got) => assert!(heard.insert(got.counter) && got.counter == at as u64, "packet {at} twice"),
            Err(Error::Replayed { counter, .. }) => assert!(heard.contains(&counter)),
            Err(Error::TooLate { .. }) => assert!(step / 10 - at > 400),
            Err(other) => panic!("{other:?}"),
        }
    }
    assert!(heard.len() > 1500);
}

#[test]
fn a_forged_frame_does_not_use_up_the_counter_it_names() {
    let room = Room::new(&[1]);
    let (mut ana, mut ben) = (room.voice(1), room.voice(9));
    for _ in 0..100 {
        let packet = ana.seal(b"frame").unwrap();
        let mut forged = packet.clone();
        *forged.last_mut().unwrap() ^= 1;
        assert!(matches!(refused(&mut ben, &forged), Error::Forged { leaf: LeafIndex(1), epoch: 0 }));
        assert!(ben.open(&packet, NOW).is_ok());
    }
}

#[test]
fn a_counter_past_the_cap_is_refused_though_the_frame_decrypts() {
    let room = Room::new(&[1]);
    let kid = room.layout.key_id(0, LeafIndex(1), 0).unwrap();
    // Only by hand: no sealer goes there.
    let derived = parlor::media::sframe::Derivation::new(room.suite, &room.base_key(), kid).unwrap();
    let aead = parlor::media::sframe::Aead::new(room.suite, room.backend, derived.key()).unwrap();
    for (counter, good) in [(MAX_COUNTER, true), (MAX_COUNTER + 1, false), (u64::MAX, false)] {
        let mut packet = vec![0; 17];
        let len = Header { kid, counter }.encode_into(&mut packet).unwrap();
        packet.truncate(len);
        let mut text = *b"frame";
        let tag = aead.seal_in_place(&derived.nonce(counter), &packet, &mut text).unwrap();
        packet.extend_from_slice(&text);
        packet.extend_from_slice(&tag);
        let mut ben = room.voice(9);
        assert_eq!(ben.open(&packet, NOW).is_ok(), good, "{counter}");
        assert!(ben.open(&packet, NOW).is_err());
    }
    let mut sealer = insider(&room, 0, 1, MAX_COUNTER - 2);
    (0..3).for_each(|_| drop(sealed(&mut sealer, b"frame")));
    let error = sealer.seal_into(b"", b"frame", &mut [0; 64]).unwrap_err();
    assert!(matches!(error, Error::Exhausted { .. }), "{error:?}");
}

#[test]
fn a_million_junk_packets_fill_the_parking_lot_and_no_more() {
    let mut random = StdRng::seed_from_u64(11);
    let room = Room::new(&[1]);
    let mut ben = room.voice(9);
    let limits = *ben.limits();
    let mut junk = [0; 2400];
    random.fill(&mut junk);
    for step in 0..1_000_000_u64 {
        let len = random.random_range(0..junk.len());
        let epoch = if step % 2 == 0 { random.random_range(1..128) } else { random.random() };
        let kid = room.layout.key_id(0, LeafIndex(random.random_range(0..4096)), epoch).unwrap();
        let counter = random.random::<u64>() >> random.random_range(0..64);
        Header { kid, counter }.encode_into(&mut junk).unwrap();
        assert!(ben.open_in_place(&mut junk[..len], NOW + ms(step / 1000)).is_err());
        let (packets, bytes) = ben.parked();
        assert!(packets <= limits.parked_packets && bytes <= limits.parked_bytes, "{packets}, {bytes}");
    }
    assert!(ben.stats().parked > 400_000 && ben.stats().parked_dropped > 300_000, "{:?}", ben.stats());
    ben.expire(NOW + ms(10_000));
    assert_eq!(ben.parked(), (0, 0));
    assert!(ben.open(&room.voice(1).seal(b"still here").unwrap(), NOW).is_ok());
}

#[test]
fn by_default_1024_packets_wait_or_256_kib_of_them_128_of_one_leaf_and_the_next_pushes_one_out() {
    let ahead = Room { epoch: 1, ..Room::new(&[1]) };
    let here = Room::new(&[1]);
    let mut senders: Vec<_> = (1..=8).map(|leaf| insider(&ahead, 0, leaf, 0)).collect();
    let mut ben = here.voice(100);
    let parks = |ben: &mut Voice, packet: &[u8], packets, dropped| {
        assert!(matches!(ben.open(packet, NOW), Err(Error::Parked { .. })));
        assert_eq!((ben.parked().0, ben.stats().parked_dropped), (packets, dropped));
    };
    for packet in 0..1_024 {
        parks(&mut ben, &sealed(&mut senders[packet % 8], b"frame"), packet + 1, 0);
    }
    parks(&mut ben, &sealed(&mut insider(&ahead, 0, 9, 0), b"frame"), 1_024, 1);

    let mut ben = here.voice(100);
    let mut sender = insider(&ahead, 0, 1, 1_000);
    for packet in 0..128 {
        parks(&mut ben, &sealed(&mut sender, b"frame"), packet + 1, 0);
    }
    parks(&mut ben, &sealed(&mut sender, b"frame"), 128, 1);

    // 128 of 2 KiB are 256 KiB.
    let mut ben = here.voice(100);
    for packet in 0..128 {
        let sender = &mut senders[packet % 8];
        let frame = vec![0; 2_048 - sender.overhead()];
        let packet_of_2048 = sealed(sender, &frame);
        assert_eq!(packet_of_2048.len(), 2_048);
        parks(&mut ben, &packet_of_2048, packet + 1, 0);
    }
    assert_eq!(ben.parked(), (128, 256 * 1_024));
    parks(&mut ben, &sealed(&mut senders[0], b"frame"), 128, 1);
}

#[test]
fn who_floods_one_leaf_pushes_out_no_other_leafs_parked_frames() {
    let mut room = Room::new(&[1, 2]);
    let mut ben = room.voice(9);
    room.next(NOW, &[1, 2]);
    let packet = room.voice(1).seal(b"waits").unwrap();
    assert!(matches!(ben.open(&packet, NOW), Err(Error::Parked { .. })));
    let junk = sealed(&mut insider(&room, 0, 2, 0), &[0; 1000]);
    for _ in 0..10_000 {
        assert!(ben.open(&junk, NOW).is_err());
    }
    assert_eq!(ben.parked().0, 1 + ben.limits().parked_per_leaf);
    ben.rekey(room.keys(9)).unwrap();
    assert_eq!(ben.unpark(NOW).unwrap().unwrap().frame, b"waits");
}

#[test]
fn a_removed_or_demoted_members_frames_are_refused_from_the_rekey_on() {
    let mut room = Room::new(&[1, 2, 3]);
    let mut voices = [1, 2, 3].map(|leaf| room.voice(leaf));
    let mut ben = room.voice(9);
    let old = voices.each_mut().map(|voice| [0, 1].map(|_| voice.seal(b"before").unwrap()));
    for [packet, _] in &old {
        ben.open(packet, NOW).unwrap();
    }
    // 2 goes; somebody else gets the leaf of 3.
    room.next(NOW, &[1, 3]);
    let keys = {
        let stage = [(1, id(1)), (3, MemberId::from_bytes([3; 32]))];
        let stage = stage.map(|(leaf, id)| parlor::media::Speaker { leaf: LeafIndex(leaf), id }).to_vec();
        let base_key = zeroize::Zeroizing::new(room.base_key());
        parlor::EpochKeys::new(room.suite, room.layout, room.epoch, base_key, LeafIndex(9), stage, NOW).unwrap()
    };
    ben.rekey(keys).unwrap();
    assert!(ben.open(&old[0][1], NOW).is_ok(), "who stays is heard in the epoch before, too");
    for gone in [1, 2] {
        let error = refused(&mut ben, &old[gone][1]);
        assert!(matches!(error, Error::NotOnStage { epoch: 0, why: OffStage::NotInRoom, .. }), "{error:?}");
        // And with a frame sealed after the removal, under the old keys.
        refused(&mut ben, &voices[gone].seal(b"after").unwrap());
    }
}

#[test]
fn who_left_the_stage_and_came_back_is_not_heard_from_before() {
    let mut room = Room::new(&[1]);
    let (mut ana, mut ben) = (room.voice(1), room.voice(9));
    let before = ana.seal(b"before").unwrap();
    room.next(NOW, &[]);
    let off = room.keys(9);
    room.next(NOW, &[1]);
    ana.rekey(room.keys(1)).unwrap();
    let back = ana.seal(b"back").unwrap();
    assert!(matches!(ben.open(&back, NOW), Err(Error::Parked { .. })));
    ben.rekey(off).unwrap();
    assert!(ben.unpark(NOW).is_none(), "its epoch is not there yet");
    ben.rekey(room.keys(9)).unwrap();
    assert!(matches!(refused(&mut ben, &before), Error::NotOnStage { epoch: 0, why: OffStage::LeftSince, .. }));
    assert_eq!(ben.unpark(NOW).unwrap().unwrap().frame, b"back");
    assert!(matches!(refused(&mut ben, &back), Error::Replayed { .. }), "parking is no way round the window");
}

#[test]
fn a_parked_frame_of_somebody_removed_since_is_not_played() {
    let mut room = Room::new(&[1]);
    let mut ben = room.voice(9);
    room.next(NOW, &[1]);
    let (mut ana, middle) = (room.voice(1), room.keys(9));
    let packet = ana.seal(b"on her way out").unwrap();
    assert!(matches!(ben.open(&packet, NOW), Err(Error::Parked { .. })));
    room.next(NOW, &[]);
    ben.rekey(middle).unwrap();
    ben.rekey(room.keys(9)).unwrap();
    assert!(matches!(ben.unpark(NOW), Some(Err(Error::NotOnStage { epoch: 1, .. }))));
    assert_eq!((ben.unpark(NOW).is_none(), ben.parked()), (true, (0, 0)));
}

#[test]
fn the_previous_epoch_is_heard_for_two_seconds_and_not_longer() {
    let mut room = Room::new(&[1]);
    let (mut ana, mut ben) = (room.voice(1), room.voice(9));
    let packets: Vec<_> = (0..4).map(|_| ana.seal(b"late").unwrap()).collect();
    room.next(NOW, &[1]);
    ben.rekey(room.keys(9)).unwrap();
    assert!(ben.open(&packets[0], NOW).is_ok());
    assert!(ben.open(&packets[1], NOW + ms(2000)).is_ok());
    let mut twin = room.voice(9);
    let late = ben.open(&packets[2], NOW + ms(2001)).unwrap_err();
    assert!(matches!(late, Error::TooLate { leaf: LeafIndex(1), .. }), "{late:?}");
    twin.expire(NOW);
    assert_eq!(ben.state_digest(), twin.state_digest(), "its keys are gone");
    assert!(ben.open(&packets[3], NOW).is_err(), "and do not come back with the clock");
}

#[test]
fn a_past_epoch_is_heard_as_far_back_as_its_bits_can_tell() {
    for leap in [127, 128, 129] {
        let mut room = Room { epoch: 300, ..Room::new(&[1]) };
        let (mut ana, mut ben) = (room.voice(1), room.voice(9));
        let packet = ana.seal(b"late").unwrap();
        (room.epoch, room.since) = (300 + leap, NOW);
        ben.rekey(room.keys(9)).unwrap();
        match ben.open(&packet, NOW) {
            Ok(heard) => assert_eq!((heard.epoch, leap <= 128), (300, true)),
            // It looks like one to come.
            Err(error) => assert!(leap > 128 && matches!(error, Error::Parked { epoch_bits: 44, .. }), "{error:?}"),
        }
    }
}

#[test]
fn several_commits_within_two_seconds_leave_each_epoch_its_time() {
    let mut room = Room::new(&[1]);
    let mut ben = room.voice(9);
    let mut packets = Vec::new();
    for step in 0..40 {
        let mut ana = room.voice(1);
        packets.push((room.since, [ana.seal(b"in time").unwrap(), ana.seal(b"too late").unwrap()]));
        room.next(NOW + ms(250 * step), &[1]);
        ben.rekey(room.keys(9)).unwrap();
        let now = room.since;
        for (at, (_, [in_time, too_late])) in packets.iter().enumerate() {
            // Epoch n was superseded when its successor began, 250 ms a step.
            let age = 250 * (step - at as u64);
            let age_of_first = ben.open(in_time, now);
            match age {
                0..=2000 => assert!(matches!(age_of_first, Ok(_) | Err(Error::Replayed { .. })), "{age_of_first:?}"),
                _ => assert!(matches!(ben.open(too_late, now), Err(Error::TooLate { .. }))),
            }
        }
    }
}

#[test]
fn a_parked_frame_comes_out_once_in_order_and_with_the_time_it_waited() {
    let mut room = Room::new(&[1]);
    let mut ben = room.voice(9);
    let mut next = Room { epoch: 1, ..room.clone() }.voice(1);
    let mut after = Room { epoch: 2, ..room.clone() }.voice(1);
    let order = [0, 1, 2, 3, 4, 5].map(|at| if at % 2 == 0 { next.seal(&[at]) } else { after.seal(&[at]) }.unwrap());
    for (at, packet) in order.iter().enumerate() {
        let parked = ben.open(packet, NOW + ms(20 * at as u64)).unwrap_err();
        assert!(matches!(parked, Error::Parked { leaf: LeafIndex(1), .. }), "{parked:?}");
        // The network may double it: it waits twice, and comes out once.
        assert!(matches!(ben.open(packet, NOW + ms(20 * at as u64)), Err(Error::Parked { .. })));
    }
    assert!(ben.unpark(NOW).is_none());
    let now = NOW + ms(200);
    for (epoch, expected) in [(1, [0, 2, 4]), (2, [1, 3, 5])] {
        room.next(now, &[1]);
        ben.rekey(room.keys(9)).unwrap();
        let mut heard = Vec::new();
        while let Some(unparked) = ben.unpark(now) {
            match unparked {
                Ok(got) => heard.push((got.frame[0], got.epoch, got.parked_for)),
                Err(error) => assert!(matches!(error, Error::Replayed { .. }), "{error:?}"),
            }
        }
        let expected = expected.map(|at| (at, epoch, ms(200 - 20 * u64::from(at))));
        assert_eq!(heard, expected);
    }
    assert_eq!(ben.parked(), (0, 0));
    for packet in &order {
        assert!(matches!(ben.open(packet, now), Err(Error::Replayed { .. })));
    }
}

#[test]
fn a_frame_whose_epoch_comes_too_late_or_never_is_dropped() {
    let mut room = Room::new(&[1]);
    let mut ben = room.voice(9);
    let packet = |epoch| Room { epoch, ..Room::new(&[1]) }.voice(1).seal(b"waits").unwrap();
    assert!(ben.open(&packet(1), NOW).is_err());
    ben.expire(NOW + ms(2500));
    assert_eq!(ben.parked().0, 1);
    ben.expire(NOW + ms(2501));
    assert_eq!((ben.parked().0, ben.stats().parked_expired), (0, 1));
    // The room leaps over its epoch, and over as many as its bits can tell.
    for leap in [2, 254, 255, 256, 257, 600] {
        assert!(matches!(ben.open(&packet(room.epoch + 1), NOW), Err(Error::Parked { .. })));
        room.epoch += leap;
        ben.rekey(room.keys(9)).unwrap();
        assert!(matches!(ben.unpark(NOW), Some(Err(Error::TooLate { .. }))), "{leap}");
        assert!(ben.unpark(NOW).is_none());
    }
}

#[test]
fn a_clock_that_jumps_an_hour_either_way_stops_no_sound_of_the_current_epoch() {
    for seed in 0..50 {
        let mut random = StdRng::seed_from_u64(seed);
        let mut room = Room::new(&[1]);
        let (mut ana, mut ben) = (room.voice(1), room.voice(9));
        let hour = Duration::from_secs(3600);
        let mut now = Duration::from_secs(7200);
        for step in 0..500 {
            now = match random.random_range(0..20) {
                0 => now.saturating_add(hour),
                1 => now.saturating_sub(hour),
                2 => Duration::MAX,
                3 => Duration::ZERO,
                _ => now.saturating_add(ms(20)),
            };
            if random.random_range(0..25) == 0 {
                let old = ana.seal(b"old").unwrap();
                room.next(now, &[1]);
                ana.rekey(room.keys(1)).unwrap();
                let early = ana.seal(b"early").unwrap();
                assert!(matches!(ben.open(&early, now), Err(Error::Parked { .. })), "seed {seed}, step {step}");
                ben.rekey(room.keys(9)).unwrap();
                assert_eq!(ben.unpark(now).unwrap().unwrap().frame, b"early", "seed {seed}, step {step}");
                assert_eq!(ben.open(&old, now).unwrap().frame, b"old", "seed {seed}, step {step}");
            }
            let packet = ana.seal(b"frame").unwrap();
            assert!(ben.open(&packet, now).is_ok(), "seed {seed}, step {step}");
        }
    }
}

#[test]
fn a_key_kept_by_a_clock_that_fell_back_is_erased_all_the_same() {
    let mut room = Room::new(&[1]);
    let (mut ana, mut ben) = (room.voice(1), room.voice(9));
    let packet = ana.seal(b"old").unwrap();
    room.next(NOW, &[1]);
    ben.rekey(room.keys(9)).unwrap();
    assert!(matches!(ben.open(&packet, NOW - Duration::from_secs(900)), Err(Error::TooLate { .. })));
}

#[test]
fn keys_that_are_not_the_next_leave_the_voice_as_it_was() {
    let room = Room { epoch: 5, ..Room::new(&[1]) };
    let mut ana = room.voice(1);
    ana.seal(b"frame").unwrap();
    let before = ana.state_digest();
    let others = [
        Room { epoch: 5, ..room.clone() },
        Room { epoch: 4, ..room.clone() },
        Room { epoch: 6, suite: Suite::Aes256Gcm, ..room.clone() },
        Room { epoch: 6, layout: KeyIdLayout::new(12, 9).unwrap(), ..room.clone() },
    ];
    for other in others {
        assert!(matches!(ana.rekey(other.keys(1)), Err(Error::WrongKeys { .. })));
        assert_eq!(ana.state_digest(), before);
    }
    ana.rekey(Room { epoch: 6, ..room }.keys(1)).unwrap();
    assert_eq!(ana.epoch(), 6);
}

#[test]
fn keys_say_what_they_were_made_of() {
    for room in Room::each_kind(&[1, 2]) {
        let room = Room { layout: KeyIdLayout::new(9, 5).unwrap(), epoch: 7, since: NOW, ..room };
        let off = [quiet(4, OffStage::Listener)];
        let keys = room.keys(2).with_offstage(off.to_vec());
        assert_eq!((keys.suite(), keys.layout(), keys.epoch()), (room.suite, room.layout, 7));
        assert_eq!((keys.me(), keys.since(), keys.offstage()), (LeafIndex(2), NOW, &off[..]));
        let stage = keys.stage().iter().map(|speaker| (speaker.leaf, speaker.id));
        assert!(stage.eq([1, 2].map(|leaf| (LeafIndex(leaf), id(leaf)))));
        assert_eq!(*keys.into_base_key(), room.base_key());
        let voice = room.voice(2);
        assert_eq!((voice.suite(), voice.epoch(), voice.leaf()), (room.suite, 7, LeafIndex(2)));
    }
}

#[test]
fn what_cannot_be_sealed_uses_no_counter() {
    let room = Room::new(&[1]);
    let mut ana = room.voice(1);
    let before = ana.state_digest();
    assert!(matches!(ana.seal(&[0; 2049]), Err(Error::TooLarge { bytes: 2049, limit: 2048, .. })));
    assert!(matches!(ana.seal_into(&[0; 60], &mut [0; 60]), Err(Error::BufferTooSmall { have: 60, .. })));
    assert_eq!(ana.state_digest(), before);
    let packet = ana.seal(&[0; 2048]).unwrap();
    assert_eq!(room.voice(9).open(&packet, NOW).unwrap().frame.len(), 2048);
    let mut ben = room.voice(9);
    for (bytes, is_too_large) in [(2081, false), (2082, true), (4000, true)] {
        let mut packet = vec![0; bytes];
        for error in [refused(&mut ben, &packet), ben.open_in_place(&mut packet, NOW).unwrap_err()] {
            assert_eq!(matches!(error, Error::TooLarge { limit: 2081, .. }), is_too_large, "{bytes}: {error:?}");
        }
    }
}

#[test]
fn a_stage_that_cannot_be_is_refused_when_its_keys_are_made() {
    let room = Room { layout: KeyIdLayout::new(4, 8).unwrap(), ..Room::new(&[]) };
    let keys = |me: u32, stage: &[u32]| {
        let stage = stage.iter().map(|leaf| parlor::media::Speaker { leaf: LeafIndex(*leaf), id: id(*leaf) }).collect();
        let base_key = zeroize::Zeroizing::new(room.base_key());
        parlor::EpochKeys::new(room.suite, room.layout, 0, base_key, LeafIndex(me), stage, NOW)
    };
    assert!(keys(0, &[0, 15]).is_ok());
    assert!(keys(0, &[0, 16]).is_err(), "a leaf that does not fit");
    assert!(keys(16, &[0]).is_err(), "one's own leaf that does not fit");
    assert!(keys(0, &[3, 3]).is_err(), "two on one leaf");
    let short = zeroize::Zeroizing::new(vec![0; 31]);
    assert!(parlor::EpochKeys::new(room.suite, room.layout, 0, short, LeafIndex(0), vec![], NOW).is_err());
}

#[test]
fn in_a_room_of_a_thousand_a_packet_has_at_most_22_bytes_more_than_its_frame() {
    let room = Room { epoch: 255, ..Room::new(&[999]) };
    let mut ana = room.voice(999);
    // A five-minute epoch of 20 ms frames.
    for counter in 0..15_000 {
        let packet = ana.seal(&[0; 64]).unwrap();
        assert!(packet.len() - 64 <= 22, "{} at frame {counter}", packet.len() - 64);
    }
}
