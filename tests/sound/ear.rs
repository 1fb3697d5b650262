//! The listener's whole path: frames of several speakers in, one sound out.

use std::time::Duration;

use parlor::{
    Error, Fate, Heard, MemberId,
    frame::{Level, MediaTime, OpusPacket, VoiceFrame},
    sound::{Arrival, Counters, Delay, Ear, EarSettings, Encoder, Encoding, SILENCE, Samples},
};
use rand::{RngExt, SeedableRng, rngs::StdRng};

use crate::{frames, ms, snr, speech};

const ANA: MemberId = MemberId::from_bytes([1; 32]);
const BEN: MemberId = MemberId::from_bytes([2; 32]);

fn settings() -> EarSettings {
    EarSettings { delay: Delay::fixed(ms(60)).unwrap(), ..EarSettings::default() }
}

fn payloads(sound: &[Samples]) -> Vec<Vec<u8>> {
    let mut encoder = Encoder::new(Encoding::default()).unwrap();
    let mut out = [0; 64];
    sound
        .iter()
        .map(|frame| {
            encoder.encode(frame, &mut out).unwrap();
            out.to_vec()
        })
        .collect()
}

/// What `ear` hears if frame i of each speaker arrives at i × 20 ms, and 20 frames of silence after the last.
fn hear(ear: &mut Ear, voices: &[(MemberId, &[Vec<u8>])]) -> Vec<f32> {
    let len = voices.iter().map(|(_, payloads)| payloads.len()).max().unwrap_or(0);
    let mut heard = Vec::new();
    for i in 0..len + 20 {
        let now = ms(20 * i as u64);
        for (speaker, payloads) in voices {
            // An empty payload stands for a lost one.
            if let Some(payload) = payloads.get(i).filter(|payload| !payload.is_empty()) {
                ear.hear(&Heard::unverified(*speaker, 0, i as u64, payload), now).unwrap();
            }
        }
        let mut out = SILENCE;
        ear.mix(now, &mut out);
        heard.extend(out);
    }
    heard
}

fn voice(name: &str) -> Vec<Vec<u8>> {
    payloads(&frames(&speech(name)))
}

fn lose(payloads: &[Vec<u8>], lost: impl Fn(usize) -> bool) -> Vec<Vec<u8>> {
    payloads.iter().enumerate().map(|(i, payload)| if lost(i) { Vec::new() } else { payload.clone() }).collect()
}

fn loudest(samples: &[f32]) -> f32 {
    samples.iter().fold(0.0, |loudest, x| loudest.max(x.abs()))
}

#[test]
fn a_mix_is_the_sum_of_its_voices() {
    let (ana, ben) = (voice("austen-1.wav"), voice("flora.wav"));
    let half = |ear: &mut Ear| {
        ear.set_gain(ANA, 0.3).unwrap();
        ear.set_gain(BEN, 0.3).unwrap();
    };
    let mut ears = [Ear::new(settings()), Ear::new(settings()), Ear::new(settings())];
    ears.iter_mut().for_each(half);
    let [both, one, other] = &mut ears;
    let both = hear(both, &[(ANA, &ana), (BEN, &ben)]);
    let one = hear(one, &[(ANA, &ana)]);
    let other = hear(other, &[(BEN, &ben)]);
    assert!(loudest(&both) > 0.05 && loudest(&both) < 0.7, "{}", loudest(&both));
    for (i, both) in both.iter().enumerate() {
        let sum = one.get(i).unwrap_or(&0.0) + other.get(i).unwrap_or(&0.0);
        assert!((both - sum).abs() < 1e-6, "sample {i}: {both} for {sum}");
    }
}

#[test]
fn nobody_hears_themselves() {
    let (ana, ben) = (voice("austen-2.wav"), voice("austen-5.wav"));
    let mut ear = Ear::of(ANA, settings());
    assert_eq!(ear.hear(&Heard::unverified(ANA, 0, 0, &ana[0]), ms(0)).unwrap(), Arrival::Own);
    let heard = hear(&mut ear, &[(ANA, &ana), (BEN, &ben)]);
    let alone = hear(&mut Ear::new(settings()), &[(BEN, &ben)]);
    assert_eq!(heard, alone);
    assert!(ear.account(&ANA).is_none());
}

