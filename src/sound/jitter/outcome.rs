//! What a jitter buffer says: of each frame that came, of what to play next, and of all of them in numbers.

use std::time::Duration;

use crate::frame::VoiceFrame;

/// What became of a frame that came in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Arrival {
    /// It waits for its turn.
    Kept,
    /// It is here already, or was: dropped.
    Duplicate,
    /// A later frame has been played: dropped.
    Late,
    /// Nothing says that it is the speaker's, and it is further ahead than they can be: dropped.
    Stray,
    /// It is this ear's own: passed over.
    Own,
}

/// What to play next. Lengths are in samples a channel at 48 kHz.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Play<'a> {
    /// This frame, at its length.
    Frame(VoiceFrame<'a>, Pace),
    /// What was lost right before this frame, for so long: restored out of it.
    Recover(VoiceFrame<'a>, usize),
    /// Fill in for so long from the sound so far: a frame was lost, or does not come in time.
    Conceal(usize),
    /// A pause for so long, in which the speaker sent nothing.
    Pause(usize),
    /// Nothing: the speaker is not sending, or has just begun. Ask again after some milliseconds.
    Silence,
}

/// Whether a frame is to be played faster or slower than it was spoken, to change the delay.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Pace {
    /// As it was spoken.
    Keep,
    /// With up to so many samples a channel taken out.
    Shorten(usize),
    /// With up to so many samples a channel put in.
    Stretch(usize),
}

/// What became of a speaker's frames, in frames as they came, and of their sound.
///
/// Every frame that came is one of: played, duplicate, late, stray, cut, replaced, or still waiting.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
#[non_exhaustive]
pub struct Counters {
    /// Came in, whatever became of them.
    pub received: u64,
    /// Had their turn.
    pub played: u64,
    /// Never came, as far as is known: their counters are missing among those that came. What a sender with
    /// discontinuous transmission, a noise gate or push to talk did not send has no counter, and is not lost.
    pub lost: u64,
    /// Of those lost or late, restored out of the frame after them.
    pub recovered: u64,
    /// Came after a later one had its turn; dropped.
    pub late: u64,
    /// Came again; dropped.
    pub duplicate: u64,
    /// Came further ahead than the speaker can be; dropped.
    pub stray: u64,
    /// Dropped unplayed although in time, because far more waited than the delay allows.
    pub cut: u64,
    /// Dropped unplayed because a verified frame took their place: somebody else made them.
    pub replaced: u64,
    /// Times all began anew: a speaker who signs nothing counted anew, or the listener's clock was set back.
    pub restarts: u64,
    /// Filled in amid words.
    pub concealed: Duration,
    /// Filled in after the last frame there was, until the speaker was taken to have paused.
    pub trailing: Duration,
    /// Put in, to make the delay longer.
    pub stretched: Duration,
    /// Taken out, to make the delay shorter.
    pub shortened: Duration,
}

impl Counters {
    /// The sum of two accounts.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self {
            received: self.received + other.received,
            played: self.played + other.played,
            lost: self.lost + other.lost,
            recovered: self.recovered + other.recovered,
            late: self.late + other.late,
            duplicate: self.duplicate + other.duplicate,
            stray: self.stray + other.stray,
            cut: self.cut + other.cut,
            replaced: self.replaced + other.replaced,
            restarts: self.restarts + other.restarts,
            concealed: self.concealed + other.concealed,
            trailing: self.trailing + other.trailing,
            stretched: self.stretched + other.stretched,
            shortened: self.shortened + other.shortened,
        }
    }
}
