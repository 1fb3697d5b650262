//! All that one listener hears: a window of waiting frames a speaker, a decoder for each who is heard, one mix of them.
//!
//! An ear is given opened frames, with who made them and what is certain of that, and is asked for as much sound as a
//! device takes. A payload comes from somebody with the room's key: it is checked when it comes, can cost one speaker's
//! worth of memory and time at most, and speaks for its speaker alone. The number of speakers whose frames wait, and who
//! are remembered at all, is limited, and so is the number of decoders.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    time::Duration,
};

use super::{
    Arrival, Channels, Counters, Delay, JitterBuffer,
    device::Device,
    lately::{Lately, RECENT},
    mixer,
    places::{Bar, Loudness, Pool},
    playout::{BLOCK, Playout, Sound, time_of},
};
use crate::{
    error::{Error, Result},
    frame::{Level, VoiceFrame},
    heard::{Fate, Heard},
    identity::MemberId,
};

/// Speakers whose gain and counters are kept, silent or not.
const REMEMBERED: usize = 4096;

/// Speakers whose frames may wait: as many as a stage may hold, and some.
const WINDOWS: usize = 1024;

/// Who has sent nothing for so long makes room for another.
const IDLE: Duration = Duration::from_millis(500);

/// How an ear listens.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct EarSettings {
    /// How long sound may wait in the jitter buffers. Default: 20 ms to 1 s, for frames that waited for a signature.
    pub delay: Delay,
    /// Speakers that may be heard at once: the loudest. Each costs a decoder, about 100 kB. However many more may have
    /// their microphones open, 1,024 at most; each of these costs a window of waiting frames, 20 to 300 kB. Default: 32.
    pub voices: usize,
    /// A speaker from whom nothing came for so long gives their window up; gain and counters stay. Default: 10 s.
    pub rest: Duration,
    /// Whether the mix has one channel or two, interleaved, in which each speaker has a place. Default: mono.
    pub channels: Channels,
}

impl Default for EarSettings {
    fn default() -> Self {
        Self { delay: Delay::signed(), voices: 32, rest: Duration::from_secs(10), channels: Channels::Mono }
    }
}

/// What an ear knows of one speaker.
#[derive(Clone, Copy, PartialEq, Debug)]
#[non_exhaustive]
pub struct SpeakerAccount {
    /// What became of their frames.
    pub counters: Counters,
    /// What was given as theirs and was refused, for it is no voice frame; not counted as received.
    pub malformed: u64,
    /// Frames that came in time but that Opus could not decode; they count as played, and were concealed.
    pub undecodable: u64,
    /// Frames with sound that had their turn without a decoder, for others were louder; they count as played.
    pub faint: u64,
    /// Whether they have a decoder at present: they are among the loudest.
    pub decoded: bool,
    /// How long their sound waits at present.
    pub delay: Duration,
    /// The delay that network and device call for.
    pub target: Duration,
    /// How loud their last sound was, measured after decoding, before the gain.
    pub level: Level,
    /// The gain in the mix.
    pub gain: f32,
    /// Where they are in a mix of two channels: -1 is left, 1 right.
    pub pan: f32,
    /// Whether they are muted in this ear.
    pub muted: bool,
}

/// One listener's ear: hears frames, gives sound.
///
/// ```
/// use std::time::Duration;
/// use parlor::{Heard, MemberId, sound::{Ear, EarSettings, Encoder, Encoding, SILENCE}};
///
/// let ana = MemberId::from_bytes([1; 32]);
/// let mut encoder = Encoder::new(Encoding::default())?;
/// let mut ear = Ear::new(EarSettings::default());
/// let (mut payload, mut sound) = ([0; 64], SILENCE);
/// for tick in 0..50 {
///     let now = Duration::from_millis(20 * tick);
///     encoder.encode(&[0.1; 960], &mut payload)?;
///     ear.hear(&Heard::unverified(ana, 0, tick, payload), now)?; // what `Voice::open` gave
///     ear.mix(now, &mut sound); // to the sound device
/// }
/// assert!(ear.account(&ana).is_some_and(|ana| ana.counters.played > 40));
/// # Ok::<(), parlor::Error>(())
/// ```
#[derive(Debug)]
pub struct Ear {
    settings: EarSettings,
    own: Option<MemberId>,
    seats: BTreeMap<MemberId, Seat>,
    pool: Pool,
    device: Device,
    /// When sound was asked for last, or the first frame came.
    asked: Option<Duration>,
    /// When there was no room for a speaker last.
    full: Option<Duration>,
}

