//! One epoch of frames: a sealer for oneself, and an opener and replay window for everybody else on stage.
//!
//! Invariant: a sender is found by leaf index alone, and whoever is not on stage has no key here, so that no packet,
//! whatever it claims, makes anything be derived or tried. Secrets lie in slots that are emptied where they are and
//! never moved, so that no copy of them stays behind.

use std::time::Duration;

use crate::{
    error::{Error, Result},
    identity::{LeafIndex, MemberId},
    media::{
        Speaker,
        backend::Backend,
        keys::{KeyIdLayout, Secret},
        replay::Window,
        sframe::{FrameKey, Sealer},
    },
};

/// No sender: a leaf that is not on stage.
const NOBODY: u16 = u16::MAX;

/// The stream of the microphone.
const MICROPHONE: u64 = 0;

pub(super) struct Epoch {
    pub(super) number: u64,
    pub(super) me: LeafIndex,
    /// Seals what one says oneself; none if one is not on stage, or in an epoch that has been superseded.
    pub(super) sealer: Option<Box<Sealer>>,
    /// When the next epoch began. Zero in the current one.
    pub(super) superseded_at: Duration,
    /// The place in `senders` of each leaf, up to the highest on stage.
    by_leaf: Box<[u16]>,
    senders: Box<[Option<Sender>]>,
}

/// Somebody else on stage.
pub(super) struct Sender {
    pub(super) id: MemberId,
    pub(super) leaf: LeafIndex,
    pub(super) key: FrameKey,
    pub(super) window: Window,
}

impl Epoch {
    pub(super) fn derive(
        secret: &Secret,
        backend: Backend,
        layout: KeyIdLayout,
        number: u64,
        me: LeafIndex,
        stage: &[Speaker],
    ) -> Result<Self> {
        let unusable = |why| Error::Unusable { what: "stage", why };
        if stage.len() >= usize::from(NOBODY) {
            return Err(unusable("it holds more than 65,534"));
        }
        // Each leaf is checked against the layout before a table is made as long as the highest.
        layout.key_id(MICROPHONE, me, number)?;
        for speaker in stage {
            layout.key_id(MICROPHONE, speaker.leaf, number)?;
        }
        let leaves = stage.iter().map(|speaker| speaker.leaf.0 as usize + 1).max().unwrap_or(0);
        let mut by_leaf = vec![NOBODY; leaves].into_boxed_slice();
        // Oneself last, who has a place in the table, so that nobody else gets it, but no sender behind it.
        let others = stage.iter().filter(|speaker| speaker.leaf != me);
        let oneself = stage.iter().filter(|speaker| speaker.leaf == me);
        let mut senders = Vec::with_capacity(others.clone().count());
        let mut sealer = None;
        for (seat, speaker) in (0_u16..).zip(others.chain(oneself)) {
            let place = by_leaf.get_mut(speaker.leaf.0 as usize);
            match place {
                Some(place) if *place == NOBODY => *place = seat,
                _ => return Err(unusable("a leaf stands on it twice")),
            }
            let key = FrameKey::derive(secret, backend, layout.key_id(MICROPHONE, speaker.leaf, number)?)?;
            if speaker.leaf == me {
                sealer = Some(Box::new(Sealer::from_key(key)));
            } else {
                senders.push(Some(Sender { id: speaker.id, leaf: speaker.leaf, key, window: Window::default() }));
            }
        }
        Ok(Self { number, me, sealer, superseded_at: Duration::ZERO, by_leaf, senders: senders.into_boxed_slice() })
    }

    #[inline]
    pub(super) fn sender_mut(&mut self, leaf: LeafIndex) -> Option<&mut Sender> {
        let seat = *self.by_leaf.get(leaf.0 as usize)?;
        self.senders.get_mut(usize::from(seat))?.as_mut()
    }

    /// Everybody else on stage.
    pub(super) fn senders(&self) -> impl Iterator<Item = &Sender> {
        self.senders.iter().flatten()
    }

    /// Erases the keys of those who are not on stage in `newest`.
    pub(super) fn keep_only_those_in(&mut self, newest: &Self) {
        for slot in &mut self.senders {
            let gone = slot.as_ref().is_some_and(|sender| !newest.has_on_stage(sender));
            if gone {
                *slot = None;
            }
        }
    }

    fn has_on_stage(&self, sender: &Sender) -> bool {
        // Almost always in the same place; after leaving and coming back perhaps in another.
        let there = self.by_leaf.get(sender.leaf.0 as usize).and_then(|seat| self.senders.get(usize::from(*seat)));
        matches!(there, Some(Some(there)) if there.id == sender.id) || self.senders().any(|other| other.id == sender.id)
    }
}
