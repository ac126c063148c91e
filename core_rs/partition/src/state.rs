//! The rows that are in memory: users, devices, conversations, at the newest position.
//!
//! There is one copy of each. That it runs ahead of the disk is harmless: a failed append or sync ends the router (I10).

use std::collections::VecDeque;
use std::hash::BuildHasher;

use hashbrown::{DefaultHashBuilder, HashMap, HashTable};
use slab::Slab;
use thin_vec::ThinVec;

use crate::active::Active;
use crate::commit::Owner;
use crate::ids::{ConversationId, ConversationSlot, DeviceId, MemberIndex, Place, Position, RowKey, UserSlot};
use crate::index::{Answers, Said};
use crate::names::Names;
use crate::rest::Stored;
use crate::retention::Retention;
use crate::rows::{Conversation, Device, User};
use crate::users::{DeviceEntry, Mark, Users};

/// Receipt versions: given in ascending order, never twice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Versions {
    /// The last one given.
    pub last: u64,
    /// Those up to here may be given by a record that is in the log.
    pub bound: u64,
    /// The same, by a record that is durable: what is told before it is logged takes one of these.
    pub durable: u64,
    /// The batch that makes `bound` durable.
    pub bound_at: Position,
}

/// The generation in which numbers are given.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Generation {
    /// Numbers are given above its [`generation_base`](crate::ids::generation_base).
    pub number: u32,
    /// The highest position that may have been used before it began: rows in the store may reflect it, whatever the log says.
    pub position: Position,
}

/// See the module.
#[derive(Debug, Default)]
pub struct State {
    /// Names of all users that a row in memory refers to.
    pub names: Names,
    /// Users and devices.
    pub users: Users,
    /// See [`Versions`].
    pub versions: Versions,
    /// What the store said of rows that are not in memory.
    pub(crate) answers: Answers,
    /// Messages that become visible with a batch, in the order of batches: a conversation once in each.
    pending: VecDeque<Pending>,
    /// How many of these went before.
    popped: u64,
    /// See [`Generation`].
    pub generation: Generation,
    /// The latest time in a record since it was put right, ms since 1970.
    pub time_ms: u64,
    /// When it was last put right, seconds since 1970; 0: never.
    pub set_s: u32,
    /// The highest position that a row in the store reflects.
    pub reflects: Position,
    /// The last batch that a record went to.
    pub position: Position,
    /// The last batch that an exact record went to: what is said now may leave when it is durable. Nobody waits for lazy facts,
    /// so that their batch may stay unsynced for a while.
    pub exact: Position,
    /// The last batch that is durable.
    pub synced: Position,
    /// What the log says of rows in the store; as long as it does.
    pub stored: HashMap<RowKey, Stored>,
    pub(crate) retention: Retention,
    /// Conversations and devices with lazy facts that are not logged yet, the longest first.
    pub(crate) dirty: VecDeque<Owner>,
    /// Bodies in memory that nobody wants any more.
    pub(crate) freed: ThinVec<(Place, u32)>,
    /// Conversations whose sessions may get something: see [`crate::online`].
    pub(crate) woken: Vec<ConversationSlot>,
    /// How many conversations were taken into memory, wrapping.
    taken: u32,
    /// Undelivered messages, and bytes of their records.
    pub(crate) totals: (u64, u64),
    conversations: Slab<Box<Active>>,
    by_id: HashTable<u32>,
    hasher: DefaultHashBuilder,
}

/// See [`State::pending`]. A conversation does not leave memory while it has such.
#[derive(Clone, Copy, Debug)]
struct Pending {
    position: Position,
    slot: ConversationSlot,
    /// Its last message in this batch; 0: only skips can be shown.
    seq: u64,
}

impl State {
    /// The slot of a conversation in memory.
    pub fn find(&self, id: &ConversationId) -> Option<ConversationSlot> {
        let same = |&slot: &u32| self.conversations.get(slot as usize).is_some_and(|active| active.id == *id);
        self.by_id.find(self.hasher.hash_one(id), same).map(|&slot| ConversationSlot::new(slot as usize))
    }

