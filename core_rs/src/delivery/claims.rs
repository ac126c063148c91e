//! What a user is known to have, and what it will never have: the two that a sender is told (I7).
//!
//! `delivered` is cumulative, so it passes a message only when some device of the user acknowledged it, or when a skip says
//! that it never will. Three things make that less than the highest acknowledgement: a device that got no body of its own,
//! a device that came when others still lacked something, and a device that went before it collected what was its.

use smallvec::SmallVec;

use super::Delivery;
use super::conversation::{Conversation, Cursor, Member, SkipRange};
use crate::engine::directory::Directory;
use crate::wire::types::SkipReason;

/// Indices of members, each once.
pub(super) type Authors = SmallVec<[u32; 8]>;

impl Delivery {
    /// Raises what a member's user is known to have, and tells the others; before messages are let go. In a group, that
    /// is those who wrote what is newly covered.
    pub(super) fn raise(&mut self, dir: &Directory, slot: u32, index: usize) {
        let Self { conversations, version, effects, held_from_s, .. } = self;
        let Some(conversation) = conversations.get_mut(slot as usize) else { return };
        let Some(claim) = conversation.claim(index) else { return };
        let before = *version;
        let claim = conversation.pass_withheld(index, claim, *held_from_s, version);
        if *version > before {
            effects.floors.push(slot);
        }
        let group = conversation.group.is_some();
        let heard = if group { conversation.heard(index, claim) } else { SmallVec::new() };
        let spoken = if group { !heard.is_empty() } else { conversation.spoken(index, claim) };
        let Some(member) = conversation.members.get_mut(index) else { return };
        if claim <= member.delivered {
            return;
        }
        member.delivered = claim;
        if !spoken {
            return;
        }
        *version += 1;
        member.version = *version;
        if group {
            self.announce(dir, slot, Some(index), &heard);
        } else {
            self.notify(dir, slot, index);
        }
    }

    /// Raises all members' claims.
    pub(super) fn raise_all(&mut self, dir: &Directory, slot: u32) {
        for index in 0..self.members(slot) {
            self.raise(dir, slot, index);
        }
    }

    /// Notes for a member that messages of the others will never reach it, where no device of it had them, and tells the
    /// others.
    pub(super) fn skip(&mut self, dir: &Directory, slot: u32, index: usize, seqs: &[u64], reason: SkipReason) {
        let Self { conversations, version, effects, .. } = self;
        let Some(conversation) = conversations.get_mut(slot as usize) else { return };
        let ranges = conversation.ranges(index, seqs);
        let Some(member) = conversation.members.get_mut(index) else { return };
        if ranges.is_empty() {
            return;
        }
        *version += 1;
        for (from, to) in ranges {
            member.skip(SkipRange { from, to, reason, version: *version });
        }
        conversation.mark.change();
        effects.floors.push(slot);
        if conversation.group.is_some() {
            let authors = conversation.authors(seqs.iter().copied(), index);
            self.announce(dir, slot, Some(index), &authors);
        } else {
            self.notify(dir, slot, index);
        }
    }

    /// After messages were found to be lost: who lacks them, and their authors, will be told. In a group there may have been
    /// changes among them.
    pub fn note_lost(&mut self, dir: &Directory, slot: u32) {
        let Some(conversation) = self.get(slot) else { return };
        let lost: Vec<u64> =
            (conversation.first..).zip(&conversation.entries).filter(|e| e.1.lost()).map(|e| e.0).collect();
        let Some(&last) = lost.last() else { return };
        for index in 0..self.members(slot) {
            let Some(conversation) = self.get_mut(slot) else { return };
            conversation.refresh(index, last, None);
            let lacked = |&seq: &u64| conversation.lacks(index, seq);
            let seqs: Vec<u64> = lost.iter().copied().filter(lacked).collect();
            self.skip(dir, slot, index, &seqs, SkipReason::Lost);
        }
    }

    /// After damage: whatever stood below `first` may have reached nobody.
    pub fn lose_below(&mut self, dir: &Directory, slot: u32, first: u64) {
        for index in 0..self.members(slot) {
            self.version += 1;
            let version = self.version;
            let Some(member) = self.get_mut(slot).and_then(|c| c.members.get_mut(index)) else { continue };
            member.skip(SkipRange { from: 1, to: first - 1, reason: SkipReason::Lost, version });
            self.notify(dir, slot, index);
        }
    }

