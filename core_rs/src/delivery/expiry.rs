//! The hold time: what was not collected in time is dropped, and whoever lacks it is told, as are its authors. A group's
//! cap does the same.

use std::collections::VecDeque;
use std::ops::RangeInclusive;

use slab::Slab;

use super::conversation::{Conversation, NONE, SkipRange};
use super::{Delivery, Receiver, queue};
use crate::engine::directory::Directory;
use crate::wire::types::SkipReason;

/// A floor rises by this part of a group's cap.
const CAP_STEP: usize = 64;

impl Delivery {
    /// Drops messages accepted before `before_s`, at most `most`. Gives how many were dropped, and when the oldest one
    /// that is left was accepted (seconds).
    pub fn expire(&mut self, dir: &Directory, slot: u32, before_s: u32, most: usize) -> (usize, Option<u32>) {
        let Some(conversation) = self.conversations.get_mut(slot as usize) else { return (0, None) };
        let old = conversation.entries.iter().take(most).take_while(|e| e.time_s < before_s).count();
        if old > 0 {
            let upto = conversation.first + old as u64 - 1;
            self.floor(dir, slot, upto, SkipReason::Expired);
        }
        let Some(conversation) = self.conversations.get_mut(slot as usize) else { return (old, None) };
        let oldest = conversation.entries.front().map(|e| e.time_s);
        conversation.expires_s = 0;
        (old, oldest)
    }

    /// Raises a conversation's floor: messages up to `upto` are gone for whoever lacks them.
    pub fn floor(&mut self, dir: &Directory, slot: u32, upto: u64, reason: SkipReason) {
        let Some(conversation) = self.conversations.get_mut(slot as usize) else { return };
        let first = conversation.first;
        conversation.floor_reason = reason;
        conversation.mark.change();
        self.effects.floors.push(slot);
        let before = self.version;
        for index in 0..conversation.members.len() {
            self.floor_member(dir, slot, index, first..=upto, reason, before + 1);
        }
        if let Some(conversation) = self.get(slot).filter(|c| c.group.is_some())
            && self.version > before
        {
            let authors = conversation.authors(first..=upto, usize::MAX);
            self.announce(dir, slot, None, &authors);
        }
        self.drop_to(slot, upto);
        self.raise_all(dir, slot);
        self.reclaim(slot);
        self.owe_all(slot, false);
    }

    /// A group that holds more than it may goes on: its floor rises.
    pub(super) fn cap(&mut self, dir: &Directory, slot: u32) {
        let (messages, bytes) = self.group_caps;
        let Some(conversation) = self.get(slot).filter(|c| c.group.is_some()) else { return };
        let (mut left, mut held) = (conversation.entries.len(), conversation.bytes);
        if left <= messages as usize && held <= bytes {
            return;
        }
        // Not one by one: each floor looks at all members and is logged with them.
        let room = (messages as usize).saturating_sub(messages as usize / CAP_STEP);
        let room_bytes = bytes - bytes / CAP_STEP as u64;
        let mut upto = conversation.first;
        for entry in &conversation.entries {
            if left <= room && held <= room_bytes {
                break;
            }
            (left, held, upto) = (left - 1, held - u64::from(entry.len).min(held), upto + 1);
        }
        self.floor(dir, slot, upto - 1, SkipReason::Cap);
    }

