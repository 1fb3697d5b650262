//! Mal, whose client is patched: she makes commits that chosen members cannot read or that she may not make, forges
//! frames, floods the room, says again what others said, damages it, turns guests away whom she may not, and brings
//! friends whose keys are others'.

use std::time::Duration;

use openmls::prelude::OpenMlsProvider as _;
use openmls_basic_credential::SignatureKeyPair;
use parlor::{
    Card, EpochKeys, LeafIndex, MemberId, Role, Voice,
    media::{BASE_KEY_LABEL, Speaker, seal::SealMode},
    room::Intent,
};
use zeroize::Zeroizing;

use crate::{
    model::{Commit, Held},
    party::{
        jam,
        mal::{Bare, Mal, SUITE, add, remove},
        words::{Key, say},
    },
    relay::{Message, Relay, flip},
    script::Word,
    world::{World, identity},
};

/// What frames that are not their speakers' begin with.
pub const FORGED: u8 = 0xee;

/// Where she is.
#[derive(Default)]
pub enum Insider {
    #[default]
    Nowhere,
    Waiting(Box<Bare>, Box<Card>),
    /// And in which epoch, by the model's count.
    In(Box<Mal>, usize),
}

/// The word by which a member says that they have turned somebody's knock away, as `src/room/said.rs` writes it.
fn turned_away(knock: &[u8; 16], whose: &[u8; 32]) -> Vec<u8> {
    [&[8][..], knock, whose].concat()
}

impl World {
    /// Somebody lets her in.
    pub fn invite_insider(&mut self, by: usize) -> Held {
        if matches!(self.insider, Insider::In(..)) {
            return Ok(());
        }
        let mut bare = Bare::new("mal");
        // As with all others, who comes first by their key does so in every run.
        let (secret, public) = {
            let identity = identity(usize::MAX - 1, "mal");
            (identity.secret().to_vec(), identity.id().as_bytes().to_vec())
        };
        bare.signer = SignatureKeyPair::from_raw(SUITE.signature_algorithm(), secret, public);
        let card = bare.card();
        self.insider_id = Some(bare.id());
        self.insider = Insider::Waiting(Box::new(bare), Box::new(card.clone()));
        self.command(by, Intent::Admit(vec![(card, Role::Listener)]))
    }

    /// The commit lets her in, if it is for her.
    pub fn welcome_insider(&mut self, message: usize) {
        let Message { admission: Some(admission), commit: Some(commit), .. } = &self.relay.messages[message] else {
            return;
        };
        let Intent::Admit(cards) = &commit.intent else { return };
        let Some(epoch) = self.model.led_to(message) else { return };
        match std::mem::take(&mut self.insider) {
            Insider::Waiting(bare, card) if cards.iter().any(|(invited, _)| *invited == *card) => {
                let mal = bare.enter(admission);
                self.insider_keys.push(Key::of(&mal));
                self.insider = Insider::In(Box::new(mal), epoch);
                self.tally.add("insiders let in");
            }
            other => self.insider = other,
        }
    }

    /// She follows the room as far as others have.
    fn catch_up(&mut self) {
        let Insider::In(mal, epoch) = &mut self.insider else { return };
        let next = |relay: &Relay, epoch: usize| {
            let is_next = |at: &&usize| relay.messages[**at].commit.as_ref().is_some_and(|commit| commit.of == epoch);
            relay.log.iter().find(|at| is_next(at) && self.model.led_to(**at).is_some()).copied()
        };
        while let Some(message) = next(&self.relay, *epoch) {
            let Message { bytes, commit, .. } = &self.relay.messages[message];
            let is_own = commit.as_ref().is_some_and(|commit| commit.by == mal.client.id());
            if is_own {
                mal.merge();
            } else {
                mal.abandon();
                mal.follow(bytes);
            }
            *epoch = self.model.led_to(message).expect("just found");
            if !self.model.epoch(*epoch).has(&mal.client.id()) {
                self.insider = Insider::Nowhere;
                return;
            }
            self.insider_keys.push(Key::of(mal));
        }
    }

    /// Whether she is in the room, and has made no commit of its epoch yet.
    fn may_commit(&mut self) -> bool {
        self.catch_up();
        let Insider::In(mal, epoch) = &self.insider else { return false };
        let me = mal.client.id();
        let is_hers = |commit: &Commit| commit.by == me && commit.of == *epoch;
        !self.relay.messages.iter().any(|message| message.commit.as_ref().is_some_and(is_hers))
    }

