//! Why there is no runtime.

use std::fmt;
use std::io;
use std::path::PathBuf;

use log::LogError;
use store::StoreError;

use super::decide::Refusal;

/// Why a data directory could not be opened.
#[derive(Debug)]
pub enum OpenError {
    /// The directory could not be made or read.
    Directory(PathBuf, io::Error),
    /// Its log could not be opened.
    Log(LogError),
    /// Its store could not be opened.
    Store(StoreError),
    /// What was found in it is not gone on with.
    Refused(Refusal),
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Directory(path, error) => {
                let advice = match error.kind() {
                    io::ErrorKind::NotFound => "is it the right one?",
                    io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => "free some space on its disk",
                    _ => "choose another one, or let this user write there",
                };
                write!(f, "data directory {}: {error}; {advice}", path.display())
            }
            Self::Log(error) => error.fmt(f),
            Self::Store(error) => error.fmt(f),
            Self::Refused(refusal) => refusal.fmt(f),
        }
    }
}

impl std::error::Error for OpenError {}

impl From<LogError> for OpenError {
    fn from(error: LogError) -> Self {
        Self::Log(error)
    }
}

impl From<StoreError> for OpenError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<Refusal> for OpenError {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}
