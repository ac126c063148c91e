//! Every timer of the engine, in one structure ordered by due time.
//!
//! Timers are never cancelled: who set one looks, when it fires, whether it still matters, and sets the next. Due times
//! are rounded up to [`GRAIN_MS`], so that a hundred thousand keep-alives share few buckets.

use std::collections::BTreeMap;

/// Resolution, ms.
pub const GRAIN_MS: u64 = 50;

/// What a timer is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Timer {
    /// A connection's hello, keep-alive and token, looked at together: its slot, and the low part of its generation.
    Conn(u32, [u8; 3]),
    /// Frames of a connection that wait for their turn; its slot.
    Resume(u32),
    /// The oldest message of a conversation; its slot.
    Expiry(u32),
    /// News of groups that a session is held back; its receiver, and its serial number.
    Receipts(u32, [u8; 3]),
    /// Cursors that are not logged yet.
    Cursors,
    /// The next step for the log's oldest segment.
    Tend,
    /// A look at what can leave memory, and at the log's oldest segment.
    Sweep,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Timers {
    buckets: BTreeMap<u64, Vec<Timer>>,
}

impl Timers {
    /// Fires `timer` at `mono_ms` or up to [`GRAIN_MS`] later.
    pub fn set(&mut self, mono_ms: u64, timer: Timer) {
        self.buckets.entry(mono_ms.div_ceil(GRAIN_MS)).or_default().push(timer);
    }

    /// How many are set.
    #[cfg(test)]
    pub fn count(&self) -> usize {
        self.buckets.values().map(Vec::len).sum()
    }

    /// When the next one is due, ms of the monotonic clock.
    pub fn next(&self) -> Option<u64> {
        self.buckets.first_key_value().map(|(tick, _)| tick * GRAIN_MS)
    }

    /// One timer that is due, if any.
    pub fn pop(&mut self, mono_ms: u64) -> Option<Timer> {
        loop {
            let mut first = self.buckets.first_entry()?;
            if first.key() * GRAIN_MS > mono_ms {
                return None;
            }
            match first.get_mut().pop() {
                Some(timer) => return Some(timer),
                None => drop(first.remove()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timer_takes_eight_bytes() {
        assert_eq!(size_of::<Timer>(), 8);
    }

    #[test]
    fn fires_in_order_and_never_early() {
        let mut timers = Timers::default();
        timers.set(1_001, Timer::Conn(1, [0; 3]));
        timers.set(90, Timer::Sweep);
        assert_eq!(timers.next(), Some(100));
        assert_eq!(timers.pop(99), None);
        assert_eq!(timers.pop(100), Some(Timer::Sweep));
        assert_eq!(timers.pop(1_049), None);
        assert_eq!(timers.pop(1_050), Some(Timer::Conn(1, [0; 3])));
        assert_eq!(timers.pop(u64::MAX), None);
        assert_eq!(timers.next(), None);
    }
}
