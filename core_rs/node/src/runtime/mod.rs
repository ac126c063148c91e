//! A node with its log, its store and the clock, tied together for a process: what a driver gives its turns to.
//!
//! - `start`: opening a data directory. [`decide`]: whether a start goes on after what it found. [`fsck`]: the same, and
//!   nothing is changed.
//! - `allocator`: memory goes back to the system after much was freed.
//! - [`options`]: every setting of node and log, by name.
//! - [`shared`]: a runtime for foreign callers; panics of the core end there.
//!
//! Rules: the node knows no thread and no file, log and store no message; here the completions of one are given to the other. One
//! turn is bounded, and blocks on nothing. Must never know Python, sockets, or how often it is called.

mod allocator;
pub mod decide;
mod directory;
mod error;
pub mod fsck;
pub mod options;
pub mod shared;
mod start;

use std::collections::VecDeque;
use std::os::fd::RawFd;
use std::path::Path;
use std::sync::Arc;

use gateway::accounts::Source;
use gateway::{Carrier, Identity, Verdict, Write};
use log::{Completion, Disk, FileDisk, Finding, LogError, LogThread, SegmentInfo, Waker};
use rustix::event::{PollFd, PollFlags, poll};
use seam::Address;
use store::Lookup;
use store::thread::{Completion as Stored, Retry, StoreThread, Wake};

use crate::api::{Request, Stats};
use crate::node::Node;
use decide::{Consent, Decision, Reason};
use directory::{Timer, log_path, make_directory, store_path};

pub use error::OpenError;
pub use options::Options;

/// Completions of the log that one turn takes, and bytes of bodies in them; the rest waits for the next one.
const COMPLETIONS: (usize, usize) = (256, 8 << 20);
/// The same of the store's answers, and bytes of rows.
const ANSWERS: (usize, usize) = (64, 4 << 20);
/// Memory goes back to the system after so many rows went to the store.
const GIVEN_BACK: u64 = 50_000;

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
    pub log_id: [u8; 16],
    /// Why a new generation of numbers began, if one did.
    pub renewed: Option<Reason>,
}

/// What a turn left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Turn {
    /// The bound was hit: call again soon.
    pub more: bool,
    /// There is something for [`Runtime::take_requests`].
    pub requests: bool,
}

/// The store's threads ring the log's bell: the driver watches one descriptor.
struct Ring(Waker);

impl Wake for Ring {
    fn wake(&self) {
        self.0.wake();
    }

    /// The log does this when it is polled, which a turn does first: what the store completes later is heard anew.
    fn quiet(&self) {}
}

/// See the module.
pub struct Runtime {
    node: Node,
    log: LogThread,
    store: StoreThread,
    timer: Timer,
    /// What waits for the driver.
    requests: VecDeque<Request>,
    /// Questions that the store has no room for yet, and batches.
    questions: VecDeque<Request>,
    puts: VecDeque<Request>,
    /// Rows that had gone to the store when memory was given back.
    given_back: u64,
}

