//! What the relay does to the messages that change the room.

use std::time::Duration;

use parlor::{Event, Role};

use crate::{
    Table, cut, flip_a_bit,
    frames::WORDS,
    ghost::Patched,
    noise, room,
    stage_hands::{Outcome, Person, Scene, guest},
};

const TIMES: u64 = 200;
const LIV: &str = "Liv Larsen";

pub fn attack(scene: &mut Scene, table: &mut Table) -> Outcome {
    let mut twin = room()?;
    let mut past = Vec::new();
    for _ in 0..20 {
        let commit = scene.room("ana")?.refresh()?;
        past.push(commit.clone());
        scene.spread(commit)?;
    }
    let mut past = past.iter().cycle();
    let next = scene.room("ana")?.refresh()?;
    table.tries("cut it short", TIMES, || takes(scene, &cut(&next)))?;
    table.tries("flip a bit", TIMES, || takes(scene, &flip_a_bit(&next)))?;
    table.tries("inject noise", TIMES, || takes(scene, &noise(next.len())))?;
    table.tries("replay one of past epochs", TIMES, || takes(scene, past.next().ok_or("it goes round")?))?;
    let foreign = twin.room("ana")?.refresh()?;
    table.tries("bring one of another room", 1, || takes(scene, &foreign))?;
    scene.spread(next.clone())?;
    table.tries("bring the same one twice", TIMES, || takes(scene, &next))?;

    let skipped = scene.room("ana")?.refresh()?;
    for person in scene.people.iter_mut().filter(|person| person.name != LIV) {
        person.receive(&skipped, scene.now)?;
    }
    let second = scene.room("ana")?.refresh()?;
    table.tries("leave one out, and bring the next", 1, || takes(scene, &second))?;
    let now = scene.now;
    scene.person(LIV)?.receive(&skipped, now)?;
    scene.spread(second)?;

    let mut patched = Patched::enter(scene, "Pat")?;
    let external = patched.external_commit()?;
    table.tries("enter as a ghost, by external commit", 1, || takes(scene, &external))?;
    let ghost = patched.add_ghost()?;
    table.tries("have a listener add a ghost", 1, || takes(scene, &ghost))?;
    let pat = scene.room("ana")?.roster().find(|member| member.name == "Pat").map(|member| member.id);
    let removal = scene.room("ana")?.remove(&pat.ok_or("Pat is here")?)?;
    scene.spread(removal)?;
    Ok(())
}

/// Liv takes a message in: an error says why nothing came of it.
fn takes(scene: &mut Scene, message: &[u8]) -> Outcome<Result<(), String>> {
    let now = scene.now;
    let liv = scene.person(LIV)?;
    let state = |liv: &Person| (liv.room.epoch(), liv.room.code(), liv.room.roster().len());
    let before = state(liv);
    let why = match liv.receive(message, now) {
        Ok(events) => match events.first() {
            Some(Event::Refused { why, .. }) => format!("every member: {why}"),
            _ => "Liv: nothing".into(),
        },
        Err(why) => format!("Liv: {why}"),
    };
    Ok(if state(liv) == before { Err(why) } else { Ok(()) })
}

/// What no member can do anything against at once: the relay leaves out the message by which somebody is removed.
pub fn withheld(scene: &mut Scene) -> Outcome {
    scene.admit("ana", vec![(guest("carlo")?, Role::Listener)])?;
    let carlo_id = scene.id("carlo")?;
    let removal = scene.room("ana")?.remove(&carlo_id)?;
    // The relay works for Carlo: it brings this to neither him nor Ben.
    for person in scene.people.iter_mut().filter(|person| !["carlo", "ben"].contains(&&*person.name)) {
        person.receive(&removal, scene.now)?;
    }
    let (mut from_ana, mut from_ben, mut after) = (0, 0, 0);
    for _ in 0..30 {
        scene.now += Duration::from_millis(100);
        let (ana, ben, now) = (scene.speak("ana", WORDS)?, scene.speak("ben", WORDS)?, scene.now);
        let _ = scene.person("ben")?.voice.open(&ana, now);
        let carlo = &mut scene.person("carlo")?.voice;
        from_ana += u32::from(carlo.open(&ana, now).is_ok());
        from_ben += u32::from(carlo.open(&ben, now).is_ok());
    }
    let (ana, now) = (scene.id("ana")?, scene.now);
    let told = scene.person("ben")?.voice.hearing(&ana, now).cause;
    scene.person("ben")?.receive(&removal, now)?;
    for _ in 0..30 {
        let ben = scene.speak("ben", WORDS)?;
        after += u32::from(scene.person("carlo")?.voice.open(&ben, now).is_ok());
    }
    println!("Said plainly: a removal that the relay withholds");
    println!("  Ana removes Carlo; the relay brings it to all but Carlo and Ben, and both talk for three seconds.");
    println!(
        "  Of Ana's 30 frames Carlo opens {from_ana}. Of Ben's, who does not know, {from_ben}: the relay can do that."
    );
    println!("  Ben's ear says why he should stop: “{told}”");
    println!("  Once the message has reached Ben, Carlo opens {after} of 30 more.\n");
    if from_ana + after > 0 {
        return Err("carlo heard somebody who knew that he was removed".into());
    }
    Ok(())
}
