//! A group as bytes, for the log and the cold store, and as the snapshot that clients get.

use super::named::lent;
use super::{Group, Invite, Profile, Role, Rules, Who};
use crate::engine::binary::{Reader, put_bytes, put_u64};
use crate::engine::directory::Directory;
use crate::wire::types::{ConversationId, GroupFrame};

impl Group {
    /// Appends the state, users by name.
    pub fn encode(&self, dir: &Directory, out: &mut Vec<u8>) {
        put_u64(out, self.seq);
        put_u64(out, self.members.len() as u64);
        for &(user, role) in &self.members {
            put_bytes(out, dir.name(user).as_bytes());
            out.push(role as u8);
        }
        for field in [&self.profile.name, &self.profile.description, &self.profile.picture] {
            out.push(u8::from(field.is_some()));
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
        out.push(u8::from(self.closed));
    }

    /// Reads what [`Group::encode`] wrote; users are looked up, or become stubs.
    pub fn decode(reader: &mut Reader<'_>, dir: &mut Directory) -> Option<Self> {
        let mut group = Self { seq: reader.u64()?, ..Self::default() };
        for _ in 0..reader.count()? {
            let user = dir.intern(reader.str()?);
            group.members.push((user, role(reader.u8()?)?));
        }
        let Profile { name, description, picture } = &mut group.profile;
        for field in [name, description, picture] {
            if flag(reader)? {
                *field = Some(reader.bytes()?.to_vec().into());
            }
        }
        group.rules = Rules { post: who(reader)?, add: who(reader)?, edit: who(reader)? };
        for _ in 0..reader.count()? {
            group.invites.push(Invite { hash: reader.array()?, expires: reader.u64()? });
        }
        group.closed = flag(reader)?;
        group.reindex();
        Some(group)
    }

    /// The snapshot of it.
    pub fn frame<'a>(&'a self, conversation: ConversationId, dir: &'a Directory) -> GroupFrame<'a> {
        GroupFrame {
            conversation,
            seq: self.seq,
            members: self.members.iter().map(|&(user, role)| (dir.name(user), role)).collect(),
            profile: lent(&self.profile),
            rules: self.rules,
            invites: &self.invites,
            closed: self.closed,
        }
    }
}

fn flag(reader: &mut Reader<'_>) -> Option<bool> {
    Some(reader.u8()? != 0)
}

fn who(reader: &mut Reader<'_>) -> Option<Who> {
    match reader.u8()? {
        0 => Some(Who::Everyone),
        1 => Some(Who::Admins),
        _ => None,
    }
}

fn role(value: u8) -> Option<Role> {
    match value {
        0 => Some(Role::Member),
        1 => Some(Role::Admin),
        2 => Some(Role::Owner),
        _ => None,
    }
}
