//! A message's way from a sender's frame to durable: checked, numbered, logged, accepted, handed to delivery.
//!
//! Nothing that reveals a number leaves before its batch is durable (I1), and nothing here asks who is online (I13).

use smallvec::SmallVec;

use super::api::{ConnId, Key, Request};
use super::conns::pause;
use super::directory::MAX_DEVICE;
use super::frames::Handled;
use super::records::kind;
use super::residency::conversation_id;
use super::{Engine, session::Session};
use crate::delivery::Outlet;
use crate::sequencer::{Kind, Outcome, Refusal, Repeat, Sequenced};
use crate::wire::codes;
use crate::wire::message::{encode_stored, encode_stored_bodies};
use crate::wire::types::{ConversationId, DeviceList, ErrorFrame, MAX_ID, Message, Retry, Send, ServerFrame, Target};

/// Answers of the embedder kept for one session; at more it is asked anew.
const PERMITS: usize = 4096;

/// What a send costs until it is durable, beside its body, bytes: its record's frame, names and ids, and its [`Pending`].
/// Without it many small messages would pass the bound on all sends unseen.
const OVERHEAD: u64 = 256;

/// An `accepted` that waits for its batch.
pub(super) struct Pending {
    batch: u64,
    conn: ConnId,
    id: [u8; MAX_ID],
    id_len: u8,
    repeat: Repeat,
    /// Bytes that count as unaccepted.
    bytes: u32,
    /// For delivery; a repeat has none.
    message: Option<Sequenced>,
}

