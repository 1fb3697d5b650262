//! Rooms of people who ask to be brought back, and a second opinion on what their words are good for, made by hand of
//! what `src/room/comeback` and the leaves' extensions document.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use ed25519_dalek::{Signer as _, SigningKey};
use openmls::prelude::{
    KeyPackage, LeafNodeIndex, MlsMessageBodyIn, MlsMessageIn, ProtocolVersion,
    tls_codec::{DeserializeBytes as _, Serialize as _},
};
use openmls_rust_crypto::RustCrypto;
use parlor::{
    Card, Event, Guest, Identity, MemberId, Role, Room, Settings,
    room::{Returning, Ticket},
    vault::VaultKey,
};
use sha2::{Digest as _, Sha256};

use super::porch::{NOW, WALL, guest};
use crate::party::{
    gists,
    mal::{Bare, DOOR_KEY, Mal, RETURN},
};

const KEY: [u8; 32] = [4; 32];
/// Bytes of a request's body.
const BODY: usize = 1_136;
/// Where a ticket has its owner's leaf (door key and date), its room, and whom to ask, if the room's id has 16 bytes.
pub const OWN_DOOR: usize = 1 + 8 + 8;
pub const ROOM: usize = OWN_DOOR + 32 + 8 + 1;
pub const READERS: usize = ROOM + 1 + 16 + 1;

/// Name and seed of whom the target plays; of all but the last there is somebody in the room.
pub const PEOPLE: [(&str, u8); 6] = [("ana", 5), ("mo", 7), ("ben", 6), ("jo", 9), ("eve", 8), ("zed", 10)];
pub const EVE: usize = 4;
/// Who reads what they ask, and answers.
pub const WATCHERS: usize = 2;
const ASKERS: [usize; 3] = [2, 3, 5];

/// A room in which ana and mo read what others ask: as host and moderator, with jo, another host; or as speaker and
/// listener in one that has no host but jo. Ben speaks, eve listens, mal is a patched client; zed is a stranger to it.
pub struct House {
    stored: [Vec<u8>; WATCHERS],
    pub id: Vec<u8>,
    pub seats: BTreeMap<MemberId, Seat>,
    pub doors: [[u8; 32]; WATCHERS],
    pub askers: Vec<Asker>,
    /// As their owners would keep them, in the order of [`PEOPLE`].
    pub tickets: Vec<Vec<u8>>,
    pub mal: Mal,
    /// How many commits she has made in it: each moves her ratchet on, and rooms that begin anew follow only so far.
    pub worn: u32,
}

/// Somebody who asks, whatever they sign.
pub struct Asker {
    pub key: SigningKey,
    /// Two cards of theirs without a word.
    pub cards: [Vec<u8>; 2],
    /// A request of their own up to its signature: what the library makes of their ticket.
    pub signed: Vec<u8>,
    pub since: u64,
    /// The door key and the date of their leaf.
    pub door: [u8; 32],
    pub date: u64,
}

/// What the room knows of a member that their word is judged by.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Seat {
    pub leaf: u32,
    pub role: Role,
    pub since: u64,
    /// By which word the charter says that they came back last.
    pub returned: u64,
    /// The door key of their leaf, and its date.
    pub door: Option<[u8; 32]>,
    pub date: u64,
    /// What others encrypt to, if they came by a card that is known.
    pub key: Vec<u8>,
}

impl Seat {
    /// Whether it is the leaf of that card.
    pub fn is_by(&self, card: &Self) -> bool {
        match (self.door, card.door) {
            (Some(now), Some(then)) => now == then,
            _ => self.key == card.key,
        }
    }
}

/// A word, as a second reader finds it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Word {
    /// Whether it is for the room it is shown to.
    pub is_ours: bool,
    pub since: u64,
    pub asked_at: u64,
    /// The leaf that it names.
    pub door: [u8; 32],
    pub date: u64,
}

