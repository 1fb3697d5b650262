//! "Why can't I hear Ben?", in real rooms: every cause of silence is named rightly with its next step, whoever cannot
//! speak is told why, whoever did something is named, and no packet goes uncounted.

#[cfg(any(feature = "opus", feature = "opus-pure"))]
#[path = "why_not_heard/ear.rs"]
mod ear;
mod party;

use std::{
    collections::{BTreeMap, HashSet, VecDeque},
    iter,
    time::Duration,
};

use Role::{Host, Listener, Moderator, Speaker};
use parlor::{
    Cause, Error, Event, Hearing, LeafIndex, MemberId, Role,
    media::{
        Counters, Mute, OffStage, Stats,
        seal::{SealMode, Unsealed},
        sframe::Header,
    },
    room::{Entry, Setting, Speaking},
};
use party::{NOW, Party, enter, guest};

const ANA: usize = 0;
const MO: usize = 1;
const BEN: usize = 2;
const EVE: usize = 3;

const fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

/// A room with its voices, in which control messages reach whom the test says.
struct Evening {
    party: Party,
    ids: Vec<MemberId>,
    now: Duration,
}

impl Evening {
    /// Ana is the host; Mo a moderator, Ben a speaker, Eve a listener.
    fn new() -> Self {
        Self::of(&[("ana", Host), ("mo", Moderator), ("ben", Speaker), ("eve", Listener)])
    }

    fn of(names: &[(&str, Role)]) -> Self {
        let mut at = Self { party: Party::new(&names[..1]), ids: Vec::new(), now: NOW };
        let guests: Vec<_> = names[1..].iter().map(|(name, role)| (guest(name), *role)).collect();
        let cards: Vec<_> = guests.iter().map(|(guest, role)| (guest.card().clone(), *role)).collect();
        let admission = at.party.rooms[ANA].admit_all(&cards).unwrap();
        at.bring(ANA, &admission.commit);
        for (guest, _) in guests {
            let (room, voice) = enter(guest, &admission).unwrap();
            at.party.rooms.push(room);
            at.party.voices.push(voice);
        }
        at.ids = names.iter().map(|(name, _)| at.party.id(name)).collect();
        // From their first commit on the seals of those on stage count.
        for who in 0..names.len() {
            if at.party.rooms[who].refresh_due(at.now) {
                let refresh = at.party.rooms[who].refresh();
                at.all(refresh);
            }
        }
        at
    }

    /// Brings `message` to `to`, and what is for the voice to the voice.
    fn bring(&mut self, to: usize, message: &[u8]) -> Vec<Event> {
        let events = self.party.rooms[to].receive(message, self.now).unwrap();
        let voice = &mut self.party.voices[to];
        events.into_iter().filter_map(|event| event.tell(voice).unwrap()).collect()
    }

    /// Brings `message` to everybody who is in.
    fn all(&mut self, message: parlor::Result<Vec<u8>>) -> Vec<Vec<Event>> {
        let message = message.unwrap();
        let open: Vec<_> = (0..self.party.rooms.len()).filter(|at| self.party.rooms[*at].is_open()).collect();
        open.into_iter().map(|at| self.bring(at, &message)).collect()
    }

    /// Brings `message` to everybody but `without`.
    fn all_but(&mut self, without: usize, message: &parlor::Result<Vec<u8>>) {
        for at in (0..self.party.rooms.len()).filter(|at| *at != without) {
            self.bring(at, message.as_ref().unwrap());
        }
    }

    fn says(&mut self, who: usize) -> Vec<u8> {
        self.party.voices[who].seal(b"good evening").unwrap()
    }

    /// Brings `to` the seals of what `from` has said.
    fn seals(&mut self, from: usize, to: usize) {
        while let Some(seal) = self.party.voices[from].next_seal(self.now) {
            assert!(matches!(self.plays(to, &seal), Err(Error::Seal { .. })));
            while let Some(heard) = self.party.voices[to].unpark(self.now) {
                heard.unwrap();
            }
        }
    }

    fn plays(&mut self, who: usize, packet: &[u8]) -> parlor::Result<MemberId> {
        self.party.voices[who].open(packet, self.now).map(|heard| heard.speaker)
    }

    /// Ana's answer to "why can't I hear `who`?"
    fn hearing(&self, who: usize) -> Hearing {
        self.party.voices[ANA].hearing(&self.ids[who], self.now)
    }
}

fn counted(change: impl FnOnce(&mut Counters)) -> Counters {
    let mut counters = Counters::default();
    change(&mut counters);
    counters
}

