//! Seals among honest people: what is confirmed, when, and at what size.

use std::{collections::BTreeSet, time::Duration};

use parlor::{
    Cause, Error, Suite, Voice,
    media::{
        SealState, Stats,
        seal::{Finding, MediaKey, Proof, SealKeys, SealMode, SealRules, Unsealed},
        sframe::{Aead, Backend, Derivation, Header, Opener, Sealer},
    },
};

mod sealed;

use sealed::{FRAME, Room, findings, hear, say};

fn rules(mode: SealMode, every: u8) -> SealRules {
    let mut rules = SealRules::default();
    (rules.mode, rules.every) = (mode, every);
    rules
}

#[test]
fn every_frame_is_played_at_once_and_confirmed_within_half_a_second() {
    for suite in Suite::ALL {
        for every in [1, 10, 25, 50] {
            let room = Room::new(suite, rules(SealMode::Live, every), 3);
            let (mut ana, mut ben) = (room.voice(0, 0), room.voice(1, 0));
            for tick in 0..1_000 {
                let now = FRAME * tick;
                for packet in say(&mut ana, &tick.to_be_bytes(), now) {
                    if let Some(heard) = hear(&mut ben, &packet, now).pop() {
                        assert_eq!((heard.frame, heard.speaker), (tick.to_be_bytes().to_vec(), room.id(0)));
                        assert!(heard.parked_for.is_zero() && !heard.verified);
                    }
                }
                let confirmed = u64::from(tick + 1) / u64::from(every) * u64::from(every);
                assert_eq!(ben.stats().verified, confirmed, "{every} frames a seal, tick {tick}");
                if every < 50 {
                    assert_eq!(findings(&mut ben, now), []);
                }
            }
            let hearing = ben.hearing(&room.id(0), FRAME * 1_000);
            assert_eq!((hearing.seals, hearing.counters.verified), (SealState::Verified, 1_000));
            assert_eq!((ana.stats().sealed, ben.stats().opened), (1_000, 1_000));
            assert_eq!((ben.stats().replayed, ben.stats().impersonated), (0, 0));
        }
    }
}

#[test]
fn in_a_strict_room_nothing_is_played_before_its_seal() {
    let room = Room::new(Suite::default(), rules(SealMode::Strict, 25), 3);
    let (mut ana, mut ben) = (room.voice(0, 0), room.voice(1, 0));
    let mut played = Vec::new();
    for tick in 0..500 {
        let now = FRAME * tick;
        for packet in say(&mut ana, &tick.to_be_bytes(), now) {
            for heard in hear(&mut ben, &packet, now) {
                assert!(heard.verified && heard.parked_for <= Duration::from_millis(500));
                played.push(heard.counter);
            }
        }
    }
    assert_eq!(played, (0..500).collect::<Vec<_>>());
    assert_eq!((ben.stats().verified, ben.stats().held, ben.stats().unsealed), (500, 500, 0));
}

#[test]
fn who_pauses_gets_their_last_frames_sealed_and_so_does_who_goes_to_the_next_epoch() {
    let room = Room::new(Suite::default(), rules(SealMode::Live, 25), 3);
    let (mut ana, mut ben) = (room.voice(0, 0), room.voice(1, 0));
    let mut packets = Vec::new();
    for tick in 0..7 {
        packets.extend(say(&mut ana, b"short", FRAME * tick));
    }
    for tick in 7..30 {
        let seal = ana.next_seal(FRAME * tick);
        assert!(tick >= 16 || seal.is_none(), "she may yet go on");
        packets.extend(seal);
    }
    assert_eq!(packets.len(), 7 + 2, "and its second copy");
    for packet in packets {
        let _ = ben.open(&packet, FRAME * 30);
    }
    assert_eq!(ben.stats().verified, 7);

    let mut packets: Vec<_> = (30..40).flat_map(|tick| say(&mut ana, b"short", FRAME * tick)).collect();
    ana.rekey(room.keys(0, 1, FRAME * 40)).unwrap();
    packets.extend(say(&mut ana, b"next", FRAME * 40));
    assert_eq!(ana.stats().seals_made, 2);
    for packet in &packets {
        let _ = ben.open(packet, FRAME * 40);
    }
    assert_eq!(ben.stats().verified, 17);
    ben.rekey(room.keys(1, 1, FRAME * 41)).unwrap();
    let heard = ben.unpark(FRAME * 41).unwrap().unwrap();
    assert_eq!((heard.epoch, heard.counter, heard.frame), (1, 0, b"next".to_vec()));
}

