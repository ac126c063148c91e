//! Compares all of a store with its checksums and with what it says of itself. Offline, for `pyrouter fsck`.

use super::meta::Meta;
use super::open::{self, Lock, OpenMode};
use super::read::{Reading, Tree, keys_in};
use crate::error::StoreError;
use crate::key::{Key, Kind};
use crate::row::{Checksum, Identity};
use crate::store::{Counts, Damage, Lookup, MAX_PAGE_ROWS, Scan, Summary};
use rusqlite::Connection;
use std::ops::ControlFlow;
use std::path::Path;
use std::time::Duration;

/// Most keys that are named, and most of SQLite's own complaints.
const NAMED: usize = 100;
const BUSY: Duration = Duration::from_secs(5);

/// How far a verification is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Rows that were looked at.
    pub done: u64,
    /// Rows that the store says it has; 0 if that is damaged.
    pub of: u64,
}

/// What a verification found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verified {
    /// What the store says of itself; `None` if that is damaged.
    pub summary: Option<Summary>,
    /// Rows that are as they were put.
    pub whole: Counts,
    /// Rows whose checksum does not fit.
    pub damaged: u64,
    /// Keys whose row is gone.
    pub vanished: u64,
    /// Keys whose row SQLite cannot read.
    pub unreadable: u64,
    /// Rows whose key is not among the keys.
    pub unlisted: u64,
    /// The first hundred keys of all of these.
    pub keys: Vec<Key>,
    /// Rows whose position is above the highest that the store says it reflects.
    pub ahead: u64,
    /// All rows are whole, and yet they are not those that were put last: some are older versions of themselves, or whole
    /// pages are missing from both trees.
    pub outdated: bool,
    /// What SQLite's own check says, at most a hundred lines.
    pub problems: Vec<String>,
    /// It was stopped by its caller: nothing above is complete.
    pub stopped: bool,
}

impl Verified {
    /// Whether nothing is wrong with the store.
    pub fn is_whole(&self) -> bool {
        let rows = self.damaged + self.vanished + self.unreadable + self.unlisted + self.ahead;
        self.summary.is_some() && rows == 0 && !self.outdated && self.problems.is_empty() && !self.stopped
    }

    fn name(&mut self, key: &Key) {
        if self.keys.len() < NAMED {
            self.keys.push(key.clone());
        }
    }

    fn problem(&mut self, problem: String) {
        if self.problems.len() < NAMED {
            self.problems.push(problem);
        }
    }
}

/// See [`super::SqliteStore::verify`].
pub(super) fn verify(
    directory: &Path,
    identity: Identity,
    progress: &mut dyn FnMut(Progress) -> ControlFlow<()>,
) -> Result<Verified, StoreError> {
    let lock = Lock::take(directory, OpenMode::Find)?;
    let (file, path) = (lock.file(), lock.file().display().to_string());
    if !file.try_exists().map_err(|error| StoreError::io("find", &path, &error))? {
        return Err(StoreError::Missing { path });
    }
    open::check(&file, BUSY)?;
    let db = open::connect(&file, BUSY).map_err(|error| StoreError::sqlite("open", &path, &error))?;
    let mut verified = Verified::default();
    let meta = match Meta::of(&db, &path, identity) {
        Ok(meta) => Some(meta),
        Err(error @ StoreError::OtherLog { .. }) => return Err(error),
        Err(error) => {
            verified.problem(error.to_string());
            None
        }
    };
    let mut check = Check {
        reading: Reading::new(db, path, identity),
        of: meta.map_or(0, |meta| meta.summary.counts.0.iter().sum()),
        done: 0,
        tally: Tally { found: Meta::new(identity), meta, verified },
    };
    let whole = check.rows(progress).is_continue() && check.unlisted(progress).is_continue();
    let Check { reading, mut tally, .. } = check;
    tally.verified.stopped = !whole;
    if whole {
        tally.compare();
        integrity(reading.db(), &mut tally.verified);
    }
    Ok(tally.verified)
}

struct Check {
    reading: Reading,
    of: u64,
    done: u64,
    tally: Tally,
}

/// What was found so far.
struct Tally {
    meta: Option<Meta>,
    /// What `meta` should be.
    found: Meta,
    verified: Verified,
}

