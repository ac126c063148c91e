//! Names for sessions, rows, places and positions.

use compact_str::CompactString;
use smallvec::SmallVec;

pub use wire::types::ConversationId;

/// A device's number among those of its user, from 1; 0 stands for a mailbox that waits for its user's first device.
pub type DeviceId = u16;

/// A session, as its gateway names it: never given twice. A partition only hands it back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address(u64);

impl Address {
    /// The session in a slot of the gateway's table, of this generation of the slot.
    pub fn new(slot: u32, generation: u32) -> Self {
        Self(u64::from(slot) | u64::from(generation) << 32)
    }

    /// The slot in the gateway's table.
    pub fn slot(self) -> u32 {
        self.0 as u32
    }

    /// The generation of the slot.
    pub fn generation(self) -> u32 {
        (self.0 >> 32) as u32
    }
}

/// For whoever keeps it as a number.
impl From<Address> for u64 {
    fn from(address: Address) -> Self {
        address.0
    }
}

impl From<u64> for Address {
    fn from(bits: u64) -> Self {
        Self(bits)
    }
}

/// Longest [`Token`], bytes.
pub const MAX_TOKEN: usize = 64;

/// How far a device has receipts: bytes that a partition made. Gateways and clients keep the last one and hand it back; they
/// never compare two. Empty: nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Token(SmallVec<[u8; 24]>);

impl Token {
    /// From bytes; `None`: they are longer than [`MAX_TOKEN`].
    pub fn new(bytes: &[u8]) -> Option<Self> {
        (bytes.len() <= MAX_TOKEN).then(|| Self(SmallVec::from_slice(bytes)))
    }

    /// Its bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }
}

/// The number of a batch of the log. All records of a batch become durable together, so they share a position.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position(pub u64);

/// Where a message's record lies in the log. A partition hands it back to whoever reads; it never interprets it, except
/// that a segment is what goes as a whole.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// The segment; segments go in this order.
    pub segment: u32,
    /// Offset of the record's body in the segment, bytes.
    pub offset: u32,
    /// Length of the record's body, bytes.
    pub len: u32,
}

/// Which row.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RowKey {
    /// A user, by name.
    User(CompactString),
    /// A device of a user.
    Device(CompactString, DeviceId),
    /// A conversation.
    Conversation(ConversationId),
    /// That a user takes part in a conversation, or did: a row of the store's index, never one of the log.
    Member(CompactString, ConversationId),
}

impl RowKey {
    /// A user's row.
    pub fn user(name: &str) -> Self {
        Self::User(name.into())
    }

    /// The index row of a user and a conversation.
    pub fn member(name: &str, conversation: &ConversationId) -> Self {
        Self::Member(name.into(), *conversation)
    }

    /// A device's row.
    pub fn device(name: &str, device: DeviceId) -> Self {
        Self::Device(name.into(), device)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_gives_back_what_it_was_made_of() {
        let address = Address::new(7, u32::MAX);
        assert_eq!((address.slot(), address.generation()), (7, u32::MAX));
        assert_ne!(address, Address::new(7, 0));
        assert_eq!(Address::from(u64::from(address)), address);
    }

    #[test]
    fn a_token_has_at_most_64_bytes() {
        assert_eq!(Token::new(&[1; MAX_TOKEN]).map(|token| token.bytes().len()), Some(64));
        assert_eq!(Token::new(&[1; MAX_TOKEN + 1]), None);
    }
}
