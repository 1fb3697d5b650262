//! The voice of one member: seals what they say, opens what they hear, and goes from epoch to epoch with the room.
//!
//! Invariants, whatever a hostile relay or member sends:
//! - `open` gives authenticated sound of somebody on stage, once, or an error that says why not;
//! - a key is found by index: one key at most is tried, and none derived, for any packet;
//! - a packet that is refused moves nothing but statistics, unless it is parked, in a lot of fixed bounds;
//! - keys of a past epoch are gone [`Limits::previous_epoch`] after it, and at once those of who has left the stage.
//!
//! Key ids: RFC 9605 §5.2. Time is an argument, on a monotonic clock of the caller's; a clock that jumps, either way,
//! makes old keys and parked packets go sooner, never stay for longer.

use std::{collections::VecDeque, fmt, ops::RangeInclusive, time::Duration};

use sha2::{Digest, Sha256};

use crate::{
    error::{Error, Item, Result},
    identity::{LeafIndex, MemberId},
    media::{
        Cause, EpochKeys, Hearing, KeyIdLayout, Mute, OffStage, SealState, Suite,
        backend::Refused,
        clip::Draft,
        epoch::{Epoch, MICROPHONE, SEALS, Sender},
        header::{Header, MAX_HEADER},
        hearing::{Account, Refusal},
        parking::{Lot, MAX_PACKETS, Parked},
        people::People,
        replay::Stale,
        seal::{
            Finding, Findings, Forgery, SealMode, SealRules, Unsealed,
            archive::{Archive, SourceId, no_evidence},
            statement::{Seal, packet_hash},
            watch::{HeldFrame, Look, Outcome},
        },
        sframe::MAX_COUNTER,
        suite::TAG_LEN,
    },
};

/// The longest frame in bytes: the longest Opus packet (1,275 bytes) and room to spare.
pub const MAX_FRAME: usize = 2048;

/// What a packet has beyond its frame in bytes, at the very most: header and tag. See [`Voice::overhead`].
pub const MAX_OVERHEAD: usize = MAX_HEADER + TAG_LEN;

/// The longest packet of a voice in bytes.
const MAX_PACKET: usize = MAX_FRAME + MAX_OVERHEAD;

/// A seal is sent a second time after half as many frames as it covers, and after six at least, so that one burst of
/// losses does not take both; or after this time, if the speaker pauses.
const SECOND_COPY: Duration = Duration::from_millis(250);

/// How often packets that come make the voice look for those that lack a seal.
const LOOK_OVER: Duration = Duration::from_millis(20);

/// How many seals wait to be sent, and how many frames to be taken out after their seal has come; the oldest make room.
const MAX_OUTGOING: usize = 64;
const MAX_READY: usize = 1024;

/// How many past epochs are kept at most, each for [`Limits::previous_epoch`]: several commits may fall into that time.
const MAX_PREVIOUS: usize = 16;

/// What a voice keeps of the past and the future, at most.
///
/// ```
/// let mut limits = parlor::media::Limits::default();
/// limits.parked_bytes = 64 * 1024;
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Limits {
    /// How long frames of an epoch are taken after the next one began: 2 s by default, and at most.
    ///
    /// At most 16 past epochs are kept. One of them holds about 1 KiB a speaker, 80 bytes a member of the room, and 2
    /// bytes a leaf up to the highest leaf on stage.
    pub previous_epoch: Duration,
    /// How many packets of epochs on their way are kept, 65,535 at most: 1,024 by default, ten people who speak for 2 s.
    pub parked_packets: usize,
    /// How many bytes they have together: 256 KiB by default.
    pub parked_bytes: usize,
    /// How many of them may name one leaf: 128 by default, 2.5 s of 20 ms frames. Leaves 256 apart share.
    pub parked_per_leaf: usize,
    /// How long a packet waits for its epoch: 2.5 s by default, so that a commit which is 2 s late loses nothing.
    pub parked_for: Duration,
    /// How many bytes of packets and seals a room that keeps evidence keeps for clips: 2 MiB by default, about six
    /// minutes of one speaker. With zero nothing is kept, and no clips can be made.
    pub evidence_bytes: usize,
}

impl Limits {
    /// The most that [`previous_epoch`](Self::previous_epoch) may be.
    pub const MAX_PREVIOUS_EPOCH: Duration = Duration::from_secs(2);

    fn check(&self) -> Result<()> {
        let unusable = |why| Err(Error::Unusable { what: "limits", why });
        if self.previous_epoch > Self::MAX_PREVIOUS_EPOCH {
            return unusable("a previous epoch is kept for 2 s at most, so that who was removed is soon not heard");
        }
        if self.parked_packets > MAX_PACKETS {
            return unusable("65,535 packets can be parked at most");
        }
        Ok(())
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            previous_epoch: Self::MAX_PREVIOUS_EPOCH,
            parked_packets: 1024,
            parked_bytes: 256 * 1024,
            parked_per_leaf: 128,
            parked_for: Duration::from_millis(2500),
            evidence_bytes: 2 * 1024 * 1024,
        }
    }
}

/// An opened frame: authenticated sound from somebody on stage.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Heard<F> {
    /// Who sealed it.
    pub speaker: MemberId,
    /// Where they stood in the tree.
    pub leaf: LeafIndex,
    /// In which epoch.
    pub epoch: u64,
    /// Its counter in that epoch: 0 for the speaker's first frame there.
    pub counter: u64,
    /// Whether it is certain that it is the speaker's: a seal of theirs covers it already, or the room is one of two. If
    /// not, a later seal confirms it, or
    /// [`Voice::next_finding`] tells.
    pub sealed: bool,
    /// How long it was parked for its key, or held for its seal; zero for one that waited for neither.
    pub parked_for: Duration,
    /// The bytes that were sealed.
    pub frame: F,
}

