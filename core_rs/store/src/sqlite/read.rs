//! Answers questions, each at one moment of the database.

use super::meta::Meta;
use super::open::{self, SqliteOptions};
use crate::error::StoreError;
use crate::key::Key;
use crate::row::{Checksum, Identity, MAX_VALUE, Row};
use crate::store::{Damage, Lookup, MAX_KEYS, MAX_PAGE_BYTES, MAX_PAGE_ROWS, Page, Room, Scan, Summary};
use rusqlite::{CachedStatement, Connection};
use std::path::Path;

/// A row as it stands in the database.
pub(super) struct Stored<'a> {
    pub position: u64,
    pub sum: u32,
    pub value: &'a [u8],
    /// Its columns are of the types that were put. Those above are zero or empty if not.
    typed: bool,
}

impl Stored<'_> {
    /// The question for a row, whose answer [`Stored::find`] reads.
    pub const QUERY: &'static str = "SELECT position, sum, value FROM rows WHERE key = ?1";

    pub fn fits(&self, checksum: &Checksum, key: &[u8]) -> bool {
        self.typed && self.value.len() <= MAX_VALUE && checksum.of(key, self.position, self.value) == self.sum
    }

    fn of<'a>(row: &'a rusqlite::Row<'_>) -> rusqlite::Result<Stored<'a>> {
        let (position, sum, value) = (row.get_ref(0)?, row.get_ref(1)?, row.get_ref(2)?);
        let position = position.as_i64().ok().map(i64::cast_unsigned);
        let sum = sum.as_i64().ok().and_then(|sum| u32::try_from(sum).ok());
        let value = value.as_blob().ok();
        let typed = position.is_some() && sum.is_some() && value.is_some();
        let (position, sum) = (position.unwrap_or(0), sum.unwrap_or(0));
        Ok(Stored { position, sum, value: value.unwrap_or_default(), typed })
    }

    /// Looks a row up and hands it to `look`, if it is there.
    pub fn find<T>(
        statement: &mut CachedStatement<'_>,
        key: &[u8],
        look: impl FnOnce(&Stored<'_>) -> T,
    ) -> rusqlite::Result<Option<T>> {
        let mut rows = statement.query([key])?;
        rows.next()?.map(|row| Stored::of(row).map(|stored| look(&stored))).transpose()
    }
}

pub(super) struct Reading {
    db: Connection,
    path: String,
    identity: Identity,
    checksum: Checksum,
}

impl Reading {
    pub fn open(file: &Path, identity: Identity, options: &SqliteOptions) -> Result<Reading, StoreError> {
        let path = file.display().to_string();
        let db = open::connect_to_read(file, options).map_err(|error| StoreError::sqlite("open", &path, &error))?;
        Ok(Reading::new(db, path, identity))
    }

    pub fn new(db: Connection, path: String, identity: Identity) -> Reading {
        Reading { db, path, identity, checksum: Checksum::new(identity) }
    }

    pub fn db(&self) -> &Connection {
        &self.db
    }

    pub fn checksum(&self) -> &Checksum {
        &self.checksum
    }

    pub fn error(&self, error: &rusqlite::Error) -> StoreError {
        StoreError::sqlite("read", &self.path, error)
    }

    pub fn summary(&self) -> Result<Summary, StoreError> {
        Meta::of(&self.db, &self.path, self.identity).map(|meta| meta.summary)
    }

    pub fn get(&self, keys: &[Key]) -> Vec<Lookup> {
        let mut sorted: Vec<&Key> = keys.iter().collect();
        sorted.sort_unstable();
        sorted.dedup();
        let beyond = sorted.split_off(MAX_KEYS.min(sorted.len()));
        let (mut room, mut answers) = (Room::new(), Vec::with_capacity(sorted.len()));
        self.each(&sorted, &mut |answer| answers.push(room.admit(answer)));
        let too_many = StoreError::TooLarge { what: "a question's keys", len: keys.len(), max: MAX_KEYS };
        answers.extend(beyond.into_iter().map(|key| Lookup::Unreadable(key.clone(), too_many.clone())));
        answers
    }

    /// Answers about sorted keys, one after the other, at one moment.
    pub fn each(&self, keys: &[&Key], answer: &mut dyn FnMut(Lookup)) {
        let mut snapshot = match Snapshot::begin(self) {
            Ok(snapshot) => snapshot,
            Err(error) => {
                let error = self.error(&error);
                return keys.iter().for_each(|key| answer(Lookup::Unreadable((*key).clone(), error.clone())));
            }
        };
        keys.iter().for_each(|key| answer(self.answer(&mut snapshot, key)));
    }

    fn answer(&self, snapshot: &mut Snapshot<'_>, key: &Key) -> Lookup {
        match self.look_up(snapshot, key) {
            Ok(answer) => answer,
            Err(error) => Lookup::Unreadable(key.clone(), self.error(&error)),
        }
    }

