//! What single commands come to: a few users, each with one device unless a test says more.

use std::borrow::Cow;

use wire::codes;
use wire::types::{Change, DeviceBody, DeviceList, Invite, Role, Send, SkipReason, Target};

use super::scenario::{ANN, BOB, Scenario, code, named};
use crate::propose::{self, Sent, Stop};
use crate::rows::Kind;
use crate::rows::repeats::MAX_REPEATS;
use crate::serve::Item;

mod generations;

#[test]
fn ack_by_all_mailboxes_reclaims_the_message_i5() {
    let mut s = Scenario::new();
    let (id, seq) = s.send("ann", BOB).unwrap();
    assert_eq!((seq, s.pending(&id)), (1, 1));
    let news = s.ack("bob", 1, &id, 1).unwrap().unwrap();
    assert_eq!(news.to.len(), 1);
    assert_eq!((s.member(&id, "bob").delivered, s.pending(&id)), (1, 0));
}

#[test]
fn send_with_a_known_id_returns_the_first_message_i4() {
    let mut s = Scenario::new();
    let send = s.to(BOB);
    let first = s.give("ann", &send).unwrap();
    assert_eq!(s.give("ann", &send).unwrap(), first);
    let elsewhere = Send { target: Target::User("cid".into()), ..send };
    assert_eq!(code(s.give("ann", &elsewhere)), codes::ID_REUSED);
    let long = Send { id: vec![7; 33].into(), ..elsewhere };
    assert_eq!(code(s.give("ann", &long)), codes::BAD_ID);
}

/// A device's list of ids evicts its oldest id when it is full. A confirmation frees a slot; recovery must apply the
/// confirmation before the next id, or it evicts an id that the running partition still had.
#[test]
fn recovery_keeps_the_ids_of_a_full_list_after_a_confirmation_i4() {
    let mut s = Scenario::new();
    s.world.config.conversation_messages = 1000;
    let mut first = Vec::new();
    for number in 0..MAX_REPEATS as u16 {
        let send = Send { id: number.to_be_bytes().to_vec().into(), ..s.to(BOB) };
        first.push(s.give("ann", &send).unwrap());
        if number % 64 == 63 {
            s.ids = 0;
        }
    }
    let ann = s.world.state.author("ann", 1).unwrap();
    s.world.state.confirm(ann, &first[5..6]).unwrap();
    let oldest = Send { id: 0_u16.to_be_bytes().to_vec().into(), ..s.to(BOB) };
    let another = Send { id: vec![9; 9].into(), ..s.to(BOB) };
    s.give("ann", &another).unwrap();
    assert_eq!(s.give("ann", &oldest).unwrap(), first[0]);
    s.world.crash(s.world.synced);
    assert_eq!(s.give("ann", &oldest).unwrap(), first[0]);
}

#[test]
fn non_members_get_the_answers_of_an_unknown_conversation_i8() {
    let mut s = Scenario::new();
    let (direct, _) = s.send("ann", BOB).unwrap();
    let group = s.group(&["bob"]);
    for id in [direct, group, [9; 16]] {
        let answers = [
            code(s.send("cid", Target::Conversation(id))),
            code(s.ack("cid", 1, &id, 1)),
            code(s.read("cid", &id, 1, &["ann"])),
            code(s.manage("cid", Some(id), Change::Added(named(&["nobody"])))),
            code(s.manage("cid", Some(id), Change::Left { successor: "".into() })),
        ];
        assert_eq!(answers, [codes::UNKNOWN_CONVERSATION; 5]);
        let joined = Change::Joined { hash: [0; 32], secret: Cow::Borrowed(b"0123456789abcdef") };
        let joins = code(s.manage("cid", Some(id), joined));
        assert!(id == direct || joins == codes::BAD_INVITE, "{joins}");
    }
}

