//! What a user asks about groups, and whom it takes nothing from.

use super::Engine;
use super::frames::Handled;
use super::sends::List;
use super::session::Session;
use crate::delivery::{Outlet, Refusal};
use crate::sequencer::Kind;
use crate::wire::codes;
use crate::wire::types::{ConversationId, ServerFrame};

/// Most users whom one blocks.
pub const MAX_BLOCKED: usize = 1000;

impl Engine {
    /// A user's groups, or one of them as far as it may be seen.
    pub(super) fn group_get(&mut self, slot: u32, id: Option<ConversationId>) -> Handled {
        let Some((user, _)) = self.conns.session(slot).map(Session::mailbox) else { return Handled::Done };
        if self.answer_waits(slot) {
            return Handled::Later;
        }
        let Some(id) = id else {
            let groups = self.directory.get(user).map(|u| u.groups.clone()).unwrap_or_default();
            self.tell_list(slot, List::Groups(groups), 0);
            return Handled::Done;
        };
        if self.lists_group(user, &id)
            && let Err(handled) = self.need_own(slot, &id)
        {
            return handled;
        }
        let group = self.delivery.find(&id).and_then(|place| self.delivery.get(place)?.group.as_deref());
        match group.filter(|group| group.role(user).is_some()) {
            Some(group) => self.conns.frame(slot, &ServerFrame::Group(group.frame(id, &self.directory))),
            None => {
                self.forget_group(user, &id);
                self.refuse_cursor(slot, Refusal::Unknown, id);
            }
        }
        Handled::Done
    }

    /// A group that a crash took back while its members were away.
    fn forget_group(&mut self, user: u32, id: &ConversationId) {
        let member = self.sequencer.group(id).is_some_and(|group| group.role(user).is_some());
        let Some(known) = self.directory.get_mut(user) else { return };
        if !member && known.groups.contains(id) {
            known.groups.retain(|group| group != id);
            self.log_user(user);
        }
    }

    /// Who has a message of a group, and who read it.
    pub(super) fn progress_get(&mut self, slot: u32, id: ConversationId, seq: u64) -> Handled {
        let Some((user, _)) = self.conns.session(slot).map(Session::mailbox) else { return Handled::Done };
        if self.answer_waits(slot) {
            return Handled::Later;
        }
        if self.lists_group(user, &id)
            && let Err(handled) = self.need_own(slot, &id)
        {
            return handled;
        }
        match self.delivery.progress(&self.directory, user, &id, seq) {
            Ok(cursors) => {
                self.conns.frame(slot, &ServerFrame::Progress { conversation: id, seq, cursors: &cursors });
            }
            // An answer to the question, which an error about an ack or a read in the same conversation is not.
            Err(Refusal::BeyondHead) => {
                self.stats.errors_total += 1;
                let message = format!("There is no message {seq} for you here.");
                self.tell_error(slot, codes::UNKNOWN_MESSAGE, &message, &[], Some(id));
            }
            Err(refusal) => self.refuse_cursor(slot, refusal, id),
        }
        Handled::Done
    }

    /// Takes nothing from a user, or takes it again; without a name, only tells whom that concerns.
    pub(super) fn block(&mut self, slot: u32, name: &str, off: bool) -> Handled {
        let Some((me, _)) = self.conns.session(slot).map(Session::mailbox) else { return Handled::Done };
        if self.answer_waits(slot) {
            return Handled::Later;
        }
        let blocked = self.directory.get(me).is_some_and(|user| user.blocks(name));
        let before = self.log.appended_bytes();
        if blocked && off {
            if let Some(user) = self.directory.get_mut(me) {
                user.blocked.retain(|other| other != name);
            }
            self.log_user(me);
        } else if !blocked && !off && !name.is_empty() {
            match self.need_user(slot, name) {
                Ok(Some(user)) if user == me => {
                    return self.refuse_block(slot, codes::BAD_FIELD, "Nobody blocks oneself.");
                }
                Ok(Some(_)) => {}
                Ok(None) => {
                    return self.refuse_block(slot, codes::UNKNOWN_USER, &format!("There is no user {name:?}."));
                }
                Err(handled) => return handled,
            }
            let Some(user) = self.directory.get_mut(me) else { return Handled::Done };
            if user.blocked.len() >= MAX_BLOCKED {
                return self.refuse_block(slot, codes::TOO_MANY, &format!("You block {MAX_BLOCKED} users already."));
            }
            user.blocked.push(name.into());
            self.log_user(me);
        }
        let blocked = self.directory.get(me).map(|user| user.blocked.clone()).unwrap_or_default();
        // What was logged for it counts like what is sent: a few bytes may have the user's whole state written.
        let logged = self.log.appended_bytes() - before;
        self.tell_list(slot, List::Blocks(blocked), logged);
        Handled::Done
    }

    fn refuse_block(&mut self, slot: u32, code: &'static str, message: &str) -> Handled {
        self.stats.errors_total += 1;
        self.tell_error(slot, code, message, &[], None);
        Handled::Done
    }

    /// Whether the other user of a conversation takes nothing from this one. Keys travel between members of a common
    /// group whatever they think of each other.
    pub(super) fn is_withheld(&self, (user, _): (u32, u16), id: &ConversationId) -> bool {
        let writers = self.sequencer.writers(id).unwrap_or_default();
        let Some(other) = writers.iter().find(|writer| writer.user != user) else { return false };
        let Some(peer) = self.directory.get(other.user).filter(|peer| !peer.blocked.is_empty()) else { return false };
        let Some(me) = self.directory.get(user) else { return false };
        if !peer.blocks(&me.name) {
            return false;
        }
        let device = self.delivery.find(id).and_then(|place| self.delivery.get(place)).map(|c| c.kind);
        device != Some(Kind::Device) || !me.shares_group(peer)
    }
}
