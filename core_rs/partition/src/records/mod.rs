//! Records: decided facts, each about one row, as values and as bytes.
//!
//! What a record means is told by `apply`; why one is made, by `propose`. The kind is a byte beside the body, as the log has
//! it. A kind that is not known is [`Malformed::Unknown`](crate::bytes::Malformed::Unknown): a later build wrote it.
//!
//! An *exact* record carries its row's change count after it; a gap in the counts is a lost record. A *lazy* one
//! ([`Record::Cursors`], [`Record::Seen`]) carries none: it raises values, so it may be lost, and may come twice.

mod decode;
mod encode;
pub mod message;

use std::borrow::Cow;

use smallvec::SmallVec;
use wire::types::SkipReason;

pub use decode::decode;
pub use encode::encode;
pub use message::{Came, Message};

use crate::ids::{ConversationId, DeviceId, Position, RowKey};
use crate::rows::{Confirmed, Fit};

/// Kinds of records, as the log has them.
pub mod kind {
    /// A whole row.
    pub const IMAGE: u8 = 1;
    /// A message, or a change of a group.
    pub const MESSAGE: u8 = 2;
    /// A mailbox begins or ends.
    pub const MAILBOX: u8 = 3;
    /// The floor of a conversation rises.
    pub const FLOOR: u8 = 4;
    /// Messages cannot be read any more.
    pub const LOST: u8 = 5;
    /// A user's devices or blocked users change.
    pub const USER: u8 = 6;
    /// Lazy: cursors and receipts.
    pub const CURSORS: u8 = 7;
    /// Lazy: what a device has seen.
    pub const SEEN: u8 = 8;
    /// A conversation at rest owes a device receipts.
    pub const OWED: u8 = 9;
    /// A message again, from a segment that is to go.
    pub const CARRIED: u8 = 10;
    /// A row is in the store.
    pub const STORED: u8 = 11;
    /// Receipt versions and time below which everything may have been used, and what the store must reflect.
    pub const BOUND: u8 = 12;
    /// A new generation of numbers begins.
    pub const GENERATION: u8 = 13;
    /// A conversation enters the generation.
    pub const ENTER: u8 = 14;
    /// The server's time is another one.
    pub const CLOCK: u8 = 15;
    /// A row was given up.
    pub const GONE: u8 = 16;
}

/// A record. Borrowed parts lie in the bytes that it was read from.
#[derive(Clone, Debug, PartialEq)]
pub enum Record<'a> {
    /// See [`kind::IMAGE`].
    Image {
        /// Whose.
        row: RowKey,
        /// As `rows` encodes it.
        bytes: Cow<'a, [u8]>,
    },
    /// See [`kind::MESSAGE`].
    Message(Message<'a>),
    /// See [`kind::MAILBOX`].
    Mailbox(Mailbox<'a>),
    /// See [`kind::FLOOR`].
    Floor(Floor),
    /// See [`kind::LOST`].
    Lost(Lost),
    /// See [`kind::USER`].
    User(User<'a>),
    /// See [`kind::CURSORS`].
    Cursors(Cursors),
    /// See [`kind::SEEN`].
    Seen(Seen<'a>),
    /// See [`kind::OWED`].
    Owed {
        /// Whose device.
        user: Cow<'a, str>,
        /// Which device.
        device: DeviceId,
        /// Count of the device's row after it.
        change: u16,
        /// The conversation that is at rest.
        conversation: ConversationId,
        /// Version of the latest receipt there.
        version: u64,
    },
    /// See [`kind::CARRIED`]: the body of a message record.
    Carried(Message<'a>),
    /// See [`kind::STORED`].
    Stored {
        /// Which row.
        row: RowKey,
        /// The batch that holds the last record which it reflects.
        position: Position,
        /// Count of the row.
        change: u16,
        /// Of a conversation: its head; else 0.
        head: u64,
    },
    /// See [`kind::BOUND`].
    Bound {
        /// Receipt versions up to here may have been given.
        versions: u64,
        /// The server's time may have been as late as this, ms since 1970.
        time_ms: u64,
        /// The store reflects at least this: one that does not is an older copy.
        reflects: Position,
    },
    /// See [`kind::GENERATION`].
    Generation {
        /// Its number; numbers and receipt versions go on at its base.
        number: u32,
        /// The highest position that what was lost may have used: the store may hold rows that reflect it.
        position: Position,
    },
    /// See [`kind::ENTER`].
    Enter(Enter),
    /// See [`kind::CLOCK`].
    Clock {
        /// The server's time, which replaces what it was; ms since 1970.
        time_ms: u64,
        /// When it was last put right, seconds since 1970: what has a later time than the server's counts as of then.
        set_s: u32,
    },
    /// See [`kind::GONE`]. What the log said of this row counts no more: the store has it, or there is none.
    Gone(RowKey),
}

/// A conversation goes on above the base of a generation. What lies between may have been used by messages that were lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Enter {
    /// Which.
    pub conversation: ConversationId,
    /// Count of the conversation's row after it.
    pub change: u16,
    /// The generation's base: the next message has the number above it.
    pub base: u64,
    /// Receipt version of the skips that follow from it.
    pub version: u64,
}

/// A device of a member begins to take part, or does no more.
#[derive(Clone, Debug, PartialEq)]
pub struct Mailbox<'a> {
    /// Where.
    pub conversation: ConversationId,
    /// Count of the conversation's row after it.
    pub change: u16,
    /// Whose device.
    pub user: Cow<'a, str>,
    /// Which.
    pub device: DeviceId,
    /// How it begins; `None`: it ends.
    pub begins: Option<Begins>,
    /// When it ends: what only this device would have had, and will never reach the user; ranges, and the receipt version.
    pub orphaned: SmallVec<[(u64, u64); 1]>,
    /// See `orphaned`.
    pub version: u64,
}

/// How a mailbox begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Begins {
    /// It has everything up to here.
    pub acked: u64,
    /// See [`Cursor::base`](crate::rows::Cursor::base).
    pub base: u64,
    /// A group's snapshot comes before its next message.
    pub fresh: bool,
}

/// Everything below a number is dropped, by age or cap.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Floor {
    /// Where.
    pub conversation: ConversationId,
    /// Count of the conversation's row after it.
    pub change: u16,
    /// The lowest message that is kept.
    pub floor: u64,
    /// Why.
    pub reason: SkipReason,
    /// Receipt version of the skips that follow from it.
    pub version: u64,
    /// See [`Lacked`].
    pub lacked: Vec<Lacked>,
}

