//! Rows that were not used lately go to the store, when there are more in memory than there should be.
//!
//! A pass looks at all rows for those that can go, and takes as many as one batch after another can hold, in the order of their
//! keys: neighbours of the store's pages are written together (docs/adr/0008). A row is put into the store when everything that
//! it reflects is on disk; it leaves memory when the store has it, and nothing happened to it meanwhile. It stays while a question
//! is under way that was asked before: its answer may be from before the store had the row.

use std::collections::{HashSet, VecDeque};

use partition::propose::Stop;
use partition::records::Record;
use partition::rest::Rest;
use seam::{Position, RowKey};
use slab::Slab;
use store::{Batch, MAX_VALUE, Put, Write};

use crate::api::Request;
use crate::keys::key_of;
use crate::node::Node;

/// Rows that are looked at in a turn while candidates are collected.
const LOOKS: usize = 4096;
/// Most candidates of a pass.
const CANDIDATES: usize = 65_536;
/// Rows that go to rest in a turn, and in a second while memory is not short.
const PER_TURN: usize = 256;
/// See [`PER_TURN`].
const PER_SECOND: usize = 2500;
/// Rows and bytes of a batch.
const BATCH: (usize, usize) = (5000, 8 << 20);
/// A part of a batch is put after so long, ms.
const WAIT_MS: u64 = 60_000;
/// Batches under way.
const PUTS: usize = 2;

