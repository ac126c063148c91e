//! What each frame from a client does.
//!
//! A frame that needs something that is not in memory, or the embedder's word, waits in its session with all that follow
//! it, and is taken up again when the answer is there. Whatever is wrong with a frame ends at most its own connection.

use std::mem;

use super::Engine;
use super::conns::{Stage, pause};
use super::permits::Action;
use super::sends::NO_CONVERSATION;
use super::session::{Session, Waiting};
use super::timers::GRAIN_MS;
use super::token;
use crate::delivery::{Outlet, Refusal};
use crate::link::Flow;
use crate::wire::types::{Ack, ClientFrame, ConversationId, DeviceList, PROTOCOL, Read, ServerFrame};
use crate::wire::{WireError, codes, decode_client, json};

/// How handling a frame ended.
pub(super) enum Handled {
    /// It is done with.
    Done,
    /// It waits for an answer; the same frame again, then.
    Blocked,
    /// It waits until there is room for what it is answered with.
    Later,
}

/// Bytes of answers to one session's waiting frames before others have their turn.
const ANSWERS_AT_ONCE: u64 = 64 << 10;

impl Engine {
    /// A frame's payload arrived.
    pub(super) fn frame(&mut self, slot: u32, payload: &[u8], json: bool) -> Flow {
        let waits = match self.conns.get(slot).map(|c| c.stage) {
            None | Some(Stage::Closing) => return Flow::Stop,
            Some(Stage::Joining) => true,
            Some(Stage::Opening) if !self.bound_early(slot, payload.len()) => return Flow::Stop,
            Some(Stage::Opening) => false,
            Some(Stage::Ready) => self.conns.session(slot).is_some_and(Session::is_waiting),
        };
        if !waits && self.is_glutted(slot) {
            self.defer(slot, payload, json, false);
            self.turn_later(slot);
        } else if waits {
            self.defer(slot, payload, json, false);
        } else {
            match self.handle_or_refuse(slot, payload, json) {
                Handled::Done => {}
                Handled::Blocked => self.defer(slot, payload, json, true),
                Handled::Later => {
                    self.defer(slot, payload, json, false);
                    self.wait_for_room(slot);
                }
            }
        }
        match self.conns.get(slot).map(|c| c.stage) {
            None | Some(Stage::Closing) => Flow::Stop,
            _ => Flow::Continue,
        }
    }

    fn defer(&mut self, slot: u32, payload: &[u8], json: bool, blocked: bool) {
        let Some(session) = self.conns.session_mut(slot) else { return };
        let waiting = session.waiting.get_or_insert_with(|| Box::new(Waiting::default()));
        waiting.frames.push(json, payload);
        waiting.blocked |= blocked;
        if waiting.frames.bytes() > self.config.unaccepted_bytes as usize
            || waiting.frames.len() > self.config.unaccepted_messages as usize
        {
            self.conns.pause(slot, pause::DEFERRED, true);
        }
    }

    /// Whether answers to a client wait for the disk, or for its transport, beyond what a turn takes. A question of a few
    /// bytes may have an answer of many: what was asked in one read must not all be answered at once (I6, I11).
    fn is_glutted(&self, slot: u32) -> bool {
        let sending = self.conns.session(slot).and_then(|session| session.sending.as_ref());
        let unaccepted = sending.map_or(0, |sending| u64::from(sending.unaccepted.1));
        self.conns.backlog(slot) > self.config.out_bytes
            || unaccepted > 4 * u64::from(self.config.unaccepted_bytes)
            || self.is_owed_too_much(slot)
    }

    /// A question waits for room. One whose transport is full is taken up by [`Engine::set_writable`].
    fn wait_for_room(&mut self, slot: u32) {
        if !self.conns.writable(slot) {
            return;
        }
        if self.is_turn_full() {
            self.make_ready(slot);
        } else {
            self.turn_later(slot);
        }
    }

