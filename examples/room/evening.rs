//! The evening itself: everybody's end of the room, and the network between them.
//!
//! Everybody here holds a real `Room` and `Voice`, speaks real Opus and hears through a jitter buffer. Between
//! them lies nothing but the relay: control messages reach all in one order, each after a delay of its own;
//! packets are lost, delayed, reordered and doubled; and the relay itself alters and replays some.

mod insider;
mod media;
mod notes;

use std::{collections::VecDeque, error::Error, mem, path::PathBuf, time::Duration};

use parlor::{
    Admission, Card, Error as Refusal, Event, Guest, Identity, MemberId, Room, Settings, Suite, Voice,
    media::seal::SealMode,
    room::{Retried, Setting},
    sound::{Delay, Ear, EarSettings, Encoder, Encoding, FRAME_TIME},
};
use rand::{RngExt, SeedableRng, rngs::StdRng};

use crate::{
    account::{Account, Record, Span},
    cast::{ANA, Act, CAST, EMIL, EVE, FORGES_FOR, NILS, PATCHED_FOR, SECONDS, Wish, microphones, programme},
    network::{Agenda, Link, Stream, Weather},
};
use insider::{Insider, Told};
use media::guessed_keys;

type Outcome<T> = Result<T, Box<dyn Error>>;

const END: Duration = Duration::from_secs(SECONDS);
/// After the last word: its seal is made, sent again, and what is still on the wire arrives.
const DRAIN: Duration = Duration::from_millis(1_000);

/// What the user may choose.
#[derive(Debug)]
pub struct Options {
    pub seed: u64,
    pub loss_percent: f64,
    pub suite: Suite,
    pub seals: SealMode,
    pub out: PathBuf,
    pub wav: Option<PathBuf>,
    pub speech: PathBuf,
}

/// Plays the evening. `tell` is called with each thing that happens, as it happens.
pub fn play(options: &Options, tell: &mut dyn FnMut(Duration, &str)) -> Outcome<Record> {
    Evening::begin(options, tell)?.run()
}

enum Happening {
    /// Somebody's 20 ms are over: a frame out of the microphone, a frame into the ear.
    Tick(usize),
    Act(Act),
    /// A control message reaches the relay, which gives it its place in the order.
    Upload(Vec<u8>),
    /// The control message at that place of the relay's order reaches somebody.
    Control {
        who: usize,
        place: usize,
    },
    /// A welcome reaches its guest, whom the relay then serves from that place of its order on.
    Welcome {
        who: usize,
        admission: Admission,
        from: usize,
    },
    /// A packet, or what the relay made of it, reaches an ear.
    Packet {
        ear: usize,
        sent: usize,
        altered: Option<Vec<u8>>,
    },
}

/// Where somebody stands.
enum Place {
    /// At the door with a card.
    Door(Box<Guest>),
    Inside(Box<Room>),
    Outside,
}

struct Person {
    place: Place,
    /// What they speak and listen with. Who is put out keeps the voice of their last epoch; the outsider guesses.
    voice: Option<Voice>,
    ear: Ear,
    encoder: Encoder,
    /// Packets to them, and control messages to them.
    link: Link,
    stream: Stream,
    wishes: VecDeque<Wish>,
    /// Whom their commit on its way lets in, and what to hand them when it has won.
    admission: Option<(Vec<usize>, Admission)>,
    /// What they have heard.
    pcm: Vec<f32>,
    spans: Vec<Span>,
}

struct Evening<'a> {
    options: &'a Options,
    tell: &'a mut dyn FnMut(Duration, &str),
    rng: StdRng,
    agenda: Agenda<Happening>,
    people: Vec<Person>,
    ids: Vec<MemberId>,
    /// Cards reach the host beside the relay: by hand, by mail, by another messenger.
    cards: Vec<Option<Card>>,
    microphones: Vec<Vec<f32>>,
    /// To the relay, and the order it gives to control messages.
    uplink: Stream,
    order: Vec<Vec<u8>>,
    /// Welcomes and trees, which the relay carries too.
    mail: Vec<Vec<u8>>,
    /// What the patched client of nils has.
    insider: Insider,
    told: Told,
    races: usize,
    account: Account,
    epochs: Vec<(Duration, u64)>,
    events: Vec<(Duration, String)>,
}

