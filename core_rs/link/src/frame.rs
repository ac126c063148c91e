//! The header of a client's WebSocket frame (RFC 6455, 5.2), and a frame whose payload is arriving.
//!
//! ```text
//!  byte 0            byte 1            0, 2 or 8 bytes    4 bytes
//! +-+---+-------+   +-+-----------+   +--------------+   +------+   +---------+
//! |F|RSV|opcode |   |M| length 7  |   | longer length|   | mask |   | payload |
//! +-+---+-------+   +-+-----------+   +--------------+   +------+   +---------+
//! ```
//! Knows what holds for one frame alone; what may follow what is known in the module above.

use super::close::Failure;
use super::mask::Mask;
use super::outgoing::put_websocket;

/// Two bytes, eight of length, four of mask.
pub(super) const MAX_HEADER: usize = 14;

const FINAL: u8 = 0x80;
const RESERVED: u8 = 0x70;
const OPCODE: u8 = 0x0f;
const MASKED: u8 = 0x80;
/// Longest payload of a control frame, bytes.
const CONTROL_BYTES: u64 = 125;

/// The opcode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Continuation,
    Text,
    Binary,
    Close,
    Ping,
    Pong,
}

impl Kind {
    fn of(opcode: u8) -> Option<Self> {
        match opcode {
            0x0 => Some(Self::Continuation),
            0x1 => Some(Self::Text),
            0x2 => Some(Self::Binary),
            0x8 => Some(Self::Close),
            0x9 => Some(Self::Ping),
            0xa => Some(Self::Pong),
            _ => None,
        }
    }

    fn opcode(self) -> u8 {
        match self {
            Self::Continuation => 0x0,
            Self::Text => 0x1,
            Self::Binary => 0x2,
            Self::Close => 0x8,
            Self::Ping => 0x9,
            Self::Pong => 0xa,
        }
    }

    pub(super) fn is_control(self) -> bool {
        matches!(self, Self::Close | Self::Ping | Self::Pong)
    }
}

/// A complete and valid header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) kind: Kind,
    /// Of a message: its last fragment.
    pub(super) last: bool,
    pub(super) len: u64,
    mask: [u8; 4],
}

impl Header {
    /// The header at the front of `bytes` and its size; `None` while it is incomplete. Looks at nothing behind it.
    pub(super) fn parse(bytes: &[u8]) -> Result<Option<(Self, usize)>, Failure> {
        let [first, second, rest @ ..] = bytes else { return Ok(None) };
        if first & RESERVED != 0 {
            return Err(Failure::protocol("reserved bits are set, and no extension was agreed"));
        }
        let Some(kind) = Kind::of(first & OPCODE) else {
            return Err(Failure::protocol("a reserved opcode"));
        };
        if second & MASKED == 0 {
            return Err(Failure::protocol("a frame without a mask"));
        }
        let last = first & FINAL != 0;
        let short = u64::from(second & !MASKED);
        if kind.is_control() && !last {
            return Err(Failure::protocol("a control frame in fragments"));
        }
        if kind.is_control() && short > CONTROL_BYTES {
            return Err(Failure::protocol("a control frame above 125 bytes"));
        }
        let (len, rest) = match short {
            126 => match rest.split_first_chunk() {
                Some((len, rest)) => (u64::from(u16::from_be_bytes(*len)), rest),
                None => return Ok(None),
            },
            127 => match rest.split_first_chunk() {
                Some((len, rest)) => (u64::from_be_bytes(*len), rest),
                None => return Ok(None),
            },
            _ => (short, rest),
        };
        if (short == 126 && len < 126) || (short == 127 && len <= 0xffff) {
            return Err(Failure::protocol("a length that is not in its shortest form"));
        }
        if len >> 63 != 0 {
            return Err(Failure::protocol("a length with its highest bit set"));
        }
        let Some((mask, rest)) = rest.split_first_chunk() else { return Ok(None) };
        Ok(Some((Self { kind, last, len, mask: *mask }, bytes.len() - rest.len())))
    }
}

/// A frame whose header is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Frame {
    pub(super) kind: Kind,
    pub(super) last: bool,
    /// Payload bytes that have not arrived.
    pub(super) left: usize,
    mask: Mask,
}

impl Frame {
    pub(super) fn new(header: Header) -> Self {
        let left = usize::try_from(header.len).unwrap_or(usize::MAX);
        Self { kind: header.kind, last: header.last, left, mask: Mask::new(header.mask) }
    }

    /// One that begins a message, before anything of it arrived.
    pub(super) fn fragment(text: bool) -> Self {
        Self { kind: if text { Kind::Text } else { Kind::Binary }, last: false, left: 0, mask: Mask::new([0; 4]) }
    }

    /// Appends the frame as a client may have sent it, as far as it arrived: its header and these bytes.
    pub(super) fn replay(&self, arrived: &[u8], out: &mut Vec<u8>) {
        let mut mask = self.mask.before(arrived.len());
        let at = out.len();
        put_websocket(out, if self.last { FINAL } else { 0 } | self.kind.opcode(), arrived.len() + self.left);
        if let Some(length) = out.get_mut(at + 1) {
            *length |= MASKED;
        }
        out.extend_from_slice(&mask.key());
        let at = out.len();
        out.extend_from_slice(arrived);
        mask.apply(out.get_mut(at..).unwrap_or_default());
    }

    /// Unmasks the payload's next bytes in place.
    pub(super) fn take(&mut self, chunk: &mut [u8]) {
        self.mask.apply(chunk);
        self.left = self.left.saturating_sub(chunk.len());
    }
}
