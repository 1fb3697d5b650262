//! Many channels into one.
//!
//! Mono and stereo become their mean. With more channels each has a weight by where it stands, as in ITU-R BS.775:
//! front left and right 0.5 (as in stereo), centre 0.707, sides and back 0.354, LFE (the effects' bass) nothing. So
//! a voice in the centre alone is 3 dB down; by the mean of six channels it would be 15.6. A mix that would go
//! beyond full scale where no channel does is turned down as a whole, by as much as it takes.

/// The most channels that are read.
pub(super) const MOST: u16 = 8;

const FRONT: f32 = 0.5;
const CENTRE: f32 = std::f32::consts::FRAC_1_SQRT_2;
const AROUND: f32 = 0.5 * std::f32::consts::FRAC_1_SQRT_2;

/// A weight for each position of a channel mask, from bit 0 on: front left, front right, centre, LFE, back left,
/// back right, left of centre, right of centre, back centre, side left, side right.
const WEIGHTS: [f32; 11] = [FRONT, FRONT, CENTRE, 0.0, AROUND, AROUND, FRONT, FRONT, AROUND, AROUND, AROUND];

/// Where channels stand in a file that does not say it.
const fn usual(channels: u16) -> u32 {
    match channels {
        3 => 0x007,
        4 => 0x033,
        5 => 0x037,
        6 => 0x03f,
        7 => 0x70f,
        8 => 0x63f,
        _ => 0,
    }
}

/// Mixes moments of all channels into one.
#[derive(Debug)]
pub(super) struct Mixer {
    weights: Vec<f32>,
    /// The largest sample of a channel.
    channel_peak: f32,
    /// The largest sample of the mix.
    peak: f32,
}

impl Mixer {
    /// A mixer of 1 to [`MOST`] channels.
    pub(super) fn new(channels: u16, positions: Option<u32>) -> Self {
        let weights = if channels <= 2 {
            vec![1.0 / f32::from(channels.max(1)); channels.into()]
        } else {
            let positions = positions.unwrap_or(usual(channels));
            let placed = (0..u32::BITS).filter(|bit| positions >> bit & 1 == 1);
            let placed = placed.map(|bit| WEIGHTS.get(bit as usize).copied().unwrap_or(AROUND));
            // Channels that stand nowhere may hold anything, and count as front ones.
            placed.chain(std::iter::repeat(FRONT)).take(channels.into()).collect()
        };
        Self { weights, channel_peak: 0.0, peak: 0.0 }
    }

    /// One moment's sample of every channel, into one.
    pub(super) fn mix(&mut self, samples: impl Iterator<Item = f32>) -> f32 {
        let mut sum = 0.0;
        for (weight, sample) in self.weights.iter().zip(samples) {
            self.channel_peak = self.channel_peak.max(sample.abs());
            sum += weight * sample;
        }
        self.peak = self.peak.max(sum.abs());
        sum
    }

    /// By how much to turn down the mix, whose samples are `gain` times as loud as they were given here.
    pub(super) fn turn_down(&self, gain: f32) -> f32 {
        let most = (self.channel_peak * gain).max(1.0);
        let peak = self.peak * gain;
        if peak > most { most / peak } else { 1.0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mixed(channels: u16, positions: Option<u32>, samples: &[f32]) -> (f32, f32) {
        let mut mixer = Mixer::new(channels, positions);
        let sum = mixer.mix(samples.iter().copied());
        (sum, mixer.turn_down(1.0))
    }

    #[test]
    fn one_and_two_channels_are_their_mean_wherever_they_stand() {
        assert_eq!(mixed(1, Some(8), &[0.5]), (0.5, 1.0));
        assert_eq!(mixed(2, Some(0xc), &[0.5, 0.25]), (0.375, 1.0));
    }

    #[test]
    fn a_voice_in_the_centre_is_three_decibels_down_and_bass_is_left_out() {
        let (centre, _) = mixed(6, None, &[0.0, 0.0, 0.5, 0.0, 0.0, 0.0]);
        assert!((20.0 * (centre / 0.5).log10() + 3.0).abs() < 0.02, "{centre}");
        assert_eq!(mixed(6, None, &[0.0, 0.0, 0.0, 0.9, 0.0, 0.0]).0, 0.0);
    }

    #[test]
    fn a_mix_that_would_be_too_loud_is_turned_down_to_full_scale() {
        let (sum, down) = mixed(6, None, &[0.9; 6]);
        assert!(sum > 1.0 && (sum * down - 1.0).abs() < 1e-6, "{sum} × {down}");
        // Not below what a channel has by itself.
        let (sum, down) = mixed(6, None, &[3.0; 6]);
        assert!((sum * down - 3.0).abs() < 1e-5, "{sum} × {down}");
    }
}
