//! A voice played a little faster or slower than it was spoken, at its own pitch.
//!
//! A piece of about one pitch period is taken out of a block, or put in, where the sound is most alike so far apart, and
//! faded over (WSOLA: Verhelst and Roelands, 1993). Blocks are interleaved; lengths are in samples a channel.

use super::Channels;

/// The shortest piece: 2.5 ms, a voice of 400 Hz.
const SHORTEST: usize = 120;

/// Over so much one sound is faded into the other: 5 ms.
const OVERLAP: usize = 240;

/// Every so many samples are compared to find the piece, and then each.
const COARSE: usize = 4;

/// How alike the sounds must be: the cosine between them.
const ALIKE: f32 = 0.6;

/// Power a sample below which all sounds are alike: -60 dB.
const FAINT: f32 = 1e-6;

/// The most that [`lengthen`] adds, in samples a channel.
pub(super) const LONGEST: usize = 600;

/// Takes up to `most` out of the front of `block`, which then is shorter at its end; gives how much.
///
/// Nothing, where no piece repeats, unless `at_any_price`.
pub(super) fn shorten(block: &mut [f32], channels: Channels, most: usize, at_any_price: bool) -> usize {
    let Some(lag) = find(block, channels, most, at_any_price) else { return 0 };
    let (all, lag_all, overlap) = (block.len(), lag * channels.count(), OVERLAP * channels.count());
    // What is read is always ahead of what is written.
    for at in 0..overlap {
        let (Some(&from), Some(&to)) = (block.get(at), block.get(at + lag_all)) else { return 0 };
        if let Some(place) = block.get_mut(at) {
            *place = from + (to - from) * weight(at, channels);
        }
    }
    block.copy_within(lag_all + overlap..all, overlap);
    lag
}

/// Puts up to `most`, and [`LONGEST`] at most, into the front of `block`, whose sound ends at `used` and leaves room for
/// it; gives how much.
///
/// Nothing, where no piece repeats, unless `at_any_price`.
pub(super) fn lengthen(block: &mut [f32], used: usize, channels: Channels, most: usize, at_any_price: bool) -> usize {
    let Some(sound) = block.get(..used) else { return 0 };
    let Some(lag) = find(sound, channels, most.min(LONGEST), at_any_price) else { return 0 };
    let (lag_all, overlap) = (lag * channels.count(), OVERLAP * channels.count());
    if used + lag_all > block.len() {
        return 0;
    }
    // From the sound a period on back to where it began.
    let mut faded = [0.0; 2 * OVERLAP];
    let pair = block.get(lag_all..lag_all + overlap).zip(block.get(..overlap));
    let Some((on, began)) = pair else { return 0 };
    for (at, ((place, on), began)) in faded.iter_mut().zip(on).zip(began).enumerate() {
        *place = on + (began - on) * weight(at, channels);
    }
    block.copy_within(overlap..used, lag_all + overlap);
    for (place, faded) in block.iter_mut().skip(lag_all).zip(faded.iter().take(overlap)) {
        *place = *faded;
    }
    lag
}

fn weight(at: usize, channels: Channels) -> f32 {
    (at / channels.count()) as f32 / OVERLAP as f32
}

/// The piece at which the front of `block` is most like what follows it.
fn find(block: &[f32], channels: Channels, most: usize, at_any_price: bool) -> Option<usize> {
    let longest = (block.len() / channels.count()).checked_sub(OVERLAP)?.min(most);
    if longest < SHORTEST {
        return None;
    }
    let front = block.get(..OVERLAP * channels.count())?;
    let best = |lags: &mut dyn Iterator<Item = usize>, step: usize| {
        lags.filter_map(|lag| Some((lag, alike(front, block.get(lag * channels.count()..)?, step * channels.count()))))
            .max_by(|a, b| a.1.total_cmp(&b.1))
    };
    let (near, _) = best(&mut (SHORTEST..=longest).step_by(COARSE), COARSE)?;
    let around = near.saturating_sub(COARSE - 1).max(SHORTEST)..=(near + COARSE - 1).min(longest);
    let (lag, alike) = best(&mut around.into_iter(), 1)?;
    (alike >= ALIKE || at_any_price).then_some(lag)
}

