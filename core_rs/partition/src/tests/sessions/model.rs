//! Random conversations between several devices, through `Commands`, with stalls, replaced sessions, lost bodies and crashes. The
//! clients keep what they were given, and the oracle what really happened.
//!
//! What holds: a session gets each message of its mailbox once and in order, as itself or as a skip (I3), and none that is not
//! durable; no call gives more than the credit; whoever is owed something is told so; receipts only grow (I7). When everybody has
//! taken and acknowledged everything, nothing is left (I5), and authors know of everybody who has their messages (I7).

mod ends;

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use seam::{Address, Attached, Commands, Credit, Served, Token};
use wire::types::{Change, ConversationId, Manage, Profile, Read, Rules, Send, Target};

use super::super::oracle::Oracle;
use super::{House, Out, SECRET};
use crate::config::Config;
use crate::ids::{DeviceId, Place, Position};
use crate::records::{Record, decode};
use crate::rows::Kind;
use crate::serve::Item;

const PROGRAMS: [(&str, DeviceId); 7] =
    [("ann", 1), ("ann", 2), ("bob", 1), ("bob", 2), ("cid", 1), ("dan", 1), ("dan", 2)];
const WINDOW: (u32, u32) = (6, 600);

/// A command: what, by whom, and two things that it is about.
type Step = (u8, u8, u8, u8);

/// An answer: when it may leave, for which program, to which id, and where the message stands.
type Held = (Position, usize, Vec<u8>, (ConversationId, u64));

#[derive(Default)]
struct Program {
    session: Option<Live>,
    /// The last version that it was told.
    token: Token,
    /// How far others are: delivered, read.
    told: BTreeMap<(ConversationId, String), (u64, u64)>,
    /// What others will never have.
    missed: BTreeSet<(ConversationId, String, u64, u64)>,
    /// What its sends became, by their ids.
    accepted: BTreeMap<Vec<u8>, (ConversationId, u64)>,
    /// Sends that were not answered.
    unanswered: Vec<Send<'static>>,
}

struct Live {
    at: Attached,
    address: Address,
    in_flight: (u32, u32),
    /// The last number that it was given.
    given: BTreeMap<ConversationId, u64>,
    told: BTreeMap<(ConversationId, String), (u64, u64)>,
    owed: [bool; 2],
    stalled: bool,
}

struct Model {
    house: House,
    config: Config,
    oracle: Oracle,
    programs: Vec<Program>,
    /// In which batch each message stands.
    batches: BTreeMap<(ConversationId, u64), Position>,
    /// Records that the oracle has seen: in complete batches, and in the next one.
    seen: (usize, usize),
    synced: Position,
    /// Answers that wait until they are durable.
    held: Vec<Held>,
    ids: u32,
    did: [usize; 6],
}

impl Model {
    fn new() -> Self {
        let config = Config {
            devices: 3,
            group_members: 4,
            groups: 3,
            conversation_messages: 12,
            hold_ms: 40_000,
            blocks: 2,
            create_unknown: false,
            expire_at_once: 5,
            ..Config::default()
        };
        let mut model = Self {
            house: House::new(config.clone()),
            config,
            oracle: Oracle::default(),
            programs: PROGRAMS.iter().map(|_| Program::default()).collect(),
            batches: BTreeMap::new(),
            seen: (0, 0),
            synced: Position(0),
            held: Vec::new(),
            ids: 0,
            did: [0; 6],
        };
        model.house.host.cache.keeps = 4;
        // dan has no device at first.
        (0..5).for_each(|program| model.attach(program));
        let records = crate::propose::create_user(&model.house.partition.state, "dan").unwrap().unwrap();
        model.house.partition.commit(&mut model.house.host, &records).unwrap();
        model.sync();
        model
    }

