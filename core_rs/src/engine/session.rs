//! What an identified connection is to the engine, beyond what delivery keeps of it.

use std::collections::{HashMap, VecDeque};

use super::gather::Gather;
use super::permits::Action;
use super::uses::Uses;
use compact_str::CompactString;

use crate::wire::types::ConversationId;

/// A client frame that waits for something to be loaded or allowed.
pub struct Deferred {
    /// Whether it came as JSON.
    pub json: bool,
    /// Its payload.
    pub payload: Box<[u8]>,
}

/// Frames that wait, in order.
#[derive(Default)]
pub struct Waiting {
    /// The first one is what is waited for.
    pub frames: VecDeque<Deferred>,
    /// Their bytes.
    pub bytes: usize,
    /// Something was asked for and has not been answered yet.
    pub blocked: bool,
    /// It stands in the queue of those that are taken up again.
    pub ready: bool,
    /// What the first one wants of the cold store.
    pub gather: Option<Box<Gather>>,
}

/// What the embedder allowed or forbade in this session: by conversation and action.
#[derive(Default)]
pub struct Permits {
    /// Its answers.
    pub known: HashMap<(ConversationId, Action), bool>,
    /// What it was asked last.
    pub asked: Option<(ConversationId, Action)>,
}

/// What a session that sends needs.
#[derive(Default)]
pub struct Sending {
    /// Sends that are not durable yet: messages, bytes.
    pub unaccepted: (u32, u32),
    /// The batch of its latest send.
    pub last_batch: u64,
    /// Of the `accepted` frames on this connection, those that the client has not confirmed: numbers of remembered ids.
    pub confirms: VecDeque<u64>,
    /// How many it has confirmed.
    pub confirmed: u32,
    /// The user to whom it sent last, the id of their conversation, and in which second the store was asked for both.
    pub direct: Option<(CompactString, ConversationId, u32)>,
    /// The conversation to which it sent last by its id, and in which second the store was asked for it and its users.
    pub by_id: Option<(ConversationId, u32)>,
}

/// See the module. Parts that most sessions never need take a pointer.
pub struct Session {
    /// The user's slot; `u32::MAX` until it is admitted.
    pub user: u32,
    /// Slot in delivery.
    pub receiver: u32,
    /// When it ends, ms since 1970; 0: never.
    pub expires_ms: u64,
    /// What hello asked for: messages, bytes, receipts; until the session is attached.
    pub hello: Option<Box<(u32, u32, u64)>>,
    /// See [`Sending`].
    pub sending: Option<Box<Sending>>,
    /// Frames that wait.
    pub waiting: Option<Box<Waiting>>,
    /// See [`Permits`].
    pub permits: Option<Box<Permits>>,
    /// See [`Uses`].
    pub uses: Option<Box<Uses>>,
    /// Its device.
    pub device: u16,
    /// Wants the mailbox's messages.
    pub receive: bool,
}

impl Session {
    /// As hello asked for it; not admitted yet.
    pub fn new(receive: bool, hello: (u32, u32, u64)) -> Self {
        Self {
            user: u32::MAX,
            receiver: u32::MAX,
            expires_ms: 0,
            hello: Some(Box::new(hello)),
            sending: None,
            waiting: None,
            permits: None,
            uses: None,
            device: 0,
            receive,
        }
    }

    /// Its mailbox.
    pub fn mailbox(&self) -> (u32, u16) {
        (self.user, self.device)
    }

    /// Whether frames wait, so that those that come must wait too.
    pub fn is_waiting(&self) -> bool {
        self.waiting.is_some()
    }
}
