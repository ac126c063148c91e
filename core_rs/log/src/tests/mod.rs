//! Tests of the log, by what they promise.

mod basics;
mod crash;
mod damage;
mod decisions;
mod ends;
mod format;
mod reads;
mod settle;
mod thread;

use super::*;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

/// A directory that goes when the test ends.
struct TempDir(PathBuf);

impl TempDir {
    fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let n = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("pyrouter-log-{}-{n}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        TempDir(path)
    }

    fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Small segments and batches, so that few records cross their borders.
fn small() -> LogOptions {
    LogOptions { segment_bytes: 4096, batch_bytes: 1024, ..LogOptions::default() }
}

/// A record that a test keeps.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Kept {
    kind: u8,
    body: Vec<u8>,
    at: Ref,
    time_ms: u64,
}

fn kept(record: Record<'_>) -> Kept {
    Kept { kind: record.kind, body: record.body.to_vec(), at: record.at, time_ms: record.time_ms }
}

fn recover_all<D: Disk>(disk: &D) -> (Recovered, Vec<Kept>) {
    let mut records = Vec::new();
    let recovered = recover(disk, &mut |record| records.push(kept(record))).unwrap();
    (recovered, records)
}

/// Appends a decision; where the bodies will stand, and their batch.
fn decide(appender: &mut Appender, decision: &[(u8, Vec<u8>)], sync: bool) -> Result<(Vec<Ref>, u64), LogError> {
    let bodies: Vec<[&[u8]; 1]> = decision.iter().map(|(_, body)| [body.as_slice()]).collect();
    let records: Vec<(u8, &[&[u8]])> =
        decision.iter().zip(&bodies).map(|((kind, _), body)| (*kind, body.as_slice())).collect();
    let mut places = Vec::new();
    let batch = appender.append(&records, sync, |at| places.push(at))?;
    Ok((places, batch))
}

/// Appends a decision of one record; where its body will stand, and its batch.
fn try_one(appender: &mut Appender, kind: u8, parts: &[&[u8]], sync: bool) -> Result<(Ref, u64), LogError> {
    let mut at = Ref::default();
    let batch = appender.append(&[(kind, parts)], sync, |place| at = place)?;
    Ok((at, batch))
}

/// The same for what fits.
fn one(appender: &mut Appender, kind: u8, parts: &[&[u8]], sync: bool) -> (Ref, u64) {
    try_one(appender, kind, parts, sync).unwrap()
}
