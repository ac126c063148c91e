//! Eviction of rows to the store, and loading them back.
//!
//! # Rules
//! - The store gets a row as it is at a durable position: without unlogged lazy facts, and a conversation without undelivered
//!   messages. Receipts that a conversation owes to a device are logged in the device's row first.
//! - A row leaves memory when its `stored` record is committed. Until then the log holds the row.
//! - A loaded row is compared with its `stored` record, position included, while the log still has that record. A row that
//!   differs, cannot be read or is missing is an error ([`Misfit`]), and so is one above the log's end. Only a generation explains
//!   a row that is newer than its record: the log lost what came between.

use smallvec::SmallVec;

use crate::active::Active;
use crate::bytes::Malformed;
use crate::commit::Owner;
use crate::ids::{ConversationSlot, DeviceId, Position, RowKey, UserSlot};
use crate::names::Names;
use crate::propose::{Decided, Stop};
use crate::records::Record;
use crate::rows::{Conversation, Device, Kind, User};
use crate::state::State;

/// Most rows that are remembered for not being there: whoever asks for names that do not exist costs no more than these.
const MAX_ABSENT: usize = 1 << 16;

/// What the log says of a row in the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stored {
    /// The batch that holds the last record which the row reflects.
    pub position: Position,
    /// The row's count.
    pub change: u16,
    /// Of a conversation: its head; else 0.
    pub head: u64,
    /// The segment that says so.
    pub segment: u32,
}

/// A step towards a row's rest.
#[derive(Debug)]
pub enum Rest {
    /// Not now: it is in use, or not durable.
    Busy,
    /// It is as it came from the store, and can be forgotten: [`State::forget`].
    Unchanged,
    /// To be committed first; ask again when that is durable.
    Log(Vec<Record<'static>>),
    /// To be written to the store, and then committed: the `stored` record.
    Write(Vec<u8>, Record<'static>),
}

/// Why a row that came from the store is not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Misfit {
    /// The log says that it is there, and it is not.
    Missing(Stored),
    /// It cannot be read.
    Unreadable(Malformed),
    /// It is not the row that the log speaks of: its position, count and head.
    Other(Stored, Position, u16, u64),
    /// It reflects a position that the log does not have yet.
    Ahead(Position),
}

impl State {
    /// The next step of letting a row rest. `synced`: the last durable batch.
    ///
    /// # Errors
    /// Rows of those are needed whom a conversation owes receipts.
    pub fn rest(&self, key: &RowKey, synced: Position) -> Decided<Rest> {
        let Some(owner) = self.owner(key) else { return Ok(Rest::Busy) };
        let Some(mark) = self.mark(owner).filter(|mark| mark.position <= synced) else { return Ok(Rest::Busy) };
        if mark.image == 0 {
            return Ok(if self.is_clean(owner) { Rest::Unchanged } else { Rest::Busy });
        }
        let mut bytes = Vec::new();
        let (change, head) = match owner {
            Owner::User(user) => {
                let Some(row) = self.user(user).filter(|row| row.fits.is_empty()) else { return Ok(Rest::Busy) };
                row.encode(&mut bytes);
                (row.changes, 0)
            }
            Owner::Device(user, device) => {
                let Some(entry) = self.device(user, device).filter(|entry| !entry.dirty) else { return Ok(Rest::Busy) };
                entry.row.encode(&mut bytes);
                (entry.row.changes, 0)
            }
            Owner::Conversation(slot) => {
                let Some(active) = self.conversation(slot) else { return Ok(Rest::Busy) };
                if !active.entries.is_empty() || active.is_dirty() {
                    return Ok(Rest::Busy);
                }
                match self.owed(active, synced)? {
                    Owing::Records(records) if records.is_empty() => {}
                    Owing::Records(records) => return Ok(Rest::Log(records)),
                    Owing::NotDurable => return Ok(Rest::Busy),
                }
                active.row.encode(&self.names, &mut bytes);
                (active.row.changes, active.row.head)
            }
        };
        let position = mark.position;
        Ok(Rest::Write(bytes, Record::Stored { row: key.clone(), position, change, head }))
    }

    /// Whether a row is still what was written to the store with this `stored` record, so that the record may be committed.
    pub fn may_rest(&self, record: &Record<'_>) -> bool {
        let Record::Stored { row, position, .. } = record else { return false };
        let Some(owner) = self.owner(row) else { return false };
        self.is_clean(owner) && self.mark(owner).is_some_and(|mark| mark.position == *position)
    }

    /// Nothing lazy is to be logged of a row, and no message waits in it.
    fn is_clean(&self, owner: Owner) -> bool {
        match owner {
            Owner::User(_) => true,
            Owner::Device(user, device) => self.device(user, device).is_some_and(|entry| !entry.dirty),
            Owner::Conversation(slot) => {
                self.conversation(slot).is_some_and(|active| !active.is_dirty() && active.entries.is_empty())
            }
        }
    }

    /// A row leaves memory that is as the store has it. Nothing happens to one that changed.
    pub fn forget(&mut self, key: &RowKey) {
        let unchanged = |owner: &Owner| self.mark(*owner).is_some_and(|mark| mark.image == 0) && self.is_clean(*owner);
        if let Some(owner) = self.owner(key).filter(unchanged) {
            self.remove(owner);
        }
    }

    /// A row leaves memory; the store has it.
    pub(crate) fn remove(&mut self, owner: Owner) {
        self.users.store = true;
        match owner {
            Owner::User(user) => drop(self.remove_user(user)),
            Owner::Device(user, device) => drop(self.remove_device(user, device)),
            Owner::Conversation(slot) => {
                self.count_resting(slot, 1);
                self.remove_conversation(slot);
            }
        }
    }

