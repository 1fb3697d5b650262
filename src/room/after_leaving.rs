//! After an evening in a room, once everybody is out and what they held is dropped, no secret of it is in the process's
//! memory, neither as it is nor in any encoding: not on the heap, and not on a stack, those of the group layer's workers included.
//!
//! Here and not in `tests/`, because most of the secrets are given to nobody outside the crate. What they are is noted
//! on threads of their own, whose stacks are laid over with zeros when they end, so that what is found was left by the
//! room and not by the test.

use std::{env, process::Command, thread, time::Duration};

use hkdf::Hkdf;
use sha2::Sha256;
use zeroize::Zeroizing;

use super::{
    chat::{CHAT_LABEL, SECRET_LEN},
    door::{Terms, UnixTime},
    group::Provider,
    heartbeat, words,
};
use crate::{
    Event, Guest, Identity, Kept, LeafIndex, Link, Role, Room, Settings, Voice,
    dump::Needle,
    hunt::Hunt,
    media::{BASE_KEY_LABEL, seal::Proof, sframe::Derivation},
    room::{Entry, PUBLISH_AFTER, Setting},
    vault::{MemoryVault, VaultKey},
};

const WALL: UnixTime = UnixTime(1_800_000_000);
const ALONE: &str = "PARLOR_ALONE";

/// What is in memory all the time one is in a room.
const KINDS: [&str; 16] = [
    "identity",
    "vault key",
    "record key",
    "door key",
    "media seed",
    "chat secret",
    "signal key",
    "frame key",
    "a text",
    "private_key",
    "init_secret",
    "exporter_secret",
    "resumption_psk",
    "sender_data_secret",
    "membership_key",
    "words key",
];

/// A member, and the vault they are kept in.
struct Person {
    room: Kept<MemoryVault>,
    voice: Voice,
}

struct Evening {
    hunt: Hunt,
    people: Vec<Person>,
    now: Duration,
    /// How many secrets there were when the epoch began.
    lasting: usize,
}

/// Runs `note` where it leaves nothing behind.
fn aside<T: Send>(note: impl FnOnce() -> T + Send) -> T {
    thread::scope(|scope| {
        let note = || {
            let out = apart(note);
            scrub_whole_stack();
            out
        };
        thread::Builder::new().stack_size(4 << 20).spawn_scoped(scope, note).unwrap().join().unwrap()
    })
}

// A call of its own, or what it leaves would lie above what is laid over with zeros.
#[inline(never)]
fn apart<T>(note: impl FnOnce() -> T) -> T {
    note()
}

#[inline(never)]
fn scrub_whole_stack() {
    std::hint::black_box(&mut [0_u8; 3 << 20]);
}

/// Which of the group's records are secret, by their names in openmls's JSON.
fn is_secret(name: &str) -> bool {
    name.ends_with("secret.value.vec") || name.contains("private_")
}

fn note_provider(hunt: &mut Hunt, whose: &str, provider: &Provider) {
    provider.secrets(&mut |name, secret| note(hunt, whose, name, secret));
}

fn note(hunt: &mut Hunt, whose: &str, name: &str, secret: &[u8]) {
    let name = format!("{whose}: {name}");
    if secret.first().is_some_and(|byte| b"[{".contains(byte)) && secret.len() > 64 {
        hunt.add_arrays(&name, secret, is_secret);
    } else if secret.len() == 32 {
        hunt.add(&name, secret);
    }
}

impl Evening {
    fn new() -> Self {
        Self { hunt: Hunt::default(), people: Vec::new(), now: Duration::from_secs(7), lasting: 0 }
    }

    fn identity(&mut self, name: &str) -> Identity {
        let identity = Identity::generate(name).unwrap();
        let hunt = &mut self.hunt;
        aside(|| hunt.add(&format!("{name}: identity"), &*identity.secret()));
        identity
    }

