//! Who may do what to whom: one pure table.
#![doc = ""]
#![doc = include_str!("policy.md")]
//!
//! Whatever is not in the table is refused. Above it stand rules that no role overrides: nobody comes in while the
//! room is locked or full, but who is in it and comes back, nor whoever is banned; nobody speaks for another, so that to let somebody speak again
//! never opens their microphone; a room keeps a host until the last one leaves it; its suite, its key-id layout and what its
//! seals prove stay;
//! nobody's name or key changes; only members commit; see the room's documentation.
//!
//! Beside commits, whoever may admit a listener answers knocks: to turn one away, and to take that back, changes nothing
//! in the room. It binds the one who heard it at their own end of the door, for knocks they have had, and keeps no
//! member out ([`door`](crate::room::door)); to keep somebody out of the room is a ban.
//!
//! Every member asks this table about every commit before merging it: neither the relay nor a patched client can
//! do what it does not grant. The table above is printed from the code by [`table`].

use std::fmt::Write as _;

use crate::identity::Role;

/// Something a member wants to do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Action {
    /// Let somebody in.
    Admit {
        /// In which role.
        role: Role,
    },
    /// Put somebody out.
    Remove {
        /// The role they have.
        role: Role,
    },
    /// Keep somebody out, by card, link and knock.
    Ban {
        /// The role they have; a listener's for somebody who is not in the room.
        role: Role,
    },
    /// Let somebody be admitted again.
    LiftBan,
    /// Give somebody else another role.
    Move {
        /// The role they have.
        from: Role,
        /// The role they get.
        to: Role,
    },
    /// Take a lesser role oneself.
    StepDown {
        /// The role one has.
        from: Role,
        /// The role one gets.
        to: Role,
    },
    /// Silence somebody, oneself not.
    Mute {
        /// The role they have.
        role: Role,
    },
    /// Let somebody speak again who was muted. Their microphone stays off until they switch it on.
    LiftMute {
        /// The role they have.
        role: Role,
    },
    /// Lock or unlock the room.
    Lock,
    /// Change the room's title or topic.
    Rename,
    /// Change another of the room's settings.
    Change,
    /// Issue a link.
    IssueLink,
    /// Revoke a link.
    RevokeLink,
    /// End the room for everybody.
    End,
    /// Leave.
    Leave,
    /// Bring a member back whose keys are lost or stuck, in the role they have: their old leaf goes, and they come in by
    /// a new card. Who may not remove and admit somebody in that role needs the member's own signed word that they asked.
    BringBack {
        /// The role they have, and keep.
        role: Role,
    },
    /// The same, of a host who has signed that they asked, in a room without another host or a moderator.
    BringBackLastHost,
    /// Put out somebody who has left, in a room without a host.
    LetGo,
    /// Refresh one's own keys.
    Refresh,
    /// Ask members to refresh theirs, so that everybody's commits cost less.
    Garden,
}

/// Whether somebody in the role `actor` may do `action`; if not, the rule against it and what to do instead.
///
/// # Errors
/// The rule that stands against it.
pub fn permits(actor: Role, action: Action) -> Result<(), &'static str> {
    match (actor, action) {
        (_, Action::Refresh | Action::Leave | Action::LetGo | Action::BringBackLastHost) => Ok(()),
        (_, Action::StepDown { from, to }) if to < from => Ok(()),
        (_, Action::StepDown { .. }) => Err("nobody raises their own role; ask a host"),
        (Role::Host, _) => Ok(()),
        (
            Role::Moderator,
            Action::Admit { role }
            | Action::Remove { role }
            | Action::Ban { role }
            | Action::Mute { role }
            | Action::LiftMute { role },
        ) if role < Role::Moderator => Ok(()),
        (Role::Moderator, Action::Move { from, to }) if from < Role::Moderator && to < Role::Moderator => Ok(()),
        (Role::Moderator, Action::Lock | Action::RevokeLink | Action::BringBack { .. } | Action::Garden) => Ok(()),
        (
            Role::Moderator,
            Action::Admit { .. }
            | Action::Remove { .. }
            | Action::Ban { .. }
            | Action::Mute { .. }
            | Action::LiftMute { .. }
            | Action::Move { .. },
        ) => Err("a moderator's word goes for speakers and listeners only; ask a host"),
        (_, Action::LiftBan | Action::Rename | Action::Change | Action::IssueLink | Action::End) => {
            Err("that is for a host")
        }
        (Role::Speaker | Role::Listener, _) => Err("that is for a host or a moderator"),
    }
}

/// Whether `actor` may bring back a member in `role` by a card alone, for they might as well remove and admit them.
pub(crate) fn needs_no_word(actor: Role, role: Role) -> bool {
    permits(actor, Action::Remove { role }).and(permits(actor, Action::Admit { role })).is_ok()
}

/// The table, in Markdown: each row's actions are asked of [`permits`] for every role.
pub fn table() -> String {
    let mut out = String::from("| | host | moderator | speaker | listener |\n|---|---|---|---|---|\n");
    for (what, actions) in ROWS {
        let _ = write!(out, "| {what} |");
        for actor in [Role::Host, Role::Moderator, Role::Speaker, Role::Listener] {
            let may = actions(actor).iter().all(|action| permits(actor, *action).is_ok());
            out.push_str(if may { " yes |" } else { " – |" });
        }
        out.push('\n');
    }
    out
}

