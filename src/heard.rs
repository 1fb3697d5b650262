//! An opened frame: whose it is, which of theirs, and what is certain of it; and what becomes of such frames in an ear.
//!
//! It stands between the media layer, which makes frames, and what plays them: neither knows the other. A member of the
//! room can seal frames in a speaker's name, until that speaker's signatures tell; so whatever learns from frames, as an
//! [`Ear`](crate::sound::Ear) does, learns from those that are [`verified`](Heard::verified) or
//! [`confirmed`](Heard::confirmed). A [`Fate`] goes back the other way.

use std::time::Duration;

use crate::identity::{LeafIndex, MemberId};

/// An opened frame: authenticated sound from somebody on stage.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Heard<F> {
    /// Who sealed it.
    pub speaker: MemberId,
    /// Where they stood in the tree.
    pub leaf: LeafIndex,
    /// In which epoch.
    pub epoch: u64,
    /// Its counter in that epoch: 0 for the speaker's first frame there.
    pub counter: u64,
    /// Whether it is certain that it is the speaker's: a signature of theirs covers it already, or the room is one of
    /// two. If not, a later one confirms it, or [`Voice::next_finding`](crate::Voice::next_finding) tells.
    pub verified: bool,
    /// Which of this speaker's earlier frames were confirmed since the last that was given.
    pub confirmed: Confirmed,
    /// How long it was parked for its key, or held for its signature; zero for one that waited for neither.
    pub parked_for: Duration,
    /// The bytes that were sealed.
    pub frame: F,
}

impl<F> Heard<F> {
    /// A frame out of a media layer other than [`Voice`](crate::Voice), for an [`Ear`](crate::sound::Ear): frame
    /// `counter` of `speaker` in `epoch`, with nothing said of who made it.
    pub fn unverified(speaker: MemberId, epoch: u64, counter: u64, frame: F) -> Self {
        Self {
            speaker,
            leaf: LeafIndex(0),
            epoch,
            counter,
            verified: false,
            confirmed: Confirmed::NONE,
            parked_for: Duration::ZERO,
            frame,
        }
    }

    /// The same, of which that layer is certain that it is the speaker's.
    pub fn verified(speaker: MemberId, epoch: u64, counter: u64, frame: F) -> Self {
        Self { verified: true, ..Self::unverified(speaker, epoch, counter, frame) }
    }

    /// The same of another form of its bytes.
    pub fn with_frame<G>(&self, frame: G) -> Heard<G> {
        let Self { speaker, leaf, epoch, counter, verified, confirmed, parked_for, .. } = *self;
        Heard { speaker, leaf, epoch, counter, verified, confirmed, parked_for, frame }
    }

    pub(crate) fn map<G>(self, change: impl FnOnce(F) -> G) -> Heard<G> {
        let Self { speaker, leaf, epoch, counter, verified, confirmed, parked_for, frame } = self;
        Heard { speaker, leaf, epoch, counter, verified, confirmed, parked_for, frame: change(frame) }
    }
}

/// Some of one speaker's frames in one epoch, 64 counters at most.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Confirmed {
    epoch: u64,
    first: u64,
    /// Bit n stands for the counter `first` + n.
    which: u64,
}

impl Confirmed {
    /// None.
    pub const NONE: Self = Self { epoch: 0, first: 0, which: 0 };

    /// Whether there are none.
    pub const fn is_none(&self) -> bool {
        self.which == 0
    }

    /// In which epoch; without meaning if there are none.
    pub const fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Their counters, in order.
    pub fn counters(&self) -> impl Iterator<Item = u64> + use<> {
        let Self { first, which, .. } = *self;
        (0..64).filter(move |bit| which >> bit & 1 == 1).map(move |bit| first + bit)
    }

    /// Says in which epoch they are.
    pub(crate) const fn in_epoch(self, epoch: u64) -> Self {
        Self { epoch, ..self }
    }

    /// Adds one; those that are more than 63 before it are dropped.
    pub(crate) fn add(&mut self, counter: u64) {
        if self.which == 0 || counter < self.first {
            // The counters of a signature come in order, and signatures seldom out of it.
            (self.first, self.which) = (counter, 1);
            return;
        }
        let beyond = (counter - self.first).saturating_sub(63);
        self.which = u32::try_from(beyond).ok().and_then(|by| self.which.checked_shr(by)).unwrap_or(0);
        self.first += beyond;
        self.which |= 1 << (counter - self.first);
    }
}

/// What becomes of a speaker's frames where they are played, within the last second.
///
/// An [`Ear`](crate::sound::Ear) says it ([`Ear::fate`](crate::sound::Ear::fate)), or a player of the app's own, and
/// [`Hearing::through`](crate::Hearing::through) joins it to what the voice says.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum Fate {
    /// Sound of theirs came out, or waits for its turn.
    Played,
    /// They are muted in this ear, or their gain is zero.
    Muted,
    /// No frame of theirs was given to this ear.
    NotGiven,
    /// This ear had no room for them: too many others speak, or are remembered.
    NoRoom,
    /// Frames of theirs wait, and nobody asks this ear for sound.
    NotAsked,
    /// What was given as theirs is no voice frame.
    NoVoiceFrame,
    /// Frames came after later ones had their turn.
    Late,
    /// Frames came that were there already.
    Doubled,
    /// Frames came that are further ahead than the speaker can be.
    Stray,
    /// Frames had their turn unheard, for others were louder.
    Faint,
    /// Frames had their turn, and could not be decoded.
    Undecodable,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_confirmed_is_told_in_order_and_the_newest_is_kept() {
        let mut confirmed = Confirmed::NONE;
        assert!(confirmed.is_none() && confirmed.counters().next().is_none());
        for counter in [10, 11, 13] {
            confirmed.add(counter);
        }
        assert_eq!(confirmed.in_epoch(3).epoch(), 3);
        assert_eq!(confirmed.counters().collect::<Vec<_>>(), [10, 11, 13]);
        confirmed.add(75);
        assert_eq!(confirmed.counters().collect::<Vec<_>>(), [13, 75]);
        confirmed.add(500);
        assert_eq!(confirmed.counters().collect::<Vec<_>>(), [500]);
        confirmed.add(499);
        assert_eq!(confirmed.counters().collect::<Vec<_>>(), [499, 500]);
    }
}
