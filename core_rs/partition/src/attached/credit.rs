//! Messages, skips and snapshots, to a session that takes them: some of one conversation, then some of the next.
//!
//! # Rules
//! - Nothing is written beyond the credit, in messages and in bytes. One message may exceed the bytes if nothing is in flight: it
//!   could never be written otherwise.
//! - A body that is not in memory is asked for, with those that follow it; the other conversations go on meanwhile.

use seam::{Attached, Bodies, Credit, Env, Lent, Outputs, Served};
use wire::types::ServerFrame;

use super::{Session, Sessions};
use crate::active::Active;
use crate::entries::NO_HINT;
use crate::ids::{ConversationSlot, DeviceId, MemberIndex, Place};
use crate::lazy::Mailbox;
use crate::online::Online;
use crate::rows::Kind;
use crate::serve::{Item, Next};
use crate::state::State;

/// Most messages of one conversation before the next one has its turn.
const TURN_MESSAGES: u32 = 64;
/// Most conversations, and steps over messages that are not for the mailbox, in a call.
const VISITS: usize = 256;
/// Most messages, and bytes of their records, that are read at once for a conversation.
const READ_AHEAD: (usize, u64) = (128, 512 << 10);

/// How serving one conversation ended.
enum Ended {
    /// Everything that is there was written.
    All,
    /// Others have their turn.
    Turn,
    /// The credit is used up.
    Full,
    /// Bodies from this message on are not in memory.
    Reading(u64),
}

/// What is left of a credit.
struct Left {
    messages: u32,
    bytes: usize,
    /// Nothing was written yet, and nothing is in flight.
    first: bool,
    visits: usize,
}

impl Left {
    /// Takes so many bytes; false: they are not there.
    fn take(&mut self, bytes: usize) -> bool {
        let fits = bytes <= self.bytes || self.first;
        if fits {
            self.bytes = self.bytes.saturating_sub(bytes);
            self.first = false;
        }
        fits
    }
}

impl Sessions {
    pub(super) fn credit<E: Env>(&mut self, state: &mut State, env: &mut E, to: Attached, credit: Credit) -> Served {
        let Some(session) = self.get_mut(to) else { return Served::All };
        let Lent { bodies, out, .. } = env.lend();
        let Credit { messages, bytes, first_any } = credit;
        let mut left = Left { messages, bytes: bytes as usize, first: first_any, visits: VISITS };
        let mut reading = false;
        while let Some((slot, member)) = session.next_conversation() {
            if left.visits == 0 {
                return Served::More;
            }
            let at = Mailbox { slot, member, device: session.device };
            let ended = session.serve(state, to, at, &mut left, bodies, out);
            if let Ended::Full = ended {
                return Served::More;
            }
            session.lists().messages.pop_front();
            match ended {
                Ended::Turn => session.lists().messages.push_back((slot, member)),
                Ended::Reading(from) => {
                    reading = true;
                    state.read_ahead(slot, from, bodies);
                }
                Ended::All | Ended::Full => {}
            }
        }
        session.owes_messages = false;
        if reading { Served::Reading } else { Served::All }
    }
}

impl Session {
    fn next_conversation(&self) -> Option<(ConversationSlot, MemberIndex)> {
        self.lists.as_ref()?.messages.front().copied()
    }

