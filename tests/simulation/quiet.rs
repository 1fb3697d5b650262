//! The quiet after a history: everybody agrees, and hears everybody on stage; nobody else has heard anything.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use parlor::{
    EpochKeys, LeafIndex, MemberId, Room, Voice,
    media::{Speaker, sframe::Header},
    room::Intent,
};
use zeroize::Zeroizing;

use crate::{
    model::{Held, Rule, broken, hold},
    relay::{Line, Signals},
    world::{End, Seat, World},
};

/// When a relay that has turned honest has led everybody together: two beats and a round trip.
const HEALED_AFTER: Duration = Duration::from_secs(10);

/// The same where the room went on in two ways, and one after the other comes back.
const JOINED_AFTER: Duration = Duration::from_secs(20);

impl World {
    /// The relay is honest, the network good; all that is on its way arrives. Then everybody agrees, and hears everybody
    /// on stage.
    pub fn quiet(&mut self) -> Held {
        self.quiet_since = Some(self.now);
        // Who died now would begin anew, and so would the time it takes.
        (0..self.ends.len()).for_each(|who| self.arm(who, u8::MAX));
        for end in &mut self.ends {
            (end.withheld, end.signals, end.line) = (false, Signals::Flow, Line::default());
        }
        let begun = self.now;
        loop {
            self.deliver_all()?;
            let mut is_busy = self.relay.may_fork && self.fetch_all()?;
            (0..self.ends.len()).try_for_each(|who| self.abandon(who))?;
            for who in 0..self.ends.len() {
                self.bring_back(who)?;
                if self.chore(who)? {
                    is_busy = true;
                    break;
                }
            }
            self.pass(Duration::from_millis(100))?;
            if !is_busy && self.is_well() {
                break;
            }
            let healed_after = if self.model.forks > 0 { JOINED_AFTER } else { HEALED_AFTER };
            if self.now >= begun + healed_after {
                hold(Rule::Quiet, !is_busy, || format!("there is no end to it after {healed_after:?}"))?;
                break;
            }
        }
        self.eavesdrop_on_all()?;
        for End { name, epoch, seat, .. } in &self.ends {
            if let Seat::In(room, _) = seat {
                self.model.agrees(name, room, *epoch)?;
            }
        }
        if self.model.forks > 0 {
            self.tally.add("histories with a fork");
        }
        if !self.agree()? {
            return Ok(());
        }
        self.all_are_heard()
    }

    /// Whether everybody is where the others are, and nobody waits for anything, as far as one sees from outside.
    fn is_well(&self) -> bool {
        let mut inside = self.ends.iter().filter(|end| end.is_in());
        let Some(first) = inside.next() else { return true };
        let epoch = self.model.epoch(first.epoch);
        let is_settled = |end: &End| match &end.seat {
            Seat::In(room, _) => end.epoch == first.epoch && !end.is_stale && !room.is_pending(),
            Seat::Returning(..) => !epoch.has(&end.id),
            _ => true,
        };
        self.relay.incoming.is_empty()
            && self.ends.iter().all(is_settled)
            && epoch.members().all(|id| self.is_here(id, first.epoch))
    }

    /// Everybody reads the relay's log again, as an app does that missed something. Whether that brought anybody on.
    fn fetch_all(&mut self) -> Held<bool> {
        let at = |world: &Self| world.ends.iter().map(|end| end.epoch).collect::<Vec<_>>();
        let before = at(self);
        for end in self.ends.iter_mut().filter(|end| end.is_in()) {
            end.queue = self.relay.after(end.admitted).into();
        }
        self.deliver_all()?;
        Ok(at(self) != before)
    }

