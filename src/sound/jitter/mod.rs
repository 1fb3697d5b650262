//! The jitter buffer of one speaker: frames in as the network brings them, one every 20 ms out, in order.
//!
//! It counts in *slots* of 20 ms of the speaker's media time, with a playhead that only moves forward, so that no
//! frame is played twice and none before an earlier one. How long after the fastest frame's arrival a slot is
//! played is the *delay*. It follows the network: the depth aimed at is the lateness that all but one arrival in a
//! hundred keep within (over the last eight seconds), plus one frame, within the bounds of [`Delay`]. Below it
//! the buffer waits a frame's length (at a gap, or in a quiet moment), above it for half a second it runs two
//! quiet frames into one.
//!
//! Media times come from whoever holds the room's key. One that does not fit the arrivals so far is refused as a
//! *stray*; three in a row that fit each other mean that the speaker's clock was started anew, and the buffer
//! starts anew with it. At most 64 frames wait, and no loop counts over a distance in media time.

mod outcome;
mod slots;
mod transit;

use std::time::Duration;

pub use self::outcome::{Arrival, Counters, Play};
use self::{
    slots::{PLACES, Past, Slots},
    transit::{Transits, micros},
};
use super::FRAME_UNITS;
use crate::{
    error::{Error, Result},
    frame::{Level, MediaTime, VoiceFrame},
};

type Micros = i64;

/// A slot, 20 ms.
const FRAME: Micros = 20_000;

/// How much earlier than the fastest frame so far one may come and still be of the same clock.
const EARLY: Micros = 300_000;

/// How late a frame may be and still be of the same clock.
const LATE: Micros = 2_000_000;

/// So many strays that fit each other start the buffer anew.
const STRAYS: u32 = 3;

/// Concealed frames in a row, with nothing waiting, after which the speaker is taken to have stopped: 200 ms.
const STOPPED: u64 = 10;

/// How far above its target the delay may be before it is worth a cut: more than one frame, or cutting and
/// stretching would chase each other.
const SLACK: Micros = 30_000;

/// The delay is cut in a quiet moment after so many frames above [`SLACK`]: half a second.
const PATIENCE: u32 = 25;

/// It is cut amid words after so many: two seconds.
const LAST_PATIENCE: u32 = 100;

/// So far above its target, the delay is cut three times as often.
const HIGH: Micros = 100_000;

/// A delay so far above its upper bound is left in one leap: somebody has not asked for sound for a while.
const FAR: Micros = 200_000;

