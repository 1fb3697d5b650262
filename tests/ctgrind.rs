//! No branch and no address depends on a secret, but for one branch: whether a tag is right.
//!
//! The trick is ctgrind's (Adam Langley, 2010): valgrind is told that the memory of the secrets is undefined, and then
//! reports each jump and each address that depends on it, in this crate and in all that it calls. Run by hand, it is
//! `cargo test --test ctgrind -- --nocapture`, with `--release` for the code that ships. Each scene runs this program
//! again under valgrind.
//!
//! | scene | undefined | what may depend on it |
//! |---|---|---|
//! | each suite by each backend | base key, and the frames themselves | accepted or refused, one branch |
//! | seals | the seed of the media key | nothing |
//! | an identity | the seed of the identity | nothing |
//! | a vault | the vault key | accepted or refused, one branch |
//! | the planted leak | a tag, compared byte by byte until one differs | it is found, or this test is worth nothing |
//!
//! What comes out of the AEAD, once it is known to be a member's, is read as any other text: a seal's signature is
//! verified and a snapshot is parsed in times that depend on them. So is what everybody may know: packets, hashes of
//! packets, commitments to a nonce when it is revealed, names, keys that were published.
#![cfg(all(target_os = "linux", target_arch = "x86_64"))]

mod common;

use std::{collections::BTreeSet, env, fs, hint::black_box, process::Command, time::Duration};

use parlor::{
    EpochKeys, Identity, LeafIndex, Room, Settings, Suite, Voice,
    media::{
        Backend, Speaker,
        seal::{MediaCertificate, MediaKey, SealKeys, SealRules},
    },
    vault::VaultKey,
};
use zeroize::Zeroizing;

const SCENE: &str = "PARLOR_CTGRIND";

/// Asks valgrind for something about `bytes`; without valgrind it is nothing.
fn ask(request: u64, bytes: &[u8]) {
    let args = [request, bytes.as_ptr() as u64, bytes.len() as u64, 0, 0, 0];
    // SAFETY: the special sequence of valgrind.h, which turns a register round to what it was and exchanges another
    // with itself. Under valgrind the request changes no memory, only what valgrind notes about it.
    unsafe {
        std::arch::asm!(
            "rol rdi, 3", "rol rdi, 13", "rol rdi, 61", "rol rdi, 51", "xchg rbx, rbx",
            in("rax") args.as_ptr(), inout("rdx") 0_u64 => _, options(nostack),
        );
    }
}

/// From here on whatever depends on it is reported.
fn undefine(bytes: &[u8]) {
    ask(0x4d43_0001, black_box(bytes));
}

/// It has been sent: everybody may know it.
fn publish(bytes: &[u8]) {
    ask(0x4d43_0002, black_box(bytes));
}

fn secret(byte: u8) -> Zeroizing<[u8; 32]> {
    let secret = Zeroizing::new([byte; 32]);
    undefine(&*secret);
    secret
}

fn voice(suite: Suite, backend: Backend, base_key: u8, hidden: bool, me: u32, seals: Option<SealKeys>) -> Voice {
    let base_key = Zeroizing::new(vec![base_key; suite.key_len()]);
    if hidden {
        undefine(&base_key);
    }
    let stage = [1, 2].map(|leaf| Speaker { leaf: LeafIndex(leaf), id: common::id(leaf) }).to_vec();
    let layout = parlor::KeyIdLayout::default();
    let keys = EpochKeys::new(suite, layout, 7, base_key, LeafIndex(me), stage, Duration::ZERO).unwrap();
    let keys = keys.with_backend(backend).unwrap();
    Voice::new(seals.into_iter().fold(keys, |keys, seals| keys.with_seals(seals).unwrap()))
}

