//! What one ear knows of one speaker in one epoch: which packets it opened, and what the speaker's seals say of them.
//!
//! Invariants, whoever made the packets:
//! - only a seal moves the place where packets are looked for. From there on every packet that was opened is
//!   remembered by its hash, and none is opened that could not be: so no packet opens twice, and a forged one takes no
//!   place from a true one of the same counter;
//! - what is in doubt is held, not dropped: a packet too far ahead, a second packet of one counter, every packet of a
//!   speaker in whose name somebody else has been caught. The next seal tells which are true;
//! - memory is bounded: 32 bytes for each packet that was opened or sealed, [`FARTHEST`] of them at most, and what
//!   [`Held`] may hold. A packet far ahead takes no more than any other.

use std::{collections::VecDeque, time::Duration};

use super::held::Held;
pub(in crate::media) use super::held::HeldFrame;
use crate::{
    heard::Confirmed,
    media::{
        replay::{Stale, Window},
        seal::{
            SealMode, SealRules, Unsealed,
            statement::{PacketHash, Seal},
        },
    },
};

/// How long a frame may be without a seal before it is flagged.
pub(in crate::media) const COVER: Duration = Duration::from_secs(1);
/// How long a frame is held for its seal.
pub(in crate::media) const HOLD: Duration = Duration::from_secs(2);
/// For how long after a forgery only sealed frames are played of whom it impersonates.
pub(in crate::media) const CONTEST: Duration = Duration::from_secs(10);
/// How far behind the newest seal a packet may be: 1.3 s of 20 ms frames. At least as much as one seal covers.
const BACK: u64 = 64;
/// How far ahead of that place a packet may be without any seal: five minutes of 20 ms frames, as long as an epoch
/// should be. Where many are on stage it is less, for they share [`MOST_ENTRIES`], but never below 20 s.
const FARTHEST: u64 = 16_384;
const NEAREST: u64 = 1_024;
const MOST_ENTRIES: u64 = 200_000;
/// The most seals a second that are checked and prove to be forged, and as many more of those that are expected: half a
/// percent of a core each.
const MAX_FAILURES: u32 = 100;
/// Who has said nothing for so many milliseconds may send a short seal.
const PAUSED: u32 = 100;

/// What is known of one counter.
#[derive(Clone, Copy, Debug)]
struct Entry {
    counter: u64,
    hash: PacketHash,
    /// When it was opened.
    at: Millis,
    state: State,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    Unknown,
    /// This packet was opened, and no seal has covered it.
    Opened,
    /// The same, for longer than [`COVER`]: it was flagged.
    Overdue,
    /// The speaker sealed this packet, which has not been opened.
    Sealed,
    /// The speaker sealed this packet, and it was opened.
    Verified,
}

const UNKNOWN: Entry = Entry { counter: 0, hash: [0; 16], at: Millis(0), state: State::Unknown };

/// Milliseconds on the caller's clock; only short differences mean something.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
struct Millis(u32);

impl Millis {
    #[inline]
    const fn of(now: Duration) -> Self {
        // In 32 bits, as they are kept: a division of 128 bits would be felt at each frame.
        Self((now.as_secs() as u32).wrapping_mul(1000).wrapping_add(now.subsec_millis()))
    }

    /// How far apart two moments are, either way: who jumps with the clock is flagged sooner, not later.
    #[inline]
    const fn apart(self, other: Self) -> u32 {
        (self.0.wrapping_sub(other.0) as i32).unsigned_abs()
    }
}

/// What to do with a packet whose tag verifies.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::media) enum Look {
    /// Play it: a seal will tell.
    Open,
    /// Play it: a seal covers it.
    OpenSealed,
    /// Keep it until a seal tells.
    Hold,
    /// Refuse it: the speaker sealed another packet of that counter.
    NotTheirs,
    Stale(Stale),
}

/// What a valid seal brought to light.
#[derive(Debug, Default)]
pub(in crate::media) struct Outcome {
    /// Frames that were played and are the speaker's.
    pub(in crate::media) verified: u64,
    /// How many of them had been flagged.
    pub(in crate::media) flagged_before: u64,
    /// Frames to play, by counter.
    pub(in crate::media) released: Vec<HeldFrame>,
    /// Counters of packets that are not the speaker's, and whether they were played.
    pub(in crate::media) forged: Vec<(u64, bool)>,
    /// Counters of frames that were played and that no seal will cover any more.
    pub(in crate::media) unverified: Vec<u64>,
}

/// The speaker has signed two things of one counter, or gone back behind what they had signed: it is they who cheat.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::media) struct Equivocation;

