//! Close frames of RFC 6455 (5.5.1, 7.4): what may stand in one, and writing one.

use super::outgoing::put_websocket;

/// The peer broke a rule of the protocol.
pub(super) const PROTOCOL_ERROR: u16 = 1002;
/// Text that is not UTF-8.
pub(super) const NOT_UTF8: u16 = 1007;

const FINAL_CLOSE: u8 = 0x88;
/// A control frame's payload is at most 125 bytes; two are the code.
const REASON_BYTES: usize = 123;

/// Why a WebSocket is failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Failure {
    pub(super) code: u16,
    pub(super) reason: &'static str,
}

impl Failure {
    pub(super) fn protocol(reason: &'static str) -> Self {
        Self { code: PROTOCOL_ERROR, reason }
    }
}

/// A close frame with `code` and as much of `reason` as fits.
pub(super) fn put(out: &mut Vec<u8>, code: u16, reason: &str) {
    let end = (0..=REASON_BYTES.min(reason.len())).rev().find(|&end| reason.is_char_boundary(end)).unwrap_or(0);
    let reason = reason.get(..end).unwrap_or_default();
    put_websocket(out, FINAL_CLOSE, 2 + reason.len());
    out.extend_from_slice(&code.to_be_bytes());
    out.extend_from_slice(reason.as_bytes());
}

/// The answer to a close frame: its code, if it had one. The reason is the peer's and stays with it.
pub(super) fn put_reply(out: &mut Vec<u8>, code: Option<u16>) {
    match code {
        Some(code) => put(out, code, ""),
        None => put_websocket(out, FINAL_CLOSE, 0),
    }
}

/// The code in a close frame's payload; `None` for an empty one.
pub(super) fn read(payload: &[u8]) -> Result<Option<u16>, Failure> {
    let Some((code, reason)) = payload.split_first_chunk::<2>() else {
        return if payload.is_empty() { Ok(None) } else { Err(Failure::protocol("a close frame with half a code")) };
    };
    let code = u16::from_be_bytes(*code);
    if !may_be_sent(code) {
        return Err(Failure::protocol("a close code that must not be sent"));
    }
    if simdutf8::basic::from_utf8(reason).is_err() {
        return Err(Failure { code: NOT_UTF8, reason: "a close reason that is not UTF-8" });
    }
    Ok(Some(code))
}

/// RFC 6455, 7.4 and the IANA registry: 1004 is reserved; 1005, 1006 and 1015 never travel; 1012 to 1014 were registered
/// later; 3000 to 4999 are for libraries and applications.
fn may_be_sent(code: u16) -> bool {
    matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999)
}
