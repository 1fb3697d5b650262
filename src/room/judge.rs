//! The check of every commit before it is merged: default deny.
//!
//! The group layer tells what a commit would do, in the terms of this file; [`judge`] says what it comes to, or
//! who wanted what and why not. It is pure, and it looks only at what all members of the epoch share, so that
//! all of them judge alike: the first commit of an epoch that passes is the room's next epoch for everybody.
//!
//! An attacker here is a member with a patched client. What MLS itself proves (who signed it, that its tree and
//! keys are consistent) is proved before; whether they may is proved here and nowhere else.

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
};

use crate::{
    error::{Denial, Flaw, Result},
    identity::{LeafIndex, Member, MemberId, Role, check_name},
    room::{
        Card,
        charter::{Charter, Standing},
        comeback::{ReturnWord, standing_after},
        door::{LinkId, LinkProof},
        garden::{GARDEN_EPOCHS, Shape},
        policy::{Action, needs_no_word, permits},
        roster::Roster,
        settings::{Entry, Setting},
    },
};

/// What all members of an epoch share, and judge by.
#[derive(Clone, Copy)]
pub(crate) struct Ground<'a> {
    /// The MLS group id.
    pub(crate) room: &'a [u8],
    pub(crate) epoch: u64,
    pub(crate) roster: &'a Roster,
    pub(crate) charter: &'a Charter,
    /// How many commits in a row were made by members who let nobody in and put nobody out. Whoever enters does so by
    /// another kind of commit: so all count alike.
    pub(crate) streak: u8,
}

impl Ground<'_> {
    /// Whether a host or a moderator has asked `member` to commit, and they have not yet.
    pub(crate) fn is_asked(&self, member: &MemberId) -> bool {
        self.charter.garden.as_ref().is_some_and(|garden| garden.names(member, self.roster, self.epoch))
    }
}

/// The longest [streak](Ground::streak) that a room with a host allows.
///
/// Without a bound one listener who reaches the relay sooner than everybody else could win every race, refreshing their
/// keys for ever, and no removal would ever come first.
pub(crate) const MAX_STREAK: u8 = 8;

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
    /// The shape of the tree after it, if its charter asks members to commit.
    pub(crate) shape: Option<Shape>,
}

/// A leaf as a commit brings it in.
#[derive(Debug)]
pub(crate) struct Newcomer {
    /// `None` if the signature key is not 32 bytes.
    pub(crate) id: Option<MemberId>,
    /// `None` if the credential is not Basic, or not UTF-8.
    pub(crate) name: Option<String>,
    /// Whether it lists what every room needs, its size and lifetime are within bounds, and its keys can be encrypted to.
    pub(crate) fit: Result<(), Flaw>,
    /// Whether its media keys, if it has any, are certified by that id and name.
    pub(crate) certified: bool,
    /// Whether no parent node of the tree has its encryption key: else nobody could enter any more.
    pub(crate) has_new_key: bool,
    /// The proof that they hold a link's secret, if their key package carries one.
    pub(crate) proof: Option<LinkProof>,
    /// The word that they ask to be brought back, if their key package carries one.
    pub(crate) word: Option<ReturnWord>,
}

impl Newcomer {
    /// Who a card of one's own reading would bring in.
    pub(crate) fn of(card: &Card) -> Self {
        Self {
            id: Some(card.id()),
            name: Some(card.name().to_owned()),
            fit: Ok(()),
            certified: true,
            has_new_key: true,
            proof: card.proof().copied(),
            word: card.word().copied(),
        }
    }
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

impl Verdict {
    /// Whether the room is over.
    pub(crate) fn ends(&self) -> bool {
        self.changes.contains(&Change::Ended)
    }
}

/// One thing that happened.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Change {
    Joined {
        id: MemberId,
        link: Option<LinkId>,
    },
    /// A member's leaf was replaced by one of a new card; what the charter says of them is as it was.
    CameBack(MemberId),
    Removed(Member),
    Banned(MemberId),
    BanLifted(MemberId),
    Moved {
        id: MemberId,
        from: Role,
    },
    Muted(MemberId),
    MuteLifted(MemberId),
    Leaving(MemberId),
    /// No host is left.
    HostsGone,
    Set(Setting),
    LinkIssued(LinkId),
    /// Revoked, used up, or ended with its issuer's office.
    LinkEnded(LinkId),
    Refreshed,
    Ended,
}

/// Whether `proposed` may become the next epoch of the room.
pub(crate) fn judge(ground: Ground<'_>, proposed: Proposed) -> Result<Verdict, Denial> {
    let Some(actor) = ground.roster.at(proposed.committer) else {
        return Err(denial("somebody outside the room", "commit", "only members commit"));
    };
    let after = match &proposed.charter {
        None => ground.charter,
        Some(Ok(after)) => after,
        Some(Err(_)) => return Err(denial(&actor.name, "replace the room's settings", "they cannot be read")),
    };
    let mut case = Case {
        ground,
        actor,
        after,
        gone: BTreeSet::new(),
        newcomers: BTreeMap::new(),
        returning: BTreeMap::new(),
        changes: Vec::new(),
    };
    case.turn(&proposed)?;
    case.form(&proposed)?;
    case.returns(&proposed)?;
    case.removals(&proposed.removes)?;
    case.admissions(&proposed.adds)?;
    case.settings()?;
    case.standings()?;
    case.bans()?;
    case.links()?;
    case.hosts()?;
    case.garden(proposed.shape.as_ref())?;
    if case.changes.is_empty() {
        case.ask(Action::Refresh, "refresh their keys")?;
        case.changes.push(Change::Refreshed);
    }
    Ok(Verdict { by: actor.id, changes: case.changes, charter: proposed.charter.and_then(Result::ok) })
}

