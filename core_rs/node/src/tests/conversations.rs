//! A message's way, seen by its sender and its recipients.

use super::*;
use wire::types::{Ack, ClientFrame, DeviceBody, DeviceList, Hello, Send, Target};

#[test]
fn a_message_is_accepted_delivered_acknowledged_and_read() {
    let mut rig = rig();
    let (ann, bob) = pair(&mut rig);
    rig.send(ann, "bob", b"1", b"hello");
    let accepted = rig.got(ann);
    let at = conversation(&accepted);
    assert_eq!(accepted, [Got::Accepted { id: b"1".to_vec(), conversation: at, seq: 1 }]);
    let message = Got::Message {
        conversation: at,
        seq: 1,
        sender: "ann".into(),
        device: 1,
        id: b"1".to_vec(),
        body: b"hello".to_vec(),
        to: String::new(),
        change: None,
    };
    assert_eq!(rig.got(bob), [message]);
    rig.ack(bob, at, 1);
    assert_eq!(receipts(&rig.got(ann)), [("bob", 1, 0)]);
    rig.read(bob, at, 1);
    assert_eq!(receipts(&rig.got(ann)), [("bob", 1, 1)]);
    assert_eq!(rig.got(bob), [], "the session that sent it is not told");
    assert_eq!(rig.node.stats().messages_pending, 0, "the body is gone (I5)");
}

#[test]
fn nothing_leaves_before_the_batch_is_durable_i1() {
    let mut rig = rig();
    let (ann, bob) = pair(&mut rig);
    rig.hold_disk = true;
    rig.send(ann, "bob", b"1", b"hello");
    rig.send(ann, "bob", b"1", b"hello");
    assert!(rig.got(ann).is_empty() && rig.got(bob).is_empty());
    rig.hold_disk = false;
    rig.turn();
    assert_eq!(rig.got(ann).len(), 2, "the repeat waited like the original (I4)");
    assert_eq!(seqs(&rig.got(bob)), [1]);
}

#[test]
fn an_absent_user_gets_everything_in_order_on_return_and_nothing_twice_s4() {
    let mut rig = rig();
    let (ann, bob) = pair(&mut rig);
    rig.cut(bob);
    for n in 0..5u8 {
        rig.send(ann, "bob", &[n], b"x");
    }
    let at = conversation(&rig.got(ann));
    let bob = rig.join("bob", 1, true);
    let got = rig.got(bob);
    assert!(matches!(got[0], Got::Welcome { messages: 5, conversations: 1, .. }));
    assert_eq!(seqs(&got), [1, 2, 3, 4, 5]);
    rig.ack(bob, at, 3);
    rig.cut(bob);
    let bob = rig.join("bob", 1, true);
    assert_eq!(seqs(&rig.got(bob)), [4, 5]);
}

#[test]
fn a_sender_who_is_away_gets_receipts_on_return_and_each_once_i7() {
    let mut rig = rig();
    let (ann, bob) = pair(&mut rig);
    rig.send(ann, "bob", b"1", b"x");
    let at = conversation(&rig.got(ann));
    rig.cut(ann);
    rig.ack(bob, at, 1);
    rig.read(bob, at, 1);
    let ann = rig.join("ann", 1, true);
    let got = rig.got(ann);
    assert_eq!(receipts(&got), [("bob", 1, 1)]);
    let Some(Got::Receipt { version, .. }) = got.last() else { panic!("{got:?}") };
    rig.feed(ann, &ClientFrame::Ack(Ack { receipts: kept(*version), ..Ack::default() }));
    rig.cut(ann);
    let ann = rig.join("ann", 1, true);
    assert!(receipts(&rig.got(ann)).is_empty());
}

#[test]
fn a_user_who_never_connected_has_a_mailbox_that_its_first_device_inherits() {
    let mut rig = rig();
    let ann = rig.join("ann", 1, true);
    rig.node.create_user(0, "bob");
    rig.send(ann, "bob", b"1", b"x");
    let mut rig = restart(rig);
    let bob = rig.join("bob", 7, true);
    assert_eq!(seqs(&rig.got(bob)), [1]);
    let second = rig.join("bob", 8, true);
    assert!(seqs(&rig.got(second)).is_empty(), "a second device begins now");
}

