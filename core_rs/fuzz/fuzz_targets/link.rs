//! Any bytes on a connection: the parser never panics, and what comes out does not depend on how reads cut them.
//!
//! The first byte chooses the carrier, the second where the cuts fall; the rest is what the peer sends.

#![no_main]

use link::{Flow, Framing, Link, LinkLimits, Status};
use libfuzzer_sys::fuzz_target;

const HANDSHAKE: &[u8] = b"GET /v1 HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";
const LIMITS: LinkLimits = LinkLimits { frame_bytes: 4096, http_head_bytes: 1024 };

fuzz_target!(|data: &[u8]| {
    let [carrier, cut, sent @ ..] = data else { return };
    let bytes = match carrier % 3 {
        0 => sent.to_vec(),
        1 => [HANDSHAKE, sent].concat(),
        _ => [&b"PYRT\x01"[..], sent].concat(),
    };
    let whole = events(&bytes, bytes.len());
    assert_eq!(events(&bytes, usize::from(*cut)), whole);
    assert_eq!(events(&bytes, 1), whole);
});

/// All that a caller can see of a connection.
#[derive(Debug, PartialEq)]
struct Events {
    payloads: Vec<(Vec<u8>, Framing)>,
    out: Vec<u8>,
    status: Status,
    framing: Framing,
    error: Option<(&'static str, String)>,
    prefix: Vec<u8>,
}

fn events(bytes: &[u8], cut: usize) -> Events {
    let mut link = Link::sniffing();
    let (mut payloads, mut out, mut status) = (Vec::new(), Vec::new(), Status::Open);
    for piece in bytes.chunks(cut.max(1)) {
        status = link.feed(&mut piece.to_vec(), &LIMITS, &mut out, &mut |payload, _| {
            assert!(payload.framing != Framing::WsText || std::str::from_utf8(payload.bytes).is_ok());
            payloads.push((payload.bytes.to_vec(), payload.framing));
            Flow::Continue
        });
        if status == Status::Closing {
            break;
        }
    }
    Events { payloads, out, status, framing: link.framing(), error: link.error(), prefix: link.take_http_prefix() }
}
