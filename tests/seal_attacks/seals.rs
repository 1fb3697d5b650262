//! Forged seals: none is taken, and those of the speaker still are.

use std::time::Duration;

use parlor::media::seal::SealMode;

use crate::{
    insider::{ANA, BEN, Ear, rules},
    sealed::{FRAME, Room, say},
};

#[test]
fn seals_that_came_before_their_epoch_count_once_it_has_come() {
    for mode in [SealMode::Live, SealMode::Strict] {
        let room = Room::new(parlor::Suite::default(), rules(mode, 10), 3);
        let (mut ana, mut ear) = (room.voice(ANA, 0), Ear::new(room.voice(BEN, 0)));
        ana.rekey(room.keys(ANA, 1, Duration::ZERO)).unwrap();
        for tick in 0..40 {
            for packet in say(&mut ana, &[tick as u8; 60], FRAME * tick) {
                let _ = ear.take(&packet, FRAME * tick);
            }
        }
        let now = FRAME * 40;
        ear.voice.rekey(room.keys(BEN, 1, now)).unwrap();
        ear.poll(now);
        assert_eq!((ear.given.len(), ear.voice.stats().verified, ear.voice.stats().forged), (40, 40, 0), "{mode:?}");
    }
}