/// A line of the table: what it says, and the actions that it takes of an actor in some role.
type Row = (&'static str, fn(Role) -> Vec<Action>);

const ROWS: [Row; 25] = {
    use Role::{Host, Listener, Moderator, Speaker};
    [
        ("admit a listener or a speaker", |_| vec![Action::Admit { role: Listener }, Action::Admit { role: Speaker }]),
        ("admit a moderator or a host", |_| vec![Action::Admit { role: Moderator }, Action::Admit { role: Host }]),
        ("remove a listener or a speaker", |_| {
            vec![Action::Remove { role: Listener }, Action::Remove { role: Speaker }]
        }),
        ("remove a moderator or a host", |_| vec![Action::Remove { role: Moderator }, Action::Remove { role: Host }]),
        ("ban a listener, a speaker or a stranger", |_| {
            vec![Action::Ban { role: Listener }, Action::Ban { role: Speaker }]
        }),
        ("ban a moderator or a host", |_| vec![Action::Ban { role: Moderator }, Action::Ban { role: Host }]),
        ("lift a ban", |_| vec![Action::LiftBan]),
        ("promote a listener, demote a speaker", |_| {
            vec![Action::Move { from: Listener, to: Speaker }, Action::Move { from: Speaker, to: Listener }]
        }),
        ("appoint a moderator, or take the office away", |_| {
            vec![Action::Move { from: Speaker, to: Moderator }, Action::Move { from: Moderator, to: Listener }]
        }),
        ("make somebody a host, or no host any more", |_| {
            vec![Action::Move { from: Moderator, to: Host }, Action::Move { from: Host, to: Speaker }]
        }),
        ("hand over the host's role", |actor| {
            vec![Action::Move { from: Moderator, to: Host }, Action::StepDown { from: actor, to: Moderator }]
        }),
        ("mute a listener or a speaker, let them speak again", |_| {
            [Listener, Speaker]
                .into_iter()
                .flat_map(|role| [Action::Mute { role }, Action::LiftMute { role }])
                .collect()
        }),
        ("mute a moderator or a host, let them speak again", |_| {
            [Moderator, Host].into_iter().flat_map(|role| [Action::Mute { role }, Action::LiftMute { role }]).collect()
        }),
        ("lock and unlock the room", |_| vec![Action::Lock]),
        ("change title and topic", |_| vec![Action::Rename]),
        ("change who may enter, who may speak, capacity, recording, seals", |_| vec![Action::Change]),
        ("issue a link", |_| vec![Action::IssueLink]),
        ("revoke a link", |_| vec![Action::RevokeLink]),
        ("end the room", |_| vec![Action::End]),
        ("step down from one's own role", |actor| vec![Action::StepDown { from: actor, to: Listener }]),
        ("leave; refresh one's own keys", |_| vec![Action::Leave, Action::Refresh]),
        ("ask members to refresh theirs, so that commits cost less", |_| vec![Action::Garden]),
        ("let go who has left a room without a host", |_| vec![Action::LetGo]),
        (
            "bring back a member who lost their keys; a moderator or a host by their signed word only, but to a host",
            |_| [Listener, Speaker, Moderator, Host].into_iter().map(|role| Action::BringBack { role }).collect(),
        ),
        ("bring back the host by their signed word, where nobody else is a host or a moderator", |_| {
            vec![Action::BringBackLastHost]
        }),
    ]
};

#[cfg(test)]
mod tests {
    use super::*;
    use Role::{Host, Listener, Moderator, Speaker};

    const ROLES: [Role; 4] = [Listener, Speaker, Moderator, Host];

    #[test]
    fn the_rules_hold_cell_by_cell() {
        let is_low = |role| matches!(role, Listener | Speaker);
        for (actor_rank, actor) in ROLES.into_iter().enumerate() {
            let cell = |action, may: bool| assert_eq!(permits(actor, action).is_ok(), may, "{actor}: {action:?}");
            for role in ROLES {
                let keeps_order = actor == Host || (actor == Moderator && is_low(role));
                cell(Action::Admit { role }, keeps_order);
                cell(Action::Remove { role }, keeps_order);
                cell(Action::Ban { role }, keeps_order);
                cell(Action::Mute { role }, keeps_order);
                cell(Action::LiftMute { role }, keeps_order);
                assert_eq!(needs_no_word(actor, role), keeps_order, "{actor} brings back a {role}");
                for to in ROLES {
                    cell(
                        Action::Move { from: role, to },
                        actor == Host || (actor == Moderator && is_low(role) && is_low(to)),
                    );
                }
            }
            for (from_rank, from) in ROLES.into_iter().enumerate() {
                for (to_rank, to) in ROLES.into_iter().enumerate() {
                    cell(Action::StepDown { from, to }, to_rank < from_rank);
                }
            }
            for action in [Action::LiftBan, Action::Rename, Action::Change, Action::IssueLink, Action::End] {
                cell(action, actor == Host);
            }
            let bring_back = ROLES.map(|role| Action::BringBack { role });
            for action in [Action::Lock, Action::RevokeLink, Action::Garden].into_iter().chain(bring_back) {
                cell(action, actor_rank >= 2);
            }
            for action in [Action::Leave, Action::LetGo, Action::BringBackLastHost, Action::Refresh] {
                cell(action, true);
            }
        }
    }

    #[test]
    fn the_table_in_the_docs_is_printed_from_the_code() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/src/room/policy.md");
        if std::env::var_os("PARLOR_WRITE_TABLE").is_some() {
            std::fs::write(path, table()).unwrap();
        }
        let printed = std::fs::read_to_string(path).unwrap();
        assert_eq!(printed, table(), "run this test with PARLOR_WRITE_TABLE=1 to print it anew");
    }
}
