//! What members say to one another inside of MLS: words of any form by a member with a patched client.

use std::{cell::RefCell, time::Duration};

use chacha20poly1305::{
    ChaCha20Poly1305, KeyInit as _, Nonce,
    aead::{Aead as _, Payload},
};
use hkdf::Hkdf;
use openmls::prelude::OpenMlsProvider as _;
use parlor::{MemberId, Role};
use sha2::Sha256;

use super::{input::Input, world::Scene};
use crate::party::{NOW, mal::Mal};

const LEAVE: u8 = 1;
const CHAT: u8 = 5;
const CODE: u8 = 7;
const LAST: u8 = 8;
/// The most messages and bytes of text that a room keeps of its chat.
const MOST: (usize, usize) = (1_000, 256 << 10);

thread_local! {
    /// With how many inputs it has heard.
    static SCENE: RefCell<Option<(Scene, u32)>> = const { RefCell::new(None) };
}

/// Words change neither epoch nor roster nor anything that is agreed on by commits; all members take them alike; and
/// what an honest member says is heard after them.
pub fn payload(data: &[u8]) {
    SCENE.with_borrow_mut(|kept| {
        let (scene, heard) = kept.get_or_insert_with(|| (Scene::new(Role::Speaker), 0));
        say(scene, &mut Input::new(data));
        // Who asked to leave stays on the list, and turns only grow: begin again now and then.
        *heard += 1;
        if *heard >= 1_000 {
            *kept = None;
        }
    });
}

fn say(scene: &mut Scene, input: &mut Input<'_>) {
    let people: Vec<MemberId> = scene.room().roster().map(|member| member.id).collect();
    let anybody = |input: &mut Input<'_>| match input.below(8) {
        at @ 0..=5 => people[at % people.len()],
        6 => MemberId::from_bytes([input.byte(); 32]),
        _ => MemberId::from_bytes(input.array()),
    };
    for _ in 0..8 {
        if input.is_empty() {
            break;
        }
        let words = match input.below(8) {
            0 => input.run().to_vec(),
            // Of a kind that there is, about somebody.
            1 => {
                let kind = 1 + input.below(LAST.into()) as u8;
                [&[1, kind], &anybody(input).as_bytes()[..], input.run()].concat()
            }
            2 => [&[1, LEAVE][..], &input.array::<16>()].concat(),
            3 => [&[1, 2][..], &input.array::<4>(), &[input.byte() & 7]].concat(),
            4 => [&[1, CODE][..], anybody(input).as_bytes(), &[1, 1 + input.below(4) as u8], input.run()].concat(),
            5 => {
                let (header, plain) = (input.array::<16>(), input.run().to_vec());
                chat(&scene.world.mal, input, header, plain)
            }
            6 => [&[1, 6][..], input.run()].concat(),
            _ => [&[1, 1 + input.below(12) as u8][..], input.run()].concat(),
        };
        let mal = &mut scene.world.mal;
        let message = mal.group.create_message(&mal.client.provider, &mal.client.signer, &words).unwrap();
        let message = message.to_bytes().unwrap();
        let room = scene.room();
        let before = (room.epoch(), room.code(), room.roster().cloned().collect::<Vec<_>>(), room.settings().clone());
        let whole = scene.states();
        let taken = scene.tell(&message);
        let room = scene.room();
        let after = (room.epoch(), room.code(), room.roster().cloned().collect::<Vec<_>>(), room.settings().clone());
        assert_eq!(after, before);
        for taken in &taken {
            match taken {
                Ok(events) => assert!(events.len() <= 8, "{} events for one word", events.len()),
                Err(error) => assert!(!error.to_string().is_empty()),
            }
        }
        if taken.iter().all(Result::is_err) {
            assert_eq!(scene.states(), whole);
        }
        for room in &scene.world.party.rooms {
            let text: usize = room.messages().map(|message| message.text().len()).sum();
            assert!(room.messages().count() <= MOST.0 && text <= MOST.1);
        }
        // The same bytes again say nothing more.
        let whole = scene.states();
        assert!(scene.world.party.rooms[0].receive(&message, NOW).is_err());
        assert_eq!(scene.states(), whole);
    }
    listen(scene);
}

/// A line of chat whose seal is good, over any text.
fn chat(mal: &Mal, input: &mut Input<'_>, number: [u8; 16], mut plain: Vec<u8>) -> Vec<u8> {
    if input.flag() {
        // In the form that it should have.
        let length = u16::try_from(plain.len()).unwrap();
        let lifetime = [0, 1, 60, u32::MAX][input.below(4)];
        plain = [&lifetime.to_be_bytes()[..], &length.to_be_bytes(), &plain].concat();
        plain.resize(plain.len().next_multiple_of(64), 0);
    }
    let epoch = mal.group.epoch().as_u64();
    let secret = mal.group.export_secret(mal.client.provider.crypto(), "parlor chat 1", &[], 32).unwrap();
    let mut key = [0; 32];
    let me = mal.client.id();
    let info = [b"parlor chat message 1\0", &epoch.to_be_bytes()[..], me.as_bytes(), &number];
    Hkdf::<Sha256>::from_prk(&secret).unwrap().expand_multi_info(&info, &mut key).unwrap();
    let header = [&[1][..], &number].concat();
    let payload = Payload { msg: &plain, aad: &header };
    let sealed = ChaCha20Poly1305::new(&key.into()).encrypt(&Nonce::default(), payload).unwrap();
    [&[1, CHAT], &header[..], &sealed].concat()
}

/// What ben says, everybody hears.
fn listen(scene: &mut Scene) {
    let (id, message) = scene.world.party.named("ben").say("still here", Some(Duration::from_secs(1))).unwrap();
    scene.tell(&message).into_iter().for_each(|taken| drop(taken.unwrap()));
    for room in &mut scene.world.party.rooms {
        assert_eq!(room.message(&id).unwrap().text(), "still here");
        let _ = room.tick(NOW);
        room.forget_message(&id);
    }
}
