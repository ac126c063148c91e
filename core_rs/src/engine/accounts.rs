//! What the sessions of one user hold in the server's memory, all together: bounded before anything global is (I6).
//!
//! A session holds *output* (what waits for its transport, in the core and in the transport, and lists that wait for the
//! disk) and its frames that wait. Where the output of a user's sessions is above [`Config::user_bytes`](super::Config),
//! questions with large answers wait, and so do all frames of those sessions that have output. Where all that they hold is
//! above it, the sessions that hold something are not read; at four times as much such a session is closed. Frames that
//! wait never keep others from being handled: they could wait for each other.

use std::mem;

use super::Engine;
use super::conns::{Conn, Conns, pause};

/// Output, and everything, that a session holds of no more than this is not counted: it is on its way, and counting costs.
pub const UNCOUNTED: usize = 4 << 10;
/// Bytes of large answers made in one turn, and again while what waited is taken up; the last one may go beyond it (I11).
pub const TURN_ANSWERS: u64 = 1 << 20;

/// What a session, or all of a user, hold, bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Holds {
    /// What is owed to clients.
    pub output: u64,
    /// The same, and frames that wait.
    pub all: u64,
}

impl Conn {
    /// What this connection holds.
    fn holds(&self) -> Holds {
        let waiting = self.session.as_ref().and_then(|session| session.waiting.as_ref());
        let output = self.owed_bytes() + self.in_transport as usize + self.listed as usize;
        let all = output + waiting.map_or(0, |waiting| waiting.frames.bytes());
        let counted = |bytes: usize| if bytes > UNCOUNTED { bytes as u64 } else { 0 };
        Holds { output: counted(output), all: counted(all) }
    }
}

impl Conns {
    /// Counts anew what a connection holds.
    pub fn recount(&mut self, slot: u32) {
        let Some(conn) = self.get_mut(slot) else { return };
        let user = conn.session.as_ref().map_or(u32::MAX, |session| session.user);
        let now = (user, if user == u32::MAX { Holds::default() } else { conn.holds() });
        let before = mem::replace(&mut conn.account, now);
        self.settle_account(before, now);
    }

    /// A connection's session ends: what is left of it is nobody's.
    pub fn uncount(&mut self, slot: u32) {
        if let Some(conn) = self.get_mut(slot) {
            let nothing = (u32::MAX, Holds::default());
            let before = mem::replace(&mut conn.account, nothing);
            self.settle_account(before, nothing);
        }
    }

    fn settle_account(&mut self, before: (u32, Holds), now: (u32, Holds)) {
        if before == now {
            return;
        }
        if now.1.all > 0 {
            let account = self.accounts.entry(now.0).or_default();
            account.output += now.1.output;
            account.all += now.1.all;
        }
        if before.1.all > 0
            && let Some(account) = self.accounts.get_mut(&before.0)
        {
            account.output = account.output.saturating_sub(before.1.output);
            account.all = account.all.saturating_sub(before.1.all);
            if account.all == 0 {
                self.accounts.remove(&before.0);
            }
        }
    }

    /// What a connection holds, and what all of its user's sessions do.
    pub fn held(&self, slot: u32) -> (Holds, Holds) {
        let Some(conn) = self.get(slot) else { return Default::default() };
        let own = conn.holds();
        let user = conn.session.as_ref().map_or(u32::MAX, |session| session.user);
        let counted = if conn.account.0 == user { conn.account.1 } else { Holds::default() };
        let account = self.accounts.get(&user).copied().unwrap_or_default();
        let sum = Holds {
            output: (account.output + own.output).saturating_sub(counted.output),
            all: (account.all + own.all).saturating_sub(counted.all),
        };
        (own, sum)
    }

    /// What all sessions hold, bytes.
    pub fn held_in_all(&self) -> u64 {
        self.accounts.values().map(|account| account.all).sum()
    }
}

impl Engine {
    /// Whether a session's frames have to wait because of what it and others of its user are owed.
    pub(super) fn is_owed_too_much(&self, slot: u32) -> bool {
        let (own, sum) = self.conns.held(slot);
        own.output > 0 && sum.output > self.config.user_bytes as u64
    }

    /// Whether a session is not to be read because of what it and others of its user hold.
    fn holds_too_much(&self, slot: u32) -> bool {
        let (own, sum) = self.conns.held(slot);
        own.all > 0 && sum.all > self.config.user_bytes as u64
    }

    /// Whether this turn has made as many large answers as it may.
    pub(super) fn is_turn_full(&self) -> bool {
        self.conns.framed - self.turn_from >= TURN_ANSWERS
    }

    /// Another part of a turn begins.
    pub(super) fn begin_turn(&mut self) {
        self.stats.turn_bytes_most = self.stats.turn_bytes_most.max(self.conns.framed - self.turn_from);
        self.turn_from = self.conns.framed;
    }

    /// Whether a question with a large answer has to wait: until its client takes what it is owed, until its user's
    /// sessions hold less, or for another turn.
    pub(super) fn answer_waits(&self, slot: u32) -> bool {
        let listed = self.conns.get(slot).map_or(0, |conn| conn.listed as usize);
        !self.conns.writable(slot)
            || listed > self.config.out_bytes
            || self.conns.held(slot).1.output > self.config.user_bytes as u64
            || self.is_turn_full()
    }

    /// Bounds what a session holds after bytes came from it.
    pub(super) fn bound_account(&mut self, slot: u32) {
        self.conns.recount(slot);
        if !self.holds_too_much(slot) {
            return;
        }
        if self.conns.held(slot).1.all > 4 * self.config.user_bytes as u64 {
            self.conns.close(slot, super::codes::close::SERVER, "this user's sessions hold too much", true);
        } else if !self.conns.paused(slot, pause::ACCOUNT) {
            self.conns.pause(slot, pause::ACCOUNT, true);
            self.turn_later(slot);
        }
    }

    /// A session that was not read because of its user's account is read again when that has room.
    pub(super) fn look_at_account(&mut self, slot: u32) {
        if !self.conns.paused(slot, pause::ACCOUNT) {
            return;
        }
        self.conns.recount(slot);
        if self.holds_too_much(slot) {
            self.turn_later(slot);
        } else {
            self.conns.pause(slot, pause::ACCOUNT, false);
        }
    }
}