#[test]
fn ack_above_the_durable_head_is_refused() {
    let mut s = Scenario::new();
    let send = s.to(BOB);
    let mut stored = Vec::new();
    let (state, now, config) = (&s.world.state, s.world.now, &s.world.config);
    let author = state.author("ann", 1).unwrap();
    let Ok(Sent::New { conversation, records, .. }) =
        propose::send(state, now, config, author, None, &send, &mut stored)
    else {
        unreachable!("it is new")
    };
    s.world.commit(&records);
    assert_eq!(code(s.ack("bob", 1, &conversation, 1)), codes::ACK_BEYOND_HEAD);
    s.world.sync();
    assert!(s.ack("bob", 1, &conversation, 1).is_ok());
}

#[test]
fn withheld_message_is_a_skip_once_a_later_one_is_delivered_i7() {
    let mut s = Scenario::new();
    s.block("bob", "ann", false);
    let (id, _) = s.send("ann", BOB).unwrap();
    assert_eq!(s.member(&id, "bob").cursors[0].acked, 0, "bob gets a skip first");
    assert_eq!(s.ack("bob", 1, &id, 1).unwrap(), None);
    assert_eq!((s.member(&id, "bob").delivered, s.pending(&id)), (0, 0));
    s.block("bob", "ann", true);
    s.send("ann", BOB).unwrap();
    assert!(s.ack("bob", 1, &id, 2).unwrap().is_some());
    let bob = s.member(&id, "bob");
    assert_eq!((bob.delivered, bob.withheld()), (2, &[(1, 1)][..]));
    let skips: Vec<_> = bob.told_skips().map(|skip| (skip.from, skip.to, skip.reason)).collect();
    assert_eq!(skips, [(1, 1, SkipReason::Expired)], "and first that the other one never will be");
}

#[test]
fn send_with_old_device_lists_is_refused_with_the_lists() {
    let mut s = Scenario::new();
    s.register("bob");
    let body = |device| DeviceBody { user: "bob".into(), device, body: b"own"[..].into() };
    let list =
        |user: &'static str, version| DeviceList { user: user.into(), version, devices: [1].into_iter().collect() };
    let mut send = s.to(BOB);
    (send.body, send.bodies, send.lists) = (Vec::new().into(), vec![body(1)], vec![list("ann", 1), list("bob", 1)]);
    let Err(Stop::Refused(refusal)) = s.give("ann", &send) else { unreachable!("the list is old") };
    assert_eq!(refusal.code, codes::DEVICES_CHANGED);
    let lists: Vec<_> = refusal.lists.iter().map(|list| (list.0.as_str(), list.1, list.2.as_slice())).collect();
    assert_eq!(lists, [("ann", 1, &[1][..]), ("bob", 2, &[1, 2][..])]);
    send.lists = vec![list("ann", 1), list("bob", 2)];
    let (id, seq) = s.give("ann", &send).unwrap();
    assert_eq!(seq, 1, "what was refused took no number");
    // The device without a body vouches for nothing while the other one waits.
    assert_eq!(s.ack("bob", 2, &id, 1).unwrap(), None);
    assert_eq!(s.member(&id, "bob").delivered, 0);
    assert!(s.ack("bob", 1, &id, 1).unwrap().is_some());
    assert_eq!(s.member(&id, "bob").delivered, 1);
}

#[test]
fn message_with_a_body_for_a_new_device_begins_its_mailbox() {
    let mut s = Scenario::new();
    s.send("ann", Target::User("eve".into())).unwrap();
    // The conversation has not taken up eve's first device yet, but the list names it.
    let (_, records) = propose::register_device(&s.world.state, s.world.now, &s.world.config, "eve").unwrap();
    s.world.commit(&records);
    let list = |user: &'static str| DeviceList { user: user.into(), version: 1, devices: [1].into_iter().collect() };
    let mut send = s.to(Target::User("eve".into()));
    let body = DeviceBody { user: "eve".into(), device: 1, body: b"own"[..].into() };
    (send.body, send.bodies, send.lists) = (Vec::new().into(), vec![body], vec![list("ann"), list("eve")]);
    let (id, seq) = s.give("ann", &send).unwrap();
    let eve = s.member(&id, "eve");
    assert_eq!((eve.cursors[0].device, eve.cursors[0].acked, eve.skips()), (1, 0, &[][..]));
    assert!(s.ack("eve", 1, &id, seq).unwrap().is_some());
    assert_eq!(s.member(&id, "eve").delivered, seq);
}

