//! What a link holds: nothing while nothing is incomplete, and never much more than has arrived (I6).

use super::*;
use crate::{State, put_header};

/// Most bytes on the heap for an incomplete frame, beside what arrived of it.
const OVERHEAD: usize = 128;

/// Bytes on the heap.
fn held(link: &Link) -> usize {
    match &link.state {
        State::Sniffing(None) | State::Ended(None) => 0,
        State::Raw(raw) => raw.held(),
        State::WebSocket(websocket) => websocket.held(),
        State::Sniffing(Some(_)) | State::Http(_) | State::Ended(Some(_)) => panic!("not asked here"),
    }
}

#[test]
fn a_link_is_at_most_64_bytes() {
    assert!(size_of::<Link>() <= 64, "{}", size_of::<Link>());
    assert_eq!(size_of::<Link>(), 24, "not wrong, but the documentation of Link says so");
}

#[test]
fn an_idle_link_holds_no_heap_i6() {
    assert_eq!(held(&Link::sniffing()), 0);
    let mut link = websocket();
    assert_eq!(held(&link), 0);
    for bytes in [
        frame(FINAL | BINARY, b"whole"),
        [frame(TEXT, b"in "), frame(FINAL | PING, b"?"), frame(FINAL | CONTINUATION, b"two")].concat(),
    ] {
        for cut in 0..bytes.len() {
            feed_cut(&mut link, &bytes, &[cut], &LIMITS);
            assert_eq!(held(&link), 0, "cut at {cut}");
        }
        feed(&mut link, &bytes[..3]);
        assert_ne!(held(&link), 0);
        feed(&mut link, &bytes[3..]);
        assert_eq!(held(&link), 0);
    }
    let mut link = Link::sniffing();
    feed_cut(&mut link, b"PYRT\x01\x03abc\x02de", &[1, 1, 4, 1, 2], &LIMITS);
    assert_eq!(held(&link), 0);
}

#[test]
fn what_arrived_is_held_and_what_was_announced_is_not_i6() {
    let mut raw = Vec::new();
    put_header(&mut raw, Framing::Raw, LIMITS.frame_bytes);
    for (mut link, header) in
        [(websocket(), frame(FINAL | BINARY, &vec![0; 0x1_0000])[..14].to_vec()), (Link::raw(), raw)]
    {
        feed(&mut link, &header);
        assert!(held(&link) <= OVERHEAD);
        for arrived in 1..2000 {
            feed(&mut link, b"x");
            assert!(held(&link) <= OVERHEAD + 2 * arrived + 8, "{} for {arrived}", held(&link));
        }
    }
}

#[test]
fn many_small_fragments_are_held_within_the_limit_and_grow_by_doubling_i6() {
    let mut link = websocket();
    feed(&mut link, &frame(TEXT, b"x"));
    let mut growths = 0;
    let mut before = held(&link);
    for arrived in 2..=LIMITS.frame_bytes {
        feed(&mut link, &frame(CONTINUATION, b"x"));
        let now = held(&link);
        assert!(now <= OVERHEAD + (2 * arrived).clamp(8, LIMITS.frame_bytes));
        growths += usize::from(now != before);
        before = now;
    }
    assert!(growths <= 16, "{growths}");
}

#[test]
fn empty_fragments_without_end_hold_nothing_more_i6() {
    let mut link = websocket();
    feed(&mut link, &frame(BINARY, b""));
    for _ in 0..1000 {
        feed(&mut link, &frame(CONTINUATION, b""));
        assert!(held(&link) <= OVERHEAD);
    }
}

#[test]
fn our_close_lets_go_of_what_was_held_i6() {
    let mut link = websocket();
    feed(&mut link, &frame(BINARY, &[0; 5000]));
    assert!(held(&link) > 5000);
    link.close(&mut Vec::new(), 1000, "");
    assert!(held(&link) <= OVERHEAD);
}
