//! What is read from the log at the start.
//!
//! Records are merged by maximum, so that the order in which states and messages come does not matter: a message may
//! stand before the full state of its conversation, which was written anew behind it. What has no state in the log had
//! left memory, and nothing waits in it. A group is the fold of its changes onto its state; a change that a state has is not
//! done again.

use std::collections::{HashMap, HashSet};

use smallvec::SmallVec;

use super::Engine;
use super::binary::Reader;
use super::directory::UserState;
use super::records::kind;
use super::residency::hand_over;
use super::segments::Owner;
use crate::delivery::conversation::{Conversation, Entry, NOBODYS, WITHHELD};
use crate::group::Change;
use crate::log::{Appender, FindingKind, LogError, Record, Recovered, Ref};
use crate::sequencer::{Flying, Repeat};
use crate::wire::message::{decode_stored, device_bodies};
use crate::wire::types::{ConversationId, Message};

/// Devices that have a body, as (user, device).
type Named = Box<[(Box<str>, u16)]>;

/// The devices of those whom a change of a group makes members, as (user, device); `None`: the log does not say.
pub(super) type Mailboxes = Option<Vec<(u32, u16)>>;

/// A message whose conversation's state has not come yet.
pub(super) struct Orphan {
    pub sender: Box<str>,
    pub seq: u64,
    pub entry: Entry,
    pub bodies: Option<Named>,
    pub change: Option<Box<Change>>,
    pub mailboxes: Mailboxes,
}

/// What is known only while the log is read.
#[derive(Default)]
pub(super) struct Replay {
    /// Numbers that were given, as states and cursors know them.
    pub heads: HashMap<ConversationId, u64>,
    pub orphans: HashMap<ConversationId, Vec<Orphan>>,
    closed: HashSet<ConversationId>,
    /// By group and change.
    pub mailboxes: HashMap<(ConversationId, u64), Vec<(u32, u16)>>,
    /// Receipt versions up to here may have been told.
    versions: u64,
    damaged: u64,
    /// Records that were written as they are and are not understood: the first one's kind and place, and their number.
    unknown: Option<(u8, Ref, u64)>,
}

impl Engine {
    pub(super) fn replay_record(&mut self, record: &Record<'_>) {
        let Some(mut replay) = self.replay.take() else { return };
        let understood = match record.kind {
            kind::MESSAGE | kind::CARRIED | kind::WITHHELD | kind::CARRIED_WITHHELD => {
                self.replay_message(&mut replay, record)
            }
            kind::CONVERSATION => self.replay_conversation(&mut replay, record),
            kind::USER => self.replay_user(record),
            kind::CURSORS => self.replay_cursors(&mut replay, record),
            kind::GROUP_CURSORS => self.replay_members(&mut replay, record),
            kind::MAILBOXES => self.replay_mailboxes(&mut replay, record.body),
            kind::VERSIONS => record.body.try_into().ok().map(|body| {
                replay.versions = replay.versions.max(u64::from_le_bytes(body));
            }),
            _ => None,
        };
        if understood.is_none() && record.salvaged {
            // By chance a damaged part may hold what looks like a record.
            replay.damaged += 1;
        } else if understood.is_none() {
            let (_, _, count) = replay.unknown.get_or_insert((record.kind, record.at, 0));
            *count += 1;
        }
        self.replay = Some(replay);
    }

    /// Whether all records were understood; to be asked before anything is concluded from them.
    ///
    /// # Errors
    /// [`LogError::Unknown`].
    pub fn understood(&self) -> Result<(), LogError> {
        match self.replay.as_ref().and_then(|replay| replay.unknown) {
            Some((kind, at, count)) => Err(LogError::Unknown { kind, at, count }),
            None => Ok(()),
        }
    }

