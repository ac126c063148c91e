//! What a mailbox gets next, derived from its cursor: messages in the order of their numbers, and skips for messages that the
//! mailbox will never get (I3).
//!
//! # Rules
//! - A message is served when it is durable. A skip or a snapshot is served when the record that it follows from is durable.
//! - Each message between the cursor and the last item is served as itself or as a skip, unless it is not addressed to the
//!   mailbox. So an acknowledgement of the last item claims nothing that the device was not given.

use crate::active::Active;
use crate::ids::{ConversationSlot, DeviceId, MemberIndex, Place};
use crate::rows::{Cursor, Member};
use crate::state::State;
use wire::types::SkipReason;

/// What a mailbox gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Item {
    /// The group as it is; before the first of the others for a mailbox that is new, or that lost messages.
    Snapshot,
    /// A message, to be read from its place.
    Message {
        /// Its number.
        seq: u64,
        /// Where its record is.
        place: Place,
    },
    /// Messages that will never come.
    Skip {
        /// The first …
        from: u64,
        /// … and the last.
        to: u64,
        /// Why.
        reason: SkipReason,
    },
}

impl Item {
    fn is_skip(&self) -> bool {
        matches!(self, Self::Skip { .. })
    }

    /// The highest number that an acknowledgement of it covers; 0: none.
    pub fn end(&self) -> u64 {
        match *self {
            Self::Snapshot => 0,
            Self::Message { seq, .. } => seq,
            Self::Skip { to, .. } => to,
        }
    }
}

impl State {
    /// What a mailbox gets after message `after`, or after what it acknowledged if that is more: at most `most` items, none that
    /// is not durable.
    pub fn next(
        &self,
        slot: ConversationSlot,
        index: MemberIndex,
        device: DeviceId,
        after: u64,
        most: usize,
    ) -> Vec<Item> {
        let found = self.conversation(slot).and_then(|active| {
            let member = active.row.member(index)?;
            Some((active, member, member.cursor(device)?))
        });
        let Some((active, member, cursor)) = found else { return Vec::new() };
        let mut items = Vec::new();
        if cursor.fresh && active.changed > self.synced {
            return items;
        }
        active.serve((index, member, cursor), after.max(cursor.acked), active.skipped <= self.synced, most, &mut items);
        // First of all, or again before the skip that made the mailbox lose changes of the group.
        let first = if after <= cursor.acked { Some(0) } else { items.iter().position(Item::is_skip) };
        if let Some(place) = first.filter(|_| cursor.fresh && !items.is_empty()) {
            items.insert(place, Item::Snapshot);
        }
        items
    }
}

impl Active {
    /// `durable`: the last floor and the last loss are.
    fn serve(
        &self,
        (index, member, cursor): (MemberIndex, &Member, &Cursor),
        after: u64,
        durable: bool,
        most: usize,
        items: &mut Vec<Item>,
    ) {
        let last = self.visible.min(member.to);
        let below = self.row.floor - 1;
        if after < below {
            if !durable {
                return;
            }
            let lost = member.intervals().map(|(from, to)| (from.max(after + 1), to.min(below).min(last)));
            let reason = self.row.floor_reason;
            items.extend(lost.filter(|(from, to)| from <= to).map(|(from, to)| Item::Skip { from, to, reason }));
        }
        for (seq, entry) in self.entries.from(after.max(below) + 1).take_while(|(seq, _)| *seq <= last) {
            let reason = if !member.sees(seq) {
                continue;
            } else if entry.withheld && !entry.is_by(index) {
                SkipReason::Blocked
            } else if !self.is_for(entry, seq, index, cursor.device) {
                continue;
            } else if entry.is_lost() {
                if !durable {
                    return;
                }
                SkipReason::Lost
            } else if !self.has_body(member, cursor.device, seq) {
                SkipReason::NoBody
            } else {
                if items.len() >= most {
                    return;
                }
                items.push(Item::Message { seq, place: entry.place });
                continue;
            };
            let full = items.len() >= most;
            match items.last_mut() {
                Some(Item::Skip { to, reason: before, .. }) if *to + 1 == seq && *before == reason => *to = seq,
                _ if full => return,
                _ => items.push(Item::Skip { from: seq, to: seq, reason }),
            }
        }
    }
}
