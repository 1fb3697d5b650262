//! The doorplate: what the holder of a link can read of the room before being let in, and nobody else.
//!
//! It is sealed under a key that comes from the link's secret, always of one size, and signed by the host who
//! issued the link, whose key's hash is in the link: neither the relay nor another holder of the link can put
//! another host, other admitters or another room behind it. The relay may show one that has been replaced since.
//!
//! ```text
//! sealed: version = 1 (1) ‖ nonce (12) ‖ ChaCha20-Poly1305(nonce, AAD = version ‖ address, plain)
//! plain:  version = 1 (1) ‖ title length (1) ‖ title ‖ name length (1) ‖ host's name ‖ host's key (32)
//!   ‖ group id length (1) ‖ MLS group id ‖ role (1): 0 listener, 1 speaker, 2 speaker in a room that keeps evidence
//!   ‖ one shot (1) ‖ expires (1) ‖ when (8)
//!   ‖ count (1) ‖ count × [ member (32) ‖ door key (32) ] ‖ the host's Ed25519 signature (64) ‖ zeros to 2,048
//! ```

use std::collections::BTreeSet;

use chacha20poly1305::{
    Nonce,
    aead::{Aead as _, Payload},
};
use zeroize::Zeroizing;

use super::{DoorAddress, Link, LinkId, Terms, UnixTime, labels};
use crate::{
    bytes::{Reader, pad, put_short},
    error::{Error, Item, Result},
    identity::{Identity, MAX_NAME, MemberId, Role, check_name},
    media::seal::Proof,
    random,
    room::{group::DoorKeyPublic, settings::MAX_TITLE},
    text::check_line,
};

/// Bytes of every sealed doorplate.
pub const PLATE_LEN: usize = 1 + NONCE + PLAIN + 16;

/// The most who can be named on a doorplate as those who read knocks.
pub const MAX_ADMITTERS: usize = 8;

const VERSION: u8 = 1;
const NONCE: usize = 12;
const PLAIN: usize = 2_048;
/// The longest MLS group id that a room has; openmls makes 16 bytes.
const MAX_GROUP_ID: usize = 64;

/// What a link's holder can read of the room: its title, its host, what the link is good for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Doorplate {
    link: LinkId,
    title: String,
    host_name: String,
    host: MemberId,
    room: Box<[u8]>,
    terms: Terms,
    /// Whether it leads to the stage of a room that keeps evidence: cards for it certify media keys.
    for_stage: bool,
    /// Who reads knocks, the issuer first; never empty.
    admitters: Vec<(MemberId, DoorKeyPublic)>,
}

impl Doorplate {
    /// The room's title, as it was when this was made; empty if it had none.
    pub fn title(&self) -> &str {
        &self.title
    }

    /// The name of the host who issued the link.
    pub fn host_name(&self) -> &str {
        &self.host_name
    }

    /// The host who issued the link: the one whose key's hash is in it.
    pub const fn host(&self) -> MemberId {
        self.host
    }

    /// What the link is good for.
    pub const fn terms(&self) -> Terms {
        self.terms
    }

    /// Whether a card for this door certifies media keys.
    pub(crate) const fn is_for_stage(&self) -> bool {
        self.for_stage
    }

    /// The link at whose door it is.
    pub const fn link(&self) -> LinkId {
        self.link
    }

    /// The MLS group id of the room.
    pub(crate) const fn room(&self) -> &[u8] {
        &self.room
    }

    /// Who reads knocks, and may let in.
    pub(crate) fn admitters(&self) -> &[(MemberId, DoorKeyPublic)] {
        &self.admitters
    }
}

impl Link {
    /// Reads the doorplate of this link's door, as the relay gave it.
    ///
    /// # Errors
    /// [`Error::Malformed`] if it is not this link's or was altered, or if its host is not the one whose key's hash is
    /// in the link.
    pub fn read_doorplate(&self, sealed: &[u8]) -> Result<Doorplate> {
        let what = Item::Doorplate;
        if sealed.len() > PLATE_LEN {
            return Err(Error::TooLarge { what, bytes: sealed.len(), limit: PLATE_LEN });
        }
        let mut reader = Reader::new(what, sealed);
        reader.version(VERSION)?;
        let nonce: [u8; NONCE] = reader.array()?;
        let ciphertext = reader.bytes(PLAIN + 16)?;
        let payload = Payload { msg: ciphertext, aad: &aad(&self.address()) };
        let plain = self.plate_cipher()?.decrypt(Nonce::from_slice(&nonce), payload).map(Zeroizing::new);
        let plain = plain.map_err(|_| reader.malformed("it is not this link's, or was altered"))?;
        self.read_plain(&plain)
    }

