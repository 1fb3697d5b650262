//! Control messages on their way: into the relay's log, to members and guests, and what those make of them.

use std::time::Duration;

use parlor::{Card, Error, Event, Room, Voice, room::Intent};

use crate::{
    media::with_mistake,
    model::{Held, Rule, Said, broken, hold},
    relay::Message,
    script::{Plant, Word},
    world::{End, Seat, World},
};

/// How long it takes to come back over an honest relay: the request, the commit and the welcome, each at once.
const ROUND_TRIP: Duration = Duration::from_millis(300);

/// What a signal begins with, which may be lost; all else is a word, and goes the way of all control messages.
const SIGNAL: u8 = 2;

/// What events call for once all of them are heeded.
#[derive(Default)]
pub struct News {
    lost: Option<Intent>,
    is_out: bool,
}

impl World {
    /// The relay takes a message into its log, and owes it to everybody.
    pub fn order(&mut self, pick: usize) {
        let message = self.relay.incoming.remove(pick);
        self.relay.log.push(message);
        for end in self.ends.iter_mut().filter(|end| end.is_in()) {
            end.queue.push_back(message);
        }
    }

    pub fn deliver(&mut self, to: usize, most: usize) -> Held {
        for _ in 0..most {
            if self.ends[to].withheld {
                break;
            }
            let Some(message) = self.ends[to].queue.pop_front() else { break };
            self.receive_message(to, message)?;
        }
        Ok(())
    }

    pub fn deliver_all(&mut self) -> Held {
        loop {
            while !self.relay.incoming.is_empty() {
                self.order(0);
            }
            for to in 0..self.ends.len() {
                self.deliver(to, usize::MAX)?;
            }
            while let Some(commit) = self.relay.welcomes.pop() {
                self.welcome(commit)?;
            }
            self.deliver_mail()?;
            let owes = |end: &End| end.is_in() && !end.withheld && !end.queue.is_empty();
            if self.relay.incoming.is_empty() && !self.ends.iter().any(owes) {
                return Ok(());
            }
        }
    }

    /// Whoever the commit lets in gets its welcome, if they still wait.
    pub fn welcome(&mut self, message: usize) -> Held {
        self.welcome_insider(message);
        let Message { admission: Some(admission), commit: Some(commit), .. } = &self.relay.messages[message] else {
            return Ok(());
        };
        let (admission, intent) = (admission.clone(), commit.intent.clone());
        let is_for = |card: &Card| match &intent {
            Intent::Admit(cards) => cards.iter().any(|(invited, _)| invited == card),
            Intent::BringBack(asked) => **asked == *card,
            _ => false,
        };
        for at in 0..self.ends.len() {
            let end = &mut self.ends[at];
            let is_theirs = match &end.seat {
                Seat::Waiting(guest) => is_for(guest.card()),
                Seat::Returning(returning, _) => is_for(returning.card()),
                _ => false,
            };
            if !is_theirs {
                continue;
            }
            let entered = match std::mem::replace(&mut end.seat, Seat::Moving) {
                Seat::Waiting(guest) => match &admission.tree {
                    None => guest.enter(&admission.welcome),
                    Some(tree) => guest.enter_with_tree(&admission.welcome, tree),
                }
                .map_err(|failed| failed.to_string()),
                Seat::Returning(returning, voice) => {
                    match returning.enter(&admission.welcome, admission.tree.as_deref()) {
                        Ok(entered) => Ok(entered),
                        Err(failed) if failed.error.to_string().contains("epoch that you know") => {
                            // The other side is not as far as one's own was: each who asks brings it on.
                            end.seat = Seat::Returning(failed.returning, voice);
                            self.tally.add("welcomes of an epoch that one knows");
                            continue;
                        }
                        Err(failed) => Err(failed.to_string()),
                    }
                }
                _ => continue,
            };
            let (room, voice) = entered
                .or_else(|failed| broken(Rule::Honest, format!("{} cannot enter by {message}: {failed}", end.name)))?;
            self.come_in(at, room, voice, message)?;
        }
        Ok(())
    }

