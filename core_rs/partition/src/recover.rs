//! From the log to rows: what a start does, and what a replica will do.
//!
//! Records are given in the order of the log. For each row, what stands before its first image is passed over: the image
//! reflects it. From there on each record is applied by [`apply`], exactly as when the partition ran. Nothing is
//! merged, reconciled or guessed.
//!
//! # Rules
//! - Bodies are found wherever they stand, also before the first image, and again where they were carried: the last place
//!   counts.
//! - What cannot be read, is missing or does not fit is a [`Problem`], which is noted. A row of which records are missing stays as
//!   the last one before left it, and is a suspect until an image, `stored` or `gone` record decides what it is. None of them
//!   means "nothing to keep": the caller starts nothing and deletes nothing while there is one (positive evidence).

use compact_str::CompactString;
use hashbrown::HashMap;

use crate::apply;
use crate::bytes::Malformed;
use crate::ids::{ConversationId, DeviceId, Place, Position, RowKey, UserSlot};
use crate::names::Names;
use crate::records::{self, Cursors, Message, Record, UserChange};
use crate::retention::Retention;
use crate::rows::{Conversation, Device, User};
use crate::state::Generation;
use crate::suspects::Findings;
use crate::users::Mark;

/// Why a log does not make rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Problem {
    /// A record cannot be read; of an unknown kind or version: a later build wrote it.
    Unreadable {
        /// Of an image: its row.
        row: Option<RowKey>,
        /// The record's kind.
        kind: u8,
        /// Where.
        place: Place,
        /// Why.
        why: Malformed,
    },
    /// A record presumes a row that no image and no `stored` brought.
    NoImage(RowKey),
    /// A record presumes that the row is active, and it went to the store before.
    AtRest(RowKey),
    /// Records of a row are missing.
    Gap {
        /// Which row.
        row: RowKey,
        /// The count that was due.
        due: u16,
        /// The count that came.
        came: u16,
    },
    /// A mailbox or user of a conversation has more than its last message: messages are missing.
    Above(RowKey),
    /// A mailbox lacks a message whose record is not in the log.
    NoBody {
        /// Where.
        conversation: ConversationId,
        /// The first such message.
        seq: u64,
    },
}

/// What the log says of a row.
#[derive(Clone, Debug, PartialEq)]
pub enum Found<R> {
    /// Records were passed over that stand before its image.
    Before,
    /// It is active.
    Active(R, Mark),
    /// Records of it are missing. This is what it was before.
    Broken(R, Mark),
    /// It is in the store, and must be found there as this says.
    Stored {
        /// The batch that holds the last record which it reflects.
        position: Position,
        /// Its count.
        change: u16,
        /// Of a conversation: its head.
        head: u64,
        /// The segment that says so.
        segment: u32,
    },
}

/// An undelivered message's record, as it was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Body {
    /// The message's number.
    pub seq: u64,
    /// Where its record stands.
    pub place: Place,
    /// When it was accepted, ms since 1970.
    pub time_ms: u64,
    /// Who wrote it.
    pub author: UserSlot,
    /// On which device.
    pub device: DeviceId,
    /// It is a change of the group, which comes to the author's device as well.
    pub change: bool,
    /// Only the author's own devices get it.
    pub withheld: bool,
    /// Which devices have a body of their own; `None`: one body is for all.
    pub bodies: Option<Box<[(UserSlot, DeviceId)]>>,
}

impl Body {
    /// Gives back the references to its users' names.
    pub(crate) fn release(&self, names: &mut Names) {
        names.release(self.author);
        self.bodies.iter().flat_map(|bodies| bodies.iter()).for_each(|&(user, _)| {
            names.release(user);
        });
    }
}

/// A conversation's messages are looked through for those that nobody lacks when there are at least so many of them, each time
/// that they would need more room.
const PRUNE: usize = 16;

