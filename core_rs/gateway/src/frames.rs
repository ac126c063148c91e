//! What each frame from a client does: a command or a query for the partition, or an answer at once.
//!
//! Whatever is wrong with a frame ends at most its own connection (I10).

use std::borrow::Cow;
use std::mem;

use link::{Flow, Framing, Link, LinkLimits, Status};
use seam::{Address, Attached, Commands, Query, Taken, Token};
use smallvec::SmallVec;
use wire::types::{Ack, ClientFrame, ConversationId, PROTOCOL, ServerFrame};
use wire::{WireError, codes, decode_client, json};

use crate::api::{Carrier, Verdict};
use crate::conns::{Conn, State};
use crate::outputs::error_frame;
use crate::waits::Key;
use crate::{Gateway, Host};

/// Longest HTTP head that is read to find a WebSocket handshake, bytes.
const HTTP_HEAD: usize = 16 << 10;

/// How handling a frame ended.
pub(crate) enum Handled {
    /// It is done with.
    Done,
    /// It waits for an answer; the same frame again, then.
    Waits,
}

impl Gateway {
    /// Bytes from a connection; they are unmasked in place.
    pub fn data<H: Host>(host: &mut H, id: Address, bytes: &mut [u8]) -> Verdict {
        let gateway = host.gateway();
        let Some(slot) = gateway.conns.slot(id) else { return Verdict::Closed };
        let mono_ms = gateway.now.mono_ms;
        match gateway.conns.get_mut(slot) {
            None | Some(Conn { state: State::Closing | State::Parked, .. }) => return Verdict::Closed,
            Some(conn) if conn.state == State::Opening => {}
            Some(conn) => conn.hear(mono_ms),
        }
        let limits = LinkLimits { frame_bytes: gateway.config.limits.frame_bytes as usize, http_head_bytes: HTTP_HEAD };
        let (read, mut frames) = (bytes.len(), 0);
        let (mut link, mut out) = gateway.lend(slot);
        let status = link.feed(bytes, &limits, &mut out, &mut |payload, out| {
            // What is written meanwhile goes where the link's own bytes go.
            let gateway = host.gateway();
            gateway.conns.outs.swap(slot, out);
            if gateway.conns.state(slot) == Some(State::Opening) {
                gateway.conns.outs.set_framing(slot, payload.framing);
            }
            frames += 1;
            let flow = frame(host, slot, payload.bytes, payload.framing == Framing::WsText);
            host.gateway().conns.outs.swap(slot, out);
            flow
        });
        let (error, arrived) = (link.error(), link.arrived());
        let gateway = host.gateway();
        gateway.give_back(slot, link, out);
        gateway.bound_early(slot, arrived);
        gateway.charge(slot, read, frames);
        let verdict = match status {
            _ if gateway.conns.state(slot) == Some(State::Closing) => Verdict::Closed,
            Status::Open => Verdict::Open,
            Status::Http => Verdict::Http,
            Status::Closing => {
                match error {
                    Some((code, message)) => gateway.close_with(slot, code, &message),
                    None => gateway.end(slot, codes::close::NORMAL, "", false),
                }
                Verdict::Closed
            }
        };
        gateway.recount(slot);
        verdict
    }

    /// Lends out a connection's link and what it is owed, for the link to read and to add.
    fn lend(&mut self, slot: u32) -> (Link, Vec<u8>) {
        self.lent = Some((slot, None));
        let link = self.conns.get_mut(slot).map(|conn| mem::replace(&mut conn.link, Link::raw()));
        (link.unwrap_or_else(Link::raw), self.conns.outs.lend(slot))
    }

    /// Takes both back. If the connection was closed meanwhile, the link says so now.
    fn give_back(&mut self, slot: u32, mut link: Link, mut bytes: Vec<u8>) {
        if let Some((_, Some((code, reason)))) = self.lent.take() {
            link.close(&mut bytes, code, &reason);
        }
        let Some(conn) = self.conns.get_mut(slot) else { return };
        if conn.state == State::Opening {
            // A mistake before the first complete frame is answered as that one would have been.
            let framing = link.framing();
            conn.link = link;
            self.conns.outs.set_framing(slot, framing);
        } else {
            conn.link = link;
        }
        self.conns.outs.give_back(slot, bytes);
    }

