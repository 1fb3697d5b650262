//! Coming back: who has lost their keys, kept old ones, or cannot follow is in the room again after one round trip, as who
//! they were; and nobody is thrown out by it who did not ask.

mod party;

use std::time::{Duration, SystemTime};

use openmls::prelude::LeafNodeIndex;
use parlor::{
    Admission, Card, Error, Event, Guest, Identity, Intent, MemberId, Role, Room, Settings, Voice,
    room::{
        Entry, REQUEST_LEN, RequestId, Retried, Returning, Setting, Ticket,
        door::{GATHERING, Terms, UnixTime},
    },
};
use party::{
    NOW, Party, gists, guest, identity,
    mal::{Bare, Mal, add, remove},
};

/// Later than any that this machine's clock reads, by which cards are dated.
const WALL: UnixTime = UnixTime(4_102_444_800);

fn today() -> UnixTime {
    SystemTime::now().into()
}

/// Ana, host, at 0; mo, moderator, at 1; sue, speaker, at 2; lea, listener, at 3.
fn evening() -> Party {
    let names = [("ana", Role::Host), ("mo", Role::Moderator), ("sue", Role::Speaker), ("lea", Role::Listener)];
    let mut party = Party::new(&names);
    // The voices come along from here on.
    let refresh = party.rooms[0].refresh().unwrap();
    deliver(&mut party, &refresh);
    party
}

const ANA: usize = 0;
const MO: usize = 1;
const SUE: usize = 2;
const LEA: usize = 3;

/// Hands a message to everybody and what it brings to their voices; gives what people are told of it.
#[track_caller]
fn deliver(party: &mut Party, message: &[u8]) -> Vec<Vec<Event>> {
    deliver_at(party, message, NOW)
}

#[track_caller]
fn deliver_at(party: &mut Party, message: &[u8], now: Duration) -> Vec<Vec<Event>> {
    let rooms = party.rooms.iter_mut().zip(&mut party.voices).filter(|(room, _)| room.is_open());
    let told = rooms.map(|(room, voice)| {
        let events = room.receive(message, now).unwrap();
        events.into_iter().filter_map(|event| event.tell(voice).unwrap()).collect()
    });
    told.collect()
}

fn leave_party(party: &mut Party, at: usize) -> (Room, Voice) {
    (party.rooms.remove(at), party.voices.remove(at))
}

/// Who would bring whom back.
fn asked(told: &[Event]) -> Option<(Card, RequestId, Option<u64>)> {
    match told {
        [Event::AsksBack { card, request, stuck, .. }, ..] => Some(((**card).clone(), *request, *stuck)),
        [] => None,
        other => panic!("{:?}", gists(other)),
    }
}

/// Hands a request to everybody; gives which of them, in the party's order, could answer it.
fn askable(party: &mut Party, request: &[u8], now: Duration) -> Vec<usize> {
    let told = deliver_at(party, request, now);
    told.iter().enumerate().filter(|(_, told)| asked(told).is_some()).map(|(at, _)| at).collect()
}

#[track_caller]
fn came_back(told: &[Vec<Event>], id: MemberId, by: MemberId) {
    for told in told {
        assert!(
            matches!(told[..], [Event::CameBack { member, by: healer }, ..] if member == id && healer == by)
                && !told.iter().any(|event| matches!(event, Event::Joined { .. } | Event::Removed { .. })),
            "{:?}",
            gists(told)
        );
    }
}

/// Brings the owner of `card` back by the hand of who is at `by`.
#[track_caller]
fn bring_back(party: &mut Party, by: usize, card: &Card) -> Admission {
    let healer = party.rooms[by].me().unwrap().id;
    let admission = party.rooms[by].bring_back(card, WALL).unwrap();
    let told = deliver(party, &admission.commit);
    came_back(&told, card.id(), healer);
    admission
}

/// The one round trip: the request to everybody, the answer of who is at `by`.
#[track_caller]
fn round_trip(party: &mut Party, returning: Returning, request: &[u8], by: usize, now: Duration) {
    let told = deliver_at(party, request, now);
    let (card, id, _) = asked(&told[by]).unwrap();
    assert_eq!(id, returning.id());
    let admission = bring_back(party, by, &card);
    let (room, voice) = returning.enter(&admission.welcome, admission.tree.as_deref()).unwrap();
    party.rooms.push(room);
    party.voices.push(voice);
    party.check();
}

/// Everybody on stage is heard by everybody.
#[track_caller]
fn all_are_heard(party: &mut Party) {
    for from in 0..party.voices.len() {
        let me = party.rooms[from].me().unwrap().clone();
        if !me.role.on_stage() || me.muted_by.is_some() {
            continue;
        }
        let packet = party.voices[from].seal(b"hello").unwrap();
        for to in (0..party.voices.len()).filter(|to| *to != from) {
            assert_eq!(party.voices[to].open(&packet, NOW).unwrap().speaker, me.id);
        }
    }
}

fn member_but_leaf(party: &Party, id: &MemberId) -> (String, Role, Option<MemberId>) {
    let member = party.rooms[0].member(id).unwrap();
    (member.name.clone(), member.role, member.muted_by)
}

#[test]
fn who_has_nothing_left_but_their_identity_and_a_ticket_comes_back_in_one_round_trip() {
    for (lost, healer) in [(SUE, ANA), (SUE, MO), (LEA, MO), (MO, ANA)] {
        let mut party = evening();
        let ticket = party.rooms[lost].ticket().unwrap().to_bytes();
        let (room, _) = leave_party(&mut party, lost);
        let id = room.me().unwrap().id;
        let before = member_but_leaf(&party, &id);
        party.voices[0].mute(&id);
        let ticket = Ticket::from_bytes(&ticket).unwrap();
        let (returning, request) = Returning::with_ticket(room.into_identity(), &ticket, WALL).unwrap();
        assert!(returning.room().is_none());
        round_trip(&mut party, returning, &request, healer, NOW);
        assert_eq!(member_but_leaf(&party, &id), before);
        if before.1.on_stage() {
            let last = party.voices.len() - 1;
            let packet = party.voices[last].seal(b"hello").unwrap();
            let muted = party.voices[0].open(&packet, NOW);
            assert!(matches!(muted, Err(Error::Muted { .. })), "muted at this ear as before: {muted:?}");
        }
        party.voices[0].unmute(&id);
        all_are_heard(&mut party);
        let refresh = party.rooms.last_mut().unwrap().refresh().unwrap();
        deliver(&mut party, &refresh);
        party.check();
    }
}

