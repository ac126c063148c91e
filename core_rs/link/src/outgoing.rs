//! The header before each frame that is sent. A server's frames carry no mask (RFC 6455, 5.1), so that the same bytes serve
//! every recipient with the same framing.

use super::Framing;

const FINAL: u8 = 0x80;
const TEXT: u8 = 0x1;
const BINARY: u8 = 0x2;

/// Writes the header of one frame with `len` bytes of payload.
pub fn put_header(out: &mut Vec<u8>, framing: Framing, len: usize) {
    match framing {
        Framing::Raw => put_varint(out, len),
        Framing::WsBinary => put_websocket(out, FINAL | BINARY, len),
        Framing::WsText => put_websocket(out, FINAL | TEXT, len),
    }
}

/// Bytes that [`put_header`] writes.
#[must_use]
pub fn header_len(framing: Framing, len: usize) -> usize {
    match framing {
        Framing::Raw => (usize::BITS - (len | 1).leading_zeros()).div_ceil(7) as usize,
        Framing::WsBinary | Framing::WsText => match len {
            0..=125 => 2,
            126..=0xffff => 4,
            _ => 10,
        },
    }
}

/// `first` is the final bit and the opcode; the length in the fewest bytes (RFC 6455, 5.2).
#[allow(clippy::cast_possible_truncation, reason = "each arm's pattern bounds the value")]
pub(super) fn put_websocket(out: &mut Vec<u8>, first: u8, len: usize) {
    out.push(first);
    match len {
        0..=125 => out.push(len as u8),
        126..=0xffff => {
            out.push(126);
            out.extend_from_slice(&(len as u16).to_be_bytes());
        }
        _ => {
            out.push(127);
            out.extend_from_slice(&(len as u64).to_be_bytes());
        }
    }
}

#[allow(clippy::cast_possible_truncation, reason = "seven bits at a time")]
fn put_varint(out: &mut Vec<u8>, mut value: usize) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(framing: Framing, len: usize) -> Vec<u8> {
        let mut out = Vec::new();
        put_header(&mut out, framing, len);
        assert_eq!(out.len(), header_len(framing, len), "{framing:?} {len}");
        out
    }

    #[test]
    fn lengths_take_the_fewest_bytes() {
        assert_eq!(header(Framing::WsBinary, 0), [0x82, 0]);
        assert_eq!(header(Framing::WsBinary, 125), [0x82, 125]);
        assert_eq!(header(Framing::WsText, 126), [0x81, 126, 0, 126]);
        assert_eq!(header(Framing::WsText, 0xffff), [0x81, 126, 0xff, 0xff]);
        assert_eq!(header(Framing::WsText, 0x1_0000), [0x81, 127, 0, 0, 0, 0, 0, 1, 0, 0]);
    }

    #[test]
    fn raw_lengths_are_varints() {
        assert_eq!(header(Framing::Raw, 0), [0]);
        assert_eq!(header(Framing::Raw, 127), [127]);
        assert_eq!(header(Framing::Raw, 128), [0x80, 1]);
        assert_eq!(header(Framing::Raw, 300), [0xac, 2]);
        for shift in 0..40 {
            header(Framing::Raw, 1 << shift);
            header(Framing::Raw, (1 << shift) - 1);
        }
    }
}
