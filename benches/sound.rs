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
    Heard, MemberId,
    frame::{MediaTime, VoiceFrame},
    sound::{Codec, Decoder, Ear, EarSettings, Encoder, Encoding, FRAME_TIME, SILENCE, Samples, mixer, wav},
};

/// Speakers in the path that is mixed from several.
const SPEAKERS: u8 = 4;

fn main() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/speech/flora.wav");
    let speech = wav::read(path).expect("the recording is in the repository");
    let frames: Vec<Samples> = speech.as_chunks().0.to_vec();
    let mut rows: Vec<Row> = Vec::new();
    for encoding in [Encoding::default(), Encoding::default().kilobits(64).expect("within bounds"), Encoding::music()] {
        let size = encoding.payload_len().unwrap_or_default() - 4;
        for codec in Codec::ALL {
            let mut encode = Encode::new(*codec, encoding, &speech);
            rows.push((format!("encode, {size} bytes, {codec:?}"), Box::new(move || encode.step())));
        }
        for codec in Codec::ALL {
            let mut decode = Decode::new(*codec, encoding, &speech);
            rows.push((format!("decode, {size} bytes, {codec:?}"), Box::new(move || decode.step())));
        }
    }
    for (what, way) in [("restore", Way::Recover), ("conceal", Way::Conceal)] {
        for codec in Codec::ALL {
            let mut decode = Decode { way, ..Decode::new(*codec, Encoding::default(), &speech) };
            rows.push((format!("{what} 1 in 4, {codec:?}"), Box::new(move || decode.step())));
        }
    }
    let mut path = WholePath::new(&speech);
    rows.push(("encode, buffer, decode, mix".into(), Box::new(move || path.step())));
    let mut path = Listening::new(SPEAKERS, &speech);
    rows.push((format!("buffer, decode, mix {SPEAKERS} voices"), Box::new(move || path.step())));
    for (what, open, noise) in [("alone", 0, false), ("97 silent", 97, false), ("97 noisy", 97, true)] {
        let mut path = Crowd::new(open, noise, &speech);
        rows.push((format!("an ear, 3 talk, {what}"), Box::new(move || path.step())));
    }
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

/// One pass over half a minute of speech a row, whole, so that easy and hard frames count as they come. The rows of one
/// thing by several codecs are timed in turns, and each but the first is told as a multiple of the first.
fn table(rows: &mut [Row]) {
    println!("\n{:<32} {:>12} {:>14} {:>14} {:>10}", "20 ms of sound", "µs", "of real time", "real time ×", "ratio");
    let what = |name: &str| name.rsplit_once(", ").map_or_else(|| name.to_owned(), |(what, _)| what.to_owned());
    for group in rows.chunk_by_mut(|(a, _), (b, _)| what(a) == what(b)) {
        const ROUNDS: u32 = 30;
        const FRAMES: u32 = 50;
        let mut sums = vec![Duration::ZERO; group.len()];
        for _ in 0..ROUNDS {
            for ((_, step), sum) in group.iter_mut().zip(&mut sums) {
                let start = Instant::now();
                for _ in 0..FRAMES {
                    step();
                }
                *sum += start.elapsed();
            }
        }
        let first = sums[0].as_secs_f64();
        for (i, ((name, _), sum)) in group.iter().zip(&sums).enumerate() {
            let each = *sum / (ROUNDS * FRAMES);
            let share = each.as_secs_f64() / FRAME_TIME.as_secs_f64();
            let ratio = if i == 0 { String::new() } else { format!("{:.2}", sum.as_secs_f64() / first) };
            let micros = each.as_secs_f64() * 1e6;
            println!("{name:<32} {micros:>12.2} {:>12.3} % {:>14.0} {ratio:>10}", 100.0 * share, 1.0 / share);
        }
    }
}

struct Encode {
    encoder: Encoder,
    /// Whole frames of the encoding; in stereo both channels are the same.
    frames: Vec<Vec<f32>>,
    at: usize,
    out: [u8; 512],
}

impl Encode {
    fn new(codec: Codec, encoding: Encoding, speech: &[f32]) -> Self {
        let channels = encoding.channels().count();
        let sound: Vec<f32> = speech.iter().flat_map(|&sample| std::iter::repeat_n(sample, channels)).collect();
        let frames = sound.chunks_exact(encoding.samples()).map(<[f32]>::to_vec).collect();
        Self { encoder: Encoder::with_codec(codec, encoding).expect("a codec"), frames, at: 0, out: [0; 512] }
    }

    fn step(&mut self) {
        self.at = (self.at + 1) % self.frames.len();
        let n = self.encoder.encode(black_box(&self.frames[self.at]), &mut self.out).expect("samples are finite");
        black_box(&self.out[..n]);
    }
}

/// What becomes of each fourth frame.
#[derive(Clone, Copy, PartialEq)]
enum Way {
    Decode,
    Recover,
    Conceal,
}

struct Decode {
    decoder: Decoder,
    payloads: Vec<Vec<u8>>,
    at: usize,
    out: Vec<f32>,
    way: Way,
}

