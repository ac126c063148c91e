//! Sessions that are attached: which mailbox each stands for, and what it is to be given.
//!
//! # Layout
//! - `attach`: sessions begin and end; `welcome` waits until the device's mailboxes have begun. `commands`: what a session
//!   says.
//! - `credit`: messages, skips and snapshots, as a session takes them. `receipts`: what a session is told about other
//!   members, from what moved; `catch_up`: the same after an absence, from the rows. `token`: how far it was told.
//!
//! # Rules
//! - A device has one session that receives: the newest.
//! - What a session is owed is a hint: a list of conversations, and of members who moved. What it gets is derived from the rows
//!   when it takes it. So a session that takes nothing costs a bounded list.
//! - The gateway is told once that something is owed, until it was served all of it.

mod attach;
mod catch_up;
mod commands;
mod credit;
mod receipts;
mod token;

use std::collections::{BTreeMap, VecDeque};

use compact_str::CompactString;
use seam::{Address, Attached, Outputs, RowKey};
use slab::Slab;
use smallvec::SmallVec;

use crate::config::Now;
use crate::ids::{ConversationId, ConversationSlot, DeviceId, MemberIndex, UserSlot};
use crate::lazy::Mailbox;
use crate::propose::{Author, Fits};
use crate::state::State;
use attach::Join;
use receipts::Receipts;
pub use token::Tokens;

/// A handle of no session.
const OVER: Attached = Attached { slot: u32::MAX, serial: 0 };

/// What a node is asked for: rows of the store.
#[derive(Clone, Debug, PartialEq)]
pub enum Want {
    /// These, to be answered with [`Partition::loaded`](crate::partition::Partition::loaded).
    Rows(SmallVec<[RowKey; 2]>),
    /// Index rows, at most 1,024, to be answered with [`Partition::page`](crate::partition::Partition::page).
    Page {
        /// For a session, or for upkeep.
        session: Option<Attached>,
        /// Of this user, …
        user: CompactString,
        /// … behind this conversation.
        after: Option<ConversationId>,
    },
    /// Nothing: these conversations were loaded, and can rest again.
    Rest(Vec<ConversationId>),
}

/// All sessions of a partition.
#[derive(Debug, Default)]
pub struct Sessions {
    table: Slab<Session>,
    /// How many there were, wrapping.
    serials: u32,
    tokens: Tokens,
    /// Users whose devices began or ended and whose conversations have not all taken that up, and how far each came.
    fitting: BTreeMap<UserSlot, Fits>,
    /// The one who had its turn last.
    fitted: Option<UserSlot>,
    /// Sessions that were not welcomed yet.
    joining: VecDeque<Attached>,
    /// Conversations of theirs that are to enter the generation, as far as they did not.
    entering: Vec<ConversationSlot>,
    /// Sessions that may be told of groups, and when: ms of the monotonic clock, in order.
    bursts: VecDeque<(u64, Attached)>,
    /// Sessions with receipts that wait until a record is durable, …
    undurable: Vec<Attached>,
    /// … or for rows.
    loading: Vec<Attached>,
    /// What they wait for.
    wanted: Vec<Want>,
    /// A client had a token above all that was ever given.
    ahead: bool,
}

/// One of them.
#[derive(Debug)]
struct Session {
    serial: u32,
    /// What the gateway calls it.
    address: Address,
    /// Its user, whose name it holds.
    name: CompactString,
    user: UserSlot,
    device: DeviceId,
    receives: bool,
    /// The gateway was told that messages wait, …
    owes_messages: bool,
    /// … and that receipts do.
    owes_receipts: bool,
    /// Receipts are to be taken from the rows.
    behind: bool,
    /// The mailbox that it used last.
    last: Option<Mailbox>,
    /// Every receipt up to this version was written to it.
    told: u64,
    /// The version with which a client says that it has all that was written.
    given: u64,
    /// What it is owed; nothing is allocated before there was something.
    lists: Option<Box<Lists>>,
}

#[derive(Debug, Default)]
struct Lists {
    /// Conversations with messages, skips or a snapshot for it.
    messages: VecDeque<(ConversationSlot, MemberIndex)>,
    receipts: Receipts,
    /// It was not welcomed yet.
    join: Option<Join>,
}

