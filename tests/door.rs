//! The door end to end, as an app and a hostile relay see it: links, knocks, who lets in, and who comes in.
//!
//! What an attacker needs the formats for (knocks that are sealed anew, answers from a room that is another) is tested
//! beside the code.

#[allow(unused, reason = "each test binary uses what it needs")]
mod party;

use std::{collections::BTreeSet, fmt::Display, time::Duration};

use parlor::{
    Error, Event, Guest, Link, Role, Room, Settings, Voice,
    room::{
        Entry, Intent, Setting, TREE_APART, TreeId,
        door::{Answer, Gate, KNOCK_LEN, KnockId, LinkId, PLATE_LEN, Terms, UnixTime, WaitError, Waiting},
    },
};
use party::{NOW, Party, commit_of, guest};

/// When whoever knocked at [`NOW`] is let in, by whomever.
const OPEN: Duration = NOW.saturating_add(LATE_ENOUGH);
const LATE_ENOUGH: Duration = Duration::from_secs(1);

const WALL: UnixTime = UnixTime(1_800_000_000);
const END: UnixTime = WALL.plus(3_600);
const ANYBODY: Terms = Terms { role: Role::Listener, one_shot: false, expires: None };
const ONE: Terms = Terms { one_shot: true, ..ANYBODY };

fn settings(entry: Entry) -> Settings {
    Settings::default().with_title("an evening").unwrap().with(Setting::Entry(entry)).unwrap()
}

/// Ana, host, at 0; mo, moderator, at 1; sue, speaker, at 2; lea, listener, at 3.
fn evening(entry: Entry) -> Party {
    let names = [("ana", Role::Host), ("mo", Role::Moderator), ("sue", Role::Speaker), ("lea", Role::Listener)];
    Party::with(&names, settings(entry))
}

fn link(party: &mut Party, terms: Terms) -> Link {
    let (link, commit) = party.rooms[0].issue_link(terms).unwrap();
    party.deliver(&commit);
    link
}

/// A guest of that name at the door of `link`, whose doorplate ana makes.
fn knock(party: &Party, link: &Link, name: &str) -> (Waiting, Vec<u8>) {
    knock_again(party, link, guest(name), WALL)
}

fn knock_again(party: &Party, link: &Link, guest: Guest, wall: UnixTime) -> (Waiting, Vec<u8>) {
    let plate = link.read_doorplate(&party.rooms[0].doorplate(link).unwrap()).unwrap();
    guest.knock(link, &plate, "", wall).unwrap()
}

/// What `events` say of those who may not enter, in words.
fn told(events: &[Event]) -> String {
    let said = events.iter().filter_map(|event| match event {
        Event::Refused { why, .. } => Some(why.to_string()),
        _ => None,
    });
    said.collect::<Vec<_>>().join("; ")
}

fn answers(events: &[Event]) -> Vec<Answer> {
    let answered = events.iter().filter_map(|event| match event {
        Event::Answered { answers, .. } => Some(answers.clone()),
        _ => None,
    });
    answered.flatten().collect()
}

fn tree(events: &[Event]) -> Option<Vec<u8>> {
    events.iter().find_map(|event| match event {
        Event::Answered { tree, .. } => tree.clone(),
        _ => None,
    })
}

fn asks(events: &[Event]) -> bool {
    matches!(events, [Event::Knocked { .. }])
}

/// What the door says to a knock, in words: the error, or the refusal.
fn door_says(room: &mut Room, knock: &[u8], wall: UnixTime) -> String {
    match room.knocked(knock, NOW, wall) {
        Err(error) => error.to_string(),
        Ok(events) => {
            let said = told(&events);
            assert_eq!(answers(&events).len(), usize::from(!said.is_empty()), "a refusal is answered");
            said
        }
    }
}

/// `by` lets in who is to be, by one commit that everybody receives; who knocked comes in by the answers.
fn open(party: &mut Party, by: usize, waiting: Vec<Waiting>) {
    let commit = party.rooms[by].open_door(OPEN).unwrap().unwrap();
    let events = party.deliver(&commit).swap_remove(by);
    let (answers, tree) = (answers(&events), tree(&events));
    assert_eq!(answers.len(), waiting.len());
    for waiting in waiting {
        let answer = answers.iter().find(|answer| answer.knock == waiting.id()).unwrap();
        come_in(party, waiting.enter(&answer.bytes, tree.as_deref()));
    }
    party.check();
}

fn come_in(party: &mut Party, entered: Result<(Room, Voice), WaitError>) {
    let (room, voice) = entered.unwrap();
    party.rooms.push(room);
    party.voices.push(voice);
}

