//! What leaves memory when it is quiet, and comes back when it is wanted.

use super::*;
use crate::engine::Key;
use crate::wire::types::{Change, Manage};

#[test]
fn a_quiet_conversation_and_its_users_leave_memory_and_numbers_go_on_i2() {
    let mut rig = rig();
    let (ann, bob) = pair(&mut rig);
    rig.send(ann, "bob", b"1", b"x");
    let mut got = rig.got(ann);
    let at = conversation(&got);
    rig.ack(bob, at, 1);
    got.extend(rig.got(ann));
    assert!(matches!(got.last(), Some(Got::Receipt { .. })));
    confirm(&mut rig, ann, &got);
    rig.cut(ann);
    rig.cut(bob);
    quiet(&mut rig);
    let stats = rig.engine.stats();
    assert_eq!((stats.users_in_memory, stats.conversations_in_memory), (0, 0));
    for crashed in [false, true] {
        if crashed {
            rig = restart(rig);
        }
        let ann = rig.join("ann", 1, true);
        rig.got(ann);
        rig.send(ann, "bob", if crashed { b"3" } else { b"2" }, b"x");
        let seq = if crashed { 3 } else { 2 };
        assert!(matches!(rig.got(ann)[..], [Got::Accepted { seq: got, .. }] if got == seq));
        let bob = rig.join("bob", 1, true);
        assert_eq!(seqs(&rig.got(bob)), [seq]);
        rig.ack(bob, at, seq);
        rig.pass(1_100);
        rig.cut(ann);
        rig.cut(bob);
    }
}

#[test]
fn what_a_sender_has_not_been_told_keeps_a_conversation_in_memory_i7() {
    let mut rig = rig();
    let (ann, bob) = pair(&mut rig);
    rig.send(ann, "bob", b"1", b"x");
    let at = conversation(&rig.got(ann));
    rig.cut(ann);
    rig.ack(bob, at, 1);
    rig.cut(bob);
    quiet(&mut rig);
    let ann = rig.join("ann", 1, true);
    assert_eq!(receipts(&rig.got(ann)), [("bob", 1, 0)]);
}