    /// In a group, what a member lacks is reckoned from its cursors, not message by message; and its own messages among
    /// them are passed over with the others. All have it under one `version`: what is announced as one piece of news is
    /// held back as one, and what overtakes it must not pass for later than a part of it.
    fn floor_member(
        &mut self,
        dir: &Directory,
        slot: u32,
        index: usize,
        range: RangeInclusive<u64>,
        reason: SkipReason,
        version: u64,
    ) {
        let upto = *range.end();
        let Some(conversation) = self.get(slot) else { return };
        if conversation.group.is_some() {
            let ranges = conversation.lacked(index, range);
            let Some(conversation) = self.conversations.get_mut(slot as usize) else { return };
            conversation.refresh(index, upto, None);
            if let Some(member) = conversation.members.get_mut(index).filter(|_| !ranges.is_empty()) {
                self.version = version;
                for (from, to) in ranges {
                    member.skip(SkipRange { from, to, reason, version });
                }
            }
        } else {
            let lacked: Vec<u64> = range.filter(|&seq| conversation.lacks(index, seq)).collect();
            self.skip(dir, slot, index, &lacked, reason);
        }
        let Self { conversations, receivers, run, .. } = self;
        let Some(conversation) = conversations.get_mut(slot as usize) else { return };
        let Some(member) = conversation.members.get(index) else { return };
        for cursor in member.cursors.iter().filter(|c| c.online != NONE && c.acked < upto) {
            let Some(online) = conversation.online.get(cursor.online as usize) else { continue };
            let flight = conversation.in_flight(index, cursor.device, cursor.acked + 1, cursor.sent.min(upto));
            landed(receivers, run, online.receiver, flight);
        }
    }

    /// The messages of a conversation that stand in a segment are lost; how many there were.
    pub fn lose(&mut self, dir: &Directory, slot: u32, segment: u32) -> usize {
        let Some(conversation) = self.get(slot) else { return 0 };
        let seqs: Vec<u64> = (conversation.first..)
            .zip(&conversation.entries)
            .filter(|(_, e)| e.segment == segment)
            .map(|(seq, _)| seq)
            .collect();
        seqs.iter().for_each(|&seq| self.lose_one(slot, seq));
        if !seqs.is_empty() {
            self.note_lost(dir, slot);
            self.owe_all(slot, false);
        }
        seqs.len()
    }

    /// A message is lost, though it may be on its way to some.
    pub(super) fn lose_one(&mut self, slot: u32, seq: u64) {
        let Self { conversations, receivers, run, hot, effects, .. } = self;
        let Some(conversation) = conversations.get_mut(slot as usize) else { return };
        for online in &conversation.online {
            let (index, device) = (online.member as usize, online.device);
            if conversation.cursor(index, device).is_some_and(|c| c.acked < seq && seq <= c.sent) {
                landed(receivers, run, online.receiver, conversation.in_flight(index, device, seq, seq));
            }
        }
        let Some(entry) = conversation.entry_mut(seq) else { return };
        effects.freed.push((entry.segment, entry.len));
        hot.remove(entry.hot);
        (entry.segment, entry.hot) = (0, NONE);
    }
}

impl Conversation {
    /// What of a range of messages no device of a member of a group has, inside its intervals and not noted before.
    pub(super) fn lacked(&self, index: usize, range: RangeInclusive<u64>) -> Vec<(u64, u64)> {
        let Some(member) = self.members.get(index) else { return Vec::new() };
        let (from, to) = ((*range.start()).max(member.delivered + 1), *range.end());
        let intervals = member.earlier().iter().copied().chain([(member.from, member.to)]);
        let inside = intervals.map(|i| (i.0.max(from), i.1.min(to))).filter(|i| i.0 <= i.1);
        let had = member.cursors.iter().filter(|c| c.device != 0).map(|c| (c.base + 1, c.acked));
        let noted = member.skipped().iter().map(|s| (s.from, s.to));
        had.chain(noted).filter(|hole| hole.0 <= hole.1).fold(inside.collect(), |left, hole| without(&left, hole))
    }
}

/// Ranges without what lies in `hole`.
fn without(ranges: &[(u64, u64)], hole: (u64, u64)) -> Vec<(u64, u64)> {
    let parts = |&(from, to): &(u64, u64)| [(from, to.min(hole.0 - 1)), (from.max(hole.1 + 1), to)];
    ranges.iter().flat_map(parts).filter(|part| part.0 <= part.1).collect()
}

/// Messages and bytes are not on their way to a session any more: there may be room in its window.
fn landed(receivers: &mut Slab<Receiver>, run: &mut VecDeque<u32>, r: u32, (messages, bytes): (u32, u32)) {
    let Some(receiver) = receivers.get_mut(r as usize) else { return };
    receiver.inflight.0 = receiver.inflight.0.saturating_sub(messages);
    receiver.inflight.1 = receiver.inflight.1.saturating_sub(bytes);
    queue(receivers, run, r);
}
