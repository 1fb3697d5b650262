//! Packets of the media layer: as they come from anywhere, and as an insider makes them, who has every frame key.

use std::{collections::HashSet, time::Duration};

use parlor::{
    EpochKeys, Error, KeyIdLayout, LeafIndex, MemberId, Suite, Voice,
    media::{
        Backend, OffStage, Quiet, Speaker,
        sframe::{Aead, Derivation, Header, MAX_HEADER},
    },
};
use zeroize::Zeroizing;

use super::input::Input;

const EPOCH: u64 = 40;
const LISTENER: u32 = 9;
const OFF_STAGE: u32 = 4;
/// In whose name the insider says nothing, so that what they say must be heard.
const HONEST: u32 = 700;
/// On stage.
const STAGE: [u32; 4] = [1, 2, 3, HONEST];

fn id(leaf: u32) -> MemberId {
    MemberId::from_bytes([leaf as u8; 32])
}

fn base_key(suite: Suite, epoch: u64) -> Vec<u8> {
    let mut key = vec![7; suite.key_len()];
    key[..8].copy_from_slice(&epoch.to_be_bytes());
    key
}

fn keys(suite: Suite, backend: Backend, epoch: u64, me: u32, since: Duration) -> EpochKeys {
    let stage = STAGE.iter().map(|leaf| Speaker { leaf: LeafIndex(*leaf), id: id(*leaf) }).collect();
    let base_key = Zeroizing::new(base_key(suite, epoch));
    let quiet = Quiet { leaf: LeafIndex(OFF_STAGE), id: id(OFF_STAGE), why: OffStage::Listener };
    EpochKeys::new(suite, KeyIdLayout::default(), epoch, base_key, LeafIndex(me), stage, since)
        .and_then(|keys| keys.with_backend(backend))
        .unwrap()
        .with_offstage(vec![quiet])
}

/// What the insider has sealed in order, by the bytes that came of it.
struct Sealed {
    leaf: u32,
    stream: u64,
    epoch: u64,
    header: Header,
    text: Vec<u8>,
    packet: Vec<u8>,
}

/// What is opened was sealed by who has the keys, for the microphone of somebody on stage, and is heard once. What is
/// refused changes nothing, and an honest speaker is heard after all of it.
pub fn packet(data: &[u8]) {
    let mut input = Input::new(data);
    let suite = *input.choose(&Suite::ALL);
    let backend = *input.choose(Backend::ALL);
    let mut voice = Voice::new(keys(suite, backend, EPOCH - 1, LISTENER, Duration::ZERO));
    let mut honest = Voice::new(keys(suite, backend, EPOCH - 1, HONEST, Duration::ZERO));
    let (mut epoch, mut now) = (EPOCH - 1, Duration::from_secs(1_000));
    let mut sealed: Vec<Sealed> = Vec::new();
    let mut heard = HashSet::new();

    for _ in 0..48 {
        if input.is_empty() {
            break;
        }
        let packet = match input.below(8) {
            0 => input.run().to_vec(),
            // One of those before, changed or not.
            1 | 2 if !sealed.is_empty() => {
                let before = &sealed[input.below(sealed.len().min(256))].packet;
                input.mutate(before)
            }
            3 => {
                now += Duration::from_millis(u64::from(input.byte()) * 20);
                voice.expire(now);
                while let Some(opened) = voice.unpark(now) {
                    if let Ok(opened) = opened {
                        check(&sealed, &mut heard, &opened.frame, opened.leaf.0, opened.epoch, opened.counter, None);
                    }
                }
                continue;
            }
            4 if epoch < EPOCH + 2 => {
                epoch += 1;
                voice.rekey(keys(suite, backend, epoch, LISTENER, now)).unwrap();
                honest.rekey(keys(suite, backend, epoch, HONEST, now)).unwrap();
                continue;
            }
            _ => {
                let next = seal(&mut input, suite, epoch);
                let packet = next.packet.clone();
                sealed.push(next);
                packet
            }
        };
        let before = voice.state_digest();
        match voice.open(&packet, now) {
            Ok(opened) => {
                assert!(!opened.verified && opened.speaker == id(opened.leaf.0));
                let (leaf, epoch, counter) = (opened.leaf.0, opened.epoch, opened.counter);
                check(&sealed, &mut heard, &opened.frame, leaf, epoch, counter, Some(&packet));
            }
            Err(Error::Parked { .. }) => {
                let limits = voice.limits();
                assert!(voice.parked().0 <= limits.parked_packets && voice.parked().1 <= limits.parked_bytes);
            }
            Err(error) => {
                assert_eq!(voice.state_digest(), before, "{error}");
                assert!(!error.to_string().is_empty());
            }
        }
    }
    let packet = honest.seal(b"after all of it").unwrap();
    let opened = voice.open(&packet, now).unwrap_or_else(|error| panic!("an honest frame is refused: {error}"));
    assert_eq!((opened.leaf, opened.frame.as_slice()), (LeafIndex(HONEST), b"after all of it".as_slice()));
    assert!(voice.open(&packet, now).is_err(), "heard twice");
}

/// A packet of anybody's but the honest speaker's, as the insider would have it.
fn seal(input: &mut Input<'_>, suite: Suite, epoch: u64) -> Sealed {
    let leaf = [1, 2, 3, OFF_STAGE, LISTENER, 5, 4_095][input.below(7)];
    let stream = [0, 0, 0, 1, 2, 77][input.below(6)];
    let epoch = match input.below(8) {
        0 => epoch + 1,
        1 => epoch.saturating_sub(1),
        2 => epoch + 256,
        3 => input.u16().into(),
        _ => epoch,
    };
    let kid = KeyIdLayout::default().key_id(stream, LeafIndex(leaf), epoch).unwrap();
    let header = Header { kid, counter: input.number() };
    let text = match input.byte() {
        255 => vec![7; usize::from(input.u16())],
        _ => input.run().to_vec(),
    };
    let derived = Derivation::new(suite, &base_key(suite, epoch), kid).unwrap();
    let aead = Aead::new(suite, Backend::default(), derived.key()).unwrap();
    let mut front = [0; MAX_HEADER];
    let length = header.encode_into(&mut front).unwrap();
    // Now and then the header is another than what was sealed, or is written at its longest.
    let front = if input.below(8) == 7 { input.run().to_vec() } else { front[..length].to_vec() };
    let mut body = text.clone();
    let tag = aead.seal_in_place(&derived.nonce(header.counter), &front, &mut body).unwrap();
    Sealed { leaf, stream, epoch, header, text, packet: [&front[..], &body, &tag].concat() }
}

fn check(
    sealed: &[Sealed],
    heard: &mut HashSet<(u64, u32, u64)>,
    frame: &[u8],
    leaf: u32,
    epoch: u64,
    counter: u64,
    packet: Option<&[u8]>,
) {
    assert!(STAGE.contains(&leaf) && leaf != HONEST, "leaf {leaf} is heard");
    let made = sealed.iter().any(|it| {
        (it.leaf, it.stream, it.epoch, it.header.counter) == (leaf, 0, epoch, counter)
            && it.text == frame
            && packet.is_none_or(|packet| it.packet == packet)
    });
    assert!(made, "nobody has sealed what is heard of leaf {leaf} in epoch {epoch} at {counter}");
    assert!(heard.insert((epoch, leaf, counter)), "heard twice");
}
