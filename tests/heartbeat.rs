//! The heartbeat: whoever the relay keeps commits from stops speaking in time, nobody else does, and two histories or a
//! host gone silent are told.

mod party;

use std::{collections::BTreeMap, time::Duration};

use Role::{Host, Listener, Moderator, Speaker};
use chacha20poly1305::{
    ChaCha20Poly1305, KeyInit as _, Nonce,
    aead::{Aead as _, Payload},
};
use openmls::prelude::OpenMlsProvider as _;
use openmls_traits::signatures::Signer as _;
use parlor::{
    Cause, Error, Event, Identity, MemberId, Role, Room, Settings, Voice,
    room::{
        door::UnixTime,
        heartbeat::{BEAT_EVERY, STALE_AFTER},
    },
};
use party::{
    guest,
    mal::{Bare, Mal},
};
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use sha2::{Digest as _, Sha256};

const fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

const fn s(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn is_signal(message: &[u8]) -> bool {
    message[0] == 2
}

/// Somebody at the relay's end, with a clock of their own.
struct At {
    id: MemberId,
    room: Room,
    voice: Voice,
    /// What their clock shows more than the world's.
    clock: i64,
    /// Whether their process runs.
    awake: bool,
    told: Vec<(Duration, Event)>,
    /// When they were stale, on the world's clock.
    stale: Vec<(Duration, Option<Duration>)>,
    ticked: Duration,
}

impl At {
    fn now(&self, world: Duration) -> Duration {
        ms(world.as_millis() as u64).saturating_add_signed_ms(self.clock)
    }

    fn is_stale(&self) -> bool {
        self.stale.last().is_some_and(|(_, until)| until.is_none())
    }

    fn alarms(&self) -> Vec<&Event> {
        self.told.iter().map(|(_, event)| event).filter(|event| is_alarm(event)).collect()
    }

    fn speaks(&mut self) -> bool {
        self.voice.seal(b"good evening").is_ok()
    }
}

fn is_alarm(event: &Event) -> bool {
    matches!(event, Event::Behind { .. } | Event::SplitView { .. } | Event::HostSilent { .. })
}

trait AddMs {
    fn saturating_add_signed_ms(self, by: i64) -> Self;
}

impl AddMs for Duration {
    fn saturating_add_signed_ms(self, by: i64) -> Self {
        if by < 0 { self.saturating_sub(ms(by.unsigned_abs())) } else { self + ms(by as u64) }
    }
}

/// What the relay does with a message of `from` for `to`: when it brings it, if at all.
type Rule = Box<dyn FnMut(&World, usize, usize, &[u8]) -> Option<Duration>>;

/// People, a relay between them, and time.
struct World {
    people: Vec<At>,
    now: Duration,
    tick: Duration,
    /// On its way: when, to whom.
    wire: BTreeMap<(Duration, u64), (usize, Vec<u8>)>,
    sent: u64,
    /// Commits come in this order: none before the last.
    last_commit: Vec<Duration>,
    rule: Option<Rule>,
    /// All signals, who sent them and when.
    log: Vec<(Duration, usize, Vec<u8>)>,
}

impl World {
    /// The first is the host who made the room; each message takes `latency`.
    fn new(names: &[(&str, Role)], tick: Duration, latency: Duration) -> Self {
        let host = Room::create(Identity::generate(names[0].0).unwrap(), Settings::default()).unwrap();
        let mut world = Self {
            people: Vec::new(),
            now: s(100),
            tick,
            wire: BTreeMap::new(),
            sent: 0,
            last_commit: Vec::new(),
            rule: Some(Box::new(move |world, _, _, _| Some(world.now + latency))),
            log: Vec::new(),
        };
        world.sits_down(host);
        if names.len() == 1 {
            return world;
        }
        let guests: Vec<_> = names[1..].iter().map(|(name, role)| (guest(name), *role)).collect();
        let cards: Vec<_> = guests.iter().map(|(guest, role)| (guest.card().clone(), *role)).collect();
        let admission = world.people[0].room.admit_all(&cards).unwrap();
        world.hand(0, &admission.commit);
        for (guest, _) in guests {
            world.sits_down(guest.enter(&admission.welcome).unwrap());
        }
        world
    }

    /// Each clock began to count another time.
    fn sits_down(&mut self, (room, voice): (Room, Voice)) -> usize {
        let id = room.me().unwrap().id;
        let clock = self.people.len() as i64 * 7_001 - 50_000;
        let ticked = self.now;
        let (told, stale) = (Vec::new(), Vec::new());
        self.people.push(At { id, room, voice, clock, awake: true, told, stale, ticked });
        self.last_commit.push(self.now);
        self.people.len() - 1
    }

    /// Gives `message` to `to`, this moment.
    fn hand(&mut self, to: usize, message: &[u8]) -> bool {
        let now = self.people[to].now(self.now);
        if !self.people[to].room.is_open() {
            return false;
        }
        match self.people[to].room.receive(message, now) {
            Ok(events) => {
                self.tell(to, events);
                true
            }
            Err(_) => false,
        }
    }

    fn tell(&mut self, who: usize, events: Vec<Event>) {
        for event in events {
            if let Event::Send(bytes) = event {
                self.send(who, &bytes);
                continue;
            }
            let (now, at) = (self.now, &mut self.people[who]);
            if let Some(event) = event.tell(&mut at.voice).unwrap() {
                match &event {
                    Event::Stale { .. } => at.stale.push((now, None)),
                    Event::Fresh => at.stale.last_mut().unwrap().1 = Some(now),
                    _ => {}
                }
                at.told.push((now, event));
            }
        }
    }

    /// Gives a message to the relay, for everybody.
    fn send(&mut self, from: usize, message: &[u8]) {
        if is_signal(message) {
            self.log.push((self.now, from, message.to_vec()));
        }
        let mut rule = self.rule.take().unwrap();
        for to in 0..self.people.len() {
            if let Some(mut at) = rule(self, from, to, message) {
                if !is_signal(message) {
                    at = at.max(self.last_commit[to]);
                    self.last_commit[to] = at;
                }
                self.sent += 1;
                self.wire.insert((at, self.sent), (to, message.to_vec()));
            }
        }
        self.rule = Some(rule);
    }

    fn commit(&mut self, from: usize, make: impl FnOnce(&mut Room) -> parlor::Result<Vec<u8>>) {
        let commit = make(&mut self.people[from].room).unwrap();
        self.send(from, &commit);
    }

    /// Lets time pass, and calls `look` after each step.
    fn run(&mut self, time: Duration, mut look: impl FnMut(&mut Self)) {
        let until = self.now + time;
        while self.now < until {
            self.now += ms(20);
            while let Some(entry) = self.wire.first_entry().filter(|entry| entry.key().0 <= self.now) {
                let (to, message) = entry.remove();
                if self.people[to].awake {
                    self.hand(to, &message);
                }
            }
            for who in 0..self.people.len() {
                let at = &mut self.people[who];
                if at.awake && self.now >= at.ticked + self.tick {
                    at.ticked = self.now;
                    let events = at.room.tick(at.now(self.now));
                    self.tell(who, events);
                }
            }
            look(self);
        }
    }

    fn lets(&mut self, time: Duration) {
        self.run(time, |_| {});
    }
}

const CLUB: &[(&str, Role)] =
    &[("ana", Host), ("ben", Speaker), ("cleo", Speaker), ("dora", Listener), ("eve", Listener)];
const ANA: usize = 0;
const BEN: usize = 1;
const CLEO: usize = 2;
const DORA: usize = 3;
const EVE: usize = 4;

#[test]
fn a_host_beats_every_five_seconds_and_nobody_else_does() {
    let mut world = World::new(CLUB, ms(100), ms(50));
    world.lets(s(60));
    let mut beats: Vec<_> = world.log.iter().filter(|(_, from, _)| *from == ANA).map(|(at, ..)| *at).collect();
    assert!(beats.windows(2).all(|pair| pair[1] - pair[0] <= BEAT_EVERY + ms(100)), "{beats:?}");
    beats.dedup();
    assert!((12..=15).contains(&beats.len()), "{beats:?}");
    let pings = |who| world.log.iter().filter(|(_, from, _)| *from == who).count();
    assert!((1..=2).contains(&pings(BEN)) && (1..=2).contains(&pings(CLEO)), "one each, and one a minute");
    assert_eq!((pings(DORA), pings(EVE)), (0, 0), "listeners ask nothing");
    assert!(world.log.iter().all(|(.., bytes)| bytes.len() == 469));
    // Nothing is due before the time that next_tick gives, and with it nothing is late.
    for at in &mut world.people {
        let next = at.room.next_tick().unwrap();
        assert!(next > at.now(world.now) - ms(100) && next <= at.now(world.now) + BEAT_EVERY * 12);
    }
}

#[test]
fn ticking_when_asked_to_is_enough() {
    let mut world = World::new(CLUB, s(3600), ms(50));
    world.run(s(120), |world| {
        for who in 0..world.people.len() {
            let at = &mut world.people[who];
            let now = at.now(world.now);
            if at.room.next_tick().is_some_and(|due| due <= now) {
                let events = at.room.tick(now);
                world.tell(who, events);
            }
        }
    });
    for (who, at) in world.people.iter().enumerate() {
        assert!(!at.is_stale() && at.alarms().is_empty(), "{who}: {:?}", at.told);
        assert_eq!(at.stale.len(), usize::from(who == BEN || who == CLEO), "on entering, and never again");
    }
    assert!(world.log.len() < 80, "{} signals in two minutes", world.log.len());
}

#[test]
fn nobody_is_stopped_while_the_relay_is_honest() {
    let (tick, way) = (ms(200), ms(100));
    let mut world = World::new(CLUB, tick, way);
    for round in 0..30 {
        world.lets(s(20));
        let who = [ANA, BEN, CLEO, DORA][round % 4];
        world.commit(who, Room::refresh);
    }
    world.lets(s(1));
    for (who, at) in world.people.iter().enumerate() {
        assert!(at.alarms().is_empty(), "{who}: {:?}", at.told);
        let entering: Vec<_> = at.stale.iter().map(|(from, until)| until.unwrap() - *from).collect();
        if who == BEN || who == CLEO {
            assert!(entering.len() == 1 && entering[0] <= way * 2 + tick * 2, "{who}: {entering:?}");
        } else {
            assert!(entering.is_empty(), "{who}: {entering:?}");
        }
        assert_eq!(at.room.epoch(), 31);
    }
    // One comes on stage, and has to wait for a round trip too.
    let dora = world.people[DORA].id;
    world.commit(ANA, |room| room.set_role(&dora, Speaker));
    world.lets(s(2));
    let (from, until) = world.people[DORA].stale[0];
    assert!(until.unwrap() - from <= way * 2 + tick * 2, "{:?}", until.unwrap() - from);
    assert!(world.people[DORA].speaks());
}

#[test]
fn a_room_whose_app_never_ticks_goes_on_and_so_does_one_of_one() {
    let mut world = World::new(CLUB, s(3600), ms(50));
    world.lets(s(120));
    assert!(world.people[BEN].speaks() && world.log.is_empty());
    let mut alone = World::new(&CLUB[..1], ms(200), ms(50));
    alone.lets(s(120));
    assert!(alone.people[ANA].speaks() && alone.log.is_empty() && alone.people[ANA].room.next_tick().is_none());
    // Without a host there is nobody to beat, and nobody on stage.
    let mut world = World::new(CLUB, ms(200), ms(50));
    world.commit(ANA, Room::leave);
    world.lets(s(60));
    assert!(world.people.iter().all(|at| !at.is_stale() && at.alarms().is_empty()));
}

#[test]
fn who_is_stale_seals_nothing_and_is_told_what_to_do_and_ears_say_so() {
    let mut world = World::new(CLUB, s(1), ms(50));
    world.lets(s(10));
    let packet = world.people[BEN].voice.seal(b"hello").unwrap();
    let since = world.now;
    world.people[ANA].awake = false;
    world.lets(STALE_AFTER + s(7));
    for who in [BEN, CLEO, DORA, EVE] {
        let silent =
            matches!(world.people[who].alarms()[..], [Event::HostSilent { host }] if *host == world.people[ANA].id);
        assert!(world.people[who].is_stale() && silent, "{who}: {:?}", world.people[who].told);
    }
    let stale = world.people[BEN].told.iter().rev().find_map(|(_, event)| match event {
        Event::Stale { since } => Some(*since),
        _ => None,
    });
    let since = world.people[BEN].now(since);
    assert!(stale.is_some_and(|stale| stale <= since && stale + BEAT_EVERY + s(1) > since), "{stale:?} {since:?}");

    let (ben, now) = (world.people[BEN].id, world.people[DORA].now(world.now));
    let digest = world.people[BEN].voice.state_digest();
    let refused = world.people[BEN].voice.seal(b"hello?").unwrap_err();
    assert!(matches!(refused, Error::Stale { epoch: 1 }) && refused.to_string().contains("fetch the control messages"));
    assert_eq!(world.people[BEN].voice.state_digest(), digest, "no counter is used");
    let dora = &mut world.people[DORA].voice;
    assert!(dora.open(&packet, now).is_ok(), "what comes is played");
    let hearing = dora.hearing(&ben, now);
    assert_eq!(hearing.cause, Cause::NoHeartbeat);
    assert!(hearing.cause.to_string().contains("stale") && hearing.cause.next_step().contains("ask a host"));

    // The host wakes, and all is well, over a key change too.
    world.people[ANA].awake = true;
    world.commit(ANA, Room::refresh);
    world.lets(s(2));
    assert!(world.people.iter().all(|at| !at.is_stale()));
    assert!(world.people[BEN].speaks());
    let now = world.people[DORA].now(world.now);
    let (ana, dora) = (world.people[ANA].id, &world.people[DORA]);
    assert!(matches!(dora.voice.hearing(&ana, now).cause, Cause::NothingYet { .. }));
}

/// A relay that brings signals late and in any order, those of before included, but nothing of the removal.
#[test]
fn whoever_the_relay_keeps_a_removal_from_stops_within_fifteen_seconds() {
    let mut longest = Duration::ZERO;
    for seed in 0..300 {
        let mut rng = StdRng::seed_from_u64(seed);
        let hosts = if rng.random_bool(0.3) { 2 } else { 1 };
        let mut names = vec![("ana", Host), ("ben", Speaker), ("eve", Listener)];
        if hosts == 2 {
            names.push(("hal", Host));
        }
        let tick = ms(rng.random_range(1..=50) * 20);
        let mut world = World::new(&names, tick, ms(80));
        let (ben, eve) = (1, world.people[2].id);
        // From some time on, perhaps from the start, what goes to Ben waits for as long as the relay likes, more and
        // more; of epochs that he is not to know nothing comes but what shows nothing new.
        let starts = world.now + ms(rng.random_range(0..60_000));
        let (slow, jitter) = (rng.random_range(0.0..1.0_f64), rng.random_range(0..20_000_u64));
        let pings_too = rng.random_bool(0.3);
        let gone = world.now + ms(rng.random_range(500..90_000));
        let mut dice = StdRng::seed_from_u64(!seed);
        world.rule = Some(Box::new(move |world, from, to, message| {
            if to == ben && !is_signal(message) && world.now >= gone {
                return None;
            }
            let is_held = world.now >= starts && is_signal(message) && (to == ben || from == ben && pings_too);
            let held =
                if is_held { (world.now - starts).mul_f64(slow) + ms(dice.random_range(0..=jitter)) } else { ms(80) };
            Some(world.now + held)
        }));
        world.lets(gone - world.now);
        let removal = world.people[ANA].room.remove(&eve).unwrap();
        world.send(ANA, &removal);
        // The host has merged it when it comes back.
        world.lets(ms(100));
        assert_eq!(world.people[ANA].room.epoch(), 2, "seed {seed}");
        let (removed, mut last) = (world.now, Duration::ZERO);
        let mut replays = StdRng::seed_from_u64(seed);
        world.run(s(90), |world| {
            if world.people[ben].speaks() {
                last = world.now - removed;
            }
            // And whatever has ever been sent comes again.
            let at = replays.random_range(0..world.log.len());
            let old = world.log[at].clone();
            if world.people[ANA].room.epoch() > 1 && old.0 < removed && replays.random_bool(0.2) {
                world.hand(ben, &old.2);
            }
        });
        longest = longest.max(last);
        assert!(last <= STALE_AFTER, "seed {seed}: {last:?} after the removal");
        assert!(world.people[ben].is_stale() && world.people[ben].room.epoch() == 1, "seed {seed}");
    }
    println!("300 withheld removals: the last frame into the old epoch, at most {longest:?} after it");
    assert!(longest >= s(9), "or nobody spoke at all");
}

#[test]
fn a_late_welcome_opens_no_window() {
    // Ben was admitted a minute ago as a speaker, and Eve removed since; the relay shows him the room as it was.
    for role in [Speaker, Host] {
        let mut world = World::new(&[("ana", Host), ("eve", Listener)], ms(200), ms(50));
        let (eve, guest) = (world.people[1].id, guest("ben"));
        let admission = world.people[ANA].room.admit(guest.card(), role).unwrap();
        world.send(ANA, &admission.commit);
        world.lets(s(20));
        let beats: Vec<_> =
            world.log.iter().filter(|(_, from, _)| *from == ANA).map(|(.., beat)| beat.clone()).collect();
        world.commit(ANA, |room| room.remove(&eve));
        world.lets(s(40));
        let ben = world.sits_down(guest.enter(&admission.welcome).unwrap());
        world.rule = Some(Box::new(move |world, _, to, message| {
            (to != ben || is_signal(message)).then_some(world.now + ms(50))
        }));
        world.lets(ms(200));
        let mut again = beats.iter().cycle();
        world.run(s(60), |world| {
            world.hand(ben, again.next().unwrap());
            assert!(!world.people[ben].speaks(), "{role} at {:?}", world.now);
        });
        let behind = world.people[ben].alarms();
        assert!(
            matches!(behind[..], [Event::Behind { epoch, .. }] if *epoch == world.people[ANA].room.epoch()),
            "{behind:?}"
        );
    }
}

#[test]
fn two_histories_are_told_on_both_sides_and_one_of_them_gives_way() {
    let names = [("ana", Host), ("ben", Speaker), ("hal", Host), ("ida", Speaker)];
    for split_for in [s(3), s(40)] {
        let mut world = World::new(&names, ms(200), ms(50));
        world.lets(s(10));
        // Each side takes a commit of its own for the same epoch.
        let (ours, theirs) = (world.people[0].room.refresh().unwrap(), world.people[2].room.refresh().unwrap());
        let healed = world.now + split_for;
        world.rule = Some(Box::new(move |world, from, to, _| {
            let together = world.now >= healed || (from < 2) == (to < 2);
            together.then_some(world.now + ms(50))
        }));
        for (side, commit) in [([0, 1], ours), ([2, 3], theirs)] {
            side.iter().for_each(|who| assert!(world.hand(*who, &commit)));
        }
        world.lets(split_for);
        assert!(world.people.iter().all(|at| !at.is_stale()), "each side goes on");
        world.lets(s(7));
        // Who made the room has been its host for longer.
        for (who, at) in world.people.iter().enumerate() {
            let alarms: Vec<_> =
                at.alarms().into_iter().filter(|event| !matches!(event, Event::HostSilent { .. })).collect();
            let other = world.people[if who < 2 { 2 } else { 0 }].id;
            let [Event::SplitView { host, epoch: 2, follow }] = alarms[..] else { panic!("{who}: {alarms:?}") };
            assert_eq!((*host, *follow), (other, who >= 2), "{who}");
            assert!(at.is_stale(), "{who}");
            assert_eq!(
                at.told.iter().filter(|(_, event)| matches!(event, Event::HostSilent { .. })).count(),
                usize::from(split_for > s(20))
            );
        }
        assert!((0..4).all(|who| !world.people[who].speaks()));
        // Who is put out splits nothing.
        let gone = world.people[2].id;
        let remove = world.people[0].room.remove(&gone).unwrap();
        (0..2).for_each(|who| assert!(world.hand(who, &remove)));
        world.lets(s(2));
        assert!(world.people[0].speaks() && world.people[1].speaks() && !world.people[3].speaks());
    }
}

#[test]
fn a_host_of_a_later_epoch_is_told_and_after_fifteen_seconds_one_stops_whatever_another_host_says() {
    let mut world = World::new(&[("ana", Host), ("ben", Speaker), ("hal", Host)], ms(200), ms(50));
    world.lets(s(10));
    // Ben and Hal are cut off from commits, not from beats.
    world.rule = Some(Box::new(|world, _, to, message| (is_signal(message) || to == 0).then_some(world.now + ms(50))));
    world.commit(ANA, Room::refresh);
    let at = world.now;
    world.lets(ms(1900));
    assert!(world.people.iter().all(|at| at.alarms().is_empty()));
    world.lets(s(10));
    let ana = world.people[ANA].id;
    for who in [1, 2] {
        assert!(matches!(world.people[who].alarms()[..], [Event::Behind { host, epoch: 2 }] if *host == ana));
        assert!(world.people[who].speaks(), "it may be on its way yet");
    }
    world.lets(s(4));
    assert!(world.people[1].is_stale() && world.people[2].is_stale(), "{:?}", world.now - at);
    assert!(!world.people[0].is_stale());
}

#[test]
fn a_host_left_behind_in_an_epoch_gone_by_vouches_for_nothing_later() {
    let mut world = World::new(&[("ana", Host), ("ben", Speaker), ("hal", Host)], ms(200), ms(50));
    world.lets(s(10));
    // Hal gets no commit any more; then Ben gets none either, and nothing of Ana.
    world.rule = Some(Box::new(|world, _, to, message| (is_signal(message) || to != 2).then_some(world.now + ms(50))));
    world.commit(ANA, Room::refresh);
    world.lets(s(1));
    world.rule = Some(Box::new(|world, from, to, message| {
        (from != 0 && is_signal(message) || to == 0).then_some(world.now + ms(50))
    }));
    assert_eq!([0, 1, 2].map(|who| world.people[who].room.epoch()), [2, 2, 1]);
    world.lets(STALE_AFTER);
    assert!(world.people[1].is_stale(), "{:?}", world.people[1].told);
}

/// What seals a signal, by its third byte: an epoch's key, a host's to be asked, or that of who asked.
fn sealed_by(signal: &[u8]) -> usize {
    signal[2].into()
}

/// All that somebody who was put out ever held: the signal keys of the epochs they were in.
struct Hoard {
    mal: Mal,
    keys: Vec<(u64, ChaCha20Poly1305)>,
}

impl Hoard {
    fn new(mal: Mal) -> Self {
        let mut hoard = Self { mal, keys: Vec::new() };
        hoard.keep();
        hoard
    }

    fn follow(&mut self, commit: &[u8]) {
        self.mal.follow(commit);
        self.keep();
    }

    fn keep(&mut self) {
        let (group, crypto) = (&self.mal.group, self.mal.client.provider.crypto());
        let key = group.export_secret(crypto, "parlor signals 2", &[], 32).unwrap();
        self.keys.push((group.epoch().as_u64(), ChaCha20Poly1305::new_from_slice(&key).unwrap()));
    }

    fn opens(&self, signal: &[u8]) -> bool {
        let (header, sealed) = signal.split_at(23);
        let payload = || Payload { msg: sealed, aad: header };
        self.keys.iter().any(|(_, key)| key.decrypt(Nonce::from_slice(&header[11..]), payload()).is_ok())
    }

    /// What she makes of her keys: beats (0) and pings (1), in her name and in others', said to be of `epoch`.
    fn forges(
        &self,
        room: &[u8],
        others: [MemberId; 2],
        epoch: u64,
        transcript: [u8; 32],
    ) -> Vec<(u8, MemberId, Vec<u8>)> {
        let mut made = Vec::new();
        for (_, key) in &self.keys {
            let names = [self.mal.client.id(), others[0], others[1]];
            for (kind, who) in names.into_iter().flat_map(|who| [(0, who), (1, who)]) {
                let mut word = [&[kind][..], &epoch.to_be_bytes(), who.as_bytes(), &[7; 16], &transcript].concat();
                if kind == 1 {
                    word.truncate(1 + 8 + 32 + 8);
                }
                word.resize(1 + 8 + 32 + 305, 0);
                let signed = [&b"parlor signal 2\0"[..], &Sha256::digest(room), &word].concat();
                word.extend(self.mal.client.signer.sign(&signed).unwrap());
                word.resize(430, 0);
                let header = [&[2, 2, 0][..], &epoch.to_be_bytes(), &[9; 12]].concat();
                let payload = Payload { msg: &word, aad: &header };
                let sealed = key.encrypt(Nonce::from_slice(&[9; 12]), payload).unwrap();
                made.push((kind, who, [header, sealed].concat()));
            }
        }
        made
    }
}

#[test]
fn a_former_member_reads_no_signal_of_a_later_epoch_and_makes_none_that_is_taken() {
    let mut world = World::new(CLUB, ms(200), ms(50));
    world.lets(s(5));
    let client = Bare::new("mal");
    let (id, admission) = (client.id(), world.people[ANA].room.admit(&client.card(), Moderator).unwrap());
    world.send(ANA, &admission.commit);
    world.lets(s(1));
    let mut hoard = Hoard::new(client.enter(&admission));
    let begun = world.log.len();
    for who in [ANA, BEN, DORA] {
        let commit = world.people[who].room.refresh().unwrap();
        world.send(who, &commit);
        world.lets(s(7));
        hoard.follow(&commit);
    }
    let before: Vec<_> = world.log[begun..].iter().map(|(.., signal)| signal.clone()).collect();
    assert!(before.len() >= 5 && before.iter().all(|signal| hoard.opens(signal)), "{}", before.len());

    let is_behind = |who| who == CLEO || who == EVE;
    // She is put out. The relay is hers: it keeps that from Cleo and Eve, and brings everybody what she makes.
    world.rule = Some(Box::new(move |world, _, to, message| {
        (is_signal(message) || !is_behind(to)).then_some(world.now + ms(50))
    }));
    world.commit(ANA, |room| room.remove(&id));
    world.lets(ms(100));
    let (gone, epoch) = (world.log.len(), world.people[ANA].room.epoch());
    assert_eq!(
        [ANA, BEN, CLEO, DORA, EVE].map(|who| world.people[who].room.epoch() == epoch),
        [true, true, false, true, false]
    );
    let (room, host, ben) = (world.people[ANA].room.id().to_vec(), world.people[ANA].id, world.people[BEN].id);
    let transcript: [u8; 32] = Sha256::digest(world.people[ANA].room.transcript()).into();
    let mut turn = 0;
    world.run(s(90), |world| {
        turn += 1;
        if turn % 50 != 0 {
            return;
        }
        for said in [epoch - 3, epoch - 2, epoch - 1, epoch, epoch + 1] {
            for (kind, named, forged) in hoard.forges(&room, [host, ben], said, transcript) {
                for to in [ANA, BEN, DORA] {
                    let now = world.people[to].now(world.now);
                    // What seems to be their own they let be, and pings if they are no host, or who asks is not on stage.
                    let is_idle = named == world.people[to].id || kind == 1 && (to != ANA || named == id);
                    let is_later = said > world.people[to].room.epoch();
                    match world.people[to].room.receive(&forged, now) {
                        Err(Error::Unauthentic { .. } | Error::WrongEpoch { .. }) => {}
                        Ok(events) if is_idle || is_later => world.tell(to, events),
                        taken => panic!("{to}: {kind} of {said}: {taken:?}"),
                    }
                }
                if said >= epoch {
                    (0..5).for_each(|to| assert!(!world.hand(to, &forged) || said > epoch || is_behind(to)));
                }
            }
        }
        if turn == 1_000 {
            world.commit(ANA, Room::refresh);
        }
    });
    let after = &world.log[gone..];
    let kinds = [0, 1, 2].map(|kind| after.iter().filter(|(.., signal)| sealed_by(signal) == kind).count());
    let opened = after.iter().filter(|(.., signal)| hoard.opens(signal)).count();
    println!("{} signals after a removal ({kinds:?} by kind): the member put out opens {opened}", after.len());
    assert!(kinds[0] >= 20 && kinds[1] >= 10 && kinds[2] >= 10, "{kinds:?}");
    assert_eq!(opened, 0);
    assert!(world.log.iter().all(|(.., signal)| signal.len() == 469), "all of one length");
    // Who is kept behind is told, and who is not is not, whatever they are shown.
    for who in [CLEO, EVE] {
        let alarms = world.people[who].alarms();
        assert!(matches!(alarms[0], Event::Behind { host: by, .. } if *by == host), "{who}: {alarms:?}");
        let now = world.people[who].now(world.now);
        assert!(world.people[who].is_stale() && world.people[who].room.come_back_due(now), "{who}");
    }
    for who in [ANA, BEN, DORA] {
        assert!(!world.people[who].is_stale() && world.people[who].alarms().is_empty(), "{who}");
    }
}

#[test]
fn a_member_kept_behind_the_commit_that_brought_the_only_host_back_is_told() {
    let wall = UnixTime(1_800_000_000);
    let mut world = World::new(&[("ana", Host), ("mo", Moderator), ("ben", Speaker)], ms(200), ms(50));
    world.lets(s(10));
    world.rule = Some(Box::new(|world, _, to, message| (is_signal(message) || to != 2).then_some(world.now + ms(50))));
    // Ana has lost her place, and with it the keys that she had here; Mo brings her back.
    let (nobody, voice) = Room::create(Identity::generate("nobody").unwrap(), Settings::default()).unwrap();
    let lost = std::mem::replace(&mut world.people[ANA].room, nobody);
    (world.people[ANA].voice, world.people[ANA].awake) = (voice, false);
    let (returning, request) = lost.come_back(world.now, wall).unwrap();
    let now = world.people[1].now(world.now);
    let told = world.people[1].room.receive(&request, now).unwrap();
    let card = told.iter().find_map(|event| match event {
        Event::AsksBack { card, .. } => Some(card.clone()),
        _ => None,
    });
    let admission = world.people[1].room.bring_back(&card.unwrap(), wall).unwrap();
    world.send(1, &admission.commit);
    world.lets(ms(200));
    let (room, voice) = returning.enter(&admission.welcome, admission.tree.as_deref()).unwrap();
    (world.people[ANA].room, world.people[ANA].voice, world.people[ANA].awake) = (room, voice, true);
    world.lets(s(3));
    let ana = world.people[ANA].id;
    let alarms = world.people[2].alarms();
    assert!(matches!(alarms[..], [Event::Behind { host, epoch: 2 }] if *host == ana), "{alarms:?}");
    let due = |world: &World| world.people[2].room.come_back_due(world.people[2].now(world.now));
    assert!(!due(&world));
    world.lets(ms(2_500));
    assert!(due(&world));
}

/// A signal that anybody can make: it says an epoch, and opens for nobody.
fn hint(epoch: u64, junk: u8) -> Vec<u8> {
    let mut signal = [&[2, 2, 0][..], &epoch.to_be_bytes()].concat();
    signal.resize(469, junk);
    signal
}

#[test]
fn signals_that_open_for_nobody_bring_a_few_questions_a_minute_and_nothing_else() {
    let names = [("ana", Host), ("hal", Host), ("ben", Speaker), ("dora", Listener)];
    let mut world = World::new(&names, ms(200), ms(50));
    world.lets(s(10));
    let begun = world.log.len();
    let mut junk = 0_u8;
    world.run(s(600), |world| {
        for to in 0..4 {
            junk = junk.wrapping_add(1);
            let epoch = [1, 2, 7, u64::MAX][usize::from(junk) % 4];
            assert_eq!(world.hand(to, &hint(epoch, junk)), epoch > 1);
        }
        let now = |world: &World, to: usize| world.people[to].now(world.now);
        assert!((0..4).all(|to| !world.people[to].room.come_back_due(now(world, to))));
    });
    let asked = [0, 1, 2, 3].map(|who| {
        let sent = world.log[begun..].iter().filter(|(_, from, signal)| *from == who && sealed_by(signal) == 1);
        sent.count()
    });
    println!("50 signals a second that open for nobody, for ten minutes: members ask {asked:?} times");
    // Both hosts answer, and then a minute is quiet; a host asks another process of theirs three times in vain.
    assert!(asked[2..].iter().all(|asked| (16..=20).contains(asked)), "{asked:?}");
    assert!(asked[..2].iter().all(|asked| (28..=40).contains(asked)), "{asked:?}");
    for (who, at) in world.people.iter().enumerate() {
        assert!(!at.is_stale() && at.alarms().is_empty(), "{who}: {:?}", at.told);
    }
    // Where nobody answers they ask four at a time, after 1, 2 and 4 seconds, and then every five.
    let names = [("ana", Host), ("h2", Host), ("h3", Host), ("h4", Host), ("h5", Host), ("dora", Listener)];
    let mut world = World::new(&names, ms(200), ms(50));
    (0..5).for_each(|host| world.people[host].awake = false);
    world.run(s(60), |world| assert!(world.hand(5, &hint(7, 1))));
    let asked = world.log.iter().filter(|(_, from, signal)| *from == 5 && sealed_by(signal) == 1).count();
    assert!((4 * 11..=4 * 15).contains(&asked), "{asked}");
}

#[test]
fn a_clock_that_jumps_costs_a_ping_and_no_more() {
    for by in [3_600_000, -3_600_000] {
        let mut world = World::new(CLUB, ms(200), ms(50));
        // All clocks have run for longer than any jumps back.
        world.people.iter_mut().for_each(|at| at.clock += 10_000_000);
        world.lets(s(20));
        let told: Vec<_> = world.people.iter().map(|at| at.stale.len()).collect();
        for who in [ANA, BEN, DORA] {
            let before = world.log.len();
            world.people[who].clock += by;
            world.lets(s(25));
            for (other, at) in world.people.iter().enumerate() {
                assert!(!at.is_stale() && at.alarms().is_empty(), "{who} by {by}: {other}");
            }
            assert!(world.log.len() < before + 14, "{who} by {by}: {}", world.log.len() - before);
        }
        for (who, at) in world.people.iter().enumerate() {
            let more = &at.stale[told[who]..];
            // Whose clock leaps forward might have slept: the next answer says that they have not.
            assert_eq!(more.len(), usize::from(who == BEN && by > 0), "{who} by {by}");
            assert!(more.iter().all(|(from, until)| until.unwrap() - *from <= ms(400)));
        }
    }
}

#[test]
fn who_enters_as_a_host_waits_for_another_and_who_is_left_alone_does_not() {
    let mut world = World::new(&[("ana", Host), ("ben", Speaker), ("hal", Host)], ms(200), ms(50));
    world.lets(s(2));
    assert!(world.people[2].speaks());
    // The two hear nothing of Ana for long: Hal beats for himself and for Ben.
    world.people[ANA].awake = false;
    world.lets(s(60));
    let silent = |at: &At| at.alarms().len() == 1 && matches!(at.alarms()[0], Event::HostSilent { .. });
    assert!(silent(&world.people[1]) && silent(&world.people[2]));
    assert!(world.people[1].speaks() && world.people[2].speaks());
    // Asleep in the same epoch, she comes back to it.
    world.people[ANA].awake = true;
    world.lets(s(2));
    assert!(world.people.iter().all(|at| !at.is_stale()));
}

#[test]
fn a_signal_disturbs_nothing_else_and_costs_little() {
    let mut world = World::new(CLUB, ms(200), ms(50));
    world.lets(s(10));
    let own = world.log.iter().rev().find(|(_, from, _)| *from == ANA).unwrap().2.clone();
    let (now, ana) = (world.people[ANA].now(world.now), &mut world.people[ANA].room);
    assert!(ana.receive(&own, now).unwrap().is_empty(), "one's own, sent back");
    let code = ana.code();
    assert_eq!((ana.epoch(), ana.code()), (1, code));
    // Another room's, one cut short, one of no length.
    let mut other = World::new(CLUB, ms(200), ms(50));
    other.lets(s(10));
    for (.., signal) in &other.log {
        assert!(matches!(ana.receive(signal, now), Err(Error::Unauthentic { .. })));
    }
    for bytes in [&own[..468], &[2], &[&own[..], &[0]].concat()] {
        assert!(matches!(ana.receive(bytes, now), Err(Error::Malformed { .. })));
    }
    let started = std::time::Instant::now();
    let beat = world.log.iter().find(|(_, from, _)| *from == BEN).unwrap().2.clone();
    (0..100).for_each(|_| drop(world.people[ANA].room.receive(&beat, now)));
    println!("a signal read and verified: {:?}", started.elapsed() / 100);
    // Once out there is no heartbeat.
    let eve = world.people[EVE].id;
    world.commit(ANA, |room| room.remove(&eve));
    world.lets(s(1));
    assert!(matches!(world.people[EVE].room.receive(&own, now), Err(Error::Closed { .. })));
    assert!(world.people[EVE].room.next_tick().is_none_or(|due| due > world.people[EVE].now(world.now)));
}