/// What became of the frames and packets of a voice, counted since it was made.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub struct Stats {
    /// Frames sealed.
    pub sealed: u64,
    /// Packets opened, those out of the parking lot included.
    pub opened: u64,
    /// Packets refused: no packet of this kind of room, or too large for one.
    pub malformed: u64,
    /// Packets refused: the tag did not verify.
    pub forged: u64,
    /// Packets refused: opened before.
    pub replayed: u64,
    /// Packets refused: their epoch's keys were erased, or they fell behind the replay window.
    pub too_late: u64,
    /// Packets refused: their sender was not on stage.
    pub not_on_stage: u64,
    /// Packets refused: their sender was muted by oneself, or their microphone was off.
    pub muted: u64,
    /// Packets refused: one's own.
    pub reflected: u64,
    /// Packets parked for an epoch on its way.
    pub parked: u64,
    /// Parked packets dropped for younger ones, at one of the lot's bounds.
    pub parked_dropped: u64,
    /// Parked packets dropped because their epoch did not come in time.
    pub parked_expired: u64,
    /// Parked packets that were taken out after their epoch had come.
    pub unparked: u64,
    /// Seals made of what one said oneself, second copies not counted.
    pub seals_made: u64,
    /// Seals of others that were taken.
    pub seals_taken: u64,
    /// Seals dropped unread, because too many forged ones had come in the speaker's name within a second.
    pub seals_unread: u64,
    /// Frames opened that a seal of their speaker's has confirmed.
    pub verified: u64,
    /// Frames opened that no seal has covered within a second.
    pub unverified: u64,
    /// Packets that somebody else in the room made in a speaker's name, played or not.
    pub impersonated: u64,
    /// Frames held for their seal.
    pub held: u64,
    /// Frames held that no seal has covered in time, or that had to make room.
    pub unsealed: u64,
}

/// Seals and opens the frames of one member in one room.
///
/// It is made from an epoch's keys and goes on with the next epoch's:
///
/// ```
/// # use std::time::Duration;
/// # use parlor::{EpochKeys, KeyIdLayout, LeafIndex, MemberId, Suite, Voice, media::Speaker};
/// # let keys = |me: u32| EpochKeys::new(
/// #     Suite::default(), KeyIdLayout::default(), 0, zeroize::Zeroizing::new(vec![7; 32]), LeafIndex(me),
/// #     vec![Speaker { leaf: LeafIndex(0), id: MemberId::from_bytes([1; 32]) }], Duration::ZERO,
/// # );
/// # let (ana_keys, ben_keys, now) = (keys(0)?, keys(1)?, Duration::ZERO);
/// let (mut ana, mut ben) = (Voice::new(ana_keys), Voice::new(ben_keys));
/// let packet = ana.seal(b"an Opus frame")?;
/// let heard = ben.open(&packet, now)?;
/// assert_eq!(heard.frame, b"an Opus frame");
/// # Ok::<(), parlor::Error>(())
/// ```
///
/// It owns the counter of its key, so there is one of it:
///
/// ```compile_fail,E0599
/// # use std::time::Duration;
/// # use parlor::{EpochKeys, KeyIdLayout, LeafIndex, MemberId, Suite, Voice, media::Speaker};
/// # let keys = |me: u32| EpochKeys::new(
/// #     Suite::default(), KeyIdLayout::default(), 0, zeroize::Zeroizing::new(vec![7; 32]), LeafIndex(me),
/// #     vec![Speaker { leaf: LeafIndex(0), id: MemberId::from_bytes([1; 32]) }], Duration::ZERO,
/// # );
/// # let (ana_keys, now) = (keys(0)?, Duration::ZERO);
/// let mut ana = Voice::new(ana_keys);
/// let packet = ana.clone().seal(b"an Opus frame")?;
/// # Ok::<(), parlor::Error>(())
/// ```
///
/// It is `Send`: the audio may live on a thread of its own. `seal_into` and `open_in_place` take no lock and
/// allocate nothing, but that a packet to be parked is copied.
pub struct Voice {
    suite: Suite,
    layout: KeyIdLayout,
    room: [u8; 32],
    limits: Limits,
    current: Epoch,
    /// Past epochs, the youngest first.
    previous: VecDeque<Epoch>,
    lot: Lot,
    stats: Stats,
    /// One for each member of the room, by their place among the current epoch's people.
    accounts: Box<[Account]>,
    /// What keeps one from speaking on stage. It stands by itself, so that no rekey, whoever it lists, switches one's
    /// own microphone on.
    silenced: Option<Mute>,
    /// Seals on their way out.
    outgoing: VecDeque<Outgoing>,
    /// Whether each seal is sent twice.
    seals_twice: bool,
    /// Frames whose seal has come.
    ready: VecDeque<Ready>,
    findings: Findings,
    /// What clips are made of, in a room that keeps evidence.
    evidence: Option<Box<Evidence>>,
    /// When all that waits for seals was last looked over.
    looked_over: Duration,
    /// One is out of the room: there are no keys, no people, no accounts.
    closed: bool,
}

impl Voice {
    /// A voice that speaks and listens with `keys`, within the default [`Limits`].
    pub fn new(keys: EpochKeys) -> Self {
        Self::within(Limits::default(), keys)
    }

    /// A voice that speaks and listens with `keys`, within `limits`.
    ///
    /// # Errors
    /// [`Error::Unusable`] if a limit is beyond its bound. The keys are gone.
    pub fn with_limits(keys: EpochKeys, limits: Limits) -> Result<Self> {
        limits.check()?;
        Ok(Self::within(limits, keys))
    }

    fn within(limits: Limits, mut keys: EpochKeys) -> Self {
        let accounts = std::mem::take(&mut keys.frames.accounts);
        let mut voice = Self {
            suite: keys.suite,
            layout: keys.layout,
            room: keys.room,
            limits,
            current: keys.frames,
            previous: VecDeque::with_capacity(MAX_PREVIOUS),
            lot: Lot::new(),
            stats: Stats::default(),
            accounts,
            silenced: None,
            outgoing: VecDeque::new(),
            seals_twice: true,
            ready: VecDeque::new(),
            findings: Findings::default(),
            evidence: None,
            looked_over: Duration::ZERO,
            closed: false,
        };
        voice.keep_evidence();
        voice
    }

    /// Seals one frame of at most [`MAX_FRAME`] bytes and gives its packet.
    ///
    /// # Errors
    /// As [`seal_into`](Self::seal_into).
    pub fn seal(&mut self, frame: &[u8]) -> Result<Vec<u8>> {
        let overhead = self.overhead();
        let mut packet = vec![0; frame.len().min(MAX_FRAME) + overhead];
        self.seal_into(frame, &mut packet)?;
        Ok(packet)
    }

