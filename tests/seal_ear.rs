//! What is heard of a speaker whose frames wait for their signatures, and in whose name another member forges frames, with
//! an ear as it comes.
//!
//! The ear is given every frame that the voice opens, forged ones too.
#![cfg(any(feature = "opus", feature = "opus-pure"))]

mod forger;
#[path = "seal_attacks/insider.rs"]
#[allow(dead_code, reason = "this uses a part of it")]
mod insider;
mod sealed;

use std::time::Duration;

use insider::{ANA, BEN, MICROPHONE, forger, rules};
use parlor::{
    Error, Heard, Suite,
    frame::{Level, MediaTime, OpusPacket, VoiceFrame},
    media::seal::SealMode,
    sound::{Arrival, Ear, EarSettings, Encoder, Encoding, SILENCE},
};
use sealed::{FRAME, Room, say};

/// What another member makes in Ana's name, and when she is at that frame of hers.
struct Attack {
    name: &'static str,
    /// Frames at once: how far ahead of her counter, and of her time in units of 2.5 ms, each is.
    frames: fn(tick: u32, burst: u32) -> Vec<(u64, i64)>,
}

const NONE: Attack = Attack { name: "none", frames: |_, _| Vec::new() };

/// Counters that she will not come to for minutes, each used once.
fn far(tick: u32, at: usize) -> u64 {
    6_000 + u64::from(tick % 550) * 41 + at as u64
}

const ATTACKS: [Attack; 9] = [
    // Of two frames of one time the first must not count.
    Attack {
        name: "far counters, the time of her next frames",
        frames: |tick, n| (0..n as usize).map(|at| (far(tick, at), 8 * (1 + at as i64))).collect(),
    },
    Attack {
        name: "far counters, times an hour ahead",
        frames: |tick, n| {
            (0..n as usize)
                .map(|at| (far(tick, at), 1_440_000 + i64::from(tick % 2) * 500_000 + 8 * at as i64))
                .collect()
        },
    },
    Attack {
        name: "far counters, times that fit them",
        frames: |tick, n| (0..n as usize).map(|at| (far(tick, at), 8 * far(tick, at) as i64)).collect(),
    },
    Attack {
        name: "far counters, each earlier than the last by less than 300 ms",
        frames: |tick, n| (0..n as usize).map(|at| (far(tick, at), 110 * (1 + at as i64))).collect(),
    },
    Attack {
        name: "her next counters, with their times",
        frames: |_, n| (1..=u64::from(n)).map(|ahead| (ahead, 8 * ahead as i64)).collect(),
    },
    Attack {
        name: "her next counters, times an hour ahead",
        frames: |_, n| (1..=u64::from(n)).map(|ahead| (ahead, 1_440_000 + 8 * ahead as i64)).collect(),
    },
    Attack {
        name: "her next counters, times before hers",
        frames: |_, n| (1..=u64::from(n)).map(|ahead| (ahead, -800 + 8 * ahead as i64)).collect(),
    },
    Attack {
        name: "her next counters, as if after pauses",
        frames: |_, n| (1..=u64::from(n)).map(|ahead| (ahead, 48 * ahead as i64)).collect(),
    },
    Attack {
        name: "counters half a second ahead",
        frames: |_, n| (0..u64::from(n)).map(|at| (25 + at, 8 * (25 + at) as i64)).collect(),
    },
];

#[derive(Debug, Default)]
struct Outcome {
    forged: u32,
    /// Forged frames that reached the ear.
    given: u64,
    truly: u64,
    kept: u64,
    /// True frames of which the ear said something else.
    other: Vec<Arrival>,
    cut: u64,
    longest: Duration,
}

/// So many ticks of Ana's, with forged frames in the first `lasts` of each eleven seconds.
fn evening(mode: SealMode, attack: &Attack, ticks: u32, lasts: u32, burst: u32) -> Outcome {
    let room = Room::new(Suite::default(), rules(mode, 25), 3);
    let (mut ana, mut ben) = (room.voice(ANA, 0), room.voice(BEN, 0));
    let insider = forger(&room, MICROPHONE, 0);
    let mut ear = Ear::new(EarSettings::default());
    let mut encoder = Encoder::new(Encoding::default()).unwrap();
    let (mut frame, mut out, mut outcome) = ([0; 64], SILENCE, Outcome::default());
    encoder.encode(&[0.1; SILENCE.len()], &mut frame).unwrap();
    let spoken = frame;
    let opus = OpusPacket::parse(&spoken[4..]).unwrap();
    let write = |units: u64, level: u8| {
        let (time, level) = (MediaTime::from_units(units), Level::from_dbov(level));
        let mut frame = [0; 64];
        VoiceFrame { time, level, opus }.write(&mut frame).unwrap();
        frame
    };
    for tick in 0..ticks {
        let (now, time) = (FRAME * tick, 10_000_000 + 8 * u64::from(tick));
        let take = |ear: &mut Ear, heard: Heard<Vec<u8>>, outcome: &mut Outcome| {
            // A forged one is marked by its level, which nothing here learns from.
            let forged = VoiceFrame::parse(&heard.frame).unwrap().level == Level::from_dbov(21);
            let arrival = ear.hear(&heard, now).unwrap();
            if forged {
                outcome.given += 1;
            } else {
                outcome.truly += 1;
                match arrival {
                    Arrival::Kept => outcome.kept += 1,
                    other => outcome.other.push(other),
                }
            }
        };
        if tick >= 100 && tick % 550 < lasts {
            for (counter, units) in (attack.frames)(tick, burst) {
                let forged = write(time.saturating_add_signed(units), 21);
                outcome.forged += 1;
                if let Ok(heard) = ben.open(&insider.seal_at(u64::from(tick) + counter, &forged), now) {
                    take(&mut ear, heard, &mut outcome);
                }
            }
        }
        for packet in say(&mut ana, &write(time, 20), now) {
            match ben.open(&packet, now) {
                Ok(heard) => take(&mut ear, heard, &mut outcome),
                Err(Error::Seal { .. }) => {
                    while let Some(heard) = ben.unpark(now) {
                        take(&mut ear, heard.unwrap(), &mut outcome);
                    }
                }
                Err(_) => {}
            }
        }
        ear.mix(now + Duration::from_millis(7), &mut out);
        outcome.longest = ear.account(&room.id(ANA)).map_or(outcome.longest, |ana| outcome.longest.max(ana.delay));
    }
    outcome.cut = ear.account(&room.id(ANA)).unwrap().counters.cut;
    outcome
}