/// Messages that nobody can get any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lost {
    /// Where.
    pub conversation: ConversationId,
    /// Count of the conversation's row after it.
    pub change: u16,
    /// Ranges in order, which do not touch.
    pub ranges: Vec<(u64, u64)>,
    /// Receipt version of the skips that follow from it.
    pub version: u64,
    /// See [`Lacked`].
    pub lacked: Vec<Lacked>,
}

/// What a member lacks of messages with a body per device, though a device without a body passed them: cursors do not tell.
/// Who lacks other messages follows from the cursors.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lacked {
    /// Place of the member.
    pub member: u32,
    /// Ranges in order.
    pub ranges: SmallVec<[(u64, u64); 1]>,
}

/// A change of a user's row.
#[derive(Clone, Debug, PartialEq)]
pub struct User<'a> {
    /// Whose.
    pub name: &'a str,
    /// Count of the user's row after it.
    pub change: u16,
    /// What changes.
    pub what: UserChange<'a>,
}

/// See [`User`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum UserChange<'a> {
    /// A device begins or ends; the list's version grows by one. Its conversations take it up one by one.
    Device(Fit),
    /// All conversations have taken up the oldest change of a device.
    Fitted,
    /// It takes nothing from this user, or does again.
    Block {
        /// Whom.
        name: &'a str,
        /// It does again.
        off: bool,
    },
}

/// Cursors and receipts of one conversation that moved. Values rise to these.
#[derive(Clone, Debug, PartialEq)]
pub struct Cursors {
    /// Where.
    pub conversation: ConversationId,
    /// By place of the member.
    pub members: Vec<Moved>,
}

/// See [`Cursors`].
#[derive(Clone, Debug, PartialEq)]
pub struct Moved {
    /// Place of the member in the row.
    pub member: u32,
    /// `delivered`, `read`, `version`, `read_version`, `owed`.
    pub progress: [u64; 5],
    /// Per device how far it is, and whether it still needs the snapshot.
    pub cursors: SmallVec<[(DeviceId, u64, bool); 2]>,
    /// Skips with versions up to here need not be told any more.
    pub forget: u64,
}

/// What a device has seen. Values rise to these.
#[derive(Clone, Debug, PartialEq)]
pub struct Seen<'a> {
    /// Whose.
    pub user: Cow<'a, str>,
    /// Which.
    pub device: DeviceId,
    /// When it was last connected, seconds since 1970.
    pub seen_s: u32,
    /// It asked to receive.
    pub receives: bool,
    /// The highest receipt version that it has.
    pub receipts: u64,
    /// Messages whose `accepted` it saw.
    pub confirmed: Confirmed,
}
