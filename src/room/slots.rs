//! Sealing a body to several members at once, so that nobody sees to how many: what a knock and a request to be brought
//! back have in common.
//!
//! ```text
//! header ‖ 8 × [ HPKE encapsulated key (32) ‖ sealed body key (32 + 16) ]
//!   ‖ ChaCha20-Poly1305(body key, nonce 0, AAD = all before, body)
//! ```
//!
//! A slot that nobody needs is sealed to a key that nobody has. The header is what the slots are sealed for, too. The
//! body key is not committed to: a body has to have hundreds of fixed or signed bits, so that no bytes are bodies under
//! two keys.

use chacha20poly1305::{
    ChaCha20Poly1305, KeyInit as _, Nonce,
    aead::{Aead as _, Payload},
};
use zeroize::Zeroizing;

use crate::{
    bytes::Reader,
    error::{Error, Result},
    random,
    room::{
        door::MAX_ADMITTERS,
        group::{DoorKey, DoorKeyPublic, ENCAPSULATED, TAG},
    },
};

const KEY: usize = 32;
pub(super) const SLOT: usize = ENCAPSULATED + KEY + TAG;

/// How many bytes more than header and body all of it has.
pub(super) const AROUND: usize = MAX_ADMITTERS * SLOT + TAG;

/// Why a body does not open.
pub(super) enum Shut {
    /// None of the slots is for that key.
    Elsewhere,
    /// A slot is, but what it opens is no key to the body.
    Garbled(&'static str),
}

/// Seals `body` to those of `readers` whose keys are any good, at most [`MAX_ADMITTERS`] of them, behind `header`.
/// `None` if there is nobody.
///
/// # Errors
/// [`Error::Unusable`] if the body is too long to be sealed; [`Error::Randomness`].
pub(super) fn seal(
    header: &[u8],
    readers: impl Iterator<Item = DoorKeyPublic>,
    label: &[u8],
    body: &[u8],
) -> Result<Option<Vec<u8>>> {
    let key = random::bytes::<KEY>()?;
    let mut out = Vec::with_capacity(header.len() + body.len() + AROUND);
    out.extend_from_slice(header);
    // One member with a door key that is none must not keep the others from reading.
    let slots: Vec<_> =
        readers.filter_map(|door| door.seal(key.as_slice(), label, header).ok()).take(MAX_ADMITTERS).collect();
    if slots.is_empty() {
        return Ok(None);
    }
    slots.iter().for_each(|slot| out.extend_from_slice(slot));
    for _ in slots.len()..MAX_ADMITTERS {
        out.extend_from_slice(&DoorKey::random()?.public().seal(&[0; KEY], label, header)?);
    }
    let sealed = cipher(&key).encrypt(&Nonce::default(), Payload { msg: body, aad: &out });
    let too_long = |_| Error::Unusable { what: "body", why: "it is too long to be sealed" };
    out.extend_from_slice(&sealed.map_err(too_long)?);
    Ok(Some(out))
}

/// The parts of what [`seal`] made, as anybody sees them.
pub(super) struct Sealed<'a> {
    header: &'a [u8],
    pub(super) slots: &'a [u8],
    /// Header and slots.
    front: &'a [u8],
    body: &'a [u8],
}

impl<'a> Sealed<'a> {
    /// Reads slots and a body of `body` bytes; all that `reader` has read before is the header.
    pub(super) fn read(reader: &mut Reader<'a>, body: usize) -> Result<Self> {
        let header = reader.before();
        let slots = reader.bytes(MAX_ADMITTERS * SLOT)?;
        let front = reader.before();
        Ok(Self { header, slots, front, body: reader.bytes(body + TAG)? })
    }

    pub(super) const fn header(&self) -> &'a [u8] {
        self.header
    }

    pub(super) fn open(&self, door: &DoorKey, label: &[u8]) -> Result<Zeroizing<Vec<u8>>, Shut> {
        let mut slots = self.slots.chunks_exact(SLOT);
        let key = slots.find_map(|slot| door.open(slot, label, self.header)).ok_or(Shut::Elsewhere)?;
        // A slot is as long as a key makes it.
        let key = key.first_chunk::<KEY>().ok_or(Shut::Garbled("the key in it is not 32 bytes"))?;
        let body = cipher(key).decrypt(&Nonce::default(), Payload { msg: self.body, aad: self.front });
        body.map(Zeroizing::new).map_err(|_| Shut::Garbled("its body does not decrypt: somebody sealed it anew"))
    }
}

fn cipher(key: &[u8; KEY]) -> ChaCha20Poly1305 {
    ChaCha20Poly1305::new(key.into())
}
