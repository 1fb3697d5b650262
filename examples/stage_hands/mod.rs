//! What the scenes share: people with a room and a voice, and a relay that carries everything in one order and writes
//! it all down.

#![allow(dead_code, reason = "each scene uses what it needs")]

pub mod ears;
pub mod words;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    env, iter,
    process::ExitCode,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose};
use parlor::{
    Error, Event, Guest, Identity, Item, Link, MemberId, Role, Room, Settings, UnixTime, Voice, Waiting,
    room::door::{Answer, Gate, KnockId, Terms},
};

pub type Outcome<T = ()> = Result<T, Box<dyn std::error::Error>>;

/// How many attempts have worked, for a scene that does not survive it.
static WORKED: AtomicU64 = AtomicU64::new(0);

/// An attempt has worked that should not.
pub fn it_worked(times: u64) {
    WORKED.fetch_add(times, Ordering::Relaxed);
}

/// Runs a scene, which gives how many attacks succeeded: the exit status is 0 if none did, 1 if one did, and 2 if it
/// could not run.
pub fn curtain(name: &str, help: &str, play: impl FnOnce() -> Outcome<u64>) -> ExitCode {
    match env::args().nth(1).as_deref() {
        None => {}
        Some("-h" | "--help") => {
            println!("{help}");
            return ExitCode::SUCCESS;
        }
        Some(other) => {
            eprintln!("{name}: {other:?} is no option; there is --help");
            return ExitCode::from(2);
        }
    }
    match play() {
        Ok(0) => ExitCode::SUCCESS,
        Ok(successes) => {
            println!("\nThis should not be: {successes} attempts succeeded.");
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("{name}: {error}");
            let worked = WORKED.load(Ordering::Relaxed);
            if worked > 0 {
                println!("\nThis should not be: {worked} attempts succeeded, and then the scene broke off.");
                return ExitCode::FAILURE;
            }
            ExitCode::from(2)
        }
    }
}

pub fn guest(name: &str) -> parlor::Result<Guest> {
    Guest::new(Identity::generate(name)?)
}

/// Words in the place of an Opus frame: like those of parlor's encoder, all are of one size.
pub fn frame_of(words: &str) -> Vec<u8> {
    let mut frame = words.as_bytes().to_vec();
    frame.resize(120, 0);
    frame
}

pub fn words_of(frame: &[u8]) -> String {
    String::from_utf8_lossy(frame).trim_end_matches('\0').to_owned()
}

/// Somebody in the room, or somebody who was.
pub struct Person {
    pub name: String,
    pub id: MemberId,
    pub room: Room,
    pub voice: Voice,
}

impl Person {
    pub fn new((room, voice): (Room, Voice)) -> Outcome<Self> {
        let me = room.me().ok_or("whoever enters is in the room")?;
        Ok(Self { name: me.name.clone(), id: me.id, room, voice })
    }

    /// Takes a message in, hands the voice what is for it, and gives the rest.
    pub fn receive(&mut self, message: &[u8], now: Duration) -> parlor::Result<Vec<Event>> {
        let events = self.room.receive(message, now)?;
        let told = events.into_iter().map(|event| event.tell(&mut self.voice)).collect::<parlor::Result<Vec<_>>>()?;
        Ok(told.into_iter().flatten().collect())
    }

    /// Gives the voice what is for it, and `signals` what is to be sent; counts the lines that have vanished.
    fn heed(&mut self, events: Vec<Event>, signals: &mut VecDeque<Vec<u8>>) -> usize {
        let mut vanished = 0;
        for event in events {
            match event.tell(&mut self.voice) {
                Ok(Some(Event::Send(signal))) => signals.push_back(signal),
                Ok(Some(Event::Vanished { .. })) => vanished += 1,
                _ => {}
            }
        }
        vanished
    }
}

/// What a relay can tell of a thing that it carries, beside its bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Kind {
    /// A commit, or a word to all: which, it cannot tell.
    Message,
    /// A heartbeat, or a question for one: which, it cannot tell.
    Signal,
    Welcome,
    Packet,
    Gate,
    Doorplate,
    Knock,
    Answer,
}

