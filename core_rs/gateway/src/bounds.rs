//! Keeps connections within their accounts: which are not read, whose frames wait, which are closed (I6).

use wire::codes;

use crate::Gateway;
use crate::accounts::Room;
use crate::conns::{Conn, State};
use crate::out::pause;

/// One that is not read because others of its account hold too much is looked at after so long, ms.
const AGAIN_MS: u64 = 200;

impl Gateway {
    /// Counts anew what a connection holds, and gives what it may do.
    fn count(&mut self, slot: u32) -> Room {
        let backlog = self.conns.outs.backlog(slot);
        let Some(Conn { payer: Some(payer), session: Some(session), .. }) = self.conns.get_mut(slot) else {
            return Room::Free;
        };
        let deferred = session.waiting.as_ref().map_or(0, |waiting| waiting.frames.bytes());
        let bytes = |bytes: usize| u32::try_from(bytes).unwrap_or(u32::MAX);
        self.accounts.hold(payer, bytes(backlog + session.held as usize), bytes(deferred))
    }

    /// Whether a session's output is so small that its frames may be answered.
    pub(crate) fn has_room(&mut self, slot: u32) -> bool {
        self.count(slot) < Room::Wait
    }

    /// What a connection holds changed: it is read or not, and its frames wait or have their turn.
    pub(crate) fn recount(&mut self, slot: u32) {
        let room = self.count(slot);
        if room == Room::Close {
            return self.end(slot, codes::close::SERVER, codes::OVERLOAD, true);
        }
        let paused = room > Room::Free;
        if paused || self.conns.outs.paused(slot, pause::HELD) {
            self.conns.outs.pause(slot, pause::HELD, paused);
        }
        if paused {
            self.look_in(slot, AGAIN_MS);
        }
        if room < Room::Wait {
            self.make_ready(slot);
        }
    }

    /// Counts what was read of a connection, which is not read for a while if that is above a rate.
    pub(crate) fn charge(&mut self, slot: u32, bytes: usize, frames: u64) {
        let mono_ms = self.now.mono_ms;
        let Some(payer) = self.conns.get_mut(slot).and_then(|conn| conn.payer.as_mut()) else { return };
        let wait_ms = self.accounts.charge(payer, bytes as u64, frames, mono_ms);
        if wait_ms > 0 || self.conns.outs.paused(slot, pause::RATE) {
            self.conns.outs.pause(slot, pause::RATE, wait_ms > 0);
        }
        if wait_ms > 0 {
            self.look_in(slot, wait_ms);
        }
    }

    /// A connection that is not read, or whose frames wait, may have room again. Whether it is to be looked at again soon.
    pub(crate) fn look_at_bounds(&mut self, slot: u32) {
        if self.conns.outs.paused(slot, pause::RATE) {
            self.charge(slot, 0, 0);
        }
        if self.conns.outs.paused(slot, pause::HELD) {
            self.recount(slot);
        }
    }

    /// Too much that was sent is not durable yet, or no longer: sessions that send are not read meanwhile.
    pub fn set_log_behind(&mut self, behind: bool) {
        self.log_behind = behind;
        if behind {
            return;
        }
        for address in std::mem::take(&mut self.paused) {
            if let Some(slot) = self.conns.slot(address) {
                self.conns.outs.pause(slot, pause::LOG, false);
            }
        }
    }

    /// A session gave a command that is logged.
    pub(crate) fn sent(&mut self, slot: u32) {
        if self.log_behind && self.conns.state(slot) == Some(State::Live) && !self.conns.outs.paused(slot, pause::LOG) {
            self.conns.outs.pause(slot, pause::LOG, true);
            self.paused.push(self.conns.address(slot));
        }
    }
}