    /// Everybody in the room is in one epoch, and exactly its members are. False if they cannot be.
    fn agree(&mut self) -> Held<bool> {
        // The side that others come back to, or stay on: that with most of its members there.
        let inside: Vec<&End> = self.ends.iter().filter(|end| end.is_in()).collect();
        let sides: BTreeMap<usize, usize> = inside.iter().fold(BTreeMap::new(), |mut sides, end| {
            *sides.entry(end.epoch).or_default() += 1;
            sides
        });
        let weight = |(at, many): &(&usize, &usize)| {
            let epoch = self.model.epoch(**at);
            (epoch.has_host() && epoch.members().any(|id| epoch.is_host(id) && self.is_here(id, **at)), **many, **at)
        };
        let Some((&here, _)) = sides.iter().max_by_key(weight) else { return Ok(true) };
        let epoch = self.model.epoch(here);
        if !epoch.has_host() {
            // Nobody there may bring anybody back, nor says where the room is.
            self.tally.add("histories that end without a host");
            return Ok(false);
        }
        let hosts: Vec<&&End> = inside.iter().filter(|end| end.epoch == here && epoch.is_host(&end.id)).collect();
        let mut excuses = Vec::new();
        for end in self.ends.iter().filter(|end| epoch.has(&end.id)) {
            if matches!(end.seat, Seat::In(..)) && end.epoch == here {
                continue;
            }
            let knows = |end: &End| end.is_stale || end.is_warned;
            let mut others = inside.iter().filter(|other| other.epoch == here);
            let is_old = end.may_be_lost || others.clone().all(|other| other.may_be_lost);
            let is_known = is_old || knows(end) || others.any(|other| knows(other));
            let there = self.model.epoch(end.epoch);
            // Who is no host there any more says nothing that counts there.
            let has_deposed = hosts.iter().all(|host| !there.is_host(&host.id));
            hold(Rule::Quiet, !end.is_in() || is_known || has_deposed, || {
                format!("{} is in epoch {}, apart from the others, and nobody was warned", end.name, there.number)
            })?;
            let let_in_there = there.seat(&end.id).filter(|seat| !self.model.is_behind(*seat, here));
            let is_anew = let_in_there.is_some_and(|seat| {
                let commit = self.relay.messages[seat].commit.as_ref();
                commit.is_some_and(|commit| matches!(commit.intent, Intent::Admit(_)))
            });
            let is_here = |id: &MemberId| self.is_here(id, here);
            let has_other = self.ends.iter().any(|other| other.id == end.id && other.is_in() && other.epoch == here);
            let excuse = match &end.seat {
                _ if has_other => "ends of somebody who is in the room by another",
                Seat::Waiting(..) => "members whose welcome was lost with who had let them in",
                _ if there.number >= epoch.number => "members who are ahead of the side that they are to follow",
                Seat::Out(..) => "members who were told that they are out by a side of theirs",
                _ if is_anew => "members whom their side has put out and let in anew",
                _ if !epoch.has_healer(there, &end.id, is_here) => {
                    "members whom nobody can bring back who could be asked"
                }
                Seat::In(..) if end.may_be_lost && has_deposed => {
                    "members with an old state, to whom none of today's hosts is one"
                }
                _ if hosts.iter().all(|host| host.may_be_lost) => "members whose only hosts were restored or cloned",
                Seat::In(..) if self.relay.may_fork || end.may_be_lost && self.is_anybody_twofold() => {
                    "members who stay on their side"
                }
                _ => {
                    let (name, there) = (&end.name, there.number);
                    let seat = if end.is_in() { "is" } else { "asks to come back" };
                    return broken(
                        Rule::Quiet,
                        format!("{name} {seat} in epoch {there}, others are in {}", epoch.number),
                    );
                }
            };
            excuses.push(excuse);
        }
        for end in inside.iter().filter(|end| end.epoch == here) {
            let is_pending = end.room().is_some_and(Room::is_pending);
            // The relay has taken it, and forgotten it before they were restored.
            let is_past = end.may_be_lost && self.relay.forgotten > 0;
            // Two processes of somebody put each other out without an end.
            let is_on = is_pending && self.is_anybody_twofold();
            hold(Rule::Quiet, (!is_pending || is_past || is_on) && epoch.has(&end.id), || {
                format!("{} waits: {is_pending}", end.name)
            })?;
            // Two sides that come together step by step may take longer.
            if (end.is_stale || is_on) && self.model.forks > 0 {
                self.tally.add("histories in which two sides take long");
                return Ok(false);
            }
            hold(Rule::Quiet, !end.is_stale || !excuses.is_empty(), || format!("{} is stale", end.name))?;
            let Some((message, on)) = end.said_mic.filter(|(said, _)| !self.relay.refused.contains(said)) else {
                continue;
            };
            hold(Rule::Honest, end.mic == on || end.may_be_lost, || {
                format!("{} said in {message} that their microphone is on: {on}; it is: {}", end.name, end.mic)
            })?;
        }
        excuses.iter().for_each(|excuse| self.tally.add(excuse));
        Ok(excuses.is_empty() && sides.len() == 1)
    }

