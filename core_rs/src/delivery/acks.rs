//! Acknowledgements and read cursors, and what they let go.

use super::conversation::{Conversation, Cursor, Member, NONE, Online, mark};
use super::{Delivery, owe, queue};
use crate::engine::directory::Directory;
use crate::sequencer::Reclaimed;
use crate::wire::types::ConversationId;

/// Why an acknowledgement or a read cursor is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// No such conversation in memory, or not theirs.
    Unknown,
    /// Beyond the last message that may be seen.
    BeyondHead,
    /// Read beyond what was delivered.
    BeyondDelivered,
    /// An author who is not a member.
    Author,
}

impl Delivery {
    /// A session's device has everything up to `seq`.
    pub fn ack(
        &mut self,
        dir: &mut Directory,
        r: u32,
        id: &ConversationId,
        seq: u64,
        mono_ms: u64,
    ) -> Result<(), Refusal> {
        let slot = self.find(id).ok_or(Refusal::Unknown)?;
        let Self { conversations, receivers, run, .. } = self;
        let receiver = receivers.get_mut(r as usize).ok_or(Refusal::Unknown)?;
        let conversation = conversations.get_mut(slot as usize).ok_or(Refusal::Unknown)?;
        let (user, device) = (receiver.user, receiver.device);
        let index = conversation.member(user, device).ok_or(Refusal::Unknown)?;
        let Some(&Cursor { acked: old, sent, online, .. }) = conversation.cursor(index, device) else {
            return Err(Refusal::Unknown);
        };
        let current = conversation.members.get(index).is_some_and(Member::is_current);
        let last = conversation.members.get(index).map_or(0, |m| m.to);
        if seq > conversation.head.min(last) {
            return Err(Refusal::BeyondHead);
        }
        if seq <= old {
            return Ok(());
        }
        let attached = conversation.online.get(online as usize).map_or(NONE, |online| online.receiver);
        if let Some(holder) = receivers.get_mut(attached as usize) {
            let (messages, bytes) = conversation.in_flight(index, device, old + 1, seq.min(sent));
            holder.inflight.0 = holder.inflight.0.saturating_sub(messages);
            holder.inflight.1 = holder.inflight.1.saturating_sub(bytes);
            if holder.lists.as_ref().is_some_and(|lists| !lists.owed.is_empty()) {
                queue(receivers, run, attached);
            }
        }
        conversation.saw_snapshot(index, device, seq);
        conversation.advance(index, device, conversation.pass(seq, index, device));
        conversation.mark.touch(mono_ms);
        conversation.mark.change();
        self.note_dirty(slot);
        self.raise(dir, slot, index);
        if !current {
            self.retire(dir, slot, &[index]);
        }
        self.reclaim(slot);
        Ok(())
    }

    /// Whether `seq` acknowledges something that was written to this very session and is not acknowledged yet.
    pub fn is_in_flight(&self, r: u32, id: &ConversationId, seq: u64) -> bool {
        let receiver = self.receivers.get(r as usize);
        let conversation = self.find(id).and_then(|slot| self.get(slot));
        let (Some(receiver), Some(conversation)) = (receiver, conversation) else { return false };
        let index = conversation.member(receiver.user, receiver.device);
        let Some(cursor) = index.and_then(|index| conversation.cursor(index, receiver.device)) else { return false };
        let attached = conversation.online.get(cursor.online as usize).is_some_and(|online| online.receiver == r);
        attached && cursor.acked < seq && seq <= cursor.sent
    }

    /// A session's user has read up to `seq` what the `authors` wrote. Empty: everyone else; in a group nobody.
    pub fn read(
        &mut self,
        dir: &Directory,
        r: u32,
        id: &ConversationId,
        seq: u64,
        authors: &[u32],
        mono_ms: u64,
    ) -> Result<(), Refusal> {
        let slot = self.find(id).ok_or(Refusal::Unknown)?;
        let receiver = self.receivers.get(r as usize).ok_or(Refusal::Unknown)?;
        let conversation = self.conversations.get_mut(slot as usize).ok_or(Refusal::Unknown)?;
        let index = conversation.member(receiver.user, receiver.device).ok_or(Refusal::Unknown)?;
        let group = conversation.group.is_some();
        // An author may have left a group since.
        if !group && authors.iter().any(|author| conversation.members.iter().all(|m| m.user != *author)) {
            return Err(Refusal::Author);
        }
        // A device that has seen its user go knows the group no more, whatever others of the user still lack.
        let here = |m: &&mut Member| m.is_current() || m.cursor(receiver.device).is_some();
        let member = conversation.members.get_mut(index).filter(here).ok_or(Refusal::Unknown)?;
        if seq > conversation.head.min(member.to) {
            return Err(Refusal::BeyondHead);
        }
        let acked = member.cursors.iter().filter(|c| c.device != 0).map(|c| c.acked).max();
        if seq > member.delivered.max(acked.unwrap_or(0)) {
            return Err(Refusal::BeyondDelivered);
        }
        let moves = seq > member.read;
        // In a group an author may be named after others were; how far the user came reaches it then.
        let mut told: Vec<u32> = Vec::new();
        if group {
            let others = authors.iter().filter(|&&author| author != receiver.user);
            told.extend(others.filter_map(|&author| conversation.member(author, 0)).map(|other| other as u32));
        }
        if !moves && (told.is_empty() || seq == 0) {
            return Ok(());
        }
        self.version += 1;
        let Some(member) = conversation.members.get_mut(index) else { return Ok(()) };
        // Of what no device of the user has, a read cursor says nothing to others, be it only that it moved: it may have
        // been withheld.
        let news = group || seq.min(member.delivered) > member.read;
        if moves {
            member.read = seq;
            member.read_version = self.version;
            told.push(index as u32);
        }
        if news {
            member.version = self.version;
        }
        conversation.mark.touch(mono_ms);
        conversation.mark.change();
        conversation.list(index);
        // To oneself one is the author too, who waits to be told.
        let reader = if conversation.members.len() > 1 { r } else { NONE };
        if group {
            told.sort_unstable();
            told.dedup();
            self.announce_but(dir, slot, Some(index), &told, reader);
        } else {
            self.notify_but(dir, slot, index, Some(if news { authors } else { &[NONE] }), reader);
        }
        self.note_dirty(slot);
        Ok(())
    }