    /// Seals one frame of at most [`MAX_FRAME`] bytes to the front of `packet`; gives the packet's length in bytes,
    /// which is the frame's and [`overhead`](Self::overhead). A buffer with [`MAX_OVERHEAD`] to spare always does.
    ///
    /// # Errors
    /// [`Error::NotOnStage`] if one may not speak in this epoch; [`Error::Muted`] while one's microphone is off;
    /// [`Error::Closed`] after [`close`](Self::close); [`Error::TooLarge`] for a frame over the maximum;
    /// [`Error::BufferTooSmall`] if `packet` is; [`Error::Exhausted`] if the key has sealed its last frame. No counter
    /// is used then.
    pub fn seal_into(&mut self, frame: &[u8], packet: &mut [u8]) -> Result<usize> {
        let Some(sealer) = self.current.sealer.as_mut().filter(|_| self.silenced.is_none()) else {
            return Err(self.may_not_speak());
        };
        if frame.len() > MAX_FRAME {
            return Err(too_large(Item::Frame, frame.len(), MAX_FRAME));
        }
        let counter = sealer.next_counter();
        let len = sealer.seal_into(&[], frame, packet)?;
        self.stats.sealed += 1;
        if let Some(seals) = &mut self.current.seals
            && let Some(maker) = &mut seals.maker
            && let Some(packet) = packet.get(..len)
        {
            maker.add(counter, packet, !seals.unneeded);
        }
        Ok(len)
    }

    /// The next seal of what one said oneself, as a packet to send like any other; none when none is due.
    ///
    /// Call it until it gives none after each frame, and now and then while one is silent. Seals go where packets go;
    /// on a lossy network each comes out twice, a little apart. Where the transport has a reliable channel, send them
    /// on that and say so: [`send_seals_once`](Self::send_seals_once).
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
    /// Opens a packet that arrived at `now`.
    ///
    /// # Errors
    /// As [`open_in_place`](Self::open_in_place).
    pub fn open(&mut self, packet: &[u8], now: Duration) -> Result<Heard<Vec<u8>>> {
        if packet.len() > MAX_PACKET {
            return Err(self.over_size(packet.len()));
        }
        let mut packet = packet.to_vec();
        let heard = self.open_in_place(&mut packet, now)?;
        Ok(heard.map(<[u8]>::to_vec))
    }