#[test]
fn who_kept_keys_of_twenty_epochs_ago_comes_back_with_what_they_remember() {
    let mut party = evening();
    let (said, line) = party.rooms[SUE].say("before", None).unwrap();
    deliver(&mut party, &line);
    let (mut stale, _) = leave_party(&mut party, SUE);
    let mut last = Vec::new();
    for _ in 0..20 {
        last = party.rooms[0].refresh().unwrap();
        deliver(&mut party, &last);
    }
    assert!(matches!(stale.receive(&last, NOW), Err(Error::WrongEpoch { .. })));
    let epoch = stale.epoch();
    let (returning, request) = stale.come_back(NOW, WALL).unwrap();
    assert_eq!(returning.room().unwrap().message(&said).unwrap().text(), "before");
    round_trip(&mut party, returning, &request, MO, NOW);
    let room = party.rooms.last().unwrap();
    assert_eq!((room.epoch(), room.message(&said).unwrap().text()), (epoch + 21, "before"));
    all_are_heard(&mut party);
}

#[test]
fn who_gives_up_has_the_room_they_had() {
    let mut party = evening();
    let (stale, _) = leave_party(&mut party, SUE);
    let code = stale.code();
    let (returning, _) = stale.come_back(NOW, WALL).unwrap();
    let mut room = returning.give_up().unwrap();
    let refresh = party.rooms[0].refresh().unwrap();
    assert!(room.code() == code && room.receive(&refresh, NOW).is_ok());
    // Nor is it lost if there is nobody to ask.
    let (alone, _) = Room::create(identity("zoe"), Settings::default()).unwrap();
    let failed = alone.come_back(NOW, WALL).unwrap_err();
    assert!(failed.room.is_open(), "{failed}");
    let failed = room.come_back(NOW, UnixTime(0)).unwrap_err();
    assert!(failed.to_string().contains("set the clock"), "{failed}");
}

/// Ana, host, at leaf 0; mo, moderator, at 1; bo and eve; mal at 4; and sue and lea, to whom mal's commits have something
/// for each alone. Their rooms are at 4 and 5.
fn with_mal(role: Role) -> (Party, Mal) {
    let names = [("ana", Role::Host), ("mo", Role::Moderator), ("bo", Role::Listener), ("eve", Role::Listener)];
    let mut party = Party::new(&names);
    let client = Bare::new("mal");
    let admission = party.rooms[0].admit(&client.card(), role).unwrap();
    deliver(&mut party, &admission.commit);
    let mut mal = client.enter(&admission);
    let guests = [("sue", Role::Speaker), ("lea", Role::Listener)].map(|(name, role)| (guest(name), role));
    let cards: Vec<_> = guests.iter().map(|(guest, role)| (guest.card().clone(), *role)).collect();
    let admission = party.rooms[0].admit_all(&cards).unwrap();
    deliver(&mut party, &admission.commit);
    mal.follow(&admission.commit);
    for (guest, _) in guests {
        let (room, voice) = guest.enter(&admission.welcome).unwrap();
        party.rooms.push(room);
        party.voices.push(voice);
    }
    (party, mal)
}

const SUE_BY_MAL: usize = 4;
const LEA_BY_MAL: usize = 5;

fn leaf_of(party: &Party, name: &str) -> LeafNodeIndex {
    LeafNodeIndex::new(party.rooms[0].member(&party.id(name)).unwrap().leaf.0)
}

#[test]
fn who_cannot_read_a_commit_is_told_and_is_back_after_one_round_trip_and_whose_it_was_is_named() {
    let (mut party, mut mal) = with_mal(Role::Host);
    let commit = mal.refresh_but_for(&["sue", "lea"].map(|name| leaf_of(&party, name)));
    let mal = mal.client.id();
    let epoch = party.rooms[0].epoch();
    let told = deliver(&mut party, &commit);
    for (at, told) in told.iter().enumerate() {
        match told[..] {
            [Event::Stuck { epoch: of, by }] => {
                assert!(of == epoch && by == Some(mal) && [SUE_BY_MAL, LEA_BY_MAL].contains(&at));
            }
            [Event::Refreshed { member }] => assert!(member == mal && ![SUE_BY_MAL, LEA_BY_MAL].contains(&at)),
            _ => panic!("{at}: {:?}", gists(told)),
        }
    }
    assert_eq!(party.rooms[SUE_BY_MAL].epoch(), epoch);
    let (lea, _) = leave_party(&mut party, LEA_BY_MAL);
    let (sue, _) = leave_party(&mut party, SUE_BY_MAL);

    let (returning, request) = sue.come_back(NOW, WALL).unwrap();
    let told = deliver(&mut party, &request);
    for told in &told[..MO + 1] {
        let [Event::AsksBack { stuck, .. }] = told[..] else { panic!("one may lie: {:?}", gists(told)) };
        assert_eq!(stuck, Some(epoch));
    }
    let (card, ..) = asked(&told[MO]).unwrap();
    let admission = bring_back(&mut party, MO, &card);
    let (room, voice) = returning.enter(&admission.welcome, None).unwrap();
    party.rooms.push(room);
    party.voices.push(voice);
    all_are_heard(&mut party);

    let (returning, request) = lea.come_back(NOW, WALL).unwrap();
    let told = deliver(&mut party, &request);
    for told in &told[..MO + 1] {
        let [Event::AsksBack { .. }, Event::FailingCommits { by, epoch: of, reports: 2 }] = told[..] else {
            panic!("{:?}", gists(told))
        };
        assert_eq!((by, of), (mal, epoch));
    }
    let (card, ..) = asked(&told[ANA]).unwrap();
    let admission = bring_back(&mut party, ANA, &card);
    let (room, voice) = returning.enter(&admission.welcome, None).unwrap();
    party.rooms.push(room);
    party.voices.push(voice);
    all_are_heard(&mut party);
}

#[test]
fn a_broken_commit_that_the_others_refuse_leaves_nobody_behind() {
    let (mut party, mut mal) = with_mal(Role::Listener);
    let broken = mal.refresh_but_for(&[leaf_of(&party, "sue")]);
    // Another's commit comes first.
    let refresh = party.rooms[0].refresh().unwrap();
    let told = party.rooms[SUE_BY_MAL].receive(&broken, NOW).unwrap();
    assert!(matches!(told[..], [Event::Stuck { .. }]));
    deliver(&mut party, &refresh);
    let codes: Vec<_> = party.rooms.iter().map(Room::code).collect();
    assert!(codes.iter().all(|code| *code == codes[0]));
    // She is stuck no more, and does not say that she is.
    let (sue, _) = leave_party(&mut party, SUE_BY_MAL);
    let (_, request) = sue.come_back(NOW, WALL).unwrap();
    assert_eq!(asked(&deliver(&mut party, &request)[0]).unwrap().2, None);
}

