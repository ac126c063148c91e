//! Checks a data directory that no server has open, and changes nothing.

use std::io;
use std::ops::ControlFlow;
use std::path::Path;

use log::{FileDisk, FsckReport};
use partition::recover::Recovery;
use partition::suspects::Findings;
use store::{Identity, SqliteStore, StoreError, Verified};

use super::OpenError;
use super::decide::{Consent, Evidence, StoreFound, decide};
use super::directory::{log_path, store_path};
use super::start::{new_damage, take};

/// What a check found.
#[derive(Clone, Debug)]
pub struct Report {
    /// The log; among its refusals why a start would refuse the directory.
    pub log: FsckReport,
    /// The store; `None`: there is none, or it cannot be looked at.
    pub store: Option<Verified>,
}

impl Report {
    /// Whether nothing that was durable is gone, and a start goes on.
    pub fn is_sound(&self) -> bool {
        self.log.is_sound() && self.store.as_ref().is_none_or(Verified::is_whole)
    }
}

/// Checks the data directory `path`: its log, its store, and whether they fit. Blocks.
///
/// # Errors
/// There is no log, or it cannot be read.
pub fn fsck(path: &Path) -> Result<Report, OpenError> {
    let log = log_path(path);
    if !log.is_dir() {
        let missing = io::Error::new(io::ErrorKind::NotFound, "there is no log in it");
        return Err(OpenError::Directory(path.to_owned(), missing));
    }
    // As a start does it: so it is known whether one would understand every record.
    let mut recovery = Recovery::default();
    let mut log = log::fsck(&FileDisk::open_read_only(&log)?, &mut |record| take(&mut recovery, &record))?;
    let (store, beside) = verify(&store_path(path), &log);
    let mut evidence = Evidence {
        end: log.end,
        last_batch: log.last_batch,
        stored: log.stored,
        reflects: recovery.reflects.0,
        store: beside,
        damage: new_damage(&log.findings, recovery.generation.position),
        rows: Findings::default(),
    };
    evidence.rows = recovery.resolve(store.is_some(), false, 0, &mut |_| None).1;
    // The code of a loss comes from a start, which looks into the store for what can be saved.
    if log.refusals.is_empty()
        && let Err(refusal) = decide(&evidence, &Consent::default())
    {
        log.refusals.push(refusal.sentence);
    }
    Ok(Report { log, store })
}

/// The store in `directory`, compared with what it says of itself.
fn verify(directory: &Path, log: &FsckReport) -> (Option<Verified>, StoreFound) {
    let verify = |id: [u8; 16]| SqliteStore::verify(directory, Identity(id), &mut |_| ControlFlow::Continue(()));
    let mut verified = verify(log.id.unwrap_or_default());
    // A log without its FORMAT file has the identity that its store knows.
    if let (Err(StoreError::OtherLog { store, .. }), None, Some(salt)) = (&verified, log.id, log.salt)
        && store.0.starts_with(&salt.to_be_bytes())
    {
        verified = verify(store.0);
    }
    match verified {
        Ok(verified) => {
            let beside = match verified.summary {
                Some(summary) => StoreFound::Here { reflects: summary.reflects },
                None => StoreFound::Unusable(StoreError::DamagedSummary { path: directory.display().to_string() }),
            };
            (Some(verified), beside)
        }
        Err(StoreError::Missing { .. }) => (None, StoreFound::Missing),
        Err(StoreError::OtherLog { .. }) => (None, StoreFound::OtherLog),
        Err(error) => (None, StoreFound::Unusable(error)),
    }
}
