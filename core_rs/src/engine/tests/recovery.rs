//! Where a log that is read again could know less, or something else, than the router that wrote it.

use super::*;
use crate::engine::Key;

#[test]
fn an_id_is_known_after_a_crash_though_its_sender_came_from_the_cold_store_i4() {
    let mut rig = rig();
    let (ann, bob) = pair(&mut rig);
    rig.send(ann, "bob", b"1", b"x");
    let got = rig.got(ann);
    let at = conversation(&got);
    confirm(&mut rig, ann, &got);
    rig.ack(bob, at, 1);
    let got = rig.got(ann);
    confirm(&mut rig, ann, &got);
    rig.cut(ann);
    rig.cut(bob);
    quiet(&mut rig);
    assert_eq!(rig.engine.stats().users_in_memory, 0);
    // The log forgets them too.
    for n in 0..300u32 {
        let cal = rig.join("cal", 1, true);
        rig.send(cal, "cal", &n.to_be_bytes(), &[0; 200]);
        rig.cut(cal);
    }
    quiet(&mut rig);
    let ann = rig.join("ann", 1, true);
    rig.send(ann, "bob", b"2", b"x");
    let mut rig = restart(rig);
    let ann = rig.join("ann", 1, true);
    rig.got(ann);
    rig.send(ann, "bob", b"2", b"x");
    assert!(matches!(rig.got(ann)[..], [Got::Accepted { seq: 2, .. }]));
}

#[test]
fn nothing_is_taken_for_lost_that_went_with_its_segment_i1() {
    let mut rig = rig();
    let (ann, bob) = pair(&mut rig);
    rig.send(ann, "bob", b"1", b"x");
    let at = conversation(&rig.got(ann));
    rig.ack(bob, at, 1);
    // The state is written between a message's numbering and its durability, into a later segment than the message.
    rig.hold_disk = true;
    rig.send(ann, "bob", b"2", &[0; 200]);
    let first = rig.engine.log().segment();
    let mut n = 0u32;
    while rig.engine.log().segment() == first {
        n += 1;
        rig.send(ann, "ann", &n.to_be_bytes(), &[0; 200]);
    }
    let slot = rig.engine.delivery.find(&at).unwrap();
    rig.engine.log_conversation(slot);
    rig.hold_disk = false;
    rig.turn();
    rig.ack(bob, at, 2);
    rig.pass(1_100);
    while !rig.unlinked.contains(&first) {
        n += 1;
        rig.send(ann, "ann", &n.to_be_bytes(), &[0; 200]);
        rig.pass(1_100);
    }
    let mut rig = restart(rig);
    assert_eq!(rig.engine.stats().lost_total, 0);
    let (ann, bob) = (rig.join("ann", 1, true), rig.join("bob", 1, true));
    let skips = |got: &[Got]| got.iter().filter(|g| matches!(g, Got::Skip { .. })).count();
    assert_eq!((skips(&rig.got(ann)), skips(&rig.got(bob))), (0, 0));
}

#[test]
fn a_device_that_came_while_a_conversation_was_away_gets_its_messages_at_once() {
    let mut rig = rig();
    let (ann, bob) = pair(&mut rig);
    rig.send(ann, "bob", b"1", b"x");
    let got = rig.got(ann);
    let at = conversation(&got);
    confirm(&mut rig, ann, &got);
    rig.ack(bob, at, 1);
    let got = rig.got(ann);
    confirm(&mut rig, ann, &got);
    rig.cut(ann);
    rig.cut(bob);
    quiet(&mut rig);
    assert_eq!(rig.engine.stats().conversations_in_memory, 0);
    let tablet = rig.join("bob", 2, true);
    rig.got(tablet);
    let ann = rig.join("ann", 1, true);
    rig.send(ann, "bob", b"2", b"x");
    assert_eq!(seqs(&rig.got(tablet)), [2]);
}

#[test]
fn a_mailbox_that_the_log_did_not_know_is_in_it_before_the_next_message_i1() {
    let mut rig = rig();
    let (ann, bob) = pair(&mut rig);
    rig.send(ann, "bob", b"1", b"x");
    let got = rig.got(ann);
    let at = conversation(&got);
    rig.ack(bob, at, 1);
    let got = rig.got(ann);
    confirm(&mut rig, ann, &got);
    rig.cut(ann);
    rig.cut(bob);
    quiet(&mut rig);
    assert!(rig.engine.delivery.find(&at).is_none());
    let tablet = rig.join("bob", 2, true);
    rig.cut(tablet);
    let mut rig = restart(rig);
    assert!(rig.engine.delivery.find(&at).is_some(), "the log still knows it, without the tablet");
    let ann = rig.join("ann", 1, true);
    rig.send(ann, "bob", b"2", b"x");
    let mut rig = restart(rig);
    let tablet = rig.join("bob", 2, true);
    assert_eq!(seqs(&rig.got(tablet)), [2]);
}

