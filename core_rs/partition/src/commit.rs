//! A decision becomes state: its records are appended as one, then each is applied to its row.
//!
//! What every decision needs is added here, so that no proposal can forget it:
//! - an *image* of a row before its first record since the log lost sight of it, so that a start finds the row;
//! - the *cursors* of a conversation that moved and are not logged yet, before a record whose effect reads cursors, and the
//!   confirmations of a device before a message that may push out an id, so that a start applies the record to the lazy facts
//!   that it was decided with;
//! - the *bound* of receipt versions, before a record takes one above it.

use smallvec::SmallVec;
use wire::types::ConversationId;

use crate::apply;
use crate::apply::device::MAX_REPEATS;
use crate::entries::Entry;
use crate::ids::{ConversationSlot, DeviceId, MemberIndex, Place, Position, RowKey, UserSlot, version_base};
use crate::journal::{Encoded, Full, Journal};
use crate::lazy::News;
use crate::names::Names;
use crate::records::{self, Message, Record, UserChange};
use crate::rest::Stored;
use crate::rows::{Conversation, Device, User};
use crate::state::{Durable, Generation, Pending, State};
use crate::users::DeviceEntry;

/// The bound of receipt versions is raised by so many, when fewer than half of them are left.
const VERSIONS_AHEAD: u64 = 1 << 20;

/// Room that is used again for each decision.
#[derive(Debug, Default)]
pub struct Scratch {
    encoded: Encoded,
    places: SmallVec<[Place; 4]>,
    image: Vec<u8>,
    /// What was added before the records of the decision.
    before: SmallVec<[Before; 4]>,
}