#[test]
fn a_strict_room_loses_no_sound_with_an_ear_as_it_comes() {
    let outcome = evening(SealMode::Strict, &NONE, 3_000, 0, 0);
    println!("{outcome:?}");
    // The last half second waits for its signature.
    assert!(outcome.truly >= 2_970 && outcome.kept == outcome.truly && outcome.cut == 0, "{outcome:?}");
    assert!(outcome.longest <= Duration::from_millis(600), "{:?}", outcome.longest);
}

/// What the voice keeps back is of no help here: the ear is given everything.
#[test]
fn an_ear_that_is_given_every_forged_frame_keeps_the_verified_ones() {
    let opus = OpusPacket::parse(&[0x48; 60]).unwrap();
    let write = |units: u64| {
        let mut frame = [0; 64];
        let (time, level) = (MediaTime::from_units(units), Level::from_dbov(20));
        VoiceFrame { time, level, opus }.write(&mut frame).unwrap();
        frame
    };
    let ana = parlor::MemberId::from_bytes([1; 32]);
    for attack in &ATTACKS {
        let (mut ear, mut forged, mut longest) = (Ear::new(EarSettings::default()), 0, Duration::ZERO);
        for tick in 0..1_000_u32 {
            let (now, time, counter) = (FRAME * tick, 10_000_000 + 8 * u64::from(tick), u64::from(tick));
            for (ahead, units) in (attack.frames)(tick, if tick < 100 { 0 } else { 12 }) {
                let frame = write(time.saturating_add_signed(units));
                let _ = ear.hear(&Heard::unverified(ana, 0, counter + ahead, frame), now).unwrap();
                forged += 1;
            }
            let arrival = ear.hear(&Heard::verified(ana, 0, counter, write(time)), now).unwrap();
            assert_eq!(arrival, Arrival::Kept, "{}, frame {tick}", attack.name);
            ear.mix(now + Duration::from_millis(7), &mut SILENCE.clone());
            longest = longest.max(ear.account(&ana).unwrap().delay);
        }
        let counters = ear.account(&ana).unwrap().counters;
        println!("{}: {forged} forged; {longest:?}; {counters:?}", attack.name);
        assert!(forged >= 10_000 && counters.cut == 0, "{}: {counters:?}", attack.name);
        assert!(longest <= Duration::from_millis(300), "{}: {longest:?}", attack.name);
    }
}

#[test]
fn ten_thousand_forged_frames_of_each_kind_cost_their_victim_no_sound() {
    let strict = evening(SealMode::Strict, &NONE, 1_000, 0, 0).longest;
    for attack in &ATTACKS {
        for (lasts, burst) in [(1, 1), (3, 8), (50, 40)] {
            let ticks = if burst == 40 { 550 * 6 } else { 550 * 3 };
            let outcome = evening(SealMode::Live, attack, ticks, lasts, burst);
            let Outcome { forged, given, truly, kept, other, cut, longest } = &outcome;
            // What was cut may be the forged frames, of which more wait than any delay allows.
            let lost = truly - kept + cut.saturating_sub(*given);
            let what = format!("{}, {burst} at once for {lasts} frames", attack.name);
            println!("{what}: {forged} forged, {given} at the ear; of {truly} true frames {lost} lost; {longest:?}");
            assert!(burst < 40 || *forged >= 10_000, "{what}: only {forged} forged");
            // Of a flood of packets under her next counters the voice holds no more than it has room for.
            assert!(*truly >= u64::from(ticks) - if burst < 40 { 30 } else { 300 }, "{what}: {truly} true frames");
            assert_eq!(lost, 0, "{what}: {other:?}, {cut} cut");
            assert!(*longest <= strict + Duration::from_millis(300), "{what}: {longest:?}, {strict:?} without");
        }
    }
}