impl<'a> Evening<'a> {
    fn begin(options: &'a Options, tell: &'a mut dyn FnMut(Duration, &str)) -> Outcome<Self> {
        let weather = Weather { loss: options.loss_percent / 100.0, burst: 4.0, duplicates: 0.01, delay_ms: 20..120 };
        let settings = Settings::default().with_suite(options.suite).with(Setting::Seals(options.seals))?;
        let encoding = Encoding::default().expected_loss(options.loss_percent as u8)?;
        // What waits for a seal comes half a second late.
        let listening = match options.seals {
            SealMode::Off => EarSettings::default(),
            _ => EarSettings { delay: Delay::between(FRAME_TIME, Duration::from_secs(1))?, ..EarSettings::default() },
        };
        let (mut people, mut ids, mut cards, mut agenda) = (Vec::new(), Vec::new(), Vec::new(), Agenda::new());
        for (who, (name, _)) in CAST.iter().enumerate() {
            let identity = Identity::generate(name)?;
            let id = identity.id();
            let (place, voice) = match who {
                ANA => {
                    let (room, voice) = Room::create(identity, settings.clone())?;
                    (Place::Inside(Box::new(room)), Some(voice))
                }
                EVE => (Place::Outside, Some(Voice::new(guessed_keys(options.suite, 0)?))),
                _ => (Place::Door(Box::new(Guest::new(identity)?)), None),
            };
            cards.push(if let Place::Door(guest) = &place { Some(guest.card().clone()) } else { None });
            ids.push(id);
            people.push(Person {
                place,
                voice,
                ear: Ear::of(id, listening),
                encoder: Encoder::new(encoding)?,
                link: Link::new(weather.clone(), options.seed.wrapping_mul(31).wrapping_add(who as u64)),
                stream: Stream::default(),
                wishes: VecDeque::new(),
                admission: None,
                pcm: Vec::new(),
                spans: Vec::new(),
            });
            agenda.put(Duration::from_micros(1_700 * who as u64), Happening::Tick(who));
        }
        for (at, act) in programme() {
            agenda.put(Duration::from_secs_f64(at), Happening::Act(act));
        }
        Ok(Self {
            options,
            tell,
            rng: StdRng::seed_from_u64(options.seed),
            agenda,
            people,
            ids,
            cards,
            microphones: microphones(&options.speech, options.wav.as_deref())?,
            uplink: Stream::default(),
            order: Vec::new(),
            mail: Vec::new(),
            insider: Insider::new(encoding),
            told: Told::default(),
            races: 0,
            account: Account::of(settings.seals()),
            epochs: Vec::new(),
            events: Vec::new(),
        })
    }

    fn run(mut self) -> Outcome<Record> {
        self.note(Duration::ZERO, "ana opens the room");
        self.register(ANA, Duration::ZERO);
        for who in 0..CAST.len() {
            self.stand(who, Duration::ZERO);
        }
        while let Some((now, happening)) = self.agenda.take() {
            if now > END + DRAIN {
                break;
            }
            match happening {
                Happening::Tick(who) => {
                    self.tick(who, now)?;
                    self.agenda.put(now + FRAME_TIME, Happening::Tick(who));
                }
                Happening::Act(act) => self.act(act, now)?,
                Happening::Upload(message) => self.take_its_place(message, now),
                Happening::Control { who, place } => self.control(who, place, now)?,
                Happening::Welcome { who, admission, from } => self.enter(who, &admission, from, now)?,
                Happening::Packet { ear, sent, altered } => self.arrive(ear, sent, altered, now),
            }
        }
        self.close()
    }

    // ---- control ----

    fn act(&mut self, act: Act, now: Duration) -> Outcome<()> {
        match act {
            Act::Wish(who, wish) => {
                self.people[who].wishes.push_back(wish);
                self.command(who, now)?;
            }
            Act::Leave(who) => {
                let Place::Inside(room) = &mut self.people[who].place else { return Ok(()) };
                let message = room.leave()?;
                self.note(now, &format!("{} says good-bye", CAST[who].0));
                self.upload(message, now);
            }
            Act::Patch => {
                let Some(voice) = &mut self.people[NILS].voice else { return Ok(()) };
                let Err(refusal) = voice.seal(b"hello?") else {
                    return Err("a listener's own library sealed a frame for him".into());
                };
                self.note(now, &format!("nils, a listener, tries to speak; his library: {refusal}"));
                self.note(now, "nils patches his client: it seals with the room's real keys from his next epoch on");
                self.insider.patched = now..now + Duration::from_secs(PATCHED_FOR);
            }
            Act::Forge => {
                self.note(now, "nils derives ana's frame key, as any member can, and speaks in her name");
                self.insider.forges = now..now + Duration::from_secs_f64(FORGES_FOR);
            }
        }
        Ok(())
    }

