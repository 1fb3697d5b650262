//! An insider with every frame key and a relay that does as it likes, against ears that check seals.
//!
//! `PARLOR_FORGERIES` says how many forged frames each way of playing gets (10,000), `PARLOR_REPLAYS` how many
//! histories a relay replays (300).

#[path = "seal_attacks/blame.rs"]
mod blame;
#[path = "seal_attacks/context.rs"]
mod context;
#[path = "seal_attacks/delay.rs"]
mod delay;
mod forger;
#[path = "seal_attacks/frames.rs"]
mod frames;
#[path = "seal_attacks/insider.rs"]
mod insider;
#[path = "seal_attacks/replays.rs"]
mod replays;
mod sealed;
#[path = "seal_attacks/seals.rs"]
mod seals;

fn number(name: &str, or: u64) -> u64 {
    std::env::var(name).map_or(or, |text| text.parse().expect("a number"))
}
