//! Bodies of messages in memory, bounded; the oldest leave first and are read from the log when they are wanted again.

use std::collections::VecDeque;
use std::sync::Arc;

use slab::Slab;

use super::conversation::NONE;

/// One stored message in memory.
#[derive(Debug)]
pub struct Body {
    /// The record's body: an encoded `Message`.
    pub stored: Vec<u8>,
    /// Complete frames, made once for the many that get the same bytes; by `Framing`.
    pub frames: [Option<Arc<[u8]>>; 3],
    /// Slot of its conversation.
    pub conversation: u32,
    /// Its number.
    pub seq: u64,
    stamp: u64,
}

/// See the module.
#[derive(Debug)]
pub struct Hot {
    bodies: Slab<Body>,
    order: VecDeque<(u32, u64)>,
    stamp: u64,
    bytes: usize,
    limit: usize,
}

impl Hot {
    /// Keeps at most `limit` bytes of bodies.
    pub fn new(limit: usize) -> Self {
        Self { bodies: Slab::new(), order: VecDeque::new(), stamp: 0, bytes: 0, limit }
    }

    /// Takes a body in; gives its slot.
    pub fn insert(&mut self, stored: Vec<u8>, conversation: u32, seq: u64) -> u32 {
        self.stamp += 1;
        self.bytes += stored.len();
        let body = Body { stored, frames: [None, None, None], conversation, seq, stamp: self.stamp };
        let slot = self.bodies.insert(body) as u32;
        self.order.push_back((slot, self.stamp));
        slot
    }

    /// A body by slot.
    pub fn get_mut(&mut self, slot: u32) -> Option<&mut Body> {
        self.bodies.get_mut(slot as usize)
    }

    /// Lets a body go.
    pub fn remove(&mut self, slot: u32) {
        if slot == NONE {
            return;
        }
        if let Some(body) = self.bodies.try_remove(slot as usize) {
            self.bytes -= body.stored.len();
        }
        let fresh = |&(slot, stamp): &(u32, u64)| self.bodies.get(slot as usize).is_some_and(|b| b.stamp == stamp);
        if self.bodies.is_empty() {
            self.order.clear();
        } else if self.order.len() > 2 * self.bodies.len() + 1024 {
            self.order.retain(fresh);
        } else {
            while self.order.front().is_some_and(|front| !fresh(front)) {
                self.order.pop_front();
            }
        }
    }

    /// While there is too much: the oldest body, which the caller takes out of its conversation.
    pub fn surplus(&mut self) -> Option<(u32, u64)> {
        while self.bytes > self.limit {
            let (slot, stamp) = self.order.pop_front()?;
            match self.bodies.get(slot as usize) {
                Some(body) if body.stamp == stamp => {
                    let of = (body.conversation, body.seq);
                    self.bytes -= body.stored.len();
                    self.bodies.remove(slot as usize);
                    return Some(of);
                }
                _ => {}
            }
        }
        None
    }

    /// Bytes of bodies in memory.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Gives memory back after many left.
    pub fn shrink(&mut self) {
        if self.bodies.is_empty() {
            self.bodies.shrink_to_fit();
            self.order.shrink_to_fit();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_leave_when_the_limit_is_passed() {
        let mut hot = Hot::new(25);
        let slots: Vec<u32> = (1..=3).map(|seq| hot.insert(vec![0; 10], 4, seq)).collect();
        assert_eq!(hot.surplus(), Some((4, 1)));
        assert_eq!(hot.surplus(), None);
        assert_eq!(hot.bytes(), 20);
        assert!(hot.get_mut(slots[0]).is_none());
        assert_eq!(hot.get_mut(slots[1]).unwrap().seq, 2);
    }

    #[test]
    fn what_left_by_itself_is_not_evicted_again() {
        let mut hot = Hot::new(15);
        let first = hot.insert(vec![0; 10], 4, 1);
        hot.remove(first);
        hot.insert(vec![0; 10], 4, 2);
        assert_eq!(hot.surplus(), None);
        hot.insert(vec![0; 10], 4, 3);
        assert_eq!(hot.surplus(), Some((4, 2)));
        for seq in 0..10_000 {
            let slot = hot.insert(vec![0; 1], 4, seq);
            hot.remove(slot);
        }
        assert!(hot.order.len() < 3000, "order is compacted");
    }
}
