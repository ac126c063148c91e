//! Which parts of the log can go.
//!
//! Segments go from the oldest on. One goes when no message in it is wanted any more, when every state whose latest full
//! record it holds was written anew, and when all that is durable, the acknowledgements that emptied it included (I1, I5).
//! A few messages that keep an old segment are carried: appended again, so that the disk follows what is undelivered.

use std::collections::{BTreeMap, VecDeque};

use super::records::kind;
use super::{Engine, Timer};
use crate::engine::api::Request;
use crate::engine::directory::Mark;
use crate::log::{Ref, Scanned, SegmentInfo};
use crate::wire::message::decode_stored;
use crate::wire::types::ConversationId;

/// How often the log and memory are looked over, ms.
pub const SWEEP_MS: u64 = 1000;
/// Users and conversations that leave before tables give memory back.
const SHRINK_AFTER: usize = 1000;
/// Full states written anew in one turn.
const RESTATED_PER_TURN: usize = 1024;
/// The same while there is more in memory than [`SWEPT`] tells, ms: often and little, so that a wave of what goes quiet
/// together does not hold up the loop (I11).
const SWEEP_PART_MS: u64 = 100;
/// What is looked over in one sweep; of more than that, the most of one [`SWEEP_PART_MS`].
const SWEPT: (u32, u32) = (1024, 820);

/// Whose full state a record is: a slot.
#[derive(Clone, Copy, Debug)]
pub enum Owner {
    /// Of the directory.
    User(u32),
    /// Of delivery.
    Conversation(u32),
}

#[derive(Debug, Default)]
struct Segment {
    /// Messages that are wanted, and their bytes.
    live: u64,
    live_bytes: u64,
    /// Bytes of states whose latest full record is here.
    state_bytes: u64,
    /// Its size, once it is known; 0: a full one's.
    bytes: u64,
    /// The first batch that belongs to it.
    first_batch: u64,
    /// The last batch of this run that belongs to it.
    last_batch: u64,
    owners: Vec<Owner>,
}

/// What is being done about the oldest segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// Its messages are read and appended again.
    Carrying,
    /// Its full states are written anew.
    Restating,
    /// All that waits for this batch to be durable.
    Syncing(u64),
    /// It is being removed.
    Unlinking,
}

struct Carried {
    batch: u64,
    conversation: ConversationId,
    seq: u64,
    from: Ref,
    to: Ref,
}

/// See the module.
#[derive(Default)]
pub struct Segments {
    all: BTreeMap<u32, Segment>,
    step: Option<(u32, Step)>,
    carried: VecDeque<Carried>,
    scanned: bool,
    /// The segment whose scan was asked for and has not ended: it waits for the disk, if need be for long.
    scanning: Option<u32>,
}

impl Segments {
    /// A message's record is wanted.
    pub fn added(&mut self, segment: u32, len: u32) {
        let segment = self.all.entry(segment).or_default();
        segment.live += 1;
        segment.live_bytes += u64::from(len);
    }

    /// And is not wanted any more.
    pub fn freed(&mut self, segment: u32, len: u32) {
        if let Some(segment) = self.all.get_mut(&segment) {
            segment.live = segment.live.saturating_sub(1);
            segment.live_bytes = segment.live_bytes.saturating_sub(u64::from(len));
        }
    }

    /// A full state was written at `at`; the one before it is not needed any more.
    pub fn stated(&mut self, mark: &mut Mark, at: Ref, owner: Owner) {
        self.unstated(mark);
        (mark.full_in, mark.full_len) = (at.segment, at.len);
        let segment = self.all.entry(at.segment).or_default();
        segment.state_bytes += u64::from(at.len);
        segment.owners.push(owner);
    }

    /// A state left memory: its record is not needed any more.
    pub fn unstated(&mut self, mark: &Mark) {
        if let Some(segment) = self.all.get_mut(&mark.full_in) {
            segment.state_bytes = segment.state_bytes.saturating_sub(u64::from(mark.full_len));
        }
    }

    /// A record of this batch was appended to a segment.
    pub fn wrote(&mut self, segment: u32, batch: u64) {
        let segment = self.all.entry(segment).or_default();
        segment.last_batch = batch;
        if segment.first_batch == 0 {
            segment.first_batch = batch;
        }
    }

    /// A start found a segment.
    pub fn found(&mut self, info: &SegmentInfo) {
        let segment = self.all.entry(info.id).or_default();
        (segment.bytes, segment.first_batch) = (info.bytes, info.first_batch);
    }

    /// A segment exists with so many bytes.
    pub fn sized(&mut self, segment: u32, bytes: u64) {
        self.all.entry(segment).or_default().bytes = bytes;
    }

    /// Messages, their bytes, segments.
    pub fn totals(&self) -> (u64, u64, u64) {
        let sum = self.all.values().fold((0, 0), |sum, s| (sum.0 + s.live, sum.1 + s.live_bytes));
        (sum.0, sum.1, self.all.len() as u64)
    }
}

