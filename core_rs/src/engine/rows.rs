//! Rows of the cold store: what makes a row unusable, and what is known of rows that must be there.
//!
//! A row that is damaged, missing or older than the log says is never taken for one that does not exist: whose conversation
//! it is would be numbered from 1 again (I2). Frames that need it are refused until an operator has put it right and the
//! router is started again.
//!
//! What is not known: whether a row is missing of which neither the retained log nor a row in memory tells, such as that of
//! a direct conversation whose last record was trimmed; and whether a row is older than one that was stored since.

use std::collections::{HashMap, HashSet};

use compact_str::CompactString;
use crc32fast::Hasher;

use super::Engine;
use super::api::Key;
use super::binary::Reader;
use super::replay::Replay;
use crate::delivery::conversation::Conversation;
use crate::wire::types::ConversationId;

/// Length of a row's checksum, bytes.
const CHECKSUM: usize = 4;

/// A state as it is stored: behind a checksum of it and of whose it is, the lowest byte first.
pub(super) fn seal(key: &Key, state: &[u8]) -> Vec<u8> {
    let mut row = checksum(key, state).to_le_bytes().to_vec();
    row.extend_from_slice(state);
    row
}

/// The state in a row, if it is as it was stored.
pub(super) fn open<'a>(key: &Key, row: &'a [u8]) -> Option<&'a [u8]> {
    let (sum, state) = row.split_first_chunk::<CHECKSUM>()?;
    (u32::from_le_bytes(*sum) == checksum(key, state)).then_some(state)
}

fn checksum(key: &Key, state: &[u8]) -> u32 {
    let mut hasher = Hasher::new();
    hasher.update(match key {
        Key::User(name) => name.as_bytes(),
        Key::Conversation(id) => id,
    });
    hasher.update(state);
    hasher.finalize()
}

/// See the module.
#[derive(Default)]
pub(super) struct Rows {
    /// What cannot be served.
    unusable: HashSet<Key>,
    /// Conversations that the log mentions and has no state of: a number at least as high was given.
    heads: HashMap<ConversationId, u64>,
    /// Users whose messages are in the log, and not their states.
    users: HashSet<CompactString>,
    /// The log was damaged, now or before: what is missing may have been lost then, and is made anew as far as it goes.
    pub doubtful: bool,
    /// A frame that is being handled wants such a row.
    pub wanted: bool,
}

impl Rows {
    /// Whether any row is.
    pub fn are_damaged(&self) -> bool {
        !self.unusable.is_empty()
    }

    pub fn is_unusable(&self, key: &Key) -> bool {
        self.unusable.contains(key)
    }
}

impl Engine {
    /// The log is read, and was never damaged: what it mentions and does not know is in the cold store.
    pub(super) fn expect_rows(&mut self, replay: Replay) {
        for (id, orphans) in replay.orphans {
            let head = replay.heads.get(&id).copied().unwrap_or(0);
            let head = orphans.iter().map(|orphan| orphan.seq).fold(head, u64::max);
            self.rows.heads.insert(id, head);
            let stranger = |name: &str| {
                let user = self.directory.find(name).and_then(|user| self.directory.get(user));
                user.is_none_or(|user| !user.known)
            };
            let senders = orphans.iter().map(|orphan| &*orphan.sender).filter(|name| stranger(name));
            self.rows.users.extend(senders.map(CompactString::from));
        }
        for (id, head) in replay.heads {
            if head > 0 && self.delivery.find(&id).is_none() {
                let known = self.rows.heads.entry(id).or_default();
                *known = head.max(*known);
            }
        }
    }

    /// The log mentions a conversation.
    #[cfg(test)]
    pub(super) fn expect_row(&mut self, id: ConversationId, head: u64) {
        self.rows.heads.insert(id, head);
    }

    /// The state in an answer of the cold store, if there is one and it can be right. If the answer cannot be right, the row is
    /// unusable from now on.
    pub(super) fn judge_row<'a>(&mut self, key: &Key, row: Option<&'a [u8]>) -> Option<&'a [u8]> {
        // An empty row is that of a user who never connected.
        let state = row.map(|row| if row.is_empty() { Some(row) } else { open(key, row) });
        let wrong = match state {
            Some(Some(state)) => self.contradiction(key, true, conversation_head(key, state)),
            Some(None) => Some("is damaged"),
            None => self.contradiction(key, false, 0),
        };
        if let Some(why) = wrong {
            self.set_unusable(key, why);
        }
        state.flatten().filter(|_| wrong.is_none())
    }

    /// Why an answer of the cold store cannot be right, if so. `head` is that of the conversation that came, 0: none came.
    fn contradiction(&self, key: &Key, found: bool, head: u64) -> Option<&'static str> {
        if self.rows.doubtful {
            // Nothing is certain then: see `estranged`.
            return None;
        }
        match key {
            Key::Conversation(id) if self.rows.heads.get(id).is_some_and(|known| *known > head) => Some(match found {
                true => "is older than the log",
                false => "is missing, though the log mentions it",
            }),
            Key::User(name) if !found && self.rows.users.contains(&**name) => {
                Some("is missing, though the log mentions it")
            }
            // A power loss may have taken a user whose conversation was stored.
            Key::User(name) if !found && !self.config.unsynced => {
                let user = self.directory.find(name).and_then(|user| self.directory.get(user));
                let member = user.is_some_and(|user| !user.known && !user.conversations.is_empty());
                member.then_some("is missing, though a conversation has this member")
            }
            Key::Conversation(_) | Key::User(_) => None,
        }
    }

    /// A row is not what it must be: it is not served before the next start.
    pub(super) fn set_unusable(&mut self, key: &Key, why: &str) {
        if self.rows.unusable.insert(key.clone()) {
            let advice = "restore the cold store from a copy; what needs this row is refused until then";
            self.alarm("cold_row_damaged", format!("A row of the cold store {why}: {key:?}; {advice}."));
        }
    }
}

/// The last number in a conversation's state; 0 for anything else.
fn conversation_head(key: &Key, state: &[u8]) -> u64 {
    match key {
        Key::Conversation(_) => Conversation::head_in(&mut Reader::new(state)).unwrap_or(0),
        Key::User(_) => 0,
    }
}
