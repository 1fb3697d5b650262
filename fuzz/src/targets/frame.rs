//! What a speaker's device says inside of SFrame: time, level, and a packet for the codec.

use std::time::Duration;

use parlor::{
    Heard, MemberId,
    frame::{FRAME_HEADER, MAX_OPUS, OpusPacket, VoiceFrame},
    sound::{Channels, Decoder, Ear, EarSettings},
};

use super::input::Input;

/// A frame has one encoding; whatever the codec is given, what comes out is sound.
pub fn frame(data: &[u8]) {
    match VoiceFrame::parse(data) {
        Ok(frame) => {
            let mut out = vec![0; data.len()];
            assert_eq!(frame.write(&mut out).unwrap(), data.len());
            assert_eq!(out, data, "two encodings of {frame:?}");
            assert!(frame.opus.bytes().len() <= MAX_OPUS && frame.level.dbov_below() <= 127);
            assert!(OpusPacket::parse(data).is_err(), "a voice frame that is an Opus packet");
            assert!(frame.write(&mut out[..data.len() - 1]).is_err());
        }
        Err(_) => {
            let opus = data.get(FRAME_HEADER..).map(OpusPacket::parse);
            assert!(!data.starts_with(&[3, 0x38, 0, 0]) || opus.is_none_or(|opus| opus.is_err()));
        }
    }
    if let Ok(packet) = OpusPacket::parse(data) {
        decode(packet);
    }
    hear(data);
}

fn is_sound(samples: &[f32]) -> bool {
    samples.iter().all(|sample| sample.is_finite() && sample.abs() <= 4.0)
}

fn decode(packet: OpusPacket<'_>) {
    for channels in [Channels::Mono, Channels::Stereo] {
        let mut decoder = Decoder::new(channels).unwrap();
        let mut out = vec![0.0; 5760 * channels.count()];
        let _ = decoder.decode(packet, &mut out);
        assert!(is_sound(&out));
        let _ = decoder.recover(packet, &mut out[..960 * channels.count()]);
        assert!(decoder.conceal(&mut out[..960 * channels.count()]).is_ok() && is_sound(&out));
    }
}

/// An ear that is given these frames by two speakers, at times the fuzzer likes.
fn hear(data: &[u8]) {
    let mut ear = Ear::of(MemberId::from_bytes([9; 32]), EarSettings::default());
    let mut input = Input::new(data);
    let mut now = Duration::ZERO;
    let mut out = [0.0; 2_000];
    for _ in 0..64 {
        if input.is_empty() {
            break;
        }
        let what = input.byte();
        now += Duration::from_millis(u64::from(what >> 4) * 5);
        let speaker = MemberId::from_bytes([what & 3; 32]);
        let (epoch, counter, samples) = (u64::from(what >> 2 & 1), u64::from(input.byte()), usize::from(input.byte()));
        let payload = input.run();
        let heard = match what & 8 {
            0 => Heard::unverified(speaker, epoch, counter, payload),
            _ => Heard::verified(speaker, epoch, counter, payload),
        };
        let _ = ear.hear(&heard, now);
        ear.mix(now, &mut out[..samples * 7]);
        assert!(is_sound(&out));
        assert!(ear.accounts().count() <= 4);
    }
}
