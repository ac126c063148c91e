//! Mailboxes: each device of a user has a cursor in each conversation of the user, and nobody else has.

use smallvec::SmallVec;

use super::conversation::{Cursor, Member, NONE};
use super::{Delivery, owe};
use crate::engine::directory::Directory;
use crate::wire::types::SkipReason;

impl Delivery {
    /// Fits the mailboxes of a user in the conversations that are in memory to its devices: a new device takes part from
    /// here on, or inherits the mailbox that waits; one that is no more pins nothing. Gives the slots of the conversations
    /// that changed.
    pub fn fit_devices(&mut self, dir: &Directory, user: u32) -> Vec<u32> {
        let Some(known) = dir.get(user) else { return Vec::new() };
        let devices: Vec<u16> = known.devices.iter().map(|d| d.id).collect();
        let mut changed = Vec::new();
        for &slot in &known.conversations {
            if self.fit(dir, slot, user, &devices) {
                changed.push(slot);
            }
        }
        changed
    }

    /// The same in one conversation.
    pub fn fit_in(&mut self, dir: &Directory, slot: u32, user: u32) {
        if let Some(known) = dir.get(user).filter(|u| u.known) {
            let devices: SmallVec<[u16; 4]> = known.devices.iter().map(|d| d.id).collect();
            self.fit(dir, slot, user, &devices);
        }
    }

    /// Of a user only the name was known. A device of it that a group does not know came while the group was not in
    /// memory, or before that looked at its members: it gets what its user's other mailboxes have yet to get.
    pub fn fit_late_devices(&mut self, dir: &Directory, user: u32) {
        let Some(known) = dir.get(user) else { return };
        for &slot in &known.conversations {
            let Some(conversation) = self.get_mut(slot).filter(|c| c.group.is_some()) else { continue };
            let mut came = false;
            for index in conversation.indices_of(user) {
                let member = conversation.members.get(index).filter(|m| m.is_current());
                let Some(start) = member.and_then(|m| m.cursors.iter().map(|c| c.acked).min()) else { continue };
                for device in &known.devices {
                    if conversation.add_device(index, device.id, start, 0) {
                        conversation.refresh(index, u64::MAX, Some(device.id));
                        conversation.list(index);
                        came = true;
                    }
                }
            }
            if came {
                conversation.mark.change();
                self.note_dirty(slot);
            }
        }
    }

    /// After damage: a device of which a conversation knows nothing gets everything that is there, rather than nothing, and is
    /// told of what was lost before.
    pub fn fit_lost_devices(&mut self, dir: &Directory, user: u32) {
        let Some(known) = dir.get(user) else { return };
        for &slot in &known.conversations {
            let Some(conversation) = self.conversations.get_mut(slot as usize) else { continue };
            let lost = conversation.floor_reason == SkipReason::Lost;
            let start = if lost { 0 } else { conversation.first - 1 };
            for index in conversation.indices_of(user) {
                if !conversation.members.get(index).is_some_and(Member::is_current) {
                    continue;
                }
                for device in &known.devices {
                    if conversation.add_device(index, device.id, start, 0) {
                        conversation.pass_own(index, device.id);
                    }
                }
            }
            if !conversation.dirty {
                conversation.dirty = true;
                self.dirty.push_back(slot);
            }
            self.reclaim(slot);
        }
    }

    /// The devices of a user that have a mailbox in a conversation; 0: one that waits for a device.
    pub fn devices(&self, slot: u32, user: u32) -> impl Iterator<Item = u16> + '_ {
        let conversation = self.get(slot);
        let members =
            conversation.into_iter().flat_map(move |c| c.indices_of(user).into_iter().map(|i| c.members.get(i)));
        members.flatten().flat_map(|m| &m.cursors).map(|c| c.device)
    }

    fn fit(&mut self, dir: &Directory, slot: u32, user: u32, devices: &[u16]) -> bool {
        let Some(conversation) = self.conversations.get_mut(slot as usize) else { return false };
        let head = conversation.head;
        let mut gone: Vec<(usize, Cursor)> = Vec::new();
        let mut came = false;
        let indices = conversation.indices_of(user);
        for &index in &indices {
            let Some(member) = conversation.members.get(index) else { continue };
            let (current, waiting) = (member.is_current(), member.cursor(0).map(|c| c.acked));
            let lacks = |&device: &u16| current && member.admits(device) && member.cursor(device).is_none();
            let new: SmallVec<[u16; 4]> = devices.iter().copied().filter(|d| lacks(d)).collect();
            let base = if new.is_empty() { 0 } else { conversation.unvouched(index) };
            let strays: SmallVec<[Cursor; 2]> =
                member.cursors.iter().filter(|c| c.device != 0 && !devices.contains(&c.device)).copied().collect();
            for stray in strays {
                if current {
                    conversation.drop_device(index, stray.device);
                } else {
                    conversation.remove_cursor(index, stray.device);
                }
                gone.push((index, stray));
            }
            // Who became a member of a group before its devices were known: all of them get what waits.
            let start = waiting.filter(|_| conversation.group.is_some());
            for device in new {
                let base = if start.is_some() { 0 } else { base };
                if conversation.add_device(index, device, start.unwrap_or(head), base) {
                    came = true;
                    conversation.refresh(index, u64::MAX, Some(device));
                    conversation.pass_own(index, device);
                }
            }
        }
        if gone.is_empty() && !came {
            return false;
        }
        conversation.mark.change();
        indices.iter().for_each(|&index| conversation.list(index));
        self.note_dirty(slot);
        for (index, cursor) in gone {
            self.note_orphaned(dir, slot, index, cursor);
        }
        for index in indices {
            self.connect_member(dir, slot, index);
        }
        self.reclaim(slot);
        true
    }

    /// Points the cursors of members that are online at their receivers.
    pub(super) fn connect(&mut self, dir: &Directory, slot: u32) {
        for index in 0..self.get(slot).map_or(0, |c| c.members.len()) {
            self.connect_member(dir, slot, index);
        }
    }

    /// The same for one of them.
    pub(super) fn connect_member(&mut self, dir: &Directory, slot: u32, index: usize) {
        let Self { conversations, receivers, run, .. } = self;
        let Some(conversation) = conversations.get_mut(slot as usize) else { return };
        let Some(user) = conversation.members.get(index).and_then(|m| dir.get(m.user)) else { return };
        for &r in &user.receivers {
            let Some(device) = receivers.get(r as usize).filter(|r| r.receive).map(|r| r.device) else { continue };
            let Some(cursor) = conversation.cursor(index, device).filter(|c| c.online == NONE) else { continue };
            let waits = cursor.acked < conversation.head;
            conversation.link(index, device, r, waits);
            if waits {
                owe(receivers, run, r, (slot, index as u32));
            }
        }
    }
}
