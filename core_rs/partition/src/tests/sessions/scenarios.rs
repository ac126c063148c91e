//! Single conversations between sessions.

use std::borrow::Cow;

use seam::{Attached, Commands, Served, Token};
use wire::codes;
use wire::types::{Change, ConversationId, Read, SkipReason, Target};

use super::{House, Out};
use crate::config::Config;

pub const BOB: Target<'static> = Target::User(Cow::Borrowed("bob"));

fn seqs(said: &[Out]) -> Vec<u64> {
    said.iter().filter_map(|out| if let Out::Message { seq, .. } = out { Some(*seq) } else { None }).collect()
}

pub fn accepted(said: &[Out]) -> (ConversationId, u64) {
    let found = said.iter().rev().find_map(|out| match out {
        Out::Accepted { conversation, seq, .. } => Some((*conversation, *seq)),
        _ => None,
    });
    found.unwrap()
}

#[test]
fn message_reaches_a_session_when_it_is_durable_and_its_ack_frees_the_window() {
    let mut house = House::new(Config::default());
    let (ann, to_ann) = house.attach("ann", 1);
    let (bob, to_bob) = house.attach("bob", 1);
    house.sync();
    assert!(matches!(&house.said(to_bob)[..], [Out::Welcome { pending: (0, 0), .. }]));
    house.send(ann, BOB);
    assert_eq!(house.credit(bob, 10, 1000), Served::All);
    assert_eq!(house.said(to_bob), [], "it is not durable");
    house.sync();
    assert_eq!(
        house.host.out.said.iter().filter(|s| s.1 == Out::Owed(true)).count(),
        1,
        "the author's session has nothing"
    );
    assert_eq!(house.credit(bob, 10, 1000), Served::All);
    let said = house.said(to_bob);
    let [Out::Message { conversation, seq: 1, own: None, bytes }] = &said[..] else { unreachable!("{said:?}") };
    assert_eq!(house.credit(bob, 10, 1000), Served::All);
    house.partition.ack(&mut house.host, bob, conversation, 1).unwrap();
    assert_eq!(house.said(to_bob), [Out::Freed(1, *bytes)]);
    assert_eq!(house.partition.notify(&mut house.host, ann, 100), Served::All);
    let said = house.said(to_ann);
    let Some(Out::Receipts { cursors, .. }) = said.last() else { unreachable!("{said:?}") };
    assert_eq!(cursors[..], [("bob".to_owned(), 1, 0)]);
}

#[test]
fn credit_bounds_messages_and_bytes_and_first_any_lets_one_exceed() {
    let mut house = House::new(Config::default());
    let (ann, _) = house.attach("ann", 1);
    let (bob, to_bob) = house.attach("bob", 1);
    house.sync();
    (0..5).for_each(|_| house.send(ann, BOB));
    house.sync();
    house.said(to_bob);
    assert_eq!(house.credit(bob, 2, 10_000), Served::More);
    let said = house.said(to_bob);
    assert_eq!(seqs(&said), [1, 2]);
    let Out::Message { bytes, .. } = said[0] else { unreachable!() };
    assert_eq!(house.credit(bob, 10, bytes - 1), Served::More);
    assert_eq!(house.said(to_bob), []);
    let any = seam::Credit { messages: 10, bytes: 1, first_any: true };
    assert_eq!(house.partition.credit(&mut house.host, bob, any), Served::More);
    assert_eq!(seqs(&house.said(to_bob)), [3]);
    assert_eq!(house.credit(bob, 10, 2 * bytes), Served::All);
    assert_eq!(seqs(&house.said(to_bob)), [4, 5]);
}

#[test]
fn conversations_take_turns_of_64_messages() {
    let mut house = House::new(Config::default());
    let (ann, _) = house.attach("ann", 1);
    let (cid, _) = house.attach("cid", 1);
    let (bob, to_bob) = house.attach("bob", 1);
    house.sync();
    house.host.cache.keeps = 1000;
    (0..100).for_each(|_| house.send(ann, BOB));
    (0..2).for_each(|_| house.send(cid, BOB));
    house.sync();
    house.said(to_bob);
    assert_eq!(house.credit(bob, 1000, 1_000_000), Served::All);
    let order = seqs(&house.said(to_bob));
    let expected: Vec<u64> = (1..=64).chain(1..=2).chain(65..=100).collect();
    assert_eq!(order, expected);
}

