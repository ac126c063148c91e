//! A direct message through the whole state machine: send, durable, accepted, delivered, acked, receipted. No disk.

use std::borrow::Cow;
use std::collections::{HashMap, VecDeque};
use std::hint::black_box;

use _core::engine::{Config, ConnId, Engine, Identity, Request, Verdict};
use _core::log::{Appender, LogOptions, Recovered};
use _core::time::Now;
use _core::wire::types::{Ack, ClientFrame, ConversationId, Hello, Send, Target};
use sha2::{Digest, Sha256};

use crate::measure::Bench;

const BODY: [u8; 160] = [0x5a; 160];
/// Pairs with a message in flight in every turn.
const PAIRS: usize = 200;
/// Members of `ServerFrame.frame`.
const ACCEPTED: u8 = 2;
const MESSAGE: u8 = 3;
const RECEIPT: u8 = 4;

pub fn cases(bench: &mut Bench) {
    for window in [1, 16] {
        direct(bench, window);
    }
}

/// What a yardstick keeps of a conversation.
#[derive(Default)]
struct Plain {
    head: u64,
    queue: VecDeque<[u8; 220]>,
}

fn direct(bench: &mut Bench, window: usize) {
    let name = format!("a direct message, send to receipt, {window} in flight");
    if !bench.wants(&name) {
        return;
    }
    let mut world = World::new(PAIRS);
    let mut plain: HashMap<u64, Plain> = (0..PAIRS as u64).map(|key| (key, Plain::default())).collect();
    let mut out = Vec::new();
    let queueing = || {
        for key in 0..PAIRS as u64 {
            for _ in 0..window {
                let conversation = plain.get_mut(&key).unwrap();
                conversation.head += 1;
                conversation.queue.push_back([0x77; 220]);
            }
        }
        for key in 0..PAIRS as u64 {
            for _ in 0..window {
                out.clear();
                out.extend_from_slice(&plain.get_mut(&key).unwrap().queue.pop_front().unwrap());
                black_box(&out);
            }
        }
    };
    let operations = (PAIRS * window) as u32;
    let yardstick = ("two look-ups, a queue and two copies", queueing);
    bench.compare(&name, operations, yardstick, || world.turn(window));
}

struct Pair {
    sender: ConnId,
    recipient: ConnId,
    conversation: ConversationId,
    sent: u64,
}

/// An engine with connected pairs, driven as the runtime drives it.
struct World {
    engine: Engine,
    pairs: Vec<Pair>,
    mono_ms: u64,
    /// Frames of each kind that were written since they were counted last.
    seen: [usize; 16],
}

impl World {
    fn new(pairs: usize) -> Self {
        let now = Now { mono_ms: 1, wall_ms: 1_750_000_000_000 };
        let mut engine = Engine::new(Config::default(), now);
        let recovered = Recovered::default();
        engine.start(&recovered, Appender::new(&recovered, &LogOptions::default()));
        let mut world = World { engine, pairs: Vec::new(), mono_ms: 1, seen: [0; 16] };
        for number in 0..pairs {
            let recipient = world.connect(&format!("b{number}"));
            let sender = world.connect(&format!("a{number}"));
            world.pairs.push(Pair { sender, recipient, conversation: direct_id(number), sent: 0 });
        }
        world.seen = [0; 16];
        world
    }

    fn connect(&mut self, user: &str) -> ConnId {
        let conn = self.engine.open(0, true);
        self.engine.admit(conn, Identity { user: user.into(), device: 1, expires_ms: 0 });
        let hello = Hello { protocol: 1, receive: true, ..Hello::default() };
        self.feed(conn, &[ClientFrame::Hello(hello)]);
        self.pump();
        conn
    }

