//! Encoder and decoder: one size, sound that is the sound, and what a lost frame costs.

use std::collections::BTreeSet;

use parlor::{
    Error,
    frame::{MediaTime, VoiceFrame},
    sound::{Decoder, Encoder, Encoding, SILENCE, Samples},
};
use rand::{RngExt, SeedableRng, rngs::StdRng};

use crate::{frames, snr, speech};

fn payloads(encoding: Encoding, frames: &[Samples]) -> Vec<Vec<u8>> {
    let mut encoder = Encoder::new(encoding).unwrap();
    let mut out = [0; 1400];
    frames
        .iter()
        .map(|frame| {
            let n = encoder.encode(frame, &mut out).unwrap();
            out[..n].to_vec()
        })
        .collect()
}

fn sizes(encoding: Encoding, frames: &[Samples]) -> BTreeSet<usize> {
    payloads(encoding, frames).iter().map(Vec::len).collect()
}

fn noise(seconds: usize) -> Vec<Samples> {
    let mut rng = StdRng::seed_from_u64(1);
    (0..seconds * 50).map(|_| std::array::from_fn(|_| rng.random_range(-1.0..1.0))).collect()
}

/// A muted start, speech, silence amid it, noise, silence, and a click.
fn everything() -> Vec<Samples> {
    let mut all = vec![SILENCE; 50];
    all.extend(frames(&speech("austen-2.wav")));
    all.extend([SILENCE; 25]);
    all.extend(frames(&speech("topal.wav")).into_iter().take(300));
    all.extend(noise(1));
    all.extend([SILENCE; 100]);
    let mut click = SILENCE;
    click[480] = 1.0;
    all.push(click);
    all.extend([[1.0; 960], [-1.0; 960], SILENCE]);
    all
}

#[test]
fn speech_silence_noise_and_a_muted_start_have_one_size_at_every_bit_rate() {
    let sound = everything();
    for kbit in [16, 17, 20, 24, 31, 32, 48, 64] {
        for loss in [0, 10, 40] {
            let encoding = Encoding::default().kilobits(kbit).unwrap().expected_loss(loss).unwrap();
            let size = 4 + (kbit as usize * 5) / 2;
            assert_eq!(encoding.payload_len(), Some(size));
            assert_eq!(sizes(encoding, &sound), BTreeSet::from([size]), "{kbit} kbit/s, {loss} % loss expected");
        }
    }
}

#[test]
fn the_default_is_sixty_bytes_of_opus() {
    assert_eq!(sizes(Encoding::default(), &everything()), BTreeSet::from([64]));
}

#[test]
fn a_variable_size_gives_itself_away() {
    let encoding = Encoding::default().variable_size_tells_words();
    assert_eq!(encoding.payload_len(), None);
    let sizes = sizes(encoding, &everything());
    assert!(sizes.len() > 10, "only {} sizes", sizes.len());
}

#[test]
fn a_change_of_expected_loss_keeps_the_size() {
    let mut encoder = Encoder::new(Encoding::default()).unwrap();
    let mut out = [0; 64];
    for (i, frame) in everything().iter().enumerate() {
        if i % 40 == 0 {
            encoder.expect_loss((i / 40 % 101) as u8).unwrap();
        }
        assert_eq!(encoder.encode(frame, &mut out).unwrap(), 64);
    }
}

#[test]
fn what_cannot_be_encoded_leaves_the_encoder_as_it_was() {
    let mut encoder = Encoder::starting_at(Encoding::default(), MediaTime::from_units(0xff_fffc)).unwrap();
    let mut out = [0; 64];
    let short = encoder.encode(&SILENCE, &mut out[..63]);
    assert!(matches!(short, Err(Error::BufferTooSmall { need: 64, have: 63 })), "{short:?}");
    let mut bad = SILENCE;
    bad[7] = f32::NAN;
    assert!(matches!(encoder.encode(&bad, &mut out), Err(Error::Unusable { .. })));
    assert!(encoder.expect_loss(101).is_err());

    for time in [0xff_fffc, 4, 12] {
        encoder.encode(&SILENCE, &mut out).unwrap();
        assert_eq!(VoiceFrame::parse(&out).unwrap().time.units(), time, "eight units a frame, modulo 2^24");
    }
    assert!(Encoding::default().kilobits(15).is_err());
    assert!(Encoding::default().kilobits(65).is_err());
}

#[test]
fn the_level_rides_with_the_frame() {
    let sine = |amplitude: f32| -> Samples {
        std::array::from_fn(|i| amplitude * (i as f32 * std::f32::consts::TAU / 48.0).sin())
    };
    let levels: Vec<u8> = payloads(Encoding::default(), &[sine(1.0), sine(0.1), SILENCE])
        .iter()
        .map(|payload| VoiceFrame::parse(payload).unwrap().level.dbov_below())
        .collect();
    assert_eq!(levels, [3, 23, 127]);
}

