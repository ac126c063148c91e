//! Groups leave memory and come back.

use super::*;
use crate::Request;
use crate::keys::key_of;
use seam::RowKey;

/// Everybody is away, and nothing waits.
fn asleep(mut p: Party) -> Party {
    p.collect();
    p.collect();
    p.all().into_iter().for_each(|client| p.rig.cut(client));
    quiet(&mut p.rig);
    let stats = p.rig.node.stats();
    assert_eq!((stats.users_in_memory, stats.conversations_in_memory), (0, 0));
    p
}

#[test]
fn a_quiet_group_leaves_memory_and_is_as_it_was_i2() {
    let mut p = party_in(rig_with(forgetful()));
    assert_eq!(p.wish(p.bob, b"1", Change::Invited(Invite { hash: [7; 32], expires: 0 })), None);
    let before = snapshot(&mut p.rig, p.bob, p.at);
    let mut p = asleep(p);
    for crashed in [false, true] {
        if crashed {
            p.rig = restart(p.rig);
        }
        p.bob = p.rig.join("bob", 1, true);
        assert_eq!(groups(&mut p.rig, p.bob), [p.at]);
        assert_eq!(snapshot(&mut p.rig, p.bob, p.at), before, "crashed: {crashed}");
    }
    assert_eq!(say(&mut p.rig, p.bob, p.at, b"2"), None);
    assert_eq!(head(&p.rig, p.at), Some(4));
    p.cal = p.rig.join("cal", 1, true);
    assert_eq!(seqs(&p.rig.got(p.cal)), [4]);
}

#[test]
fn who_stays_in_memory_knows_after_a_crash_of_groups_that_did_not() {
    let mut p = party_in(rig_with(forgetful()));
    // The log goes on in another segment, with the states of those who talk; that of the group stays behind with a message
    // that waits.
    p.rig.node.create_user(0, "fay");
    p.rig.send(p.ann, "fay", b"f", b"hello");
    let began = p.rig.node.log().segment();
    let mut n = 0_u32;
    while p.rig.node.log().segment() == began {
        n += 1;
        p.rig.send(p.eve, "cal", &n.to_be_bytes(), &[0; 1000]);
        p.rig.send(p.cal, "eve", &n.to_be_bytes(), &[0; 1000]);
        confirm_all(&mut p);
    }
    // Gil is new, and so is what the log knows of him.
    let gil = p.rig.join("gil", 1, true);
    p.rig.pass(1_100);
    assert_eq!(p.wish(p.ann, b"1", Change::Added(names(&["gil"]))), None);
    collect(&mut p.rig, gil, p.at);
    p.collect();
    [p.ann, p.bob, p.cal, p.dan].into_iter().for_each(|client| p.rig.cut(client));
    let stay = |p: &mut Party| {
        for _ in 0..700 {
            p.rig.pass(2_000);
            for client in [gil, p.eve] {
                p.rig.feed(client, &ClientFrame::Pong { nonce: 1 });
            }
        }
    };
    stay(&mut p);
    assert_eq!(head(&p.rig, p.at), None, "the group has left");
    let fay = p.rig.join("fay", 1, true);
    let got = p.rig.got(fay);
    p.rig.ack(fay, conversation(&got), 1);
    p.rig.cut(fay);
    stay(&mut p);
    assert!(!p.rig.closed(gil));
    p.rig = restart(p.rig);
    assert_eq!(head(&p.rig, p.at), None, "and its state has left the log");
    let gil = p.rig.join("gil", 1, true);
    assert_eq!(groups(&mut p.rig, gil), [p.at]);
}

/// Everybody takes, acknowledges and confirms all that came in every conversation.
fn confirm_all(p: &mut Party) {
    for client in p.all() {
        let got = p.rig.got(client);
        for message in &got {
            if let Got::Message { conversation, seq, .. } = message {
                p.rig.ack(client, *conversation, *seq);
            }
        }
        confirm(&mut p.rig, client, &got);
    }
    p.rig.pass(300);
}

