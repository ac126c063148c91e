//! The half of the log on disk: writes batches, syncs them, and keeps empty segments in reserve.
//!
//! Rules: a segment is whole and synced before the next one is begun; a name is on disk before a batch under it counts
//! as durable; after any failure of a write or sync nothing is accepted any more (I10), since after a failed fsync nobody
//! knows what is on disk (the kernel drops the pages it could not write, and the next fsync says all is well).

use super::appender::Batch;
use super::disk::{Disk, DiskFile, write_full};
use super::error::LogError;
use super::format::{BATCH_HEADER, MARK_CLEAN, MARK_JUMP, MARK_UNSYNCED, MARKS_KEPT, segment_name};
use super::identity::{self, Identity};
use super::reserve::{self, Names, Reserve};
use super::{Durability, LogOptions, Recovered};
use std::io::IoSlice;

/// Writes the log.
pub struct Writer<D: Disk> {
    disk: D,
    options: LogOptions,
    /// The last batch written, and the last one on disk.
    written: u64,
    synced: u64,
    /// The number of the next batch.
    next: u64,
    /// The number of the first batch of this run.
    begins: u64,
    /// What the last batch said of the log.
    first: u64,
    marks: u32,
    /// What the file FORMAT says; whether this run has seen to it.
    format: Identity,
    told: bool,
    current: Option<Current<D::File>>,
    /// Ids of segments from this one on have never had a file, unless the log goes on in its last segment.
    next_segment: u32,
    /// Where in that one, if so.
    resume: Option<u64>,
    reserves: Vec<Reserve>,
    /// Reserves that somebody else is making.
    ordered: usize,
    names: Names,
    /// There was no room for the last reserve that was ordered.
    short: bool,
    failed: Option<LogError>,
}

/// The segment being written.
struct Current<F> {
    id: u32,
    /// The segment before it.
    before: u32,
    file: F,
    end: u64,
}

impl<D: Disk> Writer<D> {
    /// Continues a log where recovery left it. Nothing is reserved yet: see [`Writer::reserve`].
    ///
    /// # Errors
    /// [`LogError::Io`].
    pub fn open(disk: D, recovered: &Recovered, options: &LogOptions) -> Result<Self, LogError> {
        let (reserves, names) = reserve::adopt(&disk, options)?;
        Ok(Writer {
            disk,
            options: options.clone(),
            written: recovered.last_batch,
            synced: recovered.last_batch,
            next: recovered.next_batch,
            begins: recovered.next_batch,
            first: recovered.first_batch(),
            marks: recovered.marks(),
            format: recovered.format,
            told: false,
            current: None,
            next_segment: recovered.next_segment,
            resume: (recovered.next_offset > 0).then_some(recovered.next_offset.into()),
            reserves,
            ordered: 0,
            names,
            short: false,
            failed: None,
        })
    }

    /// Writes `batches`, the next ones in order, and syncs if one of them asks for it and the durability is `Fsync`; or,
    /// under the others, if none of this run is on disk yet: what they report without a sync is only safe to lose if a
    /// batch is left that says that some may be gone. Returns the last batch that counts as durable.
    ///
    /// # Errors
    /// Any error is final: every later call returns [`LogError::Refused`].
    pub fn write(&mut self, batches: &mut [Batch]) -> Result<u64, LogError> {
        let sync = match self.options.durability {
            Durability::Fsync => batches.iter().any(|batch| batch.sync),
            Durability::Interval(_) | Durability::None => self.synced < self.begins,
        };
        self.guarded(|writer| {
            for run in batches.chunk_by_mut(|a, b| a.segment == b.segment) {
                writer.write_run(run)?;
            }
            if sync { writer.sync_current() } else { Ok(()) }
        })?;
        Ok(self.durable())
    }

