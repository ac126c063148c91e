//! Delivery driven from its outside: groups whose members, devices and sessions the test plays.

mod costs;
mod floors;
mod groups;
mod model;
mod told;
mod withheld;

use super::conversation::{Conversation, Cursor, Devices, Entry, Member, SkipRange, mark};
use super::hot::Body;
use super::*;
use crate::engine::binary::Reader;
use crate::engine::directory::Device;
use crate::engine::token;
use crate::group::{Change, Profile, Rules};
use crate::sequencer::Kind;

/// What a session was written, as far as delivery is concerned.
#[derive(Clone, Debug, PartialEq)]
enum Got {
    Message(u64),
    Skip(u64, u64, crate::wire::types::SkipReason),
    Snapshot(u64),
    /// User, delivered, read; and the version of the frame.
    Cursor(String, u64, u64, u64),
    /// User, from, to, version.
    Never(String, u64, u64, u64),
    /// Nothing is new but the version.
    Version(u64),
}

#[derive(Default)]
struct Out(Vec<(u32, Got)>);

impl Outlet for Out {
    fn message(&mut self, conn: u32, body: &mut Body, _: Option<&str>, _: bool) {
        self.0.push((conn, Got::Message(body.seq)));
    }

    fn own_message(&mut self, conn: u32, stored: &[u8], _: Option<&str>) {
        self.0.push((conn, Got::Message(stored.len() as u64)));
    }

    fn frame(&mut self, conn: u32, frame: &ServerFrame<'_>) {
        let own = |user: &str| user.to_owned();
        let told = |version: &[u8]| token::version(version).unwrap_or(0);
        match *frame {
            ServerFrame::Skip { from, to, reason, user: "", .. } => self.0.push((conn, Got::Skip(from, to, reason))),
            ServerFrame::Skip { from, to, user, version, .. } => {
                self.0.push((conn, Got::Never(own(user), from, to, told(version))));
            }
            ServerFrame::Group(ref group) => self.0.push((conn, Got::Snapshot(group.seq))),
            ServerFrame::Receipt { user, delivered, read, version, .. } => {
                self.0.push((conn, Got::Cursor(own(user), delivered, read, told(version))));
            }
            ServerFrame::Receipts { conversation: None, cursors: [], version } => {
                self.0.push((conn, Got::Version(told(version))));
            }
            ServerFrame::Receipts { cursors, version, .. } => {
                let cursor =
                    |c: &crate::wire::types::CursorOf<'_>| Got::Cursor(own(c.user), c.delivered, c.read, told(version));
                self.0.extend(cursors.iter().map(|c| (conn, cursor(c))));
            }
            _ => panic!("{frame:?}"),
        }
    }
}

const AT: ConversationId = [7; 16];

struct World {
    dir: Directory,
    delivery: Delivery,
    out: Out,
    /// Connection and receiver of a mailbox's session.
    sessions: std::collections::BTreeMap<(u32, u16), (u32, u32)>,
    conns: u32,
    mono_ms: u64,
    window: (u32, u32),
    /// What was logged, in order; and every message's entry.
    log: Vec<Record>,
    /// Up to where receipt versions were told in earlier lives.
    versions: u64,
    entries: std::collections::BTreeMap<u64, Entry>,
}

/// A record of the log.
enum Record {
    State(Vec<u8>),
    Change(u64, u32, Change),
    Moved(Vec<u8>),
    /// A user has a device more.
    Device(u32, u16),
}

impl World {
    /// So many users with a device each, called `u0`, `u1` and so on; `kind` without members.
    fn new(users: usize, kind: Kind) -> Self {
        let mut dir = Directory::default();
        for user in 0..users {
            let user = dir.intern(&format!("u{user}"));
            let user = dir.get_mut(user).unwrap();
            user.known = true;
            user.devices.push(Device { id: 1, receives: true, ..Device::default() });
        }
        let mut world = Self {
            dir,
            delivery: Delivery::new(1 << 30),
            out: Out::default(),
            sessions: Default::default(),
            conns: 0,
            mono_ms: 1,
            window: (u32::MAX, u32::MAX),
            log: Vec::new(),
            versions: 0,
            entries: Default::default(),
        };
        world.delivery.insert(&mut world.dir, Conversation::new(AT, kind, 0));
        world.log_state();
        world
    }

    /// A group of all of them, made by the first with message 1.
    fn group(users: usize) -> Self {
        let mut world = Self::new(users, Kind::Group);
        world.change(0, created(1..users as u32));
        world
    }

    /// Between the first two.
    fn direct() -> Self {
        let mut world = Self::new(2, Kind::Direct);
        let conversation = world.delivery.get_mut(0).unwrap();
        for user in 0..2 {
            conversation.members.push(super::conversation::Member::new(user, 0, 1));
            conversation.add_device(user as usize, 1, 0, 0);
        }
        for user in 0..2 {
            world.dir.get_mut(user).unwrap().conversations.push(0);
        }
        world.log_state();
        world
    }

