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
        Quiet, Speaker,
        backend::Backend,
        hearing::Account,
        keys::{KeyIdLayout, Secret},
        people::People,
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
    /// Everybody in the room in this epoch.
    pub(super) people: People,
    /// Fresh accounts for them, made here so that the thread of the audio makes none. The voice takes them.
    pub(super) accounts: Box<[Account]>,
}

/// Somebody else on stage.
pub(super) struct Sender {
    pub(super) id: MemberId,
    pub(super) leaf: LeafIndex,
    pub(super) key: FrameKey,
    pub(super) window: Window,
    /// The place of their account among the voice's.
    pub(super) account: usize,
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
                senders.push(Some(Sender {
                    id: speaker.id,
                    leaf: speaker.leaf,
                    key,
                    window: Window::default(),
                    account: 0,
                }));
            }
        }
        let (superseded_at, senders) = (Duration::ZERO, senders.into_boxed_slice());
        let (people, accounts) = (People::default(), Box::default());
        Ok(Self { number, me, sealer, superseded_at, by_leaf, senders, people, accounts })
    }

    /// Says who is in the room in this epoch, which began at `since`.
    pub(super) fn list(&mut self, stage: &[Speaker], offstage: &[Quiet], since: Duration) {
        self.people = People::new(stage, offstage);
        self.accounts = self.people.open_accounts(since);
        for sender in self.senders.iter_mut().flatten() {
            // Everybody on stage is listed.
            sender.account = self.people.at(sender.leaf).map_or(usize::MAX, |(place, _)| place);
        }
    }

    /// Erases every key, and who was there.
    pub(super) fn clear(&mut self) {
        self.sealer = None;
        self.senders.iter_mut().for_each(|slot| *slot = None);
        self.people = People::default();
        self.accounts = Box::default();
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

    /// Erases the keys of those who are not on stage in `newest`; the others' accounts are where they are there.
    pub(super) fn keep_only_those_in(&mut self, newest: &Self) {
        for slot in &mut self.senders {
            let Some(sender) = slot else { continue };
            match newest.on_stage(sender) {
                Some(there) => sender.account = there.account,
                None => *slot = None,
            }
        }
    }

    fn on_stage(&self, sender: &Sender) -> Option<&Sender> {
        // Almost always in the same place; after leaving and coming back perhaps in another.
        let there = self.by_leaf.get(sender.leaf.0 as usize).and_then(|seat| self.senders.get(usize::from(*seat)));
        match there {
            Some(Some(there)) if there.id == sender.id => Some(there),
            _ => self.senders().find(|other| other.id == sender.id),
        }
    }
}
