//! What the relay does to packets.

use std::time::Duration;

use parlor::{Cause, KeyIdLayout, LeafIndex, media::sframe::Header};
use rand::seq::SliceRandom as _;

use crate::{
    Table, cut, flip_a_bit, noise, room,
    stage_hands::{Outcome, Scene, words_of},
};

pub const WORDS: &str = "between you and me";
const TIMES: u64 = 1_000;
const LIV: &str = "Liv Larsen";

pub fn attack(scene: &mut Scene, table: &mut Table) -> Outcome {
    // The same people in another room, in the same epoch, at the same leaves.
    let mut twin = room()?;
    for scene in [&mut *scene, &mut twin] {
        let refresh = scene.room("ana")?.refresh()?;
        scene.spread(refresh)?;
    }
    let epoch = scene.room("ana")?.epoch();
    on_each(scene, table, "bring it from another room", |_| twin.speak("ana", WORDS))?;
    on_each(scene, table, "cut it short", |packet| Ok(cut(packet)))?;
    on_each(scene, table, "flip a bit", |packet| Ok(flip_a_bit(packet)))?;
    on_each(scene, table, "inject noise", |packet| Ok(noise(packet.len())))?;
    on_each(scene, table, "put noise behind a true header", |packet| {
        let (_, length) = Header::decode(packet)?;
        Ok([&packet[..length], &noise(packet.len() - length)].concat())
    })?;
    on_each(scene, table, "move it to another stream", |packet| relabel(packet, Some(1), None, None))?;
    on_each(scene, table, "pass it off as Ben's", |packet| relabel(packet, None, Some(2), None))?;
    on_each(scene, table, "move it to the epoch before", |packet| relabel(packet, None, None, Some(epoch - 1)))?;

    table.tries("play it twice", TIMES, || {
        let packet = scene.speak("ana", WORDS)?;
        let now = scene.now;
        let liv = scene.person(LIV)?;
        liv.voice.open(&packet, now)?;
        opens(scene, LIV, &packet)
    })?;
    table.tries("send it back to who spoke", TIMES, || {
        let packet = scene.speak("ana", WORDS)?;
        opens(scene, "ana", &packet)
    })?;

    let mut packets = (0..60).map(|_| scene.speak("ana", WORDS)).collect::<Outcome<Vec<_>>>()?;
    let order: Vec<_> = packets.clone();
    packets.shuffle(&mut rand::rng());
    let now = scene.now;
    let mut shuffled = packets.iter();
    let mut first = None;
    table.tries("deliver sixty in disorder, unnoticed", 60, || {
        let packet = shuffled.next().ok_or("sixty were sealed")?;
        let heard = scene.person(LIV)?.voice.open(packet, now)?;
        let place = order.iter().position(|sealed| sealed == packet).ok_or("it is one of them")? as u64;
        let start = *first.get_or_insert(heard.counter - place);
        let told = heard.counter - start == place;
        Ok(if told { Err("Liv: it is heard in its place, for its counter is sealed too".into()) } else { Ok(()) })
    })?;

    let late = (0..100).map(|_| scene.speak("ana", WORDS)).collect::<Outcome<Vec<_>>>()?;
    let refresh = scene.room("ana")?.refresh()?;
    scene.spread(refresh)?;
    scene.pass(3);
    let mut late = late.iter();
    table.tries("hold it back for 3 s and a key change", 100, || {
        opens(scene, LIV, late.next().ok_or("a hundred were sealed")?)
    })?;

    for _ in 0..100 {
        scene.speak("ana", WORDS)?;
        scene.now += Duration::from_millis(20);
    }
    let (ana, now) = (scene.id("ana")?, scene.now);
    let hearing = scene.person(LIV)?.voice.hearing(&ana, now);
    let unnoticed = u64::from(!matches!(hearing.cause, Cause::NoPackets { .. })) * 100;
    table.row("drop a hundred, unnoticed", 100, unnoticed, &format!("Liv is told: {}", hearing.cause));
    Ok(())
}

/// Alters each packet of Ana's on its way to Liv, who must refuse it and still hear the true one.
fn on_each(
    scene: &mut Scene,
    table: &mut Table,
    what: &str,
    mut alter: impl FnMut(&[u8]) -> Outcome<Vec<u8>>,
) -> Outcome {
    table.tries(what, TIMES, || {
        let packet = scene.speak("ana", WORDS)?;
        let outcome = opens(scene, LIV, &alter(&packet)?)?;
        let now = scene.now;
        let heard = scene.person(LIV)?.voice.open(&packet, now).map(|heard| words_of(&heard.frame));
        scene.carry_seals("ana")?;
        // To keep the true packet from being heard would be a success too.
        Ok(if heard.is_ok_and(|heard| heard == WORDS) { outcome } else { Ok(()) })
    })
}

fn opens(scene: &mut Scene, who: &str, packet: &[u8]) -> Outcome<Result<(), String>> {
    let now = scene.now;
    let opened = scene.person(who)?.voice.open(packet, now);
    let who = if who == LIV { "Liv" } else { "Ana" };
    Ok(opened.map(drop).map_err(|why| format!("{who}: {why}")))
}

/// The same packet under another key id.
pub fn relabel(packet: &[u8], stream: Option<u64>, leaf: Option<u32>, epoch: Option<u64>) -> Outcome<Vec<u8>> {
    let (header, length) = Header::decode(packet)?;
    let (was_stream, was_leaf, was_epoch) = KeyIdLayout::default().split(header.kid);
    let kid = KeyIdLayout::default().key_id(
        stream.unwrap_or(was_stream),
        leaf.map_or(was_leaf, LeafIndex),
        epoch.unwrap_or(was_epoch),
    )?;
    let mut relabelled = vec![0; 32];
    let written = Header { kid, ..header }.encode_into(&mut relabelled)?;
    Ok([&relabelled[..written], &packet[length..]].concat())
}
