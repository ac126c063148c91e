//! Records of a conversation's row other than messages.

use wire::types::SkipReason;

use crate::ids::MemberIndex;
use crate::names::Names;
use crate::records::{Cursors, Floor, Lost, Mailbox};
use crate::rows::{Conversation, Member, SkipRange};

/// A device's mailbox begins or ends.
pub fn mailbox(row: &mut Conversation, names: &Names, record: &Mailbox<'_>) {
    row.changes = record.change;
    let Some(user) = names.find(record.user) else { return };
    for place in 0..row.members.len() {
        let Some(member) = row.member_mut(MemberIndex::new(place)) else { continue };
        if member.user != user || !member.admits(record.device) {
            continue;
        }
        match record.begins {
            Some(begins) => member.begin_mailbox(record.device, begins.acked, begins.base, begins.fresh),
            None => {
                member.end_mailbox(record.device);
                for &(from, to) in &record.orphaned {
                    member.skip(SkipRange { from, to, reason: SkipReason::Expired, version: record.version });
                }
            }
        }
    }
}

/// Everything below the floor is dropped. Whoever lacks some of it gets a skip derived from its cursor; that it will never
/// reach a user at all is noted for the authors.
pub fn floor(row: &mut Conversation, record: &Floor) {
    row.changes = record.change;
    if record.floor <= row.floor || record.floor > row.head + 1 {
        return;
    }
    (row.floor, row.floor_reason) = (record.floor, record.reason);
    for member in row.members.iter_mut().flatten() {
        lack(member, (1, record.floor - 1), record.reason, record.version);
    }
}

/// Messages cannot be read any more.
pub fn lost(row: &mut Conversation, record: &Lost) {
    row.changes = record.change;
    for member in row.members.iter_mut().flatten() {
        for &range in &record.ranges {
            lack(member, range, SkipReason::Lost, record.version);
        }
    }
}

/// Notes what of a range no device of the member has. A cursor passes its user's own messages, so the message above the
/// highest cursor is one that the user lacks.
fn lack(member: &mut Member, (from, to): (u64, u64), reason: SkipReason, version: u64) {
    let acked = member.cursors.iter().filter(|cursor| cursor.device != 0).map(|cursor| cursor.acked).max();
    let from = from.max(acked.unwrap_or(0).max(member.delivered) + 1);
    if from <= to {
        member.skip(SkipRange { from, to, reason, version });
    }
}

/// Lazy: cursors and receipts rise.
pub fn cursors(row: &mut Conversation, record: &Cursors) {
    for moved in &record.members {
        let Some(member) = row.members.get_mut(moved.member as usize).and_then(Option::as_mut) else { continue };
        let Member { delivered, read, version, read_version, owed, .. } = member;
        for (ours, theirs) in [delivered, read, version, read_version, owed].into_iter().zip(moved.progress) {
            *ours = theirs.max(*ours);
        }
        for &(device, acked, fresh) in &moved.cursors {
            if let Some(cursor) = member.cursor_mut(device) {
                cursor.acked = cursor.acked.max(acked);
                cursor.fresh &= fresh;
            }
        }
        member.forget_skips(moved.forget);
    }
}
