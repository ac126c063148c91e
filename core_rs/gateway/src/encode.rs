//! Server frames as bytes in the framing of a connection.

use link::{Framing, put_header};
use seam::DeviceId;
use wire::message::{message_frame_len, put_message_frame, put_message_json};
use wire::stored_for_device;
use wire::types::ServerFrame;

/// Encodes; keeps room for what has to be made before its length is known.
#[derive(Debug, Default)]
pub struct Encoder {
    text: Vec<u8>,
    plain: Vec<u8>,
}

impl Encoder {
    /// Appends a frame behind its header.
    pub fn frame(&mut self, framing: Framing, frame: &ServerFrame<'_>, out: &mut Vec<u8>) {
        if framing == Framing::WsText {
            self.text.clear();
            frame.encode_json(&mut self.text);
            put_header(out, framing, self.text.len());
            out.extend_from_slice(&self.text);
        } else {
            put_header(out, framing, frame.encoded_len());
            frame.encode(out);
        }
    }

    /// Appends the frame of a stored message behind its header. `own`: see [`seam::Outputs::message`]. A stored message that
    /// cannot be read adds nothing; whoever read it from the log has checked it.
    pub fn message(&mut self, framing: Framing, stored: &[u8], own: Option<&str>, out: &mut Vec<u8>) {
        if framing == Framing::WsText {
            self.text.clear();
            if put_message_json(&mut self.text, stored, own).is_ok() {
                put_header(out, framing, self.text.len());
                out.extend_from_slice(&self.text);
            }
        } else {
            put_header(out, framing, message_frame_len(stored.len(), own));
            put_message_frame(out, stored, own);
        }
    }

    /// The same for a message with a body per device, with the body of this device; nothing if it has none.
    pub fn device_message(
        &mut self,
        framing: Framing,
        stored: &[u8],
        own: Option<&str>,
        (user, device): (&str, DeviceId),
        out: &mut Vec<u8>,
    ) {
        let mut plain = std::mem::take(&mut self.plain);
        plain.clear();
        if stored_for_device(stored, user, device.into(), &mut plain) {
            self.message(framing, &plain, own, out);
        }
        self.plain = plain;
    }
}
