//! Bounds, each from below and from above: what is still taken, and what is one too many.
//!
//! The README's table of limits names the test of each bound. Here are those that nothing else reaches from both sides.

mod party;

use openmls::prelude::{
    Capabilities, CredentialType, Extension, ExtensionType, Extensions, MlsMessageOut, UnknownExtension,
};
use parlor::{
    Card, Error, Event, Guest, Identity, Item, KeyIdLayout, MAX_NAME, Role, Room, Settings, UnixTime,
    frame::MAX_OPUS,
    media::MAX_FRAME,
    room::{
        Entry, MAX_BANNED, MAX_CARD, MAX_LINKS, MAX_MESSAGE, MAX_ON_STAGE, MAX_TEXT, MAX_TOPIC, MAX_TREE, REQUEST_LEN,
        Setting,
        door::{KNOCK_LEN, KNOCKS_A_SECOND, MAX_ADMITTERS, MAX_BATCH, MAX_WAITING, PLATE_LEN, Terms},
    },
    vault::VaultKey,
};
use party::{
    NOW, Party, Person, charter,
    charter::Link,
    crowd, gists, guest, identity,
    mal::{Bare, CHARTER, SUITE, World, state},
    room_of, visit,
    words::{Key, Word},
};

/// As the README says.
const _: () = {
    assert!(MAX_ON_STAGE == 1_000 && MAX_BANNED == 1_000 && MAX_LINKS == 64 && MAX_ADMITTERS == 8);
    assert!(MAX_MESSAGE == 512 * 1_024 && MAX_TREE == 1_280 * 1_024 && MAX_CARD == 4_096 && MAX_TEXT == 2_000);
    assert!(KNOCK_LEN == 2_113 && PLATE_LEN == 2_077 && REQUEST_LEN == 1_825 && KNOCKS_A_SECOND == 128);
    assert!(MAX_WAITING == 4_096 && MAX_BATCH == 256 && MAX_NAME == 64 && MAX_FRAME == 2_048 && MAX_OPUS == 2_044);
};

/// How many members of the longest names, on cards for the stage, the largest tree has.
const FULL: std::ops::Range<usize> = 3_100..3_200;

const WALL: UnixTime = UnixTime(1_800_000_000);
const TERMS: Terms = Terms { role: Role::Listener, one_shot: false, expires: None };

/// Commits that come to nothing, as many as that.
fn lose(room: &mut Room, times: usize) {
    for _ in 0..times {
        room.refresh().unwrap();
        room.abandon().unwrap();
    }
}

/// Everybody takes a commit in.
fn rekey(party: &mut Party, commit: &[u8]) {
    for events in party.deliver(commit) {
        assert!(matches!(events[..], [Event::Rekeyed(_), ..]), "{:?}", gists(&events));
    }
    assert!(agree(party));
}

/// Whether all who are in say the same of their epoch.
fn agree(party: &Party) -> bool {
    party.rooms.iter().filter(|room| room.is_open()).all(|room| room.code() == party.rooms[0].code())
}

/// What is one too many is refused, and the room is as it was.
#[track_caller]
fn refuses<T: std::fmt::Debug>(room: &mut Room, over: impl FnOnce(&mut Room) -> parlor::Result<T>) -> Error {
    let before = state(room);
    let refused = over(room).unwrap_err();
    assert_eq!(state(room), before);
    refused
}

/// The room goes on: its host makes a commit, and a guest enters and hears them.
#[track_caller]
fn goes_on(host: &mut Person) {
    let commit = host.room.refresh().unwrap();
    host.receive(&commit, NOW).unwrap();
    let newcomer = guest("newcomer");
    let admission = host.room.admit(newcomer.card(), Role::Listener).unwrap();
    host.receive(&admission.commit, NOW).unwrap();
    let mut newcomer = Person::enter(newcomer, &admission);
    host.voice.set_mic(&host.id, true);
    visit::hears(&mut host.voice, &mut newcomer.voice).unwrap();
    assert!(newcomer.room.roster().eq(host.room.roster()) && newcomer.room.code() == host.room.code());
}

