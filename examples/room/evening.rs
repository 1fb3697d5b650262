//! The evening: who comes, what they do and say, and an account of every frame.
//!
//! Everybody here holds a real `Room` and `Voice`, speaks real Opus and hears through a jitter buffer. Between
//! them lies nothing but the relay: control messages reach all in one order, each after a delay of its own;
//! packets are lost, delayed, reordered and doubled; and the relay itself alters and replays some.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, VecDeque},
    error::Error,
    path::PathBuf,
    time::Duration,
};

use parlor::{
    Card, EpochKeys, Error as Refusal, Event, Guest, Identity, Intent, LeafIndex, MemberId, Role, Room, Settings,
    Suite, Voice,
    room::Retried,
    sound::{Arrival, Counters, Ear, EarSettings, Encoder, Encoding, SILENCE, wav},
};
use rand::{RngExt, SeedableRng, rngs::StdRng};

use crate::network::{Agenda, Link, Stream, Weather};

type Outcome<T> = Result<T, Box<dyn Error>>;

const TICK: Duration = Duration::from_millis(20);
const END: Duration = Duration::from_secs(52);
/// After the last word: what is still on the wire arrives.
const DRAIN: Duration = Duration::from_millis(600);

/// What the user may choose.
#[derive(Debug)]
pub struct Options {
    pub seed: u64,
    pub loss_percent: f64,
    pub suite: Suite,
    pub out: PathBuf,
    pub wav: Option<PathBuf>,
    pub speech: PathBuf,
}

/// Everything the table and the page show.
#[derive(Debug, Default)]
pub struct Record {
    pub length: Duration,
    pub headline: String,
    pub figures: Vec<(String, String)>,
    pub epochs: Vec<(Duration, u64)>,
    pub events: Vec<(Duration, String)>,
    pub lanes: Vec<Lane>,
    pub packets: Vec<(Duration, Vec<u8>)>,
    pub relay_lines: Vec<String>,
    pub table_head: Vec<&'static str>,
    pub table_rows: Vec<Vec<String>>,
    pub promises: Vec<Promise>,
}

/// One ear.
#[derive(Debug)]
pub struct Lane {
    pub name: &'static str,
    pub caption: &'static str,
    pub pcm: Vec<f32>,
    pub spans: Vec<Span>,
}

/// Where somebody stood for a while.
#[derive(Debug)]
pub struct Span {
    pub from: Duration,
    pub to: Duration,
    pub kind: &'static str,
}

/// Something the library promises, and whether it held.
#[derive(Debug)]
pub struct Promise {
    pub kept: bool,
    pub text: &'static str,
    pub figure: String,
}

const ANA: usize = 0;
const CARLO: usize = 1;
const MAXIM: usize = 2;
const BEN: usize = 3;
const NILS: usize = 4;
const DORA: usize = 5;
const EMIL: usize = 6;
const EVE: usize = 7;

const CAST: [(&str, &str); 8] = [
    ("ana", "the host; reads Austen"),
    ("carlo", "speaks Italian; removed in mid-sentence"),
    ("maxim", "comes to listen, is called on stage, speaks Russian"),
    ("ben", "listens from the start; leaves"),
    ("nils", "listens; patches his client to speak"),
    ("dora", "comes during the evening"),
    ("emil", "comes late; had recorded everything before"),
    ("eve", "an outsider with the relay's tap"),
];

/// What happens when. Talk is in [`Evening::script`].
fn programme() -> Vec<(f64, Act)> {
    vec![
        (0.0, Act::Wish(ANA, Wish::Admit(vec![(CARLO, Role::Speaker), (BEN, Role::Listener), (NILS, Role::Listener)]))),
        (10.0, Act::Wish(ANA, Wish::Admit(vec![(MAXIM, Role::Listener), (DORA, Role::Listener)]))),
        (16.0, Act::Wish(ANA, Wish::SetRole(MAXIM, Role::Speaker))),
        (18.0, Act::Patch),
        (23.0, Act::Wish(ANA, Wish::Remove(CARLO))),
        (28.0, Act::Leave(BEN)),
        // Two commits for one epoch: the relay's order decides, the loser tries again.
        (33.0, Act::Wish(DORA, Wish::Refresh)),
        (33.0, Act::Wish(ANA, Wish::Refresh)),
        (38.0, Act::Wish(ANA, Wish::Admit(vec![(EMIL, Role::Listener)]))),
    ]
}

/// Plays the evening. `tell` is called with each thing that happens, as it happens.
pub fn play(options: &Options, tell: impl FnMut(Duration, &str)) -> Outcome<Record> {
    Evening::begin(options, tell)?.run()
}

