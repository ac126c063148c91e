//! Who may change what, and what becomes of a wish: lists without those whom they do not concern, and a successor.

use std::collections::HashSet;

use super::{Change, Group, Invite, Profile, Role, Who};

/// Most invites of a group. Those that have expired give way to new ones.
pub const MAX_INVITES: usize = 16;

/// Why a wanted change does not happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The actor is no member: there is no such group for it (I8).
    Unknown,
    /// The actor's role is not enough.
    Forbidden,
    /// It is so already, or concerns nobody.
    NoChange,
    /// There would be too many members.
    Full,
    /// No such invite, or it expired.
    BadInvite,
    /// There are [`MAX_INVITES`] already, none of which has expired.
    TooManyInvites,
}

impl Group {
    /// What a wish of `actor` comes to, at most `most` members being allowed; `now_ms` is the server's time, for invites.
    /// A change that is given here does something when it is applied next.
    pub fn decide(&self, actor: u32, wanted: Change, now_ms: u64, most: usize) -> Result<Change, Refusal> {
        match wanted {
            Change::Created { members, profile, rules } if self.seq == 0 => {
                let members = distinct(members, |user| user != actor);
                self.room_for(1 + members.len(), most)?;
                Ok(Change::Created { members, profile, rules })
            }
            Change::Joined(hash) if self.role(actor).is_none() => {
                let fits = |invite: &Invite| invite.hash == hash && is_open(invite, now_ms);
                if self.closed || self.members.is_empty() || !self.invites.iter().any(fits) {
                    return Err(Refusal::BadInvite);
                }
                self.room_for(1, most)?;
                Ok(Change::Joined(hash))
            }
            wanted => {
                let role = self.role(actor).ok_or(Refusal::Unknown)?;
                if role < self.least(&wanted) {
                    return Err(Refusal::Forbidden);
                }
                self.narrow(actor, wanted, now_ms, most)
            }
        }
    }

    /// The least role that may do this.
    fn least(&self, change: &Change) -> Role {
        let by = |who: Who| if who == Who::Everyone { Role::Member } else { Role::Admin };
        match change {
            Change::Created { .. } | Change::Left { .. } | Change::Joined(_) => Role::Member,
            Change::Profile(_) => by(self.rules.edit),
            Change::Added(_) | Change::Invited(_) | Change::Revoked(_) => by(self.rules.add),
            Change::Rules(_) | Change::Removed(_) | Change::Promoted(_) | Change::Demoted(_) => Role::Admin,
            Change::Owner(_) | Change::Closed => Role::Owner,
        }
    }

    /// What is left of a wish that the actor may have.
    fn narrow(&self, actor: u32, wanted: Change, now_ms: u64, most: usize) -> Result<Change, Refusal> {
        let some = |users: Vec<u32>| if users.is_empty() { Err(Refusal::NoChange) } else { Ok(users) };
        let concerns = |users, role| some(distinct(users, |user| self.role(user) == Some(role)));
        match wanted {
            Change::Created { .. } | Change::Joined(_) => Err(Refusal::NoChange),
            Change::Profile(profile) => {
                let Profile { name, description, picture } = &self.profile;
                let profile = Profile {
                    name: profile.name.filter(|news| differs(news, name)),
                    description: profile.description.filter(|news| differs(news, description)),
                    picture: profile.picture.filter(|news| differs(news, picture)),
                };
                if profile == Profile::default() { Err(Refusal::NoChange) } else { Ok(Change::Profile(profile)) }
            }
            Change::Rules(rules) if rules == self.rules => Err(Refusal::NoChange),
            Change::Added(users) => {
                let users = some(distinct(users, |user| self.role(user).is_none()))?;
                self.room_for(users.len(), most)?;
                Ok(Change::Added(users))
            }
            Change::Removed(users) => {
                self.spare_owner(&users)?;
                some(distinct(users, |user| self.role(user).is_some())).map(Change::Removed)
            }
            Change::Left { .. } => Ok(Change::Left { successor: self.heir(actor, None) }),
            Change::Promoted(users) => concerns(users, Role::Member).map(Change::Promoted),
            Change::Demoted(users) => {
                self.spare_owner(&users)?;
                concerns(users, Role::Admin).map(Change::Demoted)
            }
            Change::Owner(user) if user == actor || self.role(user).is_none() => Err(Refusal::NoChange),
            Change::Invited(invite) => self.invite(invite, now_ms),
            Change::Revoked(hash) if self.invites.iter().all(|known| known.hash != hash) => Err(Refusal::NoChange),
            wanted @ (Change::Rules(_) | Change::Owner(_) | Change::Revoked(_) | Change::Closed) => Ok(wanted),
        }
    }

    /// Nobody removes or demotes the owner, not even the owner, who may leave or name another.
    fn spare_owner(&self, users: &[u32]) -> Result<(), Refusal> {
        let owner = self.owner();
        if users.iter().any(|&user| Some(user) == owner) { Err(Refusal::Forbidden) } else { Ok(()) }
    }

    fn room_for(&self, more: usize, most: usize) -> Result<(), Refusal> {
        if self.members.len() + more > most { Err(Refusal::Full) } else { Ok(()) }
    }

    /// One with the same secret is replaced: its end can be moved.
    fn invite(&self, invite: Invite, now_ms: u64) -> Result<Change, Refusal> {
        if !is_open(&invite, now_ms) {
            return Err(Refusal::BadInvite);
        }
        match self.invites.iter().find(|known| known.hash == invite.hash) {
            Some(known) if *known == invite => Err(Refusal::NoChange),
            None if self.invites.iter().filter(|known| is_open(known, now_ms)).count() >= MAX_INVITES => {
                Err(Refusal::TooManyInvites)
            }
            _ => Ok(Change::Invited(invite)),
        }
    }
}

fn is_open(invite: &Invite, now_ms: u64) -> bool {
    invite.expires == 0 || now_ms < invite.expires
}

/// Each of them once, in order.
fn distinct(mut users: Vec<u32>, which: impl Fn(u32) -> bool) -> Vec<u32> {
    let mut seen = HashSet::with_capacity(users.len());
    users.retain(|&user| which(user) && seen.insert(user));
    users
}

/// Absent and empty are the same.
fn differs(news: &[u8], known: &Option<std::borrow::Cow<'_, [u8]>>) -> bool {
    news != known.as_deref().unwrap_or_default()
}
