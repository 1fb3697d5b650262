//! Sound, through its public interface: sizes, codec, jitter buffer, ear, files.
//!
//! Speech is real (`examples/speech`), networks are simulated from a seed that every failure names.
#![cfg(any(feature = "opus", feature = "opus-pure"))]

mod codec;
mod conditions;
mod ear;
mod jitter;
mod ogg;
mod others;
#[cfg(all(feature = "opus", feature = "opus-pure"))]
mod two_codecs;
mod wav;

use std::{
    f32::consts::TAU,
    path::PathBuf,
    process::{Command, Stdio},
    time::Duration,
};

use parlor::sound::{FRAME_SAMPLES, SILENCE, Samples};

/// The samples of a recording, 48 kHz mono.
fn speech(name: &str) -> Vec<f32> {
    parlor::sound::wav::read(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("examples/speech").join(name)).unwrap()
}

/// Whole frames of 20 ms; the last is filled up with silence.
fn frames(samples: &[f32]) -> Vec<Samples> {
    samples
        .chunks(FRAME_SAMPLES)
        .map(|chunk| {
            let mut frame = SILENCE;
            frame[..chunk.len()].copy_from_slice(chunk);
            frame
        })
        .collect()
}

/// Music in stereo: a tune of plucked strings on each side, which never play the same.
fn music(seconds: usize) -> Vec<f32> {
    let string = |tune: &[f32], i: usize| -> f32 {
        // Four notes a second, each with four overtones that die away.
        let (note, at) = (i / 12_000, (i % 12_000) as f32 / 48_000.0);
        let hertz = tune[note % tune.len()];
        (1..=4).map(|n| (TAU * hertz * n as f32 * at).sin() * (-at * 6.0 * n as f32).exp() / n as f32).sum::<f32>()
            * 0.3
    };
    let (left, right) = ([262.0, 330.0, 392.0, 523.0, 494.0], [1047.0, 880.0, 698.0, 784.0, 587.0, 659.0]);
    (0..seconds * 48_000).flat_map(|i| [string(&left, i), string(&right, i + 6_000)]).collect()
}

const fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

/// The signal over the difference, in dB.
fn snr(signal: &[f32], other: &[f32]) -> f64 {
    let energy = |pairs: &mut dyn Iterator<Item = f32>| pairs.map(|x| f64::from(x) * f64::from(x)).sum::<f64>();
    let noise = energy(&mut signal.iter().zip(other).map(|(a, b)| a - b));
    10.0 * (energy(&mut signal.iter().copied()) / noise.max(1e-12)).log10()
}

/// Whether a program is installed.
fn tool(name: &str) -> bool {
    Command::new(name).arg("-h").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok()
}
