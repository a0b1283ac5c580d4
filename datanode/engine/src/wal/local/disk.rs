//! The one folder a local log uses, on the operating system or simulated.
//!
//! An enum and not a trait: the simulated disk is no second product, it is how
//! power cuts are tested against the real log.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use varve_model::{Error, ErrorKind, Result};

use super::shim::{SimDisk, SimFile, SimLock};

/// A folder. Cheap to clone. All calls block.
#[derive(Clone, Debug)]
pub enum Disk {
    /// A directory.
    Os(PathBuf),
    /// Memory that can lose what was not synced.
    Shim(SimDisk),
}

/// An open file.
#[derive(Debug)]
pub enum DiskFile {
    /// A file of the operating system.
    Os(File),
    /// A file in memory.
    Shim(SimFile),
}

/// Held as long as nobody else may use the folder.
#[derive(Debug)]
pub enum DiskLock {
    /// The lock goes with the file.
    Os(#[allow(dead_code, reason = "held for its lock")] File),
    /// The lock goes with the value.
    Shim(#[allow(dead_code, reason = "held for its lock")] SimLock),
}

const LOCK: &str = "lock";

impl Disk {
    /// Creates the folder, durably, and takes its lock. Errors: `Unavailable` when another process has it.
    pub fn lock(&self) -> Result<DiskLock> {
        let taken = |place: String| {
            Error::unavailable(format!("the write-ahead log in {place} is in use by another process"))
                .with_hint("one data directory serves one varve process")
        };
        match self {
            Self::Os(path) => {
                create_folder(path).map_err(|error| failed("create the folder", path, error))?;
                let file = OpenOptions::new()
                    .create(true)
                    .truncate(false)
                    .write(true)
                    .open(path.join(LOCK))
                    .map_err(|error| failed("open the lock", path, error))?;
                match file.try_lock() {
                    Ok(()) => Ok(DiskLock::Os(file)),
                    Err(std::fs::TryLockError::WouldBlock) => Err(taken(path.display().to_string())),
                    Err(std::fs::TryLockError::Error(error)) => Err(failed("lock the folder", path, error)),
                }
            }
            Self::Shim(disk) => disk.lock().map(DiskLock::Shim).ok_or_else(|| taken("memory".to_owned())),
        }
    }

    /// Names and sizes of the files, sorted by name.
    pub fn list(&self) -> io::Result<Vec<(String, u64)>> {
        match self {
            Self::Os(path) => {
                let mut files = Vec::new();
                for entry in std::fs::read_dir(path)? {
                    let entry = entry?;
                    if let Ok(name) = entry.file_name().into_string() {
                        files.push((name, entry.metadata()?.len()));
                    }
                }
                files.sort();
                Ok(files)
            }
            Self::Shim(disk) => Ok(disk.list()),
        }
    }

    /// At most `len` bytes from `offset`; fewer at the end of the file.
    pub fn read(&self, name: &str, offset: u64, len: u64) -> io::Result<Vec<u8>> {
        match self {
            Self::Os(path) => {
                let file = File::open(path.join(name))?;
                let len = file.metadata()?.len().saturating_sub(offset).min(len);
                let mut bytes = vec![0; len as usize];
                file.read_exact_at(&mut bytes, offset)?;
                Ok(bytes)
            }
            Self::Shim(disk) => disk.read(name, offset, len),
        }
    }

    /// Creates or empties a file and reserves room.
    pub fn create(&self, name: &str, bytes: u64) -> io::Result<DiskFile> {
        match self {
            Self::Os(path) => {
                let file = OpenOptions::new().create(true).truncate(true).write(true).open(path.join(name))?;
                if bytes > 0 {
                    let reserved = rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, bytes);
                    match reserved {
                        // Some file systems cannot reserve; then space is taken when written.
                        Ok(()) | Err(rustix::io::Errno::OPNOTSUPP) => {}
                        Err(error) => return Err(error.into()),
                    }
                }
                Ok(DiskFile::Os(file))
            }
            Self::Shim(disk) => disk.create(name, bytes).map(DiskFile::Shim),
        }
    }

    /// Renames, replacing the target.
    pub fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        match self {
            Self::Os(path) => std::fs::rename(path.join(from), path.join(to)),
            Self::Shim(disk) => disk.rename(from, to),
        }
    }

    /// Removes a file.
    pub fn remove(&self, name: &str) -> io::Result<()> {
        match self {
            Self::Os(path) => std::fs::remove_file(path.join(name)),
            Self::Shim(disk) => disk.remove(name),
        }
    }

    /// Makes creations, renames and removals durable.
    pub fn sync_folder(&self) -> io::Result<()> {
        match self {
            Self::Os(path) => File::open(path)?.sync_all(),
            Self::Shim(disk) => {
                disk.sync_folder();
                Ok(())
            }
        }
    }

    /// For error texts.
    pub fn place(&self) -> String {
        match self {
            Self::Os(path) => path.display().to_string(),
            Self::Shim(_) => "memory".to_owned(),
        }
    }
}

impl DiskFile {
    /// Writes all bytes at an offset.
    pub fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Os(file) => file.write_all_at(bytes, offset),
            Self::Shim(file) => file.write_at(offset, bytes),
        }
    }

    /// Makes the file's bytes durable.
    pub fn sync(&self) -> io::Result<()> {
        match self {
            Self::Os(file) => file.sync_data(),
            Self::Shim(file) => file.sync(),
        }
    }

    /// Sets the size.
    pub fn set_len(&self, len: u64) -> io::Result<()> {
        match self {
            Self::Os(file) => file.set_len(len),
            Self::Shim(file) => {
                file.set_len(len);
                Ok(())
            }
        }
    }
}

/// Creates a folder and makes each created level durable in its parent.
fn create_folder(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    create_folder(parent)?;
    match std::fs::create_dir(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    File::open(parent)?.sync_all()
}

fn failed(doing: &str, path: &Path, error: io::Error) -> Error {
    Error::new(ErrorKind::Unavailable, format!("cannot {doing} {}: {error}", path.display())).with_source(error)
}
