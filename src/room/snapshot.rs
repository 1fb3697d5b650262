//! A room as it is kept: all that it takes to go on with it after a crash, and what has changed since.
//!
//! ```text
//! version = 2 (1) ‖ who: Ed25519 public key (32) ‖ room id ‖ epoch (8) ‖ out of it (1) ‖ media keys to be published
//!   ‖ what was published
//!   ‖ in a room that one is in: the group ‖ since which epoch each leaf is whose ‖ a commit on its way ‖ whom the last let in
//!   ‖ words on their way ‖ who is leaving ‖ the stage ‖ which words came ‖ chat ‖ the door ‖ names and their keys
//!
//! change = 1 (1) ‖ message           that was received, and moved its sender's ratchet or window
//!        | 2 (1) ‖ message           that one has said oneself
//!        | 3 (1) ‖ what became of a knock (`door/turn.rs`)
//! ```
//!
//! Settings, roles, roster and codes are not in it: they are read off the group. Nor is the identity, which the app
//! keeps where it keeps secrets; nor a frame key, a counter, a short code under way, or a text that is to vanish.
//!
//! What a message changes within an epoch is written as the message itself, and read again at a restore: so it costs
//! as much as the message is long, however large the room is. Whatever changes more is [`Journal::whole`].
//!
//! Whoever wrote a snapshot had the key that it is sealed with. It is read strictly all the same: what is damaged in a
//! way that its seal does not show is an error, and no panic.

mod intent;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    mem,
    time::Duration,
};

use zeroize::Zeroizing;

use self::intent::{put_intent, read_intent};
use crate::{
    bytes::{Reader, Writer},
    error::{Error, Item, Result},
    identity::{Identity, LeafIndex, MemberId, RoomCode},
    media::Voice,
    room::{
        Admitted, IdentityCheck as _, Intent, Room, TrustOnFirstUse,
        charter::Charter,
        comeback::Comeback,
        door::{Answer, Keeper},
        epoch_keys,
        failures::Failures,
        flood::Floods,
        garden::Gardening,
        group::{Bundle, Group},
        heartbeat::Heart,
        judge::judge,
        leaves::Leaves,
        publication::Spent,
        receive::{Echoes, Pending},
        roster::Roster,
        said::Said,
        stage::Stage,
        stagger::Stagger,
        talk::Talk,
        words::PAST_EPOCHS,
    },
    vault::record::MAX_INCREMENT,
};

const VERSION: u8 = 2;

const RECEIVED: u8 = 1;
const SAID: u8 = 2;
const KNOCKED: u8 = 3;

/// The most that changes are noted by, in bytes: beyond it all is stored anew.
const MAX_ENTRIES: usize = MAX_INCREMENT / 2;

/// What has changed since a room was last saved. Nothing is noted in a room that nobody keeps.
#[derive(Default)]
pub(super) struct Journal {
    is_kept: bool,
    /// Whether there is more than the entries say.
    is_whole: bool,
    entries: Writer,
}

/// What there is to be stored.
pub(crate) enum Changes {
    Nothing,
    /// What to append to what is stored.
    Increment(Zeroizing<Vec<u8>>),
    /// All of it is to be stored anew.
    Whole,
}

impl Journal {
    pub(super) const fn is_kept(&self) -> bool {
        self.is_kept
    }

    /// Something has changed that no entry tells.
    pub(super) const fn whole(&mut self) {
        self.is_whole = true;
    }

    /// A message that its sender's ratchet or window has moved for.
    pub(super) fn received(&mut self, message: &[u8]) {
        self.enter(RECEIVED, message);
    }

    /// A word of one's own.
    pub(super) fn said(&mut self, message: &[u8]) {
        self.enter(SAID, message);
    }

    /// What became of a knock.
    pub(super) fn knocked(&mut self, turn: &[u8]) {
        self.enter(KNOCKED, turn);
    }

    fn enter(&mut self, kind: u8, message: &[u8]) {
        if self.is_kept && !self.is_whole {
            self.entries.put(&[kind]);
            // Longer than four bytes can tell is no message.
            self.is_whole |= self.entries.long("message", message).is_err();
            // Who stores seldom is not to be filled up by who talks much.
            self.is_whole |= self.entries.len() > MAX_ENTRIES;
            if self.is_whole {
                self.entries = Writer::default();
            }
        }
    }

