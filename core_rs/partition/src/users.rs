//! Users and devices in memory, by the slot of the name.

use std::collections::BTreeSet;

use seam::Attached;
use smallvec::SmallVec;
use thin_vec::ThinVec;

use crate::ids::{ConversationSlot, DeviceId, Position, UserSlot};
use crate::index::Resting;
use crate::rows::repeats::MAX_REPEATS;
use crate::rows::{Device, User};

/// What the log and the store have of a row in memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mark {
    /// The segment that holds its latest image; 0: none does, so an image comes before its next record.
    pub image: u32,
    /// When the store was last asked for it, seconds of a monotonic clock: it stays in memory for a while from then on.
    pub used_s: u32,
    /// The batch of its latest record.
    pub position: Position,
}

/// A device whose row is in memory.
#[derive(Debug)]
pub struct DeviceEntry {
    /// Its number.
    pub id: DeviceId,
    /// Its row.
    pub row: Device,
    /// See [`Mark`].
    pub mark: Mark,
    /// How many ids were confirmed, which is not logged yet.
    pub confirmed: usize,
    /// Whether anything lazy is to be logged.
    pub dirty: bool,
    /// It stands in the list of what has such facts.
    pub listed: bool,
    /// How many uses keep it in memory.
    pub pins: u32,
}

/// A session of a user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UserSession {
    /// The session.
    pub at: Attached,
    /// Its device.
    pub device: DeviceId,
    /// It gets the device's messages; of those a device has one. Receipts are told to all.
    pub receives: bool,
}

/// What is in memory of a user. `row` is `None` while only the name is known.
#[derive(Debug)]
pub struct UserEntry {
    /// Its row.
    pub row: Option<User>,
    /// Its sessions.
    pub sessions: ThinVec<UserSession>,
    /// See [`Mark`].
    pub mark: Mark,
    /// Its devices whose rows are in memory, in ascending order.
    pub devices: SmallVec<[DeviceEntry; 1]>,
    /// Conversations in memory of which it is or was a member.
    pub conversations: BTreeSet<ConversationSlot>,
    /// Groups in memory of which it is a member now.
    pub groups: BTreeSet<ConversationSlot>,
    /// The same of groups at rest.
    pub resting: Resting,
    /// How many uses keep its row in memory.
    pub pins: u32,
}

impl DeviceEntry {
    /// Whether what was confirmed is to be logged before the device's next message: a start would push out an id that is still
    /// remembered here.
    pub fn is_seen_due(&self) -> bool {
        self.confirmed > 0 && self.row.repeats.len() + self.confirmed >= MAX_REPEATS
    }
}

impl UserEntry {
    fn new(resting: Resting) -> Self {
        Self {
            row: None,
            sessions: ThinVec::new(),
            mark: Mark::default(),
            devices: SmallVec::new(),
            conversations: BTreeSet::new(),
            groups: BTreeSet::new(),
            resting,
            pins: 0,
        }
    }

    /// A device in memory.
    pub fn device(&self, id: DeviceId) -> Option<&DeviceEntry> {
        self.devices.iter().find(|device| device.id == id)
    }

    /// The same, to change.
    pub fn device_mut(&mut self, id: DeviceId) -> Option<&mut DeviceEntry> {
        self.devices.iter_mut().find(|device| device.id == id)
    }

    /// Takes a device's row into memory; true: it replaced one.
    pub fn put_device(&mut self, id: DeviceId, row: Device) -> bool {
        if let Some(entry) = self.device_mut(id) {
            entry.row = row;
            return true;
        }
        let place = self.devices.partition_point(|device| device.id < id);
        let mark = Mark::default();
        let entry = DeviceEntry { id, row, mark, confirmed: 0, dirty: false, listed: false, pins: 0 };
        self.devices.insert(place, entry);
        false
    }
}

/// See the module.
#[derive(Debug, Default)]
pub struct Users {
    /// By slot.
    entries: Vec<Option<Box<UserEntry>>>,
    /// The store may hold rows: what is not in memory is not known of those who come now.
    pub store: bool,
    /// Rows in memory, of users and of devices.
    pub(crate) rows: (usize, usize),
}

impl Users {
    /// What is in memory of a user.
    pub fn get(&self, user: UserSlot) -> Option<&UserEntry> {
        self.entries.get(user.place())?.as_deref()
    }

    /// The same, to change.
    pub fn get_mut(&mut self, user: UserSlot) -> Option<&mut UserEntry> {
        self.entries.get_mut(user.place())?.as_deref_mut()
    }

    /// The same; it is made if there is nothing yet.
    #[allow(clippy::indexing_slicing, reason = "the table is long enough")]
    pub fn entry(&mut self, user: UserSlot) -> &mut UserEntry {
        let resting = || if self.store { Resting::Unknown } else { Resting::Known(BTreeSet::new()) };
        if self.entries.len() <= user.place() {
            self.entries.resize_with(user.place() + 1, || None);
        }
        self.entries[user.place()].get_or_insert_with(|| Box::new(UserEntry::new(resting())))
    }

    /// Forgets a user whose name is released.
    pub fn remove(&mut self, user: UserSlot) {
        if let Some(entry) = self.entries.get_mut(user.place()) {
            *entry = None;
        }
    }

    /// Rows of users, and of devices, in memory.
    pub fn rows(&self) -> (usize, usize) {
        self.rows
    }

    /// How many slots there are.
    pub fn slots(&self) -> usize {
        self.entries.len()
    }

    /// All that are in memory, in the order of their slots.
    pub fn iter(&self) -> impl Iterator<Item = (UserSlot, &UserEntry)> {
        let entries = self.entries.iter().enumerate();
        entries.filter_map(|(place, entry)| Some((UserSlot::new(place), entry.as_deref()?)))
    }
}
