//! A message's way from a sender's frame to durable: checked, numbered, logged, accepted, handed to delivery.
//!
//! Nothing that reveals a number leaves before its batch is durable (I1), and nothing here asks who is online (I13).

use compact_str::CompactString;
use smallvec::SmallVec;
use thin_vec::ThinVec;

use super::api::{ConnId, Key};
use super::conns::pause;
use super::directory::MAX_DEVICE;
use super::frames::Handled;
use super::permits::Action;
use super::records::kind;
use super::uses::Row;
use super::{Engine, session::Session};
use crate::delivery::Outlet;
use crate::log::Ref;
use crate::sequencer::{Kind, Outcome, Refusal, Repeat, Sequenced};
use crate::wire::codes;
use crate::wire::ids::conversation_id;
use crate::wire::message::{encode_stored, encode_stored_bodies};
use crate::wire::types::{ConversationId, DeviceList, ErrorFrame, MAX_ID, Message, Retry, Send, ServerFrame, Target};

/// What whoever is no member of a conversation gets, whether there is one or not (I8).
pub(super) const NO_CONVERSATION: &str = "There is no such conversation for you.";

/// What a send costs until it is durable, beside its body, bytes: its record's frame, names and ids, and its [`Pending`].
/// Without it many small messages would pass the bound on all sends unseen.
const OVERHEAD: u64 = 256;

/// An answer that waits for its batch.
pub(super) struct Pending {
    batch: u64,
    conn: ConnId,
    id: [u8; MAX_ID],
    id_len: u8,
    repeat: Repeat,
    /// Instead of an `accepted`.
    list: Option<List>,
    /// Bytes that count as unaccepted.
    bytes: u32,
    /// For delivery; a repeat has none.
    message: Option<Sequenced>,
}

impl Pending {
    /// The batch that the answer waits for.
    pub(super) fn batch(&self) -> u64 {
        self.batch
    }
}

/// A user's own lists, as they were when it asked.
pub(super) enum List {
    /// Whom it blocks.
    Blocks(ThinVec<CompactString>),
    /// The groups that it is a member of.
    Groups(ThinVec<ConversationId>),
}

impl List {
    /// What it takes in memory.
    fn bytes(&self) -> usize {
        match self {
            Self::Blocks(names) => names.iter().map(|name| name.len() + size_of::<CompactString>()).sum(),
            Self::Groups(ids) => size_of_val(&**ids),
        }
    }
}

impl Engine {
    pub(super) fn send(&mut self, slot: u32, send: Send<'_>) -> Handled {
        let Some((user, device)) = self.conns.session(slot).map(Session::mailbox) else { return Handled::Done };
        if let Some(repeat) = self.sequencer.sender((user, device)).and_then(|s| s.find(&send.id)) {
            let target = self.target_id((user, device), &send.target);
            self.again(slot, &send.id, target, send.body.len(), repeat);
            return Handled::Done;
        }
        let bytes = send.body.len() + send.bodies.iter().map(|b| b.body.len()).sum::<usize>();
        if !self.has_room(bytes) {
            self.refuse_send(slot, &send, codes::STORAGE_FULL, "The server's disk is full; try again later.");
            return Handled::Done;
        }
        let most = send.bodies.iter().map(|b| b.body.len()).max().unwrap_or(0).max(send.body.len());
        if most > self.config.body_bytes as usize {
            let message = format!("A body of {most} bytes is above the limit of {}.", self.config.body_bytes);
            self.refuse_send(slot, &send, codes::BODY_TOO_LARGE, &message);
            return Handled::Done;
        }
        let id = match self.target(slot, user, device, &send) {
            Ok(Some(id)) => id,
            Ok(None) => return Handled::Done,
            Err(handled) => return handled,
        };
        match self.permitted(slot, &id, Action::Send) {
            Some(true) => {}
            Some(false) => {
                self.refuse_send(slot, &send, codes::FORBIDDEN, "Sending here is not allowed.");
                return Handled::Done;
            }
            None => return Handled::Blocked,
        }
        if !send.bodies.is_empty() {
            if self.sequencer.group(&id).is_some_and(|group| group.role(user).is_some()) {
                self.refuse_send(slot, &send, codes::BAD_FIELD, "A group takes one body for all.");
                return Handled::Done;
            }
            if !self.lists_match(slot, &id, &send) {
                return Handled::Done;
            }
        }
        let caps = (self.config.conversation_messages, self.config.conversation_bytes);
        match self.sequencer.number(&id, (user, device), &send.id, bytes as u64, caps) {
            Ok(Outcome::Next(seq)) => self.accept(slot, (user, device), id, seq, &send, bytes),
            Ok(Outcome::Repeated(repeat)) => self.accept_again(slot, &send.id, send.body.len(), repeat),
            Err(refusal) => {
                let (code, message) = match refusal {
                    Refusal::Unknown => (codes::UNKNOWN_CONVERSATION, NO_CONVERSATION),
                    Refusal::Forbidden => (codes::FORBIDDEN, "Only admins send in this group."),
                    Refusal::Full => (codes::CONVERSATION_FULL, "Too much waits in this conversation."),
                    Refusal::IdReused => (codes::ID_REUSED, "This id was used in another conversation."),
                };
                self.refuse_send(slot, &send, code, message);
            }
        }
        Handled::Done
    }

