//! The vault in a file: what a crash at any moment leaves, who may open it, and 30 kills of a process at work.
//!
//! `PARLOR_KILLS=1000 cargo test --test vault kill -- --nocapture` kills as often as is asked for.

mod killing;

use std::{fs, io, path::Path, time::Duration};

use killing::{Child, Folder};
use parlor::{
    Error,
    vault::{FileVault, MAX_STORED, Vault},
};

fn refused<T>(result: parlor::Result<T>, kind: io::ErrorKind, why: &str) {
    let error = result.err().expect("refused");
    let Error::File { source, .. } = &error else { panic!("{error}") };
    assert_eq!(source.kind(), kind, "{error}");
    assert!(error.to_string().contains(why), "{error}");
}

fn loaded(path: &Path) -> Option<Vec<u8>> {
    FileVault::open(path).unwrap().load().unwrap()
}

#[test]
fn what_was_stored_and_appended_is_there_when_it_is_opened_again() {
    let folder = Folder::new("vault-again");
    let path = folder.join("room");
    assert_eq!(loaded(&path), None);
    let mut vault = FileVault::open(&path).unwrap();
    vault.store(b"old").unwrap();
    vault.append(b"er").unwrap();
    vault.store(b"whole").unwrap();
    for part in [&b", one"[..], b"", b", two"] {
        vault.append(part).unwrap();
    }
    assert_eq!(vault.load().unwrap().unwrap(), b"whole, one, two");
    drop(vault);
    assert_eq!(loaded(&path).unwrap(), b"whole, one, two");
    assert_eq!(folder.names(), ["room", "room.lock"]);
    FileVault::open(&path).unwrap().erase().unwrap();
    assert_eq!(loaded(&path), None);
    assert_eq!(folder.names(), ["room.lock"]);
    FileVault::open(&path).unwrap().erase().unwrap();
}

#[test]
fn a_crash_while_a_whole_is_written_leaves_the_state_before_it() {
    let folder = Folder::new("vault-store");
    let path = folder.join("room");
    let whole = b"a whole that takes the place of the other";
    for kept in [None, Some(b"kept".as_slice())] {
        for written in 0..=whole.len() {
            let _ = fs::remove_file(&path);
            if let Some(kept) = kept {
                fs::write(&path, kept).unwrap();
            }
            fs::write(folder.join("room.tmp"), &whole[..written]).unwrap();
            let mut vault = FileVault::open(&path).unwrap();
            assert_eq!(vault.load().unwrap().as_deref(), kept);
            vault.store(b"next").unwrap();
            assert_eq!(vault.load().unwrap().unwrap(), b"next");
            assert_eq!(folder.names(), ["room", "room.lock"]);
        }
    }
    fs::write(folder.join("room.tmp"), whole).unwrap();
    FileVault::open(&path).unwrap().erase().unwrap();
    assert_eq!(folder.names(), ["room.lock"]);
}

#[test]
fn a_crash_while_an_increment_is_written_leaves_its_front_and_the_next_write_is_a_whole() {
    let folder = Folder::new("vault-append");
    let path = folder.join("room");
    let all = b"whole, and an increment";
    for written in 5..=all.len() {
        fs::write(&path, &all[..written]).unwrap();
        let mut vault = FileVault::open(&path).unwrap();
        assert_eq!(vault.load().unwrap().unwrap(), all[..written]);
        assert!(matches!(vault.append(b"!"), Err(Error::Unusable { .. })));
        assert_eq!(vault.load().unwrap().unwrap(), all[..written]);
        vault.store(b"next").unwrap();
        vault.append(b"!").unwrap();
        assert_eq!(vault.load().unwrap().unwrap(), b"next!");
    }
}

