//! Mailboxes: each device of a user has a cursor in each conversation of the user, and nobody else has.

use super::Delivery;
use super::conversation::{Cursor, NONE};
use crate::engine::directory::Directory;

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

    /// After damage: a device of which a conversation knows nothing gets everything that is there, rather than nothing.
    pub fn fit_lost_devices(&mut self, dir: &Directory, user: u32) {
        let Some(known) = dir.get(user) else { return };
        for &slot in &known.conversations {
            let Some(conversation) = self.get_mut(slot) else { continue };
            let start = conversation.first - 1;
            for member in conversation.members.iter_mut().filter(|m| m.user == user) {
                for device in &known.devices {
                    member.add_device(device.id, start, 0);
                }
            }
            conversation.recount();
        }
    }

    /// The devices of a user that have a mailbox in a conversation; 0: one that waits for a device.
    pub fn devices(&self, slot: u32, user: u32) -> impl Iterator<Item = u16> + '_ {
        let members = self.get(slot).map(|c| &*c.members).unwrap_or_default();
        members.iter().filter(move |m| m.user == user).flat_map(|m| &m.cursors).map(|c| c.device)
    }

    fn fit(&mut self, dir: &Directory, slot: u32, user: u32, devices: &[u16]) -> bool {
        let Self { conversations, dirty, .. } = self;
        let Some(conversation) = conversations.get_mut(slot as usize) else { return false };
        let head = conversation.head;
        let mut gone: Vec<(usize, Cursor)> = Vec::new();
        let mut came = false;
        for index in 0..conversation.members.len() {
            let Some(member) = conversation.members.get(index).filter(|m| m.user == user) else { continue };
            let lacks = |&device: &u16| member.admits(device) && member.cursors.iter().all(|c| c.device != device);
            let base = if devices.iter().any(lacks) { conversation.unvouched(index) } else { 0 };
            let Some(member) = conversation.members.get_mut(index) else { continue };
            let strays: Vec<Cursor> =
                member.cursors.iter().filter(|c| c.device != 0 && !devices.contains(&c.device)).copied().collect();
            for stray in strays {
                member.drop_device(stray.device);
                gone.push((index, stray));
            }
            let new: Vec<u16> = devices.iter().copied().filter(|&d| member.add_device(d, head, base)).collect();
            for device in new {
                came = true;
                conversation.pass_own(index, device);
            }
        }
        if gone.is_empty() && !came {
            return false;
        }
        conversation.mark.change();
        if !conversation.dirty {
            conversation.dirty = true;
            dirty.push_back(slot);
        }
        for (index, cursor) in gone {
            self.note_orphaned(dir, slot, index, cursor);
        }
        if let Some(conversation) = self.get_mut(slot) {
            conversation.recount();
        }
        self.connect(dir, slot);
        self.reclaim(slot);
        true
    }

    /// Points the cursors of members that are online at their receivers.
    pub(super) fn connect(&mut self, dir: &Directory, slot: u32) {
        let Self { conversations, receivers, .. } = self;
        let Some(conversation) = conversations.get_mut(slot as usize) else { return };
        for member in &mut conversation.members {
            for &r in dir.get(member.user).map(|u| &*u.receivers).unwrap_or_default() {
                let Some(receiver) = receivers.get(r as usize).filter(|r| r.receive) else { continue };
                if let Some(cursor) = member.cursor_mut(receiver.device).filter(|c| c.receiver == NONE) {
                    cursor.receiver = r;
                    cursor.sent = cursor.acked;
                }
            }
        }
        self.owe_all(slot, false);
    }
}
