//! Reads a log that is being written: bodies by position, and whole segments part by part. No thread of its own.

use super::disk::{Disk, read_full};
use super::fetch::Fetch;
use super::format::{RECORD_HEADER, record, segment_name};
use super::walk::{unreadable, walk_part};
use super::window::PAGE;
use super::{Finding, LogError, Recovered, Ref};
use bytes::Bytes;
use std::io::ErrorKind;

/// How many segments stay open.
const OPEN_FILES: usize = 16;
/// Records nearer than this are fetched with one read: as much as a page costs anyway.
const GAP: u64 = 4096;
/// Longest read for several records.
const JOINED: u64 = 1 << 20;

/// A record of a scanned segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scanned {
    /// What it is.
    pub kind: u8,
    /// Where its body stands.
    pub at: Ref,
    /// Its body.
    pub body: Bytes,
    /// The time of its batch, milliseconds since 1970.
    pub time_ms: u64,
}

/// A part of a scanned segment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Part {
    /// Its records, in order.
    pub records: Vec<Scanned>,
    /// What in it could not be read.
    pub findings: Vec<Finding>,
    /// Where the next part begins; `None` after the last one.
    pub next: Option<u64>,
}

/// Reads records.
pub struct Reader<D: Disk> {
    disk: D,
    salt: u32,
    /// The segments used last, the latest first.
    open: Vec<(u32, D::File)>,
    buffer: Vec<u8>,
    /// The part of a scan (segment, offset) in which the disk refused a page at the last try.
    refused: Option<(u32, u64)>,
}

impl<D: Disk> Reader<D> {
    /// A reader of a recovered log.
    pub fn new(disk: D, recovered: &Recovered) -> Self {
        Reader { disk, salt: recovered.salt(), open: Vec::new(), buffer: Vec::new(), refused: None }
    }

    /// Tries to read what `fetch` still wants. Records near each other are read at once; where the disk refuses that, each
    /// of them alone.
    ///
    /// # Errors
    /// An error that says nothing about the records (no descriptor, no memory, a page that was refused once): the same
    /// `fetch` is to be tried again later.
    pub fn fetch(&mut self, fetch: &mut Fetch) -> Result<(), LogError> {
        let mut trouble = None;
        let open: Vec<usize> = fetch.open().collect();
        let mut rest = open.as_slice();
        while let Some(start) = rest.first().and_then(|&place| fetch.at(place)).map(|at| header_of(&at)) {
            let at = |place: &usize| fetch.at(*place).unwrap_or_default();
            let near = rest.iter().zip(rest.iter().skip(1)).take_while(|(a, b)| {
                let (a, b) = (at(a), at(b));
                a.segment == b.segment
                    && header_of(&b) >= end_of(&a)
                    && header_of(&b) <= end_of(&a) + GAP
                    && end_of(&b) - start <= JOINED
            });
            let (group, others) = rest.split_at((near.count() + 1).min(rest.len()));
            rest = others;
            let refs: Vec<Ref> = group.iter().map(at).collect();
            match self.read_joined(&refs, start) {
                Ok(()) => {
                    for (place, at) in group.iter().zip(&refs) {
                        let body = self.body(at, start);
                        fetch.settle(*place, body);
                    }
                }
                Err(error) if error.is_media() => {
                    for place in group {
                        trouble = self.read_alone(fetch, *place).err().or(trouble);
                    }
                }
                Err(error) => trouble = Some(error),
            }
        }
        trouble.map_or(Ok(()), Err)
    }

    /// Reads the records of `group`, which follow each other in one segment, into the buffer.
    fn read_joined(&mut self, group: &[Ref], start: u64) -> Result<(), LogError> {
        let Some((first, last)) = group.first().zip(group.last()) else { return Ok(()) };
        let name = segment_name(first.segment);
        let mut buffer = std::mem::take(&mut self.buffer);
        buffer.resize((end_of(last) - start) as usize, 0);
        let file = self.file(first.segment, &name)?;
        let read = read_full(file, &mut buffer, start).map_err(|error| LogError::io("read", &name, &error));
        buffer.truncate(*read.as_ref().unwrap_or(&0));
        self.buffer = buffer;
        read.map(|_| ())
    }

