//! What members say to one another: words of any content, sealed and signed as they should be by a member with a patched
//! client. What is around it is for `word`.

use std::{cell::RefCell, time::Duration};

use chacha20poly1305::{
    ChaCha20Poly1305, KeyInit as _, Nonce,
    aead::{Aead as _, Payload},
};
use hkdf::Hkdf;
use openmls::prelude::OpenMlsProvider as _;
use parlor::{MemberId, Role, Room};
use sha2::{Digest as _, Sha256};

use super::{input::Input, reach, world::Scene};
use crate::party::{mal::Mal, words};

const LEAVE: u8 = 1;
const STANCE: u8 = 2;
const INVITE: u8 = 3;
const ANSWER: u8 = 4;
const CHAT: u8 = 5;
const REACTION: u8 = 6;
const CODE: u8 = 7;
const LAST: u8 = 9;
/// What kinds of words are called that something comes of.
const KINDS: [&str; 10] =
    ["nothing", "leave", "stance", "invitation", "answer", "chat", "reaction", "code", "turned away", "forgiven"];
/// The most messages and bytes of text that a room keeps of its chat.
const MOST: (usize, usize) = (1_000, 256 << 10);
const ROLES: [Role; 3] = [Role::Speaker, Role::Listener, Role::Moderator];

thread_local! {
    static SCENES: RefCell<[Option<Talk>; 3]> = const { RefCell::new([None, None, None]) };
}

/// A room, and what was said in it.
struct Talk {
    scene: Scene,
    /// How many words mal has said.
    said: u64,
    /// The names of the last words that invite somebody: hers, and ana's who invites her.
    invitations: Vec<[u8; 16]>,
    inputs: u32,
}

/// Words change neither epoch nor roster nor anything that is agreed on by commits; all members take them alike; and
/// what an honest member says is heard after them.
pub fn payload(data: &[u8]) {
    let mut input = Input::new(data);
    let at = input.below(ROLES.len());
    SCENES.with_borrow_mut(|scenes| {
        let talk = scenes[at].get_or_insert_with(|| Talk {
            scene: Scene::new(ROLES[at]),
            said: 0,
            invitations: vec![[1; 16]],
            inputs: 0,
        });
        talk.go_on(&mut input);
        listen(&mut talk.scene);
        // Who asked to leave stays on the list, and turns only grow: begin again now and then.
        talk.inputs += 1;
        if talk.inputs >= 1_000 {
            scenes[at] = None;
        }
    });
}

impl Talk {
    fn go_on(&mut self, input: &mut Input<'_>) {
        for _ in 0..8 {
            if input.is_empty() {
                break;
            }
            if input.below(8) == 7 {
                self.invite(input);
                continue;
            }
            let said = self.content(input);
            // Longer than a word is: nobody reads it.
            let said = &said[..said.len().min(1 + 4 * 1024)];
            let word = words::say(&self.scene.world.mal, self.said, said);
            self.said += 1;
            if said.first() == Some(&INVITE) {
                self.note(&word);
            }
            hear(&mut self.scene, &word, said);
        }
    }

    /// Ana asks mal, who listens perhaps; or eve answers whoever has asked her.
    fn invite(&mut self, input: &mut Input<'_>) {
        let mal = self.scene.mal_id();
        let by_ana = input.flag();
        let party = &mut self.scene.world.party;
        let word = if by_ana {
            party.named("ana").invite_to_speak(&mal)
        } else {
            party.named("eve").answer_invitation(input.flag())
        };
        let Ok(word) = word else { return };
        if by_ana {
            self.note(&word);
        }
        self.scene.tell(&word).into_iter().for_each(|taken| drop(taken.unwrap()));
    }

    /// Keeps the name of a word that invites somebody.
    fn note(&mut self, word: &[u8]) {
        let key = words::Key::of(&self.scene.world.mal);
        let hash = Sha256::digest(key.open(word).unwrap().signed(&key.room));
        self.invitations.insert(0, hash[..16].try_into().unwrap());
        self.invitations.truncate(4);
    }

