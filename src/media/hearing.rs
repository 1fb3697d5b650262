//! "Why can't I hear Ben?": what became of everybody's packets, and the one [`Cause`] that matters, with its next step.
//!
//! An account is kept for each member of the room, on stage or off it, and goes with them: no packet, whatever leaf it
//! names, makes one. A packet that does not authenticate is booked under whom it *names*, for nobody can say who
//! made it: "forged" in Ben's name is no fault of Ben's.

use std::{fmt, time::Duration};

use crate::{heard::Fate, identity::MemberId, media::seal::watch::HOLD};

/// How recent a packet must be to tell how somebody is heard: a second, fifty frames.
const RECENT: Duration = Duration::from_secs(1);

/// Why somebody in the room is off stage, so that their frames are not played.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum OffStage {
    /// They are a listener.
    Listener,
    /// This host or moderator has muted them.
    MutedBy(MemberId),
    /// The room has no host, and so everybody listens.
    NoHost,
    /// They have left the stage since the epoch of the packet, be it for a moment.
    LeftSince,
    /// Nobody of the room sits at that leaf, or they have left the room since the epoch of the packet.
    NotInRoom,
}

impl OffStage {
    /// What to do about it.
    pub const fn next_step(&self) -> &'static str {
        match self {
            Self::Listener => "a listener raises a hand, and a host or moderator brings them on stage",
            Self::MutedBy(_) => "that moderator, or another, can let them speak again",
            Self::NoHost => "make another room: nobody can be brought on stage in this one",
            Self::LeftSince => "nothing: what they say on stage from now on is played",
            Self::NotInRoom => "fetch the control messages if you expect somebody there",
        }
    }
}

impl fmt::Display for OffStage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Listener => f.write_str("who sits there is a listener"),
            Self::MutedBy(moderator) => write!(f, "who sits there was muted by {moderator}"),
            Self::NoHost => f.write_str("the room has no host, and so everybody listens"),
            Self::LeftSince => f.write_str("who sat there has left the stage since"),
            Self::NotInRoom => f.write_str("nobody of the room sits there"),
        }
    }
}

/// Who switched somebody's sound off, though they are on stage.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum Mute {
    /// Oneself, by [`Voice::mute`](crate::Voice::mute).
    You,
    /// The speaker: their microphone is off ([`Voice::set_mic`](crate::Voice::set_mic)).
    Themselves,
    /// One's own microphone is off ([`Voice::set_mic`](crate::Voice::set_mic)).
    OwnMicrophone,
}

impl fmt::Display for Mute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::You => "you have muted this member: unmute them to go on",
            Self::Themselves => "their microphone is off: they switch it on themselves",
            Self::OwnMicrophone => "your microphone is off: switch it on to be heard",
        })
    }
}

/// How somebody is heard, as [`Voice::hearing`](crate::Voice::hearing) says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Hearing {
    /// Why they are heard, or are not.
    pub cause: Cause,
    /// What became of the packets that named them, since they came into the room or oneself did.
    pub counters: Counters,
    /// How long ago a frame of theirs was opened last; none if none was.
    pub last_heard: Option<Duration>,
    /// What their seals say of it.
    pub seals: SealState,
}

impl Hearing {
    /// The same, with what becomes of their frames in the ear that plays them.
    ///
    /// What the voice says goes first; where it says [`Cause::Heard`], the ear tells the rest: `fate` is what
    /// [`Ear::fate`](crate::sound::Ear::fate) gave of this member at the same time, on the same clock.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use parlor::{Cause, EpochKeys, Fate, KeyIdLayout, LeafIndex, MemberId, Suite, Voice, media::Speaker};
    /// # let (ben_id, now) = (MemberId::from_bytes([2; 32]), Duration::from_secs(5));
    /// # let keys = |me: u32| EpochKeys::new(
    /// #     Suite::default(), KeyIdLayout::default(), 0, zeroize::Zeroizing::new(vec![7; 32]), LeafIndex(me),
    /// #     vec![Speaker { leaf: LeafIndex(1), id: ben_id }], Duration::ZERO,
    /// # );
    /// # let (mut voice, mut ben) = (Voice::new(keys(0)?), Voice::new(keys(1)?));
    /// voice.open(&ben.seal(b"a voice frame")?, now)?;
    /// // A player of the app's own may say it too.
    /// let hearing = voice.hearing(&ben_id, now).through(Fate::Muted);
    /// assert_eq!(hearing.cause, Cause::MutedInEar);
    /// # Ok::<(), parlor::Error>(())
    /// ```
    #[must_use]
    pub fn through(self, fate: Fate) -> Self {
        match self.cause {
            Cause::Heard => Self { cause: fate.into(), ..self },
            _ => self,
        }
    }

