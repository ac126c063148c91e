//! The file that says what the directory is: `FORMAT`, one line of text with the log's format and salt.
//!
//! The salt also stands in every batch. This second copy counts when the first batch of no segment can be read: without
//! it, the first thing in the log that looks like a batch might be one that a sender put into a body.

use super::disk::{Disk, DiskFile, read_full, write_full};
use super::error::LogError;
use super::format::VERSION;
use std::io::{self, IoSlice};

const NAME: &str = "FORMAT";
const BEGIN: &str = "pyrouter log, format ";
const SALT: &str = ", salt ";

fn text(version: u8, salt: u32) -> String {
    format!("{BEGIN}{version}{SALT}{salt:08x}\n")
}

/// The salt in the file, if the file is there and whole.
///
/// # Errors
/// [`LogError::NewerFormat`] if a later version of pyrouter made the log.
pub(super) fn salt<D: Disk>(disk: &D) -> Result<Option<u32>, LogError> {
    let mut bytes = [0; 64];
    let read = disk.open(NAME, false).and_then(|file| read_full(&file, &mut bytes, 0));
    let len = match read {
        Ok(len) => len,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        // It is there, and may say that another version made the log.
        Err(error) => return Err(LogError::io("read", NAME, &error)),
    };
    let line = bytes.get(..len).and_then(|line| std::str::from_utf8(line).ok());
    let parsed = line.and_then(|line| {
        let (version, salt) = line.strip_prefix(BEGIN)?.trim_end().split_once(SALT)?;
        let (version, salt) = (version.parse().ok()?, u32::from_str_radix(salt, 16).ok()?);
        (text(version, salt) == line).then_some((version, salt))
    });
    match parsed {
        Some((version, _)) if version > VERSION => Err(LogError::NewerFormat { segment: 0, version }),
        parsed => Ok(parsed.map(|(_, salt)| salt)),
    }
}

/// Makes the file say `salt`.
pub(super) fn write<D: Disk>(disk: &D, salt: u32) -> io::Result<()> {
    match disk.remove(NAME) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let line = text(VERSION, salt);
    let file = disk.create(NAME)?;
    write_full(&file, &mut [IoSlice::new(line.as_bytes())], 0)?;
    file.sync_all()?;
    disk.sync_dir()
}
