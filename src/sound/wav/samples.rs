//! The samples of a WAV file, one at a time: integers of 8 to 64 bits, floats of 32 and 64, A-law and µ-law.
//!
//! An integer counts by the width of the container that holds it, of which its valid bits are the upper ones
//! (WAVEFORMATEXTENSIBLE: "the valid bits are left-aligned, the low bits are zero"). Some writers put them at the
//! lower end all the same. A file is taken for such a one, and its sound raised to full scale, if *every* sample
//! fits into the valid bits and *some* sample uses bits that would have to be zero. In a file that keeps the rule
//! the second never happens.

/// What a sample is stored as.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Encoding {
    /// An integer; unsigned if of one byte, of two's complement else.
    Integer {
        /// Bytes, 1 to 8.
        width: usize,
        /// Bits of these that count, at least 1.
        valid: u32,
    },
    /// A float of 4 bytes.
    Float,
    /// A float of 8 bytes.
    Double,
    /// ITU-T G.711, A-law.
    ALaw,
    /// ITU-T G.711, µ-law.
    MuLaw,
    /// IMA ADPCM, in blocks of all channels.
    Ima {
        /// Bytes of a block.
        block: usize,
    },
}

/// Which byte of a number comes first.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Order {
    Little,
    Big,
}

impl Encoding {
    /// Bytes of a sample, or 0 if samples are not apart.
    pub(super) const fn width(self) -> usize {
        match self {
            Self::Integer { width, .. } => width,
            Self::Float => 4,
            Self::Double => 8,
            Self::ALaw | Self::MuLaw => 1,
            Self::Ima { .. } => 0,
        }
    }

    /// Bytes that go together: a moment's samples of all channels, or a block of moments.
    pub(super) const fn unit(self, channels: u16) -> usize {
        match self {
            Self::Ima { block } => block,
            _ => self.width() * channels as usize,
        }
    }
}

/// Reads samples, and remembers where their bits were.
#[derive(Debug)]
pub(super) struct Samples {
    encoding: Encoding,
    order: Order,
    /// Every integer so far fits into the valid bits.
    fit: bool,
    /// An integer so far has bits below those that count by its container.
    below: bool,
}

impl Samples {
    pub(super) const fn new(encoding: Encoding, order: Order) -> Self {
        Self { encoding, order, fit: true, below: false }
    }

    /// The sample in `bytes`, full scale ±1 by its container.
    pub(super) fn read(&mut self, bytes: &[u8]) -> f32 {
        match self.encoding {
            Encoding::Integer { width: 1, .. } => (f32::from(first(bytes)) - 128.0) / 128.0,
            Encoding::Integer { width, valid } => {
                let integer = self.eight(bytes).cast_signed();
                let spare = 8 * width as u32 - valid;
                self.below |= integer.checked_shl(valid).unwrap_or_default() != 0;
                self.fit &= matches!(integer >> (63 - spare), 0 | -1);
                (integer as f64 / 63_f64.exp2()) as f32
            }
            Encoding::Float => f32::from_bits((self.eight(bytes) >> 32) as u32),
            Encoding::Double => f64::from_bits(self.eight(bytes)) as f32,
            Encoding::ALaw => a_law(first(bytes)),
            Encoding::MuLaw => mu_law(first(bytes)),
            Encoding::Ima { .. } => 0.0,
        }
    }

    /// How much louder the samples are than they were read, once all have been: 1, but in a file that puts the valid
    /// bits at the lower end.
    pub(super) fn gain(&self) -> f32 {
        match self.encoding {
            Encoding::Integer { width: 2.., valid } if self.below && self.fit => {
                ((8 * self.encoding.width() as u32 - valid) as f32).exp2()
            }
            _ => 1.0,
        }
    }

    /// At most eight bytes as the upper ones of a number.
    fn eight(&self, bytes: &[u8]) -> u64 {
        let shifted = |number: u64, byte: &u8| number >> 8 | u64::from(*byte) << 56;
        match self.order {
            Order::Little => bytes.iter().fold(0, shifted),
            Order::Big => bytes.iter().rev().fold(0, shifted),
        }
    }
}