    /// Writes what a mailbox lacks.
    fn serve(
        &mut self,
        state: &mut State,
        me: Attached,
        at: Mailbox,
        left: &mut Left,
        bodies: &mut impl Bodies,
        out: &mut impl Outputs,
    ) -> Ended {
        left.visits -= 1;
        let Some(active) = state.conversation_mut(at.slot) else { return Ended::All };
        let mine = active.row.member(at.member).is_some_and(|member| member.user == self.user);
        let online = active.online.get_mut(at.member, at.device).filter(|online| online.session == me && online.owed);
        let Some(mut online) = online.copied() else { return Ended::All };
        online.owed = false;
        let mut written = 0;
        let ended = loop {
            if !mine {
                break Ended::All;
            }
            match state.next(at, online.sent, online.shown != 0) {
                Next::Nothing => break Ended::All,
                Next::Pass(seq) => {
                    online.sent = seq;
                    if left.visits == 0 {
                        break Ended::Full;
                    }
                    left.visits -= 1;
                }
                Next::Item(Item::Message { seq, .. }) => {
                    if written == TURN_MESSAGES {
                        break Ended::Turn;
                    }
                    if left.messages == 0 {
                        break Ended::Full;
                    }
                    let Some(bytes) = self.message(state, at, seq, left, bodies, out) else {
                        break Ended::Reading(seq);
                    };
                    let Some(bytes) = bytes else { break Ended::Full };
                    online.in_flight = (online.in_flight.0 + 1, online.in_flight.1.saturating_add(bytes));
                    left.messages -= 1;
                    written += 1;
                    (online.sent, online.last) = (seq, seq);
                }
                Next::Item(item) => {
                    if !self.push(state, at, item, left, out) {
                        break Ended::Full;
                    }
                    match item {
                        Item::Snapshot => {
                            let acked = state.acked(at);
                            online.shown = online.sent.max(acked) + 1;
                        }
                        item => (online.sent, online.last) = (item.end(), item.end()),
                    }
                }
            }
        };
        online.owed = matches!(ended, Ended::Turn | Ended::Full);
        self.last = Some(at);
        if let Some(known) = state.conversation_mut(at.slot).and_then(|a| a.online.get_mut(at.member, at.device)) {
            *known = online;
        }
        ended
    }

    /// Writes a message: its bytes. `Some(None)`: it does not fit; `None`: its body is not in memory.
    fn message(
        &self,
        state: &mut State,
        at: Mailbox,
        seq: u64,
        left: &mut Left,
        bodies: &mut impl Bodies,
        out: &mut impl Outputs,
    ) -> Option<Option<u32>> {
        let (active, names) = state.parts(at.slot)?;
        let own = active.peer_of_own(at.member, seq).map(|peer| names.text(peer));
        let (device_body, many) = (active.entries.is_per_device(seq), active.row.members.len() > 2);
        let entry = active.entries.get_mut(seq)?;
        let body = bodies.get(entry.place, &mut entry.hint)?;
        let bytes = body.stored.len();
        if !left.take(bytes) {
            return Some(None);
        }
        out.message(self.address, body, own, device_body, many);
        Some(Some(u32::try_from(bytes).unwrap_or(u32::MAX)))
    }

    /// Writes a skip or a snapshot; false: it does not fit.
    fn push(&self, state: &State, at: Mailbox, item: Item, left: &mut Left, out: &mut impl Outputs) -> bool {
        let Some(active) = state.conversation(at.slot) else { return true };
        let conversation = active.id;
        let frame = match item {
            Item::Skip { from, to, reason } => {
                ServerFrame::Skip { conversation, from, to, reason, user: "", version: &[] }
            }
            _ => ServerFrame::Group(state.group_frame(active)),
        };
        let fits = left.take(frame.encoded_len());
        if fits {
            out.pushed(self.address, &frame);
        }
        fits
    }
}

impl Active {
    /// Who wrote the last message that can be shown, and on which device; 0: it is a change of a group, which comes to all.
    pub(super) fn newest(&self) -> Option<(MemberIndex, DeviceId)> {
        let entry = self.entries.get(self.visible)?;
        Some((MemberIndex::new(usize::from(entry.author)), entry.device))
    }

    /// A direct message of the member's own, from another device of it: the other user.
    fn peer_of_own(&self, member: MemberIndex, seq: u64) -> Option<crate::ids::UserSlot> {
        let own = self.row.kind == Kind::Direct && self.entries.get(seq).is_some_and(|entry| entry.is_by(member));
        let mut others = self.row.iter().filter(|(other, _)| *other != member);
        own.then(|| others.next().or_else(|| self.row.iter().next()).map(|(_, member)| member.user))?
    }

    /// Messages and bytes of records that were given to a mailbox up to `sent` and lie in `from..=to`.
    pub(super) fn given(&self, at: Mailbox, from: u64, to: u64) -> (u32, u32) {
        let Some(member) = self.row.member(at.member) else { return (0, 0) };
        let counts = |entry: &crate::entries::Entry, seq: u64| {
            self.is_for(entry, seq, at.member, at.device) && !entry.is_lost() && self.has_body(member, at.device, seq)
        };
        let all = self.entries.from(from).take_while(|(seq, _)| *seq <= to);
        let all = all.filter(|(seq, entry)| counts(entry, *seq));
        all.fold((0, 0), |sum: (u32, u32), (_, entry)| (sum.0 + 1, sum.1.saturating_add(entry.place.len)))
    }
}

