//! All that goes out, together: held outputs, the run queue, buffers and accounts, before mailboxes that serve as a partition
//! does and a disk that lags behind.

use std::collections::{BTreeMap, VecDeque};
use std::mem;

use link::MAGIC;
use proptest::prelude::*;
use seam::{Address, Now, Position};
use wire::types::ClientFrame;

use super::frames::{Got, read};
use super::rig::{framed, hello, ping, send};
use crate::runs::boxes::{Alone, Boxes};
use crate::{Carrier, Config, Gateway, Host, Identity, State, write_flags};

/// Bounds that a test reaches: what a session may hold, and its window.
const HELD: u64 = 48 << 10;
const WINDOW: (u32, u32) = (8, 20_000);
/// Bytes of the largest answer.
const ANSWER: usize = 6 << 10;

/// A client: what came to it, and what is to come.
#[derive(Debug)]
struct Client {
    id: Address,
    bytes: Vec<u8>,
    /// The rest of a frame that it has sent a part of.
    unsent: Vec<u8>,
    stalled: bool,
    paused: bool,
    /// It is to be handed over.
    moves: bool,
    /// It is a poll, which comes back when its carrier is lost.
    poll: bool,
    /// That happened, and it has not come back.
    parked: bool,
    /// Given at a position, in order; and without; and pongs.
    exact: VecDeque<(Position, Got)>,
    pushed: VecDeque<Got>,
    pongs: VecDeque<Got>,
    welcome: bool,
}

#[derive(Debug)]
struct World {
    boxes: Boxes,
    env: Alone<Gateway>,
    now: Now,
    /// By what the driver calls them. Those that are lost are gone.
    clients: BTreeMap<usize, Client>,
    opened: usize,
    synced: u64,
    sends: u64,
}

impl Host for World {
    type Commands = Boxes;
    type Env = Alone<Gateway>;

    fn gateway(&mut self) -> &mut Gateway {
        &mut self.env.out
    }

    fn split(&mut self) -> (&mut Boxes, &mut Alone<Gateway>) {
        (&mut self.boxes, &mut self.env)
    }
}

impl World {
    fn new() -> Self {
        let now = Now { wall_ms: 1_700_000_000_000, mono_ms: 1_000 };
        let mut config = Config::default();
        (config.limits.window_messages, config.limits.window_bytes) = WINDOW;
        config.accounts.session.held = HELD;
        Self {
            boxes: Boxes { window: WINDOW, answer: ANSWER / 18, ..Boxes::default() },
            env: Alone::new(Gateway::new(config, now)),
            now,
            clients: BTreeMap::new(),
            opened: 0,
            synced: 0,
            sends: 0,
        }
    }

    /// The client of this number, unless it is lost.
    fn nth(&self, n: usize) -> Option<usize> {
        self.clients.keys().nth(n % self.clients.len().max(1)).copied()
    }

    /// The mailbox of a client that is attached.
    fn mailbox(&self, n: usize) -> Option<usize> {
        let id = self.clients.get(&self.nth(n)?)?.id;
        self.boxes.boxes.iter().position(|mailbox| mailbox.address == id)
    }

    /// A session that says hello, and sends in the same read.
    fn join(&mut self, sends: usize, poll: bool) {
        self.opened += 1;
        let carrier = if poll { Carrier::Poll } else { Carrier::Socket };
        let id = self.env.out.open(self.opened, carrier, None);
        let client = Client {
            id,
            bytes: Vec::new(),
            unsent: Vec::new(),
            stalled: false,
            paused: false,
            moves: false,
            poll,
            parked: false,
            exact: VecDeque::new(),
            pushed: VecDeque::new(),
            pongs: VecDeque::new(),
            welcome: false,
        };
        self.clients.insert(self.opened, client);
        let identity = Identity { user: format!("user{}", self.opened), device: 1, expires_ms: 0 };
        if poll {
            self.env.out.admit(id, identity);
            self.feed(self.opened, &[hello()], sends, 1, 0);
        } else {
            Gateway::data(self, id, &mut MAGIC.to_vec());
            self.feed(self.opened, &[hello()], sends, 1, 0);
            self.env.out.admit(id, identity);
        }
    }

