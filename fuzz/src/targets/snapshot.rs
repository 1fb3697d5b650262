//! Stored rooms: whatever lies on the disk, and whatever is sealed under the app's own key.
//!
//! Each input begins with rooms as they were stored once, so that none depends on those before it.

use std::{cell::RefCell, time::Duration};

use chacha20poly1305::{
    ChaCha20Poly1305, KeyInit as _, Nonce,
    aead::{Aead as _, Payload},
};
use hkdf::Hkdf;
use parlor::{
    Event, Guest, Identity, Kept, MemberId, Role, Room, RoomCode, Settings, Voice,
    media::seal::SealMode,
    room::{
        Entry, MessageId, PUBLISH_AFTER, PublishedKeys, Setting,
        door::{GATHERING, Terms},
    },
    vault::{MemoryVault, VaultKey},
};
use serde_json::Value;
use sha2::Sha256;

use super::{
    input::Input,
    porch::{NOW, WALL, guest, host},
    reach,
};
use crate::party::mal::{State, state};

const KEY: [u8; 32] = [4; 32];
/// What is to vanish is in no room that is restored.
const GONE: &str = "not for long";
const HEADER: usize = 6 + 1 + 32 + 4;

thread_local! {
    static SHELF: RefCell<Option<Vec<Stored>>> = const { RefCell::new(None) };
}

/// What is stored comes back as it was or is an error; whatever was sealed under the key gives an error, or a room that
/// goes on. Neither speaks before a commit made since.
pub fn snapshot(data: &[u8]) {
    SHELF.with_borrow_mut(|shelf| {
        let shelf = shelf.get_or_insert_with(shelf_of);
        let mut input = Input::new(data);
        let at = input.below(shelf.len());
        let (stored, other) = (&shelf[at], &shelf[(at + 1) % shelf.len()]);
        let Stored { whole, increments, .. } = stored;
        match input.below(6) {
            0 => stored.unsealed(&[&stored.sealed[..input.below(HEADER + 1)], input.rest()].concat()),
            1 => stored.unsealed(&input.mutate(&stored.sealed)),
            2 => {
                let end = stored.ends[input.below(stored.ends.len())];
                stored.unsealed(&[&stored.sealed[..end], input.rest()].concat());
            }
            3 => stored.sealed_anew(&alter(whole, &other.whole, &mut input), increments, &mut input),
            4 => {
                let increments = stored.others(&mut input);
                stored.sealed_anew(whole, &increments, &mut input);
            }
            _ => {
                let whole = if input.flag() { input.mutate(whole) } else { input.rest().to_vec() };
                let increments = if input.flag() { stored.others(&mut input) } else { Vec::new() };
                stored.sealed_anew(&whole, &increments, &mut input);
            }
        }
    });
}

/// One room as it was stored, and what is sealed in it.
struct Stored {
    name: &'static str,
    seed: u8,
    sealed: Vec<u8>,
    /// Where in it the whole ends, and each increment.
    ends: Vec<usize>,
    whole: Vec<u8>,
    increments: Vec<Vec<u8>>,
    /// What comes of the whole and so many increments.
    gists: Vec<Gist>,
    /// A commit of another's in the same epoch, and the room's code after it.
    next: Vec<u8>,
    code: Option<RoomCode>,
    /// Messages of others and of one's own, and a packet of another's whose microphone is on.
    messages: Vec<Vec<u8>>,
    packet: Vec<u8>,
    /// What became of a knock, as ana's room has stored it.
    turn: Vec<u8>,
}

/// What of a room can be seen.
#[derive(PartialEq, Debug)]
struct Gist {
    state: Option<State>,
    messages: Vec<(MessageId, String)>,
    unsent: Vec<Vec<u8>>,
    welcome: Option<(Vec<u8>, Option<Vec<u8>>)>,
    knocks: Vec<MemberId>,
    mics: Vec<bool>,
}

fn gist(room: &Room) -> Gist {
    let text = |message: &parlor::room::Message| (message.id, message.text().to_owned());
    Gist {
        state: room.is_open().then(|| state(room)),
        messages: room.messages().map(text).collect(),
        unsent: room.unsent().map(<[u8]>::to_vec).collect(),
        welcome: room.last_welcome().map(|(welcome, tree)| (welcome.to_vec(), tree.map(<[u8]>::to_vec))),
        knocks: room.knocks().map(parlor::room::door::Knock::member).collect(),
        mics: room.roster().map(|member| room.is_mic_on(&member.id)).collect(),
    }
}

