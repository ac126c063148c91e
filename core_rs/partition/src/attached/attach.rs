//! Sessions begin and end.
//!
//! A session that begins is there at once: what becomes visible from now on is listed for it. `welcome` follows when its device's
//! mailboxes have begun in all conversations of its user, and those in memory were looked through for what waits.

use std::ops::Bound;

use seam::{Attach, Attached, Env, Lent, Outputs};

use super::{OVER, Session, Sessions};
use crate::commit::Owner;
use crate::config::Now;
use crate::ids::{ConversationId, ConversationSlot, DeviceId, UserSlot};
use crate::lazy::Mailbox;
use crate::propose::{self, Fits};
use crate::queries::Waiting;
use crate::state::State;
use crate::users::UserSession;

/// Messages that are looked at, for each conversation that may be looked through, to count what waits.
const COUNTS: usize = 64;

/// A session that was not welcomed yet.
#[derive(Debug, Default)]
pub(super) struct Join {
    /// The last of its user's conversations in memory that was looked through. Of what comes into memory later it has a part.
    after: Option<ConversationSlot>,
    /// All were.
    walked: bool,
    /// Of one that comes back: what was written to it, by conversation.
    sent: Vec<(ConversationId, u64)>,
    /// What waits, as far as it was counted.
    waiting: Waiting,
}

impl Sessions {
    /// Conversations of a user are to take up that devices of it began or ended; sessions of those wait for that.
    pub(crate) fn fits(&mut self, user: UserSlot) {
        self.fitting.entry(user).or_default();
    }

    /// A session of a device that is there. One that was attached for the device goes, if this one receives. When its device was
    /// last connected, seconds since 1970, and whether it receives for the first time.
    pub(super) fn begin<E: Env>(
        &mut self,
        state: &mut State,
        env: &mut E,
        user: UserSlot,
        who: &Attach<'_>,
    ) -> (Attached, (u32, bool)) {
        let Lent { now, out, .. } = env.lend();
        let device = who.device;
        if who.receive
            && let Some(old) =
                state.users.entry(user).sessions.iter().find(|s| s.receives && s.device == device).map(|s| s.at)
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
        [Owner::User(user), Owner::Device(user, device)].into_iter().for_each(|row| state.pin(row));
        entry.insert(Session {
            serial: at.serial,
            address: who.address,
            name: who.user.into(),
            user,
            device,
            receives: who.receive,
            owes_messages: false,
            owes_receipts: false,
            behind: true,
            last: None,
            told: 0,
            given: 0,
            lists: None,
        });
        let told = self.told(state, user, who);
        let Some(session) = self.get_mut(at) else { return (OVER, (u32::MAX, false)) };
        (session.told, session.given) = (told, told);
        // Its row is in memory: whoever begins a session looked.
        let last = state.connected(session.author(), seconds(now), who.receive).unwrap_or((u32::MAX, false));
        if who.receive && who.receipts.is_some() {
            let _ = state.seen(session.author(), told);
        }
        state.users.entry(user).sessions.push(UserSession { at, device, receives: who.receive });
        let mut sent = who.in_flight.to_vec();
        sent.sort_unstable();
        session.lists().join = Some(Join { sent, ..Join::default() });
        (at, last)
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
            user.sessions.retain(|known| known.at != at);
        }
        let rows = [Owner::User(session.user), Owner::Device(session.user, session.device)];
        rows.into_iter().for_each(|row| state.unpin(row));
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
        let Self { table, fitting, entering, .. } = self;
        let session = table.get_mut(at.slot as usize).filter(|session| session.serial == at.serial);
        let Some(session) = session else { return false };
        let (user, device, address) = (session.user, session.device, session.address);
        let Some(mut join) = session.lists().join.take() else { return false };
        let begins = |fit: &crate::rows::Fit| fit.device == device && fit.begins;
        let waits = fitting.contains_key(&user) && state.user(user).is_some_and(|row| row.fits.iter().any(begins));
        let done = !waits && (!session.receives || join.walk(state, (user, device), at, left, entering));
        if !done {
            session.lists().join = Some(join);
            return true;
        }
        let pending = (join.waiting.messages, join.waiting.conversations);
        let token = self.tokens.give(state.generation.number, self.get(at).map_or(0, |session| session.told));
        env.lend().out.welcome(address, pending, &token, state.exact);
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

    /// The next user whose conversations are to take something up, and how far that came.
    pub(crate) fn next_fit(&mut self) -> Option<(UserSlot, Fits)> {
        let behind = self.fitted.map_or(Bound::Unbounded, Bound::Excluded);
        let next = self.fitting.range((behind, Bound::Unbounded)).chain(&self.fitting).next().map(|(&user, _)| user)?;
        self.fitted = Some(next);
        self.fitting.remove_entry(&next)
    }

    /// It goes on later.
    pub(crate) fn fit_later(&mut self, user: UserSlot, fits: Fits) {
        self.fitting.insert(user, fits);
    }

    /// Index rows for it came.
    pub(crate) fn fit_page(&mut self, user: UserSlot, ids: Vec<ConversationId>, last: bool) {
        if let Some(fits) = self.fitting.get_mut(&user) {
            fits.page(ids, last);
        }
    }

    /// Whether something is to be taken up.
    pub(crate) fn is_fitting(&self) -> bool {
        !self.fitting.is_empty()
    }
}

impl Join {
    /// Looks through conversations, and counts what waits. True: all of them.
    fn walk(
        &mut self,
        state: &mut State,
        me: (UserSlot, DeviceId),
        session: Attached,
        left: &mut usize,
        entering: &mut Vec<ConversationSlot>,
    ) -> bool {
        let behind = self.after.map_or(Bound::Unbounded, Bound::Excluded);
        let mine = state.users.get(me.0).filter(|_| !self.walked);
        let next = mine.into_iter().flat_map(|user| user.conversations.range((behind, Bound::Unbounded)));
        let next: Vec<ConversationSlot> = next.take(*left).copied().collect();
        self.walked = next.len() < *left;
        *left -= next.len();
        for slot in next {
            self.after = Some(slot);
            let Some(active) = state.conversation(slot) else { continue };
            if propose::enter(state, active).is_some() {
                entering.push(slot);
            }
            let sent = self.sent.binary_search_by_key(&active.id, |sent| sent.0).ok();
            let sent = sent.and_then(|place| self.sent.get(place)).map_or(0, |sent| sent.1.min(active.visible));
            for member in active.places(me.0) {
                state.connect(slot, member);
                state.sent_before(Mailbox { slot, member, device: me.1 }, session, sent);
            }
        }
        let most = COUNTS * *left;
        self.walked && most > 0 && state.count_waiting(me.0, me.1, &mut self.waiting, most)
    }
}

impl State {
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