#[derive(Debug)]
enum Act {
    Wish(usize, Wish),
    /// A listener's patched client starts to transmit.
    Patch,
    Leave(usize),
}

#[derive(Clone, Debug)]
enum Wish {
    Admit(Vec<(usize, Role)>),
    SetRole(usize, Role),
    Remove(usize),
    Refresh,
    Retry(Intent),
}

enum Happening {
    Tick(usize),
    Act(Act),
    /// A control message reaches the relay, which gives it its place in the order.
    Upload(Vec<u8>),
    Control(usize, usize),
    Welcome(usize, Welcome),
    /// A packet, or what the relay made of it, reaches an ear.
    Packet {
        ear: usize,
        sent: usize,
        bytes: Option<Vec<u8>>,
    },
}

/// Where somebody stands.
enum Place {
    /// At the door with a card.
    Door(Option<Guest>),
    Inside(Box<Seat>),
    /// Was inside; what is left is the voice of the last epoch.
    Gone(Option<Box<Voice>>),
    /// Never let in: a room of her own is all she has.
    Outside(Box<Voice>),
}

#[derive(Clone)]
struct Welcome {
    welcome: Vec<u8>,
    tree: Option<Vec<u8>>,
}

struct Seat {
    room: Room,
    voice: Voice,
    entered: u64,
    /// The welcome to hand out if the pending commit wins.
    welcome: Option<(Vec<usize>, Welcome)>,
    wishes: VecDeque<Wish>,
}

struct Attendee {
    place: Place,
    ear: Ear,
    encoder: Encoder,
    link: Link,
    stream: Stream,
    pcm: Vec<f32>,
    spans: Vec<Span>,
    /// The fate of each frame meant for this ear.
    fates: HashMap<usize, Fate>,
    refused: BTreeMap<&'static str, u64>,
    late_by_keys: u64,
    /// Frames opened that this ear had no right to.
    stolen: u64,
    attempts: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Fate {
    OnItsWay,
    LostOnTheWire,
    Parked,
    Opened,
    /// Refused because its speaker had been removed from the stage by then: what the host wanted.
    OffStage,
    /// Came after this ear had left.
    AfterLeaving,
    /// Refused although speaker and ear were both there: a frame lost to a key change.
    LostToKeys,
}

struct Sent {
    at: Duration,
    speaker: usize,
    leaf: LeafIndex,
    epoch: u64,
    counter: u64,
    honest: bool,
    bytes: Vec<u8>,
}

struct Evening<'a, T> {
    tell: T,
    suite: Suite,
    rng: StdRng,
    agenda: Agenda<Happening>,
    people: Vec<Attendee>,
    ids: Vec<MemberId>,
    /// Cards reach the host beside the relay: by hand, by mail, by another messenger.
    cards: Vec<Card>,
    script: Vec<Vec<f32>>,
    log: Vec<Vec<u8>>,
    sent: Vec<Sent>,
    index: HashMap<(LeafIndex, u64, u64), usize>,
    uplink: Stream,
    patched: Option<Box<Voice>>,
    patched_until: Duration,
    tampered: u64,
    tampered_opened: u64,
    races: u64,
    record: Record,
    options: &'a Options,
}

impl<'a, T: FnMut(Duration, &str)> Evening<'a, T> {
    fn begin(options: &'a Options, tell: T) -> Outcome<Self> {
        let weather = Weather { loss: options.loss_percent / 100.0, burst: 4.0, duplicates: 0.01, delay_ms: 20..120 };
        let settings = Settings::default().with_suite(options.suite);
        let mut ids = Vec::new();
        let mut cards = Vec::new();
        let mut people = Vec::new();
        for (who, (name, _)) in CAST.iter().enumerate() {
            let identity = Identity::generate(name)?;
            ids.push(identity.id());
            let place = match who {
                ANA => {
                    let (room, voice) = Room::create(identity, settings.clone())?;
                    Place::Inside(Box::new(Seat { room, voice, entered: 0, welcome: None, wishes: VecDeque::new() }))
                }
                EVE => Place::Outside(Box::new(Room::create(identity, settings.clone())?.1)),
                _ => Place::Door(Some(Guest::new(identity)?)),
            };
            let card = match &place {
                Place::Door(Some(guest)) => guest.card().clone(),
                _ => Guest::new(Identity::generate(name)?)?.card().clone(),
            };
            cards.push(card);
            people.push(Attendee {
                place,
                ear: Ear::of(ids[who], EarSettings::default()),
                encoder: Encoder::new(Encoding::default().expected_loss(options.loss_percent as u8)?)?,
                link: Link::new(weather.clone(), options.seed.wrapping_mul(31).wrapping_add(who as u64)),
                stream: Stream::default(),
                pcm: Vec::new(),
                spans: Vec::new(),
                fates: HashMap::new(),
                refused: BTreeMap::new(),
                late_by_keys: 0,
                stolen: 0,
                attempts: 0,
            });
        }
        let mut agenda = Agenda::new();
        for who in 0..people.len() {
            agenda.put(Duration::from_micros(1_700 * who as u64), Happening::Tick(who));
        }
        for (at, act) in programme() {
            agenda.put(Duration::from_secs_f64(at), Happening::Act(act));
        }
        Ok(Self {
            tell,
            suite: options.suite,
            rng: StdRng::seed_from_u64(options.seed),
            agenda,
            people,
            ids,
            cards,
            script: script(options)?,
            log: Vec::new(),
            sent: Vec::new(),
            index: HashMap::new(),
            uplink: Stream::default(),
            patched: None,
            patched_until: Duration::ZERO,
            tampered: 0,
            tampered_opened: 0,
            races: 0,
            record: Record { length: END, epochs: vec![(Duration::ZERO, 0)], ..Record::default() },
            options,
        })
    }