#[test]
fn the_senders_other_devices_get_its_messages_with_the_other_user_named() {
    let mut rig = rig();
    let (ann, bob) = pair(&mut rig);
    let tablet = rig.join("ann", 2, true);
    rig.got(tablet);
    rig.send(ann, "bob", b"1", b"x");
    rig.send(tablet, "bob", b"1", b"y");
    let to = |got: &[Got]| match got {
        [.., Got::Message { to, .. }] => to.clone(),
        other => panic!("{other:?}"),
    };
    assert_eq!(to(&rig.got(tablet)[..1]), "bob");
    assert_eq!(to(&rig.got(ann)), "bob");
    assert_eq!(seqs(&rig.got(bob)), [1, 2], "an id belongs to a device");
}

#[test]
fn a_conversation_with_oneself_reaches_the_other_devices() {
    let mut rig = rig();
    let phone = rig.join("ann", 1, true);
    rig.send(phone, "ann", b"1", b"note");
    assert_eq!(rig.node.stats().messages_pending, 0, "there is nobody to wait for");
    let tablet = rig.join("ann", 2, true);
    rig.got(tablet);
    rig.send(phone, "ann", b"2", b"note");
    assert_eq!(seqs(&rig.got(tablet)), [2]);
}

#[test]
fn delivery_stops_at_the_window_and_goes_on_with_acks_i6() {
    let mut rig = rig();
    let (ann, bob) = pair(&mut rig);
    rig.cut(bob);
    for n in 0..10u8 {
        rig.send(ann, "bob", &[n], b"x");
    }
    let at = conversation(&rig.got(ann));
    let bob = rig.join_with("bob", 1, Hello { protocol: 1, receive: true, window_messages: 3, ..Hello::default() });
    assert_eq!(seqs(&rig.got(bob)), [1, 2, 3]);
    rig.ack(bob, at, 2);
    assert_eq!(seqs(&rig.got(bob)), [4, 5]);
    rig.ack(bob, at, 5);
    assert_eq!(seqs(&rig.got(bob)), [6, 7, 8]);
    rig.ack(bob, at, 8);
    assert_eq!(seqs(&rig.got(bob)), [9, 10]);
}

#[test]
fn a_session_whose_transport_is_full_gets_nothing_and_delays_nobody_i6() {
    let mut rig = rig();
    let (ann, bob) = pair(&mut rig);
    let tablet = rig.join("bob", 2, true);
    rig.got(tablet);
    rig.node.set_writable(bob.conn, false);
    rig.send(ann, "bob", b"1", b"x");
    assert!(rig.got(bob).is_empty());
    assert_eq!(seqs(&rig.got(tablet)), [1]);
    rig.node.set_writable(bob.conn, true);
    rig.turn();
    assert_eq!(seqs(&rig.got(bob)), [1]);
}

#[test]
fn the_newest_receiving_session_of_a_device_wins() {
    let mut rig = rig();
    let (ann, bob) = pair(&mut rig);
    let sender = rig.join("bob", 1, false);
    assert!(!rig.closed(bob), "one that only sends takes nothing over");
    let newer = rig.join("bob", 1, true);
    assert_eq!(rig.got(bob), [Got::Replaced]);
    assert!(rig.closed(bob) && !rig.closed(sender));
    rig.got(newer);
    rig.send(ann, "bob", b"1", b"x");
    assert_eq!(seqs(&rig.got(newer)), [1]);
}