#[derive(Debug)]
pub(in crate::media) struct Watch {
    /// Numbers of the seals that were taken.
    numbers: Window,
    newest: Option<u64>,
    /// One more than the highest counter that a seal covers.
    sealed_to: u64,
    /// No counter below it is looked for.
    base: u64,
    /// By counter, those that something is known of.
    entries: VecDeque<Entry>,
    /// How far beyond `base` a counter may be.
    limit: u64,
    /// No entry before it is [`State::Opened`].
    first_opened: u64,
    /// Since when frames beyond everything sealed have been played.
    uncovered_since: Option<Millis>,
    /// When the next entry may be overdue.
    due: Option<Millis>,
    contested_until: Option<Duration>,
    /// The newest seal came long after what was played beyond it: until then, for [`CONTEST`] after that was played.
    suspected_until: Option<Duration>,
    held: Held,
    /// Frames that were played and have been verified since, to be told with the next.
    confirmed: Confirmed,
    failures: Budget,
    /// The same of those that looked like the speaker's next.
    expected_failures: Budget,
}

/// How much time there is for forged seals: it comes back as it passes, so that a burst does not use up what comes
/// after it.
#[derive(Debug)]
struct Budget {
    /// In milliseconds, as of `at`.
    left: u32,
    at: Millis,
}

impl Budget {
    /// Whether another may be checked.
    fn allows(&self, now: Millis) -> bool {
        self.by(now) >= Self::COST
    }

    fn spend(&mut self, now: Millis) {
        *self = Self { left: self.by(now).saturating_sub(Self::COST), at: now };
    }

    fn by(&self, now: Millis) -> u32 {
        self.left.saturating_add(self.at.apart(now)).min(Self::FULL)
    }

    const FULL: u32 = 1000;
    const COST: u32 = Self::FULL / MAX_FAILURES;
}

impl Default for Budget {
    fn default() -> Self {
        Self { left: Self::FULL, at: Millis(0) }
    }
}

impl Watch {
    /// For one of so many `speakers`.
    pub(in crate::media) fn new(speakers: usize) -> Self {
        Self {
            limit: (MOST_ENTRIES / speakers.max(1) as u64).clamp(NEAREST, FARTHEST),
            first_opened: 0,
            numbers: Window::default(),
            newest: None,
            sealed_to: 0,
            base: 0,
            // What a speaker's seals leave open, so that no frame makes it grow.
            entries: VecDeque::with_capacity(3 * BACK as usize),
            uncovered_since: None,
            due: None,
            contested_until: None,
            suspected_until: None,
            held: Held::new(),
            confirmed: Confirmed::NONE,
            failures: Budget::default(),
            expected_failures: Budget::default(),
        }
    }

    /// What to do with the packet of that counter and hash, if its tag verifies. Changes nothing.
    #[inline]
    pub(in crate::media) fn look(&self, rules: &SealRules, counter: u64, hash: &PacketHash, now: Duration) -> Look {
        let Some(ahead) = counter.checked_sub(self.base) else {
            return Look::Stale(Stale::TooOld);
        };
        if ahead >= self.limit {
            return self.held_or(counter, hash, Look::Hold);
        }
        match self.known(counter) {
            // As nearly all do, it follows what came before.
            None if self.held.is_empty() && !self.must_hold(rules, now) => Look::Open,
            entry => self.look_closer(entry.unwrap_or(&UNKNOWN), rules, counter, hash, now),
        }
    }

    #[cold]
    fn look_closer(&self, entry: &Entry, rules: &SealRules, counter: u64, hash: &PacketHash, now: Duration) -> Look {
        let same = entry.hash == *hash;
        match entry.state {
            State::Unknown if self.must_hold(rules, now) => self.held_or(counter, hash, Look::Hold),
            State::Unknown => self.held_or(counter, hash, Look::Open),
            State::Opened | State::Overdue | State::Verified if same => Look::Stale(Stale::Seen),
            State::Opened | State::Overdue => self.held_or(counter, hash, Look::Hold),
            State::Sealed if same => Look::OpenSealed,
            State::Sealed | State::Verified => Look::NotTheirs,
        }
    }

    /// A frame was played that [`look`](Self::look) let pass, as it says.
    #[inline]
    pub(in crate::media) fn opened(&mut self, counter: u64, hash: &PacketHash, now: Duration, sealed: bool) {
        let at = Millis::of(now);
        let state = if sealed {
            State::Verified
        } else {
            if counter >= self.sealed_to {
                self.uncovered_since.get_or_insert(at);
            }
            self.due.get_or_insert(Millis(at.0.wrapping_add(COVER.as_millis() as u32)));
            self.first_opened = self.first_opened.min(counter);
            State::Opened
        };
        if let Some(entry) = self.entry(counter) {
            *entry = Entry { counter, hash: *hash, at, state };
        }
    }

