//! Generations of numbers: after a loss, conversations go on above everything that may have been numbered. And the server's time.

use crate::active::Active;
use crate::commit::VERSIONS_AHEAD;
use crate::ids::{ConversationId, GENERATIONS, Position, generation_base, version_base};
use crate::records::{Enter, Record};
use crate::state::State;

/// A conversation in memory of which a device attaches goes on in the generation: before the device acknowledges anything, since
/// it may have had what was lost. `None`: it does already.
pub fn enter(state: &State, active: &Active) -> Option<Vec<Record<'static>>> {
    let (_, enter) = state.next_seq(active.id, active.row.head, active.row.changes);
    enter.map(|enter| vec![Record::Enter(enter)])
}

/// A new generation of numbers begins, above all positions that may have been used: what the log lost may have been told. A lost
/// end of the log may have begun generations itself: `least` is a number that those cannot have, such as the hours since a date.
/// `reflects`: the position that the store reflects, from which on it is held to what the log says.
///
/// `None`: there were as many generations as there can be.
pub fn generation(state: &State, used: Position, least: u32, reflects: Position) -> Option<[Record<'static>; 2]> {
    let number = state.generation.number.saturating_add(1);
    let number = number.max(least.min(GENERATIONS - 1));
    let versions = version_base(number).max(state.versions.last) + VERSIONS_AHEAD;
    let bound = Record::Bound { versions, time_ms: state.time_ms, reflects };
    let begins = Record::Generation { number, position: used.max(state.position) };
    (number < GENERATIONS).then_some([begins, bound])
}

/// The server's time is put right: it goes on at `now_ms`, wherever it was.
pub fn clock(now_ms: u64) -> Record<'static> {
    Record::Clock { time_ms: now_ms, set_s: u32::try_from(now_ms / 1000).unwrap_or(u32::MAX) }
}

impl State {
    /// The number of a conversation's next message; and before its record, if the conversation is not in the generation yet, the
    /// record that it enters, after `change` others.
    pub(crate) fn next_seq(&self, id: ConversationId, head: u64, change: u16) -> (u64, Option<Enter>) {
        let base = generation_base(self.generation.number);
        let version = self.version_for_decision();
        let enter = Enter { conversation: id, change: change.wrapping_add(1), base, version };
        (head.max(base) + 1, (head < base).then_some(enter))
    }
}
