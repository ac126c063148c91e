//! What the node asks of a store. Small, so that a test can be the store.

use crate::batch::Batch;
use crate::error::StoreError;
use crate::key::{Key, Kind, prefix_of_user};
use crate::row::{Identity, Row};
use smallvec::SmallVec;

/// Most keys of one [`Store::get`].
pub const MAX_KEYS: usize = 4096;
/// Most bytes of values that one [`Store::get`] answers, unless its only row is longer.
pub const MAX_ANSWER_BYTES: usize = 4 << 20;
/// Most rows of one page of a scan.
pub const MAX_PAGE_ROWS: usize = 1024;
/// Most bytes of one page's keys and values, unless its only row is longer.
pub const MAX_PAGE_BYTES: usize = 1 << 20;

/// Rows by key, beside the log. Calls block; [`crate::thread`] makes them from threads of its own.
///
/// A reading sees all batches whose `put` has returned, and each batch wholly or not at all.
pub trait Store: Send + Sync {
    /// The log that this store belongs to.
    fn identity(&self) -> Identity;

    /// What the store says of itself, durable together with its rows.
    ///
    /// # Errors
    /// Whatever keeps it from being read.
    fn summary(&self) -> Result<Summary, StoreError>;

    /// Puts a batch; it is durable when this returns. After an error nobody knows whether it is: the caller must end (I10).
    ///
    /// # Errors
    /// Whatever kept it from being written.
    fn put(&self, batch: &Batch) -> Result<Put, StoreError>;

    /// Looks rows up, in one trip and at one moment. Answers in the order of their keys, one for each key.
    ///
    /// Keys beyond [`MAX_KEYS`] and rows beyond [`MAX_ANSWER_BYTES`] are answered [`Lookup::Unreadable`] with
    /// [`StoreError::TooLarge`]: the caller may ask for them again, alone.
    fn get(&self, keys: &[Key]) -> Vec<Lookup>;

    /// One page of a range of keys.
    ///
    /// # Errors
    /// Whatever kept the page from being read. Rows that are damaged are in the page.
    fn scan(&self, scan: &Scan) -> Result<Page, StoreError>;
}

/// The answer about one row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lookup {
    /// The row, as it was put. That it is the *latest* that was put only the log can say: compare the positions.
    Found(Row),
    /// There is no such row, on positive evidence.
    Absent(Key),
    /// There is, or was, such a row, and it is not as it was put.
    Damaged(Key, Damage),
    /// The store cannot say.
    Unreadable(Key, StoreError),
}

impl Lookup {
    /// The row's key.
    pub fn key(&self) -> &Key {
        match self {
            Lookup::Found(Row { key, .. })
            | Lookup::Absent(key)
            | Lookup::Damaged(key, _)
            | Lookup::Unreadable(key, _) => key,
        }
    }
}

/// Bounds the bytes of a question's answers.
pub(crate) struct Room(usize);

impl Room {
    pub fn new() -> Room {
        Room(0)
    }

    /// The answer, or that there is no room for it.
    pub fn admit(&mut self, answer: Lookup) -> Lookup {
        let Lookup::Found(row) = answer else { return answer };
        let len = self.0.saturating_add(row.value.len());
        if len > MAX_ANSWER_BYTES && self.0 > 0 {
            let too_large = StoreError::TooLarge { what: "a question's answers, bytes", len, max: MAX_ANSWER_BYTES };
            return Lookup::Unreadable(row.key, too_large);
        }
        self.0 = len;
        Lookup::Found(row)
    }
}

/// What is wrong with a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Damage {
    /// Its checksum does not fit.
    Checksum,
    /// The store knows the key, and has no row.
    Vanished,
}

/// What became of a batch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Put {
    /// Rows that were written or removed.
    pub written: usize,
    /// Rows that were left as they are, because the store's are as new or newer.
    pub kept: usize,
    /// Rows that were damaged before and are whole now: the disk is to be distrusted.
    pub healed: Vec<Key>,
}

/// Which rows to scan, and from where on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scan {
    /// What the keys begin with.
    pub(crate) prefix: SmallVec<[u8; 24]>,
    /// The last key of the page before.
    pub(crate) after: Option<Key>,
    /// Most rows of the page; at most [`MAX_PAGE_ROWS`].
    pub(crate) rows: usize,
}

impl Scan {
    /// All rows of a kind.
    pub fn kind(kind: Kind) -> Scan {
        Scan { prefix: SmallVec::from_slice(&[kind as u8]), after: None, rows: MAX_PAGE_ROWS }
    }

    /// All rows of a kind whose key begins with a user: `Device` or `Member`.
    ///
    /// # Errors
    /// Those of [`Key::user`]; [`StoreError::Misused`] for any other kind.
    pub fn of_user(kind: Kind, user: &[u8]) -> Result<Scan, StoreError> {
        if !matches!(kind, Kind::Device | Kind::Member) {
            return Err(StoreError::Misused("only devices and memberships have keys that begin with a user"));
        }
        Ok(Scan { prefix: prefix_of_user(kind, user)?, after: None, rows: MAX_PAGE_ROWS })
    }

    /// The rows of this scan behind `key`, which the page before gave in `next`.
    pub fn after(mut self, key: Key) -> Scan {
        self.after = Some(key);
        self
    }

    /// With at most `rows` rows in the page, between 1 and [`MAX_PAGE_ROWS`].
    pub fn rows(mut self, rows: usize) -> Scan {
        self.rows = rows.clamp(1, MAX_PAGE_ROWS);
        self
    }
}

/// A page of a scan.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// Found or damaged rows, in the order of their keys.
    pub rows: Vec<Lookup>,
    /// Where the next page goes on, for [`Scan::after`]; `None` at the end.
    pub next: Option<Key>,
}

/// How many rows there are of each kind, in the order of [`Kind::ALL`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts(pub [u64; 4]);

impl Counts {
    /// How many there are of `kind`.
    pub fn of(&self, kind: Kind) -> u64 {
        Kind::ALL.iter().zip(self.0).find(|(each, _)| **each == kind).map_or(0, |(_, count)| count)
    }

    pub(crate) fn change(&mut self, kind: Kind, by: i64) {
        for (each, count) in Kind::ALL.iter().zip(&mut self.0) {
            if *each == kind {
                *count = count.saturating_add_signed(by);
            }
        }
    }
}

/// What a store says of itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// The highest position that any batch reflected, 0 before the first. A start continues above it.
    pub reflects: u64,
    /// How many rows there are.
    pub counts: Counts,
}
