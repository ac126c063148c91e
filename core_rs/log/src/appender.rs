//! The half of the log in memory: gives every record its place and builds batches. No I/O, no clock, no allocation
//! per record.
//!
//! Rules: a batch never crosses segments; numbers have no gaps; what is taken must be written, in order, or the log ends.

use super::format::{BATCH_HEADER, BatchHeader, MARK_STORED, MAX_BODY, RECORD_HEADER, RecordHeader, record_crc, seed};
use super::{LogError, LogOptions, Recovered, Ref};

/// How many written batches' buffers are kept for the next ones.
const SPARE_BUFFERS: usize = 4;
/// A buffer that grew beyond this many batches' size is not kept.
const SPARE_FACTOR: usize = 2;

/// Some records that become durable together, or not at all.
#[derive(Debug, PartialEq, Eq)]
pub struct Batch {
    /// Its number; the next one's is one more.
    pub number: u64,
    /// The segment it belongs to.
    pub segment: u32,
    /// Where it starts in the segment.
    pub offset: u32,
    /// Its header (which the writer completes) and its records.
    pub bytes: Vec<u8>,
    /// Whether somebody waits for its durability.
    pub sync: bool,
    /// When it was sealed, as the appender was told.
    pub(super) time_ms: u64,
    /// The lowest batch that the log keeps.
    pub(super) first: u64,
    /// See [`BatchHeader::marks`]: those that hold for the log, and that of a close.
    pub(super) marks: u32,
    /// See [`BatchHeader::before`].
    pub(super) before: u32,
}

impl Batch {
    /// Completes the header: `watermark` is the highest batch known to be on disk, `marks` are more than its own.
    pub(super) fn stamp(&mut self, watermark: u64, salt: u32, marks: u32) {
        let length = self.bytes.len().saturating_sub(BATCH_HEADER) as u32;
        let (number, first, time_ms, before) = (self.number, self.first, self.time_ms, self.before);
        let header = BatchHeader { number, watermark, time_ms, first, length, salt, marks: self.marks | marks, before };
        if let Some(place) = self.bytes.first_chunk_mut::<BATCH_HEADER>() {
            *place = header.encode(self.segment, self.offset);
        }
    }

    /// Where the batch ends in its segment.
    pub(super) fn end(&self) -> u64 {
        u64::from(self.offset) + self.bytes.len() as u64
    }
}

/// Builds the log's batches.
#[derive(Debug)]
pub struct Appender {
    segment_bytes: u32,
    batch_bytes: usize,
    salt: u32,
    /// The lowest batch that the log keeps.
    first: u64,
    marks: u32,
    /// The segment before the current one; 0: there is none.
    before: u32,
    segment: u32,
    /// Where the open batch starts, or the next one would.
    offset: u32,
    /// The open batch's number, or the next one's.
    number: u64,
    /// The open batch: its header's room and its records; empty if there is none.
    open: Vec<u8>,
    open_sync: bool,
    sealed: Vec<Batch>,
    sealed_bytes: usize,
    spare: Vec<Vec<u8>>,
    /// Of all batches that were sealed, bytes.
    appended: u64,
    /// The time of the last batch that a start found.
    last_time_ms: u64,
}

impl Appender {
    /// Continues a log where recovery left it; `Recovered::default()` stands for an empty one.
    pub fn new(recovered: &Recovered, options: &LogOptions) -> Self {
        Appender {
            segment_bytes: options.segment_bytes,
            batch_bytes: options.batch_bytes as usize,
            salt: recovered.salt(),
            first: recovered.first_batch(),
            marks: recovered.marks(),
            before: recovered.segment_before(),
            segment: recovered.next_segment,
            offset: recovered.next_offset,
            number: recovered.next_batch,
            open: Vec::new(),
            open_sync: false,
            sealed: Vec::new(),
            sealed_bytes: 0,
            spare: Vec::new(),
            appended: 0,
            last_time_ms: recovered.last_time_ms,
        }
    }

    /// The longest body that a record may have, bytes: it fits in a segment of its own, and in 24 bits.
    pub fn max_body(&self) -> usize {
        self.max_decision().saturating_sub(RECORD_HEADER).min(MAX_BODY)
    }

    /// The most that the records of one decision may take, bytes, with 10 for the header of each: a batch lies in one
    /// segment, which has room for the batch of a close besides.
    pub fn max_decision(&self) -> usize {
        (self.segment_bytes as usize).saturating_sub(2 * BATCH_HEADER)
    }

    /// Adds the records of one decision, all in one batch: a kind each, and the parts of its body, which are written one
    /// after the other. Calls `place` with where each body will stand, in order, and returns the number of the batch (that
    /// of the last batch if there are no records). With `sync` somebody waits for it; without, it rides along with others.
    ///
    /// # Errors
    /// [`LogError::RecordTooLarge`] above [`Appender::max_body`], [`LogError::DecisionTooLarge`] above
    /// [`Appender::max_decision`]; no record was taken then, and nothing has changed.
    pub fn append(
        &mut self,
        records: &[(u8, &[&[u8]])],
        sync: bool,
        mut place: impl FnMut(Ref),
    ) -> Result<u64, LogError> {
        let needed = self.needed(records)?;
        if records.is_empty() {
            return Ok(self.last_batch());
        }
        if needed > self.room() as usize || self.open.len() + needed > self.batch_bytes {
            self.seal();
        }
        if needed > self.room() as usize {
            self.before = self.segment;
            self.segment += 1;
            self.offset = 0;
        }
        if self.open.is_empty() {
            self.open = self.spare.pop().unwrap_or_default();
            self.open.resize(BATCH_HEADER, 0);
        }
        self.open.reserve(needed);
        for (kind, parts) in records {
            place(self.put(*kind, parts));
        }
        self.open_sync |= sync;
        Ok(self.number)
    }