#[test]
fn a_body_per_device_reaches_its_device_and_stale_lists_are_refused_before_numbering() {
    let mut rig = rig();
    let (ann, bob) = pair(&mut rig);
    let tablet = rig.join("bob", 2, true);
    rig.got(tablet);
    let with = |version: u64| {
        let body = |device, body: &'static [u8]| DeviceBody { user: "bob".into(), device, body: body.into() };
        let list = |user: &'static str, version| DeviceList { user: user.into(), version, devices: Default::default() };
        ClientFrame::Send(Send {
            id: b"1".as_slice().into(),
            target: Target::User("bob".into()),
            body: Default::default(),
            bodies: vec![body(1, b"for the phone")],
            lists: vec![list("bob", version), list("ann", 1)],
            media: Default::default(),
        })
    };
    rig.feed(ann, &with(1));
    rig.turn();
    assert!(matches!(&rig.got(ann)[..], [Got::Error { code, lists: 2, .. }] if code == "devices_changed"));
    rig.feed(ann, &with(2));
    rig.turn();
    let at = conversation(&rig.got(ann));
    assert!(matches!(&rig.got(bob)[..], [Got::Message { body, .. }] if body == b"for the phone"));
    assert!(matches!(&rig.got(tablet)[..], [Got::Skip { from: 1, to: 1, reason: 3, .. }]));
    rig.ack(tablet, at, 1);
    assert!(receipts(&rig.got(ann)).is_empty(), "a device without a body vouches for nothing (I7)");
    rig.ack(bob, at, 1);
    assert_eq!(receipts(&rig.got(ann)), [("bob", 1, 0)]);
}

#[test]
fn a_device_conversation_reaches_that_device_only() {
    let mut rig = rig();
    let (ann, bob) = pair(&mut rig);
    let tablet = rig.join("bob", 2, true);
    rig.got(tablet);
    rig.feed(ann, &rig::message(Target::Device("bob".into(), 2), b"1", b"key"));
    rig.turn();
    assert_eq!((seqs(&rig.got(bob)), seqs(&rig.got(tablet))), (vec![], vec![1]));
    rig.feed(ann, &rig::message(Target::Device("bob".into(), 3), b"2", b"key"));
    rig.turn();
    assert_eq!(codes(&rig.got(ann)[1..]), ["unknown_user"]);
}

#[test]
fn two_devices_of_one_user_talk_in_their_device_conversation() {
    let mut rig = rig();
    let phone = rig.join("ann", 1, true);
    let tablet = rig.join("ann", 2, true);
    rig.got(phone);
    rig.got(tablet);
    rig.feed(phone, &rig::message(Target::Device("ann".into(), 2), b"1", b"key"));
    rig.feed(tablet, &rig::message(Target::Device("ann".into(), 1), b"1", b"key"));
    rig.turn();
    let (at_phone, at_tablet) = (rig.got(phone), rig.got(tablet));
    assert_eq!((seqs(&at_phone), seqs(&at_tablet)), (vec![2], vec![1]));
    let at = conversation(&at_phone);
    rig.ack(phone, at, 2);
    rig.ack(tablet, at, 1);
    assert_eq!(receipts(&rig.got(phone)), [("ann", 2, 0)], "a cursor passes over its own sending");
    assert_eq!(receipts(&rig.got(tablet)), [("ann", 2, 0)]);
    assert_eq!(rig.node.stats().messages_pending, 0);
}

#[test]
fn the_embedder_is_asked_once_for_each_conversation_and_its_no_is_kept() {
    let mut rig = rig_with(Config { authorize: true, ..Config::default() });
    let (ann, bob) = pair(&mut rig);
    rig.asked.clear();
    rig.send(ann, "bob", b"1", b"x");
    rig.send(ann, "bob", b"2", b"x");
    assert!(rig.got(ann).is_empty(), "both wait for the answer");
    assert!(matches!(&rig.asked[..], [gateway::Request::Authorize { user, peer: Some(peer), action: "send", .. }]
        if user == "ann" && peer == "bob"));
    rig.node.permit(ann.conn, 0, true);
    rig.turn();
    assert_eq!(seqs(&rig.got(bob)), [1, 2]);
    rig.asked.clear();
    rig.send(bob, "ann", b"1", b"x");
    rig.node.permit(bob.conn, 0, false);
    rig.turn();
    rig.send(bob, "ann", b"2", b"x");
    assert_eq!(codes(&rig.got(bob)), ["forbidden", "forbidden"]);
    assert_eq!(rig.asked.len(), 1);
}
