//! Making, finding and locking the database, and how SQLite is set up.

use super::meta::Meta;
use crate::error::StoreError;
use crate::row::Identity;
use rusqlite::{Connection, OpenFlags};
use rustix::fs::FlockOperation;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The database's name in its directory.
pub(super) const NAME: &str = "rows.db";
/// The name while it is being made. Nothing was ever put into a file of this name.
const UNFINISHED: &str = "rows.db.new";

const APPLICATION_ID: i64 = 0x7079_7273; // "pyrs", so that `file` and a careless path can tell it from other databases
pub(super) const FORMAT: i64 = 1;

/// Statements kept compiled. There are fewer than ten.
const STATEMENTS: usize = 16;

/// Whether a store may be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenMode {
    /// For a log that has put nothing into a store yet: makes it if it is not there.
    Make,
    /// For a log whose rows may be here: a store that is not there is an error.
    Find,
}

/// How SQLite is set up.
#[derive(Clone, Debug)]
pub struct SqliteOptions {
    /// Bytes of a page, a power of two between 512 and 65,536; only for a store that is made. See docs/adr/0008.
    pub page_size: u32,
    /// Bytes of the write-ahead log from which on it is copied into the database.
    pub wal_bytes: u64,
    /// Bytes of pages that the writing connection keeps.
    pub write_cache: usize,
    /// Bytes of pages that the reading connection keeps.
    pub read_cache: usize,
    /// How long a statement waits for another process that has the database open. None should.
    pub busy: Duration,
}

impl Default for SqliteOptions {
    fn default() -> Self {
        SqliteOptions {
            page_size: 1024,
            wal_bytes: 64 << 20,
            write_cache: 32 << 20,
            read_cache: 8 << 20,
            busy: Duration::from_secs(5),
        }
    }
}

/// Holds the store's directory. SQLite's own locks cannot: in exclusive mode a database has one connection, and there are
/// two here; in normal mode a second server would be let in.
pub(super) struct Lock {
    directory: PathBuf,
    handle: File,
}

impl Lock {
    /// Takes the directory, making it if it may be made.
    pub fn take(directory: &Path, mode: OpenMode) -> Result<Lock, StoreError> {
        let name = directory.display().to_string();
        let failed = |doing| {
            let name = name.clone();
            move |error: io::Error| StoreError::io(doing, &name, &error)
        };
        if mode == OpenMode::Make {
            let missing: Vec<&Path> = directory.ancestors().skip(1).take_while(|each| !each.exists()).collect();
            std::fs::create_dir_all(directory).map_err(failed("make"))?;
            // The names of all that was made. The last one's also if it was there: a crash may have come before this line.
            for made in std::iter::once(directory).chain(missing) {
                if let Some(parent) = made.canonicalize().map_err(failed("find"))?.parent() {
                    sync_directory(parent)?;
                }
            }
        }
        let handle = match File::open(directory) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(StoreError::Missing { path: directory.join(NAME).display().to_string() });
            }
            opened => opened.map_err(failed("open"))?,
        };
        match rustix::fs::flock(&handle, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Lock { directory: directory.to_owned(), handle }),
            Err(rustix::io::Errno::WOULDBLOCK) => Err(StoreError::InUse { path: name }),
            Err(error) => Err(failed("lock")(error.into())),
        }
    }

    fn sync(&self) -> Result<(), StoreError> {
        let path = self.directory.display().to_string();
        self.handle.sync_all().map_err(|error| StoreError::io("sync", &path, &error))
    }

    pub fn file(&self) -> PathBuf {
        self.directory.join(NAME)
    }
}

fn sync_directory(path: &Path) -> Result<(), StoreError> {
    let synced = File::open(path).and_then(|directory| directory.sync_all());
    synced.map_err(|error| StoreError::io("sync", &path.display().to_string(), &error))
}

/// The database's path, once it is there and is this log's.
pub(super) fn find_or_make(
    lock: &Lock,
    identity: Identity,
    mode: OpenMode,
    options: &SqliteOptions,
) -> Result<PathBuf, StoreError> {
    let file = lock.file();
    let path = file.display().to_string();
    match (file.try_exists(), mode) {
        (Err(error), _) => return Err(StoreError::io("find", &path, &error)),
        (Ok(false), OpenMode::Find) => return Err(StoreError::Missing { path }),
        (Ok(false), OpenMode::Make) => make(lock, &file, identity, options)?,
        (Ok(true), _) => {}
    }
    check(&file, options.busy)?;
    Ok(file)
}

