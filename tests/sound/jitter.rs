//! The jitter buffer against simulated networks, and against media times nobody honest sends.

use std::time::Duration;

use parlor::{
    Heard, MemberId,
    frame::{Level, MediaTime, OpusPacket, VoiceFrame},
    sound::{Arrival, Counters, Delay, JitterBuffer, Pace, Play},
};
use rand::{RngExt, SeedableRng, rngs::StdRng};

use crate::ms;

const ANA: MemberId = MemberId::from_bytes([1; 32]);
const LOUD: Level = Level::from_dbov(20);

/// What a pull played, by the number of the frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Played {
    Frame(u32),
    /// Restored, from the frame of this number.
    Recover(u32),
    Conceal,
    Pause,
    Silence,
}

/// A buffer, a device that takes 20 ms at a time, and a check after every step that it plays forward only and loses
/// count of nothing.
struct Checked {
    buffer: JitterBuffer,
    last: Option<u32>,
    /// Samples that were given beyond those asked for.
    ahead: usize,
    seed: u64,
}

impl Checked {
    fn new(delay: Delay, seed: u64) -> Self {
        Self { buffer: JitterBuffer::new(delay), last: None, ahead: 0, seed }
    }

    /// Frame `counter` of a speaker whose clock says `time`.
    fn insert(&mut self, counter: u32, time: MediaTime, level: Level, now: Duration) -> Arrival {
        let [a, b, c, d] = counter.to_be_bytes();
        let opus = [0x48, a, b, c, d];
        let frame = VoiceFrame { time, level, opus: OpusPacket::parse(&opus).unwrap() };
        let arrival = self.buffer.insert(&Heard::unverified(ANA, 0, counter.into(), frame), now);
        self.check();
        arrival
    }

    /// Frame `number` of a speaker who began at media time 0.
    fn frame(&mut self, number: u32, now: Duration) -> Arrival {
        self.insert(number, MediaTime::from_units(u64::from(number) * 8), LOUD, now)
    }

    /// 20 ms for the device: all that had its turn for them.
    fn pull(&mut self, now: Duration) -> Vec<Played> {
        let mut all = Vec::new();
        while self.ahead < 960 {
            let at = now + Duration::from_micros(self.ahead as u64 * 125 / 6);
            let number = |frame: VoiceFrame<'_>| u32::from_be_bytes(frame.opus.bytes()[1..].try_into().unwrap());
            let (played, samples) = match self.buffer.next(at) {
                Play::Frame(frame, pace) => {
                    let played = Played::Frame(number(frame));
                    let (out, put) = match pace {
                        Pace::Keep => (0, 0),
                        Pace::Shorten(out) => (out, 0),
                        Pace::Stretch(put) => (0, put),
                    };
                    self.buffer.paced(out, put);
                    (played, 960 + put - out)
                }
                Play::Recover(frame, samples) => (Played::Recover(number(frame)), samples),
                Play::Conceal(samples) => (Played::Conceal, samples),
                Play::Pause(samples) => (Played::Pause, samples),
                Play::Silence => (Played::Silence, 960 - self.ahead),
            };
            match played {
                Played::Frame(n) => {
                    assert!(self.last < Some(n), "seed {}: {n} after {:?}", self.seed, self.last);
                    self.last = Some(n);
                }
                Played::Recover(n) => assert!(self.last < Some(n), "seed {}: restored from a frame played", self.seed),
                Played::Conceal | Played::Pause | Played::Silence => {}
            }
            self.ahead += samples;
            self.check();
            all.push(played);
        }
        self.ahead -= 960;
        all
    }

    /// The same where it is one thing.
    fn next(&mut self, now: Duration) -> Played {
        *self.pull(now).last().unwrap_or(&Played::Silence)
    }

    fn check(&self) {
        let c = self.buffer.counters();
        let waiting = c.received.checked_sub(c.played + c.duplicate + c.late + c.stray + c.cut + c.replaced);
        assert!(waiting.is_some_and(|n| n <= 400), "seed {}: {c:?}", self.seed);
    }

    fn counters(&self) -> Counters {
        self.buffer.counters()
    }
}