    pub(super) fn unaccounted(cause: Cause) -> Self {
        Self { cause, counters: Counters::default(), last_heard: None, seals: SealState::Off }
    }
}

/// What a speaker's seals say of what is heard in their name.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub enum SealState {
    /// The room does not seal: whoever is in it can speak as anybody on stage.
    #[default]
    Off,
    /// Nothing of theirs has been confirmed yet.
    Waiting,
    /// What was heard of them is theirs, but for the last second at most, which no seal may have covered yet.
    Verified,
    /// For longer than a second no seal has covered what is heard. Ask whether their app sends seals, or whether the
    /// relay drops them.
    Unverified,
    /// Within the last ten seconds somebody else has been caught speaking in their name, or their seals came so late that
    /// it must be feared: only what they sealed is played, half a second late.
    Contested,
}

impl fmt::Display for SealState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Off => "the room does not seal",
            Self::Waiting => "not verified yet",
            Self::Verified => "verified",
            Self::Unverified => "unverified",
            Self::Contested => "contested: somebody else may have spoken in their name",
        })
    }
}

/// Why somebody is heard or is not. `Display` says it in a sentence, [`next_step`](Self::next_step) what to do.
///
/// Of several that hold at once [`Voice::hearing`](crate::Voice::hearing) gives the one that must be dealt with first:
///
/// 1. what has nothing to do with them: [`Closed`](Self::Closed), [`You`](Self::You);
/// 2. what the room says: [`NotInRoom`](Self::NotInRoom), [`NoHost`](Self::NoHost), [`MutedBy`](Self::MutedBy),
///    [`NotOnStage`](Self::NotOnStage);
/// 3. who switched sound off: [`MutedByYou`](Self::MutedByYou), [`MutedThemselves`](Self::MutedThemselves);
/// 4. [`NoHeartbeat`](Self::NoHeartbeat): what they say is played, but who else hears it and whether they are still in
///    the room is not certain;
/// 5. [`Heard`](Self::Heard), if a frame of theirs was opened within the last second: whatever else comes in their
///    name;
/// 6. [`NotTaken`](Self::NotTaken), if packets have named them within the last second, and frames wait for the app;
/// 7. what became of the newest packet that named them within the last second: any of the others;
/// 8. that there was none: [`NoPackets`](Self::NoPackets), [`NothingYet`](Self::NothingYet).
///
/// Where the voice says `Heard`, an ear may know more ([`Hearing::through`]): first
/// [`MutedInEar`](Self::MutedInEar); then [`NotGiven`](Self::NotGiven) and [`NoRoomInEar`](Self::NoRoomInEar); then
/// `Heard`, if sound of theirs has come out within the last second; [`NotMixed`](Self::NotMixed); and what became of the
/// newest frame otherwise.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Cause {
    /// A frame of theirs was opened within the last second.
    Heard,
    /// It is oneself.
    You,
    /// One is out of the room, by [`Voice::close`](crate::Voice::close).
    Closed,
    /// They are not in the room.
    NotInRoom,
    /// They are a listener.
    NotOnStage,
    /// The room has no host: nobody is on stage.
    NoHost,
    /// This host or moderator has muted them.
    MutedBy(MemberId),
    /// One has muted them oneself, by [`Voice::mute`](crate::Voice::mute).
    MutedByYou,
    /// They have switched their microphone off.
    MutedThemselves,
    /// The room is stale: no host has vouched for it lately, or two hosts see two histories
    /// ([`Voice::set_stale`](crate::Voice::set_stale)).
    NoHeartbeat,
    /// They are on stage, and no packet has named them since.
    NothingYet {
        /// For how long they have been on stage.
        waited: Duration,
    },
    /// Packets have named them on stage, but none does any more.
    NoPackets {
        /// How long ago the last one came.
        silent: Duration,
    },
    /// Their packets come, and are parked: their key is not here yet.
    KeyOnItsWay {
        /// How long ago the first of these came.
        waited: Duration,
    },
    /// Their packets have been of an epoch ahead for longer than [`Limits::parked_for`](crate::media::Limits): it is
    /// the room that is stale, or oneself that is cut off from its control messages.
    Stale {
        /// How long ago the first of these came.
        waited: Duration,
    },
    /// Their packets wait for their key, and some were dropped for want of room in the parking lot.
    LotFull,
    /// Their packets are of a past epoch whose keys are erased, or in which they were not on stage.
    Behind,
    /// Packets name them whose tags do not verify, or which are no packets of a voice.
    Forged,
    /// Packets come that were opened before.
    Replayed,
    /// Their packets come so late that nobody could tell them from replays.
    TooLate,
    /// Packets come in their name and wait for their seal, for here only sealed sound is played.
    SealOnItsWay {
        /// How long ago the first of these came: two seconds at most.
        waited: Duration,
    },
    /// Packets have come in their name for two seconds that no seal covers, and here only sealed sound is played.
    Unsealed,
    /// Frames of theirs have their key, or their seal, and the app does not call
    /// [`Voice::unpark`](crate::Voice::unpark).
    NotTaken,
    /// In the ear: they are muted there, or their gain is zero.
    MutedInEar,
    /// In the ear: none of their frames comes there, though the voice opens them.
    NotGiven,
    /// In the ear: it has no room for them.
    NoRoomInEar,
    /// In the ear: their frames wait there, and nobody has asked it for sound for a second.
    NotMixed,
    /// In the ear: what was sealed is no voice frame ([`VoiceFrame`](crate::frame::VoiceFrame)).
    NoVoiceFrame,
    /// In the ear: their frames come after later ones had their turn.
    TooLateToPlay,
    /// In the ear: the same frame comes again and again.
    Doubled,
    /// In the ear: frames come in their name that are further ahead than the speaker can be.
    TooFarAhead,
    /// In the ear: others are louder, and only so many are decoded.
    Faint,
    /// In the ear: Opus cannot decode their frames.
    Undecodable,
}

