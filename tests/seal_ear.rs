//! What is heard of a speaker whose frames wait for their seals, with an ear as it comes.
#![cfg(any(feature = "opus", feature = "opus-pure"))]

mod forger;
#[path = "seal_attacks/insider.rs"]
#[allow(dead_code, reason = "this uses a part of it")]
mod insider;
mod sealed;

use insider::{ANA, BEN, MICROPHONE, forger, rules};
use parlor::{
    Error, Suite,
    media::seal::SealMode,
    sound::{Ear, EarSettings, Encoder, Encoding, SILENCE},
};
use sealed::{FRAME, Room, say};

/// A minute of Ana's, and how many of its frames come too late to be played.
fn late(mode: SealMode, forged_each: u32) -> u64 {
    let room = Room::new(Suite::default(), rules(mode, 25), 3);
    let (mut ana, mut ben) = (room.voice(ANA, 0), room.voice(BEN, 0));
    let insider = forger(&room, MICROPHONE, 0);
    let mut ear = Ear::new(EarSettings::default());
    let mut encoder = Encoder::new(Encoding::default()).unwrap();
    let (mut frame, mut out) = ([0; 1500], SILENCE);
    for tick in 0..3_000 {
        let now = FRAME * tick;
        if tick % forged_each == forged_each - 1 {
            let _ = ben.open(&insider.seal_at(tick.into(), b"forged"), now);
        }
        let len = encoder.encode(&[0.1; SILENCE.len()], &mut frame).unwrap();
        for packet in say(&mut ana, &frame[..len], now) {
            match ben.open(&packet, now) {
                Ok(heard) => _ = ear.hear(heard.speaker, &heard.frame, now),
                Err(Error::Seal { .. }) => {
                    while let Some(heard) = ben.unpark(now) {
                        _ = heard.map(|heard| ear.hear(heard.speaker, &heard.frame, now));
                    }
                }
                Err(_) => {}
            }
        }
        ear.mix(now, &mut out);
    }
    assert_eq!(ben.stats().verified, 3_000);
    ear.account(&room.id(ANA)).unwrap().counters.late
}

#[test]
fn a_strict_room_loses_no_sound_with_an_ear_as_it_comes() {
    assert_eq!(late(SealMode::Strict, u32::MAX), 0);
}

#[test]
fn one_forged_frame_each_ten_seconds_costs_its_victim_no_sound() {
    // Half a second, while the ear learns that sound comes late.
    let late = late(SealMode::Live, 500);
    assert!(late <= 30, "{late} true frames of 3,000 came too late to be played");
}
