//! What does not fit in a log, and what a salvage makes of it.
//!
//! # Rules
//! - A finding is about one row where that can be known. It counts until a later record of the log decides what the row is.
//! - A salvage loses as little as it can, and says what. A row of which records are missing goes on from the last one before; a
//!   row of which nothing is left is given up. What it decides is written as a generation, and then as images and
//!   `gone` records: a later start reads the same rows without asking again (I14).
//! - Unknown kinds, versions and flags are not damage: a later build wrote them, and nothing is salvaged then.

use std::collections::{BTreeMap, BTreeSet};

use compact_str::CompactString;
use smallvec::SmallVec;
use wire::ids::hash_of;
use wire::types::SkipReason;

use crate::active::Active;
use crate::bytes::Malformed;
use crate::ids::{ConversationId, ConversationSlot, DeviceId, MemberIndex, Position, RowKey, UserSlot};
use crate::records::Record;
use crate::recover::Problem;
use crate::rows::{Cursor, Device, Fit, Member, SkipRange};
use crate::start::Start;
use crate::state::State;

/// The store's row, and the position that it reflects; `None`: it has none.
pub type AtRest<'a> = &'a mut dyn FnMut(&RowKey) -> Option<(Position, Vec<u8>)>;

/// What a salvage costs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cost {
    /// Rows of which nothing is left, and that are given up.
    pub given_up: u64,
    /// Rows that go back to what they were before records of them were lost, or from which devices are taken.
    pub set_back: u64,
    /// Messages that are lost with them, at most: some may have been delivered.
    pub messages: u64,
}

/// See the module.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Findings {
    /// The first record or row of a later build.
    pub unknown: Option<Problem>,
    /// Records that cannot be read, and of which it is not known what they were about.
    pub unreadable: u64,
    /// Rows that are not known for certain, with the first thing that does not fit.
    pub rows: BTreeMap<RowKey, Problem>,
    /// What a salvage costs.
    pub cost: Cost,
    /// Rows that it gives up …
    pub(crate) gone: BTreeSet<RowKey>,
    /// … and those that it writes again, as the state has them.
    pub(crate) again: BTreeSet<RowKey>,
}

impl Findings {
    /// Whether everything fits.
    pub fn is_empty(&self) -> bool {
        self.unknown.is_none() && self.unreadable == 0 && self.rows.is_empty()
    }

    pub(crate) fn note(&mut self, problem: Problem) {
        let row = match &problem {
            Problem::Unreadable { why: Malformed::Unknown { .. }, .. } => {
                self.unknown.get_or_insert(problem);
                return;
            }
            Problem::Unreadable { row: None, .. } => {
                self.unreadable += 1;
                return;
            }
            Problem::Unreadable { row: Some(row), .. } | Problem::NoImage(row) | Problem::AtRest(row) => row,
            Problem::Gap { row, .. } | Problem::Above(row) => row,
            Problem::NoBody { conversation, .. } => &RowKey::Conversation(*conversation),
        };
        self.rows.entry(row.clone()).or_insert(problem);
    }

    /// A record says what a row is, whatever was before.
    pub(crate) fn decided(&mut self, row: &RowKey) {
        if !self.rows.is_empty() {
            self.rows.remove(row);
        }
    }

    /// The row is given up.
    pub(crate) fn give_up(&mut self, row: RowKey) {
        self.cost.given_up += 1;
        self.gone.insert(row);
    }

    /// The row is what it is in memory.
    pub(crate) fn set_back(&mut self, row: RowKey) {
        self.cost.set_back += 1;
        self.again.insert(row);
    }

    /// The findings as a hash: who salvages names it, so that nothing else is decided than what was shown.
    pub fn digest(&self) -> [u8; 32] {
        let step = |hash: [u8; 32], text: String| hash_of(&[&hash, text.as_bytes()].concat());
        let first = format!("{:?} {} {:?}", self.unknown, self.unreadable, self.cost);
        let rows = self.rows.iter().map(|row| format!("{row:?}"));
        rows.chain([format!("{:?}", self.gone)]).fold(step([0; 32], first), step)
    }

