//! Members and guests whose clocks are wrong, by minutes and by years: nobody is out of a room for it, and whoever has to
//! set a clock is told so.
//!
//! Each person's calls run under their own clock: this file puts a `clock_gettime` of its own in place of the C library's.

#![cfg(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]

mod party;

use std::{
    cell::Cell,
    ffi::{c_int, c_long},
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use openmls::prelude::{KeyPackageBuilder, Lifetime, MlsMessageOut};
use parlor::{
    Admission, Card, Error, Event, Flaw, Guest, Identity, MemberId, Role, Room, Settings, UnixTime,
    room::{
        Entry, Setting,
        door::{GATHERING, Link, Terms},
    },
};
use party::{dice::Dice, gists, mal::Bare};

const MINUTE: i64 = 60;
const HOUR: i64 = 3_600;
const DAY: i64 = 24 * HOUR;
const YEAR: i64 = 365 * DAY;

const HISTORIES: u64 = 500;
const STEPS: usize = 8;

// ---- a clock for each thread ----

#[repr(C)]
struct Timespec {
    seconds: i64,
    nanoseconds: c_long,
}

#[cfg(target_arch = "x86_64")]
const CLOCK_GETTIME: c_long = 228;
#[cfg(target_arch = "aarch64")]
const CLOCK_GETTIME: c_long = 113;
const CLOCK_REALTIME: c_int = 0;

thread_local! {
    static WRONG_BY: Cell<i64> = const { Cell::new(0) };
}

unsafe extern "C" {
    fn syscall(number: c_long, ...) -> c_long;
}

/// The standard library's clock, in place of the C library's.
///
/// # Safety
/// As that: `time` is to be written to.
#[unsafe(no_mangle)]
unsafe extern "C" fn clock_gettime(clock: c_int, time: *mut Timespec) -> c_int {
    // SAFETY: the system call of that name, with its arguments.
    let result = unsafe { syscall(CLOCK_GETTIME, c_long::from(clock), time) };
    if result == 0 && clock == CLOCK_REALTIME {
        let wrong_by = WRONG_BY.try_with(Cell::get).unwrap_or(0);
        // SAFETY: the system call has just written to it.
        unsafe { (*time).seconds += wrong_by };
    }
    if result == 0 { 0 } else { -1 }
}

/// What `call` gives under a clock that is wrong by so many seconds.
fn under<T>(wrong_by: i64, call: impl FnOnce() -> T) -> T {
    WRONG_BY.set(wrong_by);
    let gives = call();
    WRONG_BY.set(0);
    gives
}

fn wall() -> UnixTime {
    UnixTime::from(SystemTime::now())
}

fn since_1970() -> i64 {
    i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()).unwrap()
}

#[test]
fn a_thread_has_a_clock_of_its_own() {
    let now = SystemTime::now();
    for wrong_by in [-10 * YEAR, -HOUR, 0, HOUR, 10 * YEAR] {
        let then = under(wrong_by, SystemTime::now);
        let off = match then.duration_since(now) {
            Ok(ahead) => i64::try_from(ahead.as_secs()).unwrap(),
            Err(behind) => -i64::try_from(behind.duration().as_secs()).unwrap(),
        };
        assert!((off - wrong_by).abs() <= 9, "{off} for {wrong_by}");
    }
    assert!(under(-60 * YEAR, SystemTime::now) < UNIX_EPOCH);
}

// ---- histories ----

/// How wrong somebody's clock is, in seconds.
fn any_clock(dice: &mut Dice) -> i64 {
    let some = |dice: &mut Dice, most: i64| i64::try_from(dice.roll(usize::try_from(most).unwrap())).unwrap();
    let size = match dice.roll(8) {
        0..=2 => some(dice, 4 * MINUTE),
        3 => 61 * MINUTE,
        4 => some(dice, DAY),
        5 => some(dice, 90 * DAY),
        _ => some(dice, 10 * YEAR),
    };
    if dice.roll(2) == 0 { size } else { -size }
}

struct Person {
    id: MemberId,
    wrong_by: i64,
    room: Room,
}

