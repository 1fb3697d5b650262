//! The story of 2021: somebody restreamed rooms of an audio app to a web site outside it, for the servers had the sound
//! in the clear. Here everybody tries it who is not in the room, with all they could have.
//!
//! ```text
//! cargo run --example restream_2021
//! ```

#[path = "stage_hands/mod.rs"]
mod stage_hands;

use std::{collections::BTreeMap, process::ExitCode, time::Duration};

use parlor::{
    EpochKeys, Error, Item, KeyIdLayout, LeafIndex, MemberId, Role, Settings, Suite, Voice,
    media::{Speaker, sframe::Header},
};
use rand::Rng;
use stage_hands::{Kind, Outcome, Person, Scene, curtain, guest, words_of};
use zeroize::Zeroizing;

const HELP: &str = "\
The story of 2021: somebody restreams a closed room to a web site. The vendor of the relay, a stranger with the relay's
log, a member who was removed and one who came late each try to open every frame of a talk that is not for them.

Usage: cargo run --example restream_2021

Exit status: 0 none of them opened a frame, 1 somebody did, 2 could not run.";

/// Frames in each of the three parts of the talk.
const PARTS: [usize; 3] = [40, 130, 130];

fn main() -> ExitCode {
    curtain("restream_2021", HELP, play)
}

/// One packet of the talk, as whoever is on the wire has it.
struct Frame {
    packet: Vec<u8>,
    epoch: u64,
    at: Duration,
}

/// How somebody's attempts went.
struct Try {
    who: &'static str,
    with: &'static str,
    tried: usize,
    opened: usize,
    refused: BTreeMap<&'static str, usize>,
}

impl Try {
    fn new(who: &'static str, with: &'static str) -> Self {
        Self { who, with, tried: 0, opened: 0, refused: BTreeMap::new() }
    }

    fn on<T>(&mut self, result: parlor::Result<T>) {
        self.tried += 1;
        match result {
            Ok(_) => self.opened += 1,
            Err(why) => *self.refused.entry(in_words(&why)).or_default() += 1,
        }
    }

    fn why(&self) -> String {
        self.refused.iter().map(|(why, times)| format!("{times} {why}")).collect::<Vec<_>>().join(", ")
    }
}

fn in_words(why: &Error) -> &'static str {
    match why {
        Error::Forged { .. } => "with the wrong key",
        Error::Parked { .. } => "of an epoch whose key never came",
        Error::Replayed { .. } => "heard before",
        Error::TooLate { .. } => "of an epoch whose key they never had, or is erased",
        Error::Malformed { what: Item::Welcome, .. } => "for somebody else's card",
        _ => "for another reason",
    }
}