    /// `window` messages in every pair, all the way.
    fn turn(&mut self, window: usize) {
        self.mono_ms += 1;
        self.engine.set_now(Now { mono_ms: self.mono_ms, wall_ms: 1_750_000_000_000 + self.mono_ms });
        (0..self.pairs.len()).for_each(|number| self.send(number, window));
        self.pump();
        (0..self.pairs.len()).for_each(|number| self.ack(number));
        self.pump();
        let all = self.pairs.len() * window;
        let seen = std::mem::take(&mut self.seen);
        assert_eq!((seen[ACCEPTED as usize], seen[MESSAGE as usize]), (all, all));
        assert_eq!(seen[RECEIPT as usize], self.pairs.len(), "one receipt covers a window");
    }

    fn send(&mut self, number: usize, count: usize) {
        let (conn, to) = (self.pairs[number].sender, format!("b{number}"));
        let ids: Vec<[u8; 8]> = (0..count as u64).map(|i| (self.pairs[number].sent + i).to_le_bytes()).collect();
        let mut frames: Vec<ClientFrame<'_>> = ids
            .iter()
            .map(|id| {
                ClientFrame::Send(Send {
                    id: Cow::Borrowed(id),
                    target: Target::User(Cow::Borrowed(&to)),
                    body: Cow::Borrowed(&BODY),
                    bodies: Vec::new(),
                    lists: Vec::new(),
                    media: Vec::new(),
                })
            })
            .collect();
        // As clients do: what was accepted is confirmed beside the next sends.
        let accepted = self.pairs[number].sent as u32;
        frames.push(ClientFrame::Ack(Ack { accepted, ..Ack::default() }));
        self.pairs[number].sent += count as u64;
        self.feed(conn, &frames);
    }

    fn ack(&mut self, number: usize) {
        let Pair { recipient, conversation, sent, .. } = self.pairs[number];
        let ack = Ack { conversation: Some(conversation), seq: sent, ..Ack::default() };
        self.feed(recipient, &[ClientFrame::Ack(ack)]);
    }

    fn feed(&mut self, conn: ConnId, frames: &[ClientFrame<'_>]) {
        let (mut bytes, mut payload) = (Vec::new(), Vec::new());
        for frame in frames {
            payload.clear();
            frame.encode(&mut payload);
            put_varint(&mut bytes, payload.len());
            bytes.extend_from_slice(&payload);
        }
        assert_eq!(self.engine.data(conn, &mut bytes), Verdict::Open);
    }

    /// Turns until nothing is left to do; the disk is instant.
    fn pump(&mut self) {
        loop {
            let batches = self.engine.log().take(0);
            let mut idle = batches.is_empty();
            for batch in batches {
                self.engine.durable(batch.number);
                self.engine.log().recycle(batch.bytes);
            }
            while let Some(request) = self.engine.next_request() {
                idle = false;
                match request {
                    Request::Load(key) => self.engine.loaded(&key, None),
                    Request::Unlink(segment) => self.engine.unlinked(segment),
                    other => panic!("unexpected request {other:?}"),
                }
            }
            idle &= !self.engine.run();
            while let Some(write) = self.engine.next_write() {
                idle = false;
                count(write.data, &mut self.seen);
            }
            if idle {
                return;
            }
        }
    }
}

/// The id of a pair's conversation, as docs/wire.md has it.
fn direct_id(number: usize) -> ConversationId {
    let digest = Sha256::digest(format!("direct\0a{number}\0b{number}"));
    digest[..16].try_into().unwrap()
}

/// Counts the frames in what one connection was written.
fn count(mut data: &[u8], seen: &mut [usize; 16]) {
    while !data.is_empty() {
        let (mut len, mut shift) = (0, 0);
        while let Some((byte, rest)) = data.split_first() {
            data = rest;
            len |= usize::from(byte & 0x7f) << shift;
            shift += 7;
            if byte & 0x80 == 0 {
                break;
            }
        }
        seen[usize::from(data[0] >> 3)] += 1;
        data = &data[len..];
    }
}

fn put_varint(out: &mut Vec<u8>, mut value: usize) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}
