//! Nothing is merged that a newcomer would refuse: of the ratchet tree that comes of a commit all keys differ, those of
//! leaves and those of parent nodes.

mod party;

use std::{cell::Cell, sync::Mutex};

use openmls::prelude::*;
use openmls_rust_crypto::RustCrypto;
use openmls_traits::{
    crypto::OpenMlsCrypto,
    types::{
        AeadType, CryptoError, ExporterSecret, HashType, HpkeCiphertext, HpkeConfig, HpkeKeyPair, KemOutput,
        SignatureScheme,
    },
};
use parlor::{Card, Error, Event, Role, Room};
use party::{
    NOW, gists, guest,
    jam::{card_with, package, parent_keys},
    mal::{Bare, World, add},
};
use tls_codec::SecretVLBytes;

/// A room in which everybody has committed once, so that there are parent nodes.
fn world(role: Role) -> World {
    let mut world = World::new(role);
    for name in ["ben", "eve", "liv", "ana"] {
        let commit = world.party.named(name).refresh().unwrap();
        world.party.deliver(&commit);
        world.mal.follow(&commit);
    }
    world
}

/// Somebody is let in, and can read who is there.
#[track_caller]
fn a_guest_enters(world: &mut World, name: &str) {
    let yo = guest(name);
    let admission = world.party.named("ana").admit(yo.card(), Role::Listener).unwrap();
    world.party.deliver(&admission.commit);
    let (room, _) = yo.enter(&admission.welcome).unwrap();
    assert_eq!(room.code(), world.party.rooms[0].code());
    world.mal.follow(&admission.commit);
}

#[test]
fn a_card_whose_key_is_in_the_tree_is_refused_by_name_and_the_others_of_its_batch_get_in() {
    let mut world = world(Role::Listener);
    let count = parent_keys(&world.mal).len();
    assert!(count >= 5, "{count}");
    for n in 0..count {
        // The tree is another after each commit.
        let Some(key) = parent_keys(&world.mal).get(n).copied() else { break };
        let zed = Bare::new("zed");
        let card = Card::from_bytes(&card_with(&zed, key)).unwrap();
        let guests: Vec<_> = (0..3).map(|n| guest(&format!("honest {n}"))).collect();
        let mut batch: Vec<_> = guests.iter().map(|guest| (guest.card().clone(), Role::Listener)).collect();
        batch.insert(1, (card, Role::Listener));
        let error = world.party.named("ana").admit_all(&batch).unwrap_err();
        let Error::Denied(why) = &error else { panic!("{error}") };
        assert_eq!(why.actor, "zed", "{why}");
        batch.remove(1);
        let admission = world.party.named("ana").admit_all(&batch).unwrap();
        world.party.deliver(&admission.commit);
        world.mal.follow(&admission.commit);
        for guest in guests {
            let id = guest.card().id();
            guest.enter(&admission.welcome).unwrap();
            let out = world.party.named("ana").remove(&id).unwrap();
            world.party.deliver(&out);
            world.mal.follow(&out);
        }
        // Removals have blanked the parents: they come anew.
        for name in ["liv", "ana"] {
            let commit = world.party.named(name).refresh().unwrap();
            world.party.deliver(&commit);
            world.mal.follow(&commit);
        }
    }
    a_guest_enters(&mut world, "after");
}

#[test]
fn two_cards_of_one_key_are_refused_by_name() {
    let mut world = world(Role::Listener);
    let [one, other] = ["one", "other"].map(Bare::new);
    let card = |client: &Bare| Card::from_bytes(&card_with(client, [9; 32])).unwrap();
    let batch = [(card(&one), Role::Listener), (card(&other), Role::Listener)];
    let error = world.party.named("ana").admit_all(&batch).unwrap_err();
    let Error::Denied(why) = &error else { panic!("{error}") };
    assert_eq!(why.actor, "other", "{why}");
    // One of them alone may come in, and then the other may not.
    let admission = world.party.named("ana").admit(&batch[0].0, Role::Listener).unwrap();
    world.party.deliver(&admission.commit);
    let error = world.party.named("ana").admit(&batch[1].0, Role::Listener).unwrap_err();
    assert!(matches!(&error, Error::Denied(why) if why.actor == "other"), "{error}");
}

