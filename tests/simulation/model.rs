//! The reference model: what a room is, said a second time and simply, and what may never happen in one.
//!
//! It sees no key and no byte of MLS. It learns who wanted what, who came into which epoch by which commit, which
//! frame was sealed and which was opened, and says whether that is so as it should be.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet, hash_map},
    fmt,
    time::Duration,
};

use parlor::{
    Heard, KeyIdLayout, LeafIndex, MemberId, Role, Room, RoomCode, Settings,
    media::{Suite, sframe::Header},
    room::{
        Entry, Intent, MessageId, Speaking,
        door::{LinkEntry, LinkId},
    },
};

/// From then on nobody speaks without a host's word.
pub const STALE_AFTER: Duration = Duration::from_secs(15);

/// How long past epochs are heard.
const PREVIOUS_EPOCH: Duration = Duration::from_secs(2);

/// What is to hold in every history.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Rule {
    /// An opened frame is what its speaker sealed, in an epoch in which both were in the room and the speaker on stage.
    Authentic,
    /// Who is not in an epoch opens nothing of it.
    Outsider,
    /// A key seals under a counter once.
    Nonce,
    /// A packet opens once at one member.
    Replay,
    /// Old keys go when they should.
    Past,
    /// Nobody speaks in an epoch that no host has been in for 15 s, so who was put out of it hears no more.
    Stale,
    /// Members of one epoch agree on everything, as the model says; there is one epoch of a number, unless the relay
    /// put concurrent commits into two orders.
    Agreement,
    /// Nothing but a commit of one's epoch moves a room, by one epoch at a time.
    Forward,
    /// After every allowed commit a fresh guest can enter and hears. Who comes by a link comes by a good one, and whoever
    /// has a good one has an answer in the end.
    Door,
    /// Who does nothing wrong is not accused, refused or kept from speaking.
    Honest,
    /// Once the relay is honest everybody soon agrees, and hears everybody on stage.
    Quiet,
    /// No panic, and no error that says it is a bug.
    Sound,
}

/// A rule was broken.
#[derive(Clone, Debug)]
pub struct Broken {
    pub rule: Rule,
    pub how: String,
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.rule, self.how)
    }
}

pub type Held<T = ()> = Result<T, Broken>;

/// Breaks `rule` unless `holds`.
pub fn hold(rule: Rule, holds: bool, how: impl FnOnce() -> String) -> Held {
    if holds { Ok(()) } else { broken(rule, how()) }
}

pub fn broken<T>(rule: Rule, how: impl Into<String>) -> Held<T> {
    Err(Broken { rule, how: how.into() })
}

/// What the charter says of a member.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
struct Standing {
    role: Role,
    since: u64,
    muted_by: Option<MemberId>,
    leaving: bool,
}

/// What all members of an epoch agree on.
#[derive(Clone, Debug)]
pub struct Epoch {
    pub number: u64,
    members: BTreeMap<MemberId, Standing>,
    banned: BTreeSet<MemberId>,
    links: BTreeMap<LinkId, LinkEntry>,
    settings: Settings,
    /// Learned from the first who came in.
    code: RoomCode,
    leaves: BTreeMap<MemberId, LeafIndex>,
    /// The commits that somebody followed out of it, and whether all who did may be lost.
    next: BTreeMap<usize, bool>,
    /// The commit by which who is there came in, or back, last.
    seats: BTreeMap<MemberId, usize>,
    /// The one it came out of.
    parent: Option<usize>,
    /// When a host of it was last in it.
    host_seen: Option<Duration>,
}

impl Epoch {
    pub fn has(&self, id: &MemberId) -> bool {
        self.members.contains_key(id)
    }

    pub fn members(&self) -> impl Iterator<Item = &MemberId> {
        self.members.keys()
    }

    pub fn is_leaving(&self, id: &MemberId) -> bool {
        self.members.get(id).is_some_and(|member| member.leaving)
    }

    /// Whether `id` is a host of it.
    pub fn is_host(&self, id: &MemberId) -> bool {
        self.members.get(id).is_some_and(|member| member.role == Role::Host)
    }

    /// Whether `id` is a host or a moderator of it: they let in.
    pub fn is_in_charge(&self, id: &MemberId) -> bool {
        self.in_charge(id).is_some()
    }

