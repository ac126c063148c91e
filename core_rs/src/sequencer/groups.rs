//! Groups as their numbered changes made them: by these the next send and the next change are judged.
//!
//! They run ahead of what may be seen, by the changes that are on their way to the disk.

use std::collections::VecDeque;

use super::{Refusal, Sequencer};
use crate::group::{Change, Group, Moved};
use crate::wire::types::ConversationId;

/// A change that has a number and is not to be seen yet.
#[derive(Clone, Debug, PartialEq)]
pub struct Flying {
    /// Its number.
    pub seq: u64,
    /// Who made it.
    pub actor: u32,
    /// What it does.
    pub change: Change,
    /// Length of its record, bytes.
    pub bytes: u32,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Numbered {
    /// With all numbered changes.
    pub group: Group,
    /// Those of them that are not to be seen yet, in order.
    pub flying: VecDeque<Flying>,
}

impl Numbered {
    /// Whether a user may send here.
    pub(super) fn admit(&self, user: u32) -> Result<(), Refusal> {
        match self.group.role(user) {
            None => Err(Refusal::Unknown),
            Some(_) if self.group.may_post(user) => Ok(()),
            Some(_) => Err(Refusal::Forbidden),
        }
    }
}

impl Sequencer {
    /// Takes a group in: its state with all numbered changes, and as [`Sequencer::load`].
    pub fn load_group(&mut self, id: ConversationId, group: Group, head: u64, first: u64, bytes: u64) {
        self.load(id, Default::default(), head, first, bytes);
        if let Some(conversation) = self.conversations.get_mut(&id) {
            conversation.group = Some(Box::new(Numbered { group, flying: VecDeque::new() }));
        }
    }

    /// A group in memory, with all numbered changes.
    pub fn group(&self, id: &ConversationId) -> Option<&Group> {
        self.numbered(id).map(|numbered| &numbered.group)
    }

    /// Its changes that are not to be seen yet.
    pub fn flying(&self, id: &ConversationId) -> impl Iterator<Item = &Flying> {
        self.numbered(id).into_iter().flat_map(|numbered| &numbered.flying)
    }

    /// Takes the next number of a group for a change that was decided. The change is done by [`Sequencer::change`], once
    /// it is in the log.
    pub fn number_change(&mut self, id: &ConversationId) -> Option<u64> {
        let conversation = self.conversations.get_mut(id).filter(|c| c.group.is_some())?;
        conversation.head += 1;
        Some(conversation.head)
    }

    /// A numbered change is in the log.
    pub fn change(&mut self, id: &ConversationId, change: Flying) -> Moved {
        let Some(numbered) = self.conversations.get_mut(id).and_then(|c| c.group.as_mut()) else {
            return Moved::default();
        };
        let moved = numbered.group.apply(change.seq, change.actor, &change.change);
        numbered.flying.push_back(change);
        moved
    }

    /// A change may be seen.
    pub fn landed(&mut self, id: &ConversationId, seq: u64) {
        if let Some(numbered) = self.conversations.get_mut(id).and_then(|c| c.group.as_mut()) {
            while numbered.flying.front().is_some_and(|flying| flying.seq <= seq) {
                numbered.flying.pop_front();
            }
            if numbered.flying.is_empty() {
                numbered.flying = VecDeque::new();
            }
        }
    }

    fn numbered(&self, id: &ConversationId) -> Option<&Numbered> {
        self.conversations.get(id)?.group.as_deref()
    }
}