    /// What a store answered: the position that the row reflects and its bytes, or that there is none.
    ///
    /// # Errors
    /// It is not what the log said: see [`Misfit`]. Nothing is taken, and nothing begins without it.
    pub fn loaded(&mut self, key: &RowKey, row: Option<(Position, &[u8])>) -> Result<(), Misfit> {
        if self.owner(key).is_some() {
            return Ok(());
        }
        let said = self.stored.get(key).copied();
        let Some((position, bytes)) = row else {
            if let Some(said) = said {
                return Err(Misfit::Missing(said));
            }
            if self.absent.len() >= MAX_ABSENT {
                // Whoever asked for the others asks again.
                self.absent.clear();
            }
            self.absent.insert(key.clone());
            return Ok(());
        };
        if position > self.position {
            return Err(Misfit::Ahead(position));
        }
        // What the log lost may have changed the row after the last record that speaks of it.
        let newer = |said: Stored| said.position < position && position <= self.generation.position;
        let fits = |change: u16, head: u64| match said.filter(|said| !newer(*said)) {
            Some(said) if (said.position, said.change, said.head) != (position, change, head) => {
                Err(Misfit::Other(said, position, change, head))
            }
            _ => Ok(()),
        };
        let owner = match key {
            RowKey::User(name) => {
                let row = User::decode(bytes).map_err(Misfit::Unreadable)?;
                fits(row.changes, 0)?;
                Owner::User(self.put_user(name, row))
            }
            RowKey::Device(name, device) => {
                let row = Device::decode(bytes).map_err(Misfit::Unreadable)?;
                fits(row.changes, 0)?;
                Owner::Device(self.put_device(name, *device, row), *device)
            }
            RowKey::Conversation(id) => {
                let row = Conversation::decode(bytes, &mut self.names).map_err(Misfit::Unreadable)?;
                if let Err(misfit) = fits(row.changes, row.head) {
                    release(&mut self.names, &row);
                    return Err(misfit);
                }
                let slot = self.put_conversation(*id, row);
                self.count_resting(slot, -1);
                Owner::Conversation(slot)
            }
        };
        if let Some(mark) = self.mark_mut(owner) {
            mark.position = position;
        }
        Ok(())
    }

    /// All conversations of a user that the store has were loaded.
    pub fn loaded_conversations(&mut self, user: &str) {
        if let Some(slot) = self.names.find(user) {
            self.users.entry(slot).complete = true;
        }
    }

    /// How many groups in the store have a user as a member.
    pub fn counted_groups(&mut self, user: &str, groups: u32) {
        if let Some(slot) = self.names.find(user) {
            self.users.entry(slot).groups_at_rest = Some(groups);
        }
    }

    /// A conversation goes to rest, or comes back: its members have a group at rest more, or less.
    pub(crate) fn count_resting(&mut self, slot: ConversationSlot, more: i32) {
        let Some(active) = self.conversation(slot) else { return };
        let members = active.row.iter().filter(|(_, member)| member.role.is_some()).map(|(_, member)| member.user);
        for user in members.collect::<Vec<_>>() {
            let groups = &mut self.users.entry(user).groups_at_rest;
            *groups = groups.map(|groups| groups.saturating_add_signed(more));
        }
    }

    /// What devices of its members did not see yet, as records of the devices' rows that do not say so yet.
    fn owed(&self, active: &Active, synced: Position) -> Decided<Owing> {
        let (mut records, mut missing) = (Vec::new(), SmallVec::new());
        let mut durable = true;
        for (index, member) in active.row.iter().filter(|(_, member)| member.is_current()) {
            let others = active.row.iter().filter(|(other, _)| *other != index).map(|(_, other)| other.version);
            let version = match active.row.kind {
                Kind::Group => member.owed,
                _ => others.max().unwrap_or(0).max(member.read_version),
            };
            let Some(user) = self.user(member.user) else {
                missing.push(RowKey::user(self.names.text(member.user)));
                continue;
            };
            for &device in user.devices.iter().filter(|&&device| member.admits(device)) {
                match self.owes(active, member.user, device, version) {
                    Ok(Some(record)) => records.push(record),
                    Ok(None) => durable &= self.device(member.user, device).is_none_or(|d| d.mark.position <= synced),
                    Err(key) => missing.push(key),
                }
            }
        }
        match (missing.is_empty(), durable) {
            (false, _) => Err(Stop::Wait(missing)),
            (true, false) => Ok(Owing::NotDurable),
            (true, true) => Ok(Owing::Records(records)),
        }
    }

    fn owes(
        &self,
        active: &Active,
        user: UserSlot,
        device: DeviceId,
        version: u64,
    ) -> Result<Option<Record<'static>>, RowKey> {
        let name = self.names.text(user);
        let Some(entry) = self.device(user, device) else { return Err(RowKey::device(name, device)) };
        let said = entry.row.owed.iter().any(|owed| owed.conversation == active.id && owed.version >= version);
        if !entry.row.receives || version <= entry.row.receipts || said {
            return Ok(None);
        }
        let change = entry.row.changes.wrapping_add(1);
        let user = name.to_owned().into();
        Ok(Some(Record::Owed { user, device, change, conversation: active.id, version }))
    }
}

enum Owing {
    Records(Vec<Record<'static>>),
    NotDurable,
}

fn release(names: &mut Names, row: &Conversation) {
    row.iter().for_each(|(_, member)| {
        names.release(member.user);
    });
}
