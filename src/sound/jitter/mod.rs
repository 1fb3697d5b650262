//! The jitter buffer of one speaker: frames in as the network brings them, sound out in order, without a hole.
//!
//! **Order.** A frame's place is its epoch and its counter, which the encryption authenticates. Frames are played in that
//! order, each at most once. Only the turn of a later frame makes one too late: where nothing waits, sound is filled
//! in, and a frame that comes after all is played after all.
//!
//! **Time.** What a speaker's clock says is used for one thing: how long a pause lies between two frames. It follows the
//! counter: a frame begins where the one before it ends, give or take 7.5 ms, or after as long a pause as its time
//! says, if so long has passed here too. So a clock may stand still while nothing is sent, be set, start anew with a new
//! encoder, or be rounded to what a device captures at once, and no frame is lost by it.
//!
//! **Delay.** It follows the network: the depth aimed at is the lateness that all but one arrival in a hundred keep within
//! (over the last eight seconds), plus one frame, within the bounds of [`Delay`]; and what a device takes at once beyond
//! that. Below it sound is stretched, above it shortened, by some milliseconds at a time.
//!
//! **Who made it.** Another member can make frames in a speaker's name until that speaker's signatures tell. So once a
//! speaker signs, the delay and the order learn from verified frames: an unverified one that is further ahead than the
//! speaker can be is a *stray*, and moves nothing; one that comes before its time is the first to be dropped; a verified
//! one takes the place of an unverified one, though that was played. Of a speaker who never signs, three strays in a row that fit each other are believed.
//!
//! What waits is bounded, and no loop counts over a distance in counters or time.

mod outcome;
mod queue;
mod transit;

use std::time::Duration;

pub use self::outcome::{Arrival, Counters, Pace, Play};
use self::{
    queue::{Known, Queue, Sequence, State},
    transit::{Transits, micros},
};
use crate::{
    error::{Error, Result},
    frame::{Level, MediaTime, VoiceFrame},
    heard::Heard,
};

type Micros = i64;

/// 20 ms.
const FRAME: Micros = 20_000;

/// How far a frame's time may be from where the frame before it ends, and mean just that: rounding, and small drift.
const TOLERANCE: Micros = 7_500;

/// How much longer a pause may be by the speaker's clock than it was here, beyond the jitter there is.
const SLACK_IN_PAUSE: Micros = 60_000;

/// How far ahead of what a speaker has signed an unverified frame of theirs may be.
const AHEAD_OF_SIGNED: Micros = 1_000_000;

/// A clock that goes back by more was set.
const SET_BACK: Micros = 1_000_000;

/// For so long after the last verified frame only such are learned from.
const SIGNS: Micros = 10_000_000;

/// How far ahead of the newest a frame may be of a speaker who signs nothing.
const AHEAD_OF_NEWEST: Micros = 2_000_000;

/// So many strays that fit each other are believed of a speaker who signs nothing.
const STRAYS: u32 = 3;

/// No pause is told from a longer one beyond this, so that a clock that leaps does not take positions out of bounds.
const HOUR: Micros = 3_600_000_000;

/// The sound that may wait.
const SPAN: Micros = 1_500_000;

/// Sound filled in, with nothing waiting, after which the speaker is taken to have paused.
const PAUSED: Micros = 200_000;

/// For so many frames after a hole the clock is not to be trusted: as many as lift the base, and some.
const UNSURE: u32 = 16;

/// How far above its target the delay may be before it is worth a change.
const SLACK: Micros = 20_000;

/// So far above its target, the delay is changed at each frame; else after [`CALM`].
const HIGH: Micros = 100_000;
const CALM: Micros = 60_000;

/// The most that is put in or taken out at once: the longest pitch period of a voice.
const PIECE: Micros = 12_500;

/// So much is left waiting when sound is taken out.
const LEFT: Micros = 7_500;

/// More than a delay's upper bound and this is left in one leap: nobody has asked for sound for a while.
const FAR: Micros = 200_000;

/// So much is waited more for each frame that came too late, and a hundredth of the time less as it passes.
const LATE_COSTS: Micros = 40_000;

/// The most that is waited for frames that came too late.
const MOST_EXTRA: Micros = 200_000;

