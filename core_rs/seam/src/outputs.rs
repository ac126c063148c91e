//! Partition to gateway.

use compact_str::CompactString;
use smallvec::SmallVec;
use wire::types::ServerFrame;

use crate::env::Body;
use crate::ids::{Address, ConversationId, DeviceId, Position, Token};

/// What the embedder is asked about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Action {
    /// To send messages.
    Send = 0,
    /// To tell that they were read.
    Read = 1,
    /// To make a group, to change it, or to join it.
    Manage = 2,
}

/// A refusal of a command.
#[derive(Clone, Debug, PartialEq)]
pub struct Refusal {
    /// One of [`wire::codes`].
    pub code: &'static str,
    /// The conversation that it is about, if it names one.
    pub conversation: Option<ConversationId>,
    /// With `devices_changed`: the device lists as they are: user, version, devices.
    pub lists: Vec<(CompactString, u32, SmallVec<[DeviceId; 2]>)>,
}

/// See the module. Frames are encoded during the call. `at`: what is told may leave when that position is durable; outputs to
/// one session that carry `at` leave in the order in which they were given, also those whose position is durable already.
pub trait Outputs {
    /// Whether the embedder allows the session to do this in a conversation; `peer`: the other user of a direct one. `None`: it
    /// is asked first, and the command is given again when it answered.
    fn permit(&mut self, of: Address, id: &ConversationId, action: Action, peer: Option<&str>) -> Option<bool>;

    /// Messages, skips or snapshots wait for the session (`messages`), or receipts do. Said once, until the session was served
    /// [`All`](crate::Served::All) of it.
    fn owed(&mut self, to: Address, messages: bool);

    /// The session is attached. `pending`: messages, and conversations that have some. `receipts`: where it begins, which is
    /// what it was attached with, or what its device acknowledged; empty if the partition could not use that: it tells all.
    fn welcome(&mut self, to: Address, pending: (u64, u64), receipts: &Token, at: Position);

    /// A send has a number.
    fn accepted(&mut self, to: Address, id: &[u8], conversation: &ConversationId, seq: u64, time_ms: u64, at: Position);

    /// A command is refused. `id`: that of the send or change; empty: it has none.
    fn refused(&mut self, to: Address, id: &[u8], refusal: &Refusal, at: Position);

    /// What a query asked for.
    fn answer(&mut self, to: Address, frame: &ServerFrame<'_>, at: Position);

    /// A message. `own`: it is the user's own, from another device, and went to this user. `device_body`: it has a body per
    /// device. `many`: others get the same bytes.
    fn message(&mut self, to: Address, body: &mut Body, own: Option<&str>, device_body: bool, many: bool);

    /// A skip, a snapshot or receipts, durable already.
    fn pushed(&mut self, to: Address, frame: &ServerFrame<'_>);

    /// So many messages and bytes of what is in flight to the session were acknowledged, by whichever session. A message counts
    /// with the length of [`Body::stored`]; of a session that came back it may be a little more than the gateway counts.
    fn freed(&mut self, to: Address, messages: u32, bytes: u32);

    /// A newer session of the device took its place: its [`Attached`](crate::Attached) is gone.
    fn replaced(&mut self, to: Address);
}
