//! What senders, networks and devices do that no perfect room shows: each from reports of other projects' users.
//!
//! A speaker's frames go over a network to an ear, whose device takes its sound. What is counted is what the ear kept of
//! what came, and how long after it was said a loud moment is heard.

use std::time::Duration;

use parlor::{
    Heard, MemberId,
    frame::{Level, MediaTime, OpusPacket, VoiceFrame},
    sound::{Arrival, Counters, Ear, EarSettings, Encoder, Encoding, FRAME_SAMPLES, FrameLength, Samples},
};
use rand::{RngExt, SeedableRng, rngs::StdRng};

use crate::{frames, speech};

const ANA: MemberId = MemberId::from_bytes([1; 32]);

/// Microseconds.
type Micros = u64;
const FRAME: Micros = 20_000;

/// A frame as it is sent.
#[derive(Clone)]
struct Sent {
    at: Micros,
    payload: Vec<u8>,
    /// The first loud one after quiet ones.
    onset: bool,
}

/// Twenty milliseconds of a tone, loud for a tenth of each second.
fn tone(tick: u64) -> Samples {
    let loud = tick % 50 < 5;
    let amplitude = if loud { 0.5 } else { 0.02 };
    let phase = |k: usize| (tick as usize * FRAME_SAMPLES + k) as f32 * 440.0 * std::f32::consts::TAU / 48_000.0;
    std::array::from_fn(|k| amplitude * phase(k).sin())
}

fn is_loud(samples: &[f32]) -> bool {
    Level::of(samples) < Level::from_dbov(15)
}

/// A speaker's sound, and the packets that one encoder makes of it without a pause.
struct Said {
    sound: Vec<Samples>,
    packets: Vec<Vec<u8>>,
}

impl Said {
    fn new(sound: Vec<Samples>) -> Self {
        let mut encoder = Encoder::new(Encoding::default()).unwrap();
        let encode = |samples: &Samples| {
            let mut payload = vec![0; 64];
            encoder.encode(samples, &mut payload).unwrap();
            payload
        };
        let packets = sound.iter().map(encode).collect();
        Self { sound, packets }
    }

    /// What is sent if the encoder is called where `sends` says so, with a new one where `anew` does.
    fn encoded(&self, sends: impl Fn(u64) -> bool, anew: impl Fn(u64) -> bool) -> Vec<Sent> {
        let mut encoder = Encoder::new(Encoding::default()).unwrap();
        let (mut sent, mut quiet) = (Vec::new(), true);
        for (tick, samples) in (0..).zip(&self.sound) {
            if anew(tick) {
                encoder = Encoder::new(Encoding::default()).unwrap();
            }
            if sends(tick) {
                let mut payload = vec![0; 64];
                encoder.encode(samples, &mut payload).unwrap();
                let loud = is_loud(samples);
                sent.push(Sent { at: tick * FRAME, payload, onset: loud && quiet });
                quiet = !loud;
            }
        }
        sent
    }

    /// All of it, with the time of `clock`, in units, on the so-manieth frame.
    fn timed(&self, clock: impl Fn(u64) -> u64) -> Vec<Sent> {
        let (mut sent, mut quiet) = (Vec::new(), true);
        for ((tick, samples), packet) in (0..).zip(&self.sound).zip(&self.packets) {
            let frame = VoiceFrame { time: MediaTime::from_units(clock(tick)), ..VoiceFrame::parse(packet).unwrap() };
            let mut payload = vec![0; 64];
            frame.write(&mut payload).unwrap();
            let loud = is_loud(samples);
            sent.push(Sent { at: tick * FRAME, payload, onset: loud && quiet });
            quiet = !loud;
        }
        sent
    }
}

/// How frames get to the listener.
#[derive(Clone, Copy, Debug)]
struct Network {
    least: Micros,
    most: Micros,
    /// Lost, in 1,000, in bursts of one to four.
    lost: u32,
}

const PERFECT: Network = Network { least: 0, most: 0, lost: 0 };
const ROUGH: Network = Network { least: 20_000, most: 120_000, lost: 50 };

/// How a device takes sound: so many blocks at once, each so long, every so often, told how much later each of them is.
#[derive(Clone, Copy, Debug)]
struct Device {
    blocks: u64,
    samples: usize,
    every: Micros,
    step: Micros,
}

