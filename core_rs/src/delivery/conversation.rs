//! One conversation as delivery has it: its undelivered messages once, in order, and each mailbox's cursor into them.
//!
//! Pure bookkeeping: no frames, no sessions, no log.

use std::collections::VecDeque;

use hashbrown::HashMap;
use smallvec::SmallVec;
use thin_vec::ThinVec;

pub use super::member::{Cursor, Member, SkipRange, mark};
use crate::engine::directory::Mark;
use crate::group::Group;
use crate::log::Ref;
use crate::sequencer::Kind;
use crate::wire::types::{ConversationId, SkipReason};

/// No receiver, no hot body.
pub const NONE: u32 = u32::MAX;

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
    /// The author's device, which does not get it; [`NOBODYS`]: all do.
    pub device: u16,
    /// Slot of the body in memory, or [`NONE`].
    pub hot: u32,
    /// How many mailboxes stand exactly here: their cursors' `acked` is this message. And [`WITHHELD`].
    pub at: u32,
}

/// In [`Entry::device`]: a change of a group, which comes to the device that wanted it as to any other.
pub const NOBODYS: u16 = 0;
/// In [`Entry::at`]: the other user blocks the author, so only the author's own devices get it.
pub const WITHHELD: u32 = 1 << 31;

impl Entry {
    /// Stands for a message that the disk lost.
    pub const LOST: Self =
        Self { segment: 0, offset: 0, len: 0, time_s: 0, author: u16::MAX, device: 0, hot: NONE, at: 0 };

    /// Where the record's body stands.
    pub fn at(&self) -> Ref {
        Ref { segment: self.segment, offset: self.offset, len: self.len }
    }

    /// Whether the disk lost it.
    pub fn lost(&self) -> bool {
        self.segment == 0
    }

    /// Whether it is withheld from a member.
    pub fn withheld_from(&self, member: usize) -> bool {
        self.at & WITHHELD != 0 && usize::from(self.author) != member
    }
}

/// A mailbox that a session is attached to.
#[derive(Clone, Copy, Debug)]
pub struct Online {
    /// The session.
    pub receiver: u32,
    /// Whose mailbox: index in `members`.
    pub member: u32,
    /// Its device.
    pub device: u16,
    /// In its receiver's list of conversations.
    pub owed: bool,
}

