//! Changes of groups, read from either notation.
//!
//! A change is read the same whether a client wants it or the log keeps it. What a client may not say of one, though the
//! log does, is refused by [`wanted`]: the successor of an owner and the hash of an invite that is used are the server's to
//! set, and the secret of an invite is never kept.

use std::borrow::Cow;

use super::decode::UserField;
use super::error::WireError;
use super::fields::{Fields, Value};
use super::limits::{check_user, push};
use super::reader;
use super::types::*;

/// Reads `Message.change` as the log keeps it.
pub(super) fn stored(bytes: &[u8]) -> Result<Change<'_>, WireError> {
    let mut draft = ChangeDraft(None);
    reader::read_message(bytes, &mut draft)?;
    draft.0.ok_or_else(|| WireError::malformed("a stored change of no known kind"))
}

/// Refuses what a client may not say of a change.
pub(super) fn wanted(change: &Change<'_>) -> Result<(), WireError> {
    match change {
        Change::Left { successor } if !successor.is_empty() => {
            Err(WireError::field("left: the successor is for the server to choose"))
        }
        Change::Joined { secret, .. } if secret.is_empty() => Err(bad_secret()),
        _ => Ok(()),
    }
}

/// A `GroupChange`, once seen.
#[derive(Default)]
pub(super) struct ChangeDraft<'a>(pub Option<Change<'a>>);

impl<'a> Fields<'a> for ChangeDraft<'a> {
    const NAMES: &'static [&'static str] = &[
        "created", "profile", "rules", "added", "removed", "left", "promoted", "demoted", "owner", "invited",
        "revoked", "joined", "closed",
    ];

    fn set<V: Value<'a>>(&mut self, number: u32, value: V) -> Result<(), WireError> {
        let change = match number {
            1 => {
                let mut created = Created::default();
                value.message(&mut created)?;
                Change::Created { members: created.members, profile: created.profile, rules: created.rules }
            }
            2 => {
                let mut profile = Profile::default();
                value.message(&mut profile)?;
                Change::Profile(profile)
            }
            3 => {
                let mut rules = Rules::default();
                value.message(&mut rules)?;
                Change::Rules(rules)
            }
            4 => Change::Added(users(value)?),
            5 => Change::Removed(users(value)?),
            6 => {
                let mut left = Left(Cow::Borrowed(""));
                value.message(&mut left)?;
                Change::Left { successor: left.0 }
            }
            7 => Change::Promoted(users(value)?),
            8 => Change::Demoted(users(value)?),
            9 => {
                let mut owner = UserField(Cow::Borrowed(""));
                value.message(&mut owner)?;
                check_user(&owner.0)?;
                Change::Owner(owner.0)
            }
            10 => invited(value)?,
            11 => revoked(value)?,
            12 => joined(value)?,
            13 => {
                value.message(&mut Nothing)?;
                Change::Closed
            }
            _ => return value.skip(),
        };
        // As with two frames in one: which of the two was meant is not ours to guess.
        if self.0.is_some() {
            return Err(WireError::field("more than one change"));
        }
        self.0 = Some(change);
        Ok(())
    }
}

fn invited<'a, V: Value<'a>>(value: V) -> Result<Change<'a>, WireError> {
    let mut draft = InviteDraft::default();
    value.message(&mut draft)?;
    match draft {
        InviteDraft { hash: Some(hash), expires, secret } if secret.is_empty() => {
            Ok(Change::Invited(Invite { hash, expires }))
        }
        _ => Err(WireError::field("invited: the hash of a secret, 32 bytes, and never the secret itself")),
    }
}

fn revoked<'a, V: Value<'a>>(value: V) -> Result<Change<'a>, WireError> {
    let mut draft = InviteDraft::default();
    value.message(&mut draft)?;
    match draft {
        InviteDraft { hash: Some(hash), expires: 0, secret } if secret.is_empty() => Ok(Change::Revoked(hash)),
        _ => Err(WireError::field("revoked: the hash of an invite, 32 bytes, and nothing else")),
    }
}

/// Wanted, it has the secret; kept, the hash.
fn joined<'a, V: Value<'a>>(value: V) -> Result<Change<'a>, WireError> {
    let mut draft = InviteDraft::default();
    value.message(&mut draft)?;
    match draft {
        InviteDraft { hash: None, expires: 0, secret } if SECRET.contains(&secret.len()) => {
            Ok(Change::Joined { hash: Hash::default(), secret })
        }
        InviteDraft { hash: Some(hash), expires: 0, secret } if secret.is_empty() => {
            Ok(Change::Joined { hash, secret })
        }
        _ => Err(bad_secret()),
    }
}

#[cold]
fn bad_secret() -> WireError {
    WireError::field(format!("joined: a secret of {} to {} bytes, and nothing else", SECRET.start(), SECRET.end()))
}

