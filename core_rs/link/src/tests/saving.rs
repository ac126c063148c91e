//! A link that is saved and restored anywhere goes on as the one that was not; other bytes are refused.

use proptest::prelude::*;

use super::splits::{SMALL, cuts, fragmented, some_frame};
use super::*;
use crate::{MAGIC, put_header};

fn saved(link: &Link) -> Vec<u8> {
    let mut bytes = b"before".to_vec();
    link.save(&mut bytes);
    bytes.split_off(6)
}

fn restored(link: &Link) -> Link {
    let bytes = saved(link);
    let link = Link::restore(&bytes).unwrap_or_else(|| panic!("{link:?} as {bytes:02x?}"));
    assert_eq!(saved(&link), bytes);
    link
}

/// As `feed_cut`, with a link that is saved and restored after each piece.
fn feed_restored(link: &mut Link, bytes: &[u8], cuts: &[usize]) -> Outcome {
    let mut all: Option<Outcome> = None;
    let mut rest = bytes;
    for cut in cuts.iter().copied().chain([usize::MAX]) {
        *link = restored(link);
        let (piece, after) = rest.split_at(cut.min(rest.len()));
        rest = after;
        let mut outcome = feed_cut(link, piece, &[], &SMALL);
        if let Some(mut before) = all.take() {
            before.payloads.append(&mut outcome.payloads);
            before.out.append(&mut outcome.out);
            (outcome.payloads, outcome.out) = (before.payloads, before.out);
        }
        all = Some(outcome);
        if rest.is_empty() {
            break;
        }
    }
    *link = restored(link);
    all.expect("at least one piece")
}

/// Asserts that a link that is restored after each piece does what one does that is not, also at our close after it.
fn goes_on(link: &dyn Fn() -> Link, bytes: &[u8], cuts: &[usize]) {
    let (mut whole, mut parts) = (link(), link());
    assert_eq!(feed_restored(&mut parts, bytes, cuts), feed_cut(&mut whole, bytes, cuts, &SMALL));
    assert_eq!((parts.undecided(), parts.arrived()), (whole.undecided(), whole.arrived()));
    let (mut said, mut expected) = (Vec::new(), Vec::new());
    parts.close(&mut said, 1000, "bye");
    whole.close(&mut expected, 1000, "bye");
    assert_eq!(said, expected);
    let mut parts = restored(&parts);
    assert_eq!(parts.take_http_prefix(), whole.take_http_prefix());
    let close = frame(FINAL | CLOSE, &1000u16.to_be_bytes());
    assert_eq!(feed_cut(&mut parts, &close, &[], &SMALL), feed_cut(&mut whole, &close, &[], &SMALL));
}

fn some_bytes() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        proptest::collection::vec(prop_oneof![some_frame(), fragmented()], 0..6).prop_map(|frames| [
            HANDSHAKE.as_bytes().to_vec(),
            frames.concat()
        ]
        .concat()),
        proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..320), 0..6).prop_map(|payloads| {
            payloads.into_iter().fold(MAGIC.to_vec(), |mut bytes, payload| {
                put_header(&mut bytes, Framing::Raw, payload.len());
                [bytes, payload].concat()
            })
        }),
        Just(b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n".to_vec()),
        Just(b"PYRT\x02".to_vec()),
        proptest::collection::vec(any::<u8>(), 0..100),
    ]
}

proptest! {
    #[test]
    fn a_link_restored_anywhere_goes_on_as_if_nothing_had_been(bytes in some_bytes(), tail: Vec<u8>, cuts in cuts()) {
        goes_on(&Link::sniffing, &[bytes, tail].concat(), &cuts);
    }

    #[test]
    fn a_websocket_restored_anywhere_goes_on_as_if_nothing_had_been(
        frames in proptest::collection::vec(prop_oneof![some_frame(), fragmented()], 0..6), cuts in cuts(), closed: bool,
    ) {
        let link = || {
            let mut link = websocket();
            if closed {
                link.close(&mut Vec::new(), 1000, "");
            }
            link
        };
        goes_on(&link, &frames.concat(), &cuts);
    }

    #[test]
    fn a_raw_link_restored_anywhere_goes_on_as_if_nothing_had_been(bytes: Vec<u8>, cuts in cuts()) {
        goes_on(&Link::raw, &bytes, &cuts);
    }

    #[test]
    fn bytes_that_are_cut_short_or_have_a_tail_are_refused(bytes in some_bytes(), at in 0usize..400, cut in 0usize..400) {
        let mut link = Link::sniffing();
        feed(&mut link, &bytes[..at.min(bytes.len())]);
        let mut saved = saved(&link);
        saved.push(0);
        prop_assert!(Link::restore(&saved).is_none());
        saved.pop();
        saved.truncate(cut.min(saved.len() - 1));
        prop_assert!(Link::restore(&saved).is_none());
    }

    /// Whatever is restored is saved as the same bytes, takes no more memory than it took before, and is bounded as any link.
    #[test]
    fn other_bytes_are_refused_or_are_some_link_and_never_panic_i6(
        bytes in some_bytes(),
        at in 0usize..400,
        changes in proptest::collection::vec((0usize..400, any::<u8>()), 1..4),
        junk in proptest::option::of(proptest::collection::vec(any::<u8>(), 0..60)),
        rest in proptest::collection::vec(any::<u8>(), 0..2000),
    ) {
        let mut link = Link::sniffing();
        feed(&mut link, &bytes[..at.min(bytes.len())]);
        let mut bytes = saved(&link);
        for (at, byte) in changes {
            let at = at % bytes.len();
            bytes[at] = byte;
        }
        let bytes = junk.unwrap_or(bytes);
        if let Some(mut link) = Link::restore(&bytes) {
            prop_assert_eq!(saved(&link), &bytes[..]);
            prop_assert!(link.arrived() <= bytes.len());
            feed_cut(&mut link, &rest, &[7, 100], &SMALL);
            prop_assert!(link.arrived() <= bytes.len().max(SMALL.frame_bytes + 125));
        }
    }
}

#[test]
fn a_frame_begun_under_a_higher_limit_is_refused_under_a_lower_one_i6() {
    let long = vec![0; 1000];
    for (link, bytes) in [
        (websocket(), frame(FINAL | BINARY, &long)),
        (websocket(), [frame(TEXT, &long[..200]), frame(CONTINUATION, &long)].concat()),
        (Link::raw(), [&[0xe8, 0x07][..], &long].concat()),
    ] {
        let mut link = link;
        feed(&mut link, &bytes[..100]);
        let mut link = restored(&link);
        let outcome = feed_cut(&mut link, &bytes[100..], &[], &SMALL);
        assert_eq!((outcome.status, outcome.payloads.len()), (Status::Closing, 0));
        assert_eq!(outcome.error.expect("an error").0, "too_large");
    }
}
