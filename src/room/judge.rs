//! The check of every commit before it is merged: default deny.
//!
//! The group layer tells what a commit would do, in the terms of this file; [`judge`] says what it comes to, or
//! who wanted what and why not. It is pure, and it looks only at what all members of the epoch share, so that
//! all of them judge alike: the first commit of an epoch that passes is the room's next epoch for everybody.
//!
//! An attacker here is a member with a patched client. What MLS itself proves (who signed it, that its tree and
//! keys are consistent) is proved before; whether they may is proved here and nowhere else.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    error::{Denial, Result},
    identity::{LeafIndex, Member, MemberId, Role, check_name},
    room::{
        door::LinkProof,
        policy::{Action, permits},
        roster::Roster,
        settings::Charter,
    },
};

/// What a commit would do.
#[derive(Debug)]
pub(crate) struct Proposed {
    pub(crate) committer: LeafIndex,
    pub(crate) adds: Vec<Newcomer>,
    pub(crate) removes: Vec<LeafIndex>,
    /// What the room's own extension would be. `None` if the commit leaves it as it is.
    pub(crate) charter: Option<Result<Charter>>,
    /// Whether every other GroupContext extension stays as it is.
    pub(crate) other_extensions_kept: bool,
    /// What the committer's leaf would be, if the commit carries an update path.
    pub(crate) path: Option<Newcomer>,
    /// The first thing in it that no room allows, as "do what".
    pub(crate) foreign: Option<&'static str>,
}

/// A leaf as a commit brings it in.
#[derive(Debug)]
pub(crate) struct Newcomer {
    /// `None` if the signature key is not 32 bytes.
    pub(crate) id: Option<MemberId>,
    /// `None` if the credential is not Basic, or not UTF-8.
    pub(crate) name: Option<String>,
    /// Whether it lists what every room needs, and its size and lifetime are within bounds.
    pub(crate) capable: bool,
    /// The proof that they hold a link's secret, if their key package carries one.
    #[allow(dead_code, reason = "the judge asks it next")]
    pub(crate) proof: Option<LinkProof>,
}

/// What an allowed commit brings about.
#[derive(Debug)]
pub(crate) struct Verdict {
    /// Who made the commit.
    pub(crate) by: MemberId,
    pub(crate) changes: Vec<Change>,
    /// The charter afterwards, if it changes.
    pub(crate) charter: Option<Charter>,
}

/// One thing that happened to somebody.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Change {
    Joined(MemberId),
    Removed(Member),
    Moved { id: MemberId, from: Role },
    Retitled,
    Refreshed,
}

