//! A user in a conversation and its mailboxes: cursors, intervals, and what it will never have.
//!
//! Pure bookkeeping, like the conversation that they stand in.

use smallvec::SmallVec;

use super::conversation::NONE;
use crate::wire::types::SkipReason;

/// Ranges kept of what a user will never have; also of what was withheld from it, and intervals that are over.
const MAX_RANGES: usize = 256;
/// Intervals kept that are over, though nothing in them waits any more: who asks for an old message is told of them.
const OLD_INTERVALS: usize = 16;

#[cfg(test)]
thread_local! {
    /// How often a member was looked at: what is done for each of them shows here.
    pub static TOUCHED: std::cell::Cell<u64> = const { std::cell::Cell::new(0) };
}

#[inline(always)]
fn touch() {
    #[cfg(test)]
    TOUCHED.set(TOUCHED.get() + 1);
}

/// A mailbox's place in the conversation.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cursor {
    /// 0: the user has no device yet; the first one takes this place.
    pub device: u16,
    /// See [`mark`].
    pub marks: u8,
    /// Everything up to here is acknowledged.
    pub acked: u64,
    /// Everything up to here was written to the current receiver.
    pub sent: u64,
    /// When the device came, the last message that no device of its user had acknowledged: it vouches only for what
    /// follows, until the others have that (I7). 0: for everything.
    pub base: u64,
    /// Its place among the conversation's attached mailboxes, or [`NONE`].
    pub online: u32,
}

/// Bits of [`Cursor::marks`].
pub mod mark {
    /// Changed since it was last logged.
    pub const DIRTY: u8 = 1;
    /// The group's snapshot comes before its next message, until it acknowledged one that came behind.
    pub const FRESH: u8 = 2;
    /// Its session was written the snapshot.
    pub const SHOWN: u8 = 4;
}

impl Cursor {
    /// A mailbox that has everything up to `acked`.
    pub fn new(device: u16, acked: u64) -> Self {
        Self { device, marks: 0, acked, sent: acked, base: 0, online: NONE }
    }

    /// Whether a mark is set.
    pub fn is(&self, mark: u8) -> bool {
        self.marks & mark != 0
    }

    /// Sets a mark.
    pub fn set(&mut self, mark: u8) {
        self.marks |= mark;
    }

    /// Takes a mark away.
    pub fn unset(&mut self, mark: u8) {
        self.marks &= !mark;
    }
}

/// Messages that a member will never have on any device.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SkipRange {
    /// First.
    pub from: u64,
    /// Last.
    pub to: u64,
    /// Why.
    pub reason: SkipReason,
    /// Receipt version at which it came about.
    pub version: u64,
}

/// Messages that were withheld from a member, since it blocked their author.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Withheld {
    /// First.
    pub from: u64,
    /// Last.
    pub to: u64,
    /// When the last one was accepted, seconds since 1970.
    pub time_s: u32,
}

/// What most members have none of.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rare {
    /// What it will never have, until the authors know.
    pub skipped: Vec<SkipRange>,
    /// Intervals that are over, in order.
    pub earlier: Vec<(u64, u64)>,
    /// What was withheld from it, in order, until the author was told that it expired.
    pub withheld: Vec<Withheld>,
}

/// A user in the conversation.
#[derive(Clone, Debug)]
pub struct Member {
    /// Slot in the directory.
    pub user: u32,
    /// In a device conversation: its only device here; else 0.
    pub only: u16,
    /// Stands in the list of members that moved since they were last logged.
    pub listed: bool,
    /// Sees messages from this one on …
    pub from: u64,
    /// … up to this one; and those of earlier intervals.
    pub to: u64,
    /// The first of its devices has everything up to here that was not skipped.
    pub delivered: u64,
    /// Read up to here.
    pub read: u64,
    /// Receipt version of the latest change of `delivered`, `read` or what is skipped.
    pub version: u64,
    /// Receipt version of the latest change of `read`.
    pub read_version: u64,
    /// See [`Rare`].
    pub rare: Option<Box<Rare>>,
    /// Its mailboxes.
    pub cursors: SmallVec<[Cursor; 1]>,
}

impl Member {
    /// A member from message `from` on, without mailboxes yet.
    pub fn new(user: u32, only: u16, from: u64) -> Self {
        Self {
            user,
            only,
            listed: false,
            from,
            to: u64::MAX,
            delivered: 0,
            read: 0,
            version: 0,
            read_version: 0,
            rare: None,
            cursors: SmallVec::new(),
        }
    }

    /// The cursor of a device.
    pub fn cursor(&self, device: u16) -> Option<&Cursor> {
        touch();
        self.cursors.iter().find(|c| c.device == device)
    }

    /// The same, to change.
    pub fn cursor_mut(&mut self, device: u16) -> Option<&mut Cursor> {
        touch();
        self.cursors.iter_mut().find(|c| c.device == device)
    }

    /// Whether this is the member that a user's device belongs to.
    pub fn is(&self, user: u32, device: u16) -> bool {
        touch();
        self.user == user && self.admits(device)
    }

    /// Whether this device takes part.
    pub fn admits(&self, device: u16) -> bool {
        touch();
        self.only == 0 || self.only == device
    }

    /// Whether it is a member now.
    pub fn is_current(&self) -> bool {
        touch();
        self.to == u64::MAX
    }

    /// Whether it was a member, and has all that it was to get.
    pub fn is_gone(&self) -> bool {
        !self.is_current() && self.cursors.is_empty()
    }