#[test]
fn a_group_is_written_to_without_asking_for_its_members() {
    let mut p = asleep(party_in(rig_with(forgetful())));
    p.bob = p.rig.join("bob", 1, true);
    p.rig.got(p.bob);
    p.rig.hold_store = true;
    p.rig.feed(p.bob, &rig::message(Target::Conversation(p.at), b"1", b"hello"));
    p.rig.turn();
    // Whether the group is his, and then the group.
    for row in [RowKey::member("bob", &p.at), RowKey::Conversation(p.at)] {
        let [Request::Get { keys, .. }] = &p.rig.held[..] else { panic!("{:?}", p.rig.held) };
        assert_eq!(*keys, [key_of(&row).unwrap()]);
        p.rig.release();
    }
    assert_eq!(answer(&p.rig.got(p.bob), b"1"), None);
    assert!(p.rig.held.is_empty(), "{:?}", p.rig.held);
    p.rig.hold_store = false;
    p.rig.cut(p.bob);
    for name in ["ann", "cal", "dan"] {
        let client = p.rig.join(name, 1, true);
        assert_eq!(seqs(&p.rig.got(client)), [3], "{name}");
        p.rig.ack(client, p.at, 3);
        p.rig.cut(client);
    }
    assert_eq!(p.rig.node.stats().messages_pending, 0);
}

#[test]
fn a_group_of_many_leaves_and_returns_without_its_members_i5() {
    let large = LogOptions { segment_bytes: 4 << 20, ..LogOptions::default() };
    let mut rig = Rig::open(SimDisk::new(1), forgetful(), large.clone(), START, Default::default());
    let others: Vec<String> = (0..1023).map(|n| format!("user {n}")).collect();
    others.iter().for_each(|name| rig.node.create_user(0, name));
    let ann = rig.join("ann", 1, true);
    rig.got(ann);
    let members = others.iter().map(|name| name.as_str().into()).collect();
    feed(&mut rig, ann, None, b"1", Change::Created { members, profile: named(b"crowd"), rules: Rules::default() });
    rig.turn();
    let at = conversation(&rig.got(ann));
    let accepted = smallvec![(at, 1)];
    rig.feed(ann, &ClientFrame::Ack(Ack { conversation: Some(at), seq: 1, accepted, ..Ack::default() }));
    // Each takes its first message, and is gone.
    for name in &others {
        let client = rig.join(name, 1, true);
        rig.ack(client, at, 1);
        rig.got(client);
        rig.cut(client);
    }
    rig.pass(300);
    let got = rig.got(ann);
    confirm(&mut rig, ann, &got);
    rig.cut(ann);
    quiet(&mut rig);
    let stats = rig.node.stats();
    assert_eq!((stats.users_in_memory, stats.conversations_in_memory), (0, 0));
    rig.hold_store = true;
    let ann = rig.join("ann", 1, true);
    while !rig.held.is_empty() {
        rig.release();
    }
    rig.got(ann);
    rig.feed(ann, &rig::message(Target::Conversation(at), b"2", b"hello"));
    rig.turn();
    for _ in 0..2 {
        rig.release();
    }
    assert_eq!(answer(&rig.got(ann), b"2"), None);
    assert!(rig.held.is_empty(), "nobody else is asked for");
    assert_eq!(rig.node.stats().messages_pending, 1);
}

