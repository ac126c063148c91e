//! What is in memory: users and conversations are loaded when they are wanted, and leave when they are quiet.
//!
//! The cold store holds what left. A conversation leaves when nothing waits in it and nobody touched it for a while; a
//! user when none of its conversations and sessions is here.

use std::collections::hash_map::Entry;
use std::collections::{BTreeSet, HashSet};

use smallvec::SmallVec;

use super::Engine;
use super::api::{Key, Request};
use super::binary::Reader;
use super::directory::{Mark, UserState};
use super::rows;
use crate::delivery::conversation::{Conversation, Cursor, Member};
use crate::sequencer::{Kind, Repeat, Sequencer, Writer};
use crate::wire::types::ConversationId;

impl Engine {
    /// A row came from the cold store; `None`: there is none. An empty user's row: it exists and never connected.
    pub fn loaded(&mut self, key: &Key, blob: Option<&[u8]>) {
        if self.touch_row(key) {
            // The row in memory is the newer one; whoever asked for it finds it there.
            self.asked.remove(key);
            self.answer_waiters(key, true);
            return self.settle();
        }
        let state = self.judge_row(key, blob);
        let found = self.take_row(key, state);
        if !found && state.is_some() {
            self.set_unusable(key, "cannot be read by this version");
        }
        self.asked.remove(key);
        let unusable = self.rows.is_unusable(key);
        if let Key::Conversation(id) = key
            && !found
            && !unusable
        {
            self.make_anew(id);
        }
        if let Key::User(name) = key
            && found
            && self.damaged
            && let Some(user) = self.directory.find(name)
        {
            // It was mended: the next start may not know that there was damage.
            self.log_user(user);
        }
        if !found
            && !unusable
            && let Key::User(name) = key
            && let Some(user) = self.directory.find(name)
            && self.directory.get(user).is_some_and(|u| !u.known && !u.conversations.is_empty())
        {
            self.revive(user);
        }
        if let Key::User(name) = key
            && let Some(user) = self.directory.find(name).and_then(|user| self.directory.get_mut(user))
        {
            // Whoever waited for the answer is taken up in a turn of its own: until then the user stays, known or not.
            user.mark.touch(self.clock.mono_ms());
        }
        self.answer_waiters(key, found);
        self.settle();
    }

    /// Puts a row into memory, if it can be read.
    fn take_row(&mut self, key: &Key, state: Option<&[u8]>) -> bool {
        match (key, state) {
            (_, None) => false,
            (Key::User(name), Some([])) => {
                let user = self.directory.intern(name);
                self.know(user, 0, SmallVec::new());
                self.settle_groups(user, &HashSet::new());
                true
            }
            (Key::User(_), Some(blob)) => self.take_user(blob),
            (Key::Conversation(_), Some(blob)) => self.take_conversation(blob),
        }
    }

    /// Whether a row is in memory; if so, it stays there for as long as those who ask for it remember that they did.
    fn touch_row(&mut self, key: &Key) -> bool {
        let mono_ms = self.clock.mono_ms();
        let mark = match key {
            Key::User(name) => {
                let user = self.directory.find(name).and_then(|user| self.directory.get_mut(user));
                user.filter(|user| user.known).map(|user| &mut user.mark)
            }
            Key::Conversation(id) => {
                let place = self.delivery.find(id);
                place.and_then(|place| self.delivery.get_mut(place)).map(|conversation| &mut conversation.mark)
            }
        };
        mark.map(|mark| mark.touch(mono_ms)).is_some()
    }

    fn take_user(&mut self, blob: &[u8]) -> bool {
        let mut reader = Reader::new(blob);
        let Some(state) = UserState::decode(&mut reader) else { return false };
        let user = self.directory.intern(state.name);
        if self.directory.get(user).is_some_and(|u| u.known) {
            return true;
        }
        let devices: SmallVec<[u16; 4]> = state.devices.iter().map(|d| d.id).collect();
        if let Some(user) = self.directory.get_mut(user) {
            (user.groups, user.blocked) = (state.groups, state.blocked);
        }
        self.know(user, state.list_version, state.devices);
        self.take_repeats(user, &devices, &mut reader);
        self.settle_groups(user, &HashSet::new());
        true
    }