struct History {
    seed: u64,
    dice: Dice,
    people: Vec<Person>,
    link: Link,
    /// How long it has been, for everybody alike.
    now: i64,
    calls: u64,
    /// How often somebody was told to set a clock.
    told: u64,
}

impl History {
    fn new(seed: u64) -> Self {
        let mut dice = Dice::of(seed);
        let wrong_by = any_clock(&mut dice);
        let settings = Settings::default().with(Setting::Entry(Entry::Link)).unwrap();
        let terms = Terms { role: Role::Listener, one_shot: false, expires: None };
        let (room, link) = under(wrong_by, || {
            let (mut room, _) = Room::create(Identity::generate("ana").unwrap(), settings).unwrap();
            let (link, commit) = room.issue_link(terms).unwrap();
            room.receive(&commit, Duration::ZERO).unwrap();
            (room, link)
        });
        let ana = Person { id: room.me().unwrap().id, wrong_by, room };
        let mut history = Self { seed, dice, people: vec![ana], link, now: 0, calls: 0, told: 0 };
        for role in [Role::Moderator, Role::Speaker, Role::Listener] {
            history.admit(0, role);
        }
        history
    }

    fn now(&self) -> Duration {
        Duration::from_secs(self.now.unsigned_abs())
    }

    /// Something that who is at `who` calls, under their clock.
    fn call<T>(&mut self, who: usize, call: impl FnOnce(&mut Room, Duration) -> T) -> T {
        self.calls += 1;
        let (now, person) = (self.now(), &mut self.people[who]);
        under(person.wrong_by + self.now, || call(&mut person.room, now))
    }

    /// Everybody takes it in, by whatever clock; gives what the one at `of` is told.
    fn deliver(&mut self, message: &[u8], of: usize) -> Vec<Event> {
        let seed = self.seed;
        let mut told = Vec::new();
        for who in 0..self.people.len() {
            let wrong_by = self.people[who].wrong_by;
            let events = self
                .call(who, |room, now| room.receive(message, now))
                .unwrap_or_else(|error| panic!("seed {seed}: a clock wrong by {wrong_by} s: {error}"));
            assert!(
                matches!(events[..], [Event::Rekeyed(_), ..] | [Event::Closed { .. }]),
                "seed {seed}: {:?}",
                gists(&events)
            );
            if who == of {
                told = events;
            }
        }
        self.people.retain(|person| person.room.is_open());
        told
    }

    /// Somebody new, whose clock is as it is.
    fn stranger(&mut self) -> (Identity, i64) {
        let name = format!("guest {}", self.calls);
        (Identity::generate(&name).unwrap(), any_clock(&mut self.dice))
    }

    /// One of two was told that a clock is wrong: of one of theirs that is so. They set them.
    #[track_caller]
    fn set(&mut self, error: &Error, by: usize, other: &mut i64) {
        let (seed, text) = (self.seed, error.to_string());
        assert!(text.contains("clock"), "seed {seed}: {text}");
        assert!(
            (self.people[by].wrong_by - *other).abs() > 4 * MINUTE,
            "seed {seed}: {} s and {other} s: {text}",
            self.people[by].wrong_by
        );
        assert!(*other != 0 || self.people[by].wrong_by != 0, "seed {seed}: once they are right: {text}");
        (self.people[by].wrong_by, *other) = (0, 0);
        self.told += 1;
        self.now += 10;
    }

    fn join(&mut self, wrong_by: i64, room: Room) {
        self.people.push(Person { id: room.me().unwrap().id, wrong_by, room });
    }

