//! All that one listener hears: a jitter buffer and a decoder a speaker, and one mix of them all.
//!
//! An ear is given opened frames with the speaker that the media layer names, and is asked for 20 ms of sound
//! every 20 ms. A payload comes from somebody with the room's key: it is checked when it comes, can cost one
//! speaker's worth of memory and time at most, and speaks for its speaker alone. The number of speakers that
//! sound at once, and that are remembered at all, is limited.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    time::Duration,
};

use super::{Arrival, Channels, Counters, Decoder, Delay, FRAME_SAMPLES, JitterBuffer, Play, SILENCE, Samples, mixer};
use crate::{
    error::{Error, Item, Result},
    frame::{Level, VoiceFrame},
    identity::MemberId,
};

/// Speakers whose gain and counters are kept, silent or not.
const REMEMBERED: usize = 4096;

/// Concealed frames in a row that sound at full: 120 ms. The four after them fade out.
const HELD: u8 = 6;
const FADED: u8 = 10;

/// Samples over which a voice comes back after a fade: 5 ms.
const RETURN: usize = 240;

/// How an ear listens.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct EarSettings {
    /// How long sound may wait in the jitter buffers. Default: 20 ms to 1 s, for frames that waited for a seal.
    pub delay: Delay,
    /// Speakers that may sound at once, each about 120 kB at most. Default: 32.
    pub voices: usize,
    /// A speaker from whom nothing came for so long gives their place up; gain and counters stay. Default: 10 s.
    pub rest: Duration,
}

impl Default for EarSettings {
    fn default() -> Self {
        Self { delay: Delay::sealed(), voices: 32, rest: Duration::from_secs(10) }
    }
}

/// What an ear knows of one speaker.
#[derive(Clone, Copy, PartialEq, Debug)]
#[non_exhaustive]
pub struct SpeakerAccount {
    /// What became of their frames.
    pub counters: Counters,
    /// Frames that came in time but that Opus could not decode; they count as played, and were concealed.
    pub undecodable: u64,
    /// How long their sound waits at present.
    pub delay: Duration,
    /// The delay that the network calls for.
    pub target: Duration,
    /// How loud the last 20 ms were, measured on the decoded sound, before the gain.
    pub level: Level,
    /// The gain in the mix.
    pub gain: f32,
    /// Whether they are muted in this ear.
    pub muted: bool,
}

/// One listener's ear: hears frames, gives sound.
///
/// ```
/// use std::time::Duration;
/// use parlor::{MemberId, sound::{Ear, EarSettings, Encoder, Encoding, SILENCE}};
///
/// let ana = MemberId::from_bytes([1; 32]);
/// let mut encoder = Encoder::new(Encoding::default())?;
/// let mut ear = Ear::new(EarSettings::default());
/// let (mut payload, mut sound) = ([0; 64], SILENCE);
/// for tick in 0..50 {
///     let now = Duration::from_millis(20 * tick);
///     encoder.encode(&[0.1; 960], &mut payload)?;
///     ear.hear(ana, &payload, now)?; // what `Voice::open` gave
///     ear.mix(now, &mut sound);      // to the sound device
/// }
/// assert!(ear.account(&ana).is_some_and(|ana| ana.counters.played > 40));
/// # Ok::<(), parlor::Error>(())
/// ```
#[derive(Debug)]
pub struct Ear {
    settings: EarSettings,
    own: Option<MemberId>,
    seats: BTreeMap<MemberId, Seat>,
}

impl Ear {
    /// An ear that hears everybody whose frames it is given.
    pub const fn new(settings: EarSettings) -> Self {
        Self { settings, own: None, seats: BTreeMap::new() }
    }

    /// The ear of `own`, who hears everybody else: their own frames, echoed by a relay or mixed in by the app,
    /// are passed over (N−1).
    #[must_use]
    pub fn of(own: MemberId, settings: EarSettings) -> Self {
        Self { own: Some(own), ..Self::new(settings) }
    }

