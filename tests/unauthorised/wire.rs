//! What no room takes, what the relay makes of what it has or was given, and what is out of its time.

use openmls::{
    messages::external_proposals::{ExternalProposal, JoinProposal},
    prelude::{tls_codec::DeserializeBytes as _, *},
    schedule::{
        ExternalPsk, PreSharedKeyId, Psk,
        psk::{ResumptionPsk, ResumptionPskUsage},
    },
};
use openmls_basic_credential::SignatureKeyPair;
use openmls_rust_crypto::OpenMlsRustCrypto;
use parlor::{Error, Event, Item, Role, Room, room::Reaction};
use rand::RngExt as _;

use super::{Attempt, EVERYBODY, Evening, Expect, key, leaf, people, people::swollen};
use crate::party::{
    charter::{Charter, HOST},
    gists,
    mal::{Bare, CHARTER, Mal, Part, SUITE, capabilities, media_extension, psk},
    words::{Key, Word},
};

// ---- what no room takes ----

pub fn external_senders(e: &mut Evening) -> Attempt {
    let relay = Bare::new("relay");
    let sender = ExternalSender::new(relay.signer.public().into(), relay.credential("relay").credential);
    let part = e.mal.extend(|extensions| {
        extensions.add_or_replace(Extension::ExternalSenders(vec![sender])).unwrap();
    });
    (e.mal.commit(vec![part]), Expect::Mal("change the group's extensions".into()))
}

pub fn required_capabilities(e: &mut Evening) -> Attempt {
    let twice = e.rng.random();
    let part = e.mal.extend(|extensions| {
        let basic = [CredentialType::Basic; 2];
        let others = if twice { &basic[..] } else { &[] };
        let others = RequiredCapabilitiesExtension::new(&[ExtensionType::Unknown(CHARTER)], &[], others);
        extensions.add_or_replace(Extension::RequiredCapabilities(others)).unwrap();
    });
    (e.mal.commit(vec![part]), Expect::Mal("change the group's extensions".into()))
}

pub fn credential(e: &mut Evening) -> Attempt {
    let name = e.someone(&EVERYBODY).name;
    let name = if e.rng.random() { name } else { format!("mal{}", e.rng.random::<u8>()) };
    let leaf = LeafNodeParameters::builder().with_credential_with_key(e.mal.client.credential(&name)).build();
    (e.mal.commit_with(leaf, vec![]), Expect::Mal("change their credential".into()))
}

pub fn signature_key(e: &mut Evening) -> Attempt {
    let other = SignatureKeyPair::new(SUITE.signature_algorithm()).unwrap();
    let name = if e.rng.random() { "mal".into() } else { e.someone(&EVERYBODY).name };
    let Mal { client, group } = &mut e.mal;
    let provider = &client.provider;
    let credential_with_key = CredentialWithKey { signature_key: other.public().into(), ..client.credential(&name) };
    let bundle = group
        .commit_builder()
        .load_psks(provider.storage())
        .unwrap()
        .build_with_new_signer(
            provider.rand(),
            provider.crypto(),
            &client.signer,
            NewSignerBundle { signer: &other, credential_with_key },
            |_| true,
        )
        .unwrap()
        .stage_commit(provider)
        .unwrap();
    let commit = bundle.into_messages().0.to_bytes().unwrap();
    e.mal.abandon();
    (commit, Expect::Mal("change their signature key".into()))
}

pub fn own_leaf_with_extras(e: &mut Evening) -> Attempt {
    let leaf = LeafNodeParameters::builder().with_extensions(people::odd_door(e)).build();
    (e.mal.commit_with(leaf, vec![]), Expect::Mal("drop a capability or swell their leaf".into()))
}

pub fn own_leaf_swollen(e: &mut Evening) -> Attempt {
    let leaf = LeafNodeParameters::builder().with_capabilities(swollen(e)).build();
    (e.mal.commit_with(leaf, vec![]), Expect::Mal("drop a capability or swell their leaf".into()))
}