    /// After a message with a body per device: members who have none on any device will never have it.
    pub fn note_bodiless(&mut self, dir: &Directory, slot: u32, seq: u64) {
        for index in 0..self.members(slot) {
            let Some(conversation) = self.get(slot) else { return };
            let Some(member) = conversation.members.get(index) else { continue };
            let served = member.cursors.iter().any(|c| conversation.has_body(seq, member.user, c.device));
            if !served && conversation.lacks(index, seq) {
                self.skip(dir, slot, index, &[seq], SkipReason::NoBody);
            }
        }
    }

    /// After a device of a member went: what only it would have had will never reach the user.
    pub(super) fn note_orphaned(&mut self, dir: &Directory, slot: u32, index: usize, gone: Cursor) {
        let Some(conversation) = self.get(slot) else { return };
        let Some(member) = conversation.members.get(index) else { return };
        let user = member.user;
        // A mailbox that waits for a device has had nothing.
        let gets = |c: &Cursor, seq| c.base < seq && (c.device != 0 || c.acked < seq);
        let coming = |seq| member.cursors.iter().any(|c| gets(c, seq) && conversation.has_body(seq, user, c.device));
        let had = |seq| gone.base < seq && seq <= gone.acked && conversation.has_body(seq, user, gone.device);
        let range = conversation.first.max(member.delivered + 1)..=conversation.head;
        let orphaned = |&seq: &u64| conversation.lacks(index, seq) && !coming(seq) && !had(seq);
        let seqs: Vec<u64> = range.filter(orphaned).collect();
        let hidden = member.withheld().first().map_or(u64::MAX, |range| range.from);
        let resolved = member.cursors.iter().map(|c| c.base).min().unwrap_or(0).min(hidden - 1);
        self.skip(dir, slot, index, &seqs, SkipReason::Expired);
        if let Some(member) = self.get_mut(slot).and_then(|c| c.members.get_mut(index))
            && resolved > member.delivered
        {
            member.delivered = resolved;
            self.version += 1;
            let version = self.version;
            if let Some(member) = self.get_mut(slot).and_then(|c| c.members.get_mut(index)) {
                member.version = version;
            }
            self.notify(dir, slot, index);
        }
        self.raise(dir, slot, index);
    }

    fn members(&self, slot: u32) -> usize {
        self.get(slot).map_or(0, |c| c.members.len())
    }
}

impl Conversation {
    /// Whether the message is somebody else's and no device of the member has acknowledged it.
    pub(super) fn lacks(&self, index: usize, seq: u64) -> bool {
        let Some(member) = self.members.get(index) else { return false };
        let theirs = self.entry(seq).is_some_and(|e| usize::from(e.author) != index && !e.withheld_from(index));
        let has =
            |c: &Cursor| c.device != 0 && c.base < seq && seq <= c.acked && self.has_body(seq, member.user, c.device);
        theirs && seq > member.delivered && !member.cursors.iter().any(has)
    }

    /// Messages as ranges; the member's own that stand between two of them make no gap. Those that it was noted to lack
    /// before are left out, and those outside its interval.
    fn ranges(&self, index: usize, seqs: &[u64]) -> Vec<(u64, u64)> {
        let Some(member) = self.members.get(index) else { return Vec::new() };
        let own = |seq| self.entry(seq).is_some_and(|e| usize::from(e.author) == index);
        let mut ranges: Vec<(u64, u64)> = Vec::new();
        for &seq in seqs.iter().filter(|&&seq| member.sees(seq) && !member.skips(seq)) {
            match ranges.last_mut() {
                Some(last) if (last.1 + 1..seq).all(own) => last.1 = seq,
                _ => ranges.push((seq, seq)),
            }
        }
        ranges
    }