impl Ear {
    /// An ear that hears everybody whose frames it is given.
    pub fn new(settings: EarSettings) -> Self {
        let (seats, pool, device) = (BTreeMap::new(), Pool::default(), Device::default());
        Self { settings, own: None, seats, pool, device, asked: None, full: None }
    }

    /// The ear of `own`, who hears everybody else: their own frames, echoed by a relay or mixed in by the app,
    /// are passed over (N−1).
    #[must_use]
    pub fn of(own: MemberId, settings: EarSettings) -> Self {
        Self { own: Some(own), ..Self::new(settings) }
    }

    /// Takes in a frame, as [`Voice::open`](crate::Voice::open) gave it at `now`, the clock that [`mix`](Self::mix) is
    /// told too. Says what became of it.
    ///
    /// # Errors
    /// [`Error::Malformed`] if it is no voice frame, or holds no Opus packet; [`Error::Unusable`] if 1,024 others speak
    /// at once, or too many are remembered ([`forget`](Self::forget) those who left); [`Error::Codec`] if a decoder
    /// cannot be set up. The ear is as it was, but that it remembers the speaker, if it has room, and what was refused.
    pub fn hear<F: AsRef<[u8]>>(&mut self, heard: &Heard<F>, now: Duration) -> Result<Arrival> {
        if self.own == Some(heard.speaker) {
            return Ok(Arrival::Own);
        }
        let frame = match VoiceFrame::parse(heard.frame.as_ref()) {
            Ok(frame) => frame,
            Err(error) => return Err(self.refuse(heard.speaker, error, now)),
        };
        if self.seats.get(&heard.speaker).is_none_or(|seat| seat.playout.is_none()) {
            self.open_window(heard.speaker, now).inspect_err(|_| self.full = Some(now))?;
        }
        self.device.hears(now);
        let Some(seat) = self.seats.get_mut(&heard.speaker) else { return Ok(Arrival::Stray) };
        let Some(playout) = &mut seat.playout else { return Ok(Arrival::Stray) };
        // Here, where memory may be taken, so that none is when sound is asked for.
        if playout.sound.is_none() && !seat.expects && frame.level < Level::SILENCE {
            if self.pool.free.len() <= self.pool.expected && self.pool.all < self.settings.voices {
                self.pool.free.reserve(1 + self.pool.all);
                let sound = Sound::new(self.settings.channels);
                let sound = sound.inspect_err(|_| seat.lately.refuse(Fate::Undecodable, now))?;
                self.pool.free.push(sound);
                self.pool.all += 1;
            }
            self.pool.expected += 1;
            seat.expects = true;
        }
        playout.last = playout.last.max(now);
        let arrival = playout.buffer.insert(&heard.with_frame(frame), now);
        seat.lately.comes(arrival, now);
        self.asked.get_or_insert(now);
        Ok(arrival)
    }

    /// Fills `out` with the sound of everybody from `now` on, never beyond ±1: any number of samples at 48 kHz,
    /// interleaved if there are two channels.
    ///
    /// `now` is the moment of the call, or that at which the sound will be heard. A device may ask for a block each
    /// time it has played one, or for several at once.
    pub fn mix(&mut self, now: Duration, out: &mut [f32]) {
        let channels = self.settings.channels;
        self.asked = Some(now);
        for block in out.chunks_mut(BLOCK * channels.count()) {
            block.fill(0.0);
            let samples = block.len() / channels.count();
            let at = self.device.asks(now, time_of(samples));
            self.place(now, samples);
            for seat in self.seats.values_mut() {
                seat.mix(at, samples, channels, self.device.reserve(), block);
            }
            mixer::soft_clip(block);
        }
    }

