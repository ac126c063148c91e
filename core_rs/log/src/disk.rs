//! What the log asks of a disk: a flat directory of files. Small, so that a test can be the disk.

use std::io::{self, IoSlice};

/// One directory of files. Names hold no slash.
///
/// Nothing is on disk before the sync that covers it: a file's bytes and length before its own sync, its name before
/// [`Disk::sync_dir`]. What is unsynced may survive a crash in whole, in part, in any order, or not at all.
pub trait Disk {
    /// An open file.
    type File: DiskFile;
    /// The names in the directory, in any order.
    fn list(&self) -> io::Result<Vec<String>>;
    /// Makes an empty file; fails if the name is taken.
    fn create(&self, name: &str) -> io::Result<Self::File>;
    /// Opens a file, for writing too if `write`.
    fn open(&self, name: &str, write: bool) -> io::Result<Self::File>;
    /// Renames a file; one that had the new name is replaced, at once or not at all.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;
    /// Removes a file.
    fn remove(&self, name: &str) -> io::Result<()>;
    /// Brings creations, renames and removals to disk.
    fn sync_dir(&self) -> io::Result<()>;
    /// Bytes that nobody can guess.
    fn random(&self) -> io::Result<[u8; 16]>;
    /// Tells this boot of the machine from all others; 0: not known. What was written in an earlier boot, and not synced,
    /// may be gone.
    fn boot(&self) -> u128;
    /// Where the directory is, for messages.
    fn path(&self) -> String;
}

/// An open file of a [`Disk`].
pub trait DiskFile {
    /// Its length, bytes.
    fn len(&self) -> io::Result<u64>;
    /// Whether it has no bytes.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }
    /// Reads some bytes at `offset`; 0 at the end of the file.
    fn read_at(&self, into: &mut [u8], offset: u64) -> io::Result<usize>;
    /// Writes some bytes at `offset`, in order; says how many.
    fn write_at(&self, from: &[IoSlice<'_>], offset: u64) -> io::Result<usize>;
    /// Makes the file `len` bytes long with space on the disk for each of them; new bytes are zero.
    fn reserve(&self, len: u64) -> io::Result<()>;
    /// Cuts the file to `len` bytes, or grows it with zeros.
    fn truncate(&self, len: u64) -> io::Result<()>;
    /// Brings the bytes to disk, with the length and whatever else it takes to read them back.
    fn sync_data(&self) -> io::Result<()>;
    /// Brings everything about the file to disk.
    fn sync_all(&self) -> io::Result<()>;
    /// Says that the range will be read soon. A hint.
    fn will_read(&self, offset: u64, len: u64) {
        let _ = (offset, len);
    }
}

/// Reads until `into` is full or the file ends; says how many bytes that were.
pub(super) fn read_full(file: &impl DiskFile, into: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut done = 0;
    while let Some(rest) = into.get_mut(done..).filter(|rest| !rest.is_empty()) {
        match file.read_at(rest, offset + done as u64) {
            Ok(0) => break,
            Ok(n) => done += n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(done)
}

/// Most pieces of one vectored write (IOV_MAX of Linux).
const MAX_PIECES: usize = 1024;

/// Writes all pieces one after the other from `offset` on; says how many bytes that were.
pub(super) fn write_full(file: &impl DiskFile, mut pieces: &mut [IoSlice<'_>], offset: u64) -> io::Result<u64> {
    let mut done = 0;
    while !pieces.is_empty() {
        let now = pieces.get(..MAX_PIECES.min(pieces.len())).unwrap_or_default();
        match file.write_at(now, offset + done) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(n) => {
                done += n as u64;
                IoSlice::advance_slices(&mut pieces, n);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(done)
}

impl<D: Disk> Disk for std::sync::Arc<D> {
    type File = D::File;

    fn list(&self) -> io::Result<Vec<String>> {
        (**self).list()
    }

    fn create(&self, name: &str) -> io::Result<D::File> {
        (**self).create(name)
    }

    fn open(&self, name: &str, write: bool) -> io::Result<D::File> {
        (**self).open(name, write)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        (**self).rename(from, to)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        (**self).remove(name)
    }

    fn sync_dir(&self) -> io::Result<()> {
        (**self).sync_dir()
    }

    fn random(&self) -> io::Result<[u8; 16]> {
        (**self).random()
    }

    fn boot(&self) -> u128 {
        (**self).boot()
    }

    fn path(&self) -> String {
        (**self).path()
    }
}