    /// Brings everything written to disk. Returns the last batch that counts as durable.
    ///
    /// # Errors
    /// As [`Writer::write`].
    pub fn sync(&mut self) -> Result<u64, LogError> {
        self.guarded(Self::sync_current)?;
        Ok(self.durable())
    }

    /// The last batch that counts as durable under the chosen durability.
    pub fn durable(&self) -> u64 {
        if self.options.durability == Durability::Fsync { self.synced } else { self.written }
    }

    /// The last batch that is on disk, whatever the durability: an fdatasync that covers it has returned.
    pub fn synced(&self) -> u64 {
        self.synced
    }

    /// Whether something is written that is not on disk.
    pub fn is_dirty(&self) -> bool {
        self.written > self.synced
    }

    /// Makes the segments in reserve complete. False if the disk has no room for them (or refuses otherwise); trying
    /// again later is allowed. To be called after a start, after a segment was rolled, and when space may be free again.
    pub fn reserve(&mut self) -> bool {
        while let Some(name) = self.order_reserve() {
            let made = reserve::make(&self.disk, name, &self.options);
            if !self.reserve_made(made) {
                return false;
            }
        }
        self.failed.is_none()
    }

    /// The name of a segment that is missing in reserve; the caller makes it and brings it with `reserve_made`.
    pub(super) fn order_reserve(&mut self) -> Option<String> {
        let missing = self.reserves.len() + self.ordered < self.options.reserves as usize;
        if !missing || self.failed.is_some() {
            return None;
        }
        self.ordered += 1;
        Some(self.names.draw())
    }

    /// Whether the segments in reserve are complete.
    pub(super) fn has_reserves(&self) -> bool {
        self.reserves.len() >= self.options.reserves as usize
    }

    /// Takes an ordered reserve; tells whether there is one.
    pub(super) fn reserve_made(&mut self, made: Result<Reserve, LogError>) -> bool {
        self.ordered = self.ordered.saturating_sub(1);
        let ok = made.is_ok();
        self.short = !ok;
        self.reserves.extend(made);
        ok
    }

    /// Ends the log cleanly: everything is on disk, and a last empty batch says so, so that from now on damage to any
    /// batch is known for damage.
    ///
    /// # Errors
    /// As [`Writer::write`].
    pub fn close(mut self, now_wall_ms: u64) -> Result<(), LogError> {
        self.guarded(|writer| {
            writer.sync_current()?;
            let Some(current) = &writer.current else { return Ok(()) };
            let (segment, before) = (current.id, current.before);
            let (number, offset, bytes) = (writer.next, current.end as u32, vec![0; BATCH_HEADER]);
            let (first, marks, time_ms) = (writer.first, writer.marks | MARK_CLEAN, now_wall_ms);
            writer.write_run(&mut [Batch {
                number,
                segment,
                offset,
                bytes,
                sync: true,
                time_ms,
                first,
                marks,
                before,
            }])?;
            if writer.short && writer.reserves.is_empty() {
                // The next start may have no other room: what the segment does not use is kept for it.
                return writer.sync_current();
            }
            writer.seal()
        })
    }

    fn guarded(&mut self, step: impl FnOnce(&mut Self) -> Result<(), LogError>) -> Result<(), LogError> {
        if let Some(error) = &self.failed {
            return Err(LogError::Refused { because: error.to_string() });
        }
        step(self).inspect_err(|error| self.failed = Some(error.clone()))
    }