fn heard(played: &[Played]) -> usize {
    played.iter().filter(|play| matches!(play, Played::Frame(_))).count()
}

/// Frames on their way: sent every 20 ms, delayed, lost in bursts, doubled, and pulled every 20 ms.
struct Network {
    rng: StdRng,
    wire: Vec<(Duration, u32)>,
    burst: u32,
    sent: u32,
    lost: u64,
    doubled: u64,
    /// Milliseconds.
    tick: u64,
}

/// What happens on the way, for one stretch of time.
#[derive(Clone, Copy)]
struct Weather {
    fastest: u64,
    slowest: u64,
    /// Chance that a burst of one to four losses begins, in 1,000.
    bursts: u32,
    /// Chance to be doubled, in 1,000.
    doubles: u32,
}

const CALM: Weather = Weather { fastest: 30, slowest: 34, bursts: 0, doubles: 0 };
const STORM: Weather = Weather { fastest: 20, slowest: 120, bursts: 21, doubles: 30 };

impl Network {
    fn new(seed: u64) -> Self {
        let rng = StdRng::seed_from_u64(seed);
        Self { rng, wire: Vec::new(), burst: 0, sent: 0, lost: 0, doubled: 0, tick: 0 }
    }

    /// Runs for `frames` frames; gives what was played.
    fn run(&mut self, ear: &mut Checked, frames: u32, weather: Weather) -> Vec<Played> {
        (0..frames).flat_map(|_| self.step(ear, Some(weather))).collect()
    }

    /// One frame sent, if at all, all that has arrived taken in, one frame played.
    fn step(&mut self, ear: &mut Checked, weather: Option<Weather>) -> Vec<Played> {
        if let Some(weather) = weather {
            self.send(weather);
        }
        self.tick += 20;
        // The listener's device asks 7 ms past each of the sender's frames.
        let now = ms(self.tick + 7);
        self.wire.sort();
        while self.wire.first().is_some_and(|(at, _)| *at <= now) {
            let (at, number) = self.wire.remove(0);
            ear.frame(number, at);
        }
        ear.pull(now)
    }

    fn send(&mut self, weather: Weather) {
        let number = self.sent;
        self.sent += 1;
        if self.burst == 0 && self.rng.random_ratio(weather.bursts, 1000) {
            self.burst = self.rng.random_range(1..=4);
        }
        if self.burst > 0 {
            self.burst -= 1;
            self.lost += 1;
            return;
        }
        let copies = 1 + u64::from(self.rng.random_ratio(weather.doubles, 1000));
        self.doubled += copies - 1;
        for _ in 0..copies {
            let delay = self.rng.random_range(weather.fastest * 1000..=weather.slowest * 1000);
            self.wire.push((ms(self.tick) + Duration::from_micros(delay), number));
        }
    }

    /// Lets everything on the wire arrive and be played.
    fn drain(&mut self, ear: &mut Checked) {
        for _ in 0..100 {
            self.step(ear, None);
        }
    }
}

#[test]
fn a_calm_network_loses_nothing_and_costs_little_delay() {
    let (mut net, mut ear) = (Network::new(1), Checked::new(Delay::default(), 1));
    net.run(&mut ear, 1000, CALM);
    assert!(ear.buffer.delay() <= ms(50), "{:?}", ear.buffer.delay());
    net.drain(&mut ear);
    let c = ear.counters();
    assert_eq!((c.played, c.lost, c.late, c.duplicate, c.recovered), (1000, 0, 0, 0, 0));
    assert_eq!((c.concealed, c.stretched), (ms(0), ms(0)));
    assert_eq!(c.trailing, ms(200), "so much is filled in before the speaker is taken to have paused");
}

