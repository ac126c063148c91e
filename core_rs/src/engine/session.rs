//! What an identified connection is to the engine, beyond what delivery keeps of it.

use std::collections::HashMap;

use super::gather::Gather;
use super::permits::Action;
use super::uses::Uses;
use compact_str::CompactString;

use crate::wire::types::ConversationId;

/// Client frames that wait, one behind the other in one buffer: a short one takes five bytes beside its own.
#[derive(Default)]
pub struct Frames {
    /// Each frame is its length, four bytes; 1 if it came as JSON, else 0; and its payload.
    buffer: Vec<u8>,
    /// Where the first of them begins.
    front: usize,
    count: usize,
}

/// Bytes before each of [`Frames`].
const FRAME_HEAD: usize = 5;
/// Bytes of frames that are gone, above which the others move to the front.
const GONE: usize = 64 << 10;

impl Frames {
    /// Adds one behind the others.
    pub fn push(&mut self, json: bool, payload: &[u8]) {
        // A frame's length fits: the link bounds it.
        let [a, b, c, d] = (payload.len() as u32).to_le_bytes();
        self.buffer.extend_from_slice(&[a, b, c, d, u8::from(json)]);
        self.buffer.extend_from_slice(payload);
        self.count += 1;
    }

    /// The first one: whether it came as JSON, and its payload.
    pub fn first(&self) -> Option<(bool, &[u8])> {
        let (head, rest) = self.buffer.get(self.front..)?.split_first_chunk::<FRAME_HEAD>()?;
        let [a, b, c, d, json] = *head;
        Some((json != 0, rest.get(..u32::from_le_bytes([a, b, c, d]) as usize)?))
    }

    /// Forgets the first one.
    pub fn drop_first(&mut self) {
        let Some((_, payload)) = self.first() else { return };
        self.front += FRAME_HEAD + payload.len();
        self.count -= 1;
        if self.count == 0 {
            *self = Self::default();
        } else if self.front > GONE {
            self.buffer.drain(..self.front);
            self.front = 0;
        }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.count
    }

    /// What they take, bytes.
    pub fn bytes(&self) -> usize {
        self.buffer.len()
    }
}

/// Frames that wait, in order.
#[derive(Default)]
pub struct Waiting {
    /// The first one is what is waited for.
    pub frames: Frames,
    /// Something was asked for and has not been answered yet.
    pub blocked: bool,
    /// It stands in the queue of those that are taken up again.
    pub ready: bool,
    /// When the latest timer that takes them up is due, ms of the monotonic clock: earlier ones do nothing.
    pub due_ms: u64,
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
    /// What hello asked for: messages, bytes, receipts if it keeps some; until the session is attached.
    pub hello: Option<Box<(u32, u32, Option<u64>)>>,
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
    pub fn new(receive: bool, hello: (u32, u32, Option<u64>)) -> Self {
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