#[test]
fn the_only_host_comes_back_by_a_listeners_commit_where_nobody_else_is_in_charge() {
    let mut party = Party::new(&[("ana", Role::Host), ("sue", Role::Speaker), ("lea", Role::Listener)]);
    let (ana, _) = leave_party(&mut party, 0);
    let id = ana.me().unwrap().id;
    let another = Guest::new(identity("ana")).unwrap();
    assert!(matches!(party.rooms[1].bring_back(another.card(), WALL), Err(Error::NotAMember { .. })), "another ana");
    let (returning, request) = ana.come_back(NOW, WALL).unwrap();
    round_trip(&mut party, returning, &request, 1, NOW);
    assert_eq!(party.rooms[0].member(&id).unwrap().role, Role::Host);
    all_are_heard(&mut party);
    let host = party.rooms.last_mut().unwrap();
    let commit = host.set_title("the back room").unwrap();
    deliver(&mut party, &commit);
    party.check();
}

#[test]
fn a_request_is_heard_by_those_only_who_may_answer_it() {
    let mut party = evening();
    let (mo, _) = leave_party(&mut party, MO);
    let (_, request) = mo.come_back(NOW, WALL).unwrap();
    assert_eq!(askable(&mut party, &request, NOW), [ANA]);

    let mut party = evening();
    let (ana, _) = leave_party(&mut party, ANA);
    let (_, request) = ana.come_back(NOW, WALL).unwrap();
    assert_eq!(askable(&mut party, &request, NOW), [MO - 1], "by her word a moderator brings a host back");

    let mut party = evening();
    let lea = party.id("lea");
    let promote = party.rooms[ANA].set_role(&lea, Role::Moderator).unwrap();
    let stale = leave_party(&mut party, LEA).0;
    deliver(&mut party, &promote);
    let (_, request) = stale.come_back(NOW, WALL).unwrap();
    assert_eq!(askable(&mut party, &request, NOW), [ANA], "her word was a listener's");
}

#[test]
fn a_card_brings_a_listener_back_and_no_host_without_her_word() {
    let mut party = evening();
    // Each kept their identity, and nothing else.
    let again = |party: &mut Party, at: usize| {
        let (room, voice) = leave_party(party, at);
        (Guest::new(room.into_identity()).unwrap(), voice)
    };
    let (lea, _) = again(&mut party, LEA);
    let admission = bring_back(&mut party, MO, lea.card());
    let (room, voice) = lea.enter(&admission.welcome).unwrap();
    party.rooms.push(room);
    party.voices.push(voice);
    party.check();
    all_are_heard(&mut party);
    let (ana, _) = again(&mut party, ANA);
    let denied = party.rooms[0].bring_back(ana.card(), WALL).unwrap_err();
    assert!(denied.to_string().contains("does not prove that they ask"), "{denied}");
    let denied = party.rooms[2].bring_back(ana.card(), WALL).unwrap_err();
    assert!(denied.to_string().contains("for a host or a moderator"), "{denied}");
}

#[test]
fn what_is_no_return_is_refused_as_before() {
    let mut party = evening();
    let (room, _) = leave_party(&mut party, SUE);
    let secret = room.into_identity().secret();
    let card = |name: &str| Guest::new(Identity::from_secret(name, &secret).unwrap()).unwrap();
    let denied = party.rooms[0].admit(card("sue").card(), Role::Speaker).unwrap_err();
    assert!(denied.to_string().contains("in the room already"), "{denied}");
    let other = party.rooms[0].bring_back(card("susan").card(), WALL).unwrap_err();
    assert!(other.to_string().contains("another name"), "{other}");
    let back = card("sue");
    let used = back.card().clone();
    let admission = bring_back(&mut party, ANA, back.card());
    back.enter(&admission.welcome).unwrap();
    assert!(matches!(party.rooms[0].bring_back(&used, WALL), Err(Error::Unusable { .. })), "back by it already");
}

#[test]
fn an_old_card_and_an_old_request_count_for_nothing() {
    let mut party = Party::new(&[("ana", Role::Host), ("mo", Role::Moderator), ("lea", Role::Listener)]);
    let (ana, _) = leave_party(&mut party, 0);
    let (returning, request) = ana.come_back(NOW, WALL).unwrap();
    let card = returning.card().clone();
    round_trip(&mut party, returning, &request, 0, NOW);
    let later = NOW + Duration::from_secs(60);
    assert!(askable(&mut party, &request, later).is_empty(), "the relay says it again");
    assert!(matches!(party.rooms[0].bring_back(&card, WALL), Err(Error::Unusable { .. })), "she is in by it");
    // Once she has come back again, her first word is old.
    let (ana, _) = leave_party(&mut party, 2);
    let (returning, request) = ana.come_back(NOW, WALL.plus(9)).unwrap();
    round_trip(&mut party, returning, &request, 0, later);
    let denied = party.rooms[0].bring_back(&card, WALL).unwrap_err();
    assert!(denied.to_string().contains("before they had the keys"), "{denied}");
}

#[test]
fn a_word_is_noted_whoever_answered_it_and_goes_with_the_role() {
    let mut party = Party::new(&[("ana", Role::Host), ("bo", Role::Host), ("mo", Role::Moderator)]);
    let (ana, _) = leave_party(&mut party, 0);
    let id = ana.me().unwrap().id;
    let (returning, request) = ana.come_back(NOW, WALL).unwrap();
    let card = returning.card().clone();
    // Bo needs no word of hers, and mo has read it all the same.
    round_trip(&mut party, returning, &request, 0, NOW);
    // She has changed her keys since by another card, and mo shows her first one once more.
    let (ana, _) = leave_party(&mut party, 2);
    let (mut returning, _) = ana.come_back(NOW, WALL).unwrap();
    let request = returning.ask_again(WALL.plus(5)).unwrap();
    round_trip(&mut party, returning, &request, 0, NOW + Duration::from_secs(2));
    let denied = party.rooms[1].bring_back(&card, WALL).unwrap_err();
    assert!(denied.to_string().contains("before they had the keys"), "{denied}");
    let demote = party.rooms[0].set_role(&id, Role::Speaker).unwrap();
    deliver(&mut party, &demote);
    let promote = party.rooms[0].set_role(&id, Role::Host).unwrap();
    deliver(&mut party, &promote);
    let denied = party.rooms[1].bring_back(&card, WALL).unwrap_err();
    assert!(denied.to_string().contains("before they had the keys"), "{denied}");
}