    fn refuse_send(&mut self, slot: u32, send: &Send<'_>, code: &'static str, message: &str) {
        self.refuse_id(slot, &send.id, code, message);
    }

    /// Refuses the send, or the change, that has this id.
    pub(super) fn refuse_id(&mut self, slot: u32, id: &[u8], code: &'static str, message: &str) {
        self.stats.refused_total += 1;
        self.tell_error(slot, code, message, id, None);
    }

    /// Where a send goes, whether there is such a conversation or not.
    fn target_id(&self, from: (u32, u16), target: &Target<'_>) -> ConversationId {
        let me = self.directory.name(from.0);
        match target {
            Target::Conversation(id) => *id,
            Target::User(name) => conversation_id(Kind::Direct, [(me, 0), (name, 0)]),
            Target::Device(name, other) => conversation_id(Kind::Device, [(me, from.1.into()), (name, *other)]),
        }
    }

    /// A repeat is the same message, whatever has changed since: who is there, which devices, the room on the disk.
    pub(super) fn again(&mut self, slot: u32, id: &[u8], target: ConversationId, bytes: usize, repeat: Repeat) {
        if target == repeat.conversation {
            self.accept_again(slot, id, bytes, repeat);
        } else {
            self.refuse_id(slot, id, codes::ID_REUSED, "This id was used in another conversation.");
        }
    }

    /// The conversation that a send goes to, in memory; `None`: refused.
    fn target(
        &mut self,
        slot: u32,
        user: u32,
        device: u16,
        send: &Send<'_>,
    ) -> Result<Option<ConversationId>, Handled> {
        let (name, other) = match &send.target {
            Target::Conversation(id) => {
                if self.target_by_id(slot, id)? {
                    return Ok(Some(*id));
                }
                self.refuse_send(slot, send, codes::UNKNOWN_CONVERSATION, NO_CONVERSATION);
                return Ok(None);
            }
            Target::User(name) => (name, None),
            Target::Device(name, other) => (name, Some(*other)),
        };
        // Both rows are asked for at once, so that it is one trip.
        let id = match other {
            None => self.direct_id(slot, user, name)?,
            Some(_) => {
                let id = self.target_id((user, device), &send.target);
                self.use_rows(slot, &[Row::User(name), Row::Conversation(&id)])?;
                id
            }
        };
        let Some(peer) = self.find_user(slot, name)? else {
            self.refuse_send(slot, send, codes::UNKNOWN_USER, &format!("There is no user {name:?}."));
            return Ok(None);
        };
        let there = |other: u32| {
            let found = self.directory.get(peer).and_then(|u| u.device(u16::try_from(other).ok()?));
            found.map(|d| d.id).filter(|d| (peer, *d) != (user, device))
        };
        let (kind, members) = match other {
            None => (Kind::Direct, [(user, 0), (peer, 0)]),
            Some(other) => match there(other) {
                Some(other) => (Kind::Device, [(user, device), (peer, other)]),
                None => {
                    let message = format!("{name:?} has no device {other} (of 1 to {MAX_DEVICE}) to talk to.");
                    self.refuse_send(slot, send, codes::UNKNOWN_USER, &message);
                    return Ok(None);
                }
            },
        };
        let key = Key::Conversation(id);
        if self.sequencer.has(&id) {
            return Ok(Some(id));
        }
        if !self.is_absent(slot, &key) {
            self.ask_for(slot, [key]);
            return Err(Handled::Blocked);
        }
        self.create_conversation(id, kind, members);
        Ok(Some(id))
    }