/// Packets are sealed and opened: good ones, and ones altered in tag, text and counter.
fn frames(suite: Suite, backend: Backend) {
    let [mut speaker, mut ear] = [1, 2].map(|leaf| voice(suite, backend, 5, true, leaf, None));
    for round in 0..8_u8 {
        let frame = vec![round; 120];
        undefine(&frame);
        let packet = speaker.seal(&frame).unwrap();
        publish(&packet);
        let counter = packet.len() - 120 - 16 - 1;
        for at in [packet.len() - 1, packet.len() - 16, packet.len() - 17, counter + 1, counter] {
            let mut altered = packet.clone();
            altered[at] ^= 1;
            assert!(ear.open(&altered, Duration::ZERO).is_err(), "byte {at}");
        }
        assert!(ear.open(&packet, Duration::ZERO).is_ok());
    }
}

/// Frames are hashed and their seals signed and checked.
fn seals() {
    let identity = Identity::from_secret("ana", &[3; 32]).unwrap();
    let seed = secret(9);
    let key = MediaKey::from_seed(&seed);
    let certificate = MediaCertificate::new(&identity, &key).to_bytes();
    publish(&certificate);
    let certificate = MediaCertificate::from_bytes(&certificate).unwrap();
    let keys = |signer| {
        let keys = SealKeys::new(SealRules::default(), b"transcript");
        let keys = keys.with_speaker(LeafIndex(1), common::id(1), "ana", certificate);
        Option::into_iter(signer).fold(keys, SealKeys::with_signer)
    };
    let suite = Suite::default();
    let mut speaker = voice(suite, Backend::default(), 5, false, 1, Some(keys(Some(key))));
    let mut ear = voice(suite, Backend::default(), 5, false, 2, Some(keys(None)));
    for round in 0..60_u8 {
        let packet = speaker.seal(&[round; 120]).unwrap();
        ear.open(&packet, Duration::ZERO).unwrap();
        while let Some(seal) = speaker.next_seal(Duration::ZERO) {
            publish(&seal);
            let _ = ear.open(&seal, Duration::ZERO);
        }
    }
}

fn identity() {
    let identity = Identity::from_secret("ana", &secret(3)).unwrap();
    let id = identity.id();
    publish(id.as_bytes());
    let certificate = MediaCertificate::new(&identity, &MediaKey::from_seed(&[9; 32])).to_bytes();
    publish(&certificate);
}

/// A state is sealed, and one that was altered is refused.
fn vault() {
    let ana = || Identity::from_secret("ana", &[3; 32]).unwrap();
    let (mut room, _) = Room::create(ana(), Settings::default()).unwrap();
    let key = VaultKey::from_bytes(&secret(4));
    let stored = room.snapshot(&key).unwrap();
    publish(&stored);
    for at in [stored.len() - 1, stored.len() - 20, 50, 20] {
        let mut altered = stored.clone();
        altered[at] ^= 1;
        assert!(Room::restore(ana(), &key, &altered, Duration::ZERO).is_err());
    }
}

/// What a comparison must not be.
#[inline(never)]
fn is_same(one: &[u8], other: &[u8]) -> bool {
    for (one, other) in one.iter().zip(other) {
        if black_box(*one) != black_box(*other) {
            return false;
        }
    }
    true
}

fn planted() {
    let tag = secret(7);
    let same = [u8::from(black_box(is_same(&tag[..16], &[7; 16])))];
    publish(&same);
    println!("{same:?}");
}

type Scene = (String, Box<dyn Fn()>, &'static [[&'static str; 2]]);

/// The scenes, and the functions in which the one branch may be.
fn scenes() -> Vec<Scene> {
    let mut scenes: Vec<Scene> = Vec::new();
    for suite in Suite::ALL {
        for backend in Backend::ALL {
            let name = format!("{suite:?} by {backend:?}");
            scenes.push((name, Box::new(move || frames(suite, *backend)), VERDICTS));
        }
    }
    if cfg!(debug_assertions) {
        eprintln!("skipped: seals and an identity, for overflow checks are branches too: they need --release");
    } else {
        scenes.push(("seals".into(), Box::new(seals), &[]));
        scenes.push(("an identity".into(), Box::new(identity), &[]));
    }
    scenes.push(("a vault".into(), Box::new(vault), VERDICTS));
    scenes.push(("the planted leak".into(), Box::new(planted), &[["is_same", "planted"]]));
    scenes
}