#[test]
fn bodies_that_are_not_in_memory_are_read_once_for_all() {
    let mut house = House::new(Config::default());
    let (ann, to_ann) = house.attach("ann", 1);
    let (bob, to_bob) = house.attach("bob", 1);
    let (cid, to_cid) = house.attach("cid", 1);
    house.sync();
    let group = house.group(ann, &["bob", "cid"]);
    house.host.cache.keeps = 2;
    (0..5).for_each(|_| house.send(ann, Target::Conversation(group)));
    house.sync();
    [to_ann, to_bob, to_cid].into_iter().for_each(|to| drop(house.said(to)));
    assert_eq!(house.credit(bob, 100, 10_000), Served::Reading);
    assert_eq!(house.credit(cid, 100, 10_000), Served::Reading);
    assert_eq!(house.host.cache.wanted.iter().map(|wanted| wanted.1).collect::<Vec<_>>(), [1, 2, 3, 4]);
    assert!(seqs(&house.said(to_bob)).is_empty());
    house.host.cache.keeps = 100;
    house.bodies();
    assert_eq!((house.credit(bob, 100, 10_000), house.credit(cid, 100, 10_000)), (Served::All, Served::All));
    assert_eq!(
        (seqs(&house.said(to_bob)), seqs(&house.said(to_cid))),
        (vec![1, 2, 3, 4, 5, 6], vec![1, 2, 3, 4, 5, 6])
    );
}

#[test]
fn newer_session_replaces_the_old_one_and_gets_what_was_not_acknowledged() {
    let mut house = House::new(Config::default());
    let (ann, _) = house.attach("ann", 1);
    let (old, to_old) = house.attach("bob", 1);
    house.sync();
    (0..3).for_each(|_| house.send(ann, BOB));
    house.sync();
    house.credit(old, 2, 10_000);
    let said = house.said(to_old);
    let Some(&Out::Message { conversation, .. }) = said.last() else { unreachable!("{said:?}") };
    house.partition.ack(&mut house.host, old, &conversation, 1).unwrap();
    let (new, to_new) = house.attach("bob", 1);
    assert_eq!(house.said(to_old).last(), Some(&Out::Replaced));
    assert!(matches!(house.said(to_new)[..], [Out::Welcome { pending: (2, 1), .. }]));
    assert_eq!(house.credit(old, 10, 10_000), Served::All);
    assert_eq!(house.credit(new, 10, 10_000), Served::All);
    assert_eq!((seqs(&house.said(to_old)), seqs(&house.said(to_new))), (vec![], vec![2, 3]));
    // One that comes back goes on where it was, and what is in flight to it is freed.
    let (again, to_again) = house.attach_with("bob", 1, true, None, &[(conversation, 2)]);
    assert_eq!(house.credit(again, 10, 10_000), Served::All);
    let said = house.said(to_again);
    assert_eq!(seqs(&said), [3]);
    house.partition.ack(&mut house.host, again, &conversation, 2).unwrap();
    assert!(matches!(house.said(to_again)[..], [Out::Freed(1, _)]));
}

#[test]
fn another_session_of_the_device_may_acknowledge_for_the_one_that_receives() {
    let mut house = House::new(Config::default());
    let (ann, _) = house.attach("ann", 1);
    let (bob, to_bob) = house.attach("bob", 1);
    let (sender, to_sender) = house.attach_with("bob", 1, false, None, &[]);
    house.sync();
    house.send(ann, BOB);
    house.sync();
    house.credit(bob, 10, 10_000);
    let said = house.said(to_bob);
    let Some(&Out::Message { conversation, bytes, .. }) = said.last() else { unreachable!("{said:?}") };
    house.said(to_sender);
    house.partition.ack(&mut house.host, sender, &conversation, 1).unwrap();
    assert_eq!((house.said(to_bob), house.said(to_sender)), (vec![Out::Freed(1, bytes)], vec![]));
}

