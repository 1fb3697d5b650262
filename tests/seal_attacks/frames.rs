//! Forged frames and streams: each that is played is flagged within a second, in strict rooms none is, and whatever
//! comes, all that the victim says is heard once and confirmed.

use std::{collections::BTreeMap, time::Duration};

use parlor::{
    Suite,
    media::{
        SealState,
        seal::{Finding, SealMode},
        sframe::Header,
    },
};
use rand::{Rng as _, RngExt as _, SeedableRng as _, rngs::StdRng};

use crate::{
    insider::{ANA, BEN, Ear, MICROPHONE, forger, rules},
    number,
    sealed::{FRAME, Room},
};

const SECOND: Duration = Duration::from_secs(1);
/// Longer than anything waits for a seal.
const REST: u32 = 130;

/// What the insider does for a while.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Attack {
    Nothing,
    /// A frame of the victim's next counter, before the true one or after it.
    Before,
    After,
    /// The same with the tag of the true one.
    TwinBefore,
    TwinAfter,
    /// 2^24 ahead, up to a hundred ahead, up to two hundred behind.
    Far,
    Ahead,
    Behind,
    /// A stream of its own, from the next counter or from some way ahead.
    Stream,
    StreamAhead,
    /// In the epoch before, and in one to come.
    Previous,
    Next,
}

const ATTACKS: [Attack; 11] = [
    Attack::Before,
    Attack::After,
    Attack::TwinBefore,
    Attack::TwinAfter,
    Attack::Far,
    Attack::Ahead,
    Attack::Behind,
    Attack::Stream,
    Attack::StreamAhead,
    Attack::Previous,
    Attack::Next,
];

/// How long a history is: one in which the insider forges all along, so that the victim is soon held to her seals; or
/// one in which they strike once, and are played.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Length {
    Long,
    Short,
}

#[derive(Default, Debug)]
struct Tally {
    forged: u64,
    played: u64,
    flagged: u64,
    said: u64,
    slowest: Duration,
}

