//! The relay is the enemy: it does to packets, to messages and at the door all that who carries them can do.
//!
//! ```text
//! cargo run --example hostile_relay
//! ```

mod door;
mod frames;
mod ghost;
mod messages;
mod seals;
#[path = "../stage_hands/mod.rs"]
mod stage_hands;

use std::{collections::BTreeMap, process::ExitCode};

use parlor::{
    KeyIdLayout, Role, Settings,
    media::sframe::Header,
    room::{Entry, Setting},
};
use rand::{Rng, RngExt};
use stage_hands::{Kind, Outcome, Scene, curtain, guest, it_worked};

const HELP: &str = "\
A relay that drops, alters, replays and forges packets, messages, doorplates, knocks and answers, and searches all it
ever carried. Each attempt is a row: how often, how often it worked, who refused it and why.

Usage: cargo run --example hostile_relay

Exit status: 0 nothing worked, 1 something did, 2 could not run.";

const TITLE: &str = "the Thursday circle";
const TOPIC: &str = "what the minutes leave out";
const NOTE: &str = "sent by Frida";
const CHAT: &str = "the key is under the mat";

fn main() -> ExitCode {
    curtain("hostile_relay", HELP, play)
}

fn play() -> Outcome<u64> {
    let mut table = Table::default();
    let mut scene = room()?;
    table.heading("Frames");
    frames::attack(&mut scene, &mut table)?;
    table.heading("Messages that change the room");
    messages::attack(&mut scene, &mut table)?;
    table.heading("Seals, and with a listener's keys");
    seals::attack(&mut table)?;
    table.heading("The door");
    let link = door::attack(&mut scene, &mut table)?;

    table.heading("All it carried: raw, hex, base64");
    let (_, message) = scene.room("ana")?.say(CHAT, None)?;
    scene.spread(message)?;
    let text = link.reveal();
    let secret = text.rsplit('#').next().unwrap_or_default();
    for (what, secret) in [
        ("find the title", TITLE),
        ("find the topic", TOPIC),
        ("find a line of chat", CHAT),
        ("find a knock's note", NOTE),
        ("find a listener's name", "Liv Larsen"),
        ("find a guest's name", "Gil Gomez"),
        ("find what is said", frames::WORDS),
        ("find the link", secret),
    ] {
        let hits = scene.relay.finds(secret.as_bytes());
        table.row(what, 1, hits as u64, "it is sealed wherever it stands");
    }
    let things = scene.relay.log.len();
    println!(
        "  searched: {things} things of {} bytes together",
        scene.relay.log.iter().map(|seen| seen.bytes.len()).sum::<usize>()
    );

    println!();
    messages::withheld(&mut scene)?;
    so_thats_what_the_server_sees(&mut scene)?;
    println!("\n{} attempts, {} succeeded.", table.times, table.succeeded);
    Ok(table.succeeded)
}

/// A room with somebody in every role. The relay is told the names of none.
fn room() -> Outcome<Scene> {
    let settings = Settings::default()
        .with_title(TITLE)?
        .with(Setting::Topic(TOPIC.into()))?
        .with(Setting::Entry(Entry::Knock))?;
    let mut scene = Scene::open("ana", settings)?;
    let cast = [("mo", Role::Moderator), ("ben", Role::Speaker), ("Liv Larsen", Role::Listener)];
    let guests = cast.into_iter().map(|(name, role)| Ok((guest(name)?, role))).collect::<parlor::Result<_>>()?;
    scene.admit("ana", guests)?;
    Ok(scene)
}

/// What the relay tried, and what became of it.
#[derive(Default)]
struct Table {
    times: u64,
    succeeded: u64,
}

impl Table {
    fn heading(&mut self, what: &str) {
        println!(
            "{}{what:38}{:>6}{:>11}  who refused, and why",
            if self.times == 0 { "" } else { "\n" },
            "times",
            "succeeded"
        );
    }

    fn row(&mut self, what: &str, times: u64, succeeded: u64, why: &str) {
        self.times += times;
        self.succeeded += succeeded;
        it_worked(succeeded);
        println!("  {what:36}{times:6}{succeeded:11}  {why}");
    }

    /// Tries `times` times: an error says who refused and why.
    fn tries(&mut self, what: &str, times: u64, mut attempt: impl FnMut() -> Outcome<Result<(), String>>) -> Outcome {
        let (mut succeeded, mut reasons) = (0, BTreeMap::<String, (u64, String)>::new());
        for _ in 0..times {
            match attempt()? {
                Ok(()) => succeeded += 1,
                Err(why) => {
                    // Reasons that differ in numbers only count together.
                    let why = why.split(';').next().unwrap_or_default();
                    let alike = why.replace(|c: char| c.is_ascii_digit(), "");
                    reasons.entry(alike).or_insert_with(|| (0, why.to_owned())).0 += 1;
                }
            }
        }
        let most = reasons.values().max_by_key(|(times, _)| *times);
        self.row(what, times, succeeded, most.map_or("", |(_, why)| why));
        Ok(())
    }
}

/// `bytes` with one bit flipped somewhere.
fn flip_a_bit(bytes: &[u8]) -> Vec<u8> {
    let mut rng = rand::rng();
    let mut altered = bytes.to_vec();
    let at = rng.random_range(0..altered.len());
    altered[at] ^= 1 << rng.random_range(0..8);
    altered
}

fn cut(bytes: &[u8]) -> Vec<u8> {
    bytes[..rand::rng().random_range(0..bytes.len())].to_vec()
}

fn noise(length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    rand::rng().fill_bytes(&mut bytes);
    bytes
}

fn so_thats_what_the_server_sees(scene: &mut Scene) -> Outcome {
    let id = scene.room("ana")?.id().to_vec();
    let log = &scene.relay.log;
    let seconds = log.last().map_or(0, |seen| seen.at.as_secs());
    let of_room = log.iter().filter(|seen| seen.bytes.windows(id.len()).any(|window| window == id)).count();
    let hex: String = id.iter().map(|byte| format!("{byte:02x}")).collect();
    println!("So that's what the server sees");
    println!("  the room's id     {hex}, in {of_room} of {} things that it carried", log.len());
    println!("  how long          {seconds} seconds, and the moment of each thing");
    for kind in [Kind::Message, Kind::Welcome, Kind::Packet, Kind::Doorplate, Kind::Knock, Kind::Answer] {
        let (times, sizes) = (scene.relay.of(kind).count(), scene.relay.sizes(kind));
        let (least, most) = (sizes.first().copied().unwrap_or(0), sizes.last().copied().unwrap_or(0));
        let name = format!("{kind:?}s").to_lowercase();
        println!(
            "  {name:18}{times}, of {}",
            if least == most { format!("{most} bytes each") } else { format!("{least} to {most} bytes") }
        );
    }
    let mut talk: BTreeMap<u32, (u64, Vec<u64>)> = BTreeMap::new();
    for packet in scene.relay.of(Kind::Packet) {
        let (_, leaf, epoch) = KeyIdLayout::default().split(Header::decode(packet)?.0.kid);
        let (packets, epochs) = talk.entry(leaf.0).or_default();
        *packets += 1;
        epochs.push(epoch);
    }
    for (leaf, (packets, mut epochs)) in talk {
        epochs.sort_unstable();
        epochs.dedup();
        println!("  leaf {leaf:<13}{packets} packets in {} epochs: who it is, it cannot tell", epochs.len());
    }
    println!("  verdicts          a yes comes with a commit and a no does not: it can guess what a knock came to");
    Ok(())
}
