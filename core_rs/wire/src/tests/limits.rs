//! Every limit of a field: its edge is allowed, one beyond it is refused with the code that docs/wire.md names.

use std::borrow::Cow;

use crate::types::*;
use crate::{codes, decode_client, json};

fn send() -> Send<'static> {
    Send {
        id: Cow::Borrowed(b"\x01"),
        target: Target::User("ann".into()),
        body: Cow::Borrowed(b"body"),
        bodies: Vec::new(),
        lists: Vec::new(),
        media: Vec::new(),
    }
}

fn body(user: &str, device: u32) -> DeviceBody<'_> {
    DeviceBody { user: user.into(), device, body: Cow::Borrowed(b"b") }
}

/// The error code of a frame in both notations, which must agree; `None`: it is read.
pub fn code(frame: &ClientFrame<'_>) -> Option<&'static str> {
    let (mut bytes, mut text) = (Vec::new(), Vec::new());
    frame.encode(&mut bytes);
    frame.encode_json(&mut text);
    let (proto, json) = (decode_client(&bytes), json::decode_client(&text));
    assert_eq!(proto, json);
    proto.err().map(|error| error.code)
}

fn sent(change: impl FnOnce(&mut Send<'static>)) -> Option<&'static str> {
    let mut send = send();
    change(&mut send);
    code(&ClientFrame::Send(send))
}

pub fn many<T: Clone>(item: T, count: usize) -> Vec<T> {
    vec![item; count]
}

#[test]
fn ids() {
    for (len, expected) in [(0, Some(codes::BAD_ID)), (1, None), (MAX_ID, None), (MAX_ID + 1, Some(codes::BAD_ID))] {
        assert_eq!(sent(|send| send.id = Cow::Owned(vec![7; len])), expected, "{len} bytes");
    }
}

#[test]
fn user_names() {
    let cases = [
        (String::new(), false),
        ("a".repeat(MAX_USER), true),
        ("a".repeat(MAX_USER + 1), false),
        ("é".repeat(MAX_USER / 2), true),
        ("é".repeat(MAX_USER / 2) + "e", false),
        ("a b/ü@€😀".to_owned(), true),
        ("a\0".to_owned(), false),
        ("a\n".to_owned(), false),
        ("a\x7f".to_owned(), false),
        ("a\u{85}".to_owned(), false),
    ];
    for (name, good) in cases {
        let expected = if good { None } else { Some(codes::BAD_USER) };
        assert_eq!(code(&ClientFrame::DevicesGet { user: Cow::Borrowed(&name) }), expected, "{name:?}");
        let read = Read { conversation: [1; 16], seq: 1, authors: vec!["ok".into(), Cow::Borrowed(&name)] };
        assert_eq!(code(&ClientFrame::Read(read)), expected, "{name:?}");
        let bodies = vec![DeviceBody { user: name.clone().into(), ..body("", 1) }];
        let device = ClientFrame::Send(Send { body: Cow::Borrowed(b""), bodies, ..send() });
        assert_eq!(code(&device), expected, "{name:?}");
        if !name.is_empty() {
            assert_eq!(sent(|send| send.target = Target::User(name.clone().into())), expected, "{name:?}");
        }
    }
}

#[test]
fn conversation_ids() {
    for (bytes, expected) in [
        (&b"\x1a\x04\x0a\x00\x10\x01"[..], Some(codes::BAD_FIELD)), // ack: a seq without a conversation
        (b"\x1a\x04\x0a\x02ab", Some(codes::BAD_CONVERSATION)),
        (b"\x1a\x13\x0a\x11aaaaaaaaaaaaaaaaa", Some(codes::BAD_CONVERSATION)),
        (b"\x1a\x12\x0a\x10aaaaaaaaaaaaaaaa", None),
        (b"\x22\x02\x10\x01", Some(codes::BAD_CONVERSATION)), // read: no conversation
        (b"\x12\x07\x0a\x01\x01\x1a\x02ab", Some(codes::BAD_CONVERSATION)),
    ] {
        assert_eq!(decode_client(bytes).err().map(|error| error.code), expected, "{bytes:x?}");
    }
}

#[test]
fn a_send_has_one_target_and_one_kind_of_body() {
    let two = b"\x12\x0d\x0a\x01\x01\x12\x03ann\x12\x03bob";
    assert_eq!(decode_client(two).unwrap_err().code, codes::BAD_FIELD);
    let none = decode_client(b"\x12\x03\x0a\x01\x07").unwrap_err();
    assert_eq!((none.code, &*none.id), (codes::BAD_FIELD, &b"\x07"[..]));
    assert_eq!(sent(|send| send.bodies = vec![body("ann", 1)]), Some(codes::BAD_FIELD));
    let own = |bodies| code(&ClientFrame::Send(Send { body: Cow::Borrowed(b""), bodies, ..send() }));
    assert_eq!(own(vec![body("bob", 1), body("ann", 2), body("ann", 1)]), None);
    assert_eq!(own(vec![body("ann", 1), body("bob", 1), body("ann", 1)]), Some(codes::BAD_FIELD));
    assert_eq!(own(vec![body("ann", 0)]), Some(codes::BAD_FIELD));
    assert_eq!(sent(|send| send.target = Target::Device("ann".into(), 0)), Some(codes::BAD_FIELD));
}

#[test]
fn lists() {
    let numbered = |count| (1..=count as u32).map(|device| body("ann", device)).collect::<Vec<_>>();
    let list = |devices| DeviceList { user: "ann".into(), version: 1, devices: many(1, devices).into() };
    for (count, expected) in [(MAX_LIST, None), (MAX_LIST + 1, Some(codes::BAD_FIELD))] {
        let read = Read { conversation: [1; 16], seq: 1, authors: many("ann".into(), count) };
        assert_eq!(code(&ClientFrame::Read(read)), expected);
        assert_eq!(sent(|send| send.lists = many(list(1), count)), expected);
        assert_eq!(sent(|send| send.lists = vec![list(count)]), expected);
        assert_eq!(
            code(&ClientFrame::Send(Send { body: Cow::Borrowed(b""), bodies: numbered(count), ..send() })),
            expected
        );
    }
    let media = |count, len| sent(|send| send.media = many(Cow::Owned(vec![1; len]), count));
    assert_eq!(media(MAX_MEDIA, MAX_MEDIA_ID), None);
    for (count, len) in [(MAX_MEDIA + 1, 1), (1, MAX_MEDIA_ID + 1), (1, 0)] {
        assert_eq!(media(count, len), Some(codes::BAD_FIELD));
    }
}

#[test]
fn receipt_versions() {
    for (len, expected) in [(0, None), (MAX_VERSION, None), (MAX_VERSION + 1, Some(codes::BAD_FIELD))] {
        let receipts = Cow::Owned(vec![7; len]);
        let hello = Hello { protocol: 1, receipts: Cow::clone(&receipts), ..Hello::default() };
        assert_eq!(code(&ClientFrame::Hello(hello)), expected, "{len} bytes");
        assert_eq!(code(&ClientFrame::Ack(Ack { receipts, ..Ack::default() })), expected, "{len} bytes");
    }
}

#[test]
fn accepted_messages_of_an_ack() {
    let below = MAX_ACCEPTED as u64 - 1;
    let acked = |accepted| code(&ClientFrame::Ack(Ack { accepted, ..Ack::default() }));
    for (count, expected) in [(below, None), (below + 1, None), (below + 2, Some(codes::BAD_FIELD))] {
        assert_eq!(acked((1..=count).map(|seq| ([1; 16], seq)).collect()), expected, "{count} of one conversation");
        let each = |seq: u64| (u128::from(seq).to_le_bytes(), seq);
        assert_eq!(acked((1..=count).map(each).collect()), expected, "{count} of as many conversations");
    }
    for (bytes, expected) in [
        (&b"\x1a\x02\x22\x00"[..], Some(codes::BAD_CONVERSATION)),
        (b"\x1a\x05\x22\x03\x12\x01\x01", Some(codes::BAD_CONVERSATION)), // seqs alone
        (b"\x1a\x14\x22\x12\x0a\x10aaaaaaaaaaaaaaaa", Some(codes::BAD_FIELD)), // no seqs
        (b"\x1a\x18\x22\x16\x10\x05\x10\x06\x0a\x10aaaaaaaaaaaaaaaa", None), // not packed, before their conversation
        (b"\x1a\x02\x20\x01", Some(codes::MALFORMED)),                    // a count
    ] {
        assert_eq!(decode_client(bytes).err().map(|error| error.code), expected, "{bytes:x?}");
    }
    let ClientFrame::Ack(ack) = decode_client(b"\x1a\x18\x22\x16\x10\x05\x10\x06\x0a\x10aaaaaaaaaaaaaaaa").unwrap()
    else {
        panic!("an ack")
    };
    assert_eq!(ack.accepted[..], [(*b"aaaaaaaaaaaaaaaa", 5), (*b"aaaaaaaaaaaaaaaa", 6)]);
}

#[test]
fn hello() {
    let hello = |token: usize, client: &str| {
        let token = Cow::Owned("t".repeat(token));
        code(&ClientFrame::Hello(Hello { protocol: 9, token, client: client.to_owned().into(), ..Hello::default() }))
    };
    assert_eq!(hello(MAX_TOKEN, &"c".repeat(MAX_CLIENT)), None);
    assert_eq!(hello(MAX_TOKEN + 1, ""), Some(codes::BAD_FIELD));
    assert_eq!(hello(1, &"c".repeat(MAX_CLIENT + 1)), Some(codes::BAD_FIELD));
    assert_eq!(hello(1, "a\nb"), Some(codes::BAD_FIELD));
}