pub fn false_media_keys(e: &mut Evening) -> Attempt {
    let keys = people::false_media_keys(&mut e.rng, &e.mal.client);
    let leaf = LeafNodeParameters::builder().with_extensions(media_extension(keys)).build();
    (e.mal.commit_with(leaf, vec![]), Expect::Mal("bring in media keys".into()))
}

pub fn past_key(e: &mut Evening) -> Attempt {
    let past = Psk::Resumption(ResumptionPsk::new(
        ResumptionPskUsage::Application,
        e.mal.group.group_id().clone(),
        e.mal.group.epoch(),
    ));
    let id = PreSharedKeyId::new(SUITE, e.mal.client.provider.rand(), past).unwrap();
    (e.mal.commit(vec![psk(id)]), Expect::Mal("inject a pre-shared key".into()))
}

pub fn outside_key(e: &mut Evening) -> Attempt {
    let (name, secret): ([u8; 16], [u8; 32]) = (e.rng.random(), e.rng.random());
    let known = Psk::External(ExternalPsk::new(name.to_vec()));
    let id = PreSharedKeyId::new(SUITE, e.mal.client.provider.rand(), known).unwrap();
    id.store(&e.mal.client.provider, &secret).unwrap();
    (e.mal.commit(vec![psk(id)]), Expect::Mal("inject a pre-shared key".into()))
}

pub fn external_init(e: &mut Evening) -> Attempt {
    // On the wire: the output of a key encapsulation.
    let kem: [u8; 32] = e.rng.random();
    let init = ExternalInitProposal::tls_deserialize_exact_bytes(&[&[32][..], &kem].concat()).unwrap();
    let part = Part::Proposal(Box::new(Proposal::ExternalInit(Box::new(init))));
    (e.mal.commit(vec![part]), Expect::Mal("commit what MLS forbids".into()))
}

/// A proposal of mal's outside a commit.
fn proposal(e: &mut Evening) -> Vec<u8> {
    let target = leaf(&e.someone(&EVERYBODY));
    let which = e.rng.random_range(0..4);
    let Mal { client, group } = &mut e.mal;
    let (provider, signer) = (&client.provider, &client.signer);
    let message = match which {
        0 => group.propose_add_member(provider, signer, &Bare::new("ghost").key_package()).unwrap().0,
        1 => group.propose_remove_member(provider, signer, target).unwrap().0,
        2 => {
            let mut charter = Charter::read(&group.extensions().unknown(CHARTER).unwrap().0);
            charter.give(key(client.id()), HOST, group.epoch().as_u64() + 1);
            let mut extensions = group.extensions().clone();
            extensions.add_or_replace(Extension::Unknown(CHARTER, UnknownExtension(charter.write()))).unwrap();
            group.propose_group_context_extensions(provider, extensions, signer).unwrap().0
        }
        _ => group.propose_self_update(provider, signer, LeafNodeParameters::default()).unwrap().0,
    };
    message.to_bytes().unwrap()
}

fn forget_proposals(e: &mut Evening) {
    e.mal.group.clear_pending_proposals(e.mal.client.provider.storage()).unwrap();
}

pub fn standalone(e: &mut Evening) -> Attempt {
    let message = proposal(e);
    forget_proposals(e);
    (message, Expect::Mal("send a proposal outside a commit".into()))
}

pub fn by_reference(e: &mut Evening) -> Attempt {
    let target = leaf(&e.someone(&EVERYBODY));
    let Mal { client, group } = &mut e.mal;
    let proposed = group.propose_remove_member(&client.provider, &client.signer, target).unwrap().0;
    for events in e.party.deliver(&proposed.to_bytes().unwrap()) {
        assert!(matches!(events[..], [Event::Refused { .. }]), "{:?}", gists(&events));
    }
    let commit = e.mal.commit(vec![]);
    forget_proposals(e);
    (commit, Expect::Mal("commit a proposal by reference".into()))
}

