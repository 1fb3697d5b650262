//! Requests to be brought back, for the relay to hand to everybody in the room.
//!
//! ```text
//! request: kind = 3 (1) ‖ SHA-256 of the room's id (32)
//!   ‖ 8 × [ HPKE encapsulated key (32) ‖ sealed body key (32 + 16) ]
//!   ‖ ChaCha20-Poly1305(body key, nonce 0, AAD = all before, body)
//! body:  card length (2) ‖ card, with a word to be brought back
//!   ‖ state (1): 0 lost, 1 in an epoch, 2 in an epoch of which a commit could not be read ‖ that epoch (8), 0 if lost
//!   ‖ SHA-256 of that commit (32), zeros if there is none
//!   ‖ the member's Ed25519 signature (64) over kind, room and all of the body before ‖ zeros to 1,136
//! ```
//!
//! No MLS message begins with a 3, and nothing else that the relay hands to a room's members. Every request has the same
//! length, whatever is in it and however many can read it; how it is sealed to several is told in `room/slots.rs`. The
//! relay sees that somebody asks, of a room that it knows, and who is let in then.
//!
//! Anybody can make one that opens, for door keys are known to whoever is in the room; what is in it is signed.

use std::fmt;

use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use crate::{
    bytes::{Reader, pad, short_id},
    error::{Error, Item, Result},
    identity::Identity,
    room::{
        Card, check_size,
        door::{UnixTime, labels},
        group::{DoorKey, DoorKeyPublic},
        slots::{self, Shut},
    },
};

/// Bytes of every request to be brought back.
pub const REQUEST_LEN: usize = HEADER + slots::AROUND + BODY;

const KIND: u8 = 3;
const HEADER: usize = 1 + 32;
const SIGNATURE: usize = 64;
/// The longest card that a request has room for. One of ours with the longest name has less than 800 bytes.
const MAX_CARD: usize = 1_024;
const BODY: usize = 1_136;
/// In place of a commit's hash.
const NONE: [u8; 32] = [0; 32];
/// All that can be in a body fits.
const _: () = assert!((2 + MAX_CARD) + (1 + 8 + 32) + SIGNATURE <= BODY);

/// What the relay knows a request to be brought back by, and keeps the answer under: a hash of its bytes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RequestId([u8; 16]);

impl RequestId {
    /// The id of these bytes, whatever they are.
    pub fn of(request: &[u8]) -> Self {
        Self(short_id(Sha256::new().chain_update(labels::REQUEST_ID).chain_update(request)))
    }

    /// Its bytes.
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl fmt::Display for RequestId {
    /// All of it in hex: the relay stores an answer by it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RequestId({self})")
    }
}

/// What is left of somebody's membership.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum State {
    /// Nothing.
    Lost,
    /// Keys of that epoch.
    In(u64),
    /// Keys of that epoch, of which there was a commit that could not be read.
    Stuck(Ending),
}

/// A commit by which an epoch ended, for those at least who could read it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Ending {
    pub(crate) epoch: u64,
    /// SHA-256 of its bytes.
    pub(crate) commit: [u8; 32],
}

/// Somebody's wish to be brought back, as those read it who may.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) id: RequestId,
    pub(super) card: Card,
    pub(super) asked_at: UnixTime,
    pub(super) stuck: Option<Ending>,
}

/// Whether a message for everybody in a room is a request; nothing is checked.
pub(crate) const fn is_request(message: &[u8]) -> bool {
    matches!(message, [KIND, ..])
}

/// A request as anybody sees it.
pub(super) struct Sealed<'a> {
    bytes: &'a [u8],
    room: &'a [u8],
    slots: slots::Sealed<'a>,
}

impl<'a> Sealed<'a> {
    /// Reads a request for the room whose MLS group id is `room`.
    pub(super) fn read(bytes: &'a [u8], room: &'a [u8]) -> Result<Self> {
        check_size(Item::Request, bytes, REQUEST_LEN)?;
        let mut reader = Reader::new(Item::Request, bytes);
        reader.version(KIND)?;
        if reader.array()? != room_hash(room) {
            return Err(malformed("it is for another room"));
        }
        let slots = slots::Sealed::read(&mut reader, BODY)?;
        reader.end()?;
        Ok(Self { bytes, room, slots })
    }

