//! After an allowed commit a fresh guest enters and hears.

use std::sync::OnceLock;

use parlor::vault::MemoryVault;

use crate::{
    model::{Held, Rule, broken},
    party::visit::{may_admit, visit},
    script::Plant,
    world::{End, Seat, World, identity, identity_of},
};

/// Into one of how many epochs a guest comes, unless `PARLOR_GUESTS=all` says that one comes into each.
const ONE_IN: usize = 6;

/// Whether a guest is to come into that epoch.
fn is_due(epoch: usize) -> bool {
    static ALL: OnceLock<bool> = OnceLock::new();
    let all = *ALL.get_or_init(|| std::env::var("PARLOR_GUESTS").is_ok_and(|guests| guests == "all"));
    all || epoch.is_multiple_of(ONE_IN)
}

impl World {
    /// A member who has come into an epoch lets a fresh guest in, if nobody has and they may, and takes it back.
    pub fn visit(&mut self, who: usize) -> Held {
        let End { name, id, epoch, seat: Seat::In(room, _), dies_at, planted, .. } = &self.ends[who] else {
            return Ok(());
        };
        let (epoch, number) = (*epoch, room.epoch());
        let is_mixed = matches!(planted, Some(Plant::Mixed { .. }));
        if !is_due(epoch) && !is_mixed || self.visited.contains(&epoch) || !may_admit(room) {
            return Ok(());
        }
        let named = if is_mixed { identity(usize::MAX, "zoe") } else { identity_of(name.trim_end_matches('\''), id) };
        let (name, identity) = (name.clone(), named);
        // Nobody dies of a guest.
        let disk = room.vault().clone();
        let lock = || disk.lock().expect("no panic holds it");
        let dies_in = dies_at.map(|at| at.saturating_sub(lock().steps()));
        lock().fail_after(u64::MAX);
        let visited = self.act(who, |room| visit(room, identity));
        if let Some(steps) = dies_in {
            let mut disk = lock();
            disk.fail_after(steps);
            self.ends[who].dies_at = Some(MemoryVault::steps(&disk) + steps);
        }
        match visited {
            Some((Ok(true), _)) => {
                self.visited.insert(epoch);
                self.tally.add("guests who entered and heard");
                Ok(())
            }
            Some((Ok(false), _)) => Ok(()),
            Some((Err(failed), _)) => broken(Rule::Door, format!("epoch {number}, by {name}: {failed}")),
            None => Ok(()),
        }
    }

    /// Counts the epochs that a guest should have come into, and nobody could let one in.
    pub fn count_guests(&mut self) {
        let without = (1..self.model.epochs()).filter(|epoch| is_due(*epoch) && !self.visited.contains(epoch)).count();
        (0..without).for_each(|_| self.tally.add("guests whom nobody could let in"));
    }
}