#[test]
fn a_commit_is_read_after_sixteen_of_its_epoch_that_came_to_nothing_and_no_eighteenth_is_made() {
    let mut party = Party::new(&[("ana", Role::Host)]);
    let ben = identity("ben");
    let secret = ben.secret();
    party.admit(0, vec![(Guest::new(ben).unwrap(), Role::Listener)]);
    lose(&mut party.rooms[1], 16);
    let last = party.rooms[1].refresh().unwrap();
    rekey(&mut party, &last);

    // Each epoch has as many again.
    lose(&mut party.rooms[1], 17);
    let before = state(&party.rooms[1]);
    let refused = party.rooms[1].refresh().unwrap_err();
    assert!(matches!(refused, Error::Unusable { what: "commit", .. }), "{refused}");
    assert!(refused.to_string().contains("wait until somebody else has made one"), "{refused}");
    assert_eq!(state(&party.rooms[1]), before);
    // A process that goes on from a snapshot has no more of them.
    let key = VaultKey::generate().unwrap();
    let stored = party.rooms[1].snapshot(&key).unwrap();
    let ben = Identity::from_secret("ben", &secret).unwrap();
    let (mut restored, _) = Room::restore(ben, &key, &stored, NOW).unwrap();
    assert!(matches!(restored.refresh(), Err(Error::Unusable { what: "commit", .. })));

    let others = party.rooms[0].refresh().unwrap();
    rekey(&mut party, &others);
    let again = party.rooms[1].refresh().unwrap();
    rekey(&mut party, &again);
}

#[test]
fn of_a_patched_client_too_a_commit_is_read_after_sixteen_that_nobody_got_and_not_after_seventeen() {
    for lost in [16, 17] {
        let mut world = World::new(Role::Listener);
        (0..lost).for_each(|_| drop(world.mal.commit(Vec::new())));
        let commit = world.mal.commit(Vec::new());
        for room in &mut world.party.rooms {
            match room.receive(&commit, NOW) {
                Ok(events) => assert!(lost == 16 && matches!(events[..], [Event::Rekeyed(_), ..]), "{lost}"),
                Err(error) => assert!(lost == 17 && matches!(error, Error::Unauthentic { .. }), "{lost}: {error}"),
            }
        }
    }
}

#[test]
fn the_last_sixty_four_refused_commits_are_known_again_and_the_one_before_is_not() {
    let mut world = World::new(Role::Listener);
    let commits: Vec<_> = (0..65)
        .map(|n| {
            let title = world.mal.recharter(|charter| charter.title = vec![b'a' + n % 26]);
            world.mal.commit(vec![title])
        })
        .collect();
    let room = &mut world.party.rooms[0];
    for commit in &commits {
        assert!(matches!(room.receive(commit, NOW).unwrap()[..], [Event::Refused { .. }]));
    }
    for (n, commit) in commits.iter().enumerate() {
        let error = room.receive(commit, NOW).unwrap_err();
        assert_eq!(error.to_string().contains("refused before"), n > 0, "{n}: {error}");
    }
}

#[test]
fn a_word_says_4097_bytes_and_no_more_and_a_longer_message_is_not_opened() {
    let mut world = World::new(Role::Listener);
    let key = Key::of(&world.mal);
    // Of a kind that a later version may know, which is left alone.
    let word = |length: usize, number| {
        let (who, said) = (world.mal.client.id(), vec![200; length]);
        let word = Word { epoch: key.epoch, who, process: [9; 16], number, said, signature: [0; 64] };
        key.seal(&word.sign(&world.mal.client, &key.room))
    };
    let room = &mut world.party.rooms[0];
    let longest = word(4_097, 0);
    assert_eq!(longest.len(), 4_262);
    assert!(room.receive(&longest, NOW).unwrap().is_empty());
    let over = word(4_098, 1);
    assert_eq!(over.len(), longest.len(), "within the same step of 128 bytes");
    let error = room.receive(&over, NOW).unwrap_err();
    assert!(matches!(error, Error::Malformed { .. }) && error.to_string().contains("too much"), "{error}");
    let error = room.receive(&word(4_097 + 128, 2), NOW).unwrap_err();
    assert!(matches!(error, Error::TooLarge { what: Item::Message, limit: 4_262, .. }), "{error}");
}