    /// What the records take, bytes.
    fn needed(&self, records: &[(u8, &[&[u8]])]) -> Result<usize, LogError> {
        let mut needed = 0_usize;
        for (_, parts) in records {
            let len = length(parts);
            if len > self.max_body() {
                return Err(LogError::RecordTooLarge { len, max: self.max_body() });
            }
            needed = needed.saturating_add(RECORD_HEADER + len);
        }
        if needed > self.max_decision() {
            return Err(LogError::DecisionTooLarge { len: needed, max: self.max_decision() });
        }
        Ok(needed)
    }

    /// Adds a record to the open batch, which has room for it.
    fn put(&mut self, kind: u8, parts: &[&[u8]]) -> Ref {
        let (start, len) = (self.open.len(), length(parts));
        let at = self.offset + start as u32;
        self.open.extend_from_slice(&RecordHeader::encode(kind, len, seed(self.segment, at, self.salt)));
        for part in parts {
            self.open.extend_from_slice(part);
        }
        let crc = record_crc(self.open.get(start + 4..).unwrap_or_default(), self.segment, at, self.salt);
        if let Some(place) = self.open.get_mut(start..start + 4) {
            place.copy_from_slice(&crc.to_le_bytes());
        }
        Ref { segment: self.segment, offset: at + RECORD_HEADER as u32, len: len as u32 }
    }

    /// The time of the last batch that was there when this began, ms since 1970; 0: there was none.
    pub fn last_time_ms(&self) -> u64 {
        self.last_time_ms
    }

    /// Bytes that are appended and not yet taken.
    pub fn pending_bytes(&self) -> usize {
        self.sealed_bytes + self.open.len()
    }

    /// Bytes that were appended since the start, headers included.
    pub fn appended_bytes(&self) -> u64 {
        self.appended + self.open.len() as u64
    }

    /// Whether anything pending waits for durability.
    pub fn pending_sync(&self) -> bool {
        self.open_sync || self.sealed.iter().any(|batch| batch.sync)
    }

    /// The segment of the last record, and of the next one if it fits.
    pub fn segment(&self) -> u32 {
        self.segment
    }

    /// Whether there is anything in it.
    pub fn is_begun(&self) -> bool {
        self.offset > 0 || !self.open.is_empty()
    }

    /// Bytes left in the segment for records with their headers of 10 bytes.
    pub fn room(&self) -> u32 {
        let used = self.offset as usize + self.open.len().max(BATCH_HEADER) + BATCH_HEADER;
        (self.segment_bytes as usize).saturating_sub(used) as u32
    }

    /// The number of the last batch that holds a record; durable batches reach it when all is on disk.
    pub fn last_batch(&self) -> u64 {
        if self.open.is_empty() { self.number - 1 } else { self.number }
    }

    /// Hands over everything pending, in order. `now_wall_ms` becomes the time of the batch that was still open.
    pub fn take(&mut self, now_wall_ms: u64) -> Vec<Batch> {
        self.seal();
        self.sealed_bytes = 0;
        let mut batches = std::mem::take(&mut self.sealed);
        for batch in &mut batches {
            batch.time_ms = now_wall_ms;
            (batch.first, batch.marks) = (self.first, self.marks);
        }
        batches
    }

    /// What stands below `batch` is about to be trimmed. Only once a batch that was taken after this is on disk may it go:
    /// it is how a start tells what was trimmed from what is missing.
    pub fn keep_from(&mut self, batch: u64) {
        self.first = self.first.max(batch);
    }

    /// A row was put into the store: from now on the log says that there must be one.
    pub fn note_stored(&mut self) {
        self.marks |= MARK_STORED;
    }

    /// Takes back the buffer of a batch that has been written.
    pub fn recycle(&mut self, mut buffer: Vec<u8>) {
        if self.spare.len() < SPARE_BUFFERS && buffer.capacity() <= self.batch_bytes.saturating_mul(SPARE_FACTOR) {
            buffer.clear();
            self.spare.push(buffer);
        }
    }

    fn seal(&mut self) {
        if self.open.is_empty() {
            return;
        }
        let bytes = std::mem::take(&mut self.open);
        let (number, segment, offset, before) = (self.number, self.segment, self.offset, self.before);
        self.offset += bytes.len() as u32;
        self.sealed_bytes += bytes.len();
        self.appended += bytes.len() as u64;
        let sync = std::mem::take(&mut self.open_sync);
        self.sealed.push(Batch { number, segment, offset, bytes, sync, time_ms: 0, first: 0, marks: 0, before });
        self.number += 1;
    }
}

fn length(parts: &[&[u8]]) -> usize {
    parts.iter().fold(0, |all, part| all.saturating_add(part.len()))
}
