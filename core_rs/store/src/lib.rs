//! Rows at rest: the state of users, devices and conversations that are not active, kept in SQLite beside the log.
//!
//! An active row lives in memory and in the log. When it comes to rest, its owner puts it here and then logs where it is.
//! A start reads the log alone; the store is asked one row at a time, when somebody uses it.
//!
//! # Layout
//! - `key`, `row`: what is stored. A row is a key, the log position that it reflects, and a value that is opaque here.
//! - `batch`: rows that are put together, sorted by key.
//! - `store`: the trait, and the four answers to a question: found, absent, damaged, unreadable.
//! - `sqlite`: the store on a disk. `verify` compares all of it with what it says of itself.
//! - `thread`: a store with a thread for writing and one for reading, for an event loop.
//! - `memory`: a store for tests and simulations, with the faults of a disk.
//!
//! # Rules
//! - *Positive evidence.* `Absent` means that the store can show that it never had the row or was told to remove it: two
//!   trees must agree. A row that is missing from one of them is damaged, and one that cannot be read is unreadable.
//! - A row replaces another of the same key only if its position is higher, so a repeated or late batch is harmless.
//! - A batch is durable as a whole or not at all, together with the highest position that the store reflects.
//! - A failed write ends the store's writer (I10): SQLite cannot tell what of a failed sync reached the disk.
//! - Only rows that reflect *synced* positions may be put. The store cannot check that; its owner must.
//!
//! This crate must never know what a value means, nor read the log.

mod batch;
mod error;
mod key;
#[cfg(any(test, feature = "sim"))]
pub mod memory;
mod row;
mod sqlite;
mod store;
pub mod thread;

#[cfg(test)]
mod tests;

pub use batch::{Batch, MAX_BATCH_BYTES, MAX_BATCH_ROWS, Write};
pub use error::{Fault, StoreError};
pub use key::{Key, Kind, MAX_USER};
pub use row::{Identity, MAX_VALUE, Row};
pub use sqlite::{OpenMode, Progress, SqliteOptions, SqliteStore, Verified};
pub use store::{
    Counts, Damage, Lookup, MAX_ANSWER_BYTES, MAX_KEYS, MAX_PAGE_BYTES, MAX_PAGE_ROWS, Page, Put, Scan, Store, Summary,
};