/// See the module.
#[derive(Debug, Default)]
pub struct Recovery {
    /// Names of all users that are referred to.
    pub names: Names,
    /// By name.
    pub users: HashMap<CompactString, Found<User>>,
    /// By user name and device.
    pub devices: HashMap<(CompactString, DeviceId), Found<Device>>,
    /// By id.
    pub conversations: HashMap<ConversationId, Found<Conversation>>,
    /// Message records of each conversation, in the order of the log.
    pub bodies: HashMap<ConversationId, Vec<Body>>,
    /// The highest receipt version below which everything may have been used.
    pub versions: u64,
    /// See [`Generation`].
    pub generation: Generation,
    /// The latest time of a message or bound since the clock was put right, ms since 1970.
    pub time_ms: u64,
    /// When it was, seconds since 1970; 0: never.
    pub set_s: u32,
    /// What the store reflects at least.
    pub reflects: Position,
    pub(crate) retention: Retention,
    pub(crate) findings: Findings,
    /// The last batch.
    pub position: Position,
}

impl Recovery {
    /// Takes the next record of the log. What cannot be read, or does not fit, is noted.
    pub fn take(&mut self, kind: u8, body: &[u8], place: Place, position: Position) {
        self.position = self.position.max(position);
        let taken = match records::decode(kind, body) {
            Ok(record) => self.apply(&record, (kind, place), position),
            Err(why) => Err(Problem::Unreadable { row: None, kind, place, why }),
        };
        if let Err(problem) = taken {
            self.findings.note(problem);
        }
    }

    fn apply(&mut self, record: &Record<'_>, (kind, place): (u8, Place), position: Position) -> Result<(), Problem> {
        match record {
            Record::Image { row, bytes } => {
                let unreadable = |why| Problem::Unreadable { row: Some(row.clone()), kind, place, why };
                self.image(row, bytes, Mark { image: place.segment, used_s: 0, position }).map_err(unreadable)?;
                self.findings.decided(row);
            }
            Record::Message(message) => self.message(message, place, position)?,
            Record::Carried(message) => self.body(message, place),
            Record::Mailbox(r) => {
                if let Some((row, names)) = self.conversation(r.conversation, (r.change, position))? {
                    let member = names.find(&r.user).and_then(|user| row.find(user, r.device));
                    apply::conversation::mailbox(row, member, r);
                }
            }
            Record::Floor(r) => {
                if let Some((row, _)) = self.conversation(r.conversation, (r.change, position))? {
                    apply::conversation::floor(row, r);
                }
            }
            Record::Lost(r) => {
                if let Some((row, _)) = self.conversation(r.conversation, (r.change, position))? {
                    apply::conversation::lost(row, r);
                }
            }
            Record::Enter(r) => {
                if let Some((row, _)) = self.conversation(r.conversation, (r.change, position))? {
                    apply::conversation::enter(row, r);
                }
            }
            Record::User(r) => {
                let key = || RowKey::user(r.name);
                if let Some(row) = exact(self.users.entry(r.name.into()), (r.change, position), |u| u.changes, key)? {
                    apply::user::change(row, r);
                }
                // The row of a device ends with the device, whether or not that of the user was found yet.
                if let UserChange::Device(fit) = r.what
                    && !fit.begins
                {
                    self.gone(&RowKey::device(r.name, fit.device));
                }
            }
            Record::Cursors(r) => match self.conversations.get_mut(&r.conversation) {
                Some(found) if is_above(found, r) => {
                    break_off(found);
                    return Err(Problem::Above(RowKey::Conversation(r.conversation)));
                }
                _ => {
                    if let Some(row) = lazy(self.conversations.entry(r.conversation), position) {
                        apply::conversation::cursors(row, r);
                    }
                }
            },
            Record::Seen(r) => {
                if let Some(row) = lazy(self.devices.entry((r.user.as_ref().into(), r.device)), position) {
                    apply::device::seen(row, r);
                }
            }
            Record::Owed { user, device, change, conversation, version } => {
                let key = || RowKey::device(user, *device);
                let slot = self.devices.entry((user.as_ref().into(), *device));
                if let Some(row) = exact(slot, (*change, position), |d| d.changes, key)? {
                    apply::device::owed(row, *change, *conversation, *version);
                }
            }
            Record::Stored { row, position, change, head } => {
                self.stored(row, (*position, *change, *head, place.segment))
            }
            Record::Bound { versions, time_ms, reflects } => {
                self.versions = self.versions.max(*versions);
                self.time_ms = self.time_ms.max(*time_ms);
                self.reflects = self.reflects.max(*reflects);
                self.retention.bound = place.segment;
            }
            Record::Generation { number, position } => {
                (self.findings.unreadable, self.reflects) = (0, Position(0));
                self.generation = self.generation.max(Generation { number: *number, position: *position });
                self.retention.generation = place.segment;
            }
            Record::Clock { time_ms, set_s } => {
                (self.time_ms, self.set_s) = (*time_ms, *set_s);
                self.retention.clock = place.segment;
            }
            Record::Gone(row) => self.gone(row),
        }
        Ok(())
    }