#[test]
fn a_word_is_heard_447_after_the_one_that_came_first_and_not_448() {
    let mut world = World::new(Role::Listener);
    let words = [448, 1, 0].map(|number| party::words::say(&world.mal, number, &[6, 0x21]));
    let room = &mut world.party.rooms[0];
    for word in &words[..2] {
        assert!(matches!(room.receive(word, NOW).unwrap()[..], [Event::Reacted { .. }]));
    }
    let error = room.receive(&words[2], NOW).unwrap_err();
    assert!(error.to_string().contains("older than hundreds"), "{error}");
}

#[test]
fn a_text_has_2000_bytes_and_no_more() {
    let mut party = Party::new(&[("ana", Role::Host), ("ben", Role::Listener)]);
    let (_, line) = party.rooms[0].say(&"x".repeat(MAX_TEXT), None).unwrap();
    for events in party.deliver(&line) {
        assert!(matches!(events[..], [Event::Said { .. }]));
    }
    let refused = party.rooms[0].say(&"x".repeat(MAX_TEXT + 1), None).unwrap_err();
    assert!(matches!(refused, Error::Unusable { what: "text", .. }), "{refused}");
}

#[test]
fn a_title_has_120_bytes_and_a_topic_500_and_neither_more_whoever_sets_them() {
    let title = |length| Settings::default().with_title(&"t".repeat(length));
    let topic = |length| Settings::default().with(Setting::Topic("t".repeat(length)));
    assert_eq!(title(120).unwrap().title().len(), 120);
    assert_eq!(topic(500).unwrap().topic().len(), 500);
    for refused in [title(121), topic(MAX_TOPIC + 1)] {
        assert!(matches!(refused, Err(Error::Malformed { what: Item::Settings, .. })));
    }
    for (title, topic, fits) in [(120, 500, true), (121, 0, false), (0, 501, false)] {
        let mut world = World::new(Role::Host);
        let proposal =
            world.mal.recharter(|charter| (charter.title, charter.topic) = (vec![b't'; title], vec![b't'; topic]));
        let commit = world.mal.commit(vec![proposal]);
        if fits {
            for events in world.party.deliver(&commit) {
                assert!(matches!(events[..], [Event::Rekeyed(_), ..]), "{:?}", gists(&events));
            }
        } else {
            world.refuse(&commit, Some("mal"), "replace the room's settings");
        }
    }
}

/// Public keys of nobody.
fn strangers(count: usize) -> impl Iterator<Item = charter::Key> {
    (1..=count).map(|n| {
        let mut key = [0xEE; 32];
        key[..8].copy_from_slice(&n.to_be_bytes());
        key
    })
}

#[test]
fn a_thousand_are_banned_and_no_more_whoever_bans_them() {
    let mut world = World::new(Role::Host);
    let over = world.mal.recharter(|charter| charter.banned.extend(strangers(MAX_BANNED + 1)));
    let commit = world.mal.commit(vec![over]);
    world.refuse(&commit, Some("mal"), "replace the room's settings");

    let all = world.mal.recharter(|charter| charter.banned.extend(strangers(MAX_BANNED)));
    let commit = world.mal.commit(vec![all]);
    for events in world.party.deliver(&commit) {
        let banned = events.iter().filter(|event| matches!(event, Event::Banned { .. })).count();
        assert_eq!(banned, MAX_BANNED);
    }
    assert!(agree(&world.party));
    let eve = world.party.id("eve");
    let refused = refuses(&mut world.party.rooms[0], |room| room.ban(&eve));
    assert!(matches!(refused, Error::Unusable { what: "ban", .. }), "{refused}");
    let refresh = world.party.rooms[0].refresh().unwrap();
    rekey(&mut world.party, &refresh);
    world.party.a_guest_enters();
    let one = *world.party.rooms[0].banned().next().unwrap();
    let lift = world.party.rooms[0].lift_ban(&one).unwrap();
    world.party.deliver(&lift);
    let ban = world.party.rooms[0].ban(&eve).unwrap();
    world.party.deliver(&ban);
    assert_eq!(world.party.rooms[0].banned().len(), MAX_BANNED);
    assert!(agree(&world.party));
}

