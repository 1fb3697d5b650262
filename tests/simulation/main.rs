//! Whole evenings: people, guests, a relay, a network, clocks, perhaps an insider; all of it hostile but the
//! people.
//!
//! One seed is one history: a list of steps ([`script`]), carried out on real rooms and voices ([`world`], [`media`],
//! [`relay`], [`door`]), beside a reference model ([`model`]) that says after each step whether what happened may. A history that
//! goes wrong is cut down to its shortest form ([`shrink`]). Keys are random and differ from run to run: a seed fixes
//! who does what and when, and nothing may depend on more.
//!
//! Into one epoch in six a fresh guest comes ([`guests`]); `PARLOR_GUESTS=all` lets one into each. What is printed at the
//! end says how many they were, how many histories ended in a talk of everybody, and who was excused from the last
//! questions ([`quiet`]) and why.
//!
//! `PARLOR_HISTORIES=10000 cargo test --release --test simulation -- --nocapture` plays so many; `PARLOR_SEED` one, or
//! so many from that on.

mod delivery;
mod door;
mod guests;
mod insider;
mod media;
mod model;
#[path = "../party/mod.rs"]
mod party;
mod people;
mod quiet;
mod relay;
mod restarts;
mod returns;
mod script;
mod shrink;
mod world;

use std::{
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use model::{Broken, Rule};
use parlor::{Role, media::seal::SealMode, room::Entry};
use relay::{Signals, Trick};
use script::{Opening, Plant, Script, Step, Wish, Word};
use world::Tally;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|n| n.parse().expect("histories and seeds are numbers"))
}

#[test]
fn whatever_the_relay_does_every_rule_holds() {
    let first = number("PARLOR_SEED");
    let many = number("PARLOR_HISTORIES").unwrap_or(if first.is_some() { 1 } else { 500 });
    let seeds = first.unwrap_or(0)..first.unwrap_or(0) + many;
    let (total, start) = (seeds.end - seeds.start, Instant::now());
    let (next, done) = (AtomicU64::new(seeds.start), AtomicU64::new(0));
    let (failed, tally) = (Mutex::new(Vec::<(u64, Broken)>::new()), Mutex::new(Tally::default()));
    let work = || {
        let mut own = Tally::default();
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds.end || failed.lock().unwrap().len() >= 3 {
                break;
            }
            match shrink::play(&Script::of(seed), false).0 {
                Ok(tally) => own.merge(tally),
                Err(broken) => failed.lock().unwrap().push((seed, broken)),
            }
            done.fetch_add(1, Ordering::Relaxed);
        }
        tally.lock().unwrap().merge(own);
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> =
            (0..std::thread::available_parallelism().map_or(2, usize::from)).map(|_| scope.spawn(work)).collect();
        let mut told = start;
        while total > 500 && !threads.iter().all(std::thread::ScopedJoinHandle::is_finished) {
            std::thread::sleep(Duration::from_millis(20));
            if told.elapsed() > Duration::from_secs(1) {
                told = Instant::now();
                let done = done.load(Ordering::Relaxed);
                eprintln!("{done} of {total} histories, {:.0} a second", done as f64 / start.elapsed().as_secs_f64());
            }
        }
    });
    let (mut failed, tally) = (failed.into_inner().unwrap(), tally.into_inner().unwrap());
    println!("{} histories in {:.1} s", done.into_inner(), start.elapsed().as_secs_f64());
    tally.0.iter().for_each(|(what, times)| println!("{times:>10} {what}"));
    failed.sort_by_key(|(seed, _)| *seed);
    let reports: Vec<String> =
        failed.iter().map(|(seed, broken)| shrink::report(*seed, &Script::of(*seed), broken)).collect();
    assert!(reports.is_empty(), "{}", reports.join("\n----\n"));
    if total >= 500 {
        for what in WHAT_HAPPENS {
            assert!(tally.of(what) > 0, "it never came to this: {what}");
        }
    }
}

