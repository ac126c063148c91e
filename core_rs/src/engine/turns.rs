//! One turn: timers that are due and sessions that are owed something, so many that it stays short (I11).

use std::collections::VecDeque;

use super::conns::Stage;
use super::{Engine, Timer, WRITES_PER_TURN};

/// Timers that fire in one turn.
pub(super) const TIMERS_PER_TURN: usize = 1024;
/// Frames, and hellos, that waited and are taken up again in one turn.
pub(super) const RESUMED_PER_TURN: usize = 1024;
/// Most of them of one connection, before others have their turn.
const RESUMED_AT_ONCE: usize = 64;

impl Engine {
    /// One bounded turn of timers and delivery; true when more waits.
    pub fn run(&mut self) -> bool {
        self.begin_turn();
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
        more |= self.take_up();
        if self.failed.is_none() && self.may_tell() {
            more |= self.delivery.run(&self.directory, &mut self.conns, WRITES_PER_TURN);
            self.delivery.settle();
        }
        self.settle();
        self.begin_turn();
        more
    }

    /// A connection's waiting frames have their turn.
    pub(super) fn make_ready(&mut self, slot: u32) {
        let conn = self.conns.id(slot);
        if let Some(waiting) = self.conns.session_mut(slot).and_then(|session| session.waiting.as_mut())
            && !waiting.ready
        {
            waiting.ready = true;
            self.ready.push_back(conn);
        }
    }

    /// Takes up frames and hellos that have what they waited for, round robin; true when more are left.
    fn take_up(&mut self) -> bool {
        let mut left = RESUMED_PER_TURN;
        // Those who find that the turn is full are the first in the next one.
        let mut unserved = VecDeque::new();
        for _ in 0..self.ready.len() {
            if left == 0 {
                break;
            }
            let Some(conn) = self.ready.pop_front() else { break };
            let Some(slot) = self.conns.slot(conn) else { continue };
            if let Some(waiting) = self.conns.session_mut(slot).and_then(|session| session.waiting.as_mut()) {
                waiting.ready = false;
            }
            let taken = match self.conns.get(slot).map(|c| c.stage) {
                Some(Stage::Joining) => {
                    self.join(slot);
                    1
                }
                Some(Stage::Ready) => self.resume(slot, left.min(RESUMED_AT_ONCE)),
                _ => 0,
            };
            self.conns.recount(slot);
            self.stats.resumed_total += taken as u64;
            left = left.saturating_sub(taken.max(1));
            if taken == 0 && self.ready.back() == Some(&conn) {
                unserved.extend(self.ready.pop_back());
            }
        }
        if !unserved.is_empty() {
            unserved.append(&mut self.ready);
            self.ready = unserved;
        }
        !self.ready.is_empty()
    }

    /// For how many a timer counts: what it does may be work for each member of a group.
    fn weight(&self, timer: Timer) -> usize {
        match timer {
            Timer::Expiry(slot) => self.delivery.get(slot).map_or(1, |c| c.members.len().max(1)),
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
