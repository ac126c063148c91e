//! The one way through a log: every batch of every segment in order, and a decision wherever a batch is not there.
//!
//! # The decision
//! Batches are numbered without gaps, and each says which batch was known to be on disk when it was written: the
//! watermark. Where batch `b` should stand and does not (or not whole):
//! - if any batch anywhere says that `b` was on disk, this is **damage**: what of `b` can be read is handed on, the rest
//!   is reported, and the walk goes on behind it;
//! - otherwise `b` was never reported durable, so this is the **torn end** of the last run: it and everything after it
//!   is cut, however whole that may look, for nothing may follow a batch that is missing.
//!
//! Reads only. Used by recovery, by fsck and by the scan of one segment.

use super::disk::Disk;
use super::error::LogError;
use super::format::{
    BATCH_HEADER, BatchHeader, MARKS, MARKS_KEPT, MAX_BODY, RECORD_HEADER, RecordHeader, VERSION, other_version,
    record, segment_id, segment_name,
};
use super::identity::Identity;
use super::salvage::salvage;
use super::walked::{Cut, Unconfirmed, Walked};
use super::window::{PAGE, Window};
use super::{Finding, FindingKind, Record, Ref, SegmentInfo};
use std::ops::Range;

/// The segments that have a file, by id.
pub(super) fn segment_files<D: Disk>(disk: &D) -> Result<Vec<u32>, LogError> {
    let names = disk.list().map_err(|error| LogError::io("list", &disk.path(), &error))?;
    let mut ids: Vec<u32> = names.iter().filter_map(|name| segment_id(name)).collect();
    ids.sort_unstable();
    Ok(ids)
}

