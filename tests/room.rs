//! What a room does, seen from outside: entering, leaving, the stage, races, bad input.

mod party;

use std::time::Duration;

use Role::{Host, Listener, Moderator, Speaker};
use parlor::{
    Card, Error, Event, Guest, Intent, KeyIdLayout, LeafIndex, MAX_NAME, Role, Room, Suite,
    room::{MAX_CARD, MAX_EPOCH_AGE, MAX_MESSAGE, MAX_TREE, Retried, Setting, Settings, TREE_APART},
};
use party::{NOW, Party, commit_of, enter, gists, guest, identity};

#[test]
fn rooms_and_guests_move_between_threads() {
    fn send<T: Send + Sync>() {}
    send::<Room>();
    send::<Guest>();
    send::<Card>();
    send::<Event>();
    send::<Error>();
}

#[test]
fn what_is_secret_is_not_printed() {
    let (room, _) = Room::create(identity("ana"), Settings::default()).unwrap();
    let printed = format!("{room:?} {:?} {:?}", guest("ben"), guest("eve").card());
    for word in ["secret", "private", "signer", "SignatureKeyPair", "provider", "bytes"] {
        assert!(!printed.contains(word), "{printed}");
    }
}

#[test]
fn a_room_begins_with_its_host_alone() {
    let settings = Settings::default().with_suite(Suite::Aes128Gcm).with_title("the attic").unwrap();
    let (room, _) = Room::create(identity("ana"), settings.clone()).unwrap();
    assert_eq!(room.epoch(), 0);
    assert_eq!(room.settings(), &settings);
    assert!(room.is_open());
    let me = room.me().unwrap();
    assert_eq!((me.name.as_str(), me.role, me.leaf), ("ana", Host, LeafIndex(0)));
    assert_eq!(room.roster().len(), 1);
}

#[test]
fn a_guest_is_admitted_and_enters() {
    let (mut ana, _) = Room::create(identity("ana"), Settings::default()).unwrap();
    let ben = guest("ben");
    let before = ana.code();
    let admission = ana.admit(ben.card(), Listener).unwrap();
    assert_eq!((ana.epoch(), ana.code(), ana.roster().len()), (0, before, 1), "a command changes nothing");

    let ben_id = ben.card().id();
    let events = ana.receive(&admission.commit, NOW).unwrap();
    assert_eq!(gists(&events), ["rekeyed 1", "joined"]);
    assert!(
        matches!(events[1], Event::Joined { member, by, link: None } if member == ben_id && by == ana.me().unwrap().id)
    );
    let (ben, _) = ben.enter(&admission.welcome).unwrap();
    assert_eq!(ana.code(), ben.code());
    assert_ne!(ana.code(), before);
    assert_eq!(ben.me().unwrap().role, Listener);
    assert!(ana.roster().eq(ben.roster()));
}

#[test]
fn several_are_admitted_by_one_commit_and_one_welcome() {
    let mut party = Party::new(&[("ana", Host)]);
    party.admit(0, vec![(guest("ben"), Speaker), (guest("eve"), Listener), (guest("mo"), Moderator)]);
    assert_eq!(party.rooms[0].epoch(), 1);
    assert_eq!(party.names(), ["ana host", "ben speaker", "eve listener", "mo moderator"]);
}

#[test]
fn listeners_are_admitted_without_an_update_path() {
    let mut party = Party::new(&[("ana", Host)]);
    let few = party.admit(0, (0..20).map(|i| (guest(&format!("g{i}")), Listener)).collect());
    let size = party.rooms[0].admit(guest("ben").card(), Listener).unwrap().commit.len();
    party.rooms[0].abandon();
    let path = party.rooms[0].refresh().unwrap().len();
    assert!(size < 700 && path > 3 * size, "{size} bytes without a path, {path} with one; {}", few.commit.len());
}