#[test]
fn welcome_waits_until_the_mailboxes_of_a_new_device_have_begun() {
    let mut house = House::new(Config::default());
    let (ann, _) = house.attach("ann", 1);
    house.attach("bob", 1);
    house.sync();
    house.send(ann, BOB);
    // More than are fitted at once.
    for number in 0..100 {
        house.attach(&format!("user{number}"), 1);
    }
    house.sync();
    for number in 0..100 {
        house.send(ann, Target::User(format!("user{number}").into()));
    }
    house.sync();
    let (_, to_second) = house.attach("ann", 2);
    assert_eq!(house.said(to_second), []);
    house.sync();
    assert!(matches!(house.said(to_second)[..], [Out::Welcome { pending: (0, 0), .. }]));
}

#[test]
fn own_message_from_another_device_says_to_whom_it_went() {
    let mut house = House::new(Config::default());
    let (first, _) = house.attach("ann", 1);
    let (second, to_second) = house.attach("ann", 2);
    house.attach("bob", 1);
    house.sync();
    house.send(first, BOB);
    house.sync();
    house.said(to_second);
    house.credit(second, 10, 10_000);
    let said = house.said(to_second);
    assert!(matches!(&said[..], [Out::Message { own: Some(to), .. }] if to == "bob"), "{said:?}");
}

pub fn notified(house: &mut House, to: (Attached, seam::Address)) -> Vec<Out> {
    while house.partition.notify(&mut house.host, to.0, 100) == Served::More {}
    house.said(to.1)
}

#[test]
fn receipts_of_groups_come_in_bursts_and_a_closing_frame_always_exists() {
    let mut house = House::new(Config::default());
    let ann = house.attach("ann", 1);
    let bob = house.attach("bob", 1);
    let cid = house.attach("cid", 1);
    house.sync();
    let group = house.group(ann.0, &["bob", "cid"]);
    house.send(ann.0, BOB);
    let (direct, _) = accepted(&house.said(ann.1));
    house.send(ann.0, Target::Conversation(group));
    house.sync();
    notified(&mut house, ann);
    let before = house.partition.state.versions.last;
    for session in [bob, cid] {
        house.partition.ack(&mut house.host, session.0, &group, 2).unwrap();
    }
    assert_eq!(notified(&mut house, ann), [], "groups wait for their time");
    house.partition.ack(&mut house.host, bob.0, &direct, 1).unwrap();
    let told = notified(&mut house, ann);
    let [Out::Receipts { group: false, version, .. }] = told[..] else { unreachable!("{told:?}") };
    assert_eq!(version, before, "what is held counts as not told");
    assert!(!house.partition.burst(&mut house.host, 10));
    house.host.now.mono_ms = house.partition.next_burst().unwrap();
    house.partition.burst(&mut house.host, 10);
    let told = notified(&mut house, ann);
    let last = house.partition.state.versions.last;
    let [Out::Receipts { group: true, cursors, version, .. }] = &told[..] else { unreachable!("{told:?}") };
    assert_eq!((cursors.len(), *version), (2, last));
    // Fault H: its user is no member any more when the time comes, after something was told with the version before.
    house.send(ann.0, Target::Conversation(group));
    house.send(ann.0, BOB);
    house.sync();
    house.partition.ack(&mut house.host, bob.0, &group, 3).unwrap();
    house.partition.ack(&mut house.host, bob.0, &direct, 2).unwrap();
    notified(&mut house, ann);
    house.change(ann.0, Some(group), Change::Left { successor: "".into() });
    house.sync();
    house.host.now.mono_ms += 250;
    house.partition.burst(&mut house.host, 10);
    let told = notified(&mut house, ann);
    let last = house.partition.state.versions.last;
    assert!(
        matches!(&told[..], [Out::Accepted { .. }, Out::Receipts { cursors, version, .. }] if cursors.is_empty() && *version == last),
        "{told:?}"
    );
}

