//! A room's worth of people around one relay, for tests: everybody holds a real `Room` and a real `Voice`.

#![allow(dead_code, reason = "each test takes what it needs")]

use std::time::Duration;

use parlor::{Card, Event, Guest, Identity, MemberId, Role, Room, Settings, Voice};

/// Somebody in the room, or somebody who was.
pub struct Person {
    pub id: MemberId,
    pub room: Room,
    pub voice: Voice,
    /// The epoch they came in with.
    pub entered: u64,
    /// What `receive` gave besides keys, newest last.
    pub events: Vec<Event>,
}

impl Person {
    pub fn host(name: &str, settings: Settings) -> Self {
        let identity = Identity::generate(name).unwrap();
        let id = identity.id();
        let (room, voice) = Room::create(identity, settings).unwrap();
        Self { id, room, voice, entered: 0, events: Vec::new() }
    }

    pub fn enter(guest: Guest, welcome: &[u8], tree: Option<&[u8]>) -> Self {
        let id = guest.card().id();
        let (room, voice) = match tree {
            Some(tree) => guest.enter_with_tree(welcome, tree).unwrap(),
            None => guest.enter(welcome).unwrap(),
        };
        let entered = room.epoch();
        Self { id, room, voice, entered, events: Vec::new() }
    }

    /// Takes a control message in and hands its keys to the voice.
    pub fn receive(&mut self, message: &[u8], now: Duration) -> parlor::Result<()> {
        for event in self.room.receive(message, now)? {
            match event {
                Event::Rekeyed(keys) => self.voice.rekey(keys)?,
                other => self.events.push(other),
            }
        }
        Ok(())
    }

    /// Whether their room has been closed to them.
    pub fn is_out(&self) -> bool {
        self.events.iter().any(|event| matches!(event, Event::Closed { .. }))
    }
}

pub fn guest(name: &str) -> (Guest, Card) {
    let guest = Guest::new(Identity::generate(name).unwrap()).unwrap();
    let card = guest.card().clone();
    (guest, card)
}

/// A host and guests in the given roles, all in one epoch.
pub fn room_of(settings: Settings, guests: &[(&str, Role)]) -> Vec<Person> {
    let mut host = Person::host("host", settings);
    let made: Vec<_> = guests.iter().map(|(name, role)| (guest(name), *role)).collect();
    let batch: Vec<_> = made.iter().map(|((_, card), role)| (card.clone(), *role)).collect();
    let mut people = Vec::new();
    if !batch.is_empty() {
        let admission = host.room.admit_all(&batch).unwrap();
        host.receive(&admission.commit, Duration::ZERO).unwrap();
        people.extend(
            made.into_iter().map(|((guest, _), _)| Person::enter(guest, &admission.welcome, admission.tree.as_deref())),
        );
    }
    people.insert(0, host);
    people
}
