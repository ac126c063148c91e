//! A decision becomes state: its records are appended as one, then each is applied to its row.
//!
//! What every decision needs is added here, so that no proposal can forget it:
//! - an *image* of a row before its first record since the log lost sight of it, so that a start finds the row;
//! - the *cursors* of a conversation that moved and are not logged yet, before a record whose effect reads cursors, and the
//!   confirmations of a device before a message that may push out an id, so that a start applies the record to the lazy facts
//!   that it was decided with;
//! - the *bound* of receipt versions, before a record takes one above it.

mod alone;

use smallvec::SmallVec;
use wire::types::ConversationId;

use crate::active::Active;
use crate::apply;
use crate::apply::group::Moved;
use crate::entries::Entry;
use crate::ids::{ConversationSlot, DeviceId, MemberIndex, Place, Position, RowKey, UserSlot, version_base};
use crate::journal::{Before, Full, Journal, Scratch, is_waited_for};
use crate::lazy::News;
use crate::records::{self, Message, Record, UserChange};
use crate::rest::Stored;
use crate::rows::{Conversation, Device, User};
use crate::state::{Generation, State};
use crate::users::DeviceEntry;

/// The bound of receipt versions is raised by so many, when fewer than half of them are left.
pub(crate) const VERSIONS_AHEAD: u64 = 1 << 20;

/// A row in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// A user's.
    User(UserSlot),
    /// A device's.
    Device(UserSlot, DeviceId),
    /// A conversation's.
    Conversation(ConversationSlot),
}

/// What was done with a decision.
#[derive(Clone, Debug, Default)]
pub struct Committed {
    /// The batch that makes it durable.
    pub position: Position,
    /// Of the last message in it: where it went, …
    pub slot: Option<ConversationSlot>,
    /// … and whom a change made members, and whom it left no members.
    pub moved: Moved,
    /// What others are to be told of members that the decision concerned.
    pub news: Vec<(ConversationId, News)>,
}

impl State {
    /// Appends the records of a decision, and applies them. Nothing changes if they do not fit.
    ///
    /// # Errors
    /// The journal took none of them: see [`Full`].
    pub fn commit(
        &mut self,
        journal: &mut impl Journal,
        scratch: &mut Scratch,
        records: &[Record<'_>],
    ) -> Result<Committed, Full> {
        scratch.clear();
        if let [Record::Message(message)] = records
            && self.is_alone(message)
        {
            return self.commit_alone(journal, scratch, message);
        }
        self.bound_first(records, scratch);
        for record in records {
            self.prepare(record, scratch);
        }
        records.iter().for_each(|record| scratch.push(record));
        let position = scratch.append(journal, records)?;
        self.position = position;
        if records.iter().any(is_waited_for) {
            self.exact = position;
        }
        let mut committed = Committed { position, ..Committed::default() };
        let mut places = scratch.places.iter().copied();
        for (before, place) in scratch.before.iter().zip(places.by_ref()) {
            match before {
                Before::Image(owner) => self.imaged(*owner, place, position),
                Before::Lazy(record) => self.apply(record, place, position, &mut committed),
            }
        }
        for (record, place) in records.iter().zip(places) {
            self.apply(record, place, position, &mut committed);
        }
        for (id, mailbox) in records.iter().filter_map(settles) {
            let Some(slot) = self.find(&id) else { continue };
            let only = mailbox.and_then(|mailbox| self.member_of(slot, &mailbox.user, mailbox.device));
            let news = self.settle(slot, only);
            committed.news.extend(news.into_iter().map(|news| (id, news)));
        }
        Ok(committed)
    }

    /// The bound of receipt versions, if it is to rise. After a start it is committed, and made durable, before anything is
    /// acknowledged: until then no receipt finds a version.
    pub fn bound_due(&self) -> Option<Record<'static>> {
        self.bound_above(self.versions.last)
    }

