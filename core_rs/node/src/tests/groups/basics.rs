//! A group's way from nothing to nothing, as its members see it.

use super::*;

#[test]
fn a_group_begins_and_everybody_sees_its_changes_in_one_order_s14() {
    let mut rig = rig();
    let [ann, bob, cal] = ["ann", "bob", "cal"].map(|name| rig.join(name, 1, true));
    [ann, bob, cal].iter().for_each(|client| drop(rig.got(*client)));
    let at = create(&mut rig, ann, b"g", &["bob", "cal"]);
    assert_eq!(manage(&mut rig, ann, at, b"2", Change::Promoted(names(&["bob"]))), None);
    assert_eq!(say(&mut rig, cal, at, b"3"), None);
    let created = Seen::Created {
        members: vec!["bob".into(), "cal".into()],
        profile: [Some(b"friends".to_vec()), None, None],
        rules: [0, 1, 1],
    };
    let got = rig.got(bob);
    let expected =
        [(1, "ann", Some(&created)), (2, "ann", Some(&Seen::Promoted(vec!["bob".into()]))), (3, "cal", None)];
    assert_eq!(seen(&got), expected);
    let Some(Got::Group(first)) = got.first() else { panic!("the snapshot comes first: {got:?}") };
    assert_eq!(first.conversation, at);
    assert_eq!(seqs(&rig.got(ann)), [3], "one's own come back to nobody");
    let now = snapshot(&mut rig, bob, at).unwrap();
    assert_eq!((now.seq, now.members), (2, people(&[("ann", 2), ("bob", 1), ("cal", 0)])));
    for client in [ann, bob, cal] {
        assert_eq!(groups(&mut rig, client), [at]);
    }
}

#[test]
fn a_message_to_a_group_is_one_record_and_goes_when_all_have_it_i5() {
    let mut party = party();
    let before = party.rig.node.stats().messages_pending;
    assert_eq!(before, 0);
    assert_eq!(say(&mut party.rig, party.cal, party.at, b"1"), None);
    assert_eq!(party.rig.node.stats().messages_pending, 1);
    party.collect();
    assert_eq!(party.rig.node.stats().messages_pending, 0);
}

#[test]
fn who_goes_sees_its_going_and_nothing_after_it_i8() {
    let mut p = party();
    assert_eq!(p.wish(p.bob, b"1", Change::Removed(names(&["cal"]))), None);
    assert_eq!(say(&mut p.rig, p.bob, p.at, b"2"), None);
    let got = p.rig.got(p.cal);
    assert_eq!(seen(&got), [(3, "bob", Some(&Seen::Removed(vec!["cal".into()])))]);
    assert_eq!(say(&mut p.rig, p.cal, p.at, b"3").as_deref(), Some("unknown_conversation"));
    assert_eq!(snapshot(&mut p.rig, p.cal, p.at), None);
    assert!(groups(&mut p.rig, p.cal).is_empty());
    // And comes back later, without what was said meanwhile.
    assert_eq!(p.wish(p.ann, b"4", Change::Added(names(&["cal"]))), None);
    assert_eq!(say(&mut p.rig, p.bob, p.at, b"5"), None);
    assert_eq!(seqs(&p.rig.got(p.cal)), [5, 6]);
    assert_eq!(p.members(), people(&[("ann", 2), ("bob", 1), ("dan", 0), ("cal", 0)]));
}

#[test]
fn when_everybody_has_left_there_is_no_group() {
    let mut p = party();
    for (by, id) in [(p.ann, b"1"), (p.cal, b"2"), (p.bob, b"3"), (p.dan, b"4")] {
        assert_eq!(p.wish(by, id, Change::Left { successor: "".into() }), None);
    }
    for by in p.all() {
        assert_eq!(say(&mut p.rig, by, p.at, b"9").as_deref(), Some("unknown_conversation"));
        assert!(groups(&mut p.rig, by).is_empty());
    }
}

#[test]
fn a_group_is_after_a_crash_as_it_was_i1() {
    let mut p = party();
    assert_eq!(p.wish(p.ann, b"1", Change::Added(names(&["eve"]))), None);
    assert_eq!(p.wish(p.bob, b"2", Change::Promoted(names(&["eve"]))), None);
    assert_eq!(p.wish(p.ann, b"3", Change::Profile(named(b"others"))), None);
    assert_eq!(p.wish(p.ann, b"4", Change::Left { successor: "".into() }), None);
    let before = snapshot(&mut p.rig, p.eve, p.at);
    let mut p = p.restart();
    assert_eq!(snapshot(&mut p.rig, p.eve, p.at), before);
    assert_eq!(before.unwrap().members, people(&[("bob", 2), ("cal", 0), ("dan", 0), ("eve", 1)]));
    assert!(groups(&mut p.rig, p.ann).is_empty());
    assert_eq!(groups(&mut p.rig, p.eve), [p.at]);
    assert_eq!(say(&mut p.rig, p.dan, p.at, b"5"), None);
}
