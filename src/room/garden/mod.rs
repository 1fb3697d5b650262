//! The garden: members who are asked to commit, so that everybody's commits cost less.
//!
//! Whoever comes in by another's commit leaves the nodes above them blank, and so does whoever goes; a commit with a path
//! seals to each leaf below a blank node ([`Shape`]). In a room of a thousand that a crowd has filled that is 82 kB a
//! commit. One commit with a path by each of ten members spread over the tree makes it 1.5 kB.
//!
//! So a host or a moderator whose own commit has a path, and costs much, *names* up to sixteen members by it, in the
//! room's charter ([`Garden`]). Each of them makes one commit within the next seconds: whoever's costs least comes first,
//! each at a random moment of their half second. The rule that bounds how many commits in a row listeners make
//! ([`MAX_STREAK`](super::judge::MAX_STREAK)) does not count theirs.
//!
//! ```text
//!   host                        relay                      named members
//!    │ a commit that names six    │                          │
//!    ├───────────────────────────►│─────────────────────────►│ each waits 0 to 3 s, in turn
//!    │◄───────────────────────────│◄─────────────────────────┤ a commit
//!    │◄───────────────────────────│◄─────────────────────────┤ a commit …
//! ```
//!
//! The charter names them, and not a word of the host's, so that all members of an epoch judge alike: a word may reach some
//! and not others. They are named by the first halves of the keys of their leaves, which their commit replaces; and no leaf
//! takes a key that begins with a name. So each name is good for one commit of one member, also in the eyes of who came in
//! since. A hostile host can name friends who win races against a removal. What that comes to is bounded: there are at most
//! [`MAX_GARDENERS`] names, good for [`GARDEN_EPOCHS`] epochs, each of a leaf whose commit makes others' cost less.

mod shape;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

pub(crate) use self::shape::Shape;
use crate::{
    identity::{LeafIndex, MemberId},
    random,
    room::{
        Room,
        charter::Charter,
        draft::Draft,
        policy::{Action, permits},
        roster::Roster,
    },
};

/// The most members who are asked at a time.
pub(crate) const MAX_GARDENERS: usize = 16;

/// For how many epochs a name is good.
pub(crate) const GARDEN_EPOCHS: u64 = 64;

/// In a smaller room nobody is asked: there is little to gain.
const SMALLEST: usize = 32;

/// How far apart those who are named commit.
const PACE: Duration = Duration::from_millis(500);

/// How long a host waits after the last who came in, for there may be more: at most [`PATIENCE`] in all.
const SETTLED: Duration = Duration::from_secs(2);
const PATIENCE: Duration = Duration::from_secs(10);

/// How long those who are named have before they are asked once more, and then others in their place.
const ANSWERED_WITHIN: Duration = Duration::from_secs(15);

/// How much later each other who may ask does so, in the order of their office.
const STAGGER: Duration = Duration::from_secs(3);

/// How long whoever was asked and did nothing is left in peace, and of how many that is known.
const PEACE: Duration = Duration::from_secs(10 * 60);
const MAX_IDLE: usize = 256;

/// The bytes of one more ciphertext in a commit, about.
const CIPHERTEXT: usize = 82;

/// A leaf, by the first half of the key that path secrets are encrypted to there.
pub(crate) type LeafName = [u8; 16];

/// The name of a leaf with that key.
pub(crate) fn name_of(key: &[u8; 32]) -> LeafName {
    let mut name = [0; 16];
    name.copy_from_slice(&key[..16]);
    name
}

/// Who is asked to commit, as the charter says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Garden {
    /// The first epoch in which nobody is asked any more.
    pub(crate) until: u64,
    /// Never empty, and at most [`MAX_GARDENERS`].
    pub(crate) names: BTreeSet<LeafName>,
}

impl Garden {
    /// Whether the member is named at whose leaf that key is.
    pub(crate) fn has(&self, key: &[u8; 32]) -> bool {
        self.names.contains(&name_of(key))
    }

    /// Whether `member` is asked, and has not committed since.
    pub(crate) fn names(&self, member: &MemberId, roster: &Roster, epoch: u64) -> bool {
        epoch < self.until && roster.key(member).is_some_and(|key| self.has(key))
    }
}

/// This member's part in it. Nothing of it outlives the process.
#[derive(Default)]
pub(super) struct Gardening {
    /// When this member, who is named, commits; and how many were named and had not when that was decided.
    turn: Option<(Duration, usize)>,
    /// Since when it is worth while that this member asks others.
    dear: Option<Duration>,
    /// When somebody last came in.
    grown: Option<Duration>,
    /// Who is asked and has not committed, and since when: of this member's commits or another's.
    asked: BTreeMap<LeafName, Duration>,
    /// Who was asked and did nothing, and when that was found.
    idle: BTreeMap<LeafName, Duration>,
    /// How many times in a row nobody came who was asked.
    in_vain: u32,
}