    /// Whether `by` may bring `id` back by a card of theirs alone.
    pub fn may_bring_back(&self, by: &MemberId, id: &MemberId) -> bool {
        let role = |id| self.members.get(id).copied().unwrap_or_default().role;
        role(by) == Role::Host || role(by) == Role::Moderator && role(id) < Role::Moderator
    }

    pub fn link(&self, id: &LinkId) -> Option<&LinkEntry> {
        self.links.get(id)
    }

    /// The commit by which `id` came in, or back, last.
    pub fn seat(&self, id: &MemberId) -> Option<usize> {
        self.seats.get(id).copied()
    }

    /// Whether `id` is a host or a moderator of it, and by which commit they came.
    fn in_charge(&self, id: &MemberId) -> Option<(usize, Role)> {
        let member = self.members.get(id).filter(|member| member.role >= Role::Moderator)?;
        Some((self.seat(id).unwrap_or_default(), member.role))
    }

    /// Who of `old` can be asked to bring `id` back, and may, being here and where they were: but for `id`.
    pub fn has_healer(&self, old: &Self, id: &MemberId, is_here: impl Fn(&MemberId) -> bool) -> bool {
        let theirs = self.members.get(id).copied().unwrap_or_default().role;
        self.members.keys().filter(|other| *other != id && is_here(other)).any(|other| {
            let (then, now) = (old.in_charge(other), self.in_charge(other));
            now.is_some_and(|(seat, role)| {
                then.is_some_and(|(then, _)| then == seat) && (role == Role::Host || theirs < Role::Moderator)
            })
        })
    }

    /// Who may speak, and where they sit.
    pub fn on_stage(&self) -> impl Iterator<Item = (LeafIndex, MemberId)> {
        self.leaves.iter().filter(|(id, _)| self.hears(id)).map(|(id, leaf)| (*leaf, *id))
    }

    pub fn suite(&self) -> Suite {
        self.settings.suite()
    }

    fn with_role(&self, role: Role) -> impl Iterator<Item = (&MemberId, &Standing)> {
        self.members.iter().filter(move |(_, member)| member.role == role)
    }

    pub fn has_host(&self) -> bool {
        self.with_role(Role::Host).next().is_some()
    }

    /// Whether frames of `id` are sealed and played.
    pub fn hears(&self, id: &MemberId) -> bool {
        let Some(member) = self.members.get(id) else { return false };
        let everybody = self.settings.speaking() == Speaking::Everybody && !member.leaving;
        self.has_host() && member.muted_by.is_none() && (member.role.on_stage() || everybody)
    }

    /// Whether `by` may want `intent` at all: a rule of thumb, coarser than the policy and apart from it.
    fn allows(&self, by: &MemberId, intent: &Intent) -> bool {
        let Some(me) = self.members.get(by) else { return false };
        let lets_go = |id: &MemberId| !self.has_host() && self.is_leaving(id);
        me.role >= Role::Moderator && !matches!(intent, Intent::IssueLink(_) if me.role != Role::Host)
            || match intent {
                Intent::Refresh | Intent::Leave => true,
                Intent::SetRole(id, role) => id == by && *role < me.role,
                Intent::Remove(members) => members.iter().all(lets_go),
                Intent::BringBack(card) => {
                    let in_charge = self.members.iter().filter(|(_, member)| member.role >= Role::Moderator);
                    self.is_host(&card.id()) && in_charge.count() == 1
                }
                _ => false,
            }
    }

