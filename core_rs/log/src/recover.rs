//! Opening a log after whatever happened to it, and looking at one without touching it.

use super::disk::{Disk, DiskFile, read_full, write_full};
use super::error::LogError;
use super::format::{MARK_DAMAGED, MARK_STORED, salt_of, segment_name};
use super::identity::{self, DRAWN_ANEW, Identity};
use super::walk::{unreadable, walk};
use super::walked::{Cut, Walked};
use super::{End, Finding, FindingKind, Record, SegmentInfo};
use std::io::IoSlice;

/// Names of files to which damaged bytes are set aside begin with this.
const DAMAGED: &str = "damaged-";

/// What recovery found, and where the log goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recovered {
    /// The segment that the next record goes to; it has no file yet, unless `next_offset` is above 0.
    pub next_segment: u32,
    /// Where in that segment the next batch goes.
    pub next_offset: u32,
    /// The number of the next batch; see [`Recovered::jump_above`].
    pub next_batch: u64,
    /// The last batch that was on disk; 0 in an empty log.
    pub last_batch: u64,
    /// The time of the last batch, milliseconds since 1970; 0 in an empty log.
    pub last_time_ms: u64,
    /// The log's identity. Nobody else's log has it: it tells whether a store belongs to this one.
    pub id: [u8; 16],
    /// How the run before ended.
    pub end: End,
    pub(super) format: Identity,
    /// Whether the log says that rows were put into the store.
    pub stored: bool,
    /// Whether this start, or one before it, found damage.
    pub damaged_once: bool,
    /// The segments that hold batches, by id.
    pub segments: Vec<SegmentInfo>,
    /// What was not as it should be.
    pub findings: Vec<Finding>,
}

impl Default for Recovered {
    /// An empty log.
    fn default() -> Self {
        Recovered {
            next_segment: 1,
            next_offset: 0,
            next_batch: 1,
            last_batch: 0,
            last_time_ms: 0,
            id: [0; 16],
            end: End::default(),
            format: Identity { id: [0; 16], boot: 0, batch: 0, segment: 0 },
            stored: false,
            damaged_once: false,
            segments: vec![],
            findings: vec![],
        }
    }
}

impl Recovered {
    /// The log's salt, which is a part of its identity.
    pub fn salt(&self) -> u32 {
        salt_of(&self.id)
    }

    /// The numbers of batches go on above `batch`, if they are not above it anyway: the ones between may have been given, and
    /// are known elsewhere. The log says that none is missing there.
    pub fn jump_above(&mut self, batch: u64) {
        self.next_batch = self.next_batch.max(batch.saturating_add(1));
    }

    /// The segment before the next one; 0: there is none.
    pub(super) fn segment_before(&self) -> u32 {
        let before = self.segments.iter().rev().find(|info| info.id < self.next_segment);
        before.map_or(0, |info| info.id)
    }

    /// What batches say of the log.
    pub(super) fn marks(&self) -> u32 {
        (if self.stored { MARK_STORED } else { 0 }) | (if self.damaged_once { MARK_DAMAGED } else { 0 })
    }

    /// The lowest batch that the log keeps.
    pub(super) fn first_batch(&self) -> u64 {
        self.segments.first().map_or(self.next_batch, |info| info.first_batch)
    }
}

/// A log that was read and not touched: whether it is what it should be is decided before [`Unsettled::settle`].
#[derive(Debug)]
pub struct Unsettled {
    walked: Walked,
    end: End,
    adopted: Option<[u8; 16]>,
}

