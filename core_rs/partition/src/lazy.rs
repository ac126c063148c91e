//! Lazy facts: acknowledgements, reads, and what devices have seen. A lazy fact changes its row at once and is logged within a
//! second as [`Record::Cursors`] or [`Record::Seen`]; recovery merges it by maximum.
//!
//! # Rules
//! - A device acknowledges and reads nothing above the last durable message, nor outside its user's intervals (I8).
//! - `delivered` never covers a message that was skipped or withheld, nor one that no device vouches for (I7): see
//!   [`claims`](crate::claims).
//! - A receipt takes a version below a durable bound. While there is none, cursors advance and receipts wait.

use smallvec::SmallVec;
use wire::codes;

use crate::active::Active;
use crate::commit::Owner;
use crate::ids::{ConversationId, ConversationSlot, DeviceId, MemberIndex, RowKey, UserSlot};
use crate::propose::{Author, Decided, refuse, wait};
use crate::records::{Moved, Record};
use crate::rows::{Kind, Member};
use crate::state::State;
use crate::users::DeviceEntry;

/// Where a device's queue stands in a conversation in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mailbox {
    /// The conversation, …
    pub slot: ConversationSlot,
    /// … the member, …
    pub member: MemberIndex,
    /// … and the device.
    pub device: DeviceId,
}

/// What is to be told of a member's progress, and to whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct News {
    /// Whose progress.
    pub member: MemberIndex,
    /// The members to tell, in ascending order; with a read also the member itself, for its other devices.
    pub to: SmallVec<[MemberIndex; 8]>,
    /// The version to tell it with.
    pub version: u64,
}

impl State {
    /// A device has everything of a conversation up to `seq`. Gives what others are to be told.
    ///
    /// # Errors
    /// There is no such conversation for this device, or `seq` is above what it may have been shown.
    pub fn ack(&mut self, at: Mailbox, seq: u64) -> Decided<Option<News>> {
        let Mailbox { slot, member: index, device } = at;
        let Some(active) = self.conversation_mut(slot) else { return refuse(codes::UNKNOWN_CONVERSATION) };
        let Some(member) = active.row.member_mut(index) else { return refuse(codes::UNKNOWN_CONVERSATION) };
        if seq > active.visible.min(member.to) {
            return refuse(codes::ACK_BEYOND_HEAD);
        }
        let Some(cursor) = member.cursor_mut(device) else { return refuse(codes::UNKNOWN_CONVERSATION) };
        if seq <= cursor.acked {
            return Ok(None);
        }
        let upto = active.pass(seq, index, device);
        active.advance(index, device, upto);
        let news = self.raise(slot, index);
        self.reclaim(slot);
        self.list(slot);
        Ok(news)
    }

    /// The snapshot of a group was written to a device before a message that the device has acknowledged now.
    pub fn saw_snapshot(&mut self, at: Mailbox) {
        let Some(active) = self.conversation_mut(at.slot) else { return };
        let cursor = active.row.member_mut(at.member).and_then(|member| member.cursor_mut(at.device));
        if let Some(cursor) = cursor.filter(|cursor| cursor.fresh) {
            cursor.fresh = false;
            active.note_moved(at.member);
            self.list(at.slot);
        }
    }

    /// A user has read what `authors` wrote up to `seq`; no authors: in a direct conversation the other user. Only they are
    /// told. One who is named later, at or below the same number, is told then.
    ///
    /// # Errors
    /// There is no such conversation for this device, or no device of the user has acknowledged `seq`.
    pub fn read(&mut self, at: Mailbox, seq: u64, authors: &[impl AsRef<str>]) -> Decided<Option<News>> {
        let Mailbox { slot, member: index, .. } = at;
        let named: SmallVec<[UserSlot; 8]> = authors.iter().filter_map(|name| self.names.find(name.as_ref())).collect();
        let strangers = named.len() < authors.len();
        let Some(active) = self.conversation_mut(slot) else { return refuse(codes::UNKNOWN_CONVERSATION) };
        let Some(member) = active.row.member(index) else { return refuse(codes::UNKNOWN_CONVERSATION) };
        let acked = member.cursors.iter().filter(|cursor| cursor.device != 0).map(|cursor| cursor.acked).max();
        if seq > active.visible.min(member.to).min(acked.unwrap_or(0).max(member.delivered)) {
            return refuse(codes::ACK_BEYOND_HEAD);
        }
        let group = active.row.kind == Kind::Group;
        let place = |&user: &UserSlot| active.member(user, 0);
        // An author may have left a group since; elsewhere who is named takes part.
        if !group && (strangers || named.iter().any(|user| place(user).is_none())) {
            return refuse(codes::BAD_FIELD);
        }
        let current = |index: &MemberIndex| active.row.member(*index).is_some_and(|member| member.is_current());
        let mut to: SmallVec<[MemberIndex; 8]> = if group || !named.is_empty() {
            named.iter().filter_map(place).filter(current).collect()
        } else {
            active.row.iter().map(|(other, _)| other).collect()
        };
        // Of what no device of the user has, a read says nothing to others: it may have been withheld.
        let told = seq.min(member.delivered);
        to.retain(|other| *other == index || told > 0);
        let further = seq > member.read;
        if !further && to.iter().all(|other| *other == index) {
            return Ok(None);
        }
        to.push(index);
        to.sort_unstable();
        to.dedup();
        let news = self.tell(slot, index, to, |member, version| {
            member.read = member.read.max(seq);
            member.read_version = version;
        });
        self.list(slot);
        Ok(news)
    }

