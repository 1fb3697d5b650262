//! Who is not in an epoch opens nothing of it, whatever the order of comings and goings.
//!
//! Each schedule is one seed: people are admitted, leave, are removed, promoted; frames are sealed in between and some
//! are lost. Everybody who ever held a key, and some who never did, try every packet of the evening with every voice
//! they ever had. `PARLOR_SCHEDULES` sets how many schedules are played (1,000 by default).

mod party;

use std::{collections::BTreeSet, time::Duration};

use parlor::{EpochKeys, KeyIdLayout, LeafIndex, MemberId, Role, Settings, Suite, Voice, media::Speaker};
use party::{Person, guest, room_of};
use rand::{RngExt, SeedableRng, rngs::StdRng};
use zeroize::Zeroizing;

struct Packet {
    epoch: u64,
    speaker: MemberId,
    leaf: LeafIndex,
    bytes: Vec<u8>,
}

#[derive(Default)]
struct Tally {
    packets: u64,
    opened: u64,
    attempts: u64,
    commits: u64,
}

#[test]
fn who_is_not_in_the_epoch_opens_nothing() {
    let schedules =
        std::env::var("PARLOR_SCHEDULES").map_or(1_000, |n| n.parse().expect("PARLOR_SCHEDULES is a number"));
    let halves: Vec<Tally> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..2)
            .map(|half| {
                scope.spawn(move || (0..schedules).filter(|seed| seed % 2 == half).map(play).collect::<Vec<_>>())
            })
            .collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    let sum = |of: fn(&Tally) -> u64| halves.iter().map(of).sum::<u64>();
    println!(
        "{schedules} schedules, {} commits, {} packets: {} opened by members, 0 of {} attempts without right",
        sum(|t| t.commits),
        sum(|t| t.packets),
        sum(|t| t.opened),
        sum(|t| t.attempts),
    );
    assert!(sum(|t| t.opened) > 0 && sum(|t| t.attempts) > sum(|t| t.opened));
}

/// One evening. Panics, naming the seed, when somebody opens what they may not, or does not hear what they should.
fn play(seed: u64) -> Tally {
    let mut rng = StdRng::seed_from_u64(seed);
    let mut tally = Tally::default();
    let suite = [Suite::ChaCha20Poly1305, Suite::Aes128Gcm, Suite::Aes256Gcm][rng.random_range(0..3)];
    let settings = Settings::default().with_suite(suite);
    let mut inside = room_of(settings.clone(), &[("bo", Role::Speaker), ("cy", Role::Listener)]);
    let mut outside: Vec<Person> = vec![Person::host("outsider", settings)];
    let mut packets: Vec<Packet> = Vec::new();
    let mut now = Duration::ZERO;
    for step in 0..rng.random_range(4..12_u64) {
        now += Duration::from_millis(rng.random_range(20..3_000));
        if rng.random_bool(0.6) {
            change(seed, step, &mut rng, &mut inside, &mut outside, &packets, now, &mut tally);
        }
        for _ in 0..rng.random_range(1..4) {
            talk(seed, &mut rng, &mut inside, &mut packets, now, &mut tally);
        }
    }
    // Everybody who is not inside tries everything with the last voice they had.
    for person in &mut outside {
        let gone_at = person.voice.epoch();
        for packet in &packets {
            tally.attempts += 1;
            // What a removed member's last epoch sealed before the removal was theirs to hear.
            let was_inside = person.entered <= packet.epoch && packet.epoch <= gone_at && !person.room.is_open();
            if person.voice.open(&packet.bytes, now).is_ok() {
                assert!(was_inside, "seed {seed}: {} opened a packet of epoch {}", person.id, packet.epoch);
            }
        }
    }
    relay(seed, suite, &packets, now, &mut tally);
    tally
}

