//! Any bytes on a connection: the parser never panics, and what comes out depends neither on how reads cut them nor on whether
//! the link is saved and restored in between. Any bytes as a saved link: refused, or saved as the same again.
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
    let whole = events(&bytes, bytes.len(), false);
    assert_eq!(events(&bytes, usize::from(*cut), false), whole);
    assert_eq!(events(&bytes, 1, false), whole);
    assert_eq!(events(&bytes, usize::from(*cut), true), whole);
    if let Some(link) = Link::restore(sent) {
        assert_eq!(saved(&link), *sent);
    }
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

fn saved(link: &Link) -> Vec<u8> {
    let mut bytes = Vec::new();
    link.save(&mut bytes);
    bytes
}

/// `moves`: the link is saved and restored after each piece.
fn events(bytes: &[u8], cut: usize, moves: bool) -> Events {
    let mut link = Link::sniffing();
    let (mut payloads, mut out, mut status) = (Vec::new(), Vec::new(), Status::Open);
    for piece in bytes.chunks(cut.max(1)) {
        status = link.feed(&mut piece.to_vec(), &LIMITS, &mut out, &mut |payload, _| {
            assert!(payload.framing != Framing::WsText || std::str::from_utf8(payload.bytes).is_ok());
            payloads.push((payload.bytes.to_vec(), payload.framing));
            Flow::Continue
        });
        if moves {
            link = Link::restore(&saved(&link)).expect("what a link saved");
        }
        if status == Status::Closing {
            break;
        }
    }
    Events { payloads, out, status, framing: link.framing(), error: link.error(), prefix: link.take_http_prefix() }
}
