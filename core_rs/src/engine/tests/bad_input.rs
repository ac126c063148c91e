//! What a client can get wrong: a clear error, at most its own connection, nothing lost (I10).

use super::*;
use crate::engine::{Identity, Verdict};
use crate::link::MAGIC;
use crate::wire::types::{ClientFrame, Hello, Target};

fn hello() -> ClientFrame<'static> {
    ClientFrame::Hello(Hello { protocol: 1, receive: true, ..Hello::default() })
}

#[test]
fn the_first_frame_must_be_hello_once_and_in_time() {
    let mut rig = rig();
    let (wire, conn) = rig.open_raw();
    let early = Client { wire, conn };
    rig.engine.data(conn, &mut MAGIC.to_vec());
    assert_eq!(rig.feed(early, &ClientFrame::Ping { nonce: 1 }), Verdict::Closed);
    rig.turn();
    assert_eq!(codes(&rig.got(early)), ["hello_expected"]);
    let twice = rig.join("ann", 1, true);
    rig.got(twice);
    rig.feed(twice, &hello());
    rig.turn();
    assert_eq!(codes(&rig.got(twice)), ["hello_twice"]);
    assert!(rig.closed(twice));
    let (wire, conn) = rig.open_raw();
    rig.engine.data(conn, &mut MAGIC.to_vec());
    rig.pass(10_100);
    assert_eq!(codes(&rig.got(Client { wire, conn })), ["hello_timeout"]);
    let (wire, conn) = rig.open_raw();
    rig.pass(10_100);
    assert!(rig.got(Client { wire, conn }).is_empty() && rig.wires[&wire].closed, "it speaks no known carrier");
}

#[test]
fn a_websocket_that_never_said_a_frame_is_told_by_its_close_frame_alone() {
    const HANDSHAKE: &str = "GET /v1 HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                             Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n";
    let close = [&[0x88, 2 + 13], &4002_u16.to_be_bytes()[..], b"hello_timeout"].concat();
    // Nothing, a ping, and half of a text message.
    for said in [&[][..], &[0x89, 0x80, 0, 0, 0, 0], &[0x01, 0x81, 0, 0, 0, 0, b'{']] {
        let mut rig = rig();
        let (wire, conn) = rig.open_raw();
        rig.engine.data(conn, &mut [HANDSHAKE.as_bytes(), said].concat());
        rig.turn();
        let answered = rig.wires[&wire].bytes().len();
        rig.pass(10_100);
        assert_eq!(rig.wires[&wire].bytes()[answered..], close, "{said:x?}");
        assert!(rig.wires[&wire].closed);
    }
}

#[test]
fn a_foreign_version_a_refused_token_and_a_senseless_identity_end_the_connection() {
    let mut rig = rig();
    let (wire, conn) = rig.open_raw();
    rig.engine.data(conn, &mut MAGIC.to_vec());
    rig.feed(Client { wire, conn }, &ClientFrame::Hello(Hello { protocol: 2, ..Hello::default() }));
    rig.turn();
    assert_eq!(codes(&rig.got(Client { wire, conn })), ["version"]);
    for device in [0, 70_000] {
        let (wire, conn) = rig.open_raw();
        rig.engine.data(conn, &mut MAGIC.to_vec());
        rig.feed(Client { wire, conn }, &hello());
        rig.engine.admit(conn, Identity { user: "ann".into(), device, expires_ms: 0 });
        rig.turn();
        assert_eq!(codes(&rig.got(Client { wire, conn })), ["bad_token"]);
    }
    let (wire, conn) = rig.open_raw();
    rig.engine.data(conn, &mut MAGIC.to_vec());
    rig.feed(Client { wire, conn }, &hello());
    rig.engine.refuse(conn, "token_expired", "Too late.");
    rig.turn();
    assert_eq!(codes(&rig.got(Client { wire, conn })), ["token_expired"]);
}

#[test]
fn a_token_that_expires_while_its_user_is_loaded_is_not_welcome() {
    let mut rig = rig();
    let (wire, conn) = rig.open_raw();
    let client = Client { wire, conn };
    rig.engine.data(conn, &mut MAGIC.to_vec());
    rig.feed(client, &hello());
    rig.hold_cold = true;
    let expires_ms = rig.now.wall_ms + 5_000;
    rig.engine.admit(conn, Identity { user: "ann".into(), device: 1, expires_ms });
    rig.pass(5_000);
    rig.release();
    let got = rig.got(client);
    assert!(!got.iter().any(|frame| matches!(frame, Got::Welcome { .. })), "{got:?}");
    assert_eq!(codes(&got), ["token_expired"]);
}