fn key() -> VaultKey {
    VaultKey::from_bytes(&KEY)
}

impl Stored {
    /// Of what lies in the vault: the whole, and a change each.
    fn new(name: &'static str, seed: u8, sealed: Vec<u8>) -> Self {
        let (whole, increments, ends) = unseal(&sealed);
        let mut stored = Self {
            name,
            seed,
            ends,
            whole,
            increments,
            gists: Vec::new(),
            next: Vec::new(),
            code: None,
            messages: Vec::new(),
            packet: Vec::new(),
            turn: Vec::new(),
            sealed,
        };
        stored.gists = stored.ends.iter().map(|end| gist(&stored.restore(&stored.sealed[..*end]).unwrap().0)).collect();
        stored
    }

    fn restore(&self, bytes: &[u8]) -> parlor::Result<(Room, Option<Voice>)> {
        let identity = Identity::from_secret(self.name, &[self.seed; 32]).unwrap();
        Room::restore(identity, &key(), bytes, NOW)
    }

    /// Bytes that nobody sealed but where they are the stored ones.
    fn unsealed(&self, bytes: &[u8]) {
        let whole = self.ends.iter().rposition(|end| bytes.get(..*end) == Some(&self.sealed[..*end]));
        match (self.restore(bytes), whole) {
            (Ok((room, voice)), Some(whole)) => {
                assert_eq!(gist(&room), self.gists[whole], "after {whole} increments");
                self.goes_on(room, voice, true);
            }
            (Ok(_), None) => panic!("a state that nobody sealed is restored"),
            (Err(error), None) => assert!(!error.to_string().is_empty()),
            (Err(error), Some(_)) => panic!("a state that is whole is not restored: {error}"),
        }
    }

    fn sealed_anew(&self, whole: &[u8], increments: &[Vec<u8>], input: &mut Input<'_>) {
        let bytes = seal([input.byte(); 32], whole, increments);
        let genuine = whole == self.whole && self.increments.starts_with(increments);
        match self.restore(&bytes) {
            Ok((room, voice)) => {
                let has_turns =
                    increments.iter().any(|plain| plain.starts_with(&[3]) && !self.increments.contains(plain));
                reach(if genuine {
                    "as it was"
                } else if has_turns {
                    "after turns"
                } else {
                    "altered"
                });
                if genuine {
                    assert_eq!(gist(&room), self.gists[increments.len()]);
                }
                // In debug builds openmls asserts that its own records fit together.
                if genuine || !cfg!(debug_assertions) || records(whole) == records(&self.whole) {
                    self.goes_on(room, voice, genuine);
                }
            }
            Err(error) => assert!(!genuine && !error.to_string().is_empty(), "{error}"),
        }
    }

    /// Other changes than those there were.
    fn others(&self, input: &mut Input<'_>) -> Vec<Vec<u8>> {
        let mut all = Vec::new();
        for _ in 0..input.below(4) {
            let mut plain = Vec::new();
            for _ in 0..input.below(4) {
                match input.below(7) {
                    0 => plain.extend(input.run()),
                    1 if !self.increments.is_empty() => {
                        plain.extend(&self.increments[input.below(self.increments.len())]);
                    }
                    2 => {
                        let message = input.choose(&self.messages);
                        plain.extend([&[2][..], &long(&input.mutate(message))].concat());
                    }
                    3 => plain.extend([&[1][..], &long(input.run())].concat()),
                    4 => {
                        let message = input.choose(&self.messages);
                        plain.extend([&[1][..], &long(&input.mutate(message))].concat());
                    }
                    // What became of a knock: of one that waits, or of any.
                    5 => {
                        let kind = input.below(8) as u8;
                        let id = if input.flag() { &self.turn[1..17] } else { &input.array::<16>() };
                        let turn = match kind {
                            0 => input.run().to_vec(),
                            2 | 3 => [&[kind][..], &input.mutate(&self.turn[1..])].concat(),
                            6 => [&[6][..], &[6; 32], id, &[7; 32], &[5; 32], input.run()].concat(),
                            _ => [&[kind], id].concat(),
                        };
                        plain.extend([&[3][..], &long(&turn)].concat());
                    }
                    _ => plain.extend([&[1][..], &long(input.choose::<Vec<u8>>(&self.messages))].concat()),
                }
            }
            all.push(if input.below(4) == 3 { input.mutate(&plain) } else { plain });
        }
        all
    }

