//! Forged seals: none is taken, and those of the speaker still are. And speakers who cheat.

use std::{collections::HashSet, time::Duration};

use parlor::{
    Error, Suite,
    media::{
        SealState,
        seal::{Finding, SealMode},
        sframe::Header,
    },
};
use rand::{Rng as _, RngExt as _, SeedableRng as _, rngs::StdRng};

use crate::{
    insider::{ANA, BEN, Ear, MICROPHONE, SEALS, Statement, forger, rules, signing_key, text_of},
    sealed::{FRAME, Room, say},
};

#[test]
fn seals_that_came_before_their_epoch_count_once_it_has_come() {
    for mode in [SealMode::Live, SealMode::Strict] {
        let room = Room::new(Suite::default(), rules(mode, 10), 3);
        let (mut ana, mut ear) = (room.voice(ANA, 0), Ear::new(room.voice(BEN, 0)));
        ana.rekey(room.keys(ANA, 1, Duration::ZERO)).unwrap();
        for tick in 0..40 {
            for packet in say(&mut ana, &[tick as u8; 60], FRAME * tick) {
                let _ = ear.take(&packet, FRAME * tick);
            }
        }
        let now = FRAME * 40;
        ear.voice.rekey(room.keys(BEN, 1, now)).unwrap();
        ear.poll(now);
        assert_eq!((ear.given.len(), ear.voice.stats().verified, ear.voice.stats().forged), (40, 40, 0), "{mode:?}");
    }
}

/// Seals that the insider makes in Ana's name, up to a thousand a second. What Ana says stays verified.
#[test]
fn forged_seals_keep_nobody_from_being_verified() {
    for suite in Suite::ALL {
        for (mode, a_tick) in [(SealMode::Live, 1), (SealMode::Live, 20), (SealMode::Strict, 1), (SealMode::Strict, 20)]
        {
            let every = 25;
            let room = Room::new(suite, rules(mode, every), 3);
            let (mut ana, mut ear) = (room.voice(ANA, 0), Ear::new(room.voice(BEN, 0)));
            let insider = forger(&room, SEALS, 0);
            let mut random = StdRng::seed_from_u64(a_tick);
            let (mut number, mut frames, mut truth, mut forged) = (0, Vec::new(), Vec::new(), HashSet::new());
            for tick in 0..1_000_u64 {
                let now = FRAME * tick as u32;
                for _ in 0..a_tick {
                    let at = match random.random_range(0..4) {
                        0 => number,
                        1 => number + 1,
                        2 => number + (1 << 24),
                        _ => random.random_range(0..number + 3),
                    };
                    let text = match random.random_range(0..5) {
                        0 => vec![0; 60],
                        1 if !truth.is_empty() => Vec::clone(&truth),
                        // What comes next, as far as it was said, signed by the insider.
                        2 if frames.len() % 25 > 0 => {
                            let first = frames.len() / 25 * 25;
                            let next = Statement::new(&room, 0, at, first as u64, &frames[first..]);
                            next.signed_by(&signing_key(&room, 2), every)
                        }
                        _ => {
                            let mut text = vec![0; 75 + 16 * 25];
                            random.fill_bytes(&mut text);
                            text[0] = 1;
                            text[1] = 0;
                            text[2..10].copy_from_slice(&(frames.len() as u64 / 25 * 25).to_be_bytes());
                            text[10] = 25;
                            text
                        }
                    };
                    let packet = insider.seal_at(at, &text);
                    forged.insert(packet.clone());
                    let _ = ear.take(&packet, now);
                }
                let packets = say(&mut ana, &tick.to_be_bytes(), now);
                frames.push(packets[0].clone());
                for packet in &packets {
                    let _ = ear.take(packet, now);
                }
                if let Some(seal) = packets.get(1) {
                    number = Header::decode(seal).unwrap().0.counter + 1;
                    truth = text_of(suite, &room.base_key(0), room.key_id(SEALS, ANA, 0), seal);
                }
                ear.poll(now);
                if tick > 25 {
                    let seals = ear.voice.hearing(&room.id(ANA), now).seals;
                    assert_eq!(seals, SealState::Verified, "{suite:?}, {mode:?}, {a_tick} a tick, tick {tick}");
                }
            }
            let stats = ear.voice.stats();
            let what = format!("{suite:?}, {mode:?}, {a_tick} a tick: {stats:?}");
            assert_eq!((stats.verified, stats.seals_taken, stats.opened), (1_000, 40, 1_000), "{what}");
            // 20 s: what was looked at is bounded, what was not accuses nobody.
            if a_tick == 20 {
                assert!(stats.seals_unread > 1_000, "{what}");
            }
            for (_, finding) in &ear.found {
                let Finding::Forgery(forgery) = finding else { panic!("{what}: {finding}") };
                assert_eq!((forgery.stream, forgery.played, forgery.forger), (SEALS, 0, None), "{what}");
            }
        }
    }
}

