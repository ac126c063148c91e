//! What happens to rows and segments between commands, and the end of a run.

use super::{Run, USERS};
use crate::ids::{ConversationId, DeviceId, RowKey};
use crate::propose::{self, Stop};
use crate::records::{Record, UserChange};

impl Run {
    /// Every device has everything: receipts say all of it (I7), and nothing is kept that no mailbox lacks (I5).
    pub fn finish(&mut self) {
        let everyone = Stop::Wait(self.world.store.keys().cloned().collect());
        self.world.resolve(&everyone);
        for user in USERS {
            self.fit_user(user, 1000);
            let row = self.world.state.user_named(user).unwrap().1;
            assert!(row.fits.is_empty(), "{row:?}");
        }
        self.world.sync();
        let mut mailboxes: Vec<(String, DeviceId, ConversationId)> = Vec::new();
        for (_, active) in self.world.state.conversations() {
            for (_, member) in active.row.iter() {
                let user = self.world.state.names.text(member.user);
                let cursors = member.cursors.iter().filter(|cursor| cursor.device != 0);
                mailboxes.extend(cursors.map(|cursor| (user.to_owned(), cursor.device, active.id)));
            }
        }
        for (user, device, id) in mailboxes {
            while self.take(&user, device, id, 10) {}
        }
        self.oracle.check(&self.world.state);
        self.oracle.check_complete(&self.world.state);
        if self.forgets {
            self.check_clients();
        } else {
            self.oracle.check_receipts(&self.world.state);
        }
        self.flush();
        self.world.sync();
        self.crash();
    }

    /// All rests that may, and each device attaches: it learns the same of conversations at rest as of those in memory.
    fn check_clients(&mut self) {
        if self.random.one_in(2) {
            self.world.rest_all();
        }
        for user in USERS {
            let row = self.world.until(|world| Ok(world.state.need_user(user)?.unwrap().1.devices.clone()));
            for device in row.unwrap() {
                self.clients.attach(&mut self.world, user, device);
            }
        }
        let everyone = Stop::Wait(self.world.store.keys().cloned().collect());
        self.world.resolve(&everyone);
        self.clients.check(&self.world, &self.oracle, !self.damages);
    }

    /// Devices go that were not connected for long, of those whose rows are in memory.
    pub(super) fn drop_unseen(&mut self) {
        let (now, config) = (self.world.now, self.world.config.clone());
        let (seen, _) = self.world.state.last_seen(now, &config, self.random.below(4), 2);
        for (user, seen) in seen {
            let name = self.world.state.names.text(user).to_owned();
            match propose::unseen(&self.world.state, now, &config, &name, &seen) {
                Ok(records) => {
                    for record in &records {
                        let Record::User(user) = record else { unreachable!("{record:?}") };
                        let UserChange::Device(fit) = user.what else { unreachable!("{record:?}") };
                        self.oracle.dropped((&name, fit.device));
                        self.commit(std::slice::from_ref(record));
                    }
                }
                Err(stop) => self.world.resolve(&stop),
            }
        }
    }

    /// Rows rest: the store has them before the log says so, and much may come between.
    pub(super) fn rest(&mut self) {
        if let Some(record) = self.resting.take()
            && self.world.state.may_rest(&record)
        {
            self.did[2] += 1;
            self.commit(&[record]);
        }
        let rows = self.world.state.rows();
        let mut keys: Vec<RowKey> = rows.into_iter().map(|row| row.0).collect();
        // Those too that came from the store and did not change since.
        keys.extend(self.world.store.keys().filter(|key| self.world.state.owner(key).is_some()).cloned());
        if self.random.one_in(20) {
            self.copy = (self.world.store.clone(), self.world.reflects);
        }
        // Each batch of the store is put at a position of its own, so that an older copy of it shows.
        if let Some(key) = self.random.pick(&keys)
            && self.world.reflects < self.world.safe
        {
            // What is in use stays.
            let owner = self.world.state.owner(key).filter(|_| self.random.one_in(4));
            if let Some(owner) = owner {
                self.world.state.pin(owner);
                assert!(self.world.rest(key).is_none() && self.world.state.owner(key).is_some());
                self.world.state.unpin(owner);
            }
            self.resting = self.world.rest(key);
        }
    }

    /// The first segments go, as far as they can.
    pub(super) fn retain(&mut self) {
        for _ in 0..self.random.below(8) {
            self.did[3] += usize::from(self.world.retain());
            if self.random.one_in(3) {
                self.world.sync();
            }
        }
    }
}