/// A record that was added before those of a decision.
#[derive(Clone, Debug, PartialEq)]
enum Before {
    Image(Owner),
    Lazy(Record<'static>),
}

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
    /// Of the last message in it: who wrote it, who came and who went.
    pub applied: apply::message::Applied,
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
        scratch.encoded.clear();
        scratch.places.clear();
        scratch.before.clear();
        self.bound_first(records, scratch);
        for record in records {
            self.prepare(record, scratch);
        }
        records.iter().for_each(|record| scratch.encoded.push(record));
        let position = journal.append(&scratch.encoded, &mut scratch.places)?;
        self.position = position;
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
        for id in records.iter().filter_map(settles) {
            let news = self.settle(&id);
            committed.news.extend(news.into_iter().map(|news| (id, news)));
        }
        Ok(committed)
    }

    /// The bound of receipt versions, if it is to rise. After a start it is committed, and made durable, before anything is
    /// acknowledged: until then no receipt finds a version.
    pub fn bound_due(&self) -> Option<Record<'static>> {
        let versions = self.versions.last + VERSIONS_AHEAD;
        let due = self.versions.last + VERSIONS_AHEAD / 2 > self.versions.bound;
        due.then_some(self.bound(versions))
    }

    /// The bound of receipt versions and of the server's time, and what the store must reflect.
    pub(crate) fn bound(&self, versions: u64) -> Record<'static> {
        Record::Bound { versions, time_ms: self.time_ms, reflects: self.reflects }
    }

    /// The bound rises in time, so that what is told before it is logged finds a version.
    fn bound_first(&self, records: &[Record<'_>], scratch: &mut Scratch) {
        let last = records.iter().filter_map(version).fold(self.versions.last, u64::max);
        let explicit = records.iter().any(|record| matches!(record, Record::Bound { .. }));
        if !explicit && last + VERSIONS_AHEAD / 2 > self.versions.bound {
            scratch.lazy(self.bound(last + VERSIONS_AHEAD));
        }
    }

    /// Adds what must stand before a record.
    fn prepare(&self, record: &Record<'_>, scratch: &mut Scratch) {
        match record {
            Record::Message(message) => {
                // A conversation that begins with it has its image among the records.
                if let Some(slot) = self.find(&message.message.conversation) {
                    self.image_conversation(slot, scratch);
                    if message.message.change.is_some() {
                        self.cursors_first(slot, scratch);
                    }
                }
                if let Some(user) = self.names.find(message.message.sender) {
                    self.image_device(user, message.device(), scratch);
                    self.seen_first(user, message, scratch);
                }
            }
            Record::Mailbox(records::Mailbox { conversation, .. })
            | Record::Floor(records::Floor { conversation, .. })
            | Record::Lost(records::Lost { conversation, .. })
            | Record::Enter(records::Enter { conversation, .. }) => {
                let Some(slot) = self.find(conversation) else { return };
                self.image_conversation(slot, scratch);
                self.cursors_first(slot, scratch);
            }
            Record::Cursors(records::Cursors { conversation, .. }) => {
                if let Some(slot) = self.find(conversation) {
                    self.image_conversation(slot, scratch);
                }
            }
            Record::User(user) => {
                if let Some((slot, _)) = self.user_named(user.name) {
                    self.image_user(slot, scratch);
                }
            }
            Record::Seen(records::Seen { user, device, .. }) => {
                if let Some(slot) = self.names.find(user) {
                    self.image_device(slot, *device, scratch);
                }
            }
            Record::Owed { user, device, .. } => {
                if let Some(slot) = self.names.find(user) {
                    self.image_device(slot, *device, scratch);
                }
            }
            Record::Image { .. } | Record::Carried(_) | Record::Stored { .. } | Record::Bound { .. } => {}
            Record::Generation { .. } | Record::Clock { .. } | Record::Gone(_) => {}
        }
    }

    fn image_user(&self, user: UserSlot, scratch: &mut Scratch) {
        let Some(entry) = self.users.get(user).filter(|entry| entry.mark.image == 0) else { return };
        let Some(row) = &entry.row else { return };
        let key = RowKey::user(self.names.text(user));
        scratch.image(Owner::User(user), key, |bytes| row.encode(bytes));
    }

    fn image_device(&self, user: UserSlot, device: DeviceId, scratch: &mut Scratch) {
        let Some(entry) = self.device(user, device).filter(|entry| entry.mark.image == 0) else { return };
        let key = RowKey::device(self.names.text(user), device);
        scratch.image(Owner::Device(user, device), key, |bytes| entry.row.encode(bytes));
    }

    fn image_conversation(&self, slot: ConversationSlot, scratch: &mut Scratch) {
        let Some(active) = self.conversation(slot).filter(|active| active.mark.image == 0) else { return };
        let owner = Owner::Conversation(slot);
        scratch.image(owner, RowKey::Conversation(active.id), |bytes| active.row.encode(&self.names, bytes));
    }

    fn cursors_first(&self, slot: ConversationSlot, scratch: &mut Scratch) {
        if let Some(active) = self.conversation(slot).filter(|active| active.is_dirty()) {
            scratch.lazy(Record::Cursors(active.moved_cursors()));
        }
    }

    /// What a device confirmed makes room for ids; a start must not push out another one.
    fn seen_first(&self, user: UserSlot, message: &Message<'_>, scratch: &mut Scratch) {
        let Some(entry) = self.device(user, message.device()) else { return };
        if !entry.confirmed.is_empty() && entry.row.repeats.len() + entry.confirmed.len() >= MAX_REPEATS {
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
            self.retention.imaged(owner, place.segment);
        }
        // The log has it again.
        let key = match owner {
            Owner::User(user) => RowKey::user(self.names.text(user)),
            Owner::Device(user, device) => RowKey::device(self.names.text(user), device),
            Owner::Conversation(slot) => match self.conversation(slot) {
                Some(active) => RowKey::Conversation(active.id),
                None => return,
            },
        };
        self.stored.remove(&key);
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
                self.with(&r.conversation, position, |row, names| apply::conversation::mailbox(row, names, r));
                let slot = self.find(&r.conversation).filter(|_| r.begins.is_some());
                if let Some((slot, member)) = slot.zip(self.member_of(&r.conversation, &r.user, r.device)) {
                    self.connect(slot, member);
                }
            }
            Record::Floor(r) => {
                self.with(&r.conversation, position, |row, _| apply::conversation::floor(row, r));
                if let Some(active) = self.find(&r.conversation).and_then(|slot| self.conversation_mut(slot)) {
                    active.skipped = position;
                    active.online.forget_snapshots();
                    while active.entries.drop_below(active.row.floor).is_some() {}
                }
                self.wake_at(&r.conversation, position);
            }
            Record::Lost(r) => {
                self.with(&r.conversation, position, |row, _| apply::conversation::lost(row, r));
                let Some(active) = self.find(&r.conversation).and_then(|slot| self.conversation_mut(slot)) else {
                    return;
                };
                active.skipped = position;
                active.online.forget_snapshots();
                r.ranges.iter().for_each(|&(from, to)| active.entries.lose(from, to));
                self.wake_at(&r.conversation, position);
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
                }
            }
            Record::Cursors(r) => {
                if let Some(active) = self.find(&r.conversation).and_then(|slot| self.conversation_mut(slot)) {
                    // They stand in the row already, but for skips that are forgotten with it.
                    apply::conversation::cursors(&mut active.row, r);
                    active.mark.position = position;
                    active.logged();
                }
            }
            Record::Seen(r) => {
                if let Some(entry) = self.device_named(&r.user, r.device) {
                    apply::device::seen(&mut entry.row, r);
                    (entry.dirty, entry.mark.position) = (false, position);
                    entry.confirmed.clear();
                }
            }
            Record::Bound { versions, time_ms, .. } => {
                self.versions.bound = self.versions.bound.max(*versions);
                self.time_ms = self.time_ms.max(*time_ms);
                self.pending.push_back(Pending { position, what: Durable::Versions(*versions) });
                self.retention.bound = place.segment;
            }
            Record::Generation { number, position } => {
                self.generation = self.generation.max(Generation { number: *number, position: *position });
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
        let Some(slot) = self.find(&record.conversation) else { return };
        let Some(active) = self.conversation_mut(slot) else { return };
        let all = active.visible == active.row.head;
        active.entries.jump(record.base + 1);
        (active.changed, active.skipped) = (position, position);
        self.with(&record.conversation, position, |row, _| apply::conversation::enter(row, record));
        if all && let Some(active) = self.conversation_mut(slot) {
            active.visible = active.row.head;
        }
        let what = Durable::Message(record.conversation, record.base);
        self.pending.push_back(Pending { position, what });
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
        // The row of a device ends with the device.
        if let UserChange::Device(fit) = record.what
            && !fit.begins
        {
            self.remove_device(slot, fit.device);
            self.stored.remove(&RowKey::device(record.name, fit.device));
        }
    }

    fn apply_message(&mut self, record: &Message<'_>, place: Place, position: Position, committed: &mut Committed) {
        let message = &record.message;
        let Some(slot) = self.find(&message.conversation) else { return };
        let bodies: Box<[_]> =
            record.bodies().filter_map(|(user, device)| Some((self.names.find(user)?, device))).collect();
        let Some((active, names)) = self.parts(slot) else { return };
        let dropped = record.extra.as_deref().map_or(&[][..], |extra| &extra.dropped);
        let dropped = dropped.iter().filter_map(|&place| active.row.members.get(place as usize)?.as_ref());
        let dropped: SmallVec<[UserSlot; 4]> = dropped.map(|member| member.user).collect();
        // The row gives its references back; what is kept beside the names goes with them, below.
        dropped.iter().for_each(|&user| names.hold_again(user));
        let applied = apply::message::message(&mut active.row, names, record);
        // A change of a group comes to the author's own device as well: device 0 stands for none.
        let device = if message.change.is_some() { 0 } else { record.device() };
        let time_s = u32::try_from(message.time / 1000).unwrap_or(u32::MAX);
        let entry = Entry::new(place, time_s, applied.author, device, record.withheld);
        active.entries.push(message.seq, entry, (!bodies.is_empty()).then_some(bodies));
        active.mark.position = position;
        if message.change.is_some() {
            active.changed = position;
        }
        if !applied.moved.came.is_empty() || !applied.moved.went.is_empty() || !dropped.is_empty() {
            active.reindex();
        }
        if let Some(author) = applied.author.filter(|_| message.change.is_none()) {
            active.passed(author, device, message.seq);
        }
        // After a change it is seen first what users are known to have.
        while message.change.is_none() && active.entries.reclaim().is_some() {}
        let users = |indices: &[MemberIndex]| -> SmallVec<[UserSlot; 4]> {
            indices.iter().filter_map(|&index| Some(active.row.member(index)?.user)).collect()
        };
        let (came, went) = (users(&applied.moved.came), users(&applied.moved.went));
        for (user, &index) in came.into_iter().zip(&applied.moved.came) {
            self.link(user, slot);
            self.count_group(user, true, 1);
            self.connect(slot, index);
        }
        went.into_iter().for_each(|user| self.count_group(user, true, -1));
        dropped.into_iter().for_each(|user| self.unlink(user, slot));
        if let Some(entry) = self.device_named(message.sender, record.device()) {
            apply::device::sent(&mut entry.row, record);
            entry.mark.position = position;
        }
        self.note_message(slot, place.segment);
        self.time_ms = self.time_ms.max(message.time);
        self.pending.push_back(Pending { position, what: Durable::Message(message.conversation, message.seq) });
        committed.applied = applied;
    }

    fn member_of(&self, id: &ConversationId, user: &str, device: DeviceId) -> Option<MemberIndex> {
        self.active(id)?.member(self.names.find(user)?, device)
    }

    /// Applies a record of a conversation other than a message.
    fn with(&mut self, id: &ConversationId, position: Position, apply: impl FnOnce(&mut Conversation, &Names)) {
        let Some((active, names)) = self.find(id).and_then(|slot| self.parts(slot)) else { return };
        apply(&mut active.row, names);
        active.mark.position = position;
        active.reindex();
    }
}

/// The conversation of a record after which users may be known to have more, because of skips or mailboxes that ended.
fn settles(record: &Record<'_>) -> Option<ConversationId> {
    match record {
        Record::Message(message) => message.message.change.as_ref().map(|_| message.message.conversation),
        Record::Mailbox(mailbox) => Some(mailbox.conversation),
        Record::Floor(floor) => Some(floor.conversation),
        Record::Lost(lost) => Some(lost.conversation),
        Record::Enter(enter) => Some(enter.conversation),
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
        confirmed: entry.confirmed.clone(),
    }
}

impl Scratch {
    fn image(&mut self, owner: Owner, row: RowKey, encode: impl FnOnce(&mut Vec<u8>)) {
        let before = Before::Image(owner);
        if self.before.contains(&before) {
            return;
        }
        self.image.clear();
        encode(&mut self.image);
        self.encoded.push(&Record::Image { row, bytes: (&*self.image).into() });
        self.before.push(before);
    }

    fn lazy(&mut self, record: Record<'static>) {
        let before = Before::Lazy(record);
        if let Before::Lazy(record) = &before
            && !self.before.contains(&before)
        {
            self.encoded.push(record);
            self.before.push(before);
        }
    }
}
