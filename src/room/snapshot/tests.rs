use super::*;
use crate::{Event, Guest, Role, Settings};

const NOW: Duration = Duration::from_secs(7);

fn identity(name: &str) -> Identity {
    Identity::generate(name).unwrap()
}

/// Somebody who is kept, and what is stored of them.
struct Kept {
    secret: Zeroizing<[u8; 32]>,
    name: String,
    room: Room,
    voice: Voice,
    whole: Zeroizing<Vec<u8>>,
    increments: Vec<Zeroizing<Vec<u8>>>,
}

impl Kept {
    fn new((mut room, voice): (Room, Voice)) -> Self {
        let (secret, name) = (room.identity.secret(), room.identity.name().to_owned());
        let whole = room.save().unwrap();
        Self { secret, name, room, voice, whole, increments: Vec::new() }
    }

    fn act<T>(&mut self, act: impl FnOnce(&mut Room) -> T) -> T {
        let out = act(&mut self.room);
        match self.room.take_changes() {
            Changes::Nothing => {}
            Changes::Increment(increment) => self.increments.push(increment),
            Changes::Whole => {
                self.whole = self.room.save().unwrap();
                self.increments.clear();
            }
        }
        out
    }

    fn receive(&mut self, message: &[u8]) -> Vec<Event> {
        let events = self.act(|room| room.receive(message, NOW)).unwrap();
        events.into_iter().filter_map(|event| event.tell(&mut self.voice).unwrap()).collect()
    }

    /// The process dies, and another goes on with what is stored.
    fn restart(&mut self) {
        let identity = Identity::from_secret(&self.name, &self.secret).unwrap();
        let changes = self.increments.iter().map(|change| change.as_slice());
        let (room, voice) = Room::load(&self.whole, changes, identity, NOW).unwrap();
        *self = Self::new((room, voice.unwrap()));
    }
}

fn pair() -> [Kept; 2] {
    let mut ana = Kept::new(Room::create(identity("ana"), Settings::default()).unwrap());
    let guest = Guest::new(identity("ben")).unwrap();
    let admission = ana.act(|room| room.admit(guest.card(), Role::Speaker)).unwrap();
    ana.receive(&admission.commit);
    [ana, Kept::new(guest.enter(&admission.welcome).unwrap())]
}

#[test]
fn a_room_comes_back_as_it_was_after_every_call() {
    let [mut ana, mut ben] = pair();
    for round in 0..4 {
        let words =
            [ana.act(|room| room.say("hello", None)).unwrap().1, ben.act(|room| room.set_mic(round % 2 == 1)).unwrap()];
        ana.restart();
        for word in &words {
            ben.restart();
            ana.receive(word);
            ana.restart();
            ben.receive(word);
        }
        assert_eq!(ana.room.messages().count(), round + 1);
        assert_eq!(ben.room.messages().count(), round + 1);
        let of = if round % 2 == 0 { &mut ana } else { &mut ben };
        let commit = of.act(Room::refresh).unwrap();
        of.restart();
        assert_eq!(of.room.unsent().collect::<Vec<_>>(), [&commit[..]]);
        for one in [&mut ana, &mut ben] {
            one.receive(&commit);
            one.restart();
        }
        assert_eq!(ana.room.code(), ben.room.code());
        assert!(ana.room.roster().eq(ben.room.roster()));
        assert_eq!(ana.room.is_mic_on(&ben.room.identity.id()), round % 2 == 1);
        assert_eq!(ana.room.echoes.on_their_way(0).count(), 0);
    }
}

