//! What members do, and what their apps do for them.

use std::time::Duration;

use parlor::{
    Error, Guest, Member, MemberId, Role, Room,
    room::{Entry, Intent, Message, Reaction, Retried, Setting, Speaking},
};

use crate::{
    delivery::News,
    model::{Commit, Held, Rule, Said, broken, hold, intent_name},
    relay,
    script::{Wish, Word},
    world::{End, MOST, NAMES, Seat, World, identity},
};

impl World {
    /// Somebody with a card: somebody else, or who was here before.
    pub fn newcomer(&mut self, again: Option<usize>) -> usize {
        let back = again.and_then(|who| {
            let End { name, seat: Seat::Out(_, identity), .. } = &mut self.ends[who] else { return None };
            Some((name.clone(), identity.take()?))
        });
        let (name, identity) = back.unwrap_or_else(|| {
            let name = NAMES[self.ends.len()];
            (name.to_owned(), identity(self.ends.len(), name))
        });
        let id = identity.id();
        let guest = Guest::new(identity).expect("a guest");
        self.ends.push(End::new(&name, id, Seat::Waiting(Box::new(guest)), self.now));
        self.ends.len() - 1
    }

    /// So many people at the door, who come there if nobody is.
    pub fn guests(&mut self, people: u8) -> Vec<usize> {
        let waits = |end: &End| matches!(end.seat, Seat::Waiting(_)) && end.at_door.is_none();
        let mut guests: Vec<usize> = (0..self.ends.len()).filter(|at| waits(&self.ends[*at])).collect();
        while guests.len() < people.into() && self.ends.len() < MOST {
            let gone = self.ends.iter().position(|end| matches!(&end.seat, Seat::Out(_, Some(_))));
            let again = gone.filter(|_| people > 1);
            if again.is_some() {
                self.tally.add("people who come again");
            }
            guests.push(self.newcomer(again));
        }
        guests.truncate(people.into());
        guests
    }

    /// What a wish comes to, as the member sees the room.
    pub fn intent(&mut self, by: usize, wish: Wish) -> Option<Intent> {
        if let Wish::Admit { people, role } = wish {
            let mut cards = Vec::new();
            for guest in self.guests(people) {
                if let Seat::Waiting(waiting) = &self.ends[guest].seat {
                    cards.push((waiting.card().clone(), role));
                    self.ends[guest].is_shown = true;
                }
            }
            let room = self.ends[by].room()?;
            cards.retain(|(card, _)| room.member(&card.id()).is_none());
            return (!cards.is_empty()).then_some(Intent::Admit(cards));
        }
        let room = self.ends[by].room()?;
        let me = self.ends[by].id;
        // Mal gets no office: she would not beat.
        let insider = self.insider_id.filter(|_| !matches!(wish, Wish::Remove { on: 0..32 }));
        let roster: Vec<&Member> = room.roster().filter(|member| Some(member.id) != insider).collect();
        let pick = |on: u8| roster[usize::from(on) % roster.len()];
        // Mostly somebody else, if there is.
        let other = |on: u8| if pick(on).id == me { pick(on.wrapping_add(1)).id } else { pick(on).id };
        Some(match wish {
            Wish::Admit { .. } | Wish::Link { .. } => return None,
            Wish::Revoke { pick } => {
                let links: Vec<_> = room.links().collect();
                Intent::RevokeLink(links.get(usize::from(pick) % links.len().max(1))?.id)
            }
            Wish::Remove { on } => Intent::Remove(vec![other(on)]),
            Wish::Ban { on } => Intent::Ban(vec![other(on)]),
            Wish::LiftBan => Intent::LiftBan(*room.banned().next()?),
            Wish::SetRole { on, role } => Intent::SetRole(pick(on).id, role),
            Wish::HandOver { on } => Intent::HandOver(other(on)),
            Wish::Mute { on } => Intent::Mute(other(on)),
            Wish::LiftMute { on } => {
                let muted = roster.iter().find(|member| member.muted_by.is_some());
                Intent::LiftMute(muted.map_or(other(on), |member| member.id))
            }
            Wish::Set { what } => {
                let is_one = what & 1 == 1;
                Intent::Set(vec![match what >> 5 {
                    0 => Setting::Locked(is_one),
                    1 => Setting::Capacity(is_one.then_some(room.roster().len() as u32 + 1)),
                    2 => {
                        Setting::Entry([Entry::Invited, Entry::Link, Entry::Knock, Entry::Link][usize::from(what % 4)])
                    }
                    3 => Setting::Title(format!("title {}", what % 4)),
                    4 => Setting::Recording(is_one),
                    5 => Setting::SealEvery(1 + what % 32),
                    _ => Setting::Speaking(if is_one { Speaking::Everybody } else { Speaking::OnStage }),
                }])
            }
            Wish::Leave => Intent::Leave,
            Wish::End => Intent::End,
            Wish::Refresh => Intent::Refresh,
        })
    }

    /// A member makes a message for what they want, for the first time or again.
    pub fn command(&mut self, by: usize, intent: Intent) -> Held {
        self.command_by(by, intent, Room::retry)
    }

