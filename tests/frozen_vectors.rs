//! Our own frozen figures: from an MLS epoch's exporter secret to whole packets, through the public API.
//!
//! `tests/vectors/mls_frames.json` was made by another implementation; a failure here is a change of the wire.

use std::time::Duration;

use hkdf::Hkdf;
use parlor::{EpochKeys, KeyIdLayout, LeafIndex, MemberId, Suite, Voice, media::Speaker};
use serde_json::Value;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

const ZERO: Duration = Duration::ZERO;

#[test]
fn an_epochs_exporter_secret_leads_to_these_packets_and_no_others() {
    let vectors: Value = serde_json::from_str(include_str!("vectors/mls_frames.json")).unwrap();
    let mut packets = 0;
    for case in vectors["cases"].as_array().unwrap() {
        let suite = Suite::from_id(u16::try_from(number(case, "suite_id")).unwrap()).unwrap();
        let layout = KeyIdLayout::new(small(case, "sender_bits"), small(case, "epoch_bits")).unwrap();
        let (epoch, leaf) = (number(case, "epoch"), LeafIndex(number(case, "leaf").try_into().unwrap()));
        let base_key = export(&hex(case, "exporter_secret"), "SFrame 1.0 Base Key", suite.key_len());
        assert_eq!(base_key, hex(case, "base_key"), "{case}");
        assert_eq!(layout.key_id(0, leaf, epoch).unwrap(), number(case, "kid"), "{case}");

        let id = MemberId::from_bytes([7; 32]);
        let stage = vec![Speaker { leaf, id }];
        let voice = |me| {
            let key = Zeroizing::new(base_key.clone());
            Voice::new(EpochKeys::new(suite, layout, epoch, key, me, stage.clone(), ZERO).unwrap())
        };
        let (mut speaker, mut ear) = (voice(leaf), voice(LeafIndex(leaf.0 + 1)));
        let mut counter = 0;
        for frame in case["frames"].as_array().unwrap() {
            let (plaintext, packet) = (hex(frame, "plaintext"), hex(frame, "packet"));
            // The counters between two figures are used up on frames of no interest.
            while counter < number(frame, "counter") {
                speaker.seal(b"").unwrap();
                counter += 1;
            }
            assert_eq!(speaker.seal(&plaintext).unwrap(), packet, "{frame}");
            counter += 1;
            let heard = ear.open(&packet, ZERO).unwrap();
            assert_eq!((heard.speaker, heard.epoch, heard.frame), (id, epoch, plaintext));
            packets += 1;
        }
    }
    assert_eq!(packets, 90);
}

/// MLS-Exporter with an empty context (RFC 9420 §8.5), written out here so that the figures stand on their own.
fn export(exporter_secret: &[u8], label: &str, length: usize) -> Vec<u8> {
    let derived = expand_with_label(exporter_secret, label, b"", 32);
    expand_with_label(&derived, "exported", &Sha256::digest(b""), length)
}

fn expand_with_label(secret: &[u8], label: &str, context: &[u8], length: usize) -> Vec<u8> {
    let label = format!("MLS 1.0 {label}");
    let mut info = u16::try_from(length).unwrap().to_be_bytes().to_vec();
    for part in [label.as_bytes(), context] {
        info.push(u8::try_from(part.len()).unwrap());
        info.extend_from_slice(part);
    }
    let mut out = vec![0; length];
    Hkdf::<Sha256>::from_prk(secret).unwrap().expand(&info, &mut out).unwrap();
    out
}

fn number(value: &Value, field: &str) -> u64 {
    value[field].as_u64().unwrap()
}

fn small(value: &Value, field: &str) -> u8 {
    number(value, field).try_into().unwrap()
}

fn hex(value: &Value, field: &str) -> Vec<u8> {
    let text = value[field].as_str().unwrap();
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}
