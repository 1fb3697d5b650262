//! Words: what is around what members say. Raw bytes, genuine words that were altered, and whatever a member with a
//! patched client seals under the keys of the epochs that she was in, in anybody's name.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
};

use ed25519_dalek::{Signature, Verifier as _, VerifyingKey};
use parlor::{Event, MemberId, Role, room::Reaction};

use super::{input::Input, reach, world::Scene};
use crate::party::{
    gists,
    words::{Key, Word},
};

/// Of one member in one epoch so many processes may say something, and of each this far back each number is told.
const MAX_PROCESSES: usize = 16;
const WIDTH: u64 = 7 * 64;
const HONEST: [&str; 3] = ["ana", "ben", "eve"];

thread_local! {
    static KEPT: RefCell<Option<Lane>> = const { RefCell::new(None) };
}

/// A room, and what a second reader knows of the words in it.
struct Lane {
    scene: Scene,
    /// Those of the last epochs in which something is said, the latest last.
    keys: Vec<Key>,
    /// Which numbers came, of whom, in which epoch and of which process.
    came: BTreeMap<(u64, MemberId), BTreeMap<[u8; 16], BTreeSet<u64>>>,
    /// Honest words that the relay keeps back, and others that it has seen.
    held: Vec<Vec<u8>>,
    seen: Vec<Vec<u8>>,
    inputs: u32,
}

/// A word is taken once, by all, and only if whom it names has signed it; no other word keeps an honest one from being
/// heard.
pub fn word(data: &[u8]) {
    KEPT.with_borrow_mut(|kept| {
        let lane = kept.get_or_insert_with(Lane::new);
        let mut input = Input::new(data);
        for _ in 0..12 {
            if input.is_empty() {
                break;
            }
            lane.step(&mut input);
        }
        lane.settle();
        lane.inputs += 1;
        if lane.inputs >= 500 || !lane.scene.is_usable() {
            *kept = None;
        }
    });
}

impl Lane {
    fn new() -> Self {
        let scene = Scene::new(Role::Speaker);
        let keys = vec![Key::of(&scene.world.mal)];
        Self { scene, keys, came: BTreeMap::new(), held: Vec::new(), seen: Vec::new(), inputs: 0 }
    }

    fn step(&mut self, input: &mut Input<'_>) {
        match input.below(8) {
            0 => {
                let epoch = self.scene.room().epoch().wrapping_sub(input.below(4) as u64);
                let front = [&[4, 1][..], &epoch.to_be_bytes()].concat();
                let front = &front[..input.below(11)];
                self.hear(&[if front.is_empty() { &[4] } else { front }, input.rest()].concat());
            }
            // Said by who is honest, and kept back or not.
            1 => {
                let word = self.honest(input.below(3));
                if input.flag() { self.held.push(word) } else { self.hear(&word) }
            }
            2 => {
                let genuine = self.genuine(input);
                let altered = input.mutate(&genuine);
                // By its first byte it is a word, whatever else it is.
                self.hear(&[&[4], altered.get(1..).unwrap_or_default()].concat());
            }
            // What is in it, or in some word, sealed again under the key of any epoch.
            3 => {
                let genuine = self.genuine(input);
                let opened = self.keys.iter().find_map(|key| key.open(&genuine)).map(|word| inner_of(&word));
                let inner = opened.unwrap_or_default();
                let inner = if input.flag() { input.mutate(&inner) } else { inner };
                self.seal_inner(inner, input);
            }
            4 => {
                let inner = input.run().to_vec();
                self.seal_inner(inner, input);
            }
            5 | 6 => self.forge(input),
            // The room goes on by two commits; honest words of its epoch are still heard after them.
            _ if input.below(4) == 0 => {
                let epoch = self.scene.room().epoch().to_be_bytes();
                if self.held.iter().any(|word| word[2..10] != epoch) {
                    self.settle();
                }
                self.scene.go_on();
                self.keys.push(Key::of(&self.scene.world.mal));
                self.keys.drain(..self.keys.len().saturating_sub(3));
                // What nobody can open any more is no word here.
                let keys = &self.keys;
                self.seen.retain(|word| keys.iter().any(|key| read(key, word).is_some()));
                let oldest = self.scene.room().epoch() - 2;
                self.came.retain(|(epoch, _), _| *epoch >= oldest);
            }
            _ => {
                let at = input.below(self.held.len().max(1));
                if at < self.held.len() {
                    let word = self.held.remove(at);
                    self.hear(&word);
                }
            }
        }
    }

