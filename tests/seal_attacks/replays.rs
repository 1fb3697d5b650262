//! A relay that withholds, reorders and replays, with an insider who forges: nothing comes out twice.

use std::{collections::HashSet, time::Duration};

use parlor::{
    Suite,
    media::{
        seal::{SealMode, Unsealed},
        sframe::Header,
    },
};
use rand::{Rng as _, RngExt as _, SeedableRng as _, rngs::StdRng};

use crate::{
    insider::{ANA, BEN, Ear, MICROPHONE, SEALS, forger, rules},
    number,
    sealed::{FRAME, Room},
};

#[test]
fn nothing_opens_twice_whatever_is_withheld_and_replayed() {
    let (mut opened, mut replayed, mut tried) = (0, 0, 0);
    for seed in 0..number("PARLOR_REPLAYS", 300) {
        let mut random = StdRng::seed_from_u64(seed);
        let suite = Suite::ALL[seed as usize % Suite::ALL.len()];
        let mut rules = rules(
            if seed % 3 == 0 { SealMode::Strict } else { SealMode::Live },
            [1, 5, 25, 50][random.random_range(0..4)],
        );
        rules.unsealed = if random.random() { Unsealed::Play } else { Unsealed::Hold };
        let room = Room::new(suite, rules, 3);
        let (mut ana, mut ear) = (room.voice(ANA, 0), Ear::new(room.voice(BEN, 0)));
        let mut said = HashSet::new();
        // All that was ever sent; and what is on its way, with the tick when it comes.
        let mut all: Vec<Vec<u8>> = Vec::new();
        let mut way: Vec<(u32, Vec<u8>)> = Vec::new();
        let (mut now, mut muted) = (Duration::ZERO, false);
        for tick in 0..250_u32 {
            now += match random.random_range(0..300) {
                0 => Duration::from_secs(random.random_range(1..20)),
                1 => Duration::from_secs(3600),
                _ => FRAME,
            };
            if random.random_range(0..100) == 0 {
                // Clocks jump back as well.
                now = now.saturating_sub(Duration::from_secs(random.random_range(1..4000)));
            }
            if random.random_range(0..80) == 0 {
                let epoch = ana.epoch() + 1;
                ana.rekey(room.keys(ANA, epoch, now)).unwrap();
            }
            if ear.voice.epoch() < ana.epoch() && random.random_range(0..20) == 0 {
                ear.voice.rekey(room.keys(BEN, ear.voice.epoch() + 1, now)).unwrap();
            }
            let mut frame = vec![0; 48];
            random.fill_bytes(&mut frame);
            let mut made = vec![ana.seal(&frame).unwrap()];
            let next = Header::decode(&made[0]).unwrap().0.counter + 1;
            said.insert((ana.epoch(), next - 1, frame.clone()));
            made.extend(std::iter::from_fn(|| ana.next_seal(now)));
            for _ in 0..random.random_range(0..3) {
                let epoch = (ana.epoch() + random.random_range(0..2)).saturating_sub(random.random_range(0..2));
                let insider = forger(&room, MICROPHONE, epoch);
                frame[0] ^= 1;
                let forged = match random.random_range(0..5) {
                    0 => insider.seal_at(random.random_range(0..next + 100), &frame),
                    1 => insider.seal_at(next, &frame),
                    2 => forger(&room, MICROPHONE, ana.epoch()).same_tag(&made[0], &mut random),
                    3 => insider.seal_at(next + (1 << 24), &frame),
                    _ => forger(&room, SEALS, epoch).seal_at(random.random_range(0..20), &frame),
                };
                made.push(forged);
            }
            for packet in made {
                let is_seal = parlor::KeyIdLayout::default().split(Header::decode(&packet).unwrap().0.kid).0 == SEALS;
                let delay = match random.random_range(0..if is_seal { 3 } else { 10 }) {
                    0 => random.random_range(0..200),
                    1 => random.random_range(0..10),
                    _ => 0,
                };
                all.push(packet.clone());
                way.push((tick + delay, packet));
            }
            for _ in 0..random.random_range(0..4) {
                let packet = &all[random.random_range(0..all.len())];
                way.push((tick + random.random_range(0..30), packet.clone()));
            }
            let (mut come, rest): (Vec<_>, Vec<_>) = way.into_iter().partition(|(at, _)| *at <= tick);
            way = rest;
            if random.random_range(0..4) == 0 {
                come.reverse();
            }
            for (_, packet) in &come {
                tried += 1;
                let _ = ear.take(packet, now);
            }
            if random.random_range(0..60) == 0 {
                muted = !muted;
                if muted { ear.voice.mute(&room.id(ANA)) } else { ear.voice.unmute(&room.id(ANA)) }
            }
            // Some apps ask seldom.
            if seed % 4 != 0 || tick % 50 == 0 {
                ear.poll(now);
            }
        }
        for packet in all.iter().chain(&all) {
            tried += 1;
            let _ = ear.take(packet, now);
        }
        ear.poll(now);
        let mut seen = HashSet::new();
        for given in &ear.given {
            let key = (given.epoch, given.counter, given.frame.clone());
            assert!(!given.verified || said.contains(&key), "seed {seed}: sealed, and not hers: {key:?}");
            assert!(seen.insert(key), "seed {seed}: {} of epoch {} twice", given.counter, given.epoch);
        }
        opened += seen.len();
        replayed += ear.voice.stats().replayed;
    }
    println!("{tried} packets, {opened} frames came out, {replayed} replays refused, none came out twice");
}