    /// What a salvage writes, each a decision of its own, after the generation: with a crash between them, the next start finds
    /// what was not decided yet, and the generation is known.
    pub fn decisions<'a>(&'a self, state: &'a State) -> impl Iterator<Item = Record<'static>> + 'a {
        let again = self.again.iter().filter_map(|row| state.image_of(state.owner(row)?));
        self.gone.iter().cloned().map(Record::Gone).chain(again)
    }
}

impl Start {
    /// Decides what cannot be known of rows that others speak of.
    pub(crate) fn salvage(&mut self, at_rest: AtRest<'_>) {
        self.at_rest(at_rest);
        let unreadable = self.findings.rows.keys().filter(|row| self.state.owner(row).is_none());
        let unreadable: Vec<RowKey> = unreadable.filter(|row| !self.findings.gone.contains(row)).cloned().collect();
        unreadable.into_iter().for_each(|row| self.findings.give_up(row));
        let version = self.version;
        let conversations = self.state.conversations();
        let mut all: Vec<(ConversationId, ConversationSlot)> = conversations.map(|(slot, a)| (a.id, slot)).collect();
        all.sort_unstable();
        let mut fits = BTreeSet::new();
        for (id, slot) in all {
            let broken = self.findings.again.contains(&RowKey::Conversation(id));
            let Some(active) = self.state.conversation(slot) else { continue };
            let members: BTreeSet<UserSlot> = active.row.iter().map(|(_, member)| member.user).collect();
            let mut changed = false;
            for user in members {
                let name = CompactString::from(self.state.names.text(user));
                let Some(listed) = self.listed(&name, broken, at_rest) else { continue };
                let Some(active) = self.state.conversation_mut(slot) else { continue };
                changed |= drop_unlisted(active, user, &listed, version);
                let lacks = |member: &Member, device| member.is_current() && member.cursor(device).is_none();
                let member = |&device: &DeviceId| active.row.member(active.row.find(user, device)?);
                let unfitted = |device: &DeviceId| member(device).is_some_and(|member| lacks(member, *device));
                fits.extend(listed.into_iter().filter(unfitted).map(|device| (name.clone(), device)));
            }
            if changed && !broken {
                self.findings.set_back(RowKey::Conversation(id));
            }
        }
        self.fits(fits);
        self.devices(at_rest);
    }

    /// What the log says of rows at rest counts as far as the store bears it out. An older row is the last that is known.
    fn at_rest(&mut self, at_rest: AtRest<'_>) {
        let newest = self.state.generation.position;
        let fits = |said: Position, found: Position| found == said || (said < found && found <= newest);
        let (rows, mut older) = (&self.findings.rows, Vec::new());
        self.state.stored.retain(|key, said| match at_rest(key) {
            Some((found, _)) if fits(said.position, found) && !rows.contains_key(key) => true,
            found => {
                older.push((key.clone(), found));
                false
            }
        });
        older.sort_unstable();
        for (key, found) in older {
            self.findings.gone.insert(key.clone());
            match found.map(|(position, bytes)| self.load(&key, position, &bytes)) {
                Some(true) => self.findings.set_back(key),
                _ => self.findings.cost.given_up += 1,
            }
        }
    }

    /// Takes a row that the store has, also one above the log's end: positions go on above it.
    fn load(&mut self, key: &RowKey, position: Position, bytes: &[u8]) -> bool {
        self.state.position = self.state.position.max(position);
        self.state.loaded(key, Some((position, bytes))).is_ok()
    }

    /// Which devices a user has whose row was set back or is gone, or who is a member of a conversation that was set back
    /// (`broken`); `None`: nothing is to be changed.
    fn listed(&mut self, name: &str, broken: bool, at_rest: AtRest<'_>) -> Option<SmallVec<[DeviceId; 2]>> {
        let key = RowKey::user(name);
        if self.state.user_named(name).is_none() && !self.findings.gone.contains(&key) {
            match at_rest(&key) {
                Some(_) if !broken => return None,
                Some((position, bytes)) => self.load(&key, position, &bytes).then_some(())?,
                None => self.findings.give_up(key.clone()),
            }
        }
        match self.state.user_named(name) {
            Some((_, row)) => (broken || self.findings.again.contains(&key)).then(|| row.devices.clone()),
            None => Some(SmallVec::new()),
        }
    }

