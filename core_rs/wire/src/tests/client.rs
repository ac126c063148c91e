//! Client frames in protobuf: what the schema says, and nothing else, is read.

use proptest::prelude::*;

use super::any::client_frame;
use super::schema::CLIENT;
use crate::types::ClientFrame;
use crate::{WireError, codes, decode_client};

fn encoded(frame: &ClientFrame<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    frame.encode(&mut bytes);
    assert_eq!(bytes.len(), frame.encoded_len());
    bytes
}

/// Borrowed or not, it is the same frame.
pub fn reads_as<'a>(read: Result<ClientFrame<'a>, WireError>, frame: &ClientFrame<'a>) {
    assert_eq!(read.as_ref(), Ok(frame));
}

/// A field that no version of the schema has had, in each wire type.
fn unknown_field() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        Just(vec![0x98, 0x06, 0x96, 0x01]),                      // 99: varint
        Just(vec![0x99, 0x06, 1, 2, 3, 4, 5, 6, 7, 8]),          // 99: 64 bits
        Just(vec![0x9a, 0x06, 2, 0xff, 0xff]),                   // 99: bytes
        Just(vec![0x9b, 0x06, 0x0b, 0x08, 1, 0x0c, 0x9c, 0x06]), // 99: a group with a group in it
        Just(vec![0x9d, 0x06, 1, 2, 3, 4]),                      // 99: 32 bits
    ]
}

/// What became of some bytes on their way.
fn damage() -> impl Strategy<Value = Vec<(u8, usize, u8)>> {
    proptest::collection::vec((0u8..4, any::<usize>(), any::<u8>()), 1..4)
}

pub fn damaged(mut bytes: Vec<u8>, damage: &[(u8, usize, u8)]) -> Vec<u8> {
    for &(how, at, byte) in damage {
        let at = at % (bytes.len() + 1);
        match how {
            0 => bytes.truncate(at),
            1 => bytes.insert(at, byte),
            2 if at < bytes.len() => bytes[at] ^= byte,
            _ if at < bytes.len() => drop(bytes.remove(at)),
            _ => {}
        }
    }
    bytes
}

/// Whatever we read from `bytes` is what the schema reads; what the schema refuses we refuse.
fn agrees_with_the_schema(bytes: &[u8]) {
    let Ok(frame) = decode_client(bytes) else { return };
    if matches!(frame, ClientFrame::Pong { .. }) {
        return; // a client's Pong.time is dropped
    }
    let theirs = CLIENT.decode(bytes).expect("bytes that the schema refuses were read");
    let ours = CLIENT.decode(&encoded(&frame)).unwrap();
    // As JSON, so that unknown fields do not count. A profile or rules that say nothing are left out by us.
    let json = |message| {
        let mut json: serde_json::Value = serde_json::from_slice(&CLIENT.write_json(message, true)).unwrap();
        if let Some(created) = json.pointer_mut("/manage/change/created").and_then(|created| created.as_object_mut()) {
            created.retain(|_, part| *part != serde_json::json!({}));
        }
        json
    };
    assert_eq!(json(&ours), json(&theirs));
}

proptest! {
    #[test]
    fn every_frame_is_encoded_as_the_schema_encodes_it(frame in client_frame()) {
        let bytes = encoded(&frame);
        assert_eq!(CLIENT.encode(&CLIENT.decode(&bytes).unwrap()), bytes);
    }

    #[test]
    fn every_frame_is_read_back_as_it_was(frame in client_frame()) {
        reads_as(decode_client(&encoded(&frame)), &frame);
    }

    #[test]
    fn unknown_fields_change_nothing(frame in client_frame(), unknown in unknown_field(), before: bool) {
        let bytes = encoded(&frame);
        let whole = if before { [&unknown[..], &bytes].concat() } else { [&bytes[..], &unknown].concat() };
        reads_as(decode_client(&whole), &frame);

        // The same inside of the frame: tag, length, content.
        let content = bytes.len() - frame_content_len(&bytes);
        let inner = [&bytes[content..], &unknown].concat();
        let mut whole = vec![bytes[0]];
        prost_reflect::prost::encoding::encode_varint(inner.len() as u64, &mut whole);
        whole.extend(inner);
        reads_as(decode_client(&whole), &frame);
    }

    #[test]
    fn a_damaged_frame_is_refused_or_read_as_the_schema_reads_it(frame in client_frame(), damage in damage()) {
        agrees_with_the_schema(&damaged(encoded(&frame), &damage));
    }

    #[test]
    fn junk_is_refused_or_read_as_the_schema_reads_it(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
        agrees_with_the_schema(&bytes);
    }

    #[test]
    fn a_frame_cut_short_is_malformed(frame in client_frame(), at: usize) {
        let bytes = encoded(&frame);
        let at = 1 + at % (bytes.len() - 1);
        assert_eq!(decode_client(&bytes[..at]).unwrap_err().code, codes::MALFORMED);
    }
}

fn frame_content_len(bytes: &[u8]) -> usize {
    let mut rest = &bytes[1..];
    prost_reflect::prost::encoding::decode_varint(&mut rest).unwrap() as usize
}

#[test]
fn a_frame_of_an_unknown_kind_is_told_apart_from_a_malformed_one() {
    for bytes in [&b""[..], b"\x9a\x06\x02hi", b"\x62\x00"] {
        assert_eq!(decode_client(bytes).unwrap_err().code, codes::UNKNOWN_FRAME);
    }
    let malformed = [
        (&b"\x2a"[..], "no length"),
        (b"\x00\x00", "field number 0"),
        (b"\x0e\x00", "wire type 6"),
        (b"\x08\x01", "a hello that is a number"),
        (b"\x2a\x0c\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02", "a number above 64 bits"),
        (b"\x0a\x06\x08\x80\x80\x80\x80\x10", "a 32-bit field above 32 bits"),
        (b"\x2a\x00\x2a\x00", "two frames"),
        (b"\x0a\x03\x12\x01\xff", "a token that is not UTF-8"),
        (b"\x9b\x06\x08\x01", "a group without end"),
        (b"\x9b\x06\x94\x06", "a group that ends as another"),
    ];
    for (bytes, what) in malformed {
        assert_eq!(decode_client(bytes).unwrap_err().code, codes::MALFORMED, "{what}");
    }
    let nested = [0x9b, 0x06].repeat(100_000);
    assert_eq!(decode_client(&nested).unwrap_err().code, codes::MALFORMED);
}