    /// Frames that wait only for their turn have it soon. However often this is called, they wait for one timer.
    pub(super) fn turn_later(&mut self, slot: u32) {
        let at_ms = self.clock.mono_ms() + 1;
        if let Some(waiting) = self.conns.session_mut(slot).and_then(|session| session.waiting.as_mut()) {
            let due_ms = at_ms.next_multiple_of(GRAIN_MS);
            if waiting.due_ms >= due_ms {
                return;
            }
            waiting.due_ms = due_ms;
        }
        self.timers.set(at_ms, super::Timer::Resume(slot));
    }

    /// An answer came: takes up at most so many of the frames that wait, in their order. How many it was.
    pub(super) fn resume(&mut self, slot: u32, most: usize) -> usize {
        if let Some(waiting) = self.conns.session_mut(slot).and_then(|session| session.waiting.as_mut()) {
            waiting.blocked = false;
        }
        let began = self.conns.framed;
        for taken in 0..most {
            if self.conns.framed - began > ANSWERS_AT_ONCE {
                self.make_ready(slot);
                return taken;
            }
            if !self.conns.get(slot).is_some_and(|c| c.stage == Stage::Ready) {
                return taken;
            }
            if self.is_glutted(slot) {
                // Of one whose transport is full [`Engine::set_writable`] thinks.
                if self.conns.writable(slot) {
                    self.turn_later(slot);
                }
                return taken;
            }
            let Some(session) = self.conns.session_mut(slot) else { return taken };
            let Some(waiting) = &mut session.waiting else { return taken };
            let mut frames = mem::take(&mut waiting.frames);
            let Some((json, payload)) = frames.first() else {
                session.waiting = None;
                self.conns.pause(slot, pause::DEFERRED, false);
                return taken;
            };
            let handled = self.handle_or_refuse(slot, payload, json);
            if let Handled::Done = handled {
                frames.drop_first();
            }
            let Some(waiting) = self.conns.session_mut(slot).and_then(|s| s.waiting.as_mut()) else { return taken + 1 };
            waiting.frames = frames;
            match handled {
                // What it was told of rows may not hold for the next.
                Handled::Done => (waiting.gather, waiting.blocked) = (None, false),
                Handled::Blocked => {
                    waiting.blocked = true;
                    return taken + 1;
                }
                Handled::Later => {
                    self.wait_for_room(slot);
                    return taken;
                }
            }
        }
        self.make_ready(slot);
        most
    }

    /// As `handle`; but a frame that wants a row of the cold store that is unusable is refused.
    fn handle_or_refuse(&mut self, slot: u32, payload: &[u8], json: bool) -> Handled {
        self.rows.wanted = false;
        let handled = self.handle(slot, payload, json);
        if !mem::take(&mut self.rows.wanted) {
            return handled;
        }
        if let Some(waiting) = self.conns.session_mut(slot).and_then(|session| session.waiting.as_mut()) {
            (waiting.gather, waiting.blocked) = (None, false);
        }
        // It asked for rows before it met the one that cannot be used: nothing waits for those answers any more.
        self.make_ready(slot);
        let decoded = if json { json::decode_client(payload) } else { decode_client(payload) };
        let (id, at) = match decoded {
            Ok(ClientFrame::Send(send)) => (send.id.into_owned(), None),
            Ok(ClientFrame::Manage(manage)) => (manage.id.into_owned(), None),
            Ok(ClientFrame::Ack(ack)) => (Vec::new(), ack.conversation),
            Ok(ClientFrame::Read(read)) => (Vec::new(), Some(read.conversation)),
            Ok(ClientFrame::GroupGet { conversation }) => (Vec::new(), conversation),
            Ok(ClientFrame::ProgressGet { conversation, .. }) => (Vec::new(), Some(conversation)),
            _ => (Vec::new(), None),
        };
        self.stats.errors_total += 1;
        self.tell_error(slot, codes::UNAVAILABLE, "What the server stored of this is damaged.", &id, at);
        Handled::Done
    }