    fn vault_key(&mut self) -> VaultKey {
        let key = VaultKey::generate().unwrap();
        let hunt = &mut self.hunt;
        aside(|| hunt.add("vault key", &*key.secret()));
        key
    }

    fn guest(&mut self, name: &str) -> Guest {
        let guest = Guest::new(self.identity(name)).unwrap();
        let hunt = &mut self.hunt;
        aside(|| note_provider(hunt, name, &guest.provider));
        guest
    }

    fn comes(&mut self, (room, voice): (Room, Voice)) {
        let key = self.vault_key();
        let room = Kept::new(room, MemoryVault::new(), key).unwrap();
        self.people.push(Person { room, voice });
    }

    fn at(&mut self, name: &str) -> &mut Person {
        self.people.iter_mut().find(|person| person.room.identity.name() == name).unwrap()
    }

    fn act<T: std::fmt::Debug>(&mut self, name: &str, act: impl FnOnce(&mut Room) -> crate::Result<T>) -> T {
        self.at(name).room.act(act).unwrap().unwrap()
    }

    /// Everybody receives it, and what comes of it.
    fn deliver(&mut self, message: &[u8]) -> Vec<Event> {
        let (mut messages, mut told) = (vec![message.to_vec()], Vec::new());
        while let Some(message) = messages.pop() {
            for person in self.people.iter_mut().filter(|person| person.room.is_open()) {
                let events = person.room.act(|room| room.receive(&message, self.now)).unwrap().unwrap();
                for event in events {
                    match event.tell(&mut person.voice).unwrap() {
                        Some(Event::Send(bytes)) => messages.insert(0, bytes),
                        Some(event) => told.push(event),
                        None => {}
                    }
                }
            }
        }
        told
    }

    fn commit(&mut self, name: &str, act: impl FnOnce(&mut Room) -> crate::Result<Vec<u8>>) -> Vec<Event> {
        let commit = self.act(name, act);
        self.deliver(&commit)
    }

    /// Notes all secrets that there are in this epoch.
    fn note_epoch(&mut self) {
        let Self { hunt, people, lasting, .. } = self;
        *lasting = hunt.len();
        for Person { room, .. } in people.iter_mut().filter(|person| person.room.is_open()) {
            room.act(|room| aside(|| note_room(hunt, room))).unwrap();
            let stored = room.vault().bytes().unwrap().to_vec();
            aside(|| note_record_key(hunt, &stored, &room.key));
        }
    }

    /// All talk for a second, and are heard.
    fn talk(&mut self) {
        let now = self.now;
        for at in 0..self.people.len() {
            let mut packets = Vec::new();
            let Person { room, voice } = &mut self.people[at];
            if voice.on_stage() && room.is_open() {
                for frame in 0..30_u8 {
                    packets.push(voice.seal(&[frame; 60]).unwrap());
                }
                while let Some(seal) = voice.next_seal(now) {
                    packets.push(seal);
                }
            }
            for (other, person) in self.people.iter_mut().enumerate().filter(|(other, _)| *other != at) {
                for packet in packets.iter().filter(|_| person.room.is_open()) {
                    // A seal is no sound.
                    let opened = person.voice.open(packet, now);
                    assert!(opened.is_ok() || packet.len() != packets[0].len(), "{other}: {opened:?}");
                }
            }
        }
    }

    fn write(&mut self, name: &str, lifetime: Option<Duration>) {
        let needle = Needle::random(40);
        let hunt = &mut self.hunt;
        aside(|| hunt.add(&format!("{name}: a text"), needle.text(0, 0).as_bytes()));
        let text = needle.text(3, 50);
        let (id, line) = self.act(name, |room| room.say(&text, lifetime));
        drop(text);
        self.deliver(&line);
        let Self { hunt, people, .. } = self;
        let room = &people[0].room;
        aside(|| {
            let mut key = Zeroizing::new([0; 32]);
            let name = id.to_bytes();
            let info = [b"parlor chat message 1\0".as_slice(), &room.epoch.to_be_bytes(), &name[..32], &name[32..]];
            let secret = room.group().unwrap().export(CHAT_LABEL, SECRET_LEN).unwrap();
            Hkdf::<Sha256>::from_prk(&secret).unwrap().expand_multi_info(&info, key.as_mut_slice()).unwrap();
            hunt.add("key of a text", key.as_slice());
        });
    }

