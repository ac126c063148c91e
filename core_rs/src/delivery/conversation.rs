//! One conversation as delivery has it: its undelivered messages once, in order, and each mailbox's cursor into them.
//!
//! Pure bookkeeping: no frames, no sessions, no log.

use std::collections::{HashMap, VecDeque};

use smallvec::SmallVec;

use crate::engine::directory::Mark;
use crate::log::Ref;
use crate::sequencer::Kind;
use crate::wire::types::{ConversationId, SkipReason};

/// No receiver, no hot body.
pub const NONE: u32 = u32::MAX;

/// Ranges kept of what a user will never have.
const MAX_SKIPS: usize = 256;

/// Devices, as (user slot, device).
pub type Devices = Box<[(u32, u16)]>;

/// A message that some mailbox lacks; its body is in the log.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    /// Segment of the record; 0: the disk lost it.
    pub segment: u32,
    /// Offset of the record's body.
    pub offset: u32,
    /// Length of the record's body.
    pub len: u32,
    /// When it was accepted, seconds since 1970.
    pub time_s: u32,
    /// The author: index in `members`.
    pub author: u16,
    /// The author's device.
    pub device: u16,
    /// Slot of the body in memory, or [`NONE`].
    pub hot: u32,
}

impl Entry {
    /// Stands for a message that the disk lost.
    pub const LOST: Self = Self { segment: 0, offset: 0, len: 0, time_s: 0, author: u16::MAX, device: 0, hot: NONE };

    /// Where the record's body stands.
    pub fn at(&self) -> Ref {
        Ref { segment: self.segment, offset: self.offset, len: self.len }
    }

    /// Whether the disk lost it.
    pub fn lost(&self) -> bool {
        self.segment == 0
    }
}

/// A mailbox's place in the conversation.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cursor {
    /// 0: the user has no device yet; the first one takes this place.
    pub device: u16,
    /// In its receiver's list of conversations.
    pub owed: bool,
    /// Changed since it was last logged.
    pub dirty: bool,
    /// Everything up to here is acknowledged.
    pub acked: u64,
    /// Everything up to here was written to the current receiver.
    pub sent: u64,
    /// When the device came, the last message that no device of its user had acknowledged: it vouches only for what
    /// follows, until the others have that (I7). 0: for everything.
    pub base: u64,
    /// The attached receiving session, or [`NONE`].
    pub receiver: u32,
}