#[test]
fn a_room_has_sixty_four_links_and_no_more_whoever_issues_them() {
    let settings = Settings::default().with(Setting::Entry(Entry::Link)).unwrap();
    let (mut room, _) = Room::create(identity("ana"), settings).unwrap();
    let links: Vec<_> = (0..MAX_LINKS)
        .map(|_| {
            let (link, commit) = room.issue_link(TERMS).unwrap();
            room.receive(&commit, NOW).unwrap();
            link
        })
        .collect();
    assert_eq!(room.links().len(), 64);
    let refused = refuses(&mut room, |room| room.issue_link(TERMS));
    assert!(matches!(refused, Error::Unusable { what: "link", .. }), "{refused}");
    let refresh = room.refresh().unwrap();
    room.receive(&refresh, NOW).unwrap();
    assert!(visit::a_guest_enters([&mut room]));
    let commit = room.revoke_link(&links[0].id()).unwrap();
    room.receive(&commit, NOW).unwrap();
    room.issue_link(TERMS).unwrap();

    let mut world = World::new(Role::Host);
    let commit = world.party.rooms[0].set(Setting::Entry(Entry::Link)).unwrap();
    world.party.deliver(&commit);
    world.mal.follow(&commit);
    let issuer = *world.mal.client.id().as_bytes();
    for (count, fits) in [(65, false), (64, true)] {
        let links = |charter: &mut charter::Charter| {
            let link = Link { role: charter::LISTENER, one_shot: 0, expires: 0, issuer };
            charter.links.extend(strangers(count).map(|key| (key, link)));
        };
        let proposal = world.mal.recharter(links);
        let commit = world.mal.commit(vec![proposal]);
        if fits {
            world.party.deliver(&commit);
            assert!(world.party.rooms.iter().all(|room| room.links().len() == 64));
        } else {
            world.refuse(&commit, Some("mal"), "replace the room's settings");
        }
    }
}

#[test]
fn a_thousand_have_a_role_or_are_muted_and_no_more() {
    let mut host = Person::host("host", Settings::default());
    let card = |n| (guest(&format!("guest {n}")).card().clone(), Role::Speaker);
    let cards: Vec<(Card, Role)> = (0..MAX_ON_STAGE).map(card).collect();
    // The host is one of the thousand.
    let (last, others) = cards.split_last().unwrap();
    for batch in others.chunks(500) {
        let admission = host.room.admit_all(batch).unwrap();
        host.receive(&admission.commit, NOW).unwrap();
    }
    let full = |refused: Error| assert!(matches!(refused, Error::Unusable { what: "role", .. }), "{refused}");
    full(refuses(&mut host.room, |room| room.admit(&last.0, Role::Speaker)));
    let admission = host.room.admit(&last.0, Role::Listener).unwrap();
    host.receive(&admission.commit, NOW).unwrap();
    assert_eq!(host.room.roster().len(), MAX_ON_STAGE + 1);
    full(refuses(&mut host.room, |room| room.set_role(&last.0.id(), Role::Speaker)));
    full(refuses(&mut host.room, |room| room.mute(&last.0.id())));
    goes_on(&mut host);
    let first = others[0].0.id();
    let commit = host.room.set_role(&first, Role::Listener).unwrap();
    host.receive(&commit, NOW).unwrap();
    let commit = host.room.set_role(&last.0.id(), Role::Speaker).unwrap();
    host.receive(&commit, NOW).unwrap();
    full(refuses(&mut host.room, |room| room.mute(&first)));
}

#[test]
fn eight_read_a_knock_hosts_first_and_all_of_eight_but_not_of_ten() {
    for count in [8, 10] {
        let names: Vec<_> = (0..count).map(|n| format!("member {n}")).collect();
        let role = |n| if n < 2 { Role::Host } else { Role::Moderator };
        let members: Vec<_> = names.iter().enumerate().map(|(n, name)| (name.as_str(), role(n))).collect();
        let settings = Settings::default().with(Setting::Entry(Entry::Knock)).unwrap();
        let mut party = Party::with(&members, settings);
        let (link, commit) = party.rooms[0].issue_link(TERMS).unwrap();
        party.deliver(&commit);
        let plate = link.read_doorplate(&party.rooms[0].doorplate(&link).unwrap()).unwrap();
        let (_, knock) = guest("zed").knock(&link, &plate, "", WALL).unwrap();
        let reads = |room: &mut Room| matches!(room.knocked(&knock, NOW, WALL).as_deref(), Ok([Event::Knocked { .. }]));
        let readers: Vec<bool> = party.rooms.iter_mut().map(reads).collect();
        assert_eq!(readers.iter().filter(|reads| **reads).count(), 8, "{readers:?}");
        assert!(readers[0] && readers[1], "{readers:?}");
    }
}

