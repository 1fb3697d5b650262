//! Cards of other implementations: what is taken, and what is refused with which reason, by a host who reads the card and
//! by every member who judges a commit that brings it in.

mod party;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use openmls::prelude::*;
use openmls_basic_credential::SignatureKeyPair;
use openmls_traits::signatures::Signer as _;
use parlor::{Card, Error, Event, Flaw, Guest, Role, UnixTime};
use party::{
    NOW, gists, guest,
    mal::{Bare, CHARTER, DOOR_KEY, LINK_PROOF, MEDIA_KEYS, RETURN, SUITE, World, add, capabilities},
};

const MINUTE: u64 = 60;
const HOUR: u64 = 3_600;
const DAY: u64 = 24 * HOUR;
/// No extension that anybody has defined, and one that is there to be ignored (RFC 9420 §13.5).
const UNKNOWN: u16 = 0xFF00;
const GREASE: u16 = 0x4A4A;

fn today() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

fn extension(kind: u16, bytes: &[u8]) -> Extension {
    Extension::Unknown(kind, UnknownExtension(bytes.to_vec()))
}

fn leaf(extensions: &[Extension]) -> Extensions<LeafNode> {
    Extensions::from_vec(extensions.to_vec()).unwrap()
}

fn beside(extensions: &[Extension]) -> Extensions<KeyPackage> {
    Extensions::from_vec(extensions.to_vec()).unwrap()
}

/// What a client of ours can do, and `more` beside.
fn able(more: &[u16]) -> Capabilities {
    let own = [CHARTER, DOOR_KEY, LINK_PROOF, MEDIA_KEYS, RETURN];
    let all: Vec<_> = own.iter().chain(more).map(|kind| ExtensionType::from(*kind)).collect();
    Capabilities::new(None, Some(&[SUITE]), Some(&all), None, Some(&[CredentialType::Basic]))
}

/// A leaf's door key, with that date.
fn dated(date: u64) -> Extension {
    extension(DOOR_KEY, &[&[7; 32][..], &date.to_be_bytes()].concat())
}

fn bytes(package: KeyPackage) -> Vec<u8> {
    MlsMessageOut::from(package).to_bytes().unwrap()
}

type Change = Box<dyn Fn(KeyPackageBuilder) -> KeyPackageBuilder>;

fn with(change: impl Fn(KeyPackageBuilder) -> KeyPackageBuilder + 'static) -> Change {
    Box::new(change)
}

fn living(from: u64, until: u64) -> Change {
    with(move |builder| builder.key_package_lifetime(Lifetime::init(from, until)))
}

/// A key package that says `date`, and lives for ever as MLS has it.
fn made(date: u64) -> Change {
    with(move |builder| {
        builder.key_package_lifetime(Lifetime::init(0, u64::MAX)).leaf_node_extensions(leaf(&[dated(date)]))
    })
}

/// Where a key package's init key and leaf lie in its message.
const INIT_KEY: usize = 4 + 4 + 1;
const LEAF: usize = INIT_KEY + 32;
const SIGNATURE: usize = 2 + 64;

/// `card` of `client`'s with other bytes from `at` on, signed anew.
fn forged(client: &Bare, mut card: Vec<u8>, at: usize, with: &[u8], beside: usize) -> Vec<u8> {
    let sign = |label: &[u8], content: &[u8]| {
        let length = 0x4000 | u16::try_from(content.len()).unwrap();
        let signed = [&[u8::try_from(label.len()).unwrap()], label, &length.to_be_bytes(), content].concat();
        client.signer.sign(&signed).unwrap()
    };
    card[at..at + with.len()].copy_from_slice(with);
    let end = card.len() - SIGNATURE;
    let leaf_end = end - 1 - beside - SIGNATURE;
    let signature = sign(b"MLS 1.0 LeafNodeTBS", &card[LEAF..leaf_end]);
    card[leaf_end + 2..leaf_end + SIGNATURE].copy_from_slice(&signature);
    let signature = sign(b"MLS 1.0 KeyPackageTBS", &card[4..end]);
    card[end + 2..].copy_from_slice(&signature);
    card
}

/// Where `kind` stands last.
fn last(card: &[u8], kind: u16) -> usize {
    (0..card.len() - 1).rev().find(|at| card[*at..].starts_with(&kind.to_be_bytes())).unwrap()
}

