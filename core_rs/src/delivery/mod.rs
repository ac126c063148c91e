//! Cursors, windows, receipts and skips: who is still owed what.
//!
//! A conversation keeps its undelivered messages once; a mailbox's queue is what lies above its cursor, inside its
//! interval, and is not its own sending. A message costs nothing per absent member. What a session is owed is written
//! from a run queue, round robin, within the session's window (I6). Delivery must never number anything, never know a
//! socket, and never look inside a body (I9).
//!
//! - [`conversation`]: one conversation's messages and cursors. `member`: a user in it.
//! - [`hot`]: bodies in memory.
//! - `acks`: acknowledgements, read cursors, and what is reclaimed by them.
//! - `changes`: members of a group come and go.
//! - `claims`: what a user is known to have, or never to get.
//! - `devices`: mailboxes come and go with the devices of a user.
//! - `run`: the run queue: messages and skips to sessions.
//! - `receipts`: receipts to sessions. `bursts`: those of groups.
//! - `expiry`: the hold time, and a group's cap. `progress`: who has a message.
//! - [`state`]: what survives, as bytes.

mod acks;
mod bursts;
mod changes;
mod claims;
pub mod conversation;
mod devices;
mod expiry;
pub mod hot;
mod member;
mod progress;
mod receipts;
mod run;
pub mod state;

use std::collections::VecDeque;
use std::hash::BuildHasher;

use hashbrown::{DefaultHashBuilder, HashTable};
use slab::Slab;

use crate::engine::directory::Directory;
use crate::log::Ref;
use crate::sequencer::{Reclaimed, Sequenced};
use crate::wire::types::{ConversationId, ServerFrame};
pub use acks::Refusal;
use conversation::{Conversation, Entry, NOBODYS, NONE, WITHHELD};
use hot::{Body, Hot};
#[cfg(test)]
pub use member::TOUCHED;
pub use run::RUN_BYTES;

/// Where delivery writes: sessions, by the slot of their connection.
pub trait Outlet {
    /// A message; `to` for the author's own devices; `many`: others will get the same bytes.
    fn message(&mut self, conn: u32, body: &mut Body, to: Option<&str>, many: bool);
    /// A message with the one device's own body, as stored bytes.
    fn own_message(&mut self, conn: u32, stored: &[u8], to: Option<&str>);
    /// Any other frame.
    fn frame(&mut self, conn: u32, frame: &ServerFrame<'_>);
    /// Bytes of all that was written so far; 0 where nobody counts.
    fn written(&self) -> u64 {
        0
    }
}

/// Tells a receiver from those that had its slot before.
pub type Serial = [u8; 3];

/// News of groups reach a session at most this often, ms.
pub const BURST_MS: u64 = 250;

/// Messages that are looked at to tell a new session what waits for it; what is above is reckoned.
const LOOKS: u64 = 4096;

/// What delivery wants done outside; taken by the engine after each call.
#[derive(Default, Debug)]
pub struct Effects {
    /// Records that nobody needs any more: (segment, bytes).
    pub freed: Vec<(u32, u32)>,
    /// News for the sequencer.
    pub reclaimed: Vec<Reclaimed>,
    /// Bodies wanted from the log, with the token for [`Delivery::read_done`].
    pub reads: Vec<(u64, Vec<Ref>)>,
    /// Conversations whose expiry timer must be set: slot, and when their oldest message was accepted (seconds).
    pub timers: Vec<(u32, u32)>,
    /// Conversations whose full state must be logged: a range of messages was dropped.
    pub floors: Vec<u32>,
    /// Sessions for which [`Delivery::burst`] is to be called in [`BURST_MS`]: receiver and serial number.
    pub bursts: Vec<(u32, Serial)>,
}

impl Effects {
    /// Gives memory back after a burst.
    pub fn shrink(&mut self) {
        self.freed.shrink_to_fit();
        self.reclaimed.shrink_to_fit();
    }
}

/// A session as delivery sees it.
#[derive(Debug)]
pub struct Receiver {
    conn: u32,
    user: u32,
    device: u16,
    receive: bool,
    writable: bool,
    queued: bool,
    /// Its receipts overflowed: what is above `told` is gathered anew.
    rescan: bool,
    /// See [`Serial`].
    serial: Serial,
    /// A timer runs for its news of groups.
    timed: bool,
    /// It may be told them.
    due: bool,
    window: (u32, u32),
    inflight: (u32, u32),
    /// All that concerns it up to this receipt version was written to it.
    told: u64,
    lists: Option<Box<Lists>>,
}

/// What a session is owed; a pointer until there was something.
#[derive(Debug, Default)]
struct Lists {
    /// Conversations that have messages for it: slot, and its index among the members.
    owed: VecDeque<(u32, u32)>,
    /// Members whose cursors it has not been told of.
    receipts: Vec<(u32, u32)>,
    /// The same of groups: they wait for their time.
    held: Vec<(u32, u32)>,
    /// Of what is held, the lowest receipt version; 0: nothing is.
    held_from: u64,
    /// Highest receipt version that was written to it.
    high: u64,
}

/// What a new session of a device is told to wait for it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Waiting {
    /// Messages.
    pub messages: u64,
    /// Conversations that have some.
    pub conversations: u64,
}