#[test]
fn message_without_a_body_for_a_member_is_a_skip_i7() {
    let mut s = Scenario::new();
    let list = |user: &'static str| DeviceList { user: user.into(), version: 1, devices: [1].into_iter().collect() };
    let mut send = s.to(BOB);
    let body = DeviceBody { user: "ann".into(), device: 1, body: b"own"[..].into() };
    (send.body, send.bodies, send.lists) = (Vec::new().into(), vec![body], vec![list("ann"), list("bob")]);
    let (id, _) = s.give("ann", &send).unwrap();
    let skips: Vec<_> = s.member(&id, "bob").skips().iter().map(|s| (s.from, s.to, s.reason)).collect();
    assert_eq!(skips, [(1, 1, SkipReason::NoBody)]);
}

#[test]
fn cap_refuses_in_direct_conversations_and_raises_the_floor_in_groups() {
    let mut s = Scenario::new();
    let most = s.world.config.conversation_messages as u64;
    for _ in 0..most {
        s.send("ann", BOB).unwrap();
    }
    assert_eq!(code(s.send("ann", BOB)), codes::CONVERSATION_FULL);
    let id = s.group(&["bob"]);
    for _ in 1..most {
        s.send("ann", Target::Conversation(id)).unwrap();
    }
    s.saw_snapshot("bob", &id);
    assert!(!s.member(&id, "bob").cursors[0].fresh);
    let (_, seq) = s.send("ann", Target::Conversation(id)).unwrap();
    assert_eq!((seq, s.world.state.active(&id).unwrap().row.floor), (most + 1, 2));
    let bob = s.member(&id, "bob");
    assert_eq!((bob.skips()[0].to, bob.skips()[0].reason), (1, SkipReason::Cap));
    assert!(bob.cursors[0].fresh, "the snapshot comes before what is left");
    assert_eq!(s.member(&id, "ann").owed, bob.version, "its author is to be notified");
}

#[test]
fn snapshot_comes_again_before_a_skip_of_dropped_messages() {
    let mut s = Scenario::new();
    let id = s.group(&["bob"]);
    for _ in 1..s.world.config.conversation_messages {
        s.send("ann", Target::Conversation(id)).unwrap();
    }
    let serve = |s: &mut Scenario, after| {
        let bob = s.world.state.author("bob", 1).unwrap();
        let at = s.world.mailbox(bob, &id).unwrap();
        let items = s.world.items(at, after, 3);
        items.into_iter().map(|item| if let Item::Message { seq, .. } = item { Ok(seq) } else { Err(item) }).collect()
    };
    type Items = Vec<Result<u64, Item>>;
    let first: Items = serve(&mut s, 0);
    assert_eq!(first, [Err(Item::Snapshot), Ok(1), Ok(2)]);
    s.saw_snapshot("bob", &id);
    let seen: Items = serve(&mut s, 0);
    assert_eq!(seen, [Ok(1), Ok(2), Ok(3)]);
    for _ in 0..2 {
        s.send("ann", Target::Conversation(id)).unwrap();
    }
    // The cap dropped messages 1 and 2; the session was given the first of them before.
    let again: Items = serve(&mut s, 1);
    assert_eq!(again, [Err(Item::Snapshot), Err(Item::Skip { from: 2, to: 2, reason: SkipReason::Cap }), Ok(3)]);
}

