//! The media plane: frames sealed and opened, fifty a second, in any order, over anything.

mod keys;
mod suite;
mod voice;

pub use keys::{EpochKeys, KeyIdLayout, Speaker};
pub use suite::Suite;
pub use voice::{Heard, Limits, Voice};
