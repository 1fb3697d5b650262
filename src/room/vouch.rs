//! Vouching for a clip: the one thing a member says outside the room.

use std::time::Duration;

use sha2::{Digest as _, Sha256};

use crate::{
    error::{Error, Result},
    media::clip::Draft,
    room::{PUBLISH_AFTER, Room},
};

impl Room {
    /// Signs a clip of this room with one's own identity; gives its bytes, for anybody to
    /// [verify](crate::Clip::verify). One may be out of the room by then.
    ///
    /// **A clip gives away the speaker's frame key of its epoch**, without which nobody could tell what the sealed
    /// packets say. Who has the clip, and recorded the room on its way through the relay, hears all that the speaker
    /// said in that epoch.
    ///
    /// # Errors
    /// [`Error::Unusable`] if the clip is another room's, or of the epoch that the room is in, or was in less than
    /// [`PUBLISH_AFTER`] ago: there its key would let outsiders listen on, and speak as the speaker until a seal is due.
    /// [Refresh](Room::refresh) the room, and wait. Whoever the relay keeps in that epoch for longer is exposed all the same.
    pub fn vouch(&self, draft: &Draft, now: Duration) -> Result<Vec<u8>> {
        let unusable = |why| Err(Error::Unusable { what: "clip", why });
        if *draft.room() != <[u8; 32]>::from(Sha256::digest(&self.id)) {
            return unusable("it is of another room: let that room vouch for it");
        }
        if self.is_open() && draft.epoch() >= self.epoch {
            return unusable("it would give away a key that is still in use: refresh the room, then vouch for it");
        }
        if self.is_open() && draft.epoch() + 1 == self.epoch && now.saturating_sub(self.since) < PUBLISH_AFTER {
            return unusable("others may be in its epoch yet, whose key it gives away: vouch for it 15 seconds later");
        }
        Ok(draft.signed_by(&self.identity))
    }
}
