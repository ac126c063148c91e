//! Which conversations a user has. The store keeps an index: a row for each user and conversation, whose value says what the
//! conversation is and whether the user is a member now.
//!
//! # Rules
//! - An index row is written in the batch of its conversation, for users who came or went since the store had that last. So for
//!   a conversation at rest the index is exact, but for places that were freed before a restart: there a row may be left over,
//!   which costs its user one more load and one place among its groups.
//! - A command that names a conversation by its id asks for the index row of its own user first. Only if there is one, the
//!   conversation is loaded: to others it makes no difference whether a conversation exists (I8, I13).
//! - A conversation in memory answers for itself; the index is not asked.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use compact_str::CompactString;
use hashbrown::HashMap;
use smallvec::SmallVec;
use wire::codes;

use crate::active::Active;
use crate::ids::{ConversationId, ConversationSlot, RowKey, UserSlot};
use crate::names::Names;
use crate::propose::{Decided, Stop, refuse, wait};
use crate::rows::{Conversation, Kind};
use crate::state::State;

/// Set in an index row's value: the user is no member now.
const LEFT: u8 = 0x80;
/// Most answers of the store about rows that are not in memory; half of them are forgotten at once, the older half.
const MAX_ANSWERS: usize = 1 << 16;
/// Most users whose index rows are noted one by one; above it all members' are written, and others may be left over.
pub(crate) const MAX_NOTED: usize = 4096;

/// What the store said of a row that is not in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Said {
    /// There is none.
    Absent,
    /// There is one: of an index row, which is nothing but that.
    There,
    /// There is one that cannot be used: see [`Misfit`](crate::rest::Misfit).
    Unusable,
}

/// The latest answers of the store. An answer is known until at least 32,768 others came.
#[derive(Debug, Default)]
pub struct Answers {
    young: HashMap<RowKey, Said>,
    old: HashMap<RowKey, Said>,
}

impl Answers {
    pub(crate) fn put(&mut self, key: RowKey, said: Said) {
        if self.young.len() >= MAX_ANSWERS / 2 {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(key, said);
    }

    pub(crate) fn get(&self, key: &RowKey) -> Option<Said> {
        self.young.get(key).or_else(|| self.old.get(key)).copied()
    }

    pub(crate) fn remove(&mut self, key: &RowKey) {
        self.young.remove(key);
        self.old.remove(key);
    }
}

/// What the store has of a conversation in memory.
#[derive(Debug)]
pub struct InStore {
    /// Receipts up to this version are noted with the devices that they are for, or those have them.
    pub(crate) settled: u64,
    /// Nothing is known of the index: every member's row is written.
    all: bool,
    /// Users whose index rows are to be written: they came or went, or their places are free.
    users: BTreeSet<CompactString>,
}

impl InStore {
    /// Of a conversation that is new, or that a start found in the log.
    pub(crate) fn unknown() -> Self {
        Self { settled: 0, all: true, users: BTreeSet::new() }
    }

    /// Of a conversation that was loaded.
    pub(crate) fn loaded(row: &Conversation) -> Self {
        let versions = row.iter().map(|(_, member)| member.version.max(member.read_version).max(member.owed));
        Self { settled: versions.max().unwrap_or(0), all: false, users: BTreeSet::new() }
    }

    /// A user came or went; `gone`: its place is free.
    pub(crate) fn note(&mut self, user: &str, gone: bool) {
        if self.all && !gone {
            return;
        }
        self.users.insert(user.into());
        if self.users.len() > MAX_NOTED {
            self.all = true;
            self.users.pop_first();
        }
    }

