//! What it costs that a voice is the person's: seals by themselves, and frames in a room that seals.
//!
//! ```sh
//! cargo bench --bench seal                  # criterion's figures, then the tables
//! cargo bench --bench seal -- --quick       # the same, sooner
//! cargo bench --bench seal -- --table       # the tables alone
//! ```
//!
//! *Sign* is [`Voice::next_seal`] when a seal is due, *verify* is [`Voice::open_in_place`] of that packet: encoding,
//! encryption, signature and what the listener remembers. What a second of speech costs is everything that seals add:
//! the same 50 frames said and heard in a room that seals, hashes, second copies and the look for what lacks a seal
//! included, less the same in a room that does not.
//!
//! A frame is measured beside the bare AEAD and SHA-256 of the same packet by the same crates, as in the bench `frame`:
//! in turn, in short batches, in this one run; a ratio is the median over the pairs. Seals are made and taken between
//! the frames, off the clock.

use std::{
    hint::black_box,
    sync::LazyLock,
    time::{Duration, Instant},
};

use bare::{Bare, HEADER, TAG, kinds, median, run};
use criterion::{BenchmarkId, Criterion};
use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey, verify_batch};
use parlor::{
    EpochKeys, Error, Identity, KeyIdLayout, LeafIndex, Suite, Voice,
    media::{
        Backend, MAX_OVERHEAD, Speaker,
        seal::{MediaCertificate, MediaKey, SealKeys, SealRules},
    },
};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

mod bare;

/// Frames a seal covers.
const EVERY: [u8; 4] = [1, 10, 25, 50];
const SIZES: [usize; 2] = [60, 120];
/// Frames between two seals where frames are measured, and how often.
const RUN: u8 = 25;
const RUNS: usize = 4;
const BATCH: usize = RUN as usize * RUNS;
/// Frames after each seal that are off the clock too: what checking a signature puts out of the caches is counted in
/// what a listener costs.
const WARM: u8 = 5;
const TIMED: usize = (RUN - WARM) as usize * RUNS;
/// Who is listened to at once, and whose seals make a batch.
const SPEAKERS: u32 = 8;
const FRAME: Duration = Duration::from_millis(20);
const SECOND: u32 = 50;

fn main() {
    let all = |criterion: &mut Criterion| {
        EVERY.iter().for_each(|every| seal_figures(criterion, *every));
        kinds().for_each(|(suite, backend)| frame_figures(criterion, suite, backend));
    };
    run(all, |quick| {
        seal_table(if quick { 60 } else { 200 });
        frame_table(if quick { 300 } else { 1500 });
    });
}

fn seal_figures(criterion: &mut Criterion, every: u8) {
    let mut group = criterion.benchmark_group("seal");
    let mut call = Call::new(every);
    for (name, of) in [("sign", 0), ("verify", 1)] {
        group.bench_function(BenchmarkId::new(name, every), |bencher| {
            bencher.iter_custom(|times| (0..times).map(|_| call.seal()[of]).sum());
        });
    }
    let batch = Signatures::new(every);
    group.bench_function(BenchmarkId::new("verify, Ed25519 alone, strictly", every), |bencher| {
        bencher.iter_custom(|times| (0..times).map(|_| batch.each()).sum());
    });
    group.bench_function(BenchmarkId::new("verify, Ed25519 alone, batches of 8, not strictly", every), |bencher| {
        bencher.iter_custom(|times| (0..times).map(|_| batch.at_once()).sum());
    });
    group.finish();
}

/// Criterion's figures, a batch of packets an iteration, shown a packet.
fn frame_figures(criterion: &mut Criterion, suite: Suite, backend: Backend) {
    let mut group = criterion.benchmark_group(format!("{suite:?}/{backend:?}"));
    for size in SIZES {
        let mut stand = Stand::new(suite, backend, size);
        for what in What::ALL {
            group.bench_function(BenchmarkId::new(what.name(), size), |bencher| {
                bencher.iter_custom(|times| {
                    let batches = times.div_ceil(TIMED as u64);
                    let spent: Duration = (0..batches).map(|_| stand.batch(what)).sum();
                    spent.mul_f64(times as f64 / (batches * TIMED as u64) as f64)
                });
            });
        }
    }
    group.finish();
}

