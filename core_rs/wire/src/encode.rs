//! Server frames to bytes, in either notation.

use super::fields::{Describe, Sink};
use super::json::Json;
use super::types::*;
use super::writer::{self, Proto};

impl ServerFrame<'_> {
    /// Length of the protobuf encoding, bytes; exact.
    pub fn encoded_len(&self) -> usize {
        writer::encoded_len(&Outer(self))
    }

    /// Appends the protobuf encoding.
    pub fn encode(&self, out: &mut Vec<u8>) {
        Outer(self).describe(&mut Proto(out));
    }

    /// Appends the JSON mapping of the frame, without white space.
    pub fn encode_json(&self, out: &mut Vec<u8>) {
        Json::object(out, &Outer(self));
    }

    /// Number and JSON name in `ServerFrame`.
    fn kind(&self) -> (u32, &'static str) {
        match self {
            Self::Welcome(_) => (1, "welcome"),
            Self::Accepted { .. } => (2, "accepted"),
            Self::Message(_) => (3, "message"),
            Self::Receipt { .. } => (4, "receipt"),
            Self::Skip { .. } => (5, "skip"),
            Self::Error(_) => (6, "error"),
            Self::Ping { .. } => (7, "ping"),
            Self::Pong { .. } => (8, "pong"),
            Self::Replaced => (9, "replaced"),
            Self::Goodbye { .. } => (10, "goodbye"),
            Self::Devices(_) => (11, "devices"),
            Self::Group(_) => (12, "group"),
            Self::Groups(_) => (13, "groups"),
            Self::Progress { .. } => (14, "progress"),
            Self::Receipts { .. } => (15, "receipts"),
            Self::Blocks(_) => (16, "blocks"),
        }
    }
}

/// The `ServerFrame` around a frame.
struct Outer<'f, 'a>(&'f ServerFrame<'a>);

impl Describe for Outer<'_, '_> {
    #[inline]
    fn describe<S: Sink>(&self, sink: &mut S) {
        let (number, name) = self.0.kind();
        sink.message(number, name, self.0);
    }
}

/// The frame itself, inside its `ServerFrame`.
impl Describe for ServerFrame<'_> {
    #[inline]
    fn describe<S: Sink>(&self, sink: &mut S) {
        match self {
            Self::Welcome(welcome) => welcome.describe(sink),
            Self::Accepted { id, conversation, seq, time } => {
                sink.bytes(1, "id", id);
                sink.bytes(2, "conversation", conversation);
                sink.uint(3, "seq", *seq);
                sink.uint(4, "time", *time);
            }
            Self::Message(message) => message.describe(sink),
            Self::Receipt { conversation, user, delivered, read, version } => {
                sink.bytes(1, "conversation", conversation);
                sink.string(2, "user", user);
                sink.uint(3, "delivered", *delivered);
                sink.uint(4, "read", *read);
                sink.bytes(5, "version", version);
            }
            Self::Skip { conversation, from, to, reason, user, version } => {
                sink.bytes(1, "conversation", conversation);
                sink.uint(2, "from", *from);
                sink.uint(3, "to", *to);
                sink.enumeration(4, "reason", *reason as u8, reason.label());
                sink.string(5, "user", user);
                sink.bytes(6, "version", version);
            }
            Self::Error(error) => error.describe(sink),
            Self::Ping { nonce } => sink.uint(1, "nonce", *nonce),
            Self::Pong { nonce, time } => {
                sink.uint(1, "nonce", *nonce);
                sink.uint(2, "time", *time);
            }
            Self::Replaced => {}
            Self::Goodbye { reason, reconnect_ms } => {
                sink.string(1, "reason", reason);
                sink.uint(2, "reconnectMs", *reconnect_ms);
            }
            Self::Devices(list) => list.describe(sink),
            Self::Group(group) => group.describe(sink),
            Self::Groups(conversations) => sink.byte_strings(1, "conversations", conversations),
            Self::Progress { conversation, seq, cursors } => {
                sink.bytes(1, "conversation", conversation);
                sink.uint(2, "seq", *seq);
                sink.messages(3, "cursors", *cursors);
            }
            Self::Receipts { conversation, cursors, version } => {
                sink.bytes(1, "conversation", conversation.as_ref().map_or(&[], |id| id.as_slice()));
                sink.messages(2, "cursors", *cursors);
                sink.bytes(3, "version", version);
            }
            Self::Blocks(users) => sink.strings(1, "users", users),
        }
    }
}

