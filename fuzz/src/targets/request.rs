//! Requests to be brought back: the relay's; anybody's who knows the door keys; and their owner's, whatever they say.
//!
//! Each input begins with ana's and mo's rooms as they were stored once, so that none depends on those before it.

use std::{cell::RefCell, time::Duration};

use ed25519_dalek::{Signer as _, SigningKey};
use parlor::{
    Card, Event, Identity, MemberId, Role, Room, Settings,
    room::{REQUEST_LEN, RequestId, Returning, Ticket, door::UnixTime},
    vault::VaultKey,
};
use sha2::{Digest as _, Sha256};

use super::{
    card::asking,
    input::Input,
    porch::{NOW, WALL, guest, host, key_pair, open_slots, seal_slots},
};
use crate::party::{gists, mal::state};

const BODY: usize = 1_104;
const SLOT: &[u8] = b"parlor request slot 1";
const KEY: [u8; 32] = [4; 32];
/// Where the first door key of a ticket is, in a room with an id of 16 bytes.
pub const DOOR: usize = 1 + 8 + 8 + 1 + 16 + 1 + 32;
const HOUSE: [(&str, u8); 2] = [("ana", 5), ("mo", 7)];

thread_local! {
    static HOUSES: RefCell<Option<House>> = const { RefCell::new(None) };
}

/// Who asks has signed all that they ask; who may bring them back can, and all members follow; and others are heard after.
pub fn request(data: &[u8]) {
    HOUSES.with_borrow_mut(|house| {
        let house = house.get_or_insert_with(House::new);
        let mut input = Input::new(data);
        let mut visit = Visit { house, rooms: [house.room(0), house.room(1)], now: NOW, returned: 0, back: Vec::new() };
        for _ in 0..1 + input.below(3) {
            visit.now += Duration::from_millis(400 * input.below(4) as u64);
            visit.ask(&mut input);
        }
        if input.below(4) == 3 {
            visit.honest();
        }
    });
}

/// A room of ana, host, and mo, moderator; ben speaks and jo is a host too, who ask; zed is a stranger, who does as well.
pub struct House {
    stored: [Vec<u8>; 2],
    pub id: Vec<u8>,
    door_keys: [[u8; 32]; 2],
    askers: Vec<Asker>,
    /// Eve's ticket, as she would keep it.
    pub ticket: Vec<u8>,
}

struct Asker {
    key: SigningKey,
    /// Two cards of theirs without a word; their honest request's body up to its signature.
    cards: [Vec<u8>; 2],
    signed: Vec<u8>,
    since: u64,
}

impl House {
    pub fn new() -> Self {
        let (mut ana, _) = Room::create(host().0, Settings::default()).unwrap();
        let people =
            [("mo", 7, Role::Moderator), ("ben", 6, Role::Speaker), ("jo", 9, Role::Host), ("eve", 8, Role::Listener)];
        let guests = people.map(|(name, seed, _)| guest(name, seed).0);
        let cards: Vec<_> = guests.iter().zip(people).map(|(guest, (.., role))| (guest.card().clone(), role)).collect();
        let admission = ana.admit_all(&cards).unwrap();
        ana.receive(&admission.commit, NOW).unwrap();
        let [mut mo, ben, jo, eve] = guests.map(|guest| guest.enter(&admission.welcome).unwrap().0);
        let tickets = [&ben, &jo, &ben].map(|room| room.ticket().unwrap().to_bytes());
        let (id, names) = (ana.id().to_vec(), [("ben", 6), ("jo", 9), ("zed", 10)]);
        let askers = tickets.iter().zip(names).map(|(ticket, (name, seed))| Asker::new(ticket, name, seed, &id));
        let door_of = |room: &Room| {
            let (id, ticket) = (room.me().unwrap().id, eve.ticket().unwrap().to_bytes());
            let reader = ticket[DOOR - 32..].chunks_exact(64).find(|reader| reader[..32] == *id.as_bytes()).unwrap();
            <[u8; 32]>::try_from(&reader[32..]).unwrap()
        };
        let vault_key = VaultKey::from_bytes(&KEY);
        Self {
            door_keys: [&ana, &mo].map(door_of),
            askers: askers.collect(),
            ticket: eve.ticket().unwrap().to_bytes(),
            stored: [&mut ana, &mut mo].map(|room| room.snapshot(&vault_key).unwrap()),
            id,
        }
    }

