//! What sound costs: encode, decode, buffer and mix, each as a share of real time.
//!
//! `cargo bench --bench sound` takes under a minute and ends with a table: of the 20 ms that a frame lasts, how
//! much one core is busy with it. Speech is real (`examples/speech/flora.wav`).

use std::{
    hint::black_box,
    path::Path,
    time::{Duration, Instant},
};

use criterion::Criterion;
use parlor::{
    MemberId,
    frame::VoiceFrame,
    sound::{Decoder, Ear, EarSettings, Encoder, Encoding, FRAME_TIME, SILENCE, Samples, mixer, wav},
};

/// Speakers in the path that is mixed from several.
const SPEAKERS: u8 = 4;

fn main() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/speech/flora.wav");
    let speech = wav::read(path).expect("the recording is in the repository");
    let frames: Vec<Samples> = speech.as_chunks().0.to_vec();
    let mut rows: Vec<Row> = Vec::new();
    for encoding in [Encoding::default(), Encoding::default().kilobits(64).expect("within bounds")] {
        let size = encoding.payload_len().unwrap_or_default() - 4;
        let mut encode = Encode::new(encoding, &frames);
        rows.push((format!("encode, {size} bytes"), Box::new(move || encode.step())));
        let mut decode = Decode::new(encoding, &frames);
        rows.push((format!("decode, {size} bytes"), Box::new(move || decode.step())));
    }
    let mut path = WholePath::new(&frames);
    rows.push(("encode, buffer, decode, mix".into(), Box::new(move || path.step())));
    let mut path = Listening::new(SPEAKERS, &frames);
    rows.push((format!("buffer, decode, mix {SPEAKERS} voices"), Box::new(move || path.step())));
    let (mut sum, voice) = (SILENCE, frames.get(100).copied().unwrap_or(SILENCE));
    rows.push((
        "add one voice and clip".into(),
        Box::new(move || {
            mixer::add(&mut sum, &voice, 0.5);
            mixer::soft_clip(black_box(&mut sum));
        }),
    ));

    let mut criterion = Criterion::default()
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2))
        .sample_size(20)
        .configure_from_args();
    let mut group = criterion.benchmark_group("sound");
    for (name, step) in &mut rows {
        group.bench_function(name.as_str(), |bencher| bencher.iter(&mut *step));
    }
    group.finish();
    criterion.final_summary();
    if !std::env::args().any(|arg| arg == "--test" || arg == "--list") {
        table(&mut rows);
    }
}

type Row = (String, Box<dyn FnMut()>);

/// One pass over half a minute of speech a row, whole, so that easy and hard frames count as they come.
fn table(rows: &mut [Row]) {
    println!("\n{:<32} {:>12} {:>14} {:>14}", "20 ms of sound", "µs", "of real time", "real time ×");
    for (name, step) in rows {
        const FRAMES: u32 = 1500;
        let start = Instant::now();
        for _ in 0..FRAMES {
            step();
        }
        let each = start.elapsed() / FRAMES;
        let share = each.as_secs_f64() / FRAME_TIME.as_secs_f64();
        println!("{name:<32} {:>12.2} {:>12.3} % {:>14.0}", each.as_secs_f64() * 1e6, 100.0 * share, 1.0 / share);
    }
}

struct Encode {
    encoder: Encoder,
    frames: Vec<Samples>,
    at: usize,
    out: [u8; 256],
}

impl Encode {
    fn new(encoding: Encoding, frames: &[Samples]) -> Self {
        Self { encoder: Encoder::new(encoding).expect("libopus"), frames: frames.to_vec(), at: 0, out: [0; 256] }
    }

    fn step(&mut self) {
        self.at = (self.at + 1) % self.frames.len();
        let n = self.encoder.encode(black_box(&self.frames[self.at]), &mut self.out).expect("samples are finite");
        black_box(&self.out[..n]);
    }
}

struct Decode {
    decoder: Decoder,
    payloads: Vec<Vec<u8>>,
    at: usize,
    out: Samples,
}

impl Decode {
    fn new(encoding: Encoding, frames: &[Samples]) -> Self {
        let payloads = payloads(encoding, frames);
        Self { decoder: Decoder::new().expect("libopus"), payloads, at: 0, out: SILENCE }
    }

    fn step(&mut self) {
        self.at = (self.at + 1) % self.payloads.len();
        let frame = VoiceFrame::parse(black_box(&self.payloads[self.at])).expect("as encoded");
        self.decoder.decode(frame.opus, &mut self.out).expect("as encoded");
        black_box(&self.out);
    }
}

/// From one microphone to one ear.
struct WholePath {
    encode: Encode,
    ear: Ear,
    now: Duration,
    out: Samples,
}

impl WholePath {
    fn new(frames: &[Samples]) -> Self {
        let encode = Encode::new(Encoding::default(), frames);
        Self { encode, ear: Ear::new(EarSettings::default()), now: Duration::ZERO, out: SILENCE }
    }

    fn step(&mut self) {
        self.encode.step();
        let payload = &self.encode.out[..64];
        self.ear.hear(MemberId::from_bytes([1; 32]), payload, self.now).expect("as encoded");
        self.ear.mix(self.now, &mut self.out);
        black_box(&self.out);
        self.now += FRAME_TIME;
    }
}

/// One ear, several speakers, what they say encoded beforehand.
struct Listening {
    payloads: Vec<Vec<u8>>,
    ear: Ear,
    speakers: u8,
    tick: u32,
    out: Samples,
}

impl Listening {
    fn new(speakers: u8, frames: &[Samples]) -> Self {
        let payloads = payloads(Encoding::default(), frames);
        Self { payloads, ear: Ear::new(EarSettings::default()), speakers, tick: 0, out: SILENCE }
    }

    fn step(&mut self) {
        let now = FRAME_TIME * self.tick;
        let at = self.tick as usize % self.payloads.len();
        let payload = &mut self.payloads[at];
        // The recording goes round; its media time goes on.
        payload[1..4].copy_from_slice(&(self.tick * 8).to_be_bytes()[1..]);
        for speaker in 0..self.speakers {
            self.ear.hear(MemberId::from_bytes([speaker; 32]), payload, now).expect("as encoded");
        }
        self.ear.mix(now, &mut self.out);
        black_box(&self.out);
        self.tick += 1;
    }
}

fn payloads(encoding: Encoding, frames: &[Samples]) -> Vec<Vec<u8>> {
    let mut encode = Encode::new(encoding, frames);
    let size = encoding.payload_len().unwrap_or_default();
    frames
        .iter()
        .map(|_| {
            encode.step();
            encode.out[..size].to_vec()
        })
        .collect()
}
