//! Changes with users' names, as clients send and get them.

use super::{Change, Profile};
use crate::engine::directory::Directory;
use crate::wire::ids::hash_of;
use crate::wire::types as wire;

impl Change {
    /// The change with slots for names; `None`: `slot` knows one of the names not. A secret stands for its hash.
    pub fn resolve(change: &wire::Change<'_>, mut slot: impl FnMut(&str) -> Option<u32>) -> Option<Self> {
        let mut all =
            |names: &[std::borrow::Cow<'_, str>]| -> Option<Vec<u32>> { names.iter().map(|name| slot(name)).collect() };
        Some(match change {
            wire::Change::Created { members, profile, rules } => {
                Self::Created { members: all(members)?, profile: owned(profile), rules: *rules }
            }
            wire::Change::Profile(profile) => Self::Profile(owned(profile)),
            wire::Change::Rules(rules) => Self::Rules(*rules),
            wire::Change::Added(users) => Self::Added(all(users)?),
            wire::Change::Removed(users) => Self::Removed(all(users)?),
            wire::Change::Left { successor } if successor.is_empty() => Self::Left { successor: None },
            wire::Change::Left { successor } => Self::Left { successor: Some(slot(successor)?) },
            wire::Change::Promoted(users) => Self::Promoted(all(users)?),
            wire::Change::Demoted(users) => Self::Demoted(all(users)?),
            wire::Change::Owner(user) => Self::Owner(slot(user)?),
            wire::Change::Invited(invite) => Self::Invited(*invite),
            wire::Change::Revoked(hash) => Self::Revoked(*hash),
            wire::Change::Joined { hash, secret } if secret.is_empty() => Self::Joined(*hash),
            wire::Change::Joined { secret, .. } => Self::Joined(hash_of(secret)),
            wire::Change::Closed => Self::Closed,
        })
    }

    /// The change with names for slots, as it is stored.
    pub fn named<'a>(&'a self, dir: &'a Directory) -> wire::Change<'a> {
        let names = |users: &[u32]| users.iter().map(|&user| dir.name(user).into()).collect();
        match self {
            Self::Created { members, profile, rules } => {
                wire::Change::Created { members: names(members), profile: lent(profile), rules: *rules }
            }
            Self::Profile(profile) => wire::Change::Profile(lent(profile)),
            Self::Rules(rules) => wire::Change::Rules(*rules),
            Self::Added(users) => wire::Change::Added(names(users)),
            Self::Removed(users) => wire::Change::Removed(names(users)),
            Self::Left { successor } => {
                wire::Change::Left { successor: successor.map_or("", |user| dir.name(user)).into() }
            }
            Self::Promoted(users) => wire::Change::Promoted(names(users)),
            Self::Demoted(users) => wire::Change::Demoted(names(users)),
            Self::Owner(user) => wire::Change::Owner(dir.name(*user).into()),
            Self::Invited(invite) => wire::Change::Invited(*invite),
            Self::Revoked(hash) => wire::Change::Revoked(*hash),
            Self::Joined(hash) => wire::Change::Joined { hash: *hash, secret: Default::default() },
            Self::Closed => wire::Change::Closed,
        }
    }
}

fn owned(profile: &wire::Profile<'_>) -> Profile {
    let own = |field: &Option<std::borrow::Cow<'_, [u8]>>| field.as_deref().map(|bytes| bytes.to_vec().into());
    Profile { name: own(&profile.name), description: own(&profile.description), picture: own(&profile.picture) }
}

/// The same without copying.
pub(super) fn lent(profile: &Profile) -> wire::Profile<'_> {
    wire::Profile {
        name: profile.name.as_deref().map(Into::into),
        description: profile.description.as_deref().map(Into::into),
        picture: profile.picture.as_deref().map(Into::into),
    }
}