    /// The frames that were verified after they were played, since this was asked last.
    #[inline]
    pub(in crate::media) const fn take_confirmed(&mut self) -> Confirmed {
        std::mem::replace(&mut self.confirmed, Confirmed::NONE)
    }

    /// Keeps a frame until its seal comes; `false` if there is no room for it, or if another had to go for it.
    pub(in crate::media) fn hold(&mut self, counter: u64, hash: &PacketHash, frame: &[u8], now: Duration) -> bool {
        if self.is_conflict(counter, hash) {
            self.contest(now);
        }
        self.held.keep(counter, hash, frame, now, self.sealed_to)
    }

    /// Somebody else was caught speaking in this speaker's name.
    pub(in crate::media) fn contest(&mut self, now: Duration) {
        self.contested_until = Some(now.saturating_add(CONTEST));
    }

    /// The same in the epoch before.
    pub(in crate::media) fn stay_contested(&mut self, before: &Self, now: Duration) {
        self.contested_until = before.contested_until;
        if before.suspected_until.is_some_and(|until| is_before(now, until)) {
            self.contest(now);
        }
    }

    /// Whether a seal of that number was taken before, or one so much younger that it is of no use.
    pub(in crate::media) fn knows(&self, number: u64) -> bool {
        self.numbers.check(number).is_err()
    }

    /// Whether there is time to check a seal: whoever floods forged ones costs little, and those that come as the
    /// speaker's do are checked all the same.
    pub(in crate::media) fn has_time_for(&self, seal: &Seal, rules: &SealRules, now: Duration) -> bool {
        let now = Millis::of(now);
        self.failures.allows(now) || self.is_expected(seal, rules, now) && self.expected_failures.allows(now)
    }

    /// A seal that was checked is none of the speaker's, or not to be taken.
    pub(in crate::media) fn fail(&mut self, seal: &Seal, rules: &SealRules, now: Duration) {
        let now = Millis::of(now);
        if !self.failures.allows(now) && self.is_expected(seal, rules, now) {
            self.expected_failures.spend(now);
        } else {
            self.failures.spend(now);
        }
    }

    /// Takes a seal whose number was checked and whose signature has verified.
    pub(in crate::media) fn take(&mut self, seal: &Seal, now: Duration) -> Result<Outcome, Equivocation> {
        let newer = self.newest.is_none_or(|newest| seal.number > newest);
        let follows = if newer { seal.first >= self.sealed_to } else { seal.end() <= self.sealed_to };
        if !follows || seal.packets().any(|(counter, hash)| self.contradicts(counter, hash)) {
            return Err(Equivocation);
        }
        self.numbers.mark(seal.number);
        let mut outcome = Outcome::default();
        if newer {
            self.newest = Some(seal.number);
            self.sealed_to = seal.end();
            self.move_to(seal.end().saturating_sub(BACK), &mut outcome);
        }
        for (counter, hash) in seal.packets() {
            self.settle(counter, hash, now, &mut outcome);
        }
        outcome.released.sort_by_key(|held| held.counter);
        if !outcome.forged.is_empty() {
            self.contest(now);
        }
        let moment = Millis::of(now);
        let beyond = self.entries.range(self.place(self.sealed_to)..).filter(|entry| entry.state.is_uncovered());
        let beyond = beyond.map(|entry| (entry.at.apart(moment), entry.at));
        self.uncovered_since = beyond.clone().max_by_key(|(age, _)| *age).map(|(_, at)| at);
        // A speaker's seals come within a second of what lies before them. Who was played long ago beyond this one is
        // somebody else, or the seals are held up: either way what comes next waits for its own. But not for as long as
        // it takes the speaker to get to what was forged far ahead, nor for seals that never come.
        if newer {
            let lapsed = beyond.map(|(age, _)| Duration::from_millis(age.into())).filter(|age| *age >= COVER);
            let left = lapsed.min().and_then(|age| CONTEST.checked_sub(age));
            self.suspected_until = left.map(|left| now.saturating_add(left));
        }
        Ok(outcome)
    }

