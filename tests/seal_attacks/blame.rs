//! Who is named, and who is not: one's own packets accuse nobody, and a forger is named where there is only one who
//! can have done it.

use std::time::Duration;

use parlor::{
    Error, Suite, Voice,
    media::seal::{Finding, SealMode},
};

use crate::{
    forger::Forger,
    insider::{ANA, BEN, MICROPHONE, SEALS, rules},
    sealed::{FRAME, Room, findings, say},
};

fn forgers(voice: &mut Voice, now: Duration) -> Vec<Option<parlor::MemberId>> {
    let found = findings(voice, now).into_iter();
    found
        .map(|finding| match finding {
            Finding::Forgery(forgery) => forgery.forger,
            other => panic!("{other}"),
        })
        .collect()
}

#[test]
fn who_speaks_in_ones_own_name_is_named_in_a_room_of_two_and_in_no_larger_one() {
    for suite in Suite::ALL {
        for people in [2, 3, 5] {
            let room = Room::new(suite, rules(SealMode::Live, 25), people);
            let mut ana = room.voice(ANA, 0);
            let insider = Forger::new(suite, &room.base_key(0), room.key_id(MICROPHONE, ANA, 0));
            let mut found = Vec::new();
            let mut names = |ana: &mut Voice, counter: u64| {
                let opened = ana.open(&insider.seal_at(counter, b"in ana's name"), FRAME);
                assert!(matches!(opened, Err(Error::Impersonated { counter: of, .. }) if of == counter), "{opened:?}");
                found.extend(forgers(ana, FRAME));
            };
            // Before she has said anything; what she has yet to say; what she did say.
            names(&mut ana, 0);
            for _ in 0..60 {
                ana.seal(b"mine").unwrap();
            }
            names(&mut ana, 59);
            names(&mut ana, 60);
            names(&mut ana, 10);
            names(&mut ana, 1 << 24);
            for _ in 0..200 {
                ana.seal(b"mine").unwrap();
            }
            names(&mut ana, 132);
            let forger = (people == 2).then(|| room.id(BEN));
            assert_eq!(found, vec![forger; 6], "{people} people");
            assert_eq!(ana.stats().impersonated, 6);
            // What she said longer ago she does not remember.
            let old = ana.open(&insider.seal_at(131, b"in ana's name"), FRAME);
            assert!(matches!(old, Err(Error::Reflected { .. })), "{old:?}");
        }
    }
}

#[test]
fn ones_own_packets_accuse_nobody_however_old() {
    for people in [2, 3] {
        for suite in Suite::ALL {
            let room = Room::new(suite, rules(SealMode::Live, 10), people);
            let mut ana = room.voice(ANA, 0);
            let mut packets = Vec::new();
            for epoch in 0..4 {
                for tick in 0..300 {
                    packets.extend(say(&mut ana, &[tick as u8; 60], FRAME * tick));
                    for at in [0, packets.len() / 3, packets.len() - 1] {
                        let opened = ana.open(&packets[at], FRAME * tick);
                        assert!(
                            matches!(opened, Err(Error::Reflected { .. } | Error::TooLate { .. })),
                            "{people} people, epoch {epoch}, {at} of {}: {opened:?}",
                            packets.len()
                        );
                    }
                }
                for packet in &packets {
                    assert!(ana.open(packet, FRAME * 300).is_err());
                }
                assert_eq!(findings(&mut ana, FRAME * 300), []);
                ana.rekey(room.keys(ANA, epoch + 1, FRAME * 300)).unwrap();
            }
            assert_eq!(ana.stats().impersonated, 0);
            // Nor does what others forge of the epochs before, or of seals: nobody is sure of it.
            for (stream, epoch) in [(MICROPHONE, 3), (SEALS, 3), (SEALS, 4)] {
                let forger = Forger::new(suite, &room.base_key(epoch), room.key_id(stream, ANA, epoch));
                assert!(matches!(ana.open(&forger.seal_at(3, &[0; 235]), FRAME * 300), Err(Error::Reflected { .. })));
            }
            assert_eq!(findings(&mut ana, FRAME * 300), []);
        }
    }
}

/// Two become three and two again. What is left of an epoch of two is of the two.
#[test]
fn nobody_is_named_for_what_a_third_could_have_made() {
    let suite = Suite::default();
    let (two, three) = (Room::new(suite, rules(SealMode::Live, 25), 2), Room::new(suite, rules(SealMode::Live, 25), 3));
    let (mut ana, mut now) = (two.voice(ANA, 0), Duration::ZERO);
    for epoch in 0..8_u64 {
        let room = if epoch % 2 == 0 { &two } else { &three };
        now += FRAME;
        for _ in 0..10 {
            ana.seal(b"mine").unwrap();
        }
        for of in [epoch, epoch.saturating_sub(1), epoch + 1] {
            let forger = Forger::new(suite, &room.base_key(of), room.key_id(MICROPHONE, ANA, of));
            for counter in [2, 9, 10, 4_000] {
                let _ = ana.open(&forger.seal_at(counter, b"in ana's name"), now);
            }
        }
        let named = forgers(&mut ana, now);
        assert!(!named.is_empty());
        // Both of what was made in this epoch, and of what was parked for it.
        let expected = (epoch % 2 == 0).then(|| two.id(BEN));
        assert!(named.iter().all(|forger| *forger == expected), "epoch {epoch}: {named:?}");
        let next = if epoch % 2 == 0 { &three } else { &two };
        ana.rekey(next.keys(ANA, epoch + 1, now)).unwrap();
        let mut parked = Vec::new();
        while let Some(opened) = ana.unpark(now) {
            assert!(matches!(opened, Err(Error::Impersonated { .. })), "{opened:?}");
            parked.push(());
        }
        assert_eq!(parked.len(), 4);
        let expected = (epoch % 2 == 1).then(|| two.id(BEN));
        assert!(forgers(&mut ana, now).iter().all(|forger| *forger == expected));
    }
}
