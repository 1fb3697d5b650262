//! What a frame costs, beside the bare AEAD of the same backend.
//!
//! ```sh
//! cargo bench --bench frame                  # criterion's figures, then the table of ratios
//! cargo bench --bench frame -- --quick       # the same, sooner
//! cargo bench --bench frame -- --table       # the table alone
//! ```
//!
//! The bare AEAD is the library crate called directly on a key made beforehand, in place, with additional data of a
//! header's length. To seal, either side copies the frame into the packet. To open, either side is handed packets
//! that lie where they arrived, as a socket leaves them: they were put there before the clock ran. So the ratio
//! is what header, counter, key lookup, replay window and errors cost. No replay window is switched off: each packet
//! is opened once by one voice.
//!
//! For the table both are measured in turn, in short batches, in this one run; a ratio is the median over the pairs.

use std::{
    hint::black_box,
    time::{Duration, Instant},
};

use bare::{Bare, HEADER, TAG, kinds, median, run};
use criterion::{BenchmarkId, Criterion};
use parlor::{
    EpochKeys, KeyIdLayout, LeafIndex, MemberId, Suite, Voice,
    media::{Backend, Speaker},
};
use zeroize::Zeroizing;

mod bare;

const SIZES: [usize; 5] = [20, 60, 120, 160, 320];
/// Packets of a batch: of one header length, within one replay window of each other.
const BATCH: usize = 100;

fn main() {
    let all = |criterion: &mut Criterion| kinds().for_each(|(suite, backend)| figures(criterion, suite, backend));
    run(all, |quick| table(if quick { 300 } else { 1500 }));
}

/// Criterion's figures, a batch of packets an iteration, shown a packet.
fn figures(criterion: &mut Criterion, suite: Suite, backend: Backend) {
    let mut group = criterion.benchmark_group(format!("{suite:?}/{backend:?}"));
    for size in SIZES {
        let mut stand = Stand::new(suite, backend, size);
        for what in What::ALL {
            group.bench_function(BenchmarkId::new(what.name(), size), |bencher| {
                bencher.iter_custom(|times| {
                    let mut spent = Duration::ZERO;
                    let batches = times.div_ceil(BATCH as u64);
                    for _ in 0..batches {
                        spent += stand.batch(what);
                    }
                    spent.mul_f64(times as f64 / (batches * BATCH as u64) as f64)
                });
            });
        }
    }
    group.finish();
}

fn table(rounds: usize) {
    println!("\nnanoseconds a frame, and against the bare AEAD of the same backend (medians of {rounds} pairs)\n");
    println!("| suite, backend | bytes | seal | bare | ratio | open | bare | ratio | refuse forged | of a good open |");
    println!("|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|");
    for (suite, backend) in kinds() {
        for size in SIZES {
            let mut stand = Stand::new(suite, backend, size);
            let mut rows = vec![[0.0; 5]; rounds];
            for (round, row) in rows.iter_mut().enumerate() {
                // In turn, and in the other order every other round: neither is always the one with the warm cache.
                for at in 0..What::ALL.len() {
                    let at = if round % 2 == 0 { at } else { What::ALL.len() - 1 - at };
                    row[at] = stand.batch(What::ALL[at]).as_nanos() as f64 / BATCH as f64;
                }
            }
            let [seal, bare_seal, open, bare_open, forged] = [0, 1, 2, 3, 4].map(|at| median(&rows, |row| row[at]));
            println!(
                "| {suite:?}, {backend:?} | {size} | {seal:.0} | {bare_seal:.0} | {:.3} | {open:.0} | {bare_open:.0} | {:.3} | {forged:.0} | {:.3} |",
                median(&rows, |row| row[0] / row[1]),
                median(&rows, |row| row[2] / row[3]),
                median(&rows, |row| row[4] / row[2]),
            );
        }
    }
}

#[derive(Clone, Copy)]
enum What {
    Seal,
    BareSeal,
    Open,
    BareOpen,
    RefuseForged,
}

impl What {
    const ALL: [Self; 5] = [Self::Seal, Self::BareSeal, Self::Open, Self::BareOpen, Self::RefuseForged];

    fn name(self) -> &'static str {
        match self {
            Self::Seal => "seal",
            Self::BareSeal => "seal, bare AEAD",
            Self::Open => "open",
            Self::BareOpen => "open, bare AEAD",
            Self::RefuseForged => "refuse forged",
        }
    }
}