impl House {
    /// With hosts and moderators to ask, or with nobody in charge but who asks.
    pub fn new(is_led: bool) -> Self {
        let roles = if is_led {
            [Role::Host, Role::Moderator, Role::Speaker, Role::Host, Role::Listener]
        } else {
            [Role::Speaker, Role::Listener, Role::Speaker, Role::Host, Role::Listener]
        };
        let founder = if is_led { 0 } else { 3 };
        let (mut first, _) = Room::create(identity(founder), Settings::default()).unwrap();
        let others: Vec<usize> = (0..roles.len()).filter(|who| *who != founder).collect();
        let guests: Vec<Guest> = others.iter().map(|who| guest(PEOPLE[*who].0, PEOPLE[*who].1).0).collect();
        let mal = Bare::new("mal");
        let mut cards: Vec<_> =
            guests.iter().zip(&others).map(|(guest, who)| (guest.card().clone(), roles[*who])).collect();
        cards.push((mal.card(), if is_led { Role::Moderator } else { Role::Listener }));
        let admission = first.admit_all(&cards).unwrap();
        first.receive(&admission.commit, NOW).unwrap();
        let mal = mal.enter(&admission);
        let mut rooms: Vec<Room> = guests.into_iter().map(|guest| guest.enter(&admission.welcome).unwrap().0).collect();
        rooms.insert(founder, first);

        let id = rooms[0].id().to_vec();
        let tickets: Vec<_> = rooms.iter().map(|room| room.ticket().unwrap().to_bytes()).collect();
        let charter = mal.charter();
        let seat = |member: &parlor::Member| Seat {
            leaf: member.leaf.0,
            role: member.role,
            since: charter.standings.get(member.id.as_bytes()).map_or(0, |standing| standing.since),
            returned: 0,
            door: (0..rooms.len())
                .find(|who| id_of(*who) == member.id)
                .map(|who| tickets[who][OWN_DOOR..][..32].try_into().unwrap()),
            date: (0..rooms.len())
                .find(|who| id_of(*who) == member.id)
                .map_or(0, |who| u64_at(&tickets[who], OWN_DOOR + 32)),
            key: Vec::new(),
        };
        let seats = rooms[0].roster().map(|member| (member.id, seat(member))).collect();
        let doors = [0, 1].map(|who: usize| tickets[who][OWN_DOOR..][..32].try_into().unwrap());
        let askers = ASKERS.map(|who| Asker::new(who, tickets.get(who).unwrap_or(&tickets[2])));
        let vault_key = VaultKey::from_bytes(&KEY);
        let stored = [0, 1].map(|who: usize| rooms[who].snapshot(&vault_key).unwrap());
        Self { stored, id, seats, doors, askers: askers.into(), tickets, mal, worn: 0 }
    }

    /// The room of ana or mo, as it was at first.
    pub fn room(&self, who: usize) -> Room {
        Room::restore(identity(who), &VaultKey::from_bytes(&KEY), &self.stored[who], NOW).unwrap().0
    }

    pub fn header(&self) -> Vec<u8> {
        [&[3][..], &Sha256::digest(&self.id)].concat()
    }

    /// Card and word of a card that anybody may bring to the room, as openmls reads it.
    pub fn read(&self, card: &[u8]) -> (Seat, Option<Word>) {
        let package = package(card).expect("a card is a key package");
        let leaf = package.leaf_node().extensions().unknown(DOOR_KEY).map(|extension| &extension.0);
        let word = package.extensions().unknown(RETURN).map(|extension| Word::read(&extension.0, &self.id));
        let seat = Seat {
            leaf: 0,
            role: Role::Listener,
            since: 0,
            returned: 0,
            door: leaf.map(|door| door[..32].try_into().unwrap()),
            date: leaf.filter(|door| door.len() > 32).map_or(0, |door| u64_at(door, 32)),
            key: package.leaf_node().encryption_key().tls_serialize_detached().unwrap(),
        };
        (seat, word)
    }
}

impl Asker {
    fn new(who: usize, ticket: &[u8]) -> Self {
        let (name, seed) = PEOPLE[who];
        let cards = [0, 1].map(|_| guest(name, seed).0.card().as_bytes().to_vec());
        let (returning, _) = Returning::with_ticket(identity(who), &Ticket::from_bytes(ticket).unwrap(), WALL).unwrap();
        let card = returning.card().as_bytes();
        Self {
            key: guest(name, seed).1,
            cards,
            signed: in_form(card, 0, 0),
            since: u64_at(ticket, 9),
            door: ticket[OWN_DOOR..][..32].try_into().unwrap(),
            date: u64_at(ticket, OWN_DOOR + 32),
        }
    }

    pub fn id(&self) -> MemberId {
        MemberId::from_bytes(self.key.verifying_key().to_bytes())
    }

    /// The body of a request: what is signed, signed, and filled up with zeros.
    pub fn sign(&self, header: &[u8], signed: &[u8]) -> Vec<u8> {
        let message = [b"parlor request to come back 1\0", header, signed].concat();
        let mut body = [signed, &self.key.sign(&message).to_bytes()].concat();
        body.resize(BODY.max(body.len()), 0);
        body
    }
}

