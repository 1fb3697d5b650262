//! One 120-byte frame, sealed and opened, through parlor and through its peers, in one interleaved run.
//!
//! `--help` says what can be asked of it; `README.md` what is measured and what not.

mod allocations;
mod dave;
mod parlor_voice;
mod peer;
mod ring_alone;
mod sframe_rs;
mod table;

use std::{error::Error, process::ExitCode};

use parlor::Suite;

use crate::{
    dave::{Dave, DaveAllocating},
    parlor_voice::ParlorVoice,
    peer::{Race, Row},
    ring_alone::RingAlone,
    sframe_rs::{SframeRs, SframeRsReplay},
    table::Table,
};

/// How many times as fast as each peer parlor has to be.
const BAR: f64 = 2.5;

/// 12.8 million frames: davey's key generation changes after 2^24, and a receiver takes the next one only a day later.
const MAX_ROUNDS: usize = 200_000;

const HELP: &str = "\
parlor-peers: one 120-byte frame through parlor and its peers, in one interleaved run

    cargo run --release -- [--rounds N] [--check]

    --rounds N   how many rounds of 64 frames a row (3,000 by default)
    --check      exit with 1 if parlor is below the bar
    --help       this text, and what each row includes

sframe takes one backend a build. The default is its ring backend; for its RustCrypto backend:

    cargo run --release --no-default-features --features sframe-rust-crypto -- [--rounds N] [--check]
";

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let mut rounds = 3_000;
    let mut check = false;
    let mut help = false;
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--rounds" => rounds = args.next().ok_or("--rounds needs a number")?.parse()?,
            "--check" => check = true,
            "--help" | "-h" => help = true,
            other => return Err(format!("unknown argument {other}; see --help").into()),
        }
    }
    if !(1..=MAX_ROUNDS).contains(&rounds) {
        return Err(format!("--rounds takes 1 to {MAX_ROUNDS}").into());
    }

    if help {
        print!("{HELP}");
        println!("\nrows:");
        for row in rows()? {
            println!("    {}\n        {}", row.name(), row.includes());
        }
        return Ok(ExitCode::SUCCESS);
    }

    same_packets()?;
    let results = Race::new(rows()?).run(rounds);
    let table = Table::new(results, rounds);
    print!("{table}");
    let met = table.verdict(BAR);
    Ok(if check && !met { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// The rows; the first is the one that the others are compared with.
fn rows() -> Result<Vec<Box<dyn Row>>, Box<dyn Error>> {
    Ok(vec![
        Box::new(ParlorVoice::new(Suite::Aes128Gcm)?),
        Box::new(ParlorVoice::new(Suite::ChaCha20Poly1305)?),
        Box::new(SframeRs::new()?),
        Box::new(SframeRsReplay::new()?),
        Box::new(Dave::new()?),
        Box::new(DaveAllocating::new()?),
        Box::new(RingAlone::new()),
    ])
}

/// Parlor and sframe are given the same key: they must make the same bytes, or they do not do the same work.
fn same_packets() -> Result<(), Box<dyn Error>> {
    let mut parlor: Box<dyn Row> = Box::new(ParlorVoice::new(Suite::Aes128Gcm)?);
    let mut sframe: Box<dyn Row> = Box::new(SframeRs::new()?);
    for frames in peer::batches().take(8) {
        if parlor.packets(&frames) != sframe.packets(&frames) {
            return Err("parlor and sframe made different packets of the same frames and key".into());
        }
    }
    Ok(())
}
