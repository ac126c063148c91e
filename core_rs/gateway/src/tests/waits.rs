//! Rows: first uses, gates, loads; and the embedder's word.

use seam::RowKey;
use smallvec::smallvec;
use wire::codes;
use wire::types::{Ack, ClientFrame, Hello};

use super::frames::Got;
use super::rig::{Client, Rig, accepted, ping, send};
use super::script::Given;
use crate::{Config, Host, Key, Request};

fn user(name: &str) -> Key {
    Key::Row(RowKey::user(name))
}

#[test]
fn a_first_use_makes_the_trip_though_the_row_is_in_memory_and_a_second_one_makes_none_i13() {
    let mut rig = Rig::default();
    let ann = rig.join("ann", 1);
    rig.join("bob", 1);
    assert!(rig.script.here.contains(&RowKey::user("bob")));
    rig.hold_loads = true;
    rig.feed(ann, &[send("bob", "a")]);
    rig.turn();
    assert_eq!((rig.got(ann), &*rig.loads), (vec![], &[user("bob")][..]));
    assert!(rig.gateway().holds(&user("bob")));
    rig.answer_loads(1);
    rig.turn();
    assert_eq!(rig.got(ann), accepted(&["a"]));
    assert!(!rig.gateway().holds(&user("bob")));
    rig.feed(ann, &[send("bob", "b")]);
    rig.turn();
    assert_eq!((rig.got(ann), rig.loads.len()), (accepted(&["b"]), 0));
    // Until it was long ago, or memory is short.
    rig.gateway().forget_uses();
    rig.feed(ann, &[send("bob", "c")]);
    rig.turn();
    assert_eq!((rig.got(ann), &*rig.loads), (vec![], &[user("bob")][..]));
    rig.answer_loads(1);
    rig.pass(599_000);
    rig.got(ann);
    rig.feed(ann, &[send("bob", "d")]);
    rig.pass(1_000);
    assert!(rig.got(ann).contains(&Got::Accepted("d".into())));
    rig.feed(ann, &[send("bob", "e")]);
    rig.turn();
    assert_eq!((rig.got(ann), &*rig.loads), (vec![], &[user("bob")][..]));
}

#[test]
fn more_rows_than_are_remembered_are_used_by_one_frame_in_the_end() {
    let mut rig = Rig::default();
    let ann = rig.join("ann", 1);
    let authors = (0..1024).map(|number| format!("user{number}").into()).collect();
    rig.feed(ann, &[ClientFrame::Read(wire::types::Read { conversation: [1; 16], seq: 1, authors }), ping(1)]);
    rig.turn();
    assert_eq!(rig.got(ann), [Got::Pong(1)]);
}

#[test]
fn frames_that_want_the_same_row_wait_for_one_load_and_each_session_goes_on() {
    let mut rig = Rig::default();
    let clients: Vec<_> = (0..20).map(|number| rig.join(&format!("user{number}"), 1)).collect();
    let before = rig.gateway().stats().loads_total;
    rig.hold_loads = true;
    for round in 0..30 {
        for &client in &clients {
            rig.feed(client, &[send("bob", &format!("{round}"))]);
        }
        rig.turn();
    }
    assert_eq!((rig.loads.len(), rig.gateway().stats().loads_total - before), (1, 1));
    rig.hold_loads = false;
    rig.turn();
    let ids: Vec<String> = (0..30).map(|round| round.to_string()).collect();
    for client in clients {
        assert_eq!(rig.got(client), accepted(&ids.iter().map(String::as_str).collect::<Vec<_>>()));
    }
    assert_eq!(rig.gateway().diagnosis().iter().find(|entry| entry.0 == "gates"), Some(&("gates", 0)));
}

#[test]
fn loads_are_bounded_for_a_user_and_for_all_and_users_take_turns() {
    let mut rig = Rig { hold_loads: true, ..Rig::default() };
    let names: Vec<String> = (0..6).map(|number| format!("user{number}")).collect();
    for name in &names {
        for key in [RowKey::user(name), RowKey::device(name, 1)] {
            rig.script.here.insert(key);
        }
    }
    let clients: Vec<_> = names.iter().map(|name| rig.join(name, 1)).collect();
    for (number, &client) in clients.iter().enumerate() {
        let authors = (0..100).map(|author| format!("of{number}-{author}").into()).collect();
        let read = wire::types::Read { conversation: [number as u8; 16], seq: 1, authors };
        rig.feed(client, &[ClientFrame::Read(read)]);
        rig.step();
        assert_eq!(rig.loads.len(), ((number + 1) * 64).min(256));
    }
    rig.answer_loads(1);
    rig.step();
    assert_eq!(rig.loads.len(), 256);
    // The fifth and the sixth had none yet: they have the next ones, in turn.
    rig.answer_loads(200);
    rig.step();
    assert_eq!(rig.loads.len(), 256);
    let of = |number: usize| {
        let prefix = format!("of{number}-");
        rig.loads.iter().filter(|key| matches!(key, Key::Row(RowKey::User(name)) if name.starts_with(&prefix))).count()
    };
    assert!(of(4) > 30 && of(5) > 30, "{} and {}", of(4), of(5));
    rig.hold_loads = false;
    rig.turn();
    assert_eq!(rig.script.given.iter().filter(|given| format!("{given:?}").contains("read")).count(), 6);
}

