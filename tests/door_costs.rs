//! What knocks cost whoever may let in: work, and bytes written where the room is kept. And the bounds of a door, from
//! below and from above.
//!
//! `cargo test --release --test door_costs -- --nocapture` prints the figures.

#[allow(unused, reason = "each test binary uses what it needs")]
mod party;

use std::time::{Duration, Instant};

use parlor::{
    Error, Event, Identity, Kept, Link, Role, Room, Settings,
    room::{
        Entry, Setting,
        door::{Doorplate, GATHERING, KNOCK_LEN, KNOCKS_A_SECOND, MAX_BATCH, MAX_WAITING, Terms, UnixTime},
    },
    vault::{MemoryVault, Vault, VaultKey},
};
use party::guest;

const NOW: Duration = Duration::from_secs(7);
const WALL: UnixTime = UnixTime(1_800_000_000);
const ANYBODY: Terms = Terms { role: Role::Listener, one_shot: false, expires: None };

/// A host's room, and links of hers with their doorplates.
fn room(entry: Entry, links: usize) -> (Room, Vec<(Link, Doorplate)>) {
    let settings = Settings::default().with(Setting::Entry(entry)).unwrap();
    let settings = settings.with(Setting::Capacity(None)).unwrap();
    let (mut room, _) = Room::create(Identity::generate("ana").unwrap(), settings).unwrap();
    let mut doors = Vec::new();
    for _ in 0..links {
        let (link, commit) = room.issue_link(ANYBODY).unwrap();
        room.receive(&commit, NOW).unwrap();
        doors.push(link);
    }
    let plate = |link: &Link| link.read_doorplate(&room.doorplate(link).unwrap()).unwrap();
    let doors = doors.into_iter().map(|link| {
        let plate = plate(&link);
        (link, plate)
    });
    let doors = doors.collect();
    (room, doors)
}

fn knocks((link, plate): &(Link, Doorplate), count: usize) -> Vec<Vec<u8>> {
    let knock = |n: usize| guest(&format!("guest {n}")).knock(link, plate, "may I come in?", WALL).unwrap().1;
    (0..count).map(knock).collect()
}

fn said(room: &mut Room, knock: &[u8], now: Duration) -> String {
    match room.knocked(knock, now, WALL) {
        Ok(events) => format!("{events:?}"),
        Err(error) => error.to_string(),
    }
}

fn is_over_budget(said: &str) -> bool {
    said.contains("give it again in the next")
}

#[test]
fn a_knock_that_came_before_is_known_by_its_bytes_and_takes_nobodys_turn() {
    let (mut room, doors) = room(Entry::Knock, 1);
    let all = knocks(&doors[0], KNOCKS_A_SECOND as usize + 1);
    let (one, others) = all.split_first().unwrap();
    room.knocked(one, NOW, WALL).unwrap();
    for _ in 0..10 * KNOCKS_A_SECOND {
        assert!(said(&mut room, one, NOW).contains("it came before"));
    }
    // Signed by nobody it is the same knock, and no other is known by its name.
    let mut unsigned = one.clone();
    unsigned[KNOCK_LEN - 64..].fill(7);
    assert!(said(&mut room, &unsigned, NOW).contains("it came before"));
    // All but one of a second's turns are left.
    let (last, others) = others.split_last().unwrap();
    for knock in others {
        assert!(room.knocked(knock, NOW, WALL).is_ok());
    }
    let over = said(&mut room, last, NOW);
    assert!(is_over_budget(&over), "{over}");
    assert!(said(&mut room, one, NOW).contains("it came before"), "even then");
}

#[test]
fn what_was_not_authentic_shuts_out_no_knock_of_anybodys() {
    let (mut room, doors) = room(Entry::Knock, 1);
    let knock = knocks(&doors[0], 1).remove(0);
    let mut forged = knock.clone();
    forged[KNOCK_LEN - 64..].fill(7);
    assert!(said(&mut room, &forged, NOW).contains("does not hold the link"));
    assert!(matches!(room.knocked(&knock, NOW, WALL).unwrap()[..], [Event::Knocked { .. }]));
}

