//! Who may do what to whom: one pure table.
//!
//! | | host | moderator | speaker | listener |
//! |---|---|---|---|---|
//! | admit, remove or move a host or a moderator | yes | no | no | no |
//! | make somebody a host or a moderator | yes | no | no | no |
//! | admit or remove a speaker or a listener | yes | yes | no | no |
//! | move between speaker and listener | yes | yes | no | no |
//! | step down from one's own role | yes | yes | yes | – |
//! | change the room's title | yes | no | no | no |
//! | refresh one's own keys | yes | yes | yes | yes |
//!
//! Whatever is not in the table is refused. Above it stand rules that no role overrides: a room keeps a host; its
//! suite and key-id layout stay; nobody's name or key changes; only members commit; see the room's documentation.
//!
//! Every member asks this table about every commit before merging it: neither the relay nor a patched client can
//! do what it does not grant.

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
    /// Give somebody another role.
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
    /// Change the room's title.
    Retitle,
    /// Refresh one's own keys.
    Refresh,
}

/// Whether somebody in the role `actor` may do `action`; if not, the rule against it and what to do instead.
///
/// # Errors
/// The rule that stands against it.
pub fn permits(actor: Role, action: Action) -> Result<(), &'static str> {
    match (actor, action) {
        (_, Action::Refresh) => Ok(()),
        (_, Action::StepDown { from, to }) => {
            if to < from {
                Ok(())
            } else {
                Err("nobody raises their own role; ask a host")
            }
        }
        (Role::Host, _) => Ok(()),
        (Role::Moderator, Action::Admit { role } | Action::Remove { role }) => {
            if role < Role::Moderator {
                Ok(())
            } else {
                Err("a moderator admits and removes speakers and listeners only; ask a host")
            }
        }
        (Role::Moderator, Action::Move { from, to }) => {
            if from < Role::Moderator && to < Role::Moderator {
                Ok(())
            } else {
                Err("a moderator moves speakers and listeners only; ask a host")
            }
        }
        (Role::Moderator | Role::Speaker | Role::Listener, Action::Retitle) => Err("that is for a host"),
        (Role::Speaker | Role::Listener, Action::Admit { .. } | Action::Remove { .. } | Action::Move { .. }) => {
            Err("that is for a host or a moderator")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Role::{Host, Listener, Moderator, Speaker};

    #[test]
    fn the_table_holds_cell_by_cell() {
        let roles = [Listener, Speaker, Moderator, Host];
        let is_low = |role| matches!(role, Listener | Speaker);
        for actor in roles {
            for (rank, role) in roles.into_iter().enumerate() {
                let low = is_low(role);
                let keeps_order = actor == Host || (actor == Moderator && low);
                assert_eq!(permits(actor, Action::Admit { role }).is_ok(), keeps_order, "{actor} admits {role}");
                assert_eq!(permits(actor, Action::Remove { role }).is_ok(), keeps_order, "{actor} removes {role}");
                for (to_rank, to) in roles.into_iter().enumerate() {
                    let may = actor == Host || (actor == Moderator && low && is_low(to));
                    assert_eq!(permits(actor, Action::Move { from: role, to }).is_ok(), may, "{actor}: {role} to {to}");
                    let down = Action::StepDown { from: role, to };
                    assert_eq!(permits(actor, down).is_ok(), to_rank < rank, "{actor} steps from {role} to {to}");
                }
            }
            assert_eq!(permits(actor, Action::Retitle).is_ok(), actor == Host);
            assert!(permits(actor, Action::Refresh).is_ok());
        }
    }
}