/// What only a group has.
#[derive(Debug, Default)]
pub struct Crowd {
    /// Index in `members`, by user.
    pub index: HashMap<u32, u32>,
    /// Members to be logged.
    pub moved: Vec<u32>,
    /// Mailboxes that are no more since their member went: how far they came is logged once more, as the member may be back
    /// in the log already.
    pub retired: Vec<(u32, Cursor)>,
    /// Receipt version of the latest news for a member, as an author or of its own reading.
    pub owed: HashMap<u32, u64>,
    /// Somebody came back, and is to be told anew what others will never have.
    pub reminded: bool,
    /// How many who were members have no mailbox any more, and places of such that may be given to others.
    pub gone: usize,
    /// See `gone`.
    pub free: Vec<u32>,
    /// So many of them keep their places, before it is looked again which may be given away.
    pub kept: usize,
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
    /// How many mailboxes lack the first entry: their cursors stand below it.
    pub behind: u32,
    /// Mailboxes with a session.
    pub online: ThinVec<Online>,
    /// A group as its messages up to `head` made it.
    pub group: Option<Box<Group>>,
    /// See [`Crowd`].
    pub crowd: Option<Box<Crowd>>,
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
            behind: 0,
            online: ThinVec::new(),
            group: (kind == Kind::Group).then(Box::default),
            crowd: (kind == Kind::Group).then(Box::default),
            bodies: None,
            mark: Mark::default(),
        }
    }

    /// Where a user's device stands in `members`.
    pub fn member(&self, user: u32, device: u16) -> Option<usize> {
        match &self.crowd {
            Some(crowd) => crowd.index.get(&user).map(|&index| index as usize),
            None => self.members.iter().position(|m| m.is(user, device)),
        }
    }

    /// Where a user stands in `members`: a user with two devices in a device conversation is two of them.
    pub fn indices_of(&self, user: u32) -> SmallVec<[usize; 2]> {
        match &self.crowd {
            Some(crowd) => crowd.index.get(&user).map(|&index| index as usize).into_iter().collect(),
            None => (0..).zip(&self.members).filter(|(_, m)| m.user == user).map(|(index, _)| index).collect(),
        }
    }

    /// The mailbox of a member's device.
    pub fn cursor(&self, index: usize, device: u16) -> Option<&Cursor> {
        self.members.get(index)?.cursor(device)
    }

    /// The same, to change; who moves it counts that ([`Conversation::moved`]).
    pub fn cursor_mut(&mut self, index: usize, device: u16) -> Option<&mut Cursor> {
        self.members.get_mut(index)?.cursor_mut(device)
    }

    /// All mailboxes.
    pub fn cursors(&self) -> impl Iterator<Item = &Cursor> {
        self.members.iter().flat_map(|m| &m.cursors)
    }

    /// The entry of a message that is still here.
    pub fn entry(&self, seq: u64) -> Option<&Entry> {
        self.entries.get(usize::try_from(seq.checked_sub(self.first)?).ok()?)
    }

    /// The same, to change.
    pub fn entry_mut(&mut self, seq: u64) -> Option<&mut Entry> {
        self.entries.get_mut(usize::try_from(seq.checked_sub(self.first)?).ok()?)
    }

    /// Whether a mailbox of `member` ever gets the message: not its own, inside an interval, not withheld.
    pub fn is_for(&self, entry: &Entry, seq: u64, member: usize, device: u16) -> bool {
        let own = usize::from(entry.author) == member && entry.device == device && device != NOBODYS;
        !own && !entry.withheld_from(member) && self.members.get(member).is_some_and(|m| m.sees(seq))
    }

    /// A message that is withheld: from everybody but its author.
    pub fn note_withheld(&mut self, seq: u64) {
        let entry = self.entry(seq).filter(|e| e.at & WITHHELD != 0);
        let Some((author, time_s)) = entry.map(|e| (e.author, e.time_s)) else { return };
        let others = (0_u16..).zip(&mut self.members).filter(|(index, _)| *index != author);
        for member in others.map(|(_, m)| m).filter(|m| m.delivered < seq && !m.skips(seq)) {
            member.withhold(seq, time_s);
        }
    }

    /// Whether a mailbox has a body of its own in a message (or the one body for all).
    pub fn has_body(&self, seq: u64, user: u32, device: u16) -> bool {
        match self.bodies.as_ref().and_then(|bodies| bodies.get(&seq)) {
            Some(who) => who.contains(&(user, device)),
            None => true,
        }
    }

    /// The last message that the acknowledgement of `acked` covers: it passes over directly following ones that are not
    /// for this mailbox. Of one that is withheld the mailbox is told first.
    pub fn pass(&self, acked: u64, member: usize, device: u16) -> u64 {
        let Some(known) = self.members.get(member) else { return acked };
        let last = self.head.min(known.to);
        let mut upto = acked;
        while upto < last {
            // Messages outside of the intervals may be gone.
            let next = known.interval_above(upto).map_or(last, |(from, _)| from - 1).min(last);
            if next > upto {
                upto = next;
                continue;
            }
            let Some(entry) = self.entry(upto + 1) else { break };
            if entry.withheld_from(member) || self.is_for(entry, upto + 1, member, device) {
                break;
            }
            upto += 1;
        }
        upto
    }

    /// A mailbox has everything up to `acked`; to be logged.
    pub fn advance(&mut self, index: usize, device: u16, acked: u64) {
        let Some(cursor) = self.cursor_mut(index, device) else { return };
        let old = std::mem::replace(&mut cursor.acked, acked);
        cursor.sent = cursor.sent.max(acked);
        cursor.set(mark::DIRTY);
        self.moved(old, acked);
        self.list(index);
    }

    /// A member of a group is to be logged.
    pub fn list(&mut self, index: usize) {
        if let Some(crowd) = &mut self.crowd
            && let Some(member) = self.members.get_mut(index)
            && !member.listed
        {
            member.listed = true;
            crowd.moved.push(index as u32);
        }
    }

    /// A device's mailbox has what directly follows and is its own: it may have taken over one that waited.
    pub fn pass_own(&mut self, index: usize, device: u16) {
        if let Some(acked) = self.cursor(index, device).map(|c| c.acked) {
            self.advance(index, device, self.pass(acked, index, device));
        }
    }

    /// The author's own mailbox has its message when it directly follows what it has. Logged with the acknowledgement
    /// that lets the message go, so that it is not missed after a restart.
    pub fn pass_author(&mut self, author: u16, device: u16, seq: u64) {
        if device != NOBODYS && self.cursor(author.into(), device).is_some_and(|c| c.acked + 1 == seq) {
            self.advance(author.into(), device, seq);
        }
    }

    /// Attaches a session to a device's mailbox; where that stands and what waits for it, or `None` when nothing does. What
    /// waits is counted message by message as long as `looks` last, else it is at most that.
    pub fn attach(&mut self, user: u32, device: u16, receiver: u32, looks: &mut u64) -> Option<(usize, u64)> {
        let index = self.member(user, device)?;
        let acked = self.cursor(index, device)?.acked;
        let waits = acked < self.head;
        self.link(index, device, receiver, waits);
        if !waits {
            return None;
        }
        let from = self.first.max(acked + 1);
        let most = self.head + 1 - from;
        if most > *looks {
            return Some((index, most));
        }
        *looks -= most;
        let waiting = |&seq: &u64| self.entry(seq).is_some_and(|e| self.is_for(e, seq, index, device));
        Some((index, (from..=self.head).filter(waiting).count() as u64))
    }

    /// A session takes from a mailbox, from its cursor on.
    pub fn link(&mut self, index: usize, device: u16, receiver: u32, owed: bool) {
        let place = self.online.len() as u32;
        let Some(cursor) = self.cursor_mut(index, device) else { return };
        cursor.sent = cursor.acked;
        cursor.unset(mark::SHOWN);
        let online = Online { receiver, member: index as u32, device, owed };
        let known = cursor.online;
        if known == NONE {
            cursor.online = place;
            self.online.push(online);
        } else if let Some(before) = self.online.get_mut(known as usize) {
            *before = online;
        }
    }

    /// And does not any more.
    pub fn unlink(&mut self, index: usize, device: u16) {
        let Some(cursor) = self.cursor_mut(index, device) else { return };
        let place = std::mem::replace(&mut cursor.online, NONE);
        if place == NONE {
            return;
        }
        self.online.swap_remove(place as usize);
        if let Some(&Online { member, device, .. }) = self.online.get(place as usize)
            && let Some(cursor) = self.cursor_mut(member as usize, device)
        {
            cursor.online = place;
        }
        if self.online.is_empty() {
            self.online = ThinVec::new();
        }
    }

    /// The session that takes from a mailbox.
    pub fn attached(&mut self, index: usize, device: u16) -> Option<&mut Online> {
        let place = self.cursor(index, device)?.online;
        self.online.get_mut(place as usize)
    }

    /// Adds a device's mailbox: [`Member::add_device`].
    pub fn add_device(&mut self, index: usize, device: u16, acked: u64, base: u64) -> bool {
        let Some(member) = self.members.get_mut(index) else { return false };
        let before = member.cursors.len();
        let added = member.add_device(device, acked, base);
        if member.cursors.len() > before {
            self.stand(acked, 1);
        }
        added
    }

    /// Takes a device's mailbox away: [`Member::drop_device`].
    pub fn drop_device(&mut self, index: usize, device: u16) {
        self.unlink(index, device);
        let Some(member) = self.members.get_mut(index) else { return };
        let Some(acked) = member.cursor(device).map(|c| c.acked) else { return };
        let before = member.cursors.len();
        member.drop_device(device);
        if member.cursors.len() < before {
            self.stand(acked, u32::MAX);
        }
    }

    /// A member without a device gets a mailbox that waits for one.
    pub fn wait_for_device(&mut self, index: usize, acked: u64) {
        if let Some(member) = self.members.get_mut(index) {
            member.cursors.push(Cursor::new(0, acked));
            self.stand(acked, 1);
        }
    }

    /// Takes a mailbox away, whatever waits in it.
    pub fn remove_cursor(&mut self, index: usize, device: u16) {
        self.unlink(index, device);
        let Some(member) = self.members.get_mut(index) else { return };
        let Some(place) = member.cursors.iter().position(|c| c.device == device) else { return };
        let cursor = member.cursors.remove(place);
        self.stand(cursor.acked, u32::MAX);
    }

    /// Counts anew how many mailboxes stand where, and what else is derived.
    pub fn recount(&mut self) {
        self.behind = 0;
        self.entries.iter_mut().for_each(|entry| entry.at &= WITHHELD);
        let cursors: Vec<u64> = self.cursors().map(|c| c.acked).collect();
        cursors.into_iter().for_each(|acked| self.stand(acked, 1));
        if let Some(crowd) = &mut self.crowd {
            crowd.index = (0..).zip(&self.members).map(|(index, member)| (member.user, index)).collect();
            crowd.gone = self.members.iter().filter(|m| m.is_gone()).count();
            crowd.kept = 0;
            crowd.free.clear();
        }
    }

    /// A cursor moved.
    pub fn moved(&mut self, old: u64, new: u64) {
        self.stand(old, u32::MAX);
        self.stand(new, 1);
    }

    /// So many mailboxes more have `acked` as their last message (modulo 2³¹). What is above the head was not read from
    /// the log yet: it is counted when all is.
    fn stand(&mut self, acked: u64, more: u32) {
        let count = if acked < self.first {
            &mut self.behind
        } else {
            match self.entry_mut(acked) {
                Some(entry) => &mut entry.at,
                None => return,
            }
        };
        // While the log is read counts may be off, until they are counted anew: they must not spill into the mark.
        *count = *count & WITHHELD | count.wrapping_add(more) & !WITHHELD;
    }

    /// Takes the first entry out, whoever lacks it.
    pub fn pop(&mut self) -> Option<Entry> {
        let entry = self.entries.pop_front()?;
        self.behind = self.behind.wrapping_add(entry.at & !WITHHELD);
        self.first += 1;
        Some(entry)
    }

    /// Whether nothing waits in it.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}
