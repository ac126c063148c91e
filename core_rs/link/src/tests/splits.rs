//! What comes out depends on the bytes and not on how they were cut; junk never panics.

use proptest::prelude::*;

use super::*;
use crate::put_header;

pub(super) const SMALL: LinkLimits = LinkLimits { frame_bytes: 300, http_head_bytes: 400 };

/// One frame, mostly valid.
pub(super) fn some_frame() -> impl Strategy<Value = Vec<u8>> {
    let payload = prop_oneof![
        4 => proptest::collection::vec(any::<u8>(), 0..140),
        1 => proptest::collection::vec(any::<u8>(), 140..330),
        4 => "\\PC{0,40}".prop_map(String::into_bytes),
        1 => Just(b"stop".to_vec()),
        1 => (900u16..5000, "\\PC{0,20}").prop_map(|(code, reason)| [&code.to_be_bytes(), reason.as_bytes()].concat()),
    ];
    let opcode = prop_oneof![
        12 => prop_oneof![Just(TEXT), Just(BINARY), Just(CONTINUATION)],
        4 => prop_oneof![Just(PING), Just(PONG)],
        1 => prop_oneof![Just(CLOSE), 0u8..16],
    ];
    let first = (opcode, any::<bool>(), prop_oneof![30 => Just(0u8), 1 => Just(0x40u8)])
        .prop_map(|(opcode, last, reserved)| opcode | reserved | if last || opcode >= 8 { FINAL } else { 0 });
    (first, payload).prop_map(|(first, payload)| frame(first, &payload))
}

/// A message in fragments with control frames between them: sequences that random frames rarely make.
pub(super) fn fragmented() -> impl Strategy<Value = Vec<u8>> {
    ("\\PC{0,60}", any::<bool>(), proptest::collection::vec((0usize..20, any::<bool>()), 0..6)).prop_map(
        |(text, is_text, pieces)| {
            let mut bytes = Vec::new();
            let mut rest = text.as_bytes();
            let mut opcode = if is_text { TEXT } else { BINARY };
            for (len, ping) in pieces {
                let (piece, after) = rest.split_at(len.min(rest.len()));
                bytes.extend(frame(opcode, piece));
                if ping {
                    bytes.extend(frame(FINAL | PING, piece));
                }
                (opcode, rest) = (CONTINUATION, after);
            }
            bytes.extend(frame(FINAL | opcode, rest));
            bytes
        },
    )
}

pub(super) fn cuts() -> impl Strategy<Value = Vec<usize>> {
    prop_oneof![
        2 => proptest::collection::vec(0usize..12, 0..400),
        1 => proptest::collection::vec(0usize..200, 0..20),
        1 => Just(vec![1; 3000]),
    ]
}

/// Everything the client sent, for a comparison of HTTP hand-overs.
fn run(mut link: Link, bytes: &[u8], cuts: &[usize]) -> (Outcome, Vec<u8>) {
    let outcome = feed_cut(&mut link, bytes, cuts, &SMALL);
    let prefix = link.take_http_prefix();
    (outcome, prefix)
}

proptest! {
    #[test]
    fn any_split_of_a_websockets_bytes_gives_the_same(
        frames in proptest::collection::vec(prop_oneof![some_frame(), fragmented()], 0..8),
        tail in proptest::collection::vec(any::<u8>(), 0..20),
        cuts in cuts(),
    ) {
        let bytes = [HANDSHAKE.as_bytes().to_vec(), frames.concat(), tail].concat();
        prop_assert_eq!(run(Link::sniffing(), &bytes, &cuts), run(Link::sniffing(), &bytes, &[]));
    }

    #[test]
    fn any_split_of_raw_bytes_gives_the_same(
        payloads in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..320), 0..8),
        tail in proptest::collection::vec(any::<u8>(), 0..20),
        cuts in cuts(),
        magic: bool,
    ) {
        let mut bytes = if magic { super::super::MAGIC.to_vec() } else { Vec::new() };
        for payload in payloads {
            put_header(&mut bytes, Framing::Raw, payload.len());
            bytes.extend(payload);
        }
        bytes.extend(tail);
        let link = || if magic { Link::sniffing() } else { Link::raw() };
        prop_assert_eq!(run(link(), &bytes, &cuts), run(link(), &bytes, &[]));
    }

    #[test]
    fn any_split_of_the_first_bytes_decides_the_same(
        line in prop_oneof![
            Just("GET /v1 HTTP/1.1".to_owned()), Just("GET / HTTP/1.1".to_owned()), Just("POST /v1 HTTP/1.1".to_owned()),
            Just("GET /healthz HTTP/1.1".to_owned()), Just("PYRT".to_owned()), "\\PC{0,30}",
        ],
        lines in proptest::collection::vec(prop_oneof![
            Just("Upgrade: websocket".to_owned()), Just("Connection: upgrade".to_owned()), Just("Host: a".to_owned()),
            Just("Sec-WebSocket-Version: 13".to_owned()), Just("Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==".to_owned()),
            "[A-Za-z]{1,8}: \\PC{0,60}",
        ], 0..10),
        tail in proptest::collection::vec(any::<u8>(), 0..40),
        cuts in cuts(),
    ) {
        let bytes = [line, "\r\n".into(), lines.join("\r\n"), "\r\n\r\n".into()].concat().into_bytes();
        let bytes = [bytes, tail].concat();
        prop_assert_eq!(run(Link::sniffing(), &bytes, &cuts), run(Link::sniffing(), &bytes, &[]));
    }

    #[test]
    fn junk_never_panics_and_splits_alike(bytes in proptest::collection::vec(any::<u8>(), 0..600), cuts in cuts(), start in 0..3) {
        let link = || match start { 0 => Link::sniffing(), 1 => Link::raw(), _ => websocket() };
        prop_assert_eq!(run(link(), &bytes, &cuts), run(link(), &bytes, &[]));
    }

    #[test]
    fn after_our_close_at_any_byte_nothing_is_said_or_handed_on(
        frames in proptest::collection::vec(prop_oneof![some_frame(), fragmented()], 0..8),
        at in 0usize..600,
        cuts in cuts(),
    ) {
        let bytes = frames.concat();
        let (before, after) = bytes.split_at(at.min(bytes.len()));
        let run = |cuts: &[usize]| {
            let mut link = websocket();
            feed_cut(&mut link, before, cuts, &SMALL);
            link.close(&mut Vec::new(), 1000, "");
            feed_cut(&mut link, after, cuts, &SMALL)
        };
        let outcome = run(&cuts);
        prop_assert_eq!((outcome.payloads.len(), outcome.out.len()), (0, 0));
        prop_assert_eq!(outcome, run(&[]));
    }

    #[test]
    fn what_is_sent_in_fragments_arrives_whole_and_in_order(
        messages in proptest::collection::vec(("\\PC{0,60}", any::<bool>()), 1..6), cuts in cuts(),
    ) {
        let mut bytes = Vec::new();
        let mut expected = Vec::new();
        for (text, is_text) in messages {
            let (a, b) = text.as_bytes().split_at(text.len() / 2);
            bytes.extend(frame(if is_text { TEXT } else { BINARY }, a));
            bytes.extend(frame(FINAL | PONG, b"in between"));
            bytes.extend(frame(FINAL | CONTINUATION, b));
            expected.push((text.into_bytes(), is_text));
        }
        let outcome = feed_cut(&mut websocket(), &bytes, &cuts, &LIMITS);
        let stop = expected.iter().position(|(payload, _)| payload == b"stop").map_or(expected.len(), |at| at + 1);
        prop_assert_eq!(&outcome.payloads[..], &expected[..stop]);
    }
}
