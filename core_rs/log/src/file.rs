//! The real disk: a directory, held by one process at a time through an flock.

use super::disk::{Disk, DiskFile};
use super::error::LogError;
use rustix::fs::{Advice, FallocateFlags, FlockOperation};
use std::fs::{File, OpenOptions};
use std::io::{self, IoSlice, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Holds the owner's process id as text, for people. The lock is on the directory itself: a file could be removed, and
/// another one locked in its place.
const LOCK: &str = "LOCK";

/// Linux draws it at each boot (Documentation/admin-guide/sysctl/kernel.rst).
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// A directory on a file system.
#[derive(Debug)]
pub struct FileDisk {
    path: PathBuf,
    dir: File,
    held: bool,
}

impl FileDisk {
    /// Opens the directory for a server, making it if need be, and holds it until dropped.
    ///
    /// # Errors
    /// [`LogError::InUse`] if another process holds it.
    pub fn open(path: &Path) -> Result<Self, LogError> {
        let named = |doing| move |error: io::Error| LogError::io(doing, &path.display().to_string(), &error);
        std::fs::create_dir_all(path).map_err(named("make"))?;
        let mut disk = Self::open_read_only(path)?;
        match rustix::fs::flock(&disk.dir, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => disk.held = true,
            Err(rustix::io::Errno::WOULDBLOCK) => {
                return Err(LogError::InUse { path: disk.path(), pid: pid_in(&path.join(LOCK)) });
            }
            Err(error) => return Err(named("lock")(error.into())),
        }
        // For people only; a full disk must not keep a server from serving what it holds.
        let _ = write_pid(&path.join(LOCK));
        // The directory's own name, for a first start.
        if let Some(parent) = path.canonicalize().ok().as_deref().and_then(Path::parent) {
            File::open(parent).and_then(|dir| dir.sync_all()).map_err(named("sync the parent of"))?;
        }
        Ok(disk)
    }

    /// Opens the directory to read it only, whoever holds it; what it reads may be changing.
    pub fn open_read_only(path: &Path) -> Result<Self, LogError> {
        let dir = File::open(path).map_err(|error| LogError::io("open", &path.display().to_string(), &error))?;
        Ok(FileDisk { path: path.to_owned(), dir, held: false })
    }

    /// The process that holds the directory, if one does; 0 if it has not written its id.
    pub fn holder(&self) -> Option<u32> {
        let dir = File::open(&self.path).ok()?;
        match rustix::fs::flock(&dir, FlockOperation::NonBlockingLockShared) {
            Err(rustix::io::Errno::WOULDBLOCK) => Some(pid_in(&self.path.join(LOCK))),
            _ => None,
        }
    }

    /// The descriptor that holds the directory; whoever is given it holds it too.
    pub fn lock_fd(&self) -> Option<BorrowedFd<'_>> {
        self.held.then(|| self.dir.as_fd())
    }
}

fn pid_in(lock: &Path) -> u32 {
    let mut text = String::new();
    let read = File::open(lock).and_then(|file| file.take(16).read_to_string(&mut text));
    read.ok().and_then(|_| text.trim().parse().ok()).unwrap_or(0)
}

/// In place, so that what the file takes of a full disk is not lost to somebody else.
fn write_pid(lock: &Path) -> io::Result<()> {
    let mut lock = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(lock)?;
    let text = format!("{}\n", std::process::id());
    lock.write_all(text.as_bytes())?;
    lock.set_len(text.len() as u64)
}

impl Disk for FileDisk {
    type File = File;

    fn list(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in std::fs::read_dir(&self.path)? {
            names.extend(entry?.file_name().into_string());
        }
        Ok(names)
    }

    fn create(&self, name: &str) -> io::Result<File> {
        OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(self.path.join(name))
    }

    fn open(&self, name: &str, write: bool) -> io::Result<File> {
        OpenOptions::new().read(true).write(write).open(self.path.join(name))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        std::fs::rename(self.path.join(from), self.path.join(to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        std::fs::remove_file(self.path.join(name))
    }

    fn sync_dir(&self) -> io::Result<()> {
        self.dir.sync_all()
    }

    fn random(&self) -> io::Result<[u8; 16]> {
        let mut bytes = [0; 16];
        let n = rustix::rand::getrandom(&mut bytes[..], rustix::rand::GetRandomFlags::empty())?;
        if n < bytes.len() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(bytes)
    }

    fn boot(&self) -> u128 {
        let text = std::fs::read_to_string(BOOT_ID).unwrap_or_default();
        u128::from_str_radix(&text.trim_end().replace('-', ""), 16).unwrap_or(0)
    }

    fn path(&self) -> String {
        self.path.display().to_string()
    }
}

impl DiskFile for File {
    fn len(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn read_at(&self, into: &mut [u8], offset: u64) -> io::Result<usize> {
        FileExt::read_at(self, into, offset)
    }

    fn write_at(&self, from: &[IoSlice<'_>], offset: u64) -> io::Result<usize> {
        Ok(rustix::io::pwritev(self, from, offset)?)
    }

    fn reserve(&self, len: u64) -> io::Result<()> {
        match rustix::fs::fallocate(self, FallocateFlags::empty(), 0, len) {
            Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS) => fill_with_zeros(self, len),
            other => Ok(other?),
        }
    }

    fn truncate(&self, len: u64) -> io::Result<()> {
        self.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        File::sync_data(self)
    }

    fn sync_all(&self) -> io::Result<()> {
        File::sync_all(self)
    }

    fn will_read(&self, offset: u64, len: u64) {
        let _ = rustix::fs::fadvise(self, offset, std::num::NonZeroU64::new(len), Advice::WillNeed);
    }
}

/// For a file system that cannot reserve: written zeros hold their space (copy-on-write file systems aside).
fn fill_with_zeros(file: &File, len: u64) -> io::Result<()> {
    let zeros = vec![0; 1 << 20];
    let mut at = file.metadata()?.len();
    while at < len {
        let piece = zeros.get(..(len - at).min(zeros.len() as u64) as usize).unwrap_or_default();
        file.write_all_at(piece, at)?;
        at += piece.len() as u64;
    }
    Ok(())
}
