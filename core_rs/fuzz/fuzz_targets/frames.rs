//! Any bytes as a frame: no decoder panics, and what one accepts comes back equal from its own notation and the other.

#![no_main]

use _core::wire::types::ClientFrame;
use _core::wire::{decode_client, json, message};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Ok(frame) = decode_client(data) {
        assert_returns(&frame);
    }
    if let Ok(frame) = json::decode_client(data) {
        assert_returns(&frame);
    }
    stored(data);
});

/// A frame survives both notations. Compared as text: two frames of different lifetimes have no `==`.
fn assert_returns(frame: &ClientFrame<'_>) {
    let frame_text = format!("{frame:?}");

    let mut binary = Vec::new();
    frame.encode(&mut binary);
    assert_eq!(binary.len(), frame.encoded_len());
    assert_eq!(format!("{:?}", decode_client(&binary).expect("from its own encoding")), frame_text);

    let mut json = Vec::new();
    frame.encode_json(&mut json);
    assert_eq!(format!("{:?}", json::decode_client(&json).expect("from its own encoding")), frame_text);
}

/// What a damaged disk could hand back as a stored message.
fn stored(data: &[u8]) {
    let mut out = Vec::new();
    let _ = message::put_message_json(&mut out, data, Some("bob"));
    for (user, device, _) in message::device_bodies(data) {
        out.clear();
        assert!(message::stored_for_device(data, user, device, &mut out));
    }
}
