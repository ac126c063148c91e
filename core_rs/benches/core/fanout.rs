//! A message to a group of 1,024 through the state machine: from a send to the frames for everybody, and what they
//! acknowledge, every 16 messages. The disk is instant.

use std::borrow::Cow;
use std::collections::{HashMap, VecDeque};
use std::hint::black_box;
use std::sync::Arc;

use _core::engine::ConnId;
use _core::wire::types::{Ack, Change, ClientFrame, ConversationId, Manage, Profile, Rules, Send, Target};
use sha2::{Digest, Sha256};

use crate::measure::{Bench, ROUNDS, cpu_ns, report, sample};
use crate::world::{World, framed};

const BODY: [u8; 160] = [0x5a; 160];
const MEMBERS: usize = 1024;
/// Messages to an acknowledgement.
const WINDOW: u64 = 16;
/// Times that many, in a round.
const WINDOWS: usize = 12;
/// Members of `ServerFrame.frame`.
const MESSAGE: usize = 3;
const RECEIPTS: usize = 15;

pub fn cases(bench: &mut Bench) {
    let (each, burst, away) = (
        "a delivery to one of 1,024 members, a message a turn, acked every 16",
        "a delivery to one of 1,024 members, 16 messages a turn",
        "a message to a group, 1,000 of 1,024 members away",
    );
    deliveries(bench, each, 1);
    deliveries(bench, burst, WINDOW);
    mostly_away(bench, away);
}

/// Per delivery, all that it takes: decoding, the log's record, the frame, the queues, the acknowledgement.
fn deliveries(bench: &Bench, name: &str, at_once: u64) {
    if !bench.wants(name) {
        return;
    }
    let mut group = Group::new(MEMBERS);
    let mut plain = Plain::new(MEMBERS);
    let (mut ours, mut acks, mut theirs) = (Vec::new(), Vec::new(), Vec::new());
    group.window(at_once);
    for _ in 0..ROUNDS {
        let mut took = (0, 0);
        for _ in 0..WINDOWS {
            let (delivered, acked) = group.window(at_once);
            took = (took.0 + delivered, took.1 + acked);
        }
        let each = |ns: i64| ns as f64 / (WINDOWS * WINDOW as usize * (MEMBERS - 1)) as f64;
        ours.push(each(took.0 + took.1));
        acks.push(each(took.1));
        theirs.push(sample(&mut || plain.window(at_once)) / (WINDOW as usize * (MEMBERS - 1)) as f64);
    }
    report(name, "a queue and a shared frame for each, a look-up for each ack", &ours, &theirs);
    report(&format!("{name}: its share of acks"), "the same", &acks, &theirs);
}

/// Per message, since nothing is delivered to most.
fn mostly_away(bench: &Bench, name: &str) {
    if !bench.wants(name) {
        return;
    }
    let (mut group, mut few) = (Group::new(MEMBERS), Group::new(24));
    while group.members.len() > 24 {
        let (conn, _) = group.members.pop().unwrap();
        group.world.engine.lost(conn);
    }
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let each = |took: (i64, i64)| (took.0 + took.1) as f64 / WINDOW as f64;
        ours.push(each(group.window(1)));
        theirs.push(each(few.window(1)));
    }
    report(name, "a group of 24, all there", &ours, &theirs);
}

/// A group whose first member writes.
struct Group {
    world: World,
    members: Vec<(ConnId, String)>,
    id: ConversationId,
    head: u64,
    sent: u64,
    /// What its sender told to have seen accepted, up to here.
    confirmed: u64,
    size: usize,
}

impl Group {
    fn new(members: usize) -> Self {
        let mut world = World::new();
        let connect = |number| {
            let name = format!("m{number}");
            (world.connect(&name), name)
        };
        let members: Vec<_> = (0..members).map(connect).collect();
        let others = members[1..].iter().map(|(_, name)| name.as_str().into()).collect();
        let change = Change::Created { members: others, profile: Profile::default(), rules: Rules::default() };
        let create = Manage { id: Cow::Borrowed(b"g"), conversation: None, change };
        world.feed(members[0].0, &mut framed(&[ClientFrame::Manage(create)]));
        world.pump();
        let size = members.len();
        let mut group = Group { world, members, id: group_id(), head: 1, sent: 0, confirmed: 0, size };
        assert_eq!(group.world.seen[MESSAGE], size, "everybody is told of the group");
        // A change comes to the one who made it, too.
        let ack = Ack { conversation: Some(group.id), seq: 1, ..Ack::default() };
        group.world.feed(group.members[0].0, &mut framed(&[ClientFrame::Ack(ack)]));
        group.acks();
        group
    }

