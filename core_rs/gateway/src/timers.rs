//! When a connection is looked at: its hello, keep-alive, token and parking, all at one time.
//!
//! A connection has one time at which it is looked at; when that comes, whoever looks sets the next. A time that was brought
//! forward is not taken out, and does nothing when it comes. Times are rounded up to [`GRAIN_MS`], so that a hundred thousand
//! keep-alives share few buckets.

use std::collections::BTreeMap;

use seam::Address;
use wire::codes;
use wire::types::ServerFrame;

use crate::Gateway;
use crate::api::Carrier;
use crate::conns::State;

/// Resolution, ms.
pub(crate) const GRAIN_MS: u64 = 50;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Timers {
    buckets: BTreeMap<u32, Vec<Address>>,
}

impl Timers {
    /// The tick at which what is due at `mono_ms` fires.
    fn tick(mono_ms: u64) -> u32 {
        u32::try_from(mono_ms.div_ceil(GRAIN_MS)).unwrap_or(u32::MAX).max(1)
    }

    /// When the next one is due, ms of the monotonic clock.
    pub fn next(&self) -> Option<u64> {
        self.buckets.first_key_value().map(|(&tick, _)| u64::from(tick) * GRAIN_MS)
    }

    /// How many are set.
    pub fn count(&self) -> usize {
        self.buckets.values().map(Vec::len).sum()
    }

    /// One that is due, if any, and its tick.
    fn pop(&mut self, mono_ms: u64) -> Option<(u32, Address)> {
        loop {
            let mut first = self.buckets.first_entry()?;
            let tick = *first.key();
            if u64::from(tick) * GRAIN_MS > mono_ms {
                return None;
            }
            match first.get_mut().pop() {
                Some(address) => return Some((tick, address)),
                None => drop(first.remove()),
            }
        }
    }
}

impl Gateway {
    /// When [`Gateway::turn`] wants to be called, ms of the monotonic clock.
    pub fn next_timer(&self) -> Option<u64> {
        if self.waits.cut_short() { Some(self.now.mono_ms) } else { self.timers.next() }
    }

    /// A connection is looked at after so long, or before: at the end of its token, for example.
    pub(crate) fn look_in(&mut self, slot: u32, ms: u64) {
        let (now, address) = (self.now, self.conns.address(slot));
        let Some(conn) = self.conns.get_mut(slot) else { return };
        let tick = Timers::tick(now.mono_ms.saturating_add(ms.min(conn.left_ms(now.wall_ms)).max(1)));
        if conn.due != 0 && conn.due <= tick {
            return;
        }
        conn.due = tick;
        self.timers.buckets.entry(tick).or_default().push(address);
    }

    /// Looks at connections whose time has come, at most so many; true when there are more.
    pub(crate) fn look_at_due(&mut self, most: usize) -> bool {
        for _ in 0..most {
            let Some((tick, address)) = self.timers.pop(self.now.mono_ms) else { return false };
            let Some(slot) = self.conns.slot(address) else { continue };
            if let Some(conn) = self.conns.get_mut(slot).filter(|conn| conn.due == tick) {
                conn.due = 0;
                self.look_at(slot);
            }
        }
        true
    }

    fn look_at(&mut self, slot: u32) {
        let Some(conn) = self.conns.get_mut(slot) else { return };
        let silent_ms = conn.silent_ms(self.now.mono_ms);
        if conn.left_ms(self.now.wall_ms) == 0 && conn.state != State::Closing {
            return self.close_with(slot, codes::TOKEN_EXPIRED, "The session's token expired.");
        }
        self.look_at_bounds(slot);
        let Some(conn) = self.conns.get_mut(slot) else { return };
        let (idle_ms, grace_ms) = (self.config.limits.idle_ms, self.config.idle_grace_ms);
        let next_ms = match conn.state {
            State::Closing => return,
            State::Opening if silent_ms >= self.config.hello_ms => {
                return self.close_with(slot, codes::HELLO_TIMEOUT, "No hello came in time.");
            }
            State::Opening => self.config.hello_ms - silent_ms,
            // The token's check has a bound of its own, in the driver.
            State::Checking | State::Joining => self.config.hello_ms,
            State::Parked if silent_ms >= self.config.park_ms => return self.forget(slot),
            State::Parked => self.config.park_ms - silent_ms,
            State::Live if silent_ms < idle_ms => idle_ms - silent_ms,
            State::Live if conn.carrier != Carrier::Socket => idle_ms,
            State::Live if !conn.pinged => {
                conn.pinged = true;
                self.conns.outs.frame(slot, &ServerFrame::Ping { nonce: self.now.wall_ms });
                grace_ms
            }
            State::Live if silent_ms >= idle_ms + grace_ms => {
                return self.end(slot, codes::close::GOING_AWAY, "idle", true);
            }
            State::Live => idle_ms + grace_ms - silent_ms,
        };
        self.look_in(slot, next_ms);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fires_in_order_and_never_early() {
        let mut timers = Timers::default();
        let (first, second) = (Address::new(1, 1), Address::new(2, 1));
        timers.buckets.entry(Timers::tick(1_001)).or_default().push(second);
        timers.buckets.entry(Timers::tick(90)).or_default().push(first);
        assert_eq!(timers.next(), Some(100));
        assert_eq!(timers.pop(99), None);
        assert_eq!(timers.pop(100), Some((2, first)));
        assert_eq!(timers.pop(1_049), None);
        assert_eq!(timers.pop(1_050), Some((21, second)));
        assert_eq!((timers.pop(u64::MAX), timers.next()), (None, None));
    }
}