const PLAIN: Device = Device { blocks: 1, samples: FRAME_SAMPLES, every: FRAME, step: 0 };

#[derive(Debug)]
struct Report {
    sent: usize,
    lost: usize,
    kept: usize,
    counters: Counters,
    /// The longest that the ear says sound waited in it.
    waited: Duration,
    /// From the first sample of a loud moment going in to its coming out, each.
    delays: Vec<Micros>,
}

impl Report {
    /// Of what came, how much was kept and not given up, in percent.
    fn heard(&self) -> f64 {
        let c = &self.counters;
        100.0 * (self.kept as u64 - c.cut) as f64 / (self.sent - self.lost) as f64
    }

    fn longest(&self) -> Duration {
        self.waited.max(Duration::from_micros(self.delays.iter().copied().max().unwrap_or(0)))
    }
}

fn listen(sent: &[Sent], network: Network, device: Device, seed: u64) -> Report {
    let mut rng = StdRng::seed_from_u64(seed);
    let (mut wire, mut burst, mut lost) = (Vec::new(), 0, 0);
    for (counter, frame) in sent.iter().enumerate() {
        if burst == 0 && rng.random_ratio(network.lost * 2 / 5, 1000) {
            burst = rng.random_range(1..=4);
        }
        if burst > 0 {
            (burst, lost) = (burst - 1, lost + 1);
            continue;
        }
        wire.push((frame.at + rng.random_range(network.least..=network.most), counter));
    }
    wire.sort_unstable();
    let mut ear = Ear::new(EarSettings::default());
    let (mut wire, mut kept) = (wire.into_iter().peekable(), 0);
    let (mut loud, mut waited) = (Vec::new(), Duration::ZERO);
    let (mut out, mut quiet) = (vec![0.0; device.samples], true);
    let end = sent.last().map_or(0, |last| last.at) + 1_000_000;
    for call in 0.. {
        let now = call * device.every + 7_000;
        if now > end {
            break;
        }
        while let Some((at, counter)) = wire.next_if(|(at, _)| *at <= now) {
            let heard = Heard::unverified(ANA, 0, counter as u64, &sent[counter].payload);
            kept += usize::from(ear.hear(&heard, Duration::from_micros(at)).unwrap() == Arrival::Kept);
        }
        waited = ear.account(&ANA).map_or(waited, |ana| waited.max(ana.delay));
        for block in 0..device.blocks {
            ear.mix(Duration::from_micros(now + block * device.step), &mut out);
            for (piece, samples) in (0..).zip(out.chunks(240)) {
                let is_loud = is_loud(samples);
                if is_loud && quiet {
                    loud.push(now + block * (device.samples as u64 * 125 / 6) + piece * 5_000);
                }
                quiet = !is_loud;
            }
        }
    }
    let onsets: Vec<Micros> = sent.iter().filter(|frame| frame.onset).map(|frame| frame.at).collect();
    // What is not heard before the next is lost, or was not quiet before.
    let next = onsets.iter().skip(1).chain([&Micros::MAX]);
    let heard = |(sent, next)| loud.iter().find(|at| (sent..next).contains(at)).map(|at| at - sent);
    let delays: Vec<Micros> = onsets.iter().zip(next).filter_map(heard).collect();
    assert!(delays.len() * 2 >= onsets.len(), "{} of {} loud moments were heard", delays.len(), onsets.len());
    let counters = ear.account(&ANA).unwrap().counters;
    Report { sent: sent.len(), lost, kept, counters, waited, delays }
}

/// Twenty seconds of a tone.
fn tones() -> Said {
    Said::new((0..1_000).map(tone).collect())
}

/// Somebody's reading.
fn reading() -> Said {
    let mut all = Vec::new();
    for name in ["austen-1.wav", "austen-4.wav", "flora.wav", "topal.wav"] {
        all.extend(frames(&speech(name)));
    }
    Said::new(all)
}

/// Which frames a noise gate at -45 dBov lets through that stays open for `hold` frames.
fn gate(sound: &[Samples], hold: u64) -> Vec<bool> {
    let mut last = None;
    (0..)
        .zip(sound)
        .map(|(tick, samples)| {
            if Level::of(samples) <= Level::from_dbov(45) {
                last = Some(tick);
            }
            last.is_some_and(|last| tick - last <= hold)
        })
        .collect()
}

