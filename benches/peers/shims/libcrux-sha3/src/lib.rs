//! libcrux-sha3 0.0.10 under the number 0.0.8: see `../README.md`.

pub use newer::*;