    fn take(&mut self) -> Changes {
        let Self { is_whole, entries, .. } = mem::replace(self, Self { is_kept: true, ..Self::default() });
        let entries = entries.done();
        if is_whole {
            Changes::Whole
        } else if entries.is_empty() {
            Changes::Nothing
        } else {
            Changes::Increment(entries)
        }
    }
}

/// A room's way into a vault and out of it.
impl Room {
    /// What has changed since the last call, of this or of [`Room::save`].
    pub(crate) fn take_changes(&mut self) -> Changes {
        self.journal.take()
    }

    /// All of the room that outlives this process.
    pub(crate) fn save(&mut self) -> Result<Zeroizing<Vec<u8>>> {
        let mut out = Writer::with_capacity(16 * 1024);
        out.put(&[VERSION]);
        out.put(self.identity.id().as_bytes());
        out.long("room id", &self.id)?;
        out.put(&self.epoch.to_be_bytes());
        out.flag(self.group.is_none());
        self.spent.save(&mut out)?;
        if let Some(group) = &mut self.group {
            group.save(&mut out)?;
            self.roster.save(&mut out)?;
            out.put(&[self.streak]);
            put_pending(self.pending.as_ref(), &mut out)?;
            put_admitted(self.admitted.as_ref(), &mut out)?;
            self.echoes.save(&mut out)?;
            put_ids(self.leaving.iter(), &mut out)?;
            self.stage.save(&mut out)?;
            if let Some(talk) = &self.talk {
                talk.save(&mut out)?;
            }
            self.door.save(&mut out)?;
            let known = self.trust.remembered();
            out.count("names", known.len())?;
            for (name, id) in known {
                out.long("name", name.as_bytes())?;
                out.put(id.as_bytes());
            }
        }
        let _ = self.journal.take();
        Ok(out.done())
    }