    fn bound_above(&self, last: u64) -> Option<Record<'static>> {
        let near = last + VERSIONS_AHEAD / 2 > self.versions.bound;
        near.then(|| self.bound(last + VERSIONS_AHEAD))
    }

    /// The bound of receipt versions and of the server's time, and what the store must reflect.
    pub fn bound(&self, versions: u64) -> Record<'static> {
        Record::Bound { versions, time_ms: self.time_ms, reflects: self.reflects }
    }

    /// The bound rises in time, so that what is told before it is logged finds a version.
    fn bound_first(&self, records: &[Record<'_>], scratch: &mut Scratch) {
        let last = records.iter().filter_map(version).fold(self.versions.last, u64::max);
        let explicit = records.iter().any(|record| matches!(record, Record::Bound { .. }));
        self.bound_above(last).filter(|_| !explicit).into_iter().for_each(|bound| scratch.lazy(bound));
    }

    /// Adds what must stand before a record.
    fn prepare(&self, record: &Record<'_>, scratch: &mut Scratch) {
        match record {
            Record::Message(message) => {
                let (slot, user) = self.slots(message);
                // A conversation that begins with it has its image among the records.
                if let Some(slot) = slot {
                    self.image_first(Owner::Conversation(slot), scratch);
                    if message.message.change.is_some() {
                        self.cursors_first(slot, scratch);
                    }
                }
                if let Some(user) = user {
                    self.image_first(Owner::Device(user, message.device()), scratch);
                    self.seen_first(user, message, scratch);
                }
            }
            Record::Mailbox(records::Mailbox { conversation, .. })
            | Record::Floor(records::Floor { conversation, .. })
            | Record::Lost(records::Lost { conversation, .. })
            | Record::Enter(records::Enter { conversation, .. }) => {
                let Some(slot) = self.find(conversation) else { return };
                self.image_first(Owner::Conversation(slot), scratch);
                self.cursors_first(slot, scratch);
            }
            Record::Cursors(records::Cursors { conversation, .. }) => {
                if let Some(slot) = self.find(conversation) {
                    self.image_first(Owner::Conversation(slot), scratch);
                }
            }
            Record::User(user) => {
                if let Some((slot, _)) = self.user_named(user.name) {
                    self.image_first(Owner::User(slot), scratch);
                }
            }
            Record::Seen(records::Seen { user, device, .. }) => {
                if let Some(slot) = self.names.find(user) {
                    self.image_first(Owner::Device(slot, *device), scratch);
                }
            }
            Record::Owed { user, device, .. } => {
                if let Some(slot) = self.names.find(user) {
                    self.image_first(Owner::Device(slot, *device), scratch);
                    // Whether the list is full depends on what the device has seen.
                    if let Some(seen) = self.seen_by(slot, *device) {
                        scratch.lazy(Record::Seen(seen));
                    }
                }
            }
            Record::Image { .. } | Record::Carried(_) | Record::Stored { .. } | Record::Bound { .. } => {}
            Record::Generation { .. } | Record::Clock { .. } | Record::Gone(_) => {}
        }
    }

    fn image_first(&self, owner: Owner, scratch: &mut Scratch) {
        if self.mark(owner).is_some_and(|mark| mark.image == 0) {
            scratch.image(owner, |bytes| Some(self.encode(owner, bytes)?.0));
        }
    }

    fn cursors_first(&self, slot: ConversationSlot, scratch: &mut Scratch) {
        if let Some(active) = self.conversation(slot).filter(|active| active.is_dirty()) {
            scratch.lazy(Record::Cursors(active.moved_cursors()));
        }
    }

    /// What a device confirmed makes room for ids; a start must not push out another one.
    fn seen_first(&self, user: UserSlot, message: &Message<'_>, scratch: &mut Scratch) {
        if let Some(entry) = self.device(user, message.device()).filter(|entry| entry.is_seen_due()) {
            scratch.lazy(Record::Seen(seen(self.names.text(user), entry)));
        }
    }

    /// The lazy facts of a device that are not logged yet, as a record.
    pub fn seen_by(&self, user: UserSlot, device: DeviceId) -> Option<records::Seen<'static>> {
        let entry = self.device(user, device).filter(|entry| entry.dirty)?;
        Some(seen(self.names.text(user), entry))
    }

    fn imaged(&mut self, owner: Owner, place: Place, position: Position) {
        if let Some(mark) = self.mark_mut(owner) {
            (mark.image, mark.position) = (place.segment, position);
            self.retention.imaged(owner, place);
        }
        // The log has it again.
        if let Some(key) = self.key(owner) {
            self.stored.remove(&key);
        }
    }

    fn apply(&mut self, record: &Record<'_>, place: Place, position: Position, committed: &mut Committed) {
        self.versions.last = version(record).map_or(self.versions.last, |version| version.max(self.versions.last));
        match record {
            Record::Image { row, bytes } => match self.owner(row) {
                // It is written anew.
                Some(owner) => self.imaged(owner, place, position),
                None => self.begin(row, bytes, place, position),
            },
            Record::Message(message) => self.apply_message(message, place, position, committed),
            Record::Mailbox(r) => {
                let Some(slot) = self.changing(&r.conversation, position, r.version) else { return };
                let member = self.member_of(slot, &r.user, r.device);
                if let Some(active) = self.conversation_mut(slot) {
                    active.change_mailboxes(member, |row| apply::conversation::mailbox(row, member, r));
                }
                if let Some(member) = member.filter(|_| r.begins.is_some()) {
                    self.connect(slot, member);
                }
            }
            Record::Floor(r) => {
                let Some(slot) = self.changing(&r.conversation, position, r.version) else { return };
                if let Some(active) = self.conversation_mut(slot) {
                    apply::conversation::floor(&mut active.row, r);
                    while active.entries.drop_below(active.row.floor).is_some() {}
                }
                self.recount(slot);
                self.note_pending(slot, 0, position);
            }
            Record::Lost(r) => {
                let Some(slot) = self.changing(&r.conversation, position, r.version) else { return };
                if let Some(active) = self.conversation_mut(slot) {
                    apply::conversation::lost(&mut active.row, r);
                    r.ranges.iter().for_each(|&(from, to)| active.entries.lose(from, to));
                }
                self.recount(slot);
                self.note_pending(slot, 0, position);
            }
            Record::User(r) => self.apply_user(r, position),
            Record::Owed { user, device, change, conversation, version } => {
                if let Some(entry) = self.device_named(user, *device) {
                    apply::device::owed(&mut entry.row, *change, *conversation, *version);
                    entry.mark.position = position;
                }
            }
            Record::Carried(message) => {
                let Some(slot) = self.find(&message.message.conversation) else { return };
                if let Some(active) = self.conversation_mut(slot) {
                    active.entries.carry(message.message.seq, place);
                    self.note_message(slot, place.segment);
                    self.recount(slot);
                }
            }
            Record::Cursors(r) => {
                let slot = self.changing(&r.conversation, position, 0);
                if let Some(active) = slot.and_then(|slot| self.conversation_mut(slot)) {
                    // They stand in the row already, but for skips that are forgotten with it.
                    apply::conversation::cursors(&mut active.row, r);
                    active.logged();
                }
            }
            Record::Seen(r) => {
                if let Some(entry) = self.device_named(&r.user, r.device) {
                    apply::device::seen(&mut entry.row, r);
                    (entry.dirty, entry.mark.position) = (false, position);
                    entry.confirmed = 0;
                }
            }
            Record::Bound { versions, time_ms, reflects } => {
                self.versions.bound = self.versions.bound.max(*versions);
                self.versions.bound_at = position;
                (self.time_ms, self.reflects) = (self.time_ms.max(*time_ms), self.reflects.max(*reflects));
                self.retention.bound = place.segment;
            }
            Record::Generation { number, position } => {
                self.generation = self.generation.max(Generation { number: *number, position: *position });
                self.reflects = Position(0);
                self.retention.generation = place.segment;
            }
            Record::Clock { time_ms, set_s } => {
                (self.time_ms, self.set_s) = (*time_ms, *set_s);
                self.retention.clock = place.segment;
            }
            Record::Enter(r) => self.apply_enter(r, position),
            Record::Gone(row) => {
                self.stored.remove(row);
                self.owner(row).into_iter().for_each(|owner| self.remove(owner));
            }
            Record::Stored { row, position, change, head } => {
                let segment = place.segment;
                self.rests(row, Stored { position: *position, change: *change, head: *head, segment });
            }
        }
    }

    /// A conversation enters a generation. Below its base nothing comes any more, so that much can be acknowledged as soon as
    /// what was numbered before is durable.
    fn apply_enter(&mut self, record: &records::Enter, position: Position) {
        let Some(slot) = self.changing(&record.conversation, position, record.version) else { return };
        let Some(active) = self.conversation_mut(slot) else { return };
        let all = active.visible == active.row.head;
        active.entries.jump(record.base + 1);
        active.changed = position;
        apply::conversation::enter(&mut active.row, record);
        active.reindex();
        active.visible = if all { active.row.head } else { active.visible };
        self.note_pending(slot, record.base, position);
    }

    /// A row is in the store, and leaves memory.
    fn rests(&mut self, key: &RowKey, stored: Stored) {
        let Some(owner) = self.owner(key) else { return };
        self.remove(owner);
        self.reflects = self.reflects.max(stored.position);
        self.retention.stored(key.clone(), stored.segment);
        self.stored.insert(key.clone(), stored);
    }

    fn device_named(&mut self, user: &str, device: DeviceId) -> Option<&mut DeviceEntry> {
        let slot = self.names.find(user)?;
        self.users.get_mut(slot)?.device_mut(device)
    }

    /// A row begins with its first image.
    fn begin(&mut self, key: &RowKey, bytes: &[u8], place: Place, position: Position) {
        let owner = match key {
            RowKey::User(name) => {
                let Ok(row) = User::decode(bytes) else { return };
                Owner::User(self.put_user(name, row))
            }
            RowKey::Device(name, device) => {
                let Ok(row) = Device::decode(bytes) else { return };
                Owner::Device(self.put_device(name, *device, row), *device)
            }
            RowKey::Conversation(id) => {
                let Ok(row) = Conversation::decode(bytes, &mut self.names) else { return };
                Owner::Conversation(self.put_conversation(*id, row))
            }
            RowKey::Member(..) => return,
        };
        self.imaged(owner, place, position);
    }

    fn apply_user(&mut self, record: &records::User<'_>, position: Position) {
        let Some((slot, _)) = self.user_named(record.name) else { return };
        let Some(entry) = self.users.get_mut(slot) else { return };
        if let Some(row) = &mut entry.row {
            apply::user::change(row, record);
            entry.mark.position = position;
        }
        // The row of a device ends with the device. The store may still have it: one that begins has no part in that.
        if let UserChange::Device(fit) = record.what {
            self.remove_device(slot, fit.device);
            self.stored.remove(&RowKey::device(record.name, fit.device));
        }
    }

    fn apply_message(&mut self, record: &Message<'_>, place: Place, position: Position, committed: &mut Committed) {
        let message = &record.message;
        let (Some(slot), user) = self.slots(record) else { return };
        if message.change.is_some() {
            committed.moved = self.apply_change(slot, record);
        }
        let device = record.device();
        let bodies: Box<[_]> = record.bodies().filter_map(|(user, d)| Some((self.names.find(user)?, d))).collect();
        let Some((active, names)) = self.parts(slot) else { return };
        let author = match record.slots {
            Some(slots) => Some(slots.author),
            None => user.and_then(|user| active.member(user, device)),
        };
        // A change of a group comes to the author's own device as well: device 0 stands for none.
        let owner = if message.change.is_some() { 0 } else { device };
        let time_s = u32::try_from(message.time / 1000).unwrap_or(u32::MAX);
        let entry = Entry::new(place, time_s, author, owner, record.withheld);
        active.entries.push(message.seq, entry, (!bodies.is_empty()).then_some(bodies));
        active.mark.position = position;
        if record.extra.as_ref().is_some_and(|extra| extra.version > 0) {
            active.skipped = position;
        }
        if message.change.is_some() {
            // It is seen first what users are known to have.
            active.changed = position;
        } else {
            apply::message::message(&mut active.row, names, record, author);
            if let Some(author) = author {
                active.passed(author, device, message.seq);
            }
            while active.entries.reclaim().is_some() {}
        }
        if let Some(entry) = user.and_then(|user| self.users.get_mut(user)?.device_mut(device)) {
            apply::device::sent(&mut entry.row, record);
            entry.mark.position = position;
        }
        self.note_message(slot, place.segment);
        self.recount(slot);
        self.note_pending(slot, message.seq, position);
        self.time_ms = self.time_ms.max(message.time);
        committed.slot = Some(slot);
    }

    /// Applies a change of a group to the group's row, and to what is kept beside it.
    fn apply_change(&mut self, slot: ConversationSlot, record: &Message<'_>) -> Moved {
        let Some((active, names)) = self.parts(slot) else { return Moved::default() };
        let user = |active: &Active, index: MemberIndex| active.row.member(index).map(|member| member.user);
        let dropped = record.extra.as_deref().map_or(&[][..], |extra| &extra.dropped);
        let dropped = dropped.iter().filter_map(|&place| user(active, MemberIndex::new(place as usize)));
        let dropped: SmallVec<[UserSlot; 4]> = dropped.collect();
        // The row gives its references back; what is kept beside the names goes with them, below.
        dropped.iter().for_each(|&user| names.hold_again(user));
        let moved = apply::message::message(&mut active.row, names, record, None);
        if !moved.came.is_empty() || !moved.went.is_empty() || !dropped.is_empty() {
            active.reindex();
        }
        let users = |places: &[MemberIndex]| -> SmallVec<[UserSlot; 4]> {
            places.iter().filter_map(|&index| user(active, index)).collect()
        };
        let (came, went) = (users(&moved.came), users(&moved.went));
        let noted = came.iter().chain(&went).map(|user| (user, false)).chain(dropped.iter().map(|user| (user, true)));
        noted.for_each(|(&user, gone)| active.in_store.note(names.text(user), gone));
        for (user, &index) in came.into_iter().zip(&moved.came) {
            self.link(user, slot, true);
            self.connect(slot, index);
        }
        went.into_iter().for_each(|user| self.link(user, slot, false));
        dropped.into_iter().for_each(|user| self.unlink(user, slot));
        moved
    }

    /// The conversation and the author of a message, as far as they are in memory.
    fn slots(&self, record: &Message<'_>) -> (Option<ConversationSlot>, Option<UserSlot>) {
        match record.slots {
            Some(slots) => (Some(slots.conversation), Some(slots.user)),
            None => (self.find(&record.message.conversation), self.names.find(record.message.sender)),
        }
    }

    fn member_of(&self, slot: ConversationSlot, user: &str, device: DeviceId) -> Option<MemberIndex> {
        self.conversation(slot)?.member(self.names.find(user)?, device)
    }

    /// The slot of a conversation that a record of this batch changes. `version`: of the skips that it notes; 0: it notes none.
    fn changing(&mut self, id: &ConversationId, position: Position, version: u64) -> Option<ConversationSlot> {
        let slot = self.find(id)?;
        let active = self.conversation_mut(slot)?;
        active.mark.position = position;
        if version > 0 {
            active.noted_skips(position);
        }
        Some(slot)
    }
}

