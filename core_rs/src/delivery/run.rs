//! The run queue: sessions that are owed something, served round robin, each within its window and its turn.

use super::conversation::{Conversation, Cursor, NONE, mark};
use super::hot::Hot;
use super::{Delivery, Outlet, Receiver, Ticket};
use crate::engine::directory::Directory;
use crate::group::Group;
use crate::log::{LogError, Ref};
use crate::sequencer::Kind;
use crate::wire::stored_for_device;
use crate::wire::types::{ServerFrame, SkipReason};

/// Most bytes of messages written to one session in a turn.
pub const TURN_BYTES: usize = 64 << 10;
/// Bytes written to all sessions in a turn, after which the others wait for the next one; the last session may go beyond
/// it by its own turn (I11).
pub const RUN_BYTES: u64 = 4 << 20;
/// Most messages of one conversation written to a session before its next conversation has its turn.
pub const TURN_MESSAGES: usize = 64;
/// Most messages, and bytes, read from the log at once for a conversation.
pub const READ_AHEAD: (usize, usize) = (128, 512 << 10);

/// How serving one conversation to one session ended.
enum Served {
    /// Everything that is there was written.
    All,
    /// The turn is over.
    More,
    /// The window is full.
    Window,
    /// Bodies are wanted from the log, from this message on.
    Cold(u64),
}

impl Delivery {
    /// Serves up to `budget` sessions, and no more once [`RUN_BYTES`] were written; true when more are waiting.
    pub fn run(&mut self, dir: &Directory, out: &mut impl Outlet, budget: usize) -> bool {
        let began = out.written();
        for _ in 0..budget {
            if out.written() - began >= RUN_BYTES {
                break;
            }
            let Some(r) = self.run.pop_front() else { return false };
            self.serve(r, dir, out);
        }
        !self.run.is_empty()
    }

    fn serve(&mut self, r: u32, dir: &Directory, out: &mut impl Outlet) {
        match self.receivers.get_mut(r as usize) {
            Some(receiver) if receiver.writable => receiver.queued = false,
            Some(receiver) => return receiver.queued = false,
            None => return,
        }
        self.tell(r, dir, out);
        let mut left = TURN_BYTES;
        loop {
            let Self { conversations, receivers, hot, .. } = self;
            let Some(receiver) = receivers.get_mut(r as usize) else { return };
            let Some(&(slot, index)) = receiver.lists.as_ref().and_then(|l| l.owed.front()) else { return };
            if left == 0 {
                return self.queue(r);
            }
            let served = match conversations.get_mut(slot as usize) {
                Some(conversation) => serve(conversation, index as usize, (receiver, r), hot, &mut left, dir, out),
                None => Served::All,
            };
            if matches!(served, Served::Window) {
                return;
            }
            if let Some(lists) = &mut receiver.lists {
                lists.owed.pop_front();
                if matches!(served, Served::More) {
                    lists.owed.push_back((slot, index));
                    continue;
                }
            }
            if let Served::Cold(from) = served {
                self.fetch(slot, from);
            }
        }
    }

    /// Asks for bodies of a conversation from message `from` on.
    fn fetch(&mut self, slot: u32, from: u64) {
        let Some(conversation) = self.conversations.get_mut(slot as usize) else { return };
        if conversation.reading {
            return;
        }
        conversation.reading = true;
        let mut wanted: Vec<(u64, Ref)> = Vec::new();
        let mut bytes = 0;
        for seq in from..=conversation.head {
            let Some(entry) = conversation.entry(seq) else { break };
            if wanted.len() >= READ_AHEAD.0 || bytes >= READ_AHEAD.1 {
                break;
            }
            if entry.hot == NONE && !entry.lost() {
                bytes += entry.len as usize;
                wanted.push((seq, entry.at()));
            }
        }
        let refs = wanted.iter().map(|w| w.1).collect();
        let token = self.tickets.insert(Ticket { conversation: slot, id: conversation.id, wanted });
        self.effects.reads.push((token as u64, refs));
    }

    /// Bodies came from the log. One that cannot be read is lost; the number of those.
    pub fn read_done(&mut self, dir: &Directory, token: u64, bodies: Vec<Result<bytes::Bytes, LogError>>) -> usize {
        let Some(ticket) = usize::try_from(token).ok().and_then(|t| self.tickets.try_remove(t)) else { return 0 };
        let slot = ticket.conversation;
        let Self { conversations, hot, .. } = self;
        let Some(conversation) = conversations.get_mut(slot as usize) else { return 0 };
        if conversation.id != ticket.id {
            return 0;
        }
        conversation.reading = false;
        let mut lost = Vec::new();
        for ((seq, at), body) in ticket.wanted.into_iter().zip(bodies) {
            let Some(entry) = conversation.entry_mut(seq) else { continue };
            if entry.hot != NONE || entry.at() != at {
                continue;
            }
            match body {
                Ok(body) => entry.hot = hot.insert(body.to_vec(), slot, seq),
                Err(error) if error.is_loss() => lost.push(seq),
                // It stands elsewhere by now, or is read at another time.
                Err(_) => {}
            }
        }
        lost.iter().for_each(|&seq| self.lose_one(slot, seq));
        if !lost.is_empty() {
            self.note_lost(dir, slot);
        }
        self.owe_all(slot, true);
        lost.len()
    }

    /// Bodies that were read may exceed what memory may hold; they go once they had their chance to be written.
    pub fn settle(&mut self) {
        self.cool();
    }
}