/// The most that may wait for a device that takes much at once.
const MAX_RESERVE: Micros = 400_000;

/// How long sound may wait: bounds between which the delay follows the network.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Delay {
    least: Micros,
    most: Micros,
}

impl Default for Delay {
    /// 20 to 400 ms.
    fn default() -> Self {
        Self { least: 20_000, most: 400_000 }
    }
}

impl Delay {
    /// Follows the network between `least` and `most`.
    ///
    /// # Errors
    /// [`Error::Unusable`] if `least` is above `most`, or `most` above one second.
    pub fn between(least: Duration, most: Duration) -> Result<Self> {
        if least > most || most > Duration::from_secs(1) {
            return Err(Error::Unusable { what: "delay of a jitter buffer", why: "choose 0 to 1 s, the least first" });
        }
        Ok(Self { least: micros(least), most: micros(most) })
    }

    /// 20 ms to 1 s: as much as frames wait for their signatures.
    pub(in crate::sound) const fn signed() -> Self {
        Self { least: 20_000, most: 1_000_000 }
    }

    /// Stays at `delay`, whatever the network does.
    ///
    /// # Errors
    /// [`Error::Unusable`] above one second.
    pub fn fixed(delay: Duration) -> Result<Self> {
        Self::between(delay, delay)
    }
}

/// The jitter buffer of one speaker.
///
/// ```
/// use std::time::Duration;
/// use parlor::{Heard, MemberId, frame::{Level, MediaTime, OpusPacket, VoiceFrame}, sound::{Delay, JitterBuffer, Play}};
///
/// let (ana, ms) = (MemberId::from_bytes([1; 32]), Duration::from_millis);
/// let frame = VoiceFrame { time: MediaTime::default(), level: Level::SILENCE, opus: OpusPacket::parse(&[0x48, 7])? };
/// let mut buffer = JitterBuffer::new(Delay::fixed(ms(40))?);
/// buffer.insert(&Heard::unverified(ana, 0, 0, frame), ms(1000));
/// assert_eq!(buffer.next(ms(1020)), Play::Silence); // it has not waited its 40 ms
/// assert!(matches!(buffer.next(ms(1040)), Play::Frame(played, _) if played == frame));
/// # Ok::<(), parlor::Error>(())
/// ```
#[derive(Debug)]
pub struct JitterBuffer {
    bounds: Delay,
    /// For a device that takes much at once.
    reserve: Micros,
    /// For frames that came too late although they came within the spread: more with each, less as time passes.
    extra: Micros,
    queue: Queue,
    transits: Transits,
    /// The first frame that may be played: all before it have had their turn.
    next: Sequence,
    /// Where the sound that was given ends, on the speaker's clock as it is understood here.
    end: Micros,
    playing: bool,
    /// Filled in with nothing waiting, since the last frame.
    starved: Micros,
    /// For so many frames more the speaker's clock, which may have stood still, does not tell how late they are.
    unsure: u32,
    /// The last verified frame that was played.
    verified_to: Option<Sequence>,
    /// The newest verified frame. Once there is one, only such are learned from.
    signed: Option<Known>,
    /// When the last frame came.
    latest: Micros,
    /// How long the speaker's frames are.
    usual: Micros,
    /// The last stray, and how many in a row fitted it.
    strays: (Sequence, u32),
    /// The least that waited, of late.
    low: Low,
    /// How long frames waited for their turn, less than nothing.
    waited: Low,
    /// Sound since the delay was changed last.
    since_change: Micros,
    /// Frames in a row with far too much waiting.
    far_above: u32,
    loudness: Loudness,
    /// From when a frame would have come at the fastest, to when it is played.
    delay: Micros,
    counters: Counters,
}

impl JitterBuffer {
    /// A buffer that has heard nothing.
    pub fn new(delay: Delay) -> Self {
        Self {
            bounds: delay,
            reserve: 0,
            extra: 0,
            queue: Queue::default(),
            transits: Transits::new(),
            next: Sequence::default(),
            end: 0,
            playing: false,
            starved: 0,
            unsure: 0,
            verified_to: None,
            signed: None,
            latest: 0,
            usual: FRAME,
            strays: (Sequence::default(), 0),
            low: Low::default(),
            waited: Low::default(),
            since_change: 0,
            far_above: 0,
            loudness: Loudness::default(),
            delay: 0,
            counters: Counters::default(),
        }
    }

