//! Which contents of the log's oldest segment are still needed: images of rows, records of undelivered messages, the generation,
//! the clock's correction, and the bound of receipt versions and of what the store reflects. They are written again, so that the segment can be deleted.
//!
//! # Rules
//! - Only what lies in the oldest segment is written again, a bounded number of records a turn.
//! - A segment may be deleted when nothing in memory refers to it and every record that replaces its contents is durable.
//!   Recovery after a crash at any later point then does not need it. Segments are deleted in order.

use std::collections::BTreeMap;

use crate::commit::Owner;
use crate::ids::{ConversationId, ConversationSlot, Place, Position, RowKey};
use crate::records::Record;
use crate::state::{Generation, State};

/// What was written to a segment. A row that was written anew since, or is not in memory any more, is passed over.
#[derive(Debug, Default)]
struct Segment {
    images: Vec<Owner>,
    messages: Vec<ConversationSlot>,
    stored: Vec<RowKey>,
}

/// By segment, what was written there.
#[derive(Debug, Default)]
pub struct Retention {
    segments: BTreeMap<u32, Segment>,
    /// The segment that holds the bound of receipt versions and of what the store reflects.
    pub(crate) bound: u32,
    /// The segment that holds the generation; 0: it is the first one, of which no record tells.
    pub(crate) generation: u32,
    /// The same of the clock's last correction.
    pub(crate) clock: u32,
    /// Images that were written since the start, and their bytes.
    pub(crate) images: (u64, u64),
}

/// What is to be written before the oldest segment can go.
#[derive(Debug)]
pub enum Need {
    /// A decision of its own.
    Record(Record<'static>),
    /// A message, to be read from its place and committed as [`Record::Carried`].
    Carry {
        /// Its conversation.
        conversation: ConversationId,
        /// Its number.
        seq: u64,
        /// Where its record is.
        place: Place,
    },
}

/// Whether the oldest segment can go.
#[derive(Debug)]
pub enum Oldest {
    /// Not before this is written; ask again then.
    Needs(Vec<Need>),
    /// As soon as this batch is durable.
    FreeAt(Position),
}

impl Retention {
    pub(crate) fn imaged(&mut self, owner: Owner, place: Place) {
        self.segments.entry(place.segment).or_default().images.push(owner);
        if place.len > 0 {
            self.images = (self.images.0 + 1, self.images.1 + u64::from(place.len));
        }
    }

    pub(crate) fn stored(&mut self, row: RowKey, segment: u32) {
        self.segments.entry(segment).or_default().stored.push(row);
    }
}

impl State {
    /// A message of a conversation was written to a segment. A conversation stands once in each segment's list.
    pub(crate) fn note_message(&mut self, slot: ConversationSlot, segment: u32) {
        let Some(active) = self.conversation_mut(slot) else { return };
        if std::mem::replace(&mut active.noted, segment) != segment {
            self.retention.segments.entry(segment).or_default().messages.push(slot);
        }
    }

    /// What `oldest`, the log's first segment, is still needed for: at most `most` items. It is not the segment that is being
    /// written.
    pub fn retain(&mut self, oldest: u32, most: usize) -> Oldest {
        let mut needs = Vec::new();
        let Retention { bound, generation, clock, .. } = &self.retention;
        // It is written behind every `stored` record of this segment, so it covers those.
        if *bound == oldest {
            needs.push(Need::Record(self.bound(self.versions.bound)));
        }
        if *generation == oldest {
            let Generation { number, position } = self.generation;
            needs.push(Need::Record(Record::Generation { number, position }));
        }
        if *clock == oldest {
            needs.push(Need::Record(Record::Clock { time_ms: self.time_ms, set_s: self.set_s }));
        }
        if let Some(mut segment) = self.retention.segments.remove(&oldest) {
            self.keep_rows(oldest, &mut segment.images, most, &mut needs);
            self.keep_messages(oldest, &mut segment.messages, most, &mut needs);
            self.retention.segments.insert(oldest, segment);
        }
        if needs.is_empty() { Oldest::FreeAt(self.position) } else { Oldest::Needs(needs) }
    }

    /// The store was put at this position, or a start found that it reflects this one.
    pub fn reflected(&mut self, position: Position) {
        self.reflects = self.reflects.max(position);
    }

    /// The first segment is gone.
    pub fn trimmed(&mut self, oldest: u32) {
        let Some(segment) = self.retention.segments.remove(&oldest) else { return };
        for key in segment.stored {
            if self.stored.get(&key).is_some_and(|stored| stored.segment == oldest) {
                self.stored.remove(&key);
            }
        }
    }

    fn keep_rows(&self, oldest: u32, images: &mut Vec<Owner>, most: usize, needs: &mut Vec<Need>) {
        let here = |owner: &Owner| self.mark(*owner).is_some_and(|mark| mark.image == oldest);
        while images.last().is_some_and(|owner| !here(owner)) {
            images.pop();
        }
        // They stay in the list until they are found to be written: the journal may not take them.
        let room = most.saturating_sub(needs.len());
        let rows = images.iter().rev().take(room).filter(|owner| here(owner)).filter_map(|&owner| self.image_of(owner));
        needs.extend(rows.map(Need::Record));
    }

    fn keep_messages(&self, oldest: u32, slots: &mut Vec<ConversationSlot>, most: usize, needs: &mut Vec<Need>) {
        while needs.len() < most
            && let Some(&slot) = slots.last()
        {
            let before = needs.len();
            if let Some(active) = self.conversation(slot) {
                let here = active.entries.from(0).filter(|(_, entry)| entry.place.segment == oldest);
                let carry = |(seq, entry): (u64, &crate::entries::Entry)| Need::Carry {
                    conversation: active.id,
                    seq,
                    place: entry.place,
                };
                needs.extend(here.take(most - before).map(carry));
                // Messages that went are not missed only if the cursors that let them go are in the log.
                if needs.len() == before && active.is_dirty() {
                    needs.push(Need::Record(Record::Cursors(active.moved_cursors())));
                }
            }
            if needs.len() > before {
                break;
            }
            slots.pop();
        }
    }

    /// A row in memory as a record.
    pub(crate) fn image_of(&self, owner: Owner) -> Option<Record<'static>> {
        let mut bytes = Vec::new();
        let (row, ..) = self.encode(owner, &mut bytes)?;
        Some(Record::Image { row, bytes: bytes.into() })
    }
}
