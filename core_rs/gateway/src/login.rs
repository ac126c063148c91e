//! From hello to welcome, and a session's end.

use compact_str::CompactString;
use seam::{Address, Attach, Commands, DeviceId, Token};
use wire::codes;
use wire::types::{Hello, ServerFrame};

use crate::api::{Carrier, Identity, Request};
use crate::conns::{Asked, Session, State};
use crate::out::pause;
use crate::runs::Run;
use crate::{Gateway, Host};

impl Gateway {
    /// A connection says who it wants to be. A local one was admitted before that.
    pub(crate) fn hello(&mut self, slot: u32, hello: &Hello<'_>) {
        let limits = self.config.limits;
        let conn = self.conns.address(slot);
        let Some(entry) = self.conns.get_mut(slot) else { return };
        let pick = |asked: u32, most: u32| if asked == 0 { most } else { asked.min(most) };
        let session = entry.session.get_or_insert_with(|| Box::new(Session::new()));
        session.receive = hello.receive;
        let window =
            (pick(hello.window_messages, limits.window_messages), pick(hello.window_bytes, limits.window_bytes));
        session.run = Run::new(window, (0, 0));
        let receipts = Token::new(&hello.receipts).filter(|_| !hello.receipts.is_empty());
        session.asked = Some(Box::new(Asked { receipts, ..Asked::default() }));
        entry.state = State::Checking;
        // What follows is read when it is clear whose it is.
        if session.user.is_empty() {
            self.requests.push_back(Request::Authenticate { conn, token: hello.token.clone().into_owned() });
        } else {
            self.begin_to_join(slot);
        }
        self.conns.outs.pause(slot, pause::JOINING, true);
    }

    /// A connection's identity is known. That of a local one is, before it says hello.
    pub fn admit(&mut self, id: Address, identity: Identity) {
        let Some(slot) = self.conns.slot(id) else { return };
        let Some(conn) = self.conns.get_mut(slot) else { return };
        let early = conn.state == State::Opening && conn.carrier != Carrier::Socket;
        let unknown = conn.session.as_ref().is_none_or(|session| session.user.is_empty());
        if !unknown || !(early || conn.state == State::Checking) {
            return;
        }
        let device = DeviceId::try_from(identity.device).ok().filter(|&device| device > 0);
        let (Some(device), Ok(())) = (device, wire::check_user(&identity.user)) else {
            return self.close_with(slot, codes::BAD_TOKEN, "The token names no valid user and device.");
        };
        let Some(payer) = conn.payer.as_mut() else { return };
        if !self.accounts.admit(payer, &identity.user) {
            return self.close_with(slot, codes::OVERLOAD, "This user has too many connections.");
        }
        let user = CompactString::from(identity.user);
        let session = conn.session.get_or_insert_with(|| Box::new(Session::new()));
        (session.user, session.device) = (user, device);
        session.expires_ms = identity.expires_ms;
        if !early {
            self.begin_to_join(slot);
        }
    }

    /// A connection's token is refused: an error frame, then the end.
    pub fn refuse(&mut self, id: Address, code: &str, message: &str) {
        let checking = |slot: &u32| self.conns.state(*slot) == Some(State::Checking);
        let Some(slot) = self.conns.slot(id).filter(checking) else { return };
        let code = codes::find(code).filter(|c| c.close.is_some()).map_or(codes::BAD_TOKEN, |c| c.name);
        self.close_with(slot, code, message);
    }

    /// A session has a user: it is attached in its turn.
    pub(crate) fn begin_to_join(&mut self, slot: u32) {
        let Some(conn) = self.conns.get_mut(slot) else { return };
        conn.state = State::Joining;
        if let Some(session) = &mut conn.session {
            session.waiting.get_or_insert_default();
        }
        self.look_in(slot, self.config.hello_ms);
        self.make_ready(slot);
    }

    /// A session's `welcome` was released.
    pub(crate) fn welcomed(&mut self, slot: u32) {
        let Some(conn) = self.conns.get_mut(slot).filter(|conn| conn.state == State::Joining) else { return };
        conn.state = State::Live;
        conn.hear(self.now.mono_ms);
        self.look_in(slot, self.config.limits.idle_ms);
        self.stats.sessions += 1;
        self.conns.outs.pause(slot, pause::JOINING, false);
        self.wake(slot);
        self.make_ready(slot);
    }

    /// A session may be able to take what it is owed: its transport takes more, or it is live.
    pub(crate) fn wake(&mut self, slot: u32) {
        let address = self.conns.address(slot);
        if let Some(session) = self.conns.session_mut(slot) {
            self.runs.wake(address, &mut session.run);
        }
    }

    /// A newer session of its device took its place: its handle is over already.
    pub(crate) fn replace(&mut self, slot: u32) {
        self.stats.replaced_total += 1;
        self.conns.outs.frame(slot, &ServerFrame::Replaced);
        self.end(slot, codes::close::REPLACED, "replaced", false);
    }

    /// A connection's carrier is gone. A poll's session waits for the next one; what was in flight to any other stays in its
    /// device's queue.
    pub fn lost(&mut self, id: Address) {
        let Some(slot) = self.conns.slot(id) else { return };
        let Some(conn) = self.conns.get_mut(slot) else { return };
        if conn.carrier != Carrier::Poll || conn.state != State::Live {
            return self.forget(slot);
        }
        conn.state = State::Parked;
        conn.hear(self.now.mono_ms);
        self.conns.outs.set_writable(slot, false);
        self.look_in(slot, self.config.park_ms);
    }

