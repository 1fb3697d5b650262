//! Many open microphones, a few who talk; and where each of them is heard from.

use std::time::Duration;

use parlor::{
    Heard, MemberId,
    frame::{Level, VoiceFrame},
    sound::{Arrival, Channels, Ear, EarSettings, Encoder, Encoding, FRAME_SAMPLES, SILENCE, Samples},
};
use rand::{RngExt, SeedableRng, rngs::StdRng};

use crate::ms;

fn id(n: u8) -> MemberId {
    MemberId::from_bytes([n; 32])
}

fn tone(tick: usize, amplitude: f32) -> Samples {
    let phase = |k: usize| (tick * FRAME_SAMPLES + k) as f32 * 440.0 * std::f32::consts::TAU / 48_000.0;
    std::array::from_fn(|k| amplitude * phase(k).sin())
}

/// A second of payloads that go round: a tone, or the noise of a room at -65 dBov.
fn talk() -> Vec<[u8; 64]> {
    payloads((0..50).map(|tick| tone(tick, 0.3)))
}

fn room_noise() -> Vec<[u8; 64]> {
    let mut rng = StdRng::seed_from_u64(3);
    payloads((0..50).map(|_| std::array::from_fn(|_| rng.random_range(-0.001..0.001))))
}

fn payloads(sound: impl Iterator<Item = Samples>) -> Vec<[u8; 64]> {
    let mut encoder = Encoder::new(Encoding::default()).unwrap();
    sound
        .map(|samples| {
            let mut payload = [0; 64];
            encoder.encode(&samples, &mut payload).unwrap();
            payload
        })
        .collect()
}

/// At this tick, with the time that belongs to it, and the level that is claimed, if another than measured.
fn at(payloads: &[[u8; 64]], tick: u64, claim: Option<u8>) -> [u8; 64] {
    let frame = VoiceFrame::parse(&payloads[tick as usize % payloads.len()]).unwrap();
    let level = claim.map_or(frame.level, Level::from_dbov);
    let mut out = [0; 64];
    VoiceFrame { time: parlor::frame::MediaTime::from_units(8 * tick), level, ..frame }.write(&mut out).unwrap();
    out
}

fn loud(samples: &[f32]) -> bool {
    Level::of(samples) < Level::from_dbov(25)
}

#[test]
fn of_a_hundred_open_microphones_three_who_talk_are_heard_within_40_ms() {
    let (talk, noise) = (talk(), room_noise());
    let silence = payloads((0..50).map(|_| SILENCE));
    for (name, background) in [("silence", &silence), ("noise", &noise)] {
        let mut ear = Ear::new(EarSettings::default());
        let (mut onset, mut delays) = (None, Vec::new());
        for tick in 0..600_u64 {
            let now = ms(20 * tick);
            // Who talks changes every two seconds: three of the last ten.
            let talkers = [90, 91, 92].map(|first| first + (tick / 100 % 3) * 3);
            let talks = tick % 100 >= 40;
            for who in 0..100_u8 {
                let payloads = if talks && talkers.contains(&who.into()) { &talk } else { background };
                let heard = Heard::unverified(id(who), 0, tick, at(payloads, tick, None));
                assert_eq!(ear.hear(&heard, now).unwrap(), Arrival::Kept);
            }
            let mut out = SILENCE;
            ear.mix(now + ms(7), &mut out);
            if tick % 100 == 40 {
                onset = Some((tick, ear.account(&id(talkers[0] as u8)).unwrap().delay));
            }
            if let Some((began, delay)) = onset.filter(|_| loud(&out)) {
                // What the buffer holds anything back for is no matter of places.
                delays.push((ms(20 * (tick - began)).saturating_sub(delay), tick));
                onset = None;
            }
            if tick % 100 == 99 {
                assert_eq!(ear.talking().filter(|(_, level)| *level < Level::from_dbov(30)).count(), 3, "{name}");
                let decoded = ear.accounts().filter(|(_, account)| account.decoded).count();
                let who: Vec<_> = ear
                    .accounts()
                    .filter(|(_, account)| account.decoded)
                    .map(|(id, account)| (id.as_bytes()[0], account.level.dbov_below()))
                    .collect();
                assert!(decoded <= 6, "{name}: {decoded} are decoded at {tick}: {who:?}");
            }
        }
        println!("{name}: heard after {delays:?} beyond the delay");
        assert_eq!(delays.len(), 6, "{name}: {delays:?}");
        assert!(delays.iter().all(|(delay, _)| *delay <= ms(40)), "{name}: {delays:?}");
        assert!((90..99).all(|who| ear.account(&id(who)).unwrap().faint < 600));
    }
}

#[test]
fn the_33rd_who_talks_is_heard_where_32_are_silent() {
    let (talk, silence) = (talk(), payloads((0..50).map(|_| SILENCE)));
    let mut ear = Ear::new(EarSettings::default());
    let mut heard = 0;
    for tick in 0..500_u64 {
        for who in 0..33_u8 {
            let payloads = if who == 32 && tick >= 100 { &talk } else { &silence };
            let frame = Heard::unverified(id(who), 0, tick, at(payloads, tick, None));
            assert_eq!(ear.hear(&frame, ms(20 * tick)).unwrap(), Arrival::Kept);
        }
        let mut out = SILENCE;
        ear.mix(ms(20 * tick + 7), &mut out);
        heard += usize::from(loud(&out));
    }
    assert!(heard >= 395, "{heard} of 400 frames were heard");
}

