//! What the simulated disk holds: each file as the running machine sees it and as the disk has it.

use rustix::io::Errno;
use std::collections::{BTreeMap, BTreeSet};
use std::io;

/// Bytes that a disk writes as one, mostly.
pub const SECTOR: usize = 512;
const PAGE: usize = 4096;

/// The kinds of calls, for choosing one that fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Call {
    List,
    Create,
    Open,
    Rename,
    Remove,
    SyncDir,
    Read,
    Write,
    Reserve,
    Truncate,
    Sync,
}

/// A small generator of numbers (splitmix64), so that a seed means the same for ever.
#[derive(Clone, Debug)]
pub struct Rng(u64);

impl Rng {
    /// The generator of a seed.
    pub fn new(seed: u64) -> Self {
        Rng(seed)
    }

    /// The next number.
    #[allow(clippy::should_implement_trait)]
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number below `end`; 0 if there is none.
    pub fn below(&mut self, end: usize) -> usize {
        (self.next() % end.max(1) as u64) as usize
    }

    /// True once in `n` times.
    pub fn once_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }
}

#[derive(Clone, Default)]
pub(super) struct Inode {
    /// What reads see.
    pub now: Vec<u8>,
    /// What is on disk.
    disk: Vec<u8>,
    /// Sectors in which the two may differ.
    dirty: BTreeSet<usize>,
    lost_pages: BTreeSet<usize>,
}

/// A change of the directory that is not synced.
enum Change {
    Insert(String, usize),
    Rename(String, String, usize),
    Remove(String),
}

pub(super) struct State {
    pub rng: Rng,
    pub hostile: bool,
    /// Goes up whenever the process starts again.
    pub life: u32,
    /// Goes up whenever the machine does.
    pub boot: u128,
    pub calls: u64,
    pub crash_at: Option<u64>,
    pub crashed: bool,
    pub capacity: u64,
    /// Kind, how many calls of it until then, and the error.
    pub failures: Vec<(Call, u64, i32)>,
    pub names: BTreeMap<String, usize>,
    synced_names: BTreeMap<String, usize>,
    changes: Vec<Change>,
    inodes: Vec<Inode>,
}

/// What every call on a dead machine returns.
pub(super) fn dead() -> io::Error {
    io::Error::other("the simulated machine is dead")
}

impl State {
    pub fn new(seed: u64) -> Self {
        State {
            rng: Rng::new(seed),
            hostile: false,
            life: 0,
            boot: 1,
            calls: 0,
            crash_at: None,
            crashed: false,
            capacity: u64::MAX,
            failures: Vec::new(),
            names: BTreeMap::new(),
            synced_names: BTreeMap::new(),
            changes: Vec::new(),
            inodes: Vec::new(),
        }
    }

    /// One call: counts it, and does it unless the machine dies, the call fails or is interrupted.
    pub fn call<T>(&mut self, call: Call, step: impl FnOnce(&mut Self) -> io::Result<T>) -> io::Result<T> {
        if self.crashed {
            return Err(dead());
        }
        self.calls += 1;
        if self.crash_at == Some(self.calls) {
            if self.rng.once_in(2) {
                let _ = step(self);
            }
            self.crashed = true;
            return Err(dead());
        }
        if let Some(errno) = self.planned_failure(call) {
            return Err(io::Error::from_raw_os_error(errno));
        }
        if self.hostile {
            self.write_back();
            if matches!(call, Call::Read | Call::Write) && self.rng.once_in(50) {
                return Err(io::ErrorKind::Interrupted.into());
            }
        }
        step(self)
    }

    fn planned_failure(&mut self, call: Call) -> Option<i32> {
        for failure in self.failures.iter_mut().filter(|failure| failure.0 == call) {
            failure.1 = failure.1.saturating_sub(1);
        }
        let place = self.failures.iter().position(|failure| failure.1 == 0)?;
        Some(self.failures.remove(place).2)
    }

    /// What a failed sync leaves: pages that count as clean and are not on disk.
    pub fn drop_dirty(&mut self, inode: usize) {
        self.inodes[inode].dirty.clear();
    }

    /// The kernel writes back some sectors of its own accord.
    fn write_back(&mut self) {
        if self.inodes.is_empty() || !self.rng.once_in(4) {
            return;
        }
        let place = self.rng.below(self.inodes.len());
        let sectors: Vec<usize> = self.inodes[place].dirty.iter().copied().collect();
        for _ in 0..self.rng.below(4) {
            if !sectors.is_empty() {
                let sector = sectors[self.rng.below(sectors.len())];
                self.inodes[place].flush(sector, SECTOR);
            }
        }
    }

    pub fn restart(&mut self) {
        self.boot += 1;
        for change in std::mem::take(&mut self.changes) {
            if self.rng.once_in(2) {
                self.apply(change);
            }
        }
        self.names = self.synced_names.clone();
        // From crash to crash the mixture is another: nearly nothing, half, nearly everything.
        let odds = [1, 2, 2, 8, 1000][self.rng.below(5)];
        let mostly_kept = self.rng.once_in(2);
        for inode in &mut self.inodes {
            inode.settle(&mut self.rng, odds, mostly_kept);
        }
        self.reopen();
    }

    pub fn reopen(&mut self) {
        self.life += 1;
        self.crashed = false;
        self.crash_at = None;
        self.failures.clear();
    }

    fn apply(&mut self, change: Change) {
        match change {
            Change::Insert(name, inode) => {
                self.synced_names.insert(name, inode);
            }
            Change::Rename(from, to, inode) => {
                self.synced_names.retain(|name, known| !(*name == from && *known == inode));
                self.synced_names.insert(to, inode);
            }
            Change::Remove(name) => {
                self.synced_names.remove(&name);
            }
        }
    }

