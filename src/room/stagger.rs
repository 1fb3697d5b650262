//! Whose turn it is among several members who may do the same thing: all but the first would do it in vain.
//!
//! Each waits [`STAGGER`] for everybody before them. Who has let their turn pass costs that once: they count no longer
//! until something of theirs is heard. What is known of that is each member's own and guards nothing: who is wrong about
//! it makes a commit too many, or makes it a moment later.

use std::{collections::BTreeSet, time::Duration};

use crate::identity::MemberId;

/// How long each member waits for everybody before them who may do the same.
pub const STAGGER: Duration = Duration::from_millis(150);

/// Who has let their turn pass, and was not heard since.
#[derive(Default)]
pub(crate) struct Stagger {
    idle: BTreeSet<MemberId>,
}

impl Stagger {
    /// How long `me` waits for those before them in `order`; for all of it, if they are not in it.
    pub(crate) fn wait(&self, order: &[MemberId], me: &MemberId) -> Duration {
        let before = order.iter().take_while(|id| *id != me).filter(|id| !self.idle.contains(id)).count();
        STAGGER.saturating_mul(u32::try_from(before).unwrap_or(u32::MAX))
    }

    /// `me` does what those before them in `order` have not done.
    pub(crate) fn steps_in(&mut self, order: &[MemberId], me: &MemberId) {
        self.idle.extend(order.iter().take_while(|id| *id != me));
    }

    /// Something of `who` was heard that they have signed.
    pub(crate) fn hears(&mut self, who: &MemberId) {
        self.idle.remove(who);
    }

    /// Somebody's commit lost its race, and nobody can tell whose it was: perhaps it was made by who seemed idle.
    pub(crate) fn hears_a_loser(&mut self) {
        self.idle.clear();
    }

    /// Forgets who is not in the room any more, so that no more are known than there are members.
    pub(crate) fn keep(&mut self, is_in: impl Fn(&MemberId) -> bool) {
        self.idle.retain(is_in);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(n: u8) -> MemberId {
        MemberId::from_bytes([n; 32])
    }

    #[test]
    fn each_waits_for_those_before_them_and_for_nobody_who_has_let_their_turn_pass() {
        let order = [id(3), id(1), id(2)];
        let mut stagger = Stagger::default();
        let waits = |stagger: &Stagger| [3, 1, 2, 9].map(|n| stagger.wait(&order, &id(n)).as_millis());
        assert_eq!(waits(&stagger), [0, 150, 300, 450]);
        stagger.steps_in(&order, &id(2));
        assert_eq!(waits(&stagger), [0, 0, 0, 150]);
        stagger.hears(&id(3));
        assert_eq!(waits(&stagger), [0, 150, 150, 300]);
        stagger.keep(|who| *who != id(1));
        assert_eq!(waits(&stagger), [0, 150, 300, 450]);
        stagger.steps_in(&order, &id(9));
        stagger.hears_a_loser();
        assert_eq!(waits(&stagger), [0, 150, 300, 450]);
    }
}
