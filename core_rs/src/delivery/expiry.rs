//! The hold time: what was not collected in time is dropped, and whoever lacks it is told, as are its authors.

use std::collections::VecDeque;
use std::ops::RangeInclusive;

use slab::Slab;

use super::conversation::NONE;
use super::{Delivery, Receiver, queue};
use crate::engine::directory::Directory;
use crate::wire::types::SkipReason;

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
        for index in 0..conversation.members.len() {
            self.floor_member(dir, slot, index, first..=upto, reason);
        }
        self.drop_to(slot, upto);
        self.raise_all(dir, slot);
        self.reclaim(slot);
        self.owe_all(slot, false);
    }

    fn floor_member(
        &mut self,
        dir: &Directory,
        slot: u32,
        index: usize,
        range: RangeInclusive<u64>,
        reason: SkipReason,
    ) {
        let upto = *range.end();
        let Some(conversation) = self.get(slot) else { return };
        let lacked: Vec<u64> = range.filter(|&seq| conversation.lacks(index, seq)).collect();
        self.skip(dir, slot, index, &lacked, reason);
        let Self { conversations, receivers, run, .. } = self;
        let Some(conversation) = conversations.get_mut(slot as usize) else { return };
        let Some(member) = conversation.members.get(index) else { return };
        for cursor in member.cursors.iter().filter(|c| c.online != NONE && c.acked < upto) {
            let Some(online) = conversation.online.get(cursor.online as usize) else { continue };
            let flight = conversation.in_flight(index, cursor.device, cursor.acked + 1, cursor.sent.min(upto));
            landed(receivers, run, online.receiver, flight);
        }
        // Nobody is there to be told: who comes first starts behind it.
        if member.cursor(0).is_some_and(|waiting| waiting.acked < upto) {
            conversation.advance(index, 0, upto);
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

/// Messages and bytes are not on their way to a session any more: there may be room in its window.
fn landed(receivers: &mut Slab<Receiver>, run: &mut VecDeque<u32>, r: u32, (messages, bytes): (u32, u32)) {
    let Some(receiver) = receivers.get_mut(r as usize) else { return };
    receiver.inflight.0 = receiver.inflight.0.saturating_sub(messages);
    receiver.inflight.1 = receiver.inflight.1.saturating_sub(bytes);
    queue(receivers, run, r);
}