    /// The epoch that `intent` of `by` leads to.
    fn after(&self, Commit { by, intent, opened, .. }: &Commit) -> Self {
        let mut after = Self {
            number: self.number + 1,
            leaves: BTreeMap::new(),
            next: BTreeMap::new(),
            host_seen: None,
            ..self.clone()
        };
        let since = |role| if role == Role::Listener { 0 } else { after.number };
        let mut set_role = |id: &MemberId, role| {
            let member = after.members.entry(*id).or_default();
            (member.role, member.since) = (role, since(role));
        };
        match intent {
            Intent::Admit(cards) => cards.iter().for_each(|(card, role)| set_role(&card.id(), *role)),
            Intent::OpenDoor => {
                for (id, link) in &opened.joined {
                    set_role(id, link.and_then(|link| self.link(&link)).map_or(Role::Listener, |link| link.terms.role));
                }
                after.links.retain(|id, _| !opened.ended.contains(id));
            }
            Intent::IssueLink(link) => _ = after.links.insert(link.id, *link),
            Intent::RevokeLink(link) => _ = after.links.remove(link),
            Intent::SetRole(id, role) => set_role(id, *role),
            Intent::HandOver(id) => {
                if self.members.get(id).is_some_and(|member| member.role != Role::Host) {
                    set_role(id, Role::Host);
                }
                set_role(by, Role::Moderator);
            }
            Intent::Remove(members) => after.members.retain(|id, _| !members.contains(id)),
            Intent::Ban(people) => {
                after.members.retain(|id, _| !people.contains(id));
                after.banned.extend(people);
            }
            Intent::LiftBan(id) => {
                after.banned.remove(id);
            }
            Intent::Mute(id) => after.mute(id, Some(*by)),
            Intent::LiftMute(id) => after.mute(id, None),
            Intent::Set(settings) => {
                for setting in settings {
                    after.settings = after.settings.with(setting.clone()).expect("a setting within its bounds");
                }
            }
            Intent::Leave => {
                if let Some(member) = after.members.get_mut(by) {
                    *member = Standing { leaving: true, muted_by: member.muted_by, ..Standing::default() };
                }
                let eldest = after.with_role(Role::Moderator).min_by_key(|(id, member)| (member.since, **id));
                if let Some(heir) = eldest.map(|(id, _)| *id).filter(|_| !after.has_host()) {
                    let heir = after.members.get_mut(&heir).expect("just found");
                    (heir.role, heir.since) = (Role::Host, after.number);
                }
            }
            _ => {}
        }
        // A link goes with the office of who issued it, and with the way in.
        let carries = |link: &LinkEntry| after.settings.entry() != Entry::Invited && after.is_host(&link.issuer);
        let links = after.links.iter().filter(|(_, link)| carries(link)).map(|(id, link)| (*id, *link)).collect();
        after.links = links;
        after
    }

    fn mute(&mut self, id: &MemberId, by: Option<MemberId>) {
        if let Some(member) = self.members.get_mut(id) {
            member.muted_by = by;
        }
    }

    /// Whether `room` is as this epoch is; the first who comes tells its code and leaves.
    fn agrees(&mut self, name: &str, room: &Room) -> Held {
        let leaves: BTreeMap<_, _> = room.roster().map(|member| (member.id, member.leaf)).collect();
        if self.leaves.is_empty() {
            (self.code, self.leaves) = (room.code(), leaves.clone());
        }
        let seen: BTreeMap<_, _> = room.roster().map(|member| (member.id, (member.role, member.muted_by))).collect();
        let said: BTreeMap<_, _> =
            self.members.iter().map(|(id, member)| (*id, (member.role, member.muted_by))).collect();
        let differs = |what: &str, seen: &dyn fmt::Debug, said: &dyn fmt::Debug| {
            broken(Rule::Agreement, format!("{name} in epoch {}: {what} is {seen:?}, not {said:?}", self.number))
        };
        let banned: BTreeSet<_> = room.banned().copied().collect();
        let links: BTreeMap<_, _> = room.links().map(|link| (link.id, *link)).collect();
        match () {
            () if room.epoch() != self.number => differs("the epoch", &room.epoch(), &self.number),
            () if seen != said => differs("the roster", &seen, &said),
            () if *room.settings() != self.settings => differs("the settings", room.settings(), &self.settings),
            () if banned != self.banned => differs("who is banned", &banned, &self.banned),
            () if links != self.links => differs("the links", &links, &self.links),
            () if room.is_listen_only() == self.has_host() => differs("listen-only", &room.is_listen_only(), &"else"),
            () if room.code() != self.code => differs("the code", &room.code(), &self.code),
            () if leaves != self.leaves => differs("who sits where", &leaves, &self.leaves),
            () => Ok(()),
        }
    }
}

/// A frame that somebody sealed.
struct Frame {
    speaker: MemberId,
    epoch: usize,
    counter: u64,
    at: Duration,
}

/// Who opens, and what they know of themselves.
pub struct Listener<'a> {
    pub name: &'a str,
    pub id: MemberId,
    /// Where they are, by the model's count.
    pub epoch: usize,
    /// Where they were, and when they left it, by their clock.
    pub past: &'a [(usize, Duration)],
    pub now: Duration,
    /// Whether they are out, and only try.
    pub is_out: bool,
}

