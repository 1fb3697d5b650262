//! The SFrame header (RFC 9605 §4.3): a config byte, then key id and counter in as few bytes as they need.
//!
//! ```text
//!  0 1 2 3 4 5 6 7
//! +-+-----+-+-----+------------------------+------------------------+
//! |X|  K  |Y|  C  |  key id, 0 to 8 bytes  |  counter, 0 to 8 bytes |
//! +-+-----+-+-----+------------------------+------------------------+
//! ```
//!
//! Invariant: a key id and a counter have exactly one encoding. A header is public and chosen by whoever sent the
//! packet; it is believed only once the tag, which covers it, has verified.

use crate::error::{Error, Item, Result};

/// The longest header in bytes.
pub const MAX_HEADER: usize = 17;

/// What an SFrame header says: which key, and which frame of that key.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Header {
    /// The key id (KID).
    pub kid: u64,
    /// The counter (CTR).
    pub counter: u64,
}

impl Header {
    /// Reads the header at the front of `bytes`; gives it and its length in bytes, 1 to 17.
    ///
    /// ```
    /// use parlor::media::sframe::Header;
    /// assert_eq!(Header::decode(&[0x08, 0xff])?, (Header { kid: 0, counter: 255 }, 2));
    /// # Ok::<(), parlor::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Malformed`] if `bytes` end before the header does, or if a shorter encoding says the same:
    /// RFC 9605 §4.3 demands the shortest.
    #[inline]
    pub fn decode(bytes: &[u8]) -> Result<(Self, usize)> {
        if let Some(front) = bytes.first_chunk::<MAX_HEADER>() {
            return Self::parse(front, MAX_HEADER);
        }
        let mut front = [0; MAX_HEADER];
        for (to, from) in front.iter_mut().zip(bytes) {
            *to = *from;
        }
        Self::parse(&front, bytes.len())
    }

    /// Writes the header to the front of `out` and gives its length in bytes.
    ///
    /// # Errors
    /// [`Error::BufferTooSmall`] if `out` is; nothing is written.
    pub fn encode_into(self, out: &mut [u8]) -> Result<usize> {
        let mut front = [0; MAX_HEADER];
        let need = self.encode(&mut front);
        let have = out.len();
        match (out.get_mut(..need), front.get(..need)) {
            (Some(out), Some(front)) => out.copy_from_slice(front),
            _ => return Err(Error::BufferTooSmall { need, have }),
        }
        Ok(need)
    }

    /// The length of its encoding in bytes.
    #[inline]
    pub const fn encoded_len(self) -> usize {
        1 + extra_bytes(self.kid) + extra_bytes(self.counter)
    }

    /// Writes the header to `front`, gives its length, and leaves anything behind it.
    #[inline]
    pub(crate) fn encode(self, front: &mut [u8; MAX_HEADER]) -> usize {
        let (kid_bytes, counter_bytes) = (extra_bytes(self.kid), extra_bytes(self.counter));
        let len = 1 + kid_bytes + counter_bytes;
        if let Some(word) = front.first_chunk_mut::<8>()
            && len <= 8
        {
            // One store, as the AEAD reads it next: out of several, it would have to wait for each to reach the cache.
            let config = (config_bits(self.kid, kid_bytes) << 4) | config_bits(self.counter, counter_bytes);
            let kid = if kid_bytes == 0 { 0 } else { self.kid << (56 - 8 * kid_bytes) };
            let counter = if counter_bytes == 0 { 0 } else { self.counter << (64 - 8 * len) };
            *word = ((u64::from(config) << 56) | kid | counter).to_be_bytes();
            return len;
        }
        self.encode_long(front)
    }

    /// Whole words are written here too: a copy of as many bytes as there happen to be costs more than all the rest.
    fn encode_long(self, front: &mut [u8; MAX_HEADER]) -> usize {
        let [config, fields @ ..] = front;
        let (kid_bits, kid_bytes) = put(self.kid, fields, 0);
        let (counter_bits, counter_bytes) = put(self.counter, fields, kid_bytes);
        *config = (kid_bits << 4) | counter_bits;
        1 + kid_bytes + counter_bytes
    }

    /// Reads the header in `front`, of which `have` bytes are the sender's.
    #[inline]
    pub(crate) fn parse(front: &[u8; MAX_HEADER], have: usize) -> Result<(Self, usize)> {
        let [config, fields @ ..] = front;
        let (kid, kid_bytes, kid_floor) = take(config >> 4, fields, 0);
        let (counter, counter_bytes, counter_floor) = take(config & 0x0f, fields, kid_bytes);
        let len = 1 + kid_bytes + counter_bytes;
        if have < len {
            return Err(malformed("it ends within its header"));
        }
        if kid < kid_floor || counter < counter_floor {
            return Err(malformed("its header is longer than it need be"));
        }
        Ok((Self { kid, counter }, len))
    }
}