impl Engine {
    pub(super) fn send(&mut self, slot: u32, send: Send<'_>) -> Handled {
        let Some((user, device)) = self.conns.session(slot).map(Session::mailbox) else { return Handled::Done };
        if let Some(repeat) = self.sequencer.sender((user, device)).and_then(|s| s.find(&send.id)) {
            self.send_again(slot, (user, device), &send, repeat);
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
        match self.permitted(slot, &id, false) {
            Some(true) => {}
            Some(false) => {
                self.refuse_send(slot, &send, codes::FORBIDDEN, "Sending here is not allowed.");
                return Handled::Done;
            }
            None => return Handled::Blocked,
        }
        if !send.bodies.is_empty() && !self.lists_match(slot, &id, &send) {
            return Handled::Done;
        }
        let caps = (self.config.conversation_messages, self.config.conversation_bytes);
        match self.sequencer.number(&id, (user, device), &send.id, bytes as u64, caps) {
            Ok(Outcome::Next(seq)) => self.accept(slot, (user, device), id, seq, &send, bytes),
            Ok(Outcome::Repeated(repeat)) => self.accept_again(slot, &send, repeat),
            Err(refusal) => {
                let (code, message) = match refusal {
                    Refusal::Unknown => (codes::UNKNOWN_CONVERSATION, "There is no such conversation for you."),
                    Refusal::Full => (codes::CONVERSATION_FULL, "Too much waits in this conversation."),
                    Refusal::IdReused => (codes::ID_REUSED, "This id was used in another conversation."),
                };
                self.refuse_send(slot, &send, code, message);
            }
        }
        Handled::Done
    }

    fn refuse_send(&mut self, slot: u32, send: &Send<'_>, code: &'static str, message: &str) {
        self.stats.refused_total += 1;
        self.tell_error(slot, code, message, &send.id, None);
    }

    /// A repeat is the same message, whatever has changed since: who is there, which devices, the room on the disk.
    fn send_again(&mut self, slot: u32, from: (u32, u16), send: &Send<'_>, repeat: Repeat) {
        let me = self.directory.name(from.0);
        let target = match &send.target {
            Target::Conversation(id) => *id,
            Target::User(name) => conversation_id(Kind::Direct, [(me, 0), (name, 0)]),
            Target::Device(name, other) => conversation_id(Kind::Device, [(me, from.1.into()), (name, *other)]),
        };
        if target == repeat.conversation {
            self.accept_again(slot, send, repeat);
        } else {
            self.refuse_send(slot, send, codes::ID_REUSED, "This id was used in another conversation.");
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
                return match self.need_conversation(slot, id) {
                    Handled::Blocked => Err(Handled::Blocked),
                    Handled::Done => Ok(Some(*id)),
                };
            }
            Target::User(name) => (name, None),
            Target::Device(name, other) => (name, Some(*other)),
        };
        let peer = match other {
            None => self.need_peer(slot, user, name)?,
            Some(_) => self.need_user(slot, name)?,
        };
        let Some(peer) = peer else {
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
        let id = conversation_id(kind, members.map(|(user, device)| (self.directory.name(user), device.into())));
        let key = Key::Conversation(id);
        if self.sequencer.has(&id) {
            return Ok(Some(id));
        }
        if !self.absent.contains(&key) {
            self.load(key, slot);
            return Err(Handled::Blocked);
        }
        self.create_conversation(id, kind, members);
        Ok(Some(id))
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
        self.ensure_logged(from.0, &conversation, seq - 1);
        let (at, batch) = self.append(kind::MESSAGE, &[&stored], true);
        self.segments.added(at.segment, at.len);
        // Delivery counts what is stored, which is more than the body.
        self.sequencer.grew(&conversation, u64::from(at.len).saturating_sub(bytes as u64));
        let mut repeat = Repeat { conversation, seq, time_ms, batch, number: 0 };
        repeat.number = self.sequencer.remember(from, &send.id, repeat, self.config.repeats);
        if let Some(user) = self.directory.get_mut(from.0) {
            user.mark.change();
        }
        let (user, device) = from;
        let (change, withheld) = (None, false);
        let sequenced = Sequenced { conversation, seq, user, device, at, time_ms, bodies, change, withheld, stored };
        self.stats.accepted_total += 1;
        self.wait_for(slot, &send.id, repeat, bytes, Some(sequenced));
    }

    /// A repeat waits like the original, and keeps the order of the connection's sends.
    fn accept_again(&mut self, slot: u32, send: &Send<'_>, mut repeat: Repeat) {
        self.stats.repeated_total += 1;
        let last = self.conns.session(slot).and_then(|s| s.sending.as_ref()).map_or(0, |s| s.last_batch);
        repeat.batch = repeat.batch.max(last);
        if repeat.batch <= self.durable {
            let Repeat { conversation, seq, time_ms, number, .. } = repeat;
            return self.tell_accepted(slot, &send.id, conversation, seq, time_ms, number);
        }
        self.wait_for(slot, &send.id, repeat, send.body.len(), None);
    }

    fn wait_for(&mut self, slot: u32, id: &[u8], repeat: Repeat, bytes: usize, message: Option<Sequenced>) {
        let mut kept = [0; MAX_ID];
        kept.iter_mut().zip(id).for_each(|(to, from)| *to = *from);
        let conn = self.conns.id(slot);
        let bytes = bytes as u32;
        let pending = Pending { batch: repeat.batch, conn, id: kept, id_len: id.len() as u8, repeat, bytes, message };
        if self.pending.back().is_none_or(|last| last.batch <= pending.batch) {
            self.pending.push_back(pending);
        } else {
            // A repeat may belong to an earlier batch than the newest.
            let place = self.pending.partition_point(|p| p.batch <= pending.batch);
            self.pending.insert(place, pending);
        }
        self.unaccepted += u64::from(bytes) + OVERHEAD;
        let Some(session) = self.conns.session_mut(slot) else { return };
        let sending = session.sending.get_or_insert_default();
        sending.last_batch = sending.last_batch.max(repeat.batch);
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
        let Repeat { conversation, seq, time_ms, number, .. } = pending.repeat;
        let id = pending.id.get(..usize::from(pending.id_len)).unwrap_or_default();
        self.tell_accepted(slot, id, conversation, seq, time_ms, number);
    }

    fn tell_accepted(&mut self, slot: u32, id: &[u8], at: ConversationId, seq: u64, time: u64, number: u64) {
        if let Some(session) = self.conns.session_mut(slot) {
            let sending = session.sending.get_or_insert_default();
            if sending.confirms.len() >= self.config.repeats as usize {
                // Older ones were forgotten already; the client's count goes on.
                sending.confirms.pop_front();
                sending.confirmed += 1;
            }
            sending.confirms.push_back(number);
        }
        self.conns.frame(slot, &ServerFrame::Accepted { id, conversation: at, seq, time });
    }

    /// Whether the embedder allows a session to send or read in a conversation; `None`: it has been asked.
    pub(super) fn permitted(&mut self, slot: u32, id: &ConversationId, reading: bool) -> Option<bool> {
        if !self.config.authorize {
            return Some(true);
        }
        let session = self.conns.session(slot)?;
        let known = session.permits.as_ref().and_then(|p| p.known.get(&(*id, reading)));
        if let Some(allowed) = known {
            return Some(*allowed);
        }
        let writers = self.sequencer.writers(id).unwrap_or_default();
        if !writers.iter().any(|w| w.user == session.user) {
            return Some(true);
        }
        let peer = writers.iter().find(|w| w.user != session.user).map_or(session.user, |w| w.user);
        let request = Request::Authorize {
            conn: self.conns.id(slot),
            ticket: u64::from(reading),
            user: self.directory.name(session.user).to_owned(),
            device: u32::from(session.device),
            conversation: *id,
            peer: Some(self.directory.name(peer).to_owned()),
            action: if reading { "read" } else { "send" },
        };
        self.requests.push_back(request);
        if let Some(session) = self.conns.session_mut(slot) {
            session.permits.get_or_insert_default().asked = Some((*id, reading));
        }
        None
    }

    /// The embedder's answer to the session's last question: it holds for this session.
    pub fn permit(&mut self, id: ConnId, ticket: u64, allowed: bool) {
        let Some(slot) = self.conns.slot(id) else { return };
        let Some(permits) = self.conns.session_mut(slot).and_then(|s| s.permits.as_mut()) else { return };
        match permits.asked {
            Some(asked) if u64::from(asked.1) == ticket => {
                if permits.known.len() >= PERMITS {
                    permits.known.clear();
                }
                permits.known.insert(asked, allowed);
                permits.asked = None;
            }
            _ => return,
        }
        self.resume(slot);
        self.settle();
    }
}
