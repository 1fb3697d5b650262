//! What was to be forgotten is nowhere in the memory of the process: lines of chat whose time is over, all of a room's
//! talk once one is out of it, a link's secret once the link is dropped.
#![cfg(target_os = "linux")]

#[path = "common/dump.rs"]
mod dump;
#[path = "common/memory.rs"]
mod memory;
mod party;

use std::time::Duration;

use Role::{Host, Listener, Speaker};
use dump::{Needle, alone};
use parlor::{
    Event, MemberId, Role, Room,
    room::{
        Entry, MAX_TEXT, MessageId, Setting,
        door::{Gate, Terms, UnixTime},
    },
};
use party::{NOW, Party, guest, tick};

#[global_allocator]
static ALLOCATOR: memory::Watched = memory::Watched;

const LIFETIME: Duration = Duration::from_secs(30);
const WALL: UnixTime = UnixTime(1_800_000_000);

fn party() -> Party {
    Party::new(&[("ana", Host), ("ben", Speaker), ("eve", Listener)])
}

/// Ben writes the needle among some letters, and all have it.
fn say(party: &mut Party, needle: &Needle, before: usize, after: usize, lifetime: Option<Duration>) -> MessageId {
    let text = needle.text(before, after);
    let (id, line) = party.named("ben").say(&text, lifetime).unwrap();
    drop(text);
    party.deliver(&line);
    for room in &party.rooms {
        let message = room.message(&id).unwrap();
        assert!(needle.is_in(message.text()) && format!("{message:?} {room:?}").len() > 20);
    }
    id
}

#[test]
fn a_line_of_chat_is_nowhere_in_memory_once_its_time_is_over() {
    let _alone = alone();
    for (before, after) in [(0, 0), (0, 300), (41, 7), (900, 900), (MAX_TEXT - 24, 0)] {
        let mut party = party();
        let needle = Needle::random(24);
        let id = say(&mut party, &needle, before, after, Some(LIFETIME));
        assert!(needle.found().len() >= 3, "each of three rooms has it");
        assert!(party.rooms.iter_mut().all(|room| tick(room, NOW + LIFETIME - Duration::from_millis(1)).is_empty()));
        assert!(needle.found().len() >= 3, "its time is not over");
        for room in &mut party.rooms {
            let told = tick(room, NOW + LIFETIME);
            assert!(matches!(told[..], [Event::Vanished { message }] if message == id));
        }
        assert_eq!(needle.found(), [], "{before} letters before it, {after} after");
        assert!(party.rooms.iter().all(Room::is_open));
    }
}

#[test]
fn a_line_among_many_goes_alone_and_leaves_no_part_of_it() {
    let _alone = alone();
    let mut party = party();
    let (vanishing, lasting, forgotten, overtaken) =
        (Needle::random(24), Needle::random(24), Needle::random(24), Needle::random(24));
    for at in 0..40 {
        say(&mut party, &vanishing, at, 3 * at, Some(LIFETIME));
    }
    say(&mut party, &lasting, 5, 5, None);
    let id = say(&mut party, &forgotten, 5, 5, None);
    // One that a commit overtakes, and one that never arrives.
    let (_, late) = party.named("ben").say(&overtaken.text(5, 5), Some(LIFETIME)).unwrap();
    let lost = Needle::random(24);
    party.named("ben").say(&lost.text(5, 5), None).unwrap();
    assert_eq!(lost.found(), [], "what is said is kept where it arrives, and nowhere else");
    let refresh = party.named("ana").refresh().unwrap();
    party.deliver(&refresh);
    party.deliver(&late);
    assert!([&vanishing, &lasting, &forgotten, &overtaken].iter().all(|needle| needle.found().len() >= 3));
    for room in &mut party.rooms {
        assert!(room.forget_message(&id));
        assert_eq!(tick(room, NOW + LIFETIME).len(), 41);
    }
    for gone in [&vanishing, &forgotten, &overtaken] {
        assert_eq!(gone.found(), []);
    }
    assert!(lasting.found().len() >= 3);
}

#[test]
fn no_block_of_the_heap_is_given_back_with_a_line_in_it() {
    let _alone = alone();
    let needle = Needle::random(24);
    let evening = || {
        let mut party = party();
        for (before, after) in [(0, 0), (0, 300), (0, MAX_TEXT - 24)] {
            say(&mut party, &needle, before, after, Some(LIFETIME));
            let id = say(&mut party, &needle, before, after, None);
            assert!(party.named("ana").forget_message(&id));
        }
        assert!(party.rooms.iter_mut().all(|room| tick(room, NOW + LIFETIME).len() == 3));
        let refresh = party.named("ana").refresh().unwrap();
        party.deliver(&refresh);
    };
    let text = needle.text(0, 0);
    assert_eq!(memory::freed_blocks_with(&[text.as_bytes()], evening), 0);
    let careless = || drop(text.to_string());
    assert_eq!(memory::freed_blocks_with(&[text.as_bytes()], careless), 1);
}

