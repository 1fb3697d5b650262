//! Sealing and opening in place allocate nothing, by any suite or backend; nor does refusing.

mod common;
#[path = "common/memory.rs"]
mod memory;
mod sealed;

use std::time::Duration;

use common::Room;
use parlor::{
    Error, Suite,
    media::{
        Backend, MAX_OVERHEAD,
        seal::{Proof, SealRules},
    },
};
use sealed::FRAME;

#[global_allocator]
static ALLOCATOR: memory::Watched = memory::Watched;

const NOW: Duration = Duration::from_secs(1);

#[test]
fn seal_into_and_open_in_place_allocate_nothing() {
    for mut room in Room::each_kind(&[1, 2]) {
        let (mut ana, mut ben) = (room.voice(1), room.voice(9));
        let (frame, mut buffer, mut other) = ([7; 120], [0; 120 + MAX_OVERHEAD], [0; 120 + MAX_OVERHEAD]);
        for epoch in 0..3 {
            let before = memory::allocations();
            for _ in 0..1000 {
                let len = ana.seal_into(&frame, &mut buffer).unwrap();
                other[..len].copy_from_slice(&buffer[..len]);
                // Forged, good, replayed, cut short, one's own.
                other[len - 1] ^= 1;
                assert!(matches!(ben.open_in_place(&mut other[..len], NOW), Err(Error::Forged { .. })));
                other[..len].copy_from_slice(&buffer[..len]);
                assert_eq!(ben.open_in_place(&mut other[..len], NOW).unwrap().frame, frame);
                other[..len].copy_from_slice(&buffer[..len]);
                assert!(matches!(ben.open_in_place(&mut other[..len], NOW), Err(Error::Replayed { .. })));
                assert!(ben.open_in_place(&mut other[..10], NOW).is_err());
                assert!(ana.open_in_place(&mut buffer[..len], NOW).is_err());
            }
            assert_eq!(memory::allocations() - before, 0, "{:?} {:?}, epoch {epoch}", room.suite, room.backend);
            room.next(NOW, &[1, 2]);
            ana.rekey(room.keys(1)).unwrap();
            ben.rekey(room.keys(9)).unwrap();
        }
    }
}

#[test]
fn nor_do_they_in_a_room_that_seals() {
    for (suite, backend) in Suite::ALL.into_iter().flat_map(|suite| Backend::ALL.iter().map(move |by| (suite, *by))) {
        for (every, proof) in
            [(1, Proof::Deniable), (25, Proof::Deniable), (50, Proof::Deniable), (25, Proof::Evidence)]
        {
            let mut rules = SealRules::default();
            (rules.every, rules.proof) = (every, proof);
            let room = sealed::Room { backend, ..sealed::Room::new(suite, rules, 3) };
            let (mut ana, mut ben) = (room.voice(0, 0), room.voice(1, 0));
            let (frame, mut buffer, mut other) = ([7; 120], [0; 120 + MAX_OVERHEAD], [0; 120 + MAX_OVERHEAD]);
            let mut allocated = 0;
            for tick in 0..1000 {
                let now = FRAME * tick;
                let before = memory::allocations();
                let len = ana.seal_into(&frame, &mut buffer).unwrap();
                other[..len].copy_from_slice(&buffer[..len]);
                other[len - 1] ^= 1;
                assert!(matches!(ben.open_in_place(&mut other[..len], now), Err(Error::Forged { .. })));
                other[..len].copy_from_slice(&buffer[..len]);
                assert_eq!(ben.open_in_place(&mut other[..len], now).unwrap().frame, frame);
                other[..len].copy_from_slice(&buffer[..len]);
                assert!(matches!(ben.open_in_place(&mut other[..len], now), Err(Error::Replayed { .. })));
                assert!(ana.open_in_place(&mut buffer[..len], now).is_err());
                allocated += memory::allocations() - before;
                // A seal is made and taken between two frames, and may allocate.
                while let Some(mut seal) = ana.next_seal(now) {
                    assert!(matches!(ben.open_in_place(&mut seal, now), Err(Error::Seal { .. })));
                }
                assert_eq!(ben.next_finding(now), None);
            }
            assert_eq!(allocated, 0, "{suite:?} {backend:?}, {every} frames a seal, {proof:?}");
            assert_eq!(ben.stats().verified, 1000);
        }
    }
}

#[test]
fn the_count_is_live() {
    let before = memory::allocations();
    std::hint::black_box(vec![0_u8; 100]);
    assert_eq!(memory::allocations() - before, 1);
}
