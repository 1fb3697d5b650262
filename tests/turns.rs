//! Whose turn it is to let in and to let go, and when: in simulated time, over a relay that is so far from each.
//!
//! Nothing polls here. A room is asked after each thing that comes to it, and when `Room::next_duty` says so.
//!
//! `cargo test --test turns -- --nocapture` prints the figures; `PARLOR_SEED` begins with another seed.

#[allow(unused, reason = "each test binary uses what it needs")]
mod party;

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, BinaryHeap},
    ops::Range,
    time::Duration,
};

use parlor::{
    Error, Event, Guest, Identity, Kept, Link, MemberId, Role, Room, Settings, Voice,
    room::{
        Entry, LEAVES_WAIT, STAGGER, Setting, TREE_APART, TreeId,
        door::{Answer, GATHERING, KnockId, Terms, UnixTime, Waiting},
    },
    vault::{MemoryVault, VaultKey},
};
use party::{NOW, Party, dice::Dice, guest};

const WALL: UnixTime = UnixTime(1_800_000_000);
/// When nobody has been let in for a while.
const QUIET: Duration = NOW.saturating_add(ms(1_000));
const ANYBODY: Terms = Terms { role: Role::Listener, one_shot: false, expires: None };

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn seed() -> u64 {
    std::env::var("PARLOR_SEED").map_or(1, |seed| seed.parse().unwrap())
}

// ---- a relay and everybody around it ----

/// What reaches somebody, or the relay.
enum What {
    /// A control message is at the relay, which puts it in order.
    Sent(Vec<u8>),
    /// The message at that place of the order is at a member.
    Message { to: usize, at: usize },
    /// A knock is at the relay.
    Knock(Vec<u8>),
    /// A knock is at a member who may let in.
    Knocked { to: usize, knock: Vec<u8> },
    /// An answer is at the relay; what comes after that place of the order is for who enters by it.
    Answered { answer: Answer, tree: Option<Vec<u8>>, next: usize },
    /// An answer is at its guest.
    Enter { answer: Answer, tree: Option<Vec<u8>>, next: usize },
    /// A member's room said that there is something to do.
    Duty(usize),
    /// A speaker says 20 ms.
    Speak(usize),
    /// A packet is at somebody.
    Packet { to: MemberId, packet: Vec<u8> },
}

struct Member {
    id: MemberId,
    room: Room,
    voice: Voice,
    /// How far the relay is, one way.
    far: Duration,
    /// Whether their app does nothing, and hears nothing.
    sleeps: bool,
    /// Which message of the order comes to them next.
    next: usize,
    /// When the last thing came to them: on a stream nothing overtakes.
    last: Duration,
}

struct AtDoor {
    waiting: Waiting,
    knocked: Duration,
    far: Duration,
}

#[derive(Default)]
struct Evening {
    now: Duration,
    dice: Option<Dice>,
    /// At most so much more than the distance a hop takes.
    jitter: Duration,
    /// When each happens, by number: what was put in first comes first.
    queue: BinaryHeap<Reverse<(Duration, usize)>>,
    count: usize,
    happenings: BTreeMap<usize, What>,
    order: Vec<Vec<u8>>,
    members: Vec<Member>,
    waiting: BTreeMap<KnockId, AtDoor>,
    /// Who sent commits of their door, and commits that let go; when.
    opened: Vec<(usize, Duration)>,
    let_go: Vec<(usize, Duration)>,
    /// How long it took from knock to being in, of each who came.
    came: Vec<(MemberId, Duration)>,
    /// When each guest knocked, who is in and has heard nothing yet; and how long it took until they did.
    deaf: BTreeMap<MemberId, Duration>,
    heard: Vec<Duration>,
    told: Vec<(usize, Event)>,
}

impl Evening {
    /// Everybody of `party`, so far from the relay; it may be later than any of their clocks.
    fn new(party: Party, far: &[Duration]) -> Self {
        let mut evening = Self { now: NOW, ..Self::default() };
        for ((room, voice), far) in party.rooms.into_iter().zip(party.voices).zip(far) {
            evening.sit(room, voice, *far, 0);
        }
        evening
    }

    fn sit(&mut self, room: Room, voice: Voice, far: Duration, next: usize) {
        let id = room.me().unwrap().id;
        self.members.push(Member { id, room, voice, far, sleeps: false, next, last: self.now });
    }

    fn put(&mut self, after: Duration, what: What) {
        self.count += 1;
        self.queue.push(Reverse((self.now + after, self.count)));
        self.happenings.insert(self.count, what);
    }

