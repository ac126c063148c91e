//! Records to bytes.

use super::message::Message;
use super::{Cursors, Lacked, Lost, Mailbox, Record, Seen, User, UserChange, kind};
use crate::bytes::{put_bytes, put_flag, put_u64};
use crate::ids::RowKey;

/// Appends a record's body; gives its kind.
pub fn encode(record: &Record<'_>, out: &mut Vec<u8>) -> u8 {
    match record {
        Record::Image { row, bytes } => {
            put_key(out, row);
            out.extend_from_slice(bytes);
            kind::IMAGE
        }
        Record::Message(message) => {
            Message::encode(message, out);
            kind::MESSAGE
        }
        Record::Carried(message) => {
            Message::encode(message, out);
            kind::CARRIED
        }
        Record::Mailbox(mailbox) => {
            put_mailbox(out, mailbox);
            kind::MAILBOX
        }
        Record::Floor(floor) => {
            out.extend_from_slice(&floor.conversation);
            out.extend_from_slice(&floor.change.to_le_bytes());
            put_u64(out, floor.floor);
            out.push(floor.reason as u8);
            put_u64(out, floor.version);
            put_lacked(out, &floor.lacked);
            kind::FLOOR
        }
        Record::Lost(Lost { conversation, change, ranges, version, lacked }) => {
            out.extend_from_slice(conversation);
            out.extend_from_slice(&change.to_le_bytes());
            put_ranges(out, ranges);
            put_u64(out, *version);
            put_lacked(out, lacked);
            kind::LOST
        }
        Record::User(user) => {
            put_user(out, user);
            kind::USER
        }
        Record::Cursors(cursors) => {
            put_cursors(out, cursors);
            kind::CURSORS
        }
        Record::Seen(seen) => {
            put_seen(out, seen);
            kind::SEEN
        }
        Record::Owed { user, device, change, conversation, version } => {
            put_bytes(out, user.as_bytes());
            put_u64(out, u64::from(*device));
            out.extend_from_slice(&change.to_le_bytes());
            out.extend_from_slice(conversation);
            put_u64(out, *version);
            kind::OWED
        }
        Record::Stored { row, position, change, head } => {
            put_key(out, row);
            put_u64(out, position.0);
            out.extend_from_slice(&change.to_le_bytes());
            put_u64(out, *head);
            kind::STORED
        }
        Record::Bound { versions, time_ms, reflects } => {
            [*versions, *time_ms, reflects.0].into_iter().for_each(|value| put_u64(out, value));
            kind::BOUND
        }
        Record::Generation { number, position } => {
            put_u64(out, u64::from(*number));
            put_u64(out, position.0);
            kind::GENERATION
        }
        Record::Enter(enter) => {
            out.extend_from_slice(&enter.conversation);
            out.extend_from_slice(&enter.change.to_le_bytes());
            put_u64(out, enter.base);
            put_u64(out, enter.version);
            kind::ENTER
        }
        Record::Clock { time_ms, set_s } => {
            put_u64(out, *time_ms);
            put_u64(out, u64::from(*set_s));
            kind::CLOCK
        }
        Record::Gone(row) => {
            put_key(out, row);
            kind::GONE
        }
    }
}

fn put_key(out: &mut Vec<u8>, row: &RowKey) {
    match row {
        RowKey::User(name) => {
            out.push(1);
            put_bytes(out, name.as_bytes());
        }
        RowKey::Device(name, device) => {
            out.push(2);
            put_bytes(out, name.as_bytes());
            put_u64(out, u64::from(*device));
        }
        RowKey::Conversation(id) => {
            out.push(3);
            out.extend_from_slice(id);
        }
        // No record is about one; a reader refuses it.
        RowKey::Member(..) => out.push(4),
    }
}

fn put_ranges(out: &mut Vec<u8>, ranges: &[(u64, u64)]) {
    put_u64(out, ranges.len() as u64);
    for &(from, to) in ranges {
        put_u64(out, from);
        put_u64(out, to);
    }
}

fn put_lacked(out: &mut Vec<u8>, lacked: &[Lacked]) {
    put_u64(out, lacked.len() as u64);
    for lacked in lacked {
        put_u64(out, u64::from(lacked.member));
        put_ranges(out, &lacked.ranges);
    }
}

fn put_mailbox(out: &mut Vec<u8>, mailbox: &Mailbox<'_>) {
    out.extend_from_slice(&mailbox.conversation);
    out.extend_from_slice(&mailbox.change.to_le_bytes());
    put_bytes(out, mailbox.user.as_bytes());
    put_u64(out, u64::from(mailbox.device));
    put_flag(out, mailbox.begins.is_some());
    match &mailbox.begins {
        Some(begins) => {
            put_u64(out, begins.acked);
            put_u64(out, begins.base);
            put_flag(out, begins.fresh);
        }
        None => {
            put_ranges(out, &mailbox.orphaned);
            put_u64(out, mailbox.version);
        }
    }
}

fn put_user(out: &mut Vec<u8>, user: &User<'_>) {
    put_bytes(out, user.name.as_bytes());
    out.extend_from_slice(&user.change.to_le_bytes());
    match user.what {
        UserChange::Device(fit) => {
            out.push(1);
            put_u64(out, u64::from(fit.device));
            put_flag(out, fit.begins);
        }
        UserChange::Fitted => out.push(2),
        UserChange::Block { name, off } => {
            out.push(3);
            put_bytes(out, name.as_bytes());
            put_flag(out, off);
        }
    }
}

fn put_cursors(out: &mut Vec<u8>, cursors: &Cursors) {
    out.extend_from_slice(&cursors.conversation);
    put_u64(out, cursors.members.len() as u64);
    for moved in &cursors.members {
        put_u64(out, u64::from(moved.member));
        moved.progress.iter().for_each(|&value| put_u64(out, value));
        put_u64(out, moved.cursors.len() as u64);
        for &(device, acked, fresh) in &moved.cursors {
            put_u64(out, u64::from(device) << 1 | u64::from(fresh));
            put_u64(out, acked);
        }
        put_u64(out, moved.forget);
    }
}

fn put_seen(out: &mut Vec<u8>, seen: &Seen<'_>) {
    put_bytes(out, seen.user.as_bytes());
    put_u64(out, u64::from(seen.device));
    put_u64(out, u64::from(seen.seen_s));
    put_flag(out, seen.receives);
    put_u64(out, seen.receipts);
    put_u64(out, seen.confirmed.upto);
    put_ranges(out, &seen.confirmed.also);
}