/// Who attaches a session, and how.
#[derive(Clone, Copy, Debug)]
pub struct Attach {
    /// Slot of the connection.
    pub conn: u32,
    /// Slot of the user.
    pub user: u32,
    /// The device.
    pub device: u16,
    /// Wants the mailbox's messages.
    pub receive: bool,
    /// Unacknowledged messages, and bytes of their records.
    pub window: (u32, u32),
    /// Receipts up to this version are known to the client.
    pub told: u64,
}

struct Ticket {
    conversation: u32,
    id: ConversationId,
    wanted: Vec<(u64, Ref)>,
}

/// See the module.
pub struct Delivery {
    /// Boxed: what left memory gives it back although others stay, and the table grows without moving them.
    conversations: Slab<Box<Conversation>>,
    by_id: HashTable<u32>,
    hasher: DefaultHashBuilder,
    receivers: Slab<Receiver>,
    run: VecDeque<u32>,
    hot: Hot,
    tickets: Slab<Ticket>,
    dirty: VecDeque<u32>,
    /// Counts sessions.
    attached: u32,
    version: u64,
    /// Undelivered messages of a group, and bytes of their records, above which its floor rises.
    pub group_caps: (u32, u64),
    /// What was accepted before has been held for its time, seconds since 1970.
    pub held_from_s: u32,
    /// See [`Effects`].
    pub effects: Effects,
}

impl Delivery {
    /// With at most `hot_bytes` of bodies in memory.
    pub fn new(hot_bytes: usize) -> Self {
        Self {
            conversations: Slab::new(),
            by_id: HashTable::new(),
            hasher: DefaultHashBuilder::default(),
            receivers: Slab::new(),
            run: VecDeque::new(),
            hot: Hot::new(hot_bytes),
            tickets: Slab::new(),
            dirty: VecDeque::new(),
            attached: 0,
            version: 0,
            group_caps: (100_000, 256 << 20),
            held_from_s: 0,
            effects: Effects::default(),
        }
    }

    /// The slot of a conversation in memory.
    pub fn find(&self, id: &ConversationId) -> Option<u32> {
        let same = |&slot: &u32| self.conversations.get(slot as usize).is_some_and(|c| c.id == *id);
        self.by_id.find(self.hasher.hash_one(id), same).copied()
    }

    /// A conversation by slot.
    pub fn get(&self, slot: u32) -> Option<&Conversation> {
        self.conversations.get(slot as usize).map(Box::as_ref)
    }

    /// A conversation by slot, to change.
    pub fn get_mut(&mut self, slot: u32) -> Option<&mut Conversation> {
        self.conversations.get_mut(slot as usize).map(Box::as_mut)
    }