#[test]
fn expiry_raises_the_floor_of_a_direct_conversation() {
    let mut s = Scenario::new();
    let (id, _) = s.send("ann", BOB).unwrap();
    s.world.now.wall_ms += s.world.config.hold_ms - 1;
    let expire = |s: &Scenario| {
        let active = s.world.state.active(&id).unwrap();
        propose::expire(&s.world.state, s.world.now, &s.world.config, active)
    };
    assert_eq!(expire(&s), None);
    s.world.now.wall_ms += 1;
    let records = expire(&s).unwrap();
    s.world.commit(&records);
    assert_eq!(s.pending(&id), 0);
    let skip = s.member(&id, "bob").skips()[0];
    assert_eq!((skip.from, skip.to, skip.reason), (1, 1, SkipReason::Expired));
}

#[test]
fn rejoin_keeps_the_backlog_and_a_new_device_does_not_claim_it_i7() {
    let mut s = Scenario::new();
    let id = s.group(&["bob"]);
    s.ack("bob", 1, &id, 1).unwrap();
    let (_, lacked) = s.send("ann", Target::Conversation(id)).unwrap();
    s.manage("ann", Some(id), Change::Removed(named(&["bob"]))).unwrap();
    let (_, outside) = s.send("ann", Target::Conversation(id)).unwrap();
    let second = s.register("bob");
    s.manage("ann", Some(id), Change::Added(named(&["bob"]))).unwrap();
    let bob = s.member(&id, "bob");
    assert!(bob.sees(lacked) && bob.sees(3) && !bob.sees(outside) && bob.sees(5));
    // The new device has all that is its own; the user lacks two messages all the same.
    s.ack("bob", second, &id, 5).unwrap();
    assert_eq!(s.member(&id, "bob").delivered, 1);
    assert!(s.ack("bob", 1, &id, 5).unwrap().is_some());
    assert_eq!((s.member(&id, "bob").delivered, s.member(&id, "bob").skips()), (5, &[][..]));
}

#[test]
fn first_device_takes_the_waiting_mailbox_and_leaving_without_one_skips() {
    let mut s = Scenario::new();
    let id = s.group(&["eve"]);
    s.send("ann", Target::Conversation(id)).unwrap();
    assert_eq!(s.member(&id, "eve").cursors[0].device, 0);
    let device = s.register("eve");
    let cursor = s.member(&id, "eve").cursors[0];
    assert_eq!((cursor.device, cursor.acked), (device, 0));
    s.drop_device("eve", device);
    assert_eq!(s.member(&id, "eve").cursors[0].device, 0);
    s.manage("ann", Some(id), Change::Removed(named(&["eve"]))).unwrap();
    let eve = s.member(&id, "eve");
    let skips: Vec<_> = eve.skips().iter().map(|s| (s.from, s.to, s.reason)).collect();
    assert_eq!((skips, eve.cursors.len()), (vec![(1, 3, SkipReason::Expired)], 0));
    assert!(s.member(&id, "ann").owed >= eve.version);
}

#[test]
fn device_registered_before_its_user_leaves_gets_the_backlog() {
    let mut s = Scenario::new();
    let id = s.group(&["eve"]);
    let (_, records) = propose::register_device(&s.world.state, s.world.now, &s.world.config, "eve").unwrap();
    s.world.commit(&records);
    // The group has not taken the device up yet.
    s.manage("ann", Some(id), Change::Removed(named(&["eve"]))).unwrap();
    let eve = s.member(&id, "eve");
    assert_eq!((eve.cursors[0].device, eve.cursors[0].acked, eve.skips()), (1, 0, &[][..]));
    assert!(s.ack("eve", 1, &id, 2).is_ok());
    assert_eq!(code(s.ack("eve", 1, &id, 2)), codes::UNKNOWN_CONVERSATION, "it has all that it was to get");
}

