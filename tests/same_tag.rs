//! Who holds a frame key makes other packets with the tag of a true one: a signature over tags would cover them too.

mod forger;

use forger::{BLOCK, Forger, UNCHOSEN};
use parlor::{
    Suite,
    media::sframe::{Backend, Header, MAX_COUNTER, Opener, Sealer, TAG_LEN},
};
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use sha2::{Digest as _, Sha256};

const TRIES: u64 = 200;
const BASE_KEY: &[u8] = b"what every member can derive";

/// The counter and the frame of a packet, as a receiver with that backend gets them.
fn opened(suite: Suite, backend: Backend, kid: u64, packet: &[u8]) -> (u64, Vec<u8>) {
    let mut packet = packet.to_vec();
    let opener = Opener::new(suite, backend, BASE_KEY, kid).unwrap();
    let (counter, frame) = opener.open_in_place(b"", &mut packet).expect("a forgery that opens");
    (counter, frame.to_vec())
}

/// A true packet of the victim's at some key id and counter, with its frame.
fn true_packet(suite: Suite, rng: &mut StdRng, len: usize) -> (Header, Vec<u8>, Vec<u8>) {
    let header = Header { kid: rng.random_range(0..1 << 40), counter: rng.random_range(0..=MAX_COUNTER) };
    let mut frame = vec![0; len];
    rng.fill(&mut frame[..]);
    let mut sealer = Sealer::new(suite, Backend::default(), BASE_KEY, header.kid, header.counter).unwrap();
    let mut packet = vec![0; len + sealer.overhead()];
    sealer.seal_into(b"", &frame, &mut packet).unwrap();
    (header, frame, packet)
}

/// Another packet of the same header, length and tag, but of another hash, that opens; gives its frame.
fn forgery(suite: Suite, header: Header, packet: &[u8], forged: &[u8]) -> Vec<u8> {
    let (header_len, tag_at) = (header.encoded_len(), packet.len() - TAG_LEN);
    assert_eq!(forged.len(), packet.len());
    assert_eq!(forged[..header_len], packet[..header_len]);
    assert_eq!(forged[tag_at..], packet[tag_at..], "the tag");
    assert_ne!(forged[header_len..tag_at], packet[header_len..tag_at], "the ciphertext");
    assert_ne!(Sha256::digest(forged)[..16], Sha256::digest(packet)[..16]);
    let frames: Vec<_> = Backend::ALL.iter().map(|backend| opened(suite, *backend, header.kid, forged)).collect();
    assert!(frames.iter().all(|heard| *heard == (header.counter, frames[0].1.clone())));
    frames[0].1.clone()
}

#[test]
fn every_packet_has_another_with_its_tag_that_opens_and_only_the_hash_of_the_whole_tells_them_apart() {
    for suite in Suite::ALL {
        for seed in 0..TRIES {
            let mut rng = StdRng::seed_from_u64(seed);
            let len = [60, 120, 2 * BLOCK, rng.random_range(2 * BLOCK..500)][seed as usize % 4];
            let (header, frame, packet) = true_packet(suite, &mut rng, len);
            let forged = Forger::new(suite, BASE_KEY, header.kid).same_tag(&packet, &mut rng);
            let heard = forgery(suite, header, &packet, &forged);
            assert_ne!(heard, frame, "{suite:?}, seed {seed}");
        }
    }
}

#[test]
fn a_forger_of_the_same_tag_chooses_what_is_said_but_for_twenty_bytes() {
    for suite in Suite::ALL {
        for seed in 0..TRIES {
            let mut rng = StdRng::seed_from_u64(seed);
            let len = rng.random_range(2 * BLOCK..200);
            let (header, frame, packet) = true_packet(suite, &mut rng, len);
            let chosen_after = len / BLOCK * BLOCK;
            // Even what was said already.
            for wanted in [vec![0xa5; len], frame] {
                let forged = Forger::new(suite, BASE_KEY, header.kid).same_tag_saying(&packet, &wanted, &mut rng);
                let heard = forgery(suite, header, &packet, &forged);
                assert_eq!(heard[..chosen_after - UNCHOSEN], wanted[..chosen_after - UNCHOSEN], "{suite:?}, {seed}");
                assert_eq!(heard[chosen_after..], wanted[chosen_after..], "{suite:?}, seed {seed}");
            }
        }
    }
}

#[test]
fn a_forger_seals_at_any_counter_to_the_byte_as_the_victim_would() {
    for suite in Suite::ALL {
        for seed in 0..TRIES {
            let mut rng = StdRng::seed_from_u64(seed);
            let len = rng.random_range(0..200);
            let (header, frame, packet) = true_packet(suite, &mut rng, len);
            let forger = Forger::new(suite, BASE_KEY, header.kid);
            assert_eq!(forger.seal_at(header.counter, &frame), packet, "{suite:?}, seed {seed}");
            for counter in [0, MAX_COUNTER, MAX_COUNTER + 1, u64::MAX] {
                for backend in Backend::ALL {
                    let heard = opened(suite, *backend, header.kid, &forger.seal_at(counter, &frame));
                    assert_eq!(heard, (counter, frame.clone()), "{suite:?}, seed {seed}");
                }
            }
        }
    }
}
