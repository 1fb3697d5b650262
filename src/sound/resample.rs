//! From a file's rate to 48 kHz, as the samples come: an hour at any rate takes no more memory than an hour at 48 kHz.

use rubato::{Fft, FixedSync, Resampler as _, audioadapter_buffers::direct::InterleavedSlice};

use super::SAMPLE_RATE;
use crate::error::{Error, Result};

/// The lowest rate that is read.
const LOWEST: u32 = 1_000;

/// The highest rate that is read.
const HIGHEST: u32 = 192_000;

/// Input samples that the resampler takes at once, about.
const CHUNK: usize = 1024;

/// Resamples mono sound to 48 kHz.
#[derive(Debug)]
pub(super) struct Resampler {
    rate: u32,
    /// Samples taken.
    taken: u64,
    output: Vec<f32>,
    /// `None` at 48 kHz, where samples pass as they are.
    filter: Option<Filter>,
}

#[derive(Debug)]
struct Filter {
    inner: Fft<f32>,
    /// What waits until a chunk is full.
    input: Vec<f32>,
    chunk: usize,
    /// What a chunk becomes.
    scratch: Vec<f32>,
    /// Of the output, at its front: the filter's delay.
    delay: usize,
}

impl Resampler {
    /// A resampler from `rate`, or `None` if that is outside of 1 to 192 kHz.
    pub(super) fn new(rate: u32) -> Option<Self> {
        if !(LOWEST..=HIGHEST).contains(&rate) {
            return None;
        }
        let filter = if rate == SAMPLE_RATE { None } else { Some(Filter::new(rate)?) };
        Some(Self { rate, taken: 0, output: Vec::new(), filter })
    }

    /// Takes the next sample, or is `None` if the filter fails.
    #[must_use]
    pub(super) fn push(&mut self, sample: f32) -> Option<()> {
        self.taken += 1;
        let Some(filter) = &mut self.filter else {
            self.output.push(sample);
            return Some(());
        };
        filter.input.push(sample);
        if filter.input.len() < filter.chunk { Some(()) } else { filter.run(&mut self.output) }
    }

    /// The samples at 48 kHz that have been taken, rounded up.
    pub(super) fn len(&self) -> usize {
        (self.taken * u64::from(SAMPLE_RATE)).div_ceil(self.rate.into()) as usize
    }

    /// All of it, the filter's delay taken off, or `None` if the filter fails.
    pub(super) fn finish(mut self) -> Option<Vec<f32>> {
        let len = self.len();
        if let (Some(filter), true) = (&mut self.filter, len > 0) {
            while self.output.len() < len + filter.delay {
                filter.input.resize(filter.chunk, 0.0);
                filter.run(&mut self.output)?;
            }
            self.output.drain(..filter.delay);
            self.output.truncate(len);
        }
        Some(self.output)
    }
}

impl Filter {
    fn new(rate: u32) -> Option<Self> {
        // An even number of blocks: the filter's middle, which is taken off as its delay, is then a whole sample.
        let block = rate / gcd(rate, SAMPLE_RATE);
        let chunk = CHUNK.next_multiple_of(2 * block as usize);
        let inner = Fft::<f32>::new(rate as usize, SAMPLE_RATE as usize, chunk, 1, FixedSync::Both).ok()?;
        let (chunk, delay) = (inner.input_frames_next(), inner.output_delay());
        let scratch = vec![0.0; inner.output_frames_max()];
        Some(Self { inner, input: Vec::with_capacity(chunk), chunk, scratch, delay })
    }

    /// Resamples the chunk that waits.
    fn run(&mut self, output: &mut Vec<f32>) -> Option<()> {
        let room = self.scratch.len();
        let input = InterleavedSlice::new(&self.input, 1, self.chunk).ok()?;
        let mut scratch = InterleavedSlice::new_mut(&mut self.scratch, 1, room).ok()?;
        let (_, made) = self.inner.process_into_buffer(&input, &mut scratch, None).ok()?;
        output.extend_from_slice(self.scratch.get(..made)?);
        self.input.clear();
        Some(())
    }
}

/// Resamples mono `samples` from `rate` to 48 kHz. The length comes out as length × 48,000 / `rate`, rounded up,
/// and the first sample stays the first: the filter's delay is taken off.
///
/// # Errors
/// [`Error::Unusable`] if `rate` is outside of 1 to 192 kHz.
pub fn resample(samples: Vec<f32>, rate: u32) -> Result<Vec<f32>> {
    let unusable = |what, why| Error::Unusable { what, why };
    let mut resampler = Resampler::new(rate).ok_or(unusable("sampling rate", "choose 1 to 192 kHz"))?;
    if rate == SAMPLE_RATE {
        return Ok(samples);
    }
    let pushed = samples.into_iter().try_for_each(|sample| resampler.push(sample));
    pushed.and_then(|()| resampler.finish()).ok_or(unusable("samples", "the resampler cannot take them"))
}

const fn gcd(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { gcd(b, a % b) }
}
