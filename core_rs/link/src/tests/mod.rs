//! A link driven from its outside, as a client's bytes would drive it.
//!
//! One file per subject; the names say the rule and its section of RFC 6455, or the invariant (I1…I13).

mod closing;
mod frames;
mod handshake;
mod memory;
mod raw;
mod saving;
mod sniffing;
mod splits;
mod text;

use super::{Flow, Framing, Link, LinkLimits, OnPayload, Payload, Status};

const LIMITS: LinkLimits = LinkLimits { frame_bytes: 1 << 16, http_head_bytes: 1 << 12 };

const HANDSHAKE: &str = "GET /v1 HTTP/1.1\r\nHost: router.example\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";

const CONTINUATION: u8 = 0x0;
const TEXT: u8 = 0x1;
const BINARY: u8 = 0x2;
const CLOSE: u8 = 0x8;
const PING: u8 = 0x9;
const PONG: u8 = 0xa;
const FINAL: u8 = 0x80;
const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

/// Everything that came of some bytes.
#[derive(Debug, PartialEq, Eq)]
struct Outcome {
    status: Status,
    /// Payload and whether it was text.
    payloads: Vec<(Vec<u8>, bool)>,
    out: Vec<u8>,
    framing: Framing,
    error: Option<(&'static str, String)>,
}

/// Feeds `bytes` cut into pieces of the given sizes, over and over; what remains goes in one piece.
fn feed_cut(link: &mut Link, bytes: &[u8], cuts: &[usize], limits: &LinkLimits) -> Outcome {
    let mut data = bytes.to_vec();
    let mut rest = data.as_mut_slice();
    let mut out = Vec::new();
    let mut payloads = Vec::new();
    let mut status = Status::Open;
    let on: &mut OnPayload<'_> = &mut |payload: Payload<'_>, _: &mut Vec<u8>| {
        payloads.push((payload.bytes.to_vec(), payload.framing == Framing::WsText));
        if payload.bytes == b"stop" { Flow::Stop } else { Flow::Continue }
    };
    for &cut in cuts {
        let (piece, after) = rest.split_at_mut(cut.min(rest.len()));
        status = link.feed(piece, limits, &mut out, on);
        rest = after;
    }
    if !rest.is_empty() || cuts.is_empty() {
        status = link.feed(rest, limits, &mut out, on);
    }
    Outcome { status, payloads, out, framing: link.framing(), error: link.error() }
}

fn feed(link: &mut Link, bytes: &[u8]) -> Outcome {
    feed_cut(link, bytes, &[], &LIMITS)
}

/// A WebSocket whose handshake is done.
fn websocket() -> Link {
    let mut link = Link::sniffing();
    let outcome = feed(&mut link, HANDSHAKE.as_bytes());
    assert_eq!(outcome.status, Status::Open);
    assert!(outcome.out.starts_with(b"HTTP/1.1 101 "), "{}", String::from_utf8_lossy(&outcome.out));
    link
}

/// A client's frame: `first` is the final bit, the reserved bits and the opcode.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first];
    match payload.len() {
        len @ 0..=125 => bytes.push(0x80 | len as u8),
        len @ 126..=0xffff => {
            bytes.push(0x80 | 126);
            bytes.extend_from_slice(&(len as u16).to_be_bytes());
        }
        len => {
            bytes.push(0x80 | 127);
            bytes.extend_from_slice(&(len as u64).to_be_bytes());
        }
    }
    bytes.extend_from_slice(&MASK);
    bytes.extend(payload.iter().zip(MASK.iter().cycle()).map(|(byte, key)| byte ^ key));
    bytes
}

/// The close frame that `out` ends with: its code and reason.
fn close_frame(out: &[u8]) -> (u16, String) {
    for at in 0..out.len() {
        if let [0x88, len, high, low, reason @ ..] = &out[at..]
            && usize::from(*len) == reason.len() + 2
        {
            let reason = String::from_utf8(reason.to_vec()).expect("a reason in UTF-8");
            return (u16::from_be_bytes([*high, *low]), reason);
        }
    }
    panic!("no close frame at the end of {out:02x?}");
}

/// Asserts that `bytes` fail an open WebSocket with `code`, and that nothing is read after it.
fn fails_with(bytes: &[u8], code: u16) {
    let mut link = websocket();
    let outcome = feed(&mut link, bytes);
    assert_eq!(outcome.status, Status::Closing, "{bytes:02x?}");
    assert_eq!(close_frame(&outcome.out).0, code, "{bytes:02x?}");
    assert_eq!(outcome.error, None);
    let after = feed(&mut link, &frame(FINAL | BINARY, b"late"));
    assert_eq!((after.status, after.payloads.len(), after.out.len()), (Status::Closing, 0, 0));
}
