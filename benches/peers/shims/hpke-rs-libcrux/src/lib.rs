//! Empty: see `../README.md`.
