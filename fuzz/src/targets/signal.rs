//! Signals of the heartbeat: the relay's, who can keep them back, repeat and alter them; and those of a member with a
//! patched client, who has the keys of two epochs and seals and signs what she likes.
//!
//! Each input begins with ana's and ben's rooms as they were stored once, so that none depends on those before it.

use std::{cell::RefCell, time::Duration};

use chacha20poly1305::{
    ChaCha20Poly1305, KeyInit as _, Nonce,
    aead::{Aead as _, Payload},
};
use ed25519_dalek::VerifyingKey;
use openmls::prelude::{LeafNodeParameters, OpenMlsProvider as _};
use openmls_traits::signatures::Signer as _;
use parlor::{Error, Event, Identity, MemberId, Role, Room, Settings, room::heartbeat::STALE_AFTER, vault::VaultKey};
use sha2::{Digest as _, Sha256};

use super::{
    input::Input,
    porch::{guest, host, key_pair, open, seal},
    reach,
};
use crate::party::{
    gists,
    mal::{Bare, Mal, state},
};

/// Sealed and signed: kind, epoch, who and body.
const SIGNED: usize = 1 + 8 + 32 + BODY;
const BODY: usize = 8 + 8 + 32 + 1 + 32 * 8;
const HEADER: usize = 3 + 8 + 12;
const PLAIN: usize = SIGNED + 64 + 20;
const LENGTH: usize = HEADER + PLAIN + 16;
const ASK: &[u8] = b"parlor signal to a host 2";
const ANSWER: &[u8] = b"parlor signal to who asked 2";
const KEY: [u8; 32] = [4; 32];
const ANA: usize = 0;
const BEN: usize = 1;

thread_local! {
    static EVENINGS: RefCell<[Option<Evening>; 2]> = const { RefCell::new([None, None]) };
}

/// Who speaks is fresh only by a host's own late word, and is again once hosts are heard; a signal that is nobody's does
/// nothing, and none changes who is in the room or what it is.
pub fn signal(data: &[u8]) {
    let mut input = Input::new(data);
    let at = input.below(2);
    EVENINGS.with_borrow_mut(|evenings| {
        let evening = evenings[at].get_or_insert_with(|| Evening::new([Role::Speaker, Role::Host][at]));
        let mut play = Play::new(evening);
        for _ in 0..48 {
            if input.is_empty() {
                break;
            }
            play.step(&mut input);
        }
        if evening.role == Role::Speaker {
            play.settle();
        }
    });
}

/// Ana hosts and ben speaks, as they were stored; and mal, with a commit that she has not sent.
struct Evening {
    role: Role,
    mal: Mal,
    id: MemberId,
    room: Vec<u8>,
    /// Of the epoch in which they were stored, and of the next.
    ciphers: [ChaCha20Poly1305; 2],
    stored: [Vec<u8>; 2],
    people: [MemberId; 2],
    transcript: [u8; 32],
    epoch: u64,
    commit: Vec<u8>,
}

impl Evening {
    fn new(role: Role) -> Self {
        let (mut ana, _) = Room::create(host().0, Settings::default()).unwrap();
        let (ben, mal) = (guest("ben", 6).0, Bare::new("mal"));
        let admission = ana.admit_all(&[(ben.card().clone(), Role::Speaker), (mal.card(), role)]).unwrap();
        ana.receive(&admission.commit, Duration::ZERO).unwrap();
        let (mut ben, _) = ben.enter(&admission.welcome).unwrap();
        let mut mal = mal.enter(&admission);
        let room = ana.id().to_vec();
        let cipher = |mal: &Mal| {
            let crypto = mal.client.provider.crypto();
            let key = mal.group.export_secret(crypto, "parlor signals 2", &[], 32).unwrap();
            ChaCha20Poly1305::new_from_slice(&key).unwrap()
        };
        let first = cipher(&mal);
        let (commit, _) = mal.commit_and_welcome(LeafNodeParameters::default(), Vec::new());
        mal.merge();
        let vault_key = VaultKey::from_bytes(&KEY);
        Self {
            role,
            id: mal.client.id(),
            ciphers: [first, cipher(&mal)],
            people: [&ana, &ben].map(|room| room.me().unwrap().id),
            transcript: Sha256::digest(ana.transcript()).into(),
            epoch: ana.epoch(),
            stored: [&mut ana, &mut ben].map(|room| room.snapshot(&vault_key).unwrap()),
            commit,
            room,
            mal,
        }
    }