/// A cause that was brought about: what it must be, a word of its next step, and what must be counted.
struct Row {
    cause: Cause,
    step: &'static str,
    counters: Counters,
    found: Hearing,
}

fn row(cause: Cause, step: &'static str, counters: Counters, found: Hearing) -> Row {
    Row { cause, step, counters, found }
}

/// What the room says, and what people switch off.
fn by_people() -> Vec<Row> {
    let none = Counters::default;
    let mut rows = Vec::new();

    let mut at = Evening::new();
    let (ben, mo) = (at.ids[BEN], at.ids[MO]);
    let stranger = at.party.voices[ANA].hearing(&guest("zed").card().id(), at.now);
    rows.push(row(Cause::NotInRoom, "Invite them", none(), stranger));
    rows.push(row(Cause::You, "somebody else", none(), at.hearing(ANA)));
    rows.push(row(Cause::NotOnStage, "raise a hand", none(), at.hearing(EVE)));

    // No host's heart beats, for the only one's app has stopped.
    for now in [at.now, at.now + ms(8_000), at.now + ms(16_000)] {
        for event in at.party.rooms[EVE].tick(now) {
            event.tell(&mut at.party.voices[EVE]).unwrap();
        }
    }
    rows.push(row(Cause::NoHeartbeat, "ask a host", none(), at.party.voices[EVE].hearing(&at.ids[BEN], at.now)));

    // Each comes to pass while a packet of Ben's is on its way.
    let packet = at.says(BEN);
    at.party.voices[ANA].mute(&ben);
    assert!(matches!(at.plays(ANA, &packet), Err(Error::Muted { by: Mute::You, .. })));
    rows.push(row(Cause::MutedByYou, "Unmute them", counted(|c| c.muted = 1), at.hearing(BEN)));
    at.party.voices[ANA].unmute(&ben);
    let word = at.party.rooms[BEN].set_mic(false);
    at.all(word);
    assert!(matches!(at.plays(ANA, &packet), Err(Error::Muted { by: Mute::Themselves, .. })));
    rows.push(row(Cause::MutedThemselves, "switch their microphone on", counted(|c| c.muted = 2), at.hearing(BEN)));
    let mute = at.party.rooms[MO].mute(&ben);
    at.all(mute);
    let refused = at.plays(ANA, &packet);
    assert!(matches!(refused, Err(Error::NotOnStage { why: OffStage::MutedBy(by), .. }) if by == mo), "{refused:?}");
    let counters = counted(|c| (c.muted, c.not_on_stage) = (2, 1));
    rows.push(row(Cause::MutedBy(mo), "Ask that moderator", counters, at.hearing(BEN)));

    // Out of the room nobody's account is left.
    let remove = at.party.rooms[MO].remove(&ben);
    at.all(remove);
    assert!(matches!(at.plays(ANA, &packet), Err(Error::NotOnStage { why: OffStage::NotInRoom, .. })));
    rows.push(row(Cause::NotInRoom, "Invite them", none(), at.hearing(BEN)));
    let end = at.party.rooms[ANA].end();
    at.all(end);
    rows.push(row(Cause::Closed, "fresh card", none(), at.hearing(MO)));

    let mut at = Evening::new();
    let ana = at.ids[ANA];
    let packet = at.says(BEN);
    let hand = at.party.rooms[ANA].hand_over(&at.ids[BEN].clone());
    at.all(hand);
    let remove = at.party.rooms[BEN].remove(&ana);
    at.all(remove);
    assert!(matches!(at.plays(ANA, &packet), Err(Error::Closed { .. })));
    rows.push(row(Cause::Closed, "fresh card", none(), at.hearing(BEN)));

    let mut at = Evening::of(&[("ana", Host), ("bo", Speaker), ("ben", Speaker)]);
    let packet = at.says(BEN);
    let leave = at.party.rooms[ANA].leave();
    at.all(leave);
    assert!(matches!(at.plays(ANA, &packet), Err(Error::NotOnStage { why: OffStage::NoHost, .. })));
    rows.push(row(Cause::NoHost, "another room", counted(|c| c.not_on_stage = 1), at.hearing(BEN)));
    rows
}

