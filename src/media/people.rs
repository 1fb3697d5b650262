//! Everybody in the room in one epoch, by leaf and by id: who is on stage, and why the others are not.
//!
//! Nothing here is asked while frames open, only when one is refused. What an attacker names is looked up, in a time
//! that grows with the logarithm of the roster, and never added.

use std::{sync::Arc, time::Duration};

use crate::{
    identity::{LeafIndex, MemberId},
    media::{OffStage, Quiet, Speaker, hearing::Account},
};

#[derive(Clone, Default)]
pub(super) struct People {
    by_leaf: Arc<[Person]>,
    /// Places in `by_leaf`, in the order of ids.
    by_id: Arc<[u32]>,
}

/// Who is in the room, put in order once for all epochs in which it stays so.
#[derive(Clone)]
pub(crate) struct Company {
    pub(super) stage: Arc<[Speaker]>,
    pub(super) offstage: Arc<[Quiet]>,
    pub(super) people: People,
}

impl Company {
    pub(crate) fn new(stage: Vec<Speaker>, offstage: Vec<Quiet>) -> Self {
        let people = People::new(&stage, &offstage);
        Self { stage: stage.into(), offstage: offstage.into(), people }
    }
}

/// Somebody in the room.
pub(super) struct Person {
    pub(super) leaf: LeafIndex,
    pub(super) id: MemberId,
    /// None for who is on stage.
    pub(super) off_stage: Option<OffStage>,
}

impl People {
    /// Of two at one leaf the first counts, those on stage before the others.
    pub(super) fn new(stage: &[Speaker], offstage: &[Quiet]) -> Self {
        let on = stage.iter().map(|Speaker { leaf, id }| Person { leaf: *leaf, id: *id, off_stage: None });
        let off = offstage.iter().map(|Quiet { leaf, id, why }| Person { leaf: *leaf, id: *id, off_stage: Some(*why) });
        let mut by_leaf: Vec<_> = on.chain(off).collect();
        by_leaf.sort_by_key(|person| person.leaf);
        by_leaf.dedup_by_key(|person| person.leaf);
        // Leaves have 24 bits.
        let mut by_id: Vec<_> = (0_u32..).zip(&by_leaf).map(|(place, person)| (person.id, place)).collect();
        by_id.sort_unstable();
        let by_id = by_id.into_iter().map(|(_, place)| place).collect();
        Self { by_leaf: by_leaf.into(), by_id }
    }

    /// Who sits at a leaf, and their place.
    pub(super) fn at(&self, leaf: LeafIndex) -> Option<(usize, &Person)> {
        let place = self.by_leaf.binary_search_by_key(&leaf, |person| person.leaf).ok()?;
        Some((place, self.by_leaf.get(place)?))
    }

    /// The member of that id, and their place.
    pub(super) fn find(&self, id: &MemberId) -> Option<(usize, &Person)> {
        let found =
            self.by_id.binary_search_by(|place| self.by_leaf.get(*place as usize).map(|it| &it.id).cmp(&Some(id)));
        let place = *self.by_id.get(found.ok()?)? as usize;
        Some((place, self.by_leaf.get(place)?))
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Person> {
        self.by_leaf.iter()
    }

    /// An account for each, by place, begun at `since`.
    pub(super) fn open_accounts(&self, since: Duration) -> Box<[Account]> {
        self.by_leaf.iter().map(|_| Account::begun(since)).collect()
    }

    /// Hands the accounts of those who stay, `from` the epoch before, on `to` this one's, which began at `since`.
    /// Those of who left stay behind.
    pub(super) fn hand_on(&self, before: &Self, from: &mut [Account], to: &mut [Account], since: Duration) {
        // Both in the order of ids, so that each list is gone through once.
        let mut earlier = before.in_order_of_ids().peekable();
        for (place, person) in self.in_order_of_ids() {
            while earlier.next_if(|(_, other)| other.id < person.id).is_some() {}
            if let Some((old_place, earlier)) = earlier.next_if(|(_, other)| other.id == person.id)
                && let (Some(from), Some(to)) = (from.get_mut(old_place), to.get_mut(place))
            {
                *to = std::mem::take(from);
                if earlier.off_stage.is_some() && person.off_stage.is_none() {
                    to.enter_stage(since);
                }
            }
        }
    }

    fn in_order_of_ids(&self) -> impl Iterator<Item = (usize, &Person)> {
        self.by_id.iter().filter_map(|place| Some((*place as usize, self.by_leaf.get(*place as usize)?)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn people(ids: &[(u32, u8)], off: &[(u32, u8)]) -> People {
        let speaker = |(leaf, id): &(u32, u8)| Speaker { leaf: LeafIndex(*leaf), id: MemberId([*id; 32]) };
        let quiet = |at: &(u32, u8)| {
            let Speaker { leaf, id } = speaker(at);
            Quiet { leaf, id, why: OffStage::Listener }
        };
        let (stage, off): (Vec<_>, Vec<_>) = (ids.iter().map(speaker).collect(), off.iter().map(quiet).collect());
        People::new(&stage, &off)
    }

    #[test]
    fn everybody_is_found_by_leaf_and_by_id_and_nobody_else_is() {
        let people = people(&[(9, 1), (2, 7)], &[(4, 3), (2, 8), (0, 250)]);
        for (leaf, id, on_stage) in [(9, 1, true), (2, 7, true), (4, 3, false), (0, 250, false)] {
            let (place, person) = people.at(LeafIndex(leaf)).unwrap();
            assert_eq!((person.id, person.off_stage.is_none()), (MemberId([id; 32]), on_stage));
            assert_eq!(people.find(&MemberId([id; 32])).unwrap().0, place);
        }
        assert!(people.at(LeafIndex(1)).is_none() && people.find(&MemberId([8; 32])).is_none());
        assert_eq!(people.iter().count(), 4, "who stands on the stage is not also off it");
    }

    #[test]
    fn accounts_go_with_their_members_whatever_leaf_they_move_to() {
        let (before, after) = (people(&[(0, 5), (1, 3), (2, 9)], &[]), people(&[(0, 9), (7, 5)], &[(1, 6), (3, 1)]));
        let now = Duration::from_secs(100);
        let mut from = before.open_accounts(now);
        for (account, id) in from.iter_mut().zip([5, 3, 9]) {
            account.open(Duration::from_secs(id));
        }
        let mut to = after.open_accounts(now);
        after.hand_on(&before, &mut from, &mut to, now);
        let heard = |id: u8| {
            let (place, _) = after.find(&MemberId([id; 32])).unwrap();
            to[place].hearing(None, false, || false, now, now).last_heard.map(|ago| (now - ago).as_secs())
        };
        assert_eq!([9, 5, 6, 1].map(heard), [Some(9), Some(5), None, None]);
    }
}
