//! An engine, its log and the clock, tied together for a process: what a driver gives its turns to.
//!
//! - `allocator`: memory goes back to the system after much was freed.
//! - [`options`]: every setting of engine and log, by name.
//! - `store`: whether the store beside the log is the one that the log says there must be.
//! - [`shared`]: a runtime for foreign callers; panics of the core end there.
//!
//! Rules: the engine knows no thread and no file, the log no message; here the news of one is told to the other. One turn
//! is bounded, and blocks on nothing. Must never know Python, sockets, or how often it is called.

mod allocator;
pub mod options;
pub mod shared;
mod store;

use std::collections::VecDeque;
use std::fmt;
use std::fs;
use std::io;
use std::os::fd::RawFd;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use rustix::time::{ClockId, clock_gettime};

use crate::engine::{Config, ConnId, Engine, Identity, Key, Request, Stats, Verdict, Write};
use crate::log::{Appender, Completion, Durability, FileDisk, Finding, FsckReport, LogError, LogThread, SegmentInfo};
use crate::log::{fsck as fsck_log, make_room, read};
use crate::time::Now;

pub use options::Options;
pub use store::StoreFound;

/// Completions of the log that one turn hears; the rest waits for the next one.
const COMPLETIONS_PER_TURN: usize = 256;

/// Why a data directory could not be opened.
#[derive(Debug)]
pub enum OpenError {
    /// The directory could not be made or read.
    Directory(PathBuf, io::Error),
    /// Its log could not be opened.
    Log(LogError),
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Directory(path, error) => {
                let advice = match error.kind() {
                    io::ErrorKind::NotFound => "is it the right one?",
                    io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => "free some space on its disk",
                    _ => "choose another one, or let this user write there",
                };
                write!(f, "data directory {}: {error}; {advice}", path.display())
            }
            Self::Log(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for OpenError {}

impl From<LogError> for OpenError {
    fn from(error: LogError) -> Self {
        Self::Log(error)
    }
}

/// What opening read, and what of it was not as it should be (I12).
#[derive(Clone, Debug, Default)]
pub struct Recovery {
    /// The segments that hold batches, by id.
    pub segments: Vec<SegmentInfo>,
    /// Torn ends and damage.
    pub findings: Vec<Finding>,
    /// The latest time that the log knows, ms since 1970; 0 in an empty one.
    pub last_time_ms: u64,
    /// How long opening took, ms.
    pub took_ms: u64,
    /// What tells this log from others; the store beside it has it, too.
    pub log_id: u32,
}

/// What a turn left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Turn {
    /// The bound was hit: call again soon.
    pub more: bool,
    /// There is something for [`Runtime::take_requests`].
    pub requests: bool,
}

/// See the module.
pub struct Runtime {
    engine: Engine,
    log: LogThread,
    /// The monotonic clock at the start, from which the engine counts.
    started_ms: u64,
    requests: VecDeque<Request>,
}

impl Runtime {
    /// Opens the data directory `path`, made if absent, and recovers what is in it. Blocks.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub fn open(path: &Path, options: Options) -> Result<(Self, Recovery), OpenError> {
        Self::open_beside(path, options, None)
    }

    /// The same beside a store of which `found` is known; without it, whether it is the log's own is not looked at.
    ///
    /// # Errors
    /// See [`OpenError`]; also if the log says that there must be another store.
    pub fn open_beside(
        path: &Path,
        options: Options,
        found: Option<StoreFound>,
    ) -> Result<(Self, Recovery), OpenError> {
        let started = clock_ms(ClockId::MonotonicCoarse);
        let now = now_since(started);
        make_directory(path).map_err(|error| OpenError::Directory(path.to_owned(), error))?;
        let disk = FileDisk::open(&log_path(path))?;
        let unsynced = options.log.durability != Durability::Fsync;
        let mut engine = Engine::new(Config { unsynced, ..options.engine }, now);
        let read = read(&disk, &mut |record| engine.replay(&record))?;
        engine.understood()?;
        if let Some(found) = found {
            found.check(read.salt(), read.stored())?;
        }
        let mut recovered = read.settle(&disk)?;
        make_room(&disk, &mut recovered, &options.log)?;
        engine.start(&recovered, Appender::new(&recovered, &options.log));
        let log = LogThread::spawn(disk, &recovered, &options.log)?;
        let recovery = Recovery {
            log_id: recovered.salt(),
            segments: recovered.segments,
            findings: recovered.findings,
            last_time_ms: recovered.last_time_ms,
            took_ms: now_since(started).mono_ms,
        };
        Ok((Self { engine, log, started_ms: started, requests: VecDeque::new() }, recovery))
    }

