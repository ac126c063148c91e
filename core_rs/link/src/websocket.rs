//! RFC 6455 after the handshake, a server's half: frames to messages, control frames answered.
//!
//! # Rules (sections of RFC 6455)
//! - 5.1: a client masks every frame. 5.2: reserved bits are 0 (no extension was agreed), reserved opcodes fail, lengths are
//!   in their shortest form.
//! - 5.4: a message may come in fragments, bounded all together by the limit; control frames may stand between them.
//! - 5.5: control frames have at most 125 bytes and are never fragmented. A ping is answered with its payload, a close with
//!   its code; a pong is ignored.
//! - 8.1: text is UTF-8, and fails with the first byte that cannot be, however the text was cut.
//! - 7.1.7: after a failure nothing more is read.
//! - 7.4.1: a message above the limit fails too, and whoever drives the link says so in a frame before the close.
//!
//! A violation is seen as soon as the header that shows it is complete, so before any payload is held for it.

use std::mem;

use super::close::{self, Failure, NOT_UTF8};
use super::frame::{Frame, Header, Kind, MAX_HEADER};
use super::outgoing::put_websocket;
use super::{Flow, Framing, OnPayload, Payload, Progress, buffer};

const FINAL_PONG: u8 = 0x8a;

/// Why nothing more is read.
#[derive(Debug)]
pub(super) enum Failed {
    /// A rule of the RFC was broken.
    Violation(Failure),
    /// A message of so many bytes, as far as its headers tell, is above the limit.
    TooLarge(u64),
}

impl From<Failure> for Failed {
    fn from(failure: Failure) -> Self {
        Self::Violation(failure)
    }
}

/// The connection's state between reads.
#[derive(Debug, Default)]
pub(super) struct WebSocket {
    partial: Option<Box<Partial>>,
    /// The first message was text.
    text: Option<bool>,
    close_sent: bool,
}

/// What is incomplete: a header, a frame, a message, any of them at once.
#[derive(Debug, Default)]
struct Partial {
    header: [u8; MAX_HEADER],
    header_len: u8,
    /// Its header is read, its payload is not complete.
    frame: Option<Frame>,
    /// A message whose final fragment has not begun; true: text.
    open: Option<bool>,
    /// Unmasked payload of the incomplete message.
    message: Vec<u8>,
    /// So much of a text is known to be UTF-8.
    checked: usize,
    /// Unmasked payload of an incomplete control frame, which may stand inside a message.
    control: Vec<u8>,
}

impl Partial {
    fn is_idle(&self) -> bool {
        self.header_len == 0 && self.frame.is_none() && self.open.is_none()
    }
}

impl WebSocket {
    /// Bytes of incomplete messages that have arrived.
    pub(super) fn arrived(&self) -> usize {
        self.partial.as_ref().map_or(0, |partial| partial.message.len() + partial.control.len())
    }

    /// Bytes on the heap.
    #[cfg(test)]
    pub(super) fn held(&self) -> usize {
        let capacity = |partial: &Partial| partial.message.capacity() + partial.control.capacity();
        self.partial.as_ref().map_or(0, |partial| size_of::<Partial>() + capacity(partial))
    }

    pub(super) fn framing(&self) -> Framing {
        framing_of(self.text == Some(true))
    }

    /// Whether the first message was text, if one has come.
    pub(super) fn text(&self) -> Option<bool> {
        self.text
    }

    /// One between two messages.
    pub(super) fn restored(text: Option<bool>, close_sent: bool) -> Self {
        Self { partial: None, text, close_sent }
    }

    /// Appends what is incomplete, as a client may have sent it: what arrived of a message in a fragment of its own, so that
    /// the rest of a frame continues it.
    pub(super) fn replay(&self, out: &mut Vec<u8>) {
        let Some(partial) = &self.partial else { return };
        let (open, message) = (partial.open, partial.message.as_slice());
        let data = partial.frame.filter(|frame| !frame.kind.is_control());
        if let Some(text) = open.or(data.map(|frame| frame.kind == Kind::Text)) {
            Frame::fragment(text).replay(message, out);
        }
        match partial.frame {
            Some(frame) if frame.kind.is_control() => frame.replay(&partial.control, out),
            Some(mut frame) => {
                frame.kind = Kind::Continuation;
                frame.replay(&[], out);
            }
            None => {}
        }
        out.extend_from_slice(partial.header.get(..usize::from(partial.header_len)).unwrap_or_default());
    }