    /// Whether a conversation that a send names by its id is the session's; then its users are known.
    fn target_by_id(&mut self, slot: u32, id: &ConversationId) -> Result<bool, Handled> {
        let last = self.conns.session(slot).and_then(|session| session.sending.as_ref()?.by_id);
        if last.is_some_and(|(known, since_s)| known == *id && self.lasts(since_s)) {
            return Ok(true);
        }
        if !self.need_own(slot, id)? {
            return Ok(false);
        }
        let since_s = self.use_rows(slot, &[Row::Conversation(id)])?.min(self.need_writers(slot, id)?);
        if let Some(session) = self.conns.session_mut(slot) {
            session.sending.get_or_insert_default().by_id = Some((*id, since_s));
        }
        Ok(true)
    }

    /// The id of the conversation with another user. Who sends mostly goes on with the same one: a look is less than a
    /// hash.
    fn direct_id(&mut self, slot: u32, user: u32, name: &str) -> Result<ConversationId, Handled> {
        let last = self.conns.session(slot).and_then(|session| session.sending.as_ref()?.direct.as_ref());
        if let Some((known, id, since_s)) = last
            && known == name
            && self.lasts(*since_s)
        {
            return Ok(*id);
        }
        let id = conversation_id(Kind::Direct, [(self.directory.name(user), 0), (name, 0)]);
        let since_s = self.use_rows(slot, &[Row::User(name), Row::Conversation(&id)])?;
        if let Some(session) = self.conns.session_mut(slot) {
            session.sending.get_or_insert_default().direct = Some((name.into(), id, since_s));
        }
        Ok(id)
    }

    /// Whether a per-device send was made for the devices that there are; if not, the sender is told what there are.
    fn lists_match(&mut self, slot: u32, id: &ConversationId, send: &Send<'_>) -> bool {
        let users: SmallVec<[u32; 2]> = self.sequencer.writers(id).unwrap_or_default().iter().map(|w| w.user).collect();
        let named = |user: &super::directory::User| {
            send.lists.iter().any(|list| list.user == *user.name && list.version == u64::from(user.list_version))
        };
        let known = |slot: u32| self.directory.get(slot);
        let mut strangers = send.bodies.iter().map(|b| self.directory.find(&b.user));
        let fits = users.iter().filter_map(|&u| known(u)).all(named)
            && strangers.all(|user| user.is_some_and(|user| users.contains(&user)));
        if fits {
            return true;
        }
        let lists: Vec<DeviceList<'_>> = users
            .iter()
            .filter_map(|&u| known(u))
            .map(|user| DeviceList {
                user: (&*user.name).into(),
                version: user.list_version.into(),
                devices: user.devices.iter().map(|d| u32::from(d.id)).collect(),
            })
            .collect();
        self.stats.refused_total += 1;
        let frame = ErrorFrame {
            code: codes::DEVICES_CHANGED,
            message: "The message was made for other devices than there are.".into(),
            retry: Retry::Changed,
            retry_ms: 0,
            id: &send.id,
            conversation: Some(*id),
            lists,
        };
        self.conns.frame(slot, &ServerFrame::Error(frame));
        false
    }

