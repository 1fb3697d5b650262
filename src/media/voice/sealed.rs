//! What a voice does about seals: sends those of what one says, takes others', and tells what they bring to light.

use std::{ops::RangeInclusive, time::Duration};

use super::{MAX_PACKET, Voice, Which};
use crate::{
    error::{Error, Item, Result},
    heard::{Confirmed, Heard},
    identity::{LeafIndex, MemberId},
    media::{
        SealState,
        backend::Refused,
        clip::Draft,
        epoch::{Epoch, MICROPHONE, SEALS, Sender},
        header::Header,
        hearing::{Account, Refusal},
        replay::Stale,
        seal::{
            Finding, Forgery, SealMode, SealRules, Unsealed,
            archive::{Archive, SourceId, no_evidence},
            statement::{Seal, WholeHash},
            watch::{HeldFrame, Look, Outcome},
        },
    },
};

/// A seal is sent a second time after half as many frames as it covers, and after six at least, so that one burst of
/// losses does not take both; or after this time, if the speaker pauses.
const SECOND_COPY: Duration = Duration::from_millis(250);

/// How many seals wait to be sent, and how many frames to be taken out after their seal has come; the oldest make room.
const MAX_OUTGOING: usize = 64;

const MAX_READY: usize = 1024;

/// Seals.
impl Voice {
    /// The next seal of what one said oneself, as a packet to send like any other; none when none is due.
    ///
    /// Call it until it gives none after each frame, and now and then while one is silent. Seals go where packets go;
    /// on a lossy network each comes out twice, a little apart. Where the transport has a reliable channel, send them
    /// on that and say so: [`send_seals_once`](Self::send_seals_once). Who never calls it is heard as unverified, and
    /// in a strict room not at all; nor elsewhere after 16,384 frames of one epoch, or fewer where hundreds are on stage.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use parlor::{EpochKeys, Identity, KeyIdLayout, LeafIndex, MemberId, Suite, Voice, media::Speaker};
    /// # use parlor::media::seal::{MediaCertificate, MediaKey, SealKeys, SealRules};
    /// # let ana = Identity::generate("ana")?;
    /// # let media = MediaKey::from_seed(&[9; 32]);
    /// # let certificate = MediaCertificate::new(&ana, &media);
    /// # let keys = |me: u32| EpochKeys::new(
    /// #     Suite::default(), KeyIdLayout::default(), 0, zeroize::Zeroizing::new(vec![7; 32]), LeafIndex(me),
    /// #     vec![Speaker { leaf: LeafIndex(0), id: ana.id() }], Duration::ZERO,
    /// # );
    /// # let seals = || SealKeys::new(SealRules::default(), b"").with_speaker(LeafIndex(0), ana.id(), "ana", certificate);
    /// # let (ana_keys, ben_keys) = (keys(0)?.with_seals(seals().with_signer(media))?, keys(1)?.with_seals(seals())?);
    /// # let (mut voice, mut ben) = (Voice::new(ana_keys), Voice::new(ben_keys));
    /// # let mut relay = Vec::new();
    /// # for frame in 0..50_u64 {
    /// #     let now = Duration::from_millis(20 * frame);
    /// relay.push(voice.seal(b"an Opus frame")?);
    /// while let Some(seal) = voice.next_seal(now) {
    ///     relay.push(seal);
    /// }
    /// #     for packet in relay.drain(..) { let _ = ben.open(&packet, now); }
    /// # }
    /// # assert_eq!(ben.stats().verified, 50);
    /// # Ok::<(), parlor::Error>(())
    /// ```
    pub fn next_seal(&mut self, now: Duration) -> Option<Vec<u8>> {
        let frames = self.stats.sealed;
        let due = |waiting: &Outgoing| {
            // Either way: a clock that jumps holds nothing back.
            frames >= waiting.after || now >= waiting.at || waiting.at - now > SECOND_COPY
        };
        if let Some(at) = self.outgoing.iter().position(due) {
            let Outgoing { packet, first, .. } = self.outgoing.remove(at)?;
            return Some(if first { self.send_again(packet, now) } else { packet });
        }
        let Epoch { number, me, seals, .. } = &mut self.current;
        let seals = seals.as_mut().filter(|seals| !seals.unneeded)?;
        let mut maker = seals.maker.take()?;
        let (own, commitment) = (maker.own_id, maker.commitment);
        let made = maker.due(&seals.context(&self.room, *number, *me, &own, self.suite, &commitment), now);
        seals.maker = Some(maker);
        // A key that has made its last seal makes no more; frames go on unsealed.
        let packet = made.ok()??;
        self.stats.seals_made += 1;
        Some(self.send_again(packet, now))
    }

