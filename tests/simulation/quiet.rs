//! The quiet after a history: everybody agrees, and hears everybody on stage; nobody else has heard anything.

use std::{collections::BTreeSet, time::Duration};

use parlor::{
    EpochKeys, LeafIndex, MemberId, Room, Voice,
    media::{Speaker, sframe::Header},
};
use zeroize::Zeroizing;

use crate::{
    model::{Held, Rule, hold},
    relay::Line,
    world::{End, Seat, World},
};

impl World {
    /// The relay is honest, the network good; all that is on its way arrives. Then everybody agrees, and hears everybody
    /// on stage.
    pub fn quiet(&mut self) -> Held {
        for end in &mut self.ends {
            (end.withheld, end.is_cut_off, end.line) = (false, false, Line::default());
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

    /// Everybody in the room is in one epoch, and exactly its members are; but for who may be lost.
    fn agree(&mut self) -> Held {
        let (inside, lost): (Vec<&End>, Vec<&End>) =
            self.ends.iter().filter(|end| end.is_in()).partition(|end| !end.may_be_lost);
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
        let lost: BTreeSet<&MemberId> = lost.iter().map(|end| &end.id).collect();
        let listed: BTreeSet<&MemberId> = self.model.epoch(first.epoch).members().collect();
        let missing = listed.difference(&here).find(|id| !lost.contains(*id));
        hold(Rule::Quiet, here.is_subset(&listed) && missing.is_none() && here.len() == inside.len(), || {
            format!("in the room are {here:?}, and listed {listed:?}")
        })
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
        for speaker in self.ends.iter().filter(|end| end.is_in() && end.mic && !end.may_be_lost) {
            if !self.model.epoch(speaker.epoch).hears(&speaker.id) {
                continue;
            }
            for end in self.ends.iter().filter(|end| end.is_in() && !end.may_be_lost && end.id != speaker.id) {
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
