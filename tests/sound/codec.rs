//! Encoder and decoder, over every codec of the build: one size, sound that is the sound, any legal packet, and what a
//! lost frame costs.

use std::{collections::BTreeSet, time::Duration};

use parlor::{
    Error,
    frame::{Level, MediaTime, OpusPacket, VoiceFrame},
    sound::{Channels, Codec, Decoder, Encoder, Encoding, FrameLength, SILENCE, Samples},
};
use rand::{RngExt, SeedableRng, rngs::StdRng};

use crate::{frames, ms, music, snr, speech};

/// The samples in whole frames of an encoding, of which the last is filled up with silence. A second channel is another
/// part of the same sound.
fn in_frames_of(encoding: Encoding, sound: &[f32]) -> Vec<Vec<f32>> {
    let samples = encoding.frame_length().samples();
    let at = |i: usize| sound.get(i).copied().unwrap_or(0.0);
    (0..sound.len().div_ceil(samples))
        .map(|frame| {
            let places = frame * samples..(frame + 1) * samples;
            match encoding.channels() {
                Channels::Mono => places.map(at).collect(),
                Channels::Stereo => places.flat_map(|i| [at(i), 0.6 * at(i.wrapping_sub(700))]).collect(),
            }
        })
        .collect()
}

fn payloads(codec: Codec, encoding: Encoding, sound: &[f32]) -> Vec<Vec<u8>> {
    let mut encoder = Encoder::with_codec(codec, encoding).unwrap();
    let mut out = [0; 2048];
    in_frames_of(encoding, sound)
        .iter()
        .map(|frame| {
            let n = encoder.encode(frame, &mut out).unwrap();
            out[..n].to_vec()
        })
        .collect()
}

fn sizes(codec: Codec, encoding: Encoding, sound: &[f32]) -> BTreeSet<usize> {
    payloads(codec, encoding, sound).iter().map(Vec::len).collect()
}

fn noise(seconds: usize) -> Vec<f32> {
    let mut rng = StdRng::seed_from_u64(1);
    (0..seconds * 48_000).map(|_| rng.random_range(-1.0..1.0)).collect()
}

/// A muted start, speech, silence amid it, noise, silence, and a click.
fn everything() -> Vec<f32> {
    let mut all = vec![SILENCE; 50];
    all.extend(frames(&speech("austen-2.wav")));
    all.extend([SILENCE; 25]);
    all.extend(frames(&speech("topal.wav")).into_iter().take(300));
    all.extend(frames(&noise(1)));
    all.extend([SILENCE; 100]);
    let mut click = SILENCE;
    click[480] = 1.0;
    all.push(click);
    all.extend([[1.0; 960], [-1.0; 960], SILENCE]);
    all.concat()
}

/// A second or two of each of what `everything` has.
fn of_each() -> Vec<f32> {
    let speech = speech("flora.wav");
    let pieces =
        [&[0.0; 24_000][..], &speech[..72_000], &[0.0; 24_000], &noise(1), &[0.0; 9_600], &[1.0; 960], &[0.0; 960]];
    pieces.concat()
}

#[test]
fn speech_silence_noise_and_a_muted_start_have_one_size_at_every_bit_rate() {
    let sound = everything();
    for codec in Codec::ALL {
        for kbit in [16, 17, 20, 24, 31, 32, 48, 64] {
            for loss in [0, 10, 40] {
                let encoding = Encoding::default().kilobits(kbit).unwrap().expected_loss(loss).unwrap();
                let size = 4 + (kbit as usize * 5) / 2;
                assert_eq!(encoding.payload_len(), Some(size));
                let sizes = sizes(*codec, encoding, &sound);
                assert_eq!(sizes, BTreeSet::from([size]), "{codec:?}, {kbit} kbit/s, {loss} % loss expected");
            }
        }
    }
}

