//! A conversation: its head and floor, its members, and for a group what all of them share.

use smallvec::SmallVec;
use thin_vec::ThinVec;
pub use wire::ids::Kind;
use wire::types::{Role, SkipReason};

use super::VERSION;
use super::group::Group;
use super::member::{Member, skip_reason};
use crate::bytes::{Malformed, Read, Reader, put_u64};
use crate::ids::{DeviceId, MemberIndex, UserSlot};
use crate::names::Names;

/// See the module. The id is its key.
#[derive(Clone, Debug, PartialEq)]
pub struct Conversation {
    /// What it is.
    pub kind: Kind,
    /// Counts records, wrapping.
    pub changes: u16,
    /// The last number given.
    pub head: u64,
    /// The lowest message that was not dropped by age or cap: a cursor below `floor - 1` lacks what lies between for good.
    pub floor: u64,
    /// Why the floor is where it is.
    pub floor_reason: SkipReason,
    /// Messages at or above the floor that cannot be read any more: ranges in order.
    pub lost: Vec<(u64, u64)>,
    /// Numbers that no message has, where a generation ended: ranges in order, as long as a mailbox may stand below.
    pub gaps: ThinVec<(u64, u64)>,
    /// Who takes part, or did and is still referred to. Places are stable: messages name their author by place.
    pub members: SmallVec<[Option<Member>; 2]>,
    /// `Some` exactly for [`Kind::Group`].
    pub group: Option<Box<Group>>,
}

impl Conversation {
    /// One in which nothing happened yet.
    pub fn new(kind: Kind) -> Self {
        let group = (kind == Kind::Group).then(Box::default);
        Self {
            kind,
            changes: 0,
            head: 0,
            floor: 1,
            floor_reason: SkipReason::Expired,
            lost: Vec::new(),
            gaps: ThinVec::new(),
            members: SmallVec::new(),
            group,
        }
    }

    /// Places with a member, and the members.
    pub fn iter(&self) -> impl Iterator<Item = (MemberIndex, &Member)> {
        let members = self.members.iter().enumerate();
        members.filter_map(|(place, member)| Some((MemberIndex::new(place), member.as_ref()?)))
    }

    /// The member at a place.
    pub fn member(&self, index: MemberIndex) -> Option<&Member> {
        self.members.get(index.place())?.as_ref()
    }

    /// The same, to change.
    pub fn member_mut(&mut self, index: MemberIndex) -> Option<&mut Member> {
        self.members.get_mut(index.place())?.as_mut()
    }

    /// The place of a user's device among the members, looked for from the first on; `device` 0: of any of its devices.
    pub fn find(&self, user: UserSlot, device: DeviceId) -> Option<MemberIndex> {
        let fits = |member: &Member| member.user == user && (device == 0 || member.admits(device));
        self.iter().find(|(_, member)| fits(member)).map(|(index, _)| index)
    }

    /// Whether a message cannot be read any more.
    pub fn is_lost(&self, seq: u64) -> bool {
        self.lost.iter().any(|&(from, to)| from <= seq && seq <= to)
    }

    /// The number of the message after `seq`, or that the next one will have, as far as generations tell.
    pub fn after(&self, seq: u64) -> u64 {
        let next = seq.saturating_add(1);
        self.gaps.iter().find(|gap| gap.0 <= next && next <= gap.1).map_or(next, |gap| gap.1 + 1)
    }

    /// The number of the message before `seq`.
    pub fn before(&self, seq: u64) -> u64 {
        let last = seq.saturating_sub(1);
        self.gaps.iter().find(|gap| gap.0 <= last && last <= gap.1).map_or(last, |gap| gap.0 - 1)
    }

    /// The authors in a group are to be notified of skips with this version. Which authors a skip concerns depends on the
    /// messages, so every current member counts as one; what does not concern a member is left out when it is told.
    pub fn owe_all(&mut self, version: u64) {
        if self.kind == Kind::Group {
            for member in self.members.iter_mut().flatten().filter(|member| member.is_current()) {
                member.owed = member.owed.max(version);
            }
        }
    }

