//! Members who are asked to commit so that commits cost less: who they are, when they do, and what a hostile host or
//! hostile members can make of it.

mod party;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::Duration,
};

use openmls::prelude::LeafNodeIndex;
use parlor::{
    Card, Denial, Error, Event, MemberId, Role, Room, Settings,
    media::seal::SealMode,
    room::{Retried, Setting},
};
use party::{
    Party, Person, jam,
    mal::{Bare, Mal, Part, World as Patched},
    room_of,
};
use tls_codec::Serialize as _;

const SECOND: Duration = Duration::from_secs(1);
/// By then whoever waits for more to come in has done so.
const SETTLED: Duration = Duration::from_secs(2);

/// A host, mo, a moderator, and so many listeners, all of whom have come in by one commit.
fn crowd(listeners: usize) -> Vec<Person> {
    let names: Vec<String> = (0..listeners).map(|n| format!("guest {n}")).collect();
    let mut guests = vec![("mo", Role::Moderator)];
    guests.extend(names.iter().map(|name| (name.as_str(), Role::Listener)));
    // Without seals nobody on stage has to commit for their media keys.
    room_of(Settings::default().with(Setting::Seals(SealMode::Off)).unwrap(), &guests)
}

fn deliver(people: &mut [Person], message: &[u8], now: Duration) {
    for person in people.iter_mut().filter(|person| person.room.is_open()) {
        let events = person.room.receive(message, now).unwrap();
        assert!(!events.iter().any(|event| matches!(event, Event::Refused { .. })), "{events:?}");
    }
}

/// The host asks, and everybody has heard it.
fn ask(people: &mut [Person], now: Duration) -> (usize, BTreeSet<MemberId>) {
    let commit = people[0].room.refresh().unwrap();
    deliver(people, &commit, now);
    let asked = asked(&people[0].room);
    assert!(people.iter().all(|person| self::asked(&person.room) == asked), "all members say the same");
    (commit.len(), asked)
}

fn asked(room: &Room) -> BTreeSet<MemberId> {
    room.gardeners().copied().collect()
}

fn at(people: &[Person], id: &MemberId) -> usize {
    people.iter().position(|person| person.id == *id).unwrap()
}

/// Members who are not asked commit until nobody may any more without a host.
fn fill_turns(people: &mut [Person], not: &BTreeSet<MemberId>, now: Duration) {
    let who = people.iter().position(|it| !not.contains(&it.id) && it.room.me().unwrap().role == Role::Listener);
    let who = who.unwrap();
    while let Ok(commit) = people[who].room.refresh() {
        deliver(people, &commit, now);
    }
}

#[test]
fn a_host_asks_when_a_crowd_has_come_in_and_each_who_is_asked_commits_once_in_their_own_time() {
    let mut people = crowd(98);
    assert!(!people[0].room.refresh_due(SETTLED - Duration::from_millis(1)), "more may come");
    assert!(people[0].room.refresh_due(SETTLED));
    assert!(!people[1].room.refresh_due(SETTLED), "the host comes first");
    assert!(people[1].room.refresh_due(SETTLED + 3 * SECOND), "a moderator, if the host does not");
    let (bare, names) = ask(&mut people, SETTLED);
    assert!((6..=16).contains(&names.len()), "{}", names.len());
    assert!(!people[0].room.refresh_due(SETTLED), "they are asked, and have time");

    let mut now = SETTLED;
    let mut first = BTreeMap::new();
    while !asked(&people[0].room).is_empty() {
        now += Duration::from_millis(50);
        assert!(now < SETTLED + 8 * SECOND + SECOND, "{:?} do not commit", asked(&people[0].room));
        let due: Vec<_> = (2..people.len()).filter(|at| people[*at].room.refresh_due(now)).collect();
        for who in due {
            assert!(names.contains(&people[who].id), "nobody else is asked");
            assert!(first.insert(people[who].id, now).is_none(), "once");
            let commit = people[who].room.refresh().unwrap();
            deliver(&mut people, &commit, now);
            assert!(!people[who].room.refresh_due(now + 60 * SECOND));
        }
    }
    assert_eq!(first.keys().copied().collect::<BTreeSet<_>>(), names);
    let moments: BTreeSet<_> = first.values().collect();
    assert!(moments.len() > names.len() / 2, "each at a time of their own: {moments:?}");
    assert!(!people[0].room.refresh_due(now + 60 * SECOND), "there is nothing left to ask for");
    let (gardened, again) = ask(&mut people, now);
    assert!(gardened * 4 < bare && again.is_empty(), "{bare} and {gardened} bytes, {again:?}");
}