    /// The room that [`Room::save`] wrote and that `changes` befell after it, at the monotonic time `now`; with a voice
    /// that listens, if one is in it.
    pub(crate) fn load<'a>(
        saved: &[u8],
        changes: impl Iterator<Item = &'a [u8]>,
        identity: Identity,
        now: Duration,
    ) -> Result<(Self, Option<Voice>)> {
        let mut saved = Reader::new(Item::Snapshot, saved);
        if saved.version(VERSION).is_err() {
            return Err(saved.malformed("its version is unknown: another parlor wrote it"));
        }
        if MemberId::from_bytes(saved.array()?) != identity.id() {
            return Err(Error::Unusable { what: "identity", why: "the room was saved by somebody else than this" });
        }
        let id = saved.long()?.into();
        let (epoch, is_out) = (saved.number()?, saved.flag()?);
        let spent = Spent::load(&mut saved, is_out, now)?;
        let mut room = Self {
            id,
            epoch,
            code: RoomCode::of(&[]),
            roster: Roster::default(),
            identity,
            group: None,
            charter: Charter::default(),
            since: now,
            pending: None,
            echoes: Echoes::default(),
            refused: VecDeque::new(),
            failures: Failures::default(),
            leaving: BTreeSet::new(),
            leaves: Leaves::default(),
            stagger: Stagger::default(),
            stage: Stage::default(),
            talk: None,
            spent,
            door: Keeper::default(),
            trust: Box::new(TrustOnFirstUse::new()),
            heart: Heart::default(),
            comeback: Comeback::default(),
            speaks: false,
            streak: 0,
            gardening: Gardening::default(),
            floods: Floods::default(),
            journal: Journal::default(),
            admitted: None,
        };
        if is_out {
            saved.end()?;
            return Ok((room, None));
        }
        room.load_open(&mut saved, now)?;
        saved.end()?;
        for change in changes {
            room.replay(change, now)?;
        }
        room.leaves.hear(room.leaving.iter(), now);
        let (Some(talk), Some(group)) = (&mut room.talk, &room.group) else { return Ok((room, None)) };
        talk.forget_unsaved(room.identity.id(), group);
        let voice = room.listening_voice()?;
        Ok((room, Some(voice)))
    }

    /// Reads all of a room that one is in, but for what has changed since.
    fn load_open(&mut self, saved: &mut Reader<'_>, now: Duration) -> Result<()> {
        let group = Group::restore(saved)?;
        if *group.id() != *self.id || group.epoch() != self.epoch {
            return Err(saved.malformed("its group is another room's, or of another epoch"));
        }
        self.charter = group.charter()?;
        self.code = group.code();
        self.roster = Roster::new(group.seats()?, &self.charter, self.epoch);
        self.roster.load(saved)?;
        self.streak = saved.byte()?;
        let proposed = group.pending();
        self.group = Some(group);

        if let Some((bundle, intent)) = read_pending(saved)? {
            let proposed = proposed.ok_or_else(|| saved.malformed("the commit on its way is not in its group"))?;
            let verdict = judge(self.ground(), proposed).map_err(|denial| Error::Denied(Box::new(denial)))?;
            self.pending = Some(Pending { is_of_this_process: false, ..Pending::new(bundle, intent, verdict) });
        } else if proposed.is_some() {
            return Err(saved.malformed("its group has a commit on its way that is not in it"));
        }
        self.tend(true, now);
        self.admitted = read_admitted(saved)?;
        self.echoes = Echoes::load(saved)?;
        self.leaving = read_ids(saved)?.into_iter().collect();
        self.stage = Stage::load(saved)?;
        let group = self.group()?;
        self.talk = Some(Talk::load(saved, self.identity.id(), group, now)?);
        self.door = Keeper::load(saved, now)?;
        let mut trust = TrustOnFirstUse::new();
        for _ in 0..saved.count(36)? {
            let name = saved.long()?;
            let id = MemberId::from_bytes(saved.array()?);
            // Names beyond the bound, or that no member could have, were never known.
            let _ = str::from_utf8(name).map(|name| trust.insert(name, id));
        }
        for member in self.roster.members() {
            trust.check(&member.name, &member.id);
        }
        self.trust = Box::new(trust);
        Ok(())
    }

    /// Does again what was done after the room was saved.
    fn replay(&mut self, changes: &[u8], now: Duration) -> Result<()> {
        let mut changes = Reader::new(Item::Snapshot, changes);
        while !changes.is_at_end() {
            match changes.byte()? {
                // It fails as it failed before, or does what it did.
                RECEIVED => _ = self.receive(changes.long()?, now),
                SAID => self.say_again(changes.long()?)?,
                KNOCKED => self.take_turn_again(changes.long()?, now)?,
                _ => {
                    return Err(changes.malformed("a change in it is of unknown kind: a later parlor wrote it, update"));
                }
            }
        }
        Ok(())
    }

    /// A word that was made before is on its way.
    fn say_again(&mut self, message: &[u8]) -> Result<()> {
        let epoch = self.epoch;
        let word = self.talk_mut()?.words.open(message)?;
        if let Ok(Some(Said::Stance(stance))) = Said::decode(word.said()) {
            self.stage.declared(stance);
        }
        self.echoes.said(message, epoch);
        Ok(())
    }

    /// A voice for this epoch that only listens, with the microphones as they are.
    fn listening_voice(&self) -> Result<Voice> {
        let keys = epoch_keys(self.group()?, &self.charter, &self.roster, self.since, false)?;
        let mut voice = Voice::new(keys);
        for member in self.roster.members().filter(|member| !self.is_mic_on(&member.id)) {
            voice.set_mic(&member.id, false);
        }
        Ok(voice)
    }

    /// Messages that one has made and that have not come back from the relay: a commit, and words. After a restore send
    /// them again, in this order, for nobody knows whether they were sent; the relay's second copy does no harm. Once out,
    /// the media keys that one has published, which never come back.
    pub fn unsent(&self) -> impl Iterator<Item = &[u8]> {
        let commit = self.pending.iter().map(|pending| pending.bundle.commit.as_slice());
        let words = self.echoes.on_their_way(self.epoch.saturating_sub(PAST_EPOCHS));
        words.chain(commit).chain(self.spent.published())
    }

    /// The welcome of one's own last commit that let somebody in and was received, and the tree that goes with it, in a
    /// room that is kept. After a restore hand it out again: nobody knows whether it was.
    pub fn last_welcome(&self) -> Option<(&[u8], Option<&[u8]>)> {
        self.admitted.as_ref().map(|Admitted { welcome, tree }| (welcome.as_slice(), tree.as_deref()))
    }

    /// The answers to those whom one's own last commit of the door let in, and the tree that goes with them, in a room
    /// that is kept: sealed anew. After a restore hand them out again, as [`last_welcome`](Self::last_welcome); who is in
    /// already needs none.
    pub fn last_answers(&self) -> Option<(Vec<Answer>, Option<&[u8]>)> {
        self.answers_again()
    }

    /// Whether one may speak, as far as it depends on a restore: not until a commit made since has been received
    /// ([`Room::refresh_due`]).
    pub const fn may_speak_again(&self) -> bool {
        self.speaks
    }
}

