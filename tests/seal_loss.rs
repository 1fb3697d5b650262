//! Seals over a wire that loses packets: how much of what arrives is confirmed, when, and for how many bytes.
//!
//! Frames and seals share the wire and its losses, which are counted in the order of sending. What gets through is
//! 20 to 120 ms late, each packet by itself, so that packets overtake each other by five frames.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, VecDeque},
    time::Duration,
};

use parlor::{
    Suite,
    media::seal::{Finding, SealMode, SealRules},
};
use rand::{RngExt, SeedableRng, rngs::StdRng};

mod sealed;

use sealed::{FRAME, Room, findings, hear, say};

const FRAMES: u32 = 200_000;
const STRICT_FRAMES: u32 = 60_000;
const SEED: u64 = 4;
/// A speech frame of 24 kbit/s.
const OPUS: [u8; 60] = [7; 60];

/// How a wire loses packets.
#[derive(Clone, Copy, PartialEq)]
enum Losses {
    None,
    /// Each by itself.
    Independent(f64),
    /// Four in a row, always.
    Fours(f64),
    /// Two states, one of which loses all, for four packets on average (Gilbert's model).
    Gilbert(f64),
}

impl Losses {
    const ALL: [Self; 5] =
        [Self::Independent(0.05), Self::Fours(0.05), Self::Gilbert(0.05), Self::Fours(0.15), Self::Gilbert(0.15)];

    fn name(self) -> String {
        match self {
            Self::None => "none".into(),
            Self::Independent(share) => format!("{:.0} % independent", share * 100.0),
            Self::Fours(share) => format!("{:.0} % in fours", share * 100.0),
            Self::Gilbert(share) => format!("{:.0} % in bursts of 4 on average", share * 100.0),
        }
    }

    /// What share of the frames that arrive must be confirmed, at the very least.
    fn wanted(self) -> f64 {
        match self {
            Self::None => 1.0,
            Self::Independent(_) => 0.995,
            Self::Fours(share) | Self::Gilbert(share) if share < 0.1 => 0.985,
            Self::Fours(_) | Self::Gilbert(_) => 0.94,
        }
    }
}

struct Wire {
    random: StdRng,
    losses: Losses,
    /// Of a burst of exactly four.
    left: u32,
    bad: bool,
    sent: u64,
    lost: u64,
}

impl Wire {
    fn new(losses: Losses) -> Self {
        Self { random: StdRng::seed_from_u64(SEED), losses, left: 0, bad: false, sent: 0, lost: 0 }
    }

    /// How late the next packet arrives, if it does.
    fn send(&mut self) -> Option<Duration> {
        let lost = match self.losses {
            Losses::None => false,
            Losses::Independent(share) => self.random.random_bool(share),
            Losses::Fours(share) => {
                if self.left == 0 && self.random.random_bool(share / (4.0 - 3.0 * share)) {
                    self.left = 4;
                }
                let lost = self.left > 0;
                self.left = self.left.saturating_sub(1);
                lost
            }
            Losses::Gilbert(share) => {
                let change = if self.bad { 0.25 } else { 0.25 * share / (1.0 - share) };
                self.bad ^= self.random.random_bool(change);
                self.bad
            }
        };
        self.sent += 1;
        self.lost += u64::from(lost);
        (!lost).then(|| Duration::from_micros(self.random.random_range(20_000..120_000)))
    }

    fn lost(&self) -> f64 {
        self.lost as f64 / self.sent as f64
    }
}

/// What became of a call.
struct Told {
    lost: f64,
    /// Frames that arrived.
    received: u64,
    verified: u64,
    /// Frames that were flagged after a second, some of which a late seal confirmed.
    flagged: u64,
    /// How late each frame was played after it had arrived.
    delays: Vec<Duration>,
    seals: u64,
    seal_bytes: u64,
}

impl Told {
    fn verified(&self) -> f64 {
        self.verified as f64 / self.received as f64
    }

    fn played(&self) -> f64 {
        self.delays.len() as f64 / self.received as f64
    }

