//! The parking lot: packets whose epoch is on its way, kept until its key comes.
//!
//! Whoever can reach the socket can fill it, for nothing here has been authenticated. So it is bounded in packets,
//! bytes and time, and a lane of leaves in packets, the oldest making room; each packet that comes in or goes out
//! costs the same however full the lot is, and only the beginning of an epoch looks at all of them; and what comes
//! out is opened like any packet.
//!
//! Invariant: every kept packet is in one of two lines (those whose epoch has begun, and those that wait for theirs) and
//! in its lane (those of its leaf), each in order of arrival, and `bytes` is the sum of their lengths.

use std::time::Duration;

use crate::{identity::LeafIndex, media::Limits};

/// No slot.
const NONE: u16 = u16::MAX;
/// The most packets a lot may be asked to keep: a slot's number is 16 bits.
pub(super) const MAX_PACKETS: usize = NONE as usize;

/// Leaves share a lane modulo this, so that the count of lanes is no attacker's choice.
const LANES: usize = 256;

/// A packet that waits for its key.
#[derive(Debug)]
pub(super) struct Parked {
    pub(super) packet: Box<[u8]>,
    pub(super) arrived: Duration,
    /// The epoch that its bits point to, the next of its kind.
    pub(super) epoch: u64,
    pub(super) leaf: LeafIndex,
}

pub(super) struct Lot {
    slots: Slots,
    free: Vec<u16>,
    /// Those whose epoch is still to come.
    waiting: List,
    /// Those whose epoch has begun.
    reached: List,
    lanes: Box<[List]>,
    bytes: usize,
    /// How many packets have come.
    arrivals: u64,
}

struct Slot {
    /// None while the slot is free.
    parked: Option<Parked>,
    /// Which arrival it was.
    arrival: u64,
    reached: bool,
    links: Links,
}

/// All slots. Whatever looks at one does so here, where tests count it.
#[derive(Default)]
struct Slots {
    all: Vec<Slot>,
    #[cfg(test)]
    looks: std::sync::atomic::AtomicUsize,
}

impl Slots {
    fn get(&self, at: u16) -> Option<&Slot> {
        #[cfg(test)]
        self.looks.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        self.all.get(usize::from(at))
    }

    fn get_mut(&mut self, at: u16) -> Option<&mut Slot> {
        #[cfg(test)]
        self.looks.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        self.all.get_mut(usize::from(at))
    }
}

/// The neighbours in the line and in the lane.
#[derive(Clone, Copy, Default)]
struct Links {
    line: Link,
    lane: Link,
}

#[derive(Clone, Copy)]
struct Link {
    before: u16,
    after: u16,
}

impl Default for Link {
    fn default() -> Self {
        Self { before: NONE, after: NONE }
    }
}

#[derive(Clone, Copy)]
struct List {
    first: u16,
    last: u16,
    len: u16,
}

impl Lot {
    pub(super) fn new() -> Self {
        Self {
            slots: Slots::default(),
            free: Vec::new(),
            waiting: List::EMPTY,
            reached: List::EMPTY,
            lanes: Box::new([List::EMPTY; LANES]),
            bytes: 0,
            arrivals: 0,
        }
    }

    /// Keeps a packet, unless it can never fit; `gone` is told of each older one that has to go for it.
    pub(super) fn park(&mut self, limits: &Limits, parked: Parked, mut gone: impl FnMut(LeafIndex)) -> bool {
        let bytes = parked.packet.len();
        let lane = lane_of(parked.leaf);
        if limits.parked_packets == 0 || limits.parked_per_leaf == 0 || bytes > limits.parked_bytes {
            return false;
        }
        loop {
            let in_lane = self.lanes.get(lane).copied().unwrap_or(List::EMPTY);
            let oldest = if usize::from(in_lane.len) >= limits.parked_per_leaf {
                in_lane.first
            } else if self.packets() >= limits.parked_packets.min(MAX_PACKETS)
                || self.bytes + bytes > limits.parked_bytes
            {
                self.older(self.reached.first, self.waiting.first)
            } else {
                break;
            };
            match self.remove(oldest) {
                Some(oldest) => gone(oldest.leaf),
                None => break,
            }
        }
        self.insert(lane, parked);
        true
    }