fn play() -> Outcome<u64> {
    println!("In February 2021 somebody restreamed rooms of the audio app Clubhouse to a web site outside it. Its");
    println!(
        "servers, and its media vendor's, had the sound in the clear: whom they let have it, nobody in a room could"
    );
    println!("say. The same evening, over a relay that has packets only: Ana and Ben talk, in three parts. Carlo is");
    println!("removed after the first, Nina comes in before the last, Liv listens to all of it.\n");
    let mut scene = Scene::open("ana", Settings::default().with_title("closed doors")?)?;
    let people = ["ben", "liv", "carlo"].map(|name| (name, if name == "ben" { Role::Speaker } else { Role::Listener }));
    let people = people.into_iter().map(|(name, role)| Ok((guest(name)?, role))).collect::<parlor::Result<_>>()?;
    scene.admit("ana", people)?;

    let mut carlo_live = Try::new("Carlo, before", "his seat in the room");
    let mut carlo_out = Try::new("Carlo, removed", "his old keys, and every packet");
    let mut relabelled = Try::new("Carlo, removed", "packets relabelled for his old epoch");
    let mut nina_past = Try::new("Nina, late", "her keys, and a recording of before");
    let mut nina_live = Try::new("Nina, since", "her seat in the room");
    let mut liv = Try::new("Liv, the insider", "her seat in the room");

    let mut frames = part(&mut scene, PARTS[0], &mut liv)?;
    let carlo_id = scene.id("carlo")?;
    let at = scene.people.iter().position(|person| person.id == carlo_id).ok_or("carlo is here")?;
    // He keeps his whole client as it was, and leaves out the message that he is removed.
    let mut carlo = scene.people.remove(at);
    for frame in &frames {
        carlo_live.on(carlo.voice.open(&frame.packet, frame.at));
    }
    let removal = scene.room("ana")?.remove(&carlo_id)?;
    scene.spread(removal)?;
    let second = part(&mut scene, PARTS[1], &mut liv)?;
    scene.admit("ana", vec![(guest("nina")?, Role::Listener)])?;
    let third = part(&mut scene, PARTS[2], &mut liv)?;
    for frame in second.iter().chain(&third) {
        carlo_out.on(carlo.voice.open(&frame.packet, frame.at));
        relabelled.on(carlo.voice.open(&relabel(&frame.packet, carlo.room.epoch())?, frame.at));
    }
    let now = scene.now;
    let nina = scene.person("nina")?;
    for frame in frames.iter().chain(&second) {
        nina_past.on(nina.voice.open(&frame.packet, now));
    }
    for frame in &third {
        nina_live.on(nina.voice.open(&frame.packet, now));
    }
    frames.extend(second);
    frames.extend(third);

    let vendor = vendor(&scene, &frames)?;
    let stranger = stranger(&scene, &frames)?;
    let shut_out: Vec<_> = vendor.into_iter().chain(stranger).chain([carlo_out, relabelled, nina_past]).collect();
    println!("{:18}{:42}{:>6}{:>8}  refused", "who tries", "with", "tried", "opened");
    for attempt @ Try { who, with, tried, opened, .. } in &shut_out {
        println!("{who:18}{with:42}{tried:6}{opened:8}  {}", attempt.why());
    }
    println!("\nWho is in the room hears it:");
    for Try { who, with, tried, opened, .. } in [&carlo_live, &nina_live, &liv] {
        println!("{who:18}{with:42}{tried:6}{opened:8}");
    }
    println!(
        "\nAnd so, said plainly: Liv has {} of {} frames in the clear. Nothing can stop a listener who",
        liv.opened, liv.tried
    );
    println!("records. What a closed room can do is to have no listener whom nobody let in.");
    let liv_hears = scene.person("liv")?.voice.stats();
    println!(
        "\nOf {} she knows for certain that it is Ana who speaks, or Ben: their seals say so. To others she can",
        liv_hears.verified
    );
    println!(
        "prove nothing by them. This room is deniable: when it is over its members publish the keys of their seals."
    );
    let heard = [&carlo_live, &nina_live, &liv].iter().all(|seat| seat.opened == seat.tried);
    if !heard {
        return Err("somebody in the room did not hear all of it".into());
    }
    Ok(shut_out.iter().map(|attempt| attempt.opened as u64).sum())
}

/// A part of the talk, which Liv hears.
fn part(scene: &mut Scene, length: usize, liv: &mut Try) -> Outcome<Vec<Frame>> {
    let mut frames = Vec::new();
    for n in 0..length {
        scene.now += Duration::from_millis(20);
        let words = format!("word {n} of {length}");
        let packet = scene.speak(if n % 2 == 0 { "ana" } else { "ben" }, &words)?;
        let (now, epoch) = (scene.now, scene.room("ana")?.epoch());
        let heard = scene.person("liv")?.voice.open(&packet, now);
        if heard.as_ref().is_ok_and(|heard| words_of(&heard.frame) != words) {
            return Err("what was heard is not what was said".into());
        }
        liv.on(heard);
        seals_to_liv(scene)?;
        frames.push(Frame { packet, epoch, at: now });
    }
    scene.pass(3);
    seals_to_liv(scene)?;
    Ok(frames)
}