fn seal_table(rounds: usize) {
    println!("\nmicroseconds a seal; {SECOND} frames of 60 bytes a second (medians of {rounds})\n");
    println!(
        "In batches: `verify_batch` of the seals of {SPEAKERS} speakers, the signature alone, beside it the same one by one. \
         It takes signatures that strict verification refuses, so it is not used.\n"
    );
    println!(
        "| N | sign | verify | signature alone | in batches | sign, a frame | verify, a frame | one speaker | listener of {SPEAKERS} | bytes/s, once | twice |"
    );
    println!("|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|");
    for every in EVERY {
        let mut call = Call::new(every);
        let [mut sealing, mut bare] = [Some(every), None].map(Second::new);
        let batch = Signatures::new(every);
        let (mut rows, mut bytes) = (Vec::new(), 0);
        for _ in 0..rounds {
            let [sign, verify] = call.seal();
            let [alone, at_once] = [batch.each(), batch.at_once()];
            let (with, without) = (sealing.pass(), bare.pass());
            bytes += with.seal_bytes;
            let [speak, listen] = [with.speak, with.listen].map(|time| time.as_secs_f64());
            let [speak, listen] = [speak - without.speak.as_secs_f64(), listen - without.listen.as_secs_f64()];
            let times = [sign, verify, alone, at_once].map(|time| time.as_secs_f64() * 1e6);
            rows.push([times[0], times[1], times[2], times[3], speak * 100.0, listen * 100.0]);
        }
        let [sign, verify, alone, at_once, speak, listen] = [0, 1, 2, 3, 4, 5].map(|at| median(&rows, |row| row[at]));
        let n = f64::from(every);
        let bytes = bytes as f64 / rounds as f64;
        println!(
            "| {every} | {sign:.1} | {verify:.1} | {alone:.1} | {at_once:.1} | {:.2} | {:.2} | {speak:.4} % of a core | {listen:.3} % | {:.0} | {bytes:.0} |",
            sign / n,
            verify / n,
            bytes / 2.0,
        );
    }
}

fn frame_table(rounds: usize) {
    println!(
        "\nnanoseconds a frame in a room that seals, against the bare AEAD and SHA-256 of the same crates (medians of {rounds} pairs)\n"
    );
    println!("| suite, backend | bytes | seal | bare | ratio | open | bare | ratio |");
    println!("|---|--:|--:|--:|--:|--:|--:|--:|");
    for (suite, backend) in kinds() {
        for size in SIZES {
            let mut stand = Stand::new(suite, backend, size);
            let mut rows = vec![[0.0; 4]; rounds];
            for (round, row) in rows.iter_mut().enumerate() {
                // In turn, and in the other order every other round: neither is always the one with the warm cache.
                for at in 0..What::ALL.len() {
                    let at = if round % 2 == 0 { at } else { What::ALL.len() - 1 - at };
                    row[at] = stand.batch(What::ALL[at]).as_nanos() as f64 / TIMED as f64;
                }
            }
            let [seal, bare_seal, open, bare_open] = [0, 1, 2, 3].map(|at| median(&rows, |row| row[at]));
            println!(
                "| {suite:?}, {backend:?} | {size} | {seal:.0} | {bare_seal:.0} | {:.3} | {open:.0} | {bare_open:.0} | {:.3} |",
                median(&rows, |row| row[0] / row[1]),
                median(&rows, |row| row[2] / row[3]),
            );
        }
    }
}

/// One speaker and one listener, who go on from seal to seal.
struct Call {
    every: u8,
    ana: Voice,
    ben: Voice,
}

impl Call {
    fn new(every: u8) -> Self {
        let kind = (Suite::default(), Backend::default());
        let [mut ana, ben] = [1, 2].map(|me| voice(kind, me, 2, Some(every)));
        ana.send_seals_once();
        Self { every, ana, ben }
    }