#[test]
fn who_loses_the_race_tries_another_time_and_not_at_once() {
    let mut people = crowd(40);
    let (_, names) = ask(&mut people, SETTLED);
    let who = at(&people, names.first().unwrap());
    people[who].room.refresh().unwrap();
    let won = people[0].room.set_title("sooner").unwrap();
    let mut lost = None;
    for (n, person) in people.iter_mut().enumerate() {
        for event in person.room.receive(&won, SETTLED).unwrap() {
            if let Event::Superseded { intent, .. } = event {
                assert!(n == who && lost.replace(intent).is_none());
            }
        }
    }
    assert_eq!(people[who].room.retry(&lost.unwrap()).unwrap(), Retried::Done);
    assert!(asked(&people[0].room).contains(&people[who].id));
    assert!(people[who].room.refresh_due(SETTLED + 9 * SECOND), "it comes to pass all the same");
}

#[test]
fn commits_that_were_asked_for_are_not_counted_and_no_second_one_passes() {
    let mut people = crowd(60);
    let (_, names) = ask(&mut people, SETTLED);
    fill_turns(&mut people, &names, SETTLED);
    // A guest who comes in begins to count with everybody else, and takes the names from the charter.
    let guest = party::guest("late");
    let admission = people[0].room.admit(guest.card(), Role::Listener).unwrap();
    deliver(&mut people, &admission.commit, SETTLED);
    people.push(Person::enter(guest, &admission));
    assert_eq!(asked(&people.last().unwrap().room), asked(&people[0].room));
    fill_turns(&mut people, &names, SETTLED);
    let listeners = people.iter().filter(|it| it.room.me().unwrap().role == Role::Listener);
    assert!(!listeners.clone().any(|it| it.room.refresh_due(SETTLED)), "they wait for their time all the same");
    for id in &names {
        let who = at(&people, id);
        if people[who].room.me().unwrap().role != Role::Listener {
            continue;
        }
        let commit = people[who].room.refresh().unwrap();
        deliver(&mut people, &commit, SETTLED);
        let Err(Error::Denied(why)) = people[who].room.refresh() else { panic!("a second one") };
        assert!(why.to_string().contains("a host or a moderator comes first"), "{why}");
        // Nor anything else that is no mere refresh.
        assert!(people[who].room.leave().is_ok(), "a word is no commit");
    }
    assert!(people.iter().skip(1).all(|it| asked(&it.room) == asked(&people[0].room)));
}

#[test]
fn a_moderator_who_is_asked_gives_others_their_turn_by_the_same_commit() {
    let names: Vec<String> = (0..62).map(|n| format!("guest {n}")).collect();
    let mut guests: Vec<_> = names.iter().map(|name| (name.as_str(), Role::Listener)).collect();
    // At the last leaf, where somebody is always asked.
    guests.push(("mo", Role::Moderator));
    let mut people = room_of(Settings::default().with(Setting::Seals(SealMode::Off)).unwrap(), &guests);
    let (_, names) = ask(&mut people, SETTLED);
    let mo = people.len() - 1;
    assert!(names.contains(&people[mo].id));
    fill_turns(&mut people, &names, SETTLED);
    let commit = people[mo].room.refresh().unwrap();
    deliver(&mut people, &commit, SETTLED);
    let listener = people.iter().position(|it| !names.contains(&it.id) && it.room.me().unwrap().role == Role::Listener);
    people[listener.unwrap()].room.refresh().unwrap();
}

#[test]
fn a_name_is_good_for_sixty_four_epochs_and_no_more() {
    let mut people = crowd(60);
    let (_, names) = ask(&mut people, SETTLED);
    let mut listeners = people.iter().filter(|it| it.room.me().unwrap().role == Role::Listener).map(|it| it.id);
    let named = listeners.clone().find(|id| names.contains(id)).unwrap();
    let other = listeners.find(|id| !names.contains(id)).unwrap();
    // Admissions and listeners' commits ask nobody anew. With no turn left whoever is asked commits all the same.
    for epoch in 0..=64 {
        let is_asked = people.iter().all(|person| asked(&person.room).contains(&named));
        assert_eq!(is_asked, epoch < 64, "{epoch} epochs after");
        let who = at(&people, &other);
        if let Ok(commit) = people[who].room.refresh() {
            deliver(&mut people, &commit, SETTLED);
            continue;
        }
        let who = at(&people, &named);
        let refreshed = people[who].room.refresh();
        assert_eq!(refreshed.is_ok(), is_asked, "{refreshed:?}");
        people[who].room.abandon();
        let admission = people[0].room.admit(party::guest("late").card(), Role::Listener).unwrap();
        deliver(&mut people, &admission.commit, SETTLED);
    }
}

