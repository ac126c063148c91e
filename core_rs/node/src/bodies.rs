//! Bodies of messages in memory: a bounded cache over the log. The oldest leave first, and are read again when they are wanted.
//!
//! A body is found by the hint that its taker keeps beside the place of the message. A hint may be out of date: the body has left
//! since, or another one has its slot. So each body knows its place, and nobody has to be told when one leaves.

use std::collections::VecDeque;

use seam::{Bodies, Body, Place};
use slab::Slab;

/// No hint.
pub const NO_HINT: u32 = u32::MAX;

/// A body that is to be read from the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// The conversation in memory: slot and serial, as its partition names it.
    pub conversation: (u32, u32),
    /// The message's number.
    pub seq: u64,
    /// Where its record lies.
    pub place: Place,
}

#[derive(Debug)]
struct Kept {
    body: Body,
    place: Place,
    stamp: u64,
}

/// See the module.
#[derive(Debug)]
pub struct BodyCache {
    kept: Slab<Kept>,
    /// Slots with the stamp of what was put there, the oldest first; also of bodies that have left.
    order: VecDeque<(u32, u64)>,
    stamp: u64,
    bytes: usize,
    limit: usize,
    wanted: VecDeque<Wanted>,
}

impl BodyCache {
    /// Keeps bodies of at most `limit` bytes, and the one that came last.
    pub fn new(limit: usize) -> Self {
        Self { kept: Slab::new(), order: VecDeque::new(), stamp: 0, bytes: 0, limit, wanted: VecDeque::new() }
    }

    /// Takes in a body, also one that was read. Gives its hint.
    pub fn put(&mut self, place: Place, stored: Vec<u8>) -> u32 {
        self.stamp += 1;
        self.bytes += stored.len();
        let body = Body { stored, ..Body::default() };
        let slot = self.kept.insert(Kept { body, place, stamp: self.stamp }) as u32;
        self.order.push_back((slot, self.stamp));
        self.bound();
        slot
    }

    /// What is to be read from the log next, in the order in which it was asked for: at most so many bodies, of so many bytes
    /// but for one that is longer.
    pub fn take_wanted(&mut self, most: usize, bytes: u64) -> Vec<Wanted> {
        let mut left = bytes;
        let fits = |wanted: &&Wanted| {
            let first = left == bytes;
            let room = left.checked_sub(wanted.place.len.into());
            left = room.unwrap_or(0);
            first || room.is_some()
        };
        let count = self.wanted.iter().take(most).take_while(fits).count();
        self.wanted.drain(..count).collect()
    }

    /// Bytes of bodies in memory.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Gives memory back after many left.
    pub fn shrink(&mut self) {
        if self.kept.is_empty() {
            self.kept.shrink_to_fit();
            self.order.shrink_to_fit();
        }
    }

    fn slot(&self, place: Place, hint: u32) -> Option<usize> {
        let slot = hint as usize;
        self.kept.get(slot).is_some_and(|kept| kept.place == place).then_some(slot)
    }

    fn take_out(&mut self, slot: usize) {
        if let Some(kept) = self.kept.try_remove(slot) {
            self.bytes -= kept.body.stored.len();
        }
    }

    /// The oldest leave until the others fit; and what has left does not stay in the order for ever.
    fn bound(&mut self) {
        let fresh = |kept: &Slab<Kept>, (slot, stamp): (u32, u64)| {
            kept.get(slot as usize).is_some_and(|kept| kept.stamp == stamp)
        };
        while let Some(&front) = self.order.front() {
            let there = fresh(&self.kept, front);
            if there && (self.bytes <= self.limit || self.kept.len() == 1) {
                break;
            }
            self.order.pop_front();
            if there {
                self.take_out(front.0 as usize);
            }
        }
        if self.order.len() > 2 * self.kept.len() + 1024 {
            self.order.retain(|&each| fresh(&self.kept, each));
        }
    }
}

