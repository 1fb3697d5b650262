//! What parlor does not protect, as the README says it: each limit shown.

mod party;
mod sealed;

use std::time::Duration;

use parlor::{
    EpochKeys, Error, Event, Guest, Identity, Kept, LeafIndex, Role, Room, Settings, Suite, UnixTime, Voice,
    media::{
        SealState,
        seal::{Finding, Proof, SealMode, SealRules},
        sframe::Header,
    },
    room::{
        Entry, PUBLISH_AFTER, PublishedKeys, Setting,
        door::{Link, Terms, Waiting},
    },
    vault::{MemoryVault, VaultKey},
};
use party::{NOW, Person, room_of};
use sealed::FRAME;

const WALL: UnixTime = UnixTime(1_800_000_000);

/// A host; Ben, a listener; Cy, a speaker.
fn room() -> [Person; 3] {
    let people = room_of(Settings::default(), &[("ben", Role::Listener), ("cy", Role::Speaker)]);
    people.try_into().ok().unwrap()
}

/// Takes `commit` in with a client that copies its frame keys, as the client of `leaf` would hold them.
fn copy_keys(person: &mut Person, commit: &[u8], leaf: LeafIndex) -> Voice {
    let mut copy = None;
    for event in person.room.receive(commit, NOW).unwrap() {
        let Event::Rekeyed(keys) = event else { continue };
        let (suite, layout, epoch, me, since) = (keys.suite(), keys.layout(), keys.epoch(), keys.me(), keys.since());
        let (stage, base_key) = (keys.stage().to_vec(), keys.into_base_key());
        let keys = |me| EpochKeys::new(suite, layout, epoch, base_key.clone(), me, stage.clone(), since).unwrap();
        person.voice.rekey(keys(me).of_room(person.room.id())).unwrap();
        copy = Some(Voice::new(keys(leaf)));
    }
    copy.unwrap()
}

/// A link for `role` of the host's, whose commit `people` take in.
fn link(people: &mut [&mut Person], role: Role) -> Link {
    let (link, commit) = people[0].room.issue_link(Terms { role, one_shot: false, expires: None }).unwrap();
    receive(people, &commit);
    link
}

fn receive(people: &mut [&mut Person], message: &[u8]) {
    for person in people {
        person.receive(message, NOW).unwrap();
    }
}

/// The commit by which `keeper` opens the door to `waiting`, and what comes of it to whoever waited.
fn let_in(keeper: &mut Room, waiting: Waiting) -> (Vec<u8>, (Room, Voice)) {
    let commit = keeper.open_door(NOW * 2).unwrap().unwrap();
    let answered = keeper.receive(&commit, NOW * 2).unwrap().into_iter().find_map(|event| match event {
        Event::Answered { answers, tree } => Some((answers, tree)),
        _ => None,
    });
    let (answers, tree) = answered.unwrap();
    (commit, waiting.enter(&answers[0].bytes, tree.as_deref()).unwrap())
}

#[test]
fn a_relay_sees_who_sends_and_how_much() {
    let [mut host, ..] = room();
    let packet = host.voice.seal(&[0; 64]).unwrap();
    let (header, length) = Header::decode(&packet).unwrap();
    let (_, leaf, epoch) = host.room.settings().layout().split(header.kid);
    assert_eq!((leaf, epoch, packet.len() - length), (LeafIndex(0), 1, 64 + 16));
}

#[test]
fn a_listener_can_keep_what_they_hear() {
    let [mut host, mut ben, _] = room();
    let packet = host.voice.seal(b"off the record").unwrap();
    assert_eq!(ben.voice.open(&packet, NOW).unwrap().frame, b"off the record");
}

#[test]
fn a_stolen_device_hears_until_its_next_update() {
    let [mut host, mut ben, _] = room();
    let commit = host.room.refresh().unwrap();
    host.receive(&commit, NOW).unwrap();
    let leaf = ben.voice.leaf();
    let mut thief = copy_keys(&mut ben, &commit, leaf);
    assert!(thief.open(&host.voice.seal(b"before").unwrap(), NOW).is_ok());

    let update = ben.room.refresh().unwrap();
    host.receive(&update, NOW).unwrap();
    ben.receive(&update, NOW).unwrap();
    let packet = host.voice.seal(b"after").unwrap();
    assert!(thief.open(&packet, NOW).is_err());
    assert!(ben.voice.open(&packet, NOW).is_ok());
}

