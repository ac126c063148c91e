//! The undelivered messages of a conversation in memory, and how many mailboxes stand on each.
//!
//! An entry counts the mailboxes whose cursor is exactly its number, and the conversation those that stand below its first
//! entry. A cursor that moves changes two counters; messages leave from the front while nobody stands behind. So an
//! acknowledgement looks at no other member, and an absent member costs nothing.

use std::collections::VecDeque;

use hashbrown::HashMap;

use crate::ids::{DeviceId, MemberIndex, Place, UserSlot};

/// A message that some mailbox lacks.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    /// Its record; segment 0: it cannot be read any more.
    pub place: Place,
    /// When it was accepted, seconds since 1970.
    pub time_s: u32,
    /// Its author's place among the members; [`NOBODY`]: an author whose place is free.
    pub author: u16,
    /// The author's device, which needs no copy; 0: all devices get it.
    pub device: DeviceId,
    /// Only the author's own devices get it.
    pub withheld: bool,
    /// How many mailboxes stand exactly here.
    at: u32,
}

/// See [`Entry::author`].
pub const NOBODY: u16 = u16::MAX;

impl Entry {
    /// A message on which no mailbox stands yet.
    pub fn new(place: Place, time_s: u32, author: Option<MemberIndex>, device: DeviceId, withheld: bool) -> Self {
        let author = author.and_then(|index| u16::try_from(index.place()).ok()).unwrap_or(NOBODY);
        Self { place, time_s, author, device, withheld, at: 0 }
    }

    /// Whether it cannot be read any more.
    pub fn is_lost(&self) -> bool {
        self.place.segment == 0
    }

    /// Whether a member wrote it.
    pub fn is_by(&self, index: MemberIndex) -> bool {
        usize::from(self.author) == index.place()
    }
}

/// Devices that have a body of their own in a message.
pub type Devices = Box<[(UserSlot, DeviceId)]>;

/// See the module. Consecutive numbers from `first` on.
#[derive(Debug)]
pub struct Entries {
    first: u64,
    list: VecDeque<Entry>,
    bytes: u64,
    behind: u32,
    bodies: Option<Box<HashMap<u64, Devices>>>,
}

impl Entries {
    /// None, of a conversation whose next message is `first`.
    pub fn new(first: u64) -> Self {
        Self { first, list: VecDeque::new(), bytes: 0, behind: 0, bodies: None }
    }

    /// The number of the first message that is here; of the next one, if none is.
    pub fn first(&self) -> u64 {
        self.first
    }

    /// How many are here.
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Bytes of their records.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// A message by its number.
    pub fn get(&self, seq: u64) -> Option<&Entry> {
        self.list.get(usize::try_from(seq.checked_sub(self.first)?).ok()?)
    }

    fn get_mut(&mut self, seq: u64) -> Option<&mut Entry> {
        self.list.get_mut(usize::try_from(seq.checked_sub(self.first)?).ok()?)
    }

    /// Messages and their numbers, from `seq` on.
    pub fn from(&self, seq: u64) -> impl Iterator<Item = (u64, &Entry)> {
        let skip = seq.saturating_sub(self.first).min(self.list.len() as u64);
        (self.first + skip..).zip(self.list.range(skip as usize..))
    }

    /// Adds message `seq`. After a gap in the numbers (a new generation) the list must be empty or is filled with lost ones.
    pub fn push(&mut self, seq: u64, entry: Entry, bodies: Option<Devices>) {
        if self.list.is_empty() && seq > self.first {
            self.first = seq;
        }
        self.bytes += u64::from(entry.place.len);
        self.list.push_back(entry);
        if let Some(bodies) = bodies {
            self.bodies.get_or_insert_default().insert(seq, bodies);
        }
    }

    /// Whether a device has a body of its own in a message, or the one body for all.
    pub fn has_body(&self, seq: u64, user: UserSlot, device: DeviceId) -> bool {
        let own = self.bodies.as_ref().and_then(|bodies| bodies.get(&seq));
        own.is_none_or(|devices| devices.contains(&(user, device)))
    }

    /// Whether there are messages with a body for each device.
    pub fn has_bodies(&self) -> bool {
        self.bodies.is_some()
    }

    /// Whether a message has a body for each device.
    pub fn is_per_device(&self, seq: u64) -> bool {
        self.bodies.as_ref().is_some_and(|bodies| bodies.contains_key(&seq))
    }

    /// A message's record was carried to another place.
    pub fn carry(&mut self, seq: u64, place: Place) {
        if let Some(entry) = self.get_mut(seq) {
            entry.place = place;
        }
    }

    /// Messages `from..=to` cannot be read any more.
    pub fn lose(&mut self, from: u64, to: u64) {
        let end = self.first + self.list.len() as u64;
        for seq in from.max(self.first)..to.saturating_add(1).min(end) {
            if let Some(entry) = self.get_mut(seq) {
                entry.place.segment = 0;
            }
        }
    }

    /// A mailbox that has everything up to `acked` is counted.
    pub fn stand(&mut self, acked: u64) {
        self.add(acked, 1);
    }

    /// A mailbox that had everything up to `acked` is counted no more.
    pub fn leave(&mut self, acked: u64) {
        self.add(acked, u32::MAX);
    }

    fn add(&mut self, acked: u64, more: u32) {
        let count = if acked < self.first {
            &mut self.behind
        } else {
            match self.get_mut(acked) {
                Some(entry) => &mut entry.at,
                None => return,
            }
        };
        *count = count.wrapping_add(more);
    }

    /// Counts anew: mailboxes that have everything up to these.
    pub fn recount(&mut self, cursors: impl Iterator<Item = u64>) {
        self.behind = 0;
        self.list.iter_mut().for_each(|entry| entry.at = 0);
        cursors.for_each(|acked| self.stand(acked));
    }

    /// Takes out the first message if every mailbox has it.
    pub fn reclaim(&mut self) -> Option<(u64, Entry)> {
        if self.behind > 0 { None } else { self.pop() }
    }

    /// Takes out the first message if it is below `floor`, whoever lacks it.
    pub fn drop_below(&mut self, floor: u64) -> Option<(u64, Entry)> {
        if self.first < floor { self.pop() } else { None }
    }

    fn pop(&mut self) -> Option<(u64, Entry)> {
        let seq = self.first;
        let entry = self.list.pop_front()?;
        self.first += 1;
        self.behind = self.behind.wrapping_add(entry.at);
        self.bytes -= u64::from(entry.place.len).min(self.bytes);
        if let Some(bodies) = &mut self.bodies {
            bodies.remove(&seq);
            if bodies.is_empty() {
                self.bodies = None;
            }
        }
        if self.list.is_empty() && self.list.capacity() > 64 {
            self.list.shrink_to_fit();
        }
        Some((seq, entry))
    }
}