    fn run(mut self) -> Outcome<Record> {
        self.note(Duration::ZERO, "ana opens the room");
        self.stand(ANA, Duration::ZERO);
        while let Some((now, happening)) = self.agenda.take() {
            if now > END + DRAIN {
                break;
            }
            match happening {
                Happening::Tick(who) if now < END => {
                    self.tick(who, now)?;
                    self.agenda.put(now + TICK, Happening::Tick(who));
                }
                Happening::Tick(_) => {}
                Happening::Act(act) => self.act(act, now)?,
                Happening::Upload(bytes) => self.order(bytes, now),
                Happening::Control(who, place) => self.control(who, place, now)?,
                Happening::Welcome(who, welcome) => self.enter(who, &welcome, now)?,
                Happening::Packet { ear, sent, bytes } => self.arrive(ear, sent, bytes, now),
            }
        }
        self.close()
    }

    // ---- control ----

    fn act(&mut self, act: Act, now: Duration) -> Outcome<()> {
        match act {
            Act::Wish(who, wish) => {
                if let Place::Inside(seat) = &mut self.people[who].place {
                    seat.wishes.push_back(wish);
                }
                self.command(who, now)
            }
            Act::Leave(who) => {
                let Place::Inside(seat) = &mut self.people[who].place else { return Ok(()) };
                let bytes = seat.room.leave()?;
                self.note(now, &format!("{} says good-bye", CAST[who].0));
                self.upload(bytes, now);
                Ok(())
            }
            Act::Patch => {
                let Place::Inside(seat) = &mut self.people[NILS].place else { return Ok(()) };
                let refusal = seat.voice.seal(b"hello?").expect_err("a listener's own library does not seal for them");
                self.note(now, &format!("nils, a listener, tries to speak; his library: {refusal}"));
                self.note(now, "nils patches his client: it seals with the room's real keys from his next epoch on");
                self.patched_until = now + Duration::from_secs(12);
                Ok(())
            }
        }
    }

    /// Turns the next wish into a commit, unless one is on its way already.
    fn command(&mut self, who: usize, now: Duration) -> Outcome<()> {
        let Place::Inside(seat) = &mut self.people[who].place else { return Ok(()) };
        if seat.room.is_pending() {
            return Ok(());
        }
        let Some(wish) = seat.wishes.pop_front() else { return Ok(()) };
        let commit = match wish {
            Wish::Admit(guests) => {
                let batch: Vec<_> = guests.iter().map(|(guest, role)| (self.cards[*guest].clone(), *role)).collect();
                let admission = seat.room.admit_all(&batch)?;
                let names = guests.iter().map(|(guest, _)| *guest).collect();
                seat.welcome = Some((names, Welcome { welcome: admission.welcome, tree: admission.tree }));
                admission.commit
            }
            Wish::SetRole(target, role) => seat.room.set_role(&self.ids[target], role)?,
            Wish::Remove(target) => seat.room.remove(&self.ids[target])?,
            Wish::Refresh => seat.room.refresh()?,
            Wish::Retry(intent) => match seat.room.retry(intent)? {
                Retried::Admission(admission) => {
                    if let Some((_, kept)) = &mut seat.welcome {
                        *kept = Welcome { welcome: admission.welcome, tree: admission.tree };
                    }
                    admission.commit
                }
                Retried::Commit(commit) => commit,
                _ => return self.command(who, now),
            },
        };
        self.upload(commit, now);
        Ok(())
    }

    fn upload(&mut self, bytes: Vec<u8>, now: Duration) {
        let delay = Duration::from_millis(self.rng.random_range(20..120));
        let at = self.uplink.carry(now, delay);
        self.agenda.put(at, Happening::Upload(bytes));
    }