/// What somebody says beside the voice, but in writing.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Said {
    /// Of their hand and microphone: each word of these shows one hand up or down at most.
    Stance,
    Invite,
    Answer,
    /// To somebody: the steps of a short code.
    Code,
    Leave,
    /// Each has a text of its own.
    Reaction(String),
}

/// A commit on its way.
#[derive(Clone, Debug)]
pub struct Commit {
    /// The epoch it was made in, by the model's count.
    pub of: usize,
    pub by: MemberId,
    pub intent: Intent,
    /// Whom it lets in by the door.
    pub opened: Opened,
}

impl Commit {
    pub fn new(of: usize, by: MemberId, intent: Intent) -> Self {
        Self { of, by, intent, opened: Opened::default() }
    }
}

/// What a commit of the door does.
#[derive(Clone, Debug, Default)]
pub struct Opened {
    /// By which link.
    pub joined: Vec<(MemberId, Option<LinkId>)>,
    /// Members who had lost what they had.
    pub back: Vec<MemberId>,
    pub ended: Vec<LinkId>,
}

impl Opened {
    pub fn lets_in(&self, id: &MemberId) -> bool {
        self.all().any(|other| other == id)
    }

    fn all(&self) -> impl Iterator<Item = &MemberId> {
        self.joined.iter().map(|(id, _)| id).chain(&self.back)
    }

    /// Whether `epoch` lets in so, as far as it can know.
    fn may_be(&self, epoch: &Epoch, knocked: &HashSet<(MemberId, LinkId)>) -> bool {
        let one_shot = |link: &LinkId| epoch.link(link).is_some_and(|link| link.terms.one_shot);
        let by = |link: &LinkId| self.joined.iter().filter(|(_, by)| *by == Some(*link)).count();
        let is_good = |(id, link): &(MemberId, Option<LinkId>)| {
            let Some(link) = link.filter(|link| epoch.link(link).is_some()) else { return false };
            let is_one = !one_shot(&link) || by(&link) == 1 && self.ended.contains(&link);
            is_one && knocked.contains(&(*id, link)) && !epoch.banned.contains(id) && !epoch.has(id)
        };
        let fits = epoch.members.len() + self.joined.len() <= epoch.settings.capacity();
        self.joined.iter().all(is_good)
            && (self.joined.is_empty() || fits && !epoch.settings.locked())
            && self.back.iter().all(|id| epoch.has(id))
            && self.ended.iter().all(one_shot)
    }
}

pub struct Model {
    layout: KeyIdLayout,
    epochs: Vec<Epoch>,
    /// The epoch that each commit leads to.
    led_to: HashMap<usize, usize>,
    frames: Vec<Frame>,
    /// What was said in writing.
    lines: HashMap<MessageId, String>,
    /// Who has knocked, by which link.
    pub knocked: HashSet<(MemberId, LinkId)>,
    /// How often somebody has said what, but in writing.
    said: HashMap<(MemberId, Said), u64>,
    /// Every key and counter that sealed, and what came of it.
    used: HashMap<(RoomCode, u64, u64), Vec<u8>>,
    /// Who was put out of which epoch, into which one that led, and when the member had that done who did it.
    removals: Vec<(MemberId, usize, usize, Duration)>,
    /// When anybody's app was told that something is wrong.
    pub alarms: Vec<Duration>,
    pub forks: u64,
    /// Whether the relay has kept signals and brought them later.
    pub is_queued: bool,
}

impl Model {
    /// A room with its host alone.
    pub fn new(room: &Room) -> Self {
        let me = room.me().expect("a host");
        let host = Standing { role: Role::Host, ..Standing::default() };
        let first = Epoch {
            number: 0,
            members: BTreeMap::from([(me.id, host)]),
            banned: BTreeSet::new(),
            links: BTreeMap::new(),
            settings: room.settings().clone(),
            code: room.code(),
            leaves: BTreeMap::new(),
            next: BTreeMap::new(),
            seats: BTreeMap::new(),
            parent: None,
            host_seen: None,
        };
        Self {
            layout: room.settings().layout(),
            epochs: vec![first],
            led_to: HashMap::new(),
            frames: Vec::new(),
            lines: HashMap::new(),
            knocked: HashSet::new(),
            said: HashMap::new(),
            used: HashMap::new(),
            removals: Vec::new(),
            alarms: Vec::new(),
            forks: 0,
            is_queued: false,
        }
    }