    fn accept(
        &mut self,
        slot: u32,
        from: (u32, u16),
        conversation: ConversationId,
        seq: u64,
        send: &Send<'_>,
        bytes: usize,
    ) {
        let time_ms = self.clock.time_ms();
        let message = Message {
            conversation,
            seq,
            sender: self.directory.name(from.0),
            device: u32::from(from.1),
            id: &send.id,
            time: time_ms,
            body: &send.body,
            media: send.media.iter().map(|m| &**m).collect(),
            to: "",
            change: None,
        };
        let mut stored = Vec::with_capacity(bytes + 160);
        let bodies = if send.bodies.is_empty() {
            encode_stored(&message, &mut stored);
            None
        } else {
            encode_stored_bodies(&message, &send.bodies, &mut stored);
            let who = send.bodies.iter().filter_map(|b| Some((self.directory.find(&b.user)?, b.device as u16)));
            Some(who.collect())
        };
        let (user, device) = from;
        let withheld = self.is_withheld(from, &conversation);
        let (at, change) = (Ref::default(), None);
        let sequenced = Sequenced { conversation, seq, user, device, at, time_ms, bodies, change, withheld, stored };
        self.log_message(slot, &send.id, bytes, sequenced);
    }

    /// A numbered message goes into the log, and is accepted when it is there. `bytes` count as unaccepted.
    pub(super) fn log_message(&mut self, slot: u32, id: &[u8], bytes: usize, mut message: Sequenced) {
        let Sequenced { conversation, seq, user, device, time_ms, .. } = message;
        self.ensure_logged(user, &conversation, seq - 1);
        let kind = if message.withheld { kind::WITHHELD } else { kind::MESSAGE };
        let (at, batch) = self.append(kind, &[&message.stored], true);
        message.at = at;
        self.segments.added(at.segment, at.len);
        // Delivery counts what is stored, which is more than the body.
        self.sequencer.grew(&conversation, u64::from(at.len).saturating_sub(bytes as u64));
        let repeat = Repeat { conversation, seq, time_ms, batch };
        self.sequencer.remember((user, device), id, repeat, self.config.repeats);
        if let Some(user) = self.directory.get_mut(user) {
            user.mark.change();
        }
        self.stats.accepted_total += 1;
        self.wait_for(slot, id, repeat, bytes, Some(message));
    }

    /// A repeat waits like the original, and keeps the order of the connection's sends.
    fn accept_again(&mut self, slot: u32, id: &[u8], bytes: usize, mut repeat: Repeat) {
        self.stats.repeated_total += 1;
        let last = self.conns.session(slot).and_then(|s| s.sending.as_ref()).map_or(0, |s| s.last_batch);
        repeat.batch = repeat.batch.max(last);
        if repeat.batch <= self.durable {
            return self.tell_accepted(slot, id, &repeat);
        }
        self.wait_for(slot, id, repeat, bytes, None);
    }

    /// A user is told one of its lists once all that led to it is durable; so many bytes were `logged` for it.
    pub(super) fn tell_list(&mut self, slot: u32, list: List, logged: u64) {
        let batch = self.log.last_batch();
        if batch <= self.durable {
            return self.write_list(slot, &list);
        }
        let bytes = list.bytes();
        if let Some(conn) = self.conns.get_mut(slot) {
            conn.listed = conn.listed.saturating_add(bytes as u32);
        }
        let repeat = Repeat { batch, ..Repeat::default() };
        let conn = self.conns.id(slot);
        let (id, bytes) = ([0; MAX_ID], bytes as u32 + logged.min(1 << 30) as u32);
        let pending = Pending { batch, conn, id, id_len: 0, repeat, list: Some(list), bytes, message: None };
        self.wait(slot, pending);
    }

    fn write_list(&mut self, slot: u32, list: &List) {
        match list {
            List::Blocks(names) => {
                self.conns.frame(slot, &ServerFrame::Blocks(names.iter().map(CompactString::as_str).collect()));
            }
            List::Groups(ids) => self.conns.frame(slot, &ServerFrame::Groups(ids)),
        }
    }

