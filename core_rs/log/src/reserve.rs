//! Empty segments, made ahead: so that a full disk is known before a segment is full, and a roll costs two small syncs.

use super::LogOptions;
use super::disk::{Disk, DiskFile};
use super::error::LogError;

/// Names of reserved segments begin with this.
const PREFIX: &str = "reserve-";

/// An empty segment with its space on the disk. Nobody else has its file open.
#[derive(Debug)]
pub(super) struct Reserve {
    pub name: String,
}

/// Numbers the names, so that one is never used twice in a run.
#[derive(Debug, Default)]
pub(super) struct Names {
    next: u64,
}

impl Names {
    pub fn draw(&mut self) -> String {
        self.next += 1;
        format!("{PREFIX}{}", self.next)
    }
}

/// Takes over what an earlier run left in reserve, so far as it is as long as it should be.
pub(super) fn adopt<D: Disk>(disk: &D, options: &LogOptions) -> Result<(Vec<Reserve>, Names), LogError> {
    let mut names = Names::default();
    let mut reserves = Vec::new();
    for name in disk.list().map_err(|error| LogError::io("list", &disk.path(), &error))? {
        let Some(suffix) = name.strip_prefix(PREFIX) else { continue };
        names.next = names.next.max(suffix.parse().unwrap_or(0));
        if reserves.len() < options.reserves as usize && renew(disk, &name, options).is_ok() {
            reserves.push(Reserve { name });
        } else {
            disk.remove(&name).map_err(|error| LogError::io("remove", &name, &error))?;
        }
    }
    Ok((reserves, names))
}

fn renew<D: Disk>(disk: &D, name: &str, options: &LogOptions) -> std::io::Result<()> {
    let file = disk.open(name, true)?;
    if file.len()? != u64::from(options.segment_bytes) {
        return Err(std::io::ErrorKind::InvalidData.into());
    }
    // Its length may have reached the disk without its space.
    file.reserve(u64::from(options.segment_bytes))?;
    file.sync_all()
}

/// Makes an empty segment under `name`.
///
/// # Errors
/// [`LogError::Io`], often because the disk is full; nothing is left behind then.
pub(super) fn make<D: Disk>(disk: &D, name: String, options: &LogOptions) -> Result<Reserve, LogError> {
    let file = disk.create(&name).map_err(|error| LogError::io("make", &name, &error))?;
    let made = file.reserve(u64::from(options.segment_bytes)).and_then(|()| file.sync_all());
    if let Err(error) = made {
        let _ = disk.remove(&name);
        return Err(LogError::io("reserve room for", &name, &error));
    }
    Ok(Reserve { name })
}