#[test]
fn each_seal_goes_out_twice_and_once_where_none_is_lost() {
    // The second follows after half as many frames as it covers and six at least, or a quarter of a second.
    for (every, is_speaking, second) in [(25, true, 36), (25, false, 37), (10, true, 15)] {
        let room = Room::new(Suite::default(), rules(SealMode::Live, every), 3);
        for once in [false, true] {
            let mut ana = room.voice(0, 0);
            if once {
                ana.send_seals_once();
            }
            let mut sent = Vec::new();
            for tick in 0..40 {
                if is_speaking || tick < u32::from(every) {
                    ana.seal(b"frame").unwrap();
                }
                sent.extend(std::iter::from_fn(|| ana.next_seal(FRAME * tick)).map(|_| tick));
            }
            let first = u32::from(every) - 1;
            assert_eq!(sent.iter().take_while(|tick| **tick <= second).count(), if once { 1 } else { 2 });
            assert_eq!((sent[0], once || sent[1] == second), (first, true), "{sent:?}");
        }
    }
    // Where each frame has a seal, many wait for their second time.
    let mut ana = Room::new(Suite::default(), rules(SealMode::Live, 1), 3).voice(0, 0);
    let spoken: Vec<_> = (0..50).flat_map(|tick| say(&mut ana, b"frame", FRAME * tick)).collect();
    let after = std::iter::from_fn(|| ana.next_seal(FRAME * 100)).count();
    assert_eq!((spoken.len() + after, ana.stats().seals_made), (50 + 2 * 50, 50));
}

#[test]
fn what_is_held_too_long_is_dropped_and_counted_whoever_asks() {
    let room = Room::new(Suite::default(), rules(SealMode::Strict, 25), 3);
    let (mut ana, mut ben) = (room.voice(0, 0), room.voice(1, 0));
    for _ in 0..3 {
        assert!(matches!(ben.open(&ana.seal(b"frame").unwrap(), FRAME), Err(Error::Held { .. })));
    }
    for (wait, dropped) in [(2000, 0), (2020, 3)] {
        let now = FRAME + Duration::from_millis(wait);
        ben.expire(now);
        let counters = ben.hearing(&room.id(0), now).counters;
        assert_eq!((ben.stats().held, ben.stats().unsealed, counters.unsealed), (3, dropped, dropped));
    }
}

#[test]
fn what_holds_keys_prints_its_name_and_none_of_them() {
    let room = Room::new(Suite::default(), rules(SealMode::Live, 25), 3);
    let (suite, base_key, kid) = (room.suite, room.base_key(0), room.key_id(0, 0, 0));
    let printed = [
        ("EpochKeys", format!("{:?}", room.keys(0, 0, Duration::ZERO))),
        ("Voice", format!("{:?}", room.voice(0, 0))),
        ("SealKeys", format!("{:?}", room.seal_keys(0, 0))),
        ("MediaKey", format!("{:?}", MediaKey::from_seed(&room.media[0]))),
        ("Sealer", format!("{:?}", forger_at(&room, 0))),
        ("Opener", format!("{:?}", Opener::new(suite, Backend::default(), &base_key, kid).unwrap())),
        ("Derivation", format!("{:?}", Derivation::new(suite, &base_key, kid).unwrap())),
        ("Aead", format!("{:?}", Aead::new(suite, Backend::default(), &base_key).unwrap())),
    ];
    for (name, text) in printed {
        assert!(text.starts_with(&format!("{name} {{")) && text.ends_with(".. }"), "{text}");
        assert!(text.len() < 200, "{text}");
    }
}

#[test]
fn a_seal_covers_one_to_fifty_frames() {
    for (every, fits) in [(0, false), (1, true), (50, true), (51, false)] {
        let room = Room::new(Suite::default(), rules(SealMode::Live, every), 3);
        let keys = room.plain_keys(0, 0, Duration::ZERO).with_seals(room.seal_keys(0, 0));
        assert_eq!(keys.is_ok(), fits, "{every}");
    }
}

