//! The sessions that a conversation's mailboxes are served to, and what each was given since it attached.
//!
//! A conversation lists them in the order of their members, so that a message that becomes visible costs nothing for those who
//! are away. One that is over, or whose mailbox is, is taken out when it is next met.

use seam::Attached;
use smallvec::SmallVec;
use thin_vec::ThinVec;

use crate::ids::{ConversationSlot, DeviceId, MemberIndex};
use crate::lazy::Mailbox;
use crate::state::State;
use crate::users::UserSession;

/// A mailbox with a session.
#[derive(Clone, Copy, Debug)]
pub struct Online {
    member: MemberIndex,
    device: DeviceId,
    /// The conversation stands in the session's list of what it is owed.
    pub owed: bool,
    /// The session.
    pub session: Attached,
    /// Everything up to here was written to it, or is not for it; it may have acknowledged more, by another session.
    pub sent: u64,
    /// The end of the last message or skip that was written to it.
    pub last: u64,
    /// The first number that may follow the group's snapshot, if that was written and the mailbox lost nothing since; else 0.
    pub shown: u64,
    /// Messages and bytes that were written to it and are not acknowledged.
    pub in_flight: (u32, u32),
}

/// See the module.
#[derive(Debug, Default)]
pub struct OnlineList(ThinVec<Online>);

impl OnlineList {
    /// The session of a mailbox. Where each member has one, its place is the member's.
    fn place(&self, member: MemberIndex, device: DeviceId) -> Result<usize, usize> {
        let key = |online: &Online| (online.member, online.device);
        match self.0.get(member.place()) {
            Some(online) if key(online) == (member, device) => Ok(member.place()),
            _ => self.0.binary_search_by_key(&(member, device), key),
        }
    }

    /// The session of a mailbox, to change.
    pub fn get_mut(&mut self, member: MemberIndex, device: DeviceId) -> Option<&mut Online> {
        let place = self.place(member, device).ok()?;
        self.0.get_mut(place)
    }

    /// The same, to look at.
    pub fn get(&self, member: MemberIndex, device: DeviceId) -> Option<&Online> {
        self.0.get(self.place(member, device).ok()?)
    }

    /// Goes through all, in the order of members; those go for whom `keep` says so.
    pub fn retain(&mut self, keep: impl FnMut(&mut Online) -> bool) {
        self.0.retain_mut(keep);
    }

    /// A mailbox has this session now. What it was written counts on if it is the one that there was.
    fn put(&mut self, member: MemberIndex, device: DeviceId, session: Attached) {
        let online = Online { member, device, owed: false, session, sent: 0, last: 0, shown: 0, in_flight: (0, 0) };
        match self.place(member, device) {
            Ok(place) => {
                if let Some(known) = self.0.get_mut(place).filter(|known| known.session != session) {
                    *known = online;
                }
            }
            Err(place) => self.0.insert(place, online),
        }
    }

    /// A mailbox has no session any more.
    pub fn remove(&mut self, member: MemberIndex, device: DeviceId) {
        if let Ok(place) = self.place(member, device) {
            self.0.remove(place);
        }
    }

    /// Messages were dropped: the mailboxes that are fresh get the group's snapshot again, and what was passed over because it
    /// was not for them is looked at again. It may be a skip now, without which a cursor does not get past it.
    pub fn dropped(&mut self) {
        self.0.iter_mut().for_each(|online| (online.shown, online.sent) = (0, online.sent.min(online.last)));
    }
}

impl Online {
    /// Whose mailbox it is.
    pub fn mailbox(&self, slot: ConversationSlot) -> Mailbox {
        Mailbox { slot, member: self.member, device: self.device }
    }
}

impl State {
    /// The mailboxes of a member are served to the sessions that its user's devices have; none is taken away.
    pub(crate) fn connect(&mut self, slot: ConversationSlot, index: MemberIndex) {
        let Some(member) = self.conversation(slot).and_then(|active| active.row.member(index)) else { return };
        let Some(user) = self.users.get(member.user).filter(|user| !user.sessions.is_empty()) else { return };
        let has = |session: &&UserSession| session.receives && member.cursor(session.device).is_some();
        let sessions: SmallVec<[UserSession; 2]> = user.sessions.iter().filter(has).copied().collect();
        let Some(active) = self.conversation_mut(slot) else { return };
        for UserSession { at, device, .. } in sessions {
            active.online.put(index, device, at);
        }
        self.wake(slot);
    }

    /// Something may be there for the sessions of a conversation: [`State::woken`] lists it.
    pub(crate) fn wake(&mut self, slot: ConversationSlot) {
        let Some(active) = self.conversation_mut(slot) else { return };
        if !active.online.0.is_empty() && !std::mem::replace(&mut active.woken, true) {
            self.woken.push(slot);
        }
    }
}
