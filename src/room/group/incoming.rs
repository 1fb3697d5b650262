//! Messages off the wire (RFC 9420 §6): parsed, authenticated, decrypted, told in the room's terms.

use std::time::Duration;

use openmls::prelude::{
    ApplyUpdatePathError, ContentType, KeyPackageVerifyError, MlsMessageBodyIn, MlsMessageIn, ProcessMessageError,
    ProcessedMessageContent, ProposalValidationError, ProtocolMessage, Sender, StageCommitError, StagedCommit,
    ValidationError,
};
use openmls::treesync::errors::{LeafNodeValidationError, LifetimeError};
use tls_codec::DeserializeBytes as _;

use super::{
    Group,
    bounds::{MLS_GROUP_INFO, MLS_KEY_PACKAGE, MLS_WELCOME},
    bug, clock,
    commit::shift_of,
};
use crate::{
    error::{Detail, Error, Item, Result},
    identity::LeafIndex,
    room::{failures::Failures, garden::Garden, judge::Proposed, roster::Shift},
};

/// A message that authenticates.
pub(crate) enum Incoming {
    /// A commit, not merged, and what it would do.
    Commit(Staged, Box<Proposed>),
    /// A commit of whoever sits at `from` that has nothing for oneself that one can read; others may be able to.
    Unreadable { from: Option<LeafIndex> },
    /// What says that it is a commit from one's own leaf, and is none of this group's making. Nothing proves it: any member
    /// can say so of a message, and the rest of it cannot be read.
    Twin,
    /// Something that no room takes, as "do what". `from` is `None` if nothing proves who sent it.
    Foreign { from: Option<LeafIndex>, what: &'static str },
}

/// A commit that is not merged. It fits only the group that read it, as it was then.
pub(crate) struct Staged {
    commit: Box<StagedCommit>,
    from: LeafIndex,
}

impl Staged {
    /// Whether it removes oneself.
    pub(crate) fn removes_me(&self) -> bool {
        self.commit.self_removed()
    }
}

/// Whether a commit fails at what is in it for oneself, by one's own keys: others may have been able to read it.
///
/// Of all else that openmls checks each member sees the same.
const fn is_mine_alone(error: &StageCommitError) -> bool {
    use ApplyUpdatePathError::{MissingCiphertext, MissingOwnLeaf, MissingSender, PathMismatch, UnableToDecrypt};
    match error {
        StageCommitError::UpdatePathError(error) => {
            matches!(error, UnableToDecrypt | PathMismatch | MissingCiphertext | MissingSender | MissingOwnLeaf)
        }
        StageCommitError::MissingDecryptionKey | StageCommitError::OwnKeyNotFound => true,
        _ => false,
    }
}

/// A key package in a commit is out of date by this machine's clock; others may be able to read it.
fn wrong_clock(error: &LifetimeError) -> Error {
    let (by, ahead) = match error {
        LifetimeError::NotValidYet { not_before, now } => (not_before.saturating_sub(*now), false),
        LifetimeError::Expired { not_after, now } => (now.saturating_sub(*not_after), true),
        LifetimeError::SystemTimeBeforeUnixEpoch => (clock::before_1970(), false),
    };
    Error::WrongClock { by: Duration::from_secs(by), ahead }
}

impl Group {
    /// Reads a message of others at `now`; `garden` is who is asked to commit. Nothing changes but, if it authenticates, its sender's ratchet: the same
    /// message does not authenticate twice.
    pub(in crate::room) fn read(
        &mut self,
        message: &[u8],
        garden: Option<&Garden>,
        failures: &mut Failures,
        now: Duration,
    ) -> Result<Incoming> {
        let malformed = |why| Error::Malformed { what: Item::Message, why };
        // What is not read is not built either: it would take more memory than what is.
        match message.first_chunk() {
            Some([0, 1, 0, MLS_WELCOME]) => return Err(malformed("it is a welcome: give it to its guest")),
            Some([0, 1, 0, MLS_KEY_PACKAGE]) => return Err(malformed("it is a card: give it to a host")),
            Some([0, 1, 0, MLS_GROUP_INFO]) => return Err(malformed("it is an MLS message of another kind")),
            _ => {}
        }
        let message = MlsMessageIn::tls_deserialize_exact_bytes(message)
            .map_err(|_| malformed("it is no MLS message, or was cut short"))?;
        let message = match message.extract() {
            MlsMessageBodyIn::PrivateMessage(message) => ProtocolMessage::from(message),
            MlsMessageBodyIn::PublicMessage(message) => return self.public(ProtocolMessage::from(message)),
            _ => return Err(malformed("it is an MLS message of another kind")),
        };
        self.check_where(&message)?;
        failures.allow(now)?;
        let far_allowed = failures.allow_far(now);

        let is_commit = message.content_type() == ContentType::Commit;
        self.provider.crypto.begin(far_allowed.is_ok());
        let processed = self.mls.process_message(self.provider.as_ref(), message);
        let signed = self.provider.crypto.take_signed();
        let from = signed.as_ref().map(|signed| signed.from);
        let processed = match processed {
            Ok(processed) => processed,
            Err(ProcessMessageError::InvalidCommit(error)) if is_mine_alone(&error) => {
                return Ok(Incoming::Unreadable { from });
            }
            Err(ProcessMessageError::InvalidCommit(error)) => {
                if let StageCommitError::ProposalValidationError(ProposalValidationError::LeafNodeValidation(
                    LeafNodeValidationError::Lifetime(error),
                )) = &error
                {
                    return Err(wrong_clock(error));
                }
                let what = match error {
                    StageCommitError::MissingProposal => "commit a proposal by reference",
                    StageCommitError::PskError(_) | StageCommitError::DuplicatePskId(_) => "inject a pre-shared key",
                    _ => "commit what MLS forbids",
                };
                return Ok(Incoming::Foreign { from, what });
            }
            Err(ProcessMessageError::LibraryError(error)) => return Err(bug(error)),
            Err(ProcessMessageError::StorageError(error)) => return Err(bug(error)),
            Err(ProcessMessageError::ValidationError(ValidationError::KeyPackageVerifyError(
                KeyPackageVerifyError::LifetimeError(error),
            ))) => return Err(wrong_clock(&error)),
            // Its signature stands, and what is in it does not: all members see the same.
            Err(ProcessMessageError::ValidationError(_)) if from.is_some() => {
                return Ok(Incoming::Foreign { from, what: "commit what MLS forbids" });
            }
            Err(error) => {
                if self.provider.crypto.was_far() {
                    far_allowed?;
                    failures.spend_far(now);
                } else {
                    failures.spend(now);
                }
                return Err(self.unauthentic(error));
            }
        };
        self.provider.crypto.follow();
        let Sender::Member(from) = processed.sender() else {
            return Ok(Incoming::Foreign { from: None, what: "send as an outsider" });
        };
        let from = LeafIndex(from.u32());
        match processed.into_content() {
            ProcessedMessageContent::StagedCommitMessage(staged) => {
                let proposed = self.describe(from, &staged, signed.as_ref(), garden);
                Ok(Incoming::Commit(Staged { commit: staged, from }, Box::new(proposed)))
            }
            ProcessedMessageContent::ProposalMessage(_) => {
                Ok(Incoming::Foreign { from: Some(from), what: "send a proposal outside a commit" })
            }
            ProcessedMessageContent::OwnPrivateMessage if is_commit => Ok(Incoming::Twin),
            ProcessedMessageContent::OwnPrivateMessage => {
                Err(self.unauthentic("it claims to be yours, and is none that you made since you entered"))
            }
            _ => Ok(Incoming::Foreign { from: Some(from), what: "send a message of an unknown kind" }),
        }
    }