/// A commit under judgement.
struct Case<'a> {
    ground: Ground<'a>,
    actor: &'a Member,
    /// The charter as the commit leaves it.
    after: &'a Charter,
    /// Who goes; not whoever comes back.
    gone: BTreeSet<MemberId>,
    /// Who comes in, and by which link.
    newcomers: BTreeMap<MemberId, Option<LinkId>>,
    /// Who comes back.
    returning: BTreeMap<MemberId, Return>,
    changes: Vec<Change>,
}

/// One member's leaf for another.
struct Return {
    /// Whether they have signed that they ask for it now.
    by_their_word: bool,
    /// Whether the old leaf was seen to go, and the new one to come.
    out: bool,
    back: bool,
}

impl<'a> Case<'a> {
    /// The member of that id who is in and stays, or comes back.
    fn present(&self, id: &MemberId) -> Option<&'a Member> {
        self.ground.roster.find(id).filter(|_| !self.gone.contains(id))
    }

    fn deny<T>(&self, action: &str, why: impl Into<Cow<'static, str>>) -> Result<T, Denial> {
        Err(denial(&self.actor.name, action, why))
    }

    fn ask(&self, action: Action, what: &str) -> Result<(), Denial> {
        permits(self.actor.role, action).map_err(|why| denial(&self.actor.name, what, why))
    }

    /// Whether it is the actor's turn to commit at all.
    fn turn(&self, proposed: &Proposed) -> Result<(), Denial> {
        let is_kept_waiting = self.ground.streak >= MAX_STREAK && self.ground.charter.hosts() > 0;
        let is_asked =
            self.ground.is_asked(&self.actor.id) && proposed.charter.is_none() && proposed.removes.is_empty();
        if is_kept_waiting && self.actor.role < Role::Moderator && proposed.adds.is_empty() && !is_asked {
            return self.deny("commit", "eight members have done so in a row: a host or a moderator comes first");
        }
        Ok(())
    }

    /// What no role allows, whatever it would bring about.
    fn form(&self, proposed: &Proposed) -> Result<(), Denial> {
        if let Some(foreign) = proposed.foreign {
            return self.deny(foreign, "no room takes that; a room has commands for what may be done");
        }
        if !proposed.other_extensions_kept {
            return self.deny("change the group's extensions", "they are fixed when the room is made");
        }
        let Some(leaf) = &proposed.path else { return Ok(()) };
        if leaf.id != Some(self.actor.id) {
            return self
                .deny("change their signature key", "a member's key stays; leave, and come back with a new card");
        }
        if leaf.name.as_ref() != Some(&self.actor.name) {
            return self.deny("change their credential", "a member's name stays; leave, and come back with a new card");
        }
        if let Err(flaw) = leaf.fit {
            return self.deny("drop a capability or swell their leaf", format!("nobody could take it: {flaw}"));
        }
        if !leaf.certified {
            return self
                .deny("bring in media keys", "a member's own key and name vouch for them; these are not theirs");
        }
        Ok(())
    }

    /// Finds out who comes back: they are removed and admitted under the same name, and of what the charter says of them
    /// nothing changes but when they asked for it. Of anybody else who is removed and admitted by one commit the charter
    /// says what it does of a newcomer, and they are judged as one. A word that is for another leaf brings nobody in.
    fn returns(&mut self, proposed: &Proposed) -> Result<(), Denial> {
        let Ground { room, roster, charter, .. } = self.ground;
        for add in &proposed.adds {
            let Some(member) = add.id.and_then(|id| roster.find(&id)) else { continue };
            if add.word.is_some_and(|word| !word.replaces(roster.dated_leaf(&member.id))) {
                let what = format!("bring back {}, a {}", member.name, member.role);
                return self.deny(&what, "they asked before they had the keys they have now; ask them to again");
            }
            let was = charter.standing(&member.id);
            let (after, by_their_word) = standing_after(room, was, add.word.as_ref());
            if proposed.removes.contains(&member.leaf)
                && member.id != self.actor.id
                && add.name.as_ref() == Some(&member.name)
                && !was.leaving
                && self.after.standing(&member.id) == after
            {
                self.returning.insert(member.id, Return { by_their_word, out: false, back: false });
            }
        }
        Ok(())
    }

    /// Whether the actor may bring `member` back.
    fn may_bring_back(&self, member: &Member, by_their_word: bool, what: &str) -> Result<(), Denial> {
        let Member { id, role, .. } = *member;
        let last = by_their_word && self.ground.charter.is_alone_in_charge(&id);
        self.ask(if last { Action::BringBackLastHost } else { Action::BringBack { role } }, what)?;
        if !by_their_word && !needs_no_word(self.actor.role, role) {
            return self.deny(what, "their card does not prove that they ask for it now; ask them to, or ask a host");
        }
        Ok(())
    }

    fn removals(&mut self, removes: &[LeafIndex]) -> Result<(), Denial> {
        let Ground { roster, charter, .. } = self.ground;
        for leaf in removes {
            let Some(target) = roster.at(*leaf) else {
                return self.deny("remove somebody", "nobody is at that leaf");
            };
            let what = format!("remove {}, a {}", target.name, target.role);
            if target.id == self.actor.id {
                return self.deny(&what, "nobody removes themselves; ask to leave");
            }
            if let Some(back) = self.returning.get_mut(&target.id) {
                if std::mem::replace(&mut back.out, true) {
                    return self.deny(&what, "they are removed twice");
                }
                continue;
            }
            let let_go = charter.hosts() == 0 && charter.standing(&target.id).leaving;
            self.ask(if let_go { Action::LetGo } else { Action::Remove { role: target.role } }, &what)?;
            if !self.gone.insert(target.id) {
                return self.deny(&what, "they are removed twice");
            }
            self.changes.push(Change::Removed(target.clone()));
        }
        Ok(())
    }

    fn admissions(&mut self, adds: &[Newcomer]) -> Result<(), Denial> {
        let Ground { room, charter, .. } = self.ground;
        for add in adds {
            let (Some(id), Some(name)) = (add.id, &add.name) else {
                return self.deny("admit somebody", "their card carries no basic credential with an Ed25519 key");
            };
            if check_name(name).is_err() {
                return self.deny("admit somebody", "their name is empty, too long, or not fit to be shown");
            }
            let role = self.after.role(&id);
            let what = format!("admit {name} as a {role}");
            if let Err(flaw) = add.fit {
                return self.deny(&what, format!("no room takes their card: {flaw}"));
            }
            if !add.certified {
                return self.deny(&what, "the media keys on their card are not certified by their own key and name");
            }
            if !add.has_new_key {
                return self
                    .deny(&what, "a key on their card is in the room's tree already: nobody could enter any more");
            }
            if let Some(back) = self.returning.get_mut(&id).filter(|back| !back.back) {
                let what = format!("bring back {name}, a {role}");
                back.back = true;
                let by_their_word = back.by_their_word;
                if self.after.is_banned(&id) {
                    return self.deny(&what, "they are banned by the same commit");
                }
                if let Some(member) = self.present(&id) {
                    self.may_bring_back(member, by_their_word, &what)?;
                }
                self.changes.push(Change::CameBack(id));
                continue;
            }
            if self.present(&id).is_some() || self.newcomers.contains_key(&id) {
                return self.deny(&what, "somebody with that key is in the room already");
            }
            if charter.is_banned(&id) || self.after.is_banned(&id) {
                return self.deny(&what, "they are banned; a host can lift the ban");
            }
            if charter.settings.locked() && self.after.settings.locked() {
                return self.deny(&what, "the room is locked; unlock it first");
            }
            self.ask(Action::Admit { role }, &what)?;
            if let Some(proof) = &add.proof {
                self.link_of(proof, room, &id, role, &what)?;
            }
            let link = add.proof.map(|proof| proof.link);
            self.newcomers.insert(id, link);
            self.changes.push(Change::Joined { id, link });
        }
        // Leaves are filled from the left (RFC 9420 §7.7), so this many members fit into the leaves a key id can name.
        if !self.newcomers.is_empty()
            && self.ground.roster.len() - self.gone.len() + self.newcomers.len() > charter.settings.capacity()
        {
            return self
                .deny("admit more members", "the room is full: a host can raise its capacity, if its key ids allow");
        }
        Ok(())
    }

    /// Whether somebody who claims to hold a link may enter by it.
    fn link_of(&self, proof: &LinkProof, room: &[u8], id: &MemberId, role: Role, what: &str) -> Result<(), Denial> {
        let Some(link) = self.ground.charter.link(&proof.link) else {
            return self.deny(what, "the link they came by is no link of this room: revoked, used, or another room's");
        };
        if !proof.holds(room, id) {
            return self
                .deny(what, "their proof that they hold a link was made for somebody else, or for another room");
        }
        if role > link.terms.role && self.actor.role != Role::Host {
            return self.deny(what, "the link they came by admits to less; a host can promote them");
        }
        if link.terms.one_shot {
            if self.newcomers.values().any(|other| *other == Some(proof.link)) {
                return self.deny(what, "the link they came by is for one, and somebody else comes by it");
            }
            if self.after.link(&proof.link).is_some() {
                return self.deny(what, "the link they came by is for one, and has to end with this admission");
            }
        }
        Ok(())
    }

    fn settings(&mut self) -> Result<(), Denial> {
        let (before, after) = (&self.ground.charter.settings, &self.after.settings);
        if (after.suite(), after.layout()) != (before.suite(), before.layout()) {
            return self.deny("change the frame suite or the key-id layout", "they are fixed when the room is made");
        }
        if after.seals().proof != before.seals().proof {
            return self.deny("change what seals prove", "it is fixed when the room is made");
        }
        for setting in before.changes(after) {
            let (action, what) = match &setting {
                Setting::Title(_) => (Action::Rename, "change the room's title"),
                Setting::Topic(_) => (Action::Rename, "change the room's topic"),
                Setting::Locked(true) => (Action::Lock, "lock the room"),
                Setting::Locked(false) => (Action::Lock, "unlock the room"),
                Setting::Entry(_) => (Action::Change, "change who may enter"),
                Setting::Speaking(_) => (Action::Change, "change who may speak"),
                Setting::Seals(_) => (Action::Change, "change what seals are for"),
                Setting::SealEvery(_) => (Action::Change, "change how many frames a seal covers"),
                Setting::Unsealed(_) => (Action::Change, "change what becomes of unsealed sound"),
                Setting::Recording(_) => (Action::Change, "allow or forbid recording"),
                Setting::Capacity(_) => (Action::Change, "change how many fit in"),
            };
            self.ask(action, what)?;
            self.changes.push(Change::Set(setting));
        }
        match (self.ground.charter.ended, self.after.ended) {
            (false, true) => {
                self.ask(Action::End, "end the room")?;
                self.changes.push(Change::Ended);
            }
            (true, false) => return self.deny("take back the room's end", "an ended room stays ended"),
            _ => {}
        }
        Ok(())
    }

    /// Roles, mutes, and who is leaving.
    fn standings(&mut self) -> Result<(), Denial> {
        let (before, after) = (self.ground.charter, self.after);
        let listed: BTreeSet<MemberId> = before.standings().chain(after.standings()).map(|(id, _)| *id).collect();
        for id in listed {
            let (was, is) = (before.standing(&id), after.standing(&id));
            if self.present(&id).is_some() {
                // Of who comes back it was seen before what changes, which is nothing that anybody decides.
                if was != is && !self.returning.contains_key(&id) {
                    self.standing(id, was, is)?;
                }
            } else if self.newcomers.contains_key(&id) {
                if is != (Standing { role: is.role, since: is.since, ..Standing::default() }) {
                    return self.deny("let somebody in muted or leaving", "who comes in may speak as their role says");
                }
                self.dated(is)?;
            } else if is != Standing::default() {
                let Some(gone) = self.ground.roster.find(&id) else {
                    return self
                        .deny("give a role to somebody who is not in the room", "roles and mutes are for members");
                };
                return self
                    .deny(&format!("remove {} and keep their role", gone.name), "the role goes with the member");
            }
        }
        Ok(())
    }

    /// A change in what is said of `id`, who is in and stays.
    fn standing(&mut self, id: MemberId, was: Standing, is: Standing) -> Result<(), Denial> {
        let name = self.present(&id).map_or("somebody", |member| member.name.as_str()).to_owned();
        let own = id == self.actor.id;
        if is.leaving && is.role != Role::Listener {
            return self
                .deny(&format!("make {name}, who is leaving, a {}", is.role), "let them go, and admit them again");
        }
        if was.role != is.role {
            let (from, to) = (was.role, is.role);
            let action = if own { Action::StepDown { from, to } } else { Action::Move { from, to } };
            self.ask(action, &format!("make {name}, a {from}, a {to}"))?;
            self.dated(is)?;
            self.changes.push(Change::Moved { id, from });
        } else if was.since != is.since {
            return self.deny(&format!("change since when {name} is a {}", is.role), "a role keeps its date");
        }
        if is.returned != (if was.role == is.role { was.returned } else { 0 }) {
            return self
                .deny(&format!("change when {name} came back"), "it is noted as they do, for the role they have");
        }
        let role = was.role;
        match (was.muted_by, is.muted_by) {
            (was, is) if was == is => {}
            (_, Some(by)) => {
                let what = format!("mute {name}, a {role}");
                if by != self.actor.id {
                    return self.deny(&what, "who mutes somebody signs for it themselves");
                }
                if own {
                    return self.deny(&what, "nobody mutes themselves so; switch your microphone off");
                }
                self.ask(Action::Mute { role }, &what)?;
                self.changes.push(Change::Muted(id));
            }
            (_, None) => {
                self.ask(Action::LiftMute { role }, &format!("let {name}, a {role}, speak again"))?;
                self.changes.push(Change::MuteLifted(id));
            }
        }
        if was.leaving != is.leaving {
            let what = format!("say that {name} is leaving");
            if !own || !is.leaving {
                return self.deny(&what, "nobody says that for another, or takes it back");
            }
            if was.role != Role::Host && self.ground.charter.hosts() > 0 {
                return self.deny(&what, "only a host leaves so; others ask to be let out");
            }
            self.ask(Action::Leave, &what)?;
            self.changes.push(Change::Leaving(id));
        }
        Ok(())
    }

    /// A role that is given is dated with the epoch that the commit begins.
    fn dated(&self, is: Standing) -> Result<(), Denial> {
        let next = self.ground.epoch.saturating_add(1);
        if is.role != Role::Listener && is.since != next {
            return self.deny("give a role another date", "a role counts from the epoch in which it is given");
        }
        Ok(())
    }

    fn bans(&mut self) -> Result<(), Denial> {
        let (before, after) = (self.ground.charter.banned(), self.after.banned());
        for id in after.difference(before) {
            let target = self.ground.roster.find(id);
            let role = target.map_or(Role::Listener, |member| member.role);
            let what = format!("ban {}, a {role}", target.map_or("a stranger", |member| member.name.as_str()));
            self.ask(Action::Ban { role }, &what)?;
            if self.present(id).is_some() {
                return self.deny(&what, "who is banned is put out by the same commit");
            }
            self.changes.push(Change::Banned(*id));
        }
        for id in before.difference(after) {
            self.ask(Action::LiftBan, "lift a ban")?;
            self.changes.push(Change::BanLifted(*id));
        }
        Ok(())
    }

    fn links(&mut self) -> Result<(), Denial> {
        let (before, after) = (self.ground.charter, self.after);
        for link in after.links() {
            match before.link(&link.id) {
                Some(was) if was == link => {}
                Some(_) => return self.deny("change a link", "a link keeps its terms; revoke it and issue another"),
                None => {
                    self.ask(Action::IssueLink, "issue a link")?;
                    if link.issuer != self.actor.id {
                        return self.deny("issue a link", "a link names the host who issues it");
                    }
                    self.changes.push(Change::LinkIssued(link.id));
                }
            }
            if after.settings.entry() == Entry::Invited {
                return self.deny("keep a link", "people enter this room by invitation: it has no links");
            }
            if !after.carries(link) || self.present(&link.issuer).is_none() {
                return self.deny("keep a link", "its issuer is no host any more: the link goes with the office");
            }
        }
        for link in before.links().filter(|link| after.link(&link.id).is_none()) {
            let used = link.terms.one_shot && self.newcomers.values().any(|by| *by == Some(link.id));
            if !used && after.carries(link) {
                self.ask(Action::RevokeLink, "revoke a link")?;
            }
            self.changes.push(Change::LinkEnded(link.id));
        }
        Ok(())
    }

    /// Members are asked to commit for so many epochs, and only those whose commits are of use: so nobody is asked for ever,
    /// for each commit of theirs makes others' cost as little as they can.
    fn garden(&self, shape: Option<&Shape>) -> Result<(), Denial> {
        let (Ground { epoch, charter: before, roster, .. }, after) = (self.ground, self.after);
        if before.garden == after.garden {
            return Ok(());
        }
        let what = "ask members to refresh their keys";
        let Some(garden) = &after.garden else {
            let is_over = before.garden.as_ref().is_some_and(|garden| garden.until <= epoch);
            return if is_over {
                Ok(())
            } else {
                self.ask(Action::Garden, "ask members no more to refresh their keys")
            };
        };
        self.ask(Action::Garden, what)?;
        if garden.until != epoch.saturating_add(1).saturating_add(GARDEN_EPOCHS) {
            return self.deny(what, "it is good for 64 epochs, no more and no less");
        }
        // Each name is one member's, who stays.
        let named = roster.keys().filter(|(_, key)| garden.has(key));
        let named: Vec<&Member> = named.map(|(member, _)| member).collect();
        let is_of_use = |member: &&Member| {
            !self.gone.contains(&member.id) && shape.is_some_and(|shape| shape.is_of_use(member.leaf))
        };
        if named.len() != garden.names.len() || !named.iter().all(is_of_use) {
            return self.deny(what, "somebody is asked who is not in the room, or whose commit would be of no use");
        }
        Ok(())
    }

    /// A room keeps a host, until the last one leaves and there is no moderator to take over.
    fn hosts(&mut self) -> Result<(), Denial> {
        let (before, after) = (self.ground.charter, self.after);
        if before.hosts() == 0 {
            return Ok(());
        }
        let none_left = !after.standings().any(|(id, standing)| {
            standing.role == Role::Host && (self.present(id).is_some() || self.newcomers.contains_key(id))
        });
        if none_left {
            let what = "leave the room without a host";
            if !after.standing(&self.actor.id).leaving {
                return self.deny(what, "make somebody else a host first, or leave");
            }
            if after.eldest_moderator().is_some() {
                return self.deny(what, "a moderator takes over from the last host");
            }
            self.changes.push(Change::HostsGone);
        }
        Ok(())
    }
}

