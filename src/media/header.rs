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
        let (bytes, need) = self.encode();
        let have = out.len();
        match (out.get_mut(..need), bytes.get(..need)) {
            (Some(out), Some(bytes)) => out.copy_from_slice(bytes),
            _ => return Err(Error::BufferTooSmall { need, have }),
        }
        Ok(need)
    }

    /// The length of its encoding in bytes.
    #[inline]
    pub const fn encoded_len(self) -> usize {
        1 + extra_bytes(self.kid) + extra_bytes(self.counter)
    }

    /// The encoding at the front of a buffer, and its length. The bytes after it are zero.
    #[inline]
    pub(crate) const fn encode(self) -> ([u8; MAX_HEADER], usize) {
        let (kid_bytes, counter_bytes) = (extra_bytes(self.kid), extra_bytes(self.counter));
        let config = (config_bits(self.kid, kid_bytes) << 4) | config_bits(self.counter, counter_bytes);
        // Both fields side by side in one wide integer, then moved up against its most significant end.
        let counter = if counter_bytes == 0 { 0 } else { self.counter as u128 };
        let kid = if kid_bytes == 0 { 0 } else { (self.kid as u128) << (8 * counter_bytes) };
        let fields = (kid | counter).unbounded_shl(128 - 8 * (kid_bytes + counter_bytes) as u32);
        let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = fields.to_be_bytes();
        ([config, a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p], 1 + kid_bytes + counter_bytes)
    }

    #[inline]
    fn parse(front: &[u8; MAX_HEADER], have: usize) -> Result<(Self, usize)> {
        let [config, fields @ ..] = *front;
        let (kid_bytes, counter_bytes) = (announced(config >> 4), announced(config & 0x0f));
        let len = 1 + kid_bytes + counter_bytes;
        let fields = u128::from_be_bytes(fields).unbounded_shr(128 - 8 * (kid_bytes + counter_bytes) as u32);
        let kid = if kid_bytes == 0 { u64::from(config >> 4) } else { (fields >> (8 * counter_bytes)) as u64 };
        let counter = if counter_bytes == 0 {
            u64::from(config & 0x07)
        } else {
            // The low `counter_bytes` bytes; above them lies the key id.
            fields as u64 & (u64::MAX >> (64 - 8 * counter_bytes))
        };
        if have < len {
            return Err(malformed("it ends within its header"));
        }
        if extra_bytes(kid) != kid_bytes || extra_bytes(counter) != counter_bytes {
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

/// How many bytes a half of the config byte announces.
#[inline]
const fn announced(bits: u8) -> usize {
    if bits & 0x08 == 0 { 0 } else { (bits & 0x07) as usize + 1 }
}

#[inline]
const fn config_bits(value: u64, bytes: usize) -> u8 {
    if bytes == 0 { value as u8 } else { 0x08 | (bytes as u8 - 1) }
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
