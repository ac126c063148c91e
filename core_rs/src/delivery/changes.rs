//! Members come and go: what a change of a group means for mailboxes.
//!
//! Who comes sees the group from that change on, and gets its snapshot before the first message. Who goes sees its own
//! going and nothing after it; its mailboxes are no more once they have passed that. Members keep their place in the list
//! while the conversation is in memory, since messages name their authors by it.

use std::collections::HashSet;

use smallvec::SmallVec;

use super::Delivery;
use super::conversation::{Conversation, Cursor, Member, NONE, SkipRange, mark};
use crate::engine::directory::Directory;
use crate::group::{Change, Moved};
use crate::wire::types::SkipReason;

/// Members of old whose places are kept, because there may be news of them; above this, places are given to others. That
/// costs a tick, and claims nothing.
const MAX_GONE: usize = 1024;
/// When so many more went since places were looked for that may be given away, they are looked for again.
const MORE_GONE: usize = 256;

impl Delivery {
    /// A change of a group, message `seq`, is to be seen; before the message itself is. One that was seen before changes
    /// nothing. Who comes has `mailboxes` for these devices, as (user, device); for all of its devices if they are not given.
    /// Gives the members that went.
    pub fn change(
        &mut self,
        dir: &mut Directory,
        slot: u32,
        seq: u64,
        actor: u32,
        change: &Change,
        mailboxes: Option<&[(u32, u16)]>,
    ) -> Vec<usize> {
        let Some(conversation) = self.get_mut(slot) else { return Vec::new() };
        let Some(group) = &mut conversation.group else { return Vec::new() };
        let Moved { came, went } = group.apply(seq, actor, change);
        conversation.mark.change();
        went.iter().for_each(|&user| conversation.note_devices(dir, user));
        let went: Vec<usize> = went.into_iter().filter_map(|user| conversation.exit(user, seq)).collect();
        let came: Vec<u32> = came.into_iter().map(|user| self.enter(dir, slot, user, seq, mailboxes)).collect();
        self.remind(dir, slot, &came);
        self.note_dirty(slot);
        went
    }

    /// A user becomes a member with message `seq`.
    fn enter(&mut self, dir: &mut Directory, slot: u32, user: u32, seq: u64, mailboxes: Option<&[(u32, u16)]>) -> u32 {
        let Some(conversation) = self.conversations.get_mut(slot as usize) else { return NONE };
        let devices: SmallVec<[u16; 4]> = match mailboxes {
            Some(given) => given.iter().filter(|mailbox| mailbox.0 == user).map(|mailbox| mailbox.1).collect(),
            None => dir.get(user).filter(|u| u.known).into_iter().flat_map(|u| &u.devices).map(|d| d.id).collect(),
        };
        let index = conversation.admit(dir, slot, user, seq, &devices);
        if let Some(user) = dir.get_mut(user)
            && !user.conversations.contains(&slot)
        {
            user.conversations.push(slot);
        }
        self.connect_member(dir, slot, index);
        index as u32
    }

    /// Who comes may have been here before, and written what others will never have: while it was away that was not told.
    fn remind(&mut self, dir: &Directory, slot: u32, came: &[u32]) {
        let Some(conversation) = self.conversations.get_mut(slot as usize) else { return };
        let skipping = conversation.members.iter().any(|m| !m.skipped().is_empty());
        if came.is_empty() || !skipping {
            return;
        }
        self.version += 1;
        for member in conversation.members.iter_mut().filter(|m| !m.skipped().is_empty()) {
            member.version = self.version;
            member.rare.iter_mut().flat_map(|rare| &mut rare.skipped).for_each(|range| range.version = self.version);
        }
        if let Some(crowd) = &mut conversation.crowd {
            crowd.reminded = true;
        }
        self.effects.floors.push(slot);
        self.announce(dir, slot, None, came);
    }

    /// Mailboxes of members who went and have all that they were to get are no more; nor are those that wait for a first
    /// device, and the authors of what waited in these are told. The users stay in memory as long as the conversation does,
    /// or as their places in it: both name them by their slots, which would become somebody else's.
    pub(super) fn retire(&mut self, dir: &Directory, slot: u32, indices: &[usize]) {
        let version = self.version + 1;
        let Some(conversation) = self.get_mut(slot) else { return };
        let mut lowest = u64::MAX;
        for &index in indices {
            for (from, to) in conversation.forsaken(index) {
                lowest = lowest.min(from);
                if let Some(member) = conversation.members.get_mut(index) {
                    member.skip(SkipRange { from, to, reason: SkipReason::Expired, version });
                }
            }
            conversation.retire(index);
        }
        if lowest < u64::MAX {
            let authors = conversation.authors(lowest..=conversation.head, usize::MAX);
            self.version = version;
            self.effects.floors.push(slot);
            self.announce(dir, slot, None, &authors);
        }
    }

