//! A whole evening over a relay that keeps every byte it carries; then all of it is searched for everything that is
//! said, shown or secret in the room.

mod party;
#[path = "common/search.rs"]
mod search;

use std::time::Duration;

use Role::{Listener, Moderator, Speaker};
use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use parlor::{
    Event, Guest, Identity, Link, MemberId, Role, Room, Settings, Voice,
    media::seal::{SealMode, Unsealed},
    room::{
        Entry, Reaction, Setting, TREE_APART,
        door::{Gate, Terms, UnixTime},
    },
};
use search::{RUN, Search};
use sha2::{Digest as _, Sha256};

const WALL: UnixTime = UnixTime(1_800_000_000);

#[test]
fn the_search_finds_whatever_was_planted_however_it_was_written() {
    let (text, key) = ("A \"Törtchen\" @ six: über/unter 👏🏽", &Sha256::digest(b"a key")[..]);
    let mut search = Search::default();
    search.text("text", text);
    search.bytes("key", key);
    let hex = |bytes: &[u8]| -> String { bytes.iter().map(|byte| format!("{byte:02x}")).collect() };
    let percent = |bytes: &[u8]| -> String { bytes.iter().map(|byte| format!("%{byte:02X}")).collect() };
    let mut planted: Vec<(&str, &str, Vec<u8>)> = Vec::new();
    for (secret, bytes) in [("text", text.as_bytes()), ("key", key)] {
        planted.extend([
            (secret, "raw", bytes.to_vec()),
            (secret, "raw", bytes[bytes.len() - RUN..].to_vec()),
            (secret, "raw, backwards", bytes.iter().rev().copied().collect()),
            (secret, "hex", hex(bytes).into()),
            (secret, "HEX", hex(bytes).to_uppercase().into()),
            (secret, "a JSON array", serde_json::to_vec(bytes).unwrap()),
            (secret, "a list", format!("{bytes:?}").into()),
            (secret, "percent encoding", percent(bytes).into()),
            (secret, "percent encoding in lower case", percent(bytes).to_lowercase().into()),
        ]);
        for before in 0..9 {
            let within = [&vec![0xEE; before][..], bytes, b"tail"].concat();
            planted.push((secret, "base64", STANDARD.encode(&within).into()));
            planted.push((secret, "base64 for URLs", URL_SAFE_NO_PAD.encode(&within).into()));
            planted.push((secret, "base64", STANDARD.encode(&within[..before + RUN]).into()));
        }
    }
    let escaped = "A \\\"T\\u00f6rtchen\\\" @ six: \\u00fcber/unter \\ud83d\\udc4f\\ud83c\\udffd";
    assert_eq!(serde_json::from_str::<String>(&format!("\"{escaped}\"")).unwrap(), text);
    planted.extend([
        ("text", "UTF-16", text.encode_utf16().flat_map(u16::to_le_bytes).collect()),
        ("text", "UTF-16 of big-endian", text.encode_utf16().flat_map(u16::to_be_bytes).collect()),
        ("text", "lower case", text.to_lowercase().into()),
        ("text", "upper case", text.to_uppercase().into()),
        ("text", "JSON", serde_json::to_vec(&vec![text]).unwrap()),
        ("text", "JSON in ASCII", escaped.into()),
        ("text", "percent encoding where need be", "%40%20six%3A%20%C3%BCber%2Funter%20".into()),
        ("text", "a form", "%40+six%3A+%C3%BCber%2Funter+".into()),
    ]);
    let noise: Vec<u8> = (0..100_u32).flat_map(|n| Sha256::digest(n.to_be_bytes())).collect();
    assert_eq!(search.hits(&noise), []);
    for (secret, encoding, bytes) in planted {
        let log = [&noise[..], &bytes, &noise].concat();
        let found = search.hits(&log);
        assert!(
            found.iter().any(|hit| hit.secret == secret && hit.encoding == encoding),
            "{secret} in {encoding}: {found:?}"
        );
        assert!(found.iter().all(|hit| hit.secret == secret && hit.at + 1 >= noise.len()), "{found:?}");
    }
    // A run that is too short to be more than chance is none.
    assert_eq!(search.hits(&[&noise[..], &key[..RUN - 1], &noise].concat()), []);
}

