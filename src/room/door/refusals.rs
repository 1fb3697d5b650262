//! Who was turned away, at which link, and by whom.
//!
//! Whoever was turned away twice at a link is kept off there, by this member's end of the door: it is no rule of the
//! room's, and bans are. So it lasts no longer than what it stands on. A refusal ends with the link, with the office of
//! whoever made it, once the person is in the room, and when somebody who may let in takes it back. Nobody adds one by
//! their word alone: it counts for a knock that this member has held.

use std::collections::BTreeMap;

use super::{KnockId, LinkId};
use crate::{
    bytes::{Reader, Writer},
    error::Result,
    identity::MemberId,
};

/// How many knocks of one person are turned away at a link before they are kept off there.
const PATIENCE: usize = 2;

/// The most people of whom refusals are kept.
const MAX_REFUSED: usize = 4_096;

/// One knock that was turned away.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Refusal {
    pub(super) whose: MemberId,
    pub(super) knock: KnockId,
    pub(super) link: LinkId,
    pub(super) by: MemberId,
}

impl Refusal {
    const LEN: usize = 32 + 16 + 32 + 32;

    pub(super) fn save(&self, out: &mut Writer) {
        out.put(self.whose.as_bytes());
        out.put(self.knock.as_bytes());
        out.put(self.link.as_bytes());
        out.put(self.by.as_bytes());
    }

    pub(super) fn load(saved: &mut Reader<'_>) -> Result<Self> {
        let (whose, knock) = (MemberId::from_bytes(saved.array()?), KnockId(saved.array()?));
        Ok(Self { whose, knock, link: LinkId(saved.array()?), by: MemberId::from_bytes(saved.array()?) })
    }
}

/// All that this member knows of.
#[derive(Default)]
pub(super) struct Refusals {
    /// Of each person at most [`PATIENCE`] for a link.
    by_person: BTreeMap<MemberId, Vec<Refusal>>,
}

impl Refusals {
    /// Counts a refusal, each knock once; gives whether it was the last that its maker had at that link.
    pub(super) fn add(&mut self, refusal: Refusal) -> bool {
        if self.is_kept_off(&refusal.whose, &refusal.link) {
            return false;
        }
        if self.by_person.len() >= MAX_REFUSED && !self.by_person.contains_key(&refusal.whose) {
            self.by_person.pop_first();
        }
        let theirs = self.by_person.entry(refusal.whose).or_default();
        if theirs.iter().any(|known| known.knock == refusal.knock) {
            return false;
        }
        theirs.push(refusal);
        self.is_kept_off(&refusal.whose, &refusal.link)
    }

    /// Whether `whose` has no more tries at `link`.
    pub(super) fn is_kept_off(&self, whose: &MemberId, link: &LinkId) -> bool {
        self.count(whose, link) >= PATIENCE
    }

    /// Whether another refusal would be the last.
    pub(super) fn is_last(&self, whose: &MemberId, link: &LinkId) -> bool {
        self.count(whose, link) + 1 >= PATIENCE
    }

    /// The refusal of that knock.
    pub(super) fn of(&self, whose: &MemberId, knock: &KnockId) -> Option<&Refusal> {
        self.of_person(whose).iter().find(|refusal| refusal.knock == *knock)
    }

    /// Forgets what was held against `whose`; gives whether there was anything.
    pub(super) fn forgive(&mut self, whose: &MemberId) -> bool {
        self.by_person.remove(whose).is_some()
    }

    /// Who is kept off, and at which link.
    pub(super) fn kept_off(&self) -> impl Iterator<Item = (MemberId, LinkId)> {
        self.by_person
            .values()
            .flatten()
            .filter(|refusal| self.ends(refusal))
            .map(|refusal| (refusal.whose, refusal.link))
    }

    /// Whether it was the last that its maker had at that link.
    pub(super) fn ends(&self, refusal: &Refusal) -> bool {
        let theirs = self.of_person(&refusal.whose).iter().filter(|other| other.link == refusal.link);
        theirs.skip(PATIENCE - 1).any(|last| last == refusal)
    }

    /// Keeps those that `stands` says are good.
    pub(super) fn retain(&mut self, stands: impl Fn(&Refusal) -> bool) {
        self.by_person.retain(|_, theirs| {
            theirs.retain(&stands);
            !theirs.is_empty()
        });
    }

    pub(super) fn save(&self, out: &mut Writer) -> Result<()> {
        let all = || self.by_person.values().flatten();
        out.count("refusals", all().count())?;
        all().for_each(|refusal| refusal.save(out));
        Ok(())
    }

    pub(super) fn load(saved: &mut Reader<'_>) -> Result<Self> {
        let mut refusals = Self::default();
        for _ in 0..saved.count(Refusal::LEN)? {
            refusals.add(Refusal::load(saved)?);
        }
        Ok(refusals)
    }

    fn count(&self, whose: &MemberId, link: &LinkId) -> usize {
        self.of_person(whose).iter().filter(|refusal| refusal.link == *link).count()
    }

    fn of_person(&self, whose: &MemberId) -> &[Refusal] {
        self.by_person.get(whose).map_or(&[], Vec::as_slice)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(whose: u16, knock: u8, link: u8) -> Refusal {
        let mut id = [0; 32];
        id[..2].copy_from_slice(&whose.to_be_bytes());
        let by = MemberId::from_bytes([9; 32]);
        Refusal { whose: MemberId::from_bytes(id), knock: KnockId([knock; 16]), link: LinkId([link; 32]), by }
    }

    #[test]
    fn the_second_knock_turned_away_at_a_link_is_the_last_and_counts_at_no_other() {
        let mut refusals = Refusals::default();
        let (first, second) = (refusal(1, 1, 1), refusal(1, 2, 1));
        assert!(!refusals.is_last(&first.whose, &first.link));
        assert!(!refusals.add(first) && !refusals.add(first), "each knock counts once");
        assert!(refusals.is_last(&first.whose, &first.link));
        assert!(!refusals.add(refusal(1, 3, 2)) && !refusals.add(refusal(2, 4, 1)), "another link, another person");
        assert!(refusals.kept_off().next().is_none());
        assert!(refusals.add(second) && !refusals.add(refusal(1, 5, 1)));
        assert!(refusals.ends(&second) && !refusals.ends(&first));
        assert_eq!(refusals.kept_off().collect::<Vec<_>>(), [(first.whose, first.link)]);
        assert_eq!(refusals.of(&first.whose, &second.knock), Some(&second));
        assert!(refusals.forgive(&first.whose) && !refusals.forgive(&first.whose));
        assert!(refusals.kept_off().next().is_none());
    }

    #[test]
    fn so_many_people_are_remembered_and_no_more_and_all_come_back_from_what_is_saved() {
        let mut refusals = Refusals::default();
        let people = |refusals: &Refusals| refusals.by_person.len();
        let most = u16::try_from(MAX_REFUSED).unwrap();
        for n in 0..most {
            refusals.add(refusal(n, 1, 1));
        }
        assert_eq!(people(&refusals), MAX_REFUSED);
        refusals.add(refusal(most, 1, 1));
        assert_eq!(people(&refusals), MAX_REFUSED);
        assert!(refusals.of(&refusal(most, 1, 1).whose, &KnockId([1; 16])).is_some(), "the newest is there");
        let mut out = Writer::default();
        refusals.save(&mut out).unwrap();
        let saved = out.done();
        let again = Refusals::load(&mut Reader::new(crate::error::Item::Snapshot, &saved)).unwrap();
        assert_eq!(again.by_person, refusals.by_person);
    }
}
