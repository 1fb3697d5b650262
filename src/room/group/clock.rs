//! This machine's clock, read in one place.
//!
//! Cards are dated by it as they are made, and held against it once, by whoever admits by them. No member looks at it to
//! follow a commit; but openmls does, for key packages with an MLS lifetime of another implementation's choice.

/// Whole seconds since 1970-01-01 UTC; `None` if it reads a time before.
#[cfg(not(target_arch = "wasm32"))]
pub(super) fn now() -> Option<u64> {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.ok().map(|since| since.as_secs())
}

/// As openmls reads it, which knows how to ask a browser.
#[cfg(target_arch = "wasm32")]
pub(super) fn now() -> Option<u64> {
    Some(openmls::prelude::Lifetime::new(0).not_after())
}

/// How far before 1970 it reads, in seconds.
#[cfg(not(target_arch = "wasm32"))]
pub(super) fn before_1970() -> u64 {
    let until = std::time::UNIX_EPOCH.duration_since(std::time::SystemTime::now());
    until.map_or(0, |until| until.as_secs())
}

#[cfg(target_arch = "wasm32")]
pub(super) fn before_1970() -> u64 {
    0
}
