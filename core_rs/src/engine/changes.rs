//! Changes of groups in the log: folded onto a state when it is read, and part of one that is written while they are on their
//! way to the disk.
//!
//! A group's full state is as its messages may be seen. Changes that stand before it in the log and may not be seen yet
//! follow it in the same record: a message that everybody has leaves the log, and what it did must not leave with it.

use super::Engine;
use super::binary::{Reader, put_bytes, put_u64};
use super::records::kind;
use super::replay::{Mailboxes, Orphan, Replay};
use crate::group::Change;
use crate::sequencer::Flying;
use crate::wire::message::{decode_stored, encode_stored};
use crate::wire::types::{self as wire, ConversationId, Message};

/// Bytes of a record of devices, about.
const MAILBOXES_RECORD: usize = 4096;

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

    /// Writes which devices the users have whom a change makes members, before the change: a start gives mailboxes to these,
    /// wherever the states of the users stand in the log.
    pub(super) fn log_mailboxes(&mut self, id: &ConversationId, seq: u64, users: &[u32]) {
        let mut users = users.iter().filter_map(|&user| self.directory.get(user)).peekable();
        let mut records = Vec::new();
        while users.peek().is_some() {
            let mut record = id.to_vec();
            put_u64(&mut record, seq);
            while record.len() < MAILBOXES_RECORD
                && let Some(user) = users.next()
            {
                put_bytes(&mut record, user.name.as_bytes());
                put_u64(&mut record, user.devices.len() as u64);
                user.devices.iter().for_each(|device| put_u64(&mut record, device.id.into()));
            }
            records.push(record);
        }
        for record in records {
            self.append(kind::MAILBOXES, &[&record], true);
        }
    }

    /// The same of changes that are part of a state.
    pub(super) fn log_flying_mailboxes(&mut self, id: &ConversationId) {
        let flying: Vec<(u64, Vec<u32>)> = self.flying(id).map(|f| (f.seq, f.change.newcomers(f.actor))).collect();
        flying.iter().for_each(|(seq, users)| self.log_mailboxes(id, *seq, users));
    }

    /// Reads what [`Engine::log_mailboxes`] wrote.
    pub(super) fn replay_mailboxes(&mut self, replay: &mut Replay, record: &[u8]) -> Option<()> {
        let mut reader = Reader::new(record);
        let mailboxes = replay.mailboxes.entry((reader.array()?, reader.u64()?)).or_default();
        while !reader.is_empty() {
            let user = self.directory.intern(reader.str()?);
            for _ in 0..reader.count()? {
                mailboxes.push((user, reader.u64()?.try_into().ok()?));
            }
        }
        Some(())
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

    /// Does what a message does to a group, unless the group's state has it. `mailboxes`: see [`Engine::log_mailboxes`].
    pub(super) fn fold(&mut self, slot: u32, seq: u64, sender: &str, change: Option<&Change>, mailboxes: Mailboxes) {
        if let Some(change) = change {
            let actor = self.directory.intern(sender);
            self.delivery.change(&mut self.directory, slot, seq, actor, change, mailboxes.as_deref());
        }
    }

    /// A message finds its conversation.
    pub(super) fn adopt(&mut self, slot: u32, orphan: Orphan) {
        let Orphan { sender, seq, entry, bodies, change, mailboxes } = orphan;
        self.fold(slot, seq, &sender, change.as_deref(), mailboxes);
        self.place(slot, seq, &sender, entry, bodies);
    }
}