#[test]
fn a_request_of_another_room_is_none_here() {
    let (mut here, mut there) = (evening(), evening());
    let (sue, _) = leave_party(&mut there, SUE);
    let (_, request) = sue.come_back(NOW, WALL).unwrap();
    for room in &mut here.rooms {
        let error = room.receive(&request, NOW).unwrap_err();
        assert!(error.to_string().contains("another room"), "{error}");
    }
}

#[test]
fn muted_stays_muted_by_whom_and_a_host_stays_the_eldest() {
    let mut party = evening();
    let (sue, ana) = (party.id("sue"), party.id("ana"));
    let mute = party.rooms[ANA].mute(&sue).unwrap();
    deliver(&mut party, &mute);
    let (room, _) = leave_party(&mut party, SUE);
    let (returning, request) = room.come_back(NOW, WALL).unwrap();
    round_trip(&mut party, returning, &request, MO, NOW);
    assert_eq!(member_but_leaf(&party, &sue), ("sue".into(), Role::Speaker, Some(ana)));
    for at in 0..party.rooms.len() {
        assert!(!party.rooms[at].is_mic_on(&sue), "{at}");
    }
    let last = party.voices.len() - 1;
    assert!(party.voices[last].seal(b"hello").is_err());
    let lift = party.rooms[ANA].lift_mute(&sue).unwrap();
    deliver(&mut party, &lift);
    let mic = party.rooms[last].set_mic(true).unwrap();
    deliver(&mut party, &mic);
    all_are_heard(&mut party);
}

#[test]
fn of_two_hosts_who_bring_the_same_member_back_one_does_and_the_other_is_done() {
    let mut party = evening();
    let (room, _) = leave_party(&mut party, SUE);
    let (returning, request) = room.come_back(NOW, WALL).unwrap();
    let told = deliver(&mut party, &request);
    let (card, ..) = asked(&told[ANA]).unwrap();
    let [won, lost] = [MO, ANA].map(|at| party.rooms[at].bring_back(&card, WALL).unwrap());
    let told = deliver(&mut party, &won.commit);
    let Some(Event::Superseded { intent, .. }) = told[ANA].iter().find(|e| matches!(e, Event::Superseded { .. }))
    else {
        panic!("{:?}", gists(&told[ANA]))
    };
    assert!(matches!(intent, Intent::BringBack(_)));
    let intent = intent.clone();
    assert_eq!(party.rooms[ANA].retry(&intent).unwrap(), Retried::Done);
    assert!(party.rooms[ANA].receive(&lost.commit, NOW).unwrap().is_empty());
    let (room, voice) = returning.enter(&won.welcome, None).unwrap();
    party.rooms.push(room);
    party.voices.push(voice);
    party.check();
    all_are_heard(&mut party);
    // She changes her keys since: it is done all the same.
    let refresh = party.rooms.last_mut().unwrap().refresh().unwrap();
    deliver(&mut party, &refresh);
    assert_eq!(party.rooms[ANA].retry(&intent).unwrap(), Retried::Done);
}

#[test]
fn of_the_old_leaf_nothing_is_heard_and_the_old_keys_open_nothing_new() {
    let mut party = evening();
    let (room, mut old) = leave_party(&mut party, SUE);
    let leaf = room.me().unwrap().leaf;
    let (returning, request) = room.come_back(NOW, WALL).unwrap();
    round_trip(&mut party, returning, &request, ANA, NOW);
    let packet = party.voices[ANA].seal(b"new").unwrap();
    assert!(old.open(&packet, NOW).is_err());
    // What she said before is heard for as long as anybody's of an epoch gone by; then no more.
    let packet = old.seal(b"old").unwrap();
    let late = NOW + Duration::from_secs(5);
    for voice in &mut party.voices {
        voice.expire(late);
        assert!(voice.open(&packet, late).is_err());
    }
    assert!(party.rooms[ANA].roster().any(|member| member.leaf == leaf), "leaves are handed on");
}

#[test]
fn words_of_the_old_leaf_are_not_taken_for_those_of_the_new_one() {
    let mut party = evening();
    let (mut room, _) = leave_party(&mut party, SUE);
    let old_word = room.set_mic(false).unwrap();
    let sue = room.me().unwrap().id;
    let (returning, request) = room.come_back(NOW, WALL).unwrap();
    round_trip(&mut party, returning, &request, ANA, NOW);
    for room in &mut party.rooms {
        // It comes an epoch late, which is in time for words of who sat there then.
        assert!(room.receive(&old_word, NOW).is_err(), "{room:?}");
        assert!(room.is_mic_on(&sue));
    }
}

#[test]
fn who_was_put_out_or_banned_meanwhile_is_not_brought_back() {
    let mut party = evening();
    let sue = party.id("sue");
    let (room, _) = leave_party(&mut party, SUE);
    let (returning, request) = room.come_back(NOW, WALL).unwrap();
    let out = party.rooms[ANA].remove(&sue).unwrap();
    deliver(&mut party, &out);
    assert!(askable(&mut party, &request, NOW).is_empty());
    assert!(matches!(party.rooms[ANA].bring_back(returning.card(), WALL), Err(Error::NotAMember { .. })));
    let ban = party.rooms[ANA].ban(&sue).unwrap();
    deliver(&mut party, &ban);
    assert!(askable(&mut party, &request, NOW).is_empty());
    let denied = party.rooms[ANA].admit(returning.card(), Role::Listener).unwrap_err();
    assert!(denied.to_string().contains("banned"), "{denied}");
}

#[test]
fn neither_a_lock_nor_a_full_room_keeps_a_member_out() {
    let mut party = evening();
    let settings = [Setting::Locked(true), Setting::Capacity(Some(2))];
    let commit = party.rooms[ANA].set_all(&settings).unwrap();
    deliver(&mut party, &commit);
    let (room, _) = leave_party(&mut party, SUE);
    let (returning, request) = room.come_back(NOW, WALL).unwrap();
    round_trip(&mut party, returning, &request, MO, NOW);
    all_are_heard(&mut party);
}

