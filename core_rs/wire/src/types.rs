//! The frames of `wire.proto` as Rust values, borrowing from the bytes that they were read from where that is possible.

use std::borrow::Cow;

use smallvec::SmallVec;

/// A conversation's id: 16 bytes, see docs/wire.md.
pub type ConversationId = [u8; 16];

/// The protocol version that this core speaks.
pub const PROTOCOL: u32 = 1;
/// Longest message id, bytes.
pub const MAX_ID: usize = 32;
/// Longest user name, bytes of UTF-8. Names have no control characters and are not empty.
pub const MAX_USER: usize = 64;
/// Largest frame of `hello`, bytes: before it nobody has an account.
pub const MAX_HELLO: usize = 16 << 10;
/// Longest token, bytes.
pub const MAX_TOKEN: usize = 8192;
/// Longest `Hello.client`, bytes.
pub const MAX_CLIENT: usize = 64;
/// Most media ids beside a body, and the longest of them in bytes.
pub const MAX_MEDIA: usize = 16;
/// See [`MAX_MEDIA`].
pub const MAX_MEDIA_ID: usize = 64;
/// Most bodies in one send, and most authors in one read.
pub const MAX_LIST: usize = 1024;
/// Longest receipt version, bytes. What is in it concerns its server only.
pub const MAX_VERSION: usize = 64;
/// Most messages in one [`Ack::accepted`].
pub const MAX_ACCEPTED: usize = 256;

/// Longest name of a group, bytes; the server does not look inside (I9).
pub const MAX_NAME: usize = 256;
/// Longest description of a group, bytes.
pub const MAX_DESCRIPTION: usize = 4096;
/// Largest picture of a group, bytes.
pub const MAX_PICTURE: usize = 32 << 10;
/// Shortest and longest secret of an invite, bytes.
pub const SECRET: std::ops::RangeInclusive<usize> = 16..=64;