    /// A user's devices are known now: a stub's conversations get their mailboxes.
    pub(super) fn know(&mut self, user: u32, list_version: u32, devices: SmallVec<[super::directory::Device; 1]>) {
        let mono_ms = self.clock.mono_ms();
        let Some(known) = self.directory.get_mut(user) else { return };
        if known.known {
            return;
        }
        known.known = true;
        known.list_version = list_version;
        known.devices = devices;
        known.mark.touch(mono_ms);
        self.mend(user);
        self.delivery.fit_late_devices(&self.directory, user);
        self.fit_mailboxes(user);
    }

    /// Every device of a user has a mailbox in each of its conversations that are in memory, and nobody else has. A mailbox
    /// that is new there is logged before the next message: a crash must not move it behind that one.
    pub(super) fn fit_mailboxes(&mut self, user: u32) {
        if !self.delivery.fit_devices(&self.directory, user).is_empty() {
            self.log_all_cursors();
        }
    }

    /// Reads remembered ids, as `log_user` wrote them after the devices.
    pub(super) fn take_repeats(&mut self, user: u32, devices: &[u16], reader: &mut Reader<'_>) -> Option<()> {
        let most = self.config.repeats;
        for &device in devices {
            for _ in 0..reader.count()? {
                let id = reader.bytes()?;
                let conversation = reader.array()?;
                let (seq, time_ms) = (reader.u64()?, reader.u64()?);
                let repeat = Repeat { conversation, seq, time_ms, batch: 0 };
                self.sequencer.remember((user, device), id, repeat, most);
            }
        }
        Some(())
    }

    /// A user begins to exist.
    pub(super) fn create(&mut self, user: u32) {
        self.know(user, 0, SmallVec::new());
        self.log_user(user);
    }

    /// A user of whom there is no row, but whom conversations know: it has the devices that they know, and its list
    /// differs from all that were told before.
    pub(super) fn revive(&mut self, user: u32) {
        self.adopt_devices(user);
        let Some(known) = self.directory.get_mut(user) else { return };
        let (version, devices) = (known.list_version, std::mem::take(&mut known.devices));
        self.know(user, version, devices);
        self.settle_groups(user, &HashSet::new());
        self.log_user(user);
    }

    /// A user's state may be older than its conversations, and than what was seen of it: it gets the devices that they
    /// know, and none was away.
    pub(super) fn adopt_devices(&mut self, user: u32) {
        let Some(known) = self.directory.get_mut(user) else { return };
        let now_s = (self.clock.time_ms() / 1000) as u32;
        known.devices.iter_mut().for_each(|d| d.seen_s = now_s);
        let ids: BTreeSet<u16> =
            known.conversations.iter().flat_map(|&slot| self.delivery.devices(slot, user)).collect();
        for id in ids {
            if id != 0 && known.device(id).is_none() {
                known.add_device(id, now_s);
                known.list_version = known.list_version.max(now_s);
            }
        }
    }

    /// After damage, a user and its conversations may not know each other.
    pub(super) fn mend(&mut self, user: u32) {
        if self.damaged {
            self.adopt_devices(user);
            self.delivery.fit_lost_devices(&self.directory, user);
        }
    }

    /// A user begins to exist because the embedder says so.
    pub fn create_user(&mut self, name: &str) {
        let user = self.directory.intern(name);
        let unusable = self.rows.is_unusable(&Key::User(name.into()));
        if !unusable && !self.directory.get(user).is_some_and(|u| u.known) {
            self.create(user);
        }
    }

    pub(super) fn create_conversation(&mut self, id: ConversationId, kind: Kind, members: [(u32, u16); 2]) {
        let mut conversation = Conversation::new(id, kind, 0);
        let mut members: SmallVec<[(u32, u16); 2]> = SmallVec::from_slice(&members);
        members.sort_unstable_by_key(|(user, device)| (self.directory.name(*user).to_owned(), *device));
        members.dedup();
        for (user, only) in members {
            // A user with two devices in a device conversation is two members, told apart by `only`.
            let mut member = Member::new(user, only, 1);
            for device in self.directory.get(user).map(|u| &*u.devices).unwrap_or_default() {
                member.add_device(device.id, 0, 0);
            }
            if member.cursors.is_empty() {
                member.cursors.push(Cursor::new(0, 0));
            }
            conversation.members.push(member);
        }
        conversation.mark.touch(self.clock.mono_ms());
        self.take_in(conversation, 0);
    }