#[test]
fn a_row_for_which_another_user_waits_in_a_long_queue_is_loaded_in_the_turn_of_each_i6() {
    let mut rig = Rig::default();
    let (hog, other) = (rig.join("hog", 1), rig.join("other", 1));
    rig.hold_loads = true;
    let authors = (0..500).map(|author| format!("user{author}").into()).collect();
    rig.feed(hog, &[ClientFrame::Read(wire::types::Read { conversation: [1; 16], seq: 1, authors })]);
    rig.turn();
    assert_eq!(rig.loads.len(), 64);
    rig.feed(other, &[send("user499", "a")]);
    rig.turn();
    assert_eq!(rig.loads.last(), Some(&user("user499")));
    rig.hold_loads = false;
    let before = rig.gateway().stats().loads_total;
    rig.turn();
    assert_eq!(rig.gateway().stats().loads_total - before, 501 - 65, "nothing is loaded twice");
    assert_eq!(rig.got(other), accepted(&["a"]));
}

#[test]
fn a_load_counts_for_the_user_in_whose_turn_it_began_until_it_ends() {
    let mut rig = Rig::default();
    let (ann, bob) = (rig.join("ann", 1), rig.join("bob", 1));
    rig.hold_loads = true;
    let read = |of: &str, count: usize| {
        let authors = (0..count).map(|author| format!("{of}{author}").into()).collect();
        ClientFrame::Read(wire::types::Read { conversation: [1; 16], seq: 1, authors })
    };
    rig.feed(ann, &[read("shared", 40)]);
    rig.feed(bob, &[read("shared", 40)]);
    rig.turn();
    assert_eq!(rig.loads.len(), 41);
    rig.hold_loads = false;
    rig.turn();
    rig.hold_loads = true;
    for (client, name) in [(ann, "ann"), (bob, "bob")] {
        rig.feed(client, &[read(name, 100)]);
        rig.turn();
    }
    assert_eq!(rig.loads.len(), 128, "each has its 64 again");
}

#[test]
fn loads_that_nobody_wants_any_more_are_passed_over_a_bounded_number_at_a_time_i11() {
    let mut rig = Rig::default();
    let hogs: Vec<_> = (1..21).map(|device| rig.join("hog", device)).collect();
    let other = rig.join("other", 1);
    rig.hold_loads = true;
    for &hog in &hogs {
        let authors = (0..1000).map(|author| format!("user{}-{author}", hog.wire).into()).collect();
        rig.feed(hog, &[ClientFrame::Read(wire::types::Read { conversation: [1; 16], seq: 1, authors })]);
    }
    rig.turn();
    hogs.into_iter().for_each(|hog| rig.lost(hog));
    rig.answer_loads(usize::MAX);
    let queued = |rig: &mut Rig| rig.gateway().diagnosis().into_iter().find(|entry| entry.0 == "loads_queued");
    let mut before = queued(&mut rig).map_or(0, |entry| entry.1);
    assert!(before > 19_000);
    while before > 0 {
        assert_eq!(rig.gateway().next_load(), None);
        let now = queued(&mut rig).map_or(0, |entry| entry.1);
        assert!(before - now <= 4096);
        before = now;
        // The driver comes again at once if there may be more.
        let mono_ms = rig.now().mono_ms;
        assert_eq!(rig.gateway().next_timer() == Some(mono_ms), now > 0);
    }
    rig.hold_loads = false;
    rig.feed(other, &[send("bob", "a")]);
    rig.turn();
    assert_eq!(rig.got(other), accepted(&["a"]));
}

#[test]
fn what_cannot_be_used_refuses_the_frame_and_is_asked_for_again_next_time() {
    let mut rig = Rig::default();
    let ann = rig.join("ann", 1);
    rig.unusable.insert(user("bob"));
    rig.feed(ann, &[send("bob", "a"), send("cem", "b")]);
    rig.turn();
    let refused = Got::Error(codes::UNAVAILABLE.into(), "a".into());
    assert_eq!(rig.got(ann), [refused, Got::Accepted("b".into())]);
    rig.unusable.clear();
    rig.feed(ann, &[send("bob", "c")]);
    rig.turn();
    assert_eq!(rig.got(ann), accepted(&["c"]));
}

