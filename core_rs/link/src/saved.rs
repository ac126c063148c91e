//! A link as bytes, so that another process can go on with its connection.
//!
//! ```text
//! state:u8 · framing:u8 · close:u8 · length of the rest:u32, little endian · rest
//! ```
//! What is incomplete stands there as a client may have sent it, and a link is restored by reading that. So no state can be
//! restored that a client could not have brought about, and what is restored takes no more than a small multiple of its bytes.

use super::raw::Raw;
use super::sniff::{self, Sniffed};
use super::websocket::WebSocket;
use super::{Flow, Framing, Link, LinkError, LinkLimits, OnPayload, Progress, State, TOO_LARGE};

/// Far above any limit that a link is used with, which holds again with the next read.
const LIMITS: LinkLimits = LinkLimits { frame_bytes: u32::MAX as usize, http_head_bytes: usize::MAX };
/// State, framing, close, length.
const HEAD: usize = 7;
const SNIFFING: u8 = 0;
const RAW: u8 = 1;
/// A WebSocket; `close`: a close frame was sent; whether its first message was text stands in [`TEXT`] and [`BINARY`].
const WEBSOCKET: u8 = 2;
const HTTP: u8 = 3;
/// Nothing more is read; `close`: a close frame may be sent still.
const ENDED: u8 = 4;
/// The same, with an error: which of [`CODES`], and its words.
const FAILED: u8 = 5;
const CLOSE: u8 = 1;
const TEXT: u8 = 2;
const BINARY: u8 = 4;

/// Codes of a link's errors.
const CODES: [&str; 3] = ["version", "malformed", TOO_LARGE];

impl Link {
    /// Appends all that is needed to go on with the connection elsewhere.
    pub fn save(&self, out: &mut Vec<u8>) {
        let (state, flags) = match &self.state {
            State::Sniffing(_) => (SNIFFING, 0),
            State::Raw(_) => (RAW, 0),
            State::WebSocket(websocket) => {
                let kind = websocket.text().map_or(0, |text| if text { TEXT } else { BINARY });
                (WEBSOCKET, kind | if websocket.close_sent() { CLOSE } else { 0 })
            }
            State::Http(_) => (HTTP, 0),
            State::Ended(error) => {
                (if error.is_some() { FAILED } else { ENDED }, if self.may_close { CLOSE } else { 0 })
            }
        };
        let at = out.len();
        out.extend_from_slice(&[state, self.framing as u8, flags, 0, 0, 0, 0]);
        match &self.state {
            State::Sniffing(head) => out.extend_from_slice(head.as_ref().map_or(&[], |head| head.bytes())),
            State::Raw(raw) => raw.replay(out),
            State::WebSocket(websocket) => websocket.replay(out),
            State::Http(head) => out.extend_from_slice(head.bytes()),
            State::Ended(None) => {}
            State::Ended(Some(error)) => {
                out.push(CODES.iter().position(|code| *code == error.code).unwrap_or_default() as u8);
                out.extend_from_slice(error.message.as_bytes());
            }
        }
        let rest = (out.len() - at - HEAD) as u32;
        if let Some((head, _)) = out.get_mut(at + HEAD - 4..).and_then(|bytes| bytes.split_first_chunk_mut()) {
            *head = rest.to_le_bytes();
        }
    }

    /// A link from what [`Link::save`] wrote; `None`: these are other bytes.
    #[must_use]
    pub fn restore(bytes: &[u8]) -> Option<Self> {
        let (&[state, framing, flags, ..], rest) = bytes.split_first_chunk::<HEAD>()?;
        let mut data = rest.to_vec();
        let out = &mut Vec::new();
        let on: &mut OnPayload<'_> = &mut |_, _| Flow::Stop;
        let state = match state {
            SNIFFING => {
                let mut head = None;
                let (sniffed, _) = sniff::sniff(&mut head, &data, &LIMITS, out);
                (sniffed == Sniffed::Unknown).then_some(State::Sniffing(head))
            }
            RAW => {
                let mut raw = Raw::default();
                let read = raw.feed(&mut data, LIMITS.frame_bytes, out, on);
                matches!(read, Ok(Progress::Open)).then_some(State::Raw(raw))
            }
            WEBSOCKET => {
                let text = (flags & (TEXT | BINARY) != 0).then_some(flags & TEXT != 0);
                let mut websocket = WebSocket::restored(text, flags & CLOSE != 0);
                let read = websocket.feed(&mut data, LIMITS.frame_bytes, out, on);
                matches!(read, Ok(Progress::Open)).then_some(State::WebSocket(websocket))
            }
            HTTP => Some(State::Http(Box::new(data.into()))),
            ENDED => Some(State::Ended(None)),
            FAILED => {
                let (code, message) = rest.split_first()?;
                let (code, message) = (*CODES.get(usize::from(*code))?, str::from_utf8(message).ok()?.to_owned());
                Some(State::Ended(Some(Box::new(LinkError { code, message }))))
            }
            _ => None,
        }?;
        let (framing, may_close) = match &state {
            State::WebSocket(websocket) => (websocket.framing(), !websocket.close_sent()),
            State::Ended(_) => {
                (*[Framing::Raw, Framing::WsBinary, Framing::WsText].get(usize::from(framing))?, flags & CLOSE != 0)
            }
            State::Sniffing(_) | State::Raw(_) | State::Http(_) => (Framing::Raw, false),
        };
        // What was not saved by a link like this would be saved otherwise.
        let (link, mut again) = (Self { state, framing, may_close }, Vec::with_capacity(bytes.len()));
        link.save(&mut again);
        (again == bytes).then_some(link)
    }
}
