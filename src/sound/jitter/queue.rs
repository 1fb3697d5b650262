//! A speaker's frames of late, in the order of their counters: those that wait, with their bytes, and what became of
//! the others.
//!
//! A place's bytes keep their memory for the next frame, so a running voice allocates nothing. What waits is bounded in
//! number and bytes, and so is what is remembered.

use std::collections::VecDeque;

use super::Micros;
use crate::frame::{Level, MediaTime, OpusPacket, VoiceFrame};

/// Frames that are remembered beside those that wait: more than two signatures cover.
const REMEMBERED: usize = 128;

/// Frames that may wait: a second of the shortest there are, 2.5 ms.
pub(super) const WAITING: usize = 400;

/// Bytes that may wait.
const WAITING_BYTES: usize = 96 << 10;

/// Bytes that places keep for frames to come.
const PLACES_BYTES: usize = 2 * WAITING_BYTES;

/// Where a frame stands among all of its speaker's: its epoch, and its counter there.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Debug)]
pub(super) struct Sequence {
    pub(super) epoch: u64,
    pub(super) counter: u64,
}

impl Sequence {
    /// How many frames lie between it and a later one, if that can be told: within one epoch.
    pub(super) fn missing_before(self, later: Self) -> u64 {
        if self.epoch == later.epoch { later.counter.saturating_sub(self.counter.saturating_add(1)) } else { 0 }
    }
}

/// What has become of a frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum State {
    /// Its bytes are in this place.
    Waiting(u16),
    Played,
    /// It came too late.
    Late,
    /// It was given up.
    Dropped,
}

/// A frame that came.
#[derive(Clone, Copy, Debug)]
pub(super) struct Known {
    pub(super) sequence: Sequence,
    /// As its sender says.
    pub(super) time: MediaTime,
    /// Where it stands on the speaker's clock as it is understood here.
    pub(super) position: Micros,
    /// How long it sounds.
    pub(super) length: Micros,
    /// When it came.
    pub(super) at: Micros,
    /// It is certain that it is the speaker's.
    pub(super) verified: bool,
    /// Its arrival was learned from.
    pub(super) learned: bool,
    /// The time from the frame before it to this one fits what passed here, so that its position tells how late it is.
    pub(super) fits: bool,
    /// Of its bytes.
    pub(super) hash: u64,
    pub(super) level: Level,
    pub(super) state: State,
}

impl Known {
    /// Where the frame after it begins.
    pub(super) const fn end(&self) -> Micros {
        self.position + self.length
    }

    pub(super) const fn transit(&self) -> Micros {
        self.at - self.position
    }

    const fn is_waiting(&self) -> bool {
        matches!(self.state, State::Waiting(_))
    }
}

/// The frames of one speaker, by [`Sequence`].
#[derive(Debug, Default)]
pub(super) struct Queue {
    known: VecDeque<Known>,
    places: Vec<Vec<u8>>,
    free: Vec<u16>,
    waiting: usize,
    /// Of those that wait, and of all places.
    bytes: usize,
    capacity: usize,
    /// The place of the frame that was taken last: its bytes stay until the next is put in.
    taken: Option<u16>,
}

impl Queue {
    /// Where the frame of that sequence is, or would be.
    pub(super) fn find(&self, sequence: Sequence) -> Result<usize, usize> {
        // As nearly all do, it follows what came before.
        match self.known.back() {
            Some(last) if last.sequence >= sequence => {
                self.known.binary_search_by_key(&sequence, |known| known.sequence)
            }
            _ => Err(self.known.len()),
        }
    }

    pub(super) fn get(&self, at: usize) -> Option<&Known> {
        self.known.get(at)
    }

    pub(super) fn get_mut(&mut self, at: usize) -> Option<&mut Known> {
        self.known.get_mut(at)
    }

    /// The frame that follows all others.
    pub(super) fn last(&self) -> Option<&Known> {
        self.known.back()
    }

    /// The last of those that wait, and of which `is` holds.
    pub(super) fn last_waiting(&self, is: impl Fn(&Known) -> bool) -> Option<&Known> {
        self.known.iter().rev().find(|known| known.is_waiting() && is(known))
    }

    /// The place of the first frame that waits, at or after `from`.
    pub(super) fn first_waiting(&self, from: usize) -> Option<usize> {
        if self.waiting == 0 {
            return None;
        }
        self.known.range(from.min(self.known.len())..).position(Known::is_waiting).map(|at| at + from)
    }

    /// The last verified frame before `at`.
    pub(super) fn last_verified_before(&self, at: usize) -> Option<&Known> {
        self.known.range(..at.min(self.known.len())).rev().find(|known| known.verified)
    }

