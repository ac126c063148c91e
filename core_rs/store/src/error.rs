//! What can go wrong with the store, in words for the person who must act on it.

use crate::row::Identity;

/// The store's error. Cloned freely: a failure is repeated to everyone who comes after it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreError {
    /// The database, or the disk under it, refused an operation.
    Failed {
        /// What was being done: `open`, `commit`, …
        doing: &'static str,
        /// The file or directory.
        path: String,
        /// What kind of failure.
        fault: Fault,
        /// SQLite's words, or the operating system's.
        message: String,
    },
    /// Another process holds the store.
    InUse {
        /// Its directory.
        path: String,
    },
    /// There is no database where the log says that there are rows.
    Missing {
        /// The file.
        path: String,
    },
    /// The file is a database of some other program, or none.
    NotAStore {
        /// The file.
        path: String,
    },
    /// The store belongs to another log.
    OtherLog {
        /// The file.
        path: String,
        /// The log's identity that the store has.
        store: Identity,
        /// The identity of the log that it was opened for.
        log: Identity,
    },
    /// The store has a format that this build does not know.
    UnknownFormat {
        /// The file.
        path: String,
        /// The store's format.
        version: i64,
        /// The format of this build.
        known: i64,
    },
    /// What the store says of itself is damaged.
    DamagedSummary {
        /// The file.
        path: String,
    },
    /// Something is longer than the store takes.
    TooLarge {
        /// What.
        what: &'static str,
        /// How long it is, bytes or items.
        len: usize,
        /// The most.
        max: usize,
    },
    /// An earlier write failed; the store takes no more until it is opened again (I10).
    Refused {
        /// The first failure, in words.
        because: String,
    },
    /// The store was used against its rules, which is a bug in pyrouter.
    Misused(&'static str),
}

/// Kinds of failure, by what can be done about them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Another connection holds a lock for longer than the store waits.
    Busy,
    /// No room on the disk.
    Full,
    /// The disk answered with an error (EIO and its like).
    Disk,
    /// No memory.
    Memory,
    /// A file could not be opened: no descriptors left, no permission, or it is gone.
    CannotOpen,
    /// The database is damaged.
    Damaged,
    /// Anything else.
    Other,
}

impl Fault {
    /// How often a failed reading is worth a repeat.
    pub(crate) fn retries(self) -> u32 {
        match self {
            Fault::Busy | Fault::Memory | Fault::CannotOpen => 3,
            Fault::Disk => 1,
            Fault::Full | Fault::Damaged | Fault::Other => 0,
        }
    }

    fn of_code(code: i32) -> Fault {
        use rusqlite::ffi;
        match (code, code & 0xff) {
            (ffi::SQLITE_IOERR_NOMEM, _) | (_, ffi::SQLITE_NOMEM) => Fault::Memory,
            (_, ffi::SQLITE_BUSY | ffi::SQLITE_LOCKED) => Fault::Busy,
            (_, ffi::SQLITE_FULL) => Fault::Full,
            (_, ffi::SQLITE_IOERR) => Fault::Disk,
            (_, ffi::SQLITE_CANTOPEN | ffi::SQLITE_PERM | ffi::SQLITE_READONLY) => Fault::CannotOpen,
            (_, ffi::SQLITE_CORRUPT | ffi::SQLITE_NOTADB) => Fault::Damaged,
            _ => Fault::Other,
        }
    }

    fn of_io(error: &std::io::Error) -> Fault {
        use rustix::io::Errno;
        match Errno::from_io_error(error) {
            Some(Errno::NOSPC | Errno::DQUOT) => Fault::Full,
            Some(Errno::MFILE | Errno::NFILE | Errno::NOENT | Errno::ACCESS | Errno::PERM) => Fault::CannotOpen,
            Some(Errno::NOMEM) => Fault::Memory,
            _ => Fault::Disk,
        }
    }
}

impl StoreError {
    pub(crate) fn sqlite(doing: &'static str, path: &str, error: &rusqlite::Error) -> StoreError {
        let fault = match error {
            rusqlite::Error::SqliteFailure(failure, _) => Fault::of_code(failure.extended_code),
            // A column of another type than was put, or a row that the schema promises and that is not there.
            rusqlite::Error::InvalidColumnType(..)
            | rusqlite::Error::FromSqlConversionFailure(..)
            | rusqlite::Error::IntegralValueOutOfRange(..)
            | rusqlite::Error::QueryReturnedNoRows => Fault::Damaged,
            _ => Fault::Other,
        };
        StoreError::Failed { doing, path: path.to_owned(), fault, message: error.to_string() }
    }

    pub(crate) fn io(doing: &'static str, path: &str, error: &std::io::Error) -> StoreError {
        StoreError::Failed { doing, path: path.to_owned(), fault: Fault::of_io(error), message: error.to_string() }
    }

    /// The kind of failure, if the database or the disk refused.
    pub fn fault(&self) -> Option<Fault> {
        match self {
            StoreError::Failed { fault, .. } => Some(*fault),
            _ => None,
        }
    }
}

impl std::fmt::Display for StoreError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            StoreError::Failed { doing, path, fault, message } => {
                write!(f, "store: cannot {doing} {path}: {message}")?;
                match fault {
                    Fault::Full => write!(f, "; free some space on its disk, then restart"),
                    Fault::Damaged => write!(f, "; `pyrouter fsck` tells which rows are whole"),
                    Fault::Busy => write!(f, "; another program has the database open for writing"),
                    Fault::Disk | Fault::Memory | Fault::CannotOpen | Fault::Other => Ok(()),
                }
            }
            StoreError::InUse { path } => {
                write!(f, "store: {path} is in use by another process; stop that server first")
            }
            StoreError::Missing { path } => write!(
                f,
                "store: {path} is missing, though the log says that it holds rows; restore it together with the log"
            ),
            StoreError::NotAStore { path } => {
                write!(f, "store: {path} is not a store of pyrouter; nothing was changed")
            }
            StoreError::OtherLog { path, store, log } => write!(
                f,
                "store: {path} belongs to log {store}, and the log here is {log}; put back the store of this log"
            ),
            StoreError::UnknownFormat { path, version, known } => write!(
                f,
                "store: {path} has format {version}, this pyrouter knows {known}; run the version that wrote it"
            ),
            StoreError::DamagedSummary { path } => {
                write!(f, "store: what {path} says of itself is damaged; `pyrouter fsck` tells which rows are whole")
            }
            StoreError::TooLarge { what, len, max } => write!(f, "store: {what}: {len}, at most {max}"),
            StoreError::Refused { because } => {
                write!(f, "store: refused since an earlier failure ({because}); restart to recover")
            }
            StoreError::Misused(what) => write!(f, "store: {what} (a bug in pyrouter)"),
        }
    }
}

impl std::error::Error for StoreError {}