    /// A client on stage asks whether a refresh is due, above all the one from which on its seals count; behind what it
    /// wants already, which may do as well.
    fn refresh_if_due(&mut self, who: usize, now: Duration) -> Outcome<()> {
        let Person { place: Place::Inside(room), voice: Some(voice), wishes, .. } = &mut self.people[who] else {
            return Ok(());
        };
        if voice.on_stage() && wishes.is_empty() && room.refresh_due(now) {
            wishes.push_back(Wish::Refresh);
            self.command(who, now)?;
        }
        Ok(())
    }

    /// Lets go those who have said good-bye, when their time has come.
    fn let_go_if_due(&mut self, who: usize, now: Duration) -> Outcome<()> {
        let Place::Inside(room) = &mut self.people[who].place else { return Ok(()) };
        if room.next_duty(now).is_some_and(|due| due <= now)
            && let Some(commit) = room.let_go(now)?
        {
            self.upload(commit, now);
        }
        Ok(())
    }

    /// Makes a commit of the next wish, unless one is on its way already.
    fn command(&mut self, who: usize, now: Duration) -> Outcome<()> {
        let person = &mut self.people[who];
        let Place::Inside(room) = &mut person.place else { return Ok(()) };
        if room.is_pending() {
            return Ok(());
        }
        let Some(wish) = person.wishes.pop_front() else { return Ok(()) };
        let commit = match wish {
            Wish::Admit(guests) => {
                let batch: Vec<_> = guests
                    .iter()
                    .filter_map(|(guest, role)| self.cards[*guest].clone().map(|card| (card, *role)))
                    .collect();
                let admission = room.admit_all(&batch)?;
                let commit = admission.commit.clone();
                person.admission = Some((guests.iter().map(|(guest, _)| *guest).collect(), admission));
                commit
            }
            Wish::SetRole(target, role) => room.set_role(&self.ids[target], role)?,
            Wish::Remove(target) => room.remove(&self.ids[target])?,
            Wish::Refresh => room.refresh()?,
            Wish::Again(intent) => match (room.retry(&intent)?, &mut person.admission) {
                (Retried::Admission(again), Some((_, admission))) => {
                    *admission = again;
                    admission.commit.clone()
                }
                (Retried::Commit(commit), _) => commit,
                // Others have done it already.
                _ => return self.command(who, now),
            },
        };
        self.upload(commit, now);
        Ok(())
    }

    /// Sends a control message on its way to the relay.
    fn upload(&mut self, message: Vec<u8>, now: Duration) {
        let delay = Duration::from_millis(self.rng.random_range(20..120));
        self.agenda.put(self.uplink.carry(now, delay), Happening::Upload(message));
    }

    /// The relay takes a control message: its place in the log is the room's order.
    fn take_its_place(&mut self, message: Vec<u8>, now: Duration) {
        let place = self.order.len();
        self.order.push(message);
        for (who, person) in self.people.iter_mut().enumerate() {
            if matches!(person.place, Place::Inside(_)) {
                let at = person.stream.carry(now, person.link.delay());
                self.agenda.put(at, Happening::Control { who, place });
            }
        }
    }

    fn control(&mut self, who: usize, place: usize, now: Duration) -> Outcome<()> {
        let Place::Inside(room) = &mut self.people[who].place else { return Ok(()) };
        let before = room.epoch();
        let events = match room.receive(&self.order[place], now) {
            Ok(events) => events,
            // The commit that lost a race, as everybody but its maker sees it.
            Err(Refusal::WrongEpoch { message, room, .. }) if message < room => return Ok(()),
            Err(other) => return Err(format!("{} and control message {place}: {other}", CAST[who].0).into()),
        };
        let lost = events.iter().any(|event| matches!(event, Event::Superseded { .. }));
        for event in events {
            self.event(who, event, now)?;
        }
        self.stand(who, now);
        // One's own commit has won: its guests may come in.
        let merged = matches!(&self.people[who].place, Place::Inside(room) if room.epoch() > before);
        if merged && !lost {
            self.welcome(who, place, now);
        }
        self.command(who, now)
    }