    /// The row of a conversation that an exact record changes.
    fn conversation(
        &mut self,
        id: ConversationId,
        at: (u16, Position),
    ) -> Result<Option<(&mut Conversation, &mut Names)>, Problem> {
        let row = exact(self.conversations.entry(id), at, |row| row.changes, || RowKey::Conversation(id))?;
        Ok(row.map(|row| (row, &mut self.names)))
    }

    fn image(&mut self, row: &RowKey, bytes: &[u8], mark: Mark) -> Result<(), Malformed> {
        match row {
            RowKey::User(name) => {
                let user = User::decode(bytes)?;
                self.users.insert(name.clone(), Found::Active(user, mark));
            }
            RowKey::Device(name, device) => {
                let row = Device::decode(bytes)?;
                self.devices.insert((name.clone(), *device), Found::Active(row, mark));
            }
            RowKey::Conversation(id) => {
                let row = Conversation::decode(bytes, &mut self.names)?;
                let before = self.conversations.insert(*id, Found::Active(row, mark));
                before.into_iter().for_each(|found| release(&mut self.names, found));
            }
            RowKey::Member(..) => {}
        }
        Ok(())
    }

    fn message(&mut self, record: &Message<'_>, place: Place, position: Position) -> Result<(), Problem> {
        let id = record.message.conversation;
        let found = self.conversation(id, (record.change, position)).map(|found| {
            if let Some((row, names)) = found {
                let author = names.find(record.message.sender).and_then(|user| row.find(user, record.device()));
                apply::message::message(row, names, record, author);
            }
        });
        let device = (CompactString::from(record.message.sender), record.device());
        let key = || RowKey::device(record.message.sender, record.device());
        let sender = exact(self.devices.entry(device), (record.device_change, position), |d| d.changes, key);
        let sender = sender.map(|row| row.map(|row| apply::device::sent(row, record)));
        // Not that of a message that is carried: the clock may have been put right since.
        self.time_ms = self.time_ms.max(record.message.time);
        self.body(record, place);
        if let Err(problem) = found {
            self.findings.note(problem);
        }
        sender.map(drop)
    }

    fn body(&mut self, record: &Message<'_>, place: Place) {
        let message = &record.message;
        let mut bodies = record.bodies().peekable();
        let own = bodies.peek().is_some();
        let bodies: Box<[_]> = bodies.map(|(user, device)| (self.names.hold(user), device)).collect();
        let body = Body {
            seq: message.seq,
            place,
            time_ms: message.time,
            author: self.names.hold(message.sender),
            device: record.device(),
            change: message.change.is_some(),
            withheld: record.withheld,
            bodies: own.then_some(bodies),
        };
        let list = self.bodies.entry(message.conversation).or_default();
        if list.len() >= PRUNE && list.len() == list.capacity() {
            // What every mailbox has, and every user is known to have, is not looked for any more: both only rise.
            if let Some(Found::Active(row, _)) = self.conversations.get(&message.conversation) {
                let lowest = row.lowest().unwrap_or(row.head.saturating_sub(1)).min(row.known());
                let names = &mut self.names;
                list.retain(|body| {
                    let wanted = body.seq > lowest;
                    if !wanted {
                        body.release(names);
                    }
                    wanted
                });
            }
        }
        list.push(body);
    }

