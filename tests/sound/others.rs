//! Files that others have made, against what ffmpeg makes of them. None are kept here: fetch the test files of some
//! projects into a folder, and name it.
//!
//! `PARLOR_WAVS=folder cargo test --release --test sound files_of_others -- --nocapture`

use std::{
    collections::BTreeMap,
    path::Path,
    process::{Command, Stdio},
};

use parlor::sound::{recording, wav};

use super::tool;

/// What ffmpeg makes of a file.
struct Reference {
    codec: String,
    rate: u32,
    channels: usize,
    /// All channels' samples, moment by moment.
    samples: Vec<f32>,
}

fn reference(path: &Path) -> Option<Reference> {
    let mut probe = Command::new("ffprobe");
    probe.args(["-v", "error", "-select_streams", "a:0", "-of", "csv=p=0"]);
    probe.args(["-show_entries", "stream=codec_name,sample_rate,channels"]).arg(path);
    let text = String::from_utf8(probe.output().ok()?.stdout).ok()?;
    let fields: Vec<&str> = text.lines().next()?.trim().split(',').collect();
    let (codec, rate, channels) = (fields.first()?, fields.get(1)?.parse().ok()?, fields.get(2)?.parse().ok()?);
    let mut decode = Command::new("ffmpeg");
    decode.args(["-nostdin", "-v", "error", "-i"]).arg(path);
    decode.args(["-map", "0:a:0", "-f", "f32le", "-c:a", "pcm_f32le", "-"]).stderr(Stdio::null());
    let bytes = decode.output().ok()?.stdout;
    let samples: Vec<f32> = bytes.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
    (!samples.is_empty() && channels > 0).then(|| Reference { codec: (*codec).to_owned(), rate, channels, samples })
}

impl Reference {
    /// At 48 kHz mono, by the weights of `src/sound/wav/mix.rs`; of more than two channels, several: where they stand
    /// ffprobe says in too many ways.
    fn mono(&self) -> Vec<Vec<f32>> {
        const USUAL: [&[f32]; 6] = [
            &[0.5, 0.5, 0.707],
            &[0.5, 0.5, 0.354, 0.354],
            &[0.5, 0.5, 0.707, 0.354, 0.354],
            &[0.5, 0.5, 0.707, 0.0, 0.354, 0.354],
            &[0.5, 0.5, 0.707, 0.0, 0.354, 0.354, 0.354],
            &[0.5, 0.5, 0.707, 0.0, 0.354, 0.354, 0.354, 0.354],
        ];
        let all = |weight: f32| vec![weight; self.channels];
        let weights = match self.channels {
            1 | 2 => vec![all(1.0 / self.channels as f32)],
            _ => USUAL
                .get(self.channels - 3)
                .map(|usual| usual.to_vec())
                .into_iter()
                .chain([all(0.5), all(0.354)])
                .collect(),
        };
        let peak = |samples: &[f32]| samples.iter().fold(0.0_f32, |peak, x| peak.max(x.abs()));
        let most = peak(&self.samples).max(1.0);
        let mix = |weights: Vec<f32>| {
            let moments = self.samples.chunks_exact(self.channels);
            let mut mono: Vec<f32> = moments.map(|m| m.iter().zip(&weights).map(|(x, w)| x * w).sum()).collect();
            let down = (most / peak(&mono)).min(1.0);
            mono.iter_mut().for_each(|x| *x *= down);
            wav::resample(mono, self.rate).ok()
        };
        weights.into_iter().filter_map(mix).collect()
    }
}

/// Power in dB of full scale; at least -90, for in silence no decibel matters.
fn level(samples: &[f32]) -> f64 {
    let power = samples.iter().map(|x| f64::from(*x) * f64::from(*x)).sum::<f64>() / samples.len().max(1) as f64;
    10.0 * power.max(1e-9).log10()
}

#[test]
fn files_of_others_sound_as_ffmpeg_has_them() {
    let Some(folder) = std::env::var_os("PARLOR_WAVS") else {
        return println!("skipped: PARLOR_WAVS names no folder of files");
    };
    if !tool("ffmpeg") || !tool("ffprobe") {
        return println!("skipped: ffmpeg is not installed");
    }
    let mut paths: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    let mut counts = BTreeMap::<&str, usize>::new();
    let (mut worst, mut rest) = (0.0_f64, Vec::new());
    for path in &paths {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let sound = recording::read(path);
        let Some(reference) = reference(path) else {
            match sound {
                Ok(sound) => {
                    rest.push(format!("ffmpeg does not: {name}: {} samples at {:.1} dB", sound.len(), level(&sound)));
                }
                Err(error) => rest.push(format!("ffmpeg does not: {error}")),
            }
            *counts.entry("ffmpeg does not").or_default() += 1;
            continue;
        };
        let sound = match sound {
            Ok(sound) => sound,
            Err(error) => {
                *counts.entry("named").or_default() += 1;
                rest.push(format!("named: {}: {error}", reference.codec));
                continue;
            }
        };
        // Opus' decoders differ in their noise.
        let least = if reference.codec == "opus" { 10.0 } else { 40.0 };
        // What ffmpeg 5 is no judge of: RIFX it takes for RIFF, integers of 24 bits in 32 for floats.
        if reference.codec == "pcm_f24le" || std::fs::read(path).unwrap().starts_with(b"RIFX") {
            *counts.entry("read, ffmpeg takes it for another").or_default() += 1;
            rest.push(format!("ffmpeg takes it for another: {}: {name}: {:.1} dB", reference.codec, level(&sound)));
            continue;
        }
        let judged = reference.mono().into_iter().map(|mono| {
            let off = (level(&mono) - level(&sound)).abs();
            let difference: Vec<f32> = mono.iter().zip(&sound).map(|(a, b)| a - b).collect();
            let snr = level(&mono) - level(&difference);
            // Valid bits at the lower end, which it leaves there: louder by whole bits, and else the same.
            let bits = (off / 6.0206).round();
            let raised: Vec<f32> = mono.iter().zip(&sound).map(|(a, b)| a * bits.exp2() as f32 - b).collect();
            if bits >= 1.0 && level(&sound) - level(&raised) >= 40.0 {
                return (off, true, 0);
            }
            (off, snr >= least || level(&difference) < -80.0, mono.len().abs_diff(sound.len()))
        });
        let (off, alike, longer) = judged.min_by(|a, b| a.0.total_cmp(&b.0)).unwrap_or((f64::MAX, false, 0));
        if alike && off > 6.0 {
            *counts.entry("read, ffmpeg leaves it quiet").or_default() += 1;
            rest.push(format!("ffmpeg leaves it quiet: {}: {name}: {off:.2} dB", reference.codec));
        } else if off <= 0.2 && alike && longer <= 1 {
            *counts.entry("read").or_default() += 1;
            worst = worst.max(off);
        } else {
            *counts.entry("otherwise").or_default() += 1;
            rest.push(format!(
                "otherwise: {}: {name}: {off:.2} dB, {longer} samples longer or shorter",
                reference.codec
            ));
        }
    }
    rest.sort();
    rest.iter().for_each(|line| println!("{line}"));
    println!("{counts:?}, worst of those read {worst:.3} dB");
    let of = |what| counts.get(what).copied().unwrap_or_default();
    let judged = paths.len() - of("ffmpeg does not") - of("read, ffmpeg takes it for another");
    let theirs = judged - of("read, ffmpeg leaves it quiet");
    assert!(of("read") * 100 >= theirs * 95, "{} of {theirs} were read", of("read"));
}