#[test]
fn read_at_the_same_seq_notifies_a_newly_named_author() {
    let mut s = Scenario::new();
    let id = s.group(&["bob", "cid"]);
    s.send("bob", Target::Conversation(id)).unwrap();
    s.send("cid", Target::Conversation(id)).unwrap();
    s.ack("ann", 1, &id, 3).unwrap();
    let first = s.read("ann", &id, 3, &["bob"]).unwrap().unwrap();
    assert_eq!(s.member(&id, "bob").owed, first.version);
    let later = s.read("ann", &id, 3, &["cid"]).unwrap().unwrap();
    assert_eq!((s.member(&id, "cid").owed, s.member(&id, "ann").read), (later.version, 3));
    assert_eq!(s.read("ann", &id, 2, &["nobody"]).unwrap(), None);
    assert_eq!(code(s.read("ann", &id, 4, &["bob"])), codes::ACK_BEYOND_HEAD);
}

#[test]
fn group_changes_follow_roles_rules_and_limits() {
    let mut s = Scenario::new();
    let id = s.group(&["bob", "cid"]);
    let role = |s: &Scenario, user: &str| s.member(&id, user).role;
    assert_eq!((role(&s, "ann"), role(&s, "bob")), (Some(Role::Owner), Some(Role::Member)));
    assert_eq!(code(s.manage("bob", Some(id), Change::Removed(named(&["cid"])))), codes::FORBIDDEN);
    s.manage("ann", Some(id), Change::Promoted(named(&["cid"]))).unwrap();
    assert_eq!(code(s.manage("cid", Some(id), Change::Removed(named(&["ann"])))), codes::FORBIDDEN);
    assert_eq!(code(s.manage("ann", Some(id), Change::Added(named(&["bob"])))), codes::NO_CHANGE);
    assert_eq!(code(s.manage("ann", Some(id), Change::Added(named(&["dan", "eve"])))), codes::GROUP_FULL);
    s.manage("ann", Some(id), Change::Added(named(&["dan", "dan", "bob"]))).unwrap();
    assert_eq!(code(s.manage("ann", Some(id), Change::Added(named(&["nobody"])))), codes::UNKNOWN_USER);
    let bodies = vec![DeviceBody { user: "bob".into(), device: 1, body: b"own"[..].into() }];
    let send = Send { bodies, body: Cow::Borrowed(b""), ..s.to(Target::Conversation(id)) };
    assert_eq!(code(s.give("ann", &send)), codes::BAD_FIELD);
    // The admin who came first is the heir.
    s.manage("ann", Some(id), Change::Left { successor: "".into() }).unwrap();
    assert_eq!(role(&s, "cid"), Some(Role::Owner));
    assert_eq!(code(s.send("ann", Target::Conversation(id))), codes::UNKNOWN_CONVERSATION);
    s.manage("cid", Some(id), Change::Closed).unwrap();
    assert_eq!(role(&s, "cid"), None);
}

#[test]
fn adding_respects_blocks_and_joining_needs_an_open_invite() {
    let mut s = Scenario::new();
    s.block("cid", "ann", false);
    let id = s.group(&["bob"]);
    assert_eq!(code(s.manage("ann", Some(id), Change::Added(named(&["dan", "cid"])))), codes::CANNOT_ADD);
    let join = || Change::Joined { hash: [0; 32], secret: Cow::Borrowed(b"0123456789abcdef") };
    assert_eq!(code(s.manage("cid", Some(id), join())), codes::BAD_INVITE);
    let expires = s.world.now.wall_ms + 1;
    s.manage("bob", Some(id), Change::Invited(Invite { hash: propose::hash_of(b"0123456789abcdef"), expires }))
        .unwrap();
    s.manage("cid", Some(id), join()).unwrap();
    assert!(s.member(&id, "cid").is_current());
    s.world.now.wall_ms = expires;
    assert_eq!(code(s.manage("dan", Some(id), join())), codes::BAD_INVITE);
}