    fn replay_message(&mut self, replay: &mut Replay, record: &Record<'_>) -> Option<()> {
        let message = decode_stored(record.body).ok()?;
        let time_s = (message.time / 1000).min(u64::from(u32::MAX)) as u32;
        let device = u16::try_from(message.device).ok()?;
        let at = record.at;
        let withheld = matches!(record.kind, kind::WITHHELD | kind::CARRIED_WITHHELD);
        let mut entry = Entry { segment: at.segment, offset: at.offset, len: at.len, time_s, device, ..Entry::LOST };
        entry.at = if withheld { WITHHELD } else { 0 };
        if message.change.is_some() {
            entry.device = NOBODYS;
        }
        if matches!(record.kind, kind::MESSAGE | kind::WITHHELD) {
            self.replay_repeat(&message, device);
        }
        let bodies: Option<Named> = message
            .body
            .is_empty()
            .then(|| device_bodies(record.body).map(|b| (b.0.into(), b.1 as u16)).collect::<Box<[_]>>())
            .filter(|b| !b.is_empty());
        let change = match message.change.as_deref() {
            Some(change) => Some(self.known_change(change)?),
            None => None,
        };
        if let Some(change) = change.as_deref().filter(|_| record.kind == kind::MESSAGE) {
            self.replay_moves(&message.conversation, message.sender, change);
            if *change == Change::Closed {
                replay.closed.insert(message.conversation);
            }
        }
        let mailboxes = change.as_ref().and_then(|_| replay.mailboxes.remove(&(message.conversation, message.seq)));
        match self.delivery.find(&message.conversation) {
            Some(slot) => {
                self.fold(slot, message.seq, message.sender, change.as_deref(), mailboxes);
                self.place(slot, message.seq, message.sender, entry, bodies);
            }
            None => {
                let orphan =
                    Orphan { sender: message.sender.into(), seq: message.seq, entry, bodies, change, mailboxes };
                replay.orphans.entry(message.conversation).or_default().push(orphan);
            }
        }
        Some(())
    }

    fn replay_repeat(&mut self, message: &Message<'_>, device: u16) {
        let Some(user) = self.directory.find(message.sender) else { return };
        if !self.directory.get(user).is_some_and(|u| u.known) {
            return;
        }
        let from = (user, device);
        if self.sequencer.sender(from).and_then(|s| s.find(message.id)).is_none() {
            let (conversation, seq, time_ms) = (message.conversation, message.seq, message.time);
            let repeat = Repeat { conversation, seq, time_ms, batch: 0 };
            self.sequencer.remember(from, message.id, repeat, self.config.repeats);
        }
    }

    /// Puts a message into its conversation, wherever it belongs there.
    pub(super) fn place(&mut self, slot: u32, seq: u64, sender: &str, mut entry: Entry, bodies: Option<Named>) {
        let author = self.directory.find(sender);
        let Some(conversation) = self.delivery.get_mut(slot) else { return };
        if seq < conversation.first {
            return;
        }
        if let Some(author) = author.and_then(|user| conversation.member(user, entry.device)) {
            entry.author = u16::try_from(author).unwrap_or(u16::MAX);
        }
        if conversation.entry(seq).is_none() {
            let missing = (seq - conversation.first) as usize;
            conversation.entries.resize(missing, Entry::LOST);
            conversation.entries.push_back(entry);
            conversation.head = conversation.head.max(seq);
        } else if let Some(known) = conversation.entry_mut(seq) {
            *known = entry;
        }
        if let Some(bodies) = bodies {
            let who = bodies.iter().filter_map(|(user, device)| Some((self.directory.find(user)?, *device)));
            conversation.bodies.get_or_insert_default().insert(seq, who.collect());
        }
    }

    fn replay_conversation(&mut self, replay: &mut Replay, record: &Record<'_>) -> Option<()> {
        let mut reader = Reader::new(record.body);
        let (state, head) = Conversation::decode(&mut reader, &mut self.directory)?;
        let flying = self.decode_flying(&mut reader)?;
        let id = state.id;
        let known = replay.heads.entry(id).or_default();
        *known = head.max(*known);
        let slot = match self.delivery.find(&id) {
            Some(slot) => {
                let conversation = self.delivery.get_mut(slot)?;
                let old = conversation.first;
                conversation.merge(state);
                let gone = (conversation.first - old).min(conversation.entries.len() as u64) as usize;
                conversation.entries.drain(..gone);
                let first = conversation.first;
                conversation.head = conversation.head.max(first - 1);
                if let Some(bodies) = &mut conversation.bodies {
                    bodies.retain(|seq, _| *seq >= first);
                }
                slot
            }
            None => self.delivery.insert(&mut self.directory, state),
        };
        let conversation = self.delivery.get_mut(slot)?;
        self.segments.stated(&mut conversation.mark, record.at, Owner::Conversation(slot));
        // These follow the state without a gap; of the messages that stood before it the first ones may have left the log.
        for Flying { seq, actor, change, .. } in flying {
            let mailboxes = replay.mailboxes.remove(&(id, seq));
            self.delivery.change(&mut self.directory, slot, seq, actor, &change, mailboxes.as_deref());
        }
        for orphan in replay.orphans.remove(&id).unwrap_or_default() {
            self.adopt(slot, orphan);
        }
        Some(())
    }