#[test]
fn who_is_in_the_room_and_knocks_comes_back_in_the_role_they_have() {
    let settings = Settings::default().with(Setting::Entry(Entry::Link)).unwrap();
    let names = [("ana", Role::Host), ("mo", Role::Moderator), ("sue", Role::Speaker), ("lea", Role::Listener)];
    let mut party = Party::with(&names, settings);
    let terms = Terms { role: Role::Listener, one_shot: true, expires: None };
    let (link, commit) = party.rooms[ANA].issue_link(terms).unwrap();
    deliver(&mut party, &commit);
    let lock = party.rooms[ANA].set(Setting::Locked(true)).unwrap();
    deliver(&mut party, &lock);
    let (room, _) = leave_party(&mut party, SUE);
    let (later, wall) = (NOW + Duration::from_secs(60), WALL.plus(60));
    let sue = room.me().unwrap().id;
    let plate = link.read_doorplate(&party.rooms[ANA].doorplate(&link).unwrap()).unwrap();
    let (waiting, knock) = Guest::new(room.into_identity()).unwrap().knock(&link, &plate, "", wall).unwrap();
    for at in [ANA, MO] {
        let told = party.rooms[at].knocked(&knock, later, wall).unwrap();
        assert!(matches!(told[..], [Event::Knocked { member, .. }] if member == sue), "{at}: {:?}", gists(&told));
        assert_eq!(party.rooms[at].open_door(later + GATHERING).unwrap(), None, "a person lets her in, or nobody");
    }
    let waits = party.rooms[MO].knocks().next().unwrap().id();
    party.rooms[MO].let_in(&waits, later).unwrap();
    let commit = party.rooms[MO].open_door(later + GATHERING).unwrap().unwrap();
    let healer = party.rooms[MO].me().unwrap().id;
    let told = deliver_at(&mut party, &commit, later);
    came_back(&told, sue, healer);
    let answered = told[MO].iter().find_map(|event| match event {
        Event::Answered { answers, tree } => Some((answers[0].bytes.clone(), tree.clone())),
        _ => None,
    });
    let (answer, tree) = answered.unwrap();
    let (room, voice) = waiting.enter(&answer, tree.as_deref()).unwrap();
    party.rooms.push(room);
    party.voices.push(voice);
    party.check();
    assert_eq!(party.rooms[0].member(&sue).unwrap().role, Role::Speaker);
    assert_eq!(party.rooms[0].links().len(), 1, "the link for one is for somebody else yet");
    all_are_heard(&mut party);
    // The other moderator has nothing to do any more, nor does the same knock do it again.
    assert_eq!(party.rooms[ANA].open_door(later + GATHERING).unwrap(), None);
    let again = party.rooms[ANA].knocked(&knock, later, wall);
    assert!(again.is_err());
}

#[test]
fn a_knock_of_a_members_from_before_they_came_in_is_nobodys_business() {
    let settings = Settings::default().with(Setting::Entry(Entry::Link)).unwrap();
    let mut party = Party::with(&[("ana", Role::Host), ("hal", Role::Host)], settings);
    let terms = Terms { role: Role::Listener, one_shot: false, expires: None };
    let (link, commit) = party.rooms[0].issue_link(terms).unwrap();
    deliver(&mut party, &commit);
    let plate = link.read_doorplate(&party.rooms[0].doorplate(&link).unwrap()).unwrap();
    let secret = identity("bo").secret();
    let bo = || Guest::new(Identity::from_secret("bo", &secret).unwrap()).unwrap();
    // He knocks twice: Ana sees the second, and the relay keeps the first for later.
    let (_, kept) = bo().knock(&link, &plate, "", WALL).unwrap();
    let (waiting, knock) = bo().knock(&link, &plate, "", WALL.plus(2)).unwrap();
    let at = |seconds| (NOW + Duration::from_secs(seconds), WALL.plus(seconds));
    let (now, wall) = at(2);
    assert!(party.rooms[0].knocked(&knock, now, wall).unwrap().is_empty());
    let (now, _) = at(3);
    let commit = party.rooms[0].open_door(now).unwrap().unwrap();
    let told = deliver_at(&mut party, &commit, now);
    let answer = told[0].iter().find_map(|event| match event {
        Event::Answered { answers, .. } => Some(answers[0].bytes.clone()),
        _ => None,
    });
    let tree = told[0].iter().find_map(|event| match event {
        Event::Answered { tree, .. } => tree.clone(),
        _ => None,
    });
    let (room, voice) = waiting.enter(&answer.unwrap(), tree.as_deref()).unwrap();
    party.rooms.push(room);
    party.voices.push(voice);
    for seconds in [3, 60, 600] {
        let (now, wall) = at(seconds);
        for host in 0..2 {
            let denied = party.rooms[host].knocked(&kept, now, wall).unwrap_err();
            let why = if seconds == 3 { "before they came in" } else { "it came before" };
            assert!(denied.to_string().contains(why), "{seconds}: {denied}");
        }
    }
    // One that he made since is for a person to answer.
    let (now, wall) = at(601);
    let (_, knock) = bo().knock(&link, &plate, "", wall).unwrap();
    let (now, wall) = (now + Duration::from_secs(1), wall.plus(1));
    let told = party.rooms[1].knocked(&knock, now, wall).unwrap();
    assert!(matches!(told[..], [Event::Knocked { .. }]), "{:?}", gists(&told));
}

#[test]
fn nobody_is_brought_back_by_a_word_that_is_old_or_of_days_to_come() {
    let mut party = evening();
    let (room, _) = leave_party(&mut party, SUE);
    let (returning, _) = room.come_back(NOW, WALL).unwrap();
    let card = returning.card().clone();
    let old = party.rooms[ANA].bring_back(&card, WALL.plus(15 * 60 + 1)).unwrap_err();
    assert!(old.to_string().contains("they asked 15 min 1 s ago by your clock"), "{old}");
    let early = party.rooms[ANA].bring_back(&card, UnixTime(WALL.0 - 5 * 60 - 1)).unwrap_err();
    assert!(early.to_string().contains("5 min 1 s ahead of your clock: theirs is ahead, or yours"), "{early}");
    for wall in [WALL.plus(15 * 60), UnixTime(WALL.0 - 5 * 60)] {
        party.rooms[ANA].bring_back(&card, wall).unwrap();
        party.rooms[ANA].abandon();
    }
}