impl Cause {
    /// What to do next, as one sentence to show.
    pub const fn next_step(&self) -> &'static str {
        match self {
            Self::Heard => "Nothing to mend here: if you hear no sound, look at the volume and the output device.",
            Self::You => "Ask somebody else in the room how they hear you.",
            Self::Closed => "To come back, send a host a fresh card.",
            Self::NotInRoom => "Invite them, or wait until they have entered.",
            Self::NotOnStage => "They raise a hand, and a host or moderator brings them on stage.",
            Self::NoHost => "Make another room: nobody can be brought on stage in this one.",
            Self::MutedBy(_) => "Ask that moderator to let them speak again.",
            Self::MutedByYou => "Unmute them.",
            Self::MutedThemselves => "Ask them to switch their microphone on: nobody can do it for them.",
            Self::NoHeartbeat => {
                "Fetch the control messages from the relay; if that does not help, ask a host by another way."
            }
            Self::NothingYet { .. } => "Wait until they speak; if they do, they check their connection to the relay.",
            Self::NoPackets { .. } => {
                "Ask whether others hear them: if so, check your connection to the relay; if not, they check theirs."
            }
            Self::KeyOnItsWay { .. } => "Wait: they are heard with the control message that is on its way.",
            Self::Stale { .. } => "Fetch the control messages that are missing from the relay.",
            Self::LotFull => {
                "Fetch the control messages, then unpark; raise the limits of parking if it happens again."
            }
            Self::Behind => "They fetch the control messages that are missing; if you hear nobody, you do.",
            Self::Forged => {
                "It need not be their fault: compare the room code with them, and if it is the same, use another relay."
            }
            Self::Replayed => "The relay or the network sends packets twice: if they do speak, use another relay.",
            Self::TooLate => "They are held up by seconds: they connect to the relay again.",
            Self::SealOnItsWay { .. } => "Wait: they are heard as soon as it comes.",
            Self::Unsealed => {
                "Their app must send what `Voice::next_seal` gives; if it does, use another relay: it drops seals."
            }
            Self::NotTaken => {
                "Your app must call `Voice::unpark` after each `rekey`, and after each packet that `open` says was a seal."
            }
            Self::MutedInEar => "Unmute them in the ear, and turn their volume up.",
            Self::NotGiven => "Your app must give `Ear::hear` each frame that `Voice::open` and `Voice::unpark` give.",
            Self::NoRoomInEar => {
                "Your app must call `Ear::forget` for those who leave; if 1,024 do speak at once, wait until some stop."
            }
            Self::NotMixed => {
                "Look whether the output device runs: your app must call `Ear::mix` for each block it plays."
            }
            Self::NoVoiceFrame => "Their app must put time and level before each Opus packet, by `VoiceFrame::write`.",
            Self::TooLateToPlay => {
                "Allow a longer delay in `EarSettings`; if it is the longest, they check their connection to the relay."
            }
            Self::Doubled => "Their app must encode and seal each frame once, and yours give it to the ear once.",
            Self::TooFarAhead => {
                "Ask them: if they do speak, their app seals faster than it records; if not, somebody else makes these."
            }
            Self::Faint => {
                "They speak up, or others fall silent; where many speak at once, raise `EarSettings::voices`."
            }
            Self::Undecodable => "Their app must send each packet as its Opus encoder gave it: they update it.",
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self {
            Self::Heard => "They are heard.",
            Self::You => "This is you, and nobody hears themselves.",
            Self::Closed => "You are out of the room.",
            Self::NotInRoom => "They are not in the room.",
            Self::NotOnStage => "They are a listener, not on stage.",
            Self::NoHost => "The room has no host, and so everybody listens.",
            Self::MutedBy(moderator) => return write!(f, "They were muted by {moderator}."),
            Self::MutedByYou => "You have muted them.",
            Self::MutedThemselves => "Their microphone is off.",
            Self::NoHeartbeat => "The room is stale: no host vouches for it as you see it, so others may have left it.",
            Self::NothingYet { waited } => {
                return write!(f, "They have been on stage for {}, and no packet of theirs has come.", Span(*waited));
            }
            Self::NoPackets { silent } => {
                return write!(f, "No packet of theirs has come for {}.", Span(*silent));
            }
            Self::KeyOnItsWay { waited } => {
                return write!(f, "Their packets have waited for their key for {}.", Span(*waited));
            }
            Self::Stale { waited } => {
                return write!(f, "The room is stale: their packets have been ahead of it for {}.", Span(*waited));
            }
            Self::LotFull => "Their packets wait for their key, and some had to make room for younger ones.",
            Self::Behind => "Their packets are of a past epoch whose keys are gone: they are behind.",
            Self::Forged => "The packets that name them are forged or damaged.",
            Self::Replayed => "The packets that name them were heard before.",
            Self::TooLate => "Their packets come too late to be told from replays.",
            Self::SealOnItsWay { waited } => {
                return write!(f, "Their packets have waited for their seal for {}.", Span(*waited));
            }
            Self::Unsealed => "Packets come in their name, and no seal of theirs says that they are theirs.",
            Self::NotTaken => "Their frames are ready, and your app does not take them.",
            Self::MutedInEar => "They are muted in your ear, or turned down to nothing.",
            Self::NotGiven => "Their frames are opened, and none of them comes to your ear.",
            Self::NoRoomInEar => "Your ear has no room for them: too many others speak, or are remembered.",
            Self::NotMixed => "Their frames wait in your ear, and nobody asks it for sound.",
            Self::NoVoiceFrame => "What they send is no voice frame.",
            Self::TooLateToPlay => "Their frames come after later ones of theirs were played.",
            Self::Doubled => "The same frame of theirs comes again and again.",
            Self::TooFarAhead => "Frames come in their name that are further ahead than they can be.",
            Self::Faint => "They are too faint beside the others: your ear decodes those who are louder.",
            Self::Undecodable => "Opus cannot decode what they send.",
        };
        f.write_str(text)
    }
}

