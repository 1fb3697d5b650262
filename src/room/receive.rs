//! Receiving: the one way a room changes.
//!
//! Reading, checking and merging a commit are one step here, for openmls reads each message once: one that was
//! read and not merged could not be read again.

use std::{
    collections::{BTreeMap, VecDeque},
    mem,
    time::Duration,
};

use sha2::{Digest as _, Sha256};

use crate::{
    error::{Error, Item, Result},
    identity::{LeafIndex, MemberId},
    room::{
        Event, Intent, MAX_MESSAGE, Room, check_size,
        command::{SAID_LEAVE, SAID_VERSION},
        epoch_keys,
        group::{Incoming, Staged},
        judge::{Change, Proposed, Verdict, denial, judge},
        open,
        roster::Roster,
    },
};

/// A commit of one's own on its way.
pub(super) struct Pending {
    pub(super) hash: Hash,
    pub(super) intent: Intent,
    verdict: Verdict,
}

impl Pending {
    pub(super) fn new(commit: &[u8], intent: Intent, verdict: Verdict) -> Self {
        Self { hash: hash(commit), intent, verdict }
    }
}

impl Room {
    /// Takes the next message of the relay's order, one's own included, at the monotonic time `now`.
    ///
    /// A commit that the policy refuses is [`Event::Refused`] and changes nothing. A message of one's own that
    /// has nothing more to say gives no events.
    ///
    /// # Errors
    /// The room is as it was: [`Error::TooLarge`] above [`MAX_MESSAGE`]; [`Error::Malformed`];
    /// [`Error::WrongEpoch`]; [`Error::Unauthentic`] (of another room, damaged, seen before);
    /// [`Error::Unusable`] if it is a commit of one's own that was abandoned: others go on without you;
    /// [`Error::Closed`] once one is out.
    pub fn receive(&mut self, message: &[u8], now: Duration) -> Result<Vec<Event>> {
        check_size(Item::Message, message, MAX_MESSAGE)?;
        self.group()?;
        let hash = hash(message);
        if let Some(pending) = self.pending.take_if(|pending| pending.hash == hash) {
            let group = open(&mut self.group, self.epoch)?;
            group.merge_pending()?;
            return self.advance(pending.verdict, None, now);
        }
        match self.echoes.find(&hash) {
            None => {}
            Some(Echo::Abandoned { epoch }) if epoch == self.epoch => {
                let why = "the relay has taken a commit that you abandoned: the others go on without you; \
                           ask a host to admit you again";
                return Err(Error::Unusable { what: "Room::abandon", why });
            }
            Some(Echo::Idle | Echo::Abandoned { .. }) => return Ok(Vec::new()),
        }

        let group = open(&mut self.group, self.epoch)?;
        match group.read(message)? {
            Incoming::Commit(staged, proposed) => self.weigh(staged, proposed, now),
            Incoming::Said { from, epoch, content } => self.hear(from, epoch, &content),
            Incoming::Foreign { from, what } => {
                let actor = from.and_then(|leaf| self.roster.at(leaf));
                let name = actor.map_or("somebody", |member| member.name.as_str());
                let why = denial(name, what, "no room takes that; use admit, remove, set_role and refresh");
                Ok(vec![Event::Refused { actor: actor.map(|member| member.id), why }])
            }
        }
    }

    /// Merges another's commit, if the policy allows it.
    fn weigh(&mut self, staged: Staged, proposed: Proposed, now: Duration) -> Result<Vec<Event>> {
        let actor = self.roster.at(proposed.committer).map(|member| member.id);
        let verdict = match judge(&self.roster, &self.charter, proposed) {
            Ok(verdict) => verdict,
            Err(why) => return Ok(vec![Event::Refused { actor, why }]),
        };
        if staged.removes_me() {
            let asked = self.leaving.contains(&self.identity.id());
            self.close();
            return Ok(vec![Event::Closed { by: verdict.by, asked }]);
        }
        let group = open(&mut self.group, self.epoch)?;
        group.merge(staged)?;
        let lost = self.pending.take().map(|pending| {
            self.echoes.lost(pending.hash);
            pending.intent
        });
        self.advance(verdict, lost, now)
    }

