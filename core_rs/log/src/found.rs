//! What reading a log yields: records, segments, and what was not as it should be.

use super::Ref;
use std::fmt;

/// One record, borrowed for the length of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// What it is; the log does not care.
    pub kind: u8,
    /// Its body.
    pub body: &'a [u8],
    /// Where the body stands.
    pub at: Ref,
    /// The time of its batch, milliseconds since 1970.
    pub time_ms: u64,
    /// The number of its batch; of one that was salvaged: the first of those that were there.
    pub batch: u64,
    /// Whether it was found in a damaged part, where one of some billion tries finds a record that was never written.
    pub salvaged: bool,
}

/// A segment that holds batches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentInfo {
    /// Its id.
    pub id: u32,
    /// Bytes in use.
    pub bytes: u64,
    /// Whole records in it.
    pub records: u64,
    /// The number of its first batch; of a damaged one, as far as one can tell.
    pub first_batch: u64,
}

/// How the last run ended, as plain facts. What follows from them is for others to decide.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct End {
    /// The log was closed, and nothing was written since: all that it held was on disk.
    pub clean: bool,
    /// The last batch is of a run that reported batches before they were on disk ([`super::Durability`]), and that was not
    /// closed: if the machine has started anew since, what that run reported last may be gone.
    pub unsynced: bool,
    /// The machine has not started anew since the run whose first batch reached the disk last; false if that is not known.
    pub same_boot: bool,
    /// The log holds batches, and the file FORMAT was missing or is another log's: the identity is a new one. So it says until
    /// a batch of a later run is on disk.
    pub new_id: bool,
}

/// What kind of thing was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FindingKind {
    /// The end of an interrupted run: bytes of batches that nobody was told were durable. Normal after a crash.
    TornEnd,
    /// Bytes that were durable and cannot be read as records any more.
    Damaged,
    /// Batches that were durable and have no bytes at all.
    Missing,
    /// Pages that the disk refuses to read; what was lost by it is reported as the other kinds.
    Unreadable,
}

/// Something that recovery did not find as it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What it is.
    pub kind: FindingKind,
    /// Where: the segment.
    pub segment: u32,
    /// Where: the offset in the segment.
    pub offset: u64,
    /// How many bytes.
    pub bytes: u64,
    /// The first batch concerned.
    pub first_batch: u64,
    /// The last batch concerned, as far as one can tell.
    pub last_batch: u64,
    /// The file in the log's directory to which the bytes were set aside.
    pub kept_as: Option<String>,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Finding { segment, offset, bytes, first_batch, last_batch, .. } = self;
        let place = format!("segment {segment} offset {offset}");
        match self.kind {
            FindingKind::TornEnd => write!(f, "{place}: {bytes} bytes of an interrupted write, never confirmed; cut"),
            FindingKind::Damaged => write!(
                f,
                "{place}: {bytes} bytes of batches {first_batch} to {last_batch} are damaged; what follows is kept"
            ),
            FindingKind::Missing => {
                write!(f, "{place}: batches {first_batch} to {last_batch} are missing; what follows is kept")
            }
            FindingKind::Unreadable => write!(f, "{place}: the disk cannot read {bytes} bytes"),
        }?;
        match &self.kept_as {
            Some(name) => write!(f, "; the bytes are set aside as {name}"),
            None => Ok(()),
        }
    }
}
