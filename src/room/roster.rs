//! The members of one epoch, by leaf and by id.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::OnceLock,
};

use crate::{
    identity::{LeafIndex, Member, MemberId},
    media::{
        Company, Quiet, Speaker,
        seal::{MediaCertificate, Proof},
    },
    room::{charter::Charter, group::DoorKeyPublic},
};

/// Somebody's place in the tree, as the group layer reports it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Seat {
    pub(crate) leaf: LeafIndex,
    pub(crate) id: MemberId,
    pub(crate) name: String,
    /// The key that path secrets are encrypted to: another with each commit of theirs that has a path.
    pub(crate) key: [u8; 32],
    /// Their door key, if their leaf certifies one: only who has one can read knocks.
    pub(crate) door: Option<DoorKeyPublic>,
    /// The date their leaf says; 0 if it says none.
    pub(crate) date: u64,
    /// Their media keys as their leaf has them; whether they are theirs is not checked here.
    pub(crate) media: Option<Box<MediaCertificate>>,
    /// Whether a commit of theirs made the leaf, so that their signature over it names this group (RFC 9420 §7.2). That
    /// of a card's leaf names none: whoever has kept the card can bring it into any room.
    pub(crate) bound: bool,
}

/// What a commit did to the leaves of the tree.
#[derive(Default, Debug)]
pub(crate) struct Shift {
    /// Whose leaf is gone, or is another's since.
    pub(crate) removed: BTreeSet<LeafIndex>,
    /// The leaf of whoever made it, if it has other keys since.
    pub(crate) renewed: Option<Seat>,
    /// Whether there are leaves that were not there, or are another's.
    pub(crate) has_added: bool,
}

/// Everybody who can decrypt in one epoch, and nobody else: it is read off the ratchet tree.
#[derive(Clone, Default)]
pub(crate) struct Roster {
    seats: BTreeMap<LeafIndex, Sitting>,
    leaves: BTreeMap<MemberId, LeafIndex>,
    /// Who they are for the media plane, until that changes.
    company: OnceLock<Company>,
}

#[derive(Clone)]
struct Sitting {
    member: Member,
    /// The epoch since which that leaf is theirs, as far as this room has seen.
    since: u64,
    key: [u8; 32],
    door: Option<DoorKeyPublic>,
    date: u64,
    /// Their media keys, in their leaf and bound as the room wants it.
    certificate: Option<Box<MediaCertificate>>,
    /// Whether it was found that those keys are theirs, or that they are not. Nobody asks before they are on stage.
    is_certified: Option<bool>,
    is_on_stage: bool,
}

impl Sitting {
    /// What the charter says of them.
    fn stand(&mut self, charter: &Charter, hosted: bool) {
        let id = self.member.id;
        let standing = charter.standing(&id);
        (self.member.role, self.member.muted_by) = (standing.role, standing.muted_by);
        self.is_on_stage = charter.off_stage(&id, hosted).is_none();
        if self.is_on_stage && self.is_certified.is_none() {
            self.is_certified = self.certificate.as_ref().map(|certificate| certificate.is_of(&id, &self.member.name));
        }
    }

    fn media(&self) -> Option<&MediaCertificate> {
        self.certificate.as_deref().filter(|_| self.is_on_stage && self.is_certified == Some(true))
    }
}

impl Roster {
    /// The roster of `epoch`, all of whose leaves are theirs since then as far as this room has seen.
    ///
    /// The certificates of media keys are checked here for those on stage, and once: members have refused false ones
    /// as they came, but who enters takes nobody's word for what is in the tree. Keys that are published one day count
    /// only in a leaf that is bound to this group: an old card would bring them along after that.
    pub(crate) fn new(seats: Vec<Seat>, charter: &Charter, epoch: u64) -> Self {
        let mut roster = Self::default();
        roster.seat(seats, charter, epoch, None);
        roster
    }

    /// Follows a commit that was judged into `epoch`: what it did to the leaves, those that are not as they were, the charter, and what
    /// that was before if it is another. What did not change is not looked at.
    pub(crate) fn follow(
        &mut self,
        shift: &Shift,
        changed: Vec<Seat>,
        before: Option<&Charter>,
        after: &Charter,
        epoch: u64,
    ) {
        if shift.has_added || !shift.removed.is_empty() {
            self.company.take();
        }
        for leaf in &shift.removed {
            if let Some(gone) = self.seats.remove(leaf) {
                self.leaves.remove(&gone.member.id);
            }
        }
        // A commit with media keys that are not their owner's is refused.
        self.seat(changed, after, epoch, Some(true));
        let Some(before) = before else { return };
        let hosted = after.hosts() > 0;
        if before.settings.speaking() != after.settings.speaking() || (before.hosts() > 0) != hosted {
            self.company.take();
            self.seats.values_mut().for_each(|sitting| sitting.stand(after, hosted));
            return;
        }
        for id in before.standings_unlike(after) {
            self.company.take();
            if let Some(sitting) = self.leaves.get(&id).and_then(|leaf| self.seats.get_mut(leaf)) {
                sitting.stand(after, hosted);
            }
        }
    }

