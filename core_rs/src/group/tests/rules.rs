//! Who may do what: every kind of change by every role.

use super::*;

/// What each role gets for a wish: owner, admin, member.
fn by_role(group: &Group, wanted: &Change) -> [Result<(), Refusal>; 3] {
    [OWNER, ADMIN, MEMBER].map(|actor| group.decide(actor, wanted.clone(), NOW, MOST).map(drop))
}

fn with_rules(post: Who, add: Who, edit: Who) -> Group {
    let mut group = group();
    group.apply(3, OWNER, &Change::Rules(rules(post, add, edit)));
    group
}

const YES: Result<(), Refusal> = Ok(());
const NO: Result<(), Refusal> = Err(Refusal::Forbidden);
const NOTHING: Result<(), Refusal> = Err(Refusal::NoChange);

#[test]
fn admins_manage_members_and_admins_but_not_the_owner() {
    let group = group();
    for wanted in [
        Change::Removed(vec![OTHER_MEMBER]),
        Change::Removed(vec![OTHER_ADMIN, LAST_MEMBER]),
        Change::Promoted(vec![OTHER_MEMBER]),
        Change::Demoted(vec![OTHER_ADMIN]),
        Change::Rules(rules(Who::Admins, Who::Admins, Who::Admins)),
    ] {
        assert_eq!(by_role(&group, &wanted), [YES, YES, NO], "{wanted:?}");
    }
    for wanted in [Change::Removed(vec![MEMBER, OWNER]), Change::Demoted(vec![OWNER])] {
        assert_eq!(by_role(&group, &wanted), [NO, NO, NO], "{wanted:?}");
    }
}

#[test]
fn only_the_owner_closes_and_hands_over() {
    let group = group();
    for wanted in [Change::Closed, Change::Owner(OTHER_MEMBER)] {
        assert_eq!(by_role(&group, &wanted), [YES, NO, NO], "{wanted:?}");
    }
    assert_eq!(by_role(&group, &Change::Owner(STRANGER)), [NOTHING, NO, NO]);
}

#[test]
fn the_rules_say_who_adds_and_invites() {
    let mut closed = with_rules(Who::Everyone, Who::Admins, Who::Everyone);
    let mut open = with_rules(Who::Admins, Who::Everyone, Who::Admins);
    for group in [&mut closed, &mut open] {
        group.apply(4, OWNER, &Change::Invited(Invite { hash: [1; 32], expires: 0 }));
    }
    for wanted in
        [Change::Added(vec![STRANGER]), Change::Invited(Invite { hash: [2; 32], expires: 0 }), Change::Revoked([1; 32])]
    {
        assert_eq!(by_role(&closed, &wanted), [YES, YES, NO], "{wanted:?}");
        assert_eq!(by_role(&open, &wanted), [YES, YES, YES], "{wanted:?}");
    }
}

#[test]
fn the_rules_say_who_edits() {
    let wanted = Change::Profile(profile("news"));
    assert_eq!(by_role(&with_rules(Who::Everyone, Who::Everyone, Who::Admins), &wanted), [YES, YES, NO]);
    assert_eq!(by_role(&with_rules(Who::Admins, Who::Admins, Who::Everyone), &wanted), [YES, YES, YES]);
}

#[test]
fn the_rules_say_who_posts() {
    let may = |group: &Group| [OWNER, ADMIN, MEMBER, STRANGER].map(|user| group.may_post(user));
    assert_eq!(may(&with_rules(Who::Everyone, Who::Admins, Who::Admins)), [true, true, true, false]);
    assert_eq!(may(&with_rules(Who::Admins, Who::Everyone, Who::Everyone)), [true, true, false, false]);
}

#[test]
fn everybody_may_leave() {
    assert_eq!(by_role(&group(), &Change::Left { successor: None }), [YES, YES, YES]);
}

#[test]
fn to_a_stranger_there_is_no_group_i8() {
    let group = with_rules(Who::Everyone, Who::Everyone, Who::Everyone);
    for wanted in [
        Change::Profile(profile("news")),
        Change::Rules(Rules::default()),
        Change::Added(vec![STRANGER]),
        Change::Removed(vec![STRANGER]),
        Change::Left { successor: None },
        Change::Promoted(vec![STRANGER]),
        Change::Demoted(vec![ADMIN]),
        Change::Owner(STRANGER),
        Change::Invited(Invite { hash: [1; 32], expires: 0 }),
        Change::Revoked([1; 32]),
        Change::Closed,
        created(&[ADMIN]),
    ] {
        assert_eq!(group.decide(STRANGER, wanted.clone(), NOW, MOST), Err(Refusal::Unknown), "{wanted:?}");
    }
    assert_eq!(group.decide(STRANGER, Change::Joined([1; 32]), NOW, MOST), Err(Refusal::BadInvite));
}

#[test]
fn lists_are_left_without_those_whom_they_do_not_concern() {
    let group = group();
    let decide = |wanted| group.decide(OWNER, wanted, NOW, MOST);
    let (a, b) = (STRANGER, STRANGER + 1);
    assert_eq!(decide(Change::Added(vec![a, MEMBER, b, a])), Ok(Change::Added(vec![a, b])));
    assert_eq!(decide(Change::Removed(vec![a, MEMBER, MEMBER])), Ok(Change::Removed(vec![MEMBER])));
    assert_eq!(decide(Change::Promoted(vec![ADMIN, MEMBER, OWNER, a])), Ok(Change::Promoted(vec![MEMBER])));
    assert_eq!(decide(Change::Demoted(vec![MEMBER, ADMIN, a])), Ok(Change::Demoted(vec![ADMIN])));
    for nothing in [
        Change::Added(vec![MEMBER]),
        Change::Removed(vec![a]),
        Change::Promoted(vec![ADMIN, a]),
        Change::Demoted(vec![MEMBER]),
        Change::Rules(group.rules),
        Change::Added(vec![]),
        created(&[a]),
        Change::Joined([1; 32]),
    ] {
        assert_eq!(decide(nothing.clone()), Err(Refusal::NoChange), "{nothing:?}");
    }
}

#[test]
fn two_admins_who_demote_each_other_the_first_one_does() {
    let mut group = group();
    change(&mut group, ADMIN, Change::Demoted(vec![OTHER_ADMIN])).unwrap();
    assert_eq!(change(&mut group, OTHER_ADMIN, Change::Demoted(vec![ADMIN])), Err(Refusal::Forbidden));
}
