//! What a group is: who is in it and as what, its profile, its rules; and what every change does to it.
//!
//! A group's state at a number is the fold of its changes up to there ([`Group::apply`]), the same on the server and on
//! every client. Whether a wanted change may happen is decided once, before it gets a number ([`Group::decide`]); a change
//! that has one just happens. Users are slots of the directory. It must never know conversations, mailboxes or frames.
//!
//! - `rules`: who may change what, and what becomes of a wish. `state`: the group as bytes and as a snapshot.
//! - `named`: changes with users' names, as on the wire.

mod named;
mod rules;
mod state;

use hashbrown::{HashMap, HashSet};

pub use crate::wire::types::{Hash, Invite, Role, Rules, Who};
pub use rules::{MAX_INVITES, Refusal};

/// Name, description, picture: opaque (I9).
pub type Profile = crate::wire::types::Profile<'static>;

/// With more members than this there is an index of them.
const FEW: usize = 16;

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

impl Change {
    /// Whom a change by `actor` may make members.
    pub fn newcomers(&self, actor: u32) -> Vec<u32> {
        match self {
            Self::Created { members, .. } => [&[actor], members.as_slice()].concat(),
            Self::Added(users) => users.clone(),
            Self::Joined(_) => vec![actor],
            _ => Vec::new(),
        }
    }
}

/// Whom a change made members, and whom it did not leave so; in the order in which they came.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Moved {
    /// Members now.
    pub came: Vec<u32>,
    /// Not any more.
    pub went: Vec<u32>,
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
    /// Places in `members`, when those are more than [`FEW`].
    index: HashMap<u32, u32>,
}

impl Group {
    /// Does what a change says, once: one that is not above `seq` was done before. Nothing else is refused here: what does
    /// not fit has no effect, and a group with members keeps exactly one owner whatever comes.
    pub fn apply(&mut self, seq: u64, actor: u32, change: &Change) -> Moved {
        let mut moved = Moved::default();
        if seq <= self.seq {
            return moved;
        }
        self.seq = seq;
        match change {
            Change::Created { members, profile, rules } => {
                if self.members.is_empty() && !self.closed {
                    self.put_profile(profile);
                    self.rules = *rules;
                    self.enter(actor, Role::Owner, &mut moved);
                    members.iter().for_each(|&user| self.enter(user, Role::Member, &mut moved));
                }
            }
            Change::Profile(profile) => self.put_profile(profile),
            Change::Rules(rules) => self.rules = *rules,
            Change::Added(users) => users.iter().for_each(|&user| self.join(user, &mut moved)),
            Change::Joined(_) => self.join(actor, &mut moved),
            Change::Removed(users) => {
                let but_the_owner = users.iter().copied().filter(|&user| self.role(user) != Some(Role::Owner));
                let users: HashSet<u32> = but_the_owner.collect();
                self.leave(&users, &mut moved);
            }
            Change::Left { successor } => {
                let heir = self.heir(actor, *successor);
                self.leave(&HashSet::from([actor]), &mut moved);
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
                moved.went = self.members.drain(..).map(|(user, _)| user).collect();
                self.reindex();
                self.invites.clear();
            }
        }
        moved
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
        if self.index.is_empty() {
            self.members.iter().position(|member| member.0 == user)
        } else {
            self.index.get(&user).map(|&place| place as usize)
        }
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
    fn join(&mut self, user: u32, moved: &mut Moved) {
        let role = if self.members.is_empty() { Role::Owner } else { Role::Member };
        if !self.closed {
            self.enter(user, role, moved);
        }
    }

    fn enter(&mut self, user: u32, role: Role, moved: &mut Moved) {
        if self.place(user).is_some() {
            return;
        }
        moved.came.push(user);
        self.members.push((user, role));
        if !self.index.is_empty() {
            self.index.insert(user, self.members.len() as u32 - 1);
        } else if self.members.len() > FEW {
            self.reindex();
        }
    }

    fn leave(&mut self, users: &HashSet<u32>, moved: &mut Moved) {
        self.members.retain(|member| {
            let goes = users.contains(&member.0);
            if goes {
                moved.went.push(member.0);
            }
            !goes
        });
        self.reindex();
    }

    fn reindex(&mut self) {
        let places = self.members.iter().enumerate().map(|(place, member)| (member.0, place as u32));
        self.index = if self.members.len() > FEW { places.collect() } else { HashMap::new() };
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

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]
mod tests;