#[test]
fn what_no_room_knows_is_ignored_in_a_leaf_and_beside_it() {
    let tracking = Extension::ApplicationId(ApplicationIdExtension::new(b"an application's own"));
    let cases: [(&str, Change); 6] = [
        ("an unknown one in the leaf", {
            let extensions = leaf(&[extension(UNKNOWN, b"anything")]);
            with(move |builder| {
                builder.leaf_node_capabilities(able(&[UNKNOWN])).leaf_node_extensions(extensions.clone())
            })
        }),
        ("an application's id in the leaf, beside a door key", {
            let extensions = leaf(&[tracking, extension(DOOR_KEY, &[7; 32])]);
            with(move |builder| builder.leaf_node_extensions(extensions.clone()))
        }),
        ("one of ours where it says nothing", {
            let extensions = leaf(&[extension(LINK_PROOF, b"no proof")]);
            with(move |builder| builder.leaf_node_extensions(extensions.clone()))
        }),
        ("an unknown one beside the leaf", {
            let extensions = beside(&[extension(UNKNOWN, b"anything")]);
            with(move |builder| {
                builder.leaf_node_capabilities(able(&[UNKNOWN])).key_package_extensions(extensions.clone())
            })
        }),
        ("GREASE among the capabilities", with(|builder| builder.leaf_node_capabilities(able(&[GREASE, 0x0A0A])))),
        ("all of ours, and a date", made(today())),
    ];
    for (what, change) in cases {
        let mut world = World::new(Role::Listener);
        let ghost = Bare::new("ghost");
        let card = Card::from_bytes(&bytes(ghost.key_package_with(change))).unwrap_or_else(|no| panic!("{what}: {no}"));
        let admission = world.party.rooms[0].admit(&card, Role::Speaker).unwrap();
        for events in world.party.deliver(&admission.commit) {
            assert!(
                matches!(events[..], [Event::Rekeyed(_), Event::Joined { .. }, ..]),
                "{what}: {:?}",
                gists(&events)
            );
        }
        world.mal.follow(&admission.commit);
        let mut ghost = ghost.enter(&admission);
        // Nor is it in the way of what comes after.
        let commit = ghost.commit_and_welcome(LeafNodeParameters::default(), vec![]).0;
        ghost.merge();
        world.mal.follow(&commit);
        for events in world.party.deliver(&commit) {
            assert!(matches!(events[0], Event::Rekeyed(_)), "{what}: {:?}", gists(&events));
        }
        let dora = guest("dora");
        let admission = world.party.rooms[0].admit(dora.card(), Role::Listener).unwrap();
        world.party.deliver(&admission.commit);
        let (dora, _) = party::enter(dora, &admission).unwrap_or_else(|no| panic!("{what}: {no}"));
        assert!(world.party.rooms.iter().all(|room| room.code() == dora.code()), "{what}");
    }
}

/// What a host is told of a card.
#[track_caller]
fn refused(what: &str, card: &[u8], says: &[&str]) {
    let error = Card::from_bytes(card).expect_err(what).to_string();
    println!("{what}: {error}");
    for part in says {
        assert!(error.contains(part), "{what}: {error:?} does not say {part:?}");
    }
}

fn by(change: Change) -> Vec<u8> {
    bytes(Bare::new("ghost").key_package_with(change))
}

/// Flaws that every member sees alike, as a key package of mal's making has them.
fn flawed() -> Vec<(&'static str, Change, &'static str)> {
    let in_leaf = |extensions: &[Extension]| {
        let extensions = leaf(extensions);
        with(move |builder| builder.leaf_node_capabilities(able(&[])).leaf_node_extensions(extensions.clone()))
    };
    let beside_leaf = |extensions: &[Extension]| {
        let extensions = beside(extensions);
        with(move |builder| builder.key_package_extensions(extensions.clone()))
    };
    let many: Vec<u16> = (0x1000..0x1200).collect();
    let no_room = able(&many);
    vec![
        ("swollen", with(move |builder| builder.leaf_node_capabilities(no_room.clone())), "bytes, and may have 512"),
        ("a door key cut short", in_leaf(&[extension(DOOR_KEY, &[7; 31])]), "the door key in its leaf cannot be read"),
        ("a date cut short", in_leaf(&[extension(DOOR_KEY, &[7; 39])]), "the door key in its leaf cannot be read"),
        ("a date of nothing", in_leaf(&[dated(0)]), "the door key in its leaf cannot be read"),
        (
            "half a proof",
            beside_leaf(&[extension(LINK_PROOF, &[7; 95])]),
            "the proof in it that its owner holds a link cannot be read",
        ),
        (
            "half a word",
            beside_leaf(&[extension(RETURN, &[7; 87])]),
            "the word in it, by which its owner asks to be brought back, cannot be read",
        ),
        (
            "for use again and again",
            with(|builder| {
                let able = able(&[u16::from(ExtensionType::LastResort)]);
                builder.leaf_node_capabilities(able).mark_as_last_resort()
            }),
            "it may be used more than once",
        ),
        (
            "valid for a year",
            living(today() - HOUR, today() + 365 * DAY),
            "its MLS lifetime is 1 year, and may be 84 days 1 h",
        ),
        ("valid for ever, without a date", living(0, u64::MAX), "its MLS lifetime is 584942417355 years"),
        (
            "dated, and valid for longer than it says",
            with(|builder| {
                let extensions = leaf(&[dated(today())]);
                builder.key_package_lifetime(Lifetime::init(0, 1 << 63)).leaf_node_extensions(extensions)
            }),
            "its MLS lifetime is",
        ),
    ]
}