/// Where it is told whether a tag is right, and who acts on it: each is a function, and another that must be below it
/// in the stack. The AEADs tell by a value and not by a branch, so that it shows up where the value is used, down to the
/// pointer to what was opened, which is null if nothing was.
const VERDICTS: &[[&str; 2]] = &[
    ["ring::aead::algorithm::Algorithm::open_within", "backend.rs"],
    ["(src/cipher.rs:87", "backend.rs"],
    ["AeadInPlace>::decrypt_in_place_detached (src/lib.rs:305", "backend.rs"],
    // `subtle` makes sure that a choice is 0 or 1, in builds with debug assertions.
    ["subtle::Choice, bool>", "decrypt_in_place_detached"],
    ["backend::Refused", "backend.rs"],
    ["open_at (voice.rs", "parlor::media::voice::Voice::open"],
    ["to_vec<u8", "parlor::media::voice::Voice::open"],
];

#[test]
fn nothing_but_whether_a_tag_is_right_depends_on_a_secret() {
    if let Ok(name) = env::var(SCENE) {
        let scenes = scenes();
        let (_, scene, _) = scenes.iter().find(|(scene, ..)| *scene == name).unwrap();
        return scene();
    }
    if Command::new("valgrind").arg("--version").output().is_err() {
        eprintln!("skipped: valgrind is not installed (apt-get install valgrind), so that nothing was tested");
        return;
    }
    let mut wrong = Vec::new();
    for (at, (name, _, branches)) in scenes().into_iter().enumerate() {
        let log = env::temp_dir().join(format!("parlor-ctgrind-{}-{at}", std::process::id()));
        let ran = Command::new("valgrind")
            .args(["--error-limit=no", "--num-callers=16", "--undef-value-errors=yes", "--leak-check=no"])
            .arg(format!("--log-file={}", log.display()))
            .arg(env::current_exe().unwrap())
            .args(["nothing_but_whether_a_tag_is_right_depends_on_a_secret", "--exact", "--nocapture"])
            .arg("--test-threads=1")
            .env(SCENE, &name)
            .output()
            .unwrap();
        let said = fs::read_to_string(&log).unwrap();
        fs::remove_file(&log).unwrap();
        assert!(ran.status.success(), "{name}: {}{said}", String::from_utf8_lossy(&ran.stderr));
        let reports = reports(&said);
        println!("{name}: {} branches or addresses depend on a secret", reports.len());
        for report in &reports {
            println!("{}", report.iter().take(5).map(|line| format!("    {line}\n")).collect::<String>());
        }
        let is_known = |report: &Vec<String>| {
            branches.iter().any(|[function, below]| {
                let at = report.iter().take(6).position(|line| line.contains(function));
                at.is_some_and(|at| report[at..].iter().any(|line| line.contains(below)))
            })
        };
        // Where one is to be seen and is not, the search is blind.
        if reports.is_empty() != branches.is_empty() || !reports.iter().all(is_known) {
            wrong.push(name);
        }
    }
    assert!(wrong.is_empty(), "something else than the verdict depends on a secret, or nothing does: {wrong:?}");
}

/// What valgrind reported: the kind, and the functions it was in, from the innermost.
fn reports(log: &str) -> Vec<Vec<String>> {
    let (mut reports, mut report): (BTreeSet<Vec<String>>, Vec<String>) = (BTreeSet::new(), Vec::new());
    for line in log.lines() {
        let Some((_, line)) = line.split_once("== ") else { continue };
        let frame = line.trim_start();
        match frame.split_once(": ") {
            Some((place, function)) if place.starts_with("at 0x") || place.starts_with("by 0x") => {
                report.push(function.to_owned());
            }
            _ => {
                if report.len() > 1 {
                    reports.insert(std::mem::take(&mut report));
                }
                report.clear();
                if ["depends on uninit", "uninitialised value", "Invalid"].iter().any(|kind| frame.contains(kind)) {
                    report.push(frame.to_owned());
                }
            }
        }
    }
    reports.into_iter().collect()
}
