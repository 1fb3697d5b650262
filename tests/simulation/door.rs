//! The door: links and doorplates, knocks and answers by way of the relay, and who comes in by them.
//!
//! The relay knows the gate of each link and nothing more. It brings a knock to all members, who are to tell
//! themselves whether it is theirs to answer; and it keeps the answers by the hash of the knock.

use std::{rc::Rc, time::Duration};

use parlor::{
    Error, Event, Guest, Link, MemberId, Role, Room,
    room::{
        Entry, Intent, Retried,
        door::{Answer, KnockId, LinkEntry, LinkId, Terms, UnixTime},
    },
};

use crate::{
    delivery::News,
    media::Packet,
    model::{Commit, Held, Opened, Rule, broken, hold},
    relay::Message,
    restarts::disk_key,
    world::{End, MOST, Seat, World, identity_of},
};

/// How old a knock may be by two clocks.
const FRESH: u64 = 10 * 60;

/// What a person says who turns somebody away.
const NOT_TONIGHT: &str = "not tonight";

/// How long a guest waits for an answer before they knock again.
const KNOCK_AGAIN: Duration = Duration::from_secs(4);

#[derive(Default)]
pub struct Door {
    pub links: Vec<Posted>,
    pub knocks: Vec<Knocked>,
    pub mail: Vec<Mail>,
    /// Whether the relay loses the next answer that it is given.
    loses_next: bool,
    /// Whether the relay brings no knocks, by a mistake that is planted.
    pub is_shut: bool,
    /// Whom a person has turned away, once for each time.
    turned_away: Vec<MemberId>,
}

/// A link, as its issuer's app and its holders have it.
pub struct Posted {
    link: Link,
    issuer: MemberId,
    /// The last doorplate that the relay was given.
    plate: Option<Vec<u8>>,
}

/// A knock that the relay was given.
pub struct Knocked {
    bytes: Packet,
    id: KnockId,
    by: MemberId,
    link: LinkId,
    made_at: UnixTime,
}

/// An answer that the relay keeps.
pub struct Mail {
    answer: Answer,
    tree: Option<Rc<[u8]>>,
    /// The commit that let them in, if one did.
    commit: Option<usize>,
    pub is_open: bool,
}

/// Somebody at the door, by which link, since when.
#[derive(Clone, Copy, Debug)]
pub struct AtDoor {
    pub link: usize,
    pub since: Duration,
    /// Whether they have had an answer to a knock of theirs.
    pub is_answered: bool,
}

impl World {
    /// A host makes a link.
    pub fn issue_link(&mut self, by: usize, terms: Terms) -> Held {
        // What the command wants is had by taking it back: it is made again as all others are.
        let issue = |room: &mut Room| room.issue_link(terms).map(|(link, _)| (link, room.abandon()));
        let Some((issued, has_died)) = self.act(by, issue) else { return Ok(()) };
        if has_died {
            return self.restart(by, None, None);
        }
        match issued {
            Ok((link, Some(intent))) => {
                self.door.links.push(Posted { link, issuer: self.ends[by].id, plate: None });
                self.tally.add("links made");
                self.command(by, intent)
            }
            Ok((_, None)) => broken(Rule::Sound, "a link without a commit"),
            Err(Error::Denied(_) | Error::Unusable { .. } | Error::CommitPending { .. }) => {
                self.tally.add("commands denied");
                Ok(())
            }
            Err(error) => broken(Rule::Sound, format!("{} issues a link: {error}", self.ends[by].name)),
        }
    }

    /// What `Wish::Link` comes to: of little time, of too little, or of none.
    pub fn terms(&self, by: usize, what: u8) -> Terms {
        let soon = self.wall(by).0 - UnixTime::SLACK;
        let expires = match what >> 5 {
            0 => Some(UnixTime(soon + u64::from(what % 32))),
            1 => Some(UnixTime(soon + 1_000)),
            _ => None,
        };
        Terms { role: if what & 1 == 0 { Role::Listener } else { Role::Speaker }, one_shot: what & 6 == 6, expires }
    }

    /// A member gives the relay the doorplates of their links.
    pub fn post_plates(&mut self, who: usize) {
        let End { seat: Seat::In(room, _), id, .. } = &self.ends[who] else { return };
        for posted in self.door.links.iter_mut().filter(|posted| posted.issuer == *id) {
            if let Ok(plate) = room.doorplate(&posted.link) {
                posted.plate = Some(plate);
            }
        }
    }