#[test]
fn each_reason_to_refuse_a_card_has_a_text_of_its_own() {
    let now = today();
    for (what, change, why) in flawed() {
        refused(what, &by(change), &["card refused: ", why]);
    }

    let own = |kind: CredentialType, name: &[u8]| {
        let client = Bare::new("ghost");
        let able =
            Capabilities::new(None, Some(&[SUITE]), Some(&[ExtensionType::Unknown(CHARTER)]), None, Some(&[kind]));
        let key = client.signer.public().into();
        let credential = match kind {
            CredentialType::Basic => BasicCredential::new(name.to_vec()).into(),
            kind => Credential::new(kind, name.to_vec()),
        };
        let owner = CredentialWithKey { credential, signature_key: key };
        let package = KeyPackage::builder().leaf_node_capabilities(able);
        bytes(package.build(SUITE, &client.provider, &client.signer, owner).unwrap().key_package().clone())
    };
    refused("a certificate", &own(CredentialType::X509, b"ghost"), &["it carries no basic credential"]);
    refused("a name that is no text", &own(CredentialType::Basic, &[0xFF, 0xFE]), &["it carries no basic credential"]);
    refused("no name", &own(CredentialType::Basic, b""), &["name refused"]);
    let lacking = |extension: u16, suites: &[Ciphersuite], credentials: &[CredentialType]| {
        let extensions = [ExtensionType::Unknown(extension)];
        let able = Capabilities::new(None, Some(suites), Some(&extensions), None, Some(credentials));
        by(with(move |builder| builder.leaf_node_capabilities(able.clone())))
    };
    let basic = &[CredentialType::Basic];
    refused(
        "without the charter's extension",
        &lacking(DOOR_KEY, &[SUITE], basic),
        &["its capabilities do not list extension 0xF0C1 (the room's charter), which every room needs"],
    );
    refused("without the suite", &lacking(CHARTER, &[], basic), &["do not list suite 0x0003"]);
    refused("without basic credentials", &lacking(CHARTER, &[SUITE], &[]), &["do not list basic credentials"]);

    // Before anything is verified: what is changed here is signed by nobody.
    let mut other = Bare::new("ghost").card().as_bytes().to_vec();
    other[7] = 2;
    refused("for P-256", &other, &["it is for MLS suite 0x0002, and rooms are of suite 0x0003"]);
    other[6] = 0xF0;
    refused("for no suite", &other, &["it is for MLS suite 0xf002"]);
    other[5] = 2;
    refused("of a later MLS", &other, &["it is of MLS version 0x0002"]);

    let false_keys = leaf(&[extension(MEDIA_KEYS, &[7; 128])]);
    let false_keys = with(move |builder| builder.leaf_node_extensions(false_keys.clone()));
    refused("media keys of nobody's", &by(false_keys), &["its media keys are not certified by its own key and name"]);

    // What openmls would not make.
    let ghost = Bare::new("ghost");
    let card = bytes(ghost.key_package());
    refused(
        "an init key of zeros",
        &forged(&ghost, card.clone(), INIT_KEY, &[0; 32], 0),
        &["encrypted to its init key"],
    );
    refused(
        "a leaf's key of zeros",
        &forged(&ghost, card.clone(), LEAF + 1, &[0; 32], 0),
        &["encrypted to its leaf's key"],
    );
    let same = card[LEAF + 1..LEAF + 33].to_vec();
    refused(
        "one key for both",
        &forged(&ghost, card.clone(), INIT_KEY, &same, 0),
        &["key and its leaf's key are the same"],
    );
    let mut damaged = card;
    *damaged.last_mut().unwrap() ^= 1;
    refused("damaged", &damaged, &["its signature does not verify"]);
    let carries = |kind: u16, listed: u16| {
        let extensions = leaf(&[extension(UNKNOWN, &[])]);
        let package = ghost.key_package_with(|builder| {
            builder.leaf_node_capabilities(able(&[listed])).leaf_node_extensions(extensions.clone())
        });
        let card = bytes(package);
        let at = last(&card, UNKNOWN);
        forged(&ghost, card, at, &kind.to_be_bytes(), 0)
    };
    refused("unlisted in the leaf", &carries(0xFF01, UNKNOWN), &["the extension 0xff01, which its own capabilities"]);
    refused(
        "GREASE in the leaf",
        &carries(GREASE, GREASE),
        &["the GREASE extension 0x4a4a", "openmls 0.9", "may list"],
    );
    refused("a place that is not its own", &carries(0x000A, 0x000A), &["or carries what MLS does not allow there"]);
    let carries_beside = |kind: u16, listed: u16, content: &[u8]| {
        let extensions = beside(&[extension(UNKNOWN, content)]);
        let package = ghost.key_package_with(|builder| {
            builder.leaf_node_capabilities(able(&[listed])).key_package_extensions(extensions.clone())
        });
        let card = bytes(package);
        let at = last(&card, UNKNOWN);
        forged(&ghost, card, at, &kind.to_be_bytes(), 3 + content.len())
    };
    let unlisted = carries_beside(0xFF01, UNKNOWN, &[]);
    refused("unlisted beside it", &unlisted, &["beside its leaf it carries an extension that"]);
    refused("GREASE beside it", &carries_beside(GREASE, GREASE, &[]), &["beside its leaf", "a GREASE one"]);
    // An application's id, of no bytes.
    let id = carries_beside(0x0001, UNKNOWN, &[0]);
    refused("an application's id beside it", &id, &["in a place where MLS does not allow it"]);

    // By the clock of who reads it, with the amount and whose clock it may be.
    for (what, change, says) in [
        (
            "expired",
            living(now - DAY, now - HOUR - 1),
            ["it expired 1 h ago by this machine's clock", "or yours is ahead"],
        ),
        ("expiring", living(now - HOUR, now + DAY + MINUTE), ["it expires in 1 day", "for a week more"]),
        ("from now on", living(now, now + 30 * DAY), ["it is not valid for another", "or yours is behind"]),
        ("from later on", living(now + HOUR, now + 30 * DAY), ["not valid for another 1 h", "or yours is behind"]),
        (
            "made in an hour",
            made(now + HOUR + 5 * MINUTE + 1),
            ["it is dated 1 h 5 min ahead of", "or yours is behind"],
        ),
        (
            "made in ten years",
            made(now + 3_652 * DAY + 9),
            ["it is dated 10 years 2 days ahead of", "or yours is behind"],
        ),
        ("twelve weeks old", made(now - 84 * DAY - HOUR), ["it was made 84 days 1 h ago", "or yours is ahead"]),
        ("of 1970", made(1), ["it was made 5", "or yours is ahead"]),
    ] {
        refused(what, &by(change), &["card refused: ", says[0], says[1], "clock"]);
    }
}

