//! Packets: who speaks, what the network makes of it, who opens what.

use std::{
    collections::{BTreeMap, VecDeque},
    rc::Rc,
    time::Duration,
};

use parlor::{
    EpochKeys, Error, Heard, Voice,
    media::{
        Quiet, Speaker,
        seal::{Finding, Forgery, SealMode},
    },
};

use crate::{
    insider::FORGED,
    model::{Held, Rule, broken, hold},
    relay::{Signals, flip},
    script::Plant,
    world::{End, Seat, World},
};

pub type Packet = Rc<[u8]>;

/// When who played a forged frame knows it.
const TOLD_WITHIN: Duration = Duration::from_secs(1);

/// What was sent, and what is under way.
#[derive(Default)]
pub struct Media {
    pub packets: Vec<Packet>,
    /// What rooms say to each other beside the relay's log, any of which may be lost.
    pub signals: Vec<Packet>,
    /// When what comes to whom.
    flights: BTreeMap<(Duration, usize), (usize, Cargo)>,
    flown: usize,
    /// What the relay keeps for whom.
    kept: VecDeque<(usize, Packet)>,
}

#[derive(Clone)]
enum Cargo {
    Packet(Packet),
    /// Of who asks to be brought back.
    Request(Packet),
    Signal(Packet),
    /// By its number.
    Knock(usize),
}

impl Media {
    fn fly(&mut self, due: Duration, to: usize, cargo: Cargo) {
        self.flown += 1;
        self.flights.insert((due, self.flown), (to, cargo));
    }

    pub fn knock_flies(&mut self, due: Duration, to: usize, knock: usize) {
        self.fly(due, to, Cargo::Knock(knock));
    }
}

impl World {
    /// Time goes on: packets arrive, and once a second every app asks its room what is to be done.
    pub fn pass(&mut self, time: Duration) -> Held {
        let until = self.now + time;
        while self.next_second() <= until {
            let second = self.next_second();
            self.fly(second)?;
            self.tick()?;
        }
        self.fly(until)
    }

    fn next_second(&self) -> Duration {
        Duration::from_secs(self.now.as_secs() + 1)
    }

    fn fly(&mut self, until: Duration) -> Held {
        while let Some(flight) = self.media.flights.first_entry().filter(|flight| flight.key().0 <= until) {
            let ((due, _), (to, cargo)) = flight.remove_entry();
            self.now = self.now.max(due);
            match cargo {
                Cargo::Packet(packet) => self.arrive(to, &packet)?,
                Cargo::Knock(knock) => self.hear_knock(to, knock)?,
                Cargo::Signal(signal) | Cargo::Request(signal) => self.receive(to, &signal, None)?,
            }
        }
        self.now = until;
        Ok(())
    }

    /// A member says one frame.
    pub fn utter(&mut self, by: usize) -> Held {
        self.look_for_hosts();
        let end = &mut self.ends[by];
        let (id, epoch, frame) = (end.id, end.epoch, self.model.next_frame());
        let Seat::In(room, voice) = &mut end.seat else { return Ok(()) };
        let may_speak = self.model.epoch(epoch).hears(&id);
        match voice.seal(&frame) {
            Ok(packet) => {
                self.tally.add("frames sealed");
                let leaf = room.me().expect("a member").leaf;
                self.model.seals(&end.name, id, epoch, leaf, &packet, self.now)?;
                hold(Rule::Stale, self.model.is_vouched(epoch, self.now), || {
                    let number = self.model.epoch(epoch).number;
                    format!("{} speaks in epoch {number}, which no host has been in for long", end.name)
                })?;
                if let Some(twin) = &mut end.twin {
                    let packet = twin.seal(&self.model.next_frame()).expect("a twin on stage");
                    self.model.seals(&end.name, id, epoch, leaf, &packet, self.now)?;
                }
                self.transmit(by, packet)?;
            }
            Err(Error::NotOnStage { .. }) => {
                hold(Rule::Honest, !may_speak, || format!("{} is on stage and may not speak", end.name))?;
                self.tally.add("frames not sealed");
            }
            Err(Error::Restored { .. }) => {
                hold(Rule::Honest, !room.may_speak_again(), || format!("{} may speak and may not", end.name))?;
                self.tally.add("frames not sealed");
            }
            Err(Error::Stale { .. }) => {
                hold(Rule::Honest, end.is_stale, || format!("{} is not stale and may not speak", end.name))?;
                self.tally.add("frames not sealed: stale");
            }
            Err(Error::Muted { .. }) => {
                hold(Rule::Honest, !end.mic, || format!("{} has their microphone on and may not speak", end.name))?;
                self.tally.add("frames not sealed");
            }
            Err(error) => return broken(Rule::Sound, format!("{} speaks: {error}", end.name)),
        }
        self.send_seals(by)
    }