    fn take_conversation(&mut self, blob: &[u8]) -> bool {
        let Some((conversation, head)) = Conversation::decode(&mut Reader::new(blob), &mut self.directory) else {
            return false;
        };
        if self.delivery.find(&conversation.id).is_some() {
            return true;
        }
        let mut conversation = conversation;
        conversation.head = head;
        conversation.first = head + 1;
        conversation.mark.touch(self.clock.mono_ms());
        self.take_in(conversation, head);
        true
    }

    /// Puts a conversation in which nothing waits into memory, with a mailbox for every known device.
    fn take_in(&mut self, conversation: Conversation, head: u64) {
        let users: SmallVec<[u32; 2]> = conversation.members.iter().map(|m| m.user).collect();
        hand_over(&mut self.sequencer, &conversation, (head, head + 1, 0));
        let slot = self.delivery.insert(&mut self.directory, conversation);
        self.reunite(slot);
        for user in users {
            self.delivery.fit_in(&self.directory, slot, user);
        }
    }

    /// Whether a conversation could leave memory.
    fn is_quiet(&self, slot: u32) -> bool {
        let Some(c) = self.delivery.get(slot) else { return false };
        let waits = !c.is_empty() || c.dirty || c.reading || c.mark.storing || c.online.iter().any(|o| o.owed);
        // Last what looks at all: whoever has yet to be told that something is gone.
        !waits
            && self.rested(&c.mark)
            && self.sequencer.head(&c.id) == Some(c.head)
            && c.members.iter().all(|m| m.cursors.iter().all(|cursor| cursor.acked >= c.head.min(m.to)))
    }

    /// Nobody knows whether the devices of a stub are owed receipts: asks for it.
    fn load_stubs(&mut self, slot: u32) {
        // In order: the same happens in every life with the same messages.
        let owing: BTreeSet<u32> = self.delivery.get(slot).into_iter().flat_map(|c| c.owing(&self.directory)).collect();
        let mut loads = Vec::new();
        for user in owing.into_iter().filter_map(|user| self.directory.get(user)).filter(|u| !u.known) {
            let key = Key::User(user.name.as_str().into());
            if self.rows.is_unusable(&key) {
                continue;
            }
            if let Entry::Vacant(nobody) = self.loading.entry(key.clone()) {
                nobody.insert(Vec::new());
                loads.push(key);
            }
        }
        loads.into_iter().for_each(|key| self.load(key));
    }

    fn rested(&self, mark: &Mark) -> bool {
        mark.rested(self.clock.mono_ms(), self.config.quiet_ms)
    }

    /// Looks whether a conversation can leave memory; if so, its state goes to the cold store first.
    pub(super) fn consider_conversation(&mut self, slot: u32) {
        if !self.is_quiet(slot) {
            return;
        }
        let Some(conversation) = self.delivery.get(slot) else { return };
        if conversation.owes_receipts(&self.directory) {
            return self.load_stubs(slot);
        }
        let Some(conversation) = self.delivery.get_mut(slot) else { return };
        conversation.mark.storing = true;
        let version = u64::from(conversation.mark.changes);
        let (id, head) = (conversation.id, conversation.head);
        let mut blob = Vec::new();
        if let Some(conversation) = self.delivery.get(slot) {
            conversation.encode(head, &self.directory, &mut blob);
        }
        let key = Key::Conversation(id);
        let blob = rows::seal(&key, &blob);
        self.requests.push_back(Request::Store { key, version, blob });
    }

    /// Looks whether a user can leave memory, and whether one of its devices is long gone.
    pub(super) fn consider_user(&mut self, slot: u32) {
        self.drop_unseen(slot);
        let Some(user) = self.directory.get(slot) else { return };
        let here = !user.conversations.is_empty() || !user.receivers.is_empty() || user.mark.storing;
        if here || !self.rested(&user.mark) {
            return;
        }
        if !user.known {
            if !self.loading.contains_key(&Key::User(user.name.as_str().into())) {
                self.directory.remove(slot);
            }
            return;
        }
        let blob = self.user_blob(slot);
        let Some(user) = self.directory.get_mut(slot) else { return };
        user.mark.storing = true;
        let (name, version) = (user.name.as_str().into(), u64::from(user.mark.changes));
        let key = Key::User(name);
        let blob = rows::seal(&key, &blob);
        self.requests.push_back(Request::Store { key, version, blob });
    }

