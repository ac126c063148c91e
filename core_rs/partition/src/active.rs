//! A conversation in memory: its row, its undelivered messages, and the mailboxes that a session is attached to.

use hashbrown::HashMap;
use thin_vec::ThinVec;

use crate::entries::{Entries, Entry};
use crate::ids::{ConversationId, DeviceId, MemberIndex, UserSlot};
use crate::rows::{Conversation, Kind};
use crate::users::Mark;

/// With more members than this there is an index of them.
const FEW: usize = 16;

/// A mailbox that a session is attached to.
#[derive(Clone, Copy, Debug)]
pub struct Attached {
    /// The session's slot.
    pub session: u32,
    /// Whose mailbox.
    pub member: MemberIndex,
    /// Its device.
    pub device: DeviceId,
    /// Everything up to here was given to the session.
    pub sent: u64,
    /// It stands in the session's list of conversations that owe it something.
    pub owed: bool,
}

/// See the module.
#[derive(Debug)]
pub struct Active {
    /// Its id.
    pub id: ConversationId,
    /// Its row, at the newest position.
    pub row: Conversation,
    /// See [`Mark`].
    pub mark: Mark,
    /// The last message that is durable: nothing above it is shown.
    pub visible: u64,
    /// Undelivered messages, visible or not.
    pub entries: Entries,
    /// Mailboxes with a session, in no order.
    pub attached: ThinVec<Attached>,
    /// Members whose lazy facts are not logged yet.
    pub moved: Vec<MemberIndex>,
    /// It stands in the list of conversations with such.
    pub dirty: bool,
    index: Option<Box<HashMap<UserSlot, MemberIndex>>>,
}

impl Active {
    /// Around a row whose messages are not here yet.
    pub fn new(id: ConversationId, row: Conversation) -> Self {
        let (visible, first) = (row.head, row.head + 1);
        let mut active = Self {
            id,
            row,
            mark: Mark::default(),
            visible,
            entries: Entries::new(first),
            attached: ThinVec::new(),
            moved: Vec::new(),
            dirty: false,
            index: None,
        };
        active.reindex();
        active
    }

    /// The members or cursors of the row changed: what is derived from them is made anew.
    pub fn reindex(&mut self) {
        // A mailbox of a member who left wants nothing above that member's last message.
        let wants = |(_, member): (_, &crate::rows::Member)| {
            let to = member.to;
            member.cursors.iter().map(|cursor| cursor.acked).filter(move |&acked| acked < to).collect::<Vec<_>>()
        };
        let cursors = self.row.iter().flat_map(wants);
        self.entries.recount(cursors);
        // In a device conversation one user may stand twice.
        let many = self.row.kind == Kind::Group && self.row.members.len() > FEW;
        self.index = many.then(|| Box::new(self.row.iter().map(|(index, member)| (member.user, index)).collect()));
    }

    /// The place of a user's device among the members; device 0: of any.
    pub fn member(&self, user: UserSlot, device: DeviceId) -> Option<MemberIndex> {
        match &self.index {
            Some(index) => index.get(&user).copied(),
            None => self.row.find(user, device),
        }
    }

    /// Whether a mailbox gets a message: it is inside its user's intervals, not its own sending, and not withheld.
    pub fn is_for(&self, entry: &Entry, seq: u64, index: MemberIndex, device: DeviceId) -> bool {
        let mine = entry.is_by(index);
        let own = mine && entry.device == device && entry.device != 0;
        let withheld = entry.withheld && !mine;
        !own && !withheld && self.row.member(index).is_some_and(|member| member.sees(seq))
    }

    /// The last message that an acknowledgement of `acked` covers: it passes over directly following ones that the mailbox
    /// does not get.
    pub fn pass(&self, acked: u64, index: MemberIndex, device: DeviceId) -> u64 {
        let last = self.row.member(index).map_or(0, |member| member.to);
        let mut upto = acked;
        for (seq, entry) in self.entries.from(acked + 1) {
            if seq != upto + 1 || seq > last || self.is_for(entry, seq, index, device) {
                break;
            }
            upto = seq;
        }
        upto
    }

    /// A mailbox has everything up to `acked`: its cursor moves, and is to be logged.
    pub fn advance(&mut self, index: MemberIndex, device: DeviceId, acked: u64) {
        let Some(member) = self.row.member_mut(index) else { return };
        let to = member.to;
        let Some(cursor) = member.cursor_mut(device).filter(|cursor| cursor.acked < acked) else { return };
        let old = std::mem::replace(&mut cursor.acked, acked);
        if old < to {
            self.entries.leave(old);
        }
        if acked < to {
            self.entries.stand(acked);
        }
        self.note_moved(index);
    }

    /// A member's lazy facts are to be logged.
    pub fn note_moved(&mut self, index: MemberIndex) {
        if !self.moved.contains(&index) {
            self.moved.push(index);
        }
    }
}
