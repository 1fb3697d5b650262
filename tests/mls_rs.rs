//! A member on another MLS implementation: mls-rs enters a room by a card, follows it, commits, admits, and
//! derives the same frame keys in every epoch: her frames and ours open each other.

mod party;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use mls_rs::{
    CipherSuite, CipherSuiteProvider as _, Client, CryptoProvider as _, Group, MlsMessage, ProtocolVersion,
    client_builder::{MlsConfig, PaddingMode},
    extension::ExtensionType,
    identity::{
        SigningIdentity,
        basic::{BasicCredential, BasicIdentityProvider},
    },
    mls_rules::{CommitOptions, DefaultMlsRules, EncryptionOptions},
    time::MlsTime,
};
use mls_rs_crypto_rustcrypto::RustCryptoProvider;
use parlor::{
    Card, Error, Event, LeafIndex, MemberId, Role, Room, Voice,
    media::sframe::{Backend, Opener, Sealer},
};
use party::{NOW, Party, dice::Dice, guest};
use sha2::{Digest as _, Sha256};

const SUITE: CipherSuite = CipherSuite::CURVE25519_CHACHA;
const HISTORIES: u64 = 50;
const STEPS: u64 = 14;

fn client(name: &str) -> (Client<impl MlsConfig>, MemberId) {
    let crypto = RustCryptoProvider::default();
    let (secret, public) = crypto.cipher_suite_provider(SUITE).unwrap().signature_key_generate().unwrap();
    let id = MemberId::from_bytes(public.as_bytes().try_into().unwrap());
    let identity = SigningIdentity::new(BasicCredential::new(name.as_bytes().to_vec()).into_credential(), public);
    let rules = DefaultMlsRules::new()
        .with_encryption_options(EncryptionOptions::new(true, PaddingMode::None))
        .with_commit_options(CommitOptions::new().with_ratchet_tree_extension(true));
    let client = Client::builder()
        .crypto_provider(crypto)
        .identity_provider(BasicIdentityProvider::new())
        .extension_type(ExtensionType::new(0xF0C1))
        .key_package_lifetime(Duration::from_secs(30 * 24 * 3600))
        .mls_rules(rules)
        .signing_identity(identity, secret, SUITE)
        .build();
    (client, id)
}

/// mls-rs dates a card from this very second; a room takes none that is new to a clock a little slow.
fn an_hour_ago() -> MlsTime {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    MlsTime::from_duration_since_epoch(now - Duration::from_secs(3600))
}

/// The room code's digits as the documentation gives them, from the other implementation's epoch authenticator.
fn code(group: &Group<impl MlsConfig>) -> String {
    let authenticator = group.epoch_authenticator().unwrap();
    let hash = Sha256::new()
        .chain_update(b"parlor room code 1")
        .chain_update([0])
        .chain_update(authenticator.as_bytes())
        .finalize();
    let group = |bytes: &[u8]| format!("{:05}", u32::from_be_bytes(bytes.try_into().unwrap()) % 100_000);
    hash.chunks_exact(4).map(group).collect::<Vec<_>>().join(" ")
}

/// Everybody is in the same epoch of the same room.
#[track_caller]
fn check(party: &Party, group: &Group<impl MlsConfig>, seed: u64) {
    let room = &party.rooms[0];
    assert_eq!(group.current_epoch(), room.epoch(), "seed {seed}");
    assert_eq!(code(group), room.code().digits(), "seed {seed}");
    for other in party.rooms.iter().filter(|room| room.is_open()) {
        assert_eq!(other.code(), room.code(), "seed {seed}");
    }
    let listed: Vec<u32> = room.roster().map(|member| member.leaf.0).collect();
    let theirs: Vec<u32> = group.roster().members_iter().map(|member| member.index).collect();
    assert_eq!(listed, theirs, "seed {seed}");
}

/// The new epoch's frames: the host's opens under what mls-rs exports, and mel's opens in the host's ear if she is on
/// stage, and is refused if she is not.
#[track_caller]
fn talk(events: Vec<Vec<Event>>, group: &Group<impl MlsConfig>, mel: MemberId, on_stage: bool, seed: u64) {
    let Some(Event::Rekeyed(keys)) = events.into_iter().next().and_then(|of_host| of_host.into_iter().next()) else {
        panic!("seed {seed}: no keys for the host");
    };
    let (suite, layout, epoch) = (keys.suite(), keys.layout(), keys.epoch());
    let exported = group.export_secret(b"SFrame 1.0 Base Key", b"", suite.key_len()).unwrap();
    let key_id = |leaf| layout.key_id(0, LeafIndex(leaf), epoch).unwrap();
    let mut host = Voice::new(keys);

    let mut packet = host.seal(b"from the host").unwrap();
    let opener = Opener::new(suite, Backend::default(), exported.as_bytes(), key_id(host.leaf().0)).unwrap();
    assert_eq!(&*opener.open_in_place(b"", &mut packet).unwrap().1, b"from the host", "seed {seed}");

    let mine = key_id(group.current_member_index());
    let mut sealer = Sealer::new(suite, Backend::default(), exported.as_bytes(), mine, 0).unwrap();
    let mut packet = [0; 64];
    let length = sealer.seal_into(b"", b"from mel", &mut packet).unwrap();
    match host.open(&packet[..length], NOW) {
        Ok(heard) => {
            assert_eq!((heard.speaker, &heard.frame[..], on_stage), (mel, &b"from mel"[..], true), "seed {seed}");
        }
        Err(error) => assert!(matches!(error, Error::NotOnStage { .. }) && !on_stage, "seed {seed}: {error}"),
    }
}

