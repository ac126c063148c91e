//! Where records go, as seen from here: appended in batches that become durable as a whole.
//!
//! The partition does no I/O. A journal places records in the log's open batch at once and says where; that the batch is on
//! the disk comes later, through `Partition::synced`.

pub use seam::Full;
use smallvec::SmallVec;

use crate::ids::{Place, Position};
use crate::records::{self, Record};

/// The records of one decision as bytes; used again and again, so that nothing is allocated per message.
#[derive(Debug, Default)]
pub struct Encoded {
    bytes: Vec<u8>,
    ends: SmallVec<[(u8, usize); 4]>,
}

impl Encoded {
    /// Adds a record.
    pub fn push(&mut self, record: &Record<'_>) {
        let kind = records::encode(record, &mut self.bytes);
        self.ends.push((kind, self.bytes.len()));
    }

    /// Forgets all records, and keeps the room.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.ends.clear();
    }

    /// Kind and body of each record, in order.
    pub fn iter(&self) -> impl Iterator<Item = (u8, &[u8])> {
        let starts = std::iter::once(0).chain(self.ends.iter().map(|end| end.1));
        starts.zip(&self.ends).map(|(start, &(kind, end))| (kind, self.bytes.get(start..end).unwrap_or_default()))
    }

    /// Bytes of all bodies.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether there is no record.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }
}

/// See the module.
pub trait Journal {
    /// Takes all records of a decision into one batch, or none; gives the batch's number, and appends the place of each
    /// record's body to `places`.
    ///
    /// # Errors
    /// See [`Full`].
    fn append(&mut self, records: &Encoded, places: &mut SmallVec<[Place; 4]>) -> Result<Position, Full>;
}
