//! A message, or a change of a group, takes its number in a conversation.

use super::group;
use crate::ids::{DeviceId, MemberIndex};
use crate::names::Names;
use crate::records::Message;
use crate::rows::{Conversation, SkipRange};
use wire::types::SkipReason;

/// What whoever keeps track of the undelivered messages must know.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Applied {
    /// Place of the author among the members; `None`: no member.
    pub author: Option<MemberIndex>,
    /// Who came and went by it.
    pub moved: group::Moved,
}

/// Applies a message. Its author's device needs no copy: the cursor passes it if it stands directly before it. The cursor of a
/// user from whom it is withheld does not: that user is told a skip first.
pub fn message(row: &mut Conversation, names: &mut Names, record: &Message<'_>) -> Applied {
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
    let mut applied = Applied::default();
    if let Some(change) = &message.change {
        applied.moved = group::change(row, names, (seq, message.sender), change, extra);
    }
    let author = names.find(message.sender).and_then(|user| row.find(user, record.device()));
    applied.author = author;
    if message.change.is_none() {
        if let Some(author) = author {
            pass(row, author, record.device(), seq);
            // What a user wrote itself it has.
            if let Some(member) = row.member_mut(author).filter(|member| member.delivered.checked_add(1) == Some(seq)) {
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
    }
    for &place in extra.map_or(&[][..], |extra| &extra.bodiless) {
        let version = extra.map_or(0, |extra| extra.version);
        if let Some(member) = row.members.get_mut(place as usize).and_then(Option::as_mut) {
            member.skip(SkipRange { from: seq, to: seq, reason: SkipReason::NoBody, version });
        }
    }
    applied
}

/// The cursor of the author's device passes the message if it stands directly before it.
fn pass(row: &mut Conversation, author: MemberIndex, device: DeviceId, seq: u64) {
    let cursor = row.member_mut(author).and_then(|member| member.cursor_mut(device));
    if let Some(cursor) = cursor.filter(|cursor| cursor.acked.checked_add(1) == Some(seq)) {
        cursor.acked = seq;
    }
}