#[test]
fn a_flood_by_one_link_is_given_back_and_the_other_links_are_heard() {
    let (mut room, doors) = room(Entry::Knock, 4);
    let flood = knocks(&doors[0], 200);
    let share = KNOCKS_A_SECOND as usize / 2 / 4;
    let mut over = Vec::new();
    for knock in &flood {
        match room.knocked(knock, NOW, WALL) {
            Ok(_) => {}
            Err(error) => {
                assert!(matches!(error, Error::Unusable { what: "knock", .. }), "{error}");
                assert!(is_over_budget(&error.to_string()), "{error}");
                over.push(knock);
            }
        }
    }
    assert_eq!(flood.len() - over.len(), KNOCKS_A_SECOND as usize / 2 + share);
    for door in &doors[1..] {
        for (at, knock) in knocks(door, share + 1).iter().enumerate() {
            let said = said(&mut room, knock, NOW);
            assert_eq!(is_over_budget(&said), at == share, "{at}: {said}");
        }
    }
    // Junk that names a link is charged to it: its signature was looked at.
    let later = NOW + Duration::from_secs(1);
    for knock in &flood {
        let mut junk = knock.clone();
        junk[KNOCK_LEN / 2..].fill(9);
        let said = said(&mut room, &junk, later);
        assert!(is_over_budget(&said) || said.contains("does not hold the link"), "{said}");
    }
    assert!(is_over_budget(&said(&mut room, over[0], later)));
    // Given again in its time it is as good as ever.
    for (second, knocks) in (2..).zip(over.chunks(share)) {
        for knock in knocks {
            room.knocked(knock, NOW + Duration::from_secs(second), WALL).unwrap();
        }
    }
    assert_eq!(room.knocks().len(), flood.len() + 3 * share);
}

/// A vault that counts what is written.
#[derive(Default)]
struct Counting {
    inner: MemoryVault,
    bytes: usize,
    wholes: usize,
    increments: usize,
}

impl Vault for Counting {
    fn store(&mut self, whole: &[u8]) -> parlor::Result<()> {
        self.bytes += whole.len();
        self.wholes += 1;
        self.inner.store(whole)
    }

    fn append(&mut self, increment: &[u8]) -> parlor::Result<()> {
        self.bytes += increment.len();
        self.increments += 1;
        self.inner.append(increment)
    }

    fn load(&mut self) -> parlor::Result<Option<Vec<u8>>> {
        self.inner.load()
    }

    fn erase(&mut self) -> parlor::Result<()> {
        self.inner.erase()
    }
}

impl Counting {
    fn written(&mut self) -> (usize, usize, usize) {
        let counts = (self.bytes, self.wholes, self.increments);
        *self = Self { inner: std::mem::take(&mut self.inner), ..Self::default() };
        counts
    }
}

/// What it takes to restore a room.
struct Keys {
    identity: [u8; 32],
    vault: [u8; 32],
}

impl Keys {
    /// Another process, with what is stored; and how long it took.
    fn restore(&self, kept: &Kept<Shared>) -> (Kept<MemoryVault>, Duration) {
        let identity = Identity::from_secret("ana", &self.identity).unwrap();
        let copy = kept.vault().0.borrow().inner.clone();
        let begun = spent();
        let restored = Kept::restore(identity, copy, VaultKey::from_bytes(&self.vault), NOW).unwrap().unwrap();
        (restored.room, spent() - begun)
    }
}

/// Keeps `room`.
fn keep(room: Room, secret: &[u8; 32]) -> (Kept<Shared>, Keys) {
    let key = VaultKey::generate().unwrap();
    let keys = Keys { identity: *secret, vault: *key.secret() };
    (Kept::new(room, Shared::default(), key).unwrap(), keys)
}

/// The counting vault, where the test can get at it.
#[derive(Default)]
struct Shared(std::rc::Rc<std::cell::RefCell<Counting>>);

impl Vault for Shared {
    fn store(&mut self, whole: &[u8]) -> parlor::Result<()> {
        self.0.borrow_mut().store(whole)
    }

    fn append(&mut self, increment: &[u8]) -> parlor::Result<()> {
        self.0.borrow_mut().append(increment)
    }

    fn load(&mut self) -> parlor::Result<Option<Vec<u8>>> {
        self.0.borrow_mut().load()
    }

    fn erase(&mut self) -> parlor::Result<()> {
        self.0.borrow_mut().erase()
    }
}

