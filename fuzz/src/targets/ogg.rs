//! Ogg Opus files: what a user opens, whoever made it; and packets of others, written as they came.

use std::time::Duration;

use parlor::sound::{
    ogg::{Head, Writer, from_bytes},
    wav::MAX_SAMPLES,
};

use super::{input::Input, reach};

/// What is read is sound, of an hour at most; what is written plays for exactly as long as it says.
pub fn ogg(data: &[u8]) {
    if let Ok(samples) = from_bytes(data) {
        reach("read");
        assert!(!samples.is_empty() && samples.len() <= MAX_SAMPLES);
        assert!(samples.iter().all(|sample| sample.is_finite()));
    }

    let mut input = Input::new(data);
    let head = Head::default().skipping(input.number() as u16).serial(input.byte().into());
    let mut writer = Writer::new(Vec::new(), if input.flag() { head.stereo() } else { head }).unwrap();
    for _ in 0..32 {
        let before = writer.samples();
        match input.below(8) {
            0 => drop(writer.lost(Duration::from_micros(u64::from(input.byte()) * 1_250))),
            _ if writer.packet(input.run()).is_err() => assert_eq!(writer.samples(), before),
            _ => {}
        }
    }
    let samples = writer.samples();
    let end = samples.saturating_sub(input.number());
    let Ok(file) = writer.finish_at(end) else { return };
    reach("written");
    match from_bytes(&file) {
        Ok(sound) => assert_eq!(sound.len() as u64, end),
        Err(error) => assert!(end == 0, "{end} samples: {error}"),
    }
}