/// One suite, backend and size: a speaker, a listener, the bare AEAD, and a batch of packets.
struct Stand {
    suite: Suite,
    backend: Backend,
    frame: Vec<u8>,
    packets: Vec<Vec<u8>>,
    bare_packets: Vec<Vec<u8>>,
    forged: Vec<Vec<u8>>,
    arrived: Vec<u8>,
    buffer: Vec<u8>,
    bare: Bare,
}

impl Stand {
    fn new(suite: Suite, backend: Backend, size: usize) -> Self {
        let frame: Vec<u8> = (0..size).map(|at| at as u8).collect();
        let bare = Bare::new(suite, backend);
        let mut packets = Vec::new();
        let mut ana = voice(suite, backend, 1);
        // The first frames have a shorter header.
        (0..8).for_each(|_| drop(ana.seal(&frame).unwrap()));
        for _ in 0..BATCH {
            packets.push(ana.seal(&frame).unwrap());
        }
        assert!(packets.iter().all(|packet| packet.len() == HEADER + size + TAG));
        let mut bare_packets = packets.clone();
        for (nonce, packet) in bare_packets.iter_mut().enumerate() {
            packet[HEADER..HEADER + size].copy_from_slice(&frame);
            bare.seal(nonce as u64, packet);
        }
        let mut forged = packets.clone();
        forged.iter_mut().for_each(|packet| packet[HEADER] ^= 1);
        let (arrived, buffer) = (packets.concat(), vec![0; HEADER + size + TAG]);
        Self { suite, backend, frame, packets, bare_packets, forged, arrived, buffer, bare }
    }

    /// Runs a batch once and gives the time it took. What prepares it is not counted.
    fn batch(&mut self, what: What) -> Duration {
        let size = self.frame.len();
        match what {
            What::Seal => {
                let mut ana = voice(self.suite, self.backend, 1);
                (0..8).for_each(|_| drop(ana.seal(&self.frame).unwrap()));
                let start = Instant::now();
                for _ in 0..BATCH {
                    let len = ana.seal_into(black_box(&self.frame), black_box(&mut self.buffer));
                    black_box(len.is_ok());
                }
                start.elapsed()
            }
            What::BareSeal => {
                let start = Instant::now();
                for nonce in 0..BATCH as u64 {
                    let (frame, buffer) = (black_box(&self.frame), black_box(&mut self.buffer));
                    buffer[HEADER..HEADER + size].copy_from_slice(frame);
                    self.bare.seal(nonce, buffer);
                }
                start.elapsed()
            }
            What::Open => self.open_each(|stand| &stand.packets, true),
            What::BareOpen => {
                let _ = self.arrive(|stand| &stand.bare_packets);
                let start = Instant::now();
                for (nonce, packet) in (0..).zip(self.arrived.chunks_exact_mut(HEADER + size + TAG)) {
                    assert!(black_box(self.bare.open(nonce, black_box(packet))));
                }
                start.elapsed()
            }
            What::RefuseForged => self.open_each(|stand| &stand.forged, false),
        }
    }

    /// Times a fresh voice over a batch of packets, all of which it must open, or none.
    fn open_each(&mut self, packets: fn(&Self) -> &Vec<Vec<u8>>, good: bool) -> Duration {
        let mut ben = voice(self.suite, self.backend, 2);
        let arrived = self.arrive(packets);
        let start = Instant::now();
        for packet in arrived {
            let heard = ben.open_in_place(black_box(packet), Duration::ZERO);
            assert_eq!(black_box(&heard).is_ok(), good);
        }
        start.elapsed()
    }

    /// Puts a batch of packets where they arrive, one behind the other.
    fn arrive(&mut self, packets: impl Fn(&Self) -> &Vec<Vec<u8>>) -> impl Iterator<Item = &mut [u8]> {
        let bytes = packets(self).concat();
        self.arrived.copy_from_slice(&bytes);
        self.arrived.chunks_exact_mut(HEADER + self.frame.len() + TAG)
    }
}

/// A room of three with two on stage, heard from leaf `me`.
fn voice(suite: Suite, backend: Backend, me: u32) -> Voice {
    let stage = [0, 1].map(|leaf| Speaker { leaf: LeafIndex(leaf), id: MemberId::from_bytes([leaf as u8; 32]) });
    let base_key = Zeroizing::new(vec![7; suite.key_len()]);
    // Epoch 16 on eight bits: two bytes of key id.
    EpochKeys::new(suite, KeyIdLayout::default(), 16, base_key, LeafIndex(me), stage.to_vec(), Duration::ZERO)
        .and_then(|keys| keys.with_backend(backend))
        .map(Voice::new)
        .unwrap()
}
