//! The users that are in memory: names, devices, and which conversations and sessions are theirs right now.
//!
//! A symbol table for the rest of the engine (a user is a slot number there) and nothing more: it decides nothing. A
//! user is a *stub* when only its name is known, because a conversation names it; its devices then come from the cold
//! store before anything is decided about them.

use std::collections::HashSet;
use std::hash::BuildHasher;

use compact_str::CompactString;
use hashbrown::{DefaultHashBuilder, HashTable};
use slab::Slab;
use smallvec::SmallVec;
use thin_vec::ThinVec;

use super::binary::{Reader, put_bytes, put_u64};
use crate::wire::types::ConversationId;

/// Highest device number.
pub const MAX_DEVICE: u32 = u16::MAX as u32;
/// Version of a user's state as bytes; 1 had neither groups nor blocks, and is still read.
const VERSION: u8 = 2;

/// One device of a user: a mailbox.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Device {
    /// 1..=[`MAX_DEVICE`].
    pub id: u16,
    /// Whether it ever asked to receive: only then do receipts wait for it.
    pub receives: bool,
    /// When it was last connected, seconds since 1970; the log knows the same, so it is a bit late (`seen_lag_s`).
    pub seen_s: u32,
    /// Highest receipt version that it acknowledged.
    pub receipts: u64,
}

/// What the log and the cold store must know of a user or conversation in memory.
#[derive(Clone, Debug, Default)]
pub struct Mark {
    /// Segment that holds its latest full state; 0: none, so a full state comes before the next delta.
    pub full_in: u32,
    /// Length of that record's body, bytes.
    pub full_len: u32,
    /// Counts changes, so that a store that was overtaken by one is not taken for current.
    pub changes: u32,
    /// When it was last used, seconds of the monotonic clock.
    touched_s: u32,
    /// A store is under way.
    pub storing: bool,
}

impl Mark {
    /// It is used now.
    pub fn touch(&mut self, mono_ms: u64) {
        self.touched_s = (mono_ms / 1000) as u32;
    }

    /// Whether it has not been used for so long.
    pub fn rested(&self, mono_ms: u64, quiet_ms: u64) -> bool {
        (mono_ms / 1000).saturating_sub(u64::from(self.touched_s)) * 1000 >= quiet_ms
    }

    /// It changed.
    pub fn change(&mut self) {
        self.changes = self.changes.wrapping_add(1);
    }
}

/// See the module.
#[derive(Debug)]
pub struct User {
    /// Its name, at most `MAX_USER` bytes; up to 24 of them stand here.
    pub name: CompactString,
    /// False: a stub.
    pub known: bool,
    /// Grows with every change of `devices`.
    pub list_version: u32,
    /// Sorted by id.
    pub devices: SmallVec<[Device; 1]>,
    /// The groups that numbered changes made it a member of.
    pub groups: ThinVec<ConversationId>,
    /// Whom it blocks, by name.
    pub blocked: ThinVec<CompactString>,
    /// Conversations in memory (slots of `Delivery`) of which it is a member.
    pub conversations: ThinVec<u32>,
    /// Its attached sessions (receivers of `Delivery`).
    pub receivers: SmallVec<[u32; 2]>,
    /// See [`Mark`].
    pub mark: Mark,
}

impl User {
    /// The device with this number.
    pub fn device(&self, id: u16) -> Option<&Device> {
        self.devices.iter().find(|d| d.id == id)
    }

    /// The same, to change.
    pub fn device_mut(&mut self, id: u16) -> Option<&mut Device> {
        self.devices.iter_mut().find(|d| d.id == id)
    }

    /// Whether it takes nothing from this user.
    pub fn blocks(&self, name: &str) -> bool {
        self.blocked.iter().any(|blocked| blocked == name)
    }

    /// Whether both are members of some group.
    pub fn shares_group(&self, other: &Self) -> bool {
        let mine: HashSet<&ConversationId> = self.groups.iter().collect();
        other.groups.iter().any(|id| mine.contains(id))
    }

    /// Adds a device and grows the list's version.
    pub fn add_device(&mut self, id: u16, now_s: u32) {
        let place = self.devices.partition_point(|d| d.id < id);
        self.devices.insert(place, Device { id, seen_s: now_s, ..Device::default() });
        self.list_version += 1;
        self.mark.change();
    }

    /// The state that survives, but for remembered ids, which follow.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.push(VERSION);
        put_bytes(out, self.name.as_bytes());
        put_u64(out, u64::from(self.list_version));
        put_u64(out, self.devices.len() as u64);
        for device in &self.devices {
            put_u64(out, u64::from(device.id));
            out.push(u8::from(device.receives));
            put_u64(out, u64::from(device.seen_s));
            put_u64(out, device.receipts);
        }
        put_u64(out, self.groups.len() as u64);
        self.groups.iter().for_each(|id| out.extend_from_slice(id));
        put_u64(out, self.blocked.len() as u64);
        self.blocked.iter().for_each(|name| put_bytes(out, name.as_bytes()));
    }
}

/// What [`User::encode`] wrote.
pub struct UserState<'a> {
    /// Whose.
    pub name: &'a str,
    /// Of `devices`.
    pub list_version: u32,
    /// Sorted by id.
    pub devices: SmallVec<[Device; 1]>,
    /// See [`User`].
    pub groups: ThinVec<ConversationId>,
    /// See [`User`].
    pub blocked: ThinVec<CompactString>,
}