    /// A state is in the cold store, durably: it leaves memory unless it was touched meanwhile.
    pub fn stored(&mut self, key: &Key, version: u64) {
        match key {
            Key::User(name) => {
                let Some(slot) = self.directory.find(name) else { return };
                let Some(user) = self.directory.get_mut(slot) else { return };
                user.mark.storing = false;
                let idle = user.conversations.is_empty() && user.receivers.is_empty();
                let devices: SmallVec<[u16; 4]> = user.devices.iter().map(|d| d.id).collect();
                if idle && u64::from(user.mark.changes) == version && self.rested_user(slot) {
                    devices.iter().for_each(|&device| self.sequencer.forget((slot, device)));
                    if let Some(user) = self.directory.get(slot) {
                        self.segments.unstated(&user.mark);
                    }
                    self.directory.remove(slot);
                    self.log.note_stored();
                    self.left_memory += 1;
                }
            }
            Key::Conversation(id) => {
                let Some(slot) = self.delivery.find(id) else { return };
                let Some(conversation) = self.delivery.get_mut(slot) else { return };
                conversation.mark.storing = false;
                if u64::from(conversation.mark.changes) == version
                    && self.is_quiet(slot)
                    && self.delivery.get(slot).is_some_and(|c| !c.owes_receipts(&self.directory))
                {
                    if let Some(conversation) = self.delivery.get(slot) {
                        self.segments.unstated(&conversation.mark);
                    }
                    self.delivery.remove(&mut self.directory, slot);
                    self.sequencer.unload(id);
                    self.log.note_stored();
                    self.left_memory += 1;
                }
            }
        }
    }

    fn rested_user(&self, slot: u32) -> bool {
        self.directory.get(slot).is_some_and(|u| self.rested(&u.mark))
    }

    /// How late the log may know that a device was seen, seconds.
    pub(super) fn seen_lag_s(&self) -> u32 {
        (self.config.hold_ms / 8000).min(86_400) as u32
    }

    /// A device unseen for the hold time is dropped, so that it pins nothing; and those that are connected are noted as
    /// seen now and then, so that a crash makes nobody unseen.
    fn drop_unseen(&mut self, slot: u32) {
        let lag_s = self.seen_lag_s();
        let hold_s = (self.config.hold_ms / 1000) as u32 + lag_s;
        let now_s = (self.clock.time_ms() / 1000) as u32;
        let Some(user) = self.directory.get_mut(slot) else { return };
        let mut stale = false;
        let mut gone: SmallVec<[u16; 4]> = SmallVec::new();
        for device in &mut user.devices {
            if user.receivers.iter().any(|&r| self.delivery.serves(r, device.id)) {
                if now_s.saturating_sub(device.seen_s) > lag_s {
                    device.seen_s = now_s;
                    stale = true;
                }
            } else if self.clock.trusted() && now_s.saturating_sub(device.seen_s) > hold_s {
                gone.push(device.id);
            }
        }
        if gone.is_empty() {
            if stale {
                self.log_user(slot);
            }
            return;
        }
        // What only these devices would have had is decided by how far they and the user's others came.
        user.conversations.clone().into_iter().for_each(|conversation| self.log_cursors_of(conversation));
        let Some(user) = self.directory.get_mut(slot) else { return };
        user.devices.retain(|d| !gone.contains(&d.id));
        user.list_version += gone.len() as u32;
        user.mark.change();
        self.stats.devices_dropped_total += gone.len() as u64;
        gone.iter().for_each(|&device| self.sequencer.forget((slot, device)));
        self.log_user(slot);
        for conversation in self.delivery.fit_devices(&self.directory, slot) {
            // What moved in a group tells also which mailboxes are no more.
            if self.delivery.get(conversation).is_some_and(|c| c.group.is_none()) {
                self.log_conversation(conversation);
            }
        }
    }
}

/// The sequencer takes a conversation over: who may write in it, its last number, the first that is undelivered, and the
/// bytes of what is.
pub(super) fn hand_over(sequencer: &mut Sequencer, conversation: &Conversation, (head, first, bytes): (u64, u64, u64)) {
    let id = conversation.id;
    if let Some(group) = &conversation.group {
        return sequencer.load_group(id, (**group).clone(), head, first, bytes);
    }
    let writers = conversation.members.iter().map(|m| Writer { user: m.user, device: m.only }).collect();
    sequencer.load(id, writers, head, first, bytes);
}
