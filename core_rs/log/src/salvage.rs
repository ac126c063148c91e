//! Finds the records that are still whole in a stretch of damaged log.
//!
//! A record that follows a whole one is where it must be. After a bad one, every offset is tried: the seed of a
//! checksum holds the place and the log's salt, so neither old bytes nor bytes inside a body pass for a record. The
//! check of a header rules out nearly all offsets at the cost of a multiplication, so that the search is linear.

use super::format::{RECORD_HEADER, RecordHeader, record, seed};
use crc32fast::Hasher;
use std::ops::Range;

/// Distance of the remembered checksums, bytes.
const STEP: usize = 64;

/// Calls `found` with the offset of each whole record that begins in the first `data` bytes of `bytes` (which stand at
/// `base` of `segment`), its header and its body. Returns the ranges of those bytes that belong to none, and where all
/// of it ends.
pub(super) fn salvage(
    bytes: &[u8],
    data: usize,
    segment: u32,
    base: u32,
    salt: u32,
    mut found: impl FnMut(u32, RecordHeader, &[u8]),
) -> (Vec<Range<usize>>, usize) {
    let mut lost: Vec<Range<usize>> = Vec::new();
    let mut sums = None;
    let mut at = 0;
    while at < data {
        let rest = bytes.get(at..).unwrap_or_default();
        let place = base.wrapping_add(at as u32);
        if let Some((header, body)) = record(rest, segment, place, salt) {
            found(place, header, body);
            at += RECORD_HEADER + body.len();
            continue;
        }
        let sums = sums.get_or_insert_with(|| Sums::of(bytes));
        let fits = |from: &usize| sums.record_at(*from, seed(segment, base.wrapping_add(*from as u32), salt));
        let next = (at + 1..data).find(fits).unwrap_or(data);
        lost.push(at..next);
        at = next;
    }
    (lost, at)
}

/// Checksums of the prefixes of some bytes, from which that of any range follows in constant time: without them,
/// trying every offset would be quadratic, and a sender could make bodies that are.
struct Sums<'a> {
    bytes: &'a [u8],
    sums: Vec<u32>,
}

impl<'a> Sums<'a> {
    fn of(bytes: &'a [u8]) -> Self {
        let mut hasher = Hasher::new();
        let mut sums = vec![0];
        for piece in bytes.chunks(STEP) {
            hasher.update(piece);
            sums.push(hasher.clone().finalize());
        }
        Sums { bytes, sums }
    }

    /// The checksum of the first `end` bytes.
    fn prefix(&self, end: usize) -> Option<u32> {
        let mut hasher = Hasher::new_with_initial(*self.sums.get(end / STEP)?);
        hasher.update(self.bytes.get(end / STEP * STEP..end)?);
        Some(hasher.finalize())
    }

    /// Whether a whole record starts at `at`, its checksum seeded with `seed`.
    fn record_at(&self, at: usize, seed: u32) -> bool {
        self.check(at, seed).unwrap_or(false)
    }

    fn check(&self, at: usize, seed: u32) -> Option<bool> {
        let header = RecordHeader::read(self.bytes.get(at..)?).filter(|header| header.fits(seed))?;
        let from = at + 4;
        let end = at + RECORD_HEADER + header.len as usize;
        if end > self.bytes.len() || header.crc == 0 {
            return Some(false);
        }
        // crc(seed, range) = prefix(end) ^ shift(seed ^ prefix(from)), since the checksum is linear.
        let shifted = shift(seed ^ self.prefix(from)?, (end - from) as u64);
        Some(self.prefix(end)? ^ shifted == header.crc)
    }
}

/// What `crc` becomes when `count` zero bytes follow, less what those zeros alone would give.
fn shift(crc: u32, count: u64) -> u32 {
    let mut hasher = Hasher::new_with_initial(crc);
    hasher.combine(&Hasher::new_with_initial_len(0, count));
    hasher.finalize()
}

#[cfg(test)]
mod tests {
    use super::super::sim::Rng;
    use super::*;

    #[test]
    fn a_search_looks_at_few_bodies_in_garbage_so_that_it_is_linear() {
        let mut rng = Rng::new(1);
        let garbage: Vec<u8> = (0..1 << 20).map(|_| rng.next() as u8).collect();
        let header = |at: &usize| RecordHeader::read(garbage.get(*at..).unwrap_or_default());
        let fit = |at: &usize| header(at).is_some_and(|header| header.fits(seed(3, *at as u32, 7)));
        let tried = (0..garbage.len()).filter(fit).count();
        assert!(tried < 64, "{tried} of a million offsets, where 16 are to be expected");
        let (lost, end) = salvage(&garbage, garbage.len(), 3, 0, 7, |_, _, _| panic!("there is no record"));
        assert_eq!((lost.len(), lost.first(), end), (1, Some(&(0..garbage.len())), garbage.len()));
    }
}
