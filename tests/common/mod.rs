//! What the tests of the media plane share: rooms made of nothing but frame keys.
#![allow(dead_code, unreachable_pub, reason = "each test file uses its own part")]

use std::time::Duration;

use parlor::{
    EpochKeys, KeyIdLayout, LeafIndex, MemberId, Suite, Voice,
    media::{Backend, OffStage, Quiet, Speaker},
};
use zeroize::Zeroizing;

/// A room as the control plane would see it: everybody in it gets the same keys.
#[derive(Clone)]
pub struct Room {
    pub secret: u8,
    pub suite: Suite,
    pub backend: Backend,
    pub layout: KeyIdLayout,
    pub epoch: u64,
    pub stage: Vec<u32>,
    pub since: Duration,
}

impl Room {
    /// A room of the default suite in its first epoch, with these leaves on stage.
    pub fn new(stage: &[u32]) -> Self {
        Self {
            secret: 1,
            suite: Suite::default(),
            backend: Backend::default(),
            layout: KeyIdLayout::default(),
            epoch: 0,
            stage: stage.to_vec(),
            since: Duration::ZERO,
        }
    }

    /// Every suite by every backend, the same otherwise.
    pub fn each_kind(stage: &[u32]) -> Vec<Self> {
        let mut kinds = Vec::new();
        for suite in Suite::ALL {
            for backend in Backend::ALL {
                kinds.push(Self { suite, backend: *backend, ..Self::new(stage) });
            }
        }
        kinds
    }

    pub fn base_key(&self) -> Vec<u8> {
        let mut key = vec![self.secret; self.suite.key_len()];
        key[..8].copy_from_slice(&self.epoch.to_be_bytes());
        key
    }

    pub fn keys(&self, me: u32) -> EpochKeys {
        let stage = self.stage.iter().map(|leaf| Speaker { leaf: LeafIndex(*leaf), id: id(*leaf) }).collect();
        let base_key = Zeroizing::new(self.base_key());
        EpochKeys::new(self.suite, self.layout, self.epoch, base_key, LeafIndex(me), stage, self.since)
            .and_then(|keys| keys.with_backend(self.backend))
            .unwrap()
    }

    pub fn voice(&self, me: u32) -> Voice {
        Voice::new(self.keys(me))
    }

    /// The next epoch, begun at `since`, with these leaves on stage.
    pub fn next(&mut self, since: Duration, stage: &[u32]) {
        self.epoch += 1;
        self.since = since;
        self.stage = stage.to_vec();
    }
}

/// Who stands at a leaf.
pub fn id(leaf: u32) -> MemberId {
    let mut bytes = [9; 32];
    bytes[..4].copy_from_slice(&leaf.to_be_bytes());
    MemberId::from_bytes(bytes)
}

/// Who is at a leaf off stage.
pub fn quiet(leaf: u32, why: OffStage) -> Quiet {
    Quiet { leaf: LeafIndex(leaf), id: id(leaf), why }
}

pub fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}
