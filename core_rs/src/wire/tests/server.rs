//! Server frames, in both notations, as the schema has them.

use std::borrow::Cow;

use proptest::prelude::*;
use smallvec::smallvec;

use super::any::server_frame;
use super::schema::SERVER;
use crate::wire::types::*;

proptest! {
    #[test]
    fn every_frame_is_encoded_as_the_schema_encodes_it(frame in server_frame()) {
        let mut bytes = b"before".to_vec();
        frame.encode(&mut bytes);
        let bytes = &bytes[6..];
        assert_eq!(frame.encoded_len(), bytes.len());
        assert_eq!(&SERVER.encode(&SERVER.decode(bytes).unwrap()), bytes);
    }

    #[test]
    fn the_json_of_every_frame_says_the_same_as_its_protobuf(frame in server_frame()) {
        let (mut bytes, mut json) = (Vec::new(), Vec::new());
        frame.encode(&mut bytes);
        frame.encode_json(&mut json);
        assert_eq!(SERVER.read_json(&json), SERVER.decode(&bytes));
    }
}

/// Every field with a value of its own, by the names of the schema: a field under another's number or name shows.
#[test]
fn every_field_stands_under_its_own_name() {
    let conversation = *b"0123456789abcdef";
    let id64 = "MDEyMzQ1Njc4OWFiY2RlZg==";
    let list = DeviceList { user: Cow::Borrowed("bob"), version: 7, devices: smallvec![1, 300] };
    let limits = Limits {
        body_bytes: 1,
        frame_bytes: 2,
        id_bytes: 3,
        window_messages: 4,
        window_bytes: 5,
        unaccepted_messages: 6,
        unaccepted_bytes: 7,
        devices: 8,
        repeats: 9,
        idle_ms: 10,
        hold_ms: 11,
    };
    let frames = [
        (
            ServerFrame::Welcome(Welcome {
                user: "ann",
                device: 2,
                time: 3,
                limits,
                pending_messages: 12,
                pending_conversations: 13,
                server: "s",
                receive: true,
                receipts: 14,
            }),
            r#"{"welcome":{"protocol":1,"user":"ann","device":2,"time":3,"limits":{"bodyBytes":1,"frameBytes":2,"idBytes":3,"windowMessages":4,"windowBytes":5,"unacceptedMessages":6,"unacceptedBytes":7,"devices":8,"repeats":9,"idleMs":10,"holdMs":11},"pending":{"messages":12,"conversations":13},"server":"s","receive":true,"receipts":14}}"#.to_owned(),
        ),
        (
            ServerFrame::Accepted { id: b"\x01", conversation, seq: 2, time: 3 },
            format!(r#"{{"accepted":{{"id":"AQ==","conversation":"{id64}","seq":2,"time":3}}}}"#),
        ),
        (
            ServerFrame::Message(Message {
                conversation,
                seq: (1 << 53) - 1,
                sender: "ann",
                device: 2,
                id: b"\x01",
                time: 1 << 53,
                body: b"\xff\xfe",
                media: vec![&b"m"[..], &b"n"[..]],
                to: "bob",
            }),
            format!(
                r#"{{"message":{{"conversation":"{id64}","seq":9007199254740991,"sender":"ann","device":2,"id":"AQ==","time":"9007199254740992","body":"//4=","media":["bQ==","bg=="],"to":"bob"}}}}"#
            ),
        ),
        (
            ServerFrame::Receipt { conversation, user: "bob", delivered: 2, read: 1, version: 9 },
            format!(r#"{{"receipt":{{"conversation":"{id64}","user":"bob","delivered":2,"read":1,"version":9}}}}"#),
        ),
        (
            ServerFrame::Skip { conversation, from: 2, to: 3, reason: SkipReason::NoBody, user: "bob", version: 9 },
            format!(
                r#"{{"skip":{{"conversation":"{id64}","from":2,"to":3,"reason":"NO_BODY","user":"bob","version":9}}}}"#
            ),
        ),
        (
            ServerFrame::Error(ErrorFrame {
                code: "devices_changed",
                message: Cow::Borrowed("a \"b\"\n"),
                retry: Retry::Changed,
                retry_ms: 4,
                id: b"\x01",
                conversation: Some(conversation),
                lists: vec![list.clone()],
            }),
            format!(
                r#"{{"error":{{"code":"devices_changed","message":"a \"b\"\n","retry":"RETRY_CHANGED","retryMs":4,"id":"AQ==","conversation":"{id64}","lists":[{{"user":"bob","version":7,"devices":[1,300]}}]}}}}"#
            ),
        ),
        (ServerFrame::Ping { nonce: 0 }, r#"{"ping":{}}"#.to_owned()),
        (ServerFrame::Pong { nonce: 1, time: 2 }, r#"{"pong":{"nonce":1,"time":2}}"#.to_owned()),
        (ServerFrame::Replaced, r#"{"replaced":{}}"#.to_owned()),
        (
            ServerFrame::Goodbye { reason: "r", reconnect_ms: 5 },
            r#"{"goodbye":{"reason":"r","reconnectMs":5}}"#.to_owned(),
        ),
        (ServerFrame::Devices(list), r#"{"devices":{"user":"bob","version":7,"devices":[1,300]}}"#.to_owned()),
    ];
    for (frame, expected) in frames {
        let mut json = Vec::new();
        frame.encode_json(&mut json);
        assert_eq!(String::from_utf8(json).unwrap(), expected);
        let mut bytes = Vec::new();
        frame.encode(&mut bytes);
        assert_eq!(SERVER.decode(&bytes), SERVER.read_json(expected.as_bytes()));
    }
}

#[test]
fn labels_are_those_of_the_schema() {
    for reason in [SkipReason::Expired, SkipReason::Cap, SkipReason::NoBody, SkipReason::Lost, SkipReason::Blocked] {
        let frame = ServerFrame::Skip { conversation: [1; 16], from: 1, to: 1, reason, user: "", version: 0 };
        let (mut bytes, mut json) = (Vec::new(), Vec::new());
        frame.encode(&mut bytes);
        frame.encode_json(&mut json);
        assert_eq!(SERVER.decode(&bytes), SERVER.read_json(&json), "{}", reason.label());
    }
}