    /// The process of `name` dies, and another goes on.
    fn restart(&mut self, name: &str) {
        let at = self.people.iter().position(|person| person.room.identity.name() == name).unwrap();
        let Person { room, voice } = self.people.remove(at);
        drop(voice);
        let mut secret = Zeroizing::new([0; 32]);
        let (identity, key) = (&room.identity, &room.key);
        let mut again = None;
        let to = &mut *secret;
        aside(|| {
            to.copy_from_slice(&*identity.secret());
            again = Some(VaultKey::from_bytes(&key.secret()));
        });
        let vault = MemoryVault::holding(room.vault().bytes().unwrap().to_vec());
        let identity = Identity::from_secret(name, &secret).unwrap();
        drop((room, secret));
        let restored = Kept::restore(identity, vault, again.unwrap(), self.now).unwrap().unwrap();
        self.people.insert(at, Person { room: restored.room, voice: restored.voice.unwrap() });
        self.commit(name, Room::refresh);
    }
}

fn note_room(hunt: &mut Hunt, room: &mut Room) {
    let whose = format!("{} in epoch {}", room.identity.name(), room.epoch);
    let settings = room.charter.settings.clone();
    let (suite, layout, epoch) = (settings.suite(), settings.layout(), room.epoch);
    let leaves: Vec<LeafIndex> = room.roster().map(|member| member.leaf).collect();
    hunt.add(&format!("{whose}: exchange secret"), room.identity.exchange_secret().as_slice());
    let group = room.group.as_mut().unwrap();
    group.secrets(&mut |name, secret| note(hunt, &whose, name, secret));
    hunt.add(&format!("{whose}: chat secret"), &group.export(CHAT_LABEL, SECRET_LEN).unwrap());
    hunt.add(&format!("{whose}: words key"), &group.export(words::KEY_LABEL, words::KEY).unwrap());
    hunt.add(&format!("{whose}: signal key"), &group.export(heartbeat::KEY_LABEL, 32).unwrap());
    let base_key = group.export(BASE_KEY_LABEL, suite.key_len()).unwrap();
    hunt.add(&format!("{whose}: base key"), &base_key);
    for (leaf, stream) in leaves.into_iter().flat_map(|leaf| [(leaf, 0), (leaf, 1)]) {
        let kid = layout.key_id(stream, leaf, epoch).unwrap();
        let derived = Derivation::new(suite, &base_key, kid).unwrap();
        hunt.add(&format!("{whose}: frame secret"), derived.secret());
        hunt.add(&format!("{whose}: frame key of {leaf:?}, stream {stream}"), derived.key());
        hunt.add(&format!("{whose}: frame salt of {leaf:?}, stream {stream}"), derived.salt());
    }
}

fn note_record_key(hunt: &mut Hunt, stored: &[u8], key: &VaultKey) {
    let mut record_key = Zeroizing::new([0; 32]);
    let hkdf = Hkdf::<Sha256>::new(Some(&stored[7..39]), key.secret().as_slice());
    hkdf.expand(b"parlor stored state 1\0", record_key.as_mut_slice()).unwrap();
    hunt.add("record key", record_key.as_slice());
}

fn note_link(hunt: &mut Hunt, link: &Link) {
    use base64::Engine as _;
    let text = link.reveal();
    let mut body = Zeroizing::new(vec![0; 65]);
    base64::engine::general_purpose::URL_SAFE_NO_PAD.decode_slice(&text["parlor:#".len()..], &mut body).unwrap();
    hunt.add("secret of a link", &body[33..]);
}