#[test]
fn frames_wait_in_order_for_what_is_being_loaded() {
    let mut rig = rig();
    let ann = rig.join("ann", 1, true);
    rig.got(ann);
    rig.cold.insert(Key::User("bob".into()), Vec::new());
    rig.hold_cold = true;
    rig.send(ann, "bob", b"1", b"x");
    rig.send(ann, "ann", b"2", b"x");
    rig.send(ann, "nobody", b"3", b"x");
    assert!(rig.got(ann).is_empty());
    while !rig.held.is_empty() {
        rig.release();
    }
    let got = rig.got(ann);
    let ids: Vec<&[u8]> = got
        .iter()
        .map(|g| match g {
            Got::Accepted { id, .. } | Got::Error { id, .. } => id.as_slice(),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(ids, [b"1", b"2", b"3"]);
    assert_eq!(codes(&got), ["unknown_user"]);
}

#[test]
fn a_sender_to_many_strangers_waits_once_for_each_row() {
    let mut rig = rig();
    let senders: Vec<_> = ["ann", "bob"].map(|name| rig.join(name, 1, true)).into();
    senders.iter().for_each(|s| drop(rig.got(*s)));
    rig.hold_cold = true;
    let strangers: Vec<String> = (0..20).map(|n| format!("u{n}")).collect();
    for name in &strangers {
        rig.cold.insert(Key::User(name.as_str().into()), Vec::new());
        senders.iter().for_each(|s| rig.send(*s, name, name.as_bytes(), b"x"));
    }
    while !rig.held.is_empty() {
        rig.release();
        assert!(rig.engine.loading.values().all(|waiting| waiting.len() <= senders.len()));
    }
    for sender in senders {
        assert_eq!(rig.got(sender).len(), strangers.len());
    }
}

#[test]
fn a_hundred_quiet_conversations_of_one_user_all_leave() {
    let mut rig = rig_with(Config { idle_ms: u64::MAX >> 1, ..Config::default() });
    let ann = rig.join("ann", 1, false);
    for n in 0..100 {
        let name = format!("user{n}");
        let other = rig.join(&name, 1, true);
        rig.send(ann, &name, name.as_bytes(), b"x");
        let at = conversation(&rig.got(other)[1..]);
        rig.ack(other, at, 1);
        rig.cut(other);
    }
    quiet(&mut rig);
    let stats = rig.engine.stats();
    assert_eq!((stats.users_in_memory, stats.conversations_in_memory), (1, 0), "ann is still connected");
    rig.got(ann);
    rig.send(ann, "user42", b"again", b"x");
    assert!(matches!(rig.got(ann)[..], [Got::Accepted { seq: 2, .. }]));
}

#[test]
fn a_peer_and_the_conversation_with_it_are_asked_for_at_once_i13() {
    let mut rig = rig();
    let ann = rig.join("ann", 1, true);
    rig.cold.insert(Key::User("bob".into()), Vec::new());
    rig.hold_cold = true;
    rig.send(ann, "bob", b"1", b"x");
    assert_eq!(rig.held.len(), 2, "one journey to the cold store, whoever is in memory");
    rig.release();
    rig.got(ann);
    assert_eq!(rig.engine.stats().accepted_total, 1);
}

/// Ann and bob have talked; both, and their conversation, are not in memory.
fn all_cold() -> (Rig<SimDisk>, ConversationId) {
    let mut rig = rig();
    let (ann, bob) = pair(&mut rig);
    rig.send(ann, "bob", b"1", b"x");
    let mut got = rig.got(ann);
    let at = conversation(&got);
    rig.ack(bob, at, 1);
    got.extend(rig.got(ann));
    assert!(matches!(got.last(), Some(Got::Receipt { .. })));
    confirm(&mut rig, ann, &got);
    rig.cut(ann);
    rig.cut(bob);
    quiet(&mut rig);
    let stats = rig.engine.stats();
    assert_eq!((stats.users_in_memory, stats.conversations_in_memory), (0, 0));
    (rig, at)
}

#[test]
fn a_damaged_row_of_a_conversation_refuses_its_sends_and_gives_no_number_twice_i2() {
    let (mut rig, at) = all_cold();
    let cal = rig.join("cal", 1, true);
    rig.cold.get_mut(&Key::Conversation(at)).unwrap()[10] ^= 1;
    let (ann, _) = (rig.join("ann", 1, true), rig.got(cal));
    rig.got(ann);
    for id in [b"2", b"3"] {
        rig.send(ann, "bob", id, b"y");
        assert_eq!(codes(&rig.got(ann)), ["unavailable"]);
    }
    assert!(rig.alarms.iter().any(|(code, text)| *code == "cold_row_damaged" && text.contains("is damaged")));
    rig.send(ann, "cal", b"4", b"others are served");
    assert!(matches!(rig.got(ann)[..], [Got::Accepted { seq: 1, .. }]));
    // Put right, it goes on after the next start.
    rig.cold.get_mut(&Key::Conversation(at)).unwrap()[10] ^= 1;
    let mut rig = restart(rig);
    let ann = rig.join("ann", 1, true);
    rig.got(ann);
    rig.send(ann, "bob", b"5", b"y");
    assert!(matches!(rig.got(ann)[..], [Got::Accepted { seq: 2, .. }]));
}

#[test]
fn a_user_whose_row_is_damaged_or_of_a_later_version_is_not_made_anew() {
    for damaged in [true, false] {
        let (mut rig, _) = all_cold();
        let key = Key::User("bob".into());
        let row = match damaged {
            true => rig.cold[&key].iter().map(|byte| byte ^ 0x40).collect(),
            false => crate::engine::rows::seal(&key, b"\x09 of a later version"),
        };
        rig.cold.insert(key, row);
        let bob = rig.join("bob", 1, true);
        assert_eq!(codes(&rig.got(bob)), ["internal"]);
        assert!(rig.closed(bob));
        let ann = rig.join("ann", 1, true);
        rig.got(ann);
        rig.send(ann, "bob", b"2", b"y");
        assert_eq!(codes(&rig.got(ann)), ["unavailable"]);
    }
}

#[test]
fn a_row_that_the_log_mentions_is_not_taken_for_one_that_never_was_i2() {
    // The message is in the log, behind no state of its conversation: that is in the cold store, or should be.
    let (mut rig, at) = all_cold();
    let ann = rig.join("ann", 1, true);
    rig.got(ann);
    let before = rig.cold[&Key::Conversation(at)].clone();
    rig.engine.expect_row(at, 2);
    rig.send(ann, "bob", b"2", b"y");
    assert_eq!(codes(&rig.got(ann)), ["unavailable"], "the row knows of one message, the log of two");
    assert_eq!(rig.cold[&Key::Conversation(at)], before);
    let (mut rig, at) = all_cold();
    let ann = rig.join("ann", 1, true);
    rig.got(ann);
    rig.engine.expect_row(at, 1);
    rig.cold.remove(&Key::Conversation(at));
    rig.send(ann, "bob", b"2", b"y");
    assert_eq!(codes(&rig.got(ann)), ["unavailable"]);
}

#[test]
fn a_session_goes_on_after_a_change_that_names_an_unusable_row_is_refused_i6() {
    let (mut rig, _) = all_cold();
    let key = Key::User("bob".into());
    let row = rig.cold[&key].iter().map(|byte| byte ^ 0x40).collect();
    rig.cold.insert(key, row);
    let ann = rig.join("ann", 1, true);
    rig.got(ann);
    for id in [b"2", b"3", b"4"] {
        let (members, profile, rules) = (vec!["bob".into()], Default::default(), Default::default());
        let change = Change::Created { members, profile, rules };
        rig.feed(ann, &ClientFrame::Manage(Manage { id: id.into(), conversation: None, change }));
        rig.feed(ann, &ClientFrame::Ping { nonce: 7 });
        rig.turn();
        let got = rig.got(ann);
        assert_eq!(codes(&got), ["unavailable"]);
        assert!(matches!(got.last(), Some(Got::Pong(7))), "{got:?}");
    }
}