/// Whether `proposed` may become the next epoch of the room of `roster` and `charter`.
pub(crate) fn judge(roster: &Roster, charter: &Charter, proposed: Proposed) -> Result<Verdict, Denial> {
    let Some(actor) = roster.at(proposed.committer) else {
        return Err(denial("somebody outside the room", "commit", "only members commit"));
    };
    let deny = |action: &str, why| Err(denial(&actor.name, action, why));
    let ask = |action: Action, what: &str| permits(actor.role, action).map_err(|why| denial(&actor.name, what, why));

    if let Some(foreign) = proposed.foreign {
        return deny(foreign, "no room takes that; use admit, remove, set_role and refresh");
    }
    if !proposed.other_extensions_kept {
        return deny("change the group's extensions", "they are fixed when the room is made");
    }
    if let Some(leaf) = &proposed.path {
        if leaf.id != Some(actor.id) {
            return deny("change their signature key", "a member's key stays; leave, and come back with a new card");
        }
        if leaf.name.as_ref() != Some(&actor.name) {
            return deny("change their credential", "a member's name stays; leave, and come back with a new card");
        }
        if !leaf.capable {
            return deny("drop a capability or swell their leaf", "every member supports what the room needs");
        }
    }
    let after = match &proposed.charter {
        None => charter,
        Some(Ok(after)) => after,
        Some(Err(_)) => return deny("replace the room's settings", "they cannot be read"),
    };

    let mut changes = Vec::new();
    let mut present: BTreeMap<MemberId, &Member> = roster.members().map(|member| (member.id, member)).collect();

    for leaf in &proposed.removes {
        let Some(target) = roster.at(*leaf) else {
            return deny("remove somebody", "nobody is at that leaf");
        };
        let what = format!("remove {}, a {}", target.name, target.role);
        if target.id == actor.id {
            return deny(&what, "nobody removes themselves; ask to leave");
        }
        ask(Action::Remove { role: target.role }, &what)?;
        if present.remove(&target.id).is_none() {
            return deny(&what, "they are removed twice");
        }
        changes.push(Change::Removed(target.clone()));
    }

    let mut newcomers = BTreeSet::new();
    for add in &proposed.adds {
        let (Some(id), Some(name)) = (add.id, &add.name) else {
            return deny("admit somebody", "their card carries no basic credential with an Ed25519 key");
        };
        if check_name(name).is_err() {
            return deny("admit somebody", "their name is empty, too long, or holds a control character");
        }
        let role = after.role(&id);
        let what = format!("admit {name} as a {role}");
        if !add.capable {
            return deny(&what, "their card lacks what the room needs, is too large, or is valid for too long");
        }
        if present.contains_key(&id) || !newcomers.insert(id) {
            return deny(&what, "somebody with that key is in the room already");
        }
        ask(Action::Admit { role }, &what)?;
        changes.push(Change::Joined(id));
    }
    // Leaves are filled from the left (RFC 9420 §7.7), so this many members fit into the leaves a key id can name.
    if present.len() + newcomers.len() > charter.settings.capacity() {
        return deny("admit more members", "the room's key ids have no room for more");
    }

    if let Some(Ok(after)) = &proposed.charter {
        if after.settings.suite() != charter.settings.suite() || after.settings.layout() != charter.settings.layout() {
            return deny("change the frame suite or the key-id layout", "they are fixed when the room is made");
        }
        if after.settings.title() != charter.settings.title() {
            ask(Action::Retitle, "change the room's title")?;
            changes.push(Change::Retitled);
        }
        for (id, from) in charter.roles() {
            if present.contains_key(id) && after.role(id) == Role::Listener {
                changes.push(moved(actor, &present, *id, from, Role::Listener)?);
            }
        }
        for (id, to) in after.roles() {
            let from = charter.role(id);
            if present.contains_key(id) {
                if from != to {
                    changes.push(moved(actor, &present, *id, from, to)?);
                }
            } else if !newcomers.contains(id) {
                return deny("give a role to somebody who is not in the room", "roles are for members");
            }
        }
        if after.hosts() == 0 {
            return deny("leave the room without a host", "make somebody else a host first");
        }
    } else if let Some((id, _)) = charter.roles().find(|(id, _)| !present.contains_key(id)) {
        let name = roster.find(id).map_or("somebody", |member| member.name.as_str());
        return deny(&format!("remove {name} and keep their role"), "the role goes with the member");
    }

    if changes.is_empty() {
        ask(Action::Refresh, "refresh their keys")?;
        changes.push(Change::Refreshed);
    }
    Ok(Verdict { by: actor.id, changes, charter: proposed.charter.and_then(Result::ok) })
}

/// A change of role from `from` to `to`, if `actor` may bring it about.
fn moved(
    actor: &Member,
    present: &BTreeMap<MemberId, &Member>,
    id: MemberId,
    from: Role,
    to: Role,
) -> Result<Change, Denial> {
    let name = present.get(&id).map_or("somebody", |member| member.name.as_str());
    let action = if id == actor.id { Action::StepDown { from, to } } else { Action::Move { from, to } };
    match permits(actor.role, action) {
        Ok(()) => Ok(Change::Moved { id, from }),
        Err(why) => Err(denial(&actor.name, &format!("make {name}, a {from}, a {to}"), why)),
    }
}

