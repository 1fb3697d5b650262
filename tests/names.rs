//! Names and lines that would deceive: what does not show, what turns or breaks the line, what looks like another's.

mod party;

use parlor::{
    Card, Error, Event, Identity, Item, Role, Settings,
    room::{
        Reaction, Setting, Trust, TrustOnFirstUse,
        door::{Link, Terms},
    },
};
use party::{
    NOW, Party, enter, gists, guest,
    mal::{Bare, Part, World, add},
};

use openmls::prelude::{MlsMessageOut, tls_codec::Serialize as _};

/// Names of people as they are written: in Arabic, Persian with a non-joiner, Hebrew, Hindi with a joiner, Thai,
/// Vietnamese, Chinese; with an emoji.
const NAMES: &[&str] = &[
    "ana",
    "O'Brien-Smith, Jr.",
    "\u{0623}\u{062d}\u{0645}\u{062f}",
    "\u{0639}\u{0644}\u{06cc}\u{200c}\u{0631}\u{0636}\u{0627}",
    "\u{05d0}\u{05d1}\u{05d9}",
    "\u{0936}\u{094d}\u{200d}\u{092f}\u{093e}\u{092e}",
    "\u{0e2a}\u{0e21}\u{0e0a}\u{0e32}\u{0e22}",
    "Nguy\u{1ec5}n Ph\u{1b0}\u{1a1}ng",
    "\u{9ad8}\u{6a4b} \u{5149}",
    "ana \u{1f98a}",
    "\u{1f44b}\u{1f3fd}",
];

/// What is no name to any member: bidi controls, ignorable, blank, separating, private, noncharacter; spaces at the ends.
const NO_NAMES: &[&str] = &[
    "",
    " ",
    " ana",
    "ana ",
    "a  na",
    "a\u{0}b",
    "\u{1b}[2J",
    "\u{202e}ana",
    "a\u{202a}na",
    "\u{2066}ana\u{2069}",
    "ana\u{200e}",
    "ana\u{200f}",
    "ana\u{61c}",
    "ana\u{200b}",
    "\u{200d}",
    "ana\u{200c}",
    "\u{feff}",
    "\u{3164}",
    "\u{115f}",
    "a\u{34f}na",
    "ana\u{ad}",
    "ana\u{fe0f}",
    "ana\u{e0041}",
    "\u{2800}",
    "ana\u{a0}",
    "a\u{3000}b",
    "a\u{2028}b",
    "a\u{2029}b",
    "\u{e000}",
    "ana\u{10fffd}",
    "ana\u{ffff}",
    "ana\u{fdd0}",
    "\u{301}",
    "\u{301}ana",
    "\u{1f468}\u{200d}\u{1f469}",
];

/// What only whoever makes a name or lets its owner in refuses, by the Unicode that their build knows.
const UNKNOWN_NAMES: &[&str] = &["\u{378}", "ana\u{88888}", "\u{5b0}ana", "a\u{300}\u{301}\u{302}\u{303}\u{304}"];

fn card_of(client: &Bare) -> parlor::Result<Card> {
    Card::from_bytes(&MlsMessageOut::from(client.key_package()).tls_serialize_detached().unwrap())
}

#[test]
fn a_name_that_would_deceive_is_made_by_nobody_and_read_from_no_card() {
    for name in NO_NAMES.iter().chain(UNKNOWN_NAMES) {
        for refused in [
            Identity::generate(name).map(|_| ()),
            Identity::from_secret(name, &[7; 32]).map(|_| ()),
            card_of(&Bare::new(name)).map(|_| ()),
        ] {
            let Err(error) = refused else { panic!("{name:?} is a name") };
            assert!(matches!(error, Error::Malformed { what: Item::Name, .. }), "{name:?}: {error}");
            let text = error.to_string();
            assert!(!text.chars().any(|c| c.is_control() || ('\u{2028}'..='\u{202e}').contains(&c)), "{text:?}");
        }
    }
    for name in NAMES {
        assert_eq!(Identity::generate(name).unwrap().name(), *name);
        assert_eq!(card_of(&Bare::new(name)).unwrap().name(), *name);
    }
}

#[test]
fn whom_a_patched_host_brings_in_under_such_a_name_everybody_refuses() {
    let mut world = World::new(Role::Host);
    for name in NO_NAMES {
        let commit = world.mal.commit(vec![add(Bare::new(name).key_package())]);
        world.refuse(&commit, Some("mal"), "admit somebody");
    }
}

#[test]
fn whom_everybody_takes_in_by_whatever_unicode_they_know_a_newcomer_takes_for_a_member_too() {
    let mut world = World::new(Role::Host);
    for name in UNKNOWN_NAMES.iter().chain(NAMES) {
        let (commit, _) = world.mal.commit_and_welcome(Default::default(), vec![add(Bare::new(name).key_package())]);
        world.mal.merge();
        for events in world.party.deliver(&commit) {
            assert!(events.iter().any(|event| matches!(event, Event::Joined { .. })), "{name:?}: {:?}", gists(&events));
        }
        // And so whoever comes next can read the tree.
        let dora = guest("dora");
        let admission = world.party.rooms[0].admit(dora.card(), Role::Listener).unwrap();
        world.party.deliver(&admission.commit);
        world.mal.follow(&admission.commit);
        let (dora, _) = enter(dora, &admission).unwrap();
        assert!(dora.roster().any(|member| member.name == **name));
        let (id, out) = (dora.me().unwrap().id, world.party.rooms[0].remove(&dora.me().unwrap().id).unwrap());
        world.party.deliver(&out);
        world.mal.follow(&out);
        assert!(world.party.rooms[0].member(&id).is_none());
    }
}

