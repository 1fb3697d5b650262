//! What a jitter buffer says: of each frame that came, of each 20 ms to play, and of all of them in numbers.

use crate::frame::VoiceFrame;

/// What became of a frame that came in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Arrival {
    /// It waits for its turn.
    Kept,
    /// It is here already, or was: dropped.
    Duplicate,
    /// Its turn has passed: dropped.
    Late,
    /// Its media time does not fit: dropped.
    Stray,
}

/// What to play for the next 20 ms.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Play<'a> {
    /// This frame.
    Frame(VoiceFrame<'a>),
    /// Both frames, the first faded into the second: the delay gets 20 ms shorter.
    Merge(VoiceFrame<'a>, VoiceFrame<'a>),
    /// A lost frame, restored from the frame after it, which is this one.
    Recover(VoiceFrame<'a>),
    /// A lost frame, or 20 ms put in to make the delay longer: fill in from the sound so far.
    Conceal,
    /// Nothing: the speaker is not sending, or has just begun.
    Silence,
}

/// What became of a speaker's frames, each counted in frames of 20 ms.
///
/// Every frame that came is one of: played, duplicate, late, stray, cut, or still waiting.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
#[non_exhaustive]
pub struct Counters {
    /// Came in, whatever became of them.
    pub received: u64,
    /// Played as they were.
    pub played: u64,
    /// Not there in time, restored from the frame after them.
    pub recovered: u64,
    /// Not there in time, filled in from the sound before.
    pub concealed: u64,
    /// Not there in time and, so far, never come: recovered or concealed in their place, or passed in silence
    /// in a long gap.
    pub lost: u64,
    /// Came after their turn; dropped.
    pub late: u64,
    /// Came again; dropped.
    pub duplicate: u64,
    /// Came with a media time that did not fit; dropped.
    pub stray: u64,
    /// Dropped unplayed although in time, because far more waited than the delay allows.
    pub cut: u64,
    /// Filled in after the last frame there was, until the speaker was taken to have stopped.
    pub trailing: u64,
    /// 20 ms put in to make the delay longer.
    pub stretched: u64,
    /// Pairs of frames run into one to make the delay shorter. Both count as played.
    pub merged: u64,
    /// Times the speaker's clock started anew.
    pub restarts: u64,
}

impl Counters {
    /// The sum of two accounts.
    #[must_use]
    pub const fn plus(self, other: Self) -> Self {
        Self {
            received: self.received + other.received,
            played: self.played + other.played,
            recovered: self.recovered + other.recovered,
            concealed: self.concealed + other.concealed,
            lost: self.lost + other.lost,
            late: self.late + other.late,
            duplicate: self.duplicate + other.duplicate,
            stray: self.stray + other.stray,
            cut: self.cut + other.cut,
            trailing: self.trailing + other.trailing,
            stretched: self.stretched + other.stretched,
            merged: self.merged + other.merged,
            restarts: self.restarts + other.restarts,
        }
    }
}
