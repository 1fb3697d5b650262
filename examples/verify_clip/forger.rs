//! A clip made in a real room, and all that its exporter tries to make of it. He has every key of the room, and signs
//! each forgery as its exporter.

use std::{path::Path, time::Duration};

use ed25519_dalek::{Signer as _, SigningKey};
use parlor::{
    Clip, Error, Event, Guest, Identity, MemberId, Role, Room, Settings, Suite, Voice,
    media::{
        Backend,
        seal::{MediaCertificate, Proof},
        sframe::{Aead, Header, TAG_LEN},
    },
    room::PUBLISH_AFTER,
    sound::{Encoder, Encoding, FRAME_SAMPLES, FRAME_TIME, SILENCE, wav},
};

use crate::Outcome;

/// Room for the longest payload that an encoder makes.
const MAX_PAYLOAD: usize = 512;
/// Where a clip has these fields, behind its label.
const ROOM: usize = 14;
const EPOCH: usize = ROOM + 32;
const TRANSCRIPT: usize = EPOCH + 8;

/// Mallory listens to ana, and exports what she said: two clips, of two epochs.
pub struct Exported {
    pub clip: Vec<u8>,
    other: Vec<u8>,
    mallory: SigningKey,
}

pub fn export() -> Outcome<Exported> {
    let settings = Settings::default().with_title("On the record")?.with_proof(Proof::Evidence);
    let (ana, mallory) = (Identity::generate("ana")?, Identity::generate("mallory")?);
    let (speaker, key) = (ana.id(), SigningKey::from_bytes(&mallory.secret()));
    let (ana, ana_voice) = Room::create(ana, settings)?;
    let guest = Guest::new(mallory)?;
    let mut now = Duration::ZERO;
    let mut rooms = vec![(ana, ana_voice)];
    let admission = rooms[0].0.admit(guest.card(), Role::Listener)?;
    spread(&mut rooms, &admission.commit, now)?;
    rooms.push(guest.enter(&admission.welcome)?);

    let speech = wav::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/speech/austen-1.wav"))?;
    let mut speech = speech.chunks_exact(FRAME_SAMPLES);
    let mut encoder = Encoder::new(Encoding::default())?;
    let mut drafts = Vec::new();
    for frames in [200, 60] {
        for samples in speech.by_ref().take(frames) {
            let (mut pcm, mut payload) = (SILENCE, [0; MAX_PAYLOAD]);
            pcm.copy_from_slice(samples);
            let length = encoder.encode(&pcm, &mut payload)?;
            let packet = rooms[0].1.seal(&payload[..length])?;
            rooms[1].1.open(&packet, now)?;
            carry_seals(&mut rooms, now);
            now += FRAME_TIME;
        }
        // The key that a clip gives away is one of the past.
        let refresh = rooms[0].0.refresh()?;
        spread(&mut rooms, &refresh, now)?;
        carry_seals(&mut rooms, now);
        drafts.push(rooms[1].1.clip_of(&speaker, rooms[0].0.epoch() - 1, 0..=u64::MAX)?);
    }
    let later = now + PUBLISH_AFTER;
    let [clip, other] = [&drafts[0], &drafts[1]].map(|draft| rooms[1].0.vouch(draft, later));
    Ok(Exported { clip: clip?, other: other?, mallory: key })
}

fn spread(rooms: &mut [(Room, Voice)], message: &[u8], now: Duration) -> Outcome<()> {
    for (room, voice) in rooms {
        for event in room.receive(message, now)? {
            if let Event::Rekeyed(keys) = event {
                voice.rekey(keys)?;
            }
        }
    }
    Ok(())
}

fn carry_seals(rooms: &mut [(Room, Voice)], now: Duration) {
    while let Some(seal) = rooms[0].1.next_seal(now) {
        // There is nothing to play in a seal, which `open` says as an error.
        let _ = rooms[1].1.open(&seal, now);
    }
}

/// Tries every forgery; gives how many were taken for true.
pub fn forge(exported: &Exported) -> Outcome<u64> {
    println!("\nWhat Mallory, who exported it, makes of it:\n");
    let mut accepted = 0;
    for (what, forgery) in exported.forgeries()? {
        let verdict = match Clip::verify(&forgery) {
            Ok(_) => {
                accepted += 1;
                "TAKEN FOR TRUE".to_owned()
            }
            Err(Error::Malformed { why, .. }) => why.to_owned(),
            Err(why) => why.to_string(),
        };
        println!("  {what:54} {verdict}");
    }
    println!("\nTaken for true: {accepted}.");
    println!("What he can do: choose where it begins and ends, by whole seals; and leave packets out, which shows.");
    println!("And a clip holds the frame key of ana's epoch: a relay that kept its packets hears all she said in it.");
    Ok(accepted)
}

