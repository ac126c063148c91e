//! Frames that wait: their order, their turn, and what bounds it.

use wire::types::ClientFrame;

use super::frames::Got;
use super::rig::{Rig, accepted, framed, ping, send};
use super::script::Given;
use crate::{Config, Gateway, Host, Verdict};

#[test]
fn all_frames_of_a_session_wait_behind_its_first_in_order() {
    let mut rig = Rig::default();
    let ann = rig.join("ann", 1);
    rig.feed(ann, &[send("bob", "known")]);
    rig.turn();
    rig.got(ann);
    rig.hold_loads = true;
    rig.feed(ann, &[send("cem", "a"), send("bob", "b"), ping(3), send("cem", "d")]);
    rig.turn();
    assert_eq!(rig.got(ann), []);
    rig.hold_loads = false;
    rig.turn();
    let sends: Vec<_> = rig.script.given.iter().filter(|given| matches!(given, Given::Frame(..))).skip(1).collect();
    assert_eq!(sends, ["a", "b", "d"].map(|id| Given::Frame(ann.id, id.into())).iter().collect::<Vec<_>>());
    assert_eq!(rig.got(ann), [&accepted(&["a", "b"])[..], &[Got::Pong(3)], &accepted(&["d"])].concat());
}

#[test]
fn a_session_that_has_too_many_frames_waiting_is_not_read_until_they_are_done() {
    let mut rig = Rig::default();
    let ann = rig.join("ann", 1);
    rig.hold_loads = true;
    rig.feed(ann, &[send("bob", "a")]);
    let pings: Vec<_> = (0..257).map(ping).collect();
    rig.feed(ann, &pings[..255]);
    rig.turn();
    assert!(!rig.wires[&ann.wire].paused);
    rig.feed(ann, &pings[255..]);
    rig.turn();
    assert!(rig.wires[&ann.wire].paused);
    rig.hold_loads = false;
    rig.turn();
    assert!(!rig.wires[&ann.wire].paused);
    assert_eq!(rig.got(ann).len(), 258);
}

#[test]
fn a_turn_takes_up_so_many_frames_and_of_one_session_so_many_before_others_have_theirs_i11() {
    let mut rig = Rig::default();
    let greedy: Vec<_> = (0..5).map(|device| rig.join("ann", device + 1)).collect();
    let modest = rig.join("bob", 1);
    rig.hold_loads = true;
    let pings: Vec<_> = (0..250).map(ping).collect();
    for &client in &greedy {
        rig.feed(client, &[send("cem", "a")]);
        rig.feed(client, &pings);
    }
    rig.feed(modest, &[send("cem", "a")]);
    rig.feed(modest, &pings);
    rig.turn();
    rig.answer_loads(1);
    Gateway::turn(&mut rig);
    rig.drain();
    let handled: Vec<usize> = greedy.iter().map(|&client| rig.got(client).len()).collect();
    let other = rig.got(modest).len();
    assert_eq!(handled.iter().sum::<usize>() + other, 1024);
    // Users take turns: the one with one session has as many as the other with five, and all that it has.
    assert_eq!(other, 251);
    assert!(handled.iter().all(|&frames| frames >= 128), "{handled:?}");
    rig.turn();
    assert_eq!(greedy.iter().map(|&client| rig.got(client).len()).sum::<usize>() + 1024 - 251, 5 * 251);
}

#[test]
fn a_user_whose_sessions_always_have_frames_waiting_delays_nobody_i6() {
    let mut rig = Rig::default();
    let greedy: Vec<_> = (1..31).map(|device| rig.join("ann", device)).collect();
    let modest = rig.join("bob", 1);
    rig.hold_loads = true;
    let pings: Vec<_> = (0..250).map(ping).collect();
    for &client in &greedy {
        rig.feed(client, &[send("cem", "a")]);
    }
    for round in 0..30 {
        for &client in &greedy {
            rig.feed(client, &pings);
        }
        let name = format!("user{round}");
        rig.feed(modest, &[send(&name, &name), ping(1), send("bob", "b")]);
        // One turn asks for the row, and for that of `bob` the first time; one after the answer does the rest.
        for _ in 0..3 {
            Gateway::turn(&mut rig);
            while let Some(key) = rig.gateway().next_load() {
                rig.loads.push(key);
            }
            rig.answer_loads(usize::MAX);
            rig.sync();
        }
        rig.gateway().synced(seam::Position(u64::MAX));
        Gateway::turn(&mut rig);
        rig.drain();
        assert_eq!(rig.got(modest).len(), 3, "in round {round}");
        let left = rig.gateway().diagnosis().iter().any(|&(name, count)| name == "ready" && count > 0);
        assert!(left, "the others have frames left");
    }
}

