//! Reading the crate's own formats, the charter, those of the door, clips and snapshots: strictly, to the last byte,
//! with one encoding for each value. And writing what is secret.

use std::io;

use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use crate::{
    error::{Error, Item, Result},
    text::check_line,
};

/// A growing buffer that leaves no copy of its content behind: the standard one frees its old memory as it is.
#[derive(Default)]
pub(crate) struct Writer(Zeroizing<Vec<u8>>);

impl Writer {
    pub(crate) fn with_capacity(bytes: usize) -> Self {
        Self(Zeroizing::new(Vec::with_capacity(bytes)))
    }

    pub(crate) fn put(&mut self, bytes: &[u8]) {
        let need = self.0.len().saturating_add(bytes.len());
        if need > self.0.capacity() {
            let mut larger = Zeroizing::new(Vec::with_capacity(need.max(self.0.capacity().saturating_mul(2))));
            larger.extend_from_slice(&self.0);
            // The old buffer is wiped over its whole capacity as it goes.
            self.0 = larger;
        }
        self.0.extend_from_slice(bytes);
    }

    pub(crate) fn flag(&mut self, flag: bool) {
        self.put(&[u8::from(flag)]);
    }

    /// Appends a number of bytes or of entries, in four bytes.
    ///
    /// # Errors
    /// [`Error::Unusable`] above 2^32.
    pub(crate) fn count(&mut self, what: &'static str, count: usize) -> Result<()> {
        let too_long = |_| Error::Unusable { what, why: "it is longer than four bytes can tell" };
        self.put(&u32::try_from(count).map_err(too_long)?.to_be_bytes());
        Ok(())
    }

    /// Appends bytes after their length in four bytes.
    ///
    /// # Errors
    /// [`Error::Unusable`] above 2^32 bytes.
    pub(crate) fn long(&mut self, what: &'static str, bytes: &[u8]) -> Result<()> {
        self.count(what, bytes.len())?;
        self.put(bytes);
        Ok(())
    }

    /// Makes room for `more` bytes, so that no copy is made and wiped on the way.
    pub(crate) fn reserve(&mut self, more: usize) {
        let need = self.0.len().saturating_add(more);
        if need > self.0.capacity() {
            let mut larger = Zeroizing::new(Vec::with_capacity(need));
            larger.extend_from_slice(&self.0);
            self.0 = larger;
        }
    }

    /// How many bytes were written.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// What was written.
    pub(crate) fn done(self) -> Zeroizing<Vec<u8>> {
        self.0
    }
}

impl io::Write for Writer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.put(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Appends a text or a blob after its length in one byte.
///
/// # Errors
/// [`Error::Unusable`] above 255 bytes.
pub(crate) fn put_short(out: &mut Vec<u8>, what: &'static str, bytes: &[u8]) -> Result<()> {
    let too_long = |_| Error::Unusable { what, why: "it is longer than 255 bytes" };
    out.push(u8::try_from(bytes.len()).map_err(too_long)?);
    out.extend_from_slice(bytes);
    Ok(())
}

/// Fills `out` up with zeros to `length`.
///
/// # Errors
/// [`Error::Unusable`] if it is longer already.
pub(crate) fn pad(out: &mut Vec<u8>, what: &'static str, length: usize) -> Result<()> {
    if out.len() > length {
        return Err(Error::Unusable { what, why: "it does not fit into its constant size: shorten it" });
    }
    out.resize(length, 0);
    Ok(())
}

/// The first half of a hash: what was hashed is known by it.
pub(crate) fn short_id(hash: Sha256) -> [u8; 16] {
    let hash: [u8; 32] = hash.finalize().into();
    let mut id = [0; 16];
    id.iter_mut().zip(hash).for_each(|(to, from)| *to = from);
    id
}

/// What is left to read of some bytes.
pub(crate) struct Reader<'a> {
    all: &'a [u8],
    left: &'a [u8],
    what: Item,
}

impl<'a> Reader<'a> {
    pub(crate) const fn new(what: Item, bytes: &'a [u8]) -> Self {
        Self { all: bytes, left: bytes, what }
    }

    pub(crate) const fn malformed(&self, why: &'static str) -> Error {
        Error::Malformed { what: self.what, why }
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let Some((array, left)) = self.left.split_first_chunk() else {
            return Err(self.malformed("it was cut short"));
        };
        self.left = left;
        Ok(*array)
    }

    pub(crate) fn bytes(&mut self, length: usize) -> Result<&'a [u8]> {
        let Some((bytes, left)) = self.left.split_at_checked(length) else {
            return Err(self.malformed("it was cut short"));
        };
        self.left = left;
        Ok(bytes)
    }

    pub(crate) fn byte(&mut self) -> Result<u8> {
        let [byte] = self.array()?;
        Ok(byte)
    }

    pub(crate) fn flag(&mut self) -> Result<bool> {
        match self.byte()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(self.malformed("a yes or no in it is neither")),
        }
    }

    pub(crate) fn number(&mut self) -> Result<u64> {
        self.array().map(u64::from_be_bytes)
    }

    /// What [`Writer::count`] wrote, for entries of at least `least` bytes each: no more than can follow.
    pub(crate) fn count(&mut self, least: usize) -> Result<usize> {
        let count = usize::try_from(u32::from_be_bytes(self.array()?)).unwrap_or(usize::MAX);
        if count.saturating_mul(least.max(1)) > self.left.len() {
            return Err(self.malformed("it was cut short"));
        }
        Ok(count)
    }

    /// What [`Writer::long`] wrote.
    pub(crate) fn long(&mut self) -> Result<&'a [u8]> {
        let length = self.count(1)?;
        self.bytes(length)
    }

    pub(crate) fn version(&mut self, version: u8) -> Result<()> {
        if self.byte()? == version { Ok(()) } else { Err(self.malformed("its version is unknown")) }
    }

    /// What [`put_short`] wrote.
    pub(crate) fn short(&mut self) -> Result<&'a [u8]> {
        let length = self.byte()?;
        self.bytes(length.into())
    }

    /// Text of at most `limit` bytes that [`put_short`] wrote, fit to be shown.
    pub(crate) fn text(&mut self, limit: usize) -> Result<&'a str> {
        let Ok(text) = str::from_utf8(self.short()?) else {
            return Err(self.malformed("a text in it is not UTF-8"));
        };
        if text.len() > limit || check_line(text).is_err() {
            return Err(self.malformed("a text in it is too long, does not show, or holds what turns or breaks a line"));
        }
        Ok(text)
    }

    /// What was read so far.
    pub(crate) fn before(&self) -> &'a [u8] {
        self.all.get(..self.all.len() - self.left.len()).unwrap_or_default()
    }

    /// What is left, all of it zeros.
    pub(crate) fn padding(self) -> Result<()> {
        if self.left.iter().all(|byte| *byte == 0) { Ok(()) } else { Err(self.malformed("its padding is not zeros")) }
    }

    pub(crate) const fn is_at_end(&self) -> bool {
        self.left.is_empty()
    }

    /// Nothing is left.
    pub(crate) const fn end(self) -> Result<()> {
        if self.left.is_empty() { Ok(()) } else { Err(self.malformed("it is longer than it should be")) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_grows_and_keeps_what_was_written() {
        let mut out = Writer::default();
        let mut want = Vec::new();
        for i in 0..=255_u8 {
            out.put(&[i; 37]);
            want.extend_from_slice(&[i; 37]);
        }
        assert_eq!(*out.done(), want);
    }
}
