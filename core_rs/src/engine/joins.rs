//! From hello to welcome, and a session's end.

use super::Engine;
use super::api::{ConnId, Identity, Key, Request};
use super::conns::{Stage, pause};
use super::directory::MAX_DEVICE;
use super::session::{Session, Waiting};
use super::token;
use crate::delivery::{Attach, Outlet};
use crate::wire::codes;
use crate::wire::types::{Hello, ServerFrame, Welcome};

/// Name and version, as clients are told.
const SERVER: &str = concat!("pyrouter ", env!("CARGO_PKG_VERSION"));

impl Engine {
    pub(super) fn hello(&mut self, slot: u32, hello: &Hello<'_>) {
        let Some(conn) = self.conns.get_mut(slot) else { return };
        let asked = (hello.window_messages, hello.window_bytes, token::version(&hello.receipts));
        conn.session = Some(Box::new(Session::new(hello.receive, asked)));
        conn.stage = Stage::Joining;
        let id = self.conns.id(slot);
        match self.early.remove(&id) {
            // A local connection was admitted before it said hello.
            Some(identity) => self.admit(id, identity),
            None => {
                // What follows is read when it is clear whose it is.
                self.conns.pause(slot, pause::JOINING, true);
                self.requests.push_back(Request::Authenticate { conn: id, token: hello.token.clone().into_owned() });
            }
        }
    }

    /// A connection's identity is known.
    pub fn admit(&mut self, id: ConnId, identity: Identity) {
        let Some(slot) = self.conns.slot(id) else { return };
        let valid = (1..=MAX_DEVICE).contains(&identity.device) && crate::wire::check_user(&identity.user).is_ok();
        if !valid {
            return self.close_with(slot, codes::BAD_TOKEN, "The token names no valid user and device.");
        }
        let Some(conn) = self.conns.get_mut(slot) else { return };
        if conn.stage == Stage::Opening && conn.local {
            self.early.insert(id, identity);
            return;
        }
        let user = self.directory.intern(&identity.user);
        let mono_ms = self.clock.mono_ms();
        if let Some(user) = self.directory.get_mut(user) {
            // It stays in memory while the session joins.
            user.mark.touch(mono_ms);
        }
        if conn.stage == Stage::Joining
            && let Some(session) = conn.session.as_mut().filter(|s| s.user == u32::MAX)
        {
            (session.user, session.device) = (user, identity.device as u16);
            session.expires_ms = identity.expires_ms;
            self.join(slot);
        }
        self.settle();
    }

    /// A connection's token is refused: an error frame, then the end.
    pub fn refuse(&mut self, id: ConnId, code: &str, message: &str) {
        let Some(slot) = self.conns.slot(id) else { return };
        let code = codes::find(code).filter(|c| c.close.is_some()).map_or(codes::BAD_TOKEN, |c| c.name);
        self.close_with(slot, code, message);
    }

    /// Goes on once the session's user is in memory.
    pub(super) fn join(&mut self, slot: u32) {
        let Some((user, device)) = self.conns.session(slot).map(Session::mailbox) else { return };
        let Some(known) = self.directory.get(user) else {
            return self.close_with(slot, codes::INTERNAL, "The server lost sight of this user; connect again.");
        };
        if !known.known {
            let key = Key::User(known.name.as_str().into());
            if !self.is_absent(slot, &key) {
                self.ask_for(slot, [key]);
                if std::mem::take(&mut self.rows.wanted) {
                    self.close_with(slot, codes::INTERNAL, "What the server stored of this user is damaged.");
                }
                return;
            }
            self.create(user);
        }
        self.gathered(slot);
        let now_s = (self.clock.time_ms() / 1000) as u32;
        let Some(known) = self.directory.get_mut(user) else { return };
        if known.device(device).is_none() {
            if known.devices.len() >= self.config.devices as usize {
                let message = format!("{} has {} devices already.", known.name, known.devices.len());
                return self.close_with(slot, codes::TOO_MANY_DEVICES, &message);
            }
            known.add_device(device, now_s);
            self.delivery.fit_devices(&self.directory, user);
            // The user's state last: a device that is in it has its mailboxes after a crash.
            self.log_all_cursors();
            self.log_user(user);
        }
        self.attach(slot, user, device);
    }

