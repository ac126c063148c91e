//! A group by model: what each mailbox is served is what a plain reckoning of intervals, own messages and floors gives,
//! whatever comes between: sessions come and go, the router starts again, devices are added.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;
use crate::wire::types::SkipReason;

const USERS: u32 = 5;

#[derive(Clone, Debug)]
enum Step {
    Send(u32, u16),
    Add(u32, u32),
    Remove(u32, u32),
    Leave(u32),
    Join(u32, u16),
    Cut(u32, u16),
    /// A part of what it was written.
    Ack(u32, u16, u8),
    Floor(u8),
    Device(u32),
    Run,
    Restart,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let (user, device) = (0..USERS, 1..=2_u16);
    let step = prop_oneof![
        8 => (user.clone(), device.clone()).prop_map(|(u, d)| Step::Send(u, d)),
        2 => (user.clone(), user.clone()).prop_map(|(a, u)| Step::Add(a, u)),
        2 => (user.clone(), user.clone()).prop_map(|(a, u)| Step::Remove(a, u)),
        1 => user.clone().prop_map(Step::Leave),
        4 => (user.clone(), device.clone()).prop_map(|(u, d)| Step::Join(u, d)),
        2 => (user.clone(), device.clone()).prop_map(|(u, d)| Step::Cut(u, d)),
        6 => (user.clone(), device, any::<u8>()).prop_map(|(u, d, n)| Step::Ack(u, d, n)),
        1 => any::<u8>().prop_map(Step::Floor),
        1 => user.prop_map(Step::Device),
        4 => Just(Step::Run),
        1 => Just(Step::Restart),
    ];
    proptest::collection::vec(step, 1..80)
}

/// What is true.
#[derive(Default)]
struct Truth {
    /// Who wrote what.
    authors: BTreeMap<u64, (u32, u16)>,
    intervals: BTreeMap<u32, Vec<(u64, u64)>>,
    /// Everything below is gone for who lacks it.
    floor: u64,
    /// For each mailbox: the first message that is for it, and what it acknowledged.
    since: BTreeMap<(u32, u16), u64>,
    acked: BTreeMap<(u32, u16), u64>,
    /// Where its session is: everything up to here was written or is not for it; and where it was when the first snapshot
    /// came.
    position: BTreeMap<(u32, u16), u64>,
    shown: BTreeMap<(u32, u16), u64>,
    /// Messages that a user acknowledged on some device.
    had: BTreeMap<u32, BTreeSet<u64>>,
    /// Messages that a session's mailbox got, unacknowledged.
    pending: BTreeMap<(u32, u16), BTreeSet<u64>>,
    /// Mailboxes that must get a snapshot before anything else.
    fresh: BTreeSet<(u32, u16)>,
    /// Skips that users were told of others.
    never: BTreeMap<(u32, u32), Vec<(u64, u64)>>,
}

impl Truth {
    fn is_for(&self, mailbox: (u32, u16), seq: u64) -> bool {
        let inside = |i: &(u64, u64)| i.0 <= seq && seq <= i.1;
        let since = self.since.get(&mailbox).is_some_and(|&since| since <= seq);
        since
            && self.authors.get(&seq) != Some(&mailbox)
            && self.intervals.get(&mailbox.0).is_some_and(|i| i.iter().any(inside))
    }

    fn is_member(&self, user: u32) -> bool {
        self.intervals.get(&user).and_then(|i| i.last()).is_some_and(|i| i.1 == u64::MAX)
    }

