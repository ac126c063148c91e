//! Outputs that are held until the position is durable at which they were made.
//!
//! An output is encoded once, behind those that were held before it, and a release reads from the front. The positions that a
//! partition gives grow, so nothing waits there for long that could leave: an older one, as of a repeated send, waits for those
//! before it. It knows sessions as addresses: an output of one that is over is passed over by whoever takes what is released.

use std::collections::VecDeque;

use seam::{Address, Position};

/// Bytes of outputs that stand together in memory; a longer output stands alone.
const CHUNK: usize = 64 << 10;
/// Room below which a chunk is full. Outputs are seldom longer; one that is makes its chunk grow.
const SLACK: usize = 4 << 10;
/// What an output takes beside its bytes, for accounts.
pub const ENTRY: usize = size_of::<Held>();
/// Most outputs, and bytes of them, that are released at once (I11).
pub const RELEASE: (usize, usize) = (8192, 4 << 20);

/// What an output does beside being written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// Nothing.
    Frame,
    /// It is `welcome`: the session is live from here on.
    Welcome,
    /// It is the last one: the session ends.
    Last,
}

#[derive(Debug)]
struct Held {
    at: Position,
    to: Address,
    len: u32,
    kind: Kind,
}

/// See the module. One for each partition.
#[derive(Debug, Default)]
pub struct Holding {
    queue: VecDeque<Held>,
    /// Their bytes: no output lies in two chunks.
    chunks: VecDeque<Vec<u8>>,
    /// Bytes of the first chunk that were released.
    front: usize,
    /// A chunk for reuse.
    spare: Option<Vec<u8>>,
    bytes: usize,
    synced: Position,
}

impl Holding {
    /// Whether an output of this position need not be held, if none of its session's is.
    pub fn passes(&self, at: Position) -> bool {
        at <= self.synced
    }

    /// Everything up to here is durable.
    pub fn synced(&mut self, at: Position) {
        self.synced = self.synced.max(at);
    }

    /// What is held, bytes, with what outputs take beside their own.
    pub fn bytes(&self) -> usize {
        self.bytes + self.queue.len() * ENTRY
    }

    /// Holds what `encode` appends for a session. One whose position is lower than that of an output before it waits for the
    /// other's. Returns its length, bytes.
    pub fn push(&mut self, at: Position, to: Address, kind: Kind, encode: impl FnOnce(&mut Vec<u8>)) -> usize {
        if self.chunks.back().is_none_or(|chunk| chunk.len() > CHUNK - SLACK) {
            let chunk = self.spare.take().unwrap_or_else(|| Vec::with_capacity(CHUNK));
            self.chunks.push_back(chunk);
        }
        let Some(chunk) = self.chunks.back_mut() else { return 0 };
        let before = chunk.len();
        encode(chunk);
        let len = chunk.len() - before;
        self.bytes += len;
        self.queue.push_back(Held { at, to, len: len as u32, kind });
        len
    }

    /// Whether something can be released now.
    pub fn due(&self) -> bool {
        self.queue.front().is_some_and(|held| held.at <= self.synced)
    }

    /// Gives what is durable to `leave`, in the order in which it was held: at most [`RELEASE`], of which the last output may
    /// go beyond the bytes. [`Holding::due`] says whether more is left.
    pub fn release(&mut self, mut leave: impl FnMut(Address, Kind, &[u8])) {
        let (mut outputs, mut bytes) = RELEASE;
        while outputs > 0 && bytes > 0 && self.due() {
            let Some(held) = self.queue.pop_front() else { break };
            let len = held.len as usize;
            if self.chunks.front().is_some_and(|chunk| chunk.len() == self.front) && self.chunks.len() > 1 {
                self.drop_chunk();
            }
            let chunk = self.chunks.front().map_or(&[][..], Vec::as_slice);
            leave(held.to, held.kind, chunk.get(self.front..self.front + len).unwrap_or_default());
            self.front += len;
            self.bytes -= len;
            outputs -= 1;
            bytes = bytes.saturating_sub(len);
        }
        if self.queue.is_empty() {
            self.drop_chunk();
            self.queue.shrink_to(RELEASE.0);
        }
    }

    /// The first chunk is used up.
    fn drop_chunk(&mut self) {
        self.front = 0;
        if let Some(mut chunk) = self.chunks.pop_front()
            && chunk.capacity() <= CHUNK
        {
            chunk.clear();
            self.spare = Some(chunk);
        }
    }
}

#[cfg(test)]
mod tests;