#[test]
fn a_line_that_is_refused_is_kept_nowhere() {
    let _alone = alone();
    let mut party = party();
    let needle = Needle::random(24);
    for (before, after, lifetime) in [(0, MAX_TEXT, None), (0, 0, Some(Duration::from_millis(1)))] {
        party.named("ben").say(&needle.text(before, after), lifetime).unwrap_err();
    }
    // One that cannot be read: another room has it.
    let (_, line) = party.named("ben").say(&needle.text(0, 0), None).unwrap();
    let mut other = Party::new(&[("zed", Host)]);
    other.rooms[0].receive(&line, NOW).unwrap_err();
    assert_eq!(needle.found(), []);
}

#[test]
fn a_rooms_talk_is_nowhere_in_memory_once_one_is_out() {
    let _alone = alone();
    let out: [fn(&mut Party); 3] = [
        |party| {
            let end = party.named("ana").end().unwrap();
            party.deliver(&end);
        },
        |party| {
            for name in ["ben", "eve"] {
                let id = party.id(name);
                let remove = party.named("ana").remove(&id).unwrap();
                party.deliver(&remove);
            }
            party.rooms.remove(0);
        },
        |party| party.rooms.clear(),
    ];
    for out in out {
        let mut party = party();
        let needle = Needle::random(40);
        for at in 0..10 {
            say(&mut party, &needle, 7 * at, at, None);
        }
        assert!(needle.found().len() >= 30);
        out(&mut party);
        assert!(party.rooms.iter().all(|room| !room.is_open() && room.messages().next().is_none()));
        assert_eq!(needle.found(), []);
    }
}

#[test]
fn a_links_secret_is_nowhere_in_memory_once_the_link_is_dropped() {
    let _alone = alone();
    let mut party = Party::new(&[("ana", Host)]);
    let knocks = party.rooms[0].set(Setting::Entry(Entry::Link)).unwrap();
    party.deliver(&knocks);
    let (link, commit) = party.rooms[0].issue_link(Terms { role: Listener, one_shot: true, expires: None }).unwrap();
    party.deliver(&commit);
    // The secret as it stands in the link's text, and as bytes.
    let text = link.reveal();
    let written = Needle::of(&text.as_bytes()["parlor:#".len() + 44..]);
    let bytes = Needle::of(&secret_of(&text));
    assert!(!written.found().is_empty(), "the text is here yet");
    drop(text);
    assert!(!bytes.found().is_empty(), "the link is here yet");

    // All that a link is for.
    let plate = party.rooms[0].doorplate(&link).unwrap();
    let gate = Gate::from_bytes(&link.gate().to_bytes()).unwrap();
    let again: parlor::Link = link.reveal().parse().unwrap();
    drop(link);
    assert!(!bytes.found().is_empty(), "the guest's is here yet");
    let (waiting, knock) = guest("ben").knock(&again, &again.read_doorplate(&plate).unwrap(), "", WALL).unwrap();
    assert!(again.reveal()[..60].parse::<parlor::Link>().is_err());
    drop(again);
    gate.check(&knock).unwrap();
    party.rooms[0].knocked(&knock, NOW, WALL).unwrap();
    let commit = party.rooms[0].open_door(NOW + Duration::from_secs(1)).unwrap().unwrap();
    let told = party.deliver(&commit);
    let Some(Event::Answered { answers, tree, .. }) = told[0].last() else { panic!("{told:?}") };
    let (room, _voice) = waiting.enter(&answers[0].bytes, tree.as_deref()).unwrap();
    assert_eq!(room.code(), party.rooms[0].code());
    let id: MemberId = room.me().unwrap().id;
    assert!(party.rooms[0].member(&id).is_some());
    assert_eq!(bytes.found(), []);
    assert_eq!(written.found(), []);
}

#[test]
fn a_link_that_is_read_and_written_leaves_no_copy_on_heap_or_stack() {
    let _alone = alone();
    let text = parlor::Link::generate(guest("ana").card().id()).unwrap().reveal();
    let (secret, written) = (secret_of(&text), text["parlor:#".len() + 44..].to_owned());
    let (written, needles) =
        (zeroize::Zeroizing::new(written), [Needle::of(&secret), Needle::of(&text.as_bytes()[52..])]);
    let use_it = || {
        let link: parlor::Link = text.parse().unwrap();
        let link = link.with_hint("relay.example:4433").unwrap();
        assert!(format!("{link} {link:?}").len() > 20);
        text[..60].parse::<parlor::Link>().unwrap_err();
        assert_ne!(*link.reveal(), *text);
    };
    assert_eq!(memory::freed_blocks_with(&[&secret, written.as_bytes()], use_it), 0);
    drop(secret);
    for _ in 0..3 {
        use_it();
        assert_eq!(needles[0].found(), []);
    }
    drop((text, written));
    assert_eq!(needles[1].found(), []);
}

/// The secret of a link's text, in a place that wipes itself.
fn secret_of(text: &str) -> zeroize::Zeroizing<Vec<u8>> {
    use base64::Engine as _;
    let mut body = zeroize::Zeroizing::new(vec![0; 65]);
    base64::engine::general_purpose::URL_SAFE_NO_PAD.decode_slice(&text["parlor:#".len()..], &mut body).unwrap();
    zeroize::Zeroizing::new(body[33..].to_vec())
}