    pub fn sync_dir(&mut self) {
        self.synced_names = self.names.clone();
        self.changes.clear();
    }

    pub fn create(&mut self, name: &str) -> io::Result<usize> {
        if self.names.contains_key(name) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        self.inodes.push(Inode::default());
        let inode = self.inodes.len() - 1;
        self.names.insert(name.to_owned(), inode);
        self.changes.push(Change::Insert(name.to_owned(), inode));
        Ok(inode)
    }

    pub fn rename(&mut self, from: &str, to: &str) -> io::Result<()> {
        let inode = self.names.remove(from).ok_or(io::ErrorKind::NotFound)?;
        self.names.insert(to.to_owned(), inode);
        self.changes.push(Change::Rename(from.to_owned(), to.to_owned(), inode));
        Ok(())
    }

    pub fn remove(&mut self, name: &str) -> io::Result<()> {
        self.names.remove(name).ok_or(io::ErrorKind::NotFound)?;
        self.changes.push(Change::Remove(name.to_owned()));
        Ok(())
    }

    pub fn inode(&self, inode: usize) -> &Inode {
        &self.inodes[inode]
    }

    pub fn used(&self) -> u64 {
        self.names.values().map(|inode| self.inodes[*inode].now.len() as u64).sum()
    }

    pub fn read(&mut self, inode: usize, into: &mut [u8], offset: usize) -> io::Result<usize> {
        let file = &self.inodes[inode];
        let end = (offset + into.len()).min(file.now.len());
        if offset >= end {
            return Ok(0);
        }
        if (offset / PAGE..=(end - 1) / PAGE).any(|page| file.lost_pages.contains(&page)) {
            return Err(Errno::IO.into());
        }
        into[..end - offset].copy_from_slice(&file.now[offset..end]);
        Ok(end - offset)
    }

    pub fn write(&mut self, inode: usize, bytes: &[u8], offset: usize) -> io::Result<usize> {
        let mut len = bytes.len();
        if self.hostile && len > 1 && self.rng.once_in(4) {
            len = 1 + self.rng.below(len - 1);
        }
        let have = self.inodes[inode].now.len();
        let room = (self.capacity.saturating_sub(self.used()) as usize).saturating_add(have).saturating_sub(offset);
        len = len.min(room);
        if len == 0 && !bytes.is_empty() {
            return Err(Errno::NOSPC.into());
        }
        let file = &mut self.inodes[inode];
        if file.now.len() < offset + len {
            file.resize(offset + len);
        }
        file.now[offset..offset + len].copy_from_slice(&bytes[..len]);
        file.dirty.extend(offset / SECTOR..(offset + len).div_ceil(SECTOR));
        Ok(len)
    }

    pub fn reserve(&mut self, inode: usize, len: usize) -> io::Result<()> {
        let have = self.inodes[inode].now.len();
        let more = len.saturating_sub(have);
        if more as u64 > self.capacity.saturating_sub(self.used()) {
            return Err(Errno::NOSPC.into());
        }
        self.inodes[inode].resize(have + more);
        Ok(())
    }

    pub fn resize(&mut self, inode: usize, len: usize) -> io::Result<()> {
        self.inodes[inode].resize(len);
        Ok(())
    }

    pub fn sync(&mut self, inode: usize) {
        let file = &mut self.inodes[inode];
        file.disk.resize(file.now.len(), 0);
        for sector in std::mem::take(&mut file.dirty) {
            file.flush(sector, SECTOR);
        }
    }

    pub fn contents(&self, name: &str) -> Option<Vec<u8>> {
        Some(self.inodes[*self.names.get(name)?].now.clone())
    }

    pub fn put(&mut self, name: &str, bytes: Vec<u8>) {
        let lost_pages = self.names.get(name).map(|inode| self.inodes[*inode].lost_pages.clone()).unwrap_or_default();
        self.inodes.push(Inode { now: bytes.clone(), disk: bytes, dirty: BTreeSet::new(), lost_pages });
        self.names.insert(name.to_owned(), self.inodes.len() - 1);
        self.synced_names.insert(name.to_owned(), self.inodes.len() - 1);
    }

    pub fn lose_page(&mut self, name: &str, offset: u64) {
        if let Some(inode) = self.names.get(name) {
            self.inodes[*inode].lost_pages.insert(offset as usize / PAGE);
        }
    }
}

impl Inode {
    fn resize(&mut self, len: usize) {
        let (from, to) = (self.now.len().min(len), self.now.len().max(len));
        self.now.resize(len, 0);
        self.dirty.extend(from / SECTOR..to.div_ceil(SECTOR));
    }

    /// Brings the first `len` bytes of a sector to disk. The length on disk grows with it, as far as it must.
    fn flush(&mut self, sector: usize, len: usize) {
        let start = sector * SECTOR;
        let end = (start + len).min(self.now.len());
        if start >= end {
            return;
        }
        if self.disk.len() < end {
            self.disk.resize(end, 0);
        }
        self.disk[start..end].copy_from_slice(&self.now[start..end]);
    }

    /// What a crash leaves.
    fn settle(&mut self, rng: &mut Rng, odds: usize, mostly_kept: bool) {
        let kept = |rng: &mut Rng| rng.once_in(odds) != mostly_kept;
        let shrunk = self.now.len() < self.disk.len();
        let new_len = kept(rng);
        for sector in std::mem::take(&mut self.dirty) {
            if kept(rng) {
                let torn = rng.once_in(8).then(|| rng.below(SECTOR));
                self.flush(sector, torn.unwrap_or(SECTOR));
            }
        }
        if new_len || (shrunk && rng.once_in(2)) {
            self.disk.resize(self.now.len(), 0);
        }
        self.now = self.disk.clone();
    }
}
