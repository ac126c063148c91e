//! Connections and what they are owed: one buffer each, filled in a turn and handed out in one write.
//!
//! A frame that many get is kept once; only a connection that is owed more than that frame copies it.

use std::collections::{HashMap, VecDeque};
use std::mem;
use std::sync::Arc;

use slab::Slab;

use super::accounts::Holds;
use super::api::{ConnId, Write, write_flags};
use super::session::Session;
use crate::delivery::Outlet;
use crate::delivery::hot::Body;
use crate::link::{Framing, Link, header_len, put_header};
use crate::wire::message::{message_frame_len, put_message_frame, put_message_json};
use crate::wire::types::ServerFrame;

/// Buffers kept for reuse, about as many as are owed something in one turn, and the largest that is kept.
const POOL: (usize, usize) = (1024, 64 << 10);
/// Bytes that they hold together.
const POOL_BYTES: usize = 4 << 20;

/// Why a socket is not read.
pub mod pause {
    /// Too many of its sends are not durable yet.
    pub const UNACCEPTED: u8 = 1;
    /// Too many sends of all are not durable yet.
    pub const TOTAL: u8 = 2;
    /// Frames wait for something to be loaded or allowed.
    pub const DEFERRED: u8 = 4;
    /// It does not take what it is owed.
    pub const BACKLOG: u8 = 8;
    /// It has said hello and is not welcome yet.
    pub const JOINING: u8 = 16;
    /// Sessions of its user hold too much.
    pub const ACCOUNT: u8 = 32;
}

/// How far a connection came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// No hello yet.
    Opening,
    /// Its token is being checked, or its user loaded.
    Joining,
    /// It has a session.
    Ready,
    /// It is being closed.
    Closing,
}

/// What a connection is owed; a pointer while that is nothing.
#[derive(Default)]
struct Out {
    bytes: Vec<u8>,
    /// A frame that others get too, as long as it is all.
    single: Option<Arc<[u8]>>,
    /// The link is lent out, and a close waits for it: code and reason.
    closing: Option<(u16, String)>,
}

/// One connection.
pub struct Conn {
    pub(super) user: usize,
    pub(super) link: Link,
    /// How frames to it are framed, once it has sent one.
    framing: Option<Framing>,
    out: Option<Box<Out>>,
    pub(super) session: Option<Box<Session>>,
    /// Bytes of its latest write; and of those that its transport may still have, while it is not writable.
    handed: u32,
    pub(super) in_transport: u32,
    /// Bytes of lists that it is owed once they are durable.
    pub(super) listed: u32,
    /// What is counted of it, in whose account: user's slot, bytes.
    pub(super) account: (u32, Holds),
    heard_s: u32,
    generation: u32,
    pub(super) stage: Stage,
    flags: u8,
    pauses: u8,
    told_paused: bool,
    queued: bool,
    writable: bool,
    pub(super) pinged: bool,
    pub(super) local: bool,
}

/// All connections, and the queue of those that are owed a write.
#[derive(Default)]
pub struct Conns {
    conns: Slab<Conn>,
    owed: VecDeque<u32>,
    #[allow(clippy::vec_box, reason = "the boxes are what is kept for reuse")]
    pool: Vec<Box<Out>>,
    pool_bytes: usize,
    written: Option<Box<Out>>,
    /// The connection whose link is lent out.
    lent: Option<u32>,
    scratch: Vec<u8>,
    generation: u32,
    /// Messages written.
    pub delivered: u64,
    /// Bytes of frames and messages that were encoded or copied for connections.
    pub framed: u64,
    /// What the sessions of users hold, by the user's slot, bytes.
    pub(super) accounts: HashMap<u32, Holds>,
}

impl Conns {
    /// A new connection.
    pub fn open(&mut self, user: usize, link: Link, local: bool, mono_ms: u64) -> ConnId {
        self.generation = self.generation.wrapping_add(1).max(1);
        let slot = self.conns.insert(Conn {
            user,
            link,
            framing: None,
            out: None,
            session: None,
            handed: 0,
            in_transport: 0,
            listed: 0,
            account: (u32::MAX, Holds::default()),
            heard_s: (mono_ms / 1000) as u32,
            generation: self.generation,
            stage: Stage::Opening,
            flags: 0,
            pauses: 0,
            told_paused: false,
            queued: false,
            writable: true,
            pinged: false,
            local,
        });
        ConnId::new(slot as u32, self.generation)
    }