    fn read_plain(&self, plain: &[u8]) -> Result<Doorplate> {
        let mut reader = Reader::new(Item::Doorplate, plain);
        reader.version(VERSION)?;
        let title = reader.text(MAX_TITLE)?.to_owned();
        let host_name = reader.text(MAX_NAME)?.to_owned();
        check_name(&host_name)?;
        let host = MemberId(reader.array()?);
        let room: Box<[u8]> = reader.short()?.into();
        if room.is_empty() || room.len() > MAX_GROUP_ID {
            return Err(reader.malformed("its group id is empty or too long"));
        }
        let (role, for_stage) = match reader.byte()? {
            0 => (Role::Listener, false),
            1 => (Role::Speaker, false),
            2 => (Role::Speaker, true),
            _ => return Err(reader.malformed("no link admits to such a role")),
        };
        let one_shot = reader.flag()?;
        let expires = match (reader.flag()?, u64::from_be_bytes(reader.array()?)) {
            (true, when) => Some(UnixTime(when)),
            (false, 0) => None,
            (false, _) => return Err(reader.malformed("it says when it expires, and that it does not")),
        };
        let count = usize::from(reader.byte()?);
        if count > MAX_ADMITTERS {
            return Err(reader.malformed("it names more than eight who may let in"));
        }
        let admitters: Vec<_> = (0..count)
            .map(|_| Ok((MemberId(reader.array()?), DoorKeyPublic(reader.array()?))))
            .collect::<Result<_>>()?;
        let named: BTreeSet<_> = admitters.iter().map(|(id, _)| id).collect();
        if admitters.first().map(|(id, _)| *id) != Some(host) || named.len() != count {
            return Err(reader.malformed("its host is not the first of those who may let in, or one is named twice"));
        }
        let signed = reader.before();
        let signature = reader.array()?;
        if !self.leads_to(&host) {
            return Err(reader.malformed(
                "its host was substituted: it is signed by somebody else than the host whose link this is",
            ));
        }
        if !host.has_signed(&to_sign(&self.id(), signed), &signature) {
            return Err(reader.malformed("its host has not signed it for this link"));
        }
        reader.padding()?;
        let terms = Terms { role, one_shot, expires };
        Ok(Doorplate { link: self.id(), title, host_name, host, room, terms, for_stage, admitters })
    }
}

/// Makes the doorplate of `link` for the room whose MLS group id is `room` and whose seals prove so much. `issuer` is the host whose link it is,
/// and the first of `admitters`.
///
/// # Errors
/// [`Error::Unusable`] if the link is another host's, or admitters, role or group id are none a doorplate can have;
/// [`Error::Randomness`].
pub(crate) fn make(
    link: &Link,
    issuer: &Identity,
    title: &str,
    room: &[u8],
    terms: Terms,
    proof: Proof,
    admitters: &[(MemberId, DoorKeyPublic)],
) -> Result<Vec<u8>> {
    let unusable = |why| Error::Unusable { what: "doorplate", why };
    if !link.leads_to(&issuer.id()) {
        return Err(unusable("the link is another host's: only who issued it makes its doorplate"));
    }
    let named: BTreeSet<_> = admitters.iter().map(|(id, _)| id).collect();
    let count = u8::try_from(admitters.len()).unwrap_or(u8::MAX);
    if admitters.first().map(|(id, _)| *id) != Some(issuer.id())
        || named.len() != admitters.len()
        || admitters.len() > MAX_ADMITTERS
    {
        return Err(unusable("name one to eight admitters, each once, the issuer first"));
    }
    if title.len() > MAX_TITLE || check_line(title).is_err() {
        return Err(unusable("its title is too long, does not show, or holds what turns or breaks a line"));
    }
    if room.is_empty() || room.len() > MAX_GROUP_ID {
        return Err(unusable("the group id is empty or too long"));
    }
    let role = match terms.role {
        Role::Listener => 0,
        Role::Speaker if proof == Proof::Evidence => 2,
        Role::Speaker => 1,
        Role::Moderator | Role::Host => return Err(unusable("a link admits listeners or speakers")),
    };

    let mut plain = Zeroizing::new(Vec::with_capacity(PLAIN));
    plain.push(VERSION);
    put_short(&mut plain, "title", title.as_bytes())?;
    put_short(&mut plain, "name", issuer.name().as_bytes())?;
    plain.extend_from_slice(issuer.id().as_bytes());
    put_short(&mut plain, "group id", room)?;
    plain.extend_from_slice(&[role, terms.one_shot.into(), terms.expires.is_some().into()]);
    plain.extend_from_slice(&terms.expires.map_or(0, |when| when.0).to_be_bytes());
    plain.push(count);
    for (id, key) in admitters {
        plain.extend_from_slice(id.as_bytes());
        plain.extend_from_slice(&key.0);
    }
    let signature = issuer.sign(&to_sign(&link.id(), &plain));
    plain.extend_from_slice(&signature);
    pad(&mut plain, "doorplate", PLAIN)?;

    let nonce = random::bytes::<NONCE>()?;
    let payload = Payload { msg: &plain, aad: &aad(&link.address()) };
    let sealed = link.plate_cipher()?.encrypt(Nonce::from_slice(nonce.as_slice()), payload);
    let sealed = sealed.map_err(|_| unusable("it is too long to be sealed"))?;
    Ok([&[VERSION], nonce.as_slice(), &sealed].concat())
}

