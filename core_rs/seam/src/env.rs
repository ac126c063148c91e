//! What a node lends to a partition for the length of a call.

use std::sync::Arc;

use smallvec::SmallVec;

use crate::ids::{Place, Position};
use crate::outputs::Outputs;

/// A point in time, given by the caller.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Now {
    /// The server's time, which never runs backwards: ms since 1970.
    pub wall_ms: u64,
    /// A monotonic clock, ms.
    pub mono_ms: u64,
}

/// Disjoint borrows, so that one part can be used while another is.
#[derive(Debug)]
pub struct Lent<'a, J, B, O> {
    /// The time of this call.
    pub now: Now,
    /// Bytes that a message's record may take in the log: 0 on a full disk. Bounds what clients send, nothing else.
    pub room: usize,
    /// Where records go.
    pub journal: &'a mut J,
    /// Bodies of messages in memory.
    pub bodies: &'a mut B,
    /// The gateway.
    pub out: &'a mut O,
}

/// See the module. A node implements it once; a test may implement it with doubles.
pub trait Env {
    /// Where records go.
    type J: Journal;
    /// Bodies of messages.
    type B: Bodies;
    /// The gateway.
    type O: Outputs;

    /// Lends all of it.
    fn lend(&mut self) -> Lent<'_, Self::J, Self::B, Self::O>;
}

/// Why records were not taken; none of them was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Full {
    /// There is no room on the disk. Later there may be.
    Disk,
    /// A batch cannot be so long. Limits keep decisions below that.
    Batch,
}

/// Where records go: appended to the log's open batch at once; that the batch is on the disk is said later.
pub trait Journal {
    /// Takes all records of a decision into one batch, or none. A record is a kind, and parts that stand one after the other.
    /// `sync`: somebody waits for it; else it rides along with others. Gives the batch's number, and appends the place of each
    /// record's body to `places`.
    ///
    /// # Errors
    /// See [`Full`].
    fn append(
        &mut self,
        records: &[(u8, &[&[u8]])],
        sync: bool,
        places: &mut SmallVec<[Place; 4]>,
    ) -> Result<Position, Full>;
}

/// A stored message in memory.
#[derive(Debug, Default)]
pub struct Body {
    /// The message as it stands in its record.
    pub stored: Vec<u8>,
    /// Complete frames, made once for the many that get the same bytes; by framing, in the order of the gateway.
    pub frames: [Option<Arc<[u8]>>; 3],
}

/// Bodies of messages in memory: a bounded cache over the log.
pub trait Bodies {
    /// Takes in the body of a message that was just numbered, in parts that stand one after the other. Gives a hint, for
    /// [`Bodies::get`].
    fn insert(&mut self, place: Place, stored: &[&[u8]]) -> u32;

    /// The body at `place`, if it is in memory. `hint` is kept by the caller with the message, and means something only here;
    /// `u32::MAX`: none. It is made better if it can be.
    fn get(&mut self, place: Place, hint: &mut u32) -> Option<&mut Body>;

    /// Lets go of the body at `place`: nobody wants it any more.
    fn remove(&mut self, place: Place, hint: u32);

    /// Asks for message `seq` of a conversation in memory (slot and serial, as the partition names it) to be read from
    /// `place`. The answer comes by the partition's `body_read`, or `lost`.
    fn want(&mut self, conversation: (u32, u32), seq: u64, place: Place);
}
