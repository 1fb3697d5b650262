//! What the relay does with seals, and what a listener does who works for it and has every frame key.

use std::time::Duration;

use parlor::{
    KeyIdLayout, LeafIndex, Suite,
    media::{
        SealState, Stats,
        seal::Finding,
        sframe::{Backend, Header, Opener, Sealer},
    },
};

use crate::{
    Table,
    frames::{WORDS, relabel},
    ghost::Patched,
    noise, room,
    stage_hands::{Outcome, Scene, frame_of, words_of},
};

const TIMES: u64 = 100;
const LIV: &str = "Liv Larsen";
const FRAME: Duration = Duration::from_millis(20);
const SECOND: usize = 50;
const SEALS: u64 = 1;

pub fn attack(table: &mut Table) -> Outcome {
    let mut scene = room()?;
    let insider = Patched::enter(&mut scene, "Pat")?;
    let suite = scene.room("ana")?.settings().suite();
    let (epoch, base_key) = (scene.room("ana")?.epoch(), insider.base_key(suite)?);
    let keys = Keys { suite, base_key, epoch };
    talk(&mut scene, SECOND, |_| true)?;

    table.tries("pass Ana's off as Ben's", TIMES, || {
        let seal = next_seal(&mut scene)?;
        takes(&mut scene, &relabel(&seal, None, Some(BEN), None)?)
    })?;
    table.tries("the same, sealed anew by a listener", TIMES, || {
        let seal = next_seal(&mut scene)?;
        let text = keys.open(&seal)?;
        takes(&mut scene, &keys.seal(SEALS, BEN, Header::decode(&seal)?.0.counter, &text)?)
    })?;
    table.tries("have a listener forge Ana's", TIMES, || {
        let seal = next_seal(&mut scene)?;
        let text = noise(keys.open(&seal)?.len());
        takes(&mut scene, &keys.seal(SEALS, ANA, Header::decode(&seal)?.0.counter + 1, &text)?)
    })?;
    table.tries("have a listener alter a hash in it", TIMES, || {
        let seal = next_seal(&mut scene)?;
        let mut text = keys.open(&seal)?;
        text[40] ^= 1;
        takes(&mut scene, &keys.seal(SEALS, ANA, Header::decode(&seal)?.0.counter + 1, &text)?)
    })?;
    forge_frames(&mut scene, &keys, table)?;

    let old = next_seal(&mut scene)?;
    let text = keys.open(&old)?;
    let refresh = scene.room("ana")?.refresh()?;
    scene.spread(refresh)?;
    talk(&mut scene, SECOND, |_| true)?;
    table.tries("bring one of the epoch before", 1, || {
        takes(&mut scene, &relabel(&old, None, None, Some(epoch + 1))?)
    })?;
    // The listener is in the next epoch too, and has its key.
    let mut other = room()?;
    let twin = Patched::enter(&mut other, "Pat")?;
    let there = Keys { suite, base_key: twin.base_key(suite)?, epoch: other.room("ana")?.epoch() };
    table.tries("one of another room, sealed anew", 1, || takes(&mut other, &there.seal(SEALS, ANA, 0, &text)?))?;

    // What was held against Ana is over.
    talk(&mut scene, 15 * SECOND, |_| true)?;
    talk(&mut scene, 2 * SECOND, |_| false)?;
    let (ana, now) = (scene.id("ana")?, scene.now);
    let state = scene.person(LIV)?.voice.hearing(&ana, now).seals;
    let unnoticed = u64::from(state != SealState::Unverified);
    table.row("drop all of two seconds, unnoticed", 1, unnoticed, &format!("Liv is told of Ana: {state}"));
    Ok(())
}

