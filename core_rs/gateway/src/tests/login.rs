//! Hello to welcome, keep-alive, and ends.

use link::MAGIC;
use wire::codes;
use wire::types::{ClientFrame, Hello};

use super::frames::{Got, read};
use super::rig::{Client, Rig, accepted, error, framed, hello, ping, send};
use super::script::Given;
use crate::accounts::{Bounds, Rate};
use crate::{Carrier, Config, Gateway, Host, Request, State, Verdict};

#[test]
fn hello_asks_for_the_token_and_the_answer_leads_to_welcome() {
    let mut rig = Rig::default();
    let client = rig.socket();
    rig.feed(client, &[hello()]);
    rig.turn();
    assert_eq!(rig.asked, [Request::Authenticate { conn: client.id, token: "t".into() }]);
    assert!(rig.wires[&client.wire].paused, "what follows hello is not read");
    rig.admit(client, "ann", 3, 0);
    rig.turn();
    assert_eq!(rig.got(client), [Got::Welcome("ann".into())]);
    assert!(!rig.wires[&client.wire].paused);
    assert_eq!(rig.state(client), Some(State::Live));
}

#[test]
fn frames_that_came_with_hello_are_answered_in_order_after_welcome() {
    let mut rig = Rig::default();
    let client = rig.socket();
    rig.feed(client, &[hello(), ping(1), send("bob", "a"), ping(2)]);
    rig.admit(client, "ann", 1, 0);
    rig.hold_loads = true;
    rig.turn();
    assert_eq!(rig.got(client), []);
    rig.hold_loads = false;
    rig.turn();
    assert_eq!(rig.got(client)[..2], [Got::Welcome("ann".into()), Got::Pong(1)]);
    let given: Vec<_> = rig.script.given.iter().filter(|given| matches!(given, Given::Frame(..))).collect();
    assert_eq!(given, [&Given::Frame(client.id, "a".into())]);
}

#[test]
fn welcome_waits_for_the_disk_and_nothing_precedes_it() {
    let mut rig = Rig { hold_disk: true, ..Rig::default() };
    let client = rig.socket();
    rig.feed(client, &[hello(), ping(1)]);
    rig.admit(client, "ann", 1, 0);
    rig.turn();
    rig.push(client, 3);
    rig.turn();
    assert_eq!((rig.got(client), rig.state(client)), (vec![], Some(State::Joining)));
    rig.sync();
    rig.turn();
    let got = rig.got(client);
    assert_eq!(got[0], Got::Welcome("ann".into()));
    assert!(got.contains(&Got::Pong(1)) && got.contains(&Got::Message(1)), "{got:?}");
}

#[test]
fn a_session_refused_by_the_partition_gets_the_error_once_it_is_durable_and_the_end() {
    let mut rig = Rig { hold_disk: true, ..Rig::default() };
    rig.script.refuse = Some(codes::TOO_MANY_DEVICES);
    let client = rig.socket();
    rig.feed(client, &[hello()]);
    rig.admit(client, "ann", 1, 0);
    rig.turn();
    assert_eq!((rig.got(client), rig.is_closed(client)), (vec![], false));
    rig.hold_disk = false;
    rig.turn();
    assert_eq!((rig.got(client), rig.is_closed(client)), (vec![error(codes::TOO_MANY_DEVICES)], true));
}

#[test]
fn a_local_connection_is_admitted_before_it_says_hello_and_is_not_pinged() {
    let mut rig = Rig::default();
    let client = rig.open(Carrier::Local);
    rig.admit(client, "ann", 1, 0);
    rig.pass(3_600_000);
    rig.feed(client, &[hello()]);
    rig.turn();
    assert_eq!(rig.got(client), [Got::Welcome("ann".into())]);
    rig.pass(3_600_000);
    rig.pass(3_600_000);
    assert_eq!((rig.got(client), rig.state(client)), (vec![], Some(State::Live)));
    assert_eq!(rig.asked, []);
}

#[test]
fn a_silent_connection_is_pinged_and_closed_after_the_grace() {
    let mut rig = Rig::default();
    let client = rig.join("ann", 1);
    rig.pass(61_000);
    assert_eq!(rig.got(client), [Got::Ping]);
    rig.feed(client, &[ClientFrame::Pong { nonce: 0 }]);
    rig.pass(31_000);
    assert_eq!((rig.got(client), rig.is_closed(client)), (vec![], false));
    rig.pass(31_000);
    assert_eq!(rig.got(client), [Got::Ping]);
    rig.pass(31_000);
    assert!(rig.is_closed(client));
    rig.turn();
    assert_eq!(rig.script.given.last(), Some(&Given::Detach(client.id)));
}

