//! Ogg Opus files: what is written plays for exactly as long, here and elsewhere; what is read is what was said.

use std::{
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use parlor::{
    Error,
    frame::VoiceFrame,
    sound::{
        Encoder, Encoding, FRAME_SAMPLES, Samples,
        ogg::{self, Head, Writer},
        recording, wav,
    },
};
use rand::{RngExt, SeedableRng, rngs::StdRng};

use super::{frames, speech, tool};

/// The Opus packets of some frames, in parlor's own encoding of a voice.
fn packets(frames: &[Samples]) -> Vec<Vec<u8>> {
    let mut encoder = Encoder::new(Encoding::default()).unwrap();
    let packet = |frame: &Samples| {
        let mut payload = [0; 64];
        let len = encoder.encode(frame, &mut payload).unwrap();
        VoiceFrame::parse(&payload[..len]).unwrap().opus.bytes().to_vec()
    };
    frames.iter().map(packet).collect()
}

fn folder(name: &str) -> PathBuf {
    let folder = std::env::temp_dir().join(format!("parlor-{name}-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

/// Asserts that `late` is no further behind `early` than what the codec's filters blur, a tenth of a millisecond.
#[track_caller]
fn in_step(early: &[f32], late: &[f32]) {
    let delay = delay(early, late);
    assert!(delay.abs() < 5, "{delay} samples behind");
}

/// By how many samples `late` is behind `early`, where the two are most alike.
fn delay(early: &[f32], late: &[f32]) -> i32 {
    let alike = |shift: &i32| -> f64 {
        let (a, b) = (
            early[2_000..early.len().min(late.len()).min(42_000) - 2_000].iter(),
            late[(2_000 + shift) as usize..].iter(),
        );
        a.zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
    };
    (-1_000..1_000).max_by(|a, b| alike(a).total_cmp(&alike(b))).unwrap()
}

/// Level in dB.
fn level(samples: &[f32]) -> f64 {
    let power = samples.iter().map(|x| f64::from(*x) * f64::from(*x)).sum::<f64>() / samples.len() as f64;
    10.0 * power.max(1e-12).log10()
}

#[test]
fn what_is_written_plays_for_as_long_from_the_same_moment_on() {
    let voice = speech("austen-1.wav");
    for len in [0, 1, 647, 648, 649, 960, 48_000, 48_001, voice.len()] {
        let file = ogg::to_bytes(&voice[..len]).unwrap();
        match ogg::from_bytes(&file) {
            Ok(again) => assert_eq!(again.len(), len),
            Err(error) => assert!(len == 0 && error.to_string().contains("no sound"), "{len}: {error}"),
        }
    }
    let again = ogg::from_bytes(&ogg::to_bytes(&voice).unwrap()).unwrap();
    in_step(&voice, &again);
    // The codec takes off what rumbles below a voice.
    let off = level(&voice) - level(&again);
    assert!(off.abs() < 0.5, "{off:.2} dB");
}

#[test]
fn packets_are_written_as_they_are_and_the_length_is_theirs() {
    let voice = speech("austen-2.wav");
    let packets = packets(&frames(&voice));
    let mut writer = Writer::new(Vec::new(), Head::default().serial(7)).unwrap();
    packets.iter().for_each(|packet| writer.packet(packet).unwrap());
    let whole = writer.samples();
    assert_eq!(whole, (packets.len() * FRAME_SAMPLES) as u64 - 312);
    let file = writer.finish().unwrap();
    // They are there, in order; some go on on another page.
    let body: Vec<u8> = {
        let mut reader = ::ogg::PacketReader::new(std::io::Cursor::new(&file));
        let mut read = Vec::new();
        while let Some(packet) = reader.read_packet().unwrap() {
            assert_eq!(packet.stream_serial(), 7);
            read.push(packet.data);
        }
        assert_eq!(read.len(), packets.len() + 2);
        read[2..].concat()
    };
    assert!(body == packets.concat());
    let again = ogg::from_bytes(&file).unwrap();
    assert_eq!(again.len() as u64, whole);
    in_step(&voice, &again);
}

#[test]
fn packets_of_every_frame_size_count_by_their_own_length() {
    // One frame of CELT at full band, silent; two, and three of 20 ms.
    let celt =
        |size: u8, code: u8| [&[(28 + size) << 3 | code][..], &[0xff, 0xfe][..(usize::from(code) + 1).min(2)]].concat();
    let sizes = [celt(0, 0), celt(1, 0), celt(2, 0), celt(3, 0), celt(3, 1), vec![31 << 3 | 3, 3, 0xff, 0xfe, 0xfd]];
    for (packet, samples) in sizes.iter().zip([120, 240, 480, 960, 1_920, 2_880]) {
        let mut writer = Writer::new(Vec::new(), Head::default().skipping(0)).unwrap();
        for _ in 0..100 {
            writer.packet(packet).unwrap();
        }
        assert_eq!(writer.samples(), 100 * samples, "{packet:?}");
        assert_eq!(ogg::from_bytes(&writer.finish().unwrap()).unwrap().len() as u64, 100 * samples);
    }
}

#[test]
fn what_was_lost_keeps_its_time_and_is_filled_in() {
    let voice = speech("austen-1.wav");
    let packets = packets(&frames(&voice[..96_000]));
    let mut writer = Writer::new(Vec::new(), Head::default()).unwrap();
    for (at, packet) in packets.iter().enumerate() {
        match at {
            // Two frames, and a pause in which nothing was sent.
            40..42 => writer.lost(Duration::from_millis(20)).unwrap(),
            60 => writer.lost(Duration::from_micros(762_500)).unwrap(),
            _ => writer.packet(packet).unwrap(),
        }
    }
    let samples = writer.samples();
    assert_eq!(samples, 99 * 960 + 36_600 - 312);
    let again = ogg::from_bytes(&writer.finish().unwrap()).unwrap();
    assert_eq!(again.len() as u64, samples);
    in_step(&voice, &again);
    assert!(
        level(&again[40 * 960..41 * 960]) > -60.0,
        "a lost frame is silent: {:.0} dB",
        level(&again[40 * 960..41 * 960])
    );

    let mut writer = Writer::new(Vec::new(), Head::default()).unwrap();
    for time in [Duration::from_millis(3), Duration::from_nanos(2_500_001), Duration::from_secs(3_601)] {
        assert!(matches!(writer.lost(time), Err(Error::Unusable { .. })), "{time:?}");
    }
    assert!(matches!(writer.packet(&[]), Err(Error::Malformed { .. })));
    assert!(matches!(writer.packet(&[3, 63]), Err(Error::Malformed { .. })));
    assert_eq!(writer.samples(), 0);
    assert!(writer.finish().unwrap_err().to_string().contains("give it a packet first"));
}

#[test]
fn the_end_is_cut_off_to_the_sample_within_the_last_page() {
    let packets = packets(&frames(&speech("austen-1.wav")[..144_000]));
    let written = || {
        let mut writer = Writer::new(Vec::new(), Head::default()).unwrap();
        packets.iter().for_each(|packet| writer.packet(packet).unwrap());
        writer
    };
    let samples = written().samples();
    for cut in [0, 1, 959, 960, 20_000] {
        let file = written().finish_at(samples - cut).unwrap();
        assert_eq!(ogg::from_bytes(&file).unwrap().len() as u64, samples - cut);
    }
    assert!(written().finish_at(samples + 1).unwrap_err().to_string().contains("less sound than that"));
    assert!(written().finish_at(40_000).unwrap_err().to_string().contains("the last page"));
}

#[test]
fn files_joined_end_to_end_are_read_one_after_the_other() {
    let voice = speech("austen-1.wav");
    let one = ogg::to_bytes(&voice[..30_000]).unwrap();
    let mut writer = Writer::new(Vec::new(), Head::default().serial(2)).unwrap();
    packets(&frames(&voice[..9_600])).iter().for_each(|packet| writer.packet(packet).unwrap());
    let two = writer.finish().unwrap();
    let sound = ogg::from_bytes(&[&one[..], &two].concat()).unwrap();
    assert_eq!(sound.len(), 30_000 + 9_600 - 312);
    in_step(&voice[..9_600], &sound[30_000..]);
    // The first was cut off behind a page, and so never ended.
    let long = ogg::to_bytes(&voice[..144_000]).unwrap();
    let last = long.windows(4).rposition(|four| four == b"OggS").unwrap();
    let cut = ogg::from_bytes(&long[..last]).unwrap().len();
    assert_eq!(ogg::from_bytes(&[&long[..last], &two].concat()).unwrap().len(), cut + 9_600 - 312);
    // What comes after it, if it is no Ogg, is left out.
    assert_eq!(
        ogg::from_bytes(&[&one[..], b"TAG of something else, thirty bytes long"].concat()).unwrap().len(),
        30_000
    );
}

#[test]
fn a_file_that_was_cut_off_is_read_up_to_its_last_whole_page() {
    let file = ogg::to_bytes(&speech("austen-1.wav")[..240_000]).unwrap();
    let mut before = 0;
    for share in 3..10 {
        let sound = ogg::from_bytes(&file[..file.len() * share / 10]).unwrap();
        assert!(sound.len() >= before && sound.len() < 240_000);
        before = sound.len();
    }
    assert!(before > 180_000, "{before}");
}

#[test]
fn a_bad_ogg_is_named_with_what_is_wrong() {
    let good = ogg::to_bytes(&[0.1; 4_800]).unwrap();
    let head = |change: fn(&mut [u8])| {
        let mut file = Vec::new();
        let mut body = b"OpusHead\x01\x01\x38\x01\x80\xbb\0\0\0\0\0".to_vec();
        change(&mut body);
        let mut writer = ::ogg::PacketWriter::new(&mut file);
        writer.write_packet(body, 1, ::ogg::PacketWriteEndInfo::EndPage, 0).unwrap();
        file
    };
    let mut damaged = good.clone();
    let last = damaged.len() - 1;
    damaged[last] ^= 1;
    for (bytes, says) in [
        (vec![], "no Ogg Opus file"),
        (b"this is a shopping list, not sound".to_vec(), "no Ogg Opus file"),
        (wav::to_bytes(&[0.0; 960]).unwrap(), "a WAV file"),
        (b"fLaC and some more, twenty-seven bytes".to_vec(), "a FLAC file"),
        (damaged, "damaged"),
        (good[..200].to_vec(), "no sound"),
        (head(|body| body[18] = 1), "mix it down to stereo"),
        (head(|body| body[18] = 2), "Ambisonic"),
        (head(|body| body[18] = 255), "no order"),
        (head(|body| body[9] = 0), "damaged"),
        (head(|body| body[8] = 0x10), "a later version"),
        (head(|body| body[..8].copy_from_slice(b"\x01vorbis\0")), "Ogg Vorbis"),
        (head(|body| body[..8].copy_from_slice(b"\x7fFLAC\x01\0\0")), "Ogg FLAC"),
        (head(|body| body[..8].copy_from_slice(b"Speex   ")), "Ogg Speex"),
    ] {
        let error = ogg::from_bytes(&bytes).unwrap_err();
        assert!(matches!(error, Error::Malformed { .. }) && error.to_string().contains(says), "{says}: {error}");
    }
}

#[test]
fn a_minute_more_than_an_hour_is_refused_however_few_bytes_it_is() {
    // Three bytes for 120 ms: what is small in the file is not small in memory.
    let packet = [31 << 3 | 3, 6, 0xff, 0xfe, 0xff, 0xfe, 0xff, 0xfe];
    let of = |minutes: usize| {
        let mut writer = Writer::new(Vec::new(), Head::default().skipping(0)).unwrap();
        (0..minutes * 500).for_each(|_| writer.packet(&packet).unwrap());
        writer.finish().unwrap()
    };
    let text = ogg::from_bytes(&of(61)).unwrap_err().to_string();
    assert!(text.contains("longer than an hour"), "{text}");
    assert_eq!(ogg::from_bytes(&of(1)).unwrap().len(), 60 * 48_000);
}

#[test]
fn the_output_gain_of_a_file_counts() {
    let voice = speech("austen-1.wav");
    let mut file = ogg::to_bytes(&voice[..96_000]).unwrap();
    let plain = level(&ogg::from_bytes(&file).unwrap());
    // Six decibels down, in steps of a 256th, and the page's checksum anew.
    file[44..46].copy_from_slice(&(-6 * 256_i16).to_le_bytes());
    let body = file[28..47].to_vec();
    let mut page = Vec::new();
    ::ogg::PacketWriter::new(&mut page)
        .write_packet(body, serial(&file), ::ogg::PacketWriteEndInfo::EndPage, 0)
        .unwrap();
    file[..47].copy_from_slice(&page);
    let off = plain - level(&ogg::from_bytes(&file).unwrap());
    assert!((off - 6.0).abs() < 0.1, "{off:.2} dB");
}

fn serial(file: &[u8]) -> u32 {
    u32::from_le_bytes(file[14..18].try_into().unwrap())
}

#[test]
fn a_recording_is_told_by_its_first_bytes_and_not_by_its_name() {
    let folder = folder("recordings");
    let voice = speech("austen-1.wav");
    ogg::write(folder.join("a.wav"), &voice[..9_600]).unwrap();
    wav::write(folder.join("b.opus"), &voice[..9_600]).unwrap();
    for name in ["a.wav", "b.opus"] {
        assert_eq!(recording::read(folder.join(name)).unwrap().len(), 9_600);
        assert_eq!(recording::from_bytes(&std::fs::read(folder.join(name)).unwrap()).unwrap().len(), 9_600);
    }
    std::fs::write(folder.join("c.wav"), "list").unwrap();
    let text = recording::read(folder.join("c.wav")).unwrap_err().to_string();
    assert!(text.contains("c.wav") && text.contains("no WAV file"), "{text}");
    let text = ogg::read(folder.join("b.opus")).unwrap_err().to_string();
    assert!(text.contains("b.opus") && text.contains("a WAV file"), "{text}");
    // To a file, packet by packet.
    let mut writer = Writer::create(folder.join("d.opus"), Head::default()).unwrap();
    packets(&frames(&voice[..9_600])).iter().for_each(|packet| writer.packet(packet).unwrap());
    writer.finish().unwrap();
    assert_eq!(recording::read(folder.join("d.opus")).unwrap().len(), 9_600 - 312);
    let text = Writer::create(folder.join("no/e.opus"), Head::default()).unwrap_err().to_string();
    assert!(text.contains("e.opus"), "{text}");
    std::fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn a_damaged_file_is_an_error_or_a_sound_but_never_a_panic() {
    let mut rng = StdRng::seed_from_u64(5);
    let good = ogg::to_bytes(&speech("austen-1.wav")[..144_000]).unwrap();
    let (mut read, mut refused) = (0, 0);
    for _ in 0..1_000 {
        let mut file = good.clone();
        for _ in 0..rng.random_range(1..4) {
            // Most of what there is to damage is at the front.
            let within = [60, 300, file.len()][rng.random_range(0..3)];
            file[rng.random_range(0..within)] = rng.random();
        }
        file.truncate(rng.random_range(file.len() / 2..=file.len()));
        // Most would go no further than the checksum.
        let file = if rng.random() { mended(&file) } else { file };
        match ogg::from_bytes(&file) {
            Ok(sound) => read += usize::from(sound.iter().all(|x| x.is_finite())),
            Err(_) => refused += 1,
        }
    }
    assert!(read > 100 && refused > 100, "{read} read, {refused} refused");
}

/// The pages of a file with the checksums that they should have.
fn mended(file: &[u8]) -> Vec<u8> {
    let mut out = file.to_vec();
    let mut at = 0;
    while out[at..].len() > 27 && out[at..].starts_with(b"OggS") {
        let lengths = usize::from(out[at + 26]);
        let Some(body) = out.get(at + 27..at + 27 + lengths) else { break };
        let end = at + 27 + lengths + body.iter().map(|len| usize::from(*len)).sum::<usize>();
        let Some(page) = out.get_mut(at..end) else { break };
        page[22..26].fill(0);
        let sum = page.iter().fold(0_u32, |sum, byte| {
            let sum = sum ^ u32::from(*byte) << 24;
            (0..8).fold(sum, |sum, _| sum << 1 ^ if sum >> 31 == 1 { 0x04c1_1db7 } else { 0 })
        });
        page[22..26].copy_from_slice(&sum.to_le_bytes());
        at = end;
    }
    out
}

#[test]
fn other_players_hear_the_same_for_exactly_as_long() {
    let folder = folder("players");
    let voice = speech("austen-1.wav");
    let (encoded, recorded) = (folder.join("encoded.opus"), folder.join("recorded.opus"));
    ogg::write(&encoded, &voice).unwrap();
    let mut writer = Writer::create(&recorded, Head::default()).unwrap();
    for (at, packet) in packets(&frames(&voice)).iter().enumerate() {
        if at % 50 == 7 { writer.lost(Duration::from_millis(20)) } else { writer.packet(packet) }.unwrap();
    }
    let recorded_len = writer.samples() as usize;
    writer.finish().unwrap();

    let mut players = 0;
    for (file, len) in [(&encoded, voice.len()), (&recorded, recorded_len)] {
        let ours = ogg::read(file).unwrap();
        for (player, sound) in [("opusdec", opusdec(file)), ("ffmpeg", ffmpeg(file))] {
            let Some(sound) = sound else { continue };
            players += 1;
            assert_eq!(sound.len(), len, "{player}: {}", file.display());
            in_step(&ours, &sound);
            let off = level(&ours) - level(&sound);
            assert!(off.abs() < 0.2, "{player}: {off:.2} dB");
        }
        if tool("opusinfo") {
            let said = Command::new("opusinfo").arg(file).output().unwrap();
            let said = String::from_utf8_lossy(&said.stdout).into_owned() + &String::from_utf8_lossy(&said.stderr);
            assert!(!said.contains("WARNING") && !said.contains("ERROR"), "{said}");
        }
    }
    if players == 0 {
        println!("skipped: neither opusdec nor ffmpeg is installed");
    }
    std::fs::remove_dir_all(&folder).unwrap();
}

/// What opusdec makes of a file.
fn opusdec(file: &Path) -> Option<Vec<f32>> {
    let out = file.with_extension("opusdec.wav");
    tool("opusdec").then(|| {
        let done =
            Command::new("opusdec").args(["--quiet", "--no-dither", "--rate", "48000"]).arg(file).arg(&out).output();
        assert!(done.unwrap().status.success());
        let mut reader = hound::WavReader::open(&out).unwrap();
        reader.samples::<i16>().map(|x| f32::from(x.unwrap()) / 32_768.0).collect()
    })
}

/// What ffmpeg makes of a file.
fn ffmpeg(file: &Path) -> Option<Vec<f32>> {
    tool("ffmpeg").then(|| {
        let mut decode = Command::new("ffmpeg");
        decode.args(["-nostdin", "-v", "error", "-i"]).arg(file).args(["-f", "f32le", "-ar", "48000", "-ac", "1", "-"]);
        let done = decode.output().unwrap();
        assert!(done.status.success() && done.stderr.is_empty(), "{}", String::from_utf8_lossy(&done.stderr));
        done.stdout.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()
    })
}
