//! What the relay does at the door.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD as BASE64};
use parlor::{
    Error, Intent, Link, Role, Settings, Waiting,
    room::{Entry, Retried, Setting},
};

use crate::{
    NOTE, TITLE, Table, cut, flip_a_bit, noise, room,
    stage_hands::{Outcome, Person, Scene, guest},
};

const TIMES: u64 = 200;

/// Gives the link at whose door it was tried.
pub fn attack(scene: &mut Scene, table: &mut Table) -> Outcome<Link> {
    let link = scene.issue_link("ana", Role::Listener, false)?;
    let plate = scene.relay.doorplate(&link)?.to_vec();
    doorplates(scene, table, &link, &plate)?;

    let door = link.read_doorplate(&plate)?;
    let (gil, knock) = guest("Gil Gomez")?.knock(&link, &door, NOTE, scene.wall())?;
    table.tries("alter a knock", TIMES, || arrives(scene, &link, &flip_a_bit(&knock)))?;
    table.tries("cut a knock short", TIMES, || arrives(scene, &link, &cut(&knock)))?;
    // The relay knows the gate: it puts this door's address and link on a knock, and cannot sign it.
    let own = Link::generate(door.host())?;
    table.tries("knock without the link", TIMES, || {
        let mut forged = knock.clone();
        let end = forged.len() - 64;
        forged[end..].copy_from_slice(&noise(64));
        arrives(scene, &link, &forged)
    })?;
    table.tries("read with a link of its own", 1, || refused("Ana's doorplate", own.read_doorplate(&plate)))?;
    let mut twin = room()?;
    let (now, wall) = (scene.now, scene.wall());
    table.tries("carry a knock to another room", 1, || {
        refused("its host", twin.room("ana")?.knocked(&knock, now, wall))
    })?;

    scene.bring(&knock, &link, "ana")?;
    table.tries("bring a knock again", TIMES, || refused("Ana", scene.room("ana")?.knocked(&knock, now, wall)))?;
    let (old, stale) = guest("Olga")?.knock(&link, &door, NOTE, wall)?;
    table.tries("keep a knock for twenty minutes", 1, || {
        refused("Ana", scene.room("ana")?.knocked(&stale, now, wall.plus(20 * 60)))
    })?;
    drop(old);

    let (hal, _) = scene.knock(guest("Hal")?, &link, NOTE, "ana")?;
    scene.let_in("ana", &[gil.id(), hal.id()])?;
    let answers = [gil.id(), hal.id()].map(|id| scene.relay.answer(id).map(|(answer, _)| answer.to_vec()));
    let [to_gil, to_hal] = answers;
    let (to_gil, to_hal) = (to_gil?, to_hal?);
    let mut gil = Some(gil);
    table.tries("swap two answers", 1, || enters(&mut gil, &to_hal))?;
    table.tries("alter an answer", TIMES, || enters(&mut gil, &flip_a_bit(&to_gil)))?;
    table.tries("cut an answer short", TIMES, || enters(&mut gil, &cut(&to_gil)))?;
    let tree = scene.relay.answer(hal.id())?.1.map(<[u8]>::to_vec);
    scene.people.push(Person::new(hal.enter(&to_hal, tree.as_deref())?)?);
    scene.enter(gil.take().ok_or("gil waits")?)?.map_err(|(why, _)| why)?;

    let (again, knock) = guest("Ira")?.knock(&link, &door, NOTE, scene.wall())?;
    let revoke = scene.room("ana")?.revoke_link(&link.id())?;
    scene.spread(revoke)?;
    let (now, wall) = (scene.now, scene.wall());
    table.tries("bring a knock by a revoked link", 1, || {
        refused("Ana", scene.room("ana")?.knocked(&knock, now, wall))
    })?;
    drop(again);
    Ok(link)
}

/// Other doorplates in the place of Ana's.
fn doorplates(scene: &mut Scene, table: &mut Table, link: &Link, plate: &[u8]) -> Outcome {
    table.tries("alter the doorplate", TIMES, || refused("a guest", link.read_doorplate(&flip_a_bit(plate))))?;
    let other = scene.issue_link("ana", Role::Speaker, true)?;
    let others = scene.relay.doorplate(&other)?.to_vec();
    table.tries("hang up another door's", 1, || refused("a guest", link.read_doorplate(&others)))?;

    // Mal reads along where the link is sent. She makes a room that looks the same, and a link with the same secret
    // that leads to her: the same door, as far as the relay can tell.
    let settings = Settings::default().with_title(TITLE)?.with(Setting::Entry(Entry::Knock))?;
    let mut mal = Scene::open("ana", settings)?;
    let (hers, theirs) = (mal.issue_link("ana", Role::Listener, false)?.reveal(), link.reveal());
    let body = |text: &str| BASE64.decode(text.rsplit('#').next().unwrap_or_default());
    let (mut hijacked, theirs) = (body(&hers)?, body(&theirs)?);
    hijacked[33..].copy_from_slice(&theirs[33..]);
    let hijacked = Link::parse(&format!("parlor:#{}", BASE64.encode(hijacked)))?;
    let mut entry = *mal.room("ana")?.links().next().ok_or("she has made one")?;
    entry.id = hijacked.id();
    let Retried::Commit(commit) = mal.room("ana")?.retry(&Intent::IssueLink(entry))? else {
        return Err("her room does not have this link yet".into());
    };
    mal.spread(commit)?;
    let hers = mal.room("ana")?.doorplate(&hijacked)?;
    if hijacked.address() != link.address() {
        return Err("the two doors have one address".into());
    }
    table.tries("put another host behind the link", 1, || refused("a guest", link.read_doorplate(&hers)))
}

fn refused<T>(who: &str, result: parlor::Result<T>) -> Outcome<Result<(), String>> {
    Ok(result.map(drop).map_err(|why| format!("{who}: {why}")))
}

/// A knock at the gate, and with a relay that leaves its own gate open, at Ana's.
fn arrives(scene: &mut Scene, link: &Link, knock: &[u8]) -> Outcome<Result<(), String>> {
    let gate = link.gate().check(knock);
    let (now, wall) = (scene.now, scene.wall());
    let mut ana = scene.room("ana")?.knocked(knock, now, wall);
    if let Err(Error::Unusable { .. }) = ana {
        // She opens so many in a second, and gives back unread what is more: it comes again in the next.
        scene.pass(1);
        let (now, wall) = (scene.now, scene.wall());
        ana = scene.room("ana")?.knocked(knock, now, wall);
    }
    Ok(match (gate, ana) {
        (Err(_), Err(why)) => Err(format!("the gate, and Ana: {why}")),
        _ => Ok(()),
    })
}

/// Somebody who waits is given an answer; it is a success of the relay's if they enter anything.
fn enters(waiting: &mut Option<Waiting>, answer: &[u8]) -> Outcome<Result<(), String>> {
    let who = waiting.take().ok_or("somebody waits")?;
    Ok(match who.enter(answer, None) {
        Ok(_) => Ok(()),
        Err(failed) => {
            *waiting = Some(*failed.waiting);
            Err(format!("the guest: {}", failed.error))
        }
    })
}
