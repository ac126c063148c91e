//! What the store says of itself: one blob, written with every batch.
//!
//! ```text
//! identity: 16 │ reflects: u64 │ counts: 4 × u64 │ sums: 4 × u32 │ CRC-32 of what stands before: u32     little-endian
//! ```
//! A kind's sum is the exclusive or of its rows' checksums. Together with the count it shows offline what no single row
//! can show: that a page is an older version of itself, whose rows fit their checksums.

use crate::error::StoreError;
use crate::key::Kind;
use crate::row::Identity;
use crate::store::Summary;
use rusqlite::{CachedStatement, Connection};

const LEN: usize = 16 + 8 + 32 + 16 + 4;

/// See the module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Meta {
    pub identity: Identity,
    pub summary: Summary,
    pub sums: [u32; 4],
}

impl Meta {
    pub fn new(identity: Identity) -> Meta {
        Meta { identity, summary: Summary::default(), sums: [0; 4] }
    }

    /// Takes a row's checksum in, or out.
    pub fn toggle(&mut self, kind: Kind, sum: u32) {
        for (each, total) in Kind::ALL.iter().zip(&mut self.sums) {
            if *each == kind {
                *total ^= sum;
            }
        }
    }

    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(LEN);
        bytes.extend_from_slice(&self.identity.0);
        bytes.extend_from_slice(&self.summary.reflects.to_le_bytes());
        self.summary.counts.0.iter().for_each(|count| bytes.extend_from_slice(&count.to_le_bytes()));
        self.sums.iter().for_each(|sum| bytes.extend_from_slice(&sum.to_le_bytes()));
        let crc = crc32fast::hash(&bytes);
        bytes.extend_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// `None` if the bytes are not such a blob.
    pub fn decode(bytes: &[u8]) -> Option<Meta> {
        let (body, crc) = bytes.split_last_chunk()?;
        if bytes.len() != LEN || crc32fast::hash(body) != u32::from_le_bytes(*crc) {
            return None;
        }
        let (identity, mut rest) = body.split_first_chunk()?;
        let mut meta = Meta::new(Identity(*identity));
        meta.summary.reflects = take(&mut rest).map(u64::from_le_bytes)?;
        for count in &mut meta.summary.counts.0 {
            *count = take(&mut rest).map(u64::from_le_bytes)?;
        }
        for sum in &mut meta.sums {
            *sum = take(&mut rest).map(u32::from_le_bytes)?;
        }
        Some(meta)
    }

    /// Reads it; `None` if it is damaged or not there.
    ///
    /// # Errors
    /// Whatever SQLite says.
    pub fn read(db: &Connection) -> rusqlite::Result<Option<Meta>> {
        let mut statement: CachedStatement<'_> = db.prepare_cached("SELECT said FROM meta WHERE id = 0")?;
        let mut rows = statement.query([])?;
        Ok(match rows.next()? {
            Some(row) => row.get_ref(0)?.as_blob().ok().and_then(Meta::decode),
            None => None,
        })
    }

    /// Reads the meta of this log's store.
    ///
    /// # Errors
    /// [`StoreError::OtherLog`], [`StoreError::DamagedSummary`], and whatever SQLite says.
    pub fn of(db: &Connection, path: &str, identity: Identity) -> Result<Meta, StoreError> {
        let meta = Meta::read(db).map_err(|error| StoreError::sqlite("read", path, &error))?;
        let meta = meta.ok_or_else(|| StoreError::DamagedSummary { path: path.to_owned() })?;
        if meta.identity != identity {
            return Err(StoreError::OtherLog { path: path.to_owned(), store: meta.identity, log: identity });
        }
        Ok(meta)
    }
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (first, tail) = rest.split_first_chunk()?;
    *rest = tail;
    Some(*first)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Counts;

    #[test]
    fn meta_survives_encoding_and_rejects_every_flipped_bit() {
        let summary = Summary { reflects: 9, counts: Counts([1, 2, 3, 4]) };
        let meta = Meta { identity: Identity([7; 16]), summary, sums: [5, 6, 7, 8] };
        let bytes = meta.encode();
        assert_eq!(bytes.len(), LEN);
        assert_eq!(Meta::decode(&bytes), Some(meta));
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Meta::decode(&flipped), None, "bit {bit}");
        }
        assert_eq!(Meta::decode(&bytes[1..]), None);
    }
}
