//! The heartbeat: how a member notices that the relay keeps commits back, or shows two histories.
//!
//! A relay that withholds the commit by which somebody is removed keeps them listening to whoever has not seen it. So each
//! host says every five seconds which epoch it is in and what led there, signed (a *beat*); and who is on stage stops
//! speaking unless, within the last [`STALE_AFTER`], a host has said so of the very epoch that they seal in.
//!
//! ```text
//!   speaker                     relay                      host
//!      │ ping (a random number)   │                          │   at p on the speaker's clock
//!      ├─────────────────────────►│─────────────────────────►│
//!      │                          │   beat: run, h1, epoch,  │   at h1 on the host's
//!      │◄─────────────────────────│◄──── transcript, answer ─┤   made after p, whenever it comes
//!      │                          │                          │
//!      │◄──── maybe much later ───│◄──── beat: run, h2, … ───┤   made after p + (h2 − h1)
//! ```
//!
//! When a beat *came* proves nothing, for the relay may have kept it; that it answers a ping does, and one answer dates
//! all the beats of its run: a run is as long as a host's process lives and its clock goes evenly. A ping goes out when one
//! enters, comes on stage, or lacks fresh beats, and once a minute. Listeners send none: their ears say "stale" when for
//! so long no beat of their epoch has come.
//!
//! Signals are sealed under keys of the epoch that their sender is in, so that who is out reads none and makes none. A
//! member whom the relay keeps behind, or on one side of a fork, cannot open the beats of hosts elsewhere. They see that
//! there are some, which anybody can make them see, and so they ask the hosts whom they know:
//!
//! ```text
//!   member in epoch 4           relay                      host in epoch 5
//!      │◄──── what does not open ─┤◄─────────────────────────┤   a beat of epoch 5
//!      │ a second later: ask      │                          │
//!      ├─────────────────────────►│─────────────────────────►│   sealed to the host, signed by the member
//!      │◄─────────────────────────│◄──── answer: a beat ─────┤   if that is a member; sealed to who asked
//! ```
//!
//! Signals go beside MLS, for they must move no ratchet: any number may be lost, come twice or in any order, and the relay
//! need keep none. Give what [`Event::Send`] brings to the relay, hand what comes to [`Room::receive`], and call
//! [`Room::tick`]: the heart begins to beat with the first tick. **An app that does not tick is not stopped, and hosts
//! that do not tick stop everybody else who does.**
//!
//! What this does not stop: two hosts whom the relay cuts off from each other each go on, with the members who hear them;
//! so does a host who was put out, and those to whom the relay shows no more than that host. All of them are told
//! ([`Event::HostSilent`]). A removal by a moderator that no host is shown is as if it had not been made, but for the
//! moderator, who is told that the room is stale. Who is shown nothing at all goes on to ping in their epoch, as long as
//! they are kept there, and whoever was in it can read that. A host who was put out is asked, too, by those who do not
//! know it yet. Two sides of a fork of which neither has a host whom the other takes for
//! one hear nothing of each other; their room codes differ. A host who lies about the epoch can silence the room, as by a removal. What one
//! member can do by signals is bounded: a ping and an ask a second of each, 200 signatures a second in all, and as many
//! asks that a host tries to open. What anybody can do by signals that do not open is bounded in `doubt.rs`.

mod ask;
mod budget;
mod doubt;
mod host;
mod signal;

use std::{
    collections::{BTreeMap, VecDeque},
    mem,
    time::Duration,
};

use sha2::{Digest as _, Sha256};

pub(super) use self::signal::{KEY_LABEL, is_signal};
use self::{
    budget::Budget,
    doubt::Doubt,
    host::Host,
    signal::{Beat, MAX_ANSWERS, Nonce, Opened, Read, Signal, Wire, unauthentic},
};
use crate::{
    error::{Error, Item, Result},
    identity::{MemberId, Role},
    random,
    room::{Event, Room},
};

/// How often a host beats.
pub const BEAT_EVERY: Duration = Duration::from_secs(5);

/// Without a host's beat of one's epoch that was made within this time the room is stale.
pub const STALE_AFTER: Duration = Duration::from_secs(15);

/// Who speaks stops this much sooner: that late a tick may come.
const TICK: Duration = Duration::from_secs(1);

/// Beats that something calls for keep this distance: no flood of pings makes a host answer more often.
const GAP: Duration = Duration::from_millis(200);

/// How long a commit may be on its way that a host has merged.
const PATIENCE: Duration = Duration::from_secs(2);

/// From then on a commit that has not come will not come.
const LOST_AFTER: Duration = Duration::from_secs(5);

/// A host is missed who has beaten within this time, and is taken to be on one's own side.
const LATELY: Duration = Duration::from_secs(60);

/// How often a speaker pings who has nothing to fear.
const PING_EVERY: Duration = Duration::from_secs(60);

/// Pings of one member that come closer are not answered.
const PING_GAP: Duration = Duration::from_secs(1);

/// When one pings again without an answer, and from then on: in seconds.
const BACK_OFF: [u64; 4] = [1, 2, 4, 5];

/// With less time left than this one pings, not to be stopped.
const LOW: Duration = Duration::from_secs(4);

/// How many of one's own pings may be answered.
const MAX_PINGS: usize = 8;

/// How many epochs' transcripts are kept.
const HISTORY: usize = 64;

/// How many signals of the next epoch are kept for when it comes.
const MAX_EARLY: usize = 16;

/// Those who ask for want of a key do so over this time, by their ids: 256 steps.
const SPREAD: Duration = Duration::from_millis(2);

/// Nobody ticks so seldom: a clock has jumped, or the process has slept.
const JUMP: Duration = Duration::from_secs(10);

/// Whether and how one's heart beats. Nothing of it outlives the process.
#[derive(Default)]
pub(super) struct Heart {
    /// One is a host who needs no other's word: who made the room, is its only host, or has once been fresh as a host.
    trusts_itself: bool,
    /// `None` until the first tick.
    beating: Option<Box<Beating>>,
}

impl Heart {
    /// That of who makes a room.
    pub(super) const fn of_creator() -> Self {
        Self { trusts_itself: true, beating: None }
    }
}

struct Beating {
    wire: Wire,
    /// The latest time one was told.
    now: Duration,
    /// The epochs one has been in with the hash of what led there, the last one last.
    history: VecDeque<(u64, [u8; 32])>,

