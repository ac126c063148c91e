//! A new generation of numbers, the clock put right, and what the log says that the store reflects.

use super::*;
use crate::ids::{ConversationId, GENERATIONS, Position, RowKey, generation_base, version_base};
use crate::lazy::Mailbox;
use crate::receipts::Receipt;
use crate::records::Record;

const BASE: u64 = 1 << 36;

impl Scenario {
    fn renew(&mut self) {
        let record = propose::generation(&self.world.state, Position(0), 0, Position(0)).unwrap();
        self.world.commit(&record);
        self.world.sync();
    }

    fn crash(&mut self) {
        let facts = self.world.state.flush(usize::MAX);
        facts.iter().for_each(|record| drop(self.world.commit(std::slice::from_ref(record))));
        self.world.sync();
        self.world.crash(self.world.synced);
        let bound = self.world.state.bound_due().unwrap();
        self.world.commit(&[bound]);
        self.world.sync();
        self.world.state.settle_all();
    }

    fn enter(&mut self, id: &ConversationId) {
        let records = propose::enter(&self.world.state, self.world.state.active(id).unwrap()).unwrap();
        self.world.commit(&records);
        self.world.sync();
        assert_eq!(propose::enter(&self.world.state, self.world.state.active(id).unwrap()), None);
    }

    fn next(&self, id: &ConversationId, user: &str) -> Vec<Item> {
        let (slot, name) = (self.world.state.find(id).unwrap(), self.world.state.names.find(user).unwrap());
        let index = self.world.state.conversation(slot).unwrap().member(name, 1).unwrap();
        self.world.items(Mailbox { slot, member: index, device: 1 }, 0, 10)
    }

    fn seqs(&self, id: &ConversationId, user: &str) -> Vec<u64> {
        let end = |item: &Item| match *item {
            Item::Snapshot => 0,
            Item::Message { seq, .. } => seq,
            Item::Skip { to, .. } => to,
        };
        self.next(id, user).iter().map(end).collect()
    }

    fn skips(&self, id: &ConversationId, user: &str) -> Vec<(u64, u64, SkipReason)> {
        self.member(id, user).skips().iter().map(|skip| (skip.from, skip.to, skip.reason)).collect()
    }
}

#[test]
fn send_in_a_new_generation_keeps_pending_messages_and_skips_the_gap_i2() {
    let mut s = Scenario::new();
    let (id, _) = s.send("ann", BOB).unwrap();
    s.send("ann", BOB).unwrap();
    s.renew();
    assert!(s.world.state.versions.last >= version_base(1));
    assert_eq!(s.send("ann", BOB).unwrap(), (id, BASE + 1));
    assert_eq!(s.send("bob", ANN).unwrap(), (id, BASE + 2));
    assert_eq!(s.seqs(&id, "bob"), [1, 2, BASE + 1]);
    assert_eq!(s.skips(&id, "bob"), [(3, BASE, SkipReason::Lost)]);
    // ann's own cursor passed its messages, the gap, and its message above it.
    assert_eq!(s.member(&id, "ann").cursor(1).unwrap().acked, BASE + 1);
    // ann learns of the skip, and then that bob is beyond it.
    s.ack("bob", 1, &id, 2).unwrap();
    assert_eq!(s.member(&id, "bob").cursor(1).unwrap().acked, BASE);
    assert_eq!(s.member(&id, "bob").delivered, BASE);
    let slot = s.world.state.find(&id).unwrap();
    let ann = s.world.state.conversation(slot).unwrap().member(s.world.state.names.find("ann").unwrap(), 0).unwrap();
    let mut receipts = Vec::new();
    s.world.state.receipts(slot, ann, version_base(1), 0, |receipt| {
        receipts.push(receipt);
        true
    });
    assert!(
        matches!(receipts[..], [Receipt::Skip(_, skip), Receipt::Progress { delivered: BASE, .. }] if skip.to == BASE)
    );
    s.crash();
    assert_eq!((s.pending(&id), s.seqs(&id, "bob")), (2, vec![BASE + 1]));
    s.ack("bob", 1, &id, BASE + 1).unwrap();
    s.ack("ann", 1, &id, BASE + 2).unwrap();
    assert_eq!(s.pending(&id), 0);
    s.renew();
    assert_eq!(s.send("ann", BOB).unwrap(), (id, 2 * BASE + 1));
    s.crash();
    assert_eq!(s.seqs(&id, "bob"), [2 * BASE + 1]);
}

