//! Empty segments, made ahead: so that a full disk is known before a segment is full, and a roll costs two small syncs.

use super::disk::{Disk, DiskFile};
use super::error::LogError;
use super::format::segment_name;
use super::{LogOptions, Recovered};

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

/// Less room than this in the last segment is not worth going on in it, bytes: a start writes less.
const RESUMED: u64 = 2048;

/// Sees to it that a log that was just recovered has room to go on in: a segment in reserve. On a disk that has no room for
/// one, the log goes on in what is left of its last segment, so that a start works, and acknowledgements give room.
///
/// # Errors
/// [`LogError::Io`]: there is no room at all, or the disk refuses.
pub fn make_room<D: Disk>(disk: &D, recovered: &mut Recovered, options: &LogOptions) -> Result<(), LogError> {
    let names = disk.list().map_err(|error| LogError::io("list", &disk.path(), &error))?;
    let mut reserves = names.iter().filter(|name| name.starts_with(PREFIX));
    if options.reserves == 0 || reserves.any(|name| renew(disk, name, options).is_ok()) {
        return Ok(());
    }
    // What an earlier run left is of another size, or was not made to its end: it is in the way.
    let (_, mut names) = adopt(disk, options)?;
    match make(disk, names.draw(), options) {
        Err(error) if error.is_full() => resume(disk, recovered, options).map_err(|_| error),
        made => made.map(drop),
    }
}

/// Takes the rest of the last segment, which was cut to what it uses.
fn resume<D: Disk>(disk: &D, recovered: &mut Recovered, options: &LogOptions) -> Result<(), LogError> {
    let none = LogError::Misused("there is no segment to go on in");
    let last = recovered.segments.last().ok_or(none)?;
    let name = segment_name(last.id);
    let failed = |error: std::io::Error| LogError::io("reserve the rest of", &name, &error);
    let end = u64::from(options.segment_bytes);
    if last.bytes + RESUMED > end {
        return Err(failed(rustix::io::Errno::NOSPC.into()));
    }
    let file = disk.open(&name, true).map_err(failed)?;
    file.reserve(end).and_then(|()| file.sync_all()).map_err(failed)?;
    (recovered.next_segment, recovered.next_offset) = (last.id, last.bytes as u32);
    Ok(())
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