    // ---- as a host ----
    /// None until the first beat, and when the clock has jumped.
    run: Option<[u8; 8]>,
    sent: u64,
    last_beat: Option<Duration>,
    /// Something calls for a beat.
    hurry: bool,
    /// Who has pinged and is still here: when, and with what, if it is to be answered.
    asked: BTreeMap<MemberId, (Duration, Option<Nonce>)>,
    pings_read: Budget,
    /// Who was last answered when.
    answered: BTreeMap<MemberId, Duration>,
    asks_read: Budget,

    // ---- as a member ----
    /// No others than those who are hosts.
    hosts: BTreeMap<MemberId, Host>,
    /// One's own pings and when they went out, the last one last.
    pings: VecDeque<(Nonce, Duration)>,
    last_ping: Option<Duration>,
    /// How many have gone out since one was answered.
    unanswered: usize,
    /// A run has appeared that none of one's pings has been answered in: when to ask.
    ask_at: Option<Duration>,
    /// Whether one must know how old beats are: one is on stage.
    strict: bool,
    /// Since when one has to.
    began: Duration,
    /// Until then one may speak.
    fresh_until: Option<Duration>,
    /// When a beat of one's epoch last came.
    heard: Duration,
    beats_read: Budget,
    /// What does not open, and what was asked for it.
    doubt: Doubt,
    /// What says that it is of the next epoch: it may have overtaken its commit.
    early: VecDeque<Vec<u8>>,
    /// The latest epoch of which it was told that one is behind.
    behind_told: u64,
    /// What the app was told.
    stale: bool,
}

impl Room {
    /// Takes a signal.
    pub(super) fn hear_signal(&mut self, message: &[u8], now: Duration) -> Result<Vec<Event>> {
        self.group()?;
        self.with_heart(|heart, room| match &mut heart.beating {
            Some(beating) => {
                let now = beating.clock(now);
                let mut events = beating.hear(room, message, now)?;
                events.extend(heart.pulse(room, now));
                Ok(events)
            }
            None => Ok(Vec::new()),
        })
    }

    /// What the time calls for; with it the heart begins to beat.
    pub(super) fn beat(&mut self, now: Duration) -> Vec<Event> {
        self.with_heart(|heart, room| {
            if heart.beating.is_none() {
                // Without keys there is no heartbeat; the next tick tries again.
                heart.beating = Beating::new(room, now).ok().map(Box::new);
            }
            let now = heart.beating.as_mut().map_or(now, |beating| beating.clock(now));
            heart.pulse(room, now)
        })
    }

    /// What the epoch calls for that has just been entered.
    pub(super) fn beat_on(&mut self, now: Duration) -> Vec<Event> {
        self.with_heart(|heart, room| {
            let Some(beating) = &mut heart.beating else { return Vec::new() };
            let now = beating.clock(now);
            let mut events = beating.enter(room, now);
            events.extend(heart.pulse(room, now));
            events
        })
    }

    /// When there is something to do next.
    pub(super) fn next_beat(&self) -> Option<Duration> {
        if !self.has_heartbeat() {
            return None;
        }
        match &self.heart.beating {
            None => Some(self.since),
            Some(beating) => beating.next(self, self.heart.trusts_itself),
        }
    }

    /// Whether one should come back ([`Room::come_back`]): the room goes on where one cannot follow. That is so when a host
    /// beats in a later epoch and five seconds of fetching the relay's log have not led there, or at once after
    /// [`Event::Stuck`]; and when the relay shows two histories, to those whose side has the younger hosts
    /// ([`Event::SplitView`]). Ask each second, while the relay's log has nothing more for one.
    pub fn come_back_due(&self, now: Duration) -> bool {
        let is_stuck = self.is_stuck();
        self.is_open() && self.heart.beating.as_ref().is_some_and(|beating| beating.is_lost(self, is_stuck, now))
    }

    fn with_heart<T>(&mut self, act: impl FnOnce(&mut Heart, &Self) -> T) -> T {
        let mut heart = mem::take(&mut self.heart);
        let done = act(&mut heart, self);
        self.heart = heart;
        done
    }

    /// Whether there is a host, and somebody to hear them.
    fn has_heartbeat(&self) -> bool {
        self.is_open() && self.roster.len() > 1 && self.charter.hosts() > 0
    }

    fn is_host(&self) -> bool {
        self.charter.role(&self.identity.id()) == Role::Host
    }

    fn transcript_hash(&self) -> [u8; 32] {
        Sha256::digest(self.transcript()).into()
    }
}

impl Heart {
    /// Does what is due at `now`, and tells what has changed.
    fn pulse(&mut self, room: &Room, now: Duration) -> Vec<Event> {
        let Some(beating) = &mut self.beating else { return Vec::new() };
        let strict = room.is_on_stage();
        if strict && !mem::replace(&mut beating.strict, strict) {
            beating.began = now;
        }
        beating.strict = strict;
        let fresh = beating.fresh_until.is_some_and(|until| now < until);
        self.trusts_itself = room.is_host() && (self.trusts_itself || fresh || room.charter.hosts() == 1);

        let mut events = Vec::new();
        if room.has_heartbeat() {
            events.extend(beating.beat_due(room).filter(|due| *due <= now).and_then(|_| beating.beat(room, now)));
            let due = beating.ping_due(now, self.trusts_itself).filter(|due| *due <= now);
            events.extend(due.and_then(|_| beating.ping(room, now)));
            beating.doubt.expire(now);
            if beating.doubt.due(spread(room) / 4).is_some_and(|due| due <= now) {
                beating.ask(room, now, &mut events);
            }
            beating.alarms(room, now, &mut events);
        }
        let stale = room.has_heartbeat() && beating.is_stale(now, self.trusts_itself);
        if stale != mem::replace(&mut beating.stale, stale) {
            let last = if strict { beating.fresh_until.map(|until| until.saturating_sub(STALE_AFTER)) } else { None };
            let since = last.unwrap_or(if strict { beating.began } else { beating.heard });
            events.push(if stale { Event::Stale { since } } else { Event::Fresh });
        }
        events
    }
}

impl Beating {
    fn new(room: &Room, now: Duration) -> Result<Self> {
        let mut wire = Wire::new(&room.id);
        wire.enter(room.epoch, &room.group()?.export(KEY_LABEL, 32)?)?;
        Ok(Self {
            wire,
            now,
            history: VecDeque::from([(room.epoch, room.transcript_hash())]),
            run: None,
            sent: 0,
            last_beat: None,
            hurry: true,
            asked: BTreeMap::new(),
            pings_read: Budget::default(),
            answered: BTreeMap::new(),
            asks_read: Budget::default(),
            hosts: BTreeMap::new(),
            pings: VecDeque::new(),
            last_ping: None,
            unanswered: 0,
            ask_at: None,
            strict: false,
            began: now,
            fresh_until: None,
            heard: now,
            beats_read: Budget::default(),
            doubt: Doubt::default(),
            early: VecDeque::new(),
            behind_told: 0,
            stale: false,
        })
    }