impl<'a> UserState<'a> {
    /// Reads the part that the directory wrote, and leaves the reader at what follows.
    pub fn decode(reader: &mut Reader<'a>) -> Option<Self> {
        let version = reader.u8()?;
        if !(1..=VERSION).contains(&version) {
            return None;
        }
        let name = reader.str()?;
        let list_version = reader.u32()?;
        let mut devices = SmallVec::new();
        for _ in 0..reader.count()? {
            let id = reader.u64()?.try_into().ok()?;
            let receives = reader.u8()? != 0;
            let seen_s = reader.u32()?;
            let receipts = reader.u64()?;
            devices.push(Device { id, receives, seen_s, receipts });
        }
        let (mut groups, mut blocked) = (ThinVec::new(), ThinVec::new());
        if version >= 2 {
            for _ in 0..reader.count()? {
                groups.push(reader.array()?);
            }
            for _ in 0..reader.count()? {
                blocked.push(reader.str()?.into());
            }
        }
        Some(Self { name, list_version, devices, groups, blocked })
    }
}

/// See the module.
#[derive(Default)]
pub struct Directory {
    users: Slab<User>,
    by_name: HashTable<u32>,
    hasher: DefaultHashBuilder,
}

impl Directory {
    /// The slot of a name, if it is in memory.
    pub fn find(&self, name: &str) -> Option<u32> {
        let hash = self.hasher.hash_one(name);
        self.by_name.find(hash, |&slot| self.name(slot) == name).copied()
    }

    /// The slot of a name; a stub when it is not in memory yet.
    pub fn intern(&mut self, name: &str) -> u32 {
        if let Some(slot) = self.find(name) {
            return slot;
        }
        let slot = self.users.insert(User {
            name: name.into(),
            known: false,
            list_version: 0,
            devices: SmallVec::new(),
            groups: ThinVec::new(),
            blocked: ThinVec::new(),
            conversations: ThinVec::new(),
            receivers: SmallVec::new(),
            mark: Mark::default(),
        }) as u32;
        let (users, hasher) = (&self.users, &self.hasher);
        let rehash = |&slot: &u32| users.get(slot as usize).map_or(0, |u| hasher.hash_one(&*u.name));
        self.by_name.insert_unique(hasher.hash_one(name), slot, rehash);
        slot
    }

    /// Forgets a user; whoever calls knows that no conversation and no session refers to it.
    pub fn remove(&mut self, slot: u32) {
        let Some(user) = self.users.try_remove(slot as usize) else { return };
        let hash = self.hasher.hash_one(&*user.name);
        if let Ok(entry) = self.by_name.find_entry(hash, |&found| found == slot) {
            entry.remove();
        }
    }

    /// A user by slot.
    pub fn get(&self, slot: u32) -> Option<&User> {
        self.users.get(slot as usize)
    }

    /// A user by slot, to change.
    pub fn get_mut(&mut self, slot: u32) -> Option<&mut User> {
        self.users.get_mut(slot as usize)
    }

    /// A user's name; empty for a slot that is free.
    pub fn name(&self, slot: u32) -> &str {
        self.get(slot).map_or("", |user| &user.name)
    }

    /// All slots in use.
    pub fn slots(&self) -> impl Iterator<Item = u32> + '_ {
        self.users.iter().map(|(slot, _)| slot as u32)
    }

    /// Slots from `from` on, used or not: the end of the table.
    pub fn capacity(&self) -> u32 {
        self.users.capacity() as u32
    }

    /// How many are in memory.
    pub fn len(&self) -> usize {
        self.users.len()
    }

    /// Whether nobody is.
    pub fn is_empty(&self) -> bool {
        self.users.is_empty()
    }

    /// Gives memory back after many left.
    pub fn shrink(&mut self) {
        self.users.shrink_to_fit();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_found_by_name_until_removed() {
        let mut directory = Directory::default();
        let slots: Vec<u32> = (0..100).map(|n| directory.intern(&format!("user{n}"))).collect();
        assert_eq!(directory.intern("user7"), slots[7]);
        directory.remove(slots[7]);
        assert_eq!(directory.find("user7"), None);
        assert_eq!(directory.find("user8"), Some(slots[8]));
        assert_eq!(directory.len(), 99);
    }

    #[test]
    fn state_comes_back_as_it_was_written() {
        let mut directory = Directory::default();
        let slot = directory.intern("zoë");
        let user = directory.get_mut(slot).unwrap();
        user.add_device(7, 100);
        user.add_device(2, 200);
        user.device_mut(7).unwrap().receipts = 1 << 40;
        user.groups.extend([[1; 16], [2; 16]]);
        user.blocked.push("ann".into());
        let mut bytes = Vec::new();
        user.encode(&mut bytes);
        let state = UserState::decode(&mut Reader::new(&bytes)).unwrap();
        assert_eq!((state.name, state.list_version), ("zoë", 2));
        assert_eq!(state.devices, user.devices);
        assert_eq!((state.groups, state.blocked), (user.groups.clone(), user.blocked.clone()));
        for cut in 0..bytes.len() {
            assert!(UserState::decode(&mut Reader::new(&bytes[..cut])).is_none());
        }
    }

    #[test]
    fn a_state_of_before_there_were_groups_is_read() {
        let bytes = [1, 3, b'b', b'o', b'b', 4, 1, 7, 1, 100, 5];
        let mut reader = Reader::new(&bytes);
        let state = UserState::decode(&mut reader).unwrap();
        assert_eq!((state.name, state.list_version, state.devices[0].receipts), ("bob", 4, 5));
        assert!(state.groups.is_empty() && state.blocked.is_empty() && reader.is_empty());
    }
}
