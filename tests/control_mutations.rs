//! Control messages that were changed on their way: none is taken, nothing moves, and memory stays within bounds.
//!
//! `PARLOR_MUTATIONS=1000000 cargo test --release --test control_mutations -- --nocapture` runs them in full number,
//! and tells how long it took and how much memory.

mod party;
#[path = "common/peak.rs"]
mod peak_memory;

use std::{
    sync::atomic::Ordering::SeqCst,
    time::{Duration, Instant},
};

use parlor::{Event, Role, Room};
use party::{
    NOW, guest,
    mal::{Bare, World, add, state},
    words,
};
use peak_memory::{Counting, MOST, USED};
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};

const LIMIT: usize = 32 * 1024 * 1024;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// One message of each kind: what a host commits and says in this epoch, which nobody has received; what the room has
/// passed; what an outsider sends; and what is no control message.
fn genuine(world: &mut World, old: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let mal = &mut world.mal;
    let title = mal.recharter(|charter| charter.title = b"a title".to_vec());
    let mut all =
        vec![mal.commit(vec![]), mal.commit(vec![title]), mal.commit(vec![add(Bare::new("zed").key_package())])];
    for (number, said) in [&[6, b'!'][..], &[1], &[200, 9], &[6; 500]].into_iter().enumerate() {
        all.push(words::say(mal, number as u64, said));
    }
    let message = mal.group.create_message(&mal.client.provider, &mal.client.signer, b"words").unwrap();
    all.push(message.to_bytes().unwrap());
    all.push(Bare::new("eve").external_commit(mal));
    all.push(guest("cy").card().as_bytes().to_vec());
    let ana = &mut world.party.rooms[0];
    let admission = ana.admit(guest("cy").card(), Role::Listener).unwrap();
    ana.abandon();
    all.extend([admission.commit, admission.welcome]);
    all.extend_from_slice(old);
    all
}

fn ben(world: &mut World) -> &mut Room {
    world.party.named("ben")
}

#[test]
fn a_mutated_control_message_is_never_taken_and_moves_nothing() {
    let mutations: u64 = std::env::var("PARLOR_MUTATIONS").map_or(20_000, |count| count.parse().unwrap());
    let mut random = StdRng::seed_from_u64(3);
    let mut world = World::new(Role::Host);
    let began = Instant::now();
    let before = USED.load(SeqCst);
    MOST.store(before, SeqCst);
    let (mut old, mut refused, mut now) = (Vec::new(), 0_u64, NOW);

    while refused < mutations {
        let mut messages = genuine(&mut world, &old);
        // A commit of ben's own is on its way all the while.
        let own = ben(&mut world).refresh().unwrap();
        messages.push(own.clone());
        let room = ben(&mut world);
        // Until the first tick signals are not read at all.
        let _ = room.tick(NOW);
        let (whole, epoch, code) = (state(room), room.epoch(), room.code());
        for turn in 0..(mutations / 8).clamp(1, 20_000) {
            let message = mutated(&mut random, &messages);
            if messages.contains(&message) {
                continue;
            }
            // Of what fails so many are looked at in a second and no more.
            now += Duration::from_millis(2);
            let taken = room.receive(&message, now);
            // Anybody may ask to be let in by themselves; what was altered accuses no member.
            let nobody = matches!(taken.as_deref(), Ok([Event::Refused { actor: None, .. }]));
            assert!(taken.is_err() || nobody, "after {refused}: {taken:?}");
            assert_eq!((room.epoch(), room.code()), (epoch, code));
            if turn % 1_024 == 0 {
                assert_eq!(state(room), whole);
            }
            refused += 1;
        }
        assert_eq!(state(room), whole);
        // After all of it what is genuine is taken: what mal says, and commits of everybody.
        for words in &messages[3..5] {
            room.receive(words, now).unwrap();
        }
        room.abandon().unwrap();
        world.go_on();
        old = vec![messages[0].clone(), own];
    }
    let most = MOST.load(SeqCst) - before;
    println!(
        "{refused} mutated control messages: none taken, {} in use at most, {:.1} s",
        most,
        began.elapsed().as_secs_f64()
    );
    assert!(most <= LIMIT, "{most} bytes");
}

/// One of the messages with a change or a few.
fn mutated(random: &mut StdRng, messages: &[Vec<u8>]) -> Vec<u8> {
    let mut out = messages[random.random_range(0..messages.len())].clone();
    for _ in 0..random.random_range(1..4) {
        let at = random.random_range(0..=out.len());
        match random.random_range(0..8) {
            0 => out.truncate(at),
            1 => {
                let more: Vec<u8> = (0..random.random_range(1..40)).map(|_| random.random()).collect();
                out.splice(at..at, more);
            }
            2 => drop(out.drain(at..(at + random.random_range(1..20)).min(out.len()))),
            // Parts of another.
            3 => {
                let other = &messages[random.random_range(0..messages.len())];
                let from = random.random_range(0..other.len());
                let length = random.random_range(0..200).min(other.len() - from).min(out.len() - at);
                out[at..at + length].copy_from_slice(&other[from..from + length]);
            }
            // A length where it may be one.
            4 if at + 4 <= out.len() => out[at..at + 4].copy_from_slice(&random.random::<u32>().to_be_bytes()),
            _ if at < out.len() => out[at] ^= 1 << random.random_range(0..8),
            _ => out.push(random.random()),
        }
    }
    out
}
