//! The room's end of seals: whose media keys everybody takes to be whose, and what becomes of them when it is over.

mod party;

use std::{collections::BTreeSet, time::Duration};

use openmls::prelude::*;
use parlor::{
    Card, Error, Event, Guest, Item, Role, Room, Settings,
    media::seal::{MediaCertificate, MediaKey, Proof, SealMode},
    room::{PUBLISH_AFTER, PublishedKeys, Setting},
};
use party::{
    NOW, Party,
    mal::{Bare, World, media_extension},
};
use sha2::{Digest as _, Sha256};

const PEOPLE: &[(&str, Role)] = &[("ana", Role::Host), ("ben", Role::Speaker), ("cy", Role::Speaker)];

fn deniable() -> Settings {
    assert_eq!(Settings::default().seals().proof, Proof::Deniable);
    Settings::default()
}

/// Whose media keys are whose, in which everybody agrees.
#[track_caller]
fn certificates(party: &Party) -> Vec<MediaCertificate> {
    let of = |room: &Room| room.roster().filter_map(|member| room.media_keys(&member.id).copied()).collect::<Vec<_>>();
    let open: Vec<&Room> = party.rooms.iter().filter(|room| room.is_open()).collect();
    let certificates = of(open[0]);
    for room in &open {
        assert_eq!(of(room), certificates, "{room:?}");
        for member in room.roster() {
            let mut keys = room.media_keys(&member.id).into_iter();
            assert!(keys.all(|keys| keys.is_of(&member.id, &member.name)));
        }
    }
    certificates
}

/// What `room` publishes at `now`.
fn published(room: &mut Room, now: Duration) -> Option<Vec<u8>> {
    match &room.tick(now)[..] {
        [] => None,
        [Event::Send(bytes)] => Some(bytes.clone()),
        other => panic!("{other:?}"),
    }
}

fn ended(party: &mut Party) {
    let end = party.rooms[0].end().unwrap();
    party.deliver(&end);
    assert!(party.rooms.iter().all(|room| !room.is_open()));
}

#[test]
fn a_deniable_room_that_is_over_publishes_every_key_that_anybody_sealed_with() {
    let mut party = Party::with(PEOPLE, deniable());
    let mut used = BTreeSet::new();
    let mut note = |party: &Party| {
        let now = certificates(party);
        used.extend(now.into_iter().map(|certificate| certificate.deniable));
    };
    note(&party);
    assert!(party.rooms.iter().enumerate().all(|(at, room)| room.refresh_due(NOW) == (at > 0)), "but for who admitted");
    for at in [0, 1, 2, 1, 1, 1, 0, 1, 1, 1, 1, 0] {
        // Keys of a commit that lost its race are used by nobody.
        party.rooms[(at + 1) % 3].refresh().unwrap();
        let commit = party.rooms[at].refresh().unwrap();
        party.deliver(&commit);
        note(&party);
    }
    // Cy had left for a minute, and came back.
    let cy = party.id("cy");
    let remove = party.rooms[0].remove(&cy).unwrap();
    party.deliver(&remove);
    assert_eq!(party.rooms[2].next_tick(), Some(NOW + PUBLISH_AFTER));
    let early = published(&mut party.rooms[2], NOW + PUBLISH_AFTER).unwrap();
    let identity = party.rooms.remove(2).into_identity();
    party.admit(0, vec![(Guest::new(identity).unwrap(), Role::Speaker)]);
    note(&party);

    // What Cy published then says nothing to the room.
    for events in party.deliver(&early) {
        assert!(events.is_empty(), "{events:?}");
    }
    ended(&mut party);
    let due = NOW + PUBLISH_AFTER;
    let mut all = vec![PublishedKeys::from_bytes(&early).unwrap()];
    for room in &mut party.rooms {
        assert_eq!(room.next_tick(), Some(due));
        assert_eq!(published(room, due - Duration::from_millis(1)), None);
        let bytes = published(room, due).unwrap();
        let keys = PublishedKeys::from_bytes(&bytes).unwrap();
        assert_eq!(keys.to_bytes(), bytes);
        assert_eq!(keys.room().as_slice(), Sha256::digest(room.id()).as_slice());
        assert_eq!(keys.seeds().len() % 8, 0);
        all.push(keys);
        assert_eq!((room.next_tick(), published(room, due * 9)), (None, None), "once");
        assert!(matches!(room.receive(&bytes, due), Err(Error::Closed { .. })));
    }
    assert_eq!(used.len(), 1 + 12 + 1, "who admitted, and who made a commit since");
    for key in &used {
        assert_eq!(all.iter().filter(|keys| keys.holds(key)).count(), 1);
    }
}

#[test]
fn who_was_never_on_stage_publishes_as_others_do() {
    let mut party = Party::with(&[("ana", Role::Host), ("eve", Role::Listener)], deniable());
    assert_eq!(certificates(&party).len(), 1, "who is off stage seals nothing");
    ended(&mut party);
    let lengths: BTreeSet<_> =
        party.rooms.iter_mut().map(|room| published(room, NOW + PUBLISH_AFTER).unwrap().len()).collect();
    assert_eq!(lengths.len(), 1);
}

