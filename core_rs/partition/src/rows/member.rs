//! A user in a conversation: its intervals, its mailboxes' cursors, its receipts, and what it will never have.

use smallvec::SmallVec;
use wire::types::{Role, SkipReason};

use crate::bytes::{Malformed, Read, Reader, put_bytes, put_flag, put_u64};
use crate::ids::{DeviceId, UserSlot};
use crate::names::Names;
use crate::rows::group;

/// Most ranges that are kept of skips, withheld messages and past intervals of one member. When there are more, the two
/// oldest become one with what lies between: that costs ticks, and claims nothing.
pub const MAX_RANGES: usize = 256;

/// The end of an interval that is not over.
pub const OPEN: u64 = u64::MAX;

/// A mailbox's place in the conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cursor {
    /// 0: the user has no device yet; its first one takes this mailbox.
    pub device: DeviceId,
    /// The group's snapshot comes before its next message.
    pub fresh: bool,
    /// Lazy: everything up to here is acknowledged.
    pub acked: u64,
    /// When the mailbox began, the last message that no device of its user had: it vouches for nothing up to here, until
    /// the user's other devices have that (I7). 0: it vouches for everything.
    pub base: u64,
}

impl Cursor {
    /// A mailbox that has everything up to `acked`.
    pub fn new(device: DeviceId, acked: u64) -> Self {
        Self { device, fresh: false, acked, base: 0 }
    }
}

/// A reason of a skip from its number in a row.
pub(crate) fn skip_reason(value: u8) -> Read<SkipReason> {
    match value {
        1 => Ok(SkipReason::Expired),
        2 => Ok(SkipReason::Cap),
        3 => Ok(SkipReason::NoBody),
        4 => Ok(SkipReason::Lost),
        _ => Err(Malformed::Value("a reason of a skip")),
    }
}

/// Messages that a member will never have on any device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SkipRange {
    /// First.
    pub from: u64,
    /// Last.
    pub to: u64,
    /// Why.
    pub reason: SkipReason,
    /// Receipt version under which the authors are notified.
    pub version: u64,
}

/// What most members have none of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rare {
    /// What it will never have, until the authors have seen that.
    pub skips: Vec<SkipRange>,
    /// Intervals that are over, in order: first and last message.
    pub earlier: Vec<(u64, u64)>,
    /// Messages withheld from it because it blocks their author: ranges in order.
    pub withheld: Vec<(u64, u64)>,
}

/// See the module.
#[derive(Clone, Debug, PartialEq)]
pub struct Member {
    /// Who.
    pub user: UserSlot,
    /// In a device conversation the user's only device here; else 0.
    pub only: DeviceId,
    /// In a group what it is; `None`: it is no member now, or this is no group.
    pub role: Option<Role>,
    /// In a group its rank in the order in which members came.
    pub rank: u32,
    /// The current or last interval: the first message that it sees …
    pub from: u64,
    /// … and the last, or [`OPEN`].
    pub to: u64,
    /// Lazy: the first of its devices has everything up to here that was not skipped.
    pub delivered: u64,
    /// Lazy: read up to here.
    pub read: u64,
    /// Lazy: receipt version of the latest change of `delivered`, `read` or `skips`.
    pub version: u64,
    /// Lazy: receipt version of the latest change of `read`.
    pub read_version: u64,
    /// Lazy, in a group: receipt version of the latest news for this member as an author, or of its own reading.
    pub owed: u64,
    /// See [`Rare`]; `None` when all of it is empty.
    pub rare: Option<Box<Rare>>,
    /// Its mailboxes, in the order in which they came.
    pub cursors: SmallVec<[Cursor; 1]>,
}

impl Member {
    /// A member from message `from` on, without mailboxes.
    pub fn new(user: UserSlot, only: DeviceId, from: u64) -> Self {
        Self {
            user,
            only,
            role: None,
            rank: 0,
            from,
            to: OPEN,
            delivered: 0,
            read: 0,
            version: 0,
            read_version: 0,
            owed: 0,
            rare: None,
            cursors: SmallVec::new(),
        }
    }

