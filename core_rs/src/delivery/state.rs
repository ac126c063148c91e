//! What survives of a conversation, as bytes: its full state (in the log and in the cold store), and cursors that moved.
//!
//! Both are merged by maximum, so that reading one twice, or an old one after a new one, does no harm. Version 1 of the
//! full state knew no groups, version 2 not when a message was withheld; both are still read.

use smallvec::SmallVec;

use super::conversation::{Conversation, Crowd, Cursor, Member, SkipRange, mark};
use super::member::{Rare, Withheld};
use crate::engine::binary::{Reader, put_bytes, put_u64};
use crate::engine::directory::Directory;
use crate::group::Group;
use crate::sequencer::Kind;
use crate::wire::types::{ConversationId, SkipReason};

const VERSION: u8 = 3;

fn skip_reason(value: u64) -> Option<SkipReason> {
    Some(match value {
        1 => SkipReason::Expired,
        2 => SkipReason::Cap,
        3 => SkipReason::NoBody,
        4 => SkipReason::Lost,
        5 => SkipReason::Blocked,
        _ => return None,
    })
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
        // Who is gone is remembered while somebody may have to be told of it: of what it never had, also authors who are
        // away and may come back with it.
        let owing = self.owes_receipts(dir);
        let kept = || (0_u32..).zip(&self.members).filter(|(_, m)| owing || !m.is_gone() || !m.skipped().is_empty());
        put_u64(out, kept().count() as u64);
        for (index, member) in kept() {
            put_bytes(out, dir.name(member.user).as_bytes());
            put_u64(out, u64::from(member.only));
            put_u64(out, member.earlier().len() as u64 + 1);
            for &(from, to) in member.earlier().iter().chain([&(member.from, member.to)]) {
                put_u64(out, from);
                put_u64(out, to.wrapping_add(1));
            }
            put_progress(member, out);
            put_u64(out, self.owed(index as usize).unwrap_or(0));
            put_u64(out, member.skipped().len() as u64);
            for range in member.skipped() {
                put_u64(out, range.from);
                put_u64(out, range.to);
                put_u64(out, range.reason as u64);
                put_u64(out, range.version);
            }
            put_u64(out, member.withheld().len() as u64);
            for range in member.withheld() {
                put_u64(out, range.from);
                put_u64(out, range.to);
                put_u64(out, range.time_s.into());
            }
            put_marked(&member.cursors.iter().collect::<SmallVec<[&Cursor; 4]>>(), member.delivered, out);
        }
        if let Some(group) = &self.group {
            group.encode(dir, out);
        }
    }

    /// The last number that was given, out of a state.
    pub fn head_in(reader: &mut Reader<'_>) -> Option<u64> {
        let (_version, _kind, _id) = (reader.u8()?, reader.u8()?, reader.array::<16>()?);
        reader.u64()
    }

    /// Reads a full state, and leaves the reader at what follows; users are looked up, or become stubs.
    pub fn decode(reader: &mut Reader<'_>, dir: &mut Directory) -> Option<(Self, u64)> {
        let version = reader.u8()?;
        if !(1..=VERSION).contains(&version) {
            return None;
        }
        let kind = Kind::from_u8(reader.u8()?)?;
        let id: ConversationId = reader.array()?;
        let head = reader.u64()?;
        let first = reader.u64()?;
        let floor_reason = skip_reason(u64::from(reader.u8()?))?;
        let mut conversation = Self::new(id, kind, first.checked_sub(1)?);
        conversation.floor_reason = floor_reason;
        for _ in 0..reader.count()? {
            let user = dir.intern(reader.str()?);
            let only = reader.u64()?.try_into().ok()?;
            let mut member = Member::new(user, only, 0);
            let intervals = if version == 1 { 1 } else { reader.count()? };
            for place in 0..intervals {
                if place > 0 {
                    let over = (member.from, member.to);
                    member.rare.get_or_insert_default().earlier.push(over);
                }
                (member.from, member.to) = (reader.u64()?, reader.u64()?.wrapping_sub(1));
            }
            read_progress(&mut member, reader)?;
            let owed = if version == 1 { 0 } else { reader.u64()? };
            for _ in 0..reader.count()? {
                let (from, to) = (reader.u64()?, reader.u64()?);
                let reason = skip_reason(reader.u64()?)?;
                member.skip(SkipRange { from, to, reason, version: reader.u64()? });
            }
            if version == 1 {
                for _ in 0..reader.count()? {
                    member.cursors.push(read_cursor(reader)?);
                }
            } else {
                for _ in 0..reader.count()? {
                    let (from, to) = (reader.u64()?, reader.u64()?);
                    let time_s = if version == 2 { 0 } else { reader.u32()? };
                    let range = Withheld { from, to, time_s };
                    member.rare.get_or_insert_default().withheld.push(range);
                }
                member.cursors = read_marked(reader)?;
            }
            if let Some(crowd) = &mut conversation.crowd {
                let index = conversation.members.len() as u32;
                crowd.index.insert(user, index);
                if owed > 0 {
                    crowd.owed.insert(index, owed);
                }
            }
            conversation.members.push(member);
        }
        if kind == Kind::Group {
            conversation.group = Some(Box::new(Group::decode(reader, dir)?));
        }
        Some((conversation, head))
    }

    /// Takes over what another reading of the state knows better. That of a group may have been written before changes
    /// could be seen that stand before it in the log: then who is a member is known better here.
    pub fn merge(&mut self, other: Self) {
        self.first = self.first.max(other.first);
        self.floor_reason = other.floor_reason;
        let seq = |group: &Option<Box<Group>>| group.as_ref().map_or(0, |group| group.seq);
        let newer = seq(&other.group) >= seq(&self.group);
        if newer && let Some(crowd) = &other.crowd {
            self.retire_unnamed(crowd, seq(&other.group));
        }
        for (index, theirs) in (0_u32..).zip(other.members) {
            let owed = other.crowd.as_ref().and_then(|crowd| crowd.owed.get(&index)).copied().unwrap_or(0);
            let known = match &self.crowd {
                Some(crowd) => crowd.index.get(&theirs.user).map(|&index| index as usize),
                None => self.members.iter().position(|m| (m.user, m.only) == (theirs.user, theirs.only)),
            };
            let place = known.unwrap_or(self.members.len()) as u32;
            if let Some(crowd) = &mut self.crowd {
                let known = crowd.owed.entry(place).or_default();
                *known = owed.max(*known);
                crowd.index.insert(theirs.user, place);
            }
            match known.and_then(|known| self.members.get_mut(known)) {
                Some(ours) => ours.merge(theirs, newer),
                None => self.members.push(theirs),
            }
        }
        if newer {
            self.group = other.group;
        }
    }

    /// A state of a group as of change `seq` names everybody who has a mailbox there: whom it does not name has none.
    fn retire_unnamed(&mut self, named: &Crowd, seq: u64) {
        for member in self.members.iter_mut().filter(|member| !named.index.contains_key(&member.user)) {
            member.to = member.to.min(seq);
            member.cursors.clear();
        }
    }

    /// Appends the cursors that moved since the last call, and takes note that they are written. For a group see
    /// [`Conversation::encode_members`].
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

    /// The same of a group: the last change that is known here, and the members that moved, by name, each with all its
    /// mailboxes.
    pub fn encode_members(&mut self, dir: &Directory, out: &mut Vec<u8>) {
        let Some(crowd) = &mut self.crowd else { return };
        let (moved, retired) = (std::mem::take(&mut crowd.moved), std::mem::take(&mut crowd.retired));
        out.extend_from_slice(&self.id);
        put_u64(out, self.group.as_ref().map_or(0, |group| group.seq));
        put_u64(out, moved.len() as u64);
        for index in moved {
            let owed = self.owed(index as usize).unwrap_or(0);
            let Some(member) = self.members.get_mut(index as usize) else { continue };
            member.listed = false;
            member.cursors.iter_mut().for_each(|c| c.unset(mark::DIRTY));
            put_bytes(out, dir.name(member.user).as_bytes());
            put_progress(member, out);
            put_u64(out, owed);
            let back = |device: u16| member.cursor(device).is_some();
            let retired = retired.iter().filter(|r| r.0 == index && !back(r.1.device)).map(|r| &r.1);
            let cursors: SmallVec<[&Cursor; 4]> = member.cursors.iter().chain(retired).collect();
            put_marked(&cursors, member.delivered, out);
        }
    }

    /// Takes over what [`Conversation::encode_members`] wrote after the id; gives the highest number in it. Without a
    /// conversation, or a member: passes over it.
    pub fn apply_members(
        mut conversation: Option<&mut Self>,
        dir: &mut Directory,
        reader: &mut Reader<'_>,
    ) -> Option<u64> {
        let known = reader.u64()?;
        let mut highest = known;
        for _ in 0..reader.count()? {
            let user = dir.find(reader.str()?);
            let mut theirs = Member::new(0, 0, 0);
            read_progress(&mut theirs, reader)?;
            let owed = reader.u64()?;
            theirs.cursors = read_marked(reader)?;
            highest = theirs.cursors.iter().map(|c| c.acked).chain([highest, theirs.delivered, theirs.read]).max()?;
            let Some(conversation) = &mut conversation else { continue };
            let Some(index) = user.and_then(|user| conversation.member(user, 0)) else { continue };
            if owed > 0
                && let Some(crowd) = &mut conversation.crowd
            {
                let before = crowd.owed.entry(index as u32).or_default();
                *before = owed.max(*before);
            }
            if let Some(member) = conversation.members.get_mut(index) {
                member.merge_progress(&theirs);
                // Who came by a change that stands before this, and was not known yet, has mailboxes that are not in it.
                member.merge_cursors(&theirs.cursors, member.from <= known);
            }
        }
        Some(highest)
    }

    /// Passes over what [`Conversation::encode_moved`] wrote after the id; gives the highest number in it.
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
    /// See [`Conversation::merge`].
    fn merge(&mut self, theirs: Self, newer: bool) {
        self.merge_progress(&theirs);
        self.merge_cursors(&theirs.cursors, newer);
        let mut rare = theirs.rare;
        if newer {
            (self.from, self.to) = (theirs.from, theirs.to);
        } else if let Some(Rare { earlier, .. }) = self.rare.take().map(|rare| *rare) {
            // What it will never have stands in full states alone.
            rare.get_or_insert_default().earlier = earlier;
        } else if let Some(rare) = &mut rare {
            rare.earlier.clear();
        }
        self.rare = rare;
        self.tidy();
    }

    fn merge_progress(&mut self, theirs: &Self) {
        self.delivered = self.delivered.max(theirs.delivered);
        self.read = self.read.max(theirs.read);
        self.version = self.version.max(theirs.version);
        self.read_version = self.read_version.max(theirs.read_version);
    }

    /// Raises the cursors; if they are `all` that there are, others go.
    fn merge_cursors(&mut self, theirs: &[Cursor], all: bool) {
        if all {
            self.cursors.retain(|c| theirs.iter().any(|t| t.device == c.device));
        }
        theirs.iter().for_each(|c| self.set_cursor(c));
    }

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
            cursor.marks = known.marks;
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

/// All cursors of a member, with their marks.
fn put_marked(cursors: &[&Cursor], delivered: u64, out: &mut Vec<u8>) {
    put_u64(out, cursors.len() as u64);
    for cursor in cursors {
        let (based, fresh) = (cursor.base > delivered, cursor.is(mark::FRESH));
        put_u64(out, u64::from(cursor.device) << 2 | u64::from(fresh) << 1 | u64::from(based));
        put_u64(out, cursor.acked);
        if based {
            put_u64(out, cursor.base);
        }
    }
}

fn read_marked(reader: &mut Reader<'_>) -> Option<SmallVec<[Cursor; 1]>> {
    let mut cursors = SmallVec::new();
    for _ in 0..reader.count()? {
        let head = reader.u64()?;
        let mut cursor = Cursor::new((head >> 2).try_into().ok()?, reader.u64()?);
        if head & 1 != 0 {
            cursor.base = reader.u64()?;
        }
        if head & 2 != 0 {
            cursor.set(mark::FRESH);
        }
        cursors.push(cursor);
    }
    Some(cursors)
}
