//! What survives of a conversation, as bytes: its full state (in the log and in the cold store), and cursors that moved.
//!
//! Both are merged by maximum, so that reading one twice, or an old one after a new one, does no harm.

use smallvec::SmallVec;

use super::conversation::{Conversation, Cursor, Member, SkipRange, mark};
use crate::engine::binary::{Reader, put_bytes, put_u64};
use crate::engine::directory::Directory;
use crate::sequencer::Kind;
use crate::wire::types::{ConversationId, SkipReason};

const VERSION: u8 = 1;

impl SkipReason {
    fn from_u64(value: u64) -> Option<Self> {
        Some(match value {
            1 => Self::Expired,
            2 => Self::Cap,
            3 => Self::NoBody,
            4 => Self::Lost,
            5 => Self::Blocked,
            _ => return None,
        })
    }
}

impl Conversation {
    /// Appends the full state, the messages themselves excepted. `head` is the last number given, which may be above what
    /// is visible.
    pub fn encode(&self, head: u64, dir: &Directory, out: &mut Vec<u8>) {
        out.extend_from_slice(&[VERSION, self.kind as u8]);
        out.extend_from_slice(&self.id);
        put_u64(out, head);
        put_u64(out, self.first);
        out.push(self.floor_reason as u8);
        put_u64(out, self.members.len() as u64);
        for member in &self.members {
            put_bytes(out, dir.name(member.user).as_bytes());
            put_u64(out, u64::from(member.only));
            put_u64(out, member.from);
            put_u64(out, member.to.wrapping_add(1));
            put_progress(member, out);
            put_u64(out, member.skipped().len() as u64);
            for range in member.skipped() {
                put_u64(out, range.from);
                put_u64(out, range.to);
                put_u64(out, range.reason as u64);
                put_u64(out, range.version);
            }
            put_cursors(&member.cursors, member.delivered, out);
        }
    }

    /// Reads a full state; users are looked up, or become stubs.
    pub fn decode(bytes: &[u8], dir: &mut Directory) -> Option<(Self, u64)> {
        let mut reader = Reader::new(bytes);
        if reader.u8()? != VERSION {
            return None;
        }
        let kind = Kind::from_u8(reader.u8()?)?;
        let id: ConversationId = reader.array()?;
        let head = reader.u64()?;
        let first = reader.u64()?;
        let floor_reason = SkipReason::from_u64(u64::from(reader.u8()?))?;
        let mut conversation = Self::new(id, kind, first.checked_sub(1)?);
        conversation.floor_reason = floor_reason;
        for _ in 0..reader.count()? {
            let user = dir.intern(reader.str()?);
            let only = reader.u64()?.try_into().ok()?;
            let mut member = Member::new(user, only, reader.u64()?);
            member.to = reader.u64()?.wrapping_sub(1);
            read_progress(&mut member, &mut reader)?;
            for _ in 0..reader.count()? {
                let (from, to) = (reader.u64()?, reader.u64()?);
                let reason = SkipReason::from_u64(reader.u64()?)?;
                member.skip(SkipRange { from, to, reason, version: reader.u64()? });
            }
            for _ in 0..reader.count()? {
                let cursor = read_cursor(&mut reader)?;
                member.cursors.push(cursor);
            }
            conversation.members.push(member);
        }
        reader.is_empty().then_some((conversation, head))
    }

    /// Takes over what another reading of the state knows better.
    pub fn merge(&mut self, other: Self) {
        self.first = self.first.max(other.first);
        self.floor_reason = other.floor_reason;
        for theirs in other.members {
            let same = |ours: &&mut Member| (ours.user, ours.only) == (theirs.user, theirs.only);
            let Some(ours) = self.members.iter_mut().find(same) else {
                self.members.push(theirs);
                continue;
            };
            ours.to = theirs.to;
            ours.delivered = ours.delivered.max(theirs.delivered);
            ours.read = ours.read.max(theirs.read);
            ours.version = ours.version.max(theirs.version);
            ours.read_version = ours.read_version.max(theirs.read_version);
            ours.rare = theirs.rare;
            let known = |c: &Cursor| theirs.cursors.iter().any(|t| t.device == c.device);
            ours.cursors.retain(|c| known(c));
            theirs.cursors.iter().for_each(|c| ours.set_cursor(c));
        }
    }