#[test]
fn a_new_device_of_a_member_begins_with_the_snapshot_and_what_comes() {
    let mut p = party();
    assert_eq!(say(&mut p.rig, p.dan, p.at, b"1"), None);
    let tablet = p.rig.join("cal", 2, true);
    let got = p.rig.got(tablet);
    assert!(seqs(&got).is_empty(), "{got:?}");
    assert_eq!(say(&mut p.rig, p.dan, p.at, b"2"), None);
    let got = p.rig.got(tablet);
    assert!(matches!(&got[..], [Got::Group(_), Got::Message { seq: 4, .. }]), "{got:?}");
    let mut p = p.restart();
    let tablet = p.rig.join("cal", 2, true);
    let got = p.rig.got(tablet);
    assert!(matches!(&got[1..], [Got::Group(_), Got::Message { seq: 4, .. }]), "{got:?}");
    p.rig.ack(tablet, p.at, 4);
    assert_eq!(say(&mut p.rig, p.dan, p.at, b"3"), None);
    let got = p.rig.got(tablet);
    assert!(matches!(&got[..], [Got::Message { seq: 5, .. }]), "once is enough: {got:?}");
}

#[test]
fn a_device_that_came_while_the_group_was_away_gets_what_is_said_before_anybody_looks_for_it() {
    let mut p = asleep(party_in(rig_with(forgetful())));
    let tablet = p.rig.join("cal", 2, true);
    p.rig.cut(tablet);
    quiet(&mut p.rig);
    assert_eq!(p.rig.node.stats().users_in_memory, 0);
    // Cal is no more than a name in the group now.
    p.bob = p.rig.join("bob", 1, true);
    assert_eq!(say(&mut p.rig, p.bob, p.at, b"1"), None);
    for restarted in [false, true] {
        if restarted {
            p.rig = restart(p.rig);
        }
        let [phone, tablet] = [1, 2].map(|device| p.rig.join("cal", device, true));
        assert_eq!(seqs(&p.rig.got(phone)), [3], "restarted: {restarted}");
        let got = p.rig.got(tablet);
        assert!(matches!(&got[1..], [Got::Group(_), Got::Message { seq: 3, .. }]), "restarted: {restarted}, {got:?}");
        [phone, tablet].into_iter().for_each(|client| p.rig.cut(client));
    }
}

#[test]
fn who_was_added_while_away_and_asleep_learns_of_it_s4() {
    let mut p = asleep(party_in(rig_with(forgetful())));
    [p.ann, p.dan] = ["ann", "dan"].map(|name| p.rig.join(name, 1, true));
    assert_eq!(p.wish(p.ann, b"1", Change::Added(names(&["eve"]))), None);
    assert_eq!(p.wish(p.ann, b"2", Change::Removed(names(&["cal"]))), None);
    [p.ann, p.dan].into_iter().for_each(|client| p.rig.cut(client));
    p.rig.pass(1_100);
    p.rig = restart(p.rig);
    [p.eve, p.cal] = ["eve", "cal"].map(|name| p.rig.join(name, 1, true));
    assert_eq!(groups(&mut p.rig, p.eve), [p.at]);
    assert!(groups(&mut p.rig, p.cal).is_empty());
    p.rig.cut(p.cal);
    p.rig.cut(p.eve);
    [p.eve, p.cal] = ["eve", "cal"].map(|name| p.rig.join(name, 1, true));
    assert_eq!(seqs(&p.rig.got(p.eve)), [3, 4]);
    assert_eq!(seqs(&p.rig.got(p.cal)), [3, 4]);
}

#[test]
fn a_member_who_is_added_stays_in_memory_until_it_is_to_be_seen() {
    let mut rig = rig_with(Config { quiet_ms: 1_000, ..forgetful() });
    let ann = rig.join("ann", 1, true);
    rig.node.create_user(0, "bob");
    rig.turn();
    rig.got(ann);
    rig.hold_disk = true;
    feed(&mut rig, ann, None, b"1", created(&["bob"]));
    for _ in 0..20 {
        rig.pass(1_000);
        rig.feed(ann, &ClientFrame::Ping { nonce: 1 });
    }
    rig.hold_disk = false;
    rig.turn();
    let at = conversation(&rig.got(ann));
    let bob = rig.join("bob", 1, true);
    assert_eq!(seqs(&rig.got(bob)), [1]);
    assert_eq!(groups(&mut rig, bob), [at]);
}
