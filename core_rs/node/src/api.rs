//! What passes between a node and its driver.

use log::Ref;
use store::{Batch, Key, Scan};

/// Something that a node wants to have done; answered by the method that it names.
#[derive(Clone, Debug, PartialEq)]
pub enum Request {
    /// Of the embedder: who this is, whether it may.
    Gateway(gateway::Request),
    /// Read bodies from the log: [`Node::read`](crate::Node::read).
    Read {
        /// To be returned.
        token: u64,
        /// Which.
        refs: Vec<Ref>,
    },
    /// Remove a segment that nobody needs: [`Node::unlinked`](crate::Node::unlinked).
    Unlink(u32),
    /// Look rows up in the store: [`Node::looked`](crate::Node::looked).
    Get {
        /// To be returned.
        token: u64,
        /// Which.
        keys: Vec<Key>,
    },
    /// Read a page of the store: [`Node::scanned`](crate::Node::scanned).
    Page {
        /// To be returned.
        token: u64,
        /// Which.
        scan: Scan,
    },
    /// Put rows into the store: [`Node::put`](crate::Node::put).
    Put {
        /// To be returned.
        token: u64,
        /// The rows.
        batch: Batch,
    },
    /// What an embedder asked about a user is known.
    User {
        /// As it was given with the question.
        ticket: u64,
        /// What became of it.
        answer: UserAnswer,
    },
    /// Tell the operator.
    Alarm {
        /// Stable.
        code: &'static str,
        /// For people.
        message: String,
    },
}

/// The answer to [`Node::create_user`](crate::Node::create_user) or [`Node::has_user`](crate::Node::has_user).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UserAnswer {
    /// It was made, and this is durable.
    Made,
    /// It is there.
    There,
    /// There is none.
    Absent,
    /// Its row cannot be used.
    Unusable,
    /// The name cannot be a user's.
    BadName,
    /// The disk is full.
    Full,
}

/// Plain counters and gauges, beside those of the gateway.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Stats {
    pub gateway: gateway::Stats,
    pub users_in_memory: u64,
    pub conversations_in_memory: u64,
    pub messages_pending: u64,
    pub bytes_pending: u64,
    pub body_bytes: u64,
    pub unaccepted_bytes: u64,
    pub expired_total: u64,
    pub lost_total: u64,
    pub rested_total: u64,
    pub carried_total: u64,
    pub log_segments: u64,
    pub log_bytes_total: u64,
    pub storage_ok: bool,
    pub clock_trusted: bool,
}
