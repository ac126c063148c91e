//! A direct message between two sessions, from the send to the receipt, allocates nothing in the partition.
//!
//! A test of its own because the allocator is the process's.
#![allow(unsafe_code, clippy::unwrap_used)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::borrow::Cow;
use std::cell::Cell;

use partition::config::Config;
use partition::partition::Partition;
use partition::state::State;
use seam::{
    Action, Address, Attach, Attached, Bodies, Body, Commands, ConversationId, Credit, Env, Full, Journal, Lent, Now,
    Outputs, Place, Position, Refusal, Served, Token,
};
use smallvec::SmallVec;
use wire::types::{Send, ServerFrame, Target};

thread_local! {
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
}

struct Counting;

// SAFETY: everything is passed on to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: the caller's promise, passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise, passed on.
        unsafe { System.dealloc(at, layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: the caller's promise, passed on.
        unsafe { System.realloc(at, layout, size) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// A log that forgets what it is given.
#[derive(Default)]
struct Log {
    batch: u64,
    offset: u32,
}

impl Journal for Log {
    fn append(
        &mut self,
        records: &[(u8, &[&[u8]])],
        _sync: bool,
        places: &mut SmallVec<[Place; 4]>,
    ) -> Result<Position, Full> {
        for (_, parts) in records {
            let len = parts.iter().map(|part| part.len() as u32).sum();
            places.push(Place { segment: 1, offset: self.offset, len });
            self.offset += len;
        }
        Ok(Position(self.batch + 1))
    }
}

/// Room for one body.
#[derive(Default)]
struct Cache(Place, Body);

impl Bodies for Cache {
    fn insert(&mut self, place: Place, stored: &[&[u8]]) -> u32 {
        self.0 = place;
        self.1.stored.clear();
        stored.iter().for_each(|part| self.1.stored.extend_from_slice(part));
        0
    }

    fn get(&mut self, place: Place, _hint: &mut u32) -> Option<&mut Body> {
        (self.0 == place).then_some(&mut self.1)
    }

    fn remove(&mut self, _place: Place, _hint: u32) {
        self.0 = Place::default();
    }

    fn want(&mut self, _conversation: (u32, u32), _seq: u64, _place: Place) {}
}

/// Counts what was said, and keeps the last of each.
#[derive(Default)]
struct Said {
    accepted: (ConversationId, u64),
    messages: u64,
    receipts: u64,
    freed: u32,
    token: Token,
}

impl Outputs for Said {
    fn permit(&mut self, _of: Address, _id: &ConversationId, _action: Action, _peer: Option<&str>) -> Option<bool> {
        Some(true)
    }

    fn owed(&mut self, _to: Address, _messages: bool) {}

    fn welcome(&mut self, _to: Address, _pending: (u64, u64), _receipts: &Token, _at: Position) {}

    fn accepted(&mut self, _to: Address, _id: &[u8], id: &ConversationId, seq: u64, _time_ms: u64, _at: Position) {
        self.accepted = (*id, seq);
    }

    fn refused(&mut self, _to: Address, _id: &[u8], refusal: &Refusal, _at: Position) {
        unreachable!("{refusal:?}");
    }

    fn answer(&mut self, _to: Address, _frame: &ServerFrame<'_>, _at: Position) {}

    fn message(&mut self, _to: Address, _body: &mut Body, _own: Option<&str>, _device_body: bool, _many: bool) {
        self.messages += 1;
    }

    fn pushed(&mut self, _to: Address, frame: &ServerFrame<'_>) {
        if let ServerFrame::Receipt { version, .. } = frame {
            self.receipts += 1;
            self.token = Token::new(version).unwrap();
        }
    }

    fn freed(&mut self, _to: Address, messages: u32, _bytes: u32) {
        self.freed += messages;
    }

    fn replaced(&mut self, _to: Address) {}
}

#[derive(Default)]
struct Host(Log, Cache, Said);

impl Env for Host {
    type J = Log;
    type B = Cache;
    type O = Said;

    fn lend(&mut self) -> Lent<'_, Log, Cache, Said> {
        let now = Now { wall_ms: 1_000_000, mono_ms: 0 };
        Lent { now, room: usize::MAX, journal: &mut self.0, bodies: &mut self.1, out: &mut self.2 }
    }
}

fn attach(partition: &mut Partition, host: &mut Host, user: &str, slot: u32) -> Attached {
    let address = Address::new(slot, 0);
    let who = Attach { address, user, device: 1, receive: true, create: true, receipts: None, in_flight: &[] };
    partition.attach(host, &who).unwrap()
}

fn sync(partition: &mut Partition, host: &mut Host) {
    host.0.batch += 1;
    let position = Position(host.0.batch);
    partition.synced(host, position);
}

/// One message: sent, durable, delivered, acknowledged; the author is told, and confirms.
fn message(partition: &mut Partition, host: &mut Host, (ann, bob): (Attached, Attached), number: u32) {
    let id = number.to_be_bytes();
    let send = Send {
        id: Cow::Borrowed(&id),
        target: Target::User(Cow::Borrowed("bob")),
        body: Cow::Borrowed(&[7; 160]),
        bodies: Vec::new(),
        lists: Vec::new(),
        media: Vec::new(),
    };
    partition.send(host, ann, &send).unwrap();
    sync(partition, host);
    let (conversation, seq) = host.2.accepted;
    let credit = Credit { messages: 16, bytes: 1 << 16, first_any: true };
    assert_eq!(partition.credit(host, bob, credit), Served::All);
    partition.ack(host, bob, &conversation, seq).unwrap();
    assert_eq!(partition.notify(host, ann, 128), Served::All);
    let token = host.2.token.clone();
    partition.seen(host, ann, &token);
    partition.confirm(host, ann, &[(conversation, seq)]);
}

#[test]
fn direct_message_from_the_send_to_the_receipt_allocates_nothing() {
    let (mut partition, mut host) = (Partition::new(State::default(), Config::default(), [7; 16]), Host::default());
    let bound = partition.state.bound_due().unwrap();
    partition.commit(&mut host, &[bound]).unwrap();
    let pair = (attach(&mut partition, &mut host, "ann", 1), attach(&mut partition, &mut host, "bob", 2));
    sync(&mut partition, &mut host);
    for number in 0..600 {
        message(&mut partition, &mut host, pair, number);
        if number % 50 == 0 {
            partition.flush(&mut host, 100).unwrap();
        }
    }
    let before = ALLOCATIONS.get();
    for number in 600..640 {
        message(&mut partition, &mut host, pair, number);
    }
    assert_eq!(ALLOCATIONS.get() - before, 0);
    assert_eq!((host.2.messages, host.2.receipts, host.2.freed), (640, 640, 640));
}
