//! The writer's thread: group commit, the syncs that nobody waits for, and asking for reserves.

use super::super::reserve::Reserve;
use super::super::{Batch, Completion, Disk, Durability, LogError, LogOptions, Writer};
use super::keeper::ToKeeper;
use super::shared::Shared;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

/// How often a full disk is asked again.
const RETRY: Duration = Duration::from_secs(1);

/// What the writer is told.
pub(super) enum ToWriter {
    Batches(Vec<Batch>),
    Reserved(Result<Reserve, LogError>),
    SpaceMayBeFree,
    /// Remove a segment once everything before this is on disk.
    Unlink {
        segment: u32,
    },
    /// The log was abandoned. Looking at [`Shared::is_abandoned`] is not enough: this may be taken from the inbox right
    /// behind that look, and nothing else comes, while the keeper holds a sender and waits for the writer's end.
    Stop,
    Close {
        now_wall_ms: u64,
    },
}

pub(super) struct Thread<D: Disk> {
    log: Writer<D>,
    shared: Arc<Shared>,
    keeper: Sender<ToKeeper>,
    /// How long something written may wait for its sync.
    patience: Option<Duration>,
    /// When what is written must be synced.
    sync_at: Option<Instant>,
    /// When the disk is asked for space again.
    retry_at: Option<Instant>,
    space: bool,
    /// What was reported last.
    durable: u64,
    synced: u64,
    failed: bool,
}

impl<D: Disk> Thread<D> {
    pub fn new(
        log: Writer<D>,
        options: &LogOptions,
        shared: Arc<Shared>,
        keeper: Sender<ToKeeper>,
        space: bool,
    ) -> Self {
        let patience = match options.durability {
            Durability::Fsync => Some(options.lazy_sync_ms),
            Durability::Interval(ms) => Some(ms),
            Durability::None => None,
        };
        Thread {
            durable: log.durable(),
            synced: log.synced(),
            log,
            shared,
            keeper,
            patience: patience.map(Duration::from_millis),
            sync_at: None,
            retry_at: (!space).then(|| Instant::now() + RETRY),
            space,
            failed: false,
        }
    }

    /// Serves until closed, or until all senders are gone.
    pub fn run(mut self, inbox: &Receiver<ToWriter>) -> Result<(), LogError> {
        let mut group = Vec::new();
        loop {
            let mut message = match self.wait(inbox) {
                Ok(message) => message,
                Err(RecvTimeoutError::Disconnected) => return Ok(()),
                Err(RecvTimeoutError::Timeout) => None,
            };
            if self.shared.is_abandoned() {
                return Ok(());
            }
            let (mut close, mut unlinks) = (None, Vec::new());
            while let Some(next) = message {
                match next {
                    ToWriter::Batches(batches) => group.extend(batches),
                    ToWriter::Reserved(made) => self.reserved(made),
                    ToWriter::SpaceMayBeFree => self.retry_at = self.retry_at.map(|_| Instant::now()),
                    ToWriter::Unlink { segment } => unlinks.push(segment),
                    ToWriter::Stop => return Ok(()),
                    ToWriter::Close { now_wall_ms } => close = Some(now_wall_ms),
                }
                message = inbox.try_recv().ok();
            }
            self.commit(&mut group);
            self.unlink(&unlinks);
            self.sync_if_due();
            if let Some(now_wall_ms) = close {
                return self.log.close(now_wall_ms);
            }
            self.order_reserves();
        }
    }

    fn wait(&self, inbox: &Receiver<ToWriter>) -> Result<Option<ToWriter>, RecvTimeoutError> {
        let due = match (self.sync_at, self.retry_at) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
        match due {
            Some(due) => inbox.recv_timeout(due.saturating_duration_since(Instant::now())).map(Some),
            None => inbox.recv().map(Some).map_err(|_| RecvTimeoutError::Disconnected),
        }
    }

    fn commit(&mut self, group: &mut Vec<Batch>) {
        if group.is_empty() {
            return;
        }
        let done = if self.failed {
            None
        } else {
            let result = self.log.write(group);
            self.outcome(result)
        };
        let count = group.len();
        self.shared.settled(count, group.drain(..).map(|batch| batch.bytes), done);
        self.sync_at = match (self.log.is_dirty(), self.sync_at, self.patience) {
            (true, None, Some(patience)) => Some(Instant::now() + patience),
            (true, at, _) => at,
            (false, ..) => None,
        };
    }

    fn sync_if_due(&mut self) {
        if self.sync_at.is_some_and(|at| at <= Instant::now()) && !self.failed {
            self.sync();
        }
    }

    fn sync(&mut self) {
        self.sync_at = None;
        let result = self.log.sync();
        if let Some(done) = self.outcome(result) {
            self.shared.complete(done);
        }
    }

    fn unlink(&mut self, segments: &[u32]) {
        if !segments.is_empty() && !self.failed {
            self.sync();
        }
        for &segment in segments.iter().filter(|_| !self.failed) {
            let _ = self.keeper.send(ToKeeper::Unlink { segment });
        }
    }

    /// What the event loop must hear of a write or sync.
    fn outcome(&mut self, result: Result<u64, LogError>) -> Option<Completion> {
        match result {
            Ok(durable) => {
                let before = (self.durable, self.synced);
                (self.durable, self.synced) = (durable, self.log.synced());
                let changed = before != (self.durable, self.synced);
                changed.then_some(Completion::Durable { batch: durable, synced: self.synced })
            }
            Err(error) => {
                self.failed = true;
                self.sync_at = None;
                self.retry_at = None;
                Some(Completion::Failed(error))
            }
        }
    }

    fn order_reserves(&mut self) {
        if self.retry_at.is_some_and(|at| at > Instant::now()) {
            return;
        }
        self.retry_at = None;
        while let Some(name) = self.log.order_reserve() {
            let _ = self.keeper.send(ToKeeper::Reserve { name });
        }
    }

    fn reserved(&mut self, made: Result<Reserve, LogError>) {
        if !self.log.reserve_made(made) {
            self.retry_at = Some(Instant::now() + RETRY);
            self.say_space(false);
        } else if self.log.has_reserves() {
            self.say_space(true);
        }
    }

    fn say_space(&mut self, space: bool) {
        if self.space != space && !self.failed {
            self.space = space;
            self.shared.complete(Completion::Space(space));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::Recovered;
    use super::super::super::sim::SimDisk;
    use super::*;
    use std::sync::mpsc::channel;

    #[test]
    fn an_abandoned_writer_ends_though_stop_comes_behind_another_message() {
        let options = LogOptions { segment_bytes: 4096, ..LogOptions::default() };
        let shared = Arc::new(Shared::new().unwrap());
        let log = Writer::open(Arc::new(SimDisk::new(1)), &Recovered::default(), &options).unwrap();
        let (keeper, _orders) = channel();
        // As the keeper's, this sender stays until the writer has ended.
        let (sender, inbox) = channel();
        sender.send(ToWriter::SpaceMayBeFree).unwrap();
        sender.send(ToWriter::Stop).unwrap();
        let writer = Thread::new(log, &options, shared, keeper, true);
        let (told, ended) = channel();
        std::thread::spawn(move || told.send(writer.run(&inbox)));
        assert_eq!(ended.recv_timeout(Duration::from_secs(60)), Ok(Ok(())));
        drop(sender);
    }
}
