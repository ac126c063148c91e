//! A device: what makes its repeated sends the same message (I4), and what it has seen of receipts.

use thin_vec::ThinVec;

use super::VERSION;
use super::repeats::Repeats;
use crate::bytes::{Malformed, Read, Reader, put_flag, put_u64};
use crate::ids::ConversationId;

/// Most conversations at rest that are remembered one by one for owing a device receipts.
pub const MAX_OWED: usize = 4096;

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
    /// In ascending order of conversations; at most [`MAX_OWED`].
    pub owed: ThinVec<Owed>,
    /// If more than those owed receipts, the latest version: then any conversation of its user may owe it some. 0: none else does.
    pub owed_all: u64,
}

impl Device {
    /// It has receipts up to `version`: conversations that had no others for it owe it nothing. True: it had fewer before.
    pub fn see(&mut self, version: u64) -> bool {
        let more = version > self.receipts;
        if more {
            self.receipts = version;
            self.owed.retain(|owed| owed.version > version);
            self.owed_all = if self.owed_all > version { self.owed_all } else { 0 };
        }
        more
    }

    /// A conversation at rest has receipts for it up to `version`.
    pub fn owe(&mut self, conversation: ConversationId, version: u64) {
        match self.owed.binary_search_by(|owed| owed.conversation.cmp(&conversation)) {
            _ if self.owed_all > 0 => self.owed_all = self.owed_all.max(version),
            Ok(place) => {
                if let Some(owed) = self.owed.get_mut(place) {
                    owed.version = owed.version.max(version);
                }
            }
            Err(place) if self.owed.len() < MAX_OWED => self.owed.insert(place, Owed { conversation, version }),
            Err(_) => {
                self.owed_all = self.owed.iter().map(|owed| owed.version).fold(version, u64::max);
                self.owed = ThinVec::new();
            }
        }
    }

    /// Whether it is noted that a conversation has receipts for it up to `version`, or it has those.
    pub fn is_owed(&self, conversation: &ConversationId, version: u64) -> bool {
        let owed = self.owed.binary_search_by(|owed| owed.conversation.cmp(conversation));
        let noted = owed.ok().and_then(|place| self.owed.get(place)).map_or(self.owed_all, |owed| owed.version);
        version <= self.receipts.max(noted)
    }

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
        put_u64(out, self.owed_all);
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
            owed_all: 0,
        };
        for _ in 0..reader.count()? {
            let owed = Owed { conversation: reader.array()?, version: reader.u64()? };
            if device.owed.last().is_some_and(|last| last.conversation >= owed.conversation) {
                return Err(Malformed::Value("owing conversations out of order"));
            }
            device.owed.push(owed);
        }
        device.owed_all = reader.u64()?;
        reader.end()?;
        Ok(device)
    }
}
