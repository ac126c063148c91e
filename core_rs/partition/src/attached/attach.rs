//! Sessions begin and end.
//!
//! A session that begins is there at once: what becomes visible from now on is listed for it. `welcome` follows when its device's
//! mailboxes have begun in all conversations of its user, and those in memory were looked through for what waits.

use seam::{Attach, Attached, Env, Lent, Outputs};

use super::{OVER, Session, Sessions};
use crate::config::Now;
use crate::ids::{ConversationId, DeviceId, UserSlot};
use crate::lazy::Mailbox;
use crate::state::State;

/// Messages that are looked at to say how many wait; beyond that they are reckoned.
const LOOKS: u64 = 4096;

/// A session that was not welcomed yet.
#[derive(Debug, Default)]
pub(super) struct Join {
    /// Of its user's conversations in memory, those below this place are left: see [`super::catch_up`].
    place: Option<usize>,
    /// Of one that comes back: what was written to it, by conversation.
    sent: Vec<(ConversationId, u64)>,
    /// Messages, and conversations that have some.
    pending: (u64, u64),
    /// How many more are looked at.
    looks: u64,
}

impl Sessions {
    /// The mailboxes of a user's devices are fitted, or begun, before sessions of these are welcomed.
    pub(crate) fn fits(&mut self, user: UserSlot) {
        if !self.fitting.iter().any(|(known, _)| *known == user) {
            self.fitting.push_back((user, 0));
        }
    }

    /// A session of a device that is there. One that was attached for the device goes, if this one receives.
    pub(super) fn begin<E: Env>(
        &mut self,
        state: &mut State,
        env: &mut E,
        user: UserSlot,
        who: &Attach<'_>,
    ) -> Attached {
        let Lent { now, out, .. } = env.lend();
        let device = who.device;
        if who.receive
            && let Some(old) = state.users.entry(user).sessions.iter().find(|s| s.0 == device).map(|s| s.1)
        {
            if let Some(session) = self.get(old) {
                out.replaced(session.address);
            }
            self.end(state, now, old);
        }
        self.serials = self.serials.wrapping_add(1);
        let entry = self.table.vacant_entry();
        let at = Attached { slot: entry.key() as u32, serial: self.serials };
        state.names.hold_again(user);
        entry.insert(Session {
            serial: at.serial,
            address: who.address,
            name: who.user.into(),
            user,
            device,
            receives: who.receive,
            owes_messages: false,
            owes_receipts: false,
            behind: who.receive,
            last: None,
            told: 0,
            lists: None,
        });
        let told = self.told(state, user, who);
        let Some(session) = self.get_mut(at) else { return OVER };
        session.told = told;
        // Its row is in memory: whoever begins a session looked.
        let _ = state.connected(session.author(), seconds(now), who.receive);
        if who.receive {
            if who.receipts.is_some() {
                let _ = state.seen(session.author(), told);
            }
            state.users.entry(user).sessions.push((device, at));
        }
        let mut sent = who.in_flight.to_vec();
        sent.sort_unstable();
        session.lists().join = Some(Join { place: None, sent, pending: (0, 0), looks: LOOKS });
        at
    }

    /// The version up to which a session has receipts.
    fn told(&mut self, state: &State, user: UserSlot, who: &Attach<'_>) -> u64 {
        let Some(token) = who.receipts.filter(|token| !token.bytes().is_empty()) else {
            return state.device(user, who.device).map_or(0, |device| device.row.receipts);
        };
        match self.tokens.take(token) {
            Some((generation, version)) if generation == state.generation.number && version <= state.versions.last => {
                version
            }
            Some((generation, version)) => {
                self.ahead |= generation > state.generation.number || version > state.versions.last;
                0
            }
            None => 0,
        }
    }

    /// A session is over. What was written to it and not acknowledged stays in its device's queue.
    pub(crate) fn end(&mut self, state: &mut State, now: Now, at: Attached) {
        if self.get(at).is_none() {
            return;
        }
        let session = self.table.remove(at.slot as usize);
        // Its row may have gone with its device.
        let _ = state.connected(session.author(), seconds(now), false);
        if let Some(user) = state.users.get_mut(session.user) {
            user.sessions.retain(|(_, known)| *known != at);
        }
        state.release(session.user);
    }

    /// Goes on with sessions that were not welcomed, for at most so many conversations. Whether some are left that need no
    /// device to be fitted first.
    pub(crate) fn join<E: Env>(&mut self, state: &mut State, env: &mut E, most: usize) -> bool {
        let mut left = most;
        for _ in 0..self.joining.len() {
            let Some(at) = self.joining.pop_front() else { break };
            if left == 0 {
                self.joining.push_front(at);
                return true;
            }
            if self.join_one(state, env, at, &mut left) {
                self.joining.push_back(at);
            }
        }
        left == 0 && !self.joining.is_empty()
    }

