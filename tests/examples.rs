//! The scenes in `examples/`, run as a stranger runs them: each ends well, and says what it is there to say.

use std::{
    env,
    path::{Path, PathBuf},
    process::{Command, Output},
    sync::OnceLock,
};

const SCENES: [&str; 4] = ["evening", "hostile_relay", "restream_2021", "waiting_room"];

/// Where the scenes are, built as this test was: `cargo test --test examples` alone would leave them as they were.
fn folder() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        // target/<profile>/deps/<this test>
        let profile = env::current_exe().unwrap().ancestors().nth(2).unwrap().to_owned();
        let mut build = Command::new(env!("CARGO"));
        build.args(["build", "--quiet", "--manifest-path", concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml")]);
        build.arg("--target-dir").arg(profile.parent().unwrap());
        if profile.ends_with("release") {
            build.arg("--release");
        }
        if cfg!(not(feature = "opus")) {
            build.arg("--no-default-features");
        }
        for scene in SCENES.into_iter().chain(cfg!(feature = "opus").then_some("room")) {
            build.args(["--example", scene]);
        }
        if cfg!(feature = "opus") {
            build.args(["--example", "verify_clip"]);
        }
        // What cargo tells a test of its package, build scripts below would take for a change and run again.
        for (name, _) in env::vars_os() {
            if name.to_str().is_some_and(|name| name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_")) {
                build.env_remove(name);
            }
        }
        assert!(build.status().unwrap().success(), "{build:?}");
        profile.join("examples")
    })
}

fn run(scene: &str, args: &[&str]) -> Output {
    Command::new(folder().join(scene)).args(args).output().unwrap()
}

/// What a scene prints that ends well.
fn play(scene: &str) -> String {
    let Output { status, stdout, stderr } = run(scene, &[]);
    let (stdout, stderr) = (String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap());
    assert!(status.success() && stderr.is_empty(), "{scene}, {status}: {stderr}\n{stdout}");
    stdout
}

#[track_caller]
fn says(text: &str, line: &str) {
    assert!(text.contains(line), "it should say {line:?}:\n{text}");
}

#[test]
fn every_scene_explains_itself_and_knows_its_options() {
    for scene in SCENES {
        let help = run(scene, &["--help"]);
        assert!(help.status.success());
        says(&String::from_utf8_lossy(&help.stdout), "Exit status: 0");
        let other = run(scene, &["--wrong"]);
        assert_eq!(other.status.code(), Some(2));
        says(&String::from_utf8_lossy(&other.stderr), "is no option; there is --help");
    }
}

/// The main job, which has options of its own.
#[cfg(feature = "opus")]
#[test]
fn in_the_room_a_forger_is_found_out_and_costs_whom_he_impersonates_nothing() {
    let out = concat!(env!("CARGO_TARGET_TMPDIR"), "/room");
    for (seals, lines) in [
        (
            "live",
            &[
                "s  dora's app on ana: contested: somebody else may have spoken in their name",
                "kept   nothing forged that was played goes unflagged: 0 of ",
                "kept   no frame of the one impersonated is dropped because of it: 0, and ",
                "Every promise kept.",
            ][..],
        ),
        ("strict", &["kept   who speaks in another's name is not played for long: 0 of ", "Every promise kept."]),
        ("off", &["frames were played as ana's, ", "and nobody can tell", "Every promise kept."]),
    ] {
        let Output { stdout, .. } = run("room", &["--seals", seals, "--out", out]);
        let text = String::from_utf8(stdout).unwrap();
        lines.iter().for_each(|line| says(&text, line));
    }
}

#[test]
fn in_the_evening_everybody_hears_whom_they_should_and_nobody_banned_comes_back() {
    let text = play("evening");
    for line in [
        "ana lets in zed, who has a link: all by one commit",
        "cleo's line was for thirty seconds: wiped by 23, left with 0",
        "cleo does not hear zed: They were muted by mo.",
        "zed may not switch their microphone on",
        "ana may not admit zed as a listener: they are banned",
        "zed knocks: zed may not enter: banned from the room",
        "zed tries the link: zed may not enter: banned from the room",
        "“the room is locked”",
        "mo, a moderator, is made a host by ana",
        "ana           md       mdb      md       mdbz     mdb      mdb      mdbz     mdb\n",
        "cleo and 17   amd      amdb     amd      amdbz    amdb     amdb     amdbz    amdb     mdb\n",
        "zed           listens  listens  listens  heard    muted    mic off  heard    not in   not in   over\n",
        "Words heard: 760. Confirmed by a seal of who said them: 760.",
        "Ears that did not hear exactly those who spoke in their room: 0.",
    ] {
        says(&text, line);
    }
}