/// One thing that the relay carried.
pub struct Seen {
    pub at: Duration,
    pub kind: Kind,
    pub bytes: Vec<u8>,
}

/// The relay: it keeps what is at the door, and never forgets a byte.
#[derive(Default)]
pub struct Relay {
    pub log: Vec<Seen>,
    doors: Vec<(Gate, Vec<u8>)>,
    answers: BTreeMap<KnockId, (Vec<u8>, Option<Vec<u8>>)>,
}

impl Relay {
    pub fn note(&mut self, at: Duration, kind: Kind, bytes: &[u8]) {
        self.log.push(Seen { at, kind, bytes: bytes.to_vec() });
    }

    pub fn keep_door(&mut self, at: Duration, gate: Gate, plate: Vec<u8>) {
        self.note(at, Kind::Gate, &gate.to_bytes());
        self.note(at, Kind::Doorplate, &plate);
        self.doors.retain(|(known, _)| *known != gate);
        self.doors.push((gate, plate));
    }

    pub fn doorplate(&self, link: &Link) -> Outcome<&[u8]> {
        let door = self.doors.iter().find(|(gate, _)| gate.address() == link.address());
        Ok(&door.ok_or("the relay knows no such door")?.1)
    }

    /// Keeps an answer for who made the knock.
    pub fn post(&mut self, at: Duration, answers: &[Answer], tree: Option<&Vec<u8>>) {
        for Answer { knock, bytes, .. } in answers {
            self.note(at, Kind::Answer, bytes);
            self.answers.insert(*knock, (bytes.clone(), tree.cloned()));
        }
    }

    pub fn answer(&self, knock: KnockId) -> Outcome<(&[u8], Option<&[u8]>)> {
        let (answer, tree) = self.answers.get(&knock).ok_or("no answer has come")?;
        Ok((answer, tree.as_deref()))
    }

    pub fn of(&self, kind: Kind) -> impl Iterator<Item = &[u8]> {
        self.log.iter().filter(move |seen| seen.kind == kind).map(|seen| &*seen.bytes)
    }

    /// The lengths that things of a kind had.
    pub fn sizes(&self, kind: Kind) -> BTreeSet<usize> {
        self.of(kind).map(<[u8]>::len).collect()
    }

    /// The same, to be printed.
    pub fn sizes_in_words(&self, kind: Kind) -> String {
        let sizes: Vec<_> = self.sizes(kind).iter().map(|size| format!("{size} bytes")).collect();
        sizes.join(" or ")
    }

    /// In how many of all the things it carried the relay finds `secret`: as it is, in hex, in base64.
    pub fn finds(&self, secret: &[u8]) -> usize {
        let hex: String = secret.iter().map(|byte| format!("{byte:02x}")).collect();
        let base64 = general_purpose::STANDARD_NO_PAD.encode(secret);
        let url = general_purpose::URL_SAFE_NO_PAD.encode(secret);
        let forms = [secret, hex.as_bytes(), base64.as_bytes(), url.as_bytes()];
        let holds = |bytes: &[u8], form: &[u8]| bytes.windows(form.len()).any(|window| window == form);
        self.log.iter().filter(|seen| forms.iter().any(|form| holds(&seen.bytes, form))).count()
    }
}

/// A room, everybody in it, and the relay between them.
pub struct Scene {
    pub now: Duration,
    pub relay: Relay,
    pub people: Vec<Person>,
    /// How many lines of chat have vanished, at everybody's.
    pub vanished: usize,
}

impl Scene {
    /// A room of `host`'s.
    pub fn open(host: &str, settings: Settings) -> Outcome<Self> {
        let host = Person::new(Room::create(Identity::generate(host)?, settings)?)?;
        Ok(Self { now: Duration::ZERO, relay: Relay::default(), people: vec![host], vanished: 0 })
    }

    /// The time of day.
    pub fn wall(&self) -> UnixTime {
        UnixTime(1_800_000_000).plus(self.now.as_secs())
    }