    /// Takes in a frame that arrived at `now`, on the clock that [`next`](Self::next) is told too.
    pub fn insert(&mut self, heard: &Heard<VoiceFrame<'_>>, now: Duration) -> Arrival {
        let now = micros(now);
        self.counters.received += 1;
        for counter in heard.confirmed.counters() {
            self.confirm(Sequence { epoch: heard.confirmed.epoch(), counter });
        }
        if self.signed.is_some_and(|signed| now - signed.at > SIGNS) {
            // They sign no more: what is learned from nobody is soon wrong.
            (self.signed, self.verified_to) = (None, None);
        }
        if now < self.latest - SET_BACK {
            self.restart();
        }
        self.latest = self.latest.max(now);
        let sequence = Sequence { epoch: heard.epoch, counter: heard.counter };
        match self.queue.find(sequence) {
            Ok(at) => self.insert_again(at, sequence, heard, now),
            Err(at) => self.insert_first(at, sequence, heard, now),
        }
    }

    /// What to play from `now` on, the moment at which it will sound. To be asked whenever what it gave last is over.
    pub fn next(&mut self, now: Duration) -> Play<'_> {
        let now = micros(now);
        let from = self.turn();
        let Some(at) = self.queue.first_waiting(from) else { return self.starve() };
        let Some(first) = self.queue.get(at).copied() else { return Play::Silence };
        let base = self.transits.base().unwrap_or_else(|| first.transit());
        let target = self.target_micros();
        let last = self.queue.last_waiting(|known| !self.is_early(known));
        let waiting = last.map_or(0, |last| (last.end() - first.position).max(0));
        let missing = self.missing_before(from, at, first.sequence);
        if !self.playing {
            if !may_begin(&first, now, base, target, waiting) {
                return Play::Silence;
            }
            self.begin(&first);
        }
        if self.leap(waiting, target) {
            return self.next(Duration::from_micros(now.max(0).cast_unsigned()));
        }
        // What is missing may still come, and the delay is to grow anyway, or nobody knows what it is.
        let may_come =
            now - base - self.end < target || (self.unsure > 0 && now - first.at < (target - FRAME).min(PAUSED));
        self.settle_starved(&first, missing, may_come);
        self.delay = now - base - self.end;
        let gap = first.position - self.end;
        if gap > TOLERANCE {
            // Behind its time, a gap is made shorter, but for what can be restored.
            let behind = if self.delay - target > SLACK { self.delay - target } else { 0 };
            let gap = gap - behind.min(if missing > 0 { gap - first.length } else { gap }).max(0);
            if gap >= UNIT {
                return self.fill(at, &first, gap, missing, may_come);
            }
        }
        // It came while its place was filled in.
        self.counters.stretched += span(-gap);
        self.counters.lost = self.counters.lost.saturating_add(missing);
        self.low.see(waiting - first.length, first.length);
        // A frame that comes before its time waits for that.
        self.waited.see((first.at - now).max(base + first.position - now), first.length);
        let pace = self.pace(&first, waiting - first.length, target);
        self.play(at, &first, pace)
    }

    /// Keeps sound waiting for `reserve` more than the network calls for, 400 ms at most: as long as a device takes at
    /// once beyond what it plays meanwhile.
    pub fn set_reserve(&mut self, reserve: Duration) {
        self.reserve = micros(reserve).min(MAX_RESERVE);
    }

    /// Says that so many samples a channel were taken out of the sound at the last [`Pace::Shorten`], or put in.
    pub fn paced(&mut self, shortened: usize, stretched: usize) {
        self.low.lower(of_samples(shortened));
        self.counters.shortened += samples(shortened);
        self.counters.stretched += samples(stretched);
    }

    /// How long sound waits at present: the longest that a frame waited for its turn, of the last second.
    pub fn delay(&self) -> Duration {
        span(-self.waited.least.min(self.waited.running))
    }

    /// The delay that network and device call for, within the bounds that were set.
    pub fn target(&self) -> Duration {
        span(self.target_micros())
    }

    /// What became of the frames so far.
    pub const fn counters(&self) -> Counters {
        self.counters
    }

    /// Whether sound is coming out, or will as soon as it has waited long enough.
    pub const fn active(&self) -> bool {
        self.playing || self.queue.waiting() > 0
    }

    /// How loud the loudest of those that wait claims to be.
    pub(in crate::sound) fn loudest_waiting(&self) -> Option<Level> {
        let from = self.turn();
        self.queue.levels(from).min()
    }

    /// The place of the first frame that may be played, there or not.
    fn turn(&self) -> usize {
        self.queue.find(self.next).unwrap_or_else(|at| at)
    }

    fn target_micros(&self) -> Micros {
        (self.transits.target(self.bounds.least, self.bounds.most) + self.extra).min(self.bounds.most) + self.reserve
    }

    /// A frame of a place where there is one already.
    fn insert_again(&mut self, at: usize, sequence: Sequence, heard: &Heard<VoiceFrame<'_>>, now: Micros) -> Arrival {
        let Some(stands) = self.queue.get(at).copied().filter(|stands| heard.verified && !stands.verified) else {
            self.counters.duplicate += 1;
            return Arrival::Duplicate;
        };
        // What stands there is somebody else's.
        match stands.state {
            State::Waiting(_) => self.counters.replaced += 1,
            State::Played | State::Late | State::Dropped if !self.may_go_back_to(sequence) => {
                self.counters.late += 1;
                return Arrival::Late;
            }
            State::Played | State::Late | State::Dropped => {}
        }
        let known = self.describe(at, sequence, heard, now);
        self.queue.replace(at, known, heard.frame.opus.bytes());
        self.disown(at + 1);
        self.took(at, &known);
        Arrival::Kept
    }

    fn insert_first(&mut self, at: usize, sequence: Sequence, heard: &Heard<VoiceFrame<'_>>, now: Micros) -> Arrival {
        if self.is_doubled(at, heard) {
            self.counters.duplicate += 1;
            return Arrival::Duplicate;
        }
        if !heard.verified && self.is_stray(sequence, now) {
            self.counters.stray += 1;
            return Arrival::Stray;
        }
        // A restart empties the queue.
        let at = self.queue.find(sequence).unwrap_or_else(|at| at);
        let mut known = self.describe(at, sequence, heard, now);
        let past = self.has_played() && sequence < self.next;
        // One that was held for its signature had its turn while it was held.
        let held = heard.verified && !heard.parked_for.is_zero();
        if past && !(held && self.may_go_back_to(sequence)) {
            known.state = State::Late;
            self.learn_of(&mut known);
            self.queue.remember(at, known);
            self.counters.late += 1;
            self.counters.lost = self.counters.lost.saturating_sub(1);
            return Arrival::Late;
        }
        if !self.make_room(&known, heard.frame.opus.bytes().len()) {
            self.counters.stray += 1;
            return Arrival::Stray;
        }
        let at = self.queue.find(sequence).unwrap_or_else(|at| at);
        self.queue.put(at, known, heard.frame.opus.bytes());
        let at = self.queue.find(sequence).unwrap_or(at);
        self.took(at, &known);
        Arrival::Kept
    }

    /// A frame now waits: what was played of others beyond it is not the speaker's.
    fn took(&mut self, at: usize, known: &Known) {
        if self.has_played() && known.sequence < self.next {
            self.next = known.sequence;
            self.end = known.position;
            self.disown(at + 1);
        }
        if let Some(known) = self.queue.get(at).copied() {
            self.learn_at(at, known);
        }
    }

    /// Learns from a frame that stands at `at`, and notes it there.
    fn learn_at(&mut self, at: usize, mut known: Known) {
        self.learn_of(&mut known);
        if let Some(stands) = self.queue.get_mut(at) {
            *stands = known;
        }
    }

    /// Whether nothing vouches for a frame of a speaker who signs, and it came before its time.
    fn is_early(&self, known: &Known) -> bool {
        let base = self.transits.base().filter(|_| self.signed.is_some() && !known.verified);
        base.is_some_and(|base| known.transit() < base - self.transits.spread() - SLACK_IN_PAUSE)
    }

    /// Drops those of the frames from `at` on that wait and came before their time: nobody but another member, who made
    /// them in the speaker's name, had them to send.
    fn disown(&mut self, at: usize) -> u64 {
        let (mut from, before) = (at, self.counters.replaced);
        while let Some(at) = self.queue.first_waiting(from) {
            if self.queue.get(at).is_some_and(|known| self.is_early(known)) {
                self.queue.give_up(at, State::Dropped);
                self.counters.replaced += 1;
            }
            from = at + 1;
        }
        self.counters.replaced - before
    }

    /// Whether all that was played from there on was played with nothing to vouch for it.
    fn may_go_back_to(&self, sequence: Sequence) -> bool {
        sequence.epoch == self.next.epoch && self.verified_to.is_none_or(|to| sequence > to)
    }

    fn has_played(&self) -> bool {
        self.next != Sequence::default()
    }

    /// A frame that came unverified is the speaker's after all.
    fn confirm(&mut self, sequence: Sequence) {
        let Ok(at) = self.queue.find(sequence) else { return };
        let Some(mut known) = self.queue.get(at).copied().filter(|known| !known.verified) else { return };
        known.verified = true;
        if known.state == State::Played {
            self.verified_to = self.verified_to.max(Some(sequence));
        }
        self.learn_at(at, known);
    }

    /// Learns from a frame's arrival, if it is the speaker's as far as can be known.
    fn learn_of(&mut self, known: &mut Known) {
        if known.verified && self.signed.is_none_or(|signed| signed.sequence < known.sequence) {
            self.signed = Some(*known);
        }
        if known.learned || !(known.verified || self.signed.is_none()) {
            return;
        }
        known.learned = true;
        if known.state == State::Late {
            self.extra = (self.extra + LATE_COSTS).min(MOST_EXTRA);
        }
        self.transits.push(known.transit(), known.at, self.bounds.most);
        if known.length > 0 {
            self.usual = known.length;
        }
    }

    /// What there is to know of a frame, with its place in time.
    fn describe(&self, at: usize, sequence: Sequence, heard: &Heard<VoiceFrame<'_>>, now: Micros) -> Known {
        let VoiceFrame { time, level, opus } = heard.frame;
        let length = if opus.samples() == 0 { self.usual } else { of_samples(opus.samples()) };
        // What nothing vouches for moves no verified frame.
        let before = if heard.verified { self.queue.last_verified_before(at) } else { None };
        let before = before.or_else(|| self.queue.get(at.checked_sub(1)?));
        let (position, fits) = self.position(before, at, sequence, time, length, now);
        let hash = hash(opus.bytes());
        let (verified, learned, state) = (heard.verified, false, State::Dropped);
        Known { sequence, time, position, length, at: now, verified, learned, fits, hash, level, state }
    }

    /// Where a frame begins, and whether that fits what passed here.
    fn position(
        &self,
        before: Option<&Known>,
        at: usize,
        sequence: Sequence,
        time: MediaTime,
        length: Micros,
        now: Micros,
    ) -> (Micros, bool) {
        let Some(before) = before else {
            let position = self.queue.get(at).map(|after| {
                let missing = Micros::try_from(sequence.missing_before(after.sequence)).unwrap_or(0);
                after.position - length - missing.min(1 << 20) * self.usual
            });
            return (position.unwrap_or_else(|| now - self.transits.base().unwrap_or(0)), true);
        };
        let slack = self.transits.spread() + SLACK_IN_PAUSE;
        let passed = (now - before.at).clamp(0, HOUR);
        let by_counter = before.length + self.time_of(before.sequence.missing_before(sequence));
        let by_clock = Micros::from(time.since(before.time)) * UNIT;
        let between = if (by_clock - by_counter).abs() <= TOLERANCE {
            by_counter
        } else if by_clock > by_counter {
            // A pause, as far as it has passed here too.
            by_clock.min((passed + slack).max(by_counter))
        } else if passed > by_counter + slack {
            // The clock was set back, or began anew, in a pause.
            passed
        } else {
            by_counter
        };
        // More frames are missing than there was time for: they were never sent.
        let between = between.min((passed + AHEAD_OF_SIGNED).max(before.length));
        let fits = (passed - between).abs() <= slack;
        // The clock stood still in a pause, or all was held up: what comes next tells which, and does not wait for it.
        let between = if !fits && !self.active() { between.max(passed) } else { between };
        let position = before.position + between;
        // It comes after the frame that follows it: a pause before both was seen there.
        let follows = self.queue.get(at).and_then(|after| {
            let by_counter = length + self.time_of(sequence.missing_before(after.sequence));
            let by_clock = Micros::from(after.time.since(time)) * UNIT;
            ((by_clock - by_counter).abs() <= TOLERANCE).then_some(after.position - by_counter)
        });
        (position.max(follows.unwrap_or(position)), fits)
    }

    fn time_of(&self, frames: u64) -> Micros {
        // An hour of the shortest, so that nothing overflows.
        Micros::try_from(frames).unwrap_or(Micros::MAX).min(1 << 21) * self.usual
    }

    /// Whether the sender made the frame before it twice: the same sound of the same time.
    fn is_doubled(&self, at: usize, heard: &Heard<VoiceFrame<'_>>) -> bool {
        let before = at.checked_sub(1).and_then(|at| self.queue.get(at));
        before
            .filter(|before| before.verified || !heard.verified)
            .is_some_and(|before| before.time == heard.frame.time && before.hash == hash(heard.frame.opus.bytes()))
    }

    /// Whether a frame that nobody vouches for is further ahead than its speaker can be.
    fn is_stray(&mut self, sequence: Sequence, now: Micros) -> bool {
        let (known, ahead) = match (&self.signed, self.queue.last()) {
            (Some(signed), _) => (signed, AHEAD_OF_SIGNED),
            (None, Some(newest)) => (newest, AHEAD_OF_NEWEST),
            (None, None) => return false,
        };
        let frames = if sequence.epoch > known.sequence.epoch {
            sequence.counter
        } else {
            known.sequence.missing_before(sequence)
        };
        if self.time_of(frames) <= (now - known.at) / 10 * 11 + ahead {
            self.strays.1 = 0;
            return false;
        }
        if self.signed.is_some() {
            return true;
        }
        let (last, count) = self.strays;
        let fits = count > 0 && sequence > last && sequence.epoch == last.epoch && last.missing_before(sequence) < 16;
        self.strays = (sequence, if fits { count + 1 } else { 1 });
        if self.strays.1 < STRAYS {
            return true;
        }
        self.restart();
        false
    }

    /// Begins with a speaker of whom nothing is known: they count anew, or the listener's clock was set back.
    fn restart(&mut self) {
        self.counters.cut += self.queue.waiting() as u64;
        self.counters.restarts += 1;
        self.queue.clear();
        self.transits.clear();
        (self.signed, self.verified_to, self.latest) = (None, None, 0);
        (self.next, self.playing, self.strays) = (Sequence::default(), false, (Sequence::default(), 0));
        self.stop();
    }

    /// Makes room for a frame to wait; `false` if it is the frame itself that is too much.
    fn make_room(&mut self, known: &Known, bytes: usize) -> bool {
        let from = self.turn();
        while let Some(at) = self.queue.first_waiting(from) {
            let span = self.queue.get(at).map_or(0, |first| known.end() - first.position);
            if span <= SPAN && !self.queue.is_full(bytes) {
                break;
            }
            if self.is_early(known) {
                return false;
            }
            if self.disown(0) == 0 {
                self.queue.give_up(at, State::Dropped);
                self.counters.cut += 1;
            }
        }
        true
    }

    /// How many frames before `first`, at `at`, never came. Those from `from` on have not had their turn.
    fn missing_before(&self, from: usize, at: usize, first: Sequence) -> u64 {
        let came = at.saturating_sub(from) as u64;
        if self.next.epoch == first.epoch && self.has_played() {
            first.counter.saturating_sub(self.next.counter).saturating_sub(came)
        } else {
            0
        }
    }

    fn begin(&mut self, first: &Known) {
        self.end = first.position;
        self.playing = true;
        (self.starved, self.since_change, self.far_above) = (0, 0, 0);
        self.low = Low::default();
    }

    /// Nothing waits: fills in, and after a while takes the speaker to have paused.
    fn starve(&mut self) -> Play<'static> {
        if !self.playing {
            return Play::Silence;
        }
        if self.starved >= PAUSED {
            self.stop();
            return Play::Silence;
        }
        self.starved += FRAME;
        Play::Conceal(to_samples(FRAME))
    }

    fn stop(&mut self) {
        self.counters.trailing += span(self.starved);
        self.starved = 0;
        self.playing = false;
    }

    /// A frame came after all: what was filled in stands for the gap before it, and the rest made the delay longer.
    fn settle_starved(&mut self, first: &Known, missing: u64, may_come: bool) {
        if self.starved == 0 {
            return;
        }
        let used = if missing > 0 && may_come { 0 } else { (first.position - self.end).clamp(0, self.starved) };
        self.end += used;
        if missing > 0 {
            self.counters.concealed += span(used);
        } else {
            self.counters.trailing += span(used);
        }
        self.counters.stretched += span(self.starved - used);
        if self.starved > used {
            self.unsure = UNSURE;
        }
        self.starved = 0;
    }

    /// Fills in before a frame that waits, for some of the `gap`.
    fn fill(&mut self, at: usize, first: &Known, gap: Micros, missing: u64, may_come: bool) -> Play<'_> {
        let gap = gap / UNIT * UNIT;
        self.end = first.position - gap;
        if missing == 0 {
            let length = gap.min(FRAME);
            self.end += length;
            return Play::Pause(to_samples(length));
        }
        if may_come {
            self.counters.stretched += span(FRAME);
            return Play::Conceal(to_samples(FRAME));
        }
        // A packet has a copy of as much as itself, before it.
        if gap > first.length + TOLERANCE || 2 * gap < first.length {
            let length = (gap - first.length).clamp(UNIT, FRAME);
            self.end += length;
            self.counters.concealed += span(length);
            return Play::Conceal(to_samples(length));
        }
        self.end = first.position;
        self.counters.recovered += 1;
        let length = to_samples(first.length);
        self.queue.frame(at).map_or(Play::Conceal(length), |frame| Play::Recover(frame, length))
    }

    /// Drops what waits beyond all bounds, but for the last frames.
    fn leap(&mut self, waiting: Micros, target: Micros) -> bool {
        let much = waiting > self.bounds.most + self.reserve + FAR;
        self.far_above = if much { self.far_above + 1 } else { 0 };
        if self.far_above < 5 {
            return false;
        }
        self.far_above = 0;
        self.disown(0);
        let Some(to) = self.queue.last_waiting(|_| true).map(|last| last.end() - target) else { return false };
        let mut from = self.queue.find(self.next).unwrap_or_else(|at| at);
        while let Some(at) = self.queue.first_waiting(from) {
            if self.queue.get(at).is_none_or(|known| known.end() >= to) {
                break;
            }
            self.queue.give_up(at, State::Dropped);
            self.counters.cut += 1;
            from = at + 1;
        }
        if let Some(first) = self.queue.first_waiting(from).and_then(|at| self.queue.get(at)).copied() {
            self.next = first.sequence;
            self.end = first.position;
        }
        true
    }

    /// How the next frame is to be played, with so much waiting after it.
    fn pace(&mut self, first: &Known, left: Micros, target: Micros) -> Pace {
        self.since_change += first.length;
        let quiet = self.loudness.quiet(first.level);
        // Either may be wrong for a while: the clock after a pause, what waits after a burst. Together they are right.
        let above = (self.delay - target).max(self.low.least - target - HIGH);
        let spare = self.low.least - LEFT;
        let below = (target - self.delay).min(target - left);
        if above > SLACK && spare >= UNIT && (self.since_change >= CALM || above > HIGH || quiet) {
            Pace::Shorten(to_samples(above.min(spare).min(PIECE)))
        } else if below > UNIT && (self.since_change >= CALM || quiet) {
            Pace::Stretch(to_samples(below.min(PIECE)))
        } else {
            Pace::Keep
        }
    }

    fn play(&mut self, at: usize, known: &Known, pace: Pace) -> Play<'_> {
        if pace != Pace::Keep {
            self.since_change = 0;
        }
        self.loudness.follow(known.level);
        self.counters.played += 1;
        self.extra -= (known.length / 100).min(self.extra);
        self.unsure = self.unsure.saturating_sub(1);
        self.end = known.end();
        self.next = Sequence { counter: known.sequence.counter.saturating_add(1), ..known.sequence };
        if known.verified {
            self.verified_to = self.verified_to.max(Some(known.sequence));
        }
        let length = to_samples(known.length);
        match self.queue.take(at) {
            Some(frame) if frame.opus.samples() > 0 => Play::Frame(frame, pace),
            // A sender with DTX had nothing to send.
            _ => Play::Pause(length),
        }
    }
}