/// A card of exactly so many bytes, which a longer extension than anybody needs fills up.
fn card_of(length: usize) -> Vec<u8> {
    let padded = |padding: usize| {
        let padding = Extension::Unknown(0xF0DD, UnknownExtension(vec![0; padding]));
        let extensions = [CHARTER, 0xF0DD].map(ExtensionType::Unknown);
        let able = Capabilities::new(None, Some(&[SUITE]), Some(&extensions), None, Some(&[CredentialType::Basic]));
        let package = Bare::new("guest").key_package_with(|builder| {
            let builder = builder.leaf_node_capabilities(able.clone());
            builder.key_package_extensions(Extensions::single(padding.clone()).unwrap())
        });
        MlsMessageOut::from(package).to_bytes().unwrap()
    };
    let around = padded(100).len() - 100;
    padded(length - around)
}

#[test]
fn a_card_has_4096_bytes_and_no_more() {
    let longest = card_of(MAX_CARD);
    assert_eq!(longest.len(), 4_096);
    assert_eq!(Card::from_bytes(&longest).unwrap().name(), "guest");
    let over = card_of(MAX_CARD + 1);
    assert!(matches!(Card::from_bytes(&over), Err(Error::TooLarge { bytes: 4_097, limit: 4_096, .. })));
}

#[test]
fn a_commit_of_512_kib_is_made_and_taken_and_one_a_byte_longer_is_not_made() {
    let mut party = Party::new(&[("ana", Role::Host), ("ben", Role::Listener)]);
    let card = |length| (Card::from_bytes(&card_of(length)).unwrap(), Role::Listener);
    let mut cards: Vec<(Card, Role)> = (0..127).map(|_| card(MAX_CARD)).collect();
    cards.push(card(1_000));
    let short = party.rooms[0].admit_all(&cards).unwrap().commit.len();
    party.rooms[0].abandon().unwrap();
    let exact = 1_000 + MAX_MESSAGE - short;
    *cards.last_mut().unwrap() = card(exact + 1);
    let before = state(&party.rooms[0]);
    let refused = party.rooms[0].admit_all(&cards).unwrap_err();
    assert!(
        matches!(refused, Error::TooLarge { what: Item::Message, bytes: 524_289, limit: MAX_MESSAGE }),
        "{refused}"
    );
    assert_eq!(state(&party.rooms[0]), before);
    *cards.last_mut().unwrap() = card(exact);
    let admission = party.rooms[0].admit_all(&cards).unwrap();
    assert_eq!(admission.commit.len(), MAX_MESSAGE);
    rekey(&mut party, &admission.commit);
    assert_eq!(party.rooms[1].roster().len(), 130);
}

#[test]
fn what_is_as_long_as_it_may_be_is_read_and_a_byte_more_is_not() {
    let too_large = |error: &Error| matches!(error, Error::TooLarge { .. });
    let mut party = Party::new(&[("ana", Role::Host)]);
    for (bytes, over) in [(MAX_MESSAGE, false), (MAX_MESSAGE + 1, true)] {
        assert_eq!(too_large(&party.rooms[0].receive(&vec![0; bytes], NOW).unwrap_err()), over, "message");
        assert_eq!(too_large(&guest("ben").enter(&vec![0; bytes]).unwrap_err().error), over, "welcome");
    }
    let ben = guest("ben");
    let admission = party.rooms[0].admit(ben.card(), Role::Listener).unwrap();
    let mut ben = Some(ben);
    for (bytes, over) in [(MAX_TREE, false), (MAX_TREE + 1, true)] {
        let failed = ben.take().unwrap().enter_with_tree(&admission.welcome, &vec![0; bytes]).unwrap_err();
        assert_eq!(too_large(&failed.error), over, "tree: {failed}");
        ben = Some(*failed.guest);
    }
}