/// The conversation of a record after which users may be known to have more, because of skips or of a mailbox that ended.
fn settles<'a>(record: &'a Record<'_>) -> Option<(ConversationId, Option<&'a records::Mailbox<'a>>)> {
    match record {
        Record::Message(Message { message, .. }) => message.change.as_ref().map(|_| (message.conversation, None)),
        Record::Mailbox(mailbox) => Some((mailbox.conversation, Some(mailbox))),
        Record::Floor(floor) => Some((floor.conversation, None)),
        Record::Lost(lost) => Some((lost.conversation, None)),
        Record::Enter(enter) => Some((enter.conversation, None)),
        _ => None,
    }
}

/// The receipt version that a record takes.
fn version(record: &Record<'_>) -> Option<u64> {
    match record {
        Record::Message(message) => message.extra.as_deref().map(|extra| extra.version),
        Record::Mailbox(mailbox) => Some(mailbox.version),
        Record::Floor(floor) => Some(floor.version),
        Record::Lost(lost) => Some(lost.version),
        Record::Enter(enter) => Some(enter.version),
        Record::Generation { number, .. } => Some(version_base(*number)),
        _ => None,
    }
}

fn seen(user: &str, entry: &DeviceEntry) -> records::Seen<'static> {
    records::Seen {
        user: user.to_owned().into(),
        device: entry.id,
        seen_s: entry.row.seen_s,
        receives: entry.row.receives,
        receipts: entry.row.receipts,
        confirmed: entry.row.repeats.confirmed(),
    }
}