#[test]
fn a_write_that_fails_is_told_loses_nothing_and_is_followed_by_a_whole() {
    let folder = Folder::new("vault-fails");
    let path = folder.join("room");
    let mut vault = FileVault::open(&path).unwrap();
    vault.store(b"whole").unwrap();
    vault.append(b"!").unwrap();

    // A whole that cannot be written: a folder lies where it is to be prepared.
    fs::create_dir(folder.join("room.tmp")).unwrap();
    assert!(matches!(vault.store(b"next"), Err(Error::File { path, .. }) if path.ends_with("room.tmp")));
    assert_eq!(vault.load().unwrap().unwrap(), b"whole!");
    assert!(matches!(vault.append(b"!"), Err(Error::Unusable { .. })));
    fs::remove_dir(folder.join("room.tmp")).unwrap();
    vault.store(b"next").unwrap();

    // An increment to a file that somebody else has changed, or taken away.
    fs::write(&path, b"an older one, laid in its place").unwrap();
    refused(vault.append(b"!"), io::ErrorKind::Other, "somebody else has written to this file: store a whole");
    assert!(matches!(vault.append(b"!"), Err(Error::Unusable { .. })));
    assert_eq!(vault.load().unwrap().unwrap(), b"an older one, laid in its place");
    vault.store(b"next").unwrap();
    fs::remove_file(&path).unwrap();
    assert!(matches!(vault.append(b"!"), Err(Error::File { .. })));
    assert_eq!((vault.load().unwrap(), path.exists()), (None, false));
    vault.store(b"next").unwrap();
    vault.append(b"!").unwrap();
    assert_eq!(vault.load().unwrap().unwrap(), b"next!");
}

#[test]
fn it_goes_on_working_in_its_folder_when_the_program_gives_a_path_with_turns() {
    let folder = Folder::new("vault-turns");
    fs::create_dir(folder.join("a")).unwrap();
    let vault = FileVault::open(folder.join("a").join("..").join("room")).unwrap();
    assert_eq!(vault.path(), folder.path().canonicalize().unwrap().join("room"));
    assert!(FileVault::open(folder.join("room")).is_err());
}

#[test]
fn what_is_no_place_for_a_file_is_refused_by_name() {
    let folder = Folder::new("vault-places");
    let missing = folder.join("missing");
    let error = FileVault::open(missing.join("room")).unwrap_err();
    assert!(matches!(&error, Error::File { path, .. } if *path == missing), "{error}");
    assert!(error.to_string().contains("check the path"), "{error}");
    fs::write(folder.join("file"), b"").unwrap();
    assert!(FileVault::open(folder.join("file").join("room")).is_err());
    for path in ["", "/", "..", "a.tmp", "a.lock"] {
        assert!(matches!(FileVault::open(path), Err(Error::Unusable { what: "path", .. })), "{path}");
    }
    fs::create_dir(folder.join("folder")).unwrap();
    refused(FileVault::open(folder.join("folder")), io::ErrorKind::InvalidInput, "ordinary file");
    assert_eq!(folder.names(), ["file", "folder"]);
}

#[cfg(unix)]
#[test]
fn a_link_is_neither_followed_nor_replaced() {
    use std::os::unix::fs::symlink;
    let folder = Folder::new("vault-links");
    let (path, target) = (folder.join("room"), folder.join("target"));
    fs::write(&target, b"somebody's").unwrap();
    for name in ["room", "room.lock"] {
        symlink(&target, folder.join(name)).unwrap();
        refused(FileVault::open(&path), io::ErrorKind::InvalidInput, "ordinary file");
        fs::remove_file(folder.join(name)).unwrap();
    }
    let mut vault = FileVault::open(&path).unwrap();
    symlink(&target, folder.join("room.tmp")).unwrap();
    vault.store(b"somebody'").unwrap();
    fs::remove_file(&path).unwrap();
    symlink(&target, &path).unwrap();
    refused(vault.append(b"!"), io::ErrorKind::InvalidInput, "ordinary file");
    refused(vault.load(), io::ErrorKind::InvalidInput, "ordinary file");
    assert_eq!(fs::read(&target).unwrap(), b"somebody's");
}

#[cfg(unix)]
#[test]
fn its_files_are_for_their_owner_only() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = Folder::new("vault-owner");
    let path = folder.join("room");
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    for name in ["room", "room.tmp"] {
        fs::write(folder.join(name), b"left here by somebody").unwrap();
        fs::set_permissions(folder.join(name), fs::Permissions::from_mode(0o644)).unwrap();
    }
    let mut vault = FileVault::open(&path).unwrap();
    vault.store(b"whole").unwrap();
    vault.append(b"!").unwrap();
    assert_eq!((mode(&path), mode(&folder.join("room.lock"))), (0o600, 0o600));
}