    /// How long something takes over a line of that length.
    fn hop(&mut self, far: Duration) -> Duration {
        let (jitter, dice) = (self.jitter.as_micros() as usize, &mut self.dice);
        far + Duration::from_micros(dice.as_mut().map_or(0, |dice| dice.roll(jitter + 1) as u64))
    }

    fn send(&mut self, from: usize, message: Vec<u8>) {
        let hop = self.hop(self.members[from].far);
        self.put(hop, What::Sent(message));
    }

    /// Somebody knocks who is so far from the relay.
    fn knock(&mut self, guest: Guest, link: &Link, issuer: usize, far: Duration) -> KnockId {
        let plate = link.read_doorplate(&self.members[issuer].room.doorplate(link).unwrap()).unwrap();
        let (waiting, knock) = guest.knock(link, &plate, "", self.wall()).unwrap();
        let id = waiting.id();
        self.waiting.insert(id, AtDoor { waiting, knocked: self.now, far });
        let hop = self.hop(far);
        self.put(hop, What::Knock(knock));
        id
    }

    fn wall(&self) -> UnixTime {
        WALL.plus(self.now.as_secs())
    }

    /// Time goes on until `until`, or until nothing happens any more.
    fn run(&mut self, until: Duration) {
        while let Some(Reverse((at, _))) = self.queue.peek()
            && *at <= until
        {
            let Some(Reverse((at, number))) = self.queue.pop() else { return };
            self.now = at;
            let what = self.happenings.remove(&number).unwrap();
            self.happen(what);
        }
        self.now = until;
    }

    fn happen(&mut self, what: What) {
        match what {
            What::Sent(message) => {
                self.order.push(message);
                for to in 0..self.members.len() {
                    self.pass_on(to, self.order.len() - 1);
                }
            }
            What::Message { to, at } => {
                if self.members[to].sleeps || self.members[to].next != at {
                    return;
                }
                self.receive(to, at);
            }
            What::Knock(knock) => {
                for to in 0..self.members.len() {
                    if self.members[to].room.me().is_some_and(|me| me.role >= Role::Moderator) {
                        let hop = self.hop(self.members[to].far);
                        self.put(hop, What::Knocked { to, knock: knock.clone() });
                    }
                }
            }
            What::Knocked { to, knock } => {
                let (now, wall) = (self.now, self.wall());
                if self.members[to].sleeps {
                    return;
                }
                // Who has come in meanwhile needs no letting in.
                if let Ok(events) = self.members[to].room.knocked(&knock, now, wall) {
                    self.heed(to, events);
                }
                self.duty(to);
            }
            What::Answered { answer, tree, next } => {
                if let Some(AtDoor { far, .. }) = self.waiting.get(&answer.knock) {
                    let hop = self.hop(*far);
                    self.put(hop, What::Enter { answer, tree, next });
                }
            }
            What::Enter { answer, tree, next } => {
                let Some(AtDoor { waiting, knocked, far }) = self.waiting.remove(&answer.knock) else { return };
                assert_eq!(waiting.tree_of(&answer.bytes).unwrap(), tree.as_deref().map(TreeId::of));
                let (room, voice) = waiting.enter(&answer.bytes, tree.as_deref()).unwrap();
                let id = room.me().unwrap().id;
                self.came.push((id, self.now - knocked));
                self.deaf.insert(id, knocked);
                self.sit(room, voice, far, next);
                let who = self.members.len() - 1;
                (next..self.order.len()).for_each(|at| self.pass_on(who, at));
            }
            What::Duty(who) => self.duty(who),
            What::Speak(who) => {
                self.put(ms(20), What::Speak(who));
                let Ok(packet) = self.members[who].voice.seal(&[7; 120]) else { return };
                let up = self.hop(self.members[who].far);
                let others: Vec<_> = self.members.iter().map(|member| (member.id, member.far)).collect();
                // The relay sends to those at the door too: they cannot open it.
                let guests = self.waiting.values().map(|there| (there.waiting.card().id(), there.far));
                for (to, far) in others.into_iter().chain(guests).collect::<Vec<_>>() {
                    let down = self.hop(far);
                    self.put(up + down, What::Packet { to, packet: packet.clone() });
                }
            }
            What::Packet { to, packet } => {
                let now = self.now;
                let Some(member) = self.members.iter_mut().find(|member| member.id == to) else { return };
                if member.voice.open(&packet, now).is_ok()
                    && let Some(knocked) = self.deaf.remove(&to)
                {
                    self.heard.push(now - knocked);
                }
            }
        }
    }

