//! Raw frames: a varint and so many bytes.

use super::*;
use crate::put_header;

fn raw_frame(payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    put_header(&mut bytes, Framing::Raw, payload.len());
    bytes.extend_from_slice(payload);
    bytes
}

#[test]
fn frames_are_read_whole_and_in_order() {
    let payloads: Vec<Vec<u8>> = [0, 1, 127, 128, 300, 20_000].iter().map(|&len| vec![7; len]).collect();
    let bytes: Vec<u8> = payloads.iter().flat_map(|payload| raw_frame(payload)).collect();
    for cuts in [&[][..], &[1; 50], &[100; 300]] {
        let outcome = feed_cut(&mut Link::raw(), &bytes, cuts, &LIMITS);
        assert_eq!((outcome.status, outcome.out.len(), outcome.framing), (Status::Open, 0, Framing::Raw));
        assert!(outcome.payloads.iter().map(|(payload, _)| payload).eq(&payloads));
        assert!(outcome.payloads.iter().all(|(_, json)| !json));
    }
}

#[test]
fn the_limit_holds_and_one_byte_more_is_too_large() {
    let limits = LinkLimits { frame_bytes: 1000, ..LIMITS };
    assert_eq!(feed_cut(&mut Link::raw(), &raw_frame(&[1; 1000]), &[], &limits).payloads.len(), 1);
    let outcome = feed_cut(&mut Link::raw(), &raw_frame(&[1; 1001])[..2], &[], &limits);
    assert_eq!((outcome.status, outcome.payloads.len(), outcome.out.len()), (Status::Closing, 0, 0));
    assert_eq!(outcome.error, Some(("too_large", "a frame of 1001 bytes; the limit is 1000".to_owned())));
}

#[test]
fn a_length_above_five_bytes_is_malformed() {
    let mut link = Link::raw();
    let outcome = feed(&mut link, b"\x01a\x80\x80\x80\x80\x80\x01");
    assert_eq!(outcome.payloads, [(b"a".to_vec(), false)]);
    assert_eq!(outcome.status, Status::Closing);
    assert_eq!(outcome.error.expect("an error").0, "malformed");
    let after = feed(&mut link, &raw_frame(b"late"));
    assert_eq!((after.status, after.payloads.len()), (Status::Closing, 0));
    assert!(after.error.is_some(), "kept until it was told");
}

#[test]
fn stop_leaves_the_rest_unread_and_is_no_error() {
    let bytes = [raw_frame(b"stop"), raw_frame(b"more")].concat();
    for cuts in [&[][..], &[1; 20]] {
        let outcome = feed_cut(&mut Link::raw(), &bytes, cuts, &LIMITS);
        assert_eq!((outcome.status, outcome.payloads.len(), outcome.error), (Status::Closing, 1, None));
    }
}
