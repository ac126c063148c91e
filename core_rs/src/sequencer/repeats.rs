//! The message ids that are remembered of one device, so that a send that is repeated is the same message (I4).

use std::collections::VecDeque;

use crate::wire::types::{ConversationId, MAX_ID};

/// What an id became.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Repeat {
    /// In this conversation …
    pub conversation: ConversationId,
    /// … with this number …
    pub seq: u64,
    /// … at this time, ms since 1970.
    pub time_ms: u64,
    /// The log batch that makes it durable; 0 after a restart.
    pub batch: u64,
    /// Under which it is confirmed.
    pub number: u64,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    id: [u8; MAX_ID],
    len: u8,
    repeat: Repeat,
}

/// See the module. Entries stand in the order of their numbers.
#[derive(Debug, Default)]
pub struct Sender {
    entries: VecDeque<Entry>,
}

impl Sender {
    /// The message that has this id.
    pub fn find(&self, id: &[u8]) -> Option<Repeat> {
        let same = |e: &&Entry| usize::from(e.len) == id.len() && e.id.get(..id.len()) == Some(id);
        self.entries.iter().rev().find(same).map(|e| e.repeat)
    }

    /// Adds one with a higher number than all; the oldest goes when there are more than `most`.
    pub fn remember(&mut self, id: &[u8], repeat: Repeat, most: usize) {
        let mut entry = Entry { id: [0; MAX_ID], len: id.len().min(MAX_ID) as u8, repeat };
        for (to, from) in entry.id.iter_mut().zip(id) {
            *to = *from;
        }
        while self.entries.len() >= most.max(1) {
            self.entries.pop_front();
        }
        self.entries.push_back(entry);
    }

    /// Forgets the one with this number.
    pub fn confirm(&mut self, number: u64) {
        match self.entries.front() {
            Some(front) if front.repeat.number == number => drop(self.entries.pop_front()),
            _ => {
                let place = self.entries.partition_point(|e| e.repeat.number < number);
                if self.entries.get(place).is_some_and(|e| e.repeat.number == number) {
                    self.entries.remove(place);
                }
            }
        }
    }

    /// Whether nothing is remembered.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// All, oldest first.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&[u8], &Repeat)> {
        self.entries.iter().map(|e| (e.id.get(..usize::from(e.len)).unwrap_or_default(), &e.repeat))
    }
}
