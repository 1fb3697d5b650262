//! What holds a speaker's true frames up, and for how long.

use std::time::Duration;

use parlor::{Error, Suite, media::seal::SealMode};

use crate::{
    insider::{ANA, BEN, Ear, MICROPHONE, SEALS, Statement, forger, rules, signing_key},
    sealed::{FRAME, Room, say},
};

/// How many of the frames that Ana says from `from` on are played at once, out of how many.
fn at_once(ear: &Ear, from: Duration) -> usize {
    ear.given
        .iter()
        .filter(|given| given.frame == b"true" && given.at >= from && given.at == FRAME * given.counter as u32)
        .count()
}

#[test]
fn one_forged_frame_far_ahead_holds_its_victim_up_for_ten_seconds_at_most() {
    let room = Room::new(Suite::default(), rules(SealMode::Live, 25), 3);
    let (mut ana, mut ear) = (room.voice(ANA, 0), Ear::new(room.voice(BEN, 0)));
    let insider = forger(&room, MICROPHONE, 0);
    for tick in 0..2_000 {
        let now = FRAME * tick;
        if tick == 60 {
            ear.take(&insider.seal_at(16_000, b"forged"), now).unwrap();
        }
        for packet in say(&mut ana, b"true", now) {
            let _ = ear.take(&packet, now);
        }
        ear.poll(now);
    }
    // From 20 s to 40 s after the beginning: nothing was forged for 18 s and more.
    let from = FRAME * 1_000;
    assert_eq!(at_once(&ear, from), 1_000, "frames played at once");
}

#[test]
fn one_late_seal_and_none_after_it_silence_nobody_where_unsealed_frames_are_played() {
    let room = Room::new(Suite::default(), rules(SealMode::Live, 25), 3);
    let (mut ana, mut ear) = (room.voice(ANA, 0), Ear::new(room.voice(BEN, 0)));
    let mut late = None;
    for tick in 0..3_000 {
        let now = FRAME * tick;
        let mut packets = say(&mut ana, b"true", now).into_iter();
        let _ = ear.take(&packets.next().unwrap(), now);
        // The relay takes every seal; of the first it makes one that is two seconds late.
        late = late.or(packets.next());
        if tick == 125 {
            let _ = ear.take(late.as_ref().unwrap(), now);
        }
        ear.poll(now);
    }
    let from = FRAME * 1_000;
    assert_eq!(at_once(&ear, from), 2_000, "frames played at once, of the last forty seconds");
}

/// A thousand forged seals a second, and a speaker who says few words at a time.
#[test]
fn forged_seals_do_not_keep_the_end_of_what_was_said_from_being_heard() {
    let room = Room::new(Suite::default(), rules(SealMode::Strict, 25), 3);
    let (mut ana, mut ear) = (room.voice(ANA, 0), Ear::new(room.voice(BEN, 0)));
    let insider = forger(&room, SEALS, 0);
    let forged = Statement::new(&room, 0, 0, 0, &vec![vec![1]; 25]).signed_by(&signing_key(&room, 2), 25);
    let mut said = 0;
    for tick in 0..1_000_u32 {
        let now = FRAME * tick;
        for nth in 0..20 {
            let _ = ear.take(&insider.seal_at(u64::from(20 * tick + nth) + 100_000, &forged), now);
        }
        // Words of 0.8 s, and as long between them.
        let packets = if tick % 80 < 40 && tick < 900 {
            said += 1;
            say(&mut ana, b"true", now)
        } else {
            std::iter::from_fn(|| ana.next_seal(now)).collect()
        };
        for packet in &packets {
            let _ = ear.take(packet, now);
        }
        ear.poll(now);
    }
    assert_eq!(ear.given.len(), said, "frames played; seals unread: {}", ear.voice.stats().seals_unread);
}

