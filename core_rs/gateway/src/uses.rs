//! Rows of others that a session names: its first use of one makes the store's trip, whatever is in memory (I13).
//!
//! Whether a row is in memory depends on what others do, so it must not show in how long an answer takes. A use is remembered
//! for less than `quiet_ms`, and a row that was asked for stays in memory for at least as long: a use that is remembered never
//! makes a trip, whether the row is here or there is none. When memory is short, rows leave earlier; then every session forgets
//! its uses ([`Gateway::forget_uses`]).

use std::hash::BuildHasher;

use hashbrown::HashMap;
use smallvec::SmallVec;

use crate::Gateway;
use crate::waits::Key;

/// Uses remembered for one session. At more it forgets all of them, and makes those trips again.
const USES: usize = 1024;

/// What a session used lately.
#[derive(Debug, Default)]
pub(crate) struct Uses {
    /// By the row's hash: when the store answered, seconds of the monotonic clock.
    answered_s: HashMap<u64, u32>,
    epoch: u32,
}

impl Gateway {
    /// Rows in use may leave memory: every session forgets what it used.
    pub fn forget_uses(&mut self) {
        self.epoch += 1;
    }

    /// Those of `keys` whose trip this session, or its first waiting frame, has not made lately.
    pub(crate) fn unused(&self, slot: u32, keys: impl Iterator<Item = Key>) -> SmallVec<[Key; 2]> {
        let Some(session) = self.conns.session(slot) else { return SmallVec::new() };
        let uses = session.uses.as_ref().filter(|uses| uses.epoch == self.epoch);
        let gather = session.waiting.as_ref().and_then(|waiting| waiting.gather.as_ref());
        let now_s = self.now.mono_ms / 1000;
        let lasts = |since_s: u32| (now_s - u64::from(since_s)) * 1000 < self.config.quiet_ms.max(1);
        let used = |key: &Key| {
            uses.and_then(|uses| uses.answered_s.get(&self.hasher.hash_one(key))).is_some_and(|&since_s| lasts(since_s))
                || gather.is_some_and(|gather| gather.is_answered(key))
        };
        keys.filter(|key| !used(key)).collect()
    }

    /// The store answered a session about a row.
    pub(crate) fn note_use(&mut self, slot: u32, key: &Key) {
        let (hash, now_s, epoch) = (self.hasher.hash_one(key), (self.now.mono_ms / 1000) as u32, self.epoch);
        let Some(session) = self.conns.session_mut(slot) else { return };
        let uses = session.uses.get_or_insert_default();
        if uses.answered_s.len() >= USES || uses.epoch != epoch {
            uses.answered_s.clear();
            uses.epoch = epoch;
        }
        uses.answered_s.insert(hash, now_s);
    }
}