    /// The epoch `current` has begun: every packet of it or of an earlier one may be taken.
    pub(super) fn reach(&mut self, current: u64) {
        let (mut reached, mut waiting) = (self.reached.first, self.waiting.first);
        (self.reached, self.waiting) = (List::EMPTY, List::EMPTY);
        loop {
            let at = self.older(reached, waiting);
            let Some(slot) = self.slots.get_mut(at) else { break };
            *(if slot.reached { &mut reached } else { &mut waiting }) = slot.links.line.after;
            slot.reached |= slot.parked.as_ref().is_some_and(|parked| parked.epoch <= current);
            let line = if slot.reached { &mut self.reached } else { &mut self.waiting };
            line.append(&mut self.slots, at, |links| &mut links.line);
        }
    }

    /// The oldest packet whose epoch has begun.
    pub(super) fn take_reached(&mut self) -> Option<Parked> {
        self.remove(self.reached.first)
    }

    /// Whether a packet of `leaf` may be taken.
    pub(super) fn has_reached(&self, leaf: LeafIndex) -> bool {
        let mut at = self.reached.first;
        std::iter::from_fn(|| {
            let slot = self.slots.get(at)?;
            at = slot.links.line.after;
            slot.parked.as_ref()
        })
        .any(|parked| parked.leaf == leaf)
    }

    /// Drops what has waited longer than it may; `gone` is told of each. Those whose epoch has begun wait for the
    /// caller.
    pub(super) fn expire(&mut self, limits: &Limits, now: Duration, mut gone: impl FnMut(LeafIndex)) {
        // In order of arrival, the first that is still good ends it.
        let is_over = |parked: &Parked| now.abs_diff(parked.arrived) > limits.parked_for;
        while self.slots.get(self.waiting.first).and_then(|slot| slot.parked.as_ref()).is_some_and(is_over) {
            if let Some(parked) = self.remove(self.waiting.first) {
                gone(parked.leaf);
            }
        }
    }

    pub(super) fn packets(&self) -> usize {
        usize::from(self.reached.len) + usize::from(self.waiting.len)
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// All that is kept, in order of arrival.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Parked> {
        let (mut reached, mut waiting) = (self.reached.first, self.waiting.first);
        std::iter::from_fn(move || {
            let slot = self.slots.get(self.older(reached, waiting))?;
            *(if slot.reached { &mut reached } else { &mut waiting }) = slot.links.line.after;
            slot.parked.as_ref()
        })
    }

    /// Which of two slots came first; where there is one, that.
    fn older(&self, one: u16, other: u16) -> u16 {
        match (self.slots.get(one), self.slots.get(other)) {
            (Some(first), Some(second)) if first.arrival < second.arrival => one,
            (_, Some(_)) => other,
            _ => one,
        }
    }

    fn insert(&mut self, lane: usize, parked: Parked) {
        let bytes = parked.packet.len();
        let slot = Slot { parked: Some(parked), arrival: self.arrivals, reached: false, links: Links::default() };
        let at = match self.free.pop() {
            Some(at) => {
                if let Some(place) = self.slots.get_mut(at) {
                    *place = slot;
                }
                at
            }
            None => {
                // `park` keeps the lines shorter than a slot's number can tell.
                let Ok(at) = u16::try_from(self.slots.all.len()) else { return };
                self.slots.all.push(slot);
                at
            }
        };
        self.arrivals += 1;
        self.bytes += bytes;
        self.waiting.append(&mut self.slots, at, |links| &mut links.line);
        if let Some(lane) = self.lanes.get_mut(lane) {
            lane.append(&mut self.slots, at, |links| &mut links.lane);
        }
    }

