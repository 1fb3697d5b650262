//! What a peer is, and the race: rounds of small batches, the peers by turns.

use std::{
    hint::black_box,
    time::{Duration, Instant},
};

use crate::allocations;

/// The length of a frame in bytes.
pub const FRAME: usize = 120;
/// How many frames are sealed, then opened, before it is the next peer's turn.
pub const BATCH: usize = 64;
/// Batches before the first that counts. They take a frame's counter to 1,023: 20 s into a call.
const WARM_UP: usize = 16;

/// The frames of one batch.
pub type Frames = [[u8; FRAME]; BATCH];

/// Whose row it is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Parlor itself.
    Parlor,
    /// A peer that the bar is for.
    Peer,
    /// Something to read the others by.
    Reference,
}

/// A sender and a receiver with keys, and room for the packets of one batch. Every buffer is the peer's own and is used
/// again, as far as its API can.
pub trait Peer {
    const KIND: Kind;
    /// What it says in the table.
    fn name(&self) -> String;
    /// What a seal and an open of it do.
    fn includes(&self) -> &'static str;
    /// Seals the next frame into the packet buffer `slot`.
    fn seal(&mut self, slot: usize, frame: &[u8]);
    /// Opens the packet in `slot`, which arrived at `now`, once; gives its frame.
    fn open(&mut self, slot: usize, now: Duration) -> &[u8];
    /// The packet in `slot`, before it was opened.
    fn packet(&self, slot: usize) -> &[u8];
}

/// A [`Peer`] behind one dynamic call a batch; the calls within are static.
pub trait Row {
    fn kind(&self) -> Kind;
    fn name(&self) -> String;
    fn includes(&self) -> &'static str;
    /// Seals and opens a batch and asserts that the frames came back; gives the packets.
    fn packets(&mut self, frames: &Frames) -> Vec<Vec<u8>>;
    /// Seals and opens a batch; gives what each half cost, as `cost` counts.
    fn batch(&mut self, frames: &Frames, now: Duration, cost: fn() -> u64) -> Halves<u64>;
}

/// A seal and an open.
#[derive(Clone, Copy, Debug)]
pub struct Halves<T> {
    pub seal: T,
    pub open: T,
}

impl<P: Peer> Row for P {
    fn kind(&self) -> Kind {
        P::KIND
    }

    fn name(&self) -> String {
        Peer::name(self)
    }

    fn includes(&self) -> &'static str {
        Peer::includes(self)
    }

    fn packets(&mut self, frames: &Frames) -> Vec<Vec<u8>> {
        let mut packets = Vec::with_capacity(BATCH);
        for (slot, frame) in frames.iter().enumerate() {
            self.seal(slot, frame);
            packets.push(self.packet(slot).to_vec());
        }
        for (slot, frame) in frames.iter().enumerate() {
            assert_eq!(self.open(slot, Duration::ZERO), frame, "the frame that was sealed comes back");
        }
        packets
    }

    fn batch(&mut self, frames: &Frames, now: Duration, cost: fn() -> u64) -> Halves<u64> {
        let start = cost();
        for (slot, frame) in frames.iter().enumerate() {
            self.seal(slot, black_box(frame));
        }
        let sealed = cost();
        for slot in 0..BATCH {
            black_box(self.open(slot, now));
        }
        let opened = cost();
        Halves { seal: sealed - start, open: opened - sealed }
    }
}

/// What came of one row.
pub struct Outcome {
    pub name: String,
    pub kind: Kind,
    /// Nanoseconds a frame, of each round.
    pub rounds: Vec<Halves<f64>>,
    /// Heap allocations a frame.
    pub allocations: Halves<f64>,
    /// Bytes of a packet beyond its frame, 20 s into a call.
    pub overhead: usize,
}

/// All rows, by turns.
pub struct Race {
    rows: Vec<Box<dyn Row>>,
}

impl Race {
    pub fn new(rows: Vec<Box<dyn Row>>) -> Self {
        Self { rows }
    }

    /// Runs `rounds` rounds, each with one batch of every row.
    pub fn run(mut self, rounds: usize) -> Vec<Outcome> {
        let mut outcomes: Vec<Outcome> = self.rows.iter_mut().map(|row| warm_up(row.as_mut(), rounds)).collect();
        let clock = Instant::now();
        let count = self.rows.len();
        for (round, frames) in batches().take(rounds).enumerate() {
            for turn in 0..count {
                // Another row begins each round, and every other round goes backwards: nobody always follows the same.
                let turn = if round % 2 == 0 { turn } else { count - 1 - turn };
                let i = (round / 2 + turn) % count;
                let nanos = self.rows[i].batch(&frames, clock.elapsed(), nanoseconds);
                outcomes[i].rounds.push(a_frame(nanos));
            }
        }
        outcomes
    }
}

/// Checks that frames come back, and takes what does not depend on time.
fn warm_up(row: &mut dyn Row, rounds: usize) -> Outcome {
    let mut overhead = 0;
    for frames in batches().take(WARM_UP) {
        overhead = row.packets(&frames).last().map_or(0, Vec::len) - FRAME;
    }
    let frames = batches().next().expect("batches do not end");
    let allocations = a_frame(allocations::counting(|| row.batch(&frames, Duration::ZERO, allocations::so_far)));
    Outcome { name: row.name(), kind: row.kind(), rounds: Vec::with_capacity(rounds), allocations, overhead }
}

/// Frames of bytes that look random, as Opus does, and are the same in each run.
pub fn batches() -> impl Iterator<Item = Frames> {
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    std::iter::repeat_with(move || {
        let mut frames = [[0; FRAME]; BATCH];
        for byte in frames.as_flattened_mut() {
            // xorshift64
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            *byte = state as u8;
        }
        frames
    })
}

fn nanoseconds() -> u64 {
    static START: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
    START.get_or_init(Instant::now).elapsed().as_nanos() as u64
}

fn a_frame(batch: Halves<u64>) -> Halves<f64> {
    Halves { seal: batch.seal as f64 / BATCH as f64, open: batch.open as f64 / BATCH as f64 }
}
