//! Words: each is heard once, as of whom it is, and no other keeps its owner's next one from being heard.
//!
//! `PARLOR_WORDS=1000` takes a thousand rooms, each of which has every kind of word said again in every way.

mod party;

use std::{collections::BTreeMap, time::Duration};

use parlor::{Error, Event, Guest, Identity, MemberId, Role, Room, Settings, room::Reaction};
use party::{NOW, gists, mal::World, words};
use rand::{Rng as _, RngExt as _, SeedableRng as _, rngs::StdRng};
use words::{Key, Word};

/// What members say.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Kind {
    Hand,
    Microphone,
    Invitation,
    Answer,
    Text,
    VanishingText,
    Reaction,
    Code,
    Leave,
}

const KINDS: [Kind; 9] = [
    Kind::Hand,
    Kind::Microphone,
    Kind::Invitation,
    Kind::Answer,
    Kind::Text,
    Kind::VanishingText,
    Kind::Reaction,
    Kind::Code,
    Kind::Leave,
];

/// Who says it: by a name that [`World`] gives.
const fn speaker(kind: Kind) -> &'static str {
    match kind {
        Kind::Hand => "eve",
        Kind::Microphone => "ben",
        Kind::Invitation => "mo",
        Kind::Answer => "liv",
        Kind::Text | Kind::VanishingText => "ana",
        Kind::Reaction => "eve",
        Kind::Code => "ben",
        Kind::Leave => "mo",
    }
}

fn at(world: &World, name: &str) -> usize {
    world.party.rooms.iter().position(|room| room.me().is_some_and(|me| me.name == name)).unwrap()
}

/// Says it, in a way that differs from what was said before.
fn say(world: &mut World, kind: Kind, times: usize) -> Vec<u8> {
    let liv = world.party.id("liv");
    let ana = world.party.id("ana");
    let room = world.party.named(speaker(kind));
    match kind {
        Kind::Hand if times.is_multiple_of(2) => room.raise_hand(),
        Kind::Hand => room.lower_hand(),
        Kind::Microphone => room.set_mic(times % 2 == 1),
        Kind::Invitation => room.invite_to_speak(&liv),
        Kind::Answer => room.answer_invitation(times.is_multiple_of(2)),
        Kind::Text => room.say(&format!("line {times}"), None).map(|(_, word)| word),
        Kind::VanishingText => room.say(&format!("burn {times}"), Some(Duration::from_secs(5))).map(|(_, word)| word),
        Kind::Reaction => room.react(&Reaction::new("\u{2764}").unwrap()),
        Kind::Code => room.compare_with(&ana, NOW),
        Kind::Leave => room.leave(),
    }
    .unwrap()
}

/// Everybody receives it and tells the same; gives how many did anything because of it.
fn hear(world: &mut World, word: &[u8], now: Duration) -> Vec<Vec<Event>> {
    world.party.rooms.iter_mut().map(|room| room.receive(word, now).unwrap_or_default()).collect()
}

/// What a member shows of what was said.
fn shown(room: &Room) -> impl PartialEq + std::fmt::Debug + use<> {
    let ids: Vec<MemberId> = room.roster().map(|member| member.id).collect();
    let mics: Vec<bool> = ids.iter().map(|id| room.is_mic_on(id)).collect();
    let invited: BTreeMap<MemberId, MemberId> = ids.iter().filter_map(|id| Some((*id, room.invited_by(id)?))).collect();
    let texts: Vec<String> = room.messages().map(|message| message.text().to_owned()).collect();
    let leaving: Vec<MemberId> = room.leaving().copied().collect();
    (mics, room.hands().to_vec(), invited, texts, leaving)
}

/// Nobody makes anything of it. The first of all who do is named.
#[track_caller]
fn nothing(world: &mut World, what: &str, message: &[u8], now: Duration) {
    for room in &mut world.party.rooms {
        let before = shown(room);
        if let Ok(events) = room.receive(message, now) {
            assert!(events.is_empty(), "{what}: {:?}", gists(&events));
        }
        assert!(shown(room) == before, "{what}");
    }
}