    /// Looks whether one can be welcomed now.
    pub(super) fn welcome<E: Env>(&mut self, state: &mut State, env: &mut E, at: Attached, most: usize) {
        let mut left = most;
        if self.join_one(state, env, at, &mut left) {
            self.joining.push_back(at);
        }
    }

    /// Goes on with one. True: it is not welcomed yet.
    fn join_one<E: Env>(&mut self, state: &mut State, env: &mut E, at: Attached, left: &mut usize) -> bool {
        let Some(session) = self.get_mut(at) else { return false };
        let (user, device, address) = (session.user, session.device, session.address);
        let Some(mut join) = session.lists().join.take() else { return false };
        let begins = |fit: &crate::rows::Fit| fit.device == device && fit.begins;
        let waits = state.user(user).is_some_and(|row| row.fits.iter().any(begins));
        let done = !waits && (!session.receives || join.walk(state, (user, device), at, left));
        if !done {
            session.lists().join = Some(join);
            return true;
        }
        let token = self.tokens.give(state.generation.number, self.get(at).map_or(0, |session| session.told));
        env.lend().out.welcome(address, join.pending, &token, state.position);
        let out = env.lend().out;
        self.wake(state, out);
        if let Some(session) = self.get_mut(at).filter(|session| session.behind) {
            session.owe_receipts(out);
        }
        false
    }

    /// Begins what a start left undone.
    pub(crate) fn resume(&mut self, state: &State) {
        let unfitted = |entry: &crate::users::UserEntry| entry.row.as_ref().is_some_and(|row| !row.fits.is_empty());
        let users: Vec<UserSlot> = state.users.iter().filter(|(_, entry)| unfitted(entry)).map(|(u, _)| u).collect();
        users.into_iter().for_each(|user| self.fits(user));
    }

    /// The user whose devices are fitted next, and where to go on.
    pub(crate) fn next_fit(&mut self) -> Option<(UserSlot, usize)> {
        self.fitting.pop_front()
    }

    /// Whether there are such users.
    pub(crate) fn is_fitting(&self) -> bool {
        !self.fitting.is_empty()
    }

    /// Others have their turn first.
    pub(crate) fn fit_later(&mut self, user: UserSlot, from: usize) {
        self.fitting.push_back((user, from));
    }
}

impl Join {
    /// Looks through conversations. True: all of them.
    fn walk(&mut self, state: &mut State, me: (UserSlot, DeviceId), session: Attached, left: &mut usize) -> bool {
        let all = |state: &State| state.users.get(me.0).map_or(0, |user| user.conversations.len());
        let mut place = self.place.unwrap_or(usize::MAX).min(all(state));
        while place > 0 && *left > 0 {
            (place, *left) = (place - 1, *left - 1);
            let slot = state.users.get(me.0).and_then(|user| user.conversations.get(place).copied());
            let Some((slot, active)) = slot.and_then(|slot| Some((slot, state.conversation(slot)?))) else { continue };
            let Some(member) = active.member(me.0, me.1) else { continue };
            let at = Mailbox { slot, member, device: me.1 };
            let waiting = state.waiting(at, &mut self.looks);
            self.pending = (self.pending.0 + waiting, self.pending.1 + u64::from(waiting > 0));
            let sent = self.sent.binary_search_by_key(&active.id, |sent| sent.0).ok();
            let sent = sent.and_then(|place| self.sent.get(place)).map_or(0, |sent| sent.1.min(active.visible));
            state.connect(slot, member);
            state.sent_before(at, session, sent);
        }
        self.place = Some(place);
        place == 0
    }
}

impl State {
    /// How many messages wait for a mailbox: counted while there are looks left.
    fn waiting(&self, at: Mailbox, looks: &mut u64) -> u64 {
        let Some(active) = self.conversation(at.slot) else { return 0 };
        let last = active.visible.min(active.row.member(at.member).map_or(0, |member| member.to));
        let from = self.acked(at).max(active.row.floor - 1) + 1;
        let upto = last.min(from.saturating_add(*looks));
        let counted = u64::from(active.given(at, from, upto).0);
        *looks -= (upto + 1).saturating_sub(from).min(*looks);
        counted + (last.saturating_sub(upto)).min(active.entries.len() as u64)
    }

    /// A session that comes back was written everything up to here.
    fn sent_before(&mut self, at: Mailbox, session: Attached, sent: u64) {
        let acked = self.acked(at);
        let Some(active) = self.conversation_mut(at.slot).filter(|_| sent > acked) else { return };
        let in_flight = active.given(at, acked + 1, sent);
        let online = active.online.get_mut(at.member, at.device).filter(|online| online.session == session);
        if let Some(online) = online.filter(|online| online.sent == 0) {
            (online.sent, online.last, online.in_flight) = (sent, sent, in_flight);
            // It was given before whatever was written.
            online.shown = acked + 1;
        }
    }
}

/// Seconds since 1970.
fn seconds(now: Now) -> u32 {
    u32::try_from(now.wall_ms / 1000).unwrap_or(u32::MAX)
}