/// A listener forges frames in Ana's name for two seconds, far ahead of her and where she is.
fn forge_frames(scene: &mut Scene, keys: &Keys, table: &mut Table) -> Outcome {
    // Whatever was held against Ana before is over.
    talk(scene, 15 * SECOND, |_| true)?;
    let (ana, lies) = (scene.id("ana")?, "a thing that Ana never said");
    let (mut forged, mut played, mut told, mut said, mut heard) = (0, 0, 0, 0, 0);
    for tick in 0..6 * SECOND {
        scene.now += FRAME;
        let now = scene.now;
        let packet = scene.speak("ana", WORDS)?;
        said += 1;
        let counter = Header::decode(&packet)?.0.counter;
        let mut carried = Vec::new();
        if tick < 2 * SECOND {
            let ahead = if tick < SECOND / 2 { 60 } else { [0, 1, 90][tick % 3] };
            carried.push(keys.seal(0, ANA, counter + ahead, &frame_of(lies))?);
            forged += 1;
        }
        carried.push(packet);
        carried.extend(scene.seals("ana")?);
        let voice = &mut scene.person(LIV)?.voice;
        for packet in carried {
            let opened = voice.open(&packet, now).ok();
            let waited = std::iter::from_fn(|| voice.unpark(now)).flatten().collect::<Vec<_>>();
            for frame in opened.into_iter().chain(waited) {
                if words_of(&frame.frame) == lies { played += 1 } else { heard += 1 }
            }
        }
        while let Some(finding) = voice.next_finding(now) {
            told += match finding {
                Finding::Forgery(forgery) if forgery.impersonated == ana => forgery.played,
                _ => 0,
            };
        }
    }
    talk(scene, 1, |_| true)?;
    let unnoticed = forged.min(played - told.min(played));
    table.row(
        "have one speak as Ana, unnoticed",
        forged,
        unnoticed,
        &format!("Liv: {played} of them were played before a seal of Ana's told, and Liv was told of {told}"),
    );
    let waiting = SECOND as u64 / 2;
    let lost = said - heard;
    table.row(
        "keep Ana from being heard by it",
        said,
        if lost > waiting { lost } else { 0 },
        &format!("Liv: {heard} of {said} frames of Ana's are heard, {lost} wait for the next seal"),
    );
    Ok(())
}

const ANA: u32 = 0;
const BEN: u32 = 2;

/// What any member can seal and open with, in anybody's name.
struct Keys {
    suite: Suite,
    base_key: Vec<u8>,
    epoch: u64,
}

impl Keys {
    fn seal(&self, stream: u64, leaf: u32, counter: u64, text: &[u8]) -> Outcome<Vec<u8>> {
        let kid = KeyIdLayout::default().key_id(stream, LeafIndex(leaf), self.epoch)?;
        let mut sealer = Sealer::new(self.suite, Backend::default(), &self.base_key, kid, counter)?;
        let mut packet = vec![0; text.len() + sealer.overhead()];
        sealer.seal_into(b"", text, &mut packet)?;
        Ok(packet)
    }

    fn open(&self, packet: &[u8]) -> Outcome<Vec<u8>> {
        let (header, _) = Header::decode(packet)?;
        let opener = Opener::new(self.suite, Backend::default(), &self.base_key, header.kid)?;
        let mut packet = packet.to_vec();
        Ok(opener.open_in_place(b"", &mut packet)?.1.to_vec())
    }
}

/// Ana talks for some frames, and those of her seals that `brings` takes reach everybody.
fn talk(scene: &mut Scene, frames: usize, mut brings: impl FnMut(&[u8]) -> bool) -> Outcome {
    for _ in 0..frames {
        scene.now += FRAME;
        let packet = scene.speak("ana", WORDS)?;
        let seals = scene.seals("ana")?;
        let now = scene.now;
        for person in scene.people.iter_mut().filter(|person| person.name != "ana") {
            let _ = person.voice.open(&packet, now);
            for seal in seals.iter().filter(|seal| brings(seal)) {
                let _ = person.voice.open(seal, now);
            }
            while person.voice.unpark(now).is_some() {}
            while person.voice.next_finding(now).is_some() {}
        }
    }
    Ok(())
}

/// Ana talks until she has made a seal, which Liv gets as well.
fn next_seal(scene: &mut Scene) -> Outcome<Vec<u8>> {
    let mut last = None;
    while last.is_none() {
        talk(scene, 1, |seal| {
            last = Some(seal.to_vec());
            true
        })?;
    }
    Ok(last.unwrap_or_default())
}

/// Liv is brought a seal: an error says why it counts for nothing.
fn takes(scene: &mut Scene, seal: &[u8]) -> Outcome<Result<(), String>> {
    let now = scene.now;
    let voice = &mut scene.person(LIV)?.voice;
    let taken = |stats: &Stats| (stats.seals_taken, stats.verified);
    let before = taken(voice.stats());
    let outcome = voice.open(seal, now).map(drop);
    if taken(voice.stats()) != before {
        return Ok(Ok(()));
    }
    Ok(outcome.map_err(|why| format!("Liv: {why}")))
}
