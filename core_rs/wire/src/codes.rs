//! The stable error codes, each with what a client should do and whether it ends the connection.
//!
//! docs/wire.md tells them to people; a test holds its table to this one.

use super::types::Retry;

/// One error code and its semantics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Code {
    /// As in `Error.code`. Never reused for anything else.
    pub name: &'static str,
    /// What a client should do; `Error.retry` of a frame with this code.
    pub retry: Retry,
    /// The WebSocket close code of a connection that this error ends; `None`: the connection stays.
    pub close: Option<u16>,
}

/// WebSocket close codes of our own (4000–4999 are free for applications, RFC 6455 §7.4.2), and those of the RFC.
pub mod close {
    /// The connection served its purpose.
    pub const NORMAL: u16 = 1000;
    /// The server stops; a `goodbye` went before.
    pub const GOING_AWAY: u16 = 1001;
    /// A message was larger than the server takes.
    pub const TOO_BIG: u16 = 1009;
    /// Another session of the device took over; a `replaced` went before.
    pub const REPLACED: u16 = 4000;
    /// The token, or what it stands for, was not accepted.
    pub const AUTH: u16 = 4001;
    /// The client broke the protocol.
    pub const PROTOCOL: u16 = 4002;
    /// The server cannot serve this connection.
    pub const SERVER: u16 = 4003;
}

macro_rules! codes {
    ($($(#[$doc:meta])* $constant:ident $name:literal $retry:ident $close:expr;)*) => {
        $($(#[$doc])* pub const $constant: &str = $name;)*
        /// All of them, in the order of docs/wire.md.
        pub const ALL: &[Code] = &[$(Code { name: $name, retry: Retry::$retry, close: $close }),*];
    };
}

codes! {
    /// The bytes are no frame of this protocol.
    MALFORMED "malformed" Never Some(close::PROTOCOL);
    /// A frame above `limits.frame_bytes`.
    TOO_LARGE "too_large" Never Some(close::TOO_BIG);
    /// No hello in time.
    HELLO_TIMEOUT "hello_timeout" Reconnect Some(close::PROTOCOL);
    /// Another frame came before hello.
    HELLO_EXPECTED "hello_expected" Never Some(close::PROTOCOL);
    /// A second hello.
    HELLO_TWICE "hello_twice" Never Some(close::PROTOCOL);
    /// A protocol version that this server does not speak.
    VERSION "version" Never Some(close::PROTOCOL);
    /// The token is not valid here.
    BAD_TOKEN "bad_token" Never Some(close::AUTH);
    /// The token was valid once.
    TOKEN_EXPIRED "token_expired" Never Some(close::AUTH);
    /// The user has as many devices as are allowed.
    TOO_MANY_DEVICES "too_many_devices" Never Some(close::AUTH);
    /// More connections or work than the server takes.
    OVERLOAD "overload" Reconnect Some(close::SERVER);
    /// The server's own fault.
    INTERNAL "internal" Reconnect Some(close::SERVER);
    /// A frame kind that this server does not know.
    UNKNOWN_FRAME "unknown_frame" Never None;
    /// A message id that is not of 1 to 32 bytes.
    BAD_ID "bad_id" Never None;
    /// A user name that cannot exist.
    BAD_USER "bad_user" Never None;
    /// A conversation id that is not 16 bytes.
    BAD_CONVERSATION "bad_conversation" Never None;
    /// Another field outside its limits.
    BAD_FIELD "bad_field" Never None;
    /// A body above `limits.body_bytes`.
    BODY_TOO_LARGE "body_too_large" Never None;
    /// The recipient does not exist.
    UNKNOWN_USER "unknown_user" Never None;
    /// The conversation does not exist, or this user is no member of it; one cannot tell which.
    UNKNOWN_CONVERSATION "unknown_conversation" Never None;
    /// The group has no such message, or none that this user sees; one cannot tell which.
    UNKNOWN_MESSAGE "unknown_message" Never None;
    /// The embedder's rules say no, or the group's.
    FORBIDDEN "forbidden" Never None;
    /// The id belongs to an earlier message with another target.
    ID_REUSED "id_reused" Never None;
    /// The message was made for other devices than there are; the frame has the lists as they are.
    DEVICES_CHANGED "devices_changed" Changed None;
    /// An ack or a read above what this session was shown.
    ACK_BEYOND_HEAD "ack_beyond_head" Never None;
    /// The group would have more members than `limits.group_members`.
    GROUP_FULL "group_full" Never None;
    /// Somebody cannot be added; why is not told.
    CANNOT_ADD "cannot_add" Never None;
    /// The change would change nothing: it is so already, or it concerns nobody.
    NO_CHANGE "no_change" Never None;
    /// The invite is unknown, revoked or expired.
    BAD_INVITE "bad_invite" Never None;
    /// As many as there may be: invites of a group, groups of a user, blocks of a user.
    TOO_MANY "too_many" Never None;
    /// The conversation holds as much undelivered as it may.
    CONVERSATION_FULL "conversation_full" After None;
    /// No room on the server's disk.
    STORAGE_FULL "storage_full" After None;
    /// What the server stored of this is damaged, or gone.
    UNAVAILABLE "unavailable" After None;
}

/// The semantics of a code by its name.
pub fn find(name: &str) -> Option<&'static Code> {
    ALL.iter().find(|code| code.name == name)
}