/// One history: the victim talks in spurts, the room rekeys, the ear a little before or after the speaker, and the
/// insider forges all along. The wire loses nothing.
fn history(suite: Suite, mode: SealMode, length: Length, seed: u64, tally: &mut Tally) {
    let what = format!("{suite:?}, {mode:?}, {length:?}, seed {seed}");
    let ticks = match length {
        Length::Long => 500,
        Length::Short => 80,
    };
    let mut random = StdRng::seed_from_u64(seed);
    let every = [1, 5, 10, 25, 25, 40][random.random_range(0..6)];
    let room = Room::new(suite, rules(mode, every), 3);
    let (mut ana, mut ear) = (room.voice(ANA, 0), Ear::new(room.voice(BEN, 0)));
    // What she said, by epoch and counter; what was forged, likewise.
    let mut said: BTreeMap<(u64, u64), Vec<u8>> = BTreeMap::new();
    let mut forged: BTreeMap<(u64, u64), Vec<Vec<u8>>> = BTreeMap::new();
    let mut rekeys: Vec<(u64, u32, u32)> = Vec::new();
    let mut at = random.random_range(0..150);
    while at < ticks {
        let epoch = rekeys.len() as u64 + 1;
        rekeys.push((epoch, at, at + random.random_range(0..40)));
        if random.random() {
            let (epoch, speaker, listener) = rekeys.pop().unwrap();
            rekeys.push((epoch, listener, speaker));
        }
        at += random.random_range(60..300);
    }
    let (mut attack, mut talks, mut ahead, mut counters) = (Attack::Nothing, true, 0_u32, BTreeMap::<u64, u64>::new());
    let strike = random.random_range(0..ticks);
    let strike = strike..strike + random.random_range(1..=8);
    let only = ATTACKS[random.random_range(0..ATTACKS.len())];
    if length == Length::Short {
        (talks, ahead) = (random.random(), random.random_range(0..300));
    }
    for tick in 0..ticks + REST {
        let now = FRAME * tick + Duration::from_micros(random.random_range(0..900));
        for (epoch, speaker, listener) in &rekeys {
            if *speaker == tick {
                ana.rekey(room.keys(ANA, *epoch, now)).unwrap();
            }
            if *listener == tick {
                ear.voice.rekey(room.keys(BEN, *epoch, now)).unwrap();
                ear.unpark(now);
            }
        }
        if random.random_range(0..40) == 0 {
            talks = !talks;
        }
        if length == Length::Short {
            attack = if strike.contains(&tick) { only } else { Attack::Nothing };
        } else if random.random_range(0..15) == 0 {
            attack = if random.random_range(0..4) == 0 {
                Attack::Nothing
            } else {
                ATTACKS[random.random_range(0..ATTACKS.len())]
            };
            ahead = random.random_range(0..300);
        }
        let (epoch, is_over) = (ana.epoch(), tick >= ticks);
        let mut packets = Vec::new();
        if talks && !is_over {
            let mut frame = vec![0; 60];
            random.fill_bytes(&mut frame);
            packets.push(ana.seal(&frame).unwrap());
            let counter = Header::decode(&packets[0]).unwrap().0.counter;
            said.insert((epoch, counter), frame);
            counters.insert(epoch, counter + 1);
        }
        // What the insider makes: epoch, counter, frame, and whether it comes before the true frame.
        let next = counters.get(&epoch).copied().unwrap_or(0);
        let mut junk = vec![0; 60];
        random.fill_bytes(&mut junk);
        let mut made = Vec::new();
        let insider = forger(&room, MICROPHONE, epoch);
        let mut forge = |in_epoch: u64, counter: u64, is_first: bool| {
            let packet = forger(&room, MICROPHONE, in_epoch).seal_at(counter, &junk);
            forged.entry((in_epoch, counter)).or_default().push(junk.clone());
            made.push((packet, is_first));
        };
        let newest = next.saturating_sub(1);
        match attack {
            _ if is_over => {}
            Attack::Nothing => {}
            Attack::Before => forge(epoch, newest, true),
            Attack::After => forge(epoch, newest, false),
            Attack::TwinBefore | Attack::TwinAfter => {
                if let Some(packet) = packets.first() {
                    let (header, header_len) = Header::decode(packet).unwrap();
                    let twin = insider.same_tag(packet, &mut random);
                    assert_eq!(twin[twin.len() - 16..], packet[packet.len() - 16..]);
                    let mut open = twin.clone();
                    let key = parlor::media::sframe::Opener::new(
                        suite,
                        parlor::media::Backend::default(),
                        &room.base_key(epoch),
                        header.kid,
                    );
                    let (_, frame) = key.unwrap().open_in_place(b"", &mut open).unwrap();
                    assert!(header_len > 0 && frame.len() == 60);
                    forged.entry((epoch, header.counter)).or_default().push(frame.to_vec());
                    made.push((twin, attack == Attack::TwinBefore));
                }
            }
            Attack::Far => forge(epoch, next + (1 << 24) + u64::from(tick), random.random()),
            Attack::Ahead => forge(epoch, next + random.random_range(1..=100), random.random()),
            Attack::Behind => forge(epoch, next.saturating_sub(random.random_range(1..200)), random.random()),
            Attack::Stream => {
                ahead += 1;
                forge(epoch, next + u64::from(ahead % 300), random.random());
            }
            Attack::StreamAhead => {
                ahead += 1;
                forge(epoch, u64::from(500 + ahead), random.random());
            }
            Attack::Previous => {
                let before = epoch.saturating_sub(1);
                let next = counters.get(&before).copied().unwrap_or(0);
                forge(before, next.saturating_sub(20) + random.random_range(0..50), random.random());
            }
            Attack::Next => forge(epoch + 1, random.random_range(0..30), random.random()),
        }
        packets.extend(std::iter::from_fn(|| ana.next_seal(now)));
        let (before, after): (Vec<_>, Vec<_>) = made.into_iter().partition(|(_, is_first)| *is_first);
        tally.forged += (before.len() + after.len()) as u64;
        let forged_first = before.iter().map(|(packet, _)| packet);
        for packet in forged_first.chain(&packets).chain(after.iter().map(|(packet, _)| packet)) {
            let _ = ear.take(packet, now);
        }
        ear.poll(now);
    }

    let mut heard = 0;
    let mut times: BTreeMap<(u64, u64, &[u8]), u32> = BTreeMap::new();
    for given in &ear.given {
        let key = (given.epoch, given.counter);
        let times = times.entry((given.epoch, given.counter, &given.frame)).or_default();
        *times += 1;
        assert_eq!(*times, 1, "{what}: {key:?} came out twice");
        if said.get(&key) == Some(&given.frame) {
            heard += 1;
            continue;
        }
        assert!(forged.get(&key).is_some_and(|made| made.contains(&given.frame)), "{what}: {key:?} is nobody's");
        assert!(!given.verified, "{what}: forged {key:?} came out as sealed");
        tally.played += 1;
        let flagged = ear.flagged(&room, given);
        let after =
            flagged.unwrap_or_else(|| panic!("{what}: forged {key:?}, played at {:?}, is never flagged", given.at));
        let after = after - given.at;
        tally.slowest = tally.slowest.max(after);
        tally.flagged += u64::from(after <= SECOND + FRAME);
    }
    let lost: Vec<_> = said
        .iter()
        .filter(|(key, frame)| !times.contains_key(&(key.0, key.1, frame.as_slice())))
        .map(|(key, _)| key)
        .collect();
    assert!(lost.is_empty(), "{what}: lost {lost:?} of {}; {rekeys:?}; {:?}", said.len(), ear.voice.stats());
    assert_eq!(heard, said.len(), "{what}");
    assert_eq!(ear.voice.stats().verified, said.len() as u64, "{what}: all of it is confirmed");
    tally.said += said.len() as u64;
    for (_, finding) in &ear.found {
        match finding {
            Finding::Forgery(forgery) => {
                assert_eq!((forgery.forger, forgery.impersonated), (None, room.id(ANA)), "{what}");
                let made =
                    forged.range((forgery.epoch, *forgery.counters.start())..=(forgery.epoch, *forgery.counters.end()));
                let made: usize = made.map(|(_, frames)| frames.len()).sum();
                assert!(forgery.packets <= made as u64, "{what}: {forgery}");
                assert!(forgery.played <= forgery.packets, "{what}: {forgery}");
            }
            Finding::Unverified { speaker, .. } => assert_eq!(*speaker, room.id(ANA), "{what}"),
            other => panic!("{what}: {other}"),
        }
    }
}