impl State {
    /// How far a mailbox is acknowledged.
    pub(super) fn acked(&self, at: Mailbox) -> u64 {
        let member = self.conversation(at.slot).and_then(|active| active.row.member(at.member));
        member.and_then(|member| member.cursor(at.device)).map_or(0, |cursor| cursor.acked)
    }

    /// Whether there is anything for a session beyond its device's own messages, which are passed over.
    pub(super) fn has_more(&self, at: Mailbox, online: &mut Online) -> bool {
        match self.next(at, online.sent, online.shown != 0) {
            Next::Item(_) => true,
            Next::Pass(seq) => {
                online.sent = seq;
                self.next(at, seq, online.shown != 0) != Next::Nothing
            }
            Next::Nothing => false,
        }
    }

    /// What of that which is in flight to a mailbox's session an acknowledgement of `seq` covers: messages and bytes. It is
    /// counted while the messages are there.
    pub(super) fn covered(&self, at: Mailbox, seq: u64) -> (u32, u32) {
        let Some(active) = self.conversation(at.slot) else { return (0, 0) };
        match active.online.get(at.member, at.device).filter(|online| online.in_flight.0 > 0) {
            None => (0, 0),
            Some(online) if seq >= online.last => online.in_flight,
            Some(online) => {
                let (messages, bytes) = active.given(at, self.acked(at) + 1, seq);
                (messages.min(online.in_flight.0), bytes.min(online.in_flight.1))
            }
        }
    }

    /// A mailbox acknowledged `seq`, which covers so much of what is in flight: the session that gets room.
    pub(super) fn free(&mut self, at: Mailbox, seq: u64, covered: (u32, u32)) -> Option<Attached> {
        let online = self.conversation_mut(at.slot)?.online.get_mut(at.member, at.device)?;
        online.in_flight = (online.in_flight.0 - covered.0, online.in_flight.1 - covered.1);
        let (session, seen) = (online.session, online.shown != 0 && seq >= online.shown);
        if seen {
            online.shown = 0;
            self.saw_snapshot(at);
        }
        Some(session)
    }

    /// Asks for bodies of a conversation from message `from` on. The answers are counted, so that nothing is asked twice.
    fn read_ahead(&mut self, slot: ConversationSlot, from: u64, bodies: &mut impl Bodies) {
        let Some(active) = self.conversation_mut(slot).filter(|active| active.reading == 0) else { return };
        let (serial, visible, mut bytes) = (active.serial, active.visible, 0);
        let mut wanted = 0;
        for (seq, entry) in active.entries.from(from).take_while(|(seq, _)| *seq <= visible).take(READ_AHEAD.0) {
            let mut hint = entry.hint;
            if bytes >= READ_AHEAD.1 || (seq > from && bodies.get(entry.place, &mut hint).is_some()) {
                break;
            }
            if !entry.is_lost() {
                bytes += u64::from(entry.place.len);
                wanted += 1;
                bodies.want((slot.place() as u32, serial), seq, entry.place);
            }
        }
        active.reading = wanted;
    }

    /// A body that was asked for came, or will not come now: those who wait for it take it, or ask again. `hint`: for
    /// [`Bodies::get`]. Whether it is kept with the message: that is still here, at the same place.
    pub(crate) fn body_read(&mut self, (slot, serial): (u32, u32), (seq, place): (u64, Place), hint: u32) -> bool {
        let slot = ConversationSlot::new(slot as usize);
        let Some(active) = self.conversation_mut(slot).filter(|active| active.serial == serial) else { return false };
        let entry = active.entries.get_mut(seq).filter(|entry| entry.place == place && hint != NO_HINT);
        let kept = entry.map(|entry| std::mem::replace(&mut entry.hint, hint));
        active.reading = active.reading.saturating_sub(1);
        if active.reading == 0 {
            self.wake(slot);
        }
        // Another copy of it, if there was one.
        self.freed.extend(kept.filter(|&before| before != NO_HINT && before != hint).map(|before| (place, before)));
        kept.is_some()
    }
}
