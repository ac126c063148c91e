//! What a group is, and what every change does to it: the rules of docs/wire.md told a second time, plainly and without the
//! partition, so that one can be held to the other. Users are numbers of the model.

use std::collections::HashSet;

use crate::tests::group_frames::Change as Seen;
use wire::ids::hash_of;
use wire::types::{self, Hash, Invite, Role, Rules, Who};

/// Name, description, picture: opaque (I9).
pub type Profile = wire::types::Profile<'static>;

/// A change that was decided: what it does holds whoever looks.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// The group begins; the actor is its owner.
    Created {
        /// The others.
        members: Vec<u32>,
        /// As it begins.
        profile: Profile,
        /// As they begin.
        rules: Rules,
    },
    /// What is present of it is replaced.
    Profile(Profile),
    /// Who may do what.
    Rules(Rules),
    /// They become members.
    Added(Vec<u32>),
    /// They are members no more.
    Removed(Vec<u32>),
    /// The actor is a member no more.
    Left {
        /// Who becomes the owner, if the actor was it and others stay.
        successor: Option<u32>,
    },
    /// Members become admins.
    Promoted(Vec<u32>),
    /// Admins become members.
    Demoted(Vec<u32>),
    /// This member becomes the owner, the one before it an admin.
    Owner(u32),
    /// Whoever knows the secret may join.
    Invited(Invite),
    /// And may not any more.
    Revoked(Hash),
    /// The actor became a member by this invite.
    Joined(Hash),
    /// Everybody is a member no more.
    Closed,
}

/// See the module. `Default`: one in which nothing has happened.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Group {
    /// Of the last change.
    pub seq: u64,
    /// In the order in which they came. If there are any, exactly one of them is the owner.
    pub members: Vec<(u32, Role)>,
    /// Opaque.
    pub profile: Profile,
    /// Who may do what.
    pub rules: Rules,
    /// Those that were not revoked; of expired ones as many as there is room for.
    pub invites: Vec<Invite>,
    /// Its owner closed it.
    pub closed: bool,
}

impl Group {
    /// Does what a change says, once: one that is not above `seq` was done before. Nothing else is refused here: what does
    /// not fit has no effect, and a group with members keeps exactly one owner whatever comes.
    pub fn apply(&mut self, seq: u64, actor: u32, change: &Change) {
        if seq <= self.seq {
            return;
        }
        self.seq = seq;
        match change {
            Change::Created { members, profile, rules } => {
                if self.members.is_empty() && !self.closed {
                    self.put_profile(profile);
                    self.rules = *rules;
                    self.enter(actor, Role::Owner);
                    members.iter().for_each(|&user| self.enter(user, Role::Member));
                }
            }
            Change::Profile(profile) => self.put_profile(profile),
            Change::Rules(rules) => self.rules = *rules,
            Change::Added(users) => users.iter().for_each(|&user| self.join(user)),
            Change::Joined(_) => self.join(actor),
            Change::Removed(users) => {
                let but_the_owner = users.iter().copied().filter(|&user| self.role(user) != Some(Role::Owner));
                let users: HashSet<u32> = but_the_owner.collect();
                self.leave(&users);
            }
            Change::Left { successor } => {
                let heir = self.heir(actor, *successor);
                self.leave(&HashSet::from([actor]));
                if let Some(heir) = heir {
                    self.set_role(heir, Role::Owner);
                }
            }
            Change::Promoted(users) => self.shift(users, Role::Member, Role::Admin),
            Change::Demoted(users) => self.shift(users, Role::Admin, Role::Member),
            Change::Owner(user) => {
                if self.role(*user).is_some() {
                    if let Some(before) = self.owner() {
                        self.set_role(before, Role::Admin);
                    }
                    self.set_role(*user, Role::Owner);
                }
            }
            Change::Invited(invite) => {
                self.invites.retain(|known| known.hash != invite.hash);
                if self.invites.len() >= MAX_INVITES {
                    self.drop_next_to_expire();
                }
                self.invites.push(*invite);
            }
            Change::Revoked(hash) => self.invites.retain(|known| known.hash != *hash),
            Change::Closed => {
                self.closed = true;
                self.members.clear();
                self.invites.clear();
            }
        }
    }

    /// What a user is here; `None`: no member.
    pub fn role(&self, user: u32) -> Option<Role> {
        self.members.get(self.place(user)?).map(|member| member.1)
    }

    /// Whether a user may send messages here.
    pub fn may_post(&self, user: u32) -> bool {
        self.role(user).is_some_and(|role| self.rules.post == Who::Everyone || role >= Role::Admin)
    }

    /// Who is in charge; `None`: nobody is left.
    pub fn owner(&self) -> Option<u32> {
        self.members.iter().find(|member| member.1 == Role::Owner).map(|member| member.0)
    }

    /// Who becomes the owner when `actor` leaves: `named`, if that is another member; else the admin who has been here
    /// longest, else the member. `None`: `actor` is not the owner, or nobody else is there.
    fn heir(&self, actor: u32, named: Option<u32>) -> Option<u32> {
        if self.role(actor) != Some(Role::Owner) {
            return None;
        }
        let others = || self.members.iter().filter(|member| member.0 != actor);
        let named = others().find(|member| Some(member.0) == named);
        let heir = named.or_else(|| others().find(|member| member.1 == Role::Admin)).or_else(|| others().next());
        heir.map(|member| member.0)
    }

    fn place(&self, user: u32) -> Option<usize> {
        self.members.iter().position(|member| member.0 == user)
    }

