//! The jitter buffer against simulated networks, and against media times nobody honest sends.

use std::time::Duration;

use parlor::{
    frame::{Level, MediaTime, VoiceFrame},
    sound::{Arrival, Counters, Delay, JitterBuffer, Play},
};
use rand::{RngExt, SeedableRng, rngs::StdRng};

use crate::ms;

const LOUD: Level = Level::from_dbov(20);

/// What a pull played, by the number of the frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Played {
    Frame(u32),
    Merge(u32, u32),
    /// Restored, from the frame of this number.
    Recover(u32),
    Conceal,
    Silence,
}

/// A buffer, and a check after every step that it plays forward only and loses count of nothing.
struct Checked {
    buffer: JitterBuffer,
    last: Option<u32>,
    seed: u64,
}

impl Checked {
    fn new(delay: Delay, seed: u64) -> Self {
        Self { buffer: JitterBuffer::new(delay), last: None, seed }
    }

    fn insert(&mut self, number: u32, time: MediaTime, level: Level, now: Duration) -> Arrival {
        let arrival = self.buffer.insert(&VoiceFrame { time, level, opus: &number.to_be_bytes() }, now);
        self.check();
        arrival
    }

    /// Frame `number` of a speaker who began at media time 0.
    fn frame(&mut self, number: u32, now: Duration) -> Arrival {
        self.insert(number, MediaTime::from_units(u64::from(number) * 8), LOUD, now)
    }

    fn next(&mut self, now: Duration) -> Played {
        let number = |frame: VoiceFrame<'_>| u32::from_be_bytes(frame.opus.try_into().unwrap());
        let played = match self.buffer.next(now) {
            Play::Frame(frame) => Played::Frame(number(frame)),
            Play::Merge(first, second) => Played::Merge(number(first), number(second)),
            Play::Recover(frame) => Played::Recover(number(frame)),
            Play::Conceal => Played::Conceal,
            Play::Silence => Played::Silence,
        };
        match played {
            Played::Frame(n) => self.forward(n),
            Played::Merge(a, b) => {
                self.forward(a);
                self.forward(b);
            }
            Played::Recover(n) => assert!(self.last < Some(n), "seed {}: restored from a frame played", self.seed),
            Played::Conceal | Played::Silence => {}
        }
        self.check();
        played
    }

    fn forward(&mut self, number: u32) {
        assert!(self.last < Some(number), "seed {}: {number} after {:?}", self.seed, self.last);
        self.last = Some(number);
    }

    fn check(&self) {
        let c = self.buffer.counters();
        let waiting = c.received.checked_sub(c.played + c.duplicate + c.late + c.stray + c.cut);
        assert!(waiting.is_some_and(|n| n <= 64), "seed {}: {c:?}", self.seed);
    }

    fn counters(&self) -> Counters {
        self.buffer.counters()
    }
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
        (0..frames).map(|_| self.step(ear, Some(weather))).collect()
    }

    /// One frame sent, if at all, all that has arrived taken in, one frame played.
    fn step(&mut self, ear: &mut Checked, weather: Option<Weather>) -> Played {
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
        ear.next(now)
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
    assert_eq!(
        (c.played, c.lost, c.late, c.duplicate, c.recovered, c.concealed, c.stretched),
        (1000, 0, 0, 0, 0, 0, 0)
    );
    assert_eq!(c.trailing, 10, "200 ms are filled in before the speaker is taken to have stopped");
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
        assert!(c.late <= 100, "seed {seed}: {} of 5,000 came too late", c.late);
        assert_eq!(c.played + c.cut + c.late + net.lost, 5000, "seed {seed}: {c:?}");
        // The first and last frames may be lost before or after anything is heard.
        assert!(net.lost - c.lost <= 8, "seed {seed}: {} were lost, {c:?}", net.lost);
        assert_eq!(c.recovered + c.concealed, c.lost + c.late, "seed {seed}: {c:?}");
        assert!(c.recovered * 3 > c.lost, "seed {seed}: the last of each burst can be restored: {c:?}");
        assert!(c.stretched + c.merged < 60, "seed {seed}: {c:?}");
        assert_eq!((c.stray, c.restarts, c.cut), (0, 0, 0), "seed {seed}");
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
    assert!((ms(100)..=ms(160)).contains(&storm), "{storm:?}");
    let c = ear.counters();
    assert!(c.merged >= 3 && c.stretched >= 3, "{c:?}");
    assert!(c.late < 15, "{c:?}");
    assert_eq!(c.cut, 0, "{c:?}");
}

