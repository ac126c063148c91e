//! Any valid change of a group, and any valid frame about groups, for property tests.

use std::borrow::Cow;

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use super::any::{id16, kept, number, str, user};
use crate::types::*;

fn bytes(most: usize) -> impl Strategy<Value = Cow<'static, [u8]>> {
    prop_oneof![9 => vec(any::<u8>(), 0..20), 1 => vec(any::<u8>(), 0..=most)].prop_map(Cow::Owned)
}

fn users() -> impl Strategy<Value = Vec<Cow<'static, str>>> {
    vec(user().prop_map(Cow::Owned), 0..4)
}

fn profile() -> impl Strategy<Value = Profile<'static>> {
    (option::of(bytes(MAX_NAME)), option::of(bytes(MAX_DESCRIPTION)), option::of(bytes(MAX_PICTURE)))
        .prop_map(|(name, description, picture)| Profile { name, description, picture })
}

fn rules() -> impl Strategy<Value = Rules> {
    let who = || prop_oneof![Just(Who::Everyone), Just(Who::Admins)];
    (who(), who(), who()).prop_map(|(post, add, edit)| Rules { post, add, edit })
}

fn role() -> impl Strategy<Value = Role> {
    prop_oneof![Just(Role::Member), Just(Role::Admin), Just(Role::Owner)]
}

fn invite() -> impl Strategy<Value = Invite> {
    (any::<Hash>(), number()).prop_map(|(hash, expires)| Invite { hash, expires })
}

fn created() -> impl Strategy<Value = Change<'static>> {
    (users(), profile(), rules()).prop_map(|(members, profile, rules)| Change::Created { members, profile, rules })
}

/// What is the same wanted and stored, and is of a group that exists.
fn plain() -> impl Strategy<Value = Change<'static>> {
    prop_oneof![
        profile().prop_map(Change::Profile),
        rules().prop_map(Change::Rules),
        users().prop_map(Change::Added),
        users().prop_map(Change::Removed),
        users().prop_map(Change::Promoted),
        users().prop_map(Change::Demoted),
        user().prop_map(|user| Change::Owner(Cow::Owned(user))),
        invite().prop_map(Change::Invited),
        any::<Hash>().prop_map(Change::Revoked),
        Just(Change::Closed),
    ]
}

/// A change as the log keeps it.
pub fn stored_change() -> impl Strategy<Value = Change<'static>> {
    prop_oneof![
        2 => created(),
        10 => plain(),
        1 => prop_oneof![Just(String::new()), user()].prop_map(|user| Change::Left { successor: Cow::Owned(user) }),
        1 => any::<Hash>().prop_map(|hash| Change::Joined { hash, secret: Cow::Borrowed(&[]) }),
    ]
}

pub fn manage() -> impl Strategy<Value = ClientFrame<'static>> {
    let joined = vec(any::<u8>(), SECRET)
        .prop_map(|secret| Change::Joined { hash: Hash::default(), secret: Cow::Owned(secret) });
    let left = Just(Change::Left { successor: Cow::Borrowed("") });
    let change = prop_oneof![2 => created(), 10 => plain(), 1 => joined, 1 => left];
    (vec(any::<u8>(), 1..=MAX_ID), id16(), change).prop_map(|(id, conversation, change)| {
        let conversation = (!matches!(change, Change::Created { .. })).then_some(conversation);
        ClientFrame::Manage(Manage { id: Cow::Owned(id), conversation, change })
    })
}

pub fn group() -> impl Strategy<Value = ServerFrame<'static>> {
    let members = vec((str(), role()), 0..4);
    (id16(), number(), members, profile(), rules(), vec(invite(), 0..3), any::<bool>()).prop_map(
        |(conversation, seq, members, profile, rules, invites, closed)| {
            let invites = kept::<[Invite]>(invites);
            ServerFrame::Group(GroupFrame { conversation, seq, members, profile, rules, invites, closed })
        },
    )
}

pub fn cursors() -> impl Strategy<Value = &'static [CursorOf<'static>]> {
    let cursor = (str(), number(), number(), any::<bool>()).prop_map(|(user, delivered, read, skipped)| CursorOf {
        user,
        delivered,
        read,
        skipped,
    });
    vec(cursor, 0..4).prop_map(kept::<[CursorOf<'static>]>)
}
