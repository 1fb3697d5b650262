//! What a room's hosts decide for everybody: title and topic, who may enter, who may speak, and the rest.
//!
//! All of it stands in the [charter](super::charter), so that all members of an epoch hold the same settings and the
//! relay none. Suite, key-id layout and what seals prove are fixed when the room is made; each of the others is one
//! [`Setting`], and its change an event that names who did it.

use std::fmt;

use crate::{
    error::{Error, Item, Result},
    media::{
        KeyIdLayout, Suite,
        seal::{MAX_EVERY, Proof, SealMode, SealRules, Unsealed},
    },
    text::check_line,
};

/// The longest title in bytes of UTF-8.
pub const MAX_TITLE: usize = 120;

/// The longest topic in bytes of UTF-8.
pub const MAX_TOPIC: usize = 500;

/// What holds for a whole room.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Settings {
    pub(super) suite: Suite,
    pub(super) layout: KeyIdLayout,
    pub(super) title: String,
    pub(super) topic: String,
    pub(super) entry: Entry,
    pub(super) speaking: Speaking,
    pub(super) seals: SealRules,
    pub(super) recording: bool,
    pub(super) locked: bool,
    /// `None` for as many as the layout has key ids for.
    pub(super) capacity: Option<u32>,
}

/// How people come in.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
#[non_exhaustive]
pub enum Entry {
    /// By a card that they hand to a host or a moderator. The room has no links.
    #[default]
    Invited,
    /// By card too, and by a link: whoever holds one is let in by the next host or moderator who is there.
    Link,
    /// By card too, and by a link: a host or a moderator looks at each knock and lets them in or turns them away.
    Knock,
}

/// Who may speak.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
#[non_exhaustive]
pub enum Speaking {
    /// Those who were called on stage: speakers, moderators, hosts.
    #[default]
    OnStage,
    /// Everybody in the room, listeners too.
    Everybody,
}

/// One setting of a room and its value: what a host changes, and what an event tells.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Setting {
    /// The title, of at most [`MAX_TITLE`] bytes. Members see it; holders of a link too.
    Title(String),
    /// What the talk is about, in at most [`MAX_TOPIC`] bytes. Members see it.
    Topic(String),
    /// How people come in. Back to [`Entry::Invited`] ends every link.
    Entry(Entry),
    /// Who may speak.
    Speaking(Speaking),
    /// What seals are for: whether speakers sign what they say, and whether unsigned sound is played.
    Seals(SealMode),
    /// How many frames a seal covers, 1 to [`MAX_EVERY`]: the more, the fewer bytes and the later the proof.
    SealEvery(u8),
    /// What becomes of the frames of a speaker whose seals are missing, in [`SealMode::Live`].
    Unsealed(Unsealed),
    /// Whether recording is allowed: what honest apps go by. Nothing can keep a listener from it.
    Recording(bool),
    /// The most members, or `None` for as many as the key ids can name.
    Capacity(Option<u32>),
    /// Whether nobody is let in, by card, link or knock, until it is unlocked.
    Locked(bool),
}

impl Settings {
    /// These settings with frames of another suite.
    #[must_use]
    pub const fn with_suite(mut self, suite: Suite) -> Self {
        self.suite = suite;
        self
    }

    /// These settings with another layout of key ids, which bounds the number of members to 2^S.
    #[must_use]
    pub const fn with_layout(mut self, layout: KeyIdLayout) -> Self {
        self.layout = layout;
        self
    }

    /// These settings with other worth of seals to somebody outside the room. Nobody can change it later: what was
    /// said in a room where nothing can be proved must not become evidence afterwards.
    ///
    /// ```
    /// use parlor::{Settings, media::seal::Proof};
    /// let on_record = Settings::default().with_proof(Proof::Evidence);
    /// assert_eq!(on_record.seals().proof, Proof::Evidence);
    /// ```
    #[must_use]
    pub const fn with_proof(mut self, proof: Proof) -> Self {
        self.seals.proof = proof;
        self
    }

    /// These settings with another title, which members see and the relay does not.
    ///
    /// # Errors
    /// [`Error::Malformed`] if it is longer than [`MAX_TITLE`] bytes, holds what turns or breaks a line, or nothing that
    /// shows.
    pub fn with_title(self, title: &str) -> Result<Self> {
        self.with(Setting::Title(title.to_owned()))
    }

    /// These settings with one of them changed.
    ///
    /// ```
    /// use parlor::{Settings, room::{Entry, Setting}};
    /// let settings = Settings::default().with(Setting::Entry(Entry::Knock))?.with(Setting::Capacity(Some(50)))?;
    /// assert_eq!((settings.entry(), settings.capacity()), (Entry::Knock, 50));
    /// # Ok::<(), parlor::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Malformed`] if the value is out of bounds, or a text holds what turns or breaks a line, or nothing that
    /// shows.
    pub fn with(mut self, setting: Setting) -> Result<Self> {
        match setting {
            Setting::Title(title) => self.title = title,
            Setting::Topic(topic) => self.topic = topic,
            Setting::Entry(entry) => self.entry = entry,
            Setting::Speaking(speaking) => self.speaking = speaking,
            Setting::Seals(mode) => self.seals.mode = mode,
            Setting::SealEvery(every) => self.seals.every = every,
            Setting::Unsealed(unsealed) => self.seals.unsealed = unsealed,
            Setting::Recording(recording) => self.recording = recording,
            Setting::Capacity(capacity) => self.capacity = capacity,
            Setting::Locked(locked) => self.locked = locked,
        }
        self.check()?;
        Ok(self)
    }

    /// The suite of every frame in the room.
    pub const fn suite(&self) -> Suite {
        self.suite
    }

    /// How key ids are laid out.
    pub const fn layout(&self) -> KeyIdLayout {
        self.layout
    }