    /// Takes what somebody said.
    fn hear(&mut self, from: LeafIndex, epoch: u64, content: &[u8]) -> Result<Vec<Event>> {
        // A leaf is handed on once free: who sits there must have said it.
        let Some(member) = self.roster.at_since(from, epoch) else {
            return Err(Error::WrongEpoch { what: Item::Message, message: epoch, room: self.epoch });
        };
        let malformed = |why| Err(Error::Malformed { what: Item::Message, why });
        match content {
            [SAID_VERSION, SAID_LEAVE, id @ ..] if id.len() == 16 => {
                let member = member.id;
                Ok(if self.leaving.insert(member) { vec![Event::WantsToLeave { member }] } else { Vec::new() })
            }
            [SAID_VERSION, SAID_LEAVE, ..] => malformed("its id is not 16 bytes"),
            [] => malformed("it is empty"),
            // A later version says more than this one understands.
            _ => Ok(Vec::new()),
        }
    }

    /// Enters the epoch that the group has just entered.
    fn advance(&mut self, verdict: Verdict, lost: Option<Intent>, now: Duration) -> Result<Vec<Event>> {
        let Verdict { by, mut changes, charter } = verdict;
        if let Some(charter) = charter {
            self.charter = charter;
        }
        let group = self.group()?;
        let (epoch, code, seats) = (group.epoch(), group.code(), group.seats()?);
        (self.epoch, self.code, self.since) = (epoch, code, now);
        let before = mem::take(&mut self.roster);
        self.roster = Roster::new(seats, &self.charter, epoch, &before);

        let keys = epoch_keys(self.group()?, &self.charter, &self.roster, now)?;
        let mut events = vec![Event::Rekeyed(keys)];
        events.extend(lost.map(|intent| Event::Superseded { by, intent }));
        self.put_in_order(&mut changes);
        for change in changes {
            let event = self.event(change, by);
            events.push(event);
        }
        Ok(events)
    }

    /// Puts changes in an order that all members share: openmls gives back a commit's parts in any.
    fn put_in_order(&self, changes: &mut [Change]) {
        let leaves: BTreeMap<MemberId, LeafIndex> = self.roster().map(|member| (member.id, member.leaf)).collect();
        let leaf = |id: &MemberId| leaves.get(id).copied();
        changes.sort_by_key(|change| match change {
            Change::Removed(member) => (0, Some(member.leaf)),
            Change::Joined(id) => (1, leaf(id)),
            Change::Moved { id, .. } => (2, leaf(id)),
            Change::Retitled | Change::Refreshed => (3, None),
        });
    }

    fn event(&mut self, change: Change, by: MemberId) -> Event {
        match change {
            Change::Joined(member) => Event::Joined { member, by },
            Change::Removed(member) if self.leaving.remove(&member.id) => {
                Event::Left { member: member.id, name: member.name }
            }
            Change::Removed(member) => Event::Removed { member: member.id, name: member.name, by },
            Change::Moved { id, from } => Event::RoleChanged { member: id, from, by },
            Change::Retitled => Event::Retitled { by },
            Change::Refreshed => Event::Refreshed { member: by },
        }
    }

    /// Erases what one has no right to once out.
    fn close(&mut self) {
        self.group = None;
        self.pending = None;
        self.leaving.clear();
    }
}

type Hash = [u8; 32];

fn hash(message: &[u8]) -> Hash {
    Sha256::digest(message).into()
}

/// One's own messages that the relay sends back, by hash: openmls cannot read what it wrote.
#[derive(Default)]
pub(super) struct Echoes {
    /// The oldest first.
    seen: VecDeque<(Hash, Echo)>,
}

#[derive(Clone, Copy)]
enum Echo {
    /// Said already, or lost its race: nothing to do.
    Idle,
    /// Dropped in `epoch` by one's own wish.
    Abandoned { epoch: u64 },
}

impl Echoes {
    /// The most that are kept.
    const MOST: usize = 64;

    pub(super) fn said(&mut self, message: &[u8]) {
        self.push(hash(message), Echo::Idle);
    }

    fn lost(&mut self, hash: Hash) {
        self.push(hash, Echo::Idle);
    }

    pub(super) fn abandoned(&mut self, hash: Hash, epoch: u64) {
        self.push(hash, Echo::Abandoned { epoch });
    }

    fn push(&mut self, hash: Hash, echo: Echo) {
        if self.seen.len() == Self::MOST {
            self.seen.pop_front();
        }
        self.seen.push_back((hash, echo));
    }

    fn find(&self, hash: &Hash) -> Option<Echo> {
        self.seen.iter().rev().find(|(seen, _)| seen == hash).map(|(_, echo)| *echo)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn echoes_are_few_and_the_youngest() {
        let mut echoes = Echoes::default();
        for n in 0..1_000_u32 {
            echoes.said(&n.to_be_bytes());
            assert!(echoes.seen.len() <= Echoes::MOST);
        }
        assert!(echoes.find(&hash(&999_u32.to_be_bytes())).is_some());
        assert!(echoes.find(&hash(&0_u32.to_be_bytes())).is_none());
    }
}
