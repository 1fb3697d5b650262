//! Secrets and ids that are not MLS's own, out of the operating system's randomness.

use rand::{TryRng as _, rngs::SysRng};
use zeroize::Zeroizing;

use crate::error::{Error, Result};

/// `N` random bytes, wiped when dropped.
pub(crate) fn bytes<const N: usize>() -> Result<Zeroizing<[u8; N]>> {
    let mut bytes = Zeroizing::new([0; N]);
    SysRng.try_fill_bytes(bytes.as_mut_slice()).map_err(|_| Error::Randomness)?;
    Ok(bytes)
}
