//! What the log's threads share with the event loop: completions, the descriptor that wakes it, buffers on their way back.

use super::super::Completion;
use super::bell::Bell;
use rustix::event::EventfdFlags;
use std::collections::VecDeque;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// How many buffers wait to be taken back.
const SPARE: usize = 4;

pub(super) struct Shared {
    pub wake: OwnedFd,
    bell: Bell,
    /// Batches that were submitted and not yet dealt with.
    in_flight: AtomicUsize,
    abandoned: AtomicBool,
    inside: Mutex<Inside>,
}

#[derive(Default)]
struct Inside {
    completions: VecDeque<Completion>,
    spare: Vec<Vec<u8>>,
}

impl Inside {
    fn push(&mut self, done: Completion) {
        match (self.completions.back_mut(), done) {
            // The later numbers say all that the earlier ones did.
            (Some(known @ Completion::Durable { .. }), later @ Completion::Durable { .. }) => *known = later,
            (_, done) => self.completions.push_back(done),
        }
    }
}

impl Shared {
    pub fn new() -> io::Result<Self> {
        Ok(Shared {
            wake: rustix::event::eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?,
            bell: Bell::default(),
            in_flight: AtomicUsize::new(0),
            abandoned: AtomicBool::new(false),
            inside: Mutex::default(),
        })
    }

    fn inside(&self) -> MutexGuard<'_, Inside> {
        // Nothing in there can be half done.
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn complete(&self, done: Completion) {
        self.inside().push(done);
        self.signal();
    }

    fn signal(&self) {
        self.bell.ring(|| {
            let _ = rustix::io::write(&self.wake, &1_u64.to_ne_bytes());
        });
    }

    pub fn next(&self) -> Option<Completion> {
        self.bell.hush(|| {
            let _ = rustix::io::read(&self.wake, &mut [0; 8]);
        });
        self.inside().completions.pop_front()
    }

    pub fn submitted(&self, batches: usize) {
        self.in_flight.fetch_add(batches, Ordering::SeqCst);
    }

    /// Batches are dealt with, perhaps with something to say; their buffers go back. One signal for all of it.
    pub fn settled(&self, batches: usize, buffers: impl Iterator<Item = Vec<u8>>, done: Option<Completion>) {
        let mut inside = self.inside();
        if let Some(done) = done {
            inside.push(done);
        }
        let room = SPARE.saturating_sub(inside.spare.len());
        inside.spare.extend(buffers.take(room));
        drop(inside);
        self.in_flight.fetch_sub(batches, Ordering::SeqCst);
        self.signal();
    }

    pub fn is_idle(&self) -> bool {
        self.in_flight.load(Ordering::SeqCst) == 0
    }

    /// Batches that the writer has not dealt with, and completions that nobody has polled.
    pub fn waiting(&self) -> (usize, usize) {
        (self.in_flight.load(Ordering::SeqCst), self.inside().completions.len())
    }

    pub fn spare(&self) -> Option<Vec<u8>> {
        self.inside().spare.pop()
    }

    pub fn abandon(&self) {
        self.abandoned.store(true, Ordering::SeqCst);
    }

    pub fn is_abandoned(&self) -> bool {
        self.abandoned.load(Ordering::SeqCst)
    }
}
