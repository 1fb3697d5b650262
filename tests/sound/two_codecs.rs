//! libopus and the codec in Rust side by side: what one encodes both decode alike, and what one makes the other can
//! play, whatever was lost.
//!
//! *Alike* is 100 dB: the difference is below a hundred-thousandth of the sound, and far below what 16 bits can tell.

use std::{fs, path::PathBuf};

use parlor::{
    frame::{OpusPacket, VoiceFrame},
    sound::{Channels, Codec, Decoder, Encoder, Encoding, FrameLength},
};
use rand::{RngExt, SeedableRng, rngs::StdRng};

use crate::{music, snr, speech};

const BOTH: [Codec; 2] = [Codec::Libopus, Codec::Pure];

/// Every recording of speech, in stereo if that is wanted.
fn all_speech(channels: Channels) -> Vec<f32> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("examples/speech");
    let mut names: Vec<String> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.ends_with(".wav"))
        .collect();
    names.sort();
    assert!(names.len() >= 3);
    let speech: Vec<f32> = names.iter().flat_map(|name| speech(name)).collect();
    match channels {
        Channels::Mono => speech,
        Channels::Stereo => (0..speech.len()).flat_map(|i| [speech[i], 0.7 * speech[i.saturating_sub(400)]]).collect(),
    }
}

fn payloads(codec: Codec, encoding: Encoding, sound: &[f32]) -> Vec<Vec<u8>> {
    let mut encoder = Encoder::with_codec(codec, encoding).unwrap();
    let mut out = [0; 2048];
    sound
        .chunks_exact(encoding.samples())
        .map(|frame| {
            let n = encoder.encode(frame, &mut out).unwrap();
            out[..n].to_vec()
        })
        .collect()
}

/// What becomes of a packet on its way.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Fate {
    Heard,
    /// Lost; restored from the next, as far as that goes.
    Restored,
    /// Lost, and concealed.
    Concealed,
    /// A pause: the decoder begins anew with it.
    Reset,
}

/// What is heard by one codec.
fn heard(codec: Codec, channels: Channels, payloads: &[Vec<u8>], fates: &[Fate]) -> Vec<f32> {
    let mut decoder = Decoder::with_codec(codec, channels).unwrap();
    let mut out = vec![0.0; Decoder::MAX_SAMPLES * channels.count()];
    let mut heard = Vec::new();
    let opus = |i: usize| -> OpusPacket<'_> { VoiceFrame::parse(&payloads[i]).unwrap().opus };
    for (i, fate) in fates.iter().enumerate() {
        let len = opus(i).samples() * channels.count();
        match fate {
            Fate::Heard => assert_eq!(decoder.decode(opus(i), &mut out).unwrap() * channels.count(), len),
            Fate::Restored if i + 1 < payloads.len() => decoder.recover(opus(i + 1), &mut out[..len]).unwrap(),
            Fate::Restored | Fate::Concealed => decoder.conceal(&mut out[..len]).unwrap(),
            Fate::Reset => {
                decoder.reset().unwrap();
                decoder.decode(opus(i), &mut out).unwrap();
            }
        }
        heard.extend(&out[..len]);
    }
    heard
}

/// How far both codecs agree on what is heard, in dB.
fn agreement(channels: Channels, payloads: &[Vec<u8>], fates: &[Fate]) -> f64 {
    let [libopus, pure] = BOTH.map(|codec| heard(codec, channels, payloads, fates));
    assert_eq!(libopus.len(), pure.len());
    snr(&libopus, &pure)
}

/// The fates of so many packets: every `every`-th is lost, in bursts of `burst`.
fn losses(count: usize, every: usize, burst: usize, lost: Fate) -> Vec<Fate> {
    (0..count).map(|i| if i % every >= every - burst { lost } else { Fate::Heard }).collect()
}

/// Fates as they come in a bad network, from a seed.
fn dice(count: usize, seed: u64) -> Vec<Fate> {
    let mut rng = StdRng::seed_from_u64(seed);
    let fate = |rng: &mut StdRng| match rng.random_range(0..40) {
        0..=3 => Fate::Restored,
        4..=6 => Fate::Concealed,
        7 => Fate::Reset,
        _ => Fate::Heard,
    };
    (0..count).map(|_| fate(&mut rng)).collect()
}

const NETWORKS: [&str; 6] =
    ["nothing lost", "1 in 8 restored", "1 in 8 concealed", "bursts of 4 restored", "bursts of 4 concealed", "dice"];