    /// Time goes by. Once a second everybody's heart beats, and lines vanish whose time is over.
    pub fn pass(&mut self, seconds: u64) {
        for _ in 0..seconds {
            self.now += Duration::from_secs(1);
            let (now, mut signals) = (self.now, VecDeque::new());
            for person in self.people.iter_mut().filter(|person| person.room.is_open()) {
                let events = person.room.tick(now);
                self.vanished += person.heed(events, &mut signals);
            }
            while let Some(signal) = signals.pop_front() {
                self.relay.note(now, Kind::Signal, &signal);
                for person in self.people.iter_mut().filter(|person| person.room.is_open()) {
                    let events = person.room.receive(&signal, now).unwrap_or_default();
                    self.vanished += person.heed(events, &mut signals);
                }
            }
        }
    }

    /// The last one of that name who came in.
    pub fn person(&mut self, name: &str) -> Outcome<&mut Person> {
        let found = self.people.iter_mut().rfind(|person| person.name == name);
        found.ok_or_else(|| format!("{name} is not here").into())
    }

    pub fn room(&mut self, name: &str) -> Outcome<&mut Room> {
        Ok(&mut self.person(name)?.room)
    }

    pub fn id(&mut self, name: &str) -> Outcome<MemberId> {
        Ok(self.person(name)?.id)
    }

    /// Carries `message` to everybody, its sender included; gives what those who stay in the room are told. What is due
    /// after it follows.
    pub fn spread(&mut self, message: Vec<u8>) -> Outcome<Vec<Event>> {
        let events = self.carry(message)?;
        self.refresh_where_due()?;
        Ok(events)
    }

    /// Whoever is on stage makes the commit from which on their seals count, if they have not. It is for when all who
    /// were let in have entered: whoever comes in later would miss it.
    pub fn refresh_where_due(&mut self) -> Outcome {
        let now = self.now;
        let due = |person: &&mut Person| person.voice.on_stage() && person.room.refresh_due(now);
        while let Some(person) = self.people.iter_mut().find(due) {
            let commit = person.room.refresh()?;
            self.carry(commit)?;
        }
        Ok(())
    }

    fn carry(&mut self, message: Vec<u8>) -> Outcome<Vec<Event>> {
        self.relay.note(self.now, Kind::Message, &message);
        let mut told: Option<Vec<Event>> = None;
        for person in self.people.iter_mut().filter(|person| person.room.is_open()) {
            let events = person.receive(&message, self.now)?;
            for event in &events {
                if let Event::Answered { answers, tree } = event {
                    self.relay.post(self.now, answers, tree.as_ref());
                }
            }
            if told.is_none() || (person.room.is_open() && matches!(told.as_deref(), Some([Event::Closed { .. }]))) {
                told = Some(events);
            }
        }
        Ok(told.unwrap_or_default())
    }

    /// Lets guests in by their cards, all by one commit of `by`.
    pub fn admit(&mut self, by: &str, guests: Vec<(Guest, Role)>) -> Outcome<Vec<Event>> {
        let cards: Vec<_> = guests.iter().map(|(guest, role)| (guest.card().clone(), *role)).collect();
        let admission = self.room(by)?.admit_all(&cards)?;
        let events = self.carry(admission.commit)?;
        self.relay.note(self.now, Kind::Welcome, &admission.welcome);
        for (guest, _) in guests {
            self.people.push(Person::new(guest.enter(&admission.welcome)?)?);
        }
        self.refresh_where_due()?;
        Ok(events)
    }

    /// A link of `by`'s, its gate and doorplate with the relay.
    pub fn issue_link(&mut self, by: &str, role: Role, one_shot: bool) -> Outcome<Link> {
        let terms = Terms { role, one_shot, expires: Some(self.wall().plus(3_600)) };
        let (link, commit) = self.room(by)?.issue_link(terms)?;
        self.spread(commit)?;
        let plate = self.room(by)?.doorplate(&link)?;
        self.relay.keep_door(self.now, link.gate(), plate);
        Ok(link)
    }

