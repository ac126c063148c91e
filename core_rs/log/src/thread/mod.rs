//! The log for an event loop: three threads, and a descriptor that becomes readable when they have something to say.
//!
//! - the *writer* takes everything queued, writes it with one call and syncs it with one call: the group commit;
//! - the *reader* fetches bodies by position and scans segments;
//! - the *keeper* does what takes long and nobody waits for: reserving segments, unlinking them.
//!
//! No call here waits for a disk, except [`LogThread::close`]. Queues are bounded by their user: the engine has one
//! submission in flight, bounds what it asks for, and a scan goes on only when its last part was polled.

mod bell;
#[cfg(test)]
#[allow(clippy::indexing_slicing)]
mod handover;
mod keeper;
mod reader;
mod shared;
mod writer;

use super::{Batch, Completion, Disk, LogError, LogOptions, Reader, Recovered, Ref, Writer};
use reader::ToReader;
use shared::Shared;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::thread::JoinHandle;
use writer::ToWriter;

/// The log's threads.
pub struct LogThread {
    shared: Arc<Shared>,
    /// `None` once closing.
    senders: Option<Senders>,
    writer: Option<JoinHandle<Result<(), LogError>>>,
    others: Vec<JoinHandle<()>>,
}

struct Senders {
    writer: Sender<ToWriter>,
    reader: Sender<ToReader>,
}

/// See [`LogThread::waker`].
#[derive(Clone)]
pub struct Waker(Arc<Shared>);

impl Waker {
    /// Makes the descriptor readable.
    pub fn wake(&self) {
        let _ = rustix::io::write(&self.0.wake, &1_u64.to_ne_bytes());
    }
}

impl AsFd for Waker {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.wake.as_fd()
    }
}

impl LogThread {
    /// Starts the threads on a log that was just recovered. The first completion tells whether there is space.
    ///
    /// # Errors
    /// [`LogError::Io`] if the disk, the descriptor or a thread cannot be had.
    pub fn spawn<D>(disk: D, recovered: &Recovered, options: &LogOptions) -> Result<Self, LogError>
    where
        D: Disk + Send + Sync + 'static,
        D::File: Send,
    {
        let disk = Arc::new(disk);
        let shared = Arc::new(Shared::new().map_err(|error| LogError::io("make", "an eventfd", &error))?);
        let mut log = Writer::open(Arc::clone(&disk), recovered, options)?;
        let space = log.reserve();
        shared.complete(Completion::Space(space));
        let (to_writer, writer_inbox) = channel();
        let (to_reader, reader_inbox) = channel();
        let (to_keeper, keeper_inbox) = channel();
        let writer = writer::Thread::new(log, options, Arc::clone(&shared), to_keeper, space);
        let writer = spawn_named("log-writer", &shared, move || writer.run(&writer_inbox))?;
        let reader = Reader::new(Arc::clone(&disk), recovered);
        let mut reader = reader::Thread::new(reader, Arc::clone(&shared));
        let reader = spawn_named("log-reader", &shared, move || reader.run(&reader_inbox))?;
        let keeper = keeper::Thread::new(disk, options.clone(), Arc::clone(&shared), to_writer.clone());
        let keeper = spawn_named("log-keeper", &shared, move || keeper.run(&keeper_inbox))?;
        let senders = Some(Senders { writer: to_writer, reader: to_reader });
        Ok(LogThread { shared, senders, writer: Some(writer), others: vec![reader, keeper] })
    }

    /// Readable when [`LogThread::poll`] has something, or the writer has become idle.
    pub fn wake_fd(&self) -> RawFd {
        self.shared.wake.as_raw_fd()
    }

    /// Makes the same descriptor readable, for others that the event loop waits for. The loop looks at them after
    /// [`LogThread::poll`] gave `None`: that makes the descriptor quiet, whoever made it readable.
    pub fn waker(&self) -> Waker {
        Waker(Arc::clone(&self.shared))
    }

    /// Whether the writer has nothing to do: the engine's open batch may go.
    pub fn idle(&self) -> bool {
        self.shared.is_idle()
    }

