//! A test that runs as a child of itself and is killed at a moment of its parent's choosing.
//!
//! The child is a test of the same file. It asks [`folder_of_child`] whether it is to work, and says with [`durable`]
//! what it can promise; the parent starts it with [`Child::start`] and reads these promises to the last, also after
//! the kill. A kill leaves what the system has been given: that a disk keeps it over a power cut is not shown by it.
#![allow(dead_code, unreachable_pub, reason = "each test file uses its own part")]

use std::{
    env, fs,
    io::{self, BufRead as _, BufReader, Write as _},
    path::{Path, PathBuf},
    process::{ChildStderr, Command, Stdio},
    thread,
    time::Duration,
};

pub const FOLDER: &str = "PARLOR_KILLED_IN";
const MARK: &str = "durable: ";

/// The folder to work in, if this process is to be killed; nothing in an ordinary run of the tests.
pub fn folder_of_child() -> Option<PathBuf> {
    env::var_os(FOLDER).map(PathBuf::from)
}

/// Promises the parent that what `line` stands for is there, whatever happens from here on. Ends the process if nobody
/// listens.
pub fn durable(line: &str) {
    // In one write: a line is there or not.
    if io::stderr().write_all(format!("{MARK}{line}\n").as_bytes()).is_err() {
        std::process::exit(1);
    }
}

/// How many kills: `PARLOR_KILLS`, or `otherwise`.
pub fn kills(otherwise: u32) -> u32 {
    env::var("PARLOR_KILLS").map_or(otherwise, |kills| kills.parse().expect("PARLOR_KILLS is a number"))
}

/// Tells how far it is, ten times in all.
pub fn progress(done: u32, all: u32) {
    if done.is_multiple_of((all / 10).max(1)) || done == all {
        println!("{done} of {all} kills");
    }
}

/// A child at work, killed when dropped.
pub struct Child {
    process: std::process::Child,
    promises: BufReader<ChildStderr>,
}

impl Child {
    /// Starts the test `name` of this file as a child that works in `folder`.
    pub fn start(name: &str, folder: &Path) -> Self {
        let mut process = Command::new(env::current_exe().unwrap())
            .args(["--exact", name, "--nocapture", "--test-threads=1"])
            .env(FOLDER, folder)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let promises = BufReader::new(process.stderr.take().unwrap());
        Self { process, promises }
    }

    /// Waits for its next promise; nothing if it has ended, or was killed before it made one.
    pub fn next(&mut self) -> Option<String> {
        loop {
            let mut line = String::new();
            self.promises.read_line(&mut line).unwrap();
            let ended = line.strip_suffix('\n')?;
            match ended.strip_prefix(MARK) {
                Some(promise) => return Some(promise.to_owned()),
                None => println!("child: {ended}"),
            }
        }
    }

    /// Kills it (`SIGKILL`) at once, and gives what it promised and had not been read.
    pub fn kill(mut self) -> Vec<String> {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
        std::iter::from_fn(|| self.next()).collect()
    }

    /// Waits for a number of promises below `promises`, then for less than `pause`, both at random, and kills it. Gives
    /// all that it promised.
    pub fn kill_at_random(mut self, promises: u32, pause: Duration) -> Vec<String> {
        let before = rand::random_range(0..promises);
        let mut all: Vec<String> = (0..before).map(|_| self.next().expect("the child goes on until killed")).collect();
        thread::sleep(pause.mul_f64(rand::random_range(0.0..1.0)));
        assert!(self.process.try_wait().unwrap().is_none(), "the child ended by itself");
        all.extend(self.kill());
        all
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A folder of a test's own, gone when dropped.
pub struct Folder(PathBuf);

impl Folder {
    pub fn new(test: &str) -> Self {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{test}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    pub fn join(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// The names in it, in order.
    pub fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.0).unwrap();
        let mut names: Vec<String> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
