//! Knocks: somebody with a link asks to be let in.
//!
//! ```text
//! knock: version = 1 (1) ‖ address (16) ‖ link id (32)
//!   ‖ 8 × [ HPKE encapsulated key (32) ‖ sealed body key (32 + 16) ]
//!   ‖ ChaCha20-Poly1305(body key, nonce 0, AAD = all before, body) ‖ the link's Ed25519 signature (64) over all before
//! body:  made at (8) ‖ reply key (32) ‖ note length (1) ‖ note ‖ card length (2) ‖ card
//!   ‖ the guest's Ed25519 signature (64) over address, link id and all of the body before ‖ zeros to 1,344
//! ```
//!
//! Every knock has the same length, whatever is in it and however many can read it: a slot that nobody needs is sealed
//! to a key that nobody has. The relay sees that somebody who holds the link knocked.
//!
//! An attacker here holds the link, or reads knocks. Who holds the link can sign any knock with it, but cannot read
//! another's or change a byte of one that opens: the body is bound to all before it, and what is in it is signed
//! by the guest, reply key included. Who reads a knock can show it to others again, with the same name, key, note, time
//! and reply key. How a body is sealed to several is told in `room/slots.rs`.

use std::fmt;

use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use super::{DoorAddress, Doorplate, Link, LinkId, UnixTime, labels};
use crate::{
    bytes::{Reader, Writer, pad, put_short, short_id},
    error::{Error, Item, Result},
    identity::{Fingerprint, Identity, MemberId},
    room::{
        Card,
        group::{DoorKey, DoorKeyPublic},
        slots::{self, Sealed, Shut},
    },
    text::check_line,
};

/// Bytes of every knock.
pub const KNOCK_LEN: usize = HEADER + BODY + slots::AROUND + SIGNATURE;

/// The longest note in bytes of UTF-8.
pub const MAX_NOTE: usize = 200;

const VERSION: u8 = 1;
const HEADER: usize = 1 + 16 + 32;
const REPLY_KEY: usize = 32;
const SIGNATURE: usize = 64;
/// The longest card that a knock has room for. One of ours with the longest name has 640 bytes.
const MAX_CARD: usize = 1_024;
const BODY: usize = 1_344;
/// All that can be in a body fits.
const _: () = assert!(8 + REPLY_KEY + (1 + MAX_NOTE) + (2 + MAX_CARD) + SIGNATURE <= BODY);

/// What a knock is known by: the hash of all that its link's key signs.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KnockId(pub(super) [u8; 16]);

impl KnockId {
    /// The id of these bytes, whatever they are.
    pub fn of(knock: &[u8]) -> Self {
        // Whoever holds the link can sign the same knock again: the signature makes it no other.
        let signed = knock.get(..knock.len().saturating_sub(SIGNATURE)).unwrap_or_default();
        Self(short_id(Sha256::new().chain_update(labels::KNOCK_ID).chain_update(signed)))
    }

    /// Its bytes.
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl fmt::Display for KnockId {
    /// All of it in hex: the relay stores an answer by it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for KnockId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KnockId({self})")
    }
}

/// Somebody's wish to be let in, as those read it who may.
#[derive(Clone, Debug)]
pub struct Knock {
    pub(super) id: KnockId,
    pub(super) card: Card,
    note: String,
    made_at: UnixTime,
    link: LinkId,
    reply: DoorKeyPublic,
}

impl Knock {
    /// What it is known by.
    pub const fn id(&self) -> KnockId {
        self.id
    }

    /// The card of who knocks.
    pub const fn card(&self) -> &Card {
        &self.card
    }

    /// The public key of who knocks.
    pub const fn member(&self) -> MemberId {
        self.card.id()
    }

    /// The name they chose.
    pub fn name(&self) -> &str {
        self.card.name()
    }

    /// The digits to compare with what they see.
    pub fn fingerprint(&self) -> Fingerprint {
        self.card.fingerprint()
    }

    /// What they have to say to it; may be empty.
    pub fn note(&self) -> &str {
        &self.note
    }

