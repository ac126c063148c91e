//! What the log keeps, what recovery makes of it, and what of it goes.

use super::*;
use crate::log::sim::Call;
use crate::wire::types::{ClientFrame, DeviceBody, DeviceList, Send, Target};

#[test]
fn everything_accepted_is_there_after_a_crash_with_its_number_i1_i2() {
    let mut rig = rig();
    let (ann, bob) = pair(&mut rig);
    rig.cut(bob);
    for n in 0..20u8 {
        rig.send(ann, "bob", &[n], &[n; 100]);
    }
    let mut rig = restart(rig);
    let (ann, bob) = (rig.join("ann", 1, true), rig.join("bob", 1, true));
    rig.got(ann);
    assert_eq!(seqs(&rig.got(bob)), (1..=20).collect::<Vec<_>>());
    rig.send(ann, "bob", &[7], b"the repeat's body does not matter");
    assert!(matches!(rig.got(ann)[..], [Got::Accepted { seq: 8, .. }]), "the id is still known (I4)");
    rig.send(ann, "bob", &[77], b"x");
    assert!(matches!(rig.got(ann)[..], [Got::Accepted { seq: 21, .. }]));
}

#[test]
fn cursors_survive_once_they_are_a_second_old_i3() {
    let mut rig = rig();
    let (ann, bob) = pair(&mut rig);
    for n in 0..4u8 {
        rig.send(ann, "bob", &[n], b"x");
    }
    let at = conversation(&rig.got(ann));
    rig.ack(bob, at, 3);
    rig.pass(1_100);
    rig.ack(bob, at, 4);
    let mut rig = restart(rig);
    let bob = rig.join("bob", 1, true);
    assert_eq!(seqs(&rig.got(bob)), [4]);
    let ann = rig.join("ann", 1, true);
    assert_eq!(receipts(&rig.got(ann)), [("bob", 3, 0)]);
}

#[test]
fn receipt_versions_grow_across_a_crash_that_loses_some_i7() {
    let mut rig = rig();
    let (ann, bob) = pair(&mut rig);
    rig.send(ann, "bob", b"1", b"x");
    let at = conversation(&rig.got(ann));
    rig.ack(bob, at, 1);
    let version = |got: &[Got]| match got.last() {
        Some(Got::Receipt { version, .. }) => *version,
        other => panic!("{other:?}"),
    };
    let before = version(&rig.got(ann));
    let mut rig = restart(rig);
    let (ann, bob) = (rig.join("ann", 1, true), rig.join("bob", 1, true));
    rig.got(ann);
    rig.ack(bob, at, 1);
    assert!(version(&rig.got(ann)) > before);
}

#[test]
fn the_disk_follows_what_is_undelivered_i5() {
    let mut rig = rig();
    let (ann, bob) = pair(&mut rig);
    for n in 0..600u32 {
        rig.send(ann, "bob", &n.to_be_bytes(), &[0; 200]);
        let at = conversation(&rig.got(ann));
        rig.ack(bob, at, u64::from(n) + 1);
    }
    rig.pass(2_000);
    rig.pass(2_000);
    assert!(rig.unlinked.len() >= 6, "{:?}", rig.unlinked);
    assert!(rig.engine.stats().log_segments <= 2);
    let mut rig = restart(rig);
    let (ann, bob) = (rig.join("ann", 1, true), rig.join("bob", 1, true));
    rig.got(ann);
    assert!(seqs(&rig.got(bob)).is_empty());
    rig.send(ann, "bob", b"next", b"x");
    assert!(matches!(rig.got(ann)[..], [Got::Accepted { seq: 601, .. }]), "the head outlives its segments (I2)");
}

#[test]
fn a_few_old_messages_are_carried_and_keep_their_time_and_place() {
    let mut rig = rig();
    let (ann, bob) = pair(&mut rig);
    rig.engine.create_user("cal");
    rig.send(ann, "cal", b"old", b"old body");
    rig.got(ann);
    for n in 0..600u32 {
        rig.send(ann, "bob", &n.to_be_bytes(), &[0; 200]);
        let at = conversation(&rig.got(ann));
        rig.ack(bob, at, u64::from(n) + 1);
    }
    for _ in 0..5 {
        rig.pass(1_100);
    }
    assert!(rig.engine.stats().carried_total >= 1);
    assert!(rig.unlinked.contains(&1), "{:?}", rig.unlinked);
    let mut rig = restart(rig);
    let cal = rig.join("cal", 1, true);
    let got = rig.got(cal);
    assert!(matches!(&got[1], Got::Message { seq: 1, body, .. } if body == b"old body"), "{got:?}");
}

