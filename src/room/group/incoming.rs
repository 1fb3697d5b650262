//! Messages off the wire (RFC 9420 §6): parsed, authenticated, decrypted, told in the room's terms.

use std::time::Duration;

use openmls::prelude::{
    ApplyUpdatePathError, ContentType, KeyPackageVerifyError, MlsMessageBodyIn, MlsMessageIn, ProcessMessageError,
    ProcessedMessageContent, ProposalValidationError, ProtocolMessage, Sender, StageCommitError, StagedCommit,
    ValidationError,
};
use openmls::treesync::errors::{LeafNodeValidationError, LifetimeError};
use tls_codec::DeserializeBytes as _;

use super::{Group, PAST_EPOCHS, Sweep, bug, clock};
use crate::{
    error::{Detail, Error, Item, Result},
    identity::{Identity, LeafIndex},
    room::judge::Proposed,
};

/// A message that authenticates.
pub(crate) enum Incoming {
    /// A commit, not merged, and what it would do.
    Commit(Staged, Box<Proposed>),
    /// What somebody said to everybody, in which epoch.
    Said { from: LeafIndex, epoch: u64, content: Vec<u8> },
    /// A commit that has nothing for oneself that one can read; others may be able to.
    Unreadable,
    /// What says that it is a commit from one's own leaf, and is none of this group's making. Nothing proves it: any member
    /// can say so of a message, and the rest of it cannot be read.
    Twin,
    /// Something that no room takes, as "do what". `from` is `None` if nothing proves who sent it.
    Foreign { from: Option<LeafIndex>, what: &'static str },
}

/// A commit that is not merged. It fits only the group that read it, as it was then.
pub(crate) struct Staged(Box<StagedCommit>);

impl Staged {
    /// Whether it removes oneself.
    pub(crate) fn removes_me(&self) -> bool {
        self.0.self_removed()
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
    /// Reads a message of others. Nothing changes but, if it authenticates, its sender's ratchet: the same
    /// message does not authenticate twice.
    pub(crate) fn read(&mut self, message: &[u8]) -> Result<Incoming> {
        let malformed = |why| Error::Malformed { what: Item::Message, why };
        let message = MlsMessageIn::tls_deserialize_exact_bytes(message)
            .map_err(|_| malformed("it is no MLS message, or was cut short"))?;
        let message = match message.extract() {
            MlsMessageBodyIn::PrivateMessage(message) => ProtocolMessage::from(message),
            MlsMessageBodyIn::PublicMessage(message) => return self.public(ProtocolMessage::from(message)),
            MlsMessageBodyIn::Welcome(_) => return Err(malformed("it is a welcome: give it to its guest")),
            MlsMessageBodyIn::KeyPackage(_) => return Err(malformed("it is a card: give it to a host")),
            _ => return Err(malformed("it is an MLS message of another kind")),
        };
        self.check_where(&message)?;

        let epoch = message.epoch().as_u64();
        let is_commit = message.content_type() == ContentType::Commit;
        let processed = match self.mls.process_message(self.provider.as_ref(), message) {
            Ok(processed) => processed,
            // Its signature stands, so a member made it; openmls does not say which.
            Err(ProcessMessageError::InvalidCommit(error)) if is_mine_alone(&error) => return Ok(Incoming::Unreadable),
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
                return Ok(Incoming::Foreign { from: None, what });
            }
            Err(ProcessMessageError::LibraryError(error)) => return Err(bug(error)),
            Err(ProcessMessageError::StorageError(error)) => return Err(bug(error)),
            Err(ProcessMessageError::ValidationError(ValidationError::KeyPackageVerifyError(
                KeyPackageVerifyError::LifetimeError(error),
            ))) => return Err(wrong_clock(&error)),
            Err(error) => return Err(self.unauthentic(error)),
        };
        let Sender::Member(from) = processed.sender() else {
            return Ok(Incoming::Foreign { from: None, what: "send as an outsider" });
        };
        let from = LeafIndex(from.u32());
        match processed.into_content() {
            ProcessedMessageContent::StagedCommitMessage(staged) => {
                let proposed = self.describe(from, &staged);
                Ok(Incoming::Commit(Staged(staged), Box::new(proposed)))
            }
            ProcessedMessageContent::ApplicationMessage(said) => {
                Ok(Incoming::Said { from, epoch, content: said.into_bytes() })
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

    /// Makes `staged` the next epoch.
    pub(crate) fn merge(&mut self, staged: Staged) -> Result<()> {
        self.mls.merge_staged_commit(self.provider.as_ref(), *staged.0).map_err(bug)?;
        // A commit of one's own has lost its race.
        self.fresh_media = None;
        Ok(())
    }

    /// Seals something to be said to everybody in this epoch.
    pub(crate) fn say(&mut self, identity: &Identity, content: &[u8]) -> Result<Vec<u8>> {
        let _sweep = Sweep;
        let message = self.mls.create_message(self.provider.as_ref(), identity.signer(), content).map_err(bug)?;
        message.to_bytes().map_err(bug)
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

    /// Whether a message is for this room, and for this epoch or, if it is no handshake, a recent one.
    fn check_where(&self, message: &ProtocolMessage) -> Result<()> {
        if message.group_id() != self.mls.group_id() {
            return Err(self.unauthentic("it is for another room"));
        }
        let (sent, room) = (message.epoch().as_u64(), self.epoch());
        let oldest = match message.content_type() {
            ContentType::Application => room.saturating_sub(PAST_EPOCHS),
            ContentType::Commit | ContentType::Proposal => room,
        };
        if sent > room || sent < oldest {
            return Err(Error::WrongEpoch { what: Item::Message, message: sent, room });
        }
        Ok(())
    }

    fn unauthentic(&self, why: impl std::fmt::Display) -> Error {
        Error::Unauthentic { what: Item::Message, epoch: self.epoch(), why: Detail::new(why) }
    }
}
