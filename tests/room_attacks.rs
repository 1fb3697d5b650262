//! What a member with a patched client, an outsider or the relay may try, and what honest members make of it.
//!
//! "mal" is a real member on bare openmls, which checks no policy: everything here is signed, encrypted and
//! consistent as MLS wants it. Each attempt must be refused by every honest member with who and what, leave
//! each of them as it was, and leave the room able to go on.

mod party;

use openmls::{
    messages::external_proposals::JoinProposal,
    prelude::{
        tls_codec::{DeserializeBytes as _, Serialize as _},
        *,
    },
    schedule::{ExternalPsk, PreSharedKeyId, Psk},
};
use openmls_basic_credential::SignatureKeyPair;
use openmls_rust_crypto::OpenMlsRustCrypto;
use parlor::{Card, Error, Event, Item, Role, room};
use party::{
    NOW, Party,
    charter::{Charter, ENDED, HOST, LISTENER, Link, MODERATOR, SPEAKER},
    gists, guest, identity,
    mal::{Bare, CHARTER, DOOR_KEY, LINK_PROOF, SUITE, State, World, add, capabilities, psk, remove, state},
};

/// Leaf extensions that no room takes: a door key that is none, or one of no date.
fn odd_leaves() -> Vec<Extensions<LeafNode>> {
    let door = |fill, length| Extension::Unknown(DOOR_KEY, UnknownExtension(vec![fill; length]));
    [door(7, 31), door(7, 33), door(7, 0), door(7, 41), door(0, 40)]
        .map(|door| Extensions::single(door).unwrap())
        .into()
}

#[test]
fn a_bare_client_that_behaves_is_a_member_like_any_other() {
    let mut world = World::new(Role::Moderator);
    let (ben, liv) = (world.party.id("ben"), world.leaf("liv"));
    let commit = world.mal.commit(vec![remove(liv), world.mal.give(&[(ben, LISTENER)])]);
    let all = world.party.deliver(&commit);
    assert_eq!(gists(&all[0]), ["rekeyed 3", "removed liv", "was speaker"]);
    assert_eq!(gists(&all[4]), ["closed, asked: false"]);
}

#[test]
fn a_listener_or_speaker_may_not_add_a_ghost() {
    for role in [Role::Listener, Role::Speaker] {
        let mut world = World::new(role);
        let ghost = Bare::new("ghost");
        let commit = world.mal.commit(vec![add(ghost.key_package())]);
        world.refuse(&commit, Some("mal"), "admit ghost as a listener");
    }
}

#[test]
fn a_ghost_does_not_follow_a_welcome_of_somebody_who_may_not_admit() {
    let mut world = World::new(Role::Listener);
    let ghost = guest("zed");
    let MlsMessageBodyIn::KeyPackage(package) =
        MlsMessageIn::tls_deserialize_exact_bytes(ghost.card().as_bytes()).unwrap().extract()
    else {
        panic!()
    };
    let package = package.validate(world.mal.client.provider.crypto(), ProtocolVersion::Mls10).unwrap();
    let (commit, welcome) = world.mal.commit_and_welcome(LeafNodeParameters::default(), vec![add(package)]);
    world.mal.abandon();
    let failed = ghost.enter(&welcome.unwrap()).unwrap_err();
    let Error::Denied(why) = &failed.error else { panic!("{failed}") };
    assert_eq!((why.actor.as_str(), why.action.as_str()), ("mal", "admit zed as a listener"));
    world.refuse(&commit, Some("mal"), "admit zed");
}

#[test]
fn a_moderator_may_not_admit_a_moderator_or_a_host() {
    for role in [MODERATOR, HOST] {
        let mut world = World::new(Role::Moderator);
        let ghost = Bare::new("ghost");
        let commit = world.mal.commit(vec![add(ghost.key_package()), world.mal.give(&[(ghost.id(), role)])]);
        world.refuse(&commit, Some("mal"), "admit ghost as a");
    }
}

