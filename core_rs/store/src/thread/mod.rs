//! A store for an event loop: one thread writes, one reads, and the loop is woken when they are done.
//!
//! No call here waits for a disk, except [`StoreThread::close`]. What may be under way is bounded, and stays under way until
//! its completion is polled: the loop that does not look is not sent more.

mod bell;
mod reader;
mod shared;
mod writer;

pub use reader::Retry;

use crate::batch::Batch;
use crate::error::StoreError;
use crate::key::Key;
use crate::store::{Lookup, Page, Put, Scan, Store};
use reader::Question;
use shared::Shared;
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::thread::JoinHandle;

/// Batches under way: one that is written, one that is ready when it is done.
pub const MAX_PUTS: usize = 2;
/// Questions under way.
pub const MAX_QUESTIONS: usize = 256;

/// Makes the event loop look: an eventfd, in a server.
pub trait Wake: Send + Sync {
    /// Makes the loop call [`StoreThread::poll`]. From any thread; not repeated until [`Wake::quiet`].
    fn wake(&self);
    /// Takes that back, before the loop looks. From the loop's thread.
    fn quiet(&self);
}

/// Something is done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Completion {
    /// A batch is durable.
    Stored {
        /// The batch's token.
        token: u64,
        /// What became of its rows.
        put: Put,
    },
    /// A write failed or a thread panicked: nothing more is written (I10). Reported once; the router must end.
    Failed(StoreError),
    /// The rows that were asked for, in the order of their keys.
    Looked {
        /// The question's token.
        token: u64,
        /// An answer for each key.
        answers: Vec<Lookup>,
    },
    /// A page of a scan.
    Scanned {
        /// The question's token.
        token: u64,
        /// The page, or why it cannot be read.
        page: Result<Page, StoreError>,
    },
}

/// The threads of a store.
pub struct StoreThread {
    shared: Arc<Shared>,
    /// `None` once closing.
    senders: Option<Senders>,
    threads: Vec<JoinHandle<()>>,
    puts: usize,
    questions: usize,
}

struct Senders {
    writer: Sender<(u64, Batch)>,
    reader: Sender<Question>,
}

impl StoreThread {
    /// Starts the threads.
    ///
    /// # Errors
    /// [`StoreError::Failed`] if a thread cannot be started.
    pub fn spawn<S: Store + 'static>(store: Arc<S>, wake: Arc<dyn Wake>, retry: Retry) -> Result<Self, StoreError> {
        let shared = Arc::new(Shared::new(wake));
        let (to_writer, batches) = channel();
        let (to_reader, questions) = channel();
        let writer = (Arc::clone(&store), Arc::clone(&shared));
        let reader = (store, Arc::clone(&shared));
        let threads = vec![
            spawn_named("store-writer", &shared, move || writer::run(&*writer.0, &writer.1, &batches))?,
            spawn_named("store-reader", &shared, move || reader::run(&*reader.0, &reader.1, &questions, &retry))?,
        ];
        Ok(StoreThread {
            shared,
            senders: Some(Senders { writer: to_writer, reader: to_reader }),
            threads,
            puts: 0,
            questions: 0,
        })
    }

    /// Gives the writer a batch; [`Completion::Stored`] answers with the token. Batches are written in this order.
    ///
    /// # Errors
    /// The batch, if [`MAX_PUTS`] are under way or the writer has failed.
    pub fn put(&mut self, token: u64, batch: Batch) -> Result<(), Batch> {
        if self.puts >= MAX_PUTS {
            return Err(batch);
        }
        let Some(Senders { writer, .. }) = &self.senders else { return Err(batch) };
        writer.send((token, batch)).map_err(|unsent| unsent.0.1)?;
        self.puts += 1;
        Ok(())
    }

    /// Asks for rows; [`Completion::Looked`] answers with the token.
    ///
    /// # Errors
    /// The keys, if [`MAX_QUESTIONS`] are under way.
    pub fn get(&mut self, token: u64, keys: Vec<Key>) -> Result<(), Vec<Key>> {
        self.ask(Question::Get { token, keys }).map_err(|question| match question {
            Question::Get { keys, .. } => keys,
            Question::Scan { .. } => Vec::new(),
        })
    }

    /// Asks for a page of a scan; [`Completion::Scanned`] answers with the token.
    ///
    /// # Errors
    /// [`StoreError::TooLarge`] if [`MAX_QUESTIONS`] are under way.
    pub fn scan(&mut self, token: u64, scan: Scan) -> Result<(), StoreError> {
        let full = |_| StoreError::TooLarge { what: "questions under way", len: MAX_QUESTIONS + 1, max: MAX_QUESTIONS };
        self.ask(Question::Scan { token, scan }).map_err(full)
    }

    fn ask(&mut self, question: Question) -> Result<(), Question> {
        if self.questions >= MAX_QUESTIONS {
            return Err(question);
        }
        let Some(Senders { reader, .. }) = &self.senders else { return Err(question) };
        reader.send(question).map_err(|unsent| unsent.0)?;
        self.questions += 1;
        Ok(())
    }

    /// The next thing that is done, if any. To be called until `None` after a wake-up.
    pub fn poll(&mut self) -> Option<Completion> {
        let done = self.shared.next()?;
        match &done {
            Completion::Stored { .. } => self.puts = self.puts.saturating_sub(1),
            Completion::Looked { .. } | Completion::Scanned { .. } => self.questions = self.questions.saturating_sub(1),
            // What was under way stays so: there is no room for another batch, ever.
            Completion::Failed(_) => self.puts = MAX_PUTS,
        }
        Some(done)
    }

    /// Writes what was put, answers what was asked and waits for the threads. What they completed can be polled from the
    /// returned iterator.
    pub fn close(mut self) -> impl Iterator<Item = Completion> {
        self.join();
        std::iter::from_fn(move || self.poll())
    }

    fn join(&mut self) {
        self.senders = None;
        for thread in self.threads.drain(..) {
            // A panic was reported by its guard.
            let _ = thread.join();
        }
    }
}

impl Drop for StoreThread {
    /// Without [`StoreThread::close`], batches and questions that no thread has begun are dropped, as in a crash.
    fn drop(&mut self) {
        self.shared.abandon();
        self.join();
    }
}

/// Starts a thread whose panic is reported instead of silent.
fn spawn_named(
    name: &'static str,
    shared: &Arc<Shared>,
    run: impl FnOnce() + Send + 'static,
) -> Result<JoinHandle<()>, StoreError> {
    let guard = PanicGuard(Arc::clone(shared));
    let body = move || {
        let _guard = guard;
        run();
    };
    let builder = std::thread::Builder::new().name(name.to_owned());
    builder.spawn(body).map_err(|error| StoreError::io("start", name, &error))
}

struct PanicGuard(Arc<Shared>);

impl Drop for PanicGuard {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.complete(Completion::Failed(StoreError::Misused("a thread of the store panicked")));
        }
    }
}