#[cold]
fn malformed(why: &'static str) -> Error {
    Error::Malformed { what: Item::Packet, why }
}

/// How many bytes a value takes beyond the config byte: none below 8.
#[inline]
const fn extra_bytes(value: u64) -> usize {
    if value < 8 { 0 } else { 8 - (value.leading_zeros() / 8) as usize }
}

/// The half of the config byte of a value that takes so many bytes.
#[inline]
const fn config_bits(value: u64, bytes: usize) -> u8 {
    if bytes == 0 { value as u8 } else { 0x08 | (bytes as u8 - 1) }
}

/// Writes a value at `at`, 0 to 8, and zeros behind it; gives its half of the config byte and its length.
#[inline]
fn put(value: u64, fields: &mut [u8; MAX_HEADER - 1], at: usize) -> (u8, usize) {
    let bytes = extra_bytes(value);
    if let Some(word) = fields.get_mut(at..).and_then(<[u8]>::first_chunk_mut::<8>)
        && bytes > 0
    {
        *word = (value << (64 - 8 * bytes)).to_be_bytes();
    }
    (config_bits(value, bytes), bytes)
}

/// The least value of each length, from one byte to eight.
const FLOORS: [u64; 8] = [8, 1 << 8, 1 << 16, 1 << 24, 1 << 32, 1 << 40, 1 << 48, 1 << 56];

/// Reads the value at `at`, 0 to 8, that its half of the config byte announces; gives it, its length, and the least
/// value that needs this length.
#[inline]
fn take(bits: u8, fields: &[u8; MAX_HEADER - 1], at: usize) -> (u64, usize, u64) {
    if bits & 0x08 == 0 {
        return (u64::from(bits), 0, 0);
    }
    let shorter = usize::from(bits & 0x07);
    let word = fields.get(at..).and_then(<[u8]>::first_chunk::<8>).copied().unwrap_or_default();
    let floor = FLOORS.get(shorter).copied().unwrap_or_default();
    (u64::from_be_bytes(word) >> (56 - 8 * shorter), shorter + 1, floor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_has_one_encoding() {
        let mut accepted = 0;
        // Every config byte over fields of three kinds: each that is accepted encodes back to the same bytes.
        for config in 0..=255_u8 {
            for fill in [0_u8, 7, 8, 255] {
                let mut bytes = [fill; MAX_HEADER];
                bytes[0] = config;
                let Ok((header, len)) = Header::decode(&bytes) else { continue };
                let mut again = [0; MAX_HEADER];
                assert_eq!(header.encode_into(&mut again).unwrap(), len);
                assert_eq!(again[..len], bytes[..len], "{header:?}");
                assert_eq!(header.encoded_len(), len);
                accepted += 1;
            }
        }
        assert!(accepted > 256, "{accepted}");
        assert!(Header::decode(&[0x08, 0x07]).is_err(), "a counter of 7 fits the config byte");
        assert!(Header::decode(&[0x99, 0x00, 0x08, 0x01, 0x00]).is_err(), "a key id with a leading zero");
    }

    #[test]
    fn every_value_takes_as_few_bytes_as_it_needs() {
        let edges = (1..8).map(|bytes| 1_u64 << (8 * bytes)).chain([8]);
        let values = || edges.clone().flat_map(|edge| [edge - 1, edge]).chain([0, u64::MAX]);
        let bytes = |value: u64| (1..8).find(|bytes| value >> (8 * bytes) == 0).unwrap_or(8);
        let extra = |value: u64| if value < 8 { 0 } else { bytes(value) };
        for kid in values() {
            for counter in values() {
                let (header, mut out) = (Header { kid, counter }, [0; MAX_HEADER]);
                let len = header.encode_into(&mut out).unwrap();
                assert_eq!(len, 1 + extra(kid) + extra(counter), "{header:?}");
                assert_eq!(Header::decode(&out[..len]).unwrap(), (header, len));
            }
        }
    }

    #[test]
    fn a_header_cut_short_is_refused_and_a_short_buffer_left_alone() {
        let header = Header { kid: u64::MAX, counter: u64::MAX };
        let mut bytes = [0; MAX_HEADER];
        assert_eq!(header.encode_into(&mut bytes).unwrap(), MAX_HEADER);
        for cut in 0..MAX_HEADER {
            assert!(Header::decode(&bytes[..cut]).is_err(), "{cut} bytes");
            let mut short = vec![0; cut];
            assert!(matches!(header.encode_into(&mut short), Err(Error::BufferTooSmall { need: 17, .. })));
            assert!(short.iter().all(|byte| *byte == 0));
        }
    }
}