    /// A guest has entered by that commit.
    pub fn come_in(&mut self, at: usize, room: Room, voice: Voice, message: usize) -> Held {
        let Some(commit) = &self.relay.messages[message].commit else {
            return broken(Rule::Forward, format!("{} enters by no commit", self.ends[at].name));
        };
        let is_inviter_lost = self.ends.iter().any(|end| end.id == commit.by && end.may_be_lost);
        let others_wait = self.ends.iter().any(|end| matches!(end.seat, Seat::Returning(..)));
        let end = &mut self.ends[at];
        // Perhaps where nobody else is but who let them in.
        end.may_be_lost = is_inviter_lost;
        self.model.follows(message, commit, self.relay.may_fork, is_inviter_lost)?;
        end.epoch = self.model.enters(&end.name, &room, message, commit)?;
        (end.origin, end.ahead, end.admitted) = (self.now, Duration::ZERO, Some(message));
        end.queue = self.relay.after(Some(message)).into();
        (end.past, end.twin, end.mic, end.said_mic) = (Vec::new(), None, room.is_mic_on(&end.id), None);
        (end.is_stale, end.is_warned, end.is_behind) = (false, false, false);
        end.doubts.clear();
        end.misses.clear();
        end.fooled.clear();
        end.dies_at = None;
        end.seat = Seat::of(room, voice);
        match end.asked.take() {
            None => self.tally.add("people who came in"),
            Some((_, last)) => {
                self.tally.add("people who came back");
                let took = self.now - last;
                let is_prompt = took <= ROUND_TRIP || others_wait || self.quiet_since.is_none_or(|since| last <= since);
                hold(Rule::Quiet, is_prompt, || format!("{} is back {took:?} after they asked", end.name))?;
            }
        }
        self.tell_of(at, || format!("comes in by commit {message}"));
        self.tick_one(at)
    }

    /// A member gets a message as it was sent.
    pub fn receive_message(&mut self, to: usize, message: usize) -> Held {
        self.ends[to].seen.push(message);
        let bytes = self.relay.messages[message].bytes.clone();
        self.receive(to, &bytes, Some(message))
    }

    /// A member gets bytes, which are that message if any.
    pub fn receive(&mut self, to: usize, bytes: &[u8], message: Option<usize>) -> Held {
        let now = self.ends[to].now(self.now);
        self.look_for_host(to);
        let state = |room: &Room| (room.epoch(), room.code(), room.is_pending());
        let Some(before) = self.ends[to].room().map(state) else { return Ok(()) };
        let (received, has_died) = self.act(to, |room| room.receive(bytes, now)).expect("a member");
        if has_died {
            return self.restart(to, None, message);
        }
        let End { name, seat: Seat::In(room, _), said_mic, may_be_lost, is_behind, .. } = &mut self.ends[to] else {
            return Ok(());
        };
        let events = match received {
            Ok(events) => events,
            Err(error) => {
                hold(Rule::Forward, state(room) == before, || {
                    format!("{name} moved on a message they refuse: {error}")
                })?;
                let is_known = match &error {
                    Error::WrongEpoch { .. } | Error::Unauthentic { .. } => true,
                    // A word that was heard.
                    Error::Malformed { why: "it came before", .. } => true,
                    Error::Malformed { .. } | Error::TooLarge { .. } => {
                        message.is_none_or(|message| self.relay.foul.contains(&message))
                    }
                    // The relay took what one has abandoned, or what an older process made.
                    Error::Unusable { .. } => {
                        *may_be_lost || message.is_some_and(|message| self.relay.refused.contains(&message))
                    }
                    _ => false,
                };
                hold(Rule::Sound, is_known, || format!("{name} on message {message:?}: {error}"))?;
                *is_behind |= matches!(error, Error::WrongEpoch { message, room, .. } if message > room);
                said_mic.take_if(|(said, _)| message == Some(*said));
                self.tally.add(if message.is_some() { "messages too late or early" } else { "bad messages refused" });
                return Ok(());
            }
        };
        let mut news = News::default();
        for event in events {
            self.heed(to, event, message, &mut news)?;
        }
        let News { lost, is_out } = news;
        let End { name, id, epoch, seat: Seat::In(room, _), past, may_be_lost, is_behind, .. } = &mut self.ends[to]
        else {
            return Ok(());
        };
        let has_moved = (room.epoch(), room.code()) != (before.0, before.1);
        if has_moved || is_out {
            let found = message.and_then(|message| Some((message, self.relay.messages[message].commit.as_ref()?)));
            let Some((message, commit)) = found.filter(|(_, commit)| commit.of == *epoch) else {
                return broken(Rule::Forward, format!("{name} moved on message {message:?}, no commit of their epoch"));
            };
            self.model.follows(message, commit, self.relay.may_fork, *may_be_lost)?;
            // Nobody else will ever go that way.
            self.model.forks += u64::from(self.relay.refused.contains(&message));
            if has_moved {
                past.push((*epoch, now));
                let mut commit = commit.clone();
                if self.forgets_mutes && matches!(commit.intent, Intent::Mute(_)) {
                    commit.intent = Intent::Refresh;
                }
                *epoch = self.model.enters(name, room, message, &commit)?;
                self.tally.add("epochs entered");
                let admits = self.relay.messages[message].admission.is_some();
                *is_behind = false;
                if commit.by == *id {
                    self.model.puts_out(&commit, *epoch, self.now);
                }
                if commit.by == *id && admits {
                    self.relay.welcomes.push(message);
                }
            }
        }
        if has_moved && let Some(message) = message {
            let number = room.epoch();
            self.tell_of(to, || format!("is in epoch {number} by commit {message}"));
        }
        if is_out {
            self.go_out(to);
        } else {
            if has_moved {
                self.visit(to)?;
            }
            self.bring_back(to)?;
            self.unpark(to)?;
        }
        if let Some(intent) = lost {
            self.tally.add("races lost");
            self.lose(to);
            self.tell_of(to, || "lost a race".to_owned());
            return self.command(to, intent);
        }
        Ok(())
    }