#[test]
fn receipts_wait_for_a_sender_of_whom_the_log_knows_no_more_than_the_name_i7() {
    let mut rig = rig();
    let (ann, bob) = pair(&mut rig);
    rig.send(ann, "bob", b"1", b"x");
    let got = rig.got(ann);
    let at = conversation(&got);
    confirm(&mut rig, ann, &got);
    rig.ack(bob, at, 1);
    let got = rig.got(ann);
    confirm(&mut rig, ann, &got);
    rig.cut(ann);
    rig.cut(bob);
    quiet(&mut rig);
    for n in 0..300u32 {
        let cal = rig.join("cal", 1, true);
        rig.send(cal, "cal", &n.to_be_bytes(), &[0; 200]);
        rig.cut(cal);
    }
    quiet(&mut rig);
    // Now bob writes, ann acknowledges, and bob is away.
    let (ann, bob) = (rig.join("ann", 1, true), rig.join("bob", 1, true));
    rig.got(bob);
    rig.send(bob, "ann", b"1", b"x");
    rig.cut(bob);
    rig.ack(ann, at, 2);
    rig.pass(1_100);
    rig.cut(ann);
    let mut rig = restart(rig);
    quiet(&mut rig);
    let bob = rig.join("bob", 1, true);
    assert_eq!(receipts(&rig.got(bob)), [("ann", 2, 0)]);
}

#[test]
fn an_idle_log_comes_to_rest_however_many_states_it_holds_i5() {
    let mut rig = rig();
    let ann = rig.join("ann", 1, true);
    for n in 0..200u32 {
        let name = format!("somebody with a long name, number {n}");
        rig.engine.create_user(&name);
        rig.send(ann, &name, &n.to_be_bytes(), b"x");
    }
    for _ in 0..20 {
        rig.pass(1_100);
    }
    let before = rig.engine.log().segment();
    for _ in 0..60 {
        rig.pass(1_000);
    }
    assert_eq!(rig.engine.log().segment(), before);
    let mut rig = restart(rig);
    let other = rig.join("somebody with a long name, number 77", 1, true);
    assert_eq!(seqs(&rig.got(other)), [1]);
}

#[test]
fn a_device_that_is_always_connected_is_not_dropped_after_a_crash_i1() {
    let mut rig = rig_with(Config { hold_ms: 3_600_000, ..Config::default() });
    let (_, bob) = pair(&mut rig);
    for _ in 0..120 {
        rig.pass(59_000);
        rig.feed(bob, &ClientFrame::Ping { nonce: 1 });
    }
    let ann = rig.join("ann", 1, true);
    rig.got(ann);
    rig.send(ann, "bob", b"1", b"x");
    let mut rig = restart(rig);
    rig.pass(5_000);
    assert_eq!(rig.engine.stats().devices_dropped_total, 0);
    let bob = rig.join("bob", 1, true);
    assert_eq!(seqs(&rig.got(bob)), [1]);
}

#[test]
fn a_local_connection_that_says_hello_late_is_still_who_it_was_i8() {
    let mut rig = rig();
    let conn = rig.engine.open(7, true);
    rig.wires.insert(7, Default::default());
    rig.engine.admit(conn, crate::engine::Identity { user: "ann".into(), device: 1, expires_ms: 0 });
    quiet(&mut rig);
    let bob = rig.join("bob", 1, true);
    rig.got(bob);
    let hello = crate::wire::types::Hello { protocol: 1, receive: true, ..Default::default() };
    rig.engine.data(conn, &mut rig::framed(&ClientFrame::Hello(hello)));
    rig.turn();
    assert!(!rig.closed(bob), "it replaces nobody");
    rig.send(bob, "ann", b"1", b"x");
    let ann = Client { wire: 7, conn };
    assert_eq!(seqs(&rig.got(ann)), [1]);
}

#[test]
fn a_user_whom_only_a_conversation_knows_has_the_devices_that_it_knows_i12() {
    let mut rig = rig();
    let (ann, bob) = pair(&mut rig);
    rig.cut(bob);
    rig.send(ann, "bob", b"1", b"x");
    let slot = rig.engine.directory.find("bob").unwrap();
    // As if the disk had lost bob's own record; without damage, a missing row is not made anew.
    rig.engine.rows.doubtful = true;
    rig.engine.directory.get_mut(slot).unwrap().known = false;
    rig.engine.directory.get_mut(slot).unwrap().devices.clear();
    assert!(!rig.cold.contains_key(&Key::User("bob".into())));
    let bob = rig.join("bob", 1, true);
    assert_eq!(seqs(&rig.got(bob)), [1]);
}

