//! A session as bytes, so that another process can go on with it.
//!
//! ```text
//! version:u8 · framing:u8 · flags:u8 (1: receive) · device:u16 · expires_ms:u64
//! window, in flight: 2 × (messages:u32, bytes:u32) · user · link · output · deferred
//! n:u32, n × (conversation:16, sent:u64) · crc32:u32
//! ```
//! Integers are little endian; user, link, output and deferred are bytes behind their length, a u32. What a session used, and
//! what its embedder allowed, is not in it: rows are loaded, and it is asked, again. Nor how far it has receipts: it begins with
//! what its device acknowledged.

use link::Framing;
use seam::{ConversationId, DeviceId};
use wire::check_user;

const VERSION: u8 = 1;
/// Longest session, bytes. One that is longer ends, and its client connects again.
pub const MAX_BYTES: usize = 2 << 20;
const RECEIVE: u8 = 1;
/// In the order of their numbers.
const FRAMINGS: [Framing; 3] = [Framing::Raw, Framing::WsBinary, Framing::WsText];

/// A session that moves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Saved<'a> {
    /// How frames to it are framed.
    pub framing: Framing,
    /// It gets messages and receipts.
    pub receive: bool,
    /// Its user.
    pub user: &'a str,
    /// Its device, not 0.
    pub device: DeviceId,
    /// When it ends, ms since 1970; 0: never.
    pub expires_ms: u64,
    /// Its window, and what of it is in flight: messages, bytes.
    pub window: [(u32, u32); 2],
    /// The last number written to it, by conversation.
    pub sent: Vec<(ConversationId, u64)>,
    /// See [`link::Link::save`].
    pub link: &'a [u8],
    /// What it was owed and its transport had not taken.
    pub output: &'a [u8],
    /// Its frames that wait.
    pub deferred: &'a [u8],
}

impl<'a> Saved<'a> {
    /// As bytes; `None`: they would be more than [`MAX_BYTES`].
    pub fn save(&self) -> Option<Vec<u8>> {
        let mut out = Vec::new();
        let flags = if self.receive { RECEIVE } else { 0 };
        out.extend_from_slice(&[VERSION, self.framing as u8, flags]);
        out.extend_from_slice(&self.device.to_le_bytes());
        out.extend_from_slice(&self.expires_ms.to_le_bytes());
        for (messages, bytes) in self.window {
            put_u32(&mut out, messages);
            put_u32(&mut out, bytes);
        }
        for bytes in [self.user.as_bytes(), self.link, self.output, self.deferred] {
            put_bytes(&mut out, bytes);
        }
        put_u32(&mut out, self.sent.len() as u32);
        for (conversation, sent) in &self.sent {
            out.extend_from_slice(conversation);
            out.extend_from_slice(&sent.to_le_bytes());
        }
        let crc = crc32fast::hash(&out);
        put_u32(&mut out, crc);
        (out.len() <= MAX_BYTES).then_some(out)
    }

    /// From what [`Saved::save`] gave; `None`: these are other bytes, or a later build's.
    pub fn restore(bytes: &'a [u8]) -> Option<Self> {
        let (content, crc) = bytes.split_last_chunk()?;
        if bytes.len() > MAX_BYTES || crc32fast::hash(content) != u32::from_le_bytes(*crc) {
            return None;
        }
        let mut reader = Reader(content);
        let [VERSION, framing, flags] = reader.array()? else { return None };
        if flags & !RECEIVE != 0 {
            return None;
        }
        let device = u16::from_le_bytes(reader.array()?);
        let expires_ms = reader.u64()?;
        let window = [(reader.u32()?, reader.u32()?), (reader.u32()?, reader.u32()?)];
        let user = str::from_utf8(reader.bytes()?).ok().filter(|user| check_user(user).is_ok())?;
        let saved = Self {
            framing: *FRAMINGS.get(usize::from(framing))?,
            receive: flags & RECEIVE != 0,
            user,
            device,
            expires_ms,
            window,
            link: reader.bytes()?,
            output: reader.bytes()?,
            deferred: reader.bytes()?,
            sent: reader.list(|reader| Some((reader.array()?, reader.u64()?)))?,
        };
        (device != 0 && reader.0.is_empty()).then_some(saved)
    }
}

fn put_u32(out: &mut Vec<u8>, value: u32) {
    out.extend_from_slice(&value.to_le_bytes());
}

fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_u32(out, bytes.len() as u32);
    out.extend_from_slice(bytes);
}

/// Takes values off the front of bytes; `None`: they are too short.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (array, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*array)
    }

    fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    fn bytes(&mut self) -> Option<&'a [u8]> {
        let len = self.u32()? as usize;
        let (bytes, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(bytes)
    }

    /// So many of something as stand before them. Nothing is reserved for what is only announced.
    fn list<T>(&mut self, mut one: impl FnMut(&mut Self) -> Option<T>) -> Option<Vec<T>> {
        let count = self.u32()?;
        let mut list = Vec::new();
        for _ in 0..count {
            list.push(one(self)?);
        }
        Some(list)
    }
}

#[cfg(test)]
mod tests;
