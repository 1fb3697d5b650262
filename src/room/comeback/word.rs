//! The word of a member that they ask to be brought back: an extension of their card, so that their identity key signs
//! it with the card and every member can check it.
//!
//! ```text
//! SHA-256 of the room's id (32) ‖ since when they have their role: the charter's epoch (8) ‖ asked at (8)
//!   ‖ the door key of their leaf as they last knew it (32), or zeros if they came to that by a word
//! ```
//!
//! It may throw a host out by no host's hand, and an honest host is glad to answer it, so an attacker would like to say an
//! old one again. What it is good for, which every member judges by what is in the tree:
//!
//! - It replaces the leaf that its maker sat at when they asked, which has that door key; or one that they came to by
//!   another word and perhaps never used, if that was asked for earlier. Whoever is let in anew leaves all older words behind.
//! - A leaf says when its owner last asked, and no word asked for then or earlier replaces it: not the one it came by, nor
//!   those before it that nobody answered. Who gives up asking says so with their next commit, and their words are over.
//! - Where more than a card is needed it counts in the role that its maker had, since the epoch they had it, and no other;
//!   and after it no other does that was asked for earlier, because the charter notes when, for as long as they have that role.
//!
//! Until it is answered, or its maker has made a commit, it stands: honest hosts take none that is older than ten minutes.

use sha2::{Digest as _, Sha256};

use crate::{
    bytes::Reader,
    error::{Item, Result},
    identity::Role,
    room::{charter::Standing, door::UnixTime, group::DoorKeyPublic},
};

/// In place of a door key: of who came to their leaf by a word. They may have been brought back into a history of the room
/// that nobody else shares, and so they do not know which leaf the others have of them.
pub(crate) const ANY_LEAF: DoorKeyPublic = DoorKeyPublic([0; 32]);

/// "I ask to be brought back to this room."
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct ReturnWord {
    room: [u8; 32],
    /// The epoch since which the member has their role, as they know it.
    since: u64,
    pub(crate) asked_at: UnixTime,
    /// That of the leaf that they ask out of.
    door: DoorKeyPublic,
}

impl ReturnWord {
    /// Who stands in the room so as `since` says, as far as they know, asks at `asked_at`.
    pub(crate) fn new(room: &[u8], since: u64, asked_at: UnixTime, door: DoorKeyPublic) -> Self {
        Self { room: Sha256::digest(room).into(), since, asked_at, door }
    }

    pub(crate) fn from_bytes(bytes: &[u8]) -> Result<Self> {
        let mut reader = Reader::new(Item::Card, bytes);
        let room = reader.array()?;
        let [since, asked_at] = [reader.array()?, reader.array()?].map(u64::from_be_bytes);
        let door = DoorKeyPublic(reader.array()?);
        reader.end()?;
        Ok(Self { room, since, asked_at: UnixTime(asked_at), door })
    }

    pub(crate) fn to_bytes(self) -> Vec<u8> {
        [&self.room[..], &self.since.to_be_bytes(), &self.asked_at.0.to_be_bytes(), &self.door.0].concat()
    }

    /// Whether it is for the room whose MLS group id is `room`.
    pub(crate) fn is_for(&self, room: &[u8]) -> bool {
        self.room == <[u8; 32]>::from(Sha256::digest(room))
    }

    /// Whether it asks out of the leaf that says `door` and `asked_at`.
    pub(crate) fn replaces(&self, (door, asked_at): (Option<DoorKeyPublic>, u64)) -> bool {
        let is_theirs = asked_at > 0 || door == Some(self.door) || self.door == ANY_LEAF;
        self.asked_at.0 > asked_at && is_theirs
    }

    /// Whether it counts for a host or a moderator of whom the charter says `standing`.
    fn counts(&self, room: &[u8], standing: &Standing) -> bool {
        standing.role >= Role::Moderator
            && self.is_for(room)
            && self.since == standing.since
            && self.asked_at.0 > standing.returned
    }
}

/// What the charter says of a member after they came back by a card with that word, of whom it said `was`; and whether
/// the word counted.
///
/// A host's or a moderator's word is noted whoever brings them back, or it could be said again by somebody else.
pub(crate) fn standing_after(room: &[u8], was: Standing, word: Option<&ReturnWord>) -> (Standing, bool) {
    match word {
        Some(word) if word.counts(room, &was) => (Standing { returned: word.asked_at.0, ..was }, true),
        _ => (was, false),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOOR: DoorKeyPublic = DoorKeyPublic([1; 32]);
    const HOST: Standing = Standing { role: Role::Host, since: 5, muted_by: None, leaving: false, returned: 100 };

    #[test]
    fn a_word_comes_back_as_it_was_written_and_has_one_length() {
        let word = ReturnWord::new(b"room", 7, UnixTime(9), DOOR);
        let bytes = word.to_bytes();
        assert_eq!((ReturnWord::from_bytes(&bytes).unwrap(), bytes.len()), (word, 80));
        for length in 0..bytes.len() {
            assert!(ReturnWord::from_bytes(&bytes[..length]).is_err());
        }
        assert!(ReturnWord::from_bytes(&[&bytes[..], &[0]].concat()).is_err());
    }

    #[test]
    fn a_word_replaces_the_leaf_it_was_asked_out_of_or_one_that_an_earlier_word_brought() {
        let word = ReturnWord::new(b"room", 7, UnixTime(9), DOOR);
        let other = Some(DoorKeyPublic([2; 32]));
        for leaf in [(Some(DOOR), 0), (Some(DOOR), 8), (other, 8), (other, 1)] {
            assert!(word.replaces(leaf), "{leaf:?}");
        }
        let wanderer = ReturnWord::new(b"room", 7, UnixTime(9), ANY_LEAF);
        assert!(wanderer.replaces((other, 0)) && wanderer.replaces((other, 8)) && !wanderer.replaces((other, 9)));
        for leaf in [(other, 0), (None, 0), (Some(DOOR), 9), (Some(DOOR), 10), (other, 9)] {
            assert!(!word.replaces(leaf), "{leaf:?}");
        }
    }

    #[test]
    fn a_word_counts_in_its_room_in_its_role_and_once() {
        let after = |since, asked_at, was| {
            standing_after(b"room", was, Some(&ReturnWord::new(b"room", since, UnixTime(asked_at), DOOR)))
        };
        assert_eq!(after(5, 101, HOST), (Standing { returned: 101, ..HOST }, true));
        let elsewhere = ReturnWord::new(b"another", 5, UnixTime(101), DOOR);
        assert_eq!(standing_after(b"room", HOST, Some(&elsewhere)), (HOST, false));
        assert_eq!(standing_after(b"room", HOST, None), (HOST, false));
        for (since, asked_at) in [(5, 100), (5, 99), (5, 0), (4, 101), (6, 101), (0, 101)] {
            assert_eq!(after(since, asked_at, HOST), (HOST, false), "since {since}, asked at {asked_at}");
        }
        let speaker = Standing { role: Role::Speaker, returned: 0, ..HOST };
        assert_eq!(after(5, 101, speaker), (speaker, false), "nobody needs theirs");
    }
}
