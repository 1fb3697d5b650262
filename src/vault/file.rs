//! A vault in a file. A whole is written beside it and renamed over it; increments are added to it.
//!
//! Invariant: under its path there is nothing, or a whole and what was appended to it, whenever the process is killed
//! or the power fails. Who may write to the folder may do anything to the file; what they can reach by it, the
//! [module](super) says.

use std::{
    ffi::OsString,
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, Read as _, Write as _},
    path::{Path, PathBuf},
};

use super::{End, MAX_STORED, Vault};
use crate::error::{Error, Item, Result};

/// A [`Vault`] in a file, which nobody but its owner can read (on Unix: mode 0600).
///
/// Beside the file it keeps two more, named after it: `.tmp`, a whole while it is written, of no use to anybody when it
/// is left behind; and `.lock`, empty, which keeps a second vault from opening the same file, in this process or
/// another, and which is left in place. A lock ends with its process, however that ends.
///
/// Durable is what the operating system says is: it is asked to write the file to the disk (`fsync`), and on Unix its
/// name as well.
///
/// ```
/// use parlor::vault::{FileVault, Vault};
/// # let folder = std::env::temp_dir().join(format!("parlor-doc-{}", std::process::id()));
/// # std::fs::create_dir_all(&folder)?;
/// let mut vault = FileVault::open(folder.join("room"))?;
/// vault.store(b"a whole")?;
/// vault.append(b", and an increment")?;
/// assert_eq!(vault.load()?.as_deref(), Some(&b"a whole, and an increment"[..]));
/// # std::fs::remove_dir_all(&folder)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct FileVault {
    folder: PathBuf,
    path: PathBuf,
    tmp: PathBuf,
    end: End,
    lock: File,
}

impl FileVault {
    /// Opens the vault at `path`, in a folder that is there already. Whether anything is kept in it,
    /// [`load`](Vault::load) tells.
    ///
    /// # Errors
    /// [`Error::File`] if the folder is missing, if another vault has the file open, if what is at `path` is no ordinary
    /// file, or if the system refuses; [`Error::Unusable`] if `path` names no file, or one that ends in `.tmp` or `.lock`.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let name = path.file_name().ok_or(Error::Unusable { what: "path", why: "it names no file" })?;
        if path.extension().is_some_and(|end| end == "tmp" || end == "lock") {
            return Err(Error::Unusable {
                what: "path",
                why: "names that end in .tmp and .lock are for the files beside a vault: choose another",
            });
        }
        let folder = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        // Absolute, so that the program may change its working directory.
        let folder = fs::canonicalize(folder).map_err(in_file(folder))?;
        let path = folder.join(name);
        ordinary(&path)?;
        let lock = beside(&path, ".lock");
        ordinary(&lock)?;
        let file = private().create(true).truncate(false).open(&lock).map_err(in_file(&lock))?;
        file.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => {
                let why = "another process has this room open, or another part of this one: close it there first";
                in_file(&path)(io::Error::new(io::ErrorKind::ResourceBusy, why))
            }
            TryLockError::Error(source) => in_file(&lock)(source),
        })?;
        Ok(Self { tmp: beside(&path, ".tmp"), folder, path, end: End::default(), lock: file })
    }

    /// Where the file is: an absolute path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn replace(&self, whole: &[u8]) -> Result<()> {
        // What is left of an earlier one may have been made by anybody.
        remove(&self.tmp)?;
        let write = || {
            let mut file = private().create_new(true).open(&self.tmp)?;
            file.write_all(whole)?;
            file.sync_all()
        };
        if let Err(source) = write() {
            // It may hold up a disk that is full. No more can be done about it here.
            let _ = fs::remove_file(&self.tmp);
            return Err(in_file(&self.tmp)(source));
        }
        fs::rename(&self.tmp, &self.path).map_err(in_file(&self.path))?;
        self.sync_folder()
    }

    fn add(&self, start: usize, increment: &[u8]) -> Result<()> {
        if ordinary(&self.path)? != Some(start as u64) {
            let why = "somebody else has written to this file: store a whole";
            return Err(in_file(&self.path)(io::Error::other(why)));
        }
        let write = || {
            let mut file = OpenOptions::new().append(true).open(&self.path)?;
            file.write_all(increment)?;
            file.sync_data()
        };
        write().map_err(in_file(&self.path))
    }

    /// Makes the names in the folder durable. Elsewhere than on Unix a folder cannot be opened, and the file system sees
    /// to it.
    fn sync_folder(&self) -> Result<()> {
        if cfg!(unix) {
            File::open(&self.folder).and_then(|folder| folder.sync_all()).map_err(in_file(&self.folder))?;
        }
        Ok(())
    }
}

impl Vault for FileVault {
    fn store(&mut self, whole: &[u8]) -> Result<()> {
        self.end.store(whole)?;
        self.replace(whole)?;
        self.end.is(whole.len());
        Ok(())
    }

    fn append(&mut self, increment: &[u8]) -> Result<()> {
        let (start, end) = self.end.append(increment)?;
        self.add(start, increment)?;
        self.end.is(end);
        Ok(())
    }

    fn load(&mut self) -> Result<Option<Vec<u8>>> {
        let Some(length) = ordinary(&self.path)? else { return Ok(None) };
        let too_large = |length| Error::TooLarge {
            what: Item::Snapshot,
            bytes: usize::try_from(length).unwrap_or(usize::MAX),
            limit: MAX_STORED,
        };
        if length > MAX_STORED as u64 {
            return Err(too_large(length));
        }
        let file = match File::open(&self.path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(in_file(&self.path)(source)),
        };
        let mut bytes = Vec::with_capacity(usize::try_from(length).unwrap_or_default());
        // One more than it may be, so that one that grows meanwhile is noticed.
        file.take(MAX_STORED as u64 + 1).read_to_end(&mut bytes).map_err(in_file(&self.path))?;
        if bytes.len() > MAX_STORED { Err(too_large(bytes.len() as u64)) } else { Ok(Some(bytes)) }
    }

    fn erase(&mut self) -> Result<()> {
        self.end = End::default();
        remove(&self.path)?;
        remove(&self.tmp)?;
        self.sync_folder()
    }
}

impl Drop for FileVault {
    fn drop(&mut self) {
        // Closing alone would not do: a process that this one is just starting may still hold a copy of the handle.
        let _ = self.lock.unlock();
    }
}

fn in_file(path: &Path) -> impl FnOnce(io::Error) -> Error {
    |source| Error::File { path: path.to_owned(), source }
}

fn beside(path: &Path, end: &str) -> PathBuf {
    let mut name: OsString = path.as_os_str().to_owned();
    name.push(end);
    name.into()
}

/// For writing, and what it makes is nobody else's to read.
fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.write(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options
}

/// The length of the file at `path`, if there is one.
///
/// # Errors
/// [`Error::File`] if what is there is no file, or a symbolic link: what is stored would be written elsewhere, or the
/// link replaced.
fn ordinary(path: &Path) -> Result<Option<u64>> {
    match fs::symlink_metadata(path) {
        Ok(found) if found.is_file() => Ok(Some(found.len())),
        Ok(_) => {
            let why = "this is a folder, a link or a device: give the path of an ordinary file, or of none yet";
            Err(in_file(path)(io::Error::new(io::ErrorKind::InvalidInput, why)))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(in_file(path)(source)),
    }
}

fn remove(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(in_file(path)(error)),
        _ => Ok(()),
    }
}