/// Writes what one session is owed of one conversation, in which it stands for member `index`.
fn serve(
    conversation: &mut Conversation,
    index: usize,
    (receiver, r): (&mut Receiver, u32),
    hot: &mut Hot,
    left: &mut usize,
    dir: &Directory,
    out: &mut impl Outlet,
) -> Served {
    let (user, device) = (receiver.user, receiver.device);
    // It may be the list of a conversation that had the slot before.
    let Some(member) = conversation.members.get(index).filter(|m| m.is(user, device)) else { return Served::All };
    let Some(&Cursor { sent, acked, online: place, .. }) = member.cursor(device) else { return Served::All };
    match conversation.online.get_mut(place as usize) {
        Some(online) if online.receiver == r => online.owed = false,
        _ => return Served::All,
    }
    let mut sent = sent.max(acked);
    let last = conversation.head.min(member.to);
    // Who has gone since has no use for it, and no claim to it.
    let mut snapshot = conversation.group.as_deref().filter(|_| {
        let due = |c: &Cursor| c.is(mark::FRESH) && !c.is(mark::SHOWN);
        member.cursor(device).is_some_and(due) && member.is_current()
    });
    let fresh = snapshot.is_some();
    let mut skips = Skips { conversation: conversation.id, conn: receiver.conn, open: None };
    let many = conversation.members.len() > 2;
    let mut messages = 0;
    let served = loop {
        let seq = sent + 1;
        if seq > last {
            break Served::All;
        }
        let Some((next, end)) = member.interval_above(sent).filter(|interval| interval.0 <= last) else {
            sent = last;
            break Served::All;
        };
        if next > seq {
            sent = next - 1;
            continue;
        }
        if seq < conversation.first {
            let upto = last.min(end).min(conversation.first - 1);
            show(&mut snapshot, conversation, receiver.conn, left, dir, out);
            skips.add(seq, upto, conversation.floor_reason, out);
            sent = upto;
            continue;
        }
        let Some(entry) = conversation.entry(seq).copied() else { break Served::All };
        if entry.withheld_from(index) {
            skips.add(seq, seq, SkipReason::Blocked, out);
            sent = seq;
            continue;
        }
        if !conversation.is_for(&entry, seq, index, device) {
            sent = seq;
            continue;
        }
        if entry.lost() {
            show(&mut snapshot, conversation, receiver.conn, left, dir, out);
            skips.add(seq, seq, SkipReason::Lost, out);
            sent = seq;
            continue;
        }
        if !conversation.has_body(seq, user, device) {
            skips.add(seq, seq, SkipReason::NoBody, out);
            sent = seq;
            continue;
        }
        let room = receiver.inflight.0 < receiver.window.0
            && (receiver.inflight.0 == 0 || receiver.inflight.1.saturating_add(entry.len) <= receiver.window.1);
        if !room {
            break Served::Window;
        }
        if messages == TURN_MESSAGES || *left == 0 {
            break Served::More;
        }
        let Some(body) = hot.get_mut(entry.hot) else { break Served::Cold(seq) };
        show(&mut snapshot, conversation, receiver.conn, left, dir, out);
        skips.flush(out);
        let own = usize::from(entry.author) == index && conversation.kind == Kind::Direct;
        let to = own.then(|| conversation.members.iter().find(|m| m.user != user).map_or(user, |m| m.user));
        let to = to.map(|to| dir.name(to));
        if conversation.bodies.as_ref().is_some_and(|b| b.contains_key(&seq)) {
            let mut stored = Vec::with_capacity(entry.len as usize);
            if stored_for_device(&body.stored, dir.name(user), u32::from(device), &mut stored) {
                out.own_message(receiver.conn, &stored, to);
            }
        } else {
            out.message(receiver.conn, body, to, many);
        }
        receiver.inflight = (receiver.inflight.0 + 1, receiver.inflight.1.saturating_add(entry.len));
        *left = left.saturating_sub(entry.len as usize);
        messages += 1;
        sent = seq;
    };
    skips.flush(out);
    let shown = fresh && snapshot.is_none();
    if let Some(cursor) = conversation.cursor_mut(index, device) {
        cursor.sent = sent;
        if shown {
            cursor.set(mark::SHOWN);
        }
    }
    if matches!(served, Served::More | Served::Window)
        && let Some(online) = conversation.online.get_mut(place as usize)
    {
        online.owed = true;
    }
    served
}

/// Writes a group's snapshot, unless it was. It counts towards the turn.
fn show(
    snapshot: &mut Option<&Group>,
    conversation: &Conversation,
    conn: u32,
    left: &mut usize,
    dir: &Directory,
    out: &mut impl Outlet,
) {
    if let Some(group) = snapshot.take() {
        let frame = ServerFrame::Group(group.frame(conversation.id, dir));
        *left = left.saturating_sub(frame.encoded_len());
        out.frame(conn, &frame);
    }
}

/// Makes one frame of skips that touch.
struct Skips {
    conversation: crate::wire::types::ConversationId,
    conn: u32,
    open: Option<(u64, u64, SkipReason)>,
}

impl Skips {
    fn add(&mut self, from: u64, to: u64, reason: SkipReason, out: &mut impl Outlet) {
        match &mut self.open {
            Some(open) if open.1 + 1 == from && open.2 == reason => open.1 = to,
            _ => {
                self.flush(out);
                self.open = Some((from, to, reason));
            }
        }
    }

    fn flush(&mut self, out: &mut impl Outlet) {
        if let Some((from, to, reason)) = self.open.take() {
            let conversation = self.conversation;
            out.frame(self.conn, &ServerFrame::Skip { conversation, from, to, reason, user: "", version: &[] });
        }
    }
}