    fn pass_on(&mut self, to: usize, at: usize) {
        let hop = self.hop(self.members[to].far);
        let arrives = (self.now + hop).max(self.members[to].last);
        self.members[to].last = arrives;
        self.put(arrives - self.now, What::Message { to, at });
    }

    fn receive(&mut self, to: usize, at: usize) {
        let now = self.now;
        let Member { room, next, .. } = &mut self.members[to];
        *next = at + 1;
        if !room.is_open() {
            return;
        }
        match room.receive(&self.order[at], now) {
            Ok(events) => self.heed(to, events),
            // A commit that lost its race.
            Err(Error::WrongEpoch { .. }) => {}
            Err(error) => panic!("seed {}: message {at} to {to}: {error}", seed()),
        }
        self.duty(to);
    }

    fn heed(&mut self, who: usize, events: Vec<Event>) {
        for event in events {
            match event.tell(&mut self.members[who].voice).unwrap() {
                Some(Event::Answered { answers, tree }) => {
                    for answer in answers {
                        let up = self.hop(self.members[who].far);
                        let next = self.members[who].next;
                        self.put(up, What::Answered { answer, tree: tree.clone(), next });
                    }
                }
                Some(event) => self.told.push((who, event)),
                None => {}
            }
        }
    }

    /// A member's app does what their room has to do, and asks when there is more.
    fn duty(&mut self, who: usize) {
        let now = self.now;
        let Member { room, sleeps, .. } = &mut self.members[who];
        if *sleeps || !room.is_open() {
            return;
        }
        let (due, opened) = (room.next_duty(now), room.open_door(now).unwrap());
        let let_go = if opened.is_some() { None } else { room.let_go(now).unwrap() };
        let next = room.next_duty(now);
        let is_due = due.is_some_and(|due| due <= now);
        assert_eq!(opened.is_some() || let_go.is_some(), is_due, "at {now:?} the next duty is {due:?}");
        if let Some(next) = next {
            assert!(next > now, "what is due is done");
            self.put(next - now, What::Duty(who));
        }
        if let Some(commit) = opened {
            self.opened.push((who, now));
            self.send(who, commit);
        }
        if let Some(commit) = let_go {
            self.let_go.push((who, now));
            self.send(who, commit);
        }
    }

    /// A member makes a message and sends it.
    fn says(&mut self, who: usize, make: impl FnOnce(&mut Room) -> parlor::Result<Vec<u8>>) {
        let message = make(&mut self.members[who].room).unwrap();
        self.send(who, message);
    }
}

/// A room of so many hosts, moderators and listeners, and a link of the first host's.
fn room(hosts: usize, moderators: usize, listeners: usize, entry: Entry) -> (Party, Link) {
    let names: Vec<_> = (0..hosts + moderators + listeners).map(|n| format!("member {n}")).collect();
    let role = |n| match n {
        n if n < hosts => Role::Host,
        n if n < hosts + moderators => Role::Moderator,
        _ => Role::Listener,
    };
    let names: Vec<_> = names.iter().enumerate().map(|(n, name)| (name.as_str(), role(n))).collect();
    let settings = Settings::default().with(Setting::Entry(entry)).unwrap();
    let settings = settings.with(Setting::Capacity(None)).unwrap();
    let mut party = Party::with(&names, settings);
    let (link, commit) = party.rooms[0].issue_link(ANYBODY).unwrap();
    party.deliver(&commit);
    (party, link)
}

fn knock(room: &Room, link: &Link, name: &str) -> (Waiting, Vec<u8>) {
    let plate = link.read_doorplate(&room.doorplate(link).unwrap()).unwrap();
    guest(name).knock(link, &plate, "", WALL).unwrap()
}

fn answers(events: Vec<Event>) -> (Vec<Answer>, Option<Vec<u8>>) {
    let answered = events.into_iter().find_map(|event| match event {
        Event::Answered { answers, tree } => Some((answers, tree)),
        _ => None,
    });
    answered.unwrap()
}

// ---- the door ----

