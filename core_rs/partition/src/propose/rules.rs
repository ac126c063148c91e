//! Who may change what in a group, and what becomes of a wish: lists without those whom they do not concern, and a successor.
//! docs/wire.md, "Roles and rules".

use std::borrow::Cow;
use std::collections::HashSet;

use wire::codes;
use wire::types::{Change, Invite, Profile, Role, Who};

use super::{Decided, hash_of, refuse};
use crate::active::Active;
use crate::rows::group::MAX_INVITES;
use crate::rows::{Group, Member};
use crate::state::State;

/// A group as a wish meets it.
pub(super) struct View<'s> {
    pub state: &'s State,
    /// `None`: it is being created.
    pub active: Option<&'s Active>,
    pub now_ms: u64,
    /// Most members.
    pub most: usize,
}

type Names<'a> = Vec<Cow<'a, str>>;

impl View<'_> {
    /// What a wish of `actor` comes to. A change that is given here does something when it is applied next.
    pub fn decide<'a>(&self, actor: &str, wanted: &'a Change<'a>) -> Decided<Change<'a>> {
        match (wanted, self.group()) {
            (Change::Created { members, profile, rules }, None) => {
                let members = distinct(members, |user| user != actor);
                self.room_for(1 + members.len())?;
                Ok(Change::Created { members, profile: profile.clone(), rules: *rules })
            }
            (Change::Created { .. }, Some(_)) => refuse(codes::ID_REUSED),
            (Change::Joined { secret, .. }, group) if self.role(actor).is_none() => {
                let hash = hash_of(secret);
                let fits = |invite: &Invite| invite.hash == hash && is_open(invite, self.now_ms);
                let open = group.filter(|group| !group.closed && self.members() > 0 && group.invites.iter().any(fits));
                if open.is_none() {
                    return refuse(codes::BAD_INVITE);
                }
                self.room_for(1)?;
                // The secret stays with who has it.
                Ok(Change::Joined { hash, secret: Cow::Borrowed(&[]) })
            }
            (_, None) => refuse(codes::UNKNOWN_CONVERSATION),
            (wanted, Some(group)) => {
                let Some(role) = self.role(actor) else { return refuse(codes::UNKNOWN_CONVERSATION) };
                if role < least(group, wanted) {
                    return refuse(codes::FORBIDDEN);
                }
                self.narrow(group, actor, wanted)
            }
        }
    }

    /// What a user is here; `None`: no member.
    pub fn role(&self, user: &str) -> Option<Role> {
        let (active, user) = (self.active?, self.state.names.find(user)?);
        active.row.member(active.member(user, 0)?)?.role
    }

    fn group(&self) -> Option<&Group> {
        self.active?.row.group.as_deref()
    }

    fn current(&self) -> impl Iterator<Item = &Member> {
        self.active
            .into_iter()
            .flat_map(|active| active.row.iter().map(|(_, member)| member).filter(|m| m.role.is_some()))
    }

    fn members(&self) -> usize {
        self.current().count()
    }

    /// What is left of a wish that the actor may have.
    fn narrow<'a>(&self, group: &Group, actor: &str, wanted: &'a Change<'a>) -> Decided<Change<'a>> {
        let concerns = |users: &'a Names<'a>, role| some(distinct(users, |user| self.role(user) == Some(role)));
        match wanted {
            Change::Created { .. } | Change::Joined { .. } => refuse(codes::NO_CHANGE),
            Change::Profile(wanted) => {
                let Profile { name, description, picture } = &group.profile;
                let news = |wanted: &Option<Cow<'a, [u8]>>, known: &Option<Cow<'_, [u8]>>| {
                    wanted.clone().filter(|news| **news != *known.as_deref().unwrap_or_default())
                };
                let profile = Profile {
                    name: news(&wanted.name, name),
                    description: news(&wanted.description, description),
                    picture: news(&wanted.picture, picture),
                };
                if profile == Profile::default() { refuse(codes::NO_CHANGE) } else { Ok(Change::Profile(profile)) }
            }
            Change::Rules(rules) if *rules == group.rules => refuse(codes::NO_CHANGE),
            Change::Added(users) => {
                let users = some(distinct(users, |user| self.role(user).is_none()))?;
                self.room_for(users.len())?;
                Ok(Change::Added(users))
            }
            Change::Removed(users) => {
                self.spare_owner(users)?;
                some(distinct(users, |user| self.role(user).is_some())).map(Change::Removed)
            }
            Change::Left { .. } => Ok(Change::Left { successor: self.heir(actor).into() }),
            Change::Promoted(users) => concerns(users, Role::Member).map(Change::Promoted),
            Change::Demoted(users) => {
                self.spare_owner(users)?;
                concerns(users, Role::Admin).map(Change::Demoted)
            }
            Change::Owner(user) if *user == actor || self.role(user).is_none() => refuse(codes::NO_CHANGE),
            Change::Invited(invite) => self.invite(group, *invite),
            Change::Revoked(hash) if group.invites.iter().all(|known| known.hash != *hash) => refuse(codes::NO_CHANGE),
            wanted @ (Change::Rules(_) | Change::Owner(_) | Change::Revoked(_) | Change::Closed) => Ok(wanted.clone()),
        }
    }

    /// Nobody removes or demotes the owner, not even the owner, who may leave or name another.
    fn spare_owner(&self, users: &[Cow<'_, str>]) -> Decided<()> {
        let owner = users.iter().any(|user| self.role(user) == Some(Role::Owner));
        if owner { refuse(codes::FORBIDDEN) } else { Ok(()) }
    }

    /// Who becomes the owner when `actor` leaves: the admin who came first, else the member who did. Empty: `actor` is not the
    /// owner, or nobody else is there.
    fn heir(&self, actor: &str) -> String {
        if self.role(actor) != Some(Role::Owner) {
            return String::new();
        }
        let others = self.current().filter(|member| member.role != Some(Role::Owner));
        let heir = others.min_by_key(|member| (member.role != Some(Role::Admin), member.rank));
        heir.map_or_else(String::new, |heir| self.state.names.text(heir.user).to_owned())
    }

    fn room_for(&self, more: usize) -> Decided<()> {
        if self.members() + more > self.most { refuse(codes::GROUP_FULL) } else { Ok(()) }
    }

    /// One with the same secret is replaced: its end can be moved.
    fn invite<'a>(&self, group: &Group, invite: Invite) -> Decided<Change<'a>> {
        if !is_open(&invite, self.now_ms) {
            return refuse(codes::BAD_INVITE);
        }
        let open = group.invites.iter().filter(|known| is_open(known, self.now_ms)).count();
        match group.invites.iter().find(|known| known.hash == invite.hash) {
            Some(known) if *known == invite => refuse(codes::NO_CHANGE),
            None if open >= MAX_INVITES => refuse(codes::TOO_MANY),
            _ => Ok(Change::Invited(invite)),
        }
    }
}