    fn replay_user(&mut self, record: &Record<'_>) -> Option<()> {
        let mut reader = Reader::new(record.body);
        let state = UserState::decode(&mut reader)?;
        let slot = self.directory.intern(state.name);
        let devices: SmallVec<[u16; 4]> = state.devices.iter().map(|d| d.id).collect();
        let user = self.directory.get_mut(slot)?;
        user.known = true;
        user.list_version = state.list_version;
        user.devices = state.devices;
        (user.groups, user.blocked) = (state.groups, state.blocked);
        self.segments.stated(&mut user.mark, record.at, Owner::User(slot));
        for device in &devices {
            self.sequencer.forget((slot, *device));
        }
        self.take_repeats(slot, &devices, &mut reader)
    }

    fn replay_cursors(&mut self, replay: &mut Replay, record: &Record<'_>) -> Option<()> {
        let mut reader = Reader::new(record.body);
        while !reader.is_empty() {
            let id: ConversationId = reader.array()?;
            match self.delivery.find(&id) {
                Some(slot) => self.delivery.get_mut(slot)?.apply_moved(&mut reader)?,
                // It left memory, or its full state stands behind.
                None => {
                    let moved = Conversation::pass_over_moved(&mut reader)?;
                    let head = replay.heads.entry(id).or_default();
                    *head = moved.max(*head);
                }
            }
        }
        Some(())
    }

    /// The same of groups.
    fn replay_members(&mut self, replay: &mut Replay, record: &Record<'_>) -> Option<()> {
        let mut reader = Reader::new(record.body);
        while !reader.is_empty() {
            let id: ConversationId = reader.array()?;
            let known = self.delivery.find(&id).and_then(|slot| self.delivery.get_mut(slot));
            let moved = Conversation::apply_members(known, &mut self.directory, &mut reader)?;
            let head = replay.heads.entry(id).or_default();
            *head = moved.max(*head);
        }
        Some(())
    }

    /// Everything is read: derives what follows from it.
    pub(super) fn finish_replay(&mut self, recovered: &Recovered, log: Appender) {
        let mut replay = self.replay.take().unwrap_or_default();
        self.log = log;
        self.durable = self.log.last_batch();
        if self.clock.resume(recovered.last_time_ms) {
            let message = "The machine's clock is more than an hour behind the log's: expiry is paused.";
            self.alarm("clock_jumped", message.into());
        }
        self.damaged = recovered.findings.iter().any(|f| f.kind != FindingKind::TornEnd);
        // What is found to be skipped below is news, above all that was ever told: also above what a crash made the log
        // forget, though the clock be set back since.
        let told = self.delivery.slots().filter_map(|slot| self.delivery.get(slot)).flat_map(|c| &c.members);
        let told = told.map(|m| m.version.max(m.read_version)).max().unwrap_or(0);
        self.delivery.resume_versions(told.max(replay.versions));
        if replay.versions == 0 || self.damaged {
            // It may have been on the damaged part; or the log was written by a version that did not know it.
            let ahead = self.clock.time_ms() + super::clock::JUMP_MS;
            self.delivery.resume_versions(super::versions::receipt_version(ahead));
        }
        if self.damaged {
            // A message may be lost whose number somebody was told: it is remembered by its id.
            for repeat in self.sequencer.repeats() {
                let head = replay.heads.entry(repeat.conversation).or_default();
                *head = repeat.seq.max(*head);
            }
        }
        for segment in &recovered.segments {
            self.segments.found(segment);
        }
        let slots: Vec<u32> = self.delivery.slots().collect();
        for slot in slots {
            let head = self.delivery.get(slot).and_then(|c| replay.heads.get(&c.id)).copied().unwrap_or(0);
            self.finish_conversation(slot, head);
        }
        let users: Vec<u32> = self.directory.slots().collect();
        let mono_ms = self.clock.mono_ms();
        for user in users {
            if let Some(user) = self.directory.get_mut(user) {
                user.mark.touch(mono_ms);
            }
            if self.directory.get(user).is_some_and(|u| u.known) {
                self.mend(user);
                self.delivery.fit_late_devices(&self.directory, user);
                self.fit_mailboxes(user);
                self.settle_groups(user, &replay.closed);
                if self.damaged {
                    self.log_user(user);
                }
            }
        }
        // Messages of devices that were dropped since bring their ids back.
        let here = |(user, device): (u32, u16)| self.directory.get(user).is_some_and(|u| u.device(device).is_some());
        self.sequencer.keep_senders(here);
        let orphans: usize = replay.orphans.values().map(Vec::len).sum();
        if !recovered.findings.is_empty() {
            let found: Vec<String> = recovered.findings.iter().map(ToString::to_string).collect();
            let message =
                format!("The log was damaged or torn: {}. Messages without a place: {orphans}.", found.join("; "));
            self.alarm("log_findings", message);
        }
        let not_understood = replay.damaged;
        self.rows.doubtful = recovered.damaged_once;
        if self.damaged {
            self.estrange(replay);
        } else if !self.rows.doubtful {
            self.expect_rows(replay);
        }
        if not_understood > 0 {
            self.alarm("log_records", format!("{not_understood} records of the log were not understood."));
        }
    }