#[test]
fn frames_of_every_length_have_one_size_in_speech_and_music() {
    let sound = of_each();
    let (voice, music) = (Encoding::default(), Encoding::music());
    let rates = [16, 21, 24, 64].map(|kbit| voice.kilobits(kbit).unwrap());
    let rates = rates.into_iter().chain([64, 99, 128, 192].map(|kbit| music.kilobits(kbit).unwrap()));
    let all = rates.flat_map(|rate| FrameLength::ALL.map(|length| rate.frames_of(length)));
    for encoding in all.flat_map(|rate| [0, 25].map(|loss| rate.expected_loss(loss).unwrap())) {
        let size = encoding.payload_len().unwrap();
        assert!(size <= parlor::media::MAX_FRAME);
        for codec in Codec::ALL {
            assert_eq!(sizes(*codec, encoding, &sound), BTreeSet::from([size]), "{codec:?}, {encoding:?}");
        }
    }
}

#[test]
fn payloads_are_as_long_as_the_bit_rate_says() {
    let voice = Encoding::default();
    for (encoding, size) in [
        (voice, 64),
        (voice.frames_of(FrameLength::Ms10), 34),
        (voice.frames_of(FrameLength::Ms60), 184),
        (Encoding::music(), 324),
        (Encoding::music().kilobits(192).unwrap().frames_of(FrameLength::Ms60), 1444),
    ] {
        assert_eq!(encoding.payload_len(), Some(size));
        for codec in Codec::ALL {
            assert_eq!(sizes(*codec, encoding, &of_each()), BTreeSet::from([size]), "{codec:?}, {encoding:?}");
        }
    }
}

#[test]
fn a_variable_size_gives_itself_away() {
    for codec in Codec::ALL {
        for encoding in [Encoding::default(), Encoding::music()] {
            let encoding = encoding.variable_size_tells_words();
            assert_eq!(encoding.payload_len(), None);
            let sizes = sizes(*codec, encoding, &everything());
            assert!(sizes.len() > 10, "{codec:?}: only {} sizes", sizes.len());
        }
    }
}

#[test]
fn a_change_of_expected_loss_keeps_the_size() {
    for codec in Codec::ALL {
        let mut encoder = Encoder::with_codec(*codec, Encoding::default()).unwrap();
        let mut out = [0; 64];
        for (i, frame) in in_frames_of(Encoding::default(), &everything()).iter().enumerate() {
            if i % 40 == 0 {
                encoder.expect_loss((i / 40 % 101) as u8).unwrap();
            }
            assert_eq!(encoder.encode(frame, &mut out).unwrap(), 64);
        }
    }
}

#[test]
fn what_cannot_be_encoded_leaves_the_encoder_as_it_was() {
    let mut encoder = Encoder::starting_at(Encoding::default(), MediaTime::from_units(0xf_fffc)).unwrap();
    let mut out = [0; 64];
    let short = encoder.encode(&SILENCE, &mut out[..63]);
    assert!(matches!(short, Err(Error::BufferTooSmall { need: 64, have: 63 })), "{short:?}");
    let mut bad = SILENCE;
    bad[7] = f32::NAN;
    assert!(matches!(encoder.encode(&bad, &mut out), Err(Error::Unusable { .. })));
    for samples in [0, 480, 959, 961, 1920] {
        let error = encoder.encode(&vec![0.0; samples], &mut out).unwrap_err().to_string();
        assert!(error.contains("exactly 960"), "{error}");
    }
    assert!(encoder.expect_loss(101).is_err());
    assert_eq!(encoder.encoding(), Encoding::default());

    for time in [0xf_fffc, 4, 12] {
        encoder.encode(&SILENCE, &mut out).unwrap();
        assert_eq!(VoiceFrame::parse(&out).unwrap().time.units(), time, "eight units a frame, modulo 2^20");
    }
    assert!(Encoding::default().kilobits(15).is_err());
    assert!(Encoding::default().kilobits(65).is_err());
    assert!(Encoding::music().kilobits(63).is_err());
    assert!(Encoding::music().kilobits(193).is_err());
}

#[test]
fn each_encoding_says_how_many_samples_it_wants() {
    for (encoding, count) in [
        (Encoding::default(), ["480", "960", "1,920", "2,880"]),
        (Encoding::music(), ["960", "1,920", "3,840", "5,760"]),
    ] {
        for (length, count) in FrameLength::ALL.into_iter().zip(count) {
            let encoding = encoding.frames_of(length);
            let mut encoder = Encoder::new(encoding).unwrap();
            assert_eq!(encoding.samples().to_string(), count.replace(',', ""));
            let error = encoder.encode(&[], &mut [0; 2048]).unwrap_err().to_string();
            assert!(error.contains(&format!("exactly {count}, {} ms", length.duration().as_millis())), "{error}");
        }
    }
}

