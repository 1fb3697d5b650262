//! A process dies at each step of each write of each operation of an evening, and the next goes on from what its vault
//! holds: with the room as it was before the operation or after it, never anything else; and the evening ends as if
//! nothing had been.
//!
//! `PARLOR_CRASHES=all cargo test --test crashes -- --nocapture` goes on to the end of the evening after every one; else it
//! is every fortieth, and the others go on to the end of what was being done.

#[path = "crashes/evening.rs"]
mod evening;
#[path = "crashes/world.rs"]
mod world;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Instant,
};

use evening::EVENING;
use parlor::{
    Guest, Identity, Kept, Role, Room, Settings,
    vault::{MemoryVault, VaultKey},
};
use world::{Kill, World};

#[test]
fn a_crash_at_any_step_of_any_operation_leaves_the_room_before_or_after_it_and_the_evening_goes_on() {
    let all = std::env::var_os("PARLOR_CRASHES").is_some_and(|crashes| crashes == "all");
    let start = Instant::now();
    // The evening without a crash: where each part begins, what is done in it, and what comes of it.
    let (mut world, mut parts) = (World::new(), Vec::new());
    for (name, part) in EVENING {
        let checkpoint = world.checkpoint();
        world = World::from(&checkpoint);
        part(&mut world);
        world.agree();
        parts.push((*name, checkpoint, world.trace.clone(), world.gist()));
    }
    let last = world.gist();
    assert!(last.iter().all(|gist| gist == "out"), "{last:?}");

    let mut kinds: BTreeMap<&str, (BTreeSet<u64>, u32)> = BTreeMap::new();
    let (mut kills, mut before, mut after, mut ended) = (0, 0, 0, 0);
    for (at, (name, checkpoint, trace, gist)) in parts.iter().enumerate() {
        for (op, (kind, steps)) in trace.iter().enumerate() {
            for step in 0..=*steps {
                let kill = Kill { op, step };
                let mut world = World::from(checkpoint);
                world.kill = Some(kill);
                EVENING[at].1(&mut world);
                let killed = world.killed.unwrap_or_else(|| panic!("{name}: {kill:?} was not reached"));
                assert_eq!(killed.returned, step == *steps, "{name}: {kind} {kill:?}");
                assert_eq!(&world.gist(), gist, "{name}: {kind} {kill:?} {killed:?}");
                world.agree();
                (world.kill, kills) = (None, kills + 1);
                (before, after) = (before + u32::from(killed.was_before), after + u32::from(!killed.was_before));
                if all || kills % 40 == 1 {
                    for (_, part) in &EVENING[at + 1..] {
                        part(&mut world);
                        world.agree();
                    }
                    assert_eq!(world.gist(), last, "{name}: {kind} {kill:?}");
                    ended += 1;
                } else {
                    world.hears_and_speaks(killed.who);
                    assert!(world.gist() == *gist || !world.is_open(0), "{name}: {kind} {kill:?}");
                }
                let entry = kinds.entry(kind).or_default();
                entry.0.insert(step);
                entry.1 += 1;
            }
        }
    }
    for (kind, (steps, times)) in &kinds {
        println!("{kind:<36}{times:>6} times, steps {steps:?}");
    }
    println!(
        "{kills} crashes in {} kinds of operation: {before} left it as before, {after} as after; {ended} evenings to \
         their end; 0 lost, 0 torn, 0 wrong; {:.0?}",
        kinds.len(),
        start.elapsed()
    );
    // What is stored whole takes two steps, what is appended three; and each kind but these stores something.
    for (kind, (steps, _)) in &kinds {
        let idle = ["receive malformed", "receive of an epoch gone by", "receive published keys"].contains(kind);
        assert!(idle || steps.contains(&2), "{kind} stores nothing: {steps:?}");
    }
    assert!(kills > 500 && before > 100 && after > 100);
}

/// The first write of all: the room is in the vault, or the caller has it still.
#[test]
fn a_room_that_could_not_be_stored_for_the_first_time_comes_back_and_can_be_stored_again() {
    let key = || VaultKey::from_bytes(&[7; 32]);
    let (mut ana, _) = Room::create(Identity::generate("ana").unwrap(), Settings::default()).unwrap();
    let guest = Guest::new(Identity::generate("ben").unwrap()).unwrap();
    let admission = ana.admit(guest.card(), Role::Speaker).unwrap();
    ana.receive(&admission.commit, std::time::Duration::ZERO).unwrap();
    let (mut room, _) = guest.enter(&admission.welcome).unwrap();
    for step in 0..2 {
        room = *Kept::new(room, MemoryVault::failing_after(step), key()).unwrap_err().output;
        assert_eq!(room.code(), ana.code());
    }
    assert_eq!(Kept::new(room, MemoryVault::new(), key()).unwrap().code(), ana.code());
}

/// Made before the room was kept, and on its way when the process dies.
#[test]
fn a_commit_made_before_the_room_was_kept_is_known_again_when_it_comes_back() {
    let now = std::time::Duration::ZERO;
    let ana = Identity::generate("ana").unwrap();
    let secret = ana.secret();
    let (mut room, _) = Room::create(ana, Settings::default()).unwrap();
    let commit = room.set_title("the cellar").unwrap();
    let kept = Kept::new(room, MemoryVault::new(), VaultKey::from_bytes(&[7; 32])).unwrap();
    let vault = kept.vault().clone();
    let ana = Identity::from_secret("ana", &secret).unwrap();
    let mut kept = Kept::restore(ana, vault, VaultKey::from_bytes(&[7; 32]), now).unwrap().unwrap().room;
    assert!(kept.unsent().eq([&commit[..]]));
    kept.act(|room| room.receive(&commit, now)).unwrap().unwrap();
    assert_eq!(kept.settings().title(), "the cellar");
}
