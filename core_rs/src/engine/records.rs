//! What is written to the log. docs/log.md says what each kind of record means.
//!
//! Rule: whatever is in memory has its latest full state in the retained log, and every change since as a delta behind
//! it. So a full state comes before the first delta, and again before the segment that holds it goes.

use super::binary::{put_bytes, put_u64};
use super::directory::Directory;
use super::segments::Owner;
use super::{Engine, Timer};
use crate::delivery::conversation::Conversation;
use crate::log::Ref;
use crate::wire::types::ConversationId;

/// Kinds of records.
pub mod kind {
    /// A message: an encoded `Message`.
    pub const MESSAGE: u8 = 1;
    /// A conversation's full state.
    pub const CONVERSATION: u8 = 2;
    /// A user's full state.
    pub const USER: u8 = 3;
    /// Cursors that moved, of some conversations.
    pub const CURSORS: u8 = 4;
    /// A message again, from a segment that is to go.
    pub const CARRIED: u8 = 5;
    /// A message that the other user does not get, since it blocks the author.
    pub const WITHHELD: u8 = 6;
    /// Members that moved, of some groups.
    pub const GROUP_CURSORS: u8 = 7;
    /// A withheld message again.
    pub const CARRIED_WITHHELD: u8 = 8;
    /// Up to where receipt versions may have been told: eight bytes, the lowest first.
    pub const VERSIONS: u8 = 9;
    /// Before a change of a group: the devices of those whom it makes members.
    pub const MAILBOXES: u8 = 10;
}

/// Conversations whose cursors are logged in one turn.
const CURSORS_PER_TURN: usize = 4096;
/// How far the log's time may lag behind, ms.
const TIME_MS: u64 = 600_000;
/// Bytes of cursors in one record.
const CURSORS_RECORD: usize = 4096;

impl Engine {
    /// Adds a record to the open batch.
    pub(super) fn append(&mut self, kind: u8, parts: &[&[u8]], sync: bool) -> (Ref, u64) {
        let before = self.log.appended_bytes();
        let mut at = Ref::default();
        match self.log.append(&[(kind, parts)], sync, |place| at = place) {
            Ok(batch) => {
                if matches!(kind, kind::MESSAGE | kind::WITHHELD) {
                    self.stats.log_message_bytes_total += self.log.appended_bytes() - before;
                }
                self.segments.wrote(at.segment, batch);
                self.appended_ms = self.clock.time_ms();
                (at, batch)
            }
            Err(error) => {
                // Limits keep every record below a segment's size: this is a bug, and nothing may be lost by it.
                self.fail(&error.to_string());
                (Ref::default(), u64::MAX)
            }
        }
    }

    /// The log knows how late it is, also when nothing happens: after a start, time and receipt versions go on from there.
    pub(super) fn keep_time(&mut self) {
        if self.clock.time_ms().saturating_sub(self.appended_ms) >= TIME_MS && self.failed.is_none() {
            self.append(kind::CURSORS, &[], true);
        }
    }

    pub(super) fn user_blob(&self, slot: u32) -> Vec<u8> {
        let mut blob = Vec::new();
        let Some(user) = self.directory.get(slot) else { return blob };
        user.encode(&mut blob);
        for device in &user.devices {
            let sender = self.sequencer.sender((slot, device.id));
            put_u64(&mut blob, sender.map_or(0, |s| s.iter().len() as u64));
            for (id, repeat) in sender.into_iter().flat_map(|s| s.iter()) {
                put_bytes(&mut blob, id);
                blob.extend_from_slice(&repeat.conversation);
                put_u64(&mut blob, repeat.seq);
                put_u64(&mut blob, repeat.time_ms);
            }
        }
        blob
    }

    /// Writes a user's full state.
    pub(super) fn log_user(&mut self, slot: u32) {
        let Some(user) = self.directory.get_mut(slot) else { return };
        user.mark.change();
        let blob = self.user_blob(slot);
        let (at, _) = self.append(kind::USER, &[&blob], true);
        let Some(user) = self.directory.get_mut(slot) else { return };
        self.segments.stated(&mut user.mark, at, Owner::User(slot));
    }

