//! No frame is lost to a key change.
//!
//! A thousand people come and go while three talk. Frames cross a bad network; commits arrive up to a second late,
//! at a different moment for everybody. Every frame that the wire delivers to somebody who is in the room must open,
//! at once or after the rekey that it waited for.

#[path = "../examples/room/network.rs"]
mod network;
mod party;

use std::{collections::HashMap, time::Duration};

use network::{Agenda, Link, Stream, Weather};
use parlor::{Admission, Error, Event, Guest, LeafIndex, MemberId, Role, Settings};
use party::{Person, guest, room_of};
use rand::{RngExt, SeedableRng, rngs::StdRng};

const TICK: Duration = Duration::from_millis(20);

#[derive(Default, Debug)]
struct Account {
    changes: u64,
    epochs: u64,
    delivered: u64,
    opened_at_once: u64,
    opened_after_rekey: u64,
    /// Waited for a key beyond the moment at which a jitter buffer of the given depth would have played them.
    late_because_of_keys: u64,
    off_stage: u64,
    lost_because_of_keys: Vec<String>,
}

enum Happening {
    Speak,
    Change,
    Control { who: usize, place: usize },
    Packet { who: usize, sent: usize },
}

struct Sent {
    at: Duration,
    speaker: usize,
    leaf: LeafIndex,
    epoch: u64,
    bytes: Vec<u8>,
}

struct World {
    rng: StdRng,
    agenda: Agenda<Happening>,
    people: Vec<Person>,
    links: Vec<Link>,
    streams: Vec<Stream>,
    log: Vec<Vec<u8>>,
    sent: Vec<Sent>,
    index: HashMap<(LeafIndex, u64, u64), usize>,
    /// Who was on stage, epoch by epoch.
    stages: Vec<Vec<MemberId>>,
    waiting: HashMap<(usize, usize), Duration>,
    guests: Vec<Guest>,
    admission: Option<Admission>,
    seed: u64,
    commit_delay: Duration,
    depth: Duration,
    goal: u64,
    account: Account,
}

impl World {
    fn new(seed: u64, goal: u64, commit_delay: Duration, depth: Duration) -> Self {
        let people = room_of(
            Settings::default(),
            &[("bo", Role::Speaker), ("cy", Role::Speaker), ("di", Role::Listener), ("ed", Role::Listener)],
        );
        let mut world = Self {
            rng: StdRng::seed_from_u64(seed),
            agenda: Agenda::new(),
            links: Vec::new(),
            streams: Vec::new(),
            people: Vec::new(),
            log: Vec::new(),
            sent: Vec::new(),
            index: HashMap::new(),
            stages: vec![Vec::new(); people[0].room.epoch() as usize],
            waiting: HashMap::new(),
            guests: Vec::new(),
            admission: None,
            seed,
            commit_delay,
            depth,
            goal,
            account: Account::default(),
        };
        for person in people {
            world.seat(person);
        }
        world.set_stage(0);
        world.agenda.put(Duration::ZERO, Happening::Speak);
        world.agenda.put(Duration::from_millis(100), Happening::Change);
        world
    }

    /// 200 ms of jitter, 5 % of losses in bursts of four.
    fn seat(&mut self, person: Person) {
        let weather = Weather { loss: 0.05, burst: 4.0, duplicates: 0.01, delay_ms: 20..220 };
        self.links.push(Link::new(weather, self.seed ^ (self.people.len() as u64) << 20));
        self.streams.push(Stream::default());
        self.people.push(person);
    }

    /// Notes who is on stage in the epoch of `who`, unless somebody was there before.
    fn set_stage(&mut self, who: usize) {
        let room = &self.people[who].room;
        if room.epoch() as usize == self.stages.len() {
            let stage = room.roster().filter(|member| member.role.on_stage()).map(|member| member.id).collect();
            self.stages.push(stage);
        }
    }

    /// Whether the host took somebody off stage between two epochs, be it for a moment.
    fn left_stage(&self, who: MemberId, from: u64, to: u64) -> bool {
        self.stages[from as usize..=to as usize].iter().any(|stage| !stage.contains(&who))
    }

    fn run(mut self) -> Account {
        let mut end = Duration::MAX;
        while let Some((now, happening)) = self.agenda.take() {
            if self.account.changes >= self.goal && end == Duration::MAX {
                end = now + Duration::from_secs(3);
            }
            match happening {
                Happening::Speak if now < end => {
                    self.speak(now);
                    self.agenda.put(now + TICK, Happening::Speak);
                }
                Happening::Change if end == Duration::MAX => {
                    self.change(now);
                    let pause = Duration::from_millis(self.rng.random_range(20..200));
                    self.agenda.put(now + pause, Happening::Change);
                }
                Happening::Speak | Happening::Change => {}
                Happening::Control { who, place } => self.control(who, place, now),
                Happening::Packet { who, sent } => self.packet(who, sent, now),
            }
        }
        for ((who, sent), _) in std::mem::take(&mut self.waiting) {
            if self.people[who].room.is_open() {
                self.lose(who, sent, "it was parked and never came out");
            }
        }
        self.account.epochs = self.people[0].room.epoch();
        self.account
    }

    fn speak(&mut self, now: Duration) {
        for speaker in 0..self.people.len() {
            let person = &mut self.people[speaker];
            if !person.room.is_open() || !person.voice.on_stage() {
                continue;
            }
            let (epoch, leaf) = (person.voice.epoch(), person.room.me().unwrap().leaf);
            let bytes = person.voice.seal(&[speaker as u8; 60]).unwrap();
            let counter = parlor::media::sframe::Header::decode(&bytes).unwrap().0.counter;
            let sent = self.sent.len();
            self.index.insert((leaf, epoch, counter), sent);
            self.sent.push(Sent { at: now, speaker, leaf, epoch, bytes });
            for who in 0..self.people.len() {
                if who == speaker || !self.people[who].room.is_open() || self.people[who].entered > epoch {
                    continue;
                }
                for at in self.links[who].carry(now) {
                    self.agenda.put(at, Happening::Packet { who, sent });
                }
            }
        }
    }