fn first(bytes: &[u8]) -> u8 {
    bytes.first().copied().unwrap_or_default()
}

/// ITU-T G.711, table 1a: every other bit is inverted; sign, three bits of exponent, four of mantissa.
fn a_law(byte: u8) -> f32 {
    let code = byte ^ 0x55;
    let (exponent, mantissa) = (i32::from(code >> 4 & 7), i32::from(code & 15));
    let size = match exponent {
        0 => mantissa * 16 + 8,
        _ => (mantissa * 16 + 0x108) << (exponent - 1),
    };
    signed(size, code & 0x80 == 0)
}

/// ITU-T G.711, table 2a: all bits are inverted; sign, three bits of exponent, four of mantissa, a bias of 132.
fn mu_law(byte: u8) -> f32 {
    let code = !byte;
    let (exponent, mantissa) = (code >> 4 & 7, i32::from(code & 15));
    signed(((mantissa * 8 + 0x84) << exponent) - 0x84, code & 0x80 != 0)
}

/// As a sample of 16 bits.
fn signed(size: i32, negative: bool) -> f32 {
    (if negative { -size } else { size }) as f32 / 32_768.0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(encoding: Encoding, samples: &[&[u8]]) -> (Vec<f32>, f32) {
        let mut reader = Samples::new(encoding, Order::Little);
        let values = samples.iter().map(|bytes| reader.read(bytes)).collect();
        (values, reader.gain())
    }

    #[test]
    fn every_width_has_its_full_scale() {
        for width in 2..=8 {
            let mut half = vec![0; width];
            half[width - 1] = 0x40;
            let encoding = Encoding::Integer { width, valid: 8 * width as u32 };
            assert_eq!(read(encoding, &[&half]), (vec![0.5], 1.0), "{width} bytes");
            half.reverse();
            assert_eq!(Samples::new(encoding, Order::Big).read(&half), 0.5, "{width} bytes, the first is the highest");
        }
        assert_eq!(read(Encoding::Integer { width: 1, valid: 8 }, &[&[192], &[128], &[0]]).0, [0.5, 0.0, -1.0]);
    }

    #[test]
    fn valid_bits_at_the_lower_end_are_found_by_all_samples_and_by_one_of_them() {
        let encoding = Encoding::Integer { width: 4, valid: 24 };
        // 24 bits at the upper end: the low byte is zero, however quiet it is.
        assert_eq!(read(encoding, &[&[0, 0, 0, 0x40], &[0, 1, 0, 0]]).1, 1.0);
        assert_eq!(read(encoding, &[&[0, 1, 0, 0], &[0, 0xff, 0xff, 0xff]]).1, 1.0);
        // At the lower end: half of full scale is 0x400000, and the top byte repeats the sign.
        let (values, gain) = read(encoding, &[&[1, 0, 0, 0], &[0, 0, 0x40, 0], &[0xff, 0xff, 0xbf, 0xff]]);
        assert_eq!(gain, 256.0);
        assert_eq!(values[1] * gain, 0.5);
        // All 32 bits in use, whatever the header says.
        assert_eq!(read(encoding, &[&[1, 0, 0, 0], &[1, 0, 0, 0x40]]).1, 1.0);
    }

    #[test]
    fn a_law_and_mu_law_are_those_of_g711() {
        // The extremes and the zeros of tables 1a and 2a, as 16-bit samples.
        for (byte, sample) in [(0xaa, 32_256.0), (0x2a, -32_256.0), (0xd5, 8.0), (0x55, -8.0), (0x80, 5_504.0)] {
            assert_eq!(a_law(byte) * 32_768.0, sample, "A-law {byte:#x}");
        }
        for (byte, sample) in [(0x80, 32_124.0), (0x00, -32_124.0), (0xff, 0.0), (0x7f, 0.0), (0xef, 132.0)] {
            assert_eq!(mu_law(byte) * 32_768.0, sample, "µ-law {byte:#x}");
        }
    }
}
