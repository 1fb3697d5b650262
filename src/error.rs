//! One [`Error`], grouped by whose fault it is: the bytes, the moment, the policy, the caller, ourselves.
//!
//! A message says what happened, to whom or in which epoch, and what to do next. A call that fails leaves the
//! object as it was.

use std::{borrow::Cow, fmt, path::PathBuf, time::Duration};

use crate::{
    identity::LeafIndex,
    media::{Mute, OffStage},
    room::TreeId,
    text::Shown,
};

/// The result of everything here that can fail.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a call did not do what was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    // ---- the bytes are at fault ----
    /// The bytes are not what they should be.
    #[error("{what} refused: {why}; {}", remedy(*.what))]
    Malformed {
        /// What the bytes were taken for.
        what: Item,
        /// What is wrong with them.
        why: &'static str,
    },
    /// The bytes are more than this kind of thing may ever be; they were not parsed.
    #[error("{what} of {bytes} bytes is over the limit of {limit} and was not read; {}", remedy(*.what))]
    TooLarge {
        /// What the bytes were taken for.
        what: Item,
        /// How many there were.
        bytes: usize,
        /// How many there may be.
        limit: usize,
    },
    /// A card is signed as it should be, and is none to let anybody in by.
    #[error("card refused: {flaw}; {}", .flaw.remedy())]
    Unfit {
        /// Why not.
        flaw: Flaw,
    },
    /// A tag did not verify: nobody in the room sealed these bytes as they stand. Drop them.
    #[error(
        "packet of {leaf} in epoch {epoch} is forged, damaged or another room's: its tag does not verify; it was dropped"
    )]
    Forged {
        /// The sender that the packet names.
        leaf: LeafIndex,
        /// The epoch whose key was tried.
        epoch: u64,
    },
    /// Somebody in the room made this packet in another's name: the speaker's own seal says that it is not theirs. It
    /// was not played.
    #[error(
        "packet {counter} of {leaf} in epoch {epoch} was made by somebody else in the room: it is not what {leaf} sealed; it was dropped"
    )]
    Impersonated {
        /// The sender that the packet names, who did not make it.
        leaf: LeafIndex,
        /// Its epoch.
        epoch: u64,
        /// Its counter.
        counter: u64,
    },
    /// A control message does not authenticate: not of this room, damaged, or made by nobody in it.
    #[error("{what} does not authenticate in epoch {epoch}: {why}; nothing has changed: {}", remedy(*.what))]
    Unauthentic {
        /// What the bytes were taken for.
        what: Item,
        /// The room's epoch.
        epoch: u64,
        /// What the group layer said.
        why: Detail,
    },

    // ---- the moment is at fault ----
    /// The packet was opened before. Drop it.
    #[error("packet {counter} of {leaf} in epoch {epoch} was opened before; it was dropped")]
    Replayed {
        /// Its sender.
        leaf: LeafIndex,
        /// Its epoch.
        epoch: u64,
        /// Its counter.
        counter: u64,
    },
    /// The packet came after its key was erased or its place in the replay window had passed. Drop it.
    #[error("packet of {leaf} came too late: {why}; it was dropped")]
    TooLate {
        /// The sender that the packet names.
        leaf: LeafIndex,
        /// What had passed.
        why: &'static str,
    },
    /// The packet's key is on its way: it is kept, and comes out of `Voice::unpark` after the rekey.
    #[error("packet of {leaf} is of an epoch still on its way (its low bits are {epoch_bits}); kept until the rekey")]
    Parked {
        /// The sender that the packet names.
        leaf: LeafIndex,
        /// The low bits of its epoch, all that a packet tells.
        epoch_bits: u64,
    },
    /// The packet is a speaker's seal: there is nothing to play, and nothing is wrong. What waited for it comes out of
    /// `Voice::unpark`.
    #[error(
        "packet of {leaf} in epoch {epoch} is a seal: nothing to play; call `Voice::unpark` for what waited for it"
    )]
    Seal {
        /// Whose.
        leaf: LeafIndex,
        /// Its epoch.
        epoch: u64,
    },
    /// The frame waits for its speaker's seal: it is kept, and comes out of `Voice::unpark` once a seal covers it.
    #[error(
        "packet {counter} of {leaf} in epoch {epoch} waits for its seal: once that has come, `Voice::unpark` gives it"
    )]
    Held {
        /// The sender that the packet names.
        leaf: LeafIndex,
        /// Its epoch.
        epoch: u64,
        /// Its counter.
        counter: u64,
    },
    /// The packet is one's own, sent back. Drop it: nobody hears themselves.
    #[error("packet of epoch {epoch} is your own, sent back by the relay; it was dropped")]
    Reflected {
        /// Its epoch.
        epoch: u64,
    },
    /// The control message is for another epoch than the room's.
    #[error("{what} is of epoch {message}, the room is in epoch {room}: {}", epoch_advice(*.message, *.room))]
    WrongEpoch {
        /// What it was.
        what: Item,
        /// Its epoch.
        message: u64,
        /// The room's.
        room: u64,
    },
    /// A member lets somebody in whose key package, made by another implementation, is out of date by this machine's
    /// clock. The same bytes are taken once the clock is right.
    #[error(
        "control message cannot be read by this machine's clock: either the clock is at least {} {}, or who was let in has a key package that is dated wrong; nothing has changed: if the clock is wrong, set it and receive this message again",
        Amount(.by.as_secs()), if *.ahead { "ahead" } else { "behind" }
    )]
    WrongClock {
        /// By how much the clock is wrong at least, if it is.
        by: Duration,
        /// Whether it is ahead then, rather than behind.
        ahead: bool,
    },
    /// A commit of one's own is on its way; a second one would be lost for certain.
    #[error(
        "a commit of yours for epoch {epoch} is on its way: receive it, or the one that won, or call `Room::abandon`"
    )]
    CommitPending {
        /// The epoch it would end.
        epoch: u64,
    },

    /// No host has vouched lately for the room as one sees it: somebody who was put out may still be listening. Nothing
    /// was sealed, and no counter used.
    #[error(
        "no host vouches for epoch {epoch} any more, so nothing is sealed: fetch the control messages from the relay; if none are missing, ask a host by another way"
    )]
    Stale {
        /// The epoch one is in.
        epoch: u64,
    },
    /// One is out of the room: its secrets are erased.
    #[error(
        "you are out of this room since epoch {epoch}: if it goes on, and you are not in it by another device, ask a host to admit a fresh card of yours"
    )]
    Closed {
        /// The last epoch one was in.
        epoch: u64,
    },

    // ---- the room's policy says no ----
    /// The packet names a sender who may not speak in that epoch. It was not played.
    #[error(
        "{leaf} is not on stage in epoch {epoch}, so nothing of theirs is sealed or played: {why}; {}",
        why.next_step()
    )]
    NotOnStage {
        /// The sender.
        leaf: LeafIndex,
        /// The epoch.
        epoch: u64,
        /// Why not.
        why: OffStage,
    },
    /// The sender is on stage, but switched off. Nothing was sealed, and no counter used; or it was not played.
    #[error("{leaf} is muted in epoch {epoch}, so nothing of theirs is sealed or played: {by}")]
    Muted {
        /// The sender.
        leaf: LeafIndex,
        /// The epoch.
        epoch: u64,
        /// Who switched them off.
        by: Mute,
    },
    /// The sender has no media key that counts: the room plays sealed sound only, or it was a seal. It was not played.
    #[error(
        "{leaf} has no media key in epoch {epoch}, so nothing of theirs is sealed: their app calls `Room::refresh` when `Room::refresh_due` says so, or knows no seals"
    )]
    Unsealed {
        /// The sender that the packet names.
        leaf: LeafIndex,
        /// The epoch.
        epoch: u64,
    },
    /// One's room was restored, and no commit has been made in it since: whoever else was restored from the same snapshot
    /// has the same keys, and two who speak with them give both away. Nothing was sealed, and no counter used.
    #[error(
        "this room was restored, and in epoch {epoch} you only listen: call `Room::refresh`, and speak once it is received"
    )]
    Restored {
        /// The epoch.
        epoch: u64,
    },
    /// The room's policy refuses.
    #[error("refused: {0}")]
    Denied(Box<Denial>),
    /// Somebody who may let in has answered a knock with no.
    #[error("you were turned away from {}{}{}", quoted(.room), said(.reason), turned_away_advice(*.for_good))]
    TurnedAway {
        /// The room's title, as its doorplate has it.
        room: Box<str>,
        /// Whether another knock will be of no use.
        for_good: bool,
        /// What they said to it; empty if nothing.
        reason: Box<str>,
    },

    // ---- the caller is at fault ----
    /// Who was let in needs the room's ratchet tree too, which travels apart, and it is another than the one given.
    #[error(
        "the answer needs the room's tree {tree}, and {}: fetch the tree of that id from the relay, and enter with it",
        .given.as_ref().map_or("none was given".to_owned(), |given| format!("{given} was given"))
    )]
    NeedsTree {
        /// Which it is.
        tree: Box<TreeId>,
        /// Which was given, if one was.
        given: Option<Box<TreeId>>,
    },
    /// An argument cannot be used.
    #[error("{what}: {why}")]
    Unusable {
        /// Which argument, or which call.
        what: &'static str,
        /// Why, and what to do.
        why: &'static str,
    },
    /// An epoch's keys were given to a voice that they do not fit. The voice is as it was, the keys are gone.
    #[error("keys of epoch {keys} do not fit this voice, which is in epoch {voice}: {why}")]
    WrongKeys {
        /// The epoch of the keys.
        keys: u64,
        /// The epoch of the voice.
        voice: u64,
        /// What does not fit, and what to do.
        why: &'static str,
    },
    /// The buffer is too small. Nothing was written and no counter used.
    #[error("buffer of {have} bytes is too small, and was not written to: give {need}")]
    BufferTooSmall {
        /// What is needed, in bytes.
        need: usize,
        /// What was given, in bytes.
        have: usize,
    },
    /// Nobody of that id is in the room in this epoch.
    #[error("no such member in epoch {epoch}: {who}; look at `Room::roster`")]
    NotAMember {
        /// Who was asked for.
        who: String,
        /// The room's epoch.
        epoch: u64,
    },
    /// A key has sealed all it may. Rekey the room (`Room::refresh`) and go on.
    #[error("the frame key of key id {kid:#x} has sealed its last frame: refresh the room to go on")]
    Exhausted {
        /// The key id of the key.
        kid: u64,
    },
    /// A file could not be read or written.
    #[error("{path}: {source}{advice}", path = path.display(), advice = file_advice(.source))]
    File {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },

    // ---- something below us is at fault ----
    /// The operating system gave no randomness. Nothing secret was made.
    #[error("the operating system gave no randomness: nothing secret was made; try again")]
    Randomness,
    /// The group layer failed in a way that no input should bring about: a bug, here or there.
    #[error("the group layer failed ({0}); please report this")]
    Group(Detail),
    /// The codec failed.
    #[error("Opus failed ({0}): leave out this frame and go on, or make the codec anew")]
    Codec(Detail),
}

