//! Every label and derivation of frame keys (RFC 9605 §4.4.2 and §5.2).
//!
//! ```text
//! MLS exporter ─► base key of an epoch ─► HKDF-Extract ─► secret ─┬─ HKDF-Expand(key id, suite) ─► key
//!                                                                 └─ HKDF-Expand(key id, suite) ─► salt
//! ```
//!
//! Invariant: every secret here is wiped when dropped, is neither cloned nor printed, and moves once. Suite, sender,
//! stream and the low bits of the epoch enter by label and key id, room and full epoch by the base key: a packet
//! carried into another of these meets another key.

use std::{collections::BTreeMap, fmt, sync::Arc, time::Duration};

use hkdf::Hkdf;
use sha2::{Digest as _, Sha256, Sha512};
use zeroize::Zeroizing;

use crate::{
    error::{Error, Item, Result},
    identity::{LeafIndex, MemberId},
    media::{
        OffStage,
        backend::{Backend, scrub_stack},
        epoch::Epoch,
        people::{Company, People},
        seal::{SealKeys, SealMode, statement},
        suite::{MAX_KEY_LEN, NONCE_LEN, Suite},
    },
};

/// The MLS exporter label of an epoch's base key, with an empty context (RFC 9605 §5.2).
pub const BASE_KEY_LABEL: &str = "SFrame 1.0 Base Key";
/// The labels of a sender's key and salt (RFC 9605 §4.4.2).
const KEY_LABEL: &[u8] = b"SFrame 1.0 Secret key ";
const SALT_LABEL: &[u8] = b"SFrame 1.0 Secret salt ";

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

    /// The key id of `stream` of `leaf` in `epoch`.
    ///
    /// ```
    /// use parlor::{KeyIdLayout, LeafIndex};
    /// // RFC 9605 §5.2: epoch 17 on four bits, sender 51.
    /// assert_eq!(KeyIdLayout::new(6, 4)?.key_id(0, LeafIndex(51), 17)?, 0x331);
    /// # Ok::<(), parlor::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Unusable`] if the leaf or the stream does not fit its bits. Neither is ever cut short: two senders
    /// would share a key.
    pub const fn key_id(self, stream: u64, leaf: LeafIndex, epoch: u64) -> Result<u64> {
        if leaf.0 >> self.sender_bits != 0 {
            return Err(Error::Unusable {
                what: "leaf",
                why: "it does not fit the key ids of this room, which is full: make a room with more sender bits",
            });
        }
        let low_bits = self.sender_bits + self.epoch_bits;
        if stream.leading_zeros() < low_bits as u32 {
            return Err(Error::Unusable { what: "stream", why: "it does not fit a key id" });
        }
        Ok((stream << low_bits) | ((leaf.0 as u64) << self.epoch_bits) | (epoch & self.epoch_mask()))
    }

    /// What a key id tells: stream, leaf, and the epoch modulo 2^E.
    pub const fn split(self, kid: u64) -> (u64, LeafIndex, u64) {
        // A leaf has 24 bits at most.
        let leaf = (kid >> self.epoch_bits) as u32 & ((1 << self.sender_bits) - 1);
        (kid >> (self.sender_bits + self.epoch_bits), LeafIndex(leaf), kid & self.epoch_mask())
    }

    /// The leaf of a key id, if it is of the stream 0 in `epoch`: what [`split`](Self::split) tells, sooner.
    #[inline]
    pub(crate) const fn leaf_if_microphone_of(self, epoch: u64, kid: u64) -> Option<LeafIndex> {
        let leaf = kid >> self.epoch_bits;
        if (kid ^ epoch) & self.epoch_mask() == 0 && leaf >> self.sender_bits == 0 {
            // 24 bits at most.
            Some(LeafIndex(leaf as u32))
        } else {
            None
        }
    }

    pub(crate) const fn epoch_mask(self) -> u64 {
        (1 << self.epoch_bits) - 1
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

/// Somebody in the room who is off stage: whose frames are not played in this epoch.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Quiet {
    /// Their place in the tree.
    pub leaf: LeafIndex,
    /// Who they are.
    pub id: MemberId,
    /// Why they are off stage.
    pub why: OffStage,
}