/// Says `word` again in every way that somebody can who has `keys`, those of all epochs up to the last that they were in.
fn say_again(world: &mut World, rng: &mut StdRng, message: &[u8], keys: &[Key], now: Duration) -> u32 {
    let mut tries = 0;
    let mut attempt = |world: &mut World, what: &str, message: &[u8]| {
        tries += 1;
        nothing(world, what, message, now);
    };
    attempt(world, "as it is", message);
    let mut damaged = message.to_vec();
    let at = rng.random_range(0..damaged.len());
    damaged[at] ^= 1 << rng.random_range(0..8);
    attempt(world, "with a bit turned", &damaged);
    attempt(world, "cut", &message[..rng.random_range(0..message.len())]);
    attempt(world, "with more behind it", &[message, &[0; 128]].concat());
    let others: Vec<MemberId> = world.party.rooms.iter().map(|room| room.me().unwrap().id).collect();
    let Some(word) = keys.iter().rev().find_map(|key| key.open(message)) else { return tries };
    for key in keys.iter().rev().take(4) {
        let mut again = |what: &str, change: &dyn Fn(&mut Word, &mut StdRng)| {
            let mut word = word.clone();
            change(&mut word, rng);
            let message = key.seal(&word);
            attempt(world, &format!("{what}, under the key of epoch {}", key.epoch), &message);
        };
        again("sealed again", &|_, _| {});
        again("under the next number", &|word, _| word.number += 1);
        again("under a number ahead", &|word, rng| word.number += rng.random_range(2..1 << 20));
        again("under the last number", &|word, _| word.number = u64::MAX - 1);
        again("under any number", &|word, rng| word.number = rng.random());
        again("of another process", &|word, rng| rng.fill_bytes(&mut word.process));
        again("in another's name", &|word, rng| word.who = others[rng.random_range(0..others.len())]);
        again("in another epoch's name", &|word, _| word.epoch = key.epoch);
        again("with another end", &|word, _| *word.said.last_mut().unwrap() ^= 1);
        again("of another kind", &|word, rng| word.said[0] = rng.random_range(1..9));
        again("with more in it", &|word, _| word.said.push(0));
        again("with a signature of nobody", &|word, _| word.signature = [0; 64]);
    }
    tries
}

/// One room, in which every kind of word is said and said again.
fn evening(seed: u64) -> u32 {
    let mut rng = StdRng::seed_from_u64(seed);
    let mut world = World::new([Role::Listener, Role::Moderator][rng.random_range(0..2)]);
    let mut keys = vec![Key::of(&world.mal)];
    let (mut tries, mut said) = (0, Vec::new());
    let mut kinds = KINDS.to_vec();
    // An answer wants an invitation before it, and who asks to leave does so last.
    let leave = kinds.pop().unwrap();
    for _ in 0..4 {
        let (a, b) = (rng.random_range(0..kinds.len()), rng.random_range(0..kinds.len()));
        kinds.swap(a, b);
    }
    let answer = kinds.iter().position(|kind| *kind == Kind::Answer).unwrap();
    let invitation = kinds.iter().position(|kind| *kind == Kind::Invitation).unwrap();
    kinds.swap(answer.min(invitation), invitation);
    let answer = kinds.iter().position(|kind| *kind == Kind::Answer).unwrap();
    kinds.swap(answer.max(1), answer);
    kinds.push(leave);

    for (n, kind) in kinds.iter().enumerate() {
        let now = NOW + Duration::from_secs(n as u64);
        let liv = world.party.id("liv");
        if *kind == Kind::Answer && world.party.named("liv").invited_by(&liv).is_none() {
            let invite = say(&mut world, Kind::Invitation, 0);
            hear(&mut world, &invite, now);
        }
        let word = say(&mut world, *kind, 0);
        let owner = world.party.id(speaker(*kind));
        let heard = hear(&mut world, &word, now);
        assert!(heard.iter().any(|events| !events.is_empty()), "seed {seed}: {kind:?} is heard");
        if *kind == Kind::VanishingText {
            world.party.rooms.iter_mut().for_each(|room| drop(room.tick(now + Duration::from_secs(6))));
        }
        said.push((*kind, word.clone()));
        let floods = |events: &[Event]| events.iter().any(|event| matches!(event, Event::Flood { .. }));
        tries += say_again(&mut world, &mut rng, &word, &keys, now + Duration::from_secs(6));
        // What was said long ago, too.
        let (_, message) = said[rng.random_range(0..said.len())].clone();
        tries += say_again(&mut world, &mut rng, &message, &keys, now + Duration::from_secs(7));

        // Their next word is taken, by everybody and as theirs.
        if !matches!(kind, Kind::Leave | Kind::Answer | Kind::Code) {
            let next = say(&mut world, *kind, 1);
            let heard = hear(&mut world, &next, now + Duration::from_secs(8));
            assert!(heard.iter().all(|events| !events.is_empty()), "seed {seed}: {kind:?} is heard again");
            assert!(!heard.iter().any(|events| floods(events)), "seed {seed}: nobody is named for a flood");
            for event in heard.iter().flatten() {
                let who = match event {
                    Event::HandRaised { member } | Event::HandLowered { member } | Event::Mic { member, .. } => *member,
                    Event::Reacted { member, .. } | Event::WantsToLeave { member } => *member,
                    Event::InvitedToSpeak { by, .. } => *by,
                    Event::Said { message } => message.from(),
                    _ => continue,
                };
                assert_eq!(who, owner, "seed {seed}: {kind:?}: {}", party::gist(event));
            }
        }
        // The epoch goes by, now and then; mal follows, until she is put out.
        if rng.random_range(0..3) == 0 {
            let refresh = world.party.named("ana").refresh().unwrap();
            world.party.deliver(&refresh);
            if world.mal.group.is_active() && keys.last().unwrap().epoch + 1 == world.party.rooms[0].epoch() {
                world.mal.follow(&refresh);
                keys.push(Key::of(&world.mal));
            }
        } else if n == 4 {
            let mal = world.mal.client.id();
            if world.party.rooms[0].member(&mal).is_some() {
                let removal = world.party.named("ana").remove(&mal).unwrap();
                world.party.deliver(&removal);
            }
        }
    }
    tries
}

