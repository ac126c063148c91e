//! A conversation in memory: its row, its undelivered messages, and which lazy facts are not logged yet.

use hashbrown::HashMap;
use smallvec::SmallVec;

use crate::entries::{Entries, Entry};
use crate::ids::{ConversationId, DeviceId, MemberIndex, Position, UserSlot};
use crate::index::InStore;
use crate::online::OnlineList;
use crate::records::{Cursors, Moved};
use crate::rows::{Conversation, Cursor, Kind, Member};
use crate::users::Mark;

/// With more members than this there is an index of them.
const FEW: usize = 16;

/// See the module.
#[derive(Debug)]
pub struct Active {
    /// Its id.
    pub id: ConversationId,
    /// Its row, at the newest position.
    pub row: Conversation,
    /// See [`Mark`].
    pub mark: Mark,
    /// The last message that is durable: nothing above it is shown, acknowledged or read.
    pub visible: u64,
    /// The batch of the last change of the group: no snapshot is shown before that is durable.
    pub changed: Position,
    /// The batch of the last record that noted skips: neither a skip nor a receipt is shown before that is durable.
    pub skipped: Position,
    /// Undelivered messages, visible or not.
    pub entries: Entries,
    /// What the store has of it.
    pub in_store: InStore,
    /// How many uses keep it in memory.
    pub pins: u32,
    /// The last segment that is known to hold messages of it.
    pub noted: u32,
    /// The sessions of its mailboxes.
    pub online: OnlineList,
    /// It stands in the list of conversations whose sessions may get something.
    pub woken: bool,
    /// Which of those that had its slot, so that an answer that comes late finds it or nothing.
    pub serial: u32,
    /// Bodies that were asked for and have not come.
    pub reading: u32,
    /// Its latest place in the list of what becomes visible: see [`State::synced`](crate::state::State::synced).
    pub pending: u64,
    /// It stands in the list of conversations with lazy facts that are not logged yet.
    pub listed: bool,
    /// Members whose lazy facts are not logged yet, in the order in which they moved.
    moved: Vec<MemberIndex>,
    /// The same, a bit for each place.
    moved_bits: SmallVec<[u64; 1]>,
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
            changed: Position(0),
            skipped: Position(0),
            entries: Entries::new(first),
            in_store: InStore::unknown(),
            pins: 0,
            noted: 0,
            online: OnlineList::default(),
            woken: false,
            serial: 0,
            reading: 0,
            pending: 0,
            listed: false,
            moved: Vec::new(),
            moved_bits: SmallVec::new(),
            index: None,
        };
        active.reindex();
        active
    }

    /// Changes the mailboxes of one member, which are counted anew.
    pub fn change_mailboxes(&mut self, index: Option<MemberIndex>, change: impl FnOnce(&mut Conversation)) {
        let Self { row, entries, .. } = self;
        fn lacking(row: &Conversation, index: Option<MemberIndex>) -> impl Iterator<Item = u64> {
            index.and_then(|index| row.member(index)).into_iter().flat_map(Member::lacking)
        }
        lacking(row, index).for_each(|acked| entries.leave(acked));
        change(row);
        lacking(row, index).for_each(|acked| entries.stand(acked));
    }

    /// The members of the row changed: what is derived from them is made anew.
    pub fn reindex(&mut self) {
        self.entries.recount(self.row.lacking());
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

    /// In a direct conversation of two a user's place, and the other user.
    pub fn peer(&self, user: UserSlot) -> Option<(MemberIndex, UserSlot)> {
        let [Some(one), Some(two)] = self.row.members.as_slice() else { return None };
        match self.row.kind {
            Kind::Direct if one.user == user => Some((MemberIndex::new(0), two.user)),
            Kind::Direct if two.user == user => Some((MemberIndex::new(1), one.user)),
            _ => None,
        }
    }

    /// All places of a user: two in a device conversation with itself.
    pub fn places(&self, user: UserSlot) -> SmallVec<[MemberIndex; 2]> {
        if self.row.kind == Kind::Group {
            return self.member(user, 0).into_iter().collect();
        }
        self.row.iter().filter(|(_, member)| member.user == user).map(|(index, _)| index).collect()
    }

    /// Whether a mailbox of a device waits for something: a message, or a skip of what the floor dropped.
    pub fn is_awaited(&self) -> bool {
        let below = self.row.floor - 1;
        let lacks = |member: &Member, cursor: &Cursor| {
            let lacks = |(from, to): (u64, u64)| from.max(cursor.acked + 1) <= to.min(below);
            cursor.device != 0 && cursor.acked < below.min(member.to) && member.intervals().any(lacks)
        };
        let members = self.row.members.iter().flatten();
        !self.entries.is_empty() || members.into_iter().any(|m| m.cursors.iter().any(|cursor| lacks(m, cursor)))
    }

    /// Whether a mailbox gets a message: it is inside its user's intervals, not its own sending, and not withheld.
    pub fn is_for(&self, entry: &Entry, seq: u64, index: MemberIndex, device: DeviceId) -> bool {
        let mine = entry.is_by(index);
        let own = mine && entry.device == device && entry.device != 0;
        let withheld = entry.withheld && !mine;
        !own && !withheld && self.row.member(index).is_some_and(|member| member.sees(seq))
    }

    /// The last message that an acknowledgement of `acked` covers: it passes over directly following ones that the mailbox
    /// does not get, and over numbers that no message has. It stops at one that is withheld: the mailbox is told of that first.
    pub fn pass(&self, acked: u64, index: MemberIndex, device: DeviceId) -> u64 {
        let Some(member) = self.row.member(index) else { return acked };
        let over = |upto: u64| (self.row.after(upto) - 1).min(member.to);
        let mut upto = over(acked);
        for (seq, entry) in self.entries.from(upto + 1) {
            let told = entry.withheld && !entry.is_by(index) && member.sees(seq);
            if seq != upto + 1 || seq > member.to || told || self.is_for(entry, seq, index, device) {
                break;
            }
            upto = over(seq);
        }
        upto
    }

    /// A record of this batch noted skips.
    pub fn noted_skips(&mut self, position: Position) {
        self.skipped = position;
        self.online.dropped();
    }

    /// A mailbox has everything up to `acked`: its cursor moves, and is to be logged.
    pub fn advance(&mut self, index: MemberIndex, device: DeviceId, acked: u64) {
        let Some(member) = self.row.member_mut(index) else { return };
        let to = member.to;
        let Some(cursor) = member.cursor_mut(device).filter(|cursor| cursor.acked < acked) else { return };
        let old = std::mem::replace(&mut cursor.acked, acked);
        self.recount(old, acked, to);
        self.note_moved(index);
    }

    fn recount(&mut self, old: u64, acked: u64, to: u64) {
        if old < to {
            self.entries.leave(old);
        }
        if acked < to {
            self.entries.stand(acked);
        }
    }

    /// Whether the counts are those that the cursors make.
    #[cfg(test)]
    pub fn is_counted(&self) -> bool {
        self.entries.is_counted(self.row.lacking())
    }

    /// After a message was applied to the row and added to the entries: its author's cursor may have passed it.
    pub fn passed(&mut self, author: MemberIndex, device: DeviceId, seq: u64) {
        let Some(member) = self.row.member(author) else { return };
        let to = member.to;
        if member.cursor(device).is_some_and(|cursor| cursor.acked == seq) {
            self.recount(seq - 1, seq, to);
        }
    }

    /// A member's lazy facts are to be logged.
    pub fn note_moved(&mut self, index: MemberIndex) {
        let (word, bit) = (index.place() / 64, 1_u64 << (index.place() % 64));
        if self.moved_bits.len() <= word {
            self.moved_bits.resize(word + 1, 0);
        }
        if let Some(bits) = self.moved_bits.get_mut(word)
            && *bits & bit == 0
        {
            *bits |= bit;
            self.moved.push(index);
        }
    }

    /// Whether lazy facts are not logged yet.
    pub fn is_dirty(&self) -> bool {
        !self.moved.is_empty()
    }

    /// The lazy facts that are not logged yet, as a record.
    pub fn moved_cursors(&self) -> Cursors {
        let fact = |&index: &MemberIndex| Some(moved(index, self.row.member(index)?));
        Cursors { conversation: self.id, members: self.moved.iter().filter_map(fact).collect() }
    }

    /// All lazy facts are logged.
    pub fn logged(&mut self) {
        self.moved.clear();
        self.moved_bits.clear();
    }
}

fn moved(index: MemberIndex, member: &Member) -> Moved {
    let cursors = member.cursors.iter().map(|cursor| (cursor.device, cursor.acked, cursor.fresh)).collect();
    Moved {
        member: index.place() as u32,
        progress: [member.delivered, member.read, member.version, member.read_version, member.owed],
        cursors,
        forget: 0,
    }
}
