//! The room's own extension, as a host with a patched client writes it.

use std::cell::RefCell;

use openmls::prelude::{LeafNodeIndex, LeafNodeParameters};
use parlor::{Role, Settings};

use super::{input::Input, reach, world::Scene};
use crate::party::{
    charter::{Charter, Link, Standing},
    mal::{Part, remove},
};

thread_local! {
    static SCENE: RefCell<Option<Scene>> = const { RefCell::new(None) };
}

/// All members take a charter, or none does; what they take has the one form that a second reader knows.
pub fn charter(data: &[u8]) {
    SCENE.with_borrow_mut(|kept| {
        let scene = kept.get_or_insert_with(|| Scene::new(Role::Host));
        let mut input = Input::new(data);
        let bytes = match input.below(3) {
            0 => input.rest().to_vec(),
            1 => input.mutate(&scene.world.mal.charter_bytes()),
            _ => write(scene, &mut input),
        };
        let mut parts: Vec<Part> = vec![scene.world.mal.recharter_to(bytes.clone())];
        if input.below(4) == 3 {
            let liv = scene.room().roster().find(|member| member.name == "liv").map(|member| member.leaf.0);
            parts.extend(liv.map(|leaf| remove(LeafNodeIndex::new(leaf))));
        }
        let before = scene.room().settings().clone();
        let Some(commit) = scene.commit(LeafNodeParameters::default(), parts) else {
            return scene.world.mal.abandon();
        };
        if scene.weigh(&commit) {
            reach("taken");
            assert_eq!(Charter::read(&bytes).write(), bytes, "a charter has two forms");
            fits(scene, &Charter::read(&bytes), &before);
        }
        if !scene.is_usable() {
            *kept = None;
        }
    });
}

/// What the room shows of itself is what the charter says.
fn fits(scene: &Scene, charter: &Charter, before: &Settings) {
    let room = scene.room();
    assert_eq!(room.settings().title().as_bytes(), charter.title);
    assert_eq!((room.settings().suite(), room.settings().layout()), (before.suite(), before.layout()));
    assert!(room.banned().map(parlor::MemberId::as_bytes).eq(&charter.banned));
    assert!(room.links().map(|link| link.id.as_bytes()).eq(charter.links.keys()));
    for member in room.roster() {
        let standing = charter.standings.get(member.id.as_bytes()).copied().unwrap_or_default();
        assert_eq!(member.role as u8, standing.role, "{member:?}");
        assert_eq!(member.muted_by.map(|by| *by.as_bytes()), standing.muted_by);
    }
}

/// The room's charter with changes in its own terms.
fn write(scene: &Scene, input: &mut Input<'_>) -> Vec<u8> {
    let people: Vec<_> = scene.room().roster().map(|member| *member.id.as_bytes()).collect();
    let next = scene.world.mal.next_epoch();
    let mut charter = scene.world.mal.charter();
    for _ in 0..1 + input.below(4) {
        let anybody = |input: &mut Input<'_>| match input.below(8) {
            at @ 0..=5 => people[at % people.len()],
            _ => [input.byte(); 32],
        };
        match input.below(16) {
            0 => charter.version = input.byte(),
            1 => charter.suite = [0xF001, 4, input.u16()][input.below(3)],
            2 => (charter.sender_bits, charter.epoch_bits) = (input.byte(), input.byte()),
            3 => charter.entry = input.byte() & 3,
            4 => charter.flags = input.byte() & 31,
            5 => (charter.seals, charter.seal_every) = (input.byte() & 3, input.byte() & 63),
            6 => charter.proof = input.byte() & 1,
            7 => charter.capacity = input.byte().into(),
            8 => charter.title = input.run().to_vec(),
            9 => charter.topic = input.run().to_vec(),
            10 => {
                let since = [0, next, input.number()][input.below(3)];
                let muted_by = input.flag().then(|| anybody(input));
                let standing = Standing {
                    role: input.byte() & 3,
                    since,
                    muted_by,
                    leaving: input.flag(),
                    returned: u64::from(input.byte() & 1),
                };
                charter.standings.insert(anybody(input), standing);
            }
            11 => charter.give(anybody(input), input.byte() & 3, next),
            12 => drop(charter.banned.insert(anybody(input))),
            13 => charter.banned.clear(),
            14 => {
                let (role, one_shot) = (input.byte() & 3, input.byte() & 1);
                let link = Link { role, one_shot, expires: input.number(), issuer: anybody(input) };
                charter.links.insert([input.byte(); 32], link);
            }
            _ => charter.spare = input.run().to_vec(),
        }
    }
    let mut bytes = charter.write();
    if input.below(8) == 7 && charter.banned.len() > 1 {
        // The last two of those banned, in another order.
        let end = bytes.len() - charter.spare.len() - charter.links.len() * 74 - 1;
        bytes[end - 64..end].rotate_left(32);
    }
    bytes
}
