//! What a change of the room costs, in rooms of ten to as many as come in, and while people come and go.
//!
//! Processor time of one thread, by the operating system's count; rayon, on which openmls works, is given no other.

use std::{fs, hint::black_box, thread, time::Duration};

use parlor::Room;

use crate::party::{
    crowd::{Commit, Crowd, Kind, as_listeners, guests, take},
    enter,
};

/// How the room of a column is filled: with so many, or until it takes nobody more.
const SIZES: [Option<usize>; 4] = [Some(10), Some(100), Some(1_000), None];

const CHURN: (usize, usize) = (1_000, 10);

/// What [`table`] is held to, in bytes. Each is exact, whatever machine it runs on.
const LEAF: usize = 225;
const LARGEST: usize = 4_000;
const GARDENED: usize = 2_500;
const EPOCHS: usize = 20;
const CHURNED: usize = 6_000;
const JOIN: usize = 235_000;

/// Has rayon work on the thread that asks it to: what a thread has spent is then all that was spent.
pub fn on_one_thread() {
    rayon::ThreadPoolBuilder::new().num_threads(1).use_current_thread().build_global().expect("nobody was before us");
}

/// What this thread has spent on a processor. The system counts it when it looks at the thread, as when that yields.
pub fn spent() -> Duration {
    thread::yield_now();
    let stat = fs::read_to_string("/proc/thread-self/schedstat").expect("Linux tells it");
    Duration::from_nanos(stat.split(' ').next().and_then(|nanos| nanos.parse().ok()).expect("a number"))
}

/// Medians of several commits of a kind.
#[derive(Clone, Copy)]
struct Cost {
    make: f64,
    take: f64,
    bytes: usize,
}

impl Cost {
    fn of(commits: &[Commit], kind: Kind) -> Self {
        let all = || commits.iter().filter(|commit| commit.kind == kind);
        Self {
            make: quantile(0.5, all().map(|commit| ms(commit.make))),
            take: quantile(0.5, all().map(|commit| ms(commit.take))),
            bytes: quantile(0.5, all().map(|commit| commit.bytes as f64)) as usize,
        }
    }

    fn made(self) -> String {
        format!("{}, {}", time(self.make), size(self.bytes))
    }

    fn taken(self) -> String {
        time(self.take)
    }
}

/// A column of the table.
struct Figures {
    members: usize,
    /// Why there are no more.
    refusal: Option<String>,
    /// Bytes a leaf, where the tree travels apart from the welcome.
    leaf: Option<usize>,
    join: (f64, usize),
    bare: Cost,
    remove: Cost,
    admit: Cost,
    twenty: Cost,
    gardened: Cost,
    /// Commits between the last admission and the last of those whom the host had named.
    epochs: usize,
}

impl Figures {
    fn of(size: Option<usize>) -> Self {
        let (mut crowd, refusal) = match size {
            Some(size) => (Crowd::of(size, 1, spent), None),
            None => fill(),
        };
        let members = crowd.len();
        // In the largest room nobody comes in but for those who go.
        let (few, room): (usize, usize) = if refusal.is_some() { (1, 40) } else { (5, 0) };
        crowd.refresh();
        if room > 0 {
            let some = crowd.some(room);
            crowd.remove(&some);
        }
        let mut trees = Vec::new();
        let join = quantile(
            0.5,
            (0..few).map(|_| {
                let (guest, admission) = crowd.look_in().expect("there is a place");
                trees.push((admission.welcome.len(), admission.tree.as_ref().map(Vec::len)));
                let before = spent();
                black_box(enter(guest, &admission).expect("a good welcome"));
                ms(spent() - before)
            }),
        );
        let (welcome, tree) = trees[0];
        let bare = measured(&mut crowd, Kind::Refresh, |crowd| (0..2 * few).for_each(|_| crowd.refresh()));
        let mut each = Vec::new();
        for _ in 0..few {
            let from = crowd.commits.len();
            let one = crowd.some(1);
            crowd.remove(&one);
            crowd.admit(1).expect("there is a place");
            each.extend_from_slice(&crowd.commits[from..]);
        }
        let twenty = measured(&mut crowd, Kind::Admission, |crowd| {
            for round in 0..few.div_ceil(2) {
                let batch = crowd.admit(20).expect("there is a place");
                if round + 1 < few.div_ceil(2) {
                    crowd.remove(&batch);
                }
            }
        });
        let epochs = crowd.settle();
        let gardened = measured(&mut crowd, Kind::Refresh, |crowd| (0..2 * few).for_each(|_| crowd.refresh()));
        Self {
            members,
            refusal,
            leaf: tree.map(|tree| tree / (members - room + 1)),
            join: (join, welcome + tree.unwrap_or_default()),
            bare,
            remove: Cost::of(&each, Kind::Removal),
            admit: Cost::of(&each, Kind::Admission),
            twenty,
            gardened,
            epochs,
        }
    }
}

