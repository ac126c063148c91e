//! Server frames read back, plainly: a field is a number and a varint or bytes.

/// A frame as a test wants to look at it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Got {
    /// The user.
    Welcome(String),
    /// The id of the send.
    Accepted(String),
    /// The seq.
    Message(u64),
    /// Code, and the id of the send.
    Error(String, String),
    Ping,
    Pong(u64),
    Replaced,
    Goodbye,
    /// Another kind, by number.
    Other(u64),
}

fn varint(bytes: &mut &[u8]) -> u64 {
    let mut value = 0;
    for shift in (0..).step_by(7) {
        let byte = bytes[0];
        *bytes = &bytes[1..];
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            break;
        }
    }
    value
}

fn take<'a>(bytes: &mut &'a [u8]) -> &'a [u8] {
    let len = varint(bytes) as usize;
    let (head, rest) = bytes.split_at(len);
    *bytes = rest;
    head
}

/// The last value of a field: its number, and its bytes.
fn field(mut bytes: &[u8], wanted: u64) -> (u64, &[u8]) {
    let mut found = (0, &[][..]);
    while !bytes.is_empty() {
        let tag = varint(&mut bytes);
        let value = if tag & 7 == 0 { (varint(&mut bytes), &[][..]) } else { (0, take(&mut bytes)) };
        if tag >> 3 == wanted {
            found = value;
        }
    }
    found
}

fn text(bytes: &[u8], number: u64) -> String {
    String::from_utf8(field(bytes, number).1.to_vec()).expect("text")
}

/// Takes complete raw frames.
pub fn read(mut bytes: &[u8]) -> Vec<Got> {
    let mut got = Vec::new();
    while !bytes.is_empty() {
        let mut frame = take(&mut bytes);
        let kind = varint(&mut frame) >> 3;
        let inner = take(&mut frame);
        assert!(frame.is_empty(), "one frame in each");
        got.push(match kind {
            1 => Got::Welcome(text(inner, 2)),
            2 => Got::Accepted(text(inner, 1)),
            3 => Got::Message(field(inner, 2).0),
            6 => Got::Error(text(inner, 1), text(inner, 5)),
            7 => Got::Ping,
            8 => Got::Pong(field(inner, 1).0),
            9 => Got::Replaced,
            10 => Got::Goodbye,
            other => Got::Other(other),
        });
    }
    got
}
