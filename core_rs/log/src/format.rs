//! The bytes of the log, format 3: a batch's header, a record's header, and the seeds of their checksums.
//!
//! docs/log.md draws them; tests/fixtures/log-v3 holds some. All integers are little-endian.

use crc32fast::Hasher;

/// The first bytes of every batch; the fourth is the version of the format.
pub(super) const MAGIC: [u8; 4] = [b'P', b'R', b'B', VERSION];
/// The version of the format that this code writes.
pub(super) const VERSION: u8 = 3;
/// Length of a batch's header, bytes.
pub(super) const BATCH_HEADER: usize = 56;
/// Length of a record's header, bytes.
pub(super) const RECORD_HEADER: usize = 10;
/// Longest body of a record: its length has 24 bits.
pub(super) const MAX_BODY: usize = (1 << 24) - 1;

/// A batch's header, its checksum aside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BatchHeader {
    /// The batch's number: from 1, without gaps but where [`MARK_JUMP`] says so, through the whole log.
    pub number: u64,
    /// The highest batch that was known to be on disk when this one was written.
    pub watermark: u64,
    /// Milliseconds since 1970, as the appender was told.
    pub time_ms: u64,
    /// The lowest batch that the log kept when this one was written: only those below it were trimmed.
    pub first: u64,
    /// Bytes of records after the header.
    pub length: u32,
    /// Random, the same in every batch of one log: what a body holds can never pass for a batch or a record.
    pub salt: u32,
    /// Facts about the batch or the log: the constants below.
    pub marks: u32,
    /// The segment that stood before this one when it was begun; 0: none. The ids between the two held no batch.
    pub before: u32,
}

/// A row was put into the store: what the log does not know may stand there.
pub(super) const MARK_STORED: u32 = 1;
/// A start found damage: what was lost then may be missing ever after.
pub(super) const MARK_DAMAGED: u32 = 2;
/// The marks that hold for the log from a batch on. The others concern the batch alone.
pub(super) const MARKS_KEPT: u32 = MARK_STORED | MARK_DAMAGED;
/// The batch was written in a run that reports batches before they are on disk: behind it some may be gone that were
/// reported. The first such batch of a run is on disk before it is reported, so that there is always one that says so.
pub(super) const MARK_UNSYNCED: u32 = 4;
/// The batch ends a run that was closed: all before it was on disk when it was written.
pub(super) const MARK_CLEAN: u32 = 8;
/// The numbers between the watermark and the batch's own were never given.
pub(super) const MARK_JUMP: u32 = 16;
/// All marks of this format.
pub(super) const MARKS: u32 = MARKS_KEPT | MARK_UNSYNCED | MARK_CLEAN | MARK_JUMP;

/// The salt of the log with this identity.
pub(super) fn salt_of(id: &[u8; 16]) -> u32 {
    let [a, b, c, d, ..] = *id;
    u32::from_be_bytes([a, b, c, d])
}

/// Seeds a checksum with the place that it belongs to, so that bytes of another place or an earlier life never fit.
///
/// For one offset every segment has its own seed, and for one segment every offset (both maps are one to one).
pub(super) fn seed(segment: u32, offset: u32, salt: u32) -> u32 {
    segment.wrapping_mul(0x9E37_79B1) ^ offset ^ salt
}

impl BatchHeader {
    /// The header as bytes, for a batch that starts at `offset` of `segment`.
    pub fn encode(&self, segment: u32, offset: u32) -> [u8; BATCH_HEADER] {
        let mut out = [0; BATCH_HEADER];
        let mut rest = &mut out[..];
        let mut put = |bytes: &[u8]| {
            let (head, tail) = std::mem::take(&mut rest).split_at_mut(bytes.len());
            head.copy_from_slice(bytes);
            rest = tail;
        };
        put(&MAGIC);
        put(&[0; 4]);
        put(&self.number.to_le_bytes());
        put(&self.watermark.to_le_bytes());
        put(&self.time_ms.to_le_bytes());
        put(&self.first.to_le_bytes());
        put(&self.length.to_le_bytes());
        put(&self.salt.to_le_bytes());
        put(&self.marks.to_le_bytes());
        put(&self.before.to_le_bytes());
        let crc = header_crc(&out, segment, offset);
        if let Some(place) = out.get_mut(4..8) {
            place.copy_from_slice(&crc.to_le_bytes());
        }
        out
    }

