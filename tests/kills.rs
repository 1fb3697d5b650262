//! A process with a room in a file is killed (`SIGKILL`) at any moment, and the next goes on.
//!
//! `PARLOR_KILLS=1000 cargo test --test kills kill -- --nocapture` kills as often as is asked for.

mod killing;

use std::{
    collections::BTreeSet,
    io::{BufRead as _, BufReader, Write as _},
    path::Path,
    process::{ChildStdin, Command, Stdio},
    sync::mpsc::{Receiver, channel},
    thread,
    time::{Duration, Instant},
};

use killing::Folder;
use parlor::{
    Error, Event, Guest, Identity, Kept, Role, Room, Settings, Voice,
    vault::{FileVault, VaultKey},
};

const NOW: Duration = Duration::from_secs(7);
const SECRET: [u8; 32] = [5; 32];
const KEY: [u8; 32] = [6; 32];

/// What goes through the pipes, each a line of a letter and hex: a message for the relay, a packet of sound, a text that
/// was stored as said, and the epoch in which a life begins.
const MESSAGE: char = 'm';
const PACKET: char = 'p';
const SAID: char = 's';
const READY: char = 'r';

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(text.get(at..at + 2)?, 16).ok()).collect()
}

/// In one write, so that a line is there or not.
fn line(kind: char, bytes: &[u8]) -> Vec<u8> {
    format!("{kind}{}\n", hex(bytes)).into_bytes()
}

fn read_line(line: &str) -> Option<(char, Vec<u8>)> {
    let mut chars = line.strip_suffix('\n')?.chars();
    let kind = chars.next()?;
    Some((kind, unhex(chars.as_str())?))
}

fn tell(events: Vec<Event>, voice: &mut Voice) {
    for event in events {
        event.tell(voice).unwrap();
    }
}

/// The member in the process that is killed: says things, raises hands, makes commits, speaks; without end.
#[test]
fn the_one_in_the_room() {
    let Some(folder) = killing::folder_of_child() else { return };
    let mut out = std::io::stderr();
    let mut say = |kind, bytes: &[u8]| {
        if out.write_all(&line(kind, bytes)).is_err() {
            std::process::exit(1);
        }
    };
    let vault = FileVault::open(folder.join("room")).unwrap();
    let identity = Identity::from_secret("ben", &SECRET).unwrap();
    let restored = Kept::restore(identity, vault, VaultKey::from_bytes(&KEY), NOW).unwrap().unwrap();
    let (mut room, mut voice) = (restored.room, restored.voice.unwrap());
    let (sender, receiver) = channel();
    thread::spawn(move || {
        let mut lines = BufReader::new(std::io::stdin());
        let mut text = String::new();
        while lines.read_line(&mut text).is_ok_and(|read| read > 0) {
            if sender.send(read_line(&text).expect("the parent is not killed").1).is_err() {
                break;
            }
            text.clear();
        }
        std::process::exit(0);
    });
    say(READY, &room.epoch().to_be_bytes());
    let unsent: Vec<Vec<u8>> = room.unsent().map(<[u8]>::to_vec).collect();
    unsent.iter().for_each(|message| say(MESSAGE, message));
    for round in 0_u32.. {
        // What came meanwhile, and a moment's wait for more.
        while let Ok(message) = receiver.recv_timeout(Duration::from_millis(1)) {
            if let Ok(events) = room.act(|room| room.receive(&message, NOW)).unwrap() {
                for event in &events {
                    if let Event::Said { message } = event {
                        say(SAID, &message.to_bytes());
                    }
                }
                tell(events, &mut voice);
            }
        }
        if let Ok(packet) = voice.seal(&round.to_be_bytes()) {
            say(PACKET, &packet);
        }
        let message = match round % 5 {
            0 => room.act(Room::refresh).unwrap(),
            1 => room.act(|room| room.set_mic(true)).unwrap(),
            2 => room.act(Room::raise_hand).unwrap(),
            _ => room.act(|room| room.say("hello", None)).unwrap().map(|(_, message)| message),
        };
        // A commit may be under way, or too many words.
        if let Ok(message) = message {
            say(MESSAGE, &message);
        }
    }
}