    /// The room's title; empty if it has none.
    pub fn title(&self) -> &str {
        &self.title
    }

    /// What the talk is about; empty if nobody said.
    pub fn topic(&self) -> &str {
        &self.topic
    }

    /// How people come in.
    pub const fn entry(&self) -> Entry {
        self.entry
    }

    /// Who may speak.
    pub const fn speaking(&self) -> Speaking {
        self.speaking
    }

    /// How the room seals. All but [`SealRules::proof`] may change.
    pub const fn seals(&self) -> SealRules {
        self.seals
    }

    /// Whether recording is allowed.
    pub const fn recording(&self) -> bool {
        self.recording
    }

    /// Whether nobody is let in.
    pub const fn locked(&self) -> bool {
        self.locked
    }

    /// How many members there may be.
    pub fn capacity(&self) -> usize {
        let named = 1 << self.layout.sender_bits();
        self.capacity.and_then(|capacity| usize::try_from(capacity).ok()).map_or(named, |capacity| capacity.min(named))
    }

    /// What is other in `after`, each with its value there. Suite, layout and what seals prove are not
    /// settings that change.
    pub(super) fn changes(&self, after: &Self) -> Vec<Setting> {
        let mut changes = Vec::new();
        let mut other = |differs: bool, setting: Setting| {
            if differs {
                changes.push(setting);
            }
        };
        other(self.title != after.title, Setting::Title(after.title.clone()));
        other(self.topic != after.topic, Setting::Topic(after.topic.clone()));
        other(self.entry != after.entry, Setting::Entry(after.entry));
        other(self.speaking != after.speaking, Setting::Speaking(after.speaking));
        let (seals, then) = (&self.seals, &after.seals);
        other(seals.mode != then.mode, Setting::Seals(then.mode));
        other(seals.every != then.every, Setting::SealEvery(then.every));
        other(seals.unsealed != then.unsealed, Setting::Unsealed(then.unsealed));
        other(self.recording != after.recording, Setting::Recording(after.recording));
        other(self.capacity != after.capacity, Setting::Capacity(after.capacity));
        other(self.locked != after.locked, Setting::Locked(after.locked));
        changes
    }

    /// Whether every value is within its bounds.
    pub(super) fn check(&self) -> Result<()> {
        let malformed = |why| Err(Error::Malformed { what: Item::Settings, why });
        if self.title.len() > MAX_TITLE {
            return malformed("the title is longer than 120 bytes");
        }
        if self.topic.len() > MAX_TOPIC {
            return malformed("the topic is longer than 500 bytes");
        }
        if check_line(&self.title).and_then(|()| check_line(&self.topic)).is_err() {
            return malformed("the title or the topic does not show, or holds what turns or breaks a line");
        }
        if self.capacity == Some(0) {
            return malformed("nobody fits into a room for none");
        }
        if !(1..=MAX_EVERY).contains(&self.seals.every) {
            return malformed("a seal covers 1 to 50 frames");
        }
        Ok(())
    }
}

impl fmt::Display for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Title(title) => write!(f, "the title is {title:?}"),
            Self::Topic(topic) => write!(f, "the topic is {topic:?}"),
            Self::Entry(Entry::Invited) => f.write_str("people enter by invitation"),
            Self::Entry(Entry::Link) => f.write_str("people enter by a link"),
            Self::Entry(Entry::Knock) => f.write_str("people knock, and are let in"),
            Self::Speaking(Speaking::OnStage) => f.write_str("those on stage may speak"),
            Self::Speaking(Speaking::Everybody) => f.write_str("everybody may speak"),
            Self::Seals(SealMode::Off) => f.write_str("nobody signs what they say"),
            Self::Seals(SealMode::Live) => f.write_str("speakers sign what they say, and are heard at once"),
            Self::Seals(SealMode::Strict) => f.write_str("speakers are heard once they have signed what they say"),
            Self::SealEvery(1) => f.write_str("speakers sign every frame"),
            Self::SealEvery(every) => write!(f, "speakers sign every {every} frames"),
            Self::Unsealed(Unsealed::Play) => f.write_str("sound that stays unsigned is played"),
            Self::Unsealed(Unsealed::Hold) => f.write_str("sound that stays unsigned is held back"),
            Self::Recording(true) => f.write_str("recording is allowed"),
            Self::Recording(false) => f.write_str("recording is not allowed"),
            Self::Capacity(Some(most)) => write!(f, "{most} fit in"),
            Self::Capacity(None) => f.write_str("as many fit in as the key ids can name"),
            Self::Locked(true) => f.write_str("the room is locked"),
            Self::Locked(false) => f.write_str("the room is unlocked"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seal_covers_one_to_fifty_frames() {
        for every in [1, 50] {
            let settings = Settings::default().with(Setting::SealEvery(every)).unwrap();
            assert_eq!(settings.seals().every, every);
        }
        for every in [0, 51, 255] {
            let refused = Settings::default().with(Setting::SealEvery(every));
            assert!(matches!(refused, Err(Error::Malformed { what: Item::Settings, .. })), "{every}");
        }
    }

    #[test]
    fn what_seals_prove_is_no_setting_that_changes() {
        let plain = Settings::default();
        assert_eq!(plain.seals(), SealRules::default());
        let evidence = plain.clone().with_proof(Proof::Evidence);
        assert_eq!(evidence.seals().proof, Proof::Evidence);
        assert_eq!(plain.changes(&evidence), []);
        let mut other = plain.clone();
        let changes = [Setting::Seals(SealMode::Strict), Setting::SealEvery(7), Setting::Unsealed(Unsealed::Hold)];
        for change in changes.clone() {
            other = other.with(change).unwrap();
        }
        assert_eq!(plain.changes(&other), changes);
    }
}