    /// Checks what a session was written.
    fn check(&mut self, mailbox: (u32, u16), got: Vec<Got>) {
        for got in got {
            let (from, to) = match got {
                Got::Message(seq) => (seq, seq),
                Got::Skip(from, to, reason) => {
                    assert_eq!(reason, SkipReason::Cap);
                    assert!(to < self.floor, "{to} is there");
                    assert!(self.shown.contains_key(&mailbox) || !self.is_member(mailbox.0), "no snapshot");
                    (from, to)
                }
                Got::Snapshot(_) => {
                    assert!(self.is_member(mailbox.0), "I8: a snapshot for a stranger");
                    self.shown.entry(mailbox).or_insert(self.position[&mailbox]);
                    continue;
                }
                Got::Never(user, from, to, _) => {
                    let user = user[1..].parse().unwrap();
                    self.never.entry((mailbox.0, user)).or_default().push((from, to));
                    continue;
                }
                Got::Cursor(user, delivered, read, _) => {
                    assert!(self.is_member(mailbox.0), "I7: a receipt for a stranger");
                    self.check_claim(mailbox.0, user[1..].parse().unwrap(), delivered.max(read));
                    continue;
                }
                Got::Version(_) => continue,
            };
            let position = self.position.get_mut(&mailbox).unwrap();
            assert!(from > *position, "I3: {from} after {position}");
            let passed = *position + 1..from;
            *position = to;
            for seq in passed {
                assert!(!self.is_for(mailbox, seq), "I3: {mailbox:?} never got {seq}");
            }
            assert!(!self.fresh.contains(&mailbox) || self.shown.contains_key(&mailbox) || !self.is_member(mailbox.0));
            if from == to && matches!(got, Got::Message(_)) {
                assert!(self.is_for(mailbox, from), "I8: {from} is not for {mailbox:?}");
                self.pending.entry(mailbox).or_default().insert(from);
            }
        }
    }

    /// I7: what a listener is told that a user has, some device of it had, or the listener was told that it never will.
    fn check_claim(&self, listener: u32, user: u32, upto: u64) {
        for (&seq, author) in self.authors.range(..=upto) {
            let inside = |i: &(u64, u64)| i.0 <= seq && seq <= i.1;
            let theirs = self.intervals.get(&user).is_some_and(|i| i.iter().any(inside)) && author.0 != user;
            let had = self.had.get(&user).is_some_and(|had| had.contains(&seq));
            let told = self.never.get(&(listener, user)).into_iter().flatten().any(inside);
            let concerns = author.0 == listener;
            assert!(!theirs || had || told || !concerns, "u{listener} is told that u{user} has {seq}");
        }
    }

    /// A mailbox acknowledged up to here.
    fn acked(&mut self, mailbox: (u32, u16), seq: u64) {
        let acked = self.acked.entry(mailbox).or_default();
        *acked = seq.max(*acked);
        let pending = self.pending.entry(mailbox).or_default();
        let later = pending.split_off(&(seq + 1));
        let had = std::mem::replace(pending, later);
        self.had.entry(mailbox.0).or_default().extend(had);
    }

    fn mailboxes(&self, user: u32) -> Vec<(u32, u16)> {
        self.since.keys().filter(|m| m.0 == user).copied().collect()
    }

    fn entered(&mut self, user: u32, seq: u64, devices: &[u16]) {
        self.intervals.entry(user).or_default().push((seq, u64::MAX));
        for &device in devices {
            self.since.entry((user, device)).or_insert(seq);
            self.fresh.insert((user, device));
            self.shown.remove(&(user, device));
        }
    }

    fn left(&mut self, user: u32, seq: u64) {
        self.intervals.get_mut(&user).unwrap().last_mut().unwrap().1 = seq;
    }
}

struct Run {
    world: World,
    truth: Truth,
}

impl Run {
    fn new() -> Self {
        let mut run = Run { world: World::new(USERS as usize, Kind::Group), truth: Truth::default() };
        run.truth.floor = 1;
        run.change(0, created(1..3));
        (0..3).for_each(|user| run.truth.entered(user, 1, &[1]));
        run
    }

    fn change(&mut self, user: u32, change: Change) -> u64 {
        let seq = self.world.change(user, change);
        // It comes to the device that made it, too.
        self.wrote(seq, (user, 0));
        seq
    }

    fn wrote(&mut self, seq: u64, author: (u32, u16)) {
        self.truth.authors.insert(seq, author);
    }

    fn devices(&self, user: u32) -> Vec<u16> {
        self.world.dir.get(user).unwrap().devices.iter().map(|d| d.id).collect()
    }

    fn look(&mut self) {
        for mailbox in self.world.sessions.keys().copied().collect::<Vec<_>>() {
            let got = self.world.got(mailbox.0, mailbox.1);
            self.truth.check(mailbox, got);
        }
    }