/// It is part of every result of a frame.
const _: () = assert!(size_of::<Error>() <= 48);

fn epoch_advice(message: u64, room: u64) -> &'static str {
    if message > room {
        "fetch the messages in between from the relay first"
    } else {
        "it lost its race or was delivered twice; drop it"
    }
}

fn quoted(title: &str) -> String {
    if title.is_empty() { "the room".to_owned() } else { format!("“{}”", Shown(title)) }
}

fn said(reason: &str) -> String {
    if reason.is_empty() { String::new() } else { format!(" (“{}”)", Shown(reason)) }
}

const fn turned_away_advice(for_good: bool) -> &'static str {
    if for_good { " for good: do not knock again" } else { ": you may knock once more, or ask who sent the link" }
}

/// What to do about bytes that are refused.
const fn remedy(what: Item) -> &'static str {
    match what {
        Item::Packet | Item::Message | Item::Seal | Item::Signal => "drop it",
        Item::Frame => "drop it: its sender's app must write it as a voice frame",
        Item::Opus => "drop it: its sender's encoder must be mended",
        Item::Card => "ask its owner for a fresh one",
        Item::Welcome => "ask who invited you for the one made for your card",
        Item::Tree => "fetch the tree that came with the welcome",
        Item::Settings => "choose others; a room that has these is not one to enter",
        Item::Name => "choose another, of 1 to 64 bytes: letters, digits, signs, and single spaces between them",
        Item::Wav | Item::Ogg => "save the recording as a 16-bit PCM WAV or an Ogg Opus file",
        Item::Link => "ask who sent it to send it again, or for another",
        Item::Gate => "ask a host of the room for it again",
        Item::Doorplate => "fetch it from the relay again, or ask who sent the link for another",
        Item::Knock => "drop it",
        Item::Answer => "fetch it from the relay again, or knock again",
        Item::Clip => "ask for it as it was exported, and whole",
        Item::PublishedKeys => "fetch them from the relay again",
        Item::Snapshot => "if it cannot be had back, come back into the room, or send a host a fresh card",
        Item::Request => "drop it",
        Item::Ticket => "keep another; without one, send a host a fresh card",
    }
}

