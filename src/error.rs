//! One [`Error`], grouped by whose fault it is: the bytes, the moment, the policy, the caller, ourselves.
//!
//! A message says what happened, to whom or in which epoch, and what to do next. A call that fails leaves the
//! object as it was.

use std::{fmt, path::PathBuf};

use crate::{
    identity::LeafIndex,
    media::{Mute, OffStage},
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
        Item::Frame => "drop it: one Opus frame of 20 ms is at most 1,275 bytes",
        Item::Card => "ask its owner for a fresh one",
        Item::Welcome => "ask who invited you for the one made for your card",
        Item::Tree => "fetch the tree that came with the welcome",
        Item::Settings => "choose others; a room that has these is not one to enter",
        Item::Name => "choose another, of 1 to 64 bytes: letters, digits, signs, and single spaces between them",
        Item::Wav => "save the recording as a 16-bit PCM WAV file",
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
        std::io::ErrorKind::InvalidData => "; save the recording as a 16-bit PCM WAV file",
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
            Self::Card => "card",
            Self::Welcome => "welcome",
            Self::Tree => "ratchet tree",
            Self::Message => "control message",
            Self::Settings => "room settings",
            Self::Name => "name",
            Self::Wav => "WAV file",
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
    pub why: &'static str,
}

impl fmt::Display for Denial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} may not {}: {}", Shown(&self.actor), Shown(&self.action), self.why)
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
