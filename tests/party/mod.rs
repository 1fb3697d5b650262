//! Members of a room, for tests: a [`Person`] is one of them, who receives when the test says so; a [`Party`] is
//! all of them, over a relay that hands each message to everybody at once.

#![allow(dead_code, missing_docs, unreachable_pub, reason = "each test binary uses what it needs")]

pub mod broken;
pub mod charter;
pub mod crowd;
pub mod dice;
pub mod floods;
pub mod jam;
pub mod mal;
pub mod visit;
pub mod words;

use std::{cell::RefCell, collections::HashMap, time::Duration};

use parlor::{Admission, Card, Event, Guest, Identity, MemberId, Role, Room, Settings, Voice, room::Retried};

pub const NOW: Duration = Duration::from_secs(7);

/// Somebody in a room, or somebody who was.
pub struct Person {
    pub id: MemberId,
    pub room: Room,
    pub voice: Voice,
    /// The epoch they came in with.
    pub entered: u64,
}

impl Person {
    pub fn host(name: &str, settings: Settings) -> Self {
        Self::of(Room::create(identity(name), settings).unwrap())
    }

    pub fn enter(guest: Guest, admission: &Admission) -> Self {
        Self::of(enter(guest, admission).unwrap())
    }

    fn of((room, voice): (Room, Voice)) -> Self {
        Self { id: room.me().unwrap().id, entered: room.epoch(), room, voice }
    }

    /// Takes a control message in and hands its keys to the voice.
    pub fn receive(&mut self, message: &[u8], now: Duration) -> parlor::Result<()> {
        for event in self.room.receive(message, now)? {
            if let Event::Rekeyed(keys) = event {
                self.voice.rekey(keys)?;
            }
        }
        Ok(())
    }
}

/// A host and guests in the given roles, all in one epoch.
pub fn room_of(settings: Settings, guests: &[(&str, Role)]) -> Vec<Person> {
    let mut host = Person::host("host", settings);
    let guests: Vec<_> = guests.iter().map(|(name, role)| (guest(name), *role)).collect();
    let batch: Vec<_> = guests.iter().map(|(guest, role)| (guest.card().clone(), *role)).collect();
    let admission = host.room.admit_all(&batch).unwrap();
    host.receive(&admission.commit, Duration::ZERO).unwrap();
    let guests = guests.into_iter().map(|(guest, _)| Person::enter(guest, &admission));
    std::iter::once(host).chain(guests).collect()
}

/// The members of one room; every message goes to all of them, its sender included, in one order.
pub struct Party {
    pub rooms: Vec<Room>,
    pub voices: Vec<Voice>,
}

thread_local! {
    /// Everybody of this test, so that a copy of a room of theirs can be made.
    static PEOPLE: RefCell<HashMap<MemberId, (String, [u8; 32])>> = RefCell::default();
}

pub fn identity(name: &str) -> Identity {
    let identity = Identity::generate(name).unwrap();
    PEOPLE.with_borrow_mut(|people| people.insert(identity.id(), (name.to_owned(), *identity.secret())));
    identity
}

/// The identity of somebody whom [`identity`] has made, once more.
pub fn identity_of(id: &MemberId) -> Identity {
    let (name, secret) = PEOPLE.with_borrow(|people| people[id].clone());
    Identity::from_secret(&name, &secret).unwrap()
}

pub fn guest(name: &str) -> Guest {
    Guest::new(identity(name)).unwrap()
}

/// The event's name and the member it is about, for tests that compare whole lists.
pub fn gist(event: &Event) -> String {
    match event {
        Event::Rekeyed(keys) => format!("rekeyed {}", keys.epoch()),
        Event::Joined { .. } => "joined".into(),
        Event::CameBack { .. } => "came back".into(),
        Event::Left { name, .. } => format!("left {name}"),
        Event::Removed { name, .. } => format!("removed {name}"),
        Event::RoleChanged { from, .. } => format!("was {from}"),
        Event::Refreshed { .. } => "refreshed".into(),
        Event::SettingChanged { setting, .. } => setting.to_string(),
        Event::Banned { .. } => "banned".into(),
        Event::BanLifted { .. } => "ban lifted".into(),
        Event::Muted { .. } => "muted".into(),
        Event::MuteLifted { .. } => "may speak again".into(),
        Event::Mic { on, .. } => format!("microphone on: {on}"),
        Event::LinkIssued { .. } => "link issued".into(),
        Event::LinkEnded { .. } => "link ended".into(),
        Event::HandRaised { .. } => "hand up".into(),
        Event::HandLowered { .. } => "hand down".into(),
        Event::InvitedToSpeak { .. } => "invited to speak".into(),
        Event::InvitationAnswered { accepted, .. } => format!("accepted: {accepted}"),
        Event::ListenOnly { .. } => "listen-only".into(),
        Event::Ended { .. } => "ended".into(),
        Event::WantsToLeave { .. } => "wants to leave".into(),
        Event::Closed { asked, .. } => format!("closed, asked: {asked}"),
        Event::Superseded { .. } => "superseded".into(),
        Event::Refused { why, .. } => format!("refused: {why}"),
        other => format!("{other:?}"),
    }
}

