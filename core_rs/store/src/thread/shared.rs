//! What the threads share with the event loop: completions, and how to wake it.

use super::bell::Bell;
use super::{Completion, Wake};
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

pub(super) struct Shared {
    wake: Arc<dyn Wake>,
    bell: Bell,
    abandoned: AtomicBool,
    /// At most one for each batch and question under way, and one failure for each thread.
    completions: Mutex<VecDeque<Completion>>,
}

impl Shared {
    pub fn new(wake: Arc<dyn Wake>) -> Self {
        Shared { wake, bell: Bell::default(), abandoned: AtomicBool::new(false), completions: Mutex::default() }
    }

    fn completions(&self) -> MutexGuard<'_, VecDeque<Completion>> {
        // A queue cannot be half changed.
        self.completions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn complete(&self, done: Completion) {
        self.completions().push_back(done);
        self.bell.ring(|| self.wake.wake());
    }

    pub fn next(&self) -> Option<Completion> {
        self.bell.hush(|| self.wake.quiet());
        self.completions().pop_front()
    }

    pub fn abandon(&self) {
        self.abandoned.store(true, Ordering::SeqCst);
    }

    pub fn is_abandoned(&self) -> bool {
        self.abandoned.load(Ordering::SeqCst)
    }
}