#[test]
fn a_connection_has_so_long_for_hello_whatever_else_it_is_looked_at_for() {
    let slow = Rate::new(10, 5);
    let mut config = Config::default();
    config.accounts.session = Bounds { bytes: slow, ..config.accounts.session };
    let mut rig = Rig::new(config);
    let client = rig.socket();
    let hello = framed(&hello());
    for byte in &hello[..hello.len() - 1] {
        rig.bytes(client, &[*byte]);
        rig.pass(100);
    }
    assert_eq!(rig.state(client), Some(State::Opening));
    rig.pass(9_300);
    assert_eq!((rig.got(client), rig.is_closed(client)), (vec![error(codes::HELLO_TIMEOUT)], true));
}

#[test]
fn a_token_that_expires_ends_its_session_in_any_state() {
    let mut rig = Rig::default();
    let expires_ms = rig.now().wall_ms + 5_000;
    let live = rig.socket();
    rig.feed(live, &[hello()]);
    rig.admit(live, "ann", 1, expires_ms);
    rig.turn();
    rig.got(live);
    rig.hold_loads = true;
    let joining = rig.socket();
    rig.feed(joining, &[hello()]);
    rig.admit(joining, "bob", 1, expires_ms);
    rig.pass(6_000);
    for client in [live, joining] {
        assert_eq!((rig.got(client), rig.is_closed(client)), (vec![error(codes::TOKEN_EXPIRED)], true));
    }
    rig.hold_loads = false;
    rig.turn();
    assert!(rig.script.sessions.is_empty());
}

#[test]
fn of_two_receiving_sessions_of_a_device_the_newest_wins() {
    let mut rig = Rig::default();
    let old = rig.join("ann", 1);
    let new = rig.join("ann", 1);
    assert_eq!((rig.got(old), rig.is_closed(old)), (vec![Got::Replaced], true));
    assert_eq!(rig.state(new), Some(State::Live));
    rig.lost(old);
    rig.turn();
    assert!(!rig.script.given.contains(&Given::Detach(old.id)), "its handle was over already");
}

