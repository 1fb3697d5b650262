//! Links: what a host sends to whoever should find the room, through any channel.
//!
//! ```text
//! parlor:<hint>#<base64url, no padding, of: version = 1 (1) ‖ hash of the host's key (32) ‖ secret (32)>
//! ```
//!
//! From the secret alone, by HKDF-SHA-256, come the address at which the relay knows this door, the key of the
//! doorplate and the link's signature key. The relay gets the address and the public half of the signature key
//! ([`Gate`]) and nothing else. Who holds the link can read the doorplate and knock. Whoever reads along in the
//! channel it went through holds it too; but no one can put another host behind it, for it carries the hash of the
//! host's key.

use std::{fmt, str::FromStr};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD as BASE64};
use chacha20poly1305::{ChaCha20Poly1305, KeyInit as _};
use ed25519_dalek::{Signer as _, SigningKey};
use hkdf::Hkdf;
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use super::{DoorAddress, Gate, LinkId, LinkProof, labels};
use crate::{
    error::{Error, Item, Result},
    identity::MemberId,
    random,
};

/// The longest hint in bytes.
pub const MAX_HINT: usize = 128;

const SCHEME: &str = "parlor:";
const VERSION: u8 = 1;
/// Version, host key hash, secret.
const BODY: usize = 1 + 32 + 32;
/// The same in base64: four characters for three bytes, and none to fill up.
const BODY_TEXT: usize = (BODY * 4).div_ceil(3);

/// The way to a room's door: a secret, the hash of its host's key, and a hint where to go.
///
/// It can be neither cloned nor compared; [`Display`](fmt::Display) and [`Debug`] leave the secret out, which is
/// wiped when it is dropped. The whole text, to be sent, comes from [`Link::reveal`].
pub struct Link {
    hint: String,
    host: [u8; 32],
    /// In a box, so that moving the link leaves no copy.
    secret: Box<Zeroizing<[u8; 32]>>,
    id: LinkId,
    address: DoorAddress,
}

impl Link {
    /// A fresh link to a room of `host`'s. It opens nothing until a host has put it into the room.
    ///
    /// # Errors
    /// [`Error::Randomness`].
    pub fn generate(host: MemberId) -> Result<Self> {
        Self::new(String::new(), host_hash(&host), Box::new(random::bytes()?))
    }

    /// This link with a hint for the app of who gets it, such as the address of the relay. It is no secret.
    ///
    /// # Errors
    /// [`Error::Malformed`] if it is longer than [`MAX_HINT`] or has other characters than ASCII letters, digits
    /// and `-._~:/@%[]`.
    pub fn with_hint(mut self, hint: &str) -> Result<Self> {
        check_hint(hint)?;
        hint.clone_into(&mut self.hint);
        Ok(self)
    }

    /// Reads a link.
    ///
    /// # Errors
    /// [`Error::Malformed`] if it is no link, was cut short or altered, or is of another version.
    pub fn parse(text: &str) -> Result<Self> {
        let Some((hint, body)) = text.strip_prefix(SCHEME).and_then(|rest| rest.split_once('#')) else {
            return Err(malformed("it does not begin with `parlor:` or has no `#`"));
        };
        check_hint(hint)?;
        if body.len() != BODY_TEXT {
            return Err(malformed("its part after the `#` is not 87 characters: it was cut short or added to"));
        }
        let mut bytes = Zeroizing::new([0; BODY + 3]);
        let decoded = BASE64.decode_slice(body, bytes.as_mut_slice());
        let Ok(BODY) = decoded else {
            return Err(malformed("its part after the `#` is not what base64url makes"));
        };
        let Some((&[version], rest)) = bytes.split_first_chunk::<1>() else {
            return Err(malformed("it was cut short"));
        };
        if version != VERSION {
            return Err(malformed("its version is unknown: this app may be too old for it"));
        }
        let Some((host, rest)) = rest.split_first_chunk::<32>() else {
            return Err(malformed("it was cut short"));
        };
        let mut secret = Box::new(Zeroizing::new([0; 32]));
        for (to, from) in secret.iter_mut().zip(rest) {
            *to = *from;
        }
        Self::new(hint.to_owned(), *host, secret)
    }

    fn new(hint: String, host: [u8; 32], secret: Box<Zeroizing<[u8; 32]>>) -> Result<Self> {
        let mut link = Self { hint, host, secret, id: LinkId([0; 32]), address: DoorAddress([0; 16]) };
        link.id = LinkId(link.signing_key()?.verifying_key().to_bytes());
        link.address = DoorAddress(*link.derive(labels::ADDRESS)?);
        Ok(link)
    }

    /// The whole link, secret and all, to be sent. It is wiped when dropped; copies of it are the caller's to wipe.
    pub fn reveal(&self) -> Zeroizing<String> {
        let mut body = Zeroizing::new([0; BODY]);
        let parts = [VERSION].into_iter().chain(self.host).chain(self.secret.iter().copied());
        for (to, from) in body.iter_mut().zip(parts) {
            *to = from;
        }
        // Long enough for all of it, so that it leaves no copy behind by growing.
        let mut text = Zeroizing::new(String::with_capacity(SCHEME.len() + self.hint.len() + 1 + BODY_TEXT + 3));
        text.push_str(SCHEME);
        text.push_str(&self.hint);
        text.push('#');
        BASE64.encode_string(body.as_slice(), &mut text);
        text
    }

    /// The hint for the app; empty if there is none.
    pub fn hint(&self) -> &str {
        &self.hint
    }