    /// The header at the start of `bytes`, which stand at `offset` of `segment`; `None` unless it is whole and right.
    pub fn decode(bytes: &[u8], segment: u32, offset: u32) -> Option<Self> {
        let bytes: &[u8; BATCH_HEADER] = bytes.first_chunk()?;
        if !bytes.starts_with(&MAGIC) || u32_at(bytes, 4)? != header_crc(bytes, segment, offset) {
            return None;
        }
        Some(BatchHeader {
            number: u64_at(bytes, 8)?,
            watermark: u64_at(bytes, 16)?,
            time_ms: u64_at(bytes, 24)?,
            first: u64_at(bytes, 32)?,
            length: u32_at(bytes, 40)?,
            salt: u32_at(bytes, 44)?,
            marks: u32_at(bytes, 48)?,
            before: u32_at(bytes, 52)?,
        })
    }

    /// The number of the batch before it.
    pub fn predecessor(&self) -> u64 {
        if self.marks & MARK_JUMP != 0 { self.watermark } else { self.number.saturating_sub(1) }
    }
}

/// The version in `bytes` if they begin a batch of another format than this code reads.
pub(super) fn other_version(bytes: &[u8]) -> Option<u8> {
    let [b'P', b'R', b'B', version, ..] = bytes else { return None };
    // A later format numbers on from here; anything far off is a damaged byte.
    (1..=VERSION + 15).contains(version).then_some(*version).filter(|version| *version != VERSION)
}

fn header_crc(header: &[u8; BATCH_HEADER], segment: u32, offset: u32) -> u32 {
    let mut hasher = Hasher::new_with_initial(seed(segment, offset, 0));
    hasher.update(header.get(8..).unwrap_or_default());
    hasher.finalize()
}

/// A record's header, its checksum aside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RecordHeader {
    /// What the record is; the log does not care.
    pub kind: u8,
    /// Length of its body, bytes.
    pub len: u32,
    /// The checksum that it claims.
    pub crc: u32,
    check: u16,
}

impl RecordHeader {
    /// Reads the header at the start of `bytes` without checking anything.
    pub fn read(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; RECORD_HEADER] = bytes.first_chunk()?;
        let [c0, c1, c2, c3, h0, h1, kind, l0, l1, l2] = *bytes;
        Some(RecordHeader {
            kind,
            len: u32::from_le_bytes([l0, l1, l2, 0]),
            crc: u32::from_le_bytes([c0, c1, c2, c3]),
            check: u16::from_le_bytes([h0, h1]),
        })
    }

    /// A record's header without its checksum, for one that stands where `seed` says.
    pub fn encode(kind: u8, len: usize, seed: u32) -> [u8; RECORD_HEADER] {
        let [h0, h1] = check(kind, len as u32, seed).to_le_bytes();
        let [l0, l1, l2, _] = (len as u32).to_le_bytes();
        [0, 0, 0, 0, h0, h1, kind, l0, l1, l2]
    }

    /// Whether kind and length fit the place: true of one in 65,536 headers that were never written there. So a search
    /// for records looks at few bodies.
    pub fn fits(&self, seed: u32) -> bool {
        self.check == check(self.kind, self.len, seed)
    }
}

fn check(kind: u8, len: u32, seed: u32) -> u16 {
    let word = len << 8 | u32::from(kind);
    ((word ^ seed).wrapping_mul(0x9E37_79B1) >> 16) as u16
}

/// The checksum of a record whose header stands at `offset`: over its kind, length and body.
pub(super) fn record_crc(after_crc: &[u8], segment: u32, offset: u32, salt: u32) -> u32 {
    let mut hasher = Hasher::new_with_initial(seed(segment, offset, salt));
    hasher.update(after_crc);
    hasher.finalize()
}

/// The record at the start of `bytes`, which stand at `offset` of `segment`; `None` unless it is whole and right.
pub(super) fn record(bytes: &[u8], segment: u32, offset: u32, salt: u32) -> Option<(RecordHeader, &[u8])> {
    let header = RecordHeader::read(bytes).filter(|header| header.fits(seed(segment, offset, salt)))?;
    let end = RECORD_HEADER + header.len as usize;
    let crc = record_crc(bytes.get(4..end)?, segment, offset, salt);
    (crc == header.crc).then_some((header, bytes.get(RECORD_HEADER..end)?))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

/// The name of a segment's file.
pub(super) fn segment_name(id: u32) -> String {
    format!("{id:012}.seg")
}

/// The segment that a file's name stands for.
pub(super) fn segment_id(name: &str) -> Option<u32> {
    let digits = name.strip_suffix(".seg")?;
    let id = digits.parse().ok().filter(|id| *id > 0)?;
    (segment_name(id) == name).then_some(id)
}