    /// The cursor of a device.
    pub fn cursor(&self, device: DeviceId) -> Option<&Cursor> {
        self.cursors.iter().find(|cursor| cursor.device == device)
    }

    /// The same, to change.
    pub fn cursor_mut(&mut self, device: DeviceId) -> Option<&mut Cursor> {
        self.cursors.iter_mut().find(|cursor| cursor.device == device)
    }

    /// Acknowledged numbers of its mailboxes that may lack something: when it left they want nothing above its last message.
    pub fn lacking(&self) -> impl Iterator<Item = u64> + '_ {
        self.cursors.iter().map(|cursor| cursor.acked).filter(|&acked| acked < self.to)
    }

    /// Whether a device of this user takes part.
    pub fn admits(&self, device: DeviceId) -> bool {
        self.only == 0 || self.only == device
    }

    /// Whether it is a member now.
    pub fn is_current(&self) -> bool {
        self.to == OPEN
    }

    /// Whether it was a member and each of its mailboxes has all that it was to get.
    pub fn is_gone(&self) -> bool {
        self.to != OPEN && self.cursors.iter().all(|cursor| cursor.acked >= self.to)
    }

    /// Whether a message lies in one of its intervals.
    pub fn sees(&self, seq: u64) -> bool {
        let inside = |&(from, to): &(u64, u64)| from <= seq && seq <= to;
        inside(&(self.from, self.to)) || self.earlier().iter().any(inside)
    }

    /// All intervals, in order.
    pub fn intervals(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        self.earlier().iter().copied().chain([(self.from, self.to)])
    }

    /// Intervals that are over, in order.
    pub fn earlier(&self) -> &[(u64, u64)] {
        self.rare.as_ref().map_or(&[], |rare| &rare.earlier)
    }

    /// What it will never have.
    pub fn skips(&self) -> &[SkipRange] {
        self.rare.as_ref().map_or(&[], |rare| &rare.skips)
    }

    /// Whether it will never have this message.
    pub fn skips_seq(&self, seq: u64) -> bool {
        self.skips().iter().any(|range| range.from <= seq && seq <= range.to)
    }

    /// What is withheld from it.
    pub fn withheld(&self) -> &[(u64, u64)] {
        self.rare.as_ref().map_or(&[], |rare| &rare.withheld)
    }

    /// The skips that authors are told, before a receipt that passes them. What was withheld is one as soon as a receipt passes
    /// it: to its author it looks like a message that was not collected.
    pub fn told_skips(&self) -> impl Iterator<Item = SkipRange> + '_ {
        let (delivered, version) = (self.delivered, self.version);
        let withheld = self.withheld().iter().filter(move |range| range.1 <= delivered);
        let passed = move |&(from, to): &(u64, u64)| SkipRange { from, to, reason: SkipReason::Expired, version };
        self.skips().iter().copied().chain(withheld.map(passed))
    }

    /// Notes that messages `from..=to` will never come, as far as they lie in its intervals.
    pub fn skip(&mut self, range: SkipRange) {
        let parts: SmallVec<[(u64, u64); 2]> = self
            .intervals()
            .map(|(from, to)| (from.max(range.from), to.min(range.to)))
            .filter(|(from, to)| from <= to)
            .collect();
        for (from, to) in parts {
            self.push_skip(SkipRange { from, to, ..range });
        }
    }

    fn push_skip(&mut self, range: SkipRange) {
        self.version = self.version.max(range.version);
        push_skip(&mut self.rare.get_or_insert_default().skips, range);
    }

    /// Forgets skips of which everybody concerned has seen the version. One above `delivered` stays: the claim that passes it
    /// later must find it.
    pub fn forget_skips(&mut self, seen: u64) {
        let delivered = self.delivered;
        if let Some(rare) = &mut self.rare {
            rare.skips.retain(|range| range.version > seen || range.to > delivered);
        }
        self.tidy();
    }

    /// Message `seq` is withheld from it.
    pub fn withhold(&mut self, seq: u64) {
        push_range(&mut self.rare.get_or_insert_default().withheld, seq, seq);
    }

    /// It begins an interval at message `seq`, with at least these devices (none: a mailbox waits for the first). A mailbox
    /// that had everything of the interval before is empty; one that had not keeps what it lacks, and then a device that is new
    /// here vouches for nothing before `seq` (I7). Devices that ended are taken out by a record of their own.
    pub fn enter(&mut self, seq: u64, devices: &[DeviceId], version: u64) {
        let returns = self.to != OPEN;
        let ended = if returns { self.to } else { seq - 1 };
        let behind = self.cursors.iter().any(|cursor| cursor.acked < ended);
        if returns {
            let lowest = self.cursors.iter().map(|cursor| cursor.acked).min().unwrap_or(OPEN);
            let before = (self.from, self.to);
            self.push_interval(before, lowest, version);
            (self.from, self.to) = (seq, OPEN);
        }
        for cursor in &mut self.cursors {
            if cursor.acked >= ended {
                cursor.acked = cursor.acked.max(seq - 1);
            }
            cursor.fresh = true;
        }
        let base = if behind { seq - 1 } else { 0 };
        if !behind {
            // What was sent before it came is not for it.
            self.delivered = self.delivered.max(seq - 1);
            self.cursors.iter_mut().for_each(|cursor| cursor.base = 0);
        }
        let nobody = self.cursors.is_empty() && devices.is_empty();
        for &device in if nobody { &[0][..] } else { devices } {
            if self.cursor(device).is_none() {
                self.cursors.push(Cursor { fresh: true, base, ..Cursor::new(device, seq - 1) });
            }
        }
        self.tidy();
    }

    /// An interval is over and another begins. Past intervals in which no mailbox lacks anything answer questions about old
    /// messages; above the bound they are forgotten. What is lacked of one that goes is a skip, never a claim.
    fn push_interval(&mut self, interval: (u64, u64), lowest: u64, version: u64) {
        let earlier = &mut self.rare.get_or_insert_default().earlier;
        earlier.push(interval);
        if earlier.len() > PAST_INTERVALS {
            earlier.retain(|interval| interval.1 > lowest);
        }
        if earlier.len() > MAX_RANGES {
            let oldest = earlier.remove(0);
            let from = oldest.0.max(self.delivered.saturating_add(1));
            if from <= oldest.1 {
                self.push_skip(SkipRange { from, to: oldest.1, reason: SkipReason::Expired, version });
            }
        }
    }

    /// Its interval ends with message `seq`, which it still gets. A mailbox that waits for a first device ends: nobody will
    /// have what is in it.
    pub fn leave(&mut self, seq: u64, version: u64) {
        if !self.is_current() {
            return;
        }
        (self.to, self.role) = (seq, None);
        if let Some(waiting) = self.cursor(0).map(|cursor| cursor.acked) {
            self.cursors.retain(|cursor| cursor.device != 0);
            let from = waiting.max(self.delivered).saturating_add(1);
            self.skip(SkipRange { from, to: seq, reason: SkipReason::Expired, version });
        }
    }

    /// A device's mailbox begins; the one that waits for a first device is taken over.
    pub fn begin_mailbox(&mut self, device: DeviceId, acked: u64, base: u64, fresh: bool) {
        if !self.admits(device) || self.cursor(device).is_some() {
            return;
        }
        match self.cursor_mut(0) {
            Some(waiting) => waiting.device = device,
            None => self.cursors.push(Cursor { fresh, base, ..Cursor::new(device, acked) }),
        }
    }

    /// A device's mailbox ends; that of the only device of a current member waits for the next device.
    pub fn end_mailbox(&mut self, device: DeviceId) {
        let current = self.is_current();
        match self.cursors.as_mut_slice() {
            [only] if only.device == device && current && self.only == 0 => only.device = 0,
            _ => self.cursors.retain(|cursor| cursor.device != device),
        }
    }

    fn tidy(&mut self) {
        self.rare.take_if(|rare| **rare == Rare::default());
    }

    /// Appends its part of the conversation's row.
    pub(super) fn encode(&self, names: &Names, out: &mut Vec<u8>) {
        put_bytes(out, names.text(self.user).as_bytes());
        put_u64(out, u64::from(self.only));
        out.push(self.role.map_or(0, |role| role as u8 + 1));
        put_u64(out, u64::from(self.rank));
        put_u64(out, self.from);
        put_u64(out, self.to.wrapping_add(1));
        for value in [self.delivered, self.read, self.version, self.read_version, self.owed] {
            put_u64(out, value);
        }
        put_u64(out, self.cursors.len() as u64);
        for cursor in &self.cursors {
            put_u64(out, u64::from(cursor.device) << 1 | u64::from(cursor.fresh));
            put_u64(out, cursor.acked);
            put_u64(out, cursor.base);
        }
        put_flag(out, self.rare.is_some());
        let Some(rare) = &self.rare else { return };
        put_u64(out, rare.skips.len() as u64);
        for range in &rare.skips {
            put_u64(out, range.from);
            put_u64(out, range.to);
            out.push(range.reason as u8);
            put_u64(out, range.version);
        }
        for ranges in [&rare.earlier, &rare.withheld] {
            put_u64(out, ranges.len() as u64);
            for &(from, to) in ranges {
                put_u64(out, from);
                put_u64(out, to);
            }
        }
    }

    pub(super) fn decode(reader: &mut Reader<'_>, names: &mut Names) -> Read<Self> {
        let name = reader.str()?;
        let only = reader.u16()?;
        let role = match reader.u8()? {
            0 => None,
            value => Some(group::role(value - 1)?),
        };
        let (rank, from, to) = (reader.u32()?, reader.u64()?, reader.u64()?.wrapping_sub(1));
        let mut progress = [0; 5];
        for value in &mut progress {
            *value = reader.u64()?;
        }
        let [delivered, read, version, read_version, owed] = progress;
        let mut cursors = SmallVec::new();
        for _ in 0..reader.count()? {
            let head = reader.u32()?;
            let device = u16::try_from(head >> 1).map_err(|_| Malformed::Value("a device number"))?;
            cursors.push(Cursor { device, fresh: head & 1 != 0, acked: reader.u64()?, base: reader.u64()? });
        }
        let rare = if reader.flag()? { Some(Box::new(decode_rare(reader)?)) } else { None };
        // Held last: what fails before has no reference to give back.
        let user = names.hold(name);
        Ok(Self { user, only, role, rank, from, to, delivered, read, version, read_version, owed, rare, cursors })
    }
}

