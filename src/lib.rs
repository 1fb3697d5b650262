//! End-to-end encrypted group audio.
//!
//! An MLS group (RFC 9420) derives per-epoch frame keys, SFrame (RFC 9605) wraps Opus frames in them, and any
//! transport can then carry a room's sound, which only its members can hear. Members, and nobody else, decide who
//! hears and who speaks, and every member checks it; no frame is lost to a key change; a frame that is not played is
//! refused for a reason that the library names.
//!
//! ```text
//!         CONTROL PLANE  (rare, reliable, ordered)               MEDIA PLANE  (50 frames a second, lossy, any order)
//!
//!  card / link / knock                                     microphone → Opus frame
//!         │                                                        │
//!      Guest ──enter──► Room ──Event::Rekeyed(EpochKeys)──► Voice ──seal──► packet ─┐
//!                        ▲ │                                 ▲ │                     │
//!                receive │ │ commands give bytes      rekey │ └─open◄── packet ◄────┤
//!                        │ ▼                                 │    │                  │
//!                  ordered messages                     (moves, once)  Heard → jitter buffer → Opus → mixer → ear
//!                        │ │                                                          │
//!   ─────────────────────┴─┴──────────── relay: hostile, blind ──────────────────────┴───────────
//! ```
//!
//! ```
#![doc = include_str!("../examples/hello_room.rs")]
//! ```
//!
//! # Three rules that the shapes keep
//!
//! 1. *Commands make bytes; only [`Room::receive`] changes the room*, one's own commits included. The relay's order is
//!    the room's order; who loses a race is told ([`Event::Superseded`]) and loses nothing but a [`Room::retry`].
//! 2. *A key moves once and owns its counter.* [`EpochKeys`] cannot be cloned, printed or installed twice.
//! 3. *[`Voice::open`] returns authenticated sound from somebody on stage, or an [`Error`] that says why not.*
//!
//! # Around it
//!
//! The crate is sans-IO: no socket, no thread, no async, no clock of its own, no log. Bytes and time come in as
//! arguments; bytes and events come out. Time is a [`Duration`](std::time::Duration) since any fixed origin of the
//! caller's, on a monotonic clock, the same one for a [`Room`] and its [`Voice`]. [`Room`] and [`Voice`] are `Send`:
//! control and audio may live on threads of their own.
//!
//! | module | holds |
//! |---|---|
//! | [`room`] | the control plane: who is in, who may do what, every commit judged by every member; stage and chat |
//! | [`room::policy`] | who may do what to whom: one pure table |
//! | [`room::door`] | links, knocks, and the hosts' end of the door |
//! | [`media`] | the media plane: frames sealed and opened; [`media::sframe`] is the standard's low level |
//! | [`Hearing`] | why somebody is not heard, and what to do next: [`Voice::hearing`], [`Hearing::through`] an ear |
//! | [`frame`] | what rides inside the encryption: media time, level, Opus |
//! | [`vault`] | where the state of a room is kept over a crash, sealed under a key of the app's |
#![cfg_attr(
    any(feature = "opus", feature = "opus-pure"),
    doc = "| [`sound`] | feature `opus-pure` or `opus`: encoder, decoder, jitter buffer, mixer, WAV |"
)]
//!
//! # Features
//!
//! - `ring` (default): the fast AEAD backend. Without it the same bytes come from RustCrypto's.
//! - `opus-pure` (default): the sound module, over Opus in Rust. It needs neither a C compiler nor cmake.
//! - `opus`: the sound module, over libopus, which is a fifth faster and twenty years older in use. It needs a C compiler
//!   and cmake. With both features libopus runs, and `sound::Codec` names the other.
//!
//! Features only add. `--no-default-features` is the pure-Rust core.
#![forbid(unsafe_code)]
#![warn(missing_docs, missing_debug_implementations, unreachable_pub)]
#![cfg_attr(
    not(test),
    warn(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::unreachable, clippy::indexing_slicing)
)]
#![warn(clippy::print_stdout, clippy::print_stderr)]

mod bytes;
mod error;
pub mod frame;
mod heard;
mod identity;
pub mod media;
mod random;
pub mod room;
#[cfg(any(feature = "opus", feature = "opus-pure"))]
pub mod sound;
mod text;
pub mod vault;

pub use error::{Denial, Detail, Error, Flaw, Item, Result};
pub use heard::{Confirmed, Fate, Heard};
pub use identity::{Fingerprint, Identity, LeafIndex, MAX_NAME, Member, MemberId, Role, RoomCode};
pub use media::{Cause, Clip, EpochKeys, Hearing, KeyIdLayout, Suite, Voice};
pub use room::{
    Admission, Card, EnterError, Event, Guest, Intent, Kept, Room, Settings,
    door::{Doorplate, Link, UnixTime, Waiting},
};

#[cfg(all(test, target_os = "linux"))]
#[path = "../tests/common/dump.rs"]
mod dump;
#[cfg(all(test, target_os = "linux"))]
#[path = "../tests/common/hunt.rs"]
mod hunt;

/// The README's programs, as doc tests.
#[cfg(all(doctest, any(feature = "opus", feature = "opus-pure")))]
#[doc = include_str!("../README.md")]
struct Readme;