#[test]
fn the_first_is_let_in_at_once_and_whoever_comes_soon_after_comes_in_together() {
    let (party, link) = room(1, 0, 0, Entry::Link);
    let mut ana = party.rooms.into_iter().next().unwrap();
    assert_eq!(ana.next_duty(NOW), None);
    // When each comes, when they are let in, and with how many.
    let mut came = BTreeMap::new();
    for (n, at) in [0, 100, 599, 600, 601, 700, 1_900, 2_400].into_iter().enumerate() {
        came.insert(ms(at), n);
    }
    let mut batches = Vec::new();
    for time in 0..4_000 {
        let now = NOW + ms(time);
        if let Some(n) = came.get(&ms(time)) {
            let (_, bytes) = knock(&ana, &link, &format!("guest {n}"));
            ana.knocked(&bytes, now, WALL).unwrap();
        }
        let due = ana.next_duty(now);
        let commit = ana.open_door(now).unwrap();
        assert_eq!(commit.is_some(), due.is_some_and(|due| due <= now), "{time}: {due:?}");
        if let Some(commit) = commit {
            assert_eq!(ana.next_duty(now), None, "one is on its way");
            let before = ana.roster().len();
            ana.receive(&commit, now).unwrap();
            batches.push((time, ana.roster().len() - before));
        }
    }
    assert_eq!(batches, [(0, 1), (600, 3), (1_200, 2), (1_900, 1), (2_500, 1)]);
}

#[test]
fn one_keeper_makes_two_commits_of_the_door_in_a_second_and_no_more() {
    let (party, link) = room(1, 0, 0, Entry::Link);
    let mut evening = Evening::new(party, &[ms(15)]);
    for n in 0..150 {
        evening.knock(guest(&format!("guest {n}")), &link, 0, ms(5));
        evening.run(NOW + ms(20 * n));
    }
    evening.run(NOW + ms(5_000));
    assert_eq!(evening.came.len(), 150);
    for pair in evening.opened.windows(2) {
        assert!(pair[1].1 - pair[0].1 >= GATHERING, "{:?}", evening.opened);
    }
    assert!(evening.opened.len() <= 8, "{:?}", evening.opened);
}

#[test]
fn whoever_comes_after_somebody_elses_admission_is_gathered_too() {
    let (mut party, link) = room(1, 1, 0, Entry::Link);
    let admission = party.rooms[1].admit(guest("by card").card(), Role::Listener).unwrap();
    for room in &mut party.rooms {
        room.receive(&admission.commit, NOW).unwrap();
    }
    let (_, bytes) = knock(&party.rooms[0], &link, "ben");
    let ana = &mut party.rooms[0];
    ana.knocked(&bytes, NOW + ms(1), WALL).unwrap();
    let due = NOW + GATHERING;
    assert_eq!(ana.next_duty(NOW + ms(1)), Some(due));
    assert!(ana.open_door(due - ms(1)).unwrap().is_none());
    assert!(ana.open_door(due).unwrap().is_some());
}

#[test]
fn who_may_let_in_waits_for_those_before_them_but_for_what_a_person_decides() {
    for entry in [Entry::Link, Entry::Knock] {
        let (mut party, link) = room(2, 2, 0, entry);
        let (_, bytes) = knock(&party.rooms[0], &link, "ben");
        let id = KnockId::of(&bytes);
        // The two moderators are of one standing: the smaller key is first.
        party.rooms[2..].sort_by_key(|room| room.me().unwrap().id);
        for (place, room) in (0..).zip(&mut party.rooms) {
            room.knocked(&bytes, QUIET, WALL).unwrap();
            let wait = match entry {
                Entry::Link => STAGGER * place,
                _ => {
                    assert_eq!(room.next_duty(QUIET), None, "nobody has decided");
                    room.let_in(&id, QUIET).unwrap();
                    Duration::ZERO
                }
            };
            let due = QUIET + wait;
            assert_eq!(room.next_duty(QUIET), Some(due), "{entry:?} {place}");
            if !wait.is_zero() {
                assert!(room.open_door(due - ms(1)).unwrap().is_none());
            }
            assert!(room.open_door(due).unwrap().is_some());
        }
    }
}

#[test]
fn the_place_is_the_issuers_of_each_link() {
    let (mut party, first) = room(2, 0, 0, Entry::Link);
    let (second, commit) = party.rooms[1].issue_link(ANYBODY).unwrap();
    party.deliver(&commit);
    let (_, by_first) = knock(&party.rooms[0], &first, "ben");
    let (_, by_second) = knock(&party.rooms[1], &second, "cem");
    let [one, other] = &mut party.rooms[..] else { panic!() };
    for room in [&mut *one, other] {
        room.knocked(&by_first, QUIET, WALL).unwrap();
    }
    assert_eq!(other.next_duty(QUIET), Some(QUIET + STAGGER));
    for room in [one, other] {
        room.knocked(&by_second, QUIET + ms(9), WALL).unwrap();
    }
    assert_eq!(party.rooms[0].next_duty(QUIET + ms(9)), Some(QUIET));
    let due = party.rooms[1].next_duty(QUIET + ms(9)).unwrap();
    assert_eq!(due, QUIET + ms(9), "the second's own guest is due before the first's, and takes them along");
    let commit = party.rooms[1].open_door(due).unwrap().unwrap();
    party.deliver(&commit);
    assert_eq!(party.rooms[0].roster().len(), 4);
    assert_eq!(party.rooms[0].next_duty(QUIET + ms(9)), None, "both are in");
}

