//! How many there may be: members, groups of a user, invites, changes on the way.

use super::*;
use crate::Request;

pub(super) fn large() -> LogOptions {
    LogOptions { segment_bytes: 4 << 20, ..LogOptions::default() }
}

fn rig_of(config: Config) -> Rig<SimDisk> {
    Rig::open(SimDisk::new(1), config, large(), START, Default::default())
}

fn crowd(rig: &mut Rig<SimDisk>, count: usize) -> Vec<String> {
    let all: Vec<String> = (0..count).map(|n| format!("user {n}")).collect();
    all.iter().for_each(|name| rig.node.create_user(0, name));
    all
}

fn borrowed(names: &[String]) -> Vec<std::borrow::Cow<'_, str>> {
    names.iter().map(|name| name.as_str().into()).collect()
}

fn of(members: &[String]) -> Change<'_> {
    Change::Created { members: borrowed(members), profile: named(b"crowd"), rules: Rules::default() }
}

#[test]
fn a_thousand_and_twenty_four_are_members_and_not_one_more_s13() {
    let mut rig = rig_of(Config::default());
    let others = crowd(&mut rig, 1025);
    let ann = rig.join("ann", 1, true);
    rig.got(ann);
    feed(&mut rig, ann, None, b"0", of(&others[..1024]));
    rig.turn();
    assert_eq!(answer(&rig.got(ann), b"0").as_deref(), Some("group_full"));
    feed(&mut rig, ann, None, b"1", of(&others[..1023]));
    rig.turn();
    let at = conversation(&rig.got(ann));
    let last = Change::Added(borrowed(&others[1023..1024]));
    assert_eq!(manage(&mut rig, ann, at, b"2", last.clone()).as_deref(), Some("group_full"));
    let first = rig.join("user 0", 1, true);
    assert_eq!(manage(&mut rig, first, at, b"3", Change::Left { successor: "".into() }), None);
    let two = Change::Added(borrowed(&others[1023..]));
    assert_eq!(manage(&mut rig, ann, at, b"4", two).as_deref(), Some("group_full"), "all or none");
    assert_eq!(manage(&mut rig, ann, at, b"5", last), None);
    assert_eq!(snapshot(&mut rig, ann, at).unwrap().members.len(), 1024);
    let new = rig.join("user 1023", 1, true);
    assert_eq!(say(&mut rig, new, at, b"6"), None);
    assert!(rig.alarms.is_empty(), "{:?}", rig.alarms);
}

#[test]
fn an_operator_may_allow_fewer_and_one_alone_is_a_group() {
    let mut rig = rig_of(Config { group_members: 2, ..Config::default() });
    let [ann, bob] = ["ann", "bob"].map(|name| rig.join(name, 1, true));
    rig.node.create_user(0, "cal");
    rig.got(ann);
    let at = create(&mut rig, ann, b"1", &[]);
    assert_eq!(snapshot(&mut rig, ann, at).unwrap().members, people(&[("ann", 2)]));
    assert_eq!(manage(&mut rig, ann, at, b"2", Change::Added(names(&["bob", "cal"]))).as_deref(), Some("group_full"));
    assert_eq!(manage(&mut rig, ann, at, b"3", Change::Added(names(&["bob"]))), None);
    assert_eq!(manage(&mut rig, ann, at, b"4", Change::Added(names(&["cal"]))).as_deref(), Some("group_full"));
    assert_eq!(say(&mut rig, bob, at, b"5"), None);
    let two = || created(&["bob", "cal"]);
    feed(&mut rig, ann, None, b"6", two());
    rig.turn();
    assert_eq!(answer(&rig.got(ann), b"6").as_deref(), Some("group_full"));
}

#[test]
fn nobody_is_in_more_than_a_thousand_groups() {
    let mut rig = rig_of(Config::default());
    let [ann, bob] = ["ann", "bob"].map(|name| rig.join(name, 1, false));
    let at = create(&mut rig, bob, b"g", &[]);
    let hash: Hash = sha(b"a secret of ours");
    assert_eq!(manage(&mut rig, bob, at, b"i", Change::Invited(Invite { hash, expires: 0 })), None);
    for n in 0..1000u32 {
        let id = n.to_be_bytes();
        feed(&mut rig, ann, None, &id, created(&[]));
        rig.turn();
        let got = rig.got(ann);
        assert_eq!(answer(&got, &id), None);
        confirm(&mut rig, ann, &got);
    }
    rig.got(ann);
    feed(&mut rig, ann, None, b"1", created(&["bob"]));
    rig.turn();
    assert_eq!(answer(&rig.got(ann), b"1").as_deref(), Some("too_many"));
    let joined = Change::Joined { hash: Hash::default(), secret: b"a secret of ours".as_slice().into() };
    assert_eq!(manage(&mut rig, ann, at, b"2", joined).as_deref(), Some("too_many"));
    assert_eq!(manage(&mut rig, bob, at, b"3", Change::Added(names(&["ann"]))).as_deref(), Some("cannot_add"));
}