    /// The same, by what `make` calls.
    pub fn command_by(
        &mut self,
        by: usize,
        mut intent: Intent,
        make: impl FnOnce(&mut Room, &Intent) -> parlor::Result<Retried>,
    ) -> Held {
        let Some(room) = self.ends[by].room() else { return Ok(()) };
        let before = (room.epoch(), room.code());
        if intent == Intent::Leave && !leaves_by_commit(room) {
            return self.say(by, Word::Leave);
        }
        if let Intent::Admit(cards) = &mut intent {
            cards.retain(|(card, _)| room.member(&card.id()).is_none());
        }
        let (made, has_died) = self.act(by, |room| make(room, &intent)).expect("a member");
        let End { name, id, epoch, seat: Seat::In(room, _), .. } = &self.ends[by] else { return Ok(()) };
        hold(Rule::Forward, (room.epoch(), room.code()) == before, || format!("{name}'s command moved their room"))?;
        let (bytes, admission) = match made {
            Ok(Retried::Admission(admission)) => (admission.commit.clone(), Some(admission)),
            Ok(Retried::Commit(commit)) => (commit, None),
            Ok(_) if intent == Intent::OpenDoor => return Ok(()),
            Ok(_) => {
                self.tally.add("commands done by others");
                return Ok(());
            }
            Err(Error::Denied(_) | Error::NotAMember { .. } | Error::Unusable { .. } | Error::CommitPending { .. }) => {
                self.tally.add("commands denied");
                self.tell_of(by, || format!("cannot {}", intent_name(&intent)));
                return Ok(());
            }
            Err(error) => return broken(Rule::Sound, format!("{name}, {}: {error}", intent_name(&intent))),
        };
        let said = intent_name(&intent);
        let mut commit = Commit::new(*epoch, *id, intent);
        if commit.intent == Intent::Leave {
            self.model.speaks(commit.by, Said::Leave);
        }
        if commit.intent == Intent::OpenDoor {
            commit.opened = self.opened_by(by, &bytes);
        }
        self.model.commits(&commit)?;
        let message = self.relay.send(relay::Message { bytes, commit: Some(commit), admission });
        self.tally.add("commits");
        self.tell_of(by, || format!("makes commit {message}: {said}"));
        if has_died { self.restart(by, Some(message), None) } else { Ok(()) }
    }

    pub fn say(&mut self, by: usize, word: Word) -> Held {
        if self.ends[by].room().is_none_or(|room| word == Word::Leave && leaves_by_commit(room)) {
            return self.command(by, Intent::Leave);
        }
        let now = self.ends[by].now(self.now);
        let text = self.model.next_line();
        let reaction = format!("r{}", self.tally.of("words"));
        let lifetime = text.len().is_multiple_of(2).then_some(Duration::from_secs(3));
        let mut line = None;
        let say = |room: &mut Room| match word {
            Word::Chat => room.say(&text, lifetime).map(|(message, bytes)| {
                line = Some(message);
                bytes
            }),
            Word::Hand(true) => room.raise_hand(),
            Word::Hand(false) => room.lower_hand(),
            Word::Mic(on) => room.set_mic(on),
            Word::Leave => room.leave(),
            Word::React => Reaction::new(&reaction).and_then(|reaction| room.react(&reaction)),
            Word::Invite { on } => room.invite_to_speak(&other(room, on)),
            Word::Answer(yes) => room.answer_invitation(yes),
            Word::Compare { on } => room.compare_with(&other(room, on), now),
            // There is nothing to say.
            Word::Restate => room.restate().map(Option::unwrap_or_default),
        };
        let (said, has_died) = self.act(by, say).expect("a member");
        if let Some(line) = line {
            self.model.says(line, text);
        }
        let End { seat: Seat::In(_, voice), mic, said_mic, name, id, .. } = &mut self.ends[by] else { return Ok(()) };
        match said {
            Ok(bytes) if bytes.is_empty() => Ok(()),
            Ok(bytes) => {
                let said = match word {
                    Word::Chat => None,
                    Word::Hand(_) | Word::Mic(_) | Word::Restate => Some(Said::Stance),
                    Word::Leave => Some(Said::Leave),
                    Word::React => Some(Said::Reaction(reaction)),
                    Word::Invite { .. } => Some(Said::Invite),
                    Word::Answer(_) => Some(Said::Answer),
                    Word::Compare { .. } => Some(Said::Code),
                };
                if let Some(said) = said {
                    self.model.speaks(*id, said);
                }
                let message = self.relay.send(relay::Message { bytes, commit: None, admission: None });
                if let Word::Mic(on) = word {
                    // The others will hear of it; one's own voice at once.
                    voice.set_mic(id, on);
                    (*mic, *said_mic) = (on, Some((message, on)));
                }
                self.tally.add("words");
                self.tell_of(by, || format!("says, in message {message}: {word:?}"));
                if has_died { self.restart(by, Some(message), None) } else { Ok(()) }
            }
            Err(Error::Denied(_) | Error::Unusable { .. } | Error::CommitPending { .. } | Error::NotAMember { .. }) => {
                Ok(())
            }
            Err(error) => broken(Rule::Sound, format!("{name}, {word:?}: {error}")),
        }
    }