    /// Says and hears as many frames as a seal covers, and gives the time to sign it, and to verify it.
    fn seal(&mut self) -> [Duration; 2] {
        for _ in 0..self.every {
            let packet = self.ana.seal(&[7; 60]).unwrap();
            self.ben.open(&packet, Duration::ZERO).unwrap();
        }
        let start = Instant::now();
        let seal = black_box(self.ana.next_seal(Duration::ZERO));
        let sign = start.elapsed();
        let mut seal = seal.unwrap();
        let verified = self.ben.stats().verified;
        let start = Instant::now();
        let taken = black_box(self.ben.open_in_place(black_box(&mut seal), Duration::ZERO));
        let verify = start.elapsed();
        assert!(matches!(taken, Err(Error::Seal { .. })));
        assert_eq!(self.ben.stats().verified, verified + u64::from(self.every));
        [sign, verify]
    }
}

/// As many speakers, each of whom has signed as much as a seal of theirs says.
struct Signatures {
    messages: Vec<Vec<u8>>,
    signatures: Vec<Signature>,
    keys: Vec<VerifyingKey>,
}

impl Signatures {
    fn new(every: u8) -> Self {
        let signers: Vec<_> = (0..SPEAKERS as u8).map(|at| SigningKey::from_bytes(&[at + 1; 32])).collect();
        // Label, room, epoch, transcript hash, leaf, stream, suite, commitment, number, marks, range; hashes.
        let len = 14 + 32 + 8 + 33 + 4 + 8 + 2 + 32 + 8 + 1 + 9 + usize::from(every) * 16;
        let messages: Vec<_> = (0..SPEAKERS as u8).map(|at| vec![at; len]).collect();
        let signatures = signers.iter().zip(&messages).map(|(signer, message)| signer.sign(message)).collect();
        Self { messages, signatures, keys: signers.iter().map(SigningKey::verifying_key).collect() }
    }

    /// The time a signature takes by itself.
    fn each(&self) -> Duration {
        let start = Instant::now();
        for ((message, signature), key) in self.messages.iter().zip(&self.signatures).zip(&self.keys) {
            assert!(black_box(key.verify_strict(black_box(message), signature)).is_ok());
        }
        start.elapsed() / SPEAKERS
    }

    /// The time a signature takes among the others. Not strict: for comparison.
    fn at_once(&self) -> Duration {
        let messages: Vec<&[u8]> = self.messages.iter().map(Vec::as_slice).collect();
        let start = Instant::now();
        assert!(black_box(verify_batch(black_box(&messages), &self.signatures, &self.keys)).is_ok());
        start.elapsed() / SPEAKERS
    }
}

/// A room in which some speak all the time and one listens, a second at a time.
struct Second {
    speakers: Vec<Voice>,
    listener: Voice,
    tick: u32,
}

struct Spent {
    speak: Duration,
    listen: Duration,
    seal_bytes: usize,
}

impl Second {
    fn new(every: Option<u8>) -> Self {
        let kind = (Suite::default(), Backend::default());
        let speakers = (0..SPEAKERS).map(|me| voice(kind, me, SPEAKERS, every)).collect();
        Self { speakers, listener: voice(kind, SPEAKERS, SPEAKERS, every), tick: 0 }
    }

    /// The time it takes one of them to speak for a second, and all of them to be listened to.
    fn pass(&mut self) -> Spent {
        let mut spent = Spent { speak: Duration::ZERO, listen: Duration::ZERO, seal_bytes: 0 };
        for _ in 0..SECOND {
            let now = FRAME * self.tick;
            self.tick += 1;
            let mut said = Vec::new();
            for (place, speaker) in self.speakers.iter_mut().enumerate() {
                let mut packet = vec![0; 60 + MAX_OVERHEAD];
                let mut seals = Vec::with_capacity(8);
                let start = Instant::now();
                let len = black_box(speaker.seal_into(black_box(&[7; 60]), &mut packet)).unwrap();
                while let Some(seal) = speaker.next_seal(now) {
                    seals.push(seal);
                }
                let took = start.elapsed();
                if place == 0 {
                    spent.speak += took;
                    spent.seal_bytes += seals.iter().map(Vec::len).sum::<usize>();
                }
                packet.truncate(len);
                said.push(packet);
                said.append(&mut seals);
            }
            let start = Instant::now();
            for packet in &mut said {
                match black_box(self.listener.open_in_place(packet, now)) {
                    Ok(_) => {}
                    Err(Error::Seal { .. }) => assert!(self.listener.unpark(now).is_none()),
                    Err(error) => panic!("{error}"),
                }
            }
            assert!(black_box(self.listener.next_finding(now)).is_none());
            spent.listen += start.elapsed();
        }
        spent
    }
}

