//! Coming back: who has lost their state, has an old one or cannot follow asks, and the first who may brings them back.

use std::time::Duration;

use parlor::{
    Identity, Room,
    room::{ComeBackError, Intent, Retried, Returning, door::UnixTime},
};

use crate::{
    model::Held,
    script::{Plant, Wish},
    world::{End, Seat, World, identity_of},
};

/// How long one waits before one asks again.
const ASK_AGAIN: Duration = Duration::from_secs(2);

impl World {
    /// The time of day by somebody's clock.
    pub fn wall(&self, who: usize) -> UnixTime {
        UnixTime(self.begun.plus(self.now.as_secs()).0.saturating_add_signed(self.ends[who].wrong_by.into()))
    }

    fn identity_at(&self, who: usize) -> Identity {
        let End { name, id, .. } = &self.ends[who];
        identity_of(name.trim_end_matches('\''), id)
    }

    /// Notes that a host is where they are.
    pub fn look_for_host(&mut self, who: usize) {
        let End { id, epoch, .. } = &self.ends[who];
        if self.ends[who].is_in() && self.model.epoch(*epoch).is_host(id) {
            self.model.host_was_in(*epoch, self.now);
        }
    }

    pub fn look_for_hosts(&mut self) {
        (0..self.ends.len()).for_each(|who| self.look_for_host(who));
    }

    /// Reads the relay's log again.
    pub fn fetch(&mut self, who: usize) {
        let End { queue, admitted, planted, .. } = &mut self.ends[who];
        if queue.is_empty() && !matches!(planted, Some(Plant::Lost { .. })) {
            *queue = self.relay.after(*admitted).into();
        }
    }

    /// All is lost but the identity and a ticket.
    pub fn lose_state(&mut self, who: usize) -> Held {
        let Some(Ok(ticket)) = self.ends[who].room().map(Room::ticket) else { return Ok(()) };
        self.look_for_host(who);
        // A request by a ticket is to be later than those before.
        self.ends[who].wrong_by = 150;
        let (identity, wall) = (self.identity_at(who), self.wall(who));
        let end = &mut self.ends[who];
        let Seat::In(_, voice) = std::mem::replace(&mut end.seat, Seat::Moving) else { return Ok(()) };
        let (returning, request) = Returning::with_ticket(identity, &ticket, wall).expect("a time of day");
        end.read.clear();
        self.tally.add("states lost");
        self.tell_of(who, || "has lost all but a ticket".to_owned());
        self.wait_for_answer(who, returning, voice, &request);
        Ok(())
    }

    fn wait_for_answer(&mut self, who: usize, returning: Returning, voice: Box<parlor::Voice>, request: &[u8]) {
        let now = self.now;
        let end = &mut self.ends[who];
        end.seat = Seat::Returning(Box::new(returning), voice);
        end.asked = Some((end.asked.map_or(now, |(first, _)| first), now));
        end.to_bring.clear();
        self.tally.add("requests to be brought back");
        self.request(who, request);
    }

    /// Who should come back asks; who waits for an answer asks again.
    pub fn ask_where_due(&mut self) -> Held {
        for who in 0..self.ends.len() {
            let wall = self.wall(who);
            let now = self.ends[who].now(self.now);
            let End { seat, asked, queue, withheld, is_behind, id, epoch, planted, .. } = &mut self.ends[who];
            if matches!(planted, Some(Plant::Lost { .. })) {
                continue;
            }
            match seat {
                Seat::In(room, _) if queue.is_empty() || *withheld => {
                    // Without another host there is no heartbeat that would tell.
                    let epoch = self.model.epoch(*epoch);
                    let alone = !epoch.members().any(|other| other != id && epoch.is_host(other));
                    if room.come_back_due(now) {
                        self.tally.add("coming back is due");
                    } else if *is_behind && alone && !*withheld {
                        self.tally.add("coming back without a heartbeat");
                    } else {
                        continue;
                    }
                    self.ask(who)?;
                }
                Seat::Returning(returning, _) => {
                    let Some((first, last)) = *asked else { continue };
                    if self.now - last >= ASK_AGAIN {
                        let request = returning.ask_again(wall).expect("a time of day");
                        *asked = Some((first, self.now));
                        self.tally.add("requests once more");
                        self.request(who, &request);
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn ask(&mut self, who: usize) -> Held {
        let (now, wall) = (self.ends[who].now(self.now), self.wall(who));
        self.look_for_host(who);
        let end = &mut self.ends[who];
        let Seat::In(kept, voice) = std::mem::replace(&mut end.seat, Seat::Moving) else { return Ok(()) };
        let (room, vault, key) = kept.into_parts();
        match room.come_back(now, wall) {
            Ok((returning, request)) => {
                self.tell_of(who, || "asks to be brought back".to_owned());
                self.wait_for_answer(who, returning, voice, &request);
            }
            Err(ComeBackError { room, .. }) => {
                // Nobody else is there.
                let kept = parlor::Kept::new(*room, vault, key).expect("a disk that does not fail");
                end.seat = Seat::In(Box::new(kept), voice);
            }
        }
        Ok(())
    }

    /// A member brings back who asks them, unless somebody does already; sometimes even then.
    pub fn bring_back(&mut self, who: usize) -> Held {
        let Some(room) = self.ends[who].room() else { return Ok(()) };
        if room.is_pending() {
            return Ok(());
        }
        let Some(card) = self.ends[who].to_bring.pop() else { return Ok(()) };
        let relay = &self.relay;
        let is_under_way = |message: usize| {
            let commit = relay.messages[message].commit.as_ref();
            commit.is_some_and(|commit| matches!(&commit.intent, Intent::BringBack(asked) if **asked == card))
        };
        let waits = self.ends.iter().any(|end| match &end.seat {
            Seat::Returning(returning, _) => *returning.card() == card,
            _ => false,
        });
        let is_being_done = relay.log.iter().chain(&relay.incoming).any(|message| is_under_way(*message))
            && !relay.messages.len().is_multiple_of(3);
        if !waits || is_being_done {
            return Ok(());
        }
        let wall = self.wall(who);
        self.command_by(who, Intent::BringBack(Box::new(card.clone())), |room, _| {
            room.bring_back(&card, wall).map(Retried::Admission)
        })
    }

    /// The relay forgets what everybody in the room has had.
    pub fn cut_log(&mut self) {
        let owed = self.ends.iter().filter(|end| end.is_in()).map(|end| end.queue.len()).max().unwrap_or_default();
        self.relay.forgotten = self.relay.forgotten.max(self.relay.log.len().saturating_sub(owed));
        self.tally.add("logs cut");
    }

    /// Others go on for so many epochs, and the member's next process with what was on the disk before.
    pub fn old_backup(&mut self, who: usize, epochs: u8, cut: bool) -> Held {
        self.back_up(who);
        for _ in 0..epochs {
            let others = (0..self.ends.len()).filter(|at| *at != who && self.ends[*at].is_in());
            let host = others.max_by_key(|at| {
                let End { id, epoch, withheld, .. } = &self.ends[*at];
                (!*withheld, self.model.epoch(*epoch).is_host(id))
            });
            let Some(host) = host else { return Ok(()) };
            if let Some(intent) = self.intent(host, Wish::Refresh) {
                self.command(host, intent)?;
            }
            self.deliver_all()?;
        }
        if cut {
            self.cut_log();
        }
        if self.ends[who].is_in() && !self.ends[who].backups.is_empty() {
            let last = self.ends[who].backups.len() - 1;
            self.tally.add("restores after many epochs");
            return self.roll_back(who, last as u8);
        }
        Ok(())
    }
}
