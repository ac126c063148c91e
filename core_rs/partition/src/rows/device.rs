//! A device: what makes its repeated sends the same message (I4), and what it has seen of receipts.

use thin_vec::ThinVec;

use super::VERSION;
use super::repeats::Repeats;
use crate::bytes::{Malformed, Read, Reader, put_flag, put_u64};
use crate::ids::ConversationId;

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
    /// Lazily fewer: what is confirmed goes.
    pub repeats: Repeats,
    /// In ascending order of conversations.
    pub owed: ThinVec<Owed>,
}

impl Device {
    /// Appends the row's bytes.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.push(VERSION);
        out.extend_from_slice(&self.changes.to_le_bytes());
        put_flag(out, self.receives);
        put_u64(out, u64::from(self.seen_s));
        put_u64(out, self.receipts);
        self.repeats.encode(out);
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
            repeats: Repeats::decode(reader)?,
            owed: ThinVec::new(),
        };
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