/// One epoch's frame keys, on their way from the room to its voice. They move once and cannot be copied.
///
/// ```
/// # use std::time::Duration;
/// # use parlor::{EpochKeys, KeyIdLayout, LeafIndex, MemberId, Suite, Voice, media::Speaker};
/// # let (layout, since) = (KeyIdLayout::default(), Duration::ZERO);
/// # let base_key = zeroize::Zeroizing::new(vec![7; 32]);
/// # let stage = vec![Speaker { leaf: LeafIndex(0), id: MemberId::from_bytes([1; 32]) }];
/// # let keys = EpochKeys::new(Suite::default(), layout, 0, base_key, LeafIndex(0), stage, since)?;
/// let voice = Voice::new(keys);
/// # Ok::<(), parlor::Error>(())
/// ```
///
/// Installing them twice does not compile, so that no counter starts again:
///
/// ```compile_fail,E0382
/// # use std::time::Duration;
/// # use parlor::{EpochKeys, KeyIdLayout, LeafIndex, MemberId, Suite, Voice, media::Speaker};
/// # let (layout, since) = (KeyIdLayout::default(), Duration::ZERO);
/// # let base_key = zeroize::Zeroizing::new(vec![7; 32]);
/// # let stage = vec![Speaker { leaf: LeafIndex(0), id: MemberId::from_bytes([1; 32]) }];
/// # let keys = EpochKeys::new(Suite::default(), layout, 0, base_key, LeafIndex(0), stage, since)?;
/// let voice = Voice::new(keys);
/// let again = Voice::new(keys);
/// # Ok::<(), parlor::Error>(())
/// ```
///
/// Nor does copying them first:
///
/// ```compile_fail,E0599
/// # use std::time::Duration;
/// # use parlor::{EpochKeys, KeyIdLayout, LeafIndex, MemberId, Suite, Voice, media::Speaker};
/// # let (layout, since) = (KeyIdLayout::default(), Duration::ZERO);
/// # let base_key = zeroize::Zeroizing::new(vec![7; 32]);
/// # let stage = vec![Speaker { leaf: LeafIndex(0), id: MemberId::from_bytes([1; 32]) }];
/// # let keys = EpochKeys::new(Suite::default(), layout, 0, base_key, LeafIndex(0), stage, since)?;
/// let voice = Voice::new(keys.clone());
/// # Ok::<(), parlor::Error>(())
/// ```
pub struct EpochKeys {
    pub(super) suite: Suite,
    pub(super) layout: KeyIdLayout,
    base_key: Zeroizing<Vec<u8>>,
    /// Who may speak in this epoch, oneself included if so.
    stage: Arc<[Speaker]>,
    /// Who else is in the room, if anybody has said.
    offstage: Option<Arc<[Quiet]>>,
    /// When the room entered the epoch, on the caller's monotonic clock.
    pub(super) since: Duration,
    /// A hash of the room's id; zeros if nobody said which room.
    pub(super) room: [u8; 32],
    backend: Backend,
    /// The derived keys: made here, so that the thread of the audio derives none.
    pub(super) frames: Epoch,
}