#[test]
fn a_word_is_heard_once_and_stands_in_the_way_of_no_other() {
    let seeds = std::env::var("PARLOR_WORDS").map_or(30, |n| n.parse().unwrap());
    let tries: u32 = (0..seeds).map(evening).sum();
    println!("{seeds} rooms: {tries} words said again, 0 taken twice, 0 in another's name, every next word heard");
}

#[test]
fn what_a_restored_and_a_second_process_say_is_heard_and_repeats_no_number() {
    let mut world = World::new(Role::Listener);
    let key = parlor::vault::VaultKey::generate().unwrap();
    let ben = at(&world, "ben");
    let secret = {
        // The identity of a room is not to be had from it: ben enters anew under one that is known.
        let bee = Identity::generate("bee").unwrap();
        let secret = bee.secret();
        let bee = Guest::new(bee).unwrap();
        let admission = world.party.rooms[0].admit(bee.card(), Role::Speaker).unwrap();
        world.party.deliver(&admission.commit);
        world.mal.follow(&admission.commit);
        let (room, voice) = bee.enter(&admission.welcome).unwrap();
        world.party.rooms[ben] = room;
        world.party.voices[ben] = voice;
        secret
    };
    let bee = || Identity::from_secret("bee", &secret).unwrap();
    let snapshot = world.party.rooms[ben].snapshot(&key).unwrap();
    let (mut restored, _) = Room::restore(bee(), &key, &snapshot, NOW).unwrap();
    let (mut second, _) = Room::restore(bee(), &key, &snapshot, NOW).unwrap();
    let mut numbers = std::collections::BTreeSet::new();
    let secret = Key::of(&world.mal);
    for round in 0..10 {
        for who in 0..3 {
            let room = [&mut world.party.rooms[ben], &mut restored, &mut second].into_iter().nth(who).unwrap();
            let (_, word) = room.say(&format!("{round} by {who}"), None).unwrap();
            let opened = secret.open(&word).unwrap();
            assert!(numbers.insert((opened.process, opened.number)), "no number comes twice");
            for (n, other) in world.party.rooms.iter_mut().enumerate() {
                let events = other.receive(&word, NOW).unwrap();
                assert!(matches!(events[..], [Event::Said { .. }]), "{n}: {:?}", gists(&events));
            }
        }
    }
}

