//! The frames of one speaker that wait for a seal.
//!
//! Whoever has the frame key can fill this, with frames of any counter and length. So it is bounded in frames and bytes,
//! and each frame that comes, or goes for another, costs about the same however much is held.
//!
//! Invariant: which of a counter's frames goes first is decided by a draw, a keyed hash of its packet under a key that
//! nobody else knows. A forger cannot tell a good draw from a bad one, nor make a packet whose draw is worse than that
//! of the true one: of `n` packets of a counter of which `k` stay, each stays with the same chance, `k / n`.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, hash_map::RandomState},
    hash::BuildHasher as _,
    time::Duration,
};

use crate::media::seal::statement::PacketHash;

/// The most frames held of one speaker.
pub(super) const MAX_HELD: usize = 1024;
/// The most bytes of them.
pub(super) const MAX_HELD_BYTES: usize = 128 * 1024;
/// Farther from where a speaker is than this, a held frame is hardly theirs: what they say while it is held.
pub(super) const FAR: u64 = 128;

/// A frame that waits for its seal.
#[derive(Debug)]
pub(in crate::media) struct HeldFrame {
    pub(in crate::media) counter: u64,
    pub(in crate::media) frame: Box<[u8]>,
    pub(in crate::media) arrived: Duration,
    pub(super) hash: PacketHash,
}

/// Where a held frame stands: by counter, and by its draw among those of one counter, the lowest to go first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct Place {
    counter: u64,
    draw: u64,
    /// Two draws may be the same.
    hash: PacketHash,
}

#[derive(Debug)]
struct Waiting {
    frame: Box<[u8]>,
    arrived: Duration,
}

/// What is held of one counter.
#[derive(Clone, Copy, Default, Debug)]
struct Run {
    frames: usize,
    bytes: usize,
}

#[derive(Debug)]
pub(super) struct Held {
    frames: BTreeMap<Place, Waiting>,
    runs: BTreeMap<u64, Run>,
    bytes: usize,
    /// No frame arrived before the one or after the other.
    arrivals: Option<(Duration, Duration)>,
    /// What draws are made with.
    chance: RandomState,
    #[cfg(test)]
    looks: std::sync::atomic::AtomicUsize,
}

impl Held {
    pub(super) fn new() -> Self {
        Self {
            frames: BTreeMap::new(),
            runs: BTreeMap::new(),
            bytes: 0,
            arrivals: None,
            chance: RandomState::new(),
            #[cfg(test)]
            looks: std::sync::atomic::AtomicUsize::default(),
        }
    }

    /// Keeps a frame; `false` if another, or itself, had to go for it. The speaker is known to be at `known`.
    pub(super) fn keep(&mut self, counter: u64, hash: &PacketHash, frame: &[u8], now: Duration, known: u64) -> bool {
        let run = self.runs.entry(counter).or_default();
        *run = Run { frames: run.frames + 1, bytes: run.bytes + frame.len() };
        self.bytes += frame.len();
        let (first, last) = self.arrivals.unwrap_or((now, now));
        self.arrivals = Some((first.min(now), last.max(now)));
        let replaced = self.frames.insert(self.place(counter, hash), Waiting { frame: frame.into(), arrived: now });
        if let Some(replaced) = replaced {
            self.forget(counter, replaced.frame.len());
        }
        let mut room = true;
        while self.len() > MAX_HELD || self.bytes > MAX_HELD_BYTES {
            let Some(place) = self.least_likely(known) else { break };
            self.remove(place);
            room = false;
        }
        room
    }

    /// When a packet arrived that is held.
    pub(super) fn arrival(&self, counter: u64, hash: &PacketHash) -> Option<Duration> {
        if self.is_empty() {
            return None;
        }
        self.frames.get(&self.place(counter, hash)).map(|waiting| waiting.arrived)
    }

    /// How many frames of one counter are held.
    pub(super) fn of(&self, counter: u64) -> usize {
        self.runs.get(&counter).map_or(0, |run| run.frames)
    }

    /// Takes out one frame of that counter, the lowest draw first.
    pub(super) fn take(&mut self, counter: u64) -> Option<HeldFrame> {
        self.remove(self.first_of(counter)?)
    }

