//! The hold time: what was not collected in time is dropped, and whoever lacks it is told, as are its authors.

use super::Delivery;
use super::conversation::{NONE, SkipRange};
use crate::engine::directory::Directory;
use crate::wire::types::SkipReason;

impl Delivery {
    /// Drops messages accepted before `before_s`, at most `most`. Gives how many were dropped, and when the oldest one
    /// that is left was accepted (seconds).
    pub fn expire(&mut self, dir: &Directory, slot: u32, before_s: u32, most: usize) -> (usize, Option<u32>) {
        let Some(conversation) = self.conversations.get_mut(slot as usize) else { return (0, None) };
        let old = conversation.entries.iter().take(most).take_while(|e| e.lost() || e.time_s < before_s).count();
        if old > 0 {
            let upto = conversation.first + old as u64 - 1;
            self.floor(dir, slot, upto, SkipReason::Expired);
        }
        let Some(conversation) = self.conversations.get_mut(slot as usize) else { return (old, None) };
        let oldest = conversation.entries.iter().find(|e| !e.lost()).map(|e| e.time_s);
        conversation.timed = oldest.is_some();
        (old, oldest)
    }

    /// Raises a conversation's floor: messages up to `upto` are gone for whoever lacks them.
    pub fn floor(&mut self, dir: &Directory, slot: u32, upto: u64, reason: SkipReason) {
        let Self { conversations, receivers, version, effects, .. } = self;
        let Some(conversation) = conversations.get_mut(slot as usize) else { return };
        let first = conversation.first;
        conversation.floor_reason = reason;
        conversation.mark.change();
        let mut told = Vec::new();
        for index in 0..conversation.members.len() {
            let lacking = conversation.lacking(index, first, upto);
            let flights: Vec<_> = (conversation.members.get(index).into_iter().flat_map(|m| &m.cursors))
                .filter(|c| c.receiver != NONE && c.acked < upto)
                .map(|c| (c.receiver, conversation.in_flight(index, c.device, c.acked + 1, c.sent.min(upto))))
                .collect();
            for (r, (messages, bytes)) in flights {
                if let Some(receiver) = receivers.get_mut(r as usize) {
                    receiver.inflight.0 = receiver.inflight.0.saturating_sub(messages);
                    receiver.inflight.1 = receiver.inflight.1.saturating_sub(bytes);
                }
            }
            let Some(member) = conversation.members.get_mut(index) else { continue };
            if let Some((from, to)) = lacking {
                *version += 1;
                member.skip(SkipRange { from, to, reason, version: *version });
                told.push(index);
            }
            // Nobody is there to be told: who comes first starts behind it.
            for cursor in member.cursors.iter_mut().filter(|c| c.device == 0) {
                cursor.acked = cursor.acked.max(upto);
                cursor.sent = cursor.sent.max(upto);
            }
        }
        conversation.recount();
        effects.floors.push(slot);
        self.drop_to(slot, upto);
        for index in told {
            self.notify(dir, slot, index, None);
        }
        self.reclaim(slot);
        self.owe_all(slot);
    }

    /// The messages of a conversation that stand in a segment are lost; how many there were.
    pub fn lose(&mut self, slot: u32, segment: u32) -> usize {
        let Self { conversations, hot, effects, .. } = self;
        let Some(conversation) = conversations.get_mut(slot as usize) else { return 0 };
        let mut lost = 0;
        for entry in conversation.entries.iter_mut().filter(|e| e.segment == segment) {
            effects.freed.push((entry.segment, entry.len));
            hot.remove(entry.hot);
            *entry = super::conversation::Entry::LOST;
            lost += 1;
        }
        if lost > 0 {
            self.note_lost(slot);
            self.owe_all(slot);
        }
        lost
    }

    /// After messages were found to be lost: who lacks them, and their authors, will be told.
    pub fn note_lost(&mut self, slot: u32) {
        let Some(conversation) = self.conversations.get_mut(slot as usize) else { return };
        let lost: Vec<u64> =
            (conversation.first..).zip(&conversation.entries).filter(|e| e.1.lost()).map(|e| e.0).collect();
        for seq in lost {
            for member in &mut conversation.members {
                let known = member.skipped.iter().flat_map(|s| s.iter()).any(|r| r.from <= seq && seq <= r.to);
                if member.delivered < seq && !known {
                    self.version += 1;
                    member.skip(SkipRange { from: seq, to: seq, reason: SkipReason::Lost, version: self.version });
                }
            }
        }
    }
}

impl super::conversation::Conversation {
    /// The first and last message of `first..=upto` that some other user wrote and no device of the member has.
    fn lacking(&self, index: usize, first: u64, upto: u64) -> Option<(u64, u64)> {
        let member = self.members.get(index)?;
        let from = first.max(member.delivered + 1).max(member.from);
        let theirs = |&seq: &u64| self.entry(seq).is_some_and(|e| usize::from(e.author) != index);
        let lacked = || (from..=upto.min(member.to)).filter(theirs);
        Some((lacked().next()?, lacked().next_back()?))
    }
}