#[test]
fn media_time_goes_by_the_length_of_the_frame_and_by_what_is_skipped() {
    for (length, units) in FrameLength::ALL.into_iter().zip([4, 8, 16, 24]) {
        let mut encoder = Encoder::new(Encoding::default().frames_of(length)).unwrap();
        encoder.encode_silence(&mut [0; 2048]).unwrap();
        assert_eq!(encoder.time().units(), units);
        encoder.skip(length.duration());
        assert_eq!(encoder.time().units(), 2 * units);
        // Half a millisecond is nearer to nothing, two to a unit.
        encoder.skip(Duration::from_micros(500));
        encoder.skip(ms(2));
        assert_eq!(encoder.time().units(), 2 * units + 1);
        // 2^20 units are once round.
        encoder.skip(MediaTime::UNIT * (1 << 20));
        assert_eq!(encoder.time().units(), 2 * units + 1);
    }
}

#[test]
fn the_level_rides_with_the_frame() {
    let sine = |amplitude: f32| -> Samples {
        std::array::from_fn(|i| amplitude * (i as f32 * std::f32::consts::TAU / 48.0).sin())
    };
    let levels: Vec<u8> = payloads(Codec::default(), Encoding::default(), &[sine(1.0), sine(0.1), SILENCE].concat())
        .iter()
        .map(|payload| VoiceFrame::parse(payload).unwrap().level.dbov_below())
        .collect();
    assert_eq!(levels, [3, 23, 127]);

    // Both channels count: one of two at full scale is half of the power.
    let mut encoder = Encoder::new(Encoding::music()).unwrap();
    let mut payload = [0; 324];
    let left: Vec<f32> = sine(1.0).iter().flat_map(|&x| [x, 0.0]).collect();
    encoder.encode(&left, &mut payload).unwrap();
    assert_eq!(VoiceFrame::parse(&payload).unwrap().level, Level::from_dbov(6));
}

/// All that is heard of payloads, none of them lost.
fn heard(codec: Codec, channels: Channels, payloads: &[Vec<u8>]) -> Vec<f32> {
    let mut decoder = Decoder::with_codec(codec, channels).unwrap();
    let mut out = vec![0.0; Decoder::MAX_SAMPLES * channels.count()];
    let mut heard = Vec::new();
    for payload in payloads {
        let samples = decoder.decode(VoiceFrame::parse(payload).unwrap().opus, &mut out).unwrap();
        heard.extend(&out[..samples * channels.count()]);
    }
    heard
}

/// The best correlation of `heard` with `spoken` over all delays below 20 ms, and the delay in samples.
fn best_shift(spoken: &[f32], heard: &[f32]) -> (usize, f64) {
    (0..1000)
        .step_by(4)
        .map(|shift| (shift, correlation(&spoken[..heard.len().min(spoken.len()) - shift], &heard[shift..])))
        .max_by(|a, b| a.1.total_cmp(&b.1))
        .unwrap()
}

#[test]
fn speech_comes_out_as_it_went_in() {
    for codec in Codec::ALL {
        for name in ["austen-1.wav", "flora.wav", "topal.wav"] {
            let spoken = speech(name);
            let heard = heard(*codec, Channels::Mono, &payloads(*codec, Encoding::default(), &spoken));
            // The codec looks ahead by some milliseconds; the best of all shifts is the one it has.
            let (shift, best) = best_shift(&spoken, &heard);
            println!("{codec:?}, {name}: correlation {best:.4} at a shift of {shift} samples");
            // Opus takes the lowest tones out of a voice and turns their phase, at any bit rate; 64 kbit/s reach 0.845.
            assert!(best > 0.8, "{codec:?}, {name}: correlation {best}");
            assert!(shift < 480, "{codec:?}, {name}: {shift} samples late");
        }
    }
}

