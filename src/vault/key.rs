//! The app's key. It is wiped when dropped, is neither cloned nor printed nor compared, and stays where it is while its
//! owner moves.

use std::fmt;

use zeroize::Zeroizing;

use crate::{error::Result, media::scrub_stack, random};

/// A secret of the app's, 32 bytes, under which the states of its rooms are sealed: the app keeps it where it keeps
/// secrets, such as the system's keychain, and never beside the vault.
///
/// One key may serve all rooms of an app, for years: each record is sealed under a key of its own that is derived from
/// it.
///
/// ```
/// # use parlor::vault::VaultKey;
/// let key = VaultKey::generate()?;
/// let again = VaultKey::from_bytes(&key.secret());
/// assert_eq!(key.secret(), again.secret());
/// # Ok::<(), parlor::Error>(())
/// ```
///
/// It cannot be copied:
///
/// ```compile_fail,E0599
/// # use parlor::vault::VaultKey;
/// let key = VaultKey::generate()?;
/// let copy = key.clone();
/// # Ok::<(), parlor::Error>(())
/// ```
pub struct VaultKey(Box<Zeroizing<[u8; 32]>>);

impl VaultKey {
    /// The key that [`secret`](Self::secret) gave, or another 32 bytes that nobody can guess: no password.
    pub fn from_bytes(secret: &[u8; 32]) -> Self {
        let mut key = Box::new(Zeroizing::new([0; 32]));
        key.copy_from_slice(secret);
        Self(key)
    }

    /// Makes a fresh key from the operating system's randomness.
    ///
    /// # Errors
    /// [`Error::Randomness`](crate::Error::Randomness).
    pub fn generate() -> Result<Self> {
        let key = Self::draw();
        scrub_stack();
        key
    }

    // A call of its own, so that what it leaves on the stack lies where `scrub_stack` lays zeros after it.
    #[inline(never)]
    fn draw() -> Result<Self> {
        Ok(Self::from_bytes(&*random::bytes()?))
    }

    /// The key's bytes, for the app to keep: whoever has them opens every state that was sealed under it. Nothing here
    /// writes them anywhere.
    pub fn secret(&self) -> Zeroizing<[u8; 32]> {
        (*self.0).clone()
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        self.0.as_slice()
    }
}

impl fmt::Debug for VaultKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VaultKey").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_not_printed_and_two_are_never_the_same() {
        let key = VaultKey::from_bytes(&[0x5a; 32]);
        assert_eq!(format!("{key:?}"), "VaultKey { .. }");
        let (one, other) = (VaultKey::generate().unwrap(), VaultKey::generate().unwrap());
        assert_ne!(one.secret(), other.secret());
        assert_ne!(*one.secret(), [0; 32]);
    }
}