/// Whether the first frame after a pause has waited long enough.
fn may_begin(first: &Known, now: Micros, base: Micros, target: Micros, waiting: Micros) -> bool {
    let late = if first.fits { (first.transit() - base).clamp(0, target) } else { 0 };
    // What one thing held up comes at one moment, and is deep enough at once.
    // On a clock that was set back, nothing waits for it to come around.
    (now - first.at).abs() + late >= target || (!first.fits && waiting >= target + FRAME)
}

/// 2.5 ms.
const UNIT: Micros = 2_500;

/// So many samples last so long, rounded down to a microsecond.
const fn of_samples(samples: usize) -> Micros {
    samples as Micros * 125 / 6
}

/// So long is so many samples, rounded down.
fn to_samples(length: Micros) -> usize {
    usize::try_from(length * 6 / 125).unwrap_or(0)
}

fn span(length: Micros) -> Duration {
    Duration::from_micros(length.max(0).cast_unsigned())
}

fn samples(samples: usize) -> Duration {
    span(of_samples(samples))
}

/// To tell one packet from another of the same speaker. Whoever makes two of one hash loses one of them.
fn hash(bytes: &[u8]) -> u64 {
    const ODD: u64 = 0x9e37_79b9_7f4a_7c15; // 2^64 over the golden ratio
    let mix = |hash: u64, word: u64| (hash.rotate_left(5) ^ word).wrapping_mul(ODD);
    let (words, rest) = bytes.as_chunks();
    let hash = words.iter().fold(bytes.len() as u64, |hash, word| mix(hash, u64::from_le_bytes(*word)));
    rest.iter().fold(hash, |hash, byte| mix(hash, u64::from(*byte)))
}