#[test]
fn nobody_raises_their_own_role() {
    for (role, to) in
        [(Role::Listener, SPEAKER), (Role::Listener, HOST), (Role::Speaker, HOST), (Role::Moderator, HOST)]
    {
        let mut world = World::new(role);
        let me = world.mal.client.id();
        let commit = world.mal.commit(vec![world.mal.give(&[(me, to)])]);
        world.refuse(&commit, Some("mal"), "make mal, a");
    }
}

#[test]
fn a_listener_may_not_move_others_to_the_stage_or_off_it() {
    let mut world = World::new(Role::Listener);
    let (eve, ben) = (world.party.id("eve"), world.party.id("ben"));
    let commit = world.mal.commit(vec![world.mal.give(&[(eve, SPEAKER)])]);
    world.refuse(&commit, Some("mal"), "make eve, a listener, a speaker");
    let commit = world.mal.commit(vec![world.mal.give(&[(ben, LISTENER)])]);
    world.refuse(&commit, Some("mal"), "make ben, a speaker, a listener");
}

#[test]
fn a_moderator_may_not_demote_a_host_or_make_one() {
    let mut world = World::new(Role::Moderator);
    let (ana, ben) = (world.party.id("ana"), world.party.id("ben"));
    let commit = world.mal.commit(vec![world.mal.give(&[(ana, SPEAKER), (ben, HOST)])]);
    world.refuse(&commit, Some("mal"), "make");
    let commit = world.mal.commit(vec![world.mal.give(&[(ben, HOST)])]);
    world.refuse(&commit, Some("mal"), "make ben, a speaker, a host");
}

#[test]
fn nobody_removes_whom_their_role_does_not_let_them() {
    for (role, victim) in [
        (Role::Listener, "ana"),
        (Role::Listener, "eve"),
        (Role::Speaker, "eve"),
        (Role::Speaker, "ben"),
        (Role::Moderator, "mo"),
        (Role::Moderator, "ana"),
    ] {
        let mut world = World::new(role);
        let id = world.party.id(victim);
        let mut proposals = vec![remove(world.leaf(victim))];
        if victim != "eve" {
            proposals.push(world.mal.give(&[(id, LISTENER)]));
        }
        let commit = world.mal.commit(proposals);
        world.refuse(&commit, Some("mal"), &format!("remove {victim}"));
    }
}

#[test]
fn a_role_goes_with_its_member_and_to_members_only() {
    let mut world = World::new(Role::Host);
    let ben = world.leaf("ben");
    let commit = world.mal.commit(vec![remove(ben)]);
    world.refuse(&commit, Some("mal"), "remove ben and keep their role");
    let stranger = identity("zed").id();
    let commit = world.mal.commit(vec![world.mal.give(&[(stranger, HOST)])]);
    world.refuse(&commit, Some("mal"), "give a role to somebody who is not in the room");
}

#[test]
fn a_room_keeps_a_host() {
    let mut world = World::new(Role::Host);
    let (ana, mal) = (world.party.id("ana"), world.mal.client.id());
    let commit = world.mal.commit(vec![world.mal.give(&[(ana, LISTENER), (mal, LISTENER)])]);
    world.refuse(&commit, Some("mal"), "leave the room without a host");
}

#[test]
fn nobody_changes_their_name() {
    for role in [Role::Listener, Role::Host] {
        let mut world = World::new(role);
        let leaf = LeafNodeParameters::builder().with_credential_with_key(world.mal.client.credential("ana")).build();
        let commit = world.mal.commit_with(leaf, vec![]);
        world.refuse(&commit, Some("mal"), "change their credential");
    }
}

#[test]
fn nobody_changes_their_signature_key() {
    let mut world = World::new(Role::Host);
    let other = SignatureKeyPair::new(SUITE.signature_algorithm()).unwrap();
    let provider = &world.mal.client.provider;
    let credential_with_key =
        CredentialWithKey { signature_key: other.public().into(), ..world.mal.client.credential("mal") };
    let bundle = world
        .mal
        .group
        .commit_builder()
        .load_psks(provider.storage())
        .unwrap()
        .build_with_new_signer(
            provider.rand(),
            provider.crypto(),
            &world.mal.client.signer,
            NewSignerBundle { signer: &other, credential_with_key },
            |_| true,
        )
        .unwrap()
        .stage_commit(provider)
        .unwrap();
    let commit = bundle.into_messages().0.to_bytes().unwrap();
    world.mal.group.clear_pending_commit(provider.storage()).unwrap();
    world.refuse(&commit, Some("mal"), "change their signature key");
}