    /// Makes `speaker` louder or fainter: 0 to 4 times as loud (12 dB), 1 to begin with.
    ///
    /// # Errors
    /// [`Error::Unusable`] outside of 0 to 4, or if too many speakers are remembered.
    pub fn set_gain(&mut self, speaker: MemberId, gain: f32) -> Result<()> {
        if !(0.0..=mixer::MAX_GAIN).contains(&gain) {
            return Err(Error::Unusable { what: "gain of a speaker", why: "choose 0 to 4" });
        }
        self.seat(speaker)?.gain = gain;
        Ok(())
    }

    /// Places `speaker` in a mix of two channels: -1 is left, 0 the middle, to begin with, and 1 right, with the same
    /// power everywhere. Of a speaker who sends two channels it is the balance.
    ///
    /// # Errors
    /// [`Error::Unusable`] outside of -1 to 1, or if too many speakers are remembered.
    pub fn set_pan(&mut self, speaker: MemberId, pan: f32) -> Result<()> {
        if !(-1.0..=1.0).contains(&pan) {
            return Err(Error::Unusable { what: "place of a speaker", why: "choose -1 to 1" });
        }
        self.seat(speaker)?.pan = pan;
        Ok(())
    }

    /// Mutes `speaker` in this ear, or ends it. Their buffer runs on, so that they come back in time.
    ///
    /// # Errors
    /// [`Error::Unusable`] if too many speakers are remembered.
    pub fn set_muted(&mut self, speaker: MemberId, muted: bool) -> Result<()> {
        self.seat(speaker)?.muted = muted;
        Ok(())
    }

    /// Drops all that is known of `speaker`, who has left; gives the account so far.
    pub fn forget(&mut self, speaker: &MemberId) -> Option<SpeakerAccount> {
        let mut seat = self.seats.remove(speaker)?;
        let account = seat.account();
        seat.retire(&mut self.pool);
        Some(account)
    }

    /// What is known of `speaker`, or `None` if nothing came from them and nothing was set.
    pub fn account(&self, speaker: &MemberId) -> Option<SpeakerAccount> {
        self.seats.get(speaker).map(Seat::account)
    }

    /// What is known of everybody, in the order of their ids.
    pub fn accounts(&self) -> impl Iterator<Item = (MemberId, SpeakerAccount)> {
        self.seats.iter().map(|(id, seat)| (*id, seat.account()))
    }

    /// What becomes of `speaker`'s frames at `now`, as far as the last second tells: why they are not heard, though
    /// [`Voice::hearing`](crate::Voice::hearing) says that they are.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use parlor::{EpochKeys, Heard, KeyIdLayout, LeafIndex, MemberId, Suite, Voice, media::Speaker};
    /// # use parlor::{Cause, sound::{Ear, EarSettings}};
    /// # let (ben, now) = (MemberId::from_bytes([2; 32]), Duration::from_secs(5));
    /// # let keys = |me: u32| EpochKeys::new(
    /// #     Suite::default(), KeyIdLayout::default(), 0, zeroize::Zeroizing::new(vec![7; 32]), LeafIndex(me),
    /// #     vec![Speaker { leaf: LeafIndex(1), id: ben }], Duration::ZERO,
    /// # );
    /// # let (mut voice, mut his) = (Voice::new(keys(0)?), Voice::new(keys(1)?));
    /// # let mut ear = Ear::new(EarSettings::default());
    /// # let packet = his.seal(b"something else than a voice frame")?;
    /// let heard = voice.open(&packet, now)?;
    /// let _ = ear.hear(&heard, now);
    ///
    /// let hearing = voice.hearing(&ben, now).through(ear.fate(&ben, now));
    /// println!("{} {}", hearing.cause, hearing.cause.next_step());
    /// assert_eq!(hearing.cause, Cause::NoVoiceFrame);
    /// # Ok::<(), parlor::Error>(())
    /// ```
    pub fn fate(&self, speaker: &MemberId, now: Duration) -> Fate {
        let seat = self.seats.get(speaker);
        if seat.is_some_and(|seat| seat.muted || seat.gain <= 0.0) {
            return Fate::Muted;
        }
        let asked = self.asked.unwrap_or(now);
        if let Some(fate) = seat.and_then(|seat| seat.lately.fate(asked, now)) {
            return fate;
        }
        // Of those it has no room for nothing is kept.
        let window = seat.is_some_and(|seat| seat.playout.is_some());
        let full = !window && self.full.is_some_and(|full| now.abs_diff(full) <= RECENT);
        if full { Fate::NoRoom } else { Fate::NotGiven }
    }

