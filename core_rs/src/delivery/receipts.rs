//! Receipts: cursors of others that a session has not been told of, by version.
//!
//! A session is told in the order of versions, so that its acknowledgement of one covers all before it. What is queued
//! for it is a hint: when there is too much, or after an absence, everything above the version that it was told is
//! gathered from its user's conversations. So what a session that takes nothing costs is bounded.

use slab::Slab;

use super::conversation::Conversation;
use super::{Delivery, Outlet, Receiver, queue};
use crate::engine::directory::Directory;
use crate::wire::types::ServerFrame;

/// Most receipts queued for a session before they are gathered anew instead.
pub const QUEUED: usize = 256;

impl Delivery {
    /// Member `index` of a conversation moved: the sessions of the others are told, of `authors` only if given and not
    /// empty; with `authors` (a read cursor) the user's own too.
    pub(super) fn notify(&mut self, dir: &Directory, slot: u32, index: usize, authors: Option<&[u32]>) {
        let Self { conversations, receivers, run, .. } = self;
        let Some(conversation) = conversations.get(slot as usize) else { return };
        for (other, member) in conversation.members.iter().enumerate() {
            let told = match authors {
                None => other != index,
                Some(authors) => other == index || authors.is_empty() || authors.contains(&member.user),
            };
            if !told {
                continue;
            }
            for &r in dir.get(member.user).map(|u| &*u.receivers).unwrap_or_default() {
                let Some(receiver) = receivers.get_mut(r as usize).filter(|r| member.admits(r.device)) else {
                    continue;
                };
                let item = (slot, index as u16);
                let receipts = &mut receiver.lists.get_or_insert_default().receipts;
                if receipts.last() != Some(&item) {
                    receipts.push(item);
                }
                if receipts.len() > QUEUED {
                    *receipts = Vec::new();
                    receiver.rescan = true;
                }
                queue(receivers, run, r);
            }
        }
    }

    /// Writes the receipts that a session lacks.
    pub(super) fn tell(&mut self, r: u32, dir: &Directory, out: &mut impl Outlet) {
        let Self { conversations, receivers, .. } = self;
        let Some(receiver) = receivers.get_mut(r as usize) else { return };
        let mut queued = receiver.lists.as_mut().map(|l| std::mem::take(&mut l.receipts)).unwrap_or_default();
        if queued.is_empty() && !receiver.rescan {
            return;
        }
        let (me, device, conn, told) = (receiver.user, receiver.device, receiver.conn, receiver.told);
        let mut items: Vec<(u64, u32, u16)> = Vec::new();
        let mut note = |slot: u32, index: usize, conversation: &Conversation| {
            if let Some(member) = conversation.members.get(index) {
                let version = if member.is(me, device) { member.read_version } else { member.version };
                if version > told && conversation.member(me, device).is_some() {
                    items.push((version, slot, index as u16));
                }
            }
        };
        if receiver.rescan {
            for &slot in dir.get(me).map(|u| &*u.conversations).unwrap_or_default() {
                if let Some(conversation) = conversations.get(slot as usize) {
                    (0..conversation.members.len()).for_each(|index| note(slot, index, conversation));
                }
            }
        } else {
            for &(slot, index) in &queued {
                if let Some(conversation) = conversations.get(slot as usize) {
                    note(slot, usize::from(index), conversation);
                }
            }
        }
        receiver.rescan = false;
        queued.clear();
        if let Some(lists) = &mut receiver.lists {
            // Its room serves the next ones.
            lists.receipts = queued;
        }
        items.sort_unstable();
        items.dedup();
        for &(version, slot, index) in &items {
            if let Some(conversation) = conversations.get(slot as usize) {
                tell_one(conversation, usize::from(index), (me, device), told, version, conn, dir, out);
            }
            receiver.told = version;
        }
        for (_, slot, index) in items {
            self.forget_skips(dir, slot, usize::from(index));
        }
    }

    /// Lets go of what a member will never have, once all who are to be told have acknowledged that.
    fn forget_skips(&mut self, dir: &Directory, slot: u32, index: usize) {
        let Self { conversations, receivers, .. } = self;
        let Some(conversation) = conversations.get_mut(slot as usize) else { return };
        if conversation.members.get(index).is_none_or(|m| m.skipped().is_empty()) {
            return;
        }
        let known = conversation.told_to_all(index, dir, receivers);
        if let Some(member) = conversation.members.get_mut(index) {
            member.forget_skips(known);
        }
    }
}

#[allow(clippy::too_many_arguments)]
fn tell_one(
    conversation: &Conversation,
    index: usize,
    me: (u32, u16),
    told: u64,
    version: u64,
    conn: u32,
    dir: &Directory,
    out: &mut impl Outlet,
) {
    let id = conversation.id;
    let Some(member) = conversation.members.get(index) else { return };
    let user = dir.name(member.user);
    if member.is(me.0, me.1) {
        let read = member.read;
        return out.frame(conn, &ServerFrame::Receipt { conversation: id, user, delivered: 0, read, version });
    }
    // What is read on one device says nothing of what only another one is to get.
    let (delivered, read) = (member.delivered, member.read.min(member.delivered));
    let mut latest = 0;
    for range in member.skipped().iter().filter(|range| range.version > told) {
        let (from, to, reason) = (range.from, range.to, range.reason);
        latest = latest.max(range.version);
        out.frame(conn, &ServerFrame::Skip { conversation: id, from, to, reason, user, version: range.version });
    }
    // Also when there is nothing to tell any more: the version is to be acknowledged.
    if delivered > 0 || read > 0 || latest < version {
        out.frame(conn, &ServerFrame::Receipt { conversation: id, user, delivered, read, version });
    }
}

impl Conversation {
    /// The receipt version that every receiving device of every other member has acknowledged, and every session of theirs
    /// was told; 0 when there is no such device.
    fn told_to_all(&self, index: usize, dir: &Directory, receivers: &Slab<Receiver>) -> u64 {
        let others = self.members.iter().enumerate().filter(|(other, _)| *other != index);
        let mut known = u64::MAX;
        for (_, member) in others {
            let Some(user) = dir.get(member.user) else { return 0 };
            let devices = user.devices.iter().filter(|d| d.receives && member.admits(d.id));
            let sessions = user.receivers.iter().filter_map(|&r| receivers.get(r as usize));
            let sessions = sessions.filter(|r| member.admits(r.device));
            let told = devices.map(|d| d.receipts).min().unwrap_or(0);
            known = known.min(told).min(sessions.map(|r| r.told).min().unwrap_or(u64::MAX));
        }
        known
    }

    /// Whether some receiving device has yet to acknowledge a receipt here, or may have to: its user is a stub.
    pub fn owes_receipts(&self, dir: &Directory) -> bool {
        self.members.iter().any(|member| {
            let others =
                self.members.iter().filter(|m| (m.user, m.only) != (member.user, member.only)).map(|m| m.version).max();
            let newest = others.unwrap_or(0).max(member.read_version);
            let Some(user) = dir.get(member.user) else { return false };
            let devices = user.devices.iter().filter(|d| d.receives && member.admits(d.id));
            newest > 0 && (!user.known || devices.map(|d| d.receipts).any(|receipts| receipts < newest))
        })
    }
}