#[test]
fn by_default_a_seal_is_due_at_the_twenty_fifth_frame() {
    let mut people = room_of(Settings::default(), &[("ben", Role::Listener), ("cy", Role::Listener)]);
    let voice = &mut people[0].voice;
    for frame in 1..=25 {
        voice.seal(b"frame").unwrap();
        assert_eq!(voice.next_seal(NOW).is_some(), frame == 25, "{frame}");
    }
}

/// Rooms of 2^12 members, which is what the default key ids name.
const SENDER_BITS: u8 = 12;

#[test]
fn members_come_in_until_the_key_ids_name_no_more() {
    let all = 1 << SENDER_BITS;
    let settings = Settings::default().with(Setting::Capacity(None)).unwrap();
    let mut host = Person::host("host", settings.with_layout(KeyIdLayout::new(SENDER_BITS, 8).unwrap()));
    let mut last = None;
    while host.room.roster().len() < all {
        let count = MAX_BATCH.min(all - host.room.roster().len());
        let guests = crowd::guests(host.room.roster().len(), count);
        let admission = host.room.admit_all(&crowd::as_listeners(&guests)).unwrap();
        host.receive(&admission.commit, NOW).unwrap();
        last = guests.into_iter().next_back().map(|guest| (guest, admission));
    }
    let over = guest("one too many");
    let refused = refuses(&mut host.room, |room| room.admit(over.card(), Role::Listener));
    assert!(matches!(refused, Error::Denied(_)) && refused.to_string().contains("the room is full"), "{refused}");

    // The last who came enters and hears, and the room goes on with those who are there.
    let (guest, admission) = last.unwrap();
    let mut last = Person::enter(guest, &admission);
    assert_eq!(last.room.roster().len(), all);
    let commit = host.room.refresh().unwrap();
    [&mut host, &mut last].into_iter().for_each(|person| person.receive(&commit, NOW).unwrap());
    host.voice.set_mic(&host.id, true);
    visit::hears(&mut host.voice, &mut last.voice).unwrap();

    // Whoever goes makes a place for another.
    let one = host.room.roster().nth(all / 2).unwrap().id;
    let commit = host.room.remove(&one).unwrap();
    host.receive(&commit, NOW).unwrap();
    goes_on(&mut host);
    assert_eq!(host.room.roster().len(), all);
    assert!(matches!(refuses(&mut host.room, |room| room.admit(over.card(), Role::Listener)), Error::Denied(_)));
}

#[test]
fn members_with_the_longest_leaves_come_in_until_the_tree_of_the_room_is_as_large_as_may_be() {
    let settings = Settings::default().with(Setting::Capacity(None)).unwrap();
    let mut host = Person::host("host", settings);
    let (mut step, mut names) = (MAX_BATCH, 0);
    // Ever fewer at a time, until not even one has a place.
    while step > 0 {
        let name = |n| format!("{n:0>width$}", width = MAX_NAME);
        let guests: Vec<_> = (names..names + step).map(|n| Guest::for_stage(identity(&name(n))).unwrap()).collect();
        names += step;
        let before = state(&host.room);
        match host.room.admit_all(&crowd::as_listeners(&guests)) {
            Ok(admission) => {
                assert!(admission.tree.is_none_or(|tree| tree.len() <= MAX_TREE));
                host.receive(&admission.commit, NOW).unwrap();
            }
            Err(error) => {
                assert!(matches!(error, Error::TooLarge { what: Item::Tree, limit: MAX_TREE, .. }), "{error}");
                assert_eq!(state(&host.room), before);
                step /= 2;
            }
        }
    }
    let members = host.room.roster().len();
    assert!(FULL.contains(&members), "{members} members");

    // It goes on with those who are there, and whoever goes makes a place: what the host's own path takes up of the tree
    // is less than four leaves.
    let some: Vec<_> = host.room.roster().skip(members - 4).map(|member| member.id).collect();
    let commit = host.room.remove_all(&some).unwrap();
    host.receive(&commit, NOW).unwrap();
    goes_on(&mut host);
}