    /// What was appended is told to the oracle, and what was said to the programs.
    fn settle(&mut self) {
        let journal = &self.house.host.journal;
        for (number, batch) in journal.batches.iter().enumerate().skip(self.seen.0) {
            let from = if number == self.seen.0 { self.seen.1 } else { 0 };
            for (kind, body, _) in batch.iter().skip(from) {
                let record = decode(*kind, body).unwrap();
                let position = Position(number as u64 + 1);
                if let Record::Message(message) = &record {
                    self.batches.insert((message.message.conversation, message.message.seq), position);
                }
                self.oracle.committed(&self.house.partition.state, position, &[record]);
            }
        }
        let last = journal.batches.len().saturating_sub(1);
        self.seen = (last, journal.batches.last().map_or(0, Vec::len));
        for (to, out) in std::mem::take(&mut self.house.host.out.said) {
            let program = self.programs.iter().position(|p| p.session.as_ref().is_some_and(|s| s.address == to));
            if let Some(program) = program {
                self.hear(program, out);
            }
        }
    }

    fn hear(&mut self, index: usize, out: Out) {
        let synced = self.synced;
        let program = &mut self.programs[index];
        let live = program.session.as_mut().unwrap();
        match out {
            Out::Owed(messages) => {
                let owed = &mut live.owed[usize::from(messages)];
                assert!(!std::mem::replace(owed, true), "said twice");
            }
            Out::Accepted { id, conversation, seq, at } => self.held.push((at, index, id, (conversation, seq))),
            Out::Refused { id, .. } => program.unanswered.retain(|send| *send.id != *id),
            Out::Freed(messages, bytes) => {
                assert!(messages <= live.in_flight.0 && bytes <= live.in_flight.1);
                live.in_flight = (live.in_flight.0 - messages, live.in_flight.1 - bytes);
            }
            Out::Message { conversation, seq, bytes, .. } => {
                live.in_flight = (live.in_flight.0 + 1, live.in_flight.1 + bytes);
                assert!(self.batches[&(conversation, seq)] <= synced, "{seq} is not durable");
                self.did[1] += 1;
            }
            Out::Missed { conversation, user, from, to, version } => {
                // A client ignores a skip at or below what it learned to be delivered.
                let known = program.told.get(&(conversation, user.clone())).map_or(0, |told| told.0);
                if from.max(known + 1) <= to {
                    program.missed.insert((conversation, user, from.max(known + 1), to));
                }
                keep(&mut program.token, version);
            }
            Out::Receipts { conversation, cursors, version, .. } => {
                for (user, delivered, read) in cursors {
                    self.did[2] += 1;
                    let told = live.told.entry((conversation, user.clone())).or_default();
                    assert!(delivered == 0 || delivered >= told.0, "receipts shrink");
                    *told = (told.0.max(delivered), told.1.max(read));
                    let told = program.told.entry((conversation, user)).or_default();
                    *told = (told.0.max(delivered), told.1.max(read));
                }
                keep(&mut program.token, version);
            }
            Out::Replaced => unreachable!("only a session that is not there any more"),
            Out::Welcome { receipts, .. } => program.token = receipts,
            Out::Answer(_) | Out::Snapshot { .. } | Out::Skip { .. } => {}
        }
    }

    fn sync(&mut self) {
        self.house.sync();
        self.synced = self.house.host.journal.last();
        self.settle();
        for (_, program, id, what) in std::mem::take(&mut self.held) {
            let program = &mut self.programs[program];
            program.unanswered.retain(|send| *send.id != *id);
            let known = program.accepted.insert(id, what);
            assert!(known.is_none_or(|known| known == what), "I4: {known:?} {what:?}");
        }
    }

    fn attach(&mut self, index: usize) {
        let (user, device) = PROGRAMS[index];
        let token = Some(self.programs[index].token.clone()).filter(|token| !token.bytes().is_empty());
        let (at, address) = self.house.attach_with(user, device, true, token.as_ref(), &[]);
        let said = &self.house.host.out.said;
        let replaced = |old: &Live| said.contains(&(old.address, Out::Replaced));
        assert!(self.programs[index].session.as_ref().is_none_or(replaced));
        self.programs[index].session = Some(Live {
            at,
            address,
            in_flight: (0, 0),
            given: self.cursors(user, device),
            told: BTreeMap::new(),
            owed: [false; 2],
            stalled: false,
        });
        self.settle();
    }