    fn remove(&mut self, at: u16) -> Option<Parked> {
        let slot = self.slots.get_mut(at)?;
        let parked = slot.parked.take()?;
        let line = if slot.reached { &mut self.reached } else { &mut self.waiting };
        line.unlink(&mut self.slots, at, |links| &mut links.line);
        if let Some(lane) = self.lanes.get_mut(lane_of(parked.leaf)) {
            lane.unlink(&mut self.slots, at, |links| &mut links.lane);
        }
        self.bytes -= parked.packet.len();
        self.free.push(at);
        Some(parked)
    }
}

/// Which of a slot's links a list runs along.
type Along = fn(&mut Links) -> &mut Link;

impl List {
    const EMPTY: Self = Self { first: NONE, last: NONE, len: 0 };

    fn append(&mut self, slots: &mut Slots, at: u16, along: Along) {
        if let Some(slot) = slots.get_mut(at) {
            *along(&mut slot.links) = Link { before: self.last, after: NONE };
        }
        match slots.get_mut(self.last) {
            Some(last) => along(&mut last.links).after = at,
            None => self.first = at,
        }
        self.last = at;
        self.len += 1;
    }

    fn unlink(&mut self, slots: &mut Slots, at: u16, along: Along) {
        let Some(slot) = slots.get_mut(at) else { return };
        let Link { before, after } = *along(&mut slot.links);
        match slots.get_mut(before) {
            Some(slot) => along(&mut slot.links).after = after,
            None => self.first = after,
        }
        match slots.get_mut(after) {
            Some(slot) => along(&mut slot.links).before = before,
            None => self.last = before,
        }
        self.len -= 1;
    }
}

const fn lane_of(leaf: LeafIndex) -> usize {
    leaf.0 as usize % LANES
}

#[cfg(test)]
mod tests {
    use rand::{RngExt, SeedableRng, rngs::StdRng};

    use super::*;

    fn limits() -> Limits {
        let mut limits = Limits::default();
        (limits.parked_packets, limits.parked_bytes, limits.parked_per_leaf) = (10, 100, 4);
        limits.parked_for = Duration::from_secs(2);
        limits
    }

    fn parked(leaf: u32, epoch: u64, arrived: u64, bytes: usize) -> Parked {
        Parked { packet: vec![0; bytes].into(), arrived: Duration::from_millis(arrived), epoch, leaf: LeafIndex(leaf) }
    }

    /// The same lot as a plain vector: (leaf, epoch, arrived, bytes, reached).
    type Model = Vec<(u32, u64, u64, usize, bool)>;

    #[test]
    fn the_lot_keeps_what_a_plain_list_with_the_same_bounds_keeps() {
        for seed in 0..300 {
            let mut random = StdRng::seed_from_u64(seed);
            let (limits, mut lot, mut model) = (limits(), Lot::new(), Model::new());
            let (mut now, mut current) = (0, 0);
            for step in 0..400 {
                match random.random_range(0..20) {
                    0 => {
                        current += 1;
                        lot.reach(current);
                        model.iter_mut().for_each(|kept| kept.4 |= kept.1 <= current);
                    }
                    1..=4 => {
                        let place = model.iter().position(|kept| kept.4);
                        let expected = place.map(|place| model.remove(place));
                        let got = lot.take_reached();
                        assert_eq!(
                            got.map(|got| (got.leaf.0, got.epoch, got.arrived.as_millis() as u64, got.packet.len())),
                            expected.map(|(leaf, epoch, arrived, bytes, _)| (leaf, epoch, arrived, bytes)),
                            "seed {seed}, step {step}"
                        );
                    }
                    5 => {
                        now += random.random_range(0..2500);
                        let before = model.len();
                        model.retain(|kept| kept.4 || now - kept.2 <= 2000);
                        let mut gone = 0;
                        lot.expire(&limits, Duration::from_millis(now), |_| gone += 1);
                        assert_eq!(gone, before - model.len(), "seed {seed}, step {step}");
                    }
                    _ => {
                        now += 1;
                        let (leaf, epoch) = (random.random_range(0..6), current + random.random_range(1..4));
                        let bytes = random.random_range(0..40);
                        let (mut gone, mut expected) = (Vec::new(), Vec::new());
                        assert!(lot.park(&limits, parked(leaf, epoch, now, bytes), |leaf| gone.push(leaf.0)));
                        while model.iter().filter(|kept| kept.0 == leaf).count() >= 4 {
                            let oldest = model.iter().position(|kept| kept.0 == leaf).unwrap();
                            expected.push(model.remove(oldest).0);
                        }
                        while model.len() >= 10 || model.iter().map(|kept| kept.3).sum::<usize>() + bytes > 100 {
                            expected.push(model.remove(0).0);
                        }
                        assert_eq!(gone, expected, "seed {seed}, step {step}");
                        model.push((leaf, epoch, now, bytes, false));
                    }
                }
                let kept: Vec<_> = lot.iter().map(|kept| kept.arrived.as_millis() as u64).collect();
                assert_eq!(kept, model.iter().map(|kept| kept.2).collect::<Vec<_>>(), "seed {seed}, step {step}");
                assert_eq!(lot.bytes(), model.iter().map(|kept| kept.3).sum::<usize>(), "seed {seed}, step {step}");
                assert_eq!(lot.packets(), model.len());
                assert_eq!(
                    usize::from(lot.reached.len),
                    model.iter().filter(|kept| kept.4).count(),
                    "seed {seed}, step {step}"
                );
            }
            assert!(lot.slots.all.len() <= 10, "seed {seed}: slots are used again");
        }
    }