#[test]
fn a_card_is_good_from_an_hour_before_its_date_to_twelve_weeks_after_it() {
    let now = today();
    for (change, is_good) in [
        (made(now + HOUR - 30), true),
        (made(now + HOUR + 30), false),
        (made(now - 84 * DAY + 30), true),
        (made(now - 84 * DAY - 30), false),
        // Without a date: five minutes before, a week after, twelve weeks and an hour in all.
        (living(now - 5 * MINUTE - 30, now + 30 * DAY), true),
        (living(now - 5 * MINUTE + 30, now + 30 * DAY), false),
        (living(now - HOUR, now + 7 * DAY + 30), true),
        (living(now - HOUR, now + 7 * DAY - 30), false),
        (living(now - HOUR, now + 84 * DAY), true),
        (living(now - HOUR, now + 84 * DAY + 1), false),
        // A date is none of the lifetime's business, but for the one that is no lifetime.
        (
            with(move |builder| {
                let builder = builder.leaf_node_extensions(leaf(&[dated(now)]));
                builder.key_package_lifetime(Lifetime::init(now - HOUR, now + DAY))
            }),
            false,
        ),
    ] {
        let card = Card::from_bytes(&by(change));
        assert_eq!(card.is_ok(), is_good, "{card:?}");
        assert!(card.is_ok() || matches!(card, Err(Error::Unfit { .. })), "{card:?}");
    }
}

