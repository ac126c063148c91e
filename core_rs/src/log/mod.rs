//! The durable log: records in batches in segments, on a disk behind a small trait.
//!
//! Knows bytes, positions and the disk; a record's kind and body are opaque to it.

/// Where a record's body stands in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Ref {
    /// Segment id, from 1.
    pub segment: u32,
    /// Offset of the record's body in the segment, bytes.
    pub offset: u32,
    /// Length of the body, bytes.
    pub len: u32,
}
