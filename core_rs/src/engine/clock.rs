//! The server's time: follows the machine's clock, never runs backwards, and does not follow a jump blindly.
//!
//! A step of the machine's clock by more than [`JUMP_MS`] either way raises an alarm and pauses expiry. After a step
//! forwards, time goes on by the monotonic clock until the new time has stood for [`JUMP_MS`]; then it is believed. After
//! a start that comes more than [`JUMP_MS`] after the log's last word, expiry waits as long: nobody could collect anything
//! meanwhile, or the clock was set.

use crate::time::Now;

/// A step larger than this is a jump, ms; also how long a forward jump must stand until it is believed.
pub const JUMP_MS: u64 = 3_600_000;

/// See the module.
#[derive(Debug)]
pub struct Clock {
    now: Now,
    time_ms: u64,
    /// Monotonic time at which a jump was first seen, and the distance of both clocks then.
    jumped_at: Option<(u64, i64)>,
    /// Monotonic time until which expiry waits after a start.
    patient_until: u64,
}

impl Clock {
    /// Starts at `now`.
    pub fn new(now: Now) -> Self {
        Self { now, time_ms: now.wall_ms, jumped_at: None, patient_until: 0 }
    }

    /// The latest time that the log knows: time goes on from there. True: the machine's clock is more than [`JUMP_MS`]
    /// behind it, which is a jump.
    pub fn resume(&mut self, last_ms: u64) -> bool {
        let behind = last_ms > self.now.wall_ms + JUMP_MS;
        if behind {
            self.jumped_at = Some((self.now.mono_ms, distance(self.now)));
        } else if last_ms > 0 && self.now.wall_ms > last_ms + JUMP_MS {
            self.patient_until = self.now.mono_ms + JUMP_MS;
        }
        self.time_ms = self.time_ms.max(last_ms);
        behind
    }

    /// Takes a new reading. True when a jump was just noticed.
    pub fn set(&mut self, now: Now) -> bool {
        let elapsed = now.mono_ms.saturating_sub(self.now.mono_ms);
        self.now = now;
        let steady = self.time_ms + elapsed;
        let jump = now.wall_ms.abs_diff(steady) > JUMP_MS;
        match (jump, self.jumped_at) {
            (false, _) => {
                self.jumped_at = None;
                self.time_ms = self.time_ms.max(now.wall_ms);
                false
            }
            (true, Some((since, before))) if distance(now).abs_diff(before) <= JUMP_MS => {
                let stood = now.mono_ms.saturating_sub(since) > JUMP_MS;
                self.time_ms = if stood { steady.max(now.wall_ms) } else { steady };
                false
            }
            // The first one, or yet another.
            (true, _) => {
                self.jumped_at = Some((now.mono_ms, distance(now)));
                self.time_ms = steady;
                true
            }
        }
    }

    /// The server's time, ms since 1970.
    pub fn time_ms(&self) -> u64 {
        self.time_ms
    }

    /// Monotonic time, ms.
    pub fn mono_ms(&self) -> u64 {
        self.now.mono_ms
    }

    /// Expiry waits while the clock is not believed.
    pub fn trusted(&self) -> bool {
        self.jumped_at.is_none() && self.now.mono_ms >= self.patient_until
    }
}

/// How far the machine's clock is from the monotonic one, ms: it changes only when the former is set.
fn distance(now: Now) -> i64 {
    now.wall_ms.wrapping_sub(now.mono_ms) as i64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(mono_ms: u64, wall_ms: u64) -> Now {
        Now { mono_ms, wall_ms }
    }

    const HOUR: u64 = JUMP_MS;

    #[test]
    fn time_never_runs_backwards() {
        let mut clock = Clock::new(at(0, 10 * HOUR));
        assert!(!clock.set(at(10, 10 * HOUR - 500)));
        assert_eq!(clock.time_ms(), 10 * HOUR);
        assert!(clock.set(at(20, 2 * HOUR)));
        assert!(clock.time_ms() >= 10 * HOUR);
        assert!(!clock.trusted());
    }

    #[test]
    fn a_jump_forwards_pauses_and_is_believed_once_it_stood() {
        let mut clock = Clock::new(at(0, HOUR));
        assert!(clock.set(at(1, 9 * HOUR)), "noticed once");
        assert!(!clock.set(at(2, 9 * HOUR + 1)), "and only once");
        assert_eq!(clock.time_ms(), HOUR + 2, "not followed");
        assert!(!clock.trusted());
        clock.set(at(HOUR + 5, 10 * HOUR));
        assert_eq!(clock.time_ms(), 10 * HOUR);
        clock.set(at(HOUR + 6, 10 * HOUR + 1));
        assert!(clock.trusted());
    }

    #[test]
    fn a_jump_that_goes_away_is_forgotten() {
        let mut clock = Clock::new(at(0, HOUR));
        clock.set(at(1, 9 * HOUR));
        clock.set(at(2, HOUR + 2));
        assert!(clock.trusted());
        assert_eq!(clock.time_ms(), HOUR + 2);
    }

    #[test]
    fn after_a_restart_time_goes_on_from_the_log() {
        let mut clock = Clock::new(at(0, HOUR));
        assert!(!clock.resume(HOUR + 5));
        assert_eq!(clock.time_ms(), HOUR + 5);
        assert!(clock.resume(5 * HOUR));
        assert!(!clock.trusted());
    }

    #[test]
    fn each_jump_must_stand_for_itself() {
        let mut clock = Clock::new(at(0, 10 * HOUR));
        assert!(clock.set(at(1, 2 * HOUR)));
        assert!(!clock.set(at(2 * HOUR, 4 * HOUR)));
        assert!(clock.set(at(2 * HOUR + 1, 40 * HOUR)), "told again");
        assert!(clock.time_ms() < 13 * HOUR);
        assert!(!clock.set(at(3 * HOUR + 2, 41 * HOUR)));
        assert_eq!(clock.time_ms(), 41 * HOUR);
    }

    #[test]
    fn after_a_long_stop_expiry_waits_an_hour() {
        let mut clock = Clock::new(at(5, 40 * HOUR));
        assert!(!clock.resume(10 * HOUR));
        assert!(!clock.set(at(6, 40 * HOUR + 1)));
        assert_eq!(clock.time_ms(), 40 * HOUR + 1);
        assert!(!clock.trusted());
        clock.set(at(HOUR + 5, 41 * HOUR));
        assert!(clock.trusted());
    }
}
