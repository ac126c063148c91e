//! Faults that somebody looked for: rows that go to rest and come back, a store that fails, an idle node that does not come to
//! rest.

use super::*;
use crate::{Request, UserAnswer};
use store::{Fault, Key};

/// Every row goes to rest as soon as it may.
fn resting() -> Config {
    Config { rows_soft: 0, quiet_ms: 1000, ..Config::default() }
}

/// Lets rows go to rest.
fn rest(rig: &mut Rig<SimDisk>) {
    (0..300).for_each(|_| rig.pass(1000));
}

#[test]
fn a_user_whose_rows_are_at_rest_comes_back() {
    let mut rig = rig_with(resting());
    let (ann, bob) = pair(&mut rig);
    rig.send(ann, "bob", b"1", b"x");
    let at = conversation(&rig.got(ann));
    rig.ack(bob, at, 1);
    let got = rig.got(ann);
    confirm(&mut rig, ann, &got);
    [ann, bob].into_iter().for_each(|client| rig.cut(client));
    rest(&mut rig);
    assert_eq!(rig.node.partition.state.rows_len(), 0);
    let (ann, bob) = (rig.join("ann", 1, true), rig.join("bob", 1, true));
    assert_eq!((codes(&rig.got(ann)), codes(&rig.got(bob))), (vec![], vec![]), "{:?}", rig.alarms);
    rig.send(ann, "bob", b"2", b"y");
    assert_eq!(seqs(&rig.got(bob)), [2]);
    assert_eq!(rig.alarms, []);
}

/// A session that says hello; nothing is done about it yet.
fn hello(rig: &mut Rig<SimDisk>, user: &str) -> Client {
    let (wire, conn) = rig.open_raw();
    let hello = ClientFrame::Hello(wire::types::Hello { protocol: 1, receive: true, ..Default::default() });
    let mut bytes = link::MAGIC.to_vec();
    bytes.extend(rig::framed(&hello));
    rig.node.data(conn, &mut bytes);
    rig.node.admit(conn, gateway::Identity { user: user.into(), device: 1, expires_ms: 0 });
    Client { wire, conn }
}

#[test]
fn answers_of_the_store_are_taken_by_their_keys() {
    let mut rig = rig_with(resting());
    let (ann, bob) = pair(&mut rig);
    [ann, bob].into_iter().for_each(|client| rig.cut(client));
    rest(&mut rig);
    assert_eq!(rig.node.partition.state.rows_len(), 0);
    // The store answers in the order of keys, and each key once.
    let sessions = ["bob", "ann", "bob"].map(|user| hello(&mut rig, user));
    rig.turn();
    assert_eq!(rig.alarms, []);
    for session in &sessions[1..] {
        let got = rig.got(*session);
        assert!(matches!(got[..], [Got::Welcome { .. }]), "{got:?}");
    }
}

#[test]
fn rows_that_cannot_go_to_the_store_hold_up_no_others() {
    let mut rig = rig_with(resting());
    let (ann, bob) = pair(&mut rig);
    [ann, bob].into_iter().for_each(|client| rig.cut(client));
    // A row above what the store takes.
    let state = &mut rig.node.partition.state;
    let user = state.names.find("ann").unwrap();
    let entry = state.users.get_mut(user).unwrap();
    let name = |n: u32| compact_str::CompactString::from(format!("{n:064}"));
    entry.row.as_mut().unwrap().blocked = (0..20_000).map(name).collect();
    rest(&mut rig);
    let left: Vec<_> = rig.node.partition.state.rows().into_iter().map(|row| row.0).collect();
    assert_eq!(left, [seam::RowKey::user("ann")]);
    assert!(rig.node.rests.going_len() <= 1);
    assert!(rig.alarms.iter().any(|alarm| alarm.0 == "row_unstorable"));
    assert!(rig.alarms.len() < 5, "not told again and again");
}

#[test]
fn a_session_hears_of_receipts_though_a_row_of_its_conversations_is_damaged_i12() {
    for damaged in [true, false] {
        let mut rig = rig_with(resting());
        let (ann, bob) = pair(&mut rig);
        let cat = rig.join("cat", 1, true);
        rig.send(ann, "bob", b"1", b"x");
        let with_bob = conversation(&rig.got(ann));
        rig.send(ann, "cat", b"2", b"x");
        let with_cat = conversation(&rig.got(ann));
        rig.cut(ann);
        rig.ack(bob, with_bob, 1);
        rig.ack(cat, with_cat, 1);
        [bob, cat].into_iter().for_each(|client| rig.cut(client));
        rest(&mut rig);
        assert_eq!(rig.node.partition.state.rows_len(), 0);
        if damaged {
            assert!(rig.rows.damage(&Key::conversation(&with_bob)));
        }
        rig.hold_store = true;
        let ann = rig.join("ann", 1, true);
        for _ in 0..10 {
            let gets = |request: &Request| matches!(request, Request::Get { keys, .. } if keys.contains(&Key::conversation(&with_cat)));
            if !damaged && rig.held.iter().any(gets) {
                rig.rows.fail_reads(1, Fault::Busy);
            }
            rig.release();
        }
        rig.hold_store = false;
        rig.release();
        rig.pass(1000);
        let got = rig.got(ann);
        let told = receipts(&got);
        assert!(told.contains(&("cat", 1, 0)), "{damaged} {told:?} {:?}", rig.alarms);
        assert_eq!(told.contains(&("bob", 1, 0)), !damaged);
    }
}

