//! Eviction of rows to the store, and loading them back.
//!
//! # Rules
//! - The store gets a row as it is at a durable position: without unlogged lazy facts, and a conversation without undelivered
//!   messages. Receipts that a conversation owes to a device are logged in the device's row first.
//! - A conversation rests only when it has taken up the changes of its members' devices: a pass over the index meets the others.
//! - What is in use is pinned and stays: [`State::pin`]. A session pins the rows of its user and its device.
//! - A row leaves memory when its `stored` record is committed. Until then the log holds the row.
//! - A loaded row is compared with its `stored` record, position included, while the log still has that record. A row that
//!   differs, cannot be read or is missing is an error ([`Misfit`]), and so is one above the log's end. Only a generation explains
//!   a row that is newer than its record: the log lost what came between.

use smallvec::SmallVec;

use crate::active::Active;
use crate::bytes::Malformed;
use crate::commit::Owner;
use crate::ids::{MemberIndex, Position, RowKey};
use crate::index::{InStore, Said};
use crate::names::Names;
use crate::propose::{Decided, Stop, unfitted};
use crate::records::Record;
use crate::rows::{Conversation, Device, Kind, Member, User};
use crate::state::State;

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
    /// To be committed before anything else; ask again when that is durable. The rows that were needed stay in memory until then.
    Log(Vec<Record<'static>>),
    /// To be put in the store, and then committed.
    Write(Box<Write>),
}

