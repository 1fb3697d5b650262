//! The insider, who makes packets in anybody's name, and the ear that is attacked, with all that came out of it.

use std::time::Duration;

use parlor::{
    Error, Heard, Voice,
    media::seal::{Finding, Forgery, SealMode, SealRules},
};

use crate::{forger::Forger, sealed::Room};

pub const MICROPHONE: u64 = 0;
pub const SEALS: u64 = 1;

/// Who is impersonated, and who listens. The insider is the third.
pub const ANA: usize = 0;
pub const BEN: usize = 1;

pub fn rules(mode: SealMode, every: u8) -> SealRules {
    let mut rules = SealRules::default();
    (rules.mode, rules.every) = (mode, every);
    rules
}

/// One who makes packets of that stream of Ana's.
pub fn forger(room: &Room, stream: u64, epoch: u64) -> Forger {
    Forger::new(room.suite, &room.base_key(epoch), room.key_id(stream, ANA, epoch))
}

/// A frame that came out.
pub struct Given {
    pub epoch: u64,
    pub counter: u64,
    pub frame: Vec<u8>,
    pub sealed: bool,
    pub at: Duration,
}

/// A voice that listens, and what came of it.
pub struct Ear {
    pub voice: Voice,
    pub given: Vec<Given>,
    pub found: Vec<(Duration, Finding)>,
}

impl Ear {
    pub fn new(voice: Voice) -> Self {
        Self { voice, given: Vec::new(), found: Vec::new() }
    }

    /// A packet comes.
    pub fn take(&mut self, packet: &[u8], now: Duration) -> Result<(), Error> {
        let opened = self.voice.open(packet, now).map(|heard| self.given.push(given(heard, now)));
        if let Err(Error::Seal { .. }) = opened {
            self.unpark(now);
        }
        opened
    }

    pub fn unpark(&mut self, now: Duration) {
        while let Some(heard) = self.voice.unpark(now) {
            self.given.extend(heard.ok().map(|heard| given(heard, now)));
        }
    }

    /// What an app does each tick.
    pub fn poll(&mut self, now: Duration) {
        self.unpark(now);
        self.found.extend(std::iter::from_fn(|| self.voice.next_finding(now)).map(|finding| (now, finding)));
    }

    /// When a frame that was played in Ana's name was flagged.
    pub fn flagged(&self, room: &Room, given: &Given) -> Option<Duration> {
        let covers = |finding: &Finding| match finding {
            Finding::Unverified { speaker, epoch, counters, .. } => {
                (*speaker, *epoch) == (room.id(ANA), given.epoch) && counters.contains(&given.counter)
            }
            Finding::Forgery(Forgery { impersonated, epoch, stream, counters, .. }) => {
                (*impersonated, *epoch, *stream) == (room.id(ANA), given.epoch, MICROPHONE)
                    && counters.contains(&given.counter)
            }
            _ => false,
        };
        self.found.iter().find(|(at, finding)| *at >= given.at && covers(finding)).map(|(at, _)| *at)
    }
}

fn given(heard: Heard<Vec<u8>>, at: Duration) -> Given {
    let Heard { epoch, counter, frame, sealed, .. } = heard;
    Given { epoch, counter, frame, sealed, at }
}