/// Makes the database under another name, and gives it its own when it is whole and on disk: a crash leaves none, or one.
fn make(lock: &Lock, file: &Path, identity: Identity, options: &SqliteOptions) -> Result<(), StoreError> {
    let unfinished = lock.directory.join(UNFINISHED);
    let path = unfinished.display().to_string();
    for name in [unfinished.clone(), lock.directory.join(format!("{UNFINISHED}-journal"))] {
        match std::fs::remove_file(&name) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(StoreError::io("remove", &name.display().to_string(), &error));
            }
            _ => {}
        }
    }
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let made = Connection::open_with_flags(&unfinished, flags).and_then(|db| {
        db.execute_batch(&format!(
            "PRAGMA page_size = {}; PRAGMA synchronous = FULL;
             BEGIN;
             CREATE TABLE rows (key BLOB PRIMARY KEY NOT NULL, position INTEGER NOT NULL, sum INTEGER NOT NULL,
                                value BLOB NOT NULL) WITHOUT ROWID;
             CREATE TABLE keys (key BLOB PRIMARY KEY NOT NULL) WITHOUT ROWID;
             CREATE TABLE meta (id INTEGER PRIMARY KEY, said BLOB NOT NULL);
             PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {FORMAT};",
            options.page_size
        ))?;
        db.execute("INSERT INTO meta (id, said) VALUES (0, ?1)", [Meta::new(identity).encode()])?;
        db.execute_batch("COMMIT")?;
        db.close().map_err(|(_, error)| error)
    });
    made.map_err(|error| StoreError::sqlite("make", &path, &error))?;
    std::fs::rename(&unfinished, file).map_err(|error| StoreError::io("rename", &path, &error))?;
    lock.sync()
}

/// Whether the file is a store of a known format. Writes nothing, not even a lock: a file that is not a store stays as it is.
pub(super) fn check(file: &Path, busy: Duration) -> Result<(), StoreError> {
    let path = file.display().to_string();
    let failed = |error: rusqlite::Error| match &error {
        rusqlite::Error::SqliteFailure(failure, _) if failure.code == rusqlite::ErrorCode::NotADatabase => {
            StoreError::NotAStore { path: path.clone() }
        }
        _ => StoreError::sqlite("open", &path, &error),
    };
    let db = connect(file, busy).map_err(failed)?;
    let pragma = |name| db.query_row(&format!("PRAGMA {name}"), [], |row| row.get::<_, i64>(0));
    if pragma("application_id").map_err(failed)? != APPLICATION_ID {
        return Err(StoreError::NotAStore { path });
    }
    match pragma("user_version").map_err(failed)? {
        FORMAT => Ok(()),
        version => Err(StoreError::UnknownFormat { path, version, known: FORMAT }),
    }
}

/// A connection that reads only, and leaves the write-ahead log as it is when it closes.
pub(super) fn connect(file: &Path, busy: Duration) -> rusqlite::Result<Connection> {
    // Read and write, because in WAL mode a reader writes its marks into shared memory.
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let db = Connection::open_with_flags(file, flags)?;
    db.busy_timeout(busy)?;
    db.set_prepared_statement_cache_capacity(STATEMENTS);
    db.set_db_config(rusqlite::config::DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    // A schema is data from the disk: no function or view in it may run.
    db.set_db_config(rusqlite::config::DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false)?;
    db.execute_batch(
        // Pages are read into memory, never mapped: a disk error on a mapped page is a SIGBUS, and a stray write goes to disk.
        "PRAGMA mmap_size = 0;
         -- A page whose cells do not fit is refused when it is read, not when it is written.
         PRAGMA cell_size_check = ON;
         PRAGMA temp_store = MEMORY;
         PRAGMA query_only = ON;",
    )?;
    Ok(db)
}

/// The connection that reads for the server.
pub(super) fn connect_to_read(file: &Path, options: &SqliteOptions) -> rusqlite::Result<Connection> {
    let db = connect(file, options.busy)?;
    db.pragma_update(None, "cache_size", kibibytes(options.read_cache))?;
    Ok(db)
}

/// The connection that writes.
pub(super) fn connect_to_write(file: &Path, options: &SqliteOptions) -> rusqlite::Result<Connection> {
    let db = connect(file, options.busy)?;
    db.set_db_config(rusqlite::config::DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, false)?;
    db.pragma_update(None, "query_only", false)?;
    // One sequential write and one sync for each commit; readers go on meanwhile.
    db.pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get::<_, String>(0))?;
    // FULL: a commit that has returned is on disk. NORMAL would sync only when the log is copied.
    db.pragma_update(None, "synchronous", "FULL")?;
    // The writer copies by itself, after the commit, and hears of errors: SQLite's own copying keeps them to itself.
    db.pragma_update_and_check(None, "wal_autocheckpoint", 0, |row| row.get::<_, i64>(0))?;
    // After one large batch the file shrinks again.
    let wal_bytes = i64::try_from(options.wal_bytes).unwrap_or(i64::MAX);
    db.pragma_update_and_check(None, "journal_size_limit", wal_bytes, |row| row.get::<_, i64>(0))?;
    // Holds the pages of a batch, so that none is written twice in one commit, and the inner pages between two.
    db.pragma_update(None, "cache_size", kibibytes(options.write_cache))?;
    Ok(db)
}

/// SQLite takes a cache's size as a negative number of KiB.
fn kibibytes(bytes: usize) -> i64 {
    -i64::try_from(bytes >> 10).unwrap_or(i64::MAX)
}
