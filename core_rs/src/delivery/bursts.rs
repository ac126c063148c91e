//! Receipts of groups: told in bursts, many in one frame.
//!
//! An acknowledgement tells the authors of what it newly covers, a read cursor those whom it names. What there is for a
//! session is held for up to [`super::BURST_MS`], so that a thousand members reading at once are a trickle. As receipts of
//! other conversations are not held, versions overtake each other: what a session is told as `version` is always that up
//! to which it was told everything.

use super::conversation::{Conversation, NONE};
use super::{Delivery, Lists, Outlet, Receiver, Serial};
use crate::engine::directory::Directory;
use crate::engine::token::token;
use crate::wire::types::{ConversationId, CursorOf, ServerFrame};

/// In place of a member: all that moved.
pub(super) const ALL: u32 = u32::MAX;
/// Most that is held for a session one by one.
const HELD: usize = 512;
/// Most cursors in a frame.
const CURSORS: usize = 128;
/// Cursors told to a session in a turn, about.
const TOLD_PER_TURN: usize = 1024;

impl Delivery {
    /// Member `index` of a group moved (none: several did): the sessions of these members will be told. The version is the
    /// latest.
    pub(super) fn announce(&mut self, dir: &Directory, slot: u32, index: Option<usize>, told: &[u32]) {
        self.announce_but(dir, slot, index, told, NONE);
    }

    /// The same for all sessions but `reader`, which sent the read cursor that it is about.
    pub(super) fn announce_but(&mut self, dir: &Directory, slot: u32, index: Option<usize>, told: &[u32], reader: u32) {
        let Self { conversations, receivers, effects, version, .. } = self;
        let Some(conversation) = conversations.get_mut(slot as usize) else { return };
        let item = (slot, index.map_or(ALL, |index| index as u32));
        for &other in told {
            let Some(member) = conversation.members.get(other as usize).filter(|m| m.is_current()) else { continue };
            let user = member.user;
            if let Some(crowd) = &mut conversation.crowd {
                crowd.owed.insert(other, *version);
            }
            conversation.list(other as usize);
            let sessions = dir.get(user).map(|u| &*u.receivers).unwrap_or_default();
            for &r in sessions.iter().filter(|&&r| r != reader) {
                if let Some(receiver) = receivers.get_mut(r as usize)
                    && receiver.hold(item, *version)
                {
                    effects.bursts.push((r, receiver.serial));
                }
            }
        }
    }

    /// A session's time for news of groups has come.
    pub fn burst(&mut self, r: u32, serial: Serial) {
        let Some(receiver) = self.receivers.get_mut(r as usize).filter(|receiver| receiver.serial == serial) else {
            return;
        };
        receiver.timed = false;
        if receiver.lists.as_ref().is_some_and(|lists| lists.held_from > 0) {
            receiver.due = true;
            self.queue(r);
        }
    }

    /// Writes what is held for a session, a turn's worth of it.
    pub(super) fn tell_held(&mut self, r: u32, dir: &Directory, out: &mut impl Outlet) {
        let Self { conversations, receivers, .. } = self;
        let Some(receiver) = receivers.get_mut(r as usize) else { return };
        let Some(lists) = &mut receiver.lists else { return };
        lists.compact();
        let mut frame =
            Frame { conn: receiver.conn, told: receiver.told, high: lists.high, id: None, cursors: Vec::new() };
        let me = (receiver.user, receiver.device);
        let mut left = TOLD_PER_TURN;
        while left > 0
            && let Some((slot, which)) = lists.held.pop()
        {
            let Some(conversation) = conversations.get(slot as usize).filter(|c| c.group.is_some()) else { continue };
            let mine = conversation.member(me.0, me.1).and_then(|mine| conversation.members.get(mine));
            if !mine.is_some_and(|mine| mine.is_current()) {
                continue;
            }
            let some = which as usize..which as usize + 1;
            for index in if which == ALL { 0..conversation.members.len() } else { some } {
                left = left.saturating_sub(usize::from(frame.add(conversation, index, me, dir, out)));
            }
        }
        if !lists.held.is_empty() {
            lists.high = frame.high;
            frame.flush(receiver.told, out);
            return self.queue(r);
        }
        lists.held_from = 0;
        receiver.due = false;
        if frame.high > receiver.told {
            // Also when there is nothing to tell any more, because its user left these groups: the version is to be
            // acknowledged, and other receipts may have been told with the one before.
            frame.end(out);
        }
        receiver.told = receiver.told.max(frame.high);
        lists.high = frame.high;
    }
}

