//! A direct message through the state machine, whole and in its three steps: from a send to its record, from durable to
//! the frames for both, from the ack to the receipt. The disk is instant.

use std::borrow::Cow;
use std::collections::{HashMap, VecDeque};
use std::hint::black_box;

use _core::engine::ConnId;
use _core::log::{Appender, LogOptions, Recovered};
use _core::wire::decode_client;
use _core::wire::types::{Ack, ClientFrame, ConversationId, Send, Target};
use sha2::{Digest, Sha256};

use crate::measure::{Bench, ROUNDS, cpu_ns, report, sample};
use crate::world::{World, framed};

const BODY: [u8; 160] = [0x5a; 160];
/// Pairs with a message in flight in every turn.
const PAIRS: usize = 200;
const TURNS: usize = 100;
/// Members of `ServerFrame.frame`.
const ACCEPTED: usize = 2;
const MESSAGE: usize = 3;
const RECEIPT: usize = 4;

/// What a message goes through.
const STEPS: [&str; 3] = ["sequence: send to record", "deliver: durable to frames", "ack: ack to receipt"];

pub fn cases(bench: &mut Bench) {
    for window in [1, 16] {
        direct(bench, window);
    }
}

fn direct(bench: &Bench, window: usize) {
    let whole = format!("a direct message, {window} in flight");
    if !bench.wants(&whole) {
        return;
    }
    let (mut world, mut plain) = (Pairs::new(PAIRS), Plain::new(PAIRS));
    let mut yardsticks = Yardsticks::new();
    let (mut ours, mut theirs) = (vec![Vec::new(); 4], vec![Vec::new(); 4]);
    for _ in 0..ROUNDS {
        let mut steps = [0; 3];
        for _ in 0..TURNS {
            let turn = world.turn(window);
            steps.iter_mut().zip(turn).for_each(|(sum, ns)| *sum += ns);
        }
        let each = |ns: i64| ns as f64 / (TURNS * PAIRS * window) as f64;
        ours[3].push(each(steps.iter().sum()));
        (0..3).for_each(|step| ours[step].push(each(steps[step])));
        theirs[0].push(sample(&mut || yardsticks.decode_and_append()));
        theirs[1].push(sample(&mut || yardsticks.copy_twice()));
        theirs[2].push(sample(&mut || yardsticks.decode_ack()));
        theirs[3].push(sample(&mut || plain.turn(window)) / (PAIRS * window) as f64);
    }
    report(&whole, "two look-ups, a queue, two copies", &ours[3], &theirs[3]);
    let names = ["decode and append", "two copies", "decode"];
    for step in 0..3 {
        report(&format!("{whole}: {}", STEPS[step]), names[step], &ours[step], &theirs[step]);
    }
}

/// The least that a conversation needs.
struct Plain(HashMap<u64, (u64, VecDeque<[u8; 220]>)>, Vec<u8>);

impl Plain {
    fn new(pairs: usize) -> Self {
        Plain((0..pairs as u64).map(|key| (key, Default::default())).collect(), Vec::new())
    }

    fn turn(&mut self, window: usize) {
        for key in (0..self.0.len() as u64).flat_map(|key| std::iter::repeat_n(key, window)) {
            let (head, queue) = self.0.get_mut(&key).unwrap();
            *head += 1;
            queue.push_back(black_box([0x77; 220]));
        }
        for key in (0..self.0.len() as u64).flat_map(|key| std::iter::repeat_n(key, window)) {
            self.1.clear();
            self.1.extend_from_slice(&self.0.get_mut(&key).unwrap().1.pop_front().unwrap());
            black_box(&self.1);
        }
    }
}

/// What each step cannot do without.
struct Yardsticks {
    send: Vec<u8>,
    ack: Vec<u8>,
    appender: Appender,
    out: Vec<u8>,
}

impl Yardsticks {
    fn new() -> Self {
        let (mut send, mut ack) = (Vec::new(), Vec::new());
        message(&7u64.to_le_bytes(), "b7").encode(&mut send);
        ClientFrame::Ack(Ack { conversation: Some([7; 16]), seq: 1000, ..Ack::default() }).encode(&mut ack);
        let appender = Appender::new(&Recovered::default(), &LogOptions::default());
        Yardsticks { send, ack, appender, out: Vec::new() }
    }