    /// A guest comes to the door of a link and knocks, by a clock that is so far behind.
    pub fn go_to_the_door(&mut self, link: u8, behind: u16) -> Held {
        if self.door.links.is_empty() {
            return Ok(());
        }
        let link = usize::from(link) % self.door.links.len();
        let free = |end: &End| matches!(end.seat, Seat::Waiting(_)) && !end.stays_away && !end.is_shown;
        let guest = match self.ends.iter().position(free) {
            Some(guest) => guest,
            None if self.ends.len() < MOST => self.newcomer(None),
            None => return Ok(()),
        };
        self.ends[guest].at_door = Some(AtDoor { link, since: self.now, is_answered: false });
        self.knock(guest, behind)
    }

    /// Somebody who is at the door knocks, perhaps once more.
    fn knock(&mut self, guest: usize, behind: u16) -> Held {
        let wall = UnixTime(self.wall(guest).0 - u64::from(behind));
        let now = self.now;
        let end = &mut self.ends[guest];
        let Some(at) = &mut end.at_door else { return Ok(()) };
        at.since = now;
        let Posted { link, plate: Some(plate), .. } = &self.door.links[at.link] else { return Ok(()) };
        let plate = link.read_doorplate(plate).or_else(|error| broken(Rule::Sound, format!("a doorplate: {error}")))?;
        let seat = std::mem::replace(&mut end.seat, Seat::Moving);
        let newcomer = match seat {
            Seat::Waiting(newcomer) => *newcomer,
            // Another guest, as the next process is: a room takes no second card of one making while its owner is in by the
            // first, and they may be, by an answer that was lost.
            Seat::AtDoor(waiting) => Guest::new(waiting.give_up().into_identity()).expect("a guest"),
            other => {
                end.seat = other;
                return Ok(());
            }
        };
        match newcomer.knock(link, &plate, "", wall) {
            Ok((waiting, bytes)) => {
                hold(Rule::Sound, link.gate().check(&bytes).is_ok(), || "the gate refuses an honest knock".to_owned())?;
                let (id, by) = (waiting.id(), end.id);
                end.seat = Seat::AtDoor(Box::new(waiting));
                self.model.knocked.insert((by, link.id()));
                let knocked = Knocked { bytes: bytes.into(), id, by, link: link.id(), made_at: wall };
                self.door.knocks.push(knocked);
                self.tally.add(if behind == 0 { "knocks" } else { "knocks by a wrong clock" });
                self.tell_of(guest, || format!("knocks: {id}"));
                self.send_knock(self.door.knocks.len() - 1);
                Ok(())
            }
            Err(failed) => {
                end.seat = Seat::Waiting(failed.guest);
                end.at_door = None;
                self.tally.add("links that their holder finds expired");
                hold(Rule::Sound, matches!(failed.error, Error::Denied(_)), || failed.error.to_string())
            }
        }
    }

    /// The relay brings a knock to everybody in the room from whom it keeps nothing.
    fn send_knock(&mut self, knock: usize) {
        if self.door.is_shut {
            return;
        }
        for to in 0..self.ends.len() {
            let end = &self.ends[to];
            if end.is_in() && !end.withheld {
                for (delay, _) in end.line.fate(usize::MAX / 256 - knock, to) {
                    self.media.knock_flies(self.now + Duration::from_millis(delay), to, knock);
                }
            }
        }
    }

    /// A knock comes to a member.
    pub fn hear_knock(&mut self, to: usize, knock: usize) -> Held {
        let (now, wall) = (self.ends[to].now(self.now), self.wall(to));
        let Knocked { bytes, id, by, link, made_at } = &self.door.knocks[knock];
        let (bytes, id, by, link, made_at) = (bytes.clone(), *id, *by, *link, *made_at);
        let Some((heard, has_died)) = self.act(to, |room| room.knocked(&bytes, now, wall)) else { return Ok(()) };
        if has_died {
            return self.restart(to, None, None);
        }
        let End { name, id: me, epoch, knocked, seat: Seat::In(room, _), opens, .. } = &mut self.ends[to] else {
            return Ok(());
        };
        match heard {
            Ok(events) => {
                let epoch = self.model.epoch(*epoch);
                let is_good = epoch.is_in_charge(me)
                    && epoch.link(&link).is_some_and(|link| is_good_at(link, wall))
                    && made_at.0 + FRESH + UnixTime::SLACK >= wall.0
                    && made_at.0 <= wall.0 + UnixTime::SLACK;
                hold(Rule::Door, is_good, || format!("{name} hears a knock by {link} that is of no use: {by}"))?;
                hold(Rule::Replay, knocked.insert(id), || format!("{name} hears a knock of {by} twice"))?;
                *opens |= room.settings().entry() == Entry::Link;
                self.tally.add("knocks heard");
                for event in events {
                    self.heed(to, event, None, &mut News::default())?;
                }
                Ok(())
            }
            Err(error @ (Error::Denied(_) | Error::Malformed { .. })) => {
                self.tally.add("knocks refused");
                self.tell_of(to, || format!("hears no knock: {error}"));
                Ok(())
            }
            Err(error) => broken(Rule::Sound, format!("{name} hears a knock: {error}")),
        }
    }