#[test]
fn the_delay_changes_in_quiet_moments_if_there_are_any() {
    let (mut net, mut ear) = (Network::new(8), Checked::new(Delay::default(), 8));
    let quiet = |number: u32| number % 100 < 20;
    let mut played = Vec::new();
    for i in 0..6000_u32 {
        // Two seconds of storm, then calm, then storm.
        let weather = if (i / 1000) % 2 == 1 { Weather { bursts: 0, doubles: 0, ..STORM } } else { CALM };
        net.send(weather);
        net.tick += 20;
        let now = ms(net.tick + 7);
        net.wire.sort();
        while net.wire.first().is_some_and(|(at, _)| *at <= now) {
            let (at, number) = net.wire.remove(0);
            let level = Level::from_dbov(if quiet(number) { 55 } else { 20 });
            ear.insert(number, MediaTime::from_units(u64::from(number) * 8), level, at);
        }
        played.push(ear.next(now));
    }
    let merges: Vec<u32> =
        played.iter().filter_map(|play| if let Played::Merge(first, _) = play { Some(*first) } else { None }).collect();
    assert!(merges.len() >= 6, "{merges:?}");
    let amid_words = merges.iter().filter(|number| !quiet(**number)).count();
    assert_eq!(amid_words, 0, "{merges:?}");
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
            assert_eq!(ear.buffer.delay(), ms(49));
        }
    }
    let c = ear.counters();
    assert!(ear.buffer.delay() >= ms(55), "{:?}", ear.buffer.delay());
    assert_eq!((c.late, c.lost), (0, 0), "{c:?}");
    assert!(c.stretched >= 1, "{c:?}");
}

