//! A dump of the process's own memory, searched for what should be gone from it. Linux only.
#![allow(dead_code, unreachable_pub, reason = "each test file uses its own part")]

use std::{
    collections::{HashMap, HashSet},
    fmt,
    fs::{self, File},
    ops::Range,
    os::unix::fs::FileExt as _,
    sync::{Mutex, MutexGuard, PoisonError},
};

use zeroize::{Zeroize as _, Zeroizing};

/// Half a secret is found as well: each run of this many bytes is looked for.
pub const RUN: usize = 12;

pub const MASK: u8 = 0xA5;

/// One dump at a time, and nobody else at work: a dump copies what it reads.
pub fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Something to look for, kept masked, so that the search does not find itself.
pub struct Needle {
    masked: Vec<u8>,
}

/// Bytes of a secret, with the line of `/proc/self/maps` that they are in.
#[derive(PartialEq, Eq)]
pub struct Place {
    pub from: u64,
    pub to: u64,
    map: String,
}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes at {:x} in {}", self.to - self.from, self.from, self.map)
    }
}

impl Needle {
    pub fn of(secret: &[u8]) -> Self {
        assert!(secret.len() >= RUN);
        Self { masked: secret.iter().map(|byte| byte ^ MASK).collect() }
    }

    /// Random small letters, which are nowhere else.
    pub fn random(len: usize) -> Self {
        let mut random = vec![0_u8; len];
        File::open("/dev/urandom").unwrap().read_exact_at(&mut random, 0).unwrap();
        Self { masked: random.iter().map(|byte| (b'a' + byte % 26) ^ MASK).collect() }
    }

    /// The secret as text, after `before` letters and before `after`; it is wiped when dropped.
    pub fn text(&self, before: usize, after: usize) -> Zeroizing<String> {
        let mut text = Zeroizing::new(String::with_capacity(before + self.masked.len() + after));
        (0..before).for_each(|_| text.push('.'));
        self.masked.iter().for_each(|byte| text.push(char::from(byte ^ MASK)));
        (0..after).for_each(|_| text.push('.'));
        text
    }

    /// Whether it is part of `text`.
    pub fn is_in(&self, text: &str) -> bool {
        text.as_bytes()
            .windows(self.masked.len())
            .any(|window| window.iter().zip(&self.masked).all(|(byte, masked)| byte ^ MASK == *masked))
    }

    /// Where in this process's memory the secret is, or a part of it: heap, stacks, whatever may be written to.
    pub fn found(&self) -> Vec<Place> {
        const OVERLAP: usize = RUN - 1;
        let first = |run: &[u8]| u16::from_ne_bytes([run[0], run[1]]);
        let mut begins = vec![false; 1 << 16];
        let mut runs: HashMap<u16, HashSet<&[u8]>> = HashMap::new();
        for run in self.masked.windows(RUN) {
            begins[usize::from(first(run))] = true;
            runs.entry(first(run)).or_default().insert(run);
        }
        let mut found: Vec<Place> = Vec::new();
        each_chunk(OVERLAP, |chunk, from, map, own| {
            for (at, run) in chunk.windows(RUN).enumerate() {
                let address = from + at as u64;
                if begins[usize::from(first(run))] && runs[&first(run)].contains(run) && !own.contains(&address) {
                    match found.last_mut().filter(|last| (last.from..=last.to - OVERLAP as u64).contains(&address)) {
                        Some(last) => last.to = address + RUN as u64,
                        None => found.push(Place { from: address, to: address + RUN as u64, map: map.to_owned() }),
                    }
                }
            }
        });
        found
    }
}

/// Goes through all of this process's memory that may be written to: heap, stacks and the rest. `visit` gets a chunk of
/// it at a time, masked, for whatever a comparison leaves behind, with its address, the line of `/proc/self/maps` that it
/// is in, and where the chunk's own copy lies. Each begins `overlap` bytes before the end of the one before.
pub fn each_chunk(overlap: usize, mut visit: impl FnMut(&[u8], u64, &str, &Range<u64>)) {
    const CHUNK: usize = 1 << 20;
    let memory = File::open("/proc/self/mem").unwrap();
    let mut chunk = vec![0_u8; CHUNK];
    let own = chunk.as_ptr() as u64..chunk.as_ptr() as u64 + CHUNK as u64;
    let mut read = 0;
    for map in fs::read_to_string("/proc/self/maps").unwrap().lines() {
        let (range, rest) = map.split_once(' ').unwrap();
        if !rest.starts_with("rw") {
            continue;
        }
        let (from, to) = range.split_once('-').unwrap();
        let (mut from, to) = (u64::from_str_radix(from, 16).unwrap(), u64::from_str_radix(to, 16).unwrap());
        while from < to {
            let want = CHUNK.min((to - from) as usize);
            // What is gone since the list was made, or is a device's, cannot be read.
            let Ok(got) = memory.read_at(&mut chunk[..want], from) else { break };
            read += got;
            chunk[..got].iter_mut().for_each(|byte| *byte ^= MASK);
            visit(&chunk[..got], from, map, &own);
            if got <= overlap || from + got as u64 >= to {
                break;
            }
            from += (got - overlap) as u64;
        }
    }
    chunk.zeroize();
    assert!(read > 100_000, "the dump has only {read} bytes");
}