    /// The relay takes a control message: its place in the log is the room's order.
    fn order(&mut self, bytes: Vec<u8>, now: Duration) {
        let place = self.log.len();
        self.log.push(bytes);
        for who in 0..self.people.len() {
            if matches!(self.people[who].place, Place::Inside(_)) {
                let person = &mut self.people[who];
                let delay = person.link.delay();
                let at = person.stream.carry(now, delay);
                self.agenda.put(at, Happening::Control(who, place));
            }
        }
    }

    fn control(&mut self, who: usize, place: usize, now: Duration) -> Outcome<()> {
        let name = CAST[who].0;
        let bytes = self.log[place].clone();
        let Place::Inside(seat) = &mut self.people[who].place else { return Ok(()) };
        let events = match seat.room.receive(&bytes, now) {
            Ok(events) => events,
            // The loser of a race, or a commit older than one's own entry.
            Err(Refusal::WrongEpoch { .. }) => return Ok(()),
            Err(other) => return Err(format!("{name} could not receive control message {place}: {other}").into()),
        };
        let mut merged = false;
        for event in events {
            self.event(who, event, now, &mut merged)?;
        }
        let Place::Inside(seat) = &mut self.people[who].place else { return Ok(()) };
        if merged && let Some((guests, welcome)) = seat.welcome.take() {
            for guest in guests {
                let delay = self.people[guest].link.delay();
                let at = self.people[guest].stream.carry(now, delay);
                self.agenda.put(at, Happening::Welcome(guest, welcome.clone()));
            }
        }
        self.stand(who, now);
        self.command(who, now)
    }

    fn event(&mut self, who: usize, event: Event, now: Duration, merged: &mut bool) -> Outcome<()> {
        let host = who == ANA;
        match event {
            Event::Rekeyed(keys) => {
                *merged = true;
                let epoch = keys.epoch();
                let keys = if who == NILS && now < self.patched_until { self.patch(keys)? } else { keys };
                let Place::Inside(seat) = &mut self.people[who].place else { return Ok(()) };
                seat.voice.rekey(keys)?;
                self.unpark(who, now);
                if host {
                    self.record.epochs.push((now, epoch));
                }
            }
            Event::Superseded { by, intent } => {
                *merged = false;
                self.races += 1;
                self.note(now, &format!("{} loses a race to {}, and tries again", CAST[who].0, self.name(by)));
                let Place::Inside(seat) = &mut self.people[who].place else { return Ok(()) };
                seat.wishes.push_front(Wish::Retry(intent));
            }
            Event::WantsToLeave { member } if host => {
                let Place::Inside(seat) = &mut self.people[who].place else { return Ok(()) };
                let leaver = self.ids.iter().position(|id| *id == member).unwrap_or(BEN);
                seat.wishes.push_back(Wish::Remove(leaver));
            }
            Event::Closed { .. } => {
                let person = &mut self.people[who];
                if let Place::Inside(seat) = std::mem::replace(&mut person.place, Place::Gone(None)) {
                    person.place = Place::Gone(Some(Box::new(seat.voice)));
                }
                self.stand(who, now);
            }
            Event::Joined { member, .. } if host => {
                let role = self.role(who, member);
                self.note(now, &format!("{} is admitted as {role}", self.name(member)));
            }
            Event::Left { name, .. } if host => self.note(now, &format!("{name} has left; the key changed")),
            Event::Removed { name, by, .. } if host => {
                self.note(now, &format!("{name} is removed by {}; the key changed", self.name(by)));
            }
            Event::RoleChanged { member, from, .. } if host => {
                let role = self.role(who, member);
                self.note(now, &format!("{}: from {from} to {role}", self.name(member)));
            }
            Event::Refreshed { member } if host => self.note(now, &format!("{} refreshes the keys", self.name(member))),
            Event::Refused { why, .. } => {
                self.note(now, &format!("{} refuses a change: {why}", CAST[who].0));
            }
            _ => {}
        }
        Ok(())
    }

    fn enter(&mut self, who: usize, offer: &Welcome, now: Duration) -> Outcome<()> {
        let Place::Door(guest) = &mut self.people[who].place else { return Ok(()) };
        let Some(guest) = guest.take() else { return Ok(()) };
        let (room, mut voice) = match &offer.tree {
            Some(tree) => guest.enter_with_tree(&offer.welcome, tree)?,
            None => guest.enter(&offer.welcome)?,
        };
        let entered = room.epoch();
        // A late guest who had kept every packet since the beginning tries them all with the room's real key.
        if who == EMIL {
            for sent in self.sent.iter().filter(|sent| sent.epoch < entered) {
                self.people[who].attempts += 1;
                self.people[who].stolen += u64::from(voice.open(&sent.bytes, now).is_ok());
            }
        }
        self.people[who].place =
            Place::Inside(Box::new(Seat { room, voice, entered, welcome: None, wishes: VecDeque::new() }));
        self.stand(who, now);
        self.note(now, &format!("{} is in and hears from here on", CAST[who].0));
        // Whatever the relay ordered since the welcome was made.
        for place in 0..self.log.len() {
            let at = self.people[who].stream.carry(now, Duration::ZERO);
            self.agenda.put(at, Happening::Control(who, place));
        }
        Ok(())
    }