    fn log_state(&mut self) {
        let mut bytes = Vec::new();
        let conversation = self.delivery.get(0).unwrap();
        conversation.encode(conversation.head, &self.dir, &mut bytes);
        self.log.push(Record::State(bytes));
    }

    /// What the engine logs after a call, and once a second.
    fn write_log(&mut self) {
        if !std::mem::take(&mut self.delivery.effects.floors).is_empty() {
            self.log_state();
        }
        if self.delivery.next_dirty().is_none() {
            return;
        }
        let (mut bytes, Self { delivery, dir, .. }) = (Vec::new(), &mut *self);
        let conversation = delivery.get_mut(0).unwrap();
        if conversation.group.is_some() {
            conversation.encode_members(dir, &mut bytes);
        } else {
            conversation.encode_moved(&mut bytes);
        }
        self.log.push(Record::Moved(bytes));
    }

    fn conversation(&self) -> &Conversation {
        self.delivery.get(0).unwrap()
    }

    fn send_from(&mut self, user: u32, device: u16, change: Option<Change>, withheld: bool) -> u64 {
        let seq = self.send_uncounted(user, device, change, withheld);
        self.check_counts();
        seq
    }

    fn send_uncounted(&mut self, user: u32, device: u16, change: Option<Change>, withheld: bool) -> u64 {
        let seq = self.conversation().head + 1;
        let at = Ref { segment: 1, offset: seq as u32 * 100, len: 100 };
        let of = if change.is_some() { NOBODYS } else { device };
        if let Some(change) = &change {
            self.log.push(Record::Change(seq, user, change.clone()));
        }
        let message = Sequenced {
            conversation: AT,
            seq,
            user,
            device,
            at,
            time_ms: seq * 1000,
            bodies: None::<Devices>,
            change: change.map(Box::new),
            withheld,
            stored: vec![0; 100],
        };
        assert!(self.delivery.sequenced(&mut self.dir, message, self.mono_ms));
        let author = self.conversation().member(user, device).unwrap() as u16;
        let at_mark = if withheld { WITHHELD } else { 0 };
        let entry = Entry { segment: 1, offset: at.offset, len: 100, author, device: of, at: at_mark, ..Entry::LOST };
        self.entries.insert(seq, Entry { time_s: seq as u32, ..entry });
        seq
    }

    /// Without a look at all members.
    fn send_unchecked(&mut self, user: u32) -> u64 {
        self.send_uncounted(user, 1, None, false)
    }

    fn send(&mut self, user: u32) -> u64 {
        self.send_from(user, 1, None, false)
    }

    fn change(&mut self, user: u32, change: Change) -> u64 {
        self.send_from(user, 1, Some(change), false)
    }

    fn join(&mut self, user: u32, device: u16) -> Waiting {
        self.conns += 1;
        let who = Attach { conn: self.conns, user, device, receive: true, window: self.window, told: 0 };
        let (receiver, waiting) = self.delivery.attach(&mut self.dir, who);
        self.sessions.insert((user, device), (self.conns, receiver));
        waiting
    }

    fn cut(&mut self, user: u32, device: u16) {
        if let Some((_, receiver)) = self.sessions.remove(&(user, device)) {
            self.delivery.detach(&mut self.dir, receiver);
        }
    }

    fn ack(&mut self, user: u32, device: u16, seq: u64) -> Result<(), Refusal> {
        let (_, receiver) = self.sessions[&(user, device)];
        let done = self.delivery.ack(&mut self.dir, receiver, &AT, seq, self.mono_ms);
        self.check_counts();
        done
    }

    /// Everything is written; a burst's time comes.
    fn run(&mut self) {
        while let Some((receiver, serial)) = self.delivery.effects.bursts.pop() {
            self.delivery.burst(receiver, serial);
        }
        loop {
            let more = self.delivery.run(&self.dir, &mut self.out, 64);
            let reads = std::mem::take(&mut self.delivery.effects.reads);
            if !more && reads.is_empty() {
                return;
            }
            for (token, refs) in reads {
                let bodies = refs.iter().map(|_| Ok(bytes::Bytes::from_static(&[0; 100]))).collect();
                self.delivery.read_done(&self.dir, token, bodies);
            }
        }
    }

    /// What a mailbox's session was written since the last look.
    fn got(&mut self, user: u32, device: u16) -> Vec<Got> {
        self.run();
        let Some((conn, _)) = self.sessions.get(&(user, device)) else { return Vec::new() };
        let (mine, others) = std::mem::take(&mut self.out.0).into_iter().partition(|got| got.0 == *conn);
        self.out.0 = others;
        mine.into_iter().map(|got| got.1).collect()
    }