    /// Opens a packet that arrived at `now`, where it lies; the frame is a part of `packet`.
    ///
    /// `now` is the time on the monotonic clock that the room is given too; it decides nothing but how long past
    /// epochs and parked packets are kept, and what [`hearing`](Self::hearing) says.
    ///
    /// # Errors
    /// By whose fault:
    /// - the bytes: [`Error::Malformed`], [`Error::TooLarge`]; [`Error::Forged`], after which those of `packet` are
    ///   of no use;
    /// - the moment: [`Error::Replayed`], [`Error::TooLate`], [`Error::Reflected`] for one's own packet;
    ///   [`Error::Parked`] if its key is on its way and it was kept for [`unpark`](Self::unpark), [`Error::Held`] if its
    ///   seal is;
    /// - nobody: [`Error::Seal`], for it was a speaker's seal and no sound: call [`unpark`](Self::unpark);
    /// - somebody in the room: [`Error::Impersonated`];
    /// - the policy: [`Error::NotOnStage`], even though it may have decrypted; [`Error::Muted`]; [`Error::Unsealed`];
    /// - oneself: [`Error::Closed`], after [`close`](Self::close).
    ///
    /// But for statistics, accounts and parking, the voice is as it was.
    pub fn open_in_place<'p>(&mut self, packet: &'p mut [u8], now: Duration) -> Result<Heard<&'p [u8]>> {
        if !self.previous.is_empty() || self.lot.packets() > 0 {
            self.expire(now);
        }
        if packet.len() > MAX_PACKET {
            return Err(self.over_size(packet.len()));
        }
        // With its tag a packet is never shorter than the longest header.
        let Some(front) = packet.first_chunk::<MAX_HEADER>() else {
            return Err(self.malformed("it is shorter than any packet"));
        };
        let (header, header_len) = match Header::parse(front, MAX_HEADER) {
            Ok(header) => header,
            Err(error) => return Err(self.count_malformed(error)),
        };
        if packet.len() < header_len + TAG_LEN {
            return Err(self.malformed("it is too short for its tag"));
        }
        let (which, leaf) = match self.layout.leaf_if_microphone_of(self.current.number, header.kid) {
            Some(leaf) => (Which::Current, leaf),
            None => {
                let (stream, which, leaf) = self.of_another_key(header.kid, packet, now)?;
                if stream == SEALS {
                    return Err(self.take_seal(which, leaf, header, header_len, packet, now));
                }
                (which, leaf)
            }
        };
        self.open_at(which, leaf, header, header_len, packet, now)
    }

    /// Goes on under the keys of a later epoch.
    ///
    /// From this call on frames are sealed under them. Frames of the epoch before are opened for
    /// [`Limits::previous_epoch`] more, counted from when the room entered the later one, and only of those who are
    /// still on stage. Who stays in the room stays muted, and their account goes on; who left is forgotten. Call
    /// [`unpark`](Self::unpark) next, until it gives none.
    ///
    /// # Errors
    /// [`Error::WrongKeys`] if the keys are another room's, or not of a later epoch than the voice's;
    /// [`Error::Closed`] after [`close`](Self::close). The voice is as it was; the keys are gone.
    pub fn rekey(&mut self, mut keys: EpochKeys) -> Result<()> {
        if self.closed {
            return Err(self.is_closed());
        }
        let wrong = |why| Err(Error::WrongKeys { keys: keys.epoch(), voice: self.current.number, why });
        if (keys.room, keys.suite, keys.layout) != (self.room, self.suite, self.layout) {
            return wrong("they are another room's; give them to that room's voice: each has a voice of its own");
        }
        if keys.epoch() <= self.current.number {
            return wrong("they are not of a later epoch; give each epoch's keys once, in order");
        }
        let mut accounts = std::mem::take(&mut keys.frames.accounts);
        keys.frames.people.hand_on(&self.current.people, &mut self.accounts, &mut accounts, keys.since);
        accounts.iter_mut().for_each(|account| account.reach(keys.frames.number));
        self.accounts = accounts;
        let mut past = std::mem::replace(&mut self.current, keys.frames);
        for packet in past.finish(&self.room, self.suite) {
            self.stats.seals_made += 1;
            self.send(Outgoing { packet, first: true, after: 0, at: Duration::ZERO });
        }
        past.superseded_at = keys.since;
        self.current.stay_contested(&past, keys.since);
        self.keep_evidence();
        self.previous.push_front(past);
        // Beyond half of what its bits can tell, a past epoch would look like one to come.
        let furthest = self.layout.epoch_mask().div_ceil(2);
        let current = self.current.number;
        self.forget_past(keys.since, |place, past| place < MAX_PREVIOUS && current - past.number <= furthest);
        let mut unverified = Vec::new();
        for past in &mut self.previous {
            past.keep_only_those_in(&self.current, |epoch, gone| {
                unverified.extend(gone.unsealed().map(|counter| (gone.id, epoch, counter)));
            });
        }
        for (speaker, epoch, counter) in unverified {
            self.flag(&speaker, epoch, counter, keys.since);
        }
        self.lot.reach(self.current.number);
        Ok(())
    }

    /// Plays nothing more of `member`, whatever the room says, until [`unmute`](Self::unmute) or they leave the room:
    /// their packets are refused undecrypted. Nobody else learns of it.
    ///
    /// One's own id seals nothing more, as a microphone that is off. Who is not in the room is ignored.
    pub fn mute(&mut self, member: &MemberId) {
        self.change(member, |account| account.muted = true);
    }

    /// Takes a [`mute`](Self::mute) back.
    pub fn unmute(&mut self, member: &MemberId) {
        self.change(member, |account| account.muted = false);
    }

    /// What the room said of `member`'s microphone. While it is off their packets are refused, so that what is shown
    /// is what is heard; with one's own id, nothing is sealed.
    ///
    /// It holds over rekeys, until they leave the room; one's own, until it is switched on. Who is not in the room is
    /// ignored.
    pub fn set_mic(&mut self, member: &MemberId, on: bool) {
        self.change(member, |account| account.mic_off = !on);
    }

    /// One is out of the room: erases every key and whatever is parked, and forgets who was there. In a room that keeps
    /// evidence what clips are made of stays until the voice is dropped.
    ///
    /// Nothing is sealed, opened or rekeyed any more; a room that is entered again comes with a voice of its own.
    pub fn close(&mut self) {
        self.closed = true;
        self.current.clear();
        self.previous.clear();
        self.lot = Lot::new();
        self.accounts = Box::default();
        self.silenced = None;
        self.outgoing.clear();
        self.ready.clear();
    }

    /// The next frame that waited: for its seal, or for its epoch. None when there are no more.
    ///
    /// Each comes out once: those whose seal has come first, in order of their counters, then parked ones, in order of
    /// arrival. Call it after each [`rekey`](Self::rekey), and after each packet of which [`open`](Self::open) said
    /// [`Error::Seal`]. Whether a frame that waited is still worth playing is for the jitter buffer to say.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use parlor::{EpochKeys, KeyIdLayout, LeafIndex, MemberId, Suite, Voice, media::Speaker};
    /// # let keys = |me: u32, epoch| EpochKeys::new(
    /// #     Suite::default(), KeyIdLayout::default(), epoch, zeroize::Zeroizing::new(vec![epoch as u8; 32]), LeafIndex(me),
    /// #     vec![Speaker { leaf: LeafIndex(0), id: MemberId::from_bytes([1; 32]) }], Duration::ZERO,
    /// # );
    /// # let (mut ana, mut ben, now) = (Voice::new(keys(0, 0)?), Voice::new(keys(1, 0)?), Duration::ZERO);
    /// # let (ana_keys, ben_keys) = (keys(0, 1)?, keys(1, 1)?);
    /// ana.rekey(ana_keys)?;
    /// let packet = ana.seal(b"from the epoch that Ben has yet to enter")?;
    /// assert!(matches!(ben.open(&packet, now), Err(parlor::Error::Parked { .. })));
    ///
    /// ben.rekey(ben_keys)?;
    /// while let Some(heard) = ben.unpark(now) {
    ///     assert_eq!(heard?.frame, b"from the epoch that Ben has yet to enter");
    /// }
    /// # Ok::<(), parlor::Error>(())
    /// ```
    pub fn unpark(&mut self, now: Duration) -> Option<Result<Heard<Vec<u8>>>> {
        self.expire(now);
        loop {
            if let Some(heard) = self.take_ready(now) {
                return Some(Ok(heard));
            }
            let mut parked = self.lot.take_reached()?;
            self.stats.unparked += 1;
            match self.open_parked(&mut parked, now) {
                // What it held up comes out next, or later.
                Err(Error::Seal { .. } | Error::Held { .. }) => {}
                opened => return Some(opened),
            }
        }
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

    /// Erases what time has outlived: keys of past epochs, parked packets. Every call that is given the time does so;
    /// call this one too, once a second or so, when no packets come.
    #[cold]
    pub fn expire(&mut self, now: Duration) {
        let keep = self.limits.previous_epoch;
        if self.previous.iter().any(|past| now.abs_diff(past.superseded_at) > keep) {
            self.forget_past(now, |_, past| now.abs_diff(past.superseded_at) <= keep);
        }
        if now.abs_diff(self.looked_over) >= LOOK_OVER {
            self.look_over(now);
        }
        let (stats, people, accounts) = (&mut self.stats, &self.current.people, &mut self.accounts);
        self.lot.expire(&self.limits, now, |leaf| {
            stats.parked_expired += 1;
            if let Some(account) = account_at(people, accounts, leaf) {
                account.expire_parked();
            }
        });
    }

    /// Why `member` is heard at `now`, or is not: the [`Cause`], which says what to do next, with what became of their
    /// packets.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use parlor::{Cause, EpochKeys, KeyIdLayout, LeafIndex, MemberId, Suite, Voice, media::Speaker};
    /// # let (ben_id, now) = (MemberId::from_bytes([2; 32]), Duration::from_secs(5));
    /// # let keys = |me: u32| EpochKeys::new(
    /// #     Suite::default(), KeyIdLayout::default(), 0, zeroize::Zeroizing::new(vec![7; 32]), LeafIndex(me),
    /// #     vec![Speaker { leaf: LeafIndex(1), id: ben_id }], Duration::ZERO,
    /// # );
    /// # let (mut ana, mut ben) = (Voice::new(keys(0)?), Voice::new(keys(1)?));
    /// let before = ana.hearing(&ben_id, now);
    /// println!("{} {}", before.cause, before.cause.next_step());
    /// assert!(matches!(before.cause, Cause::NothingYet { .. }));
    ///
    /// ana.open(&ben.seal(b"an Opus frame")?, now)?;
    /// assert_eq!(ana.hearing(&ben_id, now).cause, Cause::Heard);
    /// # Ok::<(), parlor::Error>(())
    /// ```
    pub fn hearing(&self, member: &MemberId, now: Duration) -> Hearing {
        if self.closed {
            return Hearing::unaccounted(Cause::Closed);
        }
        let found = self.current.people.find(member);
        let Some((account, person)) = found.and_then(|(place, person)| Some((self.accounts.get(place)?, person)))
        else {
            return Hearing::unaccounted(Cause::NotInRoom);
        };
        if person.leaf == self.current.me {
            return account.told(Cause::You, now);
        }
        let hearing = account.hearing(person.off_stage, self.limits.parked_for, now);
        Hearing { seals: self.seal_state(account, person.leaf, now), ..hearing }
    }

    /// The newest that `speaker` has said under seals that follow one another, in a room that keeps evidence: a clip to be
    /// vouched for ([`Room::vouch`](crate::Room::vouch)), which anybody can [verify](crate::Clip::verify).
    ///
    /// It is of one epoch, and of what [`Limits::evidence_bytes`] has room for. It stays possible after
    /// [`close`](Self::close), until the voice is dropped.
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

    /// The epoch that frames are sealed under.
    pub fn epoch(&self) -> u64 {
        self.current.number
    }

    /// Where one stands in the tree in this epoch.
    pub fn leaf(&self) -> LeafIndex {
        self.current.me
    }

    /// Whether one may speak in this epoch.
    pub fn on_stage(&self) -> bool {
        self.current.sealer.is_some()
    }

    /// Everybody else on stage in this epoch: whose frames are opened.
    pub fn speakers(&self) -> impl Iterator<Item = MemberId> {
        self.current.senders().map(|sender| sender.id)
    }

    /// The room's suite.
    pub fn suite(&self) -> Suite {
        self.suite
    }

    /// What the voice keeps at most.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// What became of its frames and packets.
    pub fn stats(&self) -> &Stats {
        &self.stats
    }

    /// The bytes that the next packet has beyond its frame: header and tag. It grows with the counter, to 22 at
    /// 65,535 frames in a room of 4,096. Zero for one who is not on stage.
    pub fn overhead(&self) -> usize {
        self.current.sealer.as_ref().map_or(0, |sealer| sealer.overhead())
    }

    /// How many packets are parked, and how many bytes they have together.
    pub fn parked(&self) -> (usize, usize) {
        (self.lot.packets(), self.lot.bytes())
    }

    /// A hash of everything that decides what the voice will do, statistics and accounts of packets apart: for tests that nothing has moved.
    #[doc(hidden)]
    pub fn state_digest(&self) -> [u8; 32] {
        let mut hash = Sha256::new();
        for epoch in std::iter::once(&self.current).chain(&self.previous) {
            hash.update(epoch.number.to_be_bytes());
            hash.update(epoch.superseded_at.as_nanos().to_be_bytes());
            hash.update(epoch.sealer.as_ref().map_or(u64::MAX, |sealer| sealer.next_counter()).to_be_bytes());
            for Sender { id, leaf, key, window, watcher, account: _ } in epoch.senders() {
                hash.update(id.as_bytes());
                hash.update(leaf.0.to_be_bytes());
                hash.update(key.kid().to_be_bytes());
                window.words().for_each(|word| hash.update(word.to_be_bytes()));
                if let Some(watcher) = watcher {
                    watcher.watch.digest(|bytes| hash.update(bytes));
                }
            }
        }
        for (person, account) in self.current.people.iter().zip(&self.accounts) {
            if account.is_silenced() {
                hash.update(person.id.as_bytes());
                hash.update([u8::from(account.muted), u8::from(account.mic_off)]);
            }
        }
        hash.update([u8::from(self.silenced.is_some()), u8::from(self.closed)]);
        for parked in self.lot.iter() {
            hash.update(parked.epoch.to_be_bytes());
            hash.update(parked.arrived.as_nanos().to_be_bytes());
            hash.update((parked.packet.len() as u64).to_be_bytes());
            hash.update(&parked.packet);
        }
        hash.finalize().into()
    }

    /// Stream, place of the keys, and sender of a key id that is not of a microphone in the current epoch.
    #[cold]
    fn of_another_key(&mut self, kid: u64, packet: &[u8], now: Duration) -> Result<(u64, Which, LeafIndex)> {
        if self.closed {
            return Err(self.is_closed());
        }
        let (stream, leaf, epoch_bits) = self.layout.split(kid);
        if stream > SEALS || (stream == SEALS && self.current.seals.is_none()) {
            self.book(leaf, Refusal::Malformed, now);
            return Err(self.malformed("its stream is not one that this voice plays"));
        }
        match self.locate(epoch_bits) {
            Located::Held(which) => Ok((stream, which, leaf)),
            Located::Ahead(epoch) => Err(self.park(leaf, epoch, packet, now)),
            Located::Gone => Err(self.keys_gone(leaf, "the keys of its epoch were erased", now)),
        }
    }

    /// Which epoch the low bits of a packet's mean: the current one or a past one within half their range, else one
    /// to come. The guess is safe: the base key is of the full epoch, so the tag of a wrong one does not verify.
    fn locate(&self, epoch_bits: u64) -> Located {
        let (mask, current) = (self.layout.epoch_mask(), self.current.number);
        let forward = epoch_bits.wrapping_sub(current) & mask;
        if forward == 0 {
            return Located::Held(Which::Current);
        }
        if forward < mask.div_ceil(2) {
            return current.checked_add(forward).map_or(Located::Gone, Located::Ahead);
        }
        let Some(number) = current.checked_sub(mask + 1 - forward) else {
            return Located::Gone;
        };
        self.place_of(number).map_or(Located::Gone, Located::Held)
    }

    fn place_of(&self, number: u64) -> Option<Which> {
        if number == self.current.number {
            return Some(Which::Current);
        }
        self.previous.iter().position(|past| past.number == number).map(Which::Previous)
    }

    #[inline(always)]
    fn open_at<'p>(
        &mut self,
        which: Which,
        leaf: LeafIndex,
        header: Header,
        header_len: usize,
        packet: &'p mut [u8],
        now: Duration,
    ) -> Result<Heard<&'p [u8]>> {
        let epoch = match which {
            Which::Current => &mut self.current,
            Which::Previous(place) => match self.previous.get_mut(place) {
                Some(epoch) => epoch,
                None => return Err(self.keys_gone(leaf, "the keys of its epoch were erased", now)),
            },
        };
        let (number, rules) = (epoch.number, epoch.rules());
        // In a room of two the tag says whose it is.
        let proven = rules.is_none() && epoch.seals.is_some();
        let Some(sender) = epoch.sender_mut(leaf) else {
            return Err(self.no_such_sender(which, leaf, Some((header, header_len, packet)), now));
        };
        let place = sender.account;
        let Some(account) = self.accounts.get_mut(place) else {
            return Err(self.no_such_sender(which, leaf, None, now));
        };
        if account.is_silenced() {
            return Err(self.muted(place, leaf, number, now));
        }
        if header.counter > MAX_COUNTER {
            account.refuse(Refusal::Malformed, now);
            return Err(self.malformed("its counter is higher than any sealer counts"));
        }
        if let Some(rules) = rules {
            let (speaker, counter, evidence) = (sender.id, header.counter, self.evidence.as_deref_mut());
            return match open_watched(&rules, sender, evidence, counter, header_len, packet, now) {
                Ok((cover, frame)) => {
                    account.open(now);
                    let sealed = cover == Cover::Given;
                    if sealed {
                        account.verify(1, 0, now);
                        self.stats.verified += 1;
                    }
                    self.stats.opened += 1;
                    if cover == Cover::Never {
                        self.flag(&speaker, number, counter, now);
                    }
                    Ok(Heard { speaker, leaf, epoch: number, counter, sealed, parked_for: Duration::ZERO, frame })
                }
                Err(why) => Err(self.not_played(why, speaker, place, leaf, number, counter, now)),
            };
        }
        if let Err(stale) = sender.window.check(header.counter) {
            return Err(self.stale(stale, place, leaf, number, header.counter, now));
        }
        match sender.key.open(header.counter, header_len, &[], packet) {
            Ok(frame) => {
                sender.window.mark(header.counter);
                account.open(now);
                if proven {
                    account.verify(1, 0, now);
                    self.stats.verified += 1;
                }
                let (speaker, counter, sealed) = (sender.id, header.counter, proven);
                self.stats.opened += 1;
                Ok(Heard { speaker, leaf, epoch: number, counter, sealed, parked_for: Duration::ZERO, frame })
            }
            Err(Refused) => Err(self.forged(place, leaf, number, now)),
        }
    }

    /// Takes a packet of a stream of seals, and says what it was.
    #[cold]
    fn take_seal(
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
        let is_speaker = epoch.sender(leaf).is_some();
        let sealing = epoch.sealing_sender(leaf);
        let Some((sender, watcher, seals)) = sealing else {
            if is_speaker {
                self.book(leaf, Refusal::Malformed, now);
                return self.malformed("it is a seal, and seals of this sender count for nothing here");
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
        self.settle(outcome, speaker, place, leaf, in_epoch, now);
        Error::Seal { leaf, epoch: in_epoch }
    }

    /// Books what a seal of `speaker`'s has brought to light.
    fn settle(
        &mut self,
        outcome: Outcome,
        speaker: MemberId,
        place: usize,
        leaf: LeafIndex,
        epoch: u64,
        now: Duration,
    ) {
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
            self.ready.push_back(Ready { speaker, leaf, epoch, counter, frame, arrived });
        }
    }

    /// The next frame whose seal has come, of somebody who is still to be played.
    fn take_ready(&mut self, now: Duration) -> Option<Heard<Vec<u8>>> {
        loop {
            let Ready { speaker, leaf, epoch, counter, frame, arrived } = self.ready.pop_front()?;
            let found = self.current.people.find(&speaker).filter(|(_, person)| person.off_stage.is_none());
            let account = found.and_then(|(place, _)| self.accounts.get_mut(place));
            let Some(account) = account.filter(|account| !account.is_silenced()) else { continue };
            account.open(now);
            account.verify(1, 0, now);
            self.stats.opened += 1;
            self.stats.verified += 1;
            let parked_for = now.saturating_sub(arrived);
            return Some(Heard { speaker, leaf, epoch, counter, sealed: true, parked_for, frame: frame.into() });
        }
    }

    /// Flags a frame that was played and that no seal covers.
    fn flag(&mut self, speaker: &MemberId, epoch: u64, counter: u64, now: Duration) {
        self.stats.unverified += 1;
        let found = self.current.people.find(speaker);
        if let Some(account) = found.and_then(|(place, _)| self.accounts.get_mut(place)) {
            account.flag(1);
        }
        self.findings.unverified(*speaker, epoch, counter, now);
    }

    /// Flags what no seal has covered in time, and drops what was held for too long.
    fn look_over(&mut self, now: Duration) {
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

    /// Erases those past epochs that `keep` does not, and flags what is left of theirs without a seal.
    fn forget_past(&mut self, now: Duration, keep: impl Fn(usize, &Epoch) -> bool) {
        let mut unverified = Vec::new();
        let mut place = 0;
        self.previous.retain(|past| {
            let kept = keep(place, past);
            place += 1;
            if !kept {
                for sender in past.senders() {
                    unverified.extend(sender.unsealed().map(|counter| (sender.id, past.number, counter)));
                }
            }
            kept
        });
        for (speaker, epoch, counter) in unverified {
            self.flag(&speaker, epoch, counter, now);
        }
        if let Some(evidence) = &mut self.evidence {
            let oldest = self.previous.back().map_or(self.current.number, |past| past.number);
            evidence.archive.retire(oldest);
        }
    }

    /// Keeps what clips need of the current epoch, if the room keeps evidence.
    fn keep_evidence(&mut self) {
        if !self.current.keeps_evidence() || self.limits.evidence_bytes == 0 {
            return;
        }
        let bytes = self.limits.evidence_bytes;
        let evidence = self.evidence.get_or_insert_with(|| Box::new(Evidence::new(bytes)));
        self.current.enter(&mut evidence.archive);
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
            self.send(Outgoing { packet: packet.clone(), first: false, after, at: now + SECOND_COPY });
        }
        packet
    }

    fn send(&mut self, packet: Outgoing) {
        if self.outgoing.len() >= MAX_OUTGOING {
            self.outgoing.pop_front();
        }
        self.outgoing.push_back(packet);
    }

    fn seal_state(&self, account: &Account, leaf: LeafIndex, now: Duration) -> SealState {
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

    fn open_parked(&mut self, parked: &mut Parked, now: Duration) -> Result<Heard<Vec<u8>>> {
        // By the epoch it was parked for: after a long leap its bits alone might mean one to come again.
        let Some(which) = self.place_of(parked.epoch) else {
            return Err(self.keys_gone(parked.leaf, "the keys of its epoch were erased, or never came", now));
        };
        let (header, header_len) = Header::decode(&parked.packet)?;
        if self.layout.split(header.kid).0 == SEALS {
            return Err(self.take_seal(which, parked.leaf, header, header_len, &mut parked.packet, now));
        }
        let heard = self.open_at(which, parked.leaf, header, header_len, &mut parked.packet, now)?;
        Ok(Heard { parked_for: now.saturating_sub(parked.arrived), ..heard.map(<[u8]>::to_vec) })
    }

    /// Changes the account of `member`, if they are in the room.
    fn change(&mut self, member: &MemberId, change: impl FnOnce(&mut Account)) {
        if let Some((place, person)) = self.current.people.find(member)
            && let Some(account) = self.accounts.get_mut(place)
        {
            change(account);
            if person.leaf == self.current.me {
                self.silenced = match account.silenced_by() {
                    Some(Mute::Themselves) => Some(Mute::OwnMicrophone),
                    by => by,
                };
            }
        }
    }

    /// Books a refusal under who sits at `leaf` in the current epoch; under nobody, if nobody does.
    fn book(&mut self, leaf: LeafIndex, as_what: Refusal, now: Duration) {
        if let Some(account) = account_at(&self.current.people, &mut self.accounts, leaf) {
            account.refuse(as_what, now);
        }
    }

    #[cold]
    fn park(&mut self, leaf: LeafIndex, epoch: u64, packet: &[u8], now: Duration) -> Error {
        self.stats.parked += 1;
        let parked = Parked { packet: packet.into(), arrived: now, epoch, leaf };
        let (stats, people, accounts) = (&mut self.stats, &self.current.people, &mut self.accounts);
        let kept = self.lot.park(&self.limits, parked, |leaf| {
            stats.parked_dropped += 1;
            if let Some(account) = account_at(people, accounts, leaf) {
                account.drop_parked(now);
            }
        });
        if let Some(account) = account_at(people, accounts, leaf) {
            account.park(kept, epoch, self.limits.parked_for, now);
        }
        if !kept {
            stats.parked_dropped += 1;
            return Error::TooLate { leaf, why: "its key is on its way, and the parking lot has no room for it" };
        }
        Error::Parked { leaf, epoch_bits: epoch & self.layout.epoch_mask() }
    }

    #[cold]
    fn may_not_speak(&self) -> Error {
        let (leaf, epoch) = (self.current.me, self.current.number);
        if self.closed {
            return self.is_closed();
        }
        if let Some(by) = self.silenced.filter(|_| self.on_stage()) {
            return Error::Muted { leaf, epoch, by };
        }
        // Who has the keys is in the room, listed or not.
        let listed = self.current.people.at(leaf).and_then(|(_, person)| person.off_stage);
        Error::NotOnStage { leaf, epoch, why: listed.unwrap_or(OffStage::Listener) }
    }

    #[cold]
    fn is_closed(&self) -> Error {
        Error::Closed { epoch: self.current.number }
    }

    #[cold]
    fn over_size(&mut self, bytes: usize) -> Error {
        self.count_malformed(too_large(Item::Packet, bytes, MAX_PACKET))
    }

    #[cold]
    fn malformed(&mut self, why: &'static str) -> Error {
        self.count_malformed(Error::Malformed { what: Item::Packet, why })
    }

    #[cold]
    fn count_malformed(&mut self, error: Error) -> Error {
        if self.closed {
            return self.is_closed();
        }
        self.stats.malformed += 1;
        error
    }

    #[cold]
    fn keys_gone(&mut self, leaf: LeafIndex, why: &'static str, now: Duration) -> Error {
        self.stats.too_late += 1;
        self.book(leaf, Refusal::WrongEpoch, now);
        Error::TooLate { leaf, why }
    }

    #[cold]
    fn no_such_sender(
        &mut self,
        which: Which,
        leaf: LeafIndex,
        packet: Option<(Header, usize, &mut [u8])>,
        now: Duration,
    ) -> Error {
        if self.closed {
            return self.is_closed();
        }
        let current = &self.current;
        let epoch = match which {
            Which::Current => current,
            Which::Previous(place) => self.previous.get(place).unwrap_or(current),
        };
        let number = epoch.number;
        if leaf == epoch.me {
            let forged = packet.filter(|(header, _, packet)| epoch.is_not_own(header.counter, packet));
            if let Some((header, header_len, packet)) = forged
                && let Some(sealer) = &epoch.sealer
                && sealer.key().open(header.counter, header_len, &[], packet).is_ok()
            {
                let (me, forger) = (epoch.people.at(leaf).map(|(_, me)| me.id), epoch.only_other());
                return self.spoke_as_me(me, forger, leaf, number, header.counter, now);
            }
            self.stats.reflected += 1;
            return Error::Reflected { epoch: number };
        }
        // Who sat there then, wherever they sit today.
        let then = epoch.people.at(leaf).map(|(_, person)| person);
        let today = then.and_then(|person| current.people.find(&person.id));
        let why = match (then, today) {
            (Some(then), Some((_, today))) => then.off_stage.or(today.off_stage).unwrap_or(OffStage::LeftSince),
            _ => OffStage::NotInRoom,
        };
        if let Some(account) = today.and_then(|(place, _)| self.accounts.get_mut(place)) {
            account.refuse(Refusal::NotOnStage, now);
        }
        self.stats.not_on_stage += 1;
        Error::NotOnStage { leaf, epoch: number, why }
    }

    #[cold]
    fn muted(&mut self, place: usize, leaf: LeafIndex, epoch: u64, now: Duration) -> Error {
        self.stats.muted += 1;
        self.book_at(place, Refusal::Muted, now);
        let by = self.accounts.get(place).and_then(Account::silenced_by).unwrap_or(Mute::You);
        Error::Muted { leaf, epoch, by }
    }

    #[cold]
    fn stale(&mut self, stale: Stale, place: usize, leaf: LeafIndex, epoch: u64, counter: u64, now: Duration) -> Error {
        match stale {
            Stale::Seen => {
                self.stats.replayed += 1;
                self.book_at(place, Refusal::Replayed, now);
                Error::Replayed { leaf, epoch, counter }
            }
            Stale::TooOld => {
                self.stats.too_late += 1;
                self.book_at(place, Refusal::TooLate, now);
                Error::TooLate { leaf, why: "it fell behind the replay window" }
            }
        }
    }

    #[cold]
    fn forged(&mut self, place: usize, leaf: LeafIndex, epoch: u64, now: Duration) -> Error {
        self.stats.forged += 1;
        self.book_at(place, Refusal::Forged, now);
        Error::Forged { leaf, epoch }
    }

    /// A frame of a room that seals is not played, or not yet.
    #[cold]
    #[expect(clippy::too_many_arguments, reason = "all that there is to say of it")]
    fn not_played(
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
        self.book_at(place, Refusal::Held, now);
        self.stats.held += 1;
        if !kept {
            self.stats.unsealed += 1;
            if let Some(account) = self.accounts.get_mut(place) {
                account.drop_held(1);
            }
        }
        error
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

    /// Somebody speaks in one's own name: of that one is sure, and of who it is where there is one other.
    #[cold]
    fn spoke_as_me(
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

    fn book_at(&mut self, place: usize, as_what: Refusal, now: Duration) {
        if let Some(account) = self.accounts.get_mut(place) {
            account.refuse(as_what, now);
        }
    }
}

impl fmt::Debug for Voice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Voice")
            .field("suite", &self.suite)
            .field("epoch", &self.current.number)
            .field("leaf", &self.current.me)
            .field("on_stage", &self.on_stage())
            .finish_non_exhaustive()
    }
}

/// The control plane and the audio may live on threads of their own.
const _: () = {
    const fn is_send<T: Send>() {}
    is_send::<Voice>();
    is_send::<EpochKeys>();
    is_send::<Heard<Vec<u8>>>();
};

impl<F> Heard<F> {
    fn map<G>(self, change: impl FnOnce(F) -> G) -> Heard<G> {
        let Self { speaker, leaf, epoch, counter, sealed, parked_for, frame } = self;
        Heard { speaker, leaf, epoch, counter, sealed, parked_for, frame: change(frame) }
    }
}

/// What clips are made of, and the packet that is being opened: in place, so that it is copied first.
struct Evidence {
    archive: Archive,
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
struct Outgoing {
    packet: Vec<u8>,
    /// A second copy is to follow it.
    first: bool,
    /// It goes once so many frames were sealed,
    after: u64,
    /// or at this time.
    at: Duration,
}

/// A frame whose seal has come.
struct Ready {
    speaker: MemberId,
    leaf: LeafIndex,
    epoch: u64,
    counter: u64,
    frame: Box<[u8]>,
    arrived: Duration,
}

/// Where the keys of an epoch are.
#[derive(Clone, Copy)]
enum Which {
    Current,
    /// At this place among the previous.
    Previous(usize),
}

enum Located {
    Held(Which),
    /// This epoch is on its way.
    Ahead(u64),
    Gone,
}

/// What seals say of a frame that is played.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Cover {
    /// One covers it.
    Given,
    /// One is to come.
    Later,
    /// None ever will.
    Never,
}

/// Why a frame of a room that seals is not played.
enum NotPlayed {
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
fn open_watched<'p>(
    rules: &SealRules,
    sender: &mut Sender,
    evidence: Option<&mut Evidence>,
    counter: u64,
    header_len: usize,
    packet: &'p mut [u8],
    now: Duration,
) -> Result<(Cover, &'p [u8]), NotPlayed> {
    let Some(watcher) = &mut sender.watcher else {
        if rules.mode == SealMode::Strict || rules.unsealed == Unsealed::Hold {
            return Err(NotPlayed::NeverSealed);
        }
        // Nothing of theirs will ever be sealed, so that nothing tells a true packet of a counter from another.
        sender.window.check(counter).map_err(NotPlayed::Stale)?;
        let opened = sender.key.open(counter, header_len, &[], packet);
        let frame = opened.map_err(|Refused| NotPlayed::Forged)?;
        sender.window.mark(counter);
        return Ok((Cover::Never, frame));
    };
    let hash = packet_hash(packet);
    let look = watcher.watch.look(rules, counter, &hash, now);
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
            watcher.watch.opened(counter, &hash, now, sealed);
            Ok((if sealed { Cover::Given } else { Cover::Later }, frame))
        }
        Look::Hold => Err(NotPlayed::Held { room: watcher.watch.hold(counter, &hash, frame, now) }),
        Look::NotTheirs | Look::Stale(_) => {
            watcher.watch.contest(now);
            Err(NotPlayed::NotTheirs)
        }
    }
}

