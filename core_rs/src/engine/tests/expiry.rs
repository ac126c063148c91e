//! The hold time: what expires, who is told, and what the clock may do to it.

use super::*;

const DAY: u64 = 24 * 3_600_000;

#[test]
fn an_uncollected_message_expires_and_both_sides_are_told_before_the_cursor_passes_it_s8() {
    let mut rig = rig();
    let (ann, bob) = pair(&mut rig);
    rig.cut(bob);
    rig.send(ann, "bob", b"1", b"x");
    rig.send(ann, "bob", b"2", b"x");
    let at = conversation(&rig.got(ann));
    rig.cut(ann);
    days(&mut rig, 29);
    let ann = rig.join("ann", 1, true);
    assert_eq!(rig.engine.stats().messages_pending, 2);
    days(&mut rig, 2);
    assert_eq!(rig.engine.stats().messages_pending, 0);
    assert_eq!(rig.engine.stats().expired_total, 2);
    let mut rig = restart(rig);
    let ann_got = {
        let _ = ann;
        let ann = rig.join("ann", 1, true);
        rig.send(ann, "bob", b"3", b"x");
        rig.got(ann)
    };
    let told = |g: &&Got| matches!(g, Got::Skip { from: 1, to: 2, reason: 1, user, .. } if user == "bob");
    assert_eq!(ann_got.iter().filter(told).count(), 1, "{ann_got:?}");
    assert!(receipts(&ann_got).is_empty(), "nothing claims to be delivered (I7)");
    let bob = rig.join("bob", 1, true);
    let got = rig.got(bob);
    assert!(matches!(&got[1], Got::Skip { from: 1, to: 2, reason: 1, .. }), "{got:?}");
    assert_eq!(seqs(&got), [3]);
    rig.ack(bob, at, 3);
}

#[test]
fn a_clock_that_jumps_expires_nothing_and_raises_an_alarm() {
    let mut rig = rig();
    let (ann, bob) = pair(&mut rig);
    rig.cut(bob);
    rig.send(ann, "bob", b"1", b"x");
    rig.now.wall_ms += 60 * DAY;
    rig.pass(1_000);
    for _ in 0..50 {
        rig.pass(70_000);
    }
    assert!(rig.alarms.iter().any(|a| a.0 == "clock_jumped"));
    assert_eq!(rig.engine.stats().messages_pending, 1);
    rig.now.wall_ms -= 60 * DAY;
    rig.pass(1_000);
    rig.now.wall_ms -= 60 * DAY;
    rig.pass(1_000);
    let bob = rig.join("bob", 1, true);
    assert_eq!(seqs(&rig.got(bob)), [1]);
}

#[test]
fn a_device_unseen_for_the_hold_time_is_dropped_and_pins_nothing() {
    let mut rig = rig();
    let (ann, bob) = pair(&mut rig);
    let tablet = rig.join("bob", 2, true);
    rig.cut(tablet);
    days(&mut rig, 29);
    let (ann, bob) = if rig.closed(ann) { pair(&mut rig) } else { (ann, bob) };
    rig.send(ann, "bob", b"1", b"x");
    let at = conversation(&rig.got(ann));
    rig.ack(bob, at, 1);
    assert_eq!(rig.engine.stats().messages_pending, 1, "the tablet lacks it");
    days(&mut rig, 2);
    assert_eq!(rig.engine.stats().devices_dropped_total, 1);
    assert_eq!(rig.engine.stats().messages_pending, 0);
}

#[test]
fn messages_for_somebody_who_never_came_expire_and_pin_no_memory() {
    let mut rig = rig();
    let (ann, _) = pair(&mut rig);
    rig.engine.create_user("cal");
    rig.send(ann, "cal", b"1", b"x");
    days(&mut rig, 31);
    assert_eq!(rig.engine.stats().messages_pending, 0);
    let cal = rig.join("cal", 1, true);
    let got = rig.got(cal);
    assert!(matches!(got[..], [Got::Welcome { .. }, Got::Skip { from: 1, to: 1, reason: 1, .. }]), "{got:?}");
}