    /// She refreshes her keys, by a commit that some cannot read.
    pub fn break_path(&mut self, victims: u8) -> Held {
        if !self.may_commit() {
            return Ok(());
        }
        let Insider::In(mal, epoch) = &mut self.insider else { return Ok(()) };
        let me = mal.client.id();
        let leaves: Vec<_> = mal.group.members().map(|member| member.index).collect();
        let of_victims = leaves.iter().filter(|leaf| victims >> (leaf.u32() % 8) & 1 == 1).copied();
        let of_victims: Vec<_> = of_victims.collect();
        mal.abandon();
        let bytes = mal.refresh_but_for(&of_victims);
        let commit = Commit::new(*epoch, me, Intent::Refresh);
        self.relay.send(Message { bytes, commit: Some(commit), admission: None });
        self.tally.add("commits with broken paths");
        self.tell(|| format!("mal makes a commit that {of_victims:?} cannot read"));
        Ok(())
    }

    /// She lets somebody in, gives herself a role or takes one, puts somebody out, changes what all agree on, or has a
    /// stranger come in by themselves: nobody may follow.
    pub fn usurp(&mut self, what: u8, on: u8) -> Held {
        if !self.may_commit() {
            return Ok(());
        }
        let Insider::In(mal, epoch) = &mut self.insider else { return Ok(()) };
        let me = mal.client.id();
        mal.abandon();
        let before = self.model.epoch(*epoch);
        let others: Vec<_> = before.members().filter(|id| **id != me && !before.is_leaving(id)).copied().collect();
        let Some(victim) = others.get(usize::from(on) % others.len().max(1)).copied() else { return Ok(()) };
        let leaf = mal.group.members().find(|member| member.signature_key == victim.as_bytes());
        let Some(leaf) = leaf.map(|member| member.index) else { return Ok(()) };
        let parts = match what % 6 {
            0 => vec![add(Bare::new("ghost").key_package())],
            1 => vec![mal.give(&[(me, Role::Host as u8)])],
            2 => vec![mal.give(&[(victim, Role::Listener as u8), (me, Role::Speaker as u8)])],
            3 => vec![remove(leaf)],
            4 => vec![mal.recharter(|charter| charter.title.extend(b" of mal"))],
            _ => Vec::new(),
        };
        let bytes = if parts.is_empty() { Bare::new("zed").external_commit(mal) } else { mal.commit(parts) };
        let foul = self.relay.send(Message { bytes, commit: None, admission: None });
        self.relay.foul.push(foul);
        self.tally.add("commits that nobody may follow");
        self.tell(|| format!("mal makes a commit that she may not make, of kind {}", what % 6));
        Ok(())
    }

    /// She says again what somebody said: as it is, sealed anew under the key of its epoch, or under that of hers.
    pub fn replay_word(&mut self, pick: u8) -> Held {
        self.catch_up();
        if !self.has_insider() {
            return Ok(());
        }
        let relay = &self.relay;
        let is_word = |message: &&usize| relay.messages[**message].commit.is_none() && !relay.foul.contains(message);
        let words: Vec<usize> = relay.log.iter().filter(is_word).copied().collect();
        if words.is_empty() {
            return Ok(());
        }
        let word = words[usize::from(pick) % words.len()];
        let mut bytes = self.relay.messages[word].bytes.clone();
        let opened = self.insider_keys.iter().find_map(|key| Some((key, key.open(&bytes)?)));
        match (opened, self.insider_keys.last()) {
            (Some((key, word)), Some(_)) if pick % 4 < 2 => {
                bytes = key.seal(&word);
                self.tally.add("words sealed anew by the insider");
            }
            (Some((_, word)), Some(last)) if pick % 4 == 2 => {
                bytes = last.seal(&word);
                self.tally.add("words sealed for another epoch by the insider");
            }
            _ => self.tally.add("words said again by the insider"),
        }
        let message = self.relay.send(Message { bytes, commit: None, admission: None });
        self.relay.foul.push(message);
        self.tell(|| format!("mal says message {word} again, as message {message}"));
        Ok(())
    }

