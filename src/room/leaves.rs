//! Letting go: the commit that puts out those who asked to leave.
//!
//! Nobody can remove themselves from an MLS group, so somebody else makes a commit of it. An evening ends for many at
//! once: those who ask within [`LEAVES_WAIT`] go by one commit, and of all who may make it the first does
//! ([`STAGGER`](crate::room::STAGGER)). Until then they hold the keys, as they do until their commit is merged: whoever
//! must be out at once is removed ([`Room::remove`]) or banned.

use std::{collections::BTreeMap, time::Duration};

use crate::{
    error::Result,
    identity::MemberId,
    room::{
        Intent, Room,
        policy::{Action, permits},
    },
};

/// How long those who asked to leave are gathered, so that one commit lets them all go.
pub const LEAVES_WAIT: Duration = Duration::from_secs(5);

/// When those asked who are leaving, as this member heard it.
#[derive(Default)]
pub(super) struct Leaves {
    heard: BTreeMap<MemberId, Duration>,
}

impl Leaves {
    /// Those who are leaving at `now` are `leaving`.
    pub(super) fn hear<'a>(&mut self, leaving: impl ExactSizeIterator<Item = &'a MemberId> + Clone, now: Duration) {
        if self.heard.is_empty() && leaving.len() == 0 {
            return;
        }
        if self.heard.len() == leaving.len() && leaving.clone().all(|id| self.heard.contains_key(id)) {
            return;
        }
        let before = std::mem::take(&mut self.heard);
        // A clock that was set back keeps nobody longer than all of the wait.
        let since = |id: &MemberId| before.get(id).map_or(now, |heard| now.min(*heard));
        self.heard = leaving.map(|id| (*id, since(id))).collect();
    }
}

impl Room {
    /// The commit that lets go all who asked to leave ([`Event::WantsToLeave`](crate::Event)) and whom this member may
    /// remove, once [`LEAVES_WAIT`] has passed since the first of them asked; `None` if there is none, it is too soon, or
    /// a commit of one's own is on its way. [`Room::next_duty`] tells when to call it.
    ///
    /// Hosts and moderators make it, the senior first, and each waits [`STAGGER`](crate::room::STAGGER) for everybody
    /// before them. In a room without a host anybody may let go a host who has left, or who left after them, by leaf.
    /// If it loses its race they are still leaving, and the next call takes them: there is nothing to
    /// [retry](Room::retry).
    ///
    /// # Errors
    /// As [`Room::remove_all`].
    pub fn let_go(&mut self, now: Duration) -> Result<Option<Vec<u8>>> {
        self.group()?;
        self.leaves.hear(self.leaving.iter(), now);
        if self.is_pending() || self.letting_go_due(now).is_none_or(|due| due > now) {
            return Ok(None);
        }
        let going = self.to_let_go();
        let commit = self.commit(Intent::Remove(going))?;
        let order = self.letters_go();
        self.stagger.steps_in(&order, &self.identity.id());
        Ok(Some(commit))
    }

    /// When [`Room::let_go`] gives a commit, by a clock that shows `now`.
    pub(super) fn letting_go_due(&self, now: Duration) -> Option<Duration> {
        let first = self.to_let_go().iter().map(|id| self.leaves.heard.get(id).map_or(now, |at| now.min(*at))).min()?;
        let wait = self.stagger.wait(&self.letters_go(), &self.identity.id());
        Some(first.saturating_add(LEAVES_WAIT).saturating_add(wait))
    }

    /// Who is leaving and may be removed by this member.
    fn to_let_go(&self) -> Vec<MemberId> {
        let me = self.identity.id();
        let role = self.charter.role(&me);
        let may_remove = |id: &&MemberId| {
            let is_let_go = self.charter.hosts() == 0 && self.charter.standing(id).leaving;
            let action = if is_let_go { Action::LetGo } else { Action::Remove { role: self.charter.role(id) } };
            **id != me && permits(role, action).is_ok()
        };
        self.leaving.iter().filter(may_remove).copied().collect()
    }

    /// Whose it is to let go, in order: of those who stay.
    fn letters_go(&self) -> Vec<MemberId> {
        let mut order = if self.charter.hosts() > 0 {
            self.charter.in_charge()
        } else {
            self.roster().map(|member| member.id).collect()
        };
        order.retain(|id| !self.leaving.contains(id));
        order
    }
}
