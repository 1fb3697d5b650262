//! A search of the process's own memory for many secrets at once, however somebody may have written them down. Linux
//! only.
//!
//! Secrets are kept masked, and their other encodings are made of the masked bytes one at a time, so that the search
//! does not find itself.
#![allow(dead_code, unreachable_pub, reason = "each test file uses its own part")]

use std::{
    collections::{BTreeSet, HashMap},
    fmt,
};

use super::dump::{MASK, RUN, each_chunk};

/// The longest encoding of a run: twelve numbers of three digits, with commas and spaces.
const LONGEST: usize = RUN * 5;

type Head = [u8; 8];

/// What to look for.
#[derive(Default)]
pub struct Hunt {
    names: Vec<String>,
    masked: Vec<Vec<u8>>,
    known: HashMap<Vec<u8>, usize>,
}

/// A secret, or a part of it, in memory.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Found {
    pub name: String,
    pub encoding: &'static str,
    pub at: u64,
    pub map: String,
}

impl fmt::Debug for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}) at {:x} in {}", self.name, self.encoding, self.at, self.map)
    }
}

struct Pattern {
    /// Masked.
    bytes: Vec<u8>,
    secret: usize,
    encoding: &'static str,
}

impl Hunt {
    /// Looks for `secret`, which is called `name` where it is found; the same bytes are looked for once.
    pub fn add(&mut self, name: &str, secret: &[u8]) {
        self.add_masked(name, secret.iter().map(|byte| byte ^ MASK).collect());
    }

    /// Looks for every array of at least 16 numbers in JSON `text`, by the names that `is_secret` accepts.
    pub fn add_arrays(&mut self, prefix: &str, text: &[u8], is_secret: impl Fn(&str) -> bool) {
        let (mut path, mut at): (Vec<String>, usize) = (Vec::new(), 0);
        let mut last = String::new();
        while at < text.len() {
            match text[at] {
                b'"' => {
                    let end = at + 1 + text[at + 1..].iter().position(|byte| *byte == b'"').unwrap();
                    if text.get(end + 1) == Some(&b':') {
                        String::from_utf8_lossy(&text[at + 1..end]).as_ref().clone_into(&mut last);
                    }
                    at = end;
                }
                b'{' => path.push(std::mem::take(&mut last)),
                b'}' => last = path.pop().unwrap_or_default(),
                b'[' if text.get(at + 1).is_some_and(u8::is_ascii_digit) => {
                    let mut masked = Vec::with_capacity(64);
                    let (mut number, mut end) = (0_u32, at + 1);
                    while text[end].is_ascii_digit() || text[end] == b',' {
                        match text[end] {
                            b',' => masked.push(std::mem::take(&mut number) as u8 ^ MASK),
                            digit => number = number * 10 + u32::from(digit - b'0'),
                        }
                        end += 1;
                    }
                    masked.push(number as u8 ^ MASK);
                    let name = format!("{prefix} {}.{last}", path.join("."));
                    if masked.len() >= 16 && text[end] == b']' && is_secret(&name) {
                        self.add_masked(&name, masked);
                    }
                    at = end;
                }
                _ => {}
            }
            at += 1;
        }
    }

    fn add_masked(&mut self, name: &str, masked: Vec<u8>) {
        assert!(masked.len() >= RUN, "{name} turns up by chance");
        if self.known.contains_key(&masked) {
            return;
        }
        let of_its_own = masked.iter().collect::<BTreeSet<_>>().len();
        assert!(of_its_own >= RUN / 2, "{name} is no secret: {of_its_own} values in it");
        self.known.insert(masked.clone(), self.names.len());
        self.names.push(name.to_owned());
        self.masked.push(masked);
    }