#[test]
fn a_fixed_delay_stays_where_it_is() {
    let (mut net, mut ear) = (Network::new(9), Checked::new(Delay::fixed(ms(200)).unwrap(), 9));
    net.run(&mut ear, 500, STORM);
    for _ in 0..500 {
        net.step(&mut ear, Some(STORM));
        let delay = ear.buffer.delay();
        assert!((ms(180)..=ms(240)).contains(&delay), "{delay:?}");
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
    assert!(ear.buffer.delay() <= ms(120), "{:?}", ear.buffer.delay());
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
    assert_eq!((c.recovered, c.concealed, c.lost), (2, 2, 4));
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
fn a_speaker_who_stops_is_silent_and_comes_back() {
    for pause in [300, 1000, 10_000, 3_600_000] {
        for clock_stands in [false, true] {
            let mut ear = Checked::new(Delay::default(), pause);
            let (mut number, mut now) = (0, 0);
            let talk = |ear: &mut Checked, frames: u32, now: &mut u64, number: &mut u32| -> Vec<Played> {
                (0..frames)
                    .map(|_| {
                        ear.frame(*number, ms(*now));
                        *number += 1;
                        *now += 20;
                        ear.next(ms(*now - 20))
                    })
                    .collect()
            };
            talk(&mut ear, 100, &mut now, &mut number);
            let silent: Vec<Played> = (0..pause / 20)
                .map(|_| {
                    now += 20;
                    ear.next(ms(now - 20))
                })
                .collect();
            assert_eq!(silent.last(), Some(&Played::Silence), "pause of {pause} ms");
            if pause == 300 {
                assert_eq!(ear.frame(number - 1, ms(now)), Arrival::Duplicate, "played before the pause");
            }
            if !clock_stands {
                number += (pause / 20) as u32;
            }
            let again = talk(&mut ear, 100, &mut now, &mut number);
            let heard = again.iter().filter(|play| matches!(play, Played::Frame(_))).count();
            assert!(heard >= 94, "pause of {pause} ms, clock stands: {clock_stands}: {heard} heard of 100");
            let c = ear.counters();
            assert_eq!((c.late, c.cut), (0, 0), "pause of {pause} ms: {c:?}");
            let delay = ear.buffer.delay();
            assert!(delay <= ms(100), "pause of {pause} ms, clock stands: {clock_stands}: {delay:?}");
        }
    }
}

#[test]
fn a_clock_that_starts_anew_is_followed_within_three_frames() {
    for origin in [0_u64, 1 << 23, 0xff_ff00, 12_345_677] {
        let mut ear = JitterBuffer::new(Delay::default());
        let mut now = 0;
        let mut talk = |ear: &mut JitterBuffer, origin: u64| -> usize {
            (0..100_u64)
                .filter(|i| {
                    let time = MediaTime::from_units(origin + 8 * i);
                    ear.insert(&VoiceFrame { time, level: LOUD, opus: b"x" }, ms(now));
                    now += 20;
                    matches!(ear.next(ms(now - 20)), Play::Frame(_))
                })
                .count()
        };
        assert!(talk(&mut ear, 5_000_000) >= 96);
        let heard = talk(&mut ear, origin);
        assert!(heard >= 90, "origin {origin}: {heard} heard of 100");
        let c = ear.counters();
        assert_eq!((c.restarts, c.stray), (1, 2), "origin {origin}: {c:?}");
    }
}

#[test]
fn media_time_wraps_without_a_sound() {
    let mut ear = JitterBuffer::new(Delay::default());
    for i in 0..1000_u64 {
        let time = MediaTime::from_units((1 << 24) - 8 * 500 + 8 * i);
        assert_eq!(ear.insert(&VoiceFrame { time, level: LOUD, opus: b"x" }, ms(20 * i)), Arrival::Kept);
        ear.next(ms(20 * i));
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
    let heard = played.iter().filter(|play| matches!(play, Played::Frame(_))).count();
    assert!(heard > 190, "{heard} of 200");
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
fn hostile_media_times_cost_nothing_but_themselves() {
    for seed in 0..50 {
        let mut rng = StdRng::seed_from_u64(seed);
        let mut ear = JitterBuffer::new(Delay::default());
        let mut now = Duration::ZERO;
        for _ in 0..5000 {
            let time = match rng.random_range(0..4) {
                0 => rng.random_range(0..1 << 24),
                1 => 0,
                2 => (1 << 24) - 1,
                _ => ((now.as_millis() % (1 << 60)) as u64 * 2 / 5) + rng.random_range(0..2000),
            };
            // Clocks that jump, stand still, and go back.
            now = match rng.random_range(0..100) {
                0 => Duration::from_secs(rng.random_range(0..1 << 40)),
                1 => Duration::MAX,
                2 => Duration::ZERO,
                _ => now.saturating_add(ms(rng.random_range(0..40))),
            };
            let level = Level::from_dbov(rng.random_range(0..=127));
            ear.insert(&VoiceFrame { time: MediaTime::from_units(time), level, opus: &[7; 1275] }, now);
            ear.next(now);
            let c = ear.counters();
            let waiting = c.received.checked_sub(c.played + c.duplicate + c.late + c.stray + c.cut);
            assert!(waiting.is_some_and(|n| n <= 64), "seed {seed}: {c:?}");
        }
    }
}

#[test]
fn a_few_forged_media_times_do_not_disturb_a_voice() {
    let mut rng = StdRng::seed_from_u64(13);
    let mut ear = JitterBuffer::new(Delay::default());
    for i in 0..2000_u64 {
        let time = MediaTime::from_units(8 * i);
        assert_eq!(ear.insert(&VoiceFrame { time, level: LOUD, opus: b"x" }, ms(20 * i)), Arrival::Kept);
        if i > 10 && i % 3 == 0 {
            let far = MediaTime::from_units(8 * i + rng.random_range(1000..10_000_000));
            assert_eq!(ear.insert(&VoiceFrame { time: far, level: LOUD, opus: b"y" }, ms(20 * i)), Arrival::Stray);
        }
        let play = ear.next(ms(20 * i));
        assert!(!matches!(play, Play::Frame(frame) if frame.opus == b"y"));
    }
    let c = ear.counters();
    assert!(c.played > 1990 && c.restarts == 0, "{c:?}");
}
