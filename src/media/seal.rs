//! Seals: what makes a voice the person's.
//!
//! Every member of a room can derive every sender's frame key, so the tag of a frame proves "somebody in the room" and
//! no more. A speaker therefore signs what they send: every [`every`](SealRules::every) frames a *seal*, which lists the
//! hashes of the whole packets sent since the last one, under a media key that their leaf certifies.
//!
//! ```text
//! frames  0 1 2 … 24 │ 25 26 … 49 │ 50 …      stream 0: sound, each under the sender's frame key
//! seals              └► seal 0    └► seal 1   stream 1: number, range, 16 bytes of SHA-256 a packet, one signature
//! ```
//!
//! Invariants, whatever an insider with every frame key sends:
//! - what a seal covers is the speaker's, to the byte; a packet that differs from what was sealed is not played, and
//!   nothing of the speaker's goes with it;
//! - only signed positions move the place where a speaker is listened for. All that was opened since is remembered
//!   exactly, so that no packet opens twice and no forgery takes the place of a true packet;
//! - a seal is of one room, epoch, speaker, stream, frame key and range, and of nothing else.

pub(in crate::media) mod archive;
mod findings;
mod held;
mod key;
pub(in crate::media) mod maker;
pub(crate) mod statement;
pub(in crate::media) mod watch;

use std::fmt;

use crate::{
    error::{Error, Result},
    identity::{LeafIndex, MemberId},
};

pub(super) use self::findings::Findings;
pub use self::findings::{Finding, Forgery};
pub use self::key::{MediaCertificate, MediaKey};

/// The most frames a seal covers.
pub const MAX_EVERY: u8 = 50;

/// What seals are for in a room.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
#[non_exhaustive]
pub enum SealMode {
    /// Nobody signs what they say: whoever is in the room can speak as anybody on stage. Rooms of two need no more.
    Off,
    /// Sound plays at once. Each frame is confirmed by a seal within a second, or flagged.
    #[default]
    Live,
    /// Only sealed sound is played: half a second later, at 25 frames a seal.
    Strict,
}

/// What becomes of the frames of a speaker whose seals are missing, in [`SealMode::Live`].
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
#[non_exhaustive]
pub enum Unsealed {
    /// They are played, and shown as unverified: a lost seal is no forgery.
    #[default]
    Play,
    /// A second after the last frame that a seal covers they are held until the next seal.
    Hold,
}

/// What seals are worth to somebody outside the room. Fixed when a room is made.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
#[non_exhaustive]
pub enum Proof {
    /// Nothing, once the room is over: each member publishes their media keys then, and anybody can make such seals.
    #[default]
    Deniable,
    /// They are kept, so that any member can show others who said what.
    Evidence,
}

/// How a room seals.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub struct SealRules {
    /// What seals are for.
    pub mode: SealMode,
    /// How many frames a seal covers, 1 to [`MAX_EVERY`].
    pub every: u8,
    /// What becomes of frames without.
    pub unsealed: Unsealed,
    /// What seals are worth afterwards.
    pub proof: Proof,
}

impl Default for SealRules {
    /// Live, 25 frames a seal (half a second, 8 kbit/s), unsealed frames played, deniable.
    fn default() -> Self {
        Self { mode: SealMode::Live, every: 25, unsealed: Unsealed::Play, proof: Proof::Deniable }
    }
}

/// What one epoch needs for seals, for [`EpochKeys::with_seals`](super::EpochKeys::with_seals).
pub struct SealKeys {
    pub(super) rules: SealRules,
    /// The confirmed transcript hash of the epoch (RFC 9420 §8.2), which ties it to all that led to it.
    pub(super) transcript: Box<[u8]>,
    /// Signs what one says oneself.
    pub(super) signer: Option<MediaKey>,
    pub(super) speakers: Vec<SealingSpeaker>,
}

/// Somebody on stage who seals.
pub(super) struct SealingSpeaker {
    pub(super) leaf: LeafIndex,
    pub(super) id: MemberId,
    pub(super) name: String,
    pub(super) certificate: MediaCertificate,
}

impl SealKeys {
    /// Seals by `rules` in an epoch whose confirmed transcript hash is `transcript` (of 255 bytes at most; the
    /// rest would not count).
    pub fn new(rules: SealRules, transcript: &[u8]) -> Self {
        let transcript = transcript.get(..transcript.len().min(255)).unwrap_or_default().into();
        Self { rules, transcript, signer: None, speakers: Vec::new() }
    }

    /// Refuses rules that no room has.
    pub(super) const fn check(&self) -> Result<()> {
        if self.rules.every == 0 || self.rules.every > MAX_EVERY {
            return Err(Error::Unusable { what: "seals", why: "one covers 1 to 50 frames" });
        }
        Ok(())
    }

    /// The same, with the key to sign what one says oneself.
    #[must_use]
    pub fn with_signer(mut self, key: MediaKey) -> Self {
        self.signer = Some(key);
        self
    }

    /// The same, with the media key of a member, whom `id` and `name` belong to.
    ///
    /// That the certificate [is theirs](MediaCertificate::is_of) is for the caller to have checked. Members without
    /// one cannot seal: their frames stay unverified.
    #[must_use]
    pub fn with_speaker(mut self, leaf: LeafIndex, id: MemberId, name: &str, certificate: MediaCertificate) -> Self {
        self.speakers.push(SealingSpeaker { leaf, id, name: name.to_owned(), certificate });
        self
    }
}

impl fmt::Debug for SealKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SealKeys")
            .field("rules", &self.rules)
            .field("signs", &self.signer.is_some())
            .field("speakers", &self.speakers.len())
            .finish_non_exhaustive()
    }
}