    /// Who came and went before either could be seen may have devices that came in between: they have what waits.
    fn hand_to_devices(&mut self, dir: &Directory, slot: u32, index: usize) {
        let Some(conversation) = self.get_mut(slot) else { return };
        let Some(member) = conversation.members.get(index).filter(|m| !m.is_current()) else { return };
        let (Some(waiting), Some(user)) = (member.cursor(0).map(|c| c.acked), dir.get(member.user)) else { return };
        for device in &user.devices {
            conversation.add_device(index, device.id, waiting, 0);
            conversation.list(index);
        }
    }

    /// After the log was read: members are those of the group, whatever was missing.
    pub fn reconcile(&mut self, dir: &mut Directory, slot: u32) {
        let Some(conversation) = self.get_mut(slot) else { return };
        let Some(group) = &conversation.group else { return };
        let (seq, first) = (group.seq, conversation.first);
        let members: Vec<u32> = group.members.iter().map(|m| m.0).collect();
        let strays = conversation.members.iter().filter(|m| m.is_current() && group.role(m.user).is_none());
        let strays: Vec<u32> = strays.map(|m| m.user).collect();
        for user in strays {
            conversation.exit(user, seq);
        }
        for user in members {
            let known = self.get(slot).and_then(|c| c.members.get(c.member(user, 0)?));
            if known.is_none_or(|m| !m.is_current() || m.cursors.is_empty()) {
                self.enter(dir, slot, user, first, None);
            }
        }
        let all: Vec<usize> = (0..self.get(slot).map_or(0, |c| c.members.len())).collect();
        all.iter().for_each(|&index| self.hand_to_devices(dir, slot, index));
        self.retire(dir, slot, &all);
        let reminded = self.get_mut(slot).and_then(|c| c.crowd.as_mut()).map(|c| std::mem::take(&mut c.reminded));
        if reminded == Some(true) {
            // While the log is read nobody knows yet which versions were told.
            let all: Vec<u32> = all.iter().map(|&index| index as u32).collect();
            self.remind(dir, slot, &all);
        }
        // All of them are named by their slots, those too who went.
        let users: Vec<u32> = self.get(slot).into_iter().flat_map(|c| &c.members).map(|m| m.user).collect();
        for user in users {
            if let Some(user) = dir.get_mut(user)
                && !user.conversations.contains(&slot)
            {
                user.conversations.push(slot);
            }
        }
        // Who came with a change that was not to be seen when its cursor was logged has not seen the snapshot either.
        for member in self.get_mut(slot).into_iter().flat_map(|c| &mut c.members).filter(|m| m.is_current()) {
            let from = member.from;
            member.cursors.iter_mut().filter(|c| c.acked < from).for_each(|c| c.set(mark::FRESH));
        }
    }
}

impl Conversation {
    /// Devices that came when the user was let in and nobody could see it yet: in the log they stand behind that, and after a
    /// start have no mailbox here. Before their user goes they get one.
    fn note_devices(&mut self, dir: &Directory, user: u32) {
        let Some(index) = self.member(user, 0) else { return };
        let Some(before) = self.members.get(index).filter(|m| m.is_current()).map(|m| m.from.saturating_sub(1)) else {
            return;
        };
        for device in dir.get(user).filter(|u| u.known).map(|u| &*u.devices).unwrap_or_default() {
            self.add_device(index, device.id, before, 0);
        }
    }

    /// A user is no member any more after message `seq`; where it stands.
    fn exit(&mut self, user: u32, seq: u64) -> Option<usize> {
        let index = self.member(user, 0)?;
        let member = self.members.get_mut(index)?;
        member.to = member.to.min(seq);
        self.list(index);
        Some(index)
    }

