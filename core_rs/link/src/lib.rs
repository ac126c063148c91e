//! One connection's bytes, without a socket: which carrier it is, where a frame begins and ends, RFC 6455.
//!
//! # Layout
//! - [`sniff`]: the first bytes tell the carrier: the raw magic, a WebSocket handshake, or other HTTP.
//! - [`handshake`]: the opening handshake of RFC 6455, and readable refusals.
//! - [`raw`]: length-delimited frames; [`websocket`]: RFC 6455 messages, from [`frame`]s with [`mask`]s;
//!   [`close`]: close frames.
//! - [`outgoing`]: headers of what is sent. [`buffer`]: how an incomplete frame is held. [`saved`]: a link as bytes.
//!
//! # Rules
//! - Bytes in, payloads and answers out: a [`Link`] owns no socket, no clock and no queue.
//! - What comes out depends on the bytes and not on how they were cut into reads.
//! - Memory follows what has arrived, not what was announced: a header that promises a megabyte reserves nothing. A frame
//!   that arrives whole is handed on where it lies; only an incomplete one is copied. An idle link holds no heap at all.
//! - A peer's mistake ends its connection with a reason it can read, and never panics.
//!
//! Must never know what a frame means.

mod buffer;
mod close;
mod frame;
mod handshake;
mod mask;
mod outgoing;
mod raw;
mod saved;
mod sniff;
mod websocket;

#[cfg(test)]
mod tests;

use std::mem;

pub use outgoing::{header_len, put_header};

use raw::Raw;
use sniff::{Head, Sniffed};
use websocket::{Failed, WebSocket};

/// How frames stand in the byte stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum Framing {
    /// After the magic [`MAGIC`]: each frame is a varint length and that many bytes of protobuf. In-process too.
    #[default]
    Raw,
    /// Binary WebSocket messages of protobuf.
    WsBinary,
    /// Text WebSocket messages of JSON.
    WsText,
}

/// The first bytes of a raw connection. The last one is the version of the raw framing.
pub const MAGIC: [u8; 5] = *b"PYRT\x01";

/// The WebSocket subprotocol, echoed to a client that offers it.
pub const SUBPROTOCOL: &str = "pyrouter.v1";

/// How much a peer may send before it has said anything complete.
#[derive(Clone, Copy, Debug)]
pub struct LinkLimits {
    /// Longest payload of one frame (of one message in a WebSocket, all its fragments together), bytes.
    pub frame_bytes: usize,
    /// Longest HTTP request head that is read to find out whether it is a WebSocket handshake, bytes.
    pub http_head_bytes: usize,
}

/// One frame's payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Payload<'a> {
    /// The bytes, unmasked and reassembled; valid UTF-8 if it is text.
    pub bytes: &'a [u8],
    /// How it was framed.
    pub framing: Framing,
}

/// What the receiver of a payload wants next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    /// More.
    Continue,
    /// Nothing more: the connection is being closed.
    Stop,
}

/// What the caller does after [`Link::feed`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// Go on reading.
    Open,
    /// This is HTTP: everything so far ([`Link::take_http_prefix`]) and what follows belongs to an HTTP server.
    Http,
    /// Flush what was written, then close. Whatever else arrives is ignored.
    Closing,
}

/// Where payloads go; the second argument is the caller's output, so that answers and pongs keep their order.
pub type OnPayload<'a> = dyn FnMut(Payload<'_>, &mut Vec<u8>) -> Flow + 'a;

/// A mistake of the peer that the caller tells it about in a frame.
#[derive(Debug)]
struct LinkError {
    code: &'static str,
    message: String,
}

/// How far a carrier came with the bytes of one feed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Progress {
    /// All bytes are used.
    Open,
    /// Nothing more is wanted.
    Done,
}

#[derive(Debug)]
enum State {
    /// Too little was read to tell the carrier.
    Sniffing(Option<Box<Head>>),
    Raw(Raw),
    WebSocket(WebSocket),
    /// Held until the HTTP server takes over.
    Http(Box<Head>),
    /// Nothing more is read; the error that is still to be told, if any.
    Ended(Option<Box<LinkError>>),
}

/// One connection's parser. 24 bytes and no heap while nothing is incomplete.
#[derive(Debug)]
pub struct Link {
    state: State,
    /// Of what is sent. Of a WebSocket: as its first data message was; binary until then.
    framing: Framing,
    /// A close frame may still be sent, although nothing is read any more.
    may_close: bool,
}

impl Link {
    /// A connection whose first bytes decide: [`MAGIC`], a request to upgrade to WebSocket, or other HTTP.
    #[must_use]
    pub fn sniffing() -> Self {
        Self { state: State::Sniffing(None), framing: Framing::Raw, may_close: false }
    }

    /// The in-process carrier: raw frames from the first byte on, without the magic.
    #[must_use]
    pub fn raw() -> Self {
        Self { state: State::Raw(Raw::default()), framing: Framing::Raw, may_close: false }
    }