/// As many as come in, 256 at a time, and then ever fewer; and why nobody comes after them.
fn fill() -> (Crowd, Option<String>) {
    let mut crowd = Crowd::new(1, spent);
    let (mut step, mut refusal) = (256, None);
    while step > 0 {
        match crowd.admit(step) {
            Ok(_) => {}
            Err(error) => {
                refusal = Some(error.to_string());
                step /= 2;
            }
        }
    }
    (crowd, refusal)
}

fn measured(crowd: &mut Crowd, kind: Kind, run: impl FnOnce(&mut Crowd)) -> Cost {
    let from = crowd.commits.len();
    run(crowd);
    Cost::of(&crowd.commits[from..], kind)
}

/// Prints the table, and with `check` holds it to its bounds.
pub fn table(check: bool) {
    println!("What a change of the room costs, on one core");
    let columns: Vec<Figures> = SIZES.into_iter().map(Figures::of).collect();
    row("members", &columns, |at| at.members.to_string());
    println!("|---|{}", "--:|".repeat(columns.len()));
    row("a leaf of a bare tree", &columns, |at| at.leaf.map_or("in the welcome".into(), |leaf| format!("{leaf} B")));
    row("refresh in a bare tree: make", &columns, |at| at.bare.made());
    row("a member takes it", &columns, |at| at.bare.taken());
    row("refresh in a gardened tree: make", &columns, |at| at.gardened.made());
    row("a member takes it", &columns, |at| at.gardened.taken());
    row("epochs from the last admission to that", &columns, |at| at.epochs.to_string());
    row("admit one: make", &columns, |at| at.admit.made());
    row("a member takes it", &columns, |at| at.admit.taken());
    row("admit twenty: make", &columns, |at| at.twenty.made());
    row("a member takes it", &columns, |at| at.twenty.taken());
    row("a newcomer costs each member", &columns, |at| time((at.twenty.take - at.admit.take) / 19.0));
    row("remove one from a bare tree: make", &columns, |at| at.remove.made());
    row("a member takes it", &columns, |at| at.remove.taken());
    row("join: welcome and tree", &columns, |at| format!("{}, {}", time(at.join.0), size(at.join.1)));
    let largest = columns.last().expect("there are some");
    let refusal = largest.refusal.as_deref().unwrap_or_default();
    println!("\nafter {} the next is refused: {refusal}\n", largest.members);

    let churned = churn();
    if check {
        let thousand = &columns[2];
        let bounds = [
            ("a leaf", thousand.leaf.unwrap_or_default(), LEAF),
            ("a refresh in a gardened tree", thousand.gardened.bytes, GARDENED),
            ("epochs to a gardened tree", thousand.epochs, EPOCHS),
            ("the median commit while people come and go", churned, CHURNED),
            ("a join", thousand.join.1, JOIN),
        ];
        for (what, is, bound) in bounds {
            assert!(is <= bound, "{what}: {is}, and {bound} are allowed");
        }
        assert!(largest.members >= LARGEST, "the largest room has {} members", largest.members);
    }
}

fn row(name: &str, columns: &[Figures], cell: impl Fn(&Figures) -> String) {
    let cells: Vec<String> = columns.iter().map(cell).collect();
    println!("| {name} | {} |", cells.join(" | "));
}

