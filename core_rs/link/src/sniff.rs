//! The first bytes of a connection tell its carrier.
//!
//! - [`MAGIC`]: raw frames follow. The same with another version: refused, in words.
//! - an HTTP request for the WebSocket's path that asks for an upgrade: answered here ([`handshake`]);
//! - anything else: HTTP, from its first byte on. Bytes that cannot begin a request are the HTTP server's to refuse.
//!
//! Only requests for the WebSocket's paths are read to the end of their head before it is known whose they are.

use super::handshake::{self, Answer};
use super::{LinkLimits, MAGIC};

const HEAD_END: &[u8] = b"\r\n\r\n";

/// Bytes that were read before the carrier was known.
#[derive(Debug, Default)]
pub(super) struct Head {
    bytes: Vec<u8>,
    /// It is a request for the WebSocket's path.
    ours: bool,
}

impl Head {
    pub(super) fn push(&mut self, data: &[u8]) {
        self.bytes.extend_from_slice(data);
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }
}

/// Of what is HTTP.
impl From<Vec<u8>> for Head {
    fn from(bytes: Vec<u8>) -> Self {
        Self { bytes, ours: false }
    }
}

/// What the bytes so far say.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Sniffed {
    /// Nothing yet.
    Unknown,
    Raw,
    /// Raw framing of a version that is not spoken here.
    ForeignMagic(u8),
    /// The handshake is answered.
    WebSocket,
    /// The handshake is refused: flush and close.
    Refused,
    /// The bytes before this read are in the head.
    Http,
}

/// Looks at `data` after what `head` holds. Returns what it is, and how many bytes of `data` are used up; what is undecided
/// moves into `head`.
pub(super) fn sniff(
    head: &mut Option<Box<Head>>,
    data: &[u8],
    limits: &LinkLimits,
    out: &mut Vec<u8>,
) -> (Sniffed, usize) {
    let held = head.as_ref().map_or(0, |head| head.bytes.len());
    let mut ours = head.as_ref().is_some_and(|head| head.ours);
    let (sniffed, end) = match head {
        None => decide(data, 0, &mut ours, limits, out),
        Some(head) => {
            head.push(data);
            decide(&head.bytes, held, &mut ours, limits, out)
        }
    };
    match sniffed {
        Sniffed::Unknown => {
            if !data.is_empty() {
                let head = head.get_or_insert_default();
                head.ours = ours;
                if held == 0 {
                    head.push(data);
                }
            }
            (Sniffed::Unknown, data.len())
        }
        Sniffed::Http => {
            if let Some(head) = head {
                head.bytes.truncate(held);
            }
            (Sniffed::Http, 0)
        }
        decided => {
            *head = None;
            (decided, end.saturating_sub(held))
        }
    }
}

/// What `bytes` are, and where what follows the first decision begins. The first `seen` of them did not decide it.
fn decide(bytes: &[u8], seen: usize, ours: &mut bool, limits: &LinkLimits, out: &mut Vec<u8>) -> (Sniffed, usize) {
    if let Some(decided) = magic(bytes) {
        return decided;
    }
    if !bytes.first().is_some_and(u8::is_ascii_uppercase) {
        return (if bytes.is_empty() { Sniffed::Unknown } else { Sniffed::Http }, 0);
    }
    let within = bytes.get(..limits.http_head_bytes).unwrap_or(bytes);
    if !*ours {
        // A line feed that was seen before would have decided it.
        let new = within.get(seen..).unwrap_or_default();
        match new.iter().position(|&byte| byte == b'\n') {
            Some(at) if handshake::is_for_us(within.get(..seen + at).unwrap_or_default()) => *ours = true,
            Some(_) => return (Sniffed::Http, 0),
            None => return too_long_or_unknown(bytes, limits, out),
        }
    }
    let from = seen.saturating_sub(HEAD_END.len() - 1);
    let new = within.get(from..).unwrap_or_default();
    let Some(at) = new.windows(HEAD_END.len()).position(|window| window == HEAD_END) else {
        return too_long_or_unknown(bytes, limits, out);
    };
    let end = from + at + HEAD_END.len();
    match handshake::answer(bytes.get(..end).unwrap_or_default(), out) {
        Answer::Accepted => (Sniffed::WebSocket, end),
        Answer::Refused => (Sniffed::Refused, end),
        Answer::NotForUs => (Sniffed::Http, 0),
    }
}

fn too_long_or_unknown(bytes: &[u8], limits: &LinkLimits, out: &mut Vec<u8>) -> (Sniffed, usize) {
    if bytes.len() < limits.http_head_bytes {
        return (Sniffed::Unknown, 0);
    }
    handshake::refuse_length(out, limits.http_head_bytes);
    (Sniffed::Refused, bytes.len())
}

/// `None`: these bytes are no magic.
fn magic(bytes: &[u8]) -> Option<(Sniffed, usize)> {
    let [name @ .., version] = MAGIC;
    match bytes.strip_prefix(&name) {
        Some([]) => Some((Sniffed::Unknown, 0)),
        Some([found, ..]) if *found == version => Some((Sniffed::Raw, MAGIC.len())),
        Some([found, ..]) => Some((Sniffed::ForeignMagic(*found), MAGIC.len())),
        None if !bytes.is_empty() && name.starts_with(bytes) => Some((Sniffed::Unknown, 0)),
        None => None,
    }
}

/// The words for [`Sniffed::ForeignMagic`].
pub(super) fn foreign_magic(version: u8) -> String {
    let [.., ours] = MAGIC;
    format!("raw framing version {version}; this server speaks version {ours}")
}