    fn cursors(&self, user: &str, device: DeviceId) -> BTreeMap<ConversationId, u64> {
        let state = &self.house.partition.state;
        let mut cursors = BTreeMap::new();
        for (_, active) in state.conversations() {
            let index = state.names.find(user).and_then(|user| active.member(user, device));
            let cursor = index.and_then(|index| active.row.member(index)?.cursor(device));
            cursors.extend(cursor.map(|cursor| (active.id, cursor.acked)));
        }
        cursors
    }

    fn program(&self, what: u8) -> Option<(usize, Attached)> {
        let index = usize::from(what) % PROGRAMS.len();
        Some((index, self.programs[index].session.as_ref()?.at))
    }

    fn conversation(&self, what: u8, group: bool) -> Option<ConversationId> {
        let all = self.house.partition.state.conversations();
        let mut ids: Vec<ConversationId> =
            all.filter(|(_, active)| !group || active.row.kind == Kind::Group).map(|(_, active)| active.id).collect();
        ids.sort_unstable();
        (!ids.is_empty()).then(|| ids[usize::from(what) % ids.len()])
    }

    fn step(&mut self, (what, who, about, how): Step) {
        let user = |n: u8| ["ann", "bob", "cid", "dan"][usize::from(n) % 4];
        match what % 36 {
            0..=6 => self.send(who, about, how),
            7..=9 => self.change(who, about, how),
            10..=17 => self.take(usize::from(who) % PROGRAMS.len(), how),
            18..=21 => self.ack(who, about, how),
            22 => {
                let (Some((_, at)), Some(conversation)) = (self.program(who), self.conversation(about, false)) else {
                    return;
                };
                let authors = if how % 2 == 0 { vec![] } else { vec![user(how / 2).into()] };
                let read = Read { conversation, seq: u64::from(how % 12), authors };
                self.house.partition.read(&mut self.house.host, at, &read).unwrap();
            }
            23..=25 => self.sync(),
            26 => self.attach(usize::from(who) % PROGRAMS.len()),
            27 => {
                if let Some((index, at)) = self.program(who) {
                    self.house.partition.detach(&mut self.house.host, at);
                    self.programs[index].session = None;
                }
            }
            28 => {
                if let Some(live) = &mut self.programs[usize::from(who) % PROGRAMS.len()].session {
                    live.stalled = !live.stalled;
                }
            }
            29 => self.bodies(how),
            30 => {
                self.house.host.now.mono_ms += 200;
                self.house.partition.burst(&mut self.house.host, 10);
            }
            31 => {
                let Some((_, at)) = self.program(who) else { return };
                self.house.partition.block(&mut self.house.host, at, user(about), how % 2 == 0).unwrap();
            }
            32 => drop(self.house.partition.flush(&mut self.house.host, 10)),
            33 => {
                self.house.host.now.wall_ms += 4_000;
                self.house.partition.expire(&mut self.house.host, 100).unwrap();
            }
            34 => {
                let Some((index, at)) = self.program(who) else { return };
                let token = self.programs[index].token.clone();
                self.house.partition.seen(&mut self.house.host, at, &token);
                self.house.host.cache.keeps = 1 + usize::from(about % 16);
            }
            _ if how < 128 => self.crash(how),
            _ => self.bodies(how),
        }
        self.settle();
    }