fn histories(mode: SealMode, length: Length) -> Tally {
    let (mut tally, forgeries) = (Tally::default(), number("PARLOR_FORGERIES", 10_000));
    let mut seed = 0;
    while tally.forged < forgeries {
        for suite in Suite::ALL {
            history(suite, mode, length, seed, &mut tally);
        }
        seed += 1;
    }
    println!("{mode:?}, {length:?}: {tally:?}, {} histories", 3 * seed);
    tally
}

#[test]
fn every_forged_frame_that_is_played_is_flagged_within_a_second_and_no_true_one_is_lost() {
    let tally = histories(SealMode::Live, Length::Short);
    assert_eq!(tally.flagged, tally.played);
    assert!(tally.played > tally.forged / 4, "the attacks do play: {tally:?}");
}

#[test]
fn who_forges_all_along_is_hardly_played_and_no_true_frame_is_lost() {
    let tally = histories(SealMode::Live, Length::Long);
    assert_eq!(tally.flagged, tally.played);
    assert!(tally.played < tally.forged / 10, "{tally:?}");
}

#[test]
fn in_a_strict_room_no_forged_frame_is_played_and_no_true_one_is_lost() {
    for length in [Length::Short, Length::Long] {
        assert_eq!(histories(SealMode::Strict, length).played, 0);
    }
}

#[test]
fn a_counter_far_ahead_silences_nobody() {
    let mut worst = Duration::ZERO;
    for suite in Suite::ALL {
        for (mode, every) in [(SealMode::Live, 1), (SealMode::Live, 25), (SealMode::Live, 50), (SealMode::Strict, 25)] {
            for ahead in [100, 500, 2_047, 2_048, 16_383, 16_384, 1 << 24, (1 << 32) - 2_000] {
                let room = Room::new(suite, rules(mode, every), 3);
                let (mut ana, mut ear) = (room.voice(ANA, 0), Ear::new(room.voice(BEN, 0)));
                let insider = forger(&room, MICROPHONE, 0);
                let mut attacked = None;
                for tick in 0..400_u32 {
                    let now = FRAME * tick;
                    if tick % 100 == 37 {
                        let _ = ear.take(&insider.seal_at(u64::from(tick) + ahead, b"far ahead"), now);
                        attacked.get_or_insert(now);
                    }
                    let frame = ana.seal(&tick.to_be_bytes()).unwrap();
                    let _ = ear.take(&frame, now);
                    while let Some(seal) = ana.next_seal(now) {
                        let _ = ear.take(&seal, now);
                    }
                    ear.poll(now);
                }
                let mut heard: Vec<_> =
                    ear.given.iter().filter(|given| given.frame != b"far ahead").map(|given| given.at).collect();
                assert_eq!(heard.len(), 400, "{suite:?}, {mode:?}, {ahead}");
                heard.dedup();
                let gap = heard.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap();
                assert!(gap <= SECOND, "{suite:?}, {mode:?}, {ahead}: silent for {gap:?}");
                worst = worst.max(gap);
                assert_ne!(ear.voice.hearing(&room.id(ANA), FRAME * 400).seals, SealState::Waiting);
            }
        }
    }
    println!("worst gap after a counter far ahead: {worst:?}");
}

/// Of one speaker 1,024 frames are held. Who sends more of them to each true one, and behind it, drives some out before
/// their seal comes.
fn lost_behind(twins: u64) -> usize {
    let room = Room::new(Suite::default(), rules(SealMode::Live, 25), 3);
    let (mut ana, mut ear) = (room.voice(ANA, 0), Ear::new(room.voice(BEN, 0)));
    let insider = forger(&room, MICROPHONE, 0);
    for tick in 0..250_u32 {
        let now = FRAME * tick;
        let packet = ana.seal(&[0; 60]).unwrap();
        let _ = ear.take(&packet, now);
        for twin in 1..=twins {
            let _ = ear.take(&insider.seal_at(tick.into(), &[twin as u8; 60]), now);
        }
        while let Some(seal) = ana.next_seal(now) {
            let _ = ear.take(&seal, now);
        }
        ear.poll(now);
    }
    250 - ear.given.iter().filter(|given| given.frame == [0; 60]).count()
}

#[test]
fn thirty_forged_frames_to_each_true_one_drive_none_out_and_a_hundred_not_all() {
    assert_eq!([8, 12, 30].map(lost_behind), [0; 3]);
    let lost = lost_behind(100);
    assert!((1..200).contains(&lost), "{lost} of 250 lost");
}
