//! Sound, through its public interface: sizes, codec, jitter buffer, ear, files.
//!
//! Speech is real (`examples/speech`), networks are simulated from a seed that every failure names.
#![cfg(feature = "opus")]

mod codec;
mod ear;
mod jitter;
mod ogg;
mod others;
mod wav;

use std::{
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