impl Bodies for BodyCache {
    fn insert(&mut self, place: Place, stored: &[&[u8]]) -> u32 {
        self.put(place, stored.concat())
    }

    fn get(&mut self, place: Place, hint: &mut u32) -> Option<&mut Body> {
        let Some(slot) = self.slot(place, *hint) else {
            *hint = NO_HINT;
            return None;
        };
        self.kept.get_mut(slot).map(|kept| &mut kept.body)
    }

    fn remove(&mut self, place: Place, hint: u32) {
        if let Some(slot) = self.slot(place, hint) {
            self.take_out(slot);
            self.bound();
        }
    }

    fn want(&mut self, conversation: (u32, u32), seq: u64, place: Place) {
        self.wanted.push_back(Wanted { conversation, seq, place });
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    fn place(offset: u32) -> Place {
        Place { segment: 1, offset, len: 10 }
    }

    #[test]
    fn the_oldest_leave_when_the_limit_is_passed() {
        let mut cache = BodyCache::new(25);
        let mut hints: Vec<u32> = (0..3).map(|at| cache.insert(place(at), &[&[at as u8; 10]])).collect();
        assert!(cache.get(place(0), &mut hints[0]).is_none());
        assert_eq!(hints[0], NO_HINT);
        assert_eq!(cache.get(place(2), &mut hints[2]).map(|body| body.stored.clone()), Some(vec![2; 10]));
        assert_eq!(cache.bytes(), 20);
    }

    #[test]
    fn a_body_above_the_limit_stays_until_the_next_one_comes() {
        let mut cache = BodyCache::new(5);
        let mut large = cache.insert(place(1), &[&[0; 100]]);
        assert!(cache.get(place(1), &mut large).is_some());
        cache.insert(place(2), &[&[0; 1]]);
        assert!(cache.get(place(1), &mut large).is_none());
    }

    #[test]
    fn what_is_read_at_once_is_bounded() {
        let mut cache = BodyCache::new(100);
        (0..5).for_each(|at| cache.want((0, 0), at, place(at as u32)));
        let mut next = |most, bytes| cache.take_wanted(most, bytes).iter().map(|w| w.seq).collect::<Vec<_>>();
        assert_eq!((next(2, 100), next(9, 25), next(9, 5)), (vec![0, 1], vec![2, 3], vec![4]));
    }

    #[test]
    fn the_order_does_not_grow_with_what_has_left() {
        let mut cache = BodyCache::new(1 << 20);
        cache.insert(place(0), &[&[0; 1]]);
        for at in 1..20_000 {
            let hint = cache.insert(place(at), &[&[0; 1]]);
            cache.remove(place(at), hint);
        }
        assert!(cache.order.len() < 3000, "{}", cache.order.len());
    }

    proptest! {
        /// A body that is given is the one of that place, whatever the hint; the limit holds.
        #[test]
        fn a_hint_never_gives_another_body(steps in prop::collection::vec((0..3u8, 0..12u32, 1..40usize), 1..200)) {
            let mut cache = BodyCache::new(100);
            let mut hints: HashMap<u32, u32> = HashMap::new();
            let mut next = 0;
            for (what, at, len) in steps {
                match what {
                    0 => {
                        hints.insert(next, cache.insert(place(next), &[&vec![next as u8; len]]));
                        next += 1;
                    }
                    1 => cache.remove(place(at), hints.get(&at).copied().unwrap_or(NO_HINT)),
                    _ => {
                        // The hint of another one, too.
                        for hint in hints.values() {
                            if let Some(body) = cache.get(place(at), &mut hint.clone()) {
                                prop_assert!(body.stored.iter().all(|&byte| byte == at as u8));
                            }
                        }
                    }
                }
                let held: usize = cache.kept.iter().map(|(_, kept)| kept.body.stored.len()).sum();
                prop_assert_eq!(held, cache.bytes());
                prop_assert!(cache.bytes() <= 100 || cache.kept.len() == 1);
            }
        }
    }
}