    /// Flags what no seal has covered in time, and drops what was held too long: the counters of the one, the number
    /// of the other.
    pub(in crate::media) fn expire(&mut self, now: Duration, mut flag: impl FnMut(u64)) -> u64 {
        let dropped = self.held.expire(now, HOLD);
        let moment = Millis::of(now);
        let cover = COVER.as_millis() as u32;
        // Before that moment, on a clock that did not jump, there is nothing to flag.
        let Some(due) = self.due else { return dropped };
        if due.apart(moment) <= cover && (moment.0.wrapping_sub(due.0) as i32) < 0 {
            return dropped;
        }
        let mut next: Option<u32> = None;
        let from = self.place(self.first_opened);
        self.first_opened = u64::MAX;
        for entry in self.entries.range_mut(from..) {
            if entry.state != State::Opened {
                continue;
            }
            let age = entry.at.apart(moment);
            if age >= cover {
                entry.state = State::Overdue;
                flag(entry.counter);
            } else {
                self.first_opened = self.first_opened.min(entry.counter);
                next = Some(next.map_or(age, |oldest| oldest.max(age)));
            }
        }
        self.due = next.map(|age| Millis(moment.0.wrapping_add(cover - age)));
        dropped
    }

    /// The counters of frames that were played, are not flagged, and will meet no seal: the epoch is over.
    pub(in crate::media) fn leftover(&self) -> impl Iterator<Item = u64> {
        self.entries.iter().filter(|entry| entry.state == State::Opened).map(|entry| entry.counter)
    }

    /// Whether somebody else was caught speaking in this speaker's name, lately, or must be suspected to.
    pub(in crate::media) fn is_contested(&self, now: Duration) -> bool {
        [self.suspected_until, self.contested_until].into_iter().flatten().any(|until| is_before(now, until))
    }

    /// For how long frames have been played beyond everything that was sealed, if for too long.
    pub(in crate::media) fn lapsed(&self, now: Duration) -> Option<Duration> {
        let apart = self.uncovered_since?.apart(Millis::of(now));
        let apart = Duration::from_millis(apart.into());
        (apart >= COVER).then_some(apart)
    }

    /// Everything in it that decides about packets, for a digest.
    pub(in crate::media) fn digest(&self, mut update: impl FnMut(&[u8])) {
        for word in self.numbers.words().chain([self.sealed_to, self.base, self.entries.len() as u64]) {
            update(&word.to_be_bytes());
        }
        for entry in &self.entries {
            update(&entry.counter.to_be_bytes());
            update(&entry.hash);
            update(&[entry.state as u8]);
        }
        for (counter, hash) in self.held.iter() {
            update(&counter.to_be_bytes());
            update(hash);
        }
        for until in [self.contested_until, self.suspected_until] {
            update(&until.unwrap_or_default().as_nanos().to_be_bytes());
        }
    }

    fn must_hold(&self, rules: &SealRules, now: Duration) -> bool {
        rules.mode == SealMode::Strict
            || self.is_contested(now)
            || rules.unsealed == Unsealed::Hold && self.lapsed(now).is_some()
    }

    /// A replay of what is held, or `otherwise`.
    fn held_or(&self, counter: u64, hash: &PacketHash, otherwise: Look) -> Look {
        if self.held.arrival(counter, hash).is_some() { Look::Stale(Stale::Seen) } else { otherwise }
    }

    /// Whether another packet of that counter is there: one of them is forged.
    fn is_conflict(&self, counter: u64, hash: &PacketHash) -> bool {
        self.known(counter).is_some_and(|entry| entry.state.is_uncovered() && entry.hash != *hash)
            || self.held.of(counter) > usize::from(self.held.arrival(counter, hash).is_some())
    }

    /// Whether a seal is what the speaker may send next: one that follows the last, and whose last packet came; a whole
    /// one, or the speaker has said nothing since for a while. Who forges has seen that packet no sooner than the ear, and
    /// behind it comes the speaker's own seal.
    fn is_expected(&self, seal: &Seal, rules: &SealRules, now: Millis) -> bool {
        let Some((counter, hash)) = seal.packets().last() else { return false };
        let opened = self.known(counter).filter(|entry| entry.state.is_uncovered() && entry.hash == *hash);
        let opened = opened.map(|entry| entry.at);
        let held = || self.held.arrival(counter, hash).map(Millis::of);
        let Some(came) = opened.or_else(held) else { return false };
        let ends = [self.entries.back().map(|entry| entry.counter), self.held.last()];
        let is_last = ends.into_iter().flatten().all(|last| last <= counter);
        let is_whole = seal.hashes.len() == usize::from(rules.every);
        seal.first >= self.sealed_to && (is_whole || is_last && came.apart(now) >= PAUSED)
    }

    /// Whether an earlier seal says another thing of that counter.
    fn contradicts(&self, counter: u64, hash: &PacketHash) -> bool {
        let known = self.known(counter);
        known.is_some_and(|entry| matches!(entry.state, State::Sealed | State::Verified) && entry.hash != *hash)
    }