impl From<OffStage> for Cause {
    fn from(why: OffStage) -> Self {
        match why {
            // Nobody in the room is off stage for having left it: by the roster they are a listener.
            OffStage::Listener | OffStage::LeftSince => Self::NotOnStage,
            OffStage::MutedBy(moderator) => Self::MutedBy(moderator),
            OffStage::NoHost => Self::NoHost,
            OffStage::NotInRoom => Self::NotInRoom,
        }
    }
}

impl From<Fate> for Cause {
    fn from(fate: Fate) -> Self {
        match fate {
            Fate::Played => Self::Heard,
            Fate::Muted => Self::MutedInEar,
            Fate::NotGiven => Self::NotGiven,
            Fate::NoRoom => Self::NoRoomInEar,
            Fate::NotAsked => Self::NotMixed,
            Fate::NoVoiceFrame => Self::NoVoiceFrame,
            Fate::Late => Self::TooLateToPlay,
            Fate::Doubled => Self::Doubled,
            Fate::Stray => Self::TooFarAhead,
            Fate::Faint => Self::Faint,
            Fate::Undecodable => Self::Undecodable,
        }
    }
}

/// Milliseconds below ten seconds, seconds above.
struct Span(Duration);

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 < Duration::from_secs(10) {
            write!(f, "{} ms", self.0.as_millis())
        } else {
            write!(f, "{} s", self.0.as_secs())
        }
    }
}