fn to_sign(link: &LinkId, plain: &[u8]) -> Vec<u8> {
    [labels::PLATE, link.as_bytes(), plain].concat()
}

fn aad(address: &DoorAddress) -> Vec<u8> {
    [&[VERSION], address.as_bytes().as_slice()].concat()
}

#[cfg(test)]
mod tests {
    use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD as BASE64};

    use super::*;
    use crate::room::group::DoorKey;

    const ROOM: &[u8] = b"sixteen bytes id";
    const TERMS: Terms = Terms { role: Role::Speaker, one_shot: true, expires: Some(UnixTime(1_900_000_000)) };

    fn identity(name: &str) -> Identity {
        Identity::generate(name).unwrap()
    }

    fn admitters(host: &Identity, count: u8) -> Vec<(MemberId, DoorKeyPublic)> {
        let others = (1..count).map(|n| MemberId([n; 32]));
        let ids = std::iter::once(host.id()).chain(others);
        ids.map(|id| (id, DoorKey::random().unwrap().public())).collect()
    }

    /// What an attacker seals who holds the link: `plain` is theirs to choose.
    fn seal(link: &Link, plain: &[u8]) -> Vec<u8> {
        let nonce = [9; NONCE];
        let payload = Payload { msg: plain, aad: &aad(&link.address()) };
        let sealed = link.plate_cipher().unwrap().encrypt(Nonce::from_slice(&nonce), payload).unwrap();
        [&[VERSION], nonce.as_slice(), &sealed].concat()
    }

    fn unseal(link: &Link, sealed: &[u8]) -> Vec<u8> {
        let payload = Payload { msg: &sealed[1 + NONCE..], aad: &aad(&link.address()) };
        link.plate_cipher().unwrap().decrypt(Nonce::from_slice(&sealed[1..=NONCE]), payload).unwrap()
    }

    #[track_caller]
    fn refused(link: &Link, sealed: &[u8], why: &str) {
        let error = link.read_doorplate(sealed).unwrap_err();
        assert!(error.to_string().contains(why), "{error}");
    }

    #[test]
    fn a_doorplate_says_what_its_host_wrote() {
        let ana = identity("ana");
        let link = Link::generate(ana.id()).unwrap();
        for (title, count, terms) in [
            ("an evening", 1, TERMS),
            ("", 8, Terms { role: Role::Listener, one_shot: false, expires: None }),
            (&"t".repeat(MAX_TITLE), 3, Terms { expires: Some(UnixTime(0)), ..TERMS }),
        ] {
            let admitters = admitters(&ana, count);
            let sealed = make(&link, &ana, title, ROOM, terms, Proof::Deniable, &admitters).unwrap();
            assert_eq!(sealed.len(), PLATE_LEN);
            // Who has the text of the link has all it needs.
            let plate = Link::parse(&link.reveal()).unwrap().read_doorplate(&sealed).unwrap();
            assert_eq!((plate.title(), plate.host_name(), plate.host()), (title, "ana", ana.id()));
            assert_eq!((plate.terms(), plate.room(), plate.admitters()), (terms, ROOM, &admitters[..]));
            assert!(!sealed.windows(3).any(|window| window == b"ana"));
        }
    }

    #[test]
    fn a_substituted_host_is_refused() {
        // mal holds the link, so she can seal whatever she likes; she cannot sign as ana.
        let (ana, mal) = (identity("ana"), identity("ana"));
        let link = Link::generate(ana.id()).unwrap();
        let hers = plate_at_the_door_of(&link, &mal);
        refused(&link, &hers, "its host was substituted");

        // Her plate with ana's key on it.
        let mut forged = unseal(&link, &hers);
        let at = 1 + 1 + 5 + 1 + 3;
        forged[at..at + 32].copy_from_slice(ana.id().as_bytes());
        let first = at + 32 + 1 + ROOM.len() + 2 + 9 + 1;
        forged[first..first + 32].copy_from_slice(ana.id().as_bytes());
        refused(&link, &seal(&link, &forged), "has not signed it");
    }

    /// The doorplate that `mal` makes at the door of `link`, by a link of hers with the same secret.
    fn plate_at_the_door_of(link: &Link, mal: &Identity) -> Vec<u8> {
        let body = |link: &Link| BASE64.decode(link.reveal().split_once('#').unwrap().1).unwrap();
        let (ours, hers) = (body(link), body(&Link::generate(mal.id()).unwrap()));
        let text = format!("parlor:#{}", BASE64.encode([&hers[..33], &ours[33..]].concat()));
        let hers = Link::parse(&text).unwrap();
        assert_eq!(hers.id(), link.id());
        make(&hers, mal, "title", ROOM, TERMS, Proof::Deniable, &admitters(mal, 1)).unwrap()
    }

    #[test]
    fn a_doorplate_of_another_link_is_refused() {
        let ana = identity("ana");
        let (one, other) = (Link::generate(ana.id()).unwrap(), Link::generate(ana.id()).unwrap());
        let sealed = make(&other, &ana, "title", ROOM, TERMS, Proof::Deniable, &admitters(&ana, 1)).unwrap();
        refused(&one, &sealed, "not this link's");
        // Somebody who holds both seals it anew; ana has signed it for the other.
        refused(&one, &seal(&one, &unseal(&other, &sealed)), "has not signed it for this link");
    }

    #[test]
    fn no_bit_of_a_doorplate_can_be_changed() {
        let ana = identity("ana");
        let link = Link::generate(ana.id()).unwrap();
        let sealed = make(&link, &ana, "title", ROOM, TERMS, Proof::Deniable, &admitters(&ana, 8)).unwrap();
        let plain = unseal(&link, &sealed);
        for at in 0..sealed.len() {
            let mut altered = sealed.clone();
            altered[at] ^= 1 << (at % 8);
            assert!(link.read_doorplate(&altered).is_err(), "byte {at}");
            assert!(link.read_doorplate(&sealed[..at]).is_err(), "{at} bytes");
        }
        assert!(matches!(link.read_doorplate(&[&sealed[..], &[0]].concat()), Err(Error::TooLarge { .. })));
        // Not by another holder of the link either.
        for at in 0..plain.len() {
            let mut altered = plain.clone();
            altered[at] ^= 1 << (at % 8);
            assert!(link.read_doorplate(&seal(&link, &altered)).is_err(), "byte {at} of the plain text");
        }
    }

    #[test]
    fn a_doorplate_nobody_could_use_is_not_made() {
        let (ana, mal) = (identity("ana"), identity("mal"));
        let link = Link::generate(ana.id()).unwrap();
        let twice = [admitters(&ana, 1), admitters(&ana, 1)].concat();
        let nine = admitters(&ana, 9);
        for (issuer, title, room, role, admitters) in [
            (&mal, "title", ROOM, Role::Listener, admitters(&mal, 1)),
            (&ana, "title", ROOM, Role::Listener, vec![]),
            (&ana, "title", ROOM, Role::Listener, admitters(&mal, 1)),
            (&ana, "title", ROOM, Role::Listener, twice),
            (&ana, "title", ROOM, Role::Listener, nine),
            (&ana, "a\nb", ROOM, Role::Listener, admitters(&ana, 1)),
            (&ana, "title", b"", Role::Listener, admitters(&ana, 1)),
            (&ana, "title", ROOM, Role::Moderator, admitters(&ana, 1)),
            (&ana, "title", ROOM, Role::Host, admitters(&ana, 1)),
        ] {
            let made = make(&link, issuer, title, room, Terms { role, ..TERMS }, Proof::Evidence, &admitters);
            assert!(matches!(made, Err(Error::Unusable { .. })));
        }
    }
}
