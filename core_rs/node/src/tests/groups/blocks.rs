//! Who blocks whom: nothing arrives, and nobody is told.

use super::*;

/// Skips of somebody else, as a sender is told: from, to, reason, whose.
fn skips(got: &[Got]) -> Vec<(u64, u64, u64, &str)> {
    let skip = |g| match g {
        &Got::Skip { from, to, reason, ref user, .. } => Some((from, to, reason, user.as_str())),
        _ => None,
    };
    got.iter().filter_map(skip).collect()
}

fn block(rig: &mut Rig<SimDisk>, by: Client, user: &str, off: bool) -> Vec<Got> {
    rig.got(by);
    rig.feed(by, &ClientFrame::Block { user: user.into(), off });
    rig.turn();
    rig.got(by)
}

fn blocks(names: &[&str]) -> Got {
    Got::Blocks(names.iter().map(|name| (*name).to_owned()).collect())
}

const EXPIRED: u64 = 1;
const BLOCKED: u64 = 5;

#[test]
fn what_a_blocked_user_sends_stays_at_one_tick_for_ever() {
    let mut rig = rig();
    let (ann, bob) = pair(&mut rig);
    let tablet = rig.join("ann", 2, true);
    assert_eq!(block(&mut rig, bob, "ann", false), [blocks(&["ann"])]);
    rig.got(ann);
    rig.got(tablet);
    rig.send(ann, "bob", b"1", b"x");
    rig.send(ann, "bob", b"2", b"x");
    let got = rig.got(ann);
    let at = conversation(&got);
    assert_eq!(got, [(b"1", 1), (b"2", 2)].map(|(id, seq)| Got::Accepted { id: id.to_vec(), conversation: at, seq }));
    assert_eq!(seqs(&rig.got(tablet)), [1, 2], "one's own other device gets it");
    let got = rig.got(bob);
    assert_eq!((seqs(&got).len(), skips(&got)), (0, vec![(1, 1, BLOCKED, ""), (2, 2, BLOCKED, "")]));
    rig.ack(bob, at, 2);
    rig.ack(tablet, at, 2);
    rig.read(bob, at, 2);
    rig.pass(1_100);
    let got = rig.got(ann);
    assert!(got.is_empty(), "{got:?}");
    assert_eq!(rig.node.stats().messages_pending, 0);
    // Also after a crash, and for a sender who was away.
    let mut rig = restart(rig);
    let [ann, bob] = ["ann", "bob"].map(|name| rig.join(name, 1, true));
    let got = rig.got(ann);
    assert!(receipts(&got).iter().all(|receipt| receipt.1 == 0) && skips(&got).is_empty(), "{got:?}");
    assert_eq!(block(&mut rig, bob, "", false), [blocks(&["ann"])]);
}

#[test]
#[ignore = "fault: the skip of a withheld message is told as soon as a later message is acknowledged"]
fn after_the_block_is_lifted_the_author_is_told_nothing_before_the_hold_time_i7_i8() {
    let mut rig = rig_with(Config { hold_ms: 600_000, ..Config::default() });
    let (mut ann, mut bob) = pair(&mut rig);
    rig.send(ann, "bob", b"1", b"x");
    let at = conversation(&rig.got(ann));
    rig.ack(bob, at, 1);
    rig.read(bob, at, 1);
    block(&mut rig, bob, "ann", false);
    rig.send(ann, "bob", b"2", b"x");
    assert_eq!(block(&mut rig, bob, "ann", true), [blocks(&[])]);
    rig.got(ann);
    for (id, seq, restarted) in [(b"3", 3, false), (b"4", 4, true)] {
        if restarted {
            rig.pass(1_100);
            rig = restart(rig);
            [ann, bob] = ["ann", "bob"].map(|name| rig.join(name, 1, true));
            assert!(receipts(&rig.got(ann)).iter().all(|receipt| receipt.1 <= 1));
        }
        rig.send(ann, "bob", id, b"x");
        assert_eq!(seqs(&rig.got(bob)).last(), Some(&seq), "it arrives at once");
        rig.ack(bob, at, seq);
        rig.read(bob, at, seq);
        let got = rig.got(ann);
        assert!(matches!(got[..], [Got::Accepted { .. }]), "{got:?}");
    }
    for _ in 0..25 {
        rig.pass(30_000);
        [ann, bob].into_iter().for_each(|client| _ = rig.feed(client, &ClientFrame::Ping { nonce: 1 }));
    }
    assert!(skips(&rig.got(ann)).is_empty());
    rig.send(ann, "bob", b"5", b"x");
    rig.ack(bob, at, 5);
    let got = rig.got(ann);
    assert_eq!(skips(&got), [(2, 2, EXPIRED, "bob")], "not that it was blocked: {got:?}");
    assert_eq!(receipts(&got).last(), Some(&("bob", 5, 4)));
}

#[test]
fn a_block_concerns_one_direction_and_one_user() {
    let mut rig = rig();
    let (ann, bob) = pair(&mut rig);
    let cal = rig.join("cal", 1, true);
    block(&mut rig, bob, "ann", false);
    rig.send(bob, "ann", b"1", b"x");
    assert_eq!(seqs(&rig.got(ann)), [1]);
    rig.send(cal, "bob", b"1", b"x");
    rig.send(ann, "ann", b"2", b"x");
    assert_eq!(seqs(&rig.got(bob)), [1]);
}