    /// A member agrees to compare a short code.
    pub fn agree_to_code(&mut self, who: usize, with: &MemberId) -> Held {
        let now = self.ends[who].now(self.now);
        let Some((step, has_died)) = self.act(who, |room| room.compare_with(with, now)) else { return Ok(()) };
        let id = self.ends[who].id;
        match step {
            Ok(bytes) => {
                self.model.speaks(id, Said::Code);
                let message = self.relay.send(relay::Message { bytes, commit: None, admission: None });
                if has_died { self.restart(who, Some(message), None) } else { Ok(()) }
            }
            Err(Error::Unusable { .. } | Error::NotAMember { .. }) => Ok(()),
            Err(error) => broken(Rule::Sound, format!("{}, comparing a code: {error}", self.ends[who].name)),
        }
    }

    /// What an app does each second: refreshes when it is due, lets go who is leaving, sends seals.
    pub fn mind(&mut self, who: usize) -> Held {
        self.chore(who)?;
        self.send_seals(who)?;
        self.pass(Duration::ZERO)
    }

    /// Whether there was anything to do.
    pub fn chore(&mut self, who: usize) -> Held<bool> {
        let end = &self.ends[who];
        let (now, Some(room)) = (end.now(self.now), end.room()) else { return Ok(false) };
        let Some(me) = room.me().filter(|_| !room.is_pending()) else { return Ok(false) };
        let is_refresh_due = room.refresh_due(now);
        let may_let_go = |id: &&MemberId| {
            let gone = room.member(id).map_or(Role::Listener, |gone| gone.role);
            **id != me.id
                && match me.role {
                    Role::Host => true,
                    Role::Moderator => gone < Role::Moderator,
                    _ => room.is_listen_only() && self.model.epoch(end.epoch).is_leaving(id),
                }
        };
        let going: Vec<MemberId> = room.leaving().filter(may_let_go).copied().collect();
        let killed = self.tally.of("processes killed");
        if is_refresh_due {
            self.command(who, Intent::Refresh)?;
        } else if !going.is_empty() {
            let let_go = |room: &mut Room, _: &Intent| Ok(room.let_go(now)?.map_or(Retried::Done, Retried::Commit));
            self.command_by(who, Intent::Remove(going), let_go)?;
        } else {
            return Ok(false);
        }
        let has_died = self.tally.of("processes killed") > killed;
        Ok(has_died || self.ends[who].room().is_some_and(Room::is_pending))
    }

    /// Only for a commit that the relay has not taken, and takes no more.
    pub fn abandon(&mut self, who: usize) -> Held {
        let End { seat: Seat::In(room, _), id, epoch, .. } = &self.ends[who] else { return Ok(()) };
        let relay = &mut self.relay;
        let own = |message: &usize| {
            let commit = &relay.messages[*message].commit;
            commit.as_ref().is_some_and(|commit| commit.by == *id && commit.of == *epoch)
        };
        let Some(message) = (0..relay.messages.len()).rev().find(own) else { return Ok(()) };
        if !room.is_pending() || relay.log.contains(&message) {
            return Ok(());
        }
        relay.incoming.retain(|sent| *sent != message);
        relay.refused.push(message);
        let (intent, has_died) = self.act(who, Room::abandon).expect("a member");
        self.tally.add("commits abandoned");
        self.tell_of(who, || format!("abandons commit {message}: {:?}", intent.as_ref().map(intent_name)));
        if has_died { self.restart(who, None, None) } else { Ok(()) }
    }

    /// Every app asks its room what time has brought about.
    pub fn tick(&mut self) -> Held {
        self.trickle();
        self.look_for_hosts();
        (0..self.ends.len()).try_for_each(|who| self.tick_one(who))?;
        (0..self.ends.len()).try_for_each(|who| self.open_door(who))?;
        self.ask_where_due()
    }

    /// One app asks its room.
    pub fn tick_one(&mut self, who: usize) -> Held {
        let now = self.ends[who].now(self.now);
        self.findings(who)?;
        let Some((events, has_died)) = self.act(who, |room| room.tick(now)) else { return Ok(()) };
        if has_died {
            return self.restart(who, None, None);
        }
        {
            let to_go = |message: &Message| message.until.is_some_and(|until| until <= now);
            let keeps = self.ends[who].room().is_some_and(|room| room.messages().any(to_go));
            hold(Rule::Past, !keeps, || format!("{} keeps what is to be forgotten", self.ends[who].name))?;
            for event in events {
                self.heed(who, event, None, &mut News::default())?;
            }
        }
        Ok(())
    }
}

/// Somebody else in the room, or oneself alone.
fn other(room: &Room, on: u8) -> MemberId {
    let roster: Vec<_> = room.roster().map(|member| member.id).collect();
    roster[usize::from(on) % roster.len()]
}

/// Whether what they say when they leave is a commit: others ask to be let go.
fn leaves_by_commit(room: &Room) -> bool {
    room.is_listen_only() || room.me().is_some_and(|me| me.role == Role::Host)
}
