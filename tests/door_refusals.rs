//! Who is kept off at a door, for how long and by whose word; and cards, each of which admits once.

#[allow(unused, reason = "each test binary uses what it needs")]
mod party;

use std::time::Duration;

use parlor::{
    Error, Event, Guest, Identity, Kept, Link, MemberId, Role, Settings,
    room::{
        Entry, Setting,
        door::{Terms, UnixTime, Waiting},
    },
    vault::{MemoryVault, VaultKey},
};
use party::{NOW, Party, guest};

const WALL: UnixTime = UnixTime(1_800_000_000);
const ANYBODY: Terms = Terms { role: Role::Listener, one_shot: false, expires: None };

/// Ana, host, at 0; mo and max, moderators, at 1 and 2.
fn evening() -> (Party, Link) {
    let settings = Settings::default().with(Setting::Entry(Entry::Knock)).unwrap();
    let names = [("ana", Role::Host), ("mo", Role::Moderator), ("max", Role::Moderator)];
    let mut party = Party::with(&names, settings);
    let link = link(&mut party);
    (party, link)
}

fn link(party: &mut Party) -> Link {
    let (link, commit) = party.rooms[0].issue_link(ANYBODY).unwrap();
    party.deliver(&commit);
    link
}

fn knock(party: &Party, link: &Link, guest: Guest) -> (Waiting, Vec<u8>) {
    let plate = link.read_doorplate(&party.rooms[0].doorplate(link).unwrap()).unwrap();
    guest.knock(link, &plate, "", WALL).unwrap()
}

/// `guest` knocks at everybody's end, and `by` turns them away: what each is told.
fn refuse(party: &mut Party, link: &Link, by: usize, guest: Guest) -> (Guest, Vec<Vec<Event>>) {
    let (there, bytes) = knock(party, link, guest);
    for room in &mut party.rooms {
        let told = room.knocked(&bytes, NOW, WALL).unwrap();
        assert!(matches!(told[..], [Event::Knocked { .. }]), "{told:?}");
    }
    let (_, word) = party.rooms[by].turn_away(&there.id(), "not tonight").unwrap();
    let told = party.deliver(&word);
    (there.give_up(), told)
}

/// Whether each of `rooms` asks a person about a knock of `guest`, or answers no.
fn asks(party: &mut Party, link: &Link, guest: Guest) -> (Guest, Vec<bool>) {
    let (there, bytes) = knock(party, link, guest);
    let asked = party.rooms.iter_mut().map(|room| match &room.knocked(&bytes, NOW, WALL).unwrap()[..] {
        [Event::Knocked { .. }] => true,
        [Event::Refused { why, .. }, Event::Answered { .. }] => {
            assert!(why.why.contains("turned away twice"), "{why}");
            false
        }
        other => panic!("{other:?}"),
    });
    let asked = asked.collect();
    (there.give_up(), asked)
}

#[test]
fn whoever_is_kept_off_is_told_of_by_name_and_by_whom() {
    let (mut party, link) = evening();
    let hal = guest("hal");
    let whose = hal.card().id();
    let by = [party.id("mo"), party.id("ana")];
    let (hal, told) = refuse(&mut party, &link, 1, hal);
    assert!(told.iter().all(Vec::is_empty), "{told:?}");
    let (hal, told) = refuse(&mut party, &link, 0, hal);
    for told in &told {
        let [Event::KeptOff { member, link: at, by: last }] = &told[..] else { panic!("{told:?}") };
        assert_eq!((*member, *at, *last), (whose, link.id(), by[1]));
    }
    assert!(party.rooms.iter().all(|room| room.kept_off().eq([(whose, link.id())])));
    let (hal, asked) = asks(&mut party, &link, hal);
    assert_eq!(asked, [false; 3]);
    // At another link nothing is held against him.
    let second = self::link(&mut party);
    assert_eq!(asks(&mut party, &second, hal).1, [true; 3]);
}

#[test]
fn a_refusal_ends_with_the_office_of_whoever_made_it() {
    for removed in [false, true] {
        let (mut party, link) = evening();
        let (hal, _) = refuse(&mut party, &link, 1, guest("hal"));
        let (hal, _) = refuse(&mut party, &link, 1, hal);
        let (hal, asked) = asks(&mut party, &link, hal);
        assert_eq!(asked, [false; 3]);
        let mo = party.id("mo");
        let commit = if removed { party.rooms[0].remove(&mo) } else { party.rooms[0].set_role(&mo, Role::Speaker) };
        party.deliver(&commit.unwrap());
        party.rooms.remove(1);
        party.voices.remove(1);
        assert!(party.rooms.iter().all(|room| room.kept_off().count() == 0));
        assert_eq!(asks(&mut party, &link, hal).1, [true; 2], "removed: {removed}");
    }
}

#[test]
fn a_refusal_ends_with_its_link() {
    let (mut party, first) = evening();
    let (hal, _) = refuse(&mut party, &first, 1, guest("hal"));
    refuse(&mut party, &first, 1, hal);
    let revoked = party.rooms[0].revoke_link(&first.id()).unwrap();
    party.deliver(&revoked);
    assert!(party.rooms.iter().all(|room| room.kept_off().count() == 0));
}