/// Everybody who is asked is a friend of a moderator's, commits as soon as they can from next door to the relay, and is
/// asked again and again; so does eve. How long it takes until a removal of hers has reached everybody else.
fn removal_in_a_hostile_garden(decided: Duration) -> (Duration, usize) {
    const MS: Duration = Duration::from_millis(1);
    let (near, far) = (MS, 50 * MS);
    let mut people = crowd(40);
    let (_, _) = ask(&mut people, SETTLED);
    let eve = people.len() - 1;
    let eve_id = people[eve].id;
    let mut to_relay: BTreeMap<(Duration, u64), Vec<u8>> = BTreeMap::new();
    let mut to_people: Vec<VecDeque<(Duration, Vec<u8>)>> = people.iter().map(|_| VecDeque::new()).collect();
    let (mut now, mut sent, mut commits) = (SETTLED, 0, 0);
    let decided = SETTLED + decided;
    let distance = |who: usize| if who < 2 { far } else { near };
    while now < SETTLED + 10 * SECOND {
        now += MS;
        let mut send = |who: usize, message: Vec<u8>| {
            sent += 1;
            to_relay.insert((now + distance(who), sent), message);
        };
        let names = asked(&people[1].room);
        for (who, person) in people.iter_mut().enumerate().filter(|(_, person)| person.room.is_open()) {
            let is_hostile = who == eve || who == 1 || names.contains(&person.id);
            if person.room.is_pending() {
                continue;
            }
            if who == 0 && now >= decided && person.room.member(&eve_id).is_some() {
                send(who, person.room.remove(&eve_id).unwrap());
            } else if is_hostile && who > 0 {
                // As soon as they see an epoch they try for the next; mo asks again, whoever can be asked.
                if let Ok(commit) = person.room.refresh() {
                    commits += usize::from(who > 1);
                    send(who, commit);
                }
            }
        }
        while let Some(entry) = to_relay.first_entry().filter(|entry| entry.key().0 <= now) {
            let message = entry.remove();
            for (who, queue) in to_people.iter_mut().enumerate() {
                queue.push_back((now + distance(who), message.clone()));
            }
        }
        for (who, queue) in to_people.iter_mut().enumerate() {
            while queue.front().is_some_and(|(at, _)| *at <= now) {
                let (_, message) = queue.pop_front().unwrap();
                if people[who].room.is_open() {
                    drop(people[who].room.receive(&message, now));
                }
            }
        }
        if people.iter().all(|person| person.room.member(&eve_id).is_none() || !person.room.is_open()) {
            return (now - decided, commits);
        }
    }
    panic!("eve is never put out");
}

#[test]
fn a_removal_lands_within_a_second_whoever_is_asked_to_commit() {
    for moment in 0..3 {
        let (took, commits) = removal_in_a_hostile_garden(Duration::from_millis(300 + 37 * moment));
        println!("a removal took {} ms, while a hostile garden made {commits} commits", took.as_millis());
        assert!(took <= SECOND, "{took:?}");
        assert!(commits > 8, "they try");
    }
}

/// A crowd whose host has asked, with mal, on a bare client, among those who are asked; and no turn is left.
fn crowd_with_mal() -> (Party, Mal) {
    let names: Vec<String> = (0..38).map(|n| format!("guest {n}")).collect();
    let mut people = vec![("host", Role::Host)];
    people.extend(names.iter().map(|name| (name.as_str(), Role::Listener)));
    let mut party = Party::with(&people, Settings::default().with(Setting::Seals(SealMode::Off)).unwrap());
    let bare = Bare::new("mal");
    let admission = party.rooms[0].admit(&bare.card(), Role::Listener).unwrap();
    party.deliver(&admission.commit);
    let mut mal = bare.enter(&admission);
    let commit = party.rooms[0].refresh().unwrap();
    party.deliver(&commit);
    mal.follow(&commit);
    let names = asked(&party.rooms[0]);
    assert!(names.contains(&mal.client.id()));
    let other = party.rooms.iter().skip(1).position(|room| !names.contains(&room.me().unwrap().id)).unwrap() + 1;
    while let Ok(commit) = party.rooms[other].refresh() {
        party.deliver(&commit);
        mal.follow(&commit);
    }
    (party, mal)
}

/// Another key with the first half of mal's.
fn half_of(mal: &Mal, n: u8) -> [u8; 32] {
    let leaf = mal.group.own_leaf_node().unwrap().encryption_key().tls_serialize_detached().unwrap();
    let mut key: [u8; 32] = leaf[1..].try_into().unwrap();
    key[20] ^= n + 1;
    key
}