    /// What is in it; `None` if it is sealed to others.
    ///
    /// The order is: whether it is sealed to `door`; the card; who signed it all.
    pub(super) fn open(&self, door: &DoorKey) -> Result<Option<Request>> {
        let body = match self.slots.open(door, labels::REQUEST_SLOT) {
            Ok(body) => body,
            Err(Shut::Elsewhere) => return Ok(None),
            Err(Shut::Garbled(why)) => return Err(malformed(why)),
        };
        let mut reader = Reader::new(Item::Request, &body);
        let length = usize::from(u16::from_be_bytes(reader.array()?));
        if length > MAX_CARD {
            return Err(malformed("its card is too long"));
        }
        let card = reader.bytes(length)?;
        let state = match (reader.byte()?, u64::from_be_bytes(reader.array()?), reader.array()?) {
            (0, 0, NONE) => State::Lost,
            (1, epoch, NONE) => State::In(epoch),
            (2, epoch, commit) => State::Stuck(Ending { epoch, commit }),
            _ => return Err(malformed("it says an unknown state")),
        };
        let signed = reader.before();
        let signature = reader.array()?;
        reader.padding()?;

        let card = Card::from_bytes(card)?;
        if !card.id().has_signed(&signs(self.slots.header(), signed), &signature) {
            return Err(malformed("its card's owner has not signed it as it stands"));
        }
        let Some(word) = card.word().filter(|word| word.is_for(self.room)) else {
            return Err(malformed("its card does not ask to be brought back to this room"));
        };
        let asked_at = word.asked_at;
        let stuck = if let State::Stuck(ending) = state { Some(ending) } else { None };
        Ok(Some(Request { id: RequestId::of(self.bytes), card, asked_at, stuck }))
    }
}

/// Makes the request of `identity`, whose card `card` is, to those of `readers` who can read it.
///
/// # Errors
/// [`Error::Unusable`] if the card is too long, or there is nobody to ask; [`Error::Randomness`].
pub(super) fn make(
    room: &[u8],
    readers: impl Iterator<Item = DoorKeyPublic>,
    identity: &Identity,
    card: &Card,
    state: State,
) -> Result<Vec<u8>> {
    let header = [&[KIND][..], &room_hash(room)].concat();
    let mut body = Zeroizing::new(Vec::with_capacity(BODY));
    let card = card.as_bytes();
    let Some(length) = u16::try_from(card.len()).ok().filter(|length| usize::from(*length) <= MAX_CARD) else {
        return Err(Error::Unusable { what: "card", why: "it is too long for a request: send it to a host yourself" });
    };
    body.extend_from_slice(&length.to_be_bytes());
    body.extend_from_slice(card);
    let (state, epoch, commit) = match state {
        State::Lost => (0, 0, NONE),
        State::In(epoch) => (1, epoch, NONE),
        State::Stuck(Ending { epoch, commit }) => (2, epoch, commit),
    };
    body.push(state);
    body.extend_from_slice(&epoch.to_be_bytes());
    body.extend_from_slice(&commit);
    let signature = identity.sign(&signs(&header, &body));
    body.extend_from_slice(&signature);
    pad(&mut body, "request", BODY)?;
    let nobody = Error::Unusable { what: "room", why: "nobody else in it could be asked: send a host a fresh card" };
    slots::seal(&header, readers, labels::REQUEST_SLOT, &body)?.ok_or(nobody)
}

fn room_hash(room: &[u8]) -> [u8; 32] {
    Sha256::digest(room).into()
}

fn signs(header: &[u8], body: &[u8]) -> Zeroizing<Vec<u8>> {
    Zeroizing::new([labels::REQUEST, header, body].concat())
}