#[test]
fn device_that_attaches_acknowledges_what_was_lost() {
    let mut s = Scenario::new();
    let (id, _) = s.send("ann", BOB).unwrap();
    s.renew();
    assert_eq!(code(s.ack("bob", 1, &id, 4)), codes::ACK_BEYOND_HEAD);
    s.enter(&id);
    assert_eq!(s.seqs(&id, "bob"), [1]);
    s.ack("bob", 1, &id, 4).unwrap();
    assert_eq!(s.member(&id, "bob").cursor(1).unwrap().acked, BASE);
    assert_eq!(s.pending(&id), 0);
    assert_eq!(code(s.ack("bob", 1, &id, BASE + 1)), codes::ACK_BEYOND_HEAD);
    s.crash();
    assert_eq!(s.send("ann", BOB).unwrap(), (id, BASE + 1));
    assert_eq!(s.seqs(&id, "bob"), [BASE + 1]);
}

/// What was numbered and is not durable yet does not become visible because the conversation enters.
#[test]
fn enter_shows_no_message_that_is_not_durable() {
    let mut s = Scenario::new();
    let (id, _) = s.send("ann", BOB).unwrap();
    s.renew();
    let send = s.to(BOB);
    let mut stored = Vec::new();
    let author = s.world.state.author("ann", 1).unwrap();
    let sent = propose::send(&s.world.state, s.world.now, &s.world.config, author, None, &send, &mut stored).unwrap();
    let Sent::New { records, .. } = sent else { unreachable!("it is new") };
    s.world.commit(&records);
    assert_eq!(s.seqs(&id, "bob"), [1]);
    assert_eq!(code(s.ack("bob", 1, &id, BASE + 1)), codes::ACK_BEYOND_HEAD);
    let record = propose::generation(&s.world.state, Position(0), 0, Position(0)).unwrap();
    s.world.commit(&record);
    let records = propose::enter(&s.world.state, s.world.state.active(&id).unwrap()).unwrap();
    s.world.commit(&records);
    assert_eq!(code(s.ack("bob", 1, &id, BASE + 1)), codes::ACK_BEYOND_HEAD);
    s.world.sync();
    assert_eq!(s.seqs(&id, "bob"), [1, BASE + 1]);
    s.ack("bob", 1, &id, 2 * BASE).unwrap();
    assert_eq!(s.pending(&id), 0);
}

#[test]
fn conversation_that_begins_later_begins_above_the_base() {
    let mut s = Scenario::new();
    s.renew();
    let (id, seq) = s.send("ann", BOB).unwrap();
    assert_eq!((seq, s.seqs(&id, "bob")), (BASE + 1, vec![BASE + 1]));
    assert_eq!(s.skips(&id, "bob"), [(1, BASE, SkipReason::Lost)]);
    s.ack("bob", 1, &id, seq).unwrap();
    assert_eq!((s.member(&id, "bob").delivered, s.pending(&id)), (seq, 0));
    let group = s.group(&["bob"]);
    assert_eq!(s.seqs(&group, "bob"), [0, BASE + 1]);
    s.crash();
    assert_eq!(s.seqs(&group, "bob"), [0, BASE + 1]);
}

/// A client may have changes of the group that were lost. It takes a snapshot only if that is newer than what it has.
#[test]
fn members_get_a_snapshot_that_is_newer_than_any_lost_change() {
    let mut s = Scenario::new();
    let id = s.group(&["bob"]);
    for user in ["ann", "bob"] {
        s.ack(user, 1, &id, 1).unwrap();
        s.saw_snapshot(user, &id);
    }
    let (_, seq) = s.send("ann", Target::Conversation(id)).unwrap();
    assert_eq!(s.seqs(&id, "bob"), [seq]);
    s.renew();
    s.enter(&id);
    assert_eq!(s.next(&id, "bob")[0], Item::Snapshot);
    assert_eq!(s.seqs(&id, "bob"), [0, seq]);
    assert_eq!(s.world.state.active(&id).unwrap().row.group.as_ref().unwrap().seq, BASE);
    s.manage("ann", Some(id), Change::Removed(named(&["bob"]))).unwrap();
    assert_eq!(s.seqs(&id, "bob"), [seq, BASE + 1], "a former member gets no snapshot");
    s.crash();
    s.ack("bob", 1, &id, BASE + 1).unwrap();
    assert_eq!(code(s.ack("bob", 1, &id, BASE + 1)), codes::UNKNOWN_CONVERSATION);
}

