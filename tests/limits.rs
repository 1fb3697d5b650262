//! What parlor does not protect, as the README says it: each limit shown.

mod party;

use parlor::{
    EpochKeys, Event, LeafIndex, Role, Settings, UnixTime, Voice,
    media::sframe::Header,
    room::{Entry, Setting, door::Terms},
};
use party::{NOW, Person, room_of};

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
fn a_host_decides_who_is_in() {
    let [mut host, mut ben, mut cy] = room();
    let commit = host.room.remove_all(&[ben.id, cy.id]).unwrap();
    for person in [&mut host, &mut ben, &mut cy] {
        person.receive(&commit, NOW).unwrap();
    }
    assert_eq!((host.room.is_open(), ben.room.is_open(), cy.room.is_open()), (true, false, false));
}

#[test]
fn a_member_with_a_patched_client_can_speak_as_another_on_stage() {
    let [mut host, mut ben, mut cy] = room();
    let commit = host.room.refresh().unwrap();
    host.receive(&commit, NOW).unwrap();
    cy.receive(&commit, NOW).unwrap();
    let mut as_host = copy_keys(&mut ben, &commit, host.voice.leaf());
    let heard = cy.voice.open(&as_host.seal(b"ben's words").unwrap(), NOW).unwrap();
    assert_eq!(heard.speaker, host.id);
}

#[test]
fn a_withheld_commit_lets_a_removed_member_listen_to_those_it_is_withheld_from() {
    let [mut host, mut ben, mut cy] = room();
    let commit = host.room.remove(&ben.id).unwrap();
    host.receive(&commit, NOW).unwrap();
    assert!(ben.voice.open(&host.voice.seal(b"without you").unwrap(), NOW).is_err());
    assert!(ben.voice.open(&cy.voice.seal(b"are you there?").unwrap(), NOW).is_ok());
    cy.receive(&commit, NOW).unwrap();
    assert!(ben.voice.open(&cy.voice.seal(b"without you").unwrap(), NOW).is_err());
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
    let (id, line) = host.room.say("between us", Some(std::time::Duration::from_secs(1))).unwrap();
    ben.room.receive(&line, NOW).unwrap();
    let kept = ben.room.message(&id).unwrap().text().to_owned();
    ben.room.tick(NOW * 2);
    assert!(ben.room.message(&id).is_none());
    assert_eq!(kept, "between us");
}

#[test]
fn a_former_moderator_and_the_relay_can_let_a_guest_into_the_room_as_it_was() {
    let settings = Settings::default().with(Setting::Entry(Entry::Knock)).unwrap();
    let [mut host, mut mo]: [Person; 2] = room_of(settings, &[("mo", Role::Moderator)]).try_into().ok().unwrap();
    let wall = UnixTime(1_800_000_000);
    let terms = Terms { role: Role::Listener, one_shot: false, expires: None };
    let (link, commit) = host.room.issue_link(terms).unwrap();
    host.receive(&commit, NOW).unwrap();
    mo.receive(&commit, NOW).unwrap();
    let old_plate = host.room.doorplate(&link).unwrap();

    // Mo is put out, and his client does not take it in.
    let removal = host.room.remove(&mo.id).unwrap();
    host.receive(&removal, NOW).unwrap();
    let plate = link.read_doorplate(&old_plate).unwrap();
    let (ben, knock) = party::guest("ben").knock(&link, &plate, "", wall).unwrap();
    mo.room.knocked(&knock, NOW, wall).unwrap();
    mo.room.let_in(&ben.id(), NOW).unwrap();
    let commit = mo.room.open_door(NOW * 2).unwrap().unwrap();
    let answered = mo.room.receive(&commit, NOW * 2).unwrap().into_iter().find_map(|event| match event {
        Event::Answered { answers, tree } => Some((answers, tree)),
        _ => None,
    });
    let (answers, tree) = answered.unwrap();
    let (ben, _) = ben.enter(&answers[0].bytes, tree.as_deref()).unwrap();

    // Ben's roster shows the host. Only their codes tell that she is not there.
    assert_eq!(ben.member(&host.id).map(|host| host.role), Some(Role::Host));
    assert_eq!((ben.id(), ben.epoch()), (host.room.id(), host.room.epoch()));
    assert_ne!(ben.code(), host.room.code());
    assert!(host.room.receive(&commit, NOW * 2).is_err());
}
