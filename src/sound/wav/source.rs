//! Bytes in order, a few of which can be given back: a pipe is read as well as a file.

use std::io::{self, Read};

/// Reads ahead, and gives back.
#[derive(Debug)]
pub(super) struct Source<R> {
    inner: R,
    /// Given back, to be read first, the last byte at the front.
    back: Vec<u8>,
}

impl<R: Read> Source<R> {
    pub(super) const fn new(inner: R) -> Self {
        Self { inner, back: Vec::new() }
    }

    /// Gives back what was read last.
    pub(super) fn unread(&mut self, bytes: &[u8]) {
        self.back.extend(bytes.iter().rev());
    }

    /// Fills `out` as far as there are bytes, and says how far.
    pub(super) fn fill(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let mut filled = 0;
        while let Some(rest) = out.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            match self.read(rest) {
                Ok(0) => break,
                Ok(more) => filled += more,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(filled)
    }

    /// Leaves out `bytes`, or as many as there are.
    pub(super) fn skip(&mut self, bytes: u64) -> io::Result<()> {
        io::copy(&mut self.take(bytes), &mut io::sink()).map(|_| ())
    }
}

impl<R: Read> Read for Source<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.back.is_empty() {
            return self.inner.read(out);
        }
        let mut given = 0;
        for slot in out {
            let Some(byte) = self.back.pop() else { break };
            *slot = byte;
            given += 1;
        }
        Ok(given)
    }
}