    /// `guest` reads the doorplate and knocks at `host`'s, who is told what comes back.
    pub fn knock(&mut self, guest: Guest, link: &Link, note: &str, host: &str) -> Outcome<(Waiting, Vec<Event>)> {
        let plate = link.read_doorplate(self.relay.doorplate(link)?)?;
        let (waiting, knock) = guest.knock(link, &plate, note, self.wall())?;
        let events = self.bring(&knock, link, host)?;
        Ok((waiting, events))
    }

    /// The relay lets a knock pass the gate of its link, and brings it to `host`.
    pub fn bring(&mut self, knock: &[u8], link: &Link, host: &str) -> Outcome<Vec<Event>> {
        self.relay.note(self.now, Kind::Knock, knock);
        link.gate().check(knock)?;
        let (now, wall) = (self.now, self.wall());
        let events = self.room(host)?.knocked(knock, now, wall)?;
        for event in &events {
            if let Event::Answered { answers, tree } = event {
                self.relay.post(now, answers, tree.as_ref());
            }
        }
        Ok(events)
    }

    /// Lets in those of `host`'s door whose knocks `who` are, by one commit.
    pub fn let_in(&mut self, host: &str, who: &[KnockId]) -> Outcome<Vec<Event>> {
        let now = self.now;
        for knock in who {
            self.room(host)?.let_in(knock, now)?;
        }
        self.open_door(host)
    }

    /// Opens the door to those who are gathered there. What is due after that waits until they have entered.
    pub fn open_door(&mut self, host: &str) -> Outcome<Vec<Event>> {
        self.pass(1);
        let now = self.now;
        let commit = self.room(host)?.open_door(now)?.ok_or("nobody is to be let in")?;
        self.carry(commit)
    }

    /// Lets go all who asked to leave, once their time has come.
    pub fn let_go(&mut self, by: &str) -> Outcome<Vec<Event>> {
        let now = self.now;
        if let Some(due) = self.room(by)?.next_duty(now) {
            self.pass(due.saturating_sub(now).as_secs_f64().ceil() as u64);
        }
        let now = self.now;
        let commit = self.room(by)?.let_go(now)?.ok_or("nobody is to be let go")?;
        self.spread(commit)
    }

    pub fn turn_away(&mut self, host: &str, knock: &KnockId, reason: &str) -> Outcome<Vec<Event>> {
        let (answer, word) = self.room(host)?.turn_away(knock, reason)?;
        self.relay.post(self.now, &[answer], None);
        self.spread(word)
    }

    /// Somebody who has knocked fetches their answer and enters; if it is a no, what it says and the guest.
    pub fn enter(&mut self, waiting: Waiting) -> Outcome<Result<(), (String, Guest)>> {
        let (answer, tree) = self.relay.answer(waiting.id())?;
        match waiting.enter(answer, tree) {
            Ok(entered) => {
                self.people.push(Person::new(entered)?);
                Ok(Ok(()))
            }
            Err(failed) => Ok(Err((failed.error.to_string(), failed.waiting.give_up()))),
        }
    }

    /// `name` says `words`, and the relay has the packet.
    pub fn speak(&mut self, name: &str, words: &str) -> Outcome<Vec<u8>> {
        let packet = self.person(name)?.voice.seal(&frame_of(words))?;
        self.relay.note(self.now, Kind::Packet, &packet);
        Ok(packet)
    }

    /// The seals that are due of what `name` said, and the relay has them.
    pub fn seals(&mut self, name: &str) -> Outcome<Vec<Vec<u8>>> {
        let now = self.now;
        let voice = &mut self.person(name)?.voice;
        let seals: Vec<_> = iter::from_fn(|| voice.next_seal(now)).collect();
        for seal in &seals {
            self.relay.note(now, Kind::Packet, seal);
        }
        Ok(seals)
    }

    /// The seals that are due of what `name` said reach everybody.
    pub fn carry_seals(&mut self, name: &str) -> Outcome {
        for seal in self.seals(name)? {
            for person in self.people.iter_mut().filter(|person| person.name != name) {
                if let Err(refusal @ Error::Malformed { what: Item::Seal, .. }) = person.voice.open(&seal, self.now) {
                    return Err(refusal.into());
                }
            }
        }
        Ok(())
    }
}