impl Exported {
    fn forgeries(&self) -> Outcome<Vec<(&'static str, Vec<u8>)>> {
        let mut all = Vec::new();
        let mut bent = self.clip.clone();
        bent[self.clip.len() / 2] ^= 1;
        all.push(("flips a bit, and leaves the signature as it is", bent));

        let signed = |change: &dyn Fn(&mut Parts)| {
            let mut parts = Parts::read(&self.clip);
            change(&mut parts);
            parts.signed_by(&self.mallory)
        };
        all.push(("flips a bit of the sound", signed(&|clip| clip.packets[7][40] ^= 1)));
        let mut words = Parts::read(&self.clip);
        words.packets[7] = words.forged(7)?;
        all.push(("puts in words of his own, under ana's frame key", words.signed_by(&self.mallory)));
        all.push(("swaps two packets", signed(&|clip| clip.packets.swap(7, 8))));
        all.push(("leaves out a packet, and calls it whole", signed(&|clip| clip.packets[7].clear())));
        let cut_out = |clip: &mut Parts| {
            let covered = usize::from(clip.seals[1][0]);
            clip.seals.remove(1);
            clip.packets.drain(covered..2 * covered);
        };
        all.push(("cuts out a seal, and what it covers", signed(&cut_out)));
        let cut_off = |clip: &mut Parts| {
            let last = clip.seals.last_mut().expect("it has seals");
            let hashes = 1 + 16 * usize::from(last[0]);
            last.drain(hashes - 16..hashes);
            last[0] -= 1;
            clip.packets.pop();
        };
        all.push(("ends it in the middle of a seal", signed(&cut_off)));
        all.push(("swaps the order of two seals", signed(&|clip| clip.seals.swap(0, 1))));
        let other = Parts::read(&self.other);
        let join = |clip: &mut Parts| {
            clip.seals.extend(other.seals.clone());
            clip.packets.extend(other.packets.clone());
        };
        all.push(("joins what she said in another epoch", signed(&join)));
        all.push(("moves it to another epoch", signed(&|clip| clip.head[EPOCH + 7] ^= 1)));
        all.push(("moves it to another room", signed(&|clip| clip.head[ROOM] ^= 1)));
        all.push(("opens it with another frame key", signed(&|clip| clip.head[clip.key_at] ^= 1)));
        all.push(("calls ana anna", signed(&|clip| clip.name = b"anna".to_vec())));
        let claim = |clip: &mut Parts| {
            let keys = [&clip.certificate.deniable[..], &clip.certificate.evidence].concat();
            clip.name = b"mallory".to_vec();
            clip.speaker = MemberId::from_bytes(self.mallory.verifying_key().to_bytes());
            let certified = [b"parlor media keys 1\0", &keys[..], &clip.name].concat();
            clip.certificate.signature = self.mallory.sign(&certified).to_bytes();
        };
        all.push(("certifies ana's media keys as his: he has said it", signed(&claim)));
        Ok(all)
    }
}

/// A clip taken apart, as `parlor::media::clip` lays it out.
struct Parts {
    /// Label to salt.
    head: Vec<u8>,
    /// Where the frame key is in it.
    key_at: usize,
    speaker: MemberId,
    name: Vec<u8>,
    certificate: MediaCertificate,
    /// Marks, number and counter of the first seal.
    begin: Vec<u8>,
    /// Count, hashes, signature.
    seals: Vec<Vec<u8>>,
    packets: Vec<Vec<u8>>,
}

impl Parts {
    /// Takes apart a clip that is true.
    fn read(clip: &[u8]) -> Self {
        let mut left = clip;
        let mut take = |count: usize| {
            let (taken, rest) = left.split_at(count);
            left = rest;
            taken.to_vec()
        };
        let mut head = take(TRANSCRIPT + 1);
        head.extend(take(usize::from(head[TRANSCRIPT]) + 4 + 8));
        let suite = take(2);
        head.extend(&suite);
        head.extend(take(8));
        let key_at = head.len();
        let suite = Suite::from_id(u16::from_be_bytes([suite[0], suite[1]])).expect("a suite of parlor's");
        head.extend(take(suite.key_len() + 12));
        let speaker = MemberId::from_bytes(take(32).try_into().expect("32 bytes"));
        let name = take(1)[0];
        let name = take(name.into());
        let certificate = MediaCertificate::from_bytes(&take(MediaCertificate::LEN)).expect("128 bytes");
        let begin = take(1 + 8 + 8);
        let count = take(2);
        let mut seals = Vec::new();
        for _ in 0..u16::from_be_bytes([count[0], count[1]]) {
            let mut seal = take(1);
            seal.extend(take(16 * usize::from(seal[0]) + 64));
            seals.push(seal);
        }
        let mut packets = Vec::new();
        for _ in 0..seals.iter().map(|seal| usize::from(seal[0])).sum() {
            let length = take(2);
            packets.push(take(u16::from_be_bytes([length[0], length[1]]).into()));
        }
        Self { head, key_at, speaker, name, certificate, begin, seals, packets }
    }

    /// The clip of these parts, exported by whoever has that key.
    fn signed_by(&self, key: &SigningKey) -> Vec<u8> {
        let mut clip = self.head.clone();
        clip.extend(self.speaker.as_bytes());
        clip.push(self.name.len() as u8);
        clip.extend(&self.name);
        clip.extend(self.certificate.to_bytes());
        clip.extend(&self.begin);
        clip.extend((self.seals.len() as u16).to_be_bytes());
        clip.extend(self.seals.concat());
        for packet in &self.packets {
            clip.extend((packet.len() as u16).to_be_bytes());
            clip.extend(packet);
        }
        clip.extend(key.verifying_key().to_bytes());
        clip.extend(key.sign(&clip).to_bytes());
        clip
    }

    /// A packet in the place of that one, which opens as well, as any member of the room can make them.
    fn forged(&self, at: usize) -> Outcome<Vec<u8>> {
        let mut packet = self.packets[at].clone();
        let (header, aad) = Header::decode(&packet)?;
        let (key, salt) = self.head[self.key_at..].split_at(self.head.len() - 12 - self.key_at);
        let mut nonce: [u8; 12] = salt.try_into()?;
        for (to, byte) in nonce[4..].iter_mut().zip(header.counter.to_be_bytes()) {
            *to ^= byte;
        }
        let (aad, sealed) = packet.split_at_mut(aad);
        let (text, tag) = sealed.split_at_mut(sealed.len() - TAG_LEN);
        text.fill(b'!');
        tag.copy_from_slice(&Aead::new(Suite::default(), Backend::default(), key)?.seal_in_place(&nonce, aad, text)?);
        Ok(packet)
    }
}
