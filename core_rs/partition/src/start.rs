//! Builds a state from what recovery found: the rows, and the undelivered messages of each conversation by their places.

use std::hash::Hash;

use hashbrown::{HashMap, HashSet};

use crate::active::Active;
use crate::apply;
use crate::commit::Owner;
use crate::entries::{Entries, Entry};
use crate::ids::{ConversationId, GENERATIONS, Place, RowKey, VERSION_SHIFT, version_base};
use crate::records::Lost;
use crate::recover::{Body, Found, Problem, Recovery};
use crate::rest::Stored;
use crate::rows::Conversation;
use crate::state::{State, Versions};
use crate::suspects::{AtRest, Findings};
use crate::users::Mark;

/// Most messages of one conversation that are missing, and noted as lost one by one; one that lacks more is given up.
const MAX_MISSING: usize = 1 << 20;

impl Recovery {
    /// The state that the log makes. All records were given. `store`: the store holds rows, whatever the log says of them.
    ///
    /// # Errors
    /// What does not fit. Nothing is begun then.
    pub fn into_state(self, store: bool) -> Result<State, Box<Findings>> {
        let (state, findings) = self.resolve(store, false, 0, &mut |_| None);
        if findings.is_empty() { Ok(state) } else { Err(Box::new(findings)) }
    }

    /// The same, and what a salvage would make of what does not fit: if there is anything, the caller begins nothing, or commits
    /// [`Findings::decisions`] and a generation. `damaged`: the store or a part of the log is lost, so that rows may be missing
    /// of which nothing tells. `least`: as of [`propose::generation`](crate::propose::generation). `at_rest` is asked only if something
    /// does not fit.
    pub fn resolve(mut self, store: bool, damaged: bool, least: u32, at_rest: AtRest<'_>) -> (State, Findings) {
        let findings = std::mem::take(&mut self.findings);
        let mut start = Start { state: State::default(), findings, version: 0 };
        let state = &mut start.state;
        state.names = std::mem::take(&mut self.names);
        // A bound tells of a generation whose record is lost.
        self.generation.number = self
            .generation
            .number
            .max(u32::try_from(self.versions >> VERSION_SHIFT).map_or(0, |number| number.min(GENERATIONS - 1)));
        let versions = self.versions.max(version_base(self.generation.number));
        state.versions = Versions { last: versions, bound: versions, durable: versions, ..Versions::default() };
        start.version = version_base(least.max(self.generation.number + 1).min(GENERATIONS - 1));
        let state = &mut start.state;
        (state.generation, state.time_ms, state.set_s) = (self.generation, self.time_ms, self.set_s);
        (state.position, state.exact, state.synced) = (self.position, self.position, self.position);
        state.reflects = self.reflects;
        state.retention = std::mem::take(&mut self.retention);
        // Known before users come: what is at rest is not known of them then.
        state.users.store = store || self.has_stored();
        for (name, found) in in_order(self.users) {
            if let Some((row, mark)) = start.found(RowKey::User(name.clone()), found) {
                let slot = start.state.put_user(&name, row);
                put_mark(&mut start.state, Owner::User(slot), mark);
            }
        }
        for ((name, device), found) in in_order(self.devices) {
            if let Some((row, mark)) = start.found(RowKey::Device(name.clone(), device), found) {
                let slot = start.state.put_device(&name, device, row);
                put_mark(&mut start.state, Owner::Device(slot, device), mark);
            }
        }
        let bodies = self.bodies;
        for (id, found) in in_order(self.conversations) {
            let bodies = bodies.get(&id).map_or(&[][..], Vec::as_slice);
            let gone = start.findings.gone.len();
            match start.found(RowKey::Conversation(id), found) {
                Some((row, mark)) => start.put_conversation(id, row, mark, bodies),
                None if start.findings.gone.len() > gone => start.findings.cost.messages += above(bodies, 0),
                None => {}
            }
        }
        for body in in_order(bodies).flat_map(|(_, bodies)| bodies) {
            body.release(&mut start.state.names);
        }
        if damaged || !start.findings.is_empty() {
            start.salvage(at_rest);
        }
        (start.state, start.findings)
    }

    fn has_stored(&self) -> bool {
        fn stored<R>(found: &Found<R>) -> bool {
            matches!(found, Found::Stored { .. })
        }
        self.users.values().any(stored) || self.devices.values().any(stored) || self.conversations.values().any(stored)
    }
}

/// What a map has, in the order of its keys: slots are given in the same order by every start.
fn in_order<K: Clone + Ord + Hash, V>(mut map: HashMap<K, V>) -> impl Iterator<Item = (K, V)> {
    let mut keys: Vec<K> = map.keys().cloned().collect();
    keys.sort_unstable();
    keys.into_iter().filter_map(move |key| map.remove_entry(&key))
}

