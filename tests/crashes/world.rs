//! The members of a room, each kept in a vault of their own, and a relay that keeps its log. One write of one of them can
//! be cut off: their process dies, and the next goes on from what the vault holds.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use parlor::{
    Event, Guest, Identity, Kept, MemberId, Role, Room, Settings, Voice,
    room::{Intent, Unsaved, door::Answer},
    vault::{MemoryVault, VaultKey},
};

pub const NAMES: [&str; 4] = ["ana", "mo", "sue", "lea"];
pub const ANA: usize = 0;
pub const MO: usize = 1;
pub const SUE: usize = 2;
pub const LEA: usize = 3;

const KEY: [u8; 32] = [7; 32];

type Vault = Arc<Mutex<MemoryVault>>;

/// A member, and all that they keep.
pub struct Member {
    secret: [u8; 32],
    pub id: MemberId,
    vault: Vault,
    pub kept: Kept<Vault>,
    pub voice: Option<Voice>,
}

/// What an operation gave for the relay, and what people were told.
#[derive(Default, Debug)]
pub struct Out {
    pub send: Vec<Vec<u8>>,
    pub events: Vec<Event>,
}

pub fn send(message: Vec<u8>) -> Out {
    Out { send: vec![message], events: Vec::new() }
}

/// Which operation is cut off, and after how many steps of its writes.
#[derive(Clone, Copy, Debug)]
pub struct Kill {
    pub op: usize,
    pub step: u64,
}

/// What became of it.
#[derive(Clone, Copy, Debug)]
pub struct Killed {
    pub who: usize,
    /// Whether the call had returned.
    pub returned: bool,
    pub was_before: bool,
}

pub struct World {
    pub members: Vec<Member>,
    /// What the relay was given, each with the epoch of those who were furthest.
    pub log: Vec<(u64, Vec<u8>)>,
    pub now: Duration,
    pub ops: usize,
    pub kill: Option<Kill>,
    pub killed: Option<Killed>,
    pub answers: Vec<Answer>,
    pub lost: Option<Intent>,
    /// Each operation so far: what it was, and how many steps its writes took.
    pub trace: Vec<(&'static str, u64)>,
}

/// A world to go back to.
pub struct Checkpoint {
    members: Vec<([u8; 32], Vec<u8>)>,
    log: Vec<(u64, Vec<u8>)>,
    now: Duration,
}

fn key() -> VaultKey {
    VaultKey::from_bytes(&KEY)
}

fn identity(who: usize, secret: &[u8; 32]) -> Identity {
    Identity::from_secret(NAMES[who], secret).unwrap()
}

impl Member {
    pub fn new(who: usize, secret: [u8; 32], (room, voice): (Room, Voice)) -> Self {
        let vault = Vault::default();
        let kept = Kept::new(room, vault.clone(), key()).unwrap();
        Self { secret, id: identity(who, &secret).id(), vault, kept, voice: Some(voice) }
    }

    fn restore(who: usize, secret: [u8; 32], stored: Vec<u8>, now: Duration) -> Self {
        let vault = Arc::new(Mutex::new(MemoryVault::holding(stored)));
        let identity = identity(who, &secret);
        let id = identity.id();
        let restored = Kept::restore(identity, vault.clone(), key(), now).unwrap().expect("something is stored");
        Self { secret, id, vault, kept: restored.room, voice: restored.voice }
    }

    fn stored(&self) -> Vec<u8> {
        self.vault.lock().unwrap().bytes().unwrap().to_vec()
    }
}

impl World {
    /// All of them, in one room.
    pub fn new() -> Self {
        let now = Duration::from_secs(7);
        let secrets: Vec<[u8; 32]> = (0..4).map(|who| *Identity::generate(NAMES[who]).unwrap().secret()).collect();
        let mut ana = Room::create(identity(0, &secrets[0]), Settings::default()).unwrap();
        let guests: Vec<Guest> = (1..4).map(|who| Guest::new(identity(who, &secrets[who])).unwrap()).collect();
        let roles = [Role::Moderator, Role::Speaker, Role::Listener];
        let cards: Vec<_> = guests.iter().map(|guest| guest.card().clone()).zip(roles).collect();
        let admission = ana.0.admit_all(&cards).unwrap();
        for event in ana.0.receive(&admission.commit, now).unwrap() {
            event.tell(&mut ana.1).unwrap();
        }
        let mut members = vec![Member::new(0, secrets[0], ana)];
        for (guest, who) in guests.into_iter().zip(1..) {
            members.push(Member::new(who, secrets[who], guest.enter(&admission.welcome).unwrap()));
        }
        Self::of(members, Vec::new(), now)
    }