#[test]
fn nobody_changes_what_their_leaf_can_do() {
    let mut world = World::new(Role::Host);
    for extensions in odd_leaves() {
        let leaf = LeafNodeParameters::builder().with_extensions(extensions).build();
        let commit = world.mal.commit_with(leaf, vec![]);
        world.refuse(&commit, Some("mal"), "drop a capability");
    }
}

#[test]
fn a_moderator_may_not_change_the_title() {
    let mut world = World::new(Role::Moderator);
    let commit = world.mal.commit(vec![world.mal.recharter(|charter| charter.title = b"mine".to_vec())]);
    world.refuse(&commit, Some("mal"), "change the room's title");
}

#[test]
fn not_even_a_host_changes_the_suite_or_the_layout() {
    for change in [
        |charter: &mut Charter| charter.suite = 4,
        |charter: &mut Charter| charter.sender_bits = 13,
        |charter: &mut Charter| charter.epoch_bits = 4,
    ] {
        let mut world = World::new(Role::Host);
        let commit = world.mal.commit(vec![world.mal.recharter(change)]);
        world.refuse(&commit, Some("mal"), "change the frame suite or the key-id layout");
    }
}

#[test]
fn settings_that_cannot_be_read_are_refused() {
    let mut world = World::new(Role::Host);
    for bytes in [vec![], vec![9], vec![0; 70_000]] {
        let extension = Extension::Unknown(CHARTER, UnknownExtension(bytes));
        let proposal = world.mal.extend(|extensions| {
            extensions.add_or_replace(extension).unwrap();
        });
        let commit = world.mal.commit(vec![proposal]);
        world.refuse(&commit, Some("mal"), "replace the room's settings");
    }
    let proposal = world.mal.extend(|extensions| {
        extensions.remove(ExtensionType::Unknown(CHARTER)).unwrap();
    });
    let commit = world.mal.commit(vec![proposal]);
    world.refuse(&commit, Some("mal"), "replace the room's settings");
}

#[test]
fn the_groups_other_extensions_stay() {
    let mut world = World::new(Role::Host);
    let proposal = world.mal.extend(|extensions| {
        let fewer = RequiredCapabilitiesExtension::new(&[ExtensionType::Unknown(CHARTER)], &[], &[]);
        extensions.add_or_replace(Extension::RequiredCapabilities(fewer)).unwrap();
    });
    let commit = world.mal.commit(vec![proposal]);
    world.refuse(&commit, Some("mal"), "change the group's extensions");

    // Somebody outside who could propose.
    let relay = Bare::new("relay");
    let sender = ExternalSender::new(relay.signer.public().into(), relay.credential("relay").credential);
    let proposal = world.mal.extend(|extensions| {
        extensions.add_or_replace(Extension::ExternalSenders(vec![sender])).unwrap();
    });
    let commit = world.mal.commit(vec![proposal]);
    world.refuse(&commit, Some("mal"), "change the group's extensions");
}

#[test]
fn what_is_allowed_does_not_carry_what_is_not() {
    let mut world = World::new(Role::Moderator);
    let mal = world.mal.client.id();
    let liv = world.leaf("liv");
    let commit = world.mal.commit(vec![remove(liv), world.mal.give(&[(mal, HOST)])]);
    world.refuse(&commit, Some("mal"), "make mal, a moderator, a host");
}

#[test]
fn a_name_nobody_could_show_is_not_admitted() {
    for name in ["", "a\u{0}b", "a name that goes on and on and on and on and on and on and on and on"] {
        let mut world = World::new(Role::Host);
        let ghost = Bare::new(name);
        let commit = world.mal.commit(vec![add(ghost.key_package())]);
        world.refuse(&commit, Some("mal"), "admit somebody");
    }
}

