//! Numbers messages: may this sender write here, was this id seen, which number is next.
//!
//! It decides `conversation, seq` and hands that to delivery in a [`Sequenced`]; delivery tells it what was reclaimed in a
//! [`Reclaimed`]. Both are idempotent, and nothing else passes between the two, so that in a cluster they can stand on
//! different nodes. It must never know cursors, windows or who is online (I13).

mod groups;
mod repeats;

use hashbrown::HashMap;
use smallvec::SmallVec;

pub use groups::Flying;
pub use repeats::{Repeat, Sender};

use crate::log::Ref;
pub use crate::wire::ids::Kind;
use crate::wire::types::ConversationId;

/// Who may write: a user, from one device only in a device conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Writer {
    /// Slot in the directory.
    pub user: u32,
    /// 0: any of its devices.
    pub device: u16,
}

/// A numbered message, on its way to delivery once it is durable.
#[derive(Clone, Debug)]
pub struct Sequenced {
    /// Where.
    pub conversation: ConversationId,
    /// Its number there.
    pub seq: u64,
    /// The author's slot in the directory.
    pub user: u32,
    /// The author's device.
    pub device: u16,
    /// Where its record stands in the log.
    pub at: Ref,
    /// When it was accepted, ms since 1970.
    pub time_ms: u64,
    /// For a message with a body per device: who has one, as (user slot, device).
    pub bodies: Option<crate::delivery::conversation::Devices>,
    /// What it does to the group.
    pub change: Option<Box<crate::group::Change>>,
    /// The other user blocks the author: only the author's own other devices get it.
    pub withheld: bool,
    /// The record's body.
    pub stored: Vec<u8>,
}

/// Delivery's word that messages left a conversation: totals since it was loaded, so that a repeat changes nothing.
#[derive(Clone, Copy, Debug)]
pub struct Reclaimed {
    /// Where.
    pub conversation: ConversationId,
    /// Everything below is gone.
    pub first: u64,
    /// Bytes of all that is gone.
    pub bytes: u64,
}

/// Why a send is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// No such conversation, or not theirs: the same to the sender (I8).
    Unknown,
    /// A member may not send here: the group's rules say so.
    Forbidden,
    /// It holds as much undelivered as it may.
    Full,
    /// The id was used for a message in another conversation.
    IdReused,
}

/// What becomes of a send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is this message, accepted before.
    Repeated(Repeat),
    /// It is a new one with this number, which is taken.
    Next(u64),
}

#[derive(Debug)]
struct Conversation {
    head: u64,
    writers: SmallVec<[Writer; 2]>,
    first: u64,
    bytes_in: u64,
    bytes_out: u64,
    /// Instead of `writers`.
    group: Option<Box<groups::Numbered>>,
}

/// See the module.
#[derive(Default, Debug)]
pub struct Sequencer {
    conversations: HashMap<ConversationId, Conversation>,
    senders: HashMap<(u32, u16), Sender>,
}

impl Sequencer {
    /// Takes a conversation in: its last number, who may write, and what is undelivered (`first..=head`, `bytes`).
    pub fn load(&mut self, id: ConversationId, writers: SmallVec<[Writer; 2]>, head: u64, first: u64, bytes: u64) {
        self.conversations
            .insert(id, Conversation { head, writers, first, bytes_in: bytes, bytes_out: 0, group: None });
    }

    /// Whether a conversation is in memory.
    pub fn has(&self, id: &ConversationId) -> bool {
        self.conversations.contains_key(id)
    }

    /// Forgets a conversation that left memory.
    pub fn unload(&mut self, id: &ConversationId) {
        self.conversations.remove(id);
    }

    /// The last number given in a conversation.
    pub fn head(&self, id: &ConversationId) -> Option<u64> {
        self.conversations.get(id).map(|c| c.head)
    }

    /// Who may write in a conversation of two; nobody where a group's rules say that.
    pub fn writers(&self, id: &ConversationId) -> Option<&[Writer]> {
        self.conversations.get(id).map(|c| &*c.writers)
    }

    /// Decides about a send of `bytes`, and takes the next number for it unless it is a repeat or refused. `caps` are the
    /// undelivered messages and bytes that the conversation may hold; a group never refuses for that, delivery lets go of
    /// its oldest.
    pub fn number(
        &mut self,
        id: &ConversationId,
        from: (u32, u16),
        message_id: &[u8],
        bytes: u64,
        caps: (u32, u64),
    ) -> Result<Outcome, Refusal> {
        let conversation = self.conversations.get_mut(id).ok_or(Refusal::Unknown)?;
        let may_write = |w: &Writer| w.user == from.0 && (w.device == 0 || w.device == from.1);
        match &conversation.group {
            None if conversation.writers.iter().any(may_write) => {}
            None => return Err(Refusal::Unknown),
            Some(numbered) => numbered.admit(from.0)?,
        }
        if let Some(repeat) = self.senders.get(&from).and_then(|sender| sender.find(message_id)) {
            return if repeat.conversation == *id { Ok(Outcome::Repeated(repeat)) } else { Err(Refusal::IdReused) };
        }
        let held = conversation.bytes_in - conversation.bytes_out.min(conversation.bytes_in);
        let messages = conversation.head + 1 - conversation.first.min(conversation.head + 1);
        let full = messages >= u64::from(caps.0) || held + bytes > caps.1;
        if full && conversation.group.is_none() {
            return Err(Refusal::Full);
        }
        conversation.head += 1;
        conversation.bytes_in += bytes;
        Ok(Outcome::Next(conversation.head))
    }

    /// Remembers a numbered message by its id.
    pub fn remember(&mut self, from: (u32, u16), id: &[u8], repeat: Repeat, most: u32) {
        self.senders.entry(from).or_default().remember(id, repeat, most as usize);
    }

    /// A numbered message takes so many bytes more than it was numbered with.
    pub fn grew(&mut self, id: &ConversationId, bytes: u64) {
        if let Some(conversation) = self.conversations.get_mut(id) {
            conversation.bytes_in += bytes;
        }
    }

    /// The device saw the `accepted` of these messages; others than it sent are passed over. Sorts them.
    pub fn confirm(&mut self, from: (u32, u16), seen: &mut [(ConversationId, u64)]) {
        if let Some(sender) = self.senders.get_mut(&from) {
            sender.confirm(seen);
            if sender.is_empty() {
                self.senders.remove(&from);
            }
        }
    }

    /// What is remembered of a device.
    pub fn sender(&self, from: (u32, u16)) -> Option<&Sender> {
        self.senders.get(&from)
    }

    /// Forgets a device: it left memory, or is no more.
    pub fn forget(&mut self, from: (u32, u16)) {
        self.senders.remove(&from);
    }

    /// Forgets all devices but those.
    pub fn keep_senders(&mut self, which: impl Fn((u32, u16)) -> bool) {
        self.senders.retain(|from, _| which(*from));
    }

    /// All that is remembered, of all devices.
    pub fn repeats(&self) -> impl Iterator<Item = &Repeat> {
        self.senders.values().flat_map(Sender::iter).map(|(_, repeat)| repeat)
    }

    /// Gives memory back after many conversations left.
    pub fn shrink(&mut self) {
        self.conversations.shrink_to_fit();
        self.senders.shrink_to_fit();
    }

    /// Delivery let go of messages.
    pub fn reclaimed(&mut self, news: Reclaimed) {
        if let Some(conversation) = self.conversations.get_mut(&news.conversation) {
            conversation.first = conversation.first.max(news.first);
            conversation.bytes_out = conversation.bytes_out.max(news.bytes);
        }
    }
}

#[cfg(test)]
mod tests;
