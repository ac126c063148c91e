//! Crashes, and the end of a run: everybody has everything, nothing is left, and authors know of it.

use seam::Commands;
use wire::types::ConversationId;

use super::super::super::world::recover;
use super::super::SECRET;
use super::{Model, PROGRAMS, Program};
use crate::active::Active;
use crate::ids::Position;
use crate::lazy::Mailbox;
use crate::partition::Partition;
use crate::serve::Next;

impl Model {
    pub(super) fn crash(&mut self, how: u8) {
        self.settle();
        self.did[5] += 1;
        let unsure = self.house.host.journal.last().0 - self.synced.0;
        let position = Position(self.synced.0 + u64::from(how) % (unsure + 1));
        let journal = &mut self.house.host.journal;
        journal.batches.truncate(position.0 as usize);
        journal.open = false;
        let state = recover(&journal.batches, false).unwrap();
        self.seen = (journal.batches.len(), 0);
        self.batches.retain(|_, at| *at <= position);
        self.held.clear();
        self.oracle.crashed(position, false);
        self.house.host.cache.wanted.clear();
        self.house.partition = Partition::new(state, self.config.clone(), SECRET);
        self.programs.iter_mut().for_each(|program| program.session = None);
        let bound = self.house.partition.state.bound_due().unwrap();
        self.house.partition.commit(&mut self.house.host, &[bound]).unwrap();
        self.sync();
        self.house.partition.state.settle_all();
    }

    /// A session that was said to have everything has it.
    pub(super) fn check_all_served(&self, index: usize) {
        let (user, device) = PROGRAMS[index];
        let Some(live) = &self.programs[index].session else { return };
        let state = &self.house.partition.state;
        // It is told again when bodies come, and when what is decided already is durable.
        let settled = |active: &Active| active.reading == 0 && active.changed.max(active.skipped) <= state.synced;
        for (slot, active) in state.conversations().filter(|(_, active)| settled(active)) {
            let Some(member) = state.names.find(user).and_then(|user| active.member(user, device)) else { continue };
            let Some(online) = active.online.get(member, device) else { continue };
            assert_eq!(online.session, live.at);
            let next = state.next(Mailbox { slot, member, device }, online.sent, online.shown != 0);
            assert!(online.owed || !matches!(next, Next::Item(_)), "{user}/{device} is owed {next:?}");
        }
    }

    /// Everybody comes, and takes and acknowledges everything.
    pub(super) fn finish(&mut self) {
        self.sync();
        for index in 0..PROGRAMS.len() {
            if self.programs[index].session.is_none() {
                self.attach(index);
            }
        }
        for _ in 0..400 {
            self.sync();
            self.house.host.now.mono_ms += 250;
            self.house.partition.burst(&mut self.house.host, 100);
            self.settle();
            for index in 0..PROGRAMS.len() {
                self.programs[index].session.as_mut().unwrap().stalled = false;
                self.take(index, 100);
                for (id, seq) in self.programs[index].session.as_ref().unwrap().given.clone() {
                    let at = self.programs[index].session.as_ref().unwrap().at;
                    self.house.partition.ack(&mut self.house.host, at, &id, seq).unwrap();
                    self.settle();
                }
            }
            self.bodies(2);
            self.settle();
            let quiet = |program: &Program| program.session.as_ref().is_none_or(|live| live.owed == [false; 2]);
            if self.programs.iter().all(quiet) && self.house.partition.next_burst().is_none() {
                break;
            }
        }
        self.oracle.check(&self.house.partition.state);
        self.oracle.check_complete(&self.house.partition.state);
        for (index, program) in self.programs.iter().enumerate() {
            let live = program.session.as_ref().unwrap();
            assert_eq!((live.owed, live.in_flight), ([false; 2], (0, 0)), "{:?}", PROGRAMS[index]);
            self.check_all_served(index);
            self.check_receipts(index);
        }
    }

    /// An author knows of everybody who has its messages, or that they never will.
    fn check_receipts(&self, index: usize) {
        let (program, (user, device)) = (&self.programs[index], PROGRAMS[index]);
        let state = &self.house.partition.state;
        let me = state.names.find(user).unwrap();
        for (_, active) in state.conversations() {
            let Some(mine) = active.member(me, device) else { continue };
            let Some(row) = active.row.member(mine).filter(|row| row.is_current()) else { continue };
            for (_, other) in active.row.iter().filter(|(other, member)| *other != mine && member.is_current()) {
                let name = state.names.text(other.user).to_owned();
                let told = program.told.get(&(active.id, name.clone())).map_or(0, |told| told.0);
                let from = row.from.max(other.from);
                for seq in (from..=other.delivered).filter(|&seq| self.oracle.is_by(&active.id, seq, (user, device))) {
                    let missed = |(id, who, from, to): &(ConversationId, String, u64, u64)| {
                        *id == active.id && *who == name && *from <= seq && seq <= *to
                    };
                    let knows = told >= seq || program.missed.iter().any(missed);
                    assert!(knows, "{user}/{device} never learns that {name} has {seq}, but {told}: {:#?}", active.row);
                }
            }
        }
    }
}