    /// The slot of a connection that is still the same.
    pub fn slot(&self, id: ConnId) -> Option<u32> {
        self.conns.get(id.slot() as usize).filter(|c| c.generation == id.generation()).map(|_| id.slot())
    }

    /// The id of a slot.
    pub fn id(&self, slot: u32) -> ConnId {
        ConnId::new(slot, self.conns.get(slot as usize).map_or(0, |c| c.generation))
    }

    /// A connection.
    pub fn get(&self, slot: u32) -> Option<&Conn> {
        self.conns.get(slot as usize)
    }

    /// A connection, to change.
    pub fn get_mut(&mut self, slot: u32) -> Option<&mut Conn> {
        self.conns.get_mut(slot as usize)
    }

    /// A connection's session.
    pub fn session(&self, slot: u32) -> Option<&Session> {
        self.get(slot)?.session.as_deref()
    }

    /// A connection's session, to change.
    pub fn session_mut(&mut self, slot: u32) -> Option<&mut Session> {
        self.get_mut(slot)?.session.as_deref_mut()
    }

    /// Forgets a connection.
    pub fn remove(&mut self, slot: u32) -> Option<Conn> {
        self.uncount(slot);
        let mut conn = self.conns.try_remove(slot as usize)?;
        self.recycle(conn.out.take());
        Some(conn)
    }

    /// Slots of all.
    pub fn slots(&self) -> Vec<u32> {
        self.conns.iter().map(|(slot, _)| slot as u32).collect()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.conns.len()
    }

    /// A connection with somewhere to write for it.
    fn with_out(&mut self, slot: u32) -> Option<(&mut Conn, &mut Vec<u8>)> {
        let Self { conns, pool, pool_bytes, scratch, .. } = self;
        let conn = conns.get_mut(slot as usize)?;
        conn.out.get_or_insert_with(|| {
            let out = pool.pop().unwrap_or_default();
            *pool_bytes -= out.bytes.capacity();
            out
        });
        Some((conn, scratch))
    }

    /// Lends out a connection's link and bytes, to feed to.
    pub fn lend(&mut self, slot: u32) -> Option<(Link, Vec<u8>)> {
        self.lent = Some(slot);
        let (conn, _) = self.with_out(slot)?;
        let bytes = conn.out.as_mut().map(|out| mem::take(out.spilled())).unwrap_or_default();
        Some((mem::replace(&mut conn.link, Link::raw()), bytes))
    }

    /// Takes both back.
    pub fn give_back(&mut self, slot: u32, mut link: Link, mut bytes: Vec<u8>) {
        self.lent = None;
        let Some((conn, _)) = self.with_out(slot) else { return };
        let Some(out) = &mut conn.out else { return };
        if let Some((code, reason)) = out.closing.take() {
            link.close(&mut bytes, code, &reason);
        }
        let idle = bytes.is_empty();
        out.bytes = bytes;
        conn.link = link;
        if idle {
            let out = conn.out.take();
            self.recycle(out);
        } else {
            self.owe(slot);
        }
    }

    /// Notes how the client's frame was framed; the first one decides.
    pub fn set_framing(&mut self, slot: u32, framing: Framing) {
        if let Some(conn) = self.conns.get_mut(slot as usize) {
            conn.framing.get_or_insert(framing);
        }
    }

    /// Swaps a connection's bytes with those that were lent out, so that frames go where the link writes.
    pub fn swap_out(&mut self, slot: u32, bytes: &mut Vec<u8>) {
        if let Some(out) = self.with_out(slot).and_then(|(conn, _)| conn.out.as_mut()) {
            mem::swap(&mut out.bytes, bytes);
        }
    }

    fn recycle(&mut self, out: Option<Box<Out>>) {
        let Some(mut out) = out else { return };
        let bytes = out.bytes.capacity();
        if bytes <= POOL.1 && self.pool.len() < POOL.0 && self.pool_bytes + bytes <= POOL_BYTES {
            out.bytes.clear();
            (out.single, out.closing) = (None, None);
            self.pool_bytes += bytes;
            self.pool.push(out);
        }
    }

