//! Puts batches, and copies the write-ahead log into the database.

use super::meta::Meta;
use super::open::{self, SqliteOptions};
use super::read::Stored;
use crate::batch::{Batch, Write};
use crate::error::StoreError;
use crate::row::{Checksum, Identity};
use crate::store::Put;
use rusqlite::{CachedStatement, Connection, TransactionBehavior, params};
use std::path::Path;

/// The write-ahead log may grow to so many times its bound while readers keep it from being copied in whole.
const WAL_STRETCH: u64 = 4;

pub(super) struct Writing {
    db: Connection,
    path: String,
    checksum: Checksum,
    identity: Identity,
    /// Frames of the write-ahead log from which on it is copied.
    wal_frames: u64,
    /// The first failure; there is nothing after it.
    failed: Option<StoreError>,
}

impl Writing {
    pub fn open(file: &Path, identity: Identity, options: &SqliteOptions) -> Result<Writing, StoreError> {
        let path = file.display().to_string();
        let failed = |error: rusqlite::Error| StoreError::sqlite("open", &path, &error);
        // Whose store it is, before anything is written.
        Meta::of(&open::connect(file, options.busy).map_err(failed)?, &path, identity)?;
        let db = open::connect_to_write(file, options).map_err(failed)?;
        let page: u32 = db.query_row("PRAGMA page_size", [], |row| row.get(0)).map_err(failed)?;
        let wal_frames = (options.wal_bytes / u64::from(page.max(1))).max(1);
        Ok(Writing { db, path, checksum: Checksum::new(identity), identity, wal_frames, failed: None })
    }

    pub fn put(&mut self, batch: &Batch) -> Result<Put, StoreError> {
        if let Some(because) = &self.failed {
            return Err(StoreError::Refused { because: because.to_string() });
        }
        let done = self.put_and_copy(batch);
        if let Err(error) = &done {
            self.failed = Some(error.clone());
        }
        done
    }

    #[cfg(test)]
    pub fn limit_pages(&self, pages: u32) {
        self.db.pragma_update_and_check(None, "max_page_count", pages, |_| Ok(())).unwrap();
    }

    fn put_and_copy(&mut self, batch: &Batch) -> Result<Put, StoreError> {
        let mut meta = Meta::of(&self.db, &self.path, self.identity)?;
        let put = commit(&mut self.db, &self.checksum, &mut meta, batch);
        let put = put.map_err(|error| StoreError::sqlite("write", &self.path, &error))?;
        self.copy_log().map_err(|error| StoreError::sqlite("copy the write-ahead log of", &self.path, &error))?;
        Ok(put)
    }

    /// Copies the write-ahead log into the database if it has become long.
    fn copy_log(&self) -> rusqlite::Result<()> {
        let (log, copied) = self.checkpoint("NOOP")?;
        let waiting = log.saturating_sub(copied);
        if waiting < self.wal_frames {
            return Ok(());
        }
        // Beside readers; what they still need stays for the next time.
        let (log, copied) = self.checkpoint("PASSIVE")?;
        if log.saturating_sub(copied) > self.wal_frames.saturating_mul(WAL_STRETCH) {
            // Waits for them. A reading is one bounded page or question, so the wait is short.
            self.checkpoint("RESTART")?;
        }
        Ok(())
    }

    /// Frames in the log, and how many of them are copied.
    fn checkpoint(&self, how: &str) -> rusqlite::Result<(u64, u64)> {
        let mut statement = self.db.prepare_cached(&format!("PRAGMA wal_checkpoint({how})"))?;
        statement.query_row([], |row| Ok((frames(row.get(1)?), frames(row.get(2)?))))
    }
}

/// −1 stands for a database without a write-ahead log.
fn frames(count: i64) -> u64 {
    u64::try_from(count).unwrap_or(0)
}

fn commit(db: &mut Connection, checksum: &Checksum, meta: &mut Meta, batch: &Batch) -> rusqlite::Result<Put> {
    let transaction = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let mut put = Put::default();
    Statements::new(&transaction)?.put_all(checksum, meta, batch, &mut put)?;
    meta.summary.reflects = meta.summary.reflects.max(batch.reflects());
    transaction.prepare_cached("UPDATE meta SET said = ?1 WHERE id = 0")?.execute([meta.encode()])?;
    transaction.commit()?;
    Ok(put)
}

struct Statements<'db> {
    find: CachedStatement<'db>,
    insert: CachedStatement<'db>,
    update: CachedStatement<'db>,
    delete: CachedStatement<'db>,
    insert_key: CachedStatement<'db>,
    delete_key: CachedStatement<'db>,
}

impl<'db> Statements<'db> {
    fn new(db: &'db Connection) -> rusqlite::Result<Self> {
        Ok(Statements {
            find: db.prepare_cached(Stored::QUERY)?,
            insert: db.prepare_cached("INSERT INTO rows (key, position, sum, value) VALUES (?1, ?2, ?3, ?4)")?,
            update: db.prepare_cached("UPDATE rows SET position = ?2, sum = ?3, value = ?4 WHERE key = ?1")?,
            delete: db.prepare_cached("DELETE FROM rows WHERE key = ?1")?,
            insert_key: db.prepare_cached("INSERT OR IGNORE INTO keys (key) VALUES (?1)")?,
            delete_key: db.prepare_cached("DELETE FROM keys WHERE key = ?1")?,
        })
    }

    fn put_all(&mut self, checksum: &Checksum, meta: &mut Meta, batch: &Batch, put: &mut Put) -> rusqlite::Result<()> {
        batch.writes().iter().try_for_each(|write| self.put(checksum, meta, write, put))
    }

    fn put(&mut self, checksum: &Checksum, meta: &mut Meta, write: &Write, put: &mut Put) -> rusqlite::Result<()> {
        let (key, kind) = (write.key.as_bytes(), write.key.kind());
        let stored =
            Stored::find(&mut self.find, key, |stored| (stored.position, stored.sum, stored.fits(checksum, key)))?;
        if let Some((position, sum, whole)) = stored {
            if whole && position >= write.position {
                put.kept += 1;
                return Ok(());
            }
            if !whole {
                put.healed.push(write.key.clone());
            }
            // The sum that the row was written with, unless that very field is what is damaged; then `verify` says so.
            meta.toggle(kind, sum);
        }
        match &write.value {
            Some(value) => {
                let sum = checksum.of(key, write.position, value);
                let position = write.position.cast_signed();
                if stored.is_some() {
                    self.update.execute(params![key, position, sum, value])?;
                } else {
                    self.insert.execute(params![key, position, sum, value])?;
                    if self.insert_key.execute([key])? == 0 {
                        put.healed.push(write.key.clone());
                    } else {
                        meta.summary.counts.change(kind, 1);
                    }
                }
                meta.toggle(kind, sum);
                put.written += 1;
            }
            None => {
                if stored.is_some() {
                    self.delete.execute([key])?;
                    put.written += 1;
                }
                if self.delete_key.execute([key])? > 0 {
                    meta.summary.counts.change(kind, -1);
                    if stored.is_none() {
                        put.healed.push(write.key.clone());
                    }
                }
            }
        }
        Ok(())
    }
}
