//! What a group does with changes and wishes.

mod fold;
mod rules;

use super::*;

/// By slot: an owner, two admins, three members.
const OWNER: u32 = 1;
const ADMIN: u32 = 2;
const OTHER_ADMIN: u32 = 3;
const MEMBER: u32 = 4;
const OTHER_MEMBER: u32 = 5;
const LAST_MEMBER: u32 = 6;
const STRANGER: u32 = 9;
const MOST: usize = 1024;
const NOW: u64 = 1_000_000;

fn rules(post: Who, add: Who, edit: Who) -> Rules {
    Rules { post, add, edit }
}

fn profile(name: &str) -> Profile {
    Profile { name: Some(name.as_bytes().to_vec().into()), ..Profile::default() }
}

fn created(members: &[u32]) -> Change {
    let rules = rules(Who::Everyone, Who::Admins, Who::Admins);
    Change::Created { members: members.to_vec(), profile: profile("friends"), rules }
}

/// The one with everybody.
fn group() -> Group {
    let mut group = Group::default();
    group.apply(1, OWNER, &created(&[ADMIN, OTHER_ADMIN, MEMBER, OTHER_MEMBER, LAST_MEMBER]));
    group.apply(2, OWNER, &Change::Promoted(vec![OTHER_ADMIN, ADMIN]));
    group
}

/// Decides and applies.
fn change(group: &mut Group, actor: u32, wanted: Change) -> Result<Moved, Refusal> {
    let decided = group.decide(actor, wanted, NOW, MOST)?;
    Ok(group.apply(group.seq + 1, actor, &decided))
}

#[test]
fn whoever_creates_a_group_owns_it_and_the_order_is_that_of_coming() {
    let mut group = Group::default();
    let wanted = created(&[MEMBER, OWNER, ADMIN, MEMBER]);
    let decided = group.decide(OWNER, wanted, NOW, MOST).unwrap();
    let moved = group.apply(1, OWNER, &decided);
    assert_eq!(moved, Moved { came: vec![OWNER, MEMBER, ADMIN], went: vec![] });
    assert_eq!(group.members, [(OWNER, Role::Owner), (MEMBER, Role::Member), (ADMIN, Role::Member)]);
    assert_eq!(group.profile, profile("friends"));
}

#[test]
fn a_change_is_done_once_however_often_it_comes() {
    let mut group = group();
    let before = group.clone();
    assert_eq!(group.apply(2, OWNER, &Change::Closed), Moved::default());
    assert_eq!(group.apply(1, OWNER, &Change::Removed(vec![MEMBER])), Moved::default());
    assert_eq!(group, before);
}

#[test]
fn when_the_owner_leaves_the_oldest_admin_follows_else_the_oldest_member() {
    let mut group = group();
    for heir in [ADMIN, OTHER_ADMIN, MEMBER, OTHER_MEMBER, LAST_MEMBER] {
        let owner = group.owner().unwrap();
        let decided = group.decide(owner, Change::Left { successor: Some(LAST_MEMBER) }, NOW, MOST).unwrap();
        assert_eq!(decided, Change::Left { successor: Some(heir) }, "whoever was named");
        assert_eq!(group.apply(group.seq + 1, owner, &decided).went, [owner]);
        assert_eq!(group.owner(), Some(heir));
    }
    let decided = group.decide(LAST_MEMBER, Change::Left { successor: None }, NOW, MOST).unwrap();
    assert_eq!(decided, Change::Left { successor: None });
    group.apply(group.seq + 1, LAST_MEMBER, &decided);
    assert_eq!(group.members, []);
    assert_eq!(group.decide(LAST_MEMBER, Change::Closed, NOW, MOST), Err(Refusal::Unknown));
}

#[test]
fn who_was_not_the_owner_leaves_no_successor() {
    let group = group();
    assert_eq!(
        group.decide(ADMIN, Change::Left { successor: Some(MEMBER) }, NOW, MOST),
        Ok(Change::Left { successor: None })
    );
}

#[test]
fn a_group_hands_over_its_owner_in_one_step() {
    let mut group = group();
    change(&mut group, OWNER, Change::Owner(MEMBER)).unwrap();
    assert_eq!((group.role(OWNER), group.role(MEMBER)), (Some(Role::Admin), Some(Role::Owner)));
    assert_eq!(change(&mut group, OWNER, Change::Owner(OWNER)), Err(Refusal::Forbidden));
}