impl Engine {
    /// Does the next step for the oldest segment.
    pub(super) fn tend_log(&mut self) {
        let current = self.log.segment();
        if !self.segments.all.contains_key(&current) && self.log.last_batch() > 0 {
            self.segments.sized(current, 0);
        }
        let Some((segment, step)) = self.segments.step else {
            return self.choose_step(current);
        };
        match step {
            Step::Carrying => {
                self.settle_carried();
                // Nothing is carried any more of what everybody has meanwhile, though the disk may not let it be scanned.
                let dead = self.segments.all.get(&segment).is_none_or(|s| s.live == 0);
                if (self.segments.scanned || dead) && self.segments.carried.is_empty() {
                    self.lose_rest(segment);
                    self.segments.step = Some((segment, Step::Restating));
                    self.timers.set(self.clock.mono_ms(), Timer::Tend);
                }
            }
            Step::Restating => self.restate(segment),
            Step::Syncing(batch) if batch <= self.durable => {
                let live = self.segments.all.get(&segment).map_or(0, |s| s.live);
                if live > 0 {
                    // A message of it came back to life; look again later.
                    self.segments.step = None;
                    return;
                }
                self.segments.step = Some((segment, Step::Unlinking));
                self.requests.push_back(Request::Unlink(segment));
            }
            Step::Syncing(_) | Step::Unlinking => {}
        }
    }

    fn choose_step(&mut self, current: u32) {
        let Some((&oldest, first)) = self.segments.all.first_key_value() else { return };
        // A message that is not in its place yet would be taken for one that nobody wants.
        let in_place = first.last_batch <= self.durable && self.between.is_empty() && self.asked.is_empty();
        if oldest >= current || !in_place || self.failed.is_some() {
            return;
        }
        let dead = first.live == 0;
        if !self.worthwhile(oldest, current) {
            return;
        }
        if dead {
            self.segments.step = Some((oldest, Step::Restating));
            self.restate(oldest);
        } else if self.segments.scanning != Some(oldest) {
            self.segments.step = Some((oldest, Step::Carrying));
            (self.segments.scanned, self.segments.scanning) = (false, Some(oldest));
            self.requests.push_back(Request::Scan(oldest));
        }
    }

    /// Whether it pays to write anew what is wanted of the oldest segment: that is little, or little is wanted of all. So
    /// what is written anew is bounded by what was written, and an idle log comes to rest.
    fn worthwhile(&self, oldest: u32, current: u32) -> bool {
        let full = u64::from(self.config.segment_bytes);
        let size = |s: &Segment| if s.bytes > 0 { s.bytes } else { full };
        let wanted = |s: &Segment| s.live_bytes + s.state_bytes;
        let Some(first) = self.segments.all.get(&oldest) else { return false };
        let several = self.segments.all.len() > 2;
        if wanted(first) <= full / 8 {
            return first.live == 0 || several;
        }
        let sealed: u64 = self.segments.all.range(..current).map(|(_, s)| size(s)).sum();
        several && self.segments.all.values().map(wanted).sum::<u64>() < sealed / 2
    }

    /// Writes anew what has its latest full state in a segment.
    fn restate(&mut self, segment: u32) {
        for _ in 0..RESTATED_PER_TURN {
            let Some(owner) = self.segments.all.get_mut(&segment).and_then(|s| s.owners.pop()) else {
                self.log_all_cursors();
                self.outlive();
                self.outlive_versions(segment);
                self.tell_trimmed(segment);
                self.segments.step = Some((segment, Step::Syncing(self.log.last_batch())));
                return self.tend_if_durable();
            };
            match owner {
                Owner::User(slot) if self.directory.get(slot).is_some_and(|u| u.mark.full_in == segment) => {
                    self.log_user(slot);
                }
                Owner::Conversation(slot) if self.delivery.get(slot).is_some_and(|c| c.mark.full_in == segment) => {
                    self.log_conversation(slot);
                }
                _ => {}
            }
        }
        self.timers.set(self.clock.mono_ms(), Timer::Tend);
    }

    /// Something stands behind a segment that goes: the log's numbers and its time are never forgotten.
    fn outlive(&mut self) {
        let current = self.log.segment();
        if self.segments.all.get(&current).is_none_or(|s| s.last_batch == 0) {
            self.append(kind::CURSORS, &[], true);
        }
    }

    /// A batch says what is trimmed before it is: a start must not take it for missing.
    fn tell_trimmed(&mut self, segment: u32) {
        let behind = self.segments.all.range(segment + 1..).map(|(_, s)| s.first_batch).find(|batch| *batch > 0);
        self.log.keep_from(behind.unwrap_or(0));
        if self.log.pending_bytes() == 0 {
            self.append(kind::CURSORS, &[], true);
        }
    }

