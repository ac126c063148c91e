//! A plain model of a group: what a wish comes to, and what a change does, as docs/wire.md says.

use super::*;
use crate::tests::group_frames;

const MEMBER: u64 = 0;
const ADMIN: u64 = 1;
const OWNER: u64 = 2;

/// A group as it is told, without its id.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Model {
    pub seq: u64,
    /// In the order in which they came.
    pub members: Members,
    pub profile: group_frames::Profile,
    pub rules: group_frames::Rules,
    pub invites: Vec<(Vec<u8>, u64)>,
    pub closed: bool,
}

impl From<Snapshot> for Model {
    fn from(told: Snapshot) -> Self {
        let Snapshot { seq, members, profile, rules, invites, closed, .. } = told;
        Self { seq, members, profile, rules, invites, closed }
    }
}

impl Model {
    pub fn role(&self, user: &str) -> Option<u64> {
        self.members.iter().find(|(name, _)| name == user).map(|(_, role)| *role)
    }

    pub fn may_post(&self, user: &str) -> bool {
        self.role(user).is_some_and(|role| self.rules[0] == 0 || role >= ADMIN)
    }

    /// What a wish comes to, or the code of its refusal. Invites of the tests do not expire.
    pub fn decide(&self, actor: &str, wanted: &Change<'_>, most: usize) -> Result<Seen, &'static str> {
        let room = |more: usize| if self.members.len() + more > most { Err("group_full") } else { Ok(()) };
        match wanted {
            Change::Created { members, profile, rules } => {
                let members = listed(members, |user| user != actor);
                room(1 + members.len())?;
                return Ok(Seen::Created { members, profile: fields(profile), rules: numbers(rules) });
            }
            Change::Joined { secret, .. } if self.role(actor).is_none() => {
                let hash = sha(secret).to_vec();
                if self.members.is_empty() || self.invites.iter().all(|invite| invite.0 != hash) {
                    return Err("bad_invite");
                }
                room(1)?;
                return Ok(Seen::Joined(hash));
            }
            _ => {}
        }
        let role = self.role(actor).ok_or("unknown_conversation")?;
        let by = |rule: usize| if self.rules[rule] == 0 { MEMBER } else { ADMIN };
        let least = match wanted {
            Change::Profile(_) => by(2),
            Change::Added(_) | Change::Invited(_) | Change::Revoked(_) => by(1),
            Change::Rules(_) | Change::Removed(_) | Change::Promoted(_) | Change::Demoted(_) => ADMIN,
            Change::Owner(_) | Change::Closed => OWNER,
            _ => MEMBER,
        };
        if role < least {
            return Err("forbidden");
        }
        let some = |users: Vec<String>| if users.is_empty() { Err("no_change") } else { Ok(users) };
        let with = |users, role| some(listed(users, |user| self.role(user) == Some(role)));
        match wanted {
            Change::Removed(users) | Change::Demoted(users)
                if !listed(users, |u| self.role(u) == Some(OWNER)).is_empty() =>
            {
                Err("forbidden")
            }
            Change::Added(users) => {
                let users = some(listed(users, |user| self.role(user).is_none()))?;
                room(users.len())?;
                Ok(Seen::Added(users))
            }
            Change::Removed(users) => some(listed(users, |user| self.role(user).is_some())).map(Seen::Removed),
            Change::Promoted(users) => with(users, MEMBER).map(Seen::Promoted),
            Change::Demoted(users) => with(users, ADMIN).map(Seen::Demoted),
            Change::Left { .. } if role == OWNER => {
                let heir = |role| self.members.iter().find(|member| member.1 == role);
                Ok(Seen::Left(heir(ADMIN).or(heir(MEMBER)).map(|member| member.0.clone())))
            }
            Change::Left { .. } => Ok(Seen::Left(None)),
            Change::Owner(user) if user == actor || self.role(user).is_none() => Err("no_change"),
            Change::Owner(user) => Ok(Seen::Owner(user.to_string())),
            Change::Invited(invite) => match self.invites.iter().find(|known| known.0 == invite.hash) {
                Some(known) if known.1 == invite.expires => Err("no_change"),
                None if self.invites.len() >= 16 => Err("too_many"),
                _ => Ok(Seen::Invited { hash: invite.hash.to_vec(), expires: invite.expires }),
            },
            Change::Revoked(hash) if self.invites.iter().all(|known| known.0 != hash) => Err("no_change"),
            Change::Revoked(hash) => Ok(Seen::Revoked(hash.to_vec())),
            Change::Rules(rules) if numbers(rules) == self.rules => Err("no_change"),
            Change::Rules(rules) => Ok(Seen::Rules(numbers(rules))),
            Change::Profile(profile) => {
                let changed = fields(profile).into_iter().zip(&self.profile);
                let changed = changed.map(|(new, old)| new.filter(|new| *new != *old.as_deref().unwrap_or_default()));
                let changed: group_frames::Profile = changed.collect::<Vec<_>>().try_into().unwrap();
                if changed == [None, None, None] { Err("no_change") } else { Ok(Seen::Profile(changed)) }
            }
            Change::Closed => Ok(Seen::Closed),
            Change::Created { .. } | Change::Joined { .. } => Err("no_change"),
        }
    }

    /// The change with the number `seq`; one that is known changes nothing.
    pub fn apply(&mut self, seq: u64, actor: &str, change: &Seen) {
        if seq <= self.seq {
            return;
        }
        self.seq = seq;
        match change.clone() {
            Seen::Created { members, profile, rules } => {
                self.members.push((actor.to_owned(), OWNER));
                self.members.extend(members.into_iter().map(|name| (name, MEMBER)));
                (self.profile, self.rules) = (profile, rules);
            }
            Seen::Profile(profile) => {
                for (ours, new) in self.profile.iter_mut().zip(profile).filter(|(_, new)| new.is_some()) {
                    *ours = new;
                }
            }
            Seen::Rules(rules) => self.rules = rules,
            Seen::Added(users) => self.members.extend(users.into_iter().map(|name| (name, MEMBER))),
            Seen::Removed(users) => self.members.retain(|(name, _)| !users.contains(name)),
            Seen::Left(heir) => {
                self.members.retain(|(name, _)| name != actor);
                heir.into_iter().for_each(|heir| self.set_role(&heir, OWNER));
            }
            Seen::Promoted(users) => users.iter().for_each(|user| self.set_role(user, ADMIN)),
            Seen::Demoted(users) => users.iter().for_each(|user| self.set_role(user, MEMBER)),
            Seen::Owner(user) => {
                self.set_role(actor, ADMIN);
                self.set_role(&user, OWNER);
            }
            Seen::Invited { hash, expires } => {
                self.invites.retain(|known| known.0 != hash);
                self.invites.push((hash, expires));
            }
            Seen::Revoked(hash) => self.invites.retain(|known| known.0 != hash),
            Seen::Joined(_) => self.members.push((actor.to_owned(), MEMBER)),
            Seen::Closed => {
                self.closed = true;
                self.members.clear();
                self.invites.clear();
            }
        }
    }

    fn set_role(&mut self, user: &str, role: u64) {
        self.members.iter_mut().filter(|member| member.0 == user).for_each(|member| member.1 = role);
    }
}

/// Those that a wish names and that are meant, each once.
fn listed(users: &[std::borrow::Cow<'_, str>], which: impl Fn(&str) -> bool) -> Vec<String> {
    let mut listed = Vec::new();
    for user in users.iter().filter(|user| which(user)) {
        if !listed.contains(&user.to_string()) {
            listed.push(user.to_string());
        }
    }
    listed
}

fn fields(profile: &Profile<'_>) -> group_frames::Profile {
    [&profile.name, &profile.description, &profile.picture].map(|field| field.as_deref().map(<[u8]>::to_vec))
}

fn numbers(rules: &Rules) -> group_frames::Rules {
    [rules.post, rules.add, rules.edit].map(|who| who as u64)
}
