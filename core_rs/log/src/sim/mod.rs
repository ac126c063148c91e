//! A disk that fails in every way that disks fail, the same way for the same seed.
//!
//! What it does that a friendly disk would not:
//! - bytes that were not synced are lost in a crash, or kept, sector by sector (512 bytes), in any order and mixture;
//!   a sector may be torn in its middle; some were written back long before, in an older state;
//! - a file's new length is kept or lost on its own; so is each creation, rename and removal before the directory's sync;
//! - writes are short, calls are interrupted;
//! - any call may fail once, or be the one in which the machine dies, having done its work, or half, or nothing;
//! - a sync that failed has dropped what it should have written, and the next one says all is well (as Linux does);
//! - there is an end of space, and space given back by a removal;
//! - pages go bad, bytes flip.
//!
//! For tests and simulations only (feature `sim`). One thread at a time decides; it may be shared between threads, but
//! then the order of calls, and so the outcome, is theirs.

mod state;

use super::appender::Batch;
use super::disk::{Disk, DiskFile};
use super::format::{BATCH_HEADER, RECORD_HEADER, RecordHeader};
use state::State;
use std::io::{self, IoSlice};
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

pub use state::{Call, Rng, SECTOR};

/// The records of a batch that is to be written: kind and body.
pub fn records(batch: &Batch) -> Vec<(u8, &[u8])> {
    let mut rest = batch.bytes.get(BATCH_HEADER..).unwrap_or_default();
    let mut records = Vec::new();
    while let Some(RecordHeader { kind, len, .. }) = RecordHeader::read(rest) {
        let end = RECORD_HEADER + len as usize;
        records.push((kind, rest.get(RECORD_HEADER..end).unwrap_or_default()));
        rest = rest.get(end..).unwrap_or_default();
    }
    records
}

/// A simulated directory; clones are the same one.
#[derive(Clone)]
pub struct SimDisk {
    state: Arc<Mutex<State>>,
}

/// An open file of a [`SimDisk`]; of no use after a crash.
pub struct SimFile {
    disk: SimDisk,
    inode: usize,
    life: u32,
}

