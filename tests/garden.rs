//! The garden in rooms of a thousand: what commits weigh after people have come, and while they come and go.
//!
//! Bytes alone, which no machine changes; the order in which those who are named come is chance. What it takes, and ten
//! minutes of coming and going: `cargo bench --bench room -- --table`. `PARLOR_GARDEN=5` plays five here.

mod party;

use std::{collections::BTreeSet, time::Duration};

use party::crowd::{Commit, Crowd, Kind};

/// What a host's commit may weigh in a tree that is as it should be, and for how many epochs it may weigh more.
const LITTLE: usize = 2_500;
const EPOCHS: usize = 20;

/// What all commits may weigh that it takes to come to rest: a tree of a thousand that is bare has 83 kB a commit.
const MUCH: usize = 300_000;

/// What half of all commits with a path may weigh while people come and go.
const HALF: usize = 6_000;

fn crowd(members: usize, seed: u64) -> Crowd {
    Crowd::of(members, seed, || Duration::ZERO)
}

fn pass(crowd: &mut Crowd, time: Duration) {
    let until = crowd.now + time;
    while crowd.now < until {
        crowd.step();
    }
}

/// Time passes until nobody commits. The host's commits weigh little then, and it took so few epochs and nobody twice.
#[track_caller]
fn comes_to_rest(crowd: &mut Crowd, epochs: usize) {
    let from = crowd.commits.iter().rposition(|commit| commit.kind == Kind::Admission).map_or(0, |last| last + 1);
    let named = crowd.named.len();
    crowd.settle();
    let commits = &crowd.commits[from..];
    let gardened: Vec<&Commit> = commits.iter().filter(|commit| commit.kind == Kind::Gardening).collect();
    assert!(commits.len() <= epochs, "{commits:?}");
    let once: BTreeSet<_> = gardened.iter().map(|commit| commit.by).collect();
    assert_eq!(once.len(), gardened.len(), "somebody committed twice");
    let names: BTreeSet<_> = crowd.named[named..].iter().collect();
    assert_eq!(names.len(), crowd.named.len() - named, "somebody was named twice");
    let all: usize = commits.iter().map(|commit| commit.bytes).sum();
    println!("{} commits of {all} bytes in all", commits.len());
    assert!(all <= MUCH, "{all} bytes to come to rest: {commits:?}");
    crowd.refresh();
    let last = crowd.commits.last().unwrap();
    assert!(last.bytes <= LITTLE, "{} bytes", last.bytes);
}

#[test]
fn of_a_thousand_who_come_at_once_few_commit_and_the_hosts_commits_weigh_little() {
    let mut crowd = crowd(2, 1);
    crowd.admit(998).unwrap();
    comes_to_rest(&mut crowd, EPOCHS);
}

#[test]
fn so_it_is_if_they_come_in_hundreds_some_seconds_apart() {
    let mut crowd = crowd(100, 2);
    for _ in 1..10 {
        pass(&mut crowd, Duration::from_secs(4));
        crowd.admit(100).unwrap();
    }
    comes_to_rest(&mut crowd, EPOCHS);
}

#[test]
fn a_hundred_more_in_a_gardened_room_make_little_work() {
    let mut crowd = crowd(1_000, 3);
    comes_to_rest(&mut crowd, EPOCHS);
    crowd.grow(100);
    comes_to_rest(&mut crowd, EPOCHS);
}

#[test]
fn where_some_are_never_there_others_are_named_in_their_place() {
    let mut crowd = crowd(500, 4);
    crowd.asleep = 128;
    // Half of all, as chance has it: so it takes some rounds, and how far they get is chance too. Some places stay blank.
    crowd.refresh();
    let bare = crowd.commits.last().unwrap().bytes;
    crowd.settle();
    crowd.refresh();
    let last = crowd.commits.last().unwrap().bytes;
    assert!(last * 4 < bare, "{bare} bytes, then {last}");
    assert!(last <= LITTLE || crowd.named.len() > 16, "{last} bytes, and nobody was named in their place");
}

#[test]
fn while_one_of_a_hundred_comes_and_goes_each_minute_half_of_all_commits_weigh_little() {
    let minutes = std::env::var("PARLOR_GARDEN").map_or(1, |minutes| minutes.parse().expect("minutes"));
    let mut crowd = crowd(1_000, 5);
    crowd.settle();
    let from = crowd.commits.len();
    crowd.churn(minutes);
    let with_path = crowd.commits[from..].iter().filter(|commit| commit.kind != Kind::Admission);
    let mut bytes: Vec<usize> = with_path.map(|commit| commit.bytes).collect();
    bytes.sort_unstable();
    assert!(bytes[bytes.len() / 2] <= HALF, "{bytes:?}");
}
