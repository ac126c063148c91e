//! Gateway to partition.

use compact_str::CompactString;
use smallvec::SmallVec;
use wire::types::{ClientFrame, Manage, Read, Send};

use crate::env::Env;
use crate::ids::{Address, ConversationId, DeviceId, RowKey, Token};
use crate::outputs::Action;

/// A partition's handle for an attached session. One that is over does nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attached {
    /// Its slot in the partition's table.
    pub slot: u32,
    /// Which one of those that had the slot.
    pub serial: u32,
}

/// What a session can take now. What is not used is void when the call returns.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Credit {
    /// Messages.
    pub messages: u32,
    /// Bytes of messages, skips and snapshots.
    pub bytes: u32,
    /// One message may exceed `bytes`: nothing is in flight.
    pub first_any: bool,
}

/// What is left after a session was served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Served {
    /// Nothing. [`Outputs::owed`](crate::Outputs::owed) says when there is more.
    All,
    /// Something: what could be taken is used up. The gateway asks again.
    More,
    /// Something, which is being read. [`Outputs::owed`](crate::Outputs::owed) says when it is there.
    Reading,
}

/// Why a command was not taken. Nothing changed; the same command is given again when it can be.
#[derive(Clone, Debug, PartialEq)]
pub enum Wait {
    /// Rows are needed that are not in memory.
    Rows(SmallVec<[RowKey; 2]>),
    /// Which conversations this user has is needed.
    Index(CompactString),
    /// The embedder's word is needed.
    Permit(ConversationId, Action),
}

/// A command was taken and answered through [`Outputs`](crate::Outputs), or it waits.
pub type Taken = Result<(), Wait>;

/// A session that begins, or that comes back.
#[derive(Clone, Debug)]
pub struct Attach<'a> {
    /// How the gateway names it.
    pub address: Address,
    /// Its user, …
    pub user: &'a str,
    /// … and the device.
    pub device: DeviceId,
    /// Whether it gets messages and receipts. A device has one such session: the newest.
    pub receive: bool,
    /// A user who is not there begins with this.
    pub create: bool,
    /// How far it has receipts; `None`: as far as its device acknowledged.
    pub receipts: Option<&'a Token>,
    /// Of a session that comes back: the last number written to it in each conversation. Others start at the cursor.
    pub in_flight: &'a [(ConversationId, u64)],
}

/// A question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Query<'a> {
    /// A user's devices.
    Devices(&'a str),
    /// A group, as it is.
    Group(ConversationId),
    /// Which groups the user is a member of.
    Groups,
    /// Whom the user blocks.
    Blocks,
    /// Who has this message of a group.
    Progress(ConversationId, u64),
}

/// See the module. What is borrowed is so for the length of the call. Every answer, also a refusal, comes through
/// [`Outputs`](crate::Outputs). Order is kept within a conversation, and among the outputs to one session that carry a position.
pub trait Commands {
    /// Every row of others that a frame reads: a session's first use of one makes the store's trip whatever is in memory
    /// (I13). Appended to `rows`.
    fn uses(&self, from: Attached, frame: &ClientFrame<'_>, rows: &mut SmallVec<[RowKey; 4]>);

    /// A session begins; `welcome` follows, in the call or later.
    ///
    /// # Errors
    /// It waits. A device that cannot attach is refused through [`Outputs`](crate::Outputs), and a handle is given that is over.
    fn attach<E: Env>(&mut self, env: &mut E, who: &Attach<'_>) -> Result<Attached, Wait>;

    /// What was written to a session and is not acknowledged, for [`Attach::in_flight`] in another process: appended to `sent`. By
    /// default nothing: all of it is written again.
    fn in_flight(&self, _from: Attached, _sent: &mut Vec<(ConversationId, u64)>) {}

    /// A session ended. What was in flight to it stays in its device's queue.
    fn detach<E: Env>(&mut self, env: &mut E, at: Attached);

    /// A message.
    ///
    /// # Errors
    /// It waits.
    fn send<E: Env>(&mut self, env: &mut E, from: Attached, send: &Send<'_>) -> Taken;

    /// A change of a group.
    ///
    /// # Errors
    /// It waits.
    fn change<E: Env>(&mut self, env: &mut E, from: Attached, manage: &Manage<'_>) -> Taken;

    /// The device has everything of a conversation up to `seq`.
    ///
    /// # Errors
    /// It waits.
    fn ack<E: Env>(&mut self, env: &mut E, from: Attached, id: &ConversationId, seq: u64) -> Taken;

    /// The user read something.
    ///
    /// # Errors
    /// It waits.
    fn read<E: Env>(&mut self, env: &mut E, from: Attached, read: &Read<'_>) -> Taken;

    /// The device saw `accepted` of these messages.
    fn confirm<E: Env>(&mut self, env: &mut E, from: Attached, seen: &[(ConversationId, u64)]);

    /// The device has receipts up to here.
    fn seen<E: Env>(&mut self, env: &mut E, from: Attached, receipts: &Token);

    /// The user blocks another, or does not any more (`off`).
    ///
    /// # Errors
    /// It waits.
    fn block<E: Env>(&mut self, env: &mut E, from: Attached, user: &str, off: bool) -> Taken;

    /// A question.
    ///
    /// # Errors
    /// It waits.
    fn query<E: Env>(&mut self, env: &mut E, from: Attached, query: &Query<'_>) -> Taken;

    /// The session takes messages, skips and snapshots.
    fn credit<E: Env>(&mut self, env: &mut E, to: Attached, credit: Credit) -> Served;

    /// The session takes receipts: at most `most` cursors.
    fn notify<E: Env>(&mut self, env: &mut E, to: Attached, most: usize) -> Served;
}