impl Cursor {
    /// A mailbox that has everything up to `acked`.
    pub fn new(device: u16, acked: u64) -> Self {
        Self { device, owed: false, dirty: false, acked, sent: acked, base: 0, receiver: NONE }
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

/// A user in the conversation.
#[derive(Clone, Debug)]
pub struct Member {
    /// Slot in the directory.
    pub user: u32,
    /// In a device conversation: its only device here; else 0.
    pub only: u16,
    /// Sees messages from this one on …
    pub from: u64,
    /// … up to this one.
    pub to: u64,
    /// The first of its devices has everything up to here that was not skipped.
    pub delivered: u64,
    /// Read up to here.
    pub read: u64,
    /// Receipt version of the latest change of `delivered`, `read` or `skipped`.
    pub version: u64,
    /// Receipt version of the latest change of `read`.
    pub read_version: u64,
    /// What it will never have, until the authors know.
    pub skipped: Option<Box<Vec<SkipRange>>>,
    /// Its mailboxes.
    pub cursors: SmallVec<[Cursor; 1]>,
}

impl Member {
    /// A member from message `from` on, without mailboxes yet.
    pub fn new(user: u32, only: u16, from: u64) -> Self {
        Self {
            user,
            only,
            from,
            to: u64::MAX,
            delivered: 0,
            read: 0,
            version: 0,
            read_version: 0,
            skipped: None,
            cursors: SmallVec::new(),
        }
    }

    /// The cursor of a device.
    pub fn cursor_mut(&mut self, device: u16) -> Option<&mut Cursor> {
        self.cursors.iter_mut().find(|c| c.device == device)
    }

    /// Whether this is the member that a user's device belongs to.
    pub fn is(&self, user: u32, device: u16) -> bool {
        self.user == user && self.admits(device)
    }

    /// Whether this device takes part.
    pub fn admits(&self, device: u16) -> bool {
        self.only == 0 || self.only == device
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
        let list = self.skipped.get_or_insert_default();
        match list.last_mut() {
            Some(last) if last.reason == range.reason && (last.from..=last.to + 1).contains(&range.from) => {
                last.to = last.to.max(range.to);
                last.version = range.version;
            }
            _ => list.push(range),
        }
        if list.len() > MAX_SKIPS {
            let oldest = list.remove(0);
            if let Some(next) = list.first_mut() {
                (next.from, next.to) = (next.from.min(oldest.from), next.to.max(oldest.to));
                next.version = next.version.max(oldest.version);
            }
        }
    }

    /// Whether the user was noted never to get the message.
    pub fn skips(&self, seq: u64) -> bool {
        self.skipped.iter().flat_map(|s| s.iter()).any(|r| r.from <= seq && seq <= r.to)
    }
}

/// See the module.
#[derive(Debug)]
pub struct Conversation {
    /// Its id.
    pub id: ConversationId,
    /// What it is.
    pub kind: Kind,
    /// Why messages below `first` are gone that a mailbox lacks.
    pub floor_reason: SkipReason,
    /// Bodies are being read from the log.
    pub reading: bool,
    /// Stands in `Delivery::dirty`.
    pub dirty: bool,
    /// When the timer for its oldest message fires, seconds of the monotonic clock; 0: none runs.
    pub expires_s: u32,
    /// The last message that may be seen.
    pub head: u64,
    /// The number of the first entry; everything below is gone.
    pub first: u64,
    /// Messages `first..=head`.
    pub entries: VecDeque<Entry>,
    /// Bytes of their records.
    pub bytes: u64,
    /// Bytes that were let go since it is in memory.
    pub bytes_out: u64,
    /// Who takes part.
    pub members: SmallVec<[Member; 2]>,
    /// Lowest `acked` of all mailboxes, and how many stand there.
    pub low: (u64, u32),
    /// For messages with a body per device: which devices have one, as (user slot, device).
    pub bodies: Option<Box<HashMap<u64, Devices>>>,
    /// See [`Mark`].
    pub mark: Mark,
}

impl Conversation {
    /// A conversation in which nothing was said up to `head`.
    pub fn new(id: ConversationId, kind: Kind, head: u64) -> Self {
        Self {
            id,
            kind,
            floor_reason: SkipReason::Expired,
            reading: false,
            dirty: false,
            expires_s: 0,
            head,
            first: head + 1,
            entries: VecDeque::new(),
            bytes: 0,
            bytes_out: 0,
            members: SmallVec::new(),
            low: (0, 0),
            bodies: None,
            mark: Mark::default(),
        }
    }

    /// Where a user's device stands in `members`.
    pub fn member(&self, user: u32, device: u16) -> Option<usize> {
        self.members.iter().position(|m| m.user == user && (m.only == 0 || m.only == device))
    }

    /// The entry of a message that is still here.
    pub fn entry(&self, seq: u64) -> Option<&Entry> {
        self.entries.get(usize::try_from(seq.checked_sub(self.first)?).ok()?)
    }

    /// The same, to change.
    pub fn entry_mut(&mut self, seq: u64) -> Option<&mut Entry> {
        self.entries.get_mut(usize::try_from(seq.checked_sub(self.first)?).ok()?)
    }

    /// Whether a mailbox of `member` ever gets the message: not its own, inside the interval.
    pub fn is_for(&self, entry: &Entry, seq: u64, member: usize, device: u16) -> bool {
        let own = usize::from(entry.author) == member && entry.device == device;
        !own && self.members.get(member).is_some_and(|m| m.from <= seq && seq <= m.to)
    }

    /// Whether a mailbox has a body of its own in a message (or the one body for all).
    pub fn has_body(&self, seq: u64, user: u32, device: u16) -> bool {
        match self.bodies.as_ref().and_then(|bodies| bodies.get(&seq)) {
            Some(who) => who.contains(&(user, device)),
            None => true,
        }
    }

    /// The last message that the acknowledgement of `acked` covers: it passes over directly following ones that are not
    /// for this mailbox.
    pub fn pass(&self, acked: u64, member: usize, device: u16) -> u64 {
        let mut upto = acked;
        while let Some(entry) = self.entry(upto + 1) {
            if self.is_for(entry, upto + 1, member, device) {
                break;
            }
            upto += 1;
        }
        upto
    }

    /// A device's mailbox has what directly follows and is its own: it may have taken over one that waited.
    pub fn pass_own(&mut self, member: usize, device: u16) {
        let Some(acked) = self.members.get_mut(member).and_then(|m| m.cursor_mut(device)).map(|c| c.acked) else {
            return;
        };
        let upto = self.pass(acked, member, device);
        if let Some(cursor) = self.members.get_mut(member).and_then(|m| m.cursor_mut(device)) {
            (cursor.acked, cursor.dirty) = (upto, true);
            cursor.sent = cursor.sent.max(upto);
        }
    }

    /// The author's own mailbox has its message when it directly follows what it has.
    pub fn pass_author(&mut self, author: u16, device: u16, seq: u64) {
        let cursor = self.members.get_mut(usize::from(author)).and_then(|m| m.cursor_mut(device));
        if let Some(cursor) = cursor
            && cursor.acked + 1 == seq
        {
            cursor.acked = seq;
            cursor.sent = cursor.sent.max(seq);
            // Logged with the acknowledgement that lets the message go, so that it is not missed after a restart.
            cursor.dirty = true;
            self.moved(seq - 1);
        }
        if self.low.1 == 0 {
            self.recount();
        }
    }

    /// Points a device's cursor at its new receiver; what waits for it, or `None` when nothing does.
    pub fn attach(&mut self, user: u32, device: u16, receiver: u32) -> Option<u64> {
        let index = self.member(user, device)?;
        let cursor = self.members.get_mut(index)?.cursor_mut(device)?;
        let acked = cursor.acked;
        cursor.receiver = receiver;
        cursor.sent = acked;
        cursor.owed = acked < self.head;
        if acked >= self.head {
            return None;
        }
        let from = self.first.max(acked + 1);
        if self.head - acked > 1000 {
            return Some(self.head + 1 - from);
        }
        let waiting = |&seq: &u64| self.entry(seq).is_some_and(|e| self.is_for(e, seq, index, device));
        Some((from..=self.head).filter(waiting).count() as u64)
    }

    /// Counts anew which mailbox lags most.
    pub fn recount(&mut self) {
        let mut low = (u64::MAX, 0);
        for cursor in self.members.iter().flat_map(|m| &m.cursors) {
            match cursor.acked.cmp(&low.0) {
                std::cmp::Ordering::Less => low = (cursor.acked, 1),
                std::cmp::Ordering::Equal => low.1 += 1,
                std::cmp::Ordering::Greater => {}
            }
        }
        self.low = if low.1 == 0 { (self.head, 0) } else { low };
    }

    /// A cursor moved away from `old`.
    pub fn moved(&mut self, old: u64) {
        if old == self.low.0 {
            self.low.1 = self.low.1.saturating_sub(1);
            if self.low.1 == 0 {
                self.recount();
            }
        }
    }

    /// Whether nothing waits in it.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}