#[test]
fn nobody_counts_as_verified_before_a_frame_of_theirs_is() {
    let room = Room::new(Suite::default(), rules(SealMode::Live, 25), 3);
    let (mut ana, mut ben) = (room.voice(0, 0), room.voice(1, 0));
    let now = FRAME * 25;
    let packets: Vec<_> = (0..25).flat_map(|tick| say(&mut ana, b"frame", FRAME * tick)).collect();
    let (seal, frames) = packets.split_last().unwrap();
    assert_eq!(ben.hearing(&room.id(0), now).seals, SealState::Waiting);
    assert!(matches!(ben.open(seal, now), Err(Error::Seal { .. })));
    assert_eq!(ben.hearing(&room.id(0), now).seals, SealState::Waiting, "none of its frames has come");
    for frame in frames {
        assert!(ben.open(frame, now).unwrap().verified);
        assert_eq!(ben.hearing(&room.id(0), now).seals, SealState::Verified);
    }
    assert_eq!(ben.stats().verified, 25);
}

#[test]
fn what_a_seal_shows_to_be_forged_is_told_and_counted_under_whom_it_impersonates() {
    let room = Room::new(Suite::default(), rules(SealMode::Live, 25), 3);
    let (mut ana, mut ben) = (room.voice(0, 0), room.voice(1, 0));
    let mut forger = forger_at(&room, 0);
    for _ in 0..3 {
        assert!(ben.open(&forged(&mut forger), FRAME).is_ok(), "nobody can tell as yet");
    }
    let mut heard = Vec::new();
    for tick in 0..25 {
        for packet in say(&mut ana, b"ana", FRAME * tick) {
            heard.extend(hear(&mut ben, &packet, FRAME * tick).into_iter().map(|heard| heard.counter));
        }
    }
    assert_eq!(heard, (0..25).collect::<Vec<_>>());
    let found = findings(&mut ben, FRAME * 25);
    let [Finding::Forgery(forgery)] = &found[..] else { panic!("{found:?}") };
    assert_eq!((forgery.impersonated, &forgery.counters), (room.id(0), &(0..=2)));
    assert_eq!((forgery.packets, forgery.played), (3, 3));
    assert_eq!(ben.hearing(&room.id(0), FRAME * 25).counters.impersonated, 3);
    assert_eq!((ben.stats().impersonated, ben.stats().verified), (3, 25));
}

#[test]
fn in_whose_name_somebody_speaks_is_held_to_their_seals_for_ten_seconds_whatever_epochs_begin() {
    let room = Room::new(Suite::default(), rules(SealMode::Live, 25), 3);
    let (mut ana, mut ben) = (room.voice(0, 0), room.voice(1, 0));
    let begin = FRAME;
    assert!(ben.open(&ana.seal(b"ana").unwrap(), begin).is_ok());
    assert!(
        matches!(ben.open(&forged(&mut forger_at(&room, 0)), begin), Err(Error::Held { .. })),
        "two of one counter"
    );
    for (epoch, seconds) in [(1, 1), (2, 9)] {
        let now = begin + Duration::from_secs(seconds);
        ana.rekey(room.keys(0, epoch, now)).unwrap();
        ben.rekey(room.keys(1, epoch, now)).unwrap();
        assert!(matches!(ben.open(&ana.seal(b"ana").unwrap(), now), Err(Error::Held { .. })), "epoch {epoch}");
        assert_eq!(ben.hearing(&room.id(0), now).seals, SealState::Contested);
    }
    let now = begin + Duration::from_secs(10);
    assert!(ben.open(&ana.seal(b"ana").unwrap(), now).is_ok());
}

#[test]
fn seals_have_one_length_however_few_frames_they_cover() {
    // Beyond its header, which says how many seals there were before it to whoever counts them anyway.
    let length = |packet: &[u8]| packet.len() - Header::decode(packet).unwrap().1;
    let room = Room::new(Suite::default(), rules(SealMode::Live, 25), 3);
    let mut ana = room.voice(0, 0);
    let mut lengths = BTreeSet::new();
    let mut now = Duration::ZERO;
    for run in 1..60 {
        for _ in 0..run {
            now += FRAME;
            lengths.extend(say(&mut ana, &[0; 64], now).iter().skip(1).map(|seal| length(seal)));
        }
        for _ in 0..20 {
            now += FRAME;
            lengths.extend(std::iter::from_fn(|| ana.next_seal(now)).map(|seal| length(&seal)));
        }
    }
    assert_eq!(lengths.len(), 1, "{lengths:?}");
}