    pub fn room(&self, who: usize) -> Room {
        let (name, seed) = HOUSE[who];
        let identity = Identity::from_secret(name, &[seed; 32]).unwrap();
        Room::restore(identity, &VaultKey::from_bytes(&KEY), &self.stored[who], NOW).unwrap().0
    }

    fn header(&self) -> Vec<u8> {
        [&[3][..], &Sha256::digest(&self.id)].concat()
    }
}

impl Asker {
    fn new(ticket: &[u8], name: &str, seed: u8, room: &[u8]) -> Self {
        let (secret, public) = key_pair(1);
        // They are given a ticket by which the test can read their request.
        let mut ours = ticket.to_vec();
        ours[DOOR..][..32].copy_from_slice(&public);
        let cards = [0, 1].map(|_| guest(name, seed).0.card().as_bytes().to_vec());
        let identity = Identity::from_secret(name, &[seed; 32]).unwrap();
        let (_, request) = Returning::with_ticket(identity, &Ticket::from_bytes(&ours).unwrap(), WALL).unwrap();
        assert_eq!(request.len(), REQUEST_LEN);
        let header = [&[3][..], &Sha256::digest(room)].concat();
        let body = open_slots(&secret, SLOT, &header, &request);
        let card = usize::from(u16::from_be_bytes([body[0], body[1]]));
        let since = u64::from_be_bytes(ticket[9..17].try_into().unwrap());
        Self { key: guest(name, seed).1, cards, signed: body[..2 + card + 9].to_vec(), since }
    }

    fn sign(&self, header: &[u8], signed: &[u8]) -> Vec<u8> {
        let message = [b"parlor request to come back 1\0", header, signed].concat();
        let mut body = [signed, &self.key.sign(&message).to_bytes()].concat();
        body.resize(BODY.max(body.len()), 0);
        body
    }

    fn id(&self) -> MemberId {
        MemberId::from_bytes(self.key.verifying_key().to_bytes())
    }
}

/// One input's rooms.
struct Visit<'a> {
    house: &'a House,
    rooms: [Room; 2],
    now: Duration,
    /// When jo asked to be brought back, who was.
    returned: u64,
    /// By which cards somebody is back.
    #[allow(clippy::vec_box, reason = "as they come in the event")]
    back: Vec<Box<Card>>,
}