    /// She sends a message of somebody's with one bit changed.
    pub fn damage_message(&mut self, pick: u8, bit: u16) -> Held {
        if !self.has_insider() || self.relay.messages.is_empty() {
            return Ok(());
        }
        let picked = usize::from(pick) % self.relay.messages.len();
        let mut bytes = self.relay.messages[picked].bytes.clone();
        flip(&mut bytes, bit.into());
        let foul = self.relay.send(Message { bytes, commit: None, admission: None });
        self.relay.foul.push(foul);
        self.tally.add("messages damaged by the insider");
        self.tell(|| format!("mal sends message {picked} with bit {bit} changed, as message {foul}"));
        Ok(())
    }

    /// She says twice, of two knocks, that she has turned somebody away: who knocks, or somebody with a key of no one.
    pub fn slander(&mut self, on: u8) -> Held {
        self.catch_up();
        let at_door: Vec<_> = self.ends.iter().filter(|end| end.at_door.is_some()).map(|end| end.id).collect();
        let whose = at_door.get(usize::from(on) % (at_door.len() + 1)).map_or([on; 32], |id| *id.as_bytes());
        for knock in [[1; 16], [2; 16]] {
            let Some(bytes) = self.insider_says(&turned_away(&knock, &whose)) else { return Ok(()) };
            self.relay.send(Message { bytes, commit: None, admission: None });
        }
        self.tally.add("guests turned away by the insider");
        Ok(())
    }

    /// A word of hers, whatever it says: as the room's words are sealed.
    fn insider_says(&mut self, word: &[u8]) -> Option<Vec<u8>> {
        let Insider::In(mal, _) = &mut self.insider else { return None };
        // Each has a number of its own.
        Some(say(mal, self.relay.messages.len() as u64, word))
    }

    /// She gives a friend's card, whose leaf has the key of a parent node of the room's tree, to somebody who lets in.
    pub fn jam(&mut self, by: usize, pick: u8) -> Held {
        self.catch_up();
        let Insider::In(mal, _) = &self.insider else { return Ok(()) };
        let keys = jam::parent_keys(mal);
        if keys.is_empty() {
            return Ok(());
        }
        let card = jam::card_with(&Bare::new("zed"), keys[usize::from(pick) % keys.len()]);
        self.tally.add("cards with the key of a parent node");
        match Card::from_bytes(&card) {
            Ok(card) => self.command(by, Intent::Admit(vec![(card, Role::Listener)])),
            Err(_) => Ok(()),
        }
    }

    fn has_insider(&self) -> bool {
        matches!(self.insider, Insider::In(..))
    }

    /// She makes frames in everybody's name, where speakers seal theirs.
    pub fn forge(&mut self, frames: u8) -> Held {
        self.catch_up();
        let Insider::In(mal, epoch) = &self.insider else { return Ok(()) };
        if self.seals == SealMode::Off {
            return Ok(());
        }
        let number = self.model.epoch(*epoch).number;
        let speakers: Vec<(LeafIndex, MemberId)> = self.model.epoch(*epoch).on_stage().collect();
        let stage: Vec<Speaker> = speakers.iter().map(|(leaf, id)| Speaker { leaf: *leaf, id: *id }).collect();
        let suite = self.model.epoch(*epoch).suite();
        let mut forged = Vec::new();
        let provider = &mal.client.provider;
        for (leaf, _) in speakers {
            let key = mal.group.export_secret(provider.crypto(), BASE_KEY_LABEL, &[], suite.key_len());
            let Ok(key) = key else { return Ok(()) };
            let keys =
                EpochKeys::new(suite, self.layout, number, Zeroizing::new(key), leaf, stage.clone(), Duration::ZERO);
            let Ok(keys) = keys else { return Ok(()) };
            let mut voice = Voice::new(keys.of_room(mal.group.group_id().as_slice()));
            for frame in 0..frames {
                let packet = voice.seal(&[FORGED, frame, leaf.0 as u8]).expect("a stage of its own");
                forged.push(packet);
            }
        }
        self.tally.add("forgeries");
        self.has_forged |= !forged.is_empty();
        for packet in forged {
            for to in 0..self.ends.len() {
                self.arrive(to, &packet)?;
            }
        }
        Ok(())
    }

    /// A member says very much at once.
    pub fn flood(&mut self, by: usize, words: u8) -> Held {
        self.tally.add("floods");
        (0..words).try_for_each(|word| self.say(by, if word % 2 == 0 { Word::Hand(word % 4 == 0) } else { Word::Chat }))
    }
}