#[test]
fn a_session_ends_with_its_token() {
    let mut rig = rig();
    let (wire, conn) = rig.open_raw();
    rig.engine.data(conn, &mut MAGIC.to_vec());
    rig.feed(Client { wire, conn }, &hello());
    let expires_ms = rig.now.wall_ms + 5_000;
    rig.engine.admit(conn, Identity { user: "ann".into(), device: 1, expires_ms });
    rig.pass(4_000);
    assert!(codes(&rig.got(Client { wire, conn })).is_empty());
    rig.pass(1_100);
    assert_eq!(codes(&rig.got(Client { wire, conn })), ["token_expired"]);
}

#[test]
fn a_silent_connection_is_pinged_and_then_closed() {
    let mut rig = rig();
    let (ann, bob) = pair(&mut rig);
    rig.pass(60_100);
    assert_eq!(rig.got(ann), [Got::Ping]);
    rig.feed(ann, &ClientFrame::Pong { nonce: 0 });
    rig.pass(30_100);
    assert!(!rig.closed(ann) && rig.closed(bob));
}

#[test]
fn acks_beyond_the_head_and_in_foreign_conversations_are_refused_and_the_connection_stays_i8() {
    let mut rig = rig();
    let (ann, bob) = pair(&mut rig);
    let eve = rig.join("eve", 1, true);
    rig.got(eve);
    rig.send(ann, "bob", b"1", b"x");
    let at = conversation(&rig.got(ann));
    rig.got(bob);
    rig.ack(bob, at, 2);
    assert_eq!(codes(&rig.got(bob)), ["ack_beyond_head"]);
    rig.read(bob, at, 1);
    assert_eq!(codes(&rig.got(bob)), ["ack_beyond_head"], "read before delivered");
    rig.ack(eve, at, 1);
    rig.read(eve, at, 1);
    rig.ack(eve, [9; 16], 1);
    rig.feed(eve, &rig::message(Target::Conversation(at), b"1", b"x"));
    rig.feed(eve, &rig::message(Target::Conversation([9; 16]), b"1", b"x"));
    rig.turn();
    assert_eq!(codes(&rig.got(eve)), ["unknown_conversation"; 5], "one cannot tell which exist");
    rig.ack(bob, at, 1);
    assert_eq!(receipts(&rig.got(ann)), [("bob", 1, 0)]);
}

#[test]
fn bodies_at_the_limit_pass_and_above_it_are_refused() {
    let mut rig = rig_with(Config { body_bytes: 1000, ..Config::default() });
    let (ann, bob) = pair(&mut rig);
    rig.send(ann, "bob", b"1", &[0; 1000]);
    rig.send(ann, "bob", b"2", &[0; 1001]);
    let got = rig.got(ann);
    assert!(matches!(&got[0], Got::Accepted { .. }));
    assert_eq!(codes(&got), ["body_too_large"]);
    rig.send(ann, "nobody", b"3", b"x");
    assert_eq!(codes(&rig.got(ann)), ["unknown_user"]);
    rig.send(ann, "bob", b"4", b"x");
    assert_eq!(seqs(&rig.got(bob)), [1, 2], "refused sends take no number (I2)");
}

#[test]
fn an_id_is_remembered_until_confirmed_and_bound_to_its_conversation_i4() {
    let mut rig = rig();
    let (ann, _) = pair(&mut rig);
    rig.join("cal", 1, true);
    rig.send(ann, "bob", b"1", b"x");
    rig.send(ann, "bob", b"1", b"x");
    rig.send(ann, "cal", b"1", b"x");
    let got = rig.got(ann);
    assert_eq!(got[0], got[1]);
    assert_eq!(codes(&got), ["id_reused"]);
    confirm(&mut rig, ann, &got);
    rig.send(ann, "cal", b"1", b"x");
    assert!(matches!(rig.got(ann)[..], [Got::Accepted { seq: 1, .. }]), "confirmed, so it may be used again");
}