    #[test]
    fn a_packet_that_can_never_fit_is_not_kept_and_pushes_nobody_out() {
        let mut lot = Lot::new();
        assert!(lot.park(&limits(), parked(1, 1, 0, 50), |_| panic!("there was room")));
        assert!(!lot.park(&limits(), parked(1, 1, 0, 101), |_| panic!("it was not kept")));
        for none in [Limits { parked_packets: 0, ..limits() }, Limits { parked_per_leaf: 0, ..limits() }] {
            assert!(!lot.park(&none, parked(1, 1, 0, 1), |_| panic!("it was not kept")));
        }
        assert_eq!((lot.packets(), lot.bytes()), (1, 50));
        assert!(lot.park(&limits(), parked(2, 1, 0, 100), |leaf| assert_eq!(leaf.0, 1)), "it just fits");
    }

    /// As many as there may ever be, those that cannot be taken yet before and among those that can.
    #[test]
    fn each_packet_costs_the_same_however_many_are_parked() {
        let mut looks = Vec::new();
        for count in [1_000, MAX_PACKETS as u64] {
            let mut limits = Limits::default();
            (limits.parked_packets, limits.parked_bytes, limits.parked_per_leaf) =
                (MAX_PACKETS, usize::MAX, MAX_PACKETS);
            let (mut lot, now) = (Lot::new(), Duration::from_millis(0));
            for at in 0..count {
                let epoch = if at < count / 4 || at % 3 == 0 { 2 } else { 1 };
                assert!(lot.park(&limits, parked(at as u32 % 600, epoch, 0, 20), |_| panic!("there was room")));
            }
            lot.reach(1);
            let mut taken = 0;
            loop {
                // As a voice does before each.
                lot.expire(&limits, now, |_| panic!("none is over"));
                if lot.take_reached().is_none() {
                    break;
                }
                taken += 1;
            }
            assert_eq!(lot.packets() as u64, count - taken);
            assert!(taken > count / 3 && lot.packets() as u64 > count / 3);
            // One more than there may be: the oldest goes.
            if count == MAX_PACKETS as u64 {
                (0..taken).for_each(|_| assert!(lot.park(&limits, parked(0, 3, 0, 20), |_| panic!("there was room"))));
                let mut gone = 0;
                assert!(lot.park(&limits, parked(0, 3, 0, 20), |_| gone += 1));
                assert_eq!((gone, lot.packets()), (1, MAX_PACKETS));
            }
            lot.reach(3);
            while lot.take_reached().is_some() {}
            assert_eq!((lot.packets(), lot.bytes()), (0, 0));
            looks.push(lot.slots.looks.into_inner() as u64 / count);
        }
        assert!(looks.iter().all(|looks| (10..60).contains(looks)), "{looks:?}");
    }
}
