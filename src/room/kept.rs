//! A room that outlives its process: stored after each call that changed what is to last, before the call returns.

use std::{fmt, ops::Deref, time::Duration};

use crate::{
    error::{Error, Result},
    identity::Identity,
    media::{Voice, sweep_stack},
    room::{Room, snapshot::Changes},
    vault::{
        Vault, VaultKey,
        record::{self, MAX_INCREMENT, Opened, Sealer},
    },
};

/// What may be appended before all is stored anew, in bytes, however small the whole is.
const APPENDED: usize = 64 * 1024;

/// A [`Room`] and the [`Vault`] that it is kept in.
///
/// Read it as a room; change it by [`act`](Self::act), which stores what has changed before it gives anything back, so
/// that nothing reaches the relay that a crash could make undone. What a commit changed is stored whole; a message,
/// which is read and written many times as often, is appended.
///
/// ```
/// # use std::time::Duration;
/// use parlor::{Identity, Kept, Room, Settings, vault::{MemoryVault, VaultKey}};
///
/// # fn main() -> parlor::Result<()> {
/// # let now = Duration::ZERO;
/// let (ana, key) = (Identity::generate("ana")?, VaultKey::generate()?);
/// let (identity, vault_key) = (ana.secret(), key.secret()); // for the app to keep where it keeps secrets
/// let (room, mut voice) = Room::create(ana, Settings::default())?;
/// let mut room = Kept::new(room, MemoryVault::new(), key)?;
/// let commit = room.act(|room| room.set_title("the cellar"))??;
/// for event in room.act(|room| room.receive(&commit, now))?? {
///     event.tell(&mut voice)?;
/// }
///
/// // The process dies. Another one goes on: it listens at once.
/// # let stored = MemoryVault::holding(room.vault().bytes().unwrap().to_vec());
/// let (ana, key) = (Identity::from_secret("ana", &identity)?, VaultKey::from_bytes(&vault_key));
/// let restored = Kept::restore(ana, stored, key, now)?.expect("there is something in the vault");
/// let (mut room, mut voice) = (restored.room, restored.voice.expect("ana is in the room"));
/// assert_eq!(room.settings().title(), "the cellar");
///
/// // It speaks once a commit of its own is received.
/// assert!(voice.seal(b"an Opus frame").is_err() && room.refresh_due(now));
/// let commit = room.act(|room| room.refresh())??;
/// for event in room.act(|room| room.receive(&commit, now))?? {
///     event.tell(&mut voice)?;
/// }
/// voice.seal(b"an Opus frame")?;
/// # Ok(())
/// # }
/// ```
///
/// Frame keys and counters are in no vault. Whoever restores an old state, or a copy of it while another process goes
/// on, hears; and may speak in an epoch that a commit of its own process began, and in those after it, where nobody
/// else can have its keys. So no nonce is used twice, whatever is restored and however often.
pub struct Kept<V> {
    room: Room,
    vault: V,
    pub(super) key: VaultKey,
    /// What goes on from the whole that is stored; none if the next write is to be whole.
    sealer: Option<Sealer>,
    /// The bytes of the whole, and of what was appended to it.
    whole: usize,
    appended: usize,
}

/// What a vault held.
#[derive(Debug)]
#[non_exhaustive]
pub struct Restored<V> {
    /// The room. Send what is [unsent](Room::unsent), fetch the relay's log, and receive what came since.
    pub room: Kept<V>,
    /// A voice that listens; `None` if one was out of the room.
    pub voice: Option<Voice>,
}

impl<V: Vault> Kept<V> {
    /// Keeps `room` in `vault`, sealed under `key`, from here on: it is stored at once.
    ///
    /// # Errors
    /// [`Unsaved`] brings the room back, with what the vault said.
    pub fn new(room: Room, vault: V, key: VaultKey) -> Result<Self, Unsaved<Box<Room>>> {
        let mut kept = Self { room, vault, key, sealer: None, whole: 0, appended: 0 };
        match kept.save() {
            Ok(()) => Ok(kept),
            Err(error) => Err(Unsaved { output: Box::new(kept.room), error }),
        }
    }

    /// Goes on, as `identity`, with the room that `vault` holds; `None` if there is none. `now` is the time on this
    /// process's monotonic clock.
    ///
    /// # Errors
    /// [`Error::Malformed`] if what is stored was damaged, is of a later version, or sealed under another key;
    /// [`Error::Unusable`] if it was stored by another identity; what the vault says. Nothing in it has changed.
    pub fn restore(identity: Identity, mut vault: V, key: VaultKey, now: Duration) -> Result<Option<Restored<V>>> {
        let Some(stored) = vault.load()? else { return Ok(None) };
        let (room, voice) = open(identity, &key, &stored, now)?;
        let mut room = Self { room, vault, key, sealer: None, whole: 0, appended: 0 };
        // Nothing is appended to what another process began: its keys would seal two things.
        room.save()?;
        Ok(Some(Restored { room, voice }))
    }

