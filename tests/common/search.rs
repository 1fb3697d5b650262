//! A search for secrets in bytes, however somebody may have written them down.
#![allow(dead_code, unreachable_pub, reason = "each test file uses its own part")]

use std::{
    collections::{BTreeSet, HashMap},
    fmt,
};

/// Of a longer secret each run of this many bytes is looked for, so that half of it is found too.
pub const RUN: usize = 12;

/// The shortest secret: a shorter one turns up by chance.
const SHORTEST: usize = 6;

type Head = [u8; SHORTEST];

/// What to look for.
#[derive(Default)]
pub struct Search {
    names: Vec<String>,
    by_head: HashMap<Head, BTreeSet<Pattern>>,
}

/// A run of a secret in one encoding.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Pattern {
    bytes: Vec<u8>,
    secret: usize,
    encoding: &'static str,
}

/// A secret that was found.
#[derive(Clone, PartialEq, Eq)]
pub struct Hit {
    pub secret: String,
    pub encoding: &'static str,
    pub at: usize,
}

impl fmt::Debug for Hit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} in {} at byte {}", self.secret, self.encoding, self.at)
    }
}

impl Search {
    /// Looks for `secret`, which the hits call `name`.
    pub fn bytes(&mut self, name: &str, secret: &[u8]) {
        assert!(secret.len() >= SHORTEST, "{name} turns up by chance");
        let at = self.named(name);
        for run in secret.windows(RUN.min(secret.len())) {
            self.add(at, of_bytes(run));
        }
    }

    /// Looks for `text`, as text and as its bytes.
    pub fn text(&mut self, name: &str, text: &str) {
        self.bytes(name, text.as_bytes());
        let at = self.named(name);
        for (from, _) in text.char_indices() {
            let rest = &text[from..];
            let Some(to) = (RUN.min(text.len())..=rest.len()).find(|to| rest.is_char_boundary(*to)) else { break };
            self.add(at, of_text(&rest[..to]));
        }
    }

    /// What of it is in `log`: each secret once for each of its encodings.
    pub fn hits(&self, log: &[u8]) -> Vec<Hit> {
        let mut found = BTreeSet::new();
        let mut hits = Vec::new();
        for at in 0..log.len().saturating_sub(SHORTEST - 1) {
            let (head, rest) = log[at..].split_first_chunk::<SHORTEST>().unwrap();
            for pattern in self.by_head.get(head).into_iter().flatten() {
                if rest.starts_with(&pattern.bytes[SHORTEST..]) && found.insert((pattern.secret, pattern.encoding)) {
                    hits.push(Hit { secret: self.names[pattern.secret].clone(), encoding: pattern.encoding, at });
                }
            }
        }
        hits
    }

    /// How many runs are looked for.
    pub fn patterns(&self) -> usize {
        self.by_head.values().map(BTreeSet::len).sum()
    }

    fn named(&mut self, name: &str) -> usize {
        self.names.iter().position(|known| known == name).unwrap_or_else(|| {
            self.names.push(name.to_owned());
            self.names.len() - 1
        })
    }

    fn add(&mut self, secret: usize, patterns: Vec<(&'static str, Vec<u8>)>) {
        for (encoding, bytes) in patterns {
            let head = *bytes.first_chunk().unwrap();
            self.by_head.entry(head).or_default().insert(Pattern { bytes, secret, encoding });
        }
    }
}

fn of_bytes(run: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
    let each = |write: fn(&u8) -> String, between: &str| -> Vec<u8> {
        run.iter().map(write).collect::<Vec<_>>().join(between).into_bytes()
    };
    let mut patterns = vec![
        ("raw", run.to_vec()),
        ("raw, backwards", run.iter().rev().copied().collect()),
        ("hex", each(|byte| format!("{byte:02x}"), "")),
        ("HEX", each(|byte| format!("{byte:02X}"), "")),
        ("hex with colons", each(|byte| format!("{byte:02x}"), ":")),
        ("hex with spaces", each(|byte| format!("{byte:02x}"), " ")),
        ("a JSON array", each(u8::to_string, ",")),
        ("a list", each(u8::to_string, ", ")),
        ("percent encoding", each(|byte| format!("%{byte:02X}"), "")),
        ("percent encoding in lower case", each(|byte| format!("%{byte:02x}"), "")),
    ];
    for (name, last) in [("base64", b"+/"), ("base64 for URLs", b"-_")] {
        patterns.extend((0..3).map(|before| (name, base64(run, before, last))));
    }
    patterns
}

fn of_text(run: &str) -> Vec<(&'static str, Vec<u8>)> {
    let (mut lower, mut upper): (Vec<u8>, Vec<u8>) = (Vec::new(), Vec::new());
    for unit in run.encode_utf16() {
        lower.extend(unit.to_le_bytes());
        upper.extend(unit.to_be_bytes());
    }
    let escape = |keep: fn(char) -> bool| -> String {
        let mut buffer = [0; 2];
        let escaped = |c: char, buffer: &mut [u16; 2]| -> String {
            if keep(c) {
                return c.to_string();
            }
            c.encode_utf16(buffer).iter().map(|unit| format!("\\u{unit:04x}")).collect()
        };
        run.chars().map(|c| escaped(c, &mut buffer)).collect()
    };
    let in_json = serde_json::to_string(run).unwrap();
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.~".contains(c);
    let percent: String = run
        .chars()
        .map(|c| match plain(c) {
            true => c.to_string(),
            false => c.to_string().bytes().map(|byte| format!("%{byte:02X}")).collect(),
        })
        .collect();
    vec![
        ("UTF-16", lower),
        ("UTF-16 of big-endian", upper),
        ("lower case", run.to_lowercase().into()),
        ("upper case", run.to_uppercase().into()),
        ("JSON", in_json.trim_matches('"').into()),
        ("JSON in ASCII", escape(|c| c.is_ascii() && c != '"' && c != '\\').into()),
        ("JSON of nothing but escapes", escape(|_| false).into()),
        ("percent encoding where need be", percent.clone().into()),
        ("a form", percent.replace("%20", "+").into()),
    ]
}

/// The characters that stand for `run` and nothing else in the base64 of something with `before` bytes, or any
/// multiple of three more, before it.
fn base64(run: &[u8], before: usize, last: &[u8; 2]) -> Vec<u8> {
    let character = |value: u8| match value {
        0..26 => b'A' + value,
        26..52 => b'a' + value - 26,
        52..62 => b'0' + value - 52,
        _ => last[usize::from(value - 62)],
    };
    let bit = |at: usize| at.checked_sub(before * 8).and_then(|at| Some((run.get(at / 8)? >> (7 - at % 8)) & 1));
    let first = (before * 8).div_ceil(6);
    let end = (before + run.len()) * 8 / 6;
    (first..end).map(|at| character((0..6).fold(0, |value, n| (value << 1) | bit(at * 6 + n).unwrap()))).collect()
}