/// What becomes of packets on their way.
fn by_packets() -> Vec<Row> {
    let mut rows = Vec::new();

    let mut at = Evening::new();
    at.now += ms(12_345);
    rows.push(row(Cause::NothingYet { waited: ms(12_345) }, "Wait until", Counters::default(), at.hearing(BEN)));
    let packet = at.says(BEN);
    at.plays(ANA, &packet).unwrap();
    at.now += ms(1000);
    rows.push(row(Cause::Heard, "the volume", counted(|c| c.opened = 1), at.hearing(BEN)));
    at.now += ms(4000);
    let silent = Cause::NoPackets { silent: ms(5000) };
    rows.push(row(silent, "whether others hear", counted(|c| c.opened = 1), at.hearing(BEN)));
    assert!(matches!(at.plays(ANA, &packet), Err(Error::Replayed { .. })));
    rows.push(row(Cause::Replayed, "twice", counted(|c| (c.opened, c.replayed) = (1, 1)), at.hearing(BEN)));
    let mut damaged = at.says(BEN);
    *damaged.last_mut().unwrap() ^= 1;
    assert!(matches!(at.plays(ANA, &damaged), Err(Error::Forged { .. })));
    let counters = counted(|c| (c.opened, c.replayed, c.forged) = (1, 1, 1));
    rows.push(row(Cause::Forged, "compare the room code", counters, at.hearing(BEN)));

    // Held up for longer than the replay window.
    let mut at = Evening::new();
    let held_up = at.says(BEN);
    for _ in 0..99 {
        let packet = at.says(BEN);
        at.plays(ANA, &packet).unwrap();
        at.seals(BEN, ANA);
    }
    at.now += ms(1001);
    assert!(matches!(at.plays(ANA, &held_up), Err(Error::TooLate { .. })));
    let counters = counted(|c| (c.opened, c.verified, c.too_late) = (99, 99, 1));
    rows.push(row(Cause::TooLate, "held up", counters, at.hearing(BEN)));

    // Only sealed sound is played, and the relay drops the seals.
    let mut at = Evening::new();
    let strict = at.party.rooms[ANA].set(Setting::Seals(SealMode::Strict));
    at.all(strict);
    for frame in 1..=150 {
        let packet = at.says(BEN);
        assert!(matches!(at.plays(ANA, &packet), Err(Error::Held { .. })));
        let counters = counted(|c| c.held = frame);
        match 20 * (frame - 1) {
            2000 => rows.push(row(Cause::SealOnItsWay { waited: ms(2000) }, "Wait", counters, at.hearing(BEN))),
            waited @ 0..2000 => assert_eq!(at.hearing(BEN).cause, Cause::SealOnItsWay { waited: ms(waited) }),
            _ => assert_eq!(at.hearing(BEN).cause, Cause::Unsealed),
        }
        at.now += ms(20);
    }
    // Of three seconds the first was held for two, and given up.
    assert!(at.party.voices[ANA].next_finding(at.now).is_none());
    let counters = counted(|c| (c.held, c.unsealed) = (150, 50));
    rows.push(row(Cause::Unsealed, "it drops seals", counters, at.hearing(BEN)));
    // They come after all, and what is not too old is heard.
    at.seals(BEN, ANA);
    assert_eq!((at.hearing(BEN).cause, at.hearing(BEN).counters.verified), (Cause::Heard, 100));

    // Only sealed sound is played, seals come, and Ana's app takes nothing.
    let mut at = Evening::new();
    let strict = at.party.rooms[ANA].set(Setting::Seals(SealMode::Strict));
    at.all(strict);
    for frame in 1..=25 {
        for who in [BEN, MO] {
            let packet = at.says(who);
            assert!(matches!(at.plays(ANA, &packet), Err(Error::Held { .. })));
        }
        let waited = Cause::SealOnItsWay { waited: ms(0) };
        assert_eq!(at.hearing(BEN).cause, waited, "no seal has come before frame {frame}");
    }
    let seal = at.party.voices[BEN].next_seal(at.now).unwrap();
    assert!(matches!(at.plays(ANA, &seal), Err(Error::Seal { .. })));
    rows.push(row(Cause::NotTaken, "`Voice::unpark`", counted(|c| c.held = 25), at.hearing(BEN)));
    let waited = Cause::SealOnItsWay { waited: ms(0) };
    assert_eq!(at.hearing(MO).cause, waited, "of Mo's nothing is there to be taken");
    at.now += ms(1000);
    assert_eq!(at.hearing(BEN).cause, Cause::NotTaken);
    at.now += ms(1);
    assert_eq!(at.hearing(BEN).cause, Cause::NoPackets { silent: ms(1001) });
    assert_eq!(iter::from_fn(|| at.party.voices[ANA].unpark(at.now)).map(Result::unwrap).count(), 25);
    assert_eq!(at.hearing(BEN).cause, Cause::Heard);

    // The commit reaches all but Ben, who goes on under keys that the others have erased.
    let mut at = Evening::new();
    let refresh = at.party.rooms[MO].refresh();
    at.all_but(BEN, &refresh);
    let packet = at.says(BEN);
    at.plays(ANA, &packet).unwrap();
    at.now += ms(2001);
    let packet = at.says(BEN);
    assert!(matches!(at.plays(ANA, &packet), Err(Error::TooLate { .. })));
    let counters = counted(|c| (c.opened, c.unverified, c.wrong_epoch) = (1, 1, 1));
    rows.push(row(Cause::Behind, "They fetch", counters, at.hearing(BEN)));
    // He fetches it, and is heard.
    at.bring(BEN, refresh.as_ref().unwrap());
    let packet = at.says(BEN);
    at.plays(ANA, &packet).unwrap();
    assert_eq!(at.hearing(BEN).cause, Cause::Heard);

    // The commit reaches all but Ana.
    let mut at = Evening::new();
    let refresh = at.party.rooms[MO].refresh();
    at.all_but(ANA, &refresh);
    let mut parked = 0;
    while at.now < NOW + ms(400) {
        let packet = at.says(BEN);
        assert!(matches!(at.plays(ANA, &packet), Err(Error::Parked { .. })));
        parked += 1;
        at.now += ms(20);
    }
    let waited = Cause::KeyOnItsWay { waited: ms(400) };
    rows.push(row(waited, "Wait", counted(|c| c.parked = parked), at.hearing(BEN)));
    while at.now < NOW + ms(2600) {
        let packet = at.says(BEN);
        at.plays(ANA, &packet).unwrap_err();
        parked += 1;
        at.now += ms(20);
    }
    // Those of the first 60 ms were over 2.5 s old when the last one came, at 2,580 ms.
    let counters = counted(|c| (c.parked, c.parked_expired) = (parked, 4));
    rows.push(row(Cause::Stale { waited: ms(2600) }, "control messages", counters, at.hearing(BEN)));
    // She fetches it, and all that waits can be heard.
    at.bring(ANA, refresh.as_ref().unwrap());
    assert_eq!(
        [at.hearing(BEN).cause, at.hearing(MO).cause],
        [Cause::NotTaken, Cause::NothingYet { waited: ms(2600) }]
    );
    while let Some(heard) = at.party.voices[ANA].unpark(at.now) {
        heard.unwrap();
    }
    assert_eq!(at.hearing(BEN).cause, Cause::Heard);

    let mut at = Evening::new();
    let refresh = at.party.rooms[MO].refresh();
    at.all_but(ANA, &refresh);
    for _ in 0..130 {
        let packet = at.says(BEN);
        at.plays(ANA, &packet).unwrap_err();
    }
    let counters = counted(|c| (c.parked, c.parked_dropped) = (130, 2));
    rows.push(row(Cause::LotFull, "then unpark", counters, at.hearing(BEN)));
    rows
}

