//! What a received message brought about, and what a command wanted.

use crate::{
    error::Denial,
    identity::{MemberId, Role},
    media::EpochKeys,
    room::Card,
};

/// What changed in the room, or did not.
///
/// The events of one message come in this order: [`Rekeyed`](Event::Rekeyed) first, so that the voice switches
/// before anybody is told; then [`Superseded`](Event::Superseded); then removals, arrivals and changes of role, each by leaf,
/// in the same order for every member.
#[derive(Debug)]
#[non_exhaustive]
pub enum Event {
    /// The room is in its next epoch: give these keys to the voice at once.
    Rekeyed(EpochKeys),
    /// Somebody is in the room.
    Joined {
        /// Who; look them up with [`Room::member`](crate::Room::member).
        member: MemberId,
        /// Who admitted them.
        by: MemberId,
    },
    /// Somebody who had asked to leave is out.
    Left {
        /// Who.
        member: MemberId,
        /// Their name, for the roster does not have them.
        name: String,
    },
    /// Somebody was put out.
    Removed {
        /// Who.
        member: MemberId,
        /// Their name, for the roster does not have them.
        name: String,
        /// By whom.
        by: MemberId,
    },
    /// Somebody has another role; [`Room::member`](crate::Room::member) tells which.
    RoleChanged {
        /// Who.
        member: MemberId,
        /// The role they had.
        from: Role,
        /// Who changed it; `member` itself if they stepped down.
        by: MemberId,
    },
    /// Somebody refreshed their keys: what was stolen of theirs before is of no use from here on.
    Refreshed {
        /// Who.
        member: MemberId,
    },
    /// The room has another title.
    Retitled {
        /// Who gave it.
        by: MemberId,
    },
    /// Somebody asks to leave. Until a host or a moderator removes them they still hold the keys.
    WantsToLeave {
        /// Who.
        member: MemberId,
    },
    /// You are out. The room's secrets are erased; its last roster can still be read.
    Closed {
        /// Who removed you.
        by: MemberId,
        /// Whether you had asked for it.
        asked: bool,
    },
    /// Another commit of the same epoch came first, so yours did nothing.
    /// [`Room::retry`](crate::Room::retry) makes it again if it is still wanted.
    Superseded {
        /// Whose commit came first.
        by: MemberId,
        /// What yours wanted.
        intent: Intent,
    },
    /// A message that authenticates wanted what its sender may not do. The room is as it was.
    Refused {
        /// Who sent it, if the message proves it.
        actor: Option<MemberId>,
        /// Who wanted what, and the rule against it.
        why: Denial,
    },
}

/// What a command wanted, kept until its commit is merged: after losing a race it is worked out afresh, for a
/// lost commit itself is of no use.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Intent {
    /// Let these people in.
    Admit(Vec<(Card, Role)>),
    /// Put these members out.
    Remove(Vec<MemberId>),
    /// Give a member another role.
    SetRole(MemberId, Role),
    /// Give the room another title.
    Retitle(String),
    /// Refresh one's own keys.
    Refresh,
}