/// A gardened room whose members come and go. Gives the median size of its commits with a path.
fn churn() -> usize {
    let (members, minutes) = CHURN;
    let mut crowd = Crowd::of(members, 2, spent);
    crowd.settle();
    let (from, lost) = (crowd.commits.len(), crowd.lost);
    crowd.churn(minutes);
    let commits = &crowd.commits[from..];
    let with_path: Vec<&Commit> = commits.iter().filter(|commit| commit.kind != Kind::Admission).collect();
    let count = |kind| commits.iter().filter(|commit| commit.kind == kind).count();
    let bytes = |kind: &dyn Fn(Kind) -> bool, at| {
        quantile(at, with_path.iter().filter(|commit| kind(commit.kind)).map(|commit| commit.bytes as f64)) as usize
    };
    println!("{members} members for {minutes} minutes, of whom 1 % leave each minute, and as many come\n");
    println!("| commits with a path | number | median | 95 % |\n|---|--:|--:|--:|");
    let rows: [(&str, &dyn Fn(Kind) -> bool); 3] = [
        ("all", &|_| true),
        ("the host's", &|kind| kind != Kind::Gardening),
        ("of those whom the host has named", &|kind| kind == Kind::Gardening),
    ];
    for (who, kind) in rows {
        let number = with_path.iter().filter(|commit| kind(commit.kind)).count();
        println!("| {who} | {number} | {} | {} |", size(bytes(kind, 0.5)), size(bytes(kind, 0.95)));
    }
    let spent: Duration = commits.iter().map(|commit| commit.take).sum();
    let made: Duration = commits.iter().filter(|commit| commit.kind != Kind::Gardening).map(|commit| commit.make).sum();
    let second = minutes as f64 * 60.0;
    println!(
        "\n{} admissions, {} removals, {} refreshes, {} of those who were named; {} lost a race. \
         A member takes all that in {:.2} % of a core, {:.0} B a second; what the host makes is {:.2} % more.",
        count(Kind::Admission),
        count(Kind::Removal),
        count(Kind::Refresh),
        count(Kind::Gardening),
        crowd.lost - lost,
        spent.as_secs_f64() / second * 100.0,
        commits.iter().map(|commit| commit.bytes as f64).sum::<f64>() / second,
        made.as_secs_f64() / second * 100.0,
    );
    bytes(&|_| true, 0.5)
}

/// Has a member of a room of `n` take twenty commits, in calls of [`profiled`].
pub fn profile(what: &str, n: usize) {
    let mut crowd = Crowd::of(n, 1, spent);
    crowd.refresh();
    let (host, mut commits) = (crowd.host(), Vec::new());
    for round in 0..20 {
        let commit = match what {
            "refresh" => host.refresh().expect("a refresh"),
            "admit" => host.admit_all(&as_listeners(&guests(10_000 + round, 1))).expect("an admission").commit,
            other => panic!("{other:?} is none of refresh and admit"),
        };
        host.receive(&commit, Duration::ZERO).expect("the host's own commit");
        commits.push(commit);
    }
    let member: &mut Room = crowd.member();
    let before = spent();
    commits.iter().for_each(|commit| profiled(member, commit));
    println!("{what} at {n}: {}", time(ms(spent() - before) / commits.len() as f64));
}

/// What a profiler counts.
#[inline(never)]
fn profiled(member: &mut Room, commit: &[u8]) {
    take(member, commit, Duration::ZERO).expect("a commit");
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

fn time(ms: f64) -> String {
    if ms < 10.0 { format!("{ms:.2} ms") } else { format!("{ms:.0} ms") }
}

fn size(bytes: usize) -> String {
    if bytes < 1_000 { format!("{bytes} B") } else { format!("{:.1} kB", bytes as f64 / 1e3) }
}

/// The value that such a part of them is below.
fn quantile(part: f64, values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    let at = (values.len() as f64 * part) as usize;
    values.get(at.min(values.len().saturating_sub(1))).copied().unwrap_or(f64::NAN)
}