    /// Lets go of everything before `base`.
    fn move_to(&mut self, base: u64, outcome: &mut Outcome) {
        self.base = self.base.max(base);
        while let Some(entry) = self.entries.front().filter(|entry| entry.counter < base) {
            if entry.state == State::Opened {
                outcome.unverified.push(entry.counter);
            }
            self.entries.pop_front();
        }
    }

    /// Settles one counter by what its seal says.
    fn settle(&mut self, counter: u64, hash: &PacketHash, now: Duration, outcome: &mut Outcome) {
        let Some(entry) = self.entry(counter) else { return };
        let Entry { hash: known, state, .. } = *entry;
        let mut opened = false;
        match state {
            State::Verified => opened = true,
            State::Opened | State::Overdue if known == *hash => {
                opened = true;
                self.confirmed.add(counter);
                outcome.verified += 1;
                outcome.flagged_before += u64::from(state == State::Overdue);
            }
            State::Opened | State::Overdue => outcome.forged.push((counter, true)),
            State::Unknown | State::Sealed => {}
        }
        while let Some(held) = self.held.take(counter) {
            if held.hash != *hash {
                outcome.forged.push((counter, false));
            } else if !opened {
                opened = true;
                outcome.released.push(held);
            }
        }
        if let Some(entry) = self.entry(counter) {
            let state = if opened { State::Verified } else { State::Sealed };
            *entry = Entry { counter, hash: *hash, at: Millis::of(now), state };
        }
    }

    /// What is known of a counter.
    #[inline]
    fn known(&self, counter: u64) -> Option<&Entry> {
        // As nearly all do, it follows what came before.
        if self.entries.back().is_none_or(|last| last.counter < counter) {
            return None;
        }
        self.entries.get(self.place(counter)).filter(|entry| entry.counter == counter)
    }

    /// The entry of a counter, made if it is within bounds.
    fn entry(&mut self, counter: u64) -> Option<&mut Entry> {
        counter.checked_sub(self.base).filter(|ahead| *ahead < self.limit)?;
        if self.entries.back().is_none_or(|last| last.counter < counter) {
            self.entries.push_back(Entry { counter, ..UNKNOWN });
            return self.entries.back_mut();
        }
        let place = self.place(counter);
        if self.entries.get(place).is_none_or(|entry| entry.counter != counter) {
            self.entries.insert(place, Entry { counter, ..UNKNOWN });
        }
        self.entries.get_mut(place)
    }

    /// The place of the first entry that is not of a lower counter.
    fn place(&self, counter: u64) -> usize {
        self.entries.partition_point(|entry| entry.counter < counter)
    }
}

/// Whether `until`, which was [`CONTEST`] away at most, is still to come on a clock that may jump.
fn is_before(now: Duration, until: Duration) -> bool {
    now < until && until.saturating_sub(now) <= CONTEST
}

impl State {
    const fn is_uncovered(self) -> bool {
        matches!(self, Self::Opened | Self::Overdue)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use rand::{RngExt, SeedableRng, rngs::StdRng};

    use super::*;
    use crate::media::{replay, seal::Proof};

    /// Two kinds of packets at each counter: 0 is the speaker's, the others are forged.
    fn hash(counter: u64, kind: u8) -> PacketHash {
        let mut hash = [kind; 16];
        hash[..8].copy_from_slice(&counter.to_be_bytes());
        hash
    }

    fn ms(milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds)
    }

    /// The same promises, kept the slow way: everything that ever happened, by counter and kind.
    #[derive(Default)]
    struct Model {
        /// The end of the newest seal.
        sealed_to: u64,
        /// Counters that a seal covered which came in time.
        sealed: BTreeSet<u64>,
        /// When each packet was played; never forgotten.
        opened: BTreeMap<(u64, u8), u64>,
        held: BTreeMap<(u64, u8), u64>,
        /// Packets that were told of: flagged, forged, or confirmed.
        flagged: BTreeSet<(u64, u8)>,
        forged: BTreeSet<(u64, u8)>,
        verified: BTreeSet<u64>,
    }

    impl Model {
        fn base(&self) -> u64 {
            self.sealed_to.saturating_sub(BACK)
        }

        fn look(&self, limit: u64, counter: u64, kind: u8, must_hold: bool) -> Look {
            let is_open = |kind| self.opened.contains_key(&(counter, kind));
            let unless_held = |look| {
                if self.held.contains_key(&(counter, kind)) { Look::Stale(Stale::Seen) } else { look }
            };
            if counter < self.base() {
                Look::Stale(Stale::TooOld)
            } else if counter >= self.base() + limit {
                unless_held(Look::Hold)
            } else if self.sealed.contains(&counter) {
                match (kind, is_open(0)) {
                    (0, true) => Look::Stale(Stale::Seen),
                    (0, false) => Look::OpenSealed,
                    _ => Look::NotTheirs,
                }
            } else if is_open(kind) {
                Look::Stale(Stale::Seen)
            } else if must_hold || (0..4).any(is_open) {
                unless_held(Look::Hold)
            } else {
                unless_held(Look::Open)
            }
        }