#[test]
fn frames_of_every_length_are_heard_at_their_length_and_copies_starve_none() {
    let spoken = &speech("flora.wav")[..144_000];
    for codec in Codec::ALL {
        for length in FrameLength::ALL {
            for (kbit, loss) in [(16, 10), (20, 25), (24, 0), (24, 10), (28, 10), (32, 25), (64, 100)] {
                let encoding = Encoding::default().kilobits(kbit).unwrap().expected_loss(loss).unwrap();
                let payloads = payloads(*codec, encoding.frames_of(length), spoken);
                let heard = heard(*codec, Channels::Mono, &payloads);
                assert_eq!(heard.len(), payloads.len() * length.samples());
                let (_, best) = best_shift(spoken, &heard);
                assert!(best > 0.88, "{codec:?}, {length:?}, {kbit} kbit/s, {loss} %: correlation {best}");
            }
        }
    }
}

#[test]
fn music_comes_out_in_stereo_far_closer_than_speech_does() {
    let played = music(4);
    let side = |samples: &[f32], at: usize| -> Vec<f32> { samples.iter().skip(at).step_by(2).copied().collect() };
    for codec in Codec::ALL {
        for length in FrameLength::ALL {
            for kbit in [64, 128, 192] {
                let encoding = Encoding::music().kilobits(kbit).unwrap().frames_of(length);
                let mut encoder = Encoder::with_codec(*codec, encoding).unwrap();
                let mut out = [0; 1444];
                let payloads: Vec<Vec<u8>> = played
                    .chunks_exact(encoding.samples())
                    .map(|frame| {
                        let n = encoder.encode(frame, &mut out).unwrap();
                        out[..n].to_vec()
                    })
                    .collect();
                assert!(VoiceFrame::parse(&payloads[0]).unwrap().opus.is_stereo());
                let heard = heard(*codec, Channels::Stereo, &payloads);
                for at in [0, 1] {
                    let (_, best) = best_shift(&side(&played, at), &side(&heard, at));
                    assert!(best > 0.98, "{codec:?}, {kbit} kbit/s, {length:?}: correlation {best}");
                }
                let mixed = correlation(&side(&heard, 0), &side(&heard, 1));
                assert!(mixed < 0.5, "{codec:?}: the two channels are {mixed} alike");
            }
        }
    }
}

fn correlation(a: &[f32], b: &[f32]) -> f64 {
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(x, y)| f64::from(*x) * f64::from(*y)).sum::<f64>();
    dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
}

/// What is heard of `payloads` if every `every`-th is lost, with in-band FEC or with concealment alone, against
/// what is heard of all of them: the ratio in the frames that were lost, in dB.
fn lossy(codec: Codec, length: FrameLength, payloads: &[Vec<u8>], every: usize, fec: bool) -> f64 {
    let opus = |i: usize| VoiceFrame::parse(&payloads[i]).unwrap().opus;
    let decoder = || Decoder::with_codec(codec, Channels::Mono).unwrap();
    let (mut clean, mut lossy) = (decoder(), decoder());
    let (mut whole, mut restored) = (Vec::new(), Vec::new());
    let (mut a, mut b) = (vec![0.0; length.samples()], vec![0.0; length.samples()]);
    for i in 0..payloads.len() {
        clean.decode(opus(i), &mut a).unwrap();
        let lost = i % every == every / 2;
        match (lost, fec && i + 1 < payloads.len()) {
            (false, _) => assert!(lossy.decode(opus(i), &mut b).is_ok()),
            (true, true) => lossy.recover(opus(i + 1), &mut b).unwrap(),
            (true, false) => lossy.conceal(&mut b).unwrap(),
        }
        if lost {
            whole.extend(&a);
            restored.extend(&b);
        }
    }
    snr(&whole, &restored)
}