#[test]
fn an_mls_rs_member_follows_and_leads_fifty_random_histories() {
    for seed in 1..=HISTORIES {
        let mut dice = Dice::of(seed);
        let mut party = Party::new(&[("ana", Role::Host), ("ben", Role::Speaker), ("eve", Role::Listener)]);
        let (mel, mel_id) = client("mel");
        let card =
            mel.generate_key_package_message(Default::default(), Default::default(), Some(an_hour_ago())).unwrap();
        let card = Card::from_bytes(&card.to_bytes().unwrap()).unwrap();
        assert_eq!((card.name(), card.id()), ("mel", mel_id));
        let role = [Role::Listener, Role::Moderator][dice.roll(2)];
        let admission = party.rooms[0].admit(&card, role).unwrap();
        party.deliver(&admission.commit);
        let welcome = MlsMessage::from_bytes(&admission.welcome).unwrap();
        let (mut group, _) = mel.join_group(None, &welcome, None).unwrap();
        check(&party, &group, seed);

        for step in 0..STEPS {
            let is_moderator = party.rooms[0].member(&mel_id).unwrap().role == Role::Moderator;
            match dice.roll(7) {
                // mel refreshes her keys.
                0 => {
                    let commit = group.commit(Vec::new()).unwrap().commit_message.to_bytes().unwrap();
                    group.apply_pending_commit().unwrap();
                    let all = party.deliver(&commit);
                    for events in &all {
                        assert!(
                            matches!(events[..], [Event::Rekeyed(_), Event::Refreshed { member }] if member == mel_id)
                        );
                    }
                    talk(all, &group, mel_id, is_moderator, seed);
                }
                // mel admits somebody, and they enter by a welcome that she made.
                1 if is_moderator => {
                    let guest = guest(&format!("m{step}"));
                    let package = MlsMessage::from_bytes(guest.card().as_bytes()).unwrap();
                    let commit = group.commit_builder().add_member(package).unwrap().build().unwrap();
                    group.apply_pending_commit().unwrap();
                    let all = party.deliver(&commit.commit_message.to_bytes().unwrap());
                    for events in &all {
                        assert!(matches!(events[..], [Event::Rekeyed(_), Event::Joined { by, .. }] if by == mel_id));
                    }
                    talk(all, &group, mel_id, is_moderator, seed);
                    let welcome = commit.welcome_messages[0].to_bytes().unwrap();
                    let (room, voice) = guest.enter(&welcome).unwrap();
                    party.rooms.push(room);
                    party.voices.push(voice);
                }
                other => {
                    let commit = by_the_room(&mut party, &mut dice, other, step);
                    let all = party.deliver(&commit.0);
                    if let Some((guest, welcome)) = commit.1 {
                        let (room, voice) = guest.enter(&welcome).unwrap();
                        party.rooms.push(room);
                        party.voices.push(voice);
                    }
                    group.process_incoming_message(MlsMessage::from_bytes(&commit.0).unwrap()).unwrap();
                    talk(all, &group, mel_id, is_moderator, seed);
                }
            }
            check(&party, &group, seed);
        }
    }
}

/// A commit of somebody in the room: a join, a leave, a change of role or a refresh.
fn by_the_room(
    party: &mut Party,
    dice: &mut Dice,
    what: usize,
    step: u64,
) -> (Vec<u8>, Option<(parlor::Guest, Vec<u8>)>) {
    let others: Vec<(MemberId, Role)> = party.rooms[0]
        .roster()
        .filter(|member| member.name != "ana" && member.name != "mel")
        .map(|member| (member.id, member.role))
        .collect();
    let host: &mut Room = &mut party.rooms[0];
    match what {
        2 | 3 => {
            let guest = guest(&format!("g{step}"));
            let role = [Role::Listener, Role::Speaker][dice.roll(2)];
            let admission = host.admit(guest.card(), role).unwrap();
            (admission.commit, Some((guest, admission.welcome)))
        }
        4 if !others.is_empty() => (host.remove(&others[dice.roll(others.len())].0).unwrap(), None),
        5 if !others.is_empty() => {
            let (id, role) = others[dice.roll(others.len())];
            let to = if role == Role::Listener { Role::Speaker } else { Role::Listener };
            (host.set_role(&id, to).unwrap(), None)
        }
        _ => {
            let open: Vec<usize> = (0..party.rooms.len()).filter(|i| party.rooms[*i].is_open()).collect();
            (party.rooms[open[dice.roll(open.len())]].refresh().unwrap(), None)
        }
    }
}