    /// A device has receipts up to `version`.
    ///
    /// # Errors
    /// The device's row is needed.
    pub fn seen(&mut self, author: Author<'_>, version: u64) -> Decided<()> {
        let last = self.versions.last;
        self.device_fact(author, |DeviceEntry { row, .. }| row.see(version.min(last)))
    }

    /// A device is connected, at `seconds` since 1970; `receives`: to get messages and receipts. When that was noted last, and
    /// whether it receives for the first time.
    ///
    /// # Errors
    /// The device's row is needed.
    pub fn connected(&mut self, author: Author<'_>, seconds: u32, receives: bool) -> Decided<(u32, bool)> {
        let mut last = (0, false);
        self.device_fact(author, |DeviceEntry { row, .. }| {
            let before = (row.seen_s, row.receives);
            (row.seen_s, row.receives) = (before.0.max(seconds), before.1 || receives);
            last = (before.0, row.receives != before.1);
            (row.seen_s, row.receives) != before
        })?;
        Ok(last)
    }

    /// A device saw `accepted` of these messages: their ids need not be known any more.
    ///
    /// # Errors
    /// The device's row is needed.
    pub fn confirm(&mut self, author: Author<'_>, messages: &[(ConversationId, u64)]) -> Decided<()> {
        self.device_fact(author, |entry| {
            let known = messages.iter().filter(|(id, seq)| entry.row.repeats.confirm(id, *seq)).count();
            entry.confirmed += known;
            known > 0
        })
    }

    fn device_fact(&mut self, author: Author<'_>, change: impl FnOnce(&mut DeviceEntry) -> bool) -> Decided<()> {
        let user = self.users.get_mut(author.user);
        let Some(entry) = user.and_then(|entry| entry.device_mut(author.device)) else {
            return wait(RowKey::device(author.name, author.device));
        };
        entry.dirty |= change(entry);
        if entry.dirty && !std::mem::replace(&mut entry.listed, true) {
            self.dirty.push_back(Owner::Device(author.user, author.device));
        }
        Ok(())
    }

    /// After a decision that noted skips, or took a mailbox away: what users are known to have may pass those now. `only`: it
    /// concerned one member.
    pub(crate) fn settle(&mut self, slot: ConversationSlot, only: Option<MemberIndex>) -> Vec<News> {
        let all = self.conversation(slot).map_or(0, |active| active.row.members.len());
        let places = only.map_or(0..all, |index| index.place()..index.place() + 1);
        only.into_iter().for_each(|index| self.pass_own(slot, index));
        let news = places.filter_map(|place| self.raise(slot, MemberIndex::new(place))).collect();
        self.reclaim(slot);
        self.list(slot);
        news
    }

    /// After a start, when the bound of receipt versions is durable: what users were known to have because of a record in the
    /// log may not have been logged.
    pub fn settle_all(&mut self) {
        let slots: Vec<ConversationSlot> = self.conversations().map(|(slot, _)| slot).collect();
        for slot in slots {
            let all = self.conversation(slot).map_or(0, |active| active.row.members.len());
            (0..all).for_each(|place| self.pass_own(slot, MemberIndex::new(place)));
            self.settle(slot, None);
        }
    }

    /// A device that got the number of one that ended may have taken over a mailbox that waits, before a message which that one
    /// sent: it gets no copy of it, as if it were its own, and would stand before it for good.
    fn pass_own(&mut self, slot: ConversationSlot, index: MemberIndex) {
        let Some(active) = self.conversation_mut(slot) else { return };
        let cursors = active.row.member(index).into_iter().flat_map(|member| &member.cursors);
        let cursors = cursors.filter(|cursor| cursor.device != 0).map(|cursor| (cursor.device, cursor.acked));
        for (device, acked) in cursors.collect::<SmallVec<[_; 2]>>() {
            active.advance(index, device, active.pass(acked, index, device));
        }
    }

    /// Lets go of messages that every mailbox has. Not while receipts find no version: their authors stand in the messages.
    fn reclaim(&mut self, slot: ConversationSlot) {
        if self.versions.last < self.versions.durable
            && let Some(active) = self.conversation_mut(slot)
        {
            while active.entries.reclaim().is_some() {}
            self.recount(slot);
        }
    }

