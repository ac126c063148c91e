//! Decisions: turns a command into records, or refuses it. A proposal reads the state, the time and the configuration, and
//! changes nothing; [`State::commit`] appends its records and applies them.
//!
//! # Rules
//! - A proposal returns all records of one decision, in the order in which they are applied.
//! - It decides whatever depends on undelivered messages, on other rows, on the time or on limits, and writes the result into
//!   the records.
//! - Every function returns `Result<T, Stop>`: refused, or waiting for rows.

mod change;
mod devices;
mod floor;
mod generations;
mod rules;
mod send;
mod unseen;

use compact_str::CompactString;
use smallvec::{SmallVec, smallvec};

pub use change::change;
pub(crate) use change::users;
pub(crate) use devices::unfitted;
pub use devices::{Fits, Fitting, begin_device, block, create_user, drop_device, fit, register_device};
pub use floor::{expire, lost};
pub use generations::{clock, enter, generation};
pub use seam::Refusal;
pub use send::send;
pub(crate) use unseen::is_seen_late;
pub use unseen::{LastSeen, unseen};
pub use wire::ids::{conversation_id, group_id, hash_of};

use crate::ids::{ConversationId, DeviceId, RowKey, UserSlot};
use crate::records::Record;
use crate::rows::{Repeat, User};
use crate::state::State;
use crate::users::DeviceEntry;

/// Why there is no decision.
#[derive(Clone, Debug, PartialEq)]
pub enum Stop {
    /// The command is refused.
    Refused(Box<Refusal>),
    /// Rows are needed that are not in memory. Nothing changed; the command is given again when they are there, or when it is
    /// known that there are none.
    Wait(SmallVec<[RowKey; 2]>),
    /// The index rows of this user are needed: [`State::index_begin`], [`State::index_page`].
    Index(CompactString),
}

/// The result of a proposal.
pub type Decided<T> = Result<T, Stop>;

/// Who gives a command. It is found once, by [`State::author`], and holds while the rows of the user and of the device are in
/// memory, so that a command looks nothing up by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Author<'a> {
    /// A user's name, …
    pub name: &'a str,
    /// … its slot, …
    pub user: UserSlot,
    /// … and one of its devices.
    pub device: DeviceId,
}

/// The records of a message; most are alone.
pub type Records<'a> = SmallVec<[Record<'a>; 1]>;

/// What a message comes to.
#[derive(Clone, Debug, PartialEq)]
pub enum Sent<'a> {
    /// It is new: the records.
    New {
        /// Where it goes.
        conversation: ConversationId,
        /// Its number there.
        seq: u64,
        /// To be committed together.
        records: Records<'a>,
    },
    /// Its id was used before, for this message.
    Again(Repeat),
}

pub(crate) fn refuse<T>(code: &'static str) -> Decided<T> {
    Err(Stop::Refused(Box::new(Refusal { code, conversation: None, lists: Vec::new() })))
}

pub(crate) fn wait<T>(key: RowKey) -> Decided<T> {
    Err(Stop::Wait(smallvec![key]))
}

impl State {
    /// A user's row; `None`: there is no such user.
    pub(crate) fn need_user(&self, name: &str) -> Decided<Option<(UserSlot, &User)>> {
        match self.user_named(name) {
            Some(found) => Ok(Some(found)),
            None if self.is_absent(&RowKey::user(name)) => Ok(None),
            None => wait(RowKey::user(name)),
        }
    }

    /// A device, as an author of commands.
    ///
    /// # Errors
    /// There is no such device, or its row or that of its user is needed.
    pub fn author<'a>(&self, name: &'a str, device: DeviceId) -> Decided<Author<'a>> {
        let Some((user, _)) = self.need_user(name)? else { return refuse(wire::codes::BAD_TOKEN) };
        let author = Author { name, user, device };
        self.need_author(author).map(|_| author)
    }

    /// The author's device. The user's list says whether there is one: a row in the store may be that of one that ended.
    pub(crate) fn need_author(&self, author: Author<'_>) -> Decided<&DeviceEntry> {
        match self.user(author.user) {
            None => return wait(RowKey::user(author.name)),
            Some(row) if !row.devices.contains(&author.device) => return refuse(wire::codes::BAD_TOKEN),
            Some(_) => {}
        }
        match self.device(author.user, author.device) {
            Some(entry) => Ok(entry),
            // Its row was lost: it begins anew, with another number.
            None if self.is_absent(&RowKey::device(author.name, author.device)) => refuse(wire::codes::BAD_TOKEN),
            None => wait(RowKey::device(author.name, author.device)),
        }
    }

    /// The receipt version of the skips that follow from a decision.
    pub(crate) fn version_for_decision(&self) -> u64 {
        self.versions.last + 1
    }
}