#[test]
fn every_member_says_what_is_wrong_with_a_card_that_a_patched_client_admits_by() {
    for (what, change, why) in flawed() {
        let mut world = World::new(Role::Moderator);
        let package = Bare::new("ghost").key_package_with(change);
        let commit = world.mal.commit(vec![add(package)]);
        for room in &mut world.party.rooms {
            let events = room.receive(&commit, NOW).unwrap();
            let [Event::Refused { actor, why: denial }] = &events[..] else { panic!("{what}: {:?}", gists(&events)) };
            assert_eq!(*actor, Some(world.mal.client.id()), "{what}");
            assert!(
                denial.to_string().contains(why) && denial.why.starts_with("no room takes their card: "),
                "{denial}"
            );
        }
        world.go_on();
    }
}

#[test]
fn what_is_wrong_with_a_leaf_that_a_member_changes_to_is_said() {
    let mut world = World::new(Role::Listener);
    let able = Capabilities::new(None, Some(&[SUITE]), Some(&[ExtensionType::Unknown(CHARTER)]), None, None);
    let leaf = LeafNodeParameters::builder()
        .with_capabilities(able)
        .with_extensions(leaf(&[Extension::ApplicationId(ApplicationIdExtension::new(&[7; 512]))]))
        .build();
    let commit = world.mal.commit_with(leaf, vec![]);
    let events = world.party.rooms[0].receive(&commit, NOW).unwrap();
    let [Event::Refused { why, .. }] = &events[..] else { panic!("{:?}", gists(&events)) };
    assert!(why.why.contains("bytes, and may have 512"), "{why}");
    // As much as fits is nobody's business.
    let leaf = LeafNodeParameters::builder()
        .with_capabilities(capabilities())
        .with_extensions(Extensions::single(Extension::ApplicationId(ApplicationIdExtension::new(b"mine"))).unwrap())
        .build();
    let (commit, _) = world.mal.commit_and_welcome(leaf, vec![]);
    world.mal.merge();
    for events in world.party.deliver(&commit) {
        assert!(matches!(events[..], [Event::Rekeyed(_), Event::Refreshed { .. }]), "{:?}", gists(&events));
    }
}

#[test]
fn no_key_of_another_suite_comes_near_code_that_verifies() {
    // A P-256 key package as that suite has it, which would verify.
    let suite = Ciphersuite::MLS_128_DHKEMP256_AES128GCM_SHA256_P256;
    let signer = SignatureKeyPair::new(suite.signature_algorithm()).unwrap();
    let client = Bare::new("ghost");
    let owner = CredentialWithKey {
        credential: BasicCredential::new(b"ghost".to_vec()).into(),
        signature_key: signer.public().into(),
    };
    let package = KeyPackage::builder().build(suite, &client.provider, &signer, owner).unwrap();
    let card = Card::from_bytes(&bytes(package.key_package().clone()));
    assert!(matches!(card, Err(Error::Unfit { flaw: Flaw::Suite(2) })), "{card:?}");
}

#[test]
fn who_was_let_in_anew_leaves_older_words_behind() {
    // Ben comes back by a word, asks again, which the relay keeps, and gives up; then he is let in by a fresh card.
    let mut world = World::new(Role::Listener);
    let wall = UnixTime::from(SystemTime::now());
    let (at, later) = (|seconds| NOW + Duration::from_secs(seconds), |seconds| wall.plus(seconds));
    let bring_back = |world: &mut World, card: &Card, seconds| {
        let admission = world.party.rooms[0].bring_back(card, later(seconds)).unwrap();
        for room in &mut world.party.rooms {
            room.receive(&admission.commit, at(seconds)).unwrap();
        }
        admission
    };
    let ben = world.party.rooms.remove(2);
    let (back, request) = ben.come_back(at(0), wall).unwrap();
    let events = world.party.rooms[0].receive(&request, at(0)).unwrap();
    let [Event::AsksBack { card, .. }] = &events[..] else { panic!("{:?}", gists(&events)) };
    let admission = bring_back(&mut world, card, 0);
    let (ben, _) = back.enter(&admission.welcome, admission.tree.as_deref()).unwrap();
    let (back, withheld) = ben.come_back(at(60), later(60)).unwrap();
    let word = back.card().clone();
    let ben = Guest::new(back.into_identity()).unwrap();
    let card = ben.card().clone();
    let admission = bring_back(&mut world, &card, 70);
    let (ben, _) = party::enter(ben, &admission).unwrap();
    let ana = &mut world.party.rooms[0];
    assert!(ana.receive(&withheld, at(100)).unwrap().is_empty(), "the host hears nothing of it");
    let denied = ana.bring_back(&word, later(100)).unwrap_err().to_string();
    assert!(denied.contains("they asked before they had the keys they have"), "{denied}");
    assert!(ben.is_open());
}
