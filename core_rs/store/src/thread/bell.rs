//! Wakes the event loop, with one system call for many completions.

use std::sync::atomic::{AtomicBool, Ordering};

/// Whether the loop's descriptor is readable, or about to be.
#[derive(Default)]
pub(super) struct Bell(AtomicBool);

impl Bell {
    /// After a completion was queued. `wake` makes the descriptor readable.
    pub fn ring(&self, wake: impl FnOnce()) {
        if !self.0.swap(true, Ordering::SeqCst) {
            wake();
        }
    }

    /// Before the queue is looked at. `quiet` makes the descriptor unreadable.
    ///
    /// It does so before the mark is cleared. In the other order, a ring between the two would set the mark and have its
    /// wake-up read away: the descriptor would stay quiet for ever.
    pub fn hush(&self, quiet: impl FnOnce()) {
        if self.0.load(Ordering::SeqCst) {
            quiet();
            self.0.store(false, Ordering::SeqCst);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    #[test]
    fn second_ring_makes_no_system_call() {
        let (bell, calls) = (Bell::default(), Cell::new(0));
        (0..3).for_each(|_| bell.ring(|| calls.set(calls.get() + 1)));
        assert_eq!(calls.get(), 1);
        bell.hush(|| ());
        bell.hush(|| panic!("nothing rang"));
    }

    #[test]
    fn ring_during_hush_leaves_the_next_ring_audible() {
        let (bell, readable) = (Bell::default(), Cell::new(false));
        bell.ring(|| readable.set(true));
        bell.hush(|| {
            bell.ring(|| readable.set(true));
            readable.set(false);
        });
        bell.ring(|| readable.set(true));
        assert!(readable.get());
    }
}