    /// Slots of all conversations in memory.
    pub fn slots(&self) -> impl Iterator<Item = u32> + '_ {
        self.conversations.iter().map(|(slot, _)| slot as u32)
    }

    /// One past the highest slot.
    pub fn capacity(&self) -> u32 {
        self.conversations.capacity() as u32
    }

    /// How many conversations are in memory.
    pub fn len(&self) -> usize {
        self.conversations.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.conversations.is_empty()
    }

    /// Bytes of bodies in memory.
    pub fn hot_bytes(&self) -> usize {
        self.hot.bytes()
    }

    /// The latest receipt version.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// Receipt versions go on from `version`.
    pub fn resume_versions(&mut self, version: u64) {
        self.version = self.version.max(version);
    }

    /// Takes a conversation in, and tells its members' entries in the directory.
    pub fn insert(&mut self, dir: &mut Directory, mut conversation: Conversation) -> u32 {
        conversation.recount();
        for member in &conversation.members {
            self.version = self.version.max(member.version);
        }
        let id = conversation.id;
        let slot = self.conversations.insert(Box::new(conversation)) as u32;
        let (all, hasher) = (&self.conversations, &self.hasher);
        let rehash = |&slot: &u32| all.get(slot as usize).map_or(0, |c| hasher.hash_one(c.id));
        self.by_id.insert_unique(hasher.hash_one(id), slot, rehash);
        let members = all.get(slot as usize).map(|c| &*c.members).unwrap_or_default();
        for member in members {
            if let Some(user) = dir.get_mut(member.user)
                && user.conversations.last() != Some(&slot)
            {
                user.conversations.push(slot);
            }
        }
        self.connect(dir, slot);
        slot
    }

    /// Lets a conversation go; the caller knows that nothing waits in it.
    pub fn remove(&mut self, dir: &mut Directory, slot: u32) {
        let Some(conversation) = self.conversations.try_remove(slot as usize) else { return };
        if let Ok(entry) = self.by_id.find_entry(self.hasher.hash_one(conversation.id), |&found| found == slot) {
            entry.remove();
        }
        for member in &conversation.members {
            if let Some(user) = dir.get_mut(member.user)
                && let Some(place) = user.conversations.iter().position(|&c| c == slot)
            {
                user.conversations.swap_remove(place);
            }
        }
        for entry in &conversation.entries {
            self.hot.remove(entry.hot);
        }
    }

    /// A durable message arrives from the sequencer. One that is here already changes nothing; false: one is missing
    /// before it, or its conversation is not here.
    pub fn sequenced(&mut self, dir: &mut Directory, message: Sequenced, mono_ms: u64) -> bool {
        let Some(slot) = self.find(&message.conversation) else { return false };
        let Some(conversation) = self.conversations.get_mut(slot as usize) else { return false };
        if message.seq <= conversation.head {
            return true;
        }
        if message.seq != conversation.head + 1 {
            return false;
        }
        let (seq, device) = (message.seq, message.device);
        let went = match &message.change {
            Some(change) => self.change(dir, slot, seq, message.user, change, None),
            None => Vec::new(),
        };
        let Self { conversations, receivers, run, hot, effects, .. } = self;
        let Some(conversation) = conversations.get_mut(slot as usize) else { return false };
        let Some(index) = conversation.member(message.user, device) else { return false };
        let author = u16::try_from(index).unwrap_or(u16::MAX);
        // What happens to a group comes to everybody, also to the device that wanted it: all fold the same sequence.
        let device = if message.change.is_some() { NOBODYS } else { device };
        let time_s = (message.time_ms / 1000).min(u64::from(u32::MAX)) as u32;
        conversation.mark.touch(mono_ms);
        conversation.mark.change();
        conversation.head = seq;
        conversation.bytes += u64::from(message.at.len);
        let stored = hot.insert(message.stored, slot, seq);
        let Ref { segment, offset, len } = message.at;
        let at = if message.withheld { WITHHELD } else { 0 };
        conversation.entries.push_back(Entry { segment, offset, len, time_s, author, device, hot: stored, at });
        let bodiless = message.bodies.is_some();
        if let Some(bodies) = message.bodies {
            conversation.bodies.get_or_insert_default().insert(seq, bodies);
        }
        if message.withheld {
            conversation.note_withheld(seq);
        }
        conversation.pass_author(author, device, seq);
        for online in &mut conversation.online {
            let own = online.member == index as u32 && online.device == device;
            if !own && !online.owed {
                online.owed = true;
                owe(receivers, run, online.receiver, (slot, online.member));
            }
        }
        if conversation.expires_s == 0 {
            conversation.expires_s = u32::MAX;
            effects.timers.push((slot, time_s));
        }
        if !went.is_empty() {
            self.retire(dir, slot, &went);
        }
        if bodiless {
            self.note_bodiless(dir, slot, seq);
        }
        self.cap(dir, slot);
        self.reclaim(slot);
        self.cool();
        true
    }

    /// A conversation's cursors are to be logged.
    fn note_dirty(&mut self, slot: u32) {
        if let Some(conversation) = self.conversations.get_mut(slot as usize)
            && !conversation.dirty
        {
            conversation.dirty = true;
            self.dirty.push_back(slot);
        }
    }

    /// Takes surplus bodies out of memory.
    fn cool(&mut self) {
        while let Some((slot, seq)) = self.hot.surplus() {
            if let Some(entry) = self.conversations.get_mut(slot as usize).and_then(|c| c.entry_mut(seq)) {
                entry.hot = NONE;
            }
        }
    }

    /// Attaches a session; gives its receiver and what waits for it.
    pub fn attach(&mut self, dir: &mut Directory, who: Attach) -> (u32, Waiting) {
        self.attached = self.attached.wrapping_add(1);
        let [serial @ .., _] = self.attached.to_le_bytes();
        let r = self.receivers.insert(Receiver {
            conn: who.conn,
            user: who.user,
            device: who.device,
            receive: who.receive,
            writable: true,
            queued: false,
            rescan: true,
            serial,
            timed: false,
            due: false,
            window: (who.window.0.max(1), who.window.1.max(1)),
            inflight: (0, 0),
            told: who.told,
            lists: None,
        }) as u32;
        let mut waiting = Waiting::default();
        let Some(user) = dir.get_mut(who.user) else { return (r, waiting) };
        user.receivers.push(r);
        if who.receive {
            let mut looks = LOOKS;
            for &slot in &user.conversations {
                let Some(conversation) = self.conversations.get_mut(slot as usize) else { continue };
                let Some((index, count)) = conversation.attach(who.user, who.device, r, &mut looks) else { continue };
                waiting.messages += count;
                waiting.conversations += u64::from(count > 0);
                owe(&mut self.receivers, &mut self.run, r, (slot, index as u32));
            }
        }
        self.queue(r);
        (r, waiting)
    }

    /// Detaches a session. What was in flight stays in its queue.
    pub fn detach(&mut self, dir: &mut Directory, r: u32) {
        let Some(receiver) = self.receivers.try_remove(r as usize) else { return };
        let Some(user) = dir.get_mut(receiver.user) else { return };
        user.receivers.retain(|other| *other != r);
        if !receiver.receive {
            return;
        }
        for &slot in &user.conversations {
            let Some(conversation) = self.conversations.get_mut(slot as usize) else { continue };
            let Some(index) = conversation.member(receiver.user, receiver.device) else { continue };
            if conversation.attached(index, receiver.device).is_some_and(|online| online.receiver == r) {
                conversation.unlink(index, receiver.device);
            }
        }
    }

    /// The connection of a session that receives for this device.
    pub fn receiving(&self, r: u32, device: u16) -> Option<u32> {
        self.receivers.get(r as usize).filter(|x| x.receive && x.device == device).map(|x| x.conn)
    }

    /// Whether a session is one of this device.
    pub fn serves(&self, r: u32, device: u16) -> bool {
        self.receivers.get(r as usize).is_some_and(|x| x.device == device)
    }

    /// The session's transport takes more, or does not.
    pub fn set_writable(&mut self, r: u32, on: bool) {
        if let Some(receiver) = self.receivers.get_mut(r as usize) {
            receiver.writable = on;
            if on {
                self.queue(r);
            }
        }
    }

    /// Puts a session into the run queue.
    fn queue(&mut self, r: u32) {
        queue(&mut self.receivers, &mut self.run, r);
    }

    /// Gives memory back after many conversations left.
    pub fn shrink(&mut self) {
        let (all, hasher) = (&mut self.conversations, &self.hasher);
        all.shrink_to_fit();
        self.by_id.shrink_to_fit(|&slot| all.get(slot as usize).map_or(0, |c| hasher.hash_one(c.id)));
        self.run.shrink_to_fit();
        self.dirty.shrink_to_fit();
        self.hot.shrink();
        self.effects.shrink();
    }
}

/// Puts a conversation on a session's list, and the session into the run queue.
fn owe(receivers: &mut Slab<Receiver>, run: &mut VecDeque<u32>, r: u32, what: (u32, u32)) {
    if let Some(receiver) = receivers.get_mut(r as usize) {
        receiver.lists.get_or_insert_default().owed.push_back(what);
        queue(receivers, run, r);
    }
}

fn queue(receivers: &mut Slab<Receiver>, run: &mut VecDeque<u32>, r: u32) {
    if let Some(receiver) = receivers.get_mut(r as usize)
        && receiver.writable
        && !receiver.queued
    {
        receiver.queued = true;
        run.push_back(r);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]
mod tests;
