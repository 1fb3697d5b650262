//! The figures of RFC 9605, through what the crate exports.

use parlor::{
    KeyIdLayout, LeafIndex, Suite,
    media::{
        Backend,
        sframe::{Aead, Derivation, Header, MAX_HEADER, Opener, Sealer},
    },
};
use serde_json::Value;

fn figures() -> Value {
    serde_json::from_str(include_str!("vectors/rfc9605.json")).unwrap()
}

fn bytes(figure: &Value) -> Vec<u8> {
    let text = figure.as_str().unwrap();
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

fn number(figure: &Value) -> u64 {
    match figure.as_str() {
        Some(text) => text.strip_prefix("0x").map_or_else(|| text.parse(), |hex| u64::from_str_radix(hex, 16)).unwrap(),
        None => figure.as_u64().unwrap(),
    }
}

#[test]
fn all_289_headers_are_written_and_read_as_the_standard_says() {
    let figures = figures();
    let headers = figures["header"].as_array().unwrap();
    assert_eq!(headers.len(), 289);
    for figure in headers {
        let header = Header { kid: number(&figure["kid"]), counter: number(&figure["ctr"]) };
        let encoded = bytes(&figure["encoded"]);
        let mut written = [0; MAX_HEADER];
        let len = header.encode_into(&mut written).unwrap();
        assert_eq!((&written[..len], header.encoded_len()), (&encoded[..], encoded.len()), "{header:?}");
        assert_eq!(Header::decode(&encoded).unwrap(), (header, encoded.len()));
        // And at the front of a packet.
        assert_eq!(Header::decode(&[&encoded[..], &[0xff; 32]].concat()).unwrap(), (header, encoded.len()));
    }
}

#[test]
fn both_suites_derive_seal_and_open_to_the_byte() {
    let figures = figures();
    let suites = figures["sframe"].as_array().unwrap();
    assert_eq!(suites.len(), 2);
    for figure in suites {
        let suite = Suite::from_id(number(&figure["cipher_suite"]) as u16).unwrap();
        let (kid, counter) = (number(&figure["kid"]), number(&figure["ctr"]));
        let base_key = bytes(&figure["base_key"]);
        let (metadata, plaintext, packet) = (bytes(&figure["metadata"]), bytes(&figure["pt"]), bytes(&figure["ct"]));

        let derived = Derivation::new(suite, &base_key, kid).unwrap();
        assert_eq!(derived.secret(), bytes(&figure["sframe_secret"]), "{suite:?}");
        assert_eq!(derived.key(), bytes(&figure["sframe_key"]), "{suite:?}");
        assert_eq!(derived.salt()[..], bytes(&figure["sframe_salt"]), "{suite:?}");
        assert_eq!(derived.nonce(counter)[..], bytes(&figure["nonce"]), "{suite:?}");

        let (_, header_len) = Header::decode(&packet).unwrap();
        let aad = [&packet[..header_len], &metadata].concat();
        assert_eq!(aad, bytes(&figure["aad"]), "{suite:?}");

        for backend in Backend::ALL {
            let aead = Aead::new(suite, *backend, derived.key()).unwrap();
            let mut text = plaintext.clone();
            let tag = aead.seal_in_place(&derived.nonce(counter), &aad, &mut text).unwrap();
            assert_eq!([&text[..], &tag].concat(), packet[header_len..], "{suite:?} {backend:?}");

            let mut sealer = Sealer::new(suite, *backend, &base_key, kid, counter).unwrap();
            let mut sealed = vec![0; 256];
            let len = sealer.seal_into(&metadata, &plaintext, &mut sealed).unwrap();
            assert_eq!(sealed[..len], packet, "{suite:?} {backend:?}");

            let opener = Opener::new(suite, *backend, &base_key, kid).unwrap();
            let mut opened = packet.clone();
            let (got, frame) = opener.open_in_place(&metadata, &mut opened).unwrap();
            assert_eq!((got, &*frame), (counter, &plaintext[..]), "{suite:?} {backend:?}");

            let mut other = packet.clone();
            assert!(opener.open_in_place(&metadata[1..], &mut other).is_err(), "metadata is authenticated");
        }
    }
}

#[test]
fn key_ids_of_a_group_are_laid_out_as_the_standard_says() {
    let figures = figures();
    let layout = KeyIdLayout::new(6, 4).unwrap();
    for figure in figures["mls_kid"]["cases"].as_array().unwrap() {
        let (stream, leaf) = (number(&figure["context"]), LeafIndex(number(&figure["index"]) as u32));
        let epoch = number(&figure["epoch"]);
        let kid = layout.key_id(stream, leaf, epoch).unwrap();
        assert_eq!(kid, number(&figure["kid"]), "{figure}");
        assert_eq!(layout.split(kid), (stream, leaf, epoch % 16));
    }
}

#[test]
fn a_leaf_or_stream_that_does_not_fit_a_key_id_is_an_error() {
    let layout = KeyIdLayout::new(6, 4).unwrap();
    assert_eq!(layout.key_id(0, LeafIndex(63), u64::MAX).unwrap(), 0x3ff);
    assert!(layout.key_id(0, LeafIndex(64), 0).is_err());
    assert!(layout.key_id(0, LeafIndex(u32::MAX), 0).is_err());
    assert_eq!(layout.key_id((1 << 54) - 1, LeafIndex(63), 15).unwrap(), u64::MAX);
    assert!(layout.key_id(1 << 54, LeafIndex(0), 0).is_err());
    for (sender_bits, epoch_bits) in [(0, 8), (25, 8), (12, 3), (12, 17)] {
        assert!(KeyIdLayout::new(sender_bits, epoch_bits).is_err());
    }
    let widest = KeyIdLayout::new(24, 16).unwrap();
    let kid = widest.key_id(7, LeafIndex(0xff_ffff), 0x1_2345).unwrap();
    assert_eq!(widest.split(kid), (7, LeafIndex(0xff_ffff), 0x2345));
}
