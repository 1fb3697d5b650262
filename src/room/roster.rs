//! The members of one epoch, in order of their leaves.

use std::collections::BTreeMap;

use crate::{
    identity::{LeafIndex, Member, MemberId},
    media::seal::{MediaCertificate, Proof},
    room::{charter::Charter, group::DoorKeyPublic, judge::Change},
};

/// Somebody's place in the tree, as the group layer reports it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Seat {
    pub(crate) leaf: LeafIndex,
    pub(crate) id: MemberId,
    pub(crate) name: String,
    /// Their door key, if their leaf certifies one: only who has one can read knocks.
    pub(crate) door: Option<DoorKeyPublic>,
    /// The date their leaf says; 0 if it says none.
    pub(crate) date: u64,
    /// Their media keys as their leaf has them; whether they are theirs is not checked here.
    pub(crate) media: Option<MediaCertificate>,
    /// Whether a commit of theirs made the leaf, so that their signature over it names this group (RFC 9420 §7.2). That
    /// of a card's leaf names none: whoever has kept the card can bring it into any room.
    pub(crate) bound: bool,
}

/// Everybody who can decrypt in one epoch, and nobody else: it is read off the ratchet tree.
#[derive(Clone, Debug, Default)]
pub(crate) struct Roster {
    /// Ascending by leaf.
    seats: Vec<Sitting>,
}

#[derive(Clone, Debug)]
struct Sitting {
    member: Member,
    /// The epoch since which that leaf is theirs, as far as this room has seen.
    since: u64,
    door: Option<DoorKeyPublic>,
    date: u64,
    /// Their media keys, if they are on stage and the keys are theirs.
    media: Option<MediaCertificate>,
}

impl Roster {
    /// The roster of `epoch`; who sat at the same leaf in `before` keeps the date of that.
    ///
    /// The certificates of media keys are checked here for those on stage, and once: members have refused false ones
    /// as they came, but who enters takes nobody's word for what is in the tree. Keys that are published one day count
    /// only in a leaf that is bound to this group: an old card would bring them along after that.
    pub(crate) fn new(seats: Vec<Seat>, charter: &Charter, epoch: u64, before: &Self) -> Self {
        let hosted = charter.hosts() > 0;
        let mut seats: Vec<Sitting> = seats
            .into_iter()
            .map(|Seat { leaf, id, name, door, date, media, bound }| {
                let before = before.seat(leaf).filter(|sitting| sitting.member.id == id);
                let since = before.map_or(epoch, |sitting| sitting.since);
                let media =
                    media.filter(|_| bound || charter.settings.seals().proof == Proof::Evidence).filter(|media| {
                        let known =
                            before.is_some_and(|before| before.media == Some(*media) && before.member.name == name);
                        charter.off_stage(&id, hosted).is_none() && (known || media.is_of(&id, &name))
                    });
                let standing = charter.standing(&id);
                let member = Member { id, name, role: standing.role, leaf, muted_by: standing.muted_by };
                Sitting { member, since, door, date, media }
            })
            .collect();
        seats.sort_unstable_by_key(|sitting| sitting.member.leaf);
        Self { seats }
    }

    /// Forgets whoever `changes` brought in: they sit there since the next epoch only, if they sat there before.
    pub(crate) fn forget_who_came(&mut self, changes: &[Change]) {
        for change in changes {
            if let Change::CameBack(id) | Change::Joined { id, .. } = change {
                self.seats.retain(|sitting| sitting.member.id != *id);
            }
        }
    }

    /// Since which epoch `id` sits where they do, as far as this room has seen.
    pub(crate) fn since(&self, id: &MemberId) -> Option<u64> {
        self.of(id).map(|sitting| sitting.since)
    }

    /// Who sits where they do since `epoch`.
    pub(crate) fn came_in(&self, epoch: u64) -> impl Iterator<Item = MemberId> {
        self.seats.iter().filter(move |sitting| sitting.since == epoch).map(|sitting| sitting.member.id)
    }

    pub(crate) fn members(&self) -> impl ExactSizeIterator<Item = &Member> {
        self.seats.iter().map(|sitting| &sitting.member)
    }

    pub(crate) fn len(&self) -> usize {
        self.seats.len()
    }

    pub(crate) fn at(&self, leaf: LeafIndex) -> Option<&Member> {
        self.seat(leaf).map(|sitting| &sitting.member)
    }

    /// Since which epoch each leaf is whose it is.
    pub(crate) fn dates(&self) -> impl ExactSizeIterator<Item = (LeafIndex, u64)> {
        self.seats.iter().map(|sitting| (sitting.member.leaf, sitting.since))
    }

    /// Dates the leaves as [`dates`](Self::dates) gave them.
    pub(crate) fn date(&mut self, dates: &BTreeMap<LeafIndex, u64>) {
        for sitting in &mut self.seats {
            sitting.since = dates.get(&sitting.member.leaf).copied().unwrap_or(sitting.since);
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

    /// The media keys of `id`, if they are on stage and their leaf certifies any.
    pub(crate) fn media_keys(&self, id: &MemberId) -> Option<&MediaCertificate> {
        self.of(id)?.media.as_ref()
    }

    /// Who seals in this epoch, and by which keys.
    pub(crate) fn sealing(&self) -> impl Iterator<Item = (&Member, &MediaCertificate)> {
        self.seats.iter().filter_map(|sitting| Some((&sitting.member, sitting.media.as_ref()?)))
    }

    fn of(&self, id: &MemberId) -> Option<&Sitting> {
        self.seats.iter().find(|sitting| sitting.member.id == *id)
    }

    fn seat(&self, leaf: LeafIndex) -> Option<&Sitting> {
        let at = self.seats.binary_search_by_key(&leaf, |sitting| sitting.member.leaf).ok()?;
        self.seats.get(at)
    }
}
