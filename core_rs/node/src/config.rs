//! What an operator can set about a node. Every limit of gateway, partition and node is named here, with its unit.

use gateway::accounts;
use wire::types::{Limits, MAX_HELLO, MAX_ID, MAX_LIST};

/// Message ids remembered per device until it confirms that it saw `accepted` (I4).
const REPEATS: u32 = partition::rows::repeats::MAX_REPEATS as u32;

/// Settings of a node; `Default` is what `pyrouter serve` starts with.
#[derive(Clone, Debug)]
pub struct Config {
    /// Largest body of a message, bytes; also of each body of a per-device send.
    pub body_bytes: u32,
    /// Largest frame from a client, bytes.
    pub frame_bytes: u32,
    /// Window of a receiving session: unacknowledged messages; a client may ask for less.
    pub window_messages: u32,
    /// Window of a receiving session, bytes of stored messages.
    pub window_bytes: u32,
    /// Sends of one session that are not durable yet, above which its socket is not read.
    pub unaccepted_messages: u32,
    /// The same in bytes.
    pub unaccepted_bytes: u32,
    /// The same over all sessions, bytes, with what a message costs beside its body; never more than a segment, so that no
    /// more waits for the disk than room is reserved for.
    pub unaccepted_total: u64,
    /// Devices of one user.
    pub devices: u32,
    /// A connection from which nothing came for this long is pinged, ms.
    pub idle_ms: u64,
    /// And closed when it stays silent for this much longer, ms.
    pub idle_grace_ms: u64,
    /// A connection without a hello after this long is closed, ms.
    pub hello_ms: u64,
    /// A message that a mailbox did not collect for this long expires; a device unseen for as long is dropped, ms.
    pub hold_ms: u64,
    /// Undelivered messages in a direct conversation, above which sends to it are refused.
    pub conversation_messages: u32,
    /// The same in bytes.
    pub conversation_bytes: u64,
    /// Members of one group; at most [`MAX_LIST`].
    pub group_members: u32,
    /// Bodies kept in memory, bytes.
    pub body_cache_bytes: usize,
    /// A row that was used stays in memory for at least this long, ms, unless memory is short.
    pub quiet_ms: u64,
    /// Rows in memory, above which those that were not used lately go to the store.
    pub rows_soft: usize,
    /// Rows in memory, above which those go that can, however lately they were used.
    pub rows_hard: usize,
    /// Frames waiting for a connection that does not take them, above which its socket is not read, bytes; at four times
    /// as much it is closed.
    pub out_bytes: usize,
    /// Before `welcome`, bytes of an incomplete frame that are kept; a longer `hello` is refused. What follows `hello` is not
    /// read until `welcome`, apart from what came with it in one read of the driver's.
    pub early_bytes: usize,
    /// What all sessions of a user hold (frames that wait for their transports, and frames of theirs that wait), above
    /// which those that hold something are not read, bytes; at four times as much such a session is closed.
    pub user_bytes: usize,
    /// A send to a user that does not exist creates it.
    pub create_unknown: bool,
    /// The driver is asked (`Request::Authorize`) before a session's first send or read in a conversation.
    pub authorize: bool,
    /// Size of a log segment, bytes: the unit of trimming.
    pub segment_bytes: u32,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            body_bytes: 64 << 10,
            frame_bytes: 256 << 10,
            window_messages: 256,
            window_bytes: 1 << 20,
            unaccepted_messages: 256,
            unaccepted_bytes: 1 << 20,
            unaccepted_total: 64 << 20,
            devices: 10,
            idle_ms: 60_000,
            idle_grace_ms: 30_000,
            hello_ms: 10_000,
            hold_ms: 30 * 24 * 3_600_000,
            conversation_messages: 100_000,
            conversation_bytes: 256 << 20,
            group_members: 1024,
            body_cache_bytes: 64 << 20,
            quiet_ms: 600_000,
            rows_soft: 200_000,
            rows_hard: 2_000_000,
            out_bytes: 256 << 10,
            early_bytes: MAX_HELLO,
            user_bytes: 4 << 20,
            create_unknown: false,
            authorize: false,
            segment_bytes: 64 << 20,
        }
    }
}

impl Config {
    /// Those of them that are a gateway's.
    pub fn gateway(&self) -> gateway::Config {
        let defaults = gateway::Config::default();
        let mut accounts = accounts::Config::default();
        (accounts.session.held, accounts.user.held) = (self.out_bytes as u64, self.user_bytes as u64);
        gateway::Config {
            limits: Limits {
                body_bytes: self.body_bytes,
                frame_bytes: self.frame_bytes,
                id_bytes: MAX_ID as u32,
                window_messages: self.window_messages,
                window_bytes: self.window_bytes,
                unaccepted_messages: self.unaccepted_messages,
                unaccepted_bytes: self.unaccepted_bytes,
                devices: self.devices,
                repeats: REPEATS,
                idle_ms: self.idle_ms,
                hold_ms: self.hold_ms,
                group_members: self.group_members,
            },
            idle_grace_ms: self.idle_grace_ms,
            hello_ms: self.hello_ms,
            early_bytes: self.early_bytes,
            accounts,
            quiet_ms: self.quiet_ms,
            authorize: self.authorize,
            ..defaults
        }
    }

    /// Those that are a partition's.
    pub fn partition(&self) -> partition::config::Config {
        partition::config::Config {
            devices: self.devices as usize,
            group_members: (self.group_members as usize).min(MAX_LIST),
            conversation_messages: self.conversation_messages as usize,
            conversation_bytes: self.conversation_bytes,
            hold_ms: self.hold_ms,
            create_unknown: self.create_unknown,
            ..partition::config::Config::default()
        }
    }
}
