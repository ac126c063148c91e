//! Messages as the log keeps them.

use std::borrow::Cow;

use proptest::prelude::*;

use super::any_group::stored_change;
use crate::message::*;
use crate::types::*;

fn message<'a>(body: &'a [u8], to: &'a str) -> Message<'a> {
    Message {
        conversation: *b"0123456789abcdef",
        seq: 300,
        sender: "ann",
        device: 2,
        id: b"\x01\x02",
        time: 1_700_000_000_000,
        body,
        media: vec![&b"m1"[..], &b"m2"[..]],
        to,
        change: None,
    }
}

fn bodies() -> Vec<DeviceBody<'static>> {
    [("bob", 1, &b"one"[..]), ("bob", 2, b""), ("ann", 1, b"three")]
        .map(|(user, device, body)| DeviceBody { user: Cow::Borrowed(user), device, body: Cow::Borrowed(body) })
        .to_vec()
}

#[test]
fn a_stored_message_reads_back_and_its_frame_is_what_the_encoder_makes() {
    let mut stored = Vec::new();
    encode_stored(&message(b"body", ""), &mut stored);
    assert_eq!(decode_stored(&stored).unwrap(), message(b"body", ""));

    for to in [None, Some("bob")] {
        let (mut frame, mut expected) = (Vec::new(), Vec::new());
        put_message_frame(&mut frame, &stored, to);
        ServerFrame::Message(message(b"body", to.unwrap_or(""))).encode(&mut expected);
        assert_eq!(frame, expected);
        assert_eq!(frame.len(), message_frame_len(stored.len(), to));

        let (mut json, mut expected) = (Vec::new(), Vec::new());
        put_message_json(&mut json, &stored, to).unwrap();
        ServerFrame::Message(message(b"body", to.unwrap_or(""))).encode_json(&mut expected);
        assert_eq!(json, expected);
    }
}

#[test]
fn stored_message_around_its_body_is_the_stored_message_without_it() {
    for body in [&b"body"[..], b"", &[7; 300]] {
        let (mut whole, mut around) = (Vec::new(), Vec::new());
        encode_stored(&message(body, "bob"), &mut whole);
        let place = encode_stored_around(&message(body, "bob"), &mut around);
        assert!(around.len() + body.len() == whole.len() && place < around.len());
        around.splice(place..place, body.iter().copied());
        assert_eq!(around, whole);
    }
}

#[test]
fn each_device_gets_its_own_body_and_no_other() {
    let mut stored = Vec::new();
    encode_stored_bodies(&message(b"", ""), &bodies(), &mut stored);
    assert_eq!(decode_stored(&stored).unwrap(), message(b"", ""));
    assert_eq!(device_bodies(&stored).count(), 3);

    for (user, device, body) in [("bob", 1, &b"one"[..]), ("bob", 2, b""), ("ann", 1, b"three")] {
        let mut own = b"before".to_vec();
        assert!(stored_for_device(&stored, user, device, &mut own));
        assert_eq!(decode_stored(&own[6..]).unwrap(), message(body, ""));
        assert_eq!(device_bodies(&own[6..]).count(), 0, "no other device's body leaves");
    }
    let mut none = Vec::new();
    assert!(!stored_for_device(&stored, "bob", 3, &mut none));
    assert!(none.is_empty());
}

proptest! {
    #[test]
    fn a_stored_change_reads_back_and_its_frame_is_what_the_encoder_makes(change in stored_change()) {
        let message = || Message { media: Vec::new(), change: Some(Box::new(change.clone())), ..message(b"", "") };
        let mut stored = Vec::new();
        encode_stored(&message(), &mut stored);
        assert_eq!(decode_stored(&stored).unwrap(), message());
        let (mut frame, mut expected) = (Vec::new(), Vec::new());
        put_message_frame(&mut frame, &stored, None);
        ServerFrame::Message(message()).encode(&mut expected);
        assert_eq!(frame, expected);
    }

    #[test]
    fn damaged_stored_bytes_never_panic(mut junk in proptest::collection::vec(any::<u8>(), 0..200), at in 0usize..200) {
        let _ = decode_stored(&junk);
        let mut stored = Vec::new();
        encode_stored_bodies(&message(b"", ""), &bodies(), &mut stored);
        let at = at % stored.len();
        stored.truncate(at);
        stored.append(&mut junk);
        let _ = decode_stored(&stored);
        let _ = device_bodies(&stored).count();
        let _ = stored_for_device(&stored, "bob", 1, &mut Vec::new());
        let _ = put_message_json(&mut Vec::new(), &stored, None);
    }
}