#[test]
fn every_cause_of_silence_in_a_room_is_named_rightly_with_its_next_step() {
    let (mut sentences, mut causes) = (HashSet::new(), HashSet::new());
    let (rows, in_ear) = ([by_people(), by_packets()].into_iter().flatten(), 0);
    #[cfg(any(feature = "opus", feature = "opus-pure"))]
    let (rows, in_ear) = (rows.chain(ear::rows()), in_ear + ear::CAUSES);
    for Row { cause, step, counters, found } in rows {
        let (sentence, next) = (cause.to_string(), cause.next_step());
        let name = format!("{cause:?}").split([' ', '(']).next().unwrap().to_owned();
        println!("{name:>16} | {sentence} | {next}");
        assert_eq!((found.cause, found.counters), (cause, counters), "{name}");
        assert!(next.contains(step) && next.ends_with('.'), "{name}: {next}");
        assert!(sentences.insert(sentence) == causes.insert(name), "each cause has a sentence of its own");
    }
    assert_eq!(causes.len(), 22 + in_ear, "all that can be brought about");
}

#[test]
fn who_muted_whom_can_be_asked_by_name() {
    let mut at = Evening::new();
    let (mo, ben) = (at.ids[MO], at.ids[BEN]);
    let mute = at.party.rooms[MO].mute(&ben);
    at.all(mute);
    let Cause::MutedBy(by) = at.hearing(BEN).cause else { panic!("{:?}", at.hearing(BEN)) };
    assert_eq!((by, at.party.rooms[ANA].member(&by).unwrap().name.as_str()), (mo, "mo"));
}