/// From the first who comes to the last who is there.
#[inline(never)]
fn evening(proof: Proof) -> Evening {
    let mut evening = Evening::new();
    let settings = Settings::default().with_proof(proof).with(Setting::Entry(Entry::Knock)).unwrap();
    let ana = evening.identity("ana");
    evening.comes(Room::create(ana, settings).unwrap());
    evening.note_epoch();

    let guests = ["ben", "cleo", "dan"].map(|name| evening.guest(name));
    for guest in guests {
        let admission = evening.act("ana", |room| room.admit(guest.card(), Role::Speaker));
        evening.deliver(&admission.commit);
        evening.comes(guest.enter(&admission.welcome).unwrap());
        evening.note_epoch();
    }
    for name in ["ana", "ben", "cleo"] {
        evening.commit(name, Room::refresh);
        evening.note_epoch();
        evening.talk();
        evening.write(name, None);
        evening.write(name, Some(Duration::from_secs(30)));
    }

    let terms = Terms { role: Role::Listener, one_shot: true, expires: None };
    let (link, commit) = evening.act("ana", |room| room.issue_link(terms));
    let hunt = &mut evening.hunt;
    aside(|| note_link(hunt, &link));
    evening.deliver(&commit);
    evening.note_epoch();
    let plate = evening.act("ana", |room| room.doorplate(&link));
    let plate = link.read_doorplate(&plate).unwrap();
    let (waiting, knock) = evening.guest("eve").knock(&link, &plate, "it is me", WALL).unwrap();
    drop(link);
    let now = evening.now;
    let told = evening.act("ana", |room| room.knocked(&knock, now, WALL));
    let [Event::Knocked { knock: id, .. }] = &told[..] else { panic!("{told:?}") };
    let id = *id;
    evening.act("ana", |room| room.let_in(&id, now));
    evening.now += Duration::from_secs(1);
    let now = evening.now;
    let commit = evening.act("ana", |room| room.open_door(now)).unwrap();
    let told = evening.deliver(&commit);
    let answer = told.iter().find_map(|event| match event {
        Event::Answered { answers, tree, .. } => Some((answers[0].bytes.clone(), tree.clone())),
        _ => None,
    });
    let (answer, tree) = answer.unwrap();
    evening.comes(waiting.enter(&answer, tree.as_deref()).unwrap());
    evening.note_epoch();

    let (ana, ben) = (evening.at("ana").room.identity.id(), evening.at("ben").room.identity.id());
    for (name, with) in [("ana", ben), ("ben", ana)] {
        let asked = evening.act(name, |room| room.compare_with(&with, now));
        evening.deliver(&asked);
    }
    evening.talk();
    evening.now += Duration::from_secs(40);
    let now = evening.now;
    for person in &mut evening.people {
        person.room.act(|room| room.tick(now)).unwrap();
    }
    // What opens for nobody makes all of them ask the host, who answers.
    let junk = [&[2, 2, 0][..], &u64::MAX.to_be_bytes(), &[7; 458]].concat();
    evening.deliver(&junk);
    evening.now += Duration::from_secs(2);
    let now = evening.now;
    let mut asked = Vec::new();
    for person in &mut evening.people {
        asked.extend(person.room.act(|room| room.tick(now)).unwrap());
    }
    let sent = asked.into_iter().filter_map(|event| match event {
        Event::Send(bytes) if bytes[2] == 1 => Some(bytes),
        _ => None,
    });
    let sent: Vec<_> = sent.collect();
    assert_eq!(sent.len(), evening.people.len());
    sent.iter().for_each(|asked| drop(evening.deliver(asked)));
    evening.restart("ben");
    evening.note_epoch();
    evening.write("ana", None);
    evening.restart("ana");
    evening.note_epoch();
    evening.talk();
    // One is put out, one asks to go, one lets go.
    let dan = evening.at("dan").room.identity.id();
    evening.commit("ana", |room| room.remove(&dan));
    evening.commit("cleo", Room::leave);
    evening.note_epoch();
    evening.write("ben", None);
    evening.talk();
    evening
}