impl Gardening {
    /// How long those who are asked have: longer where nobody came the last times.
    fn patience(&self) -> Duration {
        ANSWERED_WITHIN * (1 << self.in_vain.min(6))
    }

    /// Whether somebody was asked a moment ago who has yet to commit.
    fn waits(&self, now: Duration) -> bool {
        self.asked.values().any(|since| now.saturating_sub(*since) < self.patience())
    }

    /// Follows who is asked in this epoch and has yet to commit; who was asked before and `is_there` still has not.
    fn follow(&mut self, asked: &BTreeSet<LeafName>, is_there: impl Fn(&LeafName) -> bool, now: Duration) {
        self.idle.retain(|_, since| now.saturating_sub(*since) < PEACE);
        let (before, patience) = (std::mem::take(&mut self.asked), self.patience());
        let (left, came): (BTreeMap<_, _>, BTreeMap<_, _>) = before.into_iter().partition(|(name, _)| is_there(name));
        let is_late = |since: &Duration| now.saturating_sub(*since) >= patience;
        let idle: Vec<_> = left.iter().filter(|(_, since)| is_late(since)).map(|(name, _)| (*name, now)).collect();
        if !came.is_empty() {
            self.in_vain = 0;
        } else if !idle.is_empty() {
            self.in_vain = self.in_vain.saturating_add(1);
        }
        self.idle.extend(idle);
        while self.idle.len() > MAX_IDLE {
            self.idle.pop_first();
        }
        self.asked = asked.iter().map(|name| (*name, left.get(name).copied().unwrap_or(now))).collect();
    }
}

impl Room {
    /// Who is asked to commit, so that others' commits cost less, and has not done so yet: each of them by
    /// [`Room::refresh_due`]. Named by a host's or a moderator's commit, at most sixteen at a time.
    pub fn gardeners(&self) -> impl Iterator<Item = &MemberId> {
        let garden = self.charter.garden.iter().filter(|garden| self.epoch < garden.until);
        garden.flat_map(|garden| self.roster.keys().filter(|(_, key)| garden.has(key)).map(|(member, _)| &member.id))
    }

    /// Whether this member is asked to commit, and the time has come; or whether it is a good time to ask others.
    pub(super) fn garden_due(&self, now: Duration) -> bool {
        self.gardening.turn.is_some_and(|(turn, _)| now >= turn) || self.planting_due(now)
    }

    fn planting_due(&self, now: Duration) -> bool {
        let Gardening { dear: Some(dear), grown, .. } = &self.gardening else { return false };
        // A clock that was set back makes nobody wait longer than all of it.
        let (dear, grown) = (now.min(*dear), grown.map(|grown| now.min(grown)));
        let settled =
            grown.map_or(dear, |grown| grown.saturating_add(SETTLED).min(dear.saturating_add(PATIENCE))).max(dear);
        let before = self.charter.in_charge().into_iter().position(|id| id == self.identity.id()).unwrap_or(0);
        !self.gardening.waits(now)
            && now >= settled.saturating_add(STAGGER.saturating_mul(u32::try_from(before).unwrap_or(u32::MAX)))
    }

    /// Whether this member is asked to commit.
    pub(super) const fn is_gardener(&self) -> bool {
        self.gardening.turn.is_some()
    }

    /// The race for this member's commit is lost: the next one is at another time, and not at once.
    pub(super) fn tend_later(&mut self, now: Duration) {
        self.gardening.turn = self.gardening.turn.map(|(_, others)| (now.saturating_add(self.some_time()), others));
    }

    /// How long this member, who is asked, waits: a while for everybody whose commit costs less as things are, and a random
    /// part of one, for who has seen other commits counts otherwise. Who sits below the largest blank node comes first, and
    /// makes all later commits cheaper.
    fn some_time(&self) -> Duration {
        let before = self.group.as_ref().map_or(0, |group| {
            let shape = group.shape();
            let of = |leaf: LeafIndex| (shape.cost(leaf), leaf);
            let asked = self.gardeners().filter_map(|id| self.member(id));
            asked.filter(|member| of(member.leaf) < of(group.me())).count()
        });
        // Without randomness somebody may lose a race.
        let dice = random::bytes::<4>().map_or(0, |dice| u32::from_be_bytes(*dice));
        PACE.saturating_mul(u32::try_from(before).unwrap_or(u32::MAX))
            + PACE.mul_f64(f64::from(dice) / f64::from(u32::MAX))
    }