impl Visit<'_> {
    fn ask(&mut self, input: &mut Input<'_>) {
        let House { askers, door_keys, .. } = self.house;
        let header = self.house.header();
        let asker = &askers[input.below(askers.len())];
        let honest = asker.sign(&header, &asker.signed);
        let doors = [&door_keys[..1], &door_keys[1..], door_keys][input.below(3)];
        let seal = |key: &[u8], body: &[u8]| seal_slots(doors, SLOT, &header, key, body);
        // Whether all of it is its owner's word, and which word that is, if it is known.
        let mut word = Some((asker.since, WALL.0));
        let (bytes, in_order) = match input.below(6) {
            0 => (input.rest().to_vec(), false),
            1 => {
                let genuine = seal(&[3; 32], &honest);
                let bytes = input.mutate(&genuine);
                let same = bytes == genuine;
                (bytes, same)
            }
            // Sealed anew by another, and signed by nobody.
            2 => {
                let body = input.mutate(&honest);
                let same = body == honest;
                (seal(&[3; 32], &body), same)
            }
            3 => {
                let signed = input.mutate(&asker.signed);
                word = word.filter(|_| signed == asker.signed);
                (seal(&[3; 32], &asker.sign(&header, &signed)), true)
            }
            // In the form of a body, by any word.
            4 => {
                let room =
                    if input.below(8) == 7 { Sha256::digest(b"another") } else { Sha256::digest(&self.house.id) };
                let since = match input.below(3) {
                    0 => asker.since,
                    1 => 0,
                    _ => input.number(),
                };
                let asked_at = match input.below(3) {
                    0 => WALL.0,
                    1 => WALL.0 + u64::from(input.byte()),
                    _ => input.u64(),
                };
                let mut said = [&room[..], &since.to_be_bytes(), &asked_at.to_be_bytes()].concat();
                if input.below(8) == 7 {
                    said = input.mutate(&said);
                }
                word = Some((since, asked_at))
                    .filter(|_| said.len() == 48 && said[..32] == *Sha256::digest(&self.house.id));
                let word = if input.below(8) == 7 { None } else { Some(&said[..]) };
                // Of another card, too.
                let card = match input.below(8) {
                    7 => &askers[input.below(askers.len())].cards[0],
                    at => &asker.cards[at & 1],
                };
                let card = asking(&asker.key, card, word);
                let state = [input.byte() & 3];
                let epoch = if input.flag() { input.number() } else { 0 };
                let length = (card.len() as u16).to_be_bytes();
                let signed = [&length[..], &card, &state, &epoch.to_be_bytes()].concat();
                (seal(&[3; 32], &asker.sign(&header, &signed)), true)
            }
            // A body key of another length, or none that opens.
            _ => (seal(input.run(), &honest), true),
        };
        for at in 0..2 {
            self.hears(at, &bytes, in_order, asker, word, input);
        }
    }

    fn hears(
        &mut self,
        at: usize,
        bytes: &[u8],
        in_order: bool,
        asker: &Asker,
        word: Option<(u64, u64)>,
        input: &mut Input<'_>,
    ) {
        let before = state(&self.rooms[at]);
        let heard = self.rooms[at].receive(bytes, self.now);
        assert_eq!(state(&self.rooms[at]), before);
        let events = match heard {
            Ok(events) => events,
            Err(error) => return assert!(!error.to_string().is_empty()),
        };
        let (member, card) = match &events[..] {
            [] => return,
            [Event::AsksBack { member, card, request, .. }]
            | [Event::AsksBack { member, card, request, .. }, Event::FailingCommits { .. }] => {
                assert_eq!(*request, RequestId::of(bytes));
                (*member, card.clone())
            }
            other => panic!("{:?}", gists(other)),
        };
        assert!(in_order, "a request that nobody has signed is heard");
        assert_eq!((member, card.id()), (asker.id(), asker.id()));
        assert!(self.rooms[at].member(&member).is_some(), "a stranger is heard");
        assert!(!self.back.contains(&card), "who is back is heard again");
        let is_host = self.rooms[at].member(&member).unwrap().role == Role::Host;
        let (since, asked_at) = word.expect("a word that is none is heard");
        if is_host && at == 1 {
            assert!(since == asker.since && asked_at > self.returned, "a word that does not count brings a host back");
        }
        if input.flag() {
            let admission = self.rooms[at].bring_back(&card).unwrap();
            self.back.push(card.clone());
            self.deliver(&admission.commit, member);
            let again = self.rooms[at].receive(bytes, self.now + Duration::from_secs(2)).unwrap();
            assert!(again.is_empty(), "{:?}", gists(&again));
            assert!(self.rooms[1 - at].bring_back(&card).is_err(), "one word brings back twice");
            if is_host && since == asker.since && asked_at > self.returned {
                self.returned = asked_at;
            }
        }
    }

    fn deliver(&mut self, commit: &[u8], member: MemberId) {
        for room in &mut self.rooms {
            let events = room.receive(commit, self.now).unwrap();
            let [Event::Rekeyed(_), Event::CameBack { member: who, .. }, ..] = &events[..] else {
                panic!("{:?}", gists(&events));
            };
            assert_eq!(*who, member);
            assert_eq!(room.roster().len(), 5);
        }
        assert_eq!(self.rooms[0].code(), self.rooms[1].code());
    }

    /// Eve asks as she should, and is brought back.
    fn honest(&mut self) {
        self.now += Duration::from_secs(2);
        let ticket = Ticket::from_bytes(&self.house.ticket).unwrap();
        let eve = Identity::from_secret("eve", &[8; 32]).unwrap();
        let (returning, request) = Returning::with_ticket(eve, &ticket, UnixTime(WALL.0 + 1)).unwrap();
        let events = self.rooms[1].receive(&request, self.now).unwrap();
        let [Event::AsksBack { member, card, .. }] = &events[..] else { panic!("{:?}", gists(&events)) };
        let admission = self.rooms[1].bring_back(card).unwrap();
        self.deliver(&admission.commit, *member);
        let (room, _) = returning.enter(&admission.welcome, admission.tree.as_deref()).unwrap();
        assert_eq!(room.code(), self.rooms[0].code());
    }
}
