//! The door of a room: links, the room's card behind them, knocks and their answers.
//!
//! A [`LinkId`] is the public half of a link's key pair and stands in the room's charter; whoever holds the link's
//! secret can prove it, and every member can check the proof without holding the secret.
//!
//! | | made by | from | read by |
//! |---|---|---|---|
//! | [`Link`] | a host | randomness | who is sent it |
//! | [`Gate`] | a host | the link | the relay, which drops what no holder of the link made |
//! | [`Doorplate`] | the host who issued the link | the room | who holds the link |
//! | knock ([`Guest::knock`](crate::Guest::knock)) | a guest | link and doorplate | those whom the doorplate names |
//! | answer ([`Waiting::enter`]) | one of those | the knock | the guest who made that knock |
//!
//! Knocks are all of one size, and so are the answers of one room at one time: from their bytes the relay learns that
//! somebody knocked and that somebody answered. It also sees what the room sends its members: a commit follows a yes,
//! and where few knock it may guess. Everything begins with a version, has one encoding for each value, and is refused by
//! its size before it is read.

mod answer;
mod gate;
mod keeper;
mod knock;
pub(in crate::room) mod labels;
mod link;
mod looks;
#[cfg(test)]
mod party;
mod plate;
mod refusals;
#[cfg(test)]
mod tests;
mod turn;
pub(in crate::room) mod used;
mod waiting;

use std::{
    fmt,
    time::{SystemTime, UNIX_EPOCH},
};

use crate::identity::{MemberId, Role, has_signed};

pub(crate) use self::keeper::Keeper;
use self::{
    answer::{Verdict, bucket_for, seal as seal_answer},
    plate::make as make_doorplate,
};
pub use self::{
    gate::{DoorAddress, Gate},
    keeper::{Answer, GATHERING, MAX_BATCH, MAX_WAITING},
    knock::{KNOCK_LEN, Knock, KnockId, MAX_NOTE},
    link::{Link, MAX_HINT},
    looks::KNOCKS_A_SECOND,
    plate::{Doorplate, MAX_ADMITTERS, PLATE_LEN},
    waiting::{KnockError, WaitError, Waiting},
};

/// The public half of a link's Ed25519 key pair: what the room and the relay know a link by.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LinkId(pub(crate) [u8; 32]);

impl LinkId {
    /// The id whose Ed25519 public key is `key`.
    pub const fn from_bytes(key: [u8; 32]) -> Self {
        Self(key)
    }

    /// The Ed25519 public key.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Whether the link's key made `signature` over `message`.
    fn has_signed(&self, message: &[u8], signature: &[u8; 64]) -> bool {
        has_signed(&self.0, message, signature)
    }
}

impl fmt::Display for LinkId {
    /// The first four bytes in hex: enough to tell links apart in a log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, ..] = self.0;
        write!(f, "{a:02x}{b:02x}{c:02x}{d:02x}")
    }
}

impl fmt::Debug for LinkId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LinkId({self})")
    }
}

/// A time of day: whole seconds since 1970-01-01 UTC, by a clock of the caller's. It decides nothing but whether a
/// link or a knock is too old, with [`UnixTime::SLACK`] to spare either way.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct UnixTime(pub u64);

impl UnixTime {
    /// How wrong two clocks may be together, in seconds: five minutes.
    pub const SLACK: u64 = 5 * 60;

    /// `seconds` later.
    #[must_use]
    pub const fn plus(self, seconds: u64) -> Self {
        Self(self.0.saturating_add(seconds))
    }
}

impl From<SystemTime> for UnixTime {
    fn from(time: SystemTime) -> Self {
        Self(time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()))
    }
}

/// What a link is good for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Terms {
    /// The role it admits to: [`Role::Listener`] or [`Role::Speaker`].
    pub role: Role,
    /// Whether it admits one person and is gone then.
    pub one_shot: bool,
    /// When it ends; `None` if it does not.
    pub expires: Option<UnixTime>,
}

/// A link as the room's charter lists it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct LinkEntry {
    /// Its public key.
    pub id: LinkId,
    /// What it is good for.
    pub terms: Terms,
    /// The host who issued it. It ends when they are no host any more.
    pub issuer: MemberId,
}

/// The proof, in a newcomer's key package, that they hold a link's secret: a signature by the link key over
/// [`LinkProof::signed`]. Any member can check it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct LinkProof {
    pub(crate) link: LinkId,
    pub(crate) signature: [u8; 64],
}

impl LinkProof {
    /// What the link key signs for `member` to be admitted to the room whose MLS group id is `room`.
    pub(crate) fn signed(room: &[u8], member: &MemberId) -> Vec<u8> {
        [labels::ADMISSION, member.as_bytes(), room].concat()
    }

    /// Whether the link's key signed this for `member` and `room`.
    pub(crate) fn holds(&self, room: &[u8], member: &MemberId) -> bool {
        self.link.has_signed(&Self::signed(room, member), &self.signature)
    }
}