pub(crate) fn denial(actor: &str, action: &str, why: impl Into<Cow<'static, str>>) -> Denial {
    Denial { actor: actor.to_owned(), action: action.to_owned(), why: why.into() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        error::Error,
        media::{KeyIdLayout, seal::Proof},
        room::{
            door::{LinkEntry, Terms},
            roster::Seat,
            settings::Settings,
        },
    };

    fn id(n: u8) -> MemberId {
        MemberId::from_bytes([n; 32])
    }

    /// Ana, host, at leaf 0; mo, moderator, at 1; ben, speaker, at 2; eve, listener, at 3. Eight fit.
    fn room() -> (Roster, Charter) {
        let settings = Settings::default().with_layout(KeyIdLayout::new(3, 8).unwrap());
        let mut charter = Charter::new(settings, id(0));
        charter.set_role(id(1), Role::Moderator, 1);
        charter.set_role(id(2), Role::Speaker, 1);
        let seats = ["ana", "mo", "ben", "eve"].iter().zip(0..);
        let seats = seats.map(|(name, n)| Seat {
            leaf: LeafIndex(n.into()),
            id: id(n),
            name: (*name).to_owned(),
            key: [n; 32],
            door: None,
            date: 0,
            media: None,
            bound: false,
        });
        (Roster::new(seats.collect(), &charter, 1), charter)
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
            shape: None,
        }
    }

    fn newcomer(n: u8) -> Newcomer {
        Newcomer {
            id: Some(id(n)),
            name: Some(format!("guest {n}")),
            fit: Ok(()),
            certified: true,
            has_new_key: true,
            proof: None,
            word: None,
        }
    }

    fn judged(charter: &Charter, proposed: Proposed) -> Result<Verdict, Denial> {
        let (roster, _) = room();
        judge(Ground { room: b"room", epoch: 1, roster: &roster, charter, streak: 0 }, proposed)
    }

    #[track_caller]
    fn refused(proposed: Proposed, action: &str) {
        let denial = judged(&room().1, proposed).unwrap_err();
        assert!(denial.action.contains(action), "{denial}");
    }

    #[track_caller]
    fn allowed(proposed: Proposed) -> Vec<Change> {
        judged(&room().1, proposed).unwrap().changes
    }

    /// A commit of the member at `committer` that does nothing but `change` the charter.
    fn amends(committer: u32, change: impl FnOnce(&mut Charter)) -> Proposed {
        let (_, mut after) = room();
        change(&mut after);
        Proposed { charter: Some(Ok(after)), ..by(committer) }
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
        assert_eq!(allowed(Proposed { adds: vec![newcomer(3)], removes: vec![LeafIndex(3)], ..by(0) }).len(), 2);
    }

    #[test]
    fn coming_back_in_another_role_is_asked_for_like_any_admission() {
        let (_, mut after) = room();
        after.set_role(id(3), Role::Host, 2);
        let back = Proposed { adds: vec![newcomer(3)], removes: vec![LeafIndex(3)], charter: Some(Ok(after)), ..by(1) };
        refused(back, "admit guest 3 as a host");
    }

    #[test]
    fn nobody_removes_themselves_or_an_empty_leaf_or_one_twice() {
        refused(Proposed { removes: vec![LeafIndex(0)], ..by(0) }, "remove ana");
        let (_, mut after) = room();
        after.set_role(id(0), Role::Listener, 2);
        after.set_role(id(3), Role::Host, 2);
        refused(Proposed { removes: vec![LeafIndex(0)], charter: Some(Ok(after)), ..by(0) }, "remove ana");
        refused(Proposed { removes: vec![LeafIndex(5)], ..by(0) }, "remove somebody");
        refused(Proposed { removes: vec![LeafIndex(3), LeafIndex(3)], ..by(0) }, "remove eve");
    }

    #[test]
    fn a_room_is_full_at_its_capacity() {
        assert_eq!(allowed(Proposed { adds: (10..14).map(newcomer).collect(), ..by(0) }).len(), 4);
        refused(Proposed { adds: (10..15).map(newcomer).collect(), ..by(0) }, "admit more members");
    }

    #[test]
    fn who_has_no_proper_leaf_is_not_admitted() {
        for (flaw, action) in [
            (Newcomer { id: None, ..newcomer(9) }, "admit somebody"),
            (Newcomer { name: None, ..newcomer(9) }, "admit somebody"),
            (Newcomer { name: Some(String::new()), ..newcomer(9) }, "admit somebody"),
            (Newcomer { fit: Err(Flaw::SameKeys), ..newcomer(9) }, "admit guest 9"),
            (Newcomer { certified: false, ..newcomer(9) }, "admit guest 9"),
        ] {
            refused(Proposed { adds: vec![flaw], ..by(0) }, action);
        }
    }

    #[test]
    fn a_path_keeps_its_makers_leaf() {
        let eve = || Newcomer {
            id: Some(id(3)),
            name: Some("eve".into()),
            fit: Ok(()),
            certified: true,
            has_new_key: true,
            proof: None,
            word: None,
        };
        assert_eq!(allowed(Proposed { path: Some(eve()), ..by(3) }), [Change::Refreshed]);
        for (leaf, action) in [
            (Newcomer { id: Some(id(0)), ..eve() }, "signature key"),
            (Newcomer { id: None, ..eve() }, "signature key"),
            (Newcomer { name: Some("ana".into()), ..eve() }, "credential"),
            (Newcomer { name: None, ..eve() }, "credential"),
            (Newcomer { fit: Err(Flaw::SameKeys), ..eve() }, "capability"),
            (Newcomer { certified: false, ..eve() }, "media keys"),
        ] {
            refused(Proposed { path: Some(leaf), ..by(3) }, action);
        }
    }

    #[test]
    fn what_is_foreign_is_refused_of_a_host_too() {
        refused(Proposed { foreign: Some("restart the group"), ..by(0) }, "restart the group");
        refused(Proposed { other_extensions_kept: false, ..by(0) }, "extensions");
    }

    #[test]
    fn a_mute_is_signed_for_by_who_makes_it_and_lifted_by_who_may_mute() {
        let mute = |committer, target, by| amends(committer, move |after| after.set_muted(id(target), Some(id(by))));
        assert_eq!(allowed(mute(1, 2, 1)), [Change::Muted(id(2))]);
        assert_eq!(allowed(mute(0, 1, 0)), [Change::Muted(id(1))]);
        refused(mute(1, 2, 0), "mute ben");
        refused(mute(1, 0, 1), "mute ana");
        refused(mute(2, 3, 2), "mute eve");
        refused(mute(2, 2, 2), "mute ben");

        let (_, mut muted) = room();
        muted.set_muted(id(2), Some(id(0)));
        let lift = |committer| {
            let mut after = muted.clone();
            after.set_muted(id(2), None);
            judged(&muted, Proposed { charter: Some(Ok(after)), ..by(committer) })
        };
        assert_eq!(lift(1).unwrap().changes, [Change::MuteLifted(id(2))]);
        assert!(lift(2).unwrap_err().action.contains("speak again"), "nobody lets themselves speak again");
    }

    #[test]
    fn a_role_is_dated_with_the_epoch_that_gives_it_and_keeps_its_date() {
        assert_eq!(
            allowed(amends(0, |after| after.set_role(id(3), Role::Moderator, 2))),
            [Change::Moved { id: id(3), from: Role::Listener }]
        );
        refused(amends(0, |after| after.set_role(id(3), Role::Moderator, 1)), "another date");
        refused(amends(0, |after| after.set_role(id(1), Role::Moderator, 0)), "since when mo");
    }

    #[test]
    fn a_ban_puts_out_and_keeps_out() {
        let ban = |committer, target: u8, removes: Vec<LeafIndex>| Proposed {
            removes,
            ..amends(committer, move |after| {
                after.forget(&id(target));
                after.ban(id(target));
            })
        };
        assert_eq!(allowed(ban(1, 2, vec![LeafIndex(2)])).len(), 2);
        assert_eq!(allowed(ban(1, 9, vec![])), [Change::Banned(id(9))]);
        refused(ban(1, 3, vec![]), "ban eve");
        refused(ban(1, 0, vec![LeafIndex(0)]), "remove ana");
        refused(ban(3, 9, vec![]), "ban a stranger");
        let (_, mut charter) = room();
        charter.ban(id(9));
        let admit = Proposed { adds: vec![newcomer(9)], ..by(0) };
        assert!(judged(&charter, admit).unwrap_err().why.contains("banned"));
        let mut lifted = charter.clone();
        lifted.lift_ban(&id(9));
        let lift = |committer| Proposed { charter: Some(Ok(lifted.clone())), ..by(committer) };
        assert!(judged(&charter, lift(0)).is_ok());
        assert!(judged(&charter, lift(1)).is_err(), "a moderator lifts no ban");
        // Lifted and let in by one commit would look as if it had never been.
        let both = Proposed { adds: vec![newcomer(9)], ..lift(0) };
        assert!(judged(&charter, both).is_err());
    }

    #[test]
    fn nobody_comes_into_a_locked_room() {
        let (_, mut charter) = room();
        charter.settings = charter.settings.with(Setting::Locked(true)).unwrap();
        let admit = || Proposed { adds: vec![newcomer(9)], ..by(0) };
        assert!(judged(&charter, admit()).unwrap_err().why.contains("locked"));
        let unlock = |committer| Proposed { charter: Some(Ok(room().1)), ..by(committer) };
        assert_eq!(judged(&charter, unlock(1)).unwrap().changes, [Change::Set(Setting::Locked(false))]);
        assert!(judged(&charter, unlock(2)).is_err());
        assert!(judged(&charter, Proposed { charter: Some(Ok(room().1)), ..admit() }).is_ok());
    }

    #[test]
    fn a_room_is_as_large_as_it_is_set() {
        let (_, mut charter) = room();
        charter.settings = charter.settings.with(Setting::Capacity(Some(5))).unwrap();
        let admit = |n: u8| Proposed { adds: (9..9 + n).map(newcomer).collect(), ..by(0) };
        assert!(judged(&charter, admit(1)).is_ok());
        assert!(judged(&charter, admit(2)).unwrap_err().why.contains("full"));
    }

    /// The room with links from ana: 20 for many, 21 for one, both for listeners. Their keys are real.
    fn with_links() -> Charter {
        let (_, mut charter) = room();
        charter.settings = charter.settings.with(Setting::Entry(Entry::Knock)).unwrap();
        for n in [20, 21] {
            charter.add_link(link(n, 0));
        }
        charter
    }

    fn key(n: u8) -> ed25519_dalek::SigningKey {
        ed25519_dalek::SigningKey::from_bytes(&[n; 32])
    }

    fn link_id(n: u8) -> LinkId {
        LinkId::from_bytes(key(n).verifying_key().to_bytes())
    }

    fn link(n: u8, issuer: u8) -> LinkEntry {
        let terms = Terms { role: Role::Listener, one_shot: n == 21, expires: None };
        LinkEntry { id: link_id(n), terms, issuer: id(issuer) }
    }

    fn by_link(n: u8, link: u8, room: &[u8]) -> Newcomer {
        use ed25519_dalek::Signer as _;
        let signature = key(link).sign(&LinkProof::signed(room, &id(n))).to_bytes();
        Newcomer { proof: Some(LinkProof { link: link_id(link), signature }), ..newcomer(n) }
    }

    #[test]
    fn who_claims_a_link_proves_it() {
        let charter = with_links();
        let admit = |newcomer| Proposed { adds: vec![newcomer], ..by(1) };
        let joined = judged(&charter, admit(by_link(9, 20, b"room"))).unwrap().changes;
        assert_eq!(joined, [Change::Joined { id: id(9), link: Some(link_id(20)) }]);
        for (flaw, why) in [
            (by_link(9, 20, b"another"), "another room"),
            (Newcomer { proof: by_link(8, 20, b"room").proof, ..newcomer(9) }, "somebody else"),
            (by_link(9, 22, b"room"), "no link of this room"),
        ] {
            let denial = judged(&charter, admit(flaw)).unwrap_err();
            assert!(denial.why.contains(why), "{denial}");
        }
        let mut speaker = charter.clone();
        speaker.set_role(id(9), Role::Speaker, 2);
        let above = |committer| Proposed {
            adds: vec![by_link(9, 20, b"room")],
            charter: Some(Ok(speaker.clone())),
            ..by(committer)
        };
        assert!(judged(&charter, above(1)).unwrap_err().why.contains("admits to less"));
        assert!(judged(&charter, above(0)).is_ok(), "a host may admit to any role");
    }

    #[test]
    fn a_link_for_one_admits_one_and_ends() {
        let charter = with_links();
        let mut used = charter.clone();
        used.revoke_link(&link_id(21));
        let admit = |ids: &[u8], after: &Charter| Proposed {
            adds: ids.iter().map(|n| by_link(*n, 21, b"room")).collect(),
            charter: (*after != charter).then(|| Ok(after.clone())),
            ..by(1)
        };
        assert_eq!(judged(&charter, admit(&[9], &used)).unwrap().changes.len(), 2);
        assert!(judged(&charter, admit(&[9], &charter)).unwrap_err().why.contains("has to end"));
        assert!(judged(&charter, admit(&[8, 9], &used)).unwrap_err().why.contains("somebody else"));
        assert!(judged(&used, admit(&[9], &used)).is_err(), "used before");
    }

    #[test]
    fn a_link_is_a_hosts_and_goes_with_the_office() {
        let charter = with_links();
        let amend = |committer, change: &dyn Fn(&mut Charter)| {
            let mut after = charter.clone();
            change(&mut after);
            judged(&charter, Proposed { charter: Some(Ok(after)), ..by(committer) })
        };
        assert!(amend(0, &|after| after.add_link(link(23, 0))).is_ok());
        assert!(amend(1, &|after| after.add_link(link(23, 1))).is_err(), "no moderator's");
        assert!(amend(0, &|after| after.add_link(link(23, 1))).is_err(), "in nobody else's name");
        let longer = Terms { role: Role::Speaker, one_shot: false, expires: None };
        assert!(amend(0, &|after| after.add_link(LinkEntry { terms: longer, ..link(20, 0) })).is_err());
        assert_eq!(
            amend(1, &|after| after.revoke_link(&link_id(20))).unwrap().changes,
            [Change::LinkEnded(link_id(20))]
        );
        assert!(amend(2, &|after| after.revoke_link(&link_id(20))).is_err());
        let step_down = |after: &mut Charter| {
            after.set_role(id(1), Role::Host, 2);
            after.set_role(id(0), Role::Moderator, 2);
        };
        assert!(amend(0, &step_down).unwrap_err().why.contains("goes with the office"));
        let pruned = amend(0, &|after| {
            step_down(after);
            after.prune_links();
        });
        assert_eq!(pruned.unwrap().changes.len(), 4);
        assert!(amend(0, &|after| after.settings.entry = Entry::Invited).unwrap_err().why.contains("no links"));
    }

    #[test]
    fn the_last_host_leaves_to_a_moderator_or_leaves_the_room_without() {
        let leave = |after: &mut Charter| after.set_leaving(id(0));
        refused(amends(0, leave), "without a host");
        let handed = allowed(amends(0, |after| {
            leave(after);
            after.set_role(id(1), Role::Host, 2);
        }));
        assert!(handed.contains(&Change::Leaving(id(0))) && !handed.contains(&Change::HostsGone));
        refused(amends(0, |after| after.set_role(id(0), Role::Listener, 2)), "without a host");

        let (roster, mut alone) = room();
        alone.set_role(id(1), Role::Speaker, 1);
        let mut gone = alone.clone();
        leave(&mut gone);
        let left = judged(&alone, Proposed { charter: Some(Ok(gone.clone())), ..by(0) }).unwrap();
        assert!(left.changes.contains(&Change::HostsGone));

        // From then on anybody may let the host go, and nothing else.
        let ground = Ground { room: b"room", epoch: 2, roster: &roster, charter: &gone, streak: 0 };
        let mut let_go = gone.clone();
        let_go.forget(&id(0));
        let roster_after = Roster::new(
            roster
                .members()
                .map(|m| Seat {
                    leaf: m.leaf,
                    id: m.id,
                    name: m.name.clone(),
                    key: [9; 32],
                    door: None,
                    date: 0,
                    media: None,
                    bound: false,
                })
                .collect(),
            &gone,
            2,
        );
        let ground = Ground { roster: &roster_after, ..ground };
        let remove = |leaf, after: &Charter| Proposed {
            removes: vec![LeafIndex(leaf)],
            charter: (*after != gone).then(|| Ok(after.clone())),
            ..by(3)
        };
        assert!(judge(ground, remove(0, &let_go)).is_ok());
        assert!(judge(ground, remove(2, &gone)).is_err(), "nobody else");
        let mut host = gone.clone();
        host.set_role(id(3), Role::Host, 3);
        assert!(
            judge(ground, Proposed { charter: Some(Ok(host)), ..by(3) }).is_err(),
            "nobody makes themselves a host"
        );
    }

    #[test]
    fn nobody_says_for_another_that_they_are_leaving() {
        let mut after = room().1;
        after.set_muted(id(3), Some(id(0)));
        refused(amends(0, |after| after.set_leaving(id(3))), "eve is leaving");
        refused(amends(3, |after| after.set_leaving(id(3))), "eve is leaving");
    }

    #[test]
    fn nobody_gives_a_role_to_who_is_leaving() {
        // No charter can say it: who committed to it would be in an epoch of their own.
        let (_, mut charter) = room();
        charter.set_leaving(id(2));
        let mut after = charter.clone();
        after.set_role(id(2), Role::Speaker, 2);
        let denial = judged(&charter, Proposed { charter: Some(Ok(after)), ..by(0) }).unwrap_err();
        assert!(denial.action.contains("make ben, who is leaving, a speaker"), "{denial}");
    }

    #[test]
    fn a_host_ends_a_room_and_nobody_takes_it_back() {
        assert!(judged(&room().1, amends(0, |after| after.ended = true)).unwrap().ends());
        refused(amends(1, |after| after.ended = true), "end the room");
        let (_, mut ended) = room();
        ended.ended = true;
        assert!(judged(&ended, amends(0, |_| {})).is_err());
    }

    #[test]
    fn nobody_makes_evidence_of_what_was_said_in_deniable_words_or_takes_evidence_back() {
        let worth = |proof| move |after: &mut Charter| after.settings.seals.proof = proof;
        for committer in 0..4 {
            refused(amends(committer, worth(Proof::Evidence)), "change what seals prove");
        }
        let (_, mut evidence) = room();
        worth(Proof::Evidence)(&mut evidence);
        assert!(judged(&evidence, amends(0, |_| {})).unwrap_err().action.contains("what seals prove"));
    }

    #[test]
    fn a_room_whose_charter_cannot_be_read_is_not_entered() {
        let unreadable = Error::Unusable { what: "charter", why: "it is garbage" };
        refused(Proposed { charter: Some(Err(unreadable)), ..by(0) }, "replace the room's settings");
    }

    #[test]
    fn who_comes_in_is_neither_muted_nor_leaving_and_a_role_goes_with_its_member() {
        let muted = amends(0, |after| after.set_muted(id(9), Some(id(0))));
        refused(Proposed { adds: vec![newcomer(9)], ..muted }, "muted or leaving");
        refused(Proposed { removes: vec![LeafIndex(2)], ..by(0) }, "remove ben and keep their role");
        refused(amends(0, |after| after.set_role(id(9), Role::Speaker, 2)), "who is not in the room");
    }
}
