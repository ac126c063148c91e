//! The store on a disk: one SQLite database in a directory of its own.
//!
//! ```text
//! rows  (key, position, sum, value)    the rows, in the order of their keys
//! keys  (key)                          every key that has a row: the second witness
//! meta  (one blob)                     identity, highest position, counts, sums; with a checksum of its own
//! ```
//! `keys` changes only when a row is new or removed, so a row that is written again costs it nothing. It is what makes an
//! absence positive: SQLite has no checksums of pages, and one flipped bit in a key, in a page's count of cells or in an
//! inner page makes rows of a tree unfindable without an error. The other tree then still has their keys.
//!
//! - `open`: making, finding, locking, pragmas.  `meta`: what the store says of itself.
//! - `write`, `read`: batches and questions.  `verify`: all of it, offline.

mod meta;
mod open;
mod read;
mod verify;
mod write;

pub use open::{OpenMode, SqliteOptions};
pub use verify::{Progress, Verified};

use crate::batch::Batch;
use crate::error::StoreError;
use crate::key::Key;
use crate::row::Identity;
use crate::store::{Lookup, Page, Put, Scan, Store, Summary};
use open::Lock;
use read::Reading;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use write::Writing;

/// A store in SQLite. Writing and reading have a connection each, so that neither waits for the other.
pub struct SqliteStore {
    identity: Identity,
    reading: Mutex<Reading>,
    // Closed after the reader: the last connection copies the write-ahead log, and the reader would leave it.
    writing: Mutex<Writing>,
    // Last, so that it outlives the connections.
    _lock: Lock,
}

impl SqliteStore {
    /// Opens the store of a log, and holds its directory until dropped.
    ///
    /// # Errors
    /// [`StoreError::InUse`] if another process has it; [`StoreError::Missing`] if there is none and `mode` is
    /// [`OpenMode::Find`]; [`StoreError::OtherLog`], [`StoreError::UnknownFormat`], [`StoreError::NotAStore`] or
    /// [`StoreError::DamagedSummary`] if it is not, or not certainly, the store of this log. None of these changes it.
    pub fn open(
        directory: &Path,
        identity: Identity,
        mode: OpenMode,
        options: &SqliteOptions,
    ) -> Result<Self, StoreError> {
        let lock = Lock::take(directory, mode)?;
        let file = open::find_or_make(&lock, identity, mode, options)?;
        let writing = Writing::open(&file, identity, options)?;
        let reading = Reading::open(&file, identity, options)?;
        Ok(SqliteStore { identity, writing: Mutex::new(writing), reading: Mutex::new(reading), _lock: lock })
    }

    /// Compares every row with its checksum, and all of them with what the store says of itself. For a store that no
    /// server has open, whose summary may be damaged. Takes about 10 µs a row; changes nothing.
    ///
    /// # Errors
    /// [`StoreError::InUse`], [`StoreError::Missing`], [`StoreError::OtherLog`], [`StoreError::UnknownFormat`],
    /// [`StoreError::NotAStore`]. What cannot be read inside of the database is a finding instead.
    pub fn verify(
        directory: &Path,
        identity: Identity,
        progress: &mut dyn FnMut(Progress) -> ControlFlow<()>,
    ) -> Result<Verified, StoreError> {
        verify::verify(directory, identity, progress)
    }

    fn writing(&self) -> MutexGuard<'_, Writing> {
        // A connection whose user panicked has rolled back, or refuses by its own memory of a failure.
        self.writing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn reading(&self) -> MutexGuard<'_, Reading> {
        self.reading.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Store for SqliteStore {
    fn identity(&self) -> Identity {
        self.identity
    }

    fn summary(&self) -> Result<Summary, StoreError> {
        self.reading().summary()
    }

    fn put(&self, batch: &Batch) -> Result<Put, StoreError> {
        self.writing().put(batch)
    }

    fn get(&self, keys: &[Key]) -> Vec<Lookup> {
        self.reading().get(keys)
    }

    fn scan(&self, scan: &Scan) -> Result<Page, StoreError> {
        self.reading().scan(scan)
    }
}

#[cfg(test)]
impl SqliteStore {
    /// Lets the database have so many pages: what a full disk does to it.
    pub(crate) fn limit_pages(&self, pages: u32) {
        self.writing().limit_pages(pages);
    }
}

/// Makes a store say that it reflects another position, and changes nothing else.
#[cfg(test)]
pub(crate) fn say_that_it_reflects(file: &Path, position: u64) {
    let db = rusqlite::Connection::open(file).unwrap();
    let mut meta = meta::Meta::read(&db).unwrap().unwrap();
    meta.summary.reflects = position;
    db.execute("UPDATE meta SET said = ?1", [meta.encode()]).unwrap();
}