    /// Messages stand in their places, and a number at least as high as `head` was given: derives what follows.
    pub(super) fn finish_conversation(&mut self, slot: u32, head: u64) {
        let (mono_ms, now_s) = (self.clock.mono_ms(), (self.clock.time_ms() / 1000) as u32);
        let Some(conversation) = self.delivery.get_mut(slot) else { return };
        let acked = conversation.members.iter().flat_map(|m| &m.cursors).map(|c| c.acked).max().unwrap_or(0);
        let head = conversation.head.max(head).max(acked);
        // What the log knows to have been numbered and is not there was lost with the disk.
        let missing = (head + 1 - conversation.first) as usize;
        conversation.entries.resize(missing.max(conversation.entries.len()), Entry::LOST);
        if conversation.entries.capacity() > 64 {
            // It grew by doubling, and who is away for long adds little.
            conversation.entries.shrink_to_fit();
        }
        conversation.head = head;
        conversation.mark.touch(mono_ms);
        conversation.recount();
        self.delivery.reconcile(&mut self.directory, slot);
        let Some(conversation) = self.delivery.get_mut(slot) else { return };
        for seq in conversation.first..=head {
            let entry = conversation.entry(seq).filter(|e| !e.lost() && e.author != u16::MAX);
            if let Some((author, device)) = entry.map(|e| (e.author, e.device)) {
                conversation.pass_author(author, device, seq);
            }
        }
        for seq in conversation.first..=head {
            conversation.note_withheld(seq);
        }
        conversation.bytes = conversation.entries.iter().map(|e| u64::from(e.len)).sum();
        let bytes = conversation.bytes;
        let first = conversation.first;
        for entry in conversation.entries.iter().filter(|e| !e.lost()) {
            self.segments.added(entry.segment, entry.len);
        }
        let mut time_s = now_s;
        for entry in conversation.entries.iter_mut().rev() {
            // What was lost expires with what followed it.
            if entry.time_s == 0 {
                entry.time_s = time_s;
            }
            time_s = entry.time_s;
        }
        let oldest = conversation.entries.front().map(|e| e.time_s);
        let bodies: Vec<u64> = conversation.bodies.iter().flat_map(|b| b.keys().copied()).collect();
        hand_over(&mut self.sequencer, conversation, (head, first, bytes));
        self.delivery.reclaim(slot);
        for seq in bodies {
            self.delivery.note_bodiless(&self.directory, slot, seq);
        }
        self.delivery.note_lost(&self.directory, slot);
        let lost = self.delivery.get(slot).map_or(0, |c| c.entries.iter().filter(|e| e.lost()).count());
        if let Some(time_s) = oldest {
            self.set_expiry(slot, u64::from(time_s) * 1000);
        }
        if lost > 0 {
            self.stats.lost_total += lost as u64;
        }
    }
}
