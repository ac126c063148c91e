//! Records of a conversation's row other than messages.

use smallvec::SmallVec;
use wire::types::SkipReason;

use crate::ids::MemberIndex;
use crate::records::{Cursors, Enter, Floor, Lacked, Lost, Mailbox};
use crate::rows::{Conversation, Member, SkipRange};

/// A device's mailbox begins or ends. `member`: the place of its user.
pub fn mailbox(row: &mut Conversation, member: Option<MemberIndex>, record: &Mailbox<'_>) {
    row.changes = record.change;
    let Some(member) = member.and_then(|index| row.member_mut(index)) else { return };
    match record.begins {
        Some(begins) => member.begin_mailbox(record.device, begins.acked, begins.base, begins.fresh),
        None => {
            member.end_mailbox(record.device);
            for &(from, to) in &record.orphaned {
                member.skip(SkipRange { from, to, reason: SkipReason::Expired, version: record.version });
            }
        }
    }
    if !record.orphaned.is_empty() {
        row.owe_all(record.version);
    }
}

/// Everything below the floor is dropped. A mailbox that lacks some of it derives a skip from its cursor; what no mailbox of a
/// user has is noted for the authors. In a group a mailbox that lost something begins again with a snapshot.
pub fn floor(row: &mut Conversation, record: &Floor) {
    row.changes = record.change;
    if record.floor <= row.floor || record.floor > row.head.saturating_add(1) {
        return;
    }
    (row.floor, row.floor_reason) = (record.floor, record.reason);
    let kept = row.lost.iter().filter(|range| range.1 >= record.floor);
    row.lost = kept.map(|&(from, to)| (from.max(record.floor), to)).collect();
    skip(row, &[(1, record.floor - 1)], record.reason, record.version, &record.lacked);
}

/// Messages cannot be read any more.
pub fn lost(row: &mut Conversation, record: &Lost) {
    row.changes = record.change;
    row.lost.extend(&record.ranges);
    row.lost.sort_unstable();
    row.lost.dedup_by(|next, last| {
        let touches = next.0 <= last.1.saturating_add(1);
        if touches {
            last.1 = last.1.max(next.1);
        }
        touches
    });
    skip(row, &record.ranges, SkipReason::Lost, record.version, &record.lacked);
}

fn skip(row: &mut Conversation, ranges: &[(u64, u64)], reason: SkipReason, version: u64, lacked: &[Lacked]) {
    let Some(&(_, last)) = ranges.last() else { return };
    let group = row.group.is_some();
    for member in row.members.iter_mut().flatten() {
        ranges.iter().for_each(|&range| lack(member, range, reason, version));
        if group {
            let to = member.to;
            member
                .cursors
                .iter_mut()
                .filter(|cursor| cursor.acked < last.min(to))
                .for_each(|cursor| cursor.fresh = true);
        }
    }
    for Lacked { member, ranges } in lacked {
        let Some(member) = row.members.get_mut(*member as usize).and_then(Option::as_mut) else { continue };
        ranges.iter().for_each(|&(from, to)| member.skip(SkipRange { from, to, reason, version }));
    }
    row.owe_all(version);
}

/// Notes what of a range no device of the member vouches for. A cursor passes its user's own messages, so the message above
/// the highest cursor is one that the user lacks.
fn lack(member: &mut Member, (from, to): (u64, u64), reason: SkipReason, version: u64) {
    let devices = member.cursors.iter().filter(|cursor| cursor.device != 0 && cursor.base < cursor.acked);
    let mut had: SmallVec<[(u64, u64); 4]> =
        devices.map(|cursor| (cursor.base.saturating_add(1), cursor.acked)).collect();
    had.sort_unstable();
    let mut from = from.max(member.delivered.saturating_add(1));
    for (first, last) in had {
        let until = to.min(first - 1);
        if from <= until {
            member.skip(SkipRange { from, to: until, reason, version });
        }
        from = from.max(last.saturating_add(1));
    }
    if from <= to {
        member.skip(SkipRange { from, to, reason, version });
    }
}

/// The conversation goes on above the base of a generation. Current members will never have what may have been numbered
/// between; mailboxes that have everything go on with the new numbers, those of a group with a snapshot.
pub fn enter(row: &mut Conversation, record: &Enter) {
    row.changes = record.change;
    let (head, base) = (row.head, record.base);
    if base <= head {
        return;
    }
    let lowest = row.lowest().unwrap_or(head);
    row.gaps.retain(|gap| gap.1 > lowest);
    match row.gaps.last_mut().filter(|gap| gap.1 == head) {
        Some(gap) => gap.1 = base,
        None => row.gaps.push((head + 1, base)),
    }
    row.head = base;
    let range = SkipRange { from: head + 1, to: base, reason: SkipReason::Lost, version: record.version };
    for member in row.members.iter_mut().flatten().filter(|member| member.is_current()) {
        member.skip(range);
        for cursor in &mut member.cursors {
            cursor.acked = if cursor.acked >= head { base } else { cursor.acked };
            cursor.fresh |= row.group.is_some();
        }
        member.delivered = if member.delivered >= head { base } else { member.delivered };
    }
    if let Some(group) = &mut row.group {
        // A snapshot that is as new as anything that was lost.
        group.seq = base;
    }
    row.owe_all(record.version);
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