#[test]
fn a_card_valid_for_years_or_with_odd_parts_is_not_admitted() {
    let ghost = Bare::new("ghost");
    let year = ghost.key_package_with(|builder| builder.key_package_lifetime(Lifetime::new(366 * 24 * 3600)));
    let extras = odd_leaves()
        .into_iter()
        .map(|extensions| ghost.key_package_with(|builder| builder.leaf_node_extensions(extensions.clone())));
    let proofs = [95, 97].map(|length| {
        let proof = Extension::Unknown(LINK_PROOF, UnknownExtension(vec![7; length]));
        ghost.key_package_with(|builder| builder.key_package_extensions(Extensions::single(proof.clone()).unwrap()))
    });
    for package in extras.chain(proofs).chain([year]) {
        let card = MlsMessageOut::from(package.clone()).to_bytes().unwrap();
        assert!(matches!(Card::from_bytes(&card), Err(Error::Unfit { .. })));
        let mut world = World::new(Role::Host);
        let commit = world.mal.commit(vec![add(package)]);
        world.refuse(&commit, Some("mal"), "admit ghost");
    }
}

#[test]
fn nobody_swells_the_tree_with_a_leaf_as_large_as_a_message() {
    // The tree is in every welcome: two or three such leaves, and nobody could be let in any more.
    let many: Vec<ExtensionType> = (0x1000..0x3000).map(ExtensionType::Unknown).collect();
    let swollen = || {
        let extensions: Vec<_> = many.iter().copied().chain([ExtensionType::Unknown(CHARTER)]).collect();
        Capabilities::new(None, Some(&[SUITE]), Some(&extensions), None, Some(&[CredentialType::Basic]))
    };
    let mut world = World::new(Role::Listener);
    let commit = world.mal.commit_with(LeafNodeParameters::builder().with_capabilities(swollen()).build(), vec![]);
    world.refuse(&commit, Some("mal"), "drop a capability or swell their leaf");

    let mut world = World::new(Role::Moderator);
    let ghost = Bare::new("ghost").key_package_with(|builder| builder.leaf_node_capabilities(swollen()));
    let commit = world.mal.commit(vec![add(ghost)]);
    world.refuse(&commit, Some("mal"), "admit ghost");
}

#[test]
fn a_command_makes_no_message_that_is_too_large_to_be_taken() {
    let mut party = Party::new(&[("ana", Role::Host), ("ben", Role::Listener)]);
    // Each card is within its bound; together they are more than a message may be.
    let padding = Extension::Unknown(0xF0DD, UnknownExtension(vec![0; 3_500]));
    let cards: Vec<(Card, Role)> = (0..320)
        .map(|_| {
            let extensions = [CHARTER, 0xF0DD].map(ExtensionType::Unknown);
            let able = Capabilities::new(None, Some(&[SUITE]), Some(&extensions), None, Some(&[CredentialType::Basic]));
            let package = Bare::new("guest").key_package_with(|builder| {
                let builder = builder.leaf_node_capabilities(able.clone());
                builder.key_package_extensions(Extensions::single(padding.clone()).unwrap())
            });
            let card = MlsMessageOut::from(package).to_bytes().unwrap();
            (Card::from_bytes(&card).unwrap(), Role::Listener)
        })
        .collect();
    let ana = &mut party.rooms[0];
    let before = state(ana);
    assert!(matches!(
        ana.admit_all(&cards),
        Err(Error::TooLarge { what: Item::Message, limit: room::MAX_MESSAGE, .. })
    ));
    assert!(!ana.is_pending());
    assert_eq!(state(ana), before);
    let few = ana.admit_all(&cards[..100]).unwrap();
    party.deliver(&few.commit);
    assert_eq!(party.rooms[1].roster().len(), 102);
}

