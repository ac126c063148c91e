//! RFC 6455, 5.1 to 5.6: headers, masks, lengths, fragments, pings.

use super::*;
use crate::Payload;

/// A header with the given second byte and length bytes, then a mask; no payload.
fn header(first: u8, second: u8, length: &[u8]) -> Vec<u8> {
    [&[first, second], length, &MASK].concat()
}

fn payloads(bytes: &[u8]) -> Vec<(Vec<u8>, bool)> {
    let outcome = feed(&mut websocket(), bytes);
    assert_eq!((outcome.status, outcome.out.len()), (Status::Open, 0));
    outcome.payloads
}

#[test]
fn the_rfcs_examples_are_read_5_7() {
    let masked_hello = [0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58];
    assert_eq!(payloads(&masked_hello), [(b"Hello".to_vec(), true)]);
    let fragmented = [frame(TEXT, b"Hel"), frame(FINAL | CONTINUATION, b"lo")].concat();
    assert_eq!(payloads(&fragmented), [(b"Hello".to_vec(), true)]);
    let outcome = feed(&mut websocket(), &frame(FINAL | PING, b"Hello"));
    assert_eq!(outcome.out, [0x8a, 0x05, 0x48, 0x65, 0x6c, 0x6c, 0x6f]);
}

#[test]
fn a_frame_without_a_mask_fails_5_1() {
    fails_with(&[FINAL | TEXT, 0x05, 0x48, 0x65, 0x6c, 0x6c, 0x6f], 1002);
    fails_with(&[FINAL | PING, 0x00], 1002);
    fails_with(&[FINAL | CLOSE, 0x02, 0x03, 0xe8], 1002);
}

#[test]
fn each_reserved_bit_fails_5_2() {
    for bit in [0x10, 0x20, 0x40, 0x70] {
        for opcode in [CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG] {
            fails_with(&frame(FINAL | bit | opcode, b""), 1002);
        }
    }
}

#[test]
fn each_reserved_opcode_fails_5_2() {
    for opcode in (0x3..=0x7).chain(0xb..=0xf) {
        fails_with(&frame(FINAL | opcode, b""), 1002);
        fails_with(&frame(opcode, b"some"), 1002);
    }
}

#[test]
fn lengths_at_every_change_of_form_are_read_5_2() {
    for len in [0, 1, 125, 126, 127, 128, 0xfffe, 0xffff, 0x1_0000] {
        let payload: Vec<u8> = (0..len).map(|i| i as u8).collect();
        assert_eq!(payloads(&frame(FINAL | BINARY, &payload)), [(payload, false)], "{len}");
    }
}

#[test]
fn a_length_not_in_its_shortest_form_fails_5_2() {
    fails_with(&header(FINAL | BINARY, 0x80 | 126, &125u16.to_be_bytes()), 1002);
    fails_with(&header(FINAL | BINARY, 0x80 | 127, &0xffffu64.to_be_bytes()), 1002);
}

#[test]
fn a_length_with_its_highest_bit_fails_5_2() {
    fails_with(&header(FINAL | BINARY, 0x80 | 127, &(1u64 << 63).to_be_bytes()), 1002);
}

#[test]
fn every_mask_is_taken_off_5_3() {
    for mask in [[0, 0, 0, 0], [0xff, 0, 0, 1], [1, 2, 3, 4]] {
        let mut bytes = vec![FINAL | BINARY, 0x80 | 5];
        bytes.extend(mask);
        bytes.extend(b"masks".iter().zip(mask.iter().cycle()).map(|(byte, key)| byte ^ key));
        assert_eq!(payloads(&bytes), [(b"masks".to_vec(), false)]);
    }
}

#[test]
fn a_message_in_fragments_is_whole_5_4() {
    let bytes = [
        frame(BINARY, b"one "),
        frame(CONTINUATION, b""),
        frame(CONTINUATION, b"two "),
        frame(FINAL | CONTINUATION, b"three"),
        frame(FINAL | BINARY, b"next"),
    ];
    assert_eq!(payloads(&bytes.concat()), [(b"one two three".to_vec(), false), (b"next".to_vec(), false)]);
}

