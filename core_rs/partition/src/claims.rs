//! What a user is known to have, and what it lacks for good. Authors learn both through receipts and skips (I7).
//!
//! `delivered` is cumulative, so it passes a message only when a device of the user vouches for the message, or when a skip covers
//! it. Three cases make that less than the highest acknowledgement: a device without a body of its own, a device that began when
//! other devices of the user still lacked messages, and a device that ended before it collected its messages.

use smallvec::SmallVec;

use crate::active::Active;
use crate::entries::Entry;
use crate::ids::{DeviceId, MemberIndex};
use crate::rows::{Cursor, Member};

/// Ranges of messages, in order, which do not touch.
pub type Ranges = SmallVec<[(u64, u64); 1]>;

/// What a message is to a member's user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Has {
    /// Its own, or outside its intervals.
    NotForIt,
    /// Withheld from it.
    Withheld,
    /// Noted as a skip.
    Skipped,
    /// A device vouches for it.
    Yes,
    /// No device does.
    No,
}

impl Active {
    /// How far a user has everything, truthfully. What is withheld is passed only together with a later message that the user
    /// has: until then its author is told nothing.
    pub fn claim(&self, index: MemberIndex) -> u64 {
        let Some(member) = self.row.member(index) else { return 0 };
        let devices = member.cursors.iter().filter(|cursor| cursor.device != 0);
        // Without a device nobody vouches for anything, not even for what is gone.
        let Some(top) = devices.map(|cursor| cursor.acked).max() else { return member.delivered };
        let top = top.min(self.visible);
        let mut claim = member.delivered;
        let first = self.entries.first();
        if claim >= top && claim + 1 >= first {
            return claim;
        }
        let mut hidden = false;
        if first > claim + 1 {
            // What is gone was acknowledged by all, or its loss was noted.
            let gone = member.withheld().iter().find(|range| range.1 > claim && range.0 < first);
            hidden = gone.is_some();
            claim = gone.map_or(first - 1, |range| range.0 - 1).max(claim);
        }
        for (seq, entry) in self.entries.from(first.max(member.delivered + 1)).take_while(|(seq, _)| *seq <= top) {
            // Numbers that were given to none are passed with what lies before them.
            claim = if hidden { claim } else { claim.max(seq - 1) };
            match self.has(member, index, (seq, entry), 0) {
                Has::No => return claim,
                Has::Withheld => hidden = true,
                Has::Yes => hidden = false,
                Has::NotForIt | Has::Skipped => {}
            }
            if !hidden {
                claim = seq;
            }
        }
        if hidden { claim } else { claim.max(top) }
    }

    /// The messages among `from..=to` that are the user's to have, and that no device of it has; those that were noted before,
    /// or that `served` says are provided for, are left out. The device `gone` does not count.
    pub fn lacked(
        &self,
        index: MemberIndex,
        (from, to): (u64, u64),
        gone: DeviceId,
        served: impl Fn(&Cursor, u64) -> bool,
    ) -> Ranges {
        let mut ranges = Ranges::new();
        let Some(member) = self.row.member(index) else { return ranges };
        let entries = self.entries.from(from.max(member.delivered + 1)).take_while(|&(seq, _)| seq <= to);
        for (seq, _) in entries.filter(|&found| self.has(member, index, found, gone) == Has::No) {
            if member.cursors.iter().any(|cursor| served(cursor, seq)) {
                continue;
            }
            match ranges.last_mut() {
                Some(last) if last.1 + 1 == seq => last.1 = seq,
                _ => ranges.push((seq, seq)),
            }
        }
        ranges
    }

    /// The last message of others that no device of the user has; 0: there is none. A new mailbox of the user vouches for
    /// nothing up to there.
    pub fn unvouched(&self, index: MemberIndex) -> u64 {
        let Some(member) = self.row.member(index) else { return 0 };
        let lacks = |&found: &(u64, &Entry)| matches!(self.has(member, index, found, 0), Has::No | Has::Withheld);
        self.entries.from(member.delivered + 1).rev().find(lacks).map_or(0, |(seq, _)| seq)
    }

    /// Members among the authors of `from..=to`, without the one at `index`; places in ascending order. Members who left are
    /// none, nor are authors of messages that the member was not there for.
    pub fn authors(&self, index: MemberIndex, from: u64, to: u64) -> SmallVec<[MemberIndex; 8]> {
        let mut authors = SmallVec::new();
        let Some(member) = self.row.member(index) else { return authors };
        for (seq, entry) in self.entries.from(from).take_while(|&(seq, _)| seq <= to) {
            let author = MemberIndex::new(usize::from(entry.author));
            let current = self.row.member(author).is_some_and(Member::is_current);
            if author != index && current && !entry.withheld && member.sees(seq) && authors.last() != Some(&author) {
                authors.push(author);
            }
        }
        authors.sort_unstable();
        authors.dedup();
        authors
    }

    /// Whether a mailbox gets a body of a message, or got one.
    pub fn has_body(&self, member: &Member, device: DeviceId, seq: u64) -> bool {
        self.entries.has_body(seq, member.user, device)
    }

    fn has(&self, member: &Member, index: MemberIndex, (seq, entry): (u64, &Entry), gone: DeviceId) -> Has {
        if entry.is_by(index) || !member.sees(seq) {
            return Has::NotForIt;
        }
        if entry.withheld {
            return Has::Withheld;
        }
        if member.skips_seq(seq) {
            return Has::Skipped;
        }
        let vouches = |cursor: &Cursor| {
            let passed = cursor.device != 0 && cursor.device != gone && cursor.base < seq && seq <= cursor.acked;
            passed && self.has_body(member, cursor.device, seq)
        };
        if member.cursors.iter().any(vouches) { Has::Yes } else { Has::No }
    }
}
