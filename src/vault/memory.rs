//! A vault in memory, for tests: it can be copied as a disk can, and fails at whichever step a test asks for.

use std::{fmt, io, path::PathBuf};

use super::{End, Vault};
use crate::error::{Error, Result};

/// A [`Vault`] in memory, for tests: it outlives nothing.
///
/// A clone is a copy of the disk, as a process that starts next finds it: the bytes, and no fault. So a test keeps an
/// old backup, and so it goes on after a crash.
///
/// Each write takes steps, and the vault can be told to fail after any number of them:
///
/// | call | steps |
/// |---|---|
/// | [`store`](Vault::store) | all is replaced; the call returns |
/// | [`append`](Vault::append) | half of the bytes are there; all are; the call returns |
/// | [`erase`](Vault::erase) | all is gone; the call returns |
///
/// To visit every point at which a program can be cut off, run it once and count them:
///
/// ```
/// use parlor::vault::{MemoryVault, Vault};
/// fn program(vault: &mut MemoryVault) -> parlor::Result<()> {
///     vault.store(b"whole")?;
///     vault.append(b", more")
/// }
/// let mut vault = MemoryVault::new();
/// program(&mut vault)?;
/// for steps in 0..vault.steps() {
///     let mut vault = MemoryVault::failing_after(steps);
///     assert!(program(&mut vault).is_err());
///     let left = vault.clone().load()?.unwrap_or_default();
///     assert!(b"whole, more".starts_with(&left));
/// }
/// # Ok::<(), parlor::Error>(())
/// ```
#[derive(Default)]
pub struct MemoryVault {
    bytes: Option<Vec<u8>>,
    end: End,
    steps: u64,
    fault: Option<Fault>,
}

/// The vault fails at the step after `at`, counted from the vault's first.
#[derive(Clone, Copy, Debug)]
struct Fault {
    at: u64,
    /// Whether it works again after that.
    once: bool,
}

impl MemoryVault {
    /// An empty one that never fails.
    pub const fn new() -> Self {
        Self { bytes: None, end: End(None), steps: 0, fault: None }
    }

    /// An empty one that is cut off after `steps` steps, as by a crash: every call then fails, [`load`](Vault::load) as
    /// well. What is left is in a [`clone`](Clone::clone).
    pub fn failing_after(steps: u64) -> Self {
        Self { fault: Some(Fault { at: steps, once: false }), ..Self::new() }
    }

    /// One that holds `bytes`, whole or not.
    pub fn holding(bytes: Vec<u8>) -> Self {
        Self { bytes: Some(bytes), ..Self::new() }
    }

    /// From now on it is cut off after `steps` more steps, as by a crash: every call then fails.
    pub const fn fail_after(&mut self, steps: u64) {
        self.fault = Some(Fault { at: self.steps.saturating_add(steps), once: false });
    }

    /// After `steps` more steps one call fails, as on a full disk; later ones do not.
    pub const fn fail_once_after(&mut self, steps: u64) {
        self.fault = Some(Fault { at: self.steps.saturating_add(steps), once: true });
    }

    /// How many steps the calls so far have taken.
    pub const fn steps(&self) -> u64 {
        self.steps
    }

    /// What it holds, also after it was cut off.
    pub fn bytes(&self) -> Option<&[u8]> {
        self.bytes.as_deref()
    }

    /// Takes a step, unless it is the one to fail at.
    fn step(&mut self) -> Result<()> {
        self.check()?;
        self.steps += 1;
        Ok(())
    }

    fn check(&mut self) -> Result<()> {
        match self.fault {
            Some(Fault { at, once }) if self.steps >= at => {
                if once {
                    self.fault = None;
                }
                Err(Error::File { path: PathBuf::from("memory"), source: io::Error::other("failing, as asked to") })
            }
            _ => Ok(()),
        }
    }
}

impl Clone for MemoryVault {
    fn clone(&self) -> Self {
        Self { bytes: self.bytes.clone(), ..Self::new() }
    }
}

impl Vault for MemoryVault {
    fn store(&mut self, whole: &[u8]) -> Result<()> {
        self.end.store(whole)?;
        self.step()?;
        self.bytes = Some(whole.to_vec());
        self.step()?;
        self.end.is(whole.len());
        Ok(())
    }

