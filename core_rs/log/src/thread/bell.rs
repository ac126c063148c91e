//! Wakes whoever sleeps on a descriptor, with a system call for the first ring of many only.

use std::sync::atomic::{AtomicBool, Ordering};

/// Whether the descriptor is readable, or about to be.
#[derive(Default)]
pub(super) struct Bell(AtomicBool);

impl Bell {
    /// There is news. `write` makes the descriptor readable.
    pub fn ring(&self, write: impl FnOnce()) {
        if !self.0.swap(true, Ordering::SeqCst) {
            write();
        }
    }

    /// The news is looked at after this. `read` makes the descriptor quiet.
    ///
    /// It does so before the mark goes: a ring between the two finds the mark, and its news is seen by the look that
    /// follows. The other way round, its write would be read away and its mark would stay: nobody would write again.
    pub fn hush(&self, read: impl FnOnce()) {
        if self.0.load(Ordering::SeqCst) {
            read();
            self.0.store(false, Ordering::SeqCst);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    /// A bell, its descriptor, and what was not looked at.
    #[derive(Default)]
    struct Door {
        bell: Bell,
        readable: Cell<bool>,
        news: Cell<u32>,
    }

    impl Door {
        fn ring(&self) {
            self.news.set(self.news.get() + 1);
            self.bell.ring(|| self.readable.set(true));
        }

        /// Somebody rings before the descriptor is read, somebody after it; then the news is looked at.
        fn look(&self, before: u32, after: u32) {
            self.bell.hush(|| {
                (0..before).for_each(|_| self.ring());
                self.readable.set(false);
                (0..after).for_each(|_| self.ring());
            });
            self.news.set(0);
        }
    }

    #[test]
    fn whoever_rings_while_the_news_is_looked_at_silences_nobody() {
        for (before, after) in [(0, 0), (1, 0), (0, 1), (1, 1), (2, 2)] {
            let door = Door::default();
            door.ring();
            assert!(door.readable.get());
            door.look(before, after);
            door.ring();
            assert!(door.readable.get(), "{before} before, {after} after: nobody hears the next one");
            assert_eq!(door.news.get(), 1);
        }
    }

    #[test]
    fn a_bell_that_rings_already_is_not_rung_again() {
        let bell = Bell::default();
        let writes = Cell::new(0);
        (0..3).for_each(|_| bell.ring(|| writes.set(writes.get() + 1)));
        assert_eq!(writes.get(), 1);
        bell.hush(|| ());
        bell.hush(|| panic!("there is nothing to read"));
    }
}
