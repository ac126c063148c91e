//! What a walk through the log learnt.

use super::error::LogError;
use super::format::{MARK_CLEAN, MARK_UNSYNCED};
use super::identity::{DRAWN_ANEW, Identity};
use super::{End, Finding, SegmentInfo};
use std::collections::VecDeque;

/// Where a log ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cut {
    pub segment: u32,
    pub offset: u64,
}

/// A batch of which nothing says that it is on disk.
#[derive(Debug)]
pub(super) struct Unconfirmed {
    pub number: u64,
    pub segment: u32,
    pub offset: u64,
}

/// What a walk learnt.
#[derive(Debug, Default)]
pub(super) struct Walked {
    /// The segments that hold batches, by id.
    pub segments: Vec<SegmentInfo>,
    /// All segments that have a file, by id.
    pub files: Vec<u32>,
    pub findings: Vec<Finding>,
    /// Set where a torn end was found: this and everything after it is not part of the log.
    pub cut: Option<Cut>,
    pub salt: Option<u32>,
    /// What the file FORMAT says, if it is this log's.
    pub format: Option<Identity>,
    pub last_batch: Option<u64>,
    pub last_time_ms: u64,
    pub batches: u64,
    /// The highest watermark seen.
    pub watermark: u64,
    /// The batches above it, by number.
    pub unconfirmed: VecDeque<Unconfirmed>,
    /// The lowest batch that the log says it kept; 0 if it says nothing.
    pub kept_from: u64,
    /// All that headers say of the log.
    pub marks: u32,
    /// The number of the last batch whose header was read, and its marks.
    pub last: (u64, u32),
    /// The first batch, if it stands whole where the first one must.
    pub begins: Option<u64>,
    /// Batches that were durable, from the first to the last, and whose segment has no file; what stands behind them, 0 if
    /// nothing does.
    pub missing: Option<(u64, u64, u32)>,
}

impl Walked {
    /// What of the log is not there and was not trimmed.
    pub fn missing(&self) -> Option<LogError> {
        let at_first = self.begins.filter(|begins| *begins > self.kept_from && self.kept_from > 0);
        let behind = self.segments.first().map_or(0, |info| info.id);
        let (first, last, behind) = at_first.map(|begins| (self.kept_from, begins - 1, behind)).or(self.missing)?;
        Some(LogError::Missing { first, last, behind })
    }

    /// The last batch that was on disk, whether it can be read or not; 0: there was none.
    pub fn reached(&self) -> u64 {
        self.last_batch.unwrap_or(0).max(self.watermark)
    }

    /// How the last run ended, for one who finds it in this boot of the machine.
    pub fn ended(&self, boot: u128) -> End {
        let (number, marks) = self.last;
        let run = self.format.map_or(DRAWN_ANEW, |format| format.boot);
        End {
            clean: marks & MARK_CLEAN != 0 && number == self.reached() && self.cut.is_none(),
            unsynced: marks & MARK_UNSYNCED != 0,
            same_boot: boot != 0 && run == boot,
            new_id: run == DRAWN_ANEW && self.last_batch.is_some(),
        }
    }
}