    /// The patched client: one voice to listen as before, a second that thinks its owner is on stage.
    fn patch(&mut self, keys: EpochKeys) -> Outcome<EpochKeys> {
        let (suite, layout, epoch, me, since) = (keys.suite(), keys.layout(), keys.epoch(), keys.me(), keys.since());
        let stage = keys.stage().to_vec();
        let base_key = keys.into_base_key();
        let honest = EpochKeys::new(suite, layout, epoch, base_key.clone(), me, stage.clone(), since)?;
        let mut usurped = stage;
        usurped.push(parlor::media::Speaker { leaf: me, id: self.ids[NILS] });
        let keys = EpochKeys::new(suite, layout, epoch, base_key, me, usurped, since)?;
        self.patched = Some(Box::new(Voice::new(keys)));
        Ok(honest)
    }

    // ---- media ----

    fn tick(&mut self, who: usize, now: Duration) -> Outcome<()> {
        let mut pcm = SILENCE;
        let from = (now.as_micros() * 48 / 1000) as usize;
        for (slot, sample) in pcm.iter_mut().zip(self.script[who].get(from..).unwrap_or_default()) {
            *slot = *sample;
        }
        let mut payload = [0; 512];
        let person = &mut self.people[who];
        let mut packet = None;
        match &mut person.place {
            Place::Inside(seat) if seat.voice.on_stage() => {
                let n = person.encoder.encode(&pcm, &mut payload)?;
                packet = Some((seat.voice.seal(&payload[..n])?, seat.voice.epoch(), true));
            }
            // A removed speaker whose client does not care goes on under the last keys it had.
            Place::Gone(Some(voice)) if who == CARLO && voice.on_stage() => {
                let n = person.encoder.encode(&pcm, &mut payload)?;
                packet = Some((voice.seal(&payload[..n])?, voice.epoch(), false));
            }
            _ => {}
        }
        if who == NILS
            && now < self.patched_until
            && let Some(voice) = &mut self.patched
        {
            let n = person.encoder.encode(&pcm, &mut payload)?;
            packet = Some((voice.seal(&payload[..n])?, voice.epoch(), false));
        }
        if let Some((bytes, epoch, honest)) = packet {
            self.carry(who, epoch, bytes, honest, now)?;
        }
        let mut heard = SILENCE;
        let person = &mut self.people[who];
        person.ear.mix(now, &mut heard);
        person.pcm.extend_from_slice(&heard);
        Ok(())
    }

    /// The relay fans a packet out to everybody it knows of, and tampers with some.
    fn carry(&mut self, speaker: usize, epoch: u64, bytes: Vec<u8>, honest: bool, now: Duration) -> Outcome<()> {
        let (_, leaf, counter) = self.look(&bytes)?;
        let sent = self.sent.len();
        self.index.insert((leaf, epoch, counter), sent);
        self.sent.push(Sent { at: now, speaker, leaf, epoch, counter, honest, bytes });
        for ear in (0..self.people.len()).filter(|ear| *ear != speaker) {
            let inside = match &self.people[ear].place {
                Place::Inside(seat) => seat.entered <= epoch,
                Place::Gone(_) | Place::Outside(_) => false,
                Place::Door(_) => continue,
            };
            let person = &mut self.people[ear];
            let mut arrivals = person.link.carry(now).peekable();
            if inside && honest {
                person.fates.insert(sent, if arrivals.peek().is_some() { Fate::OnItsWay } else { Fate::LostOnTheWire });
            }
            for at in arrivals {
                self.agenda.put(at, Happening::Packet { ear, sent, bytes: None });
            }
            // The relay's own mischief: one packet in a hundred altered, one in a hundred played again.
            if self.rng.random_bool(0.01) {
                let mut altered = self.sent[sent].bytes.clone();
                let at = self.rng.random_range(0..altered.len());
                altered[at] ^= 1 << self.rng.random_range(0..8);
                self.agenda.put(now + Duration::from_millis(30), Happening::Packet { ear, sent, bytes: Some(altered) });
            }
            if self.rng.random_bool(0.01) {
                let again = self.rng.random_range(0..=sent);
                let bytes = self.sent[again].bytes.clone();
                self.agenda
                    .put(now + Duration::from_millis(150), Happening::Packet { ear, sent: again, bytes: Some(bytes) });
            }
        }
        Ok(())
    }