/// The account of who sits at `leaf`.
fn account_at<'a>(people: &People, accounts: &'a mut [Account], leaf: LeafIndex) -> Option<&'a mut Account> {
    accounts.get_mut(people.at(leaf)?.0)
}

#[cold]
fn too_large(what: Item, bytes: usize, limit: usize) -> Error {
    Error::TooLarge { what, bytes, limit }
}

#[cfg(test)]
mod tests {
    use zeroize::Zeroizing;

    use super::*;
    use crate::media::Speaker;

    #[test]
    fn a_rekeyed_voice_holds_no_key_to_seal_with_but_the_newest() {
        let keys = |epoch: u64| {
            let stage = [0, 1].map(|leaf| Speaker { leaf: LeafIndex(leaf), id: MemberId([leaf as u8; 32]) });
            let base_key = Zeroizing::new(vec![epoch as u8; 32]);
            let layout = KeyIdLayout::default();
            EpochKeys::new(Suite::default(), layout, epoch, base_key, LeafIndex(1), stage.to_vec(), Duration::ZERO)
        };
        let mut voice = Voice::new(keys(0).unwrap());
        for epoch in 1..40 {
            voice.rekey(keys(epoch).unwrap()).unwrap();
            assert!(voice.on_stage());
            assert!(voice.previous.iter().all(|past| past.sealer.is_none()));
            assert_eq!(
                voice.previous.len(),
                MAX_PREVIOUS.min(epoch as usize),
                "and few of the past, whatever the clock"
            );
        }
    }
}