/// What became of the packets that named one member.
///
/// What was opened is theirs. Everything else is booked under whom it names, and anybody can name anybody.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub struct Counters {
    /// Opened, those out of the parking lot included.
    pub opened: u64,
    /// Refused: no packet of a voice, though its header can be read.
    pub malformed: u64,
    /// Refused: the tag did not verify.
    pub forged: u64,
    /// Refused: opened before.
    pub replayed: u64,
    /// Refused: fell behind the replay window.
    pub too_late: u64,
    /// Refused: the keys of the epoch were erased, or never came.
    pub wrong_epoch: u64,
    /// Parked for an epoch on its way.
    pub parked: u64,
    /// Dropped from the parking lot for younger ones, or not taken up at all.
    pub parked_dropped: u64,
    /// Dropped from the parking lot because the epoch did not come in time.
    pub parked_expired: u64,
    /// Refused: off stage in the epoch of the packet, or since.
    pub not_on_stage: u64,
    /// Refused: muted by oneself, or the microphone was off.
    pub muted: u64,
    /// Of those opened, how many a seal of theirs has confirmed.
    pub verified: u64,
    /// Of those opened, how many have been flagged, for no seal has covered them within a second.
    pub unverified: u64,
    /// Made by somebody else in their name, frames and seals, as their own seals say: played or not.
    pub impersonated: u64,
    /// Held until a seal came, and not opened at once.
    pub held: u64,
    /// Of those held, how many no seal has covered in time: they were not played.
    pub unsealed: u64,
}

/// What a packet was refused as.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Refusal {
    Malformed,
    Forged,
    Replayed,
    TooLate,
    /// Its keys are gone.
    WrongEpoch,
    /// They were not on stage in its epoch.
    NotOnStage,
    Muted,
    /// It waits for its epoch.
    Parked,
    /// It would have waited, but there was no room.
    LotFull,
    /// It waits for a seal, or cannot have one.
    Held,
    /// Somebody else made it.
    Impersonated,
}

/// What one member's packets came to, and who has muted them. It goes with them from epoch to epoch.
#[derive(Clone, Debug, Default)]
pub(super) struct Account {
    /// One has muted them.
    pub(super) muted: bool,
    /// Their microphone is off.
    pub(super) mic_off: bool,
    counters: Counters,
    /// When a frame of theirs was opened last, since they came on stage.
    heard: Option<Duration>,
    /// The same, before they came on stage this time.
    heard_before: Option<Duration>,
    /// When a packet that named them was refused last, since they came on stage, and as what.
    refused: Option<(Duration, Refusal)>,
    /// When a parked packet that named them was last dropped for a younger one.
    dropped: Option<Duration>,
    ahead: Option<Ahead>,
    /// An unbroken run of packets that wait for a seal: when its first came, and its last.
    held: Option<(Duration, Duration)>,
    /// When a seal confirmed a frame of theirs last.
    verified: Option<Duration>,
    /// When they came on stage, as far as one was there.
    on_stage_since: Duration,
}

/// An unbroken run of packets of epochs on their way.
#[derive(Clone, Copy, Debug)]
struct Ahead {
    since: Duration,
    last: Duration,
    /// The epoch of the last one.
    epoch: u64,
}

impl Account {
    pub(super) fn begun(since: Duration) -> Self {
        Self { on_stage_since: since, ..Self::default() }
    }

