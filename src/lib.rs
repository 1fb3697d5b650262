//! End-to-end encrypted group audio.
#![forbid(unsafe_code)]
#![cfg_attr(
    not(test),
    warn(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::unreachable, clippy::indexing_slicing)
)]
#![warn(clippy::print_stdout, clippy::print_stderr)]

mod error;
pub mod frame;
mod identity;
pub mod media;
pub mod room;
#[cfg(feature = "opus")]
pub mod sound;

pub use error::{Denial, Detail, Error, Item, Result};
pub use identity::{Fingerprint, Identity, LeafIndex, MAX_NAME, Member, MemberId, Role, RoomCode};
pub use media::{EpochKeys, Heard, KeyIdLayout, Suite, Voice};
pub use room::{Admission, Card, EnterError, Event, Guest, Intent, Room, Settings};