#[test]
fn a_row_that_left_memory_before_its_frame_had_its_turn_is_loaded_again() {
    let mut rig = Rig::default();
    let ann = rig.join("ann", 1);
    let before = rig.gateway().stats().loads_total;
    rig.lose = 2;
    rig.feed(ann, &[send("bob", "a")]);
    rig.turn();
    assert_eq!((rig.got(ann), rig.gateway().stats().loads_total - before), (accepted(&["a"]), 3));
    assert_eq!(rig.gateway().diagnosis().iter().find(|entry| entry.0 == "gates"), Some(&("gates", 0)));
}

#[test]
fn a_session_that_ended_leaves_its_gates_and_what_it_queued_is_not_loaded() {
    let mut rig = Rig { hold_loads: true, ..Rig::default() };
    for key in [RowKey::user("ann"), RowKey::device("ann", 1)] {
        rig.script.here.insert(key);
    }
    let ann = rig.join("ann", 1);
    let authors = (0..200).map(|number| format!("user{number}").into()).collect();
    rig.feed(ann, &[ClientFrame::Read(wire::types::Read { conversation: [1; 16], seq: 1, authors })]);
    rig.turn();
    assert_eq!(rig.loads.len(), 64);
    rig.lost(ann);
    rig.turn();
    rig.hold_loads = false;
    rig.turn();
    assert_eq!(rig.gateway().stats().loads_total, 64);
    assert_eq!(rig.gateway().diagnosis().iter().find(|entry| entry.0 == "gates"), Some(&("gates", 0)));
}

#[test]
fn the_parts_of_an_ack_are_commands_of_their_own() {
    let mut rig = Rig::default();
    let (receives, sends) = (rig.join("ann", 1), rig.socket());
    rig.feed(sends, &[ClientFrame::Hello(Hello { protocol: 1, ..Hello::default() })]);
    rig.admit(sends, "ann", 1, 0);
    rig.turn();
    rig.script.given.clear();
    let accepted = smallvec![([1; 16], 1), ([2; 16], 7)];
    let ack = Ack { conversation: Some([3; 16]), seq: 9, receipts: b"token".into(), accepted };
    rig.feed(receives, &[ClientFrame::Ack(ack.clone()), ClientFrame::Ack(Ack::default())]);
    rig.feed(sends, &[ClientFrame::Ack(ack)]);
    let frame = |client: Client, what: &str| Given::Frame(client.id, what.into());
    // What a session without receipts has of them says nothing about its device.
    let wanted = [
        frame(receives, "confirm 2"),
        frame(receives, "seen token"),
        frame(receives, "ack"),
        frame(sends, "confirm 2"),
        frame(sends, "ack"),
    ];
    assert_eq!(rig.script.given, wanted);
    assert_eq!(rig.gateway().stats().acks_total, 2);
}

#[test]
fn the_embedder_is_asked_once_for_each_conversation_and_action_and_its_word_holds() {
    let mut rig = Rig::new(Config { authorize: true, ..Config::default() });
    let ann = rig.join("ann", 1);
    rig.asked.clear();
    rig.feed(ann, &[send("bob", "a"), send("bob", "b"), ping(1)]);
    rig.turn();
    assert_eq!(rig.got(ann), []);
    let [Request::Authorize { conn, ticket, action, .. }] = rig.asked[..] else { panic!("{:?}", rig.asked) };
    assert_eq!((conn, action), (ann.id, "send"));
    rig.gateway().permit(conn, ticket + 1, true);
    rig.feed(ann, &[ping(2)]);
    rig.turn();
    assert_eq!((rig.got(ann), rig.script.sends), (vec![], 1), "an answer to another question");
    rig.gateway().permit(conn, ticket, true);
    rig.turn();
    assert_eq!(rig.got(ann), [&accepted(&["a", "b"])[..], &[Got::Pong(1), Got::Pong(2)]].concat());
    // No is an answer as well, and holds.
    rig.feed(ann, &[send("carol", "c"), send("carol", "d")]);
    rig.turn();
    rig.gateway().permit(conn, ticket, false);
    rig.turn();
    let refused = |id: &str| Got::Error(codes::FORBIDDEN.into(), id.into());
    assert_eq!((rig.got(ann), rig.asked.len()), (vec![refused("c"), refused("d")], 2));
}