    fn of(members: Vec<Member>, log: Vec<(u64, Vec<u8>)>, now: Duration) -> Self {
        let (answers, trace) = (Vec::new(), Vec::new());
        Self { members, log, now, ops: 0, kill: None, killed: None, answers, lost: None, trace }
    }

    pub fn checkpoint(&self) -> Checkpoint {
        let members = self.members.iter().map(|member| (member.secret, member.stored())).collect();
        Checkpoint { members, log: self.log.clone(), now: self.now }
    }

    /// Everybody goes on from what they have stored.
    pub fn from(from: &Checkpoint) -> Self {
        let members = from.members.iter().enumerate();
        let members =
            members.map(|(who, (secret, stored))| Member::restore(who, *secret, stored.clone(), from.now)).collect();
        Self::of(members, from.log.clone(), from.now)
    }

    pub fn id(&self, who: usize) -> MemberId {
        self.members[who].id
    }

    pub fn is_open(&self, who: usize) -> bool {
        self.members[who].kept.is_open()
    }

    fn open(&self) -> Vec<usize> {
        (0..self.members.len()).filter(|who| self.is_open(*who)).collect()
    }

    /// One member does something, and may die of it.
    pub fn act(
        &mut self,
        who: usize,
        kind: &'static str,
        op: &dyn Fn(&mut Room, Duration) -> parlor::Result<Out>,
    ) -> Out {
        let kill = self.kill.filter(|kill| kill.op == self.ops);
        self.ops += 1;
        let (now, member) = (self.now, &mut self.members[who]);
        let before = picture(&member.kept);
        let steps = member.vault.lock().unwrap().steps();
        if let Some(Kill { step, .. }) = kill {
            member.vault.lock().unwrap().fail_after(step);
        }
        let acted = member.kept.act(|room| op(room, now));
        self.trace.push((kind, member.vault.lock().unwrap().steps() - steps));
        if kill.is_none() {
            let out = acted.unwrap().unwrap_or_else(|error| panic!("{kind} by {}: {error}", NAMES[who]));
            return self.told(who, out);
        }
        let (returned, out) = match acted {
            Ok(out) => (true, out),
            Err(Unsaved { output, .. }) => (false, output),
        };
        out.unwrap_or_else(|error| panic!("{kind} by {}: {error}", NAMES[who]));
        let after = picture(&member.kept);
        *member = Member::restore(who, member.secret, member.stored(), now);
        let restored = picture(&member.kept);
        let was_before = restored != after;
        assert!(!was_before || !returned, "{kind} was stored and is lost: {restored}\nnot {after}");
        assert!(!was_before || restored == before, "{kind} is torn: {restored}\nneither {before}\nnor {after}");
        self.killed = Some(Killed { who, returned, was_before });
        let answers = member.kept.last_answers().map(|(answers, _)| answers);
        self.answers.extend(answers.into_iter().flatten());
        let unsent: Vec<Vec<u8>> = member.kept.unsent().map(<[u8]>::to_vec).collect();
        let events = self.catch_up(who);
        if was_before && !kind.starts_with("receive") {
            return self.act(who, kind, op);
        }
        Out { send: unsent, events }
    }