#[test]
fn a_pre_shared_key_of_the_groups_past_is_refused() {
    let mut world = World::new(Role::Host);
    let past = Psk::Resumption(openmls::schedule::psk::ResumptionPsk::new(
        openmls::schedule::psk::ResumptionPskUsage::Application,
        world.mal.group.group_id().clone(),
        world.mal.group.epoch(),
    ));
    let id = PreSharedKeyId::new(SUITE, world.mal.client.provider.rand(), past).unwrap();
    let commit = world.mal.commit(vec![psk(id)]);
    // Who made the room can read the commit to its end, and so names mal; the others know that a member signed it.
    let before: Vec<State> = world.party.rooms.iter().map(state).collect();
    for room in &mut world.party.rooms {
        let events = room.receive(&commit, NOW).unwrap();
        assert!(
            matches!(&events[..], [Event::Refused { why, .. }] if why.action == "inject a pre-shared key"),
            "{:?}",
            gists(&events)
        );
    }
    assert_eq!(world.party.rooms.iter().map(state).collect::<Vec<_>>(), before);
    world.go_on();
}

#[test]
fn a_pre_shared_key_from_outside_is_refused() {
    let mut world = World::new(Role::Host);
    let known = Psk::External(ExternalPsk::new(b"known to the relay".to_vec()));
    let id = PreSharedKeyId::new(SUITE, world.mal.client.provider.rand(), known).unwrap();
    id.store(&world.mal.client.provider, &[7; 32]).unwrap();
    let commit = world.mal.commit(vec![psk(id)]);
    // Nobody here has the key, so the commit cannot be read to its end: that mal has signed it is known all the same.
    world.refuse(&commit, Some("mal"), "inject a pre-shared key");
}

#[test]
fn an_outsider_does_not_enter_by_external_commit() {
    let mut world = World::new(Role::Host);
    let commit = Bare::new("ana").external_commit(&world.mal);
    world.refuse(&commit, None, "enter by external commit");
}

#[test]
fn an_outsider_does_not_propose() {
    let mut world = World::new(Role::Listener);
    let outsider = Bare::new("zed");
    let proposal = JoinProposal::new::<<OpenMlsRustCrypto as OpenMlsProvider>::StorageProvider>(
        outsider.key_package(),
        world.mal.group.group_id().clone(),
        world.mal.group.epoch(),
        &outsider.signer,
    )
    .unwrap();
    world.refuse(&proposal.to_bytes().unwrap(), None, "propose from outside");
}

#[test]
fn standalone_proposals_are_refused_and_never_kept() {
    let mut world = World::new(Role::Host);
    let ghost = Bare::new("ghost");
    let (add, _) = world
        .mal
        .group
        .propose_add_member(&world.mal.client.provider, &world.mal.client.signer, &ghost.key_package())
        .unwrap();
    let add = add.to_bytes().unwrap();
    let before: Vec<State> = world.party.rooms.iter().map(state).collect();
    for room in &mut world.party.rooms {
        let events = room.receive(&add, NOW).unwrap();
        assert_eq!(
            gists(&events),
            ["refused: mal may not send a proposal outside a commit: no room takes that; a room has \
              commands for what may be done"]
        );
    }
    // Her commit names the proposal by its hash; nobody has kept it.
    let commit = world.mal.commit(vec![]);
    world.mal.group.clear_pending_proposals(world.mal.client.provider.storage()).unwrap();
    assert_eq!(world.party.rooms.iter().map(state).collect::<Vec<_>>(), before);
    world.refuse(&commit, Some("mal"), "commit a proposal by reference");

    for remove in [world.leaf("ana"), world.leaf("liv")] {
        let (remove, _) = world
            .mal
            .group
            .propose_remove_member(&world.mal.client.provider, &world.mal.client.signer, remove)
            .unwrap();
        world.mal.group.clear_pending_proposals(world.mal.client.provider.storage()).unwrap();
        world.refuse(&remove.to_bytes().unwrap(), Some("mal"), "send a proposal outside a commit");
    }
    let (update, _) = world
        .mal
        .group
        .propose_self_update(&world.mal.client.provider, &world.mal.client.signer, LeafNodeParameters::default())
        .unwrap();
    world.mal.group.clear_pending_proposals(world.mal.client.provider.storage()).unwrap();
    world.refuse(&update.to_bytes().unwrap(), Some("mal"), "send a proposal outside a commit");
}

