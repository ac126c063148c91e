//! Rows that a session names: its first use of one makes the store's trip, whatever is in memory (I13).
//!
//! Whether a user or a conversation is in memory depends on what others do, so it must not show in how long an answer
//! takes. A session that names a row for the first time waits for the store also when the row is here. It remembers the
//! use for `quiet_ms` at most, and a row that was asked for stays in memory for at least as long: a use that is
//! remembered never makes a trip, whether the row is here or there is none.

use std::hash::BuildHasher;

use hashbrown::HashMap;
use smallvec::SmallVec;

use super::Engine;
use super::api::Key;
use super::conns::Stage;
use super::frames::Handled;
use super::session::Session;
use crate::wire::types::ConversationId;

/// Uses remembered for one session. At more it forgets all of them, and makes those trips again.
pub const USES: usize = 1024;

/// A row, by its name.
#[derive(Clone, Copy, Hash)]
pub(super) enum Row<'a> {
    User(&'a str),
    Conversation(&'a ConversationId),
}

impl Row<'_> {
    fn key(self) -> Key {
        match self {
            Self::User(name) => Key::User(name.into()),
            Self::Conversation(id) => Key::Conversation(*id),
        }
    }
}

impl<'a> From<&'a Key> for Row<'a> {
    fn from(key: &'a Key) -> Self {
        match key {
            Key::User(name) => Self::User(name),
            Key::Conversation(id) => Self::Conversation(id),
        }
    }
}

/// What a session used lately.
#[derive(Debug, Default)]
pub struct Uses {
    /// By the row's hash: when the store answered, seconds of the monotonic clock.
    answered_s: HashMap<u64, u32>,
}

impl Engine {
    /// The present second of the monotonic clock, as marks of rows count it.
    pub(super) fn now_s(&self) -> u32 {
        (self.clock.mono_ms() / 1000) as u32
    }

    /// Whether a row that was in memory in this second, and touched, cannot have left it since.
    pub(super) fn lasts(&self, since_s: u32) -> bool {
        u64::from(self.now_s().saturating_sub(since_s)) * 1000 < self.config.quiet_ms.max(1)
    }

    /// When the store answered a session about a row, if the session need not ask again.
    fn used(&self, slot: u32, row: Row<'_>) -> Option<u32> {
        let uses = self.conns.session(slot)?.uses.as_ref()?;
        uses.answered_s.get(&self.hasher.hash_one(row)).copied().filter(|&since_s| self.lasts(since_s))
    }

    /// The store answered a session about a row.
    pub(super) fn note_use(&mut self, slot: u32, key: &Key) {
        let (hash, now_s) = (self.hasher.hash_one(Row::from(key)), self.now_s());
        // Of its own row, which a hello waits for, a session makes no use that others could see.
        let ready = self.conns.get(slot).is_some_and(|conn| conn.stage == Stage::Ready);
        let Some(session) = self.conns.session_mut(slot).filter(|_| ready) else { return };
        let uses = session.uses.get_or_insert_default();
        if uses.answered_s.len() >= USES {
            uses.answered_s.clear();
        }
        uses.answered_s.insert(hash, now_s);
    }

    /// A session uses rows. Blocked: it has not done so lately, and waits for the store. Otherwise, the second in which
    /// the first of them was answered.
    pub(super) fn use_rows(&mut self, slot: u32, rows: &[Row<'_>]) -> Result<u32, Handled> {
        if self.rows.are_damaged() && rows.iter().any(|row| self.rows.is_unusable(&row.key())) {
            self.rows.wanted = true;
            return Err(Handled::Blocked);
        }
        let mut since_s = self.now_s();
        let mut unused: SmallVec<[Key; 2]> = SmallVec::new();
        for &row in rows {
            match self.used(slot, row) {
                Some(used_s) => since_s = since_s.min(used_s),
                None => unused.push(row.key()),
            }
        }
        if unused.is_empty() {
            return Ok(since_s);
        }
        self.ask_for(slot, unused);
        Err(Handled::Blocked)
    }

    /// A user by name, in memory and known; `None`: there is none.
    pub(super) fn need_user(&mut self, slot: u32, name: &str) -> Result<Option<u32>, Handled> {
        self.use_rows(slot, &[Row::User(name)])?;
        self.find_user(slot, name)
    }

    /// The same, of a user whom the session has used.
    pub(super) fn find_user(&mut self, slot: u32, name: &str) -> Result<Option<u32>, Handled> {
        if let Some(user) = self.directory.find(name)
            && self.directory.get(user).is_some_and(|u| u.known)
        {
            return Ok(Some(user));
        }
        let key = Key::User(name.into());
        if !self.is_absent(slot, &key) {
            self.ask_for(slot, [key]);
            return Err(Handled::Blocked);
        }
        if !self.config.create_unknown {
            return Ok(None);
        }
        let user = self.directory.intern(name);
        self.create(user);
        Ok(Some(user))
    }

    /// Whether a conversation that a session names by its id is the session's own: if so, it is in memory. To a session
    /// whose it is not, the one that exists looks like the one that does not (I8).
    pub(super) fn need_own(&mut self, slot: u32, id: &ConversationId) -> Result<bool, Handled> {
        self.use_rows(slot, &[Row::Conversation(id)])?;
        Ok(self.conns.session(slot).map(Session::mailbox).is_some_and(|mailbox| self.is_own(mailbox, id)))
    }

    /// Whether a mailbox has, or had, a part in a conversation that is in memory.
    pub(super) fn is_own(&self, (user, device): (u32, u16), id: &ConversationId) -> bool {
        let writers = self.sequencer.writers(id).unwrap_or_default();
        writers.iter().any(|w| w.user == user && (w.device == 0 || w.device == device))
            || self.sequencer.group(id).is_some_and(|group| group.role(user).is_some())
            || self.delivery.find(id).and_then(|place| self.delivery.get(place)?.member(user, device)).is_some()
    }

    /// Whether a user's own row says that it is in a group, or its leaving is not to be seen yet: known without a look
    /// at the group.
    pub(super) fn lists_group(&self, user: u32, id: &ConversationId) -> bool {
        let listed = self.directory.get(user).is_some_and(|user| user.groups.contains(id));
        let seen = || self.delivery.find(id).and_then(|place| self.delivery.get(place)?.group.as_deref());
        listed || seen().is_some_and(|group| group.role(user).is_some())
    }

    /// The other user of a conversation of two that is in memory is known; a group's are not looked at.
    pub(super) fn need_writers(&mut self, slot: u32, id: &ConversationId) -> Result<u32, Handled> {
        let writers = self.sequencer.writers(id).unwrap_or_default();
        let me = self.conns.session(slot).map_or(u32::MAX, |session| session.user);
        let users: SmallVec<[u32; 2]> = writers.iter().map(|writer| writer.user).filter(|&user| user != me).collect();
        let names: SmallVec<[_; 2]> =
            users.iter().filter_map(|&user| Some(self.directory.get(user)?.name.clone())).collect();
        let rows: SmallVec<[Row<'_>; 2]> = names.iter().map(|name| Row::User(name)).collect();
        let since_s = self.use_rows(slot, &rows)?;
        for (user, name) in users.into_iter().zip(&names) {
            if self.find_user(slot, name)?.is_none() {
                // Its row is gone, but a conversation knows it.
                self.revive(user);
            }
        }
        Ok(since_s)
    }
}