    /// A frame was opened at `now`. Once a frame: one increment, one store.
    #[inline(always)]
    pub(super) fn open(&mut self, now: Duration) {
        self.counters.opened += 1;
        self.heard = Some(now);
    }

    /// Frames were confirmed at `now`, of which some had been flagged.
    pub(super) fn verify(&mut self, frames: u64, flagged_before: u64, now: Duration) {
        self.counters.verified += frames;
        self.counters.unverified = self.counters.unverified.saturating_sub(flagged_before);
        if frames > 0 {
            self.verified = Some(now);
        }
    }

    /// No seal has covered frames that were played.
    pub(super) fn flag(&mut self, frames: u64) {
        self.counters.unverified += frames;
    }

    /// Frames were played that somebody else had made.
    pub(super) fn impersonate(&mut self, frames: u64) {
        self.counters.impersonated += frames;
    }

    /// No seal has covered frames that were held.
    pub(super) fn drop_held(&mut self, frames: u64) {
        self.counters.unsealed += frames;
    }

    /// Whether anything of theirs was ever confirmed.
    pub(super) fn was_verified(&self) -> bool {
        self.verified.is_some()
    }

    #[inline(always)]
    pub(super) fn is_silenced(&self) -> bool {
        self.muted | self.mic_off
    }

    /// Who silenced them; what oneself can undo goes first.
    pub(super) fn silenced_by(&self) -> Option<Mute> {
        if self.muted {
            Some(Mute::You)
        } else if self.mic_off {
            Some(Mute::Themselves)
        } else {
            None
        }
    }

    pub(super) fn refuse(&mut self, as_what: Refusal, now: Duration) {
        let counters = &mut self.counters;
        match as_what {
            Refusal::Malformed => counters.malformed += 1,
            Refusal::Forged => counters.forged += 1,
            Refusal::Replayed => counters.replayed += 1,
            Refusal::TooLate => counters.too_late += 1,
            Refusal::WrongEpoch => counters.wrong_epoch += 1,
            Refusal::NotOnStage => counters.not_on_stage += 1,
            Refusal::Muted => counters.muted += 1,
            Refusal::Parked => counters.parked += 1,
            Refusal::Held => counters.held += 1,
            Refusal::Impersonated => counters.impersonated += 1,
            Refusal::LotFull => {
                counters.parked += 1;
                counters.parked_dropped += 1;
            }
        }
        self.refused = Some((now, as_what));
    }

    /// A packet waits for its seal. A second without begins a run anew.
    pub(super) fn hold(&mut self, now: Duration) {
        self.refuse(Refusal::Held, now);
        let run = self.held.filter(|(since, last)| {
            let heard_since = self.heard.is_some_and(|heard| heard > *since);
            !heard_since && now.abs_diff(*last) <= RECENT
        });
        self.held = Some((run.map_or(now, |(since, _)| since), now));
    }

    /// A packet of `epoch`, on its way, came at `now`; was it `kept`? A gap of over `patience` begins a run anew.
    pub(super) fn park(&mut self, kept: bool, epoch: u64, patience: Duration, now: Duration) {
        self.refuse(if kept { Refusal::Parked } else { Refusal::LotFull }, now);
        let run = self.ahead.filter(|run| {
            let heard_since = self.heard.is_some_and(|heard| heard > run.since);
            !heard_since && now.abs_diff(run.last) <= patience
        });
        self.ahead = Some(Ahead { since: run.map_or(now, |run| run.since), last: now, epoch });
    }

    /// A parked packet that names them was dropped for a younger one.
    pub(super) fn drop_parked(&mut self, now: Duration) {
        self.counters.parked_dropped += 1;
        self.dropped = Some(now);
    }

    /// A parked packet that names them outlived its time.
    pub(super) fn expire_parked(&mut self) {
        self.counters.parked_expired += 1;
    }

    /// They are on stage, and were not.
    pub(super) fn enter_stage(&mut self, since: Duration) {
        self.on_stage_since = since;
        self.heard_before = self.heard.take().or(self.heard_before);
        self.refused = None;
    }

    /// The epoch `number` has come.
    pub(super) fn reach(&mut self, number: u64) {
        self.ahead = self.ahead.filter(|run| run.epoch > number);
    }