#[test]
fn who_may_not_speak_is_told_why_and_what_to_do() {
    let mut at = Evening::new();
    let (mo, ben) = (at.ids[MO], at.ids[BEN]);
    let refused = |at: &mut Evening, who: usize| {
        let digest = at.party.voices[who].state_digest();
        let error = at.party.voices[who].seal(b"hello?").unwrap_err();
        assert_eq!(at.party.voices[who].state_digest(), digest, "no counter is used");
        println!("{error}");
        error.to_string()
    };
    let told = refused(&mut at, EVE);
    assert!(told.contains("listener") && told.contains("raises a hand"), "{told}");

    let word = at.party.rooms[BEN].set_mic(false);
    at.all(word);
    let told = refused(&mut at, BEN);
    assert!(told.contains("your microphone is off: switch it on"), "{told}");
    let mute = at.party.rooms[MO].mute(&ben);
    at.all(mute);
    let told = refused(&mut at, BEN);
    assert!(told.contains(&format!("muted by {mo}")) && told.contains("let them speak again"), "{told}");
    let denied = at.party.rooms[BEN].set_mic(true).unwrap_err().to_string();
    assert!(denied.contains("a host or a moderator can let them speak again"), "{denied}");
    let lift = at.party.rooms[ANA].lift_mute(&ben);
    at.all(lift);
    let told = refused(&mut at, BEN);
    assert!(told.contains("your microphone is off: switch it on"), "what was lifted is the mute alone: {told}");
    let word = at.party.rooms[BEN].set_mic(true);
    at.all(word);
    let packet = at.says(BEN);
    assert_eq!(at.plays(ANA, &packet).unwrap(), ben);

    let remove = at.party.rooms[MO].remove(&ben);
    at.all(remove);
    let told = refused(&mut at, BEN);
    assert!(told.contains("you are out") && told.contains("fresh card"), "{told}");
    let mut at = Evening::of(&[("ana", Host), ("bo", Speaker), ("ben", Speaker)]);
    let leave = at.party.rooms[ANA].leave();
    at.all(leave);
    let told = refused(&mut at, BEN);
    assert!(told.contains("no host") && told.contains("another room"), "{told}");
}

#[test]
fn every_event_that_somebody_brought_about_names_them() {
    let mut at = Evening::new();
    let (ana, mo, ben, eve) = (at.ids[ANA], at.ids[MO], at.ids[BEN], at.ids[EVE]);
    let done = |by: usize, command: parlor::Result<Vec<u8>>, at: &mut Evening| {
        let by = at.ids[by];
        for events in at.all(command) {
            let named: Vec<_> = events.iter().filter_map(whose).collect();
            assert!(!named.is_empty() && named.iter().all(|whose| *whose == by), "{events:?}");
        }
    };
    for setting in [
        Setting::Title("the cellar".into()),
        Setting::Topic("what we keep there".into()),
        Setting::Entry(Entry::Link),
        Setting::Speaking(Speaking::Everybody),
        Setting::Seals(SealMode::Off),
        Setting::SealEvery(10),
        Setting::Unsealed(Unsealed::Hold),
        Setting::Recording(true),
        Setting::Capacity(Some(30)),
    ] {
        let change = at.party.rooms[ANA].set(setting);
        done(ANA, change, &mut at);
    }
    for locked in [true, false] {
        let change = at.party.rooms[MO].set(Setting::Locked(locked));
        done(MO, change, &mut at);
    }
    let both = at.party.rooms[ANA].set_all(&[Setting::Title("both".into()), Setting::Recording(false)]);
    done(ANA, both, &mut at);
    let mute = at.party.rooms[MO].mute(&ben);
    done(MO, mute, &mut at);
    let lift = at.party.rooms[ANA].lift_mute(&ben);
    done(ANA, lift, &mut at);
    let promote = at.party.rooms[MO].set_role(&eve, Speaker);
    done(MO, promote, &mut at);
    let down = at.party.rooms[EVE].step_down();
    done(EVE, down, &mut at);
    let zed = guest("zed").card().id();
    let ban = at.party.rooms[MO].ban(&zed);
    done(MO, ban, &mut at);
    let lift = at.party.rooms[ANA].lift_ban(&zed);
    done(ANA, lift, &mut at);
    let remove = at.party.rooms[MO].remove(&ben);
    done(MO, remove, &mut at);
    let hand = at.party.rooms[ANA].hand_over(&mo);
    done(ANA, hand, &mut at);
    let end = at.party.rooms[MO].end();
    done(MO, end, &mut at);
    assert!(at.party.rooms.iter().all(|room| !room.is_open()) && ana != mo);
}