    /// The index rows that the store lacks; `None`: the row is to be removed.
    pub(crate) fn rows(&self, active: &Active, names: &Names) -> Vec<(RowKey, Option<Vec<u8>>)> {
        let mut rows = BTreeMap::new();
        let mut add = |user: &str| {
            let members = names.find(user).into_iter().flat_map(|slot| active.places(slot));
            let current = members.filter_map(|index| Some(active.row.member(index)?.is_current()));
            let value = current.reduce(|a, b| a || b).map(|c| vec![active.row.kind as u8 | if c { 0 } else { LEFT }]);
            rows.insert(RowKey::member(user, &active.id), value);
        };
        self.users.iter().for_each(|user| add(user));
        if self.all {
            active.row.iter().for_each(|(_, member)| add(names.text(member.user)));
        }
        rows.into_iter().collect()
    }
}

/// Groups at rest of which a user is a member now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Resting {
    /// The index was not read.
    Unknown,
    /// It is being read: what it said, and of groups that went to rest meanwhile what they say.
    Reading(BTreeMap<ConversationId, bool>),
    /// These.
    Known(BTreeSet<ConversationId>),
}

impl State {
    /// A conversation that is not in memory is named by a command of a user.
    ///
    /// # Errors
    /// Always: the user's index row or the conversation is needed, or there is none for this user.
    pub(crate) fn not_in_memory<T>(&self, user: &str, id: &ConversationId) -> Decided<T> {
        let (mine, row) = (RowKey::member(user, id), RowKey::Conversation(*id));
        match self.answers.get(&mine) {
            None if self.users.store => wait(mine),
            // Both are written together: one without the other is damage, and nothing is concluded from it.
            Some(Said::There) if self.is_absent(&row) => refuse(codes::UNAVAILABLE),
            Some(Said::There) => wait(row),
            Some(Said::Unusable) => refuse(codes::UNAVAILABLE),
            Some(Said::Absent) | None => refuse(codes::UNKNOWN_CONVERSATION),
        }
    }

    /// How many groups a user is a member of.
    pub(crate) fn need_groups(&self, user: UserSlot) -> Decided<usize> {
        let entry = self.users.get(user);
        match entry.map(|entry| (entry.groups.len(), &entry.resting)) {
            Some((groups, Resting::Known(resting))) => Ok(groups + resting.len()),
            _ => Err(Stop::Index(self.names.text(user).into())),
        }
    }

    /// The index rows of a user are about to be read, from the first on.
    pub fn index_begin(&mut self, user: &str) {
        if let Some(entry) = self.names.find(user).map(|slot| self.users.entry(slot))
            && entry.resting == Resting::Unknown
        {
            entry.resting = Resting::Reading(BTreeMap::new());
        }
    }

    /// The next of them: conversations and values, in order; `last`: there are no more.
    pub fn index_page(&mut self, user: &str, rows: &[(ConversationId, u8)], last: bool) {
        let Some(slot) = self.names.find(user) else { return };
        let Some(entry) = self.users.get_mut(slot) else { return };
        let Resting::Reading(found) = &mut entry.resting else { return };
        for &(id, value) in rows.iter().filter(|(_, value)| value & !LEFT == Kind::Group as u8) {
            found.entry(id).or_insert(value & LEFT == 0);
        }
        if last {
            let found = std::mem::take(found);
            let resting = found.into_iter().filter(|(id, member)| *member && self.find(id).is_none());
            let resting = Resting::Known(resting.map(|(id, _)| id).collect());
            self.users.entry(slot).resting = resting;
        }
    }

    /// A conversation goes to rest, or comes back from it.
    pub(crate) fn note_resting(&mut self, slot: ConversationSlot, rests: bool) {
        let Some(active) = self.conversation(slot).filter(|active| active.row.kind == Kind::Group) else { return };
        let (id, members) = (active.id, active.row.iter().map(|(_, member)| (member.user, member.is_current())));
        for (user, current) in members.collect::<Vec<_>>() {
            match &mut self.users.entry(user).resting {
                Resting::Known(resting) if rests && current => drop(resting.insert(id)),
                Resting::Known(resting) => drop(resting.remove(&id)),
                Resting::Reading(found) if rests => drop(found.insert(id, current)),
                Resting::Reading(_) | Resting::Unknown => {}
            }
        }
    }
}