#[test]
fn a_closed_group_has_nobody_and_takes_nobody() {
    let mut group = group();
    let invite = Invite { hash: [7; 32], expires: 0 };
    change(&mut group, OWNER, Change::Invited(invite)).unwrap();
    let moved = change(&mut group, OWNER, Change::Closed).unwrap();
    assert_eq!(moved.went, [OWNER, ADMIN, OTHER_ADMIN, MEMBER, OTHER_MEMBER, LAST_MEMBER]);
    assert!(group.closed && group.invites.is_empty());
    assert_eq!(change(&mut group, OWNER, Change::Added(vec![STRANGER])), Err(Refusal::Unknown));
    assert_eq!(change(&mut group, STRANGER, Change::Joined([7; 32])), Err(Refusal::BadInvite));
    assert!(!group.may_post(OWNER));
}

#[test]
fn a_profile_keeps_what_a_change_does_not_name() {
    let mut group = group();
    let news = Profile { picture: Some(b"pixels".as_slice().into()), ..profile("friends") };
    let decided = group.decide(ADMIN, Change::Profile(news), NOW, MOST).unwrap();
    let picture = Profile { picture: Some(b"pixels".as_slice().into()), ..Profile::default() };
    assert_eq!(decided, Change::Profile(picture), "the name is as it was");
    group.apply(3, ADMIN, &decided);
    assert_eq!(group.profile.name.as_deref(), Some(b"friends".as_slice()));
    let gone = Profile { picture: Some(b"".as_slice().into()), ..Profile::default() };
    change(&mut group, ADMIN, Change::Profile(gone.clone())).unwrap();
    assert_eq!(change(&mut group, ADMIN, Change::Profile(gone)), Err(Refusal::NoChange));
    assert_eq!(change(&mut group, ADMIN, Change::Profile(Profile::default())), Err(Refusal::NoChange));
}

#[test]
fn an_invite_lets_in_until_it_expires_or_is_revoked() {
    let mut group = group();
    let (hash, other) = ([7; 32], [8; 32]);
    assert_eq!(change(&mut group, STRANGER, Change::Joined(hash)), Err(Refusal::BadInvite));
    change(&mut group, ADMIN, Change::Invited(Invite { hash, expires: NOW + 1 })).unwrap();
    change(&mut group, ADMIN, Change::Invited(Invite { hash: other, expires: 0 })).unwrap();
    assert_eq!(group.decide(STRANGER, Change::Joined(hash), NOW + 1, MOST), Err(Refusal::BadInvite), "too late");
    assert_eq!(group.decide(STRANGER, Change::Joined(hash), NOW, 6), Err(Refusal::Full));
    assert_eq!(change(&mut group, STRANGER, Change::Joined(hash)).unwrap().came, [STRANGER]);
    assert_eq!(group.role(STRANGER), Some(Role::Member));
    assert_eq!(change(&mut group, STRANGER, Change::Joined(hash)), Err(Refusal::NoChange));
    change(&mut group, ADMIN, Change::Revoked(other)).unwrap();
    assert_eq!(change(&mut group, 10, Change::Joined(other)), Err(Refusal::BadInvite));
    assert_eq!(change(&mut group, ADMIN, Change::Revoked(other)), Err(Refusal::NoChange));
}

#[test]
fn a_group_has_no_more_than_so_many_invites_and_an_old_one_can_be_prolonged() {
    let mut group = group();
    let invite = |n: usize, expires| Change::Invited(Invite { hash: [n as u8; 32], expires });
    for n in 0..MAX_INVITES {
        change(&mut group, ADMIN, invite(n, NOW + 5)).unwrap();
    }
    assert_eq!(change(&mut group, ADMIN, invite(99, 0)), Err(Refusal::TooManyInvites));
    assert_eq!(change(&mut group, ADMIN, invite(3, NOW)), Err(Refusal::BadInvite), "it would be over already");
    assert_eq!(change(&mut group, ADMIN, invite(3, NOW + 5)), Err(Refusal::NoChange));
    change(&mut group, ADMIN, invite(3, 0)).unwrap();
    assert_eq!(group.invites.len(), MAX_INVITES);
}