/// The two networks, and how much more than the network's delay a loud moment may take.
const NETWORKS: [(Network, Micros); 2] = [(PERFECT, 300_000), (ROUGH, 420_000)];

#[track_caller]
fn good(what: &str, report: &Report, percent: f64, longest: Micros) {
    println!("{what}: {:.1} % of {} heard, up to {:?}", report.heard(), report.sent, report.longest());
    let gone = report.sent as u64 - report.lost as u64 - report.kept as u64 + report.counters.cut;
    assert!(report.heard() >= percent || gone <= 2, "{what}: {:.1} % heard; {report:?}", report.heard());
    assert!(report.longest() <= Duration::from_micros(longest), "{what}: {:?}; {:?}", report.longest(), report);
}

#[test]
fn a_pause_that_is_not_encoded_costs_no_words_however_long_it_is() {
    let said = tones();
    for (network, longest) in NETWORKS {
        for on in [4_u64, 30, 100] {
            for off in [1_u64, 2, 4, 8, 9, 12, 50, 250] {
                let sent = said.encoded(|tick| tick % (on + off) < on, |_| false);
                good(
                    &format!("{on} on, {off} off, {network:?}"),
                    &listen(&sent, network, PLAIN, on + off),
                    97.0,
                    longest,
                );
            }
        }
    }
}

#[test]
fn a_noise_gate_costs_no_words_of_real_speech() {
    let said = reading();
    for (network, longest) in NETWORKS {
        for hold in [0_u64, 5, 9, 15] {
            let open = gate(&said.sound, hold);
            let sent = said.encoded(|tick| open[tick as usize], |_| false);
            let report = listen(&sent, network, PLAIN, hold);
            let what = format!("gate, {} ms of hold, {network:?}", hold * 20);
            println!("{what}: {:.1} % of {} heard", report.heard(), report.sent);
            assert!(report.heard() >= 97.0, "{what}: {:.1} %, {:?}", report.heard(), report.counters);
            assert!(report.waited <= Duration::from_micros(longest), "{what}: waited {:?}", report.waited);
        }
    }
}

#[test]
fn push_to_talk_with_an_encoder_of_its_own_for_each_press_loses_nothing() {
    let said = tones();
    for (network, longest) in NETWORKS {
        for (on, off) in [(30_u64, 25_u64), (30, 5), (75, 20), (10, 1), (30, 100), (20, 240)] {
            let press = |tick: u64| tick % (on + off);
            let sent = said.encoded(|tick| press(tick) < on, |tick| press(tick) == 0);
            good(&format!("{on} pressed, {off} not, {network:?}"), &listen(&sent, network, PLAIN, on), 97.0, longest);
        }
    }
}

#[test]
fn a_clock_that_is_set_amid_words_costs_no_words() {
    let said = tones();
    let start = 10_000_000;
    for (network, longest) in NETWORKS {
        for milliseconds in [20_i64, 50, 200, 500, 2_000, 60_000, 3_600_000] {
            for by in [milliseconds, -milliseconds] {
                let shift = |count: u64| if count / 250 % 2 == 1 { by * 2 / 5 } else { 0 };
                let sent = said.timed(|count| (start + 8 * count).saturating_add_signed(shift(count)));
                let report = listen(&sent, network, PLAIN, milliseconds.unsigned_abs());
                let what = format!("set by {by} ms five times, {network:?}");
                good(&what, &report, 99.0, longest);
                let gone = report.sent - report.lost - report.kept + report.counters.cut as usize;
                assert!(gone <= 10, "{what}: {gone} lost");
            }
        }
    }
}

#[test]
fn a_clock_that_is_off_by_percents_costs_no_words() {
    let said = tones();
    for (network, longest) in NETWORKS {
        for percent in [85_u64, 92, 95, 99, 101, 105, 108] {
            let sent = said.timed(|count| 8 * count * percent / 100);
            good(&format!("clock at {percent} %, {network:?}"), &listen(&sent, network, PLAIN, percent), 97.0, longest);
        }
    }
}