/// What is signed of a request.
pub fn in_form(card: &[u8], state: u8, epoch: u64) -> Vec<u8> {
    let length = (card.len() as u16).to_be_bytes();
    let commit = [if state == 2 { 7 } else { 0 }; 32];
    [&length[..], card, &[state], &epoch.to_be_bytes(), &commit].concat()
}

/// The card in what is signed of a request, if that is in its form.
pub fn card_in(signed: &[u8]) -> Option<&[u8]> {
    let (length, rest) = signed.split_first_chunk()?;
    let length = usize::from(u16::from_be_bytes(*length));
    let (card, state) = rest.split_at_checked(length).filter(|_| length <= 1_024)?;
    let (state, commit) = state.split_at_checked(9).filter(|(_, commit)| commit.len() == 32)?;
    let says_nothing = |bytes: &[u8]| bytes.iter().all(|byte| *byte == 0);
    let is_in_form = match state[0] {
        0 => says_nothing(state) && says_nothing(commit),
        1 => says_nothing(commit),
        state => state == 2,
    };
    is_in_form.then_some(card)
}

impl Word {
    fn read(bytes: &[u8], room: &[u8]) -> Self {
        assert_eq!(bytes.len(), 88, "a word has another length");
        Self {
            is_ours: bytes[..32] == *Sha256::digest(room),
            since: u64_at(bytes, 32),
            asked_at: u64_at(bytes, 40),
            door: bytes[48..80].try_into().unwrap(),
            date: u64_at(bytes, 80),
        }
    }

    /// Whether it proves to all members that a host or a moderator asks.
    pub fn counts(&self, seat: &Seat) -> bool {
        let is_theirs = self.is_ours && self.since == seat.since;
        seat.role >= Role::Moderator && is_theirs && self.asked_at > seat.returned
    }
}

/// Whether somebody in that role may bring back who sits there, by a card with that word; `seats` are all there are.
pub fn may(actor: Role, seat: &Seat, word: Option<&Word>, seats: &BTreeMap<MemberId, Seat>) -> bool {
    let is_of_their_leaf = word.is_none_or(|word| {
        let names_it = seat.door == Some(word.door) && seat.date == word.date;
        names_it || (seat.date > 0 && word.asked_at > seat.date)
    });
    let in_charge = seats.values().filter(|other| other.role >= Role::Moderator).count();
    let is_alone = seat.role == Role::Host && in_charge == 1;
    let counts = word.is_some_and(|word| word.counts(seat));
    let may = match actor {
        Role::Host => true,
        Role::Moderator => counts || seat.role < Role::Moderator,
        _ => counts && is_alone,
    };
    is_of_their_leaf && may
}

/// All members make the same of a commit that brings `member` back, and of nobody else.
pub fn bring(rooms: &mut [Room], commit: &[u8], now: Duration, member: MemberId, before: &BTreeSet<MemberId>) {
    for room in &mut *rooms {
        let events = room.receive(commit, now).unwrap();
        let [Event::Rekeyed(_), Event::CameBack { member: who, .. }, ..] = &events[..] else {
            panic!("{:?}", gists(&events));
        };
        assert_eq!(*who, member);
        assert!(room.roster().map(|member| member.id).collect::<BTreeSet<_>>() == *before, "others came or went");
    }
    agree(&rooms.iter().collect::<Vec<_>>());
}

pub fn agree(rooms: &[&Room]) {
    for two in rooms.windows(2) {
        assert_eq!((two[0].epoch(), two[0].code()), (two[1].epoch(), two[1].code()));
        assert!(two[0].roster().eq(two[1].roster()), "they see different people");
    }
}

pub fn identity(who: usize) -> Identity {
    let (name, seed) = PEOPLE[who];
    Identity::from_secret(name, &[seed; 32]).unwrap()
}

pub fn id_of(who: usize) -> MemberId {
    identity(who).id()
}

/// A card as openmls takes it.
pub fn package(card: &[u8]) -> Option<KeyPackage> {
    Card::from_bytes(card).ok()?;
    let message = MlsMessageIn::tls_deserialize_exact_bytes(card).unwrap().extract();
    let MlsMessageBodyIn::KeyPackage(package) = message else { panic!("a card is a key package") };
    Some(package.validate(&RustCrypto::default(), ProtocolVersion::Mls10).unwrap())
}

pub fn leaf(seat: &Seat) -> LeafNodeIndex {
    LeafNodeIndex::new(seat.leaf)
}

pub fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_be_bytes(bytes[at..][..8].try_into().unwrap())
}