#[expect(clippy::too_many_arguments, reason = "a schedule's whole state")]
fn change(
    seed: u64,
    step: u64,
    rng: &mut StdRng,
    inside: &mut Vec<Person>,
    outside: &mut Vec<Person>,
    packets: &[Packet],
    now: Duration,
    tally: &mut Tally,
) {
    tally.commits += 1;
    let mut newcomer = None;
    let commit = match rng.random_range(0..5) {
        0 | 1 => {
            let guest = guest(&format!("guest {step}"));
            let role = if rng.random_bool(0.5) { Role::Speaker } else { Role::Listener };
            let admission = inside[0].room.admit(guest.card(), role).unwrap();
            let commit = admission.commit.clone();
            newcomer = Some((guest, admission));
            commit
        }
        2 if inside.len() > 2 => {
            let who = rng.random_range(1..inside.len());
            let id = inside[who].id;
            if rng.random_bool(0.5) {
                let bye = inside[who].room.leave().unwrap();
                for person in inside.iter_mut() {
                    person.receive(&bye, now).unwrap();
                }
            }
            inside[0].room.remove(&id).unwrap()
        }
        3 if inside.len() > 1 => {
            let id = inside[rng.random_range(1..inside.len())].id;
            let role = inside[0].room.member(&id).unwrap().role;
            let other = if role.on_stage() { Role::Listener } else { Role::Speaker };
            inside[0].room.set_role(&id, other).unwrap()
        }
        _ => {
            let who = rng.random_range(0..inside.len());
            inside[who].room.refresh().unwrap()
        }
    };
    for person in inside.iter_mut() {
        person.receive(&commit, now).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
    }
    if let Some((guest, admission)) = newcomer {
        let mut person = Person::enter(guest, &admission);
        for packet in packets {
            tally.attempts += 1;
            assert!(
                person.voice.open(&packet.bytes, now).is_err(),
                "seed {seed}: a late joiner of epoch {} opened a packet of epoch {}",
                person.entered,
                packet.epoch
            );
        }
        inside.push(person);
    }
    let (out, still): (Vec<_>, Vec<_>) = std::mem::take(inside).into_iter().partition(|person| !person.room.is_open());
    *inside = still;
    outside.extend(out);
    let codes: BTreeSet<String> = inside.iter().map(|person| person.room.code().to_string()).collect();
    assert_eq!(codes.len(), 1, "seed {seed}: the members disagree");
}

/// Everybody on stage says something; one in ten copies is lost, the rest must be heard by all others.
fn talk(
    seed: u64,
    rng: &mut StdRng,
    inside: &mut [Person],
    packets: &mut Vec<Packet>,
    now: Duration,
    tally: &mut Tally,
) {
    for speaker in 0..inside.len() {
        let person = &mut inside[speaker];
        if !person.voice.on_stage() {
            assert!(person.voice.seal(b"let me in").is_err(), "seed {seed}: a listener's voice sealed");
            continue;
        }
        let (id, leaf, epoch) = (person.id, person.room.me().unwrap().leaf, person.voice.epoch());
        let bytes = person.voice.seal(&seed.to_be_bytes()).unwrap();
        tally.packets += 1;
        for (ear, person) in inside.iter_mut().enumerate() {
            if ear == speaker || rng.random_bool(0.1) {
                continue;
            }
            let heard = person.voice.open(&bytes, now).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
            assert_eq!((heard.speaker, heard.epoch), (id, epoch), "seed {seed}");
            tally.opened += 1;
        }
        packets.push(Packet { epoch, speaker: id, leaf, bytes });
    }
}

/// A relay that knows the room's epochs, leaves and stage, all but the key.
fn relay(seed: u64, suite: Suite, packets: &[Packet], now: Duration, tally: &mut Tally) {
    for packet in packets {
        let guess = Zeroizing::new(vec![seed as u8; suite.key_len()]);
        let stage = vec![Speaker { leaf: packet.leaf, id: packet.speaker }];
        let me = LeafIndex(packet.leaf.0 + 1);
        let keys = EpochKeys::new(suite, KeyIdLayout::default(), packet.epoch, guess, me, stage, now).unwrap();
        tally.attempts += 1;
        assert!(Voice::new(keys).open(&packet.bytes, now).is_err(), "seed {seed}: the relay guessed a key");
    }
}