    /// Does something with the room, and stores what changed by it.
    ///
    /// If what is done is itself a `Result` there are two: the outer is the vault's.
    ///
    /// # Errors
    /// [`Unsaved`] brings what `act` gave, with what the vault said: it is done, and a crash would undo it. To go on
    /// all the same is to risk that others know of it and this room, restored, does not. The next call stores all.
    pub fn act<T>(&mut self, act: impl FnOnce(&mut Room) -> T) -> Result<T, Unsaved<T>> {
        let output = act(&mut self.room);
        let saved = match self.room.take_changes() {
            Changes::Nothing if self.sealer.is_some() => Ok(()),
            Changes::Increment(increment) if self.has_room_for(increment.len()) => self.append(&increment),
            _ => self.save(),
        };
        // What was done with the room may have been inlined into this.
        sweep_stack();
        match saved {
            Ok(()) => Ok(output),
            Err(error) => Err(Unsaved { output, error }),
        }
    }

    /// The vault.
    pub const fn vault(&self) -> &V {
        &self.vault
    }

    /// Keeps the room no longer: what is stored stays as it is. Who [comes back](Room::come_back) puts the new room into
    /// the same vault.
    pub fn into_parts(self) -> (Room, V, VaultKey) {
        (self.room, self.vault, self.key)
    }

    /// Keeps the room no longer, and erases what is stored.
    ///
    /// # Errors
    /// [`Unsaved`] brings the room, with what the vault said.
    pub fn erase(mut self) -> Result<Room, Unsaved<Box<Room>>> {
        match self.vault.erase() {
            Ok(()) => Ok(self.room),
            Err(error) => Err(Unsaved { output: Box::new(self.room), error }),
        }
    }

    fn has_room_for(&self, increment: usize) -> bool {
        increment <= MAX_INCREMENT / 2 && self.appended.saturating_add(increment) <= self.whole.max(APPENDED)
    }

    fn append(&mut self, increment: &[u8]) -> Result<()> {
        let Some(mut sealer) = self.sealer.take() else { return self.save() };
        let sealed = sealer.increment(increment)?;
        self.vault.append(&sealed)?;
        self.appended += sealed.len();
        self.sealer = Some(sealer);
        Ok(())
    }

    fn save(&mut self) -> Result<()> {
        self.sealer = None;
        let (sealer, sealed) = Sealer::whole(&self.key, &self.room.save()?)?;
        self.vault.store(&sealed)?;
        (self.whole, self.appended, self.sealer) = (sealed.len(), 0, Some(sealer));
        Ok(())
    }
}

/// For who stores by other means than a [`Vault`].
impl Room {
    /// All of the room that outlives this process, sealed under `key`, to be stored in place of all earlier ones: the
    /// bytes to give [`Room::restore`].
    ///
    /// Store it after each call that changed the room, before anything that the call gave is sent: [`Kept`] does.
    ///
    /// # Errors
    /// [`Error::Randomness`]; [`Error::TooLarge`] above 64 MiB.
    pub fn snapshot(&mut self, key: &VaultKey) -> Result<Vec<u8>> {
        Sealer::whole(key, &self.save()?).map(|(_, sealed)| sealed)
    }

    /// The room of a snapshot, and a voice that listens if one was in it.
    ///
    /// # Errors
    /// As [`Kept::restore`].
    pub fn restore(
        identity: Identity,
        key: &VaultKey,
        snapshot: &[u8],
        now: Duration,
    ) -> Result<(Self, Option<Voice>)> {
        open(identity, key, snapshot, now)
    }
}

fn open(identity: Identity, key: &VaultKey, stored: &[u8], now: Duration) -> Result<(Room, Option<Voice>)> {
    let opened = open_deeper(identity, key, stored, now);
    sweep_stack();
    opened
}

// A call of its own, so that what it leaves on the stack lies where `sweep_stack` lays zeros after it.
#[inline(never)]
fn open_deeper(identity: Identity, key: &VaultKey, stored: &[u8], now: Duration) -> Result<(Room, Option<Voice>)> {
    let Opened { whole, increments, .. } = record::open(key, stored)?;
    Room::load(&whole, increments.iter().map(|increment| increment.as_slice()), identity, now)
}

impl<V> Deref for Kept<V> {
    type Target = Room;

    fn deref(&self) -> &Room {
        &self.room
    }
}

impl<V> fmt::Debug for Kept<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Kept").field("room", &self.room).finish_non_exhaustive()
    }
}

/// What was done and could not be stored, and why not.
#[derive(Debug)]
pub struct Unsaved<T> {
    /// What came of it.
    pub output: T,
    /// What the vault said.
    pub error: Error,
}

impl<T> fmt::Display for Unsaved<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the room was not stored, a crash would undo the last call: {}", self.error)
    }
}

impl<T: fmt::Debug> std::error::Error for Unsaved<T> {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.error)
    }
}

impl<T> From<Unsaved<T>> for Error {
    fn from(failed: Unsaved<T>) -> Self {
        failed.error
    }
}