    /// The relay shows a member any knock once more.
    pub fn knock_again(&mut self, to: usize, pick: u8) -> Held {
        if self.door.knocks.is_empty() {
            return Ok(());
        }
        self.tally.add("knocks again");
        self.hear_knock(to, usize::from(pick) % self.door.knocks.len())
    }

    /// A member answers who has waited longest.
    pub fn answer_knock(&mut self, by: usize, yes: bool) -> Held {
        let now = self.ends[by].now(self.now);
        let Some(room) = self.ends[by].room() else { return Ok(()) };
        let Some((id, whose)) = room.knocks().next().map(|knock| (knock.id(), knock.member())) else { return Ok(()) };
        if yes {
            let Some((let_in, has_died)) = self.act(by, |room| room.let_in(&id, now)) else { return Ok(()) };
            if has_died {
                return self.restart(by, None, None);
            }
            if let_in.is_ok() {
                self.ends[by].opens = true;
                self.tally.add("guests let in");
                self.tell_of(by, || format!("lets in: {id}"));
                return Ok(());
            }
        }
        let turned_away = self.act(by, |room| room.turn_away(&id, NOT_TONIGHT));
        let Some((turned_away, has_died)) = turned_away else { return Ok(()) };
        match turned_away {
            Ok((answer, word)) => {
                let message = self.relay.send(Message { bytes: word, commit: None, admission: None });
                self.door.turned_away.push(whose);
                self.tally.add("guests turned away");
                self.tell_of(by, || format!("turns away: {id}"));
                if has_died {
                    return self.restart(by, Some(message), None);
                }
                self.post(vec![answer], None, None);
                Ok(())
            }
            // Too many words are on their way.
            Err(Error::Unusable { .. }) => Ok(()),
            Err(error) => broken(Rule::Sound, format!("{} turns somebody away: {error}", self.ends[by].name)),
        }
    }

    /// A member opens the door to those who are to be let in.
    pub fn open_door(&mut self, by: usize) -> Held {
        let now = self.ends[by].now(self.now);
        if !self.ends[by].opens || self.ends[by].room().is_none_or(Room::is_pending) {
            return Ok(());
        }
        self.command_by(by, Intent::OpenDoor, |room, _| Ok(room.open_door(now)?.map_or(Retried::Done, Retried::Commit)))
    }

    /// Whom the door's commit lets in, by its maker's own account: a copy of them is given it.
    pub fn opened_by(&self, by: usize, commit: &[u8]) -> Opened {
        let End { name, id, seat: Seat::In(room, _), .. } = &self.ends[by] else { return Opened::default() };
        let vault = room.vault().lock().expect("no panic holds it");
        let identity = identity_of(name.trim_end_matches('\''), id);
        let copy = vault.bytes().map(|bytes| Room::restore(identity, &disk_key(), bytes, Duration::ZERO));
        // Who died as they made it has not stored it, and never sends it.
        let Some(Ok((mut copy, _))) = copy else { return Opened::default() };
        let mut opened = Opened::default();
        for event in copy.receive(commit, Duration::ZERO).unwrap_or_default() {
            match event {
                Event::Joined { member, link, .. } => opened.joined.push((member, link)),
                Event::CameBack { member, .. } => opened.back.push(member),
                Event::LinkEnded { link, .. } => opened.ended.push(link),
                _ => {}
            }
        }
        opened
    }