impl Decode {
    fn new(codec: Codec, encoding: Encoding, speech: &[f32]) -> Self {
        // The same packets for every codec.
        let payloads = payloads(encoding, speech);
        let decoder = Decoder::with_codec(codec, encoding.channels()).expect("a codec");
        Self { decoder, payloads, at: 0, out: vec![0.0; encoding.samples()], way: Way::Decode }
    }

    fn step(&mut self) {
        self.at = (self.at + 1) % self.payloads.len();
        let frame = |at: usize| VoiceFrame::parse(black_box(&self.payloads[at])).expect("as encoded").opus;
        let lost = self.at % 4 == 3;
        match self.way {
            Way::Recover if lost => {
                let following = frame((self.at + 1) % self.payloads.len());
                self.decoder.recover(following, &mut self.out).expect("as encoded");
            }
            Way::Conceal if lost => self.decoder.conceal(&mut self.out).expect("whole frames"),
            _ => drop(self.decoder.decode(frame(self.at), &mut self.out).map_err(drop)),
        }
        black_box(&self.out);
    }
}

/// From one microphone to one ear.
struct WholePath {
    encode: Encode,
    ear: Ear,
    tick: u32,
    out: Samples,
}

impl WholePath {
    fn new(speech: &[f32]) -> Self {
        let encode = Encode::new(Codec::default(), Encoding::default(), speech);
        Self { encode, ear: Ear::new(EarSettings::default()), tick: 0, out: SILENCE }
    }

    fn step(&mut self) {
        self.encode.step();
        let payload = &self.encode.out[..64];
        let heard = Heard::unverified(MemberId::from_bytes([1; 32]), 0, self.tick.into(), payload);
        let now = FRAME_TIME * self.tick;
        self.ear.hear(&heard, now).expect("as encoded");
        self.ear.mix(now, &mut self.out);
        black_box(&self.out);
        self.tick += 1;
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
    fn new(speakers: u8, speech: &[f32]) -> Self {
        let payloads = payloads(Encoding::default(), speech);
        Self { payloads, ear: Ear::new(EarSettings::default()), speakers, tick: 0, out: SILENCE }
    }

    fn step(&mut self) {
        let now = FRAME_TIME * self.tick;
        let at = self.tick as usize % self.payloads.len();
        let payload = &self.payloads[at];
        // The recording goes round; its media time goes on.
        let time = MediaTime::from_units(u64::from(self.tick) * 8);
        let frame = VoiceFrame { time, ..VoiceFrame::parse(payload).expect("as encoded") };
        let mut payload = [0; 64];
        frame.write(&mut payload).expect("it is as long as before");
        for speaker in 0..self.speakers {
            let heard = Heard::unverified(MemberId::from_bytes([speaker; 32]), 0, self.tick.into(), &payload);
            self.ear.hear(&heard, now).expect("as encoded");
        }
        self.ear.mix(now, &mut self.out);
        black_box(&self.out);
        self.tick += 1;
    }
}

/// One ear, three who talk, and others whose microphones are open.
struct Crowd {
    talk: Vec<Vec<u8>>,
    others: Vec<Vec<u8>>,
    open: u8,
    ear: Ear,
    tick: u32,
    out: Samples,
}

impl Crowd {
    fn new(open: u8, noise: bool, speech: &[f32]) -> Self {
        let mut state = 1_u32;
        let room: Vec<f32> = (0..48_000)
            .map(|_| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                if noise { (state as f32 / u32::MAX as f32 - 0.5) * 0.002 } else { 0.0 }
            })
            .collect();
        let (talk, others) = (payloads(Encoding::default(), speech), payloads(Encoding::default(), &room));
        Self { talk, others, open, ear: Ear::new(EarSettings::default()), tick: 0, out: SILENCE }
    }

    fn step(&mut self) {
        let now = FRAME_TIME * self.tick;
        // Media time goes on while recordings go round. Those who only listen send the same, so that it is made once.
        let timed = |payloads: &[Vec<u8>], at: usize| {
            let frame = VoiceFrame::parse(&payloads[at % payloads.len()]).expect("as encoded");
            let time = MediaTime::from_units(u64::from(self.tick) * 8);
            let mut payload = [0; 64];
            VoiceFrame { time, ..frame }.write(&mut payload).expect("it is as long as before");
            payload
        };
        let at = self.tick as usize;
        let talk = [0, 37, 74].map(|apart| timed(&self.talk, at + apart));
        let other = timed(&self.others, at);
        for who in 0..3 + self.open {
            let payload = talk.get(usize::from(who)).unwrap_or(&other);
            let heard = Heard::unverified(MemberId::from_bytes([who; 32]), 0, self.tick.into(), payload);
            self.ear.hear(&heard, now).expect("as encoded");
        }
        self.ear.mix(now, &mut self.out);
        black_box(&self.out);
        self.tick += 1;
    }
}

fn payloads(encoding: Encoding, speech: &[f32]) -> Vec<Vec<u8>> {
    let mut encode = Encode::new(Codec::default(), encoding, speech);
    let size = encoding.payload_len().unwrap_or_default();
    (0..encode.frames.len())
        .map(|_| {
            encode.step();
            encode.out[..size].to_vec()
        })
        .collect()
}
