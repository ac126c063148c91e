//! Where records go, as seen from here: appended in batches that become durable as a whole.
//!
//! The partition does no I/O. A journal places records in the log's open batch at once and says where; that the batch is on
//! the disk comes later, through `Partition::synced`.

pub use seam::{Full, Journal};
use smallvec::SmallVec;

use crate::commit::Owner;
use crate::ids::{Place, Position, RowKey};
use crate::records::{self, Record};

/// A record: its kind, and its body in parts.
type Parts<'a> = (u8, &'a [&'a [u8]]);

/// Room that is used again for each decision.
#[derive(Debug, Default)]
pub struct Scratch {
    /// Bodies of records; of a message what stands before the stored message.
    bytes: Vec<u8>,
    /// Kind of each, and where it ends in `bytes`.
    ends: SmallVec<[(u8, usize); 4]>,
    pub(crate) places: SmallVec<[Place; 4]>,
    image: Vec<u8>,
    /// What was added before the records of the decision.
    pub(crate) before: SmallVec<[Before; 4]>,
}

/// A record that was added before those of a decision.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Before {
    Image(Owner),
    Lazy(Record<'static>),
}

/// Whether somebody waits until a record is durable.
pub(crate) fn is_waited_for(record: &Record<'_>) -> bool {
    use Record::{Cursors, Owed, Seen, Stored};
    !matches!(record, Cursors(_) | Seen(_) | Owed { .. } | Stored { .. })
}

impl Scratch {
    pub(crate) fn clear(&mut self) {
        self.bytes.clear();
        self.ends.clear();
        self.places.clear();
        self.before.clear();
    }

    pub(crate) fn image(&mut self, owner: Owner, encode: impl FnOnce(&mut Vec<u8>) -> Option<RowKey>) {
        let before = Before::Image(owner);
        if self.before.contains(&before) {
            return;
        }
        let mut image = std::mem::take(&mut self.image);
        image.clear();
        if let Some(row) = encode(&mut image) {
            self.push(&Record::Image { row, bytes: (&*image).into() });
            self.before.push(before);
        }
        self.image = image;
    }

    pub(crate) fn lazy(&mut self, record: Record<'static>) {
        let before = Before::Lazy(record);
        if let Before::Lazy(record) = &before
            && !self.before.contains(&before)
        {
            self.push(record);
            self.before.push(before);
        }
    }

    pub(crate) fn push(&mut self, record: &Record<'_>) {
        let kind = match record {
            Record::Message(message) => {
                message.encode_head(&mut self.bytes);
                records::kind::MESSAGE
            }
            record => records::encode(record, &mut self.bytes),
        };
        self.ends.push((kind, self.bytes.len()));
    }

    /// Appends a message alone; gives its place, too.
    pub(crate) fn append_alone(
        &mut self,
        journal: &mut impl Journal,
        record: &records::Message<'_>,
    ) -> Result<(Position, Place), Full> {
        record.encode_head(&mut self.bytes);
        let [head, body, tail] = record.parts();
        let parts = [&*self.bytes, head, body, tail];
        let position = journal.append(&[(records::kind::MESSAGE, &parts)], true, &mut self.places)?;
        Ok((position, self.places.first().copied().unwrap_or_default()))
    }

    /// Appends what was pushed: the records that were added before, and those of the decision.
    pub(crate) fn append(&mut self, journal: &mut impl Journal, records: &[Record<'_>]) -> Result<Position, Full> {
        let (mut start, mut parts) = (0, SmallVec::<[[&[u8]; 4]; 4]>::new());
        let added = self.before.iter().map(|_| [&[][..]; 3]);
        let stored = added.chain(records.iter().map(|record| match record {
            Record::Message(message) => message.parts(),
            _ => [&[][..]; 3],
        }));
        for (&(_, end), [head, body, tail]) in self.ends.iter().zip(stored) {
            parts.push([self.bytes.get(start..end).unwrap_or_default(), head, body, tail]);
            start = end;
        }
        let kinds = self.ends.iter().map(|end| end.0);
        let list: SmallVec<[Parts<'_>; 4]> = kinds.zip(&parts).map(|(kind, parts)| (kind, &parts[..])).collect();
        journal.append(&list, records.iter().any(is_waited_for), &mut self.places)
    }
}