    fn room(&self, who: usize) -> Room {
        let (name, seed) = [("ana", 5), ("ben", 6)][who];
        let identity = Identity::from_secret(name, &[seed; 32]).unwrap();
        Room::restore(identity, &VaultKey::from_bytes(&KEY), &self.stored[who], Duration::ZERO).unwrap().0
    }

    fn open(&self, signal: &[u8]) -> Vec<u8> {
        let (header, sealed) = signal.split_at(HEADER);
        let cipher = &self.ciphers[(epoch_of(signal) - self.epoch) as usize];
        cipher.decrypt(Nonce::from_slice(&header[11..]), Payload { msg: sealed, aad: header }).unwrap()
    }

    /// Seals as of `epoch`, under its key if it has one.
    fn seal(&self, epoch: u64, mut plain: Vec<u8>) -> Vec<u8> {
        plain.resize(PLAIN.max(plain.len()), 0);
        let cipher = &self.ciphers[usize::from(epoch == self.epoch + 1)];
        let header = [&[2, 2, 0][..], &epoch.to_be_bytes(), &[9; 12]].concat();
        let sealed = cipher.encrypt(Nonce::from_slice(&[9; 12]), Payload { msg: &plain, aad: &header }).unwrap();
        [header, sealed].concat()
    }

    /// What HPKE seals for.
    fn purpose(&self, label: &[u8]) -> Vec<u8> {
        [label, &Sha256::digest(&self.room)].concat()
    }

    /// Sealed, and signed by mal, as a signal is; whoever it names.
    fn sign(&self, epoch: u64, mut signed: Vec<u8>) -> Vec<u8> {
        let message = [b"parlor signal 2\0", &Sha256::digest(&self.room)[..], &signed].concat();
        signed.extend(self.mal.client.signer.sign(&message).unwrap());
        self.seal(epoch, signed)
    }
}

/// What is sealed to a member under their identity key.
fn exchange_key(member: &MemberId) -> [u8; 32] {
    VerifyingKey::from_bytes(member.as_bytes()).unwrap().to_montgomery().to_bytes()
}

/// The epoch that a signal says.
fn epoch_of(signal: &[u8]) -> u64 {
    u64::from_be_bytes(signal[3..11].try_into().unwrap())
}

/// Whether there is no other form of what this says.
fn is_strict(signed: &[u8]) -> bool {
    let body = &signed[41..];
    let used = match (signed[0], body[48]) {
        (0, count @ 0..=32) => 49 + usize::from(count) * 8,
        (1, _) => 8,
        _ => return false,
    };
    body[used..].iter().all(|byte| *byte == 0)
}

/// One input's time.
struct Play<'a> {
    evening: &'a Evening,
    rooms: [Room; 2],
    now: Duration,
    /// What ana and ben have sent, and who of them did.
    sent: Vec<(usize, Vec<u8>)>,
    pings: Vec<[u8; 8]>,
    /// When ana last beat.
    beaten: Option<Duration>,
    /// What each was last told; nothing before their first tick.
    stale: [Option<bool>; 2],
    /// Whether each has received mal's commit.
    followed: [bool; 2],
}

impl<'a> Play<'a> {
    /// Both hearts beat.
    fn new(evening: &'a Evening) -> Self {
        let mut play = Self {
            rooms: [evening.room(ANA), evening.room(BEN)],
            evening,
            now: Duration::from_secs(100),
            sent: Vec::new(),
            pings: Vec::new(),
            beaten: None,
            stale: [None; 2],
            followed: [false; 2],
        };
        play.tick(ANA);
        play.tick(BEN);
        play
    }