#[test]
fn answers_of_a_turn_are_bounded_in_bytes_and_the_rest_comes_later_i11() {
    let mut rig = Rig::new(Config::default());
    rig.script.answer_bytes = 100 << 10;
    let clients: Vec<_> = (0..40).map(|number| rig.join(&format!("user{number}"), 1)).collect();
    for &client in &clients {
        rig.feed(client, &[ClientFrame::GroupGet { conversation: None }]);
    }
    rig.drain();
    let most = |rig: &Rig| rig.wires.values().map(|wire| wire.bytes.len()).sum::<usize>();
    assert!((1 << 20..(1 << 20) + (110 << 10)).contains(&most(&rig)), "{} bytes", most(&rig));
    let mut before = most(&rig);
    while rig.step() {
        assert!(most(&rig) - before < (1 << 20) + (110 << 10));
        before = most(&rig);
    }
    assert!(clients.iter().all(|&client| rig.got(client) == [Got::Other(13)]));
    assert!(rig.gateway().stats().turn_bytes_most < (1 << 20) + (110 << 10));
}

#[test]
fn a_client_that_asks_and_reads_nothing_is_not_answered_beyond_its_bound_i6() {
    let mut rig = Rig::default();
    rig.script.answer_bytes = 64 << 10;
    let ann = rig.join("ann", 1);
    rig.stall(ann, true);
    let mut asked = 0;
    while !rig.wires[&ann.wire].paused && asked < 10_000 {
        rig.feed(ann, &[ClientFrame::GroupGet { conversation: None }]);
        asked += 1;
        rig.step();
    }
    assert!(asked < 1000, "{asked}");
    assert!(rig.gateway().stats().held_bytes < 1 << 20);
    // What it sent already waits, whatever happens meanwhile, and is answered as it reads: nobody has to look at a clock.
    let many = vec![ClientFrame::GroupGet { conversation: None }; 50];
    rig.feed(ann, &many);
    rig.turn();
    rig.feed(ann, &many);
    rig.turn();
    assert!(rig.gateway().stats().held_bytes < 1 << 20);
    rig.stall(ann, false);
    rig.turn();
    assert_eq!(rig.got(ann).len(), asked + 100);
    assert!(!rig.wires[&ann.wire].paused);
}

#[test]
fn a_session_that_waits_for_others_of_its_user_is_read_again_when_these_have_read_i6() {
    let mut config = Config::default();
    config.accounts.user.held = 100 << 10;
    let mut rig = Rig::new(config);
    rig.script.answer_bytes = 90 << 10;
    let (slow, other) = (rig.join("ann", 1), rig.join("ann", 2));
    for client in [slow, other] {
        rig.stall(client, true);
        rig.feed(client, &[ClientFrame::GroupGet { conversation: None }]);
        rig.turn();
    }
    assert!(rig.wires[&other.wire].paused);
    rig.stall(slow, false);
    rig.turn();
    rig.pass(250);
    assert!(!rig.wires[&other.wire].paused, "though its own output is as it was");
}

#[test]
fn outputs_that_are_held_are_not_overtaken_by_later_ones_that_need_not_be() {
    let mut rig = Rig::default();
    let ann = rig.join("ann", 1);
    rig.feed(ann, &[send("bob", "first")]);
    rig.turn();
    rig.got(ann);
    rig.script.at.0 += 1;
    rig.feed(ann, &[send("bob", "a")]);
    rig.sync();
    // Durable, and not released yet.
    rig.feed(ann, &[send("bob", "b")]);
    rig.turn();
    assert_eq!(rig.got(ann), accepted(&["a", "b"]));
}

#[test]
fn a_frame_cut_at_any_byte_does_the_same() {
    let bytes: Vec<u8> = [send("bob", "a"), ping(5), send("bob", "b")].iter().flat_map(framed).collect();
    for cut in 0..bytes.len() {
        let mut rig = Rig::default();
        let ann = rig.join("ann", 1);
        assert_eq!(rig.bytes(ann, &bytes[..cut]), Verdict::Open);
        rig.turn();
        assert_eq!(rig.bytes(ann, &bytes[cut..]), Verdict::Open);
        rig.turn();
        assert_eq!(rig.got(ann), [&accepted(&["a"])[..], &[Got::Pong(5)], &accepted(&["b"])].concat());
    }
}

#[test]
fn while_the_log_is_behind_those_who_send_are_not_read() {
    let mut rig = Rig::default();
    let (ann, bob) = (rig.join("ann", 1), rig.join("bob", 1));
    rig.gateway().set_log_behind(true);
    rig.feed(ann, &[send("cem", "a")]);
    rig.turn();
    assert_eq!((rig.wires[&ann.wire].paused, rig.wires[&bob.wire].paused), (true, false));
    rig.gateway().set_log_behind(true);
    rig.turn();
    assert!(rig.wires[&ann.wire].paused);
    rig.gateway().set_log_behind(false);
    rig.turn();
    assert!(!rig.wires[&ann.wire].paused);
}