#[test]
fn the_roles_move_to_the_stage_and_off_it() {
    let mut party = Party::new(&[("ana", Host), ("ben", Listener), ("mo", Moderator)]);
    let ben = party.id("ben");

    let commit = party.named("mo").set_role(&ben, Speaker).unwrap();
    for events in party.deliver(&commit) {
        assert_eq!(gists(&events), ["rekeyed 2", "was listener"]);
    }
    party.check();
    assert_eq!(party.names(), ["ana host", "ben speaker", "mo moderator"]);

    // Ben steps down by himself.
    let commit = party.named("ben").set_role(&ben, Listener).unwrap();
    for events in party.deliver(&commit) {
        assert!(matches!(events[1], Event::RoleChanged { member, by, from: Speaker } if member == ben && by == ben));
    }
    party.check();
    assert_eq!(party.names(), ["ana host", "ben listener", "mo moderator"]);
}

#[test]
fn a_command_beyond_ones_role_is_denied_and_leaves_the_room_usable() {
    let mut party = Party::new(&[("ana", Host), ("ben", Speaker), ("mo", Moderator)]);
    let (ana, ben, mo) = (party.id("ana"), party.id("ben"), party.id("mo"));
    let stranger = guest("zed");
    let denied = |result: Result<Vec<u8>, Error>, who: &str| match result {
        Err(Error::Denied(denial)) => assert_eq!(denial.actor, who),
        other => panic!("{other:?}"),
    };
    denied(party.named("ben").admit(stranger.card(), Listener).map(|a| a.commit), "ben");
    denied(party.named("ben").remove(&mo), "ben");
    denied(party.named("ben").set_role(&ben, Moderator), "ben");
    denied(party.named("ben").set_title("mine"), "ben");
    denied(party.named("mo").remove(&ana), "mo");
    denied(party.named("mo").admit(stranger.card(), Moderator).map(|a| a.commit), "mo");
    denied(party.named("mo").set_role(&ben, Host), "mo");
    denied(party.named("mo").set_title("mine"), "mo");
    denied(party.named("ana").set_role(&ana, Listener), "ana");
    denied(party.named("ana").remove(&ana), "ana");

    for name in ["ana", "ben", "mo"] {
        let commit = party.named(name).refresh().unwrap();
        party.deliver(&commit);
        party.check();
    }
}

#[test]
fn a_host_gives_the_room_another_title() {
    let mut party = Party::new(&[("ana", Host), ("ben", Listener)]);
    let commit = party.named("ana").set_title("the cellar").unwrap();
    for events in party.deliver(&commit) {
        assert_eq!(gists(&events), ["rekeyed 2", "the title is \"the cellar\""]);
    }
    party.check();
    assert_eq!(party.rooms[1].settings().title(), "the cellar");
    assert!(party.named("ana").set_title("a\u{7}").is_err());
}

#[test]
fn a_refresh_changes_keys_and_nothing_else() {
    let mut party = Party::new(&[("ana", Host), ("ben", Listener)]);
    let before = (party.names(), party.rooms[0].code());
    let commit = party.named("ben").refresh().unwrap();
    for events in party.deliver(&commit) {
        assert_eq!(gists(&events), ["rekeyed 2", "refreshed"]);
    }
    party.check();
    assert_eq!(party.names(), before.0);
    assert_ne!(party.rooms[0].code(), before.1);
}

#[test]
fn the_longest_name_is_admitted_and_refreshes_its_keys() {
    let (ana, ben) = ("a".repeat(MAX_NAME), "\u{1F3A7}".repeat(MAX_NAME / 4));
    let mut party = Party::new(&[(&ana, Host), (&ben, Listener)]);
    for name in [&ana, &ben] {
        let commit = party.named(name).refresh().unwrap();
        for events in party.deliver(&commit) {
            assert!(matches!(events[..], [Event::Rekeyed(_), Event::Refreshed { .. }]), "{:?}", gists(&events));
        }
    }
    party.check();
}

#[test]
fn a_refresh_falls_due_when_the_epoch_is_five_minutes_old() {
    let mut party = Party::new(&[("ana", Host), ("ben", Listener)]);
    let commit = party.named("ana").refresh().unwrap();
    party.deliver(&commit);
    let ana = party.named("ana");
    assert!(!ana.refresh_due(NOW + MAX_EPOCH_AGE - Duration::from_nanos(1)));
    assert!(ana.refresh_due(NOW + MAX_EPOCH_AGE));
    assert!(!ana.refresh_due(Duration::ZERO), "a clock that runs back does no harm");
}