#[test]
fn no_member_keeps_the_name_by_which_they_are_asked() {
    let mut refused = 0;
    // One of the keys that a path derives is the leaf's.
    for nth in 0..9 {
        let (mut party, mut mal) = crowd_with_mal();
        let mut won = 0;
        for n in 0..4 {
            let key = half_of(&mal, n);
            let Some(commit) = mal.refresh_with(nth, key) else {
                mal.abandon();
                break;
            };
            let events = party.deliver(&commit);
            if matches!(events[0][0], Event::Rekeyed(_)) {
                mal.merge();
                won += 1;
                continue;
            }
            for events in events {
                // Whom the path is not for by that cannot tell what it is.
                let is_half = |why: &Denial| why.action.contains("half of one by which somebody is asked");
                refused += usize::from(matches!(&events[..], [Event::Refused { why, .. }] if is_half(why)));
            }
            break;
        }
        assert!(won <= 1, "nth {nth}: {won} commits of one who was asked once");
    }
    assert!(refused > 0, "no key was the leaf's");
}

#[test]
fn nobody_comes_in_by_a_card_with_half_of_a_key_by_which_somebody_is_asked() {
    let (mut party, mal) = crowd_with_mal();
    let before = asked(&party.rooms[0]);
    let zed = Bare::new("zed");
    let card = Card::from_bytes(&jam::card_with(&zed, half_of(&mal, 1))).unwrap();
    let refused = party.rooms[0].admit(&card, Role::Listener).unwrap_err();
    assert!(matches!(refused, Error::Denied(_)), "{refused}");
    assert_eq!(asked(&party.rooms[0]), before);

    // By a patched host neither.
    let mut world = Patched::new(Role::Host);
    let leaf = world.leaf("eve");
    let (_, eve) = world.mal.group.treesync().full_leaves().find(|(at, _)| *at == leaf).unwrap();
    let mut key: [u8; 32] = eve.encryption_key().tls_serialize_detached().unwrap()[1..].try_into().unwrap();
    let (until, name) = (world.mal.next_epoch() + 64, key[..16].try_into().unwrap());
    let garden = world.mal.recharter(|charter| charter.garden = (until, [name].into()));
    let commit = world.mal.commit_and_welcome(Default::default(), vec![garden]).0;
    world.mal.merge();
    world.party.deliver(&commit);
    key[31] ^= 1;
    let add = Part::Add(Box::new(jam::package(&jam::card_with(&zed, key))));
    let commit = world.mal.commit(vec![add]);
    for events in world.party.deliver(&commit) {
        let [Event::Refused { why, .. }] = &events[..] else { panic!("{events:?}") };
        assert!(why.to_string().contains("a key on their card is in the room's tree"), "{why}");
    }
    world.go_on();
}

#[test]
fn nobody_is_asked_again_by_a_patched_host_before_their_commit_is_of_use() {
    let mut world = Patched::new(Role::Host);
    let name = |world: &Patched, leaf: LeafNodeIndex| -> [u8; 16] {
        let (_, leaf) = world.mal.group.treesync().full_leaves().find(|(at, _)| *at == leaf).unwrap();
        leaf.encryption_key().tls_serialize_detached().unwrap()[1..17].try_into().unwrap()
    };
    let leaf = world.leaf("eve");
    let ask = |world: &mut Patched| {
        let (until, name) = (world.mal.next_epoch() + 64, name(world, leaf));
        let garden = world.mal.recharter(|charter| charter.garden = (until, [name].into()));
        world.mal.commit_and_welcome(Default::default(), vec![garden]).0
    };
    let commit = ask(&mut world);
    world.mal.merge();
    for events in world.party.deliver(&commit) {
        assert!(matches!(events[0], Event::Rekeyed(_)), "{events:?}");
    }
    let eve = world.party.id("eve");
    assert!(world.party.rooms.iter().all(|room| room.gardeners().eq([&eve])));
    let refresh = world.party.named("eve").refresh().unwrap();
    world.party.deliver(&refresh);
    world.mal.follow(&refresh);
    assert!(world.party.rooms.iter().all(|room| room.gardeners().next().is_none()));
    // What was blank above her is filled now.
    let commit = ask(&mut world);
    world.mal.abandon();
    for events in world.party.deliver(&commit) {
        let [Event::Refused { actor, why }] = &events[..] else { panic!("{events:?}") };
        assert_eq!(*actor, Some(world.mal.client.id()));
        assert!(why.to_string().contains("would be of no use"), "{why}");
    }
    world.go_on();
}
