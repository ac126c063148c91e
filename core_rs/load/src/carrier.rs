//! Where a frame begins and ends on a connection, seen from the client: raw frames, or binary WebSocket messages.
//!
//! A client's WebSocket frames are masked (RFC 6455, 5.3). The mask here is four zero bytes: valid, the server unmasks as
//! ever, and the load saves the work.

use super::frames::{put_varint, take_varint};

/// What a raw connection begins with.
pub(super) const MAGIC: &[u8] = b"PYRT\x01";
/// Longest frame of a server that is believed, bytes.
const MOST: usize = 16 << 20;

const FINAL_BINARY: u8 = 0x82;
const PONG: u8 = 0x8a;
const MASKED: u8 = 0x80;

/// The answer to the key below (RFC 6455, 4.2.2): the example of RFC 6455, 1.3.
const ANSWER: &[u8] = b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

/// The request that makes a WebSocket of a connection.
pub(super) fn put_request(out: &mut Vec<u8>, host: &str) {
    let request = format!(
        "GET /v1 HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    );
    out.extend_from_slice(request.as_bytes());
}

/// How long the answer to that request is; `None` while it is incomplete.
pub(super) fn take_answer(bytes: &[u8]) -> Result<Option<usize>, String> {
    let Some(end) = find(bytes, b"\r\n\r\n") else {
        return if bytes.len() > 4096 {
            Err("no end of the WebSocket's answer in 4096 bytes".into())
        } else {
            Ok(None)
        };
    };
    let head = bytes.get(..end).unwrap_or_default();
    if !head.starts_with(b"HTTP/1.1 101") || find(head, ANSWER).is_none() {
        let first = head.split(|byte| *byte == b'\r').next().unwrap_or_default();
        return Err(format!("no WebSocket, but: {}", String::from_utf8_lossy(first)));
    }
    Ok(Some(end + 4))
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|window| window == wanted)
}

/// Appends what stands before a frame of `len` bytes.
#[inline]
pub(super) fn put_header(out: &mut Vec<u8>, websocket: bool, len: usize) {
    if !websocket {
        return put_varint(out, len as u64);
    }
    out.push(FINAL_BINARY);
    match len {
        0..=125 => out.push(MASKED | len as u8),
        126..=0xffff => {
            out.push(MASKED | 126);
            out.extend_from_slice(&(len as u16).to_be_bytes());
        }
        _ => {
            out.push(MASKED | 127);
            out.extend_from_slice(&(len as u64).to_be_bytes());
        }
    }
    out.extend_from_slice(&[0; 4]);
}

/// Appends a WebSocket's answer to a ping.
pub(super) fn put_pong(out: &mut Vec<u8>, payload: &[u8]) {
    out.extend_from_slice(&[PONG, MASKED | (payload.len() & 0x7f) as u8, 0, 0, 0, 0]);
    out.extend_from_slice(payload);
}

/// The next thing on a connection.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Taken<'a> {
    Frame(&'a [u8]),
    /// Of a WebSocket.
    Ping(&'a [u8]),
    /// Of a WebSocket: code and reason.
    Close(u16, &'a [u8]),
    /// Of a WebSocket, and of no interest.
    Pong,
    Incomplete,
    Bad(&'static str),
}

/// Takes it off the front of `rest`, which is left as it is unless that is complete.
#[inline]
pub(super) fn take<'a>(rest: &mut &'a [u8], websocket: bool) -> Taken<'a> {
    if websocket { take_websocket(rest) } else { take_raw(rest) }
}

#[inline]
fn take_raw<'a>(rest: &mut &'a [u8]) -> Taken<'a> {
    let mut after = *rest;
    let Ok(len) = take_varint(&mut after) else {
        return if rest.len() < 10 { Taken::Incomplete } else { Taken::Bad("a frame without a length") };
    };
    match usize::try_from(len) {
        Ok(len) if len <= MOST => take_payload(rest, after, len, Taken::Frame),
        _ => Taken::Bad("a frame of more than 16 MiB"),
    }
}