    fn decode_and_append(&mut self) {
        assert!(decode_client(black_box(&self.send)).is_ok());
        self.appender.append(&[(1, &[black_box(&[0x77; 220])])], true, |_| ()).unwrap();
        if self.appender.pending_bytes() > 1 << 20 {
            self.appender.take(0).into_iter().for_each(|batch| self.appender.recycle(batch.bytes));
        }
    }

    fn copy_twice(&mut self) {
        for _ in 0..2 {
            self.out.clear();
            self.out.extend_from_slice(black_box(&[0x77; 220]));
            black_box(&self.out);
        }
    }

    fn decode_ack(&mut self) {
        assert!(decode_client(black_box(&self.ack)).is_ok());
    }
}

fn message<'a>(id: &'a [u8], to: &'a str) -> ClientFrame<'a> {
    ClientFrame::Send(Send {
        id: Cow::Borrowed(id),
        target: Target::User(Cow::Borrowed(to)),
        body: Cow::Borrowed(&BODY),
        bodies: Vec::new(),
        lists: Vec::new(),
        media: Vec::new(),
    })
}

struct Pair {
    sender: ConnId,
    recipient: ConnId,
    conversation: ConversationId,
    sent: u64,
    /// What its sender told to have seen accepted, up to here.
    confirmed: u64,
}

impl Pair {
    fn ack(&self) -> (ConnId, Vec<u8>) {
        let ack = Ack { conversation: Some(self.conversation), seq: self.sent, ..Ack::default() };
        (self.recipient, framed(&[ClientFrame::Ack(ack)]))
    }
}

/// Connected pairs.
struct Pairs {
    world: World,
    pairs: Vec<Pair>,
}

impl Pairs {
    fn new(pairs: usize) -> Self {
        let mut world = World::new();
        let connect = |number| {
            let recipient = world.connect(&format!("b{number}"));
            let sender = world.connect(&format!("a{number}"));
            Pair { sender, recipient, conversation: direct_id(number), sent: 0, confirmed: 0 }
        };
        let pairs = (0..pairs).map(connect).collect();
        world.seen = Default::default();
        Pairs { world, pairs }
    }

    /// `window` messages in every pair, all the way. Nanoseconds that each step took.
    fn turn(&mut self, window: usize) -> [i64; 3] {
        self.world.tick();
        let mut sends: Vec<_> = (0..self.pairs.len()).map(|number| self.sends(number, window)).collect();
        let mut acks: Vec<_> = self.pairs.iter().map(Pair::ack).collect();
        let start = cpu_ns();
        sends.iter_mut().for_each(|(conn, bytes)| self.world.feed(*conn, bytes));
        let sequenced = cpu_ns();
        self.world.pump();
        let delivered = cpu_ns();
        acks.iter_mut().for_each(|(conn, bytes)| self.world.feed(*conn, bytes));
        self.world.pump();
        let acked = cpu_ns();
        let all = self.pairs.len() * window;
        let seen = std::mem::take(&mut self.world.seen);
        assert_eq!((seen[ACCEPTED], seen[MESSAGE]), (all, all));
        assert_eq!(seen[RECEIPT], self.pairs.len(), "one receipt covers a window");
        [sequenced - start, delivered - sequenced, acked - delivered]
    }

    /// What a sender writes: `count` messages, and beside them, as clients do, what it saw accepted.
    fn sends(&mut self, number: usize, count: usize) -> (ConnId, Vec<u8>) {
        let pair = &mut self.pairs[number];
        let (before, to) = (pair.sent, format!("b{number}"));
        pair.sent += count as u64;
        let ids: Vec<[u8; 8]> = (before..pair.sent).map(u64::to_le_bytes).collect();
        let mut frames: Vec<_> = ids.iter().map(|id| message(id, &to)).collect();
        let accepted = (pair.confirmed + 1..=before).map(|seq| (pair.conversation, seq)).collect();
        pair.confirmed = before;
        frames.push(ClientFrame::Ack(Ack { accepted, ..Ack::default() }));
        (pair.sender, framed(&frames))
    }
}

/// The id of a pair's conversation, as docs/wire.md has it.
fn direct_id(number: usize) -> ConversationId {
    let digest = Sha256::digest(format!("direct\0a{number}\0b{number}"));
    digest[..16].try_into().unwrap()
}