    fn admit(&mut self, by: usize, role: Role) {
        let (identity, mut wrong_by) = self.stranger();
        let mut guest = under(wrong_by + self.now, || Guest::new(identity)).unwrap();
        let admission = loop {
            let bytes = guest.card().as_bytes().to_vec();
            let ahead = wrong_by - self.people[by].wrong_by;
            match self.call(by, |room, _| Card::from_bytes(&bytes).and_then(|card| room.admit(&card, role))) {
                Ok(admission) => {
                    assert!(ahead <= HOUR && -ahead <= 84 * DAY + 9, "seed {}: {ahead} s ahead", self.seed);
                    break admission;
                }
                Err(error @ Error::Unfit { flaw: Flaw::Ahead { .. } | Flaw::Old { .. } }) => {
                    assert!(ahead > HOUR - 9 || -ahead > 84 * DAY - 9, "seed {}: {ahead} s: {error}", self.seed);
                    self.set(&error, by, &mut wrong_by);
                }
                Err(error) => panic!("seed {}: {error}", self.seed),
            }
            guest = under(wrong_by + self.now, || Guest::new(guest.into_identity())).unwrap();
        };
        self.deliver(&admission.commit, by);
        let (room, _) = under(wrong_by + self.now, || party::enter(guest, &admission)).unwrap();
        self.join(wrong_by, room);
    }

    fn knock(&mut self, by: usize) {
        let (identity, mut wrong_by) = self.stranger();
        let link = Link::parse(&self.link.reveal()).unwrap();
        let plate = self.call(0, |room, _| room.doorplate(&link)).unwrap();
        let plate = link.read_doorplate(&plate).unwrap();
        let mut guest = under(wrong_by + self.now, || Guest::new(identity)).unwrap();
        let waiting = loop {
            let (waiting, knock) = under(wrong_by + self.now, || guest.knock(&link, &plate, "", wall())).unwrap();
            match self.call(by, |room, now| room.knocked(&knock, now, wall())) {
                Ok(events) => {
                    assert!(events.is_empty(), "seed {}: {:?}", self.seed, gists(&events));
                    break waiting;
                }
                Err(error) => self.set(&error, by, &mut wrong_by),
            }
            guest = waiting.give_up();
        };
        self.now += i64::try_from(GATHERING.as_secs()).unwrap() + 1;
        let commit = self.call(by, Room::open_door).unwrap().expect("somebody waits to be let in");
        let told = self.deliver(&commit, by);
        let answered = told.into_iter().find_map(|event| match event {
            Event::Answered { mut answers, tree } => Some((answers.remove(0).bytes, tree)),
            _ => None,
        });
        let (answer, tree) = answered.expect("an answer");
        let (room, _) = under(wrong_by + self.now, || waiting.enter(&answer, tree.as_deref())).unwrap();
        self.join(wrong_by, room);
    }

    fn bring_back(&mut self, who: usize, by: usize) {
        let healer = self.people[by].id;
        let Person { mut wrong_by, room, .. } = self.people.remove(who);
        let now = self.now();
        let (mut returning, mut request) = under(wrong_by + self.now, || room.come_back(now, wall())).unwrap();
        let by = self.people.iter().position(|person| person.id == healer).unwrap();
        let admission: Admission = loop {
            let told = self.call(by, |room, now| room.receive(&request, now)).unwrap();
            let [Event::AsksBack { card, .. }] = &told[..] else {
                panic!("seed {}: {:?}: {wrong_by} s", self.seed, gists(&told))
            };
            match self.call(by, |room, _| room.bring_back(card, wall())) {
                Ok(admission) => break admission,
                Err(error) => self.set(&error, by, &mut wrong_by),
            }
            // Within five seconds, by a clock that was wrong, it would be the same.
            let refused = returning.id();
            while returning.id() == refused {
                self.now += 10;
                request = under(wrong_by + self.now, || returning.ask_again(wall())).unwrap();
            }
        };
        self.deliver(&admission.commit, by);
        let tree = admission.tree.as_deref();
        let (room, _) = under(wrong_by + self.now, || returning.enter(&admission.welcome, tree)).unwrap();
        self.join(wrong_by, room);
    }

