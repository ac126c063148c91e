//! The partition's outputs: which frames they are, to whom, and whether they are held.

use std::borrow::Cow;

use compact_str::CompactString;
use seam::{Action, Address, Attached, Body, ConversationId, DeviceId, Outputs, Position, Refusal, Token};
use smallvec::SmallVec;
use wire::codes;
use wire::types::{DeviceList, ErrorFrame, Retry, ServerFrame, Welcome};

use crate::Gateway;
use crate::conns::{Conns, State};
use crate::holding::{ENTRY, Kind};
use crate::runs::{Ready, Run, Running, Runs};

/// Name and version, as clients are told.
const SERVER: &str = concat!("pyrouter ", env!("CARGO_PKG_VERSION"));

impl Gateway {
    /// Bytes of frames that were encoded since the start.
    pub(crate) fn encoded(&self) -> u64 {
        self.conns.outs.framed
    }

    /// Holds an output, or writes it if it has not to wait. `None`: it is not written, and does only what its kind does.
    fn hold(&mut self, to: Address, frame: Option<&ServerFrame<'_>>, kind: Kind, at: Position) {
        let Some(slot) = self.conns.slot(to) else { return };
        let Conns { table, outs, .. } = &mut self.conns;
        let Some(session) = table.get_mut(slot as usize).and_then(|conn| conn.session.as_mut()) else { return };
        if session.held == 0 && self.holding.passes(at) {
            if let Some(frame) = frame {
                outs.frame(slot, frame);
            }
            return self.left(slot, kind);
        }
        let framing = outs.framing(slot);
        let len = self.holding.push(at, to, kind, |bytes| {
            if let Some(frame) = frame {
                outs.encoder.frame(framing, frame, bytes);
            }
        });
        outs.framed += len as u64;
        session.held += (len + ENTRY) as u32;
    }

    /// An output left: what else it does.
    fn left(&mut self, slot: u32, kind: Kind) {
        match kind {
            Kind::Frame => {}
            Kind::Welcome => self.welcomed(slot),
            Kind::Last => {
                let asked = self.conns.session(slot).and_then(|session| session.asked.as_ref());
                let code = asked.and_then(|asked| asked.refused).unwrap_or(codes::INTERNAL);
                let close = codes::find(code).and_then(|code| code.close).unwrap_or(codes::close::SERVER);
                self.end(slot, close, code, false);
            }
        }
    }

    /// Everything up to here is durable: what is held for it is released in the next turns.
    pub fn synced(&mut self, position: Position) {
        self.holding.synced(position);
    }

    /// Releases some of what is durable; true when more is.
    pub(crate) fn release(&mut self) -> bool {
        let mut holding = std::mem::take(&mut self.holding);
        holding.release(|to, kind, bytes| {
            let Some(slot) = self.conns.slot(to) else { return };
            let Some(session) = self.conns.session_mut(slot) else { return };
            session.held -= (bytes.len() + ENTRY) as u32;
            self.conns.outs.append(slot, bytes);
            self.left(slot, kind);
        });
        self.holding = holding;
        self.holding.due()
    }
}

impl Outputs for Gateway {
    fn permit(&mut self, of: Address, id: &ConversationId, action: Action, peer: Option<&str>) -> Option<bool> {
        self.ask_permit(of, id, action, peer)
    }

    fn owed(&mut self, to: Address, messages: bool) {
        let Some(slot) = self.conns.slot(to) else { return };
        let Some(session) = self.conns.session_mut(slot) else { return };
        self.runs.owed(to, &mut session.run, messages);
    }

    fn welcome(&mut self, to: Address, pending: (u64, u64), receipts: &Token, at: Position) {
        let Some(session) = self.conns.slot(to).and_then(|slot| self.conns.session_mut(slot)) else { return };
        if session.asked.take().is_some_and(|asked| asked.returns.is_some()) {
            return self.hold(to, None, Kind::Welcome, at);
        }
        let user = session.user.clone();
        let mut limits = self.config.limits;
        [(limits.window_messages, limits.window_bytes), _] = session.run.window();
        let welcome = Welcome {
            user: &user,
            device: session.device.into(),
            time: self.now.wall_ms,
            limits,
            pending_messages: pending.0,
            pending_conversations: pending.1,
            server: SERVER,
            receive: session.receive,
            receipts: receipts.bytes(),
        };
        self.hold(to, Some(&ServerFrame::Welcome(welcome)), Kind::Welcome, at);
    }

    fn accepted(
        &mut self,
        to: Address,
        id: &[u8],
        conversation: &ConversationId,
        seq: u64,
        time_ms: u64,
        at: Position,
    ) {
        let frame = ServerFrame::Accepted { id, conversation: *conversation, seq, time: time_ms };
        self.hold(to, Some(&frame), Kind::Frame, at);
    }

