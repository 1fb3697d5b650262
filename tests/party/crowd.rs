//! A room of many, of whom few are live: a commit that a thousand live rooms took would cost seconds.
//!
//! Two follow every commit: the host, and the member whose work is measured. All others are kept as they were admitted,
//! a guest with the welcome, and come to life when they have something to do: then they enter, and take what the
//! room's log has since. Time is simulated, and a history is its seed.

use std::{collections::BTreeMap, rc::Rc, time::Duration};

use parlor::{
    Admission, Card, Error, Event, Guest, MemberId, Result, Role, Room, Settings,
    room::{Setting, door::MAX_BATCH},
};

use super::{dice::Dice, enter, guest, identity};

/// How long a message takes to everybody. Of what is sent within it the relay takes one commit first.
pub const STEP: Duration = Duration::from_millis(200);

/// After so long without a commit nobody is about to make another: those who are named have fifteen seconds, and where
/// none of them came others have thirty.
const QUIET: Duration = Duration::from_secs(40);

/// A room that is busy for so long never comes to rest.
const RESTLESS: Duration = Duration::from_secs(600);

/// What a commit of the log was for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Kind {
    /// Newcomers. It has no path.
    Admission,
    Removal,
    /// The host's.
    Refresh,
    /// A refresh of somebody whom the host has named.
    Gardening,
}

/// A commit that the log has taken.
#[derive(Clone, Debug)]
pub struct Commit {
    pub kind: Kind,
    pub by: MemberId,
    pub at: Duration,
    pub bytes: usize,
    /// What its committer spent to make it.
    pub make: Duration,
    /// What the member who follows spent to take it.
    pub take: Duration,
}

enum Person {
    /// Admitted, and has not entered yet.
    Away(Box<Guest>, Rc<Admission>),
    Live(Box<Room>),
}

pub struct Crowd {
    pub now: Duration,
    /// What the log has taken, from the first commit of the room on.
    pub commits: Vec<Commit>,
    /// How many commits lost their race.
    pub lost: usize,
    /// Whom the host has named, each time it did.
    pub named: Vec<MemberId>,
    /// Of 256 members so many never commit when they are named.
    pub asleep: u8,
    host: MemberId,
    member: MemberId,
    /// Everybody in the room, and how much of the log they have.
    people: BTreeMap<MemberId, (Person, usize)>,
    log: Vec<(Vec<u8>, Duration)>,
    dice: Dice,
    /// What this thread has spent, if anybody wants to know.
    clock: fn() -> Duration,
    names: usize,
}

/// Who has been named to fill their path in the tree, and has not committed yet.
fn gardeners(room: &Room) -> Vec<MemberId> {
    room.gardeners().copied().collect()
}

/// Listeners who come to the door.
pub fn guests(from: usize, count: usize) -> Vec<Guest> {
    (from..from + count).map(|n| guest(&format!("guest {n}"))).collect()
}

pub fn as_listeners(guests: &[Guest]) -> Vec<(Card, Role)> {
    guests.iter().map(|guest| (guest.card().clone(), Role::Listener)).collect()
}

impl Crowd {
    /// A room of two: the host, and the member who follows. `clock` says what this thread has spent.
    pub fn new(seed: u64, clock: fn() -> Duration) -> Self {
        let settings = Settings::default().with(Setting::Capacity(None)).unwrap();
        let (room, _) = Room::create(identity("host"), settings).unwrap();
        let host = room.me().unwrap().id;
        let mut crowd = Self {
            now: Duration::ZERO,
            commits: Vec::new(),
            lost: 0,
            named: Vec::new(),
            asleep: 0,
            host,
            member: host,
            people: BTreeMap::from([(host, (Person::Live(Box::new(room)), 0))]),
            log: Vec::new(),
            dice: Dice::of(seed),
            clock,
            names: 0,
        };
        let [member] = crowd.admit(1).unwrap()[..] else { panic!("one was admitted") };
        crowd.member = member;
        crowd.live(&member);
        crowd
    }

    /// A room of `n`, whose members came in by as few commits as a door makes.
    pub fn of(n: usize, seed: u64, clock: fn() -> Duration) -> Self {
        let mut crowd = Self::new(seed, clock);
        crowd.grow(n - 2);
        crowd
    }

    pub fn len(&self) -> usize {
        self.people.len()
    }

    pub fn host(&mut self) -> &mut Room {
        let host = self.host;
        self.live(&host)
    }

    /// The member who follows every commit.
    pub fn member(&mut self) -> &mut Room {
        let member = self.member;
        self.live(&member)
    }

    /// Lets so many more in, as many by one commit as a door lets in.
    pub fn grow(&mut self, count: usize) {
        let mut left = count;
        while left > 0 {
            let batch = left.min(MAX_BATCH);
            self.admit(batch).unwrap();
            left -= batch;
        }
    }

    /// Lets so many in by one commit.
    ///
    /// # Errors
    /// As [`Room::admit_all`]: then nobody came in.
    pub fn admit(&mut self, count: usize) -> Result<Vec<MemberId>> {
        let guests = guests(self.names, count);
        self.names += count;
        let cards = as_listeners(&guests);
        let (admission, make) = self.timed(|crowd| crowd.host().admit_all(&cards));
        let admission = Rc::new(admission?);
        self.put(Kind::Admission, self.host, &admission.commit, make);
        let ids = guests.iter().map(|guest| guest.card().id()).collect();
        for guest in guests {
            let id = guest.card().id();
            let person = Person::Away(Box::new(guest), Rc::clone(&admission));
            self.people.insert(id, (person, self.log.len()));
        }
        Ok(ids)
    }