/// Who brought an event about; of a microphone that a mute has switched off the mute tells.
fn whose(event: &Event) -> Option<MemberId> {
    match event {
        Event::Muted { by, .. }
        | Event::MuteLifted { by, .. }
        | Event::SettingChanged { by, .. }
        | Event::RoleChanged { by, .. }
        | Event::Removed { by, .. }
        | Event::Closed { by, .. }
        | Event::Banned { by, .. }
        | Event::BanLifted { by, .. }
        | Event::ListenOnly { by }
        | Event::Ended { by } => Some(*by),
        Event::Mic { .. } => None,
        other => panic!("{other:?}"),
    }
}

/// What one voice must have counted, by a second bookkeeper who sees nothing but packets and results.
#[derive(Default)]
struct Books {
    given: u64,
    unparked: u64,
    stats: Stats,
    members: BTreeMap<MemberId, Counters>,
    /// Parked packets that came out again, and whom they named.
    out: BTreeMap<Option<MemberId>, u64>,
    /// What names nobody of the room.
    nobody: Counters,
}

impl Books {
    /// What became of a packet that names `whom`, if anybody of the room.
    fn book(&mut self, whom: Option<MemberId>, result: &Result<MemberId, Error>) {
        let theirs = whom.map_or(&mut self.nobody, |id| self.members.entry(id).or_default());
        let stats = &mut self.stats;
        let (in_all, theirs) = match result {
            Ok(speaker) => {
                assert_eq!(Some(*speaker), whom);
                (&mut stats.opened, &mut theirs.opened)
            }
            Err(Error::Malformed { .. } | Error::TooLarge { .. } | Error::Unsealed { .. }) => {
                (&mut stats.malformed, &mut theirs.malformed)
            }
            Err(Error::Forged { .. }) => (&mut stats.forged, &mut theirs.forged),
            Err(Error::Replayed { .. }) => (&mut stats.replayed, &mut theirs.replayed),
            Err(Error::TooLate { why, .. }) if why.contains("window") => (&mut stats.too_late, &mut theirs.too_late),
            Err(Error::TooLate { why, .. }) if why.contains("erased") => (&mut stats.too_late, &mut theirs.wrong_epoch),
            Err(Error::NotOnStage { .. }) => (&mut stats.not_on_stage, &mut theirs.not_on_stage),
            Err(Error::Muted { .. }) => (&mut stats.muted, &mut theirs.muted),
            Err(Error::Reflected { .. }) => (&mut stats.reflected, &mut 0),
            // What finds no room is counted as parked, and as dropped.
            Err(Error::Parked { .. } | Error::TooLate { .. }) => (&mut stats.parked, &mut theirs.parked),
            Err(other) => panic!("{other}"),
        };
        *in_all += 1;
        *theirs += 1;
    }

    fn check(&self, party: &Party, at: usize, ids: &[MemberId], now: Duration) {
        let (voice, mut wanted) = (&party.voices[at], self.stats);
        let stats = *voice.stats();
        wanted.unparked = self.unparked;
        // A parked packet is dropped unseen: of these it is checked that the sums agree.
        (wanted.sealed, wanted.parked_dropped, wanted.parked_expired) =
            (stats.sealed, stats.parked_dropped, stats.parked_expired);
        // Nobody's seals are sent here: what was opened more than a second ago is flagged.
        (wanted.seals_made, wanted.unverified) = (stats.seals_made, stats.unverified);
        assert_eq!(stats, wanted, "voice {at}");
        let lost = stats.parked_dropped + stats.parked_expired;
        assert_eq!(stats.parked, stats.unparked + lost + voice.parked().0 as u64, "voice {at}");
        let ends = [stats.opened, stats.malformed, stats.forged, stats.replayed, stats.too_late, stats.not_on_stage];
        let sum = ends.iter().sum::<u64>() + stats.muted + stats.reflected + stats.parked;
        assert_eq!(sum, self.given + self.unparked, "voice {at}: each packet ends once");
        let mut waiting = self.nobody.parked - self.out.get(&None).copied().unwrap_or_default();
        let (mut theirs_lost, mut unverified) = (0, 0);
        for id in ids {
            let found = voice.hearing(id, now).counters;
            let mut wanted = self.members.get(id).copied().unwrap_or_default();
            (wanted.parked_dropped, wanted.parked_expired) = (found.parked_dropped, found.parked_expired);
            wanted.unverified = found.unverified;
            unverified += found.unverified;
            assert_eq!(found, wanted, "voice {at}, of {id}");
            theirs_lost += found.parked_dropped + found.parked_expired;
            let gone =
                found.parked_dropped + found.parked_expired + self.out.get(&Some(*id)).copied().unwrap_or_default();
            waiting += found.parked - gone;
        }
        assert!(unverified <= stats.unverified && stats.unverified <= stats.opened, "voice {at}");
        // Of nobody's that went under nobody kept count.
        let nobodys_lost = lost - theirs_lost;
        assert_eq!(waiting - nobodys_lost, voice.parked().0 as u64, "voice {at}");
    }
}