#[test]
fn a_host_decides_who_is_in_and_who_is_heard() {
    let [mut host, mut ben, mut cy] = room();
    assert!(ben.voice.open(&cy.voice.seal(b"may I?").unwrap(), NOW).is_ok());
    let mute = host.room.mute(&cy.id).unwrap();
    let in_flight = cy.voice.seal(b"sealed before").unwrap();
    receive(&mut [&mut host, &mut ben, &mut cy], &mute);
    assert!(cy.voice.seal(b"may I?").is_err() && ben.voice.open(&in_flight, NOW).is_err());

    let commit = host.room.remove_all(&[ben.id, cy.id]).unwrap();
    for person in [&mut host, &mut ben, &mut cy] {
        person.receive(&commit, NOW).unwrap();
    }
    assert_eq!((host.room.is_open(), ben.room.is_open(), cy.room.is_open()), (true, false, false));
}

#[test]
fn a_member_with_a_patched_client_can_speak_as_another_on_stage_but_in_a_strict_room() {
    for mode in [SealMode::Off, SealMode::Live, SealMode::Strict] {
        let settings = Settings::default().with(Setting::Seals(mode)).unwrap();
        let people = room_of(settings, &[("ben", Role::Listener), ("cy", Role::Speaker)]);
        let [mut host, mut ben, mut cy]: [Person; 3] = people.try_into().ok().unwrap();
        let commit = host.room.refresh().unwrap();
        receive(&mut [&mut host, &mut cy], &commit);
        let mut as_host = copy_keys(&mut ben, &commit, host.voice.leaf());
        let heard = cy.voice.open(&as_host.seal(b"ben's words").unwrap(), NOW);
        match mode {
            SealMode::Strict => assert!(matches!(heard, Err(Error::Held { .. })), "{heard:?}"),
            _ => assert_eq!(heard.unwrap().speaker, host.id),
        }
        // The host speaks, and signs: within a second it is told that it was not they.
        let mut told = Vec::new();
        for tick in 0..50 {
            let now = NOW + FRAME * tick;
            for packet in sealed::say(&mut host.voice, b"the host's words", now) {
                let _ = cy.voice.open(&packet, now);
            }
            told.extend(std::iter::from_fn(|| cy.voice.next_finding(now)));
        }
        match (&told[..], mode) {
            ([], SealMode::Off) => {}
            ([Finding::Forgery(forgery)], SealMode::Live) if forgery.played == 1 => {}
            ([Finding::Forgery(forgery)], SealMode::Strict) if forgery.played == 0 => {}
            _ => panic!("{mode:?}: {told:?}"),
        }
    }
}

/// What a person sends at `now`, their voice told of the rest.
fn ticked(person: &mut Person, now: Duration) -> Vec<Vec<u8>> {
    let events = person.room.tick(now).into_iter();
    events.filter_map(|event| event.tell(&mut person.voice).unwrap()).filter_map(signal).collect()
}

fn signal(event: Event) -> Option<Vec<u8>> {
    if let Event::Send(signal) = event { Some(signal) } else { None }
}

#[test]
fn a_withheld_commit_lets_a_removed_member_listen_to_those_it_is_withheld_from() {
    let [mut host, mut ben, mut cy] = room();
    // All is well for ten seconds: the host beats, and Cy speaks.
    for second in 0..10 {
        let now = Duration::from_secs(second);
        let asked = ticked(&mut cy, now);
        let answers = asked.iter().flat_map(|ping| host.room.receive(ping, now).unwrap());
        let mut beats: Vec<_> = answers.filter_map(signal).collect();
        beats.extend(ticked(&mut host, now));
        for event in beats.iter().flat_map(|beat| cy.room.receive(beat, now).unwrap()) {
            event.tell(&mut cy.voice).unwrap();
        }
    }
    let now = Duration::from_secs(10);
    let commit = host.room.remove(&ben.id).unwrap();
    host.receive(&commit, now).unwrap();
    assert!(ben.voice.open(&host.voice.seal(b"without you").unwrap(), now).is_err());
    assert!(ben.voice.open(&cy.voice.seal(b"are you there?").unwrap(), now).is_ok());
    // No host vouches for the epoch that Cy is left in: within 15 seconds she seals no more.
    let mut speaks = Vec::new();
    for second in 1..=16 {
        ticked(&mut cy, now + Duration::from_secs(second));
        speaks.push(cy.voice.seal(b"are you there?").is_ok());
    }
    assert!(speaks[0] && !speaks[15] && speaks.is_sorted_by(|before, after| before >= after), "{speaks:?}");
    let late = now + Duration::from_secs(17);
    cy.receive(&commit, late).unwrap();
}