#[test]
fn a_commit_of_an_epoch_gone_by_is_refused() {
    let mut world = World::new(Role::Host);
    let stale = world.mal.commit(vec![]);
    world.go_on();
    let before: Vec<State> = world.party.rooms.iter().map(state).collect();
    for room in &mut world.party.rooms {
        assert!(matches!(room.receive(&stale, NOW), Err(Error::WrongEpoch { message: 2, room: 4, .. })));
    }
    assert_eq!(world.party.rooms.iter().map(state).collect::<Vec<_>>(), before);
    world.go_on();
}

#[test]
fn a_refused_commit_does_not_block_one_that_is_on_its_way() {
    let mut world = World::new(Role::Listener);
    let ghost = Bare::new("ghost");
    let eve = world.party.id("eve");
    let pending = world.party.named("ana").set_role(&eve, Role::Speaker).unwrap();
    let attack = world.mal.commit(vec![add(ghost.key_package())]);
    for events in world.party.deliver(&attack) {
        assert!(matches!(events[..], [Event::Refused { .. }]));
    }
    assert!(world.party.named("ana").is_pending());
    for events in world.party.deliver(&pending) {
        assert_eq!(gists(&events), ["rekeyed 3", "was listener"]);
    }
    world.mal.follow(&pending);
    world.go_on();
}

#[test]
fn a_member_who_was_removed_is_heard_no_more() {
    let mut world = World::new(Role::Host);
    let mal = world.mal.client.id();
    let removal = world.party.named("ana").remove(&mal).unwrap();
    world.party.deliver(&removal);
    world.party.check();
    // She goes on from the epoch she has.
    let commit = world.mal.commit(vec![]);
    let ghost = Bare::new("ghost");
    let takeover = world.mal.commit(vec![add(ghost.key_package())]);
    for room in &mut world.party.rooms {
        for message in [&commit, &takeover] {
            assert!(matches!(room.receive(message, NOW), Err(Error::WrongEpoch { .. })));
        }
    }
    world.party.check();
}

#[test]
fn a_fork_made_in_secret_does_not_take_hold() {
    // mal commits twice in one epoch and shows each half of the room another: the second is late for whoever has
    // the first, and their codes differ for all to see.
    let mut world = World::new(Role::Host);
    let (one, two) = (world.mal.commit(vec![]), world.mal.commit(vec![]));
    let (left, right) = world.party.rooms.split_at_mut(2);
    for room in left.iter_mut() {
        room.receive(&one, NOW).unwrap();
        assert!(matches!(room.receive(&two, NOW), Err(Error::WrongEpoch { .. })));
    }
    for room in right.iter_mut() {
        room.receive(&two, NOW).unwrap();
    }
    assert_eq!(left[0].epoch(), right[0].epoch());
    assert_ne!(left[0].code(), right[0].code());
}

#[test]
fn a_welcome_into_a_group_that_is_no_room_is_refused() {
    let relay = Bare::new("relay");
    let ben = guest("ben");
    let MlsMessageBodyIn::KeyPackage(package) =
        MlsMessageIn::tls_deserialize_exact_bytes(ben.card().as_bytes()).unwrap().extract()
    else {
        panic!()
    };
    let package = package.validate(relay.provider.crypto(), ProtocolVersion::Mls10).unwrap();
    let config = || {
        MlsGroupCreateConfig::builder().ciphersuite(SUITE).capabilities(capabilities()).use_ratchet_tree_extension(true)
    };
    // A charter that is in order, with the relay as the host.
    let mut charter = Charter::empty();
    charter.give(*relay.id().as_bytes(), HOST, 0);
    let charter = Extension::Unknown(CHARTER, UnknownExtension(charter.write()));
    let required = Extension::RequiredCapabilities(RequiredCapabilitiesExtension::new(
        &[ExtensionType::Unknown(CHARTER)],
        &[],
        &[CredentialType::Basic],
    ));
    let sender = ExternalSender::new(relay.signer.public().into(), relay.credential("relay").credential);
    let open_to_the_relay = vec![charter.clone(), required.clone(), Extension::ExternalSenders(vec![sender])];
    let lax = RequiredCapabilitiesExtension::new(&[ExtensionType::Unknown(CHARTER)], &[], &[]);

    let mut ben = ben;
    for (extensions, good) in [
        (vec![], false),
        (open_to_the_relay, false),
        (vec![charter.clone(), Extension::RequiredCapabilities(lax)], false),
        (vec![charter, required], true),
    ] {
        let config = config().with_group_context_extensions(Extensions::from_vec(extensions).unwrap()).build();
        let mut group = MlsGroup::new(&relay.provider, &relay.signer, &config, relay.credential("relay")).unwrap();
        let (_, welcome, _) =
            group.add_members(&relay.provider, &relay.signer, std::slice::from_ref(&package)).unwrap();
        let welcome = welcome.tls_serialize_detached().unwrap();
        if good {
            // Whoever's code it is, this is a room as any other, with the relay for a host, and shows it.
            assert_eq!(ben.enter(&welcome).unwrap().0.roster().next().unwrap().name, "relay");
            return;
        }
        let failed = ben.enter(&welcome).unwrap_err();
        assert!(failed.to_string().contains("no parlor room"), "{failed}");
        ben = *failed.guest;
    }
}