#[test]
fn http_is_handed_over_with_all_that_was_read_and_is_forgotten() {
    let mut rig = Rig::default();
    let client = rig.open(Carrier::Socket);
    assert_eq!(rig.bytes(client, b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"), Verdict::Http);
    let prefix = rig.gateway().take_http_prefix(client.id);
    assert_eq!(prefix, b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_eq!(rig.state(client), None);
}

#[test]
fn an_early_frame_is_a_short_one() {
    let mut rig = Rig::new(Config { early_bytes: 100, ..Config::default() });
    let client = rig.socket();
    let long = "x".repeat(200);
    rig.feed(client, &[ClientFrame::Hello(Hello { protocol: 1, token: long.into(), ..Hello::default() })]);
    rig.turn();
    assert_eq!((rig.got(client), rig.is_closed(client)), (vec![error(codes::TOO_LARGE)], true));
    // As soon as so much of it has arrived.
    let client = rig.socket();
    let mut begun = vec![0xff, 0x01];
    begun.extend([b'x'; 150]);
    assert_eq!(rig.bytes(client, &begun), Verdict::Closed);
}

/// A WebSocket that has said hello in JSON.
fn websocket(rig: &mut Rig) -> Client {
    let client = rig.open(Carrier::Socket);
    let request = b"GET /v1 HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
        Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";
    rig.bytes(client, request);
    let text = br#"{"hello":{"protocol":1,"token":"t"}}"#;
    let mut frame = vec![0x81, 0x80 | text.len() as u8, 0, 0, 0, 0];
    frame.extend_from_slice(text);
    rig.bytes(client, &frame);
    rig.admit(client, "ann", 1, 0);
    client
}

#[test]
fn json_over_a_websocket_is_answered_as_json() {
    let mut rig = Rig::default();
    let client = websocket(&mut rig);
    rig.turn();
    let bytes = String::from_utf8_lossy(&rig.wires[&client.wire].bytes).into_owned();
    assert!(bytes.starts_with("HTTP/1.1 101"), "{bytes}");
    assert!(bytes.contains(r#"{"welcome":{"protocol":1,"user":"ann""#), "{bytes}");
}

#[test]
fn a_refused_session_is_closed_with_what_its_code_says_of_coming_again() {
    for (code, close) in [(codes::TOO_MANY_DEVICES, codes::close::AUTH), (codes::STORAGE_FULL, codes::close::SERVER)] {
        let mut rig = Rig::default();
        rig.script.refuse = Some(code);
        let client = websocket(&mut rig);
        rig.turn();
        let mut end = vec![0x88, 2 + code.len() as u8];
        end.extend(close.to_be_bytes());
        end.extend(code.as_bytes());
        assert!(rig.wires[&client.wire].bytes.ends_with(&end), "{code}");
    }
}

#[test]
fn a_connection_that_breaks_the_framing_is_told_and_closed_alone_i10() {
    let mut rig = Rig::default();
    let other = rig.join("bob", 1);
    let client = rig.join("ann", 1);
    assert_eq!(rig.bytes(client, &[0xff; 8]), Verdict::Closed);
    rig.turn();
    assert_eq!((rig.got(client), rig.is_closed(client)), (vec![error(codes::MALFORMED)], true));
    rig.feed(other, &[send("bob", "a")]);
    rig.turn();
    assert_eq!(rig.got(other), accepted(&["a"]));
    let mut magic = MAGIC.to_vec();
    magic.push(0);
    assert_eq!(read(&[]), []);
}

#[test]
fn stop_and_fail_end_everything_and_refuse_what_comes_later() {
    for fails in [false, true] {
        let mut rig = Rig::default();
        let live = rig.join("ann", 1);
        let checking = rig.socket();
        rig.feed(checking, &[hello()]);
        let opening = rig.socket();
        let gateway = rig.gateway();
        if fails {
            gateway.fail("a test");
        } else {
            gateway.stop("a test", 100);
        }
        rig.turn();
        let told = if fails { vec![error(codes::INTERNAL)] } else { vec![Got::Goodbye] };
        assert_eq!((rig.got(live), rig.got(checking)), (told.clone(), told));
        assert!([live, checking, opening].into_iter().all(|client| rig.is_closed(client)));
        assert!(rig.script.sessions.is_empty());
        let late = rig.open(Carrier::Socket);
        rig.turn();
        assert!(rig.is_closed(late));
    }
}

#[test]
fn a_polls_session_is_parked_between_requests_and_keeps_what_it_is_owed() {
    let mut rig = Rig::default();
    let client = rig.open(Carrier::Poll);
    rig.admit(client, "ann", 1, 0);
    rig.feed(client, &[hello()]);
    rig.turn();
    assert_eq!(rig.got(client), [Got::Welcome("ann".into())]);
    rig.gateway().lost(client.id);
    rig.push(client, 2);
    rig.pass(50_000);
    assert_eq!((rig.state(client), rig.got(client)), (Some(State::Parked), vec![]));
    assert_eq!(rig.gateway().carry(client.id, client.wire), Ok(None));
    rig.turn();
    assert_eq!(rig.got(client), [Got::Message(2), Got::Message(1)]);
    // A second request takes the first one's place.
    assert_eq!(rig.gateway().carry(client.id, 77), Ok(Some(client.wire)));
    rig.gateway().lost(client.id);
    rig.pass(61_000);
    rig.turn();
    assert_eq!((rig.state(client), rig.script.sessions.len()), (None, 0));
    assert!(rig.gateway().carry(client.id, 1).is_err());
}

#[test]
fn a_poll_whose_reply_was_lost_is_attached_anew_and_not_welcomed_again() {
    let mut rig = Rig::new(Config { authorize: true, ..Config::default() });
    let client = rig.open(Carrier::Poll);
    rig.admit(client, "ann", 1, 0);
    rig.feed(client, &[hello()]);
    rig.turn();
    rig.push(client, 2);
    rig.feed(client, &[send("bob", "a")]);
    rig.turn();
    assert_eq!(rig.got(client), [Got::Welcome("ann".into()), Got::Message(2), Got::Message(1)]);
    rig.script.given.clear();
    Gateway::rewind(&mut rig, client.id);
    assert_eq!(rig.state(client), Some(State::Joining));
    rig.turn();
    assert_eq!(rig.script.given, [Given::Detach(client.id), Given::Attach(client.id)]);
    assert_eq!((rig.state(client), rig.got(client)), (Some(State::Live), vec![]));
    rig.push(client, 2);
    let ticket = seam::Action::Send as u64;
    rig.gateway().permit(client.id, ticket, true);
    rig.turn();
    let mut got = rig.got(client);
    got.sort_by_key(|got| format!("{got:?}"));
    assert_eq!(got, [Got::Accepted("a".into()), Got::Message(1), Got::Message(2)]);
    assert_eq!(rig.gateway().stats().sessions, 1);
    // Nor does it wait for the rows of a frame that waits.
    rig.hold_loads = true;
    rig.feed(client, &[send("cem", "b")]);
    rig.turn();
    Gateway::rewind(&mut rig, client.id);
    rig.turn();
    assert_eq!((rig.state(client), rig.loads.len()), (Some(State::Live), 1));
}

#[test]
fn however_often_a_session_is_parked_it_has_few_timers() {
    let mut rig = Rig::new(Config { park_ms: 5_000, ..Config::default() });
    let client = rig.open(Carrier::Poll);
    rig.admit(client, "ann", 1, 0);
    rig.feed(client, &[hello()]);
    for _ in 0..300 {
        rig.pass(4_000);
        rig.gateway().lost(client.id);
        rig.pass(2_000);
        assert_eq!(rig.gateway().carry(client.id, client.wire), Ok(None));
        let timers = rig.gateway().diagnosis().into_iter().find(|entry| entry.0 == "timers");
        assert!(timers.is_some_and(|(_, count)| count < 20), "{timers:?}");
    }
}

#[test]
fn a_live_session_goes_on_in_another_process() {
    let (mut here, mut there) = (Rig::default(), Rig::default());
    let before = here.join("ann", 7);
    here.push(before, 3);
    here.turn();
    here.got(before);
    // An answer is held, a frame waits for its row, another one is half there.
    here.hold_loads = true;
    let ids: Vec<u8> = [send("bob", "a"), ping(5), send("bob", "b")].iter().flat_map(framed).collect();
    here.bytes(before, &ids[..ids.len() - 4]);
    here.script.at.0 += 1;
    here.hold_disk = true;
    here.turn();
    here.hold_loads = false;
    here.turn();
    assert_eq!(Gateway::hand_over(&mut here, before.id), Ok(None), "an output is held");
    here.sync();
    here.turn();
    assert!(here.wires[&before.wire].paused);
    let mut bytes = here.wires.get_mut(&before.wire).map(|wire| std::mem::take(&mut wire.bytes)).unwrap_or_default();
    let saved = Gateway::hand_over(&mut here, before.id).expect("live").expect("nothing is held");
    here.turn();
    assert_eq!((here.state(before), here.script.sessions.len()), (None, 0));

    there.wires.insert(1, Default::default());
    let id = there.gateway().take_over(1, None, &saved).expect("these bytes");
    let after = Client { wire: 1, id };
    there.turn();
    assert_eq!(there.state(after), Some(State::Live));
    let known = there.script.sessions.values().next().expect("attached");
    assert_eq!((known.user.as_str(), known.device, known.receive), ("ann", 7, true));
    there.bytes(after, &ids[ids.len() - 4..]);
    there.turn();
    bytes.append(&mut there.wires.get_mut(&1).expect("there").bytes);
    assert_eq!(read(&bytes), [&[Got::Pong(5)][..], &accepted(&["a", "b"])].concat());
    assert!(there.gateway().take_over(2, None, &saved[1..]).is_err());
}

#[test]
fn frames_that_wait_go_along_to_another_process() {
    let (mut here, mut there) = (Rig::default(), Rig::default());
    let before = here.join("ann", 7);
    here.hold_loads = true;
    here.feed(before, &[send("bob", "a"), ping(5), send("cem", "b")]);
    here.turn();
    let saved = Gateway::hand_over(&mut here, before.id).expect("live").expect("nothing is held");
    there.wires.insert(1, Default::default());
    let after = Client { wire: 1, id: there.gateway().take_over(1, None, &saved).expect("these bytes") };
    there.turn();
    assert_eq!(there.got(after), [&accepted(&["a"])[..], &[Got::Pong(5)], &accepted(&["b"])].concat());
    // Whoever is not live cannot go.
    let opening = here.socket();
    assert!(Gateway::hand_over(&mut here, opening.id).is_err());
}
