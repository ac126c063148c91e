//! Names for things: keys of rows, typed indices into tables, positions and numbers.
//!
//! An index is meaningful only in the partition that gave it, and only while the thing is in memory. Nothing that is
//! written to the log or the store contains one.

use compact_str::CompactString;

pub use wire::types::ConversationId;

/// A device's number among those of its user, from 1; 0 stands for a mailbox that waits for its user's first device.
pub type DeviceId = u16;

macro_rules! index {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(u32);

        impl $name {
            /// From a place in a table.
            pub(crate) fn new(place: usize) -> Self {
                Self(place as u32)
            }

            /// The place in its table.
            pub(crate) fn place(self) -> usize {
                self.0 as usize
            }
        }
    };
}

index!(
    /// A user whose name is in memory.
    UserSlot
);
index!(
    /// A conversation whose row is in memory.
    ConversationSlot
);
index!(
    /// A member of one conversation, in the order of its row.
    MemberIndex
);

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

/// Bits of a sequence number below its generation.
pub const GENERATION_SHIFT: u32 = 36;

/// The first sequence number of a generation. A number is generation × 2³⁶ + n, n from 1; numbers stay below 2⁵³, so
/// that a JSON client reads them exactly.
pub fn generation_base(generation: u32) -> u64 {
    u64::from(generation) << GENERATION_SHIFT
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
}

impl RowKey {
    /// A user's row.
    pub fn user(name: &str) -> Self {
        Self::User(name.into())
    }

    /// A device's row.
    pub fn device(name: &str, device: DeviceId) -> Self {
        Self::Device(name.into(), device)
    }
}