#[test]
fn a_guest_enters_no_room_whose_settings_do_not_hold_together() {
    let relay = Bare::new("relay");
    let (me, stranger) = (relay.id(), identity("zed").id());
    let mut ben = guest("ben");
    let (mine, bens) = (*me.as_bytes(), *ben.card().id().as_bytes());
    let link = move |issuer| Link { role: LISTENER, one_shot: 0, expires: 0, issuer };
    type Flaw<'a> = (&'a dyn Fn(&mut Charter), &'static str);
    let flaws: [Flaw<'_>; 8] = [
        (&|charter| charter.give(mine, MODERATOR, 0), "the room has no host"),
        (&|charter| charter.give(*stranger.as_bytes(), HOST, 0), "somebody who is not in the room"),
        // Leaf 1 is another's, so that Ben gets leaf 2.
        (&|charter| charter.sender_bits = 1, "more leaves than the room's key ids can name"),
        (&|charter| charter.flags = ENDED, "the room has ended"),
        (&|charter| _ = charter.banned.insert(bens), "you are banned"),
        (&|charter| (charter.entry, charter.links) = (2, [([9; 32], link(bens))].into()), "whose issuer is no host"),
        (&|charter| charter.links = [([9; 32], link(mine))].into(), "whose issuer is no host"),
        (&|charter| (charter.entry, charter.links) = (2, [([9; 32], link(mine))].into()), ""),
    ];
    for (change, why) in flaws {
        let mut charter = Charter::empty();
        charter.give(mine, HOST, 0);
        change(&mut charter);
        let extensions = vec![
            Extension::RequiredCapabilities(RequiredCapabilitiesExtension::new(
                &[ExtensionType::Unknown(CHARTER)],
                &[],
                &[CredentialType::Basic],
            )),
            Extension::Unknown(CHARTER, UnknownExtension(charter.write())),
        ];
        let config = MlsGroupCreateConfig::builder()
            .ciphersuite(SUITE)
            .capabilities(capabilities())
            .use_ratchet_tree_extension(true)
            .with_group_context_extensions(Extensions::from_vec(extensions).unwrap())
            .build();
        let mut group = MlsGroup::new(&relay.provider, &relay.signer, &config, relay.credential("relay")).unwrap();
        let MlsMessageBodyIn::KeyPackage(package) =
            MlsMessageIn::tls_deserialize_exact_bytes(ben.card().as_bytes()).unwrap().extract()
        else {
            panic!()
        };
        let package = package.validate(relay.provider.crypto(), ProtocolVersion::Mls10).unwrap();
        let both = [Bare::new("eve").key_package(), package];
        let (_, welcome, _) = group.add_members(&relay.provider, &relay.signer, &both).unwrap();
        let entered = ben.enter(&welcome.tls_serialize_detached().unwrap());
        if why.is_empty() {
            entered.unwrap();
            return;
        }
        let failed = entered.unwrap_err();
        assert!(failed.to_string().contains(why), "{failed}");
        ben = *failed.guest;
    }
}