impl Tally {
    fn row(&mut self, checksum: &Checksum, answer: &Lookup) {
        let verified = &mut self.verified;
        match answer {
            Lookup::Found(row) => {
                let kind = row.key.kind();
                verified.whole.change(kind, 1);
                self.found.toggle(kind, checksum.of(row.key.as_bytes(), row.position, &row.value));
                let reflects = self.meta.map_or(u64::MAX, |meta| meta.summary.reflects);
                verified.ahead += u64::from(row.position > reflects);
                return;
            }
            Lookup::Damaged(_, Damage::Checksum) => verified.damaged += 1,
            Lookup::Damaged(_, Damage::Vanished) => verified.vanished += 1,
            Lookup::Unreadable(..) => verified.unreadable += 1,
            // The key was listed a moment ago: its tree cannot be searched.
            Lookup::Absent(_) => verified.vanished += 1,
        }
        verified.name(answer.key());
    }

    fn compare(&mut self) {
        let Some(meta) = self.meta else { return };
        self.verified.summary = Some(meta.summary);
        let missing = self.verified.damaged + self.verified.vanished + self.verified.unreadable;
        // With rows known to be damaged the sums cannot agree, and say nothing more.
        let agrees = self.found.sums == meta.sums && self.verified.whole == meta.summary.counts;
        self.verified.outdated = missing == 0 && !agrees;
    }
}

impl Check {
    /// Looks up the row of every key.
    fn rows(&mut self, progress: &mut dyn FnMut(Progress) -> ControlFlow<()>) -> ControlFlow<()> {
        self.each_page(Tree::Keys, &mut |check, keys| {
            let Check { reading, tally, .. } = check;
            let sorted: Vec<&Key> = keys.iter().collect();
            reading.each(&sorted, &mut |answer| tally.row(reading.checksum(), &answer));
            check.done += keys.len() as u64;
            progress(Progress { done: check.done, of: check.of })
        })
    }

    /// Looks for rows that the keys do not name.
    fn unlisted(&mut self, progress: &mut dyn FnMut(Progress) -> ControlFlow<()>) -> ControlFlow<()> {
        self.each_page(Tree::Rows, &mut |check, keys| {
            for key in keys {
                match listed(check.reading.db(), key) {
                    Ok(true) => {}
                    Ok(false) => {
                        check.tally.verified.unlisted += 1;
                        check.tally.verified.name(key);
                    }
                    Err(error) => check.tally.verified.problem(check.reading.error(&error).to_string()),
                }
            }
            progress(Progress { done: check.done, of: check.of })
        })
    }

    /// Walks a tree as far as it can be walked. The other tree says what is behind the damage.
    fn each_page(
        &mut self,
        tree: Tree,
        look: &mut dyn FnMut(&mut Check, &[Key]) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        for kind in Kind::ALL {
            let mut scan = Scan::kind(kind);
            loop {
                let keys = match keys_in(self.reading.db(), tree, &scan, MAX_PAGE_ROWS) {
                    Ok(keys) => keys,
                    Err(error) => {
                        let problem = self.reading.error(&error).to_string();
                        self.tally.verified.problem(problem);
                        break;
                    }
                };
                let Some(last) = keys.last().cloned() else { break };
                look(self, &keys)?;
                scan = scan.after(last);
            }
        }
        ControlFlow::Continue(())
    }
}

fn listed(db: &Connection, key: &Key) -> rusqlite::Result<bool> {
    db.prepare_cached("SELECT 1 FROM keys WHERE key = ?1")?.exists([key.as_bytes()])
}

/// SQLite's own check of its pages and trees.
fn integrity(db: &Connection, verified: &mut Verified) {
    let mut complaints = || -> rusqlite::Result<()> {
        let mut statement = db.prepare(&format!("PRAGMA integrity_check({NAMED})"))?;
        let mut lines = statement.query([])?;
        while let Some(line) = lines.next()? {
            let line: String = line.get(0)?;
            if line != "ok" {
                verified.problem(line);
            }
        }
        Ok(())
    };
    if let Err(error) = complaints() {
        verified.problem(error.to_string());
    }
}