#[test]
fn a_lost_frame_is_restored_from_the_next_far_better_than_it_is_guessed() {
    for codec in Codec::ALL {
        for (kbit, length) in [(24, FrameLength::Ms20), (32, FrameLength::Ms20), (48, FrameLength::Ms40)] {
            let (mut restored, mut guessed) = (0.0, 0.0);
            for name in ["austen-1.wav", "flora.wav", "topal.wav"] {
                let encoding = Encoding::default().kilobits(kbit).unwrap().frames_of(length);
                let payloads = payloads(*codec, encoding, &speech(name));
                let (fec, plc) =
                    (lossy(*codec, length, &payloads, 8, true), lossy(*codec, length, &payloads, 8, false));
                println!(
                    "{codec:?}, {kbit} kbit/s, {length:?}, {name}, 1 in 8 lost: restored {fec:.1} dB, guessed {plc:.1} dB"
                );
                restored += fec / 3.0;
                guessed += plc / 3.0;
            }
            let what = format!("{codec:?}, {kbit} kbit/s, {length:?}");
            // Of a long frame that is two or three within Opus, the packet after it holds a copy of the last alone.
            let gain = if length == FrameLength::Ms20 { 3.0 } else { 1.0 };
            assert!(restored > guessed + gain, "{what}: restored {restored:.1} dB, guessed {guessed:.1} dB");
        }
    }
}

#[test]
fn without_expected_loss_there_is_nothing_to_restore_from() {
    for codec in Codec::ALL {
        let encoding = Encoding::default().expected_loss(0).unwrap();
        let payloads = payloads(*codec, encoding, &speech("austen-1.wav"));
        let [fec, plc] = [true, false].map(|fec| lossy(*codec, FrameLength::Ms20, &payloads, 8, fec));
        assert!((fec - plc).abs() < 3.0, "{codec:?}: restored {fec:.1} dB, guessed {plc:.1} dB");
    }
}

#[test]
fn a_gap_of_many_frames_is_filled_whole_and_its_end_restored() {
    for codec in Codec::ALL {
        let payloads = payloads(*codec, Encoding::default(), &speech("flora.wav"));
        let opus = |i: usize| VoiceFrame::parse(&payloads[i]).unwrap().opus;
        let mut better = 0;
        let gaps = (60..payloads.len() - 6).step_by(25);
        let count = gaps.len();
        for gap in gaps {
            let decoder = || {
                let mut decoder = Decoder::with_codec(*codec, Channels::Mono).unwrap();
                let mut out = SILENCE;
                (gap - 50..gap).for_each(|i| assert!(decoder.decode(opus(i), &mut out).is_ok()));
                decoder
            };
            let (mut clean, mut restored, mut guessed) = (decoder(), decoder(), decoder());
            let (mut a, mut b, mut c) = (SILENCE, [9.0; 5 * 960], [9.0; 5 * 960]);
            (gap..gap + 5).for_each(|i| assert!(clean.decode(opus(i), &mut a).is_ok()));
            restored.recover(opus(gap + 5), &mut b).unwrap();
            guessed.conceal(&mut c).unwrap();
            assert!(b.iter().chain(&c).all(|x| x.abs() <= 4.0), "some of the gap was not filled");
            better += usize::from(snr(&a, &b[4 * 960..]) > snr(&a, &c[4 * 960..]));
        }
        assert!(better * 4 > count * 3, "{codec:?}: {better} of {count} ends were better for the copy");
    }
}

/// A packet of each of the 32 configurations, in each framing, mono and stereo.
fn every_framing() -> impl Iterator<Item = Vec<u8>> {
    let mut rng = StdRng::seed_from_u64(3);
    (0..=255_u8).flat_map(move |toc| {
        let mut noise = |bytes: usize| -> Vec<u8> { (0..bytes).map(|_| rng.random()).collect() };
        match toc & 3 {
            0 => vec![[vec![toc], noise(40)].concat()],
            1 => vec![[vec![toc], noise(60)].concat()],
            2 => vec![[vec![toc, 20], noise(61)].concat()],
            // As many frames as 120 ms have, all of one length, then each of another; padded.
            _ => {
                let each = OpusPacket::parse(&[toc & !3]).unwrap().samples();
                let frames = 5760 / each;
                let lengths: Vec<u8> = (1..frames).map(|i| 10 + i as u8 % 7).collect();
                let sum: usize = lengths.iter().map(|&len| usize::from(len)).sum();
                vec![
                    [vec![toc, frames as u8], noise(frames * 12)].concat(),
                    [vec![toc, frames as u8 | 0xc0, 5], lengths, noise(sum + 9), vec![0; 5]].concat(),
                ]
            }
        }
    })
}