#[test]
fn a_speaker_whose_seals_do_not_come_is_flagged_after_a_second_and_is_played_or_held_as_the_room_says() {
    for unsealed in [Unsealed::Play, Unsealed::Hold] {
        let mut rules = rules(SealMode::Live, 25);
        rules.unsealed = unsealed;
        let room = Room::new(Suite::default(), rules, 3);
        let (mut ana, mut ben) = (room.voice(0, 0), room.voice(1, 0));
        let (mut flagged, mut seals) = (0, Vec::new());
        for tick in 0..200 {
            let now = FRAME * tick;
            let mut packets = say(&mut ana, b"frame", now);
            seals.extend(packets.split_off(1));
            let opened = ben.open(&packets[0], now);
            let is_played = opened.is_ok();
            assert_eq!(is_played, unsealed == Unsealed::Play || tick < 50, "{unsealed:?}, tick {tick}");
            if !is_played {
                assert!(matches!(opened, Err(Error::Held { .. })));
            }
            for finding in findings(&mut ben, now) {
                let Finding::Unverified { speaker, counters, at, .. } = finding else { panic!("{finding:?}") };
                assert_eq!((speaker, at), (room.id(0), now));
                flagged += counters.count() as u32;
            }
            let played = if unsealed == Unsealed::Play { tick + 1 } else { 50.min(tick + 1) };
            assert_eq!(flagged, played.min((tick + 1).saturating_sub(50)), "{unsealed:?}, tick {tick}");
        }
        let now = FRAME * 200;
        assert_eq!(ben.stats().unverified, u64::from(flagged));
        let state = ben.hearing(&room.id(0), now);
        assert_eq!((state.seals, state.counters.unverified), (SealState::Unverified, u64::from(flagged)));
        // The seals come after all: what was played is confirmed, what is held comes out.
        let late: Vec<_> = seals.iter().flat_map(|seal| hear(&mut ben, seal, now)).collect();
        assert_eq!(ben.stats().verified, if unsealed == Unsealed::Play { 200 } else { 50 + late.len() as u64 });
        assert_eq!(late.is_empty(), unsealed == Unsealed::Play);
        assert_eq!((ben.stats().unverified, ben.hearing(&room.id(0), now).seals), (0, SealState::Verified));
    }
}

#[test]
fn in_a_room_of_two_the_tag_proves_it_and_nobody_makes_seals_but_for_evidence() {
    for (proof, seals) in [(Proof::Deniable, 0), (Proof::Evidence, 4)] {
        let mut rules = rules(SealMode::Strict, 25);
        rules.proof = proof;
        let room = Room::new(Suite::default(), rules, 2);
        let (mut ana, mut ben) = (room.voice(0, 0), room.voice(1, 0));
        for tick in 0..100 {
            for packet in say(&mut ana, b"between us", FRAME * tick) {
                for heard in hear(&mut ben, &packet, FRAME * tick) {
                    assert!(heard.verified);
                }
            }
        }
        let Stats { seals_made, .. } = *ana.stats();
        assert_eq!((ben.stats().verified, ben.stats().opened, seals_made), (100, 100, seals));
        assert_eq!(ben.hearing(&room.id(0), FRAME * 100).seals, SealState::Verified);
    }
}