/// See the module.
#[derive(Debug, Default)]
pub struct Rests {
    pass: Pass,
    /// Rows that may still go in this second.
    left: usize,
    /// The batch that is being filled, and the records that say where its rows are.
    writes: Vec<Write>,
    bytes: usize,
    stored: Vec<Record<'static>>,
    reflects: Position,
    since_ms: u64,
    /// Batches that the store is given.
    puts: Slab<(Vec<Record<'static>>, Position)>,
    /// Rows that the store has, to be let go, each when the questions up to a number are answered.
    rested: VecDeque<(u64, Record<'static>)>,
    /// Rows on this way: one goes again only when the way before ended.
    going: HashSet<RowKey>,
}

#[derive(Debug, Default)]
enum Pass {
    /// There is no need.
    #[default]
    Idle,
    /// Rows are looked for, from this place of the tables on.
    Looking(usize, Vec<RowKey>),
    /// These go, the last one first.
    Resting(Vec<RowKey>),
}

impl Rests {
    #[cfg(test)]
    pub(crate) fn going_len(&self) -> usize {
        self.going.len()
    }
}

impl Node {
    /// A second passed.
    pub(crate) fn rest_begin(&mut self) {
        let rows = self.partition.state.rows_len();
        let bounds = &self.config;
        let short = rows > bounds.rows_hard;
        self.rests.left = if short { usize::MAX } else { PER_SECOND };
        if short {
            self.around.gateway.forget_uses();
        }
        if rows > bounds.rows_soft && matches!(self.rests.pass, Pass::Idle) {
            self.rests.pass = Pass::Looking(0, Vec::new());
        }
        let now_ms = self.clock.mono_ms();
        if !self.rests.writes.is_empty() && now_ms >= self.rests.since_ms + WAIT_MS {
            self.put_batch();
        }
    }

    /// Some rows go to rest; true: there is more to do now.
    pub(crate) fn rest(&mut self) -> bool {
        let mut more = self.let_go();
        // A full disk has no room for them.
        if !self.around.journal.has_space() || self.rests.puts.len() >= PUTS {
            return more;
        }
        match std::mem::take(&mut self.rests.pass) {
            Pass::Idle => {}
            Pass::Looking(from, mut keys) => {
                let quiet_s = (self.config.quiet_ms / 1000) as u32;
                let short = self.partition.state.rows_len() > self.config.rows_hard;
                let before_s = if short { u32::MAX } else { self.seconds().saturating_sub(quiet_s) };
                let next = self.partition.state.idle(from, LOOKS, before_s, self.synced, &mut keys);
                self.rests.pass = match next {
                    Some(next) if keys.len() < CANDIDATES => Pass::Looking(next, keys),
                    _ => {
                        // Conversations first: users and devices are in use while theirs are in memory.
                        keys.sort_unstable_by(|a, b| b.cmp(a));
                        Pass::Resting(keys)
                    }
                };
                more = true;
            }
            Pass::Resting(mut keys) => {
                let mut left = PER_TURN.min(self.rests.left);
                while left > 0
                    && let Some(key) = keys.pop()
                {
                    left -= 1;
                    self.rests.left = self.rests.left.saturating_sub(1);
                    self.rest_one(&key);
                }
                more |= self.rests.left > 0 && !keys.is_empty();
                self.rests.pass = if keys.is_empty() { Pass::Idle } else { Pass::Resting(keys) };
            }
        }
        more
    }

    fn rest_one(&mut self, key: &RowKey) {
        // A frame is about to use it.
        let used = self.around.gateway.holds(&gateway::Key::Row(key.clone()));
        if used || self.rests.going.contains(key) {
            return;
        }
        match self.partition.state.rest(key, self.synced) {
            Ok(Rest::Busy) | Err(Stop::Refused(_) | Stop::Index(_)) => {}
            Ok(Rest::Unchanged) => self.partition.state.forget(key),
            // It is asked again in a later pass, when these are on disk.
            Ok(Rest::Log(records)) => {
                for record in records {
                    self.commit(&[record]);
                }
            }
            Ok(Rest::Write(write)) => {
                // One that cannot go is not looked at again: nothing but a restart takes it off the list.
                self.rests.going.insert(key.clone());
                if write.rows.iter().any(|(_, value)| value.as_ref().is_some_and(|value| value.len() > MAX_VALUE)) {
                    return self
                        .alarm("row_unstorable", &format!("{key:?} is too large for the store, and stays in memory."));
                }
                for (key, value) in write.rows {
                    let Ok(key) = key_of(&key) else { continue };
                    self.rests.bytes += value.as_ref().map_or(0, Vec::len);
                    self.rests.writes.push(Write { key, position: write.position.0, value });
                }
                if self.rests.stored.is_empty() {
                    self.rests.since_ms = self.clock.mono_ms();
                }
                self.rests.stored.push(write.stored);
                self.rests.reflects = self.rests.reflects.max(write.position);
                if self.rests.writes.len() >= BATCH.0 || self.rests.bytes >= BATCH.1 {
                    self.put_batch();
                }
            }
            Err(Stop::Wait(rows)) => self.load(rows.into_vec()),
        }
    }

    /// As when a second passed, and a part of a batch waited for long enough.
    #[cfg(test)]
    pub(crate) fn rest_now(&mut self) {
        self.rest_begin();
        while self.rest() && self.rests.writes.is_empty() {}
        if !self.rests.writes.is_empty() {
            self.put_batch();
        }
    }

    fn put_batch(&mut self) {
        let (writes, stored) = (std::mem::take(&mut self.rests.writes), std::mem::take(&mut self.rests.stored));
        self.rests.bytes = 0;
        let batch = match Batch::new(writes) {
            Ok(batch) => batch,
            // Such rows stay in memory and in the log.
            Err(error) => return self.alarm("row_unstorable", &format!("Rows do not go to the store: {error}.")),
        };
        let token = self.rests.puts.insert((stored, self.rests.reflects)) as u64;
        self.requests.push_back(Request::Put { token, batch });
    }

    /// A batch is durable in the store.
    pub fn put(&mut self, token: u64, put: &Put) {
        if !put.healed.is_empty() {
            self.alarm("store_healed", &format!("{} damaged rows of the store were replaced.", put.healed.len()));
        }
        let Some((stored, reflects)) = usize::try_from(token).ok().and_then(|token| self.rests.puts.try_remove(token))
        else {
            return;
        };
        self.partition.state.reflected(reflects);
        self.around.journal.log().note_stored();
        let asked = self.questions.asked();
        self.rests.rested.extend(stored.into_iter().map(|record| (asked, record)));
    }

    /// Rows that the store has leave memory; true: there are more.
    fn let_go(&mut self) -> bool {
        let Some(&(asked, _)) = self.rests.rested.front() else { return false };
        if !self.questions.are_answered(asked) {
            return false;
        }
        for _ in 0..PER_TURN {
            if self.rests.rested.front().is_none_or(|rested| rested.0 != asked) {
                break;
            }
            let Some((_, record)) = self.rests.rested.pop_front() else { break };
            if let Record::Stored { row, .. } = &record {
                self.rests.going.remove(row);
            }
            if self.partition.state.may_rest(&record) && self.commit(&[record]) {
                self.stats.rested_total += 1;
            }
        }
        !self.rests.rested.is_empty()
    }
}
