//! Client frames to bytes: for in-process use and for tests. A client elsewhere has its own codec from the schema.

use super::fields::{Describe, Sink};
use super::json::Json;
use super::types::*;
use super::writer::{self, Proto};

impl ClientFrame<'_> {
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

    /// Number and JSON name in `ClientFrame`.
    fn kind(&self) -> (u32, &'static str) {
        match self {
            Self::Hello(_) => (1, "hello"),
            Self::Send(_) => (2, "send"),
            Self::Ack(_) => (3, "ack"),
            Self::Read(_) => (4, "read"),
            Self::Ping { .. } => (5, "ping"),
            Self::Pong { .. } => (6, "pong"),
            Self::DevicesGet { .. } => (7, "devicesGet"),
            Self::Manage(_) => (8, "manage"),
            Self::GroupGet { .. } => (9, "groupGet"),
            Self::ProgressGet { .. } => (10, "progressGet"),
            Self::Block { .. } => (11, "block"),
        }
    }
}

/// The `ClientFrame` around a frame.
struct Outer<'f, 'a>(&'f ClientFrame<'a>);

impl Describe for Outer<'_, '_> {
    fn describe<S: Sink>(&self, sink: &mut S) {
        let (number, name) = self.0.kind();
        sink.message(number, name, self.0);
    }
}

/// The frame itself, inside its `ClientFrame`.
impl Describe for ClientFrame<'_> {
    fn describe<S: Sink>(&self, sink: &mut S) {
        match self {
            Self::Hello(hello) => {
                sink.uint(1, "protocol", hello.protocol.into());
                sink.string(2, "token", &hello.token);
                sink.boolean(3, "receive", hello.receive);
                sink.string(4, "client", &hello.client);
                sink.uint(5, "windowMessages", hello.window_messages.into());
                sink.uint(6, "windowBytes", hello.window_bytes.into());
                sink.bytes(7, "receipts", &hello.receipts);
            }
            Self::Send(send) => send.describe(sink),
            Self::Ack(ack) => {
                sink.bytes(1, "conversation", ack.conversation.as_ref().map_or(&[], |id| id.as_slice()));
                sink.uint(2, "seq", ack.seq);
                sink.bytes(3, "receipts", &ack.receipts);
                sink.messages(4, "accepted", ack.accepted.chunk_by(|a, b| a.0 == b.0).map(Seqs));
            }
            Self::Read(read) => {
                sink.bytes(1, "conversation", &read.conversation);
                sink.uint(2, "seq", read.seq);
                sink.strings(3, "authors", &read.authors);
            }
            Self::Ping { nonce } | Self::Pong { nonce } => sink.uint(1, "nonce", *nonce),
            Self::DevicesGet { user } => sink.string(1, "user", user),
            Self::Manage(manage) => {
                sink.bytes(1, "id", &manage.id);
                sink.bytes(2, "conversation", manage.conversation.as_ref().map_or(&[], |id| id.as_slice()));
                sink.message(3, "change", &manage.change);
            }
            Self::GroupGet { conversation } => {
                sink.bytes(1, "conversation", conversation.as_ref().map_or(&[], |id| id.as_slice()));
            }
            Self::ProgressGet { conversation, seq } => {
                sink.bytes(1, "conversation", conversation);
                sink.uint(2, "seq", *seq);
            }
            Self::Block { user, off } => {
                sink.string(1, "user", user);
                sink.boolean(2, "off", *off);
            }
        }
    }
}

impl Describe for Send<'_> {
    fn describe<S: Sink>(&self, sink: &mut S) {
        sink.bytes(1, "id", &self.id);
        match &self.target {
            Target::User(user) => sink.string(2, "user", user),
            Target::Conversation(id) => sink.bytes(3, "conversation", id),
            Target::Device(user, device) => sink.message(4, "device", &DeviceRef { user, device: *device }),
        }
        sink.bytes(5, "body", &self.body);
        sink.messages(6, "bodies", &self.bodies);
        sink.messages(7, "lists", &self.lists);
        sink.byte_strings(8, "media", &self.media);
    }
}

/// Messages of one conversation, at least one.
struct Seqs<'a>(&'a [(ConversationId, u64)]);

impl Describe for Seqs<'_> {
    fn describe<S: Sink>(&self, sink: &mut S) {
        sink.bytes(1, "conversation", self.0.first().map_or(&[], |(id, _)| id.as_slice()));
        sink.uints(2, "seqs", self.0.iter().map(|(_, seq)| *seq));
    }
}

struct DeviceRef<'a> {
    user: &'a str,
    device: u32,
}

impl Describe for DeviceRef<'_> {
    fn describe<S: Sink>(&self, sink: &mut S) {
        sink.string(1, "user", self.user);
        sink.uint(2, "device", self.device.into());
    }
}
