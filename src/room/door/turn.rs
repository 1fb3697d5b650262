//! What becomes of a knock, one turn at a time: each is done in one way, when it happens and when a restore does it again.
//!
//! ```text
//! 1 (1) ‖ knock id (16)                               it came, and does not wait
//! 2 (1) ‖ knock, as it is saved                       who made it waits for a word
//! 3 (1) ‖ knock, as it is saved                       who made it waits for the next commit
//! 4 (1) ‖ knock id (16)                               it is let in by the next commit
//! 5 (1) ‖ knock id (16)                               it waits no more
//! 6 (1) ‖ whose (32) ‖ knock id (16) ‖ link (32) ‖ by whom (32)   it is turned away
//! ```
//!
//! A turn is as long as what a knock says, and never longer than a knock: a room that is kept writes it in place of all
//! who wait.

use super::{Knock, KnockId, refusals::Refusal};
use crate::{
    bytes::{Reader, Writer},
    error::{Item, Result},
};

/// What befalls one knock.
#[derive(Clone, Debug)]
pub(super) enum Turn {
    /// It came, and does not wait.
    Seen(KnockId),
    /// Who made it waits, in the place that they have if they do already: for a word, or for the next commit.
    Waits(Box<Knock>, Line),
    /// A person lets it in.
    LetIn(KnockId),
    /// It waits no more.
    Gone(KnockId),
    /// It is turned away, and that counts.
    Refused(Refusal),
}

/// What somebody waits for who has no place yet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Line {
    /// A person's word.
    Asking,
    /// The next commit.
    Welcome,
}

impl Turn {
    pub(super) fn write(&self) -> Result<Writer> {
        let mut out = Writer::default();
        match self {
            Self::Seen(id) => {
                out.put(&[1]);
                out.put(id.as_bytes());
            }
            Self::Waits(knock, line) => {
                out.put(&[if *line == Line::Asking { 2 } else { 3 }]);
                knock.save(&mut out)?;
            }
            Self::LetIn(id) => {
                out.put(&[4]);
                out.put(id.as_bytes());
            }
            Self::Gone(id) => {
                out.put(&[5]);
                out.put(id.as_bytes());
            }
            Self::Refused(refusal) => {
                out.put(&[6]);
                refusal.save(&mut out);
            }
        }
        Ok(out)
    }

    /// What [`write`](Self::write) wrote; `None` for a knock by a card that has expired since.
    pub(super) fn read(bytes: &[u8]) -> Result<Option<Self>> {
        let mut saved = Reader::new(Item::Snapshot, bytes);
        let turn = match saved.byte()? {
            1 => Some(Self::Seen(KnockId(saved.array()?))),
            2 => Knock::load(&mut saved)?.map(|knock| Self::Waits(Box::new(knock), Line::Asking)),
            3 => Knock::load(&mut saved)?.map(|knock| Self::Waits(Box::new(knock), Line::Welcome)),
            4 => Some(Self::LetIn(KnockId(saved.array()?))),
            5 => Some(Self::Gone(KnockId(saved.array()?))),
            6 => Some(Self::Refused(Refusal::load(&mut saved)?)),
            _ => return Err(saved.malformed("a knock in it has had a turn of unknown kind")),
        };
        saved.end()?;
        Ok(turn)
    }
}