    /// After [`Verdict::Http`]: everything that was read. The connection is forgotten.
    pub fn take_http_prefix(&mut self, id: Address) -> Vec<u8> {
        let Some(slot) = self.conns.slot(id) else { return Vec::new() };
        let prefix = self.conns.get_mut(slot).map(|conn| conn.link.take_http_prefix()).unwrap_or_default();
        self.forget(slot);
        prefix
    }

    /// The first frame, of which so much is there, is a short one. Whether it is.
    fn bound_early(&mut self, slot: u32, bytes: usize) -> bool {
        let most = self.config.early_bytes;
        let early = |state, carrier| state == State::Opening && carrier == Carrier::Socket;
        if bytes > most && self.conns.get(slot).is_some_and(|conn| early(conn.state, conn.carrier)) {
            self.close_with(slot, codes::TOO_LARGE, &format!("Before welcome a frame has at most {most} bytes."));
            return false;
        }
        true
    }

    fn bad_frame(&mut self, slot: u32, error: &WireError) {
        let opening = self.conns.state(slot) == Some(State::Opening);
        if opening || codes::find(error.code).is_some_and(|code| code.close.is_some()) {
            self.close_with(slot, error.code, &error.message);
        } else {
            self.tell_error(slot, error.code, &error.message, &error.id, None);
        }
    }

    /// The first frame of a connection.
    fn open_with(&mut self, slot: u32, payload: &[u8], json: bool) {
        match decode(payload, json) {
            Ok(ClientFrame::Hello(hello)) if hello.protocol == PROTOCOL => self.hello(slot, &hello),
            Ok(ClientFrame::Hello(hello)) => {
                let message = format!("This server speaks protocol {PROTOCOL}, not {}.", hello.protocol);
                self.close_with(slot, codes::VERSION, &message);
            }
            Ok(_) => self.close_with(slot, codes::HELLO_EXPECTED, "The first frame must be hello."),
            Err(error) => self.bad_frame(slot, &error),
        }
    }

    /// Writes an error frame.
    fn tell_error(&mut self, slot: u32, code: &'static str, message: &str, id: &[u8], at: Option<ConversationId>) {
        self.stats.errors_total += 1;
        self.conns.outs.frame(slot, &ServerFrame::Error(error_frame(code, message, id, at)));
    }

    /// Writes an error frame and closes.
    pub(crate) fn close_with(&mut self, slot: u32, code: &'static str, message: &str) {
        if self.conns.get(slot).is_some_and(|conn| !conn.link.undecided()) {
            self.tell_error(slot, code, message, &[], None);
        }
        // What leaves a session open ends a connection that has none: a mistake of the client's.
        let close = codes::find(code).and_then(|code| code.close).unwrap_or(codes::close::PROTOCOL);
        self.end(slot, close, code, false);
    }
}

/// A frame's payload arrived.
fn frame<H: Host>(host: &mut H, slot: u32, payload: &[u8], json: bool) -> Flow {
    let gateway = host.gateway();
    match gateway.conns.state(slot) {
        Some(State::Opening) if gateway.bound_early(slot, payload.len()) => gateway.open_with(slot, payload, json),
        Some(State::Checking | State::Joining) => gateway.defer(slot, payload, json),
        Some(State::Live) => {
            let waits = gateway.conns.session(slot).is_some_and(|session| session.waiting.is_some());
            if waits || !gateway.may_answer(slot) {
                gateway.defer(slot, payload, json);
            } else if let Handled::Waits = handle(host, slot, payload, json) {
                host.gateway().defer(slot, payload, json);
            }
        }
        _ => return Flow::Stop,
    }
    match host.gateway().conns.state(slot) {
        None | Some(State::Closing) => Flow::Stop,
        _ => Flow::Continue,
    }
}

/// As [`handle`]; but a frame that wants a row that cannot be used is refused.
pub(crate) fn handle_or_refuse<H: Host>(host: &mut H, slot: u32, payload: &[u8], json: bool) -> Handled {
    let gateway = host.gateway();
    let waiting = gateway.conns.session(slot).and_then(|session| session.waiting.as_ref());
    if !waiting.and_then(|waiting| waiting.gather.as_ref()).is_some_and(|gather| gather.unusable) {
        return handle(host, slot, payload, json);
    }
    let (id, at) = match decode(payload, json) {
        Ok(ClientFrame::Send(send)) => (send.id, None),
        Ok(ClientFrame::Manage(manage)) => (manage.id, None),
        Ok(ClientFrame::Ack(ack)) => (Cow::default(), ack.conversation),
        Ok(ClientFrame::Read(read)) => (Cow::default(), Some(read.conversation)),
        Ok(ClientFrame::GroupGet { conversation }) => (Cow::default(), conversation),
        Ok(ClientFrame::ProgressGet { conversation, .. }) => (Cow::default(), Some(conversation)),
        _ => (Cow::default(), None),
    };
    gateway.tell_error(slot, codes::UNAVAILABLE, "What the server stored of this cannot be used now.", &id, at);
    Handled::Done
}