    /// No message has come yet.
    pub(super) fn undecided(&self) -> bool {
        self.text.is_none()
    }

    pub(super) fn close_sent(&self) -> bool {
        self.close_sent
    }

    /// A close frame was sent: only the peer's is awaited, messages are passed over without being held.
    pub(super) fn start_closing(&mut self) {
        self.close_sent = true;
        if let Some(partial) = &mut self.partial {
            partial.message = Vec::new();
        }
    }

    pub(super) fn feed(
        &mut self,
        mut data: &mut [u8],
        limit: usize,
        out: &mut Vec<u8>,
        on: &mut OnPayload<'_>,
    ) -> Result<Progress, Failed> {
        let mut unfinished = self.partial.as_mut().and_then(|partial| partial.frame.take());
        loop {
            let mut frame = match unfinished.take() {
                // The limit may be another than it was: the link was restored.
                Some(frame) if frame.kind.is_control() => frame,
                Some(frame) => {
                    self.bound(frame.kind, frame.left as u64, limit)?;
                    frame
                }
                None => match self.read_header(&mut data)? {
                    Some(header) => self.admit(header, limit)?,
                    None => break,
                },
            };
            let (chunk, rest) = {
                let arrived = frame.left.min(data.len());
                mem::take(&mut data).split_at_mut(arrived)
            };
            data = rest;
            frame.take(chunk);
            let progress = match frame.kind {
                Kind::Close | Kind::Ping | Kind::Pong => self.control(&frame, chunk, out)?,
                Kind::Text | Kind::Binary | Kind::Continuation => self.data(&frame, chunk, limit, out, on)?,
            };
            if progress == Progress::Done {
                return Ok(Progress::Done);
            }
            if frame.left > 0 {
                self.partial.get_or_insert_default().frame = Some(frame);
                break;
            }
        }
        if self.partial.as_ref().is_some_and(|partial| partial.is_idle()) {
            self.partial = None;
        }
        Ok(Progress::Open)
    }

    /// Takes a header off the front of `data`; what is incomplete is kept for the next read.
    fn read_header(&mut self, data: &mut &mut [u8]) -> Result<Option<Header>, Failure> {
        let kept = self.partial.as_ref().map_or(0, |partial| usize::from(partial.header_len));
        if kept == 0
            && let Some((header, size)) = Header::parse(data)?
        {
            *data = mem::take(data).get_mut(size..).unwrap_or_default();
            return Ok(Some(header));
        }
        if data.is_empty() {
            return Ok(None);
        }
        let partial = self.partial.get_or_insert_default();
        let mut have = kept;
        for (place, byte) in partial.header.iter_mut().skip(kept).zip(data.iter()) {
            *place = *byte;
            have += 1;
        }
        let parsed = Header::parse(partial.header.get(..have).unwrap_or_default())?;
        let used = parsed.as_ref().map_or(have, |(_, size)| *size).saturating_sub(kept);
        *data = mem::take(data).get_mut(used..).unwrap_or_default();
        partial.header_len = if parsed.is_some() { 0 } else { u8::try_from(have).unwrap_or(0) };
        Ok(parsed.map(|(header, _)| header))
    }

    /// May this frame come now, and is there room for it?
    fn admit(&mut self, header: Header, limit: usize) -> Result<Frame, Failed> {
        let open = self.partial.as_ref().and_then(|partial| partial.open);
        if !header.kind.is_control() && !self.close_sent {
            match (header.kind, open) {
                (Kind::Continuation, None) => return Err(Failure::protocol("a continuation of nothing").into()),
                (Kind::Text | Kind::Binary, Some(_)) => {
                    return Err(Failure::protocol("a new message inside a fragmented one").into());
                }
                _ => {}
            }
            self.bound(header.kind, header.len, limit)?;
        }
        if header.kind != Kind::Continuation && !header.kind.is_control() && !header.last {
            self.partial.get_or_insert_default().open = Some(header.kind == Kind::Text);
        }
        Ok(Frame::new(header))
    }