#[test]
fn a_change_writes_few_records_whomever_it_moves() {
    let mut rig = rig_of(Config::default());
    let others = crowd(&mut rig, 200);
    let ann = rig.join("ann", 1, true);
    rig.got(ann);
    let wish = |rig: &mut Rig<SimDisk>, id: u8, at, change| {
        rig.pass(1_100);
        let before = records(&rig.disk);
        feed(rig, ann, at, &[id], change);
        rig.turn();
        assert_eq!(answer(&rig.got(ann), &[id]), None);
        records(&rig.disk) - before
    };
    assert_eq!(wish(&mut rig, 0, None, of(&others)), 2, "the image of the group, and the change");
    assert_eq!(wish(&mut rig, 1, None, of(&others)), 2);
    let at = wire::ids::group_id("ann", 1, &[1]);
    assert_eq!(wish(&mut rig, 2, Some(at), Change::Removed(borrowed(&others))), 1, "with what they will never have");
    let mut rig = restart(rig);
    let other = rig.join("user 7", 1, true);
    assert_eq!(groups(&mut rig, other), [wire::ids::group_id("ann", 1, &[0])]);
}

fn records(disk: &SimDisk) -> usize {
    let mut count = 0;
    log::fsck(disk, &mut |_| count += 1).unwrap();
    count
}

#[test]
fn users_who_are_away_are_asked_for_all_at_once() {
    let mut rig = rig_of(forgetful());
    let others = crowd(&mut rig, 60);
    quiet(&mut rig);
    assert_eq!(rig.node.stats().users_in_memory, 0);
    let ann = rig.join("ann", 1, true);
    rig.hold_store = true;
    rig.got(ann);
    feed(&mut rig, ann, None, b"1", of(&others));
    rig.send(ann, "ann", b"2", b"x");
    assert_eq!((rig.held.len(), looked(&rig)), (1, 60));
    // One journey for all of them, and one for their groups, whatever the order of answers.
    for _ in 0..2 {
        rig.held.reverse();
        rig.release();
    }
    rig.hold_store = false;
    rig.release();
    let got = rig.got(ann);
    let ids: Vec<_> =
        got.iter().filter_map(|g| if let Got::Accepted { id, .. } = g { Some(&**id) } else { None }).collect();
    assert_eq!(ids, [b"1", b"2"], "in order");
}

/// Keys that the store is asked for.
fn looked(rig: &Rig<SimDisk>) -> usize {
    let keys = |request: &Request| if let Request::Get { keys, .. } = request { keys.len() } else { 0 };
    rig.held.iter().map(keys).sum()
}

#[test]
fn one_name_that_is_nobodys_refuses_the_whole() {
    let mut rig = rig_of(Config::default());
    let ann = rig.join("ann", 1, true);
    rig.got(ann);
    rig.node.create_user(0, "bob");
    feed(&mut rig, ann, None, b"1", created(&["nobody", "bob", "nobody else"]));
    rig.turn();
    assert_eq!(answer(&rig.got(ann), b"1").as_deref(), Some("unknown_user"));
    assert_eq!(rig.node.stats().conversations_in_memory, 0);
    assert!(groups(&mut rig, ann).is_empty());
}

#[test]
fn names_that_are_nobodys_become_users_where_that_is_so() {
    let mut rig = rig_of(Config { create_unknown: true, ..Config::default() });
    let ann = rig.join("ann", 1, true);
    rig.got(ann);
    let at = create(&mut rig, ann, b"1", &["bob", "cal", "dan"]);
    let cal = rig.join("cal", 1, true);
    assert_eq!(seqs(&rig.got(cal)), [1]);
    assert_eq!(groups(&mut rig, cal), [at]);
}

#[test]
fn a_group_has_sixteen_invites_and_a_new_one_waits_for_one_to_be_revoked() {
    let mut p = party();
    let invite = |n: u8| Change::Invited(Invite { hash: [n; 32], expires: 0 });
    for n in 0..16 {
        assert_eq!(p.wish(p.bob, &[n], invite(n)), None);
    }
    assert_eq!(p.wish(p.bob, b"more", invite(16)).as_deref(), Some("too_many"));
    assert_eq!(p.wish(p.bob, b"less", Change::Revoked([3; 32])), None);
    assert_eq!(p.wish(p.bob, b"now", invite(16)), None);
}

#[test]
fn changes_on_their_way_to_the_disk_are_bounded_i6() {
    let mut p = party();
    p.rig.hold_disk = true;
    let picture = |n: u8| Profile { picture: Some(vec![n; 1000].into()), ..Profile::default() };
    let mut fed = 0;
    while !p.rig.wires[&p.ann.wire].paused {
        assert!(fed < 200, "she is not read while so much waits");
        feed(&mut p.rig, p.ann, Some(p.at), &[fed], Change::Profile(picture(fed)));
        fed += 1;
        p.rig.turn();
    }
    assert_eq!(p.rig.node.failed(), None);
    p.rig.hold_disk = false;
    p.rig.turn();
    assert!(!p.rig.wires[&p.ann.wire].paused);
    let got = p.rig.got(p.ann);
    (0..fed).for_each(|n| assert_eq!(answer(&got, &[n]), None));
    assert_eq!(p.wish(p.ann, b"again", Change::Profile(picture(99))), None);
}