#[test]
fn a_storm_is_played_in_order_once_and_nearly_whole() {
    for seed in 0..20 {
        let (mut net, mut ear) = (Network::new(seed), Checked::new(Delay::default(), seed));
        net.run(&mut ear, 5000, STORM);
        net.drain(&mut ear);
        let c = ear.counters();
        println!("seed {seed}: lost on the wire {}, {c:?}", net.lost);
        assert!(net.lost > 150, "seed {seed}: the storm is none");
        assert_eq!(c.duplicate, net.doubled, "seed {seed}: every copy is known as one");
        assert!(c.late <= 50, "seed {seed}: {} of 5,000 came too late", c.late);
        assert_eq!(c.played + c.cut + c.late + net.lost, 5000, "seed {seed}: {c:?}");
        // The first and last frames may be lost before or after anything is heard.
        assert!(net.lost - c.lost <= 8, "seed {seed}: {} were lost, {c:?}", net.lost);
        assert!(c.recovered * 3 > c.lost, "seed {seed}: the last of each burst can be restored: {c:?}");
        assert_eq!((c.stray, c.restarts, c.cut), (0, 0, 0), "seed {seed}");
        assert!(ear.buffer.delay() <= ms(200), "seed {seed}: {:?}", ear.buffer.delay());
    }
}

#[test]
fn the_delay_rises_with_the_jitter_and_falls_when_it_is_over() {
    let (mut net, mut ear) = (Network::new(7), Checked::new(Delay::default(), 7));
    net.run(&mut ear, 500, CALM);
    let calm = ear.buffer.delay();
    net.run(&mut ear, 500, Weather { bursts: 0, ..STORM });
    let storm = ear.buffer.delay();
    net.run(&mut ear, 2500, CALM);
    let after = ear.buffer.delay();
    println!("delay: calm {calm:?}, storm {storm:?}, calm again {after:?}");
    assert!(calm <= ms(50) && after <= ms(60), "{calm:?} {after:?}");
    assert!((ms(90)..=ms(170)).contains(&storm), "{storm:?}");
    let c = ear.counters();
    assert!(c.shortened >= ms(60) && c.stretched + c.concealed >= ms(60), "{c:?}");
    assert!(c.late < 5, "{c:?}");
    assert_eq!(c.cut, 0, "{c:?}");
}

#[test]
fn the_delay_grows_before_anything_is_too_late() {
    let mut ear = Checked::new(Delay::default(), 0);
    for i in 0..600_u32 {
        // One in ten comes 35 ms after the others: within the delay, but not with a frame to spare.
        let late = |i: u32| i >= 300 && i.is_multiple_of(10);
        let now = 20 * u64::from(i);
        if !late(i) {
            ear.frame(i, ms(now));
        }
        ear.next(ms(now + 9));
        if i > 0 && late(i - 1) {
            ear.frame(i - 1, ms(now + 15));
        }
        if i == 299 {
            assert!(ear.buffer.delay() <= ms(50), "{:?}", ear.buffer.delay());
        }
    }
    let c = ear.counters();
    assert!(ear.buffer.delay() >= ms(45), "{:?}", ear.buffer.delay());
    assert_eq!((c.late, c.lost), (0, 0), "{c:?}");
    assert!(c.stretched >= ms(5), "{:?} {c:?}", ear.buffer.delay());
}

#[test]
fn a_fixed_delay_stays_where_it_is() {
    let (mut net, mut ear) = (Network::new(9), Checked::new(Delay::fixed(ms(200)).unwrap(), 9));
    net.run(&mut ear, 500, STORM);
    for _ in 0..500 {
        net.step(&mut ear, Some(STORM));
        let delay = ear.buffer.delay();
        assert!((ms(170)..=ms(250)).contains(&delay), "{delay:?}");
    }
    assert_eq!(ear.buffer.target(), ms(200));
    assert_eq!(ear.counters().late, 0);
}

#[test]
fn a_delay_out_of_bounds_is_refused() {
    assert!(Delay::between(ms(100), ms(50)).is_err());
    assert!(Delay::fixed(ms(1001)).is_err());
    assert!(Delay::between(ms(0), ms(1000)).is_ok());
}

#[test]
fn the_delay_never_leaves_its_bounds_for_long() {
    let bounds = Delay::between(ms(40), ms(80)).unwrap();
    let (mut net, mut ear) = (Network::new(10), Checked::new(bounds, 10));
    net.run(&mut ear, 1000, STORM);
    assert_eq!(ear.buffer.target(), ms(80), "the network calls for more than is allowed");
    assert!(ear.buffer.delay() <= ms(150), "{:?}", ear.buffer.delay());
}

