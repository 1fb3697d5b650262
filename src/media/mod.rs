//! The media plane: frames sealed and opened, fifty a second, in any order, over anything.
//!
//! A packet is one SFrame ciphertext (RFC 9605): header, Opus frame, tag. The relay, the network and every other
//! member may be hostile; whatever bytes come in, [`Voice::open`] gives authenticated sound of somebody on stage, or an
//! error that says why not. Why somebody is not heard, [`Voice::hearing`] says, with what to do next.
//!
//! ```text
//! EpochKeys ─► Voice ─┬─ current epoch ──┬─ sealer (its own counter)
//!                     │                  └─ per speaker: key, replay window
//!                     ├─ previous epochs, 2 s at most: per speaker still on stage, the same
//!                     ├─ parking: packets of epochs on their way, bounded
//!                     └─ accounts: per member of the room, what became of their packets, and who is muted
//! ```

mod backend;
pub mod clip;
mod epoch;
mod header;
mod hearing;
mod keys;
mod parking;
mod people;
pub(crate) mod replay;
pub mod seal;
pub mod sframe;
mod suite;
mod voice;

pub use backend::Backend;
pub(crate) use backend::{scrub_stack, sweep_stack};
pub use clip::Clip;
pub(crate) use keys::EpochOf;
pub(crate) use people::Company;

pub use hearing::{Cause, Counters, Hearing, Mute, OffStage, SealState};
pub use keys::{BASE_KEY_LABEL, EpochKeys, KeyIdLayout, Quiet, Speaker};
pub use suite::Suite;
pub use voice::{Limits, MAX_FRAME, MAX_OVERHEAD, Stats, Voice};