#[test]
fn generations_end_before_numbers_do() {
    let mut s = Scenario::new();
    let record = propose::generation(&s.world.state, Position(0), 70_000, Position(0)).unwrap();
    assert!(matches!(record, [Record::Generation { number: 70_000, .. }, _]));
    s.world.commit(&record);
    let last = propose::generation(&s.world.state, Position(0), u32::MAX, Position(0)).unwrap();
    s.world.commit(&last);
    assert_eq!(propose::generation(&s.world.state, Position(0), 0, Position(0)), None);
    let (_, seq) = s.send("ann", BOB).unwrap();
    assert!(seq == generation_base(GENERATIONS - 1) + 1 && seq < 1 << 53);
    s.crash();
}

/// Fault F: a wrong future clock is put right, and what was accepted meanwhile expires as if accepted at the correction.
#[test]
fn corrected_clock_replaces_time_and_lets_messages_expire() {
    let mut s = Scenario::new();
    let (true_ms, hold) = (s.world.now.wall_ms, s.world.config.hold_ms);
    s.world.now.wall_ms += 1000 * hold;
    let (id, _) = s.send("ann", BOB).unwrap();
    assert!(s.world.state.time_ms > true_ms);
    s.world.commit(&[propose::clock(true_ms)]);
    s.world.now.wall_ms = true_ms;
    s.send("ann", BOB).unwrap();
    s.world.sync();
    let expire = |s: &Scenario| {
        let active = s.world.state.active(&id).unwrap();
        let records = propose::expire(&s.world.state, s.world.now, &s.world.config, active);
        match records.as_deref() {
            Some([Record::Floor(floor)]) => Some(floor.floor),
            _ => None,
        }
    };
    for crash in [false, true] {
        if crash {
            s.crash();
        }
        assert_eq!((s.world.state.time_ms, u64::from(s.world.state.set_s)), (true_ms, true_ms / 1000));
        s.world.now.wall_ms = true_ms + hold - 1;
        assert_eq!(expire(&s), None);
        s.world.now.wall_ms += 1;
        assert_eq!(expire(&s), Some(3));
    }
}

/// Time goes on from a correction, not from a message that is carried behind it.
#[test]
fn carried_message_does_not_bring_a_wrong_time_back() {
    let mut s = Scenario::new();
    let true_ms = s.world.now.wall_ms;
    s.world.now.wall_ms += 1_000_000;
    s.send("ann", BOB).unwrap();
    s.renew();
    s.world.commit(&[propose::clock(true_ms)]);
    s.world.now.wall_ms = true_ms;
    s.block("bob", "cid", false);
    let mut went = 0;
    for _ in 0..40 {
        s.world.sync();
        went += usize::from(s.world.retain());
        s.world.sync();
        s.block("bob", "cid", true);
        s.world.sync();
        s.block("bob", "cid", false);
    }
    s.world.sync();
    assert!(went > 3, "{went}");
    let state = (s.world.state.time_ms, s.world.state.set_s, s.world.state.generation);
    s.crash();
    assert_eq!((s.world.state.time_ms, s.world.state.set_s, s.world.state.generation), state);
    assert_eq!((state.0, state.2.number), (true_ms, 1));
}

/// What the log said of rows in the store goes with its segment; how far the store must reflect stays.
#[test]
fn log_says_how_far_the_store_reflects_after_trimming() {
    let mut s = Scenario::new();
    let key = RowKey::user("eve");
    s.world.sync();
    let stored = s.world.rest(&key).unwrap();
    s.world.commit(&[stored]);
    s.world.sync();
    let reflects = s.world.state.reflects;
    assert!(reflects > Position(0) && s.world.state.stored.contains_key(&key));
    for off in (0..60).map(|step| step % 2 == 1) {
        s.world.sync();
        s.world.retain();
        s.world.sync();
        s.block("bob", "cid", off);
    }
    s.world.sync();
    s.crash();
    assert!(!s.world.state.stored.contains_key(&key));
    assert_eq!(s.world.state.reflects, reflects);
}