#[derive(Clone, Copy)]
enum What {
    Seal,
    BareSeal,
    Open,
    BareOpen,
}

impl What {
    const ALL: [Self; 4] = [Self::Seal, Self::BareSeal, Self::Open, Self::BareOpen];

    fn name(self) -> &'static str {
        match self {
            Self::Seal => "seal",
            Self::BareSeal => "seal, bare AEAD and SHA-256",
            Self::Open => "open",
            Self::BareOpen => "open, bare AEAD and SHA-256",
        }
    }
}

/// One suite, backend and size: a speaker, a listener, the bare crates, and packets with the seals between them.
struct Stand {
    kind: (Suite, Backend),
    frame: Vec<u8>,
    /// What was said before: the first frames have a shorter header.
    before: Vec<Vec<u8>>,
    packets: Vec<Vec<u8>>,
    seals: Vec<Vec<u8>>,
    bare_packets: Vec<Vec<u8>>,
    arrived: Vec<u8>,
    buffer: Vec<u8>,
    bare: Bare,
}

impl Stand {
    fn new(suite: Suite, backend: Backend, size: usize) -> Self {
        let kind = (suite, backend);
        let frame: Vec<u8> = (0..size).map(|at| at as u8).collect();
        let bare = Bare::new(suite, backend);
        let mut ana = voice(kind, 1, 2, Some(RUN));
        ana.send_seals_once();
        let (mut before, mut packets, mut seals) = (Vec::new(), Vec::new(), Vec::new());
        for at in 0..usize::from(RUN) + BATCH {
            let said = if at < usize::from(RUN) { &mut before } else { &mut packets };
            said.push(ana.seal(&frame).unwrap());
            seals.extend(ana.next_seal(Duration::ZERO));
        }
        before.push(seals.remove(0));
        assert_eq!(seals.len(), RUNS);
        assert!(packets.iter().all(|packet| packet.len() == HEADER + size + TAG));
        let mut bare_packets = packets.clone();
        for (nonce, packet) in bare_packets.iter_mut().enumerate() {
            packet[HEADER..HEADER + size].copy_from_slice(&frame);
            bare.seal(nonce as u64, packet);
        }
        let (arrived, buffer) = (packets.concat(), vec![0; HEADER + size + TAG]);
        Self { kind, frame, before, packets, seals, bare_packets, arrived, buffer, bare }
    }

