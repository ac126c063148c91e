//! A store in memory, with the faults of a disk, for tests and simulations.
//!
//! A [`MemoryDisk`] is what survives a crash: it is cloned freely, and every clone is the same disk. A [`MemoryStore`] is
//! opened on it, as a `SqliteStore` is on a directory.

use crate::batch::{Batch, Write};
use crate::error::{Fault, StoreError};
use crate::key::Key;
use crate::row::{Identity, Row};
use crate::sqlite::OpenMode;
use crate::store::{Damage, Lookup, MAX_KEYS, MAX_PAGE_BYTES, MAX_PAGE_ROWS, Page, Put, Room, Scan, Store, Summary};
use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The only format that a memory store knows.
const FORMAT: i64 = 1;

/// The disk. See the module.
#[derive(Clone, Debug, Default)]
pub struct MemoryDisk(Arc<Mutex<Disk>>);

#[derive(Debug, Default)]
struct Disk {
    database: Option<Database>,
    held: bool,
    failing_reads: Option<(u32, Fault)>,
    failing_put: Option<(Fault, Outcome)>,
}

/// All that a disk has of a store; a copy of it is a backup.
#[derive(Clone, Debug)]
pub struct Database {
    identity: Identity,
    format: i64,
    summary: Summary,
    rows: BTreeMap<Key, Stored>,
}

#[derive(Clone, Debug)]
struct Stored {
    position: u64,
    value: Vec<u8>,
    before: Option<(u64, Vec<u8>)>,
    damage: Option<Damage>,
}

/// Whether a put that fails has reached the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// All of it has.
    Durable,
    /// None of it has.
    Lost,
}

impl MemoryDisk {
    fn disk(&self) -> MutexGuard<'_, Disk> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn with_row(&self, key: &Key, change: impl FnOnce(&mut Stored) -> bool) -> bool {
        self.disk().database.as_mut().and_then(|database| database.rows.get_mut(key)).is_some_and(change)
    }

    /// Fault: the next `times` questions answer with `fault`.
    pub fn fail_reads(&self, times: u32, fault: Fault) {
        self.disk().failing_reads = Some((times, fault));
    }

    /// Fault: the next put answers with `fault`, whatever has become of it.
    pub fn fail_put(&self, fault: Fault, outcome: Outcome) {
        self.disk().failing_put = Some((fault, outcome));
    }

    /// Fault: a row is lost without a trace; the store will say that it is absent. Whether it was there.
    pub fn lose(&self, key: &Key) -> bool {
        self.disk().database.as_mut().is_some_and(|database| database.rows.remove(key).is_some())
    }

    /// Fault: a row is lost, and the store knows. Whether it was there.
    pub fn vanish(&self, key: &Key) -> bool {
        self.with_row(key, |row| row.damage.replace(Damage::Vanished).is_none())
    }

    /// Fault: a row's checksum does not fit any more. Whether it was there.
    pub fn damage(&self, key: &Key) -> bool {
        self.with_row(key, |row| row.damage.replace(Damage::Checksum).is_none())
    }

    /// Fault: a row is what it was before it was last put. Whether there was one before.
    pub fn age(&self, key: &Key) -> bool {
        self.with_row(key, |row| {
            let Some(before) = row.before.take() else { return false };
            (row.position, row.value) = before;
            true
        })
    }

    /// The whole database, as a backup has it; `None` if there is none.
    pub fn copy(&self) -> Option<Database> {
        self.disk().database.clone()
    }

    /// Fault: the database is lost (`None`), or is another one: an older copy, or that of another disk.
    pub fn replace(&self, database: Option<Database>) {
        self.disk().database = database;
    }

    /// Fault: the database has a format that no build knows.
    pub fn set_unknown_format(&self) {
        if let Some(database) = &mut self.disk().database {
            database.format = FORMAT + 1;
        }
    }
}

/// A store on a [`MemoryDisk`].
#[derive(Debug)]
pub struct MemoryStore {
    disk: MemoryDisk,
    identity: Identity,
    failed: Mutex<Option<StoreError>>,
}

const PATH: &str = "memory";

fn failure(doing: &'static str, fault: Fault) -> StoreError {
    StoreError::Failed { doing, path: PATH.to_owned(), fault, message: "a fault of the simulated disk".to_owned() }
}

impl MemoryStore {
    /// Opens the store, and holds the disk until dropped.
    ///
    /// # Errors
    /// Those of `SqliteStore::open`.
    pub fn open(disk: &MemoryDisk, identity: Identity, mode: OpenMode) -> Result<MemoryStore, StoreError> {
        let mut inside = disk.disk();
        let path = PATH.to_owned();
        if inside.held {
            return Err(StoreError::InUse { path });
        }
        if inside.database.is_none() && mode == OpenMode::Make {
            let summary = Summary::default();
            inside.database = Some(Database { identity, format: FORMAT, summary, rows: BTreeMap::new() });
        }
        match &inside.database {
            None => return Err(StoreError::Missing { path }),
            Some(found) if found.format != FORMAT => {
                return Err(StoreError::UnknownFormat { path, version: found.format, known: FORMAT });
            }
            Some(found) if found.identity != identity => {
                return Err(StoreError::OtherLog { path, store: found.identity, log: identity });
            }
            Some(_) => inside.held = true,
        }
        drop(inside);
        Ok(MemoryStore { disk: disk.clone(), identity, failed: Mutex::new(None) })
    }

