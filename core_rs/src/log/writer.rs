//! The half of the log on disk: writes batches, syncs them, and keeps empty segments in reserve.
//!
//! Rules: a segment is whole and synced before the next one is begun; a name is on disk before a batch under it counts
//! as durable; after any failure of a write or sync nothing is accepted any more (I10), since after a failed fsync nobody
//! knows what is on disk (the kernel drops the pages it could not write, and the next fsync says all is well).

use super::appender::Batch;
use super::disk::{Disk, DiskFile, write_full};
use super::error::LogError;
use super::format::segment_name;
use super::{Durability, LogOptions, Recovered};
use std::io::IoSlice;

/// Names of reserved segments begin with this.
const RESERVE: &str = "reserve-";

/// Writes the log.
pub struct Writer<D: Disk> {
    disk: D,
    options: LogOptions,
    salt: u32,
    /// The last batch written, and the last one on disk.
    written: u64,
    synced: u64,
    current: Option<Current<D::File>>,
    /// Ids of segments from this one on have never had a file.
    next_segment: u32,
    reserves: Vec<String>,
    failed: Option<LogError>,
}

/// The segment being written.
struct Current<F> {
    id: u32,
    file: F,
    end: u64,
}

impl<D: Disk> Writer<D> {
    /// Continues a log where recovery left it. Nothing is reserved yet: see [`Writer::reserve`].
    ///
    /// # Errors
    /// [`LogError::Io`].
    pub fn open(disk: D, recovered: &Recovered, options: &LogOptions) -> Result<Self, LogError> {
        let names = disk.list().map_err(|error| LogError::io("list", &disk.path(), &error))?;
        // They may be shorter than wished, or not on disk: nobody waited for them. Making new ones is cheap.
        for name in names.iter().filter(|name| name.starts_with(RESERVE)) {
            disk.remove(name).map_err(|error| LogError::io("remove", name, &error))?;
        }
        let last = recovered.next_batch.saturating_sub(1);
        Ok(Writer {
            disk,
            options: options.clone(),
            salt: recovered.salt,
            written: last,
            synced: last,
            current: None,
            next_segment: recovered.next_segment,
            reserves: Vec::new(),
            failed: None,
        })
    }

    /// Writes `batches`, the next ones in order, and syncs if one of them asks for it and the durability is `Fsync`.
    /// Returns the last batch that counts as durable.
    ///
    /// # Errors
    /// Any error is final: every later call returns [`LogError::Refused`].
    pub fn write(&mut self, batches: &mut [Batch]) -> Result<u64, LogError> {
        let sync = self.options.durability == Durability::Fsync && batches.iter().any(|batch| batch.sync);
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

    /// Whether something is written that is not on disk.
    pub fn is_dirty(&self) -> bool {
        self.written > self.synced
    }

    /// Makes the segments in reserve complete. False if the disk has no room for them (or refuses otherwise); trying
    /// again later is allowed. To be called after a start, after a segment was rolled, and when space may be free again.
    pub fn reserve(&mut self) -> bool {
        while self.failed.is_none() && self.reserves.len() < self.options.reserves as usize {
            if self.reserve_one().is_err() {
                return false;
            }
        }
        self.failed.is_none()
    }

    /// Whether a segment is missing in reserve.
    pub fn wants_reserve(&self) -> bool {
        self.failed.is_none() && self.reserves.len() < self.options.reserves as usize
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
            let bytes = vec![0; super::format::BATCH_HEADER];
            if current.end + bytes.len() as u64 <= u64::from(writer.options.segment_bytes) {
                let (segment, offset, number) = (current.id, current.end as u32, writer.written + 1);
                let mut last = [Batch { number, segment, offset, bytes, sync: true, time_ms: now_wall_ms }];
                writer.write_run(&mut last)?;
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
            self.begin(segment)?;
        }
        let (watermark, salt) = (self.synced, self.salt);
        let current = self.current.as_mut().ok_or(LogError::Misused("no segment is open"))?;
        let mut end = current.end;
        for batch in run.iter_mut() {
            if u64::from(batch.offset) != end || batch.number != self.written + 1 {
                return Err(LogError::Misused("batches were written out of order"));
            }
            batch.stamp(watermark, salt);
            end = batch.end();
            self.written = batch.number;
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
            self.synced = self.written;
        }
        Ok(())
    }

    /// Gives back what the current segment does not use and brings it to disk, whatever the durability: a loss is then
    /// never more than a segment, and damage can be told from a torn end.
    fn seal(&mut self) -> Result<(), LogError> {
        let Some(current) = self.current.take() else { return Ok(()) };
        let failed = |error| LogError::io("close", &segment_name(current.id), &error);
        current.file.truncate(current.end).map_err(failed)?;
        current.file.sync_all().map_err(failed)?;
        self.synced = self.written;
        Ok(())
    }

    /// Begins a segment: a reserved one under its own name, or a new one.
    fn begin(&mut self, id: u32) -> Result<(), LogError> {
        if id < self.next_segment {
            return Err(LogError::Misused("a segment was begun twice"));
        }
        let name = segment_name(id);
        let failed = |doing| {
            let name = name.clone();
            move |error| LogError::io(doing, &name, &error)
        };
        if self.reserves.is_empty() {
            self.reserve_one()?;
        }
        let reserve = self.reserves.pop().ok_or(LogError::Misused("no segment in reserve"))?;
        self.disk.rename(&reserve, &name).map_err(failed("name"))?;
        self.disk.sync_dir().map_err(failed("sync the directory of"))?;
        let file = self.disk.open(&name, true).map_err(failed("open"))?;
        self.next_segment = id + 1;
        self.current = Some(Current { id, file, end: 0 });
        Ok(())
    }

    fn reserve_one(&mut self) -> Result<(), LogError> {
        let taken = |name: &String| self.reserves.contains(name);
        let free = (0..).map(|n| format!("{RESERVE}{n}")).find(|name| !taken(name));
        let name = free.ok_or(LogError::Misused("no name for a reserve"))?;
        let failed = |doing| {
            let name = name.clone();
            move |error| LogError::io(doing, &name, &error)
        };
        let file = self.disk.create(&name).map_err(failed("make"))?;
        let reserved = file.reserve(u64::from(self.options.segment_bytes)).and_then(|()| file.sync_all());
        if let Err(error) = reserved {
            let _ = self.disk.remove(&name);
            return Err(failed("reserve room for")(error));
        }
        self.reserves.push(name);
        Ok(())
    }
}