    /// Counts are what counting anew gives, and nothing is kept that nobody lacks.
    fn check_counts(&self) {
        let conversation = self.conversation();
        let stands = |seq: u64| conversation.cursors().filter(|c| c.acked == seq).count() as u32;
        let behind = conversation.cursors().filter(|c| c.acked < conversation.first).count();
        assert_eq!(conversation.behind as usize, behind);
        for (seq, entry) in (conversation.first..).zip(&conversation.entries) {
            assert_eq!(entry.at & !WITHHELD, stands(seq), "at {seq}");
        }
        assert!(conversation.entries.is_empty() || behind > 0, "I5");
        for (place, online) in conversation.online.iter().enumerate() {
            let cursor = conversation.cursor(online.member as usize, online.device).unwrap();
            assert_eq!(cursor.online as usize, place);
        }
        let attached = conversation.cursors().filter(|c| c.online != NONE).count();
        assert_eq!(attached, conversation.online.len());
    }

    /// The router starts again: what was logged comes back, and is what there was.
    fn restart(&mut self) {
        self.sessions.clear();
        self.out.0.clear();
        self.write_log();
        for slot in self.dir.slots().collect::<Vec<_>>() {
            let user = self.dir.get_mut(slot).unwrap();
            user.receivers.clear();
            user.conversations.clear();
        }
        let mut before = std::mem::replace(&mut self.delivery, Delivery::new(1 << 30));
        self.delivery.group_caps = before.group_caps;
        self.versions = before.version();
        let before = before.get_mut(0).unwrap();
        self.replay(before.head);
        for member in &before.members {
            let mine = |c: &Cursor| (c.device, c.acked, c.is(mark::FRESH));
            let place = self.conversation().member(member.user, member.only);
            let now = place.map(|place| &self.conversation().members[place]);
            let cursors = now.map(|m| m.cursors.iter().map(mine).collect::<Vec<_>>()).unwrap_or_default();
            assert_eq!(cursors, member.cursors.iter().map(mine).collect::<Vec<_>>(), "of {}", member.user);
            // Who came back is told anew of what is skipped.
            let told =
                |a: &SkipRange, b: &SkipRange| SkipRange { version: b.version, ..*a } == *b && a.version <= b.version;
            let skips = |m: &Member| {
                m.skipped().len() == member.skipped().len()
                    && member.skipped().iter().zip(m.skipped()).all(|(a, b)| told(a, b))
            };
            assert!(now.is_none_or(|m| m.delivered == member.delivered && skips(m)), "{now:?} {member:?}");
        }
        assert_eq!((before.first, before.head), (self.conversation().first, self.conversation().head));
        assert_eq!(before.group, self.conversation().group);
        self.delivery.effects = Effects::default();
        while self.delivery.next_dirty().is_some() {}
        self.log.clear();
        self.log_state();
    }

    /// As the engine does it.
    fn replay(&mut self, head: u64) {
        let Self { delivery, dir, log, .. } = self;
        for record in &*log {
            match record {
                Record::State(bytes) => {
                    let (state, _) = Conversation::decode(&mut Reader::new(bytes), dir).unwrap();
                    match delivery.get_mut(0) {
                        Some(known) => known.merge(state),
                        None => drop(delivery.insert(dir, state)),
                    }
                }
                Record::Change(seq, actor, change) => drop(delivery.change(dir, 0, *seq, *actor, change, None)),
                &Record::Device(user, id) => {
                    let device = Device { id, receives: true, ..Device::default() };
                    dir.get_mut(user).unwrap().devices.push(device);
                }
                Record::Moved(bytes) => {
                    let mut reader = Reader::new(bytes);
                    assert_eq!(reader.array(), Some(AT));
                    let conversation = delivery.get_mut(0).unwrap();
                    if conversation.group.is_some() {
                        Conversation::apply_members(Some(conversation), dir, &mut reader).unwrap();
                    } else {
                        conversation.apply_moved(&mut reader).unwrap();
                    }
                    assert!(reader.is_empty());
                }
            }
        }
        delivery.resume_versions(self.versions);
        let conversation = delivery.get_mut(0).unwrap();
        conversation.head = head;
        conversation.entries = self.entries.range(conversation.first..).map(|e| *e.1).collect();
        conversation.bytes = conversation.entries.iter().map(|e| u64::from(e.len)).sum();
        conversation.recount();
        delivery.reconcile(dir, 0);
        let conversation = delivery.get_mut(0).unwrap();
        for seq in conversation.first..=head {
            let Some(&Entry { author, device, .. }) = conversation.entry(seq) else { break };
            conversation.pass_author(author, device, seq);
            conversation.note_withheld(seq);
        }
        delivery.reclaim(0);
        self.check_counts();
    }
}

fn created(members: impl IntoIterator<Item = u32>) -> Change {
    let members = members.into_iter().collect();
    Change::Created { members, profile: Profile::default(), rules: Rules::default() }
}

fn messages(got: &[Got]) -> Vec<u64> {
    got.iter().filter_map(|g| if let Got::Message(seq) = g { Some(*seq) } else { None }).collect()
}