    fn append(&mut self, increment: &[u8]) -> Result<()> {
        let (start, end) = self.end.append(increment)?;
        let half = increment.len() / 2;
        for part in [increment.get(..half), increment.get(half..)] {
            self.step()?;
            self.bytes.get_or_insert_default().extend_from_slice(part.unwrap_or_default());
        }
        self.step()?;
        debug_assert_eq!(end - start, increment.len());
        self.end.is(end);
        Ok(())
    }

    fn load(&mut self) -> Result<Option<Vec<u8>>> {
        // Takes no step: it may fail, but leaves nothing half done.
        if self.fault.is_some_and(|fault| !fault.once) {
            self.check()?;
        }
        Ok(self.bytes.clone())
    }

    fn erase(&mut self) -> Result<()> {
        self.end = End::default();
        self.step()?;
        self.bytes = None;
        self.step()
    }
}

impl fmt::Debug for MemoryVault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryVault")
            .field("bytes", &self.bytes.as_ref().map(Vec::len))
            .field("steps", &self.steps)
            .field("fault", &self.fault)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_stops_within_a_write_at_every_step() {
        let left = |steps| {
            let mut vault = MemoryVault::failing_after(steps);
            let done = [vault.store(b"old"), vault.store(b"whole"), vault.append(b"more"), vault.erase()];
            let done = done.iter().filter(|done| done.is_ok()).count();
            assert!(steps == 9 || vault.load().is_err());
            (done, vault.bytes().map(|bytes| String::from_utf8(bytes.to_vec()).unwrap()))
        };
        let expected = [
            (0, None),
            (0, Some("old")),
            (1, Some("old")),
            (1, Some("whole")),
            (2, Some("whole")),
            (2, Some("wholemo")),
            (2, Some("wholemore")),
            (3, Some("wholemore")),
            (3, None),
        ];
        for (steps, (done, bytes)) in (0..).zip(expected) {
            assert_eq!(left(steps), (done, bytes.map(str::to_owned)), "after {steps} steps");
        }
    }

    #[test]
    fn after_a_failed_write_and_when_just_opened_it_takes_a_whole_first() {
        let store_first = |vault: &mut MemoryVault| {
            assert!(matches!(vault.append(b"more"), Err(Error::Unusable { what: "append", .. })));
        };
        for failing in 0..3 {
            let mut vault = MemoryVault::new();
            store_first(&mut vault);
            vault.store(b"whole").unwrap();
            vault.append(b"1").unwrap();
            store_first(&mut vault.clone());
            vault.fail_once_after(failing);
            assert!(matches!(vault.append(b"22"), Err(Error::File { .. })));
            let torn = vault.load().unwrap().unwrap();
            assert_eq!(torn, b"whole122"[..6 + failing as usize]);
            store_first(&mut vault);
            assert_eq!(vault.bytes().unwrap(), torn);
            vault.store(b"another").unwrap();
            vault.append(b"!").unwrap();
            assert_eq!(vault.load().unwrap().unwrap(), b"another!");
            vault.fail_once_after(1);
            assert!(vault.store(b"unsure").is_err());
            store_first(&mut vault);
            vault.store(b"sure").unwrap();
            vault.erase().unwrap();
            assert_eq!(vault.load().unwrap(), None);
            store_first(&mut vault);
        }
    }

    #[test]
    fn it_works_through_whatever_holds_it() {
        fn keeps(mut vault: impl Vault) {
            vault.store(b"a").unwrap();
            vault.append(b"b").unwrap();
            assert_eq!(vault.load().unwrap().unwrap(), b"ab");
        }
        let mut vault = MemoryVault::new();
        keeps(&mut vault);
        keeps(Box::new(vault) as Box<dyn Vault + Send>);
        let shared = std::sync::Arc::new(std::sync::Mutex::new(MemoryVault::holding(b"x".to_vec())));
        keeps(shared.clone());
        assert_eq!(shared.lock().unwrap().bytes().unwrap(), b"ab");
        shared.lock().unwrap().fail_after(0);
        let mut shared = shared;
        assert!(shared.erase().is_err());
    }
}
