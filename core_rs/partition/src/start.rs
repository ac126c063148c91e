//! Builds a state from what recovery found: the rows, and the undelivered messages of each conversation by their places.

use hashbrown::HashMap;

use crate::active::Active;
use crate::commit::Owner;
use crate::entries::{Entries, Entry};
use crate::ids::{ConversationId, DeviceId, Place, RowKey, version_base};
use crate::recover::{Body, Found, Problem, Recovery};
use crate::rest::Stored;
use crate::rows::Conversation;
use crate::state::{State, Versions};
use crate::users::Mark;

impl Recovery {
    /// The state that the log makes. All records were given. `store`: the store holds rows, whatever the log says of them.
    ///
    /// # Errors
    /// Rows that records presume and nothing brought, and undelivered messages that are not in the log. Nothing is begun then.
    pub fn into_state(mut self, store: bool) -> Result<State, Vec<Problem>> {
        self.finish()?;
        let mut state = State::default();
        state.names = std::mem::take(&mut self.names);
        let versions = self.versions.max(version_base(self.generation.number));
        state.versions = Versions { last: versions, bound: versions, durable: versions, ..Versions::default() };
        (state.generation, state.time_ms, state.set_s) = (self.generation, self.time_ms, self.set_s);
        (state.position, state.synced) = (self.position, self.position);
        state.reflects = self.reflects;
        state.retention = std::mem::take(&mut self.retention);
        // Known before users come: what is at rest is not known of them then.
        state.users.store = store || self.has_stored();
        for (name, found) in self.users.drain() {
            match found {
                Found::Active(row, mark) => {
                    let slot = state.put_user(&name, row);
                    put_mark(&mut state, Owner::User(slot), mark);
                }
                found => rests(&mut state, RowKey::User(name), &found),
            }
        }
        for ((name, device), found) in self.devices.drain() {
            match found {
                Found::Active(row, mark) => put_device(&mut state, &name, device, row, mark),
                found => rests(&mut state, RowKey::Device(name, device), &found),
            }
        }
        let mut problems = Vec::new();
        let mut bodies = std::mem::take(&mut self.bodies);
        for (id, found) in self.conversations.drain() {
            match found {
                Found::Active(row, mark) => {
                    let bodies = bodies.get(&id).map_or(&[][..], Vec::as_slice);
                    if let Err(problem) = put_conversation(&mut state, id, row, mark, bodies) {
                        problems.push(problem);
                    }
                }
                found => rests(&mut state, RowKey::Conversation(id), &found),
            }
        }
        for body in bodies.drain().flat_map(|(_, bodies)| bodies) {
            body.release(&mut state.names);
        }
        if problems.is_empty() { Ok(state) } else { Err(problems) }
    }
}

impl Recovery {
    fn has_stored(&self) -> bool {
        fn stored<R>(found: &Found<R>) -> bool {
            matches!(found, Found::Stored { .. })
        }
        self.users.values().any(stored) || self.devices.values().any(stored) || self.conversations.values().any(stored)
    }
}

fn put_device(state: &mut State, name: &str, device: DeviceId, row: crate::rows::Device, mark: Mark) {
    let slot = state.put_device(name, device, row);
    put_mark(state, Owner::Device(slot, device), mark);
}

fn put_mark(state: &mut State, owner: Owner, mark: Mark) {
    state.retention.imaged(owner, Place { segment: mark.image, ..Place::default() });
    if let Some(known) = state.mark_mut(owner) {
        *known = mark;
    }
}

fn rests<R>(state: &mut State, key: RowKey, found: &Found<R>) {
    if let &Found::Stored { position, change, head, segment } = found {
        state.retention.stored(key.clone(), segment);
        state.stored.insert(key, Stored { position, change, head, segment });
    }
}

fn put_conversation(
    state: &mut State,
    id: ConversationId,
    row: Conversation,
    mark: Mark,
    bodies: &[Body],
) -> Result<(), Problem> {
    let slot = state.put_conversation(id, row);
    put_mark(state, Owner::Conversation(slot), mark);
    let Some((active, _)) = state.parts(slot) else { return Ok(()) };
    fill(active, bodies)?;
    let places: Vec<u32> = active.entries.from(0).map(|(_, entry)| entry.place.segment).collect();
    places.into_iter().for_each(|segment| state.note_message(slot, segment));
    state.recount(slot);
    Ok(())
}

/// The messages that some mailbox lacks. Where a record was carried, its last place counts.
fn fill(active: &mut Active, bodies: &[Body]) -> Result<(), Problem> {
    let lowest = active.row.lowest().unwrap_or(active.row.head);
    let by_seq: HashMap<u64, &Body> = bodies.iter().map(|body| (body.seq, body)).collect();
    // Also the messages directly before them, as far as users are not known to have those: their authors are told when they are.
    let known = active.row.known();
    let floor = active.row.floor;
    let mut first = active.row.after(lowest.max(floor - 1));
    let mut before = active.row.before(first);
    while before >= floor && first > known + 1 && by_seq.contains_key(&before) {
        (first, before) = (before, active.row.before(before));
    }
    active.entries = Entries::new(first);
    let mut next = first;
    while next <= active.row.head {
        let seq = next;
        next = active.row.after(seq);
        let lost = active.row.is_lost(seq);
        let entry = match by_seq.get(&seq) {
            Some(body) => {
                let author = active.member(body.author, body.device);
                let device = if body.change { 0 } else { body.device };
                let time_s = u32::try_from(body.time_ms / 1000).unwrap_or(u32::MAX);
                Entry::new(body.place, time_s, author, device, body.withheld)
            }
            None if lost => Entry::new(crate::ids::Place::default(), 0, None, 0, false),
            None => return Err(Problem::NoBody { conversation: active.id, seq }),
        };
        active.entries.push(seq, entry, by_seq.get(&seq).and_then(|body| body.bodies.clone()));
        if lost {
            active.entries.lose(seq, seq);
        }
    }
    active.entries.jump(next);
    active.reindex();
    Ok(())
}