/// A pass over all conversations of a user: those in memory, then those that the index names. Rows are loaded a few at a time,
/// and given back before the next ones are.
///
/// It meets every conversation that the user had when it began, if none of those that it has yet to meet can go to rest.
#[derive(Debug, Default)]
pub struct Walk {
    stage: Stage,
    /// Those of the page that were loaded for it, and are to be given back.
    loaded: Vec<ConversationId>,
    /// Conversations that were passed over, because their rows cannot be used.
    pub missed: u32,
}

#[derive(Debug)]
enum Stage {
    Memory(Option<ConversationSlot>),
    Index(Option<ConversationId>),
    Page { ids: Vec<ConversationId>, next: usize, asked: usize, last: bool },
    Done,
}

impl Default for Stage {
    fn default() -> Self {
        Self::Memory(None)
    }
}

/// Where a [`Walk`] is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// At a conversation; [`Walk::pass`] goes on.
    At(ConversationSlot),
    /// The user's index rows behind this conversation are needed, at most 1,024: [`Walk::page`].
    Page(Option<ConversationId>),
    /// These rows are needed, or that they are absent or cannot be used.
    Rows(SmallVec<[RowKey; 2]>),
    /// Conversations were loaded for the walk and can rest: [`Walk::give_back`].
    Rest,
    /// At the end.
    Done,
}

impl Walk {
    /// Where it is. `loads`: at most so many rows are asked for at once.
    pub fn step(&mut self, state: &State, user: UserSlot, loads: usize) -> Step {
        loop {
            match &mut self.stage {
                Stage::Memory(after) => {
                    let behind = after.map_or(Bound::Unbounded, Bound::Excluded);
                    let mine = state.users.get(user).map(|entry| &entry.conversations);
                    match mine.and_then(|all| all.range((behind, Bound::Unbounded)).next()) {
                        Some(&slot) => return Step::At(slot),
                        None if state.users.store => self.stage = Stage::Index(None),
                        None => self.stage = Stage::Done,
                    }
                }
                Stage::Index(after) => return Step::Page(*after),
                Stage::Page { ids, next, asked, last } => {
                    if next == asked && !self.loaded.is_empty() {
                        return Step::Rest;
                    }
                    if next == asked {
                        *asked = ids.len().min(*next + loads);
                        let new = ids.get(*next..*asked).unwrap_or_default().iter();
                        self.loaded.extend(new.filter(|id| state.find(id).is_none()));
                    }
                    let Some(id) = ids.get(*next) else {
                        self.stage = if *last { Stage::Done } else { Stage::Index(ids.last().copied()) };
                        continue;
                    };
                    if let Some(slot) = state.find(id) {
                        return Step::At(slot);
                    }
                    let said = |id: &ConversationId| state.answers.get(&RowKey::Conversation(*id));
                    match said(id) {
                        Some(said) => {
                            self.missed += u32::from(said != Said::Absent);
                            *next += 1;
                        }
                        None => {
                            let missing = ids.get(*next..*asked).unwrap_or_default().iter();
                            let missing = missing.filter(|id| state.find(id).is_none() && said(id).is_none());
                            return Step::Rows(missing.map(|id| RowKey::Conversation(*id)).collect());
                        }
                    }
                }
                Stage::Done => return Step::Done,
            }
        }
    }

    /// Goes on from the conversation that it is at.
    pub fn pass(&mut self, slot: ConversationSlot) {
        match &mut self.stage {
            Stage::Memory(after) => *after = Some(slot),
            Stage::Page { next, .. } => *next += 1,
            Stage::Index(_) | Stage::Done => {}
        }
    }

    /// The conversations that were loaded for it since this was called last.
    pub fn give_back(&mut self) -> Vec<ConversationId> {
        std::mem::take(&mut self.loaded)
    }

    /// The index rows that it needs, in order; `last`: there are no more.
    pub fn page(&mut self, ids: Vec<ConversationId>, last: bool) {
        if matches!(self.stage, Stage::Index(_)) {
            let last = last || ids.is_empty();
            self.stage = Stage::Page { ids, next: 0, asked: 0, last };
        }
    }
}
