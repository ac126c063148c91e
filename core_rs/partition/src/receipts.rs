//! What a device learns about the other members of a conversation when it attaches: how far they are, and what they will never
//! get. It is derived from the row, for everything that changed since a receipt version (I7).
//!
//! # Rules
//! - A receipt that passes a skipped message comes after that skip.
//! - In a group a member is notified only of what is owed to it as an author, or of its own reading.
//! - A former member is notified of nothing, and a member of nothing that concerns only messages outside its intervals.
//! - Receipts are derived from facts that are durable or lazy: a conversation whose latest skips are not durable is passed over.

use crate::active::Active;
use crate::ids::{ConversationSlot, DeviceId, MemberIndex, UserSlot};
use crate::index::{Step, Walk};
use crate::rows::{Conversation, Kind, SkipRange};
use crate::state::State;

/// Most conversations at rest that are loaded at once for a device that attaches.
const LOADS: usize = 16;

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

/// How far a visit of receipts has got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Visited {
    /// All were visited.
    All,
    /// The visitor had enough: the place of the member to go on with.
    From(usize),
    /// A record that noted skips is not durable yet: nothing was visited, to be asked again when it is.
    NotDurable,
}

impl State {
    /// Visits what changed in a conversation for a member since receipt version `since`, member by member from the place `from`
    /// on, until `visit` says that it has enough. What is reported of one member (at most one skip for each of its ranges and
    /// the listener's intervals, then its progress) is not divided.
    ///
    /// The order is that of the members: a listener has everything up to a version when all members were visited.
    pub fn receipts(
        &self,
        slot: ConversationSlot,
        listener: MemberIndex,
        since: u64,
        from: usize,
        mut visit: impl FnMut(Receipt) -> bool,
    ) -> Visited {
        let Some(active) = self.conversation(slot) else { return Visited::All };
        if active.skipped > self.synced {
            return Visited::NotDurable;
        }
        let Some(me) = active.row.member(listener).filter(|member| member.is_current()) else { return Visited::All };
        if active.row.kind == Kind::Group && me.owed <= since {
            return Visited::All;
        }
        let mut more = true;
        for (index, _) in active.row.iter().filter(|(index, _)| index.place() >= from) {
            if !more {
                return Visited::From(index.place());
            }
            active.receipts_of(listener, index, since, |receipt| more &= visit(receipt));
        }
        Visited::All
    }

    /// Where a pass over the conversations is that may have receipts above `told` for a device: those in memory, and those at
    /// rest that its row names, or all if there are too many. It has all of them when the pass is at its end, up to the version
    /// that was the last when the pass began.
    pub fn owing(&self, walk: &mut Walk, (user, device): (UserSlot, DeviceId), told: u64) -> Step {
        let row = self.device(user, device).map(|entry| &entry.row);
        match (walk.step(self, user, LOADS), row) {
            (Step::Page(_), Some(row)) if row.owed_all <= told => {
                let owed = row.owed.iter().filter(|owed| owed.version > told);
                walk.page(owed.map(|owed| owed.conversation).collect(), true);
                walk.step(self, user, LOADS)
            }
            (step, _) => step,
        }
    }

    /// The receipt version that every device of the current members has acknowledged, at most `enough`: skips up to it need not
    /// be known any more. A device whose row is at rest counts as having nothing, and so does one that never received, or the first
    /// one of a user that is still to come: it may begin to, and must not take what was skipped for delivered. Nobody is looked at behind one that has less than `least`.
    pub(crate) fn acknowledged(&self, row: &Conversation, least: u64, enough: u64) -> u64 {
        let mut told = enough;
        for (_, member) in row.iter().filter(|(_, member)| member.is_current()) {
            for cursor in &member.cursors {
                let entry = self.device(member.user, cursor.device).filter(|entry| entry.row.receives);
                told = told.min(entry.map_or(0, |entry| entry.row.receipts));
                if told < least {
                    return 0;
                }
            }
        }
        told
    }
}

impl Active {
    /// Visits what changed of a member since receipt version `since`, for the listener at a place.
    pub(crate) fn receipts_of(
        &self,
        listener: MemberIndex,
        index: MemberIndex,
        since: u64,
        mut visit: impl FnMut(Receipt),
    ) {
        let (Some(me), Some(member)) = (self.row.member(listener), self.row.member(index)) else { return };
        if index == listener {
            let (read, version) = (me.read, me.read_version);
            if version > since {
                visit(Receipt::Progress { member: index, delivered: 0, read, version });
            }
            return;
        }
        for range in member.told_skips().filter(|range| range.version > since) {
            for (from, to) in me.intervals().map(|(from, to)| (from.max(range.from), to.min(range.to))) {
                if from <= to {
                    visit(Receipt::Skip(index, SkipRange { from, to, ..range }));
                }
            }
        }
        // What was sent before it came is none of its own.
        let first = me.intervals().next().map_or(1, |interval| interval.0);
        if member.version > since && member.delivered >= first {
            // A read above what is delivered would reveal that something was withheld.
            let (delivered, read) = (member.delivered, member.read.min(member.delivered));
            visit(Receipt::Progress { member: index, delivered, read, version: member.version });
        }
    }
}
