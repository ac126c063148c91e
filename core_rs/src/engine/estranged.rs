//! Conversations whose state was on a damaged part of the log, while messages of theirs, or cursors, were not.
//!
//! Without damage such a conversation has left memory, and the cold store knows all about it. With damage nobody may: so
//! the cold store is asked; what it does not know is made anew from the names that are known, since an id tells whose it
//! is, or of a group from its first message; and if that fails too, what is there waits until somebody writes in it. So
//! nothing that can be read is lost, and no number is given twice (I2, I12).

use std::collections::HashMap;

use smallvec::SmallVec;

use super::Engine;
use super::api::Key;
use super::replay::{Orphan, Replay};
use crate::sequencer::Kind;
use crate::wire::ids::conversation_id;
use crate::wire::types::{ConversationId, SkipReason};

/// Most pairs of names that are tried.
const TRIES: usize = 10_000_000;

/// A member: its name, and its device in a device conversation.
type Side = (Box<str>, u16);

/// What is known of a conversation without its state.
#[derive(Default)]
pub(super) struct Estranged {
    /// A number at least as high was given.
    pub head: u64,
    /// Its messages.
    pub orphans: Vec<Orphan>,
    /// They keep their segments.
    pub wanted: bool,
}

impl Engine {
    /// After damage: conversations without a state are asked for.
    pub(super) fn estrange(&mut self, replay: Replay) {
        let mut estranged: HashMap<ConversationId, Estranged> = HashMap::new();
        for (id, orphans) in replay.orphans {
            let head = orphans.iter().map(|o| o.seq).max().unwrap_or(0);
            orphans.iter().for_each(|o| self.segments.added(o.entry.segment, o.entry.len));
            estranged.insert(id, Estranged { head, orphans, wanted: true });
            self.ask(Key::Conversation(id));
        }
        for (id, head) in replay.heads.into_iter().filter(|(id, _)| self.delivery.find(id).is_none()) {
            let known = estranged.entry(id).or_default();
            known.head = known.head.max(head);
        }
        self.estranged = estranged;
        // What the log knew of these may be gone: they are put right before the rest of it goes.
        let stubs: Vec<Key> = (self.directory.slots().filter_map(|slot| self.directory.get(slot)))
            .filter(|user| !user.known)
            .map(|user| Key::User(user.name.as_str().into()))
            .collect();
        stubs.into_iter().for_each(|key| self.ask(key));
    }

    fn ask(&mut self, key: Key) {
        self.asked.insert(key.clone());
        self.loading.entry(key.clone()).or_default();
        self.load(key);
    }

    /// The cold store does not know it: made anew, if its members can be told.
    pub(super) fn make_anew(&mut self, id: &ConversationId) {
        let Some(estranged) = self.estranged.get(id).filter(|e| !e.orphans.is_empty()) else { return };
        // A group's messages say who is in it, if its beginning is among them.
        let group = estranged.orphans.iter().any(|orphan| orphan.change.is_some());
        if estranged.orphans.iter().any(|orphan| orphan.seq == 1 && orphan.change.is_some()) {
            return self.begin_group(*id);
        }
        let mut senders: Vec<Side> = estranged.orphans.iter().map(|o| (o.sender.clone(), o.entry.device)).collect();
        senders.sort_unstable();
        senders.dedup();
        if let Some((kind, sides)) = (!group).then(|| self.members_of(id, &senders)).flatten() {
            let members = sides.map(|(name, device)| (self.directory.intern(&name), device));
            return self.create_conversation(*id, kind, members);
        }
        let Some(estranged) = self.estranged.get_mut(id) else { return };
        // Nothing is carried from segment to segment for ever that nobody can name.
        estranged.wanted = false;
        estranged.orphans.iter().for_each(|o| self.segments.freed(o.entry.segment, o.entry.len));
        let count = estranged.orphans.len();
        self.alarm("log_findings", format!("{count} messages wait until it is known whose they are."));
    }

    fn members_of(&self, id: &ConversationId, senders: &[Side]) -> Option<(Kind, [Side; 2])> {
        let mut tries = 0;
        for (sender, from) in senders {
            for other in self.directory.slots().filter_map(|slot| self.directory.get(slot)) {
                let name: &str = &other.name;
                tries += 1 + other.devices.len();
                if tries > TRIES {
                    return None;
                }
                if conversation_id(Kind::Direct, [(sender, 0), (name, 0)]) == *id {
                    return Some((Kind::Direct, [(sender.clone(), 0), (name.into(), 0)]));
                }
                for device in other.devices.iter().map(|d| d.id) {
                    if conversation_id(Kind::Device, [(sender, (*from).into()), (name, device.into())]) == *id {
                        return Some((Kind::Device, [(sender.clone(), *from), (name.into(), device)]));
                    }
                }
            }
        }
        None
    }

    /// A conversation came into memory, from the cold store or made anew: what was estranged from it is put in its place.
    pub(super) fn reunite(&mut self, slot: u32) {
        if self.estranged.is_empty() {
            return;
        }
        let Some(id) = self.delivery.get(slot).map(|c| c.id) else { return };
        let Some(Estranged { head, mut orphans, wanted }) = self.estranged.remove(&id) else { return };
        if wanted {
            orphans.iter().for_each(|o| self.segments.freed(o.entry.segment, o.entry.len));
        }
        let Some(conversation) = self.delivery.get_mut(slot) else { return };
        orphans.retain(|o| o.seq > conversation.head);
        if head <= conversation.head {
            return;
        }
        // Nobody knows who has what below: it counts as lost for everybody. Whoever has it ignores that.
        let first = orphans.iter().map(|o| o.seq).min().unwrap_or(head + 1);
        if conversation.head == 0 && first > 1 {
            (conversation.first, conversation.head) = (first, first - 1);
            conversation.floor_reason = SkipReason::Lost;
            self.delivery.lose_below(&self.directory, slot, first);
        }
        let users: SmallVec<[u32; 2]> =
            self.delivery.get(slot).into_iter().flat_map(|c| &c.members).map(|m| m.user).collect();
        users.into_iter().for_each(|user| self.delivery.fit_lost_devices(&self.directory, user));
        orphans.sort_by_key(|orphan| orphan.seq);
        for orphan in orphans {
            self.adopt(slot, orphan);
        }
        self.finish_conversation(slot, head);
        self.log_conversation(slot);
    }
}