/// A life of that member.
struct Life {
    process: std::process::Child,
    to: ChildStdin,
    lines: Receiver<String>,
}

impl Life {
    fn begin(folder: &Path) -> Self {
        let mut process = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "the_one_in_the_room", "--nocapture", "--test-threads=1"])
            .env(killing::FOLDER, folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let (to, from) = (process.stdin.take().unwrap(), process.stderr.take().unwrap());
        let (sender, lines) = channel();
        thread::spawn(move || {
            let mut from = BufReader::new(from);
            loop {
                let mut text = String::new();
                if from.read_line(&mut text).is_ok_and(|read| read > 0) && sender.send(text).is_ok() {
                    continue;
                }
                break;
            }
        });
        Self { process, to, lines }
    }

    /// It may be dead by now: then what it is given is lost.
    fn give(&mut self, message: &[u8]) {
        let _ = self.to.write_all(&line(MESSAGE, message));
    }
}

impl Drop for Life {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The host, in this process, with the relay's log.
struct Parent {
    room: Room,
    voice: Voice,
    log: Vec<(u64, Vec<u8>)>,
    /// The ids of texts that ben's process said it had stored.
    acknowledged: Vec<Vec<u8>>,
    /// Of ben's packets, who has one key in each epoch: epoch and counter.
    sealed: BTreeSet<(u64, u64)>,
    heard: u32,
    unheard: u32,
    commits: u32,
    duplicates: u32,
}

impl Parent {
    /// The relay puts a message in its order, and hands it to both.
    fn relay(&mut self, message: &[u8], life: &mut Life) {
        if self.log.iter().rev().take(200).any(|(_, known)| known == message) {
            self.duplicates += 1;
            life.give(message);
            return;
        }
        let epoch = self.room.epoch();
        self.log.push((epoch, message.to_vec()));
        if let Ok(events) = self.room.receive(message, NOW) {
            self.commits += u32::from(self.room.epoch() > epoch);
            tell(events, &mut self.voice);
        }
        life.give(message);
    }

