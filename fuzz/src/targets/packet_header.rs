//! SFrame headers, key ids and what they name.

use parlor::{
    KeyIdLayout, LeafIndex,
    media::sframe::{Header, MAX_HEADER},
};

use super::input::Input;

/// A header that can be read has one encoding; every header can be written and comes back.
pub fn packet_header(data: &[u8]) {
    match Header::decode(data) {
        Ok((header, length)) => {
            let mut out = [0xA5; MAX_HEADER];
            assert_eq!(header.encode_into(&mut out).unwrap(), length);
            assert_eq!(header.encoded_len(), length);
            assert_eq!(out[..length], data[..length], "two encodings of {header:?}");
            assert!(out[length..].iter().all(|byte| *byte == 0xA5), "written beyond its length");
            assert!(length == 0 || header.encode_into(&mut out[..length - 1]).is_err());
            // What follows is none of its business.
            assert_eq!(Header::decode(&data[..length]).unwrap(), (header, length));
            assert!((0..length).all(|end| Header::decode(&data[..end]).is_err()), "it is complete before its end");
            split(header.kid);
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }

    let mut input = Input::new(data);
    let header = Header { kid: input.number(), counter: input.number() };
    let mut out = [0; MAX_HEADER];
    let length = header.encode_into(&mut out).unwrap();
    assert_eq!(Header::decode(&out).unwrap(), (header, length));
    split(input.u64());
}

fn split(kid: u64) {
    for (sender_bits, epoch_bits) in [(12, 8), (1, 4), (32, 8), (20, 4)] {
        let Ok(layout) = KeyIdLayout::new(sender_bits, epoch_bits) else { continue };
        let (stream, leaf, epoch) = layout.split(kid);
        assert_eq!(layout.key_id(stream, leaf, epoch).unwrap(), kid);
        assert!(leaf.0 < u32::MAX && u64::from(leaf.0) < 1 << sender_bits && epoch < 1 << epoch_bits);
        assert!(layout.key_id(stream, LeafIndex(1 << (sender_bits.min(31))), 0).is_err() || sender_bits > 31);
    }
}
