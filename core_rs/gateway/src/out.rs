//! What connections are owed: one buffer each while that is something, filled in a turn and handed out in one write.
//!
//! A frame that many get is kept once; only a connection that is owed more than that frame copies it. Connections are known
//! by slots that the caller gives. Nothing here bounds a buffer: who fills one asks [`Outs::ready`] before, or counts it in an
//! account.

use std::collections::VecDeque;
use std::mem;
use std::sync::Arc;

use link::Framing;
use seam::{Body, DeviceId};
use wire::types::ServerFrame;

use crate::encode::Encoder;
use crate::runs::Ready;

/// Buffers kept for reuse, about as many as are owed something in one turn, and the largest that is kept, bytes.
const POOL: (usize, usize) = (1024, 64 << 10);
/// Bytes that they hold together.
const POOL_BYTES: usize = 4 << 20;
/// Bytes that wait for a connection above which it takes no messages.
pub const FULL: usize = 64 << 10;

/// Why a socket is not read.
pub mod pause {
    /// It has said hello and is not welcome yet.
    pub const JOINING: u8 = 1;
    /// Frames wait for something to be loaded or allowed.
    pub const DEFERRED: u8 = 2;
    /// It, its user or its address holds too much memory.
    pub const HELD: u8 = 4;
    /// It, its user or its address sent too much in too short a time.
    pub const RATE: u8 = 8;
    /// Too much of all is not durable yet.
    pub const LOG: u8 = 16;
    /// Its session is handed over to another process.
    pub const MOVING: u8 = 32;
}

/// Bits of [`Write::flags`](crate::Write::flags).
pub mod write_flags {
    /// Close once the data is written.
    pub const CLOSE: u8 = 1;
    /// Close at once.
    pub const ABORT: u8 = 2;
    /// Stop reading this socket.
    pub const PAUSE: u8 = 4;
    /// Read it again.
    pub const RESUME: u8 = 8;
}

/// All that a connection is owed now.
#[derive(Debug, PartialEq, Eq)]
pub struct Write<'a> {
    /// Which connection.
    pub slot: u32,
    /// To be written; may be empty when only flags matter.
    pub data: &'a [u8],
    /// Not 0: within this drain, the same number means the same bytes.
    pub shared: u64,
    /// [`write_flags`].
    pub flags: u8,
}

/// What waits for a connection; a pointer while that is nothing.
#[derive(Debug, Default)]
struct Buffer {
    bytes: Vec<u8>,
    /// A frame that others get too, as long as it is all.
    single: Option<Arc<[u8]>>,
}

impl Buffer {
    fn len(&self) -> usize {
        self.bytes.len() + self.single.as_ref().map_or(0, |frame| frame.len())
    }

    /// The bytes to add to: a frame that stood alone is copied.
    fn spilled(&mut self) -> &mut Vec<u8> {
        if let Some(frame) = self.single.take() {
            self.bytes.extend_from_slice(&frame);
        }
        &mut self.bytes
    }
}

/// One connection's.
#[derive(Debug, Default)]
struct Out {
    buffer: Option<Box<Buffer>>,
    /// Bytes of its latest write; and of those that its transport may still have, while it is not writable.
    handed: u32,
    in_transport: u32,
    framing: Framing,
    flags: u8,
    pauses: u8,
    told_paused: bool,
    queued: bool,
    /// Its transport takes nothing more.
    full: bool,
    /// Nothing is added any more.
    closing: bool,
}

/// Of all connections, and the queue of those that are owed a write.
#[derive(Debug, Default)]
pub struct Outs {
    outs: Table,
    owed: VecDeque<u32>,
    pool: Pool,
    written: Option<Box<Buffer>>,
    /// Encodes for connections, and for what is held back from them.
    pub encoder: Encoder,
    /// Bytes of frames that were encoded or copied for connections.
    pub framed: u64,
}

/// By the connection's slot; `None`: no connection has it.
#[derive(Debug, Default)]
struct Table(Vec<Option<Out>>);

impl Table {
    fn get(&self, slot: u32) -> Option<&Out> {
        self.0.get(slot as usize)?.as_ref()
    }

    fn get_mut(&mut self, slot: u32) -> Option<&mut Out> {
        self.0.get_mut(slot as usize)?.as_mut()
    }
}

/// Buffers kept for reuse.
#[derive(Debug, Default)]
struct Pool {
    #[allow(clippy::vec_box, reason = "the boxes are what is kept for reuse")]
    buffers: Vec<Box<Buffer>>,
    bytes: usize,
}

impl Pool {
    fn take(&mut self) -> Box<Buffer> {
        let buffer = self.buffers.pop().unwrap_or_default();
        self.bytes -= buffer.bytes.capacity();
        buffer
    }

