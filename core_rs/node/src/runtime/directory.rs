//! The data directory, and the machine's clocks.

use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use rustix::time::{ClockId, clock_gettime};
use seam::Now;

/// Makes the directory, if it is not there, with those above it; their names are on the disk then.
pub(super) fn make_directory(path: &Path) -> io::Result<()> {
    let missing: Vec<&Path> = path.ancestors().take_while(|above| !above.exists()).collect();
    // Nobody else on the machine is to read who writes to whom.
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    let here = path.canonicalize()?;
    let parents: Vec<&Path> = here.ancestors().skip(1).take(missing.len().max(1)).collect();
    for parent in parents.into_iter().rev() {
        let synced = fs::File::open(parent).and_then(|dir| dir.sync_all());
        // Of one that was there already this is for the case that a start died before it came to it.
        if !missing.is_empty() {
            synced?;
        }
    }
    Ok(())
}

pub(super) fn log_path(path: &Path) -> PathBuf {
    path.join("log")
}

pub(super) fn store_path(path: &Path) -> PathBuf {
    path.join("store")
}

/// The machine's clocks; the monotonic one counts from here.
#[derive(Clone, Copy, Debug)]
pub(super) struct Timer {
    started_ms: u64,
}

impl Timer {
    pub fn start() -> Self {
        Self { started_ms: clock_ms(ClockId::MonotonicCoarse) }
    }

    pub fn now(self) -> Now {
        let mono_ms = clock_ms(ClockId::MonotonicCoarse).saturating_sub(self.started_ms);
        Now { mono_ms, wall_ms: clock_ms(ClockId::RealtimeCoarse) }
    }
}

/// Milliseconds of one of the machine's clocks, as of its last tick: a reading takes a few nanoseconds, and is at most a
/// few milliseconds late, which no timer and no message's time minds.
fn clock_ms(clock: ClockId) -> u64 {
    let time = clock_gettime(clock);
    let part = |value: i64, per_ms: u64, scale: u64| u64::try_from(value).unwrap_or(0) * scale / per_ms;
    part(time.tv_sec, 1, 1000) + part(time.tv_nsec, 1_000_000, 1)
}
