//! Every label and derivation of frame keys.

use std::{fmt, time::Duration};

use zeroize::Zeroizing;

use crate::{
    error::{Error, Item, Result},
    identity::{LeafIndex, MemberId},
    media::Suite,
};

/// The MLS exporter label of an epoch's base key (RFC 9605 §5.2).
pub(crate) const BASE_KEY_LABEL: &str = "SFrame 1.0 Base Key";

/// How stream, sender and epoch share a key id (RFC 9605 §5.2): `(stream << (S+E)) + (leaf << E) + (epoch mod 2^E)`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct KeyIdLayout {
    sender_bits: u8,
    epoch_bits: u8,
}

impl KeyIdLayout {
    /// A layout of `sender_bits` (S, 1 to 24) and `epoch_bits` (E, 4 to 16).
    ///
    /// # Errors
    /// [`Error::Malformed`] outside these bounds.
    pub const fn new(sender_bits: u8, epoch_bits: u8) -> Result<Self> {
        if sender_bits < 1 || sender_bits > 24 || epoch_bits < 4 || epoch_bits > 16 {
            return Err(Error::Malformed {
                what: Item::Settings,
                why: "a key id has 1 to 24 sender bits and 4 to 16 epoch bits",
            });
        }
        Ok(Self { sender_bits, epoch_bits })
    }

    /// S: a room of this layout holds 2^S members.
    pub const fn sender_bits(self) -> u8 {
        self.sender_bits
    }

    /// E: a packet tells its epoch modulo 2^E.
    pub const fn epoch_bits(self) -> u8 {
        self.epoch_bits
    }
}

impl Default for KeyIdLayout {
    /// 12 sender bits (4,096 members) and 8 epoch bits: three bytes of key id at most for a microphone.
    fn default() -> Self {
        Self { sender_bits: 12, epoch_bits: 8 }
    }
}

/// Somebody on stage: whose frames are played.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Speaker {
    /// Their place in the tree, which their key ids carry.
    pub leaf: LeafIndex,
    /// Who they are.
    pub id: MemberId,
}

/// One epoch's frame keys, on their way from the room to its voice. They move once and cannot be copied.
pub struct EpochKeys {
    pub(crate) suite: Suite,
    pub(crate) layout: KeyIdLayout,
    pub(crate) epoch: u64,
    pub(crate) base_key: Zeroizing<Vec<u8>>,
    pub(crate) me: LeafIndex,
    /// Who may speak in this epoch, oneself included if so.
    pub(crate) stage: Vec<Speaker>,
    /// When the room entered the epoch, on the caller's monotonic clock.
    pub(crate) since: Duration,
}

impl EpochKeys {
    /// The keys of `epoch`, whose MLS exporter gave `base_key` (Nk bytes of the suite).
    ///
    /// A room makes these by itself ([`Event::Rekeyed`](crate::Event::Rekeyed)). Those who bring a group layer of
    /// their own must give each epoch's base key once, to one voice: a second voice over the same key would repeat nonces.
    ///
    /// # Errors
    /// [`Error::Unusable`] if the base key's length is not the suite's, or a leaf does not fit the layout.
    pub fn new(
        suite: Suite,
        layout: KeyIdLayout,
        epoch: u64,
        base_key: Zeroizing<Vec<u8>>,
        me: LeafIndex,
        stage: Vec<Speaker>,
        since: Duration,
    ) -> Result<Self> {
        if base_key.len() != suite.key_len() {
            return Err(Error::Unusable { what: "base_key", why: "its length is not the suite's key length" });
        }
        Ok(Self { suite, layout, epoch, base_key, me, stage, since })
    }

    /// The epoch these keys are of.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }
}

impl fmt::Debug for EpochKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EpochKeys").field("suite", &self.suite).field("epoch", &self.epoch).finish_non_exhaustive()
    }
}