/// The least of what is seen of each frame, over the last half second to a second of sound.
#[derive(Debug)]
struct Low {
    least: Micros,
    /// Of the half second so far, and how much of it is over.
    running: Micros,
    over: Micros,
}

impl Default for Low {
    fn default() -> Self {
        Self { least: 0, running: Micros::MAX, over: 0 }
    }
}

impl Low {
    const WINDOW: Micros = 500_000;

    fn see(&mut self, left: Micros, length: Micros) {
        self.running = self.running.min(left);
        self.least = self.least.min(self.running);
        self.over += length;
        if self.over >= Self::WINDOW {
            *self = Self { least: self.running, running: Micros::MAX, over: 0 };
        }
    }

    /// So much was taken out.
    fn lower(&mut self, by: Micros) {
        self.least -= by;
        self.running = self.running.saturating_sub(by);
    }
}

/// How loud a speaker is when speaking, to tell the quiet moments in between. The level is the speaker's word:
/// one who lies about it gets changes amid their own words.
#[derive(Debug, Default)]
struct Loudness {
    /// Of the loudest of late, in sixteenths of -dBov; it falls by 1 dB every 16 frames.
    loudest: Option<u16>,
}

impl Loudness {
    fn follow(&mut self, level: Level) {
        let level = u16::from(level.dbov_below()) * 16;
        self.loudest = Some(self.loudest.map_or(level, |loudest| level.min(loudest.saturating_add(1))));
    }

    /// Whether `level` is 20 dB below the loudest of late, or so faint that it does not matter.
    fn quiet(&self, level: Level) -> bool {
        let level = u16::from(level.dbov_below()) * 16;
        level >= 60 * 16 || self.loudest.is_some_and(|loudest| level >= loudest + 20 * 16)
    }
}
