//! The real thing: people with rooms and voices, the relay between them, and time. Each step is carried out here, and
//! what comes of it is held against the model.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque},
    fmt::Write as _,
    time::{Duration, SystemTime},
};

use parlor::{
    Card, Error, Guest, Identity, Kept, KeyIdLayout, MemberId, Room, Settings, Voice,
    media::seal::SealMode,
    room::{
        Intent, MessageId, Returning, Setting,
        door::{KnockId, UnixTime, Waiting},
    },
    vault::MemoryVault,
};

use crate::{
    door::{AtDoor, Door},
    insider::Insider,
    media::Media,
    model::{Broken, Held, Listener, Model, Rule, Said},
    party::words::Key,
    relay::{Line, Relay, Signals},
    restarts::{Disk, disk_key},
    script::{Opening, Plant, Script, Step, Wish},
};

/// The most people of one history, those included who come again.
pub const MOST: usize = 14;

pub const NAMES: [&str; MOST] =
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
    Waiting(Box<Guest>),
    /// They have knocked.
    AtDoor(Box<Waiting>),
    In(Box<Kept<Disk>>, Box<Voice>),
    /// With the voice they had, unclosed: they would like to hear more.
    Out(Box<Voice>, Option<Identity>),
    /// They have asked to be brought back; with the voice they had.
    Returning(Box<Returning>, Box<Voice>),
    /// Between two of these.
    Moving,
}

impl Seat {
    /// In the room, which is kept on a disk from here on.
    pub fn of(room: Room, voice: Voice) -> Self {
        let kept = Kept::new(room, Disk::default(), disk_key()).expect("a disk that does not fail");
        Self::In(Box::new(kept), Box::new(voice))
    }
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
    /// Whether no signals come to them either.
    pub signals: Signals,
    /// Copies of their disk, and which commit had let them in by then.
    pub backups: Vec<(MemoryVault, Option<usize>)>,
    /// Whether they go on from a state that is not the latest, or beside another process: they may be unable to follow.
    pub may_be_lost: bool,
    /// Whether no host vouches for what they see, as far as they were told.
    pub is_stale: bool,
    /// Whether they were told that there are two histories since they came in.
    pub is_warned: bool,
    /// The hosts who see another history, by what they were told since they were fresh last.
    pub doubts: BTreeSet<MemberId>,
    /// The hosts who have fallen silent, as they were told.
    pub misses: BTreeSet<MemberId>,
    /// A message of a later epoch has come.
    pub is_behind: bool,
    /// When they first asked to be brought back, and last.
    pub asked: Option<(Duration, Duration)>,
    /// Who asks them to bring them back.
    pub to_bring: Vec<Card>,
    pub line: Line,
    /// When they came in; and by how much their clock is ahead of everybody's.
    pub origin: Duration,
    pub ahead: Duration,
    /// How far from the true time of day it is by their clock, in seconds.
    pub wrong_by: i16,
    /// The commit that let them in.
    pub admitted: Option<usize>,
    /// Where they are, by the model's count.
    pub epoch: usize,
    /// Where they were, and when they left it, by their clock.
    pub past: Vec<(usize, Duration)>,
    /// The frames they opened.
    pub heard: HashSet<usize>,
    /// What they played that its speaker did not make and nobody has warned them of: whose it seemed to be, in which
    /// epoch, its counter, and when that was by their clock.
    pub fooled: Vec<(MemberId, u64, u64, Duration)>,
    /// At which step of their disk they die, if it is told to.
    pub dies_at: Option<u64>,
    /// Where they wait, if they have come to a door; whether they were sent away from one, and do not come again.
    pub at_door: Option<AtDoor>,
    pub stays_away: bool,
    /// Whether somebody has had their card.
    pub is_shown: bool,
    /// The knocks they heard, and whether somebody is, or was, to be let in by them.
    pub knocked: HashSet<KnockId>,
    pub opens: bool,
    /// What they read, and which texts have vanished at their end.
    pub read: HashSet<MessageId>,
    pub gone: HashSet<MessageId>,
    /// What else they were told that somebody said, how often.
    pub told: HashMap<(MemberId, Said), u64>,
    /// Whether their own microphone is on.
    pub mic: bool,
    /// What they said of it last, in which message; none if somebody muted them since, or the word was lost.
    pub said_mic: Option<(usize, bool)>,
    /// The mistake that is made with their next keys, and the voice that comes of it.
    pub planted: Option<Plant>,
    pub twin: Option<Voice>,
}