/// Walks the whole log and calls `visit` with every record that belongs to it, in order. `format` is what FORMAT says.
pub(super) fn walk<D: Disk>(
    disk: &D,
    format: Option<Identity>,
    visit: &mut dyn FnMut(Record<'_>),
) -> Result<Walked, LogError> {
    let files = segment_files(disk)?;
    let salt = find_salt(disk, &files)?;
    // The file of another log says nothing of this one.
    let format = format.filter(|format| salt.is_none_or(|salt| salt == format.salt()));
    let salt = salt.or(format.map(|format| format.salt()));
    let watermark = format.map_or(0, |format| format.batch);
    let out = Walked { files: files.clone(), salt, format, watermark, ..Walked::default() };
    let mut walker = Walker::new(disk, visit, out);
    let mut buffer = Vec::new();
    for id in files {
        buffer = walker.segment(id, buffer)?;
        if walker.out.cut.is_some() {
            break;
        }
        walker.previous = Some(id);
    }
    walker.tail();
    Ok(walker.out)
}

/// A part of a segment.
pub(super) struct WalkedPart {
    /// Where to go on; `None` at the end.
    pub next: Option<u64>,
    pub findings: Vec<Finding>,
    /// Whether the disk refused to read a page of it.
    pub unreadable: bool,
}

/// Walks a part of one sealed segment of a log whose salt is known: from the batch at `from` on, until `visit` has got
/// at least `enough` bytes. Whatever is not whole is damage.
pub(super) fn walk_part<D: Disk>(
    disk: &D,
    id: u32,
    salt: u32,
    from: u64,
    enough: u64,
    visit: &mut dyn FnMut(Record<'_>),
) -> Result<WalkedPart, LogError> {
    let mut window = open(disk, id, Vec::new())?;
    let out = Walked { files: vec![id], salt: Some(salt), ..Walked::default() };
    let mut walker = Walker::new(disk, visit, out);
    walker.out.watermark = u64::MAX;
    let mut info = SegmentInfo { id, bytes: from, records: 0, first_batch: 0 };
    let mut next = Some(from);
    while let Some(at) = next.filter(|at| *at < from + enough) {
        info.bytes = at;
        next = walker.advance(&mut window, &mut info)?;
    }
    Ok(WalkedPart { next, findings: walker.out.findings, unreadable: !window.unreadable.is_empty() })
}

fn io_error(doing: &'static str, segment: u32) -> impl Fn(std::io::Error) -> LogError {
    move |error| LogError::io(doing, &segment_name(segment), &error)
}

fn open<D: Disk>(disk: &D, id: u32, buffer: Vec<u8>) -> Result<Window<D::File>, LogError> {
    let file = disk.open(&segment_name(id), false).map_err(io_error("open", id))?;
    Window::new(file, buffer).map_err(io_error("read", id))
}

/// The log's salt, as the first batch of some segment has it, which stands where it must. Also refuses other formats; but what stands before a batch of this one is of no other, it is damaged.
fn find_salt<D: Disk>(disk: &D, files: &[u32]) -> Result<Option<u32>, LogError> {
    let mut salt = None;
    let mut other = None;
    for id in files {
        let mut head = [0; BATCH_HEADER];
        let file = disk.open(&segment_name(*id), false).map_err(io_error("open", *id))?;
        // A page that cannot be read is the walk's business.
        if super::disk::read_full(&file, &mut head, 0).is_err() {
            continue;
        }
        match BatchHeader::decode(&head, *id, 0) {
            Some(header) => (salt, other) = (salt.or(Some(header.salt)), None),
            None => other = other.or(other_version(&head).map(|version| (*id, version))),
        }
    }
    match other {
        Some((segment, version)) if version > VERSION => Err(LogError::NewerFormat { segment, version }),
        Some((segment, version)) => Err(LogError::OlderFormat { segment, version }),
        None => Ok(salt),
    }
}

struct Walker<'a, 'v, D: Disk> {
    disk: &'a D,
    visit: &'v mut dyn FnMut(Record<'_>),
    out: Walked,
    /// The number that the next batch should have.
    next: Option<u64>,
    previous: Option<u32>,
    /// Whether the next batch must be the next one: false at the start of the first segment, whose predecessors are gone.
    follows: bool,
    /// Whether a damaged range came last, which held nobody knows how many batches.
    uncounted: bool,
}

/// What stands at an offset.
enum Step {
    Batch(BatchHeader),
    /// Nothing but zeros, to the end of the file.
    End,
    /// Bytes up to `end` that are no batch; after them `then`, or nothing in this segment.
    Bad {
        end: u64,
        then: Option<BatchHeader>,
    },
}

impl<'a, 'v, D: Disk> Walker<'a, 'v, D> {
    fn new(disk: &'a D, visit: &'v mut dyn FnMut(Record<'_>), out: Walked) -> Self {
        Walker { disk, visit, out, next: None, previous: None, follows: false, uncounted: false }
    }

    fn segment(&mut self, id: u32, buffer: Vec<u8>) -> Result<Vec<u8>, LogError> {
        let mut window = open(self.disk, id, buffer)?;
        // Segments go from the oldest on, and with them batches: there are none missing but before the first.
        self.follows = self.previous.is_some();
        let mut info = SegmentInfo { id, bytes: 0, records: 0, first_batch: 0 };
        while let Some(at) = self.advance(&mut window, &mut info)? {
            info.bytes = at;
            self.follows = true;
        }
        for offset in std::mem::take(&mut window.unreadable) {
            let batch = self.next.unwrap_or(1);
            self.found(FindingKind::Unreadable, id, offset, PAGE as u64, batch, batch);
        }
        if info.bytes > 0 {
            self.out.segments.push(info);
        }
        Ok(window.into_buffer())
    }

    /// Deals with what stands behind what is known of the segment; tells where that ends, `None` at the segment's end.
    fn advance(&mut self, window: &mut Window<D::File>, info: &mut SegmentInfo) -> Result<Option<u64>, LogError> {
        let (id, at) = (info.id, info.bytes);
        let kept = match self.step(window, id, at).map_err(io_error("read", id))? {
            Step::End => return Ok(None),
            Step::Batch(header) => self.batch(window, info, &header)?,
            Step::Bad { end, then } => self.bad(window, info, end, then)?,
        };
        if kept.is_none() {
            self.cut(window, id, at)?;
        }
        Ok(kept)
    }

    fn step(&mut self, window: &mut Window<D::File>, id: u32, at: u64) -> std::io::Result<Step> {
        let (next, salt) = (self.next.unwrap_or(0), self.out.salt);
        let accept = |header: &BatchHeader| header.number >= next && salt.is_none_or(|salt| salt == header.salt);
        if let Some(header) = window.header(id, at)?.filter(accept) {
            return Ok(Step::Batch(header));
        }
        let (then, end) = window.find_header(id, at, accept)?;
        Ok(match then {
            Some((end, header)) => Step::Bad { end, then: Some(header) },
            None if end == at => Step::End,
            None => Step::Bad { end, then: None },
        })
    }

    /// Whether `header` may follow: no batch is missing before it, or those that are were durable, and are reported.
    fn gap(&mut self, window: &mut Window<D::File>, header: &BatchHeader, id: u32, at: u64) -> Result<bool, LogError> {
        let last = header.predecessor();
        let Some(first) = self.next.filter(|next| self.follows && last >= *next) else { return Ok(true) };
        if !self.confirmed(last, window, id, at)? {
            return Ok(false);
        }
        // An id without a file may be one that no batch was written to.
        let gone = at == 0 && self.previous.is_some_and(|previous| previous < header.before);
        if gone {
            self.out.missing = self.out.missing.or(Some((first, last, id)));
        }
        if gone || !self.uncounted {
            self.found(FindingKind::Missing, id, at, 0, first, last);
        }
        Ok(true)
    }

    /// Hands on a batch's records and tells where it ends; `None` if it is not whole and was never reported durable.
    fn batch(
        &mut self,
        window: &mut Window<D::File>,
        info: &mut SegmentInfo,
        header: &BatchHeader,
    ) -> Result<Option<u64>, LogError> {
        let (id, at) = (info.id, info.bytes);
        if header.marks & !MARKS != 0 {
            return Err(LogError::NewerFormat { segment: id, version: VERSION });
        }
        if !self.gap(window, header, id, at)? {
            return Ok(None);
        }
        let from = at + BATCH_HEADER as u64;
        let end = (from + u64::from(header.length)).min(window.len());
        let bytes = window.get(from, header.length as usize).map_err(io_error("read", id))?;
        let complete = bytes.len() == header.length as usize && whole(bytes, id, from as u32, header.salt);
        if complete {
            let mut offset = from as u32 + RECORD_HEADER as u32;
            let mut rest = bytes;
            while let Some((head, tail)) = RecordHeader::read(rest).zip(rest.get(RECORD_HEADER..)) {
                let (body, after) = tail.split_at_checked(head.len as usize).unwrap_or_default();
                let at = Ref { segment: id, offset, len: head.len };
                (self.visit)(Record {
                    kind: head.kind,
                    body,
                    at,
                    time_ms: header.time_ms,
                    batch: header.number,
                    salvaged: false,
                });
                info.records += 1;
                offset += head.len + RECORD_HEADER as u32;
                rest = after;
            }
        } else if !self.confirmed(header.number, window, id, at)? {
            return Ok(None);
        }
        if at == 0 {
            info.first_batch = header.number;
        }
        if at == 0 && self.next.is_none() {
            self.out.begins = Some(header.number);
        }
        self.out.kept_from = self.out.kept_from.max(header.first);
        self.out.marks |= header.marks & MARKS_KEPT;
        self.out.last = (header.number, header.marks);
        self.out.unconfirmed.push_back(Unconfirmed { number: header.number, segment: id, offset: at });
        self.confirm(header.watermark);
        self.out.salt = Some(header.salt);
        self.out.last_time_ms = header.time_ms;
        self.out.batches += 1;
        self.reached(header.number, false);
        if !complete {
            self.region(window, info, from..end, end, (header.number, header.number))?;
        }
        Ok(Some(end))
    }

    /// Deals with bytes that are no batch, up to the one at `then` or to the end of the segment; tells where they end,
    /// or `None` if they are the torn end of the log.
    fn bad(
        &mut self,
        window: &mut Window<D::File>,
        info: &mut SegmentInfo,
        end: u64,
        then: Option<BatchHeader>,
    ) -> Result<Option<u64>, LogError> {
        let (id, at) = (info.id, info.bytes);
        let first = match self.next.filter(|_| self.follows) {
            Some(next) => next,
            // Which batches stood here is unknown, but not which was the last: that before the next one.
            None => match then.map_or_else(|| self.first_after(id), |header| Ok(Some(header)))? {
                Some(header) => header.predecessor(),
                // The end of a sealed segment is not the end of the log.
                None if self.out.watermark == u64::MAX => 0,
                None => return Ok(None),
            },
        };
        if !self.confirmed(first, window, id, at)? {
            return Ok(None);
        }
        if at == 0 {
            info.first_batch = first;
        }
        self.out.salt = self.out.salt.or(then.map(|header| header.salt));
        let last = then.map_or(first, |header| first.max(header.predecessor()));
        // Without a batch behind it, the range seems to end with its last byte that is not zero; a record may go on.
        let limit = if then.is_some() { end } else { end + MAX_BODY as u64 };
        let end = self.region(window, info, at..end, limit, (first, last))?;
        // The batch at `then` decides whether all that are gone were durable; it is not said twice that they are.
        self.reached(first, true);
        Ok(Some(end))
    }

    fn confirm(&mut self, watermark: u64) {
        self.out.watermark = self.out.watermark.max(watermark);
        while self.out.unconfirmed.front().is_some_and(|batch| batch.number <= self.out.watermark) {
            self.out.unconfirmed.pop_front();
        }
    }

    fn reached(&mut self, batch: u64, uncounted: bool) {
        self.out.last_batch = self.out.last_batch.max(Some(batch));
        self.next = Some(batch.saturating_add(1));
        self.uncounted = uncounted;
    }

    /// Hands on the records that begin in a damaged range, with the time of the last batch, and reports the rest. They
    /// may end behind it, before `limit`; tells where the last one does.
    fn region(
        &mut self,
        window: &mut Window<D::File>,
        info: &mut SegmentInfo,
        range: Range<u64>,
        limit: u64,
        (first, last): (u64, u64),
    ) -> Result<u64, LogError> {
        let (id, time_ms) = (info.id, self.out.last_time_ms);
        let bytes = window.get(range.start, (limit - range.start) as usize).map_err(io_error("read", id))?;
        let (data, salt) = ((range.end - range.start) as usize, self.out.salt.unwrap_or(0));
        let visit = &mut *self.visit;
        let (mut lost, end) = salvage(bytes, data, id, range.start as u32, salt, |place, head, body| {
            let at = Ref { segment: id, offset: place + RECORD_HEADER as u32, len: head.len };
            visit(Record { kind: head.kind, body, at, time_ms, batch: first, salvaged: true });
            info.records += 1;
        });
        if range.is_empty() {
            lost.push(0..0);
        }
        for hole in lost {
            self.found(FindingKind::Damaged, id, range.start + hole.start as u64, hole.len() as u64, first, last);
        }
        Ok(range.start + end as u64)
    }

    /// The first batch of the segments after `id`.
    fn first_after(&self, id: u32) -> Result<Option<BatchHeader>, LogError> {
        let salt = self.out.salt;
        for later in self.out.files.iter().copied().filter(|file| *file > id) {
            let mut window = open(self.disk, later, Vec::new())?;
            let accept = |header: &BatchHeader| salt.is_none_or(|salt| salt == header.salt);
            if let (Some((_, header)), _) = window.find_header(later, 0, accept).map_err(io_error("read", later))? {
                return Ok(Some(header));
            }
        }
        Ok(None)
    }

    /// Whether any batch says that `number` was on disk: one that was read, or one from `at` of segment `id` on. What cannot
    /// be read might say so, and nothing is cut because of that.
    fn confirmed(&mut self, number: u64, window: &mut Window<D::File>, id: u32, at: u64) -> Result<bool, LogError> {
        if self.out.watermark >= number {
            return Ok(true);
        }
        if self.look_ahead(number, window, id, at)? {
            return Ok(true);
        }
        let mut unread = window.unreadable.iter().any(|page| page + PAGE as u64 > at).then_some(id);
        for later in self.out.files.clone().into_iter().filter(|file| *file > id) {
            let mut window = open(self.disk, later, Vec::new())?;
            if self.look_ahead(number, &mut window, later, 0)? {
                return Ok(true);
            }
            unread = unread.or((!window.unreadable.is_empty()).then_some(later));
        }
        match unread {
            Some(segment) => Err(io_error("read the end of the log in", segment)(unreadable())),
            None => Ok(false),
        }
    }

    fn look_ahead(&mut self, number: u64, window: &mut Window<D::File>, id: u32, at: u64) -> Result<bool, LogError> {
        let salt = self.out.salt;
        let accept = |header: &BatchHeader| header.watermark >= number && salt.is_none_or(|salt| salt == header.salt);
        let (header, _) = window.find_header(id, at, accept).map_err(io_error("read", id))?;
        if let Some((_, header)) = header {
            self.confirm(header.watermark);
        }
        Ok(header.is_some())
    }

    /// Ends the log at `at` of segment `id`.
    fn cut(&mut self, window: &mut Window<D::File>, id: u32, at: u64) -> Result<(), LogError> {
        self.out.cut = Some(Cut { segment: id, offset: at });
        let (_, end) = window.find_header(id, at, |_| false).map_err(io_error("read", id))?;
        let mut bytes = end - at;
        for later in self.out.files.clone().into_iter().filter(|file| *file > id) {
            let mut window = open(self.disk, later, Vec::new())?;
            bytes += window.find_header(later, 0, |_| false).map_err(io_error("read", later))?.1;
        }
        let first = self.next.unwrap_or(1);
        self.found(FindingKind::TornEnd, id, at, bytes, first, first);
        Ok(())
    }

    /// Looks for batches that should follow the last one: FORMAT says that they were on disk.
    fn tail(&mut self) {
        let Some(format) = self.out.format else { return };
        let Some(first) = self.out.last_batch.filter(|last| *last < format.batch).map(|last| last + 1) else { return };
        if !self.out.files.contains(&format.segment) {
            self.out.missing = self.out.missing.or(Some((first, format.batch, 0)));
        }
        let (segment, offset) = self.out.segments.last().map_or((0, 0), |info| (info.id, info.bytes));
        self.found(FindingKind::Missing, segment, offset, 0, first, format.batch);
    }

    fn found(&mut self, kind: FindingKind, segment: u32, offset: u64, bytes: u64, first_batch: u64, last_batch: u64) {
        let finding = Finding { kind, segment, offset, bytes, first_batch, last_batch, kept_as: None };
        self.out.findings.push(finding);
    }
}

/// What a disk says of a page that it cannot read.
pub(super) fn unreadable() -> std::io::Error {
    std::io::Error::from_raw_os_error(rustix::io::Errno::IO.raw_os_error())
}

/// Whether `bytes`, which stand at `offset`, are whole records and nothing else.
fn whole(mut bytes: &[u8], segment: u32, mut offset: u32, salt: u32) -> bool {
    while !bytes.is_empty() {
        let Some((_, body)) = record(bytes, segment, offset, salt) else { return false };
        let len = RECORD_HEADER + body.len();
        bytes = bytes.get(len..).unwrap_or_default();
        offset = offset.wrapping_add(len as u32);
    }
    true
}
