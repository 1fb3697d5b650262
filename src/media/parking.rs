//! The parking lot: packets whose epoch is on its way, kept until its key comes.
//!
//! Whoever can reach the socket can fill it, for nothing here has been authenticated. So it is bounded in packets,
//! bytes and time, and a lane of leaves in packets, the oldest making room; each operation on arrival costs the
//! same however full the lot is; and what comes out is opened like any packet.
//!
//! Invariant: every kept packet is in the line (all, in order of arrival) and in its lane (those of its leaf), and
//! `bytes` is the sum of their lengths.

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
    slots: Vec<Slot>,
    free: Vec<u16>,
    line: List,
    lanes: Box<[List]>,
    bytes: usize,
    /// How many of those kept have seen their epoch come.
    reached: usize,
}

struct Slot {
    /// None while the slot is free.
    parked: Option<Parked>,
    reached: bool,
    links: Links,
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
            slots: Vec::new(),
            free: Vec::new(),
            line: List::EMPTY,
            lanes: Box::new([List::EMPTY; LANES]),
            bytes: 0,
            reached: 0,
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
            } else if usize::from(self.line.len) >= limits.parked_packets.min(MAX_PACKETS)
                || self.bytes + bytes > limits.parked_bytes
            {
                self.line.first
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
        for slot in &mut self.slots {
            if let Some(parked) = &slot.parked
                && !slot.reached
                && parked.epoch <= current
            {
                slot.reached = true;
                self.reached += 1;
            }
        }
    }

    /// The oldest packet whose epoch has begun.
    pub(super) fn take_reached(&mut self) -> Option<Parked> {
        if self.reached == 0 {
            return None;
        }
        let mut at = self.line.first;
        while let Some(slot) = self.slots.get(usize::from(at)) {
            if slot.reached {
                return self.remove(at);
            }
            at = slot.links.line.after;
        }
        None
    }

    /// Drops what has waited longer than it may; `gone` is told of each. Those whose epoch has begun wait for the
    /// caller.
    pub(super) fn expire(&mut self, limits: &Limits, now: Duration, mut gone: impl FnMut(LeafIndex)) {
        let mut at = self.line.first;
        while let Some(slot) = self.slots.get(usize::from(at)) {
            let after = slot.links.line.after;
            if !slot.reached {
                // In order of arrival, the first that is still good ends it.
                let Some(parked) = &slot.parked else { break };
                if now.abs_diff(parked.arrived) <= limits.parked_for {
                    break;
                }
                if let Some(parked) = self.remove(at) {
                    gone(parked.leaf);
                }
            }
            at = after;
        }
    }

    pub(super) fn packets(&self) -> usize {
        usize::from(self.line.len)
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// All that is kept, in order of arrival.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Parked> {
        std::iter::successors(self.slots.get(usize::from(self.line.first)), |slot| {
            self.slots.get(usize::from(slot.links.line.after))
        })
        .filter_map(|slot| slot.parked.as_ref())
    }

    fn insert(&mut self, lane: usize, parked: Parked) {
        let bytes = parked.packet.len();
        let slot = Slot { parked: Some(parked), reached: false, links: Links::default() };
        let at = match self.free.pop() {
            Some(at) => {
                if let Some(place) = self.slots.get_mut(usize::from(at)) {
                    *place = slot;
                }
                at
            }
            None => {
                // `park` keeps the line shorter than a slot's number can tell.
                let Ok(at) = u16::try_from(self.slots.len()) else { return };
                self.slots.push(slot);
                at
            }
        };
        self.bytes += bytes;
        self.line.append(&mut self.slots, at, |links| &mut links.line);
        if let Some(lane) = self.lanes.get_mut(lane) {
            lane.append(&mut self.slots, at, |links| &mut links.lane);
        }
    }

    fn remove(&mut self, at: u16) -> Option<Parked> {
        let slot = self.slots.get_mut(usize::from(at))?;
        let parked = slot.parked.take()?;
        if std::mem::take(&mut slot.reached) {
            self.reached -= 1;
        }
        self.line.unlink(&mut self.slots, at, |links| &mut links.line);
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

    fn append(&mut self, slots: &mut [Slot], at: u16, along: Along) {
        if let Some(slot) = slots.get_mut(usize::from(at)) {
            *along(&mut slot.links) = Link { before: self.last, after: NONE };
        }
        match slots.get_mut(usize::from(self.last)) {
            Some(last) => along(&mut last.links).after = at,
            None => self.first = at,
        }
        self.last = at;
        self.len += 1;
    }

    fn unlink(&mut self, slots: &mut [Slot], at: u16, along: Along) {
        let Some(slot) = slots.get_mut(usize::from(at)) else { return };
        let Link { before, after } = *along(&mut slot.links);
        match slots.get_mut(usize::from(before)) {
            Some(slot) => along(&mut slot.links).after = after,
            None => self.first = after,
        }
        match slots.get_mut(usize::from(after)) {
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
                assert_eq!(lot.reached, model.iter().filter(|kept| kept.4).count(), "seed {seed}, step {step}");
            }
            assert!(lot.slots.len() <= 10, "seed {seed}: slots are used again");
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
}