    fn refused(&mut self, to: Address, id: &[u8], refusal: &Refusal, at: Position) {
        self.stats.refused_total += 1;
        let list = |(user, version, devices): &(CompactString, u32, SmallVec<[DeviceId; 2]>)| DeviceList {
            user: Cow::Owned(user.to_string()),
            version: u64::from(*version),
            devices: devices.iter().map(|&device| device.into()).collect(),
        };
        let frame = ErrorFrame {
            lists: refusal.lists.iter().map(list).collect(),
            ..error_frame(refusal.code, words(refusal.code), id, refusal.conversation)
        };
        let Some(slot) = self.conns.slot(to) else { return };
        let joining = self.conns.state(slot) == Some(State::Joining);
        if let Some(session) = self.conns.session_mut(slot).filter(|_| joining) {
            session.asked.get_or_insert_default().refused = Some(refusal.code);
        }
        let kind = if joining { Kind::Last } else { Kind::Frame };
        self.hold(to, Some(&ServerFrame::Error(frame)), kind, at);
    }

    fn answer(&mut self, to: Address, frame: &ServerFrame<'_>, at: Position) {
        self.hold(to, Some(frame), Kind::Frame, at);
    }

    fn message(&mut self, to: Address, body: &mut Body, own: Option<&str>, device_body: bool, many: bool) {
        let Some(slot) = self.conns.slot(to) else { return };
        let Conns { table, outs, .. } = &mut self.conns;
        let Some(session) = table.get_mut(slot as usize).and_then(|conn| conn.session.as_mut()) else { return };
        session.run.message(body.stored.len() as u32);
        self.stats.delivered_total += 1;
        let device = device_body.then_some((session.user.as_str(), session.device));
        outs.message(slot, body, own, device, many);
    }

    fn pushed(&mut self, to: Address, frame: &ServerFrame<'_>) {
        let Some(slot) = self.conns.slot(to) else { return };
        self.conns.outs.frame(slot, frame);
    }

    fn freed(&mut self, to: Address, messages: u32, bytes: u32) {
        let Some(slot) = self.conns.slot(to) else { return };
        let Some(session) = self.conns.session_mut(slot) else { return };
        self.runs.freed(to, &mut session.run, messages, bytes);
    }

    fn replaced(&mut self, to: Address) {
        let Some(slot) = self.conns.slot(to) else { return };
        self.replace(slot);
    }
}

impl Running for Gateway {
    fn runs(&mut self) -> &mut Runs {
        &mut self.runs
    }

    fn run(&mut self, of: Address) -> Option<(&mut Run, Attached, Ready)> {
        let slot = self.conns.slot(of)?;
        let conn = self.conns.table.get_mut(slot as usize)?;
        let ready = if conn.state == State::Live { self.conns.outs.ready(slot) } else { Ready::Stalled };
        let session = conn.session.as_mut()?;
        Some((&mut session.run, session.attached?, ready))
    }

    fn written(&self) -> u64 {
        self.encoded()
    }
}

/// An error frame with what its code says that a client should do.
pub(crate) fn error_frame<'a>(
    code: &'static str,
    message: &'a str,
    id: &'a [u8],
    conversation: Option<ConversationId>,
) -> ErrorFrame<'a> {
    let retry = codes::find(code).map_or(Retry::Never, |code| code.retry);
    let retry_ms = match retry {
        Retry::After => 5000,
        Retry::Reconnect => 1000,
        Retry::Never | Retry::Changed => 0,
    };
    ErrorFrame { code, message: message.into(), retry, retry_ms, id, conversation, lists: Vec::new() }
}

/// What a refusal says to people.
fn words(code: &str) -> &'static str {
    match code {
        codes::ACK_BEYOND_HEAD => "This is above what the session was shown, or the user acknowledged.",
        codes::BAD_FIELD => "A field names what cannot be meant here.",
        codes::BAD_INVITE => "The invite is unknown, revoked or expired.",
        codes::BODY_TOO_LARGE => "The body is above the limit.",
        codes::CANNOT_ADD => "Somebody cannot be added.",
        codes::CONVERSATION_FULL => "Too much waits in this conversation.",
        codes::DEVICES_CHANGED => "The message was made for other devices than there are.",
        codes::FORBIDDEN => "This is not allowed here.",
        codes::GROUP_FULL => "The group would have too many members.",
        codes::ID_REUSED => "This id was used for something else.",
        codes::NO_CHANGE => "The change would change nothing.",
        codes::STORAGE_FULL => "The server's disk is full; try again later.",
        codes::TOO_MANY => "There are as many as there may be.",
        codes::TOO_MANY_DEVICES => "The user has as many devices as are allowed.",
        codes::UNAVAILABLE => "What the server stored of this cannot be used now.",
        codes::UNKNOWN_CONVERSATION => "There is no such conversation for you.",
        codes::UNKNOWN_MESSAGE => "There is no such message for you here.",
        codes::UNKNOWN_USER => "There is no such user.",
        _ => "The server refused this.",
    }
}
