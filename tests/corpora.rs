//! What fuzzing has found worth keeping, and mutations of it, without a fuzzer: the same targets as in `fuzz/`, over
//! the files of `fuzz/corpus/`, each with a bound on the memory that an input takes.
//!
//! `PARLOR_CORPUS_MUTATIONS=100000 cargo test --release --test corpora` tries more.
#![cfg(any(feature = "opus", feature = "opus-pure"))]

mod forger;
#[path = "seal_attacks/insider.rs"]
#[allow(dead_code, reason = "the targets use their part")]
mod insider;
mod party;
#[path = "common/peak.rs"]
mod peak_memory;
mod sealed;
#[path = "../fuzz/src/seeds.rs"]
mod seeds;
#[path = "../fuzz/src/targets/mod.rs"]
mod targets;

use std::{
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    path::Path,
    sync::{Mutex, PoisonError, atomic::Ordering::SeqCst},
};

use peak_memory::{Counting, MOST, USED};
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use targets::Target;

/// The most that one input may take.
const LIMIT: usize = 32 * 1024 * 1024;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// One at a time, for the counter is the whole process's.
static TURN: Mutex<()> = Mutex::new(());

fn replay(name: &str, mutations: usize) {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let (_, target) = targets::ALL.iter().find(|(other, _)| *other == name).unwrap();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(name);
    let files = std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut files: Vec<_> = files.map(|file| file.unwrap().path()).collect();
    files.sort();
    assert!(!files.is_empty() && files.len() <= 30, "{} files of {name}: keep 1 to 30", files.len());
    let inputs: Vec<Vec<u8>> = files.iter().map(|file| std::fs::read(file).unwrap()).collect();
    // What is kept from input to input is made before anything is counted.
    target(&[]);
    for (file, input) in files.iter().zip(&inputs) {
        run(*target, input, &file.display().to_string());
    }
    let reached = targets::reached();
    for what in deep(name) {
        assert!(reached.contains(what), "no stored input of {name} comes to {what:?}, but to {reached:?}");
    }

    let more = std::env::var("PARLOR_CORPUS_MUTATIONS").ok();
    let mutations = more.map_or(mutations, |count| count.parse().unwrap());
    let mut random = StdRng::seed_from_u64(1);
    for turn in 0..mutations {
        let from = random.random_range(0..inputs.len());
        let input = mutated(&mut random, &inputs, from);
        run(*target, &input, &format!("mutation {turn} of {}", files[from].display()));
    }
}

/// How far stored inputs come: to where the target takes what it was given, and to each kind of thing.
fn deep(name: &str) -> &'static [&'static str] {
    match name {
        "answer" | "knock" | "tree" => &["in"],
        "card" => &["admitted"],
        "charter" => &["taken"],
        "control_message" => &["merged", "a commit", "a word", "what no room reads"],
        "doorplate" => &["read"],
        "ogg" => &["read", "written"],
        "opus" => &["decoded", "restored", "concealed"],
        "payload" => &["leave", "stance", "invitation", "answer", "chat", "reaction", "code"],
        "request" => &["heard", "back", "by mal"],
        "signal" => &["beat", "ping", "ask", "answer", "ask of mal's", "answer of mal's"],
        "snapshot" => &["as it was", "altered", "after turns"],
        "ticket" => &["back"],
        "welcome" => &["in", "in a host's room"],
        "word" => &["mal's", "honest", "of a past epoch", "not theirs, or old", "not sealed"],
        _ => &[],
    }
}

fn run(target: Target, input: &[u8], what: &str) {
    let before = USED.load(SeqCst);
    MOST.store(before, SeqCst);
    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| target(input))) {
        let hex: String = input.iter().map(|byte| format!("{byte:02x}")).collect();
        println!("{what}: {hex}");
        resume_unwind(panic);
    }
    let most = MOST.load(SeqCst).saturating_sub(before);
    assert!(most <= LIMIT, "{what} takes {most} bytes");
}

/// One of the inputs with a few changes, parts of the others among them.
fn mutated(random: &mut StdRng, inputs: &[Vec<u8>], from: usize) -> Vec<u8> {
    let mut out = inputs[from].clone();
    for _ in 0..random.random_range(1..6) {
        let at = random.random_range(0..=out.len());
        match random.random_range(0..6) {
            0 => out.truncate(at),
            1 => {
                let more: Vec<u8> = (0..random.random_range(1..9)).map(|_| random.random()).collect();
                out.splice(at..at, more);
            }
            2 => {
                let other = &inputs[random.random_range(0..inputs.len())];
                let start = random.random_range(0..=other.len());
                let end = random.random_range(start..=other.len().min(start + 64));
                out.splice(at..at, other[start..end].iter().copied());
            }
            3 => drop(out.drain(at..(at + random.random_range(0..9)).min(out.len()))),
            _ if at < out.len() => out[at] = random.random(),
            _ => out.push(random.random()),
        }
    }
    out.truncate(1 << 16);
    out
}

#[test]
#[ignore = "writes the seeds of fuzz/corpus, when a format or what a target chooses from has changed"]
fn seeds() {
    seeds::write(&Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus"));
}

macro_rules! corpora {
    ($($name:ident: $mutations:expr,)*) => {
        $(#[test]
        fn $name() {
            replay(stringify!($name), $mutations);
        })*

        #[test]
        fn every_target_is_replayed_and_has_its_binary() {
            let replayed = [$(stringify!($name)),*];
            let manifest = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz/Cargo.toml")).unwrap();
            for (name, _) in targets::ALL {
                assert!(replayed.contains(name), "{name} is not replayed");
                assert!(manifest.contains(&format!("fuzz_targets/{name}.rs")), "{name} has no binary");
            }
        }
    };
}

corpora! {
    answer: 300,
    card: 500,
    charter: 300,
    clip: 300,
    control_message: 1_000,
    doorplate: 500,
    frame: 2_000,
    gate: 2_000,
    knock: 500,
    link: 5_000,
    ogg: 1_000,
    opus: 300,
    packet: 3_000,
    packet_header: 5_000,
    payload: 500,
    published_keys: 2_000,
    request: 300,
    seal: 500,
    signal: 300,
    snapshot: 500,
    ticket: 300,
    tree: 500,
    wav: 2_000,
    welcome: 300,
    word: 500,
}