/// What a device sends.
#[derive(Clone, Debug, PartialEq)]
pub enum ClientFrame<'a> {
    /// First frame of a connection.
    Hello(Hello<'a>),
    /// A message to be stored.
    Send(Send<'a>),
    /// Acknowledgements.
    Ack(Ack<'a>),
    /// A read cursor.
    Read(Read<'a>),
    /// Answered with [`ServerFrame::Pong`].
    Ping {
        /// Returned as it came.
        nonce: u64,
    },
    /// Answer to a server's ping.
    Pong {
        /// As the server gave it.
        nonce: u64,
    },
    /// Asks for a user's devices.
    DevicesGet {
        /// Whose.
        user: Cow<'a, str>,
    },
    /// A change of a group.
    Manage(Manage<'a>),
    /// Asks for a group's snapshot, or for the user's groups.
    GroupGet {
        /// Which; `None`: all ids.
        conversation: Option<ConversationId>,
    },
    /// Asks who has a message of a group.
    ProgressGet {
        /// Which group.
        conversation: ConversationId,
        /// Which message.
        seq: u64,
    },
    /// Blocks a user, or does not any more; or asks who is blocked.
    Block {
        /// Whom; empty: nobody.
        user: Cow<'a, str>,
        /// Not any more.
        off: bool,
    },
}

/// `Manage`. Valid: an id as in [`Send`], a conversation unless the change is `Created`.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs)]
pub struct Manage<'a> {
    pub id: Cow<'a, [u8]>,
    pub conversation: Option<ConversationId>,
    pub change: Change<'a>,
}

/// SHA-256 of an invite's secret.
pub type Hash = [u8; 32];

/// `GroupChange`.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs)]
pub enum Change<'a> {
    Created { members: Vec<Cow<'a, str>>, profile: Profile<'a>, rules: Rules },
    Profile(Profile<'a>),
    Rules(Rules),
    Added(Vec<Cow<'a, str>>),
    Removed(Vec<Cow<'a, str>>),
    Left { successor: Cow<'a, str> },
    Promoted(Vec<Cow<'a, str>>),
    Demoted(Vec<Cow<'a, str>>),
    Owner(Cow<'a, str>),
    Invited(Invite),
    Revoked(Hash),
    Joined { hash: Hash, secret: Cow<'a, [u8]> },
    Closed,
}

/// `Profile`: opaque bytes; what is absent in a change stays as it is.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
#[allow(missing_docs)]
pub struct Profile<'a> {
    pub name: Option<Cow<'a, [u8]>>,
    pub description: Option<Cow<'a, [u8]>>,
    pub picture: Option<Cow<'a, [u8]>>,
}

/// `Rules`: who may do what in a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[allow(missing_docs)]
pub struct Rules {
    pub post: Who,
    pub add: Who,
    pub edit: Who,
}

/// Whom a rule lets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[repr(u8)]
#[allow(missing_docs)]
pub enum Who {
    #[default]
    Everyone = 0,
    Admins = 1,
}

/// What a member of a group is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Default)]
#[repr(u8)]
#[allow(missing_docs)]
pub enum Role {
    #[default]
    Member = 0,
    Admin = 1,
    Owner = 2,
}

/// `Invite`, as everybody may know it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Invite {
    pub hash: Hash,
    /// ms since 1970; 0: never.
    pub expires: u64,
}

/// `Hello`, field by field as in the schema.
#[derive(Clone, Debug, PartialEq, Default)]
#[allow(missing_docs)]
pub struct Hello<'a> {
    pub protocol: u32,
    pub token: Cow<'a, str>,
    pub receive: bool,
    pub client: Cow<'a, str>,
    pub window_messages: u32,
    pub window_bytes: u32,
    pub receipts: Cow<'a, [u8]>,
}

/// Where a send goes.
#[derive(Clone, Debug, PartialEq)]
pub enum Target<'a> {
    /// The direct conversation with a user.
    User(Cow<'a, str>),
    /// A conversation that exists.
    Conversation(ConversationId),
    /// The device conversation with one device.
    Device(Cow<'a, str>, u32),
}

/// One device's own body.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs)]
pub struct DeviceBody<'a> {
    pub user: Cow<'a, str>,
    pub device: u32,
    pub body: Cow<'a, [u8]>,
}

/// A user's devices as somebody knows them.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs)]
pub struct DeviceList<'a> {
    pub user: Cow<'a, str>,
    pub version: u64,
    pub devices: SmallVec<[u32; 4]>,
}

/// `Send`. A valid one has a target, an id of 1..=[`MAX_ID`] bytes, and not both `body` and `bodies`.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs)]
pub struct Send<'a> {
    pub id: Cow<'a, [u8]>,
    pub target: Target<'a>,
    pub body: Cow<'a, [u8]>,
    pub bodies: Vec<DeviceBody<'a>>,
    pub lists: Vec<DeviceList<'a>>,
    pub media: Vec<Cow<'a, [u8]>>,
}

/// `Ack`; a part that is absent is empty, 0 or `None`.
#[derive(Clone, Debug, PartialEq, Default)]
#[allow(missing_docs)]
pub struct Ack<'a> {
    pub conversation: Option<ConversationId>,
    pub seq: u64,
    pub receipts: Cow<'a, [u8]>,
    /// Conversation and seq of each message, at most [`MAX_ACCEPTED`]; neighbours of one conversation share a `Seqs`.
    pub accepted: SmallVec<[(ConversationId, u64); 1]>,
}

/// `Read`.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs)]
pub struct Read<'a> {
    pub conversation: ConversationId,
    pub seq: u64,
    pub authors: Vec<Cow<'a, str>>,
}

/// What the router sends.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs)]
pub enum ServerFrame<'a> {
    Welcome(Welcome<'a>),
    Accepted { id: &'a [u8], conversation: ConversationId, seq: u64, time: u64 },
    Message(Message<'a>),
    Receipt { conversation: ConversationId, user: &'a str, delivered: u64, read: u64, version: &'a [u8] },
    Skip { conversation: ConversationId, from: u64, to: u64, reason: SkipReason, user: &'a str, version: &'a [u8] },
    Error(ErrorFrame<'a>),
    Ping { nonce: u64 },
    Pong { nonce: u64, time: u64 },
    Replaced,
    Goodbye { reason: &'a str, reconnect_ms: u64 },
    Devices(DeviceList<'a>),
    Group(GroupFrame<'a>),
    Groups(&'a [ConversationId]),
    Progress { conversation: ConversationId, seq: u64, cursors: &'a [CursorOf<'a>] },
    Receipts { conversation: Option<ConversationId>, cursors: &'a [CursorOf<'a>], version: &'a [u8] },
    Blocks(Vec<&'a str>),
}

/// `Group`: a snapshot.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs)]
pub struct GroupFrame<'a> {
    pub conversation: ConversationId,
    pub seq: u64,
    pub members: Vec<(&'a str, Role)>,
    pub profile: Profile<'a>,
    pub rules: Rules,
    pub invites: &'a [Invite],
    pub closed: bool,
}

/// `Cursor`: how far a member is.
#[derive(Clone, Copy, Debug, PartialEq)]
#[allow(missing_docs)]
pub struct CursorOf<'a> {
    pub user: &'a str,
    pub delivered: u64,
    pub read: u64,
    pub skipped: bool,
}

/// `Message`. `to` is empty except for the sender's own other devices.
#[derive(Clone, Debug, Default, PartialEq)]
#[allow(missing_docs)]
pub struct Message<'a> {
    pub conversation: ConversationId,
    pub seq: u64,
    pub sender: &'a str,
    pub device: u32,
    pub id: &'a [u8],
    pub time: u64,
    pub body: &'a [u8],
    pub media: Vec<&'a [u8]>,
    pub to: &'a str,
    /// A system message of a group; then there is no body.
    pub change: Option<Box<Change<'a>>>,
}

/// `Welcome`.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs)]
pub struct Welcome<'a> {
    pub user: &'a str,
    pub device: u32,
    pub time: u64,
    pub limits: Limits,
    pub pending_messages: u64,
    pub pending_conversations: u64,
    pub server: &'a str,
    pub receive: bool,
    pub receipts: &'a [u8],
}

/// The limits in force for a session; units in the schema.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Limits {
    pub body_bytes: u32,
    pub frame_bytes: u32,
    pub id_bytes: u32,
    pub window_messages: u32,
    pub window_bytes: u32,
    pub unaccepted_messages: u32,
    pub unaccepted_bytes: u32,
    pub devices: u32,
    pub repeats: u32,
    pub idle_ms: u64,
    pub hold_ms: u64,
    pub group_members: u32,
}

/// Why a mailbox will never get a range of messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
#[allow(missing_docs)]
pub enum SkipReason {
    Expired = 1,
    Cap = 2,
    NoBody = 3,
    Lost = 4,
    Blocked = 5,
}

/// What a client should do about an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
#[allow(missing_docs)]
pub enum Retry {
    Never = 0,
    After = 1,
    Reconnect = 2,
    Changed = 3,
}

/// `Error`. `code` is stable, `message` is for people.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs)]
pub struct ErrorFrame<'a> {
    pub code: &'static str,
    pub message: Cow<'a, str>,
    pub retry: Retry,
    pub retry_ms: u64,
    pub id: &'a [u8],
    pub conversation: Option<ConversationId>,
    pub lists: Vec<DeviceList<'a>>,
}
