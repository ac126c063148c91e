//! A message, or a change of a group, takes its number in a conversation.

use super::group;
use crate::ids::MemberIndex;
use crate::names::Names;
use crate::records::Message;
use crate::rows::{Conversation, SkipRange};
use wire::types::SkipReason;

/// Applies a message. Its author's device needs no copy: the cursor passes it if it stands directly before it. The cursor of a
/// user from whom it is withheld does not: that user is told a skip first. `author`: the author's place among the members; it does
/// not matter for a change of a group. Gives who came and went by such a change.
pub fn message(
    row: &mut Conversation,
    names: &mut Names,
    record: &Message<'_>,
    author: Option<MemberIndex>,
) -> group::Moved {
    let message = &record.message;
    let seq = message.seq;
    row.changes = record.change;
    row.head = row.head.max(seq);
    let extra = record.extra.as_deref();
    for &place in extra.map_or(&[][..], |extra| &extra.dropped) {
        if let Some(member) = row.members.get_mut(place as usize).and_then(Option::take) {
            names.release(member.user);
        }
    }
    if let Some(change) = &message.change {
        return group::change(row, names, (seq, message.sender), change, extra);
    }
    if let Some(member) = author.and_then(|author| row.member_mut(author)) {
        let passes = |upto: &u64| upto.checked_add(1) == Some(seq);
        // The cursor of the author's device passes the message if it stands directly before it.
        if let Some(cursor) = member.cursor_mut(record.device()).filter(|cursor| passes(&cursor.acked)) {
            cursor.acked = seq;
        }
        // What a user wrote itself it has.
        if passes(&member.delivered) {
            member.delivered = seq;
        }
    }
    if record.withheld {
        for place in (0..row.members.len()).map(MemberIndex::new).filter(|&index| Some(index) != author) {
            if let Some(member) = row.member_mut(place) {
                member.withhold(seq);
            }
        }
    }
    for &place in extra.map_or(&[][..], |extra| &extra.bodiless) {
        let version = extra.map_or(0, |extra| extra.version);
        if let Some(member) = row.members.get_mut(place as usize).and_then(Option::as_mut) {
            member.skip(SkipRange { from: seq, to: seq, reason: SkipReason::NoBody, version });
        }
    }
    group::Moved::default()
}