/// A number that looks random, below `below`.
fn draw(seed: &mut u64, below: u64) -> u64 {
    *seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
    (*seed >> 33) % below
}

/// What a hostile relay makes of a packet, and whom it names then.
fn spoil(seed: &mut u64, packet: &mut Vec<u8>, at: &Evening, whom: MemberId) -> Option<MemberId> {
    let layout = at.party.rooms[ANA].settings().layout();
    let (epoch, leaf) = (at.party.rooms[ANA].epoch(), at.party.rooms[ANA].member(&whom).unwrap().leaf);
    let mut forge = |kid: u64, counter: u64| {
        *packet = vec![7; 60];
        Header { kid, counter }.encode_into(packet).unwrap();
    };
    match draw(seed, 40) {
        0 => {
            *packet.last_mut().unwrap() ^= 1;
            Some(whom)
        }
        1 => {
            packet.truncate(draw(seed, 8) as usize);
            None
        }
        2 => {
            packet.resize(4000, 0);
            None
        }
        3 => {
            forge(layout.key_id(0, LeafIndex(99), epoch).unwrap(), 5);
            None
        }
        4 => {
            forge(layout.key_id(1, leaf, epoch).unwrap(), 5);
            Some(whom)
        }
        5 => {
            forge(layout.key_id(0, leaf, epoch + 2).unwrap(), 5);
            Some(whom)
        }
        _ => Some(whom),
    }
}

/// A control message on its way to each member, with when it is due.
type Mail = Vec<VecDeque<(Duration, Vec<u8>)>>;

#[test]
fn in_a_noisy_evening_every_packet_ends_once_under_the_right_member() {
    let mut met = Stats::default();
    for seed in [1, 2, 3] {
        let stats = noisy_evening(seed);
        for (met, now) in [
            (&mut met.opened, stats.opened),
            (&mut met.malformed, stats.malformed),
            (&mut met.forged, stats.forged),
            (&mut met.replayed, stats.replayed),
            (&mut met.too_late, stats.too_late),
            (&mut met.not_on_stage, stats.not_on_stage),
            (&mut met.muted, stats.muted),
            (&mut met.reflected, stats.reflected),
            (&mut met.parked, stats.parked),
            (&mut met.parked_dropped, stats.parked_dropped),
            (&mut met.parked_expired, stats.parked_expired),
            (&mut met.unparked, stats.unparked),
        ] {
            *met += now;
            assert!(seed < 3 || *met > 0, "the evening was not noisy enough: {stats:?}");
        }
    }
    println!("{met:?}");
}

