//! Limits and times of a partition, each with its unit. They bear on what is proposed, never on what a record does.

pub use seam::env::Now;

/// See the module; `Default` is what a server starts with.
#[derive(Clone, Debug)]
pub struct Config {
    /// Devices of one user.
    pub devices: usize,
    /// Members of one group.
    pub group_members: usize,
    /// Groups that one user may be a member of.
    pub groups: usize,
    /// Undelivered messages of a conversation: above it a direct conversation refuses, and a group's floor rises.
    pub conversation_messages: usize,
    /// The same in bytes of records.
    pub conversation_bytes: u64,
    /// A message that a mailbox did not collect for this long expires; a device unseen for as long is dropped; ms.
    pub hold_ms: u64,
    /// A user who is sent a message, or is named in a change of a group, and is not there, is made.
    pub create_unknown: bool,
    /// Users that one user may block.
    pub blocks: usize,
    /// Messages whose bodies one floor may drop at once for their age.
    pub expire_at_once: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            devices: 10,
            group_members: 1024,
            groups: 1000,
            conversation_messages: 100_000,
            conversation_bytes: 256 << 20,
            hold_ms: 30 * 24 * 3_600_000,
            create_unknown: false,
            blocks: 1000,
            expire_at_once: 4096,
        }
    }
}