    /// Devices that may have no mailbox where they should are fitted again; those of users who were set back everywhere.
    fn fits(&mut self, mut fits: BTreeSet<(CompactString, DeviceId)>) {
        for key in &self.findings.again {
            if let RowKey::User(name) = key
                && let Some((_, row)) = self.state.user_named(name)
            {
                fits.extend(row.devices.iter().map(|&device| (name.clone(), device)));
            }
        }
        for (name, device) in fits {
            let Some(user) = self.state.names.find(&name) else { continue };
            let Some(row) = self.state.users.get_mut(user).and_then(|entry| entry.row.as_mut()) else { continue };
            let fit = Fit { device, begins: true };
            if !row.fits.contains(&fit) {
                row.fits.push(fit);
                self.findings.again.insert(RowKey::User(name));
            }
        }
    }

    /// Devices that no user lists are gone; one that is listed and has no row begins anew.
    fn devices(&mut self, at_rest: AtRest<'_>) {
        let (mut unlisted, mut new) = (Vec::new(), Vec::new());
        for (user, entry) in self.state.users.iter() {
            let name = self.state.names.text(user);
            let key = |device| RowKey::device(name, device);
            let user_key = RowKey::user(name);
            let mut rests = || self.state.stored.contains_key(&user_key) || at_rest(&user_key).is_some();
            let whole = entry.row.is_none() && !self.findings.gone.contains(&user_key) && rests();
            let listed = entry.row.as_ref().map_or(&[][..], |row| &row.devices);
            let there = entry.devices.iter().map(|device| device.id);
            unlisted
                .extend(there.filter(|device| !whole && !listed.contains(device)).map(|device| (user, key(device))));
            let missing = listed.iter().filter(|&&device| entry.device(device).is_none());
            let missing = missing.map(|&device| key(device)).filter(|key| !self.state.stored.contains_key(key));
            new.extend(missing.filter(|key| at_rest(key).is_none()));
        }
        for (user, key) in unlisted {
            if let RowKey::Device(_, device) = key {
                self.state.remove_device(user, device);
            }
            self.findings.give_up(key);
        }
        for key in new {
            if let RowKey::Device(name, device) = &key {
                // Whether it received is not known; if so, receipts wait for it.
                self.state.put_device(name, *device, Device { receives: true, ..Device::default() });
            }
            self.findings.set_back(key);
        }
    }
}

/// Devices of a user whose row was set back or is gone: the `listed` ones are left to it. A mailbox of another one ends. Nobody
/// knows what it had: the next first device of the user is told that everything is lost which is not here any more, and gets
/// what is (fault H). True: the row changed.
pub(crate) fn drop_unlisted(active: &mut Active, user: UserSlot, listed: &[DeviceId], version: u64) -> bool {
    let (first, fresh) = (active.entries.first(), active.row.group.is_some());
    let (mut changed, mut all_wait) = (false, false);
    for index in (0..active.row.members.len()).map(MemberIndex::new) {
        let Some(member) = active.row.member_mut(index).filter(|member| member.user == user) else { continue };
        let before = member.cursors.len();
        member.cursors.retain(|cursor| cursor.device == 0 || listed.contains(&cursor.device));
        if member.cursors.len() == before {
            continue;
        }
        let waits = member.cursors.is_empty() && member.is_current();
        if waits {
            member.cursors.push(Cursor { fresh, ..Cursor::new(0, 0) });
        }
        (changed, all_wait) = (true, all_wait | waits);
        // What no mailbox that is left vouches for or gets is noted as lost.
        let Some(member) = active.row.member(index) else { continue };
        let served = |cursor: &Cursor, seq: u64| {
            let comes = cursor.base < seq && cursor.acked < seq;
            comes
                && if waits { !active.entries.is_per_device(seq) } else { active.has_body(member, cursor.device, seq) }
        };
        let lacked = active.lacked(index, (1, active.row.head), 0, served);
        let lost = |(from, to)| SkipRange { from, to, reason: SkipReason::Lost, version };
        if let Some(member) = active.row.member_mut(index) {
            lacked.into_iter().for_each(|range| member.skip(lost(range)));
        }
    }
    let row = &mut active.row;
    if all_wait && row.floor < first {
        (row.floor, row.floor_reason) = (first, SkipReason::Lost);
        row.lost.retain(|range| range.1 >= first);
        row.lost.iter_mut().for_each(|range| range.0 = range.0.max(first));
    }
    if changed {
        row.owe_all(version);
        active.reindex();
    }
    changed
}