    /// A user is a member from message `seq` on, with a mailbox for each of these devices; where it stands.
    fn admit(&mut self, dir: &mut Directory, slot: u32, user: u32, seq: u64, devices: &[u16]) -> usize {
        let index = match self.member(user, 0) {
            Some(index) => {
                // Mailboxes that collected all of the last interval went with it; while the log is read they are here still.
                let to = self.members.get(index).map_or(u64::MAX, |m| m.to);
                self.remove_passed(index, |c| c.acked >= to && c.device != 0);
                if let Some(crowd) = &mut self.crowd
                    && self.members.get(index).is_some_and(Member::is_gone)
                {
                    crowd.gone = crowd.gone.saturating_sub(1);
                    crowd.free.retain(|&free| free as usize != index);
                }
                index
            }
            None => self.seat(dir, slot, Member::new(user, 0, seq)),
        };
        let behind = self.members.get(index).is_some_and(|m| !m.cursors.is_empty());
        let base = if behind { self.unvouched(index) } else { 0 };
        if let Some(member) = self.members.get_mut(index) {
            member.enter(seq);
            if !behind {
                // What was said before it came is not for it: nobody is to be told that it has that.
                member.delivered = member.delivered.max(seq.saturating_sub(1));
            }
        }
        for &device in devices {
            self.add_device(index, device, seq.saturating_sub(1), base);
        }
        if self.members.get(index).is_some_and(|m| m.cursors.is_empty()) {
            self.wait_for_device(index, seq.saturating_sub(1));
        }
        self.refresh(index, u64::MAX, None);
        self.list(index);
        index
    }

    /// In a group: the member's mailboxes (or that of one device) that lack something up to `upto` get the snapshot first.
    pub(super) fn refresh(&mut self, index: usize, upto: u64, device: Option<u16>) {
        if self.group.is_none() {
            return;
        }
        let Some(member) = self.members.get_mut(index) else { return };
        let which = |c: &&mut Cursor| c.acked < upto && device.is_none_or(|device| device == c.device);
        for cursor in member.cursors.iter_mut().filter(which) {
            cursor.set(mark::FRESH);
            cursor.unset(mark::SHOWN);
        }
    }

    /// Gives a new member a place: a new one, or that of one who is gone.
    fn seat(&mut self, dir: &mut Directory, slot: u32, member: Member) -> usize {
        let user = member.user;
        let Self { members, crowd, entries, .. } = self;
        let Some(crowd) = crowd else {
            members.push(member);
            return members.len() - 1;
        };
        if crowd.free.is_empty() && crowd.gone > crowd.kept.max(MAX_GONE) {
            let authors: HashSet<u16> = entries.iter().map(|entry| entry.author).collect();
            let free = |&index: &u32| {
                let named = u16::try_from(index).is_ok_and(|index| authors.contains(&index));
                !named && members.get(index as usize).is_some_and(|m| m.is_gone() && !m.listed)
            };
            crowd.free = (0..members.len() as u32).filter(free).collect();
            // Last those who never had something: that would be forgotten.
            crowd.free.sort_by_key(|&index| members.get(index as usize).is_some_and(|m| m.skipped().is_empty()));
            crowd.kept = crowd.gone - crowd.free.len() + MORE_GONE;
        }
        let index = crowd.free.pop().unwrap_or(members.len() as u32);
        match members.get_mut(index as usize) {
            Some(gone) => {
                crowd.gone = crowd.gone.saturating_sub(1);
                crowd.owed.remove(&index);
                crowd.index.remove(&gone.user);
                if let Some(user) = dir.get_mut(gone.user) {
                    user.conversations.retain(|other| *other != slot);
                }
                *gone = member;
            }
            None => members.push(member),
        }
        crowd.index.insert(user, index);
        index as usize
    }

    /// What waits for a first device of a member who went: nobody will have it.
    fn forsaken(&self, index: usize) -> Vec<(u64, u64)> {
        let waits = |m: &&Member| !m.is_current() && m.cursor(0).is_some();
        let to = self.members.get(index).filter(waits).map_or(0, |m| m.to.min(self.head));
        self.lacked(index, 1..=to)
    }

    /// Takes away the mailboxes that passed the member's last interval, and one that waits for a device: nobody is there to
    /// see it end.
    fn retire(&mut self, index: usize) {
        let to = self.members.get(index).map_or(u64::MAX, |m| m.to);
        self.remove_passed(index, |c| c.acked >= to || c.device == 0);
    }

    /// Takes away the mailboxes of a member who went that are `over`.
    fn remove_passed(&mut self, index: usize, over: impl Fn(&Cursor) -> bool) {
        let Some(member) = self.members.get(index).filter(|m| !m.is_current() && !m.cursors.is_empty()) else {
            return;
        };
        let passed: Vec<Cursor> = member.cursors.iter().filter(|c| over(c)).copied().collect();
        for cursor in &passed {
            self.remove_cursor(index, cursor.device);
        }
        if passed.is_empty() {
            return;
        }
        self.list(index);
        let gone = self.members.get(index).is_some_and(Member::is_gone);
        if let Some(crowd) = &mut self.crowd {
            crowd.gone += usize::from(gone);
            crowd.retired.extend(passed.iter().filter(|c| c.device != 0).map(|cursor| (index as u32, *cursor)));
        }
    }
}