#[test]
fn rounded_times_cost_nothing_at_any_phase_and_a_doubled_packet_is_dropped() {
    let said = Said::new((0..300).map(tone).collect());
    for (network, longest) in NETWORKS {
        for quantum in [1_u64, 32, 64, 100, 120, 128] {
            for phase in (0..960).step_by(193) {
                let mut sent = said.timed(|count| (count * 960 + phase) / quantum * quantum / 120);
                let least = if network.lost == 0 { 100.0 } else { 99.5 };
                good(
                    &format!("{quantum} at {phase}, {network:?}"),
                    &listen(&sent, network, PLAIN, phase),
                    least,
                    longest,
                );
                // One packet in ten is made twice.
                let doubled: Vec<Sent> = sent.iter().step_by(10).cloned().collect();
                sent.extend(doubled.iter().cloned());
                sent.sort_by_key(|sent| sent.at);
                let report = listen(&sent, PERFECT, PLAIN, phase);
                assert_eq!(report.counters.duplicate, doubled.len() as u64, "{quantum} at {phase}: {report:?}");
                assert_eq!(report.kept, 300);
            }
        }
    }
}

#[test]
fn a_device_that_takes_several_blocks_at_once_costs_no_words() {
    let said = tones();
    for (network, _) in NETWORKS {
        for blocks in 1..=10_u64 {
            for step in [0, FRAME] {
                for (samples, count) in [(FRAME_SAMPLES, blocks), (FRAME_SAMPLES * blocks as usize, 1)] {
                    if count == 1 && (step > 0 || network.lost > 0) {
                        continue;
                    }
                    let device = Device { blocks: count, samples, every: blocks * FRAME, step };
                    let sent = said.timed(|count| 8 * count);
                    let report = listen(&sent, network, device, blocks);
                    good(&format!("{device:?}, {network:?}"), &report, 99.0, 400_000 + network.most);
                }
            }
        }
    }
}

#[test]
fn a_listener_whose_clock_is_off_by_percents_loses_no_words() {
    let said = tones();
    for (network, _) in NETWORKS {
        for every in [19_000, 19_500, 19_800, 20_200, 20_500, 21_000, 23_000] {
            let sent = said.timed(|count| 8 * count);
            let report = listen(&sent, network, Device { every, ..PLAIN }, every);
            good(&format!("20 ms each {every} µs, {network:?}"), &report, 99.0, 400_000 + network.most);
        }
    }
}

#[test]
fn a_device_may_ask_for_any_number_of_samples() {
    let said = tones();
    for samples in [1, 100, 128, 441, 480, 512, 1024, 1500, 4096] {
        let every = samples as u64 * 125 / 6;
        let device = Device { blocks: 1, samples, every, step: 0 };
        let sent = said.timed(|count| 8 * count);
        good(&format!("{samples} samples"), &listen(&sent, PERFECT, device, 1), 99.0, 400_000);
    }
}

/// What an ear gives for the frames of one speaker, told `units` apart by their clock, one every so often.
fn play(packets: &[(Vec<u8>, u64)], each: Duration) -> (Vec<f32>, Counters) {
    let mut ear = Ear::new(EarSettings::default());
    let (mut heard, mut out, mut units) = (Vec::new(), [0.0; 120], 0);
    let mut next = 0;
    let end = each * packets.len() as u32 + Duration::from_secs(1);
    for piece in 0.. {
        let now = Duration::from_micros(2_500) * piece;
        if now > end {
            break;
        }
        while let Some((opus, length)) = packets.get(next).filter(|_| now >= each * next as u32) {
            let (time, level) = (MediaTime::from_units(units), Level::from_dbov(20));
            let frame = VoiceFrame { time, level, opus: OpusPacket::parse(opus).unwrap() };
            let mut payload = vec![0; opus.len() + 4];
            frame.write(&mut payload).unwrap();
            assert_eq!(ear.hear(&Heard::unverified(ANA, 0, next as u64, payload), now).unwrap(), Arrival::Kept);
            (units, next) = (units + length, next + 1);
        }
        ear.mix(now, &mut out);
        heard.extend(out);
    }
    (heard, ear.account(&ANA).unwrap().counters)
}

/// The packet of one frame, as RFC 6716 §3.2.5 packs `frames` of them, each padded by nothing.
fn packed(frames: &[&[u8]]) -> Vec<u8> {
    let toc = frames[0][0] & 0xfc | 3;
    let mut packet = vec![toc, 0x80 | frames.len() as u8];
    for frame in &frames[..frames.len() - 1] {
        let len = frame.len() - 1;
        if len < 252 {
            packet.push(len as u8);
        } else {
            packet.extend([252 + (len % 4) as u8, ((len - 252 - len % 4) / 4) as u8]);
        }
    }
    frames.iter().for_each(|frame| packet.extend(&frame[1..]));
    packet
}