impl Runtime {
    /// Opens the data directory `path`, made if absent, and recovers what is in it. Blocks.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub fn open(path: &Path, options: &Options) -> Result<(Self, Recovery), OpenError> {
        Self::open_with(path, options, &Consent::default())
    }

    /// The same, with what an operator says about this start.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub fn open_with(path: &Path, options: &Options, consent: &Consent) -> Result<(Self, Recovery), OpenError> {
        let timer = Timer::start();
        make_directory(path).map_err(|error| OpenError::Directory(path.to_owned(), error))?;
        Self::open_on(FileDisk::open(&log_path(path))?, &store_path(path), (options, consent), timer)
    }

    /// The same with a log on `disk` and the store in the directory `store`.
    fn open_on<D>(
        disk: D,
        store: &Path,
        (options, consent): (&Options, &Consent),
        timer: Timer,
    ) -> Result<(Self, Recovery), OpenError>
    where
        D: Disk + Send + Sync + 'static,
        D::File: Send,
    {
        let now = timer.now();
        let found = start::read(&disk, store, now)?;
        let started = found.settle(&disk, store, options, (consent, now))?;
        let start::Started { node, recovered, store, decision } = started;
        let log = LogThread::spawn(disk, &recovered, &options.log)?;
        let ring = Arc::new(Ring(log.waker()));
        let store = StoreThread::spawn(Arc::new(store), ring, Retry::default())?;
        let (requests, questions, puts) = Default::default();
        let mut runtime = Self { node, log, store, timer, requests, questions, puts, given_back: 0 };
        let renewed = match decision {
            Decision::GoOn => None,
            Decision::Renew(reason) => {
                runtime.alarm("generation", format!("Numbers go on in a new generation: {reason}."));
                Some(reason)
            }
        };
        runtime.begin()?;
        let recovery = Recovery {
            log_id: recovered.id,
            segments: recovered.segments,
            findings: recovered.findings,
            last_time_ms: recovered.last_time_ms,
            took_ms: runtime.timer.now().mono_ms,
            renewed,
        };
        Ok((runtime, recovery))
    }

    /// Brings to disk what the start concluded, before anybody is served. Blocks.
    fn begin(&mut self) -> Result<(), LogError> {
        self.submit();
        let waker = self.log.waker();
        while !self.node.has_begun() {
            match self.log.poll() {
                Some(Completion::Failed(error)) => return Err(error),
                Some(done) => drop(self.logged(done)),
                // Whatever interrupts it, the log is asked again.
                None => drop(poll(&mut [PollFd::new(&waker, PollFlags::IN)], None)),
            }
        }
        Ok(())
    }

    /// Becomes readable when log or store completed something for [`Runtime::turn`]; whoever watches it reads it.
    pub fn wake_fd(&self) -> RawFd {
        self.log.wake_fd()
    }

    /// One bounded turn: takes what log and store completed, delivers, and hands the log its next batch when it waits for one.
    pub fn turn(&mut self) -> Turn {
        self.tick();
        let mut more = self.hear_log();
        more |= self.hear_store();
        more |= self.node.run();
        let rested = self.node.stats.rested_total;
        if rested - self.given_back >= GIVEN_BACK {
            self.given_back = rested;
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
        let time_ms = self.node.time_ms();
        while let Some(buffer) = self.log.spare() {
            self.node.log().recycle(buffer);
        }
        self.log.submit(self.node.log().take(time_ms));
    }

    /// Gives the node what the log has done. True: there may be more.
    fn hear_log(&mut self) -> bool {
        let mut bytes = 0;
        for _ in 0..COMPLETIONS.0 {
            let Some(done) = self.log.poll() else { return false };
            bytes += self.logged(done);
            if bytes >= COMPLETIONS.1 {
                break;
            }
        }
        true
    }

    /// Gives bytes of bodies.
    fn logged(&mut self, done: Completion) -> usize {
        let mut bytes = 0;
        match done {
            Completion::Durable { batch, synced } => self.node.durable(batch, synced),
            Completion::Failed(error) => self.node.fail(&error.to_string()),
            Completion::Read { token, bodies } => {
                bytes = bodies.iter().flatten().map(bytes::Bytes::len).sum();
                self.node.read(token, bodies);
            }
            // The node asks for no scan.
            Completion::Scanned { .. } => {}
            Completion::Delayed(error) => {
                self.alarm("log_reads_delayed", format!("The log cannot be read at the moment: {error}."));
            }
            Completion::Space(ok) => self.node.space(ok),
            Completion::Unlinked(segment) => self.node.unlinked(segment),
        }
        bytes
    }

    /// Gives the node what the store has done. True: there may be more.
    fn hear_store(&mut self) -> bool {
        let mut bytes = 0;
        for _ in 0..ANSWERS.0 {
            let Some(done) = self.store.poll() else { return false };
            match done {
                Stored::Stored { token, put } => self.node.put(token, &put),
                Stored::Failed(error) => self.node.fail(&error.to_string()),
                Stored::Looked { token, answers } => {
                    bytes += answers.iter().map(length).sum::<usize>();
                    self.node.looked(token, answers);
                }
                Stored::Scanned { token, page } => {
                    bytes += page.iter().flat_map(|page| &page.rows).map(length).sum::<usize>();
                    self.node.scanned(token, page);
                }
            }
            if bytes >= ANSWERS.1 {
                break;
            }
        }
        true
    }

    fn alarm(&mut self, code: &'static str, message: String) {
        self.requests.push_back(Request::Alarm { code, message });
    }

    /// What log and store can do for the node goes there; the rest waits for the driver.
    fn sort_requests(&mut self) {
        while let Some(request) = self.node.next_request() {
            match request {
                Request::Read { token, refs } => self.log.read(token, refs),
                Request::Unlink(segment) => self.log.unlink(segment),
                Request::Get { .. } | Request::Page { .. } => self.questions.push_back(request),
                Request::Put { .. } => self.puts.push_back(request),
                other => self.requests.push_back(other),
            }
        }
        ask(&mut self.store, &mut self.questions);
        ask(&mut self.store, &mut self.puts);
    }

    /// What the next connection is owed; see [`Node::next_write`].
    pub fn next_write(&mut self) -> Option<Write<'_>> {
        self.node.next_write()
    }

    /// When a turn is due: an instant of the clock that began at opening, and the time until then; both ms.
    pub fn next_timer(&self) -> Option<(u64, u64)> {
        let at_ms = self.node.next_timer()?.max(1);
        Some((at_ms, at_ms.saturating_sub(self.timer.now().mono_ms)))
    }

    /// What waits for the driver: never a [`Request`] that log or store can answer.
    pub fn take_requests(&mut self) -> Vec<Request> {
        self.sort_requests();
        self.requests.drain(..).collect()
    }

    /// A connection; `local`: within this process. See [`Node::open`].
    pub fn open_conn(&mut self, user: usize, local: bool, source: Option<Source>) -> Address {
        self.tick();
        self.node.open(user, if local { Carrier::Local } else { Carrier::Socket }, source)
    }

    /// See [`Node::data`].
    pub fn data(&mut self, conn: Address, bytes: &mut [u8]) -> Verdict {
        self.tick();
        self.node.data(conn, bytes)
    }

    /// See [`Node::take_http_prefix`].
    pub fn take_http_prefix(&mut self, conn: Address) -> Vec<u8> {
        self.node.take_http_prefix(conn)
    }

    /// See [`Node::lost`].
    pub fn lost(&mut self, conn: Address) {
        self.tick();
        self.node.lost(conn);
    }

    /// See [`Node::set_writable`].
    pub fn set_writable(&mut self, conn: Address, on: bool) {
        self.node.set_writable(conn, on);
    }

    /// See [`Node::admit`].
    pub fn admit(&mut self, conn: Address, identity: Identity) {
        self.tick();
        self.node.admit(conn, identity);
    }

    /// See [`Node::refuse`].
    pub fn refuse(&mut self, conn: Address, code: &str, message: &str) {
        self.tick();
        self.node.refuse(conn, code, message);
    }

    /// See [`Node::permit`].
    pub fn permit(&mut self, conn: Address, ticket: u64, allowed: bool) {
        self.tick();
        self.node.permit(conn, ticket, allowed);
    }

    /// See [`Node::create_user`]; [`Request::User`] answers.
    pub fn create_user(&mut self, ticket: u64, name: &str) {
        self.tick();
        self.node.create_user(ticket, name);
    }

    /// See [`Node::has_user`]; [`Request::User`] answers.
    pub fn has_user(&mut self, ticket: u64, name: &str) {
        self.tick();
        self.node.has_user(ticket, name);
    }

    /// See [`Node::confirm_clock`].
    pub fn confirm_clock(&mut self) -> bool {
        self.tick();
        self.node.confirm_clock()
    }

    /// See [`Node::stop`].
    pub fn stop(&mut self, reason: &str, reconnect_ms: u64) {
        self.tick();
        self.node.stop(reason, reconnect_ms);
    }

    /// See [`Node::fail`].
    pub fn fail(&mut self, reason: &str) {
        self.tick();
        self.node.fail(reason);
    }

    /// Why the node refuses everything, if it does.
    pub fn failed(&self) -> Option<&str> {
        self.node.failed()
    }

    /// See [`Node::stats`].
    pub fn stats(&self) -> Stats {
        self.node.stats()
    }

    /// What waits inside, by name: for a person who looks at a router that seems to stand still.
    pub fn diagnosis(&self) -> Vec<(&'static str, u64)> {
        let (in_flight, completions) = self.log.waiting();
        let mut told = self.node.diagnosis();
        told.extend([
            ("now_ms", self.timer.now().mono_ms),
            ("log_in_flight", in_flight as u64),
            ("log_completions", completions as u64),
            ("store_questions_waiting", self.questions.len() as u64),
            ("store_puts_waiting", self.puts.len() as u64),
        ]);
        told
    }

    /// Writes and syncs what is left, ends the threads of log and store and gives the directory free. Blocks.
    ///
    /// # Errors
    /// The log could not be written to its end; never after a failure that was told already.
    pub fn close(mut self) -> Result<(), LogError> {
        self.tick();
        let time_ms = self.node.time_ms();
        if self.node.failed().is_some() {
            let _ = self.log.close(time_ms);
            return Ok(());
        }
        self.node.stop("the router closed", 0);
        self.submit();
        let closed = self.log.close(time_ms);
        // A batch of rows that it could not write is in the log.
        self.store.close().for_each(drop);
        closed
    }

    /// After a panic: what was submitted to the log is written and synced, and the threads end. The node may be half changed; it is
    /// not asked for anything, and what it had appended is dropped. Blocks.
    ///
    /// # Errors
    /// The log could not be written to its end.
    pub fn abandon(self) -> Result<(), LogError> {
        self.log.close(self.timer.now().wall_ms)
    }

    fn tick(&mut self) {
        self.node.set_now(self.timer.now());
    }
}

/// Gives the store what it has room for, in order.
fn ask(store: &mut StoreThread, waiting: &mut VecDeque<Request>) {
    while let Some(request) = waiting.pop_front() {
        let left = match request {
            Request::Get { token, keys } => store.get(token, keys).err().map(|keys| Request::Get { token, keys }),
            Request::Page { token, scan } => {
                store.scan(token, scan.clone()).err().map(|_| Request::Page { token, scan })
            }
            Request::Put { token, batch } => store.put(token, batch).err().map(|batch| Request::Put { token, batch }),
            _ => None,
        };
        if let Some(left) = left {
            return waiting.push_front(left);
        }
    }
}

fn length(answer: &Lookup) -> usize {
    if let Lookup::Found(row) = answer { row.value.len() } else { 0 }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]
mod tests;
