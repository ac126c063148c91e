//! The message ids that are remembered of one device, so that a send that is repeated is the same message (I4).

use std::collections::VecDeque;

use crate::wire::types::{ConversationId, MAX_ID};

/// What an id became.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Repeat {
    /// In this conversation …
    pub conversation: ConversationId,
    /// … with this number …
    pub seq: u64,
    /// … at this time, ms since 1970.
    pub time_ms: u64,
    /// The log batch that makes it durable; 0 after a restart.
    pub batch: u64,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    id: [u8; MAX_ID],
    len: u8,
    repeat: Repeat,
}

impl Entry {
    fn id(&self) -> &[u8] {
        self.id.get(..usize::from(self.len)).unwrap_or_default()
    }

    fn message(&self) -> (ConversationId, u64) {
        (self.repeat.conversation, self.repeat.seq)
    }
}

/// See the module. Entries stand in the order in which they were remembered.
#[derive(Debug, Default)]
pub struct Sender {
    entries: VecDeque<Entry>,
    /// A few bits of each entry's id, in the same order: what is looked through for each send, and fits in a few lines of
    /// cache.
    tags: VecDeque<u32>,
}

impl Sender {
    /// The message that has this id.
    pub fn find(&self, id: &[u8]) -> Option<Repeat> {
        let wanted = tag(id);
        let candidates = self.tags.iter().enumerate().rev().filter(|(_, tag)| **tag == wanted);
        candidates.filter_map(|(place, _)| self.entries.get(place)).find(|e| e.id() == id).map(|e| e.repeat)
    }

    /// Adds one; the oldest goes when there are more than `most`.
    pub fn remember(&mut self, id: &[u8], repeat: Repeat, most: usize) {
        let mut entry = Entry { id: [0; MAX_ID], len: id.len().min(MAX_ID) as u8, repeat };
        for (to, from) in entry.id.iter_mut().zip(id) {
            *to = *from;
        }
        while self.entries.len() >= most.max(1) {
            self.take(0);
        }
        self.tags.push_back(tag(entry.id()));
        self.entries.push_back(entry);
    }

    /// Forgets these messages, by conversation and seq; sorts them. Mostly they are the oldest, in their order. Of others
    /// each entry is looked up among them, so that any order and any messages take about the same time.
    pub fn confirm(&mut self, seen: &mut [(ConversationId, u64)]) {
        let mut oldest = 0;
        while let Some(front) = self.entries.front()
            && seen.get(oldest) == Some(&front.message())
        {
            self.take(0);
            oldest += 1;
        }
        let rest = seen.get_mut(oldest..).unwrap_or_default();
        if rest.is_empty() {
            return;
        }
        rest.sort_unstable();
        for place in (0..self.entries.len()).rev() {
            if self.entries.get(place).is_some_and(|e| rest.binary_search(&e.message()).is_ok()) {
                self.take(place);
            }
        }
    }

    fn take(&mut self, place: usize) {
        self.entries.remove(place);
        self.tags.remove(place);
    }

    /// Whether nothing is remembered.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// All, oldest first.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&[u8], &Repeat)> {
        self.entries.iter().map(|e| (e.id(), &e.repeat))
    }
}

/// Ids that differ mostly have tags that differ; who chooses ids so that they do not makes only its own sends slower.
fn tag(id: &[u8]) -> u32 {
    let mix = |hash: u64, chunk: &[u8]| {
        let mut word = [0; 8];
        word.iter_mut().zip(chunk).for_each(|(to, from)| *to = *from);
        let hash = (hash ^ u64::from_le_bytes(word)).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        hash ^ hash >> 32
    };
    id.chunks(8).fold(id.len() as u64, mix) as u32
}