    fn handle(&mut self, slot: u32, payload: &[u8], json: bool) -> Handled {
        let decoded = if json { json::decode_client(payload) } else { decode_client(payload) };
        match decoded {
            Ok(frame) => self.dispatch(slot, frame),
            Err(error) => {
                self.bad_frame(slot, &error);
                Handled::Done
            }
        }
    }

    fn bad_frame(&mut self, slot: u32, error: &WireError) {
        let opening = self.conns.get(slot).is_some_and(|c| c.stage == Stage::Opening);
        if opening || codes::find(error.code).is_some_and(|c| c.close.is_some()) {
            return self.close_with(slot, error.code, &error.message);
        }
        self.stats.errors_total += 1;
        self.tell_error(slot, error.code, &error.message, &error.id, None);
    }

    fn dispatch(&mut self, slot: u32, frame: ClientFrame<'_>) -> Handled {
        let opening = self.conns.get(slot).is_some_and(|c| c.stage == Stage::Opening);
        match frame {
            ClientFrame::Hello(hello) if opening => {
                if hello.protocol != PROTOCOL {
                    let message = format!("This server speaks protocol {PROTOCOL}, not {}.", hello.protocol);
                    self.close_with(slot, codes::VERSION, &message);
                } else {
                    self.hello(slot, &hello);
                }
            }
            ClientFrame::Hello(_) => self.close_with(slot, codes::HELLO_TWICE, "Hello comes once in a connection."),
            _ if opening => self.close_with(slot, codes::HELLO_EXPECTED, "The first frame must be hello."),
            ClientFrame::Send(send) => return self.send(slot, send),
            ClientFrame::Ack(ack) => return self.ack(slot, ack),
            ClientFrame::Read(read) => return self.read(slot, &read),
            ClientFrame::Ping { nonce } => {
                let time = self.clock.time_ms();
                self.conns.frame(slot, &ServerFrame::Pong { nonce, time });
            }
            ClientFrame::Pong { .. } => {}
            ClientFrame::DevicesGet { user } => return self.devices_get(slot, &user),
            ClientFrame::Manage(manage) => return self.manage(slot, &manage),
            ClientFrame::GroupGet { conversation } => return self.group_get(slot, conversation),
            ClientFrame::ProgressGet { conversation, seq } => return self.progress_get(slot, conversation, seq),
            ClientFrame::Block { user, off } => return self.block(slot, &user, off),
        }
        Handled::Done
    }

    fn ack(&mut self, slot: u32, mut ack: Ack<'_>) -> Handled {
        let Some(session) = self.conns.session_mut(slot) else { return Handled::Done };
        let (mailbox, receiver) = (session.mailbox(), session.receiver);
        let kept = if session.receive { token::version(&ack.receipts).unwrap_or(0) } else { 0 };
        if !ack.accepted.is_empty() {
            self.sequencer.confirm(mailbox, &mut ack.accepted);
        }
        if kept > 0 {
            // Who has all that it was told knows of everything up to now.
            let latest = self.delivery.version();
            let all = self.delivery.told(receiver).is_some_and(|told| told <= kept);
            self.keep_receipts(mailbox, if all { latest } else { kept.min(latest) });
        }
        let Some(id) = ack.conversation else { return Handled::Done };
        // What was written to the session is in memory whatever others do. Of anything else the answer tells.
        if !self.delivery.is_in_flight(receiver, &id, ack.seq)
            && let Err(handled) = self.need_own(slot, &id)
        {
            return handled;
        }
        self.stats.acks_total += 1;
        let mono_ms = self.clock.mono_ms();
        match self.delivery.ack(&mut self.directory, receiver, &id, ack.seq, mono_ms) {
            Ok(()) => {}
            Err(refusal) => self.refuse_cursor(slot, refusal, id),
        }
        Handled::Done
    }