    fn step(&mut self, input: &mut Input<'_>) {
        let who = input.below(2);
        match input.below(12) {
            0 => {
                self.now +=
                    Duration::from_millis([1, 200, 1_000, 2_000, 5_000, 14_000, 60_000, 4_000_000][input.below(8)]);
            }
            1 => self.tick(who),
            2 | 3 if !self.sent.is_empty() => {
                let (_, genuine) = self.sent[self.sent.len() - 1 - input.below(self.sent.len())].clone();
                // Keys of the epoch gone by are kept for a minute.
                let sent = self.sent.len();
                let taken = self.bring(who, &genuine);
                assert!(matches!(taken, Ok(()) | Err(Error::WrongEpoch { .. })), "{taken:?}");
                match genuine[2] {
                    0 => reach(if self.evening.open(&genuine)[0] == 0 { "beat" } else { "ping" }),
                    1 if self.sent[sent..].iter().any(|(_, signal)| signal[2] == 2) => reach("ask"),
                    2 if who == BEN => reach("answer"),
                    _ => {}
                }
            }
            4 if !self.sent.is_empty() => {
                let (_, genuine) = input.choose(&self.sent);
                let altered = input.mutate(genuine);
                if altered != *genuine {
                    self.refuse(who, &altered);
                }
            }
            5 => self.refuse(who, &[&[2][..], input.run()].concat()),
            6 | 7 => self.forge(who, input),
            8 if !self.followed[who] => {
                self.followed[who] = true;
                let events = self.rooms[who].receive(&self.evening.commit, self.now).unwrap();
                assert!(matches!(events[..], [Event::Rekeyed(_), Event::Refreshed { .. }, ..]), "{:?}", gists(&events));
                self.note(who, events.into_iter().skip(2).collect());
            }
            9 => {
                // The clock of one goes back, as of a process that was moved; nobody beats by it.
                let back = self.now.saturating_sub(Duration::from_millis(input.u64() >> 32));
                if who == ANA && self.evening.role == Role::Host {
                    let events = self.rooms[ANA].tick(back);
                    self.note(ANA, events);
                }
            }
            10 => self.ask(who, input),
            11 => self.answer(input),
            _ => {}
        }
    }

    fn tick(&mut self, who: usize) {
        let events = self.rooms[who].tick(self.now);
        self.stale[who] = self.stale[who].or(Some(false));
        self.note(who, events);
        // Who knows that the room has gone on waits for its messages.
        assert!(self.rooms[who].next_tick().is_some() || self.stale[who] == Some(true));
        let fresh = who == BEN && self.stale[BEN] == Some(false);
        if fresh && self.evening.role == Role::Speaker {
            let beaten = self.beaten.expect("ben is fresh and no host has ever beaten");
            assert!(self.now < beaten + STALE_AFTER, "ben is fresh at {:?} by a beat of {beaten:?}", self.now);
        }
    }

    fn note(&mut self, who: usize, events: Vec<Event>) {
        assert!(events.len() <= 8, "{:?}", gists(&events));
        for event in events {
            match event {
                Event::Send(bytes) => {
                    assert_eq!(bytes.len(), LENGTH);
                    let is_beat = match bytes[2] {
                        0 => {
                            assert_eq!(epoch_of(&bytes), self.rooms[who].epoch(), "under another epoch's key");
                            let plain = self.evening.open(&bytes);
                            assert_eq!(plain[9..41], *self.evening.people[who].as_bytes());
                            assert!(is_strict(&plain[..SIGNED]) && plain[SIGNED + 64..].iter().all(|byte| *byte == 0));
                            if plain[0] != 0 {
                                self.pings.push(plain[41..49].try_into().unwrap());
                            }
                            plain[0] == 0
                        }
                        by => by == 2,
                    };
                    if is_beat {
                        assert_eq!(who, ANA, "a beat of who is no host");
                        self.beaten = Some(self.now);
                    }
                    self.sent.push((who, bytes));
                }
                Event::Stale { .. } => assert_ne!(self.stale[who].replace(true), Some(true), "told twice"),
                Event::Fresh => assert_eq!(self.stale[who].replace(false), Some(true), "was not stale"),
                Event::Behind { .. } | Event::SplitView { .. } | Event::HostSilent { .. } => {}
                other => panic!("{:?}", gists(&[other])),
            }
        }
    }

    /// Hands over a signal, whatever it is; gives whether it was taken.
    fn bring(&mut self, who: usize, signal: &[u8]) -> parlor::Result<()> {
        let before = state(&self.rooms[who]);
        let heard = self.rooms[who].receive(signal, self.now);
        assert_eq!(state(&self.rooms[who]), before);
        self.note(who, heard?);
        Ok(())
    }

    /// Hands over what nobody in the room has sealed and signed.
    fn refuse(&mut self, who: usize, signal: &[u8]) {
        let sent = self.sent.len();
        // Of a later epoch, a question and an answer: nobody can tell whose they are, and whether they are.
        let is_quiet = signal.len() == LENGTH
            && signal[..2] == [2, 2]
            && (matches!(signal[2], 1 | 2) || signal[2] == 0 && epoch_of(signal) > self.rooms[who].epoch());
        match self.bring(who, signal) {
            Ok(()) => assert!(is_quiet, "a signal is taken that nobody has made"),
            Err(error) => assert!(!error.to_string().is_empty() && sent == self.sent.len()),
        }
        assert!(self.sent[sent..].iter().all(|(_, signal)| signal[2] != 2), "it is answered");
    }