    /// Reads `data` (unmasked in place) and calls `on` with each complete payload. `out` receives complete wire bytes: the
    /// handshake's answer, pongs and close frames.
    ///
    /// After [`Flow::Stop`], a violation, or a close frame from the peer, the answer is [`Status::Closing`], then and always.
    /// If there is an [`Link::error`] then, the caller writes it and calls [`Link::close`].
    /// A peer that pings without reading makes `out` grow by as much as it sends: bounding that is the caller's, who owns
    /// `out` and can stop reading.
    pub fn feed(
        &mut self,
        mut data: &mut [u8],
        limits: &LinkLimits,
        out: &mut Vec<u8>,
        on: &mut OnPayload<'_>,
    ) -> Status {
        if let State::Sniffing(head) = &mut self.state {
            let (sniffed, used) = sniff::sniff(head, data, limits, out);
            data = data.get_mut(used..).unwrap_or_default();
            match sniffed {
                Sniffed::Unknown => return Status::Open,
                Sniffed::Refused => self.state = State::Ended(None),
                Sniffed::Raw => self.state = State::Raw(Raw::default()),
                Sniffed::ForeignMagic(version) => self.fail("version", sniff::foreign_magic(version)),
                Sniffed::Http => self.state = State::Http(head.take().unwrap_or_default()),
                Sniffed::WebSocket => {
                    self.state = State::WebSocket(WebSocket::default());
                    self.framing = Framing::WsBinary;
                    self.may_close = true;
                }
            }
        }
        match &mut self.state {
            State::Sniffing(_) => Status::Open,
            State::Http(head) => {
                head.push(data);
                Status::Http
            }
            State::Raw(raw) => match raw.feed(data, limits.frame_bytes, out, on) {
                Ok(Progress::Open) => Status::Open,
                Ok(Progress::Done) => self.end(),
                Err((code, message)) => {
                    self.fail(code, message);
                    Status::Closing
                }
            },
            State::WebSocket(websocket) => {
                let result = websocket.feed(data, limits.frame_bytes, out, on);
                self.framing = websocket.framing();
                match result {
                    Ok(Progress::Open) => Status::Open,
                    Ok(Progress::Done) => {
                        self.may_close = !websocket.close_sent();
                        self.end()
                    }
                    Err(Failed::TooLarge(len)) if self.may_close => {
                        self.fail(TOO_LARGE, too_large(len, limits.frame_bytes));
                        Status::Closing
                    }
                    Err(Failed::TooLarge(_)) => self.end(),
                    Err(Failed::Violation(failure)) => {
                        if self.may_close {
                            close::put(out, failure.code, failure.reason);
                        }
                        self.may_close = false;
                        self.end()
                    }
                }
            }
            State::Ended(_) => Status::Closing,
        }
    }

    /// After [`Status::Http`]: all bytes that were read so far, in order. They are handed over once.
    #[must_use]
    pub fn take_http_prefix(&mut self) -> Vec<u8> {
        match &mut self.state {
            State::Http(head) => mem::take(head).into_bytes(),
            _ => Vec::new(),
        }
    }

    /// How to frame what is sent on this connection: as the client's first message was framed.
    #[must_use]
    pub fn framing(&self) -> Framing {
        self.framing
    }

    /// The mistake that ended the connection: a stable code and a sentence for people, for the caller to send before
    /// [`Link::close`]. `None` if a WebSocket's rules were broken: a close frame has told the peer already.
    #[must_use]
    pub fn error(&self) -> Option<(&'static str, String)> {
        match &self.state {
            State::Ended(Some(error)) => Some((error.code, error.message.clone())),
            _ => None,
        }
    }

    /// Says goodbye: on a WebSocket a close frame with `code` and `reason` (cut to 123 bytes), once; nothing otherwise.
    ///
    /// From then on payloads are dropped unread. Of a WebSocket the peer's close frame is awaited ([`Status::Closing`] then);
    /// any other carrier is at its end.
    pub fn close(&mut self, out: &mut Vec<u8>, code: u16, reason: &str) {
        if self.may_close {
            close::put(out, code, reason);
            self.may_close = false;
        }
        match &mut self.state {
            State::WebSocket(websocket) => websocket.start_closing(),
            State::Ended(_) | State::Http(_) => {}
            State::Sniffing(_) | State::Raw(_) => self.state = State::Ended(None),
        }
    }

    /// Bytes of an incomplete frame that have arrived, and are kept.
    #[must_use]
    pub fn arrived(&self) -> usize {
        match &self.state {
            State::Raw(raw) => raw.arrived(),
            State::WebSocket(websocket) => websocket.arrived(),
            State::Sniffing(_) | State::Http(_) | State::Ended(_) => 0,
        }
    }

    /// Whether nothing tells yet which frames the peer would understand. Of a WebSocket its first message tells; until then
    /// there is the close frame alone, which is the same for all.
    #[must_use]
    pub fn undecided(&self) -> bool {
        match &self.state {
            State::Sniffing(_) | State::Http(_) => true,
            State::WebSocket(websocket) => websocket.undecided(),
            State::Raw(_) | State::Ended(_) => false,
        }
    }

    fn end(&mut self) -> Status {
        self.state = State::Ended(None);
        Status::Closing
    }

    fn fail(&mut self, code: &'static str, message: String) {
        self.state = State::Ended(Some(Box::new(LinkError { code, message })));
    }
}

/// The code of the error about a frame above the limit.
const TOO_LARGE: &str = "too_large";

/// What a frame above the limit is answered, in words.
fn too_large(len: u64, limit: usize) -> String {
    format!("a frame of {len} bytes; the limit is {limit}")
}