    fn wait_for(&mut self, slot: u32, id: &[u8], repeat: Repeat, bytes: usize, message: Option<Sequenced>) {
        let mut kept = [0; MAX_ID];
        kept.iter_mut().zip(id).for_each(|(to, from)| *to = *from);
        let (batch, conn) = (repeat.batch, self.conns.id(slot));
        let (id_len, bytes) = (id.len() as u8, bytes as u32);
        self.wait(slot, Pending { batch, conn, id: kept, id_len, repeat, list: None, bytes, message });
    }

    fn wait(&mut self, slot: u32, pending: Pending) {
        let Pending { batch, conn, bytes, .. } = pending;
        if self.pending.back().is_none_or(|last| last.batch <= pending.batch) {
            self.pending.push_back(pending);
        } else {
            // A repeat may belong to an earlier batch than the newest.
            let place = self.pending.partition_point(|p| p.batch <= batch);
            self.pending.insert(place, pending);
        }
        self.unaccepted += u64::from(bytes) + OVERHEAD;
        let Some(session) = self.conns.session_mut(slot) else { return };
        let sending = session.sending.get_or_insert_default();
        sending.last_batch = sending.last_batch.max(batch);
        sending.unaccepted = (sending.unaccepted.0 + 1, sending.unaccepted.1 + bytes);
        let full = sending.unaccepted.0 >= self.config.unaccepted_messages
            || sending.unaccepted.1 >= self.config.unaccepted_bytes;
        if full {
            self.conns.pause(slot, pause::UNACCEPTED, true);
        }
        if self.unaccepted > self.config.unaccepted_total && !self.conns.paused(slot, pause::TOTAL) {
            self.conns.pause(slot, pause::TOTAL, true);
            self.paused.push(conn);
        }
    }

    /// Everything up to this batch is durable.
    pub fn durable(&mut self, batch: u64) {
        self.durable = self.durable.max(batch);
        self.settle_versions();
        while self.pending.front().is_some_and(|p| p.batch <= self.durable) {
            let Some(pending) = self.pending.pop_front() else { break };
            self.unaccepted -= (u64::from(pending.bytes) + OVERHEAD).min(self.unaccepted);
            if let Some(slot) = self.conns.slot(pending.conn) {
                self.accepted(slot, &pending);
            }
            self.between.extend(pending.message);
        }
        if self.unaccepted <= self.config.unaccepted_total / 2 {
            for conn in std::mem::take(&mut self.paused) {
                if let Some(slot) = self.conns.slot(conn) {
                    self.conns.pause(slot, pause::TOTAL, false);
                }
            }
        }
        self.settle();
        self.tend_log();
        self.settle();
    }

    fn accepted(&mut self, slot: u32, pending: &Pending) {
        let Some(session) = self.conns.session_mut(slot) else { return };
        let Some(sending) = &mut session.sending else { return };
        sending.unaccepted.0 = sending.unaccepted.0.saturating_sub(1);
        sending.unaccepted.1 = sending.unaccepted.1.saturating_sub(pending.bytes);
        let room = sending.unaccepted.0 <= self.config.unaccepted_messages / 2
            && sending.unaccepted.1 <= self.config.unaccepted_bytes / 2;
        if room {
            self.conns.pause(slot, pause::UNACCEPTED, false);
        }
        if let Some(list) = &pending.list {
            if let Some(conn) = self.conns.get_mut(slot) {
                conn.listed = conn.listed.saturating_sub(list.bytes() as u32);
            }
            self.write_list(slot, list);
            return self.conns.recount(slot);
        }
        let id = pending.id.get(..usize::from(pending.id_len)).unwrap_or_default();
        self.tell_accepted(slot, id, &pending.repeat);
    }

    fn tell_accepted(&mut self, slot: u32, id: &[u8], repeat: &Repeat) {
        let Repeat { conversation, seq, time_ms: time, .. } = *repeat;
        self.conns.frame(slot, &ServerFrame::Accepted { id, conversation, seq, time });
    }
}