    /// Whether somebody has two processes that are in the room, or ask to come back to it.
    fn is_anybody_twofold(&self) -> bool {
        let is_on = |end: &&End| matches!(end.seat, Seat::In(..) | Seat::Returning(..));
        let mut seen = BTreeSet::new();
        !self.ends.iter().filter(is_on).all(|end| seen.insert(end.id))
    }

    fn is_here(&self, id: &MemberId, epoch: usize) -> bool {
        let is_there = self.ends.iter().any(|end| end.id == *id && end.is_in() && end.epoch == epoch);
        is_there || self.insider_id == Some(*id)
    }

    /// Everybody on stage speaks for a second, and is heard by everybody.
    pub fn all_are_heard(&mut self) -> Held {
        let first = self.model.frames();
        for _ in 0..50 {
            for who in 0..self.ends.len() {
                if self.ends[who].mic {
                    self.utter(who)?;
                }
            }
            self.pass(Duration::from_millis(20))?;
        }
        for speaker in self.ends.iter().filter(|end| end.is_in() && end.mic) {
            if !self.model.epoch(speaker.epoch).hears(&speaker.id) {
                continue;
            }
            for end in self.ends.iter().filter(|end| end.is_in() && end.id != speaker.id) {
                hold(Rule::Quiet, self.model.heard_since(first, &end.heard, &speaker.id), || {
                    let Seat::In(_, voice) = &end.seat else { return String::new() };
                    let hearing = voice.hearing(&speaker.id, end.now(self.now));
                    format!("{} does not hear {}: {}", end.name, speaker.name, hearing.cause)
                })?;
            }
        }
        self.tally.add("histories that end in a talk");
        Ok(())
    }

    /// Who is out tries every packet of the evening; members try those of epochs they were not in.
    pub fn eavesdrop_on_all(&mut self) -> Held {
        for index in 0..self.media.packets.len() {
            let packet = self.media.packets[index].clone();
            for who in 0..self.ends.len() {
                if self.ends[who].is_in() {
                    self.arrive(who, &packet)?;
                } else {
                    self.eavesdrop(who, &packet)?;
                }
            }
            self.guess(index, &packet)?;
        }
        Ok(())
    }

    /// Who was never in the room tries a packet: with another room's keys; and with keys that are guessed, while all
    /// else is known.
    fn guess(&mut self, index: usize, packet: &[u8]) -> Held {
        let (room, stranger) = self.relay.stranger();
        let mut opened = vec![stranger.open(packet, Duration::ZERO).is_ok()];
        if index.is_multiple_of(16) {
            let (header, _) = Header::decode(packet).expect("an honest header");
            let (_, leaf, epoch) = self.layout.split(header.kid);
            let stage = vec![Speaker { leaf, id: room.me().expect("a member").id }];
            let (suite, me) = (stranger.suite(), LeafIndex(leaf.0 + 1));
            let key = Zeroizing::new(vec![index as u8; suite.key_len()]);
            let keys = EpochKeys::new(suite, self.layout, epoch, key, me, stage, Duration::ZERO);
            opened.push(Voice::new(keys.expect("keys")).open(packet, Duration::ZERO).is_ok());
        }
        for is_open in opened {
            self.tally.add("attempts by strangers");
            hold(Rule::Outsider, !is_open, || format!("a stranger opened packet {index}"))?;
        }
        Ok(())
    }
}