    /// Becomes readable when the log has news for [`Runtime::turn`]; whoever watches it reads it.
    pub fn wake_fd(&self) -> RawFd {
        self.log.wake_fd()
    }

    /// One bounded turn: hears the log, delivers, and hands the log its next batch when it waits for one.
    pub fn turn(&mut self) -> Turn {
        self.tick();
        let mut more = self.hear();
        more |= self.engine.run();
        if self.engine.has_given_back() {
            allocator::trim();
        }
        self.sort_requests();
        if self.log.idle() {
            self.submit();
        }
        Turn { more, requests: !self.requests.is_empty() }
    }

    /// Hands the log all that waits for it, as one group (one write, one sync).
    fn submit(&mut self) {
        let time_ms = self.engine.time_ms();
        while let Some(buffer) = self.log.spare() {
            self.engine.log().recycle(buffer);
        }
        self.log.submit(self.engine.log().take(time_ms));
    }

    /// Tells the engine what the log has done. True: there may be more.
    fn hear(&mut self) -> bool {
        for _ in 0..COMPLETIONS_PER_TURN {
            let Some(done) = self.log.poll() else { return false };
            match done {
                Completion::Durable { batch, .. } => self.engine.durable(batch),
                Completion::Failed(error) => self.engine.fail(&error.to_string()),
                Completion::Read { token, bodies } => self.engine.read_done(token, bodies),
                Completion::Scanned { segment, records, findings, done } => {
                    findings.iter().for_each(|finding| self.alarm("log_findings", finding.to_string()));
                    self.engine.scanned(segment, records, done);
                }
                Completion::Delayed(error) => {
                    self.alarm("log_reads_delayed", format!("The log cannot be read at the moment: {error}."));
                }
                Completion::Space(ok) => self.engine.space(ok),
                Completion::Unlinked(segment) => self.engine.unlinked(segment),
            }
        }
        true
    }

    fn alarm(&mut self, code: &'static str, message: String) {
        self.requests.push_back(Request::Alarm { code, message });
    }

    /// What the log can do for the engine goes there; the rest waits for the driver.
    fn sort_requests(&mut self) {
        while let Some(request) = self.engine.next_request() {
            match request {
                Request::Read { token, refs } => self.log.read(token, refs),
                Request::Scan(segment) => self.log.scan(segment),
                Request::Unlink(segment) => self.log.unlink(segment),
                other => self.requests.push_back(other),
            }
        }
    }

