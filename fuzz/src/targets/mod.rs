//! One file, one function for each kind of bytes that others hand us. Each asserts what must hold whatever the bytes
//! are; a fuzzer cannot forge a tag, so most sign and seal what they have made of their input.
//!
//! Only the public API of parlor is used, and crates that the main crate's tests have too: `tests/corpora.rs` there
//! includes this folder.
#![allow(missing_docs, unreachable_pub, reason = "a test of the main crate includes it")]

mod answer;
mod card;
mod charter;
mod clip;
mod control_message;
mod doorplate;
mod frame;
mod gate;
mod house;
mod input;
mod knock;
mod link;
mod ogg;
mod opus;
mod packet;
mod packet_header;
mod payload;
mod porch;
mod published_keys;
mod relay;
mod request;
mod seal;
mod signal;
mod snapshot;
mod ticket;
mod tree;
mod wav;
mod welcome;
mod word;
mod world;

use std::{cell::RefCell, collections::BTreeSet};

pub use answer::answer;
pub use card::card;
pub use charter::charter;
pub use clip::clip;
pub use control_message::control_message;
pub use doorplate::doorplate;
pub use frame::frame;
pub use gate::gate;
pub use knock::knock;
pub use link::link;
pub use ogg::ogg;
pub use opus::opus;
pub use packet::packet;
pub use packet_header::packet_header;
pub use payload::payload;
pub use porch::Porch;
pub use published_keys::published_keys;
pub use request::request;
pub use seal::seal;
pub use signal::signal;
pub use snapshot::snapshot;
pub use ticket::ticket;
pub use tree::tree;
pub use wav::wav;
pub use welcome::welcome;
pub use word::word;

thread_local! {
    static REACHED: RefCell<BTreeSet<&'static str>> = const { RefCell::new(BTreeSet::new()) };
}

/// Notes that an input came this far, for the corpora to be held against.
pub fn reach(what: &'static str) {
    REACHED.with_borrow_mut(|reached| reached.insert(what));
}

/// How far inputs came in this thread.
pub fn reached() -> BTreeSet<&'static str> {
    REACHED.take()
}

/// Takes a fuzzer's bytes; a panic is a finding.
pub type Target = fn(&[u8]);

/// Every target, by the name of its function, its corpus and its binary.
pub const ALL: &[(&str, Target)] = &[
    ("answer", answer),
    ("card", card),
    ("charter", charter),
    ("clip", clip),
    ("control_message", control_message),
    ("doorplate", doorplate),
    ("frame", frame),
    ("gate", gate),
    ("knock", knock),
    ("link", link),
    ("ogg", ogg),
    ("opus", opus),
    ("packet", packet),
    ("packet_header", packet_header),
    ("payload", payload),
    ("published_keys", published_keys),
    ("request", request),
    ("seal", seal),
    ("signal", signal),
    ("snapshot", snapshot),
    ("ticket", ticket),
    ("tree", tree),
    ("wav", wav),
    ("welcome", welcome),
    ("word", word),
];
