//! Any bytes as a client frame in both notations, and as a stored message: nothing panics, and what is read is written
//! and read back the same.
#![no_main]

use wire::types::ClientFrame;
use wire::{WireError, codes, decode_client, json, message};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    for read in [decode_client(data), json::decode_client(data)] {
        match read {
            Ok(frame) => round_trip(&frame),
            Err(error) => explains_itself(&error),
        }
    }
    stored(data);
});

fn round_trip<'a>(frame: &ClientFrame<'a>) {
    let (mut bytes, mut text) = (Vec::new(), Vec::new());
    frame.encode(&mut bytes);
    frame.encode_json(&mut text);
    assert_eq!(bytes.len(), frame.encoded_len());
    assert_eq!(decode_client(&bytes).as_ref(), Ok(frame));
    assert_eq!(json::decode_client(&text).as_ref(), Ok(frame));
}

fn explains_itself(error: &WireError) {
    assert!(codes::find(error.code).is_some(), "{error}");
    assert!(!error.message.is_empty());
    assert!(error.id.len() <= 32);
}

fn stored(data: &[u8]) {
    let Ok(read) = message::decode_stored(data) else { return };
    let mut again = Vec::new();
    message::encode_stored(&read, &mut again);
    assert_eq!(message::decode_stored(&again), Ok(read));

    let mut frame = Vec::new();
    message::put_message_frame(&mut frame, data, Some("bob"));
    assert_eq!(frame.len(), message::message_frame_len(data.len(), Some("bob")));
    assert!(message::put_message_json(&mut Vec::new(), data, Some("bob")).is_ok());

    if let Some((user, device, body)) = message::device_bodies(data).next() {
        let mut own = Vec::new();
        assert!(message::stored_for_device(data, user, device, &mut own));
        assert_eq!(message::device_bodies(&own).count(), 0);
        if !body.is_empty() {
            assert_eq!(message::decode_stored(&own).map(|message| message.body), Ok(body));
        }
    }
}
