//! WAV files: any common one comes back at the right pitch, length and loudness, any other gets a reason.

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
    for rate in [1_000, 8_000, 11_025, 22_050, 44_100, 96_000, 176_400] {
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
            let mut samples = wav::from_bytes(&tone(48_000, channels, bits, format, 440.0, 0.5)).unwrap();
            assert_eq!(samples.len(), 24_000);
            if channels == 6 {
                // The same from everywhere is louder than from the front, and turned down to full scale.
                assert!((samples.iter().fold(0.0_f32, |peak, x| peak.max(x.abs())) - 1.0).abs() < 1e-5);
                samples.iter_mut().for_each(|x| *x *= 0.5);
            }
            let snr = fidelity(&samples, 440.0);
            assert!(snr > least, "{bits} bits, {channels} channels: {snr:.1} dB");
        }
    }
}

#[test]
fn two_channels_are_mixed_down_by_their_mean() {
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

/// A chunk, padded to an even length.
fn chunk(id: &[u8; 4], body: &[u8]) -> Vec<u8> {
    let mut out = [&id[..], &(body.len() as u32).to_le_bytes(), body].concat();
    if body.len() % 2 == 1 {
        out.push(0);
    }
    out
}

fn riff(chunks: &[Vec<u8>]) -> Vec<u8> {
    let body = [&b"WAVE"[..], &chunks.concat()].concat();
    [&b"RIFF"[..], &(body.len() as u32).to_le_bytes(), &body].concat()
}

/// A `fmt ` chunk of one channel, with what comes after its first 16 bytes.
fn format(tag: u16, rate: u32, bits: u16, block: u16, extra: &[u8]) -> Vec<u8> {
    let shorts = |fields: &[u16]| fields.iter().flat_map(|field| field.to_le_bytes()).collect::<Vec<_>>();
    let longs = [rate.to_le_bytes(), (rate * u32::from(block)).to_le_bytes()].concat();
    chunk(b"fmt ", &[shorts(&[tag, 1]), longs, shorts(&[block, bits]), extra.to_vec()].concat())
}

/// The rest of a WAVEFORMATEXTENSIBLE.
fn extension(valid: u16, positions: u32, tag: u16) -> Vec<u8> {
    let guid = [0, 0, 0, 0, 16, 0, 128, 0, 0, 170, 0, 56, 155, 113];
    [&22_u16.to_le_bytes()[..], &valid.to_le_bytes(), &positions.to_le_bytes(), &tag.to_le_bytes(), &guid].concat()
}

/// A tone of half of full scale.
fn wave(n: usize) -> Vec<f64> {
    (0..n).map(|i| 0.5 * (std::f64::consts::TAU * 440.0 * i as f64 / 48_000.0).sin()).collect()
}

fn pcm16(n: usize) -> Vec<u8> {
    wave(n).iter().flat_map(|x| ((x * 32_767.0).round() as i16).to_le_bytes()).collect()
}

/// Asserts that a file holds the first `n` samples of [`wave`].
#[track_caller]
fn holds(file: &[u8], n: usize) {
    let sound = wav::from_bytes(file).unwrap();
    let off = sound.iter().zip(wave(n)).map(|(a, b)| (f64::from(*a) - b).abs()).fold(0.0, f64::max);
    assert!(sound.len() == n && off < 0.02, "{} samples for {n}, {off:.3} off at the worst", sound.len());
}

/// A good file, the chunks before its sound as given.
fn with_chunks(before: &[Vec<u8>]) -> Vec<u8> {
    riff(&[&[format(1, 48_000, 16, 2, &[])], before, &[chunk(b"data", &pcm16(4_800))]].concat())
}

#[test]
fn a_file_that_ffmpeg_wrote_into_a_pipe_is_read_to_its_end() {
    let mut file = with_chunks(&[chunk(b"LIST", b"INFOISFT\x0e\0\0\0Lavf59.27.100\0")]);
    for at in [4, 74] {
        file[at..at + 4].copy_from_slice(&u32::MAX.to_le_bytes());
    }
    holds(&file, 4_800);
}

#[test]
fn a_file_whose_recorder_was_killed_is_read_as_far_as_it_goes() {
    let good = with_chunks(&[]);
    holds(&good[..good.len() - 1_001], 4_299);
    // Before it wrote how long the sound is.
    for length in [0, 1 << 31, u32::MAX - 1] {
        let mut file = good.clone();
        file[40..44].copy_from_slice(&u32::to_le_bytes(length));
        holds(&file, 4_800);
    }
}

#[test]
fn no_sound_and_a_chunk_behind_it_is_no_sound() {
    let file = riff(&[format(1, 48_000, 16, 2, &[]), chunk(b"data", &[]), chunk(b"LIST", b"INFOISFT\x04\0\0\0abcd")]);
    assert!(wav::from_bytes(&file).unwrap_err().to_string().contains("no sound"));
}

#[test]
fn chunks_of_odd_length_are_left_out_whether_they_are_padded_or_not() {
    let odd = chunk(b"LIST", b"INFOINAM\x03\0\0\0abc");
    holds(&with_chunks(std::slice::from_ref(&odd)), 4_800);
    holds(&with_chunks(&[odd[..odd.len() - 1].to_vec()]), 4_800);
    // Padded with something that could begin a name.
    holds(&with_chunks(&[[&odd[..odd.len() - 1], b"x"].concat()]), 4_800);
}

#[test]
fn valid_bits_count_by_the_container_that_they_are_the_upper_ones_of() {
    let upper: Vec<u8> =
        wave(4_800).iter().flat_map(|x| (((x * 8_388_607.0).round() as i32) << 8).to_le_bytes()).collect();
    let lower: Vec<u8> = wave(4_800).iter().flat_map(|x| ((x * 8_388_607.0).round() as i32).to_le_bytes()).collect();
    let extensible = format(0xfffe, 48_000, 32, 4, &extension(24, 4, 1));
    let plain = format(1, 48_000, 24, 4, &[]);
    for format in [&extensible, &plain] {
        holds(&riff(&[format.clone(), chunk(b"data", &upper)]), 4_800);
        // Where some writers put them all the same: no sample needs more than 24 bits, and some use the low 8.
        holds(&riff(&[format.clone(), chunk(b"data", &lower)]), 4_800);
    }
    let twelve: Vec<u8> =
        wave(4_800).iter().flat_map(|x| (((x * 2_047.0).round() as i16) << 4).to_le_bytes()).collect();
    holds(&riff(&[format(1, 48_000, 12, 2, &[]), chunk(b"data", &twelve)]), 4_800);
}

#[test]
fn what_is_not_known_of_a_format_is_left_out() {
    let floats: Vec<u8> = wave(4_800).iter().flat_map(|x| (*x as f32).to_le_bytes()).collect();
    for extra in [&[][..], &[0; 2], &[0; 4], &[0; 24], &[7; 100]] {
        holds(&riff(&[format(3, 48_000, 32, 4, extra), chunk(b"data", &floats)]), 4_800);
        holds(&riff(&[format(1, 48_000, 16, 2, extra), chunk(b"data", &pcm16(4_800))]), 4_800);
    }
    let long = [extension(32, 4, 3), vec![9; 10]].concat();
    holds(&riff(&[format(0xfffe, 48_000, 32, 4, &long), chunk(b"data", &floats)]), 4_800);
}

#[test]
fn integers_and_floats_of_64_bits_a_law_and_mu_law_are_read() {
    let doubles: Vec<u8> = wave(4_800).iter().flat_map(|x| x.to_le_bytes()).collect();
    holds(&riff(&[format(3, 48_000, 64, 8, &[]), chunk(b"data", &doubles)]), 4_800);
    let integers: Vec<u8> = wave(4_800).iter().flat_map(|x| ((x * 9.2e18) as i64).to_le_bytes()).collect();
    holds(&riff(&[format(1, 48_000, 64, 8, &[]), chunk(b"data", &integers)]), 4_800);
    // Each sample as the code that comes nearest.
    for (tag, decode) in [(6, a_law as fn(u8) -> f64), (7, mu_law)] {
        let nearest =
            |x: f64| (0..=255).min_by(|a, b| (decode(*a) - x).abs().total_cmp(&(decode(*b) - x).abs())).unwrap();
        let codes: Vec<u8> = wave(4_800).into_iter().map(nearest).collect();
        holds(&riff(&[format(tag, 48_000, 8, 1, &[]), chunk(b"data", &codes)]), 4_800);
        holds(&riff(&[format(0xfffe, 48_000, 8, 1, &extension(8, 4, tag)), chunk(b"data", &codes)]), 4_800);
    }
}

/// G.711 as its tables tell it: eight segments, each of twice the step of the one below it.
fn a_law(code: u8) -> f64 {
    let code = code ^ 0x55;
    let (segment, step) = (i32::from(code >> 4 & 7), f64::from(code & 15) + 0.5);
    let size = if segment == 0 { step * 2.0 } else { (step + 16.0) * f64::from(segment).exp2() };
    size / 4_096.0 * if code & 0x80 == 0 { -1.0 } else { 1.0 }
}

fn mu_law(code: u8) -> f64 {
    let (segment, step) = (f64::from(!code >> 4 & 7), f64::from(!code & 15));
    ((2.0 * step + 33.0) * segment.exp2() - 33.0) / 8_192.0 * if code & 0x80 == 0 { -1.0 } else { 1.0 }
}

#[test]
fn the_three_other_containers_of_wav_are_read() {
    let good = with_chunks(&[]);
    // RF64 and BW64: the lengths are 64 bits of a chunk of their own.
    for magic in [b"RF64", b"BW64"] {
        let long = [0_u64, 9_600, 4_800].iter().flat_map(|field| field.to_le_bytes()).chain([0; 4]).collect::<Vec<_>>();
        let mut file = riff(&[chunk(b"ds64", &long), good[12..].to_vec(), b"chunks behind the sound".to_vec()]);
        file[..8].copy_from_slice(&[&magic[..], &[255; 4]].concat());
        let at = file.windows(4).position(|id| id == b"data").unwrap() + 4;
        file[at..at + 4].copy_from_slice(&[255; 4]);
        holds(&file, 4_800);
    }
    // RIFX: every number the other way round.
    let mut file = good;
    file[3] = b'X';
    let header = [(4, 4), (16, 4), (20, 2), (22, 2), (24, 4), (28, 4), (32, 2), (34, 2), (40, 4)];
    for (at, len) in header.into_iter().chain((44..44 + 9_600).step_by(2).map(|at| (at, 2))) {
        file[at..at + len].reverse();
    }
    holds(&file, 4_800);
}

#[test]
fn an_hour_is_counted_at_48_khz_whatever_the_rate_of_the_file() {
    for (rate, minutes) in [(8_000, 61), (1_000, 61)] {
        let file = riff(&[format(1, rate, 8, 1, &[]), chunk(b"data", &vec![128; rate as usize * minutes * 60])]);
        let text = wav::from_bytes(&file).unwrap_err().to_string();
        assert!(text.contains("longer than an hour"), "{text}");
    }
    // A minute at 192 kHz is a minute.
    let minute = riff(&[format(1, 192_000, 8, 1, &[]), chunk(b"data", &vec![128; 192_000 * 60])]);
    assert_eq!(wav::from_bytes(&minute).unwrap().len(), 48_000 * 60);
}

#[test]
fn a_voice_in_the_centre_of_surround_sound_stays_loud() {
    let mut bytes = Vec::new();
    let spec = WavSpec { channels: 6, sample_rate: 48_000, bits_per_sample: 16, sample_format: SampleFormat::Int };
    let mut writer = WavWriter::new(Cursor::new(&mut bytes), spec).unwrap();
    for x in wave(4_800) {
        for channel in 0..6 {
            writer.write_sample(if channel == 2 { (x * 32_767.0) as i16 } else { 0 }).unwrap();
        }
    }
    writer.finalize().unwrap();
    let power = |samples: &[f32]| samples.iter().map(|x| x * x).sum::<f32>();
    let ideal: Vec<f32> = wave(4_800).iter().map(|x| *x as f32).collect();
    let down = 10.0 * (power(&ideal) / power(&wav::from_bytes(&bytes).unwrap())).log10();
    assert!((down - 3.0).abs() < 0.1, "{down:.1} dB down");
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
    let ambisonic = format(
        0xfffe,
        48_000,
        16,
        2,
        &[&extension(16, 0, 1)[..12], &[33, 7, 211, 17, 134, 68, 200, 193, 202, 0, 0, 0]].concat(),
    );
    for (name, bytes, says) in [
        ("nothing.wav", vec![], "it is empty"),
        ("text.wav", b"this is a shopping list, not sound".to_vec(), "no WAV file"),
        ("head.wav", good[..9].to_vec(), "cut short"),
        ("header.wav", good[..30].to_vec(), "cut short"),
        ("silent.wav", empty, "no sound"),
        ("slow.wav", changed(24, &[0xe7, 0x03, 0, 0]), "outside of 1 to 192 kHz"),
        ("many.wav", changed(22, &[9, 0]), "more than 8 channels"),
        ("none.wav", changed(22, &[0, 0]), "no channels"),
        ("nan.wav", nan, "no number"),
        ("loud.wav", huge, "a million times full scale"),
        ("mp3-in.wav", changed(20, &[0x55, 0]), "an MP3 in a WAV"),
        ("ima.wav", changed(20, &[0x11, 0]), "IMA ADPCM"),
        ("unknown.wav", changed(20, &[0x34, 0x12]), "a kind of sound that is not read"),
        ("wide.wav", changed(34, &[80, 0]), "more than 64 bits"),
        ("half.wav", changed(20, &[3, 0]), "neither 32 nor 64 bits"),
        ("ambisonic.wav", riff(&[ambisonic, chunk(b"data", &[0; 8])]), "Ambisonic"),
        ("backwards.wav", riff(&[chunk(b"data", &[1; 8]), format(1, 48_000, 16, 2, &[])]), "before its format"),
        ("mp3.wav", b"ID3\x04\0\0\0\0\0\0\0\0".to_vec(), "an MP3 file"),
        ("frames.wav", b"\xff\xfb\x90\x64\0\0\0\0\0\0\0\0".to_vec(), "an MP3 file"),
        ("flac.wav", b"fLaC\0\0\0\x22\x10\0\x10\0".to_vec(), "a FLAC file"),
        ("aiff.wav", b"FORM\0\0\0\0AIFFCOMM".to_vec(), "an AIFF file"),
        ("m4a.wav", b"\0\0\0\x20ftypM4A ".to_vec(), "an MP4 or M4A file"),
        ("film.wav", b"RIFF\0\0\0\0AVI LIST".to_vec(), "an AVI film"),
        ("vorbis.wav", b"OggS\0\x02\0\0\0\0\0\0".to_vec(), "an Ogg file"),
    ] {
        let path = dir.join(name);
        std::fs::write(&path, &bytes).unwrap();
        let error = wav::read(&path).unwrap_err();
        let text = error.to_string();
        assert!(matches!(error, Error::File { .. }) && text.contains(name) && text.contains(says), "{text}");
        assert!(text.contains("save the recording as a 16-bit PCM WAV"), "{text}");
        assert!(matches!(wav::from_bytes(&bytes), Err(Error::Malformed { .. })), "{name}");
    }
    let text = wav::read(dir.join("missing.wav")).unwrap_err().to_string();
    assert!(text.contains("missing.wav") && text.contains("No such file"), "{text}");
    assert!(wav::read(&dir).unwrap_err().to_string().contains("parlor-bad-wavs"));
    std::fs::remove_dir_all(&dir).unwrap();

    for rate in [999, 192_001, 0] {
        assert!(wav::resample(vec![0.0; 100], rate).is_err());
    }
}

#[test]
fn a_damaged_header_is_an_error_or_a_sound_but_never_a_panic() {
    let mut rng = StdRng::seed_from_u64(3);
    let odd = chunk(b"LIST", b"INFOINAM\x03\0\0\0abc");
    let good = [
        tone(8_000, 2, 24, SampleFormat::Int, 440.0, 0.01),
        tone(48_000, 1, 16, SampleFormat::Int, 440.0, 0.01),
        with_chunks(&[odd])[..400].to_vec(),
        riff(&[format(0xfffe, 11_025, 32, 4, &extension(24, 4, 1)), chunk(b"data", &pcm16(200))]),
    ];
    for i in 0..20_000 {
        let mut file = good[i % good.len()].clone();
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
