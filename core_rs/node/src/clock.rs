//! The server's time: follows the machine's clock, never runs backwards by itself, and does not follow a jump blindly.
//!
//! A step of the machine's clock by more than [`JUMP_MS`] either way raises an alarm and pauses expiry. After a step
//! forwards, time goes on by the monotonic clock until the new time has stood for [`JUMP_MS`]; then messages are stamped with it.
//! Expiry goes on then only if the step was at most [`DOUBT_MS`]: a larger one would expire what nobody had the time to collect, so
//! that an operator has to confirm it; so it is with a step backwards, which the time cannot follow. A start that comes long after the log's last word is a step like any other: nobody could
//! collect anything meanwhile, or the clock was set. An operator may put the time right, also backwards ([`Clock::correct`]).

use seam::Now;

/// A step larger than this is a jump, ms; also how long a forward jump must stand until it is believed.
pub const JUMP_MS: u64 = 3_600_000;
/// After a step forwards that is larger than this, or any jump backwards, expiry waits for an operator, ms.
pub const DOUBT_MS: u64 = 24 * 3_600_000;

/// See the module.
#[derive(Debug)]
pub struct Clock {
    now: Now,
    time_ms: u64,
    jump: Option<Jump>,
}

/// A step of the machine's clock that expiry waits for.
#[derive(Clone, Copy, Debug)]
struct Jump {
    /// Monotonic time at which it was seen.
    since_ms: u64,
    /// The distance of both clocks then.
    distance: i64,
    /// It is too large to be believed without an operator.
    doubtful: bool,
    /// The server's time follows it already.
    followed: bool,
}

impl Clock {
    /// Starts at `now`.
    pub fn new(now: Now) -> Self {
        Self { now, time_ms: now.wall_ms, jump: None }
    }

    /// The latest time that the log knows, 0 if it knows none: time goes on from there. True: the machine's clock is more than
    /// [`JUMP_MS`] away from it.
    pub fn resume(&mut self, last_ms: u64) -> bool {
        let jumped = last_ms > 0 && self.now.wall_ms.abs_diff(last_ms) > JUMP_MS;
        let followed = self.now.wall_ms > last_ms;
        if jumped {
            let doubtful = is_doubtful(last_ms, self.now.wall_ms);
            self.jump = Some(Jump { since_ms: self.now.mono_ms, distance: distance(self.now), doubtful, followed });
        }
        self.time_ms = self.time_ms.max(last_ms);
        jumped
    }

    /// The operator says that the machine's clock is right: the time is what it shows, also if that is earlier.
    pub fn correct(&mut self) {
        self.time_ms = self.now.wall_ms;
        self.jump = None;
    }

    /// Takes a new reading. True when a jump was just noticed.
    pub fn set(&mut self, now: Now) -> bool {
        let elapsed = now.mono_ms.saturating_sub(self.now.mono_ms);
        self.now = now;
        let steady = self.time_ms + elapsed;
        let away = now.wall_ms.abs_diff(steady) > JUMP_MS;
        let known = self.jump.filter(|jump| distance(now).abs_diff(jump.distance) <= JUMP_MS);
        let Some(mut jump) = known else {
            if !away {
                self.jump = None;
                self.time_ms = self.time_ms.max(now.wall_ms);
                return false;
            }
            // The first one, or yet another.
            let doubtful = is_doubtful(steady, now.wall_ms);
            let distance = distance(now);
            self.jump = Some(Jump { since_ms: now.mono_ms, distance, doubtful, followed: false });
            self.time_ms = steady;
            return true;
        };
        let stood = now.mono_ms.saturating_sub(jump.since_ms) > JUMP_MS;
        jump.followed |= stood && now.wall_ms > steady;
        self.time_ms = if jump.followed { steady.max(now.wall_ms) } else { steady };
        self.jump = (!stood || jump.doubtful).then_some(jump);
        false
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
        self.jump.is_none()
    }

    /// Expiry waits until an operator confirms the machine's clock.
    pub fn is_doubtful(&self) -> bool {
        self.jump.is_some_and(|jump| jump.doubtful)
    }
}

/// Whether a jump from one time to another waits for an operator.
fn is_doubtful(from_ms: u64, to_ms: u64) -> bool {
    to_ms < from_ms || to_ms - from_ms > DOUBT_MS
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
        let mut clock = Clock::new(at(5, 30 * HOUR));
        assert!(clock.resume(10 * HOUR));
        assert!(!clock.set(at(6, 30 * HOUR + 1)));
        assert_eq!(clock.time_ms(), 30 * HOUR + 1, "messages are stamped with the new time");
        assert!(!clock.trusted());
        clock.set(at(HOUR + 6, 31 * HOUR + 1));
        assert!(clock.trusted());
    }

    #[test]
    fn a_step_of_more_than_a_day_waits_for_an_operator() {
        for (step, trusted) in [(24 * HOUR, true), (24 * HOUR + 1, false)] {
            let mut running = Clock::new(at(0, HOUR));
            assert!(running.set(at(0, HOUR + step)));
            let mut started = Clock::new(at(0, HOUR + step));
            assert!(started.resume(HOUR));
            for mut clock in [running, started] {
                for hours in 1..100 {
                    clock.set(at(1 + hours * HOUR, HOUR + step + 1 + hours * HOUR));
                }
                assert_eq!((clock.trusted(), clock.is_doubtful()), (trusted, !trusted), "{step}");
                assert_eq!(clock.time_ms(), 100 * HOUR + step + 1, "it is used for stamps");
                clock.correct();
                assert!(clock.trusted());
            }
        }
    }

    #[test]
    fn an_operator_puts_a_wrong_time_right_also_backwards() {
        let mut clock = Clock::new(at(0, 10 * HOUR));
        assert!(clock.resume(5000 * HOUR));
        clock.set(at(4 * HOUR, 14 * HOUR));
        assert!(clock.is_doubtful() && clock.time_ms() > 5000 * HOUR);
        clock.correct();
        assert_eq!(clock.time_ms(), 14 * HOUR);
        assert!(clock.trusted());
        assert!(!clock.set(at(5 * HOUR, 15 * HOUR)));
        assert_eq!(clock.time_ms(), 15 * HOUR);
    }
}