fn file_advice(source: &std::io::Error) -> &'static str {
    match source.kind() {
        std::io::ErrorKind::NotFound => "; check the path",
        std::io::ErrorKind::PermissionDenied => "; check its permissions",
        std::io::ErrorKind::InvalidData => "; save the recording as a 16-bit PCM WAV or an Ogg Opus file",
        _ => "",
    }
}

/// What a run of bytes was taken for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Item {
    /// A media packet.
    Packet,
    /// The audio inside a packet.
    Frame,
    /// The Opus packet in a voice frame.
    Opus,
    /// A card.
    Card,
    /// A welcome.
    Welcome,
    /// A sealed ratchet tree.
    Tree,
    /// A control message.
    Message,
    /// The room's settings and roles.
    Settings,
    /// A name.
    Name,
    /// A WAV file.
    Wav,
    /// An Ogg Opus file.
    Ogg,
    /// A link.
    Link,
    /// A gate: what the relay checks knocks with.
    Gate,
    /// A room's doorplate: what the holder of a link can read of the room.
    Doorplate,
    /// A knock.
    Knock,
    /// The answer to a knock.
    Answer,
    /// A speaker's signature over packets of theirs.
    Seal,
    /// A clip: what somebody said, with the proof.
    Clip,
    /// The media keys that a member of a room published when it was over.
    PublishedKeys,
    /// The state of a room, as a vault keeps it.
    Snapshot,
    /// A host's heartbeat, or a question for one.
    Signal,
    /// A member's request to be brought back into their room.
    Request,
    /// What a member keeps to ask their way back.
    Ticket,
}