    fn look_up(&self, snapshot: &mut Snapshot<'_>, key: &Key) -> rusqlite::Result<Lookup> {
        let found = Stored::find(&mut snapshot.find, key.as_bytes(), |stored| self.checked(key, stored))?;
        Ok(match found {
            Some(answer) => answer,
            None if snapshot.find_key.exists([key.as_bytes()])? => Lookup::Damaged(key.clone(), Damage::Vanished),
            None => Lookup::Absent(key.clone()),
        })
    }

    fn checked(&self, key: &Key, stored: &Stored<'_>) -> Lookup {
        if stored.fits(&self.checksum, key.as_bytes()) {
            Lookup::Found(Row { key: key.clone(), position: stored.position, value: stored.value.to_vec() })
        } else {
            Lookup::Damaged(key.clone(), Damage::Checksum)
        }
    }

    /// The keys come from both trees, and each row is looked up: a row that one of them lost is still in the page.
    pub fn scan(&self, scan: &Scan) -> Result<Page, StoreError> {
        self.page(scan).map_err(|error| self.error(&error))
    }

    fn page(&self, scan: &Scan) -> rusqlite::Result<Page> {
        let mut snapshot = Snapshot::begin(self)?;
        let limit = scan.rows.clamp(1, MAX_PAGE_ROWS);
        // One more than wanted says whether there is a next page.
        let mut keys = keys_in(&self.db, Tree::Keys, scan, limit + 1)?;
        keys.extend(keys_in(&self.db, Tree::Rows, scan, limit + 1)?);
        keys.sort_unstable();
        keys.dedup();
        let more = keys.len() > limit;
        keys.truncate(limit);
        let mut page = Page::default();
        let mut bytes = 0;
        for key in keys {
            let answer = self.answer(&mut snapshot, &key);
            bytes += key.as_bytes().len();
            if let Lookup::Found(row) = &answer {
                bytes += row.value.len();
            }
            if bytes > MAX_PAGE_BYTES && !page.rows.is_empty() {
                page.next = page.rows.last().map(|last| last.key().clone());
                break;
            }
            page.rows.push(answer);
        }
        if more && page.next.is_none() {
            page.next = page.rows.last().map(|last| last.key().clone());
        }
        snapshot.end()?;
        Ok(page)
    }
}

/// Which tree to take keys from.
#[derive(Clone, Copy)]
pub(super) enum Tree {
    Rows,
    Keys,
}

/// Up to `limit` keys of a scan in one of the trees, in order.
pub(super) fn keys_in(db: &Connection, tree: Tree, scan: &Scan, limit: usize) -> rusqlite::Result<Vec<Key>> {
    // Behind the prefix, which is no key itself, or behind the last key.
    let from = scan.after.as_ref().map_or(scan.prefix.as_slice(), Key::as_bytes);
    let mut statement = db.prepare_cached(match tree {
        Tree::Rows => "SELECT key FROM rows WHERE key > ?1 ORDER BY key LIMIT ?2",
        Tree::Keys => "SELECT key FROM keys WHERE key > ?1 ORDER BY key LIMIT ?2",
    })?;
    let mut rows = statement.query((from, limit as i64))?;
    let mut keys: Vec<Key> = Vec::new();
    while let Some(row) = rows.next()? {
        let bytes = row.get_ref(0)?.as_blob().map_err(|_| damaged())?;
        let key = Key::parse(bytes).ok_or_else(damaged)?;
        if keys.last().is_some_and(|last| *last >= key) || bytes <= from {
            return Err(damaged());
        }
        if !bytes.starts_with(&scan.prefix) {
            break;
        }
        keys.push(key);
    }
    Ok(keys)
}

/// For what SQLite reads without complaint and was never put.
pub(super) fn damaged() -> rusqlite::Error {
    let failure = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_CORRUPT);
    rusqlite::Error::SqliteFailure(failure, Some("keys are damaged or out of order".to_owned()))
}

/// A read transaction: all of its answers are of one moment.
struct Snapshot<'db> {
    db: &'db Connection,
    find: CachedStatement<'db>,
    find_key: CachedStatement<'db>,
    ended: bool,
}

impl<'db> Snapshot<'db> {
    fn begin(reading: &'db Reading) -> rusqlite::Result<Self> {
        let db = &reading.db;
        let find = db.prepare_cached(Stored::QUERY)?;
        let find_key = db.prepare_cached("SELECT 1 FROM keys WHERE key = ?1")?;
        db.prepare_cached("BEGIN")?.execute([])?;
        Ok(Snapshot { db, find, find_key, ended: false })
    }

    fn end(&mut self) -> rusqlite::Result<()> {
        self.ended = true;
        if self.db.is_autocommit() {
            return Ok(()); // An error has ended it.
        }
        self.db.prepare_cached("COMMIT")?.execute([]).map(|_| ())
    }
}

impl Drop for Snapshot<'_> {
    fn drop(&mut self) {
        if !self.ended {
            // What is left open would pin the write-ahead log. The next statement says what is wrong with the connection.
            let _ = self.end();
        }
    }
}