    fn delay(&self, share: f64) -> Duration {
        self.delays[((self.delays.len() - 1) as f64 * share) as usize]
    }
}

/// Ana speaks without a pause. `reliable`: her seals go over a channel that loses none and keeps their order, but takes
/// up to 300 ms.
fn call(mode: SealMode, every: u8, losses: Losses, reliable: bool, frames: u32) -> Told {
    let mut rules = SealRules::default();
    (rules.mode, rules.every) = (mode, every);
    let room = Room::new(Suite::default(), rules, 3);
    let (mut ana, mut ben) = (room.voice(0, 0), room.voice(1, 0));
    if reliable {
        ana.send_seals_once();
    }
    let mut wire = Wire::new(losses);
    let mut channel_free = Duration::ZERO;
    let mut under_way = BinaryHeap::new();
    let mut packets = VecDeque::new();
    let mut told =
        Told { lost: 0.0, received: 0, verified: 0, flagged: 0, delays: Vec::new(), seals: 0, seal_bytes: 0 };
    // Three seconds of silence at the end, until everything has arrived and been judged.
    for tick in 0..frames + 150 {
        let now = FRAME * tick;
        let mut said = VecDeque::new();
        if tick < frames {
            said.extend(say(&mut ana, &OPUS, now));
        } else {
            said.extend(std::iter::from_fn(|| ana.next_seal(now)));
        }
        for (place, packet) in said.into_iter().enumerate() {
            let is_seal = tick >= frames || place > 0;
            told.seals += u64::from(is_seal);
            told.seal_bytes += if is_seal { packet.len() as u64 } else { 0 };
            let arrives = if is_seal && reliable {
                let late = Duration::from_micros(wire.random.random_range(20_000..300_000));
                channel_free = channel_free.max(now + late);
                Some(channel_free)
            } else {
                wire.send().map(|late| now + late)
            };
            if let Some(arrives) = arrives {
                told.received += u64::from(!is_seal);
                under_way.push(Reverse((arrives, packets.len())));
            }
            packets.push_back(packet);
        }
        while let Some(Reverse((arrives, _))) = under_way.peek()
            && *arrives < now + FRAME
        {
            let Some(Reverse((arrives, at))) = under_way.pop() else { break };
            let packet = std::mem::take(&mut packets[at]);
            told.delays.extend(hear(&mut ben, &packet, arrives).iter().map(|heard| heard.parked_for));
        }
        for finding in findings(&mut ben, now + FRAME) {
            let Finding::Unverified { counters, .. } = finding else { panic!("nobody forges here: {finding:?}") };
            told.flagged += counters.count() as u64;
        }
    }
    let stats = ben.stats();
    assert_eq!((stats.replayed, stats.too_late, stats.forged, stats.impersonated), (0, 0, 0, 0));
    // Told apart to the frame: confirmed, or flagged and never confirmed.
    assert_eq!(
        told.received,
        stats.verified + if mode == SealMode::Strict { stats.unsealed } else { stats.unverified }
    );
    (told.lost, told.verified) = (wire.lost(), stats.verified);
    told.delays.sort();
    told
}

#[test]
fn what_arrives_is_confirmed_though_seals_get_lost_too() {
    println!("live, {FRAMES} frames, 20 to 120 ms late; seals sent twice\n");
    println!("| losses | N | lost | verified, of received | flagged for a time |");
    println!("|---|--:|--:|--:|--:|");
    for losses in Losses::ALL {
        for every in [10, 25, 50] {
            let told = call(SealMode::Live, every, losses, false, FRAMES);
            print(&losses.name(), every, &told);
            assert_eq!(told.played(), 1.0, "live sound waits for nothing");
            assert!(told.verified() >= losses.wanted(), "{}, {every} frames a seal", losses.name());
            let (Losses::Independent(meant) | Losses::Fours(meant) | Losses::Gilbert(meant)) = losses else { continue };
            assert!((told.lost - meant).abs() < 0.005, "{} of {meant}", told.lost);
        }
    }
}

