//! One connection's bytes, without a socket: which carrier it is, where a frame begins and ends, RFC 6455.
//!
//! Must never know what a frame means.

/// How frames stand in the byte stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Framing {
    /// After the magic [`MAGIC`]: each frame is a varint length and that many bytes of protobuf. In-process too.
    Raw,
    /// Binary WebSocket messages of protobuf.
    WsBinary,
    /// Text WebSocket messages of JSON.
    WsText,
}

/// The first bytes of a raw connection.
pub const MAGIC: [u8; 5] = *b"PYRT\x01";
