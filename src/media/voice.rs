//! The voice of one member: seals what they say, opens what they hear, and goes from epoch to epoch with the room.
//!
//! Invariants, whatever a hostile relay or member sends:
//! - `open` gives authenticated sound of somebody on stage, once, or an error that says why not;
//! - a key is found by index: one key at most is tried, and none derived, for any packet;
//! - a packet that is refused moves nothing but statistics, unless it is parked or held, within fixed bounds, or its tag
//!   verifies and shows that somebody forges: then the speaker it names is held to their seals for ten seconds;
//! - keys of a past epoch are gone [`Limits::previous_epoch`] after it, and at once those of who has left the stage.
//!
//! Key ids: RFC 9605 §5.2. Time is an argument, on a monotonic clock of the caller's; a clock that jumps, either way,
//! makes old keys and parked packets go sooner, never stay for longer.

mod limits;
mod sealed;
mod stats;

use std::{collections::VecDeque, fmt, time::Duration};

use sha2::{Digest, Sha256};

use self::sealed::{Cover, Evidence, Outgoing, Ready, open_watched};
use crate::{
    error::{Error, Item, Result},
    heard::{Confirmed, Heard},
    identity::{LeafIndex, MemberId},
    media::{
        Cause, EpochKeys, Hearing, KeyIdLayout, Mute, OffStage, SealState, Suite,
        backend::Refused,
        epoch::{Epoch, SEALS, Sender},
        header::{Header, MAX_HEADER},
        hearing::{Account, Refusal},
        parking::{Lot, Parked},
        people::People,
        replay::Stale,
        seal::Findings,
        sframe::MAX_COUNTER,
        suite::TAG_LEN,
    },
};

pub use self::{limits::Limits, stats::Stats};

/// The longest frame in bytes: what 120 ms of sound take at 136 kbit/s, or 60 ms at 272.
pub const MAX_FRAME: usize = 2048;

/// What a packet has beyond its frame in bytes, at the very most: header and tag. See [`Voice::overhead`].
pub const MAX_OVERHEAD: usize = MAX_HEADER + TAG_LEN;

/// The longest packet of a voice in bytes.
const MAX_PACKET: usize = MAX_FRAME + MAX_OVERHEAD;

/// How often packets that come make the voice look for those that lack a seal.
const LOOK_OVER: Duration = Duration::from_millis(20);

/// How many past epochs are kept at most, each for [`Limits::previous_epoch`]: several commits may fall into that time.
const MAX_PREVIOUS: usize = 16;

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
/// allocate nothing, but that what waits is copied, for its key or its seal, and that a seal is read.
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
    /// The room cannot be told from one that has gone on without us.
    stale: bool,
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
            stale: false,
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
    /// [`Error::NotOnStage`] if one may not speak in this epoch; [`Error::Restored`] if one may not yet, for the room was
    /// restored; [`Error::Muted`] while one's microphone is off;
    /// [`Error::Stale`] while no host vouches for the room as one sees it ([`set_stale`](Self::set_stale));
    /// [`Error::Closed`] after [`close`](Self::close); [`Error::TooLarge`] for a frame over the maximum;
    /// [`Error::BufferTooSmall`] if `packet` is; [`Error::Exhausted`] if the key has sealed its last frame. No counter
    /// is used then.
    pub fn seal_into(&mut self, frame: &[u8], packet: &mut [u8]) -> Result<usize> {
        let Some(sealer) = self.current.sealer.as_mut().filter(|_| self.silenced.is_none() & !self.stale) else {
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
    /// But for statistics, accounts, parking, and what seals and forgeries say of their speaker, the voice is as it was.
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

    /// Whether the room is stale: no host has vouched lately for what one sees of it, so that somebody may be listening
    /// who was put out. Then nothing is sealed, and [`hearing`](Self::hearing) says [`Cause::NoHeartbeat`] of everybody;
    /// what others say is still played. It holds over rekeys.
    ///
    /// It is what [`Event::tell`](crate::Event::tell) does with [`Event::Stale`](crate::Event::Stale) and
    /// [`Event::Fresh`](crate::Event::Fresh).
    pub fn set_stale(&mut self, stale: bool) {
        self.stale = stale;
    }

    /// One is out of the room: erases every key and whatever is parked, and forgets who was there. In a room that keeps
    /// evidence what clips are made of stays until the voice is dropped.
    ///
    /// Seals that are still to be sent go with it: without them the others never play one's last half second in a strict
    /// room. Who leaves stops sealing frames first, and sends what [`next_seal`](Self::next_seal) gives for half a second.
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
    /// packets. That is as far as the voice knows: [`Hearing::through`] adds what the ear does with their frames, as
    /// `voice.hearing(&ben, now).through(ear.fate(&ben, now))`.
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
        let untaken = || self.has_ready(member) || self.lot.has_reached(person.leaf);
        let hearing = account.hearing(person.off_stage, self.stale, untaken, self.limits.parked_for, now);
        let seals = self.seal_state(account, person.leaf, now);
        let cause = match hearing.cause {
            // What was played before has waited for one long enough, or they never seal.
            Cause::SealOnItsWay { .. } if seals == SealState::Unverified => Cause::Unsealed,
            cause => cause,
        };
        Hearing { cause, seals, ..hearing }
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
        hash.update([u8::from(self.silenced.is_some()), u8::from(self.stale), u8::from(self.closed)]);
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
        if stream > SEALS {
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
                Ok((cover, confirmed, frame)) => {
                    account.open(now);
                    let verified = cover == Cover::Given;
                    if verified {
                        account.verify(1, 0, now);
                        self.stats.verified += 1;
                    }
                    self.stats.opened += 1;
                    if cover == Cover::Never {
                        self.flag(&speaker, number, counter, now);
                    }
                    let (confirmed, parked_for) = (confirmed.in_epoch(number), Duration::ZERO);
                    Ok(Heard { speaker, leaf, epoch: number, counter, verified, confirmed, parked_for, frame })
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
                let (speaker, counter, verified) = (sender.id, header.counter, proven);
                let (confirmed, parked_for) = (Confirmed::NONE, Duration::ZERO);
                self.stats.opened += 1;
                Ok(Heard { speaker, leaf, epoch: number, counter, verified, confirmed, parked_for, frame })
            }
            Err(Refused) => Err(self.forged(place, leaf, number, now)),
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
        if self.stale && self.on_stage() {
            return Error::Stale { epoch };
        }
        // Who has the keys is in the room, listed or not.
        let listed = self.current.people.at(leaf).and_then(|(_, person)| person.off_stage);
        if self.current.listens_only && listed.is_none() {
            return Error::Restored { epoch };
        }
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
