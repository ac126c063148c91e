//! One turn: timers that are due and sessions that are owed something, so many that it stays short (I11).

use super::{Engine, Timer, WRITES_PER_TURN};

/// Timers that fire in one turn.
pub(super) const TIMERS_PER_TURN: usize = 1024;
/// For how many of them frames count that were waiting for their turn.
const RESUME_WEIGHT: usize = 64;

impl Engine {
    /// One bounded turn of timers and delivery; true when more waits.
    pub fn run(&mut self) -> bool {
        let mono_ms = self.clock.mono_ms();
        let (mut more, mut left) = (true, TIMERS_PER_TURN);
        while left > 0 {
            match self.timers.pop(mono_ms) {
                Some(timer) => {
                    left = left.saturating_sub(self.weight(timer));
                    self.fire(timer);
                }
                None => {
                    more = false;
                    break;
                }
            }
        }
        if self.failed.is_none() && self.may_tell() {
            more |= self.delivery.run(&self.directory, &mut self.conns, WRITES_PER_TURN);
            self.delivery.settle();
        }
        self.settle();
        more
    }

    /// For how many a timer counts: what it does may be work for each member of a group.
    fn weight(&self, timer: Timer) -> usize {
        match timer {
            Timer::Expiry(slot) => self.delivery.get(slot).map_or(1, |c| c.members.len().max(1)),
            Timer::Resume(_) => RESUME_WEIGHT,
            _ => 1,
        }
    }

    fn fire(&mut self, timer: Timer) {
        match timer {
            Timer::Conn(slot, _) if self.conns.id(slot).timer() == timer => self.look_at(self.conns.id(slot)),
            Timer::Conn(..) => {}
            Timer::Resume(slot) => self.resume_waiting(slot),
            Timer::Expiry(slot) => self.expire(slot),
            Timer::Receipts(receiver, serial) => self.delivery.burst(receiver, serial),
            Timer::Cursors => self.log_cursors(),
            Timer::Tend => self.tend_log(),
            Timer::Sweep => self.sweep(),
        }
    }
}
