//! What membership costs: admit, admit twenty, remove, join, process, in rooms of 2 to 1,000 members.
//!
//! `cargo bench --bench room`; a closing table has the mean of each and the size of its message. `-- --table` prints what
//! a change costs on one core, in rooms up to the largest, what it costs while people come and go, and what it costs to keep
//! the room. `--check` holds all that to its bounds. `--profile refresh 1000`, or `admit`, has a member take twenty commits
//! of a room of a thousand, for a profiler: `valgrind --tool=callgrind --toggle-collect='*profiled*'`.

mod figures;
#[path = "../tests/party/mod.rs"]
mod party;

use std::{
    collections::BTreeMap,
    hint::black_box,
    time::{Duration, Instant},
};

use criterion::{BenchmarkId, Criterion, SamplingMode};
use parlor::{
    Admission, Card, Guest, Identity, Kept, Role, Room,
    room::Settings,
    vault::{MemoryVault, VaultKey},
};

const SIZES: [usize; 4] = [2, 10, 100, 1_000];
const BATCH: usize = 20;
const NOW: Duration = Duration::ZERO;

/// A room of `n`: its host, and one more who follows. The others are in the tree and need no process of their own.
struct Stage {
    host: Room,
    member: Room,
    /// A batch of people at the door.
    cards: Vec<(Card, Role)>,
}

fn guest(name: &str) -> Guest {
    Guest::new(Identity::generate(name).expect("randomness")).expect("a card")
}

fn enter(guest: Guest, admission: &Admission) -> Room {
    let entered = match &admission.tree {
        None => guest.enter(&admission.welcome),
        Some(tree) => guest.enter_with_tree(&admission.welcome, tree),
    };
    entered.expect("a good welcome").0
}

impl Stage {
    fn new(n: usize) -> Self {
        let (mut host, _) =
            Room::create(Identity::generate("host").expect("randomness"), Settings::default()).expect("a room");
        let guests: Vec<Guest> = (1..n).map(|i| guest(&format!("guest {i}"))).collect();
        let cards: Vec<(Card, Role)> = guests.iter().map(|guest| (guest.card().clone(), Role::Listener)).collect();
        let admission = host.admit_all(&cards).expect("an admission");
        host.receive(&admission.commit, NOW).expect("one's own commit");
        let member = enter(guests.into_iter().next_back().expect("a guest"), &admission);
        let cards = (0..BATCH).map(|i| (guest(&format!("late {i}")).card().clone(), Role::Listener)).collect();
        Self { host, member, cards }
    }

    /// Has the host commit and everybody follow; gives what the other member took for it.
    fn process(&mut self, commit: &[u8]) -> Duration {
        self.host.receive(commit, NOW).expect("one's own commit");
        let start = Instant::now();
        black_box(self.member.receive(commit, NOW).expect("a commit"));
        start.elapsed()
    }
}