    /// When they knocked, by their own clock.
    pub const fn made_at(&self) -> UnixTime {
        self.made_at
    }

    /// The link they hold.
    pub const fn link(&self) -> LinkId {
        self.link
    }

    /// What an answer is sealed to.
    pub(super) const fn reply(&self) -> DoorKeyPublic {
        self.reply
    }

    /// Writes it as it was read.
    pub(super) fn save(&self, out: &mut Writer) -> Result<()> {
        out.put(&self.id.0);
        out.put(&self.made_at.0.to_be_bytes());
        out.put(self.link.as_bytes());
        out.put(&self.reply.0);
        out.long("note", self.note.as_bytes())?;
        out.long("card", self.card.as_bytes())
    }

    /// What [`save`](Self::save) wrote; `None` if its card has expired since, so that it can let nobody in any more.
    pub(super) fn load(saved: &mut Reader<'_>) -> Result<Option<Self>> {
        let (id, made_at) = (KnockId(saved.array()?), UnixTime(saved.number()?));
        let (link, reply) = (LinkId(saved.array()?), DoorKeyPublic(saved.array()?));
        let note = str::from_utf8(saved.long()?).map(str::to_owned);
        let note = note.map_err(|_| saved.malformed("a note in it is not UTF-8"))?;
        let card = Card::from_bytes(saved.long()?).ok();
        Ok(card.map(|card| Self { id, card, note, made_at, link, reply }))
    }

    /// The link that a knock says it was made with: nothing is checked.
    pub(crate) fn link_of(bytes: &[u8]) -> Result<LinkId> {
        Envelope::read(bytes).map(|envelope| envelope.link)
    }

    /// Opens a knock with `link` at the room whose MLS group id is `room`. The order is: the link's signature, which
    /// whoever holds no link cannot make; whether it is sealed to `door`; who knocks; whether they prove the link.
    ///
    /// Whether the link is good, and the knock neither old nor seen before, is for the caller to say.
    ///
    /// # Errors
    /// [`Error::TooLarge`]; [`Error::Malformed`] if a check fails.
    pub(crate) fn open(bytes: &[u8], door: &DoorKey, link: &LinkId, room: &[u8]) -> Result<Self> {
        let envelope = Envelope::read(bytes)?;
        if envelope.link != *link {
            return Err(malformed("it was made with another link"));
        }
        envelope.check_link()?;
        let body = envelope.open(door)?;

        let mut reader = Reader::new(Item::Knock, &body);
        let made_at = UnixTime(u64::from_be_bytes(reader.array()?));
        let reply = DoorKeyPublic(reader.array()?);
        let note = reader.text(MAX_NOTE)?.to_owned();
        let length = u16::from_be_bytes(reader.array()?);
        if usize::from(length) > MAX_CARD {
            return Err(malformed("its card is too long"));
        }
        let card = reader.bytes(length.into())?;
        let signed = reader.before();
        let signature = reader.array()?;
        reader.padding()?;

        let card = Card::from_bytes(card)?;
        if !card.id().has_signed(&guest_signs(envelope.sealed.header(), signed), &signature) {
            return Err(malformed("who knocks has not signed it as it stands: somebody sealed it anew"));
        }
        match card.proof() {
            None => return Err(malformed("its card proves no link")),
            Some(proof) if proof.link != *link => return Err(malformed("its card proves another link")),
            Some(proof) if !proof.holds(room, &card.id()) => {
                return Err(malformed("its card proves the link for another room or another person"));
            }
            Some(_) => {}
        }
        // Nobody should have to decide about a knock that cannot be answered.
        reply.seal(&[], labels::ANSWER, &[]).map_err(|_| malformed("its reply key is no X25519 key"))?;
        Ok(Self { id: KnockId::of(bytes), card, note, made_at, link: *link, reply })
    }
}