    fn arrive(&mut self, ear: usize, sent: usize, made: Option<Vec<u8>>, now: Duration) {
        let tampered = made.as_ref().is_some_and(|bytes| *bytes != self.sent[sent].bytes);
        let bytes = made.unwrap_or_else(|| self.sent[sent].bytes.clone());
        self.tampered += u64::from(tampered);
        let Sent { speaker, epoch, .. } = self.sent[sent];
        let person = &mut self.people[ear];
        match &mut person.place {
            Place::Inside(seat) => match seat.voice.open(&bytes, now) {
                Ok(heard) => {
                    self.tampered_opened += u64::from(tampered);
                    let on_stage = seat.room.member(&self.ids[speaker]).is_some_and(|member| member.role.on_stage());
                    person.stolen += u64::from(!on_stage || epoch < seat.entered);
                    person.fates.insert(sent, Fate::Opened);
                    // A payload that is no voice frame is the jitter buffer's to refuse and to count.
                    let _ = person.ear.hear(heard.speaker, &heard.frame, now);
                }
                Err(refusal) => {
                    let reason = reason(&refusal);
                    let on_stage = seat.room.member(&self.ids[speaker]).is_some_and(|member| member.role.on_stage());
                    if reason != "parked" {
                        *person.refused.entry(reason).or_default() += 1;
                    }
                    let fate = person.fates.get_mut(&sent).filter(|fate| matches!(fate, Fate::OnItsWay | Fate::Parked));
                    if !tampered && let Some(fate) = fate {
                        *fate = match (reason, on_stage) {
                            ("parked", _) => Fate::Parked,
                            (_, false) => Fate::OffStage,
                            ("replayed", true) => *fate,
                            (_, true) => Fate::LostToKeys,
                        };
                    }
                }
            },
            Place::Gone(Some(voice)) => {
                person.attempts += 1;
                // What was sealed before the speaker knew of the removal was his to hear.
                let opened = voice.open(&bytes, now).is_ok();
                person.stolen += u64::from(opened && epoch > voice.epoch());
                if let Some(fate) = person.fates.get_mut(&sent)
                    && *fate == Fate::OnItsWay
                {
                    *fate = Fate::AfterLeaving;
                }
            }
            Place::Outside(voice) => {
                person.attempts += 1;
                person.stolen += u64::from(voice.open(&bytes, now).is_ok());
            }
            Place::Gone(None) | Place::Door(_) => {}
        }
    }

    /// Lets out what had waited for the key that has just come.
    fn unpark(&mut self, who: usize, now: Duration) {
        let person = &mut self.people[who];
        let Place::Inside(seat) = &mut person.place else { return };
        while let Some(parked) = seat.voice.unpark(now) {
            let Ok(heard) = parked else { continue };
            let sent = self.index.get(&(heard.leaf, heard.epoch, heard.counter)).copied();
            let arrival = person.ear.hear(heard.speaker, &heard.frame, now);
            person.late_by_keys += u64::from(matches!(arrival, Ok(Some(Arrival::Late))));
            if let Some(sent) = sent {
                let speaker = seat.room.member(&self.ids[self.sent[sent].speaker]);
                person.stolen += u64::from(!speaker.is_some_and(|member| member.role.on_stage()));
                person.fates.insert(sent, Fate::Opened);
            }
        }
    }

    /// What a relay can read in a packet: epoch bits, leaf, counter.
    fn look(&self, packet: &[u8]) -> Outcome<(u64, LeafIndex, u64)> {
        let header = parlor::media::sframe::Header::decode(packet)?.0;
        let (_, leaf, epoch_bits) = parlor::KeyIdLayout::default().split(header.kid);
        Ok((epoch_bits, leaf, header.counter))
    }

    // ---- the account ----

    fn note(&mut self, now: Duration, text: &str) {
        (self.tell)(now, text);
        self.record.events.push((now, text.to_owned()));
    }