    /// Of mal's making, under the epoch's key.
    fn forge(&mut self, to: usize, input: &mut Input<'_>) {
        let evening = self.evening;
        let named =
            *input.choose(&[evening.id, evening.people[ANA], evening.people[BEN], MemberId::from_bytes([7; 32])]);
        let kind = [0, 0, 0, 1, 1, 2, 255, 0][input.below(8)];
        let mut said = self.rooms[to].epoch();
        let mut body = Vec::new();
        if kind == 0 {
            body.extend([input.byte() & 7; 8]);
            let sent = match input.below(4) {
                0 => self.now.as_millis() as u64,
                1 => 0,
                2 => u64::MAX,
                _ => input.u64(),
            };
            body.extend(sent.wrapping_add(input.byte().into()).to_be_bytes());
            said = match input.below(4) {
                later @ 0..3 => evening.epoch + later as u64,
                _ => input.u64(),
            };
            body.extend(if input.below(4) == 3 { [input.byte(); 32] } else { evening.transcript });
            let count = input.below(6);
            body.push(if input.below(16) == 15 { input.byte() } else { count as u8 });
            for _ in 0..count {
                let known = self.pings.iter().rev().nth(input.below(4));
                body.extend(known.copied().unwrap_or_else(|| [input.byte(); 8]));
            }
        } else {
            body.extend([input.byte() & 3; 8]);
        }
        body.resize(BODY, 0);
        if input.below(8) == 7 {
            body = input.mutate(&body);
        }
        let signed = [&[kind][..], &said.to_be_bytes(), named.as_bytes(), &body].concat();
        let own = named == evening.people[to];
        if signed.len() != SIGNED {
            let signal = evening.sign(said, signed);
            // In the name of who hears it, or a ping that is not for them, it is left alone.
            return if own || kind == 1 { drop(self.bring(to, &signal)) } else { self.refuse(to, &signal) };
        }
        let strict = is_strict(&signed);
        // Or a signature of somebody else's, over something else.
        let signs = input.below(4) != 3;
        let signal = if signs {
            evening.sign(said, signed)
        } else {
            let sent = self.sent.iter().rev().find(|(_, sent)| sent[2] == 0);
            let of_another = sent.map(|(_, sent)| evening.open(sent)[SIGNED..SIGNED + 64].to_vec());
            evening.seal(said, [signed, of_another.unwrap_or(vec![5; 64])].concat())
        };
        if said > self.rooms[to].epoch() || said < evening.epoch {
            return self.refuse(to, &signal);
        }
        let heard = self.bring(to, &signal);
        let counts = named == evening.id && signs && (kind == 1 || evening.role == Role::Host);
        // Pings are left alone that are not for who hears them, or of nobody who may ask.
        let idle = own || kind == 1 && (to != ANA || named == MemberId::from_bytes([7; 32]));
        match heard {
            Ok(()) => assert!(strict && (counts || idle)),
            // Of an epoch that was left long ago.
            Err(Error::WrongEpoch { .. }) => assert!(said < self.rooms[to].epoch()),
            Err(error) => assert!(!strict || !counts && !own, "{error}"),
        }
    }