    fn give(&mut self, buffer: Option<Box<Buffer>>) {
        let Some(mut buffer) = buffer else { return };
        let bytes = buffer.bytes.capacity();
        if bytes <= POOL.1 && self.buffers.len() < POOL.0 && self.bytes + bytes <= POOL_BYTES {
            buffer.bytes.clear();
            buffer.single = None;
            self.bytes += bytes;
            self.buffers.push(buffer);
        }
    }
}

impl Outs {
    /// A connection begins.
    pub fn open(&mut self, slot: u32, framing: Framing) {
        let at = slot as usize;
        if self.outs.0.len() <= at {
            self.outs.0.resize_with(at + 1, || None);
        }
        if let Some(out) = self.outs.0.get_mut(at) {
            *out = Some(Out { framing, ..Out::default() });
        }
    }

    /// A connection is over: what it was owed is dropped.
    pub fn end(&mut self, slot: u32) {
        if let Some(out) = self.outs.0.get_mut(slot as usize).and_then(Option::take) {
            self.pool.give(out.buffer);
        }
    }

    /// How frames to a connection are framed.
    pub fn framing(&self, slot: u32) -> Framing {
        self.outs.get(slot).map_or(Framing::Raw, |out| out.framing)
    }

    /// Sets how frames to a connection are framed from now on.
    pub fn set_framing(&mut self, slot: u32, framing: Framing) {
        if let Some(out) = self.outs.get_mut(slot) {
            out.framing = framing;
        }
    }

    fn owe(&mut self, slot: u32) {
        if let Some(out) = self.outs.get_mut(slot)
            && !out.queued
        {
            out.queued = true;
            self.owed.push_back(slot);
        }
    }

    /// Stops or starts reading a socket, for a reason of [`pause`].
    pub fn pause(&mut self, slot: u32, reason: u8, on: bool) {
        let Some(out) = self.outs.get_mut(slot) else { return };
        out.pauses = if on { out.pauses | reason } else { out.pauses & !reason };
        if (out.pauses != 0) != out.told_paused {
            self.owe(slot);
        }
    }

    /// Whether a socket is not read for one of these reasons.
    pub fn paused(&self, slot: u32, reasons: u8) -> bool {
        self.outs.get(slot).is_some_and(|out| out.pauses & reasons != 0)
    }

    /// The transport takes more, or does not.
    pub fn set_writable(&mut self, slot: u32, on: bool) {
        let Some(out) = self.outs.get_mut(slot) else { return };
        out.full = !on;
        out.in_transport = if on { 0 } else { out.handed };
        if on {
            self.owe(slot);
        }
    }

    /// Whether a connection takes messages: its transport takes more, and little waits for it.
    pub fn ready(&self, slot: u32) -> Ready {
        match self.outs.get(slot) {
            Some(out) if out.full || out.closing => Ready::Stalled,
            Some(out) if out.waits() < FULL => Ready::Now,
            Some(_) => Ready::Later,
            None => Ready::Stalled,
        }
    }

    /// Bytes that wait for a connection's transport, here and in it.
    pub fn backlog(&self, slot: u32) -> usize {
        self.outs.get(slot).map_or(0, |out| out.waits() + out.in_transport as usize)
    }

    /// Nothing is added any more; the connection is closed once what it is owed is written, or at once (`abort`).
    pub fn close(&mut self, slot: u32, abort: bool) {
        let Some(out) = self.outs.get_mut(slot) else { return };
        out.closing = true;
        out.flags |= if abort { write_flags::ABORT } else { write_flags::CLOSE };
        self.owe(slot);
    }

    /// Lends out what a connection is owed, for a link to add to. Frames that are added meanwhile come behind it, unless
    /// [`Outs::swap`] brings it back for so long.
    pub fn lend(&mut self, slot: u32) -> Vec<u8> {
        self.buffer(slot).map(|(_, bytes, _)| mem::take(bytes)).unwrap_or_default()
    }

    /// Swaps what a connection is owed with what was lent out.
    pub fn swap(&mut self, slot: u32, bytes: &mut Vec<u8>) {
        if let Some((_, own, _)) = self.buffer(slot) {
            mem::swap(own, bytes);
        }
    }

    /// Takes back what was lent out.
    pub fn give_back(&mut self, slot: u32, mut bytes: Vec<u8>) {
        let Some((_, own, _)) = self.buffer(slot) else { return };
        bytes.append(own);
        *own = bytes;
        if !own.is_empty() {
            self.owe(slot);
        } else if let Some(out) = self.outs.get_mut(slot) {
            let buffer = out.buffer.take();
            self.pool.give(buffer);
        }
    }

