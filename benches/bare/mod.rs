//! What the benches of frames share: the library crates that frames are sealed with, called directly on a key made
//! beforehand, in place; and how figures and tables are asked for.

use std::time::Duration;

use aes_gcm::{AeadInPlace, Aes128Gcm, Aes256Gcm, KeyInit};
use chacha20poly1305::ChaCha20Poly1305;
use criterion::Criterion;
use parlor::{Suite, media::Backend};

/// A packet's header here: config byte, two bytes of key id, one of counter. What the tag covers beyond the frame.
pub const HEADER: usize = 4;
pub const TAG: usize = 16;

/// Criterion's figures and then the tables, as the command line asks; the tables are told whether they are to be quick.
pub fn run(figures: impl FnOnce(&mut Criterion), tables: impl FnOnce(bool)) {
    let arguments: Vec<String> = std::env::args().collect();
    let has = |flag: &str| arguments.iter().any(|argument| argument == flag);
    let filtered = arguments.iter().skip(1).any(|argument| !argument.starts_with('-'));
    let quick = has("--quick");
    if !has("--table") {
        let time = if quick { (50, 150) } else { (100, 500) };
        let mut criterion = Criterion::default()
            .warm_up_time(Duration::from_millis(time.0))
            .measurement_time(Duration::from_millis(time.1))
            .sample_size(20)
            .without_plots()
            .configure_from_args();
        figures(&mut criterion);
        criterion.final_summary();
    }
    // `cargo test --benches` and a filter want no table.
    if !has("--test") && !has("--list") && !filtered {
        tables(quick);
    }
}

pub fn median<const N: usize>(rows: &[[f64; N]], of: impl Fn(&[f64; N]) -> f64) -> f64 {
    let mut values: Vec<f64> = rows.iter().map(of).collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

pub fn kinds() -> impl Iterator<Item = (Suite, Backend)> {
    Suite::ALL.into_iter().flat_map(|suite| Backend::ALL.iter().map(move |backend| (suite, *backend)))
}

/// The library crate, called directly.
#[allow(clippy::large_enum_variant, reason = "there is one of it")]
pub enum Bare {
    #[cfg(feature = "ring")]
    Ring(ring::aead::LessSafeKey),
    ChaCha20Poly1305(ChaCha20Poly1305),
    Aes128Gcm(Aes128Gcm),
    Aes256Gcm(Aes256Gcm),
}

impl Bare {
    pub fn new(suite: Suite, backend: Backend) -> Self {
        let key = vec![7; suite.key_len()];
        #[cfg(feature = "ring")]
        if backend == Backend::Ring {
            let algorithm = match suite {
                Suite::Aes128Gcm => &ring::aead::AES_128_GCM,
                Suite::Aes256Gcm => &ring::aead::AES_256_GCM,
                _ => &ring::aead::CHACHA20_POLY1305,
            };
            return Self::Ring(ring::aead::LessSafeKey::new(ring::aead::UnboundKey::new(algorithm, &key).unwrap()));
        }
        let _ = backend;
        match suite {
            Suite::Aes128Gcm => Self::Aes128Gcm(Aes128Gcm::new_from_slice(&key).unwrap()),
            Suite::Aes256Gcm => Self::Aes256Gcm(Aes256Gcm::new_from_slice(&key).unwrap()),
            _ => Self::ChaCha20Poly1305(ChaCha20Poly1305::new_from_slice(&key).unwrap()),
        }
    }

    #[inline(always)]
    pub fn seal(&self, nonce: u64, buffer: &mut [u8]) {
        let nonce = wide(nonce);
        let (aad, body) = buffer.split_at_mut(HEADER);
        let (text, tag) = body.split_last_chunk_mut::<TAG>().unwrap();
        match self {
            #[cfg(feature = "ring")]
            Self::Ring(key) => {
                let nonce = ring::aead::Nonce::assume_unique_for_key(nonce);
                let made = key.seal_in_place_separate_tag(nonce, ring::aead::Aad::from(aad), text).unwrap();
                tag.copy_from_slice(made.as_ref());
            }
            Self::ChaCha20Poly1305(key) => {
                *tag = key.encrypt_in_place_detached(&nonce.into(), aad, text).unwrap().into();
            }
            Self::Aes128Gcm(key) => *tag = key.encrypt_in_place_detached(&nonce.into(), aad, text).unwrap().into(),
            Self::Aes256Gcm(key) => *tag = key.encrypt_in_place_detached(&nonce.into(), aad, text).unwrap().into(),
        }
    }

    #[inline(always)]
    pub fn open(&self, nonce: u64, buffer: &mut [u8]) -> bool {
        let nonce = wide(nonce);
        let (aad, body) = buffer.split_at_mut(HEADER);
        let (text, tag) = body.split_last_chunk_mut::<TAG>().unwrap();
        match self {
            #[cfg(feature = "ring")]
            Self::Ring(key) => {
                let nonce = ring::aead::Nonce::assume_unique_for_key(nonce);
                let aad = ring::aead::Aad::from(aad);
                key.open_in_place_separate_tag(nonce, aad, (*tag).into(), text, 0..).is_ok()
            }
            Self::ChaCha20Poly1305(key) => {
                key.decrypt_in_place_detached(&nonce.into(), aad, text, (&*tag).into()).is_ok()
            }
            Self::Aes128Gcm(key) => key.decrypt_in_place_detached(&nonce.into(), aad, text, (&*tag).into()).is_ok(),
            Self::Aes256Gcm(key) => key.decrypt_in_place_detached(&nonce.into(), aad, text, (&*tag).into()).is_ok(),
        }
    }
}

#[inline(always)]
fn wide(nonce: u64) -> [u8; 12] {
    let mut wide = [0; 12];
    wide[4..].copy_from_slice(&nonce.to_be_bytes());
    wide
}