#[test]
fn a_request_has_one_length_whoever_asks_in_whatever_room() {
    let mut lengths = Vec::new();
    for at in [ANA, MO, SUE, LEA] {
        let mut party = evening();
        let ticket = party.rooms[at].ticket().unwrap();
        let (room, _) = leave_party(&mut party, at);
        let (mut returning, request) = room.come_back(NOW, WALL).unwrap();
        lengths.push(request.len());
        lengths.push(returning.ask_again(WALL.plus(5)).unwrap().len());
        let (_, request) = Returning::with_ticket(returning.into_identity(), &ticket, WALL).unwrap();
        lengths.push(request.len());
    }
    let many: Vec<_> = (0..12).map(|n| (format!("host {n}"), Role::Host)).collect();
    let many: Vec<_> = many.iter().map(|(name, role)| (name.as_str(), *role)).collect();
    let mut party = Party::new(&many);
    let (_, request) = leave_party(&mut party, 0).0.come_back(NOW, WALL).unwrap();
    assert_eq!(askable(&mut party, &request, NOW).len(), 8);
    lengths.push(request.len());
    assert!(lengths.iter().all(|length| *length == REQUEST_LEN), "{lengths:?}");
}

#[test]
fn who_asks_again_is_answered_by_the_last_request_only() {
    let mut party = evening();
    let (room, _) = leave_party(&mut party, SUE);
    let (mut returning, first) = room.come_back(NOW, WALL).unwrap();
    let told = deliver(&mut party, &first);
    let (card, ..) = asked(&told[ANA]).unwrap();
    let second = returning.ask_again(WALL.plus(5)).unwrap();
    assert_eq!(returning.id(), RequestId::of(&second));
    let admission = bring_back(&mut party, ANA, &card);
    let failed = returning.enter(&admission.welcome, None).unwrap_err();
    let later = NOW + Duration::from_secs(2);
    round_trip(&mut party, *failed.returning, &second, ANA, later);
    all_are_heard(&mut party);
}

#[test]
fn an_answer_may_take_five_seconds_however_often_one_asks() {
    let mut party = evening();
    let (room, _) = leave_party(&mut party, SUE);
    let (mut returning, request) = room.come_back(NOW, WALL).unwrap();
    let told = deliver(&mut party, &request);
    let (card, ..) = asked(&told[ANA]).unwrap();
    for second in 1..5 {
        assert_eq!(returning.ask_again(WALL.plus(second)).unwrap(), request);
        assert!(askable(&mut party, &request, NOW + Duration::from_secs(second)).is_empty(), "it was heard");
    }
    let admission = bring_back(&mut party, ANA, &card);
    returning.enter(&admission.welcome, None).unwrap();
}

#[test]
fn who_is_not_brought_back_is_heard_whenever_they_ask_anew() {
    let mut party = evening();
    let (room, _) = leave_party(&mut party, SUE);
    let (mut returning, mut request) = room.come_back(NOW, WALL).unwrap();
    for seconds in (5..120).step_by(5) {
        assert_eq!(askable(&mut party, &request, NOW + Duration::from_secs(seconds)).len(), 2, "{seconds}");
        request = returning.ask_again(WALL.plus(seconds)).unwrap();
    }
}

#[test]
fn a_healer_who_was_away_takes_nobody_else_for_having_come_back() {
    let mut party = evening();
    let (room, voice) = leave_party(&mut party, SUE);
    let (returning, request) = room.come_back(NOW, WALL).unwrap();
    assert_eq!(askable(&mut party, &request, NOW), [ANA, MO]);
    party.rooms.push(returning.give_up().unwrap());
    party.voices.push(voice);
    let (mo, _) = leave_party(&mut party, MO);
    let (returning, request) = mo.come_back(NOW, WALL).unwrap();
    round_trip(&mut party, returning, &request, ANA, NOW);
    let (room, _) = leave_party(&mut party, 2);
    assert_eq!(room.me().unwrap().name, "sue");
    let (mut returning, mut request) = room.come_back(NOW, WALL.plus(5)).unwrap();
    for seconds in 5..8 {
        assert_eq!(askable(&mut party, &request, NOW + Duration::from_secs(seconds)).len(), 2, "{seconds}");
        request = returning.ask_again(WALL.plus(5 * seconds)).unwrap();
    }
}

#[test]
fn a_clock_that_was_put_back_keeps_nobody_out() {
    let mut party = evening();
    let (sue, _) = leave_party(&mut party, SUE);
    let (returning, request) = sue.come_back(NOW, WALL.plus(250)).unwrap();
    round_trip(&mut party, returning, &request, ANA, NOW);
    let (sue, _) = leave_party(&mut party, LEA);
    assert_eq!(sue.me().unwrap().name, "sue");
    let later = NOW + Duration::from_secs(10);
    let (mut returning, _) = sue.come_back(NOW, WALL).unwrap();
    let request = returning.ask_again(UnixTime(WALL.0 - 5)).unwrap();
    assert_eq!(returning.card().asked_back_at(), Some(WALL.plus(252)));
    round_trip(&mut party, returning, &request, ANA, later);
    // By a clock that was an hour ahead, hosts refuse it; put right, it is heard by the next request.
    let (sue, _) = leave_party(&mut party, LEA);
    let (mut returning, request) = sue.come_back(NOW, WALL.plus(3_600)).unwrap();
    let later = later + Duration::from_secs(10);
    let told = deliver_at(&mut party, &request, later);
    let (card, ..) = asked(&told[ANA]).unwrap();
    let denied = party.rooms[ANA].bring_back(&card, WALL).unwrap_err().to_string();
    assert!(denied.contains("55 min ahead of your clock") || denied.contains("1 h ahead of your clock"), "{denied}");
    let request = returning.ask_again(WALL.plus(10)).unwrap();
    assert_eq!(returning.card().asked_back_at(), Some(WALL.plus(10)));
    assert!(askable(&mut party, &request, later).is_empty(), "once a second");
    let told = deliver_at(&mut party, &request, later + Duration::from_secs(4));
    let (card, ..) = asked(&told[ANA]).unwrap();
    assert!(asked(&told[MO]).is_none(), "who has refused nothing goes by what they heard");
    let admission = party.rooms[ANA].bring_back(&card, WALL.plus(10)).unwrap();
    deliver(&mut party, &admission.commit);
    let (room, _) = returning.enter(&admission.welcome, admission.tree.as_deref()).unwrap();
    assert!(room.is_open());
}