    /// A room that was restored can do everything, or says why not; if it was stored by the library itself, it does.
    fn goes_on(&self, mut room: Room, mut voice: Option<Voice>, genuine: bool) {
        let _ = (format!("{room:?}"), room.next_tick(), room.refresh_due(NOW), room.come_back_due(NOW), room.ticket());
        assert!(!room.may_speak_again());
        assert!(!room.messages().any(|message| message.text() == GONE));
        if let Some(voice) = &mut voice {
            assert!(voice.seal(b"a frame").is_err());
            let heard = voice.open(&self.packet, NOW);
            assert!(!genuine || self.packet.is_empty() || heard.is_ok(), "{heard:?}");
        }
        // What is stored of it is the same once more.
        let before = gist(&room);
        let again = room.snapshot(&key()).unwrap();
        let (again, _) = self.restore(&again).unwrap();
        assert_eq!(gist(&again), before);
        if !room.is_open() {
            return publishes(room);
        }
        let _ = room.tick(NOW);
        let followed = match room.receive(&self.next, NOW) {
            Ok(events) => matches!(events[..], [Event::Rekeyed(_), ..]),
            Err(_) => false,
        };
        assert!(followed || !genuine, "{} cannot follow after a restore", self.name);
        assert!(!followed || Some(room.code()) == self.code, "members differ");
        assert!(!room.may_speak_again());
        for message in &self.messages {
            let _ = room.receive(message, NOW);
        }
        let said = room.say("once more", None).and_then(|(_, message)| room.receive(&message, NOW));
        assert!(said.is_ok() || !genuine, "{said:?}");
        let _ = room.set_mic(false);
        let _ = room.abandon();
        let refreshed = room.refresh().and_then(|commit| room.receive(&commit, NOW));
        assert!(!genuine || refreshed.is_ok() && room.may_speak_again(), "{refreshed:?}");
        let _ = room.tick(NOW + Duration::from_secs(1));
    }
}

/// Who is out has no more to say than their keys.
fn publishes(mut room: Room) {
    for event in room.tick(NOW + PUBLISH_AFTER) {
        let Event::Send(bytes) = event else { panic!("{event:?}") };
        PublishedKeys::from_bytes(&bytes).unwrap();
    }
    assert!(room.say("still here?", None).is_err() && room.refresh().is_err());
}

/// Somebody who is kept.
struct Seat {
    kept: Kept<MemoryVault>,
    voice: Voice,
}

impl Seat {
    fn new((room, voice): (Room, Voice)) -> Self {
        Self { kept: Kept::new(room, MemoryVault::new(), key()).unwrap(), voice }
    }

    fn act<T: std::fmt::Debug>(&mut self, act: impl FnOnce(&mut Room) -> parlor::Result<T>) -> T {
        self.kept.act(act).unwrap().unwrap()
    }

    fn receive(&mut self, message: &[u8]) {
        for event in self.act(|room| room.receive(message, NOW)) {
            let _ = event.tell(&mut self.voice);
        }
    }

    fn stored(&self, name: &'static str, seed: u8) -> Stored {
        Stored::new(name, seed, self.kept.vault().bytes().unwrap().to_vec())
    }
}

fn tell(people: &mut [&mut Seat], message: &[u8]) {
    people.iter_mut().for_each(|seat| seat.receive(message));
}