#[test]
fn a_race_that_was_lost_is_made_up_for_at_once() {
    let (mut party, link) = room(1, 1, 0, Entry::Link);
    let (_, bytes) = knock(&party.rooms[0], &link, "ben");
    party.rooms[0].knocked(&bytes, QUIET, WALL).unwrap();
    let lost = party.rooms[0].open_door(QUIET).unwrap().unwrap();
    let won = party.rooms[1].refresh().unwrap();
    party.rooms[0].receive(&won, QUIET + ms(1)).unwrap();
    assert!(party.rooms[0].receive(&lost, QUIET + ms(2)).unwrap().is_empty());
    assert!(party.rooms[0].next_duty(QUIET + ms(2)).is_some_and(|due| due <= QUIET + ms(2)));
    assert!(party.rooms[0].open_door(QUIET + ms(2)).unwrap().is_some());
}

#[test]
fn neither_a_clock_that_is_set_back_nor_a_restart_shuts_the_door_for_long() {
    let (party, link) = room(1, 0, 0, Entry::Link);
    let mut ana = party.rooms.into_iter().next().unwrap();
    let late = Duration::from_secs(1_000_000);
    let (_, ben) = knock(&ana, &link, "ben");
    ana.knocked(&ben, late, WALL).unwrap();
    let commit = ana.open_door(late).unwrap().unwrap();
    ana.receive(&commit, late).unwrap();
    let (_, cem) = knock(&ana, &link, "cem");
    ana.knocked(&cem, late, WALL).unwrap();
    // Set back by days: as long as if somebody had been let in just now.
    assert_eq!(ana.next_duty(NOW), Some(NOW + GATHERING));
    assert!(ana.open_door(NOW).unwrap().is_none());
    assert_eq!(ana.next_duty(NOW + GATHERING), Some(NOW + GATHERING));

    let (me, key) = (*party::identity_of(&ana.me().unwrap().id).secret(), VaultKey::generate().unwrap());
    let secret = *key.secret();
    let kept = Kept::new(ana, MemoryVault::new(), key).unwrap();
    let again = Identity::from_secret("member 0", &me).unwrap();
    let restored = Kept::restore(again, kept.vault().clone(), VaultKey::from_bytes(&secret), ms(0)).unwrap().unwrap();
    let mut kept = restored.room;
    assert_eq!(kept.next_duty(ms(0)), Some(ms(0)), "a new clock, and a quiet door");
    assert!(kept.act(|room| room.open_door(ms(0))).unwrap().unwrap().is_some());
}

#[test]
fn a_no_is_as_long_as_a_yes_whether_the_tree_is_inside_or_apart() {
    for (before, by_batch) in [(1, 1), (5, 1), (20, 1), (63, 1), (64, 1), (65, 1), (20, 44), (20, 45)] {
        let (mut party, link) = room(1, 0, before - 1, Entry::Knock);
        // A tree whose parents have keys is longer.
        for who in (0..before.min(9)).rev() {
            let commit = party.rooms[who].refresh().unwrap();
            party.deliver(&commit);
        }
        let guests: Vec<_> = (0..by_batch).map(|n| knock(&party.rooms[0], &link, &format!("guest {n}"))).collect();
        let ana = &mut party.rooms[0];
        for (waiting, bytes) in &guests {
            ana.knocked(bytes, NOW, WALL).unwrap();
            ana.let_in(&waiting.id(), NOW).unwrap();
        }
        let commit = ana.open_door(NOW + Duration::from_secs(1)).unwrap().unwrap();
        let (yes, tree) = answers(ana.receive(&commit, NOW + Duration::from_secs(1)).unwrap());
        let after = before + by_batch;
        assert_eq!(tree.is_some(), after > TREE_APART, "{before} and {by_batch}");
        // One who is turned away, and one who is answered at once: they came late.
        let (waiting, bytes) = knock(ana, &link, "ned");
        ana.knocked(&bytes, NOW, WALL).unwrap();
        let (no, _) = ana.turn_away(&waiting.id(), "not tonight").unwrap();
        let plate = link.read_doorplate(&ana.doorplate(&link).unwrap()).unwrap();
        let (first, bytes) = guest("nat").knock(&link, &plate, "", WALL).unwrap();
        ana.knocked(&bytes, NOW, WALL).unwrap();
        let (_, later) = first.give_up().knock(&link, &plate, "", WALL.plus(9)).unwrap();
        let (at_once, _) = answers(ana.knocked(&later, NOW, WALL).unwrap());
        let sizes: BTreeSet<_> = yes.iter().chain(&at_once).chain([&no]).map(|answer| answer.bytes.len()).collect();
        let whole = sizes.iter().sum::<usize>() * by_batch + tree.as_ref().map_or(0, Vec::len);
        println!("{before:2} members and {by_batch:2} more: answers of {sizes:?} bytes, {whole} bytes in all");
        assert_eq!(sizes.len(), 1, "the relay could tell a yes from a no");
        for ((waiting, _), answer) in guests.into_iter().zip(yes) {
            let named = waiting.tree_of(&answer.bytes).unwrap();
            assert_eq!(named, tree.as_deref().map(TreeId::of));
            let (room, _) = waiting.enter(&answer.bytes, tree.as_deref()).unwrap();
            assert_eq!(room.code(), ana.code());
        }
    }
}