    /// Takes note of the time, which should not go back: a small step is not taken, a large one moves all there is.
    fn clock(&mut self, now: Duration) -> Duration {
        let by = self.now.saturating_sub(now);
        if by > Duration::ZERO && by <= TICK {
            return self.now;
        }
        if by > Duration::ZERO {
            for at in [&mut self.last_beat, &mut self.last_ping, &mut self.fresh_until, &mut self.ask_at] {
                *at = at.map(|at| at.saturating_sub(by));
            }
            for at in [&mut self.began, &mut self.heard] {
                *at = at.saturating_sub(by);
            }
            self.asked.values_mut().for_each(|(at, _)| *at = at.saturating_sub(by));
            self.answered.values_mut().for_each(|at| *at = at.saturating_sub(by));
            for budget in [&mut self.pings_read, &mut self.asks_read, &mut self.beats_read] {
                budget.set_back(by);
            }
            self.wire.set_back(by);
            self.doubt.set_back(by);
            self.pings.clear();
            self.ask_at = Some(now);
        }
        if by > Duration::ZERO || now.saturating_sub(self.now) > JUMP {
            self.run = None;
            // Who has slept is given the time to hear a beat. Who is on stage is not.
            self.heard = self.heard.max(now.saturating_sub(BEAT_EVERY));
            let back = Some(by).filter(|by| *by > Duration::ZERO);
            self.hosts.values_mut().for_each(|host| host.clock_jumped(back, now));
        }
        self.wire.forget(now);
        self.now = now;
        now
    }

    /// Follows the room into its next epoch.
    fn enter(&mut self, room: &Room, now: Duration) -> Vec<Event> {
        self.wire.leave(now);
        let secret = room.group().and_then(|group| group.export(KEY_LABEL, 32));
        // Without a key nothing is sealed: those who wait for it are stopped, as by a host who is silent.
        let _ = secret.and_then(|secret| self.wire.enter(room.epoch, &secret));
        let transcript = room.transcript_hash();
        self.history.push_back((room.epoch, transcript));
        while self.history.len() > HISTORY {
            self.history.pop_front();
        }
        self.hosts.retain(|id, _| room.charter.role(id) == Role::Host);
        if !self.asked.is_empty() || !self.answered.is_empty() {
            self.asked.retain(|id, _| room.roster.find(id).is_some());
            self.answered.retain(|id, _| room.roster.find(id).is_some());
        }
        self.hurry = true;
        for host in self.hosts.values_mut() {
            host.ahead = host.ahead.filter(|(epoch, _)| *epoch > room.epoch).map(|(epoch, _)| (epoch, now));
            // Their commit may have come after their beat of the epoch it made.
            if let Some(made) = host.was_in(room.epoch, &transcript, now) {
                self.fresh_until = self.fresh_until.max(Some(made + STALE_AFTER));
            }
        }
        self.doubt.enter(room.epoch, now);
        let early = mem::take(&mut self.early);
        // What is wrong with one is nobody's business any more.
        early.iter().filter_map(|signal| self.hear(room, signal, now).ok()).flatten().collect()
    }

    fn hear(&mut self, room: &Room, message: &[u8], now: Duration) -> Result<Vec<Event>> {
        let read = self.wire.read(message, room.epoch);
        // Somebody is behind, or the relay brings what is old; or there is another history, which has come less far.
        if matches!(read, Err(Error::WrongEpoch { .. })) {
            self.doubt.hint(room.epoch, room.epoch, now);
        }
        match read? {
            Read::Opened(opened) => self.hear_opened(room, opened, now),
            Read::Later(epoch) => {
                self.doubt.hint(epoch, room.epoch, now);
                if epoch == room.epoch.saturating_add(1) {
                    if self.early.len() >= MAX_EARLY {
                        self.early.pop_front();
                    }
                    self.early.push_back(message.to_vec());
                }
                Ok(Vec::new())
            }
            Read::Shut => {
                self.doubt.hint(room.epoch, room.epoch, now);
                Err(unauthentic(room.epoch, "nobody whom you share the epoch with sealed it"))
            }
            Read::Ask(sealed) => self.hear_ask(room, sealed, now),
            Read::Answer(nonce, sealed) => self.hear_answer(room, &nonce, sealed, now),
        }
    }

    /// Whether this member is about to be stopped, or is: then more is spent on finding a true beat among forged ones.
    fn hurries(&self, now: Duration) -> bool {
        self.strict && self.fresh_until.is_none_or(|until| until <= now.saturating_add(LOW))
    }

    fn hear_opened(&mut self, room: &Room, opened: Opened, now: Duration) -> Result<Vec<Event>> {
        let (who, me) = (opened.who, room.identity.id());
        if who == me {
            return Ok(self.hear_own(room, &opened, now));
        }
        let hurries = self.hurries(now);
        let budget = match opened.signal {
            Signal::Beat(_) if room.charter.role(&who) == Role::Host => &mut self.beats_read,
            Signal::Beat(_) => return Err(unauthentic(room.epoch, "who it names is no host")),
            // Pings are for hosts to answer, and for those who may speak to ask.
            Signal::Ping(_) if !room.is_host() || room.charter.off_stage(&who, true).is_some() => return Ok(Vec::new()),
            Signal::Ping(_) if room.roster.find(&who).is_none() => {
                return Err(unauthentic(room.epoch, "who it names is not in the room"));
            }
            Signal::Ping(_) => &mut self.pings_read,
        };
        if !budget.take(now, hurries) {
            return Err(flooded());
        }
        if !opened.is_theirs() {
            return Err(unauthentic(room.epoch, "who it names has not signed it"));
        }
        match opened.signal {
            Signal::Beat(beat) => Ok(self.hear_beat(room, who, &beat, None, now)),
            Signal::Ping(nonce) => {
                let last = self.asked.get(&who).map(|(last, _)| last.saturating_add(PING_GAP));
                if last.is_none_or(|again| again <= now) {
                    self.asked.insert(who, (now, Some(nonce)));
                }
                Ok(Vec::new())
            }
        }
    }