#[test]
fn a_segment_that_cannot_be_scanned_stays_until_its_messages_are_collected_i5_i12() {
    let mut rig = rig();
    let (ann, bob) = pair(&mut rig);
    rig.engine.create_user("cal");
    rig.send(ann, "cal", b"old", b"old body");
    rig.got(ann);
    rig.refuse_scans = true;
    for n in 0..600u32 {
        rig.send(ann, "bob", &n.to_be_bytes(), &[0; 200]);
        let at = conversation(&rig.got(ann));
        rig.ack(bob, at, u64::from(n) + 1);
    }
    for _ in 0..5 {
        rig.pass(1_100);
    }
    assert!(rig.unlinked.is_empty(), "what may hold a wanted message goes nowhere: {:?}", rig.unlinked);
    assert_eq!(rig.engine.stats().lost_total, 0);
    let cal = rig.join("cal", 1, true);
    let got = rig.got(cal);
    assert!(matches!(&got[1], Got::Message { seq: 1, body, .. } if body == b"old body"), "{got:?}");
    rig.ack(cal, conversation(&got), 1);
    for _ in 0..5 {
        rig.pass(1_100);
    }
    assert!(rig.unlinked.contains(&1), "{:?}", rig.unlinked);
}

#[test]
fn bodies_that_left_memory_are_read_back_in_order_i6() {
    let mut rig = rig_with(Config { hot_bytes: 1_000, ..Config::default() });
    let (ann, bob) = pair(&mut rig);
    rig.cut(bob);
    for n in 0..50u8 {
        rig.send(ann, "bob", &[n], &[n; 100]);
    }
    assert!(rig.engine.stats().hot_bytes <= 1_000);
    let bob = rig.join("bob", 1, true);
    let got = rig.got(bob);
    assert_eq!(seqs(&got), (1..=50).collect::<Vec<_>>());
    let right = |g: &Got| matches!(g, Got::Message { seq, body, .. } if *body == vec![*seq as u8 - 1; 100]);
    assert!(got[1..].iter().all(right));
    assert!(rig.engine.stats().hot_bytes <= 1_000);
}

#[test]
fn a_read_that_is_refused_for_want_of_a_descriptor_loses_no_message_i1() {
    let mut rig = rig_with(Config { hot_bytes: 1_000, ..Config::default() });
    let (ann, bob) = pair(&mut rig);
    rig.cut(bob);
    for n in 0..100u8 {
        rig.send(ann, "bob", &[n], &[n; 100]);
    }
    rig.disk.fail(Call::Open, 1, rustix::io::Errno::MFILE.raw_os_error());
    let bob = rig.join("bob", 1, true);
    let got = rig.got(bob);
    assert_eq!(seqs(&got), (1..=100).collect::<Vec<_>>());
    assert!(got.iter().all(|g| !matches!(g, Got::Skip { .. })));
    assert_eq!((rig.delayed, rig.engine.stats().lost_total), (1, 0));
}

#[test]
fn a_body_per_device_survives_a_crash() {
    let mut rig = rig();
    let (ann, bob) = pair(&mut rig);
    let tablet = rig.join("bob", 2, true);
    rig.cut(bob);
    rig.cut(tablet);
    let body = |device, body: &'static [u8]| DeviceBody { user: "bob".into(), device, body: body.into() };
    let list = |user: &'static str, version| DeviceList { user: user.into(), version, devices: Default::default() };
    let send = ClientFrame::Send(Send {
        id: b"1".as_slice().into(),
        target: Target::User("bob".into()),
        body: Default::default(),
        bodies: vec![body(1, b"one")],
        lists: vec![list("bob", 2), list("ann", 1)],
        media: Default::default(),
    });
    rig.feed(ann, &send);
    rig.turn();
    assert_eq!(rig.got(ann).len(), 1);
    let mut rig = restart(rig);
    let (bob, tablet) = (rig.join("bob", 1, true), rig.join("bob", 2, true));
    assert!(matches!(&rig.got(bob)[1..], [Got::Message { body, .. }] if body == b"one"));
    assert!(matches!(&rig.got(tablet)[1..], [Got::Skip { reason: 3, .. }]));
}
