//! A message as the log keeps it, and as frames are made from it without encoding it again.
//!
//! A stored message is the encoded `Message` of the schema. One with a body of its own for each device has no `body` there
//! but, after everything else, a field [`BODIES`] for each device: a `DeviceBody`, the field's number known to us alone. It
//! is made into a plain `Message` for each device and never sent as it is. A change of a group is stored as the message that
//! everybody gets of it: with `change`, and without a body.

use super::changes;
use super::error::WireError;
use super::fields::Describe;
use super::reader::{Reader, text, wire_type};
use super::types::*;
use super::writer::{self, Proto, bytes_len, put_bytes, put_tag, put_varint};

/// Number of the field that holds one device's body in a stored message.
const BODIES: u32 = 15;
/// Number of `ServerFrame.message`, of `Message.body`, of `Message.to` and of `Message.change`.
const FRAME: u32 = 3;
const BODY: u32 = 7;
const TO: u32 = 9;
const CHANGE: u32 = 10;

/// Appends a message as it is stored: one body for all.
pub fn encode_stored(message: &Message<'_>, out: &mut Vec<u8>) {
    out.reserve(writer::encoded_len(message));
    message.describe(&mut Proto(out));
}

/// Appends a message as it is stored, but for the bytes of its body; gives the length of `out` at which these belong. So a body
/// need not be copied before it is written.
pub fn encode_stored_around(message: &Message<'_>, out: &mut Vec<u8>) -> usize {
    message.describe_head(&mut Proto(out));
    if !message.body.is_empty() {
        put_tag(out, BODY, wire_type::BYTES);
        put_varint(out, message.body.len() as u64);
    }
    let place = out.len();
    message.describe_tail(&mut Proto(out));
    place
}

/// Appends a message as it is stored: a body for each device, `message.body` empty.
pub fn encode_stored_bodies(message: &Message<'_>, bodies: &[DeviceBody<'_>], out: &mut Vec<u8>) {
    debug_assert!(message.body.is_empty());
    let len: usize = bodies.iter().map(|body| bytes_len(BODIES, writer::encoded_len(body))).sum();
    out.reserve(writer::encoded_len(message) + len);
    message.describe(&mut Proto(out));
    for body in bodies {
        put_tag(out, BODIES, wire_type::BYTES);
        put_varint(out, writer::encoded_len(body) as u64);
        body.describe(&mut Proto(out));
    }
}

/// Reads a stored message; `body` is empty where each device has its own.
pub fn decode_stored(stored: &[u8]) -> Result<Message<'_>, WireError> {
    let mut message = Message {
        conversation: [0; 16],
        seq: 0,
        sender: "",
        device: 0,
        id: &[],
        time: 0,
        body: &[],
        media: Vec::new(),
        to: "",
        change: None,
    };
    let mut reader = Reader::new(stored);
    while let Some((number, wire)) = reader.tag()? {
        match (number, wire) {
            (1, wire_type::BYTES) => {
                let id = reader.bytes()?;
                message.conversation = id.try_into().map_err(|_| WireError::malformed("a stored conversation id"))?;
            }
            (2, wire_type::VARINT) => message.seq = reader.varint()?,
            (3, wire_type::BYTES) => message.sender = text(reader.bytes()?)?,
            (4, wire_type::VARINT) => {
                message.device =
                    u32::try_from(reader.varint()?).map_err(|_| WireError::malformed("a stored device number"))?;
            }
            (5, wire_type::BYTES) => message.id = reader.bytes()?,
            (6, wire_type::VARINT) => message.time = reader.varint()?,
            (BODY, wire_type::BYTES) => message.body = reader.bytes()?,
            (8, wire_type::BYTES) => message.media.push(reader.bytes()?),
            (TO, wire_type::BYTES) => message.to = text(reader.bytes()?)?,
            (CHANGE, wire_type::BYTES) if message.change.is_none() => {
                message.change = Some(Box::new(changes::stored(reader.bytes()?)?));
            }
            (CHANGE, _) => return Err(WireError::malformed("a stored change, twice or of another type")),
            _ => reader.skip(number, wire)?,
        }
    }
    Ok(message)
}

/// The bodies of a stored message, device by device; none where one body is for all. What is damaged ends it.
pub fn device_bodies(stored: &[u8]) -> impl Iterator<Item = (&str, u32, &[u8])> {
    let mut reader = Reader::new(stored);
    std::iter::from_fn(move || {
        while let Ok(Some((number, wire))) = reader.tag() {
            if (number, wire) == (BODIES, wire_type::BYTES) {
                return device_body(reader.bytes().ok()?).ok();
            }
            reader.skip(number, wire).ok()?;
        }
        None
    })
}

fn device_body(bytes: &[u8]) -> Result<(&str, u32, &[u8]), WireError> {
    let (mut user, mut device, mut body) = ("", 0, &[][..]);
    let mut reader = Reader::new(bytes);
    while let Some((number, wire)) = reader.tag()? {
        match (number, wire) {
            (1, wire_type::BYTES) => user = text(reader.bytes()?)?,
            (2, wire_type::VARINT) => device = u32::try_from(reader.varint()?).unwrap_or(0),
            (3, wire_type::BYTES) => body = reader.bytes()?,
            _ => reader.skip(number, wire)?,
        }
    }
    Ok((user, device, body))
}

/// Appends to `out` the `Message` of a stored message with a body for each device, with the body of this device.
/// False, and nothing is appended: it has none for this device.
pub fn stored_for_device(stored: &[u8], user: &str, device: u32, out: &mut Vec<u8>) -> bool {
    let Some((_, _, body)) = device_bodies(stored).find(|(u, d, _)| (*u, *d) == (user, device)) else {
        return false;
    };
    // All else stands before the first body.
    let mut reader = Reader::new(stored);
    let mut plain = 0;
    while let Ok(Some((number, wire))) = reader.tag() {
        if number == BODIES || reader.skip(number, wire).is_err() {
            break;
        }
        plain = stored.len() - reader.rest().len();
    }
    out.extend_from_slice(stored.get(..plain).unwrap_or_default());
    if !body.is_empty() {
        put_bytes(out, BODY, body);
    }
    true
}

/// Length of what [`put_message_frame`] appends, bytes.
pub fn message_frame_len(stored_len: usize, to: Option<&str>) -> usize {
    bytes_len(FRAME, stored_len + to_len(to))
}

fn to_len(to: Option<&str>) -> usize {
    to.map_or(0, |to| bytes_len(TO, to.len()))
}

/// Appends the `ServerFrame` around a stored message. `to`: see `Message.to`.
pub fn put_message_frame(out: &mut Vec<u8>, stored: &[u8], to: Option<&str>) {
    out.reserve(message_frame_len(stored.len(), to));
    put_tag(out, FRAME, wire_type::BYTES);
    put_varint(out, (stored.len() + to_len(to)) as u64);
    out.extend_from_slice(stored);
    if let Some(to) = to {
        put_bytes(out, TO, to.as_bytes());
    }
}

/// As [`put_message_frame`], as JSON. An error: what is stored is damaged, and nothing is appended.
pub fn put_message_json(out: &mut Vec<u8>, stored: &[u8], to: Option<&str>) -> Result<(), WireError> {
    let mut message = decode_stored(stored)?;
    if let Some(to) = to {
        message.to = to;
    }
    ServerFrame::Message(message).encode_json(out);
    Ok(())
}