    /// Takes what is signed with one's own key: mostly one's own, sent back.
    fn hear_own(&mut self, room: &Room, opened: &Opened, now: Duration) -> Vec<Event> {
        let Signal::Beat(beat) = &opened.signal else { return Vec::new() };
        if self.is_of_a_twin(room, beat) && self.beats_read.take(now, false) && opened.is_theirs() {
            return self.hear_beat(room, opened.who, beat, None, now);
        }
        Vec::new()
    }

    /// Whether a beat signed with one's own key is from where one has not been: it is of another process, restored from a
    /// snapshot of this one or the one that this was restored from.
    fn is_of_a_twin(&self, room: &Room, beat: &Beat) -> bool {
        let known = self.history.iter().find(|(epoch, _)| *epoch == beat.epoch);
        let is_elsewhere = beat.epoch > room.epoch || known.is_some_and(|(_, known)| *known != beat.transcript);
        room.is_host() && self.run != Some(beat.run) && is_elsewhere
    }

    /// Answers a member who asks where the room is.
    fn hear_ask(&mut self, room: &Room, sealed: &[u8], now: Duration) -> Result<Vec<Event>> {
        if !room.is_host() {
            return Ok(Vec::new());
        }
        if !self.asks_read.take(now, false) {
            return Err(flooded());
        }
        // For another host, or of nobody: there is no telling.
        let Some(question) = self.wire.question(&room.identity, sealed) else { return Ok(Vec::new()) };
        let again = self.answered.get(&question.who).map(|last| last.saturating_add(PING_GAP));
        if self.doubt.asked(&question.nonce).is_some() || again.is_some_and(|again| now < again) {
            return Ok(Vec::new());
        }
        if room.roster.find(&question.who).is_none() {
            return Err(unauthentic(room.epoch, "who it says asks is not in the room"));
        }
        if !question.is_theirs() {
            return Err(unauthentic(room.epoch, "who it names has not signed it"));
        }
        self.answered.insert(question.who, now);
        let beat = self.word(room, now, vec![question.nonce]);
        let answer = beat.and_then(|beat| self.wire.answer(&room.identity, &question, beat).ok());
        Ok(answer.map(Event::Send).into_iter().collect())
    }

    /// Takes the answer to a question of this member's.
    fn hear_answer(&mut self, room: &Room, nonce: &Nonce, sealed: &[u8], now: Duration) -> Result<Vec<Event>> {
        let hurries = self.hurries(now);
        let Some(ask) = self.doubt.asked(nonce) else { return Ok(Vec::new()) };
        if !self.beats_read.take(now, hurries) {
            return Err(flooded());
        }
        let (who, beat) = (ask.to, self.wire.answered(ask, sealed, room.epoch)?);
        if room.charter.role(&who) != Role::Host {
            return Err(unauthentic(room.epoch, "who it names is no host"));
        }
        let is_here = beat.epoch == room.epoch && beat.transcript == room.transcript_hash();
        let asked = self.doubt.take(nonce, &hosts(room), is_here, now);
        if who == room.identity.id() && !self.is_of_a_twin(room, &beat) {
            return Ok(Vec::new());
        }
        Ok(self.hear_beat(room, who, &beat, asked, now))
    }

    /// Takes a host's beat; if it is an answer, with when it was asked for, and since when it seemed called for.
    fn hear_beat(
        &mut self,
        room: &Room,
        who: MemberId,
        beat: &Beat,
        answer: Option<(Duration, Duration)>,
        now: Duration,
    ) -> Vec<Event> {
        let asked = beat.answers.iter().filter_map(|answer| self.pings.iter().find(|(nonce, _)| nonce == answer));
        let asked = asked.map(|(_, at)| *at).chain(answer.map(|(at, _)| at)).max();
        if asked.is_some() {
            self.unanswered = 0;
        }
        let host = self.hosts.entry(who).or_default();
        let taken = host.take(beat, asked, now);
        if taken.is_first && asked.is_none() {
            // Those who need not hurry do not all ask at once.
            let spread = Duration::from_millis(u64::from(room.identity.id().as_bytes()[0]) * 16);
            let hurries = self.fresh_until.is_none_or(|until| until <= now.saturating_add(LOW));
            let ask_at = if hurries { now } else { now.saturating_add(spread) };
            self.ask_at = Some(self.ask_at.map_or(ask_at, |at| at.min(ask_at)));
        }
        let known = self.history.iter().find(|(epoch, _)| *epoch == beat.epoch).map(|(_, known)| *known);
        if known == Some(beat.transcript) {
            if taken.is_new {
                host.vouched = Some(now);
            }
            if beat.epoch == room.epoch {
                if taken.is_new {
                    self.heard = now;
                    (host.split, host.ahead) = (false, None);
                }
                if let Some(made) = taken.made {
                    self.fresh_until = self.fresh_until.max(Some(made + STALE_AFTER));
                }
            }
        } else if beat.epoch > room.epoch {
            if taken.is_new {
                let seems = answer.map_or(now, |(_, since)| since);
                let since = host.ahead.map_or(seems, |(_, since)| since);
                host.ahead = Some((beat.epoch, since));
            }
        } else if known.is_some() && taken.is_new {
            host.split = true;
            (host.split_in, host.split_by) = (beat.epoch, beat.run);
            if host.split_told.is_none_or(|told| told < beat.epoch) {
                host.split_told = Some(beat.epoch);
                let follow = self.leads(room, &who, beat.epoch, now);
                return vec![Event::SplitView { host: who, epoch: beat.epoch, follow }];
            }
        }
        Vec::new()
    }

    /// Whether a host of the other side, which is in `epoch`, has been one for longer than all hosts of one's own.
    ///
    /// Who is behind never leads those who have a host: a host who goes on from an old backup would undo every removal since.
    fn leads(&self, room: &Room, other: &MemberId, epoch: u64, now: Duration) -> bool {
        if *other == room.identity.id() {
            return self.twin_leads(epoch, room.epoch, now);
        }
        let seniority = |id: &MemberId| (room.charter.standing(id).since, *id);
        let lately = |at: Duration| now.saturating_sub(at) <= LATELY;
        let here = self.hosts.iter().filter(|(_, host)| !host.split && host.vouched.is_some_and(lately));
        let me = Some(room.identity.id()).filter(|_| room.is_host());
        let mut here = here.map(|(id, _)| *id).chain(me).peekable();
        let is_behind = epoch < room.epoch && here.peek().is_some();
        !is_behind && here.all(|id| seniority(other) < seniority(&id))
    }

