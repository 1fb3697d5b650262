//! The members of one epoch, in order of their leaves.

use crate::{
    identity::{LeafIndex, Member, MemberId},
    room::charter::Charter,
};

/// Somebody's place in the tree, as the group layer reports it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Seat {
    pub(crate) leaf: LeafIndex,
    pub(crate) id: MemberId,
    pub(crate) name: String,
}

/// Everybody who can decrypt in one epoch, and nobody else: it is read off the ratchet tree.
#[derive(Clone, Debug, Default)]
pub(crate) struct Roster {
    /// Ascending by leaf, each with the epoch since which that leaf is theirs, as far as this room has seen.
    seats: Vec<(Member, u64)>,
}

impl Roster {
    /// The roster of `epoch`; who sat at the same leaf in `before` keeps the date of that.
    pub(crate) fn new(seats: Vec<Seat>, charter: &Charter, epoch: u64, before: &Self) -> Self {
        let mut seats: Vec<(Member, u64)> = seats
            .into_iter()
            .map(|Seat { leaf, id, name }| {
                let since = match before.seat(leaf) {
                    Some((member, since)) if member.id == id => *since,
                    _ => epoch,
                };
                let standing = charter.standing(&id);
                (Member { id, name, role: standing.role, leaf, muted_by: standing.muted_by }, since)
            })
            .collect();
        seats.sort_unstable_by_key(|(member, _)| member.leaf);
        Self { seats }
    }

    pub(crate) fn members(&self) -> impl ExactSizeIterator<Item = &Member> {
        self.seats.iter().map(|(member, _)| member)
    }

    pub(crate) fn len(&self) -> usize {
        self.seats.len()
    }

    pub(crate) fn at(&self, leaf: LeafIndex) -> Option<&Member> {
        self.seat(leaf).map(|(member, _)| member)
    }

    /// Who sits at `leaf`, if they have since `epoch` or longer.
    pub(crate) fn at_since(&self, leaf: LeafIndex, epoch: u64) -> Option<&Member> {
        self.seat(leaf).filter(|(_, since)| *since <= epoch).map(|(member, _)| member)
    }

    pub(crate) fn find(&self, id: &MemberId) -> Option<&Member> {
        self.members().find(|member| member.id == *id)
    }

    fn seat(&self, leaf: LeafIndex) -> Option<&(Member, u64)> {
        let at = self.seats.binary_search_by_key(&leaf, |(member, _)| member.leaf).ok()?;
        self.seats.get(at)
    }
}