pub fn gists(events: &[Event]) -> Vec<String> {
    events.iter().map(gist).collect()
}

impl Party {
    /// A room of `names`, the first of whom is its host.
    pub fn new(names: &[(&str, Role)]) -> Self {
        Self::with(names, Settings::default())
    }

    pub fn with(names: &[(&str, Role)], settings: Settings) -> Self {
        let (host, others) = names.split_first().unwrap();
        let (room, voice) = Room::create(identity(host.0), settings).unwrap();
        let mut party = Self { rooms: vec![room], voices: vec![voice] };
        if !others.is_empty() {
            party.admit(0, others.iter().map(|(name, role)| (guest(name), *role)).collect());
        }
        party
    }

    /// Lets `guests` in, all by one commit of `by`.
    pub fn admit(&mut self, by: usize, guests: Vec<(Guest, Role)>) -> Admission {
        let cards: Vec<(Card, Role)> = guests.iter().map(|(guest, role)| (guest.card().clone(), *role)).collect();
        let admission = self.rooms[by].admit_all(&cards).unwrap();
        self.deliver(&admission.commit);
        for (guest, _) in guests {
            let (room, voice) = enter(guest, &admission).unwrap();
            self.rooms.push(room);
            self.voices.push(voice);
        }
        self.check();
        admission
    }

    /// Hands `message` to everybody, and gives back what each made of it.
    pub fn deliver(&mut self, message: &[u8]) -> Vec<Vec<Event>> {
        self.rooms.iter_mut().filter(|room| room.is_open()).map(|room| room.receive(message, NOW).unwrap()).collect()
    }

    pub fn id(&self, name: &str) -> MemberId {
        self.rooms[0].roster().find(|member| member.name == name).unwrap().id
    }

    pub fn named(&mut self, name: &str) -> &mut Room {
        self.rooms.iter_mut().find(|room| room.me().is_some_and(|me| me.name == name)).unwrap()
    }

    /// Names and roles as the first member sees them.
    pub fn names(&self) -> Vec<String> {
        self.rooms[0].roster().map(|member| format!("{} {}", member.name, member.role)).collect()
    }

    /// A fresh guest enters, as the room is.
    #[track_caller]
    pub fn a_guest_enters(&mut self) {
        assert!(visit::a_guest_enters(&mut self.rooms), "nobody can let in");
    }

    /// Everybody who is in agrees on everything, and they are exactly the roster.
    pub fn check(&self) {
        let open: Vec<&Room> = self.rooms.iter().filter(|room| room.is_open()).collect();
        let roster: Vec<_> = open[0].roster().cloned().collect();
        for room in &open {
            assert_eq!(room.epoch(), open[0].epoch());
            assert_eq!(room.code(), open[0].code());
            assert_eq!(room.id(), open[0].id());
            assert_eq!(room.settings(), open[0].settings());
            assert!(room.roster().eq(roster.iter()), "{:?} sees another roster", room);
        }
        let mut here: Vec<MemberId> = open.iter().map(|room| room.me().unwrap().id).collect();
        let mut listed: Vec<MemberId> = roster.iter().map(|member| member.id).collect();
        here.sort_unstable();
        listed.sort_unstable();
        assert_eq!(here, listed);
    }
}

pub fn enter(guest: Guest, admission: &Admission) -> Result<(Room, Voice), parlor::EnterError> {
    match &admission.tree {
        None => guest.enter(&admission.welcome),
        Some(tree) => guest.enter_with_tree(&admission.welcome, tree),
    }
}

/// What people want to know of a tick: all but the heartbeat.
pub fn tick(room: &mut Room, now: Duration) -> Vec<Event> {
    let heartbeat = |event: &Event| matches!(event, Event::Send(_) | Event::Stale { .. } | Event::Fresh);
    room.tick(now).into_iter().filter(|event| !heartbeat(event)).collect()
}

pub fn commit_of(retried: Retried) -> Vec<u8> {
    match retried {
        Retried::Admission(admission) => admission.commit,
        Retried::Commit(commit) => commit,
        other => panic!("nothing to do: {other:?}"),
    }
}
