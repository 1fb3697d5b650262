//! What a voice keeps of the past and the future, at most.

use std::time::Duration;

use crate::{
    error::{Error, Result},
    media::parking::MAX_PACKETS,
};

/// What a voice keeps of the past and the future, at most.
///
/// ```
/// let mut limits = parlor::media::Limits::default();
/// limits.parked_bytes = 64 * 1024;
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Limits {
    /// How long frames of an epoch are taken after the next one began: 2 s by default, and at most.
    ///
    /// At most 16 past epochs are kept. One of them holds about 1 KiB a speaker, 8 KiB where the room seals, 80 bytes a
    /// member of the room, and 2 bytes a leaf up to the highest leaf on stage. Where the room seals each frame that no
    /// seal has covered takes 32 bytes more, and each that is held about 100 and its own length: a flood in one
    /// speaker's name makes 1 MiB of that at most.
    pub previous_epoch: Duration,
    /// How many packets of epochs on their way are kept, 65,535 at most: 1,024 by default, ten people who speak for 2 s.
    pub parked_packets: usize,
    /// How many bytes they have together: 256 KiB by default.
    pub parked_bytes: usize,
    /// How many of them may name one leaf: 128 by default, 2.5 s of 20 ms frames. Leaves 256 apart share.
    pub parked_per_leaf: usize,
    /// How long a packet waits for its epoch: 2.5 s by default, so that a commit which is 2 s late loses nothing.
    pub parked_for: Duration,
    /// How many bytes of packets and seals a room that keeps evidence keeps for clips: 2 MiB by default, about six
    /// minutes of one speaker. With zero nothing is kept, and no clips can be made.
    pub evidence_bytes: usize,
}

impl Limits {
    /// The most that [`previous_epoch`](Self::previous_epoch) may be.
    pub const MAX_PREVIOUS_EPOCH: Duration = Duration::from_secs(2);

    pub(super) fn check(&self) -> Result<()> {
        let unusable = |why| Err(Error::Unusable { what: "limits", why });
        if self.previous_epoch > Self::MAX_PREVIOUS_EPOCH {
            return unusable("a previous epoch is kept for 2 s at most, so that who was removed is soon not heard");
        }
        if self.parked_packets > MAX_PACKETS {
            return unusable("65,535 packets can be parked at most");
        }
        Ok(())
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            previous_epoch: Self::MAX_PREVIOUS_EPOCH,
            parked_packets: 1024,
            parked_bytes: 256 * 1024,
            parked_per_leaf: 128,
            parked_for: Duration::from_millis(2500),
            evidence_bytes: 2 * 1024 * 1024,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_may_be_as_high_as_its_bound_and_no_higher() {
        let within = |previous_epoch, parked_packets| {
            Limits { previous_epoch, parked_packets, ..Limits::default() }.check().is_ok()
        };
        let two = Duration::from_secs(2);
        assert!(within(two, 65_535) && within(Duration::ZERO, 0));
        assert!(
            !within(two + Duration::from_nanos(1), 0) && !within(two, 65_536) && !within(Duration::MAX, usize::MAX)
        );
    }
}