    fn read<T>(&self, look: impl FnOnce(&Database) -> T) -> Result<T, StoreError> {
        let mut disk = self.disk.disk();
        if let Some((times, fault)) = &mut disk.failing_reads
            && *times > 0
        {
            *times -= 1;
            return Err(failure("read", *fault));
        }
        disk.database.as_ref().map(look).ok_or_else(|| failure("read", Fault::CannotOpen))
    }
}

impl Drop for MemoryStore {
    fn drop(&mut self) {
        self.disk.disk().held = false;
    }
}

impl Store for MemoryStore {
    fn identity(&self) -> Identity {
        self.identity
    }

    fn summary(&self) -> Result<Summary, StoreError> {
        self.read(|database| database.summary)
    }

    fn put(&self, batch: &Batch) -> Result<Put, StoreError> {
        let mut failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(because) = &*failed {
            return Err(StoreError::Refused { because: because.to_string() });
        }
        let mut disk = self.disk.disk();
        let failing = disk.failing_put.take();
        let Some(database) = &mut disk.database else { return Err(failure("write", Fault::CannotOpen)) };
        let mut put = Put::default();
        if failing.is_none_or(|(_, outcome)| outcome == Outcome::Durable) {
            batch.writes().iter().for_each(|write| database.put(write, &mut put));
            database.summary.reflects = database.summary.reflects.max(batch.reflects());
        }
        match failing {
            None => Ok(put),
            Some((fault, _)) => Err(failed.insert(failure("write", fault)).clone()),
        }
    }

    fn get(&self, keys: &[Key]) -> Vec<Lookup> {
        let mut sorted = keys.to_vec();
        sorted.sort_unstable();
        sorted.dedup();
        let beyond = sorted.split_off(MAX_KEYS.min(sorted.len()));
        let mut answers = self
            .read(|database| {
                let mut room = Room::new();
                sorted.iter().map(|key| room.admit(database.look_up(key))).collect::<Vec<_>>()
            })
            .unwrap_or_else(|error| sorted.iter().map(|key| Lookup::Unreadable(key.clone(), error.clone())).collect());
        let too_many = StoreError::TooLarge { what: "a question's keys", len: keys.len(), max: MAX_KEYS };
        answers.extend(beyond.into_iter().map(|key| Lookup::Unreadable(key, too_many.clone())));
        answers
    }

    fn scan(&self, scan: &Scan) -> Result<Page, StoreError> {
        self.read(|database| database.page(scan))
    }
}

impl Database {
    fn put(&mut self, write: &Write, put: &mut Put) {
        let kind = write.key.kind();
        let old = self.rows.remove(&write.key);
        if let Some(old) = &old {
            if old.damage.is_none() && old.position >= write.position {
                put.kept += 1;
                self.rows.insert(write.key.clone(), old.clone());
                return;
            }
            if old.damage.is_some() {
                put.healed.push(write.key.clone());
            }
        }
        put.written += usize::from(write.value.is_some() || old.as_ref().is_some_and(|old| !old.is_vanished()));
        self.summary.counts.change(kind, i64::from(write.value.is_some()) - i64::from(old.is_some()));
        if let Some(value) = &write.value {
            let before = old.map(|old| (old.position, old.value));
            let stored = Stored { position: write.position, value: value.clone(), before, damage: None };
            self.rows.insert(write.key.clone(), stored);
        }
    }

    fn look_up(&self, key: &Key) -> Lookup {
        match self.rows.get(key) {
            None => Lookup::Absent(key.clone()),
            Some(stored) => stored.answer(key),
        }
    }

    fn page(&self, scan: &Scan) -> Page {
        let from = scan.after.as_ref().map_or(scan.prefix.as_slice(), Key::as_bytes);
        let range = self.rows.range::<[u8], _>((Bound::Excluded(from), Bound::Unbounded));
        let range = range.take_while(|(key, _)| key.as_bytes().starts_with(&scan.prefix));
        let (mut page, mut bytes) = (Page::default(), 0);
        for (key, stored) in range {
            bytes += key.as_bytes().len() + if stored.damage.is_none() { stored.value.len() } else { 0 };
            let full = bytes > MAX_PAGE_BYTES && !page.rows.is_empty();
            if full || page.rows.len() == scan.rows.clamp(1, MAX_PAGE_ROWS) {
                page.next = page.rows.last().map(|last| last.key().clone());
                break;
            }
            page.rows.push(stored.answer(key));
        }
        page
    }
}

impl Stored {
    fn is_vanished(&self) -> bool {
        self.damage == Some(Damage::Vanished)
    }

    fn answer(&self, key: &Key) -> Lookup {
        match self.damage {
            Some(damage) => Lookup::Damaged(key.clone(), damage),
            None => Lookup::Found(Row { key: key.clone(), position: self.position, value: self.value.clone() }),
        }
    }
}