/// What is looked at in a flood, and what it costs: so many verifications a second and no more.
#[test]
fn a_flood_of_forged_seals_is_looked_at_a_hundred_times_a_second() {
    let room = Room::new(Suite::default(), rules(SealMode::Live, 25), 3);
    let mut ear = Ear::new(room.voice(BEN, 0));
    let insider = forger(&room, SEALS, 0);
    let forged = Statement::new(&room, 0, 0, 0, &vec![vec![1]; 25]).signed_by(&signing_key(&room, 2), 25);
    for at in 0..10_000_u64 {
        let _ = ear.take(&insider.seal_at(at, &forged), Duration::from_millis(at));
    }
    let stats = ear.voice.stats();
    println!("10,000 forged seals in 10 s: {} looked at, {} not", stats.impersonated, stats.seals_unread);
    // A hundred at once, and as many each second.
    assert!(stats.impersonated <= 1_100 && stats.impersonated + stats.seals_unread == 10_000);
    assert_eq!(stats.seals_taken, 0);
}

/// More runs of forged frames than findings are kept: all of them are told nevertheless.
#[test]
fn forgeries_cannot_push_each_other_out_of_what_is_told() {
    let room = Room::new(Suite::default(), rules(SealMode::Live, 25), 3);
    let mut ear = Ear::new(room.voice(BEN, 0));
    let insider = forger(&room, MICROPHONE, 0);
    for at in 0..1_000_u64 {
        ear.take(&insider.seal_at(2 * at, b"here and there"), Duration::ZERO).unwrap();
    }
    for tick in 0..110 {
        ear.poll(FRAME * tick);
        assert!(ear.found.len() <= 256);
    }
    assert_eq!(ear.given.len(), 1_000);
    for given in &ear.given {
        let flagged = ear.flagged(&room, given).unwrap_or_else(|| panic!("{} is never flagged", given.counter));
        assert!(flagged - given.at <= Duration::from_secs(1) + FRAME);
    }
    // Nor out of their place a cheat who is known already.
    let mut ear = Ear::new(room.voice(BEN, 0));
    equivocate(&room, &mut ear);
    for at in 0..1_000_u64 {
        let _ = ear.take(&insider.seal_at(1_000 + 2 * at, b"here and there"), Duration::ZERO);
        let _ = ear.take(&forger(&room, SEALS, 0).seal_at(1_000 + 2 * at, b"no seal"), Duration::from_millis(at));
    }
    ear.poll(Duration::from_secs(5));
    assert!(ear.found.iter().any(|(_, finding)| matches!(finding, Finding::Equivocation { .. })));
}

