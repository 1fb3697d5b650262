//! One epoch of frames: a sealer for oneself, and an opener and replay window for everybody else on stage.
//!
//! Invariant: a sender is found by leaf index alone, and whoever is not on stage has no key here, so that no packet,
//! whatever it claims, makes anything be derived or tried. Secrets lie in slots that are emptied where they are and
//! never moved, so that no copy of them stays behind.

use std::{collections::BTreeMap, time::Duration};

use crate::{
    error::{Error, Result},
    identity::{LeafIndex, MemberId},
    media::{
        Speaker, Suite,
        backend::Backend,
        hearing::Account,
        keys::{KeyAndSalt, KeyIdLayout, Secret},
        people::People,
        replay::Window,
        seal::{
            MediaCertificate, Proof, SealKeys, SealRules, SealingSpeaker,
            archive::{Archive, Source, SourceId},
            maker::Maker,
            statement::Context,
            watch::Watch,
        },
        sframe::{FrameKey, Sealer},
    },
};

/// No sender: a leaf that is not on stage.
const NOBODY: u16 = u16::MAX;

/// The stream of the microphone.
pub(super) const MICROPHONE: u64 = 0;
/// The stream of the microphone's seals.
pub(super) const SEALS: u64 = MICROPHONE + 1;

pub(super) struct Epoch {
    pub(super) number: u64,
    pub(super) me: LeafIndex,
    /// Seals what one says oneself; none if one is not on stage, or in an epoch that has been superseded.
    pub(super) sealer: Option<Box<Sealer>>,
    /// Whether somebody else may have one's own keys too, so that nothing is sealed with them.
    pub(super) listens_only: bool,
    /// When the next epoch began. Zero in the current one.
    pub(super) superseded_at: Duration,
    /// The place in `senders` of each leaf, up to the highest on stage.
    by_leaf: Box<[u16]>,
    senders: Box<[Option<Sender>]>,
    /// Everybody in the room in this epoch.
    pub(super) people: People,
    /// Whether nobody else can be in the room.
    all_listed: bool,
    /// How the room seals, if it does.
    pub(super) seals: Option<Seals>,
    /// Fresh accounts for them, made here so that the thread of the audio makes none. The voice takes them.
    pub(super) accounts: Box<[Account]>,
}

/// Seals in one epoch.
pub(super) struct Seals {
    pub(super) rules: SealRules,
    /// The confirmed transcript hash.
    pub(super) transcript: Box<[u8]>,
    /// Makes those of what one says oneself; none if one is not on stage, or in an epoch that has been superseded.
    pub(super) maker: Option<Box<Maker>>,
    /// There are two in the room, so that the tag of a frame proves whose it is, and nobody else is to learn.
    pub(super) unneeded: bool,
}

/// What checks the frames of one speaker against their seals.
pub(super) struct Watcher {
    /// The key of the stream of seals.
    pub(super) key: FrameKey,
    pub(super) certificate: MediaCertificate,
    /// To the key of the speaker's frames.
    pub(super) commitment: [u8; 32],
    pub(super) watch: Watch,
    /// What clips of theirs need, in a room that keeps evidence: until the voice's archive has it,
    pub(super) source: Option<Box<Source>>,
    /// and where it is there.
    pub(super) archived: Option<SourceId>,
}

/// Somebody else on stage.
pub(super) struct Sender {
    pub(super) id: MemberId,
    pub(super) leaf: LeafIndex,
    pub(super) key: FrameKey,
    pub(super) window: Window,
    /// None if they cannot seal, or the room does not.
    pub(super) watcher: Option<Box<Watcher>>,
    /// The place of their account among the voice's.
    pub(super) account: usize,
}

/// Who somebody on stage is, and where their account is.
pub(super) struct SenderAt {
    pub(super) id: MemberId,
    pub(super) account: usize,
}

impl Sender {
    /// The counters of what was played of theirs, and is neither sealed nor flagged.
    pub(super) fn unsealed(&self) -> impl Iterator<Item = u64> {
        self.watcher.iter().flat_map(|watcher| watcher.watch.leftover())
    }
}