    /// How many epochs there were.
    pub fn epochs(&self) -> usize {
        self.epochs.len()
    }

    /// Whether somebody is banned in any epoch.
    pub fn was_ever_banned(&self, id: &MemberId) -> bool {
        self.epochs.iter().any(|epoch| epoch.banned.contains(id))
    }

    /// The epoch of that code, if somebody was there.
    pub fn epoch_of(&self, code: RoomCode) -> Option<usize> {
        self.epochs.iter().position(|epoch| epoch.code == code && !epoch.leaves.is_empty())
    }

    pub fn epoch(&self, at: usize) -> &Epoch {
        &self.epochs[at]
    }

    /// Whether `commit` may be made.
    pub fn commits(&self, commit: &Commit) -> Held {
        hold(Rule::Agreement, self.epochs[commit.of].allows(&commit.by, &commit.intent), || {
            format!("{} of {} was made, which they may not want", intent_name(&commit.intent), commit.by)
        })?;
        let epoch = &self.epochs[commit.of];
        let lets_in_banned = match &commit.intent {
            Intent::Admit(cards) => cards.iter().any(|(card, _)| epoch.banned.contains(&card.id())),
            _ => false,
        };
        hold(Rule::Door, !lets_in_banned, || format!("{} lets in somebody banned", commit.by))?;
        hold(Rule::Door, commit.opened.may_be(epoch, &self.knocked), || {
            format!("{} opens the door so: {:?}; there are the links {:?}", commit.by, commit.opened, epoch.links)
        })
    }

    /// Somebody follows `commit`, out of its epoch. Two commits out of one epoch are a fork; who may be lost can go
    /// another way by themselves.
    pub fn follows(&mut self, message: usize, commit: &Commit, relay_may_fork: bool, may_be_lost: bool) -> Held {
        let from = &mut self.epochs[commit.of];
        *from.next.entry(message).or_insert(may_be_lost) &= may_be_lost;
        let ways = from.next.values().filter(|lost| !**lost).count();
        self.forks += u64::from(from.next.len() > 1);
        hold(Rule::Agreement, relay_may_fork || ways < 2, || {
            format!("epoch {} went on in two ways, and the relay had one order", self.epochs[commit.of].number)
        })
    }

    /// Somebody comes into the epoch that `commit` leads to.
    pub fn enters(&mut self, name: &str, room: &Room, message: usize, commit: &Commit) -> Held<usize> {
        let to = match self.led_to.entry(message) {
            hash_map::Entry::Occupied(known) => *known.get(),
            hash_map::Entry::Vacant(unknown) => {
                let after = self.epochs[commit.of].after(commit);
                let mut after = Epoch { parent: Some(commit.of), ..after };
                match &commit.intent {
                    Intent::Admit(cards) => after.seats.extend(cards.iter().map(|(card, _)| (card.id(), message))),
                    Intent::BringBack(card) => _ = after.seats.insert(card.id(), message),
                    Intent::OpenDoor => after.seats.extend(commit.opened.all().map(|id| (*id, message))),
                    _ => {}
                }
                self.epochs.push(after);
                *unknown.insert(self.epochs.len() - 1)
            }
        };
        self.epochs[to].agrees(name, room)?;
        Ok(to)
    }

    /// Whether `room` is as its epoch is.
    pub fn agrees(&mut self, name: &str, room: &Room, epoch: usize) -> Held {
        self.epochs[epoch].agrees(name, room)
    }

    /// Which epoch the commit led to, if anybody has followed it.
    pub fn led_to(&self, message: usize) -> Option<usize> {
        self.led_to.get(&message).copied()
    }

    /// Whether the commit is one of those that led to that epoch.
    pub fn is_behind(&self, message: usize, epoch: usize) -> bool {
        let led_to = self.led_to(message);
        std::iter::successors(Some(epoch), |at| self.epochs[*at].parent).any(|at| Some(at) == led_to)
    }

    /// A host of that epoch was in it at `now`.
    pub fn host_was_in(&mut self, epoch: usize, now: Duration) {
        self.epochs[epoch].host_seen = Some(now);
    }