    fn step(&mut self) {
        // Ana and mo let people in; one of them brings back.
        let admitters: Vec<usize> = (0..self.people.len()).filter(|at| self.role(*at) >= Role::Moderator).collect();
        let by = admitters[self.dice.roll(admitters.len())];
        let others: Vec<usize> = (0..self.people.len()).filter(|at| self.role(*at) < Role::Moderator).collect();
        match self.dice.roll(6) {
            0 => self.admit(by, Role::Listener),
            1 => self.knock(by),
            2 if !others.is_empty() => {
                let who = others[self.dice.roll(others.len())];
                let id = self.people[who].id;
                let commit = self.call(by, |room, _| room.remove(&id)).unwrap();
                self.deliver(&commit, by);
            }
            3 | 4 if !others.is_empty() => {
                let who = others[self.dice.roll(others.len())];
                self.bring_back(who, by);
            }
            // Their clock is put right, or wrong.
            _ => {
                let who = self.dice.roll(self.people.len());
                self.people[who].wrong_by = any_clock(&mut self.dice);
                let commit = self.call(by, |room, _| room.refresh()).unwrap();
                self.deliver(&commit, by);
            }
        }
        // Long enough for each request to be heard as the first.
        self.now += 11 * MINUTE;
    }

    fn role(&self, at: usize) -> Role {
        self.people[at].room.me().unwrap().role
    }

    /// Everybody is where the host is.
    fn check(&self) -> u64 {
        let ana = &self.people[0].room;
        assert_eq!(ana.roster().len(), self.people.len(), "seed {}", self.seed);
        let lost = self.people.iter().filter(|person| person.room.code() != ana.code());
        u64::try_from(lost.count()).unwrap()
    }
}

#[test]
fn whatever_peoples_clocks_say_nobody_is_out_of_the_room_for_it() {
    let counts = [const { AtomicU64::new(0) }; 4];
    let [calls, told, people, lost] = &counts;
    let begun = std::time::Instant::now();
    let run = |seeds: &mut dyn Iterator<Item = u64>| {
        for seed in seeds {
            let mut history = History::new(seed);
            for _ in 0..STEPS {
                history.step();
            }
            for (count, more) in [
                (calls, history.calls),
                (told, history.told),
                (people, history.people.len() as u64),
                (lost, history.check()),
            ] {
                count.fetch_add(more, Ordering::Relaxed);
            }
        }
    };
    std::thread::scope(|scope| {
        scope.spawn(|| run(&mut (1..=HISTORIES).filter(|seed| seed % 2 == 0)));
        run(&mut (1..=HISTORIES).filter(|seed| seed % 2 == 1));
    });
    let [calls, told, people, lost] = counts.map(AtomicU64::into_inner);
    println!(
        "{HISTORIES} histories, seeds 1 to {HISTORIES}: {calls} calls under {people} people's clocks in {:?}; told to set \
         a clock: {told}; out of the room: {lost}",
        begun.elapsed()
    );
    assert_eq!(lost, 0);
    assert!(told > HISTORIES / 2, "{told}");
}

// ---- by hand ----

/// Ana, host, and others in the roles given; all by right clocks.
fn room_of(others: &[(&str, Role)]) -> Vec<Room> {
    let names: Vec<_> = [("ana", Role::Host)].iter().chain(others).copied().collect();
    party::Party::new(&names).rooms
}

#[test]
fn a_member_whose_clock_is_an_hour_behind_or_years_ahead_follows_an_admission() {
    for wrong_by in [-61 * MINUTE, -10 * YEAR, 90 * DAY, 10 * YEAR] {
        let mut rooms = room_of(&[("lea", Role::Listener)]);
        let ben = party::guest("ben");
        let admission = rooms[0].admit(ben.card(), Role::Listener).unwrap();
        let events = under(wrong_by, || rooms[1].receive(&admission.commit, party::NOW)).unwrap();
        assert!(matches!(events[..], [Event::Rekeyed(_), Event::Joined { .. }, ..]), "{:?}", gists(&events));
        rooms[0].receive(&admission.commit, party::NOW).unwrap();
        let (ben, _) = under(wrong_by, || party::enter(ben, &admission)).unwrap();
        assert!(rooms.iter().all(|room| room.code() == ben.code()));
    }
}

/// A card of another implementation, dated by its MLS lifetime.
fn undated(from: i64, until: i64) -> Card {
    let at = |seconds: i64| since_1970().saturating_add(seconds).unsigned_abs();
    let lifetime = Lifetime::init(at(from), at(until));
    let package =
        Bare::new("zed").key_package_with(|builder: KeyPackageBuilder| builder.key_package_lifetime(lifetime));
    Card::from_bytes(&MlsMessageOut::from(package).to_bytes().unwrap()).unwrap()
}

