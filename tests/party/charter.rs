//! The room's GroupContext extension as bytes, read and written as `src/room/charter.rs` documents its form, by hand:
//! for members with a patched client, and as a second opinion on the form.

use std::collections::{BTreeMap, BTreeSet};

pub const LISTENER: u8 = 0;
pub const SPEAKER: u8 = 1;
pub const MODERATOR: u8 = 2;
pub const HOST: u8 = 3;

pub const EVERYBODY_SPEAKS: u8 = 1;
pub const HOLDS_UNSEALED: u8 = 2;
pub const RECORDING: u8 = 4;
pub const LOCKED: u8 = 8;
pub const ENDED: u8 = 16;

pub type Key = [u8; 32];

#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Standing {
    pub role: u8,
    pub since: u64,
    pub muted_by: Option<Key>,
    pub leaving: bool,
    /// 0 for never.
    pub returned: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Link {
    pub role: u8,
    pub one_shot: u8,
    pub expires: u64,
    pub issuer: Key,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Charter {
    pub version: u8,
    pub suite: u16,
    pub sender_bits: u8,
    pub epoch_bits: u8,
    /// 0 invited, 1 link, 2 knock.
    pub entry: u8,
    pub flags: u8,
    /// 0 off, 1 live, 2 strict.
    pub seals: u8,
    pub seal_every: u8,
    /// 0 deniable, 1 evidence.
    pub proof: u8,
    pub capacity: u32,
    pub title: Vec<u8>,
    pub topic: Vec<u8>,
    pub standings: BTreeMap<Key, Standing>,
    pub banned: BTreeSet<Key>,
    pub links: BTreeMap<Key, Link>,
    /// Until which epoch whose leaves are asked to commit, by the first halves of their keys.
    pub garden: (u64, BTreeSet<[u8; 16]>),
    /// What follows the charter's end.
    pub spare: Vec<u8>,
}

impl Charter {
    /// The charter of a room with default settings, in which nobody has a role.
    pub fn empty() -> Self {
        Self {
            version: 3,
            suite: 0xF001,
            sender_bits: 12,
            epoch_bits: 8,
            entry: 0,
            flags: 0,
            seals: 1,
            seal_every: 25,
            proof: 0,
            capacity: 0,
            title: Vec::new(),
            topic: Vec::new(),
            standings: BTreeMap::new(),
            banned: BTreeSet::new(),
            links: BTreeMap::new(),
            garden: Default::default(),
            spare: Vec::new(),
        }
    }

    pub fn read(bytes: &[u8]) -> Self {
        let mut at = 0;
        let mut take = |n: usize| {
            at += n;
            bytes[at - n..at].to_vec()
        };
        let number = |bytes: Vec<u8>| bytes.iter().fold(0_u64, |number, byte| (number << 8) | u64::from(*byte));
        let key = |bytes: Vec<u8>| Key::try_from(bytes).unwrap();
        let [version] = take(1)[..] else { unreachable!() };
        let suite = number(take(2)) as u16;
        let [sender_bits, epoch_bits] = take(2)[..] else { unreachable!() };
        let [entry, flags, seals, seal_every, proof] = take(5)[..] else { unreachable!() };
        let capacity = number(take(4)) as u32;
        let title_len = number(take(1)) as usize;
        let title = take(title_len);
        let topic_len = number(take(2)) as usize;
        let topic = take(topic_len);
        let mut standings = BTreeMap::new();
        for _ in 0..number(take(2)) {
            let id = key(take(32));
            let role = take(1)[0];
            let since = number(take(8));
            let marks = take(1)[0];
            let muted_by = (marks & 1 != 0).then(|| key(take(32)));
            let returned = if marks & 4 != 0 { number(take(8)) } else { 0 };
            standings.insert(id, Standing { role, since, muted_by, leaving: marks & 2 != 0, returned });
        }
        let banned = (0..number(take(2))).map(|_| key(take(32))).collect();
        let mut links = BTreeMap::new();
        for _ in 0..take(1)[0] {
            let id = key(take(32));
            let (role, one_shot) = (take(1)[0], take(1)[0]);
            links.insert(id, Link { role, one_shot, expires: number(take(8)), issuer: key(take(32)) });
        }
        let named = take(1)[0];
        let until = if named > 0 { number(take(8)) } else { 0 };
        let garden = (until, (0..named).map(|_| take(16).try_into().unwrap()).collect());
        assert_eq!(at, bytes.len(), "a charter ends where its garden does");
        let spare = Vec::new();
        Self {
            version,
            suite,
            sender_bits,
            epoch_bits,
            entry,
            flags,
            seals,
            seal_every,
            proof,
            capacity,
            title,
            topic,
            standings,
            banned,
            links,
            garden,
            spare,
        }
    }

    pub fn write(&self) -> Vec<u8> {
        let mut out = vec![self.version];
        out.extend(self.suite.to_be_bytes());
        out.extend([self.sender_bits, self.epoch_bits]);
        out.extend([self.entry, self.flags]);
        out.extend([self.seals, self.seal_every, self.proof]);
        out.extend(self.capacity.to_be_bytes());
        out.push(self.title.len() as u8);
        out.extend(&self.title);
        out.extend((self.topic.len() as u16).to_be_bytes());
        out.extend(&self.topic);
        out.extend((self.standings.len() as u16).to_be_bytes());
        for (id, standing) in &self.standings {
            out.extend(id);
            out.push(standing.role);
            out.extend(standing.since.to_be_bytes());
            let marks = [standing.muted_by.is_some(), standing.leaving, standing.returned > 0];
            out.push(marks.iter().rev().fold(0, |marks, mark| (marks << 1) | u8::from(*mark)));
            out.extend(standing.muted_by.iter().flatten());
            if standing.returned > 0 {
                out.extend(standing.returned.to_be_bytes());
            }
        }
        out.extend((self.banned.len() as u16).to_be_bytes());
        self.banned.iter().for_each(|id| out.extend(id));
        out.push(self.links.len() as u8);
        for (id, link) in &self.links {
            out.extend(id);
            out.extend([link.role, link.one_shot]);
            out.extend(link.expires.to_be_bytes());
            out.extend(link.issuer);
        }
        let (until, names) = &self.garden;
        out.push(names.len() as u8);
        if !names.is_empty() {
            out.extend(until.to_be_bytes());
            names.iter().for_each(|name| out.extend(name));
        }
        out.extend(&self.spare);
        out
    }

    /// Gives `id` a role from `epoch` on; a listener is not listed.
    pub fn give(&mut self, id: Key, role: u8, epoch: u64) {
        if role == LISTENER {
            self.standings.remove(&id);
        } else {
            self.standings.insert(id, Standing { role, since: epoch, ..Standing::default() });
        }
    }
}
