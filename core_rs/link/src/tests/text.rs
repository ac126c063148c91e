//! RFC 6455, 8.1: text is UTF-8, and fails with the first byte that cannot be.

use proptest::prelude::*;

use super::*;

/// Where a text in two fragments fails if it comes a byte at a time: how many bytes of payload were taken.
fn fails_after(payload: &[u8], cut: usize) -> Option<usize> {
    let (a, b) = payload.split_at(cut);
    let mut link = websocket();
    let first = frame(TEXT, a);
    let second = frame(FINAL | CONTINUATION, b);
    let mut taken = 0;
    for (bytes, header) in [(first, 6), (second, 6)] {
        for (at, byte) in bytes.iter().enumerate() {
            taken += usize::from(at >= header);
            let outcome = feed(&mut link, &[*byte]);
            if outcome.status == Status::Closing {
                assert_eq!(close_frame(&outcome.out).0, 1007);
                return Some(taken);
            }
        }
    }
    None
}

#[test]
fn characters_may_be_cut_anywhere_8_1() {
    let text = "κόσμε 𝄞 €".as_bytes();
    for cut in 0..=text.len() {
        let bytes = [frame(TEXT, &text[..cut]), frame(FINAL | CONTINUATION, &text[cut..])].concat();
        for size in 1..12 {
            let outcome = feed_cut(&mut websocket(), &bytes, &[size; 60], &LIMITS);
            assert_eq!(outcome.payloads, [(text.to_vec(), true)], "cut at {cut}, {size} at a time");
        }
    }
}

#[test]
fn the_first_byte_that_cannot_be_utf8_fails_it_8_1() {
    for (bad, at) in [
        (&b"\xff"[..], 1),
        (b"\x80", 1),
        (b"\xc0\xaf", 1),         // overlong
        (b"\xe0\x80\xaf", 2),     // overlong
        (b"\xf0\x80\x80\xaf", 2), // overlong
        (b"\xed\xa0\x80", 2),     // a surrogate
        (b"\xf4\x90\x80\x80", 2), // above U+10FFFF
        (b"\xf8\x88\x80\x80\x80", 1),
        (b"\xe2\x28\xa1", 2),
        (b"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xed\xa0\x80edited", 13),
    ] {
        for before in ["", "abc", "κ"] {
            let payload = [before.as_bytes(), bad, b" and more"].concat();
            for cut in 0..payload.len() {
                assert_eq!(fails_after(&payload, cut), Some(before.len() + at), "{bad:02x?} cut at {cut}");
            }
        }
    }
}

#[test]
fn it_fails_in_the_middle_of_a_frame_8_1() {
    let bytes = frame(FINAL | TEXT, &[b"abc\xff".to_vec(), vec![b'd'; 100]].concat());
    let outcome = feed(&mut websocket(), &bytes[..12]);
    assert_eq!(outcome.status, Status::Closing);
    assert_eq!(close_frame(&outcome.out), (1007, "text that is not UTF-8".to_owned()));
}

#[test]
fn a_text_that_ends_inside_a_character_fails_8_1() {
    fails_with(&frame(FINAL | TEXT, b"abc\xe2\x82"), 1007);
    fails_with(&[frame(TEXT, b"abc\xe2"), frame(FINAL | CONTINUATION, b"\x82")].concat(), 1007);
    fails_with(&[frame(TEXT, b"abc\xe2\x82"), frame(FINAL | CONTINUATION, b"")].concat(), 1007);
}

#[test]
fn binary_may_be_anything() {
    let outcome = feed(&mut websocket(), &[frame(BINARY, b"\xff\xe2"), frame(FINAL | CONTINUATION, b"\x80")].concat());
    assert_eq!(outcome.payloads, [(b"\xff\xe2\x80".to_vec(), false)]);
}

proptest! {
    #[test]
    fn text_passes_if_and_only_if_it_is_utf8(
        payload in prop_oneof![
            "\\PC{0,30}".prop_map(String::into_bytes),
            proptest::collection::vec(prop_oneof![Just(0xe2u8), Just(0x82), Just(0xac), Just(b'a'), any::<u8>()], 0..12),
        ],
        size in 1usize..9,
        at in 0usize..30,
    ) {
        let (a, b) = payload.split_at(at.min(payload.len()));
        let bytes = [frame(TEXT, a), frame(FINAL | PING, b"\xff"), frame(FINAL | CONTINUATION, b)].concat();
        let outcome = feed_cut(&mut websocket(), &bytes, &[size; 60], &LIMITS);
        prop_assert_eq!(outcome.payloads.len() == 1, str::from_utf8(&payload).is_ok());
        prop_assert_eq!(outcome.status == Status::Open, str::from_utf8(&payload).is_ok());
    }
}
