//! The door from inside, as members with patched clients and crashes meet it.

use std::time::Duration;

use super::{GATHERING, Link, Terms, UnixTime, Waiting, party};
use crate::{
    Event, Guest, Identity, MemberId, Role, Room, Settings,
    bytes::Writer,
    room::{Entry, Kept, Setting, said::Said},
    vault::{MemoryVault, VaultKey},
};

const NOW: Duration = Duration::from_secs(7);
const WALL: UnixTime = party::LATER;
const ANYBODY: Terms = Terms { role: Role::Listener, one_shot: false, expires: None };

/// Ana, host, and mo, moderator, with a link of ana's.
struct Evening {
    ana: Room,
    mo: Room,
    link: Link,
}

impl Evening {
    fn new() -> Self {
        let settings = Settings::default().with(Setting::Entry(Entry::Knock)).unwrap();
        let (mut ana, _) = Room::create(party::identity("ana"), settings).unwrap();
        let guest = party::guest("mo");
        let admission = ana.admit(guest.card(), Role::Moderator).unwrap();
        ana.receive(&admission.commit, NOW).unwrap();
        let (mut mo, _) = guest.enter(&admission.welcome).unwrap();
        let (link, commit) = ana.issue_link(ANYBODY).unwrap();
        ana.receive(&commit, NOW).unwrap();
        mo.receive(&commit, NOW).unwrap();
        Self { ana, mo, link }
    }

    fn deliver(&mut self, message: &[u8]) -> [Vec<Event>; 2] {
        [&mut self.ana, &mut self.mo].map(|room| room.receive(message, NOW).unwrap())
    }

    fn knock(&self, guest: Guest) -> (Waiting, Vec<u8>) {
        let plate = self.link.read_doorplate(&self.ana.doorplate(&self.link).unwrap()).unwrap();
        guest.knock(&self.link, &plate, "", WALL).unwrap()
    }

    /// What mo's patched client says of a knock.
    fn mo_says(&mut self, knock: [u8; 16], whose: MemberId) -> [Vec<Event>; 2] {
        let word = self.mo.say_to_all(&Said::TurnedAway { knock, whose }).unwrap();
        self.deliver(&word)
    }
}

#[test]
fn a_moderator_keeps_nobody_off_by_her_word_alone() {
    let mut evening = Evening::new();
    let hal = party::guest("hal");
    let whose = hal.identity.id();
    for n in 0..4 {
        for told in evening.mo_says([n; 16], whose) {
            assert!(told.is_empty(), "{told:?}");
        }
    }
    assert_eq!(evening.ana.kept_off().count(), 0);
    let (hal, knock) = evening.knock(hal);
    // Nor by a word on another's knock that is here.
    let (ben, bens) = evening.knock(party::guest("ben"));
    evening.ana.knocked(&bens, NOW, WALL).unwrap();
    evening.mo_says(*ben.id().as_bytes(), whose);
    assert_eq!(evening.ana.knocks().next().unwrap().name(), "ben", "who waits is not refused in another's name");
    for room in [&mut evening.ana, &mut evening.mo] {
        let told = room.knocked(&knock, NOW, WALL).unwrap();
        assert!(matches!(told[..], [Event::Knocked { .. }]), "{told:?}");
    }
    evening.ana.let_in(&hal.id(), NOW).unwrap();
}

#[test]
fn a_moderator_shuts_out_no_member_by_turning_their_knocks_away() {
    let mut evening = Evening::new();
    // Lea is in, and host tomorrow: her way back by the door is no moderator's to close.
    let lea = party::identity("lea");
    let (secret, whose) = (lea.secret(), lea.id());
    let guest = Guest::new(lea).unwrap();
    let admission = evening.ana.admit(guest.card(), Role::Listener).unwrap();
    evening.deliver(&admission.commit);
    for at in 1..4 {
        let again = Guest::new(Identity::from_secret("lea", &secret).unwrap()).unwrap();
        let plate = evening.link.read_doorplate(&evening.ana.doorplate(&evening.link).unwrap()).unwrap();
        let wall = WALL.plus(100 * at);
        let (there, knock) = again.knock(&evening.link, &plate, "", wall).unwrap();
        let later = NOW + Duration::from_secs(100 * at);
        let told = evening.ana.knocked(&knock, later, wall).unwrap();
        assert!(matches!(told[..], [Event::Knocked { .. }]), "time {at}: {told:?}");
        evening.mo_says(*there.id().as_bytes(), whose);
        assert_eq!(evening.ana.knocks().count(), 0, "that knock is answered");
    }
    assert_eq!(evening.ana.kept_off().count(), 0);
}