    /// The relay is given answers.
    pub fn post(&mut self, answers: Vec<Answer>, tree: Option<Vec<u8>>, commit: Option<usize>) {
        let tree: Option<Rc<[u8]>> = tree.map(Into::into);
        for answer in answers {
            self.tally.add("answers");
            let knock = self.door.knocks.iter().find(|knock| knock.id == answer.knock);
            let lets_in = |commit: &usize| {
                let commit = self.relay.messages[*commit].commit.as_ref();
                commit.zip(knock).is_some_and(|(commit, knock)| commit.opened.lets_in(&knock.by))
            };
            let commit = commit.filter(lets_in);
            let is_open = std::mem::take(&mut self.door.loses_next);
            self.door.mail.push(Mail { answer, tree: tree.clone(), commit, is_open });
        }
    }

    /// The answers that a restored member may not have handed out.
    pub fn post_again(&mut self, by: usize) {
        let End { seat: Seat::In(room, _), id, .. } = &self.ends[by] else { return };
        let Some((answers, tree)) = room.last_answers() else { return };
        let tree = tree.map(<[u8]>::to_vec);
        for answer in answers {
            let Some(knock) = self.door.knocks.iter().find(|knock| knock.id == answer.knock) else { continue };
            let lets_in = |commit: &Commit| {
                let opened = commit.by == *id && commit.intent == Intent::OpenDoor;
                opened && commit.opened.lets_in(&knock.by)
            };
            let commit = self.relay.messages.iter().rposition(|message| message.commit.as_ref().is_some_and(lets_in));
            self.door.mail.push(Mail { answer, tree: tree.clone().map(Into::into), commit, is_open: false });
            self.tally.add("answers once more");
        }
    }

    /// The relay hands out every answer that it has.
    pub fn deliver_mail(&mut self) -> Held {
        (0..self.door.mail.len()).try_for_each(|mail| self.hand_out(mail))
    }

    /// The relay hands out one of the answers that it has; or is to lose the next.
    pub fn pick_mail(&mut self, pick: u8, is_lost: bool) -> Held {
        let closed: Vec<usize> = (0..self.door.mail.len()).filter(|mail| !self.door.mail[*mail].is_open).collect();
        if is_lost {
            self.door.loses_next = true;
            self.tally.add("answers lost");
            return Ok(());
        }
        if closed.is_empty() {
            return Ok(());
        }
        let mail = closed[usize::from(pick) % closed.len()];
        self.hand_out(mail)
    }

    /// The relay hands everybody at the door an answer that is not theirs: they go on waiting.
    pub fn mix_up_mail(&mut self, pick: u8) -> Held {
        if self.door.mail.is_empty() {
            return Ok(());
        }
        let Mail { answer, tree, .. } = &self.door.mail[usize::from(pick) % self.door.mail.len()];
        for end in &mut self.ends {
            if !matches!(&end.seat, Seat::AtDoor(waiting) if waiting.id() != answer.knock) {
                continue;
            }
            let Seat::AtDoor(waiting) = std::mem::replace(&mut end.seat, Seat::Moving) else { continue };
            self.tally.add("answers to somebody else");
            match waiting.enter(&answer.bytes, tree.as_deref()) {
                Err(failed) if matches!(failed.error, Error::Malformed { .. }) => {
                    end.seat = Seat::AtDoor(failed.waiting);
                }
                Err(failed) => return broken(Rule::Sound, format!("{}, by another's answer: {failed}", end.name)),
                Ok(_) => return broken(Rule::Outsider, format!("{} enters by another's answer", end.name)),
            }
        }
        Ok(())
    }

    fn hand_out(&mut self, mail: usize) -> Held {
        let Mail { answer, tree, commit, is_open } = &mut self.door.mail[mail];
        if std::mem::replace(is_open, true) {
            return Ok(());
        }
        let (knock, commit, tree) = (answer.knock, *commit, tree.clone());
        let is_theirs = |end: &End| matches!(&end.seat, Seat::AtDoor(waiting) if waiting.id() == knock);
        let Some(guest) = self.ends.iter().position(is_theirs) else {
            self.tally.add("answers to who has gone");
            return Ok(());
        };
        let bytes = self.door.mail[mail].answer.bytes.clone();
        self.read_answer(guest, &bytes, tree.as_deref(), commit)
    }