    /// Whether somebody may speak in that epoch: a host has been in it lately, or in one that it came out of.
    pub fn is_vouched(&self, epoch: usize, now: Duration) -> bool {
        let chain = std::iter::successors(Some(epoch), |at| self.epochs[*at].parent);
        let mut seen = chain.map(|at| self.epochs[at].host_seen);
        self.epochs[epoch].members.len() == 1 || seen.any(|seen| seen.is_some_and(|seen| now <= seen + STALE_AFTER))
    }

    /// The commit has put somebody out, as far as its maker knows.
    pub fn puts_out(&mut self, commit: &Commit, to: usize, now: Duration) {
        let (Intent::Remove(people) | Intent::Ban(people)) = &commit.intent else { return };
        self.removals.extend(people.iter().map(|id| (*id, commit.of, to, now)));
    }

    /// What the next frame is to say.
    pub fn next_frame(&self) -> Vec<u8> {
        content(self.frames.len())
    }

    /// `speaker` sealed the next frame.
    pub fn seals(
        &mut self,
        name: &str,
        speaker: MemberId,
        epoch: usize,
        leaf: LeafIndex,
        packet: &[u8],
        at: Duration,
    ) -> Held {
        let Epoch { number, .. } = self.epochs[epoch];
        let (header, _) = Header::decode(packet).expect("an honest header");
        let kid = self.layout.key_id(0, leaf, number).expect("an honest leaf");
        hold(Rule::Forward, header.kid == kid, || {
            format!("{name} sealed under key id {:#x}, not under {kid:#x} of their room's epoch {number}", header.kid)
        })?;
        hold(Rule::Authentic, self.epochs[epoch].hears(&speaker), || {
            format!("{name} sealed in epoch {number}, where they are not on stage")
        })?;
        self.frames.push(Frame { speaker, epoch, counter: header.counter, at });
        self.spends(name, epoch, packet)
    }

    /// A key and a counter made `packet`, and nothing before.
    fn spends(&mut self, name: &str, epoch: usize, packet: &[u8]) -> Held {
        let Epoch { code, number, .. } = self.epochs[epoch];
        let (Header { kid, counter }, _) = Header::decode(packet).expect("an honest header");
        match self.used.entry((code, kid, counter)) {
            hash_map::Entry::Vacant(unused) => {
                unused.insert(packet.to_vec());
                Ok(())
            }
            hash_map::Entry::Occupied(_) => broken(
                Rule::Nonce,
                format!("{name} sealed twice under key id {kid:#x} and counter {counter} of epoch {number}"),
            ),
        }
    }

    /// `from` sent a seal: of their epoch, or of one that they were in. If there are several whose bits a packet tells
    /// are the same, it is of the one that it fits.
    pub fn sends_seal(&mut self, from: &Listener<'_>, packet: &[u8]) -> Held {
        let (Header { kid, counter }, _) = Header::decode(packet).expect("an honest header");
        let (_, _, bits) = self.layout.split(kid);
        let mask = (1 << self.layout.epoch_bits()) - 1;
        let all = std::iter::once(from.epoch).chain(from.past.iter().rev().map(|(epoch, _)| *epoch));
        let theirs: Vec<usize> = all.filter(|epoch| self.epochs[*epoch].number & mask == bits).collect();
        let before = |epoch: &usize| self.used.get(&(self.epochs[*epoch].code, kid, counter));
        let is_second = theirs.iter().filter_map(before).any(|sent| sent == packet);
        let unused = theirs.iter().find(|epoch| before(epoch).is_none());
        match unused.or(theirs.first()).copied() {
            _ if is_second => Ok(()),
            Some(epoch) => self.spends(from.name, epoch, packet),
            None => broken(Rule::Forward, format!("{} made a seal of an epoch they were not in", from.name)),
        }
    }