#[test]
fn who_was_refused_and_has_come_in_since_is_refused_by_nobody_any_more() {
    let mut evening = Evening::new();
    let hal = party::identity("hal");
    let (secret, whose) = (hal.secret(), hal.id());
    let mut guest = Guest::new(hal).unwrap();
    for _ in 0..2 {
        let (there, knock) = evening.knock(guest);
        evening.ana.knocked(&knock, NOW, WALL).unwrap();
        evening.mo_says(*there.id().as_bytes(), whose);
        guest = there.give_up();
    }
    assert!(evening.ana.kept_off().eq([(whose, evening.link.id())]));
    // A host lets him in by card, for by knock nobody is asked.
    let admission = evening.ana.admit(guest.card(), Role::Listener).unwrap();
    evening.deliver(&admission.commit);
    assert_eq!(evening.ana.kept_off().count(), 0);
    let out = evening.ana.remove(&whose).unwrap();
    evening.deliver(&out);
    let (_, knock) = evening.knock(Guest::new(Identity::from_secret("hal", &secret).unwrap()).unwrap());
    let later = NOW + Duration::from_secs(3_600);
    let told = evening.ana.knocked(&knock, later, WALL).unwrap();
    assert!(matches!(told[..], [Event::Knocked { .. }]), "{told:?}");
}

#[test]
fn words_that_come_before_their_knocks_are_few_and_end_with_the_office() {
    let mut evening = Evening::new();
    let whose = party::identity("hal").id();
    for n in 0..2_000_u16 {
        let mut knock = [0; 16];
        knock[..2].copy_from_slice(&n.to_be_bytes());
        evening.ana.hear_turned_away(&evening.mo.me().unwrap().clone(), &knock, whose);
    }
    assert_eq!(evening.ana.door.early_words(), 256);
    let mo = evening.mo.me().unwrap().id;
    let demoted = evening.ana.set_role(&mo, Role::Speaker).unwrap();
    evening.deliver(&demoted);
    assert_eq!(evening.ana.door.early_words(), 0);
}

#[test]
fn who_may_not_let_in_takes_nothing_back() {
    let mut evening = Evening::new();
    let mut hal = party::guest("hal");
    let whose = hal.identity.id();
    for _ in 0..2 {
        let (there, knock) = evening.knock(hal);
        evening.ana.knocked(&knock, NOW, WALL).unwrap();
        let (_, word) = evening.ana.turn_away(&there.id(), "").unwrap();
        evening.deliver(&word);
        hal = there.give_up();
    }
    let mo = evening.mo.me().unwrap().id;
    let demoted = evening.ana.set_role(&mo, Role::Speaker).unwrap();
    evening.deliver(&demoted);
    assert!(evening.mo.forgive(&whose).unwrap_err().to_string().contains("that is for a host or a moderator"));
    let word = evening.mo.say_to_all(&Said::Forgiven(whose)).unwrap();
    let [told, _] = evening.deliver(&word);
    assert!(matches!(&told[..], [Event::Refused { actor, .. }] if *actor == Some(mo)), "{told:?}");
    assert_eq!(evening.ana.kept_off().count(), 1);
}

/// Ana, who is kept, and what her door holds.
struct Keeper {
    secret: zeroize::Zeroizing<[u8; 32]>,
    key: zeroize::Zeroizing<[u8; 32]>,
    ana: Kept<MemoryVault>,
}

impl Keeper {
    fn new(ana: Room) -> Self {
        let (secret, key) = (ana.identity.secret(), VaultKey::generate().unwrap());
        let bytes = key.secret();
        Self { secret, key: bytes, ana: Kept::new(ana, MemoryVault::new(), key).unwrap() }
    }

    fn door(room: &Room) -> Vec<u8> {
        let mut out = Writer::default();
        room.door.save(&mut out).unwrap();
        out.done().to_vec()
    }

    /// The process dies: what the next one finds at the door is what this one saw there.
    fn crash(&self, after: &str) {
        let ana = Identity::from_secret("ana", &self.secret).unwrap();
        let key = VaultKey::from_bytes(&self.key);
        let restored = Kept::restore(ana, self.ana.vault().clone(), key, NOW).unwrap().unwrap().room;
        assert!(Self::door(&restored) == Self::door(&self.ana), "after {after} a restore finds another door");
    }
}

