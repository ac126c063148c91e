//! Records of a device's row.

use crate::ids::ConversationId;
use crate::records::{Message, Seen};
use crate::rows::Device;

/// The device sent a message: its id is remembered, so that a repeat is the same message (I4).
pub fn sent(row: &mut Device, record: &Message<'_>) {
    row.changes = record.device_change;
    let message = &record.message;
    row.repeats.push(message.id, message.conversation, message.seq, message.time);
}

/// What the device has seen: values rise, what is confirmed goes.
pub fn seen(row: &mut Device, record: &Seen<'_>) {
    row.seen_s = row.seen_s.max(record.seen_s);
    row.receives |= record.receives;
    row.see(record.receipts);
    row.repeats.forget(&record.confirmed);
}

/// A conversation at rest owes the device receipts up to `version`.
pub fn owed(row: &mut Device, change: u16, conversation: ConversationId, version: u64) {
    row.changes = change;
    row.owe(conversation, version);
}
