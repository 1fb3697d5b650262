//! Many voices into one: sum with a gain and a place from left to right, clip softly, and N−1 mixes for an app that
//! mixes for others.
//!
//! A mix is never beyond ±1, whoever shouts, and is the plain sum while that stays below [`KNEE`].

use super::Samples;

/// Where the soft clip begins: 0.7 of full scale, -3.1 dB.
pub const KNEE: f32 = 0.7;

/// The largest gain of a speaker: 4, which is 12 dB.
pub const MAX_GAIN: f32 = 4.0;

/// Adds `gain` × `voice` to `sum`.
pub fn add(sum: &mut [f32], voice: &[f32], gain: f32) {
    for (sum, voice) in sum.iter_mut().zip(voice) {
        *sum += gain * voice;
    }
}

/// What of a voice goes to the left and to the right, at `pan`: -1 is left, 0 the middle, 1 right.
///
/// The power is constant, wherever it is placed: left = cos θ, right = sin θ with θ = (pan + 1) · π / 4. In the middle
/// both are 3 dB down.
pub fn pan(pan: f32) -> (f32, f32) {
    let (right, left) = ((pan.clamp(-1.0, 1.0) + 1.0) * std::f32::consts::FRAC_PI_4).sin_cos();
    (left.max(0.0), right.max(0.0))
}

/// Adds a voice of one channel to `sum`, which is interleaved stereo, with `left` and `right` for a gain.
pub fn add_placed(sum: &mut [f32], voice: impl IntoIterator<Item = f32>, left: f32, right: f32) {
    for ([l, r], voice) in sum.as_chunks_mut().0.iter_mut().zip(voice) {
        *l += left * voice;
        *r += right * voice;
    }
}

/// Adds a voice of two channels, interleaved as `sum` is, each with a gain of its own.
pub fn add_stereo(sum: &mut [f32], voice: &[f32], left: f32, right: f32) {
    for ([l, r], [a, b]) in sum.as_chunks_mut().0.iter_mut().zip(voice.as_chunks().0) {
        *l += left * a;
        *r += right * b;
    }
}

/// Bends what is above [`KNEE`] so that nothing leaves ±1.
///
/// With k the knee and t = (|x| − k) / (1 − k): |y| = |x| up to k, and k + (1 − k) · t / (1 + t) above. The curve
/// is smooth where it begins (slope 1), rises for ever and tends to 1. Samples that are no numbers become 0.
pub fn soft_clip(samples: &mut [f32]) {
    for x in samples {
        *x = clip(*x);
    }
}

/// For each of `voices` the sum of all the others, softly clipped: what each of them hears if somebody in the
/// room mixes for them. One sum for all, so it costs 2 N additions rather than N².
///
/// Pairs beyond the shorter of the two slices are left alone.
pub fn minus_one(voices: &[Samples], ears: &mut [Samples]) {
    let mut sum = super::SILENCE;
    for voice in voices {
        add(&mut sum, voice, 1.0);
    }
    for (ear, voice) in ears.iter_mut().zip(voices) {
        *ear = sum;
        add(ear, voice, -1.0);
        soft_clip(ear);
    }
}

fn clip(x: f32) -> f32 {
    let size = x.abs();
    if size <= KNEE {
        return x;
    }
    if x.is_nan() {
        return 0.0;
    }
    let room = 1.0 - KNEE;
    let t = (size - KNEE) / room;
    // t / (1 + t), written so that an infinite t gives 1.
    (KNEE + room * (1.0 - 1.0 / (1.0 + t))).min(1.0).copysign(x)
}

#[cfg(test)]
mod tests {
    use super::{super::SILENCE, *};

    #[test]
    fn a_clip_is_transparent_below_the_knee_and_never_leaves_full_scale() {
        let mut last = -1.0;
        for i in -40_000..=40_000 {
            let x = i as f32 / 1000.0;
            let y = clip(x);
            assert!(y.abs() <= 1.0 && y >= last, "{x} became {y} after {last}");
            if x.abs() <= KNEE {
                assert_eq!(x, y);
            }
            last = y;
        }
        let mut odd = [f32::INFINITY, f32::NEG_INFINITY, f32::NAN, f32::MAX, f32::MIN];
        soft_clip(&mut odd);
        assert_eq!(odd, [1.0, -1.0, 0.0, 1.0, -1.0]);
    }

    #[test]
    fn a_clip_bends_without_a_corner() {
        let step = 1e-3;
        let slope = |x: f32| (clip(x + step) - clip(x)) / step;
        assert!((slope(KNEE) - 1.0).abs() < 0.02, "{}", slope(KNEE));
    }

    #[test]
    fn a_voice_has_one_power_wherever_it_is_placed() {
        for step in -100..=100 {
            let (left, right) = pan(step as f32 / 100.0);
            assert!((left * left + right * right - 1.0).abs() < 1e-6);
            assert!((0.0..=1.0).contains(&left) && left >= -1e-6 && right >= -1e-6);
        }
        let close = |(a, b): (f32, f32), (c, d): (f32, f32)| (a - c).abs() < 1e-6 && (b - d).abs() < 1e-6;
        assert!(close(pan(-1.0), (1.0, 0.0)) && close(pan(1.0), (0.0, 1.0)) && close(pan(-7.0), (1.0, 0.0)));
        assert!(close(pan(0.0), (0.5_f32.sqrt(), 0.5_f32.sqrt())));
    }

    #[test]
    fn a_placed_voice_goes_where_it_is_placed() {
        let mut sum = [0.0; 4];
        add_placed(&mut sum, [1.0, 0.5], 0.25, 0.75);
        assert_eq!(sum, [0.25, 0.75, 0.125, 0.375]);
        add_stereo(&mut sum, &[1.0, 2.0, 0.0, 4.0], 1.0, 0.5);
        assert_eq!(sum, [1.25, 1.75, 0.125, 2.375]);
    }

    #[test]
    fn everybody_hears_all_but_themselves() {
        let voices = [[0.1; 960], [0.2; 960], [0.3; 960]];
        let mut ears = [SILENCE; 3];
        minus_one(&voices, &mut ears);
        for (ear, expected) in ears.iter().zip([0.5, 0.4, 0.3]) {
            assert!(ear.iter().all(|x| (x - expected).abs() < 1e-6), "{} is not {expected}", ear[0]);
        }
    }
}
