//! A room with honest members, and mal in it, on bare openmls, who sends what the fuzzer likes.
//!
//! Making one takes longer than most inputs do, so it is kept from input to input: each begins in a room that earlier
//! ones could do nothing to, which is what the targets assert. An input that is told apart from others by what went
//! before it would not fail again alone; then run the corpus, or look at what the room was.

use std::time::Duration;

use openmls::prelude::{LeafNodeParameters, OpenMlsProvider as _};
use parlor::{Event, MemberId, Role, Room};

use crate::party::{
    NOW, gists,
    mal::{Mal, Part, State, World, state},
};

/// Ana hosts, mo moderates, ben speaks, eve and liv listen; mal has the role she was let in with. Of mo and liv there
/// is no more than their leaf.
pub struct Scene {
    pub world: World,
    pub now: Duration,
    role: Role,
    /// Refusals since the room last went on.
    junk: u32,
}

/// From one message to the next: so much that rooms look at each, however many before it did not authenticate.
const STEP: Duration = Duration::from_millis(10);

impl Scene {
    pub fn new(role: Role) -> Self {
        let mut world = World::new(role);
        world.party.rooms.retain(|room| room.me().is_some_and(|me| ["ana", "ben", "eve"].contains(&me.name.as_str())));
        world.party.voices.clear();
        Self { world, now: NOW, role, junk: 0 }
    }

    pub fn mal_id(&self) -> MemberId {
        self.world.mal.client.id()
    }

    /// Everybody's state, which is the same but for what is each one's own.
    pub fn states(&self) -> Vec<State> {
        self.world.party.rooms.iter().map(state).collect()
    }

    /// Everybody receives `message`; those who are in the room afterwards agree on all that members do.
    pub fn tell(&mut self, message: &[u8]) -> Vec<parlor::Result<Vec<Event>>> {
        self.now += STEP;
        let rooms = &mut self.world.party.rooms;
        let all: Vec<_> = rooms.iter_mut().map(|room| room.receive(message, self.now)).collect();
        let is_unread = |error: &parlor::Error| error.to_string().contains("passed over");
        assert!(!all.iter().filter_map(|taken| taken.as_ref().err()).any(is_unread), "{all:?}");
        let mut states = rooms.iter().filter(|room| room.is_open()).map(state);
        if let Some(first) = states.next() {
            assert!(states.all(|state| state == first), "members differ from {first:?}");
        }
        all
    }

    /// Everybody receives a commit, or what should be one, and makes the same of it; gives back what it was to one who
    /// is still in.
    pub fn deliver(&mut self, message: &[u8]) -> parlor::Result<Vec<Event>> {
        let all = self.tell(message);
        let still = self.world.party.rooms.iter().zip(all);
        let (mut out, mut stay): (Vec<_>, Vec<_>) = still.partition(|(room, _)| !room.is_open());
        let (_, first) = stay.pop().or_else(|| out.pop()).unwrap();
        for (_, other) in stay {
            match (&first, &other) {
                (Ok(one), Ok(other)) => assert_eq!(one.len(), other.len(), "{:?}, {:?}", gists(one), gists(other)),
                (Err(one), Err(other)) => assert_eq!(one.to_string(), other.to_string()),
                (one, other) => panic!("members differ: {one:?}, {other:?}"),
            }
        }
        first
    }

    /// Everybody receives `message`, which no room takes: nothing changes, but for the excuse given.
    pub fn refuse(&mut self, message: &[u8]) {
        let before = self.states();
        match self.deliver(message) {
            Ok(events) => assert!(matches!(&events[..], [] | [Event::Refused { .. }]), "{:?}", gists(&events)),
            Err(error) => assert!(!error.to_string().is_empty()),
        }
        assert_eq!(self.states(), before);
        self.junk += 1;
        if self.junk >= 64 {
            self.go_on();
        }
    }

    /// After all that junk honest members can still do everything, and mal can follow.
    pub fn go_on(&mut self) {
        self.junk = 0;
        // Mal, a host herself, may have taken ana's role: where members have taken turns for long, a host comes first.
        if self.room().me().is_some_and(|ana| ana.role < Role::Moderator) {
            let refresh = self.commit(LeafNodeParameters::default(), Vec::new()).expect("nothing stands against it");
            assert!(self.weigh(&refresh), "a host cannot go on");
        }
        // A host first: she may whoever has committed before.
        for name in ["ana", "eve"] {
            let commit = self.world.party.named(name).refresh().unwrap();
            for taken in self.tell(&commit) {
                let events = taken.unwrap();
                assert!(matches!(events[..], [Event::Rekeyed(_), Event::Refreshed { .. }]), "{:?}", gists(&events));
            }
            self.world.mal.follow(&commit);
        }
    }

    /// Hands over a commit of mal's: everybody merges it, and so does she, or nobody does. Gives whether they did.
    pub fn weigh(&mut self, commit: &[u8]) -> bool {
        let before = self.states();
        let events = self.deliver(commit);
        let merged = matches!(events.as_deref(), Ok([Event::Rekeyed(_), ..]));
        if merged {
            self.world.mal.merge();
            // Whoever she has put out is in the epoch before for good.
            let epoch = self.world.mal.group.epoch().as_u64();
            assert!(self.world.party.rooms.iter().all(|room| !room.is_open() || room.epoch() == epoch));
            return true;
        }
        let ended = matches!(events.as_deref(), Ok([Event::Ended { .. } | Event::Closed { .. }]));
        if !ended {
            match events {
                Ok(events) => assert!(matches!(&events[..], [Event::Refused { .. }]), "{:?}", gists(&events)),
                Err(error) => assert!(!error.to_string().is_empty()),
            }
            assert_eq!(self.states(), before);
        }
        self.world.mal.abandon();
        false
    }

    /// A commit of mal's with these parts, if openmls can make one; it stays pending.
    pub fn commit(&mut self, leaf: LeafNodeParameters, parts: Vec<Part>) -> Option<Vec<u8>> {
        let Mal { client, group } = &mut self.world.mal;
        let provider = &client.provider;
        let mut builder = group.commit_builder().leaf_node_parameters(leaf);
        for part in parts {
            builder = match part {
                Part::Proposal(proposal) => builder.add_proposal(*proposal),
                Part::Add(package) => builder.propose_adds([*package]),
                Part::Extensions(extensions) => builder.propose_group_context_extensions(extensions).ok()?,
            };
        }
        let bundle = builder
            .load_psks(provider.storage())
            .ok()?
            .build(provider.rand(), provider.crypto(), &client.signer, |_| true)
            .ok()?
            .stage_commit(provider)
            .ok()?;
        bundle.into_messages().0.to_bytes().ok()
    }

    pub fn room(&self) -> &Room {
        &self.world.party.rooms[0]
    }

    /// Whether the room is one in which mal can try more.
    pub fn is_usable(&self) -> bool {
        let room = self.room();
        self.world.party.rooms.iter().all(Room::is_open)
            && room.member(&self.mal_id()).is_some_and(|mal| mal.role == self.role)
            && (4..=12).contains(&room.roster().len())
            && room.banned().len() <= 20
            && room.epoch() < 400
    }
}