    /// Whether another process of one's own leads one, as it does unless another host is on this side. Of two that are alone
    /// in one epoch it is the one with the higher number of its run.
    fn twin_leads(&self, its_epoch: u64, own_epoch: u64, now: Duration) -> bool {
        let lately = |at: Duration| now.saturating_sub(at) <= LATELY;
        let alone = !self.hosts.values().any(|host| !host.split && host.vouched.is_some_and(lately));
        let by = self.hosts.values().map(|host| host.split_by).max();
        alone && (its_epoch > own_epoch || its_epoch == own_epoch && by > self.run)
    }

    /// When a host beats next.
    fn beat_due(&self, room: &Room) -> Option<Duration> {
        let last = match self.last_beat {
            _ if !room.is_host() => return None,
            None => return Some(Duration::ZERO),
            Some(last) => last,
        };
        let is_asked = self.asked.values().any(|(_, nonce)| nonce.is_some());
        Some(last.saturating_add(if self.hurry || is_asked { GAP } else { BEAT_EVERY }))
    }

    fn beat(&mut self, room: &Room, now: Duration) -> Option<Event> {
        let mut waiting: Vec<_> = self.asked.iter_mut().filter(|(_, (_, nonce))| nonce.is_some()).collect();
        // Who has waited longest goes first.
        waiting.sort_by_key(|(_, (at, _))| *at);
        let answers = waiting.into_iter().take(MAX_ANSWERS).filter_map(|(_, (_, nonce))| nonce.take()).collect();
        // Without randomness the beat stays due.
        let beat = self.word(room, now, answers)?;
        let bytes = self.wire.seal(&room.identity, &Signal::Beat(beat)).ok()?;
        (self.last_beat, self.hurry) = (Some(now), false);
        Some(Event::Send(bytes))
    }

    /// A host's word on where the room is.
    fn word(&mut self, room: &Room, now: Duration, answers: Vec<Nonce>) -> Option<Beat> {
        let run = match self.run {
            Some(run) => run,
            None => {
                self.sent = 0;
                *self.run.insert(*random::bytes().ok()?)
            }
        };
        self.sent = u64::try_from(now.as_millis()).unwrap_or(u64::MAX).max(self.sent.saturating_add(1));
        Some(Beat { run, sent: self.sent, epoch: room.epoch, transcript: room.transcript_hash(), answers })
    }

    /// Asks hosts where the room is.
    fn ask(&mut self, room: &Room, now: Duration, events: &mut Vec<Event>) {
        for host in self.doubt.round(&hosts(room), &room.identity.id(), now) {
            // Without randomness the next round asks.
            if let Ok((bytes, ask)) = self.wire.ask(&room.identity, host, now) {
                self.doubt.asks(ask);
                events.push(Event::Send(bytes));
                // Who never answers and never beats here is missed as one who has stopped: perhaps the room has gone on
                // without this member, and nobody there has anything to tell them.
                if host != room.identity.id() {
                    self.hosts.entry(host).or_insert_with(|| Host::awaited(self.doubt.since(now)));
                }
            }
        }
    }

    /// When a host was last heard. One who is known to be elsewhere is taken for who is heard there.
    fn heard_of(&self, host: &Host) -> Duration {
        let elsewhere = self.doubt.seen().filter(|_| host.split || host.ahead.is_some());
        host.heard.max(elsewhere.unwrap_or_default())
    }

    /// When one pings next; never, if one need not know how old beats are.
    fn ping_due(&self, now: Duration, trusts_itself: bool) -> Option<Duration> {
        // Who knows that the room has gone on has nobody to ask who is left in this epoch, but perhaps the relay's friends.
        if !self.strict || trusts_itself || self.hosts.values().any(|host| host.ahead.is_some()) {
            return None;
        }
        let Some(last) = self.last_ping else { return Some(now) };
        let back_off = BACK_OFF.get(self.unanswered.saturating_sub(1)).or(BACK_OFF.last()).copied().unwrap_or(1);
        let again = last.saturating_add(Duration::from_secs(back_off));
        let low = self.fresh_until.map_or(now, |until| until.saturating_sub(LOW + TICK)).max(again);
        let routine = if self.unanswered == 0 { last.saturating_add(PING_EVERY) } else { again };
        let asked_for = self.ask_at.map_or(routine, |at| at.max(last.saturating_add(PING_GAP)));
        Some(low.min(routine).min(asked_for))
    }

    fn ping(&mut self, room: &Room, now: Duration) -> Option<Event> {
        let nonce = *random::bytes().ok()?;
        let bytes = self.wire.seal(&room.identity, &Signal::Ping(nonce)).ok()?;
        if self.pings.len() >= MAX_PINGS {
            self.pings.pop_front();
        }
        self.pings.push_back((nonce, now));
        (self.last_ping, self.ask_at) = (Some(now), None);
        self.unanswered = self.unanswered.saturating_add(1);
        Some(Event::Send(bytes))
    }

    fn alarms(&mut self, room: &Room, now: Duration, events: &mut Vec<Event>) {
        let told = self.behind_told;
        let heard: Vec<_> = self.hosts.values().map(|host| self.heard_of(host)).collect();
        for ((id, host), heard) in self.hosts.iter_mut().zip(heard) {
            if let Some((epoch, since)) = host.ahead
                && since.saturating_add(PATIENCE) <= now
                && epoch > told
            {
                self.behind_told = self.behind_told.max(epoch);
                events.push(Event::Behind { host: *id, epoch });
            }
            let silent = now.saturating_sub(heard);
            if silent >= STALE_AFTER
                && *id != room.identity.id()
                && !mem::replace(&mut host.silent, true)
                && silent <= LATELY
                && !room.leaving.contains(id)
            {
                events.push(Event::HostSilent { host: *id });
            }
        }
    }

    /// Whether the room goes on where one cannot follow: a host has been ahead for [`LOST_AFTER`] and nothing that came
    /// helped, or at all if one `is_stuck`; or the relay shows two histories, and the other side is the one to follow.
    fn is_lost(&self, room: &Room, is_stuck: bool, now: Duration) -> bool {
        self.hosts.iter().any(|(id, host)| {
            let waited = host.ahead.is_some_and(|(_, since)| is_stuck || now >= since.saturating_add(LOST_AFTER));
            waited || host.split && self.leads(room, id, host.split_in, now)
        })
    }