/// Seals that look like the speaker's next, because they end at a frame that the insider made as well.
#[test]
fn forged_seals_of_forged_frames_do_not_silence_a_speaker() {
    for mode in [SealMode::Live, SealMode::Strict] {
        let room = Room::new(Suite::default(), rules(mode, 25), 3);
        let (mut ana, mut ear) = (room.voice(ANA, 0), Ear::new(room.voice(BEN, 0)));
        let (frames, seals) = (forger(&room, MICROPHONE, 0), forger(&room, SEALS, 0));
        let plain = Statement::new(&room, 0, 0, 0, &vec![vec![1]; 25]).signed_by(&signing_key(&room, 2), 25);
        for tick in 0..1_000_u64 {
            let now = FRAME * tick as u32;
            // Once a second: a frame that is to come, and 200 seals, half of which end at that frame. 0.8 Mbit/s.
            if tick % 50 == 0 {
                let bait = frames.seal_at(tick + 200, b"bait");
                let _ = ear.take(&bait, now);
                let expected = [vec![vec![1]; 24], vec![bait]].concat();
                let expected = Statement::new(&room, 0, 0, tick + 176, &expected).signed_by(&signing_key(&room, 2), 25);
                for nth in 0..200 {
                    let text = if nth < 100 { &plain } else { &expected };
                    let _ = ear.take(&seals.seal_at((1 << 20) + 200 * tick + nth, text), now);
                }
            }
            for packet in say(&mut ana, b"true", now) {
                let _ = ear.take(&packet, now);
            }
            ear.poll(now);
        }
        let heard = ear.given.iter().filter(|given| given.frame == b"true").count();
        let stats = ear.voice.stats();
        assert_eq!(heard, 1_000, "{mode:?}: true frames played of 1,000; {stats:?}");
    }
}

/// The seals of the last frames of a strict epoch, where the next one seals nothing; and of the first of one that seals.
#[test]
fn who_switches_seals_off_or_on_loses_no_frame_to_it() {
    let room = Room::new(Suite::default(), rules(SealMode::Strict, 25), 3);
    let (mut ana, mut ear) = (room.voice(ANA, 0), Ear::new(room.voice(BEN, 0)));
    for tick in 0..40 {
        for packet in say(&mut ana, b"true", FRAME * tick) {
            let _ = ear.take(&packet, FRAME * tick);
        }
    }
    let now = FRAME * 40;
    ana.rekey(room.plain_keys(ANA, 1, now)).unwrap();
    ear.voice.rekey(room.plain_keys(BEN, 1, now)).unwrap();
    for seal in std::iter::from_fn(|| ana.next_seal(now)) {
        assert!(matches!(ear.take(&seal, now), Err(Error::Seal { .. })));
    }
    assert_eq!(ear.given.len(), 40);
    // On again. Ben learns of it late.
    ana.rekey(room.keys(ANA, 2, now)).unwrap();
    for tick in 41..66 {
        for packet in say(&mut ana, b"true", FRAME * tick) {
            let taken = ear.take(&packet, FRAME * tick);
            // Second copies are on their way still.
            assert!(matches!(taken, Err(Error::Parked { .. } | Error::Seal { .. })), "{taken:?}");
        }
    }
    let now = FRAME * 66;
    ear.voice.rekey(room.keys(BEN, 2, now)).unwrap();
    ear.poll(now);
    assert_eq!(ear.given.len(), 65);
}

#[test]
fn no_time_is_too_late_for_a_seal() {
    let room = Room::new(Suite::default(), rules(SealMode::Live, 1), 3);
    let (mut ana, mut ear) = (room.voice(ANA, 0), Ear::new(room.voice(BEN, 0)));
    for now in [Duration::ZERO, Duration::MAX, Duration::ZERO, Duration::MAX] {
        for packet in say(&mut ana, b"true", now) {
            let _ = ear.take(&packet, now);
        }
        ear.poll(now);
    }
    assert_eq!(ear.voice.stats().verified, 4);
}

/// Who brings a group layer of their own, and forgets themselves among those who are in the room.
#[test]
fn two_others_make_no_room_of_two() {
    use parlor::{EpochKeys, KeyIdLayout, LeafIndex, Voice, media::Speaker};
    let room = Room::new(Suite::default(), rules(SealMode::Live, 25), 3);
    let stage = [ANA, 2].map(|at| Speaker { leaf: LeafIndex(at as u32), id: room.id(at) }).to_vec();
    let (layout, base_key) = (KeyIdLayout::default(), zeroize::Zeroizing::new(room.base_key(0)));
    let keys = EpochKeys::new(room.suite, layout, 0, base_key, LeafIndex(BEN as u32), stage, Duration::ZERO).unwrap();
    let keys = keys.with_offstage(vec![]).of_room(b"the room").with_seals(room.seal_keys(BEN, 0)).unwrap();
    let mut ear = Ear::new(Voice::new(keys));
    ear.take(&forger(&room, MICROPHONE, 0).seal_at(0, b"forged"), Duration::ZERO).unwrap();
    assert!(!ear.given[0].verified, "speaker 2 made it");
}