    /// A question of mal's making, in anybody's name and to anybody.
    fn ask(&mut self, to: usize, input: &mut Input<'_>) {
        let evening = self.evening;
        let named =
            *input.choose(&[evening.id, evening.people[ANA], evening.people[BEN], MemberId::from_bytes([7; 32])]);
        let host = evening.people[if input.below(4) == 3 { 1 - to } else { to }];
        let (secret, reply) = key_pair(1);
        let is_another = input.below(8) == 7;
        let reply = if is_another { [input.byte(); 32] } else { reply };
        let signed = [&named.as_bytes()[..], &[input.byte() & 7; 8], &reply].concat();
        let message = [b"parlor ask 2\0", &Sha256::digest(&evening.room)[..], host.as_bytes(), &signed].concat();
        let mut honest = [signed, evening.mal.client.signer.sign(&message).unwrap()].concat();
        let mut plain = if input.below(8) == 7 { input.mutate(&honest) } else { honest.clone() };
        honest.resize(LENGTH - 3 - 32 - 16, 0);
        plain.resize(LENGTH - 3 - 32 - 16, 0);
        let same = plain == honest;
        let sealed_to = if input.below(8) == 7 { [input.byte(); 32] } else { exchange_key(&host) };
        let Some(sealed) = seal(&sealed_to, &evening.purpose(ASK), &[2, 2, 1], &plain) else { return };
        let sent = self.sent.len();
        let taken = self.bring(to, &[&[2, 2, 1][..], &sealed].concat());
        let asks = same && named == evening.id && host == evening.people[to] && sealed_to == exchange_key(&host);
        let answers = self.sent[sent..].iter().filter(|(_, signal)| signal[2] == 2);
        let answers: Vec<Vec<u8>> = answers.map(|(_, signal)| signal.clone()).collect();
        if !asks || to != ANA {
            assert!(answers.is_empty(), "what nobody asks is answered");
        }
        assert!(taken.is_ok() || !asks, "{taken:?}");
        for answer in answers {
            reach("ask of mal's");
            let header = [&[2, 2, 2][..], &plain[32..40]].concat();
            assert_eq!(answer[..11], header);
            let word = open(&secret, &evening.purpose(ANSWER), &header, &answer[11..]);
            let Some(word) = word.filter(|_| !is_another) else { return assert!(is_another, "it does not open") };
            assert!(is_strict(&word[..SIGNED]) && word.len() == SIGNED + 64);
            assert_eq!(word[..9], [&[0][..], &self.rooms[ANA].epoch().to_be_bytes()].concat());
            assert_eq!((&word[9..41], word[41 + 48], &word[41 + 49..][..8]), (&host.as_bytes()[..], 1, &plain[32..40]));
        }
    }

    /// An answer to a question of ben's to ana, by mal, whom somebody has told what is in it.
    fn answer(&mut self, input: &mut Input<'_>) {
        let evening = self.evening;
        let secret = host().1.to_scalar_bytes();
        let asked = self.sent.iter().rev().filter(|(who, signal)| *who == BEN && signal[2] == 1);
        let asked = asked.filter_map(|(_, ask)| open(&secret, &evening.purpose(ASK), &[2, 2, 1], &ask[3..]));
        let Some(asked) = asked.take(1 + input.below(4)).last() else { return };
        let header = [&[2, 2, 2][..], &asked[32..40]].concat();
        let named = *input.choose(&[evening.people[ANA], evening.id, evening.people[BEN]]);
        let epoch = evening.epoch + input.below(4) as u64;
        let body = [&[1; 8][..], &self.now.as_millis().to_be_bytes()[8..], &evening.transcript, &[1], &asked[32..40]];
        let mut signed = [&[0][..], &epoch.to_be_bytes(), named.as_bytes(), &body.concat()].concat();
        signed.resize(SIGNED, 0);
        let message = [b"parlor signal 2\0", &Sha256::digest(&evening.room)[..], &signed].concat();
        let word = [signed, evening.mal.client.signer.sign(&message).unwrap()].concat();
        let word = if input.below(4) == 3 { input.mutate(&word) } else { word };
        let sealed = seal(asked[40..72].try_into().unwrap(), &evening.purpose(ANSWER), &header, &word).unwrap();
        let stale = self.stale[BEN];
        let taken = self.bring(BEN, &[header, sealed].concat());
        if taken.is_err() {
            reach("answer of mal's");
        }
        // Where nothing was asked any more nobody looks.
        assert_eq!(self.stale[BEN], stale, "who was not asked is believed");
    }

    /// Once both receive what the other sends ben is fresh, whatever came before.
    fn settle(&mut self) {
        for who in [ANA, BEN] {
            if !self.followed[who] && self.followed[1 - who] {
                let events = self.rooms[who].receive(&self.evening.commit, self.now).unwrap();
                self.followed[who] = true;
                self.note(who, events.into_iter().skip(2).collect());
            }
        }
        for _ in 0..20 {
            self.now += Duration::from_secs(1);
            for who in [ANA, BEN] {
                let mut next = self.sent.len();
                self.tick(who);
                // What is brought may be answered at once.
                while let Some((by, signal)) = self.sent.get(next).cloned() {
                    self.bring(1 - by, &signal).unwrap();
                    next += 1;
                }
            }
        }
        assert_eq!(self.stale, [Some(false); 2], "one is stale to whom hosts are heard");
        assert!(!self.rooms.iter().any(|room| room.come_back_due(self.now)));
    }
}