impl fmt::Display for Item {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Packet => "packet",
            Self::Frame => "audio frame",
            Self::Opus => "Opus packet",
            Self::Card => "card",
            Self::Welcome => "welcome",
            Self::Tree => "ratchet tree",
            Self::Message => "control message",
            Self::Settings => "room settings",
            Self::Name => "name",
            Self::Wav => "WAV file",
            Self::Ogg => "Ogg Opus file",
            Self::Link => "link",
            Self::Gate => "gate",
            Self::Doorplate => "doorplate",
            Self::Knock => "knock",
            Self::Answer => "answer to a knock",
            Self::Seal => "seal",
            Self::Clip => "clip",
            Self::PublishedKeys => "published keys",
            Self::Snapshot => "snapshot",
            Self::Signal => "signal",
            Self::Request => "request to come back",
            Self::Ticket => "ticket",
        })
    }
}

/// What the policy refused: who wanted what, and why not.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Denial {
    /// Who wanted it, by name.
    pub actor: String,
    /// What they wanted.
    pub action: String,
    /// The rule against it, and what to do instead.
    pub why: Cow<'static, str>,
}

impl fmt::Display for Denial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} may not {}: {}", Shown(&self.actor), Shown(&self.action), self.why)
    }
}

/// Why somebody's leaf, or the key package that would bring it into a room, is not taken.
///
/// Dates and amounts of time are in seconds. All members of a room judge alike what does not depend on a clock; what
/// does is for whoever admits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Flaw {
    /// It is of another MLS version.
    Version(u16),
    /// It is for another MLS suite.
    Suite(u16),
    /// It was not made to be let in by.
    NoKeyPackage,
    /// The credential is not Basic, or not UTF-8.
    NoBasicCredential,
    /// The signature key is none of Ed25519's.
    NoEd25519Key,
    /// Its capabilities do not list something that every room needs.
    Lacks(&'static str),
    /// It carries an extension that its capabilities do not list.
    Unlisted(u16),
    /// It carries a GREASE extension (RFC 9420 §13.5), which the group layer cannot find in the capabilities.
    Grease(u16),
    /// As [`Unlisted`](Self::Unlisted) or [`Grease`](Self::Grease), beside the leaf.
    UnlistedBesideLeaf,
    /// It carries an extension in a place that is not for it.
    Misplaced,
    /// Its leaf is too large: every leaf is in every later welcome.
    LeafTooLarge {
        /// How many bytes it has.
        bytes: usize,
        /// How many it may have.
        limit: usize,
    },
    /// Nothing can be encrypted to its leaf's encryption key.
    EncryptionKey,
    /// Nothing can be encrypted to its init key.
    InitKey,
    /// Its init key is its leaf's encryption key.
    SameKeys,
    /// Its door key, or the date with it, cannot be read.
    DoorKey,
    /// Its media keys are not certified by its own key and name.
    MediaKeys,
    /// The proof of a link in it cannot be read.
    LinkProof,
    /// The word in it, by which its owner asks to be brought back, cannot be read.
    ReturnWord,
    /// It may be used more than once.
    LastResort,
    /// Its MLS lifetime is longer than any that is taken.
    LivesTooLong {
        /// How long that is.
        lifetime: u64,
        /// How long it may be.
        limit: u64,
    },
    /// It is dated too far ahead of this machine's clock.
    Ahead {
        /// How far.
        by: u64,
    },
    /// It was made too long ago, by this machine's clock.
    Old {
        /// How long.
        age: u64,
    },
    /// Its MLS lifetime has not begun long enough ago, by this machine's clock.
    NotYet {
        /// How long until it has.
        by: u64,
    },
    /// Its MLS lifetime is over, by this machine's clock.
    Expired {
        /// How long it has been.
        by: u64,
    },
    /// Its MLS lifetime ends too soon, by this machine's clock.
    EndsSoon {
        /// How soon.
        left: u64,
    },
    /// This machine's clock reads a time before 1970.
    NoClock,
}