/// A relay that keeps all that it carries; what it hands on is read from what it has kept.
#[derive(Default)]
struct Relay {
    log: Vec<u8>,
    carried: usize,
}

impl Relay {
    fn carry(&mut self, bytes: &[u8]) -> Vec<u8> {
        let from = self.log.len();
        self.log.extend_from_slice(bytes);
        self.carried += 1;
        self.log[from..].to_vec()
    }
}

struct Seat {
    id: MemberId,
    room: Room,
    voice: Voice,
}

/// A room whose members reach each other by the relay alone, and all that nobody else may learn.
struct Evening {
    relay: Relay,
    seats: Vec<Seat>,
    secrets: Search,
    now: Duration,
    frames: u64,
}

impl Evening {
    fn identity(&mut self, name: &str) -> Identity {
        let identity = Identity::generate(name).unwrap();
        self.secrets.text(name, name);
        let id = identity.id();
        self.key(name, &id);
        identity
    }

    fn guest(&mut self, name: &str) -> Guest {
        Guest::new(self.identity(name)).unwrap()
    }

    /// Somebody's key, its hash and its digits.
    fn key(&mut self, name: &str, id: &MemberId) {
        self.secrets.bytes(&format!("the key of {name}"), id.as_bytes());
        self.secrets.bytes(&format!("the hash of the key of {name}"), &Sha256::digest(id.as_bytes()));
        self.secrets.text(&format!("the fingerprint of {name}"), &id.fingerprint().to_string());
    }

