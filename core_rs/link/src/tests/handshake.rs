//! RFC 6455, 4: the opening handshake, accepted and refused.

use super::*;

/// The handshake with `from` replaced.
fn with(from: &str, to: &str) -> String {
    assert!(HANDSHAKE.contains(from));
    HANDSHAKE.replace(from, to)
}

fn answer(request: &str) -> (Status, String) {
    let outcome = feed(&mut Link::sniffing(), request.as_bytes());
    (outcome.status, String::from_utf8(outcome.out).expect("an answer in ASCII"))
}

fn accepted(request: &str) -> String {
    let (status, answer) = answer(request);
    assert_eq!(status, Status::Open, "{request}\n{answer}");
    assert!(answer.starts_with("HTTP/1.1 101 Switching Protocols\r\n") && answer.ends_with("\r\n\r\n"), "{answer}");
    answer
}

/// Asserts a refusal that a person can read, and returns it.
fn refused(request: &str, status: &str) -> String {
    let (link, answer) = answer(request);
    assert_eq!(link, Status::Closing, "{request}");
    assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{answer}");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
    assert!(head.contains("\r\nConnection: close"), "{answer}");
    assert!(head.contains(&format!("\r\nContent-Length: {}", body.len())), "{answer}");
    assert!(body.len() > 20 && body.ends_with(".\n"), "{answer}");
    answer
}

/// A request that is HTTP's.
fn left_to_http(request: &str) {
    let mut link = Link::sniffing();
    let outcome = feed(&mut link, request.as_bytes());
    assert_eq!((outcome.status, outcome.out.len()), (Status::Http, 0), "{request}");
    assert_eq!(link.take_http_prefix(), request.as_bytes());
}

#[test]
fn the_rfcs_example_is_accepted_1_3() {
    assert_eq!(
        accepted(HANDSHAKE),
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
    );
}

#[test]
fn names_and_tokens_are_compared_without_case_4_2_1() {
    accepted(&with("Upgrade: websocket", "uPGRADE: WebSocket"));
    accepted(&with("Connection: Upgrade", "CONNECTION:upgrade"));
    accepted(&with("Sec-WebSocket-Key", "sec-websocket-KEY"));
    accepted(&with("Sec-WebSocket-Version", "sec-websocket-version"));
    accepted(&with("Host: router.example", "hOST: router.example"));
}

#[test]
fn white_space_around_values_is_no_part_of_them() {
    accepted(&with("Key: dGhlIHNhbXBsZSBub25jZQ==", "Key:\t dGhlIHNhbXBsZSBub25jZQ== \t"));
    accepted(&with("Version: 13", "Version:13  "));
}

#[test]
fn connection_and_upgrade_are_lists_4_2_1() {
    accepted(&with("Connection: Upgrade", "Connection: keep-alive, Upgrade"));
    accepted(&with("Connection: Upgrade", "Connection: keep-alive\r\nConnection: , upgrade,"));
    accepted(&with("Upgrade: websocket", "Upgrade: h2c, websocket"));
}

#[test]
fn both_paths_with_any_query_and_the_absolute_form_are_ours() {
    for target in
        ["/", "/v1", "/v1?", "/?a=b", "/v1?next=http://x/y", "http://router.example/v1", "http://router.example"]
    {
        accepted(&with("GET /v1 ", &format!("GET {target} ")));
    }
}

#[test]
fn other_paths_are_https() {
    for target in ["/v2", "/v1/", "/v11", "//v1", "/chat", "*", "http://router.example/chat"] {
        left_to_http(&with("GET /v1 ", &format!("GET {target} ")));
    }
}