impl EpochKeys {
    /// The keys of `epoch`, whose MLS exporter gave `base_key` (Nk bytes of the suite).
    ///
    /// A room makes these by itself ([`Event::Rekeyed`](crate::Event::Rekeyed)). Those who bring a group layer of
    /// their own must give each epoch's base key once, to one voice: a second voice over the same key would repeat nonces.
    /// `stage` is who may speak, oneself included if so; `since` is when the epoch began on the monotonic clock
    /// that [`Voice::open`](crate::Voice::open) is given.
    ///
    /// # Errors
    /// [`Error::Unusable`] if the base key's length is not the suite's, a leaf does not fit the layout, a leaf stands
    /// on the stage twice, or the stage holds more than 65,534.
    pub fn new(
        suite: Suite,
        layout: KeyIdLayout,
        epoch: u64,
        base_key: Zeroizing<Vec<u8>>,
        me: LeafIndex,
        stage: Vec<Speaker>,
        since: Duration,
    ) -> Result<Self> {
        let secret = Secret::of(suite, &base_key)?;
        let backend = Backend::default();
        let mut frames = Epoch::derive(&secret, backend, layout, epoch, me, &stage, None)?;
        frames.list(People::new(&stage, &[]), false, since);
        let stage = stage.into();
        Ok(Self { suite, layout, base_key, stage, offstage: None, since, room: [0; 32], backend, frames })
    }

    /// The same of a room, all at once: each key is derived once.
    pub(crate) fn of(epoch: EpochOf<'_>, base_key: Zeroizing<Vec<u8>>, seals: Option<SealKeys>) -> Result<Self> {
        let EpochOf { room, suite, layout, epoch, me, company, since } = epoch;
        let secret = Secret::of(suite, &base_key)?;
        let backend = Backend::default();
        let mut made = BTreeMap::new();
        let keep = seals.is_some().then_some(&mut made);
        let mut frames = Epoch::derive(&secret, backend, layout, epoch, me, &company.stage, keep)?;
        frames.list(company.people.clone(), true, since);
        if let Some(seals) = seals {
            seals.check()?;
            frames.watch(&secret, backend, layout, seals, made)?;
        }
        let (stage, offstage) = (company.stage.clone(), Some(company.offstage.clone()));
        let room = Sha256::digest(room).into();
        Ok(Self { suite, layout, base_key, stage, offstage, since, room, backend, frames })
    }

    /// The same keys, computed with by `backend`. The bytes of every packet stay the same.
    ///
    /// # Errors
    /// [`Error::Unusable`] if the keys have seals already. None else that [`new`](Self::new) would not have given.
    pub fn with_backend(mut self, backend: Backend) -> Result<Self> {
        if self.frames.seals.is_some() {
            return Err(Error::Unusable { what: "backend", why: "choose it before the seals" });
        }
        self.backend = backend;
        let listens_only = self.is_listen_only();
        let secret = Secret::of(self.suite, &self.base_key)?;
        let (people, all_listed) = (self.frames.people.clone(), self.offstage.is_some());
        self.frames = Epoch::derive(&secret, backend, self.layout, self.epoch(), self.me(), &self.stage, None)?;
        self.frames.list(people, all_listed, self.since);
        Ok(if listens_only { self.listen_only() } else { self })
    }

    /// The same keys, with who else is in the room, oneself included if so: whom no frames are played of, and why not.
    ///
    /// Stage and these are everybody: who is in neither is not in the room. Who is listed as off stage at a leaf that
    /// somebody holds already, on stage or earlier in the list, is left out.
    #[must_use]
    pub fn with_offstage(mut self, offstage: Vec<Quiet>) -> Self {
        self.frames.list(People::new(&self.stage, &offstage), true, self.since);
        self.offstage = Some(offstage.into());
        self
    }

    /// The same keys, with what it takes to seal and to check seals in this epoch.
    ///
    /// Choose the [backend](Self::with_backend) first.
    ///
    /// # Errors
    /// [`Error::Unusable`] if the rules ask for seals of no frames or of more than
    /// [`MAX_EVERY`](crate::media::seal::MAX_EVERY), or the keys have seals already.
    pub fn with_seals(mut self, seals: SealKeys) -> Result<Self> {
        seals.check()?;
        if self.frames.seals.is_some() {
            return Err(Error::Unusable { what: "seals", why: "these keys have them already" });
        }
        if seals.rules.mode != SealMode::Off {
            let secret = Secret::of(self.suite, &self.base_key)?;
            self.frames.watch(&secret, self.backend, self.layout, seals, BTreeMap::new())?;
        }
        Ok(self)
    }

