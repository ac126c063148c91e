//! Rows that come to rest: today's table and the store, each on a thread of its own that counts what it uses.

use crate::stream::{Chance, ROW, VALUE};
use crate::usage::{cpu_us, io};
use rusqlite::Connection;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;
use std::time::Instant;
use store::{Batch, Identity, Key, OpenMode, SqliteOptions, SqliteStore, Store, Write};

pub const LOG: Identity = Identity([0xA1; 16]);

/// Where rows come to rest.
#[derive(Clone, Copy, PartialEq)]
pub enum Mode {
    /// Not at all: the yardstick of the log.
    Nowhere,
    /// The table of pyrouter/cold.py, in the order in which rows come to rest, as many as one of today's sweeps evicts.
    Today,
    /// The store, in batches of so many rows, each as soon as there are as many.
    Store(usize),
    /// The same, but so many rows (the second number) wait in memory and are then put in the order of their keys, batch by
    /// batch: rows of one page come together.
    Sweep(usize, usize),
}

impl Mode {
    /// Rows of a batch.
    pub fn batch(self) -> usize {
        match self {
            Mode::Nowhere | Mode::Today => 820,
            Mode::Store(rows) | Mode::Sweep(rows, _) => rows,
        }
    }

    /// Rows that wait before the first of them is put.
    pub fn pool(self) -> usize {
        match self {
            Mode::Sweep(_, pool) => pool,
            _ => self.batch(),
        }
    }

    pub fn name(self) -> String {
        match self {
            Mode::Nowhere => "log alone".to_owned(),
            Mode::Today => "today, 820".to_owned(),
            Mode::Store(rows) => format!("store, {rows}"),
            Mode::Sweep(rows, pool) => format!("store, {rows} of {pool} by key"),
        }
    }
}

/// A conversation's id: scattered, always the same for a number.
pub fn id(number: u32) -> [u8; 16] {
    let mut chance = Chance(u64::from(number).wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
    let (_, a, b) = (chance.next(), chance.next(), chance.next());
    let mut id = [0; 16];
    id[..8].copy_from_slice(&a.to_be_bytes());
    id[8..].copy_from_slice(&b.to_be_bytes());
    id
}

pub fn value(number: u32, position: u64) -> Vec<u8> {
    let mut bytes = vec![0x33; VALUE];
    bytes[..8].copy_from_slice(&position.to_le_bytes());
    bytes[8..12].copy_from_slice(&number.to_le_bytes());
    bytes
}

/// What the thread used.
#[derive(Default)]
pub struct Rested {
    pub rows: u64,
    pub batches: u64,
    pub device_bytes: u64,
    pub cpu_us: f64,
    /// The longest batch, milliseconds.
    pub longest_ms: f64,
}

impl Rested {
    /// Bytes on the device for each byte of rows.
    pub fn amplification(&self) -> f64 {
        self.device_bytes as f64 / (self.rows.max(1) * ROW) as f64
    }
}

pub struct Resting {
    queue: SyncSender<Vec<(u32, u64)>>,
    thread: JoinHandle<Rested>,
    /// Rows that are durable.
    pub done: Arc<AtomicU64>,
}

impl Resting {
    pub fn start(directory: &Path, mode: Mode, options: &SqliteOptions) -> Resting {
        // One batch waits while one is written.
        let (queue, batches) = sync_channel(1);
        let (directory, options, done) = (directory.to_owned(), options.clone(), Arc::new(AtomicU64::new(0)));
        let counter = Arc::clone(&done);
        let thread = std::thread::spawn(move || run(&directory, mode, &options, &batches, &counter));
        Resting { queue, thread, done }
    }

    /// Gives a batch of rows and their positions; gives it back if another one waits already.
    pub fn offer(&self, rows: Vec<(u32, u64)>) -> Result<(), Vec<(u32, u64)>> {
        self.queue.try_send(rows).map_err(|error| match error {
            TrySendError::Full(rows) => rows,
            TrySendError::Disconnected(_) => panic!("the store's thread has ended"),
        })
    }

    pub fn end(self) -> Rested {
        drop(self.queue);
        self.thread.join().expect("the store's thread does not panic")
    }
}

fn run(
    directory: &Path,
    mode: Mode,
    options: &SqliteOptions,
    batches: &Receiver<Vec<(u32, u64)>>,
    done: &AtomicU64,
) -> Rested {
    let mut put = putter(directory, mode, options);
    let mut rested = Rested::default();
    let (cpu, device) = (cpu_us(), io("write_bytes"));
    while let Ok(rows) = batches.recv() {
        let start = Instant::now();
        rested.rows += rows.len() as u64;
        rested.batches += 1;
        put(&rows);
        rested.longest_ms = rested.longest_ms.max(start.elapsed().as_secs_f64() * 1e3);
        done.fetch_add(rows.len() as u64, Ordering::Relaxed);
    }
    // Closing copies what is left in the write-ahead log: it belongs to these rows.
    drop(put);
    rested.device_bytes = io("write_bytes") - device;
    rested.cpu_us = cpu_us() - cpu;
    rested
}

type Put = Box<dyn FnMut(&[(u32, u64)])>;

fn putter(directory: &Path, mode: Mode, options: &SqliteOptions) -> Put {
    match mode {
        Mode::Nowhere => Box::new(|_| ()),
        Mode::Today => {
            let mut db = today(directory);
            Box::new(move |rows| {
                let transaction = db.transaction().expect("a transaction begins");
                for &(number, position) in rows {
                    let sql = "INSERT INTO conversations (id, version, state) VALUES (?, ?, ?) ON CONFLICT (id) \
                               DO UPDATE SET version = excluded.version, state = excluded.state";
                    let mut statement = transaction.prepare_cached(sql).expect("today's statement is valid");
                    let row = (&id(number)[..], position.cast_signed(), value(number, position));
                    statement.execute(row).expect("a row is written");
                }
                transaction.commit().expect("a transaction commits");
            })
        }
        Mode::Store(_) | Mode::Sweep(..) => {
            let store = SqliteStore::open(directory, LOG, OpenMode::Make, options).expect("the store opens");
            Box::new(move |rows| {
                let write = |&(number, position): &(u32, u64)| Write {
                    key: Key::conversation(&id(number)),
                    position,
                    value: Some(value(number, position)),
                };
                let batch = Batch::new(rows.iter().map(write).collect()).expect("a batch is within its bounds");
                let put = store.put(&batch).expect("a batch is put");
                assert_eq!((put.written, put.kept), (rows.len(), 0), "each row is newer than the one before");
            })
        }
    }
}

fn today(directory: &Path) -> Connection {
    let db = Connection::open(directory.join("cold.db")).expect("today's database opens");
    db.execute_batch(
        "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;
         CREATE TABLE IF NOT EXISTS conversations (id BLOB PRIMARY KEY, version INTEGER NOT NULL, state BLOB NOT NULL)
         WITHOUT ROWID;",
    )
    .expect("today's schema is valid");
    db
}
