//! What a room agrees on by MLS itself: its settings, and who is more than a listener.
//!
//! Both live in one GroupContext extension of our own type (RFC 9420 §8.1, §17.3), so that every member of an
//! epoch holds the same ones or does not share the epoch. The relay never sees them. A host may have written
//! any bytes there: the decoder is strict, bounded, and has one encoding for each value.
//!
//! ```text
//! version = 1 (1) ‖ suite id (2) ‖ S (1) ‖ E (1) ‖ title length (1) ‖ title
//!   ‖ count (2) ‖ count × [ Ed25519 public key (32), ascending ‖ role (1): 1 speaker, 2 moderator, 3 host ]
//! ```

use std::collections::BTreeMap;

use crate::{
    error::{Error, Item, Result},
    identity::{MemberId, Role},
    media::{KeyIdLayout, Suite},
};

/// The longest title in bytes of UTF-8.
pub const MAX_TITLE: usize = 120;

/// The most members who may be more than listeners.
pub const MAX_ON_STAGE: usize = 1_000;

const VERSION: u8 = 1;

/// What holds for a whole room: how its frames are sealed, and its title. Suite and layout never change.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Settings {
    suite: Suite,
    layout: KeyIdLayout,
    title: String,
}

impl Settings {
    /// These settings with frames of another suite.
    #[must_use]
    pub const fn with_suite(mut self, suite: Suite) -> Self {
        self.suite = suite;
        self
    }

    /// These settings with another layout of key ids, which bounds the number of members to 2^S.
    #[must_use]
    pub const fn with_layout(mut self, layout: KeyIdLayout) -> Self {
        self.layout = layout;
        self
    }

    /// These settings with another title, which members see and the relay does not.
    ///
    /// # Errors
    /// [`Error::Malformed`] if it is longer than [`MAX_TITLE`] bytes or holds a control character.
    pub fn with_title(mut self, title: &str) -> Result<Self> {
        check_title(title)?;
        title.clone_into(&mut self.title);
        Ok(self)
    }

    /// The suite of every frame in the room.
    pub const fn suite(&self) -> Suite {
        self.suite
    }

    /// How key ids are laid out.
    pub const fn layout(&self) -> KeyIdLayout {
        self.layout
    }

    /// The room's title; empty if it has none.
    pub fn title(&self) -> &str {
        &self.title
    }

    /// How many members the layout has key ids for.
    pub const fn capacity(&self) -> usize {
        1 << self.layout.sender_bits()
    }
}

fn check_title(title: &str) -> Result<()> {
    if title.len() > MAX_TITLE {
        return Err(malformed("the title is longer than 120 bytes"));
    }
    if title.chars().any(char::is_control) {
        return Err(malformed("the title holds a control character"));
    }
    Ok(())
}

/// The settings, and the roles of those who are more than listeners.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Charter {
    pub(crate) settings: Settings,
    /// No listener is in here.
    roles: BTreeMap<MemberId, Role>,
}

impl Charter {
    pub(crate) fn new(settings: Settings, host: MemberId) -> Self {
        Self { settings, roles: BTreeMap::from([(host, Role::Host)]) }
    }

    pub(crate) fn role(&self, id: &MemberId) -> Role {
        self.roles.get(id).copied().unwrap_or_default()
    }

    pub(crate) fn set_role(&mut self, id: MemberId, role: Role) {
        if role == Role::Listener {
            self.roles.remove(&id);
        } else {
            self.roles.insert(id, role);
        }
    }

    pub(crate) fn roles(&self) -> impl Iterator<Item = (&MemberId, Role)> {
        self.roles.iter().map(|(id, role)| (id, *role))
    }

    pub(crate) fn hosts(&self) -> usize {
        self.roles.values().filter(|role| **role == Role::Host).count()
    }

