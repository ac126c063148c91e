//! What passes between an engine and its driver.

use crate::log::Ref;
use crate::wire::types::ConversationId;

/// A connection: its slot, and a number that tells it from others that had the slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ConnId(pub u64);

impl ConnId {
    pub(super) fn new(slot: u32, generation: u32) -> Self {
        Self(u64::from(generation) << 32 | u64::from(slot))
    }

    /// Its timer; another connection has the same one once in 16 million.
    pub(super) fn timer(self) -> super::timers::Timer {
        let [_, mark @ ..] = self.generation().to_be_bytes();
        super::timers::Timer::Conn(self.slot(), mark)
    }

    pub(super) fn slot(self) -> u32 {
        self.0 as u32
    }

    pub(super) fn generation(self) -> u32 {
        (self.0 >> 32) as u32
    }
}

/// What becomes of a connection after bytes came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It goes on.
    Open,
    /// It is HTTP: take its prefix and hand the socket over.
    Http,
    /// It is being closed; the close is among the writes.
    Closed,
}

/// What a connection is owed this turn.
#[derive(Debug)]
pub struct Write<'a> {
    /// What the driver gave to `Engine::open`.
    pub user: usize,
    /// To be written; may be empty when only flags matter.
    pub data: &'a [u8],
    /// Not 0: within this drain, the same number means the same bytes.
    pub shared: u64,
    /// [`write_flags`].
    pub flags: u32,
}

/// Bits of [`Write::flags`].
pub mod write_flags {
    /// Close once the data is written.
    pub const CLOSE: u32 = 1;
    /// Close at once.
    pub const ABORT: u32 = 2;
    /// Stop reading this socket.
    pub const PAUSE: u32 = 4;
    /// Read it again.
    pub const RESUME: u32 = 8;
}

/// Who a connection turned out to be.
#[derive(Clone, Debug)]
pub struct Identity {
    /// The user.
    pub user: String,
    /// The device, 1..=65535.
    pub device: u32,
    /// When the session must end, ms since 1970; 0: never.
    pub expires_ms: u64,
}

/// Something that can be in the cold store.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Key {
    /// A user, by name.
    User(Box<str>),
    /// A conversation.
    Conversation(ConversationId),
}

/// Something rare that the driver does for the engine.
#[derive(Clone, Debug, PartialEq)]
pub enum Request {
    /// Check a token; answer with `admit` or `refuse`.
    Authenticate {
        /// Which connection.
        conn: ConnId,
        /// Its token.
        token: String,
    },
    /// May this user do this here? Answer with `permit`.
    Authorize {
        /// Which connection.
        conn: ConnId,
        /// To be returned.
        ticket: u64,
        /// Who asks.
        user: String,
        /// Its device.
        device: u32,
        /// Where.
        conversation: ConversationId,
        /// The other user of a direct or device conversation; none of a group.
        peer: Option<String>,
        /// `send`, `read` or `manage`.
        action: &'static str,
    },
    /// Answer with `loaded`.
    Load(Key),
    /// Keep this; answer with `stored` once it is durable.
    Store {
        /// What.
        key: Key,
        /// To be returned.
        version: u64,
        /// The state.
        blob: Vec<u8>,
    },
    /// Read bodies; answer with `read_done`.
    Read {
        /// To be returned.
        token: u64,
        /// Which.
        refs: Vec<Ref>,
    },
    /// Read all records of a segment; answer with `scanned`.
    Scan(u32),
    /// Remove a segment that nobody needs.
    Unlink(u32),
    /// Tell the operator.
    Alarm {
        /// Stable.
        code: &'static str,
        /// For people.
        message: String,
    },
}

/// Plain counters and gauges.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Stats {
    pub connections: u64,
    pub sessions: u64,
    pub users_in_memory: u64,
    pub conversations_in_memory: u64,
    pub messages_pending: u64,
    pub bytes_pending: u64,
    pub hot_bytes: u64,
    pub unaccepted_bytes: u64,
    pub accepted_total: u64,
    pub repeated_total: u64,
    pub refused_total: u64,
    pub delivered_total: u64,
    pub acks_total: u64,
    pub expired_total: u64,
    pub lost_total: u64,
    pub errors_total: u64,
    pub replaced_total: u64,
    pub devices_dropped_total: u64,
    pub held_bytes: u64,
    pub turn_bytes_most: u64,
    pub loads_total: u64,
    pub resumed_total: u64,
    pub log_segments: u64,
    pub log_bytes_total: u64,
    pub log_message_bytes_total: u64,
    pub carried_total: u64,
    pub storage_ok: u64,
    pub clock_trusted: u64,
}