#[test]
fn who_was_restored_hears_at_once_and_speaks_after_a_commit_made_since() {
    let [mut ana, mut ben] = pair();
    ben.restart();
    assert!(ben.room.refresh_due(NOW));
    let packet = ana.voice.seal(b"hello").unwrap();
    assert_eq!(ben.voice.open(&packet, NOW).unwrap().frame, b"hello");
    assert!(matches!(ben.voice.seal(b"hello"), Err(Error::Restored { epoch: 1 })));
    // Another's commit does not help: who else was restored follows it too.
    let refresh = ana.act(Room::refresh).unwrap();
    ana.receive(&refresh);
    ben.receive(&refresh);
    assert!(matches!(ben.voice.seal(b"hello"), Err(Error::Restored { epoch: 2 })));
    // Nor does one that was made before the restore.
    let before = ben.act(Room::refresh).unwrap();
    ben.restart();
    ana.receive(&before);
    ben.receive(&before);
    assert!(matches!(ben.voice.seal(b"hello"), Err(Error::Restored { epoch: 3 })));
    let refresh = ben.act(Room::refresh).unwrap();
    ana.receive(&refresh);
    ben.receive(&refresh);
    assert!(!ben.room.refresh_due(NOW));
    let packet = ben.voice.seal(b"hello").unwrap();
    assert_eq!(ana.voice.open(&packet, NOW).unwrap().frame, b"hello");
}

#[test]
fn a_text_that_is_to_vanish_goes_with_the_process() {
    let [mut ana, mut ben] = pair();
    let short = ana.act(|room| room.say("not for long", Some(Duration::from_secs(60)))).unwrap().1;
    let long = ana.act(|room| room.say("for good", None)).unwrap().1;
    for line in [short, long] {
        ben.receive(&line);
    }
    assert_eq!(ben.room.messages().count(), 2);
    ben.restart();
    assert_eq!(ben.room.messages().map(|message| message.text().to_owned()).collect::<Vec<_>>(), ["for good"]);
    assert!(!ben.whole.windows(12).any(|text| text == b"not for long"));
}

/// Another process that goes on from what is stored of somebody.
fn clone_of(kept: &Kept) -> Kept {
    let identity = Identity::from_secret(&kept.name, &kept.secret).unwrap();
    let changes = kept.increments.iter().map(|change| change.as_slice());
    let (room, voice) = Room::load(&kept.whole, changes, identity, NOW).unwrap();
    Kept::new((room, voice.unwrap()))
}

#[test]
fn two_processes_restored_from_one_snapshot_that_do_the_same_do_not_meet_in_one_epoch() {
    // All that is in a commit which only admits is known to both beforehand: but for its path they would have one key.
    let [ana, mut ben] = pair();
    let (mut one, mut other) = (clone_of(&ana), clone_of(&ana));
    let guest = Guest::new(identity("cy")).unwrap();
    for clone in [&mut one, &mut other] {
        let admission = clone.act(|room| room.admit(guest.card(), Role::Listener)).unwrap();
        clone.receive(&admission.commit);
        assert_eq!(clone.room.epoch(), 2);
        clone.voice.seal(b"hello").unwrap();
        // Of the two the others follow the first.
        if ben.room.epoch() == 1 {
            ben.receive(&admission.commit);
        }
    }
    assert_ne!(one.room.code(), other.room.code());
    let [first, second] = [&mut one, &mut other].map(|clone| clone.voice.seal(b"hello").unwrap());
    assert_eq!(ben.voice.open(&first, NOW).unwrap().frame, b"hello");
    assert!(ben.voice.open(&second, NOW).is_err());
}

#[test]
fn what_says_that_it_is_from_ones_own_leaf_changes_nothing() {
    let [mut ana, ben] = pair();
    let (mut twin, mut ben) = (clone_of(&ben), ben);
    let first = twin.act(Room::refresh).unwrap();
    assert!(matches!(ben.room.receive(&first, NOW), Err(Error::Unauthentic { .. })));
    // Anybody can make such bytes: who is shown them goes on as if nothing had been.
    assert!(!ben.room.come_back_due(NOW));
    let refresh = ana.act(Room::refresh).unwrap();
    ana.receive(&refresh);
    ben.receive(&refresh);
    assert_eq!(ben.room.code(), ana.room.code());
}

#[test]
fn how_the_group_layer_is_set_up_is_not_for_a_snapshot_to_say() {
    let [ana, _] = pair();
    let at = |whole: &[u8]| whole.windows(16).position(|part| part == b"\"padding_size\":0");
    let mut altered = ana.whole.to_vec();
    let digit = at(&altered).unwrap() + 15;
    altered[digit] = b'9';
    let identity = Identity::from_secret(&ana.name, &ana.secret).unwrap();
    let (mut room, _) = Room::load(&altered, std::iter::empty(), identity, NOW).unwrap();
    assert!(at(&room.save().unwrap()).is_some());
}