    fn tend_if_durable(&mut self) {
        if self.log.last_batch() <= self.durable {
            self.tend_log();
        }
    }

    /// Messages of a segment that was read and carried as far as it could be read: the rest is lost.
    fn lose_rest(&mut self, segment: u32) {
        if self.segments.all.get(&segment).is_none_or(|s| s.live == 0) {
            return;
        }
        let slots: Vec<u32> = self.delivery.slots().collect();
        let lost: usize = slots.into_iter().map(|slot| self.delivery.lose(&self.directory, slot, segment)).sum();
        self.stats.lost_total += lost as u64;
        self.alarm("log_findings", format!("{lost} messages of log segment {segment} cannot be read any more."));
    }

    /// Records of a segment that is to go.
    pub fn scanned(&mut self, part_of: u32, records: Vec<Scanned>, done: bool) {
        if done && self.segments.scanning == Some(part_of) {
            self.segments.scanning = None;
        }
        let Some((segment, Step::Carrying)) = self.segments.step else { return };
        if segment != part_of {
            return;
        }
        for Scanned { kind, at, body, .. } in records {
            let again = match kind {
                kind::MESSAGE | kind::CARRIED => kind::CARRIED,
                kind::WITHHELD | kind::CARRIED_WITHHELD => kind::CARRIED_WITHHELD,
                _ => continue,
            };
            let Ok(message) = decode_stored(&body) else { continue };
            let (conversation, seq) = (message.conversation, message.seq);
            let entry = self.delivery.find(&conversation).and_then(|slot| self.delivery.get(slot)?.entry(seq));
            if entry.is_none_or(|entry| entry.at() != at) {
                continue;
            }
            let (to, batch) = self.append(again, &[&body], true);
            self.stats.carried_total += 1;
            self.segments.carried.push_back(Carried { batch, conversation, seq, from: at, to });
        }
        self.segments.scanned |= done;
        self.tend_log();
        self.settle();
    }

    /// Messages that were carried and are durable stand in their new place.
    fn settle_carried(&mut self) {
        while self.segments.carried.front().is_some_and(|c| c.batch <= self.durable) {
            let Some(carried) = self.segments.carried.pop_front() else { break };
            let Some(slot) = self.delivery.find(&carried.conversation) else { continue };
            let entry = self.delivery.get_mut(slot).and_then(|c| c.entry_mut(carried.seq));
            if let Some(entry) = entry
                && entry.at() == carried.from
            {
                (entry.segment, entry.offset, entry.len) = (carried.to.segment, carried.to.offset, carried.to.len);
                self.segments.freed(carried.from.segment, carried.from.len);
                self.segments.added(carried.to.segment, carried.to.len);
            }
        }
    }

    /// A segment is gone.
    pub fn unlinked(&mut self, segment: u32) {
        self.segments.all.remove(&segment);
        (self.segments.step, self.segments.scanning) = (None, None);
        self.tend_log();
        self.settle();
    }

    /// Once more has left memory than is left: the tables give back what they do not need. So this is rare, and what they
    /// hold in vain is bounded.
    pub(super) fn give_back(&mut self) {
        let here = self.delivery.len() + self.directory.len();
        if self.left_memory >= here.max(SHRINK_AFTER) {
            self.left_memory = 0;
            self.delivery.shrink();
            self.directory.shrink();
            self.sequencer.shrink();
            // Queues that were as long as the busiest moment wanted.
            self.pending.shrink_to_fit();
            self.between.shrink_to_fit();
            self.requests.shrink_to_fit();
            self.loading.shrink_to_fit();
            self.ready.shrink_to_fit();
            self.gave_back = true;
        }
    }

    /// Whether much memory was freed since this was asked last: the allocator may have to be told.
    pub fn has_given_back(&mut self) -> bool {
        std::mem::take(&mut self.gave_back)
    }

    /// Looks over the log and a part of memory.
    pub(super) fn sweep(&mut self) {
        self.keep_time();
        self.tend_log();
        let (conversations, users) = (self.delivery.capacity(), self.directory.capacity());
        let large = conversations.max(users) > SWEPT.0;
        let period_ms = if large { SWEEP_PART_MS } else { SWEEP_MS };
        // All of memory in about half the time after which it is quiet.
        let turns = (self.config.quiet_ms / period_ms / 2).max(1) as u32;
        let part = |all: u32| if large { all.div_ceil(turns).min(SWEPT.1) } else { all };
        for _ in 0..part(conversations) {
            self.sweep.0 = (self.sweep.0 + 1) % conversations.max(1);
            self.consider_conversation(self.sweep.0);
        }
        for _ in 0..part(users) {
            self.sweep.1 = (self.sweep.1 + 1) % users.max(1);
            self.consider_user(self.sweep.1);
        }
        self.give_back();
        self.timers.set(self.clock.mono_ms() + period_ms, Timer::Sweep);
    }
}
