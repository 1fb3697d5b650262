//! The room's end of seals: whose media keys everybody takes to be whose.

mod party;

use openmls::prelude::*;
use parlor::{
    Card, Event, Role, Settings,
    media::seal::{MediaKey, Proof},
};
use party::{
    Party,
    mal::{Bare, World, media_extension},
};

const PEOPLE: &[(&str, Role)] = &[("ana", Role::Host), ("ben", Role::Speaker), ("cy", Role::Speaker)];

fn deniable() -> Settings {
    assert_eq!(Settings::default().seals().proof, Proof::Deniable);
    Settings::default()
}

fn card(client: &Bare, keys: Vec<u8>) -> parlor::Result<Card> {
    let package = client.key_package_with(|builder| builder.leaf_node_extensions(media_extension(keys.clone())));
    Card::from_bytes(&MlsMessageOut::from(package).to_bytes().unwrap())
}

#[test]
fn other_implementations_have_media_keys_of_their_own_or_none() {
    let mut party = Party::with(PEOPLE, deniable());
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