impl Describe for Message<'_> {
    #[inline]
    fn describe<S: Sink>(&self, sink: &mut S) {
        self.describe_head(sink);
        sink.bytes(7, "body", self.body);
        self.describe_tail(sink);
    }
}

impl Message<'_> {
    /// The fields before the body.
    #[inline]
    pub(super) fn describe_head<S: Sink>(&self, sink: &mut S) {
        sink.bytes(1, "conversation", &self.conversation);
        sink.uint(2, "seq", self.seq);
        sink.string(3, "sender", self.sender);
        sink.uint(4, "device", self.device.into());
        sink.bytes(5, "id", self.id);
        sink.uint(6, "time", self.time);
    }

    /// The fields after it.
    #[inline]
    pub(super) fn describe_tail<S: Sink>(&self, sink: &mut S) {
        sink.byte_strings(8, "media", &self.media);
        sink.string(9, "to", self.to);
        if let Some(change) = &self.change {
            sink.message(10, "change", &**change);
        }
    }
}

impl Describe for Welcome<'_> {
    fn describe<S: Sink>(&self, sink: &mut S) {
        sink.uint(1, "protocol", PROTOCOL.into());
        sink.string(2, "user", self.user);
        sink.uint(3, "device", self.device.into());
        sink.uint(4, "time", self.time);
        sink.message(5, "limits", &self.limits);
        sink.message(6, "pending", &Pending(self));
        sink.string(7, "server", self.server);
        sink.boolean(8, "receive", self.receive);
        sink.bytes(9, "receipts", self.receipts);
    }
}

struct Pending<'w, 'a>(&'w Welcome<'a>);

impl Describe for Pending<'_, '_> {
    fn describe<S: Sink>(&self, sink: &mut S) {
        sink.uint(1, "messages", self.0.pending_messages);
        sink.uint(2, "conversations", self.0.pending_conversations);
    }
}

impl Describe for Limits {
    fn describe<S: Sink>(&self, sink: &mut S) {
        sink.uint(1, "bodyBytes", self.body_bytes.into());
        sink.uint(2, "frameBytes", self.frame_bytes.into());
        sink.uint(3, "idBytes", self.id_bytes.into());
        sink.uint(4, "windowMessages", self.window_messages.into());
        sink.uint(5, "windowBytes", self.window_bytes.into());
        sink.uint(6, "unacceptedMessages", self.unaccepted_messages.into());
        sink.uint(7, "unacceptedBytes", self.unaccepted_bytes.into());
        sink.uint(8, "devices", self.devices.into());
        sink.uint(9, "repeats", self.repeats.into());
        sink.uint(10, "idleMs", self.idle_ms);
        sink.uint(11, "holdMs", self.hold_ms);
        sink.uint(12, "groupMembers", self.group_members.into());
    }
}

impl Describe for ErrorFrame<'_> {
    fn describe<S: Sink>(&self, sink: &mut S) {
        sink.string(1, "code", self.code);
        sink.string(2, "message", &self.message);
        sink.enumeration(3, "retry", self.retry as u8, self.retry.label());
        sink.uint(4, "retryMs", self.retry_ms);
        sink.bytes(5, "id", self.id);
        sink.bytes(6, "conversation", self.conversation.as_ref().map_or(&[], |id| id.as_slice()));
        sink.messages(7, "lists", &self.lists);
    }
}

impl Describe for DeviceList<'_> {
    fn describe<S: Sink>(&self, sink: &mut S) {
        sink.string(1, "user", &self.user);
        sink.uint(2, "version", self.version);
        sink.uints(3, "devices", self.devices.iter().map(|device| u64::from(*device)));
    }
}

impl Describe for DeviceBody<'_> {
    fn describe<S: Sink>(&self, sink: &mut S) {
        sink.string(1, "user", &self.user);
        sink.uint(2, "device", self.device.into());
        sink.bytes(3, "body", &self.body);
    }
}

impl SkipReason {
    /// Name in the schema.
    pub fn label(self) -> &'static str {
        match self {
            Self::Expired => "EXPIRED",
            Self::Cap => "CAP",
            Self::NoBody => "NO_BODY",
            Self::Lost => "LOST",
            Self::Blocked => "BLOCKED",
        }
    }
}

impl Retry {
    /// Name in the schema.
    pub fn label(self) -> &'static str {
        match self {
            Self::Never => "RETRY_NEVER",
            Self::After => "RETRY_AFTER",
            Self::Reconnect => "RETRY_RECONNECT",
            Self::Changed => "RETRY_CHANGED",
        }
    }
}