    /// A window of messages, `at_once` in a turn, and everybody's acknowledgement of them. Nanoseconds for each of both.
    fn window(&mut self, at_once: u64) -> (i64, i64) {
        self.world.seen = Default::default();
        let mut delivered = 0;
        for _ in 0..WINDOW / at_once {
            self.world.tick();
            let mut sends = self.sends(at_once);
            let start = cpu_ns();
            self.world.feed(self.members[0].0, &mut sends);
            self.world.pump();
            delivered += cpu_ns() - start;
        }
        let online = self.members.len() - 1;
        assert_eq!(self.world.seen[MESSAGE], WINDOW as usize * online);
        // Their time passes, so that receipts are among what is measured.
        let took = self.acks();
        (0..300).for_each(|_| self.world.tick());
        let start = cpu_ns();
        self.world.pump();
        let told = cpu_ns() - start;
        assert!(self.world.seen[RECEIPTS] >= online / 128, "the author is told");
        (delivered, took + told)
    }

    fn sends(&mut self, count: u64) -> Vec<u8> {
        let ids: Vec<[u8; 8]> = (self.sent..self.sent + count).map(u64::to_le_bytes).collect();
        let mut frames: Vec<_> = ids.iter().map(|id| message(id, self.id)).collect();
        // Behind the change that made the group.
        let accepted = (self.confirmed + 1..=self.head).map(|seq| (self.id, seq)).collect();
        self.confirmed = self.head;
        frames.push(ClientFrame::Ack(Ack { accepted, ..Ack::default() }));
        self.sent += count;
        self.head += count;
        framed(&frames)
    }

    fn acks(&mut self) -> i64 {
        let ack = Ack { conversation: Some(self.id), seq: self.head, ..Ack::default() };
        let mut acks: Vec<_> =
            self.members[1..].iter().map(|(conn, _)| (*conn, framed(&[ClientFrame::Ack(ack.clone())]))).collect();
        let start = cpu_ns();
        acks.iter_mut().for_each(|(conn, bytes)| self.world.feed(*conn, bytes));
        self.world.pump();
        let took = cpu_ns() - start;
        let waits = self.world.engine.stats().messages_pending;
        assert_eq!(waits == 0, self.members.len() == self.size, "what everybody has is gone");
        took
    }
}

fn message<'a>(id: &'a [u8], to: ConversationId) -> ClientFrame<'a> {
    ClientFrame::Send(Send {
        id: Cow::Borrowed(id),
        target: Target::Conversation(to),
        body: Cow::Borrowed(&BODY),
        bodies: Vec::new(),
        lists: Vec::new(),
        media: Vec::new(),
    })
}

/// The id of the group that `m0` makes on its device 1 with a frame called `g`, as docs/wire.md has it.
fn group_id() -> ConversationId {
    let digest = Sha256::digest(b"group\0m0\0\0\0\0\x01\0g");
    digest[..16].try_into().unwrap()
}

/// The least that it needs: a queue of frames for each member, which are written together, and a cursor.
struct Plain {
    queues: Vec<VecDeque<Arc<[u8]>>>,
    cursors: HashMap<u64, u64>,
    out: Vec<u8>,
}

impl Plain {
    fn new(members: usize) -> Self {
        let queues = (1..members).map(|_| VecDeque::new()).collect();
        Plain { queues, cursors: (1..members as u64).map(|key| (key, 0)).collect(), out: Vec::new() }
    }

    fn window(&mut self, at_once: u64) {
        for _ in 0..WINDOW / at_once {
            for _ in 0..at_once {
                let frame: Arc<[u8]> = black_box([0x77; 220]).as_slice().into();
                self.queues.iter_mut().for_each(|queue| queue.push_back(frame.clone()));
            }
            for queue in &mut self.queues {
                self.out.clear();
                queue.drain(..).for_each(|frame| self.out.extend_from_slice(&frame));
                black_box(&self.out);
            }
        }
        self.cursors.values_mut().for_each(|cursor| *cursor += WINDOW);
        for key in 1..=self.queues.len() as u64 {
            *self.cursors.get_mut(&key).unwrap() += WINDOW;
        }
    }
}