/// The least role that may do this.
fn least(group: &Group, change: &Change<'_>) -> Role {
    let by = |who: Who| if who == Who::Everyone { Role::Member } else { Role::Admin };
    match change {
        Change::Created { .. } | Change::Left { .. } | Change::Joined { .. } => Role::Member,
        Change::Profile(_) => by(group.rules.edit),
        Change::Added(_) | Change::Invited(_) | Change::Revoked(_) => by(group.rules.add),
        Change::Rules(_) | Change::Removed(_) | Change::Promoted(_) | Change::Demoted(_) => Role::Admin,
        Change::Owner(_) | Change::Closed => Role::Owner,
    }
}

fn is_open(invite: &Invite, now_ms: u64) -> bool {
    invite.expires == 0 || now_ms < invite.expires
}

fn some(users: Names<'_>) -> Decided<Names<'_>> {
    if users.is_empty() { refuse(codes::NO_CHANGE) } else { Ok(users) }
}

/// Each of them once, in order.
fn distinct<'a>(users: &'a [Cow<'a, str>], which: impl Fn(&str) -> bool) -> Names<'a> {
    let mut seen: HashSet<&'a str> = HashSet::with_capacity(users.len());
    let all = users.iter().map(|user| user.as_ref());
    all.filter(|&user| which(user) && seen.insert(user)).map(Cow::Borrowed).collect()
}
