//! What a change does to a group: who is a member and as what, its profile, rules and invites.
//!
//! A group's state is the fold of its changes, the same on the server and on every client (docs/wire.md, "The state of a
//! group"). A group with members has exactly one owner, whatever comes.

use wire::types::{Change, Role};

use crate::ids::{MemberIndex, UserSlot};
use crate::names::Names;
use crate::records::message::{Came, Extra};
use crate::rows::group::MAX_INVITES;
use crate::rows::{Conversation, Member};

/// Places of those whom a change made members, and of those whom it left no members.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Moved {
    /// Members now.
    pub came: Vec<MemberIndex>,
    /// Members no more.
    pub went: Vec<MemberIndex>,
}

/// Applies a change that has the number `seq`. One at or below the group's last change has no effect.
pub fn change(
    row: &mut Conversation,
    names: &mut Names,
    (seq, actor): (u64, &str),
    change: &Change<'_>,
    extra: Option<&Extra<'_>>,
) -> Moved {
    let mut moved = Moved::default();
    let Some(group) = row.group.as_mut().filter(|group| seq > group.seq) else { return moved };
    group.seq = seq;
    match change {
        Change::Created { profile, rules, .. } => {
            group.put_profile(profile);
            group.rules = *rules;
        }
        Change::Profile(profile) => group.put_profile(profile),
        Change::Rules(rules) => group.rules = *rules,
        Change::Invited(invite) => {
            group.invites.retain(|known| known.hash != invite.hash);
            if group.invites.len() >= MAX_INVITES {
                drop_next_to_expire(&mut group.invites);
            }
            group.invites.push(*invite);
        }
        Change::Revoked(hash) => group.invites.retain(|known| known.hash != *hash),
        Change::Closed => {
            group.closed = true;
            group.invites.clear();
        }
        _ => {}
    }
    let closed = group.closed;
    let version = extra.map_or(0, |extra| extra.version);
    match change {
        Change::Removed(users) => {
            let named = users.iter().filter_map(|user| find(row, names, user)).filter(|(_, role)| *role != Role::Owner);
            for index in named.map(|(index, _)| index).collect::<Vec<_>>() {
                leave(row, index, (seq, version), &mut moved);
            }
        }
        Change::Left { successor } => {
            if let Some((index, role)) = find(row, names, actor) {
                let heir = if role == Role::Owner { heir(row, names, index, successor) } else { None };
                leave(row, index, (seq, version), &mut moved);
                if let Some(heir) = heir {
                    set_role(row, heir, Role::Owner);
                }
            }
        }
        Change::Closed => {
            for index in current(row).map(|(index, _)| index).collect::<Vec<_>>() {
                leave(row, index, (seq, version), &mut moved);
            }
        }
        Change::Promoted(users) => shift(row, names, users, Role::Member, Role::Admin),
        Change::Demoted(users) => shift(row, names, users, Role::Admin, Role::Member),
        Change::Owner(user) => {
            if let Some((index, _)) = find(row, names, user) {
                if let Some(before) = row.owner() {
                    set_role(row, before, Role::Admin);
                }
                set_role(row, index, Role::Owner);
            }
        }
        _ => {}
    }
    if !closed {
        for came in extra.map_or(&[][..], |extra| &extra.came) {
            enter(row, names, came, (seq, version), &mut moved);
        }
    }
    moved
}

/// Current members and their places.
fn current(row: &Conversation) -> impl Iterator<Item = (MemberIndex, &Member)> {
    row.iter().filter(|(_, member)| member.role.is_some())
}

fn find(row: &Conversation, names: &Names, user: &str) -> Option<(MemberIndex, Role)> {
    let index = row.find(names.find(user)?, 0)?;
    Some((index, row.member(index)?.role?))
}

fn set_role(row: &mut Conversation, index: MemberIndex, role: Role) {
    if let Some(member) = row.member_mut(index) {
        member.role = Some(role);
    }
}

fn shift(row: &mut Conversation, names: &Names, users: &[std::borrow::Cow<'_, str>], from: Role, to: Role) {
    for user in users {
        if let Some((index, role)) = find(row, names, user)
            && role == from
        {
            set_role(row, index, to);
        }
    }
}

/// Who becomes the owner when the owner leaves: whom the change names, if that is another member; else the admin who came
/// first, else the member who came first.
fn heir(row: &Conversation, names: &Names, owner: MemberIndex, named: &str) -> Option<MemberIndex> {
    let named: Option<UserSlot> = names.find(named);
    let mut others: Vec<(bool, bool, u32, MemberIndex)> = current(row)
        .filter(|(index, _)| *index != owner)
        .map(|(index, m)| (Some(m.user) != named, m.role != Some(Role::Admin), m.rank, index))
        .collect();
    others.sort_unstable();
    others.first().map(|other| other.3)
}

fn leave(row: &mut Conversation, index: MemberIndex, (seq, version): (u64, u64), moved: &mut Moved) {
    if let Some(member) = row.member_mut(index) {
        let waits = member.cursor(0).is_some();
        member.leave(seq, version);
        moved.went.push(index);
        if waits {
            row.owe_all(version);
        }
    }
}

/// Who comes to a group without members owns it.
fn enter(row: &mut Conversation, names: &mut Names, came: &Came<'_>, (seq, version): (u64, u64), moved: &mut Moved) {
    let role = if current(row).next().is_none() { Role::Owner } else { Role::Member };
    let known = names.find(came.user).and_then(|user| row.find(user, 0));
    if known.and_then(|index| row.member(index)).is_some_and(Member::is_current) {
        return;
    }
    let index = match known {
        Some(index) => index,
        None => {
            let member = Some(Member::new(names.hold(came.user), 0, seq));
            let free = row.members.iter().position(Option::is_none);
            let place = free.unwrap_or(row.members.len());
            match row.members.get_mut(place) {
                Some(free) => *free = member,
                None => row.members.push(member),
            }
            MemberIndex::new(place)
        }
    };
    let rank = row.group.as_mut().map_or(0, |group| {
        group.next_rank = group.next_rank.wrapping_add(1);
        group.next_rank
    });
    if let Some(member) = row.member_mut(index) {
        member.enter(seq, &came.devices, version);
        (member.role, member.rank) = (Some(role), rank);
        moved.came.push(index);
    }
}

fn drop_next_to_expire(invites: &mut Vec<wire::types::Invite>) {
    let ends = |invite: &wire::types::Invite| if invite.expires == 0 { u64::MAX } else { invite.expires };
    if let Some((place, _)) = invites.iter().enumerate().min_by_key(|(_, invite)| ends(invite)) {
        invites.remove(place);
    }
}
