//! From what a command wants to what its commit says: a [`Draft`] of the room as it would be.
//!
//! It is worked out from the room as it is, and so worked out afresh after a lost race. Whether it is allowed is for
//! the [judge](super::judge) to say, as of anybody's commit.

use std::collections::BTreeSet;

use crate::{
    error::{Error, Result},
    identity::{LeafIndex, Member, MemberId, Role},
    room::{
        Card, Intent,
        charter::Charter,
        comeback::standing_after,
        garden::Garden,
        judge::{Ground, Newcomer, Proposed},
    },
};

/// What a commit for an intent would do.
pub(super) struct Draft<'a> {
    pub(super) adds: Vec<&'a Card>,
    pub(super) removes: BTreeSet<LeafIndex>,
    /// The charter afterwards, changed or not.
    pub(super) after: Charter,
}

impl<'a> Draft<'a> {
    /// What `intent` of `me` comes to in the room as it is.
    pub(super) fn new(ground: Ground<'_>, me: MemberId, intent: &'a Intent) -> Result<Self> {
        let mut draft = Self { adds: Vec::new(), removes: BTreeSet::new(), after: ground.charter.clone() };
        let next = ground.epoch.saturating_add(1);
        let after = &mut draft.after;
        match intent {
            Intent::Admit(cards) => return Self::admitting(ground, cards, false),
            Intent::BringBack(card) => {
                member(ground, &card.id())?;
                draft.bring_back(ground, card)?;
            }
            // What waits at the door is not in the intent.
            Intent::OpenDoor => return nothing("door", "nobody waits there to be let in"),
            Intent::Remove(members) => {
                if members.is_empty() {
                    return nothing("members", "there are none: name at least one");
                }
                for id in members {
                    draft.removes.insert(member(ground, id)?.leaf);
                    after.forget(id);
                }
            }
            Intent::Ban(people) => {
                if people.iter().all(|id| after.is_banned(id)) {
                    return nothing("ban", "there is nobody who is not banned already");
                }
                for id in people {
                    draft.removes.extend(ground.roster.find(id).map(|member| member.leaf));
                    after.forget(id);
                    after.ban(*id);
                }
            }
            Intent::LiftBan(id) => {
                if !after.is_banned(id) {
                    return nothing("ban", "they are not banned: nothing is to be done");
                }
                after.lift_ban(id);
            }
            Intent::SetRole(id, role) => {
                if member(ground, id)?.role == *role {
                    return nothing("role", "they have it already: nothing is to be done");
                }
                after.set_role(*id, *role, next);
            }
            Intent::HandOver(id) => {
                if ground.charter.role(&me) != Role::Host {
                    return nothing("member", "you are no host: there is nothing for you to hand over");
                }
                if member(ground, id)?.role != Role::Host {
                    after.set_role(*id, Role::Host, next);
                }
                if *id == me {
                    return nothing("member", "that is you: hand over to somebody else");
                }
                after.set_role(me, Role::Moderator, next);
            }
            Intent::Mute(id) => {
                if member(ground, id)?.muted_by.is_some() {
                    return nothing("member", "they are muted already: nothing is to be done");
                }
                after.set_muted(*id, Some(me));
            }
            Intent::LiftMute(id) => {
                if member(ground, id)?.muted_by.is_none() {
                    return nothing(
                        "member",
                        "they are not muted by anybody: they switch their microphone on themselves",
                    );
                }
                after.set_muted(*id, None);
            }
            Intent::Set(settings) => {
                for setting in settings {
                    after.settings = std::mem::take(&mut after.settings).with(setting.clone())?;
                }
                if after.settings == ground.charter.settings {
                    return nothing("settings", "the room has these already: nothing is to be done");
                }
            }
            Intent::IssueLink(link) => {
                if after.link(&link.id).is_some() {
                    return nothing("link", "the room has it already: nothing is to be done");
                }
                after.add_link(*link);
            }
            Intent::RevokeLink(id) => {
                if after.link(id).is_none() {
                    return nothing("link", "the room does not have it: nothing is to be done");
                }
                after.revoke_link(id);
            }
            Intent::Leave => {
                after.set_leaving(me);
                if after.hosts() == 0
                    && let Some(heir) = after.eldest_moderator()
                {
                    after.set_role(heir, Role::Host, next);
                }
            }
            Intent::End => after.ended = true,
            Intent::Refresh => {}
        }
        let is_over = |garden: &Garden| garden.until <= ground.epoch;
        if draft.after != *ground.charter && draft.after.garden.as_ref().is_some_and(is_over) {
            draft.after.garden = None;
        }
        // An own link that may not stand is refused by name.
        if !matches!(intent, Intent::IssueLink(_)) {
            draft.after.prune_links();
        }
        Ok(draft)
    }