pub fn in_the_clear(e: &mut Evening) -> Attempt {
    let config = |policy| MlsGroupJoinConfig::builder().wire_format_policy(policy).number_of_resumption_psks(1).build();
    let policies = [PURE_PLAINTEXT_WIRE_FORMAT_POLICY, PURE_CIPHERTEXT_WIRE_FORMAT_POLICY];
    let mut commit = Vec::new();
    for policy in policies {
        e.mal.group.set_configuration(e.mal.client.provider.storage(), &config(policy)).unwrap();
        if commit.is_empty() {
            commit = e.mal.commit(vec![]);
        }
    }
    (commit, Expect::Fails(|error| error.to_string().contains("members' messages are encrypted")))
}

pub fn invitation(e: &mut Evening) -> Attempt {
    let whom = e.someone(&[Role::Listener]);
    let said = [&[3][..], whom.id.as_bytes()].concat();
    (e.say(&said), Expect::Mal(format!("invite {} to speak", whom.name)))
}

pub fn garbled_words(e: &mut Evening) -> Attempt {
    let said: &[&[u8]] = &[&[], &[2], &[1, 1], &[2, 0, 0, 0, 9, 4], &[3, 7], &[4, 2], &[8, 0]];
    let said = said[e.rng.random_range(0..said.len())];
    (e.say(said), Expect::Fails(|error| matches!(error, Error::Malformed { what: Item::Message, .. })))
}

pub fn word_in_anothers_name(e: &mut Evening) -> Attempt {
    let key = Key::of(&e.mal);
    let (who, process) = (e.someone(&EVERYBODY).id, e.rng.random());
    let word = Word { epoch: key.epoch, who, process, number: 0, said: vec![6, b'!'], signature: [0; 64] };
    let word = key.seal(&word.sign(&e.mal.client, &key.room));
    (word, Expect::Fails(|error| matches!(error, Error::Unauthentic { .. })))
}

pub fn word_said_again(e: &mut Evening) -> Attempt {
    let key = Key::of(&e.mal);
    let who = e.rng.random_range(0..e.party.rooms.len());
    let word = e.party.rooms[who].react(&Reaction::new("!").unwrap()).unwrap();
    e.party.deliver(&word);
    let mut again = key.open(&word).unwrap();
    if e.rng.random() {
        again.number += e.rng.random_range(1..1_000);
    }
    (key.seal(&again), Expect::Fails(|error| matches!(error, Error::Malformed { .. } | Error::Unauthentic { .. })))
}

pub fn application_message(e: &mut Evening) -> Attempt {
    let Mal { client, group } = &mut e.mal;
    let message = group.create_message(&client.provider, &client.signer, &[6, b'!']).unwrap();
    let message = message.to_bytes().unwrap();
    (message, Expect::Fails(|error| error.to_string().contains("a room takes none")))
}

// ---- the relay ----

pub fn external_commit(e: &mut Evening) -> Attempt {
    let name = e.someone(&EVERYBODY).name;
    (Bare::new(&name).external_commit(&e.mal), Expect::Somebody("enter by external commit"))
}

pub fn external_proposal(e: &mut Evening) -> Attempt {
    type Storage = <OpenMlsRustCrypto as OpenMlsProvider>::StorageProvider;
    let relay = Bare::new("relay");
    let (id, epoch) = (e.mal.group.group_id().clone(), e.mal.group.epoch());
    let message = if e.rng.random() {
        JoinProposal::new::<Storage>(relay.key_package(), id, epoch, &relay.signer).unwrap()
    } else {
        let target = leaf(&e.someone(&EVERYBODY));
        ExternalProposal::new_remove::<OpenMlsRustCrypto>(
            target,
            id,
            epoch,
            &relay.signer,
            SenderExtensionIndex::new(0),
        )
        .unwrap()
    };
    (message.to_bytes().unwrap(), Expect::Somebody("propose from outside"))
}

pub fn replay(e: &mut Evening) -> Attempt {
    let commit = e.log[e.rng.random_range(0..e.log.len())].clone();
    (commit, Expect::Late)
}

pub fn late_loser(e: &mut Evening) -> Attempt {
    let ben = e.party.id("ben");
    let lost = match e.rng.random_range(0..3) {
        0 => e.party.named("ana").refresh(),
        1 => e.party.named("ana").ban(&ben),
        _ => e.party.named("ben").refresh(),
    };
    e.honest("eve", Room::refresh);
    (lost.unwrap(), Expect::Late)
}

