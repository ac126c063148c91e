//! What a sender is told of others: never more than they have (I7).

use wire::types::{DeviceBody, DeviceList, Hello, Send, Target};

use super::*;

/// A message to bob with bodies for some of his devices only.
fn send_bodies(rig: &mut Rig<SimDisk>, from: Client, id: &[u8], devices: &[u32], lists: [u64; 2]) {
    let body = |&device: &u32| DeviceBody { user: "bob".into(), device, body: b"b".as_slice().into() };
    let list = |user: &'static str, version| DeviceList { user: user.into(), version, devices: Default::default() };
    let bodies: Vec<_> = match devices {
        [] => vec![DeviceBody { user: "ann".into(), device: 9, body: b"b".as_slice().into() }],
        some => some.iter().map(body).collect(),
    };
    let send = ClientFrame::Send(Send {
        id: id.into(),
        target: Target::User("bob".into()),
        body: Default::default(),
        bodies,
        lists: vec![list("bob", lists[0]), list("ann", lists[1])],
        media: Default::default(),
    });
    rig.feed(from, &send);
    rig.turn();
}

/// Skips of a user that a sender was told.
fn told(got: &[Got]) -> Vec<(u64, u64, u64)> {
    let skip = |g: &Got| match g {
        Got::Skip { from, to, reason, user, .. } if !user.is_empty() => Some((*from, *to, *reason)),
        _ => None,
    };
    got.iter().filter_map(skip).collect()
}

#[test]
fn a_new_device_vouches_for_nothing_that_was_said_before_it_came_i7() {
    let mut rig = rig();
    let (ann, bob) = pair(&mut rig);
    rig.send(ann, "bob", b"1", b"x");
    let at = conversation(&rig.got(ann));
    let tablet = rig.join("bob", 2, true);
    rig.got(tablet);
    rig.send(ann, "bob", b"2", b"x");
    rig.got(ann);
    rig.ack(tablet, at, 2);
    assert!(receipts(&rig.got(ann)).is_empty(), "message 1 is on no device of bob's");
    let mut rig = {
        rig.pass(1_100);
        restart(rig)
    };
    let (ann, bob2) = (rig.join("ann", 1, true), rig.join("bob", 1, true));
    assert!(receipts(&rig.got(ann)).is_empty(), "nor after a crash");
    let _ = bob;
    rig.ack(bob2, at, 1);
    assert_eq!(receipts(&rig.got(ann)), [("bob", 2, 0)], "now both have what they should");
}

#[test]
fn a_device_that_goes_before_it_collected_leaves_a_skip_behind_i7() {
    let mut rig = rig();
    let (ann, _) = pair(&mut rig);
    let tablet = rig.join("bob", 2, true);
    rig.got(tablet);
    rig.cut(tablet);
    send_bodies(&mut rig, ann, b"1", &[2], [2, 1]);
    let at = conversation(&rig.got(ann));
    for day in 0..36 {
        days(&mut rig, 1);
        let (ann, bob) = (rig.join("ann", 1, true), rig.join("bob", 1, true));
        rig.got(bob);
        if day == 0 {
            rig.ack(bob, at, 1);
        }
        let got = rig.got(ann);
        assert!(receipts(&got).iter().all(|r| r.1 == 0) || !told(&got).is_empty(), "{got:?}");
        rig.cut(ann);
        rig.cut(bob);
    }
    assert_eq!(rig.node.stats().messages_pending, 0);
    let ann = rig.join_with("ann", 1, Hello { protocol: 1, receive: true, ..Hello::default() });
    assert_eq!(told(&rig.got(ann)), [(1, 1, 1)]);
}

#[test]
fn what_nobody_has_a_body_of_is_told_even_when_acknowledged_and_after_a_crash_i7() {
    let mut rig = rig();
    let (ann, bob) = pair(&mut rig);
    rig.cut(ann);
    let sender = rig.join("ann", 1, false);
    rig.got(sender);
    send_bodies(&mut rig, sender, b"1", &[], [1, 1]);
    let got = rig.got(sender);
    assert_eq!(told(&got), [(1, 1, 3)], "{got:?}");
    let at = conversation(&got);
    rig.ack(bob, at, 1);
    rig.pass(1_100);
    assert_eq!(rig.node.stats().messages_pending, 0);
    let mut rig = restart(rig);
    let ann = rig.join("ann", 1, true);
    let got = rig.got(ann);
    assert_eq!((told(&got), receipts(&got)), (vec![(1, 1, 3)], vec![("bob", 1, 0)]));
}

#[test]
fn a_session_that_only_sends_is_told_of_skips_before_receipts_i7() {
    let mut rig = rig_with(Config { hold_ms: 3_600_000, ..Config::default() });
    let bob = rig.join("bob", 1, true);
    let ann = rig.join("ann", 1, false);
    rig.got(ann);
    rig.node.set_writable(bob.conn, false);
    rig.send(ann, "bob", b"1", b"x");
    let at = conversation(&rig.got(ann));
    for _ in 0..65 {
        rig.pass(59_000);
        rig.feed(ann, &ClientFrame::Ping { nonce: 1 });
        rig.feed(bob, &ClientFrame::Ping { nonce: 1 });
    }
    rig.turn();
    assert_eq!(told(&rig.got(ann)), [(1, 1, 1)]);
    rig.node.set_writable(bob.conn, true);
    rig.ack(bob, at, 1);
    rig.send(ann, "bob", b"2", b"x");
    rig.ack(bob, at, 2);
    assert_eq!(receipts(&rig.got(ann)), [("bob", 2, 0)]);
}

