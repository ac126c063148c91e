//! The durable log: records in batches in segments, on a disk behind a small trait. docs/log.md draws the bytes.
//!
//! # Layout
//! - [`Appender`]: the half in memory: gives records their place and builds batches; no I/O.
//! - [`Writer`]: the half on disk: writes batches, syncs, rolls and reserves segments.
//! - [`recover`], [`fsck`]: read everything back; one walk (`walk.rs`), so that they cannot disagree.
//! - [`LogThread`]: a writer and a reader on threads of their own, for an event loop.
//! - [`Disk`]: what the log asks of a disk: [`FileDisk`], and in tests `SimDisk`, which fails in every way disks fail.
//!
//! # Rules
//! - A batch is all or nothing. What was reported durable comes back whole and in order, whatever happens (I1).
//! - A failed write or sync ends the log: everything after it is refused until a restart has recovered (I10).
//! - What cannot be read is reported and set aside, and what follows it is kept (I12).
//! - How the last run ended is told as facts ([`End`]); what follows from them is for others to decide.
//!
//! Knows bytes, positions and the disk; a record's kind and body are opaque to it. It never learns what a message is.

mod appender;
mod completion;
mod disk;
mod error;
mod fetch;
mod file;
mod format;
mod found;
mod identity;
mod reader;
mod recover;
mod reserve;
mod salvage;
#[cfg(any(test, feature = "sim"))]
#[allow(clippy::indexing_slicing)]
pub mod sim;
mod thread;
mod walk;
mod walked;
mod window;
mod writer;

pub use appender::{Appender, Batch};
pub use completion::Completion;
pub use disk::{Disk, DiskFile};
pub use error::LogError;
pub use fetch::Fetch;
pub use file::FileDisk;
pub use found::{End, Finding, FindingKind, Record, SegmentInfo};
pub use reader::{Part, Reader, Scanned, unlink};
pub use recover::{FsckReport, Recovered, Unsettled, fsck, read, recover};
pub use reserve::make_room;
pub use thread::{LogThread, Waker};
pub use writer::Writer;

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

/// When a batch counts as durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Durability {
    /// When an fdatasync that covers it has returned.
    #[default]
    Fsync,
    /// When it is written; a sync follows within so many milliseconds. A power loss costs what was written since, and the
    /// next start knows that it may have ([`End`]): for that, the first write of a run is synced at once.
    Interval(u64),
    /// When it is written; the kernel decides when it reaches the disk. Only the first write of a run is synced, and a full
    /// segment, as it is closed.
    None,
}

/// How a log is laid out and when it syncs.
#[derive(Clone, Debug)]
pub struct LogOptions {
    /// Size of a segment, bytes; 64 MiB. At least 4 KiB, below 4 GiB. It may differ from one start to the next.
    pub segment_bytes: u32,
    /// A batch is sealed when it has reached this size, bytes; 1 MiB. One larger record makes a larger batch.
    pub batch_bytes: u32,
    /// When a batch counts as durable.
    pub durability: Durability,
    /// Under [`Durability::Fsync`], how long a batch that asked for no sync may wait for one, milliseconds.
    pub lazy_sync_ms: u64,
    /// How many empty segments are held in reserve: the next one, and one for acks and carrying when the disk is full.
    pub reserves: u32,
}

impl Default for LogOptions {
    fn default() -> Self {
        LogOptions {
            segment_bytes: 64 << 20,
            batch_bytes: 1 << 20,
            durability: Durability::Fsync,
            lazy_sync_ms: 1_000,
            reserves: 2,
        }
    }
}

#[cfg(test)]
mod tests;
