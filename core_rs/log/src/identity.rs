//! The file that says what the directory is: `FORMAT`, one line of text with the log's format and identity, the boot of the
//! machine in which it was last written to, and a batch that is known to be on disk.
//!
//! The first four bytes of the identity are the salt, which also stands in every batch. The copy here counts when the first
//! batch of no segment can be read: without it, the first thing in the log that looks like a batch might be one that a
//! sender put into a body. The batch is evidence that outlives headers: what a start cuts may have been all that said how
//! far the log was on disk, and of the last batches nothing else says so.

use super::disk::{Disk, DiskFile, read_full, write_full};
use super::error::LogError;
use super::format::{VERSION, salt_of};
use std::io::{self, IoSlice};

const NAME: &str = "FORMAT";
const NEW: &str = "FORMAT.new";
const BEGIN: &str = "pyrouter log, format ";

/// Stands for the boot if the log holds batches, and its identity was drawn after them: the file was missing, or another
/// log's. It goes with the first batch that is on disk behind that.
pub(super) const DRAWN_ANEW: u128 = u128::MAX;

/// What the file says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Identity {
    /// Drawn when the log was made.
    pub id: [u8; 16],
    /// The boot of the machine ([`Disk::boot`]) in which the last run wrote whose first batch is on disk; 0: not
    /// known; or [`DRAWN_ANEW`].
    pub boot: u128,
    /// A batch that is on disk with all before it, and its segment; 0: there is none yet.
    pub batch: u64,
    pub segment: u32,
}

impl Identity {
    pub fn salt(&self) -> u32 {
        salt_of(&self.id)
    }

    fn text(self) -> String {
        let Identity { id, boot, batch, segment } = self;
        let id = u128::from_be_bytes(id);
        let line = format!("{BEGIN}{VERSION}, id {id:032x}, boot {boot:032x}, batch {batch} in segment {segment}");
        format!("{line}, crc {:08x}\n", crc32fast::hash(line.as_bytes()))
    }

    fn parse(line: &str) -> Option<Self> {
        let mut fields = line.split(", ").skip(2);
        let mut hex = |name| u128::from_str_radix(fields.next()?.strip_prefix(name)?, 16).ok();
        let (id, boot) = (hex("id ")?.to_be_bytes(), hex("boot ")?);
        let (batch, segment) = fields.next()?.strip_prefix("batch ")?.split_once(" in segment ")?;
        let identity = Identity { id, boot, batch: batch.parse().ok()?, segment: segment.parse().ok()? };
        (identity.text() == line).then_some(identity)
    }
}

/// What the file says; `None` if it is not there.
///
/// # Errors
/// [`LogError::NewerFormat`], [`LogError::OlderFormat`] if another version of pyrouter made the log;
/// [`LogError::GarbledFormat`] if it is not what any version writes; [`LogError::Io`].
pub(super) fn read<D: Disk>(disk: &D) -> Result<Option<Identity>, LogError> {
    let mut bytes = [0; 256];
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
        _ => Identity::parse(line).map(Some).ok_or(LogError::GarbledFormat),
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
    let written = write_full(&file, &mut [IoSlice::new(line.as_bytes())], 0).and_then(|_| file.sync_all());
    // On a full disk it would take room from the log.
    written.inspect_err(|_| {
        let _ = disk.remove(NEW);
    })?;
    disk.rename(NEW, NAME)?;
    disk.sync_dir()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_with_any_byte_changed_is_not_taken_for_one() {
        let identity = Identity { id: *b"sixteen bytes id", boot: 7 << 100, batch: u64::MAX, segment: 3 };
        let line = identity.text();
        assert_eq!(Identity::parse(&line), Some(identity));
        for at in 0..line.len() {
            for other in 0..=127_u8 {
                let mut bytes = line.clone().into_bytes();
                bytes[at] = other;
                let changed = String::from_utf8(bytes).unwrap();
                assert!(changed == line || Identity::parse(&changed).is_none(), "{changed}");
            }
        }
        assert!((0..line.len()).all(|len| Identity::parse(&line[..len]).is_none()));
    }
}