fn decode(payload: &[u8], json: bool) -> Result<ClientFrame<'_>, WireError> {
    if json { json::decode_client(payload) } else { decode_client(payload) }
}

/// A frame of a session.
fn handle<H: Host>(host: &mut H, slot: u32, payload: &[u8], json: bool) -> Handled {
    let frame = match decode(payload, json) {
        Ok(frame) => frame,
        Err(error) => {
            host.gateway().bad_frame(slot, &error);
            return Handled::Done;
        }
    };
    let gateway = host.gateway();
    match frame {
        ClientFrame::Hello(_) => {
            gateway.close_with(slot, codes::HELLO_TWICE, "Hello comes once in a connection.");
            return Handled::Done;
        }
        ClientFrame::Ping { nonce } => {
            let (time, before) = (gateway.now.wall_ms, gateway.encoded());
            gateway.conns.outs.frame(slot, &ServerFrame::Pong { nonce, time });
            gateway.answered += gateway.encoded() - before;
            return Handled::Done;
        }
        ClientFrame::Pong { .. } => return Handled::Done,
        _ => {}
    }
    let Some((from, receive)) = gateway.conns.session(slot).and_then(|s| Some((s.attached?, s.receive))) else {
        return Handled::Done;
    };
    let mut rows = SmallVec::new();
    host.split().0.uses(from, &frame, &mut rows);
    let gateway = host.gateway();
    if !rows.is_empty() {
        let unused = gateway.unused(slot, rows.into_iter().map(Key::Row));
        if !unused.is_empty() {
            gateway.wait_for(slot, unused);
            return Handled::Waits;
        }
    }
    let before = gateway.encoded();
    let taken = command(host, from, receive, &frame);
    let gateway = host.gateway();
    gateway.answered += gateway.encoded() - before;
    if matches!(frame, ClientFrame::Send(_) | ClientFrame::Manage(_) | ClientFrame::Block { .. }) {
        gateway.sent(slot);
    }
    match taken {
        Ok(()) => Handled::Done,
        Err(wait) => {
            gateway.wait(slot, wait);
            Handled::Waits
        }
    }
}

/// Gives a frame to the partition.
fn command<H: Host>(host: &mut H, from: Attached, receive: bool, frame: &ClientFrame<'_>) -> Taken {
    let (commands, env) = host.split();
    let query = match frame {
        ClientFrame::Send(send) => return commands.send(env, from, send),
        ClientFrame::Ack(ack) => return acknowledge(host, from, receive, ack),
        ClientFrame::Read(read) => return commands.read(env, from, read),
        ClientFrame::Manage(manage) => return commands.change(env, from, manage),
        ClientFrame::Block { user, off } if !user.is_empty() => return commands.block(env, from, user, *off),
        ClientFrame::Block { .. } => Query::Blocks,
        ClientFrame::DevicesGet { user } => Query::Devices(user),
        ClientFrame::GroupGet { conversation: None } => Query::Groups,
        ClientFrame::GroupGet { conversation: Some(id) } => Query::Group(*id),
        ClientFrame::ProgressGet { conversation, seq } => Query::Progress(*conversation, *seq),
        ClientFrame::Hello(_) | ClientFrame::Ping { .. } | ClientFrame::Pong { .. } => return Ok(()),
    };
    commands.query(env, from, &query)
}

/// The parts of an acknowledgement. Of one that waits all are given again, which changes nothing.
fn acknowledge<H: Host>(host: &mut H, from: Attached, receive: bool, ack: &Ack<'_>) -> Taken {
    let (commands, env) = host.split();
    if !ack.accepted.is_empty() {
        commands.confirm(env, from, &ack.accepted);
    }
    if let Some(receipts) = Token::new(&ack.receipts).filter(|_| receive && !ack.receipts.is_empty()) {
        commands.seen(env, from, &receipts);
    }
    let Some(id) = &ack.conversation else { return Ok(()) };
    commands.ack(env, from, id, ack.seq)?;
    host.gateway().stats.acks_total += 1;
    Ok(())
}
