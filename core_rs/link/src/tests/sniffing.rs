//! The first bytes tell the carrier.

use super::*;
use crate::MAGIC;

#[test]
fn the_magic_is_raw_and_frames_may_follow_it_at_once() {
    let bytes = [&MAGIC[..], b"\x02hi"].concat();
    for cut in 0..bytes.len() {
        let outcome = feed_cut(&mut Link::sniffing(), &bytes, &[cut], &LIMITS);
        assert_eq!((outcome.status, outcome.framing), (Status::Open, Framing::Raw));
        assert_eq!(outcome.payloads, [(b"hi".to_vec(), false)]);
    }
}

#[test]
fn raw_framing_of_another_version_is_refused_in_words() {
    let outcome = feed_cut(&mut Link::sniffing(), b"PYRT\x02....", &[2, 2], &LIMITS);
    assert_eq!((outcome.status, outcome.out.len()), (Status::Closing, 0));
    let (code, message) = outcome.error.expect("an error");
    assert_eq!((code, message.as_str()), ("version", "raw framing version 2; this server speaks version 1"));
}

#[test]
fn what_begins_like_the_magic_and_is_http_is_https() {
    for request in ["POST /x HTTP/1.1\r\n\r\n", "PYR /x HTTP/1.1\r\n\r\n", "P / HTTP/1.1\r\nHost: a\r\n\r\n"] {
        for cut in 0..request.len() {
            let mut link = Link::sniffing();
            let (a, b) = request.as_bytes().split_at(cut);
            feed(&mut link, a);
            assert_eq!(feed(&mut link, b).status, Status::Http, "{request} cut at {cut}");
            assert_eq!(link.take_http_prefix(), request.as_bytes());
        }
    }
}

#[test]
fn another_path_is_https_as_soon_as_its_line_is_complete() {
    let mut link = Link::sniffing();
    assert_eq!(feed(&mut link, b"GET /healthz HTT").status, Status::Open);
    assert_eq!(feed(&mut link, b"P/1.1\r\nHo").status, Status::Http);
    assert_eq!(link.take_http_prefix(), b"GET /healthz HTTP/1.1\r\nHo");
    assert_eq!(link.take_http_prefix(), b"", "handed over once");
}

#[test]
fn what_arrives_before_the_handover_is_in_it() {
    let mut link = Link::sniffing();
    feed(&mut link, b"GET /x HTTP/1.1\r\n");
    assert_eq!(feed(&mut link, b"Host: a\r\n").status, Status::Http);
    assert_eq!(link.take_http_prefix(), b"GET /x HTTP/1.1\r\nHost: a\r\n");
}

#[test]
fn bytes_that_begin_no_request_are_https_to_refuse() {
    for bytes in [&b"\x16\x03\x01\x02\x00"[..], b"\0", b"\r\n", b"ssh", b"{\"hello\":1}"] {
        let mut link = Link::sniffing();
        assert_eq!(feed(&mut link, &bytes[..1]).status, Status::Http);
        assert_eq!(link.take_http_prefix(), &bytes[..1]);
    }
}

#[test]
fn nothing_is_nothing() {
    let mut link = Link::sniffing();
    let outcome = feed(&mut link, b"");
    assert_eq!((outcome.status, outcome.out.len()), (Status::Open, 0));
    assert_eq!(link.take_http_prefix(), b"");
    assert_eq!(feed(&mut link, HANDSHAKE.as_bytes()).framing, Framing::WsBinary);
}