/// Attempts to come in, and what was said to them.
#[derive(Default)]
struct Table(Vec<(&'static str, String)>);

impl Table {
    #[track_caller]
    fn refused(&mut self, attempt: &'static str, said: impl Display, why: &str) {
        let said = said.to_string();
        assert!(said.contains(why), "{attempt}: {said}");
        self.0.push((attempt, said));
    }
}

impl Drop for Table {
    fn drop(&mut self) {
        for (attempt, said) in &self.0 {
            println!("{attempt:58} | {said}");
        }
    }
}

const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// A link's text with bytes of its body from another's.
fn spliced(one: &Link, other: &Link, from: std::ops::Range<usize>) -> Link {
    use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD as BASE64};
    let body = |link: &Link| BASE64.decode(&link.reveal()["parlor:#".len()..]).unwrap();
    let (mut bytes, other) = (body(one), body(other));
    bytes[from.clone()].copy_from_slice(&other[from]);
    Link::parse(&format!("parlor:#{}", BASE64.encode(bytes))).unwrap()
}

#[test]
fn a_link_that_is_truncated_altered_or_substituted_opens_nothing() {
    let mut table = Table::default();
    let mut ana = evening(Entry::Link);
    let ours = link(&mut ana, ANYBODY);
    let plate = ana.rooms[0].doorplate(&ours).unwrap();
    let text = ours.reveal();

    for length in 0..text.len() {
        assert!(Link::parse(&text[..length]).is_err());
    }
    table.refused("link cut short, at each length", Link::parse(&text[..94]).unwrap_err(), "cut short");
    let mut read = 0;
    for at in 0..text.len() {
        for with in [ALPHABET[at % 64], b'A', b'_'] {
            let mut altered = text.as_bytes().to_vec();
            if std::mem::replace(&mut altered[at], with) == with {
                continue;
            }
            let altered = Link::parse(std::str::from_utf8(&altered).unwrap());
            // In the scheme it is no link; in the hint it is the same.
            read += usize::from(altered.is_ok_and(|link| link.read_doorplate(&plate).is_ok()));
        }
    }
    assert_eq!(read, 0);

    let mut mals = Party::with(&[("mal", Role::Host)], settings(Entry::Link));
    let (theirs, commit) = mals.rooms[0].issue_link(ANYBODY).unwrap();
    mals.deliver(&commit);
    let their_plate = mals.rooms[0].doorplate(&theirs).unwrap();
    assert!(theirs.read_doorplate(&their_plate).is_ok());
    let (host, secret) = (1..33, 33..65);
    let said = spliced(&ours, &theirs, secret.clone()).read_doorplate(&their_plate).unwrap_err();
    table.refused("link of ana's with the secret of mal's room", said, "host was substituted");
    let said = spliced(&ours, &theirs, host).read_doorplate(&plate).unwrap_err();
    table.refused("link of ana's with mal's key hash", said, "host was substituted");
    let said = spliced(&ours, &theirs, secret).read_doorplate(&plate).unwrap_err();
    table.refused("link with another secret", said, "not this link's");
    table.refused(
        "doorplate of another host's room",
        ours.read_doorplate(&their_plate).unwrap_err(),
        "not this link's",
    );

    let second = link(&mut ana, ONE);
    let said = ours.read_doorplate(&ana.rooms[0].doorplate(&second).unwrap()).unwrap_err();
    table.refused("doorplate of another link of the same room", said, "not this link's");
    let said = ana.rooms[0].doorplate(&theirs).unwrap_err();
    table.refused("doorplate for another room's link", said, "no link of yours");
    let said = ana.rooms[1].doorplate(&ours).unwrap_err();
    table.refused("doorplate by a moderator", said, "no link of yours");
    for at in (0..PLATE_LEN).step_by(13) {
        let mut altered = plate.clone();
        altered[at] ^= 1;
        assert!(ours.read_doorplate(&altered).is_err() && ours.read_doorplate(&plate[..at]).is_err());
    }
    table.refused("doorplate cut short", ours.read_doorplate(&plate[..100]).unwrap_err(), "cut short");

    // A link that was made and put into no room, or whose commit lost its race.
    let stray = Link::generate(ana.id("ana")).unwrap();
    table.refused("doorplate for a link in no room", ana.rooms[0].doorplate(&stray).unwrap_err(), "not merged yet");
    let terms = Terms { role: Role::Moderator, ..ANYBODY };
    table.refused("link for moderators", ana.rooms[0].issue_link(terms).unwrap_err(), "listeners or speakers");
    table.refused("link by a moderator", ana.rooms[1].issue_link(ANYBODY).unwrap_err(), "that is for a host");
}

#[test]
fn a_link_that_has_ended_lets_nobody_in() {
    let mut table = Table::default();
    let mut party = evening(Entry::Knock);
    let ours = link(&mut party, Terms { expires: Some(END), ..ANYBODY });
    let plate = ours.read_doorplate(&party.rooms[0].doorplate(&ours).unwrap()).unwrap();

    // Expired, by the guest's clock and by the host's, each with a little to spare.
    let (slack, late) = (END.plus(UnixTime::SLACK), END.plus(UnixTime::SLACK + 1));
    let failed = guest("ben").knock(&ours, &plate, "", late).unwrap_err();
    table.refused("expired, by the guest's clock", &failed, "its time is over");
    let (_, bytes) = failed.guest.knock(&ours, &plate, "", END).unwrap();
    table.refused("expired, by the host's clock", door_says(&mut party.rooms[0], &bytes, late), "has expired");
    assert!(asks(&party.rooms[0].knocked(&bytes, NOW, slack).unwrap()));

    // Revoked.
    let (_, asking) = knock(&party, &ours, "cem");
    party.rooms[1].knocked(&asking, NOW, WALL).unwrap();
    let (_, dan) = knock(&party, &ours, "dan");
    let events = party.rooms[1].knocked(&dan, NOW, WALL).unwrap();
    assert!(asks(&events));
    party.rooms[1].let_in(&KnockId::of(&dan), NOW).unwrap();
    let (eva, knock_of_eva) = knock(&party, &ours, "eva");
    let card = party.rooms[1].knocks().next().unwrap().card().clone();
    // The moderator opens as the host revokes; the relay takes the host's first.
    let opened = party.rooms[1].open_door(OPEN).unwrap().unwrap();
    let revoked = party.rooms[0].revoke_link(&ours.id()).unwrap();
    let events = party.deliver(&revoked).swap_remove(1);
    assert!(events.iter().any(|event| matches!(event, Event::Superseded { intent: Intent::OpenDoor, .. })));
    table.refused("revoked between let_in and its commit", told(&events), "dan may not enter: the link has ended");
    assert!(told(&events).contains("cem may not enter: the link has ended"));
    assert_eq!(answers(&events).len(), 2);
    for at in [0, 2, 3] {
        let said = party.rooms[at].receive(&opened, NOW).unwrap_err();
        assert!(matches!(said, Error::WrongEpoch { .. }), "{said}");
    }
    assert!(party.rooms[1].receive(&opened, NOW).unwrap().is_empty());
    assert_eq!(party.rooms[1].knocks().len(), 0);
    assert!(party.rooms[1].open_door(NOW + LATE_ENOUGH * 9).unwrap().is_none());
    let said = party.rooms[1].admit(&card, Role::Listener).unwrap_err();
    table.refused("revoked, and admitted by the card in the knock", said, "no link of this room");
    let said = door_says(&mut party.rooms[0], &knock_of_eva, WALL);
    table.refused("revoked, then knocked with", said, "revoked, used, or another room's");
    // A hundred bytes that were never an answer are none.
    let failed = eva.enter(&[2; 4_096], None).unwrap_err();
    table.refused("answer made up by the relay", &failed, "not the answer to your knock");

    // One-shot.
    let one = link(&mut party, ONE);
    let ((fay, first), (_, second), (_, third)) =
        (knock(&party, &one, "fay"), knock(&party, &one, "gil"), knock(&party, &one, "hal"));
    for bytes in [&first, &second] {
        assert!(asks(&party.rooms[0].knocked(bytes, NOW, WALL).unwrap()));
    }
    party.rooms[0].let_in(&KnockId::of(&first), NOW).unwrap();
    let said = party.rooms[0].let_in(&KnockId::of(&second), NOW).unwrap_err();
    table.refused("for one, two let in", said, "for one, and somebody else");
    assert_eq!(party.rooms[0].knocks().len(), 1, "they wait as before");
    let commit = party.rooms[0].open_door(OPEN).unwrap().unwrap();
    let said = party.rooms[0].let_in(&KnockId::of(&second), NOW).unwrap_err();
    table.refused("for one, let in while the commit is on its way", said, "for one, and somebody else");
    let events = party.deliver(&commit).swap_remove(0);
    table.refused("for one, asking when it is used", told(&events), "gil may not enter: the link has ended");
    let answer = answers(&events).into_iter().find(|answer| answer.knock == fay.id()).unwrap();
    come_in(&mut party, fay.enter(&answer.bytes, tree(&events).as_deref()));
    party.check();
    let said = door_says(&mut party.rooms[0], &third, WALL);
    table.refused("for one, used", said, "revoked, used, or another room's");

    // Another room's.
    let mut other = evening(Entry::Link);
    let theirs = link(&mut other, ANYBODY);
    let (_, bytes) = knock(&other, &theirs, "ida");
    let said = door_says(&mut party.rooms[0], &bytes, WALL);
    table.refused("of another room", said, "revoked, used, or another room's");
    let (ida, bytes) = knock(&other, &theirs, "ida");
    other.rooms[0].knocked(&bytes, NOW, WALL).unwrap();
    let said = party.rooms[0].admit(ida.card(), Role::Listener).unwrap_err();
    table.refused("of another room, by the card in the knock", said, "another room's");

    // The end of its issuer's office, and of the room's links.
    let lost = link(&mut party, ANYBODY);
    let (_, bytes) = knock(&party, &lost, "jan");
    let mo = party.id("mo");
    let handed = party.rooms[0].hand_over(&mo).unwrap();
    party.deliver(&handed);
    let said = door_says(&mut party.rooms[1], &bytes, WALL);
    table.refused("its issuer is no host any more", said, "revoked, used, or another room's");
    let (last, commit) = party.rooms[1].issue_link(ANYBODY).unwrap();
    party.deliver(&commit);
    let plate = last.read_doorplate(&party.rooms[1].doorplate(&last).unwrap()).unwrap();
    let (_, bytes) = guest("kim").knock(&last, &plate, "", WALL).unwrap();
    assert!(asks(&party.rooms[1].knocked(&bytes, NOW, WALL).unwrap()));
    let closed = party.rooms[1].set(Setting::Entry(Entry::Invited)).unwrap();
    let events = party.deliver(&closed).swap_remove(1);
    table.refused("the room is for the invited only", told(&events), "kim may not enter: the link has ended");
    assert_eq!(party.rooms[0].roster().count(), 5);
    party.check();
}

#[test]
fn two_guests_on_a_link_for_one_race_and_one_comes_in() {
    let mut table = Table::default();
    let mut party = evening(Entry::Link);
    // In one window of one host.
    let one = link(&mut party, ONE);
    let ((ben, first), (cem, second)) = (knock(&party, &one, "ben"), knock(&party, &one, "cem"));
    assert!(party.rooms[0].knocked(&first, NOW, WALL).unwrap().is_empty());
    let events = party.rooms[0].knocked(&second, NOW, WALL).unwrap();
    table.refused("for one, two in a window", told(&events), "for one, and somebody else");
    let failed = cem.enter(&answers(&events)[0].bytes, None).unwrap_err();
    assert!(matches!(failed.error, Error::TurnedAway { for_good: false, .. }), "{failed}");
    open(&mut party, 0, vec![ben]);

    // One while the other's commit is on its way; it loses, and both wait for the next.
    let one = link(&mut party, ONE);
    let ((dan, first), (_, second)) = (knock(&party, &one, "dan"), knock(&party, &one, "eva"));
    party.rooms[0].knocked(&first, NOW, WALL).unwrap();
    let lost = party.rooms[0].open_door(OPEN).unwrap().unwrap();
    let said = door_says(&mut party.rooms[0], &second, WALL);
    table.refused("for one, as another's commit is on its way", said, "for one, and somebody else");
    let won = party.rooms[1].refresh().unwrap();
    party.deliver(&won);
    assert!(party.rooms[0].receive(&lost, NOW).unwrap().is_empty());
    open(&mut party, 0, vec![dan]);

    // Across two who let in.
    let one = link(&mut party, ONE);
    let ((fay, first), (gil, second)) = (knock(&party, &one, "fay"), knock(&party, &one, "gil"));
    party.rooms[0].knocked(&first, NOW, WALL).unwrap();
    party.rooms[1].knocked(&second, NOW, WALL).unwrap();
    let by_ana = party.rooms[0].open_door(OPEN).unwrap().unwrap();
    let by_mo = party.rooms[1].open_door(OPEN).unwrap().unwrap();
    let events = party.deliver(&by_ana);
    table.refused("for one, two who let in race", told(&events[1]), "gil may not enter: the link has ended");
    let failed = gil.enter(&answers(&events[1])[0].bytes, None).unwrap_err();
    assert!(failed.to_string().contains("the link has ended"), "{failed}");
    come_in(&mut party, fay.enter(&answers(&events[0])[0].bytes, tree(&events[0]).as_deref()));
    for room in [0, 2, 3] {
        assert!(party.rooms[room].receive(&by_mo, NOW).is_err());
    }
    party.check();
    assert_eq!(party.rooms[0].roster().count(), 7);
    assert!(party.rooms[1].open_door(NOW + LATE_ENOUGH * 9).unwrap().is_none());
}

#[test]
fn who_is_banned_comes_late_or_is_not_wanted_is_told_so() {
    let mut table = Table::default();
    let mut party = evening(Entry::Knock);
    let ours = link(&mut party, ANYBODY);

    // Banned: by card, by link, by knock; and while they wait.
    let (ben, bytes) = knock(&party, &ours, "ben");
    let card = ben.card().clone();
    party.rooms[1].knocked(&bytes, NOW, WALL).unwrap();
    let id = card.id();
    let ban = party.rooms[0].ban(&id).unwrap();
    let events = party.deliver(&ban).swap_remove(1);
    table.refused("banned while they wait", told(&events), "ben may not enter: banned from the room");
    let failed = ben.enter(&answers(&events)[0].bytes, None).unwrap_err();
    assert!(matches!(failed.error, Error::TurnedAway { for_good: true, .. }), "{failed}");
    table.refused("banned, by knock", door_says(&mut party.rooms[0], &bytes, WALL), "banned from the room");
    let said = party.rooms[0].admit(&card, Role::Listener).unwrap_err();
    table.refused("banned, by the card in the knock", said, "they are banned");
    let ben = failed.waiting.give_up();
    table.refused("banned, by card", party.rooms[0].admit(ben.card(), Role::Listener).unwrap_err(), "they are banned");
    let second = link(&mut party, ANYBODY);
    let (_, bytes) = knock_again(&party, &second, ben, WALL);
    table.refused("banned, by another link", door_says(&mut party.rooms[0], &bytes, WALL), "banned from the room");

    // Locked, full: at the door, and once let in.
    let (cem, bytes) = knock(&party, &ours, "cem");
    party.rooms[1].knocked(&bytes, NOW, WALL).unwrap();
    let lock = party.rooms[1].set(Setting::Locked(true)).unwrap();
    party.deliver(&lock);
    let (_, at_a_locked_door) = knock(&party, &ours, "dan");
    let said = door_says(&mut party.rooms[1], &at_a_locked_door, WALL);
    table.refused("the room is locked", said, "dan may not enter: the room is locked");
    let said = party.rooms[1].let_in(&cem.id(), NOW).unwrap_err();
    table.refused("let in while the room is locked", said, "cem may not enter: the room is locked");
    let unlock = party.rooms[1].set(Setting::Locked(false)).unwrap();
    party.deliver(&unlock);
    let capacity = party.rooms[0].set(Setting::Capacity(Some(4))).unwrap();
    party.deliver(&capacity);
    let (_, bytes) = knock(&party, &ours, "eva");
    table.refused("the room is full", door_says(&mut party.rooms[1], &bytes, WALL), "the room is full");
    let said = party.rooms[1].let_in(&cem.id(), NOW).unwrap_err();
    table.refused("let in while the room is full", said, "the room is full");
    let capacity = party.rooms[0].set(Setting::Capacity(None)).unwrap();
    party.deliver(&capacity);
    party.rooms[1].let_in(&cem.id(), NOW).unwrap();
    open(&mut party, 1, vec![cem]);

    // Turned away twice by one.
    let mut fay = guest("fay");
    for for_good in [false, true] {
        let (waiting, bytes) = knock_again(&party, &ours, fay, WALL);
        for by in [0, 1] {
            assert!(asks(&party.rooms[by].knocked(&bytes, NOW, WALL).unwrap()));
        }
        let (answer, word) = party.rooms[0].turn_away(&waiting.id(), "not tonight").unwrap();
        party.deliver(&word);
        let failed = waiting.enter(&answer.bytes, None).unwrap_err();
        assert!(matches!(failed.error, Error::TurnedAway { for_good: said, .. } if said == for_good), "{failed}");
        assert!(failed.to_string().contains("not tonight"));
        fay = failed.waiting.give_up();
    }
    let (_, bytes) = knock_again(&party, &ours, fay, WALL);
    for by in [0, 1] {
        let said = door_says(&mut party.rooms[by], &bytes, WALL);
        table.refused("turned away twice by the same", said, "turned away twice");
    }
    // By two, once each; one knock reaches the other only after the word of it.
    let (gil, first) = knock(&party, &ours, "gil");
    party.rooms[0].knocked(&first, NOW, WALL).unwrap();
    let (_, word) = party.rooms[0].turn_away(&gil.id(), "").unwrap();
    party.deliver(&word);
    let said = door_says(&mut party.rooms[1], &first, WALL);
    table.refused("turned away by another before it came", said, "has turned this knock away");
    let (gil, second) = knock_again(&party, &ours, gil.give_up(), WALL);
    for by in [0, 1] {
        assert!(asks(&party.rooms[by].knocked(&second, NOW, WALL).unwrap()));
    }
    let (answer, word) = party.rooms[1].turn_away(&gil.id(), "").unwrap();
    party.deliver(&word);
    assert_eq!(party.rooms[0].knocks().len(), 0, "the other has answered");
    let failed = gil.enter(&answer.bytes, None).unwrap_err();
    assert!(matches!(failed.error, Error::TurnedAway { for_good: true, .. }), "{failed}");
    let (_, third) = knock_again(&party, &ours, failed.waiting.give_up(), WALL);
    for by in [0, 1] {
        let said = door_says(&mut party.rooms[by], &third, WALL);
        table.refused("turned away by two, once each", said, "turned away twice");
    }
    // Who is a moderator only since then answers for themselves.
    let lea = party.id("lea");
    let appointed = party.rooms[0].set_role(&lea, Role::Moderator).unwrap();
    party.deliver(&appointed);
    let plate = ours.read_doorplate(&party.rooms[0].doorplate(&ours).unwrap()).unwrap();
    let (_, fourth) = guest("hal").knock(&ours, &plate, "", WALL).unwrap();
    assert!(asks(&party.rooms[3].knocked(&fourth, NOW, WALL).unwrap()));
    assert_eq!(party.rooms[0].roster().count(), 5);
    party.check();
}

#[test]
fn two_who_turn_away_the_same_knock_turn_it_away_once() {
    let mut party = evening(Entry::Knock);
    let ours = link(&mut party, ANYBODY);
    let (ben, bytes) = knock(&party, &ours, "ben");
    let mut words = Vec::new();
    for by in [0, 1] {
        party.rooms[by].knocked(&bytes, NOW, WALL).unwrap();
        words.push(party.rooms[by].turn_away(&ben.id(), "").unwrap().1);
    }
    for word in words {
        party.deliver(&word);
    }
    let (ben, again) = knock_again(&party, &ours, ben.give_up(), WALL);
    for by in [0, 1] {
        assert!(asks(&party.rooms[by].knocked(&again, NOW, WALL).unwrap()));
    }
    party.rooms[0].let_in(&ben.id(), NOW).unwrap();
    open(&mut party, 0, vec![ben]);
}

#[test]
fn a_knock_that_is_replayed_altered_or_out_of_its_time_brings_nobody_in() {
    let mut table = Table::default();
    let mut party = evening(Entry::Link);
    let ours = link(&mut party, ANYBODY);
    let (ben, bytes) = knock(&party, &ours, "ben");
    party.rooms[0].knocked(&bytes, NOW, WALL).unwrap();
    table.refused("the same bytes at once", door_says(&mut party.rooms[0], &bytes, WALL), "it came before");
    open(&mut party, 0, vec![ben]);
    table.refused("once they are in", door_says(&mut party.rooms[0], &bytes, WALL), "it came before");
    let said = door_says(&mut party.rooms[1], &bytes, WALL);
    table.refused("once they are in, to another who may let in", said, "they did so before they came in");
    let ben = party.id("ben");
    let removed = party.rooms[0].remove(&ben).unwrap();
    party.deliver(&removed);
    for by in [0, 1] {
        let said = door_says(&mut party.rooms[by], &bytes, WALL);
        table.refused("once they are in and out again", said, "it came before");
    }
    for (attempt, wall) in [
        ("after a quarter of an hour and a second", WALL.plus(901)),
        ("after an hour", WALL.plus(3_600)),
        ("five minutes and a second ahead of the clock", UnixTime(WALL.0 - 301)),
    ] {
        let (_, bytes) = knock(&party, &ours, "cem");
        table.refused(attempt, door_says(&mut party.rooms[0], &bytes, wall), "too long ago, or their clock is wrong");
    }
    let (_, bytes) = knock(&party, &ours, "dan");
    for (at, bits) in (0..KNOCK_LEN).step_by(41).zip((0..8).cycle()) {
        let mut altered = bytes.clone();
        altered[at] ^= 1 << bits;
        assert!(party.rooms[0].knocked(&altered, NOW, WALL).is_err(), "byte {at}");
        assert!(ours.gate().check(&altered).is_err(), "byte {at}");
        assert!(party.rooms[0].knocked(&bytes[..at], NOW, WALL).is_err(), "{at} bytes");
    }
    // Another door of the same room.
    let second = link(&mut party, ANYBODY);
    let mut moved = bytes.clone();
    moved[1..17].copy_from_slice(second.address().as_bytes());
    moved[17..49].copy_from_slice(second.id().as_bytes());
    table.refused("moved to another door", door_says(&mut party.rooms[0], &moved, WALL), "does not hold the link");
    // Who may not let in, and who is not on the doorplate.
    table.refused("to a speaker", door_says(&mut party.rooms[2], &bytes, WALL), "for a host or a moderator");
    let lea = party.id("lea");
    let appointed = party.rooms[0].set_role(&lea, Role::Moderator).unwrap();
    party.deliver(&appointed);
    table.refused(
        "to a moderator whom it is not sealed to",
        door_says(&mut party.rooms[3], &bytes, WALL),
        "not name you",
    );
    assert!(party.rooms[0].open_door(NOW + LATE_ENOUGH * 9).unwrap().is_none());
    // Nothing of all that is remembered: the knock itself is as good as ever.
    assert!(party.rooms[0].knocked(&bytes, NOW, WALL).unwrap().is_empty());
    assert_eq!(party.rooms[0].roster().count(), 4);
    party.check();
}

#[test]
fn an_answer_opens_for_its_own_guest_only() {
    let mut table = Table::default();
    let mut party = evening(Entry::Link);
    let ours = link(&mut party, ANYBODY);
    // So many that the tree travels apart.
    let crowd =
        (0..TREE_APART).map(|n| (guest(&format!("guest {n}")).card().clone(), Role::Listener)).collect::<Vec<_>>();
    let admission = party.rooms[0].admit_all(&crowd).unwrap();
    party.deliver(&admission.commit);
    let ((ben, one), (cem, other)) = (knock(&party, &ours, "ben"), knock(&party, &ours, "cem"));
    party.rooms[0].knocked(&one, NOW, WALL).unwrap();
    party.rooms[0].knocked(&other, NOW, WALL).unwrap();
    let commit = party.rooms[0].open_door(OPEN).unwrap().unwrap();
    let events = party.deliver(&commit).swap_remove(0);
    let (answers, tree) = (answers(&events), tree(&events));
    let failed = ben.enter(&answers[1].bytes, tree.as_deref()).unwrap_err();
    table.refused("another guest's answer", &failed, "not the answer to your knock");
    let failed = failed.waiting.enter(&answers[0].bytes, None).unwrap_err();
    table.refused("the answer without the tree", &failed, "and none was given");
    let mut mal = evening(Entry::Link);
    let theirs = link(&mut mal, ANYBODY);
    let (_, bytes) = knock(&mal, &theirs, "ben");
    mal.rooms[0].knocked(&bytes, NOW, WALL).unwrap();
    let commit = mal.rooms[0].open_door(OPEN).unwrap().unwrap();
    let fake = mal.deliver(&commit).swap_remove(0);
    let failed = failed.waiting.enter(&self::answers(&fake)[0].bytes, self::tree(&fake).as_deref()).unwrap_err();
    table.refused("the answer of another room", &failed, "not the answer to your knock");
    let needed = TreeId::of(tree.as_deref().unwrap());
    assert_eq!(failed.waiting.tree_of(&answers[0].bytes).unwrap(), Some(needed));
    assert!(failed.waiting.tree_of(&answers[1].bytes).is_err(), "it is cem's");
    let failed = failed.waiting.enter(&answers[0].bytes, Some(b"the tree of another room")).unwrap_err();
    table.refused("the tree of another room", &failed, &format!("needs the room's tree {needed}, and "));
    let (ben, _) = failed.waiting.enter(&answers[0].bytes, tree.as_deref()).unwrap();
    let (cem, _) = cem.enter(&answers[1].bytes, tree.as_deref()).unwrap();
    assert_eq!((ben.code(), cem.code()), (party.rooms[0].code(), party.rooms[0].code()));
}

#[test]
fn the_relay_tells_knocks_of_link_holders_from_junk_and_makes_none() {
    let mut party = evening(Entry::Link);
    let ours = link(&mut party, ANYBODY);
    let gate = Gate::from_bytes(&ours.gate().to_bytes()).unwrap();
    let (_, bytes) = knock(&party, &ours, "ben");
    gate.check(&bytes).unwrap();
    // All that the relay has, under a link of its own.
    let own = Link::generate(party.id("ana")).unwrap();
    assert!(own.gate().check(&bytes).is_err());
    let (mut unsigned, mut altered) = (bytes.clone(), bytes.clone());
    unsigned[KNOCK_LEN - 64..].fill(0);
    altered[KNOCK_LEN / 2] ^= 1;
    for junk in [
        unsigned,
        altered,
        vec![],
        vec![0; KNOCK_LEN],
        vec![1; KNOCK_LEN],
        bytes[..KNOCK_LEN - 1].to_vec(),
        [0; 9].repeat(KNOCK_LEN),
    ] {
        assert!(gate.check(&junk).is_err());
        // The host drops it too, and remembers nothing of it.
        for _ in 0..100 {
            assert!(party.rooms[0].knocked(&junk, NOW, WALL).is_err());
        }
    }
    assert_eq!(party.rooms[0].knocks().len(), 0);
    assert!(party.rooms[0].open_door(NOW + LATE_ENOUGH * 9).unwrap().is_none());
}

#[test]
fn a_yes_is_as_long_as_a_no_in_the_same_epoch() {
    let long = "x".repeat(120);
    let mut lengths = Vec::new();
    for (topic, links, banned) in [(0, 0, 0), (500, 0, 0), (500, 61, 0), (500, 61, 100)] {
        let mut party = evening(Entry::Knock);
        let ana = &mut party.rooms[0];
        let wanted = [Setting::Title(long.clone()), Setting::Topic("y".repeat(topic))];
        let set = ana.set_all(&wanted).unwrap();
        party.deliver(&set);
        for _ in 0..links {
            link(&mut party, ANYBODY);
        }
        for turn in 0..banned {
            let key = parlor::MemberId::from_bytes([turn; 32]);
            let ban = party.rooms[0].ban(&key).unwrap();
            // The others do not matter here; they would only take time.
            party.rooms[0].receive(&ban, NOW).unwrap();
        }
        let mut issue = |terms| {
            let (link, commit) = party.rooms[0].issue_link(terms).unwrap();
            party.rooms[0].receive(&commit, NOW).unwrap();
            link
        };
        let (listeners, speakers) = (issue(ANYBODY), issue(Terms { role: Role::Speaker, ..ANYBODY }));
        // Two batches: of one, and of twelve by both links. After each, refusals long and short.
        for batch in [1, 12] {
            let guests: Vec<_> = (0..batch)
                .map(|turn| {
                    let link = if turn % 2 == 0 { &speakers } else { &listeners };
                    knock(&party, link, &"n".repeat(1 + turn * 5))
                })
                .collect();
            for (waiting, bytes) in &guests {
                party.rooms[0].knocked(bytes, NOW, WALL).unwrap();
                party.rooms[0].let_in(&waiting.id(), NOW).unwrap();
            }
            let commit = party.rooms[0].open_door(OPEN).unwrap().unwrap();
            let yes = answers(&party.rooms[0].receive(&commit, NOW).unwrap());
            assert_eq!(yes.len(), batch);
            let mut all: BTreeSet<usize> = yes.iter().map(|answer| answer.bytes.len()).collect();
            for reason in ["", &"r".repeat(100)] {
                let (waiting, bytes) = knock(&party, &listeners, "ned");
                party.rooms[0].knocked(&bytes, NOW, WALL).unwrap();
                // A knock that is answered at once, and one that somebody turns away.
                let (waiting, again) = knock_again(&party, &listeners, waiting.give_up(), WALL);
                let at_once = party.rooms[0].knocked(&again, NOW, WALL).unwrap();
                all.insert(answers(&at_once)[0].bytes.len());
                all.insert(party.rooms[0].turn_away(&waiting.id(), reason).unwrap().0.bytes.len());
            }
            println!(
                "topic {topic:3}, {links:2} links, {banned:3} banned, batch of {batch:2}: answers of {all:?} bytes"
            );
            assert_eq!(all.len(), 1, "the relay could tell a yes from a no");
            lengths.extend(all);
        }
    }
    assert!(lengths.iter().max() > lengths.iter().min(), "the rooms were all of a size");
}

#[test]
fn a_host_sees_who_knocks_in_order_and_answers() {
    let mut party = evening(Entry::Knock);
    let ours = link(&mut party, ANYBODY);
    let plate = ours.read_doorplate(&party.rooms[0].doorplate(&ours).unwrap()).unwrap();
    assert_eq!((plate.title(), plate.host_name(), plate.host()), ("an evening", "ana", party.id("ana")));
    let mut waiting = Vec::new();
    for name in ["zoe", "ben", "moe", "ada"] {
        let guest = guest(name);
        let (id, fingerprint) = (guest.card().id(), guest.card().fingerprint());
        let (there, bytes) = guest.knock(&ours, &plate, &format!("{name} here"), WALL).unwrap();
        let events = party.rooms[0].knocked(&bytes, NOW, WALL).unwrap();
        let [Event::Knocked { knock, member, link }] = &events[..] else { panic!("{events:?}") };
        assert_eq!((*knock, *member, *link), (there.id(), id, ours.id()));
        let seen = party.rooms[0].knocks().last().unwrap();
        assert_eq!((seen.name(), seen.note()), (name, &*format!("{name} here")));
        assert_eq!((seen.fingerprint(), seen.made_at(), seen.id()), (fingerprint, WALL, there.id()));
        waiting.push(there);
    }
    let names = |room: &Room| room.knocks().map(|knock| knock.name().to_owned()).collect::<Vec<_>>();
    assert_eq!(names(&party.rooms[0]), ["zoe", "ben", "moe", "ada"]);
    let (answer, _) = party.rooms[0].turn_away(&waiting[1].id(), "full of bens").unwrap();
    assert_eq!(names(&party.rooms[0]), ["zoe", "moe", "ada"]);
    let failed = waiting.remove(1).enter(&answer.bytes, None).unwrap_err();
    assert!(failed.to_string().contains("“an evening” (“full of bens”)"), "{failed}");
    for bad in ["a\nb", &"x".repeat(101)] {
        assert!(party.rooms[0].turn_away(&waiting[0].id(), bad).is_err());
    }
    assert!(party.rooms[0].let_in(&KnockId::of(b"nobody's"), NOW).is_err());
    assert!(party.rooms[0].open_door(NOW + LATE_ENOUGH * 9).unwrap().is_none(), "nobody has been let in yet");
    for at in [2, 0] {
        party.rooms[0].let_in(&waiting[at].id(), NOW).unwrap();
    }
    assert!(party.rooms[0].let_in(&waiting[0].id(), NOW).is_err(), "they are on their way in");
    assert_eq!(
        party.rooms[0].next_duty(NOW),
        Some(NOW + parlor::room::door::GATHERING),
        "somebody came in at that moment"
    );
    let quiet = NOW + parlor::room::door::GATHERING;
    assert_eq!(party.rooms[0].next_duty(quiet), Some(quiet), "and nobody since");
    assert_eq!(names(&party.rooms[0]), ["moe"]);
    let moe = waiting.remove(1);
    open(&mut party, 0, waiting);
    // Moe knocks again with another note, and keeps the place: the earlier knock is answered.
    let plate = ours.read_doorplate(&party.rooms[0].doorplate(&ours).unwrap()).unwrap();
    let (_, other) = knock(&party, &ours, "eve");
    party.rooms[0].knocked(&other, NOW, WALL).unwrap();
    let first = moe.id();
    let (moe, again) = moe.give_up().knock(&ours, &plate, "please", WALL.plus(1)).unwrap();
    let events = party.rooms[0].knocked(&again, NOW, WALL).unwrap();
    assert_eq!(told(&events), "moe may not enter: a later knock with the same key came since");
    assert_eq!(answers(&events)[0].knock, first);
    assert!(matches!(events.last(), Some(Event::Knocked { knock, .. }) if *knock == moe.id()));
    let seen: Vec<_> = party.rooms[0].knocks().map(|knock| (knock.name(), knock.note())).collect();
    assert_eq!(seen, [("moe", "please"), ("eve", "")]);
    party.rooms[0].let_in(&moe.id(), NOW).unwrap();
    open(&mut party, 0, vec![moe]);
}

#[test]
fn a_doorplate_is_outdated_when_it_says_what_is_not_so() {
    let mut party = evening(Entry::Knock);
    let outdated = |all: &[Vec<Event>]| {
        let says = |events: &Vec<Event>| events.iter().any(|event| matches!(event, Event::DoorplateOutdated));
        all.iter().map(says).collect::<Vec<_>>()
    };
    let title = party.rooms[0].set_title("nobody's door yet").unwrap();
    assert_eq!(outdated(&party.deliver(&title)), [false; 4]);
    let ours = link(&mut party, ANYBODY);
    let old = ours.read_doorplate(&party.rooms[0].doorplate(&ours).unwrap()).unwrap();
    let (sue, lea) = (party.id("sue"), party.id("lea"));
    let title = party.rooms[0].set_title("late").unwrap();
    assert_eq!(outdated(&party.deliver(&title)), [true, false, false, false]);
    let topic = party.rooms[0].set(Setting::Topic("birds".into())).unwrap();
    assert_eq!(outdated(&party.deliver(&topic)), [false; 4]);
    let spoken = party.rooms[1].set_role(&lea, Role::Speaker).unwrap();
    assert_eq!(outdated(&party.deliver(&spoken)), [false; 4]);
    let appointed = party.rooms[0].set_role(&sue, Role::Moderator).unwrap();
    assert_eq!(outdated(&party.deliver(&appointed)), [true, false, false, false]);

    // Sue can read no knock made with the old doorplate; after its renewal she lets in.
    let (ben, bytes) = guest("ben").knock(&ours, &old, "", WALL).unwrap();
    assert!(party.rooms[2].knocked(&bytes, NOW, WALL).is_err());
    let new = ours.read_doorplate(&party.rooms[0].doorplate(&ours).unwrap()).unwrap();
    assert_eq!((old.title(), new.title()), ("nobody's door yet", "late"));
    let (ben, bytes) = ben.give_up().knock(&ours, &new, "", WALL).unwrap();
    assert!(asks(&party.rooms[2].knocked(&bytes, NOW, WALL).unwrap()));
    party.rooms[2].let_in(&ben.id(), NOW).unwrap();
    open(&mut party, 2, vec![ben]);
    let removed = party.rooms[0].remove(&sue).unwrap();
    assert!(outdated(&party.deliver(&removed))[0]);
}

#[test]
fn two_who_let_in_the_same_knocks_let_each_in_once() {
    for (entry, retries) in [(Entry::Link, false), (Entry::Link, true), (Entry::Knock, false), (Entry::Knock, true)] {
        let mut party = evening(entry);
        let ours = link(&mut party, ANYBODY);
        let guests: Vec<_> = ["ben", "cem", "dan"].map(|name| knock(&party, &ours, name)).into();
        // Dan's knock has reached mo only.
        for (by, knocks) in [(0, &guests[..2]), (1, &guests[..])] {
            for (waiting, bytes) in knocks {
                party.rooms[by].knocked(bytes, NOW, WALL).unwrap();
                if entry == Entry::Knock {
                    party.rooms[by].let_in(&waiting.id(), NOW).unwrap();
                }
            }
        }
        let by_ana = party.rooms[0].open_door(OPEN).unwrap().unwrap();
        let by_mo = party.rooms[1].open_door(OPEN).unwrap().unwrap();
        assert!(party.rooms[1].open_door(NOW + LATE_ENOUGH * 9).unwrap().is_none(), "one is on its way");
        let events = party.deliver(&by_ana);
        assert!(answers(&events[1]).is_empty(), "mo has nothing to say to those whom ana let in");
        let lost = events[1].iter().find_map(|event| match event {
            Event::Superseded { intent, .. } => Some(intent.clone()),
            _ => None,
        });
        assert_eq!(lost, Some(Intent::OpenDoor));
        let mut guests = guests.into_iter().map(|(waiting, _)| waiting);
        for answer in answers(&events[0]) {
            come_in(&mut party, guests.next().unwrap().enter(&answer.bytes, tree(&events[0]).as_deref()));
        }
        party.check();
        let late = party.rooms[1].receive(&by_mo, NOW).unwrap();
        assert!(late.is_empty());
        let next = if retries {
            commit_of(party.rooms[1].retry(&Intent::OpenDoor).unwrap())
        } else {
            party.rooms[1].open_door(OPEN).unwrap().unwrap()
        };
        let events = party.deliver(&next).swap_remove(1);
        let [answer] = &answers(&events)[..] else { panic!("{events:?}") };
        come_in(&mut party, guests.next().unwrap().enter(&answer.bytes, tree(&events).as_deref()));
        party.check();
        assert_eq!(party.rooms[0].roster().count(), 7);
        for by in [0, 1] {
            assert!(party.rooms[by].open_door(NOW + LATE_ENOUGH * 9).unwrap().is_none());
            assert!(matches!(party.rooms[by].retry(&Intent::OpenDoor), Ok(parlor::room::Retried::Done)));
        }
    }
}

#[test]
fn a_commit_that_is_abandoned_puts_its_guests_back_at_the_door() {
    let mut party = evening(Entry::Link);
    let ours = link(&mut party, ANYBODY);
    let ((ben, one), (cem, other)) = (knock(&party, &ours, "ben"), knock(&party, &ours, "cem"));
    party.rooms[0].knocked(&one, NOW, WALL).unwrap();
    party.rooms[0].open_door(OPEN).unwrap().unwrap();
    assert_eq!(party.rooms[0].abandon(), Some(Intent::OpenDoor));
    party.rooms[0].open_door(OPEN).unwrap().unwrap();
    party.rooms[0].knocked(&other, NOW, WALL).unwrap();
    assert_eq!(party.rooms[0].abandon(), Some(Intent::OpenDoor));
    open(&mut party, 0, vec![ben, cem]);
}

#[test]
fn who_cannot_come_in_keeps_nobody_else_out() {
    let mut party = evening(Entry::Link);
    let (many, one) = (link(&mut party, ANYBODY), link(&mut party, ONE));
    let names = ["ben", "cem", "dan", "eva", "fay"];
    let mut guests: Vec<_> = names.map(|name| knock(&party, &many, name)).into();
    guests.push(knock(&party, &one, "gil"));
    for (_, bytes) in &guests {
        assert!(party.rooms[1].knocked(bytes, NOW, WALL).unwrap().is_empty());
    }
    // Mo's commit is on its way when cem is banned, and loses; then the link for one is revoked, and two places are left.
    party.rooms[1].open_door(OPEN).unwrap().unwrap();
    let cem = guests[1].0.card().id();
    let ban = party.rooms[0].ban(&cem).unwrap();
    let events = party.deliver(&ban).swap_remove(1);
    assert_eq!(told(&events), "cem may not enter: banned from the room");
    let revoked = party.rooms[0].revoke_link(&one.id()).unwrap();
    let events = party.deliver(&revoked).swap_remove(1);
    assert_eq!(told(&events), "gil may not enter: the link has ended");
    let capacity = party.rooms[0].set(Setting::Capacity(Some(6))).unwrap();
    let events = party.deliver(&capacity).swap_remove(1);
    assert_eq!(told(&events), "eva may not enter: the room is full; fay may not enter: the room is full");
    for (at, says) in [(3, "the room is full"), (4, "the room is full")] {
        let answer = answers(&events).into_iter().find(|answer| answer.knock == guests[at].0.id()).unwrap();
        let (waiting, _) = std::mem::replace(&mut guests[at], knock(&party, &many, "nobody"));
        assert!(waiting.enter(&answer.bytes, None).unwrap_err().to_string().contains(says));
    }
    let (dan, ben) = (guests.remove(2).0, guests.remove(0).0);
    open(&mut party, 1, vec![ben, dan]);

    // Locked while they wait to be let in.
    let capacity = party.rooms[0].set(Setting::Capacity(None)).unwrap();
    party.deliver(&capacity);
    let (_, bytes) = knock(&party, &many, "hal");
    party.rooms[1].knocked(&bytes, NOW, WALL).unwrap();
    let lock = party.rooms[0].set(Setting::Locked(true)).unwrap();
    assert_eq!(told(&party.deliver(&lock)[1]), "hal may not enter: the room is locked");
    assert!(party.rooms[1].open_door(NOW + LATE_ENOUGH * 9).unwrap().is_none());
}

#[test]
fn who_knocks_twice_comes_in_once_by_the_later_knock() {
    let mut party = evening(Entry::Link);
    let ours = link(&mut party, ANYBODY);
    let (ben, first) = knock(&party, &ours, "ben");
    let (cem, other) = knock(&party, &ours, "cem");
    let first_id = ben.id();
    let (ben, second) = knock_again(&party, &ours, ben.give_up(), WALL.plus(9));
    // The relay brings the later one first.
    for (bytes, answered) in [(&second, None), (&other, None), (&first, Some(first_id))] {
        let events = party.rooms[0].knocked(bytes, NOW, WALL).unwrap();
        assert_eq!(answers(&events).first().map(|answer| answer.knock), answered);
    }
    let again = ben.card().id();
    open(&mut party, 0, vec![ben, cem]);
    assert!(party.rooms[0].member(&again).is_some());
}

#[test]
fn everybody_hears_by_which_link_somebody_came() {
    let mut party = evening(Entry::Link);
    let (many, one) = (link(&mut party, ANYBODY), link(&mut party, Terms { role: Role::Speaker, ..ONE }));
    let ((_, ben), (_, cem)) = (knock(&party, &many, "ben"), knock(&party, &one, "cem"));
    party.rooms[1].knocked(&ben, NOW, WALL).unwrap();
    party.rooms[1].knocked(&cem, NOW, WALL).unwrap();
    let commit = party.rooms[1].open_door(OPEN).unwrap().unwrap();
    let mo = party.id("mo");
    for events in party.deliver(&commit) {
        let joined: Vec<Option<LinkId>> = events
            .iter()
            .filter_map(|event| match event {
                Event::Joined { by, link, .. } if *by == mo => Some(*link),
                _ => None,
            })
            .collect();
        assert_eq!(joined, [Some(many.id()), Some(one.id())]);
        assert!(events.iter().any(|event| matches!(event, Event::LinkEnded { link, .. } if *link == one.id())));
    }
    assert_eq!(party.names()[4..], ["ben listener", "cem speaker"]);
    // By card alone there is none.
    let by_card = party.rooms[0].admit(guest("dan").card(), Role::Listener).unwrap();
    let events = party.deliver(&by_card.commit);
    assert!(events.iter().flatten().all(|event| !matches!(event, Event::Joined { link: Some(_), .. })));
}

/// An evening in simulated time: everybody behind one relay with one order, each with a delay of their own.
struct Simulation {
    seed: u64,
    /// How many of a hundred control messages come late, each to some.
    late: u64,
    /// What the relay has put in order, and when.
    order: Vec<(u64, Vec<u8>)>,
    people: Vec<Somebody>,
}

struct Somebody {
    room: Room,
    /// The next message of the order that they get.
    next: usize,
    /// When the last one reached them: none overtakes another.
    last: u64,
}

const TRIP: u64 = 40;
const LATE: u64 = 2_000;
/// How often everybody looks whether something has come.
const STEP: u64 = 20;

impl Simulation {
    /// When message `at` reaches the person `who`.
    fn arrives(&self, at: usize, who: usize) -> u64 {
        // splitmix64
        let mut x = self.seed ^ ((at as u64) << 32) ^ (who as u64);
        for _ in 0..2 {
            x = x.wrapping_add(0x9E37_79B9_7F4A_7C15);
            x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
            x ^= x >> 31;
        }
        let late = if x % 100 < self.late { LATE } else { 0 };
        (self.order[at].0 + TRIP + late).max(self.people[who].last)
    }

    /// What `who` gets by `time`; their events, with how many messages they had got by then.
    fn deliver(&mut self, who: usize, time: u64) -> Vec<(usize, Vec<Event>)> {
        let mut all = Vec::new();
        while self.people[who].next < self.order.len() {
            let at = self.people[who].next;
            let arrives = self.arrives(at, who);
            if arrives > time {
                break;
            }
            let now = Duration::from_millis(time);
            let person = &mut self.people[who];
            (person.next, person.last) = (at + 1, arrives);
            match person.room.receive(&self.order[at].1, now) {
                Ok(events) => all.push((at + 1, events)),
                // A commit that lost its race.
                Err(Error::WrongEpoch { .. }) => {}
                Err(error) => panic!("message {at} to {who}: {error}"),
            }
        }
        all
    }

    fn over(&self) -> bool {
        self.people.iter().all(|person| person.next == self.order.len())
    }
}

/// `count` knock within ten seconds, at two who let in; gives the commits sent and merged, and the time until all
/// were in and all had heard of it.
fn crowd(count: usize, late: u64, seed: u64) -> (usize, u64, u64) {
    let mut party = Party::with(&[("ana", Role::Host), ("mo", Role::Moderator)], settings(Entry::Link));
    let ours = link(&mut party, ANYBODY);
    let plate = ours.read_doorplate(&party.rooms[0].doorplate(&ours).unwrap()).unwrap();
    let begun = party.rooms[0].epoch();
    let people = party.rooms.into_iter().map(|room| Somebody { room, next: 0, last: 0 }).collect();
    let mut evening = Simulation { seed, late, order: Vec::new(), people };

    let mut waiting = std::collections::BTreeMap::new();
    let mut knocked = 0;
    // No earlier than what has been, by anybody's clock, and when the door is quiet.
    let begin = NOW.as_millis() as u64 + 3_000;
    let mut time = begin;
    while knocked < count || !waiting.is_empty() || !evening.over() {
        assert!(time < begin + 60_000, "{} of {count} still wait after a minute", waiting.len());
        let now = Duration::from_millis(time);
        while knocked < count && (knocked as u64) * 10_000 / (count as u64) <= time - begin {
            let guest = guest(&format!("guest {knocked}"));
            let (there, bytes) = guest.knock(&ours, &plate, "", WALL.plus(time / 1_000)).unwrap();
            waiting.insert(there.id(), there);
            for keeper in 0..2 {
                let events = evening.people[keeper].room.knocked(&bytes, now, WALL.plus(time / 1_000)).unwrap();
                assert!(events.is_empty(), "{}", told(&events));
            }
            knocked += 1;
        }
        for who in 0..evening.people.len() {
            for (next, events) in evening.deliver(who, time) {
                assert_eq!(told(&events), "");
                let tree = tree(&events);
                for answer in answers(&events) {
                    let there = waiting.remove(&answer.knock).expect("somebody was answered twice");
                    let (room, _) = there.enter(&answer.bytes, tree.as_deref()).unwrap();
                    evening.people.push(Somebody { room, next, last: time });
                }
            }
        }
        for keeper in 0..2 {
            if let Some(commit) = evening.people[keeper].room.open_door(now).unwrap() {
                evening.order.push((time, commit));
            }
        }
        time += STEP;
    }
    let took = time - begin;
    let first = &evening.people[0].room;
    assert_eq!(first.roster().count(), count + 2);
    for Somebody { room, .. } in &evening.people {
        assert_eq!((room.epoch(), room.code()), (first.epoch(), first.code()));
        assert!(room.roster().eq(first.roster()), "{room:?} sees another roster");
    }
    let listed: BTreeSet<_> = first.roster().map(|member| member.id).collect();
    assert!(evening.people.iter().all(|person| listed.contains(&person.room.me().unwrap().id)));
    (evening.order.len(), first.epoch() - begun, took)
}

/// `PARLOR_CROWD=1000 cargo test --release --test door crowd -- --nocapture` runs it at full size.
#[test]
fn a_crowd_at_the_door_is_in_by_few_commits_and_everybody_agrees() {
    let number = |name: &str, or: u64| std::env::var(name).map_or(or, |text| text.parse().unwrap());
    let count = usize::try_from(number("PARLOR_CROWD", 200)).unwrap();
    let seed = number("PARLOR_SEED", 1);
    for late in [0, 10] {
        let (sent, merged, time) = crowd(count, late, seed);
        println!("seed {seed}, {count} guests, {late} % late: {sent} commits, {merged} merged, all in after {time} ms");
        assert!(sent <= 22 && merged <= 18, "seed {seed}: {sent} commits, {merged} merged");
        assert!(time <= if late == 0 { 10_400 } else { 14_000 }, "seed {seed}: {time} ms");
    }
}
