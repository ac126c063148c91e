//! What a person wants to know of an engine that seems to stand still: what it waits for.

use super::Engine;

impl Engine {
    /// What waits inside, by name: counts, batch numbers, and milliseconds of the engine's monotonic clock.
    pub fn diagnosis(&self) -> Vec<(&'static str, u64)> {
        vec![
            ("mono_ms", self.clock.mono_ms()),
            ("next_timer_ms", self.timers.next().unwrap_or(0)),
            ("durable_batch", self.durable),
            ("last_batch", self.log.last_batch()),
            ("log_pending_bytes", self.log.pending_bytes() as u64),
            ("pending", self.pending.len() as u64),
            ("first_pending_batch", self.pending.front().map_or(0, |pending| pending.batch())),
            ("between", self.between.len() as u64),
            ("requests", self.requests.len() as u64),
            ("loading", self.loading.len() as u64),
            ("waiting_for_loads", self.loading.values().map(Vec::len).sum::<usize>() as u64),
            ("paused", self.paused.len() as u64),
            ("may_tell", u64::from(self.may_tell())),
            ("storage_full", u64::from(self.full.is_some())),
            ("failed", u64::from(self.failed.is_some())),
            ("stopping", u64::from(self.stopping)),
        ]
    }
}