    /// Writes a conversation's full state.
    pub(super) fn log_conversation(&mut self, slot: u32) {
        let Some(conversation) = self.delivery.get(slot) else { return };
        let head = self.sequencer.head(&conversation.id).unwrap_or(conversation.head);
        self.log_conversation_at(slot, head);
    }

    /// The same, with the number of the last message that stands before it in the log: one that is numbered and does not
    /// would be taken for lost.
    fn log_conversation_at(&mut self, slot: u32, head: u64) {
        let Some(conversation) = self.delivery.get(slot) else { return };
        let (id, mut blob) = (conversation.id, Vec::new());
        self.log_flying_mailboxes(&id);
        let Some(conversation) = self.delivery.get(slot) else { return };
        conversation.encode(head, &self.directory, &mut blob);
        self.encode_flying(&id, &mut blob);
        let (at, _) = self.append(kind::CONVERSATION, &[&blob], true);
        if let Some(conversation) = self.delivery.get_mut(slot) {
            self.segments.stated(&mut conversation.mark, at, Owner::Conversation(slot));
        }
    }

    /// Before the first delta of a conversation, or of a user: its full state. A message is one of both, since its id is
    /// remembered of its author. `head` is the number of the last message before it.
    pub(super) fn ensure_logged(&mut self, user: u32, id: &ConversationId, head: u64) {
        if self.directory.get(user).is_some_and(|u| u.mark.full_in == 0) {
            self.log_user(user);
        }
        if let Some(slot) = self.delivery.find(id)
            && self.delivery.get(slot).is_some_and(|c| c.mark.full_in == 0)
        {
            self.log_conversation_at(slot, head);
        }
    }

    /// Once a second: the cursors that moved.
    pub(super) fn log_cursors(&mut self) {
        self.cursors_timer = false;
        self.write_cursors(CURSORS_PER_TURN);
        if self.delivery.has_dirty() {
            self.cursors_timer = true;
            self.timers.set(self.clock.mono_ms(), Timer::Cursors);
        }
    }

    /// All of them, at once.
    pub(super) fn log_all_cursors(&mut self) {
        self.write_cursors(usize::MAX);
    }

    /// Cursors first: before a record whose effect reads cursors, those of its conversation that moved. So a start reads
    /// the same as was read when the record was made.
    pub(super) fn log_cursors_of(&mut self, slot: u32) {
        let Some(conversation) = self.delivery.get_mut(slot).filter(|c| c.dirty) else { return };
        conversation.dirty = false;
        if conversation.mark.full_in == 0 {
            return self.log_conversation(slot);
        }
        let mut record = Vec::new();
        let kind = encode_cursors(conversation, &self.directory, &mut record);
        self.append(kind, &[&record], true);
    }

    fn write_cursors(&mut self, most: usize) {
        let (mut pairs, mut groups) = (Vec::new(), Vec::new());
        for _ in 0..most {
            let Some(slot) = self.delivery.next_dirty() else { break };
            let Some(conversation) = self.delivery.get_mut(slot) else { continue };
            if conversation.mark.full_in == 0 {
                self.log_conversation(slot);
                continue;
            }
            let record = if conversation.group.is_some() { &mut groups } else { &mut pairs };
            let kind = encode_cursors(conversation, &self.directory, record);
            if record.len() >= CURSORS_RECORD {
                let full = std::mem::take(record);
                self.append(kind, &[&full], true);
            }
        }
        for (record, kind) in [(pairs, kind::CURSORS), (groups, kind::GROUP_CURSORS)] {
            if !record.is_empty() {
                self.append(kind, &[&record], true);
            }
        }
    }
}

/// Appends the cursors of a conversation that moved; gives the kind of record that they belong into.
fn encode_cursors(conversation: &mut Conversation, directory: &Directory, record: &mut Vec<u8>) -> u8 {
    if conversation.group.is_some() {
        conversation.encode_members(directory, record);
        kind::GROUP_CURSORS
    } else {
        conversation.encode_moved(record);
        kind::CURSORS
    }
}
