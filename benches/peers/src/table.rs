//! What is printed: medians over the rounds, ratios against the first row, the verdict.

use std::fmt;

use crate::peer::{BATCH, FRAME, Halves, Kind, Outcome};

pub struct Table {
    rows: Vec<Line>,
    rounds: usize,
}

struct Line {
    name: String,
    kind: Kind,
    nanos: Halves<f64>,
    both: f64,
    /// The median, over the rounds, of this row's seal+open against the first row's in the same round.
    ratio: f64,
    allocations: Halves<f64>,
    overhead: usize,
}

impl Table {
    /// Of outcomes with the same number of rounds each, the first of which the others are compared with.
    pub fn new(outcomes: Vec<Outcome>, rounds: usize) -> Self {
        let sums = |outcome: &Outcome| outcome.rounds.iter().map(|round| round.seal + round.open).collect::<Vec<_>>();
        let first = sums(&outcomes[0]);
        let rows = outcomes
            .into_iter()
            .map(|outcome| {
                let both = sums(&outcome);
                let ratios = both.iter().zip(&first).map(|(row, parlor)| row / parlor).collect();
                Line {
                    nanos: Halves {
                        seal: median(outcome.rounds.iter().map(|round| round.seal).collect()),
                        open: median(outcome.rounds.iter().map(|round| round.open).collect()),
                    },
                    both: median(both),
                    ratio: median(ratios),
                    name: outcome.name,
                    kind: outcome.kind,
                    allocations: outcome.allocations,
                    overhead: outcome.overhead,
                }
            })
            .collect();
        Self { rows, rounds }
    }

    /// Prints, for each peer, whether the first row is at least `bar` times as fast; gives whether it is for all.
    pub fn verdict(&self, bar: f64) -> bool {
        println!("\nverdict: {}, seal+open, is to be at least {bar:.2} times as fast as each peer", self.rows[0].name);
        let mut met = true;
        for peer in self.rows.iter().filter(|row| row.kind == Kind::Peer) {
            let word = if peer.ratio >= bar { "met" } else { "MISSED" };
            println!("    {word:<7} {:.2} times {}", peer.ratio, peer.name);
            met &= peer.ratio >= bar;
        }
        println!("verdict: {}", if met { "met" } else { "MISSED" });
        met
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "one frame of {FRAME} bytes; medians of {} interleaved rounds of {BATCH} frames; ratio: seal+open against the \
             first row,\nthe median of the ratios within a round; allocations a frame, seal/open; overhead in bytes at frame 1,023\n",
            self.rounds
        )?;
        writeln!(
            f,
            "{:<50} {:>8} {:>8} {:>9} {:>7} {:>11} {:>8}",
            "", "seal ns", "open ns", "both ns", "ratio", "allocations", "overhead"
        )?;
        for row in &self.rows {
            let allocations = format!("{}/{}", row.allocations.seal, row.allocations.open);
            writeln!(
                f,
                "{:<50} {:>8.0} {:>8.0} {:>9.0} {:>7.2} {:>11} {:>8}",
                row.name, row.nanos.seal, row.nanos.open, row.both, row.ratio, allocations, row.overhead
            )?;
        }
        Ok(())
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
