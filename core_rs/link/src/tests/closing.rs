//! RFC 6455, 5.5.1 and 7: close frames, from either side.

use super::*;

fn close_payload(code: u16, reason: &[u8]) -> Vec<u8> {
    [&code.to_be_bytes(), reason].concat()
}

/// The peer closes first, with `payload`.
fn closed_by_peer(payload: &[u8]) -> Outcome {
    feed(&mut websocket(), &frame(FINAL | CLOSE, payload))
}

#[test]
fn a_close_is_answered_with_its_code_and_ends_the_reading_5_5_1() {
    let mut link = websocket();
    let bytes = [frame(FINAL | CLOSE, &close_payload(1000, b"bye")), frame(FINAL | TEXT, b"late")].concat();
    let outcome = feed(&mut link, &bytes);
    assert_eq!(outcome.status, Status::Closing);
    assert_eq!(outcome.payloads, []);
    assert_eq!(outcome.out, [0x88, 2, 0x03, 0xe8]);
    let after = feed(&mut link, &frame(FINAL | PING, b""));
    assert_eq!((after.status, after.out.len()), (Status::Closing, 0));
}

#[test]
fn a_close_without_a_code_is_answered_without_one_5_5_1() {
    assert_eq!(closed_by_peer(b"").out, [0x88, 0]);
}

#[test]
fn half_a_code_fails_5_5_1() {
    fails_with(&frame(FINAL | CLOSE, b"\x03"), 1002);
}

#[test]
fn every_code_that_may_be_sent_is_answered_and_no_other_7_4() {
    for code in 0..=u16::MAX {
        let allowed = matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999);
        let outcome = closed_by_peer(&close_payload(code, b""));
        assert_eq!(outcome.status, Status::Closing);
        assert_eq!(close_frame(&outcome.out).0, if allowed { code } else { 1002 });
    }
}

#[test]
fn a_reason_that_is_not_utf8_fails_with_1007_7_1_6() {
    fails_with(&frame(FINAL | CLOSE, &close_payload(1000, b"\xce\xba\xff")), 1007);
    fails_with(&frame(FINAL | CLOSE, &close_payload(1000, b"\xe2\x82")), 1007);
}

#[test]
fn the_longest_reason_is_read_5_5() {
    assert_eq!(close_frame(&closed_by_peer(&close_payload(1000, &[b'x'; 123])).out), (1000, String::new()));
}

#[test]
fn a_close_inside_a_fragmented_message_closes_5_4() {
    let outcome = feed(&mut websocket(), &[frame(TEXT, b"never"), frame(FINAL | CLOSE, b"")].concat());
    assert_eq!((outcome.status, outcome.payloads.len()), (Status::Closing, 0));
    assert_eq!(outcome.out, [0x88, 0]);
}

#[test]
fn after_our_close_only_the_peers_is_awaited_7_1_2() {
    let mut link = websocket();
    feed(&mut link, &frame(TEXT, b"half of "));
    let mut out = Vec::new();
    link.close(&mut out, 1001, "restarting");
    assert_eq!(close_frame(&out), (1001, "restarting".to_owned()));
    let bytes = [
        frame(FINAL | PING, b"still there?"),
        frame(CONTINUATION, b"a message"),
        frame(FINAL | CONTINUATION, b" that crossed it"),
        frame(FINAL | BINARY, b"and another"),
    ]
    .concat();
    let outcome = feed_cut(&mut link, &bytes, &[5; 10], &LIMITS);
    assert_eq!((outcome.status, outcome.payloads.len(), outcome.out.len()), (Status::Open, 0, 0));
    let outcome = feed(&mut link, &frame(FINAL | CLOSE, &close_payload(1001, b"")));
    assert_eq!((outcome.status, outcome.out.len()), (Status::Closing, 0), "not answered a second time");
}

#[test]
fn our_close_in_the_middle_of_a_frame_keeps_the_frames_bounds() {
    let mut link = websocket();
    let bytes = frame(FINAL | BINARY, &[FINAL | CLOSE; 200]);
    feed(&mut link, &bytes[..50]);
    link.close(&mut Vec::new(), 1000, "");
    assert_eq!(feed(&mut link, &bytes[50..]).status, Status::Open);
    assert_eq!(feed(&mut link, &frame(FINAL | CLOSE, b"")).status, Status::Closing);
}

#[test]
fn after_our_close_a_message_of_any_length_is_passed_over_unheld_i6() {
    let mut link = websocket();
    link.close(&mut Vec::new(), 1000, "");
    let limits = LinkLimits { frame_bytes: 10, ..LIMITS };
    let outcome = feed_cut(&mut link, &frame(FINAL | BINARY, &[0; 5000]), &[100; 30], &limits);
    assert_eq!((outcome.status, outcome.out.len()), (Status::Open, 0));
}

#[test]
fn after_our_close_a_violation_ends_it_without_a_second_close_frame() {
    let mut link = websocket();
    link.close(&mut Vec::new(), 1000, "");
    let outcome = feed(&mut link, &frame(FINAL | 0x3, b""));
    assert_eq!((outcome.status, outcome.out.len()), (Status::Closing, 0));
}

#[test]
fn closing_twice_sends_one_close_frame() {
    let mut link = websocket();
    let mut out = Vec::new();
    link.close(&mut out, 1000, "first");
    let len = out.len();
    link.close(&mut out, 1001, "second");
    assert_eq!(out.len(), len);
}

#[test]
fn closing_after_the_peer_closed_or_failed_sends_nothing_more() {
    for bytes in [frame(FINAL | CLOSE, b""), frame(FINAL | 0x3, b"")] {
        let mut link = websocket();
        feed(&mut link, &bytes);
        let mut out = Vec::new();
        link.close(&mut out, 1000, "");
        assert!(out.is_empty(), "{out:?}");
    }
}

#[test]
fn closing_after_stop_sends_the_close_frame() {
    let mut link = websocket();
    assert_eq!(feed(&mut link, &frame(FINAL | BINARY, b"stop")).status, Status::Closing);
    let mut out = Vec::new();
    link.close(&mut out, 4002, "hello expected");
    assert_eq!(close_frame(&out), (4002, "hello expected".to_owned()));
    assert_eq!(feed(&mut link, &frame(FINAL | BINARY, b"late")).status, Status::Closing);
}

#[test]
fn a_long_reason_is_cut_between_characters_5_5() {
    let mut out = Vec::new();
    websocket().close(&mut out, 1000, &"é".repeat(100));
    assert_eq!(out[1], 124);
    assert_eq!(close_frame(&out), (1000, "é".repeat(61)));
}

#[test]
fn closing_a_link_that_is_no_websocket_writes_nothing_and_ends_it() {
    for mut link in [Link::sniffing(), Link::raw()] {
        let mut out = Vec::new();
        link.close(&mut out, 1000, "bye");
        assert!(out.is_empty(), "{out:?}");
        let outcome = feed(&mut link, HANDSHAKE.as_bytes());
        assert_eq!((outcome.status, outcome.out.len(), outcome.error), (Status::Closing, 0, None));
    }
}
