//! A host at their door, for the door's tests: what the room does there, by hand.

use std::time::Duration;

use super::{Doorplate, Knock, Link, Terms, UnixTime, Verdict, bucket_for, make_doorplate, seal_answer};
use crate::{
    error::{Error, Result},
    identity::{Identity, MemberId, Role},
    media::seal::Proof,
    room::{
        Entry, Guest, Room, Setting, Settings, TreeId,
        group::{DoorKey, DoorKeyPublic, Plan, split_welcome},
    },
};

/// The time of day in these tests.
pub(super) const LATER: UnixTime = UnixTime(1_800_000_000);
/// When their links expire.
pub(super) const END: UnixTime = LATER.plus(3_600);

/// What their links are good for.
const TERMS: Terms = Terms { role: Role::Listener, one_shot: false, expires: Some(END) };

pub(super) fn identity(name: &str) -> Identity {
    Identity::generate(name).unwrap()
}

pub(super) fn guest(name: &str) -> Guest {
    Guest::new(identity(name)).unwrap()
}

/// A room with its host, ana, and a link of hers.
pub(super) struct Door {
    pub(super) host: Room,
    pub(super) link: Link,
}

impl Door {
    pub(super) fn new() -> Self {
        let settings =
            Settings::default().with_title("an evening").unwrap().with(Setting::Entry(Entry::Knock)).unwrap();
        let (mut host, _) = Room::create(identity("ana"), settings).unwrap();
        let (link, commit) = host.issue_link(TERMS).unwrap();
        host.receive(&commit, Duration::ZERO).unwrap();
        Self { host, link }
    }

    pub(super) fn key(&self) -> &DoorKey {
        self.host.group().unwrap().door_key()
    }

    /// The doorplate that names ana and others, so that they are `count`.
    pub(super) fn plate(&self, count: u8) -> Doorplate {
        let others = (1..count).map(|n| (MemberId([n; 32]), DoorKey::random().unwrap().public()));
        let ana = (self.host.identity.id(), self.key().public());
        self.plate_of(&std::iter::once(ana).chain(others).collect::<Vec<_>>())
    }

    pub(super) fn plate_of(&self, admitters: &[(MemberId, DoorKeyPublic)]) -> Doorplate {
        let (room, title) = (self.host.id(), self.host.settings().title());
        let sealed =
            make_doorplate(&self.link, &self.host.identity, title, room, TERMS, Proof::Deniable, admitters).unwrap();
        self.link.read_doorplate(&sealed).unwrap()
    }

    pub(super) fn open(&self, knock: &[u8]) -> Result<Knock> {
        Knock::open(knock, self.key(), &self.link.id(), self.host.id())
    }

    /// Lets in who made `knocks`, by one commit of ana's: the answer to each, and the tree if it travels apart.
    pub(super) fn let_in(&mut self, knocks: &[&Knock]) -> (Vec<Vec<u8>>, Option<Vec<u8>>) {
        let_in(&mut self.host, knocks)
    }
}

/// Lets in who made `knocks`, by one commit of `room`'s owner.
pub(super) fn let_in(room: &mut Room, knocks: &[&Knock]) -> (Vec<Vec<u8>>, Option<Vec<u8>>) {
    let batch: Vec<_> = knocks.iter().map(|knock| (knock.card().clone(), Role::Listener)).collect();
    let (welcome, tree) = match room.admit_all(&batch) {
        Ok(admission) => {
            room.receive(&admission.commit, Duration::ZERO).unwrap();
            (admission.welcome, admission.tree)
        }
        // Whoever's client is patched asks no policy.
        Err(Error::Denied(_)) => {
            let plan = Plan { adds: batch.iter().map(|(card, _)| card).collect(), ..Plan::default() };
            let bundle = room.group.as_mut().unwrap().commit(&room.identity, &plan).unwrap();
            (bundle.welcome.unwrap(), bundle.tree)
        }
        Err(other) => panic!("{other}"),
    };
    let answers = knocks.iter().map(|knock| {
        let welcome = split_welcome(&welcome, knock.card()).unwrap();
        let verdict = Verdict::Admitted { welcome: &welcome, tree: tree.as_deref().map(TreeId::of) };
        seal_answer(&verdict, knock, bucket_for(welcome.len())).unwrap()
    });
    (answers.collect(), tree)
}
