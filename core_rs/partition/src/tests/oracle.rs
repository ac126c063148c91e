//! What users really had, kept beside a partition without looking at how it decides: no receipt says more (I7), and nobody gets
//! anything outside its intervals (I8).

use std::collections::{BTreeMap, BTreeSet};

use wire::types::Change;

use crate::ids::{ConversationId, DeviceId, MemberIndex, Position};
use crate::propose::Sent;
use crate::receipts::{Receipt, Visited};
use crate::records::Record;
use crate::rows::Kind;
use crate::rows::member::OPEN;
use crate::serve::Item;
use crate::state::State;

#[derive(Clone, Debug)]
pub struct Said {
    position: Position,
    /// How many messages there were before it.
    pub order: usize,
    pub author: String,
    device: DeviceId,
    pub withheld: bool,
    change: bool,
    bodies: Option<Vec<(String, DeviceId)>>,
}

/// Something that a batch decided, and that is undone when the batch is lost.
#[derive(Clone, Debug)]
enum Event {
    Came(String, u64),
    Went(String, u64),
    Skipped(String, u64, u64),
}

#[derive(Default)]
pub struct Oracle {
    pub said: BTreeMap<(ConversationId, u64), Said>,
    /// Messages so far.
    pub count: usize,
    /// What was told since the last crash.
    delivered: BTreeMap<(ConversationId, String, DeviceId), u64>,
    had: BTreeSet<(ConversationId, String, u64)>,
    events: BTreeMap<ConversationId, Vec<(Position, Event)>>,
    /// All numbers that were given, by the batch, also of messages that were lost since.
    given: BTreeMap<(ConversationId, u64), Position>,
    /// Ids of sends that are not confirmed, by device.
    ids: BTreeMap<(String, DeviceId, Vec<u8>), (ConversationId, u64)>,
}