    /// Reads one record page by page. A page that is refused at two tries is lost, and the record with it.
    fn read_alone(&mut self, fetch: &mut Fetch, place: usize) -> Result<(), LogError> {
        let Some(at) = fetch.at(place) else { return Ok(()) };
        let (name, start) = (segment_name(at.segment), header_of(&at));
        let mut buffer = std::mem::take(&mut self.buffer);
        buffer.resize((end_of(&at) - start) as usize, 0);
        let file = self.file(at.segment, &name)?;
        let mut from = start;
        let mut rest = buffer.as_mut_slice();
        while !rest.is_empty() {
            let piece = (PAGE - from as usize % PAGE).min(rest.len());
            let (page, behind) = std::mem::take(&mut rest).split_at_mut(piece);
            if let Err(error) = read_full(file, page, from) {
                let error = LogError::io("read", &name, &error);
                if error.is_media() && fetch.refused_again(place, from) {
                    fetch.settle(place, Err(LogError::Damaged { at }));
                    return Ok(());
                }
                return Err(error);
            }
            (rest, from) = (behind, from + piece as u64);
        }
        self.buffer = buffer;
        let body = self.body(&at, start);
        fetch.settle(place, body);
        Ok(())
    }

    /// A body out of the buffer, which starts at `start` of the segment.
    fn body(&self, at: &Ref, start: u64) -> Result<Bytes, LogError> {
        let here = self.buffer.get((header_of(at) - start) as usize..).unwrap_or_default();
        let place = at.offset.saturating_sub(RECORD_HEADER as u32);
        match record(here, at.segment, place, self.salt) {
            Some((header, body)) if header.len == at.len => Ok(Bytes::copy_from_slice(body)),
            _ => Err(LogError::Damaged { at: *at }),
        }
    }

    fn file(&mut self, segment: u32, name: &str) -> Result<&D::File, LogError> {
        let known = self.open.iter().position(|(id, _)| *id == segment);
        let entry = match known {
            Some(place) => self.open.remove(place),
            None => {
                let file = self.disk.open(name, false).map_err(|error| LogError::io("open", name, &error))?;
                self.open.truncate(OPEN_FILES - 1);
                (segment, file)
            }
        };
        self.open.insert(0, entry);
        let first = self.open.first().ok_or(LogError::Misused("a file was lost"))?;
        Ok(&first.1)
    }

    /// A part of a sealed segment: the records from the batch at `from` on (0 at first), about `enough` bytes of them.
    ///
    /// # Errors
    /// [`LogError::Io`] if the part cannot be read now: it is to be tried again later. Pages that the disk refuses then as
    /// well are damage.
    pub fn scan(&mut self, segment: u32, from: u64, enough: u64) -> Result<Part, LogError> {
        let mut bytes = Vec::new();
        let mut places = Vec::new();
        let walked = walk_part(&self.disk, segment, self.salt, from, enough, &mut |record| {
            places.push((record.kind, record.at, record.time_ms, bytes.len()));
            bytes.extend_from_slice(record.body);
        })?;
        if walked.unreadable && self.refused != Some((segment, from)) {
            self.refused = Some((segment, from));
            return Err(LogError::io("read", &segment_name(segment), &unreadable()));
        }
        self.refused = None;
        let bytes = Bytes::from(bytes);
        let records = places.into_iter().map(|(kind, at, time_ms, from)| {
            let body = bytes.slice(from..from + at.len as usize);
            Scanned { kind, at, body, time_ms }
        });
        Ok(Part { records: records.collect(), findings: walked.findings, next: walked.next })
    }

    /// Closes a segment that is about to be removed, so that its space comes back.
    pub fn forget(&mut self, segment: u32) {
        self.open.retain(|(id, _)| *id != segment);
    }
}

/// Removes a segment that nobody will read any more; returns when that is on disk. Segments must go one after the other,
/// so that a crash cannot bring back an earlier one whose end a later one told.
///
/// # Errors
/// [`LogError::Io`]; a file system that cannot remove a file of ours is not one to go on with.
pub fn unlink<D: Disk>(disk: &D, segment: u32) -> Result<(), LogError> {
    let name = segment_name(segment);
    let removed = match disk.remove(&name) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        other => other,
    };
    removed.and_then(|()| disk.sync_dir()).map_err(|error| LogError::io("remove", &name, &error))
}

fn header_of(at: &Ref) -> u64 {
    u64::from(at.offset).saturating_sub(RECORD_HEADER as u64)
}

fn end_of(at: &Ref) -> u64 {
    u64::from(at.offset) + u64::from(at.len)
}