    /// Each seal comes out of [`next_seal`](Self::next_seal) once: for a transport that loses none.
    pub fn send_seals_once(&mut self) {
        self.seals_twice = false;
    }

    /// What seals, or the want of them, have brought to light since: each once. None when there is nothing more.
    ///
    /// Call it as often as frames come: what no seal has covered is told a second after it was played.
    pub fn next_finding(&mut self, now: Duration) -> Option<Finding> {
        if now != self.looked_over {
            self.look_over(now);
        }
        self.findings.next()
    }

    /// The newest that `speaker` has said under seals that follow one another, in a room that keeps evidence: a clip to be
    /// vouched for ([`Room::vouch`](crate::Room::vouch)), which anybody can [verify](crate::Clip::verify).
    ///
    /// It is of one epoch, and of what [`Limits::evidence_bytes`](crate::media::Limits::evidence_bytes) has room for. It
    /// stays possible after [`close`](Self::close), until the voice is dropped.
    ///
    /// # Errors
    /// [`Error::Unusable`] if the room keeps no evidence, or nothing sealed of theirs is kept.
    pub fn clip(&self, speaker: &MemberId) -> Result<Draft> {
        self.export(speaker, None)
    }

    /// The same, of what they said in `epoch` under those `counters`: as much as the seals that cover one of them.
    ///
    /// # Errors
    /// As [`clip`](Self::clip).
    pub fn clip_of(&self, speaker: &MemberId, epoch: u64, counters: RangeInclusive<u64>) -> Result<Draft> {
        self.export(speaker, Some((epoch, counters)))
    }

    /// Takes a packet of a stream of seals, and says what it was.
    #[cold]
    pub(super) fn take_seal(
        &mut self,
        which: Which,
        leaf: LeafIndex,
        Header { counter: number, .. }: Header,
        header_len: usize,
        packet: &mut [u8],
        now: Duration,
    ) -> Error {
        let epoch = match which {
            Which::Current => &mut self.current,
            Which::Previous(place) => match self.previous.get_mut(place) {
                Some(epoch) => epoch,
                None => return self.keys_gone(leaf, "the keys of its epoch were erased", now),
            },
        };
        let in_epoch = epoch.number;
        let (is_speaker, seals_count) = (epoch.sender(leaf).is_some(), epoch.rules().is_some());
        let sealing = epoch.sealing_sender(leaf);
        let Some((sender, watcher, seals)) = sealing else {
            if is_speaker {
                // It is signed by nothing that the room knows of.
                self.book(leaf, Refusal::Malformed, now);
                if !seals_count {
                    return self.malformed("it is a seal, and in its epoch there are none");
                }
                self.stats.malformed += 1;
                return Error::Unsealed { leaf, epoch: in_epoch };
            }
            return self.no_such_sender(which, leaf, None, now);
        };
        let (place, speaker) = (sender.account, sender.id);
        if watcher.watch.knows(number) {
            return Error::Seal { leaf, epoch: in_epoch };
        }
        let Ok(text) = watcher.key.open(number, header_len, &[], packet) else {
            return self.forged(place, leaf, in_epoch, now);
        };
        let rules = seals.rules;
        let context = seals.context(&self.room, in_epoch, leaf, &speaker, self.suite, &watcher.commitment);
        let seal = Seal::decode(text, number, rules.every).ok().filter(|seal| seal.proof == rules.proof);
        let Some(seal) = seal else {
            return self.impersonated(speaker, place, leaf, in_epoch, SEALS, number, now);
        };
        if !watcher.watch.has_time_for(&seal, &rules, now) {
            // It may be the speaker's: nobody is accused.
            self.stats.seals_unread += 1;
            return Error::Seal { leaf, epoch: in_epoch };
        }
        if !seal.verifies(&context, &watcher.certificate) {
            watcher.watch.fail(&seal, &rules, now);
            return self.impersonated(speaker, place, leaf, in_epoch, SEALS, number, now);
        }
        let Ok(outcome) = watcher.watch.take(&seal, now) else {
            watcher.watch.fail(&seal, &rules, now);
            self.findings.equivocation(speaker, in_epoch, now);
            self.book_at(place, Refusal::Malformed, now);
            return Error::Malformed { what: Item::Seal, why: "it contradicts an earlier one of the same speaker's" };
        };
        self.stats.seals_taken += 1;
        if let Some((evidence, source)) = self.evidence.as_mut().zip(watcher.archived) {
            evidence.archive.seal(source, &seal);
        }
        // With the first frame that comes out for it, or with the next that is opened.
        let confirmed = if outcome.released.is_empty() { Confirmed::NONE } else { watcher.watch.take_confirmed() };
        self.settle(outcome, confirmed.in_epoch(in_epoch), speaker, place, leaf, now);
        Error::Seal { leaf, epoch: in_epoch }
    }

