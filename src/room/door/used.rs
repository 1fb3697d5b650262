//! Cards that have let their owners in: each admits once.
//!
//! MLS lets a card be used again, and a member put out cannot come in by it: its secrets went with their first entry. The
//! room would gain somebody who is on every roster and in no voice. So whoever lets in refuses a card that they have seen
//! used. They have seen those of everybody who has left or come back since they came in themselves; of what was
//! before, a newcomer knows nothing, and so it is no rule that all members could judge by.

use std::collections::VecDeque;

use crate::{
    bytes::{Reader, Writer},
    error::Result,
    identity::MemberId,
    room::{
        Card,
        group::{Making, making_of},
    },
};

/// The most that are remembered; a card is good for eleven weeks at most.
const MAX_USED: usize = 1_024;

/// Why somebody's card is refused.
pub(in crate::room) const WHY: &str = "that card let them in before, and admits once: a fresh one is needed";

/// The cards that have been used, the oldest first: whose, and of which making.
#[derive(Default)]
pub(super) struct Used {
    cards: VecDeque<(MemberId, Making)>,
}

impl Used {
    /// The card of that making has let its owner in.
    pub(super) fn note(&mut self, whose: MemberId, making: Making) {
        if self.cards.contains(&(whose, making)) {
            return;
        }
        self.cards.push_back((whose, making));
        if self.cards.len() > MAX_USED {
            self.cards.pop_front();
        }
    }

    pub(super) fn contains(&self, card: &Card) -> bool {
        // To look into a card costs its signatures: only into those of people who were here.
        let mut theirs = self.cards.iter().filter(|(whose, _)| *whose == card.id()).peekable();
        theirs.peek().is_some() && making_of(card).is_some_and(|making| theirs.any(|(_, used)| used.uses_up(&making)))
    }

    pub(super) fn save(&self, out: &mut Writer) -> Result<()> {
        out.count("cards", self.cards.len())?;
        for (whose, making) in &self.cards {
            out.put(whose.as_bytes());
            out.put(&making.key);
            out.put(&making.date.to_be_bytes());
        }
        Ok(())
    }

    pub(super) fn load(saved: &mut Reader<'_>) -> Result<Self> {
        let mut used = Self::default();
        for _ in 0..saved.count(72)? {
            let (whose, key) = (MemberId::from_bytes(saved.array()?), saved.array()?);
            used.note(whose, Making { key, date: saved.number()? });
        }
        Ok(used)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_are_remembered_and_the_youngest() {
        let mut used = Used::default();
        let making = |n: usize| {
            let mut key = [0; 32];
            key[..8].copy_from_slice(&n.to_be_bytes());
            Making { key, date: 7 }
        };
        let whose = MemberId::from_bytes([1; 32]);
        for n in 0..MAX_USED {
            used.note(whose, making(n));
            used.note(whose, making(n));
        }
        assert_eq!((used.cards.len(), used.cards[0]), (MAX_USED, (whose, making(0))));
        used.note(whose, making(MAX_USED));
        assert_eq!((used.cards.len(), used.cards[0]), (MAX_USED, (whose, making(1))));
        let mut out = Writer::default();
        used.save(&mut out).unwrap();
        let saved = out.done();
        let again = Used::load(&mut Reader::new(crate::error::Item::Snapshot, &saved)).unwrap();
        assert_eq!(again.cards, used.cards);
    }
}
