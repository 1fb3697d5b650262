//! IMA ADPCM (also DVI ADPCM), four bits a sample: what dictation machines and telephone systems write.
//!
//! A block begins with four bytes for each channel: its first sample, the index of its step, and nothing. Then come
//! four bytes for each channel in turn, of eight samples each, the lower half of a byte first (IMA Digital Audio Focus
//! and Technical Working Group, "Recommended Practices", 1992, and Microsoft's "New Multimedia Data Types", 1994).

/// Bytes of a channel at the front of a block, and of each of its turns after that.
pub(super) const TURN: usize = 4;

/// How far the index of the step moves after a difference of this size.
const MOVES: [i32; 8] = [-1, -1, -1, -1, 2, 4, 6, 8];

/// The steps, each about a tenth above the one below it.
const STEPS: [i32; 89] = [
    7, 8, 9, 10, 11, 12, 13, 14, 16, 17, 19, 21, 23, 25, 28, 31, 34, 37, 41, 45, 50, 55, 60, 66, 73, 80, 88, 97, 107,
    118, 130, 143, 157, 173, 190, 209, 230, 253, 279, 307, 337, 371, 408, 449, 494, 544, 598, 658, 724, 796, 876, 963,
    1_060, 1_166, 1_282, 1_411, 1_552, 1_707, 1_878, 2_066, 2_272, 2_499, 2_749, 3_024, 3_327, 3_660, 4_026, 4_428,
    4_871, 5_358, 5_894, 6_484, 7_132, 7_845, 8_630, 9_493, 10_442, 11_487, 12_635, 13_899, 15_289, 16_818, 18_500,
    20_350, 22_385, 24_623, 27_086, 29_794, 32_767,
];

/// A channel, as far as it is decoded.
#[derive(Clone, Copy, Debug, Default)]
struct Channel {
    /// Of 16 bits.
    sample: i32,
    index: usize,
}

impl Channel {
    fn new(front: &[u8]) -> Self {
        let &[low, high, index, _] = front else { return Self::default() };
        Self { sample: i16::from_le_bytes([low, high]).into(), index: usize::from(index).min(STEPS.len() - 1) }
    }

    /// The sample, full scale ±1.
    fn heard(self) -> f32 {
        self.sample as f32 / 32_768.0
    }

    /// Goes on by four bits: a sign, and the size of a difference, in quarters of a step and an eighth more.
    fn step(&mut self, bits: u8) -> f32 {
        let step = STEPS.get(self.index).copied().unwrap_or_default();
        let size = bits & 7;
        // Rounded once. The recommendation rounds each part, and what ffmpeg has encoded drifts with that: by 3 dB in a
        // quiet file. What others have encoded does not drift with this.
        let difference = ((2 * i32::from(size) + 1) * step) >> 3;
        let difference = if bits & 8 == 0 { difference } else { -difference };
        self.sample = (self.sample + difference).clamp(i16::MIN.into(), i16::MAX.into());
        let moved = self.index as i32 + MOVES.get(usize::from(size)).copied().unwrap_or_default();
        self.index = moved.clamp(0, STEPS.len() as i32 - 1) as usize;
        self.heard()
    }
}

/// Decodes a block, or what there is of the last one: every moment's samples, one channel after the other.
pub(super) fn decode(block: &[u8], channels: usize) -> Vec<f32> {
    let (fronts, turns) = block.split_at_checked(TURN * channels).unwrap_or_default();
    let mut states: Vec<Channel> = fronts.chunks_exact(TURN).map(Channel::new).collect();
    let mut out: Vec<f32> = states.iter().map(|channel| channel.heard()).collect();
    for turn in turns.chunks_exact(TURN * channels) {
        let from = out.len();
        out.resize(from + 2 * TURN * channels, 0.0);
        for (at, (state, bytes)) in states.iter_mut().zip(turn.chunks_exact(TURN)).enumerate() {
            let halves = bytes.iter().flat_map(|byte| [byte & 15, byte >> 4]);
            for (slot, bits) in out.iter_mut().skip(from + at).step_by(channels).zip(halves) {
                *slot = state.step(bits);
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_goes_on_from_the_sample_at_its_front() {
        // The left channel stays where it is as well as four bits can, the right one climbs by whole steps.
        let block = [0, 0x40, 0, 0, 0, 0xc0, 88, 0, 0, 0x88, 0x80, 0, 0x77, 0x77, 0x77, 0x77];
        let out = decode(&block, 2);
        assert_eq!(out.len(), 2 + 16);
        assert_eq!(out[..2], [0.5, -0.5]);
        assert!(out.iter().step_by(2).all(|left| (left - 0.5).abs() < 0.001), "{out:?}");
        // 1 and 7 eighths of the largest step: beyond full scale, and held there.
        assert_eq!(out[3], 32_767.0 / 32_768.0);
        assert_eq!(out[17], 32_767.0 / 32_768.0);
        // Of a block that was cut off, what there is of it.
        assert_eq!(decode(&block[..11], 2), [0.5, -0.5]);
        assert!(decode(&block[..7], 2).is_empty());
    }
}