fn take_websocket<'a>(rest: &mut &'a [u8]) -> Taken<'a> {
    let [first, second, after @ ..] = *rest else { return Taken::Incomplete };
    let (len, after) = match second {
        0..=125 => (u64::from(*second), after),
        126 => match after.split_first_chunk() {
            Some((len, after)) => (u64::from(u16::from_be_bytes(*len)), after),
            None => return Taken::Incomplete,
        },
        127 => match after.split_first_chunk() {
            Some((len, after)) => (u64::from_be_bytes(*len), after),
            None => return Taken::Incomplete,
        },
        _ => return Taken::Bad("a masked WebSocket frame from the server"),
    };
    let Some(len) = usize::try_from(len).ok().filter(|len| *len <= MOST) else {
        return Taken::Bad("a frame of more than 16 MiB");
    };
    match first {
        0x82 => take_payload(rest, after, len, Taken::Frame),
        0x88 => take_payload(rest, after, len, |payload| match payload.split_first_chunk() {
            Some((code, reason)) => Taken::Close(u16::from_be_bytes(*code), reason),
            None => Taken::Close(1005, &[]),
        }),
        0x89 => take_payload(rest, after, len, Taken::Ping),
        0x8a => take_payload(rest, after, len, |_| Taken::Pong),
        _ => Taken::Bad("a WebSocket frame that is neither binary, whole, nor of control"),
    }
}

#[inline]
fn take_payload<'a>(
    rest: &mut &'a [u8],
    after: &'a [u8],
    len: usize,
    made: impl FnOnce(&'a [u8]) -> Taken<'a>,
) -> Taken<'a> {
    let Some((payload, after)) = after.split_at_checked(len) else { return Taken::Incomplete };
    *rest = after;
    made(payload)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_of_every_length_are_taken_whole_and_only_whole() {
        for len in [0, 1, 125, 126, 127, 128, 0xffff, 0x1_0000] {
            for websocket in [false, true] {
                let mut bytes = Vec::new();
                put_header(&mut bytes, websocket, len);
                if websocket {
                    // As the server says it: without the mask.
                    bytes[1] &= !MASKED;
                    bytes.truncate(bytes.len() - 4);
                }
                bytes.resize(bytes.len() + len, b'x');
                bytes.push(b'y');
                let mut rest = &bytes[..];
                assert_eq!(take(&mut rest, websocket), Taken::Frame(&vec![b'x'; len]));
                assert_eq!(rest, b"y");
                for cut in [0, 1, bytes.len() / 2, bytes.len() - 2] {
                    let mut rest = &bytes[..cut];
                    if len > 0 {
                        assert_eq!(take(&mut rest, websocket), Taken::Incomplete, "{cut} of {len}");
                        assert_eq!(rest.len(), cut);
                    }
                }
            }
        }
    }

    #[test]
    fn control_frames_are_told_apart() {
        let take = |bytes: &'static [u8]| take_websocket(&mut &*bytes);
        assert_eq!(take(b"\x88\x05\x0f\xa0bye"), Taken::Close(4000, b"bye"));
        assert_eq!(take(b"\x88\x00"), Taken::Close(1005, b""));
        assert_eq!(take(b"\x89\x02hi"), Taken::Ping(b"hi"));
        assert_eq!(take(b"\x8a\x00"), Taken::Pong);
        assert!(matches!(take(b"\x02\x01x"), Taken::Bad(_)));
        assert!(matches!(take(b"\x82\x81\0\0\0\0x"), Taken::Bad(_)));
        assert!(matches!(take_raw(&mut &[0xff; 10][..]), Taken::Bad(_)));
    }

    #[test]
    fn the_answer_to_the_request_is_checked() {
        let good = format!("HTTP/1.1 101 x\r\nSec-WebSocket-Accept: {}\r\n\r\nrest", String::from_utf8_lossy(ANSWER));
        assert_eq!(take_answer(good.as_bytes()), Ok(Some(good.len() - 4)));
        assert_eq!(take_answer(&good.as_bytes()[..20]), Ok(None));
        assert!(take_answer(b"HTTP/1.1 404 Not Found\r\n\r\n").unwrap_err().contains("404 Not Found"));
        assert!(take_answer(b"HTTP/1.1 101 x\r\n\r\n").is_err());
        assert!(take_answer(&[b'x'; 5000]).is_err());
    }
}
