//! A partition as a gateway and a node use it: the rows, and the sessions that are attached.
//!
//! A gateway uses it through [`seam::Commands`]. The methods here are what a node calls: what became durable, what was read, and
//! upkeep, which is bounded in each call.

use compact_str::CompactString;
use seam::{Attached, Bodies, Env, Full, Lent, RowKey, Wait};

pub use crate::attached::Want;
use crate::attached::{Sessions, Tokens};
use crate::commit::Committed;
use crate::config::Config;
use crate::ids::{ConversationId, ConversationSlot, Place, Position};
use crate::index::Said;
use crate::journal::Scratch;
use crate::propose::{self, Fits, Fitting, Stop};
use crate::records::{Record, UserChange};
use crate::rest::Misfit;
use crate::state::State;

/// Messages that expire, and members of their conversations, in one call of [`Partition::expire`]; the last conversation may go
/// beyond it.
const EXPIRY_WORK: usize = 1024;

/// How far [`Partition::fit`] came.
#[derive(Clone, Debug, PartialEq)]
pub enum Fit {
    /// Nothing is to be done.
    Done,
    /// There is more to do.
    More,
    /// This is needed for one user. It is asked for again until it is there; others have their turn meanwhile.
    Wants(Want),
}

/// See the module.
#[derive(Debug)]
pub struct Partition {
    /// The rows.
    pub state: State,
    /// Limits and times.
    pub config: Config,
    pub(crate) sessions: Sessions,
    scratch: Scratch,
    /// Room for a message's bytes.
    pub(crate) stored: Vec<u8>,
    /// The conversation that is looked at next for messages that were held too long.
    hand: usize,
}

impl Partition {
    /// With the rows that a start made, and the secret by which it knows its own tokens.
    pub fn new(state: State, config: Config, secret: [u8; 16]) -> Self {
        let mut sessions = Sessions::new(Tokens::new(secret));
        sessions.resume(&state);
        Self { state, config, sessions, scratch: Scratch::default(), stored: Vec::new(), hand: 0 }
    }

