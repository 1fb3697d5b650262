//! What each kind of packet costs whoever it is sent to: time, and memory that stays. With `--nocapture` it prints the
//! table of `SECURITY.md`.

mod forger;
#[path = "common/peak.rs"]
mod peak_memory;
mod sealed;

use std::{
    sync::atomic::Ordering::SeqCst,
    time::{Duration, Instant},
};

use forger::Forger;
use parlor::{
    Suite, Voice,
    media::{Limits, seal::SealRules},
};
use peak_memory::{Counting, USED};
use sealed::Room;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const FRAME: [u8; 60] = [7; 60];
/// How many packets are timed together; the fastest of all such batches counts, for other programs run beside this one.
const BATCH: usize = 50;

struct Cost {
    what: &'static str,
    bytes: usize,
    time: Duration,
    kept: usize,
}

/// Gives `ear` all packets of one kind.
fn cost(what: &'static str, ear: &mut Voice, packets: &[Vec<u8>]) -> Cost {
    let before = USED.load(SeqCst);
    let mut fastest = Duration::MAX;
    let mut buffer = vec![0; 2048];
    for batch in packets.chunks_exact(BATCH) {
        let began = Instant::now();
        for packet in batch {
            let buffer = &mut buffer[..packet.len()];
            buffer.copy_from_slice(packet);
            let _ = ear.open_in_place(buffer, Duration::from_millis(1));
        }
        fastest = fastest.min(began.elapsed());
    }
    drop(buffer);
    let bytes = packets.iter().map(Vec::len).max().unwrap();
    let kept = USED.load(SeqCst).saturating_sub(before);
    Cost { what, bytes, time: fastest / BATCH as u32, kept }
}

// One test, for the counter of memory is the whole process's.
#[test]
fn no_packet_costs_an_ear_much_more_than_a_true_one() {
    let room = Room::new(Suite::default(), SealRules::default(), 3);
    let [frames, seals] = [0, 1].map(|stream| Forger::new(room.suite, &room.base_key(0), room.key_id(stream, 0, 0)));
    let damaged = |mut packet: Vec<u8>| {
        *packet.last_mut().unwrap() ^= 1;
        packet
    };
    let mut costs = Vec::new();

    let (mut ana, mut ear) = (room.voice(0, 0), room.voice(1, 0));
    let packets: Vec<_> = (0..4_000).map(|_| ana.seal(&FRAME).unwrap()).collect();
    costs.push(cost("true frame", &mut ear, &packets));
    let packets: Vec<_> = (0..4_000).map(|at| damaged(frames.seal_at(4_000 + at, &FRAME))).collect();
    costs.push(cost("forged tag", &mut room.voice(1, 0), &packets));
    let packets: Vec<_> = (0..4_000).map(|at| damaged(seals.seal_at(at, &[0; 75 + 16 * 25]))).collect();
    costs.push(cost("seal, forged tag", &mut room.voice(1, 0), &packets));

    let key_id = room.key_id(0, 0, 1);
    let later = Forger::new(room.suite, &room.base_key(1), key_id);
    let packets: Vec<_> = (0..70_000).map(|at| later.seal_at(at, &FRAME)).collect();
    costs.push(cost("of a later epoch, parked", &mut room.voice(1, 0), &packets[..4_000]));
    let mut limits = Limits::default();
    (limits.parked_packets, limits.parked_bytes, limits.parked_per_leaf) = (65_535, 16 << 20, 65_535);
    let mut ear = Voice::with_limits(room.keys(1, 0, Duration::ZERO), limits).unwrap();
    costs.push(cost("the same, 65,535 of them", &mut ear, &packets));
    assert_eq!(ear.parked().0, 65_535);
    costs.push(unparked(&room, &mut ear));

    // The far ones first, so that each of the others is put in before them.
    let packets: Vec<_> = (0..16_384).rev().map(|at| frames.seal_at(at, &FRAME)).collect();
    costs.push(cost("insider: far ahead", &mut room.voice(1, 0), &packets[..4_000]));
    costs.push(cost("insider: each before the last", &mut room.voice(1, 0), &packets));
    for (what, counters) in [("insider: held, of one counter", 1), ("insider: held, of many counters", 100)] {
        let mut ear = room.voice(1, 0);
        contest(&mut ear, &frames);
        let forge = |at: u64| frames.seal_at(10 + at % counters, &[&at.to_be_bytes()[..], &FRAME].concat());
        let packets: Vec<_> = (0..5_000).map(forge).collect();
        cost(what, &mut ear, &packets[..1_024]);
        costs.push(cost(what, &mut ear, &packets[1_024..]));
    }
    let mut ear = room.voice(1, 0);
    contest(&mut ear, &frames);
    let long = |at: u64| {
        frames.seal_at(10, &[&at.to_be_bytes()[..], &vec![0; if at.is_multiple_of(2) { 110 } else { 1_500 }]].concat())
    };
    let packets: Vec<_> = (0..5_000).map(long).collect();
    costs.push(cost("insider: held, short and long", &mut ear, &packets));

    let packets: Vec<_> = (0..4_000).map(|at| seals.seal_at(at, &[9; 75 + 16 * 25])).collect();
    costs.push(cost("insider: seal of junk", &mut room.voice(1, 0), &packets));
    // Version, marks, first counter, count, hashes, signature.
    let text = |at: u64| [&[1, 0][..], &at.to_be_bytes(), &[25], &[5; 16 * 25], &[9; 64]].concat();
    let packets: Vec<_> = (0..4_000).map(|at| seals.seal_at(at, &text(25 * at))).collect();
    costs.push(cost("insider: seal, wrong signature, 100 a second", &mut room.voice(1, 0), &packets[..100]));
    costs.push(cost("the same, beyond", &mut room.voice(1, 0), &packets[..]));

    let first = costs[0].time;
    println!("| packet | bytes | time, of a true frame's | memory that stays, at most |\n|---|---|---|---|");
    for Cost { what, bytes, time, kept } in &costs {
        let ratio = time.as_secs_f64() / first.as_secs_f64();
        println!(
            "| {what} | {bytes} | {ratio:.1} ({:.2} µs) | {:.1} KiB |",
            time.as_secs_f64() * 1e6,
            *kept as f64 / 1024.0
        );
    }
    for Cost { what, time, kept, .. } in costs {
        // A signature is checked a hundred times a second.
        assert!(what.contains("signature") || time < 20 * first, "{what}: {time:?}, a true frame {first:?}");
        assert!(what.contains("65,535") || kept < 1024 * 1024, "{what}: {kept} bytes");
    }
}

/// Somebody is caught speaking in the speaker's name: from then on all is held.
fn contest(ear: &mut Voice, frames: &Forger) {
    let now = Duration::from_millis(1);
    ear.open(&frames.seal_at(0, b"one"), now).unwrap();
    ear.open(&frames.seal_at(0, b"another"), now).unwrap_err();
}

/// What it costs to take each out again.
fn unparked(room: &Room, ear: &mut Voice) -> Cost {
    let now = Duration::from_millis(2);
    ear.rekey(room.keys(1, 1, now)).unwrap();
    let (began, before) = (Instant::now(), ear.parked().0);
    while ear.unpark(now).is_some() {}
    assert_eq!(ear.parked().0, 0);
    Cost { what: "taking each of 65,535 out", bytes: 0, time: began.elapsed() / before as u32, kept: 0 }
}
