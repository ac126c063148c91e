//! What a link holds: nothing while nothing is incomplete (I6).

use super::*;
use crate::link::State;

/// Bytes on the heap are behind these boxes only.
fn holds_nothing(link: &Link) -> bool {
    match &link.state {
        State::Sniffing(head) => head.is_none(),
        State::Raw(raw) => raw.is_idle(),
        State::WebSocket(websocket) => websocket.is_idle(),
        State::Http(_) | State::Ended(_) => false,
    }
}

#[test]
fn a_link_is_at_most_64_bytes() {
    assert!(size_of::<Link>() <= 64, "{}", size_of::<Link>());
    assert_eq!(size_of::<Link>(), 24, "not wrong, but the documentation of Link says so");
}

#[test]
fn an_idle_link_holds_no_heap() {
    let mut link = websocket();
    assert!(holds_nothing(&link));
    for bytes in [
        frame(FINAL | BINARY, b"whole"),
        [frame(TEXT, b"in "), frame(FINAL | PING, b"?"), frame(FINAL | CONTINUATION, b"two")].concat(),
    ] {
        for cut in 0..bytes.len() {
            feed_cut(&mut link, &bytes, &[cut], &LIMITS);
            assert!(holds_nothing(&link), "cut at {cut}");
        }
        feed(&mut link, &bytes[..3]);
        assert!(!holds_nothing(&link));
        feed(&mut link, &bytes[3..]);
        assert!(holds_nothing(&link));
    }
    let mut link = Link::sniffing();
    assert!(holds_nothing(&link));
    feed_cut(&mut link, b"PYRT\x01\x03abc\x02de", &[1, 1, 4, 1, 2], &LIMITS);
    assert!(holds_nothing(&link));
}