fn noisy_evening(seed: u64) -> Stats {
    println!("seed {seed}");
    let mut at = Evening::new();
    let mut random = seed;
    let ids = at.ids.clone();
    let mut books: Vec<Books> = ids.iter().map(|_| Books::default()).collect();
    let mut mail: Mail = vec![VecDeque::new(); ids.len()];
    let mut air: Vec<(Duration, usize, Option<MemberId>, Vec<u8>)> = Vec::new();
    for tick in 0..1500_u64 {
        at.now += ms(20);
        // Ana leads; what she does reaches her at once and the others late, now and then by seconds.
        if tick % 60 == 30 {
            let command = match draw(&mut random, 6) {
                0 => at.party.rooms[ANA].mute(&ids[BEN]),
                1 => at.party.rooms[ANA].lift_mute(&ids[BEN]),
                2 => at.party.rooms[ANA].set_role(&ids[EVE], Speaker),
                3 => at.party.rooms[ANA].set_role(&ids[EVE], Listener),
                _ => at.party.rooms[ANA].refresh(),
            };
            // Half of these are so already.
            let commit = command.or_else(|_| at.party.rooms[ANA].refresh()).unwrap();
            send(&mut mail, &mut random, at.now, commit);
        }
        if tick % 90 == 45 && mail[BEN].is_empty() {
            let on = at.party.rooms[BEN].is_mic_on(&ids[BEN]);
            if let Ok(word) = at.party.rooms[BEN].set_mic(!on) {
                send(&mut mail, &mut random, at.now, word);
            }
        }
        if tick % 200 == 100 {
            let voice = &mut at.party.voices[MO];
            if tick % 400 == 100 { voice.mute(&ids[BEN]) } else { voice.unmute(&ids[BEN]) }
        }
        for who in 0..ids.len() {
            while mail[who].front().is_some_and(|(due, _)| *due <= at.now) {
                let (_, message) = mail[who].pop_front().unwrap();
                at.bring(who, &message);
            }
            while let Some(heard) = at.party.voices[who].unpark(at.now) {
                let heard = heard.map(|heard| heard.speaker);
                let whom = match &heard {
                    Ok(speaker) => Some(*speaker),
                    Err(error) => named(error, &at.party.rooms[who]),
                };
                books[who].unparked += 1;
                *books[who].out.entry(whom).or_default() += 1;
                books[who].book(whom, &heard);
            }
        }
        for who in 0..ids.len() {
            for _ in 0..if tick % 300 < 40 { 4 } else { 1 } {
                let Ok(packet) = at.party.voices[who].seal(b"an Opus frame") else { continue };
                for to in 0..ids.len() {
                    let mut packet = packet.clone();
                    if to == who && draw(&mut random, 20) > 0 {
                        continue;
                    }
                    let whom = if to == who { Some(ids[who]) } else { spoil(&mut random, &mut packet, &at, ids[who]) };
                    let late = [20, 20, 20, 40, 100, 3000][draw(&mut random, 6) as usize];
                    for copy in 0..=u64::from(draw(&mut random, 10) == 0) {
                        air.push((at.now + ms(late + 300 * copy), to, whom, packet.clone()));
                    }
                }
            }
        }
        for (_, to, whom, packet) in air.extract_if(.., |(due, ..)| *due <= at.now).collect::<Vec<_>>() {
            books[to].given += 1;
            let result = at.plays(to, &packet);
            books[to].book(whom, &result);
        }
        if tick % 50 == 0 {
            for (who, books) in books.iter().enumerate() {
                books.check(&at.party, who, &ids, at.now);
            }
        }
    }
    for (who, books) in books.iter().enumerate() {
        books.check(&at.party, who, &ids, at.now);
        println!("{who}: {:?}", at.party.voices[who].stats());
    }
    at.party.voices.iter().fold(Stats::default(), |mut sum, voice| {
        let stats = voice.stats();
        sum.opened += stats.opened;
        sum.malformed += stats.malformed;
        sum.forged += stats.forged;
        sum.replayed += stats.replayed;
        sum.too_late += stats.too_late;
        sum.not_on_stage += stats.not_on_stage;
        sum.muted += stats.muted;
        sum.reflected += stats.reflected;
        sum.parked += stats.parked;
        sum.parked_dropped += stats.parked_dropped;
        sum.parked_expired += stats.parked_expired;
        sum.unparked += stats.unparked;
        sum
    })
}

/// Puts a message on its way to each, after all that is on its way to them.
fn send(mail: &mut Mail, random: &mut u64, now: Duration, message: Vec<u8>) {
    for (who, mail) in mail.iter_mut().enumerate() {
        let delay = if who == ANA { 0 } else { [10, 100, 400, 3500][draw(random, 4) as usize] };
        let due = mail.back().map_or(Duration::ZERO, |(due, _)| *due).max(now + ms(delay));
        mail.push_back((due, message.clone()));
    }
}

/// Whom the packet of a refusal names.
fn named(error: &Error, room: &parlor::Room) -> Option<MemberId> {
    let (Error::Forged { leaf, .. }
    | Error::Replayed { leaf, .. }
    | Error::TooLate { leaf, .. }
    | Error::NotOnStage { leaf, .. }
    | Error::Unsealed { leaf, .. }
    | Error::Muted { leaf, .. }) = error
    else {
        panic!("{error}")
    };
    room.roster().find(|member| member.leaf == *leaf).map(|member| member.id)
}