#[test]
fn a_full_conversation_refuses_and_goes_on_when_there_is_room() {
    let mut rig = rig_with(Config { conversation_messages: 2, ..Config::default() });
    let (ann, bob) = pair(&mut rig);
    for id in [b"1", b"2", b"3"] {
        rig.send(ann, "bob", id, b"x");
    }
    let got = rig.got(ann);
    assert_eq!(codes(&got), ["conversation_full"]);
    rig.ack(bob, conversation(&got), 1);
    rig.send(ann, "bob", b"3", b"x");
    assert!(rig.got(ann).iter().any(|g| matches!(g, Got::Accepted { seq: 3, .. })));
}

#[test]
fn too_many_devices_are_refused_at_the_limit() {
    let mut rig = rig_with(Config { devices: 2, ..Config::default() });
    rig.join("ann", 1, true);
    rig.join("ann", 2, true);
    let third = rig.join("ann", 3, true);
    assert_eq!(codes(&rig.got(third)), ["too_many_devices"]);
    let again = rig.join("ann", 2, true);
    assert!(!rig.closed(again));
}

#[test]
fn a_full_disk_refuses_sends_while_acks_and_reading_go_on() {
    let mut rig = rig();
    let (ann, bob) = pair(&mut rig);
    rig.engine.space(false);
    let mut seq = 0;
    loop {
        rig.send(ann, "bob", &[seq as u8], &[0; 1000]);
        match &rig.got(ann)[..] {
            [Got::Accepted { .. }] => seq += 1,
            refused => break assert_eq!(codes(refused), ["storage_full"]),
        }
    }
    assert_eq!(rig.engine.log().segment(), 1, "nothing is begun for which there is no room");
    let at = conversation(&rig.got(bob));
    rig.ack(bob, at, seq);
    assert_eq!(receipts(&rig.got(ann)), [("bob", seq, 0)]);
    rig.engine.space(true);
    rig.send(ann, "bob", b"again", b"x");
    assert_eq!(seqs(&rig.got(bob)), [seq + 1]);
}

#[test]
fn on_a_full_disk_the_last_segment_is_for_acknowledgements_and_a_repeat_is_no_send() {
    let mut rig = rig();
    let (ann, _) = pair(&mut rig);
    rig.send(ann, "bob", b"1", b"x");
    rig.engine.space(false);
    let segment = rig.engine.log().segment();
    // Acknowledgements and the like have begun the next one.
    while rig.engine.log().segment() == segment {
        rig.engine.log().append(&[(0, &[&[0; 1000]])], true, |_| ()).unwrap();
        rig.turn();
    }
    rig.got(ann);
    rig.send(ann, "bob", b"2", b"x");
    assert_eq!(codes(&rig.got(ann)), ["storage_full"]);
    rig.send(ann, "bob", b"1", b"x");
    assert!(matches!(rig.got(ann)[..], [Got::Accepted { seq: 1, .. }]));
    rig.engine.space(true);
    rig.send(ann, "bob", b"2", b"x");
    assert!(matches!(rig.got(ann)[..], [Got::Accepted { seq: 2, .. }]));
}

#[test]
fn on_a_disk_that_is_full_from_the_start_no_segment_is_begun_for_a_send() {
    let mut rig = rig();
    pair(&mut rig);
    let mut rig = restart(rig);
    rig.engine.space(false);
    let ann = rig.join("ann", 1, false);
    rig.got(ann);
    rig.send(ann, "bob", b"1", b"x");
    assert_eq!(codes(&rig.got(ann)), ["storage_full"]);
}

#[test]
fn a_failed_disk_ends_the_router_i10() {
    let mut rig = rig();
    let (ann, _) = pair(&mut rig);
    rig.engine.fail("sync: Input/output error");
    rig.turn();
    assert_eq!(codes(&rig.got(ann)), ["internal"]);
    assert!(rig.closed(ann) && rig.engine.failed().is_some());
}

#[test]
fn a_sender_who_outruns_the_disk_is_not_read_until_it_caught_up() {
    let mut rig = rig_with(Config { unaccepted_messages: 4, ..Config::default() });
    let (ann, bob) = pair(&mut rig);
    rig.hold_disk = true;
    for n in 0..4u8 {
        rig.feed(ann, &rig::message(Target::User("bob".into()), &[n], b"x"));
    }
    rig.turn();
    assert!(rig.wires[&ann.wire].paused);
    rig.hold_disk = false;
    rig.turn();
    assert!(!rig.wires[&ann.wire].paused);
    assert_eq!(seqs(&rig.got(bob)), [1, 2, 3, 4]);
}