    /// Drops what has been held for longer than `hold`; gives how many those were.
    pub(super) fn expire(&mut self, now: Duration, hold: Duration) -> u64 {
        let is_over = |arrived: Duration| now.abs_diff(arrived) > hold;
        // If neither the first nor the last is over, on a clock that may jump either way, none is.
        if self.arrivals.is_none_or(|(first, last)| !is_over(first) && !is_over(last)) {
            return 0;
        }
        let before = self.len();
        self.frames.retain(|_, waiting| !is_over(waiting.arrived));
        (self.bytes, self.arrivals) = (0, None);
        self.runs.clear();
        for (place, waiting) in &self.frames {
            let run = self.runs.entry(place.counter).or_default();
            *run = Run { frames: run.frames + 1, bytes: run.bytes + waiting.frame.len() };
            self.bytes += waiting.frame.len();
            let (first, last) = self.arrivals.unwrap_or((waiting.arrived, waiting.arrived));
            self.arrivals = Some((first.min(waiting.arrived), last.max(waiting.arrived)));
        }
        (before - self.len()) as u64
    }

    pub(super) fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.frames.len()
    }

    /// The highest counter of which a frame is held.
    pub(super) fn last(&self) -> Option<u64> {
        self.runs.last_key_value().map(|(counter, _)| *counter)
    }

    /// Counters and hashes of all that is held.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u64, &PacketHash)> {
        self.frames.keys().map(|place| (place.counter, &place.hash))
    }

    /// The place of the held frame that is the least likely to be true, or costs the most: the farthest, if it is farther
    /// from where the speaker is than they get while it is held; else one of the counter that has the most: by
    /// chance, for whoever floods would get around any order.
    fn least_likely(&self, known: u64) -> Option<Place> {
        let ends = [self.runs.first_key_value(), self.runs.last_key_value()];
        let farthest = ends.into_iter().flatten().map(|(counter, _)| *counter).max_by_key(|at| at.abs_diff(known))?;
        if farthest.abs_diff(known) > FAR {
            return self.first_of(farthest);
        }
        // A few long frames would take the room of many as short as a voice's are. There are at most as many counters as
        // are near.
        let by_bytes = self.bytes > MAX_HELD_BYTES;
        let size = |(_, run): &(&u64, &Run)| {
            self.look();
            if by_bytes { run.bytes } else { run.frames }
        };
        let (counter, _) = self.runs.iter().max_by_key(size)?;
        if !by_bytes {
            return self.first_of(*counter);
        }
        let longest = |(place, waiting): &(&Place, &Waiting)| {
            self.look();
            (Reverse(waiting.frame.len()), place.draw)
        };
        self.run(*counter).min_by_key(longest).map(|(place, _)| *place)
    }

    /// A place of that counter, the lowest draw first.
    fn first_of(&self, counter: u64) -> Option<Place> {
        self.run(counter).next().map(|(place, _)| *place)
    }

    fn run(&self, counter: u64) -> impl Iterator<Item = (&Place, &Waiting)> {
        let place = |draw, hash| Place { counter, draw, hash: [hash; 16] };
        self.frames.range(place(0, 0)..=place(u64::MAX, u8::MAX))
    }

    fn place(&self, counter: u64, hash: &PacketHash) -> Place {
        Place { counter, draw: self.chance.hash_one(hash), hash: *hash }
    }

    fn remove(&mut self, place: Place) -> Option<HeldFrame> {
        let Place { counter, hash, .. } = place;
        let Waiting { frame, arrived } = self.frames.remove(&place)?;
        self.forget(counter, frame.len());
        Some(HeldFrame { counter, frame, arrived, hash })
    }

    /// A frame of so many bytes went.
    fn forget(&mut self, counter: u64, bytes: usize) {
        self.bytes -= bytes;
        if let Some(run) = self.runs.get_mut(&counter) {
            *run = Run { frames: run.frames - 1, bytes: run.bytes - bytes };
            if run.frames == 0 {
                self.runs.remove(&counter);
            }
        }
    }

    /// A frame or a counter was looked at, to choose which goes: tests count them.
    fn look(&self) {
        #[cfg(test)]
        self.looks.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};

    use super::*;

    fn hash(counter: u64, kind: u32) -> PacketHash {
        let mut hash = [0; 16];
        hash[..8].copy_from_slice(&counter.to_be_bytes());
        hash[8..12].copy_from_slice(&kind.to_be_bytes());
        hash
    }

    fn ms(milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds)
    }

    #[test]
    fn as_much_is_held_as_there_is_room_for_and_there_is_room_again_for_what_went() {
        let (mut by_count, mut by_bytes) = (Held::new(), Held::new());
        for round in 0..3 {
            let now = ms(round * 3000);
            by_count.expire(now, ms(2000));
            assert!((0..1024).all(|at| by_count.keep(at / 8, &hash(at / 8, at as u32 % 8), b"frame", now, 0)));
            assert!(!by_count.keep(0, &hash(0, 8), b"frame", now, 0));
            assert_eq!(by_count.len(), 1024);
            by_bytes.expire(now, ms(2000));
            assert!((0..64).all(|at| by_bytes.keep(at, &hash(at, 0), &[0; 2048], now, 0)));
            assert!(!by_bytes.keep(64, &hash(64, 0), b"f", now, 0));
            assert!(by_bytes.bytes <= 131_072);
        }
    }

    #[test]
    fn what_is_far_goes_first_and_then_what_the_most_were_sent_of() {
        let mut held = Held::new();
        (0..1024).for_each(|at| _ = held.keep(at / 8, &hash(at / 8, at as u32 % 8), b"frame", ms(0), 0));
        held.keep(5_000, &hash(5_000, 0), b"frame", ms(0), 0);
        assert_eq!((held.of(5_000), held.len()), (0, 1024));
        held.keep(5, &hash(5, 8), b"frame", ms(0), 0);
        assert_eq!((held.of(5), held.len()), (8, 1024), "one of nine");
        held.keep(FAR, &hash(FAR, 0), b"frame", ms(0), 0);
        assert_eq!((held.of(FAR), held.len()), (1, 1024), "as far as the speaker may get");
    }

    /// A forger who sends as many of one counter as they like cannot choose what goes, whenever the true one comes.
    #[test]
    fn the_true_frame_stays_as_often_as_any_other() {
        let (tries, forged) = (400, 4_095);
        for place in [0, forged / 2, forged] {
            let stayed = (0..tries)
                .filter(|_| {
                    let mut held = Held::new();
                    for kind in 0..=forged {
                        // The true one is of kind 0.
                        let kind = if kind == place { 0 } else { kind + 1 };
                        held.keep(7, &hash(7, kind), b"frame", ms(0), 0);
                    }
                    held.arrival(7, &hash(7, 0)).is_some()
                })
                .count();
            // A quarter of them, within six standard deviations.
            assert!((48..=152).contains(&stayed), "at {place}: {stayed} of {tries}");
        }
    }

    /// Counted, for a clock tells little of what an attacker can make of it.
    #[test]
    fn a_frame_costs_the_same_however_much_is_held() {
        let mut random = StdRng::seed_from_u64(1);
        for (what, counters, short, long) in [
            ("of one counter", 1, 5, 5),
            ("of all that are near", 257, 5, 5),
            ("long", 100, 100, 2048),
            ("mixed", 1, 120, 2048),
        ] {
            let mut held = Held::new();
            for kind in 0..20_000 {
                let counter = 1_000 + random.random_range(0..counters) - counters / 2;
                let len = if kind % 2 == 0 { short } else { long };
                held.keep(counter, &hash(counter, kind), &vec![0; len], ms(0), 1_000);
            }
            assert!(held.len() <= MAX_HELD && held.bytes <= MAX_HELD_BYTES);
            let looks = held.looks.load(std::sync::atomic::Ordering::Relaxed);
            // Each counter that is near, and each frame of one of them where it goes by length.
            assert!(looks <= 20_000 * (2 * FAR as usize + 1 + MAX_HELD), "{what}");
            assert!(short != long || looks <= 20_000 * (2 * FAR as usize + 1), "{what}");
            assert!(looks > 15_000, "{what}: each is chosen for what goes");
        }
    }

    #[test]
    fn what_is_counted_is_what_is_there() {
        let mut random = StdRng::seed_from_u64(2);
        let mut held = Held::new();
        for step in 0..20_000_u64 {
            let counter = 500 + random.random_range(0..40);
            match random.random_range(0..20) {
                0 => drop(held.take(counter)),
                1 => _ = held.expire(ms(step), ms(500)),
                _ => {
                    let len = random.random_range(0..700);
                    let kind = random.random_range(0..60);
                    held.keep(counter, &hash(counter, kind), &vec![0; len], ms(step), 510);
                }
            }
            assert_eq!(held.bytes, held.frames.values().map(|waiting| waiting.frame.len()).sum::<usize>());
            assert_eq!(held.runs.values().map(|run| run.frames).sum::<usize>(), held.len());
            assert!(held.runs.iter().all(|(counter, run)| held.run(*counter).count() == run.frames && run.frames > 0));
            assert_eq!(held.last(), held.frames.keys().map(|place| place.counter).max());
        }
        assert!(held.len() > 100);
        let left = held.len() as u64;
        assert_eq!((held.expire(ms(90_000), ms(500)), held.len(), held.bytes), (left, 0, 0));
    }
}
