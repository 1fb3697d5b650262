//! Who hears whom, and why not: what everybody's voice says, moment by moment.

use std::{collections::BTreeMap, iter, time::Duration};

use super::{
    Outcome, Scene, frame_of,
    words::{self, Names},
};

/// The record of who heard whom.
pub struct Ears {
    moments: Vec<&'static str>,
    /// By ear: at each moment the initials of those heard, or nothing for who is not in the room.
    heard: BTreeMap<String, Vec<Option<String>>>,
    /// Whose ear is asked why.
    ear: &'static str,
    /// By speaker: at each moment how that ear hears them.
    causes: BTreeMap<&'static str, Vec<&'static str>>,
    /// How often an ear in the room did not hear exactly those who spoke there.
    pub wrong: u64,
    /// Words heard so far, and how many of them a seal has confirmed.
    sealed: (u64, u64),
}

/// After so long a speaker has paused.
const PAUSE: Duration = Duration::from_millis(250);

impl Ears {
    pub fn of(ear: &'static str, speakers: &[&'static str]) -> Self {
        let causes = speakers.iter().map(|name| (*name, Vec::new())).collect();
        Self { moments: Vec::new(), heard: BTreeMap::new(), ear, causes, wrong: 0, sealed: (0, 0) }
    }

    pub fn moments(&self) -> usize {
        self.moments.len()
    }

    /// Whoever can speaks a word, and everybody's ears are written down; gives a silence that has begun, and why.
    pub fn listen(&mut self, what: &'static str, scene: &mut Scene, names: &Names) -> Outcome<String> {
        let mut said = Vec::new();
        for person in &mut scene.people {
            if let Ok(packet) = person.voice.seal(&frame_of("a word")) {
                said.push((person.id, person.name.clone(), packet));
            }
        }
        for person in &mut scene.people {
            let others = said.iter().filter(|(id, ..)| *id != person.id);
            let should = if person.room.is_open() { others.clone().count() } else { 0 };
            let heard = others.filter(|(.., packet)| person.voice.open(packet, scene.now).is_ok());
            let heard: String = heard.filter_map(|(_, name, _)| name.chars().next()).collect();
            self.wrong += u64::from(heard.len() != should);
            let row = self.heard.entry(person.name.clone()).or_insert_with(|| vec![None; self.moments.len()]);
            row.push(person.room.is_open().then_some(heard));
        }
        // Once they pause, they seal what they said.
        for at in [scene.now, scene.now + PAUSE] {
            let mut seals = Vec::new();
            for person in &mut scene.people {
                let (id, voice) = (person.id, &mut person.voice);
                seals.extend(iter::from_fn(|| voice.next_seal(at)).map(|seal| (id, seal)));
            }
            for person in &mut scene.people {
                for (_, seal) in seals.iter().filter(|(id, _)| *id != person.id) {
                    let _ = person.voice.open(seal, at);
                }
            }
        }
        let ear = scene.people.iter().find(|person| person.name == self.ear).ok_or("the ear is here")?;
        let mut silence = String::new();
        for (id, name) in names {
            let Some(row) = self.causes.get_mut(&**name) else { continue };
            let cause = ear.voice.hearing(id, scene.now).cause;
            let word = words::short(cause);
            if row.last().is_some_and(|last| *last != word) && word != "heard" {
                silence = format!("{} does not hear {name}: {}", self.ear, words::cause(cause, names));
            }
            row.push(word);
        }
        self.moments.push(what);
        let stats = scene.people.iter().map(|person| person.voice.stats());
        self.sealed = stats.fold((0, 0), |(opened, verified), one| (opened + one.opened, verified + one.verified));
        Ok(silence)
    }

    pub fn print(&self) {
        println!("\nWho hears whom, by initials; blank for who is not in the room\n");
        line("", (1..=self.moments.len()).map(|n| format!("[{n}]")));
        let mut alike: BTreeMap<&[Option<String>], Vec<&str>> = BTreeMap::new();
        for (name, row) in &self.heard {
            alike.entry(row).or_default().push(name);
        }
        let mut rows: Vec<_> = alike.into_iter().map(|(row, names)| (names, row)).collect();
        rows.sort_unstable();
        for (names, row) in rows {
            let who = if names.len() > 2 { format!("{} and {}", names[0], names.len() - 1) } else { names.join(", ") };
            line(&who, row.iter().map(|heard| heard.clone().unwrap_or_default()));
        }
        println!("\nHow {}, a listener, hears those who are ever on stage\n", self.ear);
        for (name, row) in &self.causes {
            line(name, row.iter().map(ToString::to_string));
        }
        let (opened, verified) = self.sealed;
        println!("\nWords heard: {opened}. Confirmed by a seal of who said them: {verified}.");
        println!("Ears that did not hear exactly those who spoke in their room: {}.", self.wrong);
    }
}

fn line(head: &str, cells: impl Iterator<Item = String>) {
    let cells: String = cells.map(|cell| format!("{cell:9}")).collect();
    println!("{head:14}{}", cells.trim_end());
}