#[test]
fn a_removed_member_is_out_and_the_others_go_on() {
    let mut party = Party::new(&[("ana", Host), ("ben", Speaker), ("eve", Listener)]);
    let (ana, ben) = (party.id("ana"), party.id("ben"));
    let commit = party.named("ana").remove(&ben).unwrap();
    let all = party.deliver(&commit);
    assert_eq!(gists(&all[0]), ["rekeyed 2", "removed ben"]);
    assert!(matches!(all[1][..], [Event::Closed { by, asked: false }] if by == ana));
    party.check();
    assert_eq!(party.names(), ["ana host", "eve listener"]);

    let out = &mut party.rooms[1];
    assert!(!out.is_open());
    assert!(out.me().is_none());
    assert!(matches!(out.refresh(), Err(Error::Closed { epoch: 1 })));
    assert!(matches!(out.leave(), Err(Error::Closed { .. })));
    assert!(out.abandon().is_none());
    let next = party.rooms[0].refresh().unwrap();
    assert!(matches!(party.rooms[1].receive(&next, NOW), Err(Error::Closed { .. })));
    party.deliver(&next);
    party.check();
}

#[test]
fn several_are_removed_by_one_commit() {
    let mut party = Party::new(&[("ana", Host), ("ben", Speaker), ("eve", Listener), ("mo", Moderator)]);
    let ids = [party.id("ben"), party.id("eve")];
    let commit = party.named("mo").remove_all(&ids).unwrap();
    let all = party.deliver(&commit);
    assert_eq!(gists(&all[0]), ["rekeyed 2", "removed ben", "removed eve"]);
    party.check();
    assert_eq!(party.names(), ["ana host", "mo moderator"]);
}

#[test]
fn everybody_is_told_in_the_same_order() {
    let mut party = Party::new(&[("ana", Host), ("mo", Moderator)]);
    party.admit(0, (0..9).map(|i| (guest(&format!("g{i}")), Listener)).collect());
    let ids: Vec<_> = (0..9).rev().map(|i| party.id(&format!("g{i}"))).collect();
    let commit = party.named("mo").remove_all(&ids).unwrap();
    let all = party.deliver(&commit);
    let told: Vec<String> = (0..9).map(|i| format!("removed g{i}")).collect();
    for events in &all[..2] {
        assert_eq!(gists(events)[1..], told);
    }
}

#[test]
fn somebody_who_was_removed_comes_back_with_a_fresh_card() {
    let mut party = Party::new(&[("ana", Host), ("ben", Speaker)]);
    let ben = party.id("ben");
    let commit = party.named("ana").remove(&ben).unwrap();
    party.deliver(&commit);
    party.admit(0, vec![(guest("ben"), Listener)]);
    assert_eq!(party.names(), ["ana host", "ben listener"]);
}

#[test]
fn who_asks_to_leave_is_let_out_and_is_said_to_have_left() {
    let mut party = Party::new(&[("ana", Host), ("ben", Speaker), ("eve", Listener)]);
    let ben = party.id("ben");
    let request = party.named("ben").leave().unwrap();
    let all = party.deliver(&request);
    for events in all {
        assert!(matches!(events[..], [Event::WantsToLeave { member }] if member == ben), "one's own word counts too");
    }

    let commit = party.named("ana").remove(&ben).unwrap();
    let all = party.deliver(&commit);
    assert_eq!(gists(&all[0]), ["rekeyed 2", "left ben"]);
    assert_eq!(gists(&all[1]), ["closed, asked: true"]);
    party.check();
}

#[test]
fn a_request_to_leave_that_a_commit_overtook_still_counts() {
    let mut party = Party::new(&[("ana", Host), ("ben", Speaker), ("eve", Listener)]);
    let request = party.named("ben").leave().unwrap();
    for _ in 0..2 {
        let commit = party.named("eve").refresh().unwrap();
        party.deliver(&commit);
    }
    assert_eq!(gists(&party.rooms[0].receive(&request, NOW).unwrap()), ["wants to leave"]);
    assert_eq!(gists(&party.rooms[1].receive(&request, NOW).unwrap()), ["wants to leave"]);
    assert!(party.rooms[1].receive(&request, NOW).unwrap().is_empty(), "an echo is heard once");
}