    pub fn len(&self) -> usize {
        self.names.len()
    }

    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.names.iter().map(String::as_str)
    }

    /// Whether any of them is in `bytes`, in that encoding.
    pub fn is_in(&self, bytes: &[u8], encoding: &str) -> bool {
        let runs = self.masked.iter().flat_map(|masked| masked.windows(RUN));
        runs.flat_map(encodings).filter(|(name, _)| *name == encoding).any(|(_, run)| {
            bytes.windows(run.len()).any(|window| window.iter().zip(&run).all(|(byte, masked)| byte ^ MASK == *masked))
        })
    }

    /// Where in this process's memory any of them is: heap, stacks, whatever may be written to. Each secret once for
    /// each encoding and mapping.
    pub fn found(&self) -> Vec<Found> {
        let slot = |bytes: &[u8]| {
            let word = u32::from_ne_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
            (word.wrapping_mul(0x9E37_79B1) >> 10) as usize
        };
        let mut begins = vec![false; 1 << 22];
        let mut by_head: HashMap<Head, Vec<Pattern>> = HashMap::new();
        for (secret, masked) in self.masked.iter().enumerate() {
            for run in masked.windows(RUN) {
                for (encoding, bytes) in encodings(run) {
                    begins[slot(&bytes)] = true;
                    let head = *bytes.first_chunk().unwrap();
                    by_head.entry(head).or_default().push(Pattern { bytes, secret, encoding });
                }
            }
        }
        let (mut found, mut seen) = (Vec::new(), BTreeSet::new());
        each_chunk(LONGEST, |chunk, from, map, own| {
            for at in 0..chunk.len().saturating_sub(size_of::<Head>() - 1) {
                let rest = &chunk[at..];
                if !begins[slot(rest)] || own.contains(&(from + at as u64)) {
                    continue;
                }
                for Pattern { bytes, secret, encoding } in
                    by_head.get(rest.first_chunk::<8>().unwrap()).into_iter().flatten()
                {
                    if rest.starts_with(bytes) && seen.insert((*secret, *encoding, map.to_owned())) {
                        let (name, at) = (self.names[*secret].clone(), from + at as u64);
                        found.push(Found { name, encoding, at, map: map.to_owned() });
                    }
                }
            }
        });
        found
    }
}

/// What a run of masked bytes may be written as, masked.
fn encodings(masked: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
    let mut all = vec![("raw", masked.to_vec()), ("reversed", masked.iter().rev().copied().collect())];
    #[allow(clippy::type_complexity, reason = "a byte, and what takes its characters")]
    let written = |write: &dyn Fn(u8, &mut dyn FnMut(u8))| {
        let mut out = Vec::with_capacity(LONGEST);
        for byte in masked {
            write(byte ^ MASK, &mut |character| out.push(character ^ MASK));
        }
        out
    };
    for (name, digits) in [("hex", b"0123456789abcdef"), ("HEX", b"0123456789ABCDEF")] {
        all.push((
            name,
            written(&|byte, out| {
                out(digits[usize::from(byte >> 4)]);
                out(digits[usize::from(byte & 15)]);
            }),
        ));
    }
    for (name, between) in [("a JSON array", b",".as_slice()), ("a list", b", ")] {
        let mut numbers = written(&|byte, out| {
            if byte >= 100 {
                out(b'0' + byte / 100);
            }
            if byte >= 10 {
                out(b'0' + byte / 10 % 10);
            }
            out(b'0' + byte % 10);
            between.iter().for_each(|character| out(*character));
        });
        numbers.truncate(numbers.len() - between.len());
        all.push((name, numbers));
    }
    for (name, last) in [("base64", b"+/"), ("base64 for URLs", b"-_")] {
        all.extend((0..3).map(|before| (name, base64(masked, before, last))));
    }
    all
}

/// The characters, masked, that stand for the run and nothing else in the base64 of something with `before` bytes, or
/// any multiple of three more, before it.
fn base64(masked: &[u8], before: usize, last: &[u8; 2]) -> Vec<u8> {
    let character = |value: u8| match value {
        0..26 => b'A' + value,
        26..52 => b'a' + value - 26,
        52..62 => b'0' + value - 52,
        _ => last[usize::from(value - 62)],
    };
    let bit = |at: usize| ((masked[at / 8] ^ MASK) >> (7 - at % 8)) & 1;
    let (first, end) = ((before * 8).div_ceil(6), (before + masked.len()) * 8 / 6);
    let value = |at: usize| (0..6).fold(0, |value, n| (value << 1) | bit(at * 6 + n - before * 8));
    (first..end).map(|at| character(value(at)) ^ MASK).collect()
}
