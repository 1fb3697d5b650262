//! The control plane: who is in the room, and what they may do.

mod event;
pub mod policy;

pub use event::Event;

/// placeholder
#[derive(Debug)]
pub struct Room {}
/// placeholder
#[derive(Debug)]
pub struct Guest {}