#[test]
fn a_mute_goes_with_the_membership() {
    let settings = Settings::default().with(Setting::Entry(Entry::Knock)).unwrap();
    let [mut host, mut cy]: [Person; 2] = room_of(settings, &[("cy", Role::Listener)]).try_into().ok().unwrap();
    let link = link(&mut [&mut host, &mut cy], Role::Speaker);
    let plate = link.read_doorplate(&host.room.doorplate(&link).unwrap()).unwrap();
    let comes_in = |host: &mut Person, cy: &mut Person, guest: Guest| {
        let (ben, knock) = guest.knock(&link, &plate, "", WALL).unwrap();
        host.room.knocked(&knock, NOW, WALL).unwrap();
        host.room.let_in(&ben.id(), NOW).unwrap();
        let (commit, (room, voice)) = let_in(&mut host.room, ben);
        cy.receive(&commit, NOW * 2).unwrap();
        Person { id: room.me().unwrap().id, entered: room.epoch(), room, voice }
    };
    let mut ben = comes_in(&mut host, &mut cy, party::guest("ben"));
    let mute = host.room.mute(&ben.id).unwrap();
    receive(&mut [&mut host, &mut cy, &mut ben], &mute);
    let refused = ben.voice.seal(b"I am muted").unwrap_err();
    assert!(matches!(refused, Error::NotOnStage { .. } | Error::Muted { .. }), "{refused}");

    let word = ben.room.leave().unwrap();
    host.room.receive(&word, NOW).unwrap();
    let removal = host.room.remove(&ben.id).unwrap();
    receive(&mut [&mut host, &mut cy, &mut ben], &removal);
    let ben = Guest::new(ben.room.into_identity()).unwrap();
    let mut ben = comes_in(&mut host, &mut cy, ben);
    assert_eq!(host.room.member(&ben.id).unwrap().muted_by, None);
    assert_eq!(cy.voice.open(&ben.voice.seal(b"here again").unwrap(), NOW).unwrap().speaker, ben.id);
}

#[test]
fn a_ban_is_of_a_key_and_not_of_a_person() {
    let [mut host, ben, _] = room();
    let ban = host.room.ban(&ben.id).unwrap();
    host.receive(&ban, NOW).unwrap();
    let again = party::guest("ben");
    assert_ne!(again.card().id(), ben.id);
    assert!(host.room.admit(again.card(), Role::Listener).is_ok());
}

#[test]
fn what_vanishes_from_a_chat_can_be_kept_by_who_read_it() {
    let [mut host, mut ben, _] = room();
    let (id, line) = host.room.say("between us", Some(Duration::from_secs(1))).unwrap();
    ben.room.receive(&line, NOW).unwrap();
    let kept = ben.room.message(&id).unwrap().text().to_owned();
    ben.room.tick(NOW * 2);
    assert!(ben.room.message(&id).is_none());
    assert_eq!(kept, "between us");
}

#[test]
fn a_former_moderator_and_the_relay_can_turn_away_a_guest_or_let_them_into_the_room_as_it_was() {
    let settings = Settings::default().with(Setting::Entry(Entry::Knock)).unwrap();
    let [mut host, mut mo]: [Person; 2] = room_of(settings, &[("mo", Role::Moderator)]).try_into().ok().unwrap();
    let link = link(&mut [&mut host, &mut mo], Role::Listener);
    let old_plate = host.room.doorplate(&link).unwrap();

    // Mo is put out, and his client does not take it in.
    let removal = host.room.remove(&mo.id).unwrap();
    host.receive(&removal, NOW).unwrap();
    let plate = link.read_doorplate(&old_plate).unwrap();
    let (dora, knock) = party::guest("dora").knock(&link, &plate, "", WALL).unwrap();
    mo.room.knocked(&knock, NOW, WALL).unwrap();
    let (answer, _) = mo.room.turn_away(&dora.id(), "the host says no").unwrap();
    let refused = dora.enter(&answer.bytes, None).unwrap_err().error;
    assert!(matches!(refused, Error::TurnedAway { .. }), "{refused}");

    let (ben, knock) = party::guest("ben").knock(&link, &plate, "", WALL).unwrap();
    mo.room.knocked(&knock, NOW, WALL).unwrap();
    mo.room.let_in(&ben.id(), NOW).unwrap();
    let (commit, (ben, _)) = let_in(&mut mo.room, ben);

    // Ben's roster shows the host. Only their codes tell that she is not there.
    assert_eq!(ben.member(&host.id).map(|host| host.role), Some(Role::Host));
    assert_eq!((ben.id(), ben.epoch()), (host.room.id(), host.room.epoch()));
    assert_ne!(ben.code(), host.room.code());
    assert!(host.room.receive(&commit, NOW * 2).is_err());
}