#[test]
fn a_request_to_leave_is_not_taken_for_one_of_the_next_at_that_leaf() {
    let mut party = Party::new(&[("ana", Host), ("ben", Speaker), ("eve", Listener)]);
    let request = party.named("ben").leave().unwrap();
    let ben = party.id("ben");
    let commit = party.named("ana").remove(&ben).unwrap();
    party.deliver(&commit);
    party.admit(0, vec![(guest("zed"), Listener)]);
    assert_eq!(party.rooms[0].roster().nth(1).unwrap().name, "zed");
    let error = party.rooms[0].receive(&request, NOW).unwrap_err();
    assert!(error.to_string().contains("whom it names is not in the room"), "{error}");
    assert!(party.rooms[2].receive(&request, NOW).is_err());
}

#[test]
fn the_loser_of_a_race_is_told_and_retries() {
    let mut party = Party::new(&[("ana", Host), ("mo", Moderator), ("ben", Listener)]);
    let (ben, mo) = (party.id("ben"), party.id("mo"));
    let zed = guest("zed");
    let first = party.named("mo").set_role(&ben, Speaker).unwrap();
    let second = party.named("ana").admit(zed.card(), Listener).unwrap();
    assert!(matches!(party.named("ana").refresh(), Err(Error::CommitPending { epoch: 1 })));

    let all = party.deliver(&first);
    assert_eq!(gists(&all[0]), ["rekeyed 2", "superseded", "was listener"]);
    let Event::Superseded { by, intent } = &all[0][1] else { panic!() };
    assert_eq!(*by, mo);
    assert_eq!(*intent, Intent::Admit(vec![(zed.card().clone(), Listener)]));
    party.check();

    // The losing commit is late for everybody, and no trouble to its maker.
    assert!(party.named("ana").receive(&second.commit, NOW).unwrap().is_empty());
    assert!(matches!(
        party.named("ben").receive(&second.commit, NOW),
        Err(Error::WrongEpoch { message: 1, room: 2, .. })
    ));
    party.check();

    let Retried::Admission(again) = party.named("ana").retry(intent).unwrap() else { panic!() };
    party.deliver(&again.commit);
    // The welcome of the lost commit is worth nothing: it is sent only once the room has taken its commit.
    let (room, voice) = zed.enter(&again.welcome).unwrap();
    party.rooms.push(room);
    party.voices.push(voice);
    party.check();
}

#[test]
fn what_others_have_done_already_is_not_done_again() {
    let mut party = Party::new(&[("ana", Host), ("mo", Moderator), ("ben", Listener), ("eve", Listener)]);
    let (ben, eve) = (party.id("ben"), party.id("eve"));
    let first = party.named("mo").remove(&ben).unwrap();
    party.named("ana").remove_all(&[ben, eve]).unwrap();
    let all = party.deliver(&first);
    let Event::Superseded { intent, .. } = &all[0][1] else { panic!() };
    let again = commit_of(party.named("ana").retry(intent).unwrap());
    party.deliver(&again);
    party.check();
    assert_eq!(party.names(), ["ana host", "mo moderator"]);

    let ana = party.named("ana");
    assert_eq!(ana.retry(&Intent::Remove(vec![ben])).unwrap(), Retried::Done);
    assert_eq!(ana.retry(&Intent::SetRole(ben, Speaker)).unwrap(), Retried::Done);
    assert_eq!(ana.retry(&Intent::Set(vec![Setting::Title(String::new())])).unwrap(), Retried::Done);
    assert!(!ana.is_pending());
}

