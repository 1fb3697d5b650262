//! What an insider's flood in one speaker's name costs an ear in memory. `PARLOR_FLOOD` says how long it is (200,000).

mod forger;
#[path = "common/peak.rs"]
mod peak_memory;
mod sealed;

use std::{sync::atomic::Ordering::SeqCst, time::Duration};

use forger::Forger;
use parlor::{Suite, media::seal::SealRules};
use peak_memory::{Counting, MOST, USED};
use rand::{Rng as _, RngExt as _, SeedableRng as _, rngs::StdRng};
use sealed::Room;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// The entries that one speaker may take, while their place grows to twice as much; the frames held of them with what
/// stands around each; then findings, and frames that wait to be taken out.
const A_SPEAKER: usize = 16_384 * 32 * 3 + 128 * 1024 + 1024 * 192;
const BESIDES: usize = 256 * 160 + 64 * 1024;

#[test]
fn a_flood_in_one_speakers_name_is_bounded_in_memory() {
    let flood: u64 = std::env::var("PARLOR_FLOOD").map_or(200_000, |text| text.parse().expect("a number"));
    let room = Room::new(Suite::default(), SealRules::default(), 3);
    let mut ear = room.voice(1, 0);
    let [frames, seals] = [0, 1].map(|stream| Forger::new(room.suite, &room.base_key(0), room.key_id(stream, 0, 0)));
    let mut random = StdRng::seed_from_u64(1);
    let before = USED.load(SeqCst);
    MOST.store(before, SeqCst);
    let mut text = vec![0; 2048];
    random.fill_bytes(&mut text);
    let mut largest = 0;
    for at in 0..flood {
        let now = Duration::from_micros(50 * at);
        text[..8].copy_from_slice(&at.to_be_bytes());
        let len = [20, 60, 2048][random.random_range(0..3)];
        let (forger, counter) = match random.random_range(0..6) {
            0 => (&frames, random.random_range(0..16_384)),
            1 => (&frames, random.random_range(0..100)),
            2 => (&frames, u64::from(random.random::<u32>())),
            3 => (&frames, (1 << 24) + at),
            4 => (&seals, at),
            _ => (&seals, random.random()),
        };
        let len = if std::ptr::eq(forger, &raw const seals) { 75 + 16 * 25 } else { len };
        let _ = ear.open(&forger.seal_at(counter, &text[..len]), now);
        if at % 10_000 == 0 {
            largest = largest.max(USED.load(SeqCst) - before);
            // Some apps never ask what was found.
            ear.expire(now);
        }
    }
    let (used, most) = (USED.load(SeqCst) - before, MOST.load(SeqCst) - before);
    println!(
        "{flood} forged packets of one speaker: {} KiB kept, {} KiB at most; {:?}",
        used / 1024,
        most / 1024,
        ear.stats()
    );
    assert!(most <= A_SPEAKER + BESIDES, "{most} bytes at most");
    a_packet_far_ahead_takes_no_more_than_the_next();
    // All of it goes with the epoch.
    ear.rekey(room.keys(1, 1, Duration::from_secs(3_600))).unwrap();
    ear.expire(Duration::from_secs(3_700));
    while ear.next_finding(Duration::from_secs(3_700)).is_some() {}
    println!("{} KiB after the epoch", USED.load(SeqCst).saturating_sub(before) / 1024);
}

/// A packet as far ahead as is taken at once, and the farthest that is held.
fn a_packet_far_ahead_takes_no_more_than_the_next() {
    let took = |counters: std::ops::Range<u64>| {
        let room = Room::new(Suite::default(), SealRules::default(), 3);
        let mut ear = room.voice(1, 0);
        let forger = Forger::new(room.suite, &room.base_key(0), room.key_id(0, 0, 0));
        let packets: Vec<_> = counters.map(|counter| forger.seal_at(counter, b"as loud as a true one")).collect();
        let before = USED.load(SeqCst);
        for packet in &packets {
            let _ = ear.open(packet, Duration::ZERO);
        }
        USED.load(SeqCst) - before
    };
    let (next, far, many) = (took(0..1), took(16_383..16_384), took(8_000..9_000));
    println!("one packet: {next} bytes; far ahead: {far}; a thousand of them: {many}");
    let (all, beyond) = (took(0..16_384), took(0..20_000));
    println!("all that there may be without a seal: {all} bytes; with what is held beyond: {beyond}");
    assert!((16_384 * 32..=16_384 * 64).contains(&all), "{all} bytes");
    assert!((all + 1024 * 64..=all + 1024 * 192 + 128 * 1024).contains(&beyond), "{beyond} bytes");
    assert_eq!((next, far), (0, 0), "there is room for it from the start");
    assert!((1_000 * 32..3 * 1_000 * 32).contains(&many), "{many} bytes");
}