#[test]
fn who_cannot_seal_is_heard_unverified_or_not_at_all() {
    for (mode, unsealed, is_heard) in [
        (SealMode::Live, Unsealed::Play, true),
        (SealMode::Live, Unsealed::Hold, false),
        (SealMode::Strict, Unsealed::Play, false),
    ] {
        let mut rules = rules(mode, 25);
        rules.unsealed = unsealed;
        let room = Room::new(Suite::default(), rules, 3);
        // Somebody on another implementation, who has no media key.
        let keys = |who| {
            let plain = room.plain_keys(who, 0, Duration::ZERO);
            plain.with_seals(SealKeys::new(rules, b"")).unwrap()
        };
        let (mut ana, mut ben) = (Voice::new(keys(0)), Voice::new(keys(1)));
        let packet = ana.seal(b"no seals here").unwrap();
        assert!(ana.next_seal(FRAME).is_none());
        let opened = ben.open(&packet, FRAME);
        if is_heard {
            assert!(!opened.unwrap().verified);
            assert!(matches!(ben.open(&packet, FRAME), Err(Error::Replayed { .. })));
            let found = findings(&mut ben, FRAME);
            assert!(matches!(&found[..], [Finding::Unverified { .. }]), "{found:?}");
        } else {
            let refusal = opened.unwrap_err();
            assert!(matches!(refusal, Error::Unsealed { .. }), "{refusal}");
            assert_eq!(ben.hearing(&room.id(0), FRAME).cause, Cause::Unsealed);
        }
        assert_eq!(ben.hearing(&room.id(0), FRAME).seals, SealState::Unverified);
    }
}

#[test]
fn whoever_never_seals_is_played_for_five_minutes_and_then_held() {
    let room = Room::new(Suite::default(), rules(SealMode::Live, 25), 3);
    let (mut ana, mut ben) = (room.voice(0, 0), room.voice(1, 0));
    for tick in 0..16_460_u32 {
        let now = FRAME * tick;
        let opened = ben.open(&ana.seal(b"unsealed").unwrap(), now);
        assert_eq!(opened.is_ok(), tick < 16_384, "tick {tick}: {opened:?}");
        let flagged: u64 = findings(&mut ben, now).iter().map(frames).sum();
        assert_eq!(flagged, u64::from((50..16_384 + 50).contains(&tick)), "tick {tick}");
    }
    assert_eq!(ben.hearing(&room.id(0), FRAME * 16_460).cause, Cause::Unsealed);
}

/// A forger far ahead of a speaker who goes on: the speaker's seals show that it is not they.
#[test]
fn where_hundreds_are_on_stage_whoever_never_seals_is_played_for_twenty_seconds_and_then_held() {
    let room = Room::new(Suite::default(), rules(SealMode::Live, 25), 200);
    let (mut ana, mut ben) = (room.voice(0, 0), room.voice(1, 0));
    for tick in 0..1_100_u32 {
        let opened = ben.open(&ana.seal(b"unsealed").unwrap(), FRAME * tick);
        assert_eq!(opened.is_ok(), tick < 1_024, "tick {tick}: {opened:?}");
    }
}

#[test]
fn who_speaks_far_ahead_of_the_speakers_seals_is_soon_not_played_any_more() {
    let room = Room::new(Suite::default(), rules(SealMode::Live, 25), 3);
    let (mut ana, mut ben) = (room.voice(0, 0), room.voice(1, 0));
    let mut forger = forger_at(&room, 500);
    let (mut played, mut heard) = (0, Vec::new());
    for tick in 0..400 {
        let now = FRAME * tick;
        for packet in say(&mut ana, &tick.to_be_bytes(), now) {
            heard.extend(hear(&mut ben, &packet, now).into_iter().map(|heard| heard.counter));
        }
        played += u32::from(ben.open(&forged(&mut forger), now).is_ok());
        findings(&mut ben, now);
    }
    assert!((50..100).contains(&played), "{played} forged frames played");
    // What ana says is held to her seals from then on, and all of it is heard.
    assert_eq!(heard, (0..400).collect::<Vec<_>>());
    assert_eq!(ben.hearing(&room.id(0), FRAME * 400).seals, SealState::Contested);
}

/// Who makes packets in the name of Ana, from that counter on.
fn forger_at(room: &Room, counter: u64) -> Sealer {
    Sealer::new(room.suite, Backend::default(), &room.base_key(0), room.key_id(0, 0, 0), counter).unwrap()
}

fn forged(forger: &mut Sealer) -> Vec<u8> {
    let mut packet = vec![0; 7 + forger.overhead()];
    forger.seal_into(b"", b"not ana", &mut packet).unwrap();
    packet
}

fn frames(finding: &Finding) -> u64 {
    match finding {
        Finding::Unverified { counters, .. } => counters.end() - counters.start() + 1,
        other => panic!("{other}"),
    }
}