    /// `by` opened a frame, for the first time if it is not among those they have `heard`.
    pub fn opens(&self, by: &Listener<'_>, heard: &mut HashSet<usize>, opened: &Heard<Vec<u8>>) -> Held {
        let name = by.name;
        let index = opened.frame.first_chunk().map(|index| u64::from_be_bytes(*index) as usize);
        let Some((index, frame)) = index.and_then(|index| Some((index, self.frames.get(index)?))) else {
            return broken(Rule::Authentic, format!("{name} opened what nobody sealed: {opened:?}"));
        };
        let epoch = &self.epochs[frame.epoch];
        hold(Rule::Outsider, epoch.has(&by.id), || {
            format!("{name} opened a frame of epoch {}, in which they are not", epoch.number)
        })?;
        let said = (frame.speaker, epoch.number, frame.counter, content(index));
        let seen = (opened.speaker, opened.epoch, opened.counter, opened.frame.clone());
        hold(Rule::Authentic, seen == said && epoch.hears(&frame.speaker), || {
            format!("{name} opened {opened:?}, which is of {} in epoch {}", frame.speaker, epoch.number)
        })?;
        hold(Rule::Replay, heard.insert(index), || format!("{name} opened frame {index} twice"))?;
        let number = epoch.number;
        // Where a relay has split the room, and no host of the one side is one on the other, nobody vouches for anything.
        let counts =
            |to: &usize| self.epochs[*to].members().any(|id| self.epochs[*to].is_host(id) && epoch.is_host(id));
        let put_out = |(id, of, to, at): &&(MemberId, usize, usize, Duration)| {
            *id == by.id && self.epochs[*of].number >= number && counts(to) && frame.at > *at + STALE_AFTER
        };
        if let Some((.., at)) = self.removals.iter().find(put_out) {
            // Some host has not learned of it.
            let is_told = self.alarms.iter().any(|alarm| alarm >= at);
            hold(Rule::Stale, is_told || self.is_queued, || {
                format!("{name} opened a frame of {:?}, was put out at {at:?}, and nobody was warned", frame.at)
            })?;
        }
        if by.is_out {
            return Ok(());
        }
        hold(Rule::Past, self.epochs[by.epoch].hears(&frame.speaker), || {
            format!("{name} opened a frame of {}, who is not on stage any more", frame.speaker)
        })?;
        let in_time = frame.epoch == by.epoch
            || by
                .past
                .iter()
                .any(|(past, left)| *past == frame.epoch && by.now.saturating_sub(*left) <= PREVIOUS_EPOCH);
        hold(Rule::Past, in_time, || {
            format!("{name} opened a frame of epoch {} in epoch {}", epoch.number, self.epochs[by.epoch].number)
        })
    }

    /// What the next line in writing is to say.
    pub fn next_line(&self) -> String {
        format!("line {:1$}", self.lines.len(), 1 + self.lines.len() % 3)
    }

    pub fn says(&mut self, message: MessageId, text: String) {
        self.lines.insert(message, text);
    }

    /// Somebody reads a line, which is not among those they have `read`.
    pub fn reads(&self, name: &str, read: &mut HashSet<MessageId>, message: MessageId, text: &str) -> Held {
        hold(Rule::Authentic, self.lines.get(&message).is_some_and(|line| line == text), || {
            format!("{name} reads {message}: {text:?}, which nobody said")
        })?;
        hold(Rule::Replay, read.insert(message), || format!("{name} reads {message} twice"))
    }

    /// Somebody says something but in writing.
    pub fn speaks(&mut self, by: MemberId, said: Said) {
        *self.said.entry((by, said)).or_default() += 1;
    }

    pub fn has_said(&self, by: MemberId, said: Said) -> bool {
        self.said.contains_key(&(by, said))
    }

    /// Somebody is told that `by` said so; `heard` is what they were told so far.
    pub fn is_told(&self, name: &str, heard: &mut HashMap<(MemberId, Said), u64>, by: MemberId, said: Said) -> Held {
        let times = heard.entry((by, said.clone())).or_default();
        *times += 1;
        let most = self.said.get(&(by, said.clone())).copied().unwrap_or_default();
        hold(Rule::Replay, *times <= most, || {
            format!("{name} hears {said:?} of {by} {times} times, which was said {most} times")
        })
    }

    /// How many frames were sealed.
    pub fn frames(&self) -> usize {
        self.frames.len()
    }

    /// Whether a frame of `speaker` from number `first` on is among those `heard`.
    pub fn heard_since(&self, first: usize, heard: &HashSet<usize>, speaker: &MemberId) -> bool {
        (first..self.frames.len()).any(|index| self.frames[index].speaker == *speaker && heard.contains(&index))
    }
}

/// What the frame of that index says.
fn content(index: usize) -> Vec<u8> {
    (index as u64).to_be_bytes().repeat(3)
}

/// The name of what somebody wants, without whom and what.
pub fn intent_name(intent: &Intent) -> String {
    let name = format!("{intent:?}");
    name.split(|c: char| !c.is_alphanumeric()).next().unwrap_or_default().to_owned()
}
