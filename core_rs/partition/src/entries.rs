//! The undelivered messages of a conversation in memory, and how many mailboxes stand on each.
//!
//! An entry counts the mailboxes whose cursor is exactly its number, and the conversation those that stand below its first
//! entry. A cursor that moves changes two counters; messages leave from the front while nobody stands behind. So an
//! acknowledgement looks at no other member, and an absent member costs nothing.

use std::collections::{VecDeque, vec_deque};

use hashbrown::HashMap;
use thin_vec::ThinVec;

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
    /// Where its body was last found in memory: see [`seam::Bodies::get`].
    pub hint: u32,
    /// How many mailboxes stand exactly here.
    at: u32,
}

/// See [`Entry::author`].
pub const NOBODY: u16 = u16::MAX;

/// The body is not in memory.
pub const NO_HINT: u32 = u32::MAX;

impl Entry {
    /// A message on which no mailbox stands yet.
    pub fn new(place: Place, time_s: u32, author: Option<MemberIndex>, device: DeviceId, withheld: bool) -> Self {
        let author = author.and_then(|index| u16::try_from(index.place()).ok()).unwrap_or(NOBODY);
        Self { place, time_s, author, device, withheld, hint: NO_HINT, at: 0 }
    }

    /// Its record is elsewhere now. The body that was in memory, if there was one.
    fn moves(&mut self, place: Place) -> Option<(Place, u32)> {
        let before = (std::mem::replace(&mut self.place, place), std::mem::replace(&mut self.hint, NO_HINT));
        (before.1 != NO_HINT).then_some(before)
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

/// See the module. Numbers are consecutive but for gaps between generations.
#[derive(Debug)]
pub struct Entries {
    first: u64,
    next: u64,
    /// First and last number of each gap between `first` and `next`, in order.
    gaps: ThinVec<(u64, u64)>,
    list: VecDeque<Entry>,
    bytes: u64,
    /// Messages and bytes as they were counted last: see [`Entries::count`].
    counted: (u32, u64),
    behind: u32,
    bodies: Option<Box<HashMap<u64, Devices>>>,
    /// Bodies in memory of messages that went, and their hints.
    pub(crate) freed: ThinVec<(Place, u32)>,
}

impl Entries {
    /// None, of a conversation whose next message is `first`.
    pub fn new(first: u64) -> Self {
        Self {
            first,
            next: first,
            gaps: ThinVec::new(),
            list: VecDeque::new(),
            bytes: 0,
            counted: (0, 0),
            behind: 0,
            bodies: None,
            freed: ThinVec::new(),
        }
    }

    /// How many messages and bytes came since this was last asked, less those that went; `gone`: all go.
    pub fn count(&mut self, gone: bool) -> (i64, i64) {
        let now = if gone { (0, 0) } else { (self.list.len() as u32, self.bytes) };
        let before = std::mem::replace(&mut self.counted, now);
        (i64::from(now.0) - i64::from(before.0), now.1.wrapping_sub(before.1) as i64)
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

    /// How many messages here have a number below `seq`, and whether `seq` is one of them.
    #[inline]
    fn place(&self, seq: u64) -> (usize, bool) {
        let mut below = seq.saturating_sub(self.first);
        let mut inside = self.first <= seq && seq < self.next;
        for &(from, to) in self.gaps.iter().take_while(|gap| gap.0 <= seq) {
            below -= seq.min(to + 1) - from;
            inside &= to < seq;
        }
        (self.list.len().min(usize::try_from(below).unwrap_or(usize::MAX)), inside)
    }

    /// A message by its number.
    pub fn get(&self, seq: u64) -> Option<&Entry> {
        let (place, inside) = self.place(seq);
        self.list.get(place).filter(|_| inside)
    }

    /// Messages and their numbers, from `seq` on.
    #[inline]
    pub fn from(&self, seq: u64) -> Numbered<'_> {
        let list = self.list.range(self.place(seq).0..);
        let (mut next, mut gaps) = (seq.max(self.first), self.gaps.as_slice());
        while let Some((_, rest)) = gaps.split_first().filter(|(gap, _)| gap.1 < seq) {
            gaps = rest;
        }
        if let Some((gap, rest)) = gaps.split_first().filter(|(gap, _)| gap.0 <= next) {
            (next, gaps) = (gap.1 + 1, rest);
        }
        Numbered { next, end: self.next, gaps, list }
    }

    /// The next message is `next`; numbers between it and the last one are given to none.
    pub fn jump(&mut self, next: u64) {
        if next <= self.next {
            return;
        }
        if self.list.is_empty() {
            self.first = next;
        } else {
            match self.gaps.last_mut().filter(|gap| gap.1 + 1 == self.next) {
                Some(gap) => gap.1 = next - 1,
                None => self.gaps.push((self.next, next - 1)),
            }
        }
        self.next = next;
    }

    /// Adds message `seq`, which is above all that are here.
    pub fn push(&mut self, seq: u64, entry: Entry, bodies: Option<Devices>) {
        self.jump(seq);
        self.next += 1;
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

    /// A message by its number, to change.
    pub fn get_mut(&mut self, seq: u64) -> Option<&mut Entry> {
        let (place, inside) = self.place(seq);
        self.list.get_mut(place).filter(|_| inside)
    }

    /// A message's record was carried to another place.
    pub fn carry(&mut self, seq: u64, place: Place) {
        let (index, inside) = self.place(seq);
        if let Some(entry) = self.list.get_mut(index).filter(|_| inside) {
            self.freed.extend(entry.moves(place));
        }
    }

    /// Messages `from..=to` cannot be read any more.
    pub fn lose(&mut self, from: u64, to: u64) {
        let (from, to) = (self.place(from).0, self.place(to.saturating_add(1)).0);
        let nowhere = |entry: &mut Entry| entry.moves(Place { segment: 0, ..entry.place });
        self.freed.extend(self.list.range_mut(from.min(to)..to).filter_map(nowhere));
    }

    /// A mailbox that has everything up to `acked` is counted.
    pub fn stand(&mut self, acked: u64) {
        self.add(acked, 1);
    }

    /// A mailbox that had everything up to `acked` is counted no more.
    pub fn leave(&mut self, acked: u64) {
        self.add(acked, u32::MAX);
    }

    /// A mailbox in a gap stands on the last message before it.
    fn add(&mut self, acked: u64, more: u32) {
        let upto = self.place(acked.saturating_add(1)).0;
        let entry = upto.checked_sub(1).and_then(|last| self.list.get_mut(last));
        let count = entry.map_or(&mut self.behind, |entry| &mut entry.at);
        *count = count.wrapping_add(more);
    }

    /// Counts anew: mailboxes that have everything up to these.
    pub fn recount(&mut self, cursors: impl Iterator<Item = u64>) {
        self.behind = 0;
        self.list.iter_mut().for_each(|entry| entry.at = 0);
        cursors.for_each(|acked| self.stand(acked));
    }

    /// Whether mailboxes that have everything up to these are those that are counted.
    #[cfg(test)]
    pub fn is_counted(&self, cursors: impl Iterator<Item = u64>) -> bool {
        let mut again =
            Self { list: self.list.clone(), gaps: self.gaps.clone(), bodies: None, freed: ThinVec::new(), ..*self };
        again.recount(cursors);
        let counts = |entries: &Self| entries.list.iter().map(|entry| entry.at).collect::<Vec<_>>();
        (again.behind, counts(&again)) == (self.behind, counts(self))
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
        if let Some(gap) = self.gaps.first().filter(|gap| gap.0 == self.first) {
            self.first = gap.1 + 1;
            self.gaps.remove(0);
        }
        if entry.hint != NO_HINT {
            self.freed.push((entry.place, entry.hint));
        }
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

/// Messages and their numbers, in order.
#[derive(Clone, Debug)]
pub struct Numbered<'a> {
    next: u64,
    end: u64,
    gaps: &'a [(u64, u64)],
    list: vec_deque::Iter<'a, Entry>,
}

impl<'a> Iterator for Numbered<'a> {
    type Item = (u64, &'a Entry);

    fn next(&mut self) -> Option<Self::Item> {
        if let Some((gap, rest)) = self.gaps.split_first()
            && gap.0 == self.next
        {
            (self.next, self.gaps) = (gap.1 + 1, rest);
        }
        let entry = self.list.next()?;
        self.next += 1;
        Some((self.next - 1, entry))
    }
}

impl DoubleEndedIterator for Numbered<'_> {
    fn next_back(&mut self) -> Option<Self::Item> {
        if let Some((gap, rest)) = self.gaps.split_last()
            && gap.1 + 1 == self.end
        {
            (self.end, self.gaps) = (gap.0, rest);
        }
        let entry = self.list.next_back()?;
        self.end -= 1;
        Some((self.end, entry))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Messages with gaps, mailboxes that acknowledge them, and a plain map beside that counts everything anew.
        #[test]
        fn entries_equal_a_map_of_numbers(steps in proptest::collection::vec((0..6_u8, 0..12_u64), 0..60)) {
            let mut entries = Entries::new(1);
            let (mut model, mut cursors, mut next) = (BTreeMap::new(), vec![0_u64; 3], 1);
            entries.recount(cursors.iter().copied());
            for (step, value) in steps {
                match step {
                    0 | 1 => {
                        let place = Place { segment: 1, offset: next as u32, len: 1 };
                        entries.push(next, Entry::new(place, 0, None, 0, false), None);
                        model.insert(next, place);
                        next += 1;
                    }
                    2 => {
                        next += value << 36;
                        entries.jump(next);
                    }
                    3 | 4 => {
                        let index = value as usize % cursors.len();
                        let numbers: BTreeSet<u64> = model.keys().copied().chain([next - 1]).collect();
                        let above: Vec<u64> = numbers.into_iter().filter(|seq| *seq > cursors[index]).collect();
                        if let Some(&acked) = above.get(value as usize % above.len().max(1)) {
                            entries.leave(cursors[index]);
                            entries.stand(acked);
                            cursors[index] = acked;
                        }
                    }
                    _ => {
                        let from = next.saturating_sub(value);
                        entries.lose(from, from + 1);
                        model.range_mut(from..=from + 1).for_each(|(_, place)| place.segment = 0);
                    }
                }
                if value == 0 {
                    while entries.reclaim().is_some() {}
                    let lowest = cursors.iter().min().copied().unwrap_or(0);
                    model.retain(|seq, _| *seq > lowest);
                }
                let all = |from: u64| model.range(from..).map(|(&seq, &place)| (seq, place)).collect::<Vec<_>>();
                let probes = model.keys().flat_map(|&seq| [seq - 1, seq, seq + 1]).chain([0, next, next + 5]);
                for seq in probes {
                    prop_assert_eq!(entries.get(seq).map(|entry| entry.place), model.get(&seq).copied(), "{}", seq);
                    let found: Vec<_> = entries.from(seq).map(|(seq, entry)| (seq, entry.place)).collect();
                    prop_assert_eq!(&found, &all(seq), "from {}", seq);
                    let mut back: Vec<_> = entries.from(seq).rev().map(|(seq, entry)| (seq, entry.place)).collect();
                    back.reverse();
                    prop_assert_eq!(&back, &all(seq), "back to {}", seq);
                }
                prop_assert_eq!(entries.first(), model.keys().next().copied().unwrap_or(next));
            }
        }
    }
}
