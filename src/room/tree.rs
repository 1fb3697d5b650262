//! A big room's ratchet tree, on its way apart from the welcome.
//!
//! It is sealed under a random key that only the welcome carries, in its encrypted GroupInfo: one sealed tree
//! serves everybody a commit admits, and whoever stores it learns its length. What the tree says is checked
//! against the group's own tree hash by MLS; the seal is for secrecy.
//!
//! ```text
//! version = 1 (1) ‖ ChaCha20-Poly1305(key, nonce 0, AAD = version ‖ epoch (8) ‖ group id, tree)
//! ```

use std::fmt;

use chacha20poly1305::{
    ChaCha20Poly1305, KeyInit as _, Nonce,
    aead::{Aead as _, Payload},
};
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use crate::{
    error::{Error, Item, Result},
    random,
};

/// The largest sealed tree in bytes: that of 4,096 members who have all committed, under names of up to 16 bytes. Its nodes are
/// counted before it is read: 16,383 at most.
pub const MAX_TREE: usize = 1280 * 1024;

const VERSION: u8 = 1;

/// What a sealed tree is known by: the SHA-256 of its bytes, sealed as they are. The relay can store it by that.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TreeId(pub(super) [u8; 32]);

impl TreeId {
    /// The id of these bytes, whatever they are.
    pub fn of(sealed_tree: &[u8]) -> Self {
        Self(Sha256::digest(sealed_tree).into())
    }

    /// Its bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for TreeId {
    /// All of it in hex.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for TreeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TreeId({self})")
    }
}

/// A key for one tree of one epoch, used once.
pub(crate) struct TreeKey(Zeroizing<[u8; 32]>);

impl TreeKey {
    pub(crate) fn random() -> Result<Self> {
        random::bytes().map(Self)
    }

    pub(crate) fn from_bytes(bytes: &[u8]) -> Result<Self> {
        let malformed = Error::Malformed { what: Item::Welcome, why: "its key to the ratchet tree is not 32 bytes" };
        Ok(Self(Zeroizing::new(bytes.try_into().map_err(|_| malformed)?)))
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        self.0.as_slice()
    }

    pub(crate) fn seal(&self, group: &[u8], epoch: u64, tree: &[u8]) -> Result<Vec<u8>> {
        let payload = Payload { msg: tree, aad: &aad(group, epoch) };
        // The key seals one tree, so the nonce may be any.
        let sealed = self.cipher().encrypt(&Nonce::default(), payload);
        let sealed =
            sealed.map_err(|_| Error::Unusable { what: "ratchet tree", why: "it is too long to be sealed" })?;
        Ok([&[VERSION], sealed.as_slice()].concat())
    }

    pub(crate) fn open(&self, group: &[u8], epoch: u64, sealed: &[u8]) -> Result<Vec<u8>> {
        let malformed = |why| Error::Malformed { what: Item::Tree, why };
        let Some((&VERSION, sealed)) = sealed.split_first() else {
            return Err(malformed("its version is unknown"));
        };
        let payload = Payload { msg: sealed, aad: &aad(group, epoch) };
        self.cipher()
            .decrypt(&Nonce::default(), payload)
            .map_err(|_| malformed("it is not the one that this welcome is for, or was damaged"))
    }

    fn cipher(&self) -> ChaCha20Poly1305 {
        ChaCha20Poly1305::new(self.0.as_slice().into())
    }
}

fn aad(group: &[u8], epoch: u64) -> Vec<u8> {
    [&[VERSION], epoch.to_be_bytes().as_slice(), group].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tree_opens_in_its_own_room_and_epoch_only() {
        let key = TreeKey::random().unwrap();
        let sealed = key.seal(b"room", 7, b"tree").unwrap();
        assert_eq!(key.open(b"room", 7, &sealed).unwrap(), b"tree");
        assert!(key.open(b"moor", 7, &sealed).is_err());
        assert!(key.open(b"room", 8, &sealed).is_err());
        assert!(TreeKey::random().unwrap().open(b"room", 7, &sealed).is_err());
        assert!(key.open(b"room", 7, &[]).is_err());
    }
}