#[test]
fn a_repeat_is_accepted_whatever_changed_since_i4() {
    let mut rig = rig();
    let (ann, bob) = pair(&mut rig);
    let tablet = rig.join("bob", 2, true);
    rig.cut(tablet);
    let key = |id| rig::message(crate::wire::types::Target::Device("bob".into(), 2), id, b"key");
    rig.feed(ann, &key(b"1"));
    rig.turn();
    let first = rig.got(ann);
    for _ in 0..36 {
        days(&mut rig, 1);
        for user in ["ann", "bob"] {
            let client = rig.join(user, 1, true);
            rig.cut(client);
        }
    }
    assert_eq!(rig.engine.stats().devices_dropped_total, 1);
    let _ = bob;
    let ann = rig.join("ann", 1, true);
    rig.got(ann);
    rig.engine.space(false);
    rig.feed(ann, &key(b"1"));
    rig.turn();
    assert_eq!(rig.got(ann)[..1], first[..1]);
    rig.feed(ann, &key(b"2"));
    rig.turn();
    assert_eq!(codes(&rig.got(ann)), ["unknown_user"]);
}

#[test]
fn an_empty_router_still_knows_how_late_it_is() {
    let mut rig = rig();
    let ann = rig.join("ann", 1, true);
    rig.cut(ann);
    quiet(&mut rig);
    let mut rig = restart(rig);
    quiet(&mut rig);
    assert_eq!((rig.engine.stats().users_in_memory, rig.engine.stats().log_segments), (0, 1));
    let before = rig.engine.time_ms();
    rig.now.wall_ms -= 1_800_000;
    let rig = restart(restart(rig));
    assert!(rig.engine.time_ms() + 1_500_000 > before, "time does not run backwards");
}

#[test]
fn the_ids_of_a_device_that_was_dropped_do_not_come_back_for_somebody_else_i4() {
    let mut rig = rig();
    let (ann, _) = pair(&mut rig);
    let tablet = rig.join("bob", 2, true);
    rig.got(tablet);
    rig.send(tablet, "bob", b"1", b"x");
    rig.cut(tablet);
    for _ in 0..36 {
        days(&mut rig, 1);
        for user in ["ann", "bob"] {
            let client = rig.join(user, 1, true);
            rig.cut(client);
        }
    }
    assert_eq!(rig.engine.stats().devices_dropped_total, 1);
    let _ = ann;
    let rig = restart(rig);
    let user = rig.engine.directory.find("bob").unwrap();
    assert!(rig.engine.sequencer.sender((user, 2)).is_none());
}

#[test]
fn a_number_that_a_crash_took_back_is_given_again_i2() {
    let options = LogOptions { batch_bytes: 150, ..small_log() };
    let mut rig = Rig::open(SimDisk::new(1), Config::default(), options.clone(), START, Default::default());
    let (ann, _) = pair(&mut rig);
    rig.hold_disk = true;
    rig.send(ann, "bob", b"1", &[0; 100]);
    let time_ms = rig.engine.time_ms();
    // The state of the conversation is written, the message is not.
    let mut batches = rig.engine.log().take(time_ms);
    assert!(batches.len() > 1, "{batches:?}");
    batches.truncate(batches.len() - 1);
    rig.write(&mut batches);
    let mut rig = restart(rig);
    let (ann, bob) = pair(&mut rig);
    rig.send(ann, "bob", b"1", b"x");
    assert!(matches!(rig.got(ann)[..], [Got::Accepted { seq: 1, .. }]));
    assert_eq!(seqs(&rig.got(bob)), [1]);
}

#[test]
fn a_device_that_takes_over_a_waiting_mailbox_lacks_nothing_of_its_own_i5() {
    let mut rig = rig();
    let (ann, bob) = pair(&mut rig);
    let _ = bob;
    rig.hold_disk = true;
    rig.send(ann, "bob", b"1", b"x");
    rig.hold_disk = false;
    rig.engine.hold_between = true;
    rig.turn();
    // Ann's device goes before its message is delivered, and is back after a restart.
    let user = rig.engine.directory.find("ann").unwrap();
    let devices = std::mem::take(&mut rig.engine.directory.get_mut(user).unwrap().devices);
    for slot in rig.engine.delivery.fit_devices(&rig.engine.directory, user) {
        rig.engine.log_conversation(slot);
    }
    rig.engine.directory.get_mut(user).unwrap().devices = devices;
    rig.turn();
    let mut rig = restart(rig);
    let at = rig.engine.delivery.get(0).unwrap().id;
    let bob = rig.join("bob", 1, true);
    rig.ack(bob, at, 1);
    assert_eq!(rig.engine.stats().messages_pending, 0);
}