    /// A poll's session has a new carrier. If it has one already, gives what the driver called that: it ends with an empty reply.
    ///
    /// # Errors
    /// There is no such session any more.
    pub fn carry(&mut self, id: Address, user: usize) -> Result<Option<usize>, NoSession> {
        let slot = self.conns.slot(id).ok_or(NoSession)?;
        let conn = self.conns.get_mut(slot).ok_or(NoSession)?;
        let before = std::mem::replace(&mut conn.user, user);
        match conn.state {
            State::Live if conn.carrier == Carrier::Poll => return Ok(Some(before)),
            State::Parked => conn.state = State::Live,
            _ => {
                conn.user = before;
                return Err(NoSession);
            }
        }
        conn.hear(self.now.mono_ms);
        self.set_writable(id, true);
        Ok(None)
    }

    /// A poll's last request came again, so its reply was lost: what was written to its session and not acknowledged is written
    /// again.
    pub fn rewind<H: Host>(host: &mut H, id: Address) {
        let gateway = host.gateway();
        let Some(slot) = gateway.conns.slot(id).filter(|&slot| gateway.conns.state(slot) == Some(State::Live)) else {
            return;
        };
        gateway.leave_gates(slot);
        let Some(session) = gateway.conns.session_mut(slot) else { return };
        let Some(attached) = session.attached.take() else { return };
        if let Some(waiting) = &mut session.waiting {
            waiting.permit = false;
        }
        session.run.restart();
        session.asked = Some(Box::new(Asked { returns: Some(Vec::new()), ..Asked::default() }));
        gateway.stats.sessions -= 1;
        gateway.begin_to_join(slot);
        // At once: it has the same address when it is attached again.
        let (commands, env) = host.split();
        commands.detach(env, attached);
    }

    /// Ends a session, if there is one: what waits is dropped, and the partition is to be told.
    fn leave(&mut self, slot: u32) {
        self.leave_gates(slot);
        let Some(conn) = self.conns.get_mut(slot) else { return };
        let Some(session) = conn.session.take() else { return };
        if matches!(conn.state, State::Live | State::Parked) {
            self.stats.sessions -= 1;
        }
        if let Some(payer) = &mut conn.payer {
            self.accounts.hold(payer, 0, 0);
        }
        self.ended.extend(session.attached);
    }

    /// Ends a session, and its connection once everything is written; or at once.
    pub(crate) fn end(&mut self, slot: u32, code: u16, reason: &str, abort: bool) {
        if self.conns.state(slot) == Some(State::Parked) {
            return self.forget(slot);
        }
        self.leave(slot);
        let outs = &mut self.conns.outs;
        match &mut self.lent {
            Some((lent, close)) if *lent == slot => *close = Some((code, reason.to_owned())),
            _ => {
                let Some(conn) = self.conns.table.get_mut(slot as usize) else { return };
                let mut bytes = outs.lend(slot);
                conn.link.close(&mut bytes, code, reason);
                outs.give_back(slot, bytes);
            }
        }
        outs.close(slot, abort);
        if let Some(conn) = self.conns.get_mut(slot) {
            conn.state = State::Closing;
        }
    }

    /// Ends a session, and forgets its connection.
    pub(crate) fn forget(&mut self, slot: u32) {
        self.leave(slot);
        if let Some(payer) = self.conns.remove(slot).and_then(|conn| conn.payer) {
            self.accounts.close(payer);
        }
    }
}

/// There is no such session any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoSession;

/// Goes on with a session that has a user. Gives 1: it counts as a frame.
pub(crate) fn join<H: Host>(host: &mut H, slot: u32) -> usize {
    let gateway = host.gateway();
    let (address, time_ms) = (gateway.conns.address(slot), gateway.now.wall_ms);
    let Some(session) = gateway.conns.session_mut(slot) else { return 1 };
    // Its rows may have been long in loading.
    if session.expires_ms != 0 && session.expires_ms <= time_ms {
        gateway.close_with(slot, codes::TOKEN_EXPIRED, "The session's token expired.");
        return 1;
    }
    let gather = session.waiting.as_ref().and_then(|waiting| waiting.gather.as_ref());
    if gather.is_some_and(|gather| gather.unusable) {
        gateway.close_with(slot, codes::INTERNAL, "What the server stored of this user cannot be used now.");
        return 1;
    }
    let (user, asked) = (session.user.clone(), session.asked.clone().unwrap_or_default());
    let who = Attach {
        address,
        user: &user,
        device: session.device,
        receive: session.receive,
        create: true,
        receipts: asked.receipts.as_ref(),
        in_flight: asked.returns.as_deref().unwrap_or_default(),
    };
    let (commands, env) = host.split();
    let attached = commands.attach(env, &who);
    let gateway = host.gateway();
    match (attached, gateway.conns.slot(address).and_then(|slot| gateway.conns.session_mut(slot))) {
        (Ok(attached), Some(session)) => {
            session.attached = Some(attached);
            gateway.leave_gates(slot);
        }
        // It was refused meanwhile.
        (Ok(attached), None) => gateway.ended.push_back(attached),
        (Err(wait), _) => gateway.wait(slot, wait),
    }
    1
}