    fn send(&mut self, who: u8, about: u8, how: u8) {
        let Some((index, at)) = self.program(who) else { return };
        let again = how.is_multiple_of(8).then(|| self.programs[index].unanswered.last().cloned()).flatten();
        let user = ["ann", "bob", "cid", "dan"][usize::from(about) % 4];
        let send = match again {
            Some(send) => send,
            None => {
                self.ids += 1;
                let target = match how % 3 {
                    0 => Target::User(user.into()),
                    1 if how % 4 == 1 => Target::Device(user.into(), 1 + u32::from(about / 4 % 2)),
                    _ => match self.conversation(about, true) {
                        Some(id) => Target::Conversation(id),
                        None => Target::User(user.into()),
                    },
                };
                let (id, body) = (self.ids.to_be_bytes().to_vec().into(), vec![7; usize::from(how)].into());
                Send { id, target, body, bodies: vec![], lists: vec![], media: vec![] }
            }
        };
        self.did[0] += 1;
        self.programs[index].unanswered.retain(|known| known.id != send.id);
        self.programs[index].unanswered.push(send.clone());
        self.house.partition.send(&mut self.house.host, at, &send).unwrap();
    }

    fn change(&mut self, who: u8, about: u8, how: u8) {
        let Some((_, at)) = self.program(who) else { return };
        let user = |n: u8| Cow::Borrowed(["ann", "bob", "cid", "dan"][usize::from(n) % 4]);
        let some = |n: u8| vec![user(n), user(n / 4)];
        let group = self.conversation(about, true);
        let change = match (how % 8, group) {
            (_, None) | (0, _) if self.groups() < 2 => {
                Change::Created { members: some(about), profile: Profile::default(), rules: Rules::default() }
            }
            (0..=3, _) => Change::Added(some(how / 8)),
            (4 | 5, _) => Change::Removed(some(how / 8)),
            (6, _) => Change::Left { successor: "".into() },
            _ => Change::Profile(Profile { name: Some(vec![how].into()), ..Profile::default() }),
        };
        let conversation = group.filter(|_| !matches!(change, Change::Created { .. }));
        self.ids += 1;
        let manage = Manage { id: self.ids.to_be_bytes().to_vec().into(), conversation, change };
        self.house.partition.change(&mut self.house.host, at, &manage).unwrap();
    }

    fn groups(&self) -> usize {
        self.house.partition.state.conversations().filter(|(_, active)| active.row.kind == Kind::Group).count()
    }

    /// A session that is owed something takes some of it.
    fn take(&mut self, index: usize, how: u8) {
        let Some(live) = &mut self.programs[index].session else { return };
        if live.stalled {
            return;
        }
        let (at, owed) = (live.at, live.owed);
        if owed[0] {
            let served = self.house.partition.notify(&mut self.house.host, at, 1 + usize::from(how));
            self.served(index, false, served);
        }
        if !owed[1] {
            return;
        }
        let Some(live) = &mut self.programs[index].session else { return };
        let first_any = live.in_flight.0 == 0;
        let left = (WINDOW.0.saturating_sub(live.in_flight.0), WINDOW.1.saturating_sub(live.in_flight.1));
        let credit = Credit { messages: left.0.min(1 + u32::from(how % 8)), bytes: left.1, first_any };
        let served = self.house.partition.credit(&mut self.house.host, at, credit);
        self.given(index, credit);
        self.served(index, true, served);
    }

    fn served(&mut self, index: usize, messages: bool, served: Served) {
        let owed = served == Served::More;
        if let Some(live) = &mut self.programs[index].session {
            live.owed[usize::from(messages)] = owed;
        }
        self.settle();
        if messages && served == Served::All {
            self.check_all_served(index);
        }
    }