    /// Lets go of messages that every mailbox has.
    pub fn reclaim(&mut self, slot: u32) {
        let Some(conversation) = self.conversations.get_mut(slot as usize) else { return };
        if conversation.behind > 0 || conversation.entries.is_empty() {
            return;
        }
        // What let them go is logged before their segments go.
        self.note_dirty(slot);
        self.drop_while(slot, |conversation| conversation.behind == 0);
    }

    /// Lets go of the messages up to `upto`, whoever lacks them.
    pub(super) fn drop_to(&mut self, slot: u32, upto: u64) {
        self.drop_while(slot, |conversation| conversation.first <= upto);
    }

    fn drop_while(&mut self, slot: u32, more: impl Fn(&Conversation) -> bool) {
        let Self { conversations, hot, effects, .. } = self;
        let Some(conversation) = conversations.get_mut(slot as usize) else { return };
        while more(conversation) {
            let seq = conversation.first;
            let Some(entry) = conversation.pop() else { break };
            if !entry.lost() {
                effects.freed.push((entry.segment, entry.len));
            }
            hot.remove(entry.hot);
            if let Some(bodies) = &mut conversation.bodies {
                bodies.remove(&seq);
            }
            conversation.bytes -= u64::from(entry.len).min(conversation.bytes);
            conversation.bytes_out += u64::from(entry.len);
        }
        if conversation.bodies.as_ref().is_some_and(|bodies| bodies.is_empty()) {
            conversation.bodies = None;
        }
        if conversation.entries.is_empty() && conversation.entries.capacity() > 64 {
            conversation.entries.shrink_to_fit();
        }
        effects.reclaimed.push(Reclaimed {
            conversation: conversation.id,
            first: conversation.first,
            bytes: conversation.bytes_out,
        });
    }

    /// A conversation with changed cursors that are not logged yet.
    pub fn next_dirty(&mut self) -> Option<u32> {
        loop {
            let slot = self.dirty.pop_front()?;
            if let Some(conversation) = self.conversations.get_mut(slot as usize)
                && conversation.dirty
            {
                conversation.dirty = false;
                return Some(slot);
            }
        }
    }

    /// Whether some cursors are not logged yet.
    pub fn has_dirty(&self) -> bool {
        !self.dirty.is_empty()
    }

    /// Every online mailbox that lacks something in the conversation is owed it again, `first` before others: bodies
    /// were read for it, which may leave memory when it must wait.
    pub(super) fn owe_all(&mut self, slot: u32, first: bool) {
        let Self { conversations, receivers, run, .. } = self;
        let Some(conversation) = conversations.get_mut(slot as usize) else { return };
        for place in 0..conversation.online.len() {
            let Some(&Online { receiver: r, member, device, owed }) = conversation.online.get(place) else { break };
            if owed || conversation.cursor(member as usize, device).is_none_or(|c| c.sent >= conversation.head) {
                continue;
            }
            if let Some(online) = conversation.online.get_mut(place) {
                online.owed = true;
            }
            if first && let Some(receiver) = receivers.get_mut(r as usize) {
                receiver.lists.get_or_insert_default().owed.push_front((slot, member));
                if receiver.writable {
                    // It may stand in the queue twice then; the second time it is owed nothing.
                    receiver.queued = true;
                    run.push_front(r);
                }
            } else {
                owe(receivers, run, r, (slot, member));
            }
        }
    }
}

impl Conversation {
    /// An acknowledgement came: the mailbox had the snapshot if it was written before what is acknowledged.
    fn saw_snapshot(&mut self, index: usize, device: u16, seq: u64) {
        let (first, from) = (self.first, self.members.get(index).map_or(0, |m| m.from));
        let Some(cursor) = self.cursor_mut(index, device) else { return };
        if cursor.is(mark::SHOWN) && seq + 1 >= first && seq >= from {
            cursor.unset(mark::FRESH | mark::SHOWN);
        }
    }

    /// Messages and bytes among `from..=to` that were written to a mailbox's session as messages.
    pub(super) fn in_flight(&self, member: usize, device: u16, from: u64, to: u64) -> (u32, u32) {
        let user = self.members.get(member).map_or(NONE, |m| m.user);
        let mut sum = (0, 0);
        for seq in from.max(self.first)..=to {
            let Some(entry) = self.entry(seq) else { break };
            let message = !entry.lost() && self.is_for(entry, seq, member, device) && self.has_body(seq, user, device);
            if message {
                sum = (sum.0 + 1, sum.1 + entry.len);
            }
        }
        sum
    }
}