    /// The next frame whose seal has come, of somebody who is still to be played.
    pub(super) fn take_ready(&mut self, now: Duration) -> Option<Heard<Vec<u8>>> {
        loop {
            let Ready { speaker, leaf, epoch, counter, frame, confirmed, arrived } = self.ready.pop_front()?;
            let found = self.current.people.find(&speaker).filter(|(_, person)| person.off_stage.is_none());
            let account = found.and_then(|(place, _)| self.accounts.get_mut(place));
            let Some(account) = account.filter(|account| !account.is_silenced()) else { continue };
            account.open(now);
            account.verify(1, 0, now);
            self.stats.opened += 1;
            self.stats.verified += 1;
            let parked_for = now.saturating_sub(arrived);
            let (verified, frame) = (true, frame.into());
            return Some(Heard { speaker, leaf, epoch, counter, verified, confirmed, parked_for, frame });
        }
    }

    /// Whether frames of `speaker`'s have their seal and wait to be taken.
    pub(super) fn has_ready(&self, speaker: &MemberId) -> bool {
        self.ready.iter().any(|ready| ready.speaker == *speaker)
    }

    /// Flags a frame that was played and that no seal covers.
    pub(super) fn flag(&mut self, speaker: &MemberId, epoch: u64, counter: u64, now: Duration) {
        self.stats.unverified += 1;
        let found = self.current.people.find(speaker);
        if let Some(account) = found.and_then(|(place, _)| self.accounts.get_mut(place)) {
            account.flag(1);
        }
        self.findings.unverified(*speaker, epoch, counter, now);
    }

    /// Flags what no seal has covered in time, and drops what was held for too long.
    pub(super) fn look_over(&mut self, now: Duration) {
        self.looked_over = now;
        let mut flagged = Vec::new();
        for epoch in std::iter::once(&mut self.current).chain(&mut self.previous) {
            let number = epoch.number;
            for sender in epoch.senders_mut() {
                let (id, Some(watcher)) = (sender.id, &mut sender.watcher) else { continue };
                let dropped = watcher.watch.expire(now, |counter| flagged.push((id, number, counter)));
                if dropped > 0 {
                    self.stats.unsealed += dropped;
                    if let Some(account) = self.accounts.get_mut(sender.account) {
                        account.drop_held(dropped);
                    }
                }
            }
        }
        for (speaker, epoch, counter) in flagged {
            self.flag(&speaker, epoch, counter, now);
        }
    }

    /// Keeps what clips need of the current epoch, if the room keeps evidence.
    pub(super) fn keep_evidence(&mut self) {
        if !self.current.keeps_evidence() || self.limits.evidence_bytes == 0 {
            return;
        }
        let bytes = self.limits.evidence_bytes;
        let evidence = self.evidence.get_or_insert_with(|| Box::new(Evidence::new(bytes)));
        self.current.enter(&mut evidence.archive);
    }

    pub(super) fn send(&mut self, packet: Outgoing) {
        if self.outgoing.len() >= MAX_OUTGOING {
            self.outgoing.pop_front();
        }
        self.outgoing.push_back(packet);
    }

    pub(super) fn seal_state(&self, account: &Account, leaf: LeafIndex, now: Duration) -> SealState {
        let Some(seals) = &self.current.seals else { return SealState::Off };
        let Some(sender) = self.current.sender(leaf) else { return SealState::Waiting };
        let Some(watcher) = &sender.watcher else { return SealState::Unverified };
        if seals.unneeded {
            SealState::Verified
        } else if watcher.watch.is_contested(now) {
            SealState::Contested
        } else if watcher.watch.lapsed(now).is_some() {
            SealState::Unverified
        } else if account.was_verified() {
            SealState::Verified
        } else {
            SealState::Waiting
        }
    }

