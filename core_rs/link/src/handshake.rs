//! The opening handshake of RFC 6455, section 4.2, and refusals that a person can read.
//!
//! A request is ours if it is for the WebSocket's path and asks to upgrade to `websocket`. Then it is answered here, with
//! 101 or with what is wrong with it. Extensions are never agreed to: ciphertext does not compress.
//!
//! `Origin` is not judged: who may connect is decided by a token inside the protocol, never by a cookie, so a foreign page
//! gains nothing by opening a connection.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha1::{Digest as _, Sha1};

use super::SUBPROTOCOL;

/// RFC 6455, 1.3.
const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
const KEY_BYTES: usize = 16;
/// Optional white space (RFC 9110, 5.6.3).
const BLANK: [char; 2] = [' ', '\t'];
const PATHS: [&str; 2] = ["/v1", "/"];

/// What became of a request head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// 101 is written; frames follow.
    Accepted,
    /// A refusal is written.
    Refused,
    /// It does not ask for a WebSocket.
    NotForUs,
}

/// Is this request line (without its line feed) for the WebSocket's path, whatever its method?
pub(super) fn is_for_us(line: &[u8]) -> bool {
    let Some(line) = line.strip_suffix(b"\r").and_then(|line| str::from_utf8(line).ok()) else { return false };
    request_line(line).is_some_and(|(_, target, _)| PATHS.contains(&path(target)))
}

/// Answers a complete request head, its empty line included, for one of the WebSocket's paths.
pub(super) fn answer(head: &[u8], out: &mut Vec<u8>) -> Answer {
    match judge(head) {
        Ok(None) => Answer::NotForUs,
        Ok(Some(accepted)) => {
            out.extend_from_slice(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n");
            out.extend_from_slice(format!("Sec-WebSocket-Accept: {}\r\n", accepted.accept).as_bytes());
            if accepted.subprotocol {
                out.extend_from_slice(format!("Sec-WebSocket-Protocol: {SUBPROTOCOL}\r\n").as_bytes());
            }
            out.extend_from_slice(b"\r\n");
            Answer::Accepted
        }
        Err(refusal) => {
            put_refusal(out, &refusal);
            Answer::Refused
        }
    }
}

/// The refusal of a head above `limit` bytes.
pub(super) fn refuse_length(out: &mut Vec<u8>, limit: usize) {
    let reason = format!("The head of the request is longer than {limit} bytes.");
    put_refusal(out, &Refusal { status: "431 Request Header Fields Too Large", headers: "", reason });
}

struct Accepted {
    accept: String,
    subprotocol: bool,
}

struct Refusal {
    status: &'static str,
    /// Whole lines.
    headers: &'static str,
    reason: String,
}

/// The headers that matter here; list-valued ones joined (RFC 9110, 5.3).
#[derive(Default)]
struct Headers<'a> {
    host: Vec<&'a str>,
    key: Vec<&'a str>,
    version: Vec<&'a str>,
    upgrade: Vec<&'a str>,
    connection: Vec<&'a str>,
    protocols: Vec<&'a str>,
    body: bool,
    malformed: bool,
}