    /// Is there room for so many bytes more of a message?
    fn bound(&mut self, kind: Kind, more: u64, limit: usize) -> Result<(), Failed> {
        let (open, held) = self.partial.as_ref().map_or((None, 0), |partial| (partial.open, partial.message.len()));
        if self.close_sent || more <= limit.saturating_sub(held) as u64 {
            return Ok(());
        }
        // It is answered as it came, though it be the first.
        self.text.get_or_insert(open.unwrap_or(kind == Kind::Text));
        Err(Failed::TooLarge(more.saturating_add(held as u64)))
    }

    /// A chunk of a message, the frame's last one if nothing is left of it.
    fn data(
        &mut self,
        frame: &Frame,
        chunk: &[u8],
        limit: usize,
        out: &mut Vec<u8>,
        on: &mut OnPayload<'_>,
    ) -> Result<Progress, Failure> {
        let complete = frame.last && frame.left == 0;
        if self.close_sent {
            if complete && let Some(partial) = &mut self.partial {
                partial.open = None;
            }
            return Ok(Progress::Open);
        }
        let (open, held) = self.partial.as_ref().map_or((None, 0), |p| (p.open, p.message.len()));
        let text = open.unwrap_or(frame.kind == Kind::Text);
        let flow = if complete && held == 0 {
            if text && simdutf8::basic::from_utf8(chunk).is_err() {
                return Err(not_utf8());
            }
            self.partial = None;
            self.text.get_or_insert(text);
            on(Payload { bytes: chunk, framing: framing_of(text) }, out)
        } else {
            let partial = self.partial.get_or_insert_default();
            // How many fragments follow is not known: doubling up to the limit keeps many small ones cheap.
            let announced = if frame.last { held + chunk.len() + frame.left } else { limit };
            buffer::append(&mut partial.message, chunk, announced);
            if text {
                check(partial, complete)?;
            }
            if !complete {
                return Ok(Progress::Open);
            }
            let message = self.partial.take().map(|partial| partial.message).unwrap_or_default();
            self.text.get_or_insert(text);
            on(Payload { bytes: &message, framing: framing_of(text) }, out)
        };
        Ok(if flow == Flow::Stop { Progress::Done } else { Progress::Open })
    }

    /// A chunk of a control frame.
    fn control(&mut self, frame: &Frame, chunk: &[u8], out: &mut Vec<u8>) -> Result<Progress, Failure> {
        let held = self.partial.as_ref().is_some_and(|partial| !partial.control.is_empty());
        if !held && frame.left == 0 {
            return self.answer(frame.kind, chunk, out);
        }
        let partial = self.partial.get_or_insert_default();
        partial.control.extend_from_slice(chunk);
        if frame.left > 0 {
            return Ok(Progress::Open);
        }
        let payload = mem::take(&mut partial.control);
        self.answer(frame.kind, &payload, out)
    }

    fn answer(&mut self, kind: Kind, payload: &[u8], out: &mut Vec<u8>) -> Result<Progress, Failure> {
        match kind {
            Kind::Close => {
                let code = close::read(payload)?;
                if !self.close_sent {
                    close::put_reply(out, code);
                    self.close_sent = true;
                }
                Ok(Progress::Done)
            }
            Kind::Ping if !self.close_sent => {
                put_websocket(out, FINAL_PONG, payload.len());
                out.extend_from_slice(payload);
                Ok(Progress::Open)
            }
            _ => Ok(Progress::Open),
        }
    }
}

/// Checks what was not checked yet of a text; at its end nothing may be left over.
fn check(partial: &mut Partial, complete: bool) -> Result<(), Failure> {
    let unchecked = partial.message.get(partial.checked..).unwrap_or_default();
    match simdutf8::compat::from_utf8(unchecked) {
        Ok(_) => partial.checked = partial.message.len(),
        // A character that may still become whole.
        Err(error) if error.error_len().is_none() && !complete => partial.checked += error.valid_up_to(),
        Err(_) => return Err(not_utf8()),
    }
    Ok(())
}

fn not_utf8() -> Failure {
    Failure { code: NOT_UTF8, reason: "text that is not UTF-8" }
}

/// How messages like one that was or was not text are framed.
fn framing_of(text: bool) -> Framing {
    if text { Framing::WsText } else { Framing::WsBinary }
}