/// A start under way.
pub(crate) struct Start {
    pub state: State,
    pub findings: Findings,
    /// Receipt version of the skips that a salvage notes: of the generation that it begins.
    pub version: u64,
}

impl Start {
    /// What a row is: as the log left it, if it is active.
    fn found<R>(&mut self, key: RowKey, found: Found<R>) -> Option<(R, Mark)> {
        let suspect = !self.findings.rows.is_empty() && self.findings.rows.contains_key(&key);
        match found {
            Found::Active(row, mark) | Found::Broken(row, mark) => {
                if suspect {
                    self.findings.set_back(key);
                }
                Some((row, mark))
            }
            Found::Before => {
                self.findings.note(Problem::NoImage(key.clone()));
                self.findings.give_up(key);
                None
            }
            Found::Stored { position, change, head, segment } => {
                self.state.retention.stored(key.clone(), segment);
                self.state.stored.insert(key, Stored { position, change, head, segment });
                None
            }
        }
    }

    fn put_conversation(&mut self, id: ConversationId, row: Conversation, mark: Mark, bodies: &[Body]) {
        let broken = !self.findings.rows.is_empty() && self.findings.rows.contains_key(&RowKey::Conversation(id));
        let version = self.version;
        let slot = self.state.put_conversation(id, row);
        put_mark(&mut self.state, Owner::Conversation(slot), mark);
        let Some((active, _)) = self.state.parts(slot) else { return };
        if broken {
            self.findings.cost.messages += above(bodies, active.row.head);
        }
        let missing = fill(active, bodies);
        let first = active.entries.first();
        let seq = missing.as_ref().map_or(Some(first), |ranges| Some(ranges.first()?.0));
        if let Some(seq) = seq {
            self.findings.note(Problem::NoBody { conversation: id, seq });
        }
        match missing {
            Some(ranges) if ranges.is_empty() => {}
            Some(ranges) => {
                self.findings.cost.messages += ranges.iter().map(|(from, to)| to - from + 1).sum::<u64>();
                let change = active.row.changes.wrapping_add(1);
                let lost = Lost { conversation: id, change, ranges, version, lacked: Vec::new() };
                apply::conversation::lost(&mut active.row, &lost);
                self.findings.set_back(RowKey::Conversation(id));
            }
            None => {
                self.findings.cost.messages += above(bodies, 0);
                self.state.remove_conversation(slot);
                return self.findings.give_up(RowKey::Conversation(id));
            }
        }
        let places: Vec<u32> = active.entries.from(0).map(|(_, entry)| entry.place.segment).collect();
        places.into_iter().filter(|&segment| segment != 0).for_each(|segment| self.state.note_message(slot, segment));
        self.state.recount(slot);
    }
}

fn put_mark(state: &mut State, owner: Owner, mark: Mark) {
    state.retention.imaged(owner, Place { segment: mark.image, ..Place::default() });
    if let Some(known) = state.mark_mut(owner) {
        *known = mark;
    }
}

/// How many messages have numbers above this.
fn above(bodies: &[Body], head: u64) -> u64 {
    bodies.iter().map(|body| body.seq).filter(|seq| *seq > head).collect::<HashSet<u64>>().len() as u64
}

/// The messages that some mailbox lacks. Where a record was carried, its last place counts. Gives the numbers of those that are
/// not in the log, as ranges; `None`: they are too many.
fn fill(active: &mut Active, bodies: &[Body]) -> Option<Vec<(u64, u64)>> {
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
    let (mut missing, mut without): (Vec<(u64, u64)>, usize) = (Vec::new(), 0);
    let mut next = first;
    while next <= active.row.head {
        let seq = next;
        next = active.row.after(seq);
        let (lost, body) = (active.row.is_lost(seq), by_seq.get(&seq));
        let entry = match body {
            Some(body) => {
                let author = active.member(body.author, body.device);
                let device = if body.change { 0 } else { body.device };
                let time_s = u32::try_from(body.time_ms / 1000).unwrap_or(u32::MAX);
                Entry::new(body.place, time_s, author, device, body.withheld)
            }
            None => {
                without += 1;
                match missing.last_mut() {
                    _ if lost => {}
                    Some(last) if last.1 + 1 == seq => last.1 = seq,
                    _ => missing.push((seq, seq)),
                }
                Entry::new(Place::default(), 0, None, 0, false)
            }
        };
        if without > MAX_MISSING {
            return None;
        }
        active.entries.push(seq, entry, body.and_then(|body| body.bodies.clone()));
        if lost {
            active.entries.lose(seq, seq);
        }
    }
    active.entries.jump(next);
    active.reindex();
    Some(missing)
}