    /// Who made a sound in the last block, and how loud: measured, not as they claim. Muted speakers count.
    pub fn talking(&self) -> impl Iterator<Item = (MemberId, Level)> {
        self.seats.iter().filter_map(|(id, seat)| {
            let level = seat.level();
            (level < Level::SILENCE).then_some((*id, level))
        })
    }

    /// What came as `speaker`'s is no voice frame.
    #[cold]
    fn refuse(&mut self, speaker: MemberId, error: Error, now: Duration) -> Error {
        if let Ok(seat) = self.seat(speaker) {
            seat.malformed += 1;
            seat.lately.refuse(Fate::NoVoiceFrame, now);
        }
        error
    }

    /// From here on frames of `speaker`'s may wait.
    fn open_window(&mut self, speaker: MemberId, now: Duration) -> Result<()> {
        self.make_room(now)?;
        let delay = self.settings.delay;
        self.seat(speaker)?.playout = Some(Box::new(Playout::new(delay)));
        Ok(())
    }

    fn seat(&mut self, speaker: MemberId) -> Result<&mut Seat> {
        let full = self.seats.len() >= REMEMBERED;
        match self.seats.entry(speaker) {
            Entry::Occupied(seat) => Ok(seat.into_mut()),
            Entry::Vacant(_) if full => {
                Err(Error::Unusable { what: "ear", why: "it remembers 4,096 speakers: forget some" })
            }
            Entry::Vacant(place) => Ok(place.insert(Seat::default())),
        }
    }

    /// Sees to it that one more speaker's frames may wait: takes the window of whoever is silent for longest.
    fn make_room(&mut self, now: Duration) -> Result<()> {
        if self.seats.values().filter(|seat| seat.playout.is_some()).count() < WINDOWS {
            return Ok(());
        }
        let silent = self.seats.values_mut().filter_map(|seat| {
            let playout = seat.playout.as_ref()?;
            let idle = !playout.buffer.active() && now.saturating_sub(playout.last) > IDLE;
            idle.then_some((playout.last, seat))
        });
        let Some((_, seat)) = silent.min_by_key(|(last, _)| *last) else {
            return Err(Error::Unusable { what: "ear", why: "1,024 others speak at once" });
        };
        seat.retire(&mut self.pool);
        Ok(())
    }

    /// Gives decoders to those who are to be heard, and takes them from those who are not.
    fn place(&mut self, now: Duration, samples: usize) {
        let mut bar = Bar::new(self.settings.voices);
        for seat in self.seats.values_mut() {
            let (holds, audible) = (seat.is_decoded(), !seat.muted && seat.gain > 0.0);
            let Some(playout) = &seat.playout else { continue };
            if !playout.buffer.active() && now.saturating_sub(playout.last) > self.settings.rest {
                seat.retire(&mut self.pool);
                continue;
            }
            if !holds {
                seat.loudness.claims(playout.buffer.loudest_waiting(), samples);
            }
            bar.add(&seat.loudness, holds, audible);
        }
        bar.set();
        let (mut wanted, mut on_trial, mut idle) = (0_usize, 0_usize, 0_usize);
        for seat in self.seats.values_mut().filter(|seat| seat.playout.is_some()) {
            let holds = seat.is_decoded();
            seat.admitted = bar.admits(&mut seat.loudness, holds, now);
            wanted += usize::from(seat.admitted && !holds);
            idle += usize::from(!seat.admitted && holds);
            on_trial += usize::from(holds && seat.loudness.is_on_trial());
        }
        // Whoever only claims to be louder does not drive out those who are loud, but a few at a time.
        let mut may_fall = (self.settings.voices / 4).max(1).saturating_sub(on_trial);
        if idle > 0 {
            for seat in self.seats.values_mut().filter(|seat| seat.is_decoded() && !seat.admitted) {
                let speaks = bar.speaks(&seat.loudness);
                let falls = wanted > self.pool.free.len() && (!speaks || may_fall > 0);
                if falls || (!speaks && !seat.loudness.lingers(now)) {
                    may_fall -= usize::from(speaks);
                    let sound = seat.playout.as_mut().and_then(|playout| playout.take());
                    self.pool.free.extend(sound);
                }
            }
        }
        if wanted == 0 {
            return;
        }
        for seat in self.seats.values_mut().filter(|seat| seat.admitted && !seat.is_decoded()) {
            let Some(playout) = &mut seat.playout else { continue };
            let Some(sound) = self.pool.free.pop() else { break };
            playout.give(sound);
            self.pool.expected -= usize::from(std::mem::take(&mut seat.expects));
            seat.loudness.enters();
        }
    }
}