/// Reads the log and calls `visit` with every record in order. Changes nothing.
///
/// # Errors
/// [`LogError::Io`] if the disk refuses; [`LogError::NewerFormat`], [`LogError::OlderFormat`] and
/// [`LogError::GarbledFormat`]; [`LogError::Missing`] and [`LogError::Empty`] if a part of it is not there that was not
/// trimmed. The caller must then drop what it built.
pub fn read<D: Disk>(disk: &D, visit: &mut dyn FnMut(Record<'_>)) -> Result<Unsettled, LogError> {
    let mut walked = walk(disk, identity::read(disk)?, visit)?;
    note_kept(disk, &mut walked.findings)?;
    match missing(&walked) {
        Some(missing) => Err(missing),
        None => Ok(Unsettled { end: walked.ended(disk.boot()), walked, adopted: None }),
    }
}

/// What is not there that must be.
fn missing(walked: &Walked) -> Option<LogError> {
    let empty = walked.last_batch.is_none() && walked.format.is_some_and(|format| format.batch > 0);
    walked.missing().or_else(|| empty.then_some(LogError::Empty))
}

impl Unsettled {
    /// The log's identity; `None` if there is no FORMAT file, or one of another log: then [`Unsettled::settle`] draws one.
    pub fn id(&self) -> Option<[u8; 16]> {
        self.walked.format.map(|format| format.id).or(self.adopted)
    }

    /// Somebody else, its store, says which identity the log had; for a log without its FORMAT file. False: it is not this log's,
    /// or the log has an identity.
    pub fn adopt(&mut self, id: [u8; 16]) -> bool {
        let fits = self.id().is_none() && self.walked.salt == Some(salt_of(&id));
        if fits {
            self.adopted = Some(id);
        }
        fits
    }

    /// The log's salt, if it has one already.
    pub fn salt(&self) -> Option<u32> {
        self.walked.salt
    }

    /// How the last run ended.
    pub fn end(&self) -> End {
        self.end
    }

    /// What was not as it should be. A caller that does not go on after damage looks here before it settles.
    pub fn findings(&self) -> &[Finding] {
        &self.walked.findings
    }

    /// The last batch that was on disk; 0 in an empty log.
    pub fn last_batch(&self) -> u64 {
        self.walked.reached()
    }

    /// Whether the log says that rows were put into the store.
    pub fn stored(&self) -> bool {
        self.walked.marks & MARK_STORED != 0
    }

    /// Cuts the torn end, and makes sure that all that was visited is on disk: whatever the caller concludes from a record
    /// is as durable as the record. If this is interrupted, the next start finds what this one found.
    ///
    /// # Errors
    /// [`LogError::Io`] if the disk refuses.
    pub fn settle<D: Disk>(mut self, disk: &D) -> Result<Recovered, LogError> {
        spare_unread(&self.walked)?;
        set_aside(disk, &mut self.walked.findings);
        bring_to_disk(disk, &self.walked)?;
        let damage = self.walked.findings.iter().any(|finding| finding.kind != FindingKind::TornEnd);
        let format = note_end(disk, &self.walked, self.adopted, damage)?;
        cut(disk, &self.walked)?;
        let (stored, last_batch) = (self.stored(), self.last_batch());
        let (walked, end) = (self.walked, self.end);
        let last_segment = walked.files.last().copied().unwrap_or(0);
        Ok(Recovered {
            next_segment: last_segment.checked_add(1).ok_or(LogError::Misused("the segment ids are used up"))?,
            next_offset: 0,
            next_batch: last_batch.checked_add(1).ok_or(LogError::Misused("the batch numbers are used up"))?,
            last_batch,
            last_time_ms: walked.last_time_ms,
            id: format.id,
            end,
            format,
            stored,
            damaged_once: damage || walked.marks & MARK_DAMAGED != 0,
            segments: walked.segments,
            findings: walked.findings,
        })
    }
}

/// Notes in FORMAT how far the log is on disk. The headers behind the cut may have been all that said so of a batch before
/// it that is damaged. The boot stays that of the last run: a start after this one must still be able to tell that what
/// that run reported may be gone.
fn note_end<D: Disk>(disk: &D, walked: &Walked, adopted: Option<[u8; 16]>, damage: bool) -> Result<Identity, LogError> {
    let known = match walked.format {
        Some(known) => known,
        None => {
            let random = disk.random().map_err(|error| LogError::io("draw random bytes for", &disk.path(), &error))?;
            let mut id = u128::from_be_bytes(random);
            if let Some(salt) = walked.salt {
                id = id << 32 >> 32 | u128::from(salt) << 96;
            }
            let id = adopted.map_or(id, u128::from_be_bytes);
            let boot = if walked.last_batch.is_none() { disk.boot() } else { DRAWN_ANEW };
            Identity { id: id.to_be_bytes(), boot, batch: 0, segment: 0 }
        }
    };
    let segment = walked.segments.last().map_or(0, |info| info.id);
    let noted = Identity { batch: walked.reached(), segment, ..known };
    if walked.format == Some(noted) {
        return Ok(noted);
    }
    match identity::write(disk, noted).map_err(|error| LogError::io("write the FORMAT file in", &disk.path(), &error)) {
        Ok(()) => Ok(noted),
        // On a full disk, what it says is not needed unless something is damaged.
        Err(error) if error.is_full() && walked.format.is_some() && !damage => Ok(known),
        Err(error) => Err(error),
    }
}

/// [`read`] and [`Unsettled::settle`], for whoever understands every record.
///
/// # Errors
/// As these.
pub fn recover<D: Disk>(disk: &D, visit: &mut dyn FnMut(Record<'_>)) -> Result<Recovered, LogError> {
    read(disk, visit)?.settle(disk)
}

/// Where the log ends.
fn end_of(walked: &Walked) -> Option<Cut> {
    let last = walked.segments.last();
    walked.cut.or(last.map(|info| Cut { segment: info.id, offset: info.bytes }))
}

/// What could not be read may hold what was durable: a log is not begun anew, or cut, because of it. It may be read the
/// next time.
fn spare_unread(walked: &Walked) -> Result<(), LogError> {
    let end = end_of(walked);
    for finding in walked.findings.iter().filter(|finding| finding.kind == FindingKind::Unreadable) {
        let behind = end.is_none_or(|end| {
            finding.segment > end.segment
                || (finding.segment == end.segment && finding.offset + finding.bytes > end.offset)
        });
        if behind {
            let name = segment_name(finding.segment);
            return Err(LogError::io("read the end of the log in", &name, &unreadable()));
        }
    }
    Ok(())
}

/// Brings what is part of the log to disk.
fn bring_to_disk<D: Disk>(disk: &D, walked: &Walked) -> Result<(), LogError> {
    for info in &walked.segments {
        let name = segment_name(info.id);
        let failed = |doing| {
            let name = name.clone();
            move |error| LogError::io(doing, &name, &error)
        };
        let file = disk.open(&name, true).map_err(failed("open"))?;
        if let Some(batch) = walked.unconfirmed.iter().find(|batch| batch.segment == info.id) {
            rewrite(&file, batch.offset, info.bytes).map_err(failed("rewrite"))?;
        }
        file.sync_all().map_err(failed("sync"))?;
    }
    disk.sync_dir().map_err(|error| LogError::io("sync", &disk.path(), &error))
}

/// Cuts what is not part of the log.
fn cut<D: Disk>(disk: &D, walked: &Walked) -> Result<(), LogError> {
    let end = end_of(walked);
    // Last segment first: if this is interrupted, what remains is still a log with a torn end.
    for id in walked.files.iter().rev().filter(|id| end.is_none_or(|end| **id >= end.segment)) {
        let name = segment_name(*id);
        let failed = |doing| {
            let name = name.clone();
            move |error| LogError::io(doing, &name, &error)
        };
        let Some(used) = walked.segments.iter().find(|info| info.id == *id).map(|info| info.bytes) else {
            disk.remove(&name).map_err(failed("remove"))?;
            // One name at a time, so that a later segment never outlives the one before it.
            disk.sync_dir().map_err(failed("sync the directory of"))?;
            continue;
        };
        let file = disk.open(&name, true).map_err(failed("open"))?;
        if file.len().map_err(failed("measure"))? > used {
            file.truncate(used).and_then(|()| file.sync_all()).map_err(failed("cut"))?;
        }
    }
    Ok(())
}

/// Writes a range again as it is. A batch whose sync failed is still in the kernel's memory, in pages that count as
/// clean: it would be read and believed, a sync would say that all is well, and a power loss would take it.
fn rewrite(file: &impl DiskFile, mut at: u64, end: u64) -> std::io::Result<()> {
    let mut buffer = vec![0; 1 << 20];
    while at < end {
        let piece = (end - at).min(buffer.len() as u64) as usize;
        let into = buffer.get_mut(..piece).unwrap_or_default();
        if read_full(file, into, at)? < piece {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        at += write_full(file, &mut [IoSlice::new(into)], at)?;
    }
    Ok(())
}

/// Damaged bytes that an earlier start set aside: it went on after them.
fn note_kept<D: Disk>(disk: &D, findings: &mut [Finding]) -> Result<(), LogError> {
    if findings.is_empty() {
        return Ok(());
    }
    let names = disk.list().map_err(|error| LogError::io("list", &disk.path(), &error))?;
    for finding in findings.iter_mut().filter(|finding| is_kept(finding)) {
        finding.kept_as = Some(kept_name(finding)).filter(|name| names.contains(name));
    }
    Ok(())
}

fn is_kept(finding: &Finding) -> bool {
    finding.kind == FindingKind::Damaged && finding.bytes > 0
}

fn kept_name(finding: &Finding) -> String {
    format!("{DAMAGED}{:012}-{}.bin", finding.segment, finding.offset)
}

/// Copies damaged bytes to files of their own, for they go when their segment goes. Best effort: a disk with no room for
/// them must not keep the rest from being served.
fn set_aside<D: Disk>(disk: &D, findings: &mut [Finding]) {
    for finding in findings.iter_mut().filter(|finding| is_kept(finding) && finding.kept_as.is_none()) {
        let name = kept_name(finding);
        if copy(disk, finding, &name).is_ok() {
            finding.kept_as = Some(name);
        }
    }
}

fn copy<D: Disk>(disk: &D, finding: &Finding, name: &str) -> std::io::Result<()> {
    let from = disk.open(&segment_name(finding.segment), false)?;
    let mut bytes = vec![0; usize::try_from(finding.bytes).unwrap_or(0)];
    read_full(&from, &mut bytes, finding.offset)?;
    let to = disk.create(name)?;
    let written = write_full(&to, &mut [IoSlice::new(&bytes)], 0).and_then(|_| to.sync_all());
    written.inspect_err(|_| {
        let _ = disk.remove(name);
    })
}

/// What fsck saw.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FsckReport {
    /// The segments that hold batches, by id.
    pub segments: Vec<SegmentInfo>,
    /// Whole batches.
    pub batches: u64,
    /// Whole records.
    pub records: u64,
    /// The number of the last batch, 0 in an empty log.
    pub last_batch: u64,
    /// The latest time of any batch, milliseconds since 1970.
    pub last_time_ms: u64,
    /// What is not as it should be; what recovery would report.
    pub findings: Vec<Finding>,
    /// Files that hold bytes which earlier recoveries set aside.
    pub set_aside: Vec<String>,
    /// The log's identity, if FORMAT has it.
    pub id: Option<[u8; 16]>,
    /// The log's salt, if it has one.
    pub salt: Option<u32>,
    /// How the last run ended.
    pub end: End,
    /// Whether the log says that rows were put into the store.
    pub stored: bool,
    /// Why a start would refuse this log, in words.
    pub refusals: Vec<String>,
}

impl FsckReport {
    /// Whether nothing that was durable is gone: a torn end is normal after a crash.
    pub fn is_sound(&self) -> bool {
        self.refusals.is_empty() && self.findings.iter().all(|finding| finding.kind == FindingKind::TornEnd)
    }
}

/// Checks a log and changes nothing. While a server writes to it, its end may look torn.
///
/// # Errors
/// As [`read`], but for what is missing: that is part of the report.
pub fn fsck<D: Disk>(disk: &D, visit: &mut dyn FnMut(Record<'_>)) -> Result<FsckReport, LogError> {
    let mut walked = walk(disk, identity::read(disk)?, visit)?;
    note_kept(disk, &mut walked.findings)?;
    let names = disk.list().map_err(|error| LogError::io("list", &disk.path(), &error))?;
    let mut set_aside: Vec<String> = names.into_iter().filter(|name| name.starts_with(DAMAGED)).collect();
    set_aside.sort_unstable();
    Ok(FsckReport {
        id: walked.format.map(|format| format.id),
        salt: walked.salt,
        end: walked.ended(disk.boot()),
        stored: walked.marks & MARK_STORED != 0,
        refusals: missing(&walked).or(spare_unread(&walked).err()).iter().map(ToString::to_string).collect(),
        batches: walked.batches,
        records: walked.segments.iter().map(|info| info.records).sum(),
        last_batch: walked.last_batch.unwrap_or(0),
        last_time_ms: walked.last_time_ms,
        segments: walked.segments,
        findings: walked.findings,
        set_aside,
    })
}