    /// A conversation in memory.
    pub fn conversation(&self, slot: ConversationSlot) -> Option<&Active> {
        self.conversations.get(slot.place()).map(Box::as_ref)
    }

    /// The same, by id.
    pub fn active(&self, id: &ConversationId) -> Option<&Active> {
        self.conversation(self.find(id)?)
    }

    /// A conversation in memory, to change.
    pub fn conversation_mut(&mut self, slot: ConversationSlot) -> Option<&mut Active> {
        self.conversations.get_mut(slot.place()).map(Box::as_mut)
    }

    /// A conversation in memory and the names, to apply a record with.
    pub(crate) fn parts(&mut self, slot: ConversationSlot) -> Option<(&mut Active, &mut Names)> {
        Some((self.conversations.get_mut(slot.place())?, &mut self.names))
    }

    /// Conversations in memory.
    pub fn conversations_len(&self) -> usize {
        self.conversations.len()
    }

    /// Places of the table of conversations: slots that were given so far.
    pub fn conversation_slots(&self) -> usize {
        self.conversations.capacity()
    }

    /// Undelivered messages of a conversation came or went: they are counted.
    pub(crate) fn recount(&mut self, slot: ConversationSlot) {
        if let Some(active) = self.conversations.get_mut(slot.place()) {
            let (messages, bytes) = active.entries.count(false);
            self.freed.append(&mut active.entries.freed);
            let (before, before_bytes) = self.totals;
            self.totals = (before.wrapping_add_signed(messages), before_bytes.wrapping_add_signed(bytes));
        }
    }

    /// All conversations in memory, in no order that means anything.
    pub fn conversations(&self) -> impl Iterator<Item = (ConversationSlot, &Active)> {
        self.conversations.iter().map(|(place, active)| (ConversationSlot::new(place), active.as_ref()))
    }

    /// Takes a conversation's row in, with the row's references to its members' names. It is not in memory yet.
    pub fn put_conversation(&mut self, id: ConversationId, row: Conversation) -> ConversationSlot {
        let users: Vec<(MemberIndex, UserSlot, bool)> =
            row.iter().map(|(index, member)| (index, member.user, member.role.is_some())).collect();
        self.taken = self.taken.wrapping_add(1);
        let mut active = Box::new(Active::new(id, row));
        active.serial = self.taken;
        let place = self.conversations.insert(active);
        let (all, hasher) = (&self.conversations, &self.hasher);
        let rehash = |&slot: &u32| all.get(slot as usize).map_or(0, |active| hasher.hash_one(active.id));
        self.by_id.insert_unique(hasher.hash_one(id), place as u32, rehash);
        let slot = ConversationSlot::new(place);
        for (index, user, member_of_group) in users {
            self.link(user, slot, member_of_group);
            self.connect(slot, index);
        }
        self.answers.remove(&RowKey::Conversation(id));
        slot
    }

    /// A user takes part in a conversation in memory, or did; `group`: it is a group, and the user a member now.
    pub(crate) fn link(&mut self, user: UserSlot, slot: ConversationSlot, group: bool) {
        let entry = self.users.entry(user);
        entry.conversations.insert(slot);
        if group {
            entry.groups.insert(slot);
        } else {
            entry.groups.remove(&slot);
        }
    }

    /// A user takes part in a conversation no more, and gives back the reference to its name.
    pub(crate) fn unlink(&mut self, user: UserSlot, slot: ConversationSlot) {
        if let Some(entry) = self.users.get_mut(user) {
            entry.conversations.remove(&slot);
            entry.groups.remove(&slot);
        }
        self.release(user);
    }

    /// Lets a conversation's row go; whoever calls knows that the store has it.
    pub fn remove_conversation(&mut self, slot: ConversationSlot) -> Option<Active> {
        let mut active = self.conversations.try_remove(slot.place())?;
        let counted = active.entries.count(true);
        self.totals = (self.totals.0.wrapping_add_signed(counted.0), self.totals.1.wrapping_add_signed(counted.1));
        // Only a row that is given up goes before all of it is durable; another conversation may get the slot.
        if active.pending >= self.popped {
            self.pending.iter_mut().filter(|pending| pending.slot == slot).for_each(|pending| pending.seq = 0);
        }
        let hash = self.hasher.hash_one(active.id);
        if let Ok(entry) = self.by_id.find_entry(hash, |&found| found as usize == slot.place()) {
            entry.remove();
        }
        for member in active.row.members.drain(..).flatten() {
            self.unlink(member.user, slot);
        }
        Some(*active)
    }