    /// A frame of a room that seals is not played, or not yet.
    #[cold]
    #[expect(clippy::too_many_arguments, reason = "all that there is to say of it")]
    pub(super) fn not_played(
        &mut self,
        why: NotPlayed,
        speaker: MemberId,
        place: usize,
        leaf: LeafIndex,
        epoch: u64,
        counter: u64,
        now: Duration,
    ) -> Error {
        let (kept, error) = match why {
            NotPlayed::Stale(stale) => return self.stale(stale, place, leaf, epoch, counter, now),
            NotPlayed::Forged => return self.forged(place, leaf, epoch, now),
            NotPlayed::NotTheirs => return self.impersonated(speaker, place, leaf, epoch, MICROPHONE, counter, now),
            NotPlayed::NeverSealed => (false, Error::Unsealed { leaf, epoch }),
            NotPlayed::Held { room } => (room, Error::Held { leaf, epoch, counter }),
        };
        self.stats.held += 1;
        self.stats.unsealed += u64::from(!kept);
        if let Some(account) = self.accounts.get_mut(place) {
            account.hold(now);
            account.drop_held(u64::from(!kept));
        }
        error
    }

    /// Somebody speaks in one's own name: of that one is sure, and of who it is where there is one other.
    #[cold]
    pub(super) fn spoke_as_me(
        &mut self,
        me: Option<MemberId>,
        forger: Option<MemberId>,
        leaf: LeafIndex,
        epoch: u64,
        counter: u64,
        now: Duration,
    ) -> Error {
        self.stats.impersonated += 1;
        if let Some(me) = me {
            self.findings.forgery(Forgery::one(me, epoch, MICROPHONE, counter, false, forger, now));
        }
        Error::Impersonated { leaf, epoch, counter }
    }

    /// Books what a seal of `speaker`'s has brought to light.
    fn settle(
        &mut self,
        outcome: Outcome,
        mut confirmed: Confirmed,
        speaker: MemberId,
        place: usize,
        leaf: LeafIndex,
        now: Duration,
    ) {
        let epoch = confirmed.epoch();
        let Outcome { verified, flagged_before, released, forged, unverified } = outcome;
        self.stats.verified += verified;
        self.stats.unverified = self.stats.unverified.saturating_sub(flagged_before);
        if let Some(account) = self.accounts.get_mut(place) {
            account.verify(verified, flagged_before, now);
            account.impersonate(forged.len() as u64);
        }
        for counter in unverified {
            self.flag(&speaker, epoch, counter, now);
        }
        for (counter, played) in forged {
            self.stats.impersonated += 1;
            self.findings.forgery(Forgery::one(speaker, epoch, MICROPHONE, counter, played, None, now));
        }
        for HeldFrame { counter, frame, arrived, .. } in released {
            if self.ready.len() >= MAX_READY {
                self.ready.pop_front();
            }
            let confirmed = std::mem::take(&mut confirmed);
            self.ready.push_back(Ready { speaker, leaf, epoch, counter, frame, confirmed, arrived });
        }
    }

    fn export(&self, speaker: &MemberId, of: Option<(u64, RangeInclusive<u64>)>) -> Result<Draft> {
        let evidence = self.evidence.as_ref().ok_or_else(no_evidence)?;
        evidence.archive.export(&self.room, self.suite, speaker, of)
    }

    /// A first copy goes out: the second follows.
    fn send_again(&mut self, packet: Vec<u8>, now: Duration) -> Vec<u8> {
        if self.seals_twice {
            let every = self.current.seals.as_ref().map_or(0, |seals| seals.rules.every);
            let after = self.stats.sealed + u64::from(every / 2).max(6);
            self.send(Outgoing { packet: packet.clone(), first: false, after, at: now.saturating_add(SECOND_COPY) });
        }
        packet
    }

    /// A packet in the name of `speaker`, whose account is at `place`, was made by somebody else in the room.
    #[cold]
    #[expect(clippy::too_many_arguments, reason = "all that there is to say of it")]
    fn impersonated(
        &mut self,
        speaker: MemberId,
        place: usize,
        leaf: LeafIndex,
        epoch: u64,
        stream: u64,
        counter: u64,
        now: Duration,
    ) -> Error {
        self.stats.impersonated += 1;
        self.book_at(place, Refusal::Impersonated, now);
        // The speaker might have made it themselves, to put it on another: nobody is proven to be the forger.
        self.findings.forgery(Forgery::one(speaker, epoch, stream, counter, false, None, now));
        Error::Impersonated { leaf, epoch, counter }
    }
}

