//! One client: a device of a user, connected or not.

use std::collections::VecDeque;
use std::os::fd::OwnedFd;

use smallvec::SmallVec;

use super::counts::Group;

/// How far a client's connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    Away,
    /// It waits for its turn to connect.
    Queued,
    Connecting,
    /// The WebSocket's answer is awaited.
    Upgrading,
    /// The welcome is awaited.
    Greeting,
    Open,
}

/// A message that was sent and not yet accepted; or the making of a group, see `send::group_number`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sent {
    pub stream: u32,
    pub count: u32,
}

#[derive(Debug)]
pub(super) struct Peer {
    pub name: Box<str>,
    pub token: Box<str>,
    pub group: Group,
    pub stage: Stage,
    pub socket: Option<OwnedFd>,
    /// Counts connections, so that an event of an earlier one is known as such.
    pub connection: u32,
    /// When it began to connect, ns: what was sent before that waited for it.
    pub began: u64,
    /// The start of a frame whose end has not come.
    pub input: Vec<u8>,
    pub out: Vec<u8>,
    /// Listed in `Load::dirty`.
    pub dirty: bool,
    /// The socket took less than it was given, and is watched.
    pub blocked: bool,
    /// It does not read for now.
    pub stalled: bool,
    /// It reads so little that the server may end its connection; then it comes back.
    pub roams: bool,
    /// Its conversations: their ids and its places there. Few, or else those that are used move to the front.
    pub members: SmallVec<[(u128, u32); 1]>,
    pub streams: SmallVec<[u32; 1]>,
    /// Where in `streams` to look for the next message.
    pub turn: u32,
    /// Its streams may want more than it could send at once.
    pub held: bool,
    /// In the order in which they were sent; they are sent again on a new connection.
    pub waiting: VecDeque<Sent>,
    /// Conversation and number of each message whose `accepted` came and was not confirmed.
    pub accepted: Vec<(u128, u64)>,
    /// The last receipt version.
    pub receipts: SmallVec<[u8; 24]>,
    /// It is not acknowledged.
    pub new_receipts: bool,
}

impl Peer {
    pub fn new(name: &str, token: &str) -> Self {
        Self {
            name: name.into(),
            token: token.into(),
            group: Group::Main,
            stage: Stage::Away,
            socket: None,
            connection: 0,
            began: 0,
            input: Vec::new(),
            out: Vec::new(),
            dirty: false,
            blocked: false,
            stalled: false,
            roams: false,
            members: SmallVec::new(),
            streams: SmallVec::new(),
            turn: 0,
            held: false,
            waiting: VecDeque::new(),
            accepted: Vec::new(),
            receipts: SmallVec::new(),
            new_receipts: false,
        }
    }

    /// Its place in a conversation.
    #[inline]
    pub fn member_in(&self, conversation: u128) -> Option<u32> {
        self.members.iter().find(|(id, _)| *id == conversation).map(|(_, member)| *member)
    }

    /// Whether it can send now.
    pub fn speaks(&self) -> bool {
        self.stage == Stage::Open && !self.stalled
    }
}
