//! Every kind of change by every role, through a node.

use super::*;

/// Wants something as the owner, an admin, a member and a stranger, each from the same beginning; what they are told.
fn by_role(rules: Rules, wanted: impl Fn() -> Change<'static>) -> [Option<String>; 4] {
    std::array::from_fn(|role| {
        let mut p = party();
        let invite = Invite { hash: [1; 32], expires: 0 };
        assert_eq!(p.wish(p.ann, b"rules", Change::Rules(rules)), None);
        assert_eq!(p.wish(p.ann, b"invite", Change::Invited(invite)), None);
        let by = [p.ann, p.bob, p.dan, p.eve][role];
        p.wish(by, b"wish", wanted())
    })
}

fn told(codes: [&'static str; 4]) -> [Option<String>; 4] {
    codes.map(|code| (!code.is_empty()).then(|| code.to_owned()))
}

const NO: &str = "forbidden";
const STRANGER: &str = "unknown_conversation";

fn rules(post: Who, add: Who, edit: Who) -> Rules {
    Rules { post, add, edit }
}

/// Members may nothing but write, and write they may not.
fn strict() -> Rules {
    rules(Who::Admins, Who::Admins, Who::Admins)
}

/// Everybody may everything, but that is not much. (Not the default, which is what the rules become.)
fn open() -> Rules {
    rules(Who::Admins, Who::Everyone, Who::Everyone)
}

#[test]
fn what_the_rules_are_about() {
    let hash = [2; 32];
    for wanted in [
        Change::Added(names(&["eve"])),
        Change::Invited(Invite { hash, expires: 0 }),
        Change::Revoked([1; 32]),
        Change::Profile(named(b"news")),
    ] {
        assert_eq!(by_role(strict(), || wanted.clone()), told(["", "", NO, STRANGER]), "{wanted:?}");
        assert_eq!(by_role(open(), || wanted.clone()), told(["", "", "", STRANGER]), "{wanted:?}");
    }
}

#[test]
fn what_admins_do() {
    for wanted in [
        Change::Removed(names(&["cal"])),
        Change::Promoted(names(&["cal"])),
        Change::Rules(rules(Who::Everyone, Who::Everyone, Who::Everyone)),
    ] {
        assert_eq!(by_role(open(), || wanted.clone()), told(["", "", NO, STRANGER]), "{wanted:?}");
    }
    assert_eq!(by_role(open(), || Change::Demoted(names(&["bob"]))), told(["", "", NO, STRANGER]));
}

#[test]
fn what_only_the_owner_does_and_what_nobody_does_to_the_owner() {
    for wanted in [Change::Owner("cal".into()), Change::Closed] {
        assert_eq!(by_role(open(), || wanted.clone()), told(["", NO, NO, STRANGER]), "{wanted:?}");
    }
    for wanted in [Change::Removed(names(&["cal", "ann"])), Change::Demoted(names(&["ann"]))] {
        assert_eq!(by_role(open(), || wanted.clone()), told([NO, NO, NO, STRANGER]), "{wanted:?}");
    }
}

#[test]
fn everybody_may_leave_and_what_changes_nothing_is_told_so() {
    let leave = || Change::Left { successor: "".into() };
    assert_eq!(by_role(strict(), leave), told(["", "", "", STRANGER]));
    for nothing in [
        Change::Added(names(&["bob", "cal"])),
        Change::Removed(names(&["eve"])),
        Change::Promoted(names(&["bob", "eve"])),
        Change::Demoted(names(&["cal", "eve"])),
        Change::Profile(named(b"friends")),
        Change::Rules(open()),
        Change::Revoked([9; 32]),
    ] {
        let [owner, admin, ..] = by_role(open(), || nothing.clone());
        assert_eq!([owner.as_deref(), admin.as_deref()], [Some("no_change"); 2], "{nothing:?}");
    }
}

#[test]
fn who_may_write_follows_rules_and_roles() {
    let mut p = party();
    assert_eq!(say(&mut p.rig, p.cal, p.at, b"1"), None);
    assert_eq!(p.wish(p.bob, b"2", Change::Rules(strict())), None);
    assert_eq!(say(&mut p.rig, p.cal, p.at, b"3").as_deref(), Some("forbidden"));
    assert_eq!(say(&mut p.rig, p.eve, p.at, b"4").as_deref(), Some(STRANGER));
    assert_eq!(say(&mut p.rig, p.bob, p.at, b"5"), None);
    assert_eq!(p.wish(p.bob, b"6", Change::Promoted(names(&["cal"]))), None);
    assert_eq!(say(&mut p.rig, p.cal, p.at, b"7"), None);
    assert_eq!(p.wish(p.ann, b"8", Change::Demoted(names(&["cal"]))), None);
    assert_eq!(say(&mut p.rig, p.cal, p.at, b"9").as_deref(), Some("forbidden"));
    assert_eq!(head(&p.rig, p.at), Some(8), "a refusal takes no number (I2)");
}

#[test]
fn an_owner_hands_over_and_leaves_and_somebody_is_always_in_charge() {
    let mut p = party();
    assert_eq!(p.wish(p.ann, b"1", Change::Owner("cal".into())), None);
    assert_eq!(p.members(), people(&[("ann", 1), ("bob", 1), ("cal", 2), ("dan", 0)]));
    assert_eq!(p.wish(p.ann, b"2", Change::Closed).as_deref(), Some("forbidden"));
    assert_eq!(p.wish(p.cal, b"3", Change::Left { successor: "".into() }), None);
    let left = Seen::Left(Some("ann".into()));
    assert!(seen(&p.rig.got(p.dan)).contains(&(4, "cal", Some(&left))), "the oldest admin");
    assert_eq!(p.members(), people(&[("ann", 2), ("bob", 1), ("dan", 0)]));
}

#[test]
fn a_closed_group_is_no_more_for_anybody() {
    let mut p = party();
    p.rig.got(p.cal);
    assert_eq!(p.wish(p.ann, b"1", Change::Closed), None);
    assert_eq!(seen(&p.rig.got(p.cal)), [(3, "ann", Some(&Seen::Closed))]);
    for by in p.all() {
        assert_eq!(snapshot(&mut p.rig, by, p.at), None);
        assert!(groups(&mut p.rig, by).is_empty());
    }
    assert_eq!(p.wish(p.ann, b"2", Change::Added(names(&["eve"]))).as_deref(), Some(STRANGER));
}

#[test]
fn lists_are_kept_without_those_whom_they_do_not_concern() {
    let mut p = party();
    p.rig.got(p.dan);
    assert_eq!(p.wish(p.ann, b"1", Change::Added(names(&["bob", "eve", "eve", "ann"]))), None);
    assert_eq!(p.wish(p.ann, b"2", Change::Promoted(names(&["ann", "bob", "cal"]))), None);
    let (added, promoted) = (Seen::Added(vec!["eve".into()]), Seen::Promoted(vec!["cal".into()]));
    assert_eq!(seen(&p.rig.got(p.dan)), [(3, "ann", Some(&added)), (4, "ann", Some(&promoted))]);
    let wanted = Change::Added(names(&["nobody", "frank"]));
    assert_eq!(p.wish(p.ann, b"3", wanted).as_deref(), Some("unknown_user"));
}

#[test]
fn a_group_takes_one_body_for_all() {
    use wire::types::{DeviceBody, Send};
    let mut p = party();
    let body = DeviceBody { user: "bob".into(), device: 1, body: b"b".as_slice().into() };
    let send = |id: &'static [u8]| {
        ClientFrame::Send(Send {
            id: id.into(),
            target: Target::Conversation(p.at),
            body: Default::default(),
            bodies: vec![body.clone()],
            lists: Vec::new(),
            media: Default::default(),
        })
    };
    let (mine, theirs) = (send(b"1"), send(b"2"));
    for (by, frame, code) in [(p.cal, mine, "bad_field"), (p.eve, theirs, "unknown_conversation")] {
        p.rig.got(by);
        p.rig.feed(by, &frame);
        p.rig.turn();
        assert_eq!(codes(&p.rig.got(by)), [code]);
    }
}
