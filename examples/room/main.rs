//! An evening in a room: real MLS, real Opus, real speech, and a relay that learns nothing of it.
//!
//! Prints what happens as it happens, then an account of every frame, and leaves in `target/room/` what each ear
//! heard (WAV and Ogg Opus) and one page (`index.html`) that shows it beside what the relay saw. Exits with 1 if a promise is
//! broken, with 2 if it could not run.

mod account;
mod cast;
mod evening;
mod forgery;
mod network;
mod page;

use std::{error::Error, fs, path::PathBuf, process::ExitCode};

use account::{Account, Record};
use evening::Options;
use lexopt::{
    Arg::{Long, Short},
    ValueExt as _,
};
use parlor::{
    Suite,
    media::seal::SealMode,
    sound::{ogg, wav},
};

const HELP: &str = "\
An evening in a parlor: a host, two speakers, four listeners, an outsider with the relay's tap. One of the listeners
patches his client, to speak without leave, and in another's name.

Usage: cargo run --release --example room -- [OPTIONS]

Options:
  --wav FILE       your own recording (any common WAV, or Ogg Opus) as the voice of maxim, who speaks from 19 s on
  --seed N         what the network does, in one number [default: 1]
  --loss PERCENT   packets lost on each path, in bursts of 4, 0 to 50 [default: 5]
  --suite NAME     chacha20poly1305, aes128gcm or aes256gcm [default: chacha20poly1305]
  --seals MODE     live, strict or off: whether speakers sign what they say, and what is played before [default: live]
  --out DIR        where the recordings and the page go [default: target/room]
  -h, --help       this text

Exit status: 0 every promise kept, 1 a promise broken, 2 could not run.";

fn main() -> ExitCode {
    match run() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("room: {error}");
            ExitCode::from(2)
        }
    }
}

fn run() -> Result<bool, Box<dyn Error>> {
    let Some(options) = arguments()? else {
        println!("{HELP}");
        return Ok(true);
    };
    let Options { seed, loss_percent, suite, seals, .. } = &options;
    println!("An evening in a parlor (seed {seed}, {loss_percent} % loss, {suite:?}, seals {})\n", in_a_word(*seals));
    fs::create_dir_all(&options.out).map_err(|error| {
        format!("--out {}: the folder cannot be made: {error}; name another", options.out.display())
    })?;
    let record = evening::play(&options, &mut |now, text| println!("  {:5.1} s  {text}", now.as_secs_f64()))?;
    print_table(&record);
    for promise in &record.promises {
        println!("  {} {}: {}", if promise.kept { "kept  " } else { "BROKEN" }, promise.text, promise.figure);
    }
    write(&options, &record)?;
    let kept = record.promises.iter().all(|promise| promise.kept);
    println!("\n{}", if kept { "Every promise kept." } else { "A promise was broken." });
    Ok(kept)
}

fn arguments() -> Result<Option<Options>, Box<dyn Error>> {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let mut options = Options {
        seed: 1,
        loss_percent: 5.0,
        suite: Suite::default(),
        seals: SealMode::default(),
        out: PathBuf::from("target/room"),
        wav: None,
        speech: root.join("examples/speech"),
    };
    let mut parser = lexopt::Parser::from_env();
    while let Some(argument) = parser.next()? {
        match argument {
            Short('h') | Long("help") => return Ok(None),
            Long("wav") => options.wav = Some(parser.value()?.into()),
            Long("out") => options.out = parser.value()?.into(),
            Long("seed") => {
                let refused = |error| format!("--seed takes a whole number from 0 on: {error}");
                options.seed = parser.value()?.parse().map_err(refused)?;
            }
            Long("loss") => {
                let refused = "--loss takes a percentage from 0 to 50, such as 5 or 12.5";
                let percent = parser.value()?.parse().map_err(|error| format!("{refused}: {error}"))?;
                options.loss_percent = Some(percent).filter(|percent| (0.0..=50.0).contains(percent)).ok_or(refused)?;
            }
            Long("suite") => options.suite = suite(&parser.value()?.string()?)?,
            Long("seals") => options.seals = seals(&parser.value()?.string()?)?,
            _ => return Err(format!("{}; --help lists the options", argument.unexpected()).into()),
        }
    }
    Ok(Some(options))
}

fn suite(name: &str) -> Result<Suite, String> {
    match name.to_ascii_lowercase().replace(['-', '_'], "").as_str() {
        "chacha20poly1305" => Ok(Suite::ChaCha20Poly1305),
        "aes128gcm" => Ok(Suite::Aes128Gcm),
        "aes256gcm" => Ok(Suite::Aes256Gcm),
        _ => Err(format!("--suite: there is no {name:?}; take chacha20poly1305, aes128gcm or aes256gcm")),
    }
}

fn seals(mode: &str) -> Result<SealMode, String> {
    let modes = [SealMode::Live, SealMode::Strict, SealMode::Off];
    let named = modes.into_iter().find(|known| in_a_word(*known) == mode);
    named.ok_or_else(|| format!("--seals: there is no {mode:?}; take live, strict or off"))
}

fn in_a_word(seals: SealMode) -> &'static str {
    match seals {
        SealMode::Off => "off",
        SealMode::Strict => "strict",
        _ => "live",
    }
}

fn print_table(record: &Record) {
    let words: Vec<Vec<&str>> = Account::TABLE_HEAD.iter().map(|head| head.split(' ').collect()).collect();
    let widths: Vec<usize> = (0..words.len())
        .map(|column| {
            let head = words[column].iter().map(|word| word.len()).max().unwrap_or(0);
            record.table_rows.iter().map(|row| row[column].chars().count()).fold(head, usize::max)
        })
        .collect();
    println!();
    for line in 0..words.iter().map(Vec::len).max().unwrap_or(0) {
        print_row(&widths, words.iter().map(|head| head.get(line).copied().unwrap_or("")));
    }
    for row in &record.table_rows {
        print_row(&widths, row.iter().map(String::as_str));
    }
    println!();
}

fn print_row<'a>(widths: &[usize], cells: impl Iterator<Item = &'a str>) {
    let line: Vec<String> = cells.zip(widths).map(|(cell, width)| format!("{cell:>width$}")).collect();
    println!("  {}", line.join("  "));
}

fn write(options: &Options, record: &Record) -> Result<(), Box<dyn Error>> {
    for lane in &record.lanes {
        wav::write(options.out.join(format!("{}.wav", lane.name)), &lane.pcm)?;
        ogg::write(options.out.join(format!("{}.opus", lane.name)), &lane.pcm)?;
    }
    let page = options.out.join("index.html");
    fs::write(&page, page::render(record)).map_err(|error| format!("{}: {error}", page.display()))?;
    println!("\n  {} ears as WAV and as Opus, and the page: {}", record.lanes.len(), page.display());
    Ok(())
}
