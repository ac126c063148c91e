//! What only a group's row has: profile, rules and invites. Who is a member, and as what, stands in the row's members.

use wire::types::{Invite, Role, Rules, Who};

use crate::bytes::{Malformed, Read, Reader, put_bytes, put_flag, put_u64};

/// Most invites of a group; expired ones give way to new ones.
pub const MAX_INVITES: usize = 16;

/// Name, description and picture: opaque (I9).
pub type Profile = wire::types::Profile<'static>;

/// See the module.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Group {
    /// Of the last change.
    pub seq: u64,
    /// Rank of the next member who comes.
    pub next_rank: u32,
    /// As the last change left it.
    pub profile: Profile,
    /// As the last change left them.
    pub rules: Rules,
    /// In the order in which they were made.
    pub invites: Vec<Invite>,
    /// Its owner closed it: nobody is a member any more.
    pub closed: bool,
}

impl Group {
    /// Whether a rule lets a member with this role.
    pub fn admits(&self, rule: Who, role: Option<Role>) -> bool {
        role.is_some_and(|role| rule == Who::Everyone || role >= Role::Admin)
    }

    /// Takes over what is present in a change of the profile.
    pub fn put_profile(&mut self, change: &wire::types::Profile<'_>) {
        let Profile { name, description, picture } = &mut self.profile;
        let changed = [&change.name, &change.description, &change.picture];
        for (ours, change) in [name, description, picture].into_iter().zip(changed) {
            if let Some(bytes) = change {
                *ours = Some(bytes.to_vec().into());
            }
        }
    }

    /// Appends its part of the conversation's row.
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        put_u64(out, self.seq);
        put_u64(out, u64::from(self.next_rank));
        for field in [&self.profile.name, &self.profile.description, &self.profile.picture] {
            put_flag(out, field.is_some());
            if let Some(bytes) = field {
                put_bytes(out, bytes);
            }
        }
        out.extend_from_slice(&[self.rules.post as u8, self.rules.add as u8, self.rules.edit as u8]);
        put_u64(out, self.invites.len() as u64);
        for invite in &self.invites {
            out.extend_from_slice(&invite.hash);
            put_u64(out, invite.expires);
        }
        put_flag(out, self.closed);
    }

    pub(super) fn decode(reader: &mut Reader<'_>) -> Read<Self> {
        let mut group = Self { seq: reader.u64()?, next_rank: reader.u32()?, ..Self::default() };
        let Profile { name, description, picture } = &mut group.profile;
        for field in [name, description, picture] {
            if reader.flag()? {
                *field = Some(reader.bytes()?.to_vec().into());
            }
        }
        group.rules = Rules { post: who(reader)?, add: who(reader)?, edit: who(reader)? };
        for _ in 0..reader.count()? {
            group.invites.push(Invite { hash: reader.array()?, expires: reader.u64()? });
        }
        group.closed = reader.flag()?;
        Ok(group)
    }
}

fn who(reader: &mut Reader<'_>) -> Read<Who> {
    match reader.u8()? {
        0 => Ok(Who::Everyone),
        1 => Ok(Who::Admins),
        _ => Err(Malformed::Value("a rule of a group")),
    }
}

/// A role from its number in a row.
pub(crate) fn role(value: u8) -> Read<Role> {
    match value {
        0 => Ok(Role::Member),
        1 => Ok(Role::Admin),
        2 => Ok(Role::Owner),
        _ => Err(Malformed::Value("a role in a group")),
    }
}