    /// A device has the receipts up to a version.
    fn keep_receipts(&mut self, (user, device): (u32, u16), version: u64) {
        if let Some(user) = self.directory.get_mut(user)
            && let Some(device) = user.device_mut(device)
            && device.receipts < version
        {
            device.receipts = version;
            user.mark.change();
        }
    }

    /// Whether a session's device has acknowledged all receipts that the session was told, and none waits for it.
    fn keeps_all_receipts(&self, slot: u32) -> bool {
        let Some(session) = self.conns.session(slot).filter(|session| session.receive) else { return false };
        let (user, device) = session.mailbox();
        let device = self.directory.get(user).and_then(|user| user.devices.iter().find(|known| known.id == device));
        let told = self.delivery.told(session.receiver);
        device.zip(told).is_some_and(|(device, told)| told <= device.receipts)
    }

    fn read(&mut self, slot: u32, read: &Read<'_>) -> Handled {
        let id = read.conversation;
        match self.need_own(slot, &id) {
            Ok(true) => {}
            Ok(false) => {
                self.refuse_cursor(slot, Refusal::Unknown, id);
                return Handled::Done;
            }
            Err(handled) => return handled,
        }
        match self.permitted(slot, &id, Action::Read) {
            Some(true) => {}
            Some(false) => {
                self.tell_error(slot, codes::FORBIDDEN, "Reading here is not allowed.", &[], Some(id));
                return Handled::Done;
            }
            None => return Handled::Blocked,
        }
        let Some(session) = self.conns.session(slot) else { return Handled::Done };
        let (receiver, mailbox) = (session.receiver, session.mailbox());
        let keeps_all = self.keeps_all_receipts(slot);
        // Who wrote in a group may have left it, and memory, since.
        let group = self.sequencer.group(&id).is_some();
        let known = read.authors.iter().map(|name| self.directory.find(name));
        let authors: Option<Vec<u32>> = known.filter(|author| author.is_some() || !group).collect();
        let mono_ms = self.clock.mono_ms();
        let done = match authors {
            Some(authors) => self.delivery.read(&self.directory, receiver, &id, read.seq, &authors, mono_ms),
            None => Err(Refusal::Author),
        };
        match done {
            Err(refusal) => self.refuse_cursor(slot, refusal, id),
            // It is not told of its own reading, so it will not acknowledge that either.
            Ok(()) if keeps_all && self.delivery.told(receiver).is_some() => {
                self.keep_receipts(mailbox, self.delivery.version());
            }
            Ok(()) => {}
        }
        Handled::Done
    }

    pub(super) fn refuse_cursor(&mut self, slot: u32, refusal: Refusal, id: ConversationId) {
        self.stats.errors_total += 1;
        let (code, message) = match refusal {
            Refusal::Unknown => (codes::UNKNOWN_CONVERSATION, NO_CONVERSATION),
            Refusal::BeyondHead => (codes::ACK_BEYOND_HEAD, "The conversation does not go that far."),
            Refusal::BeyondDelivered => (codes::ACK_BEYOND_HEAD, "Read is above what was acknowledged."),
            Refusal::Author => (codes::BAD_FIELD, "An author is not a member of the conversation."),
        };
        self.tell_error(slot, code, message, &[], Some(id));
    }

    fn devices_get(&mut self, slot: u32, name: &str) -> Handled {
        match self.need_user(slot, name) {
            Ok(Some(user)) => {
                let Some(user) = self.directory.get(user) else { return Handled::Done };
                let devices = user.devices.iter().map(|d| u32::from(d.id)).collect();
                let list = DeviceList { user: (&*user.name).into(), version: user.list_version.into(), devices };
                self.conns.frame(slot, &ServerFrame::Devices(list));
                Handled::Done
            }
            Ok(None) => {
                self.tell_error(slot, codes::UNKNOWN_USER, &format!("There is no user {name:?}."), &[], None);
                Handled::Done
            }
            Err(handled) => handled,
        }
    }
}
