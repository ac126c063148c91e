//! Whatever changes anybody wants, in whatever order: the fold of what was decided is one, and somebody is in charge.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::engine::binary::Reader;
use crate::engine::directory::Directory;

const USERS: u32 = 24;
const CROWD: usize = 20;

fn users() -> impl Strategy<Value = Vec<u32>> {
    vec(0..USERS, 0..6)
}

fn a_profile() -> impl Strategy<Value = Profile> {
    let field = || proptest::option::of(vec(0..3u8, 0..2).prop_map(|bytes| bytes.into()));
    (field(), field(), field()).prop_map(|(name, description, picture)| Profile { name, description, picture })
}

fn some_rules() -> impl Strategy<Value = Rules> {
    let who = || prop_oneof![Just(Who::Everyone), Just(Who::Admins)];
    (who(), who(), who()).prop_map(|(post, add, edit)| Rules { post, add, edit })
}

fn hash() -> impl Strategy<Value = Hash> {
    (0..20u8).prop_map(|n| [n; 32])
}

fn wanted() -> impl Strategy<Value = Change> {
    prop_oneof![
        1 => (vec(0..USERS, 0..30), a_profile(), some_rules())
            .prop_map(|(members, profile, rules)| Change::Created { members, profile, rules }),
        1 => a_profile().prop_map(Change::Profile),
        1 => some_rules().prop_map(Change::Rules),
        3 => users().prop_map(Change::Added),
        3 => users().prop_map(Change::Removed),
        2 => proptest::option::of(0..USERS).prop_map(|successor| Change::Left { successor }),
        2 => users().prop_map(Change::Promoted),
        2 => users().prop_map(Change::Demoted),
        2 => (0..USERS).prop_map(Change::Owner),
        2 => (hash(), 0..4u64).prop_map(|(hash, expires)| Change::Invited(Invite { hash, expires })),
        1 => hash().prop_map(Change::Revoked),
        2 => hash().prop_map(Change::Joined),
        1 => Just(Change::Closed),
    ]
}

/// Wishes with the time at which they came; the first one makes a group.
fn wishes() -> impl Strategy<Value = Vec<(u32, Change, u64)>> {
    let first = (users(), a_profile(), some_rules())
        .prop_map(|(members, profile, rules)| (0, Change::Created { members, profile, rules }, 0));
    let rest = vec((0..USERS, wanted(), 0..4u64), 0..60);
    (first, rest).prop_map(|(first, rest)| std::iter::once(first).chain(rest).collect())
}

/// What holds for every group.
fn check(group: &Group) {
    let owners = group.members.iter().filter(|member| member.1 == Role::Owner).count();
    assert_eq!(owners, usize::from(!group.members.is_empty()), "{group:?}");
    assert!(!group.closed || group.members.is_empty());
    assert!(group.members.len() <= CROWD && group.invites.len() <= MAX_INVITES);
    let distinct: HashSet<u32> = group.members.iter().map(|member| member.0).collect();
    assert_eq!(distinct.len(), group.members.len());
    for (user, role) in &group.members {
        assert_eq!(group.role(*user), Some(*role));
    }
    assert!((0..USERS).all(|user| group.role(user).is_some() == distinct.contains(&user)));
}

/// The same but for the number.
fn same(a: &Group, b: &Group) -> bool {
    Group { seq: 0, ..a.clone() } == Group { seq: 0, ..b.clone() }
}

fn copy(group: &Group, dir: &mut Directory) -> Group {
    let mut bytes = Vec::new();
    group.encode(dir, &mut bytes);
    Group::decode(&mut Reader::new(&bytes), dir).unwrap()
}

proptest! {
    #[test]
    fn what_is_decided_does_something_and_leaves_somebody_in_charge(wishes in wishes()) {
        let mut group = Group::default();
        for (actor, wanted, now) in wishes {
            let Ok(decided) = group.decide(actor, wanted, now, CROWD) else { continue };
            let before = group.clone();
            let moved = group.apply(group.seq + 1, actor, &decided);
            prop_assert!(!same(&group, &before), "{decided:?} did nothing to {before:?}");
            check(&group);
            let was = |user: &u32| before.role(*user).is_some();
            let is = |user: &u32| group.role(*user).is_some();
            prop_assert!(moved.came.iter().all(|user| !was(user) && is(user)));
            prop_assert!(moved.went.iter().all(|user| was(user) && !is(user)));
            let difference = group.members.len() as isize - before.members.len() as isize;
            prop_assert_eq!(moved.came.len() as isize - moved.went.len() as isize, difference);
        }
    }

    /// Each starts from the state at a random number, and gets some changes twice, or again later.
    #[test]
    fn a_fold_from_any_snapshot_is_the_fold_from_the_start(wishes in wishes(), from in 0..60usize, again in vec(0..60usize, 0..20)) {
        let mut dir = Directory::default();
        (0..USERS).for_each(|user| assert_eq!(dir.intern(&format!("user {user}")), user));
        let mut states = vec![Group::default()];
        let mut changes = Vec::new();
        for (actor, wanted, now) in wishes {
            let mut group = states.last().unwrap().clone();
            let Ok(decided) = group.decide(actor, wanted, now, CROWD) else { continue };
            // Messages that are no changes take numbers too.
            let seq = group.seq + 1 + u64::from(actor % 3);
            group.apply(seq, actor, &decided);
            changes.push((seq, actor, decided));
            states.push(group);
        }
        let from = from % states.len();
        let mut late = copy(&states[from], &mut dir);
        for (place, (seq, actor, decided)) in changes.iter().enumerate() {
            late.apply(*seq, *actor, decided);
            for old in again.iter().filter(|&&old| old <= place) {
                let (seq, actor, decided) = &changes[*old];
                prop_assert_eq!(late.apply(*seq, *actor, decided), Moved::default());
            }
            prop_assert!(place < from || late == states[place + 1]);
        }
        prop_assert_eq!(&late, states.last().unwrap());
    }

    /// A client that is told nonsense keeps a group that makes sense.
    #[test]
    fn whatever_is_applied_somebody_is_in_charge(changes in vec((0..USERS, wanted()), 0..60)) {
        let mut group = Group::default();
        for (actor, change) in changes {
            group.apply(group.seq + 1, actor, &change);
            let owners = group.members.iter().filter(|member| member.1 == Role::Owner).count();
            prop_assert_eq!(owners, usize::from(!group.members.is_empty()));
        }
    }
}