impl Session {
    fn author(&self) -> Author<'_> {
        Author { name: &self.name, user: self.user, device: self.device }
    }

    fn lists(&mut self) -> &mut Lists {
        self.lists.get_or_insert_default()
    }

    /// Messages wait for it.
    fn owe_messages(&mut self, out: &mut impl Outputs) {
        if !std::mem::replace(&mut self.owes_messages, true) {
            out.owed(self.address, true);
        }
    }

    /// Receipts wait for it.
    fn owe_receipts(&mut self, out: &mut impl Outputs) {
        if !std::mem::replace(&mut self.owes_receipts, true) {
            out.owed(self.address, false);
        }
    }
}

impl Sessions {
    /// None, with what makes their tokens.
    pub(crate) fn new(tokens: Tokens) -> Self {
        Self { tokens, ..Self::default() }
    }

    fn get(&self, at: Attached) -> Option<&Session> {
        self.table.get(at.slot as usize).filter(|session| session.serial == at.serial)
    }

    fn get_mut(&mut self, at: Attached) -> Option<&mut Session> {
        self.table.get_mut(at.slot as usize).filter(|session| session.serial == at.serial)
    }

    /// Conversations have something new for their sessions: they are listed for each.
    pub(crate) fn wake(&mut self, state: &mut State, out: &mut impl Outputs) {
        let mut woken = std::mem::take(&mut state.woken);
        for slot in woken.drain(..) {
            let Some(active) = state.conversation_mut(slot) else { continue };
            active.woken = false;
            let mut online = std::mem::take(&mut active.online);
            let newest = active.newest();
            online.retain(|online| {
                let Some(session) = self.get_mut(online.session) else { return false };
                let at = online.mailbox(slot);
                // Most get a message that is new, and are not looked at; a device gets no copy of what it sent.
                let gets = newest.is_some_and(|author| author != (at.member, at.device));
                if !online.owed && (gets || state.has_more(at, online)) {
                    online.owed = true;
                    session.lists().messages.push_back((slot, at.member));
                    session.owe_messages(out);
                }
                true
            });
            if let Some(active) = state.conversation_mut(slot) {
                active.online = online;
            }
        }
        // Its room serves the next ones.
        state.woken = woken;
    }

    /// Sessions that waited for a record to be durable can be told receipts.
    pub(crate) fn durable(&mut self, out: &mut impl Outputs) {
        for at in std::mem::take(&mut self.undurable) {
            if let Some(session) = self.get_mut(at) {
                session.owe_receipts(out);
            }
        }
    }

    /// The same of those that waited for rows: some came.
    pub(crate) fn loaded(&mut self, out: &mut impl Outputs) {
        for at in std::mem::take(&mut self.loading) {
            if let Some(session) = self.get_mut(at) {
                session.owe_receipts(out);
            }
        }
    }

    /// Conversations of which a device attached, and that are not in the generation yet.
    pub(crate) fn entering(&mut self) -> Vec<ConversationSlot> {
        std::mem::take(&mut self.entering)
    }

    /// A device is no more: its sessions are over.
    pub(crate) fn device_ended(
        &mut self,
        state: &mut State,
        (name, device): (&str, DeviceId),
        now: Now,
        out: &mut impl Outputs,
    ) {
        let sessions = state.names.find(name).and_then(|user| Some(&state.users.get(user)?.sessions));
        let of_device = sessions.into_iter().flatten().filter(|session| session.device == device);
        let ended: SmallVec<[Attached; 2]> = of_device.map(|session| session.at).collect();
        for at in ended {
            if let Some(session) = self.get(at) {
                out.replaced(session.address);
            }
            self.end(state, now, at);
        }
    }

    /// What sessions wait for, once.
    pub(crate) fn wanted(&mut self) -> Vec<Want> {
        std::mem::take(&mut self.wanted)
    }

    /// Index rows came that a session waits for.
    pub(crate) fn catch_up_page(&mut self, at: Attached, ids: Vec<ConversationId>, last: bool, out: &mut impl Outputs) {
        let Some(session) = self.get_mut(at) else { return };
        if let Some(walk) = &mut session.lists().receipts.catch_up {
            walk.page(ids, last);
        }
        session.owe_receipts(out);
    }

    /// A session asks again for index rows.
    pub(crate) fn page_again(&mut self, at: Attached, out: &mut impl Outputs) {
        if let Some(session) = self.get_mut(at) {
            session.owe_receipts(out);
        }
    }

    /// Whether a client had a token above all that was ever given, since this was last asked.
    pub(crate) fn was_ahead(&mut self) -> bool {
        std::mem::take(&mut self.ahead)
    }
}
