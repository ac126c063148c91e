//! What passes between a gateway and its driver.

use seam::{Address, ConversationId};

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

/// What carries a connection's frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Carrier {
    /// A socket: the first bytes tell which framing.
    Socket,
    /// Something in this process: raw frames, no magic. The driver admits it at once, whatever its token; it is not pinged.
    Local,
    /// As [`Carrier::Local`], but its session outlives one request: it is parked when its carrier is lost.
    Poll,
}

/// What a connection is owed this turn.
#[derive(Debug)]
pub struct Write<'a> {
    /// What the driver gave to `Gateway::open`.
    pub user: usize,
    /// To be written; may be empty when only flags matter.
    pub data: &'a [u8],
    /// Not 0: within this drain, the same number means the same bytes.
    pub shared: u64,
    /// [`write_flags`](crate::write_flags).
    pub flags: u8,
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

/// Something rare that the driver does for a gateway.
#[derive(Clone, Debug, PartialEq)]
pub enum Request {
    /// Check a token; answer with `admit` or `refuse`.
    Authenticate {
        /// Which connection.
        conn: Address,
        /// Its token.
        token: String,
    },
    /// May this user do this here? Answer with `permit`.
    Authorize {
        /// Which connection.
        conn: Address,
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
}

/// Plain counters and gauges.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Stats {
    pub connections: u64,
    pub sessions: u64,
    pub delivered_total: u64,
    pub acks_total: u64,
    pub errors_total: u64,
    pub refused_total: u64,
    pub replaced_total: u64,
    pub resumed_total: u64,
    pub loads_total: u64,
    pub held_bytes: u64,
    pub turn_bytes_most: u64,
}