impl End {
    pub fn new(name: &str, id: MemberId, seat: Seat, now: Duration) -> Self {
        Self {
            name: name.to_owned(),
            id,
            seat,
            queue: VecDeque::new(),
            seen: Vec::new(),
            withheld: false,
            signals: Signals::Flow,
            backups: Vec::new(),
            may_be_lost: false,
            is_stale: false,
            is_warned: false,
            doubts: BTreeSet::new(),
            misses: BTreeSet::new(),
            is_behind: false,
            asked: None,
            to_bring: Vec::new(),
            line: Line::default(),
            origin: now,
            ahead: Duration::ZERO,
            wrong_by: 0,
            admitted: None,
            epoch: 0,
            past: Vec::new(),
            heard: HashSet::new(),
            fooled: Vec::new(),
            dies_at: None,
            at_door: None,
            stays_away: false,
            is_shown: false,
            knocked: HashSet::new(),
            opens: false,
            read: HashSet::new(),
            gone: HashSet::new(),
            told: HashMap::new(),
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
        if let Seat::In(room, _) = &self.seat { Some(&**room) } else { None }
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
    pub door: Door,
    pub media: Media,
    pub model: Model,
    pub layout: KeyIdLayout,
    pub now: Duration,
    /// The time of day as it begins: cards are dated by this machine's own clock.
    pub begun: UnixTime,
    pub tally: Tally,
    /// What happened in words, if somebody wants to read it.
    told: Option<String>,
    /// Whether who is out has a voice of a member's.
    pub stolen: bool,
    pub forgets_mutes: bool,
    pub insider: Insider,
    /// The keys of the epochs that she was in.
    pub insider_keys: Vec<Key>,
    /// Who she is, in the room or not.
    pub insider_id: Option<MemberId>,
    pub seals: SealMode,
    /// Whether there are frames that their speakers did not make.
    pub has_forged: bool,
    /// The epochs into which a fresh guest has come.
    pub visited: HashSet<usize>,
    /// Since when the history is over, and the relay honest.
    pub quiet_since: Option<Duration>,
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

    fn open(Opening { roles, seals, epoch_bits, entry }: &Opening) -> Held<Self> {
        let layout = KeyIdLayout::new(8, *epoch_bits).expect("a layout within bounds");
        let settings = Settings::default().with_layout(layout).with(Setting::Seals(*seals)).expect("settings");
        let settings = settings.with(Setting::Entry(*entry)).expect("settings");
        let identity = identity(0, NAMES[0]);
        let id = identity.id();
        let (room, voice) = Room::create(identity, settings).map_err(bug)?;
        let mut model = Model::new(&room);
        model.agrees(NAMES[0], &room, 0)?;
        let host = End::new(NAMES[0], id, Seat::of(room, voice), Duration::ZERO);
        let mut world = Self {
            ends: vec![host],
            relay: Relay::default(),
            door: Door::default(),
            media: Media::default(),
            model,
            layout,
            now: Duration::ZERO,
            begun: SystemTime::now().into(),
            tally: Tally::default(),
            told: None,
            stolen: false,
            forgets_mutes: false,
            insider: Insider::default(),
            insider_keys: Vec::new(),
            insider_id: None,
            seals: *seals,
            has_forged: false,
            visited: HashSet::new(),
            quiet_since: None,
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

    pub fn tell_of(&mut self, who: usize, what: impl FnOnce() -> String) {
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
            | Step::Jump { who, .. }
            | Step::SetClock { who, .. }
            | Step::Backup { who }
            | Step::Kill { who }
            | Step::Crash { who, .. }
            | Step::Rollback { who, .. }
            | Step::LoseState { who }
            | Step::Insider { by: who }
            | Step::Flood { by: who, .. }
            | Step::OldBackup { who, .. }
            | Step::KnockAgain { to: who, .. }
            | Step::AnswerKnock { by: who, .. }
            | Step::Clone { who, .. } => who,
            _ => 0,
        };
        let Some(who) = self.member(who) else { return Ok(()) };
        match *step {
            Step::Command { wish: Wish::Link { what }, .. } => {
                let terms = self.terms(who, what);
                self.issue_link(who, terms)
            }
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
            Step::SetClock { seconds, .. } => {
                self.tally.add("clocks set");
                self.tell_of(who, || format!("has a clock that is wrong by {seconds} s"));
                self.ends[who].wrong_by = seconds;
                Ok(())
            }
            Step::Backup { .. } => {
                self.back_up(who);
                Ok(())
            }
            Step::Kill { .. } => self.restart(who, None, None),
            Step::Crash { steps, .. } => {
                self.arm(who, steps);
                Ok(())
            }
            Step::Rollback { pick, .. } => self.roll_back(who, pick),
            Step::Clone { pick, .. } => self.clone_process(who, pick),
            Step::Insider { .. } => self.invite_insider(who),
            Step::Flood { words, .. } => self.flood(who, words),
            Step::BrokenPath { victims } => self.break_path(victims),
            Step::Usurp { what, on } => self.usurp(what, on),
            Step::Forge { frames } => self.forge(frames),
            Step::Replay { pick } => self.replay_word(pick),
            Step::Damage { pick, bit } => self.damage_message(pick, bit),
            Step::Slander { on } => self.slander(on),
            Step::Jam { pick } => self.jam(who, pick),
            Step::Knock { link, behind } => self.go_to_the_door(link, behind),
            Step::KnockAgain { pick, .. } => self.knock_again(who, pick),
            Step::AnswerKnock { yes, .. } => self.answer_knock(who, yes),
            Step::Mail { pick, is_lost } => self.pick_mail(pick, is_lost),
            Step::MixUpMail { pick } => self.mix_up_mail(pick),
            Step::LoseState { .. } => self.lose_state(who),
            Step::OldBackup { epochs, cut, .. } => self.old_backup(who, epochs, cut),
            Step::CutLog => {
                self.cut_log();
                Ok(())
            }
            Step::Plant(plant) => self.plant(plant),
        }
    }

    fn plant(&mut self, plant: Plant) -> Held {
        self.tell(|| format!("PLANTED: {plant:?}"));
        match plant {
            Plant::Twin { who }
            | Plant::Confused { who }
            | Plant::Hoarder { who }
            | Plant::Mixed { who }
            | Plant::Parrot { who }
            | Plant::Deaf { who } => {
                if let Some(who) = self.member(who) {
                    self.ends[who].planted = Some(plant);
                }
            }
            Plant::Muzzled { who } => {
                if let Some(who) = self.member(who)
                    && let Seat::In(_, voice) = &mut self.ends[who].seat
                {
                    voice.set_stale(true);
                }
            }
            Plant::Unnoticed => {
                for message in &self.relay.incoming {
                    self.relay.messages[*message].commit = None;
                }
            }
            Plant::Stolen => self.stolen = true,
            Plant::Lost { to } => {
                if let Some(to) = self.member(to) {
                    self.ends[to].queue.pop_front();
                    self.ends[to].planted = Some(plant);
                }
            }
            Plant::Silent { to } => {
                if let Some(to) = self.member(to)
                    && self.ends[to].queue.len() > 1
                {
                    self.ends[to].queue.swap(0, 1);
                }
            }
            Plant::Shut => self.door.is_shut = true,
            Plant::Unmuted => self.forgets_mutes = true,
            Plant::Panic => panic!("planted"),
        }
        Ok(())
    }
}

/// That of who is in the room already.
pub fn identity_of(name: &str, id: &MemberId) -> Identity {
    (0..MOST).map(|who| identity(who, name)).find(|identity| identity.id() == *id).expect("somebody")
}

/// The same in every run, so that who comes first by their key does.
pub fn identity(who: usize, name: &str) -> Identity {
    let mut secret = [7; 32];
    secret[..8].copy_from_slice(&(who as u64).to_be_bytes());
    Identity::from_secret(name, &secret).expect("a name")
}

pub fn bug(error: Error) -> Broken {
    Broken { rule: Rule::Sound, how: error.to_string() }
}