#[test]
fn a_flood_of_requests_is_tried_so_often_and_a_member_is_heard_once_a_second() {
    let mut party = evening();
    let (room, _) = leave_party(&mut party, SUE);
    let (mut returning, mut request) = room.come_back(NOW, WALL).unwrap();
    let mut heard = 0;
    for n in 1..=10 {
        heard += askable(&mut party, &request, NOW).len();
        request = returning.ask_again(WALL.plus(5 * n)).unwrap();
    }
    assert_eq!(heard, 2, "by ana and mo, once");
    // Of bytes that open for nobody there is no end; the second has one.
    let mut garbage = request.clone();
    garbage[40..].iter_mut().for_each(|byte| *byte = byte.wrapping_add(1));
    for _ in 0..100 {
        assert!(deliver(&mut party, &garbage).iter().all(Vec::is_empty));
    }
    let now = NOW + Duration::from_millis(900);
    assert!(askable(&mut party, &request, now).is_empty());
    assert_eq!(askable(&mut party, &request, NOW + Duration::from_secs(1)).len(), 2);
    for length in [0, 1, REQUEST_LEN - 1] {
        assert!(party.rooms[0].receive(&request[..length], NOW).is_err());
    }
    assert!(party.rooms[0].receive(&[&request[..], &[0]].concat(), NOW).is_err());
}

#[test]
fn nobody_enters_by_the_welcome_of_who_may_not_bring_them_back_or_into_another_room() {
    let (mut party, wall) = (evening(), today());
    let (room, _) = leave_party(&mut party, SUE);
    let (returning, _) = room.come_back(NOW, wall).unwrap();
    let client = Bare::new("mal");
    let admission = party.rooms[0].admit(&client.card(), Role::Listener).unwrap();
    deliver(&mut party, &admission.commit);
    let mut mal = client.enter(&admission);
    let leaf = LeafNodeIndex::new(party.rooms[0].member(&returning.card().id()).unwrap().leaf.0);
    let package = mls_card(returning.card());
    let (commit, welcome) = mal.commit_and_welcome(Default::default(), vec![remove(leaf), add(package)]);
    for told in deliver(&mut party, &commit) {
        assert!(matches!(told[..], [Event::Refused { .. }]), "{:?}", gists(&told));
    }
    let failed = returning.enter(&welcome.unwrap(), None).unwrap_err();
    assert!(failed.to_string().contains("bring back sue"), "{failed}");
    // Another room has her card.
    let (mut other, _) = Room::create(identity("zed"), Settings::default()).unwrap();
    let elsewhere = other.admit(failed.returning.card(), Role::Speaker).unwrap();
    let failed = failed.returning.enter(&elsewhere.welcome, None).unwrap_err();
    assert!(failed.to_string().contains("another room"), "{failed}");
    let card = failed.returning.card().clone();
    let admission = party.rooms[ANA].bring_back(&card, wall).unwrap();
    deliver(&mut party, &admission.commit);
    failed.returning.enter(&admission.welcome, None).unwrap();
}

fn mls_card(card: &Card) -> openmls::prelude::KeyPackage {
    use openmls::prelude::{tls_codec::DeserializeBytes as _, *};
    let MlsMessageBodyIn::KeyPackage(package) =
        MlsMessageIn::tls_deserialize_exact_bytes(card.as_bytes()).unwrap().extract()
    else {
        panic!("a card is a key package")
    };
    package.validate(openmls_rust_crypto::OpenMlsRustCrypto::default().crypto(), ProtocolVersion::Mls10).unwrap()
}

#[test]
fn a_commit_of_ones_own_that_one_gave_up_and_the_relay_took_leaves_one_stuck() {
    let mut party = evening();
    let refresh = party.rooms[LEA].refresh().unwrap();
    party.rooms[LEA].abandon();
    let error = party.rooms[LEA].receive(&refresh, NOW).unwrap_err();
    assert!(error.to_string().contains("come_back"), "{error}");
    for at in [ANA, MO, SUE] {
        party.rooms[at].receive(&refresh, NOW).unwrap();
    }
    let (lea, _) = leave_party(&mut party, LEA);
    let (_, request) = lea.come_back(NOW, WALL).unwrap();
    let stuck = asked(&deliver(&mut party, &request)[0]).unwrap().2;
    assert_eq!(stuck, Some(party.rooms[0].epoch() - 1));
}

#[test]
fn a_request_that_was_asked_again_after_throws_nobody_out_of_the_leaf_they_came_back_to() {
    let mut party = Party::new(&[("ana", Role::Host), ("hal", Role::Host), ("sue", Role::Speaker)]);
    let refresh = party.rooms[0].refresh().unwrap();
    deliver(&mut party, &refresh);
    let (sue, _) = leave_party(&mut party, 2);
    let (mut returning, first) = sue.come_back(NOW, WALL).unwrap();
    let first_card = returning.card().clone();
    let second = returning.ask_again(WALL.plus(5)).unwrap();
    // The relay shows the second to Ana, and the first to Hal once that is answered.
    let told = party.rooms[0].receive(&second, NOW).unwrap();
    let card = asked(&told).unwrap().0;
    let admission = bring_back(&mut party, 0, &card);
    let (room, voice) = returning.enter(&admission.welcome, admission.tree.as_deref()).unwrap();
    party.rooms.push(room);
    party.voices.push(voice);
    let later = NOW + Duration::from_secs(60);
    for refreshes in 0..2 {
        assert!(party.rooms[1].receive(&first, later).unwrap().is_empty());
        for host in 0..2 {
            let denied = party.rooms[host].bring_back(&first_card, WALL).unwrap_err();
            assert!(denied.to_string().contains("before they had the keys"), "{refreshes}: {denied}");
        }
        // Nor do her own commits make it fit again.
        let refresh = party.rooms[2].refresh().unwrap();
        deliver(&mut party, &refresh);
    }
    all_are_heard(&mut party);
    // She comes back again when she asks again.
    let (sue, _) = leave_party(&mut party, 2);
    let (returning, request) = sue.come_back(NOW, WALL.plus(90)).unwrap();
    round_trip(&mut party, returning, &request, 1, later + Duration::from_secs(60));
}