/// `Invite`, whatever it is for.
#[derive(Default)]
struct InviteDraft<'a> {
    hash: Option<Hash>,
    expires: u64,
    secret: Cow<'a, [u8]>,
}

impl<'a> Fields<'a> for InviteDraft<'a> {
    const NAMES: &'static [&'static str] = &["hash", "expires", "secret"];

    fn set<V: Value<'a>>(&mut self, number: u32, value: V) -> Result<(), WireError> {
        match number {
            1 => {
                let hash = value.bytes()?;
                self.hash = match hash.len() {
                    0 => None,
                    _ => Some(Hash::try_from(&*hash).map_err(|_| WireError::field("invite: a hash is 32 bytes"))?),
                };
            }
            2 => self.expires = value.uint64()?,
            3 => self.secret = value.bytes()?,
            _ => value.skip()?,
        }
        Ok(())
    }
}

/// `GroupCreated`.
#[derive(Default)]
struct Created<'a> {
    members: Vec<Cow<'a, str>>,
    profile: Profile<'a>,
    rules: Rules,
}

impl<'a> Fields<'a> for Created<'a> {
    const NAMES: &'static [&'static str] = &["members", "profile", "rules"];

    fn set<V: Value<'a>>(&mut self, number: u32, value: V) -> Result<(), WireError> {
        match number {
            1 => push_users(&mut self.members, value)?,
            2 => value.message(&mut self.profile)?,
            3 => value.message(&mut self.rules)?,
            _ => value.skip()?,
        }
        Ok(())
    }
}

impl<'a> Fields<'a> for Profile<'a> {
    const NAMES: &'static [&'static str] = &["name", "description", "picture"];

    fn set<V: Value<'a>>(&mut self, number: u32, value: V) -> Result<(), WireError> {
        match number {
            1 => self.name = Some(bounded(value, MAX_NAME, "name")?),
            2 => self.description = Some(bounded(value, MAX_DESCRIPTION, "description")?),
            3 => self.picture = Some(bounded(value, MAX_PICTURE, "picture")?),
            _ => value.skip()?,
        }
        Ok(())
    }
}

fn bounded<'a, V: Value<'a>>(value: V, most: usize, what: &str) -> Result<Cow<'a, [u8]>, WireError> {
    let bytes = value.bytes()?;
    if bytes.len() > most {
        return Err(WireError::field(format!("profile: a {what} of more than {most} bytes")));
    }
    Ok(bytes)
}

impl<'a> Fields<'a> for Rules {
    const NAMES: &'static [&'static str] = &["post", "add", "edit"];

    fn set<V: Value<'a>>(&mut self, number: u32, value: V) -> Result<(), WireError> {
        match number {
            1 => self.post = who(value)?,
            2 => self.add = who(value)?,
            3 => self.edit = who(value)?,
            _ => value.skip()?,
        }
        Ok(())
    }
}

fn who<'a, V: Value<'a>>(value: V) -> Result<Who, WireError> {
    Ok(match value.enumeration(&[Who::Everyone.label(), Who::Admins.label()])? {
        0 => Who::Everyone,
        _ => Who::Admins,
    })
}

/// `Users`.
struct UserList<'l, 'a>(&'l mut Vec<Cow<'a, str>>);

impl<'a> Fields<'a> for UserList<'_, 'a> {
    const NAMES: &'static [&'static str] = &["users"];

    fn set<V: Value<'a>>(&mut self, number: u32, value: V) -> Result<(), WireError> {
        if number == 1 { push_users(self.0, value) } else { value.skip() }
    }
}

fn users<'a, V: Value<'a>>(value: V) -> Result<Vec<Cow<'a, str>>, WireError> {
    let mut users = Vec::new();
    value.message(&mut UserList(&mut users))?;
    Ok(users)
}

fn push_users<'a, V: Value<'a>>(users: &mut Vec<Cow<'a, str>>, value: V) -> Result<(), WireError> {
    value.each(|value| {
        let user = value.string()?;
        check_user(&user)?;
        push(users, user, "users")
    })
}

/// `GroupLeft`.
struct Left<'a>(Cow<'a, str>);

impl<'a> Fields<'a> for Left<'a> {
    const NAMES: &'static [&'static str] = &["successor"];

    fn set<V: Value<'a>>(&mut self, number: u32, value: V) -> Result<(), WireError> {
        if number != 1 {
            return value.skip();
        }
        self.0 = value.string()?;
        if self.0.is_empty() { Ok(()) } else { check_user(&self.0) }
    }
}

/// `GroupClosed`.
struct Nothing;

impl<'a> Fields<'a> for Nothing {
    const NAMES: &'static [&'static str] = &[];

    fn set<V: Value<'a>>(&mut self, _: u32, value: V) -> Result<(), WireError> {
        value.skip()
    }
}