#[test]
fn a_newcomer_whose_name_looks_like_a_members_is_told_of_to_all_and_to_whoever_comes_later() {
    for alike in ["Ben", "b\u{435}n", "BEN", "\u{ff42}en"] {
        let mut party = Party::new(&[("ana", Role::Host), ("ben", Role::Speaker)]);
        let ben = party.id("ben");
        let impostor = guest(alike);
        let admission = party.rooms[0].admit(impostor.card(), Role::Listener).unwrap();
        for events in party.deliver(&admission.commit) {
            let Some(Event::Doubtful { member, trust: Trust::LooksLike { name, other } }) = events.last() else {
                panic!("{alike:?}: {:?}", gists(&events))
            };
            assert_eq!((*member, name.as_str(), *other), (impostor.card().id(), "ben", ben));
        }
        let (mut later, _) = enter(impostor, &admission).unwrap();
        let doubts = later.check_identities(TrustOnFirstUse::new());
        assert!(matches!(&doubts[..], [Event::Doubtful { trust: Trust::LooksLike { .. }, .. }]), "{}", doubts.len());
    }
    let mut party = Party::new(&[("ana", Role::Host), ("ben", Role::Speaker)]);
    let admission = party.rooms[0].admit(guest("bea").card(), Role::Listener).unwrap();
    for events in party.deliver(&admission.commit) {
        assert!(!events.iter().any(|event| matches!(event, Event::Doubtful { .. })));
    }
}

/// What is no line beside others.
const NO_LINES: &[&str] = &[
    "\u{202e}open",
    "a\u{2069}b",
    "a\nb",
    "a\u{2028}b",
    "\u{200f}",
    "\u{e000}",
    "\u{fffe}",
    " ",
    "\u{2800}",
    "\u{3164}",
];

#[test]
fn a_line_that_would_reach_beyond_itself_is_neither_said_nor_heard() {
    let mut party = Party::new(&[("ana", Role::Host), ("ben", Role::Speaker)]);
    for line in NO_LINES {
        assert!(Settings::default().with_title(line).is_err(), "{line:?}");
        assert!(Settings::default().with(Setting::Topic((*line).into())).is_err(), "{line:?}");
        assert!(party.rooms[0].set_title(line).is_err(), "{line:?}");
        assert!(Reaction::new(line).is_err(), "{line:?}");
    }
    // The title that a patched host writes is merged by nobody.
    let mut world = World::new(Role::Host);
    for line in NO_LINES {
        let title: Part = world.mal.recharter(|charter| charter.title = line.as_bytes().to_vec());
        let commit = world.mal.commit(vec![title]);
        world.refuse(&commit, Some("mal"), "replace the room's settings");
    }
    for line in ["", "\u{1f468}\u{200d}\u{1f469} \u{2764}\u{fe0f}", "\u{5e9}\u{5dc}\u{5d5}\u{5dd} 12"] {
        assert_eq!(Settings::default().with_title(line).unwrap().title(), line);
    }
    // Chat may turn itself around, and nothing else.
    for text in ["a\u{202e}b", "a\u{2069}b", "\u{2067}a", "a\u{2028}b", "\u{200b}\n"] {
        assert!(party.rooms[0].say(text, None).is_err(), "{text:?}");
    }
    for text in ["call \u{202a}+41 44\u{202c}\nsoon", "\u{200f}\u{5d0}"] {
        let (_, line) = party.rooms[0].say(text, None).unwrap();
        party.deliver(&line);
    }
}

#[test]
fn a_refusal_shows_what_it_says_and_turns_nothing() {
    let denial = |room: &str, reason: &str| {
        Error::TurnedAway { room: room.into(), for_good: false, reason: reason.into() }.to_string()
    };
    let text = denial("\u{202e}moor", "no\u{2028}yes");
    assert!(text.contains(r"“\u{202e}moor”") && text.contains(r"“no\u{2028}yes”"), "{text}");
    assert!(denial("Küche", "שלום").contains("“Küche” (“שלום”)"));
}

#[test]
fn at_a_door_notes_and_reasons_that_deceive_are_not_sent() {
    let settings = Settings::default().with(Setting::Entry(parlor::room::Entry::Knock)).unwrap();
    let mut party = Party::with(&[("ana", Role::Host)], settings);
    let terms = Terms { role: Role::Listener, one_shot: false, expires: None };
    let (link, commit): (Link, _) = party.rooms[0].issue_link(terms).unwrap();
    party.deliver(&commit);
    let plate = link.read_doorplate(&party.rooms[0].doorplate(&link).unwrap()).unwrap();
    let wall = parlor::UnixTime(1_800_000_000);
    for note in NO_LINES {
        assert!(guest("ben").knock(&link, &plate, note, wall).is_err(), "{note:?}");
    }
    let (waiting, knock) = guest("ben").knock(&link, &plate, "it is me \u{2764}\u{fe0f}", wall).unwrap();
    party.rooms[0].knocked(&knock, NOW, wall).unwrap();
    for reason in NO_LINES {
        assert!(party.rooms[0].turn_away(&waiting.id(), reason).is_err(), "{reason:?}");
    }
    party.rooms[0].turn_away(&waiting.id(), "full").unwrap();
}