    /// The same keys, marked as those of the room of that id, so that no voice of another room takes them.
    #[must_use]
    pub fn of_room(mut self, id: &[u8]) -> Self {
        self.room = Sha256::digest(id).into();
        self
    }

    /// The same keys, to listen with and not to speak: for who may not be alone in having them, since a snapshot of the
    /// room was restored. A voice that has them refuses to seal ([`Error::Restored`]).
    #[must_use]
    pub fn listen_only(mut self) -> Self {
        self.frames.listen_only();
        self
    }

    /// Whether they are [to listen with](Self::listen_only) only, even if one is on stage.
    pub fn is_listen_only(&self) -> bool {
        self.frames.listens_only
    }

    /// The epoch these keys are of.
    pub fn epoch(&self) -> u64 {
        self.frames.number
    }

    /// The suite of the room's frames.
    pub fn suite(&self) -> Suite {
        self.suite
    }

    /// How the room's key ids are laid out.
    pub fn layout(&self) -> KeyIdLayout {
        self.layout
    }

    /// One's own place in the tree.
    pub fn me(&self) -> LeafIndex {
        self.frames.me
    }

    /// Who may speak in this epoch, oneself included if so.
    pub fn stage(&self) -> &[Speaker] {
        &self.stage
    }

    /// Who else is in the room, as [`with_offstage`](Self::with_offstage) was told.
    pub fn offstage(&self) -> &[Quiet] {
        self.offstage.as_deref().unwrap_or_default()
    }

    /// When the room entered the epoch, on the caller's monotonic clock.
    pub fn since(&self) -> Duration {
        self.since
    }

    /// The epoch's base key, for a media layer other than [`Voice`](crate::Voice): a browser's native SFrame, say.
    ///
    /// Whatever seals under it must keep every counter of one's own key id from repeating, seal nothing if
    /// [`is_listen_only`](Self::is_listen_only), and play nobody who is not on [`stage`](Self::stage).
    pub fn into_base_key(self) -> Zeroizing<Vec<u8>> {
        self.base_key
    }
}

/// What a room says of an epoch, beside its secret.
pub(crate) struct EpochOf<'a> {
    /// The room's id.
    pub(crate) room: &'a [u8],
    pub(crate) suite: Suite,
    pub(crate) layout: KeyIdLayout,
    pub(crate) epoch: u64,
    /// One's own leaf.
    pub(crate) me: LeafIndex,
    pub(crate) company: &'a Company,
    /// When the room entered it.
    pub(crate) since: Duration,
}

impl fmt::Debug for EpochKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EpochKeys").field("suite", &self.suite).field("epoch", &self.epoch()).finish_non_exhaustive()
    }
}

/// `sframe_secret`: what HKDF-Extract makes of a base key, and all that keys and salts come from.
pub(crate) struct Secret {
    suite: Suite,
    bytes: Box<Zeroizing<[u8; 64]>>,
    hkdf: Extracted,
}

/// The suite's hash, at work.
enum Extracted {
    Sha256(Hkdf<Sha256>),
    Sha512(Hkdf<Sha512>),
}

impl Secret {
    /// That of a base key that has the length the suite wants.
    fn of(suite: Suite, base_key: &[u8]) -> Result<Self> {
        if base_key.len() != suite.key_len() {
            return Err(Error::Unusable { what: "base_key", why: "its length is not the suite's key length" });
        }
        Ok(Self::extract(suite, base_key))
    }

    pub(crate) fn extract(suite: Suite, base_key: &[u8]) -> Self {
        let secret = Self::extract_deeper(suite, base_key);
        scrub_stack();
        secret
    }