    /// Batches that the writer has not dealt with, and completions that [`LogThread::poll`] has not given yet.
    pub fn waiting(&self) -> (usize, usize) {
        self.shared.waiting()
    }

    /// Gives the writer the next batches.
    pub fn submit(&mut self, batches: Vec<Batch>) {
        if !batches.is_empty() {
            self.shared.submitted(batches.len());
            self.tell_writer(ToWriter::Batches(batches));
        }
    }

    /// Asks for bodies; [`Completion::Read`] answers with the same token. Only durable records may be asked for.
    pub fn read(&mut self, token: u64, refs: Vec<Ref>) {
        self.tell_reader(ToReader::Read { token, refs });
    }

    /// Asks for all records of a sealed segment; [`Completion::Scanned`] brings them, part by part.
    pub fn scan(&mut self, segment: u32) {
        self.tell_reader(ToReader::Scan { segment });
    }

    /// Removes a segment that nobody will read any more, once all that was submitted is on disk, whatever the durability:
    /// it may hold what the segment held, and says that the segment is trimmed ([`super::Appender::keep_from`]). One after
    /// the other, each on disk before the next.
    pub fn unlink(&mut self, segment: u32) {
        self.tell_reader(ToReader::Forget { segment });
        self.tell_writer(ToWriter::Unlink { segment });
    }

    /// The next thing that is done, if any. To be called until `None` after the descriptor became readable.
    pub fn poll(&mut self) -> Option<Completion> {
        let done = self.shared.next()?;
        if let Completion::Scanned { segment, done: false, .. } = done {
            self.tell_reader(ToReader::GoOn { segment });
        }
        Some(done)
    }

    /// The buffer of a batch that is written, for [`super::Appender::recycle`].
    pub fn spare(&mut self) -> Option<Vec<u8>> {
        self.shared.spare()
    }

    /// Writes and syncs all that was submitted, ends the log cleanly and waits for the threads.
    ///
    /// # Errors
    /// The log's failure, if it has failed, now or before.
    pub fn close(mut self, now_wall_ms: u64) -> Result<(), LogError> {
        self.tell_writer(ToWriter::Close { now_wall_ms });
        self.senders = None;
        let result = self.writer.take().map(JoinHandle::join);
        self.join_others();
        match result {
            Some(Ok(result)) => result,
            _ => Err(LogError::Misused("the log's writer panicked")),
        }
    }

    fn tell_writer(&self, message: ToWriter) {
        // A thread that is gone has said why.
        if let Some(senders) = &self.senders {
            let _ = senders.writer.send(message);
        }
    }

    fn tell_reader(&self, message: ToReader) {
        if let Some(senders) = &self.senders {
            let _ = senders.reader.send(message);
        }
    }

    fn join_others(&mut self) {
        for thread in self.others.drain(..) {
            let _ = thread.join();
        }
    }
}

impl Drop for LogThread {
    /// Without [`LogThread::close`], what was submitted and not yet written is dropped, like in a crash.
    fn drop(&mut self) {
        self.shared.abandon();
        self.tell_writer(ToWriter::Stop);
        self.senders = None;
        if let Some(writer) = self.writer.take() {
            let _ = writer.join();
        }
        self.join_others();
    }
}

/// A thread whose panic ends the log with a word instead of silently.
fn spawn_named<T: Send + 'static>(
    name: &str,
    shared: &Arc<Shared>,
    run: impl FnOnce() -> T + Send + 'static,
) -> Result<JoinHandle<T>, LogError> {
    let guard = PanicGuard(Arc::clone(shared));
    let body = move || {
        let _guard = guard;
        run()
    };
    let builder = std::thread::Builder::new().name(name.to_owned());
    builder.spawn(body).map_err(|error| LogError::io("start", name, &error))
}

struct PanicGuard(Arc<Shared>);

impl Drop for PanicGuard {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.complete(Completion::Failed(LogError::Misused("a thread of the log panicked")));
        }
    }
}
