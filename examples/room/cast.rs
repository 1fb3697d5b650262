//! Who comes, what they do when, and what they say.

use std::path::Path;

use parlor::{
    Intent, Role,
    sound::{SAMPLE_RATE, recording},
};

pub const ANA: usize = 0;
pub const CARLO: usize = 1;
pub const MAXIM: usize = 2;
pub const BEN: usize = 3;
pub const NILS: usize = 4;
pub const DORA: usize = 5;
pub const EMIL: usize = 6;
pub const EVE: usize = 7;

/// Everybody's name, and what they are here for.
pub const CAST: [(&str, &str); 8] = [
    ("ana", "the host; reads Austen"),
    ("carlo", "speaks Italian; removed in mid-sentence"),
    ("maxim", "comes to listen, is called on stage, speaks Russian"),
    ("ben", "listens from the start; leaves"),
    ("nils", "listens; patches his client to speak, then forges ana"),
    ("dora", "comes during the evening"),
    ("emil", "comes late; had recorded everything before"),
    ("eve", "an outsider with the relay's tap"),
];

/// How long the evening is, in seconds.
pub const SECONDS: u64 = 52;

/// How long the patched client of nils transmits, in seconds.
pub const PATCHED_FOR: u64 = 12;

/// How long nils speaks in the name of ana, in seconds: over her words, and on while she is silent.
pub const FORGES_FOR: f64 = 3.5;

/// Something that somebody does.
#[derive(Debug)]
pub enum Act {
    /// Somebody wants the room to change.
    Wish(usize, Wish),
    /// Somebody asks to be let out.
    Leave(usize),
    /// nils patches his client.
    Patch,
    /// nils begins to speak in the name of ana.
    Forge,
}

/// A change of the room that somebody wants. It waits until no other commit of theirs is on its way.
#[derive(Debug)]
pub enum Wish {
    Admit(Vec<(usize, Role)>),
    SetRole(usize, Role),
    Remove(usize),
    Refresh,
    /// What lost a race, to be worked out again.
    Again(Intent),
}

/// What happens when, in seconds.
pub fn programme() -> Vec<(f64, Act)> {
    vec![
        (0.0, Act::Wish(ANA, Wish::Admit(vec![(CARLO, Role::Speaker), (BEN, Role::Listener), (NILS, Role::Listener)]))),
        (10.0, Act::Wish(ANA, Wish::Admit(vec![(MAXIM, Role::Listener), (DORA, Role::Listener)]))),
        (16.0, Act::Wish(ANA, Wish::SetRole(MAXIM, Role::Speaker))),
        (18.0, Act::Patch),
        (23.0, Act::Wish(ANA, Wish::Remove(CARLO))),
        (26.0, Act::Leave(BEN)),
        // Two commits for one epoch: the relay's order decides, the loser tries again.
        (33.0, Act::Wish(DORA, Wish::Refresh)),
        (33.0, Act::Wish(ANA, Wish::Refresh)),
        (34.0, Act::Forge),
        (38.0, Act::Wish(ANA, Wish::Admit(vec![(EMIL, Role::Listener)]))),
    ]
}

/// What each microphone picks up in the whole evening, at 48 kHz; nothing at all for who has none. `speech` is the
/// folder of the recordings, `wav` one of the user's own in the place of maxim's.
pub fn microphones(speech: &Path, wav: Option<&Path>) -> parlor::Result<Vec<Vec<f32>>> {
    let his = wav.map_or_else(|| speech.join("topal.wav"), Path::to_owned);
    let said = [
        (ANA, 1.0, speech.join("austen-1.wav")),
        (CARLO, 7.2, speech.join("flora.wav")),
        (ANA, 12.0, speech.join("austen-2.wav")),
        (NILS, 18.0, speech.join("austen-1.wav")),
        (MAXIM, 19.0, his),
        (ANA, 31.0, speech.join("austen-3.wav")),
        (NILS, 34.0, speech.join("austen-2.wav")),
        (ANA, 39.0, speech.join("austen-4.wav")),
        (ANA, 46.5, speech.join("austen-5.wav")),
    ];
    let mut tracks = vec![Vec::new(); CAST.len()];
    for (who, at, file) in said {
        let track: &mut Vec<f32> = &mut tracks[who];
        track.resize((SECONDS * u64::from(SAMPLE_RATE)) as usize, 0.0);
        let from = (at * f64::from(SAMPLE_RATE)) as usize;
        for (slot, sample) in track.iter_mut().skip(from).zip(recording::read(file)?) {
            *slot += sample;
        }
    }
    Ok(tracks)
}