#[test]
fn a_lost_frame_is_restored_if_the_next_is_there_and_concealed_if_not() {
    let mut ear = Checked::new(Delay::fixed(ms(60)).unwrap(), 0);
    let mut played = Vec::new();
    for i in 0..40 {
        if ![10, 20, 21, 22].contains(&i) {
            ear.frame(i, ms(20 * u64::from(i)));
        }
        played.push(ear.next(ms(20 * u64::from(i))));
    }
    let at = |n| played.iter().position(|play| *play == Played::Frame(n)).unwrap();
    assert_eq!(played[at(9) + 1], Played::Recover(11));
    assert_eq!(played[at(11) - 1], Played::Recover(11));
    assert_eq!(played[at(19) + 1..at(23)], [Played::Conceal, Played::Conceal, Played::Recover(23)]);
    let c = ear.counters();
    assert_eq!((c.recovered, c.concealed, c.lost), (2, ms(40), 4));
}

#[test]
fn a_frame_after_its_turn_is_late_once_and_then_a_duplicate() {
    let mut ear = Checked::new(Delay::fixed(ms(40)).unwrap(), 0);
    for i in 0..20 {
        if i != 5 {
            assert_eq!(ear.frame(i, ms(20 * u64::from(i))), Arrival::Kept);
        }
        ear.next(ms(20 * u64::from(i)));
    }
    assert_eq!(ear.counters().lost, 1);
    assert_eq!(ear.frame(5, ms(400)), Arrival::Late);
    assert_eq!(ear.counters().lost, 0, "it was not lost after all");
    assert_eq!(ear.frame(5, ms(401)), Arrival::Duplicate);
    assert_eq!(ear.frame(6, ms(401)), Arrival::Duplicate, "played before");
    assert_eq!(ear.frame(19, ms(402)), Arrival::Duplicate, "waiting still");
    let c = ear.counters();
    assert_eq!((c.late, c.duplicate, c.recovered), (1, 3, 1));
}

#[test]
fn a_frame_that_comes_while_nothing_waits_is_played_however_late_it_is() {
    let mut ear = Checked::new(Delay::default(), 0);
    let mut played = Vec::new();
    for i in 0..200_u64 {
        // What was said between 2 s and 2.12 s comes at once, 120 ms late.
        let (now, held) = (ms(20 * i), (100..106).contains(&i));
        if i == 106 {
            (100..106).for_each(|number| assert_eq!(ear.frame(number, now), Arrival::Kept));
        }
        if !held {
            ear.frame(i as u32, now);
        }
        played.extend(ear.pull(now + ms(5)));
    }
    let c = ear.counters();
    assert_eq!((c.late, c.lost, c.cut), (0, 0, 0), "{c:?}");
    assert!(heard(&played) >= 196, "{}", heard(&played));
    assert!(ear.buffer.delay() <= ms(80), "and it is caught up with: {:?}", ear.buffer.delay());
}

#[test]
fn a_speaker_who_stops_is_silent_and_comes_back() {
    for pause in [300, 1000, 10_000, 3_600_000] {
        for clock_stands in [false, true] {
            let mut ear = Checked::new(Delay::default(), pause);
            let (mut number, mut units, mut now) = (0, 0_u64, 0);
            let talk = |ear: &mut Checked, now: &mut u64, number: &mut u32, units: &mut u64| -> usize {
                let played = (0..100).flat_map(|_| {
                    ear.insert(*number, MediaTime::from_units(*units), LOUD, ms(*now));
                    (*number, *units, *now) = (*number + 1, *units + 8, *now + 20);
                    ear.pull(ms(*now - 20))
                });
                heard(&played.collect::<Vec<_>>())
            };
            talk(&mut ear, &mut now, &mut number, &mut units);
            let silent: Vec<Played> = (0..pause / 20)
                .map(|_| {
                    now += 20;
                    ear.next(ms(now - 20))
                })
                .collect();
            assert_eq!(silent.last(), Some(&Played::Silence), "pause of {pause} ms");
            assert_eq!(ear.frame(number - 1, ms(now)), Arrival::Duplicate, "played before the pause");
            if !clock_stands {
                units += pause / 20 * 8;
            }
            let heard = talk(&mut ear, &mut now, &mut number, &mut units);
            assert!(heard >= 94, "pause of {pause} ms, clock stands: {clock_stands}: {heard} heard of 100");
            let c = ear.counters();
            assert_eq!((c.late, c.cut, c.lost), (0, 0, 0), "pause of {pause} ms: {c:?}");
            let delay = ear.buffer.delay();
            assert!(delay <= ms(100), "pause of {pause} ms, clock stands: {clock_stands}: {delay:?}");
        }
    }
}