#[test]
fn a_member_whose_clock_makes_a_key_package_bad_is_told_so_and_goes_on_once_it_is_right() {
    for (wrong_by, says) in [
        (-65 * MINUTE, ["the clock is at least 5 min behind", "receive this message again"]),
        (-10 * YEAR, ["the clock is at least 9 years 364 days", "behind"]),
        (31 * DAY + MINUTE, ["the clock is at least 1 day 1 h ahead", "receive this message again"]),
        (10 * YEAR, ["the clock is at least 9 years 335 days", "ahead"]),
    ] {
        let mut rooms = room_of(&[("lea", Role::Listener), ("eve", Role::Listener)]);
        let admission = rooms[0].admit(&undated(-HOUR, 30 * DAY - HOUR), Role::Listener).unwrap();
        let (code, epoch) = (rooms[1].code(), rooms[1].epoch());
        for _ in 0..3 {
            let error = under(wrong_by, || rooms[1].receive(&admission.commit, party::NOW)).unwrap_err();
            assert!(matches!(error, Error::WrongClock { ahead, .. } if ahead == (wrong_by > 0)), "{error:?}");
            println!("{error}");
            for part in says {
                assert!(error.to_string().contains(part), "{error}: {part}");
            }
            assert_eq!((rooms[1].code(), rooms[1].epoch()), (code, epoch));
        }
        // Nor has it used up anything that comes after it: words, and the same bytes by the right clock.
        let word = rooms[2].raise_hand().unwrap();
        for room in &mut rooms {
            room.receive(&word, party::NOW).unwrap();
            let events = room.receive(&admission.commit, party::NOW).unwrap();
            assert!(matches!(events[0], Event::Rekeyed(_)), "{:?}", gists(&events));
        }
        assert!(rooms.iter().all(|room| room.code() == rooms[0].code() && room.roster().len() == 4));
    }
}

/// Brings back who asks by `request`, all by their own clock.
#[track_caller]
fn healed(host: &mut Room, request: &[u8], now: Duration) -> Admission {
    let events = host.receive(request, now).unwrap();
    let [Event::AsksBack { card, .. }] = &events[..] else { panic!("{:?}", gists(&events)) };
    let admission = host.bring_back(card, wall()).unwrap();
    assert!(matches!(host.receive(&admission.commit, now).unwrap()[0], Event::Rekeyed(_)));
    admission
}

#[test]
fn who_came_in_by_a_clock_that_was_ahead_asks_back_as_soon_as_it_is_right() {
    // Fifty minutes are not too many for a host; with ten years the host's clock was wrong, too.
    for (guests, hosts) in [(50 * MINUTE, 0), (10 * YEAR, 10 * YEAR)] {
        for lost in [false, true] {
            let mut rooms = room_of(&[]);
            let sue = under(guests, || party::guest("sue"));
            let admission = under(hosts, || {
                let admission = rooms[0].admit(sue.card(), Role::Speaker).unwrap();
                rooms[0].receive(&admission.commit, party::NOW).unwrap();
                admission
            });
            let (sue, _) = under(guests, || party::enter(sue, &admission)).unwrap();
            let now = party::NOW;
            let (returning, request) = if lost {
                // Nothing is left but the ticket.
                let ticket = sue.ticket().unwrap();
                parlor::room::Returning::with_ticket(sue.into_identity(), &ticket, wall()).unwrap()
            } else {
                sue.come_back(now, wall()).unwrap()
            };
            let admission = healed(&mut rooms[0], &request, now);
            let (sue, _) = returning.enter(&admission.welcome, admission.tree.as_deref()).unwrap();
            assert_eq!(sue.code(), rooms[0].code());
            // And once more, by the leaf that she has since.
            let now = now + Duration::from_secs(700);
            let (returning, request) = sue.come_back(now, wall().plus(1)).unwrap();
            let admission = healed(&mut rooms[0], &request, now);
            let (sue, _) = returning.enter(&admission.welcome, admission.tree.as_deref()).unwrap();
            assert_eq!(sue.code(), rooms[0].code());
        }
    }
}