    fn gone(&mut self, row: &RowKey) {
        self.findings.decided(row);
        match row {
            RowKey::User(name) => drop(self.users.remove(name)),
            RowKey::Device(name, device) => drop(self.devices.remove(&(name.clone(), *device))),
            RowKey::Conversation(id) => {
                self.conversations.remove(id).into_iter().for_each(|found| release(&mut self.names, found));
                let bodies = self.bodies.remove(id).unwrap_or_default();
                bodies.iter().for_each(|body| body.release(&mut self.names));
            }
            RowKey::Member(..) => {}
        }
    }

    fn stored(&mut self, row: &RowKey, (position, change, head, segment): (Position, u16, u64, u32)) {
        self.reflects = self.reflects.max(position);
        self.findings.decided(row);
        match row {
            RowKey::User(name) => {
                self.users.insert(name.clone(), Found::Stored { position, change, head, segment });
            }
            RowKey::Device(name, device) => {
                self.devices.insert((name.clone(), *device), Found::Stored { position, change, head, segment });
            }
            RowKey::Conversation(id) => {
                let stored = Found::Stored { position, change, head, segment };
                let before = self.conversations.insert(*id, stored);
                before.into_iter().for_each(|found| release(&mut self.names, found));
            }
            RowKey::Member(..) => {}
        }
    }
}

/// A row gives back its references.
fn release(names: &mut Names, found: Found<Conversation>) {
    if let Found::Active(row, _) | Found::Broken(row, _) = found {
        row.iter().for_each(|(_, member)| {
            names.release(member.user);
        });
    }
}

/// Whether cursors are above their conversation's head.
fn is_above(found: &Found<Conversation>, record: &Cursors) -> bool {
    let Found::Active(row, _) = found else { return false };
    let mut members = record.members.iter();
    members.any(|m| m.progress[0] > row.head || m.cursors.iter().any(|cursor| cursor.1 > row.head))
}

/// Records of an active row are missing.
fn break_off<R>(found: &mut Found<R>) {
    if let Found::Active(row, mark) = std::mem::replace(found, Found::Before) {
        *found = Found::Broken(row, mark);
    }
}

/// The row that an exact record changes; `None`: the record stands before the row's image, or behind a gap.
fn exact<'a, K, R, S>(
    slot: hashbrown::hash_map::Entry<'a, K, Found<R>, S>,
    (came, position): (u16, Position),
    count: impl Fn(&R) -> u16,
    key: impl Fn() -> RowKey,
) -> Result<Option<&'a mut R>, Problem>
where
    K: Eq + std::hash::Hash,
    S: std::hash::BuildHasher,
{
    let found = slot.or_insert(Found::Before);
    if let Found::Active(row, _) = found
        && count(row).wrapping_add(1) != came
    {
        let due = count(row).wrapping_add(1);
        break_off(found);
        return Err(Problem::Gap { row: key(), due, came });
    }
    match found {
        Found::Before | Found::Broken(..) => Ok(None),
        Found::Stored { .. } => Err(Problem::AtRest(key())),
        Found::Active(row, mark) => {
            mark.position = position;
            Ok(Some(row))
        }
    }
}

/// The row that a lazy record raises; `None`: it is not active yet, or no more.
fn lazy<'a, K, R, S>(slot: hashbrown::hash_map::Entry<'a, K, Found<R>, S>, position: Position) -> Option<&'a mut R>
where
    K: Eq + std::hash::Hash,
    S: std::hash::BuildHasher,
{
    match slot {
        hashbrown::hash_map::Entry::Occupied(found) => match found.into_mut() {
            Found::Active(row, mark) => {
                mark.position = position;
                Some(row)
            }
            _ => None,
        },
        hashbrown::hash_map::Entry::Vacant(_) => None,
    }
}