pub(crate) fn denial(actor: &str, action: &str, why: &'static str) -> Denial {
    Denial { actor: actor.to_owned(), action: action.to_owned(), why }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        media::KeyIdLayout,
        room::{roster::Seat, settings::Settings},
    };

    fn id(n: u8) -> MemberId {
        MemberId::from_bytes([n; 32])
    }

    /// Ana, host, at leaf 0; mo, moderator, at 1; ben, speaker, at 2; eve, listener, at 3. Eight fit.
    fn room() -> (Roster, Charter) {
        let settings = Settings::default().with_layout(KeyIdLayout::new(3, 8).unwrap());
        let mut charter = Charter::new(settings, id(0));
        charter.set_role(id(1), Role::Moderator);
        charter.set_role(id(2), Role::Speaker);
        let seats = ["ana", "mo", "ben", "eve"].iter().zip(0..);
        let seats = seats.map(|(name, n)| Seat { leaf: LeafIndex(n.into()), id: id(n), name: (*name).to_owned() });
        (Roster::new(seats.collect(), &charter, 1, &Roster::default()), charter)
    }

    fn by(committer: u32) -> Proposed {
        Proposed {
            committer: LeafIndex(committer),
            adds: Vec::new(),
            removes: Vec::new(),
            charter: None,
            other_extensions_kept: true,
            path: None,
            foreign: None,
        }
    }

    fn newcomer(n: u8) -> Newcomer {
        Newcomer { id: Some(id(n)), name: Some(format!("guest {n}")), capable: true, proof: None }
    }

    #[track_caller]
    fn refused(proposed: Proposed, action: &str) {
        let (roster, charter) = room();
        let denial = judge(&roster, &charter, proposed).unwrap_err();
        assert!(denial.action.contains(action), "{denial}");
    }

    #[test]
    fn only_members_commit() {
        refused(by(4), "commit");
    }

    #[test]
    fn a_key_is_in_the_room_once() {
        refused(Proposed { adds: vec![newcomer(3)], ..by(0) }, "admit guest 3");
        refused(Proposed { adds: vec![newcomer(7), newcomer(7)], ..by(0) }, "admit guest 7");
        // Out and in again by one commit is no second time.
        let (roster, charter) = room();
        let back = Proposed { adds: vec![newcomer(3)], removes: vec![LeafIndex(3)], ..by(0) };
        assert_eq!(judge(&roster, &charter, back).unwrap().changes.len(), 2);
    }

    #[test]
    fn coming_back_in_another_role_is_asked_for_like_any_admission() {
        let (_, mut after) = room();
        after.set_role(id(3), Role::Host);
        let back = Proposed { adds: vec![newcomer(3)], removes: vec![LeafIndex(3)], charter: Some(Ok(after)), ..by(1) };
        refused(back, "admit guest 3 as a host");
    }

    #[test]
    fn nobody_removes_themselves_or_an_empty_leaf_or_one_twice() {
        refused(Proposed { removes: vec![LeafIndex(0)], ..by(0) }, "remove ana");
        let (_, mut after) = room();
        after.set_role(id(0), Role::Listener);
        after.set_role(id(3), Role::Host);
        refused(Proposed { removes: vec![LeafIndex(0)], charter: Some(Ok(after)), ..by(0) }, "remove ana");
        refused(Proposed { removes: vec![LeafIndex(5)], ..by(0) }, "remove somebody");
        refused(Proposed { removes: vec![LeafIndex(3), LeafIndex(3)], ..by(0) }, "remove eve");
    }

    #[test]
    fn a_room_is_full_at_its_capacity() {
        let (roster, charter) = room();
        let four = Proposed { adds: (10..14).map(newcomer).collect(), ..by(0) };
        assert!(judge(&roster, &charter, four).is_ok());
        refused(Proposed { adds: (10..15).map(newcomer).collect(), ..by(0) }, "admit more members");
    }

    #[test]
    fn who_has_no_proper_leaf_is_not_admitted() {
        for (flaw, action) in [
            (Newcomer { id: None, ..newcomer(9) }, "admit somebody"),
            (Newcomer { name: None, ..newcomer(9) }, "admit somebody"),
            (Newcomer { name: Some(String::new()), ..newcomer(9) }, "admit somebody"),
            (Newcomer { capable: false, ..newcomer(9) }, "admit guest 9"),
        ] {
            refused(Proposed { adds: vec![flaw], ..by(0) }, action);
        }
    }

    #[test]
    fn a_path_keeps_its_makers_leaf() {
        let eve = || Newcomer { id: Some(id(3)), name: Some("eve".into()), capable: true, proof: None };
        let (roster, charter) = room();
        let refresh = judge(&roster, &charter, Proposed { path: Some(eve()), ..by(3) }).unwrap();
        assert_eq!((refresh.by, refresh.changes), (id(3), vec![Change::Refreshed]));
        for (leaf, action) in [
            (Newcomer { id: Some(id(0)), ..eve() }, "signature key"),
            (Newcomer { id: None, ..eve() }, "signature key"),
            (Newcomer { name: Some("ana".into()), ..eve() }, "credential"),
            (Newcomer { name: None, ..eve() }, "credential"),
            (Newcomer { capable: false, ..eve() }, "capability"),
        ] {
            refused(Proposed { path: Some(leaf), ..by(3) }, action);
        }
    }

    #[test]
    fn what_is_foreign_is_refused_of_a_host_too() {
        refused(Proposed { foreign: Some("restart the group"), ..by(0) }, "restart the group");
        refused(Proposed { other_extensions_kept: false, ..by(0) }, "extensions");
    }
}
