//! What a received message brought about.
use crate::media::EpochKeys;

/// What changed in the room.
#[derive(Debug)]
#[non_exhaustive]
pub enum Event {
    /// The room is in its next epoch: give these keys to the voice.
    Rekeyed(EpochKeys),
}