    /// Appends and applies the records of a decision; those whom it concerns are told.
    ///
    /// # Errors
    /// The journal took none of them, and nothing changed.
    pub fn commit<E: Env>(&mut self, env: &mut E, records: &[Record<'_>]) -> Result<Committed, Full> {
        let Self { state, sessions, scratch, .. } = self;
        let Lent { now, journal, bodies, out, .. } = env.lend();
        let committed = state.commit(journal, scratch, records)?;
        for (id, news) in &committed.news {
            if let Some(slot) = state.find(id) {
                sessions.tell(state, slot, news, None, now.mono_ms, out);
            }
        }
        for record in records {
            if let Record::User(user) = record
                && let UserChange::Device(fit) = user.what
                && !fit.begins
            {
                sessions.device_ended(state, (user.name, fit.device), now, out);
            }
        }
        for (id, version) in records.iter().filter_map(skips) {
            if let Some(slot) = state.find(&id) {
                sessions.tell_all(state, slot, version, now.mono_ms, out);
            }
        }
        sessions.wake(state, out);
        state.freed.drain(..).for_each(|(place, hint)| bodies.remove(place, hint));
        Ok(committed)
    }

    /// Batches up to this one are durable: what they show goes to the sessions that wait for it.
    pub fn synced<E: Env>(&mut self, env: &mut E, position: Position) {
        self.state.synced(position);
        let out = env.lend().out;
        self.sessions.wake(&mut self.state, out);
        self.sessions.durable(out);
    }

    /// What a store answered: a row's bytes, or that there is none.
    ///
    /// # Errors
    /// It is not what the log said: see [`Misfit`].
    pub fn loaded<E: Env>(
        &mut self,
        env: &mut E,
        key: &RowKey,
        bytes: Option<(Position, &[u8])>,
    ) -> Result<(), Misfit> {
        let loaded = self.state.loaded(key, bytes);
        let out = env.lend().out;
        self.sessions.wake(&mut self.state, out);
        self.sessions.loaded(out);
        loaded
    }

    /// What sessions wait for, each once.
    pub fn wanted(&mut self) -> Vec<Want> {
        self.sessions.wanted()
    }

    /// The body of message `seq` of a conversation (slot, serial) is in memory, with this hint; `u32::MAX`: it could not be read
    /// now, or its record was carried to another place meanwhile.
    pub fn body_read<E: Env>(&mut self, env: &mut E, of: (u32, u32), (seq, place): (u64, Place), hint: u32) {
        let kept = self.state.body_read(of, (seq, place), hint);
        let Lent { bodies, out, .. } = env.lend();
        if !kept {
            bodies.remove(place, hint);
        }
        self.state.freed.drain(..).for_each(|(place, hint)| bodies.remove(place, hint));
        self.sessions.wake(&mut self.state, out);
    }

    /// Message `seq` of a conversation (slot, serial) cannot be read at `place` any more.
    ///
    /// # Errors
    /// The journal has no room; the message is wanted again.
    pub fn lost<E: Env>(&mut self, env: &mut E, of: (u32, u32), seq: u64, place: Place) -> Result<(), Full> {
        let active = self.state.conversation(ConversationSlot::new(of.0 as usize)).filter(|a| a.serial == of.1);
        let there = active.filter(|active| active.entries.get(seq).is_some_and(|entry| entry.place == place));
        let records = there.and_then(|active| propose::lost(&self.state, active, &[(seq, seq)]));
        let done = records.map_or(Ok(()), |records| self.commit(env, &records).map(drop));
        self.body_read(env, of, (seq, place), u32::MAX);
        done
    }

    /// Logs lazy facts: at most so many records. Whether there are more.
    ///
    /// # Errors
    /// The journal has no room.
    pub fn flush<E: Env>(&mut self, env: &mut E, most: usize) -> Result<bool, Full> {
        for record in self.state.flush(most) {
            self.commit(env, &[record])?;
        }
        Ok(self.state.is_dirty())
    }

    /// Conversations take up that devices of their users began or ended, at most so many; then sessions that waited for that are
    /// welcomed. What is needed first, if anything is.
    pub fn fit<E: Env>(&mut self, env: &mut E, most: usize) -> Fit {
        let fit = self.fit_next(env, most);
        let joins = self.sessions.join(&mut self.state, env, most);
        self.enter(env);
        if joins && fit == Fit::Done { Fit::More } else { fit }
    }

    /// Conversations of which a device attached enter the generation. One for which there is no room enters with its next message.
    pub(crate) fn enter<E: Env>(&mut self, env: &mut E) {
        for slot in self.sessions.entering() {
            let records = self.state.conversation(slot).and_then(|active| propose::enter(&self.state, active));
            if let Some(records) = records {
                let _ = self.commit(env, &records);
            }
        }
    }

    fn fit_next<E: Env>(&mut self, env: &mut E, most: usize) -> Fit {
        let Some((user, mut fits)) = self.sessions.next_fit() else { return Fit::Done };
        let name: CompactString = self.state.names.text(user).into();
        let fit = match propose::fit(&self.state, &name, &mut fits, most) {
            Ok(Fitting::Done) => return if self.sessions.is_fitting() { Fit::More } else { Fit::Done },
            Ok(Fitting::Records(records)) => {
                // A pass that missed something begins anew: the user's row says what is left.
                if !records.iter().all(|record| self.commit(env, std::slice::from_ref(record)).is_ok()) {
                    fits = Fits::default();
                }
                Fit::More
            }
            Ok(Fitting::Page(after)) => Fit::Wants(Want::Page { session: None, user: name, after }),
            Ok(Fitting::Rest(ids)) => Fit::Wants(Want::Rest(ids)),
            Err(Stop::Wait(keys)) => Fit::Wants(Want::Rows(keys)),
            Err(Stop::Index(_) | Stop::Refused(_)) => Fit::More,
        };
        self.sessions.fit_later(user, fits);
        fit
    }

    /// Index rows that were asked for with a [`Want::Page`], in order; `last`: there are no more.
    pub fn page<E: Env>(
        &mut self,
        env: &mut E,
        (session, user): (Option<Attached>, &str),
        ids: Vec<ConversationId>,
        last: bool,
    ) {
        match (session, self.state.names.find(user)) {
            (Some(at), _) => self.sessions.catch_up_page(at, ids, last, env.lend().out),
            (None, Some(user)) => self.sessions.fit_page(user, ids, last),
            (None, None) => {}
        }
    }

    /// Drops what was held too long, in the next `most` conversations at most: how many were looked at. Each is in turn; it ends
    /// early when much was dropped, or many were told of it (I11).
    ///
    /// # Errors
    /// The journal has no room.
    pub fn expire<E: Env>(&mut self, env: &mut E, most: usize) -> Result<usize, Full> {
        let mut work = 0;
        for looked in 0..most.min(self.state.conversation_slots()) {
            if work >= EXPIRY_WORK {
                return Ok(looked);
            }
            self.hand = (self.hand + 1) % self.state.conversation_slots().max(1);
            let Some(active) = self.state.conversation(ConversationSlot::new(self.hand)) else { continue };
            if let Some(records) = propose::expire(&self.state, env.lend().now, &self.config, active) {
                let (members, before) = (active.row.members.len(), self.state.pending_totals().0);
                self.commit(env, &records)?;
                work += members + before.saturating_sub(self.state.pending_totals().0) as usize;
            }
        }
        Ok(most)
    }

    /// The store's row with this key is damaged: it cannot be used until a restart, when an operator may have mended it.
    pub fn unusable<E: Env>(&mut self, env: &mut E, key: &RowKey) {
        self.state.answers.put(key.clone(), Said::Unusable);
        self.rows_again(env);
    }

    /// Rows could not be read for a while: sessions that wait for rows ask for them again.
    pub fn rows_again<E: Env>(&mut self, env: &mut E) {
        self.sessions.loaded(env.lend().out);
    }

    /// A page that a session waits for could not be read for a while: it asks again.
    pub fn page_again<E: Env>(&mut self, env: &mut E, session: Attached) {
        self.sessions.page_again(session, env.lend().out);
    }

    /// The time for receipts of groups has come for some sessions: at most `most`. Whether there are more.
    pub fn burst<E: Env>(&mut self, env: &mut E, most: usize) -> bool {
        let Lent { now, out, .. } = env.lend();
        self.sessions.burst(now.mono_ms, most, out)
    }

    /// When [`Partition::burst`] is to be called next: ms of the monotonic clock.
    pub fn next_burst(&self) -> Option<u64> {
        self.sessions.next_burst()
    }

    /// Whether a client had a token above all that was ever given, since this was last asked: the server lost what it told.
    pub fn was_ahead(&mut self) -> bool {
        self.sessions.was_ahead()
    }

    /// A device is dropped: its session is over.
    pub fn end<E: Env>(&mut self, env: &mut E, at: Attached) {
        let now = env.lend().now;
        self.sessions.end(&mut self.state, now, at);
    }
}

/// The conversation in which a record notes skips, and the receipt version of these.
fn skips(record: &Record<'_>) -> Option<(ConversationId, u64)> {
    let (id, version) = match record {
        Record::Message(m) => (m.message.conversation, m.extra.as_ref().map_or(0, |extra| extra.version)),
        Record::Mailbox(r) => (r.conversation, r.version),
        Record::Floor(r) => (r.conversation, r.version),
        Record::Lost(r) => (r.conversation, r.version),
        Record::Enter(r) => (r.conversation, r.version),
        _ => return None,
    };
    (version > 0).then_some((id, version))
}

/// What a stop waits for; `None`: it is a refusal.
pub(crate) fn waits(stop: Stop) -> Option<Wait> {
    match stop {
        Stop::Refused(_) => None,
        Stop::Wait(keys) => Some(Wait::Rows(keys)),
        Stop::Index(user) => Some(Wait::Index(user)),
    }
}
