//! What is written down of the evening while it goes on, and what is read off it at its end.

use std::{collections::BTreeSet, time::Duration};

use parlor::{MemberId, Role, Voice, sound::Counters};

use super::{END, Evening, Options, Outcome, Person, Place};
use crate::{
    account::{Lane, Promise, Record, Span},
    cast::CAST,
    forgery::Forged,
};

impl Evening<'_> {
    pub(super) fn note(&mut self, now: Duration, text: &str) {
        (self.tell)(now, text);
        self.events.push((now, text.to_owned()));
    }

    /// Writes down the epoch that `who` is in; tells whether nobody had been in it before.
    pub(super) fn register(&mut self, who: usize, now: Duration) -> bool {
        let Place::Inside(room) = &self.people[who].place else { return false };
        let members = room.roster().filter_map(|member| {
            let who = self.ids.iter().position(|id| *id == member.id)?;
            Some((who, member.role.on_stage()))
        });
        let first = self.account.enter(room.epoch(), members);
        if first {
            self.epochs.push((now, room.epoch()));
        }
        first
    }

    /// Writes down where somebody stands from `now` on.
    pub(super) fn stand(&mut self, who: usize, now: Duration) {
        let Person { place, voice, spans, .. } = &mut self.people[who];
        let kind = match place {
            Place::Inside(_) if voice.as_ref().is_some_and(Voice::on_stage) => "stage",
            Place::Inside(_) => "listening",
            _ => "outside",
        };
        if let Some(last) = spans.last_mut() {
            if last.kind == kind {
                return;
            }
            last.to = now;
        }
        spans.push(Span { from: now, to: END, kind });
    }

    pub(super) fn name(&self, id: MemberId) -> &'static str {
        self.ids.iter().position(|known| *known == id).map_or("somebody", |who| CAST[who].0)
    }

    /// The role of a member as `who` sees it.
    pub(super) fn role(&self, who: usize, member: MemberId) -> Role {
        match &self.people[who].place {
            Place::Inside(room) => room.member(&member).map(|member| member.role).unwrap_or_default(),
            _ => Role::default(),
        }
    }

    pub(super) fn close(mut self) -> Outcome<Record> {
        self.account.settle();
        if let Some(what) = self.account.without_seals() {
            self.note(END, &what);
        }
        let voices = self.people.iter().filter_map(|person| person.voice.as_ref());
        let verified = voices.map(|voice| voice.stats().verified).sum();
        let mut promises = self.account.promises();
        promises.extend(self.account.seal_promises(verified, self.options.loss_percent / 100.0));
        promises.extend(self.seal_states());
        promises.extend(self.promises());
        let mut table_rows = Vec::new();
        for (who, person) in self.people.iter().enumerate() {
            let stats = person.voice.as_ref().map(|voice| *voice.stats()).unwrap_or_default();
            let sound = person.ear.accounts().fold(Counters::default(), |sum, (_, one)| sum.plus(one.counters));
            table_rows.push(self.account.table_row(who, &stats, sound));
        }
        let Options { loss_percent, seed, .. } = self.options;
        Ok(Record {
            length: END,
            headline: format!(
                "Three voices, four listeners, an outsider; {loss_percent:.0} % of packets lost in bursts, 20 to \
                 120 ms of delay, seed {seed}: {} epochs, and every frame accounted for.",
                self.epochs.len()
            ),
            figures: self.account.figures(verified),
            relay_lines: self.account.relay_lines(),
            forgery: Forged { frames: self.account.forgeries.frames(), states: self.told.states },
            epochs: self.epochs,
            events: self.events,
            lanes: self
                .people
                .into_iter()
                .zip(CAST)
                .map(|(person, (name, caption))| Lane { name, caption, pcm: person.pcm, spans: person.spans })
                .collect(),
            packets: self.account.sent.into_iter().map(|sent| (sent.at, sent.bytes)).collect(),
            table_rows,
            promises,
        })
    }

    /// What is promised about the room.
    fn promises(&self) -> [Promise; 3] {
        let (mut codes, mut rosters) = (BTreeSet::new(), BTreeSet::new());
        for person in &self.people {
            if let Place::Inside(room) = &person.place {
                codes.insert(room.code().to_string());
                rosters.insert(room.roster().map(|member| member.id).collect::<Vec<_>>());
            }
        }
        let carried: Vec<&Vec<u8>> = self.order.iter().chain(&self.mail).collect();
        // As MLS would write a name: its length first. Three letters alone turn up in noise at times.
        let named = CAST.iter().filter(|(name, _)| {
            let written = [&[name.len() as u8], name.as_bytes()].concat();
            carried.iter().any(|bytes| bytes.windows(written.len()).any(|window| window == written))
        });
        [
            Promise::never(
                "no name crosses the relay",
                named.count() as u64,
                format!("found in {} control messages and welcomes", carried.len()),
            ),
            Promise {
                kept: codes.len() == 1 && rosters.len() == 1,
                text: "all who remain agree on roster and room code",
                figure: codes.into_iter().collect::<Vec<_>>().join(" / "),
            },
            Promise {
                kept: self.races > 0,
                text: "of two commits at once one wins, the other is told and retried",
                figure: format!("{} race(s)", self.races),
            },
        ]
    }
}