    /// What the room and the relay know this link by.
    pub const fn id(&self) -> LinkId {
        self.id
    }

    /// Where the relay knows this door.
    pub const fn address(&self) -> DoorAddress {
        self.address
    }

    /// What the relay needs to drop the knocks of those who hold no link.
    pub const fn gate(&self) -> Gate {
        Gate::new(self.address, self.id)
    }

    /// Whether `host` is whose key the link carries the hash of.
    pub(crate) fn leads_to(&self, host: &MemberId) -> bool {
        self.host == host_hash(host)
    }

    /// The proof that `member` holds this link, for the room whose MLS group id is `room`.
    pub(crate) fn prove(&self, room: &[u8], member: &MemberId) -> Result<LinkProof> {
        let signature = self.sign(&LinkProof::signed(room, member))?;
        Ok(LinkProof { link: self.id, signature })
    }

    /// A signature of the link's key. `message` begins with its label.
    pub(super) fn sign(&self, message: &[u8]) -> Result<[u8; 64]> {
        Ok(self.signing_key()?.sign(message).to_bytes())
    }

    /// The cipher of the doorplate.
    pub(super) fn plate_cipher(&self) -> Result<ChaCha20Poly1305> {
        let key = self.derive::<32>(labels::PLATE_KEY)?;
        Ok(ChaCha20Poly1305::new(key.as_slice().into()))
    }

    /// Wiped when dropped.
    fn signing_key(&self) -> Result<SigningKey> {
        let seed = self.derive(labels::SIGNING_KEY)?;
        Ok(SigningKey::from_bytes(&seed))
    }

    fn derive<const N: usize>(&self, label: &[u8]) -> Result<Zeroizing<[u8; N]>> {
        let mut out = Zeroizing::new([0; N]);
        Hkdf::<Sha256>::new(Some(labels::LINK), self.secret.as_slice())
            .expand(label, out.as_mut_slice())
            .map_err(|_| Error::Unusable { what: "key", why: "it is longer than HKDF can make" })?;
        Ok(out)
    }
}

impl FromStr for Link {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Self::parse(text)
    }
}

impl fmt::Display for Link {
    /// The link without its secret: `parlor:<hint>#…`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{SCHEME}{}#…", self.hint)
    }
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link").field("hint", &self.hint).field("id", &self.id).finish_non_exhaustive()
    }
}

fn host_hash(host: &MemberId) -> [u8; 32] {
    Sha256::new().chain_update(labels::HOST_HASH).chain_update(host.as_bytes()).finalize().into()
}

fn check_hint(hint: &str) -> Result<()> {
    if hint.len() > MAX_HINT {
        return Err(malformed("its hint is longer than 128 bytes"));
    }
    if !hint.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~:/@%[]".contains(&byte)) {
        return Err(malformed("its hint has other characters than ASCII letters, digits and -._~:/@%[]"));
    }
    Ok(())
}

fn malformed(why: &'static str) -> Error {
    Error::Malformed { what: Item::Link, why }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link() -> Link {
        Link::generate(MemberId([7; 32])).unwrap()
    }

    #[test]
    fn everything_but_the_host_and_the_hint_comes_from_the_secret() {
        let (one, other) = (link(), link());
        let again = Link::parse(&one.reveal()).unwrap();
        assert_eq!((again.id(), again.address()), (one.id(), one.address()));
        assert_ne!(other.id(), one.id());
        assert_ne!(other.address(), one.address());
        // The three are of no use for one another.
        assert_ne!(one.id().as_bytes()[..16], *one.address().as_bytes());
        assert!(one.leads_to(&MemberId([7; 32])) && !one.leads_to(&MemberId([8; 32])));
        let elsewhere = again.with_hint("relay.example:4433/evening").unwrap();
        assert_eq!((elsewhere.id(), elsewhere.hint()), (one.id(), "relay.example:4433/evening"));
    }

    #[test]
    fn what_a_secret_derives_to_is_fixed() {
        let secret = Box::new(Zeroizing::new([0x42; 32]));
        let link = Link::new(String::new(), host_hash(&MemberId([7; 32])), secret).unwrap();
        let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        let derived = [hex(link.address().as_bytes()), hex(link.id().as_bytes()), hex(&link.host)];
        // Worked out with Python's hmac and hashlib, and OpenSSL for the public key.
        assert_eq!(
            derived,
            [
                "b9b5a7b05fb3fd03e7ba41f994923a4a",
                "33f272fba900da9ad82224cdbc44b6b4d8349f86085be7caaf7440083cea0150",
                "fd483439e3aa37639946b4212edd22037c64d8779e4a7e0506613bc4b548dc14",
            ]
        );
        assert_eq!(
            *link.reveal(),
            "parlor:#Af1INDnjqjdjmUa0IS7dIgN8ZNh3nkp-BQZhO8S1SNwUQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkI"
        );
    }

    #[test]
    fn a_proof_holds_for_its_link_its_room_and_its_member_only() {
        let (one, other) = (link(), link());
        let (ben, eve) = (MemberId([1; 32]), MemberId([2; 32]));
        let proof = one.prove(b"room", &ben).unwrap();
        assert!(proof.holds(b"room", &ben));
        assert!(!proof.holds(b"moor", &ben));
        assert!(!proof.holds(b"room", &eve));
        assert!(!LinkProof { link: other.id(), ..proof }.holds(b"room", &ben));
        let mut altered = proof;
        altered.signature[5] ^= 1;
        assert!(!altered.holds(b"room", &ben));
    }
}