#[test]
fn a_host_with_a_patched_client_throws_nobody_out_by_an_old_word() {
    let (mut party, mut mal) = with_mal(Role::Host);
    let (sue, _) = leave_party(&mut party, SUE_BY_MAL);
    let (mut returning, _) = sue.come_back(NOW, WALL).unwrap();
    let first = returning.card().clone();
    let second = returning.ask_again(WALL.plus(5)).unwrap();
    let admission = {
        let told = deliver(&mut party, &second);
        let (card, ..) = asked(&told[ANA]).unwrap();
        bring_back(&mut party, ANA, &card)
    };
    mal.follow(&admission.commit);
    let leaf = leaf_of(&party, "sue");
    let (commit, _) = mal.commit_and_welcome(Default::default(), vec![remove(leaf), add(mls_card(&first))]);
    for told in deliver(&mut party, &commit) {
        assert!(matches!(told[..], [Event::Refused { .. }]), "{:?}", gists(&told));
    }
}

#[test]
fn who_was_let_in_anew_leaves_the_words_of_their_last_time_behind() {
    let (mut party, wall) = (evening(), today());
    let (sue, _) = leave_party(&mut party, SUE);
    let (returning, request) = sue.come_back(NOW, wall).unwrap();
    let old = returning.card().clone();
    let id = old.id();
    let out = party.rooms[ANA].remove(&id).unwrap();
    deliver(&mut party, &out);
    let again = Guest::new(returning.into_identity()).unwrap();
    let admission = party.rooms[ANA].admit(again.card(), Role::Speaker).unwrap();
    deliver(&mut party, &admission.commit);
    assert!(askable(&mut party, &request, NOW).is_empty());
    let denied = party.rooms[ANA].bring_back(&old, wall).unwrap_err();
    assert!(denied.to_string().contains("before they had the keys"), "{denied}");
}

#[test]
fn who_gave_up_asking_is_thrown_out_by_nobody_once_they_have_made_a_commit() {
    let mut party = Party::new(&[("ana", Role::Host), ("sue", Role::Speaker), ("eve", Role::Listener)]);
    let refresh = party.rooms[0].refresh().unwrap();
    deliver(&mut party, &refresh);
    assert!(!party.rooms[0].refresh_due(NOW));
    let (ana, voice) = leave_party(&mut party, 0);
    let (mut returning, request) = ana.come_back(NOW, WALL).unwrap();
    let told = party.rooms[0].receive(&request, NOW).unwrap();
    let first = asked(&told).unwrap().0;
    returning.ask_again(WALL.plus(5)).unwrap();
    let second = returning.card().clone();
    // The log came after all.
    let ana = returning.give_up().unwrap();
    party.rooms.insert(0, ana);
    party.voices.insert(0, voice);
    assert!(party.rooms[0].refresh_due(NOW));
    let guest = guest("bo");
    let admission = party.rooms[0].admit(guest.card(), Role::Listener).unwrap();
    party.rooms[0].abandon();
    assert!(party.rooms[0].refresh_due(NOW), "a commit that nobody received says nothing");
    drop(admission);
    // One that would carry no path carries one now.
    let admission = party.rooms[0].admit(guest.card(), Role::Listener).unwrap();
    assert!(!party.rooms[0].refresh_due(NOW), "it is on its way");
    deliver(&mut party, &admission.commit);
    let (bo, voice) = guest.enter(&admission.welcome).unwrap();
    party.rooms.push(bo);
    party.voices.push(voice);
    assert!(!party.rooms[0].refresh_due(NOW));
    for card in [first, second] {
        let denied = party.rooms[1].bring_back(&card, WALL).unwrap_err();
        assert!(denied.to_string().contains("before they had the keys"), "{denied}");
    }
    // What she asks from here on counts.
    let (ana, _) = leave_party(&mut party, 0);
    let (returning, request) = ana.come_back(NOW, WALL.plus(60)).unwrap();
    round_trip(&mut party, returning, &request, 0, NOW + Duration::from_secs(60));
}

#[test]
fn who_loses_the_answer_and_all_but_an_old_ticket_comes_back_by_a_later_word() {
    let mut party = evening();
    let ticket = party.rooms[SUE].ticket().unwrap();
    let (sue, _) = leave_party(&mut party, SUE);
    let (returning, request) = Returning::with_ticket(sue.into_identity(), &ticket, WALL).unwrap();
    let told = deliver(&mut party, &request);
    let card = asked(&told[ANA]).unwrap().0;
    bring_back(&mut party, ANA, &card);
    let identity = returning.into_identity();
    let (returning, request) = Returning::with_ticket(identity, &ticket, WALL.plus(60)).unwrap();
    round_trip(&mut party, returning, &request, MO, NOW + Duration::from_secs(60));
}

#[test]
fn who_is_in_by_another_device_is_told_that_it_is_their_own_key_and_not_that_they_were_put_out() {
    let mut party = evening();
    // The phone goes on, from a copy of the identity; the laptop has nothing left but a ticket.
    let bee = Identity::generate("bee").unwrap();
    let secret = bee.secret();
    let bee = Guest::new(bee).unwrap();
    let admission = party.rooms[ANA].admit(bee.card(), Role::Speaker).unwrap();
    deliver(&mut party, &admission.commit);
    let (mut phone, mut voice) = bee.enter(&admission.welcome).unwrap();
    let ticket = phone.ticket().unwrap();
    let again = Identity::from_secret("bee", &secret).unwrap();
    let (laptop, request) = Returning::with_ticket(again, &ticket, WALL).unwrap();
    let told = party.rooms[ANA].receive(&request, NOW).unwrap();
    let (card, ..) = asked(&told).unwrap();
    let admission = bring_back(&mut party, ANA, &card);
    let events = phone.receive(&admission.commit, NOW).unwrap();
    let ana = party.rooms[ANA].me().unwrap().id;
    assert!(matches!(events[..], [Event::Replaced { by }] if by == ana), "{:?}", gists(&events));
    events.into_iter().for_each(|event| drop(event.tell(&mut voice).unwrap()));
    assert!(!phone.is_open() && voice.seal(b"an Opus frame").is_err(), "the keys are gone here");
    let (laptop, _) = laptop.enter(&admission.welcome, admission.tree.as_deref()).unwrap();
    assert_eq!(laptop.code(), party.rooms[ANA].code());
    // Who is put out is told that, as ever.
    let sue = party.rooms[SUE].me().unwrap().id;
    let removal = party.rooms[ANA].remove(&sue).unwrap();
    let told = party.rooms[SUE].receive(&removal, NOW).unwrap();
    assert!(matches!(told[..], [Event::Closed { asked: false, .. }]), "{:?}", gists(&told));
}