#[test]
fn a_relay_that_drops_seals_makes_speakers_unverified_or_in_a_strict_room_silent() {
    for (mode, played) in [(SealMode::Live, 100), (SealMode::Strict, 0)] {
        let settings = Settings::default().with(Setting::Seals(mode)).unwrap();
        let people = room_of(settings, &[("ben", Role::Listener), ("cy", Role::Speaker)]);
        let [mut host, mut ben, _]: [Person; 3] = people.try_into().ok().unwrap();
        let (mut heard, mut unverified, mut dropped) = (0, 0, 0);
        for tick in 0..100 {
            let now = NOW + FRAME * tick;
            let packet = host.voice.seal(b"frame").unwrap();
            heard += usize::from(ben.voice.open(&packet, now).is_ok());
            dropped += std::iter::from_fn(|| host.voice.next_seal(now)).count();
            heard += std::iter::from_fn(|| ben.voice.unpark(now)).filter(Result::is_ok).count();
            while let Some(finding) = ben.voice.next_finding(now) {
                assert!(matches!(finding, Finding::Unverified { speaker, .. } if speaker == host.id));
                unverified += 1;
            }
        }
        assert!(dropped >= 4, "the host has signed what they said");
        assert_eq!((heard, ben.voice.stats().verified), (played, 0), "{mode:?}");
        assert_eq!(unverified > 0, mode == SealMode::Live, "{mode:?}");
        let state = ben.voice.hearing(&host.id, NOW + FRAME * 100).seals;
        assert_eq!(state == SealState::Unverified, mode == SealMode::Live, "{state:?}");
    }
}

#[test]
fn what_proof_there_was_remains_where_the_keys_are_not_published() {
    let [mut host, mut ben, mut cy] = room();
    let signed_with = host.room.media_keys(&host.id).unwrap().deniable;
    for _ in 0..25 {
        let packet = host.voice.seal(b"between us").unwrap();
        ben.voice.open(&packet, NOW).unwrap();
        while let Some(seal) = host.voice.next_seal(NOW) {
            assert!(matches!(ben.voice.open(&seal, NOW), Err(Error::Seal { .. })));
        }
    }
    assert_eq!(ben.voice.stats().verified, 25, "signed with that key");
    let end = host.room.end().unwrap();
    receive(&mut [&mut host, &mut ben, &mut cy], &end);

    // What lets anybody sign in the host's name comes out of the host's app, or not at all.
    let mut published =
        [host, ben, cy].into_iter().map(|mut person| match &person.room.tick(NOW + PUBLISH_AFTER)[..] {
            [Event::Send(bytes)] => PublishedKeys::from_bytes(bytes).unwrap().holds(&signed_with),
            other => panic!("{other:?}"),
        });
    assert_eq!(published.next(), Some(true), "what the relay may drop");
    assert!(published.all(|holds| !holds));
}

#[test]
fn who_has_the_disk_and_the_key_has_the_room_and_an_old_state_in_place_of_the_newest_opens() {
    let (ana, key) = (Identity::generate("ana").unwrap(), VaultKey::generate().unwrap());
    let (identity, vault_key) = (ana.secret(), key.secret());
    let (room, _) = Room::create(ana, Settings::default()).unwrap();
    let mut room = Kept::new(room, MemoryVault::new(), key).unwrap();
    let stored = |room: &Kept<MemoryVault>| room.vault().bytes().unwrap().to_vec();
    let mut states = vec![stored(&room)];
    for title in ["the cellar", "the attic"] {
        let commit = room.act(|room| room.set_title(title)).unwrap().unwrap();
        room.act(|room| room.receive(&commit, NOW)).unwrap().unwrap();
        states.push(stored(&room));
    }
    drop(room);
    for (state, title) in states.into_iter().zip(["", "the cellar", "the attic"]) {
        let ana = Identity::from_secret("ana", &identity).unwrap();
        let vault = MemoryVault::holding(state);
        let restored = Kept::restore(ana, vault, VaultKey::from_bytes(&vault_key), NOW).unwrap().unwrap();
        assert_eq!(restored.room.settings().title(), title);
        // No nonce repeats by it.
        assert!(matches!(restored.voice.unwrap().seal(b"as I was saying"), Err(Error::Restored { .. })));
    }
}

#[test]
fn seals_carry_no_date() {
    let mut rules = SealRules::default();
    rules.proof = Proof::Evidence;
    let room = sealed::Room::new(Suite::default(), rules, 3);
    let said = |since: Duration| {
        let mut ana = room.voice(0, 0);
        (0..50).flat_map(|tick| sealed::say(&mut ana, b"frame", since + FRAME * tick)).collect::<Vec<_>>()
    };
    let today = said(NOW);
    assert!(today.len() > 50, "the seals among them");
    assert_eq!(today, said(NOW + Duration::from_secs(24 * 3600)), "every byte");
}