    fn said<'t>(&mut self, text: &'t str) -> &'t str {
        self.secrets.text(text, text);
        text
    }

    fn sit(&mut self, (room, voice): (Room, Voice)) {
        self.seats.push(Seat { id: room.me().unwrap().id, room, voice });
    }

    fn seat(&mut self, name: &str) -> usize {
        self.seats.iter().position(|seat| seat.room.me().is_some_and(|me| me.name == name)).unwrap()
    }

    fn room(&mut self, name: &str) -> &mut Room {
        let at = self.seat(name);
        &mut self.seats[at].room
    }

    fn id(&mut self, name: &str) -> MemberId {
        let at = self.seat(name);
        self.seats[at].id
    }

    /// Brings a control message to all by the relay, with whatever it calls for; gives the events of each.
    fn all(&mut self, message: parlor::Result<Vec<u8>>) -> Vec<Vec<Event>> {
        let message = self.relay.carry(&message.unwrap());
        self.now += Duration::from_millis(100);
        let mut told = Vec::new();
        let mut calls_for = Vec::new();
        for Seat { room, voice, .. } in self.seats.iter_mut().filter(|seat| seat.room.is_open()) {
            let events = room.receive(&message, self.now).unwrap();
            let mut kept = Vec::new();
            for event in events {
                match event.tell(voice).unwrap() {
                    Some(Event::Send(message)) => calls_for.push(message),
                    Some(Event::CodeAsked { by }) => calls_for.push(room.compare_with(&by, self.now).unwrap()),
                    Some(event) => kept.push(event),
                    None => {}
                }
            }
            told.push(kept);
        }
        for message in calls_for {
            told.extend(self.all(Ok(message)));
        }
        // Who has come on stage makes a commit, from which on their seals count.
        for at in 0..self.seats.len() {
            if self.seats[at].room.refresh_due(self.now) {
                let refresh = self.seats[at].room.refresh();
                told.extend(self.all(refresh));
            }
        }
        for event in told.iter().flatten() {
            if let Event::ShortCode { code, .. } = event {
                self.secrets.text("a short code", &code.to_string());
            }
        }
        self.speak();
        told
    }

    /// Everybody on stage says something of their own, and everybody hears it.
    fn speak(&mut self) {
        for from in 0..self.seats.len() {
            self.frames += 1;
            let frame = Sha256::digest(self.frames.to_be_bytes());
            let Ok(packet) = self.seats[from].voice.seal(&frame) else { continue };
            if self.frames % 16 == 1 {
                self.secrets.bytes("sound", &frame);
            }
            let mut packets = vec![self.relay.carry(&packet)];
            while let Some(seal) = self.seats[from].voice.next_seal(self.now) {
                packets.push(self.relay.carry(&seal));
            }
            for to in (0..self.seats.len()).filter(|to| *to != from) {
                if self.seats[to].room.is_open() {
                    let voice = &mut self.seats[to].voice;
                    let at_once =
                        packets.iter().filter_map(|packet| voice.open(packet, self.now).ok()).collect::<Vec<_>>();
                    let waited = std::iter::from_fn(|| voice.unpark(self.now)).map(Result::unwrap);
                    let heard: Vec<_> = at_once.into_iter().chain(waited).map(|heard| heard.frame).collect();
                    let room = &self.seats[to].room;
                    // Who has come on stage a moment ago has yet to make a commit.
                    let strict = room.settings().seals().mode == SealMode::Strict;
                    let is_heard = !strict || room.media_keys(&self.seats[from].id).is_some();
                    assert_eq!(heard, if is_heard { vec![frame.to_vec()] } else { Vec::new() });
                }
            }
        }
        if let Some(Seat { room, .. }) = self.seats.iter().find(|seat| seat.room.is_open()) {
            self.secrets.text("a room code", &room.code().to_string());
        }
    }

    /// A link of `host`'s, its gate and its doorplate with the relay.
    fn link(&mut self, host: &str, terms: Terms) -> (Link, Gate, Vec<u8>) {
        let (link, commit) = self.room(host).issue_link(terms).unwrap();
        self.all(Ok(commit));
        let text = link.reveal();
        let body = URL_SAFE_NO_PAD.decode(text.split_once('#').unwrap().1).unwrap();
        self.secrets.bytes("a link's secret", &body[33..]);
        self.secrets.bytes("the hash of the host's key in a link", &body[1..33]);
        self.secrets.text("a link", &text);
        let gate = Gate::from_bytes(&self.relay.carry(&link.gate().to_bytes())).unwrap();
        let plate = self.room(host).doorplate(&link).unwrap();
        let plate = self.relay.carry(&plate);
        (link, gate, plate)
    }

    /// Puts what `host`'s room has for those at the door where the relay keeps it.
    fn answers(&mut self, told: &[Vec<Event>]) -> (Vec<Vec<u8>>, Option<Vec<u8>>) {
        let found = told.iter().flatten().find_map(|event| match event {
            Event::Answered { answers, tree } => Some((answers.clone(), tree.clone())),
            _ => None,
        });
        let (answers, tree) = found.expect("answers");
        let answers = answers.iter().map(|answer| {
            self.relay.carry(answer.knock.as_bytes());
            self.relay.carry(&answer.bytes)
        });
        let answers = answers.collect();
        (answers, tree.map(|tree| self.relay.carry(&tree)))
    }
}