        /// Flags what was played, is not told of yet, and is due: by counter, and the time when it was played.
        fn flag(&mut self, is_due: impl Fn(u64, u64) -> bool) -> BTreeSet<u64> {
            let due = self.opened.iter().filter(|((counter, _), at)| is_due(*counter, **at)).map(|(key, _)| *key);
            let is_new = |key: &(u64, u8)| {
                !self.flagged.contains(key) && !self.forged.contains(key) && !self.sealed.contains(&key.0)
            };
            let due: BTreeSet<_> = due.filter(is_new).collect();
            self.flagged.extend(&due);
            due.iter().map(|(counter, _)| *counter).collect()
        }
    }

    #[test]
    fn the_watch_does_what_a_plain_list_of_all_that_happened_says() {
        for seed in 0..400 {
            let mut random = StdRng::seed_from_u64(seed);
            let every = [1_u64, 5, 25, 50][random.random_range(0..4)];
            let rules = SealRules {
                mode: if seed % 4 == 0 { SealMode::Strict } else { SealMode::Live },
                unsealed: if seed % 3 == 0 { Unsealed::Hold } else { Unsealed::Play },
                every: every as u8,
                ..SealRules::default()
            };
            // One of many, so that the bound is met.
            let (mut watch, mut model) = (Watch::new(100_000), Model::default());
            let limit = watch.limit;
            // Seals on their way, those taken, where the speaker is, and the time.
            let (mut seals, mut taken) = (Vec::new(), Vec::new());
            let (mut said, mut made, mut now) = (0, 0, 5_u64);
            for step in 0..1_500 {
                let what = format!("seed {seed}, step {step}");
                now += [0, 1, 20, 20, 20, 30][random.random_range(0..6)];
                if random.random_range(0..300) == 0 {
                    now += random.random_range(0..3_000);
                }
                match random.random_range(0..20) {
                    0..=1 => {
                        let mut told = BTreeSet::new();
                        let dropped = watch.expire(ms(now), |counter| assert!(told.insert(counter), "{what}"));
                        let before = model.held.len();
                        model.held.retain(|_, at| now - *at <= 2000);
                        assert_eq!(dropped as usize, before - model.held.len(), "{what}");
                        let base = model.base();
                        assert_eq!(told, model.flag(|counter, at| counter >= base && now - at >= 1000), "{what}");
                    }
                    2..=3 if !seals.is_empty() => {
                        let seal: Seal = if random.random_range(0..5) == 0 && !taken.is_empty() {
                            Seal::clone(&taken[random.random_range(0..taken.len())])
                        } else {
                            seals.swap_remove(random.random_range(0..seals.len()))
                        };
                        let of_no_use = |other: &Seal| {
                            other.number == seal.number || other.number + 1 > seal.number + replay::WIDTH
                        };
                        let again = taken.iter().any(of_no_use);
                        assert_eq!(watch.knows(seal.number), again, "{what}");
                        if again {
                            continue;
                        }
                        let outcome = watch.take(&seal, ms(now)).expect("no honest speaker contradicts themselves");
                        // First what falls behind is told.
                        let sealed_to = model.sealed_to.max(seal.end());
                        let told = model.flag(|counter, _| counter < sealed_to.saturating_sub(BACK));
                        assert_eq!(outcome.unverified.iter().copied().collect::<BTreeSet<_>>(), told, "{what}");
                        model.sealed_to = sealed_to;
                        let (mut verified, mut flagged_before) = (0, 0);
                        let (mut forged, mut released) = (Vec::new(), Vec::new());
                        for counter in seal.first.max(model.base())..seal.end() {
                            model.sealed.insert(counter);
                            for kind in 0..4 {
                                let key = (counter, kind);
                                let (was_held, was_open) =
                                    (model.held.remove(&key).is_some(), model.opened.contains_key(&key));
                                match kind {
                                    0 if was_open && model.verified.insert(counter) => {
                                        verified += 1;
                                        flagged_before += u64::from(model.flagged.contains(&key));
                                    }
                                    0 if was_held => {
                                        released.push(counter);
                                        model.verified.insert(counter);
                                        assert!(model.opened.insert(key, now).is_none(), "{what}");
                                    }
                                    0 => {}
                                    _ if was_open && model.forged.insert(key) => forged.push((counter, true)),
                                    _ if was_held => forged.push((counter, false)),
                                    _ => {}
                                }
                            }
                        }
                        let mut told = outcome.forged.clone();
                        told.sort_unstable();
                        forged.sort_unstable();
                        assert_eq!(told, forged, "{what}");
                        let out: Vec<_> = outcome.released.iter().map(|held| held.counter).collect();
                        assert_eq!(out, released, "{what}");
                        assert!(outcome.released.iter().all(|held| held.hash == hash(held.counter, 0)), "{what}");
                        assert_eq!((outcome.verified, outcome.flagged_before), (verified, flagged_before), "{what}");
                        assert!(forged.is_empty() || watch.is_contested(ms(now)), "{what}");
                        taken.push(seal);
                    }
                    _ => {
                        said += 1;
                        if said % every == 0 {
                            let first = said - every;
                            let hashes = (first..said).map(|counter| hash(counter, 0)).collect();
                            let signature = [0; 64];
                            seals.push(Seal { number: made, proof: Proof::Deniable, first, hashes, signature });
                            made += 1;
                            // Some are lost, others late.
                            if random.random_range(0..6) == 0 {
                                seals.swap_remove(random.random_range(0..seals.len()));
                            }
                        }
                        for _ in 0..random.random_range(1..3) {
                            if model.held.len() >= 120 {
                                break;
                            }
                            let (counter, kind) = match random.random_range(0..12) {
                                0 => (said + random.random_range(0..60), random.random_range(1..4)),
                                1 => (said + limit - random.random_range(0..200), random.random_range(1..4)),
                                2 => (said + (1 << 24), 1),
                                3 => (u64::from(random.random::<u32>()) % said, random.random_range(0..4)),
                                4 => (said.saturating_sub(random.random_range(0..90)), random.random_range(0..3)),
                                _ => (said - 1, 0),
                            };
                            // There is no true packet of what was not said.
                            let kind = if counter >= said { kind.max(1) } else { kind };
                            let must_hold = rules.mode == SealMode::Strict
                                || watch.is_contested(ms(now))
                                || rules.unsealed == Unsealed::Hold && watch.lapsed(ms(now)).is_some();
                            let packet = hash(counter, kind);
                            let look = watch.look(&rules, counter, &packet, ms(now));
                            let plain = model.look(limit, counter, kind, must_hold);
                            assert_eq!(look, plain, "{what}: {counter}, {kind}");
                            // Some packets do not verify, and must leave no mark.
                            if random.random_range(0..10) == 0 {
                                continue;
                            }
                            match look {
                                Look::Open | Look::OpenSealed => {
                                    watch.opened(counter, &packet, ms(now), look == Look::OpenSealed);
                                    let again = model.opened.insert((counter, kind), now);
                                    assert!(again.is_none(), "{what}: {counter}, {kind} came out twice");
                                    if look == Look::OpenSealed {
                                        assert_eq!(kind, 0, "{what}");
                                        model.verified.insert(counter);
                                    }
                                }
                                Look::Hold => {
                                    let other = |key: &&(u64, u8)| key.0 == counter && key.1 != kind;
                                    let is_conflict = model.held.keys().any(|key| other(&key))
                                        || counter < model.base() + limit && model.opened.keys().any(|key| other(&key));
                                    assert!(watch.hold(counter, &packet, b"frame", ms(now)), "{what}");
                                    model.held.insert((counter, kind), now);
                                    assert!(!is_conflict || watch.is_contested(ms(now)), "{what}");
                                }
                                Look::NotTheirs => assert_ne!(kind, 0, "{what}"),
                                Look::Stale(_) => {}
                            }
                        }
                    }
                }
                assert_eq!(watch.held.len(), model.held.len(), "{what}");
                assert!(watch.entries.len() as u64 <= limit, "{what}");
            }
            // Whatever was played is confirmed, told, or still open.
            let left: BTreeSet<_> = watch.leftover().collect();
            for key in model.opened.keys() {
                let told = model.flagged.contains(key) || model.forged.contains(key);
                let confirmed = key.1 == 0 && model.verified.contains(&key.0);
                assert!(told || confirmed || left.contains(&key.0), "seed {seed}: {key:?}");
            }
        }
    }