/// A kept room with a door; its links.
fn kept_room() -> (Room, Vec<(Link, Doorplate)>, [u8; 32]) {
    let ana = Identity::generate("ana").unwrap();
    let secret = *ana.secret();
    let settings = Settings::default().with(Setting::Entry(Entry::Knock)).unwrap();
    let settings = settings.with(Setting::Capacity(None)).unwrap();
    let (mut room, _) = Room::create(ana, settings).unwrap();
    let (link, commit) = room.issue_link(ANYBODY).unwrap();
    room.receive(&commit, NOW).unwrap();
    let plate = link.read_doorplate(&room.doorplate(&link).unwrap()).unwrap();
    (room, vec![(link, plate)], secret)
}

#[test]
fn so_many_wait_at_a_kept_door_for_less_than_two_bytes_written_a_byte_and_all_are_there_after_a_crash() {
    let (room, doors, secret) = kept_room();
    let (mut kept, keys) = keep(room, &secret);
    let written = |kept: &Kept<Shared>| kept.vault().0.borrow_mut().written();
    written(&kept);
    let all = knocks(&doors[0], MAX_WAITING + 2);
    let at = |n: usize| NOW + Duration::from_secs((n / KNOCKS_A_SECOND as usize) as u64);
    let begun = spent();
    for (n, knock) in all[..MAX_WAITING].iter().enumerate() {
        let told = kept.act(|room| room.knocked(knock, at(n), WALL)).unwrap().unwrap();
        assert!(matches!(told[..], [Event::Knocked { .. }]), "{n}: {told:?}");
    }
    let (took, came) = (spent() - begun, MAX_WAITING * KNOCK_LEN);
    let (bytes, wholes, increments) = written(&kept);
    println!(
        "{MAX_WAITING} knocks of {KNOCK_LEN} bytes: {came} bytes in, {bytes} written ({:.2} a byte) in {wholes} wholes and {increments} increments, {:.3} ms each",
        bytes as f64 / came as f64,
        took.as_secs_f64() * 1e3 / MAX_WAITING as f64
    );
    assert!(bytes <= 2 * came, "{bytes} bytes written for {came}");
    assert!(wholes + increments <= MAX_WAITING);

    // No more wait than that: the next is refused, and is not held against whoever made it.
    let later = at(all.len()) + Duration::from_secs(1);
    let [one_more, yet_one] = &all[MAX_WAITING..] else { panic!() };
    let said = kept.act(|room| room.knocked(one_more, later, WALL)).unwrap().unwrap_err();
    assert!(said.to_string().contains("4,096 people wait already"), "{said}");
    assert_eq!(written(&kept), (0, 0, 0), "nothing has changed");
    let first = kept.knocks().next().unwrap().id();
    let (_, word) = kept.act(|room| room.turn_away(&first, "")).unwrap().unwrap();
    kept.act(|room| room.receive(&word, later)).unwrap().unwrap();
    kept.act(|room| room.knocked(one_more, later, WALL)).unwrap().unwrap();
    assert!(kept.act(|room| room.knocked(yet_one, later, WALL)).unwrap().is_err());

    // Known ones cost no write, whatever comes.
    written(&kept);
    for knock in &all[1..MAX_WAITING] {
        assert!(kept.act(|room| room.knocked(knock, later, WALL)).unwrap().is_err());
    }
    assert_eq!(written(&kept), (0, 0, 0));

    let (again, took) = keys.restore(&kept);
    println!("a restore with {MAX_WAITING} who wait: {:.0} ms", took.as_secs_f64() * 1e3);
    assert_eq!(again.knocks().len(), MAX_WAITING);
    assert!(
        again
            .knocks()
            .map(|knock| (knock.id(), knock.note()))
            .eq(kept.knocks().map(|knock| (knock.id(), knock.note())))
    );
}