#[test]
fn an_abandoned_commit_makes_way_for_another() {
    let mut party = Party::new(&[("ana", Host), ("ben", Listener)]);
    let dropped = party.named("ana").refresh().unwrap();
    assert_eq!(party.named("ana").abandon(), Some(Intent::Refresh));
    assert_eq!(party.named("ana").abandon(), None);
    let ben = party.id("ben");
    let commit = party.named("ana").set_role(&ben, Speaker).unwrap();
    // Its echo in the same epoch means that the others went on without her; later it means nothing.
    assert!(matches!(party.named("ana").receive(&dropped, NOW), Err(Error::Unusable { what: "Room::abandon", .. })));
    party.deliver(&commit);
    party.check();
    assert!(party.named("ana").receive(&dropped, NOW).unwrap().is_empty());
}

#[test]
fn messages_twice_out_of_order_or_of_another_room_change_nothing() {
    let mut party = Party::new(&[("ana", Host), ("ben", Listener), ("eve", Listener)]);
    let mut other = Party::new(&[("ana", Host), ("ben", Listener), ("eve", Listener)]);
    let foreign = other.named("ben").refresh().unwrap();
    let (first, second) = {
        let ben = party.named("ben");
        let first = ben.refresh().unwrap();
        ben.receive(&first, NOW).unwrap();
        let second = ben.refresh().unwrap();
        ben.receive(&second, NOW).unwrap();
        (first, second)
    };
    let eve = party.named("eve");
    assert!(matches!(eve.receive(&second, NOW), Err(Error::WrongEpoch { message: 2, room: 1, .. })));
    let error = eve.receive(&foreign, NOW).unwrap_err();
    assert!(matches!(error, Error::Unauthentic { epoch: 1, .. }));
    assert!(error.to_string().contains("another room"), "{error}");
    assert_eq!(gists(&eve.receive(&first, NOW).unwrap()), ["rekeyed 2", "refreshed"]);
    assert!(matches!(eve.receive(&first, NOW), Err(Error::WrongEpoch { message: 1, room: 2, .. })));
    eve.receive(&second, NOW).unwrap();
    let ana = party.named("ana");
    ana.receive(&first, NOW).unwrap();
    ana.receive(&second, NOW).unwrap();
    party.check();
}

#[test]
fn damaged_messages_are_refused_and_change_nothing() {
    let mut party = Party::new(&[("ana", Host), ("ben", Listener)]);
    let commit = party.named("ana").refresh().unwrap();
    let before = party.rooms[1].code();
    let ben = &mut party.rooms[1];
    for len in 0..commit.len() {
        assert!(ben.receive(&commit[..len], NOW).is_err(), "cut to {len}");
    }
    for at in 0..commit.len() {
        let mut bad = commit.clone();
        bad[at] ^= 0x20;
        assert!(ben.receive(&bad, NOW).is_err(), "byte {at}");
    }
    let huge = vec![0; MAX_MESSAGE + 1];
    assert!(matches!(ben.receive(&huge, NOW), Err(Error::TooLarge { limit: MAX_MESSAGE, .. })));
    assert_eq!((ben.epoch(), ben.code()), (1, before));
    party.deliver(&commit);
    party.check();
}

#[test]
fn a_damaged_echo_of_ones_own_commit_is_refused_and_the_true_one_still_counts() {
    let mut party = Party::new(&[("ana", Host), ("ben", Listener)]);
    let commit = party.named("ana").refresh().unwrap();
    for at in 0..commit.len() {
        let mut bad = commit.clone();
        bad[at] ^= 0x20;
        assert!(party.rooms[0].receive(&bad, NOW).is_err(), "byte {at}");
        assert!(party.rooms[0].is_pending());
    }
    for events in party.deliver(&commit) {
        assert_eq!(gists(&events), ["rekeyed 2", "refreshed"]);
    }
    party.check();
}