#[test]
fn a_gain_makes_a_voice_louder_and_a_mute_silences_it() {
    let ana = voice("austen-2.wav");
    let plain = hear(&mut Ear::new(settings()), &[(ANA, &ana)]);
    let mut ear = Ear::new(settings());
    ear.set_gain(ANA, 0.5).unwrap();
    let half = hear(&mut ear, &[(ANA, &ana)]);
    assert!(loudest(&plain) < 0.7 && loudest(&plain) > 0.1, "{}", loudest(&plain));
    assert!(plain.iter().zip(&half).all(|(plain, half)| (plain * 0.5 - half).abs() < 1e-6));

    let mut ear = Ear::new(settings());
    ear.set_muted(ANA, true).unwrap();
    assert_eq!(loudest(&hear(&mut ear, &[(ANA, &ana)])), 0.0);
    assert_eq!(ear.account(&ANA).unwrap().counters.played, ana.len() as u64, "a muted voice runs on");
    for gain in [-0.1, 4.1, f32::NAN] {
        assert!(matches!(ear.set_gain(ANA, gain), Err(Error::Unusable { .. })));
    }
}

#[test]
fn however_many_shout_the_mix_stays_within_full_scale() {
    let mut rng = StdRng::seed_from_u64(4);
    let noise: Vec<Samples> = (0..50).map(|_| std::array::from_fn(|_| rng.random_range(-1.0..1.0))).collect();
    let noise = payloads(&noise);
    let mut ear = Ear::new(settings());
    let voices: Vec<(MemberId, &[Vec<u8>])> = (0..20).map(|i| (MemberId::from_bytes([i; 32]), &noise[..])).collect();
    for (speaker, _) in &voices {
        ear.set_gain(*speaker, 4.0).unwrap();
    }
    let heard = hear(&mut ear, &voices);
    assert!(loudest(&heard) <= 1.0 && loudest(&heard) > 0.95, "{}", loudest(&heard));
}

#[test]
fn losses_are_restored_and_the_account_says_so() {
    let whole = voice("flora.wav");
    let lossy = lose(&whole, |i| i % 8 == 4);
    let mut ear = Ear::new(settings());
    let heard = hear(&mut ear, &[(ANA, &lossy)]);
    let account = ear.account(&ANA).unwrap();
    let lost = lossy.iter().filter(|payload| payload.is_empty()).count() as u64;
    assert_eq!(account.counters.recovered, lost);
    assert_eq!((account.counters.played, account.counters.concealed), (whole.len() as u64 - lost, ms(0)));
    assert_eq!(account.undecodable, 0);

    let clean = hear(&mut Ear::new(settings()), &[(ANA, &whole)]);
    let restored = snr(&clean, &heard);
    // The same losses two at a time, where half can only be guessed.
    let pairs = lose(&whole, |i| i % 16 == 4 || i % 16 == 5);
    let guessed = snr(&clean, &hear(&mut Ear::new(settings()), &[(ANA, &pairs)]));
    println!("one in eight lost: {restored:.1} dB single, {guessed:.1} dB in pairs");
    assert!(restored > 12.0 && restored > guessed + 3.0, "{restored:.1} {guessed:.1}");
}

#[test]
fn a_voice_that_breaks_off_fades_within_200_ms_and_comes_back_smoothly() {
    let whole = voice("flora.wav");
    let broken = lose(&whole, |i| (200..300).contains(&i));
    let mut ear = Ear::new(settings());
    let heard = hear(&mut ear, &[(ANA, &broken)]);
    let clean = hear(&mut Ear::new(settings()), &[(ANA, &whole)]);
    // 60 ms of delay: frame n is heard 3 frames later.
    let at = |frame: usize| (frame + 3) * 960;
    assert_eq!(heard[..at(200)], clean[..at(200)]);
    assert!(loudest(&heard[at(200)..at(203)]) > 0.0, "it is filled in at first");
    assert_eq!(loudest(&heard[at(210)..at(300)]), 0.0, "and then silent");
    let back = snr(&clean[at(310)..at(900)], &heard[at(310)..at(900)]);
    assert!(back > 10.0, "{back:.1} dB after it came back");
    let jump = heard.windows(2).map(|pair| (pair[1] - pair[0]).abs()).fold(0.0, f32::max);
    let natural = clean.windows(2).map(|pair| (pair[1] - pair[0]).abs()).fold(0.0, f32::max);
    assert!(jump <= natural * 1.5, "a step of {jump}, where speech itself has {natural}");
}