#[test]
fn a_patched_moderator_who_lets_such_a_card_in_is_refused_and_named() {
    let mut world = world(Role::Moderator);
    for n in 0..parent_keys(&world.mal).len() {
        let key = parent_keys(&world.mal)[n];
        let zed = Bare::new("zed");
        let commit = world.mal.commit(vec![add(package(&card_with(&zed, key))), add(Bare::new("yan").key_package())]);
        world.refuse(&commit, Some("mal"), "admit zed");
    }
    a_guest_enters(&mut world, "after");
}

/// RustCrypto, but for one of the key pairs that are derived: its public key is another's.
struct Swapping {
    primitives: RustCrypto,
    nth: usize,
    key: [u8; 32],
    derived: Mutex<Cell<usize>>,
}

#[test]
fn an_update_path_with_a_key_that_is_in_the_tree_is_merged_by_nobody() {
    let (mut refused, mut stuck) = (0, 0);
    for nth in 0..3 {
        let mut world = world(Role::Listener);
        for n in 0..parent_keys(&world.mal).len() {
            let Some(key) = parent_keys(&world.mal).get(n).copied() else { break };
            let swapping = Swapping { primitives: RustCrypto::default(), nth, key, derived: Mutex::default() };
            let mal = &mut world.mal;
            let bundle = mal.group.commit_builder().force_self_update(true).load_psks(mal.client.provider.storage());
            let Ok(bundle) = bundle.unwrap().build(mal.client.provider.rand(), &swapping, &mal.client.signer, |_| true)
            else {
                continue;
            };
            let (commit, ..) = bundle.stage_commit(&mal.client.provider).unwrap().into_messages();
            mal.abandon();
            let (commit, epoch, id) = (commit.to_bytes().unwrap(), world.party.rooms[0].epoch(), world.mal.client.id());
            for room in &mut world.party.rooms {
                let made = room.receive(&commit, NOW);
                assert_eq!(room.epoch(), epoch, "{nth}: {:?}", made.map(|events| gists(&events)));
                match made.as_deref() {
                    Ok([Event::Refused { actor, .. }]) => {
                        assert_eq!(*actor, Some(id));
                        refused += 1;
                    }
                    // Whoever gets a secret of that node sees that its key does not come of it.
                    Ok([Event::Stuck { by, .. }]) => {
                        assert_eq!(*by, Some(id));
                        stuck += 1;
                    }
                    other => panic!("{nth}: {other:?}"),
                }
            }
            world.go_on();
            a_guest_enters(&mut world, "after");
        }
    }
    println!("{refused} refused, {stuck} could not read it");
    assert!(refused > 20 && stuck > 20, "{refused} refused, {stuck} could not read it");
}

#[test]
fn who_holds_a_link_and_such_a_card_keeps_nobody_else_out() {
    // The door takes a card by the same reader, and lets in by the same commit.
    let mut world = world(Role::Listener);
    let key = parent_keys(&world.mal)[0];
    let card = Card::from_bytes(&card_with(&Bare::new("zed"), key)).unwrap();
    let room: &mut Room = world.party.named("ana");
    assert!(room.admit(&card, Role::Listener).is_err());
    assert!(!room.is_pending(), "nothing is on its way");
    a_guest_enters(&mut world, "after");
}

impl OpenMlsCrypto for Swapping {
    fn derive_hpke_keypair(&self, config: HpkeConfig, ikm: &[u8]) -> Result<HpkeKeyPair, CryptoError> {
        let mut pair = self.primitives.derive_hpke_keypair(config, ikm)?;
        let derived = self.derived.lock().unwrap();
        if derived.replace(derived.get() + 1) == self.nth {
            pair.public = self.key.to_vec();
        }
        Ok(pair)
    }