/// What is kept of a speaker, silent or not.
#[derive(Debug)]
struct Seat {
    gain: f32,
    pan: f32,
    muted: bool,
    playout: Option<Box<Playout>>,
    loudness: Loudness,
    /// They are loud enough for a decoder.
    admitted: bool,
    /// A decoder was made for them.
    expects: bool,
    /// The account of windows before this one.
    past: Past,
    malformed: u64,
    lately: Lately,
}

#[derive(Clone, Copy, Default, Debug)]
struct Past {
    counters: Counters,
    undecodable: u64,
    faint: u64,
}

impl Default for Seat {
    fn default() -> Self {
        Self {
            gain: 1.0,
            pan: 0.0,
            muted: false,
            playout: None,
            loudness: Loudness::default(),
            admitted: false,
            expects: false,
            past: Past::default(),
            malformed: 0,
            lately: Lately::default(),
        }
    }
}

impl Seat {
    fn is_decoded(&self) -> bool {
        self.playout.as_ref().is_some_and(|playout| playout.sound.is_some())
    }

    fn level(&self) -> Level {
        let sound = self.playout.as_ref().and_then(|playout| playout.sound.as_ref());
        sound.map_or(Level::SILENCE, |sound| sound.level)
    }

    /// Adds their sound to a block.
    fn mix(&mut self, at: Duration, samples: usize, channels: Channels, reserve: Duration, out: &mut [f32]) {
        let Some(playout) = &mut self.playout else { return };
        playout.buffer.set_reserve(reserve);
        let stereo = playout.sound.as_ref().is_some_and(|sound| sound.stereo);
        let Some((voice, level)) = playout.pull(at, samples, &mut self.lately) else { return };
        let heard = !self.muted && level < Level::SILENCE;
        match channels {
            _ if !heard => {}
            Channels::Mono => mixer::add(out, voice, self.gain),
            Channels::Stereo if stereo => {
                // The side that is turned to keeps its sound.
                let (left, right) = (1.0 - self.pan.max(0.0), 1.0 + self.pan.min(0.0));
                mixer::add_stereo(out, voice, self.gain * left, self.gain * right);
            }
            Channels::Stereo => {
                let (left, right) = mixer::pan(self.pan);
                let voice = voice.iter().step_by(2).copied();
                mixer::add_placed(out, voice, self.gain * left, self.gain * right);
            }
        }
        self.loudness.measures(level, samples);
    }

    /// Gives the window up.
    fn retire(&mut self, pool: &mut Pool) {
        self.past = self.sum();
        if let Some(mut playout) = self.playout.take() {
            pool.free.extend(playout.take());
        }
        pool.expected -= usize::from(std::mem::take(&mut self.expects));
        (self.loudness, self.admitted) = (Loudness::default(), false);
    }

    fn sum(&self) -> Past {
        let past = self.past;
        self.playout.as_deref().map_or(past, |playout| Past {
            counters: past.counters.plus(playout.buffer.counters()),
            undecodable: past.undecodable + playout.undecodable,
            faint: past.faint + playout.faint,
        })
    }

    fn account(&self) -> SpeakerAccount {
        let Past { counters, undecodable, faint } = self.sum();
        let of = |what: fn(&JitterBuffer) -> Duration| {
            self.playout.as_ref().map_or(Duration::ZERO, |playout| what(&playout.buffer))
        };
        SpeakerAccount {
            counters,
            malformed: self.malformed,
            undecodable,
            faint,
            decoded: self.is_decoded(),
            delay: of(JitterBuffer::delay),
            target: of(JitterBuffer::target),
            level: self.level(),
            gain: self.gain,
            pan: self.pan,
            muted: self.muted,
        }
    }
}