/// What is to happen in 500 histories: a simulation in which it does not shows nothing.
const WHAT_HAPPENS: &[&str] = &[
    "answers lost",
    "answers once more",
    "answers to somebody else",
    "answers to who has gone",
    "answers",
    "attempts by strangers",
    "attempts by who is out",
    "bad messages refused",
    "clock jumps",
    "clocks set",
    "clones",
    "coming back is due",
    "commands denied",
    "commits abandoned",
    "commits of the insider refused",
    "commits that nobody may follow",
    "commits with broken paths",
    "commits",
    "crashes in a call",
    "epochs entered",
    "floods",
    "forged frames played",
    "forgeries",
    "found forged",
    "found unverified",
    "frames not sealed",
    "frames not sealed: stale",
    "frames of their own time, opened by who is out",
    "frames opened after they waited",
    "frames opened",
    "frames sealed",
    "guests let in",
    "guests turned away by the insider",
    "guests turned away",
    "guests who entered and heard",
    "held for a seal",
    "histories that end in a talk",
    "histories with a fork",
    "knocks again",
    "knocks by a wrong clock",
    "knocks heard",
    "knocks refused",
    "knocks",
    "links made",
    "links that their holder finds expired",
    "messages again",
    "messages and packets from elsewhere",
    "messages damaged by the insider",
    "messages damaged or made up",
    "messages lost",
    "messages out of their order",
    "messages too late or early",
    "packets again or readdressed",
    "parked",
    "people who came back",
    "people who came in by the door",
    "people who came in",
    "people who come again",
    "people who went out",
    "processes killed",
    "races lost",
    "refused: forged",
    "refused: malformed",
    "refused: muted",
    "refused: not on stage",
    "refused: reflected",
    "refused: replayed",
    "refused: too late",
    "refused: unsealed",
    "relay withholds, or no more",
    "requests once more",
    "restores after many epochs",
    "restores from old copies",
    "seals read",
    "short codes",
    "states lost",
    "told: a guest may not enter",
    "told: a hand",
    "told: a host is silent",
    "told: a reaction",
    "told: an answer to an invitation",
    "told: an invitation",
    "told: behind",
    "told: fresh again",
    "told: somebody asks for a short code",
    "told: somebody knocks",
    "told: somebody wants to leave",
    "told: stale",
    "told: stuck",
    "told: turned away",
    "told: two histories",
    "welcomes of commits that lost",
    "words read",
    "words said again by the insider",
    "words that vanished",
];

/// A room of hosts, without seals.
fn hosts(people: usize) -> Opening {
    Opening { roles: vec![Role::Host; people - 1], seals: SealMode::Off, epoch_bits: 8, entry: Entry::Invited }
}

#[track_caller]
fn breaks(people: usize, steps: &[Step]) -> Rule {
    breaks_in(hosts(people), steps)
}

#[track_caller]
fn breaks_in(opening: Opening, steps: &[Step]) -> Rule {
    let script = Script { opening, steps: steps.to_vec() };
    let played = shrink::play(&script, true);
    played.0.err().unwrap_or_else(|| panic!("a planted mistake is found: {}", played.1)).rule
}

const REFRESH: Step = Step::Command { by: 0, wish: Wish::Refresh };

#[test]
fn each_rule_finds_the_mistake_it_is_there_for() {
    let speak = |by| Step::Speak { by, frames: 2 };
    let twin = Step::Plant(Plant::Twin { who: 0 });
    assert_eq!(breaks(2, &[twin, REFRESH, Step::DeliverAll, speak(0)]), Rule::Nonce);
    // Until they have heard each other's hearts.
    let beats = Step::Wait { ms: 2_000 };
    assert_eq!(breaks(2, &[twin, REFRESH, Step::DeliverAll, beats, speak(1)]), Rule::Replay);
    let confused = Step::Plant(Plant::Confused { who: 0 });
    assert_eq!(breaks(3, &[confused, REFRESH, Step::DeliverAll, beats, speak(1)]), Rule::Authentic);
    let remove = Step::Command { by: 0, wish: Wish::Remove { on: 1 } };
    let stolen = [remove, Step::DeliverAll, Step::Plant(Plant::Stolen), speak(0)];
    assert_eq!(breaks(3, &stolen), Rule::Outsider);
    let race =
        [REFRESH, Step::Command { by: 1, wish: Wish::Refresh }, Step::Order { pick: 0 }, Step::Order { pick: 0 }];
    let silent = [&race[..], &[Step::Plant(Plant::Silent { to: 2 }), Step::DeliverAll]].concat();
    assert_eq!(breaks(3, &silent), Rule::Agreement);
    let mute = Step::Command { by: 0, wish: Wish::Mute { on: 1 } };
    assert_eq!(breaks(3, &[Step::Plant(Plant::Unmuted), mute, Step::DeliverAll]), Rule::Agreement);
    let lost = [REFRESH, Step::Order { pick: 0 }, Step::Plant(Plant::Lost { to: 1 })];
    assert_eq!(breaks(3, &lost), Rule::Quiet);
    let hoards = [Step::Plant(Plant::Hoarder { who: 1 }), REFRESH, Step::Order { pick: 0 }];
    let late = [beats, Step::Deliver { to: 1, most: 1 }, Step::Wait { ms: 3_000 }, speak(2)];
    assert_eq!(breaks(3, &[&hoards[..], &late].concat()), Rule::Past);
    assert_eq!(breaks(2, &[REFRESH, Step::Plant(Plant::Unnoticed), Step::DeliverAll]), Rule::Forward);
    assert_eq!(breaks(2, &[Step::Plant(Plant::Muzzled { who: 0 }), speak(0)]), Rule::Honest);
    let withhold = Step::Cheat { to: 1, trick: Trick::Withhold { signals: Signals::Stop } };
    let deaf = [beats, Step::Plant(Plant::Deaf { who: 1 }), withhold, REFRESH, Step::DeliverAll];
    let speaker = Opening { roles: vec![Role::Speaker], ..hosts(2) };
    let speaks = [Step::Wait { ms: 20_000 }, speak(1)];
    assert_eq!(breaks_in(speaker, &[&deaf[..], &speaks].concat()), Rule::Stale);
    assert_eq!(breaks(2, &[Step::Plant(Plant::Panic)]), Rule::Sound);
    let mixed = [Step::Plant(Plant::Mixed { who: 1 }), REFRESH, Step::DeliverAll];
    assert_eq!(breaks(2, &mixed[..]), Rule::Door);
    let link = Step::Command { by: 0, wish: Wish::Link { what: 0xe0 } };
    let in_vain = [link, Step::DeliverAll, Step::Plant(Plant::Shut), Step::Knock { link: 0, behind: 0 }];
    assert_eq!(breaks_in(Opening { entry: Entry::Link, ..hosts(2) }, &in_vain), Rule::Door);
    let parrot = [Step::Plant(Plant::Parrot { who: 1 }), Step::Say { by: 0, word: Word::React }, Step::DeliverAll];
    assert_eq!(breaks(2, &parrot), Rule::Replay);
}

