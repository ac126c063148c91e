//! Rows of the cold store that a connection waits for: its first waiting frame, or its hello, wants them.
//!
//! A connection stands once in the list of a row's waiters, whatever it wants and how often. It is taken up again when all
//! rows that it asked for are answered, in a turn of its own ([`Engine::run`]): what one answer costs is independent of
//! how many frames wait for it.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};

use smallvec::SmallVec;

use super::Engine;
use super::api::{Key, Request};
use super::groups::Stop;
use crate::wire::codes;

/// What the first of a connection's waiting frames wants.
#[derive(Debug, Default)]
pub struct Gather {
    /// Asked for, and not answered yet.
    missing: HashSet<Key>,
    /// Answered since the frame came: whether there is such a row, and in which second of the monotonic clock.
    answered: HashMap<Key, (bool, u32)>,
}

impl Engine {
    /// Asks for rows on behalf of a connection, which waits until all are answered; not if one of them is unusable.
    pub(super) fn ask_for(&mut self, slot: u32, keys: impl IntoIterator<Item = Key>) {
        let keys: SmallVec<[Key; 2]> = keys.into_iter().collect();
        if keys.iter().any(|key| self.rows.is_unusable(key)) {
            self.rows.wanted = true;
            return;
        }
        let conn = self.conns.id(slot);
        for key in keys {
            let Some(session) = self.conns.session_mut(slot) else { return };
            let waiting = session.waiting.get_or_insert_default();
            waiting.blocked = true;
            if !waiting.gather.get_or_insert_default().missing.insert(key.clone()) {
                continue;
            }
            match self.loading.entry(key.clone()) {
                Entry::Occupied(mut waiters) => waiters.get_mut().push(conn),
                Entry::Vacant(first) => {
                    first.insert(vec![conn]);
                    self.load(key);
                }
            }
        }
    }

    /// Asks the driver for a row. Whoever waits for it stands in `loading`.
    pub(super) fn load(&mut self, key: Key) {
        self.stats.loads_total += 1;
        self.requests.push_back(Request::Load(key));
    }

    /// All users of these names are in memory and known. What is missing is asked for, and for the sake of others so are,
    /// once for each frame, users who are here: whether they are must not show in how long a change takes (I13).
    pub(super) fn gather(&mut self, slot: u32, names: &[&str]) -> Result<(), Stop> {
        // In the order in which they are named: the same frames ask for the same rows in the same order.
        let mut missing = Vec::new();
        for &name in names {
            let here = self.directory.find(name).and_then(|user| self.directory.get(user)).is_some_and(|u| u.known);
            let key = Key::User(name.into());
            if here && self.is_answered(slot, &key) {
                continue;
            }
            if here || !self.is_absent(slot, &key) {
                missing.push(key);
            } else if self.config.create_unknown {
                let user = self.directory.intern(name);
                self.create(user);
            } else {
                return Err(Stop::Refuse(codes::UNKNOWN_USER, format!("There is no user {name:?}.").into()));
            }
        }
        if missing.is_empty() {
            return Ok(());
        }
        self.ask_for(slot, missing);
        Err(Stop::Wait)
    }

    fn gathering(&self, slot: u32) -> Option<&Gather> {
        self.conns.session(slot)?.waiting.as_ref()?.gather.as_deref()
    }

    /// Whether the store said, since the connection's first waiting frame came, that it has no such row.
    ///
    /// That holds only as long as a row that somebody else made meanwhile cannot have left memory again. Of a row that cannot
    /// be used it is not known.
    pub(super) fn is_absent(&self, slot: u32, key: &Key) -> bool {
        let answer = self.gathering(slot).and_then(|gather| gather.answered.get(key));
        !self.rows.is_unusable(key) && answer.is_some_and(|&(found, since_s)| !found && self.lasts(since_s))
    }

    fn is_answered(&self, slot: u32, key: &Key) -> bool {
        self.gathering(slot).is_some_and(|gather| gather.answered.contains_key(key))
    }

    /// A row was answered: connections that wait for nothing else have their turn.
    pub(super) fn answer_waiters(&mut self, key: &Key, found: bool) {
        let now_s = self.now_s();
        for conn in self.loading.remove(key).unwrap_or_default() {
            let Some(slot) = self.conns.slot(conn) else { continue };
            let waiting = self.conns.session_mut(slot).and_then(|s| s.waiting.as_mut());
            let Some(gather) = waiting.and_then(|w| w.gather.as_mut()) else { continue };
            if !gather.missing.remove(key) {
                continue;
            }
            gather.answered.insert(key.clone(), (found, now_s));
            let complete = gather.missing.is_empty();
            self.note_use(slot, key);
            if complete {
                self.make_ready(slot);
            }
        }
    }

    /// The frame is done with; what it was told may not hold for the next.
    pub(super) fn gathered(&mut self, slot: u32) {
        if let Some(waiting) = self.conns.session_mut(slot).and_then(|s| s.waiting.as_mut()) {
            waiting.gather = None;
        }
    }
}