#[test]
fn who_knocks_again_and_again_writes_themselves_and_not_all_who_wait() {
    let (room, doors, secret) = kept_room();
    let (mut kept, keys) = keep(room, &secret);
    for (n, knock) in knocks(&doors[0], 300).iter().enumerate() {
        kept.act(|room| room.knocked(knock, NOW + Duration::from_secs(n as u64 / 100), WALL)).unwrap().unwrap();
    }
    kept.vault().0.borrow_mut().written();
    let (link, plate) = &doors[0];
    let mut eve = guest("eve");
    let mut came = 0;
    for n in 0..400 {
        // Later than the last, and each tenth earlier.
        let wall = if n % 10 == 9 { UnixTime(WALL.0 - 1) } else { WALL.plus(n / 10) };
        let (there, knock) = eve.knock(link, plate, "please", wall).unwrap();
        let now = NOW + Duration::from_secs(10 + n / 100);
        let told = kept.act(|room| room.knocked(&knock, now, WALL)).unwrap().unwrap();
        assert!(told.iter().any(|event| matches!(event, Event::Knocked { .. } | Event::Answered { .. })));
        came += knock.len();
        eve = there.give_up();
    }
    let (bytes, ..) = kept.vault().0.borrow_mut().written();
    assert!(bytes <= 2 * came, "{bytes} bytes written for {came}");
    let (again, _) = keys.restore(&kept);
    assert_eq!(again.knocks().len(), 301);
    assert!(again.knocks().map(parlor::room::door::Knock::id).eq(kept.knocks().map(parlor::room::door::Knock::id)));
}

#[test]
fn so_many_come_in_by_one_commit_and_the_next_by_another() {
    let (mut room, doors) = room(Entry::Link, 1);
    let all = knocks(&doors[0], MAX_BATCH + 1);
    for (n, knock) in all.iter().enumerate() {
        room.knocked(knock, NOW + Duration::from_secs(n as u64 / 100), WALL).unwrap();
    }
    let mut now = NOW + GATHERING;
    for came in [MAX_BATCH, 1] {
        now += Duration::from_secs(10);
        let before = room.roster().len();
        let commit = room.open_door(now).unwrap().unwrap();
        room.receive(&commit, now).unwrap();
        assert_eq!(room.roster().len() - before, came);
    }
    assert!(room.open_door(now + Duration::from_secs(10)).unwrap().is_none());
}

/// What this thread has had of a core, however busy the machine is; elsewhere than on Linux, the time.
fn spent() -> Duration {
    let on_cpu = std::fs::read_to_string("/proc/thread-self/schedstat").ok();
    let nanos = on_cpu.and_then(|text| text.split(' ').next()?.parse().ok());
    nanos.map_or_else(|| started().elapsed(), Duration::from_nanos)
}

fn started() -> Instant {
    static STARTED: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
    *STARTED.get_or_init(Instant::now)
}

/// What each class of knocks costs, for the figures.
#[test]
fn knocks_cost_so_much() {
    let (mut room, doors) = room(Entry::Knock, 1);
    let all = knocks(&doors[0], 64);
    let mut at = 0_u64;
    let mut cost = |what: &str, inputs: &[Vec<u8>], fresh: bool| {
        let begun = spent();
        for input in inputs {
            let _ = room.knocked(input, NOW + Duration::from_secs(at), WALL);
        }
        let each = (spent() - begun).as_secs_f64() * 1e6 / inputs.len() as f64;
        println!("{what:38} {each:9.2} µs");
        at += u64::from(fresh);
        each
    };
    let many = |make: &dyn Fn(&[u8]) -> Vec<u8>| all.iter().map(|knock| make(knock)).collect::<Vec<_>>();
    let signature = KNOCK_LEN - 64;
    let other_link = many(&|knock| [&knock[..17], &[7; 32], &knock[49..]].concat());
    let unsigned = many(&|knock| [&knock[..signature], &[7; 64]].concat());
    let garbage = vec![vec![1; KNOCK_LEN]; 64];
    let second = knocks(&doors[0], 65);
    let fresh = cost("a fresh knock", &all, true);
    let known = cost("the same again", &all.iter().cycle().take(6_400).cloned().collect::<Vec<_>>(), true);
    cost("known, its signature wrong", &unsigned, true);
    cost("another link's id", &other_link, true);
    let wrong = second.iter().map(|knock| [&knock[..signature], &[7; 64]].concat()).collect::<Vec<_>>();
    let wrong = cost("a fresh one, its signature wrong", &wrong, true);
    cost("garbage of full length", &garbage, true);
    let spent = knocks(&doors[0], 200);
    cost("until the second is spent", &spent[..128], false);
    let over =
        cost("over the second's budget", &spent[128..].iter().cycle().take(6_400).cloned().collect::<Vec<_>>(), true);
    assert!(known < fresh / 8.0 && over < fresh / 8.0 && wrong < fresh, "{fresh} {known} {over} {wrong}");
}