#[test]
fn a_device_conversation_concerns_those_two_devices_only_i8() {
    let mut rig = rig();
    let (ann, _) = pair(&mut rig);
    let (ann2, bob2) = (rig.join("ann", 2, true), rig.join("bob", 2, true));
    rig.got(ann2);
    rig.got(bob2);
    rig.feed(ann, &rig::message(Target::Device("bob".into(), 2), b"1", b"key"));
    rig.turn();
    let at = conversation(&rig.got(ann));
    rig.ack(bob2, at, 1);
    assert_eq!(receipts(&rig.got(ann)), [("bob", 1, 0)]);
    assert!(rig.got(ann2).is_empty());
    rig.cut(ann2);
    let ann2 = rig.join("ann", 2, true);
    assert!(receipts(&rig.got(ann2)).is_empty());
}

#[test]
fn the_members_of_ones_own_device_conversation_stay_apart_after_a_crash() {
    let mut rig = rig();
    let (phone, tablet) = (rig.join("ann", 1, true), rig.join("ann", 2, true));
    rig.cut(tablet);
    rig.feed(phone, &rig::message(Target::Device("ann".into(), 2), b"1", b"key"));
    rig.feed(phone, &rig::message(Target::Device("ann".into(), 2), b"2", b"key"));
    rig.turn();
    // Images between records.
    let at = conversation(&rig.got(phone));
    for _ in 0..2 {
        log_image(&mut rig, &RowKey::Conversation(at));
    }
    let mut rig = restart(rig);
    let tablet = rig.join("ann", 2, true);
    let got = rig.got(tablet);
    assert!(matches!(got[0], Got::Welcome { messages: 2, conversations: 1, .. }));
    assert_eq!(seqs(&got), [1, 2]);
}

#[test]
fn what_only_the_older_of_two_devices_would_have_had_is_told_when_both_go_i7() {
    let mut rig = rig();
    let (ann, bob) = pair(&mut rig);
    rig.cut(bob);
    rig.send(ann, "bob", b"1", b"x");
    let at = conversation(&rig.got(ann));
    let tablet = rig.join("bob", 2, true);
    rig.cut(tablet);
    // Both go at once, and the mailbox of the newer one is what waits.
    drop_devices(&mut rig, "bob");
    assert_eq!(told(&rig.got(ann)), [(1, 1, 1)]);
    let bob = rig.join("bob", 3, true);
    rig.send(ann, "bob", b"2", b"x");
    assert_eq!(seqs(&rig.got(bob)), [2]);
    rig.ack(bob, at, 2);
    assert_eq!(receipts(&rig.got(ann)), [("bob", 2, 0)]);
}

#[test]
fn what_one_writes_for_ones_other_device_holds_back_no_receipt() {
    let mut rig = rig();
    let (ann, bob) = pair(&mut rig);
    let tablet = rig.join("bob", 2, true);
    rig.got(tablet);
    rig.cut(tablet);
    // Bob writes; his tablet, which is away, has a body of its own.
    let bodies = vec![
        DeviceBody { user: "ann".into(), device: 1, body: b"b".as_slice().into() },
        DeviceBody { user: "bob".into(), device: 2, body: b"b".as_slice().into() },
    ];
    let list = |user: &'static str, version| DeviceList { user: user.into(), version, devices: Default::default() };
    let send = ClientFrame::Send(Send {
        id: b"1".as_slice().into(),
        target: Target::User("ann".into()),
        body: Default::default(),
        bodies,
        lists: vec![list("ann", 1), list("bob", 2)],
        media: Default::default(),
    });
    rig.feed(bob, &send);
    rig.turn();
    let at = conversation(&rig.got(bob));
    rig.send(ann, "bob", b"2", b"x");
    rig.got(ann);
    rig.ack(bob, at, 2);
    assert_eq!(receipts(&rig.got(ann)), [("bob", 2, 0)]);
}

#[test]
fn a_version_that_was_told_before_a_crash_stands_for_nothing_else_after_it_i7() {
    let mut rig = rig();
    let (ann, bob) = pair(&mut rig);
    rig.send(ann, "bob", b"1", b"x");
    let at = conversation(&rig.got(ann));
    rig.ack(bob, at, 1);
    let told = latest(&rig.got(ann));
    // The log forgets the acknowledgement, and no time has passed.
    let disk = rig.disk.clone();
    disk.crash();
    disk.restart();
    let (config, now, rows) = (rig.config.clone(), rig.now, rig.rows.clone());
    drop(rig);
    let mut rig = Rig::open(disk, config, small_log(), now, rows);
    let ann = rig.join("ann", 1, true);
    let bob = rig.join("bob", 1, true);
    rig.got(ann);
    rig.ack(bob, at, 1);
    assert!(latest(&rig.got(ann)) > told);
}

/// The highest receipt version among frames.
fn latest(got: &[Got]) -> u64 {
    let version = |g: &Got| if let Got::Receipt { version, .. } = g { Some(*version) } else { None };
    got.iter().filter_map(version).max().expect("a receipt")
}
