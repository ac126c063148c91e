//! The file that says what the directory is: `FORMAT`, one line of text with the log's format and salt, and whether anything
//! was ever written to it.
//!
//! The salt also stands in every batch. This second copy counts when the first batch of no segment can be read: without
//! it, the first thing in the log that looks like a batch might be one that a sender put into a body.

use super::disk::{Disk, DiskFile, read_full, write_full};
use super::error::LogError;
use super::format::VERSION;
use std::io::{self, IoSlice};

const NAME: &str = "FORMAT";
const NEW: &str = "FORMAT.new";
const BEGIN: &str = "pyrouter log, format ";
const SALT: &str = ", salt ";
const BEGUN: &str = ", begun";

/// What the file says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Identity {
    pub salt: u32,
    /// There is a batch on the disk, and always will be.
    pub begun: bool,
}

impl Identity {
    fn text(self) -> String {
        format!("{BEGIN}{VERSION}{SALT}{:08x}{}\n", self.salt, if self.begun { BEGUN } else { "" })
    }

    fn parse(line: &str) -> Option<Self> {
        let (_, rest) = line.trim_end().split_once(SALT)?;
        let (salt, begun) = rest.strip_suffix(BEGUN).map_or((rest, false), |salt| (salt, true));
        let identity = Identity { salt: u32::from_str_radix(salt, 16).ok()?, begun };
        (identity.text() == line).then_some(identity)
    }
}

/// What the file says, if it is there and whole.
///
/// # Errors
/// [`LogError::NewerFormat`], [`LogError::OlderFormat`] if another version of pyrouter made the log; [`LogError::Io`].
pub(super) fn read<D: Disk>(disk: &D) -> Result<Option<Identity>, LogError> {
    let mut bytes = [0; 128];
    let read = disk.open(NAME, false).and_then(|file| read_full(&file, &mut bytes, 0));
    let len = match read {
        Ok(len) => len,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        // It is there, and may say that another version made the log.
        Err(error) => return Err(LogError::io("read", NAME, &error)),
    };
    let line = bytes.get(..len).and_then(|line| std::str::from_utf8(line).ok()).unwrap_or_default();
    let version = line.strip_prefix(BEGIN).and_then(|rest| rest.split(',').next()?.trim_end().parse::<u8>().ok());
    match version {
        Some(version) if version > VERSION => Err(LogError::NewerFormat { segment: 0, version }),
        Some(version) if version < VERSION => Err(LogError::OlderFormat { segment: 0, version }),
        _ => Ok(Identity::parse(line)),
    }
}

/// Makes the file say this; it says this or what it said before, whenever the power goes.
pub(super) fn write<D: Disk>(disk: &D, identity: Identity) -> io::Result<()> {
    match disk.remove(NEW) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let line = identity.text();
    let file = disk.create(NEW)?;
    write_full(&file, &mut [IoSlice::new(line.as_bytes())], 0)?;
    file.sync_all()?;
    disk.rename(NEW, NAME)?;
    disk.sync_dir()
}