impl Flaw {
    const fn remedy(&self) -> &'static str {
        match self {
            Self::Version(_) | Self::Suite(_) | Self::Lacks(_) => "its owner needs an app that parlor rooms are for",
            Self::Ahead { .. } | Self::NotYet { .. } => {
                "set the wrong clock, and if it was theirs ask for a fresh card then"
            }
            Self::Old { .. } | Self::Expired { .. } | Self::EndsSoon { .. } => {
                "ask its owner for a fresh one, and if that is refused too set the wrong clock"
            }
            Self::NoClock => "set the clock",
            _ => "ask its owner for a fresh one, made otherwise",
        }
    }
}

impl fmt::Display for Flaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Version(version) => write!(f, "it is of MLS version {version:#06x}, and rooms are of 0x0001"),
            Self::Suite(suite) => write!(f, "it is for MLS suite {suite:#06x}, and rooms are of suite 0x0003"),
            Self::NoKeyPackage => f.write_str("its leaf is of another kind than a key package's"),
            Self::NoBasicCredential => f.write_str("it carries no basic credential with a name in UTF-8"),
            Self::NoEd25519Key => f.write_str("it carries no Ed25519 key"),
            Self::Lacks(what) => write!(f, "its capabilities do not list {what}, which every room needs"),
            Self::Unlisted(kind) => {
                write!(f, "it carries the extension {kind:#06x}, which its own capabilities do not list")
            }
            Self::Grease(kind) => write!(
                f,
                "it carries the GREASE extension {kind:#06x}, which openmls 0.9 cannot find among its capabilities: \
                 they may list GREASE, and nothing else may carry it"
            ),
            Self::UnlistedBesideLeaf => f.write_str(
                "beside its leaf it carries an extension that its own capabilities do not list, or a GREASE one, which \
                 openmls 0.9 cannot find among them",
            ),
            Self::Misplaced => f.write_str("it carries an extension in a place where MLS does not allow it"),
            Self::LeafTooLarge { bytes, limit } => write!(f, "its leaf has {bytes} bytes, and may have {limit}"),
            Self::EncryptionKey => f.write_str("nothing can be encrypted to its leaf's key"),
            Self::InitKey => f.write_str("nothing can be encrypted to its init key"),
            Self::SameKeys => f.write_str("its init key and its leaf's key are the same"),
            Self::DoorKey => f.write_str("the door key in its leaf cannot be read"),
            Self::MediaKeys => f.write_str("its media keys are not certified by its own key and name"),
            Self::LinkProof => f.write_str("the proof in it that its owner holds a link cannot be read"),
            Self::ReturnWord => {
                f.write_str("the word in it, by which its owner asks to be brought back, cannot be read")
            }
            Self::LastResort => f.write_str("it may be used more than once"),
            Self::LivesTooLong { lifetime, limit } => {
                write!(f, "its MLS lifetime is {}, and may be {}", Amount(*lifetime), Amount(*limit))
            }
            Self::Ahead { by } => write!(
                f,
                "it is dated {} ahead of this machine's clock: its maker's clock is that much ahead of yours, or yours is \
                 behind",
                Amount(*by)
            ),
            Self::Old { age } => write!(
                f,
                "it was made {} ago by this machine's clock: it is out of date, its maker's clock is behind, or yours is \
                 ahead",
                Amount(*age)
            ),
            Self::NotYet { by } => write!(
                f,
                "it is not valid for another {} by this machine's clock: its maker's clock is that much ahead of yours, \
                 or yours is behind",
                Amount(*by)
            ),
            Self::Expired { by } => write!(
                f,
                "it expired {} ago by this machine's clock: it is out of date, its maker's clock is behind, or yours is \
                 ahead",
                Amount(*by)
            ),
            Self::EndsSoon { left } => write!(
                f,
                "it expires in {} by this machine's clock, and a card has to be good for a week more",
                Amount(*left)
            ),
            Self::NoClock => f.write_str("this machine's clock reads a time before 1970"),
        }
    }
}

