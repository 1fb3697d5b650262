//! What input costs that a hostile relay, link holder or member can send: processor time of this thread, by the
//! operating system's count, whatever else the machine does.
//!
//! `cargo bench --bench hostile -- --table` prints one row for each class of input.

#[path = "../tests/party/mod.rs"]
mod party;

use std::{fs, time::Duration};

use parlor::{Event, Role};
use party::{NOW, floods, mal::World};

/// What this thread has spent on a processor.
fn spent() -> Duration {
    let stat = fs::read_to_string("/proc/thread-self/schedstat").expect("Linux tells it");
    Duration::from_nanos(stat.split(' ').next().and_then(|nanos| nanos.parse().ok()).expect("a number"))
}

/// The median cost of one call, over batches of a tenth of a second: the clock goes by ticks of some milliseconds.
fn cost(mut call: impl FnMut(u64)) -> Duration {
    let mut n = 0;
    let mut each: Vec<Duration> = (0..9)
        .map(|_| {
            let (before, mut calls) = (spent(), 0);
            while spent() - before < Duration::from_millis(100) {
                for _ in 0..100 {
                    call(n);
                    n += 1;
                }
                calls += 100;
            }
            (spent() - before) / calls
        })
        .collect();
    each.sort_unstable();
    each[each.len() / 2]
}

fn row(who: &str, what: &str, bytes: usize, cost: Duration) {
    let micros = cost.as_secs_f64() * 1e6;
    println!("| {who} | {what} | {bytes} | {micros:.1} | {:.2} % |", micros / 1e6 * 1_000.0 * 100.0);
}

fn main() {
    println!("| who can send it | what | bytes | µs each | of a core at 1,000 a second |\n|---|---|---|---|---|");
    let mut world = World::new(Role::Listener);
    for (who, what, message) in floods::unauthentic(&mut world) {
        let room = &mut world.party.rooms[2];
        // Two milliseconds apart, so that none is passed over unread.
        let cost = cost(|n| {
            let made = room.receive(&message, NOW + Duration::from_millis(2 * n));
            assert!(made.is_err(), "{what}: {made:?}");
        });
        row(who, what, message.len(), cost);
    }
    // Over the budget nothing is looked at.
    let mut world = World::new(Role::Listener);
    let message = floods::unauthentic(&mut world).into_iter().nth(8).expect("a commit").2;
    let room = &mut world.party.rooms[2];
    for _ in 0..1_000 {
        let _ = room.receive(&message, NOW);
    }
    let over = cost(|_| drop(room.receive(&message, NOW)));
    row("member", "any of these beyond 1,000 a second", message.len(), over);
    // What a member says truly.
    let mut world = World::new(Role::Listener);
    let words: Vec<Vec<u8>> = (0..10_000).map(|n| party::words::say(&world.mal, n, &[6, 33])).collect();
    let room = &mut world.party.rooms[2];
    let before = spent();
    for word in &words {
        assert!(matches!(room.receive(word, NOW).as_deref(), Ok([Event::Reacted { .. }])));
    }
    row("member", "a true word", words[0].len(), (spent() - before) / 10_000);
    let again = cost(|n| drop(room.receive(&words[n as usize % words.len()], NOW)));
    row("relay", "a true word again", words[0].len(), again);
    beside_mls();
}

/// Signals of the heartbeat, and requests to come back.
fn beside_mls() {
    let mut world = World::new(Role::Listener);
    let rooms = &mut world.party.rooms;
    let sent = |events: Vec<Event>| {
        events.into_iter().filter_map(|event| if let Event::Send(bytes) = event { Some(bytes) } else { None })
    };
    let beat = rooms.iter_mut().map(|room| room.tick(NOW)).collect::<Vec<_>>().swap_remove(0);
    let beat = sent(beat).next().expect("a host beats");
    let (mut damaged, mut later) = (beat.clone(), beat.clone());
    *damaged.last_mut().expect("its tag") ^= 1;
    // The last byte of its epoch.
    later[10] ^= 8;
    // Ben asks where the hosts are.
    let mut asks = Vec::new();
    for n in 0..60 {
        let now = NOW + Duration::from_millis(n * 100);
        let told = rooms[2].receive(&later, now).unwrap_or_default();
        let told = told.into_iter().chain(rooms[2].tick(now)).collect();
        asks.extend(sent(told).filter(|signal| signal[2] == 1));
    }
    // No closer than the budget lets them be looked at.
    let at = |n: u64, apart: u64| NOW + Duration::from_secs(10) + Duration::from_millis(apart * (n + 1));
    for (who, what, message) in [
        ("relay", "a signal that does not open", &damaged),
        ("relay", "a signal of a later epoch", &later),
        ("relay", "a host's beat, again", &beat),
    ] {
        let cost = cost(|n| drop(rooms[2].receive(message, at(n, 5))));
        row(who, what, message.len(), cost);
    }
    let ask = asks.first().expect("an ask");
    let asked = cost(|n| drop(rooms[0].receive(ask, at(n, 5))));
    row("anybody", "an ask, to a host", ask.len(), asked);
    let wall = std::time::SystemTime::now().into();
    let ben = rooms.remove(2);
    let (_, request) = ben.come_back(NOW, wall).unwrap_or_else(|_| panic!("ben may ask"));
    let tried = cost(|n| drop(rooms[0].receive(&request, at(n, 40))));
    row("anybody", "a request to come back", request.len(), tried);
}