    fn write_run(&mut self, run: &mut [Batch]) -> Result<(), LogError> {
        let Some(first) = run.first() else { return Ok(()) };
        let (segment, offset) = (first.segment, u64::from(first.offset));
        if self.current.as_ref().is_none_or(|current| current.id != segment) {
            self.seal()?;
            self.begin(segment, first.before)?;
        }
        let (watermark, salt) = (self.synced, self.format.salt());
        let unsynced = if self.options.durability == Durability::Fsync { 0 } else { MARK_UNSYNCED };
        let current = self.current.as_mut().ok_or(LogError::Misused("no segment is open"))?;
        let mut end = current.end;
        for batch in run.iter_mut() {
            if u64::from(batch.offset) != end || batch.number != self.next {
                return Err(LogError::Misused("batches were written out of order"));
            }
            let jump = if batch.number == self.written + 1 { 0 } else { MARK_JUMP };
            let unsynced = if batch.marks & MARK_CLEAN == 0 { unsynced } else { 0 };
            batch.stamp(watermark, salt, jump | unsynced);
            end = batch.end();
            (self.written, self.next) = (batch.number, batch.number + 1);
            (self.first, self.marks) = (batch.first, batch.marks & MARKS_KEPT);
        }
        let mut pieces: Vec<IoSlice<'_>> = run.iter().map(|batch| IoSlice::new(&batch.bytes)).collect();
        write_full(&current.file, &mut pieces, offset)
            .map_err(|error| LogError::io("write to", &segment_name(segment), &error))?;
        current.end = end;
        Ok(())
    }

    fn sync_current(&mut self) -> Result<(), LogError> {
        if let Some(current) = self.current.as_ref().filter(|_| self.written > self.synced) {
            current.file.sync_data().map_err(|error| LogError::io("sync", &segment_name(current.id), &error))?;
            let (segment, is_first) = (current.id, self.synced < self.begins);
            self.synced = self.written;
            if is_first {
                self.tell(segment);
            }
        }
        Ok(())
    }

    /// Sees to it that FORMAT says that there is a batch, and in which boot of the machine the log is written to. It may
    /// only say so once a batch of this run is on disk: it is how a start tells whether what an earlier run reported may be
    /// gone, and this run's first batch holds what was concluded from that. If the disk is full, it is tried again with the
    /// next segment, and a later start errs on the safe side.
    fn tell(&mut self, segment: u32) {
        let boot = self.disk.boot();
        let stale = self.format.batch == 0 || self.format.boot != boot;
        let identity = Identity { boot, batch: self.synced, segment, ..self.format };
        self.told = self.told || !stale || identity::write(&self.disk, identity).is_ok();
    }

    /// Gives back what the current segment does not use and brings it to disk, whatever the durability: a loss is then
    /// never more than a segment, and damage can be told from a torn end.
    fn seal(&mut self) -> Result<(), LogError> {
        let Some(current) = self.current.take() else { return Ok(()) };
        let failed = |error| LogError::io("close", &segment_name(current.id), &error);
        current.file.truncate(current.end).map_err(failed)?;
        current.file.sync_all().map_err(failed)?;
        self.synced = self.written;
        if !self.told && self.synced >= self.begins {
            self.tell(current.id);
        }
        Ok(())
    }

    /// Begins a segment: a reserved one under its own name, or a new one.
    fn begin(&mut self, id: u32, before: u32) -> Result<(), LogError> {
        if id < self.next_segment {
            return Err(LogError::Misused("a segment was begun twice"));
        }
        let name = segment_name(id);
        let failed = |doing| {
            let name = name.clone();
            move |error| LogError::io(doing, &name, &error)
        };
        if let Some(end) = self.resume.take().filter(|_| id == self.next_segment) {
            let file = self.disk.open(&name, true).map_err(failed("open"))?;
            self.next_segment = id + 1;
            self.current = Some(Current { id, before, file, end });
            return Ok(());
        }
        let reserve = match self.reserves.pop() {
            Some(reserve) => reserve,
            None => reserve::make(&self.disk, self.names.draw(), &self.options)?,
        };
        self.disk.rename(&reserve.name, &name).map_err(failed("name"))?;
        self.disk.sync_dir().map_err(failed("sync the directory of"))?;
        let file = self.disk.open(&name, true).map_err(failed("open"))?;
        self.next_segment = id + 1;
        self.current = Some(Current { id, before, file, end: 0 });
        Ok(())
    }
}
