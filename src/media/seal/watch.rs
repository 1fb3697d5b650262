//! What one ear knows of one speaker in one epoch: which packets it opened, and what the speaker's seals say of them.
//!
//! Invariants, whoever made the packets:
//! - only a seal moves the place where packets are looked for. From there on every packet that was opened is
//!   remembered by its hash, and none is opened that could not be: so no packet opens twice, and a forged one takes no
//!   place from a true one of the same counter;
//! - what is in doubt is held, not dropped: a packet too far ahead, a second packet of one counter, every packet of a
//!   speaker in whose name somebody else has been caught. The next seal tells which are true;
//! - memory is bounded: [`FARTHEST`] entries of 24 bytes, and [`MAX_HELD`] frames of [`MAX_HELD_BYTES`] together.

use std::{collections::VecDeque, time::Duration};

use crate::media::{
    replay::{Stale, Window},
    seal::{
        SealMode, SealRules, Unsealed,
        statement::{PacketHash, Seal},
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
/// should be. Where many are on stage it is less, for they share [`MOST_ENTRIES`], but never below 41 s.
const FARTHEST: u64 = 16_384;
const NEAREST: u64 = 2_048;
const MOST_ENTRIES: u64 = 700_000;
/// The most frames held of one speaker.
const MAX_HELD: usize = 256;
/// The most bytes of them.
const MAX_HELD_BYTES: usize = 64 * 1024;
/// The most seals a second that are checked and prove to be forged, and as many more of those that are expected: half a
/// percent of a core each.
const MAX_FAILURES: u32 = 100;

/// What is known of one counter.
#[derive(Clone, Copy, Debug)]
struct Entry {
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

const UNKNOWN: Entry = Entry { hash: [0; 16], at: Millis(0), state: State::Unknown };

/// Milliseconds on the caller's clock; only short differences mean something.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
struct Millis(u32);

impl Millis {
    #[inline]
    const fn of(now: Duration) -> Self {
        Self(now.as_millis() as u32)
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

/// A frame that waits for its seal.
#[derive(Debug)]
pub(in crate::media) struct HeldFrame {
    pub(in crate::media) counter: u64,
    pub(in crate::media) frame: Box<[u8]>,
    pub(in crate::media) arrived: Duration,
    hash: PacketHash,
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
    /// The counter of the first entry.
    base: u64,
    entries: VecDeque<Entry>,
    /// How many entries there may be.
    limit: u64,
    /// No entry before it is [`State::Opened`].
    first_opened: u64,
    /// Since when frames beyond everything sealed have been played.
    uncovered_since: Option<Millis>,
    /// When the next entry may be overdue.
    due: Option<Millis>,
    contested_until: Option<Duration>,
    /// The newest seal came long after what was played beyond it.
    suspected: bool,
    /// By counter, those of one counter by arrival.
    held: Vec<HeldFrame>,
    held_bytes: usize,
    failures: Failures,
    /// The same of those that looked like the speaker's next.
    expected_failures: Failures,
}

/// Forged seals in the second that began then.
#[derive(Debug, Default)]
struct Failures {
    since: Millis,
    count: u32,
}

impl Failures {
    fn are_many(&self, now: Millis) -> bool {
        self.count >= MAX_FAILURES && self.since.apart(now) < 1000
    }

    fn add(&mut self, now: Millis) {
        if self.since.apart(now) >= 1000 {
            *self = Self { since: now, count: 0 };
        }
        self.count += 1;
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
            suspected: false,
            held: Vec::new(),
            held_bytes: 0,
            failures: Failures::default(),
            expected_failures: Failures::default(),
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
        let entry = self.entries.get(ahead as usize).unwrap_or(&UNKNOWN);
        let same = entry.hash == *hash;
        match entry.state {
            State::Unknown if self.must_hold(rules, now) => self.held_or(counter, hash, Look::Hold),
            State::Unknown if self.held.is_empty() => Look::Open,
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
            *entry = Entry { hash: *hash, at, state };
        }
    }

    /// Keeps a frame until its seal comes; `false` if there is no room for it, or if another had to go for it.
    pub(in crate::media) fn hold(&mut self, counter: u64, hash: &PacketHash, frame: &[u8], now: Duration) -> bool {
        if self.is_conflict(counter, hash) {
            self.contest(now);
        }
        self.held_bytes += frame.len();
        let place = self.held.partition_point(|held| held.counter <= counter);
        self.held.insert(place, HeldFrame { counter, frame: frame.into(), arrived: now, hash: *hash });
        let mut room = true;
        while self.held.len() > MAX_HELD || self.held_bytes > MAX_HELD_BYTES {
            self.drop_held(self.least_likely());
            room = false;
        }
        room
    }

    /// Somebody else was caught speaking in this speaker's name.
    pub(in crate::media) fn contest(&mut self, now: Duration) {
        self.contested_until = Some(now.saturating_add(CONTEST));
    }

    /// The same in the epoch before.
    pub(in crate::media) fn stay_contested(&mut self, before: &Self, now: Duration) {
        self.contested_until = before.contested_until;
        if before.suspected {
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
        !self.failures.are_many(now) || self.is_expected(seal, rules) && !self.expected_failures.are_many(now)
    }

    /// A seal that was checked is none of the speaker's, or not to be taken.
    pub(in crate::media) fn fail(&mut self, seal: &Seal, rules: &SealRules, now: Duration) {
        let now = Millis::of(now);
        // No forged frame has been seen: the speaker is not held.
        if self.failures.are_many(now) && self.is_expected(seal, rules) {
            self.expected_failures.add(now);
        } else {
            self.failures.add(now);
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
        self.uncovered_since = beyond.map(|entry| entry.at).max_by_key(|at| at.apart(moment));
        // A speaker's seals come within a second of what lies before them. Who was played long ago beyond this one is
        // somebody else, or the seals are held up: either way what comes next waits for its own.
        if newer {
            self.suspected = self.lapsed(now).is_some();
        }
        Ok(outcome)
    }

    /// Flags what no seal has covered in time, and drops what was held too long: the counters of the one, the number
    /// of the other.
    pub(in crate::media) fn expire(&mut self, now: Duration, mut flag: impl FnMut(u64)) -> u64 {
        let mut dropped = 0;
        while let Some(at) = self.held.iter().position(|held| now.abs_diff(held.arrived) > HOLD) {
            self.drop_held(at);
            dropped += 1;
        }
        let moment = Millis::of(now);
        let cover = COVER.as_millis() as u32;
        // Before that moment, on a clock that did not jump, there is nothing to flag.
        let Some(due) = self.due else { return dropped };
        if due.apart(moment) <= cover && (moment.0.wrapping_sub(due.0) as i32) < 0 {
            return dropped;
        }
        let mut next: Option<u32> = None;
        let from = self.place(self.first_opened);
        self.first_opened = self.base + self.entries.len() as u64;
        for (counter, entry) in (self.base + from as u64..).zip(self.entries.range_mut(from..)) {
            if entry.state != State::Opened {
                continue;
            }
            let age = entry.at.apart(moment);
            if age >= cover {
                entry.state = State::Overdue;
                flag(counter);
            } else {
                self.first_opened = self.first_opened.min(counter);
                next = Some(next.map_or(age, |oldest| oldest.max(age)));
            }
        }
        self.due = next.map(|age| Millis(moment.0.wrapping_add(cover - age)));
        dropped
    }

    /// The counters of frames that were played, are not flagged, and will meet no seal: the epoch is over.
    pub(in crate::media) fn leftover(&self) -> impl Iterator<Item = u64> {
        (self.base..).zip(&self.entries).filter(|(_, entry)| entry.state == State::Opened).map(|(counter, _)| counter)
    }

    /// Whether somebody else was caught speaking in this speaker's name, lately, or must be suspected to.
    pub(in crate::media) fn is_contested(&self, now: Duration) -> bool {
        self.suspected || self.contested_until.is_some_and(|until| now < until && until.saturating_sub(now) <= CONTEST)
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
            update(&entry.hash);
            update(&[entry.state as u8]);
        }
        for held in &self.held {
            update(&held.counter.to_be_bytes());
            update(&held.hash);
        }
        let until = self.contested_until.unwrap_or_default();
        update(&until.as_nanos().to_be_bytes());
        update(&[u8::from(self.suspected)]);
    }

    fn must_hold(&self, rules: &SealRules, now: Duration) -> bool {
        rules.mode == SealMode::Strict
            || self.is_contested(now)
            || rules.unsealed == Unsealed::Hold && self.lapsed(now).is_some()
    }

    /// A replay of what is held, or `otherwise`.
    fn held_or(&self, counter: u64, hash: &PacketHash, otherwise: Look) -> Look {
        let is_held = self.held.iter().any(|held| held.counter == counter && held.hash == *hash);
        if is_held { Look::Stale(Stale::Seen) } else { otherwise }
    }

    /// Whether another packet of that counter is there: one of them is forged.
    fn is_conflict(&self, counter: u64, hash: &PacketHash) -> bool {
        let opened = counter.checked_sub(self.base).and_then(|ahead| self.entries.get(ahead as usize));
        opened.is_some_and(|entry| entry.state.is_uncovered() && entry.hash != *hash)
            || self.held.iter().any(|held| held.counter == counter && held.hash != *hash)
    }

    /// Whether a seal is what the speaker sends next: a whole one that follows the last, and whose last packet came. Who
    /// forges has seen that packet no sooner than the ear, and behind it comes the speaker's own seal.
    fn is_expected(&self, seal: &Seal, rules: &SealRules) -> bool {
        let Some((counter, hash)) = seal.packets().last() else { return false };
        let known = counter.checked_sub(self.base).and_then(|ahead| self.entries.get(ahead as usize));
        seal.hashes.len() == usize::from(rules.every)
            && seal.first >= self.sealed_to
            && (known.is_some_and(|entry| entry.state.is_uncovered() && entry.hash == *hash)
                || self.held.iter().any(|held| held.counter == counter && held.hash == *hash))
    }

    /// Whether an earlier seal says another thing of that counter.
    fn contradicts(&self, counter: u64, hash: &PacketHash) -> bool {
        let known = counter.checked_sub(self.base).and_then(|ahead| self.entries.get(ahead as usize));
        known.is_some_and(|entry| matches!(entry.state, State::Sealed | State::Verified) && entry.hash != *hash)
    }

    /// Lets go of everything before `base`.
    fn move_to(&mut self, base: u64, outcome: &mut Outcome) {
        while self.base < base {
            let Some(entry) = self.entries.pop_front() else {
                self.base = base;
                break;
            };
            if entry.state == State::Opened {
                outcome.unverified.push(self.base);
            }
            self.base += 1;
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
                outcome.verified += 1;
                outcome.flagged_before += u64::from(state == State::Overdue);
            }
            State::Opened | State::Overdue => outcome.forged.push((counter, true)),
            State::Unknown | State::Sealed => {}
        }
        while let Some(at) = self.held.iter().position(|held| held.counter == counter) {
            let held = self.drop_held(at);
            if held.hash != *hash {
                outcome.forged.push((counter, false));
            } else if !opened {
                opened = true;
                outcome.released.push(held);
            }
        }
        if let Some(entry) = self.entry(counter) {
            let state = if opened { State::Verified } else { State::Sealed };
            *entry = Entry { hash: *hash, at: Millis::of(now), state };
        }
    }

    /// The entry of a counter, made if it is within bounds.
    fn entry(&mut self, counter: u64) -> Option<&mut Entry> {
        let ahead = counter.checked_sub(self.base).filter(|ahead| *ahead < self.limit)? as usize;
        if ahead == self.entries.len() {
            self.entries.push_back(UNKNOWN);
        } else if ahead > self.entries.len() {
            self.entries.resize(ahead + 1, UNKNOWN);
        }
        self.entries.get_mut(ahead)
    }

    /// The place of a counter among the entries, or the end of them.
    fn place(&self, counter: u64) -> usize {
        (counter.saturating_sub(self.base) as usize).min(self.entries.len())
    }

    /// The place of the held frame that is the least likely to be true: the farthest, if it is farther from where the
    /// speaker is than they get while it is held; else the oldest of the counter that has the most.
    fn least_likely(&self) -> usize {
        let far = |held: &HeldFrame| held.counter.abs_diff(self.sealed_to);
        let last = self.held.len().saturating_sub(1);
        let farthest = [0, last].into_iter().max_by_key(|at| self.held.get(*at).map(far));
        if let Some(at) = farthest
            && self.held.get(at).map(far) > Some(MAX_HELD as u64 / 2)
        {
            return at;
        }
        let mut place = 0;
        let runs = self.held.chunk_by(|one, other| one.counter == other.counter).map(|run| {
            let first = place;
            place += run.len();
            (run.len(), first)
        });
        runs.max_by_key(|(len, _)| *len).map_or(0, |(_, first)| first)
    }

    fn drop_held(&mut self, at: usize) -> HeldFrame {
        let held = self.held.remove(at);
        self.held_bytes -= held.frame.len();
        held
    }
}

impl State {
    const fn is_uncovered(self) -> bool {
        matches!(self, Self::Opened | Self::Overdue)
    }
}