#[test]
fn invites_that_have_expired_give_way_to_new_ones() {
    let mut group = group();
    let invite = |n: usize, expires| Change::Invited(Invite { hash: [n as u8; 32], expires });
    change(&mut group, ADMIN, invite(0, 0)).unwrap();
    for n in 1..MAX_INVITES {
        change(&mut group, ADMIN, invite(n, NOW + 40 - 2 * n as u64)).unwrap();
    }
    let last = NOW + 40 - 2 * (MAX_INVITES as u64 - 1);
    assert_eq!(group.decide(ADMIN, invite(99, 0), last - 1, MOST), Err(Refusal::TooManyInvites));
    let seq = group.seq + 1;
    let made = group.decide(ADMIN, invite(99, 0), last, MOST).unwrap();
    group.apply(seq, ADMIN, &made);
    let left: Vec<u8> = group.invites.iter().map(|invite| invite.hash[0]).collect();
    let expected: Vec<u8> = (0..MAX_INVITES as u8 - 1).chain([99]).collect();
    assert_eq!(left, expected, "the last one was the first to expire");
    assert_eq!(group.decide(ADMIN, invite(98, 0), last, MOST), Err(Refusal::TooManyInvites), "the others are open");
}

#[test]
fn a_thousand_and_twenty_four_fit_and_not_one_more() {
    let mut group = Group::default();
    let others: Vec<u32> = (2..=1024).collect();
    assert_eq!(change(&mut group, 1, created(&(2..=1025).collect::<Vec<_>>())), Err(Refusal::Full));
    change(&mut group, 1, created(&others)).unwrap();
    assert_eq!(group.members.len(), 1024);
    assert_eq!(change(&mut group, 1, Change::Added(vec![2000])), Err(Refusal::Full));
    assert_eq!(change(&mut group, 1, Change::Added(vec![7])), Err(Refusal::NoChange));
    change(&mut group, 7, Change::Left { successor: None }).unwrap();
    assert_eq!(change(&mut group, 1, Change::Added(vec![2000, 2001])), Err(Refusal::Full), "all or none");
    change(&mut group, 1, Change::Added(vec![2000, 8])).unwrap();
    assert_eq!(group.role(2000), Some(Role::Member));
}

#[test]
fn a_state_comes_back_as_it_was_written() {
    use crate::engine::binary::Reader;
    use crate::engine::directory::Directory;
    let mut dir = Directory::default();
    let users: Vec<u32> = (0..40).map(|n| dir.intern(&format!("user {n}"))).collect();
    let mut group = Group::default();
    change(&mut group, users[0], created(&users)).unwrap();
    change(&mut group, users[0], Change::Promoted(users[3..5].to_vec())).unwrap();
    change(&mut group, users[0], Change::Invited(Invite { hash: [7; 32], expires: 1 << 50 })).unwrap();
    let mut bytes = Vec::new();
    group.encode(&dir, &mut bytes);
    let mut reader = Reader::new(&bytes);
    assert_eq!(Group::decode(&mut reader, &mut dir), Some(group.clone()));
    assert!(reader.is_empty());
    for cut in 0..bytes.len() {
        assert_eq!(Group::decode(&mut Reader::new(&bytes[..cut]), &mut dir), None);
    }
    let frame = group.frame([9; 16], &dir);
    assert_eq!((frame.seq, frame.members.len(), frame.members[3]), (3, 40, ("user 3", Role::Admin)));
}

#[test]
fn a_change_goes_to_names_and_back_and_a_secret_becomes_its_hash() {
    use crate::engine::directory::Directory;
    use crate::wire::types as wire;
    let mut dir = Directory::default();
    let (ann, bob) = (dir.intern("ann"), dir.intern("bob"));
    let invite = Invite { hash: [7; 32], expires: 9 };
    for change in [
        created(&[ann, bob]),
        Change::Profile(profile("x")),
        Change::Rules(rules(Who::Admins, Who::Everyone, Who::Admins)),
        Change::Added(vec![bob, ann]),
        Change::Removed(vec![bob]),
        Change::Left { successor: Some(bob) },
        Change::Left { successor: None },
        Change::Promoted(vec![ann]),
        Change::Demoted(vec![ann]),
        Change::Owner(bob),
        Change::Invited(invite),
        Change::Revoked([1; 32]),
        Change::Joined([2; 32]),
        Change::Closed,
    ] {
        assert_eq!(Change::resolve(&change.named(&dir), |name| dir.find(name)), Some(change));
    }
    assert_eq!(Change::resolve(&wire::Change::Owner("nobody".into()), |name| dir.find(name)), None);
    let joined = wire::Change::Joined { hash: [0; 32], secret: b"abc".as_slice().into() };
    let Some(Change::Joined(hash)) = Change::resolve(&joined, |_| None) else { panic!() };
    assert_eq!(hash[..4], [0xba, 0x78, 0x16, 0xbf], "SHA-256, FIPS 180-2 B.1");
}