#[test]
fn an_answer_with_the_tree_inside_needs_none_and_takes_none() {
    let (party, link) = room(1, 0, 0, Entry::Link);
    let mut ana = party.rooms.into_iter().next().unwrap();
    let (waiting, bytes) = knock(&ana, &link, "ben");
    ana.knocked(&bytes, NOW, WALL).unwrap();
    let commit = ana.open_door(NOW).unwrap().unwrap();
    let (yes, tree) = answers(ana.receive(&commit, NOW).unwrap());
    assert_eq!(tree, None);
    assert_eq!(waiting.tree_of(&yes[0].bytes).unwrap(), None);
    let failed = waiting.enter(&yes[0].bytes, Some(b"a tree")).unwrap_err();
    assert!(failed.to_string().contains("brings its own tree"), "{failed}");
    failed.waiting.enter(&yes[0].bytes, None).unwrap();
}

/// From knock to being in, and to the first packet heard.
fn until_heard(host: Duration, others: Duration) -> (Duration, Duration) {
    let (party, link) = room(1, 1, 0, Entry::Link);
    let mut evening = Evening::new(party, &[host, others]);
    evening.put(ms(3), What::Speak(1));
    evening.run(NOW + ms(1_000));
    evening.knock(guest("ben"), &link, 0, others);
    evening.run(NOW + ms(3_000));
    assert_eq!((evening.opened.len(), evening.heard.len()), (1, 1));
    (evening.came[0].1, evening.heard[0])
}

#[test]
fn a_guest_hears_the_first_packet_as_soon_as_the_way_is_long() {
    const PACE: Duration = ms(20);
    for (what, host, others, ways) in [
        ("host 15 ms from the relay, guest and speaker beside it", ms(15), ms(0), 4 * ms(15)),
        ("everybody 15 ms from the relay", ms(15), ms(15), 6 * ms(15)),
    ] {
        let (is_in, heard) = until_heard(host, others);
        println!("{what}: in after {is_in:?}, the first packet heard after {heard:?}");
        assert_eq!(is_in, ways, "{what}: nothing but the way");
        assert!(heard <= is_in + PACE, "{what}: {heard:?}");
    }
}

fn distances(dice: &mut Dice, count: usize, range: Range<usize>) -> Vec<Duration> {
    (0..count).map(|_| ms((range.start + dice.roll(range.len())) as u64)).collect()
}

#[test]
fn of_eight_who_may_let_in_one_does() {
    const AT_ONE_EVENING: u64 = 25;
    let seeds = std::env::var("PARLOR_SEEDS").map_or(1_000, |text| text.parse().unwrap());
    let mut made = BTreeMap::new();
    let mut slowest = Duration::ZERO;
    for first in (seed()..seed() + seeds).step_by(AT_ONE_EVENING as usize) {
        let (party, link) = room(3, 5, 0, Entry::Link);
        let mut evening = Evening::new(party, &[ms(0); 8]);
        evening.jitter = ms(20);
        evening.run(QUIET);
        for seed in first..first + AT_ONE_EVENING {
            let mut dice = Dice::of(seed);
            for (member, far) in evening.members.iter_mut().zip(distances(&mut dice, 8, 5..61)) {
                member.far = far;
            }
            let far = distances(&mut dice, 1, 5..61)[0];
            evening.dice = Some(dice);
            evening.opened.clear();
            evening.came.clear();
            let begun = evening.now;
            evening.knock(guest("ben"), &link, 0, far);
            evening.run(begun + ms(4_000));
            assert_eq!(evening.came.len(), 1, "seed {seed}: ben is not in");
            assert!(evening.opened.len() <= 2, "seed {seed}: {:?}", evening.opened);
            *made.entry(evening.opened.len()).or_insert(0) += 1;
            slowest = slowest.max(evening.came[0].1);
            // He stays in the room, and his app does nothing there.
            evening.members.truncate(8);
        }
    }
    println!(
        "seeds {}..{}: times that so many commits were made {made:?}; in after {slowest:?} at most",
        seed(),
        seed() + seeds
    );
    assert!(made[&1] * 100 >= 95 * made.values().sum::<u64>(), "{made:?}");
}