#[test]
fn any_legal_packet_is_decoded_at_its_length_and_what_was_lost_before_it_is_filled() {
    let mut lengths = BTreeSet::new();
    for codec in Codec::ALL {
        for channels in [Channels::Mono, Channels::Stereo] {
            let mut decoder = Decoder::with_codec(*codec, channels).unwrap();
            let mut out = vec![0.0; Decoder::MAX_SAMPLES * channels.count()];
            for bytes in every_framing() {
                let packet = OpusPacket::parse(&bytes).unwrap();
                lengths.insert(packet.samples());
                out.fill(9.0);
                assert_eq!(decoder.decode(packet, &mut out).unwrap(), packet.samples(), "{codec:?}: {bytes:?}");
                let (sound, rest) = out.split_at(packet.samples() * channels.count());
                assert!(sound.iter().all(|x| x.abs() <= 4.0));
                assert!(rest.iter().all(|&x| x == 9.0), "{codec:?} wrote more than it says");
                // 7.5 ms, which no frame is long, and 20.
                for gap in [360, 960] {
                    let gap = &mut out[..gap * channels.count()];
                    gap.fill(9.0);
                    decoder.recover(packet, gap).unwrap();
                    assert!(gap.iter().all(|x| x.abs() <= 4.0), "{codec:?}: {bytes:?}");
                }
            }
        }
    }
    assert_eq!(lengths, [120, 240, 480, 960, 1920, 2880, 3840, 5760].into());
}

#[test]
fn a_sender_with_dtx_is_heard_as_its_silence() {
    for codec in Codec::ALL {
        let mut decoder = Decoder::with_codec(*codec, Channels::Mono).unwrap();
        let payloads = payloads(*codec, Encoding::default(), &speech("austen-1.wav"));
        let mut out = [0.0; Decoder::MAX_SAMPLES];
        for payload in &payloads[..60] {
            decoder.decode(VoiceFrame::parse(payload).unwrap().opus, &mut out).unwrap();
        }
        // One byte tells its length, 10 to 60 ms and twice that; none takes the length of what it is to fill.
        for (toc, samples) in [(0x40, 480), (0x48, 960), (0x50, 1920), (0x58, 2880), (0x59, 5760)] {
            out.fill(9.0);
            assert_eq!(decoder.decode(OpusPacket::parse(&[toc]).unwrap(), &mut out).unwrap(), samples);
            assert!(out[..samples].iter().all(|x| x.abs() <= 1.0), "{codec:?}, {toc:#x}");
            decoder.recover(OpusPacket::parse(&[toc]).unwrap(), &mut out[..samples]).unwrap();
        }
        assert_eq!(decoder.decode(OpusPacket::NOTHING, &mut out[..480]).unwrap(), 480);
        decoder.recover(OpusPacket::NOTHING, &mut out[..480]).unwrap();
        // Half a second on it has faded to next to nothing.
        assert_eq!(decoder.decode(OpusPacket::NOTHING, &mut out).unwrap(), 5760);
        assert!(Level::of(&out) > Level::from_dbov(45), "{codec:?}: {:?}", Level::of(&out));
    }
}

#[test]
fn a_packet_of_two_channels_is_heard_on_one_and_of_one_on_two() {
    let played = music(2);
    for codec in Codec::ALL {
        let mut encoder = Encoder::with_codec(*codec, Encoding::music()).unwrap();
        let [mut one, mut two] = [Channels::Mono, Channels::Stereo].map(|it| Decoder::with_codec(*codec, it).unwrap());
        let (mut mono, mut stereo, mut payload) = (SILENCE, [0.0; 1920], [0; 324]);
        for frame in played.chunks_exact(1920) {
            encoder.encode(frame, &mut payload).unwrap();
            let packet = VoiceFrame::parse(&payload).unwrap().opus;
            assert_eq!(one.decode(packet, &mut mono).unwrap(), 960);
            assert_eq!(two.decode(packet, &mut stereo).unwrap(), 960);
        }
        let mean: Vec<f32> = stereo.as_chunks().0.iter().map(|[left, right]| (left + right) / 2.0).collect();
        assert!(snr(&mean, &mono) > 40.0, "{codec:?}: {}", snr(&mean, &mono));

        let mut encoder = Encoder::with_codec(*codec, Encoding::default()).unwrap();
        for frame in frames(&speech("austen-1.wav")).iter().take(60) {
            encoder.encode(frame, &mut payload).unwrap();
            let packet = VoiceFrame::parse(&payload[..64]).unwrap().opus;
            assert_eq!(two.decode(packet, &mut stereo).unwrap(), 960);
        }
        // The right channel still carries the end of the music for a moment, then both are the voice.
        let (left, right): (Vec<f32>, Vec<f32>) =
            stereo.as_chunks().0.iter().map(|[left, right]| (left, right)).unzip();
        assert!(snr(&left, &right) > 40.0, "{codec:?}: {}", snr(&left, &right));
    }
}