    /// What an app does with an event: all but what a step into another epoch brings along.
    pub fn heed(&mut self, who: usize, event: Event, message: Option<usize>, news: &mut News) -> Held {
        let end = &mut self.ends[who];
        let End { name, id, seat: Seat::In(room, voice), read, mic, said_mic, planted, twin, .. } = end else {
            return Ok(());
        };
        match event {
            Event::Rekeyed(_) if matches!(planted, Some(Plant::Hoarder { .. })) => {}
            Event::Rekeyed(keys) => {
                let (keys, copy) = with_mistake(*planted, keys, room.id());
                *twin = copy;
                voice.rekey(keys).or_else(|error| broken(Rule::Sound, format!("{name}: {error}")))?;
            }
            Event::Superseded { intent, .. } => news.lost = Some(intent),
            Event::Closed { .. } | Event::Replaced { .. } | Event::Ended { .. } => news.is_out = true,
            Event::Mic { member, on } => {
                voice.set_mic(&member, on);
                if member == *id {
                    *mic = on;
                }
            }
            Event::Muted { member, .. } | Event::MuteLifted { member, .. } if member == *id => *said_mic = None,
            Event::Said { message: said } => {
                let text = room.message(&said).map_or("", |said| said.text());
                hold(Rule::Past, !end.gone.contains(&said), || {
                    format!("{name} reads {said} again, which had vanished")
                })?;
                self.model.reads(name, read, said, text)?;
                self.tally.add("words read");
            }
            Event::Stale { .. } => {
                self.tally.add("told: stale");
                voice.set_stale(!matches!(planted, Some(Plant::Deaf { .. })));
                end.is_stale = true;
            }
            Event::Fresh => {
                self.tally.add("told: fresh again");
                voice.set_stale(false);
                end.is_stale = false;
                end.doubts.clear();
                end.misses.clear();
            }
            Event::Behind { .. } => {
                self.tally.add("told: behind");
                self.fetch(who);
            }
            Event::SplitView { host, .. } => {
                self.tally.add("told: two histories");
                end.is_warned = true;
                end.doubts.insert(host);
                self.model.alarms.push(self.now);
            }
            Event::HostSilent { host } => {
                end.misses.insert(host);
                self.tally.add("told: a host is silent");
                self.model.alarms.push(self.now);
            }
            Event::Stuck { .. } => {
                // A commit that lost its race to the one they cannot read leads them astray.
                end.may_be_lost = true;
                self.tally.add("told: stuck");
            }
            Event::CameBack { .. } => self.tally.add("told: somebody came back"),
            Event::AsksBack { card, .. } => {
                self.tally.add("told: somebody asks back");
                end.to_bring.push(*card);
            }
            Event::FailingCommits { by, .. } if self.insider_id == Some(by) => {
                self.tally.add("told: whose commits fail");
            }
            Event::FailingCommits { by, .. } => {
                return broken(Rule::Honest, format!("{name} is told that commits of {by} fail"));
            }
            Event::Vanished { message } => {
                end.gone.insert(message);
                self.tally.add("words that vanished");
            }
            // The answer to a step of a short code is a word.
            Event::Send(word) if word.first() != Some(&SIGNAL) => {
                self.model.speaks(*id, Said::Code);
                self.relay.send(Message { bytes: word, commit: None, admission: None });
            }
            Event::Send(signal) => self.signal(who, &signal),
            Event::HandRaised { member } | Event::HandLowered { member } => {
                self.model.is_told(name, &mut end.told, member, Said::Stance)?;
                self.tally.add("told: a hand");
            }
            Event::Reacted { member, reaction } => {
                let said = Said::Reaction(reaction.as_str().to_owned());
                if matches!(planted, Some(Plant::Parrot { .. })) {
                    self.model.is_told(name, &mut end.told, member, said.clone())?;
                }
                self.model.is_told(name, &mut end.told, member, said)?;
                self.tally.add("told: a reaction");
            }
            Event::InvitedToSpeak { by, member } => {
                self.model.is_told(name, &mut end.told, by, Said::Invite)?;
                self.tally.add("told: an invitation");
                if member == *id {
                    let accept = end.epoch.is_multiple_of(2);
                    return self.say(who, Word::Answer(accept));
                }
            }
            Event::InvitationAnswered { member, .. } => {
                self.model.is_told(name, &mut end.told, member, Said::Answer)?;
                self.tally.add("told: an answer to an invitation");
            }
            Event::WantsToLeave { member } => {
                self.model.is_told(name, &mut end.told, member, Said::Leave)?;
                self.tally.add("told: somebody wants to leave");
            }
            Event::CodeAsked { by } => {
                self.model.is_told(name, &mut end.told, by, Said::Code)?;
                self.tally.add("told: somebody asks for a short code");
                return self.agree_to_code(who, &by);
            }
            Event::ShortCode { with, .. } => {
                hold(Rule::Authentic, self.model.has_said(with, Said::Code), || {
                    format!("{name} has a code of nobody's")
                })?;
                self.tally.add("short codes");
            }
            Event::LinkIssued { by, .. } if by == *id => self.post_plates(who),
            Event::DoorplateOutdated => self.post_plates(who),
            Event::Knocked { .. } => self.tally.add("told: somebody knocks"),
            Event::Answered { answers, tree } => self.post(answers, tree, message),
            // Who knocks in vain is told so; so is who invites and may no more when it is heard.
            Event::Refused { why, .. } if why.action == "enter" => self.tally.add("told: a guest may not enter"),
            Event::Refused { why, .. } if why.action.starts_with("invite ") => {
                self.tally.add("told: an invitation in vain");
            }
            Event::Refused { actor, .. } if actor.is_some() && actor == self.insider_id => {
                self.tally.add("commits of the insider refused");
            }
            Event::Refused { why, .. } if message.is_some_and(|message| !self.relay.foul.contains(&message)) => {
                return broken(Rule::Honest, format!("{name} refuses what an honest member did: {why}"));
            }
            _ => {}
        }
        Ok(())
    }

    /// The member's commit of the epoch before has lost: its welcome is of no use.
    pub fn lose(&mut self, who: usize) {
        let End { id, past, .. } = &self.ends[who];
        let Some((of, _)) = past.last() else { return };
        for (message, Message { commit, admission, .. }) in self.relay.messages.iter().enumerate() {
            let own = commit.as_ref().is_some_and(|commit| commit.by == *id && commit.of == *of);
            if own && admission.is_some() && !self.relay.losing.contains(&message) {
                self.relay.losing.push(message);
            }
        }
    }

    pub fn go_out(&mut self, who: usize) {
        let end = &mut self.ends[who];
        if let Seat::In(room, voice) = std::mem::replace(&mut end.seat, Seat::Moving) {
            end.seat = Seat::Out(voice, Some(room.into_parts().0.into_identity()));
            self.tally.add("people who went out");
            self.tell_of(who, || "is out".to_owned());
        }
    }
}
