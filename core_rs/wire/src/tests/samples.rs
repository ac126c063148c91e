//! One frame of each kind, every field with a value of its own, beside the text that it must become: a field under
//! another's number or name shows. Written to tests/vectors/frames.json, from which other codecs are tested.

use std::borrow::Cow;
use std::path::Path;

use smallvec::smallvec;

use super::sample_groups;
use super::schema::{CLIENT, Kind, SERVER};
use crate::types::*;
use crate::{decode_client, json};

const VECTORS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/vectors/frames.json");

fn server() -> Vec<(ServerFrame<'static>, String)> {
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
        group_members: 12,
    };
    let mut frames = vec![
        (
            ServerFrame::Welcome(Welcome {
                user: "ann",
                device: 2,
                time: 3,
                limits,
                pending_messages: 13,
                pending_conversations: 14,
                server: "s",
                receive: true,
                receipts: b"\x0f",
            }),
            r#"{"welcome":{"protocol":1,"user":"ann","device":2,"time":3,"limits":{"bodyBytes":1,"frameBytes":2,"idBytes":3,"windowMessages":4,"windowBytes":5,"unacceptedMessages":6,"unacceptedBytes":7,"devices":8,"repeats":9,"idleMs":10,"holdMs":11,"groupMembers":12},"pending":{"messages":13,"conversations":14},"server":"s","receive":true,"receipts":"Dw=="}}"#.to_owned(),
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
                change: None,
            }),
            format!(
                r#"{{"message":{{"conversation":"{id64}","seq":9007199254740991,"sender":"ann","device":2,"id":"AQ==","time":"9007199254740992","body":"//4=","media":["bQ==","bg=="],"to":"bob"}}}}"#
            ),
        ),
        (
            ServerFrame::Receipt { conversation, user: "bob", delivered: 2, read: 1, version: b"\x09" },
            format!(r#"{{"receipt":{{"conversation":"{id64}","user":"bob","delivered":2,"read":1,"version":"CQ=="}}}}"#),
        ),
        (
            ServerFrame::Skip { conversation, from: 2, to: 3, reason: SkipReason::NoBody, user: "bob", version: b"\x09" },
            format!(
                r#"{{"skip":{{"conversation":"{id64}","from":2,"to":3,"reason":"NO_BODY","user":"bob","version":"CQ=="}}}}"#
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
    frames.extend(sample_groups::server());
    frames
}

fn client() -> Vec<(ClientFrame<'static>, String)> {
    let id64 = "MDEyMzQ1Njc4OWFiY2RlZg==";
    let conversation = *b"0123456789abcdef";
    let send = Send {
        id: Cow::Borrowed(b"\x01\x02"),
        target: Target::User("bob".into()),
        body: Cow::Borrowed(b"\xff\xfe"),
        bodies: Vec::new(),
        lists: Vec::new(),
        media: vec![Cow::Borrowed(b"m"), Cow::Borrowed(b"n")],
    };
    let own = |device, body| DeviceBody { user: "bob".into(), device, body: Cow::Borrowed(body) };
    let bodies = Send {
        target: Target::Conversation(conversation),
        body: Cow::Borrowed(b""),
        bodies: vec![own(1, b"x"), own(2, b"y")],
        lists: vec![DeviceList { user: "bob".into(), version: 7, devices: smallvec![1, 300] }],
        media: Vec::new(),
        ..send.clone()
    };
    let device = Send { target: Target::Device("bob".into(), 2), media: Vec::new(), ..send.clone() };
    let mut frames = vec![
        (
            ClientFrame::Hello(Hello {
                protocol: 1,
                token: "t".into(),
                receive: true,
                client: "c".into(),
                window_messages: 2,
                window_bytes: 3,
                receipts: Cow::Borrowed(b"\xff\xfe"),
            }),
            r#"{"hello":{"protocol":1,"token":"t","receive":true,"client":"c","windowMessages":2,"windowBytes":3,"receipts":"//4="}}"#.to_owned(),
        ),
        (
            ClientFrame::Send(send),
            r#"{"send":{"id":"AQI=","user":"bob","body":"//4=","media":["bQ==","bg=="]}}"#.to_owned(),
        ),
        (
            ClientFrame::Send(device),
            r#"{"send":{"id":"AQI=","device":{"user":"bob","device":2},"body":"//4="}}"#.to_owned(),
        ),
        (
            ClientFrame::Send(bodies),
            format!(
                r#"{{"send":{{"id":"AQI=","conversation":"{id64}","bodies":[{{"user":"bob","device":1,"body":"eA=="}},{{"user":"bob","device":2,"body":"eQ=="}}],"lists":[{{"user":"bob","version":7,"devices":[1,300]}}]}}}}"#
            ),
        ),
        (
            ClientFrame::Ack(Ack {
                conversation: Some(conversation),
                seq: 1,
                receipts: Cow::Borrowed(b"\xff\xfe"),
                accepted: smallvec![(conversation, 3), (conversation, 1 << 53), ([1; 16], 4)],
            }),
            format!(
                r#"{{"ack":{{"conversation":"{id64}","seq":1,"receipts":"//4=","accepted":[{{"conversation":"{id64}","seqs":[3,"9007199254740992"]}},{{"conversation":"AQEBAQEBAQEBAQEBAQEBAQ==","seqs":[4]}}]}}}}"#
            ),
        ),
        (
            ClientFrame::Read(Read { conversation, seq: 1, authors: vec!["ann".into(), "bob".into()] }),
            format!(r#"{{"read":{{"conversation":"{id64}","seq":1,"authors":["ann","bob"]}}}}"#),
        ),
        (ClientFrame::Ping { nonce: u64::MAX }, r#"{"ping":{"nonce":"18446744073709551615"}}"#.to_owned()),
        (ClientFrame::Pong { nonce: 0 }, r#"{"pong":{}}"#.to_owned()),
        (ClientFrame::DevicesGet { user: "bob".into() }, r#"{"devicesGet":{"user":"bob"}}"#.to_owned()),
    ];
    frames.extend(sample_groups::client());
    frames
}

/// Protobuf and JSON of a frame.
type Encoded = (Vec<u8>, String);

fn encoded<F>(frames: &[(F, String)], proto: fn(&F, &mut Vec<u8>), json: fn(&F, &mut Vec<u8>)) -> Vec<Encoded> {
    let both = |(frame, expected): &(F, String)| {
        let (mut bytes, mut text) = (Vec::new(), Vec::new());
        proto(frame, &mut bytes);
        json(frame, &mut text);
        let text = String::from_utf8(text).unwrap();
        assert_eq!(&text, expected);
        (bytes, text)
    };
    frames.iter().map(both).collect()
}

fn all() -> [(Kind, Vec<Encoded>); 2] {
    [
        (CLIENT, encoded(&client(), ClientFrame::encode, ClientFrame::encode_json)),
        (SERVER, encoded(&server(), ServerFrame::encode, ServerFrame::encode_json)),
    ]
}

#[test]
fn every_field_stands_under_its_own_name_and_number() {
    for (kind, frames) in all() {
        for (bytes, text) in frames {
            assert_eq!(kind.decode(&bytes).unwrap(), kind.read_json(text.as_bytes()).unwrap());
        }
    }
    for (frame, text) in client() {
        assert_eq!(json::decode_client(text.as_bytes()).as_ref(), Ok(&frame));
        let bytes = CLIENT.encode(&CLIENT.read_json(text.as_bytes()).unwrap());
        assert_eq!(decode_client(&bytes).as_ref(), Ok(&frame));
    }
}

/// `PYROUTER_WRITE_VECTORS=1 cargo test vectors` writes the file anew.
#[test]
fn the_vectors_for_other_codecs_are_what_is_encoded_here() {
    let kinds = all().map(|(kind, frames)| {
        let lines = frames.iter().map(|(bytes, text)| {
            let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            format!("{{\"frame\": \"{}\", \"hex\": \"{hex}\", \"json\": {text}}}", kind.0)
        });
        lines.collect::<Vec<_>>().join(",\n")
    });
    let vectors = format!("[\n{}\n]\n", kinds.join(",\n"));
    if std::env::var_os("PYROUTER_WRITE_VECTORS").is_some() {
        std::fs::create_dir_all(Path::new(VECTORS).parent().unwrap()).unwrap();
        std::fs::write(VECTORS, &vectors).unwrap();
    }
    let kept = std::fs::read_to_string(VECTORS).expect("tests/vectors/frames.json");
    assert!(kept == vectors, "write it anew: PYROUTER_WRITE_VECTORS=1 cargo test vectors");
}