    fn is_stale(&self, now: Duration, trusts_itself: bool) -> bool {
        let lost = |host: &Host| {
            host.split || host.ahead.is_some_and(|(_, since)| now >= since.saturating_add(STALE_AFTER - TICK))
        };
        if self.hosts.values().any(lost) {
            return true;
        }
        if trusts_itself {
            return false;
        }
        if self.strict {
            return self.fresh_until.is_none_or(|until| now.saturating_add(TICK) >= until);
        }
        now >= self.heard.saturating_add(STALE_AFTER)
    }

    fn next(&self, room: &Room, trusts_itself: bool) -> Option<Duration> {
        let hosts = self.hosts.values().flat_map(|host| {
            let silent = Some(self.heard_of(host).saturating_add(STALE_AFTER)).filter(|_| !host.silent);
            let behind = host.ahead.map(|(epoch, since)| {
                let patience = if epoch > self.behind_told { PATIENCE } else { STALE_AFTER - TICK };
                since.saturating_add(patience)
            });
            silent.into_iter().chain(behind.filter(|_| !self.stale))
        });
        let stale = match self.fresh_until {
            _ if self.stale || trusts_itself => None,
            Some(until) if self.strict => Some(until.saturating_sub(TICK)),
            _ => Some(self.heard.saturating_add(STALE_AFTER)),
        };
        let ask = self.doubt.due(spread(room) / 4);
        let due = [self.beat_due(room), self.ping_due(self.now, trusts_itself), ask, stale];
        hosts.chain(due.into_iter().flatten()).min()
    }
}

/// Whom a member may ask where the room is; a host asks another process of theirs, too.
fn hosts(room: &Room) -> Vec<MemberId> {
    let hosts = room.charter.standings().filter(|(_, standing)| standing.role == Role::Host);
    hosts.map(|(id, _)| *id).collect()
}

/// Those who ask for want of a key do not all ask at once.
fn spread(room: &Room) -> Duration {
    SPREAD * u32::from(room.identity.id().as_bytes()[0])
}

