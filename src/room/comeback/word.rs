//! The word of a member that they ask to be brought back: an extension of their card, so that their identity key signs
//! it with the card and every member can check it.
//!
//! ```text
//! SHA-256 of the room's id (32) ‖ since when they have their role: the charter's epoch (8) ‖ asked at (8)
//!   ‖ their leaf as they last knew it: its door key (32) ‖ its date (8)
//! ```
//!
//! It may throw a host out by no host's hand, and an honest host is glad to answer it, so an attacker would like to say an
//! old one again. What it is good for, which every member judges by what is in the tree:
//!
//! - It replaces the very leaf that its maker sat at when they asked, whatever their clock has done since; or one that is
//!   dated before they asked. A leaf is dated by its card, so whoever is let in anew leaves all older words behind. A member
//!   does not always know which leaf the others have of them: by a word that was answered and the answer lost, or by one
//!   that brought them into a history of the room that nobody else shares.
//! - A leaf that has no date, of another implementation, is replaced only if its door key is the one that the word names.
//! - The leaf that a word brings has the date of the word, so none said then or earlier replaces it. Who gives up asking
//!   dates their next commit so, and their words are over.
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

/// "I ask to be brought back to this room."
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct ReturnWord {
    room: [u8; 32],
    /// The epoch since which the member has their role, as they know it.
    since: u64,
    pub(crate) asked_at: UnixTime,
    /// The door key and the date of the leaf that they ask out of.
    leaf: (DoorKeyPublic, u64),
}

impl ReturnWord {
    /// Who stands in the room so as `since` says, as far as they know, asks at `asked_at`.
    pub(crate) fn new(room: &[u8], since: u64, asked_at: UnixTime, leaf: (DoorKeyPublic, u64)) -> Self {
        Self { room: Sha256::digest(room).into(), since, asked_at, leaf }
    }

    pub(crate) fn from_bytes(bytes: &[u8]) -> Result<Self> {
        let mut reader = Reader::new(Item::Card, bytes);
        let room = reader.array()?;
        let [since, asked_at] = [reader.array()?, reader.array()?].map(u64::from_be_bytes);
        let leaf = (DoorKeyPublic(reader.array()?), reader.number()?);
        reader.end()?;
        Ok(Self { room, since, asked_at: UnixTime(asked_at), leaf })
    }

    pub(crate) fn to_bytes(self) -> Vec<u8> {
        let (door, date) = self.leaf;
        let dates = [self.since, self.asked_at.0].map(u64::to_be_bytes).concat();
        [&self.room[..], &dates, &door.0, &date.to_be_bytes()].concat()
    }

    /// Whether it is for the room whose MLS group id is `room`.
    pub(crate) fn is_for(&self, room: &[u8]) -> bool {
        self.room == <[u8; 32]>::from(Sha256::digest(room))
    }

    /// Whether it asks out of the leaf that says `door` and `date`; 0 for none.
    pub(crate) fn replaces(&self, (door, date): (Option<DoorKeyPublic>, u64)) -> bool {
        door.map(|door| (door, date)) == Some(self.leaf) || (date > 0 && self.asked_at.0 > date)
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
    const LEAF: (DoorKeyPublic, u64) = (DOOR, 5);
    const HOST: Standing = Standing { role: Role::Host, since: 5, muted_by: None, leaving: false, returned: 100 };

    #[test]
    fn a_word_comes_back_as_it_was_written_and_has_one_length() {
        let word = ReturnWord::new(b"room", 7, UnixTime(9), LEAF);
        let bytes = word.to_bytes();
        assert_eq!((ReturnWord::from_bytes(&bytes).unwrap(), bytes.len()), (word, 88));
        for length in 0..bytes.len() {
            assert!(ReturnWord::from_bytes(&bytes[..length]).is_err());
        }
        assert!(ReturnWord::from_bytes(&[&bytes[..], &[0]].concat()).is_err());
    }

    #[test]
    fn a_word_replaces_the_leaf_it_was_asked_out_of_or_one_that_is_older_than_it() {
        let word = ReturnWord::new(b"room", 7, UnixTime(9), LEAF);
        let other = Some(DoorKeyPublic([2; 32]));
        for leaf in [(Some(DOOR), 5), (Some(DOOR), 8), (other, 8), (other, 1)] {
            assert!(word.replaces(leaf), "{leaf:?}");
        }
        for leaf in [(other, 0), (None, 0), (Some(DOOR), 0), (Some(DOOR), 9), (Some(DOOR), 10), (other, 9), (other, 10)]
        {
            assert!(!word.replaces(leaf), "{leaf:?}");
        }
    }

    #[test]
    fn a_member_whose_clock_was_put_back_is_brought_out_of_the_leaf_they_know() {
        let word = ReturnWord::new(b"room", 7, UnixTime(9), (DOOR, 4_000));
        assert!(word.replaces((Some(DOOR), 4_000)));
        for leaf in [(Some(DOOR), 3_999), (Some(DOOR), 4_001), (Some(DoorKeyPublic([2; 32])), 4_000), (None, 4_000)] {
            assert!(!word.replaces(leaf), "{leaf:?}");
        }
    }

    #[test]
    fn a_leaf_without_a_date_is_replaced_by_a_word_that_names_its_door_key_alone() {
        let word = ReturnWord::new(b"room", 7, UnixTime(9), (DOOR, 0));
        assert!(word.replaces((Some(DOOR), 0)));
        assert!(!word.replaces((Some(DoorKeyPublic([2; 32])), 0)) && !word.replaces((None, 0)));
    }

    #[test]
    fn a_word_counts_in_its_room_in_its_role_and_once() {
        let after = |since, asked_at, was| {
            standing_after(b"room", was, Some(&ReturnWord::new(b"room", since, UnixTime(asked_at), LEAF)))
        };
        assert_eq!(after(5, 101, HOST), (Standing { returned: 101, ..HOST }, true));
        let elsewhere = ReturnWord::new(b"another", 5, UnixTime(101), LEAF);
        assert_eq!(standing_after(b"room", HOST, Some(&elsewhere)), (HOST, false));
        assert_eq!(standing_after(b"room", HOST, None), (HOST, false));
        for (since, asked_at) in [(5, 100), (5, 99), (5, 0), (4, 101), (6, 101), (0, 101)] {
            assert_eq!(after(since, asked_at, HOST), (HOST, false), "since {since}, asked at {asked_at}");
        }
        let speaker = Standing { role: Role::Speaker, returned: 0, ..HOST };
        assert_eq!(after(5, 101, speaker), (speaker, false), "nobody needs theirs");
    }
}
