//! The frames of docs/wire.md as far as a load needs them: a few lines of protobuf, written and read without a copy.

/// Fields of `ClientFrame`.
pub(super) mod client {
    pub const HELLO: u8 = 1;
    pub const SEND: u8 = 2;
    pub const ACK: u8 = 3;
    pub const PONG: u8 = 6;
    pub const MANAGE: u8 = 8;
}

pub(super) const CONVERSATION: usize = 16;

/// What the server says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Frame<'a> {
    Welcome,
    Accepted {
        id: &'a [u8],
        conversation: u128,
        seq: u64,
    },
    Message(Message<'a>),
    /// `Receipt` and `Receipts`: `delivered` is the highest.
    Receipt {
        /// None: only the version is new.
        conversation: Option<u128>,
        delivered: u64,
        version: &'a [u8],
    },
    Skip {
        from: u64,
        to: u64,
        reason: u64,
        user: &'a [u8],
    },
    Error {
        code: &'a [u8],
        message: &'a [u8],
    },
    Ping(u64),
    Replaced,
    Goodbye(&'a [u8]),
    /// A group's snapshot.
    Group,
    /// Of no interest.
    Other,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Message<'a> {
    pub conversation: u128,
    pub seq: u64,
    pub id: &'a [u8],
    pub body: &'a [u8],
    /// A system message.
    pub change: bool,
}

/// Bytes that are no frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Malformed;

/// Reads what a frame of the server holds.
pub(super) fn decode(payload: &[u8]) -> Result<Frame<'_>, Malformed> {
    let mut outer = Fields(payload);
    let Some((number, Value::Bytes(inner))) = outer.next()? else { return Err(Malformed) };
    if !outer.0.is_empty() {
        return Err(Malformed);
    }
    let mut fields = Fields(inner);
    Ok(match number {
        1 => Frame::Welcome,
        2 => accepted(&mut fields)?,
        3 => message(&mut fields)?,
        4 => receipt(&mut fields)?,
        5 => skip(&mut fields)?,
        6 => error(&mut fields)?,
        7 => Frame::Ping(first_number(&mut fields)?),
        9 => Frame::Replaced,
        10 => Frame::Goodbye(first_bytes(&mut fields)?),
        12 => Frame::Group,
        15 => receipts(&mut fields)?,
        _ => Frame::Other,
    })
}

fn accepted<'a>(fields: &mut Fields<'a>) -> Result<Frame<'a>, Malformed> {
    let (mut id, mut conversation, mut seq) = (&[][..], 0, 0);
    while let Some(field) = fields.next()? {
        match field {
            (1, Value::Bytes(bytes)) => id = bytes,
            (2, Value::Bytes(bytes)) => conversation = conversation_id(bytes)?,
            (3, Value::Number(number)) => seq = number,
            _ => {}
        }
    }
    Ok(Frame::Accepted { id, conversation, seq })
}

fn message<'a>(fields: &mut Fields<'a>) -> Result<Frame<'a>, Malformed> {
    let mut message = Message::default();
    while let Some(field) = fields.next()? {
        match field {
            (1, Value::Bytes(bytes)) => message.conversation = conversation_id(bytes)?,
            (2, Value::Number(number)) => message.seq = number,
            (5, Value::Bytes(bytes)) => message.id = bytes,
            (7, Value::Bytes(bytes)) => message.body = bytes,
            (10, Value::Bytes(_)) => message.change = true,
            _ => {}
        }
    }
    Ok(Frame::Message(message))
}

fn receipt<'a>(fields: &mut Fields<'a>) -> Result<Frame<'a>, Malformed> {
    let (mut conversation, mut delivered, mut version) = (None, 0, &[][..]);
    while let Some(field) = fields.next()? {
        match field {
            (1, Value::Bytes(bytes)) => conversation = Some(conversation_id(bytes)?),
            (3, Value::Number(number)) => delivered = number,
            (5, Value::Bytes(bytes)) => version = bytes,
            _ => {}
        }
    }
    Ok(Frame::Receipt { conversation, delivered, version })
}