    /// The levels of those that wait, at or after `from`.
    pub(super) fn levels(&self, from: usize) -> impl Iterator<Item = Level> {
        let waiting = self.known.range(from.min(self.known.len())..);
        waiting.filter(|known| known.is_waiting()).map(|known| known.level)
    }

    pub(super) const fn waiting(&self) -> usize {
        self.waiting
    }

    /// Whether another frame of `bytes` may not wait beside those that do.
    pub(super) const fn is_full(&self, bytes: usize) -> bool {
        self.waiting >= WAITING || self.bytes + bytes > WAITING_BYTES
    }

    /// Puts a frame in at `at`, to wait with its bytes. What is remembered beyond bounds is forgotten, the oldest first.
    pub(super) fn put(&mut self, at: usize, mut known: Known, opus: &[u8]) {
        if let Some(place) = self.keep(opus) {
            known.state = State::Waiting(place);
        }
        self.remember(at, known);
    }

    /// Remembers a frame that will not be played.
    pub(super) fn remember(&mut self, at: usize, known: Known) {
        self.known.insert(at.min(self.known.len()), known);
        self.forget();
    }

    /// Puts other bytes, and what is known of them, where a frame stands.
    pub(super) fn replace(&mut self, at: usize, mut known: Known, opus: &[u8]) {
        self.give_up(at, State::Dropped);
        if let Some(place) = self.keep(opus) {
            known.state = State::Waiting(place);
        }
        if let Some(stands) = self.known.get_mut(at) {
            *stands = known;
        }
    }

    /// Takes a frame off those that wait, to be played. Its bytes stay readable until the next is put in.
    pub(super) fn take(&mut self, at: usize) -> Option<VoiceFrame<'_>> {
        self.give_taken_back();
        let known = self.known.get_mut(at)?;
        let State::Waiting(place) = known.state else { return None };
        known.state = State::Played;
        let (time, level) = (known.time, known.level);
        let bytes = self.places.get(usize::from(place))?;
        self.waiting -= 1;
        self.bytes -= bytes.len();
        self.taken = Some(place);
        Some(VoiceFrame { time, level, opus: OpusPacket::parse(bytes).unwrap_or(OpusPacket::NOTHING) })
    }

    /// A frame that waits.
    pub(super) fn frame(&self, at: usize) -> Option<VoiceFrame<'_>> {
        let known = self.known.get(at)?;
        let State::Waiting(place) = known.state else { return None };
        let opus = OpusPacket::parse(self.places.get(usize::from(place))?).ok()?;
        Some(VoiceFrame { time: known.time, level: known.level, opus })
    }

    /// Drops a frame that waits.
    pub(super) fn give_up(&mut self, at: usize, state: State) {
        let Some(known) = self.known.get_mut(at) else { return };
        if let State::Waiting(place) = std::mem::replace(&mut known.state, state) {
            self.waiting -= 1;
            self.bytes -= self.places.get(usize::from(place)).map_or(0, Vec::len);
            self.give_back(place);
        }
    }

    /// Forgets everything.
    pub(super) fn clear(&mut self) {
        while let Some(known) = self.known.pop_front() {
            if let State::Waiting(place) = known.state {
                self.give_back(place);
            }
        }
        (self.waiting, self.bytes) = (0, 0);
    }

    fn forget(&mut self) {
        if self.known.len() > REMEMBERED + self.waiting {
            let past = self.known.iter().position(|known| !known.is_waiting());
            past.map(|at| self.known.remove(at));
        }
    }

    fn keep(&mut self, opus: &[u8]) -> Option<u16> {
        self.give_taken_back();
        let place = match self.free.pop() {
            Some(place) => place,
            None => {
                self.places.push(Vec::new());
                u16::try_from(self.places.len() - 1).ok()?
            }
        };
        let bytes = self.places.get_mut(usize::from(place))?;
        let before = bytes.capacity();
        bytes.clear();
        bytes.extend_from_slice(opus);
        self.capacity += bytes.capacity() - before;
        self.waiting += 1;
        self.bytes += opus.len();
        Some(place)
    }

    fn give_taken_back(&mut self) {
        if let Some(place) = self.taken.take() {
            self.give_back(place);
        }
    }

    fn give_back(&mut self, place: u16) {
        if let Some(bytes) = self.places.get_mut(usize::from(place))
            && self.capacity > PLACES_BYTES
        {
            self.capacity -= bytes.capacity();
            *bytes = Vec::new();
        }
        self.free.push(place);
    }
}
