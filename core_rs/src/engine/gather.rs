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
    /// A group, if there is such a one, and all users of these names are in memory and known. The names must not come
    /// from a conversation that may leave memory meanwhile.
    pub(super) fn gather(&mut self, slot: u32, id: &ConversationId, names: &[&str]) -> Result<(), Stop> {
        let mut missing = HashSet::new();
        let key = Key::Conversation(*id);
        if !self.sequencer.has(id) && !self.found_absent(slot, &key) {
            missing.insert(key);
        }
        for &name in names {
            if self.directory.find(name).and_then(|user| self.directory.get(user)).is_some_and(|user| user.known) {
                continue;
            }
            let key = Key::User(name.into());
            if !self.found_absent(slot, &key) {
                missing.insert(key);
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

    fn found_absent(&self, slot: u32, key: &Key) -> bool {
        let waiting = self.conns.session(slot).and_then(|s| s.waiting.as_ref());
        self.absent.contains(key) || waiting.and_then(|w| w.gather.as_ref()).is_some_and(|g| g.absent.contains(key))
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