/// Ana seals frames 0 to 24 as one thing, and then as another.
fn equivocate(room: &Room, ear: &mut Ear) {
    let (insider, key) = (forger(room, MICROPHONE, 0), signing_key(room, ANA));
    let seals = forger(room, SEALS, 0);
    let one: Vec<_> = (0..25).map(|at| insider.seal_at(at, b"one thing")).collect();
    let other: Vec<_> = (0..25).map(|at| insider.seal_at(at, b"another")).collect();
    for packet in &one {
        let _ = ear.take(packet, FRAME);
    }
    for (number, packets) in [(0, &one), (1, &other)] {
        let seal = Statement::new(room, 0, number, 0, packets).signed_by(&key, 25);
        let _ = ear.take(&seals.seal_at(number, &seal), FRAME);
    }
    for packet in &other {
        let _ = ear.take(packet, FRAME);
    }
}

#[test]
fn a_speaker_who_seals_two_things_is_named_and_nothing_opens_twice() {
    for suite in Suite::ALL {
        for mode in [SealMode::Live, SealMode::Strict] {
            let room = Room::new(suite, rules(mode, 25), 3);
            let mut ear = Ear::new(room.voice(BEN, 0));
            equivocate(&room, &mut ear);
            ear.poll(FRAME);
            let counters: HashSet<_> = ear.given.iter().map(|given| given.counter).collect();
            assert_eq!((ear.given.len(), counters.len()), (25, 25), "{mode:?}");
            assert!(ear.given.iter().all(|given| given.frame == b"one thing"));
            let named = |finding: &Finding| matches!(finding, Finding::Equivocation { speaker, epoch: 0, .. } if *speaker == room.id(ANA));
            assert_eq!(ear.found.iter().filter(|(_, finding)| named(finding)).count(), 1, "{:?}", ear.found);
            assert_eq!(ear.voice.stats().seals_taken, 1);
        }
    }
}

/// Every way to contradict an earlier seal, in either order: what overlaps it, and what goes back behind it.
#[test]
fn whatever_contradicts_an_earlier_seal_is_named_and_not_taken() {
    let room = Room::new(Suite::default(), rules(SealMode::Live, 25), 3);
    let (insider, key, seals) = (forger(&room, MICROPHONE, 0), signing_key(&room, ANA), forger(&room, SEALS, 0));
    let frames =
        |text: &[u8], from: u64, to: u64| -> Vec<Vec<u8>> { (from..to).map(|at| insider.seal_at(at, text)).collect() };
    // (number, from, to), twice: is the second a contradiction?
    for (one, other, cheats) in [
        ((3, 0, 25), (4, 25, 50), false),
        ((3, 0, 25), (4, 40, 50), false),
        ((4, 25, 50), (3, 0, 25), false),
        ((4, 25, 50), (3, 10, 20), false),
        ((3, 0, 25), (4, 24, 49), true),
        ((3, 0, 25), (4, 0, 25), true),
        ((3, 50, 75), (4, 25, 50), true),
        ((4, 25, 50), (3, 20, 26), true),
        ((4, 25, 50), (3, 50, 75), true),
        ((4, 25, 50), (3, 60, 61), true),
    ] {
        let mut ear = Ear::new(room.voice(BEN, 0));
        for (at, (number, from, to)) in [one, other].into_iter().enumerate() {
            let packets = frames(&[at as u8; 40], from, to);
            let seal = Statement::new(&room, 0, number, from, &packets).signed_by(&key, 25);
            let taken = ear.take(&seals.seal_at(number, &seal), FRAME);
            let is_cheat = at == 1 && cheats;
            assert_eq!(matches!(taken, Err(Error::Malformed { .. })), is_cheat, "{one:?}, {other:?}: {taken:?}");
            for packet in &packets {
                let _ = ear.take(packet, FRAME);
            }
        }
        ear.poll(FRAME);
        let named = ear.found.iter().filter(|(_, finding)| matches!(finding, Finding::Equivocation { .. })).count();
        assert_eq!(named, usize::from(cheats), "{one:?}, {other:?}: {:?}", ear.found);
        let mut counters = HashSet::new();
        assert!(ear.given.iter().all(|given| counters.insert((given.counter, given.frame.clone()))));
        assert_eq!(ear.voice.stats().seals_taken, if cheats { 1 } else { 2 });
    }
}
