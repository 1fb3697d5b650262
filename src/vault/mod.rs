//! Where the state of a room is kept over a crash: sealed under a key of the app's, and written so that a kill at any
//! moment leaves one whole state.
//!
//! A state is one *whole* record, and after it *increments* in the order they were made. A [`Vault`] keeps these bytes
//! and knows nothing of what they are: [`FileVault`] in a file, [`MemoryVault`] in memory, for tests. What is handed to
//! a vault has been sealed before.
//!
//! ```text
//! state     = whole increment*
//! whole     = "parlor" ‖ version (1) ‖ salt (32) ‖ length (u32) ‖ ciphertext and tag     length ≤ 64 MiB
//! increment = length (u32) ‖ ciphertext and tag                                          length ≤  1 MiB
//!
//! record key = HKDF-SHA256(ikm = VaultKey, salt, info = "parlor stored state 1" ‖ 0)
//! cipher     = ChaCha20-Poly1305 under the record key
//! nonce      = 0 (u32) ‖ sequence number (u64): 0 for the whole, 1, 2, … for the increments
//! aad        = of the whole: all that stands before its ciphertext
//!              of an increment: sequence number (u64) ‖ length (u32)
//! ```
//!
//! Numbers are big-endian; a length counts ciphertext and tag. The salt is drawn anew for each whole, so that one
//! [`VaultKey`] serves many rooms for years. A whole that does not open is an error. An increment that does not is the
//! torn tail of a call that never returned: it is left out, and all that follows it.
//!
//! Invariant: no (record key, nonce) seals twice. Nothing goes on appending to a state that was opened: whoever opens
//! one first stores a whole of their own, under a salt of their own. So two processes that start from copies of one
//! file share no key.
//!
//! # Who has the disk
//!
//! They see how much was stored and when, and can lay an older state in a newer one's place, also by cutting
//! increments off its end: nothing in a file says which is the latest. Where one key serves several rooms, they can lay
//! one room's state in another's place: the app looks at which room it got back. They cannot read a state, alter one,
//! or join parts of two. What is destroyed is gone; what was erased here may be in the backups of the disk, and opens
//! under the key alone. Who has the key as well has the room.

mod file;
mod key;
mod memory;
pub(crate) mod record;

use std::sync::{Arc, Mutex, PoisonError};

pub use self::{file::FileVault, key::VaultKey, memory::MemoryVault};
use crate::error::{Error, Item, Result};

/// The most a vault keeps, in bytes: one whole, and increments after it. [`Vault::append`] refuses beyond it, and the
/// next write is a [`Vault::store`].
pub const MAX_STORED: usize = 256 << 20;

/// A place that keeps the state of one room.
///
/// It is written to by one process at a time. After a [`store`](Self::store) or an [`append`](Self::append) that
/// failed, or was cut off by a crash, the end of what is kept may be torn, or it is not known whether the write took
/// place: the next write must be a `store`. So it is for the first write after a vault was opened. Both vaults here
/// refuse an `append` until then.
pub trait Vault {
    /// Puts `whole` in the place of everything kept: at once or not at all, whenever the process or the machine stops.
    /// When it returns, it is durable.
    ///
    /// # Errors
    /// [`Error::File`]: kept is either all that was kept before or `whole`. [`Error::TooLarge`].
    fn store(&mut self, whole: &[u8]) -> Result<()>;

    /// Adds `increment` at the end of what is kept. When it returns, it is durable.
    ///
    /// # Errors
    /// [`Error::File`]: of `increment` nothing may be kept, a part, or all. [`Error::Unusable`] if the next write must be
    /// a [`store`](Self::store); nothing was written.
    fn append(&mut self, increment: &[u8]) -> Result<()>;

    /// All that is kept: the last whole, and what was added since. Nothing if nothing was ever stored, or it was erased.
    ///
    /// # Errors
    /// [`Error::File`]; [`Error::TooLarge`] above [`MAX_STORED`], and nothing was read.
    fn load(&mut self) -> Result<Option<Vec<u8>>>;

    /// Removes all that is kept. When it returns, that is durable.
    ///
    /// # Errors
    /// [`Error::File`].
    fn erase(&mut self) -> Result<()>;
}

macro_rules! passed_on {
    (|$vault:ident| $to:expr) => {
        fn store(&mut self, whole: &[u8]) -> Result<()> {
            let $vault = self;
            $to.store(whole)
        }

        fn append(&mut self, increment: &[u8]) -> Result<()> {
            let $vault = self;
            $to.append(increment)
        }

        fn load(&mut self) -> Result<Option<Vec<u8>>> {
            let $vault = self;
            $to.load()
        }

        fn erase(&mut self) -> Result<()> {
            let $vault = self;
            $to.erase()
        }
    };
}

impl<V: Vault + ?Sized> Vault for &mut V {
    passed_on!(|vault| (**vault));
}

impl<V: Vault + ?Sized> Vault for Box<V> {
    passed_on!(|vault| (**vault));
}

/// For who gives a vault away and wants to look into it later, as tests do.
impl<V: Vault + ?Sized> Vault for Arc<Mutex<V>> {
    passed_on!(|vault| vault.lock().unwrap_or_else(PoisonError::into_inner));
}

/// What both vaults know of the bytes they keep: how many there are, once the next write may be an `append`.
#[derive(Clone, Copy, Default, Debug)]
struct End(Option<usize>);

impl End {
    /// A write of a whole begins: whatever becomes of it, nothing follows what was kept before.
    fn store(&mut self, whole: &[u8]) -> Result<()> {
        if whole.len() > MAX_STORED {
            return Err(Error::TooLarge { what: Item::Snapshot, bytes: whole.len(), limit: MAX_STORED });
        }
        self.0 = None;
        Ok(())
    }

    /// An append begins: gives where it begins and where it will end. Until [`is`](Self::is) says so nothing follows it.
    fn append(&mut self, increment: &[u8]) -> Result<(usize, usize)> {
        let unusable = |why| Err(Error::Unusable { what: "append", why });
        let Some(start) = self.0 else {
            return unusable("the vault was just opened, or a write to it failed: store a whole first");
        };
        match start.checked_add(increment.len()) {
            Some(end) if end <= MAX_STORED => {
                self.0 = None;
                Ok((start, end))
            }
            _ => unusable("the vault is full: store a whole, which takes the place of all that is in it"),
        }
    }

    const fn is(&mut self, length: usize) {
        self.0 = Some(length);
    }
}