impl Receiver {
    /// Takes note of news of a group. True: a timer is to be set for it.
    fn hold(&mut self, item: (u32, u32), version: u64) -> bool {
        if self.rescan {
            return false;
        }
        let lists = self.lists.get_or_insert_default();
        if lists.held_from == 0 {
            lists.held_from = version;
        }
        if lists.held.last() != Some(&item) {
            lists.held.push(item);
            if lists.held.len() > HELD {
                lists.shorten();
            }
        }
        !std::mem::replace(&mut self.timed, true)
    }
}

impl Lists {
    /// Each once, and none beside all of its group; the last is the first to be told.
    fn compact(&mut self) {
        self.held.sort_unstable_by(|a, b| b.cmp(a));
        self.held.dedup_by(|next, kept| next == kept || *kept == (next.0, ALL));
    }

    /// There is much: then of each group everything.
    fn shorten(&mut self) {
        self.compact();
        if self.held.len() > HELD / 2 {
            self.held.iter_mut().for_each(|item| item.1 = ALL);
            self.held.dedup();
        }
    }
}

/// A frame of receipts that is being filled. All but the last in a burst carry the version that was told before it: what
/// they say counts as told when everything is.
struct Frame<'a> {
    conn: u32,
    told: u64,
    high: u64,
    /// The group of the cursors; none: of no group was anything said.
    id: Option<ConversationId>,
    cursors: Vec<CursorOf<'a>>,
}

impl<'a> Frame<'a> {
    /// Adds what is news of a member; true if there was something.
    fn add(
        &mut self,
        conversation: &Conversation,
        index: usize,
        me: (u32, u16),
        dir: &'a Directory,
        out: &mut impl Outlet,
    ) -> bool {
        let version = conversation.news(index, me);
        if self.id != Some(conversation.id) || self.cursors.len() >= CURSORS {
            self.flush(self.told, out);
            self.id = Some(conversation.id);
        }
        let Some(member) = conversation.members.get(index).filter(|_| version > self.told) else { return false };
        self.high = self.high.max(version);
        let user = dir.name(member.user);
        if member.is(me.0, me.1) {
            self.cursors.push(CursorOf { user, delivered: 0, read: member.read, skipped: false });
            return true;
        }
        for range in member.skipped().iter().filter(|range| range.version > self.told) {
            let (conversation, from, to, reason) = (conversation.id, range.from, range.to, range.reason);
            let version = &*token(self.told);
            out.frame(self.conn, &ServerFrame::Skip { conversation, from, to, reason, user, version });
        }
        let (delivered, read) = (member.delivered, member.read.min(member.delivered));
        self.cursors.push(CursorOf { user, delivered, read, skipped: false });
        true
    }

    fn flush(&mut self, version: u64, out: &mut impl Outlet) {
        if !self.cursors.is_empty() {
            self.write(version, out);
        }
    }

    /// The last one: everything was told.
    fn end(&mut self, out: &mut impl Outlet) {
        self.write(self.high, out);
    }

    fn write(&mut self, version: u64, out: &mut impl Outlet) {
        let (cursors, version) = (&*self.cursors, &*token(version));
        out.frame(self.conn, &ServerFrame::Receipts { conversation: self.id, cursors, version });
        self.cursors.clear();
    }
}