#[test]
fn a_process_number_that_is_one_too_many_is_refused_and_an_epoch_later_it_is_not() {
    let mut world = World::new(Role::Listener);
    let say = |world: &World, process: u8, number| {
        let key = Key::of(&world.mal);
        let who = world.mal.client.id();
        let word =
            Word { epoch: key.epoch, who, process: [process; 16], number, said: vec![6, 0x21], signature: [0; 64] };
        key.seal(&word.sign(&world.mal.client, &key.room))
    };
    for process in 0..16 {
        let word = say(&world, process, 0);
        assert!(world.party.rooms[0].receive(&word, NOW).unwrap().len() == 1, "process {process}");
    }
    let word = say(&world, 16, 0);
    let error = world.party.rooms[0].receive(&word, NOW).unwrap_err();
    assert!(error.to_string().contains("restored sixteen times"), "{error}");
    // Those that are known go on.
    let word = say(&world, 3, 1);
    assert_eq!(world.party.rooms[0].receive(&word, NOW).unwrap().len(), 1);
    let refresh = world.party.named("ana").refresh().unwrap();
    world.party.deliver(&refresh);
    world.mal.follow(&refresh);
    let word = say(&world, 16, 0);
    assert_eq!(world.party.rooms[0].receive(&word, NOW).unwrap().len(), 1);
}

#[test]
fn an_old_answer_accepts_no_later_invitation() {
    let mut world = World::new(Role::Listener);
    let liv = world.party.id("liv");
    let invite = world.party.named("mo").invite_to_speak(&liv).unwrap();
    hear(&mut world, &invite, NOW);
    // The relay keeps the first answer to itself, and liv another time says no.
    let yes = world.party.named("liv").answer_invitation(true).unwrap();
    let again = world.party.named("mo").invite_to_speak(&liv).unwrap();
    hear(&mut world, &again, NOW);
    nothing(&mut world, "an answer to the invitation before", &yes, NOW);
    let no = world.party.named("liv").answer_invitation(false).unwrap();
    let heard = hear(&mut world, &no, NOW);
    assert!(heard.iter().all(|events| matches!(events[..], [Event::InvitationAnswered { accepted: false, .. }])));
}

#[test]
fn a_word_that_a_commit_overtook_is_heard_for_two_epochs_and_no_longer() {
    for epochs in 0..4 {
        let mut world = World::new(Role::Listener);
        let word = world.party.named("eve").react(&Reaction::new("\u{2764}").unwrap()).unwrap();
        for _ in 0..epochs {
            let refresh = world.party.named("ana").refresh().unwrap();
            world.party.deliver(&refresh);
        }
        for room in &mut world.party.rooms {
            match room.receive(&word, NOW) {
                Ok(events) => assert!(epochs < 3 && matches!(events[..], [Event::Reacted { .. }]), "{epochs}"),
                Err(error) => assert!(epochs == 3 && matches!(error, Error::WrongEpoch { .. }), "{epochs}: {error}"),
            }
        }
    }
}

#[test]
fn a_word_of_another_room_is_none_here() {
    let mut here = World::new(Role::Listener);
    let mut elsewhere = World::new(Role::Listener);
    // Mal is in both, in epochs of one number.
    let (there, key) = (Key::of(&elsewhere.mal), Key::of(&here.mal));
    assert_eq!(there.epoch, key.epoch);
    let (_, word) = here.party.named("ana").say("here", None).unwrap();
    let opened = key.open(&word).unwrap();
    nothing(&mut elsewhere, "sealed for another room", &there.seal(&opened), NOW);
    let events = hear(&mut here, &word, NOW);
    assert!(events.iter().all(|events| events.len() == 1));
}

#[test]
fn an_mls_application_message_is_refused_unread() {
    let mut world = World::new(Role::Listener);
    let mal = &mut world.mal;
    let message = mal.group.create_message(&mal.client.provider, &mal.client.signer, &[6, 0x21]).unwrap();
    let message = message.to_bytes().unwrap();
    for room in &mut world.party.rooms {
        let error = room.receive(&message, NOW).unwrap_err();
        assert!(error.to_string().contains("takes none"), "{error}");
    }
    world.go_on();
}

#[test]
fn what_is_said_is_padded_so_that_hands_microphones_and_reactions_are_of_one_length() {
    let (mut room, _) = Room::create(Identity::generate("ana").unwrap(), Settings::default()).unwrap();
    let lengths = [
        room.set_mic(false).unwrap().len(),
        room.set_mic(true).unwrap().len(),
        room.lower_hand().unwrap().len(),
        room.react(&Reaction::new("\u{2764}").unwrap()).unwrap().len(),
    ];
    assert!(lengths.iter().all(|length| *length == lengths[0]), "{lengths:?}");
}