#[test]
fn a_speaker_without_signatures_who_counts_anew_is_followed_within_three_frames() {
    let mut ear = Checked::new(Delay::default(), 0);
    let mut now = 0;
    let mut talk = |ear: &mut Checked, first: u32| -> usize {
        let played = (0..100).flat_map(|i| {
            ear.frame(first + i, ms(now));
            now += 20;
            ear.pull(ms(now - 20))
        });
        heard(&played.collect::<Vec<_>>())
    };
    assert!(talk(&mut ear, 0) >= 96);
    let heard = talk(&mut ear, 5_000_000);
    assert!(heard >= 90, "{heard} heard of 100");
    let c = ear.counters();
    assert_eq!((c.restarts, c.stray), (1, 2), "{c:?}");
}

#[test]
fn media_time_wraps_without_a_sound() {
    let mut ear = Checked::new(Delay::default(), 0);
    for i in 0..1000_u32 {
        let time = MediaTime::from_units((1 << 20) - 8 * 500 + 8 * u64::from(i));
        assert_eq!(ear.insert(i, time, LOUD, ms(20 * u64::from(i))), Arrival::Kept);
        ear.next(ms(20 * u64::from(i)));
    }
    let c = ear.counters();
    assert!(c.played > 990 && c.lost == 0 && c.restarts == 0, "{c:?}");
}

#[test]
fn an_outage_of_seconds_is_silence_and_then_goes_on_where_the_speaker_is() {
    let (mut net, mut ear) = (Network::new(11), Checked::new(Delay::default(), 11));
    net.run(&mut ear, 200, CALM);
    net.run(&mut ear, 250, Weather { bursts: 1000, ..CALM });
    let played = net.run(&mut ear, 200, CALM);
    assert!(heard(&played) > 190, "{} of 200", heard(&played));
    let c = ear.counters();
    assert_eq!(c.lost, net.lost, "{c:?}");
    assert!(ear.buffer.delay() <= ms(80), "{:?}", ear.buffer.delay());
}

#[test]
fn a_second_of_frames_all_at_once_does_not_make_the_room_slow() {
    // What comes out after a rekey: frames whose key was on its way for a second.
    let (mut net, mut ear) = (Network::new(12), Checked::new(Delay::default(), 12));
    net.run(&mut ear, 500, CALM);
    let now = net.tick;
    for (at, _) in &mut net.wire {
        *at = (*at).max(ms(now + 1000));
    }
    for _ in 0..50 {
        net.send(CALM);
        net.tick += 20;
        for (at, _) in &mut net.wire {
            *at = (*at).max(ms(now + 1000));
        }
        ear.next(ms(net.tick + 7));
    }
    net.run(&mut ear, 500, CALM);
    assert!(ear.buffer.delay() <= ms(100), "{:?} after all is calm for 10 s", ear.buffer.delay());
    let c = ear.counters();
    println!("{c:?}");
    assert!(c.cut <= 50, "what was held up for too long is cut, and no more: {c:?}");
    assert_eq!((c.restarts, c.lost), (0, 0), "{c:?}");
}

#[test]
fn a_listener_who_asks_for_nothing_for_a_minute_keeps_a_second_of_sound() {
    let mut ear = Checked::new(Delay::default(), 0);
    for i in 0..3000 {
        ear.frame(i, ms(20 * u64::from(i)));
    }
    for i in 3000..3100 {
        ear.frame(i, ms(20 * u64::from(i)));
        ear.next(ms(20 * u64::from(i)));
    }
    assert!(ear.buffer.delay() <= ms(100), "{:?}", ear.buffer.delay());
}