    /// Whether a message lies in one of its intervals.
    pub fn sees(&self, seq: u64) -> bool {
        touch();
        let inside = |&(from, to): &(u64, u64)| from <= seq && seq <= to;
        inside(&(self.from, self.to)) || self.earlier().iter().any(inside)
    }

    /// The part above `seq` of the first interval that reaches there: its first message and its last.
    pub fn interval_above(&self, seq: u64) -> Option<(u64, u64)> {
        let current = [(self.from, self.to)];
        let above = |&(from, to): &(u64, u64)| (to > seq).then(|| (from.max(seq.saturating_add(1)), to));
        self.earlier().iter().chain(&current).find_map(above)
    }

    /// Intervals that are over, in order.
    pub fn earlier(&self) -> &[(u64, u64)] {
        self.rare.as_ref().map_or(&[], |rare| &rare.earlier)
    }

    /// What it will never have.
    pub fn skipped(&self) -> &[SkipRange] {
        touch();
        self.rare.as_ref().map_or(&[], |rare| &rare.skipped)
    }

    /// It is a member from message `seq` on.
    pub fn enter(&mut self, seq: u64) {
        if self.is_current() {
            return;
        }
        let over = (self.from, self.to);
        let lowest = self.cursors.iter().map(|c| c.acked).min().unwrap_or(u64::MAX);
        let earlier = &mut self.rare.get_or_insert_default().earlier;
        earlier.push(over);
        if earlier.len() > OLD_INTERVALS {
            earlier.retain(|interval| interval.1 > lowest);
        }
        if earlier.len() > MAX_RANGES {
            earlier.remove(0);
        }
        (self.from, self.to) = (seq, u64::MAX);
        self.tidy();
    }

    /// What was withheld from it.
    pub fn withheld(&self) -> &[Withheld] {
        touch();
        self.rare.as_ref().map_or(&[], |rare| &rare.withheld)
    }

    /// A message that was accepted at `time_s` is withheld from it. Of too many ranges the two oldest become one, as with
    /// [`Member::skip`].
    pub fn withhold(&mut self, seq: u64, time_s: u32) {
        let list = &mut self.rare.get_or_insert_default().withheld;
        match list.last_mut() {
            Some(last) if seq <= last.to => {}
            Some(last) if seq == last.to + 1 => (last.to, last.time_s) = (seq, time_s.max(last.time_s)),
            _ => list.push(Withheld { from: seq, to: seq, time_s }),
        }
        if list.len() > MAX_RANGES {
            let oldest = list.remove(0);
            if let Some(next) = list.first_mut() {
                next.from = oldest.from;
            }
        }
    }

    /// Takes out what was withheld from it up to `seq` and accepted before `before_s`, as far as nothing else stands before.
    pub fn take_withheld(&mut self, seq: u64, before_s: u32) -> Vec<Withheld> {
        let Some(rare) = &mut self.rare else { return Vec::new() };
        let passed = rare.withheld.iter().take_while(|range| range.to <= seq && range.time_s < before_s).count();
        let taken = rare.withheld.drain(..passed).collect();
        self.tidy();
        taken
    }

    /// Adds a device at `acked` (see [`Cursor::base`]); the first one inherits the mailbox that was waiting. True when
    /// something changed.
    pub fn add_device(&mut self, device: u16, acked: u64, base: u64) -> bool {
        if !self.admits(device) || self.cursors.iter().any(|c| c.device == device) {
            return false;
        }
        match self.cursor_mut(0) {
            Some(waiting) => waiting.device = device,
            None => self.cursors.push(Cursor { base, ..Cursor::new(device, acked) }),
        }
        true
    }

    /// A device is no more; the only one leaves its mailbox to the next. True when something changed.
    pub fn drop_device(&mut self, device: u16) -> bool {
        let before = self.cursors.len();
        match self.cursors.as_mut_slice() {
            [only] if only.device == device => {
                *only = Cursor { base: only.base, ..Cursor::new(0, only.acked) };
                return true;
            }
            _ => self.cursors.retain(|c| c.device != device),
        }
        self.cursors.len() != before
    }

    /// Notes that messages will never reach this user; ranges that touch become one. When there are too many, the two
    /// oldest become one with what is between them: that costs a tick, and claims nothing.
    pub fn skip(&mut self, range: SkipRange) {
        self.version = self.version.max(range.version);
        let list = &mut self.rare.get_or_insert_default().skipped;
        match list.last_mut() {
            Some(last) if last.reason == range.reason && (last.from..=last.to + 1).contains(&range.from) => {
                last.to = last.to.max(range.to);
                last.version = range.version;
            }
            _ => list.push(range),
        }
        if list.len() > MAX_RANGES {
            let oldest = list.remove(0);
            if let Some(next) = list.first_mut() {
                (next.from, next.to) = (next.from.min(oldest.from), next.to.max(oldest.to));
                next.version = next.version.max(oldest.version);
            }
        }
    }

    /// Whether the user was noted never to get the message.
    pub fn skips(&self, seq: u64) -> bool {
        self.skipped().iter().any(|r| r.from <= seq && seq <= r.to)
    }

    /// Lets go of ranges that need not be told any more.
    pub fn forget_skips(&mut self, known: u64) {
        if let Some(rare) = &mut self.rare {
            rare.skipped.retain(|range| range.version > known);
        }
        self.tidy();
    }

    /// Gives back what is empty.
    pub fn tidy(&mut self) {
        self.rare.take_if(|rare| **rare == Rare::default());
    }
}
