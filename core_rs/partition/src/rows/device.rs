//! A device: what makes its repeated sends the same message (I4), and what it has seen of receipts.

use std::collections::VecDeque;

use smallvec::SmallVec;
use thin_vec::ThinVec;

use super::VERSION;
use crate::bytes::{Malformed, Read, Reader, put_bytes, put_flag, put_u64};
use crate::ids::ConversationId;

/// Longest id of a message, bytes.
pub const MAX_ID: usize = 32;

/// What an id became, until the device confirms that it saw `accepted`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Repeat {
    /// As the sender gave it, at most [`MAX_ID`] bytes.
    pub id: SmallVec<[u8; 16]>,
    /// Where the message stands.
    pub conversation: ConversationId,
    /// Its number there.
    pub seq: u64,
    /// When it was accepted, ms since 1970.
    pub time_ms: u64,
}

/// A conversation at rest that has receipts for this device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owed {
    /// Which.
    pub conversation: ConversationId,
    /// Version of the latest receipt there.
    pub version: u64,
}

/// See the module. The user's name and the device's number are its key.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Device {
    /// Counts records, wrapping.
    pub changes: u16,
    /// Whether it ever asked to receive: only then do receipts wait for it.
    pub receives: bool,
    /// Lazy: when it was last connected, seconds since 1970.
    pub seen_s: u32,
    /// Lazy: the highest receipt version that it has.
    pub receipts: u64,
    /// In the order of acceptance. Lazily shorter: what is confirmed goes.
    pub repeats: VecDeque<Repeat>,
    /// In ascending order of conversations.
    pub owed: ThinVec<Owed>,
}

impl Device {
    /// The message that has this id.
    pub fn repeat(&self, id: &[u8]) -> Option<&Repeat> {
        self.repeats.iter().rev().find(|repeat| repeat.id.as_slice() == id)
    }

    /// Appends the row's bytes.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.push(VERSION);
        out.extend_from_slice(&self.changes.to_le_bytes());
        put_flag(out, self.receives);
        put_u64(out, u64::from(self.seen_s));
        put_u64(out, self.receipts);
        put_u64(out, self.repeats.len() as u64);
        for repeat in &self.repeats {
            put_bytes(out, &repeat.id);
            out.extend_from_slice(&repeat.conversation);
            put_u64(out, repeat.seq);
            put_u64(out, repeat.time_ms);
        }
        put_u64(out, self.owed.len() as u64);
        for owed in &self.owed {
            out.extend_from_slice(&owed.conversation);
            put_u64(out, owed.version);
        }
    }

    /// Reads a row to the end of its bytes.
    ///
    /// # Errors
    /// Whatever [`Device::encode`] does not write.
    pub fn decode(bytes: &[u8]) -> Read<Self> {
        let reader = &mut Reader::new(bytes);
        super::version(reader, "device row")?;
        let mut device = Self {
            changes: reader.fixed16()?,
            receives: reader.flag()?,
            seen_s: reader.u32()?,
            receipts: reader.u64()?,
            ..Self::default()
        };
        for _ in 0..reader.count()? {
            let id = reader.bytes()?;
            if id.is_empty() || id.len() > MAX_ID {
                return Err(Malformed::Value("the length of a message id"));
            }
            let (conversation, seq, time_ms) = (reader.array()?, reader.u64()?, reader.u64()?);
            device.repeats.push_back(Repeat { id: id.into(), conversation, seq, time_ms });
        }
        for _ in 0..reader.count()? {
            let owed = Owed { conversation: reader.array()?, version: reader.u64()? };
            if device.owed.last().is_some_and(|last| last.conversation >= owed.conversation) {
                return Err(Malformed::Value("owing conversations out of order"));
            }
            device.owed.push(owed);
        }
        reader.end()?;
        Ok(device)
    }
}
