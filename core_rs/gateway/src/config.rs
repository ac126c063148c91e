//! What an operator can set about connections and sessions, with units.

use wire::types::{Limits, MAX_HELLO, MAX_ID};

use crate::accounts;

/// Settings of a gateway; `Default` is what `pyrouter serve` starts with.
#[derive(Clone, Debug)]
pub struct Config {
    /// As sessions are told them. The window is the largest that a session can ask for.
    pub limits: Limits,
    /// A connection that was pinged is closed when it stays silent for this much longer, ms.
    pub idle_grace_ms: u64,
    /// A connection without a hello after this long is closed, ms.
    pub hello_ms: u64,
    /// A poll's session ends after this long without a request, ms.
    pub park_ms: u64,
    /// Before `welcome`, bytes of an incomplete frame that are kept; a longer `hello` is refused.
    pub early_bytes: usize,
    /// What sessions, users and addresses may use.
    pub accounts: accounts::Config,
    /// A session's use of a row is remembered for less than this long, ms: a row that was used is kept in memory for as long.
    pub quiet_ms: u64,
    /// The driver is asked before a session's first action of a kind in a conversation.
    pub authorize: bool,
}

impl Default for Config {
    fn default() -> Self {
        let limits = Limits {
            body_bytes: 64 << 10,
            frame_bytes: 256 << 10,
            id_bytes: MAX_ID as u32,
            window_messages: 256,
            window_bytes: 1 << 20,
            unaccepted_messages: 256,
            unaccepted_bytes: 1 << 20,
            devices: 10,
            repeats: 256,
            idle_ms: 60_000,
            hold_ms: 30 * 24 * 3_600_000,
            group_members: 1024,
        };
        Self {
            limits,
            idle_grace_ms: 30_000,
            hello_ms: 10_000,
            park_ms: 60_000,
            early_bytes: MAX_HELLO,
            accounts: accounts::Config::default(),
            quiet_ms: 600_000,
            authorize: false,
        }
    }
}