#[test]
fn a_storm_is_heard_as_speech() {
    let mut rng = StdRng::seed_from_u64(5);
    let whole = voice("topal.wav");
    let mut wire: Vec<(Duration, usize)> = (0..whole.len())
        .filter(|i| i / 2 % 20 != 7)
        .map(|i| (ms(20 * i as u64 + rng.random_range(20..=120)), i))
        .collect();
    wire.sort();
    let mut ear = Ear::new(EarSettings::default());
    let mut wire = wire.into_iter().peekable();
    let (mut energy, mut silent) = (0.0_f64, 0);
    for tick in 0..whole.len() as u64 + 20 {
        while let Some((at, i)) = wire.next_if(|(at, _)| *at <= ms(20 * tick)) {
            ear.hear(&Heard::unverified(ANA, 0, i as u64, &whole[i]), at).unwrap();
        }
        let mut out = SILENCE;
        ear.mix(ms(20 * tick), &mut out);
        energy += out.iter().map(|x| f64::from(x * x)).sum::<f64>();
        silent += usize::from(out == SILENCE);
    }
    let c = ear.account(&ANA).unwrap().counters;
    let clean = hear(&mut Ear::new(settings()), &[(ANA, &whole)]);
    let of_clean = energy / clean.iter().map(|x| f64::from(x * x)).sum::<f64>();
    println!("{:.0} % of the energy of the whole, {c:?}", 100.0 * of_clean);
    assert!((0.85..1.15).contains(&of_clean), "{of_clean}");
    assert!(c.late <= 10 && silent < 40, "{silent} silent, {c:?}");
}

/// The same frame with another level.
fn claiming(payload: &[u8], dbov: u8) -> Vec<u8> {
    let frame = VoiceFrame { level: Level::from_dbov(dbov), ..VoiceFrame::parse(payload).unwrap() };
    let mut out = vec![0; payload.len()];
    frame.write(&mut out).unwrap();
    out
}

#[test]
fn who_is_talking_is_measured_not_claimed() {
    let ana = voice("austen-2.wav");
    let mut ear = Ear::new(settings());
    // Ana whispers by her own word, and speaks; Ben is silent and claims to shout.
    let quiet = payloads(&[SILENCE; 60]);
    for i in 0..60 {
        for (speaker, payload, claim) in [(ANA, &ana[i + 20], 80), (BEN, &quiet[i], 0)] {
            let payload = claiming(payload, claim);
            ear.hear(&Heard::unverified(speaker, 0, i as u64, &payload), ms(20 * i as u64)).unwrap();
        }
        ear.mix(ms(20 * i as u64), &mut SILENCE.clone());
        let levels: Vec<(MemberId, u8)> = ear.talking().map(|(who, level)| (who, level.dbov_below())).collect();
        if i == 50 {
            println!("{levels:?}");
            assert!(levels.iter().any(|(who, level)| *who == ANA && *level < 50), "{levels:?}");
            assert!(levels.iter().all(|(who, level)| *who == ANA || *level > 80), "{levels:?}");
        }
    }
}

#[test]
fn whose_frames_no_longer_come_has_an_account_still() {
    let payload = &payloads(&[[0.1; 960]])[0];
    let speaker = |i: u8| MemberId::from_bytes([i; 32]);
    let mut ear = Ear::new(EarSettings { voices: 4, ..settings() });
    for i in 0..4 {
        ear.hear(&Heard::unverified(speaker(i), 0, 0, payload), ms(0)).unwrap();
    }
    for tick in 0..700 {
        ear.mix(ms(20 * tick), &mut SILENCE.clone());
    }
    assert_eq!(ear.accounts().map(|(_, account)| account.counters.played).sum::<u64>(), 4);
    assert!(ear.accounts().all(|(_, account)| !account.decoded));
    assert_eq!(ear.forget(&speaker(0)).unwrap().counters.played, 1);
    assert!(ear.account(&speaker(0)).is_none());
}