#[test]
fn a_crash_after_anything_at_the_door_finds_everybody_where_they_were() {
    for entry in [Entry::Knock, Entry::Link] {
        let Evening { mut ana, mut mo, link } = Evening::new();
        if entry == Entry::Link {
            let commit = ana.set(Setting::Entry(entry)).unwrap();
            ana.receive(&commit, NOW).unwrap();
            mo.receive(&commit, NOW).unwrap();
        }
        let plate = link.read_doorplate(&ana.doorplate(&link).unwrap()).unwrap();
        let mut keeper = Keeper::new(ana);
        keeper.crash("it is kept");
        let mut there = Vec::new();
        let knock = |guest: Guest, note: &str| guest.knock(&link, &plate, note, WALL).unwrap();
        for n in 0..8 {
            let (waiting, bytes) = knock(party::guest(&format!("guest {n}")), "may I?");
            keeper.ana.act(|room| room.knocked(&bytes, NOW, WALL)).unwrap().unwrap();
            keeper.crash("a knock");
            let _ = keeper.ana.act(|room| room.knocked(&bytes, NOW, WALL)).unwrap().unwrap_err();
            keeper.crash("a knock that came before");
            there.push((waiting, bytes));
        }
        // Somebody knocks again, later and earlier than before.
        let (again, _) = there.pop().unwrap();
        let (again, bytes) = again.give_up().knock(&link, &plate, "it's me", WALL.plus(1)).unwrap();
        keeper.ana.act(|room| room.knocked(&bytes, NOW, WALL)).unwrap().unwrap();
        keeper.crash("a later knock");
        let (_, bytes) = again.give_up().knock(&link, &plate, "me again", UnixTime(WALL.0 - 9)).unwrap();
        keeper.ana.act(|room| room.knocked(&bytes, NOW, WALL)).unwrap().unwrap();
        keeper.crash("an earlier knock");
        assert!(keeper.ana.vault().steps() > 30, "the vault has appended");
        if entry == Entry::Knock {
            let [(one, _), (two, _), (three, bytes), ..] = &there[..] else { panic!() };
            keeper.ana.act(|room| room.let_in(&one.id(), NOW)).unwrap().unwrap();
            keeper.crash("let in");
            let (_, word) = keeper.ana.act(|room| room.turn_away(&two.id(), "")).unwrap().unwrap();
            keeper.crash("turned away");
            keeper.ana.act(|room| room.receive(&word, NOW)).unwrap().unwrap();
            mo.receive(&word, NOW).unwrap();
            keeper.crash("its word");
            mo.knocked(bytes, NOW, WALL).unwrap();
            let (_, word) = mo.turn_away(&three.id(), "").unwrap();
            mo.receive(&word, NOW).unwrap();
            keeper.ana.act(|room| room.receive(&word, NOW)).unwrap().unwrap();
            keeper.crash("turned away by another");
            assert_eq!((keeper.ana.knocks().count(), keeper.ana.door.len()), (5, 6));
            // The word of one that comes only later.
            let (early, bytes) = knock(party::guest("early"), "");
            mo.knocked(&bytes, NOW, WALL).unwrap();
            let (_, word) = mo.turn_away(&early.id(), "").unwrap();
            keeper.ana.act(|room| room.receive(&word, NOW)).unwrap().unwrap();
            let said = keeper.ana.act(|room| room.knocked(&bytes, NOW, WALL)).unwrap().unwrap_err();
            assert!(said.to_string().contains("has turned this knock away"), "{said}");
            keeper.crash("turned away before it came");
            let forgiven = early.give_up().identity.id();
            let word = keeper.ana.act(|room| room.forgive(&forgiven)).unwrap().unwrap();
            let told = keeper.ana.act(|room| room.receive(&word, NOW)).unwrap().unwrap();
            assert!(matches!(told[..], [Event::Forgiven { .. }]), "{told:?}");
            keeper.crash("forgiven");
        }
        let commit = keeper.ana.act(|room| room.open_door(NOW + GATHERING)).unwrap().unwrap().unwrap();
        keeper.crash("opened");
        keeper.ana.act(|room| room.receive(&commit, NOW)).unwrap().unwrap();
        keeper.crash("admitted");
        let came = keeper.ana.roster().count();
        assert_eq!(came, if entry == Entry::Knock { 3 } else { 10 });
    }
}
