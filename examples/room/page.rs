//! The evening on one page: what the relay saw above what each ear heard, on one time line.

use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use realfft::RealFftPlanner;
use serde_json::{Value, json};

use crate::account::{Account, Record};

/// Columns of every picture; the page stretches them to its width.
const COLUMNS: usize = 1200;
/// Rows of a spectrogram, of 125 Hz each, so 0 to 8 kHz.
const BINS: usize = 64;
const FFT: usize = 1024;
const TEMPLATE: &str = include_str!("page.html");

/// The page, self-contained but for the recordings that lie beside it.
pub fn render(record: &Record) -> String {
    let spectrum = Spectrum::new();
    let seconds = record.length.as_secs_f64();
    let lanes: Vec<Value> = record
        .lanes
        .iter()
        .map(|lane| {
            json!({
                "name": lane.name,
                "caption": lane.caption,
                "wav": format!("{}.wav", lane.name),
                "opus": format!("{}.opus", lane.name),
                "spans": lane.spans.iter().map(|span| json!({
                    "from": span.from.as_secs_f64(), "to": span.to.as_secs_f64(), "kind": span.kind,
                })).collect::<Vec<_>>(),
                "wave": BASE64.encode(envelope(&lane.pcm)),
                "spectrum": BASE64.encode(spectrum.of(&lane.pcm)),
            })
        })
        .collect();
    let (rows, noise) = relay_picture(record);
    let data = json!({
        "seconds": seconds,
        "columns": COLUMNS,
        "bins": BINS,
        "headline": record.headline,
        "figures": record.figures.iter().map(|(value, what)| json!([value, what])).collect::<Vec<_>>(),
        "epochs": record.epochs.iter().map(|(at, n)| json!([at.as_secs_f64(), n])).collect::<Vec<_>>(),
        "events": record.events.iter().map(|(at, text)| json!([at.as_secs_f64(), text])).collect::<Vec<_>>(),
        "lanes": lanes,
        "relay": { "rows": rows, "picture": BASE64.encode(noise), "lines": record.relay_lines },
        "table": { "head": Account::TABLE_HEAD, "rows": record.table_rows },
        "forgery": {
            "frames": record.forgery.frames.iter().map(|(at, fate)| json!([at.as_secs_f64(), fate])).collect::<Vec<_>>(),
            "states": record.forgery.states.iter().map(|(at, what)| json!([at.as_secs_f64(), what])).collect::<Vec<_>>(),
        },
        "promises": record.promises.iter().map(|p| json!([p.kept, p.text, p.figure])).collect::<Vec<_>>(),
    });
    // `<` is escaped so that no name can end the script element.
    TEMPLATE.replace("/*DATA*/null", &data.to_string().replace('<', "\\u003c"))
}

/// The loudest sample of each column, 0 to 255.
fn envelope(pcm: &[f32]) -> Vec<u8> {
    (0..COLUMNS)
        .map(|column| {
            let peak = column_of(pcm, column).iter().fold(0.0_f32, |peak, sample| peak.max(sample.abs()));
            (peak.min(1.0) * 255.0) as u8
        })
        .collect()
}

/// The samples under one column.
fn column_of(pcm: &[f32], column: usize) -> &[f32] {
    let (from, to) = (column * pcm.len() / COLUMNS, (column + 1) * pcm.len() / COLUMNS);
    &pcm[from..to]
}

/// Each packet as one thin column of its bytes, as grey values: all that a relay could ever draw.
fn relay_picture(record: &Record) -> (usize, Vec<u8>) {
    let rows = record.packets.iter().map(|(_, bytes)| bytes.len()).max().unwrap_or(1);
    let mut picture = vec![0; COLUMNS * rows];
    let span = record.length.max(Duration::from_millis(1)).as_secs_f64();
    for (at, bytes) in &record.packets {
        let column = ((at.as_secs_f64() / span * COLUMNS as f64) as usize).min(COLUMNS - 1);
        for (row, byte) in bytes.iter().enumerate() {
            picture[row * COLUMNS + column] = (*byte).max(1);
        }
    }
    (rows, picture)
}

/// Short-time spectra, loudness in steps of a third of a decibel.
struct Spectrum {
    fft: std::sync::Arc<dyn realfft::RealToComplex<f32>>,
    window: Vec<f32>,
}

impl Spectrum {
    fn new() -> Self {
        let window =
            (0..FFT).map(|i| 0.5 - 0.5 * (std::f32::consts::TAU * i as f32 / FFT as f32).cos()).collect::<Vec<_>>();
        Self { fft: RealFftPlanner::<f32>::new().plan_fft_forward(FFT), window }
    }

    /// `BINS` rows (low frequency first) × `COLUMNS`, row by row: 0 is -75 dB of full scale or less, 255 is +10 dB.
    fn of(&self, pcm: &[f32]) -> Vec<u8> {
        let mut picture = vec![0; BINS * COLUMNS];
        let (mut input, mut output) = (self.fft.make_input_vec(), self.fft.make_output_vec());
        for column in 0..COLUMNS {
            let middle = (2 * column + 1) * pcm.len() / (2 * COLUMNS);
            for (i, (slot, weight)) in input.iter_mut().zip(&self.window).enumerate() {
                *slot = (middle + i).checked_sub(FFT / 2).and_then(|at| pcm.get(at)).unwrap_or(&0.0) * weight;
            }
            self.fft.process(&mut input, &mut output).expect("the buffers are the planner's own");
            for row in 0..BINS {
                // 125 Hz are 2.67 bins of 46.9 Hz.
                let (from, to) = (row * 8 / 3, ((row + 1) * 8 / 3).max(row * 8 / 3 + 1));
                let power =
                    output[from..to].iter().map(realfft::num_complex::Complex::norm_sqr).fold(0.0_f32, f32::max);
                let decibel = 10.0 * (power / (FFT as f32 * FFT as f32 / 16.0) + 1e-12).log10();
                picture[row * COLUMNS + column] = ((decibel + 75.0) * 3.0).clamp(0.0, 255.0) as u8;
            }
        }
        picture
    }
}