/// Ana in the middle of letting somebody in; ben, who has said much; cy, who was put out.
fn shelf_of() -> Vec<Stored> {
    let settings = Settings::default().with(Setting::Entry(Entry::Knock)).unwrap();
    let settings = settings.with(Setting::Seals(SealMode::Live)).unwrap();
    let mut ana = Seat::new(Room::create(host().0, settings).unwrap());
    let terms = Terms { role: Role::Listener, one_shot: false, expires: None };
    let (link, commit) = ana.act(|room| room.issue_link(terms));
    ana.receive(&commit);
    let people = [("ben", 6, Role::Speaker), ("eve", 8, Role::Listener), ("cy", 9, Role::Speaker)];
    let guests: Vec<Guest> = people.iter().map(|(name, seed, _)| guest(name, *seed).0).collect();
    let cards: Vec<_> = guests.iter().zip(&people).map(|(guest, (.., role))| (guest.card().clone(), *role)).collect();
    let admission = ana.act(|room| room.admit_all(&cards));
    ana.receive(&admission.commit);
    let mut guests = guests.into_iter().map(|guest| Seat::new(guest.enter(&admission.welcome).unwrap()));
    let [mut ben, mut eve, mut cy] = std::array::from_fn(|_| guests.next().unwrap());

    let mut messages = vec![ana.act(|room| room.say("good evening", None)).1];
    messages.push(ben.act(|room| room.say(GONE, Some(Duration::from_secs(60)))).1);
    messages.push(eve.act(Room::raise_hand));
    messages.push(ben.act(|room| room.set_mic(false)));
    for message in &messages {
        tell(&mut [&mut ana, &mut ben, &mut eve, &mut cy], message);
    }
    let eve_id = eve.kept.me().unwrap().id;
    let invitation = ana.act(|room| room.invite_to_speak(&eve_id));
    tell(&mut [&mut ana, &mut ben, &mut eve, &mut cy], &invitation);
    let out = ana.act(|room| room.remove(&cy.kept.me().unwrap().id));
    tell(&mut [&mut ana, &mut ben, &mut eve, &mut cy], &out);
    let packets = [ben.voice.seal(b"of ben").ok(), ana.voice.seal(b"of ana").ok()];

    // Two wait at the door, and one of them is being let in.
    let plate = link.read_doorplate(&ana.act(|room| room.doorplate(&link))).unwrap();
    let knocks =
        [("dan", 10), ("fay", 11)].map(|(name, seed)| guest(name, seed).0.knock(&link, &plate, "?", WALL).unwrap());
    for (_, knock) in &knocks {
        let _ = ana.act(|room| room.knocked(knock, NOW, WALL));
    }
    let first = ana.kept.knocks().next().unwrap().id();
    ana.act(|room| room.let_in(&first, NOW));
    let opening = ana.act(|room| room.open_door(NOW + GATHERING)).unwrap();
    let refresh = ben.act(Room::refresh);
    // Words that have come back, and one each that has not.
    for line in ["one", "two"] {
        let message = eve.act(|room| room.say(line, None)).1;
        tell(&mut [&mut ana, &mut ben, &mut eve], &message);
        messages.push(message);
    }
    for seat in [&mut ana, &mut ben] {
        let message = seat.act(|room| room.say("on its way", None)).1;
        messages.push(message);
    }
    let gone = eve.act(|room| room.say(GONE, Some(Duration::from_secs(60)))).1;
    tell(&mut [&mut ana, &mut ben, &mut eve], &gone);
    messages.push(eve.act(|room| room.say("to come", None)).1);
    messages.extend([opening, refresh]);
    let (_, knock) = guest("gus", 12).0.knock(&link, &plate, "and I?", WALL).unwrap();
    let _ = ana.act(|room| room.knocked(&knock, NOW, WALL));

    let mut all = vec![ana.stored("ana", 5), ben.stored("ben", 6), cy.stored("cy", 9)];
    let next = eve.act(Room::refresh);
    eve.receive(&next);
    let turn =
        all[0].increments.iter().find(|plain| plain[..5] == [3, 0, 0, plain[3], plain[4]]).unwrap()[5..].to_vec();
    let [of_ben, of_ana] = packets.map(Option::unwrap_or_default);
    for (stored, packet) in all.iter_mut().zip([of_ben, of_ana, Vec::new()]) {
        (stored.next, stored.code, stored.packet) = (next.clone(), Some(eve.kept.code()), packet);
        stored.messages.clone_from(&messages);
        stored.turn.clone_from(&turn);
    }
    // Or this knows another form than the library.
    assert!(all[..2].iter().all(|stored| records(&stored.whole).is_some_and(|records| records.len() > 9)));
    assert_eq!(all.iter().map(|stored| stored.increments.len()).collect::<Vec<_>>(), [5, 4, 0]);
    all
}

fn cipher(salt: &[u8]) -> ChaCha20Poly1305 {
    let mut key = [0; 32];
    Hkdf::<Sha256>::new(Some(salt), &KEY).expand(b"parlor stored state 1\0", &mut key).unwrap();
    ChaCha20Poly1305::new(&key.into())
}