    fn name(&self, id: MemberId) -> &'static str {
        self.ids.iter().position(|known| *known == id).map_or("somebody", |who| CAST[who].0)
    }

    /// The role somebody has, as `who` sees it.
    fn role(&self, who: usize, member: MemberId) -> Role {
        match &self.people[who].place {
            Place::Inside(seat) => seat.room.member(&member).map(|member| member.role).unwrap_or_default(),
            _ => Role::default(),
        }
    }

    /// Notes where somebody stands from `now` on.
    fn stand(&mut self, who: usize, now: Duration) {
        let person = &mut self.people[who];
        let kind = match &person.place {
            Place::Inside(seat) if seat.voice.on_stage() => "stage",
            Place::Inside(_) => "listening",
            _ => "outside",
        };
        if let Some(last) = person.spans.last_mut() {
            if last.kind == kind {
                return;
            }
            last.to = now;
        }
        person.spans.push(Span { from: now, to: END, kind });
    }

    fn close(mut self) -> Outcome<Record> {
        let epochs = self.record.epochs.len();
        let mut record = std::mem::take(&mut self.record);
        record.table_head = vec![
            "ear",
            "frames sent to it",
            "heard",
            "FEC",
            "concealed",
            "lost on the wire",
            "too late for the ear",
            "late because of keys",
            "lost because of keys",
            "refused: off stage",
            "refused: forged",
            "refused: replayed",
            "refused: old keys",
            "attempts without a key",
            "opened without right",
        ];
        let mut lost_to_keys = 0;
        let mut due_total = 0;
        for (who, (name, _)) in CAST.iter().enumerate() {
            let person = &self.people[who];
            let count = |fate| person.fates.values().filter(|each| **each == fate).count() as u64;
            // Parked for good is lost as surely as refused.
            let lost = count(Fate::LostToKeys) + count(Fate::Parked) + count(Fate::OnItsWay);
            let due = person.fates.len() as u64 - count(Fate::AfterLeaving);
            lost_to_keys += lost;
            due_total += due;
            let stats = person.ear.accounts().fold(Counters::default(), |sum, (_, account)| sum.plus(account.counters));
            let refused = |reason| person.refused.get(reason).copied().unwrap_or(0).to_string();
            record.table_rows.push(vec![
                (*name).to_owned(),
                due.to_string(),
                count(Fate::Opened).to_string(),
                stats.recovered.to_string(),
                stats.concealed.to_string(),
                count(Fate::LostOnTheWire).to_string(),
                stats.late.to_string(),
                person.late_by_keys.to_string(),
                lost.to_string(),
                refused("off stage"),
                refused("forged"),
                refused("replayed"),
                refused("old keys"),
                person.attempts.to_string(),
                person.stolen.to_string(),
            ]);
        }
        record.promises = self.promises(lost_to_keys, due_total)?;
        let stolen = |who: usize| self.people[who].stolen;
        record.headline = format!(
            "Three voices, four listeners, an outsider; {:.0} % of packets lost in bursts, 20 to 120 ms of delay, seed {}. {} epochs, and no frame lost to any of their keys.",
            self.options.loss_percent, self.options.seed, epochs
        );
        record.figures = vec![
            (self.sent.len().to_string(), "packets through the relay".into()),
            (record.epochs.len().to_string(), "epochs, each with fresh keys".into()),
            (lost_to_keys.to_string(), format!("of {due_total} frames lost because of keys")),
            (stolen(EVE).to_string(), format!("of {} packets opened by the outsider", self.people[EVE].attempts)),
            (stolen(CARLO).to_string(), format!("of {} opened by the removed one", self.people[CARLO].attempts)),
            (stolen(EMIL).to_string(), format!("of {} from before opened by the late one", self.people[EMIL].attempts)),
        ];
        record.relay_lines = self.relay_lines()?;
        record.packets = self.sent.iter().map(|sent| (sent.at, sent.bytes.clone())).collect();
        for (person, (name, caption)) in self.people.into_iter().zip(CAST) {
            record.lanes.push(Lane { name, caption, pcm: person.pcm, spans: person.spans });
        }
        Ok(record)
    }

    fn promises(&self, lost_to_keys: u64, due: u64) -> Outcome<Vec<Promise>> {
        let zero =
            |text, figure: u64, of: String| Promise { kept: figure == 0, text, figure: format!("{figure} {of}") };
        let usurped = self.sent.iter().filter(|sent| !sent.honest);
        let (by_nils, by_carlo): (Vec<_>, Vec<_>) = usurped.partition(|sent| sent.speaker == NILS);
        let unrightful: u64 = [ANA, MAXIM, BEN, NILS, DORA, EMIL].iter().map(|who| self.people[*who].stolen).sum();
        let mut sizes = BTreeSet::new();
        for sent in &self.sent {
            let header = parlor::media::sframe::Header::decode(&sent.bytes)?.1;
            sizes.insert(sent.bytes.len() - header);
        }
        let mut codes = BTreeSet::new();
        let mut rosters = BTreeSet::new();
        for person in &self.people {
            if let Place::Inside(seat) = &person.place {
                codes.insert(seat.room.code().to_string());
                rosters.insert(seat.room.roster().map(|member| member.name.clone()).collect::<Vec<_>>());
            }
        }
        let names = CAST.iter().filter(|(name, _)| {
            self.log.iter().any(|bytes| bytes.windows(name.len()).any(|window| window == name.as_bytes()))
        });
        Ok(vec![
            zero("no frame is lost to a key change", lost_to_keys, format!("of {due} frames")),
            zero(
                "the outsider opens nothing",
                self.people[EVE].stolen,
                format!("of {} packets", self.people[EVE].attempts),
            ),
            zero(
                "the removed one opens nothing sealed after the removal",
                self.people[CARLO].stolen,
                format!("of {} packets", self.people[CARLO].attempts),
            ),
            zero(
                "the late one opens nothing from before",
                self.people[EMIL].stolen,
                format!("of {} packets", self.people[EMIL].attempts),
            ),
            Promise {
                kept: unrightful == 0 && !by_nils.is_empty() && !by_carlo.is_empty(),
                text: "nobody hears who is not on stage",
                figure: format!(
                    "{unrightful} played of {} by the patched listener and {} by the removed speaker, both sealed with real keys",
                    by_nils.len(),
                    by_carlo.len()
                ),
            },
            Promise {
                kept: self.tampered_opened == 0 && self.tampered > 0,
                text: "nothing the relay alters is played",
                figure: format!("{} of {} altered packets", self.tampered_opened, self.tampered),
            },
            Promise {
                kept: sizes.len() == 1,
                text: "sizes say nothing about words: one ciphertext length",
                figure: sizes.iter().map(|size| format!("{size} B")).collect::<Vec<_>>().join(", "),
            },
            zero(
                "no name crosses the relay",
                names.count() as u64,
                format!("found in {} control messages", self.log.len()),
            ),
            Promise {
                kept: codes.len() == 1 && rosters.len() == 1,
                text: "all who remain agree on roster and room code",
                figure: codes.into_iter().collect::<Vec<_>>().join(" / "),
            },
            Promise {
                kept: self.races > 0,
                text: "of two commits at once one wins, the other is told and retried",
                figure: format!("{} race(s)", self.races),
            },
        ])
    }

    /// A few lines of the relay's log from the liveliest seconds.
    fn relay_lines(&self) -> Outcome<Vec<String>> {
        let mut lines = vec![
            format!("suite on the wire: not told (here {:?})", self.suite),
            "   time  epoch&ff  leaf  counter  bytes  ciphertext".to_owned(),
        ];
        let step = (self.sent.len() / 26).max(1);
        for sent in self.sent.iter().step_by(step) {
            let (epoch_bits, leaf, counter) = self.look(&sent.bytes)?;
            let hex: String = sent.bytes.iter().skip(5).take(16).map(|byte| format!("{byte:02x}")).collect();
            lines.push(format!(
                "{:6.2} s  {epoch_bits:8}  {:4}  {counter:7}  {:5}  {hex}…",
                sent.at.as_secs_f64(),
                leaf.0,
                sent.bytes.len()
            ));
        }
        debug_assert!(self.sent.iter().all(|sent| sent.leaf.0 < 64 && sent.counter < 1 << 16));
        Ok(lines)
    }
}