    /// Acknowledged numbers of the mailboxes that may lack something.
    pub fn lacking(&self) -> impl Iterator<Item = u64> + '_ {
        self.members.iter().flatten().flat_map(Member::lacking)
    }

    /// The lowest of them; `None`: no mailbox lacks anything.
    pub fn lowest(&self) -> Option<u64> {
        self.lacking().min()
    }

    /// Every user with a mailbox is known to have everything up to here.
    pub fn known(&self) -> u64 {
        let members = self.members.iter().flatten().filter(|m| !m.cursors.is_empty() && m.delivered < m.to);
        members.map(|member| member.delivered).min().unwrap_or(self.head)
    }

    /// Who owns a group.
    pub fn owner(&self) -> Option<MemberIndex> {
        self.iter().find(|(_, member)| member.role == Some(Role::Owner)).map(|(index, _)| index)
    }

    /// Members of a group in the order in which they came.
    pub fn in_order(&self) -> Vec<&Member> {
        let mut current: Vec<&Member> = self.iter().map(|(_, member)| member).filter(|m| m.role.is_some()).collect();
        current.sort_unstable_by_key(|member| member.rank);
        current
    }

    /// Appends the row's bytes.
    pub fn encode(&self, names: &Names, out: &mut Vec<u8>) {
        out.extend_from_slice(&[VERSION, self.kind as u8]);
        out.extend_from_slice(&self.changes.to_le_bytes());
        put_u64(out, self.head);
        put_u64(out, self.floor);
        out.push(self.floor_reason as u8);
        for ranges in [&self.lost[..], &self.gaps] {
            put_u64(out, ranges.len() as u64);
            for &(from, to) in ranges {
                put_u64(out, from);
                put_u64(out, to);
            }
        }
        put_u64(out, self.members.len() as u64);
        for member in &self.members {
            out.push(u8::from(member.is_some()));
            if let Some(member) = member {
                member.encode(names, out);
            }
        }
        if let Some(group) = &self.group {
            group.encode(out);
        }
    }

    /// Reads a row to the end of its bytes; the members' names are held.
    ///
    /// # Errors
    /// Whatever [`Conversation::encode`] does not write; no name is held then.
    pub fn decode(bytes: &[u8], names: &mut Names) -> Read<Self> {
        let mut members = SmallVec::new();
        let row = Self::read(bytes, names, &mut members);
        match row {
            Ok(row) => Ok(Self { members, ..row }),
            Err(error) => {
                members.iter().flatten().for_each(|member: &Member| {
                    names.release(member.user);
                });
                Err(error)
            }
        }
    }

    fn read(bytes: &[u8], names: &mut Names, members: &mut SmallVec<[Option<Member>; 2]>) -> Read<Self> {
        let reader = &mut Reader::new(bytes);
        super::version(reader, "conversation row")?;
        let mut row = Self::new(Kind::from_u8(reader.u8()?).ok_or(Malformed::Value("a kind of conversation"))?);
        row.changes = reader.fixed16()?;
        (row.head, row.floor) = (reader.u64()?, reader.u64()?);
        row.floor_reason = skip_reason(reader.u8()?)?;
        if row.head >= 1 << 53 {
            return Err(Malformed::Value("a number above 2^53"));
        }
        if row.floor == 0 || row.floor > row.head + 1 {
            return Err(Malformed::Value("a floor above its head"));
        }
        for _ in 0..reader.count()? {
            row.lost.push((reader.u64()?, reader.u64()?));
        }
        for _ in 0..reader.count()? {
            let gap = (reader.u64()?, reader.u64()?);
            let touches = row.gaps.last().is_some_and(|last| gap.0 <= last.1 + 1);
            if touches || gap.0 == 0 || gap.1 < gap.0 || gap.1 > row.head {
                return Err(Malformed::Value("gaps out of order"));
            }
            row.gaps.push(gap);
        }
        for _ in 0..reader.count()? {
            members.push(if reader.flag()? { Some(Member::decode(reader, names)?) } else { None });
        }
        if let Some(group) = &mut row.group {
            **group = Group::decode(reader)?;
        }
        reader.end()?;
        Ok(row)
    }
}
