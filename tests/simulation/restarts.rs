//! Disks and processes: what is kept, how a process dies, and what the next one goes on with.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use parlor::{
    Kept, Room,
    vault::{MemoryVault, VaultKey},
};

use crate::{
    model::{Held, Rule, broken},
    world::{End, MOST, Seat, World},
};

pub type Disk = Arc<Mutex<MemoryVault>>;

pub fn disk_key() -> VaultKey {
    VaultKey::from_bytes(&[5; 32])
}

/// The disk as the next process finds it.
fn copy(disk: &Disk) -> MemoryVault {
    disk.lock().expect("no panic holds it").clone()
}

impl World {
    /// Has a member's room do something, and says whether their process died as it stored what came of it: then nobody
    /// may see that, and they are to [`restart`](Self::restart). None if they are not in.
    pub fn act<T>(&mut self, who: usize, act: impl FnOnce(&mut Room) -> T) -> Option<(T, bool)> {
        let Seat::In(room, _) = &mut self.ends[who].seat else { return None };
        match room.act(act) {
            Ok(done) => Some((done, false)),
            Err(unsaved) => {
                self.tally.add("crashes in a call");
                Some((unsaved.output, true))
            }
        }
    }

    pub fn arm(&mut self, who: usize, steps: u8) {
        let End { seat, dies_at, .. } = &mut self.ends[who];
        if let Seat::In(room, _) = seat {
            let mut disk = room.vault().lock().expect("no panic holds it");
            *dies_at = Some(disk.steps() + u64::from(steps));
            disk.fail_after(steps.into());
            drop(disk);
            self.tell_of(who, || format!("will die {steps} steps into what they write"));
        }
    }

    pub fn back_up(&mut self, who: usize) {
        let End { seat: Seat::In(room, _), backups, admitted, .. } = &mut self.ends[who] else { return };
        backups.push((copy(room.vault()), *admitted));
        self.tell_of(who, || "copies their disk".to_owned());
    }

    /// A member's process is dead, and another goes on with what is on the disk. The message it made and never sent is
    /// `made`; the one that it was about to take is `taken`.
    pub fn restart(&mut self, who: usize, made: Option<usize>, taken: Option<usize>) -> Held {
        let Seat::In(room, _) = &self.ends[who].seat else { return Ok(()) };
        let disk = copy(room.vault());
        self.tally.add("processes killed");
        if let Some(made) = made {
            self.relay.incoming.retain(|sent| *sent != made);
        }
        self.go_on(who, disk, taken)
    }

    /// The same, with an old copy.
    pub fn roll_back(&mut self, who: usize, pick: u8) -> Held {
        let end = &mut self.ends[who];
        if end.backups.is_empty() {
            return Ok(());
        }
        end.may_be_lost = true;
        end.knocked.clear();
        end.gone.clear();
        let (disk, admitted) = end.backups[usize::from(pick) % end.backups.len()].clone();
        end.admitted = admitted;
        self.tally.add("restores from old copies");
        self.go_on(who, disk, None)
    }

    /// Another process goes on beside the first, with the disk as it is or an old copy.
    pub fn clone_process(&mut self, who: usize, pick: u8) -> Held {
        let Seat::In(room, _) = &self.ends[who].seat else { return Ok(()) };
        if self.ends.len() == MOST {
            return Ok(());
        }
        let mut disks = self.ends[who].backups.clone();
        disks.push((copy(room.vault()), self.ends[who].admitted));
        let (disk, admitted) = disks.swap_remove(usize::from(pick) % disks.len());
        self.tally.add("clones");
        self.ends[who].may_be_lost = true;
        let End { name, id, epoch, .. } = &self.ends[who];
        let mut end = End::new(&format!("{name}'"), *id, Seat::Moving, self.now);
        (end.epoch, end.admitted, end.may_be_lost) = (*epoch, admitted, true);
        self.ends.push(end);
        self.go_on(self.ends.len() - 1, disk, None)
    }

    /// A process begins with that disk.
    fn go_on(&mut self, who: usize, disk: MemoryVault, taken: Option<usize>) -> Held {
        self.look_for_host(who);
        let end = &mut self.ends[who];
        let name = end.name.trim_end_matches('\'').to_owned();
        let identity = crate::world::identity_of(&name, &end.id);
        let dead = std::mem::replace(&mut end.seat, Seat::Moving);
        let restored = match Kept::restore(identity, Arc::new(Mutex::new(disk)), disk_key(), Duration::ZERO) {
            Ok(Some(restored)) => restored,
            other => return broken(Rule::Sound, format!("{name} has lost their room: {other:?}")),
        };
        (end.origin, end.ahead) = (self.now, Duration::ZERO);
        (end.past, end.twin, end.dies_at) = (Vec::new(), None, None);
        end.told.clear();
        end.heard.clear();
        end.fooled.clear();
        end.read.clear();
        let Some(voice) = restored.voice else {
            if let Seat::In(_, voice) = dead {
                end.seat = Seat::Out(voice, Some(restored.room.into_parts().0.into_identity()));
                self.tell_of(who, || "restarts, and is out".to_owned());
            }
            return Ok(());
        };
        let room = restored.room;
        // As far as it got: the process may have died when the step was on the disk already.
        match (self.model.epoch_of(room.code()), taken) {
            (Some(epoch), _) => end.epoch = epoch,
            (None, Some(message)) => {
                let Some(commit) = &self.relay.messages[message].commit else {
                    return broken(Rule::Forward, format!("{name} restarts where nobody was"));
                };
                self.model.follows(message, commit, self.relay.may_fork, end.may_be_lost)?;
                end.epoch = self.model.enters(&name, &room, message, commit)?;
            }
            (None, None) => return broken(Rule::Forward, format!("{name} restarts where nobody was")),
        }
        self.model.agrees(&name, &room, end.epoch)?;
        end.mic = room.is_mic_on(&end.id);
        end.said_mic = None;
        end.queue = self.relay.after(end.admitted).into();
        (end.is_stale, end.is_warned, end.is_behind) = (false, false, false);
        end.doubts.clear();
        end.misses.clear();
        end.to_bring.clear();
        // Nobody knows whether it was sent.
        for unsent in room.unsent() {
            let Some(message) = self.relay.messages.iter().position(|message| message.bytes == unsent) else {
                return broken(Rule::Sound, format!("{name} is to send what was never made"));
            };
            self.relay.refused.retain(|refused| *refused != message);
            match self.relay.log.iter().position(|taken| *taken == message) {
                // The relay's second copy of it: others have had the first.
                Some(taken) if taken < self.relay.forgotten => end.queue.push_back(message),
                Some(_) => {}
                None if self.relay.incoming.contains(&message) => {}
                None => self.relay.incoming.push(message),
            }
        }
        if let Some((welcome, _)) = room.last_welcome() {
            let made = |message: &crate::relay::Message| {
                message.admission.as_ref().is_some_and(|admission| admission.welcome == welcome)
            };
            self.relay.welcomes.extend(self.relay.messages.iter().position(made));
        }
        let epoch = room.epoch();
        end.seat = Seat::In(Box::new(room), Box::new(voice));
        self.post_again(who);
        self.post_plates(who);
        self.tell_of(who, || format!("goes on, restored to epoch {epoch}"));
        self.tick_one(who)
    }
}