/// Mean time and message size by operation and room size.
#[derive(Default)]
struct Table(BTreeMap<(usize, &'static str), BTreeMap<usize, Cell>>);

/// Total time, how many times, bytes of the last message.
type Cell = (Duration, u64, usize);

impl Table {
    fn add(&mut self, row: (usize, &'static str), n: usize, time: Duration, times: u64, bytes: usize) {
        let cell = self.0.entry(row).or_default().entry(n).or_default();
        *cell = (cell.0 + time, cell.1 + times, bytes);
    }

    fn print(&self) {
        println!("\n{:<34}{}", "members", SIZES.map(|n| format!("{n:>20}")).concat());
        for ((_, name), cells) in &self.0 {
            let cells: String = SIZES
                .iter()
                .map(|n| match cells.get(n) {
                    Some((time, times, bytes)) => {
                        let ms = time.as_secs_f64() * 1e3 / *times as f64;
                        format!("{:>20}", format!("{ms:.2} ms {bytes:>7} B"))
                    }
                    None => format!("{:>20}", "-"),
                })
                .collect();
            println!("{name:<34}{cells}");
        }
    }
}

fn of_several(times: u32, mut run: impl FnMut() -> Duration) -> f64 {
    median((0..times).map(|_| run().as_secs_f64() * 1e3).collect())
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// What it costs to keep a room, against what the same message costs without: for each, milliseconds and bytes.
fn keeping(check: bool) {
    let key = || VaultKey::from_bytes(&[7; 32]);
    println!("\n{:<10}{:>12}{:>34}{:>22}{:>12}{:>34}", "members", "commit", "whole", "restore", "text", "text, kept");
    let mut increments = Vec::new();
    for n in [10, 100, 1_000] {
        let Stage { mut host, mut member, .. } = Stage::new(n);
        let secret = [5; 32];
        // The kept one comes in last, so that its identity can be given again.
        let guest = Guest::new(Identity::from_secret("kept", &secret).expect("a name")).expect("a card");
        let admission = host.admit(guest.card(), Role::Listener).expect("an admission");
        host.receive(&admission.commit, NOW).expect("one's own commit");
        member.receive(&admission.commit, NOW).expect("a commit");
        let mut kept = Kept::new(enter(guest, &admission), MemoryVault::new(), key()).expect("memory");
        let commit = of_several(9, || {
            let refresh = host.refresh().expect("a refresh");
            host.receive(&refresh, NOW).expect("one's own commit");
            kept.act(|room| room.receive(&refresh, NOW)).expect("memory").expect("a commit");
            let start = Instant::now();
            black_box(member.receive(&refresh, NOW).expect("a commit"));
            start.elapsed()
        });
        let (mut plain, mut stored, mut bytes) = (Vec::new(), Vec::new(), 0);
        for round in 0..60 {
            let line = host.say("good evening to all of you", None).expect("a text").1;
            host.receive(&line, NOW).expect("one's own text");
            // By turns, so that neither has the warm caches.
            for is_kept in [round % 2 == 0, round % 2 == 1] {
                let before = kept.vault().bytes().map_or(0, <[u8]>::len);
                let start = Instant::now();
                if is_kept {
                    black_box(kept.act(|room| room.receive(&line, NOW)).expect("memory").expect("a text"));
                    stored.push(start.elapsed().as_secs_f64() * 1e3);
                    bytes = kept.vault().bytes().map_or(0, <[u8]>::len) - before;
                } else {
                    black_box(member.receive(&line, NOW).expect("a text"));
                    plain.push(start.elapsed().as_secs_f64() * 1e3);
                }
            }
        }
        let (text, increment) = (median(plain), median(stored));
        let mut whole = Vec::new();
        let mut room = kept.into_parts().0;
        let save = of_several(9, || {
            let start = Instant::now();
            whole = room.snapshot(&key()).expect("a snapshot");
            start.elapsed()
        });
        let restore = of_several(9, || {
            let identity = Identity::from_secret("kept", &secret).expect("a name");
            let start = Instant::now();
            black_box(Room::restore(identity, &key(), &whole, NOW).expect("a room"));
            start.elapsed()
        });
        println!(
            "{n:<10}{:>12}{:>34}{:>22}{:>12}{:>34}",
            format!("{commit:.2} ms"),
            format!("{save:.2} ms ({:.2} x) {} B", save / commit, whole.len()),
            format!("{restore:.2} ms ({:.2} x)", restore / commit),
            format!("{text:.3} ms"),
            format!("{increment:.3} ms ({:.2} x) {bytes} B", increment / text),
        );
        increments.push((increment, text, bytes));
    }
    if check {
        let (first, last) = (increments[0], increments[increments.len() - 1]);
        assert!(last.2 <= first.2 + 64, "an increment grows with the room: {increments:?}");
        assert!(last.0 < last.1 * 2.0 + 0.1, "an increment takes longer in a large room: {increments:?}");
    }
}

fn main() {
    let has = |flag: &str| std::env::args().any(|argument| argument == flag);
    let arguments: Vec<String> = std::env::args().collect();
    if let Some(at) = arguments.iter().position(|argument| argument == "--profile") {
        let [what, n] = &arguments[at + 1..at + 3] else { panic!("--profile refresh 1000") };
        figures::on_one_thread();
        return figures::profile(what, n.parse().expect("a number of members"));
    }
    if has("--table") || has("--check") {
        figures::on_one_thread();
        figures::table(has("--check"));
        return keeping(has("--check"));
    }
    let mut criterion = Criterion::default().configure_from_args();
    let mut table = Table::default();
    for n in SIZES {
        let mut stage = Stage::new(n);
        let mut group = criterion.benchmark_group("room");
        group
            .sample_size(10)
            .sampling_mode(SamplingMode::Flat)
            .warm_up_time(Duration::from_millis(300))
            .measurement_time(Duration::from_secs(2));
        let mut measure = |row: (usize, &'static str), op: &mut dyn FnMut(&mut Stage) -> (Duration, usize)| {
            group.bench_function(BenchmarkId::new(row.1, n), |bencher| {
                bencher.iter_custom(|times| {
                    let (mut total, mut bytes) = (Duration::ZERO, 0);
                    for _ in 0..times {
                        let (time, size) = op(&mut stage);
                        total += time;
                        bytes = size;
                    }
                    table.add(row, n, total, times, bytes);
                    total
                });
            });
        };

        // Before the others: those make and abandon more commits in one epoch than MLS lets a receiver skip.
        measure((4, "process another's refresh"), &mut |stage| {
            let commit = stage.host.refresh().expect("a refresh");
            (stage.process(&commit), commit.len())
        });
        measure((5, "process a change of role"), &mut |stage| {
            let me = stage.member.me().expect("a member").clone();
            let role = if me.role == Role::Listener { Role::Speaker } else { Role::Listener };
            let commit = stage.host.set_role(&me.id, role).expect("a change of role");
            (stage.process(&commit), commit.len())
        });
        measure((0, "admit one (commit)"), &mut |stage| {
            let card = stage.cards[0].0.clone();
            let start = Instant::now();
            let admission = black_box(stage.host.admit(&card, Role::Listener).expect("an admission"));
            let time = start.elapsed();
            stage.host.abandon();
            (time, admission.commit.len())
        });
        measure((1, "admit twenty at once (commit)"), &mut |stage| {
            let start = Instant::now();
            let admission = black_box(stage.host.admit_all(&stage.cards).expect("an admission"));
            let time = start.elapsed();
            stage.host.abandon();
            (time, admission.commit.len())
        });
        measure((2, "remove one (commit)"), &mut |stage| {
            let member = stage.member.me().expect("a member").id;
            let start = Instant::now();
            let commit = black_box(stage.host.remove(&member).expect("a removal"));
            let time = start.elapsed();
            stage.host.abandon();
            (time, commit.len())
        });
        measure((3, "join (welcome and tree)"), &mut |stage| {
            let guest = guest("late");
            let admission = stage.host.admit(guest.card(), Role::Listener).expect("an admission");
            stage.host.abandon();
            let start = Instant::now();
            black_box(enter(guest, &admission));
            (start.elapsed(), admission.welcome.len() + admission.tree.map_or(0, |tree| tree.len()))
        });
        group.finish();
    }
    table.print();
    keeping(false);
    criterion.final_summary();
}