#[test]
fn nothing_that_is_said_shown_or_secret_in_a_room_is_in_what_the_relay_saw() {
    let mut at = Evening {
        relay: Relay::default(),
        seats: Vec::new(),
        secrets: Search::default(),
        now: Duration::from_secs(1),
        frames: 0,
    };
    let (ana, ben, mo, eve) = ("Ana Quillfeather", "Ben Öbermüller-Žižek", "Mo O'Marrakesch", "Eve of Eavesdrop");
    let settings = Settings::default().with_title(at.said("The smugglers' parlour")).unwrap();
    let settings = settings.with(Setting::Topic(at.said("Where the barrels are, and \"who\" knows").into())).unwrap();
    let host = at.identity(ana);
    at.sit(Room::create(host, settings).unwrap());

    // By card, which goes another way than the relay.
    let (ben_guest, mo_guest) = (at.guest(ben), at.guest(mo));
    let cards = [(ben_guest.card().clone(), Speaker), (mo_guest.card().clone(), Moderator)];
    let admission = at.room(ana).admit_all(&cards).unwrap();
    at.all(Ok(admission.commit));
    let welcome = at.relay.carry(&admission.welcome);
    at.sit(ben_guest.enter(&welcome).unwrap());
    at.sit(mo_guest.enter(&welcome).unwrap());
    at.speak();

    // By link and knock: one is turned away twice, one is let in.
    let set = at.room(ana).set(Setting::Entry(Entry::Knock));
    at.all(set);
    let terms = Terms { role: Listener, one_shot: false, expires: Some(WALL.plus(3600)) };
    let (link, gate, plate) = at.link(ana, terms);
    let mut mal = at.guest("Mallory Malmsey-Wick");
    for reason in ["We do not know you, sir", "And we still do not know you"] {
        let note = at.said("I have brought seven barrels");
        let plate = link.read_doorplate(&plate).unwrap();
        let (waiting, knock) = mal.knock(&link, &plate, note, WALL).unwrap();
        let knock = at.relay.carry(&knock);
        gate.check(&knock).unwrap();
        let now = at.now;
        at.room(ana).knocked(&knock, now, WALL).unwrap();
        let reason = at.said(reason);
        let (answer, word) = at.room(ana).turn_away(&waiting.id(), reason).unwrap();
        let answer = at.relay.carry(&answer.bytes);
        at.all(Ok(word));
        let failed = waiting.enter(&answer, None).unwrap_err();
        assert!(failed.error.to_string().contains(reason), "{}", failed.error);
        mal = failed.waiting.give_up();
    }
    let note = at.said("Eve, of the Tuesday watch: \u{201e}let me in\u{201c}");
    let (waiting, knock) = at.guest(eve).knock(&link, &link.read_doorplate(&plate).unwrap(), note, WALL).unwrap();
    let knock = at.relay.carry(&knock);
    let now = at.now;
    at.room(mo).knocked(&knock, now, WALL).unwrap();
    assert_eq!(at.room(mo).knocks().next().unwrap().note(), note);
    at.room(mo).let_in(&waiting.id(), now).unwrap();
    at.now += Duration::from_secs(1);
    let now = at.now;
    let commit = at.room(mo).open_door(now).unwrap().unwrap();
    let told = at.all(Ok(commit));
    let (answers, tree) = at.answers(&told);
    at.sit(waiting.enter(&answers[0], tree.as_deref()).unwrap());
    at.speak();

    // On stage and beside it.
    let (ben_id, mo_id, eve_id) = (at.id(ben), at.id(mo), at.id(eve));
    let hand = at.room(eve).raise_hand();
    at.all(hand);
    let restated = at.room(eve).restate().unwrap().unwrap();
    at.all(Ok(restated));
    let invite = at.room(mo).invite_to_speak(&eve_id);
    at.all(invite);
    let answer = at.room(eve).answer_invitation(true);
    at.all(answer);
    let promote = at.room(mo).set_role(&eve_id, Speaker);
    at.all(promote);
    for on in [false, true] {
        let word = at.room(eve).set_mic(on);
        at.all(word);
    }
    let mute = at.room(mo).mute(&eve_id);
    at.all(mute);
    let lift = at.room(ana).lift_mute(&eve_id);
    at.all(lift);
    for (name, text, lifetime) in [
        (ben, "Meet me behind the piano, at the third bell", Some(Duration::from_secs(5))),
        (eve, "The password is \"Tørrfisk & <Salt>\" \u{2014} burn this", None),
        (ana, &"A very long line of chat about barrels. ".repeat(40), None),
    ] {
        at.secrets.text(text, text);
        let (id, line) = at.room(name).say(text, lifetime).unwrap();
        at.all(Ok(line));
        assert_eq!(at.room(mo).message(&id).unwrap().text(), text);
    }
    let clap = Reaction::new(at.said("\u{1f44f}\u{1f3fd}")).unwrap();
    let reaction = at.room(eve).react(&clap);
    at.all(reaction);
    let now = at.now;
    let ask = at.room(ana).compare_with(&ben_id, now);
    let told = at.all(ask);
    assert_eq!(told.iter().flatten().filter(|event| matches!(event, Event::ShortCode { .. })).count(), 2);

    // What the room says of itself.
    for setting in [
        Setting::Title(at.said("The honest fishermen's club").into()),
        Setting::Topic(at.said("Herring: a \u{fe}oughtful \u{c6}sthetic").into()),
        Setting::Capacity(Some(90)),
        Setting::SealEvery(1),
        Setting::Seals(SealMode::Strict),
        Setting::Unsealed(Unsealed::Hold),
        Setting::Recording(true),
    ] {
        let set = at.room(ana).set(setting);
        at.all(set);
    }
    let plate = at.room(ana).doorplate(&link).unwrap();
    let plate = at.relay.carry(&plate);
    assert_eq!(link.read_doorplate(&plate).unwrap().title(), "The honest fishermen's club");
    let exciseman = Identity::generate("The exciseman").unwrap().id();
    at.key("who is banned", &exciseman);
    let ban = at.room(ana).ban(&exciseman);
    at.all(ban);
    let refresh = at.room(eve).refresh();
    at.all(refresh);
    let revoke = at.room(ana).revoke_link(&link.id());
    at.all(revoke);

    // A crowd by card; then somebody by a link for one, who needs the tree that travels apart.
    let set = at.room(ana).set(Setting::Entry(Entry::Link));
    at.all(set);
    let (once, _, plate) = at.link(ana, Terms { role: Speaker, one_shot: true, expires: None });
    let crowd: Vec<Guest> = (0..TREE_APART).map(|n| at.guest(&format!("{n} of the great crowd"))).collect();
    let cards: Vec<_> = crowd.iter().map(|guest| (guest.card().clone(), Listener)).collect();
    let admission = at.room(ana).admit_all(&cards).unwrap();
    at.all(Ok(admission.commit));
    let (welcome, tree) = (at.relay.carry(&admission.welcome), at.relay.carry(&admission.tree.unwrap()));
    for guest in crowd {
        at.sit(guest.enter_with_tree(&welcome, &tree).unwrap());
    }
    let last = at.guest("Zenobia the latecomer");
    let (waiting, knock) = last.knock(&once, &once.read_doorplate(&plate).unwrap(), "", WALL).unwrap();
    let knock = at.relay.carry(&knock);
    let now = at.now;
    at.room(ana).knocked(&knock, now, WALL).unwrap();
    at.now += Duration::from_secs(1);
    let now = at.now;
    let commit = at.room(ana).open_door(now).unwrap().unwrap();
    let told = at.all(Ok(commit));
    let (answers, tree) = at.answers(&told);
    at.sit(waiting.enter(&answers[0], Some(&tree.unwrap())).unwrap());
    at.speak();

    // They go, one way or another.
    let leave = at.room(ben).leave();
    at.all(leave);
    let remove = at.room(mo).remove(&ben_id);
    at.all(remove);
    let ban = at.room(ana).ban(&eve_id);
    at.all(ban);
    let hand_over = at.room(ana).hand_over(&mo_id);
    at.all(hand_over);
    let end = at.room(mo).end();
    at.all(end);
    assert!(at.seats.iter().all(|seat| !seat.room.is_open()));

    // The search is of the whole log: what the relay must know is there.
    let Evening { relay, secrets, seats, .. } = at;
    let mut known = Search::default();
    known.bytes("the room's id", seats[0].room.id());
    known.bytes("the link's id", link.id().as_bytes());
    known.bytes("the door's address", link.address().as_bytes());
    known.bytes("the last link's id", once.id().as_bytes());
    let raw = known.hits(&relay.log).into_iter().filter(|hit| hit.encoding == "raw").count();
    assert_eq!(raw, 4);

    println!("{} runs, in {} bytes that were carried in {} parts", secrets.patterns(), relay.log.len(), relay.carried);
    assert_eq!(secrets.hits(&relay.log), []);
    // And each secret would be found in it.
    let log = [&relay.log[..], b"{\"from\":\"Ana Quillfeather\"}", &relay.log].concat();
    assert_eq!(secrets.hits(&log)[0].secret, ana);
}