fn nonce(sequence: u64) -> Nonce {
    let mut nonce = [0; 12];
    nonce[4..].copy_from_slice(&sequence.to_be_bytes());
    nonce.into()
}

/// What is in a stored state, as `src/vault/mod.rs` documents its form; and where each part ends.
fn unseal(stored: &[u8]) -> (Vec<u8>, Vec<Vec<u8>>, Vec<usize>) {
    let cipher = cipher(&stored[7..39]);
    let length = |at: usize| u32::from_be_bytes(stored[at..at + 4].try_into().unwrap()) as usize;
    let end = HEADER + length(39);
    let payload = Payload { msg: &stored[HEADER..end], aad: &stored[..HEADER] };
    let (whole, mut increments, mut ends) = (cipher.decrypt(&nonce(0), payload).unwrap(), Vec::new(), vec![end]);
    for sequence in 1_u64.. {
        let start = ends[ends.len() - 1];
        if start == stored.len() {
            break;
        }
        let (from, end) = (start + 4, start + 4 + length(start));
        let aad = [&sequence.to_be_bytes()[..], &stored[start..from]].concat();
        let payload = Payload { msg: &stored[from..end], aad: &aad };
        increments.push(cipher.decrypt(&nonce(sequence), payload).unwrap());
        ends.push(end);
    }
    (whole, increments, ends)
}

fn seal(salt: [u8; 32], whole: &[u8], increments: &[Vec<u8>]) -> Vec<u8> {
    let cipher = cipher(&salt);
    let length = |plain: &[u8]| (plain.len() as u32 + 16).to_be_bytes();
    let header = [&b"parlor\x01"[..], &salt, &length(whole)].concat();
    let sealed = cipher.encrypt(&nonce(0), Payload { msg: whole, aad: &header }).unwrap();
    let mut out = [header, sealed].concat();
    for (sequence, plain) in (1_u64..).zip(increments) {
        let aad = [&sequence.to_be_bytes()[..], &length(plain)].concat();
        out.extend(length(plain));
        out.extend(cipher.encrypt(&nonce(sequence), Payload { msg: plain, aad: &aad }).unwrap());
    }
    out
}

fn long(bytes: &[u8]) -> Vec<u8> {
    [&(bytes.len() as u32).to_be_bytes(), bytes].concat()
}

/// A whole, cut where what openmls wrote begins and ends.
struct Parts {
    front: Vec<u8>,
    /// Kind, key and value.
    records: Vec<(u8, Vec<u8>, Vec<u8>)>,
    tail: Vec<u8>,
}

impl Parts {
    /// `None` for a room that one is out of.
    fn read(whole: &[u8]) -> Option<Self> {
        let mut at = 0;
        let mut take = |count: usize| {
            at += count;
            whole.get(at - count..at)
        };
        let number = |bytes: &[u8]| u32::from_be_bytes(bytes.try_into().unwrap()) as usize;
        // Version and who; room id; epoch; out of it or not; media keys; what was published; the group's id.
        take(1 + 32)?;
        let length = number(take(4)?);
        take(length + 8)?;
        if take(1)? == [1] {
            return None;
        }
        let seeds = number(take(4)?);
        take(seeds * 32)?;
        let published = number(take(4)?);
        take(published)?;
        let length = number(take(4)?);
        take(length)?;
        let count = take(4)?;
        let mut records = Vec::new();
        for _ in 0..number(count) {
            let kind = take(1)?[0];
            let length = number(take(4)?);
            let key = take(length)?.to_vec();
            let length = number(take(4)?);
            records.push((kind, key, take(length)?.to_vec()));
        }
        let before: usize = records.iter().map(|(_, key, value)| 1 + 4 + key.len() + 4 + value.len()).sum();
        Some(Self { front: whole[..at - before - 4].to_vec(), records, tail: whole[at..].to_vec() })
    }

    fn write(&self) -> Vec<u8> {
        let mut out = [&self.front[..], &(self.records.len() as u32).to_be_bytes()].concat();
        for (kind, key, value) in &self.records {
            out.extend([&[*kind][..], &long(key), &long(value)].concat());
        }
        [out, self.tail.clone()].concat()
    }
}

/// A record of the group: its kind, its key, what it holds.
type Record = (u8, Vec<u8>, Vec<u8>);