    /// Runs a batch once and gives the time it took. What prepares it is not counted, nor are seals, which either side
    /// makes or takes between its runs: what they leave in the caches is the same to both.
    fn batch(&mut self, what: What) -> Duration {
        let mut spent = Duration::ZERO;
        match what {
            What::Seal | What::BareSeal => {
                let mut ana = voice(self.kind, 1, 2, Some(RUN));
                (0..RUN).for_each(|_| drop(ana.seal(&self.frame).unwrap()));
                for run in 0..RUNS {
                    assert!(ana.next_seal(Duration::ZERO).is_some());
                    let mut seal = |stand: &mut Self, frames| (0..frames).for_each(|_| stand.seal(&mut ana));
                    spent += if let What::Seal = what {
                        seal(self, WARM);
                        self.time(|stand| seal(stand, RUN - WARM))
                    } else {
                        seal(self, RUN);
                        let first = run as u64 * u64::from(RUN);
                        let bare_seal = |stand: &mut Self, nonces: std::ops::Range<u8>| {
                            nonces.for_each(|nonce| stand.bare_seal(first + u64::from(nonce)));
                        };
                        bare_seal(self, 0..WARM);
                        self.time(|stand| bare_seal(stand, WARM..RUN))
                    };
                }
            }
            What::Open | What::BareOpen => {
                let mut ben = voice(self.kind, 2, 2, Some(RUN));
                for packet in &self.before {
                    let _ = ben.open(packet, Duration::ZERO);
                }
                let packets = if let What::Open = what { &self.packets } else { &self.bare_packets };
                self.arrived.copy_from_slice(&packets.concat());
                let len = HEADER + self.frame.len() + TAG;
                let mut arrived = (0..).zip(self.arrived.chunks_exact_mut(len));
                for seal in &self.seals {
                    let mut start = Instant::now();
                    for (at, (nonce, packet)) in arrived.by_ref().take(RUN.into()).enumerate() {
                        if at == usize::from(WARM) {
                            start = Instant::now();
                        }
                        let packet = black_box(packet);
                        if let What::Open = what {
                            assert!(black_box(&ben.open_in_place(packet, Duration::ZERO)).is_ok());
                        } else {
                            black_box(Sha256::digest(&*packet));
                            assert!(black_box(self.bare.open(nonce, packet)));
                        }
                    }
                    spent += start.elapsed();
                    assert!(matches!(ben.open(seal, Duration::ZERO), Err(Error::Seal { .. })));
                }
                let opened = if let What::Open = what { BATCH as u64 } else { 0 };
                assert_eq!(ben.stats().verified, u64::from(RUN) + opened);
            }
        }
        spent
    }

    fn time(&mut self, run: impl FnOnce(&mut Self)) -> Duration {
        let start = Instant::now();
        run(self);
        start.elapsed()
    }

    fn seal(&mut self, ana: &mut Voice) {
        let len = ana.seal_into(black_box(&self.frame), black_box(&mut self.buffer));
        black_box(len.is_ok());
    }

    fn bare_seal(&mut self, nonce: u64) {
        let (frame, buffer) = (black_box(&self.frame), black_box(&mut self.buffer));
        buffer[HEADER..HEADER + frame.len()].copy_from_slice(frame);
        self.bare.seal(nonce, buffer);
        black_box(Sha256::digest(&*buffer));
    }
}

/// Everybody there ever is.
static PEOPLE: LazyLock<Vec<(Identity, MediaCertificate)>> = LazyLock::new(|| {
    let person = |at: u32| {
        let identity = Identity::from_secret("ana", &[at as u8 + 1; 32]).unwrap();
        let certificate = MediaCertificate::new(&identity, &media_key(at));
        (identity, certificate)
    };
    (0..SPEAKERS).map(person).collect()
});

fn media_key(who: u32) -> MediaKey {
    MediaKey::from_seed(&[who as u8 + 101; 32])
}

/// A room with `stage` on stage, heard from leaf `me`, with a seal for each `every` frames.
fn voice((suite, backend): (Suite, Backend), me: u32, stage: u32, every: Option<u8>) -> Voice {
    let people = || (0..stage).zip(&*PEOPLE);
    let speakers = people().map(|(leaf, (person, _))| Speaker { leaf: LeafIndex(leaf), id: person.id() }).collect();
    let base_key = Zeroizing::new(vec![7; suite.key_len()]);
    // Epoch 16 on eight bits: two bytes of key id.
    let keys = EpochKeys::new(suite, KeyIdLayout::default(), 16, base_key, LeafIndex(me), speakers, Duration::ZERO)
        .and_then(|keys| keys.with_backend(backend))
        .unwrap();
    let Some(every) = every else { return Voice::new(keys) };
    let mut rules = SealRules::default();
    rules.every = every;
    let mut seals = SealKeys::new(rules, &[7; 32]);
    if me < stage {
        seals = seals.with_signer(media_key(me));
    }
    for (leaf, (person, certificate)) in people() {
        seals = seals.with_speaker(LeafIndex(leaf), person.id(), person.name(), *certificate);
    }
    keys.with_seals(seals).map(Voice::new).unwrap()
}