    fn attach(&mut self, slot: u32, user: u32, device: u16) {
        let Some(session) = self.conns.session_mut(slot) else { return };
        // Its user may have been long in loading.
        if session.expires_ms != 0 && session.expires_ms <= self.clock.time_ms() {
            return self.close_with(slot, codes::TOKEN_EXPIRED, "The session's token expired.");
        }
        let receive = session.receive;
        let hello = *session.hello.take().unwrap_or_default();
        if receive {
            self.replace(user, device);
        }
        let (now_s, lag_s) = ((self.clock.time_ms() / 1000) as u32, self.seen_lag_s());
        let pick = |asked: u32, most: u32| if asked == 0 { most } else { asked.min(most) };
        let window = (pick(hello.0, self.config.window_messages), pick(hello.1, self.config.window_bytes));
        let Some(known) = self.directory.get_mut(user) else { return };
        known.mark.touch(self.clock.mono_ms());
        // A client that kept more than there is has outlived the server's data: it is told everything.
        let latest = self.delivery.version();
        let kept = hello.2.map(|kept| if kept > latest { 0 } else { kept });
        let mut told = kept.unwrap_or(0);
        let mut logged = true;
        known.mark.change();
        if let Some(device) = known.device_mut(device) {
            logged = device.receives || !receive;
            logged &= now_s.saturating_sub(device.seen_s) <= lag_s;
            device.seen_s = if logged { device.seen_s } else { now_s };
            device.receives |= receive;
            if receive {
                device.receipts = device.receipts.max(told);
            }
            if kept.is_none() {
                told = device.receipts;
            }
        }
        if !logged {
            self.log_user(user);
        }
        let who = Attach { conn: slot, user, device, receive, window, told };
        let (receiver, waiting) = self.delivery.attach(&mut self.directory, who);
        let (time, limits) = (self.clock.time_ms(), self.config.limits(window.0, window.1));
        let Some(conn) = self.conns.get_mut(slot) else { return };
        conn.stage = Stage::Ready;
        let expires_ms = conn.session.as_ref().map_or(0, |s| s.expires_ms);
        if let Some(session) = &mut conn.session {
            session.receiver = receiver;
        }
        if !conn.local {
            let first = self.config.idle_ms.min(expires_ms.checked_sub(time).unwrap_or(u64::MAX));
            self.timers.set(self.clock.mono_ms() + first, self.conns.id(slot).timer());
        }
        let writable = self.conns.writable(slot);
        self.delivery.set_writable(receiver, writable);
        let welcome = Welcome {
            user: self.directory.name(user),
            device: u32::from(device),
            time,
            limits,
            pending_messages: waiting.messages,
            pending_conversations: waiting.conversations,
            server: SERVER,
            receive,
            receipts: &token::token(told),
        };
        self.conns.frame(slot, &ServerFrame::Welcome(welcome));
        self.stats.sessions += 1;
        self.conns.pause(slot, pause::JOINING, false);
        self.make_ready(slot);
    }

    /// The newest receiving session of a device wins.
    fn replace(&mut self, user: u32, device: u16) {
        let old = self.directory.get(user).map(|u| u.receivers.clone()).unwrap_or_default();
        for receiver in old {
            let Some(slot) = self.delivery.receiving(receiver, device) else { continue };
            self.stats.replaced_total += 1;
            self.conns.frame(slot, &ServerFrame::Replaced);
            self.leave(slot);
            self.conns.close(slot, codes::close::REPLACED, "replaced", false);
        }
    }

    /// A connection's session ends; what was in flight stays in its queue.
    pub(super) fn leave(&mut self, slot: u32) {
        self.conns.uncount(slot);
        let Some(session) = self.conns.get_mut(slot).and_then(|c| c.session.take()) else { return };
        if session.receiver == u32::MAX {
            return;
        }
        self.stats.sessions -= 1;
        self.delivery.detach(&mut self.directory, session.receiver);
        let now_s = (self.clock.time_ms() / 1000) as u32;
        let (mono_ms, lag_s) = (self.clock.mono_ms(), self.seen_lag_s());
        let Some(user) = self.directory.get_mut(session.user) else { return };
        user.mark.touch(mono_ms);
        user.mark.change();
        let mut stale = false;
        if let Some(device) = user.device_mut(session.device) {
            stale = now_s.saturating_sub(device.seen_s) > lag_s;
            device.seen_s = if stale { now_s } else { device.seen_s };
        }
        if stale {
            self.log_user(session.user);
        }
    }

    /// A connection's timer: hello, keep-alive, the token's end, frames that wait for their turn.
    pub(super) fn look_at(&mut self, id: ConnId) {
        let Some(slot) = self.conns.slot(id) else { return };
        let Some(conn) = self.conns.get_mut(slot) else { return };
        let (mono_ms, time_ms) = (self.clock.mono_ms(), self.clock.time_ms());
        match conn.stage {
            Stage::Closing => {}
            Stage::Opening => {
                self.close_with(slot, codes::HELLO_TIMEOUT, "No hello came in time.");
            }
            Stage::Joining => {
                // The token's check has a bound of its own, in the driver.
                self.timers.set(mono_ms + self.config.hello_ms, id.timer());
            }
            Stage::Ready => {
                let expires_ms = conn.session.as_ref().map_or(0, |s| s.expires_ms);
                if expires_ms != 0 && expires_ms <= time_ms {
                    return self.close_with(slot, codes::TOKEN_EXPIRED, "The session's token expired.");
                }
                let silent = conn.silent_ms(mono_ms);
                let next = if silent < self.config.idle_ms {
                    conn.pinged = false;
                    self.config.idle_ms - silent
                } else if !conn.pinged {
                    conn.pinged = true;
                    if !conn.local {
                        self.conns.frame(slot, &ServerFrame::Ping { nonce: time_ms });
                    }
                    self.config.idle_grace_ms
                } else if conn.local {
                    self.config.idle_ms
                } else if silent >= self.config.idle_ms + self.config.idle_grace_ms {
                    self.leave(slot);
                    return self.conns.close(slot, codes::close::GOING_AWAY, "idle", true);
                } else {
                    self.config.idle_ms + self.config.idle_grace_ms - silent
                };
                let end = if expires_ms == 0 { u64::MAX } else { expires_ms - time_ms };
                self.timers.set(mono_ms + next.min(end).max(1), id.timer());
            }
        }
    }

    /// Goes on with frames that waited only for their turn.
    pub(super) fn resume_waiting(&mut self, slot: u32) {
        let due = |waiting: &Waiting| !waiting.blocked && waiting.due_ms <= self.clock.mono_ms();
        let turn = self.conns.session(slot).and_then(|s| s.waiting.as_deref()).is_some_and(due);
        self.look_at_account(slot);
        if turn {
            self.make_ready(slot);
        }
    }
}