    fn supports(&self, suite: Ciphersuite) -> Result<(), CryptoError> {
        self.primitives.supports(suite)
    }

    fn supported_ciphersuites(&self) -> Vec<Ciphersuite> {
        self.primitives.supported_ciphersuites()
    }

    fn hkdf_extract(&self, hash: HashType, salt: &[u8], ikm: &[u8]) -> Result<SecretVLBytes, CryptoError> {
        self.primitives.hkdf_extract(hash, salt, ikm)
    }

    fn hmac(&self, hash: HashType, key: &[u8], message: &[u8]) -> Result<SecretVLBytes, CryptoError> {
        self.primitives.hmac(hash, key, message)
    }

    fn hkdf_expand(&self, hash: HashType, prk: &[u8], info: &[u8], len: usize) -> Result<SecretVLBytes, CryptoError> {
        self.primitives.hkdf_expand(hash, prk, info, len)
    }

    fn hash(&self, hash: HashType, data: &[u8]) -> Result<Vec<u8>, CryptoError> {
        self.primitives.hash(hash, data)
    }

    fn aead_encrypt(
        &self,
        alg: AeadType,
        key: &[u8],
        data: &[u8],
        nonce: &[u8],
        aad: &[u8],
    ) -> Result<Vec<u8>, CryptoError> {
        self.primitives.aead_encrypt(alg, key, data, nonce, aad)
    }

    fn aead_decrypt(
        &self,
        alg: AeadType,
        key: &[u8],
        sealed: &[u8],
        nonce: &[u8],
        aad: &[u8],
    ) -> Result<Vec<u8>, CryptoError> {
        self.primitives.aead_decrypt(alg, key, sealed, nonce, aad)
    }

    fn signature_key_gen(&self, alg: SignatureScheme) -> Result<(Vec<u8>, Vec<u8>), CryptoError> {
        self.primitives.signature_key_gen(alg)
    }

    fn verify_signature(
        &self,
        alg: SignatureScheme,
        data: &[u8],
        key: &[u8],
        signature: &[u8],
    ) -> Result<(), CryptoError> {
        self.primitives.verify_signature(alg, data, key, signature)
    }

    fn sign(&self, alg: SignatureScheme, data: &[u8], key: &[u8]) -> Result<Vec<u8>, CryptoError> {
        self.primitives.sign(alg, data, key)
    }

    fn hpke_seal(
        &self,
        config: HpkeConfig,
        to: &[u8],
        info: &[u8],
        aad: &[u8],
        plain: &[u8],
    ) -> Result<HpkeCiphertext, CryptoError> {
        self.primitives.hpke_seal(config, to, info, aad, plain)
    }

    fn hpke_open(
        &self,
        config: HpkeConfig,
        input: &HpkeCiphertext,
        secret: &[u8],
        info: &[u8],
        aad: &[u8],
    ) -> Result<Vec<u8>, CryptoError> {
        self.primitives.hpke_open(config, input, secret, info, aad)
    }

    fn hpke_setup_sender_and_export(
        &self,
        config: HpkeConfig,
        to: &[u8],
        info: &[u8],
        context: &[u8],
        len: usize,
    ) -> Result<(KemOutput, ExporterSecret), CryptoError> {
        self.primitives.hpke_setup_sender_and_export(config, to, info, context, len)
    }

    fn hpke_setup_receiver_and_export(
        &self,
        config: HpkeConfig,
        enc: &[u8],
        secret: &[u8],
        info: &[u8],
        context: &[u8],
        len: usize,
    ) -> Result<ExporterSecret, CryptoError> {
        self.primitives.hpke_setup_receiver_and_export(config, enc, secret, info, context, len)
    }
}
