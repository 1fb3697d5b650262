//! What a speaker's device says inside of SFrame: time, level, and a packet for the codec.

use std::time::Duration;

use parlor::{
    MemberId,
    frame::{FRAME_HEADER, MAX_OPUS, VoiceFrame},
    sound::{Decoder, Ear, EarSettings, SILENCE, Samples},
};

use super::input::Input;

/// A frame has one encoding; whatever the codec is given, what comes out is sound.
pub fn frame(data: &[u8]) {
    match VoiceFrame::parse(data) {
        Ok(frame) => {
            let mut out = vec![0; data.len()];
            assert_eq!(frame.write(&mut out).unwrap(), data.len());
            assert_eq!(out, data, "two encodings of {frame:?}");
            assert!((1..=MAX_OPUS).contains(&frame.opus.len()) && frame.level.dbov_below() <= 127);
            assert!(frame.write(&mut out[..data.len() - 1]).is_err());
            decode(frame.opus);
        }
        Err(_) => assert!(data.len() <= FRAME_HEADER || data.len() > FRAME_HEADER + MAX_OPUS || data[0] > 127),
    }
    hear(data);
}

fn is_sound(samples: &Samples) -> bool {
    samples.iter().all(|sample| sample.is_finite())
}

fn decode(opus: &[u8]) {
    let mut decoder = Decoder::new().unwrap();
    let mut out: Samples = SILENCE;
    let _ = decoder.decode(opus, &mut out);
    let _ = decoder.recover(opus, &mut out);
    assert!(decoder.conceal(&mut out).is_ok() && is_sound(&out));
}

/// An ear that is given these frames by two speakers, at times the fuzzer likes.
fn hear(data: &[u8]) {
    let mut ear = Ear::of(MemberId::from_bytes([9; 32]), EarSettings::default());
    let mut input = Input::new(data);
    let mut now = Duration::ZERO;
    let mut out: Samples = SILENCE;
    for _ in 0..64 {
        if input.is_empty() {
            break;
        }
        let what = input.byte();
        now += Duration::from_millis(u64::from(what >> 4) * 5);
        let speaker = MemberId::from_bytes([what & 3; 32]);
        let payload = input.run();
        let _ = ear.hear(speaker, payload, now);
        ear.mix(now, &mut out);
        assert!(is_sound(&out));
        assert!(ear.accounts().count() <= 4);
    }
}