fn receipts<'a>(fields: &mut Fields<'a>) -> Result<Frame<'a>, Malformed> {
    let (mut conversation, mut delivered, mut version) = (None, 0, &[][..]);
    while let Some(field) = fields.next()? {
        match field {
            (1, Value::Bytes(bytes)) => conversation = Some(conversation_id(bytes)?),
            (2, Value::Bytes(cursor)) => {
                let mut cursor = Fields(cursor);
                while let Some(field) = cursor.next()? {
                    if let (2, Value::Number(number)) = field {
                        delivered = u64::max(delivered, number);
                    }
                }
            }
            (3, Value::Bytes(bytes)) => version = bytes,
            _ => {}
        }
    }
    Ok(Frame::Receipt { conversation, delivered, version })
}

fn skip<'a>(fields: &mut Fields<'a>) -> Result<Frame<'a>, Malformed> {
    let (mut from, mut to, mut reason, mut user) = (0, 0, 0, &[][..]);
    while let Some(field) = fields.next()? {
        match field {
            (2, Value::Number(number)) => from = number,
            (3, Value::Number(number)) => to = number,
            (4, Value::Number(number)) => reason = number,
            (5, Value::Bytes(bytes)) => user = bytes,
            _ => {}
        }
    }
    Ok(Frame::Skip { from, to, reason, user })
}

fn error<'a>(fields: &mut Fields<'a>) -> Result<Frame<'a>, Malformed> {
    let (mut code, mut message) = (&[][..], &[][..]);
    while let Some(field) = fields.next()? {
        match field {
            (1, Value::Bytes(bytes)) => code = bytes,
            (2, Value::Bytes(bytes)) => message = bytes,
            _ => {}
        }
    }
    Ok(Frame::Error { code, message })
}

fn first_number(fields: &mut Fields<'_>) -> Result<u64, Malformed> {
    match fields.next()? {
        Some((1, Value::Number(number))) => Ok(number),
        _ => Ok(0),
    }
}

fn first_bytes<'a>(fields: &mut Fields<'a>) -> Result<&'a [u8], Malformed> {
    match fields.next()? {
        Some((1, Value::Bytes(bytes))) => Ok(bytes),
        _ => Ok(&[]),
    }
}

fn conversation_id(bytes: &[u8]) -> Result<u128, Malformed> {
    bytes.try_into().map(u128::from_be_bytes).map_err(|_| Malformed)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Value<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

/// What is left of a message's fields.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    #[inline]
    fn next(&mut self) -> Result<Option<(u64, Value<'a>)>, Malformed> {
        if self.0.is_empty() {
            return Ok(None);
        }
        let tag = take_varint(&mut self.0)?;
        let value = match tag & 7 {
            0 => Value::Number(take_varint(&mut self.0)?),
            2 => {
                let len = usize::try_from(take_varint(&mut self.0)?).map_err(|_| Malformed)?;
                let (bytes, rest) = self.0.split_at_checked(len).ok_or(Malformed)?;
                self.0 = rest;
                Value::Bytes(bytes)
            }
            _ => return Err(Malformed),
        };
        Ok(Some((tag >> 3, value)))
    }
}

/// Takes a number off the front.
#[inline]
pub(super) fn take_varint(rest: &mut &[u8]) -> Result<u64, Malformed> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (&byte, after) = rest.split_first().ok_or(Malformed)?;
        *rest = after;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Ok(value);
        }
    }
    Err(Malformed)
}

#[inline]
pub(super) fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Length of a number, bytes.
#[inline]
pub(super) fn varint_len(value: u64) -> usize {
    (u64::BITS - (value | 1).leading_zeros()).div_ceil(7) as usize
}

/// Length of a field of so many bytes.
#[inline]
pub(super) fn bytes_len(len: usize) -> usize {
    1 + varint_len(len as u64) + len
}

/// A field of bytes, or the head of one whose bytes follow.
#[inline]
pub(super) fn put_bytes(out: &mut Vec<u8>, number: u8, bytes: &[u8]) {
    put_head(out, number, bytes.len());
    out.extend_from_slice(bytes);
}