    /// Where to add bytes for a connection, also one that is being closed; with its framing and the encoder.
    fn buffer(&mut self, slot: u32) -> Option<(Framing, &mut Vec<u8>, &mut Encoder)> {
        let Self { outs, pool, encoder, .. } = self;
        let out = outs.get_mut(slot)?;
        let buffer = out.buffer.get_or_insert_with(|| pool.take());
        Some((out.framing, buffer.spilled(), encoder))
    }

    /// Adds with `put` to what a connection is owed; nothing to one that is being closed. How many bytes were added.
    fn add(&mut self, slot: u32, put: impl FnOnce(&mut Encoder, Framing, &mut Vec<u8>)) -> usize {
        if self.outs.get(slot).is_none_or(|out| out.closing) {
            return 0;
        }
        let Some((framing, bytes, encoder)) = self.buffer(slot) else { return 0 };
        let before = bytes.len();
        put(encoder, framing, bytes);
        let added = bytes.len() - before;
        self.framed += added as u64;
        self.owe(slot);
        added
    }

    /// Adds a frame.
    pub fn frame(&mut self, slot: u32, frame: &ServerFrame<'_>) {
        self.add(slot, |encoder, framing, bytes| encoder.frame(framing, frame, bytes));
    }

    /// Adds complete frames in the connection's framing.
    pub fn append(&mut self, slot: u32, frames: &[u8]) {
        self.add(slot, |_, _, bytes| bytes.extend_from_slice(frames));
    }

    /// Adds a message. `device`: the user and device whose body it gets of a message with a body per device. `own`, `many`:
    /// see [`seam::Outputs::message`].
    pub fn message(
        &mut self,
        slot: u32,
        body: &mut Body,
        own: Option<&str>,
        device: Option<(&str, DeviceId)>,
        many: bool,
    ) {
        if let Some(device) = device {
            self.add(slot, |e, framing, bytes| e.device_message(framing, &body.stored, own, device, bytes));
        } else if own.is_some() || !many {
            self.add(slot, |e, framing, bytes| e.message(framing, &body.stored, own, bytes));
        } else {
            self.shared_message(slot, body);
        }
    }

    /// Adds a message of which others get the same bytes.
    fn shared_message(&mut self, slot: u32, body: &mut Body) {
        let Self { outs, pool, encoder, framed, .. } = self;
        let Some(out) = outs.get_mut(slot) else { return };
        let Some(frame) = body.frames.get_mut(out.framing as usize) else { return };
        if out.closing {
            return;
        }
        let frame = frame.get_or_insert_with(|| {
            let mut bytes = Vec::new();
            encoder.message(out.framing, &body.stored, None, &mut bytes);
            bytes.into()
        });
        *framed += frame.len() as u64;
        let buffer = out.buffer.get_or_insert_with(|| pool.take());
        if buffer.len() == 0 {
            buffer.single = Some(frame.clone());
        } else {
            buffer.spilled().extend_from_slice(frame);
        }
        self.owe(slot);
    }

    /// All that the next connection is owed. A connection whose transport is full keeps it until that has room.
    pub fn next_write(&mut self) -> Option<Write<'_>> {
        let written = self.written.take();
        self.pool.give(written);
        loop {
            let slot = self.owed.pop_front()?;
            let Some(out) = self.outs.get_mut(slot) else { continue };
            out.queued = false;
            let mut flags = 0;
            if (out.pauses != 0) != out.told_paused {
                out.told_paused = !out.told_paused;
                flags |= if out.told_paused { write_flags::PAUSE } else { write_flags::RESUME };
            }
            if !out.full || out.flags != 0 {
                flags |= mem::take(&mut out.flags);
                self.written = out.buffer.take();
                out.handed = self.written.as_ref().map_or(0, |buffer| buffer.len() as u32);
            }
            if flags == 0 && self.written.as_ref().is_none_or(|buffer| buffer.len() == 0) {
                let written = self.written.take();
                self.pool.give(written);
                continue;
            }
            let (data, shared) = match self.written.as_deref() {
                Some(Buffer { single: Some(frame), .. }) => (&**frame, frame.as_ptr() as usize as u64),
                Some(buffer) => (buffer.bytes.as_slice(), 0),
                None => (&[][..], 0),
            };
            return Some(Write { slot, data, shared, flags });
        }
    }
}

impl Out {
    /// Bytes that wait here for the transport.
    fn waits(&self) -> usize {
        self.buffer.as_ref().map_or(0, |buffer| buffer.len())
    }
}

#[cfg(test)]
mod tests;