#[test]
fn a_refusal_is_taken_back_at_every_end_of_the_door() {
    for by in [0, 1] {
        let (mut party, link) = evening();
        let (hal, _) = refuse(&mut party, &link, 1, guest("hal"));
        let (hal, _) = refuse(&mut party, &link, 2, hal);
        let (hal, asked) = asks(&mut party, &link, hal);
        assert_eq!(asked, [false; 3]);
        let (whose, who) = (hal.card().id(), party.rooms[by].me().unwrap().id);
        let word = party.rooms[by].forgive(&whose).unwrap();
        for told in party.deliver(&word) {
            assert!(matches!(told[..], [Event::Forgiven { member, by }] if (member, by) == (whose, who)), "{told:?}");
        }
        let (_, asked) = asks(&mut party, &link, hal);
        assert_eq!(asked, [true; 3]);
        let word = party.rooms[by].forgive(&MemberId::from_bytes([9; 32])).unwrap();
        assert!(party.deliver(&word).iter().all(Vec::is_empty), "nothing is held against them");
    }
}

#[test]
fn the_card_of_somebody_who_was_put_out_admits_nobody() {
    let (mut party, link) = evening();
    let ben = Identity::generate("ben").unwrap();
    let secret = ben.secret();
    let ben = Guest::new(ben).unwrap();
    let (card, id) = (ben.card().clone(), ben.card().id());
    party.admit(0, vec![(ben, Role::Listener)]);
    let out = party.rooms[0].remove(&id).unwrap();
    party.deliver(&out);
    let eve = guest("eve");
    for by in [0, 1] {
        let room = &mut party.rooms[by];
        let epoch = room.epoch();
        let cards = [(eve.card().clone(), Role::Listener), (card.clone(), Role::Listener)];
        for refused in [room.admit(&card, Role::Listener), room.admit_all(&cards)] {
            let error = refused.unwrap_err();
            assert!(matches!(error, Error::Denied(_)), "{error}");
            let text = error.to_string();
            assert!(text.contains("ben may not enter") && text.contains("a fresh one is needed"), "{text}");
        }
        assert_eq!((room.epoch(), room.is_pending()), (epoch, false));
    }
    // By a fresh one he is as welcome as anybody, by hand and at the door.
    let fresh = |secret| Guest::new(Identity::from_secret("ben", secret).unwrap()).unwrap();
    party.rooms.retain(parlor::Room::is_open);
    assert_eq!(asks(&mut party, &link, fresh(&secret)).1, [true; 3]);
    party.admit(1, vec![(fresh(&secret), Role::Listener)]);
}

#[test]
fn a_card_that_another_admitted_by_is_refused_at_the_door_and_when_it_brings_back() {
    let (mut party, link) = evening();
    // Ben's knock is let in by mo. Ana, whom the relay has not shown it, has seen him come and go.
    let (ben, bytes) = knock(&party, &link, guest("ben"));
    let (card, id) = (ben.card().clone(), ben.card().id());
    party.rooms[1].knocked(&bytes, NOW, WALL).unwrap();
    party.rooms[1].let_in(&ben.id(), NOW).unwrap();
    let commit = party.rooms[1].open_door(NOW + Duration::from_secs(1)).unwrap().unwrap();
    party.deliver(&commit);
    let out = party.rooms[0].remove(&id).unwrap();
    party.deliver(&out);
    let later = NOW + Duration::from_secs(3_600);
    let told = party.rooms[0].knocked(&bytes, later, WALL).unwrap();
    let [Event::Refused { why, .. }, Event::Answered { answers, .. }] = &told[..] else { panic!("{told:?}") };
    assert!(why.why.contains("admits once"), "{why}");
    let failed = ben.enter(&answers[0].bytes, None).unwrap_err();
    assert!(matches!(failed.error, Error::TurnedAway { for_good: false, .. }), "{failed}");
    assert!(failed.to_string().contains("a fresh one is needed"), "{failed}");

    // Who is in by a second card is not thrown out of it by the first.
    let sue = Identity::generate("sue").unwrap();
    let secret = sue.secret();
    let first = Guest::new(sue).unwrap();
    let (old, sue) = (first.card().clone(), first.card().id());
    party.admit(0, vec![(first, Role::Listener)]);
    let second = Guest::new(Identity::from_secret("sue", &secret).unwrap()).unwrap();
    let back = party.rooms[0].bring_back(second.card(), WALL).unwrap();
    party.deliver(&back.commit);
    let error = party.rooms[0].bring_back(&old, WALL).unwrap_err();
    assert!(error.to_string().contains("admits once"), "{error}");
    let error = party.rooms[0].bring_back(second.card(), WALL).unwrap_err();
    assert!(error.to_string().contains("its owner is in the room by that card"), "{error}");
    assert!(party.rooms[0].member(&sue).is_some(), "{card:?}");
}

#[test]
fn a_used_card_is_known_after_a_restore() {
    let ana = Identity::generate("ana").unwrap();
    let secret = ana.secret();
    let key = VaultKey::generate().unwrap();
    let key_bytes = key.secret();
    let (room, _) = parlor::Room::create(ana, Settings::default()).unwrap();
    let mut ana = Kept::new(room, MemoryVault::new(), key).unwrap();
    let ben = guest("ben");
    let admission = ana.act(|room| room.admit(ben.card(), Role::Listener)).unwrap().unwrap();
    ana.act(|room| room.receive(&admission.commit, NOW)).unwrap().unwrap();
    let out = ana.act(|room| room.remove(&ben.card().id())).unwrap().unwrap();
    ana.act(|room| room.receive(&out, NOW)).unwrap().unwrap();
    let vault = ana.vault().clone();
    let identity = Identity::from_secret("ana", &secret).unwrap();
    let mut again = Kept::restore(identity, vault, VaultKey::from_bytes(&key_bytes), NOW).unwrap().unwrap().room;
    let error = again.act(|room| room.admit(ben.card(), Role::Listener)).unwrap().unwrap_err();
    assert!(error.to_string().contains("admits once"), "{error}");
}
