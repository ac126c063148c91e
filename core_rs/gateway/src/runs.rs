//! The run queue: sessions that are owed something, served round robin, each within its window and its turn.
//!
//! A partition says `owed` once, and then not again until the session was served all of it. So what is owed is remembered
//! here, also while the session cannot take it: its window is full, its transport takes nothing, or it is not live. Whoever
//! changes that calls [`Runs::wake`].

use std::collections::VecDeque;
use std::mem;

use seam::{Address, Attached, Commands, Credit, Env, Served};

/// Most sessions served in a turn.
pub const SESSIONS: usize = 256;
/// Bytes written to all sessions in a turn, after which the others wait for the next one; the last session may go beyond it by
/// its own turn (I11).
pub const RUN_BYTES: u64 = 4 << 20;
/// Bytes of messages that a session takes in a turn, unless one message may be longer.
pub const TURN_BYTES: u32 = 64 << 10;
/// Most cursors in the receipts that a session takes in a turn.
pub const CURSORS: usize = 1024;

/// Whether a session can be served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ready {
    /// Now.
    Now,
    /// Once what it is owed already was written, which needs nothing but its turn: it stays in the queue.
    Later,
    /// Not before somebody calls [`Runs::wake`].
    Stalled,
}

/// What a session is owed, and its window.
#[derive(Debug)]
pub struct Run {
    /// Most messages and bytes that are not acknowledged.
    window: (u32, u32),
    /// Those that are not.
    in_flight: (u32, u32),
    messages: bool,
    receipts: bool,
    /// The next message did not fit beside what is in flight.
    tight: bool,
    queued: bool,
}

impl Run {
    /// With this window, and so much of it in flight: messages, bytes.
    pub fn new(window: (u32, u32), in_flight: (u32, u32)) -> Self {
        Self { window, in_flight, messages: false, receipts: false, tight: false, queued: false }
    }

    /// The session is attached anew: nothing is in flight to it or owed. It keeps its place in the queue, if it has one.
    pub fn restart(&mut self) {
        *self = Self { queued: self.queued, ..Self::new(self.window, (0, 0)) };
    }

    /// A message of so many bytes was written.
    pub fn message(&mut self, bytes: u32) {
        self.in_flight = (self.in_flight.0.saturating_add(1), self.in_flight.1.saturating_add(bytes));
    }

    /// Window, and what of it is in flight: messages, bytes.
    pub fn window(&self) -> [(u32, u32); 2] {
        [self.window, self.in_flight]
    }

    /// What the session takes of messages; `None`: nothing.
    fn credit(&self, turn_bytes: u32) -> Option<Credit> {
        let left = (self.window.0.saturating_sub(self.in_flight.0), self.window.1.saturating_sub(self.in_flight.1));
        let first_any = self.in_flight.0 == 0;
        let some = first_any || (left.0 > 0 && left.1 > 0 && !self.tight);
        some.then(|| Credit { messages: left.0.max(1), bytes: left.1.min(turn_bytes), first_any })
    }

    /// Whether the session is to be put into the queue; then it counts as being there.
    fn joins(&mut self, turn_bytes: u32) -> bool {
        let takes = self.receipts || (self.messages && self.credit(turn_bytes).is_some());
        takes && !mem::replace(&mut self.queued, true)
    }

    fn flag(&mut self, messages: bool) -> &mut bool {
        if messages { &mut self.messages } else { &mut self.receipts }
    }
}

/// The queue. A session stands in it at most once.
#[derive(Debug)]
pub struct Runs {
    queue: VecDeque<Address>,
    turn_bytes: u32,
}

impl Runs {
    /// With the longest stored message that a session may get, bytes.
    pub fn new(message_bytes: u32) -> Self {
        Self { queue: VecDeque::new(), turn_bytes: message_bytes.max(TURN_BYTES) }
    }

    /// See [`seam::Outputs::owed`].
    pub fn owed(&mut self, of: Address, run: &mut Run, messages: bool) {
        *run.flag(messages) = true;
        self.wake(of, run);
    }

    /// See [`seam::Outputs::freed`].
    pub fn freed(&mut self, of: Address, run: &mut Run, messages: u32, bytes: u32) {
        let (left, left_bytes) = (run.in_flight.0.saturating_sub(messages), run.in_flight.1.saturating_sub(bytes));
        run.in_flight = (left, if left == 0 { 0 } else { left_bytes });
        run.tight = false;
        self.wake(of, run);
    }

    /// The session may be able to take what it could not before: its transport takes more, it is live, its window has room.
    pub fn wake(&mut self, of: Address, run: &mut Run) {
        if run.joins(self.turn_bytes) {
            self.queue.push_back(of);
        }
    }

    /// Whether sessions stand in the queue.
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }
}

/// What the queue wants of the gateway that it is part of.
pub trait Running {
    /// The queue.
    fn runs(&mut self) -> &mut Runs;

    /// A session that is attached; `None`: it is over.
    fn run(&mut self, of: Address) -> Option<(&mut Run, Attached, Ready)>;

    /// Bytes written to all connections so far.
    fn written(&self) -> u64;
}

/// Serves sessions: receipts first, then messages, within the bounds above. True: more of them stand in the queue.
pub fn turn<E: Env<O: Running>, C: Commands>(env: &mut E, commands: &mut C) -> bool {
    let out = env.lend().out;
    let (began, waiting) = (out.written(), out.runs().queue.len());
    for _ in 0..waiting.min(SESSIONS) {
        let out = env.lend().out;
        if out.written() - began >= RUN_BYTES {
            break;
        }
        let Some(of) = out.runs().queue.pop_front() else { break };
        let Some((run, _, ready)) = out.run(of) else { continue };
        run.queued = false;
        if ready == Ready::Now {
            serve(env, commands, of, false);
            serve(env, commands, of, true);
        }
        // What it could not take it takes in its next turn, unless somebody has to wake it.
        let out = env.lend().out;
        let turn_bytes = out.runs().turn_bytes;
        if let Some((run, _, Ready::Now | Ready::Later)) = out.run(of)
            && run.joins(turn_bytes)
        {
            out.runs().queue.push_back(of);
        }
    }
    !env.lend().out.runs().is_empty()
}

/// Serves a session what it takes of messages, or of receipts.
fn serve<E: Env<O: Running>, C: Commands>(env: &mut E, commands: &mut C, of: Address, messages: bool) {
    let out = env.lend().out;
    let (turn_bytes, written) = (out.runs().turn_bytes, out.written());
    let Some((run, attached, Ready::Now)) = out.run(of) else { return };
    let before = run.in_flight;
    let Some(credit) = run.credit(turn_bytes).or((!messages).then(Credit::default)) else { return };
    // Taken back before the call: during it the partition may say `owed` again.
    if !mem::take(run.flag(messages)) {
        return;
    }
    let served =
        if messages { commands.credit(env, attached, credit) } else { commands.notify(env, attached, CURSORS) };
    if served != Served::More {
        return;
    }
    let out = env.lend().out;
    let idle = out.written() == written;
    let Some((run, ..)) = out.run(of) else { return };
    *run.flag(messages) = true;
    // Nothing was written although there is something: it is longer than what is left of the window.
    run.tight |= messages && idle && run.in_flight == before && before.0 > 0;
}

#[cfg(test)]
pub(crate) mod boxes;
#[cfg(test)]
mod tests;
