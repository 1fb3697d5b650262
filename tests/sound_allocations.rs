//! A running voice allocates nothing: not to encode a frame, not to take one in, not to mix.
//!
//! Counts Rust's allocations on this thread. libopus takes its memory once, when a codec is made.
#![cfg(any(feature = "opus", feature = "opus-pure"))]

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
    time::Duration,
};

use parlor::{
    Heard, MemberId,
    sound::{Ear, EarSettings, Encoder, Encoding, SILENCE},
};

struct Counting;

thread_local! {
    static COUNT: Cell<u64> = const { Cell::new(0) };
}

// SAFETY: hands everything on to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        COUNT.with(|count| count.set(count.get() + 1));
        // SAFETY: the caller's promise is the system allocator's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn allocations(run: impl FnOnce()) -> u64 {
    let before = COUNT.with(Cell::get);
    run();
    COUNT.with(Cell::get) - before
}

#[test]
fn a_running_voice_allocates_nothing() {
    assert!(allocations(|| drop(Vec::<u8>::with_capacity(10))) > 0, "the counter counts");

    let speakers: Vec<MemberId> = (0..4).map(|i| MemberId::from_bytes([i; 32])).collect();
    let mut encoder = Encoder::new(Encoding::default()).unwrap();
    let mut ear = Ear::new(EarSettings::default());
    let (mut payload, mut out) = ([0; 64], SILENCE);
    let mut tick = 0_u64;
    let mut seconds = |n: u64| {
        for _ in 0..n * 50 {
            let now = Duration::from_millis(20 * tick);
            encoder.encode(&[0.1; 960], &mut payload).unwrap();
            for (i, speaker) in speakers.iter().enumerate() {
                // Each loses a frame now and then, and gets one twice.
                if !(tick + i as u64).is_multiple_of(9) {
                    let heard = Heard::unverified(*speaker, 0, tick, &payload);
                    ear.hear(&heard, now).unwrap();
                    ear.hear(&heard, now).unwrap();
                }
            }
            ear.mix(now, &mut out);
            tick += 1;
        }
    };
    // Until every place of the ring has had a frame.
    seconds(3);
    assert_eq!(allocations(|| seconds(5)), 0);
}
