//! What a mailbox gets next, derived from its cursor: messages in the order of their numbers, and skips for messages that the
//! mailbox will never get (I3).
//!
//! # Rules
//! - A message is served when it is durable. A skip or a snapshot is served when the record that it follows from is durable.
//! - Each message between the cursor and the last item is served as itself or as a skip, unless it is not addressed to the
//!   mailbox. So an acknowledgement of the last item claims nothing that the device was not given.

use crate::active::Active;
use crate::ids::{MemberIndex, Place};
use crate::lazy::Mailbox;
use crate::rows::{Cursor, Member};
use crate::state::State;
use wire::types::SkipReason;

/// Most messages that one step looks at.
const LOOKS: usize = 1024;

/// What a mailbox gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Item {
    /// The group as it is; before the next of the others for a mailbox that is new, or that lost messages.
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
    /// The highest number that an acknowledgement of it covers; 0: none.
    pub fn end(&self) -> u64 {
        match *self {
            Self::Snapshot => 0,
            Self::Message { seq, .. } => seq,
            Self::Skip { to, .. } => to,
        }
    }
}

/// A step of serving a mailbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// This comes next.
    Item(Item),
    /// Nothing up to here is for the mailbox; to be asked again from there on.
    Pass(u64),
    /// There is no more, until something else is durable.
    Nothing,
}

impl State {
    /// What a mailbox gets after message `after`, or after what it acknowledged if that is more. `shown`: it was given the
    /// group's snapshot, and lost nothing since.
    pub fn next(&self, at: Mailbox, after: u64, shown: bool) -> Next {
        let found = self.conversation(at.slot).and_then(|active| {
            let member = active.row.member(at.member)?;
            Some((active, member, member.cursor(at.device)?))
        });
        let Some((active, member, cursor)) = found else { return Next::Nothing };
        let durable = active.skipped <= self.synced;
        let next = active.step((at.member, member, cursor), after.max(cursor.acked), durable);
        // A former member has no claim to the group as it is now.
        if !cursor.fresh || shown || !member.is_current() || !matches!(next, Next::Item(_)) {
            return next;
        }
        if active.changed <= self.synced { Next::Item(Item::Snapshot) } else { Next::Nothing }
    }
}

impl Active {
    /// The next message or skip after `after`. `durable`: the last floor and the last loss are.
    fn step(&self, (index, member, cursor): (MemberIndex, &Member, &Cursor), after: u64, durable: bool) -> Next {
        let last = self.visible.min(member.to);
        let below = self.row.floor - 1;
        if after < below {
            if !durable {
                return Next::Nothing;
            }
            let mut lost = member.intervals().map(|(from, to)| (from.max(after + 1), to.min(below).min(last)));
            if let Some((from, to)) = lost.find(|(from, to)| from <= to) {
                return Next::Item(Item::Skip { from, to, reason: self.row.floor_reason });
            }
        }
        let after = after.max(below);
        let mut passed = after;
        let mut skip: Option<(u64, u64, SkipReason)> = None;
        for (seq, entry) in self.entries.from(after + 1).take_while(|(seq, _)| *seq <= last).take(LOOKS) {
            let reason = if !member.sees(seq) {
                None
            } else if entry.withheld && !entry.is_by(index) {
                Some(SkipReason::Blocked)
            } else if !self.is_for(entry, seq, index, cursor.device) {
                None
            } else if entry.is_lost() {
                if !durable {
                    break;
                }
                Some(SkipReason::Lost)
            } else if !self.has_body(member, cursor.device, seq) {
                Some(SkipReason::NoBody)
            } else {
                if skip.is_none() {
                    return Next::Item(Item::Message { seq, place: entry.place });
                }
                break;
            };
            match (&mut skip, reason) {
                (Some((_, to, before)), Some(reason)) if *to + 1 == seq && *before == reason => *to = seq,
                (Some(_), _) => break,
                (None, Some(reason)) => skip = Some((seq, seq, reason)),
                (None, None) => passed = seq,
            }
        }
        match skip {
            Some((from, to, reason)) => Next::Item(Item::Skip { from, to, reason }),
            None if passed > after => Next::Pass(passed),
            None => Next::Nothing,
        }
    }
}
