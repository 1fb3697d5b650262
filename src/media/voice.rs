//! The voice of one member: seals what they say, opens what they hear.

use std::time::Duration;

use crate::{
    error::{Error, Result},
    identity::MemberId,
    media::EpochKeys,
};

/// What a voice keeps of the past and the future, at most.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Limits {}

/// An opened frame: authenticated sound from somebody on stage.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Heard<F> {
    /// Who sealed it.
    pub speaker: MemberId,
    /// In which epoch.
    pub epoch: u64,
    /// Its counter in that epoch.
    pub counter: u64,
    /// The bytes that were sealed.
    pub frame: F,
}

/// Seals and opens the frames of one member in one room.
#[derive(Debug)]
pub struct Voice {}

impl Voice {
    /// A voice that speaks and listens with `keys`.
    pub fn new(_keys: EpochKeys) -> Self {
        Self {}
    }
    /// Goes on under the next epoch's keys.
    pub fn rekey(&mut self, _keys: EpochKeys) {}
    /// Seals.
    pub fn seal(&mut self, _frame: &[u8]) -> Result<Vec<u8>> {
        Err(Error::Randomness)
    }
    /// Opens.
    pub fn open(&mut self, _packet: &[u8], _now: Duration) -> Result<Heard<Vec<u8>>> {
        Err(Error::Randomness)
    }
}