/// What openmls wrote of it, if it can be told.
fn records(whole: &[u8]) -> Option<Vec<Record>> {
    Parts::read(whole).map(|parts| parts.records)
}

/// A whole with a few changes, some of them in the terms of its parts.
fn alter(whole: &[u8], other: &[u8], input: &mut Input<'_>) -> Vec<u8> {
    let Some(mut parts) = Parts::read(whole) else { return input.mutate(whole) };
    for _ in 0..input.below(4) {
        let at = input.below(parts.records.len().max(1));
        match input.below(8) {
            0 => parts.front = input.mutate(&parts.front),
            1 => parts.tail = input.mutate(&parts.tail),
            _ if parts.records.is_empty() => {}
            2 => drop(parts.records.remove(at)),
            3 => {
                let with = input.below(parts.records.len());
                let (from, to) = (parts.records[with].2.clone(), input.flag());
                let from = if to { std::mem::replace(&mut parts.records[at].2, from) } else { from };
                parts.records[with].2 = from;
            }
            4 => {
                // The same part of another room, or of another member's end of it.
                let kind = parts.records[at].0;
                let theirs = Parts::read(other).and_then(|other| other.records.into_iter().find(|part| part.0 == kind));
                parts.records.splice(at..=at, theirs);
            }
            5 => parts.records[at].2 = input.mutate(&parts.records[at].2),
            6 => {
                let (kind, key, _) = &mut parts.records[at];
                *kind = input.below(16) as u8;
                *key = input.mutate(key);
            }
            _ => {
                if let Ok(mut value) = serde_json::from_slice(&parts.records[at].2) {
                    edit(&mut value, input);
                    parts.records[at].2 = serde_json::to_vec(&value).unwrap();
                }
            }
        }
    }
    parts.write()
}

/// Changes one thing somewhere in it.
fn edit(mut value: &mut Value, input: &mut Input<'_>) {
    while input.below(8) != 7 {
        let inner = match value {
            Value::Array(all) => all.len(),
            Value::Object(all) => all.len(),
            _ => 0,
        };
        if inner == 0 {
            break;
        }
        let at = usize::from(input.u16()) % inner;
        value = match value {
            Value::Array(all) => &mut all[at],
            Value::Object(all) => all.values_mut().nth(at).unwrap(),
            _ => unreachable!(),
        };
    }
    match (value, input.below(6)) {
        (Value::Number(number), way @ 0..4) => {
            let old = number.as_u64().unwrap_or_default();
            let changed = match way {
                0 => old ^ u64::from(input.byte()),
                1 => old.wrapping_add(1),
                2 => old.wrapping_sub(1),
                _ => input.u64() >> input.below(64),
            };
            *number = changed.into();
        }
        (Value::Bool(flag), _) => *flag = !*flag,
        (Value::String(text), 0..4) => *text = String::from_utf8_lossy(&input.mutate(text.as_bytes())).into_owned(),
        (Value::Array(all), way @ 0..5) if !all.is_empty() => {
            let at = usize::from(input.u16()) % all.len();
            match way {
                0 => drop(all.remove(at)),
                1 => all.truncate(at),
                2 => all.insert(at, all[at].clone()),
                3 => all[at] = Value::Null,
                _ => {
                    let with = usize::from(input.u16()) % all.len();
                    all.swap(at, with);
                }
            }
        }
        (Value::Object(all), way @ 0..4) if !all.is_empty() => {
            let keys: Vec<String> = all.keys().cloned().collect();
            let key = &keys[input.below(keys.len())];
            match way {
                0 => drop(all.remove(key)),
                1 => drop(all.insert(key.clone(), Value::Null)),
                _ => {
                    let from = all[&keys[input.below(keys.len())]].clone();
                    all.insert(key.clone(), from);
                }
            }
        }
        (value, way) => {
            *value = match way {
                0 => Value::Null,
                1 => Value::Array(Vec::new()),
                2 => input.number().into(),
                3 => String::from_utf8_lossy(input.run()).into_owned().into(),
                4 => serde_json::from_slice(input.run()).unwrap_or_default(),
                _ => {
                    // Not for ever: the next change may be to what comes of this one.
                    let most = 1 + 65_536 / value.to_string().len();
                    Value::Array(vec![value.clone(); input.below(32).min(most)])
                }
            };
        }
    }
}