    fn owe(&mut self, slot: u32) {
        if let Some(conn) = self.conns.get_mut(slot as usize)
            && !conn.queued
        {
            conn.queued = true;
            self.owed.push_back(slot);
        }
    }

    /// Stops or starts reading a socket, for a reason of [`pause`].
    pub fn pause(&mut self, slot: u32, reason: u8, on: bool) {
        let Some(conn) = self.conns.get_mut(slot as usize) else { return };
        conn.pauses = if on { conn.pauses | reason } else { conn.pauses & !reason };
        if (conn.pauses != 0) != conn.told_paused {
            self.owe(slot);
        }
    }

    /// Whether a socket is not read for this reason.
    pub fn paused(&self, slot: u32, reason: u8) -> bool {
        self.get(slot).is_some_and(|c| c.pauses & reason != 0)
    }

    /// The transport takes more, or does not. Bytes that wait for it.
    pub fn set_writable(&mut self, slot: u32, on: bool) {
        if let Some(conn) = self.conns.get_mut(slot as usize) {
            conn.writable = on;
            conn.in_transport = if on { 0 } else { conn.handed };
            if on {
                self.owe(slot);
            }
            self.recount(slot);
        }
    }

    /// Whether the transport takes more.
    pub fn writable(&self, slot: u32) -> bool {
        self.get(slot).is_some_and(|c| c.writable)
    }

    /// Bytes that wait for a connection's transport.
    pub fn backlog(&self, slot: u32) -> usize {
        self.get(slot).map_or(0, Conn::owed_bytes)
    }

    /// Says goodbye on the link, and closes once everything is written; or at once.
    pub fn close(&mut self, slot: u32, code: u16, reason: &str, abort: bool) {
        let lent = self.lent == Some(slot);
        let Some((conn, _)) = self.with_out(slot) else { return };
        let Some(out) = &mut conn.out else { return };
        if lent {
            out.closing = Some((code, reason.to_owned()));
        } else {
            conn.link.close(out.spilled(), code, reason);
        }
        conn.stage = Stage::Closing;
        conn.flags |= if abort { write_flags::ABORT } else { write_flags::CLOSE } as u8;
        self.owe(slot);
    }

    /// What the next connection is owed. A connection whose transport is full keeps its data until that has room.
    pub fn next_write(&mut self) -> Option<Write<'_>> {
        let written = self.written.take();
        self.recycle(written);
        loop {
            let slot = self.owed.pop_front()?;
            let Some(conn) = self.conns.get_mut(slot as usize) else { continue };
            conn.queued = false;
            let mut flags = 0;
            if (conn.pauses != 0) != conn.told_paused {
                conn.told_paused = !conn.told_paused;
                flags |= if conn.told_paused { write_flags::PAUSE } else { write_flags::RESUME };
            }
            if conn.writable || conn.flags != 0 {
                flags |= u32::from(mem::take(&mut conn.flags));
                self.written = conn.out.take();
                conn.handed = self.written.as_ref().map_or(0, |out| out.len() as u32);
            }
            if conn.account.1.all > 0 || !conn.writable {
                self.recount(slot);
            }
            let Some(conn) = self.conns.get(slot as usize) else { continue };
            if flags == 0 && self.written.is_none() {
                continue;
            }
            let user = conn.user;
            let (data, shared) = match self.written.as_deref() {
                Some(Out { single: Some(frame), .. }) => (&**frame, frame.as_ptr() as usize as u64),
                Some(out) => (out.bytes.as_slice(), 0),
                None => (&[][..], 0),
            };
            return Some(Write { user, data, shared, flags });
        }
    }

    /// Where to write frames for a connection that is not being closed; it will be owed a write.
    fn buffer(&mut self, slot: u32) -> Option<(Framing, &mut Vec<u8>, &mut Vec<u8>)> {
        self.owe(slot);
        let (conn, scratch) = self.with_out(slot)?;
        if conn.stage == Stage::Closing {
            return None;
        }
        scratch.clear();
        Some((conn.framing(), conn.out.as_mut()?.spilled(), scratch))
    }
}

impl Out {
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

impl Conn {
    /// How frames to it are framed.
    fn framing(&self) -> Framing {
        self.framing.unwrap_or_else(|| self.link.framing())
    }