const fn malformed(why: &'static str) -> Error {
    Error::Malformed { what: Item::Request, why }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        identity::MAX_NAME,
        room::{
            comeback::ReturnWord,
            group::{Provider, new_card},
        },
    };

    const ROOM: &[u8] = b"room";

    fn card_of(identity: &Identity, room: &[u8]) -> Card {
        let word = ReturnWord::new(room, 0, UnixTime(9), (DoorKeyPublic([1; 32]), 5));
        new_card(&Provider::new().unwrap(), identity, None, Some(word), false).unwrap()
    }

    fn sealed(readers: &[&DoorKey], identity: &Identity, card: &Card, state: State) -> Vec<u8> {
        make(ROOM, readers.iter().map(|door| door.public()), identity, card, state).unwrap()
    }

    fn open(bytes: &[u8], door: &DoorKey) -> Result<Option<Request>> {
        Sealed::read(bytes, ROOM)?.open(door)
    }

    #[test]
    fn every_request_has_the_same_length_and_says_what_was_said() {
        let doors: Vec<_> = (0..10).map(|_| DoorKey::random().unwrap()).collect();
        for (readers, name, state) in [
            (1, "b".to_owned(), State::Lost),
            (3, "n".repeat(MAX_NAME), State::In(7)),
            (8, "\u{1F44B}".repeat(16), State::Stuck(Ending { epoch: u64::MAX, commit: [7; 32] })),
            (10, "ben".to_owned(), State::Stuck(Ending { epoch: 0, commit: NONE })),
        ] {
            let ben = Identity::generate(&name).unwrap();
            let card = card_of(&ben, ROOM);
            let bytes = sealed(&doors[..readers].iter().collect::<Vec<_>>(), &ben, &card, state);
            assert_eq!(bytes.len(), REQUEST_LEN);
            assert!(is_request(&bytes));
            for (at, door) in doors.iter().enumerate() {
                let opened = open(&bytes, door).unwrap();
                assert_eq!(opened.is_some(), at < readers.min(8), "{at} of {readers}");
                let Some(request) = opened else { continue };
                assert_eq!((request.card, request.asked_at), (card.clone(), UnixTime(9)));
                assert_eq!(request.stuck, if let State::Stuck(ending) = state { Some(ending) } else { None });
                assert_eq!(request.id, RequestId::of(&bytes));
            }
        }
    }

    #[test]
    fn no_byte_of_a_request_can_be_changed_and_it_has_one_length() {
        let (door, ben) = (DoorKey::random().unwrap(), Identity::generate("ben").unwrap());
        let good = sealed(&[&door], &ben, &card_of(&ben, ROOM), State::In(7));
        for at in (0..good.len()).step_by(13).chain(0..HEADER) {
            let mut other = good.clone();
            other[at] ^= 1;
            // A slot that nobody reads is bound to the body too.
            assert!(!matches!(open(&other, &door), Ok(Some(_))), "byte {at}");
            assert!(open(&good[..at], &door).is_err(), "{at} bytes");
        }
        assert!(open(&[&good[..], &[0]].concat(), &door).is_err());
        assert!(Sealed::read(&good, b"another room").is_err());
    }

    #[test]
    fn a_request_is_its_owners_and_asks() {
        let (door, ben) = (DoorKey::random().unwrap(), Identity::generate("ben").unwrap());
        let eve = Identity::generate("eve").unwrap();
        let refused = |identity: &Identity, card: &Card, why: &str| {
            let error = open(&sealed(&[&door], identity, card, State::Lost), &door).unwrap_err();
            assert!(error.to_string().contains(why), "{error}");
        };
        refused(&eve, &card_of(&ben, ROOM), "has not signed it");
        refused(&ben, &card_of(&ben, b"another"), "does not ask");
        let plain = new_card(&Provider::new().unwrap(), &ben, None, None, false).unwrap();
        refused(&ben, &plain, "does not ask");
        assert!(make(ROOM, std::iter::empty(), &ben, &plain, State::Lost).is_err(), "nobody to ask");
    }

    #[test]
    fn a_state_has_one_form() {
        let (door, ben) = (DoorKey::random().unwrap(), Identity::generate("ben").unwrap());
        let card = card_of(&ben, ROOM);
        let header = [&[KIND][..], &room_hash(ROOM)].concat();
        let with = |state: u8, epoch: u64, commit: u8, spare: u8| {
            let length = u16::try_from(card.as_bytes().len()).unwrap().to_be_bytes();
            let mut body = [&length[..], card.as_bytes(), &[state], &epoch.to_be_bytes()].concat();
            body.extend_from_slice(&[commit; 32]);
            let signature = ben.sign(&signs(&header, &body));
            body.extend_from_slice(&signature);
            body.resize(BODY, 0);
            body[BODY - 1] = spare;
            let bytes =
                slots::seal(&header, [door.public()].into_iter(), labels::REQUEST_SLOT, &body).unwrap().unwrap();
            open(&bytes, &door).is_ok()
        };
        assert!(with(0, 0, 0, 0) && with(1, 0, 0, 0) && with(2, 9, 5, 0));
        assert!(!with(0, 1, 0, 0) && !with(0, 0, 5, 0) && !with(1, 0, 5, 0) && !with(3, 0, 0, 0) && !with(0, 0, 0, 1));
    }
}