    fn set_role(&mut self, user: u32, role: Role) {
        if let Some(member) = self.place(user).and_then(|place| self.members.get_mut(place)) {
            member.1 = role;
        }
    }

    fn shift(&mut self, users: &[u32], from: Role, to: Role) {
        for &user in users {
            if self.role(user) == Some(from) {
                self.set_role(user, to);
            }
        }
    }

    /// Who comes to a group in which nobody is left is in charge of it; a closed one stays empty.
    fn join(&mut self, user: u32) {
        let role = if self.members.is_empty() { Role::Owner } else { Role::Member };
        if !self.closed {
            self.enter(user, role);
        }
    }

    fn enter(&mut self, user: u32, role: Role) {
        if self.place(user).is_none() {
            self.members.push((user, role));
        }
    }

    fn leave(&mut self, users: &HashSet<u32>) {
        self.members.retain(|member| !users.contains(&member.0));
    }

    /// It has expired: otherwise there would be no room for another one.
    fn drop_next_to_expire(&mut self) {
        let ends = |invite: &Invite| if invite.expires == 0 { u64::MAX } else { invite.expires };
        if let Some((place, _)) = self.invites.iter().enumerate().min_by_key(|(_, invite)| ends(invite)) {
            self.invites.remove(place);
        }
    }

    fn put_profile(&mut self, news: &Profile) {
        let Profile { name, description, picture } = &mut self.profile;
        for (field, news) in [(name, &news.name), (description, &news.description), (picture, &news.picture)] {
            if news.is_some() {
                field.clone_from(news);
            }
        }
    }
}

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

impl Change {
    /// The change with slots for names; `None`: `slot` knows one of the names not. A secret stands for its hash.
    pub fn resolve(change: &types::Change<'_>, mut slot: impl FnMut(&str) -> Option<u32>) -> Option<Self> {
        let mut all =
            |names: &[std::borrow::Cow<'_, str>]| -> Option<Vec<u32>> { names.iter().map(|name| slot(name)).collect() };
        Some(match change {
            types::Change::Created { members, profile, rules } => {
                Self::Created { members: all(members)?, profile: owned(profile), rules: *rules }
            }
            types::Change::Profile(profile) => Self::Profile(owned(profile)),
            types::Change::Rules(rules) => Self::Rules(*rules),
            types::Change::Added(users) => Self::Added(all(users)?),
            types::Change::Removed(users) => Self::Removed(all(users)?),
            types::Change::Left { successor } if successor.is_empty() => Self::Left { successor: None },
            types::Change::Left { successor } => Self::Left { successor: Some(slot(successor)?) },
            types::Change::Promoted(users) => Self::Promoted(all(users)?),
            types::Change::Demoted(users) => Self::Demoted(all(users)?),
            types::Change::Owner(user) => Self::Owner(slot(user)?),
            types::Change::Invited(invite) => Self::Invited(*invite),
            types::Change::Revoked(hash) => Self::Revoked(*hash),
            types::Change::Joined { hash, secret } if secret.is_empty() => Self::Joined(*hash),
            types::Change::Joined { secret, .. } => Self::Joined(hash_of(secret)),
            types::Change::Closed => Self::Closed,
        })
    }
}

impl Seen {
    /// The change as the core has it, `slot` giving users for names.
    pub fn resolve(&self, slot: impl Fn(&str) -> u32) -> Change {
        let all = |users: &[String]| users.iter().map(|name| slot(name)).collect();
        let hash = |hash: &[u8]| hash.try_into().unwrap();
        let profile = |fields: &[Option<Vec<u8>>; 3]| {
            let [name, description, picture] = fields.clone().map(|field| field.map(Into::into));
            Profile { name, description, picture }
        };
        let rules = |rules: &[u64; 3]| {
            let [post, add, edit] = rules.map(|n| if n == 0 { Who::Everyone } else { Who::Admins });
            Rules { post, add, edit }
        };
        match self {
            Seen::Created { members, profile: p, rules: r } => {
                Change::Created { members: all(members), profile: profile(p), rules: rules(r) }
            }
            Seen::Profile(p) => Change::Profile(profile(p)),
            Seen::Rules(r) => Change::Rules(rules(r)),
            Seen::Added(users) => Change::Added(all(users)),
            Seen::Removed(users) => Change::Removed(all(users)),
            Seen::Left(successor) => Change::Left { successor: successor.as_deref().map(&slot) },
            Seen::Promoted(users) => Change::Promoted(all(users)),
            Seen::Demoted(users) => Change::Demoted(all(users)),
            Seen::Owner(user) => Change::Owner(slot(user)),
            Seen::Invited { hash: h, expires } => Change::Invited(Invite { hash: hash(h), expires: *expires }),
            Seen::Revoked(h) => Change::Revoked(hash(h)),
            Seen::Joined(h) => Change::Joined(hash(h)),
            Seen::Closed => Change::Closed,
        }
    }
}

/// The code with which a wish is refused.
pub fn code(refusal: Refusal) -> &'static str {
    match refusal {
        Refusal::Unknown => "unknown_conversation",
        Refusal::Forbidden => "forbidden",
        Refusal::NoChange => "no_change",
        Refusal::Full => "group_full",
        Refusal::BadInvite => "bad_invite",
        Refusal::TooManyInvites => "too_many",
    }
}

fn owned(profile: &types::Profile<'_>) -> Profile {
    let own = |field: &Option<std::borrow::Cow<'_, [u8]>>| field.as_deref().map(|bytes| bytes.to_vec().into());
    Profile { name: own(&profile.name), description: own(&profile.description), picture: own(&profile.picture) }
}