/// Everybody out, and all that is due published.
#[inline(never)]
fn leave(evening: &mut Evening) {
    let eve = evening.people.iter().position(|person| person.room.identity.name() == "eve").unwrap();
    drop(evening.people.remove(eve));
    evening.commit("ana", Room::end);
    evening.now += PUBLISH_AFTER;
    let now = evening.now;
    for Person { mut room, mut voice } in evening.people.drain(..) {
        assert!(!room.is_open());
        voice.close();
        room.act(|room| room.tick(now)).unwrap();
        drop(room.erase().unwrap());
    }
}

#[test]
fn a_secret_is_found_in_any_encoding() {
    use base64::{
        Engine as _,
        engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
    };
    let secret = crate::random::bytes::<32>().unwrap();
    let mut hunt = Hunt::default();
    hunt.add("it", &*secret);
    let hex = |write: fn(&u8) -> String| secret.iter().map(write).collect::<String>();
    let after = |before: usize| Zeroizing::new([&vec![7; before][..], &*secret].concat());
    let forms: [(&str, &dyn Fn() -> String); 10] = [
        ("hex", &|| hex(|byte| format!("{byte:02x}"))),
        ("HEX", &|| hex(|byte| format!("{byte:02X}"))),
        ("a JSON array", &|| serde_json::to_string(&*secret).unwrap()),
        ("a list", &|| format!("{:?}", *secret)),
        ("base64", &|| STANDARD.encode(&*after(0))),
        ("base64", &|| STANDARD.encode(&*after(1))),
        ("base64", &|| STANDARD.encode(&*after(2))),
        ("base64 for URLs", &|| URL_SAFE_NO_PAD.encode(&*after(0))),
        ("base64 for URLs", &|| URL_SAFE_NO_PAD.encode(&*after(1))),
        ("base64 for URLs", &|| URL_SAFE_NO_PAD.encode(&*after(2))),
    ];
    for (form, write) in forms {
        let text = Zeroizing::new(write());
        assert!(hunt.is_in(text.as_bytes(), form), "{form}");
        assert!(hunt.found().iter().any(|found| found.encoding == form), "{form} in memory");
    }
    assert!(hunt.is_in(&secret.iter().rev().copied().collect::<Vec<u8>>(), "reversed"));
    assert!(hunt.is_in(&secret[10..], "raw") && !hunt.is_in(&[0; 300], "raw"));
}

#[test]
fn nothing_secret_is_left_in_memory_after_leaving() {
    if env::var_os(ALONE).is_none() {
        // In a process of its own: no other test's threads are at work, and what they leave is not searched.
        let name = "room::after_leaving::nothing_secret_is_left_in_memory_after_leaving";
        let alone = Command::new(env::current_exe().unwrap())
            .args([name, "--exact", "--nocapture", "--test-threads=1"])
            .env(ALONE, "1")
            .output()
            .unwrap();
        print!("{}", String::from_utf8_lossy(&alone.stdout));
        assert!(alone.status.success(), "{}", String::from_utf8_lossy(&alone.stderr));
        return;
    }
    for proof in [Proof::Deniable, Proof::Evidence] {
        let mut evening = evening(proof);
        let before = aside(|| evening.hunt.found());
        leave(&mut evening);
        let after = aside(|| evening.hunt.found());
        let count = evening.hunt.len();
        println!("{proof:?} room: {count} secrets in {} places before leaving, {} after", before.len(), after.len());
        // What there is while one is in the room is found, each kind of it, or the search could not fail.
        for kind in KINDS {
            assert!(before.iter().any(|found| found.name.contains(kind)), "{kind} is not found while it is there");
        }
        assert_eq!(after, []);
    }
}