    /// What the next connection is owed; see [`Engine::next_write`].
    pub fn next_write(&mut self) -> Option<Write<'_>> {
        self.engine.next_write()
    }

    /// When a turn is due: an instant of the clock that began at opening, and the time until then; both ms.
    pub fn next_timer(&self) -> Option<(u64, u64)> {
        let at_ms = self.engine.next_timer()?.max(1);
        Some((at_ms, at_ms.saturating_sub(now_since(self.started_ms).mono_ms)))
    }

    /// What waits for the driver: never a [`Request`] that the log can answer.
    pub fn take_requests(&mut self) -> Vec<Request> {
        self.sort_requests();
        self.requests.drain(..).collect()
    }

    /// See [`Engine::open`].
    pub fn open_conn(&mut self, user: usize, local: bool) -> ConnId {
        self.tick();
        self.engine.open(user, local)
    }

    /// See [`Engine::data`].
    pub fn data(&mut self, conn: ConnId, bytes: &mut [u8]) -> Verdict {
        self.tick();
        self.engine.data(conn, bytes)
    }

    /// See [`Engine::take_http_prefix`].
    pub fn take_http_prefix(&mut self, conn: ConnId) -> Vec<u8> {
        self.engine.take_http_prefix(conn)
    }

    /// See [`Engine::lost`].
    pub fn lost(&mut self, conn: ConnId) {
        self.tick();
        self.engine.lost(conn);
    }

    /// See [`Engine::set_writable`].
    pub fn set_writable(&mut self, conn: ConnId, on: bool) {
        self.engine.set_writable(conn, on);
    }

    /// See [`Engine::admit`].
    pub fn admit(&mut self, conn: ConnId, identity: Identity) {
        self.tick();
        self.engine.admit(conn, identity);
    }

    /// See [`Engine::refuse`].
    pub fn refuse(&mut self, conn: ConnId, code: &str, message: &str) {
        self.tick();
        self.engine.refuse(conn, code, message);
    }

    /// See [`Engine::permit`].
    pub fn permit(&mut self, conn: ConnId, ticket: u64, allowed: bool) {
        self.tick();
        self.engine.permit(conn, ticket, allowed);
    }

    /// See [`Engine::loaded`].
    pub fn loaded(&mut self, key: &Key, blob: Option<&[u8]>) {
        self.tick();
        self.engine.loaded(key, blob);
    }

    /// See [`Engine::stored`].
    pub fn stored(&mut self, key: &Key, version: u64) {
        self.tick();
        self.engine.stored(key, version);
    }

    /// See [`Engine::stop`].
    pub fn stop(&mut self, reason: &str, reconnect_ms: u64) {
        self.tick();
        self.engine.stop(reason, reconnect_ms);
    }

    /// See [`Engine::fail`].
    pub fn fail(&mut self, reason: &str) {
        self.tick();
        self.engine.fail(reason);
    }

    /// Why the engine refuses everything, if it does.
    pub fn failed(&self) -> Option<&str> {
        self.engine.failed()
    }

    /// See [`Engine::stats`].
    pub fn stats(&self) -> Stats {
        self.engine.stats()
    }

    /// What waits inside, by name: for a person who looks at a router that seems to stand still.
    pub fn diagnosis(&self) -> Vec<(&'static str, u64)> {
        let (in_flight, completions) = self.log.waiting();
        let mut told = self.engine.diagnosis();
        told.push(("now_ms", now_since(self.started_ms).mono_ms));
        told.push(("log_in_flight", in_flight as u64));
        told.push(("log_completions", completions as u64));
        told
    }

    /// Writes and syncs what is left, ends the log's threads and gives the directory free. Blocks.
    ///
    /// # Errors
    /// The log could not be written to its end; never after a failure that was told already.
    pub fn close(mut self) -> Result<(), LogError> {
        self.tick();
        let time_ms = self.engine.time_ms();
        if self.engine.failed().is_some() {
            let _ = self.log.close(time_ms);
            return Ok(());
        }
        self.engine.stop("the router closed", 0);
        self.submit();
        self.log.close(time_ms)
    }

    /// After a panic: what was submitted is written and synced, and the log's threads end. The engine may be half changed;
    /// it is not asked for anything, and what it had appended is dropped. Blocks.
    ///
    /// # Errors
    /// The log could not be written to its end.
    pub fn abandon(self) -> Result<(), LogError> {
        self.log.close(now_since(self.started_ms).wall_ms)
    }

    fn tick(&mut self) {
        self.engine.set_now(now_since(self.started_ms));
    }
}

/// Checks the log of the data directory `path`, and whether `store` is the one that belongs beside it; changes nothing. Blocks.
///
/// # Errors
/// See [`OpenError`].
pub fn fsck(path: &Path, store: Option<StoreFound>) -> Result<FsckReport, OpenError> {
    let log = log_path(path);
    if !log.is_dir() {
        let missing = io::Error::new(io::ErrorKind::NotFound, "there is no log in it");
        return Err(OpenError::Directory(path.to_owned(), missing));
    }
    // As a start does it: only so it is known whether one would understand every record.
    let mut engine = Engine::new(Options::default().engine, now_since(clock_ms(ClockId::MonotonicCoarse)));
    let mut report = fsck_log(&FileDisk::open_read_only(&log)?, &mut |record| engine.replay(&record))?;
    let beside = store.and_then(|store| store.check(report.salt, report.stored).err());
    report.refusals.extend(engine.understood().err().into_iter().chain(beside).map(|error| error.to_string()));
    Ok(report)
}

/// Makes the directory, if it is not there, with those above it; their names are on the disk then.
fn make_directory(path: &Path) -> io::Result<()> {
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

fn log_path(path: &Path) -> PathBuf {
    path.join("log")
}

/// Milliseconds of one of the machine's clocks, as of its last tick: a reading takes a few nanoseconds, and is at most a
/// few milliseconds late, which no timer and no message's time minds.
fn clock_ms(clock: ClockId) -> u64 {
    let time = clock_gettime(clock);
    let part = |value: i64, per_ms: u64, scale: u64| u64::try_from(value).unwrap_or(0) * scale / per_ms;
    part(time.tv_sec, 1, 1000) + part(time.tv_nsec, 1_000_000, 1)
}

fn now_since(started_ms: u64) -> Now {
    let mono_ms = clock_ms(ClockId::MonotonicCoarse).saturating_sub(started_ms);
    Now { mono_ms, wall_ms: clock_ms(ClockId::RealtimeCoarse) }
}

#[cfg(test)]
mod tests;