#[test]
fn keepers_who_sleep_cost_one_guest_their_turns_and_the_next_nothing() {
    for seed in seed()..seed() + 20 {
        let (party, link) = room(3, 5, 0, Entry::Link);
        let mut dice = Dice::of(seed);
        let far = distances(&mut dice, 8, 5..61);
        let mut evening = Evening::new(party, &far);
        (0..3).for_each(|who| evening.members[who].sleeps = true);
        evening.knock(guest("ben"), &link, 0, ms(5));
        evening.run(NOW + ms(3_000));
        evening.knock(guest("cem"), &link, 0, ms(5));
        evening.run(NOW + ms(6_000));
        // Of moderators of one standing the smallest key is first.
        let fourth = evening.opened[0].0;
        let ways = 2 * ms(5) + 4 * far[fourth];
        let took: Vec<_> = evening.came.iter().map(|(_, took)| *took).collect();
        assert_eq!(took, [3 * STAGGER + ways, ways], "seed {seed}");
        assert!(
            evening.opened.iter().all(|(who, _)| *who == fourth) && evening.opened.len() == 2,
            "{:?}",
            evening.opened
        );
        if seed == self::seed() {
            println!("three asleep: the first is in after {:?}, the second after {:?}", took[0], took[1]);
        }

        // The first wakes up and says something: from here on it is their turn again, and nobody else makes a commit.
        evening.members[0].sleeps = false;
        (0..evening.order.len()).for_each(|at| evening.pass_on(0, at));
        evening.run(NOW + ms(6_500));
        evening.says(0, |room| room.set_mic(false));
        evening.run(NOW + ms(7_000));
        evening.opened.clear();
        evening.knock(guest("dan"), &link, 0, ms(5));
        evening.run(NOW + ms(9_000));
        assert_eq!(evening.opened.iter().map(|(who, _)| *who).collect::<Vec<_>>(), [0], "seed {seed}");
        assert_eq!(evening.came.len(), 3, "seed {seed}");
    }
}

// ---- leaving ----

fn left(evening: &Evening, who: usize) -> usize {
    evening.told.iter().filter(|(to, event)| *to == who && matches!(event, Event::Left { .. })).count()
}

#[test]
fn fifty_who_ask_within_five_seconds_go_by_one_commit_and_who_is_put_out_goes_at_once() {
    let (party, _) = room(1, 0, 51, Entry::Link);
    let mut evening = Evening::new(party, &[ms(15); 52]);
    let before = evening.members[0].room.epoch();
    for n in 0..50 {
        evening.says(1 + n, Room::leave);
        evening.run(NOW + ms(90 * (n as u64 + 1)));
    }
    let zed = evening.members[51].id;
    evening.says(0, |ana| ana.remove(&zed));
    evening.run(NOW + ms(4_500 + 40));
    assert_eq!(evening.members[0].room.roster().len(), 51, "zed is out, and nobody else");
    assert!(evening.let_go.is_empty());
    evening.run(NOW + ms(7_000));
    // The first asked 15 + 15 ms before ana heard of it.
    assert_eq!(evening.let_go, [(0, NOW + ms(30) + LEAVES_WAIT)]);
    let ana = &evening.members[0].room;
    assert_eq!((left(&evening, 0), ana.roster().len(), ana.epoch() - before), (50, 1, 2));
    println!("50 who asked within 4.5 s and one who was put out: {} commits", ana.epoch() - before);
}