#[test]
fn empty_messages_and_empty_fragments_are_messages_5_4() {
    assert_eq!(payloads(&frame(FINAL | TEXT, b"")), [(vec![], true)]);
    let empty = [frame(TEXT, b""), frame(CONTINUATION, b""), frame(FINAL | CONTINUATION, b"")].concat();
    assert_eq!(payloads(&empty), [(vec![], true)]);
    let only_the_last = [frame(TEXT, b""), frame(FINAL | CONTINUATION, b"x")].concat();
    assert_eq!(payloads(&only_the_last), [(b"x".to_vec(), true)]);
}

#[test]
fn control_frames_between_fragments_are_answered_at_once_5_4() {
    let bytes = [frame(TEXT, b"a"), frame(FINAL | PING, b"1"), frame(FINAL | PONG, b"2"), frame(CONTINUATION, b"b")];
    let mut link = websocket();
    let outcome = feed(&mut link, &bytes.concat());
    assert_eq!(outcome.out, [0x8a, 1, b'1']);
    assert_eq!(outcome.payloads, []);
    let bytes = [frame(FINAL | PING, b"3"), frame(FINAL | CONTINUATION, b"c")].concat();
    let outcome = feed_cut(&mut link, &bytes, &[1; 40], &LIMITS);
    assert_eq!(outcome.out, [0x8a, 1, b'3']);
    assert_eq!(outcome.payloads, [(b"abc".to_vec(), true)]);
}

#[test]
fn a_continuation_of_nothing_fails_5_4() {
    fails_with(&frame(FINAL | CONTINUATION, b"x"), 1002);
    fails_with(&frame(CONTINUATION, b""), 1002);
    fails_with(&[frame(FINAL | TEXT, b"whole"), frame(FINAL | CONTINUATION, b"x")].concat(), 1002);
    let after_a_fragmented_one = [frame(TEXT, b"a"), frame(FINAL | CONTINUATION, b"b"), frame(CONTINUATION, b"c")];
    fails_with(&after_a_fragmented_one.concat(), 1002);
}

#[test]
fn a_new_message_inside_a_fragmented_one_fails_5_4() {
    for opcode in [TEXT, BINARY] {
        fails_with(&[frame(TEXT, b"a"), frame(FINAL | opcode, b"b")].concat(), 1002);
        fails_with(&[frame(BINARY, b""), frame(opcode, b"b")].concat(), 1002);
    }
}

#[test]
fn a_control_frame_has_at_most_125_bytes_5_5() {
    for opcode in [CLOSE, PING, PONG] {
        fails_with(&frame(FINAL | opcode, &[b'x'; 126]), 1002);
        fails_with(&header(FINAL | opcode, 0x80 | 127, &0x1_0000u64.to_be_bytes()), 1002);
    }
    let outcome = feed(&mut websocket(), &frame(FINAL | PING, &[b'x'; 125]));
    assert_eq!(outcome.out.len(), 2 + 125);
}

#[test]
fn a_control_frame_in_fragments_fails_5_5() {
    for opcode in [CLOSE, PING, PONG] {
        fails_with(&frame(opcode, b""), 1002);
    }
}

#[test]
fn each_ping_is_answered_with_its_payload_in_order_5_5_2() {
    let bytes: Vec<u8> = (0..10).flat_map(|i| frame(FINAL | PING, &[i; 3])).collect();
    let expected: Vec<u8> = (0..10).flat_map(|i| [0x8a, 3, i, i, i]).collect();
    assert_eq!(feed_cut(&mut websocket(), &bytes, &[1; 200], &LIMITS).out, expected);
}

#[test]
fn a_pong_that_nobody_asked_for_is_ignored_5_5_3() {
    assert_eq!(payloads(&[frame(FINAL | PONG, b"hm"), frame(FINAL | BINARY, b"x")].concat()), [(b"x".to_vec(), false)]);
}

#[test]
fn answers_and_pongs_keep_the_order_of_what_they_answer() {
    let mut bytes = [frame(FINAL | BINARY, b"1"), frame(FINAL | PING, b"2"), frame(FINAL | BINARY, b"3")].concat();
    let mut out = Vec::new();
    websocket().feed(&mut bytes, &LIMITS, &mut out, &mut |payload: Payload<'_>, out: &mut Vec<u8>| {
        out.extend_from_slice(payload.bytes);
        Flow::Continue
    });
    assert_eq!(out, [b'1', 0x8a, 1, b'2', b'3']);
}

