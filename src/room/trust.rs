//! Who stands behind a key: what the app, or by default the first meeting, says about a name and a key together.
//!
//! MLS proves that a member holds their key, and nothing about the name that they chose. Whoever is let in may call
//! themselves Ben; only an [`IdentityCheck`] can tell that Ben had another key yesterday.

use std::{collections::BTreeMap, fmt};

use crate::{
    error::{Error, Result},
    identity::{MemberId, check_name},
};

/// What is known about a name and a key together.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Trust {
    /// The key is the one known for this name.
    Known,
    /// The name was never met. Compare codes if it matters who this is.
    FirstSeen,
    /// The name is known with another key: a new device, or somebody else. Show it loudly, and compare fingerprints.
    Changed {
        /// The key known for this name.
        was: MemberId,
    },
    /// The app knows that the key is not that person's.
    Rejected {
        /// Why, for people to read.
        why: String,
    },
}

/// How the app binds names to keys: a company's directory, a phone's contacts, or [`TrustOnFirstUse`].
///
/// ```
/// use std::collections::HashMap;
///
/// use parlor::{Identity, MemberId, room::{IdentityCheck, Trust}};
///
/// struct Directory(HashMap<String, MemberId>);
///
/// impl IdentityCheck for Directory {
///     fn check(&mut self, name: &str, id: &MemberId) -> Trust {
///         match self.0.get(name) {
///             Some(known) if known == id => Trust::Known,
///             Some(known) => Trust::Changed { was: *known },
///             None => Trust::Rejected { why: format!("{name} does not work here") },
///         }
///     }
/// }
///
/// # fn main() -> parlor::Result<()> {
/// let ben = Identity::generate("Ben")?;
/// let mut check: Box<dyn IdentityCheck> = Box::new(Directory(HashMap::from([("Ben".to_owned(), ben.id())])));
/// assert_eq!(check.check("Ben", &ben.id()), Trust::Known);
///
/// let other = Identity::generate("Ben")?;
/// assert_eq!(check.check("Ben", &other.id()), Trust::Changed { was: ben.id() });
/// # Ok(())
/// # }
/// ```
pub trait IdentityCheck: Send + Sync {
    /// Says whether `id` is the key of who goes by `name`. Both come from a peer; the key is proven to be theirs, the
    /// name is not.
    fn check(&mut self, name: &str, id: &MemberId) -> Trust;

    /// The names and keys that a snapshot of the room is to remember, for a [`TrustOnFirstUse`] at the restore. None, if
    /// it is the app that knows them.
    fn remembered(&self) -> Vec<(String, MemberId)> {
        Vec::new()
    }
}

/// Takes a name's first key for its own and is loud about every other.
///
/// Names are compared byte by byte: "Ben", "ben" and a Ben with a Cyrillic letter are three names, each
/// [`Trust::FirstSeen`] at first. A changed key never replaces the known one by itself, so that it is loud each time
/// until [`accept`](Self::accept).
///
/// It holds [`MAX_NAMES`](Self::MAX_NAMES) names. When it is full, names are met for the first time again and again:
/// loud, where dropping old ones would let whoever comes under many names make it forget. [`forget`](Self::forget)
/// makes room.
///
/// It lives in memory. To keep it, store what [`known`](Self::known) gives where nobody else can write, and
/// [`insert`](Self::insert) it at the next start:
///
/// ```
/// use parlor::{Identity, MemberId, room::{IdentityCheck, Trust, TrustOnFirstUse}};
///
/// # fn main() -> parlor::Result<()> {
/// let (ben, other) = (Identity::generate("Ben")?, Identity::generate("Ben")?);
/// let mut trust = TrustOnFirstUse::new();
/// assert_eq!(trust.check("Ben", &ben.id()), Trust::FirstSeen);
/// assert_eq!(trust.check("Ben", &ben.id()), Trust::Known);
/// assert_eq!(trust.check("Ben", &other.id()), Trust::Changed { was: ben.id() });
///
/// let stored: Vec<(String, [u8; 32])> = trust.known().map(|(name, id)| (name.to_owned(), *id.as_bytes())).collect();
/// let mut trust = TrustOnFirstUse::new();
/// for (name, key) in stored {
///     trust.insert(&name, MemberId::from_bytes(key))?;
/// }
///
/// // Ben has a new phone: they read their fingerprint aloud, and it fits.
/// trust.accept("Ben", other.id())?;
/// assert_eq!(trust.check("Ben", &other.id()), Trust::Known);
/// # Ok(())
/// # }
/// ```
#[derive(Default)]
pub struct TrustOnFirstUse {
    keys: BTreeMap<String, MemberId>,
}

impl TrustOnFirstUse {
    /// The most names it holds.
    pub const MAX_NAMES: usize = 10_000;

    /// One that has met nobody.
    pub const fn new() -> Self {
        Self { keys: BTreeMap::new() }
    }

    /// Puts in a name and its key as they were stored.
    ///
    /// # Errors
    /// [`Error::Malformed`](crate::Error::Malformed) if no member could have that name;
    /// [`Error::Unusable`](crate::Error::Unusable) if the name is known with another key (then
    /// [`accept`](Self::accept) is meant), or it is new and [`MAX_NAMES`](Self::MAX_NAMES) are held.
    pub fn insert(&mut self, name: &str, id: MemberId) -> Result<()> {
        match self.keys.get(name) {
            Some(known) if *known != id => Err(Error::Unusable {
                what: "name",
                why: "it is known with another key: if the people behind it have compared fingerprints, accept it",
            }),
            _ => self.accept(name, id),
        }
    }

