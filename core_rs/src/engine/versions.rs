//! Receipt versions, which stand for all news up to them with whoever keeps one: none is given twice, whatever a crash made
//! the log forget of the news.
//!
//! They follow the server's time ([`receipt_version`]). The log knows ahead, durably, up to where they may be told; a
//! start goes on above that. Nothing is told above it: after a start, sessions wait for the first batch.

use std::collections::VecDeque;

use super::Engine;
use super::records::kind;

/// How far ahead they are logged: about 35 minutes.
const AHEAD: u64 = 1 << 31;

/// Receipt versions follow the server's time, so that they grow across a crash that lost some.
pub(super) fn receipt_version(time_ms: u64) -> u64 {
    time_ms << 10
}

/// See the module.
#[derive(Default)]
pub(super) struct Versions {
    /// Up to here they are logged, in this segment.
    logged: u64,
    segment: u32,
    /// Up to here they may be told, once this batch is durable.
    waiting: VecDeque<(u64, u64)>,
    /// Up to here they may be told.
    told: u64,
    /// The segment that this run began with.
    first: Option<u32>,
}

impl Versions {
    pub fn first_segment(&self) -> u32 {
        self.first.unwrap_or(0)
    }
}

impl Engine {
    /// Logs ahead, if it is time to.
    pub(super) fn keep_versions(&mut self) {
        if self.replay.is_none() && self.failed.is_none() && self.delivery.version() + AHEAD / 2 > self.versions.logged
        {
            self.log_versions();
        }
    }

    /// A segment goes: what it knew stands behind it.
    pub(super) fn outlive_versions(&mut self, segment: u32) {
        if self.versions.segment <= segment {
            self.log_versions();
        }
    }

    fn log_versions(&mut self) {
        let upto = self.delivery.version() + AHEAD;
        let (at, batch) = self.append(kind::VERSIONS, &[&upto.to_le_bytes()], true);
        (self.versions.logged, self.versions.segment) = (upto, at.segment);
        self.versions.first.get_or_insert(at.segment);
        self.versions.waiting.push_back((batch, upto));
    }

    /// More is durable.
    pub(super) fn settle_versions(&mut self) {
        while let Some(&(batch, upto)) = self.versions.waiting.front()
            && batch <= self.durable
        {
            self.versions.told = self.versions.told.max(upto);
            self.versions.waiting.pop_front();
        }
    }

    /// Whether the latest one may be told.
    pub(super) fn may_tell(&self) -> bool {
        self.delivery.version() <= self.versions.told
    }
}