    /// Appends the cursors that moved since the last call, and takes note that they are written.
    pub fn encode_moved(&mut self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.id);
        put_u64(out, self.members.len() as u64);
        for member in &mut self.members {
            put_progress(member, out);
            let moved: SmallVec<[Cursor; 1]> = member.cursors.iter().filter(|c| c.is(mark::DIRTY)).copied().collect();
            put_cursors(&moved, member.delivered, out);
            member.cursors.iter_mut().for_each(|c| c.unset(mark::DIRTY));
        }
    }

    /// Passes over the same, without the conversation; gives the highest number in it.
    pub fn pass_over_moved(reader: &mut Reader<'_>) -> Option<u64> {
        let mut highest = 0;
        for _ in 0..reader.count()? {
            let mut member = Member::new(0, 0, 0);
            read_progress(&mut member, reader)?;
            highest = highest.max(member.delivered).max(member.read);
            for _ in 0..reader.count()? {
                highest = highest.max(read_cursor(reader)?.acked);
            }
        }
        Some(highest)
    }

    /// Takes over what [`Conversation::encode_moved`] wrote after the id.
    pub fn apply_moved(&mut self, reader: &mut Reader<'_>) -> Option<()> {
        for index in 0..reader.count()? {
            let mut spare = Member::new(0, 0, 0);
            let member = self.members.get_mut(index).unwrap_or(&mut spare);
            read_progress(member, reader)?;
            for _ in 0..reader.count()? {
                let cursor = read_cursor(reader)?;
                member.set_cursor(&cursor);
            }
        }
        Some(())
    }
}

impl Member {
    /// Raises a device's cursor; a device that is new here takes the waiting mailbox.
    fn set_cursor(&mut self, known: &Cursor) {
        let &Cursor { device, acked, base, .. } = known;
        if device != 0 && self.cursors.iter().all(|c| c.device != device) {
            self.add_device(device, acked, base);
        }
        if self.cursors.is_empty() {
            self.cursors.push(*known);
        }
        if let Some(cursor) = self.cursor_mut(device) {
            cursor.acked = cursor.acked.max(acked);
            cursor.sent = cursor.acked;
            cursor.base = base;
        }
    }
}

fn put_progress(member: &Member, out: &mut Vec<u8>) {
    for value in [member.delivered, member.read, member.version, member.read_version] {
        put_u64(out, value);
    }
}

fn read_progress(member: &mut Member, reader: &mut Reader<'_>) -> Option<()> {
    for field in [&mut member.delivered, &mut member.read, &mut member.version, &mut member.read_version] {
        *field = (*field).max(reader.u64()?);
    }
    Some(())
}

/// A cursor's base is written while it matters: above what the user is known to have.
fn put_cursors(cursors: &[Cursor], delivered: u64, out: &mut Vec<u8>) {
    put_u64(out, cursors.len() as u64);
    for cursor in cursors {
        let based = cursor.base > delivered;
        put_u64(out, u64::from(cursor.device) << 1 | u64::from(based));
        put_u64(out, cursor.acked);
        if based {
            put_u64(out, cursor.base);
        }
    }
}

fn read_cursor(reader: &mut Reader<'_>) -> Option<Cursor> {
    let head = reader.u64()?;
    let cursor = Cursor::new((head >> 1).try_into().ok()?, reader.u64()?);
    let base = if head & 1 == 0 { 0 } else { reader.u64()? };
    Some(Cursor { base, ..cursor })
}