    /// What would let somebody in, and them. The room stays as it is.
    ///
    /// # Errors
    /// As [`Room::admit_all`].
    pub fn look_in(&mut self) -> Result<(Guest, Admission)> {
        let guest = guest("a guest who looks in");
        let admission = self.host().admit(guest.card(), Role::Listener)?;
        self.host().abandon();
        Ok((guest, admission))
    }

    /// Puts members out by one commit.
    pub fn remove(&mut self, members: &[MemberId]) {
        let (commit, make) = self.timed(|crowd| crowd.host().remove_all(members));
        for member in members {
            self.people.remove(member);
        }
        self.put(Kind::Removal, self.host, &commit.unwrap(), make);
    }

    /// So many who are neither the host nor the member who follows.
    pub fn some(&mut self, count: usize) -> Vec<MemberId> {
        let mut others: Vec<_> =
            self.people.keys().filter(|id| ![self.host, self.member].contains(id)).copied().collect();
        (0..count).map(|_| others.swap_remove(self.dice.roll(others.len()))).collect()
    }

    /// The host's refresh, due or not.
    pub fn refresh(&mut self) {
        let (commit, make) = self.timed(|crowd| crowd.host().refresh());
        self.put(Kind::Refresh, self.host, &commit.unwrap(), make);
    }

    /// Lets a step of time pass, in which everybody does what is due. Gives whether there was a commit.
    pub fn step(&mut self) -> bool {
        self.now += STEP;
        let now = self.now;
        let mut due: Vec<MemberId> = gardeners(self.host());
        due.retain(|id| self.people.contains_key(id) && id.as_bytes()[0] >= self.asleep);
        due.push(self.host);
        due.retain(|id| self.live(id).refresh_due(now));
        if due.is_empty() {
            return false;
        }
        let first = self.dice.roll(due.len());
        due.swap(0, first);
        // The others hear of it when theirs is on its way already.
        let mut commits: Vec<_> = due.iter().map(|id| self.timed(|crowd| crowd.live(id).refresh().unwrap())).collect();
        self.lost += commits.len() - 1;
        let (commit, make) = commits.swap_remove(0);
        let kind = if due[0] == self.host { Kind::Refresh } else { Kind::Gardening };
        self.put(kind, due[0], &commit, make);
        true
    }

    /// Lets time pass until nobody commits any more. Gives how many commits there were.
    pub fn settle(&mut self) -> usize {
        let (start, before) = (self.now, self.log.len());
        let mut last = self.now;
        while self.now - last < QUIET {
            assert!(self.now - start < RESTLESS, "{:?}", &self.commits[before..]);
            if self.step() {
                last = self.now;
            }
        }
        self.log.len() - before
    }

    /// Lets time pass in which one of a hundred members leaves each minute, and as many come, at any moment of it and
    /// each by a commit of their own.
    pub fn churn(&mut self, minutes: usize) {
        let each = self.len() / 100;
        let steps = (60.0 / STEP.as_secs_f64()) as usize;
        for _ in 0..minutes {
            let mut moment = || self.dice.roll(steps);
            let leave: Vec<usize> = (0..each).map(|_| moment()).collect();
            let come: Vec<usize> = (0..each).map(|_| moment()).collect();
            for step in 0..steps {
                for _ in leave.iter().filter(|moment| **moment == step) {
                    let one = self.some(1);
                    self.remove(&one);
                }
                for _ in come.iter().filter(|moment| **moment == step) {
                    self.admit(1).unwrap();
                }
                self.step();
            }
        }
    }

    /// The log has taken a commit: its committer, the host and the member take it.
    fn put(&mut self, kind: Kind, by: MemberId, commit: &[u8], make: Duration) {
        // Whoever is behind takes what came before apart, so that the member's time is that of this commit.
        self.host();
        self.member();
        let before = gardeners(self.host());
        self.log.push((commit.to_vec(), self.now));
        self.live(&by);
        let after = gardeners(self.host());
        self.named.extend(after.into_iter().filter(|id| !before.contains(id)));
        let (_, take) = self.timed(|crowd| crowd.member().epoch());
        self.commits.push(Commit { kind, by, at: self.now, bytes: commit.len(), make, take });
    }

    /// The room of a member who is in, with all that the log has.
    fn live(&mut self, id: &MemberId) -> &mut Room {
        let (person, at) = self.people.remove(id).expect("somebody in the room");
        let mut room = match person {
            Person::Live(room) => room,
            Person::Away(guest, admission) => Box::new(enter(*guest, &admission).unwrap().0),
        };
        for (commit, when) in &self.log[at..] {
            take(&mut room, commit, *when).unwrap();
        }
        let entry = self.people.entry(*id).or_insert((Person::Live(room), self.log.len()));
        let Person::Live(room) = &mut entry.0 else { unreachable!("they were put in live") };
        room
    }

    fn timed<T>(&mut self, run: impl FnOnce(&mut Self) -> T) -> (T, Duration) {
        let clock = self.clock;
        let before = clock();
        let result = run(self);
        (result, clock() - before)
    }
}

/// Has a member follow a commit.
pub fn take(room: &mut Room, commit: &[u8], now: Duration) -> Result<(), Error> {
    let events = room.receive(commit, now)?;
    assert!(matches!(events.first(), Some(Event::Rekeyed(_))), "{:?}", super::gists(&events));
    Ok(())
}