#[test]
fn hostile_counters_and_times_cost_nothing_but_themselves() {
    for seed in 0..50 {
        let mut rng = StdRng::seed_from_u64(seed);
        let mut ear = JitterBuffer::new(Delay::default());
        let mut now = Duration::ZERO;
        for _ in 0..5000 {
            let near = (now.as_millis() % (1 << 60)) as u64 / 20;
            let (time, counter) = match rng.random_range(0..5) {
                0 => (rng.random_range(0..1 << 20), rng.random_range(0..1 << 32)),
                1 => (0, 0),
                2 => ((1 << 20) - 1, u64::MAX),
                3 => (near * 8, u64::from(rng.random::<u32>() % 2000)),
                _ => (near * 8 + rng.random_range(0..2000), near + rng.random_range(0..60)),
            };
            // Clocks that jump, stand still, and go back.
            now = match rng.random_range(0..100) {
                0 => Duration::from_secs(rng.random_range(0..1 << 40)),
                1 => Duration::MAX,
                2 => Duration::ZERO,
                _ => now.saturating_add(ms(rng.random_range(0..40))),
            };
            let level = Level::from_dbov(rng.random_range(0..=127));
            let mut bytes = [7; 1275];
            bytes[0] = [0x48, 0x18, 0xe0, 0x00, 0x4c][rng.random_range(0..5)];
            let len = [0, 1, 60, 1275][rng.random_range(0..4)];
            let opus = OpusPacket::parse(&bytes[..len]).unwrap();
            let frame = VoiceFrame { time: MediaTime::from_units(time), level, opus };
            let epoch = rng.random_range(0..3);
            let heard = match rng.random_range(0..4) {
                0 if seed % 2 == 0 => Heard::verified(ANA, epoch, counter, frame),
                _ => Heard::unverified(ANA, epoch, counter, frame),
            };
            ear.insert(&heard, now);
            let _ = ear.next(now);
            let c = ear.counters();
            let waiting = c.received.checked_sub(c.played + c.duplicate + c.late + c.stray + c.cut + c.replaced);
            assert!(waiting.is_some_and(|n| n <= 400), "seed {seed}: {c:?}");
        }
    }
}

#[test]
fn a_few_forged_counters_do_not_disturb_a_voice() {
    let mut rng = StdRng::seed_from_u64(13);
    let mut ear = Checked::new(Delay::default(), 13);
    for i in 0..2000_u32 {
        let now = ms(20 * u64::from(i));
        assert_eq!(ear.frame(i, now), Arrival::Kept);
        if i > 10 && i % 3 == 0 {
            let far = i + rng.random_range(1000..1_000_000);
            assert_eq!(ear.insert(far, MediaTime::from_units(8 * u64::from(i + 1)), LOUD, now), Arrival::Stray);
        }
        assert!(!matches!(ear.next(now), Played::Frame(n) if n > i));
    }
    let c = ear.counters();
    assert!(c.played > 1990 && c.restarts == 0, "{c:?}");
}

/// Frame `number` of a speaker who began at media time 0, with what is certain of it.
fn opened(number: u64, verified: bool, opus: &[u8]) -> Heard<VoiceFrame<'_>> {
    let opus = OpusPacket::parse(opus).unwrap();
    let frame = VoiceFrame { time: MediaTime::from_units(8 * number), level: LOUD, opus };
    if verified { Heard::verified(ANA, 0, number, frame) } else { Heard::unverified(ANA, 0, number, frame) }
}

/// Whether a signature of theirs covers it already: one in twenty-five.
fn signs(number: u64) -> bool {
    number.is_multiple_of(25)
}

