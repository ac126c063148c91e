//! Changes of groups in the log: folded onto a state when it is read, and part of one that is written while they are on their
//! way to the disk.
//!
//! A group's full state is as its messages may be seen. Changes that stand before it in the log and may not be seen yet
//! follow it in the same record: a message that everybody has leaves the log, and what it did must not leave with it.

use super::Engine;
use super::binary::{Reader, put_bytes};
use super::replay::Orphan;
use crate::group::Change;
use crate::sequencer::Flying;
use crate::wire::message::{decode_stored, encode_stored};
use crate::wire::types::{self as wire, ConversationId, Message};

impl Engine {
    /// A group's changes that are not to be seen yet.
    pub(super) fn flying(&self, id: &ConversationId) -> impl Iterator<Item = &Flying> {
        let group = self.delivery.find(id).and_then(|slot| self.delivery.get(slot)?.group.as_ref());
        let seen = group.map_or(0, |group| group.seq);
        self.sequencer.flying(id).filter(move |flying| flying.seq > seen)
    }

    /// Appends them, each as a message.
    pub(super) fn encode_flying(&self, id: &ConversationId, out: &mut Vec<u8>) {
        for Flying { seq, actor, change, .. } in self.flying(id) {
            let change = Some(Box::new(change.named(&self.directory)));
            let sender = self.directory.name(*actor);
            let message = Message { conversation: *id, seq: *seq, sender, change, ..Message::default() };
            let mut bytes = Vec::new();
            encode_stored(&message, &mut bytes);
            put_bytes(out, &bytes);
        }
    }

    /// Reads them.
    pub(super) fn decode_flying(&mut self, reader: &mut Reader<'_>) -> Option<Vec<Flying>> {
        let mut flying = Vec::new();
        while !reader.is_empty() {
            let record = reader.bytes()?;
            let message = decode_stored(record).ok()?;
            let change = *self.known_change(message.change.as_deref()?)?;
            let (seq, actor) = (message.seq, self.directory.intern(message.sender));
            flying.push(Flying { seq, actor, change, bytes: record.len() as u32 });
        }
        Some(flying)
    }

    /// A change as the log has it; whoever it names is a stub at least.
    pub(super) fn known_change(&mut self, change: &wire::Change<'_>) -> Option<Box<Change>> {
        Change::resolve(change, |name| Some(self.directory.intern(name))).map(Box::new)
    }

    /// Does what a message does to a group, unless the group's state has it.
    pub(super) fn fold(&mut self, slot: u32, seq: u64, sender: &str, change: Option<&Change>) {
        if let Some(change) = change {
            let actor = self.directory.intern(sender);
            self.delivery.change(&mut self.directory, slot, seq, actor, change);
        }
    }

    /// A message finds its conversation.
    pub(super) fn adopt(&mut self, slot: u32, orphan: Orphan) {
        let Orphan { sender, seq, entry, bodies, change } = orphan;
        self.fold(slot, seq, &sender, change.as_deref());
        self.place(slot, seq, &sender, entry, bodies);
    }
}
