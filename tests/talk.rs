//! Beside the voice: chat that vanishes, reactions, short codes, and names whose key has changed.

mod party;

use std::time::Duration;

use Role::{Host, Listener, Speaker};
use parlor::{
    Error, Event, MemberId, Role,
    room::{IdentityCheck, Message, Reaction, Trust},
};
use party::{NOW, Party, gists, guest, tick};

#[test]
fn what_is_said_in_writing_is_read_by_all_and_vanishes_in_time() {
    let mut party = Party::new(&[("ana", Host), ("ben", Listener)]);
    let ben = party.id("ben");
    let (id, line) = party.named("ben").say("meet me behind the piano", Some(Duration::from_secs(30))).unwrap();
    assert!(party.named("ben").message(&id).is_none(), "one's own word too counts where the relay puts it");
    for events in party.deliver(&line) {
        assert!(matches!(events[..], [Event::Said { message }] if message == id));
    }
    let (_, lasting) = party.named("ana").say("welcome, everybody", None).unwrap();
    party.deliver(&lasting);
    for room in &mut party.rooms {
        let texts: Vec<_> = room.messages().map(Message::text).collect();
        assert_eq!(texts, ["meet me behind the piano", "welcome, everybody"]);
        assert_eq!(room.message(&id).unwrap().from, ben);
        let due = NOW + Duration::from_secs(30);
        assert!(room.next_tick().unwrap() <= due);
        assert!(tick(room, due - Duration::from_millis(1)).is_empty());
        assert!(matches!(tick(room, due)[..], [Event::Vanished { message }] if message == id));
        assert!(room.message(&id).is_none());
        assert_eq!(room.messages().count(), 1);
    }
    assert!(party.named("ana").say("", None).is_err());
    assert!(party.named("ana").say("x", Some(Duration::from_millis(1))).is_err());

    // The room's end wipes all.
    let end = party.named("ana").end().unwrap();
    party.deliver(&end);
    assert!(party.rooms.iter().all(|room| room.messages().next().is_none()));
    assert!(matches!(party.rooms[0].say("hello?", None), Err(Error::Closed { .. })));
}

#[test]
fn a_line_that_a_commit_overtook_is_read_and_one_from_before_ones_time_is_not() {
    let mut party = Party::new(&[("ana", Host), ("ben", Listener)]);
    let (_, line) = party.named("ben").say("late, but here", None).unwrap();
    party.admit(0, vec![(guest("eve"), Listener)]);
    let refresh = party.named("ana").refresh().unwrap();
    party.deliver(&refresh);
    for room in &mut party.rooms[..2] {
        assert!(matches!(room.receive(&line, NOW).unwrap()[..], [Event::Said { .. }]), "{room:?}");
    }
    assert!(party.rooms[2].receive(&line, NOW).is_err());
}

#[test]
fn a_reaction_reaches_everybody() {
    let mut party = Party::new(&[("ana", Host), ("ben", Listener)]);
    let ben = party.id("ben");
    let clap = Reaction::new("👏🏽").unwrap();
    let message = party.named("ben").react(&clap).unwrap();
    for events in party.deliver(&message) {
        assert!(
            matches!(&events[..], [Event::Reacted { member, reaction }] if *member == ben && *reaction == clap),
            "{:?}",
            gists(&events)
        );
    }
}

/// Delivers what rooms have to send until all is said; gives who was shown which code.
fn exchange(party: &mut Party, first: Vec<u8>) -> Vec<(usize, MemberId, String)> {
    let (mut mail, mut codes) = (vec![first], Vec::new());
    while let Some(message) = mail.pop() {
        for (at, events) in party.deliver(&message).into_iter().enumerate() {
            for event in events {
                match event {
                    Event::Send(message) => mail.push(message),
                    Event::ShortCode { with, code } => codes.push((at, with, code.to_string())),
                    Event::CodeAsked { by } => {
                        let agreed = party.rooms[at].compare_with(&by, NOW).unwrap();
                        mail.push(agreed);
                    }
                    other => panic!("{other:?}"),
                }
            }
        }
    }
    codes.sort_unstable();
    codes
}

#[test]
fn two_members_who_share_the_room_read_the_same_digits() {
    let mut party = Party::new(&[("ana", Host), ("ben", Listener), ("eve", Listener)]);
    let (ana, ben) = (party.id("ana"), party.id("ben"));
    let ask = party.named("ana").compare_with(&ben, NOW).unwrap();
    let codes = exchange(&mut party, ask);
    let [(0, with_ben, at_ana), (1, with_ana, at_ben)] = &codes[..] else { panic!("{codes:?}") };
    assert_eq!((*with_ben, *with_ana, at_ana), (ben, ana, at_ben));
    assert_eq!(at_ana.chars().filter(char::is_ascii_digit).count(), 6);
    assert!(matches!(party.named("ana").compare_with(&ana, NOW), Err(Error::Unusable { .. })));
}

#[test]
fn an_exchange_that_nobody_agrees_to_lapses_and_says_so() {
    let mut party = Party::new(&[("ana", Host), ("ben", Listener)]);
    let ben = party.id("ben");
    let ask = party.named("ana").compare_with(&ben, NOW).unwrap();
    party.deliver(&ask);
    let late = NOW + Duration::from_secs(61);
    assert!(matches!(tick(party.named("ana"), late)[..], [Event::CodeLapsed { with }] if with == ben));
}

#[test]
fn a_name_that_comes_back_with_another_key_is_flagged_to_all() {
    let mut party = Party::new(&[("ana", Host), ("ben", Speaker)]);
    let (ana, ben) = (party.id("ana"), party.id("ben"));
    let remove = party.named("ana").remove(&ben).unwrap();
    party.deliver(&remove);
    let impostor = guest("ben");
    let admission = party.rooms[0].admit(impostor.card(), Listener).unwrap();
    let events = party.deliver(&admission.commit).remove(0);
    assert!(
        matches!(&events[..], [_, _, Event::Doubtful { trust: Trust::Changed { was }, .. }] if *was == ben),
        "{:?}",
        gists(&events)
    );

    struct Directory(MemberId);
    impl IdentityCheck for Directory {
        fn check(&mut self, name: &str, id: &MemberId) -> Trust {
            if *id == self.0 { Trust::Known } else { Trust::Rejected { why: format!("{name} does not work here") } }
        }
    }
    let doubts = party.rooms[0].check_identities(Directory(ana));
    assert!(matches!(&doubts[..], [Event::Doubtful { trust: Trust::Rejected { .. }, .. }]));
}

#[test]
fn too_many_words_on_their_way_are_an_error_and_none_is_lost() {
    let mut party = Party::new(&[("ana", Host), ("ben", Listener)]);
    let mut sent = Vec::new();
    let refused = loop {
        match party.named("ana").say("anybody there?", None) {
            Ok((_, line)) => sent.push(line),
            Err(error) => break error,
        }
        assert!(sent.len() < 1_000);
    };
    assert!(matches!(refused, Error::Unusable { .. }), "{refused}");
    assert_eq!(sent.len(), 64);
    let ana = party.named("ana");
    ana.receive(&sent[0], NOW).unwrap();
    assert!(ana.say("there is room again", None).is_ok());
    for line in &sent[1..] {
        assert_eq!(gists(&ana.receive(line, NOW).unwrap()).len(), 1, "each comes back and is heard");
    }
}
