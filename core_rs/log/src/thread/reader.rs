//! The reader's thread: bodies by position, and whole segments part by part.
//!
//! What cannot be read at the moment waits and is tried again, with pauses that grow to a bound, until it is read, known to
//! be lost, or not wanted any more; others are served meanwhile.

use super::super::{Completion, Disk, Fetch, LogError, Reader, Ref};
use super::shared::Shared;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

/// Bytes of a segment that one part of a scan brings, about.
const SCAN_PART: u64 = 256 << 10;
/// Pauses between tries of what could not be read, ms; the last one is repeated.
const PAUSES_MS: [u64; 5] = [20, 100, 500, 2_000, 5_000];

/// What the reader is told.
pub(super) enum ToReader {
    Read { token: u64, refs: Vec<Ref> },
    Scan { segment: u32 },
    GoOn { segment: u32 },
    Forget { segment: u32 },
}

/// What is to be read.
enum Job {
    Fetch { token: u64, fetch: Fetch },
    Scan { segment: u32, from: u64 },
}

pub(super) struct Thread<D: Disk> {
    reader: Reader<D>,
    shared: Arc<Shared>,
    /// Scans that wait for their last part to be polled, and where they go on.
    scans: Vec<(u32, u64)>,
    /// What could not be read at the last try.
    delayed: Vec<Job>,
    /// Tries that failed since something was last not delayed.
    failures: usize,
    /// When the delayed ones are tried again.
    due: Option<Instant>,
}

impl<D: Disk> Thread<D> {
    pub fn new(reader: Reader<D>, shared: Arc<Shared>) -> Self {
        Thread { reader, shared, scans: Vec::new(), delayed: Vec::new(), failures: 0, due: None }
    }

    pub fn run(&mut self, inbox: &Receiver<ToReader>) {
        loop {
            let message = match self.due {
                Some(due) => inbox.recv_timeout(due.saturating_duration_since(Instant::now())),
                None => inbox.recv().map_err(|_| RecvTimeoutError::Disconnected),
            };
            if self.shared.is_abandoned() {
                return;
            }
            match message {
                Ok(message) => self.take(message),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            if self.due.is_some_and(|due| due <= Instant::now()) {
                self.try_again();
            }
        }
    }

    fn take(&mut self, message: ToReader) {
        match message {
            ToReader::Read { token, refs } => self.attempt(Job::Fetch { token, fetch: Fetch::new(&refs) }),
            ToReader::Scan { segment } => self.attempt(Job::Scan { segment, from: 0 }),
            ToReader::GoOn { segment } => {
                if let Some(place) = self.scans.iter().position(|(id, _)| *id == segment) {
                    let (segment, from) = self.scans.swap_remove(place);
                    self.attempt(Job::Scan { segment, from });
                }
            }
            ToReader::Forget { segment } => self.forget(segment),
        }
    }

    fn attempt(&mut self, job: Job) {
        if let Err((job, error)) = self.work(job) {
            if self.delayed.is_empty() {
                self.shared.complete(Completion::Delayed(error));
                self.pause();
            }
            self.delayed.push(job);
        }
    }

    /// Does a job, or gives it back with the error.
    fn work(&mut self, job: Job) -> Result<(), (Job, LogError)> {
        match job {
            Job::Fetch { token, mut fetch } => match self.reader.fetch(&mut fetch) {
                Ok(()) => self.shared.complete(Completion::Read { token, bodies: fetch.into_bodies() }),
                Err(error) => return Err((Job::Fetch { token, fetch }, error)),
            },
            Job::Scan { segment, from } => match self.reader.scan(segment, from, SCAN_PART) {
                Ok(part) => {
                    self.scans.extend(part.next.map(|from| (segment, from)));
                    let (records, findings, done) = (part.records, part.findings, part.next.is_none());
                    self.shared.complete(Completion::Scanned { segment, records, findings, done });
                }
                Err(error) => return Err((Job::Scan { segment, from }, error)),
            },
        }
        Ok(())
    }

    fn try_again(&mut self) {
        let jobs = std::mem::take(&mut self.delayed);
        let left = jobs.into_iter().filter_map(|job| self.work(job).err()).map(|(job, _)| job);
        self.delayed = left.collect();
        if self.delayed.is_empty() {
            (self.failures, self.due) = (0, None);
        } else {
            self.pause();
        }
    }

    fn pause(&mut self) {
        let ms = PAUSES_MS.get(self.failures).or(PAUSES_MS.last()).copied().unwrap_or(0);
        self.failures = (self.failures + 1).min(PAUSES_MS.len());
        self.due = Some(Instant::now() + Duration::from_millis(ms));
    }

    /// Nobody wants anything of a segment any more.
    fn forget(&mut self, segment: u32) {
        self.reader.forget(segment);
        self.scans.retain(|(id, _)| *id != segment);
        self.delayed.retain(|job| !matches!(job, Job::Scan { segment: id, .. } if *id == segment));
        for job in &mut self.delayed {
            if let Job::Fetch { fetch, .. } = job {
                fetch.forget(segment);
            }
        }
    }
}