    /// Fetches the relay's log, from well before where one stands.
    fn catch_up(&mut self, who: usize) -> Vec<Event> {
        let oldest = self.members[who].kept.epoch().saturating_sub(2);
        let missed: Vec<Vec<u8>> =
            self.log.iter().filter(|(epoch, _)| *epoch >= oldest).map(|(_, message)| message.clone()).collect();
        let (mut events, now) = (Vec::new(), self.now);
        for message in missed {
            // Most of it was there before: an error, or nothing.
            if let Ok(more) = self.members[who].kept.act(|room| room.receive(&message, now)).unwrap() {
                events.extend(self.told(who, Out { send: Vec::new(), events: more }).events);
            }
        }
        events
    }

    /// Hands on what events bring.
    fn told(&mut self, who: usize, Out { send, events }: Out) -> Out {
        let mut out = Out { send, events: Vec::new() };
        for event in events {
            let event = match &mut self.members[who].voice {
                // No heartbeat is carried here, so nobody is stopped for want of one.
                Some(_) if matches!(event, Event::Stale { .. } | Event::Fresh) => None,
                Some(voice) => event.tell(voice).unwrap(),
                None => Some(event),
            };
            match event {
                Some(Event::Send(message)) => out.send.push(message),
                Some(Event::Answered { answers, .. }) => self.answers.extend(answers),
                Some(Event::Superseded { intent, .. }) => self.lost = Some(intent),
                Some(event) => out.events.push(event),
                None => {}
            }
        }
        out
    }

    /// What one does reaches everybody.
    pub fn all(
        &mut self,
        who: usize,
        kind: &'static str,
        receive: &'static str,
        op: &dyn Fn(&mut Room, Duration) -> parlor::Result<Out>,
    ) -> Vec<Event> {
        let out = self.act(who, kind, op);
        let mut events = out.events;
        for message in out.send {
            events.extend(self.deliver(receive, &message));
        }
        events
    }

    /// The relay gives a message to everybody in the room, in one order.
    pub fn deliver(&mut self, kind: &'static str, message: &[u8]) -> Vec<Event> {
        self.hand_out(kind, message, &|received| received)
    }

    /// A message that is of no use to some.
    pub fn deliver_in_vain(&mut self, kind: &'static str, message: &[u8]) -> Vec<Event> {
        self.hand_out(kind, message, &|received| Ok(received.unwrap_or_default()))
    }

    fn hand_out(
        &mut self,
        kind: &'static str,
        message: &[u8],
        judge: &dyn Fn(parlor::Result<Vec<Event>>) -> parlor::Result<Vec<Event>>,
    ) -> Vec<Event> {
        let open = self.open();
        let epoch = open.iter().map(|who| self.members[*who].kept.epoch()).max().unwrap_or_default();
        self.log.push((epoch, message.to_vec()));
        let (mut events, mut more) = (Vec::new(), Vec::new());
        for who in open {
            let out = self
                .act(who, kind, &|room, now| Ok(Out { send: Vec::new(), events: judge(room.receive(message, now))? }));
            events.extend(out.events);
            more.extend(out.send);
        }
        for message in more {
            // What was unsent at a crash may have been delivered before, or lose its race by it.
            if !self.log.iter().any(|(_, known)| *known == message) {
                events.extend(self.deliver_in_vain(kind, &message));
            }
        }
        events
    }

    /// Everybody who is in agrees.
    pub fn agree(&self) {
        let shared: Vec<String> = self.open().iter().map(|who| shared(&self.members[*who].kept)).collect();
        assert!(shared.windows(2).all(|pair| pair[0] == pair[1]), "{shared:#?}");
    }

    /// What each of them has in the end, in words that do not tell one evening from another.
    pub fn gist(&self) -> Vec<String> {
        self.members.iter().map(|member| gist(&member.kept)).collect()
    }