#[test]
fn session_that_sent_a_read_is_not_told_of_it_and_has_all_receipts() {
    let mut house = House::new(Config::default());
    let ann = house.attach("ann", 1);
    let bob = house.attach("bob", 1);
    let other = house.attach("bob", 2);
    house.sync();
    house.send(ann.0, BOB);
    house.sync();
    let (direct, _) = accepted(&house.said(ann.1));
    for session in [ann, bob, other] {
        notified(&mut house, session);
    }
    house.partition.ack(&mut house.host, bob.0, &direct, 1).unwrap();
    house.partition.read(&mut house.host, bob.0, &Read { conversation: direct, seq: 1, authors: vec![] }).unwrap();
    assert_eq!(notified(&mut house, bob).iter().filter(|out| matches!(out, Out::Receipts { .. })).count(), 0);
    let told = notified(&mut house, other);
    assert!(
        matches!(&told[..], [Out::Receipts { cursors, .. }] if cursors[..] == [("bob".to_owned(), 0, 1)]),
        "{told:?}"
    );
    let told = notified(&mut house, ann);
    assert!(matches!(told.last(), Some(Out::Receipts { cursors, .. }) if cursors[..] == [("bob".to_owned(), 1, 1)]));
    let bob = house.partition.state.author("bob", 1).unwrap();
    let row = &house.partition.state.device(bob.user, 1).unwrap().row;
    assert_eq!(row.receipts, house.partition.state.versions.last);
}

#[test]
fn device_that_returns_is_told_what_changed_since_its_token() {
    let mut house = House::new(Config::default());
    let ann = house.attach("ann", 1);
    let bob = house.attach("bob", 1);
    house.sync();
    house.send(ann.0, BOB);
    house.sync();
    let (direct, _) = accepted(&house.said(ann.1));
    house.partition.ack(&mut house.host, bob.0, &direct, 1).unwrap();
    notified(&mut house, ann);
    let version = house.partition.state.versions.last;
    let token = super::super::super::attached::Tokens::new(super::SECRET).give(0, version);
    house.send(ann.0, BOB);
    house.sync();
    house.partition.detach(&mut house.host, ann.0);
    house.partition.ack(&mut house.host, bob.0, &direct, 2).unwrap();
    let again = house.attach_with("ann", 1, true, Some(&token), &[]);
    let told = notified(&mut house, again);
    let last = house.partition.state.versions.last;
    let expected =
        Out::Receipts { conversation: direct, group: false, cursors: vec![("bob".into(), 2, 0)], version: last };
    assert!(matches!(&told[0], Out::Welcome { receipts, .. } if *receipts == token));
    assert_eq!(told[1..], [expected]);
    // A token that this server did not make is as none at all; a genuine one above all that was given says that data was lost.
    let garbage = Token::new(b"garbage").unwrap();
    let all = house.attach_with("ann", 1, true, Some(&garbage), &[]);
    assert!(matches!(&notified(&mut house, all)[0], Out::Welcome { receipts, .. } if *receipts == Token::default()));
    assert!(!house.partition.was_ahead());
    let ahead = super::super::super::attached::Tokens::new(super::SECRET).give(0, last + 1);
    house.attach_with("ann", 1, true, Some(&ahead), &[]);
    assert!(house.partition.was_ahead() && !house.partition.was_ahead());
}

