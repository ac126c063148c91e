//! What the log's threads have to say to the event loop.

use super::{Finding, LogError, Scanned};
use bytes::Bytes;

/// Something is done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Completion {
    /// More batches count as durable, or more are on disk. Under [`super::Durability::Fsync`] these are the same.
    Durable {
        /// This batch and all before it count as durable.
        batch: u64,
        /// This batch and all before it are on disk: an fdatasync that covers them has returned. Never above `batch`.
        synced: u64,
    },
    /// A write or sync failed: the log has ended (I10). Said once.
    Failed(LogError),
    /// The bodies that were asked for, in the order of the question.
    Read {
        /// The question's token.
        token: u64,
        /// A body each, or why there is none ([`LogError::is_loss`]); an error here is not the log's end.
        bodies: Vec<Result<Bytes, LogError>>,
    },
    /// Some more records of a scanned segment, in order.
    Scanned {
        /// The segment.
        segment: u32,
        /// The records.
        records: Vec<Scanned>,
        /// What in this part of the segment could not be read.
        findings: Vec<Finding>,
        /// Whether this was the last part.
        done: bool,
    },
    /// Reads are refused at the moment, and tried again until they work; nothing is lost by that. Said once until they do.
    Delayed(LogError),
    /// Whether there is room for another segment; while there is not, sends are to be refused.
    Space(bool),
    /// The segment is gone, and this is on disk.
    Unlinked(u32),
}
