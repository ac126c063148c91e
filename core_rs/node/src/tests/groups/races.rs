//! Two things at once: whoever has the lower number was first, and everybody sees it so.

use super::*;

#[test]
fn two_admins_who_demote_each_other_the_first_one_does() {
    let mut p = party();
    assert_eq!(p.wish(p.ann, b"1", Change::Promoted(names(&["cal"]))), None);
    p.rig.got(p.bob);
    p.rig.got(p.cal);
    p.rig.hold_disk = true;
    feed(&mut p.rig, p.cal, Some(p.at), b"2", Change::Demoted(names(&["bob"])));
    feed(&mut p.rig, p.bob, Some(p.at), b"3", Change::Demoted(names(&["cal"])));
    p.rig.hold_disk = false;
    p.rig.turn();
    assert_eq!(answer(&p.rig.got(p.cal), b"2"), None);
    assert_eq!(answer(&p.rig.got(p.bob), b"3").as_deref(), Some("forbidden"), "before anybody saw it");
    assert_eq!(p.members(), people(&[("ann", 2), ("bob", 0), ("cal", 1), ("dan", 0)]));
}

#[test]
fn who_is_removed_while_its_message_is_on_the_way_has_sent_it_or_not() {
    let mut p = party();
    p.rig.hold_disk = true;
    p.rig.feed(p.cal, &rig::message(Target::Conversation(p.at), b"1", b"before"));
    feed(&mut p.rig, p.bob, Some(p.at), b"2", Change::Removed(names(&["cal"])));
    p.rig.turn();
    p.rig.feed(p.cal, &rig::message(Target::Conversation(p.at), b"3", b"after"));
    p.rig.feed(p.cal, &rig::message(Target::Conversation(p.at), b"1", b"before"));
    p.rig.hold_disk = false;
    p.rig.turn();
    let got = p.rig.got(p.cal);
    assert_eq!(answer(&got, b"1"), None);
    assert_eq!(answer(&got, b"3").as_deref(), Some("unknown_conversation"));
    let repeats = got.iter().filter(|g| matches!(g, Got::Accepted { seq: 3, .. })).count();
    assert_eq!(repeats, 2, "what was sent before stays sent (I4)");
    assert_eq!(seqs(&got), [4], "its going");
    assert_eq!(seqs(&p.rig.got(p.dan)), [3, 4]);
}

#[test]
fn who_is_removed_while_away_gets_what_was_said_before_and_its_going_s4() {
    let mut p = party();
    p.rig.cut(p.cal);
    assert_eq!(say(&mut p.rig, p.dan, p.at, b"1"), None);
    assert_eq!(p.wish(p.ann, b"2", Change::Removed(names(&["cal"]))), None);
    assert_eq!(say(&mut p.rig, p.dan, p.at, b"3"), None);
    for restarted in [false, true] {
        if restarted {
            p = p.restart();
        } else {
            p.cal = p.rig.join("cal", 1, true);
        }
        assert_eq!(seqs(&p.rig.got(p.cal)), [3, 4], "restarted: {restarted}");
        assert!(groups(&mut p.rig, p.cal).is_empty());
    }
    p.rig.ack(p.cal, p.at, 4);
    p.rig.cut(p.cal);
    p.cal = p.rig.join("cal", 1, true);
    assert!(seqs(&p.rig.got(p.cal)).is_empty());
    p.rig.ack(p.cal, p.at, 5);
    assert_eq!(codes(&p.rig.got(p.cal)), ["unknown_conversation"], "gone for good (I8)");
}