#[inline]
pub(super) fn put_head(out: &mut Vec<u8>, number: u8, len: usize) {
    out.push(number << 3 | 2);
    put_varint(out, len as u64);
}

/// A field of a number; 0 is left out.
#[inline]
pub(super) fn put_number(out: &mut Vec<u8>, number: u8, value: u64) {
    if value != 0 {
        out.push(number << 3);
        put_varint(out, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const TALK: [u8; CONVERSATION] = [7; CONVERSATION];

    fn frame(number: u8, fill: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
        let (mut inner, mut out) = (Vec::new(), Vec::new());
        fill(&mut inner);
        put_bytes(&mut out, number, &inner);
        out
    }

    #[test]
    fn numbers_are_read_as_they_are_written() {
        for value in [0, 1, 127, 128, 300, u64::from(u32::MAX), u64::MAX] {
            let mut out = Vec::new();
            put_varint(&mut out, value);
            assert_eq!(out.len(), varint_len(value));
            assert_eq!(take_varint(&mut &out[..]), Ok(value));
        }
        assert_eq!(take_varint(&mut &[0x80; 11][..]), Err(Malformed));
        assert_eq!(take_varint(&mut &[0x80][..]), Err(Malformed));
    }

    #[test]
    fn the_example_of_the_documentation_is_read() {
        let bytes = b"\x12\x29\x0a\x0c\xf3\x0c\x9a\x41\x77\xe2\x5b\xd8\0\0\0\x01\x12\x10\xa1\xb8\xfa\x77\xe6\xfc\xf5\x26\xad\x43\
                      \x10\x6f\xa5\xa0\x62\x46\x18\x01\x20\xd2\xd9\xdf\xb4\xab\x33";
        let expected = Frame::Accepted {
            id: b"\xf3\x0c\x9a\x41\x77\xe2\x5b\xd8\0\0\0\x01",
            conversation: 0xa1b8_fa77_e6fc_f526_ad43_106f_a5a0_6246,
            seq: 1,
        };
        assert_eq!(decode(bytes), Ok(expected));
    }

    #[test]
    fn a_message_and_a_change_are_told_apart() {
        let with = |field: u8, value: &'static [u8]| {
            frame(3, |inner| {
                put_bytes(inner, 1, &TALK);
                put_number(inner, 2, 5);
                put_bytes(inner, 5, b"id");
                put_bytes(inner, field, value);
            })
        };
        let expected = Message { conversation: u128::from_be_bytes(TALK), seq: 5, id: b"id", ..Message::default() };
        assert_eq!(decode(&with(7, b"body")), Ok(Frame::Message(Message { body: b"body", ..expected })));
        assert_eq!(decode(&with(10, b"")), Ok(Frame::Message(Message { change: true, ..expected })));
    }

    #[test]
    fn of_many_receipts_the_highest_counts() {
        let many = frame(15, |inner| {
            put_bytes(inner, 1, &TALK);
            for delivered in [3, 9, 4] {
                put_bytes(inner, 2, &[0x0a, 1, b'u', 0x10, delivered]);
            }
            put_bytes(inner, 3, b"v");
        });
        let conversation = Some(u128::from_be_bytes(TALK));
        assert_eq!(decode(&many), Ok(Frame::Receipt { conversation, delivered: 9, version: b"v" }));
        let alone = frame(15, |inner| put_bytes(inner, 3, b"w"));
        assert_eq!(decode(&alone), Ok(Frame::Receipt { conversation: None, delivered: 0, version: b"w" }));
    }

    #[test]
    fn two_frames_in_one_and_a_short_conversation_are_malformed() {
        let ping = frame(7, |inner| put_number(inner, 1, 9));
        assert_eq!(decode(&ping), Ok(Frame::Ping(9)));
        assert_eq!(decode(&[&ping[..], &ping].concat()), Err(Malformed));
        assert_eq!(decode(&frame(2, |inner| put_bytes(inner, 2, &TALK[1..]))), Err(Malformed));
    }

    proptest! {
        #[test]
        fn whatever_comes_it_does_not_panic(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            let _ = decode(&bytes);
        }
    }
}
