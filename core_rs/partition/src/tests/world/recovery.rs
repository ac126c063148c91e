//! Starts of a partition, and what must be equal before and after.

use super::*;
use crate::recover::Recovery;
use crate::suspects::Findings;

impl World {
    /// What is above `position` is lost; the rest makes the same rows as running did (I14). True: some of it was reported durable,
    /// so a generation begins.
    pub fn crash(&mut self, position: Position) -> bool {
        self.close();
        let (used, lost) = (self.journal.last(), position < self.synced);
        self.journal.batches.truncate(position.0 as usize);
        self.journal.open = false;
        let state = recover(&self.journal.batches, !self.store.is_empty()).unwrap();
        if let Some(snapshot) = self.snapshots.get(&position) {
            compare(&snapshot.rows, &state.rows(), snapshot.exact);
        }
        self.state = state;
        self.state.reflected(self.reflects);
        (self.synced, self.safe) = (position, position);
        self.snapshots.retain(|&at, _| at <= position);
        let snapshot = Snapshot { rows: self.state.rows(), exact: true };
        self.snapshots.insert(position, snapshot);
        assert_names_are_released(&self.journal.batches);
        if lost {
            self.renew(used);
        }
        lost
    }

    /// A generation begins, above all positions that were used.
    fn renew(&mut self, used: Position) {
        let batches = self.journal.batches.len().max(used.0 as usize);
        self.journal.batches.resize_with(batches, Vec::new);
        self.generations += 1;
        let generation = propose::generation(&self.state, used, self.generations, self.reflects).unwrap();
        self.commit(&generation);
        self.sync();
        self.safe = self.synced;
    }

    /// The log and the store are these, and rows may be missing of which nothing tells. What is decided about them stands in
    /// the log: the next start reads the same rows (I14), and finds nothing.
    pub fn salvage(&mut self, batches: Vec<Vec<Logged>>, store: Rows) -> Findings {
        self.close();
        let used = self.journal.last();
        let (state, findings) =
            read(&batches).resolve(!store.is_empty(), true, self.generations + 1, &mut |key| store.get(key).cloned());
        let (_, same) =
            read(&batches).resolve(!store.is_empty(), true, self.generations + 1, &mut |key| store.get(key).cloned());
        assert_eq!((&findings, findings.digest()), (&same, same.digest()));
        self.journal.batches = batches;
        self.journal.batches.resize_with(used.0 as usize, Vec::new);
        self.reflects = store.values().map(|row| row.0).max().unwrap_or_default();
        (self.state, self.store) = (state, store);
        (self.journal.open, self.snapshots) = (false, BTreeMap::new());
        self.renew(used);
        let decisions: Vec<Record<'_>> = findings.decisions(&self.state).collect();
        decisions.iter().for_each(|record| drop(self.commit(std::slice::from_ref(record))));
        self.sync();
        self.safe = self.synced;
        let again = recover(&self.journal.batches, !self.store.is_empty()).unwrap();
        assert_eq!(again.rows(), self.state.rows());
        // The next start does not find the store too old.
        assert!(again.reflects <= self.reflects);
        assert_eq!((again.generation, again.reflects), (self.state.generation, self.state.reflects));
        assert_names_are_released(&self.journal.batches);
        findings
    }
}

pub(super) fn is_dirty(state: &State) -> bool {
    state.conversations().any(|(_, active)| active.is_dirty())
        || state.users.iter().any(|(_, user)| user.devices.iter().any(|device| device.dirty))
}

pub fn recover(batches: &[Vec<Logged>], store: bool) -> Result<State, Box<Findings>> {
    read(batches).into_state(store)
}

pub fn read(batches: &[Vec<Logged>]) -> Recovery {
    let mut recovery = Recovery::default();
    for (number, batch) in batches.iter().enumerate() {
        for (kind, body, place) in batch {
            recovery.take(*kind, body, *place, Position(number as u64 + 1));
        }
    }
    recovery
}

/// A name is in memory while a row refers to it, and no longer.
fn assert_names_are_released(batches: &[Vec<Logged>]) {
    let mut state = recover(batches, false).unwrap();
    let slots: Vec<_> = state.conversations().map(|(slot, _)| slot).collect();
    slots.into_iter().for_each(|slot| drop(state.remove_conversation(slot)));
    let users: Vec<_> =
        state.users.iter().map(|(user, entry)| (user, entry.devices.iter().map(|d| d.id).collect())).collect();
    for (user, devices) in users {
        let devices: Vec<u16> = devices;
        devices.into_iter().for_each(|device| drop(state.remove_device(user, device)));
        state.remove_user(user);
    }
    assert!(state.names.is_empty(), "{} names are left", state.names.len());
    assert_eq!(state.users.iter().count(), 0);
}

/// Everything exact is equal, and no lazy fact is higher than it was.
fn compare(before: &[(RowKey, Vec<u8>)], after: &[(RowKey, Vec<u8>)], exact: bool) {
    let keys = |rows: &[(RowKey, Vec<u8>)]| rows.iter().map(|row| row.0.clone()).collect::<Vec<_>>();
    assert_eq!(keys(before), keys(after), "rows");
    for ((key, before), (_, after)) in before.iter().zip(after) {
        match key {
            RowKey::User(_) => assert_eq!(before, after, "{key:?}"),
            _ if before == after => {}
            RowKey::Device(..) => compare_devices(key, before, after, exact),
            RowKey::Conversation(_) => compare_conversations(key, before, after, exact),
            RowKey::Member(..) => unreachable!("the log has no index"),
        }
    }
}

fn compare_devices(key: &RowKey, before: &[u8], after: &[u8], exact: bool) {
    let (before, mut after) = (Device::decode(before).unwrap(), Device::decode(after).unwrap());
    assert!(!exact, "{key:?}\nwas {before:#?}\nis {after:#?}");
    assert!(after.seen_s <= before.seen_s && after.receives <= before.receives && after.receipts <= before.receipts);
    (after.seen_s, after.receives, after.receipts) = (before.seen_s, before.receives, before.receipts);
    after.owed.retain(|owed| owed.version > before.receipts);
    // What was confirmed and not logged is known again.
    after.repeats.retain(|repeat| before.repeats.iter().any(|known| known == repeat));
    assert_eq!(before, after, "{key:?}");
}

fn compare_conversations(key: &RowKey, before: &[u8], after: &[u8], exact: bool) {
    let mut names = Names::default();
    let before = Conversation::decode(before, &mut names).unwrap();
    let mut after = Conversation::decode(after, &mut names).unwrap();
    assert!(!exact, "{key:?}\nwas {before:#?}\nis {after:#?}");
    for (was, is) in before.members.iter().flatten().zip(after.members.iter_mut().flatten()) {
        let facts = |m: &crate::rows::Member| [m.delivered, m.read, m.version, m.read_version, m.owed];
        assert!(facts(is).iter().zip(facts(was)).all(|(is, was)| *is <= was), "{key:?}\nwas {was:#?}\nis {is:#?}");
        (is.delivered, is.read) = (was.delivered, was.read);
        (is.version, is.read_version, is.owed) = (was.version, was.read_version, was.owed);
        for (was, is) in was.cursors.iter().zip(&mut is.cursors) {
            assert!(is.acked <= was.acked && is.fresh >= was.fresh, "{key:?}\nwas {was:#?}\nis {is:#?}");
            (is.acked, is.fresh) = (was.acked, was.fresh);
        }
    }
    assert_eq!(before, after, "{key:?}");
}