    /// Who was killed hears at once, and speaks after a commit of their own.
    pub fn hears_and_speaks(&mut self, who: usize) {
        if !self.is_open(who) {
            return;
        }
        let others = self.open();
        let on_stage = |other: &usize| {
            let room = &self.members[*other].kept;
            *other != who && room.me().is_some_and(|me| me.role.on_stage() && me.muted_by.is_none())
        };
        let Some(other) = others.into_iter().find(on_stage) else { return };
        self.all(other, "refresh", "receive refresh", &|room, _| room.refresh().map(send));
        let packet = self.members[other].voice.as_mut().unwrap().seal(b"hello").unwrap();
        let now = self.now;
        let heard = self.members[who].voice.as_mut().unwrap().open(&packet, now).unwrap();
        assert_eq!(heard.frame, b"hello");
        if self.members[who].kept.is_listen_only() {
            return;
        }
        let me = self.members[who].kept.me().unwrap();
        let speaks = me.role.on_stage() && me.muted_by.is_none() && self.members[who].kept.is_mic_on(&me.id);
        if !self.members[who].kept.may_speak_again() {
            assert!(self.members[who].voice.as_mut().unwrap().seal(b"too soon").is_err());
        }
        self.all(who, "refresh", "receive refresh", &|room, _| room.refresh().map(send));
        assert!(self.members[who].kept.may_speak_again());
        if speaks {
            let packet = self.members[who].voice.as_mut().unwrap().seal(b"again").unwrap();
            let heard = self.members[other].voice.as_mut().unwrap().open(&packet, now).unwrap();
            assert_eq!(heard.frame, b"again");
        }
        self.agree();
    }
}

/// All that a room shows of what lasts.
fn picture(room: &Room) -> String {
    let unsent: Vec<&[u8]> = room.unsent().collect();
    let mut out = format!("{:?} epoch {} open {} unsent {unsent:02x?}", room.id(), room.epoch(), room.is_open());
    if !room.is_open() {
        return format!("{out} publishes {}", room.next_tick().is_some());
    }
    out += &shared(room);
    let texts: Vec<_> = room.messages().filter(|message| message.until.is_none()).map(|message| message.id).collect();
    let knocks: Vec<_> = room.knocks().map(|knock| (knock.id(), knock.name().to_owned())).collect();
    let guests = room.last_answers().map(|(answers, _)| answers.iter().map(|answer| answer.knock).collect::<Vec<_>>());
    out += &format!("{texts:?} {knocks:?} {guests:?} {:02x?} {}", room.last_welcome(), room.is_pending());
    out
}

/// What all members have in common.
fn shared(room: &Room) -> String {
    let roster: Vec<_> = room.roster().map(|member| (member, room.media_keys(&member.id))).collect();
    let mics: Vec<_> = room.roster().map(|member| (room.is_mic_on(&member.id), room.invited_by(&member.id))).collect();
    let (banned, links): (Vec<_>, Vec<_>) = (room.banned().collect(), room.links().collect());
    let leaving: Vec<_> = room.leaving().collect();
    format!(
        "{} {} {roster:?} {:?} {banned:?} {links:?} {leaving:?} {:?} {mics:?} {:02x?}",
        room.epoch(),
        room.code(),
        room.settings(),
        room.hands(),
        room.transcript(),
    )
}

fn gist(room: &Room) -> String {
    if !room.is_open() {
        return "out".into();
    }
    let names: BTreeMap<_, _> = room.roster().map(|member| (member.id, member.name.clone())).collect();
    let name = |id: &MemberId| names.get(id).cloned();
    let mut roster: Vec<_> = room
        .roster()
        .map(|member| {
            let muted = member.muted_by.as_ref().and_then(name);
            let invited = room.invited_by(&member.id).as_ref().and_then(name);
            (member.name.clone(), member.role, muted, room.is_mic_on(&member.id), invited)
        })
        .collect();
    roster.sort_by(|one, other| one.0.cmp(&other.0));
    let texts: Vec<_> =
        room.messages().filter(|message| message.until.is_none()).map(parlor::room::Message::text).collect();
    let hands: Vec<_> = room.hands().iter().map(name).collect();
    let leaving: Vec<_> = room.leaving().map(name).collect();
    let (banned, links, knocks) = (room.banned().len(), room.links().len(), room.knocks().len());
    format!("{roster:?} {:?} {texts:?} {hands:?} {leaving:?} {banned} {links} {knocks}", room.settings())
}