#[test]
fn a_reliable_channel_confirms_all_that_arrives() {
    println!(
        "live, {FRAMES} frames, 20 to 120 ms late; seals once, on a channel that keeps order and takes 20 to 300 ms\n"
    );
    println!("| losses | N | lost | verified, of received | flagged for a time |");
    println!("|---|--:|--:|--:|--:|");
    for losses in [Losses::Independent(0.05), Losses::Gilbert(0.15)] {
        for every in [10, 25, 50] {
            let told = call(SealMode::Live, every, losses, true, FRAMES);
            print(&format!("{}, frames alone", losses.name()), every, &told);
            assert!(told.verified() >= 0.999, "{every} frames a seal");
        }
    }
}

fn print(losses: &str, every: u8, told: &Told) {
    let (verified, flagged) = (told.verified() * 100.0, told.flagged as f64 / told.received as f64 * 100.0);
    println!("| {losses} | {every} | {:.2} % | {verified:.3} % | {flagged:.3} % |", told.lost * 100.0);
}

#[test]
fn strict_sound_comes_half_a_second_later_and_as_much_of_it_is_played_as_is_confirmed() {
    println!("strict, {STRICT_FRAMES} frames, 20 to 120 ms late; delay from arrival to being played\n");
    println!("| losses | seals | N | played, of received | delay, median | p99 | most |");
    println!("|---|---|--:|--:|--:|--:|--:|");
    let kinds = [
        (Losses::None, false),
        (Losses::Independent(0.05), false),
        (Losses::Gilbert(0.05), false),
        (Losses::Gilbert(0.15), false),
        (Losses::Gilbert(0.15), true),
    ];
    for (losses, reliable) in kinds {
        for every in [10, 25, 50] {
            let told = call(SealMode::Strict, every, losses, reliable, STRICT_FRAMES);
            let [median, p99, most] = [0.5, 0.99, 1.0].map(|share| told.delay(share));
            let seals = if reliable { "once, reliably" } else { "twice" };
            let played = told.played() * 100.0;
            println!(
                "| {} | {seals} | {every} | {played:.3} % | {} ms | {} ms | {} ms |",
                losses.name(),
                median.as_millis(),
                p99.as_millis(),
                most.as_millis(),
            );
            let wanted = if reliable { 0.999 } else { losses.wanted() };
            assert!(told.played() >= wanted, "{}, {every} frames a seal", losses.name());
            assert_eq!(told.verified, told.delays.len() as u64);
            // The frames of one seal, and how much later than the first of them it may come: by the network's jitter,
            // and by the second copy or the channel.
            let batch = FRAME * u32::from(every);
            let late = Duration::from_millis(if losses == Losses::None { 100 } else { 350 });
            assert!(median <= batch / 2 + late / 2 && most <= batch + late);
        }
    }
}

#[test]
fn seals_cost_no_more_than_a_third_of_signing_each_packet() {
    println!("bytes of seals at 50 frames a second, header and tag included, over 20 minutes\n");
    println!("| N | a seal | once | | twice | |");
    println!("|--:|--:|--:|--:|--:|--:|");
    for every in [1, 10, 25, 50] {
        let frames = 60_000;
        let seconds = f64::from(frames) * FRAME.as_secs_f64();
        let [once, twice] = [true, false].map(|reliable| call(SealMode::Live, every, Losses::None, reliable, frames));
        let rate = |told: &Told| told.seal_bytes as f64 / seconds;
        println!(
            "| {every} | {:.0} B | {:.0} B/s | {:.2} kbit/s | {:.0} B/s | {:.2} kbit/s |",
            once.seal_bytes as f64 / once.seals as f64,
            rate(&once),
            rate(&once) * 0.008,
            rate(&twice),
            rate(&twice) * 0.008,
        );
        assert_eq!(twice.seals, 2 * once.seals);
        if every == 25 {
            assert!(rate(&once) * 8.0 <= 8_500.0);
            // 64 bytes of signature alone in each packet.
            assert!(rate(&once) * 3.0 <= 64.0 * 50.0);
        }
    }
}