#[test]
fn nothing_that_the_hostile_relay_does_succeeds_and_what_it_can_do_is_said() {
    let text = play("hostile_relay");
    says(&text, " attempts, 0 succeeded.");
    for line in [
        "have one speak as Ana, unnoticed       100          0  Liv: ",
        "keep Ana from being heard by it        300          0  Liv: 300 of 300 frames of Ana's are heard, ",
        "drop all of two seconds, unnoticed       1          0  Liv is told of Ana: unverified",
        "enter as a ghost, by external commit     1          0  every member: somebody may not enter by external commit",
        "put another host behind the link         1          0  a guest: doorplate refused: its host was substituted",
        "swap two answers                         1          0  the guest: answer to a knock refused",
        "Of Ana's 30 frames Carlo opens 0. Of Ben's, who does not know, 30: the relay can do that.",
        "The room is stale",
        "Once the message has reached Ben, Carlo opens 0 of 30 more.",
        "So that's what the server sees",
    ] {
        says(&text, line);
    }
}

#[test]
fn nobody_outside_opens_a_frame_of_2021_and_the_insider_opens_all() {
    let text = play("restream_2021");
    let row = |who: &str, with: &str| {
        let line = text.lines().find(|line| line.starts_with(who) && line.contains(with)).unwrap();
        let mut numbers = line[60..].split_whitespace().map(str::parse::<u32>);
        (numbers.next().unwrap().unwrap(), numbers.next().unwrap().unwrap())
    };
    assert_eq!(row("the media vendor", "a key guessed"), (300, 0));
    let (tried, opened) = row("the media vendor", "32 bytes in a row");
    assert!(tried > 10_000 && opened == 0, "{opened} of {tried}");
    assert_eq!(row("a stranger", "a room of his own"), (300, 0));
    assert_eq!(row("Carlo, removed", "his old keys"), (260, 0));
    assert_eq!(row("Carlo, removed", "relabelled"), (260, 0));
    assert_eq!(row("Nina, late", "a recording of before"), (170, 0));
    assert_eq!(row("Carlo, before", "his seat"), (40, 40));
    says(&text, "Liv has 300 of 300 frames in the clear. Nothing can stop a listener who");
}

#[test]
fn in_the_waiting_room_one_at_a_time_is_called_in_and_all_knocks_look_alike() {
    let text = play("waiting_room");
    for line in [
        "“kit, please.” In the room: ito, kit ",
        "“lea, please.” In the room: ito, lea ",
        "“max, please.” In the room: ito, max ",
        "sam knocks a third time. Dr Ito is not even asked.",
        "for good: do not knock again",
        "The relay carried 6 knocks, each of 2113 bytes,",
        "and 6 answers, each of 4096 bytes: a yes looks like a no.",
        "found in its log: 0.",
    ] {
        says(&text, line);
    }
}

#[cfg(feature = "opus")]
#[test]
fn a_clip_verifies_from_its_file_alone_and_no_forgery_of_it_does() {
    let folder = env::temp_dir().join(format!("parlor-clip-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let path = |name: &str| folder.join(name).to_str().unwrap().to_owned();
    let (clip, wav) = (path("true.clip"), path("said.wav"));
    let made = run("verify_clip", &["--save", &clip]);
    let text = String::from_utf8(made.stdout).unwrap();
    assert!(made.status.success(), "{text}");
    says(&text, "  frames       200 verified, 0 missing");
    says(&text, "ana's media keys as his: he has said it      a seal in it is not its speaker's");
    says(&text, "Taken for true: 0.");

    let verified = run("verify_clip", &[&clip, "--wav", &wav]);
    assert_eq!(verified.status.code(), Some(0));
    says(&String::from_utf8_lossy(&verified.stdout), "  length       4.00 s");
    assert_eq!(std::fs::metadata(&wav).unwrap().len(), 44 + 2 * 4 * 48_000);

    let mut bent = std::fs::read(&clip).unwrap();
    bent[5000] ^= 1;
    std::fs::write(path("bent.clip"), bent).unwrap();
    let refused = run("verify_clip", &[&path("bent.clip"), "--gaps"]);
    assert_eq!(refused.status.code(), Some(1));
    says(&String::from_utf8_lossy(&refused.stdout), "NOT VERIFIED: clip refused: it is not what its exporter signed");
    for (args, why) in [
        (vec!["--wrong"], "is no option; there is --help"),
        (vec![&path("none.clip")], "none.clip"),
        (vec![&clip, &clip], "one clip at a time"),
    ] {
        let failed = run("verify_clip", &args);
        assert_eq!(failed.status.code(), Some(2));
        says(&String::from_utf8_lossy(&failed.stderr), why);
    }
    says(&String::from_utf8_lossy(&run("verify_clip", &["--help"]).stdout), "Exit status: 0");
    std::fs::remove_dir_all(folder).unwrap();
}
