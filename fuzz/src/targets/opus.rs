//! What a speaker's device says to the codec: packets of any bytes, one after the other, lost ones among them.

use parlor::{
    frame::OpusPacket,
    sound::{Channels, Codec, Decoder},
};

use super::reach;

/// Whatever both codecs are given, in mono and stereo, what comes out is sound, and as long as it says.
///
/// The first byte chooses the channels. Then come steps: what to do, and a length or a count; bytes follow.
pub fn opus(data: &[u8]) {
    let Some((&first, data)) = data.split_first() else { return };
    let channels = if first & 1 == 0 { Channels::Mono } else { Channels::Stereo };
    for codec in Codec::ALL {
        let decoder = Decoder::with_codec(*codec, channels).unwrap();
        steps(decoder, data);
    }
}

fn steps(mut decoder: Decoder, mut data: &[u8]) {
    let channels = decoder.channels().count();
    let mut out = vec![0.0; Decoder::MAX_SAMPLES * channels];
    while let [what, length, rest @ ..] = data {
        // With the highest bit the length has a byte more.
        let (length, rest) = match rest {
            [more, rest @ ..] if what & 0x80 != 0 => (usize::from(*length) << 3 | usize::from(*more & 7), rest),
            _ => (usize::from(*length), rest),
        };
        let (bytes, after) = rest.split_at(length.min(rest.len()));
        match what & 7 {
            step @ 0..=5 => {
                data = after;
                let Ok(packet) = OpusPacket::parse(bytes) else { continue };
                if step >= 4 {
                    let gap = 120 * (1 + usize::from(what >> 3 & 15) * 3) * channels;
                    sound(decoder.recover(packet, &mut out[..gap]).is_ok(), "restored", &out[..gap]);
                }
                if step < 5 && packet != OpusPacket::NOTHING {
                    let samples = decoder.decode(packet, &mut out);
                    assert!(samples.as_ref().map_or(true, |&samples| samples == packet.samples()));
                    sound(samples.is_ok(), "decoded", &out[..packet.samples() * channels]);
                }
            }
            6 => {
                data = rest;
                let gap = 120 * (1 + length % 48) * channels;
                assert!(decoder.conceal(&mut out[..gap]).is_ok());
                sound(true, "concealed", &out[..gap]);
            }
            _ => {
                data = rest;
                if length & 3 == 0 {
                    decoder.reset().unwrap();
                }
            }
        }
    }
}

fn sound(done: bool, what: &'static str, samples: &[f32]) {
    assert!(samples.iter().all(|sample| sample.abs() <= 4.0));
    if done {
        reach(what);
    }
}
