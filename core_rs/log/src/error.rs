//! What can go wrong with the log, in words for the person who must act on it.

use super::Ref;
use std::io;

/// The log's error. Cloned freely: a failure is told again to everyone who comes after it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogError {
    /// The disk refused an operation.
    Io {
        /// What was being done: `write`, `sync`, …
        doing: &'static str,
        /// The file or directory it was done to.
        name: String,
        /// The operating system's error number, 0 if there was none.
        errno: i32,
        /// The operating system's words.
        message: String,
    },
    /// Another process holds the log.
    InUse {
        /// The directory.
        path: String,
        /// Its process id, 0 if it has not written one.
        pid: u32,
    },
    /// A record is longer than the log can hold.
    RecordTooLarge {
        /// The record's length, bytes.
        len: usize,
        /// The longest that fits, bytes.
        max: usize,
    },
    /// The records of one decision are together longer than a batch can be.
    DecisionTooLarge {
        /// What they take with their headers, bytes.
        len: usize,
        /// The most that fits, bytes.
        max: usize,
    },
    /// A record cannot be read: its checksum is wrong, or its segment ends before it.
    Damaged {
        /// Where it should stand.
        at: Ref,
    },
    /// A segment was written by a later version of pyrouter.
    NewerFormat {
        /// The segment; 0: the file FORMAT says so.
        segment: u32,
        /// The version of its format.
        version: u8,
    },
    /// A segment was written by an earlier version of pyrouter whose format is not read any more.
    OlderFormat {
        /// The segment; 0: the file FORMAT says so.
        segment: u32,
        /// The version of its format.
        version: u8,
    },
    /// The file FORMAT is there, and is not what any version of pyrouter writes.
    GarbledFormat,
    /// Batches are not there that were durable and were not trimmed: a segment's file is missing.
    Missing {
        /// The first batch.
        first: u64,
        /// The last batch.
        last: u64,
        /// The segment that stands behind them; 0: none does, the file FORMAT says that they were there.
        behind: u32,
    },
    /// There is no batch, although the file FORMAT says that there were some.
    Empty,
    /// A record that this version does not understand: a later one wrote it.
    Unknown {
        /// Its kind.
        kind: u8,
        /// Where it stands.
        at: Ref,
        /// How many such records there are.
        count: u64,
    },
    /// The store beside the log is not the one that the log says there must be.
    Store(&'static str),
    /// An earlier write or sync failed; the log refuses everything until it is opened again.
    Refused {
        /// The first failure, in words.
        because: String,
    },
    /// The log was used against its rules, which is a bug in pyrouter.
    Misused(&'static str),
}

impl LogError {
    /// An operating system error with what was being done to which file.
    pub(super) fn io(doing: &'static str, name: &str, error: &io::Error) -> Self {
        let errno = error.raw_os_error().unwrap_or(0);
        LogError::Io { doing, name: name.to_owned(), errno, message: error.to_string() }
    }

    /// Whether a record is lost by it. Any other error of a read may not come again.
    pub fn is_loss(&self) -> bool {
        matches!(self, LogError::Damaged { .. })
    }

    /// Whether the disk refused to read its medium.
    pub(super) fn is_media(&self) -> bool {
        matches!(self, LogError::Io { errno, .. } if *errno == rustix::io::Errno::IO.raw_os_error())
    }

    /// Whether the disk had no room (or no quota) left.
    pub fn is_full(&self) -> bool {
        use rustix::io::Errno;
        let full = [Errno::NOSPC.raw_os_error(), Errno::DQUOT.raw_os_error()];
        matches!(self, LogError::Io { errno, .. } if full.contains(errno))
    }
}

impl std::fmt::Display for LogError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            LogError::Io { doing, name, message, .. } if self.is_full() => {
                write!(f, "log: cannot {doing} {name}: {message}; free some space on its disk, then restart")
            }
            LogError::Io { doing, name, message, .. } => write!(f, "log: cannot {doing} {name}: {message}"),
            LogError::InUse { path, pid: 0 } => {
                write!(
                    f,
                    "log: {path} is in use by another process; stop that server, or choose another data directory"
                )
            }
            LogError::InUse { path, pid } => {
                write!(f, "log: {path} is in use by process {pid}; stop that server, or choose another data directory")
            }
            LogError::RecordTooLarge { len, max } => {
                write!(f, "log: a record of {len} bytes is longer than the {max} bytes that a segment holds")
            }
            LogError::DecisionTooLarge { len, max } => write!(
                f,
                "log: records of {len} bytes that belong together are longer than the {max} bytes that a segment holds"
            ),
            LogError::Damaged { at } => write!(
                f,
                "log: the record at segment {} offset {} ({} bytes) is damaged; `pyrouter fsck` tells more",
                at.segment, at.offset, at.len
            ),
            LogError::NewerFormat { segment, version } => write!(
                f,
                "log: {} has format {version}, which a later version of pyrouter wrote; run that version. Nothing was \
                 changed",
                said_by(*segment)
            ),
            LogError::OlderFormat { segment, version } => write!(
                f,
                "log: {} has format {version}, which this version of pyrouter does not read any more; run the version \
                 that wrote it. Nothing was changed",
                said_by(*segment)
            ),
            LogError::GarbledFormat => write!(
                f,
                "log: its file FORMAT is damaged. Put it back from a copy of the data directory. Without one, move it away: \
                 the log can be read without it, but nothing says then whether the store belongs to it, or whether its end \
                 is all there. Nothing was changed"
            ),
            LogError::Missing { first, last, behind: 0 } => write!(
                f,
                "log: batches {first} to {last} at its end are not there, although its file FORMAT says that they were: the \
                 file of a segment is missing. Put it back, or restore the data directory from a copy. Nothing was changed"
            ),
            LogError::Missing { first, last, behind } => write!(
                f,
                "log: batches {first} to {last}, which belong before segment {behind}, are not there and were never \
                 trimmed: the file of a segment is missing. Put it back, or restore the data directory from a copy. \
                 Nothing was changed"
            ),
            LogError::Empty => write!(
                f,
                "log: there is no batch in it, although its file FORMAT says that it was begun: the files of its segments \
                 are missing. Put them back, or restore the data directory from a copy. Nothing was changed"
            ),
            LogError::Unknown { kind, at, count } => write!(
                f,
                "log: the record of kind {kind} at segment {} offset {} is not understood by this version of pyrouter \
                 ({count} records are not): a later version wrote it; run that version. Nothing was changed",
                at.segment, at.offset
            ),
            LogError::Store(what) => write!(f, "{what}. Nothing was changed"),
            LogError::Refused { because } => {
                write!(f, "log: refused since an earlier failure ({because}); restart to recover")
            }
            LogError::Misused(what) => write!(f, "log: {what} (a bug in pyrouter)"),
        }
    }
}

/// What says which format the log has.
fn said_by(segment: u32) -> String {
    if segment == 0 { "its file FORMAT".to_owned() } else { format!("segment {segment}") }
}

impl std::error::Error for LogError {}
