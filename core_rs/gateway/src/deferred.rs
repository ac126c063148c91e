//! Frames that wait: for a row, for the embedder's word, or for their turn. All frames of a session wait behind its first, and
//! sessions take turns: round robin by user, then by session.

use std::mem;

use crate::conns::State;
use crate::frames::{Handled, handle_or_refuse};
use crate::login::join;
use crate::out::pause;
use crate::waits::Gather;
use crate::{Gateway, Host};

/// Frames, and hellos, that waited and are taken up again in one turn.
const FRAMES_PER_TURN: usize = 1024;
/// Most of them of one session, before others have their turn.
const FRAMES_AT_ONCE: usize = 64;
/// Bytes of answers made in one turn, and again while what waited is taken up; the last one may go beyond it (I11).
pub(crate) const TURN_ANSWERS: u64 = 1 << 20;

/// Client frames one behind the other in one buffer: a short one takes five bytes beside its own.
#[derive(Debug, Default)]
pub(crate) struct Frames {
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

    /// All of them, for [`Frames::restore`].
    pub fn as_bytes(&self) -> &[u8] {
        self.buffer.get(self.front..).unwrap_or_default()
    }

    /// From what [`Frames::as_bytes`] gave; `None`: these are other bytes.
    pub fn restore(bytes: &[u8]) -> Option<Self> {
        let mut frames = Self { buffer: bytes.to_vec(), ..Self::default() };
        while frames.front < bytes.len() {
            let (_, payload) = frames.first()?;
            frames.front += FRAME_HEAD + payload.len();
            frames.count += 1;
        }
        Some(Self { front: 0, ..frames })
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

/// What of a session waits.
#[derive(Debug, Default)]
pub(crate) struct Waiting {
    /// In order; the first one is what is waited for. Of a session that joins it is the session itself.
    pub frames: Frames,
    /// The embedder was asked.
    pub permit: bool,
    /// It stands in the queue of those that have what they waited for.
    pub ready: bool,
    /// Rows that the first one was told of, or waits for.
    pub gather: Option<Box<Gather>>,
}

impl Waiting {
    /// Whether the answer that the first one waits for has not come.
    pub fn is_blocked(&self) -> bool {
        self.permit || self.gather.as_ref().is_some_and(|gather| !gather.is_complete())
    }
}

impl Gateway {
    /// A frame waits behind those that wait.
    pub(crate) fn defer(&mut self, slot: u32, payload: &[u8], json: bool) {
        let limits = (self.config.limits.unaccepted_messages as usize, self.config.limits.unaccepted_bytes as usize);
        let Some(session) = self.conns.session_mut(slot) else { return };
        let frames = &mut session.waiting.get_or_insert_default().frames;
        frames.push(json, payload);
        if frames.len() > limits.0 || frames.bytes() > limits.1 {
            self.conns.outs.pause(slot, pause::DEFERRED, true);
        }
        self.make_ready(slot);
    }

    /// What of a session waits has its turn, unless an answer that it waits for is still to come.
    pub(crate) fn make_ready(&mut self, slot: u32) {
        let address = self.conns.address(slot);
        let Some(conn) = self.conns.get_mut(slot) else { return };
        let (state, account) = (conn.state, conn.account());
        let Some(session) = &mut conn.session else { return };
        let Some(waiting) = session.waiting.as_mut().filter(|waiting| !waiting.ready && !waiting.is_blocked()) else {
            return;
        };
        // Of one that joins the session itself has its turn, once; its frames have theirs after `welcome`.
        let joining = state == State::Joining && session.attached.is_none();
        if joining || state == State::Live {
            waiting.ready = true;
            self.ready.push(account, address);
        }
    }

    /// Whether a session's next frame may be answered now. A question of a few bytes may have an answer of many: what was asked
    /// in one read must not all be answered at once (I6, I11).
    pub(crate) fn may_answer(&mut self, slot: u32) -> bool {
        self.answered < TURN_ANSWERS && self.has_room(slot)
    }

    /// Another part of a turn begins, with room for answers of its own.
    fn begin_answers(&mut self) {
        self.stats.turn_bytes_most = self.stats.turn_bytes_most.max(self.answered);
        self.answered = 0;
    }

    /// The first waiting frame is done with; what it was told of rows may not hold for the next.
    fn done(&mut self, slot: u32) {
        self.leave_gates(slot);
        let Some(session) = self.conns.session_mut(slot) else { return };
        let Some(waiting) = &mut session.waiting else { return };
        waiting.frames.drop_first();
        if waiting.frames.len() == 0 {
            session.waiting = None;
            self.conns.outs.pause(slot, pause::DEFERRED, false);
        }
    }
}

/// Takes up frames and hellos that have what they waited for; true when more are left.
pub(crate) fn take_up<H: Host>(host: &mut H) -> bool {
    let mut left = FRAMES_PER_TURN;
    host.gateway().begin_answers();
    while left > 0 && host.gateway().answered < TURN_ANSWERS {
        let gateway = host.gateway();
        let Some((_, address)) = gateway.ready.pop(|_| true) else { break };
        let Some(slot) = gateway.conns.slot(address) else {
            left -= 1;
            continue;
        };
        if let Some(waiting) = gateway.conns.session_mut(slot).and_then(|session| session.waiting.as_mut()) {
            waiting.ready = false;
        }
        let taken = match gateway.conns.state(slot) {
            Some(State::Joining) => join(host, slot),
            Some(State::Live) => resume(host, slot, left.min(FRAMES_AT_ONCE)),
            _ => 0,
        };
        left -= taken.max(1);
        host.gateway().stats.resumed_total += taken as u64;
    }
    let gateway = host.gateway();
    gateway.begin_answers();
    !gateway.ready.is_empty()
}

/// Takes up at most so many of a session's waiting frames, in their order. How many it was.
fn resume<H: Host>(host: &mut H, slot: u32, most: usize) -> usize {
    for taken in 0..most {
        let gateway = host.gateway();
        if gateway.answered >= TURN_ANSWERS {
            gateway.make_ready(slot);
            return taken;
        }
        if !gateway.has_room(slot) || gateway.conns.state(slot) != Some(State::Live) {
            return taken;
        }
        let waiting = gateway.conns.session_mut(slot).and_then(|session| session.waiting.as_mut());
        let Some(waiting) = waiting.filter(|waiting| !waiting.is_blocked()) else { return taken };
        let frames = mem::take(&mut waiting.frames);
        let handled = match frames.first() {
            Some((json, payload)) => handle_or_refuse(host, slot, payload, json),
            None => Handled::Done,
        };
        let gateway = host.gateway();
        // It is still there, unless the frame ended the session.
        let Some(waiting) = gateway.conns.session_mut(slot).and_then(|s| s.waiting.as_mut()) else { return taken + 1 };
        waiting.frames = frames;
        match handled {
            Handled::Done => gateway.done(slot),
            Handled::Waits => return taken + 1,
        }
    }
    host.gateway().make_ready(slot);
    most
}