#[test]
fn a_thousand_and_twenty_four_may_speak_at_once_and_no_more() {
    let payload = &payloads(&[[0.1; 960]])[0];
    let speaker = |i: u16| MemberId::from_bytes(std::array::from_fn(|at| i.to_be_bytes()[at % 2]));
    let mut ear = Ear::new(EarSettings { voices: 2, ..settings() });
    for i in 0..1024 {
        assert_eq!(ear.hear(&Heard::unverified(speaker(i), 0, 0, payload), ms(0)).unwrap(), Arrival::Kept);
    }
    let one_more = Heard::unverified(speaker(1024), 0, 0, payload);
    let full = ear.hear(&one_more, ms(0)).unwrap_err();
    assert!(full.to_string().contains("1,024 others speak at once"), "{full}");
    assert!(ear.account(&speaker(1024)).is_none(), "a refusal leaves nothing behind");
    ear.hear(&one_more, ms(900)).unwrap_err();
    let fates = [0, 1024].map(|i| ear.fate(&speaker(i), ms(1001)));
    assert_eq!(fates, [Fate::NotGiven, Fate::NoRoom], "there was room for who has a window");
    for tick in 0..100 {
        ear.mix(ms(20 * tick), &mut SILENCE.clone());
    }
    assert_eq!(ear.hear(&one_more, ms(2000)).unwrap(), Arrival::Kept, "who is silent makes room");
}

#[test]
fn what_is_no_voice_frame_is_refused_and_only_counted() {
    let good = &payloads(&[SILENCE])[0];
    let opus = VoiceFrame::parse(good).unwrap().opus.bytes();
    let mut ear = Ear::new(settings());
    let mut too_long = good.clone();
    too_long.resize(4 + 2045, 0);
    let mut odd = good.clone();
    odd[4] = odd[4] & 0xfc | 1; // two frames of one length
    for (bad, why) in [
        (&[][..], "shorter than its own header"),
        (opus, "bare Opus packet"),
        (&[0x80; 64], "bare Opus packet"),
        (&too_long, "longer than 2,044 bytes"),
        (&odd, "odd number of bytes"),
    ] {
        let error = ear.hear(&Heard::unverified(ANA, 0, 0, bad), ms(0)).unwrap_err();
        assert!(matches!(error, Error::Malformed { .. }) && error.to_string().contains(why), "{error}");
    }
    let account = ear.account(&ANA).unwrap();
    assert_eq!((account.malformed, account.counters, account.decoded), (5, Counters::default(), false));
    assert_eq!(ear.hear(&Heard::unverified(ANA, 0, 0, good), ms(0)).unwrap(), Arrival::Kept);
    assert_eq!(ear.forget(&ANA).unwrap().malformed, 5);
    // Nor do strangers fill more than its memory for speakers.
    for stranger in 0..5000_u16 {
        let id = MemberId::from_bytes(std::array::from_fn(|at| stranger.to_be_bytes()[at % 2]));
        assert!(matches!(ear.hear(&Heard::unverified(id, 0, 0, opus), ms(0)), Err(Error::Malformed { .. })));
    }
    assert_eq!(ear.accounts().count(), 4096);
}

#[test]
fn any_bytes_from_a_hostile_speaker_leave_the_others_as_they_are() {
    let ana = voice("austen-2.wav");
    let alone = hear(&mut Ear::new(settings()), &[(ANA, &ana)]);
    let mut rng = StdRng::seed_from_u64(6);
    let mut ear = Ear::new(settings());
    ear.set_muted(BEN, true).unwrap();
    let mut heard = Vec::new();
    for i in 0..ana.len() + 20 {
        let now = ms(20 * i as u64);
        if let Some(payload) = ana.get(i) {
            ear.hear(&Heard::unverified(ANA, 0, i as u64, payload), now).unwrap();
        }
        for _ in 0..20 {
            let mut opus: Vec<u8> = (0..rng.random_range(0..300)).map(|_| rng.random()).collect();
            if rng.random_ratio(1, 2)
                && let Some(toc) = opus.first_mut()
            {
                // Most pass the checks at the door: one frame of 20 ms.
                *toc = 0x08 | (*toc & 0x60);
            }
            let Ok(opus) = OpusPacket::parse(&opus) else { continue };
            let time = MediaTime::from_units(i as u64 * 8 + rng.random_range(0..64));
            let mut payload = [0; 400];
            let level = Level::from_dbov(rng.random_range(0..128));
            let n = VoiceFrame { time, level, opus }.write(&mut payload).unwrap();
            let counter = i as u64 + rng.random_range(0..8);
            let _ = ear.hear(&Heard::unverified(BEN, 0, counter, &payload[..n]), now);
        }
        let mut out = SILENCE;
        ear.mix(now, &mut out);
        heard.extend(out);
    }
    assert_eq!(heard, alone);
    let ben = ear.account(&BEN).unwrap();
    assert!(ben.counters.played > 50, "{ben:?}");
}