    /// A name has one reference less; what is in memory of its user goes with the last.
    pub(crate) fn release(&mut self, user: UserSlot) {
        if self.names.release(user) {
            self.users.remove(user);
        }
    }

    /// Takes a user's row in. A row holds its user's name once.
    pub fn put_user(&mut self, name: &str, row: User) -> UserSlot {
        let slot = self.names.hold(name);
        if self.users.entry(slot).row.replace(row).is_some() {
            self.names.release(slot);
        } else {
            self.users.rows.0 += 1;
        }
        self.answers.remove(&RowKey::user(name));
        slot
    }

    /// Takes a device's row in. A row holds its user's name once.
    pub fn put_device(&mut self, name: &str, device: DeviceId, row: Device) -> UserSlot {
        let slot = self.names.hold(name);
        if self.users.entry(slot).put_device(device, row) {
            self.names.release(slot);
        } else {
            self.users.rows.1 += 1;
        }
        self.answers.remove(&RowKey::device(name, device));
        slot
    }

    /// Lets a user's row go; whoever calls knows that the store has it.
    pub fn remove_user(&mut self, user: UserSlot) -> Option<User> {
        let entry = self.users.get_mut(user)?;
        entry.mark = Mark::default();
        let row = entry.row.take()?;
        self.users.rows.0 -= 1;
        self.release(user);
        Some(row)
    }

    /// Lets a device's row go: the store has it, or there is no such device any more.
    pub fn remove_device(&mut self, user: UserSlot, device: DeviceId) -> Option<Device> {
        let devices = &mut self.users.get_mut(user)?.devices;
        let place = devices.iter().position(|entry| entry.id == device)?;
        let entry = devices.remove(place);
        self.users.rows.1 -= 1;
        self.release(user);
        Some(entry.row)
    }

    /// A user's row in memory.
    pub fn user(&self, slot: UserSlot) -> Option<&User> {
        self.users.get(slot)?.row.as_ref()
    }

    /// A user's row in memory, by name.
    pub fn user_named(&self, name: &str) -> Option<(UserSlot, &User)> {
        let slot = self.names.find(name)?;
        Some((slot, self.user(slot)?))
    }

    /// A device's row in memory.
    pub fn device(&self, user: UserSlot, device: DeviceId) -> Option<&DeviceEntry> {
        self.users.get(user)?.device(device)
    }

    /// Which row in memory has this key.
    pub fn owner(&self, key: &RowKey) -> Option<Owner> {
        match key {
            RowKey::User(name) => self.user_named(name).map(|(user, _)| Owner::User(user)),
            RowKey::Device(name, device) => {
                let user = self.names.find(name)?;
                self.device(user, *device).map(|_| Owner::Device(user, *device))
            }
            RowKey::Conversation(id) => self.find(id).map(Owner::Conversation),
            RowKey::Member(..) => None,
        }
    }

    /// The key of a row in memory.
    pub fn key(&self, owner: Owner) -> Option<RowKey> {
        match owner {
            Owner::User(user) => self.user(user).map(|_| RowKey::user(self.names.text(user))),
            Owner::Device(user, id) => self.device(user, id).map(|_| RowKey::device(self.names.text(user), id)),
            Owner::Conversation(slot) => self.conversation(slot).map(|active| RowKey::Conversation(active.id)),
        }
    }