    /// A reaction of somebody honest.
    fn honest(&mut self, who: usize) -> Vec<u8> {
        let room = self.scene.world.party.named(HONEST[who]);
        room.react(&Reaction::new("\u{2764}").unwrap()).unwrap()
    }

    /// A word that was on its way.
    fn genuine(&mut self, input: &mut Input<'_>) -> Vec<u8> {
        let all = self.held.len() + self.seen.len();
        if all == 0 {
            let word = self.honest(input.below(3));
            self.held.push(word);
        }
        let at = usize::from(input.byte()) % all.max(1);
        self.held.iter().chain(&self.seen).nth(at).unwrap().clone()
    }

    /// In the form of a word, with anything in each place.
    fn forge(&mut self, input: &mut Input<'_>) {
        let key = self.keys[self.keys.len() - 1 - input.below(self.keys.len())].clone();
        let mal = &self.scene.world.mal;
        let people: Vec<MemberId> = self.scene.room().roster().map(|member| member.id).collect();
        let who = match input.below(8) {
            0..=4 => mal.client.id(),
            5 | 6 => people[input.below(people.len())],
            _ => MemberId::from_bytes([[0; 32], [1; 32], input.array()][input.below(3)]),
        };
        let number = match input.below(8) {
            at @ 0..=2 => at as u64,
            3 => input.byte().into(),
            4 => input.u16().into(),
            5 => u64::MAX - u64::from(input.byte() & 3),
            _ => input.number(),
        };
        let said = match input.below(4) {
            0 => b"\x06!".to_vec(),
            1 => vec![200, input.byte()],
            2 => input.run().to_vec(),
            _ => vec![input.byte(); [0, 1, 63, 64, 4_096, 4_097, 4_098, 5_000][input.below(8)]],
        };
        let word = Word { epoch: key.epoch, who, process: [input.byte() & 31; 16], number, said, signature: [5; 64] };
        let word = match input.below(8) {
            // As of another epoch, or of another room.
            5 => Word { epoch: key.epoch ^ 1, ..word.clone() }.sign(&mal.client, &key.room),
            6 => word.sign(&mal.client, b"another room"),
            7 => word,
            _ => word.sign(&mal.client, &key.room),
        };
        let word = key.seal(&word);
        self.hear(&word);
    }

    /// Seals whatever it is under the key of some epoch, filled up as a word is, or not.
    fn seal_inner(&mut self, mut inner: Vec<u8>, input: &mut Input<'_>) {
        let key = self.keys[self.keys.len() - 1 - input.below(self.keys.len())].clone();
        if input.below(8) != 7 {
            inner.resize(inner.len().max(1).next_multiple_of(128), 0);
        }
        let word = key.seal_inner(&inner);
        self.hear(&word);
    }

    /// Hands a message to everybody, and holds what they make of it against what a second reader makes of it.
    fn hear(&mut self, message: &[u8]) {
        let Some((word, is_sense)) = self.fresh(message) else { return self.refuse(message) };
        let is_past = word.epoch < self.scene.room().epoch();
        reach(if is_past {
            "of a past epoch"
        } else if word.who == self.scene.mal_id() {
            "mal's"
        } else {
            "honest"
        });
        let taken = self.scene.tell(message);
        let processes = self.came.entry((word.epoch, word.who)).or_default();
        processes.entry(word.process).or_default().insert(word.number);
        for taken in taken {
            match taken {
                Ok(events) if word.said.first() == Some(&6) => {
                    let is_theirs =
                        |event: &Event| matches!(event, Event::Reacted { member, .. } if *member == word.who);
                    assert!(events.first().is_some_and(is_theirs), "{:?}", gists(&events));
                }
                Ok(_) => {}
                Err(error) => assert!(!is_sense, "a word of its owner is not taken: {error}"),
            }
        }
        self.seen.push(message.to_vec());
        if self.seen.len() > 8 {
            self.seen.remove(0);
        }
        // And never again.
        self.refuse(message);
    }