    /// What letting people in comes to. A link for one that somebody comes by ends with that. Who is in already is brought
    /// back if they may be; else the judge refuses it by name.
    pub(super) fn admitting(ground: Ground<'_>, cards: &'a [(Card, Role)], back: bool) -> Result<Self> {
        if cards.is_empty() {
            return nothing("cards", "there are none: give at least one");
        }
        let mut draft = Self { adds: Vec::new(), removes: BTreeSet::new(), after: ground.charter.clone() };
        for (card, role) in cards {
            let is_in = ground.roster.find(&card.id()).is_some();
            if is_in && back {
                draft.bring_back(ground, card)?;
                continue;
            }
            draft.adds.push(card);
            let after = &mut draft.after;
            // A key that is in the room keeps its role.
            if !is_in {
                after.set_role(card.id(), *role, ground.epoch.saturating_add(1));
            }
            if let Some(link) = card.link()
                && after.link(&link).is_some_and(|entry| entry.terms.one_shot)
            {
                after.revoke_link(&link);
            }
        }
        Ok(draft)
    }

    /// The commit of it that `committer` would make, for the judge.
    pub(super) fn proposed(&self, ground: Ground<'_>, committer: LeafIndex) -> Proposed {
        Proposed {
            committer,
            adds: self.adds.iter().map(|card| Newcomer::of(card)).collect(),
            removes: self.removes.iter().copied().collect(),
            charter: (self.after != *ground.charter).then(|| Ok(self.after.clone())),
            other_extensions_kept: true,
            path: None,
            foreign: None,
            shape: None,
        }
    }

    /// The leaf of who is in goes, and they come in by `card`.
    fn bring_back(&mut self, ground: Ground<'_>, card: &'a Card) -> Result<()> {
        let id = card.id();
        let Some(member) = ground.roster.find(&id) else { return Ok(()) };
        if member.name != card.name() {
            return nothing("card", "its owner goes by another name in the room: a member's name stays");
        }
        let (standing, _) = standing_after(ground.room, ground.charter.standing(&id), card.word());
        if standing != ground.charter.standing(&id) {
            self.after.set_returned(id, standing.returned);
        }
        self.removes.insert(member.leaf);
        self.adds.push(card);
        Ok(())
    }
}

/// What is left to do of `intent` in the room as it is; `None` if others have done it all.
pub(super) fn left_of(ground: Ground<'_>, intent: &Intent) -> Option<Intent> {
    let Ground { roster, charter, .. } = ground;
    let is_in = |id: &MemberId| roster.find(id).is_some();
    let kept = |kept: bool| kept.then(|| intent.clone());
    match intent {
        Intent::Admit(cards) => {
            let out: Vec<_> = cards.iter().filter(|(card, _)| !is_in(&card.id())).cloned().collect();
            (!out.is_empty()).then_some(Intent::Admit(out))
        }
        Intent::BringBack(card) => kept(is_in(&card.id())),
        Intent::Remove(members) => {
            let here: Vec<_> = members.iter().copied().filter(is_in).collect();
            (!here.is_empty()).then_some(Intent::Remove(here))
        }
        Intent::Ban(people) => {
            let free: Vec<_> = people.iter().copied().filter(|id| !charter.is_banned(id)).collect();
            (!free.is_empty()).then_some(Intent::Ban(free))
        }
        Intent::LiftBan(id) => kept(charter.is_banned(id)),
        Intent::SetRole(id, role) => kept(roster.find(id).is_some_and(|member| member.role != *role)),
        Intent::HandOver(id) => kept(is_in(id)),
        Intent::Mute(id) => kept(roster.find(id).is_some_and(|member| member.muted_by.is_none())),
        Intent::LiftMute(id) => kept(roster.find(id).is_some_and(|member| member.muted_by.is_some())),
        Intent::Set(settings) => {
            // In order, for the last word on a setting counts; what is so already is changed by nobody.
            let wanted = settings.iter().try_fold(charter.settings.clone(), |all, one| all.with(one.clone()));
            kept(wanted.is_ok_and(|wanted| wanted != charter.settings))
        }
        Intent::IssueLink(link) => kept(charter.link(&link.id).is_none()),
        Intent::RevokeLink(id) => kept(charter.link(id).is_some()),
        Intent::Leave | Intent::End | Intent::OpenDoor | Intent::Refresh => kept(true),
    }
}

fn member<'a>(ground: Ground<'a>, id: &MemberId) -> Result<&'a Member> {
    ground.roster.find(id).ok_or_else(|| Error::NotAMember { who: id.to_string(), epoch: ground.epoch })
}

fn nothing<T>(what: &'static str, why: &'static str) -> Result<T> {
    Err(Error::Unusable { what, why })
}