    /// Takes in a line, whole or cut off by the kill.
    fn take(&mut self, text: &str, life: &mut Life) {
        let Some((kind, bytes)) = read_line(text) else { return };
        match kind {
            MESSAGE => self.relay(&bytes, life),
            SAID => self.acknowledged.push(bytes),
            READY => {
                // Where it stands: the relay gives it the log from two epochs before.
                let oldest = u64::from_be_bytes(bytes.try_into().unwrap()).saturating_sub(2);
                let missed: Vec<_> = self.log.iter().filter(|(epoch, _)| *epoch >= oldest).cloned().collect();
                missed.iter().for_each(|(_, message)| life.give(message));
            }
            PACKET => match self.voice.open(&bytes, NOW) {
                Ok(heard) => {
                    self.heard += 1;
                    assert!(self.sealed.insert((heard.epoch, heard.counter)), "a key and a counter seal twice");
                }
                // What a key and a counter have sealed before is refused as a replay, whatever it says.
                Err(error) => {
                    assert!(!matches!(error, Error::Replayed { .. }), "a key and a counter seal twice: {error}");
                    self.unheard += 1;
                }
            },
            other => panic!("{other}: {text}"),
        }
    }
}

#[test]
fn a_room_outlives_its_process_killed_at_any_moment() {
    let folder = Folder::new("kills");
    let kills = killing::kills(20);
    let start = Instant::now();
    let (mut room, mut voice) = Room::create(Identity::generate("ana").unwrap(), Settings::default()).unwrap();
    let ben = Identity::from_secret("ben", &SECRET).unwrap();
    let guest = Guest::new(ben).unwrap();
    let admission = room.admit(guest.card(), Role::Speaker).unwrap();
    tell(room.receive(&admission.commit, NOW).unwrap(), &mut voice);
    let (entered, _) = guest.enter(&admission.welcome).unwrap();
    let vault = FileVault::open(folder.join("room")).unwrap();
    drop(Kept::new(entered, vault, VaultKey::from_bytes(&KEY)).unwrap());

    let mut parent = Parent {
        room,
        voice,
        log: Vec::new(),
        acknowledged: Vec::new(),
        sealed: BTreeSet::new(),
        heard: 0,
        unheard: 0,
        commits: 0,
        duplicates: 0,
    };
    let (mut mute_lives, mut lines) = (0, 0);
    for kill in 1..=kills {
        let mut life = Life::begin(folder.path());
        let heard = parent.heard;
        // Some die as they begin, some when they have done a few dozen things; at no particular moment.
        let most = rand::random_range(0..60);
        for _ in 0..most {
            let text = life.lines.recv_timeout(Duration::from_secs(20)).expect("a life goes on until it is killed");
            parent.take(&text, &mut life);
            lines += 1;
        }
        if kill % 3 == 0 && !parent.room.is_pending() {
            let refresh = parent.room.refresh().unwrap();
            parent.relay(&refresh, &mut life);
        }
        thread::sleep(Duration::from_micros(rand::random_range(0..3_000)));
        assert!(life.process.try_wait().unwrap().is_none(), "ben's process ended by itself");
        life.process.kill().unwrap();
        life.process.wait().unwrap();
        // What it said before it died was said.
        while let Ok(text) = life.lines.recv() {
            parent.take(&text, &mut life);
        }
        mute_lives += u32::from(parent.heard == heard);
        killing::progress(kill, kills);
    }

    // One goes on from what the last life left, fetches the log, sends what it had not, and both have the same.
    let ben = Identity::from_secret("ben", &SECRET).unwrap();
    let vault = FileVault::open(folder.join("room")).unwrap();
    let mut ben = Kept::restore(ben, vault, VaultKey::from_bytes(&KEY), NOW).unwrap().unwrap().room;
    let unsent: Vec<Vec<u8>> = ben.unsent().map(<[u8]>::to_vec).collect();
    let oldest = ben.epoch().saturating_sub(2);
    let missed = parent.log.iter().filter(|(epoch, _)| *epoch >= oldest).map(|(_, message)| message);
    for message in missed.chain(&unsent) {
        let _ = ben.act(|room| room.receive(message, NOW)).unwrap();
    }
    for message in &unsent {
        let _ = parent.room.receive(message, NOW);
    }
    assert_eq!(ben.code(), parent.room.code());
    assert!(ben.roster().eq(parent.room.roster()));
    let ids = |room: &Room| room.messages().map(|message| message.id.to_bytes().to_vec()).collect::<Vec<_>>();
    let (of_ben, of_ana) = (ids(&ben), ids(&parent.room));
    assert_eq!(of_ben, of_ana, "one chat");
    // The chat keeps the last thousand.
    let kept = parent.acknowledged.iter().rev().take(500).filter(|id| of_ben.contains(id)).count();
    assert_eq!(kept, parent.acknowledged.len().min(500), "what was said to be stored is there");
    assert_eq!(ben.unsent().count(), 0);
    println!(
        "{kills} kills in {:.0?}: {lines} lines read, {} messages relayed and {} again, {} epochs, {} texts stored, none \
         lost; {} packets heard, {} not, none sealed twice; {mute_lives} lives too short to speak",
        start.elapsed(),
        parent.log.len(),
        parent.duplicates,
        parent.room.epoch(),
        parent.acknowledged.len(),
        parent.heard,
        parent.unheard
    );
    assert!(parent.commits > kills / 4 && parent.heard > kills);
}
