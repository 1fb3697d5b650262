//! WAV files: any common one comes back at the right pitch and length, any other gets a reason.

use std::{f32::consts::TAU, io::Cursor};

use hound::{SampleFormat, WavSpec, WavWriter};
use parlor::{Error, sound::wav};
use rand::{RngExt, SeedableRng, rngs::StdRng};

/// A WAV file of `seconds` of a sine of `hertz` at half of full scale, in every channel.
fn tone(rate: u32, channels: u16, bits: u16, format: SampleFormat, hertz: f32, seconds: f32) -> Vec<u8> {
    let mut bytes = Vec::new();
    let spec = WavSpec { channels, sample_rate: rate, bits_per_sample: bits, sample_format: format };
    let mut writer = WavWriter::new(Cursor::new(&mut bytes), spec).unwrap();
    for i in 0..(rate as f32 * seconds) as u32 {
        let x = 0.5 * (TAU * hertz * i as f32 / rate as f32).sin();
        for _ in 0..channels {
            match format {
                SampleFormat::Float => writer.write_sample(x).unwrap(),
                SampleFormat::Int => {
                    writer.write_sample((f64::from(x) * f64::from(bits - 1).exp2()) as i32).unwrap();
                }
            }
        }
    }
    writer.finalize().unwrap();
    bytes
}

/// The least SNR in dB against the same tone made at 48 kHz, its edges left out.
fn fidelity(samples: &[f32], hertz: f32) -> f64 {
    let ideal: Vec<f32> = (0..samples.len()).map(|i| 0.5 * (TAU * hertz * i as f32 / 48_000.0).sin()).collect();
    let inner = 2400..samples.len() - 2400;
    crate::snr(&ideal[inner.clone()], &samples[inner])
}

#[test]
fn a_tone_comes_back_at_its_pitch_and_length_from_every_rate() {
    for rate in [8_000, 11_025, 16_000, 22_050, 32_000, 44_100, 48_000, 88_200, 96_000, 176_400, 192_000] {
        let samples = wav::from_bytes(&tone(rate, 1, 16, SampleFormat::Int, 1000.0, 1.0)).unwrap();
        assert_eq!(samples.len(), 48_000, "{rate} Hz");
        let snr = fidelity(&samples, 1000.0);
        // In phase and of the same size: a delay of a single sample would leave 17 dB.
        assert!(snr > 60.0, "{rate} Hz: {snr:.1} dB");
    }
}

#[test]
fn the_length_of_any_file_is_its_time() {
    for rate in [8_000, 11_025, 22_050, 44_100, 96_000] {
        for len in [1_u64, 7, 100, 1023, 1024, 1025, 4410, 30_001] {
            let out = wav::resample(vec![0.25; len as usize], rate).unwrap();
            assert_eq!(out.len() as u64, (len * 48_000).div_ceil(rate.into()), "{len} samples at {rate} Hz");
        }
    }
}

#[test]
fn every_depth_and_number_of_channels_is_read() {
    use SampleFormat::{Float, Int};
    for (bits, format, least) in [(8, Int, 30.0), (16, Int, 80.0), (24, Int, 90.0), (32, Int, 90.0), (32, Float, 90.0)]
    {
        for channels in [1, 2, 6] {
            let samples = wav::from_bytes(&tone(48_000, channels, bits, format, 440.0, 0.5)).unwrap();
            assert_eq!(samples.len(), 24_000);
            let snr = fidelity(&samples, 440.0);
            assert!(snr > least, "{bits} bits, {channels} channels: {snr:.1} dB");
        }
    }
}

#[test]
fn channels_are_mixed_down_by_their_mean() {
    let mut bytes = Vec::new();
    let spec = WavSpec { channels: 2, sample_rate: 48_000, bits_per_sample: 16, sample_format: SampleFormat::Int };
    let mut writer = WavWriter::new(Cursor::new(&mut bytes), spec).unwrap();
    for sample in [16_384, 0, 16_384, -16_384] {
        writer.write_sample(sample).unwrap();
    }
    writer.finalize().unwrap();
    assert_eq!(wav::from_bytes(&bytes).unwrap(), [0.25, 0.0]);
}