    // A call of its own, so that what it leaves on the stack lies where `scrub_stack` lays zeros after it: whatever is
    // built there next, and moved into a box, would carry it along.
    #[inline(never)]
    fn extract_deeper(suite: Suite, base_key: &[u8]) -> Self {
        let mut bytes = Box::new(Zeroizing::new([0; 64]));
        let hkdf = match suite {
            Suite::ChaCha20Poly1305 | Suite::Aes128Gcm => {
                let (secret, hkdf) = Hkdf::<Sha256>::extract(Some(b""), base_key);
                keep(&mut bytes, secret.into());
                Extracted::Sha256(hkdf)
            }
            Suite::Aes256Gcm => {
                let (secret, hkdf) = Hkdf::<Sha512>::extract(Some(b""), base_key);
                keep(&mut bytes, secret.into());
                Extracted::Sha512(hkdf)
            }
        };
        Self { suite, bytes, hkdf }
    }

    pub(crate) fn suite(&self) -> Suite {
        self.suite
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.suite.hash_len()).unwrap_or_default()
    }

    pub(crate) fn derive(&self, kid: u64) -> Result<KeyAndSalt> {
        let mut made = KeyAndSalt {
            len: self.suite.key_len(),
            key: Box::new(Zeroizing::new([0; MAX_KEY_LEN])),
            salt: Box::new(Zeroizing::new([0; NONCE_LEN])),
        };
        let (kid, suite) = (kid.to_be_bytes(), self.suite.id().to_be_bytes());
        self.expand(&[KEY_LABEL, &kid, &suite], made.key.get_mut(..self.suite.key_len()).unwrap_or_default())?;
        self.expand(&[SALT_LABEL, &kid, &suite], &mut **made.salt)?;
        Ok(made)
    }

    fn expand(&self, info: &[&[u8]], out: &mut [u8]) -> Result<()> {
        match &self.hkdf {
            Extracted::Sha256(hkdf) => hkdf.expand_multi_info(info, out),
            Extracted::Sha512(hkdf) => hkdf.expand_multi_info(info, out),
        }
        .map_err(|_| Error::Unusable { what: "key", why: "it is longer than HKDF can make" })
    }
}

/// Copies a secret that a library returned by value, and wipes the value.
fn keep<const N: usize>(to: &mut [u8; 64], from: [u8; N]) {
    let from = Zeroizing::new(from);
    for (to, from) in to.iter_mut().zip(from.iter()) {
        *to = *from;
    }
}

/// A sender's key and salt, in boxes, so that moving them leaves no copies.
pub(crate) struct KeyAndSalt {
    len: usize,
    key: Box<Zeroizing<[u8; MAX_KEY_LEN]>>,
    pub(crate) salt: Box<Zeroizing<[u8; NONCE_LEN]>>,
}

impl KeyAndSalt {
    pub(crate) fn key(&self) -> &[u8] {
        self.key.get(..self.len).unwrap_or_default()
    }

    /// What a seal says of this key, the one of `kid`.
    pub(super) fn commitment(&self, suite: Suite, kid: u64) -> [u8; 32] {
        statement::commit_to_key(suite, kid, self.key(), &**self.salt)
    }
}

#[cfg(test)]
mod tests {
    use rand::{RngExt, SeedableRng, rngs::StdRng};

    use super::*;

    #[test]
    fn a_microphone_is_known_by_its_key_id_and_nothing_one_bit_off_is_taken_for_it() {
        let mut random = StdRng::seed_from_u64(0);
        for (sender_bits, epoch_bits) in [(1, 4), (12, 8), (24, 16)] {
            let layout = KeyIdLayout::new(sender_bits, epoch_bits).unwrap();
            for _ in 0..200 {
                let (leaf, epoch) = (LeafIndex(random.random::<u32>() >> (32 - sender_bits)), random.random());
                let kid = layout.key_id(0, leaf, epoch).unwrap();
                assert_eq!(layout.leaf_if_microphone_of(epoch, kid), Some(leaf));
                for other in (0..64).map(|bit| kid ^ (1 << bit)) {
                    let (stream, leaf, of_epoch) = layout.split(other);
                    let expected = (stream == 0 && of_epoch == epoch & layout.epoch_mask()).then_some(leaf);
                    assert_eq!(layout.leaf_if_microphone_of(epoch, other), expected, "{other:#x} in {epoch}");
                }
            }
        }
    }
}