    /// The host admits, removes, promotes or demotes, several at a time.
    fn change(&mut self, now: Duration) {
        if self.people[0].room.is_pending() {
            return;
        }
        let is_in = |who: &usize| self.people[0].room.member(&self.people[*who].id).is_some();
        let audience: Vec<usize> = (3..self.people.len()).filter(is_in).collect();
        let many = self.rng.random_range(1..=3_usize);
        let commit = if audience.len() < 3 || (audience.len() < 9 && self.rng.random_bool(0.5)) {
            let mut batch = Vec::new();
            for n in 0..many {
                let guest = guest(&format!("guest {} {n}", self.account.changes));
                let role = if self.rng.random_bool(0.3) { Role::Speaker } else { Role::Listener };
                batch.push((guest.card().clone(), role));
                self.guests.push(guest);
            }
            self.account.changes += many as u64;
            let admission = self.people[0].room.admit_all(&batch).unwrap();
            self.admission.insert(admission).commit.clone()
        } else if self.rng.random_bool(0.3) {
            let who = audience[self.rng.random_range(0..audience.len())];
            let id = self.people[who].id;
            let role = self.people[0].room.member(&id).unwrap().role;
            let other = if role.on_stage() { Role::Listener } else { Role::Speaker };
            self.people[0].room.set_role(&id, other).unwrap()
        } else {
            let gone: Vec<_> = audience.iter().take(many).map(|who| self.people[*who].id).collect();
            self.account.changes += gone.len() as u64;
            self.people[0].room.remove_all(&gone).unwrap()
        };
        let place = self.log.len();
        self.log.push(commit);
        for who in 0..self.people.len() {
            let delay = self.commit_delay.mul_f64(self.rng.random());
            let at = self.streams[who].carry(now, delay);
            self.agenda.put(at, Happening::Control { who, place });
        }
    }

    fn control(&mut self, who: usize, place: usize, now: Duration) {
        let seed = self.seed;
        let person = &mut self.people[who];
        if !person.room.is_open() {
            return;
        }
        let message = self.log[place].clone();
        for event in person.room.receive(&message, now).unwrap_or_else(|error| panic!("seed {seed}: {error}")) {
            let Event::Rekeyed(keys) = event else { continue };
            person.voice.rekey(keys).unwrap();
            while let Some(parked) = person.voice.unpark(now) {
                let Ok(heard) = parked else { continue };
                let sent = self.index[&(heard.leaf, heard.epoch, heard.counter)];
                let Some(arrived) = self.waiting.remove(&(who, sent)) else { continue };
                self.account.opened_after_rekey += 1;
                let deadline = self.sent[sent].at + self.depth;
                self.account.late_because_of_keys += u64::from(arrived <= deadline && now > deadline);
            }
        }
        self.set_stage(who);
        if who == 0
            && let Some(admission) = self.admission.take()
        {
            for guest in std::mem::take(&mut self.guests) {
                let newcomer = Person::enter(guest, &admission);
                self.seat(newcomer);
            }
        }
    }

    fn packet(&mut self, who: usize, sent: usize, now: Duration) {
        let frame = &self.sent[sent];
        let speaker = self.people[frame.speaker].id;
        let person = &mut self.people[who];
        if !person.room.is_open() {
            return;
        }
        let epoch = person.room.epoch();
        match person.voice.open(&frame.bytes, now) {
            Ok(heard) => {
                assert_eq!((heard.speaker, heard.epoch), (speaker, frame.epoch), "seed {}", self.seed);
                self.account.delivered += 1;
                self.account.opened_at_once += 1;
            }
            Err(Error::Parked { .. }) => {
                self.waiting.entry((who, sent)).or_insert_with(|| {
                    self.account.delivered += 1;
                    now
                });
            }
            Err(Error::Replayed { .. }) => {}
            // The host took the speaker off stage, and this ear knows it already.
            Err(_) if self.left_stage(speaker, self.sent[sent].epoch, epoch) => {
                self.account.delivered += 1;
                self.account.off_stage += 1;
            }
            Err(error) => self.lose(who, sent, &error.to_string()),
        }
    }

    fn lose(&mut self, who: usize, sent: usize, why: &str) {
        let Sent { at, epoch, leaf, .. } = &self.sent[sent];
        self.account.lost_because_of_keys.push(format!("to {who}, sealed at {at:?} in epoch {epoch} by {leaf}: {why}"));
    }
}

#[test]
fn a_thousand_membership_changes_lose_no_frame() {
    let account = World::new(1, 1_000, Duration::from_secs(1), Duration::from_millis(240)).run();
    println!("commits up to 1 s late: {account:#?}");
    assert!(account.changes >= 1_000 && account.opened_after_rekey > 1_000 && account.delivered > 100_000);
    assert_eq!(account.lost_because_of_keys, Vec::<String>::new(), "seed 1");
}

#[test]
fn no_frame_is_late_because_of_keys_while_commits_are_no_later_than_the_jitter_buffer_is_deep() {
    let depth = Duration::from_millis(240);
    let account = World::new(2, 300, depth, depth).run();
    println!("commits up to 240 ms late: {account:#?}");
    assert!(account.opened_after_rekey > 100, "the test must park frames to prove anything");
    assert_eq!(account.lost_because_of_keys, Vec::<String>::new(), "seed 2");
    assert_eq!(account.late_because_of_keys, 0, "seed 2");
}