#[test]
fn a_block_holds_for_keys_of_a_common_group_and_not_for_what_is_said_there() {
    let mut p = party();
    let key = |id: &'static [u8], to: &'static str| rig::message(Target::Device(to.into(), 1), id, b"key");
    for by in [p.cal, p.eve] {
        block(&mut p.rig, by, "ann", false);
    }
    for (id, to) in [(b"1", "cal"), (b"2", "eve")] {
        p.rig.feed(p.ann, &key(id, to));
    }
    p.rig.turn();
    for client in [p.cal, p.eve] {
        let got = p.rig.got(client);
        assert_eq!((seqs(&got).len(), skips(&got)), (0, vec![(1, 1, BLOCKED, "")]));
    }
    let got = p.rig.got(p.ann);
    assert_eq!(got.iter().filter(|g| matches!(g, Got::Accepted { .. })).count(), 2);
    assert!(skips(&got).is_empty());
    // And what is said in the group is said to all.
    assert_eq!(say(&mut p.rig, p.ann, p.at, b"3"), None);
    assert_eq!(seqs(&p.rig.got(p.cal)), [3]);
}

#[test]
fn nobody_is_added_by_whom_it_blocks_and_why_is_not_told() {
    let mut p = party();
    p.rig.node.create_user(0, "frank");
    block(&mut p.rig, p.eve, "bob", false);
    let both = || Change::Added(names(&["frank", "eve"]));
    assert_eq!(p.wish(p.bob, b"1", both()).as_deref(), Some("cannot_add"));
    assert_eq!(p.members().len(), 4, "nobody, then");
    p.rig.got(p.bob);
    feed(&mut p.rig, p.bob, None, b"2", created(&["eve"]));
    p.rig.turn();
    assert_eq!(answer(&p.rig.got(p.bob), b"2").as_deref(), Some("cannot_add"));
    assert_eq!(p.wish(p.ann, b"3", both()), None, "ann may");
    block(&mut p.rig, p.eve, "bob", true);
    assert_eq!(p.wish(p.ann, b"4", Change::Removed(names(&["eve"]))), None);
    assert_eq!(p.wish(p.bob, b"5", Change::Added(names(&["eve"]))), None);
}

#[test]
fn blocks_are_told_when_they_are_durable_and_outlive_memory_and_crash() {
    let mut rig = rig_with(forgetful());
    let (_, bob) = pair(&mut rig);
    rig.node.create_user(0, "cal");
    rig.hold_disk = true;
    assert!(block(&mut rig, bob, "ann", false).is_empty());
    assert!(block(&mut rig, bob, "cal", false).is_empty());
    rig.hold_disk = false;
    rig.turn();
    assert_eq!(rig.got(bob), [blocks(&["ann"]), blocks(&["ann", "cal"])]);
    assert_eq!(block(&mut rig, bob, "cal", true), [blocks(&["ann"])]);
    assert_eq!(block(&mut rig, bob, "cal", true), [blocks(&["ann"])], "again changes nothing");
    rig.cut(bob);
    quiet(&mut rig);
    assert_eq!(rig.node.stats().users_in_memory, 0);
    let mut rig = restart(rig);
    let ann = rig.join("ann", 1, true);
    rig.got(ann);
    rig.send(ann, "bob", b"1", b"x");
    assert!(matches!(rig.got(ann)[..], [Got::Accepted { .. }]));
    let bob = rig.join("bob", 1, true);
    assert!(seqs(&rig.got(bob)).is_empty());
    assert_eq!(block(&mut rig, bob, "", false), [blocks(&["ann"])]);
}

#[test]
fn what_cannot_be_blocked() {
    let mut rig = rig();
    let (_, bob) = pair(&mut rig);
    assert_eq!(codes(&block(&mut rig, bob, "nobody", false)), ["unknown_user"]);
    assert_eq!(codes(&block(&mut rig, bob, "bob", false)), ["bad_field"]);
    assert_eq!(block(&mut rig, bob, "nobody", true), [blocks(&[])], "what is not blocked is not");
    for n in 0..1000 {
        let name = format!("user {n}");
        rig.node.create_user(0, &name);
        assert!(codes(&block(&mut rig, bob, &name, false)).is_empty());
    }
    assert_eq!(codes(&block(&mut rig, bob, "ann", false)), ["too_many"]);
}

#[test]
fn withheld_messages_are_so_also_after_their_segment_went_i7() {
    let mut rig = rig();
    let (ann, bob) = pair(&mut rig);
    block(&mut rig, bob, "ann", false);
    rig.cut(bob);
    let tablet = rig.join("ann", 2, true);
    rig.cut(tablet);
    rig.send(ann, "bob", b"1", b"x");
    let at = conversation(&rig.got(ann));
    let first = rig.node.log().segment();
    for n in 0..600u32 {
        rig.send(ann, "ann", &n.to_be_bytes(), &[0; 100]);
        let tablet = rig.join("ann", 2, true);
        let got = rig.got(tablet);
        let own = got.iter().find_map(|g| match g {
            Got::Message { conversation, seq, .. } if *conversation != at => Some((*conversation, *seq)),
            _ => None,
        });
        if let Some((own, seq)) = own {
            rig.ack(tablet, own, seq);
        }
        rig.cut(tablet);
        rig.pass(1_100);
        if rig.unlinked.contains(&first) {
            break;
        }
    }
    assert!(rig.unlinked.contains(&first) && rig.node.stats().carried_total > 0);
    let mut rig = restart(rig);
    let [bob, tablet] = [("bob", 1), ("ann", 2)].map(|(name, device)| rig.join(name, device, true));
    let got = rig.got(bob);
    assert_eq!((seqs(&got).len(), skips(&got)), (0, vec![(1, 1, BLOCKED, "")]), "{got:?}");
    let got = rig.got(tablet);
    assert!(got.iter().any(|g| matches!(g, Got::Message { seq: 1, conversation, .. } if *conversation == at)));
}
