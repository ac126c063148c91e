//! What the tests share.

use crate::{Batch, Identity, Key, Lookup, OpenMode, Row, SqliteOptions, SqliteStore, Store, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

pub const LOG: Identity = Identity([0xA1; 16]);
pub const FILE: &str = "rows.db";

/// A directory that is removed with its owner.
pub struct Directory(PathBuf);

impl Directory {
    pub fn new() -> Directory {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("pyrouter-store-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        // In memory where there is such a place: nothing here depends on what a sync does, and hundreds of them are slow.
        let memory = Path::new("/dev/shm");
        let parent = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
        let path = parent.join(name);
        std::fs::create_dir_all(&path).unwrap();
        Directory(path)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    pub fn file(&self) -> PathBuf {
        self.0.join(FILE)
    }

    /// What a crash leaves: the database and its write-ahead log as they are now.
    ///
    /// Not the shared memory, which a crash of the machine takes. Closing the copied files drops SQLite's POSIX locks of
    /// this process; nobody else wants them.
    pub fn crashed(&self) -> Directory {
        let copy = Directory::new();
        for name in [FILE.to_owned(), format!("{FILE}-wal")] {
            let from = self.0.join(&name);
            if from.exists() {
                std::fs::copy(from, copy.0.join(name)).unwrap();
            }
        }
        copy
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Small pages and a short write-ahead log, so that few rows make a tree of several levels that is copied often.
pub fn small() -> SqliteOptions {
    SqliteOptions { page_size: 1024, wal_bytes: 16 << 10, ..SqliteOptions::default() }
}

pub fn open(directory: &Directory) -> SqliteStore {
    SqliteStore::open(directory.path(), LOG, OpenMode::Make, &small()).unwrap()
}

pub fn conversation(n: u32) -> Key {
    // Scattered, as ids are.
    let mut id = [0; 16];
    id[..4].copy_from_slice(&n.wrapping_mul(0x9E37_79B9).to_be_bytes());
    id[12..].copy_from_slice(&n.to_be_bytes());
    Key::conversation(&id)
}

pub fn row(key: Key, position: u64, value: &[u8]) -> Row {
    Row { key, position, value: value.to_vec() }
}

pub fn put_rows(store: &impl Store, rows: impl IntoIterator<Item = Row>) {
    let writes = rows.into_iter().map(|row| Write { key: row.key, position: row.position, value: Some(row.value) });
    store.put(&Batch::new(writes.collect()).unwrap()).unwrap();
}

pub fn put(store: &impl Store, key: &Key, position: u64, value: &[u8]) -> crate::Put {
    let write = Write { key: key.clone(), position, value: Some(value.to_vec()) };
    store.put(&Batch::new(vec![write]).unwrap()).unwrap()
}

pub fn remove(store: &impl Store, key: &Key, position: u64) -> crate::Put {
    let write = Write { key: key.clone(), position, value: None };
    store.put(&Batch::new(vec![write]).unwrap()).unwrap()
}

pub fn get(store: &impl Store, key: &Key) -> Lookup {
    store.get(std::slice::from_ref(key)).pop().unwrap()
}
