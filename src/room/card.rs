//! Cards: what somebody hands to a host to be let in.

use std::fmt;

use crate::{
    error::Result,
    identity::{Fingerprint, MemberId},
    room::{
        comeback::ReturnWord,
        door::{LinkId, LinkProof, UnixTime},
        group,
    },
};

/// The largest card in bytes.
pub const MAX_CARD: usize = 4 * 1024;

/// Somebody's request to be let in: their name, their keys, and a signature over both. Nothing in it is secret.
///
/// On the wire it is an MLS KeyPackage in an MLSMessage (RFC 9420 §10), so that other implementations can make
/// one. It admits its owner once: after that they need another, and after twelve weeks too.
///
/// It is dated by the clock of the machine that makes it, and held against the clock of the machine that admits by it: good
/// from an hour before its date to twelve weeks after. Nobody else's clock has a say in it. One of another implementation
/// that knows no such date has an MLS lifetime of twelve weeks at most, which must have begun five minutes ago and have a
/// week left; then members' clocks have a say ([`Error::WrongClock`](crate::Error::WrongClock)).
#[derive(Clone, PartialEq, Eq)]
pub struct Card {
    bytes: Box<[u8]>,
    id: MemberId,
    name: String,
    proof: Option<LinkProof>,
    word: Option<ReturnWord>,
}

impl Card {
    /// Reads a card that came over any channel, and checks all that can be checked without a room: its
    /// signatures, its MLS suite, that it supports what every room needs, its date, its name.
    ///
    /// Whether name and key belong together is for people to check, by [`Card::fingerprint`].
    ///
    /// # Errors
    /// [`Error::TooLarge`](crate::Error::TooLarge) above [`MAX_CARD`]; [`Error::Malformed`](crate::Error::Malformed) if it
    /// is none, or not signed as it stands, or its name is none to show; [`Error::Unfit`](crate::Error::Unfit) with the
    /// [`Flaw`](crate::Flaw) that is in the way.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        let (id, name, proof, word) = group::read_card(bytes)?;
        Ok(Self { bytes: bytes.into(), id, name, proof, word })
    }

    pub(super) fn new(
        bytes: Vec<u8>,
        id: MemberId,
        name: String,
        proof: Option<LinkProof>,
        word: Option<ReturnWord>,
    ) -> Self {
        Self { bytes: bytes.into(), id, name, proof, word }
    }

    /// The card's bytes, to send to a host.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The public key of who it would admit.
    pub const fn id(&self) -> MemberId {
        self.id
    }

    /// The name they chose.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The digits to compare with what the card's owner sees.
    pub fn fingerprint(&self) -> Fingerprint {
        self.id.fingerprint()
    }

    /// The link that it says its owner holds, if it was made to knock with one. Every member checks that when its
    /// owner is admitted.
    pub fn link(&self) -> Option<LinkId> {
        self.proof.map(|proof| proof.link)
    }

    /// When its owner asked to be brought back to a room, by their own clock, if it was made for that
    /// ([`Returning`](crate::room::Returning)).
    pub fn asked_back_at(&self) -> Option<UnixTime> {
        self.word.map(|word| word.asked_at)
    }

    pub(crate) const fn word(&self) -> Option<&ReturnWord> {
        self.word.as_ref()
    }

    pub(crate) const fn proof(&self) -> Option<&LinkProof> {
        self.proof.as_ref()
    }
}

impl fmt::Debug for Card {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Card").field("name", &self.name).field("id", &self.id).finish_non_exhaustive()
    }
}