/// Makes the knock of `identity`, whose card `card` is and proves `link`, to be answered to `reply`.
///
/// # Errors
/// [`Error::Unusable`] if the note or the card is too long; [`Error::Malformed`] if the doorplate names nobody a
/// knock can be sealed to; [`Error::Randomness`].
pub(super) fn make(
    link: &Link,
    plate: &Doorplate,
    identity: &Identity,
    card: &Card,
    note: &str,
    made_at: UnixTime,
    reply: &DoorKeyPublic,
) -> Result<Vec<u8>> {
    let mut body = Zeroizing::new(Vec::with_capacity(BODY));
    body.extend_from_slice(&made_at.0.to_be_bytes());
    body.extend_from_slice(&reply.0);
    put_short(&mut body, "note", note.as_bytes())?;
    let card = card.as_bytes();
    let Some(length) = u16::try_from(card.len()).ok().filter(|length| usize::from(*length) <= MAX_CARD) else {
        return Err(Error::Unusable { what: "card", why: "it is too long for a knock: send it to a host yourself" });
    };
    body.extend_from_slice(&length.to_be_bytes());
    body.extend_from_slice(card);
    let signature = identity.sign(&guest_signs(&header(link), &body));
    body.extend_from_slice(&signature);
    pad(&mut body, "knock", BODY)?;
    seal(link, plate, &body)
}

/// Seals a body to those whom the doorplate names, and signs it all with the link's key.
fn seal(link: &Link, plate: &Doorplate, body: &[u8]) -> Result<Vec<u8>> {
    let doors = plate.admitters().iter().map(|(_, door)| *door);
    let Some(mut out) = slots::seal(&header(link), doors, labels::KNOCK_SLOT, body)? else {
        return Err(Error::Malformed { what: Item::Doorplate, why: "nobody whom it names can read a knock" });
    };
    let signature = link.sign(&link_signs(&out))?;
    out.extend_from_slice(&signature);
    Ok(out)
}

/// Checks a note before it goes into a knock.
pub(super) fn check_note(note: &str) -> Result<()> {
    if note.len() > MAX_NOTE || check_line(note).is_err() {
        let why = "it is longer than 200 bytes, does not show, or holds what turns or breaks a line: write another";
        return Err(Error::Unusable { what: "note", why });
    }
    Ok(())
}

/// The parts of a knock, as anybody sees them.
pub(super) struct Envelope<'a> {
    pub(super) address: DoorAddress,
    pub(super) link: LinkId,
    /// Behind version, address, link id.
    sealed: Sealed<'a>,
    /// All that the link's key signs.
    signed: &'a [u8],
    signature: [u8; 64],
}

impl<'a> Envelope<'a> {
    pub(super) fn read(bytes: &'a [u8]) -> Result<Self> {
        let what = Item::Knock;
        if bytes.len() > KNOCK_LEN {
            return Err(Error::TooLarge { what, bytes: bytes.len(), limit: KNOCK_LEN });
        }
        let mut reader = Reader::new(what, bytes);
        reader.version(VERSION)?;
        let (address, link) = (DoorAddress(reader.array()?), LinkId(reader.array()?));
        let sealed = Sealed::read(&mut reader, BODY)?;
        let signed = reader.before();
        let signature = reader.array()?;
        reader.end()?;
        Ok(Self { address, link, sealed, signed, signature })
    }

    /// Whether somebody made it who holds the link that it names.
    pub(super) fn check_link(&self) -> Result<()> {
        if self.link.has_signed(&link_signs(self.signed), &self.signature) {
            Ok(())
        } else {
            Err(malformed("it was altered, or made by somebody who does not hold the link"))
        }
    }

    fn open(&self, door: &DoorKey) -> Result<Zeroizing<Vec<u8>>> {
        self.sealed.open(door, labels::KNOCK_SLOT).map_err(|shut| match shut {
            Shut::Elsewhere => malformed("it is sealed to others: the doorplate it was made with does not name you"),
            Shut::Garbled(why) => malformed(why),
        })
    }
}

pub(super) const fn malformed(why: &'static str) -> Error {
    Error::Malformed { what: Item::Knock, why }
}

fn header(link: &Link) -> Vec<u8> {
    [&[VERSION], link.address().as_bytes().as_slice(), link.id().as_bytes()].concat()
}

fn link_signs(knock: &[u8]) -> Vec<u8> {
    [labels::KNOCK_BY_LINK, knock].concat()
}