    /// Takes in a frame of `speaker`, as it came out of [`Voice::open`](crate::Voice::open), at `now`. Says what
    /// became of it, or `None` if it is this ear's own.
    ///
    /// # Errors
    /// [`Error::Malformed`] if it is no voice frame of 20 ms; [`Error::Unusable`] if as many speakers sound as
    /// [`EarSettings::voices`] allows, or too many are remembered ([`forget`](Self::forget) those who left);
    /// [`Error::Codec`] if a decoder cannot be set up. The ear is as it was.
    pub fn hear(&mut self, speaker: MemberId, payload: &[u8], now: Duration) -> Result<Option<Arrival>> {
        if self.own == Some(speaker) {
            return Ok(None);
        }
        let frame = VoiceFrame::parse(payload)?;
        twenty(&frame)?;
        if self.seats.get(&speaker).is_none_or(|seat| seat.voice.is_none()) {
            let voice = Box::new(Voice::new(self.settings.delay)?);
            self.make_room(now)?;
            self.seat(speaker)?.voice = Some(voice);
        }
        let voice = self.seats.get_mut(&speaker).and_then(|seat| seat.voice.as_mut());
        Ok(voice.map(|voice| {
            voice.last = voice.last.max(now);
            voice.buffer.insert(&frame, now)
        }))
    }

    /// Gives the sound of everybody for the 20 ms from `now` on, never beyond ±1. To be asked every 20 ms.
    pub fn mix(&mut self, now: Duration, out: &mut Samples) {
        *out = SILENCE;
        let mut voice_samples = SILENCE;
        for seat in self.seats.values_mut() {
            let Some(voice) = &mut seat.voice else { continue };
            if !voice.buffer.active() && now.saturating_sub(voice.last) > self.settings.rest {
                seat.retire();
                continue;
            }
            let sounds = voice.pull(now, &mut voice_samples);
            voice.level = if sounds { Level::of(&voice_samples) } else { Level::SILENCE };
            if sounds && !seat.muted {
                mixer::add(out, &voice_samples, seat.gain);
            }
        }
        mixer::soft_clip(out);
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
        self.seats.remove(speaker).map(|seat| seat.account())
    }

    /// What is known of `speaker`, or `None` if nothing came from them and nothing was set.
    pub fn account(&self, speaker: &MemberId) -> Option<SpeakerAccount> {
        self.seats.get(speaker).map(Seat::account)
    }

    /// What is known of everybody, in the order of their ids.
    pub fn accounts(&self) -> impl Iterator<Item = (MemberId, SpeakerAccount)> {
        self.seats.iter().map(|(id, seat)| (*id, seat.account()))
    }

    /// Who made a sound in the last 20 ms, and how loud: measured, not as they claim. Muted speakers count.
    pub fn talking(&self) -> impl Iterator<Item = (MemberId, Level)> {
        self.seats.iter().filter_map(|(id, seat)| {
            let level = seat.voice.as_ref()?.level;
            (level < Level::SILENCE).then_some((*id, level))
        })
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

    /// Sees to it that one more speaker may sound: takes the place of whoever is silent for longest.
    fn make_room(&mut self, now: Duration) -> Result<()> {
        let sounding = || self.seats.values().filter(|seat| seat.voice.is_some());
        if sounding().count() < self.settings.voices {
            return Ok(());
        }
        let silent = self.seats.values_mut().filter_map(|seat| {
            let voice = seat.voice.as_ref()?;
            let idle = !voice.buffer.active() && now.saturating_sub(voice.last) > Duration::from_millis(500);
            idle.then_some((voice.last, seat))
        });
        match silent.min_by_key(|(last, _)| *last) {
            Some((_, seat)) => seat.retire(),
            None => {
                return Err(Error::Unusable { what: "ear", why: "as many speakers sound at once as it allows" });
            }
        }
        Ok(())
    }
}

/// What is kept of a speaker, silent or not.
#[derive(Debug)]
struct Seat {
    gain: f32,
    muted: bool,
    voice: Option<Box<Voice>>,
    /// The account of voices before this one.
    past: Counters,
    past_undecodable: u64,
}

impl Default for Seat {
    fn default() -> Self {
        Self { gain: 1.0, muted: false, voice: None, past: Counters::default(), past_undecodable: 0 }
    }
}

impl Seat {
    /// Gives the decoder and the buffer up.
    fn retire(&mut self) {
        if let Some(voice) = self.voice.take() {
            self.past = self.past.plus(voice.buffer.counters());
            self.past_undecodable += voice.undecodable;
        }
    }