/// A conversation whose other user is away.
fn with_absent(rig: &mut Rig<SimDisk>) -> (Client, ConversationId) {
    let (ann, bob) = pair(rig);
    rig.cut(bob);
    rig.send(ann, "bob", b"first", b"x");
    let at = conversation(&rig.got(ann));
    (ann, at)
}

#[test]
fn an_idle_log_of_few_long_messages_comes_to_rest() {
    let mut rig = rig();
    let (ann, _) = with_absent(&mut rig);
    for n in 0..60u8 {
        rig.send(ann, "bob", &[n], &[b'x'; 1300]);
    }
    (0..20).for_each(|_| rig.pass(1000));
    let before = rig.node.stats();
    (0..20).for_each(|_| rig.pass(1000));
    let after = rig.node.stats();
    assert_eq!((after.carried_total, after.log_bytes_total), (before.carried_total, before.log_bytes_total));
}

#[test]
fn a_device_at_rest_that_was_not_seen_is_dropped() {
    let mut rig = rig_with(Config { hold_ms: 10 * 24 * 3_600_000, ..resting() });
    let (ann, bob) = pair(&mut rig);
    rig.send(ann, "bob", b"1", b"x");
    let at = conversation(&rig.got(ann));
    rig.ack(bob, at, 1);
    rig.cut(bob);
    rig.cut(ann);
    rest(&mut rig);
    assert_eq!(rig.node.partition.state.rows_len(), 0);
    days(&mut rig, 12);
    rest(&mut rig);
    let ann = rig.join("ann", 2, true);
    rig.feed(ann, &ClientFrame::DevicesGet { user: "bob".into() });
    rig.turn();
    let got = rig.got(ann);
    let devices = got.iter().find_map(|got| if let Got::Devices { devices, .. } = got { Some(devices) } else { None });
    assert_eq!(devices.map(Vec::len), Some(0), "{got:?} {:?}", rig.alarms);
}

#[test]
fn a_start_finds_what_users_are_known_to_have_i14() {
    let mut rig = rig();
    let (ann, bob) = pair(&mut rig);
    (0..3u8).for_each(|n| rig.send(ann, "bob", &[n], b"x"));
    let at = conversation(&rig.got(ann));
    rig.ack(bob, at, 2);
    rig.pass(1000);
    // What a crash takes that comes before it is logged.
    let state = &mut rig.node.partition.state;
    let (slot, user) = (state.find(&at).unwrap(), state.names.find("bob").unwrap());
    let active = state.conversation_mut(slot).unwrap();
    let place = active.member(user, 1).unwrap();
    active.row.member_mut(place).unwrap().delivered = 0;
    rig.node.begun = false;
    rig.send(ann, "bob", b"4", b"x");
    let delivered = rig.node.partition.state.active(&at).unwrap().row.member(place).unwrap().delivered;
    assert_eq!(delivered, 2);
    let rig = restart(rig);
    assert!(rig.node.begun);
}

#[test]
fn a_user_is_there_for_an_embedder_when_it_is_durable_i1() {
    let mut rig = rig();
    rig.hold_disk = true;
    rig.node.create_user(1, "ann");
    rig.node.create_user(2, "ann");
    rig.node.has_user(3, "ann");
    rig.turn();
    assert_eq!(rig.users, []);
    rig.hold_disk = false;
    rig.turn();
    assert_eq!(rig.users, [(1, UserAnswer::Made), (2, UserAnswer::There), (3, UserAnswer::There)]);
}

#[test]
fn an_idle_log_of_few_long_messages_comes_to_rest_though_rows_have_left_it() {
    let mut rig = rig_with(Config { rows_soft: 0, quiet_ms: 1000, ..Config::default() });
    let ann = rig.join("ann", 1, false);
    let _bob = rig.join("bob", 1, false);
    for n in 0..60u8 {
        rig.send(ann, "bob", &[n], &[b'x'; 1300]);
    }
    (0..100).for_each(|_| rig.pass(1000));
    let before = rig.node.stats();
    (0..100).for_each(|_| rig.pass(1000));
    let after = rig.node.stats();
    assert_eq!(after.carried_total, before.carried_total);
    // Sessions end meanwhile.
    assert!(after.log_bytes_total < before.log_bytes_total + 1000, "{before:?} {after:?}");
}

#[test]
fn many_bodies_are_read_from_the_log_a_few_at_a_time_i11() {
    let mut rig = rig();
    let (ann, bob) = pair(&mut rig);
    rig.cut(bob);
    for n in 0..240u8 {
        rig.send(ann, "bob", &[n], b"x");
        let got = rig.got(ann);
        confirm(&mut rig, ann, &got);
    }
    let mut rig = restart(rig);
    hello(&mut rig, "cat");
    let bob = hello(&mut rig, "bob");
    let mut most = 0;
    for _ in 0..1000 {
        rig.node.set_now(rig.now);
        rig.node.run();
        rig.write_log();
        while let Some(request) = rig.node.next_request() {
            if let Request::Read { refs, .. } = &request {
                most = most.max(refs.len());
            }
            rig.answer(request);
        }
    }
    rig.turn();
    assert_eq!(seqs(&rig.got(bob)), (1..=240).collect::<Vec<_>>());
    assert!((1..=64).contains(&most), "{most}");
}
