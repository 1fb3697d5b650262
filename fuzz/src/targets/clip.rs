//! Clips: files that anybody may have made, their exporter first of all.

use std::{cell::RefCell, time::Duration};

use ed25519_dalek::{Signer as _, SigningKey};
use parlor::{Clip, Event, Guest, Identity, Role, Room, Settings, Voice, media::seal::Proof, room::PUBLISH_AFTER};

use super::input::Input;

const NOW: Duration = Duration::ZERO;
const EXPORTER: [u8; 32] = [8; 32];
const HASH: usize = 16;

thread_local! {
    static CLIP: RefCell<Option<Parts>> = const { RefCell::new(None) };
}

/// A clip as it is made of what Ana said, and where its parts lie.
struct Parts {
    bytes: Vec<u8>,
    /// All before the number of the first seal.
    front: Vec<u8>,
    /// Hashes and signature of each.
    seals: Vec<Vec<u8>>,
    counts: Vec<usize>,
    packets: Vec<Vec<u8>>,
}

/// Whatever an exporter writes and signs, what is verified was said: by that speaker, in that place, in that order.
pub fn clip(data: &[u8]) {
    CLIP.with_borrow_mut(|kept| {
        let parts = kept.get_or_insert_with(Parts::new);
        let truth = Clip::verify(&parts.bytes).unwrap();
        let mut input = Input::new(data);
        let (bytes, signed) = match input.below(4) {
            0 => (input.rest().to_vec(), false),
            1 => {
                let bytes = input.mutate(&parts.bytes);
                let same = bytes == parts.bytes;
                (bytes, same)
            }
            2 => (vouch(&input.mutate(&parts.bytes[..parts.bytes.len() - 96])), true),
            _ => (vouch(&parts.cut(&mut input)), true),
        };
        let Ok(clip) = Clip::verify_with_gaps(&bytes) else { return assert!(Clip::verify(&bytes).is_err()) };
        assert!(signed, "a clip that nobody signed is verified");
        assert_eq!(Clip::verify(&bytes).is_ok(), clip.is_whole());
        assert_eq!(clip.exporter(), Identity::from_secret("benno", &EXPORTER).unwrap().id());
        let about = |clip: &Clip| (clip.speaker(), clip.name().to_owned(), *clip.room(), clip.epoch(), clip.leaf());
        assert_eq!(about(&clip), about(&truth));
        let said: Vec<_> = truth.frames().collect();
        assert_eq!(clip.frames().filter(|(_, frame)| frame.is_none()).count(), clip.missing());
        for (counter, frame) in clip.frames() {
            let (_, true_frame) = said[usize::try_from(counter).unwrap()];
            assert!(frame.is_none() || frame == true_frame, "{counter} was never said");
        }
    });
}

fn vouch(body: &[u8]) -> Vec<u8> {
    let key = SigningKey::from_bytes(&EXPORTER);
    let signed = [body, key.verifying_key().as_bytes()].concat();
    let signature = key.sign(&signed).to_bytes();
    [signed, signature.to_vec()].concat()
}

impl Parts {
    fn new() -> Self {
        let bytes = record();
        let suite = &bytes[14 + 32 + 8 + 1 + 32 + 4 + 8..][..2];
        let key = if suite == [0xF0, 0x01] { 32 } else { 16 };
        let name = 14 + 32 + 8 + (1 + 32) + 4 + 8 + 2 + 8 + key + 12 + 32;
        let front = name + 1 + usize::from(bytes[name]) + 128 + 1;
        let count = usize::from(u16::from_be_bytes([bytes[front + 16], bytes[front + 17]]));
        let mut at = front + 18;
        let mut take = |length: usize| {
            at += length;
            bytes[at - length..at].to_vec()
        };
        let (mut seals, mut counts) = (Vec::new(), Vec::new());
        for _ in 0..count {
            counts.push(take(1)[0].into());
            seals.push(take(counts.last().unwrap() * HASH + 64));
        }
        let mut packets = Vec::new();
        for _ in 0..counts.iter().sum() {
            let length = take(2);
            packets.push(take(usize::from(u16::from_be_bytes([length[0], length[1]]))));
        }
        assert_eq!(at + 96, bytes.len(), "a clip ends where its last packet does");
        Self { front: bytes[..front].to_vec(), seals, counts, packets, bytes }
    }

    /// Other seals, other packets, other numbers: as an exporter would have it who hides or moves something.
    fn cut(&self, input: &mut Input<'_>) -> Vec<u8> {
        let mut seals: Vec<usize> = (0..self.seals.len()).collect();
        for _ in 0..input.below(4) {
            let at = input.below(seals.len().max(1)).min(seals.len());
            match input.below(3) {
                0 if !seals.is_empty() => drop(seals.remove(at)),
                1 => seals.insert(at, input.below(self.seals.len())),
                _ if !seals.is_empty() => {
                    let other = input.below(seals.len());
                    seals.swap(at, other);
                }
                _ => {}
            }
        }
        let begin = seals.first().copied().unwrap_or(0) as u64;
        let first: usize = self.counts[..begin as usize].iter().sum();
        let number = if input.below(4) == 3 { input.number() } else { begin };
        let first = if input.below(4) == 3 { input.number() } else { first as u64 };
        let mut out = [&self.front[..], &number.to_be_bytes(), &first.to_be_bytes()].concat();
        out.extend((seals.len() as u16).to_be_bytes());
        for at in &seals {
            out.push(self.counts[*at] as u8);
            out.extend(&self.seals[*at]);
        }
        for at in &seals {
            let from: usize = self.counts[..*at].iter().sum();
            for packet in from..from + self.counts[*at] {
                let packet = match input.byte() {
                    0..=239 => self.packets[packet].clone(),
                    240..=247 => Vec::new(),
                    248..=251 => self.packets[input.below(self.packets.len())].clone(),
                    _ => input.mutate(&self.packets[packet]),
                };
                out.extend((packet.len() as u16).to_be_bytes());
                out.extend(packet);
            }
        }
        out
    }
}

/// Ana speaks on the record; benno makes a clip of it.
fn record() -> Vec<u8> {
    let ana = Identity::from_secret("ana", &[7; 32]).unwrap();
    let id = ana.id();
    let guest = Guest::new(Identity::from_secret("benno", &EXPORTER).unwrap()).unwrap();
    let (mut host, mut voice) = Room::create(ana, Settings::default().with_proof(Proof::Evidence)).unwrap();
    let admission = host.admit(guest.card(), Role::Listener).unwrap();
    spread(&mut host, &mut voice, &admission.commit);
    let (mut benno, mut ear) = guest.enter(&admission.welcome).unwrap();
    for frame in 0..75 {
        let packet = voice.seal(format!("frame {frame}").as_bytes()).unwrap();
        ear.open(&packet, NOW).unwrap();
        while let Some(seal) = voice.next_seal(NOW) {
            assert!(ear.open(&seal, NOW).is_err(), "a seal is no frame");
        }
    }
    let draft = ear.clip(&id).unwrap();
    let refresh = host.refresh().unwrap();
    spread(&mut host, &mut voice, &refresh);
    spread(&mut benno, &mut ear, &refresh);
    benno.vouch(&draft, PUBLISH_AFTER).unwrap()
}

fn spread(room: &mut Room, voice: &mut Voice, message: &[u8]) {
    for event in room.receive(message, NOW).unwrap() {
        if let Event::Rekeyed(keys) = event {
            voice.rekey(keys).unwrap();
        }
    }
}
