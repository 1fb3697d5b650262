//! A network without sockets: loss in bursts, delay, reordering, duplication, all out of one seed.
//!
//! Time is a number that the caller moves on; nothing here sleeps.

use std::{cmp::Reverse, collections::BinaryHeap, ops::Range, time::Duration};

use rand::{RngExt, SeedableRng, rngs::StdRng};

/// What the path between two hosts does to packets.
#[derive(Clone, Debug)]
pub struct Weather {
    /// Share of packets lost, 0 to 1.
    pub loss: f64,
    /// Mean length of a burst of losses, in packets.
    pub burst: f64,
    /// Share of packets delivered twice, 0 to 1.
    pub duplicates: f64,
    /// One-way delay in milliseconds: mostly near the start of the range, at times near its end.
    pub delay_ms: Range<u64>,
}

/// A lossy one-way path: a Gilbert–Elliott channel, in which whatever is sent in the bad state is lost.
#[derive(Debug)]
pub struct Link {
    weather: Weather,
    bad: bool,
    rng: StdRng,
}

impl Link {
    pub fn new(weather: Weather, seed: u64) -> Self {
        Self { weather, bad: false, rng: StdRng::seed_from_u64(seed) }
    }

    /// When copies of a packet sent at `now` arrive: none, one or two.
    pub fn carry(&mut self, now: Duration) -> impl Iterator<Item = Duration> + use<> {
        let (loss, burst) = (self.weather.loss, self.weather.burst.max(1.0));
        let turn = if self.bad { 1.0 / burst } else { (loss / (burst * (1.0 - loss).max(1e-9))).min(1.0) };
        if self.rng.random_bool(turn) {
            self.bad = !self.bad;
        }
        let first = (!self.bad).then(|| now + self.delay());
        let second = (first.is_some() && self.rng.random_bool(self.weather.duplicates)).then(|| now + self.delay());
        first.into_iter().chain(second)
    }

    /// One draw of the delay.
    pub fn delay(&mut self) -> Duration {
        let Range { start, end } = self.weather.delay_ms;
        let u: f64 = self.rng.random();
        let span = (end.saturating_sub(start)) as f64 * 1000.0;
        Duration::from_micros(start * 1000 + (u * u * span) as u64)
    }
}

/// A reliable, ordered path, such as a stream: what is sent first arrives first.
#[derive(Debug, Default)]
pub struct Stream {
    last: Duration,
}

impl Stream {
    /// When a message sent at `now` and delayed by `delay` comes out.
    pub fn carry(&mut self, now: Duration, delay: Duration) -> Duration {
        self.last = self.last.max(now + delay);
        self.last
    }
}

/// Things that will happen, soonest first; of two at one moment, the one put in first.
#[derive(Debug)]
pub struct Agenda<T> {
    heap: BinaryHeap<Reverse<Entry<T>>>,
    next: u64,
}

impl<T> Agenda<T> {
    pub fn new() -> Self {
        Self { heap: BinaryHeap::new(), next: 0 }
    }

    pub fn put(&mut self, at: Duration, what: T) {
        self.heap.push(Reverse(Entry { at, order: self.next, what }));
        self.next += 1;
    }

    pub fn take(&mut self) -> Option<(Duration, T)> {
        self.heap.pop().map(|Reverse(entry)| (entry.at, entry.what))
    }
}

#[derive(Debug)]
struct Entry<T> {
    at: Duration,
    order: u64,
    what: T,
}

impl<T> PartialEq for Entry<T> {
    fn eq(&self, other: &Self) -> bool {
        (self.at, self.order) == (other.at, other.order)
    }
}

impl<T> Eq for Entry<T> {}

impl<T> PartialOrd for Entry<T> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> Ord for Entry<T> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.order).cmp(&(other.at, other.order))
    }
}