    /// Makes `staged` the next epoch; what it did to the leaves.
    pub(crate) fn merge(&mut self, Staged { commit, from }: Staged) -> Result<Shift> {
        let shift = shift_of(&commit, from)?;
        self.mls.merge_staged_commit(self.provider.as_ref(), *commit).map_err(bug)?;
        // A commit of one's own has lost its race.
        self.fresh_media = None;
        self.made = 0;
        self.provider.crypto.enter();
        Ok(shift)
    }

    /// A message in the clear. Members send none; outsiders may, and no room takes it.
    fn public(&self, message: ProtocolMessage) -> Result<Incoming> {
        self.check_where(&message)?;
        if !message.is_external() {
            return Err(Error::Malformed { what: Item::Message, why: "members' messages are encrypted" });
        }
        let what = match message.content_type() {
            ContentType::Commit => "enter by external commit",
            ContentType::Proposal => "propose from outside",
            ContentType::Application => "send as an outsider",
        };
        Ok(Incoming::Foreign { from: None, what })
    }

    /// Whether a message is for this room and this epoch, and of a kind that members send.
    fn check_where(&self, message: &ProtocolMessage) -> Result<()> {
        if message.group_id() != self.mls.group_id() {
            return Err(self.unauthentic("it is for another room"));
        }
        let (sent, room) = (message.epoch().as_u64(), self.epoch());
        if sent != room {
            return Err(Error::WrongEpoch { what: Item::Message, message: sent, room });
        }
        if message.content_type() == ContentType::Application && !message.is_external() {
            let why = "it is an MLS application message, of which a room takes none: what members say travels as words";
            return Err(Error::Malformed { what: Item::Message, why });
        }
        Ok(())
    }

    fn unauthentic(&self, why: impl std::fmt::Display) -> Error {
        Error::Unauthentic { what: Item::Message, epoch: self.epoch(), why: Detail::new(why) }
    }
}