/// `None`: no WebSocket is asked for.
fn judge(head: &[u8]) -> Result<Option<Accepted>, Refusal> {
    // Header values may hold any byte from 0x80 up (RFC 9110, 5.5); none that matters here does.
    let head = String::from_utf8_lossy(head);
    let mut lines = head.split("\r\n");
    let Some((method, _, version)) = lines.next().and_then(request_line) else { return Ok(None) };
    let headers = Headers::read(lines);
    if !headers.upgrade.iter().any(|token| token.eq_ignore_ascii_case("websocket")) {
        return Ok(None);
    }
    if headers.malformed {
        return Err(bad("A header line is not of the form `Name: value`."));
    }
    if method != "GET" {
        let reason = format!("A WebSocket is opened with GET; this request says {method}.");
        return Err(Refusal { status: "405 Method Not Allowed", headers: "Allow: GET\r\n", reason });
    }
    if version != "HTTP/1.1" {
        return Err(bad(format!("A WebSocket is opened with HTTP/1.1; this request says {version}.")));
    }
    if headers.host.len() != 1 {
        return Err(bad("The request needs exactly one Host header."));
    }
    if !headers.connection.iter().any(|token| token.eq_ignore_ascii_case("upgrade")) {
        return Err(bad("The Connection header does not say Upgrade; a proxy in between may have removed it."));
    }
    if headers.body {
        return Err(bad("The request that opens a WebSocket has no body."));
    }
    match headers.version.as_slice() {
        ["13"] => {}
        [] => return Err(bad("The request needs a Sec-WebSocket-Version header, 13.")),
        other => {
            return Err(Refusal {
                status: "426 Upgrade Required",
                headers: "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n",
                reason: format!("WebSocket version 13 is spoken here; this request says {}.", other.join(", ")),
            });
        }
    }
    let [key] = headers.key.as_slice() else {
        return Err(bad("The request needs exactly one Sec-WebSocket-Key header."));
    };
    if STANDARD.decode(key).map(|key| key.len()) != Ok(KEY_BYTES) {
        return Err(bad("Sec-WebSocket-Key is not 16 bytes in base64."));
    }
    let accept = STANDARD.encode(Sha1::new().chain_update(key).chain_update(GUID).finalize());
    // Subprotocols are compared as they stand (RFC 6455, 4.2.2).
    let subprotocol = headers.protocols.contains(&SUBPROTOCOL);
    Ok(Some(Accepted { accept, subprotocol }))
}

impl<'a> Headers<'a> {
    /// Reads lines up to the empty one.
    fn read(lines: impl Iterator<Item = &'a str>) -> Self {
        let mut headers = Self::default();
        for line in lines.take_while(|line| !line.is_empty()) {
            match line.split_once(':') {
                Some((name, value)) if is_token(name) && !value.contains(['\r', '\n', '\0']) => {
                    headers.put(name, value.trim_matches(BLANK));
                }
                _ => headers.malformed = true,
            }
        }
        headers
    }

    fn put(&mut self, name: &str, value: &'a str) {
        match name.to_ascii_lowercase().as_str() {
            "host" => self.host.push(value),
            "sec-websocket-key" => self.key.push(value),
            "sec-websocket-version" => self.version.push(value),
            "upgrade" => self.upgrade.extend(list(value)),
            "connection" => self.connection.extend(list(value)),
            "sec-websocket-protocol" => self.protocols.extend(list(value)),
            "content-length" => self.body |= value != "0",
            "transfer-encoding" => self.body = true,
            _ => {}
        }
    }
}

fn list(value: &str) -> impl Iterator<Item = &str> {
    value.split(',').map(|token| token.trim_matches(BLANK)).filter(|token| !token.is_empty())
}

/// RFC 9110, 5.6.2.
fn is_token(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
}

/// Method, target and version.
fn request_line(line: &str) -> Option<(&str, &str, &str)> {
    let mut words = line.split(' ');
    let line = (words.next()?, words.next()?, words.next()?);
    words.next().is_none().then_some(line)
}

/// The path of a target in origin form (`/v1?x`) or absolute form (`http://host/v1?x`).
fn path(target: &str) -> &str {
    let target = match target.split_once("://") {
        Some((_, rest)) if !target.starts_with('/') => rest.find('/').and_then(|at| rest.get(at..)).unwrap_or("/"),
        _ => target,
    };
    target.split_once('?').map_or(target, |(path, _)| path)
}

fn bad(reason: impl Into<String>) -> Refusal {
    Refusal { status: "400 Bad Request", headers: "", reason: reason.into() }
}

fn put_refusal(out: &mut Vec<u8>, refusal: &Refusal) {
    let Refusal { status, headers, reason } = refusal;
    let length = reason.len() + 1;
    let text = format!(
        "HTTP/1.1 {status}\r\n{headers}Connection: close\r\nContent-Type: text/plain; charset=utf-8\r\n\
         Content-Length: {length}\r\n\r\n{reason}\n"
    );
    out.extend_from_slice(text.as_bytes());
}
