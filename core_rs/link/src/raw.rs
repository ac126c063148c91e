//! Raw frames: a varint length (at most [`LENGTH_BYTES`]) and that many bytes.

use std::mem;

use super::{Flow, Framing, OnPayload, Payload, Progress, TOO_LARGE, buffer, too_large};

/// Most bytes of a length: 35 bits, beyond any limit.
const LENGTH_BYTES: u32 = 5;

/// What is incomplete, if anything.
#[derive(Debug, Default)]
pub(super) struct Raw {
    partial: Option<Box<Partial>>,
}

#[derive(Debug, Default)]
struct Partial {
    length: Length,
    /// Of the body; empty while the length is incomplete.
    body: Vec<u8>,
}

/// A varint, as far as it was read.
#[derive(Clone, Copy, Debug, Default)]
struct Length {
    value: u64,
    bytes: u32,
    complete: bool,
}

impl Length {
    /// Takes its bytes off the front of `data`.
    fn read(&mut self, data: &mut &mut [u8]) -> Result<(), (&'static str, String)> {
        while !self.complete {
            let Some((byte, rest)) = mem::take(data).split_first_mut() else { return Ok(()) };
            *data = rest;
            self.value |= u64::from(*byte & 0x7f) << (7 * self.bytes);
            self.bytes += 1;
            self.complete = *byte < 0x80;
            if !self.complete && self.bytes == LENGTH_BYTES {
                return Err(("malformed", format!("a frame's length takes more than {LENGTH_BYTES} bytes")));
            }
        }
        Ok(())
    }
}

impl Raw {
    /// Bytes of an incomplete frame that have arrived.
    pub(super) fn arrived(&self) -> usize {
        self.partial.as_ref().map_or(0, |partial| partial.body.len())
    }

    /// Appends what is incomplete, as it came.
    pub(super) fn replay(&self, out: &mut Vec<u8>) {
        let Some(partial) = &self.partial else { return };
        let Length { value, bytes, complete } = partial.length;
        for index in 0..bytes {
            let more = !complete || index + 1 < bytes;
            out.push((value >> (7 * index)) as u8 & 0x7f | u8::from(more) << 7);
        }
        out.extend_from_slice(&partial.body);
    }

    /// Bytes on the heap.
    #[cfg(test)]
    pub(super) fn held(&self) -> usize {
        self.partial.as_ref().map_or(0, |partial| size_of::<Partial>() + partial.body.capacity())
    }

    pub(super) fn feed(
        &mut self,
        mut data: &mut [u8],
        limit: usize,
        out: &mut Vec<u8>,
        on: &mut OnPayload<'_>,
    ) -> Result<Progress, (&'static str, String)> {
        while !data.is_empty() {
            let mut length = self.partial.as_ref().map(|partial| partial.length).unwrap_or_default();
            length.read(&mut data)?;
            if !length.complete {
                self.partial.get_or_insert_default().length = length;
                break;
            }
            let len = usize::try_from(length.value).unwrap_or(usize::MAX);
            if len > limit {
                return Err((TOO_LARGE, too_large(length.value, limit)));
            }
            let held = self.partial.as_ref().map_or(0, |partial| partial.body.len());
            let (chunk, rest) = {
                let missing = len.saturating_sub(held).min(data.len());
                mem::take(&mut data).split_at_mut(missing)
            };
            data = rest;
            let complete = held + chunk.len() == len;
            if held == 0 && complete {
                self.partial = None;
                if on(Payload { bytes: chunk, framing: Framing::Raw }, out) == Flow::Stop {
                    return Ok(Progress::Done);
                }
                continue;
            }
            let partial = self.partial.get_or_insert_default();
            partial.length = length;
            buffer::append(&mut partial.body, chunk, len);
            if complete
                && let Some(partial) = self.partial.take()
                && on(Payload { bytes: &partial.body, framing: Framing::Raw }, out) == Flow::Stop
            {
                return Ok(Progress::Done);
            }
        }
        Ok(Progress::Open)
    }
}
