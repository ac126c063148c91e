//! A frame that wants many rows of the cold store: all are asked for at once, and it is tried again when all are answered.

use std::collections::HashSet;

use super::Engine;
use super::api::Key;
use super::groups::Stop;
use crate::wire::codes;
use crate::wire::types::ConversationId;

/// What the first of a session's waiting frames wants.
#[derive(Debug, Default)]
pub struct Gather {
    /// Not answered yet.
    missing: HashSet<Key>,
    /// Answered: there is none.
    absent: HashSet<Key>,
}

impl Engine {
    /// A conversation, if there is such a one, and all users of these names are in memory and known. What is missing is
    /// asked for, and for the sake of others so are, once for each frame, users who are here: whether they are must not
    /// show in how long a change takes (I13).
    pub(super) fn gather(&mut self, slot: u32, id: &ConversationId, names: &[&str]) -> Result<(), Stop> {
        let asked = self.gathering(slot).is_some();
        // In the order in which they are named: the same frames ask for the same rows in the same order.
        let mut missing = Vec::new();
        let key = Key::Conversation(*id);
        if !self.sequencer.has(id) && !self.found_absent(slot, &key) {
            missing.push(key);
        }
        for &name in names {
            let here = self.directory.find(name).and_then(|user| self.directory.get(user)).is_some_and(|u| u.known);
            if here && asked {
                continue;
            }
            let key = Key::User(name.into());
            if here || !self.found_absent(slot, &key) {
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
        missing.iter().for_each(|key| self.load(key.clone(), slot));
        if let Some(session) = self.conns.session_mut(slot) {
            let gather = session.waiting.get_or_insert_default().gather.get_or_insert_default();
            gather.missing.extend(missing);
        }
        Err(Stop::Wait)
    }

    fn gathering(&self, slot: u32) -> Option<&Gather> {
        self.conns.session(slot)?.waiting.as_ref()?.gather.as_deref()
    }

    fn found_absent(&self, slot: u32, key: &Key) -> bool {
        self.absent.contains(key) || self.gathering(slot).is_some_and(|gather| gather.absent.contains(key))
    }

    /// A row was answered; whether the session's first frame goes on waiting for others.
    pub(super) fn gathers(&mut self, slot: u32, key: &Key, found: bool) -> bool {
        let waiting = self.conns.session_mut(slot).and_then(|s| s.waiting.as_mut());
        let Some(gather) = waiting.and_then(|w| w.gather.as_mut()) else { return false };
        if gather.missing.remove(key) && !found {
            gather.absent.insert(key.clone());
        }
        !gather.missing.is_empty()
    }

    /// The frame is done with; what it was told may not hold for the next.
    pub(super) fn gathered(&mut self, slot: u32) {
        if let Some(waiting) = self.conns.session_mut(slot).and_then(|s| s.waiting.as_mut()) {
            waiting.gather = None;
        }
    }
}