#[test]
fn a_request_without_upgrade_is_https() {
    left_to_http(&with("Upgrade: websocket\r\n", ""));
    left_to_http(&with("Upgrade: websocket", "Upgrade: h2c"));
    left_to_http("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    left_to_http("POST /v1 HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n{}");
    left_to_http("GET / HTTP/1.0\r\n\r\n");
}

#[test]
fn what_other_servers_would_refuse_is_left_to_http() {
    for request in ["GET /v1\r\n\r\n", "GET  /v1 HTTP/1.1\r\n", "GET /v1 HTTP/1.1 x\r\n", "GET /v1 HTTP/1.1\n\n"] {
        left_to_http(request);
    }
}

#[test]
fn a_version_other_than_13_gets_426_that_names_13_4_2_2() {
    for version in ["8", "14", "013", "13, 8", "x", ""] {
        let answer = refused(&with("Version: 13", &format!("Version: {version}")), "426 Upgrade Required");
        assert!(answer.contains("\r\nSec-WebSocket-Version: 13\r\n"), "{answer}");
        assert!(answer.contains("\r\nUpgrade: websocket\r\n"), "RFC 9110, 15.5.22: {answer}");
    }
    refused(&with("Version: 13", "Version: 13\r\nSec-WebSocket-Version: 8"), "426");
}

#[test]
fn a_missing_version_gets_400() {
    refused(&with("Sec-WebSocket-Version: 13\r\n", ""), "400");
}

#[test]
fn a_missing_invalid_or_repeated_key_gets_400_4_2_1() {
    let key = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==";
    for wrong in [
        "",
        "dGhlIHNhbXBsZSBub25jZQ",
        "dGhlIHNhbXBsZSBub25j",
        "AAAAAAAAAAAAAAAAAAAAAAAAAAA=",
        "not base64 at all!!!!==",
        "é",
    ] {
        refused(&with(key, &format!("Sec-WebSocket-Key: {wrong}")), "400");
    }
    refused(&with(&format!("{key}\r\n"), ""), "400");
    refused(&with(key, &format!("{key}\r\n{key}")), "400");
}

#[test]
fn a_method_other_than_get_gets_405_4_1() {
    for method in ["POST", "HEAD", "PUT", "get".to_uppercase().replace("GET", "GETT").as_str()] {
        assert!(refused(&with("GET ", &format!("{method} ")), "405").contains("\r\nAllow: GET\r\n"));
    }
}

#[test]
fn http_1_0_gets_400_4_1() {
    refused(&with("HTTP/1.1", "HTTP/1.0"), "400");
}

#[test]
fn a_missing_or_repeated_host_gets_400_4_2_1() {
    refused(&with("Host: router.example\r\n", ""), "400");
    refused(&with("Host: router.example\r\n", "Host: a\r\nHost: b\r\n"), "400");
}

#[test]
fn connection_without_upgrade_gets_400_that_hints_at_a_proxy_4_2_1() {
    for other in ["Connection: keep-alive", "Connection: upgraded", "Connection:", "X: y"] {
        assert!(refused(&with("Connection: Upgrade", other), "400").contains("proxy"));
    }
}

#[test]
fn a_body_gets_400() {
    refused(&with("Host:", "Content-Length: 5\r\nHost:"), "400");
    refused(&with("Host:", "Transfer-Encoding: chunked\r\nHost:"), "400");
    accepted(&with("Host:", "Content-Length: 0\r\nHost:"));
}

#[test]
fn a_malformed_header_line_gets_400() {
    for line in ["no colon", ": no name", "a name: x", "Name : x", " folded: x", "x: a\nb: c", "x: a\rb", "x: \0"] {
        refused(&with("Host:", &format!("{line}\r\nHost:")), "400");
    }
}

#[test]
fn header_values_may_hold_other_bytes_than_ascii() {
    let request = with("Host:", "X-Name: @\r\nHost:").replace('@', "\u{e9}");
    accepted(&request);
    let latin1: Vec<u8> = request.chars().map(|c| c as u8).collect();
    assert_eq!(feed(&mut Link::sniffing(), &latin1).status, Status::Open);
}

#[test]
fn our_subprotocol_is_echoed_if_offered_and_no_other_4_2_2() {
    let offer = |lines: &str| accepted(&with("Host:", &format!("{lines}\r\nHost:")));
    let echo = "\r\nSec-WebSocket-Protocol: pyrouter.v1\r\n";
    assert!(offer("Sec-WebSocket-Protocol: pyrouter.v1").contains(echo));
    assert!(offer("Sec-WebSocket-Protocol: chat, pyrouter.v1").contains(echo));
    assert!(offer("Sec-WebSocket-Protocol: chat\r\nsec-websocket-protocol: pyrouter.v1").contains(echo));
    assert!(!offer("Sec-WebSocket-Protocol: chat, PYROUTER.V1").contains("Protocol:"));
}

#[test]
fn extensions_are_declined_9_1() {
    let answer = accepted(&with("Host:", "Sec-WebSocket-Extensions: permessage-deflate\r\nHost:"));
    assert!(!answer.contains("Extensions"));
}

#[test]
fn the_head_limit_holds_and_one_byte_more_gets_431() {
    let padded = |len: usize| {
        let pad = len - HANDSHAKE.len() - "X: \r\n".len();
        with("Host:", &format!("X: {}\r\nHost:", "x".repeat(pad)))
    };
    let at = padded(LIMITS.http_head_bytes);
    assert_eq!(at.len(), LIMITS.http_head_bytes);
    accepted(&at);
    refused(&padded(LIMITS.http_head_bytes + 1), "431");
    refused(&at[..at.len() - 4].replace("\r\nHost", "yyyy\r\nHost"), "431");
}

#[test]
fn a_request_line_without_end_gets_431() {
    refused(&format!("GET /v1?{}", "x".repeat(LIMITS.http_head_bytes)), "431");
}

#[test]
fn frames_right_behind_the_handshake_are_read() {
    let bytes = [HANDSHAKE.as_bytes(), &frame(FINAL | TEXT, b"at once"), &frame(FINAL | PING, b"!")].concat();
    for cut in 0..bytes.len() {
        let outcome = feed_cut(&mut Link::sniffing(), &bytes, &[cut], &LIMITS);
        assert_eq!(outcome.payloads, [(b"at once".to_vec(), true)], "cut at {cut}");
        assert!(outcome.out.ends_with(b"\r\n\r\n\x8a\x01!"), "cut at {cut}");
    }
}

#[test]
fn nothing_is_read_after_a_refusal() {
    let mut link = Link::sniffing();
    let bytes = [with("Version: 13", "Version: 8").as_bytes(), HANDSHAKE.as_bytes()].concat();
    let outcome = feed(&mut link, &bytes);
    assert_eq!(outcome.status, Status::Closing);
    let mut out = Vec::new();
    link.close(&mut out, 1000, "no close frame inside HTTP");
    assert!(out.is_empty(), "{out:?}");
    assert!(feed(&mut link, HANDSHAKE.as_bytes()).out.is_empty());
}