    /// Hands a message to everybody that is nobody's word, or that was heard.
    fn refuse(&mut self, message: &[u8]) {
        let before = self.scene.states();
        let author = self.keys.iter().find_map(|key| read(key, message)).map(|word| word.who);
        reach(if author.is_some() { "not theirs, or old" } else { "not sealed" });
        let taken = self.scene.tell(message);
        for (taken, room) in taken.iter().zip(&self.scene.world.party.rooms) {
            // What comes back a second time is no surprise to who has said it.
            let is_own = room.me().map(|me| me.id) == author;
            let is_left = taken.as_ref().map_or(true, |events| is_own && events.is_empty());
            assert!(is_left, "a word is taken that nobody has said: {taken:?}");
        }
        assert_eq!(self.scene.states(), before);
    }

    /// What is in a word that counts, by a second reader, and whether it says something that is said so.
    fn fresh(&self, message: &[u8]) -> Option<(Word, bool)> {
        let word = self.keys.iter().find_map(|key| read(key, message))?;
        let key = self.keys.iter().find(|key| key.epoch == word.epoch)?;
        let room = self.scene.room();
        if word.epoch + 2 < room.epoch() || room.member(&word.who).is_none() {
            return None;
        }
        let theirs = VerifyingKey::from_bytes(word.who.as_bytes()).ok()?;
        theirs.verify(&word.signed(&key.room), &Signature::from_bytes(&word.signature)).ok()?;
        // The last number of all has no next to tell its repetition by.
        if word.number == u64::MAX {
            return None;
        }
        if let Some(processes) = self.came.get(&(word.epoch, word.who)) {
            match processes.get(&word.process) {
                None if processes.len() >= MAX_PROCESSES => return None,
                Some(came) if came.contains(&word.number) => return None,
                Some(came) if came.last().is_some_and(|last| is_too_old(*last, word.number)) => return None,
                _ => {}
            }
        }
        let is_sense = matches!(&word.said[..], [6, b'!'] | [200, ..]) || word.said.starts_with(b"\x06\xE2\x9D\xA4");
        let is_sense = is_sense && word.said.len() <= 8;
        Some((word, is_sense))
    }

    /// Everybody hears what was kept back, unless they have heard it sealed anew; and honest words after it.
    fn settle(&mut self) {
        for word in std::mem::take(&mut self.held) {
            self.hear(&word);
        }
        let word = self.honest(1);
        assert!(self.fresh(&word).is_some());
        self.hear(&word);
    }
}

/// Whether nobody can tell any more if a number came, once `last` has.
const fn is_too_old(last: u64, number: u64) -> bool {
    last.saturating_add(1).saturating_sub(number) > WIDTH
}

/// What is sealed in a word.
fn inner_of(word: &Word) -> Vec<u8> {
    let length = (word.said.len() as u16).to_be_bytes();
    let number = word.number.to_be_bytes();
    let mut inner = [word.who.as_bytes(), &word.process[..], &number, &length, &word.said, &word.signature].concat();
    inner.resize(inner.len().next_multiple_of(128), 0);
    inner
}

/// A word in its form, signed or not.
fn read(key: &Key, message: &[u8]) -> Option<Word> {
    let sealed = message.len().checked_sub(22)?;
    if sealed < 144 || sealed % 128 != 16 || message.len() > 22 + 4_224 + 16 {
        return None;
    }
    let inner = key.open_inner(message)?;
    let length = usize::from(u16::from_be_bytes([inner[56], inner[57]]));
    let rest = inner.get(58 + length + 64..)?;
    rest.iter().all(|byte| *byte == 0).then(|| key.open(message)).flatten()
}