#[test]
fn group_member_gets_the_snapshot_first_and_again_after_lost_messages() {
    let config = Config { conversation_messages: 4, ..Config::default() };
    let mut house = House::new(config);
    let ann = house.attach("ann", 1);
    let bob = house.attach("bob", 1);
    house.sync();
    let group = house.group(ann.0, &["bob"]);
    (0..2).for_each(|_| house.send(ann.0, Target::Conversation(group)));
    house.sync();
    house.said(bob.1);
    house.credit(bob.0, 1, 10_000);
    let said = house.said(bob.1);
    assert!(matches!(said[..], [Out::Snapshot { members: 2, .. }, Out::Message { seq: 1, .. }]), "{said:?}");
    (0..4).for_each(|_| house.send(ann.0, Target::Conversation(group)));
    house.sync();
    house.credit(bob.0, 10, 10_000);
    let said = house.said(bob.1);
    assert!(matches!(said[0], Out::Snapshot { .. }), "{said:?}");
    assert!(matches!(said[1], Out::Skip { from: 2, reason: SkipReason::Cap, .. }), "{said:?}");
    // An acknowledgement of what came before the second snapshot is none of that.
    house.partition.ack(&mut house.host, bob.0, &group, 1).unwrap();
    let state = &house.partition.state;
    let active = state.active(&group).unwrap();
    let index = active.member(state.names.find("bob").unwrap(), 1).unwrap();
    assert!(active.row.member(index).unwrap().cursors[0].fresh);
}

/// The device's own message, which is not for it, was passed over; then it was dropped. Its cursor gets past that by a skip.
#[test]
fn floor_above_an_own_message_that_was_passed_over_is_a_skip() {
    let mut house = House::new(Config { hold_ms: 1000, ..Config::default() });
    let ann = house.attach("ann", 1);
    let bob = house.attach("bob", 1);
    house.sync();
    house.send(ann.0, BOB);
    house.send(bob.0, Target::User("ann".into()));
    house.sync();
    let (direct, _) = accepted(&house.said(ann.1));
    house.credit(bob.0, 10, 10_000);
    house.host.now.wall_ms += 5000;
    house.send(bob.0, Target::User("ann".into()));
    house.sync();
    house.partition.expire(&mut house.host, 100).unwrap();
    house.sync();
    assert_eq!(house.partition.state.active(&direct).unwrap().row.floor, 3);
    house.said(bob.1);
    house.partition.ack(&mut house.host, bob.0, &direct, 1).unwrap();
    house.credit(bob.0, 10, 10_000);
    let said = house.said(bob.1);
    assert!(matches!(said[..], [Out::Freed(1, _), Out::Skip { from: 2, to: 2, .. }]), "{said:?}");
    house.partition.ack(&mut house.host, bob.0, &direct, 2).unwrap();
    let state = &house.partition.state;
    let active = state.active(&direct).unwrap();
    let index = active.member(state.names.find("bob").unwrap(), 1).unwrap();
    assert_eq!(active.row.member(index).unwrap().cursors[0].acked, 3);
}

#[test]
fn embedder_is_asked_between_membership_and_the_number() {
    let mut house = House::new(Config::default());
    let ann = house.attach("ann", 1);
    house.attach("bob", 1);
    house.sync();
    house.said(ann.1);
    house.host.out.permit = None;
    let send = |target| wire::types::Send {
        id: b"1"[..].into(),
        target,
        body: b"hello"[..].into(),
        bodies: vec![],
        lists: vec![],
        media: vec![],
    };
    let waits = house.partition.send(&mut house.host, ann.0, &send(BOB));
    assert!(matches!(waits, Err(seam::Wait::Permit(_, seam::Action::Send))));
    assert_eq!(house.partition.send(&mut house.host, ann.0, &send(Target::User("nobody".into()))), Ok(()));
    assert!(matches!(&house.said(ann.1)[..], [Out::Refused { code: codes::UNKNOWN_USER, .. }]));
    house.host.out.permit = Some(false);
    house.partition.send(&mut house.host, ann.0, &send(BOB)).unwrap();
    assert!(matches!(&house.said(ann.1)[..], [Out::Refused { code: codes::FORBIDDEN, .. }]));
    house.host.out.permit = Some(true);
    house.host.room = 0;
    house.partition.send(&mut house.host, ann.0, &send(BOB)).unwrap();
    assert!(matches!(&house.said(ann.1)[..], [Out::Refused { code: codes::STORAGE_FULL, .. }]));
    house.host.room = usize::MAX;
    house.partition.send(&mut house.host, ann.0, &send(BOB)).unwrap();
    assert_eq!(accepted(&house.said(ann.1)).1, 1, "nothing took a number before");
}
