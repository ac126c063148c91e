//! Acknowledgements and reads: which sessions may send them, and which are told.

use partition::rest::Rest;
use wire::types::Hello;

use super::*;

#[test]
fn an_ack_of_a_session_that_does_not_receive_moves_its_devices_cursor() {
    let mut rig = rig();
    let (ann, bob) = pair(&mut rig);
    let sender = rig.join("bob", 1, false);
    rig.got(sender);
    rig.send(ann, "bob", b"1", b"one");
    rig.send(ann, "bob", b"2", b"two");
    let at = conversation(&rig.got(ann));
    assert_eq!((seqs(&rig.got(bob)), seqs(&rig.got(sender))), (vec![1, 2], vec![]));
    rig.ack(sender, at, 2);
    assert_eq!(receipts(&rig.got(ann)), [("bob", 2, 0)]);
    assert_eq!(rig.node.stats().messages_pending, 0, "it is the mailbox's (I5)");
    rig.cut(bob);
    let bob = rig.join("bob", 1, true);
    assert!(seqs(&rig.got(bob)).is_empty());
}

#[test]
fn an_ack_of_a_session_that_does_not_receive_opens_the_window_of_the_one_that_does_i6() {
    let mut rig = rig_with(Config { window_messages: 2, ..Config::default() });
    let (ann, bob) = pair(&mut rig);
    let sender = rig.join("bob", 1, false);
    (1..=4_u8).for_each(|n| rig.send(ann, "bob", &[n], b"x"));
    let at = conversation(&rig.got(ann));
    assert_eq!(seqs(&rig.got(bob)), [1, 2]);
    rig.ack(sender, at, 2);
    assert_eq!(seqs(&rig.got(bob)), [3, 4]);
}

#[test]
fn receipts_acknowledged_by_a_session_that_does_not_receive_are_told_again() {
    let mut rig = rig();
    let (ann, bob) = pair(&mut rig);
    let sender = rig.join("ann", 1, false);
    rig.send(ann, "bob", b"1", b"one");
    let at = conversation(&rig.got(ann));
    rig.ack(bob, at, 1);
    let got = rig.got(sender);
    assert_eq!(receipts(&got), [("bob", 1, 0)]);
    confirm(&mut rig, sender, &got);
    rig.cut(ann);
    let ann = rig.join("ann", 1, true);
    assert_eq!(receipts(&rig.got(ann)), [("bob", 1, 0)]);
}

#[test]
fn a_read_is_told_to_the_users_other_sessions_and_not_to_the_one_that_sent_it() {
    let mut rig = rig();
    let (ann, bob) = pair(&mut rig);
    let (laptop, sender) = (rig.join("bob", 2, true), rig.join("bob", 1, false));
    rig.send(ann, "bob", b"1", b"one");
    let at = conversation(&rig.got(ann));
    rig.ack(bob, at, 1);
    for client in [bob, laptop, sender] {
        rig.got(client);
    }
    rig.read(bob, at, 1);
    assert_eq!(receipts(&rig.got(laptop)), [("bob", 0, 1)]);
    assert_eq!(receipts(&rig.got(sender)), [("bob", 0, 1)]);
    assert_eq!(rig.got(bob), []);
}

#[test]
fn a_read_of_what_one_wrote_to_oneself_is_told_to_the_author() {
    let mut rig = rig();
    let ann = rig.join("ann", 1, true);
    rig.send(ann, "ann", b"1", b"a note");
    let at = conversation(&rig.got(ann));
    rig.read(ann, at, 1);
    assert_eq!(receipts(&rig.got(ann)), [("ann", 0, 1)]);
}

/// Users whose devices have yet to acknowledge a receipt of a conversation: their rows are to note that before it may leave memory.
fn owing(rig: &Rig<SimDisk>, at: ConversationId) -> Vec<String> {
    let name = |record: &Record<'_>| match record {
        Record::Owed { user, .. } => user.to_string(),
        other => panic!("{other:?}"),
    };
    match rig.node.partition.state.rest(&RowKey::Conversation(at), rig.node.synced).expect("the rows are in memory") {
        Rest::Log(records) => records.iter().map(name).collect(),
        Rest::Write(_) | Rest::Unchanged => Vec::new(),
        Rest::Busy => panic!("it is in use"),
    }
}

#[test]
fn a_reader_who_is_not_told_owes_no_acknowledgement_of_that_i5() {
    let mut rig = rig();
    let (ann, bob) = pair(&mut rig);
    rig.send(ann, "bob", b"1", b"one");
    rig.send(bob, "ann", b"2", b"two");
    let at = conversation(&rig.got(ann));
    rig.ack(ann, at, 2);
    rig.ack(bob, at, 1);
    // Bob reads while a receipt is on its way to him, and again when he has acknowledged everything.
    rig.read(bob, at, 1);
    let got = rig.got(bob);
    assert_eq!(receipts(&got), [("ann", 2, 0)]);
    confirm(&mut rig, bob, &got);
    rig.send(ann, "bob", b"3", b"three");
    rig.ack(bob, at, 3);
    rig.read(bob, at, 3);
    rig.pass(1_100);
    assert_eq!(owing(&rig, at), ["ann"], "ann has acknowledged nothing");
    let got = rig.got(ann);
    confirm(&mut rig, ann, &got);
    rig.pass(1_100);
    assert!(owing(&rig, at).is_empty());
}

#[test]
fn an_accepted_is_confirmed_on_any_connection_of_its_device_and_on_none_of_another_i4() {
    let mut rig = rig();
    let (ann, _) = pair(&mut rig);
    rig.send(ann, "bob", b"1", b"x");
    let got = rig.got(ann);
    let tablet = rig.join("ann", 2, true);
    confirm(&mut rig, tablet, &got);
    rig.send(ann, "bob", b"1", b"x");
    assert_eq!(rig.got(ann), got, "another device confirms nothing");
    rig.cut(ann);
    let sender = rig.join("ann", 1, false);
    rig.got(sender);
    confirm(&mut rig, sender, &got);
    rig.send(sender, "bob", b"1", b"x");
    assert!(matches!(rig.got(sender)[..], [Got::Accepted { seq: 2, .. }]), "the id is forgotten");
}

#[test]
fn a_receipt_version_that_was_never_given_is_none_and_everything_is_told_again_i7() {
    let mut rig = rig();
    let (ann, bob) = pair(&mut rig);
    rig.send(ann, "bob", b"1", b"x");
    let mut got = rig.got(ann);
    rig.ack(bob, conversation(&got), 1);
    got.extend(rig.got(ann));
    let Some(&Got::Receipt { version, .. }) = got.last() else { panic!("{got:?}") };
    confirm(&mut rig, ann, &got);
    rig.cut(ann);
    let forged = kept(version + (1 << 40));
    let cases = [(kept(0), true), (kept(version), true), (forged, false), (Cow::Borrowed(&b"garbage"[..]), false)];
    for (receipts, known) in cases {
        let hello = Hello { protocol: 1, receive: true, receipts: receipts.clone(), ..Hello::default() };
        let ann = rig.join_with("ann", 1, hello);
        let got = rig.got(ann);
        let Some(Got::Welcome { receipts: begins, .. }) = got.first() else { panic!("{got:?}") };
        let told: &[_] = if known { &[] } else { &[("bob", 1, 0)] };
        assert_eq!((*begins, &*self::receipts(&got)), (if known { version } else { 0 }, told), "{receipts:?}");
        rig.cut(ann);
    }
}