    #[test]
    fn who_jumps_with_the_clock_is_flagged_sooner_not_later() {
        for now in [0, 90_000, 101_000, 500_000] {
            let (mut watch, mut flagged) = (Watch::new(1), Vec::new());
            watch.opened(7, &hash(7, 0), ms(100_000), false);
            watch.expire(ms(100_999), |counter| panic!("{counter} is flagged too soon"));
            watch.expire(ms(now), |counter| flagged.push(counter));
            assert_eq!(flagged, [7], "at {now}");
        }
    }

    #[test]
    fn a_digest_tells_what_was_played_and_what_is_held() {
        let digest = |watch: &Watch| {
            let mut digest = Vec::new();
            watch.digest(|bytes| digest.extend_from_slice(bytes));
            digest
        };
        let mut watch = Watch::new(1);
        let mut digests = BTreeSet::from([digest(&watch)]);
        watch.opened(0, &hash(0, 0), ms(0), false);
        digests.insert(digest(&watch));
        watch.hold(1, &hash(1, 0), b"frame", ms(0));
        digests.insert(digest(&watch));
        watch.contest(ms(0));
        digests.insert(digest(&watch));
        assert_eq!(digests.len(), 4);
    }

    fn seal_of(counters: std::ops::Range<u64>, last: u8) -> Seal {
        let kind = |counter| if counter + 1 == counters.end { last } else { 0 };
        let hashes = counters.clone().map(|counter| hash(counter, kind(counter))).collect();
        Seal { number: 0, proof: Proof::Deniable, first: counters.start, hashes, signature: [0; 64] }
    }