#[test]
fn who_gives_up_asking_by_a_clock_put_back_takes_their_words_back_all_the_same() {
    let mut rooms = room_of(&[]);
    let sue = under(50 * MINUTE, || party::guest("sue"));
    let admission = rooms[0].admit(sue.card(), Role::Speaker).unwrap();
    rooms[0].receive(&admission.commit, party::NOW).unwrap();
    let (sue, _) = party::enter(sue, &admission).unwrap();
    let (returning, withheld) = sue.come_back(party::NOW, wall()).unwrap();
    let word = returning.card().clone();
    let mut sue = returning.give_up().unwrap();
    assert!(rooms[0].bring_back(&word, wall()).is_ok(), "until she has made a commit it stands");
    rooms[0].abandon();
    let commit = sue.refresh().unwrap();
    for room in [&mut rooms[0], &mut sue] {
        assert!(matches!(room.receive(&commit, party::NOW).unwrap()[0], Event::Rekeyed(_)));
    }
    assert!(rooms[0].receive(&withheld, party::NOW).unwrap().is_empty());
    let denied = rooms[0].bring_back(&word, wall()).unwrap_err().to_string();
    assert!(denied.contains("they asked before they had the keys they have"), "{denied}");
}

#[test]
fn a_clock_of_1970_or_before_panics_nowhere_and_is_named() {
    let today = since_1970();
    for reads in [1, HOUR - MINUTE, HOUR, -HOUR, -DAY, -50 * YEAR] {
        let wrong_by = reads - today;
        let mut rooms = room_of(&[("lea", Role::Listener)]);
        let ben = party::guest("ben");
        let created = under(wrong_by, || Room::create(party::identity("ana"), Settings::default()));
        match created {
            Ok(_) => assert_eq!(reads, HOUR),
            Err(error) => {
                assert!(error.to_string().contains("clock: it reads 1970") && reads < HOUR, "{reads}: {error}");
            }
        }
        let error = under(wrong_by, || Card::from_bytes(ben.card().as_bytes())).unwrap_err();
        assert!(matches!(error, Error::Unfit { flaw: Flaw::NoClock | Flaw::Ahead { .. } }), "{reads}: {error:?}");
        let error = under(wrong_by, || rooms[0].admit(ben.card(), Role::Listener)).unwrap_err();
        assert!(error.to_string().contains("clock"), "{reads}: {error}");
        // A guest's card says so to the host, who has a clock.
        let dan = under(wrong_by, || party::guest("dan"));
        let error = Card::from_bytes(dan.card().as_bytes()).unwrap_err();
        assert!(matches!(error, Error::Unfit { flaw: Flaw::Old { .. } }), "{reads}: {error:?}");
        // A member follows; before 1970 openmls does not let them, until the clock is set.
        let admission = rooms[0].admit(ben.card(), Role::Listener).unwrap();
        let followed = under(wrong_by, || rooms[1].receive(&admission.commit, party::NOW));
        match followed {
            Ok(events) => assert!(reads >= 0 && matches!(events[0], Event::Rekeyed(_)), "{reads}"),
            Err(error) => {
                assert!(reads < 0 && matches!(error, Error::WrongClock { ahead: false, .. }), "{reads}: {error:?}");
                rooms[1].receive(&admission.commit, party::NOW).unwrap();
            }
        }
        rooms[0].receive(&admission.commit, party::NOW).unwrap();
        let (ben, _) = under(wrong_by, || party::enter(ben, &admission)).unwrap();
        rooms.push(ben);
        let commit = under(wrong_by, || rooms[2].refresh()).unwrap();
        for room in &mut rooms {
            let events = under(wrong_by, || room.receive(&commit, party::NOW)).unwrap();
            assert!(matches!(events[0], Event::Rekeyed(_)), "{reads}: {:?}", gists(&events));
        }
        assert!(rooms.iter().all(|room| room.code() == rooms[0].code()));
        // Who would ask back by it is told.
        let asked = under(wrong_by, || rooms.pop().unwrap().come_back(party::NOW, wall()));
        assert_eq!(asked.is_ok(), reads > 0, "{reads}");
    }
}