#[test]
fn a_device_that_saw_its_user_go_reads_there_no_more_whatever_another_one_still_lacks_i8() {
    let mut p = party();
    let tablet = p.rig.join("cal", 2, true);
    collect(&mut p.rig, tablet, p.at);
    p.rig.cut(tablet);
    assert_eq!(p.wish(p.ann, b"1", Change::Removed(names(&["cal"]))), None);
    p.rig.ack(p.cal, p.at, 3);
    p.rig.got(p.cal);
    p.rig.read(p.cal, p.at, 3);
    assert_eq!(codes(&p.rig.got(p.cal)), ["unknown_conversation"]);
    let tablet = p.rig.join("cal", 2, true);
    assert_eq!(seqs(&p.rig.got(tablet)), [3]);
    p.rig.read(tablet, p.at, 3);
    assert!(codes(&p.rig.got(tablet)).is_empty(), "it has not seen it yet");
}

#[test]
fn the_last_seat_is_taken_once() {
    let mut rig = rig_with(Config { group_members: 3, ..Config::default() });
    let [ann, bob, cal, dan] = ["ann", "bob", "cal", "dan"].map(|name| rig.join(name, 1, true));
    let at = create(&mut rig, ann, b"g", &["bob"]);
    let secret = b"a secret of ours";
    assert_eq!(manage(&mut rig, ann, at, b"i", Change::Invited(Invite { hash: sha(secret), expires: 0 })), None);
    rig.hold_disk = true;
    let join = || Change::Joined { hash: Hash::default(), secret: secret.as_slice().into() };
    let leave = Change::Left { successor: "".into() };
    for (by, id, change) in [(dan, b"1", join()), (cal, b"1", join()), (bob, b"1", leave), (cal, b"2", join())] {
        feed(&mut rig, by, Some(at), id, change);
        rig.turn();
    }
    rig.hold_disk = false;
    rig.turn();
    assert_eq!(answer(&rig.got(dan), b"1"), None);
    let got = rig.got(cal);
    assert_eq!((answer(&got, b"1").as_deref(), answer(&got, b"2")), (Some("group_full"), None));
    assert_eq!(snapshot(&mut rig, dan, at).unwrap().members, people(&[("ann", 2), ("dan", 0), ("cal", 0)]));
}

#[test]
fn the_owner_leaves_while_being_handed_things() {
    let mut p = party();
    p.rig.hold_disk = true;
    let leave = Change::Left { successor: "".into() };
    for (by, id, change) in [
        (p.ann, b"1", Change::Owner("cal".into())),
        (p.cal, b"1", leave),
        (p.bob, b"1", Change::Removed(names(&["ann"]))),
        (p.ann, b"2", Change::Removed(names(&["bob"]))),
    ] {
        feed(&mut p.rig, by, Some(p.at), id, change);
        // Whose row the store is asked for has its turn later.
        p.rig.turn();
    }
    p.rig.hold_disk = false;
    p.rig.turn();
    assert_eq!(answer(&p.rig.got(p.bob), b"1").as_deref(), Some("forbidden"), "ann is the owner again");
    assert_eq!(p.members(), people(&[("ann", 2), ("dan", 0)]));
}

#[test]
fn a_member_in_and_out_and_in_sees_each_time_what_was_said_in_it() {
    let mut p = party();
    p.rig.cut(p.cal);
    for n in 0..3u8 {
        assert_eq!(say(&mut p.rig, p.dan, p.at, &[n, 0]), None);
        assert_eq!(p.wish(p.ann, &[n, 1], Change::Removed(names(&["cal"]))), None);
        assert_eq!(say(&mut p.rig, p.dan, p.at, &[n, 2]), None);
        assert_eq!(p.wish(p.ann, &[n, 3], Change::Added(names(&["cal"]))), None);
    }
    let expected = [3, 4, 6, 7, 8, 10, 11, 12, 14];
    p.cal = p.rig.join("cal", 1, true);
    assert_eq!(seqs(&p.rig.got(p.cal)), expected);
    let mut p = p.restart();
    assert_eq!(seqs(&p.rig.got(p.cal)), expected);
    p.rig.ack(p.cal, p.at, 14);
    p.collect();
    p.collect();
    assert_eq!(p.rig.node.stats().messages_pending, 0);
}