#[test]
fn what_is_written_is_read_again() {
    let samples: Vec<f32> = (-100..=100).map(|i| i as f32 / 100.0).chain([2.0, -2.0, f32::NAN]).collect();
    let path = std::env::temp_dir().join(format!("parlor-sound-{}.wav", std::process::id()));
    wav::write(&path, &samples).unwrap();
    let again = wav::read(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    assert_eq!(again.len(), samples.len());
    for (a, b) in samples.iter().zip(&again) {
        let expected = if a.is_nan() { 0.0 } else { a.clamp(-1.0, 1.0) };
        assert!((expected - b).abs() <= 1.0 / 32_768.0, "{a} came back as {b}");
    }
}

#[test]
fn a_bad_file_is_named_with_what_is_wrong() {
    let dir = std::env::temp_dir().join(format!("parlor-bad-wavs-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    let good = tone(48_000, 1, 16, SampleFormat::Int, 440.0, 0.1);
    let changed = |at: usize, bytes: &[u8]| {
        let mut file = good.clone();
        file[at..at + bytes.len()].copy_from_slice(bytes);
        file
    };
    let empty = tone(48_000, 1, 16, SampleFormat::Int, 440.0, 0.0);
    let nan = tone(48_000, 1, 32, SampleFormat::Float, 440.0, 0.01);
    let at = nan.len() - 4;
    // Finite, and too large to be added up or filtered.
    let huge = [&nan[..at], &f32::MAX.to_le_bytes()].concat();
    let nan = [&nan[..at], &f32::NAN.to_le_bytes()].concat();
    for (name, bytes, says) in [
        ("nothing.wav", vec![], "cut short, or no WAV"),
        ("text.wav", b"this is a shopping list, not sound".to_vec(), "no WAV file"),
        ("header.wav", good[..30].to_vec(), "cut short"),
        ("short.wav", good[..good.len() - 1000].to_vec(), "cut short"),
        ("silent.wav", empty, "no sound"),
        ("huge.wav", changed(40, &0xffff_fffe_u32.to_le_bytes()), "more sound than is read"),
        ("slow.wav", changed(24, &[0x40, 0x1f - 1, 0, 0]), "inconsistent"),
        ("nan.wav", nan, "no number"),
        ("loud.wav", huge, "a million times full scale"),
        ("mp3.wav", changed(20, &[0x55, 0]), "not read"),
    ] {
        let path = dir.join(name);
        std::fs::write(&path, &bytes).unwrap();
        let error = wav::read(&path).unwrap_err();
        let text = error.to_string();
        assert!(matches!(error, Error::File { .. }) && text.contains(name) && text.contains(says), "{text}");
        assert!(matches!(wav::from_bytes(&bytes), Err(Error::Malformed { .. })), "{name}");
    }
    let text = wav::read(dir.join("missing.wav")).unwrap_err().to_string();
    assert!(text.contains("missing.wav") && text.contains("No such file"), "{text}");
    assert!(wav::read(&dir).unwrap_err().to_string().contains("parlor-bad-wavs"));
    std::fs::remove_dir_all(&dir).unwrap();

    for rate in [7_999, 192_001, 0] {
        assert!(wav::resample(vec![0.0; 100], rate).is_err());
    }
}

#[test]
fn a_damaged_header_is_an_error_or_a_sound_but_never_a_panic() {
    let mut rng = StdRng::seed_from_u64(3);
    let good =
        [tone(8_000, 2, 24, SampleFormat::Int, 440.0, 0.01), tone(48_000, 1, 16, SampleFormat::Int, 440.0, 0.01)];
    for i in 0..20_000 {
        let mut file = good[i % 2].clone();
        for _ in 0..rng.random_range(1..5) {
            let at = rng.random_range(0..68);
            file[at] = if rng.random() { rng.random() } else { [0, 1, 0x7f, 0xff][rng.random_range(0..4)] };
        }
        file.truncate(rng.random_range(file.len() / 2..=file.len()));
        if let Ok(samples) = wav::from_bytes(&file) {
            assert!(samples.iter().all(|x| x.is_finite()));
        }
    }
}
