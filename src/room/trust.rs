//! Who stands behind a key: what the app, or by default the first meeting, says about a name and a key together.
//!
//! MLS proves that a member holds their key, and nothing about the name that they chose. Whoever is let in may call
//! themselves Ben; only an [`IdentityCheck`] can tell that Ben had another key yesterday.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use sha2::{Digest as _, Sha256};

use crate::{
    error::{Error, Result},
    identity::{MemberId, check_name},
    text,
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
    /// The name was never met, and it looks like one that is known with another key: "Ana" beside "ana", or one with a
    /// Cyrillic letter in it. Show it loudly, both names and both codes.
    LooksLike {
        /// The name that is known.
        name: String,
        /// The key known for it.
        other: MemberId,
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

/// Takes a name's first key for its own and is loud about every other, and about another key under a name that looks the
/// same.
///
/// A name is known by its bytes. What looks the same (by the skeletons of UTS 39, with and without regard to case) is
/// another name: [`Trust::LooksLike`], unless the key is the same. Neither a changed key nor a name that looks like a known
/// one is taken in by itself, so that they are loud each time until [`accept`](Self::accept).
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
    /// Every name by each of its looks. Worked out here and never stored: another build may see otherwise.
    looks: BTreeSet<(Look, String)>,
}

/// A look's hash: a skeleton may be many times as long as its name.
type Look = [u8; 32];

fn looks(name: &str) -> [Look; 2] {
    text::looks(name).map(|look| Sha256::digest(look).into())
}

impl TrustOnFirstUse {
    /// The most names it holds.
    pub const MAX_NAMES: usize = 10_000;

    /// One that has met nobody.
    pub const fn new() -> Self {
        Self { keys: BTreeMap::new(), looks: BTreeSet::new() }
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
            self.looks.extend(looks(name).map(|look| (look, name.to_owned())));
        }
        Ok(())
    }

    /// Forgets a name, and gives its key. The next key under it is [`Trust::FirstSeen`].
    pub fn forget(&mut self, name: &str) -> Option<MemberId> {
        let id = self.keys.remove(name)?;
        for look in looks(name) {
            self.looks.remove(&(look, name.to_owned()));
        }
        Some(id)
    }

    /// A name that looks like `name` and is known with another key than `id`, if there is one.
    fn lookalike(&self, name: &str, id: &MemberId) -> Option<(&str, MemberId)> {
        let alike = |look| {
            let from = self.looks.range((look, String::new())..);
            from.take_while(move |(other, _)| *other == look).map(|(_, name)| name.as_str())
        };
        let known = looks(name).into_iter().flat_map(alike);
        known.filter_map(|name| Some((name, *self.keys.get(name)?))).find(|(_, other)| other != id)
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
            // Of a name that nobody could have, however long, nothing is worked out.
            None if check_name(name).is_err() => Trust::FirstSeen,
            None => {
                if let Some((name, other)) = self.lookalike(name, id) {
                    return Trust::LooksLike { name: name.to_owned(), other };
                }
                // One too many is not kept, and so is met for the first time the next time too.
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

    /// Names that look alike, in groups: case, other scripts, compatibility forms, joiners, digits for letters.
    const ALIKE: &[&[&str]] = &[
        &["ana", "Ana", "ANA", "\u{430}na", "\u{430}n\u{430}", "\u{ff41}na", "\u{1d5ba}na", "an\u{251}"],
        &["Ian", "lan", "1an", "\u{399}an"],
        &["paypal", "p\u{430}yp\u{430}l", "paypa1"],
        &["Otto", "0tto", "\u{41e}tt\u{43e}", "otto"],
        &["b\u{e9}n", "be\u{301}n", "B\u{c9}N"],
        &["\u{412}\u{435}\u{43d}", "\u{432}\u{435}\u{43d}"],
        &["Stra\u{df}e", "STRASSE"],
        &["\u{3a3}\u{3c9}\u{3c2}", "\u{3c3}\u{3c9}\u{3c3}"],
        &["modern", "modem"],
    ];

    #[test]
    fn a_name_that_looks_like_a_known_one_is_loud_until_it_is_accepted() {
        for group in ALIKE {
            for known in *group {
                for other in group.iter().filter(|other| *other != known) {
                    let mut trust = TrustOnFirstUse::new();
                    assert_eq!(trust.check(known, &id(1)), Trust::FirstSeen);
                    let loud = Trust::LooksLike { name: (*known).to_owned(), other: id(1) };
                    for _ in 0..2 {
                        assert_eq!(trust.check(other, &id(2)), loud, "{other:?} beside {known:?}");
                    }
                    trust.accept(other, id(2)).unwrap();
                    assert_eq!(trust.check(other, &id(2)), Trust::Known);
                    assert_eq!(trust.check(known, &id(1)), Trust::Known);
                    assert_eq!(trust.check(other, &id(1)), Trust::Changed { was: id(2) });
                }
            }
        }
    }

    #[test]
    fn names_that_look_different_are_met_in_peace() {
        let mut trust = TrustOnFirstUse::new();
        let names =
            ["ana", "anna", "hana", "ben", "b\u{e9}n", "\u{5d0}\u{5e0}\u{5d4}", "\u{9ad8}\u{6a4b}", "\u{9ad9}\u{6a4b}"];
        for (n, name) in names.iter().enumerate() {
            assert_eq!(trust.check(name, &id(n as u8)), Trust::FirstSeen, "{name}");
        }
        assert_eq!(trust.check("Ben", &id(3)), Trust::FirstSeen, "the same person, written otherwise");
        assert_eq!(trust.check("BEN", &id(4)), Trust::LooksLike { name: "Ben".into(), other: id(3) });
    }

    #[test]
    fn who_is_forgotten_is_looked_like_by_nobody() {
        let mut trust = TrustOnFirstUse::new();
        trust.check("ana", &id(1));
        trust.forget("ana");
        assert_eq!(trust.check("Ana", &id(2)), Trust::FirstSeen);
        assert!(matches!(trust.check("ana", &id(1)), Trust::LooksLike { .. }));
        assert_eq!(trust.forget("Ana"), Some(id(2)));
        assert!(trust.keys.is_empty() && trust.looks.is_empty());
    }

    #[test]
    fn what_is_stored_and_put_in_again_sees_the_same_looks() {
        let mut trust = TrustOnFirstUse::new();
        trust.check("ana", &id(1));
        trust.accept("\u{430}na", id(2)).unwrap();
        let mut again = TrustOnFirstUse::new();
        for (name, key) in trust.remembered() {
            again.insert(&name, key).unwrap();
        }
        assert_eq!(again.check("ana", &id(1)), Trust::Known);
        assert_eq!(again.check("\u{430}na", &id(2)), Trust::Known);
        assert!(matches!(again.check("ANA", &id(1)), Trust::LooksLike { other, .. } if other == id(2)));
        assert_eq!((again.looks, again.keys), (trust.looks, trust.keys));
    }

    #[test]
    fn when_it_is_full_it_forgets_nobody_and_stays_loud() {
        let mut trust = full();
        assert!(trust.is_full());
        for _ in 0..3 {
            assert_eq!(trust.check("mal", &id(2)), Trust::FirstSeen);
            assert!(matches!(trust.check("Guest 7", &id(2)), Trust::LooksLike { .. }));
        }
        assert!(trust.looks.len() <= 2 * TrustOnFirstUse::MAX_NAMES);
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