#[test]
fn a_commit_and_the_removal_of_its_maker_race_and_the_first_wins_for_all() {
    let mut party = Party::new(&[("ana", Host), ("mo", Moderator), ("ben", Listener)]);
    let mo = party.id("mo");
    let (refresh, removal) = (party.named("mo").refresh().unwrap(), party.named("ana").remove(&mo).unwrap());
    // Mo's comes first: Ana is told and tries again.
    let all = party.deliver(&refresh);
    let Event::Superseded { intent, .. } = &all[0][1] else { panic!("{:?}", gists(&all[0])) };
    assert!(matches!(party.named("mo").receive(&removal, NOW), Err(Error::WrongEpoch { .. })));
    // The removal comes first: Mo is out, whatever was on its way.
    let removal = commit_of(party.named("ana").retry(intent).unwrap());
    let refresh = party.named("mo").refresh().unwrap();
    assert_eq!(gists(&party.deliver(&removal)[1]), ["closed, asked: false"]);
    assert!(!party.rooms[1].is_pending());
    for room in &mut party.rooms {
        assert!(matches!(room.receive(&refresh, NOW), Err(Error::Closed { .. } | Error::WrongEpoch { .. })));
    }
    party.check();
}

#[test]
fn a_welcome_for_somebody_else_leaves_the_guest_as_it_was() {
    let mut party = Party::new(&[("ana", Host)]);
    let (ben, eve) = (guest("ben"), guest("eve"));
    let for_ben = party.rooms[0].admit(ben.card(), Listener).unwrap();
    party.deliver(&for_ben.commit);
    let failed = eve.enter(&for_ben.welcome).unwrap_err();
    assert!(failed.to_string().contains("somebody else"), "{failed}");
    assert!(matches!(failed.error, Error::Malformed { .. }));

    let for_eve = party.rooms[0].admit(failed.guest.card(), Listener).unwrap();
    party.deliver(&for_eve.commit);
    let (eve, _) = failed.guest.enter(&for_eve.welcome).unwrap();
    assert_eq!(eve.code(), party.rooms[0].code());
}

#[test]
fn a_damaged_welcome_leaves_the_guest_as_it_was() {
    let mut party = Party::new(&[("ana", Host)]);
    let mut ben = guest("ben");
    let admission = party.rooms[0].admit(ben.card(), Listener).unwrap();
    party.deliver(&admission.commit);
    let welcome = &admission.welcome;
    let cuts = (0..welcome.len()).step_by(37).map(|len| welcome[..len].to_vec());
    let flips = (0..welcome.len()).step_by(11).map(|at| {
        let mut bad = welcome.clone();
        bad[at] ^= 1;
        bad
    });
    let others = [vec![0; MAX_MESSAGE + 1], admission.commit.clone(), ben.card().as_bytes().to_vec()];
    for bad in cuts.chain(flips).chain(others).collect::<Vec<_>>() {
        ben = *ben.enter(&bad).unwrap_err().guest;
    }
    let (ben, _) = ben.enter(welcome).unwrap();
    assert_eq!(ben.code(), party.rooms[0].code());
}

#[test]
fn a_card_is_read_whole_or_refused() {
    let ben = guest("ben");
    let card = ben.card();
    let read = Card::from_bytes(card.as_bytes()).unwrap();
    assert_eq!((&read, read.name(), read.id()), (card, "ben", card.id()));
    assert_eq!(read.fingerprint(), card.id().fingerprint());
    for len in 0..card.as_bytes().len() {
        assert!(Card::from_bytes(&card.as_bytes()[..len]).is_err(), "cut to {len}");
    }
    for at in 0..card.as_bytes().len() {
        let mut bad = card.as_bytes().to_vec();
        bad[at] ^= 1;
        assert!(Card::from_bytes(&bad).is_err(), "byte {at}");
    }
    assert!(matches!(Card::from_bytes(&[0; MAX_CARD + 1]), Err(Error::TooLarge { limit: MAX_CARD, .. })));
    let spare = [card.as_bytes(), &[0]].concat();
    assert!(Card::from_bytes(&spare).is_err());
}

#[test]
fn nobody_is_admitted_twice() {
    let mut party = Party::new(&[("ana", Host)]);
    let ben = guest("ben");
    let card = ben.card().clone();
    let twice = [(card.clone(), Listener), (card.clone(), Speaker)];
    assert!(matches!(party.rooms[0].admit_all(&twice), Err(Error::Denied(_))));
    party.admit(0, vec![(ben, Speaker)]);
    assert!(matches!(party.rooms[0].admit(&card, Listener), Err(Error::Denied(_))));
    assert!(matches!(party.rooms[0].admit_all(&[]), Err(Error::Unusable { .. })));
    assert!(!party.rooms[0].is_pending());
    assert_eq!(party.names(), ["ana host", "ben speaker"]);
}