pub fn bit_flip(e: &mut Evening) -> Attempt {
    let mut commit = e.mal.commit(vec![]);
    let at = e.rng.random_range(0..commit.len());
    commit[at] ^= e.rng.random_range(1..=u8::MAX);
    (commit, Expect::Fails(|_| true))
}

pub fn wrong_length(e: &mut Evening) -> Attempt {
    let mut commit = e.mal.commit(vec![]);
    if e.rng.random() {
        commit.truncate(e.rng.random_range(0..commit.len()));
    } else {
        commit.extend(vec![e.rng.random::<u8>(); e.rng.random_range(1..300)]);
    }
    (commit, Expect::Fails(|_| true))
}

pub fn another_room(e: &mut Evening) -> Attempt {
    let client = Bare::new("mal");
    let id = if e.rng.random() { e.mal.group.group_id().clone() } else { GroupId::random(client.provider.rand()) };
    let config = MlsGroupCreateConfig::builder()
        .ciphersuite(SUITE)
        .wire_format_policy(PURE_CIPHERTEXT_WIRE_FORMAT_POLICY)
        .capabilities(capabilities())
        .with_group_context_extensions(e.mal.group.extensions().clone())
        .build();
    let group = MlsGroup::new_with_group_id(&client.provider, &client.signer, &config, id, client.credential("mal"));
    let commit = Mal { client, group: group.unwrap() }.commit(vec![]);
    let now = e.mal.group.epoch().as_u64();
    (renumbered(commit, now), Expect::Fails(|error| matches!(error, Error::Unauthentic { .. })))
}

pub fn wrong_kind(e: &mut Evening) -> Attempt {
    let message = match e.rng.random_range(0..3) {
        0 => MlsMessageOut::from(e.zed.key_package()).to_bytes().unwrap(),
        1 => {
            let ghosts = e.ghosts(2);
            let (_, welcome) = e.mal.commit_and_welcome(LeafNodeParameters::default(), ghosts);
            e.mal.abandon();
            welcome.unwrap()
        }
        _ => {
            let crypto = e.mal.client.provider.crypto();
            e.mal.group.export_group_info(crypto, &e.mal.client.signer, true).unwrap().to_bytes().unwrap()
        }
    };
    (message, Expect::Fails(|error| matches!(error, Error::Malformed { what: Item::Message, .. })))
}

// ---- out of their time ----

/// `message`, a PrivateMessage, said to be of another epoch: version (2), wire format (2), group id, epoch (8).
fn renumbered(mut message: Vec<u8>, epoch: u64) -> Vec<u8> {
    let at = 2 + 2 + 1 + usize::from(message[4]);
    message[at..at + 8].copy_from_slice(&epoch.to_be_bytes());
    message
}

pub fn stale(e: &mut Evening) -> Attempt {
    let parts = if e.rng.random() { e.ghosts(2) } else { vec![] };
    let commit = e.mal.commit(parts);
    for _ in 0..e.rng.random_range(1..4) {
        e.honest("ben", Room::refresh);
    }
    (commit, Expect::Fails(|error| matches!(error, Error::WrongEpoch { .. })))
}

pub fn stale_renumbered(e: &mut Evening) -> Attempt {
    let (commit, _) = stale(e);
    let now = e.mal.group.epoch().as_u64();
    (renumbered(commit, now), Expect::Fails(|error| matches!(error, Error::Unauthentic { .. })))
}

pub fn of_the_removed(e: &mut Evening) -> Attempt {
    let parts = if e.rng.random() { e.ghosts(2) } else { vec![] };
    let commit = e.rex.commit(parts);
    (commit, Expect::Fails(|error| matches!(error, Error::WrongEpoch { .. })))
}

pub fn of_the_removed_renumbered(e: &mut Evening) -> Attempt {
    let (commit, _) = of_the_removed(e);
    let now = e.mal.group.epoch().as_u64();
    (renumbered(commit, now), Expect::Fails(|error| matches!(error, Error::Unauthentic { .. })))
}