#[test]
fn more_than_a_vault_keeps_is_refused_unread_and_unwritten() {
    let folder = Folder::new("vault-large");
    let path = folder.join("room");
    let mut vault = FileVault::open(&path).unwrap();
    vault.store(b"whole").unwrap();
    let large = vec![0; MAX_STORED + 1];
    assert!(matches!(vault.store(&large), Err(Error::TooLarge { .. })));
    assert!(matches!(vault.append(&large[5..]), Err(Error::Unusable { what: "append", .. })));
    // Nothing was written, so it goes on.
    vault.append(b"!").unwrap();
    assert_eq!(vault.load().unwrap().unwrap(), b"whole!");
    // Of zeros that no disk holds.
    fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(1 << 40).unwrap();
    assert!(matches!(vault.load(), Err(Error::TooLarge { bytes, .. }) if bytes == 1 << 40));
}

const HELD: &str = "another process has this room open";

#[test]
fn one_process_at_a_time_has_it_open_and_a_kill_lets_it_go() {
    let folder = Folder::new("vault-lock");
    let mut child = Child::start("the_one_that_holds_the_lock", folder.path());
    assert_eq!(child.next().unwrap(), "open");
    let path = folder.join("room");
    refused(FileVault::open(&path), io::ErrorKind::ResourceBusy, HELD);
    assert!(child.kill().is_empty());
    let vault = FileVault::open(&path).unwrap();
    refused(FileVault::open(&path), io::ErrorKind::ResourceBusy, HELD);
    drop(vault);
    FileVault::open(&path).unwrap();
}

#[test]
fn the_one_that_holds_the_lock() {
    let Some(folder) = killing::folder_of_child() else { return };
    let _vault = FileVault::open(folder.join("room")).unwrap();
    killing::durable("open");
    std::thread::sleep(Duration::from_secs(60));
}

/// The state that `number` stands for, as long as it likes, and different from any other.
fn state(number: u64, most: u64) -> Vec<u8> {
    let length = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) % most;
    let filling = (0..length).map(|at| (number.wrapping_mul(31) ^ at) as u8);
    [number.to_be_bytes(), length.to_be_bytes()].into_iter().flatten().chain(filling).collect()
}

const MOST_WHOLE: u64 = 60_000;
const MOST_INCREMENT: u64 = 3_000;

/// The last state in what was loaded: a whole, states one after the other, and at the end at most a part of the next.
fn last_state(stored: &[u8]) -> u64 {
    let mut number = u64::from_be_bytes(stored[..8].try_into().unwrap());
    let whole = state(number, MOST_WHOLE);
    let mut left = stored.strip_prefix(whole.as_slice()).expect("the whole is whole");
    loop {
        let next = state(number + 1, MOST_INCREMENT);
        let Some(rest) = left.strip_prefix(next.as_slice()) else {
            assert!(next.starts_with(left), "what follows state {number} is no part of the next");
            return number;
        };
        (number, left) = (number + 1, rest);
    }
}

#[test]
fn after_a_kill_at_any_moment_the_last_durable_state_or_the_one_under_way_is_there_and_whole() {
    let folder = Folder::new("vault-kill");
    let path = folder.join("room");
    let (kills, mut promised, mut under_way) = (killing::kills(30), 0, 0);
    for kill in 1..=kills {
        let child = Child::start("the_one_that_is_killed", folder.path());
        let promises = child.kill_at_random(40, Duration::from_millis(4));
        if let Some(last) = promises.last() {
            promised = last.parse().unwrap();
        }
        let found = loaded(&path).map_or(0, |stored| last_state(&stored));
        assert!(found == promised || found == promised + 1, "{found}, with {promised} promised");
        under_way += u32::from(found > promised);
        promised = found;
        killing::progress(kill, kills);
    }
    println!("{promised} states; {under_way} times the one under way was there");
    assert!(promised > u64::from(kills));
}

#[test]
fn the_one_that_is_killed() {
    let Some(folder) = killing::folder_of_child() else { return };
    let mut vault = FileVault::open(folder.join("room")).unwrap();
    let first = vault.load().unwrap().map_or(1, |stored| last_state(&stored) + 1);
    for number in first..first + 1_000_000 {
        if number == first || number % 7 == 0 {
            vault.store(&state(number, MOST_WHOLE)).unwrap();
        } else {
            vault.append(&state(number, MOST_INCREMENT)).unwrap();
        }
        killing::durable(&number.to_string());
    }
}