impl Oracle {
    /// Records were committed.
    pub fn committed(&mut self, state: &State, position: Position, records: &[Record<'_>]) {
        for record in records {
            let Record::Message(record) = record else { continue };
            let message = &record.message;
            let bodies: Vec<(String, DeviceId)> =
                record.bodies().map(|(user, device)| (user.to_owned(), device)).collect();
            self.count += 1;
            let said = Said {
                position,
                order: self.count,
                author: message.sender.to_owned(),
                device: record.device(),
                withheld: record.withheld,
                change: message.change.is_some(),
                bodies: (!bodies.is_empty()).then_some(bodies),
            };
            self.said.insert((message.conversation, message.seq), said);
            let before = self.given.insert((message.conversation, message.seq), position);
            assert_eq!(before, None, "number {} was given twice", message.seq);
            let events = self.events.entry(message.conversation).or_default();
            for came in record.extra.iter().flat_map(|extra| &extra.came) {
                events.push((position, Event::Came(came.user.to_owned(), message.seq)));
            }
            let went: Vec<String> = match message.change.as_deref() {
                Some(Change::Removed(users)) => users.iter().map(|user| user.to_string()).collect(),
                Some(Change::Left { .. }) => vec![message.sender.to_owned()],
                Some(Change::Closed) => current(events),
                _ => Vec::new(),
            };
            events.extend(went.into_iter().map(|user| (position, Event::Went(user, message.seq))));
        }
        self.note_skips(state, position);
    }

    /// A send is about to become a message, or is one already (I4).
    pub fn sent(&mut self, (user, device): (&str, DeviceId), id: &[u8], sent: &Sent<'_>) {
        let key = (user.to_owned(), device, id.to_owned());
        match sent {
            Sent::New { conversation, seq, .. } => {
                let before = self.ids.insert(key, (*conversation, *seq));
                assert_eq!(before, None, "{user}/{device} sent {id:?} before");
            }
            // One that was confirmed, and is known again because of a crash, is fine.
            Sent::Again(repeat) => {
                let known = self.ids.get(&key).is_none_or(|known| *known == (repeat.conversation, repeat.seq));
                assert!(known, "{user}/{device} {id:?}: {repeat:?}");
            }
        }
    }

    /// A device saw that these messages were accepted.
    pub fn confirmed(&mut self, (user, device): (&str, DeviceId), messages: &[(ConversationId, u64)]) {
        self.ids.retain(|(u, d, _), message| (u.as_str(), *d) != (user, device) || !messages.contains(message));
    }

    /// A device is no more; another one may get its number.
    pub fn dropped(&mut self, (user, device): (&str, DeviceId)) {
        self.ids.retain(|(u, d, _), _| (u.as_str(), *d) != (user, device));
    }

    fn note_skips(&mut self, state: &State, position: Position) {
        for (_, active) in state.conversations() {
            let events = self.events.entry(active.id).or_default();
            for (_, member) in active.row.iter() {
                let user = state.names.text(member.user);
                for skip in member.skips() {
                    let known = |(_, event): &(Position, Event)| matches!(event, Event::Skipped(u, from, to) if u == user && (*from, *to) == (skip.from, skip.to));
                    if !events.iter().any(known) {
                        events.push((position, Event::Skipped(user.to_owned(), skip.from, skip.to)));
                    }
                }
            }
        }
    }

    fn between(&self, id: &ConversationId, from: u64, to: u64) -> impl Iterator<Item = (u64, &Said)> {
        let id = *id;
        let said = self.said.range((id, from)..).take_while(move |((at, seq), _)| (*at, *seq) <= (id, to));
        said.map(|((_, seq), said)| (*seq, said))
    }

    /// A device that acknowledged everything up to `acked` is given this: in order, all that is its own to have, each message as
    /// itself or as a skip (I3), and nothing else (I8).
    pub fn served(
        &mut self,
        state: &State,
        id: &ConversationId,
        (user, device): (&str, DeviceId),
        acked: u64,
        items: &[Item],
    ) {
        let active = state.active(id).unwrap();
        let mut upto = acked;
        for item in items {
            let (from, to) = match *item {
                Item::Snapshot => {
                    assert_eq!((active.row.kind, upto), (Kind::Group, acked));
                    continue;
                }
                Item::Message { seq, .. } => (seq, seq),
                Item::Skip { from, to, .. } => (from, to),
            };
            assert!(upto < from && from <= to && to <= active.visible, "{item:?} after {upto}");
            for (seq, _) in self.between(id, upto + 1, from - 1) {
                assert!(!self.is_for(active.row.kind, id, (user, device), seq), "{user}/{device} {seq}: {items:?}");
            }
            if matches!(item, Item::Message { .. }) {
                let said = self.said.get(&(*id, from)).unwrap();
                let body = said.bodies.as_ref().is_none_or(|bodies| bodies.contains(&(user.to_owned(), device)));
                let withheld = said.withheld && said.author != user;
                assert!(self.is_for(active.row.kind, id, (user, device), from) && body && !withheld, "{item:?}");
                self.had.insert((*id, user.to_owned(), from));
            }
            upto = to;
        }
    }

    /// Whether a message is a device's to have, or to be told of.
    fn is_for(&self, kind: Kind, id: &ConversationId, (user, device): (&str, DeviceId), seq: u64) -> bool {
        let Some(said) = self.said.get(&(*id, seq)) else { return false };
        let own = said.author == user && said.device == device && !said.change;
        !own && self.is_inside(kind, id, user, seq)
    }

    /// Whether a device wrote a message that others may have.
    pub fn is_by(&self, id: &ConversationId, seq: u64, (user, device): (&str, DeviceId)) -> bool {
        let is = |said: &Said| said.author == user && said.device == device && !said.withheld;
        self.said.get(&(*id, seq)).is_some_and(is)
    }

    /// What is above `position` never happened; `lost`: though it was told.
    pub fn crashed(&mut self, position: Position, lost: bool) {
        self.given.retain(|_, at| lost || *at <= position);
        for events in self.events.values_mut() {
            events.retain(|(at, _)| *at <= position);
        }
        self.delivered.clear();
        self.said.retain(|_, said| said.position <= position);
        let said = &self.said;
        self.ids.retain(|_, message| said.contains_key(message));
    }

    /// Conversations went back to what they were with this head; 0: they are gone.
    pub fn salvaged(&mut self, head: impl Fn(&ConversationId) -> u64) {
        for (id, events) in &mut self.events {
            let head = head(id);
            events.retain(|(_, event)| match event {
                Event::Came(_, seq) | Event::Went(_, seq) | Event::Skipped(_, seq, _) => *seq <= head,
            });
        }
        self.said.retain(|(id, seq), _| *seq <= head(id));
        self.delivered.clear();
        self.ids.clear();
    }

    /// Whatever a member is known to have, a device of it has had, or a skip says that it never will (I7).
    pub fn check(&mut self, state: &State) {
        for (_, active) in state.conversations() {
            for (_, member) in active.row.iter() {
                let user = state.names.text(member.user);
                let before = self.delivered.insert((active.id, user.to_owned(), member.only), member.delivered);
                assert!(before.is_none_or(|before| before <= member.delivered), "{user}: {before:?} {member:#?}");
                for (seq, said) in self.between(&active.id, 1, member.delivered) {
                    let concerns = said.author != user && self.is_inside(active.row.kind, &active.id, user, seq);
                    let fine = !concerns
                        || said.withheld
                        || self.had.contains(&(active.id, user.to_owned(), seq))
                        || self.is_skipped(&active.id, user, seq);
                    assert!(fine, "{user} never had {seq} of {:?}: {member:#?}", active.row);
                }
                for (seq, entry) in active.entries.from(0).filter(|(seq, _)| *seq <= active.row.head) {
                    let inside = self.is_inside(active.row.kind, &active.id, user, seq);
                    assert_eq!(member.sees(seq), inside, "{user} and {seq}: {member:#?}");
                    assert!(self.said.contains_key(&(active.id, seq)), "{entry:?}");
                }
            }
        }
    }

    /// All devices have acknowledged everything.
    pub fn check_complete(&self, state: &State) {
        for (_, active) in state.conversations() {
            let waits = active.row.iter().any(|(_, member)| member.cursor(0).is_some());
            assert!(waits || active.entries.is_empty(), "{active:#?}");
            for (_, member) in active.row.iter().filter(|(_, member)| !member.cursors.is_empty()) {
                let user = state.names.text(member.user);
                let theirs = |(id, seq): &(ConversationId, u64)| {
                    *id == active.id && self.said.get(&(*id, *seq)).is_some_and(|said| said.author != user)
                };
                let had = self.had.iter().filter(|(id, who, seq)| who == user && theirs(&(*id, *seq)));
                // What a device had that is gone since may be a skip: then a withheld message before it holds the receipt.
                let had = had.filter(|(id, who, seq)| !self.is_skipped(id, who, *seq));
                let last = had.map(|(_, _, seq)| *seq).max().unwrap_or(0);
                assert!(waits || member.delivered >= last, "{user} has {last}: {:#?}", active.row);
            }
        }
    }

    /// A device that attaches for the first time, and merges what it learns as a client does, takes no message of its user for
    /// delivered that was not.
    pub fn check_receipts(&self, state: &State) {
        for (slot, active) in state.conversations().filter(|(_, active)| active.row.kind != Kind::Device) {
            for (listener, me) in active.row.iter().filter(|(_, member)| member.is_current()) {
                let author = state.names.text(me.user);
                let mut delivered = BTreeMap::new();
                let mut skips: Vec<(MemberIndex, u64, u64)> = Vec::new();
                let visited = state.receipts(slot, listener, 0, 0, |receipt| {
                    match receipt {
                        // A client ignores a skip at or below what it learned to be delivered.
                        Receipt::Skip(member, range) => {
                            let known: u64 = delivered.get(&member).copied().unwrap_or(0);
                            skips.push((member, range.from.max(known + 1), range.to));
                        }
                        Receipt::Progress { member, delivered: upto, .. } => drop(delivered.insert(member, upto)),
                    }
                    true
                });
                assert_eq!(visited, Visited::All);
                for (&member, &upto) in delivered.iter().filter(|(member, _)| **member != listener) {
                    let user = state.names.text(active.row.member(member).unwrap().user);
                    let skipped = |seq: u64| skips.iter().any(|&(m, from, to)| m == member && from <= seq && seq <= to);
                    let said = self.between(&active.id, 1, upto);
                    let mine = said.filter(|(_, said)| said.author == author).map(|(seq, _)| seq);
                    for seq in mine.filter(|&seq| !skipped(seq)) {
                        let inside = self.is_inside(active.row.kind, &active.id, user, seq);
                        let had = self.had.contains(&(active.id, user.to_owned(), seq));
                        assert!(had || !inside, "{author} believes that {user} has {seq}: {:#?}", active.row);
                    }
                }
            }
        }
    }

    /// Whether a device of a user was given a message.
    pub fn had(&self, id: &ConversationId, user: &str, seq: u64) -> bool {
        self.had.contains(&(*id, user.to_owned(), seq))
    }

    /// Whether a user was a member of a group without a break since before a message, and is one now.
    pub fn is_inside_since(&self, kind: Kind, id: &ConversationId, user: &str, seq: u64) -> bool {
        let events = self.events.get(id).map_or(&[][..], Vec::as_slice);
        let since = |&(from, to): &(u64, u64)| from <= seq && to == OPEN;
        kind != Kind::Group || matches!(&intervals(events, user)[..], [only] if since(only))
    }

    fn is_skipped(&self, id: &ConversationId, user: &str, seq: u64) -> bool {
        let covers = |(_, event): &(Position, Event)| matches!(event, Event::Skipped(u, from, to) if u == user && *from <= seq && seq <= *to);
        self.events.get(id).is_some_and(|events| events.iter().any(covers))
    }

    fn is_inside(&self, kind: Kind, id: &ConversationId, user: &str, seq: u64) -> bool {
        if kind != Kind::Group {
            return true;
        }
        intervals(self.events.get(id).map_or(&[], Vec::as_slice), user)
            .iter()
            .any(|&(from, to)| from <= seq && seq <= to)
    }
}

fn intervals(events: &[(Position, Event)], user: &str) -> Vec<(u64, u64)> {
    let mut intervals: Vec<(u64, u64)> = Vec::new();
    for (_, event) in events {
        match event {
            Event::Came(who, seq) if who == user => intervals.push((*seq, OPEN)),
            Event::Went(who, seq) if who == user => {
                if let Some(last) = intervals.last_mut().filter(|last| last.1 == OPEN) {
                    last.1 = *seq;
                }
            }
            _ => {}
        }
    }
    intervals
}

fn current(events: &[(Position, Event)]) -> Vec<String> {
    let users: BTreeSet<&String> = events
        .iter()
        .filter_map(|(_, event)| if let Event::Came(user, _) = event { Some(user) } else { None })
        .collect();
    users
        .into_iter()
        .filter(|user| intervals(events, user).last().is_some_and(|last| last.1 == OPEN))
        .cloned()
        .collect()
}
