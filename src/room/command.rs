//! Commands: they make bytes for the relay, and leave the room as it is until it receives them.

use std::collections::BTreeSet;

use crate::{
    error::{Error, Result},
    identity::{MemberId, Role},
    random,
    room::{
        Card, Intent, Room,
        group::{Bundle, Plan},
        judge::{Newcomer, Proposed, denial, judge},
        open,
        receive::Pending,
    },
};

/// In a room of more members than this the ratchet tree travels apart from the welcome.
pub const TREE_APART: usize = 64;

/// What an application message of ours says first: the version of its form.
pub(super) const SAID_VERSION: u8 = 1;
/// What it says second: "I want to leave". A random message id of 16 bytes follows.
pub(super) const SAID_LEAVE: u8 = 1;

/// What lets somebody in.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Admission {
    /// For everybody in the room, oneself included: it takes effect where the relay puts it.
    pub commit: Vec<u8>,
    /// For each of those admitted, once [`Room::receive`] has taken the commit, and not before: the welcome of
    /// a commit that lost its race opens to a group that nobody else is in, and a guest cannot tell.
    pub welcome: Vec<u8>,
    /// The ratchet tree, sealed, for each of those admitted to a room of more than [`TREE_APART`] members:
    /// [`Guest::enter_with_tree`](crate::Guest::enter_with_tree). One serves them all; the relay may keep it.
    pub tree: Option<Vec<u8>>,
}

/// What a [`Room::retry`] made.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Retried {
    /// Somebody is to be let in.
    Admission(Admission),
    /// A commit for everybody in the room, oneself included.
    Commit(Vec<u8>),
    /// Others have done it all already.
    Done,
}

impl Room {
    /// Lets somebody in.
    ///
    /// # Errors
    /// As [`Room::admit_all`].
    pub fn admit(&mut self, card: &Card, role: Role) -> Result<Admission> {
        self.admit_all(&[(card.clone(), role)])
    }

    /// Lets several people in by one commit and one welcome.
    ///
    /// If all of them are listeners the commit is a few hundred bytes however large the room is.
    ///
    /// # Errors
    /// [`Error::Denied`] if one's role does not allow it, if one of them is in already, or if the room is full;
    /// [`Error::Malformed`] if a card has expired or will within a week; [`Error::TooLarge`] if they are too many
    /// for one message, or the room for one tree; [`Error::CommitPending`]; [`Error::Closed`].
    pub fn admit_all(&mut self, cards: &[(Card, Role)]) -> Result<Admission> {
        match self.carry_out(Intent::Admit(cards.to_vec()))? {
            Bundle { commit, welcome: Some(welcome), tree } => Ok(Admission { commit, welcome, tree }),
            Bundle { .. } => Err(Error::Unusable { what: "cards", why: "there are none: give at least one" }),
        }
    }

    /// Puts a member out. They hold this epoch's keys, and none of the next.
    ///
    /// # Errors
    /// As [`Room::remove_all`].
    pub fn remove(&mut self, member: &MemberId) -> Result<Vec<u8>> {
        self.remove_all(&[*member])
    }

    /// Puts several members out by one commit, which costs hardly more than for one.
    ///
    /// # Errors
    /// [`Error::NotAMember`]; [`Error::Denied`] if one's role does not allow it; [`Error::CommitPending`];
    /// [`Error::Closed`].
    pub fn remove_all(&mut self, members: &[MemberId]) -> Result<Vec<u8>> {
        Ok(self.carry_out(Intent::Remove(members.to_vec()))?.commit)
    }

    /// Gives a member another role: to the stage, or off it. Anybody may step down by themselves.
    ///
    /// # Errors
    /// [`Error::NotAMember`]; [`Error::Unusable`] if they have that role; [`Error::Denied`] if one's role does not
    /// allow it, or if no host would be left; [`Error::CommitPending`]; [`Error::Closed`].
    pub fn set_role(&mut self, member: &MemberId, role: Role) -> Result<Vec<u8>> {
        Ok(self.carry_out(Intent::SetRole(*member, role))?.commit)
    }

    /// Gives the room another title.
    ///
    /// # Errors
    /// [`Error::Malformed`] if it is too long or holds a control character; [`Error::Denied`] if one is no host;
    /// [`Error::CommitPending`]; [`Error::Closed`].
    pub fn set_title(&mut self, title: &str) -> Result<Vec<u8>> {
        Ok(self.carry_out(Intent::Retitle(title.to_owned()))?.commit)
    }

    /// Refreshes one's own keys: whoever stole them before is shut out from the next epoch on.
    ///
    /// # Errors
    /// [`Error::CommitPending`]; [`Error::Closed`].
    pub fn refresh(&mut self) -> Result<Vec<u8>> {
        Ok(self.carry_out(Intent::Refresh)?.commit)
    }