/// What each network makes of so many packets.
fn fates(network: &str, count: usize) -> Vec<Fate> {
    match network {
        "nothing lost" => vec![Fate::Heard; count],
        "1 in 8 restored" => losses(count, 8, 1, Fate::Restored),
        "1 in 8 concealed" => losses(count, 8, 1, Fate::Concealed),
        "bursts of 4 restored" => losses(count, 40, 4, Fate::Restored),
        "bursts of 4 concealed" => losses(count, 40, 4, Fate::Concealed),
        _ => dice(count, 7),
    }
}

/// Asserts that both agree by `floor(network, channels heard)` dB at least, whichever has encoded.
fn assert_alike(encoding: Encoding, sound: &[f32], heard_in: &[Channels], floor: impl Fn(&str, Channels) -> f64) {
    for encoder in BOTH {
        let payloads = payloads(encoder, encoding, sound);
        for network in NETWORKS {
            let fates = fates(network, payloads.len());
            for channels in heard_in {
                let channels = *channels;
                let agreement = agreement(channels, &payloads, &fates);
                let what = format!("{agreement:.1} dB: {encoder:?} to {channels:?}, {network}, {encoding:?}");
                println!("{what}");
                assert!(agreement >= floor(network, channels), "{what}");
            }
        }
    }
}

#[test]
fn both_decode_all_speech_alike_whatever_is_lost() {
    assert_alike(Encoding::default(), &all_speech(Channels::Mono), &[Channels::Mono, Channels::Stereo], |_, _| 100.0);
}

#[test]
fn both_decode_speech_of_every_rate_and_length_alike() {
    let voice = Encoding::default();
    let sound = &all_speech(Channels::Mono)[2_300 * 960..2_600 * 960];
    let lengths = FrameLength::ALL.map(|length| voice.frames_of(length).kilobits(32).unwrap());
    let rates = [16, 48, 64].map(|kbit| voice.kilobits(kbit).unwrap());
    let others =
        [voice.frames_of(FrameLength::Ms60), voice.expected_loss(0).unwrap(), voice.variable_size_tells_words()];
    for encoding in lengths.into_iter().chain(rates).chain(others) {
        // Where a copy comes in another mode or bandwidth of Opus than what was heard before, libopus begins its upper
        // band anew and `opus-pure` goes on: 14 dB apart in one packet of thousands, in a band that is hardly heard.
        let exact = |network: &str| network == "nothing lost" || network.contains("concealed");
        assert_alike(encoding, sound, &[Channels::Mono], |network, _| if exact(network) { 100.0 } else { 60.0 });
    }
}

#[test]
fn both_decode_music_alike() {
    let sound = [music(3), all_speech(Channels::Stereo)[..3 * 96_000].to_vec()].concat();
    let (music, fine) = (Encoding::music(), Encoding::music().kilobits(192).unwrap().frames_of(FrameLength::Ms60));
    for encoding in [music, fine, music.kilobits(64).unwrap(), music.variable_size_tells_words()] {
        // What is concealed is guessed from the pitch, which magnifies the last bit of what was heard. To one channel,
        // libopus takes back inversions of phase between the two, which save bits in stereo; `opus-pure` does not.
        assert_alike(encoding, &sound, &[Channels::Mono, Channels::Stereo], |network, channels| {
            match (channels, network) {
                (Channels::Mono, _) => 10.0,
                (Channels::Stereo, "nothing lost") => 100.0,
                (Channels::Stereo, _) => 30.0,
            }
        });
    }
}

#[test]
fn both_make_the_same_of_packets_in_which_a_frame_or_all_hold_nothing() {
    let codec = payloads(
        Codec::Libopus,
        Encoding::default().frames_of(FrameLength::Ms20),
        &all_speech(Channels::Mono)[..96_000],
    );
    let [libopus, pure] = BOTH.map(|it| {
        let mut decoder = Decoder::with_codec(it, Channels::Mono).unwrap();
        let (mut out, mut heard) = ([0.0; Decoder::MAX_SAMPLES], Vec::new());
        for (i, payload) in codec.iter().enumerate() {
            let opus = VoiceFrame::parse(payload).unwrap().opus.bytes();
            let toc = opus[0] & !3;
            // Its own frame of 20 ms, but for each eighth packet: with DTX, nothing, or something and nothing.
            let empty = [&[toc | 3, 0x83, 0, 1, 9][..], &[toc], &[toc, 9], &[toc | 1, 9, 9]];
            let packet = if i % 8 == 7 { empty[i / 8 % 4] } else { opus };
            let samples = decoder.decode(OpusPacket::parse(packet).unwrap(), &mut out).unwrap();
            heard.extend(&out[..samples]);
        }
        heard
    });
    let agreement = snr(&libopus, &pure);
    assert!(agreement >= 100.0, "{agreement:.1} dB");
}