impl SimDisk {
    /// An empty directory. It begins friendly: see [`SimDisk::be_hostile`].
    pub fn new(seed: u64) -> Self {
        SimDisk { state: Arc::new(Mutex::new(State::new(seed))) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on short writes, interrupted calls, and write-back at any time.
    pub fn be_hostile(&self) {
        self.state().hostile = true;
    }

    /// The machine dies in the `n`th call from now, 1 being the next one.
    pub fn crash_in(&self, n: u64) {
        let mut state = self.state();
        state.crash_at = Some(state.calls + n);
    }

    /// The machine dies now.
    pub fn crash(&self) {
        self.state().crashed = true;
    }

    /// Whether the machine is dead.
    pub fn is_crashed(&self) -> bool {
        self.state().crashed
    }

    /// The machine starts again, and finds what was on disk.
    pub fn restart(&self) {
        self.state().restart();
    }

    /// The process starts again on a machine that stayed up: everything written is still seen, and still not on disk.
    pub fn reopen(&self) {
        self.state().reopen();
    }

    /// How many calls there were.
    pub fn calls(&self) -> u64 {
        self.state().calls
    }

    /// The `n`th `call` from now fails with `errno`, once.
    pub fn fail(&self, call: Call, n: u64, errno: i32) {
        self.state().failures.push((call, n, errno));
    }

    /// Bytes that fit; unlimited at first. Reserved bytes count.
    pub fn set_capacity(&self, bytes: u64) {
        self.state().capacity = bytes;
    }

    /// Bytes in use.
    pub fn used(&self) -> u64 {
        self.state().used()
    }

    /// A file's bytes as they are now, if it exists.
    pub fn contents(&self, name: &str) -> Option<Vec<u8>> {
        self.state().contents(name)
    }

    /// Puts a file on the disk, synced, in the place of what had its name.
    pub fn put(&self, name: &str, bytes: Vec<u8>) {
        self.state().put(name, bytes);
    }

    /// Flips bits of every byte in the range, on the disk itself.
    pub fn damage(&self, name: &str, range: Range<usize>, xor: u8) {
        let mut bytes = self.contents(name).unwrap_or_default();
        bytes.iter_mut().take(range.end).skip(range.start).for_each(|byte| *byte ^= xor);
        self.put(name, bytes);
    }

    /// From now on the page at `offset` of a file cannot be read.
    pub fn lose_page(&self, name: &str, offset: u64) {
        self.state().lose_page(name, offset);
    }
}

impl Disk for SimDisk {
    type File = SimFile;

    fn list(&self) -> io::Result<Vec<String>> {
        self.state().call(Call::List, |state| Ok(state.names.keys().cloned().collect()))
    }

    fn create(&self, name: &str) -> io::Result<SimFile> {
        let mut state = self.state();
        let inode = state.call(Call::Create, |state| state.create(name))?;
        Ok(SimFile { disk: self.clone(), inode, life: state.life })
    }

    fn open(&self, name: &str, _write: bool) -> io::Result<SimFile> {
        let mut state = self.state();
        let inode =
            state.call(Call::Open, |state| state.names.get(name).copied().ok_or(io::ErrorKind::NotFound.into()))?;
        Ok(SimFile { disk: self.clone(), inode, life: state.life })
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.state().call(Call::Rename, |state| state.rename(from, to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.state().call(Call::Remove, |state| state.remove(name))
    }

    fn sync_dir(&self) -> io::Result<()> {
        self.state().call(Call::SyncDir, |state| {
            state.sync_dir();
            Ok(())
        })
    }

    fn random(&self) -> io::Result<[u8; 16]> {
        let mut state = self.state();
        let (a, b) = (state.rng.next(), state.rng.next());
        Ok((u128::from(a) << 64 | u128::from(b)).to_be_bytes())
    }

    fn boot(&self) -> u128 {
        self.state().boot
    }

    fn path(&self) -> String {
        "(simulated)".to_owned()
    }
}

impl SimFile {
    fn call<T>(&self, call: Call, step: impl FnOnce(&mut State, usize) -> io::Result<T>) -> io::Result<T> {
        let mut state = self.disk.state();
        if state.life != self.life {
            return Err(state::dead());
        }
        state.call(call, |state| step(state, self.inode))
    }
}

impl DiskFile for SimFile {
    fn len(&self) -> io::Result<u64> {
        self.call(Call::Open, |state, inode| Ok(state.inode(inode).now.len() as u64))
    }

    fn read_at(&self, into: &mut [u8], offset: u64) -> io::Result<usize> {
        self.call(Call::Read, |state, inode| state.read(inode, into, offset as usize))
    }

    fn write_at(&self, from: &[IoSlice<'_>], offset: u64) -> io::Result<usize> {
        let bytes = from.iter().flat_map(|piece| piece.iter().copied()).collect::<Vec<u8>>();
        self.call(Call::Write, |state, inode| state.write(inode, &bytes, offset as usize))
    }

    fn reserve(&self, len: u64) -> io::Result<()> {
        self.call(Call::Reserve, |state, inode| state.reserve(inode, len as usize))
    }

    fn truncate(&self, len: u64) -> io::Result<()> {
        self.call(Call::Truncate, |state, inode| state.resize(inode, len as usize))
    }

    fn sync_data(&self) -> io::Result<()> {
        let synced = self.call(Call::Sync, |state, inode| {
            state.sync(inode);
            Ok(())
        });
        synced.inspect_err(|error| {
            if error.raw_os_error().is_some() {
                self.disk.state().drop_dirty(self.inode);
            }
        })
    }

    fn sync_all(&self) -> io::Result<()> {
        self.sync_data()
    }
}