    fn step(&mut self, step: Step) {
        let member = |run: &Self, user| run.truth.is_member(user);
        match step {
            Step::Send(user, device) if member(self, user) && self.devices(user).contains(&device) => {
                let seq = self.world.send_from(user, device, None, false);
                self.wrote(seq, (user, device));
            }
            Step::Add(actor, user) if member(self, actor) && !member(self, user) => {
                let seq = self.change(actor, Change::Added(vec![user]));
                let devices = self.devices(user);
                self.truth.entered(user, seq, &devices);
            }
            Step::Remove(actor, user) if member(self, actor) && member(self, user) && actor != user && user != 0 => {
                let seq = self.change(actor, Change::Removed(vec![user]));
                self.truth.left(user, seq);
            }
            Step::Leave(user) if member(self, user) && user != 0 => {
                let seq = self.change(user, Change::Left { successor: None });
                self.truth.left(user, seq);
            }
            Step::Join(user, device) if self.devices(user).contains(&device) => {
                if self.world.sessions.contains_key(&(user, device)) {
                    return;
                }
                self.world.join(user, device);
                let acked = self.truth.acked.get(&(user, device)).copied().unwrap_or(0);
                self.truth.position.insert((user, device), acked);
                self.truth.pending.remove(&(user, device));
                self.truth.shown.remove(&(user, device));
            }
            Step::Cut(user, device) => self.world.cut(user, device),
            Step::Ack(user, device, part) if self.world.sessions.contains_key(&(user, device)) => {
                self.look();
                let position = self.truth.position[&(user, device)];
                let last = self.truth.intervals.get(&user).and_then(|i| i.last()).map_or(0, |i| i.1);
                let position = position.min(last);
                let acked = self.truth.acked.get(&(user, device)).copied().unwrap_or(0);
                let seq = acked + (position.saturating_sub(acked)) * u64::from(part) / 255;
                if seq > acked && self.world.ack(user, device, seq).is_ok() {
                    self.truth.acked((user, device), seq);
                    if self.truth.shown.get(&(user, device)).is_some_and(|&shown| seq > shown) {
                        self.truth.fresh.remove(&(user, device));
                    }
                }
            }
            Step::Floor(part) => {
                self.look();
                let conversation = self.world.conversation();
                let (first, head) = (conversation.first, conversation.head);
                let upto = first + (head + 1 - first) * u64::from(part) / 512;
                if upto > first {
                    self.world.delivery.floor(&self.world.dir, 0, upto - 1, SkipReason::Cap);
                    self.world.check_counts();
                    self.truth.floor = self.truth.floor.max(upto);
                }
            }
            Step::Device(user) if !self.devices(user).contains(&2) => {
                let head = self.world.conversation().head;
                let known = self.world.dir.get_mut(user).unwrap();
                known.devices.push(Device { id: 2, receives: true, ..Device::default() });
                self.world.delivery.fit_devices(&self.world.dir, user);
                self.world.check_counts();
                if self.truth.is_member(user) {
                    self.truth.since.insert((user, 2), head + 1);
                    self.truth.fresh.insert((user, 2));
                }
            }
            Step::Run => self.look(),
            Step::Restart => {
                self.look();
                self.world.restart();
                self.truth.pending.clear();
            }
            _ => {}
        }
        self.world.write_log();
    }

    /// In the end everybody comes and gets everything.
    fn finish(&mut self) {
        for user in 0..USERS {
            for mailbox in self.truth.mailboxes(user) {
                self.step(Step::Join(mailbox.0, mailbox.1));
            }
        }
        self.look();
        let head = self.world.conversation().head;
        for (&mailbox, &position) in &self.truth.position {
            if self.world.sessions.contains_key(&mailbox) && self.truth.since.contains_key(&mailbox) {
                let missing: Vec<u64> = (position + 1..=head).filter(|&seq| self.truth.is_for(mailbox, seq)).collect();
                assert!(missing.is_empty(), "I3: {mailbox:?} never got {missing:?}");
            }
        }
        for user in 0..USERS {
            for (user, device) in self.truth.mailboxes(user) {
                self.step(Step::Ack(user, device, 255));
            }
        }
        self.look();
        let lacking = self.world.conversation().cursors().filter(|c| c.acked < head).count();
        assert!(lacking > 0 || self.world.conversation().is_empty(), "I5");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn what_a_mailbox_is_served_is_what_is_reckoned_plainly_i3_i7_i8(steps in steps()) {
        let mut run = Run::new();
        for step in steps {
            run.step(step);
        }
        run.finish();
    }
}