const fn flooded() -> Error {
    Error::Malformed { what: Item::Signal, why: "more came this second than anybody should send" }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Guest, Identity, Settings, Voice, room::group::DoorKeyPublic};

    const fn ms(milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds)
    }

    /// A host, and guests in one epoch with her, who have all ticked once.
    fn room(guests: &[(&str, Role)]) -> Vec<(Room, Voice)> {
        let (mut ana, mut voice) = Room::create(Identity::generate("ana").unwrap(), Settings::default()).unwrap();
        let guests: Vec<_> =
            guests.iter().map(|(name, role)| (Guest::new(Identity::generate(name).unwrap()).unwrap(), *role)).collect();
        let cards: Vec<_> = guests.iter().map(|(guest, role)| (guest.card().clone(), *role)).collect();
        let admission = ana.admit_all(&cards).unwrap();
        for event in ana.receive(&admission.commit, Duration::ZERO).unwrap() {
            event.tell(&mut voice).unwrap();
        }
        let guests = guests.into_iter().map(|(guest, _)| guest.enter(&admission.welcome).unwrap());
        let mut people: Vec<_> = std::iter::once((ana, voice)).chain(guests).collect();
        people.iter_mut().for_each(|(room, _)| drop(room.tick(Duration::ZERO)));
        people
    }

    /// What a member with a patched client can make: whatever they like, in anybody's name, under the epoch's key.
    fn forge(by: &Room, in_name: &Room, signal: &Signal) -> Vec<u8> {
        let wire = &beating(by).wire;
        if by.identity.id() == in_name.identity.id() {
            return wire.seal(&by.identity, signal).unwrap();
        }
        // The right signature is beyond them: this is over another room.
        let elsewhere = Wire::new(&[&by.id[..], &[0]].concat());
        wire.seal_word(elsewhere.word(&in_name.identity, signal, by.epoch).unwrap())
    }

    /// What anybody can make: it says an epoch, and opens for nobody.
    fn hint(epoch: u64) -> Vec<u8> {
        let mut signal = [&[2, 2, 0][..], &epoch.to_be_bytes()].concat();
        signal.resize(signal::LENGTH, 7);
        signal
    }

    /// The questions that go out after a hint came at `at`, by 1,600 ms later.
    fn asks(room: &mut Room, epoch: u64, at: Duration) -> Vec<Vec<u8>> {
        drop(room.receive(&hint(epoch), at));
        questions(room.tick(at + ms(1_600)))
    }

    fn questions(events: Vec<Event>) -> Vec<Vec<u8>> {
        let sent = events.into_iter().filter_map(|event| match event {
            Event::Send(bytes) => Some(bytes),
            _ => None,
        });
        sent.filter(|bytes| bytes[2] == 1).collect()
    }

    /// The answer to a question that is for `by`, who says what they like.
    fn answer(asked: &[u8], by: &Room, beat: Beat) -> Vec<u8> {
        let wire = Wire::new(&by.id);
        let question = wire.question(&by.identity, &asked[3..]).unwrap();
        wire.answer(&by.identity, &question, Beat { answers: vec![question.nonce], ..beat }).unwrap()
    }

    fn beat(room: &Room, sent: u64, answers: Vec<Nonce>) -> Signal {
        Signal::Beat(Beat { run: [9; 8], sent, epoch: room.epoch, transcript: room.transcript_hash(), answers })
    }

    fn beating(room: &Room) -> &Beating {
        room.heart.beating.as_ref().unwrap()
    }

    #[test]
    fn beats_and_pings_count_for_nothing_that_are_not_a_hosts_or_a_speakers_own() {
        let people = &mut room(&[("ben", Role::Speaker), ("mo", Role::Moderator), ("eve", Role::Listener)])[..];
        let [(ana, _), (ben, _), (mo, _), (eve, _)] = people else { unreachable!() };
        let asked = beating(ben).pings[0].0;
        let now = ms(500);
        // In the host's name by all others, in their own, and by the host of an epoch that is not.
        for by in [&*mo, &*eve] {
            let forged = forge(by, ana, &beat(by, 1, vec![asked]));
            assert!(matches!(ben.receive(&forged, now), Err(Error::Unauthentic { .. })));
            let own = forge(by, by, &beat(by, 1, vec![asked]));
            assert!(matches!(ben.receive(&own, now), Err(Error::Unauthentic { .. })));
        }
        assert!(beating(ben).hosts.is_empty() && beating(ben).stale);
        let Signal::Beat(good) = beat(ana, 1, vec![asked]) else { unreachable!() };
        for (epoch, transcript) in [(0, good.transcript), (0, [0; 32])] {
            let other = Signal::Beat(Beat { epoch, transcript, ..good.clone() });
            assert!(matches!(ben.receive(&forge(ana, ana, &other), now), Err(Error::Malformed { .. })));
            assert!(beating(ben).stale, "it was in that epoch, and not in this one");
        }
        // Pings: in another's name, by a listener, to one who is no host.
        let ping = Signal::Ping([5; 8]);
        assert!(matches!(ana.receive(&forge(eve, ben, &ping), now), Err(Error::Unauthentic { .. })));
        assert!(ana.receive(&forge(eve, eve, &ping), now).unwrap().is_empty());
        assert!(mo.receive(&forge(ben, ben, &ping), now).unwrap().is_empty());
        assert!(beating(ana).asked.is_empty() && beating(mo).asked.is_empty());
        // One that asks well is answered at once, and twice within a second it is not.
        let answer = ana.receive(&forge(ben, ben, &ping), now).unwrap();
        let [Event::Send(answer)] = &answer[..] else { panic!("{answer:?}") };
        let Ok(Read::Opened(opened)) = beating(ana).wire.read(answer, ana.epoch) else { panic!() };
        assert!(matches!(opened.signal, Signal::Beat(beat) if beat.answers == [[5; 8]]));
        assert!(ana.receive(&forge(ben, ben, &Signal::Ping([6; 8])), ms(1499)).unwrap().is_empty());
        assert_eq!(ana.receive(&forge(ben, ben, &Signal::Ping([7; 8])), ms(1500)).unwrap().len(), 1);
        // And the true beat of this epoch, answering, is what lets Ben speak.
        let events = ben.receive(&forge(ana, ana, &beat(ana, 2, vec![asked])), now).unwrap();
        assert!(matches!(events[..], [Event::Fresh]), "{events:?}");
    }

    #[test]
    fn another_process_of_ones_own_is_known_by_its_beats_and_not_by_ones_own_sent_back() {
        let people = &mut room(&[("ben", Role::Speaker)])[..];
        let [(ana, _), (ben, _)] = people else { unreachable!() };
        let Signal::Beat(known) = beat(ana, 1, Vec::new()) else { unreachable!() };
        let ahead = Beat { epoch: 9, transcript: [1; 32], ..known.clone() };
        let astray = Signal::Beat(Beat { transcript: [1; 32], ..known.clone() });
        // What an earlier process sent, and what Ben makes up in her name.
        for message in [forge(ana, ana, &Signal::Beat(known.clone())), forge(ben, ana, &astray)] {
            assert!(ana.receive(&message, ms(10)).unwrap().is_empty());
            assert!(beating(ana).hosts.is_empty());
        }
        let asked = asks(ana, 9, ms(20));
        assert_eq!(asked.len(), 1);
        // Her own question sent back, which she does not answer, and Ben's answer in her place.
        assert!(ana.receive(&asked[0], ms(1_700)).unwrap().is_empty());
        let (sealed, nonce) = (answer(&asked[0], ana, ahead.clone()), beating(ana).doubt.asked_first().nonce);
        let wire = Wire::new(&ana.id);
        let (made_up, _) = wire.ask(&ben.identity, ben.identity.id(), ms(0)).unwrap();
        let made_up = wire.question(&ben.identity, &made_up[3..]).unwrap();
        let made_up = wire.answer(&ben.identity, &made_up, Beat { answers: vec![nonce], ..ahead.clone() }).unwrap();
        let made_up = [&sealed[..11], &made_up[11..]].concat();
        assert!(matches!(ana.receive(&made_up, ms(1_700)), Err(Error::Unauthentic { .. })));
        // The same place tells nothing; another, that the room goes on there.
        let again = answer(&asked[0], ana, known);
        let people = &mut room(&[("ben", Role::Speaker)])[..];
        let [(other, _), _] = people else { unreachable!() };
        assert!(other.receive(&again, ms(1_700)).unwrap().is_empty(), "it is not for her");
        assert!(beating(ana).hosts.is_empty());
        ana.receive(&sealed, ms(1_700)).unwrap();
        let told = ana.tick(ms(2_100));
        let me = ana.identity.id();
        assert!(told.iter().any(|event| matches!(event, Event::Behind { host, epoch: 9 } if *host == me)), "{told:?}");
        assert!(!ana.come_back_due(ms(4_000)) && ana.come_back_due(ms(5_100)));
        // In her own epoch by another way: of two that are alone the later run goes on.
        for (run, follow) in [([0; 8], false), ([255; 8], true)] {
            let people = &mut room(&[("ben", Role::Speaker)])[..];
            let [(ana, _), _] = people else { unreachable!() };
            let Signal::Beat(own) = beat(ana, 1, Vec::new()) else { unreachable!() };
            let asked = asks(ana, ana.epoch, ms(10));
            let own = answer(&asked[0], ana, Beat { run, transcript: [1; 32], ..own });
            let events = ana.receive(&own, ms(1_700)).unwrap();
            let split = events.iter().find_map(|event| match event {
                Event::SplitView { follow, .. } => Some(*follow),
                _ => None,
            });
            assert_eq!((split, ana.come_back_due(ms(1_700))), (Some(follow), follow));
        }
    }

    #[test]
    fn a_flood_of_signals_costs_so_many_signatures_and_no_memory() {
        let people = &mut room(&[("ben", Role::Speaker), ("eve", Role::Listener)])[..];
        let [(ana, _), (ben, _), (eve, _)] = people else { unreachable!() };
        let forged = forge(eve, ana, &beat(eve, 1, Vec::new()));
        let mut junk = forged.clone();
        junk[40] ^= 1;
        let mut over = 0;
        for n in 0..100_000_u64 {
            let (now, signal) = (Duration::from_micros(n * 100), if n % 2 == 0 { &forged } else { &junk });
            for _ in 0..2 {
                let made = ben.receive(signal, now);
                over += u32::from(matches!(made, Err(Error::Malformed { .. })));
                assert!(made.is_err());
            }
        }
        // Of 10,000 a second 2,000 were verified, for he hurries, and a second's worth at once.
        assert!((77_900..=78_100).contains(&over), "{over}");
        let now = Duration::from_secs(20);
        // A host's own signature buys no memory either, nor a member's pings.
        for n in 0..2_000_u64 {
            let now = now + ms(10 * n);
            let transcript = [n as u8; 32];
            let host = Beat { run: n.to_be_bytes(), sent: n, epoch: ben.epoch, transcript, answers: Vec::new() };
            ben.receive(&forge(ana, ana, &Signal::Beat(host)), now).unwrap();
            ana.receive(&forge(ben, ben, &Signal::Ping(n.to_be_bytes())), now).unwrap();
            // What opens for nobody buys none either.
            ben.receive(&hint(2 + n % 2), now).unwrap();
            ben.tick(now);
        }
        assert_eq!(beating(ben).early.len(), MAX_EARLY);
        assert!(beating(ben).doubt.size() <= 10, "{}", beating(ben).doubt.size());
        assert_eq!((beating(ben).hosts.len(), beating(ana).asked.len()), (1, 1));
        assert!(beating(ben).pings.len() <= MAX_PINGS && beating(ben).history.len() == 1);
    }

    #[test]
    fn a_host_answers_each_member_once_a_second_and_nobody_else() {
        let people = &mut room(&[("ben", Role::Speaker), ("hal", Role::Host), ("eve", Role::Listener)])[..];
        let [(ana, _), (ben, _), (hal, _), (eve, _)] = people else { unreachable!() };
        let (now, wire) = (ms(10), Wire::new(&ana.id));
        let answers = |events: Vec<Event>| {
            events.iter().filter(|event| matches!(event, Event::Send(bytes) if bytes[2] == 2)).count()
        };
        let asks = |by: &Identity, to: &Room| wire.ask(by, to.identity.id(), now).unwrap();
        // A listener too; the answer is a beat, and of the length of all signals.
        let (asked, ask) = asks(&eve.identity, ana);
        let sent = ana.receive(&asked, now).unwrap();
        let [Event::Send(sent)] = &sent[..] else { panic!("{sent:?}") };
        assert_eq!((sent.len(), asked.len()), (signal::LENGTH, signal::LENGTH));
        let beat = wire.answered(&ask, &sent[11..], 1).unwrap();
        assert_eq!((beat.epoch, beat.transcript, beat.answers), (1, ana.transcript_hash(), vec![ask.nonce]));
        // Twice within a second, for another host, to no host, by somebody outside, and in another's name.
        assert!(ana.receive(&asks(&eve.identity, ana).0, ms(1_009)).unwrap().is_empty());
        assert_eq!(ana.receive(&asks(&eve.identity, ana).0, ms(1_010)).unwrap().len(), 1);
        let later = ms(1_020);
        assert!(ana.receive(&asks(&ben.identity, hal).0, later).unwrap().is_empty());
        assert_eq!(answers(ben.receive(&asks(&eve.identity, ben).0, later).unwrap()), 0);
        let zoe = Identity::generate("zoe").unwrap();
        assert!(matches!(ana.receive(&asks(&zoe, ana).0, later), Err(Error::Unauthentic { .. })));
        let elsewhere = Wire::new(b"elsewhere");
        let (asked, _) = elsewhere.ask(&ben.identity, ana.identity.id(), later).unwrap();
        assert!(ana.receive(&asked, later).unwrap().is_empty());
        let mut in_his_name = [ben.identity.id().as_bytes(), &[1; 32][..], &[9; 72]].concat();
        in_his_name.resize(418, 0);
        let (key, header) = (DoorKeyPublic::of(&ana.identity.id()).unwrap(), [2, 2, 1]);
        let sealed = key.seal(&in_his_name, &wire.purpose(b"parlor signal to a host 2"), &header).unwrap();
        let forged = ana.receive(&[&header[..], &sealed].concat(), later);
        assert!(matches!(&forged, Err(error) if error.to_string().contains("has not signed it")), "{forged:?}");
        assert!(beating(ana).answered.len() == 1);
        // A flood of what no host can open is dropped unread, and so is what is among it.
        let junk = [&[2, 2, 1][..], &[9; signal::LENGTH - 3]].concat();
        let read = (0..1_000).filter(|_| ana.receive(&junk, ms(5_000)).is_ok()).count() as u64;
        assert_eq!(read, Budget::A_SECOND);
        assert!(matches!(ana.receive(&asks(&ben.identity, ana).0, ms(5_000)), Err(Error::Malformed { .. })));
        assert_eq!(ana.receive(&asks(&ben.identity, ana).0, ms(5_100)).unwrap().len(), 1);
    }

    #[test]
    fn what_overtook_its_commit_is_heard_when_that_comes() {
        let people = &mut room(&[("ben", Role::Speaker)])[..];
        let [(ana, _), (ben, _)] = people else { unreachable!() };
        let (now, commit) = (ms(10), ben.refresh().unwrap());
        ben.receive(&commit, now).unwrap();
        let ping = forge(ben, ben, &Signal::Ping([5; 8]));
        assert!(ana.receive(&ping, now).unwrap().is_empty());
        ana.receive(&hint(3), now).unwrap();
        let events = ana.receive(&commit, ms(300)).unwrap();
        let sent = events.iter().find_map(|event| match event {
            Event::Send(bytes) => Some(bytes),
            _ => None,
        });
        let Ok(Read::Opened(opened)) = beating(ana).wire.read(sent.unwrap(), 2) else { panic!() };
        assert!(matches!(opened.signal, Signal::Beat(beat) if beat.answers == [[5; 8]]));
        assert!(beating(ana).early.is_empty());
    }

    #[test]
    fn who_is_out_is_forgotten_and_few_epochs_are_kept() {
        let people = &mut room(&[("ben", Role::Speaker), ("hal", Role::Host)])[..];
        let [(ana, _), (ben, _), (hal, _)] = people else { unreachable!() };
        let now = ms(10);
        ana.receive(&forge(hal, hal, &beat(hal, 1, Vec::new())), now).unwrap();
        ana.receive(&forge(ben, ben, &Signal::Ping([1; 8])), now).unwrap();
        let (asked, _) = Wire::new(&ana.id).ask(&ben.identity, ana.identity.id(), now).unwrap();
        ana.receive(&asked, now).unwrap();
        assert_eq!((beating(ana).hosts.len(), beating(ana).asked.len(), beating(ana).answered.len()), (1, 1, 1));
        let gone = [ben.identity.id(), hal.identity.id()];
        let commit = ana.remove_all(&gone).unwrap();
        ana.receive(&commit, now).unwrap();
        assert_eq!((beating(ana).hosts.len(), beating(ana).asked.len(), beating(ana).answered.len()), (0, 0, 0));
        for _ in 0..100 {
            let commit = ana.refresh().unwrap();
            ana.receive(&commit, now).unwrap();
        }
        assert_eq!(beating(ana).history.len(), HISTORY);
        let commit = ana.end().unwrap();
        ana.receive(&commit, now).unwrap();
        assert!(ana.heart.beating.is_none());
    }
}