    /// What mal says.
    fn content(&self, input: &mut Input<'_>) -> Vec<u8> {
        let people: Vec<MemberId> = self.scene.room().roster().map(|member| member.id).collect();
        let anybody = |input: &mut Input<'_>| match input.below(8) {
            at @ 0..=5 => people[at % people.len()],
            6 => MemberId::from_bytes([input.byte(); 32]),
            _ => MemberId::from_bytes(input.array()),
        };
        match input.below(10) {
            0 => input.run().to_vec(),
            // Of a kind that there is, about somebody.
            1 => {
                let kind = 1 + input.below(LAST.into()) as u8;
                [&[kind], &anybody(input).as_bytes()[..], input.run()].concat()
            }
            2 => [&[LEAVE][..], input.run()].concat(),
            3 => [&[STANCE][..], &input.array::<4>(), &[input.byte() & 7]].concat(),
            4 => {
                let (to, kind) = (anybody(input), 1 + input.below(4) as u8);
                let epoch = self.scene.room().epoch().to_be_bytes();
                let (round, value) = ([input.byte() & 3; 16], [input.byte() & 3; 32]);
                let step =
                    if kind == 1 { [&round[..], &epoch, &value].concat() } else { [&round[..], &value].concat() };
                let step = if input.below(4) == 3 { input.mutate(&step) } else { step };
                [&[CODE][..], to.as_bytes(), &[1, kind], &step].concat()
            }
            5 => {
                let (header, plain) = (input.array::<16>(), input.run().to_vec());
                chat(&self.scene.world.mal, input, header, plain)
            }
            6 => [&[REACTION][..], input.run()].concat(),
            7 => {
                let invitation = *input.choose(&self.invitations);
                [&[ANSWER][..], &invitation, &[input.byte() & 3]].concat()
            }
            // About a knock, and whose it is.
            8 => [&[8][..], &input.array::<16>(), anybody(input).as_bytes()].concat(),
            _ => [&[1 + input.below(12) as u8][..], input.run()].concat(),
        }
    }
}

/// Everybody hears a word of mal's.
fn hear(scene: &mut Scene, word: &[u8], said: &[u8]) {
    let agreed = |room: &Room| (room.epoch(), room.code(), room.settings().clone(), room.roster().len());
    let before: Vec<_> = scene.world.party.rooms.iter().map(|room| (agreed(room), shown(room))).collect();
    let whole = scene.states();
    let taken = scene.tell(word);
    for (taken, (room, (agreed_before, shown_before))) in taken.iter().zip(scene.world.party.rooms.iter().zip(&before))
    {
        assert_eq!(agreed(room), *agreed_before);
        match taken {
            Ok(events) => {
                assert!(events.len() <= 8, "{} events for one word", events.len());
                if !events.is_empty() {
                    reach(KINDS[usize::from(said.first().copied().unwrap_or_default()).min(LAST.into())]);
                }
            }
            Err(error) => {
                assert!(!error.to_string().is_empty());
                assert!(shown(room) == *shown_before, "{error}");
            }
        }
        let text: usize = room.messages().map(|message| message.text().len()).sum();
        assert!(room.messages().count() <= MOST.0 && text <= MOST.1);
    }
    if taken.iter().all(Result::is_err) {
        assert_eq!(scene.states(), whole);
    }
    let first = shown(scene.room());
    assert!(scene.world.party.rooms.iter().all(|room| shown(room) == first), "members show different things");
    // The same bytes again say nothing more.
    let whole = scene.states();
    assert!(scene.tell(word).iter().all(Result::is_err));
    assert_eq!((scene.states(), shown(scene.room()) == first), (whole, true));
}

/// What a room shows of what was said.
fn shown(room: &Room) -> impl PartialEq + use<> {
    let ids: Vec<MemberId> = room.roster().map(|member| member.id).collect();
    let mics: Vec<bool> = ids.iter().map(|id| room.is_mic_on(id)).collect();
    let invited: Vec<Option<MemberId>> = ids.iter().map(|id| room.invited_by(id)).collect();
    let texts: Vec<String> = room.messages().map(|message| message.text().to_owned()).collect();
    (mics, room.hands().to_vec(), invited, texts)
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
    [&[CHAT], &header[..], &sealed].concat()
}

/// What ben says, everybody hears.
fn listen(scene: &mut Scene) {
    let (id, message) = scene.world.party.named("ben").say("still here", Some(Duration::from_secs(1))).unwrap();
    scene.tell(&message).into_iter().for_each(|taken| drop(taken.unwrap()));
    for room in &mut scene.world.party.rooms {
        assert_eq!(room.message(&id).unwrap().text(), "still here");
        let _ = room.tick(scene.now);
        room.forget_message(&id);
    }
}
