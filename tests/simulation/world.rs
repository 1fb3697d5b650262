//! The real thing: people with rooms and voices, the relay between them, and time. Each step is carried out here, and
//! what comes of it is held against the model.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet, VecDeque},
    fmt::Write as _,
    time::Duration,
};

use parlor::{
    Error, Event, Guest, Identity, KeyIdLayout, Member, MemberId, Role, Room, Settings, Voice,
    room::{Entry, Intent, MessageId, Retried, Setting, Speaking},
};

use crate::{
    media::Media,
    model::{Broken, Commit, Held, Listener, Model, Rule, broken, hold, intent_name},
    relay::{Line, Message, Relay},
    script::{Opening, Plant, Script, Step, Wish, Word},
};

/// The most people of one history, those included who come again.
const MOST: usize = 14;

const NAMES: [&str; MOST] =
    ["ana", "bo", "cy", "di", "ed", "flo", "gil", "hal", "ida", "jo", "kim", "liv", "mo", "nat"];

/// What happened, for the reader to see that it was not nothing.
#[derive(Default)]
pub struct Tally(pub BTreeMap<&'static str, u64>);

impl Tally {
    pub fn add(&mut self, what: &'static str) {
        *self.0.entry(what).or_default() += 1;
    }

    pub fn merge(&mut self, other: Self) {
        for (what, times) in other.0 {
            *self.0.entry(what).or_default() += times;
        }
    }

    pub fn of(&self, what: &str) -> u64 {
        self.0.get(what).copied().unwrap_or_default()
    }
}

/// Where somebody is.
pub enum Seat {
    Waiting(Guest),
    In(Box<Room>, Box<Voice>),
    /// With the voice they had, unclosed: they would like to hear more.
    Out(Box<Voice>, Option<Identity>),
    /// Between two of these.
    Moving,
}

/// One device of somebody, from when they have a card until they are out. Who comes again has another.
pub struct End {
    pub name: String,
    pub id: MemberId,
    pub seat: Seat,
    /// What the relay owes them.
    pub queue: VecDeque<usize>,
    /// What they had.
    pub seen: Vec<usize>,
    pub withheld: bool,
    pub line: Line,
    /// When they came in; and by how much their clock is ahead of everybody's.
    origin: Duration,
    ahead: Duration,
    /// The commit that let them in.
    admitted: Option<usize>,
    /// Where they are, by the model's count.
    pub epoch: usize,
    /// Where they were, and when they left it, by their clock.
    pub past: Vec<(usize, Duration)>,
    /// The frames they opened.
    pub heard: HashSet<usize>,
    /// What they read.
    read: HashSet<MessageId>,
    /// Whether their own microphone is on.
    pub mic: bool,
    /// What they said of it last, in which message; none if somebody muted them since, or the word was lost.
    said_mic: Option<(usize, bool)>,
    /// The mistake that is made with their next keys, and the voice that comes of it.
    pub planted: Option<Plant>,
    pub twin: Option<Voice>,
}

impl End {
    fn new(name: &str, id: MemberId, seat: Seat, now: Duration) -> Self {
        Self {
            name: name.to_owned(),
            id,
            seat,
            queue: VecDeque::new(),
            seen: Vec::new(),
            withheld: false,
            line: Line::default(),
            origin: now,
            ahead: Duration::ZERO,
            admitted: None,
            epoch: 0,
            past: Vec::new(),
            heard: HashSet::new(),
            read: HashSet::new(),
            mic: true,
            said_mic: None,
            planted: None,
            twin: None,
        }
    }

    /// The time by their own clock.
    pub fn now(&self, now: Duration) -> Duration {
        now - self.origin + self.ahead
    }

    pub fn room(&self) -> Option<&Room> {
        if let Seat::In(room, _) = &self.seat { Some(room) } else { None }
    }

    pub fn is_in(&self) -> bool {
        self.room().is_some()
    }

    /// Who they are to the model, and the frames they opened.
    pub fn listener(&mut self, now: Duration) -> (Listener<'_>, &mut HashSet<usize>) {
        let (now, is_out) = (self.now(now), !self.is_in());
        let Self { name, id, epoch, past, heard, .. } = self;
        (Listener { name, id: *id, epoch: *epoch, past, now, is_out }, heard)
    }
}

/// One evening.
pub struct World {
    pub ends: Vec<End>,
    pub relay: Relay,
    pub media: Media,
    pub model: Model,
    pub layout: KeyIdLayout,
    pub now: Duration,
    pub tally: Tally,
    /// What happened in words, if somebody wants to read it.
    told: Option<String>,
    /// Whether who is out has a voice of a member's.
    pub stolen: bool,
    forgets_mutes: bool,
}

impl World {
    /// Plays a history to its end and to the quiet after it. The second is what happened, if `tell`.
    pub fn play(script: &Script, tell: bool) -> (Held<Tally>, String) {
        let mut world = match Self::open(&script.opening) {
            Ok(world) => world,
            Err(broken) => return (Err(broken), String::new()),
        };
        world.told = tell.then(String::new);
        let mut play = || {
            for step in &script.steps {
                world.step(step)?;
            }
            world.tell(|| "then the relay is honest".to_owned());
            world.quiet()
        };
        let played = play();
        let told = world.told.take().unwrap_or_default();
        (played.map(|()| std::mem::take(&mut world.tally)), told)
    }

    fn open(Opening { roles, seals, epoch_bits }: &Opening) -> Held<Self> {
        let layout = KeyIdLayout::new(8, *epoch_bits).expect("a layout within bounds");
        let settings = Settings::default().with_layout(layout).with(Setting::Seals(*seals)).expect("settings");
        let identity = identity(0, NAMES[0]);
        let id = identity.id();
        let (room, voice) = Room::create(identity, settings).map_err(bug)?;
        let mut model = Model::new(&room);
        model.agrees(NAMES[0], &room, 0)?;
        let host = End::new(NAMES[0], id, Seat::In(Box::new(room), Box::new(voice)), Duration::ZERO);
        let mut world = Self {
            ends: vec![host],
            relay: Relay::default(),
            media: Media::default(),
            model,
            layout,
            now: Duration::ZERO,
            tally: Tally::default(),
            told: None,
            stolen: false,
            forgets_mutes: false,
        };
        let cards = roles.iter().map(|role| {
            let guest = world.newcomer(None);
            let Seat::Waiting(waiting) = &world.ends[guest].seat else { unreachable!("a newcomer waits") };
            (waiting.card().clone(), *role)
        });
        let intent = Intent::Admit(cards.collect());
        if !roles.is_empty() {
            world.command(0, intent)?;
            world.deliver_all()?;
        }
        Ok(world)
    }

    pub fn tell(&mut self, what: impl FnOnce() -> String) {
        if let Some(told) = &mut self.told {
            let _ = writeln!(told, "  {:>8.3} s  {}", self.now.as_secs_f64(), what());
        }
    }

    fn tell_of(&mut self, who: usize, what: impl FnOnce() -> String) {
        if self.told.is_some() {
            let name = self.ends[who].name.clone();
            self.tell(|| format!("{name} {}", what()));
        }
    }

    /// Whom a step means: one of those in the room.
    fn member(&self, pick: u8) -> Option<usize> {
        let inside: Vec<usize> = (0..self.ends.len()).filter(|at| self.ends[*at].is_in()).collect();
        (!inside.is_empty()).then(|| inside[usize::from(pick) % inside.len()])
    }

    pub fn step(&mut self, step: &Step) -> Held {
        self.tally.add("steps");
        let who = match *step {
            Step::Command { by: who, .. }
            | Step::Say { by: who, .. }
            | Step::Speak { by: who, .. }
            | Step::Mind { by: who }
            | Step::Abandon { by: who }
            | Step::Deliver { to: who, .. }
            | Step::Cheat { to: who, .. }
            | Step::Network { to: who, .. }
            | Step::Jump { who, .. } => who,
            _ => 0,
        };
        let Some(who) = self.member(who) else { return Ok(()) };
        match *step {
            Step::Command { wish, .. } => match self.intent(who, wish) {
                Some(intent) => self.command(who, intent),
                None => Ok(()),
            },
            Step::Say { word, .. } => self.say(who, word),
            Step::Speak { frames, .. } => {
                self.tell_of(who, || format!("speaks for {frames} frames"));
                for _ in 0..frames {
                    self.pass(Duration::from_millis(20))?;
                    self.utter(who)?;
                }
                self.pass(Duration::ZERO)
            }
            Step::Mind { .. } => self.mind(who),
            Step::Abandon { .. } => self.abandon(who),
            Step::Order { pick } => {
                if !self.relay.incoming.is_empty() {
                    let pick = usize::from(pick) % self.relay.incoming.len();
                    self.order(pick);
                }
                Ok(())
            }
            Step::Deliver { most, .. } => self.deliver(who, most.into()),
            Step::DeliverAll => self.deliver_all(),
            Step::Welcome { pick } => {
                if self.relay.welcomes.is_empty() {
                    return Ok(());
                }
                let pick = usize::from(pick) % self.relay.welcomes.len();
                let commit = self.relay.welcomes.remove(pick);
                self.welcome(commit)
            }
            Step::Cheat { trick, .. } => {
                self.tell_of(who, || format!("is cheated: {trick:?}"));
                self.cheat(who, trick)
            }
            Step::Network { line, .. } => {
                self.tell_of(who, || format!("has {line:?}"));
                self.ends[who].line = line;
                Ok(())
            }
            Step::Wait { ms } => self.pass(Duration::from_millis(ms.into())),
            Step::Jump { seconds, .. } => {
                self.tally.add("clock jumps");
                self.tell_of(who, || format!("has a clock that jumps by {seconds} s"));
                self.ends[who].ahead += Duration::from_secs(seconds.into());
                Ok(())
            }
            Step::Plant(plant) => self.plant(plant),
        }
    }

    fn plant(&mut self, plant: Plant) -> Held {
        self.tell(|| format!("PLANTED: {plant:?}"));
        match plant {
            Plant::Twin { who } | Plant::Confused { who } => {
                if let Some(who) = self.member(who) {
                    self.ends[who].planted = Some(plant);
                }
            }
            Plant::Stolen => self.stolen = true,
            Plant::Lost { to } => {
                if let Some(to) = self.member(to) {
                    self.ends[to].queue.pop_front();
                }
            }
            Plant::Silent { to } => {
                if let Some(to) = self.member(to)
                    && self.ends[to].queue.len() > 1
                {
                    self.ends[to].queue.swap(0, 1);
                }
            }
            Plant::Unmuted => self.forgets_mutes = true,
            Plant::Panic => panic!("planted"),
        }
        Ok(())
    }

    // ---- people ----

    /// Somebody with a card: somebody else, or who was here before.
    fn newcomer(&mut self, again: Option<usize>) -> usize {
        let back = again.and_then(|who| {
            let End { name, seat: Seat::Out(_, identity), .. } = &mut self.ends[who] else { return None };
            Some((name.clone(), identity.take()?))
        });
        let (name, identity) = back.unwrap_or_else(|| {
            let name = NAMES[self.ends.len()];
            (name.to_owned(), identity(self.ends.len(), name))
        });
        let id = identity.id();
        let guest = Guest::new(identity).expect("a guest");
        self.ends.push(End::new(&name, id, Seat::Waiting(guest), self.now));
        self.ends.len() - 1
    }

    /// So many people at the door, who come there if nobody is.
    fn guests(&mut self, people: u8) -> Vec<usize> {
        let waits = |end: &End| matches!(end.seat, Seat::Waiting(_));
        let mut guests: Vec<usize> = (0..self.ends.len()).filter(|at| waits(&self.ends[*at])).collect();
        while guests.len() < people.into() && self.ends.len() < MOST {
            let gone = self.ends.iter().position(|end| matches!(&end.seat, Seat::Out(_, Some(_))));
            let again = gone.filter(|_| people > 1);
            if again.is_some() {
                self.tally.add("people who come again");
            }
            guests.push(self.newcomer(again));
        }
        guests.truncate(people.into());
        guests
    }

    /// What a wish comes to, as the member sees the room.
    fn intent(&mut self, by: usize, wish: Wish) -> Option<Intent> {
        if let Wish::Admit { people, role } = wish {
            let mut cards = Vec::new();
            for guest in self.guests(people) {
                if let Seat::Waiting(waiting) = &self.ends[guest].seat {
                    cards.push((waiting.card().clone(), role));
                }
            }
            let room = self.ends[by].room()?;
            cards.retain(|(card, _)| room.member(&card.id()).is_none());
            return (!cards.is_empty()).then_some(Intent::Admit(cards));
        }
        let room = self.ends[by].room()?;
        let me = self.ends[by].id;
        let roster: Vec<&Member> = room.roster().collect();
        let pick = |on: u8| roster[usize::from(on) % roster.len()];
        // Mostly somebody else, if there is.
        let other = |on: u8| if pick(on).id == me { pick(on.wrapping_add(1)).id } else { pick(on).id };
        Some(match wish {
            Wish::Admit { .. } => return None,
            Wish::Remove { on } => Intent::Remove(vec![other(on)]),
            Wish::Ban { on } => Intent::Ban(vec![other(on)]),
            Wish::LiftBan => Intent::LiftBan(*room.banned().next()?),
            Wish::SetRole { on, role } => Intent::SetRole(pick(on).id, role),
            Wish::HandOver { on } => Intent::HandOver(other(on)),
            Wish::Mute { on } => Intent::Mute(other(on)),
            Wish::LiftMute { on } => {
                let muted = roster.iter().find(|member| member.muted_by.is_some());
                Intent::LiftMute(muted.map_or(other(on), |member| member.id))
            }
            Wish::Set { what } => {
                let is_one = what & 1 == 1;
                Intent::Set(vec![match what >> 5 {
                    0 => Setting::Locked(is_one),
                    1 => Setting::Capacity(is_one.then_some(roster.len() as u32 + 1)),
                    2 => Setting::Entry(if is_one { Entry::Link } else { Entry::Invited }),
                    3 => Setting::Title(format!("title {}", what % 4)),
                    4 => Setting::Recording(is_one),
                    5 => Setting::SealEvery(1 + what % 32),
                    _ => Setting::Speaking(if is_one { Speaking::Everybody } else { Speaking::OnStage }),
                }])
            }
            Wish::Leave => Intent::Leave,
            Wish::End => Intent::End,
            Wish::Refresh => Intent::Refresh,
        })
    }

    /// A member makes a message for what they want, for the first time or again.
    fn command(&mut self, by: usize, mut intent: Intent) -> Held {
        let now = self.ends[by].now(self.now);
        let End { name, id, epoch, seat: Seat::In(room, _), .. } = &mut self.ends[by] else { return Ok(()) };
        let (name, before) = (name.clone(), (room.epoch(), room.code()));
        if intent == Intent::Leave && !leaves_by_commit(room) {
            return self.say(by, Word::Leave);
        }
        if let Intent::Admit(cards) = &mut intent {
            cards.retain(|(card, _)| room.member(&card.id()).is_none());
        }
        let made = room.retry(&intent);
        hold(Rule::Forward, (room.epoch(), room.code()) == before, || format!("{name}'s command moved their room"))?;
        let (bytes, admission) = match made {
            Ok(Retried::Admission(admission)) => (admission.commit.clone(), Some(admission)),
            Ok(Retried::Commit(commit)) => (commit, None),
            Ok(_) => return Ok(self.tally.add("commands done by others")),
            Err(Error::Denied(_) | Error::NotAMember { .. } | Error::Unusable { .. } | Error::CommitPending { .. }) => {
                return Ok(self.tally.add("commands denied"));
            }
            Err(error) => return broken(Rule::Sound, format!("{name}, {} at {now:?}: {error}", intent_name(&intent))),
        };
        let said = intent_name(&intent);
        let commit = Commit { of: *epoch, by: *id, intent };
        self.model.commits(&commit)?;
        let message = self.relay.send(Message { bytes, commit: Some(commit), admission });
        self.tally.add("commits");
        self.tell_of(by, || format!("makes commit {message}: {said}"));
        Ok(())
    }

    fn say(&mut self, by: usize, word: Word) -> Held {
        let End { seat: Seat::In(room, voice), mic, said_mic, name, .. } = &mut self.ends[by] else { return Ok(()) };
        if word == Word::Leave && leaves_by_commit(room) {
            return self.command(by, Intent::Leave);
        }
        let said = match word {
            Word::Chat => {
                let text = self.model.next_line();
                let lifetime = (text.len() % 2 == 0).then_some(Duration::from_secs(3));
                let said = room.say(&text, lifetime);
                said.inspect(|(message, _)| self.model.says(*message, text)).map(|(_, bytes)| bytes)
            }
            Word::Hand(true) => room.raise_hand(),
            Word::Hand(false) => room.lower_hand(),
            Word::Mic(on) => room.set_mic(on).inspect(|_| {
                // The others will hear of it; one's own voice at once.
                let me = room.me().map(|me| me.id);
                me.iter().for_each(|me| voice.set_mic(me, on));
                *mic = on;
            }),
            Word::Leave => room.leave(),
        };
        match said {
            Ok(bytes) => {
                let message = self.relay.send(Message { bytes, commit: None, admission: None });
                if let Word::Mic(on) = word {
                    *said_mic = Some((message, on));
                }
                self.tally.add("words");
                self.tell_of(by, || format!("says, in message {message}: {word:?}"));
                Ok(())
            }
            Err(Error::Denied(_) | Error::Unusable { .. } | Error::CommitPending { .. }) => Ok(()),
            Err(error) => broken(Rule::Sound, format!("{name}, {word:?}: {error}")),
        }
    }

    /// What an app does each second: refreshes when it is due, lets go who is leaving, sends seals.
    fn mind(&mut self, who: usize) -> Held {
        self.chore(who)?;
        self.send_seals(who)?;
        self.pass(Duration::ZERO)
    }

    /// Whether there was anything to do.
    fn chore(&mut self, who: usize) -> Held<bool> {
        let end = &self.ends[who];
        let (now, Some(room)) = (end.now(self.now), end.room()) else { return Ok(false) };
        let Some(me) = room.me().filter(|_| !room.is_pending()) else { return Ok(false) };
        let leaving = room.leaving().find(|id| **id != me.id).copied();
        let mut intent = room.refresh_due(now).then_some(Intent::Refresh);
        if let Some(leaving) = leaving.filter(|_| room.is_listen_only() || me.role >= Role::Moderator) {
            let is_above = room.member(&leaving).is_some_and(|gone| gone.role >= Role::Moderator);
            intent = intent.or((me.role == Role::Host || !is_above).then(|| Intent::Remove(vec![leaving])));
        }
        let Some(intent) = intent else { return Ok(false) };
        self.command(who, intent)?;
        Ok(self.ends[who].room().is_some_and(Room::is_pending))
    }

    /// Only for a commit that the relay has not taken, and takes no more.
    fn abandon(&mut self, who: usize) -> Held {
        let End { seat: Seat::In(room, _), id, epoch, .. } = &mut self.ends[who] else { return Ok(()) };
        let relay = &mut self.relay;
        let own = |message: &usize| {
            let commit = &relay.messages[*message].commit;
            commit.as_ref().is_some_and(|commit| commit.by == *id && commit.of == *epoch)
        };
        let Some(message) = (0..relay.messages.len()).rev().find(own) else { return Ok(()) };
        if !room.is_pending() || relay.log.contains(&message) {
            return Ok(());
        }
        relay.incoming.retain(|sent| *sent != message);
        relay.refused.push(message);
        let intent = room.abandon();
        self.tally.add("commits abandoned");
        self.tell_of(who, || format!("abandons commit {message}: {:?}", intent.as_ref().map(intent_name)));
        Ok(())
    }

    /// Every app asks its room what time has brought about.
    pub fn tick(&mut self) -> Held {
        for end in &mut self.ends {
            let now = end.now(self.now);
            let Seat::In(room, _) = &mut end.seat else { continue };
            for event in room.tick(now) {
                match event {
                    Event::Vanished { .. } => self.tally.add("words that vanished"),
                    Event::Send(bytes) => {
                        self.relay.send(Message { bytes, commit: None, admission: None });
                    }
                    other => return broken(Rule::Sound, format!("time tells {} of {other:?}", end.name)),
                }
            }
            let is_gone = |message: &parlor::room::Message| message.until.is_none_or(|until| until > now);
            hold(Rule::Past, room.messages().all(is_gone), || format!("{} keeps what is to be forgotten", end.name))?;
        }
        Ok(())
    }

    // ---- the relay's work ----

    /// The relay takes a message into its log, and owes it to everybody.
    fn order(&mut self, pick: usize) {
        let message = self.relay.incoming.remove(pick);
        self.relay.log.push(message);
        for end in self.ends.iter_mut().filter(|end| end.is_in()) {
            end.queue.push_back(message);
        }
    }

    fn deliver(&mut self, to: usize, most: usize) -> Held {
        for _ in 0..most {
            if self.ends[to].withheld {
                break;
            }
            let Some(message) = self.ends[to].queue.pop_front() else { break };
            self.receive_message(to, message)?;
        }
        Ok(())
    }

    fn deliver_all(&mut self) -> Held {
        loop {
            while !self.relay.incoming.is_empty() {
                self.order(0);
            }
            for to in 0..self.ends.len() {
                self.deliver(to, usize::MAX)?;
            }
            while let Some(commit) = self.relay.welcomes.pop() {
                self.welcome(commit)?;
            }
            let owes = |end: &End| end.is_in() && !end.withheld && !end.queue.is_empty();
            if self.relay.incoming.is_empty() && !self.ends.iter().any(owes) {
                return Ok(());
            }
        }
    }

    /// Whoever the commit lets in gets its welcome, if they still wait.
    pub fn welcome(&mut self, message: usize) -> Held {
        let Message { admission: Some(admission), commit: Some(commit), .. } = &self.relay.messages[message] else {
            return Ok(());
        };
        let Intent::Admit(cards) = &commit.intent else { return Ok(()) };
        let mut told = Vec::new();
        for at in 0..self.ends.len() {
            let end = &mut self.ends[at];
            let invited = |guest: &Guest| cards.iter().any(|(card, _)| card == guest.card());
            if !matches!(&end.seat, Seat::Waiting(guest) if invited(guest)) {
                continue;
            }
            let Seat::Waiting(guest) = std::mem::replace(&mut end.seat, Seat::Moving) else { continue };
            let (room, voice) = match &admission.tree {
                None => guest.enter(&admission.welcome),
                Some(tree) => guest.enter_with_tree(&admission.welcome, tree),
            }
            .or_else(|failed| broken(Rule::Honest, format!("{} cannot enter by {message}: {failed}", end.name)))?;
            self.model.follows(message, commit, self.relay.may_fork)?;
            end.epoch = self.model.enters(&end.name, &room, message, commit)?;
            (end.origin, end.admitted) = (self.now, Some(message));
            end.queue = self.relay.after(message).into();
            end.seat = Seat::In(Box::new(room), Box::new(voice));
            self.tally.add("people who came in");
            told.push(at);
        }
        for at in told {
            self.tell_of(at, || format!("comes in by commit {message}"));
        }
        Ok(())
    }

    /// A member gets a message as it was sent.
    pub fn receive_message(&mut self, to: usize, message: usize) -> Held {
        self.ends[to].seen.push(message);
        let bytes = self.relay.messages[message].bytes.clone();
        self.receive(to, &bytes, Some(message))
    }

    /// A member gets bytes, which are that message if any.
    pub fn receive(&mut self, to: usize, bytes: &[u8], message: Option<usize>) -> Held {
        let end = &mut self.ends[to];
        let now = end.now(self.now);
        let End { name, id, epoch, seat: Seat::In(room, voice), past, read, mic, said_mic, planted, twin, .. } = end
        else {
            return Ok(());
        };
        let before = (room.epoch(), room.code(), room.is_pending());
        let events = match room.receive(bytes, now) {
            Ok(events) => events,
            Err(error) => {
                let after = (room.epoch(), room.code(), room.is_pending());
                hold(Rule::Forward, after == before, || format!("{name} moved on a message they refuse: {error}"))?;
                let is_known = match &error {
                    Error::WrongEpoch { .. } | Error::Unauthentic { .. } => true,
                    Error::Malformed { .. } | Error::TooLarge { .. } => message.is_none(),
                    _ => false,
                };
                hold(Rule::Sound, is_known, || format!("{name} on message {message:?}: {error}"))?;
                said_mic.take_if(|(said, _)| message == Some(*said));
                self.tally.add(if message.is_some() { "messages too late or early" } else { "bad messages refused" });
                return Ok(());
            }
        };
        let (mut lost, mut to_send, mut is_out) = (None, Vec::new(), false);
        for event in events {
            match event {
                Event::Rekeyed(keys) => {
                    let made = crate::media::with_mistake(*planted, keys, room.id());
                    *twin = made.1;
                    voice.rekey(made.0).or_else(|error| broken(Rule::Sound, format!("{name}: {error}")))?;
                }
                Event::Superseded { intent, .. } => lost = Some(intent),
                Event::Mic { member, on } => {
                    voice.set_mic(&member, on);
                    if member == *id {
                        *mic = on;
                    }
                }
                Event::Muted { member, .. } | Event::MuteLifted { member, .. } if member == *id => *said_mic = None,
                Event::Said { message: said } => {
                    let text = room.message(&said).map_or("", |said| said.text());
                    self.model.reads(name, read, said, text)?;
                    self.tally.add("words read");
                }
                Event::Send(bytes) => to_send.push(bytes),
                Event::Closed { .. } | Event::Ended { .. } => is_out = true,
                Event::Refused { why, .. } if message.is_some() => {
                    return broken(Rule::Honest, format!("{name} refuses what an honest member did: {why}"));
                }
                _ => {}
            }
        }
        let has_moved = (room.epoch(), room.code()) != (before.0, before.1);
        if has_moved || is_out {
            let found = message.and_then(|message| Some((message, self.relay.messages[message].commit.as_ref()?)));
            let Some((message, commit)) = found.filter(|(_, commit)| commit.of == *epoch) else {
                return broken(Rule::Forward, format!("{name} moved on message {message:?}, no commit of their epoch"));
            };
            self.model.follows(message, commit, self.relay.may_fork)?;
            // Nobody else will ever go that way.
            self.model.forks += u64::from(self.relay.refused.contains(&message));
            if has_moved {
                past.push((*epoch, now));
                let mut commit = commit.clone();
                if self.forgets_mutes && matches!(commit.intent, Intent::Mute(_)) {
                    commit.intent = Intent::Refresh;
                }
                *epoch = self.model.enters(name, room, message, &commit)?;
                self.tally.add("epochs entered");
                let admits = self.relay.messages[message].admission.is_some();
                if commit.by == *id && admits {
                    self.relay.welcomes.push(message);
                }
            }
        }
        if has_moved && let Some(message) = message {
            let number = room.epoch();
            self.tell_of(to, || format!("is in epoch {number} by commit {message}"));
        }
        for bytes in to_send {
            self.relay.send(Message { bytes, commit: None, admission: None });
        }
        if is_out {
            self.go_out(to);
        } else {
            self.unpark(to)?;
        }
        if let Some(intent) = lost {
            self.tally.add("races lost");
            self.lose(to);
            self.tell_of(to, || "lost a race".to_owned());
            return self.command(to, intent);
        }
        Ok(())
    }

    /// The member's commit of the epoch before has lost: its welcome is of no use.
    fn lose(&mut self, who: usize) {
        let End { id, past, .. } = &self.ends[who];
        let Some((of, _)) = past.last() else { return };
        for (message, Message { commit, admission, .. }) in self.relay.messages.iter().enumerate() {
            let own = commit.as_ref().is_some_and(|commit| commit.by == *id && commit.of == *of);
            if own && admission.is_some() && !self.relay.losing.contains(&message) {
                self.relay.losing.push(message);
            }
        }
    }

    fn go_out(&mut self, who: usize) {
        let end = &mut self.ends[who];
        if let Seat::In(room, voice) = std::mem::replace(&mut end.seat, Seat::Moving) {
            end.seat = Seat::Out(voice, Some(room.into_identity()));
            self.tally.add("people who went out");
            self.tell_of(who, || "is out".to_owned());
        }
    }

    // ---- the quiet ----

    /// The relay is honest, the network good; all that is on its way arrives. Then everybody agrees, and hears everybody
    /// on stage.
    fn quiet(&mut self) -> Held {
        for end in &mut self.ends {
            (end.withheld, end.line) = (false, Line::default());
        }
        let until = self.now + Duration::from_secs(10);
        let mut is_busy = true;
        while is_busy {
            hold(Rule::Quiet, self.now < until, || "there is no end to it after 10 s".to_owned())?;
            self.deliver_all()?;
            is_busy = self.relay.may_fork && self.fetch_all()?;
            (0..self.ends.len()).try_for_each(|who| self.abandon(who))?;
            for who in 0..self.ends.len() {
                if self.chore(who)? {
                    is_busy = true;
                    break;
                }
            }
            self.pass(Duration::from_millis(100))?;
        }
        self.eavesdrop_on_all()?;
        for End { name, epoch, seat, .. } in &self.ends {
            if let Seat::In(room, _) = seat {
                self.model.agrees(name, room, *epoch)?;
            }
        }
        if self.model.forks > 0 {
            self.tally.add("histories with a fork");
            return Ok(());
        }
        self.agree()?;
        self.all_are_heard()
    }

    /// Everybody reads the relay's log again, as an app does that missed something. Whether that brought anybody on.
    fn fetch_all(&mut self) -> Held<bool> {
        let at = |world: &Self| world.ends.iter().map(|end| end.epoch).collect::<Vec<_>>();
        let before = at(self);
        for end in self.ends.iter_mut().filter(|end| end.is_in()) {
            let log = &self.relay.log;
            end.queue = end.admitted.map_or_else(|| log.clone(), |by| self.relay.after(by)).into();
        }
        self.deliver_all()?;
        Ok(at(self) != before)
    }

    /// Everybody in the room is in one epoch, and exactly its members are.
    fn agree(&mut self) -> Held {
        let inside: Vec<&End> = self.ends.iter().filter(|end| end.is_in()).collect();
        let Some(first) = inside.first() else { return Ok(()) };
        for end in &inside {
            let is_pending = end.room().is_some_and(Room::is_pending);
            hold(Rule::Quiet, end.epoch == first.epoch && !is_pending, || {
                let number = |end: &End| self.model.epoch(end.epoch).number;
                let (here, there) = (number(end), number(first));
                format!("{} is in epoch {here}, {} in {there}; waits: {is_pending}", end.name, first.name)
            })?;
        }
        for end in &inside {
            let Some((message, on)) = end.said_mic.filter(|(said, _)| !self.relay.refused.contains(said)) else {
                continue;
            };
            hold(Rule::Honest, end.mic == on, || {
                format!("{} said in {message} that their microphone is on: {on}; it is: {}", end.name, end.mic)
            })?;
        }
        let here: BTreeSet<&MemberId> = inside.iter().map(|end| &end.id).collect();
        let listed: BTreeSet<&MemberId> = self.model.epoch(first.epoch).members().collect();
        hold(Rule::Quiet, here == listed && here.len() == inside.len(), || {
            format!("in the room are {here:?}, and listed {listed:?}")
        })
    }
}

/// The same in every run, so that who comes first by their key does.
pub fn identity(who: usize, name: &str) -> Identity {
    let mut secret = [7; 32];
    secret[..8].copy_from_slice(&(who as u64).to_be_bytes());
    Identity::from_secret(name, &secret).expect("a name")
}

/// Whether what they say when they leave is a commit: others ask to be let go.
fn leaves_by_commit(room: &Room) -> bool {
    room.is_listen_only() || room.me().is_some_and(|me| me.role == Role::Host)
}

pub fn bug(error: Error) -> Broken {
    Broken { rule: Rule::Sound, how: error.to_string() }
}