    /// From here on `id` is the key of `name`, whatever was known: for when people have compared codes.
    ///
    /// # Errors
    /// [`Error::Malformed`](crate::Error::Malformed) if no member could have that name;
    /// [`Error::Unusable`](crate::Error::Unusable) if it is new and [`MAX_NAMES`](Self::MAX_NAMES) are held.
    pub fn accept(&mut self, name: &str, id: MemberId) -> Result<()> {
        check_name(name)?;
        if let Some(known) = self.keys.get_mut(name) {
            *known = id;
        } else if self.is_full() {
            return Err(Error::Unusable { what: "name", why: "10,000 names are held: forget one of them first" });
        } else {
            self.keys.insert(name.to_owned(), id);
        }
        Ok(())
    }

    /// Forgets a name, and gives its key. The next key under it is [`Trust::FirstSeen`].
    pub fn forget(&mut self, name: &str) -> Option<MemberId> {
        self.keys.remove(name)
    }

    /// Every name and its key, by name.
    pub fn known(&self) -> impl ExactSizeIterator<Item = (&str, MemberId)> {
        self.keys.iter().map(|(name, id)| (name.as_str(), *id))
    }

    /// Whether it takes no more names: then each further one is [`Trust::FirstSeen`] every time.
    pub fn is_full(&self) -> bool {
        self.keys.len() >= Self::MAX_NAMES
    }
}

impl IdentityCheck for TrustOnFirstUse {
    fn check(&mut self, name: &str, id: &MemberId) -> Trust {
        match self.keys.get(name) {
            Some(known) if known == id => Trust::Known,
            Some(known) => Trust::Changed { was: *known },
            None => {
                // A name that nobody could have, or one too many, is not kept, and so is loud the next time too.
                let _ = self.accept(name, *id);
                Trust::FirstSeen
            }
        }
    }

    fn remembered(&self) -> Vec<(String, MemberId)> {
        self.keys.iter().map(|(name, id)| (name.clone(), *id)).collect()
    }
}

impl fmt::Debug for TrustOnFirstUse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TrustOnFirstUse").field("names", &self.keys.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(n: u8) -> MemberId {
        MemberId::from_bytes([n; 32])
    }

    fn full() -> TrustOnFirstUse {
        let mut trust = TrustOnFirstUse::new();
        for n in 0..TrustOnFirstUse::MAX_NAMES {
            trust.insert(&format!("guest {n}"), id(1)).unwrap();
        }
        trust
    }

    #[test]
    fn a_changed_key_is_loud_until_it_is_accepted() {
        let mut trust = TrustOnFirstUse::new();
        assert_eq!(trust.check("ben", &id(1)), Trust::FirstSeen);
        for _ in 0..3 {
            assert_eq!(trust.check("ben", &id(2)), Trust::Changed { was: id(1) });
            assert_eq!(trust.check("ben", &id(1)), Trust::Known);
        }
        assert!(trust.insert("ben", id(2)).is_err(), "storage does not overrule what was met");
        assert_eq!(trust.check("ben", &id(1)), Trust::Known);
        trust.accept("ben", id(2)).unwrap();
        assert_eq!(trust.check("ben", &id(2)), Trust::Known);
        assert_eq!(trust.check("ben", &id(1)), Trust::Changed { was: id(2) });
        assert_eq!(trust.forget("ben"), Some(id(2)));
        assert_eq!(trust.check("ben", &id(3)), Trust::FirstSeen);
    }

    #[test]
    fn names_are_compared_byte_by_byte() {
        let mut trust = TrustOnFirstUse::new();
        for name in ["ben", "Ben", "ben ", "b\u{435}n", "be\u{301}n", "b\u{e9}n"] {
            assert_eq!(trust.check(name, &id(1)), Trust::FirstSeen, "{name}");
        }
    }

    #[test]
    fn when_it_is_full_it_forgets_nobody_and_stays_loud() {
        let mut trust = full();
        assert!(trust.is_full());
        for _ in 0..3 {
            assert_eq!(trust.check("mal", &id(2)), Trust::FirstSeen);
        }
        assert!(matches!(trust.insert("mal", id(2)), Err(Error::Unusable { .. })));
        assert_eq!(trust.known().len(), TrustOnFirstUse::MAX_NAMES);
        assert_eq!(trust.check("guest 0", &id(2)), Trust::Changed { was: id(1) });
        trust.accept("guest 0", id(2)).unwrap();
        trust.forget("guest 1");
        assert_eq!(trust.check("mal", &id(2)), Trust::FirstSeen);
        assert_eq!(trust.check("mal", &id(2)), Trust::Known);
    }

    #[test]
    fn a_name_that_no_member_could_have_takes_no_memory() {
        let mut trust = TrustOnFirstUse::new();
        let long = "x".repeat(1 << 20);
        for name in ["", "a\nb", &long] {
            assert_eq!(trust.check(name, &id(1)), Trust::FirstSeen);
            assert!(matches!(trust.insert(name, id(1)), Err(Error::Malformed { .. })));
        }
        assert_eq!(trust.known().len(), 0);
    }
}
