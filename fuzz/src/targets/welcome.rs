//! Welcomes: into real rooms, changed on their way, and into whatever a host with a patched client makes.

use std::cell::RefCell;

use openmls::prelude::{Extension, UnknownExtension};
use parlor::{Admission, Guest, Role, Room};

use super::{
    input::Input,
    porch::guest,
    reach,
    relay::{charter_of, extensions, invite},
};
use crate::party::{
    NOW, Person,
    charter::{Charter, Link},
    mal::{Bare, CHARTER},
};

thread_local! {
    static HALL: RefCell<Option<Hall>> = const { RefCell::new(None) };
}

struct Hall {
    /// `None` once they are in.
    ben: Option<Guest>,
    host: Room,
    admission: Admission,
    relay: Bare,
    tried: u32,
}

/// Who is not let in stays a guest, and goes in by a good welcome after; who is in, is in a room that holds together.
pub fn welcome(data: &[u8]) {
    HALL.with_borrow_mut(|kept| {
        let hall = kept.get_or_insert_with(Hall::new);
        hall.invited(&mut Input::new(data));
        if hall.ben.is_none() {
            *kept = None;
        }
    });
}

impl Hall {
    fn new() -> Self {
        let ben = guest("ben", 6).0;
        let mut host = Person::host("ana", parlor::Settings::default()).room;
        let admission = host.admit(ben.card(), Role::Listener).unwrap();
        Self { ben: Some(ben), host, admission, relay: Bare::new("relay"), tried: 0 }
    }

    fn invited(&mut self, input: &mut Input<'_>) {
        let ben = self.ben.take().unwrap();
        let mut written = None;
        let (welcome, good) = match input.below(4) {
            0 => (input.rest().to_vec(), false),
            1 => (input.mutate(&self.admission.welcome), false),
            2 => {
                let bytes = input.mutate(&charter_of(&self.relay).write());
                let Some(invitation) = invite(&self.relay, extensions(bytes.clone()), ben.card(), false) else {
                    self.ben = Some(ben);
                    return;
                };
                written = Some(bytes);
                (invitation.welcome, true)
            }
            _ => {
                let bytes = self.write(input, ben.card().id().as_bytes());
                let mut all = extensions(bytes.clone());
                match input.below(8) {
                    0 => all.truncate(1),
                    1 => drop(all.remove(0)),
                    2 => all.push(Extension::Unknown(CHARTER + 0x100, UnknownExtension(input.run().to_vec()))),
                    _ => {}
                }
                let Some(invitation) = invite(&self.relay, all, ben.card(), false) else {
                    self.ben = Some(ben);
                    return;
                };
                written = Some(bytes);
                (invitation.welcome, true)
            }
        };
        let good = good || welcome == self.admission.welcome;
        let card = ben.card().clone();
        match ben.enter(&welcome) {
            Ok((room, voice)) => {
                assert!(good, "a welcome that was altered lets in");
                let me = room.me().unwrap();
                assert_eq!((me.id, me.name.as_str()), (card.id(), "ben"));
                assert!(!room.is_listen_only() && !room.banned().any(|id| *id == card.id()));
                assert_eq!(voice.epoch(), room.epoch());
                reach(if written.is_some() { "in a host's room" } else { "in" });
                if let Some(bytes) = written {
                    assert_eq!(Charter::read(&bytes).write(), bytes, "a charter has two forms");
                }
            }
            Err(failed) => {
                assert!(!failed.to_string().is_empty());
                assert_eq!(failed.guest.card(), &card);
                self.ben = Some(*failed.guest);
                self.tried += 1;
                if self.tried >= 64 {
                    self.enter();
                }
            }
        }
    }

    /// By the good welcome.
    fn enter(&mut self) {
        self.host.receive(&self.admission.commit, NOW).unwrap();
        let (room, _) = self.ben.take().unwrap().enter(&self.admission.welcome).unwrap();
        assert_eq!((room.code(), room.epoch()), (self.host.code(), self.host.epoch()));
    }

    fn write(&self, input: &mut Input<'_>, ben: &[u8; 32]) -> Vec<u8> {
        let mut charter = charter_of(&self.relay);
        let me = *self.relay.id().as_bytes();
        for _ in 0..input.below(5) {
            let anybody = [me, *ben, [input.byte(); 32]][input.below(3)];
            match input.below(9) {
                0 => charter.give(anybody, input.byte() & 3, input.byte().into()),
                1 => (charter.sender_bits, charter.epoch_bits) = (input.byte() & 63, input.byte() & 15),
                2 => charter.flags = input.byte() & 31,
                3 => drop(charter.banned.insert(anybody)),
                4 => {
                    let link = Link { role: input.byte() & 3, one_shot: input.byte() & 1, expires: 0, issuer: anybody };
                    charter.links.insert([9; 32], link);
                }
                5 => charter.entry = input.byte() & 3,
                6 => charter.title = input.run().to_vec(),
                7 => charter.capacity = input.byte().into(),
                _ => {
                    (charter.seals, charter.seal_every, charter.proof) = (input.byte() & 3, input.byte(), input.byte());
                }
            }
        }
        charter.write()
    }
}
