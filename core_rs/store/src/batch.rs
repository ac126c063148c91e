//! Rows that are put together, sorted by key.

use crate::error::StoreError;
use crate::key::Key;
use crate::row::MAX_VALUE;

/// Most rows of a batch.
pub const MAX_BATCH_ROWS: usize = 20_000;
/// Most bytes of a batch's keys and values; a single row always fits.
pub const MAX_BATCH_BYTES: usize = 32 << 20;

/// A row to put, or to remove.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Write {
    /// Whose.
    pub key: Key,
    /// The position of the last log record that the value, or the removal, reflects.
    pub position: u64,
    /// The state; `None` removes the row.
    pub value: Option<Vec<u8>>,
}

/// Writes in the order of their keys, one for each key, within the limits. Cannot be made otherwise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    writes: Vec<Write>,
    reflects: u64,
}

impl Batch {
    /// Sorts `writes`; the cost of finding a page is then paid once for all rows on it.
    ///
    /// # Errors
    /// [`StoreError::TooLarge`] beyond [`MAX_BATCH_ROWS`], [`MAX_BATCH_BYTES`] or, for one value, [`MAX_VALUE`];
    /// [`StoreError::Misused`] if it is empty or has a key twice.
    pub fn new(mut writes: Vec<Write>) -> Result<Batch, StoreError> {
        if writes.is_empty() {
            return Err(StoreError::Misused("a batch has at least one row"));
        }
        at_most("a batch's rows", writes.len(), MAX_BATCH_ROWS)?;
        let mut bytes = 0;
        for write in &writes {
            let len = write.value.as_ref().map_or(0, Vec::len);
            at_most("a row's value", len, MAX_VALUE)?;
            bytes += write.key.as_bytes().len() + len;
        }
        at_most("a batch's keys and values", bytes, MAX_BATCH_BYTES)?;
        writes.sort_unstable_by(|a, b| a.key.cmp(&b.key));
        if writes.windows(2).any(|pair| matches!(pair, [a, b] if a.key == b.key)) {
            return Err(StoreError::Misused("a batch has each key once"));
        }
        let reflects = writes.iter().map(|write| write.position).max().unwrap_or(0);
        Ok(Batch { writes, reflects })
    }

    /// The writes, in the order of their keys.
    pub fn writes(&self) -> &[Write] {
        &self.writes
    }

    /// The highest position among them.
    pub fn reflects(&self) -> u64 {
        self.reflects
    }
}

fn at_most(what: &'static str, len: usize, max: usize) -> Result<(), StoreError> {
    if len > max { Err(StoreError::TooLarge { what, len, max }) } else { Ok(()) }
}