    fn account(&self) -> SpeakerAccount {
        let voice = self.voice.as_deref();
        let of = |what: fn(&Voice) -> Duration| voice.map_or(Duration::ZERO, what);
        SpeakerAccount {
            counters: voice.map_or(self.past, |voice| self.past.plus(voice.buffer.counters())),
            undecodable: self.past_undecodable + voice.map_or(0, |voice| voice.undecodable),
            delay: of(|voice| voice.buffer.delay()),
            target: of(|voice| voice.buffer.target()),
            level: voice.map_or(Level::SILENCE, |voice| voice.level),
            gain: self.gain,
            muted: self.muted,
        }
    }
}

/// A speaker who sounds.
#[derive(Debug)]
struct Voice {
    buffer: JitterBuffer,
    decoder: Decoder,
    /// When the last frame came.
    last: Duration,
    level: Level,
    /// Concealed frames in a row.
    gap: u8,
    /// How much of the voice is let through at the end of the last frame.
    fade: f32,
    undecodable: u64,
}

impl Voice {
    fn new(delay: Delay) -> Result<Self> {
        Ok(Self {
            buffer: JitterBuffer::new(delay),
            decoder: Decoder::new(Channels::Mono)?,
            last: Duration::ZERO,
            level: Level::SILENCE,
            gap: 0,
            fade: 1.0,
            undecodable: 0,
        })
    }

    /// Fills `out` with the speaker's next 20 ms; says whether there is anything to hear.
    fn pull(&mut self, now: Duration, out: &mut Samples) -> bool {
        let decoder = &mut self.decoder;
        let decoded = match self.buffer.next(now) {
            Play::Silence => {
                if self.gap > 0 {
                    // Whatever comes after a pause has nothing to do with what was before. A decoder that
                    // cannot be reset goes on as it is, which is heard for a moment at most.
                    let _ = decoder.reset();
                }
                (self.gap, self.fade) = (0, 1.0);
                return false;
            }
            Play::Conceal => None,
            Play::Frame(frame) => Some(decoder.decode(frame.opus, out).map(drop)),
            Play::Recover(following) => Some(decoder.recover(following.opus, out)),
            Play::Merge(first, second) => {
                let mut before = SILENCE;
                let merged =
                    decoder.decode(first.opus, &mut before).and_then(|_| decoder.decode(second.opus, out).map(drop));
                crossfade(&before, out);
                Some(merged)
            }
        };
        if let Some(Ok(())) = decoded {
            self.gap = 0;
            self.ramp(1.0, RETURN, out);
            return true;
        }
        self.undecodable += u64::from(decoded.is_some());
        self.gap = self.gap.saturating_add(1);
        if self.gap > FADED || decoder.conceal(out).is_err() {
            return false;
        }
        let left = f32::from(FADED.saturating_sub(self.gap.max(HELD))) / f32::from(FADED - HELD);
        self.ramp(left, FRAME_SAMPLES, out);
        true
    }

    /// Moves the fade to `to` over the first `over` samples.
    fn ramp(&mut self, to: f32, over: usize, out: &mut Samples) {
        if self.fade == to && to == 1.0 {
            return;
        }
        let step = (to - self.fade) / over as f32;
        for (i, sample) in out.iter_mut().enumerate() {
            *sample *= if i < over { self.fade + step * i as f32 } else { to };
        }
        self.fade = to;
    }
}

/// Refuses what this ear does not play.
fn twenty(frame: &VoiceFrame<'_>) -> Result<()> {
    if frame.opus.samples() == FRAME_SAMPLES {
        return Ok(());
    }
    Err(Error::Malformed { what: Item::Frame, why: "its Opus packet is not of 20 ms" })
}

/// Fades from `before` into `out`, in `out`.
fn crossfade(before: &Samples, out: &mut Samples) {
    for (i, (out, before)) in out.iter_mut().zip(before).enumerate() {
        let t = i as f32 / FRAME_SAMPLES as f32;
        *out = before * (1.0 - t) + *out * t;
    }
}