    /// What a credit gave is what comes next, and not too much.
    fn given(&mut self, index: usize, credit: Credit) {
        let (user, device) = PROGRAMS[index];
        let live = self.programs[index].session.as_mut().unwrap();
        let (mut count, mut bytes, mut largest) = (0, 0, 0);
        let mut runs: Vec<(ConversationId, Vec<Item>)> = Vec::new();
        for (to, out) in &self.house.host.out.said {
            let (conversation, item) = match *out {
                Out::Message { conversation, seq, bytes: len, .. } => {
                    (count, bytes, largest) = (count + 1, bytes + len, largest.max(len));
                    (conversation, Item::Message { seq, place: Place::default() })
                }
                Out::Skip { conversation, from, to, reason } => (conversation, Item::Skip { from, to, reason }),
                Out::Snapshot { conversation, .. } => (conversation, Item::Snapshot),
                _ => continue,
            };
            assert_eq!(*to, live.address);
            match runs.last_mut().filter(|run| run.0 == conversation && item != Item::Snapshot) {
                Some(run) => run.1.push(item),
                None => runs.push((conversation, vec![item])),
            }
        }
        let fits = count <= credit.messages && bytes <= credit.bytes;
        assert!(fits || (credit.first_any && count == 1), "{count} {bytes} of {credit:?}");
        let cursors = self.cursors(user, device);
        let live = self.programs[index].session.as_mut().unwrap();
        for (id, items) in runs {
            let acked = cursors.get(&id).copied().unwrap_or(0);
            let given = live.given.entry(id).or_default();
            let from = acked.max(*given);
            *given = items.iter().map(Item::end).max().unwrap_or(0).max(from);
            self.oracle.served(&self.house.partition.state, &id, (user, device), from, &items);
        }
    }

    fn ack(&mut self, who: u8, about: u8, how: u8) {
        let Some((index, at)) = self.program(who) else { return };
        let live = self.programs[index].session.as_ref().unwrap();
        let given: Vec<(ConversationId, u64)> = live.given.iter().map(|(id, seq)| (*id, *seq)).collect();
        let Some(&(id, seq)) = given.get(usize::from(about) % given.len().max(1)) else { return };
        let seq = seq.saturating_sub(u64::from(how % 3));
        if how >= 128 {
            // Another session of the device acknowledges for it.
            let (user, device) = PROGRAMS[index];
            let (other, _) = self.house.attach_with(user, device, false, None, &[]);
            self.house.partition.ack(&mut self.house.host, other, &id, seq).unwrap();
            self.house.partition.detach(&mut self.house.host, other);
        } else {
            self.house.partition.ack(&mut self.house.host, at, &id, seq).unwrap();
        }
        self.did[3] += 1;
    }

    /// Bodies that were asked for come; some are damaged, some cannot be read now.
    fn bodies(&mut self, how: u8) {
        for (number, (of, seq, place)) in std::mem::take(&mut self.house.host.cache.wanted).into_iter().enumerate() {
            let (partition, host) = (&mut self.house.partition, &mut self.house.host);
            match (usize::from(how) + number) % 8 {
                0 => {
                    self.did[4] += 1;
                    partition.lost(host, of, seq, place).unwrap();
                }
                1 => partition.body_read(host, of, (seq, place), u32::MAX),
                _ => {
                    let stored = host.read(place).unwrap();
                    host.cache.put(place, stored);
                    partition.body_read(host, of, (seq, place), place.offset);
                }
            }
        }
    }
}

fn keep(token: &mut Token, version: u64) {
    if version > 0 {
        *token = crate::attached::Tokens::new(SECRET).give(0, version);
    }
}

fn run(steps: &[Step]) -> [usize; 6] {
    let mut model = Model::new();
    for (number, step) in steps.iter().enumerate() {
        model.step(*step);
        if number % 4 == 0 {
            model.oracle.check(&model.house.partition.state);
        }
    }
    model.finish();
    model.did
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    proptest::collection::vec(any::<Step>(), 1..300)
}

/// `PARTITION_CASES=10000` runs more of them.
fn cases() -> u32 {
    std::env::var("PARTITION_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(300)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn sessions_get_their_mailboxes_once_in_order_and_receipts_are_complete(steps in steps()) {
        run(&steps);
    }
}

/// The model above would hold of a partition that does nothing.
#[test]
fn random_conversations_do_everything_that_they_are_to_do() {
    let mut random = super::super::random::Random::new(1);
    let mut did = [0; 6];
    for _ in 0..40 {
        let mut byte = || random.below(256) as u8;
        let steps: Vec<Step> = (0..200).map(|_| (byte(), byte(), byte(), byte())).collect();
        did.iter_mut().zip(run(&steps)).for_each(|(all, more)| *all += more);
    }
    assert!(did.iter().all(|&count| count > 20), "{did:?}");
}