#[test]
fn packets_of_every_length_are_played_at_their_length() {
    for length in [FrameLength::Ms10, FrameLength::Ms20, FrameLength::Ms40, FrameLength::Ms60] {
        let encoding = Encoding::default().frames_of(length).kilobits(64).unwrap();
        let mut encoder = Encoder::new(encoding).unwrap();
        let samples = encoding.samples();
        // A second of silence, 2.4 of a tone, a second of silence.
        let sound: Vec<f32> = (0..4 * 48_000 + 19_200)
            .map(|at| {
                let loud = (48_000..48_000 + 115_200).contains(&at);
                if loud { 0.3 * (at as f32 * 440.0 * std::f32::consts::TAU / 48_000.0).sin() } else { 0.0 }
            })
            .collect();
        let packets: Vec<Vec<u8>> = sound
            .chunks_exact(samples)
            .map(|samples| {
                let mut payload = vec![0; 1_500];
                let n = encoder.encode(samples, &mut payload).unwrap();
                VoiceFrame::parse(&payload[..n]).unwrap().opus.bytes().to_vec()
            })
            .collect();
        // One to a packet, and as many as make 120 ms.
        for several in [1, 5760 / samples] {
            if several > 1 && packets.iter().any(|packet| packet[0] & 3 != 0) {
                continue; // they are packets of several frames already
            }
            let packets: Vec<(Vec<u8>, u64)> = packets
                .chunks_exact(several)
                .map(|frames| {
                    let frames: Vec<&[u8]> = frames.iter().map(Vec::as_slice).collect();
                    let packet = if several == 1 { frames[0].to_vec() } else { packed(&frames) };
                    (packet, (samples * several / 120) as u64)
                })
                .collect();
            let each = Duration::from_nanos((samples * several) as u64 * 62_500 / 3);
            let (heard, counters) = play(&packets, each);
            assert_eq!(counters.played, packets.len() as u64, "{length:?} × {several}: {counters:?}");
            let loud = heard.chunks(240).filter(|samples| Level::of(samples) < Level::from_dbov(30)).count();
            // 2.4 s in pieces of 5 ms.
            assert!((475..=490).contains(&loud), "{length:?} × {several}: {loud} pieces; {counters:?}");
        }
    }
}

#[test]
fn what_a_sender_with_dtx_does_not_send_is_not_lost() {
    let said = tones();
    // Speech for a second, then nothing but a byte each 400 ms, or no byte at all in its place, or nothing.
    for quiet in [Some(vec![0x48]), Some(Vec::new()), None] {
        let mut ear = Ear::new(EarSettings::default());
        let (mut counter, mut sent) = (0_u64, 0);
        for tick in 0..1_000_u64 {
            let now = Duration::from_millis(20 * tick);
            let talks = tick % 100 < 50;
            let opus = match (&quiet, talks) {
                (_, true) => Some(VoiceFrame::parse(&said.packets[tick as usize]).unwrap().opus.bytes().to_vec()),
                (Some(opus), false) if tick % 20 == 0 => Some(opus.clone()),
                _ => None,
            };
            if let Some(opus) = opus {
                let frame = VoiceFrame {
                    time: MediaTime::from_units(8 * tick),
                    level: Level::from_dbov(if talks { 20 } else { 127 }),
                    opus: OpusPacket::parse(&opus).unwrap(),
                };
                let mut payload = vec![0; opus.len() + 4];
                frame.write(&mut payload).unwrap();
                // The wire loses one in fifty.
                if counter % 50 != 49 {
                    let heard = Heard::unverified(ANA, 0, counter, payload);
                    assert_eq!(ear.hear(&heard, now).unwrap(), Arrival::Kept);
                    sent += 1;
                }
                counter += 1;
            }
            ear.mix(now + Duration::from_millis(7), &mut [0.0; 960]);
        }
        let counters = ear.account(&ANA).unwrap().counters;
        let lost = counter / 50;
        println!("{quiet:?}: {sent} came, {lost} were lost; {counters:?}");
        assert!(counters.lost <= lost && counters.lost + 1 >= lost, "{quiet:?}: {counters:?}");
        assert!(counters.played + 3 >= sent, "{quiet:?}: {counters:?}");
    }
}