    /// The room is in its next epoch.
    pub(super) fn tend(&mut self, has_grown: bool, now: Duration) {
        if has_grown {
            self.gardening.grown = Some(now);
        }
        let is_asked = self.ground().is_asked(&self.identity.id());
        self.gardening.turn = is_asked.then(|| {
            let others = self.gardeners().count();
            // Each commit of theirs changes what the others' cost.
            let turn = self.gardening.turn.filter(|(_, before)| *before == others);
            turn.unwrap_or_else(|| (now.saturating_add(self.some_time()), others))
        });
        if !self.may_ask() {
            self.gardening =
                Gardening { turn: self.gardening.turn, grown: self.gardening.grown, ..Gardening::default() };
            return;
        }
        let asked = self.gardeners().filter_map(|id| self.roster.key(id)).map(name_of).collect();
        let before: BTreeSet<_> = self.gardening.asked.keys().copied().collect();
        let names = self.roster.keys().map(|(_, key)| name_of(key));
        let there: BTreeSet<_> = names.filter(|name| before.contains(name)).collect();
        self.gardening.follow(&asked, |name| there.contains(name), now);
        let is_worth_while = self.planting(&BTreeSet::new(), &self.charter).is_some();
        self.gardening.dear = is_worth_while.then(|| self.gardening.dear.unwrap_or(now));
    }

    /// Whom the commit of a draft asks, if it asks anybody, and the shape of the tree after it. A commit that only lets people
    /// in has no path, and asks nobody.
    pub(super) fn garden_of(&self, draft: &Draft<'_>) -> Option<(Garden, Shape)> {
        let Draft { adds, removes, after } = draft;
        let has_path = adds.is_empty() || !removes.is_empty() || *after != self.charter;
        if has_path { self.planting(removes, after) } else { None }
    }

    fn may_ask(&self) -> bool {
        permits(self.charter.role(&self.identity.id()), Action::Garden).is_ok() && self.roster.len() >= SMALLEST
    }

    /// Whom a commit of this member's asks that has a path, removes those leaves and leaves the room with that charter, and
    /// the shape of the tree after it; `None` if commits cost little, or nobody is there to ask.
    fn planting(&self, removes: &BTreeSet<LeafIndex>, after: &Charter) -> Option<(Garden, Shape)> {
        let group = self.group.as_ref().filter(|_| self.may_ask())?;
        let shape = group.shape().after(removes, group.me());
        let (cost, least) = (shape.cost(group.me()), shape.depth());
        // By half more than the least, and three.
        if 2 * cost <= 3 * least + 6 {
            return None;
        }
        // A charter of many roles may be longer than all that is saved.
        let saved = usize::try_from(cost - least).unwrap_or(usize::MAX).saturating_mul(CIPHERTEXT);
        after.encode().ok().filter(|charter| charter.len() <= saved)?;
        let name = |leaf: LeafIndex| self.roster.at(leaf).and_then(|it| self.roster.key(&it.id)).map(name_of);
        let can = |leaf: LeafIndex| {
            let is_leaving = self.roster.at(leaf).is_none_or(|member| self.leaving.contains(&member.id));
            !is_leaving && name(leaf).is_some_and(|name| !self.gardening.idle.contains_key(&name))
        };
        let mut names: BTreeSet<_> =
            shape.clone().gardeners(group.me(), can, MAX_GARDENERS).into_iter().filter_map(name).collect();
        // Whoever shares half a key with another is not asked.
        let mut once = BTreeSet::new();
        for name in self.roster.keys().map(|(_, key)| name_of(key)).filter(|name| !once.insert(*name)) {
            names.remove(&name);
        }
        let until = self.epoch.saturating_add(1).saturating_add(GARDEN_EPOCHS);
        (!names.is_empty()).then_some((Garden { until, names }, shape))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_nobody_comes_who_is_asked_others_are_asked_ever_more_seldom_until_somebody_does() {
        let mut gardening = Gardening::default();
        let names = |n: u8| BTreeSet::from([[n; 16], [n + 1; 16]]);
        let (mut now, mut waits) = (Duration::ZERO, Vec::new());
        for round in 0..9 {
            let before: Vec<_> = gardening.asked.keys().copied().collect();
            gardening.follow(&names(2 * round), |_| true, now);
            assert!(before.iter().all(|name| gardening.idle.contains_key(name)), "they are left in peace");
            let begun = now;
            while gardening.waits(now) {
                now += Duration::from_secs(1);
            }
            waits.push((now - begun).as_secs());
        }
        assert_eq!(waits, [15, 30, 60, 120, 240, 480, 960, 960, 960]);
        gardening.follow(&names(100), |name| name[0] != 17, now);
        assert!(
            gardening.waits(now + ANSWERED_WITHIN - Duration::from_secs(1)) && !gardening.waits(now + ANSWERED_WITHIN)
        );
        // After ten minutes those who did nothing may be asked again.
        gardening.follow(&names(100), |_| true, now + PEACE + ANSWERED_WITHIN);
        assert!(gardening.idle.keys().all(|name| name[0] >= 100), "{:?}", gardening.idle);
    }
}