/// Frames below the target delay, with no quiet moment, after which it is stretched amid words: 200 ms.
const HASTE: u32 = 10;

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

    /// 20 ms to 1 s: as much as frames wait for their seals.
    pub(in crate::sound) const fn sealed() -> Self {
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
/// use parlor::{frame::{Level, MediaTime, OpusPacket, VoiceFrame}, sound::{Delay, JitterBuffer, Play}};
///
/// let ms = Duration::from_millis;
/// let mut buffer = JitterBuffer::new(Delay::fixed(ms(40))?);
/// let frame = VoiceFrame { time: MediaTime::default(), level: Level::SILENCE, opus: OpusPacket::parse(b"\x48opus")? };
/// buffer.insert(&frame, ms(1000));
/// assert_eq!(buffer.next(ms(1020)), Play::Silence); // it has not waited its 40 ms
/// assert!(matches!(buffer.next(ms(1040)), Play::Frame(frame) if frame.opus.bytes() == b"\x48opus"));
/// # Ok::<(), parlor::Error>(())
/// ```
#[derive(Debug)]
pub struct JitterBuffer {
    bounds: Delay,
    slots: Slots,
    transits: Transits,
    /// The playhead: the slot to be played next. Everything before it is past.
    head: u64,
    /// Which of the slots before the playhead had their frame.
    past: Past,
    /// The first slot of this clock that was played, if any was.
    first: Option<u64>,
    playing: bool,
    /// Slots in a row just concealed with nothing waiting: part of `past`, not yet of the counters.
    tail: u64,
    /// The highest slot of this clock so far.
    newest: Option<u64>,
    /// The last stray's transit, and how many in a row fitted it.
    strays: (Micros, u32),
    /// Frames in a row with the delay above its target, far above its bound, and below its target.
    above: u32,
    far_above: u32,
    below: u32,
    loudness: Loudness,
    delay: Micros,
    counters: Counters,
}

impl JitterBuffer {
    /// A buffer that has heard nothing.
    pub fn new(delay: Delay) -> Self {
        Self {
            bounds: delay,
            slots: Slots::new(),
            transits: Transits::new(),
            head: 0,
            past: Past::default(),
            first: None,
            playing: false,
            tail: 0,
            newest: None,
            strays: (0, 0),
            above: 0,
            far_above: 0,
            below: 0,
            loudness: Loudness::default(),
            delay: 0,
            counters: Counters::default(),
        }
    }

    /// Takes in a frame that arrived at `now`, on the clock that [`next`](Self::next) is told too.
    pub fn insert(&mut self, frame: &VoiceFrame<'_>, now: Duration) -> Arrival {
        self.counters.received += 1;
        let Some((slot, transit)) = self.place(frame.time, micros(now)) else {
            self.counters.stray += 1;
            return Arrival::Stray;
        };
        if self.had(slot) {
            self.counters.duplicate += 1;
            return Arrival::Duplicate;
        }
        self.transits.push(transit, micros(now), self.bounds.most);
        self.settle_tail();
        // Before the start, frames may still come from before the ones that wait.
        let oldest = self.slots.latest().map_or(0, |latest| (latest + 1).saturating_sub(PLACES));
        if slot < self.head.max(oldest) {
            return self.too_late(slot);
        }
        // Nobody has asked for sound in a second: the oldest makes room.
        if slot >= PLACES {
            self.forget_before(slot + 1 - PLACES);
        }
        self.slots.put(slot, frame);
        self.newest = self.newest.max(Some(slot));
        Arrival::Kept
    }

    /// What to play for the 20 ms from `now` on. To be asked every 20 ms, as the sound device does.
    pub fn next(&mut self, now: Duration) -> Play<'_> {
        let now = micros(now);
        let Some(base) = self.transits.base() else { return Play::Silence };
        let target = self.target_micros();
        if !self.playing && !self.begin(now - base, target) {
            return Play::Silence;
        }
        self.measure(now - base, target);
        if self.far_above >= 5 {
            self.leap(target);
        }

        let (head, short) = (self.head, self.delay < target);
        if !self.slots.has(head) {
            let waiting = self.slots.earliest().is_some();
            if short && (waiting || self.tail == 0) {
                // It may still come, and the delay is to grow anyway.
                self.counters.stretched += 1;
                return Play::Conceal;
            }
            if !waiting {
                return self.trail();
            }
            self.pass(head, false);
            self.counters.lost += 1;
            if !self.slots.has(head + 1) {
                self.counters.concealed += 1;
                return Play::Conceal;
            }
            self.counters.recovered += 1;
            return self.slots.frame(head + 1).map_or(Play::Conceal, Play::Recover);
        }

        let quiet = self.slots.frame(head).is_some_and(|frame| self.loudness.quiet(frame.level));
        if short && (quiet || self.below >= HASTE) {
            self.below = 0;
            self.counters.stretched += 1;
            return Play::Conceal;
        }
        let next_quiet = self.slots.frame(head + 1).is_some_and(|frame| self.loudness.quiet(frame.level));
        let cut = self.above >= LAST_PATIENCE || (self.above >= PATIENCE && quiet && next_quiet);
        self.play(head);
        if cut && self.slots.has(head + 1) {
            self.above = 0;
            self.play(head + 1);
            self.counters.merged += 1;
            return match (self.slots.frame(head), self.slots.frame(head + 1)) {
                (Some(first), Some(second)) => Play::Merge(first, second),
                _ => Play::Conceal,
            };
        }
        self.slots.frame(head).map_or(Play::Conceal, Play::Frame)
    }

    /// How long sound waits at present: from when a frame would have come at the fastest, to when it is played.
    pub fn delay(&self) -> Duration {
        Duration::from_micros(self.delay.max(0).cast_unsigned())
    }

    /// The delay that the network calls for, within the bounds that were set.
    pub fn target(&self) -> Duration {
        Duration::from_micros(self.target_micros().max(0).cast_unsigned())
    }

    /// What became of the frames so far.
    pub const fn counters(&self) -> Counters {
        self.counters
    }

    /// Whether sound is coming out, or will as soon as it has waited long enough.
    pub fn active(&self) -> bool {
        self.playing || self.slots.earliest().is_some()
    }

    fn target_micros(&self) -> Micros {
        self.transits.target(self.bounds.least, self.bounds.most)
    }

    /// The slot and the transit of a frame, or `None` if it fits neither this clock nor the strays before it.
    fn place(&mut self, time: MediaTime, now: Micros) -> Option<(u64, Micros)> {
        if let (Some(newest), Some(base)) = (self.newest, self.transits.base()) {
            let newest_time = MediaTime::from_units(newest * FRAME_UNITS);
            let slot = (newest * FRAME_UNITS).saturating_add_signed(time.since(newest_time).into()) / FRAME_UNITS;
            let transit = now - start_of(slot);
            let lateness = transit - base;
            let resting = !self.active();
            if (-EARLY..=LATE).contains(&lateness) {
                self.strays = (0, 0);
                // The speaker sends again after a pause in which its clock stood still: its slots go on, its
                // transits begin anew.
                if resting && slot >= self.head && lateness > self.target_micros() {
                    self.transits.clear();
                }
                return Some((slot, transit));
            }
            if !resting && !self.fits_strays(transit) {
                return None;
            }
            self.restart();
        }
        // Far enough from zero that frames from before this one have a slot too.
        let slot = u64::from(time.units()) / FRAME_UNITS + (1 << 21);
        self.newest = Some(slot);
        Some((slot, now - start_of(slot)))
    }

    fn fits_strays(&mut self, transit: Micros) -> bool {
        let (last, count) = self.strays;
        let fits = count > 0 && (transit - last).abs() <= EARLY;
        self.strays = (transit, if fits { count + 1 } else { 1 });
        self.strays.1 >= STRAYS
    }

    /// Begins a clock of which nothing is known.
    fn restart(&mut self) {
        self.stop();
        self.counters.cut += self.slots.drop_before(u64::MAX);
        self.transits.clear();
        self.past = Past::default();
        (self.head, self.first, self.newest, self.strays) = (0, None, None, (0, 0));
        self.counters.restarts += 1;
    }

    fn had(&self, slot: u64) -> bool {
        self.slots.has(slot) || self.head.checked_sub(slot + 1).is_some_and(|age| self.past.came(age))
    }

    fn too_late(&mut self, slot: u64) -> Arrival {
        if let Some(age) = self.head.checked_sub(slot + 1) {
            self.past.mark(age);
            if self.first.is_some_and(|first| slot >= first) {
                self.counters.lost = self.counters.lost.saturating_sub(1);
            }
        }
        self.counters.late += 1;
        Arrival::Late
    }

    /// Drops what waits from before `slot`, and moves a playhead that is before it.
    fn forget_before(&mut self, slot: u64) {
        let cut = self.slots.drop_before(slot);
        self.counters.cut += cut;
        if self.playing && self.head < slot {
            self.counters.lost += (slot - self.head).saturating_sub(cut);
            self.past.leap(slot - self.head);
            self.head = slot;
        }
    }

    /// Starts to play if the earliest frame has waited long enough.
    fn begin(&mut self, since_base: Micros, target: Micros) -> bool {
        let Some(earliest) = self.slots.earliest() else { return false };
        if since_base - start_of(earliest) < target {
            return false;
        }
        let gap = earliest.saturating_sub(self.head);
        if self.first.is_some() {
            self.counters.lost += gap;
        }
        self.first = self.first.or(Some(earliest));
        self.past.leap(gap);
        self.head = earliest;
        self.playing = true;
        (self.above, self.far_above, self.below) = (0, 0, 0);
        true
    }

    fn measure(&mut self, since_base: Micros, target: Micros) {
        self.delay = since_base - start_of(self.head);
        let excess = self.delay - target;
        let step = if excess > HIGH { 3 } else { 1 };
        self.above = if excess > SLACK { self.above.saturating_add(step) } else { 0 };
        self.far_above = if self.delay > self.bounds.most + FAR { self.far_above.saturating_add(1) } else { 0 };
        self.below = if excess < 0 { self.below.saturating_add(1) } else { 0 };
    }

    /// Gives up what waits beyond the target delay, but for the last frame there is.
    fn leap(&mut self, target: Micros) {
        let excess = ((self.delay - target).max(0) / FRAME).cast_unsigned();
        if let Some(latest) = self.slots.latest() {
            let to = self.head.saturating_add(excess).min(latest);
            self.delay -= start_of(to) - start_of(self.head);
            self.forget_before(to);
            (self.above, self.far_above) = (0, 0);
        }
    }

    /// Nothing waits: fills in, and after a while takes the speaker to have stopped.
    fn trail(&mut self) -> Play<'static> {
        self.past.step(false);
        self.head += 1;
        self.tail += 1;
        if self.tail >= STOPPED {
            self.stop();
        }
        Play::Conceal
    }

    /// A frame came: what was filled in was amid words after all.
    fn settle_tail(&mut self) {
        self.counters.concealed += self.tail;
        self.counters.lost += self.tail;
        self.tail = 0;
    }

    /// Stops playing. Slots filled in after the last frame were not spoken, as far as anybody knows: the
    /// speaker may go on in them.
    fn stop(&mut self) {
        self.counters.trailing += self.tail;
        self.past.back(self.tail);
        self.head -= self.tail;
        self.tail = 0;
        self.playing = false;
    }

    fn play(&mut self, slot: u64) {
        if let Some(frame) = self.slots.frame(slot) {
            self.loudness.follow(frame.level);
        }
        self.pass(slot, true);
        self.counters.played += 1;
    }

    fn pass(&mut self, slot: u64, came: bool) {
        self.slots.take(slot);
        self.past.step(came);
        self.head = slot + 1;
    }
}

/// Since the origin of a clock. Slots stay far below 2^40.
const fn start_of(slot: u64) -> Micros {
    slot.cast_signed().wrapping_mul(FRAME)
}

/// How loud a speaker is when speaking, to tell the quiet moments in between. The level is the speaker's word:
/// one who lies about it gets cuts amid their own words.
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