    fn event(&mut self, who: usize, event: Event, now: Duration) -> Outcome<()> {
        match event {
            Event::Rekeyed(keys) => {
                if self.register(who, now)
                    && let Some(guess) = &mut self.people[EVE].voice
                {
                    guess.rekey(guessed_keys(self.options.suite, keys.epoch())?)?;
                }
                let keys = if who == NILS && self.insider.is_patched() { self.patch(keys)? } else { keys };
                if let Some(voice) = &mut self.people[who].voice {
                    voice.rekey(keys)?;
                    self.unpark(who, now);
                }
            }
            Event::Superseded { by, intent } => {
                self.races += 1;
                self.note(now, &format!("{} loses a race to {}, and tries again", CAST[who].0, self.name(by)));
                self.people[who].wishes.push_front(Wish::Again(intent));
            }
            Event::Closed { .. } => {
                self.people[who].place = Place::Outside;
                self.account.leave(who);
            }
            Event::Refused { why, .. } => self.note(now, &format!("{} refuses a change: {why}", CAST[who].0)),
            // The rest everybody is told alike: it is for the host to note once.
            Event::Joined { member, .. } if who == ANA => {
                self.note(now, &format!("{} is admitted as {}", self.name(member), self.role(who, member)));
            }
            Event::Left { name, .. } if who == ANA => self.note(now, &format!("{name} has left; the key changed")),
            Event::Removed { name, by, .. } if who == ANA => {
                self.note(now, &format!("{name} is removed by {}; the key changed", self.name(by)));
            }
            Event::RoleChanged { member, from, .. } if who == ANA => {
                self.note(now, &format!("{}: from {from} to {}", self.name(member), self.role(who, member)));
            }
            Event::Refreshed { member } if who == ANA => {
                self.note(now, &format!("{} refreshes the keys", self.name(member)));
            }
            _ => {}
        }
        Ok(())
    }

    /// Sends out the welcomes of a commit that has won at `place` in the order, if it lets anybody in.
    fn welcome(&mut self, host: usize, place: usize, now: Duration) {
        let Some((guests, admission)) = self.people[host].admission.take() else { return };
        self.mail.push(admission.welcome.clone());
        self.mail.extend(admission.tree.clone());
        for who in guests {
            let guest = &mut self.people[who];
            let at = guest.stream.carry(now, guest.link.delay());
            self.agenda.put(at, Happening::Welcome { who, admission: admission.clone(), from: place + 1 });
        }
    }

    fn enter(&mut self, who: usize, admission: &Admission, from: usize, now: Duration) -> Outcome<()> {
        let person = &mut self.people[who];
        let guest = match mem::replace(&mut person.place, Place::Outside) {
            Place::Door(guest) => guest,
            elsewhere => {
                person.place = elsewhere;
                return Ok(());
            }
        };
        let (room, mut voice) = match &admission.tree {
            Some(tree) => guest.enter_with_tree(&admission.welcome, tree)?,
            None => guest.enter(&admission.welcome)?,
        };
        // A late guest who had kept every packet since the beginning tries them all with the room's real key.
        if who == EMIL {
            // What is of the epoch that he comes in with would be his to hear.
            let before = (0..self.account.sent.len()).filter(|sent| self.account.sent[*sent].epoch < voice.epoch());
            for sent in before.collect::<Vec<_>>() {
                let opened = voice.open(&self.account.sent[sent].bytes, now).map(drop);
                self.account.tried(who, sent, voice.epoch(), false, opened.as_ref().copied(), now);
            }
        }
        person.place = Place::Inside(Box::new(room));
        person.voice = Some(voice);
        // Whatever the relay ordered since the welcome was made.
        for place in from..self.order.len() {
            let at = person.stream.carry(now, Duration::ZERO);
            self.agenda.put(at, Happening::Control { who, place });
        }
        self.stand(who, now);
        self.note(now, &format!("{} is in and hears from here on", CAST[who].0));
        Ok(())
    }
}