fn guest_signs(header: &[u8], body: &[u8]) -> Zeroizing<Vec<u8>> {
    Zeroizing::new([labels::KNOCK_BY_GUEST, header, body].concat())
}

#[cfg(test)]
mod tests {
    use super::{
        super::{
            Gate, MAX_ADMITTERS,
            party::{self, Door, LATER},
        },
        *,
    };
    use crate::{
        Guest,
        room::{group, slots::SLOT},
    };

    /// A door and a knock at it by ben, whose parts the tests put together anew.
    struct Parts {
        door: Door,
        plate: Doorplate,
        ben: Guest,
        card: Card,
        reply: DoorKey,
        knock: Vec<u8>,
    }

    impl Parts {
        fn new() -> Self {
            let door = Door::new();
            let (ben, plate, reply) = (party::guest("ben"), door.plate(1), DoorKey::random().unwrap());
            let card = card(&door, &ben);
            let knock = make(&door.link, &plate, &ben.identity, &card, "hi", LATER, &reply.public()).unwrap();
            Self { door, plate, ben, card, reply, knock }
        }

        /// The same knock as somebody else would like it, sealed and signed with the link.
        fn altered(&self, change: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
            let envelope = Envelope::read(&self.knock).unwrap();
            let mut body = envelope.open(self.door.key()).unwrap().to_vec();
            change(&mut body);
            seal(&self.door.link, &self.plate, &body).unwrap()
        }

        /// A knock that `identity` signs, with what card and reply key it likes.
        fn signed_by(&self, identity: &Identity, card: &Card, reply: &DoorKeyPublic) -> Vec<u8> {
            make(&self.door.link, &self.plate, identity, card, "hi", LATER, reply).unwrap()
        }

        #[track_caller]
        fn refused(&self, knock: &[u8], why: &str) {
            let error = self.door.open(knock).unwrap_err();
            assert!(error.to_string().contains(why), "{error}");
        }
    }

    fn card(door: &Door, guest: &Guest) -> Card {
        let proof = door.link.prove(door.host.id(), &guest.identity.id()).unwrap();
        group::new_card(&guest.provider, &guest.identity, Some(proof), None, false).unwrap()
    }

    #[test]
    fn every_knock_has_the_same_length_and_says_what_was_said() {
        let door = Door::new();
        let names = ["b".to_owned(), "ben".to_owned(), "n".repeat(64), "\u{1F44B}".repeat(16)];
        for (turn, name) in names.iter().enumerate() {
            for note in [String::new(), "may I?".into(), "x".repeat(MAX_NOTE)] {
                for admitters in 1..=8 {
                    let guest = party::guest(name);
                    let id = guest.identity.id();
                    let (waiting, bytes) = guest.knock(&door.link, &door.plate(admitters), &note, LATER).unwrap();
                    assert_eq!(bytes.len(), KNOCK_LEN);
                    door.link.gate().check(&bytes).unwrap();
                    let knock = door.open(&bytes).unwrap();
                    assert_eq!((knock.name(), knock.note(), knock.made_at()), (&**name, &*note, LATER), "turn {turn}");
                    assert_eq!((knock.id(), knock.member()), (waiting.id(), id));
                    assert_eq!((knock.link(), knock.card()), (door.link.id(), waiting.card()));
                    assert_eq!(Knock::link_of(&bytes).unwrap(), door.link.id());
                    assert_eq!(knock.card().link(), Some(door.link.id()));
                }
            }
        }
    }

    #[test]
    fn the_relay_sees_neither_name_nor_note_nor_key_and_no_slot_tells_whether_it_is_used() {
        let Parts { door, ben, knock, card, reply, .. } = Parts::new();
        let id = ben.identity.id();
        for secret in [b"ben".as_slice(), b"hi\0", id.as_bytes(), &card.as_bytes()[..40], &reply.public().0] {
            assert!(!knock.windows(secret.len()).any(|window| window == secret));
        }
        let slots: Vec<_> = Envelope::read(&knock).unwrap().sealed.slots.chunks_exact(SLOT).collect();
        assert_eq!(slots.iter().collect::<std::collections::BTreeSet<_>>().len(), MAX_ADMITTERS);
        let opened = slots.iter().filter(|slot| door.key().open(slot, labels::KNOCK_SLOT, &knock[..HEADER]).is_some());
        assert_eq!(opened.count(), 1);
    }

