//! The three kinds of rows: everything that a partition must remember, and how it is written as bytes.
//!
//! A row's bytes are canonical: one state, one encoding ([`User::encode`], [`User::decode`], and so on). The first byte is the version of
//! the encoding; a version that is not known is [`Malformed::Unknown`], never an empty row. Undelivered messages are not part
//! of a row; they are in the log.

pub mod conversation;
pub mod device;
pub mod group;
pub mod member;
pub mod repeats;
pub mod user;

pub use conversation::{Conversation, Kind};
pub use device::{Device, Owed};
pub use group::{Group, Profile};
pub use member::{Cursor, Member, Rare, SkipRange};
pub use repeats::{Confirmed, Repeat};
pub use user::{Fit, User};

use crate::bytes::{Malformed, Read, Reader};

/// Version of the encoding of all rows.
pub const VERSION: u8 = 1;

fn version(reader: &mut Reader<'_>, what: &'static str) -> Read<()> {
    match reader.u8()? {
        VERSION => Ok(()),
        found => Err(Malformed::Unknown { what, found }),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests;
