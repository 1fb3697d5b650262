//! The quiet after a history: everybody agrees, and hears everybody on stage; nobody else has heard anything.
//!
//! Whoever cannot be as they should has an excuse of their own, which is counted; nobody is excused by another's.

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
    model::{Epoch, Held, Rule, broken, hold},
    relay::{Line, Signals},
    world::{End, Seat, World},
};

/// When a relay that has turned honest has led everybody together: two beats and a round trip.
const HEALED_AFTER: Duration = Duration::from_secs(10);

/// The same where the room went on in two ways, and one after the other comes back.
const JOINED_AFTER: Duration = Duration::from_secs(20);

/// How long who has come in may be stale: until a host has answered them, who has perhaps come in a moment ago too.
const VOUCHED_AFTER: Duration = Duration::from_secs(3);

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
            self.mind_door()?;
            self.pass(Duration::from_millis(100))?;
            if !is_busy && self.is_well() {
                break;
            }
            let healed_after = if self.model.forks > 0 { JOINED_AFTER } else { HEALED_AFTER };
            // Who has come in at the last moment, or to the door, is not to be judged before somebody could answer; twofold
            // people come in again and again.
            let is_late = self.now >= begun + healed_after + 2 * VOUCHED_AFTER;
            let is_any_owed = (0..self.ends.len()).any(|who| self.is_owed(who) || self.is_just_in(&self.ends[who]));
            if self.now >= begun + healed_after && (is_late || !is_any_owed) {
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
        self.count_guests();
        let talkers = self.agree()?;
        self.all_are_heard(&talkers)
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
            && !(0..self.ends.len()).any(|who| self.is_owed(who))
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

    /// Everybody in the room is in one epoch, and exactly its members are, but for those who have an excuse: it excuses
    /// nobody else. Gives who is left to talk.
    fn agree(&mut self) -> Held<Vec<usize>> {
        let Some(here) = self.main_side() else {
            self.tally.add("histories that end with nobody in the room");
            return Ok(Vec::new());
        };
        let (mut talkers, mut excuses) = (Vec::new(), Vec::new());
        let apart: Vec<usize> = (0..self.ends.len()).filter(|at| self.is_apart(*at, here)).collect();
        for at in &apart {
            excuses.push(self.excuse_of_who_is_apart(*at, here)?);
        }
        for at in 0..self.ends.len() {
            if self.ends[at].is_in() && self.ends[at].epoch == here {
                match self.excuse_of_who_is_here(at, here, &apart)? {
                    Some(excuse) => excuses.push(excuse),
                    None => talkers.push(at),
                }
            }
        }
        for at in 0..self.ends.len() {
            let end = &self.ends[at];
            hold(Rule::Door, !self.is_owed(at), || format!("{} knocks in vain at {:?}", end.name, end.at_door))?;
        }
        let is_hosted = self.model.epoch(here).has_host();
        self.tally.add(match () {
            () if !is_hosted => "histories that end without a host",
            () if talkers.is_empty() => "histories that end without a talk",
            () if !excuses.is_empty() => "histories that end in a talk without those excused",
            () => "histories that end in a talk",
        });
        excuses.iter().for_each(|excuse| self.tally.add(excuse));
        Ok(if is_hosted { talkers } else { Vec::new() })
    }

    /// The side that others come back to, or stay on: that with most of its members there.
    pub fn main_side(&self) -> Option<usize> {
        let inside = self.ends.iter().filter(|end| end.is_in());
        let sides: BTreeMap<usize, usize> = inside.fold(BTreeMap::new(), |mut sides, end| {
            *sides.entry(end.epoch).or_default() += 1;
            sides
        });
        let weight = |(at, many): &(&usize, &usize)| {
            let epoch = self.model.epoch(**at);
            (epoch.has_host() && epoch.members().any(|id| epoch.is_host(id) && self.is_here(id, **at)), **many, **at)
        };
        sides.iter().max_by_key(weight).map(|(here, _)| *here)
    }

    /// Whether somebody is a member of that epoch, or in the room, and not there.
    fn is_apart(&self, who: usize, here: usize) -> bool {
        let end = &self.ends[who];
        let is_there = end.is_in() && end.epoch == here;
        !is_there && (end.is_in() || self.model.epoch(here).has(&end.id))
    }

    /// Why somebody is not where the others are: a reason of their own, or it is not as it should be.
    fn excuse_of_who_is_apart(&self, who: usize, here: usize) -> Held<&'static str> {
        let (end, epoch) = (&self.ends[who], self.model.epoch(here));
        let there = self.model.epoch(end.epoch);
        let mut others = self.ends.iter().filter(|other| other.is_in() && other.epoch == here);
        let hosts: Vec<&End> = others.clone().filter(|other| epoch.is_host(&other.id)).collect();
        let misses = |end: &End| self.ends.iter().any(|other| end.misses.contains(&other.id));
        let knows = |end: &End| end.is_stale || end.is_warned || misses(end);
        let is_old = end.may_be_lost || others.clone().all(|other| other.may_be_lost);
        let is_known = is_old || knows(end) || others.any(knows);
        // Who is no host there any more says nothing that counts there.
        let has_deposed = hosts.iter().all(|host| !there.is_host(&host.id));
        hold(Rule::Quiet, !end.is_in() || is_known || has_deposed, || {
            let of = |epoch: &Epoch| {
                let hosts = self.ends.iter().filter(|other| epoch.is_host(&other.id));
                hosts.map(|host| host.name.clone()).collect::<Vec<_>>().join(", ")
            };
            let (name, number, theirs, ours) = (&end.name, there.number, of(there), of(epoch));
            format!("{name} is in epoch {number} of {theirs}, apart from the others of {ours}, and nobody was warned")
        })?;
        let let_in_there = there.seat(&end.id).filter(|seat| !self.model.is_behind(*seat, here));
        let is_anew = let_in_there.is_some_and(|seat| {
            let commit = self.relay.messages[seat].commit.as_ref();
            commit.is_some_and(|commit| matches!(commit.intent, Intent::Admit(_)))
        });
        let is_here = |id: &MemberId| self.is_here(id, here);
        let has_other = self.ends.iter().any(|other| other.id == end.id && other.is_in() && other.epoch == here);
        // Who was put out over there is told nothing, and brings others back to where they are.
        let by_who_is_out =
            self.ends.iter().any(|other| other.is_in() && other.epoch == end.epoch && !epoch.has(&other.id));
        Ok(match &end.seat {
            _ if has_other => "excused: ends of somebody who is in the room by another",
            Seat::Waiting(..) if end.stays_away => "excused: members whom one let in and another turned away",
            Seat::AtDoor(..) if !self.is_owed(who) => "excused: members at a door whose link is good no more",
            Seat::Waiting(..) => "excused: members whose welcome was lost with who had let them in",
            _ if !epoch.has(&end.id) => "excused: members of another side, whom this one does not have",
            // Nobody there may bring anybody back, nor says where the room is.
            _ if !epoch.has_host() => "excused: members apart from a room without a host",
            // Nobody goes back to an epoch gone by: the first commit beyond theirs is the one that can bring them over.
            _ if there.number.saturating_add(1) >= epoch.number && !end.is_in() => {
                "excused: members who have just been caught up with by the side that they are to follow"
            }
            _ if there.number >= epoch.number => "excused: members who are ahead of the side that they are to follow",
            Seat::Out(..) => "excused: members who were told that they are out by a side of theirs",
            _ if is_anew => "excused: members whom their side has put out and let in anew",
            _ if !epoch.has_healer(there, &end.id, is_here) => {
                "excused: members whom nobody can bring back who could be asked"
            }
            Seat::In(..) if end.may_be_lost && has_deposed => {
                "excused: members with an old state, to whom none of today's hosts is one"
            }
            _ if hosts.iter().all(|host| host.may_be_lost) => {
                "excused: members whose only hosts were restored or cloned"
            }
            Seat::In(..) if self.relay.may_fork || end.may_be_lost && self.is_anybody_twofold() => {
                "excused: members who stay on their side"
            }
            _ if by_who_is_out => {
                "excused: members whom somebody brings back to their side who was put out on the other"
            }
            _ => {
                let (name, there) = (&end.name, there.number);
                let seat = if end.is_in() { "is" } else { "asks to come back" };
                return broken(Rule::Quiet, format!("{name} {seat} in epoch {there}, others are in {}", epoch.number));
            }
        })
    }

    /// Why somebody who is where the others are waits, or is stale, if they do; `apart` are those who are elsewhere.
    fn excuse_of_who_is_here(&self, who: usize, here: usize, apart: &[usize]) -> Held<Option<&'static str>> {
        let (end, epoch) = (&self.ends[who], self.model.epoch(here));
        let is_pending = end.room().is_some_and(Room::is_pending);
        // The relay has taken it, and forgotten it before they were restored.
        let is_past = end.may_be_lost && self.relay.forgotten > 0;
        // Two processes of somebody put each other out without an end.
        let is_on = is_pending && self.is_anybody_twofold();
        hold(Rule::Quiet, (!is_pending || is_past || is_on) && epoch.has(&end.id), || {
            format!("{} waits: {is_pending}", end.name)
        })?;
        let excuse = match () {
            () if is_past && is_pending => Some("excused: members who wait for what the relay has forgotten"),
            () if is_on => Some("excused: members who wait where two processes of somebody take turns"),
            () if !end.is_stale || !epoch.has_host() => None,
            () if !self.has_other_host(end, here) => Some("excused: stale members, with whom no other host is"),
            () if apart.iter().any(|at| end.doubts.contains(&self.ends[*at].id)) => {
                Some("excused: stale members, warned of a host who is on another side")
            }
            () if self.is_just_in(end) && self.is_anybody_twofold() => {
                Some("excused: stale members, just in, where two processes of somebody take turns")
            }
            () => return broken(Rule::Quiet, format!("{} is stale", end.name)),
        };
        if let Some((message, on)) = end.said_mic.filter(|(said, _)| !self.relay.refused.contains(said)) {
            hold(Rule::Honest, end.mic == on || end.may_be_lost, || {
                format!("{} said in {message} that their microphone is on: {on}; it is: {}", end.name, end.mic)
            })?;
        }
        Ok(excuse)
    }

    fn is_just_in(&self, end: &End) -> bool {
        end.is_in() && self.now < end.origin + VOUCHED_AFTER
    }

    /// Whether a host is in that epoch who can vouch for what `end` sees.
    fn has_other_host(&self, end: &End, here: usize) -> bool {
        let is_host = |id: &MemberId| self.model.epoch(here).is_host(id);
        let mut others = self.ends.iter().filter(|other| other.is_in() && other.epoch == here);
        others.any(|other| other.id != end.id && is_host(&other.id))
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

    /// Everybody of `talkers` who is on stage speaks for a second, and is heard by all of them.
    fn all_are_heard(&mut self, talkers: &[usize]) -> Held {
        let first = self.model.frames();
        for _ in 0..50 {
            for who in talkers {
                if self.ends[*who].mic {
                    self.utter(*who)?;
                }
            }
            self.pass(Duration::from_millis(20))?;
        }
        let talkers = || talkers.iter().map(|who| &self.ends[*who]);
        for speaker in talkers().filter(|end| end.is_in() && end.mic) {
            if !self.model.epoch(speaker.epoch).hears(&speaker.id) {
                continue;
            }
            for end in talkers().filter(|end| end.is_in() && end.id != speaker.id) {
                hold(Rule::Quiet, self.model.heard_since(first, &end.heard, &speaker.id), || {
                    let Seat::In(_, voice) = &end.seat else { return String::new() };
                    let hearing = voice.hearing(&speaker.id, end.now(self.now));
                    format!("{} does not hear {}: {}", end.name, speaker.name, hearing.cause)
                })?;
            }
        }
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