/// Their request goes out once the heartbeat has told that the room is further on than the relay's log leads; how long it
/// takes from then on is checked where they enter, and that they hear and are heard in the talk at the end.
#[test]
fn who_restores_a_backup_of_twenty_epochs_ago_hears_again_within_a_round_trip() {
    for (who, roles) in [(1, [Role::Speaker; 3]), (2, [Role::Moderator; 3]), (1, [Role::Host; 3]), (0, [Role::Host; 3])]
    {
        let opening = Opening { roles: roles.to_vec(), ..hosts(4) };
        let steps = vec![Step::OldBackup { who, epochs: 20, cut: true }];
        let tally = shrink::play(&Script { opening, steps }, false).0.unwrap_or_else(|broken| panic!("{broken}"));
        assert_eq!(tally.of("people who came back"), 1, "{who} {roles:?}");
        assert_eq!(tally.of("histories that end in a talk"), 1, "{who} {roles:?}");
    }
}

#[test]
fn a_long_history_is_cut_down_to_the_steps_that_matter() {
    let mut steps: Vec<Step> = (0..8).flat_map(|seed| Script::of(5 * seed + 1).steps).take(195).collect();
    steps.retain(|step| !matches!(step, Step::Cheat { .. } | Step::Say { word: Word::Leave, .. }));
    // Ana stays, and on stage.
    steps.retain(
        |step| !matches!(step, Step::Command { wish, .. } if !matches!(wish, Wish::Refresh | Wish::Set { .. })),
    );
    let loses = |step: &Step| {
        matches!(
            step,
            Step::LoseState { .. }
                | Step::OldBackup { .. }
                | Step::Rollback { .. }
                | Step::Clone { .. }
                | Step::Crash { .. }
                | Step::Kill { .. }
                | Step::BrokenPath { .. }
                | Step::Insider { .. }
                | Step::Flood { .. }
        )
    };
    steps.retain(|step| !loses(step));
    let planted = [Step::Plant(Plant::Twin { who: 0 }), REFRESH, Step::DeliverAll, Step::Speak { by: 0, frames: 1 }];
    for (at, step) in planted.into_iter().enumerate() {
        steps.insert(steps.len() * (2 + at) / 6, step);
    }
    let script = Script { opening: hosts(3), steps };
    let played = shrink::play(&script, true);
    let broken = played.0.err().unwrap_or_else(|| panic!("a planted mistake is found: {}", played.1));
    let shortest = shrink::shortest(&script, broken.rule).expect("it is found again");
    assert!(shortest.steps.len() <= 5, "{broken}: {:#?}", shortest.steps);
    assert!(shrink::report(0, &shortest, &broken).contains("PLANTED"));
}