impl Epoch {
    pub(super) fn derive(
        secret: &Secret,
        backend: Backend,
        layout: KeyIdLayout,
        number: u64,
        me: LeafIndex,
        stage: &[Speaker],
        mut keep: Option<&mut BTreeMap<LeafIndex, KeyAndSalt>>,
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
            let kid = layout.key_id(MICROPHONE, speaker.leaf, number)?;
            let made = secret.derive(kid)?;
            let key = FrameKey::new(secret.suite(), backend, kid, &made)?;
            if let Some(keep) = &mut keep {
                keep.insert(speaker.leaf, made);
            }
            if speaker.leaf == me {
                sealer = Some(Box::new(Sealer::from_key(key)));
            } else {
                senders.push(Some(Sender {
                    id: speaker.id,
                    leaf: speaker.leaf,
                    key,
                    window: Window::default(),
                    watcher: None,
                    account: 0,
                }));
            }
        }
        let (superseded_at, senders) = (Duration::ZERO, senders.into_boxed_slice());
        let (people, accounts) = (People::default(), Box::default());
        Ok(Self {
            number,
            me,
            sealer,
            listens_only: false,
            superseded_at,
            by_leaf,
            senders,
            people,
            seals: None,
            all_listed: false,
            accounts,
        })
    }

    /// Adds what it takes to seal and to check seals; `made` has the keys of speakers that are derived already.
    pub(super) fn watch(
        &mut self,
        secret: &Secret,
        backend: Backend,
        layout: KeyIdLayout,
        seals: SealKeys,
        mut made: BTreeMap<LeafIndex, KeyAndSalt>,
    ) -> Result<()> {
        let SealKeys { rules, transcript, signer, speakers } = seals;
        let (number, me, suite) = (self.number, self.me, secret.suite());
        let seal_key = |leaf| FrameKey::derive(secret, backend, layout.key_id(SEALS, leaf, number)?);
        let mut commitment = |leaf| {
            let kid = layout.key_id(MICROPHONE, leaf, number)?;
            let key = made.remove(&leaf).map_or_else(|| secret.derive(kid), Ok)?;
            Ok::<_, Error>((key.commitment(suite, kid), key))
        };
        let mut maker = None;
        if let Some((_, own)) = self.people.at(me)
            && let Some(signer) = signer.filter(|_| self.sealer.is_some())
        {
            let sealer = Sealer::from_key(seal_key(me)?);
            maker = Some(Box::new(Maker::new(rules, signer, sealer, own.id, commitment(me)?.0)));
        }
        let count = speakers.len();
        for SealingSpeaker { leaf, id, name, certificate } in speakers {
            let Some(sender) = self.sender_mut(leaf).filter(|sender| sender.id == id) else { continue };
            let (commitment, key) = commitment(leaf)?;
            let source = (rules.proof == Proof::Evidence).then(|| {
                let (transcript, kid) = (transcript.clone(), sender.key.kid());
                Box::new(Source { epoch: number, transcript, leaf, speaker: id, name, certificate, kid, key })
            });
            let (key, watch) = (seal_key(leaf)?, Watch::new(count));
            let archived = None;
            sender.watcher = Some(Box::new(Watcher { key, certificate, commitment, watch, source, archived }));
        }
        self.seals = Some(Seals { rules, transcript, maker, unneeded: false });
        self.need_seals();
        Ok(())
    }

    /// Says who is in the room in this epoch, which began at `since`: all of them, or there may be others.
    pub(super) fn list(&mut self, people: People, all_listed: bool, since: Duration) {
        (self.people, self.all_listed) = (people, all_listed);
        self.accounts = self.people.open_accounts(since);
        for sender in self.senders.iter_mut().flatten() {
            // Everybody on stage is listed.
            sender.account = self.people.at(sender.leaf).map_or(usize::MAX, |(place, _)| place);
        }
        self.need_seals();
    }

    fn need_seals(&mut self) {
        // Oneself and one other: who forgot to list themselves may be the third.
        let two = self.only_other().is_some() && self.people.at(self.me).is_some();
        if let Some(seals) = &mut self.seals {
            seals.unneeded = two && seals.rules.proof == Proof::Deniable;
        }
    }

    /// How frames are checked against seals here, if they are.
    #[inline]
    pub(super) fn rules(&self) -> Option<SealRules> {
        self.seals.as_ref().filter(|seals| !seals.unneeded).map(|seals| seals.rules)
    }

    /// Whether a packet in one's own name is none of one's own, as far as one knows.
    pub(super) fn is_not_own(&self, counter: u64, packet: &[u8]) -> bool {
        let maker = self.seals.as_ref().and_then(|seals| seals.maker.as_ref());
        maker.is_some_and(|maker| maker.is_not_own(counter, packet))
    }

    /// Somebody else on stage whose seals count, with what checks them.
    pub(super) fn sealing_sender(&mut self, leaf: LeafIndex) -> Option<(SenderAt, &mut Watcher, &Seals)> {
        let seat = *self.by_leaf.get(leaf.0 as usize)?;
        let sender = self.senders.get_mut(usize::from(seat))?.as_mut()?;
        let at = SenderAt { id: sender.id, account: sender.account };
        let seals = self.seals.as_ref().filter(|seals| !seals.unneeded)?;
        Some((at, sender.watcher.as_mut()?, seals))
    }

    /// Whether the room keeps evidence.
    pub(super) fn keeps_evidence(&self) -> bool {
        self.seals.as_ref().is_some_and(|seals| seals.rules.proof == Proof::Evidence)
    }

    /// Hands what clips need to the archive.
    pub(super) fn enter(&mut self, archive: &mut Archive) {
        for watcher in self.senders_mut().filter_map(|sender| sender.watcher.as_mut()) {
            watcher.archived = watcher.source.take().map(|source| archive.enter(*source));
        }
    }

    /// Who else there is, if there is one other.
    pub(super) fn only_other(&self) -> Option<MemberId> {
        let mut others = self.people.iter().filter(|person| person.leaf != self.me);
        let other = others.next().filter(|_| self.all_listed)?;
        others.next().is_none().then_some(other.id)
    }

    /// Erases what one would seal with oneself.
    pub(super) fn listen_only(&mut self) {
        self.listens_only = true;
        self.sealer = None;
        if let Some(seals) = &mut self.seals {
            seals.maker = None;
        }
    }

    /// Ends sealing, and gives the seals that are left to send.
    pub(super) fn finish(&mut self, room: &[u8; 32], suite: Suite) -> Vec<Vec<u8>> {
        self.sealer = None;
        let needed = self.rules().is_some();
        let Some(seals) = &mut self.seals else { return Vec::new() };
        let Some(mut maker) = seals.maker.take().filter(|_| needed) else { return Vec::new() };
        let (own, commitment) = (maker.own_id, maker.commitment);
        maker.finish(&seals.context(room, self.number, self.me, &own, suite, &commitment))
    }

    /// Erases every key, and who was there.
    pub(super) fn clear(&mut self) {
        self.sealer = None;
        self.senders.iter_mut().for_each(|slot| *slot = None);
        self.people = People::default();
        self.accounts = Box::default();
        self.seals = None;
    }

    #[inline]
    pub(super) fn sender_mut(&mut self, leaf: LeafIndex) -> Option<&mut Sender> {
        let seat = *self.by_leaf.get(leaf.0 as usize)?;
        self.senders.get_mut(usize::from(seat))?.as_mut()
    }

    #[inline]
    pub(super) fn sender(&self, leaf: LeafIndex) -> Option<&Sender> {
        let seat = *self.by_leaf.get(leaf.0 as usize)?;
        self.senders.get(usize::from(seat))?.as_ref()
    }

    pub(super) fn senders_mut(&mut self) -> impl Iterator<Item = &mut Sender> {
        self.senders.iter_mut().flatten()
    }

    /// Everybody else on stage.
    pub(super) fn senders(&self) -> impl Iterator<Item = &Sender> {
        self.senders.iter().flatten()
    }

    /// Erases the keys of those who are not on stage in `newest`, and tells of each; the others' accounts are where they
    /// are there.
    pub(super) fn keep_only_those_in(&mut self, newest: &Self, mut gone: impl FnMut(u64, &Sender)) {
        for slot in &mut self.senders {
            let Some(sender) = slot else { continue };
            match newest.on_stage(sender.id, sender.leaf) {
                Some(there) => sender.account = there.account,
                None => {
                    gone(self.number, sender);
                    *slot = None;
                }
            }
        }
    }

    /// In whose name somebody else was caught in the epoch before, is still held to their seals.
    pub(super) fn stay_contested(&mut self, past: &Self, now: Duration) {
        for sender in self.senders_mut() {
            if let Some(watcher) = &mut sender.watcher
                && let Some(before) = past.on_stage(sender.id, sender.leaf)
                && let Some(before) = &before.watcher
            {
                watcher.watch.stay_contested(&before.watch, now);
            }
        }
    }

    /// The sender of that id, who is almost always at that leaf; after leaving and coming back perhaps at another.
    fn on_stage(&self, id: MemberId, leaf: LeafIndex) -> Option<&Sender> {
        let there = self.sender(leaf).filter(|there| there.id == id);
        there.or_else(|| self.senders().find(|other| other.id == id))
    }
}

impl Seals {
    /// What the seals of a speaker are bound to.
    pub(super) fn context<'a>(
        &'a self,
        room: &'a [u8; 32],
        epoch: u64,
        leaf: LeafIndex,
        speaker: &'a MemberId,
        suite: Suite,
        commitment: &'a [u8; 32],
    ) -> Context<'a> {
        Context { room, epoch, transcript: &self.transcript, leaf, speaker, stream: MICROPHONE, suite, commitment }
    }
}
