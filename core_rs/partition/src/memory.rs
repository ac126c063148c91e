//! How much is in memory, and what of it is idle.

use crate::commit::Owner;
use crate::ids::{ConversationSlot, Position, RowKey, UserSlot};
use crate::state::State;

/// What an image takes, as long as none was written, bytes.
const IMAGE_BYTES: u64 = 200;

impl State {
    /// Rows in memory: of users, devices and conversations.
    pub fn rows_len(&self) -> usize {
        self.conversations_len() + self.users.rows().0 + self.users.rows().1
    }

    /// Undelivered messages of all conversations, and the bytes of their records.
    pub fn pending_totals(&self) -> (u64, u64) {
        self.totals
    }

    /// Bytes of the log that images of the rows in memory take, by the mean of those that were written.
    pub fn image_bytes(&self) -> u64 {
        let (images, bytes) = self.retention.images;
        (self.rows_len() as u64).saturating_mul(bytes.checked_div(images).unwrap_or(IMAGE_BYTES))
    }

    /// A row was used at `used_s`, seconds of a monotonic clock. Nothing happens if it is not in memory.
    pub fn touch(&mut self, key: &RowKey, used_s: u32) {
        if let Some(mark) = self.owner(key).and_then(|owner| self.mark_mut(owner)) {
            mark.used_s = mark.used_s.max(used_s);
        }
    }

    /// Looks at `most` places of the tables, from `from` on, for rows that were not used since `before_s` and that
    /// [`State::rest`] may let go; their keys are appended. Gives where to go on; `None`: these were the last.
    pub fn idle(
        &self,
        from: usize,
        most: usize,
        before_s: u32,
        synced: Position,
        keys: &mut Vec<RowKey>,
    ) -> Option<usize> {
        let conversations = self.conversation_slots();
        let all = conversations + self.users.slots();
        let mut add = |owner: Owner| {
            let idle = self.mark(owner).is_some_and(|mark| mark.used_s < before_s && mark.position <= synced);
            if idle && self.is_idle(owner) {
                keys.extend(self.key(owner));
            }
        };
        for place in (from..all).take(most) {
            if place < conversations {
                add(Owner::Conversation(ConversationSlot::new(place)));
                continue;
            }
            let user = UserSlot::new(place - conversations);
            let Some(entry) = self.users.get(user) else { continue };
            entry.devices.iter().for_each(|device| add(Owner::Device(user, device.id)));
            add(Owner::User(user));
        }
        (from + most < all).then_some(from + most)
    }
}
