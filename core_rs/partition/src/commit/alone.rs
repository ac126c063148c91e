//! The short path of a message alone, which most decisions are: nothing has to stand before it, and nothing follows from it. It
//! ends in the same `apply`, and the crash test gives both paths the same messages.

use super::Committed;
use crate::journal::{Full, Journal, Scratch};
use crate::records::Message;
use crate::state::State;

impl State {
    /// Whether a message takes the short path.
    pub(super) fn is_alone(&self, record: &Message<'_>) -> bool {
        let Some(slots) = record.slots.filter(|_| record.extra.is_none() && record.message.change.is_none()) else {
            return false;
        };
        let device = self.device(slots.user, record.device());
        let ready = device.is_some_and(|device| device.mark.image != 0 && !device.is_seen_due());
        ready
            && self.conversation(slots.conversation).is_some_and(|active| active.mark.image != 0)
            && self.bound_due().is_none()
    }

    /// Commits a message alone.
    pub(super) fn commit_alone(
        &mut self,
        journal: &mut impl Journal,
        scratch: &mut Scratch,
        record: &Message<'_>,
    ) -> Result<Committed, Full> {
        let (position, place) = scratch.append_alone(journal, record)?;
        let mut committed = Committed { position, ..Committed::default() };
        (self.position, self.exact) = (position, position);
        self.apply_message(record, place, position, &mut committed);
        Ok(committed)
    }
}
