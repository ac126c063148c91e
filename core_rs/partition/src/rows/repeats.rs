//! Ids of the messages that a device sent, until it confirms that it saw `accepted` (I4).
//!
//! The messages of a device are numbered from 1 on. So what is confirmed is said in a few bytes: all up to a number, and some
//! above it.

use std::collections::VecDeque;

use smallvec::SmallVec;
use thin_vec::ThinVec;

use crate::bytes::{Malformed, Read, Reader, put_bytes, put_u64};
use crate::ids::ConversationId;

/// Most ids that are remembered of a device; the oldest go (I4's bound). A part of the meaning of a record, not a setting.
pub const MAX_REPEATS: usize = 256;
/// Longest id of a message, bytes.
pub const MAX_ID: usize = 32;

/// What an id became.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Repeat {
    /// Its number among the messages of the device.
    pub number: u64,
    /// As the sender gave it, at most [`MAX_ID`] bytes.
    pub id: SmallVec<[u8; 16]>,
    /// Where the message stands.
    pub conversation: ConversationId,
    /// Its number there.
    pub seq: u64,
    /// When it was accepted, ms since 1970.
    pub time_ms: u64,
}

/// Which messages of a device need not be remembered: confirmed, or too old.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Confirmed {
    /// All up to this number, …
    pub upto: u64,
    /// … and ranges above it, in order.
    pub also: SmallVec<[(u64, u64); 1]>,
}

/// See the module.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Repeats {
    /// The number of the last message.
    sent: u64,
    /// In the order of their numbers.
    list: VecDeque<Repeat>,
    /// A short hash of each id, in the same order: an id that is new is found to be so without comparing it with all of them.
    tags: ThinVec<u16>,
}

impl Repeats {
    /// In the order of acceptance.
    pub fn iter(&self) -> impl Iterator<Item = &Repeat> {
        self.list.iter()
    }

    /// How many are remembered.
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// The message that has this id.
    pub fn find(&self, id: &[u8]) -> Option<&Repeat> {
        let known = self.tags.contains(&tag(id));
        if known { self.list.iter().rev().find(|repeat| repeat.id.as_slice() == id) } else { None }
    }

    /// The device sent a message.
    pub fn push(&mut self, id: &[u8], conversation: ConversationId, seq: u64, time_ms: u64) {
        if self.list.len() >= MAX_REPEATS {
            self.pop();
        }
        self.sent += 1;
        self.add(Repeat { number: self.sent, id: id.into(), conversation, seq, time_ms });
    }

    fn add(&mut self, repeat: Repeat) {
        self.tags.push(tag(&repeat.id));
        self.list.push_back(repeat);
    }

    fn pop(&mut self) {
        self.list.pop_front();
        self.tags.remove(0);
    }

    /// The device saw `accepted` of a message. True: it was remembered.
    pub fn confirm(&mut self, conversation: &ConversationId, seq: u64) -> bool {
        // Mostly it is the first one.
        let same = |repeat: &Repeat| repeat.seq == seq && repeat.conversation == *conversation;
        match self.list.iter().position(same) {
            Some(0) => self.pop(),
            Some(place) => {
                self.list.remove(place);
                self.tags.remove(place);
            }
            None => return false,
        }
        true
    }

    /// What is not remembered any more.
    pub fn confirmed(&self) -> Confirmed {
        let mut last = self.list.front().map_or(self.sent, |repeat| repeat.number - 1);
        let mut confirmed = Confirmed { upto: last, also: SmallVec::new() };
        let ends = self.list.iter().map(|repeat| repeat.number).chain([self.sent + 1]);
        for number in ends {
            if last + 1 < number {
                confirmed.also.push((last + 1, number - 1));
            }
            last = number;
        }
        confirmed
    }

    /// Forgets what is confirmed.
    pub fn forget(&mut self, confirmed: &Confirmed) {
        while self.list.front().is_some_and(|repeat| repeat.number <= confirmed.upto) {
            self.pop();
        }
        if !confirmed.also.is_empty() {
            self.retain(|repeat| !confirmed.also.iter().any(|&(from, to)| (from..=to).contains(&repeat.number)));
        }
    }

    /// Keeps some of them.
    pub fn retain(&mut self, keep: impl FnMut(&Repeat) -> bool) {
        self.list.retain(keep);
        self.tags = self.list.iter().map(|repeat| tag(&repeat.id)).collect();
    }

    /// Appends them to a row's bytes. The conversation is left out where it is that of the message before.
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        put_u64(out, self.sent);
        put_u64(out, self.list.len() as u64);
        let (mut number, mut conversation, mut time_ms) = (0, None, 0);
        for repeat in &self.list {
            let same = conversation == Some(repeat.conversation);
            put_u64(out, (repeat.number - number - 1) << 1 | u64::from(same));
            if !same {
                out.extend_from_slice(&repeat.conversation);
            }
            put_bytes(out, &repeat.id);
            put_u64(out, repeat.seq);
            put_u64(out, repeat.time_ms.wrapping_sub(time_ms));
            (number, conversation, time_ms) = (repeat.number, Some(repeat.conversation), repeat.time_ms);
        }
    }

    /// Reads what [`Repeats::encode`] writes.
    pub(super) fn decode(reader: &mut Reader<'_>) -> Read<Self> {
        let mut repeats = Self { sent: reader.u64()?, ..Self::default() };
        let (mut number, mut last, mut time_ms) = (0_u64, None, 0_u64);
        for _ in 0..reader.count()? {
            let head = reader.u64()?;
            number = (head >> 1).saturating_add(number).saturating_add(1);
            let conversation = match last.filter(|_| head & 1 != 0) {
                Some(conversation) => conversation,
                None if head & 1 == 0 => reader.array()?,
                None => return Err(Malformed::Value("an id without a conversation")),
            };
            let id = reader.bytes()?;
            if id.is_empty() || id.len() > MAX_ID {
                return Err(Malformed::Value("the length of a message id"));
            }
            let (id, seq) = (id.into(), reader.u64()?);
            time_ms = time_ms.wrapping_add(reader.u64()?);
            if head & 1 == 0 && last == Some(conversation) {
                return Err(Malformed::Value("a conversation that was said before"));
            }
            last = Some(conversation);
            repeats.add(Repeat { number, id, conversation, seq, time_ms });
        }
        if number > repeats.sent || repeats.sent >= 1 << 53 || repeats.len() > MAX_REPEATS {
            return Err(Malformed::Value("the number of a remembered id"));
        }
        Ok(repeats)
    }
}

/// Whoever makes ids that are all alike here makes only its own sends slower.
fn tag(id: &[u8]) -> u16 {
    let (words, rest) = id.as_chunks();
    let rest = rest.iter().fold(0, |word, &byte| word << 8 | u64::from(byte));
    let words = words.iter().map(|word| u64::from_le_bytes(*word));
    let mix = |hash: u64, word: u64| (hash ^ word).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    (words.chain([rest]).fold(0, mix) >> 48) as u16
}
