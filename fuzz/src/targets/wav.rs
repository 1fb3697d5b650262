//! WAV files: what a user opens, whoever made it.

use parlor::sound::{
    SAMPLE_RATE,
    wav::{MAX_SAMPLES, from_bytes, to_bytes},
};

use super::input::Input;

/// What is read is sound, no longer than the bytes can hold, and comes back once written.
pub fn wav(data: &[u8]) {
    read(data);

    // A header in order, over anything.
    let mut input = Input::new(data);
    let channels = [1, 2, 6, input.byte().into()][input.below(4)];
    let rate = [8_000, 48_000, 44_100, 11_025, 192_000, input.u16().into()][input.below(6)];
    let kinds = [(1, 8), (1, 16), (1, 24), (1, 32), (3, 32), (0xFFFE, 16), (1, 64), (3, 64), (6, 8), (7, 8), (0x11, 4)];
    let (format, bits) = kinds[input.below(kinds.len())];
    let body = input.rest();
    let block = if format == 0x11 { u32::from(channels) * 12 } else { u32::from(channels) * (bits / 8) };
    let mut file = b"RIFF\0\0\0\0WAVEfmt \x10\0\0\0".to_vec();
    file.extend([format as u16, channels].iter().flat_map(|field| field.to_le_bytes()));
    file.extend([rate, block.wrapping_mul(rate)].iter().flat_map(|field| u32::to_le_bytes(*field)));
    file.extend([block as u16, bits as u16].iter().flat_map(|field| field.to_le_bytes()));
    file.extend(b"data");
    file.extend((body.len() as u32).to_le_bytes());
    file.extend(body);
    read(&file);
}

fn read(bytes: &[u8]) {
    let Ok(samples) = from_bytes(bytes) else { return };
    // A sample has at least half a byte, and comes from a rate of 1 kHz or more.
    assert!(!samples.is_empty() && samples.len() <= bytes.len() * 2 * (SAMPLE_RATE as usize / 1_000));
    assert!(samples.iter().all(|sample| sample.is_finite()));
    if samples.len() > MAX_SAMPLES {
        return assert!(to_bytes(&samples).is_err());
    }
    let written = to_bytes(&samples).unwrap();
    let again = from_bytes(&written).unwrap();
    assert_eq!(again.len(), samples.len());
    assert_eq!(to_bytes(&again).unwrap(), written, "sixteen bits do not come back");
}
