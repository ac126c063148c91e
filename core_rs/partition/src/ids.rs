//! Names for things: keys of rows, typed indices into tables, positions and numbers.
//!
//! An index is meaningful only in the partition that gave it, and only while the thing is in memory. Nothing that is
//! written to the log or the store contains one.

pub use seam::ids::{ConversationId, DeviceId, Place, Position, RowKey};

macro_rules! index {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(u32);

        impl $name {
            /// From a place in a table.
            pub(crate) const fn new(place: usize) -> Self {
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

/// Bits of a sequence number below its generation.
pub const GENERATION_SHIFT: u32 = 36;

/// So many generations there may be: numbers stay below 2⁵³, so that a JSON client reads them exactly.
pub const GENERATIONS: u32 = 1 << 17;

/// The number below the first one of a generation. A number is generation × 2³⁶ + n, n from 1.
pub fn generation_base(generation: u32) -> u64 {
    u64::from(generation) << GENERATION_SHIFT
}

/// Bits of a receipt version below its generation.
pub const VERSION_SHIFT: u32 = 44;

/// The receipt version below the first one of a generation. A version is generation × 2⁴⁴ + n: clients see it as bytes.
pub fn version_base(generation: u32) -> u64 {
    u64::from(generation) << VERSION_SHIFT
}