    /// The lazy facts that are not logged yet, as records, each a decision of its own: at most `most`, the longest waiting first.
    /// Skips of which all devices of a conversation's members know are forgotten with them.
    pub fn flush(&mut self, most: usize) -> Vec<Record<'static>> {
        let mut records = Vec::new();
        for _ in 0..self.dirty.len() {
            if records.len() >= most {
                break;
            }
            let Some(owner) = self.dirty.pop_front() else { break };
            let record = match owner {
                Owner::Conversation(slot) => self.cursors_of(slot),
                Owner::Device(user, device) => self.seen_by(user, device).map(Record::Seen),
                Owner::User(_) => None,
            };
            match record {
                // It goes to the end, and leaves the list when it is found to be logged: the journal may not take it.
                Some(record) => {
                    records.push(record);
                    self.dirty.push_back(owner);
                }
                None => self.unlist(owner),
            }
        }
        records
    }

    fn cursors_of(&self, slot: ConversationSlot) -> Option<Record<'static>> {
        let active = self.conversation(slot).filter(|active| active.is_dirty())?;
        let mut cursors = active.moved_cursors();
        let skips = |moved: &Moved| active.row.member(MemberIndex::new(moved.member as usize)).map(Member::skips);
        let versions = cursors.members.iter().filter_map(skips).flatten().map(|range| range.version);
        if let Some(least) = versions.min() {
            let told = self.acknowledged(&active.row, least, self.versions.last);
            cursors.members.iter_mut().for_each(|moved| moved.forget = told);
        }
        Some(Record::Cursors(cursors))
    }

    fn unlist(&mut self, owner: Owner) {
        match owner {
            Owner::Conversation(slot) => {
                if let Some(active) = self.conversation_mut(slot) {
                    active.listed = false;
                }
            }
            Owner::Device(user, device) => {
                if let Some(entry) = self.users.get_mut(user).and_then(|entry| entry.device_mut(device)) {
                    entry.listed = false;
                }
            }
            Owner::User(_) => {}
        }
    }

    /// Whether lazy facts wait to be logged.
    pub fn is_dirty(&self) -> bool {
        !self.dirty.is_empty()
    }

    fn list(&mut self, slot: ConversationSlot) {
        let Some(active) = self.conversation_mut(slot) else { return };
        if active.is_dirty() && !std::mem::replace(&mut active.listed, true) {
            self.dirty.push_back(Owner::Conversation(slot));
        }
    }

    /// The conversation and the member of a device that has a mailbox there. What is over for a device is not there for it.
    /// `last`: one of the same device, of this conversation or another; if it is of this one, nothing is looked up.
    ///
    /// # Errors
    /// There is no such mailbox, or the conversation is needed.
    pub fn mailbox(&self, author: Author<'_>, id: &ConversationId, last: Option<Mailbox>) -> Decided<Mailbox> {
        let Author { user, device, .. } = author;
        let last = last.filter(|last| self.conversation(last.slot).is_some_and(|active| active.id == *id));
        let Some(slot) = last.map(|last| last.slot).or_else(|| self.find(id)) else {
            return self.not_in_memory(author.name, id);
        };
        let place = |active: &Active| {
            let is = |index: &MemberIndex| {
                active.row.member(*index).is_some_and(|member| member.user == user && member.admits(device))
            };
            let index = last.map(|last| last.member).filter(is).or_else(|| active.member(user, device))?;
            let member = active.row.member(index)?;
            let cursor = member.cursor(device)?;
            (member.is_current() || cursor.acked < member.to).then_some(Mailbox { slot, member: index, device })
        };
        self.conversation(slot).and_then(place).map_or_else(|| refuse(codes::UNKNOWN_CONVERSATION), Ok)
    }

    /// Raises what a member's user is known to have; before messages are let go.
    fn raise(&mut self, slot: ConversationSlot, index: MemberIndex) -> Option<News> {
        let active = self.conversation(slot)?;
        let (claim, delivered) = (active.claim(index), active.row.member(index)?.delivered);
        if claim <= delivered {
            return None;
        }
        let to = active.authors(index, delivered + 1, claim);
        if to.is_empty() {
            // Nobody is told; the version says when somebody was.
            let active = self.conversation_mut(slot)?;
            active.row.member_mut(index)?.delivered = claim;
            active.note_moved(index);
            return None;
        }
        self.tell(slot, index, to, |member, _| member.delivered = claim)
    }

    /// Changes a member's receipts under the next version, which those who are told are owed.
    fn tell(
        &mut self,
        slot: ConversationSlot,
        index: MemberIndex,
        to: SmallVec<[MemberIndex; 8]>,
        change: impl FnOnce(&mut crate::rows::Member, u64),
    ) -> Option<News> {
        let version = self.next_version()?;
        let active = self.conversation_mut(slot)?;
        let member = active.row.member_mut(index)?;
        change(member, version);
        member.version = version;
        active.note_moved(index);
        if active.row.kind == Kind::Group {
            for &other in &to {
                if let Some(other) = active.row.member_mut(other) {
                    other.owed = version;
                }
                active.note_moved(other);
            }
        }
        Some(News { member: index, to, version })
    }
}