    /// Sends the seals that are due.
    pub fn send_seals(&mut self, by: usize) -> Held {
        let now = self.ends[by].now(self.now);
        loop {
            let Seat::In(_, voice) = &mut self.ends[by].seat else { return Ok(()) };
            let Some(seal) = voice.next_seal(now) else { return Ok(()) };
            self.tally.add("seals sent");
            let (listener, _) = self.ends[by].listener(self.now);
            self.model.sends_seal(&listener, &seal)?;
            self.transmit(by, seal)?;
        }
    }

    /// A packet goes to everybody in the room by their line; who is out tries it at once.
    fn transmit(&mut self, by: usize, packet: Vec<u8>) -> Held {
        let (index, packet): (usize, Packet) = (self.media.packets.len(), packet.into());
        self.media.packets.push(packet.clone());
        for (to, end) in self.ends.iter().enumerate() {
            if !end.is_in() || (to == by && !end.line.back) {
                continue;
            }
            for (delay, is_damaged) in end.line.fate(index, to) {
                let mut packet = packet.clone();
                if is_damaged {
                    let mut bytes = packet.to_vec();
                    flip(&mut bytes, index * 7 + to);
                    packet = bytes.into();
                }
                self.media.fly(self.now + Duration::from_millis(delay), to, Cargo::Packet(packet));
            }
        }
        for who in 0..self.ends.len() {
            self.eavesdrop(who, &packet)?;
        }
        Ok(())
    }

    /// A signal goes to everybody else in the room from whom the relay does not keep it, by their line.
    pub fn signal(&mut self, by: usize, signal: &[u8]) {
        self.tally.add("signals");
        let (index, signal): (usize, Packet) = (self.media.signals.len(), signal.into());
        self.media.signals.push(signal.clone());
        for (to, end) in self.ends.iter().enumerate() {
            if !end.is_in() || end.signals == Signals::Stop || to == by {
                continue;
            }
            if end.signals == Signals::Queue {
                self.media.kept.push_back((to, signal.clone()));
                continue;
            }
            for (delay, _) in end.line.fate(usize::MAX / 128 - index, to) {
                let due = self.now + Duration::from_millis(delay);
                self.media.fly(due, to, Cargo::Signal(signal.clone()));
            }
        }
    }

    /// A request goes to everybody else in the room from whom the relay keeps nothing.
    pub fn request(&mut self, by: usize, request: &[u8]) {
        let request: Packet = request.into();
        for (to, end) in self.ends.iter().enumerate() {
            if end.is_in() && !end.withheld && end.signals == Signals::Flow && to != by {
                let due = self.now + Duration::from_millis(end.line.delay.into());
                self.media.fly(due, to, Cargo::Request(request.clone()));
            }
        }
    }