    /// Puts members at their leaves. Who sat there before keeps the date of that. `is_certified` is what is known of their
    /// media keys.
    fn seat(&mut self, seats: Vec<Seat>, charter: &Charter, epoch: u64, is_certified: Option<bool>) {
        let hosted = charter.hosts() > 0;
        let counts_unbound = charter.settings.seals().proof == Proof::Evidence;
        for Seat { leaf, id, name, key, door, date, media, bound } in seats {
            let before = self.seats.get(&leaf).filter(|sitting| sitting.member.id == id);
            let since = before.map_or(epoch, |sitting| sitting.since);
            let certificate = media.filter(|_| bound || counts_unbound);
            let standing = charter.standing(&id);
            let member = Member { id, name, role: standing.role, leaf, muted_by: standing.muted_by };
            let mut sitting = Sitting { member, since, key, door, date, certificate, is_certified, is_on_stage: false };
            sitting.stand(charter, hosted);
            self.leaves.insert(id, leaf);
            self.seats.insert(leaf, sitting);
        }
    }

    /// Since which epoch `id` sits where they do, as far as this room has seen.
    pub(crate) fn since(&self, id: &MemberId) -> Option<u64> {
        self.of(id).map(|sitting| sitting.since)
    }

    /// Who sits where they do since `epoch`.
    pub(crate) fn came_in(&self, epoch: u64) -> impl Iterator<Item = MemberId> {
        self.seats.values().filter(move |sitting| sitting.since == epoch).map(|sitting| sitting.member.id)
    }

    pub(crate) fn members(&self) -> impl ExactSizeIterator<Item = &Member> {
        self.seats.values().map(|sitting| &sitting.member)
    }

    pub(crate) fn len(&self) -> usize {
        self.seats.len()
    }

    pub(crate) fn at(&self, leaf: LeafIndex) -> Option<&Member> {
        self.seats.get(&leaf).map(|sitting| &sitting.member)
    }

    /// Since which epoch each leaf is whose it is.
    pub(crate) fn dates(&self) -> impl ExactSizeIterator<Item = (LeafIndex, u64)> {
        self.seats.iter().map(|(leaf, sitting)| (*leaf, sitting.since))
    }

    /// Dates the leaves as [`dates`](Self::dates) gave them.
    pub(crate) fn date(&mut self, dates: &BTreeMap<LeafIndex, u64>) {
        for (leaf, sitting) in &mut self.seats {
            sitting.since = dates.get(leaf).copied().unwrap_or(sitting.since);
        }
    }

    pub(crate) fn find(&self, id: &MemberId) -> Option<&Member> {
        self.of(id).map(|sitting| &sitting.member)
    }

    /// What the leaf of `id` says for words to be held against: its door key, and its date.
    pub(crate) fn dated_leaf(&self, id: &MemberId) -> (Option<DoorKeyPublic>, u64) {
        self.of(id).map_or((None, 0), |sitting| (sitting.door, sitting.date))
    }

    /// The door key of `id`, if their leaf certifies one.
    pub(crate) fn door_key(&self, id: &MemberId) -> Option<DoorKeyPublic> {
        self.of(id)?.door
    }

    /// The key that path secrets are encrypted to at the leaf of `id`.
    pub(crate) fn key(&self, id: &MemberId) -> Option<&[u8; 32]> {
        self.of(id).map(|sitting| &sitting.key)
    }

    /// Everybody, with those keys.
    pub(crate) fn keys(&self) -> impl Iterator<Item = (&Member, &[u8; 32])> {
        self.seats.values().map(|sitting| (&sitting.member, &sitting.key))
    }

    /// The media keys of `id`, if they are on stage and their leaf certifies any.
    pub(crate) fn media_keys(&self, id: &MemberId) -> Option<&MediaCertificate> {
        self.of(id)?.media()
    }

    /// Who is on stage and who is not, and why, in the order of leaves. Of an epoch that changes nothing of that it is what
    /// it was.
    pub(crate) fn company(&self, charter: &Charter) -> Company {
        let gather = || {
            let (hosted, mut stage, mut offstage) = (charter.hosts() > 0, Vec::new(), Vec::new());
            for Member { id, leaf, .. } in self.members() {
                match charter.off_stage(id, hosted) {
                    None => stage.push(Speaker { leaf: *leaf, id: *id }),
                    Some(why) => offstage.push(Quiet { leaf: *leaf, id: *id, why }),
                }
            }
            Company::new(stage, offstage)
        };
        self.company.get_or_init(gather).clone()
    }

    /// Who seals in this epoch, and by which keys.
    pub(crate) fn sealing(&self) -> impl Iterator<Item = (&Member, &MediaCertificate)> {
        self.seats.values().filter_map(|sitting| Some((&sitting.member, sitting.media()?)))
    }

    fn of(&self, id: &MemberId) -> Option<&Sitting> {
        self.seats.get(self.leaves.get(id)?)
    }
}