/// What clips are made of, and the packet that is being opened: in place, so that it is copied first.
pub(super) struct Evidence {
    pub(super) archive: Archive,
    packet: Box<[u8; MAX_PACKET]>,
    length: usize,
}

impl Evidence {
    fn new(bytes: usize) -> Self {
        Self { archive: Archive::new(bytes), packet: Box::new([0; MAX_PACKET]), length: 0 }
    }

    fn copy(&mut self, packet: &[u8]) {
        if let Some(to) = self.packet.get_mut(..packet.len()) {
            to.copy_from_slice(packet);
            self.length = packet.len();
        }
    }

    fn keep(&mut self, source: SourceId, counter: u64) {
        if let Some(packet) = self.packet.get(..self.length) {
            self.archive.packet(source, counter, packet);
        }
    }
}

/// A seal on its way out.
pub(super) struct Outgoing {
    pub(super) packet: Vec<u8>,
    /// A second copy is to follow it.
    pub(super) first: bool,
    /// It goes once so many frames were sealed,
    pub(super) after: u64,
    /// or at this time.
    pub(super) at: Duration,
}

/// A frame whose seal has come.
pub(super) struct Ready {
    speaker: MemberId,
    leaf: LeafIndex,
    epoch: u64,
    counter: u64,
    frame: Box<[u8]>,
    confirmed: Confirmed,
    arrived: Duration,
}

/// What seals say of a frame that is played.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Cover {
    /// One covers it.
    Given,
    /// One is to come.
    Later,
    /// None ever will.
    Never,
}

/// Why a frame of a room that seals is not played.
pub(super) enum NotPlayed {
    Stale(Stale),
    /// Its tag did not verify.
    Forged,
    /// The speaker sealed another packet of that counter.
    NotTheirs,
    /// The speaker makes no seals, and here nothing is played without.
    NeverSealed,
    /// It waits for its seal; without room it does not, or another had to go for it.
    Held {
        room: bool,
    },
}

/// Opens a frame where the room seals.
#[inline(never)]
pub(super) fn open_watched<'p>(
    rules: &SealRules,
    sender: &mut Sender,
    evidence: Option<&mut Evidence>,
    counter: u64,
    header_len: usize,
    packet: &'p mut [u8],
    now: Duration,
) -> Result<(Cover, Confirmed, &'p [u8]), NotPlayed> {
    let Some(watcher) = &mut sender.watcher else {
        if rules.mode == SealMode::Strict || rules.unsealed == Unsealed::Hold {
            return Err(NotPlayed::NeverSealed);
        }
        // Nothing of theirs will ever be sealed, so that nothing tells a true packet of a counter from another.
        sender.window.check(counter).map_err(NotPlayed::Stale)?;
        let opened = sender.key.open(counter, header_len, &[], packet);
        let frame = opened.map_err(|Refused| NotPlayed::Forged)?;
        sender.window.mark(counter);
        return Ok((Cover::Never, Confirmed::NONE, frame));
    };
    let whole = WholeHash::of(packet);
    let hash = whole.half();
    let look = watcher.watch.look(rules, counter, hash, now);
    if let Look::Stale(stale) = look {
        return Err(NotPlayed::Stale(stale));
    }
    let archived = watcher.archived.filter(|_| look != Look::NotTheirs);
    let mut evidence = evidence.zip(archived);
    if let Some((evidence, _)) = &mut evidence {
        evidence.copy(packet);
    }
    let opened = sender.key.open(counter, header_len, &[], packet);
    let frame = opened.map_err(|Refused| NotPlayed::Forged)?;
    if let Some((evidence, source)) = evidence {
        evidence.keep(source, counter);
    }
    match look {
        Look::Open | Look::OpenSealed => {
            let sealed = look == Look::OpenSealed;
            watcher.watch.opened(counter, hash, now, sealed);
            Ok((if sealed { Cover::Given } else { Cover::Later }, watcher.watch.take_confirmed(), frame))
        }
        Look::Hold => Err(NotPlayed::Held { room: watcher.watch.hold(counter, hash, frame, now) }),
        Look::NotTheirs | Look::Stale(_) => {
            watcher.watch.contest(now);
            Err(NotPlayed::NotTheirs)
        }
    }
}