#[test]
fn a_speaker_who_signs_is_heard_on_when_the_listeners_clock_is_set_back() {
    for signed in [false, true] {
        for back in [5_000, 3_600_000] {
            let mut ear = JitterBuffer::new(Delay::default());
            let mut played = 0;
            for number in 0..600_u64 {
                let now = ms(7_200_000 + 20 * number) - if number < 200 { ms(0) } else { ms(back) };
                ear.insert(&opened(number, signed && number < 200 && signs(number), &[0x48, 1]), now);
                played += u32::from(matches!(ear.next(now), Play::Frame(..)));
            }
            let c = ear.counters();
            assert!(played >= 560 && c.stray <= 3, "signs: {signed}, {back} ms back: {played} played, {c:?}");
        }
    }
}

#[test]
fn forged_frames_before_their_time_cost_a_speaker_who_signs_nothing() {
    let fresh = || (JitterBuffer::new(Delay::default()), 0_u64);
    let spoken: Vec<u8> = [&[0x48][..], &[1; 299]].concat();
    let of_120_ms: Vec<u8> = vec![0x4b, 6, 1, 1, 1, 1, 1, 1];
    let long: Vec<u8> = [&[0xe1][..], &[0; 2042]].concat();
    let mut plain = None;
    // As far ahead as is believed at all; with few bytes, or as many as may be.
    for (what, forged, ahead) in [
        ("none", &[0x48, 2][..], 1..1_u64),
        ("one", &[0x48, 2], 45..46),
        ("many", &[0x48, 2], 2..48),
        ("of 120 ms", &of_120_ms, 2..14),
        ("of 2,043 bytes", &long, 2..51),
    ] {
        let (mut ear, mut kept) = fresh();
        for number in 0..1_000_u64 {
            let now = ms(20 * number);
            if number >= 100 && number % 100 == 10 {
                ahead.clone().for_each(|ahead| _ = ear.insert(&opened(number + ahead, false, forged), now));
            }
            // Whose place is taken comes verified, as the voice holds it until it is.
            let taken = number >= 110 && ahead.contains(&((number - 10) % 100));
            kept += u64::from(ear.insert(&opened(number, taken || signs(number), &spoken), now) == Arrival::Kept);
            let _ = ear.next(now);
        }
        let c = ear.counters();
        println!("{what}: {kept} kept, {c:?}");
        assert_eq!((kept, c.cut, c.late), (1_000, 0, 0), "{what}: {c:?}");
        assert!(ear.target() <= ms(60), "{what}: {:?}", ear.target());
        let plain = *plain.get_or_insert(c.shortened);
        assert!(c.shortened <= plain + ms(20), "{what}: {c:?}, where {plain:?} were taken out without");
    }
}

#[test]
fn a_straggler_that_its_signature_overtook_is_late_and_drops_nobody() {
    let mut ear = JitterBuffer::new(Delay::fixed(ms(200)).unwrap());
    let mut order = Vec::new();
    for number in 0..200_u64 {
        let now = ms(20 * number);
        let opus = [0x48, number as u8];
        if number != 119 {
            ear.insert(&opened(number, number < 119 && signs(number), &opus), now);
        }
        if number == 133 {
            let arrival = ear.insert(&opened(119, true, &[0x48, 119]), now);
            assert_eq!(arrival, Arrival::Late);
        }
        if let Play::Frame(frame, _) = ear.next(now) {
            order.push(frame.opus.bytes()[1]);
        }
    }
    assert!(order.is_sorted(), "{order:?}");
    let c = ear.counters();
    assert_eq!((c.replaced, c.cut, c.late), (0, 0, 1), "{c:?}");
}

#[test]
fn of_a_speaker_who_signs_the_newest_are_kept_while_nobody_asks_for_sound() {
    let mut ear = JitterBuffer::new(Delay::default());
    for number in 0..500_u64 {
        let now = ms(20 * number);
        assert_eq!(ear.insert(&opened(number, signs(number), &[0x48, number as u8]), now), Arrival::Kept, "{number}");
        if number < 200 {
            let _ = ear.next(now);
        }
    }
    let next = ear.next(ms(10_000));
    assert!(!matches!(next, Play::Frame(frame, _) if frame.opus.bytes()[1] < (425_u64 as u8)), "{next:?}");
    assert_eq!(ear.counters().stray, 0);
}