#[test]
fn what_cannot_be_filled_is_refused_and_leaves_the_decoder_as_it_was() {
    for codec in Codec::ALL {
        let payloads = payloads(*codec, Encoding::default(), &speech("austen-1.wav")[..48_000]);
        let [mut one, mut two] = [(); 2].map(|()| Decoder::with_codec(*codec, Channels::Mono).unwrap());
        for payload in &payloads {
            let packet = VoiceFrame::parse(payload).unwrap().opus;
            let (mut a, mut b) = (SILENCE, SILENCE);
            let short = one.decode(packet, &mut a[..959]);
            assert!(matches!(short, Err(Error::BufferTooSmall { need: 960, have: 959 })), "{short:?}");
            for odd in [1, 119, 121, 959] {
                assert!(one.recover(packet, &mut a[..odd]).is_err());
                assert!(one.conceal(&mut a[..odd]).is_err());
                assert!(one.decode(OpusPacket::NOTHING, &mut a[..odd]).is_err());
            }
            one.conceal(&mut []).unwrap();
            one.recover(packet, &mut []).unwrap();
            one.decode(packet, &mut a).unwrap();
            two.decode(packet, &mut b).unwrap();
            assert_eq!(a, b, "{codec:?}");
        }
    }
}

#[test]
fn a_decoder_that_was_reset_is_as_one_that_has_heard_nothing() {
    for codec in Codec::ALL {
        let payloads = payloads(*codec, Encoding::default(), &speech("austen-1.wav")[..96_000]);
        let (first, second) = payloads.split_at(50);
        let mut decoder = Decoder::with_codec(*codec, Channels::Mono).unwrap();
        let mut out = SILENCE;
        for payload in first {
            decoder.decode(VoiceFrame::parse(payload).unwrap().opus, &mut out).unwrap();
        }
        decoder.reset().unwrap();
        let mut afresh = Vec::new();
        for payload in second {
            decoder.decode(VoiceFrame::parse(payload).unwrap().opus, &mut out).unwrap();
            afresh.extend(out);
        }
        assert_eq!(afresh, heard(*codec, Channels::Mono, second), "{codec:?}");
    }
}

#[test]
fn any_bytes_at_all_decode_to_finite_sound_or_an_error() {
    for codec in Codec::ALL {
        for channels in [Channels::Mono, Channels::Stereo] {
            let mut rng = StdRng::seed_from_u64(2);
            let mut decoder = Decoder::with_codec(*codec, channels).unwrap();
            let mut out = vec![0.0; Decoder::MAX_SAMPLES * channels.count()];
            let (mut packets, mut decoded) = (0, 0);
            for _ in 0..5_000 {
                let len = rng.random_range(0..200);
                let bytes: Vec<u8> = (0..len).map(|_| rng.random()).collect();
                let Ok(packet) = OpusPacket::parse(&bytes) else { continue };
                packets += 1;
                let gap = 120 * rng.random_range(0..20) * channels.count();
                let result = match rng.random_range(0..8) {
                    0 | 1 => decoder.recover(packet, &mut out[..gap]).map(|()| 0),
                    2 => decoder.conceal(&mut out[..gap]).map(|()| 0),
                    3 => decoder.reset().map(|()| 0),
                    _ => decoder.decode(packet, &mut out),
                };
                decoded += usize::from(result.is_ok_and(|samples| samples > 0));
                assert!(out.iter().all(|x| x.abs() <= 4.0), "{codec:?}: {packet:?}");
            }
            assert!(decoded > 1_000, "{codec:?}: only {decoded} of {packets} decoded: the test reaches nothing");
        }
    }
}