    /// Frames in one read, but the last `kept` bytes: some, sends, and pings.
    fn feed(&mut self, client: usize, first: &[ClientFrame<'_>], sends: usize, pings: u64, kept: usize) {
        let Some(it) = self.clients.get_mut(&client).filter(|it| !it.paused && !it.moves && !it.parked) else { return };
        let mut bytes = mem::take(&mut it.unsent);
        bytes.extend(first.iter().flat_map(framed));
        for _ in 0..sends {
            self.sends += 1;
            bytes.extend(framed(&send("bob", &self.sends.to_string())));
        }
        for nonce in 0..pings {
            bytes.extend(framed(&ping(nonce)));
            it.pongs.push_back(Got::Pong(nonce));
        }
        it.unsent = bytes.split_off(bytes.len() - kept.min(bytes.len()));
        let id = it.id;
        Gateway::data(self, id, &mut bytes);
        self.note();
    }

    /// Notes what the mailboxes gave.
    fn note(&mut self) {
        for (to, at, got) in mem::take(&mut self.boxes.exact) {
            if let Some(client) = self.clients.values_mut().find(|client| client.id == to) {
                client.exact.push_back((at, got));
            }
        }
        for (to, got) in mem::take(&mut self.boxes.pushed) {
            let Some(client) = self.clients.values_mut().find(|client| client.id == to) else { continue };
            assert!(!client.stalled, "a stalled session is given nothing");
            client.pushed.push_back(got);
        }
    }

    /// Hands over whom it can: to itself, as another process would take it over.
    fn hand_over(&mut self) {
        for number in self.clients.keys().copied().collect::<Vec<_>>() {
            let Some(id) = self.clients.get(&number).filter(|it| it.moves).map(|it| it.id) else { continue };
            match Gateway::hand_over(self, id) {
                Ok(Some(bytes)) => {
                    let id = self.env.out.take_over(number, None, &bytes).expect("these bytes");
                    let Some(it) = self.clients.get_mut(&number) else { continue };
                    (it.id, it.moves, it.paused) = (id, false, false);
                    self.env.out.set_writable(id, !it.stalled);
                }
                // Something is held for it.
                Ok(None) => {}
                Err(_) => panic!("it is live"),
            }
        }
    }

    fn turn(&mut self) -> bool {
        self.hand_over();
        let more = Gateway::turn(self);
        self.note();
        self.check_bounds();
        more
    }

    /// What waits for a client, held or in its buffer, is bounded (I6).
    fn check_bounds(&self) {
        let gateway = &self.env.out;
        for client in self.clients.values() {
            let Some(slot) = gateway.conns.slot(client.id) else { continue };
            let held = gateway.conns.session(slot).map_or(0, |session| session.held as usize);
            let waits = held + gateway.conns.outs.backlog(slot);
            // What it was given before its transport stalled; and what it asked for until it was not read any more.
            let most = 2 * (64 << 10) + HELD as usize + ANSWER;
            assert!(waits <= most, "{waits} bytes wait for {client:?}");
            let answers = HELD as usize + ANSWER + 100;
            assert!(held <= answers, "{held} bytes are held for {client:?}");
        }
    }

    /// The driver takes writes, and the clients look at what they got.
    fn drain(&mut self) {
        let mut taken = Vec::new();
        while let Some(write) = self.env.out.next_write() {
            let client = self.clients.get_mut(&write.user).expect("nothing is written to who is gone");
            assert!(!client.stalled || write.data.is_empty(), "nothing is written to a transport that is full");
            assert_eq!(write.flags & (write_flags::CLOSE | write_flags::ABORT), 0, "nobody is closed");
            client.bytes.extend_from_slice(write.data);
            client.paused |= write.flags & write_flags::PAUSE != 0;
            client.paused &= write.flags & write_flags::RESUME == 0;
            assert!(!taken.contains(&write.user) || write.data.is_empty(), "one write a turn");
            if !write.data.is_empty() {
                taken.push(write.user);
            }
        }
        for client in self.clients.values_mut() {
            client.look(self.synced);
        }
    }

    fn sync(&mut self, behind: u64) {
        self.synced = self.synced.max(self.boxes.newest.saturating_sub(behind));
        self.env.out.synced(Position(self.synced));
    }

    fn stall(&mut self, client: usize, stalled: bool) {
        let Some(it) = self.clients.get_mut(&client).filter(|it| !it.parked) else { return };
        it.stalled = stalled;
        self.env.out.set_writable(it.id, !stalled);
    }

    /// A client's carrier is lost: a poll that is live comes back later, any other is gone.
    fn lose(&mut self, client: usize) {
        let Some(it) = self.clients.get_mut(&client) else { return };
        let parks = it.poll && self.env.out.state(it.id) == Some(State::Live);
        (it.stalled, it.parked) = (parks, parks);
        self.env.out.lost(it.id);
        if !parks {
            self.clients.remove(&client);
        }
    }

    /// A poll comes back.
    fn carry(&mut self, client: usize) {
        let Some(it) = self.clients.get_mut(&client).filter(|it| it.parked) else { return };
        (it.stalled, it.parked) = (false, false);
        assert_eq!(self.env.out.carry(it.id, client), Ok(None));
    }

    /// Whether a client got everything, and is read.
    fn has_all(&self, client: &Client) -> bool {
        let mailbox = self.boxes.boxes.iter().find(|mailbox| mailbox.address == client.id);
        let waits = mailbox.map_or(0, |mailbox| mailbox.waiting.len() + mailbox.receipts);
        waits + client.pongs.len() + client.exact.len() + client.pushed.len() == 0 && !client.paused && !client.moves
    }

    /// Nothing stands in the way any more.
    fn settle(&mut self) {
        for client in self.clients.keys().copied().collect::<Vec<_>>() {
            self.carry(client);
            self.stall(client, false);
        }
        for _ in 0..500 {
            self.now.mono_ms += 60;
            self.env.out.set_now(self.now);
            self.sync(0);
            for slot in 0..self.boxes.boxes.len() {
                self.boxes.warm(&mut self.env, slot);
                self.boxes.acked(&mut self.env, slot, usize::MAX);
            }
            for client in self.clients.keys().copied().collect::<Vec<_>>() {
                self.feed(client, &[], 0, 0, 0);
            }
            let more = self.turn();
            self.drain();
            // A session that was attached anew in this turn holds an output that the next sync releases.
            let held = self.env.out.holding.bytes() > 0;
            if !more && !held && self.clients.values().all(|client| self.has_all(client)) {
                return;
            }
        }
        panic!("it does not come to rest: {self:#?}");
    }
}

impl Client {
    /// Each frame is the next of its kind; none comes before `welcome`, none that is held before its position.
    fn look(&mut self, synced: u64) {
        for got in read(&mem::take(&mut self.bytes)) {
            match got {
                Got::Pong(_) => assert_eq!(self.pongs.pop_front(), Some(got)),
                Got::Message(_) | Got::Other(4 | 5) => assert_eq!(self.pushed.pop_front(), Some(got)),
                got => {
                    let (at, expected) = self.exact.pop_front().expect("something that was given");
                    assert!(at <= Position(synced), "{got:?} came before its position");
                    self.welcome |= matches!(got, Got::Welcome(_));
                    assert_eq!(got, expected);
                }
            }
            assert!(self.welcome, "nothing precedes welcome");
        }
    }
}

#[derive(Clone, Debug)]
enum Op {
    Join(usize, bool),
    Carry(usize),
    Rewind(usize),
    Feed(usize, usize, u64, usize),
    Ask(usize, usize),
    Messages(usize, usize, usize),
    Skip(usize),
    Receipts(usize, usize),
    Cold(usize),
    Warm(usize),
    Acked(usize, usize),
    Stall(usize, bool),
    Lose(usize),
    Move(usize),
    Sync(u64),
    Turn,
    Drain,
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let client = 0usize..6;
    let body = prop_oneof![8 => 0usize..400, 1 => 400usize..21_000];
    let op = prop_oneof![
        2 => (0usize..4, any::<bool>()).prop_map(|(sends, poll)| Op::Join(sends, poll)),
        1 => client.clone().prop_map(Op::Carry),
        1 => client.clone().prop_map(Op::Rewind),
        4 => (client.clone(), 0usize..4, 0u64..3, 0usize..30)
            .prop_map(|(n, sends, pings, kept)| Op::Feed(n, sends, pings, kept)),
        3 => (client.clone(), 1usize..15).prop_map(|(n, count)| Op::Ask(n, count)),
        6 => (client.clone(), 1usize..5, body).prop_map(|(n, count, body)| Op::Messages(n, count, body)),
        1 => client.clone().prop_map(Op::Skip),
        1 => (client.clone(), 1usize..1500).prop_map(|(n, cursors)| Op::Receipts(n, cursors)),
        1 => client.clone().prop_map(Op::Cold),
        1 => client.clone().prop_map(Op::Warm),
        3 => (client.clone(), 1usize..9).prop_map(|(n, most)| Op::Acked(n, most)),
        2 => (client.clone(), any::<bool>()).prop_map(|(n, stalled)| Op::Stall(n, stalled)),
        1 => client.clone().prop_map(Op::Lose),
        2 => client.prop_map(Op::Move),
        4 => (0u64..6).prop_map(Op::Sync),
        8 => Just(Op::Turn),
        6 => Just(Op::Drain),
    ];
    proptest::collection::vec(op, 0..200)
}

impl World {
    fn apply(&mut self, op: Op) {
        match op {
            Op::Join(sends, poll) => self.join(sends, poll),
            Op::Turn => _ = self.turn(),
            Op::Drain => self.drain(),
            Op::Sync(behind) => self.sync(behind),
            Op::Feed(n, sends, pings, kept) => {
                if let Some(client) = self.nth(n) {
                    self.feed(client, &[], sends, pings, kept);
                }
            }
            Op::Ask(n, count) => {
                if let Some(client) = self.nth(n) {
                    self.feed(client, &vec![ClientFrame::GroupGet { conversation: None }; count], 0, 0, 0);
                }
            }
            Op::Stall(n, stalled) => {
                if let Some(client) = self.nth(n) {
                    self.stall(client, stalled);
                }
            }
            Op::Move(n) => {
                if let Some(client) = self.nth(n).and_then(|client| self.clients.get_mut(&client)) {
                    client.moves = !client.poll && self.env.out.state(client.id) == Some(State::Live);
                }
            }
            Op::Carry(n) => {
                if let Some(client) = self.nth(n) {
                    self.carry(client);
                }
            }
            Op::Rewind(n) => {
                if let Some(client) = self.nth(n).and_then(|client| self.clients.get(&client)).filter(|it| it.poll) {
                    Gateway::rewind(self, client.id);
                }
            }
            Op::Lose(n) => {
                if let Some(client) = self.nth(n) {
                    self.lose(client);
                }
            }
            Op::Messages(n, ..) | Op::Skip(n) | Op::Receipts(n, _) | Op::Cold(n) | Op::Warm(n) | Op::Acked(n, _) => {
                let Some(slot) = self.mailbox(n) else { return };
                let Self { boxes, env, .. } = self;
                match op {
                    Op::Messages(_, count, body) => (0..count).for_each(|_| boxes.message(env, slot, body)),
                    Op::Skip(_) => boxes.skip(env, slot),
                    Op::Receipts(_, cursors) => boxes.receipts(env, slot, cursors),
                    Op::Cold(_) => boxes.boxes[slot].cold = true,
                    Op::Warm(_) => boxes.warm(env, slot),
                    Op::Acked(_, most) => boxes.acked(env, slot, most),
                    _ => {}
                }
            }
        }
    }
}

proptest! {
    /// Whatever the disk, the transports and the clients do: outputs with a position leave in order and never before it,
    /// messages in order and within the window, nothing before `welcome`; what waits is bounded; and in the end everything
    /// that was given has come.
    #[test]
    fn what_goes_out_is_in_order_durable_and_bounded_i1_i3_i6(ops in ops()) {
        let mut world = World::new();
        for op in ops {
            world.apply(op);
        }
        world.settle();
        prop_assert_eq!(world.env.out.holding.bytes(), 0);
        prop_assert!(world.clients.values().all(|client| world.env.out.state(client.id) == Some(State::Live)));
        for client in world.clients.values() {
            world.env.out.forget(client.id.slot());
        }
        prop_assert_eq!(world.env.out.stats().held_bytes, 0);
    }
}
