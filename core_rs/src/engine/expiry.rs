//! When a conversation's oldest message has been held for its time: delivery is told to drop it.
//!
//! While the clock is not believed, nothing expires.

use super::turns::TIMERS_PER_TURN;
use super::{Engine, Timer, clock};

impl Engine {
    /// A conversation's oldest message was accepted then.
    pub(super) fn set_expiry(&mut self, slot: u32, accepted_ms: u64) {
        let left = (accepted_ms + self.config.hold_ms + 1000).saturating_sub(self.clock.time_ms());
        // The clock may be set meanwhile: look once an hour.
        self.look_for_expired(slot, left.min(clock::JUMP_MS));
    }

    fn look_for_expired(&mut self, slot: u32, after_ms: u64) {
        let at_s = (self.clock.mono_ms() + after_ms) / 1000 + 1;
        if let Some(conversation) = self.delivery.get_mut(slot) {
            conversation.expires_s = at_s as u32;
            self.timers.set(at_s * 1000, Timer::Expiry(slot));
        }
    }

    /// A conversation's timer fired.
    pub(super) fn expire(&mut self, slot: u32) {
        // A timer may be that of a conversation which had the slot before.
        let due = self
            .delivery
            .get(slot)
            .is_some_and(|c| (1..=self.clock.mono_ms() / 1000).contains(&u64::from(c.expires_s)));
        if !due {
            return;
        }
        if !self.clock.trusted() {
            return self.look_for_expired(slot, 60_000);
        }
        let before_s = self.clock.time_ms().saturating_sub(self.config.hold_ms) / 1000;
        let (dropped, oldest) = self.delivery.expire(&self.directory, slot, before_s as u32, TIMERS_PER_TURN);
        self.stats.expired_total += dropped as u64;
        if let Some(time_s) = oldest {
            self.set_expiry(slot, u64::from(time_s) * 1000);
        }
    }
}