    /// Some of the signals that are kept come, one for each at most; all of them for who is cut off no more.
    pub fn trickle(&mut self) {
        let mut had = vec![!self.now.as_secs().is_multiple_of(3); self.ends.len()];
        for (to, signal) in std::mem::take(&mut self.media.kept) {
            let is_free = self.ends[to].signals == Signals::Flow;
            if is_free || !std::mem::replace(&mut had[to], true) {
                self.media.fly(self.now, to, Cargo::Signal(signal));
            } else {
                self.media.kept.push_back((to, signal));
            }
        }
    }

    /// Any packet of the evening.
    pub fn packet(&self, pick: usize) -> Option<Packet> {
        let packets = &self.media.packets;
        (!packets.is_empty()).then(|| packets[pick % packets.len()].clone())
    }

    /// A packet comes to a member.
    pub fn arrive(&mut self, to: usize, packet: &[u8]) -> Held {
        let now = self.ends[to].now(self.now);
        let end = &mut self.ends[to];
        let Seat::In(_, voice) = &mut end.seat else { return Ok(()) };
        let mut opened: Vec<_> = std::iter::once(voice.open(packet, now)).collect();
        opened.extend(end.twin.as_mut().map(|twin| twin.open(packet, now)));
        for opened in opened {
            match opened {
                Ok(heard) => {
                    self.tally.add("frames opened");
                    self.hears(to, &heard)?;
                }
                Err(Error::Seal { .. }) => {
                    self.tally.add("seals read");
                    self.unpark(to)?;
                }
                Err(error) => self.refused(to, &error)?,
            }
        }
        self.findings(to)
    }

    /// A member hears a frame.
    fn hears(&mut self, who: usize, heard: &Heard<Vec<u8>>) -> Held {
        let now = self.ends[who].now(self.now);
        if self.seals == SealMode::Live && heard.frame.first() == Some(&FORGED) {
            self.tally.add("forged frames played");
            let End { name, epoch, past, .. } = &self.ends[who];
            let mut theirs = std::iter::once(epoch).chain(past.iter().map(|(epoch, _)| epoch));
            let is_theirs = theirs.any(|epoch| self.model.epoch(*epoch).number == heard.epoch);
            hold(Rule::Outsider, is_theirs, || format!("{name} opened a frame of epoch {}", heard.epoch))?;
            self.ends[who].fooled.push((heard.speaker, heard.epoch, heard.counter, now));
            return Ok(());
        }
        let (listener, seen) = self.ends[who].listener(self.now);
        self.model.opens(&listener, seen, heard)
    }

    /// Why a packet was not played; some reasons there must not be.
    fn refused(&mut self, to: usize, error: &Error) -> Held {
        self.tally.add(match error {
            Error::Malformed { .. } | Error::TooLarge { .. } => "refused: malformed",
            Error::Forged { .. } => "refused: forged",
            Error::Replayed { .. } => "refused: replayed",
            Error::TooLate { .. } => "refused: too late",
            Error::Parked { .. } => "parked",
            Error::Held { .. } => "held for a seal",
            Error::Reflected { .. } => "refused: reflected",
            Error::NotOnStage { .. } => "refused: not on stage",
            Error::Muted { .. } => "refused: muted",
            Error::Unsealed { .. } => "refused: unsealed",
            Error::Impersonated { .. } if self.has_forged => "refused: in another's name",
            Error::Impersonated { .. } => {
                return broken(Rule::Honest, format!("{}: {error}", self.ends[to].name));
            }
            _ => return broken(Rule::Sound, format!("{} opens a packet: {error}", self.ends[to].name)),
        });
        Ok(())
    }

    /// What waited for its key or its seal.
    pub fn unpark(&mut self, who: usize) -> Held {
        let now = self.ends[who].now(self.now);
        loop {
            let Seat::In(_, voice) = &mut self.ends[who].seat else { return Ok(()) };
            match voice.unpark(now) {
                None => return self.findings(who),
                Some(Ok(heard)) => {
                    self.tally.add("frames opened after they waited");
                    self.hears(who, &heard)?;
                }
                Some(Err(error)) => self.refused(who, &error)?,
            }
        }
    }