#[test]
fn a_message_at_the_limit_is_read_and_one_byte_more_is_an_error_7_4_1() {
    let limits = LinkLimits { frame_bytes: 1000, ..LIMITS };
    let at = vec![b'a'; 1000];
    let above = vec![b'a'; 1001];
    let halves = |payload: &[u8]| {
        let (a, b) = payload.split_at(500);
        [frame(TEXT, a), frame(CONTINUATION, b""), frame(FINAL | CONTINUATION, b)].concat()
    };
    for bytes in [frame(FINAL | BINARY, &at), halves(&at)] {
        let outcome = feed_cut(&mut websocket(), &bytes, &[], &limits);
        assert_eq!(outcome.payloads.len(), 1);
        assert_eq!(outcome.payloads[0].0, at);
    }
    for bytes in [frame(FINAL | BINARY, &above), halves(&above)] {
        let outcome = feed_cut(&mut websocket(), &bytes, &[], &limits);
        assert_eq!((outcome.status, outcome.payloads.len(), outcome.out.len()), (Status::Closing, 0, 0));
        assert_eq!(outcome.error, Some(("too_large", "a frame of 1001 bytes; the limit is 1000".to_owned())));
    }
}

#[test]
fn a_message_above_the_limit_fails_with_its_header_before_any_payload() {
    let outcome = feed(&mut websocket(), &header(FINAL | BINARY, 0x80 | 127, &(u64::MAX >> 1).to_be_bytes()));
    assert_eq!((outcome.status, outcome.error.map(|error| error.0)), (Status::Closing, Some("too_large")));
}

#[test]
fn the_error_about_a_large_first_message_is_framed_like_it_and_the_close_follows() {
    for (opcode, framing) in [(TEXT, Framing::WsText), (BINARY, Framing::WsBinary)] {
        let mut link = websocket();
        assert!(link.undecided());
        let outcome = feed(&mut link, &header(FINAL | opcode, 0x80 | 127, &(1u64 << 40).to_be_bytes()));
        assert_eq!((outcome.framing, link.undecided()), (framing, false));
        let mut out = Vec::new();
        link.close(&mut out, 1009, "too_large");
        assert_eq!(close_frame(&out), (1009, "too_large".to_owned()));
    }
}

#[test]
fn after_our_close_a_large_message_is_no_error() {
    let mut link = websocket();
    link.close(&mut Vec::new(), 1000, "");
    let outcome = feed(&mut link, &header(FINAL | BINARY, 0x80 | 127, &(1u64 << 40).to_be_bytes()));
    assert_eq!((outcome.status, outcome.error), (Status::Open, None));
}

#[test]
fn what_is_sent_is_framed_as_the_first_message_was() {
    let mut link = websocket();
    assert_eq!(link.framing(), Framing::WsBinary);
    feed(&mut link, &frame(FINAL | PING, b""));
    feed(&mut link, &frame(TEXT, b"{"));
    assert_eq!(link.framing(), Framing::WsBinary, "not said yet");
    assert_eq!(feed(&mut link, &frame(FINAL | CONTINUATION, b"}")).framing, Framing::WsText);
    assert_eq!(feed(&mut link, &frame(FINAL | BINARY, b"x")).framing, Framing::WsText);
    let mut link = websocket();
    assert_eq!(feed(&mut link, &frame(FINAL | BINARY, b"x")).framing, Framing::WsBinary);
    assert_eq!(feed(&mut link, &frame(FINAL | TEXT, b"x")).framing, Framing::WsBinary);
}

#[test]
fn stop_leaves_the_rest_unread() {
    let mut link = websocket();
    let bytes = [frame(FINAL | TEXT, b"stop"), frame(FINAL | TEXT, b"more"), frame(FINAL | PING, b"")].concat();
    let outcome = feed(&mut link, &bytes);
    assert_eq!(outcome.status, Status::Closing);
    assert_eq!(outcome.payloads, [(b"stop".to_vec(), true)]);
    assert!(outcome.out.is_empty());
    assert_eq!(outcome.framing, Framing::WsText);
}
