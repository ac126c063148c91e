//! Receipts: cursors of others that a session has not been told of, by version.
//!
//! A session is told in the order of versions, so that its acknowledgement of one covers all before it. What is queued
//! for it is a hint: when there is too much, or after an absence, everything above the version that it was told is
//! gathered from its user's conversations. So what a session that takes nothing costs is bounded.

use slab::Slab;
use smallvec::SmallVec;

use super::bursts::ALL;
use super::conversation::{Conversation, Member, NONE};
use super::{Delivery, Outlet, Receiver, queue};
use crate::engine::directory::Directory;
use crate::engine::token::token;
use crate::wire::types::ServerFrame;

/// Most receipts queued for a session before they are gathered anew instead.
pub const QUEUED: usize = 256;

impl Delivery {
    /// Member `index` of a conversation of two moved: the sessions of the others are told.
    pub(super) fn notify(&mut self, dir: &Directory, slot: u32, index: usize) {
        self.notify_but(dir, slot, index, None, NONE);
    }

    /// The same, of `authors` only if given and not empty; with `authors` (a read cursor) the user's own sessions too.
    /// `reader`, the session that sent it, knows.
    pub(super) fn notify_but(
        &mut self,
        dir: &Directory,
        slot: u32,
        index: usize,
        authors: Option<&[u32]>,
        reader: u32,
    ) {
        let Self { conversations, receivers, run, .. } = self;
        let Some(conversation) = conversations.get(slot as usize).filter(|c| c.group.is_none()) else { return };
        for (other, member) in conversation.members.iter().enumerate() {
            let told = match authors {
                None => other != index,
                Some(authors) => other == index || authors.is_empty() || authors.contains(&member.user),
            };
            if !told {
                continue;
            }
            let sessions = dir.get(member.user).map(|u| &*u.receivers).unwrap_or_default();
            for &r in sessions.iter().filter(|&&r| r != reader) {
                let Some(receiver) = receivers.get_mut(r as usize).filter(|r| member.admits(r.device)) else {
                    continue;
                };
                let item = (slot, index as u32);
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
        let Some(receiver) = self.receivers.get_mut(r as usize) else { return };
        if receiver.rescan {
            receiver.rescan = false;
            self.gather(r, dir);
        }
        self.tell_queued(r, dir, out);
        if self.receivers.get(r as usize).is_some_and(|receiver| receiver.due) {
            self.tell_held(r, dir, out);
        }
    }

    /// The receipt version up to which a session was told everything; `None`: something waits for it.
    pub fn told(&self, r: u32) -> Option<u64> {
        let receiver = self.receivers.get(r as usize).filter(|receiver| !receiver.rescan)?;
        let Some(lists) = &receiver.lists else { return Some(receiver.told) };
        let waits = lists.held_from > 0 || !lists.receipts.is_empty();
        (!waits).then(|| receiver.told.max(lists.high))
    }

    /// Lists everything above what a session was told. Groups of which nothing was said to its user are not looked into.
    fn gather(&mut self, r: u32, dir: &Directory) {
        let Self { conversations, receivers, .. } = self;
        let Some(receiver) = receivers.get_mut(r as usize) else { return };
        let (me, device, told) = (receiver.user, receiver.device, receiver.told);
        let (mut queued, mut held) = (Vec::new(), Vec::new());
        for &slot in dir.get(me).map(|u| &*u.conversations).unwrap_or_default() {
            let Some(conversation) = conversations.get(slot as usize) else { continue };
            let Some(mine) = conversation.member(me, device) else { continue };
            let current = conversation.members.get(mine).is_some_and(Member::is_current);
            if current && conversation.owed(mine).is_some_and(|version| version > told) {
                held.push((slot, ALL));
            } else if conversation.group.is_none() {
                let moved = |index: &usize| conversation.news(*index, (me, device)) > told;
                queued.extend((0..conversation.members.len()).filter(moved).map(|index| (slot, index as u32)));
            }
        }
        if queued.is_empty() && held.is_empty() && receiver.lists.is_none() {
            return;
        }
        let lists = receiver.lists.get_or_insert_default();
        (lists.receipts, lists.held) = (queued, held);
        receiver.due = !lists.held.is_empty();
        lists.held_from = if receiver.due { told + 1 } else { 0 };
    }

    /// Conversations of two: at once.
    fn tell_queued(&mut self, r: u32, dir: &Directory, out: &mut impl Outlet) {
        let Self { conversations, receivers, .. } = self;
        let Some(receiver) = receivers.get_mut(r as usize) else { return };
        let Some(lists) = &mut receiver.lists else { return };
        if lists.receipts.is_empty() {
            return;
        }
        let mut queued = std::mem::take(&mut lists.receipts);
        let (me, conn, told) = ((receiver.user, receiver.device), receiver.conn, receiver.told);
        let mut items: SmallVec<[(u64, u32, u32); 8]> = SmallVec::new();
        for (slot, index) in queued.drain(..) {
            let Some(conversation) = conversations.get(slot as usize).filter(|c| c.group.is_none()) else { continue };
            let version = conversation.news(index as usize, me);
            if version > told && conversation.member(me.0, me.1).is_some() {
                items.push((version, slot, index));
            }
        }
        // Its room serves the next ones.
        lists.receipts = queued;
        // What is held counts as not told, and so does everything above it.
        let most = lists.held_from.checked_sub(1).unwrap_or(u64::MAX);
        if items.len() > 1 {
            items.sort_unstable();
            items.dedup();
        }
        // A skip may be older than the receipts before it: only who has the last frame has everything up to its version.
        let mut left = items.len();
        for &(version, slot, index) in &items {
            left -= 1;
            let upto = (left == 0).then(|| version.min(most));
            if let Some(conversation) = conversations.get(slot as usize) {
                tell_one(conversation, index as usize, me, (told, upto), conn, dir, out);
            }
            lists.high = lists.high.max(version);
            receiver.told = receiver.told.max(upto.unwrap_or(0));
        }
        for (_, slot, index) in items {
            self.forget_skips(dir, slot, index as usize);
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

/// `told` is the version up to which everything was told before, `upto` that with this, if it is the last.
fn tell_one(
    conversation: &Conversation,
    index: usize,
    me: (u32, u16),
    (told, upto): (u64, Option<u64>),
    conn: u32,
    dir: &Directory,
    out: &mut impl Outlet,
) {
    let id = conversation.id;
    let Some(member) = conversation.members.get(index) else { return };
    let user = dir.name(member.user);
    let version = &*token(upto.unwrap_or(told));
    if member.is(me.0, me.1) {
        let read = member.read;
        return out.frame(conn, &ServerFrame::Receipt { conversation: id, user, delivered: 0, read, version });
    }
    // What is read on one device says nothing of what only another one is to get.
    let (delivered, read) = (member.delivered, member.read.min(member.delivered));
    for range in member.skipped().iter().filter(|range| range.version > told) {
        let (from, to, reason, version) = (range.from, range.to, range.reason, &*token(told));
        out.frame(conn, &ServerFrame::Skip { conversation: id, from, to, reason, user, version });
    }
    if delivered > 0 || read > 0 {
        out.frame(conn, &ServerFrame::Receipt { conversation: id, user, delivered, read, version });
    } else if upto.is_some() {
        // There is nothing else to tell any more, and the version is to be acknowledged.
        out.frame(conn, &ServerFrame::Receipts { conversation: None, cursors: &[], version });
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

    /// Receipt version of what a member's device is to be told of member `index`; of oneself, that is what one read.
    pub(super) fn news(&self, index: usize, me: (u32, u16)) -> u64 {
        let version = |m: &Member| if m.is(me.0, me.1) { m.read_version } else { m.version };
        self.members.get(index).map_or(0, version)
    }

    /// In a group: receipt version of the latest news for a member; 0: there was none.
    pub(super) fn owed(&self, index: usize) -> Option<u64> {
        let crowd = self.crowd.as_ref()?;
        Some(crowd.owed.get(&(index as u32)).copied().unwrap_or(0))
    }

    /// Whether some receiving device has yet to acknowledge a receipt here, or may have to: its user is a stub.
    pub fn owes_receipts(&self, dir: &Directory) -> bool {
        self.owing(dir).next().is_some()
    }

    /// The users whose devices those are. In a group, authors to whom there was something to tell.
    pub fn owing<'a>(&'a self, dir: &'a Directory) -> impl Iterator<Item = u32> + 'a {
        let pair = if self.crowd.is_some() { &[] } else { &*self.members };
        let in_pair = pair.iter().map(move |member| {
            let others =
                pair.iter().filter(|m| (m.user, m.only) != (member.user, member.only)).map(|m| m.version).max();
            (member, others.unwrap_or(0).max(member.read_version))
        });
        let owed = self.crowd.iter().flat_map(|crowd| &crowd.owed);
        let in_group = owed.filter_map(|(&index, &newest)| Some((self.members.get(index as usize)?, newest)));
        let in_group = in_group.filter(|(member, _)| member.is_current());
        in_pair
            .chain(in_group)
            .filter(|&(member, newest)| {
                let Some(user) = dir.get(member.user) else { return false };
                let mut devices = user.devices.iter().filter(|d| d.receives && member.admits(d.id));
                newest > 0 && (!user.known || devices.any(|d| d.receipts < newest))
            })
            .map(|(member, _)| member.user)
    }
}