    /// Asks to be let out: a message for everybody. A host or a moderator answers with [`Room::remove`]; until
    /// that is merged one still holds the keys, for nobody can remove themselves from an MLS group.
    ///
    /// # Errors
    /// [`Error::Denied`] if one is the only host; [`Error::Closed`].
    pub fn leave(&mut self) -> Result<Vec<u8>> {
        self.group()?;
        let me = self.identity.id();
        if self.charter.role(&me) == Role::Host && self.charter.hosts() == 1 {
            let why = "they are the only host: make somebody else a host first";
            return Err(Error::Denied(Box::new(denial(self.identity.name(), "leave", why))));
        }
        let mut said = vec![SAID_VERSION, SAID_LEAVE];
        said.extend_from_slice(random::bytes::<16>()?.as_slice());
        let group = open(&mut self.group, self.epoch)?;
        let message = group.say(&self.identity, &said)?;
        self.echoes.said(&message);
        self.leaving.insert(me);
        Ok(message)
    }

    /// Drops one's own commit that is on its way, and tells what it wanted.
    ///
    /// Only for a commit that the relay has refused or never got: if others receive it they go on without you.
    /// After a thousand abandoned in one epoch the next would be too far ahead for others to read.
    pub fn abandon(&mut self) -> Option<Intent> {
        let pending = self.pending.take()?;
        if let Some(group) = &mut self.group {
            group.clear_pending();
        }
        self.echoes.abandoned(pending.hash, self.epoch);
        Some(pending.intent)
    }

    /// Makes a commit again that lost its race, for what is left to do of it in this epoch.
    ///
    /// # Errors
    /// As the command that it repeats.
    pub fn retry(&mut self, intent: &Intent) -> Result<Retried> {
        let intent = match intent {
            Intent::Admit(cards) => {
                let is_out = |(card, _): &&(Card, Role)| self.member(&card.id()).is_none();
                let out: Vec<_> = cards.iter().filter(is_out).cloned().collect();
                if out.is_empty() {
                    return Ok(Retried::Done);
                }
                return self.admit_all(&out).map(Retried::Admission);
            }
            Intent::Remove(members) => {
                let here: Vec<_> = members.iter().copied().filter(|id| self.member(id).is_some()).collect();
                if here.is_empty() {
                    return Ok(Retried::Done);
                }
                Intent::Remove(here)
            }
            Intent::SetRole(id, role) => match self.member(id) {
                Some(member) if member.role != *role => Intent::SetRole(*id, *role),
                _ => return Ok(Retried::Done),
            },
            Intent::Retitle(title) if *title == self.settings().title() => return Ok(Retried::Done),
            other => other.clone(),
        };
        Ok(Retried::Commit(self.carry_out(intent)?.commit))
    }

    /// Makes the commit for `intent` and keeps it pending.
    fn carry_out(&mut self, intent: Intent) -> Result<Bundle> {
        let committer = self.group()?.me();
        if self.pending.is_some() {
            return Err(Error::CommitPending { epoch: self.epoch });
        }
        let mut after = self.charter.clone();
        let (mut adds, mut removes) = (Vec::new(), BTreeSet::new());
        match &intent {
            Intent::Admit(cards) => {
                if cards.is_empty() {
                    return Err(Error::Unusable { what: "cards", why: "there are none: give at least one" });
                }
                for (card, role) in cards {
                    // A key that is in the room keeps its role; the check below refuses it by name.
                    if self.member(&card.id()).is_none() {
                        after.set_role(card.id(), *role);
                    }
                    adds.push(card);
                }
            }
            Intent::Remove(members) => {
                if members.is_empty() {
                    return Err(Error::Unusable { what: "members", why: "there are none: name at least one" });
                }
                for id in members {
                    removes.insert(self.expect_member(id)?.leaf);
                    after.set_role(*id, Role::Listener);
                }
            }
            Intent::SetRole(id, role) => {
                if self.expect_member(id)?.role == *role {
                    return Err(Error::Unusable { what: "role", why: "they have it already: nothing is to be done" });
                }
                after.set_role(*id, *role);
            }
            Intent::Retitle(title) => {
                if *title == *self.settings().title() {
                    return Err(Error::Unusable { what: "title", why: "it is the room's title already" });
                }
                after.settings = after.settings.with_title(title)?;
            }
            Intent::Refresh => {}
        }
        let charter = (after != self.charter).then_some(after);

        let proposed = Proposed {
            committer,
            adds: adds
                .iter()
                .map(|card| Newcomer {
                    id: Some(card.id()),
                    name: Some(card.name().to_owned()),
                    capable: true,
                    proof: None,
                })
                .collect(),
            removes: removes.iter().copied().collect(),
            charter: charter.clone().map(Ok),
            other_extensions_kept: true,
            path: None,
            foreign: None,
        };
        let verdict = judge(&self.roster, &self.charter, proposed).map_err(|denial| Error::Denied(Box::new(denial)))?;

        let plan = Plan {
            tree_apart: self.roster.len() + adds.len() > TREE_APART,
            adds,
            removes: removes.into_iter().collect(),
            charter: charter.as_ref(),
        };
        let group = open(&mut self.group, self.epoch)?;
        let bundle =
            group.commit(&self.identity, &plan).and_then(Bundle::fits).inspect_err(|_| group.clear_pending())?;
        self.pending = Some(Pending::new(&bundle.commit, intent, verdict));
        Ok(bundle)
    }

    fn expect_member(&self, id: &MemberId) -> Result<&crate::Member> {
        self.member(id).ok_or_else(|| Error::NotAMember { who: id.to_string(), epoch: self.epoch })
    }
}