    #[test]
    fn only_those_whom_the_doorplate_names_can_read_it() {
        let parts = Parts::new();
        let envelope = Envelope::read(&parts.knock).unwrap();
        assert!(envelope.open(parts.door.key()).is_ok());
        let error = envelope.open(&DoorKey::random().unwrap()).unwrap_err();
        assert!(error.to_string().contains("does not name you"), "{error}");
    }

    #[test]
    fn no_byte_of_a_knock_can_be_changed_and_none_left_out() {
        let Parts { door, knock, .. } = Parts::new();
        let gate = door.link.gate();
        for at in 0..knock.len() {
            let mut altered = knock.clone();
            altered[at] ^= 1 << (at % 8);
            assert!(gate.check(&altered).is_err() && door.open(&altered).is_err(), "byte {at}");
            assert!(gate.check(&knock[..at]).is_err() && door.open(&knock[..at]).is_err(), "{at} bytes");
        }
        let longer = [&knock[..], &[0]].concat();
        assert!(matches!(gate.check(&longer), Err(Error::TooLarge { .. })));
        assert!(matches!(door.open(&longer), Err(Error::TooLarge { .. })));
    }

    #[test]
    fn a_knock_that_is_signed_again_is_no_other_knock() {
        let Parts { door, knock, .. } = Parts::new();
        let (signed, signature) = knock.split_at(KNOCK_LEN - SIGNATURE);
        let mut other = [signed, &Identity::generate("eve").unwrap().sign(signed)].concat();
        assert_ne!(&other[signed.len()..], signature);
        assert_eq!(KnockId::of(&other), door.open(&knock).unwrap().id());
        for at in 0..signed.len() {
            other[at] ^= 1;
            assert_ne!(KnockId::of(&other), KnockId::of(&knock), "byte {at}");
            other[at] ^= 1;
        }
    }

    #[test]
    fn a_gate_keeps_out_who_holds_no_link_and_cannot_knock_itself() {
        let Parts { door, knock, .. } = Parts::new();
        let gate = Gate::from_bytes(&door.link.gate().to_bytes()).unwrap();
        gate.check(&knock).unwrap();
        // All that the relay has, signed by a key of its own.
        let own = Link::generate(door.host.identity.id()).unwrap();
        let mut forged = knock.clone();
        let front = KNOCK_LEN - SIGNATURE;
        let signature = own.sign(&link_signs(&knock[..front])).unwrap();
        forged[front..].copy_from_slice(&signature);
        assert!(gate.check(&forged).is_err());
        // A knock in order at another door.
        assert!(own.gate().check(&knock).is_err());
        for junk in [vec![], vec![0; KNOCK_LEN], vec![1; KNOCK_LEN], vec![255; KNOCK_LEN]] {
            assert!(gate.check(&junk).is_err());
        }
    }

    #[test]
    fn who_holds_the_link_too_changes_nothing_of_a_knock_that_they_cannot_read() {
        let Parts { door, knock, .. } = Parts::new();
        let signed = KNOCK_LEN - SIGNATURE;
        // The first slot is the one that opens; a byte of it, of an idle slot, of the body, of the body's tag.
        for at in [HEADER, HEADER + 40, HEADER + SLOT, HEADER + 7 * SLOT, HEADER + 8 * SLOT, signed - 1] {
            let mut altered = knock.clone();
            altered[at] ^= 1;
            let signature = door.link.sign(&link_signs(&altered[..signed])).unwrap();
            altered[signed..].copy_from_slice(&signature);
            door.link.gate().check(&altered).unwrap();
            assert!(door.open(&altered).is_err(), "byte {at}");
        }
    }