    /// Appends the bytes of a row in memory; gives its key, its count, and of a conversation the head, else 0.
    pub fn encode(&self, owner: Owner, bytes: &mut Vec<u8>) -> Option<(RowKey, u16, u64)> {
        let (change, head) = match owner {
            Owner::User(user) => {
                let row = self.user(user)?;
                row.encode(bytes);
                (row.changes, 0)
            }
            Owner::Device(user, device) => {
                let row = &self.device(user, device)?.row;
                row.encode(bytes);
                (row.changes, 0)
            }
            Owner::Conversation(slot) => {
                let row = &self.conversation(slot)?.row;
                row.encode(&self.names, bytes);
                (row.changes, row.head)
            }
        };
        Some((self.key(owner)?, change, head))
    }

    /// What the log has of a row in memory.
    pub fn mark(&self, owner: Owner) -> Option<&Mark> {
        match owner {
            Owner::User(user) => self.users.get(user).filter(|entry| entry.row.is_some()).map(|entry| &entry.mark),
            Owner::Device(user, device) => self.device(user, device).map(|entry| &entry.mark),
            Owner::Conversation(slot) => self.conversation(slot).map(|active| &active.mark),
        }
    }

    pub(crate) fn mark_mut(&mut self, owner: Owner) -> Option<&mut Mark> {
        match owner {
            Owner::User(user) => self.users.get_mut(user).map(|entry| &mut entry.mark),
            Owner::Device(user, device) => {
                self.users.get_mut(user).and_then(|entry| entry.device_mut(device)).map(|entry| &mut entry.mark)
            }
            Owner::Conversation(slot) => self.conversation_mut(slot).map(|active| &mut active.mark),
        }
    }

    /// Whether it is known that there is no such row, neither in memory nor in the store.
    pub fn is_absent(&self, key: &RowKey) -> bool {
        self.owner(key).is_none() && (!self.users.store || self.answers.get(key) == Some(Said::Absent))
    }

    /// Batches up to this one are durable: messages in them can be shown, and the conversations are woken.
    pub fn synced(&mut self, position: Position) {
        self.synced = self.synced.max(position);
        if self.versions.bound_at <= position {
            self.versions.durable = self.versions.bound;
        }
        while let Some(&pending) = self.pending.front().filter(|pending| pending.position <= position) {
            self.pending.pop_front();
            self.popped += 1;
            let Some(active) = self.conversation_mut(pending.slot) else { continue };
            active.visible = active.visible.max(pending.seq);
            self.wake(pending.slot);
        }
    }

    /// A message, or skips, become visible with a batch.
    pub(crate) fn note_pending(&mut self, slot: ConversationSlot, seq: u64, position: Position) {
        let Some(active) = self.conversations.get_mut(slot.place()) else { return };
        let last = active.pending.checked_sub(self.popped).and_then(|place| self.pending.get_mut(place as usize));
        match last.filter(|last| (last.position, last.slot) == (position, slot)) {
            Some(last) => last.seq = last.seq.max(seq),
            None => {
                active.pending = self.popped + self.pending.len() as u64;
                self.pending.push_back(Pending { position, slot, seq });
            }
        }
    }

    /// A receipt version for what is told before it is logged. `None`: the bound is not durable yet; ask later.
    pub(crate) fn next_version(&mut self) -> Option<u64> {
        (self.versions.last < self.versions.durable).then(|| {
            self.versions.last += 1;
            self.versions.last
        })
    }

    /// All rows that are active, in memory and in the log, as bytes, in the order of their keys: what I14 compares. A row that
    /// came from the store and had no record since is not.
    pub fn rows(&self) -> Vec<(RowKey, Vec<u8>)> {
        let users = self.users.iter().flat_map(|(user, entry)| {
            let devices = entry.devices.iter().map(move |device| Owner::Device(user, device.id));
            devices.chain([Owner::User(user)])
        });
        let owners = users.chain(self.conversations().map(|(slot, _)| Owner::Conversation(slot)));
        let active = owners.filter(|owner| self.mark(*owner).is_some_and(|mark| mark.image != 0));
        let row = |owner| {
            let mut bytes = Vec::new();
            Some((self.encode(owner, &mut bytes)?.0, bytes))
        };
        let mut rows: Vec<(RowKey, Vec<u8>)> = active.filter_map(row).collect();
        rows.sort_unstable();
        rows
    }
}