pub(super) fn put_ids<'a>(ids: impl ExactSizeIterator<Item = &'a MemberId>, out: &mut Writer) -> Result<()> {
    out.count("members", ids.len())?;
    ids.for_each(|id| out.put(id.as_bytes()));
    Ok(())
}

pub(super) fn read_ids(saved: &mut Reader<'_>) -> Result<Vec<MemberId>> {
    (0..saved.count(32)?).map(|_| saved.array().map(MemberId::from_bytes)).collect()
}

fn put_maybe(what: &'static str, bytes: Option<&[u8]>, out: &mut Writer) -> Result<()> {
    out.flag(bytes.is_some());
    bytes.map_or(Ok(()), |bytes| out.long(what, bytes))
}

fn read_maybe(saved: &mut Reader<'_>) -> Result<Option<Vec<u8>>> {
    if saved.flag()? { saved.long().map(|bytes| Some(bytes.to_vec())) } else { Ok(None) }
}

fn put_pending(pending: Option<&Pending>, out: &mut Writer) -> Result<()> {
    out.flag(pending.is_some());
    let Some(Pending { bundle, intent, .. }) = pending else { return Ok(()) };
    out.long("commit", &bundle.commit)?;
    put_maybe("welcome", bundle.welcome.as_deref(), out)?;
    put_maybe("tree", bundle.tree.as_deref(), out)?;
    put_intent(intent, out)
}

fn read_pending(saved: &mut Reader<'_>) -> Result<Option<(Bundle, Intent)>> {
    if !saved.flag()? {
        return Ok(None);
    }
    let commit = saved.long()?.to_vec();
    let bundle = Bundle { commit, welcome: read_maybe(saved)?, tree: read_maybe(saved)? };
    Ok(Some((bundle, read_intent(saved)?)))
}

fn put_admitted(admitted: Option<&Admitted>, out: &mut Writer) -> Result<()> {
    put_maybe("welcome", admitted.map(|admitted| admitted.welcome.as_slice()), out)?;
    put_maybe("tree", admitted.and_then(|admitted| admitted.tree.as_deref()), out)
}

fn read_admitted(saved: &mut Reader<'_>) -> Result<Option<Admitted>> {
    let (welcome, tree) = (read_maybe(saved)?, read_maybe(saved)?);
    Ok(welcome.map(|welcome| Admitted { welcome, tree }))
}

impl Roster {
    /// Writes since when each leaf is whose: all else is read off the tree.
    fn save(&self, out: &mut Writer) -> Result<()> {
        let dates: Vec<(LeafIndex, u64)> = self.dates().collect();
        out.count("members", dates.len())?;
        for (leaf, since) in dates {
            out.put(&leaf.0.to_be_bytes());
            out.put(&since.to_be_bytes());
        }
        Ok(())
    }

    fn load(&mut self, saved: &mut Reader<'_>) -> Result<()> {
        let mut dates = BTreeMap::new();
        for _ in 0..saved.count(12)? {
            dates.insert(LeafIndex(u32::from_be_bytes(saved.array()?)), saved.number()?);
        }
        self.date(&dates);
        Ok(())
    }
}

#[cfg(test)]
mod tests;
