//! What a device learns about the other members of a conversation when it attaches: how far they are, and what they will never
//! get. It is derived from the row, for everything that changed since a receipt version (I7).
//!
//! # Rules
//! - A receipt that passes a skipped message comes after that skip.
//! - In a group a member is notified only of what is owed to it as an author, or of its own reading.
//! - A former member is notified of nothing.
//! - The caller holds the receipts until the position that was the newest when they were derived is durable.

use crate::ids::{ConversationSlot, MemberIndex};
use crate::rows::{Kind, SkipRange};
use crate::state::State;

/// One item of what a device learns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Receipt {
    /// A member will never get these messages.
    Skip(MemberIndex, SkipRange),
    /// A member is this far.
    Progress {
        /// Whose progress; the listener itself: another device of its user read something.
        member: MemberIndex,
        /// A device of the member has everything up to here, less the skips; 0: not reported.
        delivered: u64,
        /// The member has read up to here; 0: not reported.
        read: u64,
        /// The receipt version.
        version: u64,
    },
}

impl Receipt {
    /// The receipt version.
    pub fn version(&self) -> u64 {
        match self {
            Self::Skip(_, range) => range.version,
            Self::Progress { version, .. } => *version,
        }
    }
}

impl State {
    /// What changed in a conversation for a member since receipt version `since`, in the order of versions.
    pub fn receipts(&self, slot: ConversationSlot, listener: MemberIndex, since: u64) -> Vec<Receipt> {
        let mut receipts = Vec::new();
        let Some(active) = self.conversation(slot) else { return receipts };
        let Some(me) = active.row.member(listener).filter(|member| member.is_current()) else { return receipts };
        if active.row.kind == Kind::Group && me.owed <= since {
            return receipts;
        }
        for (index, member) in active.row.iter().filter(|(index, _)| *index != listener) {
            let skips = member.told_skips().filter(|range| range.version > since);
            receipts.extend(skips.map(|range| Receipt::Skip(index, range)));
            if member.version > since {
                // A read above what is delivered would reveal that something was withheld.
                let (delivered, read) = (member.delivered, member.read.min(member.delivered));
                receipts.push(Receipt::Progress { member: index, delivered, read, version: member.version });
            }
        }
        if me.read_version > since {
            let (read, version) = (me.read, me.read_version);
            receipts.push(Receipt::Progress { member: listener, delivered: 0, read, version });
        }
        receipts.sort_by_key(|receipt| (receipt.version(), matches!(receipt, Receipt::Progress { .. })));
        receipts
    }
}