/// An amount of time in seconds, in the two largest units that say it.
pub(crate) struct Amount(pub(crate) u64);

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [(u64, &str, &str); 5] = [
            (365 * 24 * 3_600, "year", "years"),
            (24 * 3_600, "day", "days"),
            (3_600, "h", "h"),
            (60, "min", "min"),
            (1, "s", "s"),
        ];
        let first = UNITS.iter().position(|(seconds, ..)| self.0 >= *seconds).unwrap_or(UNITS.len() - 1);
        let mut rest = self.0;
        for (at, (seconds, one, many)) in UNITS.iter().enumerate().skip(first).take(2) {
            let count = rest / seconds;
            rest %= seconds;
            if at == first || count > 0 {
                let space = if at == first { "" } else { " " };
                write!(f, "{space}{count} {}", if count == 1 { one } else { many })?;
            }
        }
        Ok(())
    }
}

/// What a library below said, as text: its types are not part of this interface.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Detail(Box<str>);

impl Detail {
    pub(crate) fn new(text: impl fmt::Display) -> Self {
        Self(text.to_string().into_boxed_str())
    }
}

impl fmt::Display for Detail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_amount_of_time_is_told_in_two_units() {
        for (seconds, text) in [
            (0, "0 s"),
            (59, "59 s"),
            (60, "1 min"),
            (3_665, "1 h 1 min"),
            (86_399, "23 h 59 min"),
            (86_400, "1 day"),
            (90_000, "1 day 1 h"),
            (365 * 86_400 + 3_600, "1 year"),
            (10 * 365 * 86_400 + 2 * 86_400, "10 years 2 days"),
            (u64::MAX, "584942417355 years 26 days"),
        ] {
            assert_eq!(Amount(seconds).to_string(), text);
        }
    }
}