#[test]
fn speech_comes_out_as_it_went_in() {
    for name in ["austen-1.wav", "flora.wav", "topal.wav"] {
        let sound = frames(&speech(name));
        let mut decoder = Decoder::new().unwrap();
        let mut heard = Vec::new();
        for payload in payloads(Encoding::default(), &sound) {
            let mut out = SILENCE;
            decoder.decode(VoiceFrame::parse(&payload).unwrap().opus, &mut out).unwrap();
            heard.extend(out);
        }
        let spoken = sound.concat();
        // The codec looks ahead by some milliseconds; the best of all shifts is the one it has.
        let (shift, best) = (0..1000)
            .step_by(4)
            .map(|shift| (shift, correlation(&spoken[..spoken.len() - shift], &heard[shift..])))
            .max_by(|a, b| a.1.total_cmp(&b.1))
            .unwrap();
        println!("{name}: correlation {best:.4} at a shift of {shift} samples");
        // Opus takes the lowest tones out of a voice and turns their phase, at any bit rate; 64 kbit/s reach 0.845.
        assert!(best > 0.8, "{name}: correlation {best}");
        assert!(shift < 480, "{name}: {shift} samples late");
    }
}

fn correlation(a: &[f32], b: &[f32]) -> f64 {
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(x, y)| f64::from(*x) * f64::from(*y)).sum::<f64>();
    dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
}

/// What is heard of `payloads` if every `every`-th is lost, with in-band FEC or with concealment alone, against
/// what is heard of all of them: the ratio in the frames that were lost, in dB.
fn lossy(payloads: &[Vec<u8>], every: usize, fec: bool) -> f64 {
    let opus = |i: usize| VoiceFrame::parse(&payloads[i]).unwrap().opus;
    let (mut clean, mut lossy) = (Decoder::new().unwrap(), Decoder::new().unwrap());
    let (mut whole, mut restored) = (Vec::new(), Vec::new());
    for i in 0..payloads.len() {
        let (mut a, mut b) = (SILENCE, SILENCE);
        clean.decode(opus(i), &mut a).unwrap();
        let lost = i % every == every / 2;
        match (lost, fec && i + 1 < payloads.len()) {
            (false, _) => lossy.decode(opus(i), &mut b).unwrap(),
            (true, true) => lossy.recover(opus(i + 1), &mut b).unwrap(),
            (true, false) => lossy.conceal(&mut b).unwrap(),
        }
        if lost {
            whole.extend(a);
            restored.extend(b);
        }
    }
    snr(&whole, &restored)
}

#[test]
fn a_lost_frame_is_restored_from_the_next_far_better_than_it_is_guessed() {
    for kbit in [24, 32] {
        let (mut restored, mut guessed) = (0.0, 0.0);
        for name in ["austen-1.wav", "flora.wav", "topal.wav"] {
            let payloads = payloads(Encoding::default().kilobits(kbit).unwrap(), &frames(&speech(name)));
            let (fec, plc) = (lossy(&payloads, 8, true), lossy(&payloads, 8, false));
            println!("{kbit} kbit/s, {name}, 1 in 8 lost: restored {fec:.1} dB, guessed {plc:.1} dB");
            restored += fec / 3.0;
            guessed += plc / 3.0;
        }
        assert!(restored > guessed + 3.0, "{kbit} kbit/s: restored {restored:.1} dB, guessed {guessed:.1} dB");
    }
}

#[test]
fn without_expected_loss_there_is_nothing_to_restore_from() {
    let sound = frames(&speech("austen-1.wav"));
    let payloads = payloads(Encoding::default().expected_loss(0).unwrap(), &sound);
    let (fec, plc) = (lossy(&payloads, 8, true), lossy(&payloads, 8, false));
    assert!((fec - plc).abs() < 3.0, "restored {fec:.1} dB, guessed {plc:.1} dB");
}

#[test]
fn a_packet_that_is_not_twenty_milliseconds_of_opus_is_refused() {
    let mut decoder = Decoder::new().unwrap();
    let mut out = SILENCE;
    // RFC 6716 §3.1: configurations of 10, 40, 60 and 2.5 ms, and 20 ms six times over.
    for bad in [&[0x00, 1, 2][..], &[0x10, 1, 2], &[0x18, 1, 2], &[0xe0, 1], &[0x0b, 6, 0, 0, 0, 0, 0, 0], &[]] {
        assert!(decoder.decode(bad, &mut out).is_err(), "{bad:?}");
        assert!(decoder.recover(bad, &mut out).is_err(), "{bad:?}");
    }
}

#[test]
fn any_bytes_at_all_decode_to_finite_sound_or_an_error() {
    let mut rng = StdRng::seed_from_u64(2);
    let mut decoder = Decoder::new().unwrap();
    let mut decoded = 0;
    for _ in 0..20_000 {
        let len = rng.random_range(1..200);
        let packet: Vec<u8> = (0..len).map(|_| rng.random()).collect();
        let mut out = SILENCE;
        let result =
            if rng.random_ratio(1, 4) { decoder.recover(&packet, &mut out) } else { decoder.decode(&packet, &mut out) };
        decoded += usize::from(result.is_ok());
        assert!(out.iter().all(|x| x.abs() <= 4.0), "{packet:?}");
    }
    assert!(decoded > 100, "only {decoded} decoded: the test reaches nothing");
}