/// The cosine between the two over the length of `a`, every `step`-th sample; 1 where both are faint.
fn alike(a: &[f32], b: &[f32], step: usize) -> f32 {
    let (mut ab, mut aa, mut bb, mut count) = (0.0, 0.0, 0.0, 0.0);
    for (a, b) in a.iter().step_by(step).zip(b.iter().step_by(step)) {
        ab += a * b;
        aa += a * a;
        bb += b * b;
        count += 1.0;
    }
    if aa.max(bb) <= FAINT * count { 1.0 } else { ab / (aa * bb).sqrt().max(f32::MIN_POSITIVE) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tone(samples: usize, hertz: f32, channels: Channels) -> Vec<f32> {
        (0..samples)
            .flat_map(|at| {
                let left = 0.5 * (at as f32 * hertz * std::f32::consts::TAU / 48_000.0).sin();
                [left, -left].into_iter().take(channels.count())
            })
            .collect()
    }

    /// How far the tone is from a sine, at the worst: what a click would show.
    fn roughest(block: &[f32], channels: Channels, hertz: f32) -> f32 {
        let turn = 2.0 * (hertz * std::f32::consts::TAU / 48_000.0).cos();
        let left: Vec<f32> = block.iter().step_by(channels.count()).copied().collect();
        left.windows(3).map(|w| (w[0] + w[2] - turn * w[1]).abs()).fold(0.0, f32::max)
    }

    #[test]
    fn a_tone_gets_shorter_and_longer_without_a_click() {
        for channels in [Channels::Mono, Channels::Stereo] {
            for hertz in [90.0, 150.0, 220.0, 400.0, 1_000.0] {
                let plain = tone(960, hertz, channels);
                let mut block = plain.clone();
                let out = shorten(&mut block, channels, 600, false);
                assert!((SHORTEST..=600).contains(&out), "{hertz} Hz: {out} taken out");
                block.truncate((960 - out) * channels.count());
                assert!(roughest(&block, channels, hertz) < 0.01, "{hertz} Hz: {}", roughest(&block, channels, hertz));

                let mut block = plain.clone();
                block.resize((960 + LONGEST) * channels.count(), 0.0);
                let put = lengthen(&mut block, plain.len(), channels, 600, false);
                assert!((SHORTEST..=600).contains(&put), "{hertz} Hz: {put} put in");
                block.truncate((960 + put) * channels.count());
                assert!(roughest(&block, channels, hertz) < 0.01, "{hertz} Hz: {}", roughest(&block, channels, hertz));
                // What follows in the next block goes on from the last sample.
                let end = channels.count();
                assert_eq!(block[block.len() - end..], plain[plain.len() - end..]);
            }
        }
    }

    #[test]
    fn noise_is_left_as_it_is_but_at_any_price() {
        let mut state = 7_u32;
        let noise: Vec<f32> = (0..960)
            .map(|_| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                state as f32 / u32::MAX as f32 - 0.5
            })
            .collect();
        let mut block = noise.clone();
        assert_eq!(shorten(&mut block, Channels::Mono, 600, false), 0);
        assert_eq!(block, noise);
        assert!(shorten(&mut block, Channels::Mono, 600, true) >= SHORTEST);
    }

    #[test]
    fn what_is_too_short_is_left_as_it_is() {
        for samples in [0, 1, 120, OVERLAP + SHORTEST - 1] {
            let mut block = vec![0.0; samples];
            assert_eq!(shorten(&mut block, Channels::Mono, 600, true), 0);
            assert_eq!(lengthen(&mut block, samples, Channels::Mono, 600, true), 0);
        }
        assert_eq!(shorten(&mut [0.0; 960], Channels::Mono, SHORTEST - 1, true), 0);
        assert_eq!(lengthen(&mut [0.0; 960], 960, Channels::Mono, 600, true), 0, "there is no room");
    }
}