    #[test]
    fn a_knock_that_is_sealed_anew_with_another_reply_key_time_or_note_is_refused() {
        let parts = Parts::new();
        let mal = DoorKey::random().unwrap().public();
        parts.refused(&parts.altered(|body| body[8..40].copy_from_slice(&mal.0)), "somebody sealed it anew");
        parts.refused(&parts.altered(|body| body[7] ^= 1), "somebody sealed it anew");
        parts.refused(&parts.altered(|body| body[41] = b'H'), "somebody sealed it anew");
        // mal reads ben's card out of it, and asks to be answered herself: she can sign as mal only.
        let identity = party::identity("mal");
        parts.refused(&parts.signed_by(&identity, &parts.card, &mal), "somebody sealed it anew");
        // As it was it opens, for it is ben's.
        assert_eq!(parts.door.open(&parts.altered(|_| {})).unwrap().name(), "ben");
    }

    #[test]
    fn a_body_that_is_not_in_order_is_refused() {
        let parts = Parts::new();
        parts.refused(&parts.altered(|body| *body.last_mut().unwrap() = 1), "padding");
        parts.refused(
            &parts.altered(|body| body[40..242].copy_from_slice(&[&[201][..], &[b'x'; 201]].concat())),
            "too long",
        );
        parts.refused(&parts.altered(|body| body[41] = b'\n'), "breaks a line");
        parts.refused(&parts.altered(|body| body[41] = 0xFF), "UTF-8");
        parts.refused(&parts.altered(|body| body[43..45].copy_from_slice(&1_025_u16.to_be_bytes())), "too long");
        parts.refused(&parts.altered(|body| body[45] ^= 1), "card refused");
        let short = seal(&parts.door.link, &parts.plate, &[0; BODY - 1]).unwrap();
        parts.refused(&short, "cut short");
    }

    #[test]
    fn a_card_proves_this_link_to_this_room_by_its_own_key() {
        let parts = Parts::new();
        let (link, room, me) = (&parts.door.link, parts.door.host.id(), parts.ben.identity.id());
        let other = Link::generate(parts.door.host.identity.id()).unwrap();
        for (proof, why) in [
            (None, "proves no link"),
            (Some(other.prove(room, &me).unwrap()), "proves another link"),
            (Some(link.prove(b"another room", &me).unwrap()), "for another room"),
            (Some(link.prove(room, &MemberId([3; 32])).unwrap()), "another person"),
        ] {
            let card = group::new_card(&parts.ben.provider, &parts.ben.identity, proof, None, false).unwrap();
            parts.refused(&parts.signed_by(&parts.ben.identity, &card, &parts.reply.public()), why);
        }
        let error = Knock::open(&parts.knock, parts.door.key(), &other.id(), room).unwrap_err();
        assert!(error.to_string().contains("another link"), "{error}");
    }

    #[test]
    fn a_reply_key_that_nothing_can_be_sealed_to_is_refused() {
        let parts = Parts::new();
        let knock = parts.signed_by(&parts.ben.identity, &parts.card, &DoorKeyPublic([0; 32]));
        parts.refused(&knock, "reply key");
    }

    #[test]
    fn a_member_with_a_door_key_that_is_none_does_not_keep_others_from_reading() {
        let door = Door::new();
        let (id, key) = (door.host.identity.id(), door.key().public());
        let plate = door.plate_of(&[(id, key), (MemberId([9; 32]), DoorKeyPublic([0; 32]))]);
        let (_, bytes) = party::guest("ben").knock(&door.link, &plate, "", LATER).unwrap();
        assert_eq!((bytes.len(), door.open(&bytes).unwrap().name()), (KNOCK_LEN, "ben"));
        // With nobody to read it there is no knock, and the guest stays.
        let plate = door.plate_of(&[(id, DoorKeyPublic([0; 32]))]);
        let ben = party::guest("ben");
        let before = ben.provider.records();
        let failed = ben.knock(&door.link, &plate, "", LATER).unwrap_err();
        assert!(matches!(failed.error, Error::Malformed { what: Item::Doorplate, .. }), "{failed}");
        assert_eq!(failed.guest.provider.records(), before);
    }
}
