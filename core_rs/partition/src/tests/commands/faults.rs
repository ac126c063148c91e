//! Faults between commands: crashes, damage, and clocks that jump.

use std::collections::BTreeSet;

use super::*;
use crate::ids::RowKey;
use crate::names::Names;
use crate::rows::{Conversation, User};
use crate::state::State;
use crate::tests::world::recover;

impl Run {
    /// Power is lost: any number of batches that were not synced are not in the log.
    pub fn crash(&mut self) {
        let last = self.world.journal.last().0 - self.world.safe.0;
        let position = Position(self.world.safe.0 + self.random.below(last as usize + 1) as u64);
        self.resting = None;
        self.fits.clear();
        let lost = self.world.crash(position);
        self.did[4] += usize::from(lost);
        self.oracle.crashed(position, lost);
        self.started();
    }

    fn started(&mut self) {
        if let Some(bound) = self.world.state.bound_due() {
            self.commit(&[bound]);
        }
        self.world.sync();
        self.world.state.settle_all();
        // A device attaches wherever it has a mailbox, before it acknowledges anything.
        let mut ids: Vec<ConversationId> = self.world.state.conversations().map(|(_, active)| active.id).collect();
        ids.sort_unstable();
        for id in ids {
            if self.random.one_in(2)
                && let Some(records) = propose::enter(&self.world.state, self.world.state.active(&id).unwrap())
            {
                self.commit(&records);
            }
        }
    }

    /// The clock jumps, and is put right.
    pub(super) fn clock(&mut self) {
        let true_ms = self.world.now.wall_ms;
        self.world.now.wall_ms += self.random.below(200_000) as u64;
        self.send();
        self.commit(&[propose::clock(true_ms)]);
        self.world.now.wall_ms = true_ms;
    }

    /// Batches, rows or all of the store are lost, or one of them is an older copy; then a salvage.
    pub(super) fn damage(&mut self) {
        self.resting = None;
        self.fits.clear();
        if self.random.one_in(2) {
            self.world.sync();
        }
        let (mut batches, mut store) = (self.world.journal.batches.clone(), self.world.store.clone());
        let full: Vec<usize> = (0..batches.len()).filter(|&batch| !batches[batch].is_empty()).collect();
        match self.random.below(7) {
            0 | 1 => {
                for _ in 0..=self.random.below(3) {
                    batches[*self.random.pick(&full).unwrap()].clear();
                }
            }
            2 => batches.iter_mut().take(full[0] + 8).for_each(Vec::clear),
            // Not further than the last salvage: that would bring back what was given up.
            3 => {
                let least = full[0].max(self.salvaged);
                batches.truncate(least + self.random.below(batches.len() - least));
            }
            4 => {
                self.check_copy();
                store = self.copy.0.clone();
            }
            5 => store.clear(),
            _ => {
                let keys = store.keys().filter(|key| !matches!(key, RowKey::Member(..)));
                let lost: BTreeSet<RowKey> = keys.filter(|_| self.random.one_in(3)).cloned().collect();
                store.retain(|key, _| match key {
                    RowKey::Member(_, id) => !lost.contains(&RowKey::Conversation(*id)),
                    key => !lost.contains(key),
                });
            }
        }
        let findings = self.world.salvage(batches, store);
        self.did[5] += findings.cost.set_back as usize;
        self.did[6] += findings.cost.given_up as usize;
        self.copy = (self.world.store.clone(), self.world.reflects);
        self.salvaged = self.world.journal.batches.len();
        let (state, store) = (&self.world.state, &self.world.store);
        self.oracle.salvaged(|id| {
            let row =
                |(_, bytes): &(Position, Vec<u8>)| Conversation::decode(bytes, &mut Names::default()).unwrap().head;
            let at_rest = || store.get(&RowKey::Conversation(*id)).map_or(0, row);
            state.active(id).map_or_else(at_rest, |active| active.row.head)
        });
        self.oracle.committed(&self.world.state, self.world.synced, &[]);
        for user in USERS {
            for _ in 0..2 {
                let decided = propose::create_user(&self.world.state, user);
                self.commit_if(decided);
            }
        }
        self.started();
        self.world.safe = self.world.synced;
    }

    /// What shows that the store is an older copy, for each row that differs: the position that it reflects, or that the log
    /// has the row, or says where the row must be.
    fn check_copy(&self) {
        let state = recover(&self.world.journal.batches, true).unwrap();
        for (key, row) in &self.world.store {
            // The row of a device that ended stays in the store; nobody asks for it.
            if let RowKey::Device(name, device) = key
                && !self.lists(&state, name, *device)
            {
                continue;
            }
            // A row of the index is put with its conversation.
            let of = match key {
                RowKey::Member(_, id) => &RowKey::Conversation(*id),
                key => key,
            };
            let shows = self.copy.1 < state.reflects || state.owner(of).is_some() || state.stored.contains_key(of);
            assert!(self.copy.0.get(key) == Some(row) || shows, "{key:?}");
        }
    }

    fn lists(&self, state: &State, name: &str, device: DeviceId) -> bool {
        match (state.user_named(name), self.world.store.get(&RowKey::user(name))) {
            (Some((_, row)), _) => row.devices.contains(&device),
            (None, Some((_, bytes))) => User::decode(bytes).unwrap().devices.contains(&device),
            (None, None) => false,
        }
    }
}
