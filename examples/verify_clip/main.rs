//! Verifies a clip: who said what in a room that keeps evidence. It needs the file, and neither network nor keys.
//!
//! ```text
//! cargo run --release --example verify_clip -- FILE [--wav OUT.wav] [--gaps]
//! cargo run --release --example verify_clip          # makes a clip of its own, and forgeries of it
//! ```

mod forger;

use std::{
    error::Error,
    fs::{self, File},
    io::Read as _,
    path::PathBuf,
    process::ExitCode,
};

use lexopt::Arg::{Long, Short, Value};
use parlor::{
    Clip,
    frame::VoiceFrame,
    media::clip::MAX_CLIP,
    sound::{Channels, Decoder, FRAME_SAMPLES, FRAME_TIME, wav},
};

const HELP: &str = "\
Verifies a clip offline: who said what, in which room, and what that proves.
Without FILE: makes a clip of its own, out of a room of two, and tries forgeries of it.

Usage: cargo run --release --example verify_clip -- [FILE] [--wav OUT.wav] [--gaps] [--save CLIP]

  --wav OUT.wav   writes what was said; what is missing is filled in
  --gaps          takes a clip with packets missing too
  --save CLIP     without FILE: keeps the clip that was made

Exit status: 0 the clip is true and whole, 1 it was refused or a forgery was not, 2 could not run, 3 it is true and
has gaps.";

type Outcome<T> = Result<T, Box<dyn Error>>;

#[derive(Default)]
struct Options {
    file: Option<PathBuf>,
    wav: Option<PathBuf>,
    gaps: bool,
    save: Option<PathBuf>,
}

fn main() -> ExitCode {
    match run() {
        Ok(status) => ExitCode::from(status),
        Err(error) => {
            eprintln!("verify_clip: {error}");
            ExitCode::from(2)
        }
    }
}

fn run() -> Outcome<u8> {
    let Some(options) = arguments()? else {
        println!("{HELP}");
        return Ok(0);
    };
    let Some(file) = &options.file else {
        let exported = forger::export()?;
        println!("A clip of {} bytes, made in a room of two:\n", exported.clip.len());
        if let Some(path) = &options.save {
            fs::write(path, &exported.clip).map_err(|why| format!("{}: {why}", path.display()))?;
        }
        let status = verify(&exported.clip, &options)?;
        return Ok(if forger::forge(&exported)? == 0 { status } else { 1 });
    };
    let mut bytes = Vec::new();
    let opened = File::open(file).map(|opened| opened.take(MAX_CLIP as u64 + 1));
    opened.and_then(|mut clip| clip.read_to_end(&mut bytes)).map_err(|why| format!("{}: {why}", file.display()))?;
    verify(&bytes, &options)
}

fn arguments() -> Outcome<Option<Options>> {
    let mut options = Options::default();
    let mut parser = lexopt::Parser::from_env();
    while let Some(argument) = parser.next()? {
        match argument {
            Short('h') | Long("help") => return Ok(None),
            Long("wav") => options.wav = Some(parser.value()?.into()),
            Long("save") => options.save = Some(parser.value()?.into()),
            Long("gaps") => options.gaps = true,
            Value(file) if options.file.is_none() => options.file = Some(file.into()),
            Value(file) => return Err(format!("{}: one clip at a time, please", file.display()).into()),
            Short(other) => return Err(format!("\"-{other}\" is no option; there is --help").into()),
            Long(other) => return Err(format!("\"--{other}\" is no option; there is --help").into()),
        }
    }
    if options.file.is_some() && options.save.is_some() {
        return Err("--save is for the clip that is made without FILE".into());
    }
    Ok(Some(options))
}

/// Tells all that there is to tell of a clip; gives the exit status.
fn verify(bytes: &[u8], options: &Options) -> Outcome<u8> {
    let verified = if options.gaps { Clip::verify_with_gaps(bytes) } else { Clip::verify(bytes) };
    let clip = match verified {
        Ok(clip) => clip,
        Err(why) => {
            println!("NOT VERIFIED: {why}");
            return Ok(1);
        }
    };
    tell(&clip);
    if let Some(path) = &options.wav {
        let (sound, filled_in) = sound_of(&clip)?;
        wav::write(path, &sound)?;
        println!("\nWrote {} ({filled_in} frames filled in).", path.display());
    }
    Ok(if clip.is_whole() { 0 } else { 3 })
}

fn tell(clip: &Clip) {
    let seconds = |frames: usize| FRAME_TIME.as_secs_f64() * frames as f64;
    let (frames, missing) = (clip.frames().len(), clip.missing());
    let room: String = clip.room().iter().map(|byte| format!("{byte:02x}")).collect();
    println!("VERIFIED{}\n", if clip.is_whole() { "" } else { ", WITH GAPS" });
    println!("  speaker      {}", clip.speaker().fingerprint());
    println!("  by the name  {}", clip.name().escape_debug());
    println!("  room         {room}");
    println!("  epoch        {}, {}", clip.epoch(), clip.leaf());
    let first = clip.first_counter();
    println!("  begins       after {first} frames, {:.2} s, of theirs in that epoch", seconds(first as usize));
    println!("  length       {:.2} s", seconds(frames));
    println!("  frames       {} verified, {missing} missing", frames - missing);
    println!("  exported by  {}", clip.exporter().fingerprint());
    println!(
        "\nThat is proved: who holds the speaker's key sealed each of these frames, in this order, in that place."
    );
    println!("That is not:");
    println!("  - whose key it is: compare the fingerprint with the person; a name is anybody's choice;");
    println!("  - what they said before and after: the exporter chose where the clip begins and ends;");
    if missing > 0 {
        println!("  - what is missing: lost on the way, or left out by the exporter, which nobody can tell apart;");
    }
    println!("  - the date: an epoch has none;");
    println!("  - that the exporter was there, or that the voice is the speaker's: their device sealed it.");
}

/// What was said, and how many frames had to be filled in.
fn sound_of(clip: &Clip) -> Outcome<(Vec<f32>, usize)> {
    let frames: Vec<_> = clip.frames().map(|(_, frame)| frame.and_then(|it| VoiceFrame::parse(it).ok())).collect();
    let (mut decoder, mut sound, mut filled_in) = (Decoder::new(Channels::Mono)?, Vec::new(), 0);
    let (mut samples, mut length) = ([0.0; Decoder::MAX_SAMPLES], FRAME_SAMPLES);
    for (at, frame) in frames.iter().enumerate() {
        // What is missing, or says nothing of its length, was as long as the frame before it.
        length = frame.map(|frame| frame.opus.samples()).filter(|&samples| samples > 0).unwrap_or(length);
        // Who sealed it may have sealed nonsense.
        let decoded = frame.and_then(|frame| decoder.decode(frame.opus, &mut samples[..length]).ok());
        if decoded.is_none() {
            filled_in += 1;
            let (gap, following) = (&mut samples[..length], frames.get(at + 1).copied().flatten());
            if following.is_none_or(|next| decoder.recover(next.opus, gap).is_err()) {
                decoder.conceal(gap)?;
            }
        }
        sound.extend(&samples[..length]);
    }
    Ok((sound, filled_in))
}