#[test]
fn an_mls_rs_member_exports_and_is_removed() {
    let mut party = Party::new(&[("ana", Role::Host)]);
    let (mel, mel_id) = client("mel");
    let card = mel.generate_key_package_message(Default::default(), Default::default(), Some(an_hour_ago())).unwrap();
    let card = Card::from_bytes(&card.to_bytes().unwrap()).unwrap();
    let admission = party.rooms[0].admit(&card, Role::Listener).unwrap();
    party.deliver(&admission.commit);
    let (mut group, _) = mel.join_group(None, &MlsMessage::from_bytes(&admission.welcome).unwrap(), None).unwrap();
    assert_eq!(group.export_secret(b"SFrame 1.0 Base Key", b"", 32).unwrap().as_bytes().len(), 32);

    // What she may not do is refused, whatever she runs.
    let guest = guest("zed");
    let package = MlsMessage::from_bytes(guest.card().as_bytes()).unwrap();
    let commit = group.commit_builder().add_member(package).unwrap().build().unwrap();
    group.clear_pending_commit();
    let events = party.rooms[0].receive(&commit.commit_message.to_bytes().unwrap(), NOW).unwrap();
    assert!(matches!(&events[..], [Event::Refused { actor: Some(id), .. }] if *id == mel_id));

    let removal = party.rooms[0].remove(&mel_id).unwrap();
    party.deliver(&removal);
    group.process_incoming_message(MlsMessage::from_bytes(&removal).unwrap()).unwrap();
    assert_eq!(party.rooms[0].roster().len(), 1);
}

#[test]
fn not_even_a_host_restarts_the_group() {
    // openmls makes no such commit, so mls-rs makes it.
    let mut party = Party::new(&[("ana", Role::Host), ("ben", Role::Listener)]);
    let (mel, mel_id) = client("mel");
    let card = mel.generate_key_package_message(Default::default(), Default::default(), Some(an_hour_ago())).unwrap();
    let admission = party.rooms[0].admit(&Card::from_bytes(&card.to_bytes().unwrap()).unwrap(), Role::Host).unwrap();
    party.deliver(&admission.commit);
    let (mut group, _) = mel.join_group(None, &MlsMessage::from_bytes(&admission.welcome).unwrap(), None).unwrap();
    let restart = group.commit_builder().reinit(None, ProtocolVersion::MLS_10, SUITE, Default::default()).unwrap();
    let commit = restart.build().unwrap().commit_message.to_bytes().unwrap();
    group.clear_pending_commit();
    let code = party.rooms[0].code();
    for events in party.deliver(&commit) {
        let [Event::Refused { actor, why }] = &events[..] else { panic!("{events:?}") };
        assert_eq!((*actor, why.action.as_str()), (Some(mel_id), "restart the group"));
    }
    assert!(party.rooms.iter().all(|room| room.code() == code));
}

#[test]
fn a_card_as_mls_rs_makes_it_by_default_is_refused_with_the_reason() {
    let (mel, _) = client("mel");
    let now = mel.generate_key_package_message(Default::default(), Default::default(), None).unwrap();
    let error = Card::from_bytes(&now.to_bytes().unwrap()).unwrap_err().to_string();
    assert!(error.contains("it is not valid for another 5 min by this machine's clock"), "{error}");
    // A year, unless it is told another.
    let crypto = RustCryptoProvider::default();
    let (secret, public) = crypto.cipher_suite_provider(SUITE).unwrap().signature_key_generate().unwrap();
    let identity = SigningIdentity::new(BasicCredential::new(b"mel".to_vec()).into_credential(), public);
    let mel = Client::builder()
        .crypto_provider(crypto)
        .identity_provider(BasicIdentityProvider::new())
        .extension_type(ExtensionType::new(0xF0C1))
        .signing_identity(identity, secret, SUITE)
        .build();
    let year = mel.generate_key_package_message(Default::default(), Default::default(), Some(an_hour_ago())).unwrap();
    let error = Card::from_bytes(&year.to_bytes().unwrap()).unwrap_err().to_string();
    assert!(error.contains("its MLS lifetime is 1 year, and may be 84 days 1 h"), "{error}");
}
