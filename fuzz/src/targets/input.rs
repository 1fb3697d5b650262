//! A fuzzer's bytes, as a source of choices. It never runs dry: what is not there is zero.

/// What is left of the input.
pub struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    pub const fn new(data: &'a [u8]) -> Self {
        Self(data)
    }

    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn byte(&mut self) -> u8 {
        let Some((byte, left)) = self.0.split_first() else { return 0 };
        self.0 = left;
        *byte
    }

    pub fn flag(&mut self) -> bool {
        self.byte() & 1 == 1
    }

    /// Below `end`, which is at most 256.
    pub fn below(&mut self, end: usize) -> usize {
        usize::from(self.byte()) % end
    }

    pub fn u16(&mut self) -> u16 {
        u16::from_be_bytes([self.byte(), self.byte()])
    }

    pub fn u64(&mut self) -> u64 {
        u64::from_be_bytes(self.array())
    }

    /// Small numbers often, large ones now and then.
    pub fn number(&mut self) -> u64 {
        match self.byte() {
            byte @ 0..=239 => byte.into(),
            240..=251 => self.u16().into(),
            _ => self.u64(),
        }
    }

    pub fn array<const N: usize>(&mut self) -> [u8; N] {
        std::array::from_fn(|_| self.byte())
    }

    /// At most as many bytes as are left.
    pub fn bytes(&mut self, length: usize) -> &'a [u8] {
        let (bytes, left) = self.0.split_at(length.min(self.0.len()));
        self.0 = left;
        bytes
    }

    /// A run of bytes after its own length.
    pub fn run(&mut self) -> &'a [u8] {
        let length = self.byte();
        self.bytes(length.into())
    }

    pub fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.0)
    }

    pub fn choose<'c, T>(&mut self, from: &'c [T]) -> &'c T {
        &from[usize::from(self.u16()) % from.len()]
    }

    /// `bytes` with a few changes: how many is the next byte, each of them a place, a kind and a byte or a run.
    pub fn mutate(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut out = bytes.to_vec();
        for _ in 0..self.below(8) {
            let at = usize::from(self.u16());
            let at = if out.is_empty() { 0 } else { at % out.len() };
            match self.below(6) {
                0 => out.truncate(at),
                1 => {
                    let run = self.run();
                    out.splice(at..at, run.iter().copied());
                }
                2 => {
                    let end = (at + usize::from(self.byte())).min(out.len());
                    out.drain(at..end);
                }
                3 => {
                    let run = self.run();
                    let end = (at + run.len()).min(out.len());
                    out.splice(at..end, run.iter().copied());
                }
                4 => {
                    let byte = self.byte();
                    out.extend(std::iter::repeat_n(byte, at % 64));
                }
                _ => {
                    let by = self.byte();
                    if let Some(byte) = out.get_mut(at) {
                        *byte ^= by;
                    }
                }
            }
        }
        out
    }
}
