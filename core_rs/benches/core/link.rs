//! Frame boundaries: raw frames and masked WebSocket messages out of a read buffer, against copying it once.

use std::hint::black_box;

use _core::link::{Flow, Link, LinkLimits, Status};

use crate::measure::Bench;

const LIMITS: LinkLimits = LinkLimits { frame_bytes: 256 << 10, http_head_bytes: 8 << 10 };
const FRAMES: usize = 64;
const PAYLOAD: [u8; 200] = [0x33; 200];
const HANDSHAKE: &[u8] = b"GET /v1 HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";

pub fn cases(bench: &mut Bench) {
    let mut raw = Vec::new();
    for _ in 0..FRAMES {
        raw.extend_from_slice(&[0xc8, 0x01]); // 200
        raw.extend_from_slice(&PAYLOAD);
    }
    feed(bench, "raw frame boundaries", Link::raw(), &raw);

    let mut websocket = Vec::new();
    for _ in 0..FRAMES {
        websocket.extend_from_slice(&[0x82, 0x80 | 126, 0, 200, 1, 2, 3, 4]);
        websocket.extend(PAYLOAD.iter().zip([1, 2, 3, 4].iter().cycle()).map(|(byte, mask)| byte ^ mask));
    }
    let mut link = Link::sniffing();
    let status = link.feed(&mut HANDSHAKE.to_vec(), &LIMITS, &mut Vec::new(), &mut |_, _| panic!("no payload yet"));
    assert_eq!(status, Status::Open);
    feed(bench, "WebSocket messages of 200 B, unmasked", link, &websocket);
}

fn feed(bench: &mut Bench, name: &str, mut link: Link, bytes: &[u8]) {
    // Feeding unmasks in place, so that both sides begin with a fresh copy; the yardstick is that copy alone.
    let (mut a, mut b, mut out) = (bytes.to_vec(), bytes.to_vec(), Vec::new());
    let copying = || {
        copy(&mut a, black_box(bytes));
        black_box(&a);
    };
    bench.compare(name, FRAMES as u32, ("copying the bytes", copying), || {
        copy(&mut b, black_box(bytes));
        let mut seen = 0;
        let status = link.feed(&mut b, &LIMITS, &mut out, &mut |payload, _| {
            seen += usize::from(payload.bytes == PAYLOAD);
            Flow::Continue
        });
        assert_eq!((status, seen), (Status::Open, FRAMES));
    });
    assert!(out.is_empty());
}

/// In pieces: for larger ones libc takes an instruction (`rep movsb`) that is many times slower at some addresses.
fn copy(to: &mut [u8], from: &[u8]) {
    to.chunks_mut(1024).zip(from.chunks(1024)).for_each(|(to, from)| to.copy_from_slice(from));
}
