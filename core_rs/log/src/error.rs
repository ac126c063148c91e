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
    /// A record cannot be read: its checksum is wrong, or its segment ends before it.
    Damaged {
        /// Where it should stand.
        at: Ref,
    },
    /// A segment was written by a later version of pyrouter.
    NewerFormat {
        /// The segment.
        segment: u32,
        /// The version of its format.
        version: u8,
    },
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
            LogError::Damaged { at } => write!(
                f,
                "log: the record at segment {} offset {} ({} bytes) is damaged; `pyrouter fsck` tells more",
                at.segment, at.offset, at.len
            ),
            LogError::NewerFormat { segment, version } => write!(
                f,
                "log: segment {segment} has format {version}, which a later version of pyrouter wrote; run that version"
            ),
            LogError::Refused { because } => {
                write!(f, "log: refused since an earlier failure ({because}); restart to recover")
            }
            LogError::Misused(what) => write!(f, "log: {what} (a bug in pyrouter)"),
        }
    }
}

impl std::error::Error for LogError {}