    fn read_answer(&mut self, guest: usize, bytes: &[u8], tree: Option<&[u8]>, commit: Option<usize>) -> Held {
        let end = &mut self.ends[guest];
        let Seat::AtDoor(mut waiting) = std::mem::replace(&mut end.seat, Seat::Moving) else { return Ok(()) };
        let Some(at) = &mut end.at_door else { return broken(Rule::Sound, "who is at no door waits there") };
        let Posted { link, plate, .. } = &self.door.links[at.link];
        if let Some(plate) = plate {
            let plate = link.read_doorplate(plate).or_else(|error| broken(Rule::Sound, format!("a plate: {error}")))?;
            waiting.renew(&plate).or_else(|error| broken(Rule::Sound, format!("a plate: {error}")))?;
        }
        at.is_answered = true;
        let failed = match waiting.enter(bytes, tree) {
            Ok((room, voice)) => {
                let Some(commit) = commit else {
                    return broken(Rule::Forward, format!("{} enters by no commit", end.name));
                };
                end.at_door = None;
                self.tally.add("people who came in by the door");
                return self.come_in(guest, room, voice, commit);
            }
            Err(failed) => failed,
        };
        let failed_as = failed.error.to_string();
        match &failed.error {
            Error::TurnedAway { for_good, reason, .. } => {
                let times = self.door.turned_away.iter().filter(|whose| **whose == end.id).count();
                let is_banned = self.model.was_ever_banned(&end.id);
                hold(Rule::Honest, !for_good || times > 1 || is_banned, || {
                    format!("{} is turned away for good, and was so {times} times", end.name)
                })?;
                if *for_good || **reason == *NOT_TONIGHT {
                    end.stays_away = true;
                    end.at_door = None;
                    end.seat = Seat::Waiting(Box::new(failed.waiting.give_up()));
                } else {
                    end.seat = Seat::AtDoor(failed.waiting);
                }
                self.tally.add("told: turned away");
                self.tell_of(guest, || failed_as);
                Ok(())
            }
            // Who answered came into office after the doorplate was made, or its host has gone.
            Error::Denied(_) => {
                end.seat = Seat::AtDoor(failed.waiting);
                self.tally.add("answers by who is not on the doorplate");
                self.tell_of(guest, || failed_as);
                Ok(())
            }
            error => broken(Rule::Honest, format!("{} cannot enter by an answer: {error}", end.name)),
        }
    }

    /// What everybody's apps do for the door a few times a second, when the relay has turned honest.
    pub fn mind_door(&mut self) -> Held {
        for who in 0..self.ends.len() {
            self.post_plates(who);
            if self.ends[who].room().is_some_and(|room| room.knocks().len() > 0) {
                self.answer_knock(who, true)?;
            }
            self.open_door(who)?;
            let at = self.ends[who].at_door;
            if at.is_some_and(|at| self.now >= at.since + KNOCK_AGAIN) && self.is_owed(who) {
                self.knock(who, 0)?;
            }
        }
        Ok(())
    }

    /// Whether somebody at the door is to have an answer: their link is good, and one of those whom it names is reachable.
    /// Who is let in already, and cannot enter for want of that, is to come in.
    pub fn is_owed(&self, guest: usize) -> bool {
        let End { at_door: Some(at), id, .. } = &self.ends[guest] else { return false };
        let Some(here) = self.main_side() else { return false };
        let epoch = self.model.epoch(here);
        if at.is_answered && !epoch.has(id) {
            return false;
        }
        let Posted { link, issuer, plate } = &self.door.links[at.link];
        let is_there = |end: &&End| end.is_in() && end.epoch == here && !end.may_be_lost;
        let mut admitters = self.ends.iter().filter(is_there).filter(|end| epoch.is_in_charge(&end.id));
        // A knock of a member's counts once it is younger than their coming in, by two clocks.
        let may_return = |end: &End| epoch.may_bring_back(&end.id, id) && end.wrong_by <= self.ends[guest].wrong_by;
        // For as long as it takes, and by whoever's clock.
        let until = UnixTime(self.wall(guest).0 + 200);
        plate.is_some()
            && epoch.link(&link.id()).is_some_and(|link| is_good_at(link, until))
            && self.ends.iter().filter(is_there).any(|end| end.id == *issuer)
            && admitters.any(|end| !epoch.has(id) || may_return(end))
    }
}

/// Whether a link lets in by a clock that shows `wall`.
fn is_good_at(link: &LinkEntry, wall: UnixTime) -> bool {
    link.terms.expires.is_none_or(|expires| expires.plus(UnixTime::SLACK) >= wall)
}