/// What is put in the store for a row that rests.
#[derive(Debug)]
pub struct Write {
    /// The row, and the rows of the index that changed with it, in one batch; `None`: it is to be removed.
    pub rows: Vec<(RowKey, Option<Vec<u8>>)>,
    /// The batch of the log that all of them reflect.
    pub position: Position,
    /// The `stored` record, to be committed when the batch is durable.
    pub stored: Record<'static>,
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
        if !self.is_idle(owner) {
            return Ok(Rest::Busy);
        }
        if mark.image == 0 {
            return Ok(Rest::Unchanged);
        }
        let mut rows = Vec::new();
        if let Owner::Conversation(slot) = owner
            && let Some(active) = self.conversation(slot)
        {
            match self.owed(active, synced)? {
                Owing::Records(records) if records.is_empty() => {}
                Owing::Records(records) => return Ok(Rest::Log(records)),
                Owing::Not => return Ok(Rest::Busy),
            }
            rows = active.in_store.rows(active, &self.names);
        }
        let (position, mut bytes) = (mark.position, Vec::new());
        let Some((row, change, head)) = self.encode(owner, &mut bytes) else { return Ok(Rest::Busy) };
        rows.push((row.clone(), Some(bytes)));
        let stored = Record::Stored { row, position, change, head };
        Ok(Rest::Write(Box::new(Write { rows, position, stored })))
    }

    /// One use more keeps a row in memory.
    pub fn pin(&mut self, owner: Owner) {
        if let Some(pins) = self.pins_mut(owner) {
            *pins += 1;
        }
    }

    /// One use less. The row of a device that ended went with its pins: whoever held one gives nothing back.
    pub fn unpin(&mut self, owner: Owner) {
        if let Some(pins) = self.pins_mut(owner) {
            *pins = pins.saturating_sub(1);
        }
    }

    fn pins_mut(&mut self, owner: Owner) -> Option<&mut u32> {
        match owner {
            Owner::User(user) => self.users.get_mut(user).map(|entry| &mut entry.pins),
            Owner::Device(user, device) => Some(&mut self.users.get_mut(user)?.device_mut(device)?.pins),
            Owner::Conversation(slot) => self.conversation_mut(slot).map(|active| &mut active.pins),
        }
    }

    /// Whether a row is still what was written to the store with this `stored` record, so that the record may be committed.
    pub fn may_rest(&self, record: &Record<'_>) -> bool {
        let Record::Stored { row, position, .. } = record else { return false };
        let Some(owner) = self.owner(row) else { return false };
        self.is_idle(owner) && self.mark(owner).is_some_and(|mark| mark.position == *position)
    }

    /// Nothing lazy is to be logged of a row, nothing waits in it, and nobody uses it.
    pub(crate) fn is_idle(&self, owner: Owner) -> bool {
        match owner {
            Owner::User(user) => {
                let entry = self.users.get(user);
                entry.is_some_and(|e| e.pins == 0 && e.row.as_ref().is_none_or(|row| row.fits.is_empty()))
            }
            Owner::Device(user, device) => {
                self.device(user, device).is_some_and(|entry| entry.pins == 0 && !entry.dirty)
            }
            Owner::Conversation(slot) => self.conversation(slot).is_some_and(|active| {
                active.pins == 0 && !active.is_dirty() && !active.is_awaited() && self.is_fitted(active)
            }),
        }
    }

    /// Whether a conversation has taken up the changes of its members' devices.
    fn is_fitted(&self, active: &Active) -> bool {
        let member = |(index, member): (MemberIndex, &Member)| {
            self.user(member.user).is_none_or(|row| unfitted(row, active, index).next().is_none())
        };
        active.row.iter().all(member)
    }

    /// A row leaves memory that is as the store has it. Nothing happens to one that changed.
    pub fn forget(&mut self, key: &RowKey) {
        let unchanged = |owner: &Owner| self.mark(*owner).is_some_and(|mark| mark.image == 0) && self.is_idle(*owner);
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
                self.note_resting(slot, true);
                let rows = self.conversation(slot).map(|active| active.in_store.rows(active, &self.names));
                // What the store said of the index was before this.
                rows.into_iter().flatten().for_each(|(key, _)| self.answers.remove(&key));
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
        let taken = match row {
            Some((position, _)) if position > self.position => Err(Misfit::Ahead(position)),
            Some((position, bytes)) => self.take(key, position, bytes, said),
            None => said.map_or(Ok(Some(Said::Absent)), |said| Err(Misfit::Missing(said))),
        };
        match taken {
            Ok(Some(said)) => self.answers.put(key.clone(), said),
            Ok(None) => {}
            Err(_) => self.answers.put(key.clone(), Said::Unusable),
        }
        taken.map(drop)
    }

    /// Takes a row in. `Some`: it is one of the index, of which only that it is there is remembered.
    fn take(
        &mut self,
        key: &RowKey,
        position: Position,
        bytes: &[u8],
        said: Option<Stored>,
    ) -> Result<Option<Said>, Misfit> {
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
                let in_store = InStore::loaded(&row);
                let slot = self.put_conversation(*id, row);
                if let Some(active) = self.conversation_mut(slot) {
                    active.in_store = in_store;
                }
                self.note_resting(slot, false);
                Owner::Conversation(slot)
            }
            // A conversation in memory answers for itself.
            RowKey::Member(_, id) => return Ok(self.find(id).is_none().then_some(Said::There)),
        };
        if let Some(mark) = self.mark_mut(owner) {
            mark.position = position;
        }
        Ok(None)
    }

    /// What devices of its members did not see yet, as records of the devices' rows that do not say so yet. The rows are needed
    /// only of members for whom there is something that was not settled when the conversation last was at rest.
    fn owed(&self, active: &Active, synced: Position) -> Decided<Owing> {
        let (mut records, mut missing) = (Vec::new(), SmallVec::new());
        let mut durable = true;
        let versions = newest_two(&active.row);
        for (index, member) in active.row.iter().filter(|(_, member)| member.is_current()) {
            let version = match active.row.kind {
                Kind::Group => member.owed,
                _ => versions.iter().find(|(other, _)| *other != index).map_or(0, |v| v.1).max(member.read_version),
            };
            if version <= active.in_store.settled {
                continue;
            }
            for cursor in member.cursors.iter().filter(|cursor| cursor.device != 0) {
                let (name, device) = (self.names.text(member.user), cursor.device);
                let Some(entry) = self.device(member.user, device) else {
                    let key = RowKey::device(name, device);
                    match self.answers.get(&key) {
                        // What it is owed cannot be noted before an operator healed it.
                        Some(Said::Unusable) => return Ok(Owing::Not),
                        _ => missing.extend((!self.is_absent(&key)).then_some(key)),
                    }
                    continue;
                };
                if !entry.row.receives || version <= entry.row.receipts {
                    continue;
                }
                if entry.row.is_owed(&active.id, version) {
                    durable &= entry.mark.position <= synced;
                    continue;
                }
                let (user, change) = (name.to_owned().into(), entry.row.changes.wrapping_add(1));
                records.push(Record::Owed { user, device, change, conversation: active.id, version });
            }
        }
        match (missing.is_empty(), durable) {
            (false, _) => Err(Stop::Wait(missing)),
            (true, false) => Ok(Owing::Not),
            (true, true) => Ok(Owing::Records(records)),
        }
    }
}

/// The two members whose receipts changed last, the latest first.
fn newest_two(row: &Conversation) -> SmallVec<[(MemberIndex, u64); 2]> {
    let mut newest: SmallVec<[(MemberIndex, u64); 2]> = SmallVec::new();
    for (index, member) in row.iter() {
        let place = newest.partition_point(|(_, version)| *version >= member.version);
        newest.insert(place, (index, member.version));
        newest.truncate(2);
    }
    newest
}

enum Owing {
    Records(Vec<Record<'static>>),
    /// What it owes is noted and not durable yet, or cannot be noted.
    Not,
}

fn release(names: &mut Names, row: &Conversation) {
    row.iter().for_each(|(_, member)| {
        names.release(member.user);
    });
}