#[test]
fn a_room_that_keeps_evidence_or_seals_nothing_publishes_nothing() {
    let off = deniable().with(Setting::Seals(SealMode::Off)).unwrap();
    for settings in [deniable().with_proof(Proof::Evidence), off] {
        let mut party = Party::with(PEOPLE, settings);
        let refresh = party.rooms[1].refresh().unwrap();
        party.deliver(&refresh);
        ended(&mut party);
        for room in &mut party.rooms {
            assert_eq!((room.next_tick(), published(room, NOW + PUBLISH_AFTER * 9)), (None, None));
        }
    }
}

#[test]
fn what_was_used_before_seals_were_switched_off_is_published_still() {
    let mut party = Party::with(PEOPLE, deniable());
    let used = certificates(&party);
    let off = party.rooms[0].set(Setting::Seals(SealMode::Off)).unwrap();
    party.deliver(&off);
    let unused = certificates(&party)[0];
    ended(&mut party);
    let keys = party.rooms.iter_mut().map(|room| published(room, NOW + PUBLISH_AFTER).unwrap());
    let keys: Vec<_> = keys.map(|bytes| PublishedKeys::from_bytes(&bytes).unwrap()).collect();
    for (keys, used) in keys.iter().zip(&used) {
        assert!(keys.holds(&used.deniable) && !keys.holds(&used.evidence));
    }
    assert!(!keys[0].holds(&unused.deniable));
}

#[test]
fn what_is_no_publication_is_an_error_and_changes_nothing() {
    let mut over = Party::with(PEOPLE, deniable());
    ended(&mut over);
    let good = published(&mut over.rooms[1], NOW + PUBLISH_AFTER).unwrap();
    let mut party = Party::with(PEOPLE, deniable());
    for length in 0..good.len() {
        assert!(PublishedKeys::from_bytes(&good[..length]).is_err());
        let error = party.rooms[0].receive(&good[..length], NOW).unwrap_err();
        assert!(matches!(error, Error::Malformed { what: Item::Message, .. }), "{error}");
    }
    // Another room's are nobody's business either.
    assert!(party.rooms[0].receive(&good, NOW).unwrap().is_empty());
    let error = PublishedKeys::from_bytes(&[&good[..], &[0]].concat()).unwrap_err();
    assert!(error.to_string().starts_with("published keys refused"), "{error}");
    party.check();
}

fn card(client: &Bare, keys: Vec<u8>) -> parlor::Result<Card> {
    let package = client.key_package_with(|builder| builder.leaf_node_extensions(media_extension(keys.clone())));
    Card::from_bytes(&MlsMessageOut::from(package).to_bytes().unwrap())
}

#[test]
fn other_implementations_have_media_keys_of_their_own_or_none() {
    let mut party = Party::with(PEOPLE, Settings::default().with_proof(Proof::Evidence));
    let (mel, max) = (Bare::new("mel"), Bare::new("max"));
    let keys = mel.certify(&MediaKey::generate().unwrap(), "mel");
    let cards = [card(&mel, keys.to_bytes().to_vec()).unwrap(), max.card()].map(|card| (card, Role::Speaker));
    let admission = party.rooms[0].admit_all(&cards).unwrap();
    party.deliver(&admission.commit);
    for room in &party.rooms {
        assert_eq!(room.media_keys(&mel.id()), Some(&keys));
        assert_eq!(room.media_keys(&max.id()), None);
        assert_eq!(room.roster().len(), 5);
    }
}

#[test]
fn a_card_with_media_keys_of_another_length_is_refused() {
    let mel = Bare::new("mel");
    let keys = mel.certify(&MediaKey::generate().unwrap(), "mel").to_bytes();
    assert!(card(&mel, keys.to_vec()).is_ok());
    for length in [0, 1, 64, 127] {
        let error = card(&mel, keys[..length].to_vec()).unwrap_err();
        assert!(error.to_string().contains("media keys are not certified"), "{length}: {error}");
    }
    assert!(card(&mel, [&keys[..], &[0]].concat()).is_err());
}

#[test]
fn a_patched_client_changes_her_media_keys_to_her_own_and_to_no_others() {
    let mut world = World::new(Role::Speaker);
    let mal = world.mal.client.id();
    let keys = world.mal.client.certify(&MediaKey::generate().unwrap(), "mal");
    let leaf = |keys: &[u8]| LeafNodeParameters::builder().with_extensions(media_extension(keys.to_vec())).build();
    let another = world.party.rooms[0].media_keys(&world.party.id("ana")).copied().unwrap();
    let renamed = world.mal.client.certify(&MediaKey::generate().unwrap(), "ana");
    for keys in [another, renamed] {
        let commit = world.mal.commit_with(leaf(&keys.to_bytes()), vec![]);
        world.refuse(&commit, Some("mal"), "bring in media keys");
    }
    let commit = world.mal.commit_with(leaf(&keys.to_bytes()[..127]), vec![]);
    world.refuse(&commit, Some("mal"), "bring in media keys");

    assert_eq!(world.party.rooms[0].media_keys(&mal), None);
    let (commit, _) = world.mal.commit_and_welcome(leaf(&keys.to_bytes()), vec![]);
    for events in world.party.deliver(&commit) {
        assert!(matches!(events[..], [Event::Rekeyed(_), Event::Refreshed { .. }]), "{events:?}");
    }
    world.mal.merge();
    assert!(world.party.rooms.iter().all(|room| room.media_keys(&mal) == Some(&keys)));
    world.go_on();
}