/// By which she knows who speaks.
fn seals_to_liv(scene: &mut Scene) -> Outcome {
    let now = scene.now;
    for seal in [scene.seals("ana")?, scene.seals("ben")?].concat() {
        // A seal is no sound: that it is one is said by an error.
        let _ = scene.person("liv")?.voice.open(&seal, now);
    }
    Ok(())
}

/// The packet under the key id that its sender would have in `epoch`.
fn relabel(packet: &[u8], epoch: u64) -> Outcome<Vec<u8>> {
    let (header, length) = Header::decode(packet)?;
    let (stream, leaf, _) = KeyIdLayout::default().split(header.kid);
    let mut relabelled = vec![0; 32];
    let kid = KeyIdLayout::default().key_id(stream, leaf, epoch)?;
    let written = Header { kid, ..header }.encode_into(&mut relabelled)?;
    relabelled.truncate(written);
    relabelled.extend_from_slice(&packet[length..]);
    Ok(relabelled)
}

/// The vendor has run the relay: every byte that anybody sent, and what each packet says of itself.
fn vendor(scene: &Scene, frames: &[Frame]) -> Outcome<Vec<Try>> {
    let mut guesses = Try::new("the media vendor", "a key guessed for each frame");
    for frame in frames {
        let mut key = [0; 32];
        rand::rng().fill_bytes(&mut key);
        guesses.on(voice_with(&key, frame)?.open(&frame.packet, frame.at));
    }
    let mut searched = Try::new("the media vendor", "all 32 bytes in a row it ever relayed");
    let control = [Kind::Message, Kind::Welcome].into_iter().flat_map(|kind| scene.relay.of(kind));
    for key in control.flat_map(|bytes| bytes.windows(32)) {
        for frame in frames.iter().step_by(100) {
            searched.on(voice_with(key, frame)?.open(&frame.packet, frame.at));
        }
    }
    Ok(vec![guesses, searched])
}

/// A voice that listens with a key of one's own choice; all else about the frame's epoch is known to the relay.
fn voice_with(key: &[u8], frame: &Frame) -> Outcome<Voice> {
    let (header, _) = Header::decode(&frame.packet)?;
    let (_, leaf, _) = KeyIdLayout::default().split(header.kid);
    let stage = vec![Speaker { leaf, id: MemberId::from_bytes([7; 32]) }];
    let (key, me) = (Zeroizing::new(key.to_vec()), LeafIndex(leaf.0 + 1));
    Ok(Voice::new(EpochKeys::new(Suite::default(), KeyIdLayout::default(), frame.epoch, key, me, stage, frame.at)?))
}

/// A stranger has the relay's log, and the same software.
fn stranger(scene: &Scene, frames: &[Frame]) -> Outcome<Vec<Try>> {
    let mut welcomes = Try::new("a stranger", "every welcome in the relay's log");
    for welcome in scene.relay.of(Kind::Welcome) {
        welcomes.on(guest("stranger")?.enter(welcome).map_err(Error::from));
    }
    // A room of his own, with people where Ana and Ben sit, which he steps through the same epochs.
    let mut own = Scene::open("ana", Settings::default())?;
    let puppets = [("ben", Role::Speaker), ("puppet", Role::Listener), ("stranger", Role::Listener)];
    let puppets = puppets.into_iter().map(|(name, role)| Ok((guest(name)?, role))).collect::<parlor::Result<_>>()?;
    own.admit("ana", puppets)?;
    let mut replayed = Try::new("a stranger", "a room of his own, in the same epochs");
    for frame in frames {
        while own.room("ana")?.epoch() < frame.epoch {
            let refresh = own.room("ana")?.refresh()?;
            own.spread(refresh)?;
        }
        let Person { voice, .. } = own.person("stranger")?;
        replayed.on(voice.open(&frame.packet, frame.at));
    }
    Ok(vec![welcomes, replayed])
}