    /// Nobody honest speaks in another's name; and whoever was fooled is told within a second.
    pub fn findings(&mut self, who: usize) -> Held {
        let now = self.ends[who].now(self.now);
        let End { name, seat: Seat::In(_, voice), fooled, .. } = &mut self.ends[who] else { return Ok(()) };
        while let Some(finding) = voice.next_finding(now) {
            let (whose, of, counters) = match finding {
                Finding::Unverified { speaker, epoch, counters, .. } => {
                    self.tally.add("found unverified");
                    (speaker, epoch, counters)
                }
                Finding::Forgery(Forgery { impersonated, epoch, counters, .. }) if self.has_forged => {
                    self.tally.add("found forged");
                    (impersonated, epoch, counters)
                }
                _ => return broken(Rule::Honest, format!("{name} accuses: {finding:?}")),
            };
            fooled.retain(|(speaker, epoch, counter, _)| {
                (*speaker, *epoch) != (whose, of) || !counters.contains(counter)
            });
        }
        let late = fooled.iter().find(|(.., at)| now > *at + TOLD_WITHIN);
        hold(Rule::Authentic, late.is_none(), || format!("{name} played what nobody said, and is not told: {late:?}"))
    }

    /// Who is out tries a packet with the last voice they had, by a clock that stands still.
    pub fn eavesdrop(&mut self, who: usize, packet: &[u8]) -> Held {
        if self.stolen {
            let lent = (0..self.ends.len()).find(|at| *at != who && self.ends[*at].is_in());
            return lent.map_or(Ok(()), |lender| self.eavesdrop_with(who, lender, packet));
        }
        self.eavesdrop_with(who, who, packet)
    }

    fn eavesdrop_with(&mut self, who: usize, lender: usize, packet: &[u8]) -> Held {
        if !matches!(self.ends[who].seat, Seat::Out(..) | Seat::Returning(..)) {
            return Ok(());
        }
        let end = &mut self.ends[lender];
        let now = end.past.last().map_or(Duration::ZERO, |(_, left)| *left);
        let (Seat::Out(voice, _) | Seat::In(_, voice) | Seat::Returning(_, voice)) = &mut end.seat else {
            return Ok(());
        };
        self.tally.add("attempts by who is out");
        match voice.open(packet, now) {
            Ok(heard) => {
                self.tally.add("frames of their own time, opened by who is out");
                let (listener, seen) = self.ends[who].listener(self.now);
                self.model.opens(&listener, seen, &heard)
            }
            Err(_) => Ok(()),
        }
    }
}

/// A member's keys, with the mistake that is planted, if one is; and the voice that comes of it.
pub fn with_mistake(plant: Option<Plant>, keys: EpochKeys, room: &[u8]) -> (EpochKeys, Option<Voice>) {
    let is_confused = match plant {
        Some(Plant::Twin { .. }) => false,
        Some(Plant::Confused { .. }) => true,
        _ => return (keys, None),
    };
    let (suite, layout, epoch, me, since) = (keys.suite(), keys.layout(), keys.epoch(), keys.me(), keys.since());
    let (mut stage, offstage): (Vec<Speaker>, Vec<Quiet>) = (keys.stage().to_vec(), keys.offstage().to_vec());
    if is_confused {
        let ids: Vec<_> = stage.iter().map(|speaker| speaker.id).collect();
        for (at, speaker) in stage.iter_mut().enumerate() {
            speaker.id = ids[(at + 1) % ids.len()];
        }
    }
    let base_key = keys.into_base_key();
    let again = |base_key| {
        let keys = EpochKeys::new(suite, layout, epoch, base_key, me, stage.clone(), since).expect("as they were");
        keys.with_offstage(offstage.clone()).of_room(room)
    };
    let twin = (!is_confused).then(|| Voice::new(again(base_key.clone())));
    (again(base_key), twin)
}