fn decode_rare(reader: &mut Reader<'_>) -> Read<Rare> {
    let mut rare = Rare::default();
    for _ in 0..reader.count()? {
        let (from, to) = (reader.u64()?, reader.u64()?);
        let reason = skip_reason(reader.u8()?)?;
        rare.skips.push(SkipRange { from, to, reason, version: reader.u64()? });
    }
    for ranges in [&mut rare.earlier, &mut rare.withheld] {
        for _ in 0..reader.count()? {
            ranges.push((reader.u64()?, reader.u64()?));
        }
    }
    if rare == Rare::default() { Err(Malformed::Value("a rare part without content")) } else { Ok(rare) }
}

fn push_skip(list: &mut Vec<SkipRange>, range: SkipRange) {
    if list.iter().any(|known| known.from <= range.from && range.to <= known.to) {
        return;
    }
    match list.last_mut() {
        Some(last) if last.reason == range.reason && (last.from..=last.to.saturating_add(1)).contains(&range.from) => {
            last.to = last.to.max(range.to);
            last.version = last.version.max(range.version);
        }
        _ => list.push(range),
    }
    if list.len() > MAX_RANGES {
        let oldest = list.remove(0);
        if let Some(next) = list.first_mut() {
            (next.from, next.to) = (next.from.min(oldest.from), next.to.max(oldest.to));
            next.version = next.version.max(oldest.version);
        }
    }
}

fn push_range(list: &mut Vec<(u64, u64)>, from: u64, to: u64) {
    match list.last_mut() {
        Some(last) if from <= last.1.saturating_add(1) => last.1 = last.1.max(to),
        _ => list.push((from, to)),
    }
    if list.len() > MAX_RANGES {
        let oldest = list.remove(0);
        if let Some(next) = list.first_mut() {
            next.0 = oldest.0;
        }
    }
}

/// Past intervals in which nothing waits that are kept all the same.
const PAST_INTERVALS: usize = 16;