#[test]
fn device_conversation_needs_both_devices() {
    let mut s = Scenario::new();
    let (id, _) = s.send("ann", Target::Device("bob".into(), 1)).unwrap();
    assert_eq!(s.world.state.active(&id).unwrap().row.kind, Kind::Device);
    assert_eq!(code(s.send("ann", Target::Device("bob".into(), 2))), codes::UNKNOWN_USER);
    assert_eq!(code(s.send("ann", Target::Device("ann".into(), 1))), codes::UNKNOWN_USER);
    s.drop_device("bob", 1);
    let skip = s.member(&id, "bob").skips()[0];
    assert_eq!((skip.from, skip.to), (1, 1));
    assert_eq!(code(s.send("ann", Target::Conversation(id))), codes::UNKNOWN_USER);
    // Another device gets the number, and begins with the next message.
    assert_eq!(s.register("bob"), 1);
    let (_, seq) = s.send("ann", Target::Conversation(id)).unwrap();
    assert!(s.ack("bob", 1, &id, seq).unwrap().is_some());
}

#[test]
fn messages_wait_for_a_sync_and_lazy_facts_do_not() {
    let mut s = Scenario::new();
    let (id, seq) = s.send("ann", BOB).unwrap();
    assert!(s.world.journal.waited_for);
    s.ack("bob", 1, &id, seq).unwrap();
    let records = s.world.state.flush(usize::MAX);
    assert!(!records.is_empty());
    for record in records {
        s.world.commit(&[record]);
        assert!(!s.world.journal.waited_for);
    }
}

/// A message alone takes a path of its own to the journal; among other records it makes the same.
#[test]
fn message_alone_makes_what_it_makes_among_other_records() {
    let made = |alone: bool| {
        let mut s = Scenario::new();
        let (id, _) = s.send("ann", BOB).unwrap();
        let (send, mut stored) = (s.to(BOB), Vec::new());
        let (state, now, config) = (&s.world.state, s.world.now, &s.world.config);
        let author = state.author("ann", 1).unwrap();
        let sent = propose::send(state, now, config, author, state.find(&id), &send, &mut stored).unwrap();
        let Sent::New { mut records, .. } = sent else { unreachable!("it is new") };
        if !alone {
            records.insert(0, state.bound(state.versions.bound));
        }
        let committed = s.world.commit(&records);
        let message = s.world.journal.batches.last().unwrap().last().unwrap().1.clone();
        s.world.sync();
        let active = s.world.state.active(&id).unwrap();
        (committed.slot, message, s.world.state.rows(), active.visible, active.entries.len())
    };
    assert_eq!(made(true), made(false));
    assert_eq!(made(true).3, 2);
}

#[test]
fn conversation_with_oneself_has_one_member() {
    let mut s = Scenario::new();
    let (id, _) = s.send("ann", ANN).unwrap();
    assert_eq!((s.world.state.active(&id).unwrap().row.members.len(), s.pending(&id)), (1, 0));
    let second = s.register("ann");
    s.send("ann", ANN).unwrap();
    assert_eq!(s.pending(&id), 1, "the other device gets it");
    s.ack("ann", second, &id, 2).unwrap();
    assert_eq!(s.pending(&id), 0);
}

/// The number of a device that ended comes back with a device that takes over what waits: it stands before no message of its own
/// number for good.
#[test]
fn device_with_the_number_of_one_that_ended_passes_the_messages_of_that_one() {
    let mut s = Scenario::new();
    let second = s.register("ann");
    let (id, _) = s.send("ann", ANN).unwrap();
    s.drop_device("ann", 1);
    s.drop_device("ann", second);
    assert_eq!((s.member(&id, "ann").cursors[0].device, s.pending(&id)), (0, 1));
    assert_eq!(s.register("ann"), 1);
    assert_eq!((s.member(&id, "ann").cursors[0].acked, s.pending(&id)), (1, 0));
}