    pub(crate) fn encode(&self) -> Result<Vec<u8>> {
        let Settings { suite, layout, title } = &self.settings;
        if self.roles.len() > MAX_ON_STAGE {
            return Err(Error::Unusable {
                what: "role",
                why: "1,000 members are on stage already: move one off first",
            });
        }
        let title_len = u8::try_from(title.len()).map_err(|_| malformed("the title is longer than 120 bytes"))?;
        let count = u16::try_from(self.roles.len()).map_err(|_| malformed("it lists too many roles"))?;
        let mut out = vec![VERSION];
        out.extend_from_slice(&suite.id().to_be_bytes());
        out.extend_from_slice(&[layout.sender_bits(), layout.epoch_bits(), title_len]);
        out.extend_from_slice(title.as_bytes());
        out.extend_from_slice(&count.to_be_bytes());
        for (id, role) in &self.roles {
            out.extend_from_slice(id.as_bytes());
            out.push(match role {
                Role::Listener => 0,
                Role::Speaker => 1,
                Role::Moderator => 2,
                Role::Host => 3,
            });
        }
        Ok(out)
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self> {
        let mut rest = bytes;
        let [version] = take(&mut rest)?;
        if version != VERSION {
            return Err(malformed("its version is unknown: update parlor"));
        }
        let suite = Suite::from_id(u16::from_be_bytes(take(&mut rest)?));
        let suite = suite.ok_or_else(|| malformed("its frame suite is unknown: update parlor"))?;
        let [sender_bits, epoch_bits, title_len] = take(&mut rest)?;
        let layout = KeyIdLayout::new(sender_bits, epoch_bits)?;
        let (title, tail) = rest.split_at_checked(title_len.into()).ok_or_else(|| malformed("it is cut short"))?;
        rest = tail;
        let title = std::str::from_utf8(title).map_err(|_| malformed("the title is not UTF-8"))?;
        check_title(title)?;

        let count = usize::from(u16::from_be_bytes(take(&mut rest)?));
        if count > MAX_ON_STAGE {
            return Err(malformed("it lists too many roles"));
        }
        let mut roles = BTreeMap::new();
        for _ in 0..count {
            let id = MemberId::from_bytes(take(&mut rest)?);
            let role = match take(&mut rest)? {
                [1] => Role::Speaker,
                [2] => Role::Moderator,
                [3] => Role::Host,
                _ => return Err(malformed("it lists an unknown role")),
            };
            if roles.last_key_value().is_some_and(|(last, _)| *last >= id) {
                return Err(malformed("its roles are out of order"));
            }
            roles.insert(id, role);
        }
        if !rest.is_empty() {
            return Err(malformed("it has bytes to spare"));
        }
        Ok(Self { settings: Settings { suite, layout, title: title.to_owned() }, roles })
    }
}

fn take<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N]> {
    let (head, tail) = rest.split_first_chunk::<N>().ok_or_else(|| malformed("it is cut short"))?;
    *rest = tail;
    Ok(*head)
}

const fn malformed(why: &'static str) -> Error {
    Error::Malformed { what: Item::Settings, why }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn charter() -> Charter {
        let settings = Settings::default()
            .with_suite(Suite::Aes256Gcm)
            .with_layout(KeyIdLayout::new(7, 9).unwrap())
            .with_title("the back room")
            .unwrap();
        let mut charter = Charter::new(settings, MemberId::from_bytes([7; 32]));
        charter.set_role(MemberId::from_bytes([9; 32]), Role::Speaker);
        charter.set_role(MemberId::from_bytes([1; 32]), Role::Moderator);
        charter
    }

    #[test]
    fn a_charter_comes_back_as_it_was_written() {
        let charter = charter();
        assert_eq!(Charter::decode(&charter.encode().unwrap()).unwrap(), charter);
    }

    #[test]
    fn every_other_encoding_is_refused() {
        let good = charter().encode().unwrap();
        for len in 0..good.len() {
            assert!(Charter::decode(&good[..len]).is_err(), "cut to {len}");
        }
        let spare = [&good[..], &[0]].concat();
        assert!(Charter::decode(&spare).is_err(), "a byte to spare");

        let entries = good.len() - 3 * 33;
        let mut swapped = good.clone();
        swapped[entries..entries + 33].copy_from_slice(&good[entries + 33..entries + 66]);
        swapped[entries + 33..entries + 66].copy_from_slice(&good[entries..entries + 33]);
        assert!(Charter::decode(&swapped).is_err(), "out of order");

        for (at, byte) in [(0, 2), (1, 0xEE), (3, 0), (4, 17), (good.len() - 1, 0), (good.len() - 1, 4)] {
            let mut bad = good.clone();
            bad[at] = byte;
            assert!(Charter::decode(&bad).is_err(), "byte {at} = {byte}");
        }
    }

    #[test]
    fn a_listener_is_not_listed() {
        let mut charter = charter();
        charter.set_role(MemberId::from_bytes([9; 32]), Role::Listener);
        assert_eq!(charter.roles().count(), 2);
        assert_eq!(charter.role(&MemberId::from_bytes([9; 32])), Role::Listener);
    }
}