#[test]
fn they_are_let_go_five_seconds_after_the_first_asked_and_not_before() {
    let (mut party, _) = room(2, 1, 3, Entry::Link);
    let leaves = |party: &mut Party, who: usize, now: Duration| {
        let word = party.rooms[who].leave().unwrap();
        for room in &mut party.rooms {
            room.receive(&word, now).unwrap();
        }
    };
    leaves(&mut party, 3, NOW);
    leaves(&mut party, 4, NOW + ms(4_000));
    let due = NOW + LEAVES_WAIT;
    for who in [3, 4, 5] {
        assert_eq!(party.rooms[who].next_duty(NOW), None, "it is not for a listener");
        assert!(party.rooms[who].let_go(due * 9).unwrap().is_none());
    }
    for who in [0, 1, 2] {
        let due = due + STAGGER * who as u32;
        assert_eq!(party.rooms[who].next_duty(NOW + ms(4_000)), Some(due), "{who}");
        assert!(party.rooms[who].let_go(due - ms(1)).unwrap().is_none(), "{who}");
    }
    let commit = party.rooms[0].let_go(due).unwrap().unwrap();
    assert!(party.rooms[0].let_go(due).unwrap().is_none(), "it is on its way");
    // It loses a race, and is made again at once.
    let won = party.rooms[1].refresh().unwrap();
    for room in &mut party.rooms {
        room.receive(&won, due).unwrap();
    }
    assert!(party.rooms[0].receive(&commit, due).unwrap().is_empty());
    assert_eq!(party.rooms[0].next_duty(due), Some(due));
    // Who asks in the meantime goes too.
    leaves(&mut party, 2, due);
    let commit = party.rooms[0].let_go(due).unwrap().unwrap();
    for room in &mut party.rooms {
        room.receive(&commit, due).unwrap();
    }
    assert_eq!(party.rooms[0].roster().len(), 3);
    assert!((2..5).all(|who| !party.rooms[who].is_open()));
    assert_eq!(party.rooms[0].next_duty(due), None);
}

#[test]
fn a_moderator_lets_go_whom_she_may_put_out_and_a_host_who_has_left_goes_too() {
    let (mut party, _) = room(2, 1, 1, Entry::Link);
    // The first host steps down as she leaves; the moderator asks.
    for who in [0, 2] {
        let leaving = party.rooms[who].leave().unwrap();
        for room in &mut party.rooms {
            room.receive(&leaving, NOW).unwrap();
        }
    }
    let due = NOW + LEAVES_WAIT;
    assert_eq!(party.rooms[2].next_duty(NOW), Some(due + STAGGER), "the host who stays is before her");
    let going = party.rooms[2].let_go(due + STAGGER).unwrap().unwrap();
    for at in [1, 2, 3] {
        party.rooms[at].receive(&going, due + STAGGER).unwrap();
    }
    assert_eq!(party.rooms[1].roster().len(), 3, "she does not let herself go");
    let going = party.rooms[1].let_go(due + STAGGER).unwrap().unwrap();
    party.rooms[1].receive(&going, due + STAGGER).unwrap();
    assert_eq!(party.rooms[1].roster().len(), 2);
}

#[test]
fn of_eight_who_may_let_go_one_does() {
    let mut made = BTreeMap::new();
    for seed in seed()..seed() + 100 {
        let (party, _) = room(3, 5, 4, Entry::Link);
        let mut dice = Dice::of(seed);
        let far = distances(&mut dice, 12, 5..61);
        let mut evening = Evening::new(party, &far);
        (evening.jitter, evening.dice) = (ms(20), Some(dice));
        for who in 8..12 {
            evening.says(who, Room::leave);
        }
        evening.run(NOW + ms(9_000));
        assert_eq!(evening.members[0].room.roster().len(), 8, "seed {seed}");
        assert!(evening.let_go.len() <= 2, "seed {seed}: {:?}", evening.let_go);
        *made.entry(evening.let_go.len()).or_insert(0) += 1;
    }
    println!("leaves, 100 seeds from {}: times that so many commits were made {made:?}", seed());
    assert!(made[&1] >= 95, "{made:?}");
}

#[test]
fn in_a_room_without_a_host_who_sits_first_lets_go_and_who_sleeps_is_passed_over() {
    let (party, _) = room(1, 0, 5, Entry::Link);
    let mut evening = Evening::new(party, &[ms(15); 6]);
    evening.members[1].sleeps = true;
    evening.says(0, Room::leave);
    evening.run(NOW + ms(6_000));
    assert_eq!(evening.let_go, [(2, NOW + ms(30) + LEAVES_WAIT + STAGGER)]);
    assert!(!evening.members[0].room.is_open());
    // In such a room whoever leaves says so by a commit. The second is not waited for any more.
    evening.let_go.clear();
    evening.says(5, Room::leave);
    evening.run(NOW + ms(12_000));
    assert_eq!(evening.let_go, [(2, NOW + ms(6_000 + 30) + LEAVES_WAIT)]);
    assert_eq!(evening.members[3].room.roster().len(), 4);
}