/// Why something was refused, in the table's words.
fn reason(refusal: &Refusal) -> &'static str {
    match refusal {
        Refusal::Parked { .. } => "parked",
        Refusal::NotOnStage { .. } => "off stage",
        Refusal::Replayed { .. } => "replayed",
        Refusal::Forged { .. } | Refusal::Malformed { .. } => "forged",
        _ => "old keys",
    }
}

/// Everybody's microphone for the whole evening, 48 kHz.
fn script(options: &Options) -> Outcome<Vec<Vec<f32>>> {
    let length = END.as_secs() as usize * 48_000;
    let mut tracks = vec![Vec::new(); CAST.len()];
    for track in &mut tracks[..=MAXIM] {
        track.resize(length, 0.0);
    }
    tracks[NILS].resize(length, 0.0);
    let mut put = |who: usize, at: f64, pcm: &[f32]| {
        let from = (at * 48_000.0) as usize;
        for (slot, sample) in tracks[who].iter_mut().skip(from).zip(pcm) {
            *slot += sample;
        }
    };
    let clip = |name: &str| wav::read(options.speech.join(name));
    for (at, name) in [
        (1.0, "austen-1.wav"),
        (12.0, "austen-2.wav"),
        (31.0, "austen-3.wav"),
        (39.0, "austen-4.wav"),
        (46.5, "austen-5.wav"),
    ] {
        put(ANA, at, &clip(name)?);
    }
    put(CARLO, 7.2, &clip("flora.wav")?);
    put(NILS, 18.0, &clip("austen-1.wav")?);
    let theirs = match &options.wav {
        Some(path) => wav::read(path)?,
        None => clip("topal.wav")?,
    };
    put(MAXIM, 19.0, &theirs);
    Ok(tracks)
}