    /// The last message of the others that no device of the member vouches for yet; 0: there is none.
    pub(super) fn unvouched(&self, index: usize) -> u64 {
        let delivered = self.members.get(index).map_or(0, |m| m.delivered);
        let theirs = |seq: &u64| self.entry(*seq).is_some_and(|e| usize::from(e.author) != index);
        (self.first.max(delivered + 1)..=self.head).rev().find(theirs).unwrap_or(0)
    }

    /// How far a user's devices have everything, truthfully: a device vouches for nothing that was said before it came,
    /// until the others have that, and a device without a body of its own for nothing from there on, while another device
    /// of the user waits for its body of somebody else's message. `None`: no farther than is known.
    fn claim(&self, index: usize) -> Option<u64> {
        let member = self.members.get(index)?;
        let vouched = |cursor: &Cursor, known: u64| {
            let mut upto = cursor.acked;
            for (&seq, who) in self.bodies.iter().flat_map(|b| b.iter()) {
                let waits = |c: &Cursor| c.base < seq && who.contains(&(member.user, c.device));
                let theirs = self.entry(seq).is_some_and(|e| usize::from(e.author) != index);
                let other = theirs && member.cursors.iter().any(waits) && !waits(cursor);
                if other && seq > known && seq <= upto {
                    upto = seq - 1;
                }
            }
            upto
        };
        let mut claim = member.delivered;
        loop {
            // What is gone was acknowledged by all, or its loss was told.
            let known = claim.max(self.first - 1);
            let devices = member.cursors.iter().filter(|c| c.device != 0 && c.base <= known);
            let next = devices.map(|c| vouched(c, claim)).max().unwrap_or(0);
            if next <= claim {
                return (claim > member.delivered).then_some(claim);
            }
            claim = next;
        }
    }

    /// Whether somebody else's message is among those newly covered by `claim`.
    fn spoken(&self, member: usize, claim: u64) -> bool {
        let Some(delivered) = self.members.get(member).map(|m| m.delivered) else { return false };
        let from = self.first.max(delivered + 1);
        let others = |seq| self.entry(seq).is_some_and(|e| usize::from(e.author) != member && !e.withheld_from(member));
        claim > delivered && (from..=claim).any(others)
    }

    /// Who wrote what `claim` newly covers.
    fn heard(&self, index: usize, claim: u64) -> Authors {
        let Some(member) = self.members.get(index) else { return Authors::new() };
        let from = self.first.max(member.delivered + 1);
        self.authors((from..=claim).filter(|&seq| member.sees(seq)), index)
    }

    /// Who wrote these messages, the member `index` aside: indices of members.
    pub(super) fn authors(&self, seqs: impl Iterator<Item = u64>, index: usize) -> Authors {
        let mut authors = Authors::new();
        for author in seqs.filter_map(|seq| self.entry(seq)).map(|e| u32::from(e.author)) {
            if author != u32::from(u16::MAX) && author as usize != index && authors.last() != Some(&author) {
                authors.push(author);
            }
        }
        if authors.len() > 1 {
            authors.sort_unstable();
            authors.dedup();
        }
        authors
    }

    /// What of a claim may be made, seeing that messages were withheld. To their author they look like messages that wait on
    /// a device of the user which is away: nothing from there on is delivered until they would have expired, accepted before
    /// `held_from_s`, and the user has a later one; and first the author is told that they did.
    fn pass_withheld(&mut self, index: usize, claim: u64, held_from_s: u32, version: &mut u64) -> u64 {
        let hidden = |member: &Member| member.withheld().first().map(|range| range.from).filter(|from| *from <= claim);
        let Some(member) = self.members.get(index).filter(|member| hidden(member).is_some()) else { return claim };
        let open =
            |seq: &u64| self.entry(*seq).is_some_and(|e| usize::from(e.author) != index && !e.withheld_from(index));
        let heard = (self.first.max(member.delivered + 1)..=claim).rev().find(open).unwrap_or(0);
        let Some(member) = self.members.get_mut(index) else { return claim };
        for range in member.take_withheld(heard, held_from_s) {
            *version += 1;
            let (from, to, reason) = (range.from, range.to, SkipReason::Expired);
            member.skip(SkipRange { from, to, reason, version: *version });
        }
        hidden(member).map_or(claim, |from| from - 1)
    }
}