#[test]
fn of_more_who_talk_than_there_are_places_the_loudest_are_heard_and_they_keep_their_places() {
    let voices: Vec<Vec<[u8; 64]>> =
        (0..6).map(|n| payloads((0..50).map(|tick| tone(tick, 0.05 * 0.75_f32.powi(n))))).collect();
    let loud = talk();
    let mut ear = Ear::new(EarSettings { voices: 3, ..EarSettings::default() });
    let mut changes = 0;
    let mut before: Vec<bool> = Vec::new();
    for tick in 0..500_u64 {
        for (who, payloads) in (0_u8..).zip(&voices) {
            // From 5 s on the last is 15 dB louder than any other.
            let payloads = if who == 5 && tick >= 250 { &loud } else { payloads };
            ear.hear(&Heard::unverified(id(who), 0, tick, at(payloads, tick, None)), ms(20 * tick)).unwrap();
        }
        ear.mix(ms(20 * tick + 7), &mut SILENCE.clone());
        let decoded: Vec<bool> = (0..6).map(|who| ear.account(&id(who)).unwrap().decoded).collect();
        changes += usize::from(decoded != before);
        before = decoded;
        match tick {
            240 => assert_eq!(before, [true, true, true, false, false, false]),
            270.. => assert_eq!(before, [true, true, false, false, false, true]),
            _ => {}
        }
    }
    assert!(changes <= 5, "places changed hands {changes} times");
}

#[test]
fn who_claims_to_be_loud_and_is_not_loses_the_place_and_is_believed_less() {
    let (talk, noise) = (talk(), room_noise());
    let mut ear = Ear::new(EarSettings { voices: 4, ..EarSettings::default() });
    let mut heard = 0;
    for tick in 0..1_000_u64 {
        // Eight who shout by their own word, and whisper; four who talk and claim to be fainter.
        for who in 0..12_u8 {
            let (payloads, claim) = if who < 8 { (&noise, 0) } else { (&talk, 20) };
            ear.hear(&Heard::unverified(id(who), 0, tick, at(payloads, tick, Some(claim))), ms(20 * tick)).unwrap();
        }
        let mut out = SILENCE;
        ear.mix(ms(20 * tick + 7), &mut out);
        heard += usize::from(loud(&out));
        if tick >= 100 {
            let talking = (8..12).filter(|who| ear.account(&id(*who)).unwrap().decoded).count();
            assert!(talking >= 3, "{talking} of four talkers are decoded at {tick}");
        }
    }
    assert!(heard >= 970, "{heard} of 1,000");
}

#[test]
fn a_speaker_is_heard_from_where_they_are_placed() {
    let talk = talk();
    for (pan, left, right) in
        [(-1.0, 1.0, 0.0), (0.0, 0.5_f32.sqrt(), 0.5_f32.sqrt()), (1.0, 0.0, 1.0), (0.5, 0.3827, 0.9239)]
    {
        let mut stereo = Ear::new(EarSettings { channels: Channels::Stereo, ..EarSettings::default() });
        let mut mono = Ear::new(EarSettings::default());
        stereo.set_pan(id(1), pan).unwrap();
        for tick in 0..100_u64 {
            let heard = Heard::unverified(id(1), 0, tick, at(&talk, tick, None));
            let (mut out, mut plain) = ([0.0; 1920], SILENCE);
            for (ear, out) in [(&mut stereo, &mut out[..]), (&mut mono, &mut plain[..])] {
                ear.hear(&heard, ms(20 * tick)).unwrap();
                ear.mix(ms(20 * tick + 7), out);
            }
            for (pair, plain) in out.as_chunks::<2>().0.iter().zip(plain) {
                assert!(
                    (pair[0] - left * plain).abs() < 1e-3 && (pair[1] - right * plain).abs() < 1e-3,
                    "{pan}, {tick}"
                );
            }
        }
        assert_eq!(stereo.account(&id(1)).unwrap().pan, pan);
    }
    let mut ear = Ear::new(EarSettings::default());
    assert!(ear.set_pan(id(1), 1.1).is_err() && ear.set_pan(id(1), f32::NAN).is_err());
}

#[test]
fn music_keeps_its_two_sides_in_a_mix_of_two_channels() {
    let encoding = Encoding::music();
    let sound = crate::music(2);
    let mut encoder = Encoder::new(encoding).unwrap();
    let payloads: Vec<Vec<u8>> = sound
        .chunks_exact(encoding.samples())
        .map(|samples| {
            let mut payload = vec![0; encoding.payload_len().unwrap()];
            encoder.encode(samples, &mut payload).unwrap();
            payload
        })
        .collect();
    for (channels, count) in [(Channels::Stereo, 2), (Channels::Mono, 1)] {
        let mut ear = Ear::new(EarSettings { channels, ..EarSettings::default() });
        let mut heard = Vec::new();
        for (tick, payload) in (0..).zip(&payloads) {
            ear.hear(&Heard::unverified(id(1), 0, tick, payload), Duration::from_millis(20 * tick)).unwrap();
            let mut out = vec![0.0; 960 * count];
            ear.mix(ms(20 * tick + 7), &mut out);
            heard.extend(out);
        }
        let power = |from: usize| heard.iter().skip(from).step_by(count).map(|x| f64::from(x * x)).sum::<f64>();
        let sides = sound.iter().step_by(2).map(|x| f64::from(x * x)).sum::<f64>();
        assert!(power(0) > 0.2 * sides, "it is heard");
        if channels == Channels::Stereo {
            let between: f64 = heard.as_chunks::<2>().0.iter().map(|[l, r]| f64::from(l * r)).sum();
            let alike = between / (power(0) * power(1)).sqrt();
            assert!(alike.abs() < 0.5, "the sides are alike by {alike}");
        }
        assert_eq!(ear.account(&id(1)).unwrap().undecodable, 0);
    }
}