    /// Bytes that wait for its transport in the core.
    pub(super) fn owed_bytes(&self) -> usize {
        self.out.as_ref().map_or(0, |out| out.len())
    }

    /// Something came from it now.
    pub(super) fn hear(&mut self, mono_ms: u64) {
        self.heard_s = (mono_ms / 1000) as u32;
        self.pinged = false;
    }

    /// How long nothing came from it, ms; a second more or less.
    pub(super) fn silent_ms(&self, mono_ms: u64) -> u64 {
        (mono_ms / 1000).saturating_sub(u64::from(self.heard_s)) * 1000
    }
}

fn put_stored(out: &mut Vec<u8>, scratch: &mut Vec<u8>, framing: Framing, stored: &[u8], to: Option<&str>) {
    match framing {
        Framing::WsText => {
            // What is stored was encoded here; a damaged body has failed its checksum before.
            if put_message_json(scratch, stored, to).is_ok() {
                put_header(out, framing, scratch.len());
                out.extend_from_slice(scratch);
            }
        }
        Framing::Raw | Framing::WsBinary => {
            put_header(out, framing, message_frame_len(stored.len(), to));
            put_message_frame(out, stored, to);
        }
    }
}

impl Outlet for Conns {
    fn message(&mut self, slot: u32, body: &mut Body, to: Option<&str>, many: bool) {
        self.delivered += 1;
        if !many || to.is_some() {
            return self.own_message(slot, &body.stored, to);
        }
        let Some(framing) = self.get(slot).map(Conn::framing) else { return };
        let Some(frame) = body.frames.get_mut(framing as usize) else { return };
        let frame = frame.get_or_insert_with(|| {
            let payload = message_frame_len(body.stored.len(), None);
            let mut bytes = Vec::with_capacity(header_len(framing, payload) + payload);
            self.scratch.clear();
            put_stored(&mut bytes, &mut self.scratch, framing, &body.stored, None);
            bytes.into()
        });
        let frame = frame.clone();
        self.owe(slot);
        self.framed += frame.len() as u64;
        let Some((conn, _)) = self.with_out(slot) else { return };
        if conn.stage == Stage::Closing {
            return;
        }
        let Some(out) = &mut conn.out else { return };
        if out.bytes.is_empty() && out.single.is_none() {
            out.single = Some(frame);
        } else {
            out.spilled().extend_from_slice(&frame);
        }
    }

    fn own_message(&mut self, slot: u32, stored: &[u8], to: Option<&str>) {
        let Some((framing, out, scratch)) = self.buffer(slot) else { return };
        let before = out.len();
        put_stored(out, scratch, framing, stored, to);
        let bytes = out.len() - before;
        self.framed += bytes as u64;
    }

    fn frame(&mut self, slot: u32, frame: &ServerFrame<'_>) {
        let Some((framing, out, scratch)) = self.buffer(slot) else { return };
        let before = out.len();
        if framing == Framing::WsText {
            frame.encode_json(scratch);
            put_header(out, framing, scratch.len());
            out.extend_from_slice(scratch);
        } else {
            put_header(out, framing, frame.encoded_len());
            frame.encode(out);
        }
        let bytes = out.len() - before;
        self.framed += bytes as u64;
    }

    fn written(&self) -> u64 {
        self.framed
    }
}

#[cfg(test)]
#[allow(clippy::indexing_slicing)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_for_reuse_is_bounded_however_many_are_owed_i6() {
        let mut conns = Conns::default();
        let stored = vec![0; 100 << 8];
        for round in 0..3 {
            for user in 0..2 * POOL.0 {
                let id = conns.open(user, Link::raw(), true, 0);
                conns.own_message(id.slot(), &stored[..100 << (8 * (user % 2))], None);
            }
            let mut writes = 0;
            while conns.next_write().is_some() {
                writes += 1;
            }
            assert_eq!(writes, 2 * POOL.0, "round {round}");
            let kept: usize = conns.pool.iter().map(|out| out.bytes.capacity()).sum();
            assert_eq!(conns.pool_bytes, kept);
            assert!(kept <= POOL_BYTES && conns.pool.len() <= POOL.0);
            for slot in conns.slots() {
                conns.remove(slot);
            }
        }
    }
}