#[test]
fn whoever_is_not_there_cannot_be_named() {
    let mut party = Party::new(&[("ana", Host)]);
    let nobody = identity("zed").id();
    assert!(matches!(party.rooms[0].remove(&nobody), Err(Error::NotAMember { epoch: 0, .. })));
    assert!(matches!(party.rooms[0].set_role(&nobody, Speaker), Err(Error::NotAMember { .. })));
    assert!(party.rooms[0].member(&nobody).is_none());
}

#[test]
fn a_room_takes_no_more_members_than_its_key_ids_can_name() {
    let layout = KeyIdLayout::new(2, 8).unwrap();
    let mut party = Party::with(
        &[("ana", Host), ("ben", Listener), ("eve", Listener), ("mo", Listener)],
        Settings::default().with_layout(layout),
    );
    let zed = guest("zed");
    assert!(matches!(party.rooms[0].admit(zed.card(), Listener), Err(Error::Denied(_))));
    let ben = party.id("ben");
    let commit = party.rooms[0].remove(&ben).unwrap();
    party.deliver(&commit);
    party.admit(0, vec![(zed, Listener)]);
    assert!(party.rooms[0].roster().all(|member| member.leaf.0 < 4));
}

#[test]
fn the_tree_of_a_big_room_travels_apart() {
    let mut party = Party::new(&[("ana", Host)]);
    let many = (0..TREE_APART).map(|i| (guest(&format!("g{i}")), Listener)).collect();
    let admission = party.admit(0, many);
    assert!(admission.tree.is_some());

    let ben = guest("ben");
    let small = party.rooms[0].admit(ben.card(), Listener).unwrap();
    party.deliver(&small.commit);
    assert!(small.welcome.len() < 1_000, "{} bytes", small.welcome.len());
    let tree = small.tree.clone().unwrap();
    let names_a_member = tree.windows(3).any(|bytes| bytes == b"g17");
    assert!(!names_a_member, "the relay reads no names in it");

    let failed = ben.enter(&small.welcome).unwrap_err();
    assert!(failed.to_string().contains("enter_with_tree"), "{failed}");
    let mut ben = *failed.guest;
    let mut flipped = tree.clone();
    flipped[1000] ^= 1;
    let old = admission.tree.unwrap();
    for bad in [&tree[..tree.len() - 1], &flipped, &old, &[], &vec![1; MAX_TREE + 1]] {
        let failed = ben.enter_with_tree(&small.welcome, bad).unwrap_err();
        assert!(matches!(failed.error, Error::Malformed { .. } | Error::TooLarge { .. }), "{}", failed.error);
        ben = *failed.guest;
    }
    let (ben, _) = ben.enter_with_tree(&small.welcome, &tree).unwrap();
    assert_eq!(ben.code(), party.rooms[0].code());
    assert_eq!(ben.roster().len(), TREE_APART + 2);
}

#[test]
fn a_tree_that_nobody_sent_apart_is_not_asked_for() {
    let mut party = Party::new(&[("ana", Host)]);
    let ben = guest("ben");
    let admission = party.rooms[0].admit(ben.card(), Listener).unwrap();
    assert!(admission.tree.is_none());
    let failed = ben.enter_with_tree(&admission.welcome, &[1, 2, 3]).unwrap_err();
    assert!(matches!(failed.error, Error::Unusable { .. }));
    party.deliver(&admission.commit);
    enter(*failed.guest, &admission).unwrap();
}

#[test]
fn a_late_joiner_follows_from_there() {
    let mut party = Party::new(&[("ana", Host), ("ben", Speaker)]);
    for _ in 0..5 {
        let commit = party.named("ben").refresh().unwrap();
        party.deliver(&commit);
    }
    party.admit(0, vec![(guest("eve"), Listener)]);
    let commit = party.named("eve").refresh().unwrap();
    party.deliver(&commit);
    party.check();
    assert_eq!(party.rooms[2].epoch(), 8);
}