    /// While forged seals come as fast as they may be checked.
    #[test]
    fn in_a_flood_there_is_time_for_the_seal_that_the_speaker_may_send_next_and_for_no_other() {
        let (mut watch, forged) = (Watch::new(1), seal_of(50..55, 1));
        let rules = SealRules { every: 5, ..SealRules::default() };
        let flood = |watch: &mut Watch, now| (0..300).for_each(|_| watch.fail(&forged, &rules, now));
        (0..7).for_each(|counter| watch.opened(counter, &hash(counter, 0), ms(1000), false));
        watch.hold(7, &hash(7, 0), b"frame", ms(1000));
        let mut has_time = |now, seal: &Seal| {
            flood(&mut watch, ms(now));
            watch.has_time_for(seal, &rules, ms(now))
        };
        assert!(has_time(1000, &seal_of(0..5, 0)), "a whole one, whose last packet came");
        assert!(!has_time(1000, &seal_of(0..5, 1)) && !has_time(1000, &seal_of(3..8, 1)), "another packet came");
        assert!(has_time(1000, &seal_of(3..8, 0)), "it is held");
        assert!(!has_time(1000, &seal_of(8..13, 0)), "it has not come");
        assert!(!has_time(1099, &seal_of(5..8, 0)) && has_time(1100, &seal_of(5..8, 0)), "a short one, after a pause");
        assert!(!has_time(1200, &seal_of(5..7, 0)) && !has_time(1200, &seal_of(3..6, 0)), "more was said since");

        // Of those too as many are checked as there is time for, and no more.
        let next = seal_of(0..5, 0);
        let mut watch = Watch::new(1);
        (0..5).for_each(|counter| watch.opened(counter, &hash(counter, 0), ms(1000), false));
        flood(&mut watch, ms(1100));
        assert!(watch.has_time_for(&seal_of(3..5, 0), &rules, ms(1100)), "a short one that ends with the last");
        let mut watch = Watch::new(1);
        (0..5).for_each(|counter| watch.opened(counter, &hash(counter, 0), ms(1000), false));
        for _ in 0..2 * MAX_FAILURES {
            assert!(watch.has_time_for(&next, &rules, ms(1000)));
            watch.fail(&next, &rules, ms(1000));
        }
        assert!(!watch.has_time_for(&next, &rules, ms(1000)));
        assert!(watch.has_time_for(&next, &rules, ms(1010)), "and it comes back");
    }

    /// More than is held: the frames that take the most room for what they are worth go first.
    #[test]
    fn long_and_far_frames_make_room_for_those_where_the_speaker_is() {
        let mut watch = Watch::new(1);
        for counter in 0..50 {
            for kind in [1, 2, 0, 3, 4] {
                watch.hold(counter, &hash(counter, kind), &vec![0; if kind == 0 { 60 } else { 2048 }], ms(counter));
                watch.hold(counter + 5_000, &hash(counter + 5_000, kind), &[0; 2048], ms(counter));
            }
        }
        assert!(watch.held.len() <= 1024);
        let hashes = (0..50).map(|counter| hash(counter, 0)).collect();
        let seal = Seal { number: 0, proof: Proof::Deniable, first: 0, hashes, signature: [0; 64] };
        let released = watch.take(&seal, ms(60)).unwrap().released;
        assert_eq!(released.iter().map(|held| held.counter).collect::<Vec<_>>(), (0..50).collect::<Vec<_>>());
    }
}