    /// `untaken` says whether frames of theirs wait for the app to take them.
    pub(super) fn hearing(
        &self,
        off_stage: Option<OffStage>,
        stale: bool,
        untaken: impl FnOnce() -> bool,
        patience: Duration,
        now: Duration,
    ) -> Hearing {
        let cause = match (off_stage, self.silenced_by()) {
            (Some(why), _) => why.into(),
            (None, Some(Mute::You)) => Cause::MutedByYou,
            (None, Some(_)) => Cause::MutedThemselves,
            (None, None) if stale => Cause::NoHeartbeat,
            (None, None) => self.by_packets(untaken, patience, now),
        };
        self.told(cause, now)
    }

    pub(super) fn told(&self, cause: Cause, now: Duration) -> Hearing {
        let last_heard = self.heard.or(self.heard_before).map(|at| now.abs_diff(at));
        Hearing { cause, counters: self.counters, last_heard, seals: SealState::Off }
    }

    fn by_packets(&self, untaken: impl FnOnce() -> bool, patience: Duration, now: Duration) -> Cause {
        // Either way: a clock that jumped back must not keep them "heard" until it has caught up.
        let recent = |at: Duration| now.abs_diff(at) <= RECENT;
        if self.heard.is_some_and(recent) {
            return Cause::Heard;
        }
        let silent =
            [self.heard, self.refused.map(|(at, _)| at)].into_iter().flatten().map(|at| now.abs_diff(at)).min();
        let Some(silent) = silent else {
            return Cause::NothingYet { waited: now.abs_diff(self.on_stage_since) };
        };
        let Some((_, as_what)) = self.refused.filter(|(at, _)| recent(*at)) else {
            return Cause::NoPackets { silent };
        };
        if untaken() {
            return Cause::NotTaken;
        }
        match as_what {
            Refusal::Malformed | Refusal::Forged | Refusal::Impersonated => Cause::Forged,
            Refusal::Held => {
                let waited = self.held.map_or(Duration::ZERO, |(since, _)| now.abs_diff(since));
                if waited <= HOLD { Cause::SealOnItsWay { waited } } else { Cause::Unsealed }
            }
            Refusal::Replayed => Cause::Replayed,
            Refusal::TooLate => Cause::TooLate,
            Refusal::WrongEpoch | Refusal::NotOnStage => Cause::Behind,
            // Unmuted a moment ago.
            Refusal::Muted => Cause::NoPackets { silent },
            Refusal::Parked | Refusal::LotFull => {
                let waited = self.ahead.map_or(Duration::ZERO, |run| now.abs_diff(run.since));
                if waited > patience {
                    Cause::Stale { waited }
                } else if as_what == Refusal::LotFull || self.dropped.is_some_and(recent) {
                    Cause::LotFull
                } else {
                    Cause::KeyOnItsWay { waited }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    const PATIENCE: Duration = Duration::from_millis(2500);

    fn ms(milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds)
    }

    #[test]
    fn a_clock_that_jumps_either_way_keeps_nobody_heard() {
        let mut account = Account::begun(ms(0));
        account.open(ms(50_000));
        for now in [0, 40_000, 48_999, 51_001, 90_000] {
            let hearing = account.hearing(None, false, || false, PATIENCE, ms(now));
            let ago = ms(now.abs_diff(50_000));
            assert_eq!((hearing.cause, hearing.last_heard), (Cause::NoPackets { silent: ago }, Some(ago)));
        }
        for now in [49_000, 50_000, 51_000] {
            assert_eq!(account.hearing(None, false, || false, PATIENCE, ms(now)).cause, Cause::Heard);
        }
    }

    #[test]
    fn each_refusal_counts_once_and_is_told_while_it_is_the_newest() {
        let kinds = [
            (Refusal::Malformed, Cause::Forged),
            (Refusal::Forged, Cause::Forged),
            (Refusal::Replayed, Cause::Replayed),
            (Refusal::TooLate, Cause::TooLate),
            (Refusal::WrongEpoch, Cause::Behind),
            (Refusal::NotOnStage, Cause::Behind),
            (Refusal::Muted, Cause::NoPackets { silent: ms(0) }),
            (Refusal::Parked, Cause::KeyOnItsWay { waited: ms(0) }),
            (Refusal::LotFull, Cause::LotFull),
            (Refusal::Held, Cause::SealOnItsWay { waited: ms(0) }),
            (Refusal::Impersonated, Cause::Forged),
        ];
        let mut account = Account::begun(ms(0));
        for (at, (refusal, cause)) in (1..).zip(kinds) {
            account.refuse(refusal, ms(at));
            assert_eq!(account.hearing(None, false, || false, PATIENCE, ms(at)).cause, cause, "{refusal:?}");
        }
        let Counters { opened, malformed, forged, replayed, too_late, wrong_epoch, parked, .. } = account.counters;
        assert_eq!([opened, malformed, forged, replayed, too_late, wrong_epoch, parked], [0, 1, 1, 1, 1, 1, 2]);
        let Counters { parked_dropped, parked_expired, not_on_stage, muted, held, impersonated, .. } = account.counters;
        assert_eq!([parked_dropped, parked_expired, not_on_stage, muted, held, impersonated], [1, 0, 1, 1, 1, 1]);
    }

    #[test]
    fn a_wait_is_told_in_milliseconds_and_from_ten_seconds_on_in_seconds() {
        assert_eq!([9_999, 10_000].map(|wait| Span(ms(wait)).to_string()), ["9999 ms", "10 s"]);
    }

    #[test]
    fn a_wait_begins_with_the_first_packet_that_was_not_heard_and_ends_with_its_epoch() {
        let mut account = Account::begun(ms(0));
        let waited = |account: &Account, now| account.hearing(None, false, || false, PATIENCE, ms(now)).cause;
        account.park(true, 5, PATIENCE, ms(0));
        account.park(true, 6, PATIENCE, ms(2400));
        assert_eq!(waited(&account, 2500), Cause::KeyOnItsWay { waited: ms(2500) });
        assert_eq!(waited(&account, 2501), Cause::Stale { waited: ms(2501) });
        account.reach(5);
        assert_eq!(waited(&account, 2501), Cause::Stale { waited: ms(2501) });
        account.open(ms(2600));
        account.park(true, 6, PATIENCE, ms(3000));
        assert_eq!(waited(&account, 3601), Cause::KeyOnItsWay { waited: ms(601) });
        account.drop_parked(ms(3601));
        assert_eq!(waited(&account, 3601), Cause::LotFull);
        account.reach(6);
        assert_eq!(account.ahead.map(|run| run.since), None);
    }

    #[test]
    fn a_seal_is_waited_for_as_long_as_a_frame_is_held() {
        let mut account = Account::begun(ms(0));
        let waited = |account: &Account, now| account.hearing(None, false, || false, PATIENCE, ms(now)).cause;
        let on_its_way = |waited| Cause::SealOnItsWay { waited: ms(waited) };
        for at in [0, 1000, 2000] {
            account.hold(ms(at));
            assert_eq!(waited(&account, at), on_its_way(at));
        }
        assert_eq!([2000, 2001].map(|now| waited(&account, now)), [on_its_way(2000), Cause::Unsealed]);
        account.hold(ms(3000));
        assert_eq!(waited(&account, 3000), Cause::Unsealed);
        // After a second without, or once they were heard, a wait begins anew.
        account.hold(ms(4001));
        assert_eq!(waited(&account, 4001), on_its_way(0));
        account.open(ms(4500));
        account.hold(ms(5000));
        assert_eq!([5500, 5501].map(|now| waited(&account, now)), [Cause::Heard, on_its_way(501)]);
    }

    #[test]
    fn every_reason_to_be_off_stage_and_every_state_of_seals_reads_differently() {
        let reasons = [
            OffStage::Listener,
            OffStage::MutedBy(MemberId([1; 32])),
            OffStage::NoHost,
            OffStage::LeftSince,
            OffStage::NotInRoom,
        ];
        assert_eq!(reasons.map(|why| why.to_string()).into_iter().collect::<HashSet<_>>().len(), reasons.len());
        assert_eq!(reasons.map(|why| why.next_step()).into_iter().collect::<HashSet<_>>().len(), reasons.len());
        use SealState::{Contested, Off, Unverified, Verified, Waiting};
        let states = [Off, Waiting, Verified, Unverified, Contested];
        assert_eq!(states.map(|state| state.to_string()).into_iter().collect::<HashSet<_>>().len(), states.len());
    }
}
